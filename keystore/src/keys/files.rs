//! The `.key`, `.private` and `.state` files of a key, byte for byte as BIND 9.20 writes them.

use std::path::{Path, PathBuf};

use super::Dnskey;
use super::timing::{State, Timing};
use crate::crypto::{PrivateKey, SigningKey};
use crate::dns::Name;

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

    /// Path of the file with `suffix` (`key`, `private`, `state`).
    #[must_use]
    pub fn path(&self, suffix: &str) -> PathBuf {
        self.dir.join(format!("{}.{suffix}", self.base_name()))
    }

    /// Reads the private part and checks that it belongs to the public key. Refuses a file that others than its owner can
    /// read (mode wider than 0600).
    pub fn load_private(&self) -> Result<Box<dyn SigningKey>, KeyFileError> {
        todo!()
    }

    /// Writes all three files durably (`.key`, `.state`, then `.private`, which makes the key exist).
    pub fn write(&self, _private: &PrivateKey) -> Result<(), KeyFileError> {
        todo!()
    }
}

/// What a folder holds for one zone.
#[derive(Debug, Default)]
pub struct Found {
    /// Usable key sets, sorted by algorithm and tag.
    pub keys: Vec<KeyFile>,
    /// Sets that could not be read, and why; they are skipped.
    pub skipped: Vec<KeyFileError>,
}

/// Finds the keys of `zone` in `dir`: each `K<zone>+ddd+ddddd.private` makes a key exist.
pub fn find(_dir: &Path, _zone: &Name) -> Result<Found, KeyFileError> {
    todo!()
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
        /// The system's word.
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
    #[error("{path}: mode {mode:04o} lets others read the private key; chmod 600 it", path = path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}
