//! How times and spans are told, how they stand in JSON, and how text from files is made safe for a terminal.

use keystore::time::Timestamp;

/// Seconds of a day.
pub const DAY: u64 = 86_400;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The parts of a time, all UTC.
struct Parts {
    year: String,
    month: usize,
    day: String,
    time: String,
}

fn parts(time: Timestamp) -> Parts {
    let stamp = time.to_string();
    let day = stamp[6..8].trim_start_matches('0').to_owned();
    Parts {
        year: stamp[..4].to_owned(),
        month: stamp[4..6].parse().unwrap_or(1),
        day,
        time: format!("{}:{}", &stamp[8..10], &stamp[10..12]),
    }
}

/// `7 Dec 2026`, in UTC.
#[must_use]
pub fn date(time: Timestamp) -> String {
    let Parts { year, month, day, .. } = parts(time);
    format!("{day} {} {year}", month_name(month))
}

/// `7 Dec 2026 00:00`, in UTC.
#[must_use]
pub fn date_time(time: Timestamp) -> String {
    format!("{} {}", date(time), parts(time).time)
}

/// The short name of a month, from 1.
#[must_use]
pub fn month_name(month: usize) -> &'static str {
    MONTHS[(month.max(1) - 1) % 12]
}

/// `10 days`, `1 day`, `5 hours`, `12 minutes`, `40 seconds`: the largest unit of which there are at least two, or one day.
#[must_use]
pub fn span(seconds: u64) -> String {
    let count = |number: u64, unit: &str| {
        if number == 1 { format!("1 {unit}") } else { format!("{number} {unit}s") }
    };
    match seconds {
        s if s >= DAY => count(s / DAY, "day"),
        s if s >= 2 * 3600 => count(s / 3600, "hour"),
        s if s >= 2 * 60 => count(s / 60, "minute"),
        s => count(s, "second"),
    }
}

/// `in 10 days`, `10 days ago`, `now`.
#[must_use]
pub fn distance(time: Timestamp, now: Timestamp) -> String {
    match (time.since(now), now.since(time)) {
        (0, 0) => "now".to_owned(),
        (ahead, 0) => format!("in {}", span(ahead)),
        (_, ago) => format!("{} ago", span(ago)),
    }
}

/// A number with a thin gap between groups of three digits from 10 000 on: `10 000`.
#[must_use]
pub fn number(value: usize) -> String {
    let digits = value.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{a0}');
        }
        out.push(digit);
    }
    out
}

/// `1 zone`, `2 zones`.
#[must_use]
pub fn counted(value: usize, unit: &str) -> String {
    if value == 1 { format!("1 {unit}") } else { format!("{}\u{a0}{unit}s", number(value)) }
}

/// Text from outside as one line that cannot steer a terminal: control characters and the invisible ones that change the direction or
/// the look of text are escaped.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped: Box<dyn Iterator<Item = char>> =
                if is_unsafe(c) { Box::new(c.escape_unicode()) } else { Box::new(std::iter::once(c)) };
            escaped
        })
        .collect()
}

/// C0 and C1 controls, and the characters of no width or of another direction.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// Times in JSON: `2026-12-07T00:00:00Z`, or null.
pub mod iso {
    use keystore::time::Timestamp;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Reads what [`Timestamp::iso`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Timestamp> {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let time = Timestamp::parse_stamp(&digits)?;
        (time.iso() == text).then_some(time)
    }

    /// Writes a time.
    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time.iso())
    }

    /// Reads a time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| D::Error::custom("expected a time like 2026-12-07T00:00:00Z"))
    }

    /// The same for a time that may be missing.
    pub mod option {
        use super::{Deserialize, Deserializer, Serializer, Timestamp};
        use serde::de::Error as _;

        /// Writes a time, or null.
        #[allow(clippy::ref_option, reason = "serde asks for this signature")]
        pub fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => serializer.serialize_some(&time.iso()),
                None => serializer.serialize_none(),
            }
        }

        /// Reads a time, or null.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Timestamp>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            let bad = || D::Error::custom("expected a time like 2026-12-07T00:00:00Z, or null");
            text.map(|text| super::parse(&text).ok_or_else(bad)).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stamp: &str) -> Timestamp {
        Timestamp::parse_stamp(stamp).expect("a stamp")
    }

    #[test]
    fn times_are_told_in_words() {
        let t = at("20261207000500");
        assert_eq!((date(t), date_time(t)), ("7 Dec 2026".to_owned(), "7 Dec 2026 00:05".to_owned()));
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7199, "119 minutes"),
            (7200, "2 hours"),
            (DAY, "1 day"),
            (10 * DAY + 4, "10 days"),
        ] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(distance(t, t), "now");
        assert_eq!(distance(t.plus(DAY), t), "in 1 day");
        assert_eq!(distance(t, t.plus(7200)), "2 hours ago");
        assert_eq!(number(9_999), "9999");
        assert_eq!(number(1_234_567), "1\u{a0}234\u{a0}567");
        assert_eq!(iso::parse(&t.iso()), Some(t));
        for bad in
            ["", "20261207000500", "2026-12-07T00:05:00", "2026-13-07T00:05:00Z", "x2026-12-07T00:05:00Z"]
        {
            assert_eq!(iso::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn text_that_steers_a_terminal_is_escaped() {
        for (text, safe) in [
            ("plain ü.", "plain ü."),
            ("\u{1b}[31mred\n", "\\u{1b}[31mred\\u{a}"),
            ("\u{202e}evil\u{200b}", "\\u{202e}evil\\u{200b}"),
            ("\u{9b}1m", "\\u{9b}1m"),
        ] {
            assert_eq!(printable(text), safe);
        }
    }
}
