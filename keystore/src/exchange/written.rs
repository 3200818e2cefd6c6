//! Who wrote a request, when, and for a zone with which TTLs: what its last line says.

use crate::time::{Timestamp, syntax};

/// BIND prints that time in the local time zone of the host, at most so many seconds ahead of UTC.
const TIME_ZONES: u64 = 14 * 3600;

/// The earliest time that the last line of a request in a text form can mean; `None` when it says nothing.
///
/// The request timer writes `… written YYYYMMDDHHMMSS`, in UTC; `dnssec-ksr` and `keymgr` write `generated at TIME by …`, where TIME may
/// have the offset of its time zone behind it (`+0200`).
#[must_use]
pub fn written_at(octets: &[u8]) -> Option<Timestamp> {
    let last = octets.trim_ascii_end().rsplit(|octet| *octet == b'\n').next()?;
    let line = String::from_utf8_lossy(last);
    if let Some((_, stamp)) = line.rsplit_once(" written ") {
        return Timestamp::parse_stamp(stamp.trim());
    }
    let (_, rest) = line.split_once(" generated at ")?;
    let (time, _) = rest.split_once(" by ").unwrap_or((rest, ""));
    match time.chars().next()? {
        '0'..='9' => with_offset(time).or_else(|| time.trim().parse().ok().map(Timestamp::from_secs)),
        _ => syntax::parse(time, Timestamp::EPOCH).ok().flatten().map(|time| time.minus(TIME_ZONES)),
    }
}

/// Reads fourteen digits, with or without marks between them, and the offset of a time zone behind them: nothing or `Z` for UTC, `+HHMM`
/// or `-HH:MM`. A zone in other words is taken for the one that is farthest ahead of UTC.
fn with_offset(text: &str) -> Option<Timestamp> {
    let (last, _) = text.match_indices(|c: char| c.is_ascii_digit()).nth(13)?;
    let (local, zone) = text.split_at(last + 1);
    let local = Timestamp::parse_stamp(&local.replace(|c: char| !c.is_ascii_digit(), ""))?;
    let fraction = |c: char| c == '.' || c.is_ascii_digit();
    let zone = if zone.starts_with('.') { zone.trim_start_matches(fraction) } else { zone }.trim();
    let offset = |digits: &str| {
        let digits: String = digits.chars().filter(|c| *c != ':').collect();
        if !digits.bytes().all(|octet| octet.is_ascii_digit()) || !matches!(digits.len(), 2 | 4) {
            return None;
        }
        let number: u64 = digits.parse().ok()?;
        let (hours, minutes) = if digits.len() == 2 { (number, 0) } else { (number / 100, number % 100) };
        Some(hours * 3600 + minutes * 60)
    };
    let at = match zone.split_at_checked(1) {
        None | Some(("Z", "")) => Some(local),
        Some(("+", rest)) => offset(rest).map(|ahead| local.minus(ahead)),
        Some(("-", rest)) => offset(rest).map(|behind| local.plus(behind)),
        Some(_) => None,
    };
    Some(at.unwrap_or_else(|| local.minus(TIME_ZONES)))
}

