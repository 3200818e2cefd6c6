//! The timer that keeps requests flowing on a host that serves the zone: one look at a time, no thread, no clock of its own.
//!
//! ```text
//! accepted SKR ──coverage──▶ due? ──keygen, request──▶ outbox/ZONE/<start>.ksr ──(ceremony, accepted SKR)──▶ answered/
//!                    key files changed? ──▶ the request is replaced        └──notice──▶ mail, hook
//! ```
//!
//! A request begins *now* and ends one period after the coverage ends. It asks again for what is covered already, so that the
//! answer can replace the SKR in force as a whole (as `named` does it), and so that a ZSK that is new after the old period is
//! published in time inside the overlap. One request is open at a time.
//!
//! Key files are `named`'s and the operator's to change. What they are now is what counts: a request that was made from others is
//! moved aside and made anew (KSR-KEYS-CHANGED), and an accepted SKR that they have left behind makes one due (KSR-COVERAGE-KEYS).
//!
//! [`Rounds`] looks at many zones again and again ([`Timer`]) and tells people ([`Notices`]); [`TimerLock`] keeps a second timer away.

mod fit;
mod hook;
mod lock;
mod mail;
mod notice;
mod outbox;
#[cfg(feature = "daemon")]
mod record;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keystore::config::{Config, KsrConfig, ZoneConfig};
use keystore::dns::Name;
use keystore::durable;
use keystore::exchange::bind::{self, SyntaxError};
use keystore::exchange::{Bundle, UnverifiedSkr};
use keystore::keys::files::{Folder, KeyFileError};
use keystore::keys::plan::{Holes, Interval};
use keystore::policy::{Policy, Role};
use keystore::store::{self, StoreError};
use keystore::time::Timestamp;
use rayon::prelude::*;

use crate::keygen::{self, Keygen, KeygenError};
use crate::request::{self, RequestError};

use outbox::{footer, newest, open_requests, read_request, set_aside};

pub use hook::HookError;
pub use lock::{LockError, TimerLock};
pub use notice::{NoticeError, Notices, Told, Urgency};
pub use outbox::OpenRequest;
#[cfg(feature = "daemon")]
pub use record::{record, record_notice};

/// 2020-01-01: no clock of a host that runs this shows an earlier time and is right.
const EARLIEST: Timestamp = Timestamp::from_secs(1_577_836_800);
/// While key files are damaged a request that is due waits so many seconds for somebody to put them back, before it goes on without.
const REPAIR: u64 = 86_400;

/// What one look at a zone found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was done.
    pub outcome: Outcome,
    /// End of the accepted coverage; `None` = nothing was ever accepted.
    pub coverage_end: Option<Timestamp>,
    /// When the next request must exist.
    pub due: Timestamp,
    /// The open request, if any.
    pub open: Option<OpenRequest>,
    /// Requests that were open before this look and need no answer any more, and why; they lie in `answered/` now.
    pub closed: Vec<(PathBuf, Closed)>,
    /// Names of keys made by this look.
    pub keys_made: Vec<String>,
    /// What the key files are like; `None` = as at the look before.
    pub key_files: Option<KeyFiles>,
    /// What a person should know; one sentence each.
    pub warnings: Vec<String>,
}

/// What one look found in the key folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFiles {
    /// Key sets that are damaged, contradict each other, or have lost their private part.
    pub mismatched: usize,
    /// Private KSK files, which must not be online.
    pub private_ksks: usize,
}

/// What one look did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The coverage is long enough.
    NotDue,
    /// A request is open and waits for its answer.
    Pending,
    /// A request was written.
    Written,
}

/// Why a request needs no answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The accepted SKR covers what it asked for.
    Answered,
    /// Another SKR was accepted, and no request is due.
    Superseded,
    /// The time that it asked for is over.
    Expired,
    /// KSR-KEYS-CHANGED: the key files or the policy are others by now; a new request takes its place.
    KeysChanged,
}

