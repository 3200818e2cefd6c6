//! TTLs and other periods in presentation form.

/// The largest TTL, in seconds (RFC 2181 section 8).
pub const MAX_TTL: u32 = 0x7fff_ffff;

/// Reads a TTL: seconds, or numbers with the units `w d h m s` in any letter case (`1h30m`). Up to 2^32-1; whoever wants
/// a TTL holds it to [`MAX_TTL`], the times of a SOA have the whole range.
#[must_use]
pub fn parse(text: &[u8]) -> Option<u32> {
    let mut total = 0u64;
    let mut rest = text;
    loop {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 || digits > 10 {
            return None;
        }
        let value = rest[..digits].iter().fold(0u64, |v, d| v * 10 + u64::from(d - b'0'));
        let unit = match rest.get(digits).map(u8::to_ascii_lowercase) {
            None if digits == text.len() => return u32::try_from(value).ok(),
            Some(b'w') => 7 * 86_400,
            Some(b'd') => 86_400,
            Some(b'h') => 3600,
            Some(b'm') => 60,
            Some(b's') => 1,
            _ => return None,
        };
        total += value * unit;
        rest = &rest[digits + 1..];
        if total > u64::from(u32::MAX) {
            return None;
        }
        if rest.is_empty() {
            return u32::try_from(total).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttls() {
        for (text, want) in [
            ("0", Some(0)),
            ("3600", Some(3600)),
            ("1h30m", Some(5400)),
            ("1W2D3H4M5S", Some(788_645)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("7102w", None),
            ("1h30", None),
            ("h", None),
            ("", None),
            ("1x", None),
            ("00000000001", None),
            ("-1", None),
        ] {
            assert_eq!(parse(text.as_bytes()), want, "{text}");
        }
    }
}
