//! The `.key`, `.private` and `.state` files of a key, byte for byte as BIND 9.20 writes them.
//!
//! ```text
//! K<zone>+<AAA>+<TTTTT>.key      the DNSKEY record; times in comments that nobody reads          public
//!                      .private  private elements, times; makes the key exist, written last      private
//!                      .state    role, lifetime, times (they win over those of .private), states state
//! ```
//! Differences from BIND, on purpose: the text in brackets behind a time is UTC (BIND: the local time zone; it is a remark
//! that is never parsed); modes do not depend on the umask; files are written durably; symbolic links, files of more than
//! 64 KiB and private keys that others can read are refused; a set whose `.key` belongs to another zone, algorithm or tag
//! than its file name is refused.

mod create;
mod folder;
mod foreign;
#[cfg(feature = "testing")]
pub mod fuzzing;
mod private;
mod public;
mod state;
#[cfg(test)]
mod tests;
mod token;

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Dnskey;
use super::timing::{LackingTimes, MisorderedTimes, State, Timing};
use crate::crypto::{Algorithm, PrivateKey, SignError, SigningKey, VerifyError, check_public_key};
use crate::dns::Name;
use crate::durable;
use crate::open::{self, Links, OpenError};
use crate::time::Timestamp;

pub use create::{NewKey, generate_key, generate_key_in};
pub use folder::{Folder, TakenTag, find, find_online, find_sealed, is_key_file_name};
pub use foreign::{ForeignKey, import_key, read_foreign};
pub use token::{TokenPlace, adopt_token_key, generate_token_key};

/// Largest key file that is read, in octets. The largest that BIND writes (RSA, 4096 bits) has some 3.5 KiB.
pub const MAX_FILE: u64 = 64 * 1024;

/// A key of a zone, read from (or to be written to) its three files. The private part is not read by [`find`];
/// [`KeyFile::load_private`] does that, for the keys that sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// The zone, case as in the `.key` file.
    pub zone: Name,
    /// TTL of the DNSKEY record in `.key`, in seconds; 0 = none written.
    pub ttl: u32,
    /// The public key.
    pub dnskey: Dnskey,
    /// BIND's times.
    pub timing: Timing,
    /// The `.state` file; `None` when there is none.
    pub state: Option<State>,
    /// The folder of the files.
    pub dir: PathBuf,
}

impl KeyFile {
    /// `K<zone>+<AAA>+<TTTTT>`, without folder and suffix.
    #[must_use]
    pub fn base_name(&self) -> String {
        format!("K{}+{:03}+{:05}", self.zone.file_name(), self.dnskey.algorithm.0, self.dnskey.tag())
    }

    /// Path of the file with `suffix` (`key`, `private`, `state`), with the name that BIND gives it.
    #[must_use]
    pub fn path(&self, suffix: &str) -> PathBuf {
        self.dir.join(format!("{}.{suffix}", self.base_name()))
    }

    /// Reads the private part, or opens the token that holds it (see [`crate::crypto::pkcs11`]), and checks that it belongs to the
    /// public key. Refuses a file that others than its owner can read (mode wider than 0600), and one that says that the private
    /// key is elsewhere.
    pub fn load_private(&self) -> Result<Box<dyn SigningKey>, KeyFileError> {
        let path = self.private_path();
        if let Some(key) = self.load_from_token(&path)? {
            return Ok(key);
        }
        let private = self.read_private(&path)?;
        private.signer(self.dnskey.algorithm).map_err(|source| KeyFileError::PrivateKey { path, source })
    }

    /// Checks the private part as [`Self::load_private`] does, as far as that needs no token: of a key in a token, that its file says
    /// where it is. Whoever does not sign must not wait for a token.
    pub fn check_private(&self) -> Result<(), KeyFileError> {
        let path = self.private_path();
        if self.token_uri(&path)?.is_some() {
            return Ok(());
        }
        let private = self.read_private(&path)?;
        let signer = private.signer(self.dnskey.algorithm);
        signer.map(|_| ()).map_err(|source| KeyFileError::PrivateKey { path, source })
    }

    /// Reads the private elements, with the checks of [`Self::load_private`] short of a first signature.
    pub fn private_key(&self) -> Result<PrivateKey, KeyFileError> {
        self.read_private(&self.private_path())
    }

