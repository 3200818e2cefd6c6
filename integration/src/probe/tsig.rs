//! The key of a transfer, in named's syntax: `key "name" { algorithm hmac-sha256; secret "base64"; };`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64;
use domain::base::Name as WireName;
use domain::tsig::{Algorithm, Key};
use keystore::dns::Name;

/// A key that signs the messages of a transfer (RFC 8945).
#[derive(Clone)]
pub struct TsigKey(pub(crate) Arc<Key>);

impl std::fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TsigKey({})", self.0.name())
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TsigKeyError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the system call that failed.
        source: std::io::Error,
    },
    /// The file has no key that can be used.
    #[error("{path}: {what}; expected `key \"NAME\" {{ algorithm hmac-sha256; secret \"BASE64\"; }};`")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

impl TsigKey {
    /// Reads a file with one key.
    pub fn load(path: &Path) -> Result<Self, TsigKeyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TsigKeyError::Io { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|what| TsigKeyError::Syntax { path: path.to_owned(), what })
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let words = words(text);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (name, settings) = match words[..] {
            ["key", name, "{", ref settings @ .., "}", ";"] => (name, settings),
            _ => return Err("not one key statement"),
        };
        let (mut algorithm, mut secret) = (None, None);
        for setting in settings.split_inclusive(|word| *word == ";") {
            match setting {
                ["algorithm", value, ";"] => algorithm = Some(*value),
                ["secret", value, ";"] => secret = Some(*value),
                _ => return Err("a setting that a key does not have"),
            }
        }
        let algorithm = match algorithm.map(str::to_ascii_lowercase).as_deref() {
            Some("hmac-sha256") => Algorithm::Sha256,
            Some("hmac-sha384") => Algorithm::Sha384,
            Some("hmac-sha512") => Algorithm::Sha512,
            Some(_) => return Err("an algorithm that is not hmac-sha256, hmac-sha384 or hmac-sha512"),
            None => return Err("no algorithm"),
        };
        let secret =
            BASE64.decode(secret.ok_or("no secret")?.as_bytes()).map_err(|_| "the secret is not base64")?;
        let name = Name::parse(name).map_err(|_| "the name is no domain name")?;
        let name = WireName::from_octets(octets(name.as_wire()).ok_or("the name is too long")?)
            .map_err(|_| "the name is no domain name")?;
        Key::new(algorithm, &secret, name, None, None)
            .map(|key| Self(Arc::new(key)))
            .map_err(|_| "the key is not usable")
    }
}

fn octets(wire: &[u8]) -> Option<domain::dep::octseq::Array<255>> {
    domain::dep::octseq::Array::try_from(wire).ok()
}

/// Words and punctuation of a named.conf statement, comments left out.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let line = line.split("//").next().unwrap_or_default();
        let spaced = line.replace(';', " ; ").replace('{', " { ").replace('}', " } ");
        words.extend(spaced.split_whitespace().map(|word| word.trim_matches('"').to_owned()));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_named_reads_and_anything_else_says_what_is_wrong() {
        let good = "# made by tsig-keygen\nkey \"transfer.example\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0IHNlY3JldA==\";\n};\n";
        let key = TsigKey::parse(good).expect("a key");
        assert_eq!(key.0.name().to_string(), "transfer.example");
        for (text, what) in [
            ("", "not one key statement"),
            ("key a { algorithm hmac-md5; secret \"YQ==\"; };", "an algorithm that is not"),
            ("key a { algorithm hmac-sha256; };", "no secret"),
            ("key a { secret \"YQ==\"; };", "no algorithm"),
            ("key a { algorithm hmac-sha256; secret \"!\"; };", "not base64"),
            ("key a..b { algorithm hmac-sha256; secret \"YQ==\"; };", "no domain name"),
            ("key a { algorithm hmac-sha256; secret \"YQ==\"; port 53; };", "a setting"),
            ("key a { algorithm hmac-sha256; secret \"YQ==\"; }; key b { };", "a setting"),
        ] {
            let error = TsigKey::parse(text).expect_err(text);
            assert!(error.contains(what), "{text}: {error}");
            assert!(!format!("{:?}", TsigKey::parse(good)).contains("secret"), "no secret in the debug form");
        }
    }
}
