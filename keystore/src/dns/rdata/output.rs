//! Pieces of presentation form that several kinds of record data print.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Appends formatted text.
pub(super) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes any text");
}

/// Big-endian value of up to four octets.
pub(super) fn integer(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |v, b| v << 8 | u32::from(*b))
}

pub(super) fn ip(octets: &[u8], out: &mut String) {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        put(out, format_args!("{}", Ipv4Addr::from(v4)));
    } else if let Ok(v6) = <[u8; 16]>::try_from(octets) {
        put(out, format_args!("{}", Ipv6Addr::from(v6)));
    }
}

/// A text in quotes; all but printable ASCII as `\DDD`.
pub(super) fn quoted(octets: &[u8], out: &mut String) {
    out.push('"');
    for b in octets {
        match b {
            b'"' | b'\\' => out.extend(['\\', char::from(*b)]),
            0x20..=0x7e => out.push(char::from(*b)),
            _ => put(out, format_args!("\\{b:03}")),
        }
    }
    out.push('"');
}

pub(super) fn join<T>(
    items: impl Iterator<Item = T>,
    between: char,
    out: &mut String,
    mut print: impl FnMut(T, &mut String),
) {
    for (n, item) in items.enumerate() {
        if n > 0 {
            out.push(between);
        }
        print(item, out);
    }
}
