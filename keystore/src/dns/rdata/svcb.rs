//! Service parameters of SVCB and HTTPS records (RFC 9460; `dohpath` RFC 9461, `ohttp` RFC 9540).

use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::BASE64;

use super::input::{Tokens, bad, decimal, decode, parse, unescape};
use super::output::{integer, ip, join, put, quoted};
use super::{RdataError, Token};

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6HINT: u16 = 6;
const DOHPATH: u16 = 7;
const OHTTP: u16 = 8;

const KEYS: &[(&str, u16)] = &[
    ("mandatory", MANDATORY),
    ("alpn", ALPN),
    ("no-default-alpn", NO_DEFAULT_ALPN),
    ("port", PORT),
    ("ipv4hint", IPV4HINT),
    ("ech", ECH),
    ("ipv6hint", IPV6HINT),
    ("dohpath", DOHPATH),
    ("ohttp", OHTTP),
];

/// The last key that every server and tool reads by its word; those after it are printed as `keyNNNNN`.
const LAST_PRINTED_BY_WORD: u16 = IPV6HINT;

/// How a key was written, which says how its value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// By its word: the value has the form of that key.
    Word,
    /// As `keyNNNNN`: the value is the octets of the wire form (RFC 9460 section 2.1).
    Number,
}

/// Reads a key: its word in lower case, or `keyNNNNN`.
fn key(text: &[u8]) -> Option<(u16, Spelling)> {
    if let Some((_, key)) = KEYS.iter().find(|(word, _)| word.as_bytes() == text) {
        return Some((*key, Spelling::Word));
    }
    let digits = text.strip_prefix(b"key").filter(|d| *d == b"0" || d.first() != Some(&b'0'))?;
    decimal(digits).and_then(|k| u16::try_from(k).ok()).map(|key| (key, Spelling::Number))
}

fn put_key(key: u16, out: &mut String) {
    match KEYS.iter().find(|(_, number)| *number == key && key <= LAST_PRINTED_BY_WORD) {
        Some((word, _)) => out.push_str(word),
        None => put(out, format_args!("key{key}")),
    }
}

/// Key and value.
type Param<'a> = (u16, &'a [u8]);

/// The first parameter of `octets` and what follows.
fn split(octets: &[u8]) -> Option<(Param<'_>, &[u8])> {
    let [k1, k2, l1, l2, rest @ ..] = octets else { return None };
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*l1, *l2])))?;
    Some(((u16::from_be_bytes([*k1, *k2]), value), rest))
}

fn params(mut octets: &[u8]) -> impl Iterator<Item = Param<'_>> {
    std::iter::from_fn(move || {
        let (param, rest) = split(octets)?;
        octets = rest;
        Some(param)
    })
}

/// Keys that BIND and Knot take with any octets, and whose text NSD 4.11 refuses: `tls-supported-groups`, and the one that RFC 9460 section
/// 14.3.2 reserves.
const REFUSED_IN_TEXT: [u16; 2] = [9, 65535];

/// True when every server reads the text of these parameters.
pub(super) fn has_text(octets: &[u8]) -> bool {
    params(octets).all(|(key, _)| !REFUSED_IN_TEXT.contains(&key))
}

/// Keys rise, each value is one of its key, and the keys fit together.
pub(super) fn is_wire(octets: &[u8]) -> bool {
    let (mut rest, mut last) = (octets, None);
    while !rest.is_empty() {
        let Some(((key, value), behind)) = split(rest) else { return false };
        if last.is_some_and(|last| last >= key) || !is_value(key, value) {
            return false;
        }
        (rest, last) = (behind, Some(key));
    }
    misfit(octets).is_none()
}

/// What is wrong with parameters that are well-formed each by itself.
fn misfit(octets: &[u8]) -> Option<&'static str> {
    let has = |wanted: u16| params(octets).any(|(key, _)| key == wanted);
    if has(NO_DEFAULT_ALPN) && !has(ALPN) {
        return Some("no-default-alpn stands without alpn (RFC 9460 section 7.1.1)");
    }
    let named =
        params(octets).next().filter(|(key, _)| *key == MANDATORY).map_or(&[][..], |(_, named)| named);
    let lacking = named.chunks(2).any(|want| !has(integer(want) as u16));
    lacking.then_some("a parameter that `mandatory` names is missing (RFC 9460 section 8)")
}

fn is_value(key: u16, value: &[u8]) -> bool {
    match key {
        MANDATORY => {
            let keys = || value.chunks(2).map(integer);
            !value.is_empty()
                && value.len().is_multiple_of(2)
                && !keys().any(|k| k == 0)
                && keys().is_sorted_by(|a, b| a < b)
        }
        ALPN => {
            let mut rest = value;
            while let Some((len, behind)) = rest.split_first() {
                match behind.get(usize::from(*len)..) {
                    Some(behind) if *len > 0 => rest = behind,
                    _ => return false,
                }
            }
            !value.is_empty()
        }
        NO_DEFAULT_ALPN => value.is_empty(),
        PORT => value.len() == 2,
        IPV4HINT => !value.is_empty() && value.len().is_multiple_of(4),
        IPV6HINT => !value.is_empty() && value.len().is_multiple_of(16),
        DOHPATH => std::str::from_utf8(value).is_ok_and(has_dns_variable),
        _ => true,
    }
}

/// True when an expression of a URI template has the variable `dns`, as in `{?dns}` (RFC 9461 section 5, RFC 6570).
fn has_dns_variable(template: &str) -> bool {
    let mut expressions = template.split('{').skip(1).filter_map(|behind| behind.split_once('}'));
    expressions.any(|(expression, _)| {
        let variables = expression.trim_start_matches(['+', '#', '.', '/', ';', '?', '&']);
        variables.split(',').any(|variable| variable.split([':', '*']).next() == Some("dns"))
    })
}

