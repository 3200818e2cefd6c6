//! From tokens to RDATA.

use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::{BASE32HEX_NOPAD, BASE64, HEXLOWER_PERMISSIVE};

use super::input::{Tokens, bad, decimal, decode, number, parse, unescape};
use super::{
    ALGORITHMS, CERT_TYPES, DIGEST_TYPES, DSYNC_SCHEMES, Field, MAX_RDATA, RdataError, Rtype, Token, apl,
    fields, historic, loc, registry, relay, svcb, wire,
};
use crate::dns::{name, ttl};
use crate::time::Timestamp;

pub(super) fn rdata(
    rtype: Rtype,
    tokens: &[Token<'_>],
    origin: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let start = out.len();
    let mut tokens = Tokens::new(tokens);
    if tokens.peek().is_some_and(|t| !t.quoted && t.text == b"\\#") {
        generic(&mut tokens, out)?;
    } else {
        for kind in fields(rtype).ok_or(RdataError::NoPresentation(rtype))? {
            field(*kind, &mut tokens, origin, out, start)?;
        }
        if let Some(token) = tokens.peek() {
            return Err(RdataError::Trailing { found: token.to_string() });
        }
    }
    wire::check(rtype, &out[start..])
}

/// `\# LENGTH HEX` (RFC 3597 section 5).
fn generic(tokens: &mut Tokens<'_, '_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    const LENGTH: &str = "length from 0 to 65535";
    tokens.next(LENGTH)?;
    let token = tokens.next(LENGTH)?;
    let length = number(token, 65535, LENGTH)?;
    let start = out.len();
    encoded(tokens, out, |text, out| decode(&HEXLOWER_PERMISSIVE, text, out), HEX)?;
    if out.len() - start != length as usize {
        return Err(bad(token, "length of the hexadecimal digits behind it"));
    }
    Ok(())
}

const HEX: &str = "hexadecimal text of whole octets";
const BASE64_TEXT: &str = "base64 text";

/// Reads one field; `start` is where the RDATA starts in `out`.
fn field(
    kind: Field,
    tokens: &mut Tokens<'_, '_>,
    origin: Option<&[u8]>,
    out: &mut Vec<u8>,
    start: usize,
) -> Result<(), RdataError> {
    let read_name = |token: Token<'_>, out: &mut Vec<u8>| domain_name(token, origin, out);
    match kind {
        Field::Name | Field::NameCased => domain_name(tokens.next("a domain name")?, origin, out)?,
        Field::U8 | Field::U16 | Field::U32 | Field::U64 | Field::Period | Field::Time => {
            number_field(kind, tokens, out)?;
        }
        Field::Type | Field::Algorithm | Field::DigestType | Field::CertType | Field::DsyncScheme => {
            word_field(kind, tokens, out)?
        }
        Field::Ip4
        | Field::Ip6
        | Field::Eui48
        | Field::Eui64
        | Field::Locator
        | Field::Nsap
        | Field::Atma => address_field(kind, tokens, out)?,
        Field::String | Field::OptString | Field::Strings | Field::Text(_) | Field::Tag => {
            text_field(kind, tokens, out, start)?;
        }
        Field::Base64(_) | Field::KeyBase64 | Field::DoaData | Field::Hex | Field::Salt | Field::Hash => {
            encoded_field(kind, tokens, out, start)?;
        }
        Field::Bitmap | Field::OptBitmap => {
            if kind == Field::Bitmap && tokens.peek().is_none() {
                return Err(RdataError::Missing { expected: "a type" });
            }
            bitmap(tokens.take_all(), out)?;
        }
        Field::NxtBitmap => nxt_bitmap(tokens, out)?,
        Field::Gateway => {
            let kind = out.get(start + 1).copied();
            relay::read(kind, tokens.next("a gateway")?, out, read_name)?;
        }
        Field::AmtRelay => relay::read_amt(tokens, out, read_name)?,
        Field::A6 => historic::read_a6(tokens, out, read_name)?,
        Field::Wks => historic::read_wks(tokens, out)?,
        Field::Hip => hip(tokens, origin, out, start)?,
        Field::Loc => loc::read(tokens, out)?,
        Field::Apl => {
            while let Some(token) = tokens.next_if_any() {
                apl::read(token, out)
                    .ok_or_else(|| bad(token, "address prefix, [!]FAMILY:ADDRESS/LENGTH"))?;
                within(out, start)?;
            }
        }
        Field::Registry => registry::read(tokens, out)?,
        Field::SvcParams => svcb::read(tokens, out)?,
    }
    within(out, start)
}

/// Reads a number or a time.
fn number_field(kind: Field, tokens: &mut Tokens<'_, '_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    match kind {
        Field::U8 => {
            let value = number(tokens.next("a number from 0 to 255")?, 255, "number from 0 to 255")?;
            out.push(value as u8);
        }
        Field::U16 => {
            let value = number(tokens.next("a number from 0 to 65535")?, 65535, "number from 0 to 65535")?;
            out.extend_from_slice(&(value as u16).to_be_bytes());
        }
        Field::U32 => {
            const EXPECTED: &str = "number from 0 to 4294967295";
            let value = number(tokens.next("a number from 0 to 4294967295")?, u32::MAX, EXPECTED)?;
            out.extend_from_slice(&value.to_be_bytes());
        }
        Field::U64 => {
            let token = tokens.next("a number of up to 64 bits")?;
            let value = Some(token.text).filter(|_| !token.quoted).and_then(wide_number);
            let value = value.ok_or_else(|| bad(token, "number of up to 64 bits"))?;
            out.extend_from_slice(&value.to_be_bytes());
        }
        Field::Period => {
            let token = tokens.next("a time in seconds, or with units as in 1h30m")?;
            let value = Some(token.text).filter(|_| !token.quoted).and_then(ttl::parse);
            let value = value.ok_or_else(|| bad(token, "time in seconds, or with units as in 1h30m"))?;
            out.extend_from_slice(&value.to_be_bytes());
        }
        _ => {
            let token = tokens.next("a time, YYYYMMDDHHMMSS")?;
            let value =
                time(token).ok_or_else(|| bad(token, "time: YYYYMMDDHHMMSS, or seconds since 1970"))?;
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
    Ok(())
}

/// A number of 64 bits, or its halves with a dot between them (draft-johnson-dns-ipn-cla section 3.1).
fn wide_number(text: &[u8]) -> Option<u64> {
    match text.iter().position(|b| *b == b'.') {
        Some(dot) => Some(u64::from(decimal(&text[..dot])?) << 32 | u64::from(decimal(&text[dot + 1..])?)),
        None => parse(text).filter(|_| text.iter().all(u8::is_ascii_digit)),
    }
}

/// Reads a number that has mnemonics.
fn word_field(kind: Field, tokens: &mut Tokens<'_, '_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    match kind {
        Field::Type => {
            let token = tokens.next("a type")?;
            let rtype = Rtype::from_mnemonic(token.text).filter(|_| !token.quoted);
            out.extend_from_slice(&rtype.ok_or_else(|| bad(token, "type"))?.0.to_be_bytes());
        }
        Field::Algorithm => {
            let value = mnemonic(tokens.next("an algorithm")?, ALGORITHMS, 255, "DNSSEC algorithm")?;
            out.push(value as u8);
        }
        Field::DigestType => {
            let value = mnemonic(tokens.next("a digest type")?, DIGEST_TYPES, 255, "digest type")?;
            out.push(value as u8);
        }
        Field::DsyncScheme => {
            let value = mnemonic(tokens.next("a scheme")?, DSYNC_SCHEMES, 255, "scheme, such as NOTIFY")?;
            out.push(value as u8);
        }
        _ => {
            let value = mnemonic(tokens.next("a certificate type")?, CERT_TYPES, 65535, "certificate type")?;
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
    Ok(())
}

/// Reads an address of some network.
fn address_field(kind: Field, tokens: &mut Tokens<'_, '_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    match kind {
        Field::Ip4 => {
            let token = tokens.next("an IPv4 address")?;
            let address = parse::<Ipv4Addr>(token.text).ok_or_else(|| bad(token, "IPv4 address"))?;
            out.extend_from_slice(&address.octets());
            Ok(())
        }
        Field::Ip6 => {
            let token = tokens.next("an IPv6 address")?;
            let address = parse::<Ipv6Addr>(token.text).ok_or_else(|| bad(token, "IPv6 address"))?;
            out.extend_from_slice(&address.octets());
            Ok(())
        }
        Field::Eui48 => eui(tokens.next("an EUI-48 address")?, 6, "EUI-48 address, xx-xx-xx-xx-xx-xx", out),
        Field::Eui64 => {
            eui(tokens.next("an EUI-64 address")?, 8, "EUI-64 address, xx-xx-xx-xx-xx-xx-xx-xx", out)
        }
        Field::Nsap => {
            let token = tokens.next("an NSAP address")?;
            historic::read_nsap(token, out)
                .ok_or_else(|| bad(token, "NSAP address, 0x and hexadecimal digits"))
        }
        Field::Atma => {
            let token = tokens.next("an ATM address")?;
            historic::read_atma(token, out)
                .ok_or_else(|| bad(token, "ATM address: + and digits, or hexadecimal digits"))
        }
        _ => locator(tokens.next("a locator")?, out),
    }
}

/// Reads text: character strings, or all octets up to the end.
fn text_field(
    kind: Field,
    tokens: &mut Tokens<'_, '_>,
    out: &mut Vec<u8>,
    start: usize,
) -> Result<(), RdataError> {
    match kind {
        Field::OptString => tokens.next_if_any().map_or(Ok(()), |token| string(token, out)),
        Field::Strings => {
            string(tokens.next("a string")?, out)?;
            while let Some(token) = tokens.next_if_any() {
                string(token, out)?;
                within(out, start)?;
            }
            Ok(())
        }
        Field::Text(min) => {
            let token = tokens.next("a text in quotes")?;
            let at = out.len();
            unescape(token, out)?;
            if out.len() - at < min { Err(RdataError::Unfit("the text is empty")) } else { Ok(()) }
        }
        Field::Tag => {
            let token = tokens.next("a property tag")?;
            if token.text.is_empty() || !token.text.iter().all(u8::is_ascii_alphanumeric) {
                return Err(bad(token, "property tag of letters and digits"));
            }
            string(token, out)
        }
        _ => string(tokens.next("a string")?, out),
    }
}

/// Reads octets in base64, base32hex or hexadecimal.
fn encoded_field(
    kind: Field,
    tokens: &mut Tokens<'_, '_>,
    out: &mut Vec<u8>,
    start: usize,
) -> Result<(), RdataError> {
    match kind {
        Field::Hex => {
            if tokens.peek().is_none() {
                return Err(RdataError::Missing { expected: "hexadecimal text" });
            }
            encoded(tokens, out, |text, out| decode(&HEXLOWER_PERMISSIVE, text, out), HEX)
        }
        Field::Salt => {
            let token = tokens.next("a salt, or `-` for none")?;
            counted(out, |out| {
                (!token.quoted && token.text == b"-") || decode(&HEXLOWER_PERMISSIVE, token.text, out)
            })
            .ok_or_else(|| bad(token, "salt of up to 255 octets in hexadecimal, `-` for none"))
        }
        Field::Hash => {
            let token = tokens.next("a hashed name")?;
            counted(out, |out| decode(&BASE32HEX_NOPAD, &token.text.to_ascii_uppercase(), out))
                .ok_or_else(|| bad(token, "hashed name in base32hex"))
        }
        Field::DoaData if tokens.peek().is_some_and(|token| token.is("-")) => {
            tokens.next("base64 text").map(drop)
        }
        _ => {
            let may_lack = match kind {
                Field::Base64(min) => min == 0,
                Field::KeyBase64 => out.get(start).is_some_and(|flags| flags & 0xc0 == 0xc0),
                _ => false,
            };
            if tokens.peek().is_none() && !may_lack {
                return Err(RdataError::Missing { expected: "base64 text" });
            }
            encoded(tokens, out, |text, out| decode(&BASE64, text, out), BASE64_TEXT)
        }
    }
}

fn within(out: &[u8], start: usize) -> Result<(), RdataError> {
    if out.len() - start > MAX_RDATA { Err(RdataError::TooLong) } else { Ok(()) }
}

fn domain_name(token: Token<'_>, origin: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    if token.is_at() {
        let origin =
            origin.ok_or_else(|| bad(token, "name here, as there is no origin that it could stand for"))?;
        out.extend_from_slice(origin);
        return Ok(());
    }
    name::parse_into(token.text, origin, out)
        .map_err(|source| RdataError::BadName { found: token.to_string(), source })
}

fn mnemonic(
    token: Token<'_>,
    table: &[(&str, u16)],
    max: u32,
    expected: &'static str,
) -> Result<u16, RdataError> {
    match table.iter().find(|(word, _)| token.is(word)) {
        Some((_, value)) => Ok(*value),
        None => number(token, max, expected).map(|v| v as u16),
    }
}

/// Time of a signature: 14 digits are a date, up to 10 are seconds (RFC 4034 section 3.2).
fn time(token: Token<'_>) -> Option<u32> {
    if token.quoted {
        return None;
    }
    if token.text.len() == 14 {
        return Timestamp::parse_stamp(std::str::from_utf8(token.text).ok()?).map(Timestamp::to_rrsig);
    }
    decimal(token.text)
}

fn eui(token: Token<'_>, octets: usize, expected: &'static str, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let good = token.text.len() == octets * 3 - 1
        && token
            .text
            .chunks(3)
            .all(|c| c.get(2).is_none_or(|dash| *dash == b'-') && decode(&HEXLOWER_PERMISSIVE, &c[..2], out));
    if good { Ok(()) } else { Err(bad(token, expected)) }
}

fn locator(token: Token<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    const EXPECTED: &str = "locator, four groups of hexadecimal digits parted by `:`";
    let mut groups = 0;
    for group in token.text.split(|b| *b == b':') {
        groups += 1;
        if groups > 4 || group.is_empty() || group.len() > 4 {
            return Err(bad(token, EXPECTED));
        }
        let mut value = 0u16;
        for digit in group {
            let digit = char::from(*digit).to_digit(16).ok_or_else(|| bad(token, EXPECTED))?;
            value = value << 4 | digit as u16;
        }
        out.extend_from_slice(&value.to_be_bytes());
    }
    if groups == 4 { Ok(()) } else { Err(bad(token, EXPECTED)) }
}

/// A character string: length octet and up to 255 octets.
fn string(token: Token<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let at = out.len();
    out.push(0);
    unescape(token, out)?;
    let len = u8::try_from(out.len() - at - 1);
    out[at] = len.map_err(|_| bad(token, "string of up to 255 octets; cut it into several"))?;
    Ok(())
}

/// Puts a length octet before what `put` appends; `None` when that refuses or is longer than 255 octets.
fn counted(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<()> {
    let at = out.len();
    out.push(0);
    if !put(out) {
        return None;
    }
    out[at] = u8::try_from(out.len() - at - 1).ok()?;
    Some(())
}

/// Decodes the remaining tokens, put together, into `out`.
fn encoded(
    tokens: &mut Tokens<'_, '_>,
    out: &mut Vec<u8>,
    decode: impl FnOnce(&[u8], &mut Vec<u8>) -> bool,
    expected: &'static str,
) -> Result<(), RdataError> {
    let all = tokens.take_all();
    let good = match all {
        [] => true,
        _ if all.iter().any(|t| t.quoted) => false,
        [one] => decode(one.text, out),
        many => decode(&many.iter().flat_map(|t| t.text).copied().collect::<Vec<u8>>(), out),
    };
    if good { Ok(()) } else { Err(bad(all[0], expected)) }
}

fn bitmap(tokens: &[Token<'_>], out: &mut Vec<u8>) -> Result<(), RdataError> {
    let mut types = Vec::with_capacity(tokens.len());
    for token in tokens {
        let rtype = Rtype::from_mnemonic(token.text).filter(|_| !token.quoted);
        types.push(rtype.ok_or_else(|| bad(*token, "type"))?.0);
    }
    types.sort_unstable();
    put_bitmap(&types, out);
    Ok(())
}

/// Appends the type bit map of `types`, which must be in rising order (RFC 4034 section 4.1.2).
fn put_bitmap(types: &[u16], out: &mut Vec<u8>) {
    for window in types.chunk_by(|a, b| a >> 8 == b >> 8) {
        let (Some(first), Some(last)) = (window.first(), window.last()) else { continue };
        let len = usize::from(last & 0xff) / 8 + 1;
        out.extend_from_slice(&[(first >> 8) as u8, len as u8]);
        let at = out.len();
        out.resize(at + len, 0);
        for rtype in window {
            out[at + usize::from(rtype & 0xff) / 8] |= 0x80 >> (rtype & 7);
        }
    }
}

fn nxt_bitmap(tokens: &mut Tokens<'_, '_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    const EXPECTED: &str = "type from 1 to 127";
    let mut bits = [0u8; 16];
    let mut len = 0;
    let mut token = tokens.next("a type")?;
    loop {
        let rtype = Rtype::from_mnemonic(token.text).filter(|t| !token.quoted && (1..128).contains(&t.0));
        let rtype = usize::from(rtype.ok_or_else(|| bad(token, EXPECTED))?.0);
        bits[rtype / 8] |= 0x80 >> (rtype % 8);
        len = len.max(rtype / 8 + 1);
        match tokens.next_if_any() {
            Some(next) => token = next,
            None => break,
        }
    }
    out.extend_from_slice(&bits[..len]);
    Ok(())
}

/// `ALGORITHM HIT KEY [SERVER...]` (RFC 8005 section 6).
fn hip(
    tokens: &mut Tokens<'_, '_>,
    origin: Option<&[u8]>,
    out: &mut Vec<u8>,
    start: usize,
) -> Result<(), RdataError> {
    let algorithm = number(tokens.next("a key algorithm")?, 255, "key algorithm")?;
    out.extend_from_slice(&[0, algorithm as u8, 0, 0]);
    let at = out.len();
    let token = tokens.next("a host identity tag")?;
    let good = decode(&HEXLOWER_PERMISSIVE, token.text, out) && !token.text.is_empty();
    let hit = u8::try_from(out.len() - at).ok().filter(|_| good);
    out[at - 4] = hit.ok_or_else(|| bad(token, "host identity tag in hexadecimal"))?;
    let at_key = out.len();
    let token = tokens.next("a key in base64")?;
    let good = decode(&BASE64, token.text, out) && !token.text.is_empty();
    let key = u16::try_from(out.len() - at_key).ok().filter(|_| good);
    let key = key.ok_or_else(|| bad(token, "key in base64"))?;
    out[at - 2..at].copy_from_slice(&key.to_be_bytes());
    while let Some(token) = tokens.next_if_any() {
        domain_name(token, origin, out)?;
        within(out, start)?;
    }
    Ok(())
}
