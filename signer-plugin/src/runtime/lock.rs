//! [`SignerLock`]: one signer at a time is at work in a state folder.

use std::path::Path;

use keystore::durable;
use keystore::lock::{LockError, LockFile};

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
    /// When another signer holds it, in this process or another.
    pub fn take(state_dir: &Path) -> Result<Self, LockError> {
        let folder = state_dir.join(FOLDER);
        let taken = durable::create_own_dir(&folder, MODE)
            .map_err(|error| LockError::File { path: folder.clone(), source: error.into() })
            .and_then(|()| LockFile::take(&folder.join(LOCK)));
        match taken {
            Ok(lock) => Ok(Self(Some(lock))),
            Err(error @ LockError::File { .. }) => {
                tracing::warn!(%error, "the state folder cannot be locked; another signer in it would not be noticed");
                Ok(Self(None))
            }
            Err(held) => Err(held),
        }
    }
}
