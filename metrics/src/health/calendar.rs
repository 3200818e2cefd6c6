//! What is due, as a calendar to subscribe to (RFC 5545).

use crate::condition::Severity;
use keystore::time::Timestamp;

use crate::health::model::{Event, ZoneHealth};

/// Octets of a line at most; longer ones are folded (RFC 5545 section 3.1).
const LINE: usize = 75;
/// Zones of which a calendar tells, the most urgent first.
const ZONES: usize = 500;

/// The events of zones as a calendar.
#[must_use]
pub fn calendar<'a>(zones: impl Iterator<Item = &'a ZoneHealth>, now: Timestamp) -> String {
    let mut out = String::new();
    let mut put = |line: &str| fold(line, &mut out);
    put("BEGIN:VCALENDAR");
    put("VERSION:2.0");
    put("PRODID:-//offline-ksk//health//EN");
    put("CALSCALE:GREGORIAN");
    put("METHOD:PUBLISH");
    put("X-WR-CALNAME:offline-ksk");
    put("REFRESH-INTERVAL;VALUE=DURATION:PT1H");
    for zone in zones.filter(|zone| !zone.events.is_empty()).take(ZONES) {
        for event in &zone.events {
            if let Event { at: Some(at), what } = event {
                entry(zone, *at, what, now, &mut put);
            }
        }
    }
    put("END:VCALENDAR");
    out
}

fn entry(zone: &ZoneHealth, at: Timestamp, what: &str, now: Timestamp, put: &mut impl FnMut(&str)) {
    put("BEGIN:VEVENT");
    // The same event keeps its UID, so that a changed time moves it.
    let slug: String = what.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name: String = zone.zone.bytes().map(|octet| format!("{octet:02x}")).collect();
    put(&format!("UID:{slug}-{name}@offline-ksk"));
    put(&format!("DTSTAMP:{}", stamp(now)));
    put(&format!("DTSTART:{}", stamp(at)));
    put(&format!("DTEND:{}", stamp(at.plus(1800))));
    put(&format!("SUMMARY:{}", text(&format!("{}: {what}", zone.zone))));
    put("TRANSP:TRANSPARENT");
    if zone.severity > Severity::Attention {
        put("PRIORITY:1");
    }
    put("END:VEVENT");
}

/// `20261207T000000Z`.
fn stamp(time: Timestamp) -> String {
    let digits = time.to_string();
    format!("{}T{}Z", &digits[..8], &digits[8..])
}

/// Text with the characters escaped that mean something (RFC 5545 section 3.3.11).
fn text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).fold(String::new(), |mut out, c| {
        if matches!(c, '\\' | ';' | ',') {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

/// Writes a line; one that is too long goes on in the next, which begins with a blank. No character is torn.
fn fold(line: &str, out: &mut String) {
    let mut length = 0;
    for c in line.chars() {
        if length + c.len_utf8() > LINE {
            out.push_str("\r\n ");
            length = 1;
        }
        out.push(c);
        length += c.len_utf8();
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_folded_between_characters_and_text_is_escaped() {
        let line = format!("SUMMARY:{}", "ü".repeat(80));
        let mut out = String::new();
        fold(&line, &mut out);
        assert!(out.split("\r\n").all(|line| line.len() <= LINE), "{out}");
        assert_eq!(out.replace("\r\n ", "").trim_end(), line);
        assert_eq!(text("a\\032;b,\r\nBEGIN:c"), "a\\\\032\\;b\\,BEGIN:c");
        assert_eq!(stamp(Timestamp::parse_stamp("20261207010203").expect("a time")), "20261207T010203Z");
    }
}
