//! The `.private` file: Private-key-format v1.3 (and v1.2, to be recognised).
//!
//! A parsed file holds places in the text, never secrets; those are decoded only where a key is to sign.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::{BadWord, KeyFile, KeyFileError, LineFault, lines, number, printable, split_tag, stamp};
use crate::crypto::pkcs11::Pkcs11Uri;
use crate::crypto::rsa::RsaPublicKey;
use crate::crypto::{Algorithm, PrivateKey};
use crate::keys::timing::{TIMES, Timing};

/// The newest minor version whose tags are all known; a newer file may have others, which are skipped.
const KNOWN_MINOR: u32 = 3;

/// Elements of an RSA key, in the order in which they are written.
const RSA_ELEMENTS: [&str; 8] = [
    "Modulus",
    "PublicExponent",
    "PrivateExponent",
    "Prime1",
    "Prime2",
    "Exponent1",
    "Exponent2",
    "Coefficient",
];
/// The element of all other keys.
const RAW_ELEMENTS: [&str; 1] = ["PrivateKey"];

/// Numbers among the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Numbers {
    predecessor: Option<u32>,
    successor: Option<u32>,
    max_ttl: Option<u32>,
    roll_period: Option<u32>,
}

/// One element line: its tag, its line, and where its value stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Element {
    tag: &'static str,
    line: u32,
    value: Range<usize>,
}

/// What a `.private` file says, without the secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PrivateFile {
    minor: u32,
    algorithm: u32,
    /// Times of the key.
    pub(super) timing: Timing,
    numbers: Numbers,
    elements: Vec<Element>,
    last_line: u32,
}

impl PrivateFile {
    /// Reads the file: version, algorithm, then elements and metadata in any order. What BIND 9.20 reads is read: lines that are blank or
    /// begin with blanks, tags in any letter case, and of a tag that comes twice the last one.
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self, KeyFileError> {
        let syntax = |line, what: String| KeyFileError::syntax(path, line, what);
        let mut rest = lines(text);
        let minor = match rest.next().and_then(|(_, line)| version(line)) {
            Some((1, minor)) => minor,
            Some((major, minor)) => {
                return Err(syntax(1, format!("format v{major}.{minor}; versions 1.x are read here")));
            }
            None => return Err(syntax(1, no_head(text, 0, "Private-key-format: v1.3"))),
        };
        let algorithm =
            rest.next().and_then(|(_, line)| split_tag(line)).filter(|(tag, _)| *tag == b"Algorithm");
        let algorithm = algorithm
            .and_then(|(_, value)| number(value).ok())
            .ok_or_else(|| syntax(2, no_head(text, 1, "Algorithm: NUMBER (NAME)")))?;
        let mut file = Self {
            minor,
            algorithm,
            timing: Timing::default(),
            numbers: Numbers::default(),
            elements: Vec::new(),
            last_line: 2,
        };
        for (n, line) in rest.filter(|(_, line)| !line.trim_ascii().is_empty()) {
            file.last_line = n;
            file.read_line(text, n, line).map_err(|fault| syntax(n, fault.to_string()))?;
        }
        Ok(file)
    }

