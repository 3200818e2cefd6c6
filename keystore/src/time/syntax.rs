//! The time syntax of the BIND tools (`-i`, `-e`): absolute, relative to now, offsets (month = 30 d).
//!
//! Stricter than BIND in one way: what BIND takes silently for something else (`+1h30mi` for one hour, `+010d` for eight
//! days, years that wrap at 2^32 seconds) is refused, and the error says what to write.

use super::Timestamp;

/// Last second that the 32 bits of BIND's times hold.
const LAST: u64 = u32::MAX as u64;

/// Reads a time as `dnssec-ksr -i` and `-e` do; `Ok(None)` for `none`, `never`, `unset`.
///
/// `now`, `YYYYMMDD`, `YYYYMMDDHHMMSS`, `YYYY-MM-DD`, `YYYY-MM-DDTHH:MM:SSZ`, seconds since 1970 as 10 digits, or
/// `Www Mmm DD HH:MM:SS YYYY`, all in UTC (BIND does not read the two with dashes, and the last one in the local time zone), each with an optional `+offset` or `-offset`; an offset alone counts from `now`; `0` and
/// `-` are the epoch. An offset is a number and a unit: `y` 365 d, `mo` 30 d, `w`, `d`, `h`, `mi`, `s`, or their English words,
/// or none for seconds. Second 60 is the second after 59.
pub fn parse(text: &str, now: Timestamp) -> Result<Option<Timestamp>, TimeSyntaxError> {
    if ["none", "never", "unset"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Ok(None);
    }
    if text == "0" || text == "-" {
        return Ok(Some(Timestamp::EPOCH));
    }
    let (base, rest) = base(text, now)?;
    let seconds = match rest.as_bytes() {
        [] => i128::from(base.secs()),
        [b'+', ..] => i128::from(base.secs()) + i128::from(offset(&rest[1..], text, rest)?),
        [b'-', ..] => i128::from(base.secs()) - i128::from(offset(&rest[1..], text, rest)?),
        _ => return Err(TimeSyntaxError::Invalid(text.to_owned())),
    };
    match u64::try_from(seconds) {
        Ok(seconds) if seconds <= LAST => Ok(Some(Timestamp::from_secs(seconds))),
        _ => Err(TimeSyntaxError::OutOfRange(text.to_owned())),
    }
}

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeSyntaxError {
    /// Not readable at all.
    #[error("time value {0} is invalid; {FORMS}")]
    Invalid(String),
    /// `m` alone.
    #[error("'{0}' ambiguous: use 'mi' for minutes or 'mo' for months")]
    Ambiguous(String),
    /// A date that does not exist, or a time outside of 1970 to 2106 (32 bits of seconds).
    #[error("time value {0} is invalid: out of range; {FORMS}")]
    OutOfRange(String),
    /// A text that other tools take silently for something else than it looks like.
    #[error("time value {text} is invalid: {why}; write {instead}")]
    Misread {
        /// The text.
        text: String,
        /// What the other tools make of it.
        why: &'static str,
        /// What to write.
        instead: String,
    },
}

/// What to write in place of a time that does not read.
const FORMS: &str = "write YYYYMMDD, YYYYMMDDHHMMSS, YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ (all UTC, until 2106), or an offset such as now+90d";