    fn read_private(&self, path: &Path) -> Result<PrivateKey, KeyFileError> {
        let text = read(path, Secrecy::Enforced)?;
        let file = private::PrivateFile::parse(path, &text)?;
        file.check_algorithm(path, self.dnskey.algorithm)?;
        let private = file.private_key(path, &text)?;
        let public_key = private
            .public_key(self.dnskey.algorithm)
            .map_err(|source| KeyFileError::PrivateKey { path: path.to_owned(), source })?;
        if public_key != self.dnskey.public_key {
            return Err(KeyFileError::mismatch(
                path,
                "the private key does not belong to the public key of .key",
            ));
        }
        Ok(private)
    }

    /// The times that the remarks of the `.key` file say, for people. Nothing is decided by them: those of `.state` and `.private` count.
    #[must_use]
    pub fn remarked_timing(&self) -> Timing {
        let path = self.path("key");
        let remarks = read(&path, Secrecy::Ignored).ok().and_then(|text| public::parse(&path, &text).ok());
        remarks.map(|file| file.timing).unwrap_or_default()
    }

    /// Where the `.private` file is: under the name that BIND gives it, or one that differs from it in letter case only.
    #[must_use]
    pub fn private_path(&self) -> PathBuf {
        let path = self.path("private");
        if path.symlink_metadata().is_ok() {
            return path;
        }
        let wanted = format!("{}.private", self.base_name());
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let found = entries.map(|e| e.file_name()).find(|name| name.eq_ignore_ascii_case(&wanted));
        found.map_or(path, |name| self.dir.join(name))
    }

    /// Writes all three files durably (`.key`, `.state`, then `.private`, which makes the key exist), over those that are
    /// there. Refuses a private key that is not that of [`Self::dnskey`].
    pub fn write(&self, private: &PrivateKey) -> Result<(), KeyFileError> {
        let texts = self.texts(private)?;
        for (suffix, text, mode) in texts.in_order() {
            let path = self.path(suffix);
            durable::write(&path, text, mode).map_err(|source| KeyFileError::Io { path, source })?;
        }
        Ok(())
    }

    /// Writes the set durably as a new key: fails with [`KeyFileError::Exists`] when any of its files is there, and removes
    /// what it wrote when a later file cannot be written.
    pub fn create(&self, private: &PrivateKey) -> Result<(), KeyFileError> {
        self.create_texts(&self.texts(private)?)
    }

    fn create_texts(&self, texts: &Texts) -> Result<(), KeyFileError> {
        let mut written = Vec::new();
        for (suffix, text, mode) in texts.in_order() {
            let path = self.path(suffix);
            let Err(source) = durable::write_new(&path, text, mode) else {
                written.push(path);
                continue;
            };
            for half in &written {
                // The first error is the one to tell; a lone .key or .state is no key to anybody.
                let _ = durable::remove(half);
            }
            return Err(match source.kind() {
                std::io::ErrorKind::AlreadyExists => KeyFileError::Exists { path },
                _ => KeyFileError::Io { path, source },
            });
        }
        Ok(())
    }

    /// Writes changed times, TTL and state durably and keeps the private part as it stands in `.private`, a label of a
    /// token included; also keeps Predecessor, Successor, MaxTTL and RollPeriod.
    pub fn update(&self) -> Result<(), KeyFileError> {
        let path = self.private_path();
        let old = read(&path, Secrecy::Enforced)?;
        let file = private::PrivateFile::parse(&path, &old)?;
        file.check_algorithm(&path, self.dnskey.algorithm)?;
        let text = file.rewritten(&path, &old, self)?;
        let texts = Texts { key: public::print(self), state: self.state_text()?, private: text };
        for (suffix, text, mode) in texts.in_order() {
            let path = if suffix == "private" { path.clone() } else { path.with_extension(suffix) };
            durable::write(&path, text, mode).map_err(|source| KeyFileError::Io { path, source })?;
        }
        Ok(())
    }

    fn texts(&self, private: &PrivateKey) -> Result<Texts, KeyFileError> {
        let path = self.path("private");
        let public_key = private
            .public_key(self.dnskey.algorithm)
            .map_err(|source| KeyFileError::PrivateKey { path: path.clone(), source })?;
        if public_key != self.dnskey.public_key {
            return Err(KeyFileError::mismatch(&path, "the private key does not belong to the public key"));
        }
        self.texts_with(private::print(private, self))
    }

