//! The text forms of durations and times: those of XML Schema, as far as the format allows them.

use std::fmt::Write;

use crate::time::Timestamp;

const UNITS: [(u8, u64); 4] = [(b'D', 86_400), (b'H', 3600), (b'M', 60), (b'S', 1)];

/// Reads `PnW`, or `PnDTnHnMnS` of which parts may be missing, in seconds. Months and years have no length, and fractions,
/// signs and empty forms are refused. At most 100 years.
pub(super) fn parse_duration(text: &str) -> Option<u64> {
    const MAX: u64 = 100 * 366 * 86_400;
    let body = text.strip_prefix('P')?;
    let seconds = if let Some(weeks) = body.strip_suffix('W') {
        number::<u64>(weeks)?.checked_mul(7 * 86_400)?
    } else {
        let (date, time) = match body.split_once('T') {
            Some((_, "")) => return None,
            Some((date, time)) => (date, time),
            None => (body, ""),
        };
        if date.is_empty() && time.is_empty() {
            return None;
        }
        parts(date, &UNITS[..1])?.checked_add(parts(time, &UNITS[1..])?)?
    };
    (seconds <= MAX).then_some(seconds)
}

/// Reads numbers, each with its unit, the units in order and each at most once.
fn parts(mut text: &str, mut units: &[(u8, u64)]) -> Option<u64> {
    let mut sum = 0u64;
    while !text.is_empty() {
        let at = text.bytes().position(|b| !b.is_ascii_digit())?;
        let place = units.iter().position(|(unit, _)| *unit == text.as_bytes()[at])?;
        sum = sum.checked_add(number::<u64>(&text[..at])?.checked_mul(units[place].1)?)?;
        (text, units) = (&text[at + 1..], &units[place + 1..]);
    }
    Some(sum)
}

/// Reads decimal digits and nothing else.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// The form in which real files have durations: days, then hours, minutes and seconds; `PT0S` for none.
pub(super) fn duration(seconds: u64) -> String {
    let mut out = "P".to_owned();
    let (mut rest, mut time) = (seconds, false);
    for (unit, length) in UNITS {
        let count = rest / length;
        rest %= length;
        if count == 0 && !(unit == b'S' && seconds == 0) {
            continue;
        }
        if unit != b'D' && !time {
            out.push('T');
            time = true;
        }
        let _ = write!(out, "{count}{}", char::from(unit));
    }
    out
}

/// Reads `2017-04-01T00:00:00` with nothing, `Z` or `+00:00` behind it, all of which mean UTC here. Times end in 2106, as
/// those of RRSIG records do.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00")).unwrap_or(text);
    let octets = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if octets.len() != 19 || marks.iter().any(|(at, mark)| octets[*at] != *mark) {
        return None;
    }
    let digits: String =
        text.char_indices().filter(|(at, _)| marks.iter().all(|(m, _)| m != at)).map(|(_, c)| c).collect();
    Timestamp::parse_stamp(&digits).filter(|t| u32::try_from(t.secs()).is_ok())
}

/// `2017-04-01T00:00:00`.
pub(super) fn time(at: Timestamp) -> String {
    let mut text = at.iso();
    text.truncate(19);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        const D: u64 = 86_400;
        for (text, seconds) in [
            ("P10D", 10 * D),
            ("PT0S", 0),
            ("P0D", 0),
            ("P3W", 21 * D),
            ("P14DT23H59M59S", 15 * D - 1),
            ("PT36H", D + D / 2),
            ("PT1H1S", 3601),
            ("P1DT1M", D + 60),
        ] {
            assert_eq!(parse_duration(text), Some(seconds), "{text}");
            assert_eq!(parse_duration(&duration(seconds)), Some(seconds), "{text}");
        }
        assert_eq!(duration(28 * D), "P28D");
        assert_eq!(duration(15 * D - 1), "P14DT23H59M59S");
        for bad in [
            "",
            "P",
            "PT",
            "P1",
            "1D",
            "P1M",
            "P1Y",
            "P1DT",
            "PT1D",
            "P1H",
            "P-1D",
            "-P1D",
            "P+1D",
            "P1.5D",
            "PT1.5S",
            "P1WT1H",
            "P1W1D",
            "PW",
            "P1D1D",
            "PT1S1M",
            "PT1M1M",
            "p1d",
            "P 1D",
            "P1D ",
            "P36601D",
            "PD",
            "P99999999999999999999D",
            "P9999999999999999W",
            "PT5124095576030432H",
            "P1DT1É",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn times() {
        let t = Timestamp::parse_stamp("20170401000000").expect("a stamp");
        for text in ["2017-04-01T00:00:00", "2017-04-01T00:00:00Z", "2017-04-01T00:00:00+00:00"] {
            assert_eq!(parse_time(text), Some(t), "{text}");
        }
        assert_eq!(time(t), "2017-04-01T00:00:00");
        for bad in [
            "2017-04-01",
            "2017-04-01T00:00",
            "2017-04-01T00:00:00.0",
            "2017-04-01T00:00:00+01:00",
            "2017-04-01T00:00:00-00:00",
            "2017-04-01T00:00:00ZZ",
            "2017-04-01 00:00:00",
            "2017-04-01t00:00:00",
            "2017-04-31T00:00:00",
            "2017-04-01T24:00:00",
            "2017-04-01T00:00:60",
            "20170401T000000",
            "-017-04-01T00:00:00",
            "2017-04-01T00:00:0é",
            "2106-02-07T06:28:16",
            "12017-04-01T00:00:00",
            "1969-12-31T23:59:59",
            "",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
        assert!(parse_time("2106-02-07T06:28:15").is_some());
    }
}
