//! The accepted store: one folder a zone, a file a generation, and `current`, which says which one is in force.
//!
//! ```text
//! accepted/ZONE/3.received   the dropped file, when it is not what is in force octet for octet (see `accept::join`)
//! accepted/ZONE/3.skr        the generation
//! accepted/ZONE/replaced     what removed generations had signed (see [`history`])
//! accepted/ZONE/revoked      the KSKs that replaced generations have published as revoked (see [`revoked`])
//! accepted/ZONE/current      "3 <SHA-256>": written last, so that a crash before it leaves generation 2 in force
//! accepted/.skr-loader.lock  held by the one loader of the state folder
//! ```
//!
//! **Invariant:** a number that `current` once named is never given out again.

pub mod history;
pub mod revoked;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use keystore::dns::Name;
use keystore::durable;
use keystore::exchange::{Bundle, bind};
use keystore::lock::{LockError, LockFile};
use keystore::open;
use keystore::shared::Shared;
use keystore::store::{self, StoreError, digest, zone_dir};

use crate::files::{self, FileError, NamedBy};
use crate::user::User;

/// SHA-256.
pub type Digest = [u8; 32];

/// SKRs are public; the folder decides who may read them.
const SKR_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// The state folder, locked against a second loader as long as this lives.
#[derive(Debug)]
pub struct Store {
    state_dir: PathBuf,
    /// Folders of zones whose names are on disk.
    synced: Mutex<HashSet<FolderId>>,
    /// Keeps the lock.
    _lock: LockFile,
}

/// A generation in force, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Its number, from 1.
    pub generation: u64,
    /// SHA-256 of `<generation>.skr`.
    pub digest: Digest,
    /// Its bundles, ordered by inception.
    pub bundles: Shared<Vec<Bundle>>,
}

/// What a look at the store of a zone found.
#[derive(Debug)]
pub enum StoreRead {
    /// It was read.
    Read {
        /// What it holds.
        state: AcceptedState,
        /// What is damaged in it: that does not pass by itself, and the next good SKR repairs it.
        damage: Option<StoreError>,
    },
    /// It was not read, because of an error of the system that may pass. That is no empty store: nobody knows what it holds.
    Unread {
        /// The generation in force, where that much was read.
        in_force: Option<InForce>,
        /// The error.
        error: StoreError,
    },
}

impl StoreRead {
    /// The generation in force; `None` = nothing was ever accepted, or what was is damaged or was not read.
    #[must_use]
    pub const fn in_force(&self) -> Option<&InForce> {
        match self {
            Self::Read { state, .. } => state.in_force.as_ref(),
            Self::Unread { in_force, .. } => in_force.as_ref(),
        }
    }

    /// What is damaged, or why it was not read.
    #[must_use]
    pub const fn error(&self) -> Option<&StoreError> {
        match self {
            Self::Read { damage, .. } => damage.as_ref(),
            Self::Unread { error, .. } => Some(error),
        }
    }
}

/// What the store holds for one zone.
#[derive(Debug, Clone, Default)]
pub struct AcceptedState {
    /// The generation in force; `None` = nothing was ever accepted, or what was is damaged.
    pub in_force: Option<InForce>,
    /// The generation, up to the one in force, that was dropped as (or is kept in) a file of this digest.
    pub known: BTreeMap<Digest, u64>,
    /// Number of the next generation.
    pub next: u64,
}

/// Why a loader cannot start on a state folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreOpenError {
    /// Error of the system call that failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// The folder is another user's.
    #[error("{path}: {user} may not write here; {folder} belongs to {owner}: start it as that user (systemd, or sudo -u), or give the folder to this one (chown -R)", path = path.display(), folder = folder.display())]
    Denied {
        /// The file or folder.
        path: PathBuf,
        /// The state folder, or what is there of it.
        folder: PathBuf,
        /// Whose that is.
        owner: User,
        /// The user of this process.
        user: User,
    },
    /// Something else has the name of a folder.
    #[error("{path}: {what}, and a folder is needed there", path = path.display())]
    NoFolder {
        /// The name.
        path: PathBuf,
        /// What has it.
        what: String,
    },
    /// The folder for what is accepted is another user's, or no folder.
    #[error("{path}: {source}", path = path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        source: open::OpenError,
    },
    /// The lock file is none of ours.
    #[error(transparent)]
    Lock(LockError),
    /// A second daemon.
    #[error("{path}: another skr-loader{holder} works on this state folder; stop it first", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// ` (process N)`, when it said so.
        holder: String,
    },
}