/// Why a look failed. Nothing was replaced; the next look tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TickError {
    /// The clock cannot be right.
    #[error("the clock says {now}, and that cannot be ({why}); no request is made before it is right")]
    Clock {
        /// What it says.
        now: Timestamp,
        /// Against what it was held.
        why: String,
    },
    /// The accepted store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The SKR in the accepted store does not read.
    #[error("the accepted SKR, generation {generation}, {error}")]
    Accepted {
        /// Its number.
        generation: u64,
        /// Where and why.
        error: SyntaxError,
    },
    /// The outbox.
    #[error("{path}: {source}", path = path.display())]
    Outbox {
        /// File or folder.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// KSR-KEY-FILES: what is damaged may be the very key that the request needs.
    #[error(
        "KSR-KEY-FILES: {count} damaged key file(s), such as {first}; the request waits a day for them to be put back or removed"
    )]
    Damaged {
        /// How many.
        count: usize,
        /// What is wrong with the first.
        first: String,
    },
    /// Making keys.
    #[error(transparent)]
    Keygen(#[from] KeygenError),
    /// Reading keys.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Making the request.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Looks at one zone once, with nothing remembered; see [`Timer::look`].
pub fn tick(
    zone: &ZoneConfig,
    config: &KsrConfig,
    state_dir: &Path,
    now: Timestamp,
) -> Result<Report, TickError> {
    Timer::default().look(zone, config, state_dir, now)
}

/// [`Timer`] and [`Notices`] over all zones of a configuration.
#[derive(Debug, Default)]
pub struct Rounds {
    timer: Timer,
    notices: Notices,
}

impl Rounds {
    /// Looks at each zone once and tells of its open request; `each` gets what was found, and no notice where the look failed.
    pub fn round(
        &mut self,
        config: &Config,
        clock: impl Fn() -> Timestamp,
        mut each: impl FnMut(&ZoneConfig, &Result<Report, TickError>, Option<&Told>),
    ) {
        self.timer.begin_round();
        self.timer.read_ahead(config, clock());
        for zone in &config.zones {
            let now = clock();
            let result = self.timer.look(zone, &config.ksr, &config.state_dir, now);
            let told = result.as_ref().ok().map(|report| {
                self.notices.tell(zone, config, report.open.as_ref(), report.coverage_end, now)
            });
            each(zone, &result, told.as_ref());
        }
        // The names of tens of thousands of files are not kept until the next round.
        self.timer.begin_round();
    }

    /// Forgets what was remembered, as after a change of the configuration.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Looks at many zones again and again. Of each it remembers what spares reading its SKR and its keys again: a few numbers, no keys.
#[derive(Debug, Default)]
pub struct Timer {
    zones: HashMap<Name, Memory>,
    /// The key folders of this round, each read once for all zones.
    folders: HashMap<PathBuf, Folder>,
}

/// What is remembered of a zone.
#[derive(Debug, Default)]
struct Memory {
    accepted: Option<(AcceptedMark, Coverage)>,
    judged: Option<Judged>,
    /// What was found and is still to be reported.
    unsaid: Option<(KeyFiles, Vec<String>)>,
}

/// Changes when another generation is accepted, or its files are written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AcceptedMark {
    current: Vec<u8>,
    skr: (u64, u64, i64, i64),
}

/// What the timer needs of an accepted SKR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Coverage {
    end: Timestamp,
    last_inception: Timestamp,
}

/// What was found about the keys, and what it was found about.
#[derive(Debug)]
struct Judged {
    keys: u64,
    accepted: Option<AcceptedMark>,
    open: Option<PathBuf>,
    /// Why the accepted SKR does not fit the keys.
    coverage: Option<String>,
    /// Why the open request does not.
    request: Option<String>,
    /// How many key sets are damaged, and what is wrong with the first.
    damaged: Option<(usize, String)>,
}

impl Timer {
    /// Begins a round: key folders are read anew.
    pub fn begin_round(&mut self) {
        self.folders.clear();
    }

