//! What became of a file.

use keystore::check::CheckId;
use keystore::dns::Name;
use keystore::exchange::SkrFinding;
use keystore::store::digest;

use crate::files::printable;
use crate::inbox::Dropped;
use crate::store::Digest;

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileImport {
    /// Its name, escaped.
    pub file: String,
    /// Its SHA-256; that of nothing when it was not read.
    pub digest: Digest,
    /// The zone, when it is known from the content and configured.
    pub zone: Option<Name>,
    /// The checks that were overruled, and would have rejected it.
    pub forced: Vec<CheckId>,
    /// What became of it.
    pub outcome: ImportOutcome,
}

/// What became of a file; of a dry run: what would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    /// It is in force.
    Accepted {
        /// Its generation.
        generation: u64,
        /// What the checks found that does not reject.
        warnings: Vec<SkrFinding>,
    },
    /// It was in force already.
    Unchanged {
        /// The generation.
        generation: u64,
    },
    /// A check rejects it. A dropped file was moved to `rejected/`.
    Rejected {
        /// Why, and the warnings.
        findings: Vec<SkrFinding>,
    },
    /// It passed and could not be written; a dropped file stays in the inbox for another try.
    Failed {
        /// What is wrong, in words for a message.
        what: String,
    },
}

impl FileImport {
    /// What became of `file`, of which nothing was overruled.
    pub(super) fn of(file: &Dropped, digest: Digest, zone: Option<Name>, outcome: ImportOutcome) -> Self {
        Self { file: printable(&file.name), digest, zone, forced: Vec::new(), outcome }
    }

    /// `file` could not be dealt with.
    pub(super) fn failed(file: &Dropped, zone: Option<Name>, what: String) -> Self {
        Self::of(file, digest(&file.octets), zone, ImportOutcome::Failed { what })
    }
}

/// True for an order that only asks what would become of the file.
pub(super) fn is_dry_run(file: &Dropped) -> bool {
    file.order().is_some_and(|order| order.dry_run)
}