impl StoreOpenError {
    /// What the system's word means on this state folder.
    fn of(state_dir: &Path, path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => {
                // With two users the state folder is root's, and what the loader writes its own. Where nothing is there yet: the folder
                // in which it would be.
                let accepted = state_dir.join("accepted");
                let found = [path.as_path(), &accepted]
                    .into_iter()
                    .chain(state_dir.ancestors())
                    .find_map(|dir| Some((dir.to_owned(), dir.metadata().ok()?.uid())));
                match found {
                    Some((folder, uid)) if uid != User::current().uid => {
                        let (owner, user) = (User::of(uid), User::current());
                        Self::Denied { path, folder, owner, user }
                    }
                    _ => Self::Io { path, source },
                }
            }
            io::ErrorKind::AlreadyExists => {
                let what = match fs::read_link(&path) {
                    Ok(to) => format!("it is a link to {}, where no folder is", to.display()),
                    Err(_) => "it is no folder".to_owned(),
                };
                Self::NoFolder { path, what }
            }
            _ => Self::Io { path, source },
        }
    }
}

impl Store {
    /// Makes the folders that are missing, takes the lock, and removes temp files of a loader that was killed.
    ///
    /// The lock lies in `accepted/`, which nobody but the loader may write to: in the state folder the user of the request timer could put
    /// a file of its name first.
    pub fn open(state_dir: &Path) -> Result<Self, StoreOpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreOpenError::of(state_dir, path, source)
        };
        durable::create_dir_durable(state_dir, FOLDER_MODE).map_err(at(state_dir))?;
        let accepted = state_dir.join("accepted");
        durable::create_dir_durable(&accepted, FOLDER_MODE).map_err(at(&accepted))?;
        open::own_folder(&accepted).map_err(|error| match error {
            open::OpenError::Io(source) => at(&accepted)(source),
            source => StoreOpenError::Foreign { path: accepted.clone(), source },
        })?;
        let lock = take_lock(state_dir, &accepted.join(LOCK))?;
        for (name, mode) in [("rejected", 0o750), ("inbox", 0o770)] {
            let folder = state_dir.join(name);
            // Whoever uses the folder says so when it is not there.
            if let Err(error) = durable::create_dir_durable(&folder, mode) {
                tracing::error!(folder = %folder.display(), %error, "the folder cannot be made");
            }
        }
        for folder in [state_dir, &accepted, &state_dir.join("rejected")] {
            if let Err(error) = durable::sweep_temps(folder) {
                tracing::warn!(folder = %folder.display(), %error, "temp files that an earlier run may have left stay");
            }
        }
        // Where that fails each commit syncs the name of its folder, as that of one that is new.
        let synced = Mutex::new(folders_on_disk(&accepted).unwrap_or_default());
        Ok(Self { state_dir: state_dir.to_owned(), synced, _lock: lock })
    }

    /// The folder `accepted/` of the state folder.
    #[must_use]
    pub fn accepted(&self) -> PathBuf {
        self.state_dir.join("accepted")
    }

    /// Reads back what is in force for `zone`, after tidying up what a crash may have left: temp files, and
    /// generations above the one in force (their commit never ended, and their file still lies in the inbox).
    ///
    /// A damaged store is an error beside the state: the loader goes on, and the next good SKR repairs it.
    #[must_use]
    pub fn load(&self, zone: &Name) -> StoreRead {
        let stored = read(&self.accepted(), zone, true);
        if let Some(in_force) = stored.in_force() {
            self.note_revoked(zone, in_force);
        }
        stored
    }

    /// Writes down which KSKs the generation in force publishes as revoked, so that they are known even when its file is lost. An error is
    /// told and tried again at the next start: as long as the file reads, it says so itself.
    fn note_revoked(&self, zone: &Name, in_force: &InForce) {
        let noted =
            revoked::add_of_generation(&self.accepted(), zone, in_force.generation, &in_force.bundles);
        if let Err(error) = noted {
            tracing::error!(%zone, %error, "cannot note which KSKs the SKR in force revokes; it is tried again at the next start");
        }
    }

    /// The generation in force alone; `Ok(None)` when nothing was ever accepted.
    pub fn in_force(&self, zone: &Name) -> Result<Option<InForce>, StoreError> {
        in_force(&self.accepted(), zone)
    }

    /// Makes `octets` the next generation of `zone` and the one in force: generation file first, then `current`. `received` are the
    /// octets of the dropped file when they differ.
    ///
    /// The number is the store's choice. `state` is what was read of the store before, and what it holds afterwards. After an error the zone is read back from disk,
    /// because a call that fails may have done its work: whoever reads the store and whoever asks the loader are told the same.
    pub fn commit(
        &self,
        zone: &Name,
        state: &mut AcceptedState,
        octets: &[u8],
        received: Option<&[u8]>,
    ) -> Result<u64, CommitError> {
        let dir = zone_dir(&self.accepted(), zone);
        let generation = self.next_number(zone, state);
        let wanted = (generation, digest(octets));
        let written = self.make_folder(&dir).and_then(|()| write_generation(&dir, wanted, octets, received));
        let failed = match written.and_then(|()| self.in_force(zone)) {
            Ok(Some(found)) if (found.generation, found.digest) == wanted => {
                state.known.extend([(found.digest, generation)]);
                state.known.extend(received.map(|received| (digest(received), generation)));
                state.next = generation.saturating_add(1);
                self.note_revoked(zone, &found);
                state.in_force = Some(found);
                return Ok(generation);
            }
            Ok(_) => StoreError::Damaged {
                path: dir.clone(),
                what: "what was just written does not read back; check the disk",
            },
            Err(error) => error,
        };
        match self.load(zone) {
            StoreRead::Read { state: found, damage: None } => *state = found,
            StoreRead::Read { damage: Some(unread), .. } | StoreRead::Unread { error: unread, .. } => {
                // Nobody knows which generation the disk names now, so this number is not given out before it is read.
                state.next = generation.saturating_add(1);
                return Err(CommitError::Unread { failed, unread });
            }
        }
        let is_in = state.in_force.as_ref().is_some_and(|found| (found.generation, found.digest) == wanted);
        if !is_in {
            return Err(CommitError::NotInForce(failed));
        }
        match self.make_durable(zone) {
            Ok(()) => Ok(generation),
            Err(source) => Err(CommitError::NotDurable { generation, source }),
        }
    }

    /// Makes the folder of a zone, unless this very folder is on disk already: that is one sync less for each SKR.
    fn make_folder(&self, dir: &Path) -> Result<(), StoreError> {
        let id = || dir.symlink_metadata().ok().as_ref().and_then(folder_id);
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if id().is_some_and(|id| synced.contains(&id)) {
            return Ok(());
        }
        durable::create_dir_durable(dir, FOLDER_MODE)
            .map_err(|source| StoreError::Io { path: dir.to_owned(), source })?;
        synced.extend(id());
        Ok(())
    }

    /// The number that the next generation of `zone` will have.
    #[must_use]
    pub fn next_number(&self, zone: &Name, state: &AcceptedState) -> u64 {
        free_number(&zone_dir(&self.accepted(), zone), state.next)
    }

    /// Waits until the names in the folder of `zone` are on disk: a commit whose last sync failed may not outlive a power loss before.
    pub fn make_durable(&self, zone: &Name) -> Result<(), StoreError> {
        let path = zone_dir(&self.accepted(), zone);
        durable::sync_dir(&path).map_err(|source| StoreError::Io { path, source })
    }
}

