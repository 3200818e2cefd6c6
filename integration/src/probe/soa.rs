//! The numbers of a SOA record.

/// Numbers of a SOA record (RFC 1035 section 3.3.13), times in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soa {
    /// Version of the zone, compared by RFC 1982.
    pub serial: u32,
    /// How often a secondary asks for a new serial.
    pub refresh: u32,
    /// How soon it asks again after a failure.
    pub retry: u32,
    /// How long it serves the zone without contact.
    pub expire: u32,
}

impl Soa {
    /// Reads the RDATA without compression.
    #[must_use]
    pub fn from_rdata(rdata: &[u8]) -> Option<Self> {
        let numbers = rdata.last_chunk::<20>()?;
        let at = |i: usize| u32::from_be_bytes([numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3]]);
        Some(Self { serial: at(0), refresh: at(4), retry: at(8), expire: at(12) })
    }

    /// True when this serial is later than `other` (RFC 1982 section 3.2).
    #[must_use]
    pub const fn is_after(&self, other: u32) -> bool {
        let ahead = self.serial.wrapping_sub(other);
        ahead != 0 && ahead < 1 << 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_compared_as_rfc_1982_says() {
        let soa = |serial: u32| Soa { serial, refresh: 0, retry: 0, expire: 0 };
        for (one, other, after) in [
            (1, 0, true),
            (0, 1, false),
            (7, 7, false),
            (0, u32::MAX, true),
            (u32::MAX, 0, false),
            (1 << 31, 1, true),
            (1 << 31, 0, false),
        ] {
            assert_eq!(soa(one).is_after(other), after, "{one} {other}");
        }
    }

    #[test]
    fn a_record_that_is_too_short_has_no_numbers() {
        let numbers: Vec<u8> = (1_u32..=5).flat_map(u32::to_be_bytes).collect();
        let whole = [&[0, 0][..], &numbers].concat();
        let soa = Soa::from_rdata(&whole).expect("numbers");
        assert_eq!(soa, Soa { serial: 1, refresh: 2, retry: 3, expire: 4 });
        assert_eq!(Soa::from_rdata(&numbers[..19]), None);
        assert_eq!(Soa::from_rdata(&[]), None);
    }
}
