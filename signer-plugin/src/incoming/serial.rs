//! SOA serials, and their order (RFC 1982).

/// True when `a` comes after `b`. Serials that are 2^31 apart have no order (section 3.2): neither is newer.
pub const fn is_newer(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 0x8000_0000
}

/// The serial in the uncompressed RDATA of a SOA record.
pub fn of_soa(rdata: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*rdata.get(rdata.len().checked_sub(20)?..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_serials_goes_over_their_end_and_is_undefined_half_way_round() {
        for (a, b, newer) in [
            (2, 1, true),
            (1, 2, false),
            (1, 1, false),
            (0, u32::MAX, true),
            (u32::MAX, 0, false),
            (0x8000_0000, 1, true),
            (0x8000_0001, 1, false),
            (1, 0x8000_0001, false),
            (0x8000_0000, 0, false),
        ] {
            assert_eq!(is_newer(a, b), newer, "{a} {b}");
        }
    }
}
