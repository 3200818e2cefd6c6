//! Watches the parent of each zone: tells it when the bundle that comes into force has other CDS or CDNSKEY records than the one before: NOTIFY(CDS)
//! to the receiver that the parent's DSYNC records name (RFC 9859).
//!
//! ```text
//! bundle with other CDS records comes into force ─▶ every server of the zone serves them ─▶ DSYNC look-up ─▶ NOTIFY(CDS) ─▶ note
//! ```
//!
//! It runs the commands of `[parent]` when the DS record of a KSK may come, has come, and is gone (`hooks`).
//!
//! It goes by the accepted generation and by what the servers answer, so that it is the same whether this host, named or Knot serves.
//!
//! **Invariant:** the loader's loop never waits for the network here.
//! **Invariant:** only DSYNC records that the resolver has validated are used.

mod ds;
mod dsync;
mod event;
mod hooks;
mod note;
mod pauses;
mod resolver;
mod servers;
mod telling;
#[cfg(test)]
mod tests;
mod wish;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keystore::clock;
use keystore::config::{Config, ParentConfig};
use keystore::dns::Name;
use keystore::time::Timestamp;
use metrics::Metrics;

use crate::standing::LoaderStatus;
use crate::store::InForce;
use resolver::ResolverNetwork;
use zone::{DueTime, WatchedZone};

/// Zones that are worked on at once: each may wait some seconds for servers.
const THREADS: usize = 4;
/// Most of them that work on zones whose pause is over: one is left for a bundle that comes into force, however many parents do not answer.
const THREADS_FOR_PAUSES: usize = THREADS - 1;
/// Longest wait, so that a clock that was set is noticed.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Watches the parents; dropping it ends that.
#[derive(Debug)]
pub struct ParentWatch {
    metrics: Metrics,
    standing: LoaderStatus,
    running: Option<Running>,
}

/// The threads with one set of settings.
#[derive(Debug)]
struct Running {
    settings: Settings,
    shared: Arc<Shared>,
}

/// What the watch goes by; other settings begin it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    state_dir: PathBuf,
    parent: ParentConfig,
    resolver: std::net::SocketAddr,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    is_stopped: AtomicBool,
    /// True when nothing that the threads find counts any more.
    is_closed: Mutex<bool>,
}

/// The zones, and which is due.
#[derive(Debug, Default)]
struct Queue {
    /// Those that no thread works on.
    zones: BTreeMap<Name, WatchedZone>,
    /// What came for the others meanwhile; `None` = the zone has left.
    arrived: BTreeMap<Name, Option<Arc<InForce>>>,
    at_work: BTreeSet<Name>,
    /// Those of them whose pause was over.
    after_pause: BTreeSet<Name>,
    by_clock: BTreeSet<(Timestamp, Name)>,
    by_pause: BTreeSet<(Instant, Name)>,
    /// In which of both sets a zone is, and where.
    due: BTreeMap<Name, DueAt>,
}

/// When a zone is due.
#[derive(Debug, Clone, Copy)]
enum DueAt {
    Clock(Timestamp),
    Instant(Instant),
}

impl Settings {
    /// `None` where nobody is to be told, or can be.
    fn of(config: &Config) -> Option<Self> {
        let has_work = config.parent.notify_cds || config.parent.has_hooks();
        let resolver = config.loader.parent_resolver.filter(|_| has_work)?;
        Some(Self { state_dir: config.state_dir.clone(), parent: config.parent.clone(), resolver })
    }
}

impl ParentWatch {
    /// Watches nothing yet. What is wrong goes to `standing`.
    #[must_use]
    pub const fn new(metrics: Metrics, standing: LoaderStatus) -> Self {
        Self { metrics, standing, running: None }
    }

    /// True when the configuration has it watch.
    #[must_use]
    pub fn is_wanted(config: &Config) -> bool {
        Settings::of(config).is_some()
    }

