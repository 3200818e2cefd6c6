//! The lock of the request timer: two on one state folder would both write a request in the same minute.

use std::path::Path;

use keystore::lock::{LockError, LockFile};

/// The state folder, held by the one request timer of it until this is dropped.
#[derive(Debug)]
pub struct TimerLock(#[allow(dead_code, reason = "dropping it releases the lock")] LockFile);

/// Why the timer does not run on a state folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimerLockError {
    /// The lock file cannot be used.
    #[error(transparent)]
    File(LockError),
    /// Another timer runs.
    #[error(
        "{0}: another request timer runs in this folder (offline-ksk serve, or offline-ksk requests); stop it, or set \
         `[ksr] enabled = false` for it"
    )]
    Held(LockError),
}

impl TimerLock {
    /// Takes the lock of a state folder; never waits.
    pub fn take(state_dir: &Path) -> Result<Self, TimerLockError> {
        LockFile::take(&state_dir.join("ksr-gen.lock")).map(Self).map_err(|error| match error {
            held @ LockError::Held { .. } => TimerLockError::Held(held),
            other => TimerLockError::File(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_timer_on_a_folder_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = TimerLock::take(dir.path()).expect("free");
        assert!(matches!(TimerLock::take(dir.path()), Err(TimerLockError::Held(_))));
        drop(first);
        TimerLock::take(dir.path()).expect("free again");
        assert!(matches!(TimerLock::take(Path::new("/nonexistent")), Err(TimerLockError::File(_))));
    }
}
