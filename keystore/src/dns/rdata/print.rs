//! From RDATA to presentation form.

use data_encoding::{BASE32HEX_NOPAD, BASE64, Encoding, HEXUPPER};

use super::output::{integer, ip, join, put, quoted};
use super::{Field, Rtype, apl, fields, historic, loc, registry, relay, svcb, wire};
use crate::dns::{PortableRtype, name};
use crate::time::Timestamp;

/// Appends the presentation form.
pub(super) fn rdata(rtype: Rtype, rdata: &[u8], columns: Option<usize>, out: &mut String) {
    let begin = out.len();
    let has_text = || match rtype {
        Rtype::LOC => loc::has_text(rdata),
        // ldns reads no CSYNC without types.
        Rtype::CSYNC => rdata.len() > 6,
        // Knot and NSD hold algorithm 0 and a key against each other.
        Rtype::IPSECKEY => rdata.get(2) != Some(&0),
        Rtype::ATMA => historic::has_atma_text(rdata),
        Rtype::SVCB | Rtype::HTTPS => {
            let target = rdata.get(2..).and_then(name::wire_len);
            target.is_some_and(|len| svcb::has_text(&rdata[2 + len..]))
        }
        Rtype::UNECE | Rtype::ISO => registry::has_text(rdata),
        Rtype::AMTRELAY => rdata.get(1..).is_some_and(relay::has_amt_text),
        _ => true,
    };
    if fields(rtype).is_some() && wire::check(rtype, rdata).is_ok() && has_text() {
        let walked = wire::walk(rtype, rdata, |kind, from, to| {
            let before = out.len();
            if before > begin {
                out.push(' ');
            }
            let start = out.len();
            field(kind, &rdata[from..to], rdata, columns, out);
            if out.len() == start {
                out.truncate(before);
            }
        });
        if walked.is_some() {
            return;
        }
        out.truncate(begin);
    }
    generic(rdata, columns, out);
}

/// Appends `\# LENGTH HEX` (RFC 3597 section 5).
pub(super) fn generic(rdata: &[u8], columns: Option<usize>, out: &mut String) {
    put(out, format_args!("\\# {}", rdata.len()));
    if !rdata.is_empty() {
        out.push(' ');
        encode(&HEXUPPER, rdata, columns, out);
    }
}

/// Prints one field; the octets have been checked.
fn field(kind: Field, octets: &[u8], rdata: &[u8], columns: Option<usize>, out: &mut String) {
    match kind {
        Field::Name | Field::NameCased => name(octets, out),
        Field::U8
        | Field::U16
        | Field::U32
        | Field::Period
        | Field::Algorithm
        | Field::DigestType
        | Field::CertType
        | Field::DsyncScheme => {
            put(out, format_args!("{}", integer(octets)));
        }
        Field::U64 => {
            let value = octets.iter().fold(0u64, |value, octet| value << 8 | u64::from(*octet));
            put(out, format_args!("{value}"));
        }
        Field::Time => put(out, format_args!("{}", Timestamp::from_secs(integer(octets).into()))),
        Field::Type => put(out, format_args!("{}", PortableRtype(Rtype(integer(octets) as u16)))),
        Field::Ip4 | Field::Ip6 => ip(octets, out),
        Field::Eui48 | Field::Eui64 => {
            join(octets.chunks(1), '-', out, |b, out| put(out, format_args!("{:02x}", b[0])))
        }
        Field::Locator => {
            join(octets.chunks(2), ':', out, |b, out| put(out, format_args!("{:04x}", integer(b))));
        }
        Field::String | Field::OptString | Field::Strings => {
            let mut rest = octets;
            while let Some((len, behind)) = rest.split_first() {
                if rest.len() != octets.len() {
                    out.push(' ');
                }
                let (text, behind) = behind.split_at(behind.len().min(usize::from(*len)));
                quoted(text, out);
                rest = behind;
            }
        }
        Field::Text(_) => quoted(octets, out),
        Field::Tag => out.extend(octets[1..].iter().map(|b| char::from(*b))),
        Field::Base64(_) | Field::KeyBase64 => encode(&BASE64, octets, columns, out),
        Field::DoaData if octets.is_empty() => out.push('-'),
        Field::DoaData => encode(&BASE64, octets, columns, out),
        Field::Hex => encode(&HEXUPPER, octets, columns, out),
        Field::Salt if octets.len() == 1 => out.push('-'),
        Field::Salt => HEXUPPER.encode_append(&octets[1..], out),
        Field::Hash => BASE32HEX_NOPAD.encode_append(&octets[1..], out),
        Field::Bitmap | Field::OptBitmap => {
            join(bitmap(octets), ' ', out, |t, out| put(out, format_args!("{}", PortableRtype(t))))
        }
        Field::NxtBitmap => {
            join(bits(octets, 0), ' ', out, |t, out| put(out, format_args!("{}", PortableRtype(t))));
        }
        Field::Gateway => relay::print(rdata[1], octets, out, name),
        Field::AmtRelay => relay::print_amt(octets, out, name),
        Field::Wks => historic::print_wks(octets, out),
        Field::Nsap => historic::print_nsap(octets, out),
        Field::Atma => historic::print_atma(octets, out),
        Field::A6 => historic::print_a6(octets, out, name),
        Field::Hip => {
            let (hit, key) = (usize::from(octets[0]), integer(&octets[2..4]) as usize);
            let (tag, behind) = octets[4..].split_at(hit);
            let (key, mut servers) = behind.split_at(key);
            put(out, format_args!("{} {} {}", octets[1], HEXUPPER.encode(tag), BASE64.encode(key)));
            while let Some(len) = name::wire_len(servers) {
                out.push(' ');
                name(&servers[..len], out);
                servers = &servers[len..];
            }
        }
        Field::Loc => loc::print(octets, out),
        Field::Apl => apl::print(octets, out),
        Field::Registry => registry::print(octets, out),
        Field::SvcParams => svcb::print(octets, out),
    }
}

fn name(wire: &[u8], out: &mut String) {
    name::print_wire(wire, out).expect("a String takes any text");
}

/// Appends the octets in an encoding, with a blank after every `columns` characters.
fn encode(encoding: &Encoding, octets: &[u8], columns: Option<usize>, out: &mut String) {
    let Some(columns) = columns.filter(|c| *c > 0) else {
        encoding.encode_append(octets, out);
        return;
    };
    join(encoding.encode(octets).as_bytes().chunks(columns), ' ', out, |part, out| {
        out.extend(part.iter().map(|b| char::from(*b)))
    });
}

/// The types of a checked type bit map.
fn bitmap(mut octets: &[u8]) -> impl Iterator<Item = Rtype> {
    std::iter::from_fn(move || {
        let [window, len, rest @ ..] = octets else { return None };
        let (block, behind) = rest.split_at(rest.len().min(usize::from(*len)));
        octets = behind;
        Some(bits(block, u16::from(*window) << 8))
    })
    .flatten()
}

fn bits(octets: &[u8], first: u16) -> impl Iterator<Item = Rtype> {
    octets.iter().zip(0u16..).flat_map(move |(octet, at)| {
        (0..8).filter(move |bit| octet & (0x80 >> bit) != 0).map(move |bit| Rtype(first + at * 8 + bit))
    })
}
