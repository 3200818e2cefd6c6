//! Key folders, listed once for all the zones that keep their keys there.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use keystore::dns::Name;
use keystore::keys::files::{Folder, FolderKeys, KeyFileError};
use keystore::time::Timestamp;

use super::watch::Stamp;

/// The listings of key folders. A folder is looked at once a second at most, whoever asks.
#[derive(Debug, Default)]
pub(super) struct KeyFolders {
    by_path: Mutex<HashMap<PathBuf, Listing>>,
}

#[derive(Debug)]
struct Listing {
    folder: Folder,
    /// What the folder looked like before its names were read.
    stamp: Stamp,
    looked_at: Timestamp,
    /// The names are read once more at the next look: two changes within one tick of the kernel's clock leave one time.
    confirm: bool,
}

impl KeyFolders {
    /// The key files of `zone` in `dir`, by name, with their stamps. Only the files of this zone are looked at.
    pub fn files(
        &self,
        dir: &Path,
        zone: &Name,
        now: Timestamp,
    ) -> Result<Vec<(OsString, Stamp)>, KeyFileError> {
        let mut paths: Vec<PathBuf> = self.with(dir, now, |folder| folder.files(zone).collect())?;
        paths.sort_unstable();
        let stamped = |path: PathBuf| (path.file_name().unwrap_or_default().to_owned(), Stamp::of(&path));
        Ok(paths.into_iter().map(stamped).collect())
    }

    /// Reads the key sets of `zone` in `dir`; of KSKs only the public part.
    pub fn find_online(&self, dir: &Path, zone: &Name, now: Timestamp) -> Result<FolderKeys, KeyFileError> {
        self.with(dir, now, |folder| folder.find_online(zone))
    }

    fn with<T>(
        &self,
        dir: &Path,
        now: Timestamp,
        read: impl FnOnce(&Folder) -> T,
    ) -> Result<T, KeyFileError> {
        let mut by_path = self.by_path.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listing) = by_path.get_mut(dir) {
            if listing.looked_at == now {
                return Ok(read(&listing.folder));
            }
            let stamp = Stamp::of(dir);
            if stamp == listing.stamp && !listing.confirm {
                listing.looked_at = now;
                return Ok(read(&listing.folder));
            }
        }
        let stamp = Stamp::of(dir);
        let confirm = by_path.get(dir).is_none_or(|before| before.stamp != stamp);
        // A folder that cannot be read is no folder of an earlier time.
        let folder = Folder::scan(dir).inspect_err(|_| drop(by_path.remove(dir)))?;
        let listing = Listing { folder, stamp, looked_at: now, confirm };
        Ok(read(&by_path.entry(dir.to_owned()).insert_entry(listing).get().folder))
    }
}
