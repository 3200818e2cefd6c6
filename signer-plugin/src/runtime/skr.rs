//! The accepted SKR of a zone, read again when the loader commits a new generation.

use std::path::PathBuf;

use keystore::exchange::bind::parse_skr;
use keystore::exchange::{VerifiedSkr, VerifyContext, verify};
use keystore::retry::Retry;
use keystore::store::{self, AcceptedMark, StoreError, read_current};
use keystore::time::Timestamp;

use super::setup::ZoneSetup;

/// The accepted generation in use.
pub(super) struct GenerationInUse {
    pub generation: u64,
    pub skr: VerifiedSkr,
}

/// What is in use, and what the store looked like when it was read.
#[derive(Default)]
pub(super) struct SkrWatch {
    in_use: Option<GenerationInUse>,
    /// What the store looked like when it was last read; `None` before the first look.
    seen: Option<Option<AcceptedMark>>,
    retry: Retry,
    unreadable: Option<String>,
}

/// Why an accepted SKR is not taken.
#[derive(Debug, thiserror::Error)]
enum SkrError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{path}: {check}: {source}", path = .path.display())]
    Parse { path: PathBuf, check: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{path}: {findings}", path = .path.display())]
    Verify { path: PathBuf, findings: String },
}

impl SkrWatch {
    /// The generation in use.
    pub const fn in_use(&self) -> Option<&GenerationInUse> {
        self.in_use.as_ref()
    }

    /// The error for which the store is read again soon.
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Time of the next try after an error of the store.
    pub const fn next_try(&self) -> Option<Timestamp> {
        self.retry.at()
    }

    /// Takes a new generation over; true when the store was read. One that does not read or verify is reported, and the one in use
    /// stays. What could not be opened or read is tried again, what is no good SKR only when the store changes.
    pub fn poll(&mut self, setup: &ZoneSetup, now: Timestamp) -> bool {
        let mark = store::accepted_mark(&setup.accepted, &setup.name);
        if self.seen.as_ref() == Some(&mark) && !self.retry.is_due(now) {
            return false;
        }
        self.seen = Some(mark);
        self.unreadable = None;
        match read(setup, now) {
            Ok(Some(new)) => {
                tracing::info!(
                    zone = %setup.name, generation = new.generation, until = %new.skr.coverage_end().iso(),
                    "a generation of the SKR is in use"
                );
                self.in_use = Some(new);
            }
            Ok(None) if self.in_use.is_none() => {
                tracing::warn!(zone = %setup.name, "no SKR was accepted yet; the zone is not served until one is");
            }
            Ok(None) => tracing::error!(
                zone = %setup.name, folder = %store::zone_dir(&setup.accepted, &setup.name).display(),
                "the accepted SKR is gone; the generation read before stays in use until a restart. Restore the store"
            ),
            // A condition of the zone, which tells it.
            Err(error @ SkrError::Store(StoreError::Io { .. })) => {
                self.unreadable = Some(error.to_string());
                self.retry.failed(now);
                return true;
            }
            Err(error) => {
                tracing::error!(zone = %setup.name, %error, "the accepted SKR is not taken; the one in use stays");
            }
        }
        self.retry.settled();
        true
    }
}

fn read(setup: &ZoneSetup, now: Timestamp) -> Result<Option<GenerationInUse>, SkrError> {
    let zone = &setup.name;
    let Some(current) = read_current(&setup.accepted, zone)? else { return Ok(None) };
    let path = || store::skr_path(&store::zone_dir(&setup.accepted, zone), current.generation);
    let skr = parse_skr(&current.octets, zone).map_err(|error| SkrError::Parse {
        path: path(),
        check: error.id.to_string(),
        source: error.into(),
    })?;
    let mut context = VerifyContext::new(zone, &setup.anchors).for_reload();
    // Whether the parent may be asked to remove the DS was settled when the SKR was accepted.
    context.allow_delete = true;
    // And so was a hole, or a short overlap, between what was in force and an SKR that begins later.
    context.allow_gaps = true;
    let skr = verify(skr, &context, now).map_err(|findings| {
        let rejecting = findings.iter().filter(|f| f.rejects()).map(|f| format!("{}: {}", f.id, f.what));
        SkrError::Verify { path: path(), findings: rejecting.collect::<Vec<_>>().join("; ") }
    })?;
    Ok(Some(GenerationInUse { generation: current.generation, skr }))
}
