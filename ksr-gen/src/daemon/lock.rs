//! The lock of the request timer: two on one state folder would both write a request in the same minute.

use std::path::{Path, PathBuf};

use keystore::durable;
use keystore::lock::{LockError, LockFile};

/// Name of the lock in the outbox.
const LOCK: &str = ".ksr-gen.lock";
/// Name of the lock in the state folder, up to version 0.1: a timer of such a version may run still.
const OLD_LOCK: &str = "ksr-gen.lock";

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
    /// The outbox cannot be made, or is another user's.
    #[error("{path}: {source}", path = path.display())]
    Outbox {
        /// The folder.
        path: PathBuf,
        /// Error of the system call that failed, or what is wrong with the folder.
        source: std::io::Error,
    },
    /// Another timer runs.
    #[error(
        "{0}: another request timer runs in this folder (offline-ksk serve, or offline-ksk requests); stop it, or set \
         `[ksr] enabled = false` for it"
    )]
    Held(LockError),
}

impl TimerLock {
    /// Takes the lock of a state folder; never waits. It lies in the outbox, which is made where it is missing, and which nobody but the
    /// timer may write to: in the state folder the user of the loader could put a file of its name first.
    pub fn take(state_dir: &Path) -> Result<Self, TimerLockError> {
        let outbox = state_dir.join("outbox");
        durable::create_own_dir(&outbox, 0o755)
            .map_err(|source| TimerLockError::Outbox { path: outbox.clone(), source })?;
        let take = |path: &Path| {
            LockFile::take(path).map_err(|error| match error {
                held @ LockError::Held { .. } => TimerLockError::Held(held),
                other => TimerLockError::File(other),
            })
        };
        let lock = take(&outbox.join(LOCK))?;
        let old = state_dir.join(OLD_LOCK);
        if old.symlink_metadata().is_ok() {
            match take(&old) {
                Err(held @ TimerLockError::Held(_)) => return Err(held),
                // It locks nothing any more, so that one that stays does no harm.
                Ok(_) => drop(durable::remove_each_unsynced(&[&old])),
                // Not of a timer: somebody else has put it there.
                Err(_) => {}
            }
        }
        Ok(Self(lock))
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
        std::fs::write(dir.path().join("file"), "").expect("write");
        let error = TimerLock::take(&dir.path().join("file")).expect_err("no folder");
        assert!(matches!(error, TimerLockError::Outbox { .. }), "{error}");
    }

    #[test]
    fn lock_of_an_older_version_counts_while_it_is_held_and_is_removed_then() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(OLD_LOCK);
        let old = LockFile::take(&path).expect("free");
        assert!(matches!(TimerLock::take(dir.path()), Err(TimerLockError::Held(_))));
        drop(old);
        let _new = TimerLock::take(dir.path()).expect("free");
        assert!(!path.exists());
    }

    #[test]
    fn kind_04_what_has_the_name_of_an_older_lock_keeps_no_timer_from_starting() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a folder");
        let (path, victim) = (dir.path().join(OLD_LOCK), dir.path().join("victim"));
        std::fs::write(&victim, "precious").expect("write");
        let plants: [(&str, &dyn Fn() -> std::io::Result<()>); 4] = [
            ("a link to another file", &|| symlink(&victim, &path)),
            ("a second name of another file", &|| std::fs::hard_link(&victim, &path)),
            ("a folder", &|| std::fs::create_dir(&path)),
            ("a socket", &|| std::os::unix::net::UnixListener::bind(&path).map(drop)),
        ];
        for (what, plant) in plants {
            plant().expect(what);
            TimerLock::take(dir.path()).expect(what);
            assert_eq!(std::fs::read(&victim).expect("read"), b"precious", "{what}");
            std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path)).expect(what);
        }
    }
}
