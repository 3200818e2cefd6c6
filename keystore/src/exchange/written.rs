//! Who wrote a request, and when: what its last line says.

use crate::time::{Timestamp, syntax};

/// BIND prints that time in the local time zone of the host, at most so many seconds ahead of UTC.
const TIME_ZONES: u64 = 14 * 3600;

/// The earliest time that the last line of a request in a text form can mean; `None` when it says nothing.
///
/// The request timer writes `… written YYYYMMDDHHMMSS`, in UTC; `dnssec-ksr` and `keymgr` write `generated at TIME by …`.
#[must_use]
pub fn written_at(octets: &[u8]) -> Option<Timestamp> {
    let last = octets.trim_ascii_end().rsplit(|octet| *octet == b'\n').next()?;
    let line = String::from_utf8_lossy(last);
    if let Some((_, stamp)) = line.rsplit_once(" written ") {
        return Timestamp::parse_stamp(stamp.trim());
    }
    let (_, rest) = line.split_once(" generated at ")?;
    let (time, _) = rest.rsplit_once(" by ").unwrap_or((rest, ""));
    let digits: String = time.chars().filter(char::is_ascii_digit).collect();
    match time.chars().next()? {
        '0'..='9' if digits.len() >= 14 => Timestamp::parse_stamp(&digits[..14]),
        '0'..='9' => digits.parse().ok().map(Timestamp::from_secs),
        _ => syntax::parse(time, Timestamp::EPOCH).ok().flatten().map(|time| time.minus(TIME_ZONES)),
    }
}

/// True for a request by Knot's keymgr: its last line says so.
#[must_use]
pub fn is_by_knot(octets: &[u8]) -> bool {
    let last = octets.trim_ascii_end().rsplit(|octet| *octet == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(last).contains(" by Knot DNS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_in_each_form_of_the_last_line() {
        let at = Timestamp::parse_stamp("20261124065551").expect("a time");
        for (line, time) in [
            (
                "generated at Tue Nov 24 06:55:51 2026 by ksr-gen 0.1.0 for 20261124065551 to 20270525000000 written 20261124065551",
                Some(at),
            ),
            ("generated at Tue Nov 24 06:55:51 2026 by 9.20.30-1~deb13u1-Debian", Some(at.minus(TIME_ZONES))),
            ("generated at Tue Nov  3 06:55:51 2026 by x", Some(at.minus(21 * 86_400 + TIME_ZONES))),
            ("generated at 2026-11-24T06:55:51Z by Knot DNS 3.4.6", Some(at)),
            ("generated at 2026-11-24T06:55:51+0000 by Knot DNS 3.4.6", Some(at)),
            ("generated at 1795503351 by Knot DNS", Some(Timestamp::from_secs(1_795_503_351))),
            ("generated at Mon Nov 24 06:55:51 2026 by x", None),
            ("generated at noon by x", None),
            ("generated at  by x", None),
            ("generated", None),
        ] {
            let text =
                format!(";; KeySigningRequest 1.0 20261124065551\n;; KeySigningRequest 1.0 {line}\n\n");
            assert_eq!(written_at(text.as_bytes()), time, "{line}");
        }
        assert_eq!(written_at(b""), None);
    }
}
