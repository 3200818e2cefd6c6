//! RDATA in wire form: the length of each field, what is well-formed, the canonical form.

use super::{Field, RdataError, Rtype, apl, fields, historic, loc, registry, relay, svcb};
use crate::dns::name;

/// Checks `rdata` against the fields of its type, and what its fields say of each other.
pub(super) fn check(rtype: Rtype, rdata: &[u8]) -> Result<(), RdataError> {
    if rdata.len() > super::MAX_RDATA {
        return Err(RdataError::TooLong);
    }
    walk(rtype, rdata, |_, _, _| {}).ok_or(RdataError::BadWire(rtype))?;
    fits(rtype, rdata)
}

/// Calls `visit(field, from, to)` for each field; `None` when the octets do not fit the type. Nothing is visited
/// for a type without fields.
pub(super) fn walk(rtype: Rtype, rdata: &[u8], mut visit: impl FnMut(Field, usize, usize)) -> Option<()> {
    let Some(fields) = fields(rtype) else {
        return Some(());
    };
    let mut at = 0;
    for field in fields {
        let end = at + len(*field, rdata, at)?;
        visit(*field, at, end);
        at = end;
    }
    (at == rdata.len()).then_some(())
}

pub(super) fn canonical(rtype: Rtype, rdata: &[u8]) -> Vec<u8> {
    let mut out = rdata.to_vec();
    let walked = walk(rtype, rdata, |field, from, to| {
        // Length octets are at most 63, below any letter.
        match field {
            Field::Name => out[from..to].make_ascii_lowercase(),
            Field::A6 => {
                if let Some(name) = historic::a6_name(&rdata[from..to]) {
                    out[from + name..to].make_ascii_lowercase();
                }
            }
            _ => {}
        }
    });
    match walked {
        Some(()) => out,
        None => rdata.to_vec(),
    }
}

/// See [`super::read_message`].
pub(super) fn read_message(rtype: Rtype, message: &[u8], at: usize, len: usize) -> Option<Vec<u8>> {
    let end = at.checked_add(len)?;
    let raw = message.get(at..end)?;
    let fields = fields(rtype).filter(|fields| fields.contains(&Field::Name));
    let Some(fields) = fields else { return Some(raw.to_vec()) };
    let (mut out, mut place) = (Vec::with_capacity(len), at);
    for field in fields {
        if *field == Field::Name {
            let (name, behind) = name::read_message(message.get(..end)?, place)?;
            out.extend_from_slice(&name);
            place = behind;
        } else {
            let len = self::len(*field, raw, place - at)?;
            out.extend_from_slice(message.get(place..place + len)?);
            place += len;
        }
    }
    (place == end).then_some(out)
}

/// Length of the field that starts at `at` in `rdata`; `None` when the octets there do not make one.
fn len(field: Field, rdata: &[u8], at: usize) -> Option<usize> {
    let rest = rdata.get(at..)?;
    let fixed = |n: usize| (rest.len() >= n).then_some(n);
    let all_if = |good: bool| good.then_some(rest.len());
    match field {
        Field::Name | Field::NameCased => name::wire_len(rest),
        Field::U8 | Field::Algorithm | Field::DigestType | Field::DsyncScheme => fixed(1),
        Field::U16 | Field::Type | Field::CertType => fixed(2),
        Field::U32 | Field::Period | Field::Time | Field::Ip4 => fixed(4),
        Field::Eui48 => fixed(6),
        Field::Eui64 | Field::Locator | Field::U64 => fixed(8),
        Field::Ip6 => fixed(16),
        Field::String | Field::Salt => counted(rest),
        Field::OptString => {
            if rest.is_empty() {
                Some(0)
            } else {
                counted(rest)
            }
        }
        Field::Hash => counted(rest).filter(|len| *len > 1),
        Field::Tag => {
            let len = counted(rest).filter(|len| *len > 1)?;
            rest[1..len].iter().all(u8::is_ascii_alphanumeric).then_some(len)
        }
        Field::Strings => {
            let mut strings = rest;
            while !strings.is_empty() {
                strings = &strings[counted(strings)?..];
            }
            all_if(!rest.is_empty())
        }
        Field::Text(min) | Field::Base64(min) => all_if(rest.len() >= min),
        Field::DoaData => Some(rest.len()),
        Field::KeyBase64 => {
            all_if(!rest.is_empty() || rdata.first().is_some_and(|flags| flags & 0xc0 == 0xc0))
        }
        Field::Hex => all_if(!rest.is_empty()),
        Field::Bitmap => all_if(!rest.is_empty() && is_bitmap(rest)),
        Field::OptBitmap => all_if(is_bitmap(rest)),
        Field::NxtBitmap => {
            let top_bit_clear = rest.first().is_some_and(|b| b & 0x80 == 0);
            all_if(top_bit_clear && rest.len() <= 16 && rest.last() != Some(&0))
        }
        Field::Gateway => relay::len(*rdata.get(1)?, rest),
        Field::AmtRelay => all_if(relay::is_amt(rest)),
        Field::Wks => all_if(historic::is_wks(rest)),
        Field::Nsap => all_if(!rest.is_empty()),
        Field::Atma => all_if(historic::is_atma(rest)),
        Field::A6 => all_if(historic::is_a6(rest)),
        Field::Hip => {
            let [hit, _, hi, lo, ..] = *rest else { return None };
            let key = usize::from(u16::from_be_bytes([hi, lo]));
            let mut servers = rest.get(4 + usize::from(hit) + key..)?;
            while !servers.is_empty() {
                servers = &servers[name::wire_len(servers)?..];
            }
            all_if(hit > 0 && key > 0)
        }
        Field::Loc => all_if(loc::is_wire(rest)),
        Field::Apl => all_if(apl::is_wire(rest)),
        Field::Registry => all_if(registry::is_wire(rest)),
        Field::SvcParams => all_if(svcb::is_wire(rest)),
    }
}

