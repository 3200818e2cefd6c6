//! The content of a zone that updates change: read at the start, and brought together with its file when that changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::dns::{Name, Rtype};
use keystore::retry::Retry;
use keystore::time::Timestamp;

use super::{ConditionId, LOGGED_WARNINGS, ZoneRuntime};
use crate::content::{Rebased, rebased};
use crate::rules::DnssecRecords;
use crate::state::{CONTENT, CONTENT_FILES, ContentStore, StateError, StoredContent, content_aside};
use crate::zone::{ContentChange, NodeId, Zone};

/// Seconds between two looks at files that were moved aside.
const LOOK: u64 = 10;

/// The content on disk, and the file that it was made of.
pub(super) struct KeptContent {
    store: ContentStore,
    /// The file as it was last read; `None` before it was read for the first time.
    base: Option<Arc<Zone>>,
    standing: Standing,
    /// A file that was read and could not be brought together with the content on disk, as that could not be written.
    waiting: Option<Arc<Zone>>,
    /// When it is tried again, and why.
    unwritten: (Retry, Option<String>),
    aside: Option<Aside>,
}

/// Files of what updates made that were moved aside, as they were damaged or of different moments. Updates may be missing until a person has
/// looked, and removed the folder.
struct Aside {
    folder: PathBuf,
    /// When it is looked whether the folder is still there.
    look_at: Timestamp,
}

/// What is known of the content on disk.
enum Standing {
    /// It was not read yet, or could not be read.
    Unread(Retry, Option<String>),
    /// It is in use.
    Loaded,
    /// It was damaged: the version that was served last has what updates made.
    Damaged,
}

impl KeptContent {
    pub fn new(folder: &Path, zone: &Name, dnssec: DnssecRecords) -> Self {
        Self {
            store: ContentStore::of_kind(folder, zone, dnssec),
            base: None,
            standing: Standing::Unread(Retry::default(), None),
            waiting: None,
            unwritten: (Retry::default(), None),
            aside: None,
        }
    }

    /// True when the content on disk was damaged, so that what updates made is to be had from the version that was served last.
    pub const fn is_damaged(&self) -> bool {
        matches!(self.standing, Standing::Damaged)
    }

    /// True when the content on disk is known.
    pub const fn is_loaded(&self) -> bool {
        !matches!(self.standing, Standing::Unread(..))
    }

    /// Why content cannot be written.
    pub fn unwritten(&self) -> Option<&str> {
        self.unwritten.1.as_deref()
    }

    /// Time of the next try at what failed.
    pub fn next_try(&self) -> Option<Timestamp> {
        match &self.standing {
            Standing::Unread(retry, _) => retry.at(),
            Standing::Loaded | Standing::Damaged => {
                let look = self.aside.as_ref().map(|aside| aside.look_at);
                self.unwritten.0.at().into_iter().chain(look).min()
            }
        }
    }

    /// Looks whether the files that were moved aside are still there; true when they have just gone.
    fn poll_aside(&mut self, now: Timestamp) -> bool {
        let Some(aside) = &mut self.aside else { return false };
        if now < aside.look_at {
            return false;
        }
        aside.look_at = now.plus(LOOK);
        let is_gone = CONTENT_FILES.iter().all(|name| !aside.folder.join(name).exists());
        if is_gone {
            self.aside = None;
        }
        is_gone
    }

    /// Writes whole content down that comes from no file.
    pub fn replace(&mut self, content: &Arc<Zone>) -> std::io::Result<()> {
        self.store.replace(content, content)?;
        self.base = Some(Arc::clone(content));
        self.standing = Standing::Loaded;
        Ok(())
    }

    /// True while nothing is written, because that failed a short while ago.
    pub fn waits(&self, now: Timestamp) -> bool {
        self.unwritten.0.at().is_some_and(|at| at > now)
    }

