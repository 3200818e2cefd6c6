//! Keys of transfers (RFC 8945), in files in named's syntax: `key "name" { algorithm hmac-sha256; secret "base64"; };`.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::dns::Name;
use crate::open::{self, Links};
use crate::policy::lexer::{ConfLexer, ConfToken, ConfTokenKind};

/// Most octets of the file that are read.
const MAX_FILE: u64 = 65_536;

/// A secret that two servers share, with which they sign messages (RFC 8945).
#[derive(Clone, PartialEq, Eq)]
pub struct TsigKey {
    /// Its name, which stands in the messages.
    pub name: Name,
    /// How messages are signed with it.
    pub algorithm: TsigAlgorithm,
    /// The secret; wiped when dropped.
    pub secret: Zeroizing<Vec<u8>>,
}

/// An algorithm of TSIG (RFC 8945 section 6). HMAC-MD5 and HMAC-SHA1 are left out on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the registry")]
pub enum TsigAlgorithm {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl TsigAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// The name in key files and, as the only label, in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
}

impl std::fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TsigKey({}, {})", self.name, self.algorithm.as_str())
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
    #[error(
        "{path}:{line}: {what}; expected `key \"NAME\" {{ algorithm hmac-sha256; secret \"BASE64\"; }};`"
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u32,
        /// What is wrong.
        what: String,
    },
    /// Others than its owner and its group can read the file, or its group can write it.
    #[error("{path} has mode {mode:04o}; others can read or change this secret, set it to 0600 or 0640")]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl TsigKey {
    /// Reads a file with one key. One that every user of the host can read, or that its group can write, is refused.
    pub fn load(path: &Path) -> Result<Self, TsigKeyError> {
        let io = |source| TsigKeyError::Io { path: path.to_owned(), source };
        let (file, metadata) = open::for_reading(path, Links::Follow).map_err(|error| io(error.into()))?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o027 != 0 {
            return Err(TsigKeyError::Permissions { path: path.to_owned(), mode });
        }
        let mut octets = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut octets).map_err(io)?;
        Self::parse(&octets).map_err(|TsigSyntaxError { line, what }| TsigKeyError::Syntax {
            path: path.to_owned(),
            line,
            what,
        })
    }

    /// Reads the text of such a file.
    pub fn parse(octets: &[u8]) -> Result<Self, TsigSyntaxError> {
        let tokens = tokens(octets)?;
        let last = tokens.last().map_or(1, |token| token.line);
        let whole = |what: &str| TsigSyntaxError { line: last, what: what.to_owned() };
        let (name, settings) = match &tokens[..] {
            [key, name, open, settings @ .., close, end]
                if key.is_word("key")
                    && (open.kind, close.kind, end.kind)
                        == (ConfTokenKind::Open, ConfTokenKind::Close, ConfTokenKind::Semicolon) =>
            {
                (text(name)?, settings)
            }
            _ => return Err(whole("it is not one key statement")),
        };
        let (mut algorithm, mut secret) = (None, None);
        for setting in settings.split_inclusive(|token| token.kind == ConfTokenKind::Semicolon) {
            match setting {
                [word, value, _] if word.is_word("algorithm") => algorithm = Some(value),
                [word, value, _] if word.is_word("secret") => secret = Some(value),
                [first, ..] => return Err(at(first, "a setting that a key does not have")),
                [] => {}
            }
        }
        let algorithm_at = algorithm.ok_or_else(|| whole("it has no algorithm"))?;
        let wanted = text(algorithm_at)?.to_ascii_lowercase();
        let algorithm = TsigAlgorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == wanted.trim_end_matches('.'))
            .ok_or_else(|| {
                at(algorithm_at, "the algorithm is not hmac-sha256, hmac-sha384 or hmac-sha512")
            })?;
        let secret_at = secret.ok_or_else(|| whole("it has no secret"))?;
        let secret = BASE64
            .decode(text(secret_at)?.as_bytes())
            .map_err(|_| at(secret_at, "the secret is not base64"))?;
        if secret.is_empty() {
            return Err(at(secret_at, "the secret is empty"));
        }
        let name = Name::parse(name).map_err(|_| whole("the name of the key is no domain name"))?;
        Ok(Self { name, algorithm, secret: Zeroizing::new(secret) })
    }
}