/// Length of a length octet and what it counts.
fn counted(octets: &[u8]) -> Option<usize> {
    let len = usize::from(*octets.first()?) + 1;
    (octets.len() >= len).then_some(len)
}

/// RFC 4034 section 4.1.2: windows rise, hold 1 to 32 octets, the last of them not zero.
fn is_bitmap(mut octets: &[u8]) -> bool {
    let mut last = None;
    while let [window, len, rest @ ..] = octets {
        let len = usize::from(*len);
        if last.is_some_and(|last| last >= *window) || !(1..=32).contains(&len) || rest.len() < len {
            return false;
        }
        if rest[len - 1] == 0 {
            return false;
        }
        last = Some(*window);
        octets = &rest[len..];
    }
    octets.is_empty()
}

/// What the fields of a type, each well-formed, must say of each other.
fn fits(rtype: Rtype, rdata: &[u8]) -> Result<(), RdataError> {
    let octet = |at: usize| rdata.get(at).copied().unwrap_or(0);
    let lengths = match rtype {
        Rtype::DS | Rtype::CDS | Rtype::TA | Rtype::DLV => match octet(3) {
            1 => Some(4 + 20),
            2 | 3 => Some(4 + 32),
            4 => Some(4 + 48),
            _ => None,
        },
        Rtype::SSHFP => match octet(1) {
            1 => Some(2 + 20),
            2 => Some(2 + 32),
            _ => None,
        },
        Rtype::ZONEMD => match octet(5) {
            1 => Some(6 + 48),
            2 => Some(6 + 64),
            // RFC 8976 section 2.2.4.
            _ if rdata.len() < 6 + 12 => {
                return Err(RdataError::Unfit("the digest is shorter than 12 octets"));
            }
            _ => None,
        },
        Rtype::RKEY if octet(0) | octet(1) != 0 => {
            return Err(RdataError::Unfit("the flags of an RKEY are 0"));
        }
        Rtype::X25 if !(rdata.len() > 4 && rdata[1..].iter().all(u8::is_ascii_digit)) => {
            return Err(RdataError::Unfit("an X.121 address has at least 4 digits and nothing else"));
        }
        Rtype::NAPTR if !naptr_regexp(rdata).is_some_and(is_substitution) => {
            return Err(RdataError::Unfit(
                "the regexp is no substitution `!PATTERN!REPLACEMENT!` with maybe an `i` behind (RFC 3402 section 3.2)",
            ));
        }
        _ => None,
    };
    match lengths {
        Some(want) if want != rdata.len() => {
            Err(RdataError::Unfit("the digest has not the length that its type says"))
        }
        _ => Ok(()),
    }
}

/// The Regexp field of a NAPTR: the third string behind four octets.
fn naptr_regexp(rdata: &[u8]) -> Option<&[u8]> {
    let mut rest = rdata.get(4..)?;
    for _ in 0..2 {
        rest = &rest[counted(rest)?..];
    }
    rest.get(1..counted(rest)?)
}

/// True for an empty text, and for three delimiters around pattern and replacement, then maybe flags `i`
/// (RFC 3402 section 3.2). Others refuse a transfer of the zone when this is wrong. The pattern itself is not judged.
fn is_substitution(text: &[u8]) -> bool {
    let Some((delimiter, mut rest)) = text.split_first() else {
        return true;
    };
    if delimiter.is_ascii_digit() || matches!(delimiter, b'\\' | b'i' | 0) {
        return false;
    }
    let (mut delimiters, mut groups) = (1, 0);
    while let Some((octet, behind)) = rest.split_first() {
        rest = behind;
        match octet {
            b'i' if delimiters == 3 => {}
            _ if delimiters == 3 => return false,
            b'\\' => {
                let Some((escaped, behind)) = rest.split_first() else { return false };
                rest = behind;
                if delimiters == 2 && escaped.is_ascii_digit() && !(1..=groups).contains(&(escaped - b'0')) {
                    return false;
                }
            }
            _ if octet == delimiter => delimiters += 1,
            b'(' if delimiters == 1 => groups = (groups + 1).min(9),
            _ => {}
        }
    }
    delimiters == 3
}