    /// Takes a configuration, and what each zone has in force.
    pub fn configure(&mut self, config: &Config, in_force: Vec<(Name, Arc<InForce>)>) {
        let settings = Settings::of(config);
        if self.running.as_ref().map(|running| &running.settings) != settings.as_ref() {
            self.end();
            self.running = settings.map(|settings| Running::start(settings, &self.metrics, &self.standing));
        }
        let Some(running) = &self.running else { return };
        let configured: BTreeSet<&Name> = config.signed_zones().map(|zone| &zone.name).collect();
        let gone: Vec<Name> = {
            let queue = running.shared.queue();
            let known = queue.zones.keys().chain(&queue.at_work);
            known.filter(|zone| !configured.contains(zone)).cloned().collect()
        };
        gone.iter().for_each(|zone| self.forget(zone));
        in_force.into_iter().for_each(|(zone, in_force)| self.take(&zone, &in_force));
    }

    /// A generation is in force.
    pub fn take(&self, zone: &Name, in_force: &InForce) {
        let Some(running) = &self.running else { return };
        let in_force = Arc::new(in_force.clone());
        self.metrics.add_parent(&zone.zone_label());
        let mut queue = running.shared.queue();
        if queue.at_work.contains(zone) {
            queue.arrived.insert(zone.clone(), Some(in_force));
        } else {
            let watched = queue.zones.entry(zone.clone()).or_insert_with(|| WatchedZone::new(zone.clone()));
            // A reload is no reason to look or to send anything sooner.
            if watched.take(in_force) {
                queue.forget_due(zone);
                queue.set_due(zone.clone(), DueTime::Now);
            }
        }
        drop(queue);
        running.shared.changed.notify_one();
    }

    /// The zone has left the configuration.
    fn forget(&self, zone: &Name) {
        let Some(running) = &self.running else { return };
        let mut queue = running.shared.queue();
        if queue.at_work.contains(zone) {
            queue.arrived.insert(zone.clone(), None);
        }
        queue.zones.remove(zone);
        queue.forget_due(zone);
        drop(queue);
        self.metrics.remove_parent(&zone.zone_label());
        self.standing.clear_conditions(&zone.zone_label());
    }

    /// Has the threads end, each when it has done what it is at, and waits for none.
    fn end(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.shared.is_stopped.store(true, Ordering::Relaxed);
        running.shared.changed.notify_all();
        *running.shared.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let queue = running.shared.queue();
        for zone in queue.zones.keys().chain(&queue.at_work) {
            self.metrics.remove_parent(&zone.zone_label());
            self.standing.clear_conditions(&zone.zone_label());
        }
    }
}

impl Drop for ParentWatch {
    fn drop(&mut self) {
        self.end();
    }
}

