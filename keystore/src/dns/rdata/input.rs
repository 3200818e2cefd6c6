//! The tokens of a record, and the pieces of presentation form that several kinds of record data read.

use super::RdataError;
use crate::dns::Token;

/// The tokens of a record, taken one by one.
pub(super) struct Tokens<'t, 'a> {
    rest: &'t [Token<'a>],
}

impl<'t, 'a> Tokens<'t, 'a> {
    pub(super) const fn new(rest: &'t [Token<'a>]) -> Self {
        Self { rest }
    }

    pub(super) fn next(&mut self, expected: &'static str) -> Result<Token<'a>, RdataError> {
        self.next_if_any().ok_or(RdataError::Missing { expected })
    }

    pub(super) fn next_if_any(&mut self) -> Option<Token<'a>> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.rest.first().copied()
    }

    pub(super) fn take_all(&mut self) -> &'t [Token<'a>] {
        std::mem::take(&mut self.rest)
    }
}

pub(super) fn bad(token: Token<'_>, expected: &'static str) -> RdataError {
    RdataError::BadField { found: token.to_string(), expected }
}

/// A decimal number of at most `max`.
pub(super) fn number(token: Token<'_>, max: u32, expected: &'static str) -> Result<u32, RdataError> {
    decimal(token.text).filter(|v| *v <= max && !token.quoted).ok_or_else(|| bad(token, expected))
}

/// A decimal number without sign.
pub(super) fn decimal(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 10 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().fold(0u64, |v, d| v * 10 + u64::from(d - b'0'));
    u32::try_from(value).ok()
}

pub(super) fn parse<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Appends the octets of `token` with its escapes resolved.
pub(super) fn unescape(token: Token<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    token
        .unescape_into(out)
        .ok_or_else(|| bad(token, "text: a backslash needs a character or three digits up to 255 behind it"))
}

/// Appends what `text` decodes to; false when it is not of the encoding.
pub(super) fn decode(encoding: &data_encoding::Encoding, text: &[u8], out: &mut Vec<u8>) -> bool {
    // The library takes padded pieces one behind the other; here padding ends the text (RFC 4648 section 3.2).
    if text.iter().position(|b| *b == b'=').is_some_and(|first| first + 2 < text.len()) {
        return false;
    }
    let at = out.len();
    let Ok(len) = encoding.decode_len(text.len()) else {
        return false;
    };
    out.resize(at + len, 0);
    match encoding.decode_mut(text, &mut out[at..]) {
        Ok(len) => {
            out.truncate(at + len);
            true
        }
        Err(_) => {
            out.truncate(at);
            false
        }
    }
}
