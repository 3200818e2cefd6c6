//! Absolute domain names in uncompressed wire form (RFC 1035 section 3.1), their canonical order
//! (RFC 4034 section 6.1), presentation form, and BIND's encoding in file names.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Longest name, in octets of wire form.
pub const MAX_NAME: usize = 255;
/// Longest label, in octets.
pub const MAX_LABEL: usize = 63;
/// Most labels of a name, the root not counted.
const MAX_LABELS: usize = 127;

/// An absolute domain name. Letter case is kept, and ignored by `Eq`, `Hash` and `Ord`; `Ord` is the
/// canonical DNS name order. `Display` is the presentation form with the final dot.
///
/// Clones share the octets: a zone has its name in hundreds of places.
#[derive(Clone)]
pub struct Name {
    wire: Arc<[u8]>,
}

/// Why a text or a run of octets is no domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// An empty text.
    #[error("the name is empty")]
    Empty,
    /// Two dots in a row, or a dot at the start.
    #[error("a label is empty")]
    EmptyLabel,
    /// A label of more than 63 octets.
    #[error("a label is longer than 63 octets")]
    LabelTooLong,
    /// More than 255 octets of wire form.
    #[error("the name is longer than 255 octets")]
    NameTooLong,
    /// A backslash without a character or three digits up to 255 behind it.
    #[error("a backslash needs a character or three digits from 000 to 255 behind it")]
    BadEscape,
    /// Wire form: the octets end inside the name, or a length octet is no label's.
    #[error("the octets are no uncompressed name")]
    BadWire,
}

impl Name {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self { wire: Arc::new([0]) }
    }

    /// Reads presentation form; a text without final dot is completed by the root (`example` = `example.`).
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Self::parse_bytes(text.as_bytes(), None)
    }

    /// Reads presentation form; a text without final dot is relative to `origin` (the root when `None`).
    pub fn parse_bytes(text: &[u8], origin: Option<&Name>) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        parse_into(text, origin.map(Name::as_wire), &mut wire)?;
        Ok(Self { wire: wire.into() })
    }

    /// Takes exactly one uncompressed name in wire form.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        let len = wire_len(wire).ok_or(NameError::BadWire)?;
        if len != wire.len() {
            return Err(NameError::BadWire);
        }
        Ok(Self { wire: wire.into() })
    }

    /// Holds its octets in one place with `other`, when they are the same, letter case and all.
    pub(crate) fn share_with(&mut self, other: &Self) {
        if self.wire == other.wire {
            self.wire = Arc::clone(&other.wire);
        }
    }

    /// The wire form, case kept.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        &self.wire
    }

    /// The wire form in lower case (RFC 4034 section 6.2).
    #[must_use]
    pub fn canonical_wire(&self) -> Vec<u8> {
        self.wire.to_ascii_lowercase()
    }

    /// The same name in lower case.
    #[must_use]
    pub fn to_lowercase(&self) -> Self {
        Self { wire: self.canonical_wire().into() }
    }

    /// The zone of this name as metrics, logs, reports and the audit log write it: absolute, in lower case.
    #[must_use]
    pub fn zone_label(&self) -> String {
        self.to_lowercase().to_string()
    }

    /// True for `.`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.wire.len() == 1
    }

    /// The labels from left to right, without the root's.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        Labels(&self.wire)
    }

    /// Number of labels without the root's; a leftmost `*` is counted.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// The Labels field of an RRSIG: labels without the root and without a leftmost `*` (RFC 4034 section 3.1.3).
    #[must_use]
    pub fn rrsig_labels(&self) -> u8 {
        (self.label_count() - usize::from(self.is_wildcard())) as u8
    }

    /// True when the leftmost label is a single `*`.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.wire.starts_with(&[1, b'*'])
    }

    /// The name without its leftmost label; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let first = usize::from(self.wire[0]);
        (first > 0).then(|| Self { wire: self.wire[first + 1..].into() })
    }

    /// True when `self` is `ancestor` or below it.
    #[must_use]
    pub fn is_at_or_below(&self, ancestor: &Name) -> bool {
        let mut rest = &*self.wire;
        while rest.len() > ancestor.wire.len() {
            rest = &rest[usize::from(rest[0]) + 1..];
        }
        rest.eq_ignore_ascii_case(&ancestor.wire)
    }

    /// The name in BIND's key file names: lower case, `%XX` for all but `0-9 a-z - _`, with final dot; the root is `.`.
    #[must_use]
    pub fn file_name(&self) -> String {
        use fmt::Write;
        if self.is_root() {
            return ".".to_owned();
        }
        let mut out = String::new();
        for label in self.labels() {
            for b in label {
                match b.to_ascii_lowercase() {
                    c @ (b'0'..=b'9' | b'a'..=b'z' | b'-' | b'_') => out.push(char::from(c)),
                    c => drop(write!(out, "%{c:02X}")),
                }
            }
            out.push('.');
        }
        out
    }
}