    fn read_line(&mut self, text: &[u8], n: u32, line: &[u8]) -> Result<(), LineFault> {
        // No value is ever shown: it may be part of the key.
        let (tag, value) = split_tag(line).ok_or(LineFault::NoTag)?;
        if let Some(known) =
            self.element_tags().into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(tag))
        {
            // Both slices are of one text, so the distance of their starts is the place of the value.
            let start = value.as_ptr().addr() - text.as_ptr().addr();
            self.elements.retain(|element| element.tag != known);
            self.elements.push(Element { tag: known, line: n, value: start..start + value.len() });
            return Ok(());
        }
        let tag = printable(tag);
        if let Some((_, time)) = TIMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(&tag)) {
            let at = stamp(value).map_err(|BadWord(text)| LineFault::Time { tag, text })?;
            *time(&mut self.timing) = Some(at);
            return Ok(());
        }
        let fault = |max, BadWord(text)| LineFault::Number { tag: tag.clone(), text, max };
        let count = || number::<u32>(value).map(Some).map_err(|word| fault(u32::MAX, word));
        let key_tag = || {
            let read = number::<u16>(value).map_err(|word| fault(u16::MAX.into(), word));
            read.map(|tag| Some(u32::from(tag)))
        };
        match tag.to_ascii_lowercase().as_str() {
            "predecessor" => self.numbers.predecessor = key_tag()?,
            "successor" => self.numbers.successor = key_tag()?,
            "maxttl" => self.numbers.max_ttl = count()?,
            "rollperiod" => self.numbers.roll_period = count()?,
            // A newer format may have more.
            _ if self.minor > KNOWN_MINOR => {}
            _ => return Err(LineFault::UnknownTag(tag)),
        }
        Ok(())
    }

    /// Tags that hold the key or say where it is.
    fn element_tags(&self) -> Vec<&'static str> {
        let own: &[&str] = if self.is_rsa() { &RSA_ELEMENTS } else { &RAW_ELEMENTS };
        own.iter().copied().chain(["Engine", "Label", "External"]).collect()
    }

    fn is_rsa(&self) -> bool {
        u8::try_from(self.algorithm).is_ok_and(|n| Algorithm(n).is_rsa())
    }

    /// The algorithm, when its number is one that a DNSKEY can have.
    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        u8::try_from(self.algorithm).ok().map(Algorithm)
    }

    /// True for v1.2 and older, which have no times.
    pub(super) fn is_legacy(&self) -> bool {
        self.minor < 3
    }

    /// Refuses an algorithm that is not that of `.key`.
    pub(super) fn check_algorithm(&self, path: &Path, algorithm: Algorithm) -> Result<(), KeyFileError> {
        if self.algorithm == u32::from(algorithm.0) {
            return Ok(());
        }
        Err(KeyFileError::mismatch(path, "the algorithm is not that of the .key file"))
    }

    fn element(&self, tag: &str) -> Option<&Element> {
        self.elements.iter().find(|e| e.tag == tag)
    }

    /// Decodes the private elements. Says where the key is when it is not here.
    pub(super) fn private_key(&self, path: &Path, text: &[u8]) -> Result<PrivateKey, KeyFileError> {
        let elsewhere = |what| KeyFileError::Elsewhere { path: path.to_owned(), what };
        if self.element("External").is_some() {
            return Err(elsewhere("`External:`, the private key is kept elsewhere; sign where it is"));
        }
        if self.element("Label").is_some() {
            return Err(elsewhere("`Label:`, the private key is in a PKCS#11 token and does not leave it"));
        }
        if !self.is_rsa() {
            return Ok(PrivateKey::Raw(self.raw(path, text)?));
        }
        // All are decoded before the first is taken, so that none is left behind unwiped when a later one is bad.
        let mut numbers = Vec::with_capacity(RSA_ELEMENTS.len());
        for tag in RSA_ELEMENTS {
            let octets = Zeroizing::new(self.decode(path, text, tag)?);
            let zeros = octets.iter().take_while(|b| **b == 0).count();
            numbers.push(Zeroizing::new(octets[zeros..].to_vec()));
        }
        let mut taken = numbers.iter_mut().map(|n| std::mem::take(&mut **n));
        let mut next = || taken.next().unwrap_or_default();
        Ok(PrivateKey::Rsa {
            modulus: next(),
            public_exponent: next(),
            private_exponent: next(),
            prime1: next(),
            prime2: next(),
            exponent1: next(),
            exponent2: next(),
            coefficient: next(),
        })
    }

    /// The scalar of an ECDSA key, or the seed of an EdDSA key, in its fixed length. BIND takes scalars without their leading zeros, as its
    /// older versions have written them, or with more of them.
    fn raw(&self, path: &Path, text: &[u8]) -> Result<Vec<u8>, KeyFileError> {
        let tag = RAW_ELEMENTS[0];
        let octets = Zeroizing::new(self.decode(path, text, tag)?);
        let (is_number, len) = match self.algorithm {
            13 => (true, 32),
            14 => (true, 48),
            15 => (false, 32),
            16 => (false, 57),
            // Signing says that it knows no such algorithm.
            _ => (false, octets.len()),
        };
        let zeros = if is_number { octets.iter().take_while(|b| **b == 0).count() } else { 0 };
        let value = &octets[zeros..];
        let line = self.element(tag).map_or(self.last_line, |element| element.line);
        if value.len() > len || (value.len() < len && !is_number) {
            let what = format!(
                "{tag}: {} octets, where a key of algorithm {} has {len}; restore the file",
                value.len(),
                self.algorithm
            );
            return Err(KeyFileError::syntax(path, line, what));
        }
        let mut out = Vec::with_capacity(len);
        out.resize(len - value.len(), 0);
        out.extend_from_slice(value);
        Ok(out)
    }

    /// Where the key is, when it is in a token: base64 of a PKCS#11 URI with a NUL behind it, which BIND asks for and this does not.
    pub(super) fn label(&self, path: &Path, text: &[u8]) -> Result<Option<Pkcs11Uri>, KeyFileError> {
        let Some(element) = self.element("Label") else { return Ok(None) };
        let octets = self.decode(path, text, "Label")?;
        let label = octets.strip_suffix(&[0]).unwrap_or(&octets);
        let bad = |what: String| KeyFileError::syntax(path, element.line, format!("Label: {what}"));
        let label = std::str::from_utf8(label).map_err(|_| bad("a PKCS#11 URI was expected".to_owned()))?;
        Pkcs11Uri::parse(label).map(Some).map_err(|e| bad(e.to_string()))
    }

    /// The Public Key field of an RSA key, as far as the file has its numbers.
    pub(super) fn rsa_public_key(&self, path: &Path, text: &[u8]) -> Result<Option<Vec<u8>>, KeyFileError> {
        if self.element("Modulus").is_none() {
            return Ok(None);
        }
        let mut numbers = [self.decode(path, text, "PublicExponent")?, self.decode(path, text, "Modulus")?];
        for number in &mut numbers {
            let zeros = number.iter().take_while(|b| **b == 0).count();
            number.drain(..zeros);
        }
        let [exponent, modulus] = &numbers;
        Ok(RsaPublicKey { exponent, modulus }.to_field())
    }

    fn decode(&self, path: &Path, text: &[u8], tag: &str) -> Result<Vec<u8>, KeyFileError> {
        let missing =
            || KeyFileError::syntax(path, self.last_line, format!("`{tag}:` is missing; restore the file"));
        let element = self.element(tag).ok_or_else(missing)?;
        let bad = || KeyFileError::syntax(path, element.line, format!("{tag}: not base64; restore the file"));
        let value = text.get(element.value.clone()).ok_or_else(bad)?;
        if value.is_empty() {
            let what = format!("{tag}: there is no value; restore the file");
            return Err(KeyFileError::syntax(path, element.line, what));
        }
        // BIND joins words of base64.
        let mut joined = Zeroizing::new(Vec::with_capacity(value.len()));
        joined.extend(value.iter().filter(|b| !matches!(b, b' ' | b'\t')));
        let mut out = Zeroizing::new(vec![0; BASE64.decode_len(joined.len()).map_err(|_| bad())?]);
        let len = BASE64.decode_mut(&joined, &mut out).map_err(|_| bad())?;
        out.truncate(len);
        if out.is_empty() {
            return Err(bad());
        }
        Ok(std::mem::take(&mut *out))
    }

    /// The text with another `Label:`; all else stays as it is.
    pub(super) fn with_label(&self, path: &Path, text: &[u8], label: &str) -> Result<Vec<u8>, KeyFileError> {
        let missing = || KeyFileError::mismatch(path, "the key is not in a token (there is no `Label:`)");
        let element = self.element("Label").ok_or_else(missing)?;
        let (before, after) = (text.get(..element.value.start), text.get(element.value.end..));
        let (Some(before), Some(after)) = (before, after) else { return Err(missing()) };
        Ok([before, encoded_label(label).as_bytes(), after].concat())
    }

    /// The text with the metadata of `key` and the elements and numbers of this file.
    pub(super) fn rewritten(
        &self,
        path: &Path,
        old: &[u8],
        key: &KeyFile,
    ) -> Result<Zeroizing<String>, KeyFileError> {
        if self.minor > KNOWN_MINOR {
            return Err(KeyFileError::mismatch(
                path,
                "written by a newer BIND, with parts unknown here; not rewritten",
            ));
        }
        let mut out = Zeroizing::new(String::with_capacity(old.len() + 1024));
        put_head(&mut out, key.dnskey.algorithm);
        for element in &self.elements {
            let value = old.get(element.value.clone()).and_then(|v| std::str::from_utf8(v).ok());
            let value = value
                .ok_or_else(|| KeyFileError::syntax(path, element.line, "not text; restore the file"))?;
            put_value(&mut out, element.tag, value);
        }
        put_metadata(&mut out, key, self.numbers);
        Ok(out)
    }
}