/// Reads all parameters, in any order.
pub(super) fn read(tokens: &mut Tokens<'_, '_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let mut params: Vec<(u16, Vec<u8>)> = Vec::new();
    while let Some(token) = tokens.next_if_any() {
        let equals = token.text.iter().position(|b| *b == b'=').filter(|_| !token.quoted);
        let (word, inline) = match equals {
            Some(at) => (&token.text[..at], Some(&token.text[at + 1..])),
            None => (token.text, None),
        };
        let key = key(word).filter(|_| !token.quoted);
        let (key, spelling) =
            key.ok_or_else(|| bad(token, "service parameter, as alpn=h2 or key65280=text"))?;
        let text = match inline {
            Some(b"") if tokens.peek().is_some_and(|t| t.quoted && t.glued) => tokens.next_if_any(),
            Some(text) => Some(Token { text, ..token }),
            None => None,
        };
        let value = value(key, spelling, text).filter(|v| is_value(key, v) && v.len() <= 65535);
        let value = value.ok_or_else(|| bad(text.unwrap_or(token), value_name(key, spelling)))?;
        params.push((key, value));
    }
    params.sort_by_key(|(key, _)| *key);
    if params.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(RdataError::Unfit("a service parameter is there twice"));
    }
    let start = out.len();
    for (key, value) in &params {
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
    }
    misfit(&out[start..]).map_or(Ok(()), |what| Err(RdataError::Unfit(what)))
}

const fn value_name(key: u16, spelling: Spelling) -> &'static str {
    if matches!(spelling, Spelling::Number) && key <= OHTTP {
        return "value of that key: behind keyNNNNN= stand the octets of the wire form, as in key3=\"\\001\\187\"";
    }
    match key {
        MANDATORY => "list of service parameter keys, without `mandatory` itself and doubles",
        ALPN => "list of protocol identifiers of 1 to 255 octets",
        NO_DEFAULT_ALPN | OHTTP => "parameter without value, as it must be",
        PORT => "port from 0 to 65535",
        IPV4HINT => "list of IPv4 addresses parted by commas",
        IPV6HINT => "list of IPv6 addresses parted by commas",
        ECH => "ECH configuration in base64",
        DOHPATH => "URI template in UTF-8 with the variable `dns`, as in /dns-query{?dns}",
        _ => "parameter value of up to 65535 octets",
    }
}

fn value(key: u16, spelling: Spelling, text: Option<Token<'_>>) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    if let Some(token) = text {
        unescape(token, &mut octets).ok()?;
    }
    if spelling == Spelling::Number {
        return Some(octets);
    }
    let mut out = Vec::new();
    match key {
        MANDATORY => {
            let keys = octets.split(|b| *b == b',').map(|word| self::key(word).map(|(key, _)| key));
            let mut keys = keys.collect::<Option<Vec<u16>>>()?;
            keys.sort_unstable();
            out.extend(keys.iter().flat_map(|key| key.to_be_bytes()));
        }
        ALPN => {
            for id in list(&octets)? {
                out.push(u8::try_from(id.len()).ok()?);
                out.extend_from_slice(&id);
            }
        }
        PORT => out.extend_from_slice(&u16::try_from(decimal(&octets)?).ok()?.to_be_bytes()),
        IPV4HINT => {
            for address in octets.split(|b| *b == b',') {
                out.extend_from_slice(&parse::<Ipv4Addr>(address)?.octets());
            }
        }
        IPV6HINT => {
            for address in octets.split(|b| *b == b',') {
                out.extend_from_slice(&parse::<Ipv6Addr>(address)?.octets());
            }
        }
        ECH => return decode(&BASE64, &octets, &mut out).then_some(out),
        OHTTP if !octets.is_empty() => return None,
        _ => return Some(octets),
    }
    Some(out)
}

/// Cuts a list at its commas; `\,` and `\\` are a comma and a backslash inside an item (RFC 9460 appendix A.1).
fn list(octets: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut items = vec![Vec::new()];
    let mut octets = octets.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b',' => items.push(Vec::new()),
            b'\\' => items.last_mut()?.push(*octets.next().filter(|b| matches!(b, b',' | b'\\'))?),
            other => items.last_mut()?.push(*other),
        }
    }
    Some(items)
}

pub(super) fn print(octets: &[u8], out: &mut String) {
    join(params(octets), ' ', out, |(key, value), out| {
        if key == ECH && value.is_empty() {
            // Knot reads no `ech` without value, and takes the octets of the wire form as they are.
            put(out, format_args!("key{key}"));
            return;
        }
        put_key(key, out);
        if value.is_empty() {
            return;
        }
        out.push('=');
        match key {
            MANDATORY => join(value.chunks(2), ',', out, |k, out| put_key(integer(k) as u16, out)),
            ALPN => {
                let mut text = Vec::with_capacity(value.len());
                let mut rest = value;
                while let Some((len, behind)) = rest.split_first() {
                    if rest.len() != value.len() {
                        text.push(b',');
                    }
                    let (id, behind) = behind.split_at(behind.len().min(usize::from(*len)));
                    for b in id {
                        if matches!(b, b',' | b'\\') {
                            text.push(b'\\');
                        }
                        text.push(*b);
                    }
                    rest = behind;
                }
                quoted(&text, out);
            }
            PORT => put(out, format_args!("{}", integer(value))),
            IPV4HINT => join(value.chunks(4), ',', out, ip),
            IPV6HINT => join(value.chunks(16), ',', out, ip),
            ECH => out.push_str(&BASE64.encode(value)),
            _ => quoted(value, out),
        }
    });
}
