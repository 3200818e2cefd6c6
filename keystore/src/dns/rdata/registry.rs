//! UNECE and ISO records: a value, and a code of a registry that another organization keeps
//! (draft-woodcock-faltstrom-external-registry-rrtypes-01). Three character strings, registry, value and code, then a description of
//! what is measured, which runs to the end of the record data.

use super::RdataError;
use super::input::{Tokens, bad, unescape};
use super::output::quoted;
use crate::dns::Token;

/// Reads `REGISTRY VALUE CODE ["DESCRIPTION"]`; `-` stands for no value.
///
/// The description is taken in quotes only, as the draft writes it: parentheses in a value, as in `2400000(50000)`, would else be taken
/// for those that continue a line, and the code for a description.
pub(super) fn read(tokens: &mut Tokens<'_, '_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    counted(tokens.next("the name of a registry")?, out, 1)?;
    let value = tokens.next("a value, or `-` for none")?;
    match value.is("-") && !value.quoted {
        true => out.push(0),
        false => counted(value, out, 0)?,
    }
    counted(tokens.next("a code")?, out, 1)?;
    let Some(token) = tokens.next_if_any() else { return Ok(()) };
    let at = out.len();
    if token.quoted {
        unescape(token, out)?;
    }
    match token.quoted && out.len() - at <= 255 {
        true => Ok(()),
        false => Err(bad(token, "description of up to 255 octets in quotes")),
    }
}

/// Reads octets behind a length octet, at least `min` of them.
fn counted(token: Token<'_>, out: &mut Vec<u8>, min: usize) -> Result<(), RdataError> {
    let at = out.len();
    out.push(0);
    unescape(token, out)?;
    let len = u8::try_from(out.len() - at - 1).ok().filter(|len| usize::from(*len) >= min);
    out[at] = len.ok_or_else(|| bad(token, "text of up to 255 octets that is not empty"))?;
    Ok(())
}

/// True for three character strings, of which the first and the last are not empty, and anything behind them. The value `-` is not
/// allowed, since its text stands for no value.
pub(super) fn is_wire(octets: &[u8]) -> bool {
    parts(octets)
        .is_some_and(|[registry, value, code, _]| !registry.is_empty() && value != b"-" && !code.is_empty())
}

/// True when the draft has a text for the octets that every reader takes for the same ones.
pub(super) fn has_text(octets: &[u8]) -> bool {
    parts(octets).is_some_and(|[registry, value, code, description]| {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.?+:/".contains(b);
        let in_value = |b: &u8| plain(b) || b"()".contains(b);
        registry.iter().chain(code).all(plain) && value.iter().all(in_value) && description.len() <= 255
    })
}

/// Prints what [`has_text`].
pub(super) fn print(octets: &[u8], out: &mut String) {
    let Some([registry, value, code, description]) = parts(octets) else { return };
    for (n, text) in [registry, value, code].into_iter().enumerate() {
        if n > 0 {
            out.push(' ');
        }
        if text.is_empty() {
            out.push('-');
        }
        for b in text {
            if b"()".contains(b) {
                out.push('\\');
            }
            out.push(char::from(*b));
        }
    }
    if !description.is_empty() {
        out.push(' ');
        quoted(description, out);
    }
}

/// Registry, value, code and description.
fn parts(octets: &[u8]) -> Option<[&[u8]; 4]> {
    let mut rest = octets;
    let mut next = || {
        let (len, behind) = rest.split_first()?;
        let (text, behind) = behind.split_at_checked(usize::from(*len))?;
        rest = behind;
        Some(text)
    };
    let (registry, value, code) = (next()?, next()?, next()?);
    Some([registry, value, code, rest])
}
