//! One look at a zone: what is covered, what is asked for, and the request that is due.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use keystore::config::{Config, KsrConfig, ZoneConfig};
use keystore::dns::Name;
use keystore::durable;
use keystore::exchange::{TrustAnchor, bind, program_with_ttl};
use keystore::keys::files::Folder;
use keystore::keys::plan::Interval;
use keystore::outbox::{OpenRequest, OutboxError, footer, newest, open_requests, read_request};
use keystore::policy::KeyRole;
use keystore::shared::Shared;
use keystore::store;
use keystore::time::Timestamp;
use rayon::prelude::*;

use super::clock::set_aside_requests_of_the_future;
use super::memory::{ComparisonInput, ZoneMemory, due, read_accepted};
use super::outbox::set_aside;
use super::prune::prune;
use super::purge::{NamedKeys, purge};
use super::{Closed, TickError, TimerOutcome, TimerReport};
use crate::PROGRAM;
use crate::keygen::{self, Keygen, KeygenError};
use crate::request::{self, InactiveZsk};

/// 2020-01-01: a clock that shows an earlier time is wrong.
const EARLIEST: Timestamp = Timestamp::from_secs(1_577_836_800);
/// Name of the key folder in the state folder.
const KEYS: &str = "keys";
/// While key files are damaged a request that is due waits so many seconds for somebody to put them back, before it goes on without.
const REPAIR: u64 = DAY;
/// Seconds between two looks for files that are over, and after one that failed.
const DAY: u64 = 86_400;

/// Looks at many zones again and again. Of each it remembers a few numbers, no keys, so that an SKR and key files that have not
/// changed are not read again.
#[derive(Debug, Default)]
pub struct Timer {
    /// Boxed: the table has room for up to twice as many as there are.
    zones: HashMap<Name, Box<ZoneMemory>>,
    /// The key folders of this round, each read once for all zones.
    folders: HashMap<PathBuf, Folder>,
}

impl Timer {
    /// Begins a round: key folders are read anew.
    pub fn begin_round(&mut self) {
        self.folders.clear();
    }

