//! Keeps the lease while this host is the active one, and watches it while it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keystore::clock;
use keystore::config::Config;
use keystore::config::pair::PairConfig;
use keystore::config::transfer::NotifyTarget;
use keystore::dns::Name;
use keystore::lock::LockFile;
use keystore::pair::{
    Fence, Generation, Lease, LeaseError, LeaseFolder, Moment, Origin, Sighting, Skipped, Stage, origin,
};
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::condition::{ConditionId, Severity};
use metrics::health::gather::OwnReport;
use metrics::health::report::{Component, ComponentReport, ReportedCondition};
use metrics::health::revision::Revision;

use super::{node, serials, state_lock};

/// Pause between two looks at the lease.
const PAUSE: Duration = Duration::from_millis(500);
/// Time between two tries to become active.
const RETRY: Duration = Duration::from_secs(1);
/// How long secondaries may take to say which serials they have, before this host becomes active and after.
const LOOK: Duration = Duration::from_secs(3);
/// How long the end of the threads is waited for: the storage of the lease may hang.
const STOP: Duration = Duration::from_secs(5);
/// Most zones that are asked about again at one renewal.
const ASKED_AGAIN: usize = 200;
/// Zones that a condition names.
const NAMED: usize = 3;

/// What this host is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It makes nothing.
    Standby,
    /// It is active, by this takeover.
    Active(Generation),
}

/// How this host stands in its pair. Clones share it.
#[derive(Debug, Clone)]
pub struct PairStanding(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pair: PairConfig,
    fence: Fence,
    revision: Revision,
    started: Timestamp,
    values: Mutex<Values>,
}

#[derive(Debug)]
struct Values {
    role: Role,
    /// True while no part runs that works on the state folder.
    is_idle: bool,
    /// Held from before the parts start until they have ended: no copy is put into the folder under them.
    lock: Option<LockFile>,
    config: Arc<Config>,
    lease: Option<Lease>,
    /// Why the lease cannot be read or renewed, or why this host cannot begin.
    trouble: Option<String>,
    /// Zones of which a secondary has what no host with this state has published, with the secondary.
    conflicts: BTreeMap<(Name, SocketAddr), String>,
    /// Zones of which the takeover found no serial to go on from.
    held: BTreeSet<Name>,
    /// Zones of which no secondary has said yet which serial it has.
    unheard: BTreeSet<Name>,
    /// Since when the condition holds that is reported.
    since: Option<(ConditionId, Timestamp)>,
}

impl PairStanding {
    fn new(pair: &PairConfig, config: Config, fence: Fence, now: Timestamp) -> Self {
        Self(Arc::new(Shared {
            pair: pair.clone(),
            fence,
            revision: Revision::default(),
            started: now,
            values: Mutex::new(Values {
                role: Role::Standby,
                is_idle: true,
                lock: None,
                config: Arc::new(config),
                lease: None,
                trouble: None,
                conflicts: BTreeMap::new(),
                unheard: BTreeSet::new(),
                held: BTreeSet::new(),
                since: None,
            }),
        }))
    }

