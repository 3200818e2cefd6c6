//! The lock of the request timer: two on one state folder would both write a request in the same minute.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// The state folder, held by the one request timer of it until this is dropped; the kernel frees it when the process ends.
#[derive(Debug)]
pub struct TimerLock(#[allow(dead_code, reason = "closing the file releases the lock")] File);

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The file cannot be made or locked.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// Another process holds it.
    #[error(
        "{path}: another request timer runs in this folder (offline-ksk serve, or offline-ksk requests); stop it, or set \
         `[ksr] enabled = false` for it",
        path = path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
    },
}

impl TimerLock {
    /// Takes the lock of a state folder, or says who holds it; never waits.
    pub fn take(state_dir: &Path) -> Result<Self, LockError> {
        let path = state_dir.join("ksr-gen.lock");
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o640);
        let file = options.open(&path).map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Held { path }),
            Err(error) => Err(io(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = TimerLock::take(dir.path()).expect("free");
        assert!(matches!(TimerLock::take(dir.path()), Err(LockError::Held { .. })));
        drop(first);
        TimerLock::take(dir.path()).expect("free again");
        assert!(matches!(TimerLock::take(Path::new("/nonexistent")), Err(LockError::Io { .. })));
    }
}