    fn texts_with(&self, private: Zeroizing<String>) -> Result<Texts, KeyFileError> {
        Ok(Texts { key: public::print(self), state: self.state_text()?, private })
    }

    fn state_text(&self) -> Result<Option<String>, KeyFileError> {
        let Some(state) = &self.state else { return Ok(None) };
        let bits = check_public_key(self.dnskey.algorithm, &self.dnskey.public_key)
            .map_err(|source| KeyFileError::PublicKey { path: self.path("key"), source })?;
        Ok(Some(state::print(self, state, bits)))
    }
}

/// The texts of a set.
struct Texts {
    key: String,
    state: Option<String>,
    private: Zeroizing<String>,
}

impl Texts {
    /// Suffix, text and mode, in the order in which they are written.
    fn in_order(&self) -> impl Iterator<Item = (&'static str, &[u8], u32)> {
        let state = self.state.as_ref().map(|text| ("state", text.as_bytes(), 0o644));
        [("key", self.key.as_bytes(), 0o644)].into_iter().chain(state).chain([(
            "private",
            self.private.as_bytes(),
            0o600,
        )])
    }
}

/// What a folder holds for one zone.
#[derive(Debug, Default)]
pub struct FolderKeys {
    /// Usable key sets, sorted by algorithm and tag.
    pub keys: Vec<KeyFile>,
    /// Sets that could not be read, and why; they are skipped.
    pub skipped: Vec<KeyFileError>,
    /// Those of `keys` whose `.private` file is there and may not be read by this process; only of [`find_sealed`].
    pub sealed: Vec<Dnskey>,
    /// Files of the zone beside which there is no `.private` file, so that they make no key.
    pub without_private: Vec<PathBuf>,
    /// The `.state` files of `keys` that say other times than `.private`, and which.
    pub contradictions: Vec<(PathBuf, String)>,
}

impl FolderKeys {
    /// What an operator should know of the usable sets: a lost `.state`, a private key that others can read, times that contradict each
    /// other, a ZSK that named cannot work with.
    #[must_use]
    pub fn warnings(&self) -> Vec<KeyFileError> {
        let contradictions = self.contradictions.iter().cloned();
        let contradictions = contradictions.map(|(path, what)| KeyFileError::TimesDiffer { path, what });
        let mut out: Vec<KeyFileError> = contradictions.chain(self.lacking_times()).collect();
        for key in &self.keys {
            if key.state.is_none() {
                out.push(KeyFileError::NoState { path: key.path("state") });
            }
            let path = key.private_path();
            if let Ok(metadata) = path.symlink_metadata()
                && metadata.mode() & 0o077 != 0
            {
                out.push(KeyFileError::Permissions { path, mode: metadata.mode() & 0o7777 });
            }
        }
        out
    }
}

impl FolderKeys {
    /// The ZSKs with times that a signer cannot work with at `now` or later: named with one that lacks Publish or Activate, no signer with
    /// times in the wrong order.
    pub fn bad_times(&self, now: Timestamp) -> impl Iterator<Item = KeyFileError> {
        let misordered = self.zsks().filter_map(move |key| {
            let order = MisorderedTimes::of(&key.timing, now)?;
            Some(KeyFileError::TimesInDisorder { path: key.path("key"), order })
        });
        self.lacking_times().chain(misordered)
    }

    fn lacking_times(&self) -> impl Iterator<Item = KeyFileError> {
        self.zsks().filter_map(|key| {
            let lacking = LackingTimes::of(&key.timing)?;
            Some(KeyFileError::StopsNamed { path: key.path("key"), lacking })
        })
    }