    /// Writes a change down that makes `current`.
    pub fn append(&mut self, change: &ContentChange, current: &Zone, now: Timestamp) -> std::io::Result<()> {
        let Some(base) = &self.base else {
            return Err(std::io::Error::other("the zone file was not read yet"));
        };
        let written = self.store.append(change, base, current);
        self.note_written(&written, now);
        written
    }

    /// Notes whether the content can be written.
    fn note_written(&mut self, written: &std::io::Result<()>, now: Timestamp) {
        match written {
            Ok(()) => self.unwritten = (Retry::default(), None),
            Err(error) => {
                self.unwritten.0.failed(now);
                self.unwritten.1 = Some(error.to_string());
            }
        }
    }
}

impl ZoneRuntime {
    /// Why the content on disk is not known, or may not have all updates.
    pub(super) fn stored_unreadable(&self) -> Option<String> {
        let stored = self.stored.as_ref()?;
        match &stored.standing {
            Standing::Unread(_, why) => why.clone(),
            Standing::Loaded | Standing::Damaged => stored.aside.as_ref().map(|aside| {
                format!(
                    "what updates made could not be read whole from disk, and may be missing in part: its files lie in {}",
                    aside.folder.display()
                )
            }),
        }
    }

    /// Moves content of updates aside which no source of the zone changes any more: it must not come back later.
    pub(super) fn set_leftover_aside(&self, now: Timestamp) {
        let folder = &self.setup.state;
        if self.stored.is_some() || !folder.join(CONTENT).exists() {
            return;
        }
        match ContentStore::new(folder, &self.setup.name).set_aside(now) {
            Ok(aside) => tracing::warn!(
                zone = %self.setup.name, folder = %aside.display(),
                "the zone takes no updates any more: what they have made is not served, and its files were moved to the folder"
            ),
            Err(error) => tracing::error!(
                zone = %self.setup.name, %error,
                "the zone takes no updates any more, and the files of what they have made cannot be moved aside"
            ),
        }
    }

    /// Reads the content from disk until that goes well, and writes again what could not be written; true when there is other content.
    pub(super) fn load_stored(&mut self, now: Timestamp) -> bool {
        let takes_updates = self.setup.source.takes_updates();
        let Some(stored) = &mut self.stored else { return false };
        if stored.poll_aside(now) {
            self.set_condition(ConditionId::SignerStateUnreadable, self.stored_unreadable(), now);
        }
        let Some(stored) = &mut self.stored else { return false };
        let Standing::Unread(retry, _) = &mut stored.standing else { return self.take_file_again(now) };
        if retry.at().is_some() && !retry.is_due(now) {
            return false;
        }
        match stored.store.load() {
            Ok(found) => {
                stored.standing = Standing::Loaded;
                // What was stripped when the zone was of another kind is not its content.
                let is_of_kind = |content: &StoredContent| {
                    let is_kept = self.setup.rules.dnssec == DnssecRecords::Kept;
                    !is_kept || content.current.find(NodeId::APEX, Rtype::RRSIG).is_some()
                };
                if let Some(StoredContent { base, current }) = found.filter(is_of_kind) {
                    tracing::info!(
                        zone = %self.setup.name, names = current.name_count(),
                        "the content with its updates was read from disk"
                    );
                    let base = self.shared_with_standing(&base);
                    let current = self.shared_with_standing(&current);
                    if let Some(stored) = &mut self.stored {
                        stored.base = Some(base);
                    }
                    self.source.adopt(&current);
                }
            }
            Err(error @ StateError::Io { .. }) => {
                retry.failed(now);
                let retry = std::mem::take(retry);
                stored.standing = Standing::Unread(retry, Some(error.to_string()));
            }
            Err(error @ StateError::Damaged { .. }) => {
                let aside = stored.store.set_aside(now);
                stored.standing = Standing::Damaged;
                let folder = match &aside {
                    Ok(path) => path.display().to_string(),
                    Err(error) => format!("nowhere: {error}"),
                };
                tracing::error!(
                    zone = %self.setup.name, %error, folder,
                    "the content on disk is damaged; its files were moved to the folder, and what updates made is taken from the version that was served last"
                );
            }
        }
        // Content of primaries comes again from them.
        if let Some(stored) = self.stored.as_mut().filter(|stored| stored.is_loaded() && takes_updates) {
            let folder = content_aside(&self.setup.state);
            stored.aside = folder.map(|folder| Aside { folder, look_at: now.plus(LOOK) });
        }
        self.set_condition(ConditionId::SignerStateUnreadable, self.stored_unreadable(), now);
        self.stored.as_ref().is_some_and(KeptContent::is_loaded)
    }