/// A folder and no other: device, inode, and when it was made, as inodes are used again.
type FolderId = (u64, u64, Option<SystemTime>);

fn folder_id(metadata: &fs::Metadata) -> Option<FolderId> {
    metadata.is_dir().then(|| (metadata.dev(), metadata.ino(), metadata.created().ok()))
}

/// The folders below `accepted/`, whose names are on disk when this returns.
fn folders_on_disk(accepted: &Path) -> io::Result<HashSet<FolderId>> {
    let mut folders = HashSet::new();
    for entry in fs::read_dir(accepted)? {
        folders.extend(folder_id(&entry?.metadata()?));
    }
    durable::sync_dir(accepted)?;
    Ok(folders)
}

/// Name of the lock in `accepted/`.
const LOCK: &str = ".skr-loader.lock";
/// Name of the lock in the state folder, up to version 0.1.
const OLD_LOCK: &str = "skr-loader.lock";

/// Takes the lock at `path`. A loader of an older version holds a lock in the state folder; one that nobody holds is removed, if it is ours.
fn take_lock(state_dir: &Path, path: &Path) -> Result<LockFile, StoreOpenError> {
    let held = |path: PathBuf, holder: Option<u32>| {
        let holder = holder.map_or_else(String::new, |pid| format!(" (process {pid})"));
        StoreOpenError::Locked { path, holder }
    };
    let lock = LockFile::take(path).map_err(|error| match error {
        LockError::File { path, source: open::OpenError::Io(source) } => {
            StoreOpenError::of(state_dir, path, source)
        }
        LockError::Held { path, holder } => held(path, holder),
        other => StoreOpenError::Lock(other),
    })?;
    let old = state_dir.join(OLD_LOCK);
    if old.symlink_metadata().is_ok() {
        match LockFile::take(&old) {
            Err(LockError::Held { path, holder }) => return Err(held(path, holder)),
            // It locks nothing any more, so that one that stays does no harm.
            Ok(_) => drop(durable::remove_each_unsynced(&[&old])),
            // Not of a loader: somebody else has put it there.
            Err(error) => {
                tracing::warn!(%error, "a file has the name of an earlier version's lock, and is left alone")
            }
        }
    }
    Ok(lock)
}

