//! Address prefixes of APL records (RFC 3123).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Token;
use super::input::{decimal, parse};
use super::output::{ip, put};

/// The address families and the octets of their addresses.
const fn address_len(family: u16) -> Option<usize> {
    match family {
        1 => Some(4),
        2 => Some(16),
        _ => None,
    }
}

struct Item<'a> {
    family: u16,
    prefix: u8,
    negated: bool,
    /// The address without its trailing zero octets (RFC 3123 section 4).
    part: &'a [u8],
}

/// The first item of `octets` and what follows.
fn split(octets: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let [hi, lo, prefix, len, rest @ ..] = octets else { return None };
    let (family, part) = (u16::from_be_bytes([*hi, *lo]), usize::from(len & 0x7f));
    let full = address_len(family)?;
    let (part, rest) = rest.split_at_checked(part)?;
    let good = part.len() <= full && usize::from(*prefix) <= full * 8 && part.last() != Some(&0);
    good.then_some((Item { family, prefix: *prefix, negated: len & 0x80 != 0, part }, rest))
}

pub(super) fn is_wire(mut octets: &[u8]) -> bool {
    while !octets.is_empty() {
        match split(octets) {
            Some((_, rest)) => octets = rest,
            None => return false,
        }
    }
    true
}

/// Reads `[!]FAMILY:ADDRESS/LENGTH`.
pub(super) fn read(token: Token<'_>, out: &mut Vec<u8>) -> Option<()> {
    let (negated, text) = match token.text {
        [b'!', rest @ ..] => (0x80, rest),
        text => (0, text),
    };
    let colon = text.iter().position(|b| *b == b':')?;
    let slash = text.iter().position(|b| *b == b'/').filter(|slash| *slash > colon)?;
    let family = u16::try_from(decimal(&text[..colon])?).ok()?;
    let full = address_len(family)?;
    let prefix = decimal(&text[slash + 1..]).filter(|p| *p as usize <= full * 8)?;
    let address = &text[colon + 1..slash];
    let mut octets = match family {
        1 => parse::<Ipv4Addr>(address)?.octets().to_vec(),
        _ => parse::<Ipv6Addr>(address)?.octets().to_vec(),
    };
    while octets.last() == Some(&0) {
        octets.pop();
    }
    out.extend_from_slice(&family.to_be_bytes());
    out.extend_from_slice(&[prefix as u8, negated | octets.len() as u8]);
    out.extend_from_slice(&octets);
    Some(())
}

pub(super) fn print(octets: &[u8], out: &mut String) {
    let mut rest = octets;
    while let Some((Item { family, prefix, negated, part }, behind)) = split(rest) {
        if rest.len() != octets.len() {
            out.push(' ');
        }
        put(out, format_args!("{}{family}:", if negated { "!" } else { "" }));
        let mut address = part.to_vec();
        address.resize(address_len(family).unwrap_or(part.len()), 0);
        ip(&address, out);
        put(out, format_args!("/{prefix}"));
        rest = behind;
    }
}
