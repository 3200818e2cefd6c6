//! Types of the early DNS that zones still hold: WKS (RFC 1035), NSAP (RFC 1706), ATMA (ATM Forum af-dans-0152), A6 (RFC 2874).

use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE, HEXUPPER};

use super::input::{Tokens, bad, decimal, decode, number, parse};
use super::output::put;
use super::{RdataError, Token};
use crate::dns::name;

/// Protocols of a WKS record by name (IANA protocol numbers).
const PROTOCOLS: &[(&str, u8)] = &[("icmp", 1), ("tcp", 6), ("udp", 17)];

/// Services of a WKS record by name (IANA port numbers, as `/etc/services` has them for TCP and UDP).
const SERVICES: &[(&str, u16)] = &[
    ("tcpmux", 1),
    ("echo", 7),
    ("discard", 9),
    ("systat", 11),
    ("daytime", 13),
    ("netstat", 15),
    ("qotd", 17),
    ("chargen", 19),
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("time", 37),
    ("whois", 43),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("gopher", 70),
    ("finger", 79),
    ("http", 80),
    ("kerberos", 88),
    ("hostnames", 101),
    ("pop3", 110),
    ("sunrpc", 111),
    ("auth", 113),
    ("nntp", 119),
    ("ntp", 123),
    ("imap2", 143),
    ("snmp", 161),
    ("snmp-trap", 162),
    ("irc", 194),
    ("ldap", 389),
    ("https", 443),
];

fn by_name<T: Copy>(table: &[(&str, T)], token: Token<'_>) -> Option<T> {
    table.iter().find(|(word, _)| token.is(word)).map(|(_, value)| *value)
}

// --- WKS ------------------------------------------------------------------------------------------------------------

/// Reads `ADDRESS PROTOCOL [SERVICE...]`, protocol and services by name or number.
pub(super) fn read_wks(tokens: &mut Tokens<'_, '_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let token = tokens.next("an IPv4 address")?;
    let address = parse::<Ipv4Addr>(token.text).ok_or_else(|| bad(token, "IPv4 address"))?;
    let token = tokens.next("a protocol")?;
    let protocol = by_name(PROTOCOLS, token).map_or_else(
        || number(token, 255, "protocol: tcp, udp, icmp or a number up to 255").map(|value| value as u8),
        Ok,
    )?;
    out.extend_from_slice(&address.octets());
    out.push(protocol);
    let mut bits: Vec<u8> = Vec::new();
    while let Some(token) = tokens.next_if_any() {
        let port = by_name(SERVICES, token).map_or_else(
            || number(token, 65_535, "service: a name such as smtp, or a port").map(|value| value as usize),
            |port| Ok(usize::from(port)),
        )?;
        if bits.len() <= port / 8 {
            bits.resize(port / 8 + 1, 0);
        }
        bits[port / 8] |= 0x80 >> (port % 8);
    }
    out.extend_from_slice(&bits);
    Ok(())
}

pub(super) fn is_wks(octets: &[u8]) -> bool {
    octets.len() == 5 || ((6..=5 + 8192).contains(&octets.len()) && octets.last() != Some(&0))
}

pub(super) fn print_wks(octets: &[u8], out: &mut String) {
    let (head, bits) = octets.split_at(5);
    put(out, format_args!("{}.{}.{}.{} {}", head[0], head[1], head[2], head[3], head[4]));
    let ports = bits.iter().enumerate().flat_map(|(at, octet)| {
        (0..8).filter(move |bit| octet & (0x80 >> bit) != 0).map(move |bit| at * 8 + bit)
    });
    for port in ports {
        put(out, format_args!(" {port}"));
    }
}

// --- NSAP -----------------------------------------------------------------------------------------------------------

/// Reads `0x` and hexadecimal digits, dots between them at will.
pub(super) fn read_nsap(token: Token<'_>, out: &mut Vec<u8>) -> Option<()> {
    let text = token.text.strip_prefix(b"0x").or_else(|| token.text.strip_prefix(b"0X"))?;
    let digits: Vec<u8> = text.iter().copied().filter(|b| *b != b'.').collect();
    (!digits.is_empty() && decode(&HEXLOWER_PERMISSIVE, &digits, out)).then_some(())
}

pub(super) fn print_nsap(octets: &[u8], out: &mut String) {
    put(out, format_args!("0x{}", HEXUPPER.encode(octets)));
}

// --- ATMA -----------------------------------------------------------------------------------------------------------

