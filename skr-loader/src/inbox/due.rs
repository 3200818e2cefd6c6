//! The files to look at, the newest first: whatever else lies in the inbox, an SKR that was dropped just now is judged in the next step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Seconds and nanoseconds of the last change of a file, its name included; a rename into the folder is one.
type Changed = (i64, i64);

/// Names of files, the one that was changed last first.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// When each was changed, and true when a writer was seen to close it.
    names: BTreeMap<OsString, (Changed, bool)>,
    order: BTreeSet<(Reverse<Changed>, OsString)>,
}

impl Due {
    /// Adds a file of the folder, or says anew whether its writer closed it.
    pub(super) fn insert(&mut self, dir: &Path, name: OsString, closed: bool) {
        let changed = dir.join(&name).symlink_metadata().map_or((0, 0), |m| (m.ctime(), m.ctime_nsec()));
        if let Some((before, _)) = self.names.insert(name.clone(), (changed, closed)) {
            self.order.remove(&(Reverse(before), name.clone()));
        }
        self.order.insert((Reverse(changed), name));
    }

    /// Adds a file of the folder, if it is not there yet.
    pub(super) fn add(&mut self, dir: &Path, name: OsString, closed: bool) {
        if !self.names.contains_key(&name) {
            self.insert(dir, name, closed);
        }
    }

    /// Takes the newest out, and whether its writer closed it.
    pub(super) fn pop_newest(&mut self) -> Option<(OsString, bool)> {
        let (_, name) = self.order.pop_first()?;
        let (_, closed) = self.names.remove(&name)?;
        Some((name, closed))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &OsString> {
        self.names.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