    fn zsks(&self) -> impl Iterator<Item = &KeyFile> {
        self.keys.iter().filter(|key| !key.dnskey.is_ksk())
    }
}

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Error of the system call that failed.
        source: std::io::Error,
    },
    /// A line does not read.
    #[error("{path}:{line}: {what}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u32,
        /// What was expected, and what to do.
        what: String,
    },
    /// The files of the set contradict each other.
    #[error("{path}: {what}", path = path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Which part contradicts which.
        what: &'static str,
    },
    /// Others can read the private key.
    #[error(
        "{path}: mode {mode:04o} lets others read the private key; chmod 600 it (on a file system without modes, such as FAT, that changes \
         nothing: mount it with `mount -o umask=077`)",
        path = path.display()
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A link, folder, pipe or device where a file is expected, or a file that no key file can be.
    #[error("{path}: {what}", path = path.display())]
    NotAKeyFile {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        what: &'static str,
    },
    /// The public key cannot be used.
    #[error("{path}: {source}", path = path.display())]
    PublicKey {
        /// The `.key` file.
        path: PathBuf,
        /// What is wrong with it, or the error of the call that failed.
        source: VerifyError,
    },
    /// The private key cannot be used.
    #[error("{path}: {source}", path = path.display())]
    PrivateKey {
        /// The `.private` file.
        path: PathBuf,
        /// What is wrong with it, or the error of the call that failed.
        source: SignError,
    },
    /// The private key is in a token or on another machine.
    #[error("{path}: {what}", path = path.display())]
    Elsewhere {
        /// The `.private` file.
        path: PathBuf,
        /// Where, and what to do.
        what: &'static str,
    },
    /// Private-key-format v1.2 or older: no times, so no policy and no schedule knows the key.
    #[error("{path}: format older than v1.3, without times; `dnssec-settime -f` brings it up to date", path = path.display())]
    Legacy {
        /// The `.private` file.
        path: PathBuf,
    },
    /// Role and lifetime are unknown, so that no policy matches the key.
    #[error("{path}: missing, so role and lifetime of the key are unknown and no policy matches it; restore the file", path = path.display())]
    NoState {
        /// The `.state` file.
        path: PathBuf,
    },
    /// `.private` and `.state` say different times.
    #[error(
        "{path}: {what}; the times of .state count, and `dnssec-settime` without -s changes those of .private alone: set the times again \
         with `dnssec-settime -s`",
        path = path.display()
    )]
    TimesDiffer {
        /// The `.state` file.
        path: PathBuf,
        /// Which times, and what each file says.
        what: String,
    },
    /// A ZSK that stops named's key manager while it lies in its key folder.
    #[error(
        "{path}: a ZSK without {lacking} time makes each rekey of named fail while it is in its key folder; give it one, later than it is \
         needed: dnssec-settime -s {} {path}",
        lacking.settime(), path = path.display()
    )]
    StopsNamed {
        /// The `.key` file.
        path: PathBuf,
        /// The times that it lacks.
        lacking: LackingTimes,
    },
    /// A ZSK whose times are in the wrong order.
    #[error("{path}: {order}; set them again: dnssec-settime -s {path}", path = path.display())]
    TimesInDisorder {
        /// The `.key` file.
        path: PathBuf,
        /// Which times.
        order: MisorderedTimes,
    },
    /// A new key would replace a file.
    #[error("{path}: already exists and is not replaced", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// No key could be made.
    #[error("{path}: cannot make a key of algorithm {algorithm}: {source}", path = path.display())]
    Generate {
        /// The folder.
        path: PathBuf,
        /// The algorithm.
        algorithm: Algorithm,
        /// What is wrong with it, or the error of the call that failed.
        source: SignError,
    },
    /// No key with a free tag came out.
    #[error(
        "{path}: no key for {zone} with tag and revoked tag in {min}..={max} and free of collisions; widen tag-range or remove old keys",
        path = path.display()
    )]
    NoFreeTag {
        /// The folder.
        path: PathBuf,
        /// The zone.
        zone: Name,
        /// Lowest tag.
        min: u16,
        /// Highest tag.
        max: u16,
    },
}

impl KeyFileError {
    fn mismatch(path: &Path, what: &'static str) -> Self {
        Self::Mismatch { path: path.to_owned(), what }
    }

    fn syntax(path: &Path, line: u32, what: impl Into<String>) -> Self {
        Self::Syntax { path: path.to_owned(), line, what: what.into() }
    }

    /// True when another try may go well although the files stay as they are: a file could not be opened or read, or the token of the
    /// key is not there.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::PrivateKey { source, .. } | Self::Generate { source, .. } => source.is_passing(),
            _ => false,
        }
    }

    /// True when this process may not read the file.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
    }

    /// True when the file is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// Whether a file that others can read is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    /// Refuse it.
    Enforced,
    /// Read it: the file is public, or only its times are wanted.
    Ignored,
}