    /// Reads what is to be remembered of the zones that are new, on all cores. What fails is left to [`Self::look`], which reports it.
    fn read_ahead(&mut self, config: &Config, now: Timestamp) {
        let new: Vec<&ZoneConfig> =
            config.zones.iter().filter(|zone| !self.zones.contains_key(&zone.name)).collect();
        for zone in &new {
            if let Entry::Vacant(unknown) = self.folders.entry(zone.key_directory.clone())
                && let Ok(folder) = read_folder(&zone.key_directory)
            {
                unknown.insert(folder);
            }
        }
        let (folders, accepted) = (&self.folders, config.state_dir.join("accepted"));
        let read = |zone: &&ZoneConfig| {
            let folder = folders.get(&zone.key_directory)?;
            let mut memory = Memory::default();
            let (coverage, skr) = memory.coverage(&accepted, &zone.name).ok()?;
            let planned = due(coverage, &zone.policy, config.ksr.lead, now);
            let outbox = store::zone_dir(&config.state_dir.join("outbox"), &zone.name);
            let open = open_requests(&outbox, config.ksr.period).ok()?;
            let open = newest(&open);
            memory.judge(Sides { zone, folder, accepted: &accepted, skr, open, planned, now }).ok()?;
            Some((zone.name.clone(), memory))
        };
        let read: Vec<_> = new.par_iter().filter_map(read).collect();
        self.zones.extend(read);
    }

    /// Looks at one zone: closes requests that are answered, replaces one that does not fit the keys any more, and writes the next
    /// one when it is due.
    ///
    /// `state_dir` holds `accepted/` and `outbox/`. Safe to repeat at any time and after a kill at any moment: keys that exist are
    /// selected again, and a request is in the outbox whole or not at all. A change of a key folder since [`Self::begin_round`] is
    /// seen in the next round.
    pub fn look(
        &mut self,
        zone: &ZoneConfig,
        config: &KsrConfig,
        state_dir: &Path,
        now: Timestamp,
    ) -> Result<Report, TickError> {
        if now < EARLIEST {
            return Err(TickError::Clock { now, why: "it lies before 2020".to_owned() });
        }
        let folder = match self.folders.entry(zone.key_directory.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(read_folder(&zone.key_directory)?),
        };
        let memory = self.zones.entry(zone.name.clone()).or_default();
        let outbox = store::zone_dir(&state_dir.join("outbox"), &zone.name);
        let accepted = state_dir.join("accepted");

        let (coverage, skr) = memory.coverage(&accepted, &zone.name)?;
        let coverage_end = coverage.map(|coverage| coverage.end);
        let planned = due(coverage, &zone.policy, config.lead, now);
        let mut open = open_requests(&outbox, config.period)?;
        if let Some(request) = open.iter().find(|request| request.written > now) {
            let path = request.path.display();
            let why =
                format!("{path} was written later; remove that file if the clock was ahead at the time");
            return Err(TickError::Clock { now, why });
        }
        let sides = Sides { zone, folder, accepted: &accepted, skr, open: newest(&open), planned, now };
        memory.judge(sides)?;
        let (key_files, warnings) = memory.unsaid.take().unzip();
        let judged = memory.judged.as_ref();
        let left_behind = judged.is_some_and(|judged| judged.coverage.is_some());
        let due = if left_behind { planned.min(now) } else { planned };

        let mut closed = Vec::new();
        open.retain(|request| match close_reason(request, coverage_end, due, now) {
            Some(why) => {
                closed.push((request.path.clone(), why));
                false
            }
            None => true,
        });
        for (path, _) in &mut closed {
            *path = set_aside(path).map_err(|source| TickError::Outbox { path: path.clone(), source })?;
        }
        let open = newest(&open).cloned();
        let damaged = judged.and_then(|judged| judged.damaged.clone());
        let changed = judged.and_then(|judged| judged.request.clone());
        // With damaged files nothing is sure: the request stays until they are put back, or removed.
        let replaced = open.clone().zip(changed.filter(|_| damaged.is_none()));
        let mut report = Report {
            outcome: if open.is_some() { Outcome::Pending } else { Outcome::NotDue },
            coverage_end,
            due,
            open,
            closed,
            keys_made: vec![],
            key_files,
            warnings: warnings.unwrap_or_default(),
        };
        if replaced.is_none() && (report.open.is_some() || due > now) {
            return Ok(report);
        }
        if let Some((count, first)) = damaged {
            if coverage.is_some() && now < due.plus(REPAIR) {
                return Err(TickError::Damaged { count, first });
            }
            report.warnings.push(format!("KSR-KEY-FILES: the request goes on without {first}"));
        }
        let end = coverage_end.unwrap_or(now).max(now).plus(u64::from(config.period));
        let made = make_request(zone, folder, &outbox, Interval { start: now, end }, &mut report)?;
        if let Some((old, what)) = replaced {
            let aside = set_aside(&old.path)
                .map_err(|source| TickError::Outbox { path: old.path.clone(), source })?;
            report.warnings.push(format!(
                "KSR-KEYS-CHANGED: the open request {} does not fit the keys any more ({what}); a new one takes its place, see that \
                 the ceremony uses that",
                old.path.display()
            ));
            report.closed.push((aside, Closed::KeysChanged));
        }
        made.commit(&mut report)?;
        // The keys are others by now.
        memory.judged = None;
        Ok(report)
    }
}