/// The base of a time, and the rest of the text.
fn base(text: &str, now: Timestamp) -> Result<(Timestamp, &str), TimeSyntaxError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (head, rest) = text.split_at(digits);
    let ends = rest.is_empty() || rest.starts_with(['+', '-']);
    let out_of_range = || TimeSyntaxError::OutOfRange(text.to_owned());
    match digits {
        8 if ends => stamp(&format!("{head}000000")).map(|t| (t, rest)).ok_or_else(out_of_range),
        14 if ends => stamp(head).map(|t| (t, rest)).ok_or_else(out_of_range),
        10 if ends && head.starts_with('0') => Err(TimeSyntaxError::Misread {
            text: text.to_owned(),
            why: "a leading zero makes it an octal number for BIND",
            instead: "the time as YYYYMMDDHHMMSS".to_owned(),
        }),
        10 if ends => {
            let seconds = head.parse().map_err(|_| out_of_range())?;
            if seconds <= LAST { Ok((Timestamp::from_secs(seconds), rest)) } else { Err(out_of_range()) }
        }
        4 if rest.starts_with('-') => iso(text),
        0 if text.starts_with("now") => Ok((now, &text[3..])),
        0 if text.starts_with(|c: char| c.is_ascii_uppercase()) => {
            let (head, rest) =
                text.split_at_checked(24).ok_or_else(|| TimeSyntaxError::Invalid(text.to_owned()))?;
            ctime(head, text).map(|t| (t, rest))
        }
        0 if !text.is_empty() => Ok((now, rest)),
        _ => Err(TimeSyntaxError::Invalid(text.to_owned())),
    }
}

/// `YYYY-MM-DD` or `YYYY-MM-DDTHH:MM:SSZ` at the start of `text`, and the rest of it (ISO 8601, as times are printed).
fn iso(text: &str) -> Result<(Timestamp, &str), TimeSyntaxError> {
    let invalid = || TimeSyntaxError::Invalid(text.to_owned());
    let fits = |shape: &[u8]| {
        let head = text.as_bytes().get(..shape.len());
        head.is_some_and(|head| {
            head.iter().zip(shape).all(|(octet, want)| match want {
                b'9' => octet.is_ascii_digit(),
                other => octet.eq_ignore_ascii_case(other),
            })
        })
    };
    let (len, clock) = match () {
        () if fits(b"9999-99-99T99:99:99Z") => (20, ""),
        () if fits(b"9999-99-99T") => {
            return Err(TimeSyntaxError::Misread {
                text: text.to_owned(),
                why: "a time of day is HH:MM:SS and ends in Z, for UTC",
                instead: format!("{}T00:00:00Z", &text[..10]),
            });
        }
        () if fits(b"9999-99-99") => (10, "000000"),
        () => return Err(invalid()),
    };
    let (head, rest) = text.split_at(len);
    if !rest.is_empty() && !rest.starts_with(['+', '-']) {
        return Err(invalid());
    }
    let digits: String = head.chars().filter(char::is_ascii_digit).chain(clock.chars()).collect();
    let time = stamp(&digits).filter(|time| time.secs() <= LAST);
    time.map(|time| (time, rest)).ok_or_else(|| TimeSyntaxError::OutOfRange(text.to_owned()))
}

/// Fourteen digits, second 60 allowed.
fn stamp(digits: &str) -> Option<Timestamp> {
    match digits.strip_suffix("60") {
        Some(minute) => Timestamp::parse_stamp(&format!("{minute}59")).map(|t| t.plus(1)),
        None => Timestamp::parse_stamp(digits),
    }
}

/// `Www Mmm DD HH:MM:SS YYYY`, 24 octets, the day padded with a blank or a zero.
fn ctime(head: &str, text: &str) -> Result<Timestamp, TimeSyntaxError> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let invalid = || TimeSyntaxError::Invalid(text.to_owned());
    if !head.is_ascii() {
        return Err(invalid());
    }
    let shape = [(3, " "), (7, " "), (10, " "), (13, ":"), (16, ":"), (19, " ")];
    if shape.iter().any(|(at, separator)| head.get(*at..at + 1) != Some(separator)) {
        return Err(invalid());
    }
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(&head[4..7])).ok_or_else(invalid)? + 1;
    let day = head[8..10].replace(' ', "0");
    let digits =
        format!("{}{month:02}{day}{}{}{}", &head[20..24], &head[11..13], &head[14..16], &head[17..19]);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    let time = stamp(&digits).ok_or_else(|| TimeSyntaxError::OutOfRange(text.to_owned()))?;
    // Second 60 may be the first of another day: the day of the week is that of the minute.
    let weekday_of = time.minus(u64::from(digits.ends_with("60"))).ctime();
    if !weekday_of[..3].eq_ignore_ascii_case(&head[..3]) {
        return Err(TimeSyntaxError::Misread {
            text: text.to_owned(),
            why: "that date is another day of the week",
            instead: format!("{}{}", &weekday_of[..3], &head[3..]),
        });
    }
    Ok(time)
}

