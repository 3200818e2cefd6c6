//! The signed version of a zone on disk: what was served is there after a restart, before the zone file is read again.
//!
//! ```text
//! zones/ZONE/version    the snapshot of a version: records, signatures, bundle, keys          replaced whole
//! zones/ZONE/changes    what each version since then has changed: names, signatures, facts     appended to
//! zones/ZONE/content    the unsigned content that is in no file alone: see [`content`]            replaced whole
//! zones/ZONE/content-changes   what was changed in it since                                      appended to
//! zones/ZONE/differences-0, -1   what differs between the last versions: see [`differences`]     appended to
//! zones/ZONE/damaged-TIME/   what could not be used, the newest [`DAMAGED_KEPT`] of them; TIME has 20 digits
//! ```
//! **Order.** A version is durable here before it is served. Where the disk refuses it, a bundle switch and signatures that come due are
//! served nevertheless; their serial is then durable first (see `runtime::serial`), and a restart does not serve the version before.
//!
//! **What is found at a start.** The snapshot and each complete version of the journal behind it. A journal that ends within a version,
//! or in zeros, was being written when the process or the host died. Anything else that does not fit (a checksum, another format, another
//! zone) is damage: both files are set aside, and the zone is signed anew from its file. The SOA serial is kept apart, so it does not go
//! back.
//!
//! Nothing here is secret: it is what the zone serves.

mod codec;
mod content;
mod differences;
mod facts;
mod folder;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod journal;
mod sections;
mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use content::{CONTENT, CONTENT_FILES, ContentStore, StoredContent};
pub(crate) use differences::DifferenceStore;
pub(crate) use facts::{Publication, SigningFacts, VersionFacts};
pub(crate) use folder::StateFolder;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::dns::Name;
use keystore::durable;
use keystore::open::{self, Links};
use keystore::time::Timestamp;

use crate::rules::{DnssecRecords, RecordProblem, ZoneRules};
use crate::signing::{RestoreError, RestoreTimes, SignedZone, StoredChanges};
use crate::zone::ZoneBuilder;
use journal::{JournalEnd, JournalFound, Patch};
use sections::SectionError;
use snapshot::{Snapshot, SnapshotId};

/// Version of the format of both files.
const FORMAT: u16 = 2;
/// Name of the snapshot in the zone's state folder.
pub(crate) const VERSION: &str = "version";
/// Name of the journal.
pub(crate) const CHANGES: &str = "changes";
const DAMAGED: &str = "damaged-";
/// Folders with damaged state that are kept, the newest ones.
const DAMAGED_KEPT: usize = 3;
/// Most versions in a journal; the next one is a snapshot.
const MOST_VERSIONS: usize = 10_000;

/// Why the state of a zone cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// It may be readable at another try.
    #[error("{path}: {source}", path = path.display())]
    Io {
        path: PathBuf,
        /// Error of the call that opened or read it.
        source: io::Error,
    },
    /// It will never be.
    #[error("{path}, behind octet {at}: {damage}", path = path.display())]
    Damaged { path: PathBuf, at: u64, damage: Damage },
}

/// What is wrong with a file of the state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    /// Its sections.
    #[error(transparent)]
    Section(#[from] SectionError),
    /// It is of another zone.
    #[error("it is the state of the zone {0}")]
    OtherZone(Name),
    /// Something is missing, or stands at a place where it must not.
    #[error("a section is missing or stands at a wrong place")]
    Order,
    /// A journal continues what was written after the file that lies beside it, or that is not there.
    #[error("it continues a later file than the one beside it: they were copied at different moments")]
    OtherMoment,
    /// A value is outside of what it can be.
    #[error("a section does not have the values that it should")]
    Field,
    /// Its records are no zone.
    #[error("its records are no zone: {0}")]
    Record(#[from] RecordProblem),
    /// Its parts do not fit together.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// It is no regular file.
    #[error("it is no regular file")]
    NotRegular,
}

/// When a version goes to the journal.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// A snapshot of fewer octets is written anew for each version: the journal would save nothing.
    small: u64,
    /// The size of the journal in percent of that of the snapshot.
    journal_percent: u64,
}

impl Limits {
    const DEFAULT: Self = Self { small: 256 << 10, journal_percent: 50 };
}

/// The files of one zone.
#[derive(Debug)]
pub(crate) struct VersionStore {
    folder: StateFolder,
    zone: Name,
    limits: Limits,
    /// What the files hold; `None` when that is not known, and the next version is written as a snapshot.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    signed: Arc<SignedZone>,
    snapshot: SnapshotId,
    /// Octets of the snapshot.
    len: u64,
    /// `None` when there is no journal yet.
    journal: Option<JournalEnd>,
}

