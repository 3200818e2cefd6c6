//! Gateways and relays: an address of a kind that a number says (RFC 4025 section 2.5, RFC 8777 section 4.2).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::input::{Tokens, bad, number, parse};
use super::output::{ip, put};
use super::{RdataError, Token};
use crate::dns::name;

/// Reads the address of `kind`: 0 nothing, written `.`; 1 IPv4; 2 IPv6; 3 a name, which `read_name` appends.
pub(super) fn read(
    kind: Option<u8>,
    token: Token<'_>,
    out: &mut Vec<u8>,
    read_name: impl FnOnce(Token<'_>, &mut Vec<u8>) -> Result<(), RdataError>,
) -> Result<(), RdataError> {
    match kind {
        Some(0) if token.text == b"." => Ok(()),
        Some(0) => Err(bad(token, "missing gateway or relay, which is written `.`")),
        Some(1) => {
            let address = parse::<Ipv4Addr>(token.text).ok_or_else(|| bad(token, "IPv4 address"))?;
            out.extend_from_slice(&address.octets());
            Ok(())
        }
        Some(2) => {
            let address = parse::<Ipv6Addr>(token.text).ok_or_else(|| bad(token, "IPv6 address"))?;
            out.extend_from_slice(&address.octets());
            Ok(())
        }
        Some(3) => read_name(token, out),
        _ => Err(RdataError::Unfit(
            "the gateway or relay type is none of 0, 1, 2 and 3 (RFC 4025 section 2.3, RFC 8777 section 4.2.3)",
        )),
    }
}

/// Octets of the address of `kind` at the start of `rest`.
pub(super) fn len(kind: u8, rest: &[u8]) -> Option<usize> {
    let fixed = |n: usize| (rest.len() >= n).then_some(n);
    match kind {
        0 => Some(0),
        1 => fixed(4),
        2 => fixed(16),
        3 => name::wire_len(rest),
        _ => None,
    }
}

pub(super) fn print(kind: u8, octets: &[u8], out: &mut String, print_name: impl FnOnce(&[u8], &mut String)) {
    match kind {
        0 => out.push('.'),
        3 => print_name(octets, out),
        _ => ip(octets, out),
    }
}

/// Reads `DISCOVERY-OPTIONAL TYPE RELAY` of an AMTRELAY.
pub(super) fn read_amt(
    tokens: &mut Tokens<'_, '_>,
    out: &mut Vec<u8>,
    read_name: impl FnOnce(Token<'_>, &mut Vec<u8>) -> Result<(), RdataError>,
) -> Result<(), RdataError> {
    let optional = number(tokens.next("0 or 1")?, 1, "0 or 1 for the discovery-optional bit")?;
    let kind = number(tokens.next("a relay type")?, 127, "relay type from 0 to 127")? as u8;
    out.push((optional as u8) << 7 | kind);
    read(Some(kind), tokens.next("a relay")?, out, read_name)
}

/// An AMTRELAY behind its precedence; of types above 3 nothing is known.
pub(super) fn is_amt(octets: &[u8]) -> bool {
    match octets.split_first() {
        Some((head, relay)) => match head & 0x7f {
            kind @ 0..=3 => len(kind, relay) == Some(relay.len()),
            _ => true,
        },
        None => false,
    }
}

/// False for a type of relay that has no text.
pub(super) fn has_amt_text(octets: &[u8]) -> bool {
    octets.first().is_some_and(|head| head & 0x7f <= 3)
}

pub(super) fn print_amt(octets: &[u8], out: &mut String, print_name: impl FnOnce(&[u8], &mut String)) {
    let kind = octets[0] & 0x7f;
    put(out, format_args!("{} {kind} ", octets[0] >> 7));
    print(kind, &octets[1..], out, print_name);
}