/// Reads a regular file of at most [`MAX_FILE`] octets, once, through no symbolic link. The buffer is wiped when dropped.
fn read(path: &Path, secrecy: Secrecy) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let io = |source: std::io::Error| KeyFileError::Io { path: path.to_owned(), source };
    let refuse = |what| KeyFileError::NotAKeyFile { path: path.to_owned(), what };
    let (mut file, metadata) = open::for_reading(path, Links::Refuse).map_err(|error| match error {
        OpenError::Io(source) => io(source),
        OpenError::NotRegular("symbolic link") => {
            refuse("a symbolic link, which is not followed; put the file itself here")
        }
        _ => refuse("not a regular file; remove it"),
    })?;
    if metadata.len() > MAX_FILE {
        return Err(refuse("larger than 64 KiB, which no key file is; restore it from a backup"));
    }
    if secrecy == Secrecy::Enforced && metadata.mode() & 0o077 != 0 {
        return Err(KeyFileError::Permissions { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    // One octet more than the file has, so that growth is noticed and the buffer never moves.
    let mut out = Zeroizing::new(vec![0; metadata.len() as usize + 1]);
    let mut filled = 0;
    while filled < out.len() {
        match file.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(io(e)),
        }
    }
    if filled == out.len() {
        return Err(refuse("grew while it was read; run again when its writer is done"));
    }
    out.truncate(filled);
    Ok(out)
}

/// The lines of a text with their numbers, without line ends. As for BIND, LF, CR LF and CR alone end a line; what a CR ends has the
/// number of the line that the LF ends.
fn lines(text: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|b| *b == b'\n').zip(1..).flat_map(|(line, n)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.split(|b| *b == b'\r').map(move |part| (n, part))
    })
}

/// Splits `Tag: value` at the first colon; blanks and tabs before the tag and around the value are dropped. `None` without a colon.
fn split_tag(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|b| *b == b':')?;
    Some((line[..colon].trim_ascii_start(), line[colon + 1..].trim_ascii()))
}

/// The first word of a value.
fn first_word(value: &[u8]) -> &[u8] {
    value.split(|b| matches!(b, b' ' | b'\t')).next().unwrap_or_default()
}

/// The beginning of a word that is no number or time of its range, for messages.
#[derive(Debug, PartialEq, Eq)]
struct BadWord(String);

/// What is wrong with a line. No part of a private element is in it.
#[derive(Debug, thiserror::Error)]
enum LineFault {
    #[error("`Tag: value` was expected; restore the file")]
    NoTag,
    #[error("`{0}` is no tag of this format and algorithm; restore the file")]
    UnknownTag(String),
    #[error("{tag}: `{text}` is no time; YYYYMMDDHHMMSS (UTC) was expected")]
    Time { tag: String, text: String },
    #[error("{tag}: `{text}` is no number from 0 to {max}")]
    Number { tag: String, text: String, max: u32 },
    #[error("{tag}: `{text}` is neither `yes` nor `no`")]
    YesNo { tag: String, text: String },
    #[error("{tag}: `{text}` is none of hidden, rumoured, omnipresent, unretentive")]
    RecordState { tag: String, text: String },
}

/// Reads a decimal number of at most 10 digits.
fn number<T: TryFrom<u64>>(value: &[u8]) -> Result<T, BadWord> {
    let word = first_word(value);
    let digits = std::str::from_utf8(word)
        .ok()
        .filter(|text| text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit()));
    let value = digits.and_then(|text| text.parse::<u64>().ok());
    value.and_then(|v| T::try_from(v).ok()).ok_or_else(|| BadWord(printable(word)))
}

/// Reads a 14-digit stamp; what follows it on the line is a remark.
fn stamp(value: &[u8]) -> Result<crate::time::Timestamp, BadWord> {
    let word = first_word(value);
    let text = std::str::from_utf8(word).unwrap_or_default();
    crate::time::Timestamp::parse_stamp(text).ok_or_else(|| BadWord(printable(word)))
}

/// The start of a piece of a file, for messages.
fn printable(text: &[u8]) -> String {
    text.iter().take(40).flat_map(|b| b.escape_ascii()).map(char::from).collect()
}