impl Running {
    fn start(settings: Settings, metrics: &Metrics, standing: &LoaderStatus) -> Self {
        if let Err(error) = note::sweep(&settings.state_dir) {
            tracing::warn!(%error, "cannot remove unfinished notes of what parents were told");
        }
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            is_stopped: AtomicBool::new(false),
            is_closed: Mutex::new(false),
        });
        for number in 0..THREADS {
            let (shared, settings) = (Arc::clone(&shared), settings.clone());
            let (metrics, standing) = (metrics.clone(), standing.clone());
            let thread = std::thread::Builder::new().name(format!("parent {number}"));
            let started = thread.spawn(move || shared.work(&settings, &metrics, &standing));
            if let Err(error) = started {
                tracing::error!(%error, "cannot start to watch the parents");
            }
        }
        Self { settings, shared }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Steps the zones that are due, until it is stopped.
    fn work(&self, settings: &Settings, metrics: &Metrics, standing: &LoaderStatus) {
        let network = ResolverNetwork::new(settings.resolver, &settings.parent);
        while let Some(mut zone) = self.next() {
            let place = zone::Place {
                state_dir: &settings.state_dir,
                config: &settings.parent,
                stop: &self.is_stopped,
                is_closed: &self.is_closed,
                metrics,
                standing,
            };
            let due = zone.step(&network, &place, clock::now(), Instant::now());
            if self.is_stopped.load(Ordering::Relaxed) {
                return;
            }
            let label = zone.name().zone_label();
            let is_here = self.queue().take_back(zone, due);
            self.changed.notify_one();
            if !is_here {
                // What its last step has set.
                metrics.remove_parent(&label);
                standing.clear_conditions(&label);
            }
        }
    }

    /// Waits for a zone that is due; `None` when it is stopped.
    fn next(&self) -> Option<WatchedZone> {
        let mut queue = self.queue();
        while !self.is_stopped.load(Ordering::Relaxed) {
            if let Some(zone) = queue.take_due(clock::now(), Instant::now()) {
                return Some(zone);
            }
            let by_clock = queue.by_clock.first().map(|(at, _)| clock::until(*at));
            // A thread that gives its zone back wakes another one.
            let may_pause = queue.after_pause.len() < THREADS_FOR_PAUSES;
            let by_pause = queue.by_pause.first().filter(|_| may_pause);
            let by_pause = by_pause.map(|(at, _)| at.saturating_duration_since(Instant::now()));
            let wait = by_clock.into_iter().chain(by_pause).fold(LONGEST_WAIT, Duration::min);
            let waited = self.changed.wait_timeout(queue, wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }
}

impl Queue {
    /// A zone that is due, which its thread gives back.
    fn take_due(&mut self, now: Timestamp, instant: Instant) -> Option<WatchedZone> {
        // A bundle that comes into force does not wait for tries that failed before.
        let by_clock = self.by_clock.first().filter(|(at, _)| *at <= now).map(|(_, zone)| zone.clone());
        let name = match by_clock {
            Some(name) => name,
            None if self.after_pause.len() >= THREADS_FOR_PAUSES => return None,
            None => {
                let (_, name) = self.by_pause.first().filter(|(at, _)| *at <= instant)?.clone();
                self.after_pause.insert(name.clone());
                name
            }
        };
        self.forget_due(&name);
        let Some(zone) = self.zones.remove(&name) else {
            self.after_pause.remove(&name);
            return None;
        };
        self.at_work.insert(name);
        Some(zone)
    }

    /// Takes a zone back from its thread; false when it has left the configuration meanwhile.
    fn take_back(&mut self, mut zone: WatchedZone, due: DueTime) -> bool {
        let name = zone.name().clone();
        self.at_work.remove(&name);
        self.after_pause.remove(&name);
        match self.arrived.remove(&name) {
            None => self.put(zone, due),
            Some(None) => return false,
            Some(Some(in_force)) => {
                let due = if zone.take(in_force) { DueTime::Now } else { due };
                self.put(zone, due);
            }
        }
        true
    }

    fn put(&mut self, zone: WatchedZone, due: DueTime) {
        self.set_due(zone.name().clone(), due);
        self.zones.insert(zone.name().clone(), zone);
    }

    fn set_due(&mut self, name: Name, due: DueTime) {
        let at = match due {
            DueTime::Now => Some(DueAt::Instant(Instant::now())),
            DueTime::After(pause) => Some(DueAt::Instant(Instant::now() + pause)),
            DueTime::At(time) => Some(DueAt::Clock(time)),
            DueTime::Never => None,
        };
        match at {
            Some(DueAt::Clock(time)) => drop(self.by_clock.insert((time, name.clone()))),
            Some(DueAt::Instant(instant)) => drop(self.by_pause.insert((instant, name.clone()))),
            None => {}
        }
        self.due.extend(at.map(|at| (name, at)));
    }

    fn forget_due(&mut self, zone: &Name) {
        match self.due.remove(zone) {
            Some(DueAt::Clock(time)) => drop(self.by_clock.remove(&(time, zone.clone()))),
            Some(DueAt::Instant(instant)) => drop(self.by_pause.remove(&(instant, zone.clone()))),
            None => {}
        }
    }
}
