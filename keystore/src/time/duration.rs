//! Durations of `dnssec-policy`: ISO 8601 (year = 365 d, month = 31 d) or TTL text (`1h30m`).

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const MONTH: u64 = 31 * DAY;
const YEAR: u64 = 365 * DAY;

/// Reads a `dnssec-policy` duration: ISO 8601 `P[nY][nM][nD][T[nH][nM][nS]]` or `PnW`, TTL text, or bare seconds.
/// Letters in any case. `unlimited` is not read here.
///
/// ISO 8601 saturates at 2^32-1 seconds, as in BIND; each number, and the sum of TTL text, must fit in 32 bits.
/// Where BIND takes a missing number for 0 (`P`, `PT`, `PY`, `P1DT`) or a sign (`P+3D`), nothing is read.
#[must_use]
pub fn parse(text: &str) -> Option<u32> {
    match text.as_bytes() {
        [b'P' | b'p', rest @ ..] => iso(rest),
        bytes => ttl(bytes),
    }
}

/// ISO 8601 after the `P`.
fn iso(mut rest: &[u8]) -> Option<u32> {
    if let [number @ .., b'W' | b'w'] = rest {
        return Some(saturated(digits(number)? * WEEK));
    }
    let (mut total, mut in_time, mut next) = (0u64, false, 0);
    // Every unit at most once, in this order; `M` is a month before `T` and a minute behind it.
    let units =
        [(b'y', YEAR), (b'm', MONTH), (b'd', DAY), (b't', 0), (b'h', HOUR), (b'm', MINUTE), (b's', 1)];
    while let Some(first) = rest.first() {
        if first.eq_ignore_ascii_case(&b't') && !in_time && rest.len() > 1 {
            (in_time, next, rest) = (true, 4, &rest[1..]);
            continue;
        }
        let len = rest.iter().position(|b| !b.is_ascii_digit())?;
        let unit = rest[len].to_ascii_lowercase();
        let end = if in_time { units.len() } else { 3 };
        let found = units.get(next..end)?.iter().position(|(letter, _)| *letter == unit)?;
        // At most six times 2^32 times a year: no overflow.
        total += digits(&rest[..len])? * units[next + found].1;
        next += found + 1;
        rest = &rest[len + 1..];
    }
    (next > 0).then(|| saturated(total))
}

/// `1h30m`, in any order and repeated, or bare seconds.
fn ttl(mut rest: &[u8]) -> Option<u32> {
    if let Some(seconds) = digits(rest) {
        return u32::try_from(seconds).ok();
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let len = rest.iter().position(|b| !b.is_ascii_digit())?;
        let unit = match rest[len].to_ascii_lowercase() {
            b'w' => WEEK,
            b'd' => DAY,
            b'h' => HOUR,
            b'm' => MINUTE,
            b's' => 1,
            _ => return None,
        };
        total = total.checked_add(digits(&rest[..len])? * unit)?;
        rest = &rest[len + 1..];
    }
    u32::try_from(total).ok()
}

/// A decimal number of at most 32 bits; leading zeros are fine.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse::<u32>().ok().map(u64::from)
}

fn saturated(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const D: u32 = 86_400;

    #[test]
    fn as_bind_reads_them() {
        // Verdicts of `named-checkconf -p` 9.20.30, except for the lines under "stricter".
        let table: &[(&str, Option<u32>)] = &[
            ("P1Y", Some(365 * D)),
            ("P1M", Some(31 * D)),
            ("P6M", Some(186 * D)),
            ("PT1M", Some(60)),
            ("P1MT1M", Some(31 * D + 60)),
            ("P1W", Some(7 * D)),
            ("p2w", Some(14 * D)),
            ("P1Y2M3DT4H5M6S", Some(365 * D + 62 * D + 3 * D + 4 * 3600 + 5 * 60 + 6)),
            ("p1y2m", Some(427 * D)),
            ("pt12h", Some(12 * 3600)),
            ("PT36H", Some(36 * 3600)),
            ("P0D", Some(0)),
            ("PT0S", Some(0)),
            ("P01D", Some(D)),
            ("P00000000000000000000001D", Some(D)),
            ("P200Y", Some(u32::MAX)),
            ("P4294967295D", Some(u32::MAX)),
            ("P4294967295W", Some(u32::MAX)),
            ("PT4294967295S", Some(u32::MAX)),
            ("P4294967296D", None),
            ("P1W2D", None),
            ("P1D1Y", None),
            ("P1Y1Y", None),
            ("P1M1M", None),
            ("P1D2D", None),
            ("PT1H1D", None),
            ("PT1S1M", None),
            ("PT1M1M", None),
            ("P1DT1D", None),
            ("P1H", None),
            ("P1", None),
            ("P1WT", None),
            ("PT1HT1M", None),
            ("P-3D", None),
            ("P1.5D", None),
            ("P3Y6M4DT12H30M5SX", None),
            ("30", Some(30)),
            ("0", Some(0)),
            ("0d", Some(0)),
            ("010", Some(10)),
            ("1d", Some(D)),
            ("1D", Some(D)),
            ("1h30m", Some(5400)),
            ("1m1h", Some(3660)),
            ("1h1h", Some(7200)),
            ("4294967295", Some(u32::MAX)),
            ("7101w", Some(7101 * 7 * D)),
            ("4294967296", None),
            ("7102w", None),
            ("1h30", None),
            ("1x", None),
            ("1mo", None),
            ("1y", None),
            ("1hh", None),
            ("h", None),
            ("-1", None),
            ("+1", None),
            ("0x10", None),
            ("unlimited", None),
            ("", None),
            (" 1d", None),
            ("1 d", None),
            // Stricter than BIND, which reads 0 or skips the sign.
            ("P", None),
            ("PT", None),
            ("PY", None),
            ("PW", None),
            ("P1YM", None),
            ("P1DT", None),
            ("P+3D", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), *expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn iso_is_the_sum_of_its_parts(y in 0..100u32, mo in 0..20u32, d in 0..99u32, h in 0..99u32, mi in 0..99u32, s in 0..999u32) {
            let sum = y * 365 * D + mo * 31 * D + d * D + h * 3600 + mi * 60 + s;
            prop_assert_eq!(parse(&format!("P{y}Y{mo}M{d}DT{h}H{mi}M{s}S")), Some(sum));
            prop_assert_eq!(parse(&format!("{d}d{h}h{mi}m{s}s")), Some(d * D + h * 3600 + mi * 60 + s));
        }

        #[test]
        fn any_text_is_judged(text in "[pP]?[0-9ymwdhstYMWDHST+. -]{0,24}|.*") {
            let _ = parse(&text);
        }
    }
}
