//! `keygen`: makes the keys of an interval that do not exist yet.
//!
//! A run holds a lock on the key folder, so that two runs at once make one set of keys. Each key set is written durably,
//! `.private` (which makes the key exist) last; a run that breaks off is completed by the next one, which selects what is there.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keystore::dns::Name;
use keystore::durable;
use keystore::keys::files::{self, Folder, KeyFileError, NewKey, TokenPlace};
use keystore::keys::plan::{self, Holes, Interval, PlanError, PlannedKey};
use keystore::keys::{FLAG_SEP, FLAG_ZONE, KeyFile, Timing};
use keystore::policy::{KeyPolicy, KeyRole, Policy};
use keystore::time::Timestamp;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};

/// Most octets of the name of a key file: those that BIND 9.20 takes, two less than file systems do.
const MAX_FILE_NAME: usize = 253;

/// The keys to make, and the folder for them.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Keygen<'a> {
    /// The key folder.
    pub dir: &'a Path,
    /// The zone; its letter case goes into the `.key` files.
    pub zone: &'a Name,
    /// The policy.
    pub policy: &'a Policy,
    /// [`KeyRole::Zsk`] or [`KeyRole::Ksk`].
    pub role: KeyRole,
    /// The time that the keys are for.
    pub interval: Interval,
    /// What to do where BIND leaves the zone without an active key.
    pub holes: Holes,
    /// Goes into the keys as Created.
    pub now: Timestamp,
    /// What to do where the owner of the folder, or of its keys, could not read the new ones.
    pub owner: OtherOwner,
    /// Tags of keys of the zone that are not in the folder, such as the KSK's, as they are and as they will be once those are revoked
    /// ([`TrustAnchor::tags`](keystore::exchange::TrustAnchor::tags)): no new key gets one of them.
    pub taken_tags: &'a [u16],
}

/// What to do where other users own the key folder or the private keys in it: a new ZSK is readable for this user only (mode 0600).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherOwner {
    /// No key is made.
    Refuse,
    /// Keys are made nonetheless; the caller gives them to their owner.
    Accept,
}

impl<'a> Keygen<'a> {
    /// The keys of a role that a zone needs in an interval, at the time `now`; where BIND would leave the zone without an active
    /// key, one more is made.
    #[must_use]
    pub const fn new(
        dir: &'a Path,
        zone: &'a Name,
        policy: &'a Policy,
        role: KeyRole,
        interval: Interval,
        now: Timestamp,
    ) -> Self {
        let (holes, owner) = (Holes::Fill, OtherOwner::Refuse);
        Self { dir, zone, policy, role, interval, holes, now, owner, taken_tags: &[] }
    }
}

/// Result of a run of `keygen`.
#[derive(Debug)]
#[non_exhaustive]
pub struct KeygenOutcome {
    /// One entry for each round of the plan, in its order.
    pub keys: Vec<PlacedKey>,
    /// All key sets of the zone in the folder by now, sorted by algorithm and tag.
    pub files: Vec<KeyFile>,
    /// Key sets in the folder that are not used, or should be looked at.
    pub warnings: Vec<KeyFileError>,
}

/// The key of one round.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlacedKey {
    /// Name of its files without suffix, `K<zone>+<AAA>+<TTTTT>`.
    pub name: String,
    /// Time of the round.
    pub bundle: Timestamp,
    /// True when the key was made now.
    pub made: bool,
    /// True when BIND would have left this time without an active key.
    pub fills_hole: bool,
}

