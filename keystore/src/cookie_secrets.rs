//! Secrets of DNS cookies (RFC 7873), in a file that the servers of a zone share (RFC 9018 section 5).

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::open::{self, Links};

/// Most octets of the file that are read.
const MAX_FILE: u64 = 65_536;
/// Octets of a secret: a key of SipHash.
const SECRET: usize = 16;
/// Most secrets of a file: one that makes cookies, and those that are only checked with while a new one is taken up.
const MAX_SECRETS: usize = 8;

/// The secrets that cookies are made and checked with, at least one. They are wiped when dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieSecrets(Zeroizing<Vec<[u8; SECRET]>>);

impl fmt::Debug for CookieSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CookieSecrets({})", self.0.len())
    }
}

/// Why a file has no secrets that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CookieSecretFileError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the system call that failed.
        source: std::io::Error,
    },
    /// Others than its owner and its group can read the file, or its group can write it.
    #[error("{path} has mode {mode:04o}; others can read or change these secrets, set it to 0600 or 0640", path = path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The text is no list of secrets.
    #[error("{path}: {source}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CookieSecretError,
    },
}

/// Why a text is no list of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CookieSecretError {
    /// A line is no secret.
    #[error("line {0} is not a secret of 32 hexadecimal digits")]
    Line(usize),
    /// There is none.
    #[error("it has no secret; `openssl rand -hex 16` makes one")]
    Empty,
    /// There are more than anybody needs.
    #[error("it has more than {MAX_SECRETS} secrets")]
    TooMany,
}

impl CookieSecrets {
    /// Reads a file. One that every user of the host can read, or that its group can write, is refused.
    pub fn load(path: &Path) -> Result<Self, CookieSecretFileError> {
        let io = |source| CookieSecretFileError::Io { path: path.to_owned(), source };
        let (file, metadata) = open::for_reading(path, Links::Follow).map_err(|error| io(error.into()))?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o027 != 0 {
            return Err(CookieSecretFileError::Permissions { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(Vec::new());
        file.take(MAX_FILE).read_to_end(&mut text).map_err(io)?;
        Self::parse(&text).map_err(|source| CookieSecretFileError::Syntax { path: path.to_owned(), source })
    }

    /// Reads the text of such a file: one secret of 32 hexadecimal digits a line; the first one makes cookies, the others are checked with.
    /// Empty lines and lines that begin with `#` are left out. NSD's `cookie-secret-file` has this form.
    pub fn parse(text: &[u8]) -> Result<Self, CookieSecretError> {
        let mut secrets = Zeroizing::new(Vec::with_capacity(MAX_SECRETS));
        for (number, line) in text.split(|octet| *octet == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let octets = HEXLOWER_PERMISSIVE.decode(line).map(Zeroizing::new);
            let secret = octets.ok().and_then(|octets| <[u8; SECRET]>::try_from(&octets[..]).ok());
            let secret = secret.ok_or(CookieSecretError::Line(number + 1))?;
            if secrets.len() == MAX_SECRETS {
                return Err(CookieSecretError::TooMany);
            }
            secrets.push(secret);
        }
        if secrets.is_empty() { Err(CookieSecretError::Empty) } else { Ok(Self(secrets)) }
    }

    /// A new secret of this process alone; cookies of the secret in use `before` stay good. `None` when the system gives no random octets.
    #[must_use]
    pub fn random(before: Option<&Self>) -> Option<Self> {
        let mut secret = [0; SECRET];
        SystemRandom::new().fill(&mut secret).ok()?;
        let before = before.and_then(|before| before.0.first());
        Some(Self(Zeroizing::new(std::iter::once(&secret).chain(before).copied().collect())))
    }

    /// The same secrets; cookies of the secret that was in use `before` stay good.
    #[must_use]
    pub fn keeping(&self, before: &Self) -> Self {
        let before = before.0.first().filter(|before| !self.0.contains(before));
        Self(Zeroizing::new(self.0.iter().chain(before).copied().collect()))
    }

    /// The secrets: the first one makes cookies, all of them check.
    #[must_use]
    pub fn secrets(&self) -> &[[u8; SECRET]] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ONE: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const OTHER: &str = "445536bcd2513298075a5d379663c962";

    #[test]
    fn text_is_a_list_of_secrets_or_says_which_line_is_not() {
        let upper = ONE.to_ascii_uppercase();
        for (text, read) in [
            (ONE, Ok(1)),
            (&*upper, Ok(1)),
            (&format!("# the one in use\n{ONE}\n\n  {OTHER}  \r\n"), Ok(2)),
            ("", Err(CookieSecretError::Empty)),
            ("# none\n\n", Err(CookieSecretError::Empty)),
            (&ONE[1..], Err(CookieSecretError::Line(1))),
            (&format!("{ONE}00"), Err(CookieSecretError::Line(1))),
            (&format!("{ONE}\n{OTHER} {OTHER}"), Err(CookieSecretError::Line(2))),
            (&format!("{ONE}\nsecret"), Err(CookieSecretError::Line(2))),
            (&format!("{ONE}\n").repeat(8), Ok(8)),
            (&format!("{ONE}\n").repeat(9), Err(CookieSecretError::TooMany)),
        ] {
            let secrets = CookieSecrets::parse(text.as_bytes());
            assert_eq!(secrets.as_ref().map(|s| s.secrets().len()).map_err(|e| *e), read, "{text:?}");
            assert!(!format!("{secrets:?}").contains(&ONE[..8]), "secrets are not shown");
        }
    }

    #[test]
    fn file_that_others_can_read_or_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cookies");
        for (text, mode, said) in [
            (ONE, 0o600, None),
            (ONE, 0o640, None),
            (ONE, 0o644, Some("has mode 0644")),
            (ONE, 0o660, Some("has mode 0660")),
            ("x", 0o600, Some("line 1 is not a secret")),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = CookieSecrets::load(&path).err().map(|error| error.to_string());
            assert_eq!(error.is_some(), said.is_some(), "{mode:o} {error:?}");
            assert!(error.is_none_or(|error| error.contains(said.unwrap_or_default())), "{mode:o}");
        }
        assert!(matches!(CookieSecrets::load(dir.path()), Err(CookieSecretFileError::Io { .. })));
        assert!(matches!(
            CookieSecrets::load(&dir.path().join("none")),
            Err(CookieSecretFileError::Io { .. })
        ));
    }

    #[test]
    fn secrets_that_keep_another_one_check_with_it_once_and_make_with_their_own() {
        let parse = |text: &str| CookieSecrets::parse(text.as_bytes()).unwrap();
        let both = format!("{ONE}\n{OTHER}");
        for (secrets, before, kept) in [
            (ONE, OTHER, &*both),
            (ONE, &*both, ONE),
            (&*both, OTHER, &*both),
            (OTHER, &*both, &*format!("{OTHER}\n{ONE}")),
        ] {
            assert!(parse(secrets).keeping(&parse(before)) == parse(kept), "{secrets} {before}");
        }
    }

    #[test]
    fn random_secret_keeps_the_one_before_it_and_no_older_one() {
        let first = CookieSecrets::random(None).unwrap();
        let second = CookieSecrets::random(Some(&first)).unwrap();
        let third = CookieSecrets::random(Some(&second)).unwrap();
        assert_eq!((first.secrets().len(), second.secrets().len(), third.secrets().len()), (1, 2, 2));
        assert_eq!(third.secrets()[1], second.secrets()[0]);
        assert_ne!(third.secrets()[0], second.secrets()[0]);
    }
}