    /// Forgets all zones but these.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&Name) -> bool) {
        self.zones.retain(|zone, _| is_kept(zone));
    }

    /// Reads what is to be remembered of the zones that are new, on all cores. What fails is left to [`Self::look`], which reports it.
    pub(super) fn read_ahead(&mut self, config: &Config, now: Timestamp) {
        let new: Vec<&Shared<ZoneConfig>> =
            config.signed_zones().filter(|zone| !self.zones.contains_key(&zone.name)).collect();
        for zone in &new {
            if let Entry::Vacant(unknown) = self.folders.entry(zone.key_directory.clone())
                && let Ok(folder) = read_folder(&zone.key_directory)
            {
                unknown.insert(folder);
            }
        }
        let (folders, accepted) = (&self.folders, config.state_dir.join("accepted"));
        let read = |zone: &&Shared<ZoneConfig>| {
            let folder = folders.get(&zone.key_directory)?;
            let mut memory = ZoneMemory::default();
            let (coverage, skr) = memory.coverage(&accepted, &zone.name).ok()?;
            let planned = due(coverage, &zone.policy, config.ksr.lead, now);
            let outbox = store::zone_dir(&config.state_dir.join("outbox"), &zone.name);
            let open = open_requests(&outbox, config.ksr.period).ok()?;
            let open = newest(&open);
            memory
                .judge(ComparisonInput { zone, folder, accepted: &accepted, skr, open, planned, now })
                .ok()?;
            Some((zone.name.clone(), Box::new(memory)))
        };
        let read: Vec<_> = new.par_iter().filter_map(read).collect();
        self.zones.extend(read);
    }

    /// Looks at one zone: closes requests that are answered, replaces one that does not fit the keys any more, writes the next one when it
    /// is due, and removes what is over: answered requests, and key files by `purge-keys` of the policy.
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
    ) -> Result<TimerReport, TickError> {
        let mut report = self.look_at_requests(zone, config, state_dir, now)?;
        self.remove_what_is_over(zone, config, state_dir, now, &mut report);
        Ok(report)
    }

    /// Removes answered requests beyond the limits, once a day and when one was closed, and the files of keys that are over. What fails is a
    /// warning, and tried again after a day.
    fn remove_what_is_over(
        &mut self,
        zone: &ZoneConfig,
        config: &KsrConfig,
        state_dir: &Path,
        now: Timestamp,
        report: &mut TimerReport,
    ) {
        let Some(memory) = self.zones.get_mut(&zone.name) else { return };
        let outbox = store::zone_dir(&state_dir.join("outbox"), &zone.name);
        let is_due = memory.pruned.is_none_or(|at| now < at || now.since(at) >= DAY);
        if is_due || !report.closed.is_empty() {
            memory.pruned = Some(now);
            let pruned = prune(&outbox, config, now);
            report.requests_removed = pruned.requests;
            if let Some((path, error)) = pruned.error {
                let path = path.display();
                report.warnings.push(format!(
                    "{path}: old requests cannot be removed: {error}; it is tried again in a day"
                ));
            }
        }
        if !memory.purge_is_due(now) {
            return;
        }
        let Some(folder) = self.folders.get_mut(&zone.key_directory) else { return };
        memory.purge_after = Some(now.plus(DAY));
        let named = match names_of(zone, config, &state_dir.join("accepted"), &outbox) {
            Ok(named) => named,
            Err(error) => {
                report
                    .warnings
                    .push(format!("no key files are removed before what names them can be read: {error}"));
                return;
            }
        };
        let keys = folder.find_online(&zone.name).keys;
        let (removed, error) = purge(folder, &keys, &named, &zone.policy, now);
        if !removed.is_empty() {
            // What is there now is judged at the next look.
            memory.judged = None;
        }
        report.keys_removed = removed;
        match error {
            Some(error) => report
                .warnings
                .push(format!("old key files cannot be removed: {error}; it is tried again in a day")),
            None => memory.purge_after = None,
        }
    }

    /// What [`Self::look`] does for the requests of a zone.
    fn look_at_requests(
        &mut self,
        zone: &ZoneConfig,
        config: &KsrConfig,
        state_dir: &Path,
        now: Timestamp,
    ) -> Result<TimerReport, TickError> {
        if now < EARLIEST {
            return Err(TickError::Clock { now, why: "it lies before 2020".to_owned() });
        }
        let folder = match self.folders.entry(zone.key_directory.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(open_folder(zone, state_dir)?),
        };
        let memory = self.zones.entry(zone.name.clone()).or_default();
        let outbox = store::zone_dir(&state_dir.join("outbox"), &zone.name);
        let accepted = state_dir.join("accepted");

        let (coverage, skr) = memory.coverage(&accepted, &zone.name)?;
        let coverage_end = coverage.map(|coverage| coverage.end);
        let planned = due(coverage, &zone.policy, config.lead, now);
        let mut open = open_requests(&outbox, config.period)?;
        let begin = coverage.map(|coverage| coverage.begin);
        let mut closed = set_aside_requests_of_the_future(&mut open, begin, now)?;
        let sides =
            ComparisonInput { zone, folder, accepted: &accepted, skr, open: newest(&open), planned, now };
        memory.judge(sides)?;
        let (key_files, warnings) = memory.unsaid.take().unzip();
        let judged = memory.judged.as_ref();
        let left_behind = judged.is_some_and(|judged| judged.coverage.is_some());
        let due = if left_behind { planned.min(now) } else { planned };
        closed.extend(close(&mut open, |request| close_reason(request, coverage_end, due, now))?);
        let open = newest(&open).cloned();
        let damaged = judged.and_then(|judged| judged.damaged.clone());
        let changed = judged.and_then(|judged| judged.request.clone());
        // With damaged files nothing is sure: the request stays until they are put back, or removed.
        let replaced = open.clone().zip(changed.filter(|_| damaged.is_none()));
        let mut report = TimerReport {
            outcome: if open.is_some() { TimerOutcome::Pending } else { TimerOutcome::NotDue },
            coverage_end,
            due,
            open,
            closed,
            keys_made: vec![],
            keys_removed: vec![],
            requests_removed: 0,
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
        let made = make_request(zone, folder, state_dir, &outbox, Interval { start: now, end }, &mut report)?;
        if let Some((old, what)) = replaced {
            let aside = set_aside_in_outbox(&old.path)?;
            report.warnings.push(format!(
                "KSR-KEYS-CHANGED: the open request {} does not fit the keys any more ({what}); a new one takes its place, see that \
                 the ceremony uses that",
                old.path.display()
            ));
            report.closed.push((aside, Closed::KeysChanged));
        }
        made.commit(&mut report)?;
        // A key may have been made: the key files are judged again at the next look.
        memory.judged = None;
        Ok(report)
    }
}