/// Error of a run of `keygen`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeygenError {
    /// The key folder cannot be opened or locked.
    #[error("cannot open directory {}: {}", path.display(), reason(source))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Error of the system call that failed.
        source: std::io::Error,
    },
    /// The names of the key files would be longer than BIND and file systems take.
    #[error(
        "the name of {zone} is too long for key files: {name} would have {octets} octets, and BIND and file systems take {MAX_FILE_NAME}; \
         BIND does not shorten such names but fails, too; no key is made"
    )]
    NameTooLong {
        /// The zone.
        zone: Name,
        /// The beginning of the name of the `.private` file.
        name: String,
        /// Octets of that name.
        octets: usize,
    },
    /// The signer could not read the new ZSKs.
    #[error(
        "{} belongs to user {owner}, and a ZSK made now would be readable for user {user} only, who runs this: the zone could not be signed with \
         it; run this as user {owner}",
        path.display()
    )]
    OtherOwner {
        /// The key folder, or a private key in it.
        path: PathBuf,
        /// User ID of its owner.
        owner: u32,
        /// User ID of this process.
        user: u32,
    },
    /// No plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The key files cannot be read.
    #[error(transparent)]
    Read(KeyFileError),
    /// A key could not be made or written.
    #[error(
        "{source} ({} key(s) of this run are written and will be used by the next one)", written.len()
    )]
    Generate {
        /// Error of the key that could not be made.
        source: KeyFileError,
        /// Keys written before.
        written: Vec<String>,
    },
}

/// Error of a system call, in the words that BIND has for a missing file.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "file not found".to_owned(),
        _ => error.to_string(),
    }
}

/// Holds the key folder for this process until dropped.
#[derive(Debug)]
pub struct FolderLock(#[allow(dead_code, reason = "closing the file releases the lock")] File);

/// Opens the key folder; the error says so when it is none.
pub fn open_folder(dir: &Path) -> Result<File, KeygenError> {
    let fail = |source: std::io::Error| KeygenError::Folder { path: dir.to_owned(), source };
    // The flag also keeps the opening of a FIFO from waiting for its writer.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty()).map(File::from).map_err(|e| match e {
        rustix::io::Errno::NOTDIR => fail(std::io::ErrorKind::NotADirectory.into()),
        _ => fail(e.into()),
    })
}

/// Locks the key folder against other runs, waiting for them; `waiting` is called once before a wait.
pub fn lock(dir: &Path, waiting: impl FnOnce()) -> Result<FolderLock, KeygenError> {
    let fail = |source: std::io::Error| KeygenError::Folder { path: dir.to_owned(), source };
    let folder = open_folder(dir)?;
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            waiting();
            flock(&folder, FlockOperation::LockExclusive).map_err(|e| fail(e.into()))?;
        }
        Err(e) => return Err(fail(e.into())),
    }
    Ok(FolderLock(folder))
}

/// Selects and makes the keys of an interval. `waiting` is called when another run holds the folder.
pub fn run(keygen: &Keygen<'_>, waiting: impl FnOnce()) -> Result<KeygenOutcome, KeygenError> {
    carry_out(keygen, Purpose::Interval, None, waiting)
}

/// Selects and makes the keys of an interval in a folder that was listed before. The listing is read again only when the folder has
/// changed, so that many zones can share it.
pub fn run_in(
    keygen: &Keygen<'_>,
    folder: &mut Folder,
    waiting: impl FnOnce(),
) -> Result<KeygenOutcome, KeygenError> {
    carry_out(keygen, Purpose::Interval, Some(folder), waiting)
}

/// Makes one standby key for each entry of the policy, where there is none yet: [`plan::standby`].
pub fn standby(keygen: &Keygen<'_>, waiting: impl FnOnce()) -> Result<KeygenOutcome, KeygenError> {
    carry_out(keygen, Purpose::Standby, None, waiting)
}

/// What the keys of a run are for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// To be used in the interval.
    Interval,
    /// To stand by.
    Standby,
}

