//! [`SignerLock`]: one signer at a time is at work in a state folder.

use std::path::Path;

use keystore::durable;
use keystore::lock::{LockError, LockFile};
use keystore::open::OpenError;

/// Folder of the signer in a state folder.
const FOLDER: &str = "zones";
/// Name of the lock in it. No zone has a folder of that name: but for `.root` none begins with a dot.
const LOCK: &str = ".signer.lock";
/// Mode of the folder, as the zones make it.
const MODE: u32 = 0o755;

/// Held as long as any thread of a signer may write to the state folder.
#[derive(Debug)]
pub struct SignerLock(#[allow(dead_code, reason = "dropping it releases the lock")] Option<LockFile>);

impl SignerLock {
    /// Takes the lock of a state folder; never waits. A folder in which no lock file can be made, as on a full disk, is used without one: a
    /// restart there has to serve what it finds.
    ///
    /// # Errors
    /// When another signer holds it, in this process or another, or when the lock file is another user's or no regular file.
    pub fn take(state_dir: &Path) -> Result<Self, LockError> {
        let folder = state_dir.join(FOLDER);
        let taken = durable::create_own_dir(&folder, MODE)
            .map_err(|error| LockError::File { path: folder.clone(), source: error.into() })
            .and_then(|()| LockFile::take(&folder.join(LOCK)));
        match taken {
            Ok(lock) => Ok(Self(Some(lock))),
            Err(error) if !is_foreign(&error) => {
                tracing::warn!(%error, "the state folder cannot be locked; another signer in it would not be noticed");
                Ok(Self(None))
            }
            Err(error) => Err(error),
        }
    }
}

/// True when the file is there and is nothing that this user can lock: another signer may hold it, and whoever put it there has to look.
fn is_foreign(error: &LockError) -> bool {
    let LockError::File { path, source } = error else { return true };
    match source {
        OpenError::Io(source) => {
            source.kind() == std::io::ErrorKind::PermissionDenied
                && path.symlink_metadata().is_ok_and(|found| found.is_file())
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_is_there_and_cannot_be_locked_is_foreign_and_a_disk_that_takes_no_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (there, missing) = (dir.path().join("lock"), dir.path().join("missing"));
        std::fs::write(&there, "").unwrap();
        let with = |errno: Errno| std::io::Error::from(errno).into();
        let cases: [(_, OpenError, bool); 7] = [
            (&there, with(Errno::ACCESS), true),
            (&there, OpenError::Owner { owner: 0, user: 5 }, true),
            (&there, OpenError::NotRegular("folder"), true),
            (&missing, with(Errno::ACCESS), false),
            (&missing, with(Errno::NOSPC), false),
            (&there, with(Errno::ROFS), false),
            (&there, with(Errno::NOLCK), false),
        ];
        for (path, source, expected) in cases {
            let error = LockError::File { path: path.clone(), source };
            assert_eq!(is_foreign(&error), expected, "{error}");
        }
    }
}