fn read_folder(dir: &Path) -> Result<Folder, TickError> {
    // The error of `keygen` says what to do.
    keygen::open_folder(dir)?;
    Ok(Folder::scan(dir)?)
}

/// What is held against each other.
struct Sides<'a> {
    zone: &'a ZoneConfig,
    folder: &'a Folder,
    accepted: &'a Path,
    /// The accepted SKR, where it was read anyway.
    skr: Option<UnverifiedSkr>,
    open: Option<&'a OpenRequest>,
    /// When a request is due by the coverage.
    planned: Timestamp,
    now: Timestamp,
}

impl Memory {
    /// The coverage of the SKR in force, and that itself when it had to be read again.
    fn coverage(
        &mut self,
        accepted: &Path,
        zone: &Name,
    ) -> Result<(Option<Coverage>, Option<UnverifiedSkr>), TickError> {
        let mark = accepted_mark(accepted, zone);
        if let (Some(mark), Some((known, coverage))) = (&mark, &self.accepted)
            && mark == known
        {
            return Ok((Some(*coverage), None));
        }
        let skr = read_accepted(accepted, zone)?;
        let coverage = skr.as_ref().map(|skr| {
            let last = skr.bundles.last();
            Coverage {
                end: last.map_or(Timestamp::EPOCH, Bundle::expiration),
                last_inception: last.map_or(Timestamp::EPOCH, |last| last.inception),
            }
        });
        self.accepted = mark.zip(coverage);
        Ok((coverage, skr))
    }

    /// Holds the keys against the open request and, where none is due by the coverage, against the accepted SKR. Does nothing when
    /// neither has changed since it was done.
    fn judge(&mut self, sides: Sides<'_>) -> Result<(), TickError> {
        let Sides { zone, folder, accepted, skr, open, planned, now } = sides;
        let keys = folder.mark(&zone.name);
        let mark = self.accepted.as_ref().map(|(mark, _)| mark.clone());
        let path = open.map(|request| request.path.clone());
        if self.judged.as_ref().is_some_and(|j| j.keys == keys && j.accepted == mark && j.open == path) {
            return Ok(());
        }
        let skr = match skr {
            Some(skr) => Some(skr),
            None => read_accepted(accepted, &zone.name)?,
        };
        let asked = match open {
            // What is not ours is not judged; the loader and the ceremony do that.
            Some(request) if request.ours => {
                let octets = read_request(&request.path)
                    .map_err(|source| TickError::Outbox { path: request.path.clone(), source })?;
                bind::parse_ksr(&octets, &zone.name).ok()
            }
            _ => None,
        };
        let found = folder.find_online(&zone.name);
        let mut damage: Vec<String> = found.skipped.iter().map(ToString::to_string).collect();
        damage.extend(fit::without_private_part(folder, zone, skr.as_ref(), asked.as_ref(), now));
        let whole = damage.is_empty();
        let coverage = skr
            .as_ref()
            .filter(|_| planned > now)
            .and_then(|skr| fit::against_skr(&skr.bundles, zone, &found.keys, whole, now));
        let request = asked
            .zip(open)
            .and_then(|(asked, open)| fit::against_request(&asked, zone, &found.keys, open.end, now));
        let mut warnings = Vec::new();
        if let Some(what) = &coverage {
            warnings.push(format!(
                "KSR-COVERAGE-KEYS: the accepted SKR does not fit the keys any more ({what}); a request is due now"
            ));
        }
        warnings.extend(damage.iter().map(|what| format!("KSR-KEY-FILES: {what}")));
        let mut private_ksks = 0;
        for key in found.keys.iter().filter(|key| key.dnskey.is_ksk()) {
            private_ksks += 1;
            let path = key.private_path();
            warnings
                .push(format!("KSR-PRIVATE-KSK: {} is a private KSK; move it off this host", path.display()));
        }
        let seen = KeyFiles { mismatched: damage.len(), private_ksks };
        let damaged = damage.into_iter().next().map(|first| (seen.mismatched, first));
        self.judged = Some(Judged { keys, accepted: mark, open: path, coverage, request, damaged });
        self.unsaid = Some((seen, warnings));
        Ok(())
    }
}

