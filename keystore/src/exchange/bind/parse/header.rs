//! The header lines of requests and responses, as BIND and Knot write them.

use super::{Dialect, Kind, SKR, error};
use crate::exchange::bind::BindSyntaxError;
use crate::time::Timestamp;

/// The difference between local time and UTC is a multiple of that, in seconds, and below [`MAX_ZONE_OFFSET`].
const ZONE_STEP: u64 = 900;
/// Local time is never further from UTC.
const MAX_ZONE_OFFSET: u64 = 14 * 3600;

/// A header line.
pub(super) enum Header {
    Bundle(Timestamp),
    Footer,
}

/// Reads ` WORD 1.0 TIME (remark)` or ` WORD 1.0 generated …`.
pub(super) fn read_header(
    text: &str,
    number: u32,
    kind: &Kind,
    dialect: Dialect,
) -> Result<Header, BindSyntaxError> {
    let fault = |what: String| error(kind.syntax, number, what);
    let (word, rest) = next_word(text);
    if !text.starts_with([' ', '\t']) || word != kind.word {
        let hint = if word == kind.other { ": this is the other kind of file" } else { "" };
        return Err(fault(format!("`;; {} 1.0` was expected{hint}", kind.word)));
    }
    let (version, rest) = next_word(rest);
    if version != "1.0" {
        return Err(fault(format!("version `{}`, where 1.0 was expected", shown(version))));
    }
    let (time, remark) = next_word(rest);
    if time.is_empty() {
        return Err(fault("the header ends where its time was expected, YYYYMMDDHHMMSS".to_owned()));
    }
    if time == "generated" {
        return Ok(Header::Footer);
    }
    let inception = match dialect {
        Dialect::Bind => read_time(time, kind),
        Dialect::Knot => read_knot_time(time),
    };
    let inception = inception.map_err(|what| fault(format!("time `{}`: {what}", shown(time))))?;
    if inception.secs() > u64::from(u32::MAX) {
        return Err(fault(format!("time `{time}` is beyond 2106, where the times of RRSIG records end")));
    }
    if read_iso_remark(remark).is_some_and(|read| read != inception) {
        return Err(fault(format!("time `{time}` and the remark behind it differ: the header is damaged")));
    }
    if let Some(read) = read_remark(remark) {
        let apart = inception.since(read).max(read.since(inception));
        if apart > MAX_ZONE_OFFSET || !apart.is_multiple_of(ZONE_STEP) {
            let what = format!("time `{time}` and the remark behind it differ: the header is damaged");
            return Err(fault(what));
        }
    }
    Ok(Header::Bundle(inception))
}

fn read_time(text: &str, kind: &Kind) -> Result<Timestamp, &'static str> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let is_skr = std::ptr::eq(kind, &SKR);
    match text.len() {
        14 if digits => Timestamp::parse_stamp(text).ok_or("there is no such date and time"),
        10 if digits && is_skr => {
            Err("seconds since 1970, as Knot writes them; this reader takes BIND's form, YYYYMMDDHHMMSS")
        }
        10 if digits => text.parse().map(Timestamp::from_secs).map_err(|_| "out of range"),
        8 if digits && !is_skr => {
            Timestamp::parse_stamp(&format!("{text}000000")).ok_or("there is no such date")
        }
        _ if text.starts_with("now") || text.starts_with(['+', '-']) => {
            Err("a time relative to now means another time to each reader; write it out, YYYYMMDDHHMMSS")
        }
        _ => Err("YYYYMMDDHHMMSS (UTC) was expected"),
    }
}

fn read_knot_time(text: &str) -> Result<Timestamp, &'static str> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.len() {
        10 if digits => text.parse().map(Timestamp::from_secs).map_err(|_| "out of range"),
        14 if digits => Timestamp::parse_stamp(text).ok_or("there is no such date and time"),
        _ => Err("seconds since 1970 (10 digits) or YYYYMMDDHHMMSS (UTC) was expected"),
    }
}

/// The time in a remark `(2027-01-01T00:00:00Z) =========`, as Knot writes it; `None` when it reads otherwise.
fn read_iso_remark(text: &str) -> Option<Timestamp> {
    let (inner, _) = text.trim().strip_prefix('(')?.split_once(')')?;
    let (date, time) = inner.strip_suffix('Z')?.split_once('T')?;
    let form = |text: &str, mark: char, len| text.len() == len && text.matches(mark).count() == 2;
    let fits = form(date, '-', 10) && form(time, ':', 8);
    fits.then(|| Timestamp::parse_stamp(&format!("{date}{time}").replace(['-', ':'], "")))?
}

/// The time in a remark `(Fri Jan  1 00:00:00 2027)`; `None` when it reads otherwise, as it may.
fn read_remark(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    let [_, month, day, time, year] = inner.split_ascii_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let month = MONTHS.iter().position(|m| *m == month)? + 1;
    Timestamp::parse_stamp(&format!("{year:0>4}{month:02}{day:0>2}{}", time.replace(':', "")))
}

pub(super) fn next_word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    text.split_at(text.find([' ', '\t']).unwrap_or(text.len()))
}

/// The text for a message: not too long.
fn shown(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(at, _)| &text[..at])
}