/// What is wrong in which line.
#[derive(Debug)]
pub struct TsigSyntaxError {
    line: u32,
    what: String,
}

fn at(token: &ConfToken, what: &str) -> TsigSyntaxError {
    TsigSyntaxError { line: token.line, what: what.to_owned() }
}

/// The text of a word or string.
fn text(token: &ConfToken) -> Result<&str, TsigSyntaxError> {
    match token.kind {
        ConfTokenKind::Word | ConfTokenKind::Quoted => Ok(&token.text),
        _ => Err(at(token, "a name or a quoted string is expected")),
    }
}

fn tokens(octets: &[u8]) -> Result<Vec<ConfToken>, TsigSyntaxError> {
    let mut lexer = ConfLexer::new(octets);
    let mut tokens = Vec::new();
    loop {
        match lexer.next_token() {
            Ok(token) if token.kind == ConfTokenKind::End => return Ok(tokens),
            Ok(token) => tokens.push(token),
            Err(error) => return Err(TsigSyntaxError { line: error.line, what: error.what }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_key_of_named_reads_in_every_way_that_named_writes_it() {
        for text in [
            "# made by tsig-keygen\nkey \"transfer.example\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0IHNlY3JldA==\";\n};\n",
            "key transfer.example { algorithm hmac-sha256; secret c2VjcmV0IHNlY3JldA==; };",
            "KEY transfer.example{Algorithm HMAC-SHA256;SECRET\"c2VjcmV0IHNlY3JldA==\";};",
            "/* key a { */ key \"transfer.example\" { // for ns2; \n algorithm hmac-sha512; /* \n */ secret \"ab//cd//ef//gh//\"; }; # };",
            "key \"transfer.example\" { algorithm hmac-sha384; secret \"/////w==\"; };",
        ] {
            let key = TsigKey::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e:?}"));
            assert_eq!(key.name.to_string(), "transfer.example.", "{text}");
            assert!(!format!("{key:?}").contains("115"), "no secret in the debug form: {key:?}");
        }
    }

    #[test]
    fn anything_else_says_what_is_wrong_and_where() {
        for (text, line, what) in [
            ("", 1, "not one key statement"),
            ("key a {\n algorithm hmac-md5; secret \"YQ==\"; };", 2, "is not hmac-sha256"),
            ("key a { algorithm hmac-sha256; };", 1, "no secret"),
            ("key a { secret \"YQ==\"; };", 1, "no algorithm"),
            ("key a { algorithm hmac-sha256;\n\nsecret \"!\"; };", 3, "not base64"),
            ("key a { algorithm hmac-sha256; secret \"\"; };", 1, "is empty"),
            ("key a..b { algorithm hmac-sha256; secret \"YQ==\"; };", 1, "no domain name"),
            ("key a { algorithm hmac-sha256; secret \"YQ==\"; port 53; };", 1, "a setting"),
            ("key a { algorithm hmac-sha256; secret \"YQ==\"; }; key b { };", 1, "a setting"),
            ("key a { algorithm hmac-sha256; secret ab/cd; };", 1, "a setting"),
            ("key { { algorithm hmac-sha256; secret \"YQ==\"; };", 1, "a name or a quoted string"),
            ("key a { algorithm hmac-sha256; secret \"YQ==; };\n", 2, "no closing"),
            ("key a { /* algorithm hmac-sha256; secret \"YQ==\"; };", 1, "no '*/'"),
        ] {
            let error = TsigKey::parse(text.as_bytes()).expect_err(text);
            assert!(error.what.contains(what) && error.line == line, "{text}: {error:?}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("transfer.key");
        let text = "key a { algorithm hmac-sha256; secret \"YQ==\"; };";
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path).expect("a file");
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("write");
        for (mode, refused) in [
            (0o600, false),
            (0o640, false),
            (0o400, false),
            (0o644, true),
            (0o660, true),
            (0o604, true),
            (0o602, true),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
            match TsigKey::load(&path) {
                Ok(_) => assert!(!refused, "{mode:o}"),
                Err(error) => assert!(refused && error.to_string().contains("mode"), "{mode:o}: {error}"),
            }
        }
        assert!(matches!(TsigKey::load(dir.path()), Err(TsigKeyError::Io { .. })));
    }
}
