//! The zone file, read again when it or a file that it includes has changed and has rested.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::retry::Retry;
use keystore::time::Timestamp;

use super::setup::ZoneSetup;
use super::watch::Stamp;
use crate::zone::Zone;
use crate::zonefile::{SourceFiles, ZoneFileError};

/// Octets of a zone file from which on the log says when it is read, and not only that it was read.
const LARGE: u64 = 16 << 20;

/// The zone file and the zone that it was read to.
#[derive(Default)]
pub(super) struct ZoneFileWatch {
    zone: Option<Arc<Zone>>,
    /// The files that were opened when the zone was last read, successfully or not.
    files: SourceFiles,
    /// Of the file and its includes, when they were last read, successfully or not.
    read: Vec<Stamp>,
    /// As they look since a change that is not read yet, and the time of the look: a file is read when it has rested.
    changed: Option<(Vec<Stamp>, Timestamp)>,
    retry: Retry,
    unreadable: Option<String>,
    /// What was read last did not go together with other content of the zone.
    is_refused: bool,
    /// Why the last reading failed, for whatever reason.
    failure: Option<String>,
}

impl ZoneFileWatch {
    /// The zone that was read last.
    pub const fn zone(&self) -> Option<&Arc<Zone>> {
        self.zone.as_ref()
    }

    /// Takes `zone`, which has the content of the zone that was read last, in its place: what is served is not held in memory twice.
    pub fn adopt(&mut self, zone: &Arc<Zone>) {
        self.zone = Some(Arc::clone(zone));
    }

    /// What was read is not taken: the content before stays, if there is one.
    pub fn refuse(&mut self, before: Option<Arc<Zone>>, why: String) {
        self.zone = before;
        self.failure = Some(why);
        self.is_refused = true;
    }

    /// Has files that were refused be read again at the next look: what they did not go together with may be gone.
    pub fn read_refused_again(&mut self) {
        if std::mem::take(&mut self.is_refused) {
            self.read.clear();
        }
    }

    /// The error for which the file is read again soon.
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Why the files as they were last read give no zone.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Time of the next look that is known to be due.
    pub fn next_try(&self, now: Timestamp) -> Option<Timestamp> {
        self.retry.at().into_iter().chain(self.changed.is_some().then(|| now.plus(1))).min()
    }

    /// Reads the zone file when it or one of its includes changed and has rested since the look before, and when it could not be opened
    /// or read and its next try is due. `None` when it was not read. On an error the zone read before stays. `begin` is called before the
    /// reading, which takes long for a large file.
    pub fn poll(
        &mut self,
        setup: &ZoneSetup,
        now: Timestamp,
        begin: impl FnOnce(),
    ) -> Option<Result<Arc<Zone>, ZoneFileError>> {
        let file = setup.source.file()?;
        let stamps = self.stamps(file);
        let same = stamps == self.read;
        if same && !self.retry.is_due(now) {
            self.changed = None;
            return None;
        }
        let first = self.read.is_empty();
        let rested = self.changed.as_ref().is_some_and(|(seen, at)| *seen == stamps && *at != now);
        if !same && !first && !rested {
            if self.changed.as_ref().is_none_or(|(seen, _)| *seen != stamps) {
                self.changed = Some((stamps, now));
            }
            return None;
        }
        self.changed = None;
        self.unreadable = None;
        begin();
        if let Ok(metadata) = file.metadata()
            && metadata.len() >= LARGE
        {
            tracing::info!(zone = %setup.name, octets = metadata.len(), "reading the zone file");
        }
        let before = std::mem::take(&mut self.files);
        let loaded = Zone::load_noting(file, &setup.name, setup.rules, &mut self.files).map(Arc::new);
        // A file that was written during the reading has another stamp now than before, and is read again.
        self.read = if self.files == before { stamps } else { self.stamps(file) };
        self.is_refused = false;
        self.failure = loaded.as_ref().err().map(ToString::to_string);
        match &loaded {
            Ok(zone) => {
                self.zone = Some(Arc::clone(zone));
                self.retry.settled();
            }
            Err(error) => {
                if error.is_unreadable_file() {
                    self.unreadable = Some(error.to_string());
                    self.retry.failed(now);
                } else {
                    self.retry.settled();
                }
            }
        }
        Some(loaded)
    }

    /// Of the zone file and of the includes that were opened when it was last read.
    fn stamps(&self, file: &Path) -> Vec<Stamp> {
        let includes = self.files.paths.iter().map(PathBuf::as_path).filter(|path| *path != file);
        Stamp::of_all(std::iter::once(file).chain(includes))
    }
}