/// Reads presentation form as [`Name::parse_bytes`] does and appends the wire form to `out`; `origin` is a name in wire form.
/// After an error `out` is as before.
pub fn parse_into(text: &[u8], origin: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), NameError> {
    let start = out.len();
    let read = read_labels(text, origin, out);
    if read.is_err() {
        out.truncate(start);
    }
    read
}

fn read_labels(text: &[u8], origin: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), NameError> {
    if text == b"." {
        out.push(0);
        return Ok(());
    }
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let start = out.len();
    let mut rest = text;
    loop {
        let label_start = out.len();
        out.push(0);
        let end = loop {
            let plain = rest.iter().position(|b| matches!(b, b'.' | b'\\')).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            match rest.first() {
                Some(b'\\') => {
                    let (octet, taken) = unescape(&rest[1..]).ok_or(NameError::BadEscape)?;
                    out.push(octet);
                    rest = &rest[1 + taken..];
                }
                other => break other,
            }
        };
        match out.len() - label_start - 1 {
            0 => return Err(NameError::EmptyLabel),
            len @ 1..=MAX_LABEL => out[label_start] = len as u8,
            _ => return Err(NameError::LabelTooLong),
        }
        if out.len() - start > MAX_NAME {
            return Err(NameError::NameTooLong);
        }
        if end.is_none() {
            out.extend_from_slice(origin.unwrap_or(&[0]));
            break;
        }
        rest = &rest[1..];
        if rest.is_empty() {
            out.push(0);
            break;
        }
    }
    if out.len() - start > MAX_NAME {
        return Err(NameError::NameTooLong);
    }
    Ok(())
}

/// Writes the presentation form of an uncompressed name in wire form, with the final dot.
///
/// Letters, digits and `-`, `_`, `*`, `/` stand for themselves. Everything else is escaped: Knot refuses other characters that stand
/// bare, and BIND takes `\\[` for the start of a binary label (RFC 2673), so that but for dot and backslash only `\\DDD` is read alike by
/// BIND, Knot, NSD and ldns.
pub fn print_wire(wire: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    if wire.first().is_none_or(|len| *len == 0) {
        return out.write_char('.');
    }
    let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'*' | b'/');
    for label in Labels(wire) {
        let mut rest = label;
        while let Some(&octet) = rest.first() {
            let plain = rest.iter().take_while(|octet| is_plain(octet)).count();
            if let Ok(text) = std::str::from_utf8(&rest[..plain]) {
                out.write_str(text)?;
            }
            rest = &rest[plain.max(1)..];
            match octet {
                _ if plain > 0 => {}
                b'.' | b'\\' => write!(out, "\\{}", char::from(octet))?,
                _ => write!(out, "\\{octet:03}")?,
            }
        }
        out.write_char('.')?;
    }
    Ok(())
}

/// The octet that the text behind a backslash stands for, and how many octets of text that took:
/// three digits up to 255, or a character.
#[must_use]
pub fn unescape(text: &[u8]) -> Option<(u8, usize)> {
    let first = *text.first()?;
    if !first.is_ascii_digit() {
        return Some((first, 1));
    }
    let digits = text.get(..3).filter(|d| d.iter().all(u8::is_ascii_digit))?;
    let value = digits.iter().fold(0u32, |v, d| v * 10 + u32::from(d - b'0'));
    Some((u8::try_from(value).ok()?, 3))
}

/// Length of the uncompressed name at the start of `octets`, root label included; `None` when there is none.
#[must_use]
pub fn wire_len(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let len = usize::from(*octets.get(at)?);
        if len > MAX_LABEL {
            return None;
        }
        at += len + 1;
        if at > MAX_NAME || at > octets.len() {
            return None;
        }
        if len == 0 {
            return Some(at);
        }
    }
}