fn carry_out(
    keygen: &Keygen<'_>,
    purpose: Purpose,
    folder: Option<&mut Folder>,
    waiting: impl FnOnce(),
) -> Result<KeygenOutcome, KeygenError> {
    let Keygen { dir, zone, policy, role, interval, holes, now, owner, .. } = *keygen;
    check_file_name(zone)?;
    let _lock = lock(dir, waiting)?;
    let mut read_now;
    let folder = match folder {
        Some(folder) => {
            folder.refresh().map_err(KeygenError::Read)?;
            folder
        }
        None => {
            read_now = Folder::scan(dir).map_err(KeygenError::Read)?;
            &mut read_now
        }
    };
    if folder.has_temps() {
        // What a run that was killed left.
        let _ = durable::sweep_temps(dir);
        folder.refresh().map_err(KeygenError::Read)?;
    }
    // For ZSKs no private key of a KSK is opened, should one lie there.
    let found = if role == KeyRole::Zsk { folder.find_online(zone) } else { folder.find(zone) };
    let mut keys: Vec<PlacedKey> = Vec::new();
    let mut new_files: Vec<KeyFile> = Vec::new();
    let steps = match purpose {
        Purpose::Interval => plan::keygen(&found.keys, policy, role, interval, holes, now)?,
        Purpose::Standby => plan::standby(&found.keys, policy, role, interval.start, now)?,
    };
    let makes_one = steps.iter().any(|step| matches!(step.key, PlannedKey::Generate(_)));
    if makes_one && role == KeyRole::Zsk && owner == OtherOwner::Refuse {
        check_owner(dir, &found.keys)?;
    }
    for step in steps {
        let (name, made) = match step.key {
            PlannedKey::Selected(key) => (key.base_name(), false),
            PlannedKey::Generate(timing) => match make(keygen, step.entry, timing, folder) {
                Ok(key) => {
                    let name = key.base_name();
                    new_files.push(key);
                    (name, true)
                }
                Err(source) => {
                    let written = keys.into_iter().filter(|key| key.made).map(|key| key.name).collect();
                    return Err(KeygenError::Generate { source, written });
                }
            },
        };
        keys.push(PlacedKey { name, bundle: step.bundle, made, fills_hole: step.fills_hole });
    }
    let mut warnings = found.warnings();
    warnings.extend(found.skipped);
    let mut files = found.keys;
    files.extend(new_files);
    files.sort_by_key(|key| (key.dnskey.algorithm.0, key.dnskey.tag()));
    Ok(KeygenOutcome { keys, files, warnings })
}

/// The key files of the zone have names that BIND reads.
fn check_file_name(zone: &Name) -> Result<(), KeygenError> {
    let name = format!("K{}+000+00000.private", zone.file_name());
    if name.len() <= MAX_FILE_NAME {
        return Ok(());
    }
    let begin: String = name.chars().take(20).collect();
    Err(KeygenError::NameTooLong { zone: zone.clone(), name: format!("{begin}..."), octets: name.len() })
}

/// The folder and the private ZSKs of the zone in it belong to this user, so that whoever reads those can read the new ones.
pub(crate) fn check_owner(dir: &Path, keys: &[KeyFile]) -> Result<(), KeygenError> {
    let user = rustix::process::geteuid().as_raw();
    let zsks = keys.iter().filter(|key| !key.dnskey.is_ksk()).map(KeyFile::private_path);
    for path in std::iter::once(dir.to_owned()).chain(zsks) {
        // A key that has just gone is nobody's.
        let Ok(metadata) = path.metadata() else { continue };
        if metadata.uid() != user {
            return Err(KeygenError::OtherOwner { path, owner: metadata.uid(), user });
        }
    }
    Ok(())
}

/// A key of this role as the policy and its entry want it.
pub(crate) fn new_key<'a>(
    zone: &'a Name,
    policy: &Policy,
    entry: &KeyPolicy,
    role: KeyRole,
    timing: Timing,
) -> NewKey<'a> {
    NewKey {
        zone,
        ttl: policy.dnskey_ttl,
        flags: FLAG_ZONE | if role == KeyRole::Zsk { 0 } else { FLAG_SEP },
        algorithm: entry.algorithm,
        bits: entry.bits,
        tag_range: entry.tag_range.0..=entry.tag_range.1,
        timing,
        state: Some(plan::state(entry)),
    }
}

/// Makes one key, in files or in the token of the entry's key store.
fn make(
    keygen: &Keygen<'_>,
    entry: &KeyPolicy,
    timing: Timing,
    folder: &mut Folder,
) -> Result<KeyFile, KeyFileError> {
    let Keygen { dir, zone, policy, role, now, taken_tags, .. } = *keygen;
    let new = new_key(zone, policy, entry, role, timing);
    match entry.key_store.as_ref().and_then(|store| store.pkcs11_uri.as_deref()) {
        Some(uri) => {
            files::generate_token_key(dir, &new, taken_tags, TokenPlace { uri, policy: &policy.name, now })
        }
        None => files::generate_key_in(folder, &new, taken_tags),
    }
}