    /// What this host is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.values().role
    }

    /// When versions may be published.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.0.fence.clone()
    }

    /// Changes with what is reported.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.0.revision.clone()
    }

    /// The zones and secondaries of this configuration count from now on.
    pub fn set_config(&self, config: &Config) {
        self.values().config = Arc::new(config.clone());
    }

    /// No part works on the state folder any more: this host may become active, and the folder may be replaced.
    pub fn set_idle(&self) {
        let mut values = self.values();
        values.is_idle = true;
        if values.role == Role::Standby {
            values.lock = None;
        }
    }

    /// What is reported at `now`; writes the metrics, too.
    #[must_use]
    pub fn report(&self, now: Timestamp, metrics: &Metrics) -> OwnReport {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut values = self.values();
        let is_active = matches!(values.role, Role::Active(_)) && self.0.fence.permits();
        let lease = values.lease.as_ref();
        metrics.pair_active.set(i64::from(is_active));
        metrics.pair_generation.set(lease.map_or(0, |lease| signed(lease.generation.number())));
        metrics
            .pair_lease_expires_timestamp_seconds
            .set(lease.map_or(0, |lease| signed(lease.expires.secs())));
        let found = self.condition(&values, now);
        let since = match (&found, values.since) {
            (None, _) => None,
            (Some((id, ..)), Some((known, since))) if *id == known => Some((known, since)),
            (Some((id, ..)), _) => Some((*id, now)),
        };
        values.since = since;
        let condition = found.zip(since).map(|((id, severity, what), (_, since))| ReportedCondition {
            id,
            zone: None,
            subject: None,
            severity,
            since,
            what,
        });
        let report = ComponentReport {
            is_standby: values.role == Role::Standby,
            conditions: condition.into_iter().collect(),
            ..ComponentReport::new(Component::Pair, self.0.started, now)
        };
        OwnReport { report, zones: Arc::default() }
    }

    /// What is the matter, if anything is.
    fn condition(&self, values: &Values, now: Timestamp) -> Option<(ConditionId, Severity, String)> {
        let trouble = values.trouble.as_deref();
        if let Role::Active(generation) = values.role {
            if !self.0.fence.permits() {
                let what = format!(
                    "Host {} is active by takeover {generation} and has no lease now: {}.",
                    self.0.pair.host,
                    trouble.unwrap_or("it was not renewed in time")
                );
                return Some((ConditionId::LeaseLost, Severity::Critical, what));
            }
            return Self::conflict(values).map(|what| (ConditionId::PairConflict, Severity::Critical, what));
        }
        let (severity, what) = match (&values.lease, trouble) {
            (Some(lease), Some(cause)) if lease.host == self.0.pair.host => (
                Severity::Critical,
                format!("The lease names this host, {}, and it cannot become active: {cause}", lease.host),
            ),
            (_, Some(cause)) => (Severity::Critical, format!("The lease cannot be read: {cause}")),
            (None, None) => (Severity::Critical, "No host of the pair has taken over yet".to_owned()),
            (Some(lease), None) => {
                let is_over = lease.until(self.0.pair.clock_margin) <= now;
                let what = format!(
                    "Host {} is the active one by takeover {}, with a lease until {}{}",
                    lease.host,
                    lease.generation,
                    lease.expires.iso(),
                    if is_over { ", which has ended: no host is active" } else { "" }
                );
                (if is_over { Severity::Critical } else { Severity::Attention }, what)
            }
        };
        Some((ConditionId::NotActive, severity, format!("{what}.")))
    }

    /// The zones of which nothing is published, and why.
    fn conflict(values: &Values) -> Option<String> {
        let held =
            values.held.iter().map(|zone| format!("the takeover found no serial of {zone} to go on from"));
        let all: Vec<String> = values.conflicts.values().cloned().chain(held).collect();
        let more =
            if all.len() > NAMED { format!("; and {} more", all.len() - NAMED) } else { String::new() };
        let named = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
        (!all.is_empty()).then(|| format!("Another host is or was active: {named}{more}."))
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was found, and tells of it when it is new.
    fn note(&self, lease: Option<Lease>, trouble: Option<String>) {
        let host = &self.0.pair.host;
        let mut values = self.values();
        if values.trouble != trouble {
            match &trouble {
                Some(cause) => tracing::warn!(host, "the lease of the pair: {cause}"),
                None => tracing::info!(host, "the lease of the pair is in order again"),
            }
            values.trouble = trouble;
            self.0.revision.change();
        }
        let told = |lease: &Option<Lease>| lease.as_ref().map(|l| (l.host.clone(), l.generation));
        if told(&values.lease) != told(&lease) {
            self.0.revision.change();
        }
        values.lease = lease;
    }

    /// Notes what secondaries have said. No version is published of a zone of which one has a later serial than this host ever published, until that
    /// one says otherwise or is configured no more; that it is silent ends nothing.
    fn note_sightings(&self, sightings: &[Sighting]) {
        let mut values = self.values();
        let mut conflicts = values.conflicts.clone();
        let mut unheard: BTreeSet<Name> = sightings.iter().map(|sighting| sighting.zone.clone()).collect();
        for sighting in sightings {
            let key = (sighting.zone.clone(), sighting.secondary);
            if let Some(what) = serials::conflict(sighting) {
                if conflicts.insert(key, what.clone()).is_none() {
                    tracing::error!(zone = %sighting.zone, condition = %ConditionId::PairConflict, "{what}; nothing of the zone is published");
                }
            } else if matches!(sighting.seen, Ok(Some(_))) {
                conflicts.remove(&key);
            }
            if matches!(sighting.seen, Ok(Some(_))) {
                unheard.remove(&sighting.zone);
            }
        }
        let served: BTreeMap<&Name, &[NotifyTarget]> = serials::served(&values.config).collect();
        let is_told = |zone: &Name, address: SocketAddr| {
            served.get(zone).is_some_and(|notify| notify.iter().any(|target| target.address == address))
        };
        conflicts.retain(|(zone, address), _| is_told(zone, *address));
        let asked: BTreeSet<&Name> = sightings.iter().map(|sighting| &sighting.zone).collect();
        unheard.extend(values.unheard.iter().filter(|zone| !asked.contains(zone)).cloned());
        unheard.retain(|zone| served.contains_key(zone));
        let zones = conflicts.keys().map(|(zone, _)| zone).chain(&values.held);
        self.0.fence.hold(zones.cloned().collect());
        if values.conflicts != conflicts {
            self.0.revision.change();
        }
        (values.conflicts, values.unheard) = (conflicts, unheard);
    }

    /// Zones that secondaries are asked about again, not too many at once.
    fn to_ask(&self) -> BTreeSet<Name> {
        let values = self.values();
        let held = values.conflicts.keys().map(|(zone, _)| zone);
        held.chain(&values.unheard).take(ASKED_AGAIN).cloned().collect()
    }

    /// Forgets what secondaries have said: another host is active.
    fn forget_sightings(&self) {
        let mut values = self.values();
        self.0.fence.hold(BTreeSet::new());
        (values.conflicts, values.unheard, values.held) = <_>::default();
    }

    fn set_role(&self, role: Role) {
        let mut values = self.values();
        values.role = role;
        // Until whoever works has ended.
        values.is_idle = false;
        self.0.revision.change();
    }
}