/// The name at `at` in a DNS message, uncompressed and with its letter case, and where its octets end there (RFC 1035 section 4.1.4). Each
/// pointer must lead to a place in front of the one before, and there are no more of them than a name has labels, so that this ends soon.
/// `None` when there is no name.
#[must_use]
pub fn read_message(message: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let (mut place, mut before, mut end) = (at, at, None);
    let mut pointers = 0;
    loop {
        let len = usize::from(*message.get(place)?);
        match len {
            0 => {
                name.push(0);
                return (name.len() <= MAX_NAME).then_some((name, end.unwrap_or(place + 1)));
            }
            1..=MAX_LABEL => {
                name.extend_from_slice(message.get(place..=place + len)?);
                if name.len() >= MAX_NAME {
                    return None;
                }
                place += len + 1;
            }
            0xc0.. => {
                let low = usize::from(*message.get(place + 1)?);
                end.get_or_insert(place + 2);
                place = (len & 0x3f) << 8 | low;
                pointers += 1;
                if place >= before || pointers > MAX_LABELS {
                    return None;
                }
                before = place;
            }
            _ => return None,
        }
    }
}

/// Canonical order of two uncompressed wire-form names (RFC 4034 section 6.1), letter case ignored.
#[must_use]
pub fn canonical_cmp(a: &[u8], b: &[u8]) -> Ordering {
    let mut starts = [[0u8; 128]; 2];
    let mut counts = [0usize; 2];
    for (n, wire) in [a, b].into_iter().enumerate() {
        let mut at = 0;
        while wire[at] != 0 {
            starts[n][counts[n]] = at as u8;
            counts[n] += 1;
            at += usize::from(wire[at]) + 1;
        }
    }
    let label = |wire: &'_ [u8], at: u8| -> (usize, usize) {
        let at = usize::from(at);
        (at + 1, at + 1 + usize::from(wire[at]))
    };
    let (mut i, mut j) = (counts[0], counts[1]);
    while i > 0 && j > 0 {
        i -= 1;
        j -= 1;
        let (from_a, to_a) = label(a, starts[0][i]);
        let (from_b, to_b) = label(b, starts[1][j]);
        let left = a[from_a..to_a].iter().map(u8::to_ascii_lowercase);
        let right = b[from_b..to_b].iter().map(u8::to_ascii_lowercase);
        match left.cmp(right) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    counts[0].cmp(&counts[1])
}

struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.0[0]);
        if len == 0 {
            return None;
        }
        let (label, rest) = self.0[1..].split_at(len);
        self.0 = rest;
        Some(label)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_wire(&self.wire, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.wire.eq_ignore_ascii_case(&other.wire)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for b in &*self.wire {
            state.write_u8(b.to_ascii_lowercase());
        }
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        canonical_cmp(&self.wire, &other.wire)
    }
}

/// Why a name that a person gave is not taken; each reads on behind the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GivenNameError {
    /// It has letters that DNS does not carry as they are.
    #[error("is not ASCII; write \"{a_label}\" (the A-label that DNS carries)")]
    ULabel {
        /// The name to write in its place (RFC 5890 section 2.3.2.1).
        a_label: String,
    },
    /// It has octets that no A-label stands for.
    #[error("is not ASCII, and there is no A-label for it; write octets of a label as \\DDD")]
    NotAscii,
    /// It is no name.
    #[error("is no domain name: {0}")]
    NoName(#[from] NameError),
}

