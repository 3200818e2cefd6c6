//! The folders where the daemons meet, and the reading side of the accepted store.
//!
//! ```text
//! STATE-DIR/
//!   keys/       K*.key .private .state
//!   outbox/     ZONE/<start>.ksr
//!   inbox/
//!   accepted/   ZONE/<generation>.skr, ZONE/current
//!   rejected/   the file + <file>.reason
//! ```
//! `ZONE` is [`Name::file_name`] (the root: `.root`). `current` is a small text file: the generation in force and the
//! SHA-256 of its SKR (`<generation> <hex>\n`), swapped by [`crate::durable::write`].

use std::path::{Path, PathBuf};

use crate::dns::Name;

/// Folder of one zone below `accepted/` or `outbox/`.
#[must_use]
pub fn zone_dir(base: &Path, zone: &Name) -> PathBuf {
    if zone.is_root() { base.join(".root") } else { base.join(zone.file_name()) }
}

/// The generation in force, as it lies on disk; its octets have the digest that `current` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Its number, from 1.
    pub generation: u64,
    /// The SKR, in BIND's text form.
    pub octets: Vec<u8>,
}

/// Why the accepted store cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system's word.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// `current` or the SKR it names was altered from outside.
    #[error("{path}: {what}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit, and what to do.
        what: &'static str,
    },
}

/// Reads the generation in force; `Ok(None)` when nothing was ever accepted.
pub fn read_current(_accepted: &Path, _zone: &Name) -> Result<Option<Current>, StoreError> {
    todo!()
}