/// What is wrong with one of the two first lines, where `expected` should stand. BIND reads no file in which something stands before.
fn no_head(text: &[u8], at: usize, expected: &str) -> String {
    let line = lines(text).nth(at).map(|(_, line)| line);
    match line {
        _ if at == 0 && text.starts_with(b"\xef\xbb\xbf") => format!(
            "`{expected}` was expected, and a byte order mark stands before it; save the file as plain text"
        ),
        Some(line) if line.trim_ascii().is_empty() && !text.trim_ascii().is_empty() => {
            format!("the line is blank, and `{expected}` was expected; remove the blank line")
        }
        Some(line) if split_tag(line).is_some_and(|(tag, _)| expected.starts_with(&*printable(tag))) => {
            format!("`{expected}` was expected; the value is none of these")
        }
        _ => format!("`{expected}` was expected; it must be line {} of the file", at + 1),
    }
}

/// `Private-key-format: vMAJOR.MINOR`.
fn version(line: &[u8]) -> Option<(u32, u32)> {
    let (tag, value) = split_tag(line)?;
    let (major, minor) = std::str::from_utf8(value).ok()?.strip_prefix('v')?.split_once('.')?;
    (tag == b"Private-key-format")
        .then(|| Some((number(major.as_bytes()).ok()?, number(minor.as_bytes()).ok()?)))
        .flatten()
}