    /// Takes a zone file that was read; `before` is the content before it.
    pub(super) fn take_file(&mut self, file: &Arc<Zone>, before: Option<Arc<Zone>>, now: Timestamp) {
        let Some(stored) = &self.stored else {
            let content = self.shared_with_standing(file);
            return self.source.adopt(&content);
        };
        let unserved = || self.unserved.as_ref().map(|signed| Arc::clone(signed.zone()));
        let before = before.or_else(|| unserved().filter(|_| stored.is_damaged()));
        let (base, content) = match (&stored.base, before.clone()) {
            (Some(base), Some(content)) => (Some(Arc::clone(base)), content),
            // The file as it was is not known: all that differs from it counts as made by updates.
            (None, Some(content)) if stored.is_damaged() => (None, content),
            _ => (None, Arc::clone(file)),
        };
        let is_same = base.as_ref().is_some_and(|base| base.has_content_of(file));
        let content = match base.filter(|_| !is_same) {
            None => content,
            Some(base) => match rebased(&base, file, &content) {
                Ok(Rebased { zone, conflicts }) => {
                    for (owner, rtype) in conflicts.iter().take(LOGGED_WARNINGS) {
                        tracing::warn!(
                            zone = %self.setup.name, %owner, %rtype,
                            "the zone file and updates have both changed this RRset; what the file has taken away and added was applied"
                        );
                    }
                    let more = conflicts.len().saturating_sub(LOGGED_WARNINGS);
                    if more > 0 {
                        tracing::warn!(zone = %self.setup.name, more, "the zone file and updates have both changed more RRsets");
                    }
                    Arc::new(zone)
                }
                Err(problem) => {
                    let why =
                        format!("the zone file does not go together with what updates have made: {problem}");
                    tracing::error!(zone = %self.setup.name, "{why}; the content before stays");
                    return self.source.refuse(before, why);
                }
            },
        };
        self.fail_pending("the zone file has changed meanwhile");
        let (file, content) = (self.shared_with_standing(file), self.shared_with_standing(&content));
        let Some(stored) = &mut self.stored else { return };
        let written = if is_same { Ok(()) } else { stored.store.replace(&file, &content) };
        if written.is_err() {
            stored.note_written(&written, now);
            stored.waiting = Some(file);
            if let Some(before) = before {
                self.source.adopt(&before);
            }
            return;
        }
        stored.base = Some(file);
        stored.standing = Standing::Loaded;
        stored.waiting = None;
        if !is_same {
            stored.note_written(&written, now);
        }
        self.source.adopt(&content);
    }

    /// Takes a zone file again whose content could not be written; true when it was tried.
    fn take_file_again(&mut self, now: Timestamp) -> bool {
        let Some(stored) = self.stored.as_mut().filter(|stored| stored.unwritten.0.is_due(now)) else {
            return false;
        };
        let before = self.source.zone().cloned();
        if let Some(file) = stored.waiting.take() {
            self.take_file(&file, before, now);
            return true;
        }
        // A change could not be written and was not taken; whether any can is seen by writing what there is.
        if let (Some(base), Some(content)) = (&stored.base, &before) {
            let written = stored.store.replace(base, content);
            stored.note_written(&written, now);
        }
        false
    }
}