/// The thread that keeps the lease.
#[derive(Debug)]
pub struct Keeper {
    standing: PairStanding,
    folder: LeaseFolder,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Begins as the standby; what the lease says of this host follows from the first look.
    pub fn start(path: &Path, pair: &PairConfig, config: &Config) -> Result<Self> {
        let fence = Fence::closed(moment);
        let standing = PairStanding::new(pair, config.clone(), fence, clock::now());
        let folder = LeaseFolder::new(&pair.lease_directory);
        let mut machine = Machine {
            pair: pair.clone(),
            node: node(),
            state_dir: config.state_dir.clone(),
            folder: folder.clone(),
            standing: standing.clone(),
            look: Box::new(serials::look),
            clock: Box::new(moment),
            skipped: Vec::new(),
            written: Vec::new(),
            twin: None,
            renewed: None,
            retry_at: None,
        };
        tracing::info!(file = %path.display(), host = pair.host, "this host is one of a pair");
        // Whoever only restarts goes on at once as what it was.
        machine.step();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let keep = move || {
            while !stopped.load(Ordering::Relaxed) {
                machine.step();
                std::thread::sleep(PAUSE);
            }
        };
        let thread = std::thread::Builder::new().name("pair".to_owned()).spawn(keep);
        Ok(Self { standing, folder, stop, thread: thread.context("the system gives no thread")? })
    }

    /// How this host stands.
    #[must_use]
    pub fn standing(&self) -> PairStanding {
        self.standing.clone()
    }