/// The seconds of an offset, without its sign. `signed` is the offset with its sign, `text` the whole time.
fn offset(offset: &str, text: &str, signed: &str) -> Result<u64, TimeSyntaxError> {
    let sign = &signed[..1];
    let len = offset.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = offset.split_at(len);
    let misread = |why, instead| TimeSyntaxError::Misread { text: text.to_owned(), why, instead };
    if len == 0 {
        let why = "the offset has no number, which is 0 for BIND";
        return Err(misread(why, format!("a number and a unit behind the '{sign}', such as {sign}90d")));
    }
    let lower = unit.to_ascii_lowercase();
    if digits == "0" && lower.starts_with('x') {
        let hex: String = lower[1..].chars().take_while(char::is_ascii_hexdigit).collect();
        let instead = match u64::from_str_radix(&hex, 16) {
            Ok(value) => format!("the number in decimal ({sign}{value})"),
            Err(_) => "the number in decimal".to_owned(),
        };
        return Err(misread("hexadecimal numbers are not read here", instead));
    }
    if len > 1 && digits.starts_with('0') {
        let decimal = digits.trim_start_matches('0');
        let decimal = if decimal.is_empty() { "0" } else { decimal };
        let why = "a leading zero makes it an octal number for BIND";
        return Err(misread(why, format!("{sign}{decimal}{unit}")));
    }
    let out_of_range = || TimeSyntaxError::OutOfRange(text.to_owned());
    let number: u64 = digits.parse().map_err(|_| out_of_range())?;
    if let Some(seconds) = unit_seconds(&lower) {
        return number.checked_mul(seconds).ok_or_else(out_of_range);
    }
    if lower == "m" {
        return Err(TimeSyntaxError::Ambiguous(text.to_owned()));
    }
    // BIND stops at the first letter (two for `m`): what looks like a sum is one term for it.
    let known =
        lower.starts_with(['y', 'w', 'd', 'h', 's']) || lower.starts_with("mo") || lower.starts_with("mi");
    if !known {
        return Err(TimeSyntaxError::Invalid(text.to_owned()));
    }
    let instead = match sum(offset) {
        Some(seconds) => format!("{sign}{seconds}"),
        None => format!("one number and one unit (y, mo, w, d, h, mi, s), such as {sign}90d"),
    };
    Err(misread("BIND ignores what follows the first unit", instead))
}

/// Seconds of a unit in lower case.
fn unit_seconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "mi" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 7 * 86_400,
        "mo" | "mon" | "month" | "months" => 30 * 86_400,
        "y" | "year" | "years" => 365 * 86_400,
        _ => return None,
    })
}