/// The text of a new `.private` file of a key that is in a token: for RSA the public numbers, then `Label:` as BIND writes it.
pub(super) fn print_label(label: &str, key: &KeyFile) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(4 * 1024));
    put_head(&mut out, key.dnskey.algorithm);
    if key.dnskey.algorithm.is_rsa()
        && let Some(public) = RsaPublicKey::parse(&key.dnskey.public_key)
    {
        put_value(&mut out, RSA_ELEMENTS[0], &BASE64.encode(public.modulus));
        put_value(&mut out, RSA_ELEMENTS[1], &BASE64.encode(public.exponent));
    }
    put_value(&mut out, "Label", &encoded_label(label));
    put_metadata(&mut out, key, Numbers::default());
    out
}

/// The value of `Label:`, with the NUL that BIND asks for.
fn encoded_label(label: &str) -> String {
    BASE64.encode(&[label.as_bytes(), &[0]].concat())
}

/// The text of a new `.private` file.
pub(super) fn print(private: &PrivateKey, key: &KeyFile) -> Zeroizing<String> {
    // Large enough that it never moves and leaves a copy behind: a 4096-bit key takes 3.3 KiB, metadata under 1 KiB.
    let mut out = Zeroizing::new(String::with_capacity(16 * 1024));
    put_head(&mut out, key.dnskey.algorithm);
    let mut element = |tag: &str, octets: &[u8]| {
        let base64 = Zeroizing::new(BASE64.encode(octets));
        put_value(&mut out, tag, &base64);
    };
    match private {
        PrivateKey::Rsa {
            modulus,
            public_exponent,
            private_exponent,
            prime1,
            prime2,
            exponent1,
            exponent2,
            coefficient,
        } => {
            let all = [
                modulus,
                public_exponent,
                private_exponent,
                prime1,
                prime2,
                exponent1,
                exponent2,
                coefficient,
            ];
            RSA_ELEMENTS.iter().zip(all).for_each(|(tag, octets)| element(tag, octets));
        }
        PrivateKey::Raw(octets) => element(RAW_ELEMENTS[0], octets),
    }
    put_metadata(&mut out, key, Numbers::default());
    out
}

fn put_head(out: &mut String, algorithm: Algorithm) {
    let name = algorithm.mnemonic().unwrap_or("UNKNOWN");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "Private-key-format: v1.3\nAlgorithm: {} ({name})", algorithm.0);
}

/// `Tag: value`; no blank where there is no value, as in `External:`.
fn put_value(out: &mut String, tag: &str, value: &str) {
    for part in [tag, ":", if value.is_empty() { "" } else { " " }, value, "\n"] {
        out.push_str(part);
    }
}

/// The lines behind the elements: numbers, then times. Predecessor and successor of the state win.
fn put_metadata(out: &mut String, key: &KeyFile, old: Numbers) {
    let state = key.state.as_ref();
    let numbers = [
        ("Predecessor", state.and_then(|s| s.predecessor).map(u32::from).or(old.predecessor)),
        ("Successor", state.and_then(|s| s.successor).map(u32::from).or(old.successor)),
        ("MaxTTL", old.max_ttl),
        ("RollPeriod", old.roll_period),
    ];
    for (tag, value) in numbers {
        if let Some(value) = value {
            let _ = writeln!(out, "{tag}: {value}");
        }
    }
    let mut timing = key.timing;
    for (tag, time) in TIMES {
        if let Some(at) = time(&mut timing) {
            let _ = writeln!(out, "{tag}: {at}");
        }
    }
}