    /// Ends the thread, and gives the lease back if this host is active; call it when no part publishes any more.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.standing.0.fence.close();
        let until = Instant::now() + STOP;
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let (role, lease) = (self.standing.role(), self.standing.values().lease.clone());
        let (Role::Active(_), Some(lease), true) = (role, lease, self.thread.is_finished()) else { return };
        if let Err(error) = self.folder.renew(&lease, &lease.given_back(clock::now())) {
            tracing::warn!(%error, "the lease could not be given back; the other host can take over when it has ended");
        }
    }
}

/// Now, by both clocks.
fn moment() -> Moment {
    Moment { wall: clock::now(), boot: clock::since_boot() }
}

/// Asks secondaries for their serials: of all zones, or of some, for so long.
type Look = dyn Fn(&Config, Option<&BTreeSet<Name>>, Duration) -> Vec<Sighting> + Send;

/// Decides what this host is, look by look.
struct Machine {
    pair: PairConfig,
    node: String,
    state_dir: PathBuf,
    folder: LeaseFolder,
    standing: PairStanding,
    look: Box<Look>,
    clock: Box<dyn Fn() -> Moment + Send>,
    /// What has the name of a lease and is none; told when it was first seen.
    skipped: Vec<Skipped>,
    /// The lease as this process has written it last, and as it has tried to.
    written: Vec<Lease>,
    /// A lease of this host that another process has written.
    twin: Option<Lease>,
    /// When the lease was last renewed.
    renewed: Option<Moment>,
    /// Earliest time of the next try to become active, since boot.
    retry_at: Option<Duration>,
}

impl Machine {
    fn step(&mut self) {
        for skipped in self.newly_skipped() {
            tracing::warn!(host = self.pair.host, "{skipped}");
        }
        match self.standing.role() {
            Role::Standby => self.watch(),
            Role::Active(generation) => self.keep(generation),
        }
    }

    /// What is skipped in the folder of the leases and was not told before. That the folder cannot be read is told by who needs a lease.
    fn newly_skipped(&mut self) -> Vec<Skipped> {
        let Ok(listing) = self.folder.list() else { return Vec::new() };
        let before = std::mem::replace(&mut self.skipped, listing.skipped);
        self.skipped.iter().filter(|skipped| !before.contains(skipped)).cloned().collect()
    }

    /// Follows the lease of the other host; becomes active when it names this one.
    fn watch(&mut self) {
        let lease = match self.folder.read() {
            Ok(Some(lease)) if lease.host == self.pair.host => lease,
            Ok(other) => return self.standing.note(other, None),
            Err(error) => return self.hinder(error.to_string()),
        };
        let now = (self.clock)();
        if self.retry_at.is_some_and(|at| now.boot < at) || !self.standing.values().is_idle {
            return;
        }
        self.retry_at = None;
        match self.become_active(&lease) {
            Ok((renewed, at, lock)) => {
                tracing::info!(host = lease.host, generation = %lease.generation, "this host is the active one");
                self.twin = None;
                self.standing.values().lock = Some(lock);
                self.open(renewed, at);
                self.standing.set_role(Role::Active(lease.generation));
            }
            Err(cause) => {
                self.retry_at = Some(now.boot + RETRY);
                self.standing.note(Some(lease), Some(cause));
            }
        }
    }

    /// Makes sure that the state is that of the takeover and the host before publishes no more; asks the secondaries, and renews the lease.
    fn become_active(&mut self, lease: &Lease) -> Result<(Lease, Moment, LockFile), String> {
        let lock = state_lock(&self.state_dir).map_err(|error| error.to_string())?;
        let found = origin::read(&self.state_dir, &self.pair.host).map_err(|error| error.to_string())?;
        if found != Origin::Own(lease.generation) {
            return Err(format!(
                "the state folder is not that of takeover {}: look at offline-ksk pair status, and run offline-ksk takeover again",
                lease.generation
            ));
        }
        let is_twins = !lease.is_of(&self.pair.host, &self.node)
            || self.twin.as_ref().is_some_and(|twin| twin.generation == lease.generation);
        if is_twins && (self.clock)().wall < lease.until(self.pair.clock_margin) {
            return Err(format!(
                "the machine {} has a lease as host {} that has not ended: each host of a pair has a name of its own",
                lease.node, lease.host
            ));
        }
        let before = if lease.forced { Ok(None) } else { self.folder.read_before(lease.generation) };
        if let Some(before) = before.map_err(|error| error.to_string())?
            && before.host != self.pair.host
            && (self.clock)().wall < before.until(self.pair.clock_margin)
        {
            return Err(format!("the lease of host {} has not ended", before.host));
        }
        self.standing.values().held =
            origin::read_held(&self.state_dir).map_err(|error| error.to_string())?;
        let config = Arc::clone(&self.standing.values().config);
        let sightings = (self.look)(&config, None, LOOK);
        self.standing.note_sightings(&sightings);
        let (renewed, at) = self.renew(lease).map_err(|error| error.to_string())?;
        Ok((renewed, at, lock))
    }

