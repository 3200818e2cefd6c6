//! Numbers and octet strings as the files of the state have them: numbers in network order, strings with their length in front.

/// Appends values to a buffer.
pub(super) trait Put {
    fn put_u8(&mut self, value: u8);
    fn put_u16(&mut self, value: u16);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    /// At most 65 535 octets, two octets of length in front.
    fn put_short(&mut self, octets: &[u8]);
    /// Four octets of length in front.
    fn put_long(&mut self, octets: &[u8]);
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_short(&mut self, octets: &[u8]) {
        self.put_u16(octets.len() as u16);
        self.extend_from_slice(octets);
    }

    fn put_long(&mut self, octets: &[u8]) {
        self.put_u32(octets.len() as u32);
        self.extend_from_slice(octets);
    }
}

/// Takes values from octets; `None` where the octets end before the value does.
pub(super) struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    pub fn octets(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.octets(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub fn short(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.octets(usize::from(len))
    }

    pub fn long(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.octets(len as usize)
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