/// The zone that files are of, and whether it has the DNSSEC records that it came with.
#[derive(Debug, Clone)]
struct StateKind {
    zone: Name,
    dnssec: DnssecRecords,
}

impl StateKind {
    /// Takes the records of such a zone.
    fn builder(&self) -> ZoneBuilder {
        ZoneBuilder::with_rules(&self.zone, ZoneRules { dnssec: self.dnssec, ..ZoneRules::default() })
    }
}

/// A version that was found on disk.
#[derive(Debug)]
pub(crate) struct LoadedVersion {
    pub signed: Arc<SignedZone>,
    pub facts: VersionFacts,
}

impl VersionStore {
    /// The state of `zone` in `folder`; nothing is read yet.
    pub fn new(folder: &Path, zone: &Name) -> Self {
        Self { folder: StateFolder::new(folder), zone: zone.clone(), limits: Limits::DEFAULT, held: None }
    }

    /// Reads the last version that is there; `None` when there is none. `refresh` is the remaining validity in seconds at which
    /// signatures are renewed.
    ///
    /// # Errors
    /// When a file cannot be read, or is damaged; nothing is changed on disk then, see [`Self::set_aside`].
    pub fn load(&mut self, refresh: u32, now: Timestamp) -> Result<Option<LoadedVersion>, StateError> {
        self.held = None;
        // What a process that died left; the folder may be missing, and what cannot be removed does no harm.
        let _ = durable::sweep_temps(self.folder.path());
        let path = self.folder.path().join(VERSION);
        let Some(file) = open(&path)? else { return Ok(None) };
        let snapshot = snapshot::read(file, &self.zone).map_err(|e| error_at(&path, e))?;
        let changes = self.folder.path().join(CHANGES);
        let (mut facts, mut changed) = (snapshot.facts.clone(), StoredChanges::default());
        let found = match open(&changes)? {
            None => JournalFound::Stale,
            Some(file) => journal::replay(file, &snapshot.id, &snapshot.kind(), &mut facts, &mut changed)
                .map_err(|e| error_at(&changes, e))?,
        };
        let times = RestoreTimes { refresh, now };
        let restored = restore(&snapshot, times);
        let mut signed = restored.map_err(|error| error_at(&path, (error.into(), 0)))?;
        if changed.versions > 0 {
            let advanced = advance(&signed, &changed, &facts, times);
            signed = advanced.map_err(|error| error_at(&changes, (error.into(), 0)))?;
        }
        let signed = Arc::new(signed);
        // A journal that was cut is not appended to: the next version is a snapshot.
        let journal = match found {
            JournalFound::Stale => Some(None),
            JournalFound::Whole(end) => Some(Some(end)),
            JournalFound::Cut => {
                tracing::info!(zone = %self.zone, file = %changes.display(), "its last version is not whole; the one before it is taken");
                None
            }
        };
        self.held = journal.map(|journal| Held {
            signed: Arc::clone(&signed),
            snapshot: snapshot.id,
            len: snapshot.len,
            journal,
        });
        Ok(Some(LoadedVersion { signed, facts }))
    }

    /// Writes a version down; when this returns `Ok` it outlives a loss of power, and may be served.
    pub fn save(&mut self, signed: &Arc<SignedZone>, facts: &VersionFacts) -> io::Result<()> {
        // Whatever fails, the next version is a snapshot: a file whose write failed is not appended to.
        let held = self.held.take();
        if let Some(held) = held
            && let Some(patch) = held.patch_for(signed, self.limits)
        {
            let (octets, end) = self.encode(&held, &patch, signed, facts)?;
            match held.journal {
                Some(before) => durable::append(&self.folder.path().join(CHANGES), before.len, &octets)?,
                None => durable::write(&self.folder.path().join(CHANGES), &octets, 0o600)?,
            }
            self.held = Some(Held { signed: Arc::clone(signed), journal: Some(end), ..held });
            return Ok(());
        }
        self.folder.make()?;
        let mut written = None;
        durable::write_with(&self.folder.path().join(VERSION), 0o600, |file| {
            written = Some(snapshot::write(signed, facts, file)?);
            Ok(())
        })?;
        self.held =
            written.map(|(snapshot, len)| Held { signed: Arc::clone(signed), snapshot, len, journal: None });
        Ok(())
    }