/// Reads `+DIGITS` (an E.164 address), or hexadecimal digits with dots between them at will (an AESA).
pub(super) fn read_atma(token: Token<'_>, out: &mut Vec<u8>) -> Option<()> {
    if let Some(digits) = token.text.strip_prefix(b"+") {
        out.push(1);
        out.extend(digits.iter().filter(|b| **b != b'.'));
        return (!digits.is_empty() && digits.iter().all(|b| b.is_ascii_digit() || *b == b'.')).then_some(());
    }
    out.push(0);
    let digits: Vec<u8> = token.text.iter().copied().filter(|b| *b != b'.').collect();
    (!digits.is_empty() && decode(&HEXLOWER_PERMISSIVE, &digits, out)).then_some(())
}

/// A format octet and an address; of formats above 1 nothing is known.
pub(super) fn is_atma(octets: &[u8]) -> bool {
    match octets {
        [1, digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        [_, address @ ..] => !address.is_empty(),
        [] => false,
    }
}

/// False for a format that has no text.
pub(super) fn has_atma_text(octets: &[u8]) -> bool {
    octets.first().is_some_and(|format| *format <= 1)
}

pub(super) fn print_atma(octets: &[u8], out: &mut String) {
    match octets {
        [1, digits @ ..] => {
            out.push('+');
            out.extend(digits.iter().map(|b| char::from(*b)));
        }
        [_, address @ ..] => out.push_str(&HEXLOWER.encode(address)),
        [] => {}
    }
}

// --- A6 -------------------------------------------------------------------------------------------------------------

/// Octets of the address suffix behind a prefix length.
const fn suffix_len(prefix: u8) -> usize {
    16 - prefix as usize / 8
}

/// Reads `PREFIX-LENGTH [SUFFIX] [PREFIX-NAME]`: the suffix unless the length is 128, the name unless it is 0. `read_name` appends
/// a name.
pub(super) fn read_a6(
    tokens: &mut Tokens<'_, '_>,
    out: &mut Vec<u8>,
    read_name: impl FnOnce(Token<'_>, &mut Vec<u8>) -> Result<(), RdataError>,
) -> Result<(), RdataError> {
    let token = tokens.next("a prefix length")?;
    let prefix = decimal(token.text).and_then(|value| u8::try_from(value).ok()).filter(|value| *value <= 128);
    let prefix = prefix.ok_or_else(|| bad(token, "prefix length from 0 to 128"))?;
    out.push(prefix);
    if prefix < 128 {
        let token = tokens.next("an IPv6 address")?;
        let address = parse::<Ipv6Addr>(token.text).ok_or_else(|| bad(token, "IPv6 address"))?.octets();
        let at = out.len();
        out.extend_from_slice(&address[16 - suffix_len(prefix)..]);
        out[at] &= 0xff >> (prefix % 8);
    }
    if prefix > 0 { read_name(tokens.next("a prefix name")?, out) } else { Ok(()) }
}

/// True for a prefix length, the suffix with the bits above it zero, and the name unless the length is 0.
pub(super) fn is_a6(octets: &[u8]) -> bool {
    let Some((prefix, rest)) = octets.split_first() else { return false };
    if *prefix > 128 {
        return false;
    }
    let Some((suffix, name)) = rest.split_at_checked(suffix_len(*prefix)) else { return false };
    let masked = suffix.first().is_none_or(|octet| octet & !(0xff >> (prefix % 8)) == 0);
    let named = if *prefix == 0 { name.is_empty() } else { name::wire_len(name) == Some(name.len()) };
    masked && named
}

/// Where the prefix name of a checked A6 starts; `None` without one.
pub(super) fn a6_name(octets: &[u8]) -> Option<usize> {
    octets.first().filter(|prefix| **prefix > 0).map(|prefix| 1 + suffix_len(*prefix))
}

pub(super) fn print_a6(octets: &[u8], out: &mut String, print_name: impl FnOnce(&[u8], &mut String)) {
    let (prefix, rest) = (octets[0], &octets[1..]);
    let (suffix, name) = rest.split_at(suffix_len(prefix));
    put(out, format_args!("{prefix}"));
    if prefix < 128 {
        let mut address = [0; 16];
        address[16 - suffix.len()..].copy_from_slice(suffix);
        put(out, format_args!(" {}", Ipv6Addr::from(address)));
    }
    if !name.is_empty() {
        out.push(' ');
        print_name(name, out);
    }
}