/// True for a request by Knot's keymgr: its last line says so.
#[must_use]
pub fn is_by_knot(octets: &[u8]) -> bool {
    let last = octets.trim_ascii_end().rsplit(|octet| *octet == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(last).contains(" by Knot DNS")
}

/// The program of the last line of a request, with the largest TTL of the zone in seconds behind it where there is one to tell. BIND and
/// Knot ignore that.
#[must_use]
pub fn program_with_ttl(program: &str, largest_ttl: Option<u32>) -> String {
    match largest_ttl {
        Some(ttl) => format!("{program} ({TTL_WORDS}{ttl})"),
        None => program.to_owned(),
    }
}

/// The program of the last line of a request in another form, with what the first one's tells of the zone and of its signer.
#[must_use]
pub fn program_of_copy(program: &str, original: &[u8]) -> String {
    let program = program_with_ttl(program, largest_ttl(original));
    if is_by_knot(original) { format!("{program} (request by Knot DNS)") } else { program }
}

/// What stands before the number of [`program_with_ttl`].
const TTL_WORDS: &str = "largest TTL ";

/// The largest TTL of the zone in seconds, where the last line of a request in a text form tells it.
#[must_use]
pub fn largest_ttl(octets: &[u8]) -> Option<u32> {
    let last = octets.trim_ascii_end().rsplit(|octet| *octet == b'\n').next()?;
    let line = String::from_utf8_lossy(last);
    let (_, rest) = line.split_once(" by ")?.1.split_once(&format!("({TTL_WORDS}"))?;
    rest.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_18_largest_ttl_of_the_last_line_is_read_back_beside_all_else_that_it_says() {
        let line =
            |by: &str| format!(";; KeySigningRequest 1.0 generated at Tue Nov 24 06:55:51 2026 by {by}\n\n");
        let by = |ttl| program_with_ttl("ksr-gen 0.1.0", ttl);
        let at = Timestamp::parse_stamp("20261124065551").expect("a time");
        for ttl in [None, Some(0), Some(604_800), Some(u32::MAX)] {
            let plain = line(&by(ttl));
            let timer =
                line(&format!("{} for 20261201000000 to 20270101000000 written 20261124065551", by(ttl)));
            for text in [plain, timer.clone()] {
                assert_eq!(largest_ttl(text.as_bytes()), ttl, "{text}");
            }
            assert_eq!(written_at(timer.as_bytes()), Some(at), "{timer}");
        }
        for other in
            ["9.20.30-1~deb13u1-Debian", "Knot DNS 3.4.6", "x (largest TTL 4294967296)", "x (largest TTL 1"]
        {
            assert_eq!(largest_ttl(line(other).as_bytes()), None, "{other}");
        }
        // A copy in another form tells the same.
        for (by, ttl, knot) in [
            ("Knot DNS 3.4.6", None, true),
            ("ksr-gen 0.1.0 (largest TTL 5)", Some(5), false),
            ("x", None, false),
        ] {
            let copy = line(&program_of_copy("offline-ksk 0.1.0", line(by).as_bytes()));
            assert_eq!((largest_ttl(copy.as_bytes()), is_by_knot(copy.as_bytes())), (ttl, knot), "{copy}");
            assert!(written_at(copy.as_bytes()).is_some(), "{copy}");
        }
        // Anywhere else it is not told by whoever wrote the request.
        assert_eq!(largest_ttl(format!("; by x (largest TTL 5)\n{}", line("y")).as_bytes()), None);
    }

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
            ("generated at 2026-11-24T08:55:51+0200 by Knot DNS 3.4.6", Some(at)),
            ("generated at 2026-11-24T08:55:51 +02:00 by Knot DNS 3.4.6", Some(at)),
            ("generated at 2026-11-24T01:25:51-0530 by Knot DNS 3.4.6", Some(at)),
            ("generated at 2026-11-23T20:55:51-10 by Knot DNS 3.4.6", Some(at)),
            ("generated at 2026-11-24T06:55:51.25Z by Knot DNS 3.4.6", Some(at)),
            ("generated at 20261124065551 by x", Some(at)),
            ("generated at 2026-11-24 06:55:51 CET by x", Some(at.minus(TIME_ZONES))),
            ("generated at 2026-11-24T06:55:51+ by x", Some(at.minus(TIME_ZONES))),
            ("generated at 2026-11-24T06:55:51+02999999999999999999 by x", Some(at.minus(TIME_ZONES))),
            ("generated at 2026-11-24T06:55:51-02307445734561825861 by x", Some(at.minus(TIME_ZONES))),
            ("generated at 2026-11-24T06:55:51+0+30 by x", Some(at.minus(TIME_ZONES))),
            ("generated at 2026-11-24T06:55:51+ü2 by x", Some(at.minus(TIME_ZONES))),
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
