//! LOC records (RFC 1876).

use super::input::{Tokens, bad, decimal};
use super::output::{integer, put};
use super::{RdataError, Token};

/// The equator and the prime meridian, in thousandths of an arc second.
const MIDDLE: u32 = 1 << 31;
/// Thousandths of an arc second in a degree.
const DEGREE: u32 = 3_600_000;
/// Altitude 0 of the wire form, in centimetres below the WGS 84 ellipsoid.
const BASE: u64 = 10_000_000;
/// Size 1 m, horizontal precision 10 000 m, vertical precision 10 m.
const DEFAULTS: [u8; 3] = [0x12, 0x16, 0x13];

pub(super) fn is_wire(octets: &[u8]) -> bool {
    let [0, size, horizontal, vertical, rest @ ..] = octets else { return false };
    let precision = |b: &u8| b >> 4 <= 9 && b & 15 <= 9;
    let angle = |at: usize, max: u32| integer(&rest[at..at + 4]).abs_diff(MIDDLE) <= max * DEGREE;
    rest.len() == 12
        && [size, horizontal, vertical].into_iter().all(precision)
        && angle(0, 90)
        && angle(4, 180)
}

/// False for a length of zero written with an exponent: text would bring back other octets.
pub(super) fn has_text(octets: &[u8]) -> bool {
    octets.iter().skip(1).take(3).all(|b| b >> 4 != 0 || *b == 0)
}

/// Reads `D [M [S]] N|S D [M [S]] E|W ALTITUDE[m] [SIZE[m] [HORIZONTAL[m] [VERTICAL[m]]]]`.
pub(super) fn read(tokens: &mut Tokens<'_, '_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let latitude = angle(tokens, 90, b"NS")?;
    let longitude = angle(tokens, 180, b"EW")?;
    let altitude = altitude(tokens.next("an altitude in metres")?)?;
    let mut precisions = DEFAULTS;
    for precision in &mut precisions {
        let Some(token) = tokens.next_if_any() else { break };
        *precision = centimetres(token.text)
            .and_then(exponential)
            .ok_or_else(|| bad(token, "size or precision in metres, up to 90000000.00"))?;
    }
    out.push(0);
    out.extend_from_slice(&precisions);
    out.extend_from_slice(&latitude.to_be_bytes());
    out.extend_from_slice(&longitude.to_be_bytes());
    out.extend_from_slice(&altitude.to_be_bytes());
    Ok(())
}

fn angle(tokens: &mut Tokens<'_, '_>, max: u32, letters: &[u8; 2]) -> Result<u32, RdataError> {
    const EXPECTED: &str = "angle: degrees, minutes, seconds, then N or S, E or W";
    let token = tokens.next("degrees")?;
    let degrees = decimal(token.text).filter(|d| *d <= max).ok_or_else(|| bad(token, EXPECTED))?;
    let mut total = degrees * DEGREE;
    for unit in [60_000, 1000, 0] {
        let token = tokens.next("minutes, seconds, or the letter of the direction")?;
        let letter = match token.text {
            [letter] => letters.iter().position(|l| letter.eq_ignore_ascii_case(l)),
            _ => None,
        };
        match (letter, unit) {
            (Some(_), _) if total > max * DEGREE => return Err(bad(token, "direction of an angle in range")),
            (Some(0), _) => return Ok(MIDDLE + total),
            (Some(_), _) => return Ok(MIDDLE - total),
            (None, 60_000) => {
                let minutes = decimal(token.text).filter(|m| *m < 60);
                total += minutes.ok_or_else(|| bad(token, EXPECTED))? * unit;
            }
            (None, 1000) => {
                let thousandths = fixed(token.text, 3).filter(|s| *s < 60_000);
                total += thousandths.ok_or_else(|| bad(token, EXPECTED))? as u32;
            }
            (None, _) => return Err(bad(token, EXPECTED)),
        }
    }
    Err(RdataError::Missing { expected: "the letter of the direction" })
}

fn altitude(token: Token<'_>) -> Result<u32, RdataError> {
    let (text, below) = match token.text {
        [b'-', rest @ ..] => (rest, true),
        [b'+', rest @ ..] => (rest, false),
        rest => (rest, false),
    };
    let value = centimetres(text);
    let value = value.and_then(|cm| if below { BASE.checked_sub(cm) } else { BASE.checked_add(cm) });
    value
        .and_then(|cm| u32::try_from(cm).ok())
        .ok_or_else(|| bad(token, "altitude in metres from -100000.00 to 42849672.95"))
}

/// Reads metres with up to two decimals and an optional `m`.
fn centimetres(text: &[u8]) -> Option<u64> {
    fixed(text.strip_suffix(b"m").or_else(|| text.strip_suffix(b"M")).unwrap_or(text), 2)
}

/// Reads a decimal number with at most `places` decimals, in units of the last of them.
fn fixed(text: &[u8], places: usize) -> Option<u64> {
    let (whole, part) = match text.iter().position(|b| *b == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let digits = |t: &[u8]| t.iter().all(u8::is_ascii_digit);
    if whole.is_empty() || whole.len() > 10 || part.len() > places || !digits(whole) || !digits(part) {
        return None;
    }
    let digits = whole.iter().chain(part).chain(std::iter::repeat_n(&b'0', places - part.len()));
    Some(digits.fold(0, |v, d| v * 10 + u64::from(d - b'0')))
}

/// Mantissa and exponent of a length, both one decimal digit; digits behind the first are dropped.
fn exponential(mut centimetres: u64) -> Option<u8> {
    let mut exponent = 0;
    while centimetres > 9 {
        centimetres /= 10;
        exponent += 1;
    }
    (exponent <= 9).then_some((centimetres as u8) << 4 | exponent)
}

pub(super) fn print(octets: &[u8], out: &mut String) {
    for (at, letters) in [(4, ['N', 'S']), (8, ['E', 'W'])] {
        let value = integer(&octets[at..at + 4]);
        let angle = value.abs_diff(MIDDLE);
        let (degrees, minutes, thousandths) = (angle / DEGREE, angle / 60_000 % 60, angle % 60_000);
        let letter = letters[usize::from(value < MIDDLE)];
        put(
            out,
            format_args!("{degrees} {minutes} {}.{:03} {letter} ", thousandths / 1000, thousandths % 1000),
        );
    }
    let altitude = i64::from(integer(&octets[12..16])) - BASE.cast_signed();
    let sign = if altitude < 0 { "-" } else { "" };
    put(out, format_args!("{sign}{}m", metres(altitude.unsigned_abs())));
    for precision in &octets[1..4] {
        let value = u64::from(precision >> 4) * 10u64.pow(u32::from(precision & 15));
        put(out, format_args!(" {}m", metres(value)));
    }
}

fn metres(centimetres: u64) -> String {
    match centimetres % 100 {
        0 => (centimetres / 100).to_string(),
        part => format!("{}.{part:02}", centimetres / 100),
    }
}