impl std::str::FromStr for Name {
    type Err = GivenNameError;
    /// Reads a name as a person gives it, in a configuration or on a command line: presentation form in ASCII.
    fn from_str(text: &str) -> Result<Self, GivenNameError> {
        if !text.is_ascii() {
            let a_label = idna::domain_to_ascii(text).map_err(|_| GivenNameError::NotAscii)?;
            return Err(GivenNameError::ULabel { a_label });
        }
        Ok(Self::parse(text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_binds() {
        for (text, want) in [
            (".", "."),
            ("A_b.TEST", "a_b.test."),
            ("x/y.test", "x%2Fy.test."),
            ("a\\.b.test", "a%2Eb.test."),
            ("1/2.0.192.in-addr.arpa", "1%2F2.0.192.in-addr.arpa."),
            ("*.test", "%2A.test."),
            ("a\\032b.test", "a%20b.test."),
            ("\u{fc}.test", "%C3%BC.test."),
        ] {
            assert_eq!(Name::parse(text).expect(text).file_name(), want);
        }
    }

    #[test]
    fn kind_15_every_octet_of_a_label_is_written_so_that_every_server_reads_it() {
        for (written, printed) in [
            ("[x", "\\091x."),
            ("a\\+b", "a\\043b."),
            ("a\\'b.c=d", "a\\039b.c\\061d."),
            ("\\[x41/8]", "\\091x41/8\\093."),
            ("\\@", "\\064."),
            ("$x", "\\036x."),
            ("0/25.2", "0/25.2."),
            ("_x._*.*", "_x._*.*."),
            ("a\\.b\\\\c", "a\\.b\\\\c."),
            ("a\\;b\\\"c\\(d", "a\\059b\\034c\\040d."),
        ] {
            assert_eq!(Name::parse(written).expect(written).to_string(), printed);
        }
        for octet in 0..=u8::MAX {
            let name = Name::from_wire(&[2, octet, octet, 0]).expect("a name");
            let text = name.to_string();
            assert_eq!(Name::parse(&text).expect(&text).as_wire(), name.as_wire(), "{text}");
        }
    }

    #[test]
    fn canonical_order_of_rfc_4034() {
        let order = [
            "example",
            "a.example",
            "yljkjljk.a.example",
            "Z.a.example",
            "zABC.a.EXAMPLE",
            "z.example",
            "\\001.z.example",
            "*.z.example",
            "\\200.z.example",
        ];
        let names: Vec<Name> = order.iter().map(|t| Name::parse(t).expect(t)).collect();
        for pair in names.windows(2) {
            assert!(pair[0] < pair[1], "{:?}", pair);
        }
    }

    #[test]
    fn refuses_what_is_no_name() {
        for (text, want) in [
            ("", NameError::Empty),
            (".a", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            ("a\\", NameError::BadEscape),
            ("a\\25", NameError::BadEscape),
            ("a\\256", NameError::BadEscape),
        ] {
            assert_eq!(Name::parse(text), Err(want), "{text}");
        }
        assert_eq!(Name::parse(&"a".repeat(64)), Err(NameError::LabelTooLong));
        assert_eq!(Name::parse(&"a.".repeat(128)), Err(NameError::NameTooLong));
        assert!(Name::parse(&"a.".repeat(127)).is_ok());
        assert_eq!(Name::from_wire(&[1, b'a']), Err(NameError::BadWire));
        assert_eq!(Name::from_wire(&[0xc0, 0]), Err(NameError::BadWire));
        assert_eq!(Name::from_wire(&[0, 0]), Err(NameError::BadWire));
    }

    #[test]
    fn below_is_by_label() {
        let zone = Name::parse("example.").expect("a name");
        assert!(Name::parse("www.EXAMPLE").expect("a name").is_at_or_below(&zone));
        assert!(!Name::parse("wwwexample").expect("a name").is_at_or_below(&zone));
        assert!(!Name::root().is_at_or_below(&zone));
    }

    #[test]
    fn names_in_messages_are_read_behind_pointers_that_lead_to_the_front_and_are_few() {
        let message = b"\x03www\x07example\x00\x01a\xc0\x04\xc0\x0d\xc0\x13\x40\x00\x02ab";
        for (at, want) in [
            (0, Some((&b"\x03www\x07example\x00"[..], 13))),
            (4, Some((&b"\x07example\x00"[..], 13))),
            (13, Some((&b"\x01a\x07example\x00"[..], 17))),
            (17, Some((&b"\x01a\x07example\x00"[..], 19))),
            // To itself; no kind of label; cut.
            (19, None),
            (21, None),
            (23, None),
            (99, None),
        ] {
            let found = read_message(message, at);
            assert_eq!(found.as_ref().map(|(name, end)| (&name[..], *end)), want, "{at}");
        }
        for (pointers, is_read) in [(127, true), (128, false)] {
            let mut chain = vec![0];
            for number in 0..pointers {
                let to: usize = if number == 0 { 0 } else { chain.len() - 2 };
                chain.extend_from_slice(&[0xc0 | (to >> 8) as u8, to as u8]);
            }
            assert_eq!(read_message(&chain, chain.len() - 2).is_some(), is_read, "{pointers}");
        }
    }
}