    /// Renews the lease when that is due, and ends when there is a later takeover.
    fn keep(&mut self, generation: Generation) {
        let lease = match self.folder.read() {
            // Another process with the name and the boot of this one has written what this one has not: a clone of this machine.
            Ok(Some(lease)) if self.written.contains(&lease) => lease,
            Ok(Some(other)) if other.generation >= generation => return self.lose(other),
            Ok(Some(older)) => {
                return self.hinder(format!(
                    "the newest lease is of takeover {}, and this host is active by takeover {generation}: an older folder was put in place",
                    older.generation
                ));
            }
            Ok(None) => {
                return self.hinder(LeaseError::Missing(self.pair.lease_directory.clone()).to_string());
            }
            Err(error) => return self.hinder(error.to_string()),
        };
        let now = (self.clock)().boot;
        let renew = Duration::from_secs(self.pair.renew.into());
        let passed = self.renewed.and_then(|renewed| now.checked_sub(renewed.boot));
        if passed.is_some_and(|passed| passed < renew) {
            return;
        }
        match self.renew(&lease) {
            Ok((renewed, at)) => self.open(renewed, at),
            Err(LeaseError::Superseded(other)) => return self.lose(other),
            Err(error) => return self.hinder(error.to_string()),
        }
        let again = self.standing.to_ask();
        if !again.is_empty() {
            let config = Arc::clone(&self.standing.values().config);
            let sightings = (self.look)(&config, Some(&again), LOOK.min(renew));
            self.standing.note_sightings(&sightings);
        }
    }

    /// Writes the lease with a later end. The moment was taken before: however long the writing takes, it counts.
    fn renew(&mut self, lease: &Lease) -> Result<(Lease, Moment), LeaseError> {
        let at = (self.clock)();
        let expires = at.wall.plus(self.pair.lease_duration.into());
        let node = self.node.clone();
        let renewed = Lease { node, renewed: at.wall, expires, stage: Stage::Begun, ..lease.clone() };
        // Where the writing fails it is not known whether this is there.
        self.written = vec![lease.clone(), renewed.clone()];
        self.folder.renew(lease, &renewed)?;
        self.written = vec![renewed.clone()];
        Ok((renewed, at))
    }

    fn open(&mut self, renewed: Lease, at: Moment) {
        self.renewed = Some(at);
        self.standing.0.fence.open(at, Duration::from_secs(self.pair.lease_duration.into()));
        self.standing.note(Some(renewed), None);
    }

    /// The lease could not be read or renewed now. It ends by itself.
    fn hinder(&self, cause: String) {
        let known = self.standing.values().lease.clone();
        self.standing.note(known, Some(cause));
    }

    /// Another host is the active one, or this one by another takeover.
    fn lose(&mut self, other: Lease) {
        self.standing.0.fence.close();
        tracing::error!(
            host = self.pair.host, active = other.host, generation = %other.generation,
            "another takeover has made a host active: this one ends what it does"
        );
        (self.renewed, self.retry_at) = (None, None);
        self.written.clear();
        // Whoever has written this lease under the name of this host is waited for.
        self.twin = (other.host == self.pair.host).then(|| other.clone());
        self.standing.note(Some(other), None);
        self.standing.forget_sightings();
        self.standing.set_role(Role::Standby);
    }
}

#[cfg(test)]
mod tests;