/// The first number from `next` on that no file of the folder has.
fn free_number(dir: &Path, next: u64) -> u64 {
    let is_free = |n: &u64| {
        [store::skr_path(dir, *n), received_path(dir, *n)].iter().all(|path| path.symlink_metadata().is_err())
    };
    (next.max(1)..u64::MAX).find(is_free).unwrap_or(u64::MAX)
}

fn received_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{generation}.received"))
}

fn write_generation(
    dir: &Path,
    (generation, digest): (u64, Digest),
    octets: &[u8],
    received: Option<&[u8]>,
) -> Result<(), StoreError> {
    let write = |path: PathBuf, octets: &[u8]| {
        durable::write(&path, octets, SKR_MODE).map_err(|source| StoreError::Io { path, source })
    };
    if let Some(received) = received {
        write(received_path(dir, generation), received)?;
    }
    write(store::skr_path(dir, generation), octets)?;
    write(dir.join(store::CURRENT), store::format_current(generation, &digest).as_bytes())
}

/// Why a generation was not committed as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The store was not read before. What was in force stays so.
    #[error("the accepted store was not read, and nothing is written to it before it is")]
    NotRead,
    /// It could not be written. What was in force stays so.
    #[error("{0}")]
    NotInForce(#[source] StoreError),
    /// It is in force, and its names could not be synced: a power loss may take them.
    #[error("generation {generation} is in force and may not outlive a power loss: {source}")]
    NotDurable {
        /// Its number.
        generation: u64,
        /// Error of the sync that failed.
        source: StoreError,
    },
    /// It could not be written, and the store could not be read back, so that nobody knows what is in force on disk.
    #[error("{failed}; and the store cannot be read back: {unread}")]
    Unread {
        /// Error of the write that failed.
        failed: StoreError,
        /// Error of the read that failed.
        unread: StoreError,
    },
}

/// Reads what `accepted/` holds for `zone`, and changes nothing there.
#[must_use]
pub fn peek(accepted: &Path, zone: &Name) -> StoreRead {
    read(accepted, zone, false)
}

/// True for an error of the system that may be gone at the next try. A file that is not there does not come back by itself.
pub(crate) fn may_pass(error: &StoreError) -> bool {
    match error {
        StoreError::Io { source, .. } => source.kind() != io::ErrorKind::NotFound,
        _ => false,
    }
}

fn read(accepted: &Path, zone: &Name, tidy: bool) -> StoreRead {
    let dir = zone_dir(accepted, zone);
    match fs::metadata(&dir) {
        // The loader has made `accepted` at its start: where that is gone, too, a file system is not mounted.
        Err(error) if error.kind() == io::ErrorKind::NotFound && (!tidy || accepted.is_dir()) => {
            return StoreRead::Read {
                state: AcceptedState { next: 1, ..AcceptedState::default() },
                damage: None,
            };
        }
        // Not "nothing was accepted yet": it may be there, and not be seen just now.
        Err(source) => {
            return StoreRead::Unread { in_force: None, error: StoreError::Io { path: dir, source } };
        }
        Ok(_) => {}
    }
    let (in_force, damage) = match in_force(accepted, zone) {
        Ok(in_force) => (in_force, None),
        Err(error) if may_pass(&error) => return StoreRead::Unread { in_force: None, error },
        Err(error) => (None, Some(error)),
    };
    let mut state = AcceptedState { in_force, ..AcceptedState::default() };
    match scan(&dir, &mut state, tidy) {
        Ok(()) => {
            // Each of them was in force once, or its first import never ended; nobody can tell which one is.
            let is_lost = damage.is_none() && state.in_force.is_none() && state.next > 1;
            let lost = || StoreError::Damaged { path: dir.join(store::CURRENT), what: CURRENT_LOST };
            StoreRead::Read { state, damage: damage.or_else(|| is_lost.then(lost)) }
        }
        Err(error) => StoreRead::Unread { in_force: state.in_force, error },
    }
}

