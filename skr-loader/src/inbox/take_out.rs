//! Taking judged files out of the inbox: a file is renamed to a name of our own first, so that one that has come under its name meanwhile stays.

use std::io;
use std::path::{Path, PathBuf};

use keystore::check::CheckId;
use keystore::durable;

use super::dropped::FileOrigin;
use super::{Dropped, Inbox};
use crate::files::{self, Fingerprint};

/// Octets that are kept of a file that has more than are read.
pub(super) const HEAD: u64 = 64 << 10;
/// What files are renamed to, in the inbox, while they are taken out of it.
pub(super) const CLAIM: &str = ".skr-loader-claim";

impl Inbox {
    /// Takes a judged file out of the inbox: to `to` (never replacing what is there), or away when `None`. A file that
    /// has come under its name meanwhile stays.
    ///
    /// Of a part only the copy at `to` is made, and the file stays as it is. Names are not synced: [`Inbox::sync`] does that for many
    /// files at once, after the folder of `to`.
    pub fn take_out(&mut self, file: &Dropped, to: Option<&Path>) -> io::Result<()> {
        let fingerprint = match &file.origin {
            FileOrigin::Order(_) => return Ok(()),
            FileOrigin::Part(_) => {
                let result = to.map_or(Ok(()), |to| durable::write_new_unsynced(to, &file.octets, 0o640));
                self.part_kept |= result.is_err();
                return result;
            }
            FileOrigin::File { fingerprint, .. } => *fingerprint,
        };
        let result = self.claim(file, fingerprint).and_then(|claim| {
            let Some(claim) = claim else { return Ok(()) };
            match to {
                // A hole of gigabytes would keep its size for whoever copies the folder.
                Some(to) if file.is_unread() => {
                    durable::write_new_unsynced(to, &files::read_head(&claim, HEAD)?, 0o640)?;
                    durable::remove_each_unsynced(&[&claim])
                }
                None => durable::remove_each_unsynced(&[&claim]),
                Some(to) => match durable::rename_new_unsynced(&claim, to) {
                    Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                        durable::write_new(to, &file.octets, 0o640)?;
                        durable::remove_each_unsynced(&[&claim])
                    }
                    other => other,
                },
            }
        });
        self.unsynced = true;
        if let Err(error) = &result {
            // Judged already: not again before it changes.
            let why = format!("it was judged, and cannot be taken out of the inbox: {error}");
            self.set_left(&file.name, fingerprint, CheckId::SkrIo, why);
        } else {
            self.files.remove(&file.name);
            self.tries.remove(&file.name);
            self.reasons.remove(&file.name);
        }
        result
    }

    /// Makes durable what was taken out since the last call.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unsynced) { durable::sync_dir(&self.dir) } else { Ok(()) }
    }

    /// Renames the file to a name of our own; `None` when another file has taken its place, which then stays.
    fn claim(&mut self, file: &Dropped, fingerprint: Fingerprint) -> io::Result<Option<PathBuf>> {
        let from = self.dir.join(&file.name);
        let too_large = file.is_unread();
        // One that grows for ever is taken out all the same.
        let is_it = |path: &Path| {
            files::fingerprint(path)
                .map(|p| p.same_content(&fingerprint) || (too_large && p.same_file(&fingerprint)))
        };
        match is_it(&from) {
            Ok(true) => {}
            Ok(false) => {
                self.due.insert(&self.dir, file.name.clone(), false);
                return Ok(None);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let claim = loop {
            self.claims += 1;
            let claim = self.dir.join(format!("{CLAIM}-{}-{}", std::process::id(), self.claims));
            match durable::rename_new_unsynced(&from, &claim) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => break other.map(|()| claim)?,
            }
        };
        if is_it(&claim)? {
            return Ok(Some(claim));
        }
        // Replaced between the two looks. Should even a third one have come: both are kept.
        self.due.insert(&self.dir, file.name.clone(), false);
        if durable::rename_new_unsynced(&claim, &from).is_err() {
            self.give_back(&claim)?;
        }
        Ok(None)
    }

    /// Gives a claimed file a visible name again.
    pub(super) fn give_back(&mut self, claim: &Path) -> io::Result<()> {
        loop {
            self.claims += 1;
            let name = format!("recovered-{}.skr", self.claims);
            match durable::rename_new_unsynced(claim, &self.dir.join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => {
                    self.due.insert(&self.dir, name.into(), false);
                    return other;
                }
            }
        }
    }
}
