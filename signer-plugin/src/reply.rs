//! Reads a DNS message of our own making back into its parts: for the border, which has to hand records to hickory, and for the
//! check of a fresh zone before it is published.

use keystore::dns::name::MAX_NAME;
use keystore::dns::{Class, Name, Rtype};

/// One record; owner and RDATA uncompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rr {
    /// Owner, case kept.
    pub owner: Name,
    /// Type of the record.
    pub rtype: Rtype,
    /// Class of the record: IN, CH for what a server says of itself (RFC 4892), ANY for TSIG.
    pub class: Class,
    /// TTL in seconds.
    pub ttl: u32,
    /// Record data in wire form.
    pub rdata: Vec<u8>,
}

/// The OPT record (RFC 6891 section 6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opt {
    /// Requestor's UDP payload size, in octets.
    pub payload: u16,
    /// Extended RCODE, version, flags.
    pub ttl: u32,
    /// Options as code and data, in order.
    pub options: Vec<(u16, Vec<u8>)>,
}

/// The parts of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageParts {
    /// ID of the message.
    pub id: u16,
    /// The second 16 bits of the header: QR to RCODE.
    pub flags: u16,
    /// Answer section.
    pub answers: Vec<Rr>,
    /// Authority section.
    pub authorities: Vec<Rr>,
    /// Additional section without OPT.
    pub additionals: Vec<Rr>,
    /// The OPT record.
    pub opt: Option<Opt>,
    /// The TSIG record (RFC 8945), which is of class ANY.
    pub tsig: Option<Rr>,
}

/// The octets are no message that this reader knows: records of class IN, TXT of class CH, OPT, and TSIG as the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the octets are no DNS answer (near octet {at})")]
pub struct BadReply {
    /// Where reading stopped.
    pub at: usize,
}

impl MessageParts {
    /// Reads a whole message.
    pub fn read(octets: &[u8]) -> Result<Self, BadReply> {
        let mut reader = Reader { octets, at: 0 };
        let id = reader.u16()?;
        let flags = reader.u16()?;
        let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        for _ in 0..counts[0] {
            reader.name()?;
            reader.take(4)?;
        }
        let mut ends = Ends::default();
        let mut sections = [Vec::new(), Vec::new(), Vec::new()];
        for (section, count) in sections.iter_mut().zip(&counts[1..]) {
            for _ in 0..*count {
                if let Some(rr) = reader.record(&mut ends)? {
                    section.push(rr);
                }
            }
        }
        if reader.at != octets.len() {
            return Err(BadReply { at: reader.at });
        }
        let [answers, authorities, additionals] = sections;
        let Ends { opt, tsig } = ends;
        Ok(Self { id, flags, answers, authorities, additionals, opt, tsig })
    }

    /// The RCODE with its extended bits.
    #[must_use]
    pub fn rcode(&self) -> u16 {
        let high = self.opt.as_ref().map_or(0, |opt| (opt.ttl >> 24) as u16);
        high << 4 | self.flags & 0x000f
    }

    /// An upper bound of the octets that any encoder needs for it, behind a question of `question` octets.
    #[must_use]
    pub fn uncompressed_len(&self, question: usize) -> usize {
        let opt =
            self.opt.as_ref().map_or(0, |o| 11 + o.options.iter().map(|(_, d)| 4 + d.len()).sum::<usize>());
        let records = self.answers.iter().chain(&self.authorities).chain(&self.additionals).chain(&self.tsig);
        12 + question + opt + records.map(|r| r.owner.as_wire().len() + 10 + r.rdata.len()).sum::<usize>()
    }
}

/// The records that are no data.
#[derive(Default)]
struct Ends {
    opt: Option<Opt>,
    tsig: Option<Rr>,
}

struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BadReply> {
        let taken =
            self.octets.get(self.at..).and_then(|rest| rest.get(..len)).ok_or(BadReply { at: self.at })?;
        self.at += len;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, BadReply> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Result<u32, BadReply> {
        self.take(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A name, which may be compressed; pointers may only go backwards, so that reading ends.
    fn name(&mut self) -> Result<Name, BadReply> {
        let mut wire = Vec::with_capacity(64);
        let (mut at, mut behind) = (self.at, None);
        let mut limit = self.at;
        loop {
            let bad = BadReply { at };
            let len = *self.octets.get(at).ok_or(bad)?;
            match len {
                0 => {
                    wire.push(0);
                    self.at = behind.unwrap_or(at + 1);
                    return Name::from_wire(&wire).map_err(|_| bad);
                }
                1..=63 => {
                    let end = at + 1 + usize::from(len);
                    wire.extend_from_slice(self.octets.get(at..end).ok_or(bad)?);
                    if wire.len() >= MAX_NAME {
                        return Err(bad);
                    }
                    at = end;
                }
                0xc0.. => {
                    let low = *self.octets.get(at + 1).ok_or(bad)?;
                    behind.get_or_insert(at + 2);
                    let target = usize::from(len & 0x3f) << 8 | usize::from(low);
                    if target >= limit {
                        return Err(bad);
                    }
                    limit = target;
                    at = target;
                }
                _ => return Err(bad),
            }
        }
    }

    /// A record; `None` when it was OPT or TSIG, which go to `ends`.
    fn record(&mut self, ends: &mut Ends) -> Result<Option<Rr>, BadReply> {
        let start = BadReply { at: self.at };
        let owner = self.name()?;
        let rtype = Rtype(self.u16()?);
        let class = self.u16()?;
        let ttl = self.u32()?;
        let len = usize::from(self.u16()?);
        if rtype == Rtype::OPT {
            let mut inside = Reader { octets: self.take(len)?, at: 0 };
            let mut options = Vec::new();
            while inside.at < len {
                let code = inside.u16()?;
                let size = usize::from(inside.u16()?);
                options.push((code, inside.take(size)?.to_vec()));
            }
            if !owner.is_root() || ends.opt.replace(Opt { payload: class, ttl, options }).is_some() {
                return Err(start);
            }
            return Ok(None);
        }
        let rdata = self.rdata(rtype, len)?;
        let rr = Rr { owner, rtype, class: Class(class), ttl, rdata };
        match (rtype, class) {
            _ if ends.tsig.is_some() => Err(start),
            (Rtype::TSIG, 255) => {
                ends.tsig = Some(rr);
                Ok(None)
            }
            (Rtype::TSIG, _) => Err(start),
            (_, 1) | (Rtype::TXT, 3) => Ok(Some(rr)),
            _ => Err(start),
        }
    }

    /// RDATA of `len` octets; names are expanded in the types of RFC 1035, the only ones in which they may be compressed
    /// (RFC 3597 section 4).
    fn rdata(&mut self, rtype: Rtype, len: usize) -> Result<Vec<u8>, BadReply> {
        let end = self.at + len;
        let (before, names) = match rtype {
            Rtype::NS
            | Rtype::CNAME
            | Rtype::PTR
            | Rtype::MB
            | Rtype::MD
            | Rtype::MF
            | Rtype::MG
            | Rtype::MR => (0, 1),
            Rtype::SOA | Rtype::MINFO => (0, 2),
            Rtype::MX => (2, 1),
            _ => return self.take(len).map(<[u8]>::to_vec),
        };
        let mut rdata = self.take(before)?.to_vec();
        for _ in 0..names {
            rdata.extend_from_slice(self.name()?.as_wire());
        }
        let rest = end.checked_sub(self.at).ok_or(BadReply { at: self.at })?;
        rdata.extend_from_slice(self.take(rest)?);
        Ok(rdata)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `www.example. A?` answered by a CNAME, an MX with a compressed name, and OPT with one option.
    const MESSAGE: &[u8] = b"\x12\x34\x84\x00\x00\x01\x00\x02\x00\x00\x00\x01\
        \x03wWw\x07example\x00\x00\x01\x00\x01\
        \xc0\x0c\x00\x05\x00\x01\x00\x00\x0e\x10\x00\x04\x01a\xc0\x10\
        \xc0\x10\x00\x0f\x00\x01\x00\x00\x0e\x10\x00\x04\x00\x0a\xc0\x10\
        \x00\x00\x29\x04\xd0\x01\x00\x80\x00\x00\x06\x00\x0f\x00\x02\x00\x0e";

    #[test]
    fn parts_of_a_compressed_message() {
        let reply = MessageParts::read(MESSAGE).expect("a message");
        assert_eq!((reply.id, reply.flags, reply.rcode()), (0x1234, 0x8400, 0x10));
        assert_eq!(reply.answers[0].owner.as_wire(), b"\x03wWw\x07example\x00");
        assert_eq!(reply.answers[0].rdata, b"\x01a\x07example\x00");
        assert_eq!(reply.answers[1].rdata, b"\x00\x0a\x07example\x00");
        assert_eq!(
            reply.opt,
            Some(Opt { payload: 1232, ttl: 0x0100_8000, options: vec![(15, vec![0, 14])] })
        );
        assert_eq!(reply.uncompressed_len(17), 12 + 17 + 17 + (13 + 10 + 11) + (9 + 10 + 11));
    }

    #[test]
    fn a_cut_message_is_refused() {
        for len in 0..MESSAGE.len() {
            assert!(MessageParts::read(&MESSAGE[..len]).is_err(), "{len}");
        }
        let looped = b"\0\0\0\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01";
        assert!(MessageParts::read(looped).is_err());
    }

    proptest! {
        #[test]
        fn any_octets_end(mut octets in proptest::collection::vec(any::<u8>(), 12..200), at in 12usize..200, c in 0u8..3) {
            octets[4..12].copy_from_slice(&[0, c, 0, c, 0, c, 0, c]);
            if let Some(b) = octets.get_mut(at) { *b = 0xc0; }
            let _ = MessageParts::read(&octets);
        }
    }
}