const CURRENT_LOST: &str = "it is not there, and generations are: nobody can say which of them is in force; restore it from a backup, or accept an SKR anew";

/// A generation that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptGeneration {
    /// Its number.
    pub generation: u64,
    /// SHA-256 of `<generation>.skr`.
    pub digest: Digest,
}

/// The generations of `zone` that are kept and read, up to `in_force` (all when it is not known), oldest first.
#[must_use]
pub fn kept(accepted: &Path, zone: &Name, in_force: Option<u64>) -> Vec<KeptGeneration> {
    let entries = fs::read_dir(zone_dir(accepted, zone)).into_iter().flatten().flatten();
    let of = |path: PathBuf| {
        let generation = generation_of(&path).filter(|n| in_force.is_none_or(|last| *n <= last))?;
        path.extension().filter(|e| *e == "skr")?;
        let file = files::read(&path, NamedBy::Dropper, store::MAX_SKR_OCTETS).ok()?;
        Some(KeptGeneration { generation, digest: digest(&file.octets) })
    };
    let mut kept: Vec<KeptGeneration> = entries.filter_map(|entry| of(entry.path())).collect();
    kept.sort_by_key(|k| k.generation);
    kept
}

/// The octets of a generation, and those of the dropped file where they differ.
pub fn read_kept(
    accepted: &Path,
    zone: &Name,
    generation: u64,
) -> Result<(Vec<u8>, Option<Vec<u8>>), FileError> {
    let dir = zone_dir(accepted, zone);
    let octets =
        files::read(&store::skr_path(&dir, generation), NamedBy::Dropper, store::MAX_SKR_OCTETS)?.octets;
    let received = received_path(&dir, generation);
    // One that is gone or altered is none: what counts is the generation itself.
    let received = files::read(&received, NamedBy::Dropper, store::MAX_SKR_OCTETS).ok();
    Ok((octets, received.map(|file| file.octets)))
}

fn in_force(accepted: &Path, zone: &Name) -> Result<Option<InForce>, StoreError> {
    let Some(current) = store::read_current(accepted, zone)? else { return Ok(None) };
    let skr = bind::parse_skr(&current.octets, zone).map_err(|_| StoreError::Damaged {
        path: store::skr_path(&zone_dir(accepted, zone), current.generation),
        what: "it has the right SHA-256 and does not read as an SKR of this zone; accept an SKR anew",
    })?;
    let mut bundles = skr.bundles;
    bundles.sort_by_key(|b| b.inception);
    Ok(Some(InForce {
        generation: current.generation,
        digest: digest(&current.octets),
        bundles: bundles.into(),
    }))
}

/// Collects the known digests and the next number; tidies up when asked to.
fn scan(dir: &Path, state: &mut AcceptedState, tidy: bool) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: dir.to_owned(), source };
    if tidy {
        durable::sweep_temps(dir).map_err(io)?;
    }
    let in_force = state.in_force.as_ref().map(|f| f.generation);
    let mut highest = in_force.unwrap_or(0);
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let Some(generation) = generation_of(&path) else { continue };
        let Some(in_force) = in_force else {
            // Without `current` nobody can say which of them were accepted: their files stay, and their numbers are not given out again.
            highest = highest.max(generation);
            continue;
        };
        if generation > in_force {
            if tidy {
                durable::remove(&path).map_err(io)?;
            }
            continue;
        }
        if let Some(octets) = read_if_good(&path, store::MAX_SKR_OCTETS)? {
            // A rollback has put the same content in force again: the later number counts.
            let known = state.known.entry(digest(&octets)).or_default();
            *known = generation.max(*known);
        }
    }
    // A number is never given out again: `current` names generations whose files may have been removed since.
    let current = read_if_good(&dir.join(store::CURRENT), 1024)?;
    let named = current.and_then(|octets| store::parse_current(&octets)).map_or(0, |(named, _)| named);
    state.next = highest.max(named).saturating_add(1);
    Ok(())
}

/// The octets of a file; `None` where it is not there, or was made something else from outside.
fn read_if_good(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    match files::read(path, NamedBy::Operator, limit) {
        Ok(file) => Ok(Some(file.octets)),
        Err(FileError::Io(source)) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(FileError::Io(source)) => Err(StoreError::Io { path: path.to_owned(), source }),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "a file of the accepted store does not read");
            Ok(None)
        }
    }
}

fn generation_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".skr").or_else(|| name.strip_suffix(".received"))?;
    stem.parse().ok().filter(|n: &u64| n.to_string() == stem)
}