/// The sum that `1h30mi` looks like, in seconds.
fn sum(mut rest: &str) -> Option<u64> {
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let seconds = number.parse::<u64>().ok()?.checked_mul(unit_seconds(&unit.to_ascii_lowercase())?)?;
        total = total.checked_add(seconds)?;
        rest = tail;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn at(stamp: &str) -> Timestamp {
        Timestamp::parse_stamp(stamp).expect("a stamp")
    }

    #[test]
    fn kind_27_times_are_read_as_they_are_printed_and_a_bad_one_is_answered_with_the_forms() {
        let now = Timestamp::from_secs(1_800_000_000);
        let read = |text: &str| parse(text, now);
        for (text, stamp) in [
            ("2027-11-01", "20271101000000"),
            ("2027-11-01T00:00:00Z", "20271101000000"),
            ("2027-11-01t12:34:56z", "20271101123456"),
            ("2028-02-29T23:59:59Z", "20280229235959"),
            ("2027-11-01+1d", "20271102000000"),
            ("2027-11-01T00:00:00Z-1h", "20271031230000"),
            ("2027-12-31T23:59:60Z", "20280101000000"),
        ] {
            assert_eq!(read(text), Ok(Timestamp::parse_stamp(stamp)), "{text}");
        }
        for secs in [0, 1, 951_782_400, 1_800_000_000, LAST] {
            let time = Timestamp::from_secs(secs);
            for printed in [time.iso(), time.to_string(), time.ctime()] {
                assert_eq!(read(&printed), Ok(Some(time)), "{printed}");
            }
        }
        for bad in [
            "2027-11",
            "2027-1-1",
            "2027-11-01x",
            "2027-11-31",
            "2027-13-01",
            "2200-01-01",
            "tomorrow?",
            "1.11.2027",
        ] {
            let error = read(bad).expect_err(bad).to_string();
            assert!(error.contains("YYYY-MM-DDTHH:MM:SSZ") || error.contains("write"), "{bad}: {error}");
        }
        for bad in ["2027-11-01T00:00:00", "2027-11-01T00:00Z", "2027-11-01T00:00:00+02:00"] {
            let error = read(bad).expect_err(bad).to_string();
            assert!(error.contains("write 2027-11-01T00:00:00Z"), "{bad}: {error}");
        }
    }

    #[test]
    fn as_the_tools_read_them() {
        let now = at("20261124034657");
        let day = 86_400;
        for (text, expected) in [
            ("now", now),
            ("0", Timestamp::EPOCH),
            ("-", Timestamp::EPOCH),
            ("20261124", at("20261124000000")),
            ("20261124034658", at("20261124034658")),
            ("20261124235960", at("20261125000000")),
            ("20261231235960", at("20270101000000")),
            ("1700000000", Timestamp::from_secs(1_700_000_000)),
            ("4294967295", Timestamp::from_secs(4_294_967_295)),
            ("21060207062815", Timestamp::from_secs(4_294_967_295)),
            ("19700101", Timestamp::EPOCH),
            ("Tue Nov 24 03:46:57 2026", now),
            ("TUE nov 24 03:46:57 2026", now),
            ("Fri Jan  1 00:00:00 2027", at("20270101000000")),
            ("Fri Jan 01 00:00:00 2027", at("20270101000000")),
            ("Thu Dec 31 23:59:60 2026", at("20270101000000")),
            ("Tue Nov 24 03:46:57 2026+1d", now.plus(day)),
            ("now+1d", now.plus(day)),
            ("now-1d", now.minus(day)),
            ("20261124+36h", at("20261125120000")),
            ("20261124034658-2", at("20261124034656")),
            ("1700000000+1", Timestamp::from_secs(1_700_000_001)),
            ("+1", now.plus(1)),
            ("+1s", now.plus(1)),
            ("+0", now),
            ("+0d", now),
            ("+90mi", now.plus(5400)),
            ("+2H", now.plus(7200)),
            ("-1w", now.minus(7 * day)),
            ("+1mo", now.plus(30 * day)),
            ("+6MO", now.plus(180 * day)),
            ("+1Y", now.plus(365 * day)),
            ("+2years", now.plus(730 * day)),
            ("+3Weeks", now.plus(21 * day)),
        ] {
            assert_eq!(parse(text, now), Ok(Some(expected)), "{text}");
        }
        for text in ["none", "Never", "UNSET"] {
            assert_eq!(parse(text, now), Ok(None), "{text}");
        }
    }

    #[test]
    fn refused_with_a_hint() {
        let now = at("20261124034657");
        for (text, message) in [
            ("+1m", "'+1m' ambiguous: use 'mi' for minutes or 'mo' for months"),
            ("20261301", "time value 20261301 is invalid: out of range"),
            ("20260231", "time value 20260231 is invalid: out of range"),
            ("20261124236000", "time value 20261124236000 is invalid: out of range"),
            ("20261124240000", "time value 20261124240000 is invalid: out of range"),
            ("19691231", "time value 19691231 is invalid: out of range"),
            ("21060207062816", "time value 21060207062816 is invalid: out of range"),
            ("99991231235960", "time value 99991231235960 is invalid: out of range"),
            ("9999999999", "time value 9999999999 is invalid: out of range"),
            ("now-100y", "time value now-100y is invalid: out of range"),
            ("+200y", "time value +200y is invalid: out of range"),
            ("+99999999999999999999y", "time value +99999999999999999999y is invalid: out of range"),
            ("+18446744073709551615y", "time value +18446744073709551615y is invalid: out of range"),
            (
                "+1h30mi",
                "time value +1h30mi is invalid: BIND ignores what follows the first unit; write +5400",
            ),
            (
                "now-1d 2h",
                "time value now-1d 2h is invalid: BIND ignores what follows the first unit; write one number and one unit (y, mo, w, d, h, mi, s), such as -90d",
            ),
            (
                "+010d",
                "time value +010d is invalid: a leading zero makes it an octal number for BIND; write +10d",
            ),
            (
                "+0x10d",
                "time value +0x10d is invalid: hexadecimal numbers are not read here; write the number in decimal (+269)",
            ),
            (
                "0999999999",
                "time value 0999999999 is invalid: a leading zero makes it an octal number for BIND; write the time as YYYYMMDDHHMMSS",
            ),
            (
                "now+",
                "time value now+ is invalid: the offset has no number, which is 0 for BIND; write a number and a unit behind the '+', such as +90d",
            ),
            (
                "+-5d",
                "time value +-5d is invalid: the offset has no number, which is 0 for BIND; write a number and a unit behind the '+', such as +90d",
            ),
            (
                "Mon Nov 24 03:46:57 2026",
                "time value Mon Nov 24 03:46:57 2026 is invalid: that date is another day of the week; write Tue Nov 24 03:46:57 2026",
            ),
        ] {
            let found = parse(text, now).expect_err(text).to_string();
            assert_eq!(found.strip_suffix(&format!("; {FORMS}")).unwrap_or(&found), message);
        }
        for text in [
            "",
            " ",
            "00",
            "Now",
            "now ",
            "now40d",
            "123",
            "20261124 ",
            "2026112403465",
            "+1z",
            "+1d\u{fc}",
            "tue Nov 24 03:46:57 2026",
            "Tue Nov 24 03:46:57",
            "Tue Xxx 24 03:46:57 2026",
            "Tue Nov 24 03-46:57 2026",
            "Tue Nov 2x 03:46:57 2026",
            "Tue Nov 24 03:46:57 2026 ",
            "\u{fc}",
            "Tue Nov 24 03:46:57 202\u{fc}",
        ] {
            let error = parse(text, now).expect_err(text);
            assert!(error.to_string().starts_with("time value"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn stamps_and_ctime_round_trip(seconds in 0..=LAST, now in 0..=LAST) {
            let (time, now) = (Timestamp::from_secs(seconds), Timestamp::from_secs(now));
            prop_assert_eq!(parse(&time.to_string(), now), Ok(Some(time)));
            prop_assert_eq!(parse(&time.ctime(), now), Ok(Some(time)));
            if seconds >= 1_000_000_000 {
                prop_assert_eq!(parse(&seconds.to_string(), now), Ok(Some(time)));
            }
            let ahead = i128::from(seconds) - i128::from(now.secs());
            prop_assert_eq!(parse(&format!("now{ahead:+}"), now), Ok(Some(time)));
        }

        #[test]
        fn any_text_is_judged(text in "(now|[0-9]{8}|[0-9]{10}|[0-9]{14}|[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]{2} [0-9:]{8} [0-9]{4}|)[+-]?[0-9ymowdhisx]{0,8}|.*") {
            let _ = parse(&text, Timestamp::from_secs(1_800_000_000));
        }
    }
}