/// `None` when nothing is in force, or it is not what the loader writes; then [`store::read_current`] says what is wrong.
fn accepted_mark(accepted: &Path, zone: &Name) -> Option<AcceptedMark> {
    /// `current` has 86 octets at most.
    const LARGEST: u64 = 128;
    let dir = store::zone_dir(accepted, zone);
    let path = dir.join(store::CURRENT);
    let metadata = path.symlink_metadata().ok()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return None;
    }
    let current = fs::read(path).ok()?;
    let (generation, _) = store::parse_current(&current)?;
    let skr = store::skr_path(&dir, generation).symlink_metadata().ok()?;
    Some(AcceptedMark { current, skr: (skr.ino(), skr.len(), skr.mtime(), skr.mtime_nsec()) })
}

/// The SKR in force.
fn read_accepted(dir: &Path, zone: &Name) -> Result<Option<UnverifiedSkr>, TickError> {
    let Some(current) = store::read_current(dir, zone)? else { return Ok(None) };
    bind::parse_skr(&current.octets, zone)
        .map(Some)
        .map_err(|error| TickError::Accepted { generation: current.generation, error })
}

/// When the next request must exist: `lead` before the coverage ends, and before a ZSK that follows the last bundle would have to
/// be published.
fn due(coverage: Option<Coverage>, policy: &Policy, lead: u32, now: Timestamp) -> Timestamp {
    coverage.map_or(now, |coverage| {
        let by_lead = coverage.end.minus(u64::from(lead));
        by_lead.min(coverage.last_inception.minus(policy.prepublication()))
    })
}

fn close_reason(
    request: &OpenRequest,
    coverage_end: Option<Timestamp>,
    due: Timestamp,
    now: Timestamp,
) -> Option<Closed> {
    if coverage_end.is_some_and(|end| end >= request.end) {
        Some(Closed::Answered)
    } else if due > now {
        Some(Closed::Superseded)
    } else if request.end <= now {
        Some(Closed::Expired)
    } else {
        None
    }
}

/// A request that is made and not in the outbox yet.
struct MadeRequest {
    open: OpenRequest,
    text: String,
}

impl MadeRequest {
    /// Puts it there.
    fn commit(self, report: &mut Report) -> Result<(), TickError> {
        let path = &self.open.path;
        durable::write(path, self.text.as_bytes(), 0o644)
            .map_err(|source| TickError::Outbox { path: path.clone(), source })?;
        report.outcome = Outcome::Written;
        report.open = Some(self.open);
        Ok(())
    }
}

/// Makes the keys that are missing, then the request.
fn make_request(
    zone: &ZoneConfig,
    folder: &mut Folder,
    outbox: &Path,
    interval: Interval,
    report: &mut Report,
) -> Result<MadeRequest, TickError> {
    let (dir, policy, now) = (&zone.key_directory, &zone.policy, interval.start);
    let keygen = Keygen { dir, zone: &zone.name, policy, role: Role::Zsk, interval, holes: Holes::Fill, now };
    let made = keygen::run_in(&keygen, folder, || {})?;
    report.keys_made = made.keys.into_iter().filter(|key| key.made).map(|key| key.name).collect();
    report.warnings.extend(made.warnings.iter().map(ToString::to_string));
    let mut ksr = request::request(&made.files, &zone.name, policy, interval, false)?;
    request::prove(&mut ksr, &made.files, interval.end)?;
    let text = bind::print_ksr(&ksr, now, &footer(interval, now));
    let fail = |source| TickError::Outbox { path: outbox.to_owned(), source };
    durable::create_dir_durable(outbox, 0o755).map_err(fail)?;
    let _ = durable::sweep_temps(outbox);
    let path = outbox.join(format!("{}.ksr", interval.start));
    let open = OpenRequest { path, start: interval.start, end: interval.end, written: now, ours: true };
    Ok(MadeRequest { open, text })
}