/// The keys that the SKR in force or an open request names. A request that does not read is an error: nobody knows what it names.
fn names_of(
    zone: &ZoneConfig,
    config: &KsrConfig,
    accepted: &Path,
    outbox: &Path,
) -> Result<NamedKeys, TickError> {
    let mut named = NamedKeys::default();
    if let Some(skr) = read_accepted(accepted, &zone.name)? {
        named.add_skr(&skr.bundles);
    }
    for open in open_requests(outbox, config.period)? {
        let unread = |source| OutboxError { path: open.path.clone(), source };
        let octets = read_request(&open.path).map_err(unread)?;
        let request = bind::parse_ksr(&octets, &zone.name).map_err(|error| {
            unread(std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string()))
        })?;
        named.add_request(&request);
    }
    Ok(named)
}

/// Moves the requests for which `why` has a reason to `answered/`; what stays open is left in `open`.
fn close(
    open: &mut Vec<OpenRequest>,
    why: impl Fn(&OpenRequest) -> Option<Closed>,
) -> Result<Vec<(PathBuf, Closed)>, TickError> {
    let (mut closed, mut left) = (Vec::new(), Vec::new());
    for request in open.drain(..) {
        match why(&request) {
            Some(why) => closed.push((set_aside_in_outbox(&request.path)?, why)),
            None => left.push(request),
        }
    }
    *open = left;
    Ok(closed)
}

fn set_aside_in_outbox(path: &Path) -> Result<PathBuf, TickError> {
    set_aside(path).map_err(|source| OutboxError { path: path.to_owned(), source }.into())
}

/// Lists the key folder of a zone. The one in the state folder is made at the first start; one that the configuration names must be
/// there, since a new folder in its place would hide the keys.
fn open_folder(zone: &ZoneConfig, state_dir: &Path) -> Result<Folder, TickError> {
    let dir = &zone.key_directory;
    let is_missing = dir.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
    if is_missing && *dir == state_dir.join(KEYS) {
        durable::create_dir_durable(dir, 0o700)
            .map_err(|source| KeygenError::Folder { path: dir.clone(), source })?;
    }
    read_folder(dir)
}

fn read_folder(dir: &Path) -> Result<Folder, TickError> {
    // The error of `keygen` says what to do.
    keygen::open_folder(dir)?;
    Ok(Folder::scan(dir)?)
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
    fn commit(self, report: &mut TimerReport) -> Result<(), TickError> {
        let path = &self.open.path;
        durable::write(path, self.text.as_bytes(), 0o644)
            .map_err(|source| OutboxError { path: path.clone(), source })?;
        report.outcome = TimerOutcome::Written;
        report.open = Some(self.open);
        Ok(())
    }
}

/// Makes the keys that are missing, then the request.
fn make_request(
    zone: &ZoneConfig,
    folder: &mut Folder,
    state_dir: &Path,
    outbox: &Path,
    interval: Interval,
    report: &mut TimerReport,
) -> Result<MadeRequest, TickError> {
    let (dir, now) = (&zone.key_directory, interval.start);
    let largest_ttl = store::largest_ttl(state_dir, &zone.name)?;
    let policy = &zone.policy.reckoning_with(largest_ttl);
    // The signer's note may be older than the policy.
    let larger_ttl = largest_ttl.filter(|ttl| *ttl > zone.policy.effective_max_zone_ttl());
    let taken_tags: Vec<u16> =
        zone.anchors.iter().chain(&zone.announced).flat_map(TrustAnchor::tags).collect();
    let keygen = Keygen {
        taken_tags: &taken_tags,
        ..Keygen::new(dir, &zone.name, policy, KeyRole::Zsk, interval, now)
    };
    let made = keygen::run_in(&keygen, folder, || {})?;
    report.keys_made = made.keys.into_iter().filter(|key| key.made).map(|key| key.name).collect();
    report.warnings.extend(made.warnings.iter().map(ToString::to_string));
    let mut ksr = request::request(&made.files, &zone.name, policy, interval, InactiveZsk::Refuse)?;
    request::prove(&mut ksr, &made.files, interval.end)?;
    let program = program_with_ttl(PROGRAM, larger_ttl);
    let text = bind::print_ksr(&ksr, now, &footer(&program, interval, now));
    let fail = |source| OutboxError { path: outbox.to_owned(), source };
    durable::create_dir_durable(outbox, 0o755).map_err(fail)?;
    let _ = durable::sweep_temps(outbox);
    let path = outbox.join(format!("{}.ksr", interval.start));
    let open = OpenRequest { path, start: interval.start, end: interval.end, written: now, ours: true };
    Ok(MadeRequest { open, text })
}