    fn encode(
        &self,
        held: &Held,
        patch: &Patch,
        signed: &SignedZone,
        facts: &VersionFacts,
    ) -> io::Result<(Vec<u8>, JournalEnd)> {
        match &held.journal {
            Some(end) => journal::encode(end, patch, signed, facts),
            None => {
                let (mut octets, end) = journal::begin(&held.snapshot)?;
                let (version, end) = journal::encode(&end, patch, signed, facts)?;
                octets.extend_from_slice(&version);
                Ok((octets, end))
            }
        }
    }

    /// Moves the files to a folder `damaged-TIME` beside them, and gives its path; see [`set_aside`].
    pub fn set_aside(&mut self, now: Timestamp) -> io::Result<PathBuf> {
        self.held = None;
        set_aside(self.folder.path(), &[VERSION, CHANGES], now)
    }
}

/// The newest folder in that of a zone into which content was moved.
pub(crate) fn content_aside(zone: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(zone).ok()?;
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_one = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(is_damaged_folder)
            && content::CONTENT_FILES.iter().any(|name| path.join(name).exists())
    };
    folders.filter(is_one).max()
}

/// The version of a snapshot.
fn restore(snapshot: &Snapshot, times: RestoreTimes) -> Result<SignedZone, RestoreError> {
    match snapshot.facts.stored() {
        Some(stored) => SignedZone::restore(&snapshot.zone, &stored, &snapshot.slots, times),
        None => Ok(SignedZone::given(&snapshot.zone, snapshot.facts.serial, None, times.now)),
    }
}

/// The version that followed `signed` by `changes`.
fn advance(
    signed: &SignedZone,
    changes: &StoredChanges,
    facts: &VersionFacts,
    times: RestoreTimes,
) -> Result<SignedZone, RestoreError> {
    match facts.stored() {
        Some(stored) => signed.advance(changes, &stored, times),
        None if signed.is_given() => {
            let zone = signed.changed_zone(changes)?;
            Ok(SignedZone::given(&zone, facts.serial, Some(signed), times.now))
        }
        None => Err(RestoreError::Denial),
    }
}

/// Moves files of the folder of a zone to a folder `damaged-TIME` in it, and gives its path. That one and the newest others stay,
/// [`DAMAGED_KEPT`] in all. Folders with other names than those that are given here are left alone.
fn set_aside(zone: &Path, names: &[&str], now: Timestamp) -> io::Result<PathBuf> {
    let folder = zone.join(format!("{DAMAGED}{:020}", now.secs()));
    durable::create_dir_durable(&folder, 0o700)?;
    for name in names {
        match durable::rename(&zone.join(name), &folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    let mut others: Vec<PathBuf> = std::fs::read_dir(zone)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(is_damaged_folder))
        .filter(|path| *path != folder)
        .collect();
    others.sort_unstable();
    for old in others.iter().rev().skip(DAMAGED_KEPT - 1) {
        std::fs::remove_dir_all(old)?;
    }
    Ok(folder)
}

impl Held {
    /// The difference to `signed`, when it is to be appended to the journal; `None` when a snapshot is to be written.
    fn patch_for(&self, signed: &SignedZone, limits: Limits) -> Option<Patch> {
        if self.len < limits.small || self.journal.is_some_and(|journal| journal.versions >= MOST_VERSIONS) {
            return None;
        }
        let patch = Patch::between(&self.signed, signed)?;
        let octets = self.journal.map_or(0, |journal| journal.len) + patch.octets();
        (octets <= self.len.saturating_mul(limits.journal_percent) / 100).then_some(patch)
    }
}

/// True for a name as [`set_aside`] gives it.
fn is_damaged_folder(name: &str) -> bool {
    name.strip_prefix(DAMAGED)
        .is_some_and(|time| time.len() == 20 && time.bytes().all(|b| b.is_ascii_digit()))
}

/// Opens a file of the state; `None` when it is not there.
fn open(path: &Path) -> Result<Option<File>, StateError> {
    match open::for_reading(path, Links::Refuse) {
        Ok((file, _)) => Ok(Some(file)),
        Err(open::OpenError::Io(source)) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(open::OpenError::Io(source)) => Err(StateError::Io { path: path.to_owned(), source }),
        Err(_) => Err(error_at(path, (Damage::NotRegular, 0))),
    }
}

fn error_at(path: &Path, (damage, at): (Damage, u64)) -> StateError {
    let path = path.to_owned();
    match damage {
        Damage::Section(SectionError::Io(source)) => StateError::Io { path, source },
        damage => StateError::Damaged { path, at, damage },
    }
}
