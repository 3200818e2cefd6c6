//! What is due at one target, zone by zone. [`Worker::step`] does what is due at one moment.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use keystore::command::RunError;
use keystore::dns::Name;
use keystore::exchange::Bundle;
use keystore::retry::Backoff;
use keystore::store::{skr_path, zone_dir};
use keystore::time::Timestamp;
use metrics::Metrics;

use super::command::CommandError;
use super::note::{DeliveryNote, DeliveryNotes};
use super::plan::DeliveryPlan;
use super::state::DeliveryStates;
use super::{Deliver, DeliveryTask};
use crate::files::{hex, one_line};
use crate::probe::{ProofError, ServedProof};
use crate::store::InForce;

/// Seconds between two polls of whether the server was started again.
const POLL_INTERVAL: u64 = 1;
/// Seconds between two proofs while nothing happens.
const PROOF_INTERVAL: u64 = 60;
/// Seconds that a server may take from an import or switch until it serves the bundle.
const SETTLE_TIME: u64 = 15;
/// named retries a renewal of signatures that failed after 300 seconds. Where signatures are due no more than this before their end, in
/// seconds, that may be too late.
const SHORT_REFRESH: u64 = 600;
/// Least number of seconds between two refreshes of a server.
const REFRESH_PAUSE: u64 = 5;
/// Seconds from a forced re-import to the import of what is in force.
const REIMPORT_PAUSE: u64 = 2;
/// Pauses between two tries to deliver, in seconds.
const BACKOFF: Backoff = Backoff::new(1, 300);
/// Least number of seconds between two log lines that say why the server is not reached.
const UNREACHABLE_LOG_PAUSE: u64 = 60;

/// Proves what a server serves, see [`crate::probe::Probe::prove`].
pub type Prover = Box<dyn Fn(&Name, &Bundle, u64, Timestamp) -> Result<ServedProof, ProofError> + Send>;

/// One target.
pub struct Worker {
    name: String,
    server: Box<dyn Deliver>,
    prover: Option<Prover>,
    notes: DeliveryNotes,
    accepted: PathBuf,
    states: DeliveryStates,
    metrics: Metrics,
    jobs: BTreeMap<Name, Job>,
    due: BTreeSet<(Timestamp, Name)>,
    /// The run of the server that was last seen; `None` while it is not reached.
    instance: Option<String>,
    next_poll: Timestamp,
    /// Time of the last step, by which a clock that was set back is noticed.
    last_step: Timestamp,
    last_refresh: Timestamp,
    /// What the log was last told of why the server is not reached, and when.
    unreachable_logged: Option<(String, Timestamp)>,
}

/// The delivery of one zone.
struct Job {
    in_force: Arc<InForce>,
    /// The folder of the zone's ZSKs.
    keys: PathBuf,
    plan: DeliveryPlan,
    /// The slot that the server was last told of.
    slot: Option<usize>,
    state: JobState,
    due: Timestamp,
    /// Failed tries in a row.
    failures: u32,
}

/// The state of a [`Job`].
///
/// ```text
///         the note says: this generation, this run of the server
/// Start ─────────────────────────────────────────────────────▶ Watch ◀─┐
///   │                                                           │  │   │
///   │ no such note                         the proof fails      │  │   │ proven
///   ▼               ┌───────────────────────────────────────────┘  │   │
/// Import ◀──────────┤                                              │   │
///   │               └── not proven within SETTLE_TIME ── Prove ────┼───┘
///   └── handed over ────────────────────────────────────▶ ▲ ▲      │
///                 signatures overdue: refreshed once ─────┘ └──────┘ a slot of the plan begins: switched
/// ```
///
/// A new generation leads to Import, and a server that was started again to Start, from every state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JobState {
    /// Nothing is known of what the server has: the loader or the server was started.
    Start,
    /// The generation in force is handed over next.
    Import(ImportReason),
    /// The server was told something and has not been proven to serve it.
    Prove {
        /// When it was handed the generation, told of a slot, or refreshed.
        since: Timestamp,
        /// It was refreshed since the last import.
        is_refreshed: bool,
    },
    /// The generation is served.
    Watch {
        /// What was proven last; `None` when only the note says so.
        served: Option<ServedProof>,
    },
}

/// Why a generation is handed over, where that makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImportReason {
    /// It is new, or a try failed.
    NewOrRetry,
    /// The server was without an SKR until now; a renewal of signatures may have failed meanwhile.
    Restarted,
    /// The server serves the RRsets without the signatures of the bundle although it was handed them.
    Unsigned,
}

impl Worker {
    pub fn new(
        name: &str,
        server: Box<dyn Deliver>,
        prover: Option<Prover>,
        notes: DeliveryNotes,
        accepted: PathBuf,
        states: DeliveryStates,
        metrics: Metrics,
    ) -> Self {
        Self {
            name: name.to_owned(),
            server,
            prover,
            notes,
            accepted,
            states,
            metrics,
            jobs: BTreeMap::new(),
            due: BTreeSet::new(),
            instance: None,
            next_poll: Timestamp::EPOCH,
            last_step: Timestamp::EPOCH,
            last_refresh: Timestamp::EPOCH,
            unreachable_logged: None,
        }
    }

    /// A generation is in force for `zone`, whose ZSKs are in the folder `keys`. The same generation again changes nothing.
    pub fn take(&mut self, zone: Name, in_force: Arc<InForce>, keys: PathBuf, now: Timestamp) {
        let state = match self.jobs.get_mut(&zone) {
            Some(job)
                if (job.in_force.generation, job.in_force.digest)
                    == (in_force.generation, in_force.digest) =>
            {
                job.keys = keys;
                return;
            }
            Some(_) => JobState::Import(ImportReason::NewOrRetry),
            None => {
                self.states.add_zone(&self.name, &zone);
                JobState::Start
            }
        };
        self.forget_due(&zone);
        let plan = DeliveryPlan { slots: Vec::new(), warnings: Vec::new() };
        let job = Job { in_force, keys, plan, slot: None, state, due: now, failures: 0 };
        self.due.insert((now, zone.clone()));
        self.jobs.insert(zone, job);
    }

    /// Delivers `zone` no more. The server keeps what it has.
    pub fn forget(&mut self, zone: &Name) {
        self.forget_due(zone);
        if self.jobs.remove(zone).is_some() {
            self.states.remove_zone(&self.name, zone);
        }
    }

    /// Ends the target: its states and metrics are removed.
    pub fn end(&mut self) {
        for zone in self.jobs.keys().cloned().collect::<Vec<_>>() {
            self.forget(&zone);
        }
        self.states.remove_target(&self.name);
    }

    /// Does at most one thing that is due at `now`, and returns when the next one is due.
    pub fn step(&mut self, now: Timestamp) -> Timestamp {
        if self.jobs.is_empty() {
            return now.plus(PROOF_INTERVAL);
        }
        if now < self.last_step {
            self.on_clock_set_back(now);
        }
        self.last_step = now;
        if now >= self.next_poll {
            self.next_poll = now.plus(POLL_INTERVAL);
            self.poll_instance(now);
        }
        if self.instance.is_none() {
            return self.next_poll;
        }
        if let Some((_, zone)) = self.due.first().filter(|(due, _)| *due <= now).cloned() {
            self.forget_due(&zone);
            if let Some(mut job) = self.jobs.remove(&zone) {
                job.due = self.handle(&zone, &mut job, now);
                self.due.insert((job.due, zone.clone()));
                self.jobs.insert(zone, job);
            }
        }
        self.due.first().map_or(self.next_poll, |(due, _)| (*due).min(self.next_poll))
    }

    fn forget_due(&mut self, zone: &Name) {
        if let Some(job) = self.jobs.get(zone) {
            self.due.remove(&(job.due, zone.clone()));
        }
    }

    /// Makes everything due: times that were reckoned with a clock that ran ahead may be years away.
    fn on_clock_set_back(&mut self, now: Timestamp) {
        self.next_poll = now;
        self.due.clear();
        for (zone, job) in &mut self.jobs {
            job.due = now;
            self.due.insert((now, zone.clone()));
        }
    }

    /// Asks the server which run of it this is. Another run than before has forgotten every SKR.
    fn poll_instance(&mut self, now: Timestamp) {
        match self.server.instance() {
            Ok(instance) => {
                self.states.reached(&self.name);
                self.unreachable_logged = None;
                if self.instance.as_ref() == Some(&instance) {
                    return;
                }
                tracing::info!(target = self.name, instance, "the server is reached");
                self.instance = Some(instance);
                self.due.clear();
                for (zone, job) in &mut self.jobs {
                    // The note tells whether what was handed over before was handed to this very run.
                    (job.state, job.due, job.failures) = (JobState::Start, now, 0);
                    self.due.insert((now, zone.clone()));
                }
            }
            // The loader stops: that says nothing of the server.
            Err(CommandError::Run(RunError::Stopped { .. })) => {}
            Err(error) => {
                let cause = one_line(&error.to_string());
                let is_news = self
                    .unreachable_logged
                    .as_ref()
                    .is_none_or(|(logged, at)| *logged != cause && now.since(*at) >= UNREACHABLE_LOG_PAUSE);
                if is_news {
                    tracing::error!(
                        target = self.name,
                        error = cause,
                        "the server is not reached; nothing is delivered until it is"
                    );
                    self.unreachable_logged = Some((cause.clone(), now));
                }
                self.states.unreachable(&self.name, cause);
                self.instance = None;
            }
        }
    }

    /// Does what is next for one zone, and returns when it is due again.
    fn handle(&mut self, zone: &Name, job: &mut Job, now: Timestamp) -> Timestamp {
        if job.state == JobState::Start {
            self.start(zone, job, now);
        }
        let done = match job.state {
            JobState::Import(reason) => self.import(zone, job, reason, now),
            _ if job.plan.at(now) != job.slot => self.switch(zone, job, now),
            _ => Ok(None),
        };
        match done {
            Ok(None) => self.prove(zone, job, now),
            Ok(Some(due)) => due,
            Err(error) => {
                let reason = match job.state {
                    // Whatever it had to do with a restart is still to be done.
                    JobState::Import(ImportReason::Restarted) => ImportReason::Restarted,
                    _ => ImportReason::NewOrRetry,
                };
                self.failed(zone, job, reason, &error.to_string(), now)
            }
        }
    }

    /// Decides by the note of the last delivery whether the server has the generation.
    fn start(&mut self, zone: &Name, job: &mut Job, now: Timestamp) {
        job.plan = self.server.plan(&job.in_force.bundles, now);
        job.slot = job.plan.at(now);
        job.state = if self.was_delivered(zone, job) {
            JobState::Watch { served: None }
        } else {
            JobState::Import(ImportReason::Restarted)
        };
    }

    /// Hands the generation over. Returns when to go on, or `None` when it can be proven at once.
    fn import(
        &mut self,
        zone: &Name,
        job: &mut Job,
        reason: ImportReason,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, CommandError> {
        job.plan = self.server.plan(&job.in_force.bundles, now);
        for warning in &job.plan.warnings {
            tracing::warn!(target = self.name, %zone, "{warning}");
        }
        job.slot = job.plan.at(now);
        let skr = skr_path(&zone_dir(&self.accepted, zone), job.in_force.generation);
        if reason == ImportReason::Unsigned {
            // What the server has after a forced re-import is not the generation, however the import after it ends.
            self.remove_note(zone);
            if self.server.force_reimport(&task(zone, job, &skr, now))? {
                tracing::warn!(target = self.name, %zone, "the server serves RRsets without their signatures after an import; it was made to take the signatures anew");
                self.count_refresh(zone);
                job.state = JobState::Import(ImportReason::NewOrRetry);
                return Ok(Some(now.plus(REIMPORT_PAUSE)));
            }
        }
        self.server.import(&task(zone, job, &skr, now))?;
        tracing::info!(target = self.name, %zone, generation = job.in_force.generation, "handed over");
        let is_short = job.slot.is_some_and(|slot| job.plan.refresh(slot) <= SHORT_REFRESH);
        let is_refreshed = reason == ImportReason::Restarted
            && is_short
            && self.refresh(zone, "signatures may have been due while the server had no SKR", now)?;
        job.state = JobState::Prove { since: now, is_refreshed };
        Ok(None)
    }

    /// Tells the server that another slot of the plan has begun. Returns when to prove it.
    fn switch(
        &mut self,
        zone: &Name,
        job: &mut Job,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, CommandError> {
        job.slot = job.plan.at(now);
        let skr = skr_path(&zone_dir(&self.accepted, zone), job.in_force.generation);
        self.server.switch(&task(zone, job, &skr, now))?;
        job.state = JobState::Prove { since: now, is_refreshed: job.state.is_refreshed() };
        Ok(Some(job.not_after_switch(now, 1)))
    }

    /// Asks the server over DNS whether it serves the bundle in force, and returns when the zone is due again.
    fn prove(&mut self, zone: &Name, job: &mut Job, now: Timestamp) -> Timestamp {
        let Some((i, slot)) = job.slot.and_then(|i| Some((i, job.plan.slots.get(i)?))) else {
            // No bundle is in force yet, so there is nothing to prove.
            return self.proven(zone, job, ServedProof::Exactly, now);
        };
        let ask = |prove: &Prover| prove(zone, &slot.bundle, job.plan.refresh(i), now);
        let error = match self.prover.as_ref().map_or(Ok(ServedProof::Exactly), ask) {
            Ok(served) => return self.proven(zone, job, served, now),
            Err(error) => error,
        };
        let is_good = slot.bundle.signatures.iter().all(|s| s.is_valid_at(now));
        let (state, is_refreshed) = (job.state, job.state.is_refreshed());
        match state {
            // The server has had no time yet.
            JobState::Prove { since, .. } if since == now => job.not_after_switch(now, 1),
            // A server that was refreshed a moment ago for another zone renews this one too; the alarm of this zone does not wait.
            _ if error.is_overdue() && is_good && !is_refreshed && !self.is_refresh_too_soon(now) => {
                if let Err(error) = self.refresh(zone, &error.to_string(), now) {
                    return self.failed(zone, job, ImportReason::NewOrRetry, &error.to_string(), now);
                }
                job.state = JobState::Prove { since: now, is_refreshed: true };
                job.not_after_switch(now, 1)
            }
            // A zone that could not be loaded for want of an SKR does not load by itself when the SKR is there; and named that had published a
            // key of the bundle before it had the bundle finds the RRset unchanged, and keeps the signatures.
            JobState::Prove { since, .. }
                if since < now && job.failures == 0 && error.is_bogus() && is_good =>
            {
                tracing::warn!(target = self.name, %zone, "{}; the server is made to take the signatures anew", one_line(&error.to_string()));
                (job.failures, job.state) = (1, JobState::Import(ImportReason::Unsigned));
                now
            }
            JobState::Prove { since, .. } if since < now && now.since(since) < SETTLE_TIME => {
                job.not_after_switch(now, 1)
            }
            JobState::Prove { .. } if error.lacks_signatures() && is_good => {
                self.failed(zone, job, ImportReason::Unsigned, &error.to_string(), now)
            }
            _ => self.failed(zone, job, ImportReason::NewOrRetry, &error.to_string(), now),
        }
    }

    fn is_refresh_too_soon(&self, now: Timestamp) -> bool {
        self.last_refresh <= now && now.since(self.last_refresh) < REFRESH_PAUSE
    }

    /// Makes the server look at once at which signatures are due, in all its zones. True when it was told to; false when it was told
    /// a moment ago.
    fn refresh(&mut self, zone: &Name, why: &str, now: Timestamp) -> Result<bool, CommandError> {
        if self.is_refresh_too_soon(now) {
            return Ok(false);
        }
        self.last_refresh = now;
        if self.server.refresh()? {
            tracing::warn!(target = self.name, %zone, "{}; it was told to look at once at what is due", one_line(why));
            self.count_refresh(zone);
        }
        Ok(true)
    }

    fn count_refresh(&self, zone: &Name) {
        self.metrics.skr_delivery_refreshes_total.with_label_values(&[&zone.zone_label(), &self.name]).inc();
    }

    fn proven(&mut self, zone: &Name, job: &mut Job, served: ServedProof, now: Timestamp) -> Timestamp {
        let generation = job.in_force.generation;
        let before = match job.state {
            JobState::Watch { served } if job.failures == 0 => Some(served),
            _ => None,
        };
        if before != Some(Some(served)) {
            match served {
                ServedProof::Exactly => {
                    tracing::info!(target = self.name, %zone, generation, "what is served is the bundle in force");
                }
                ServedProof::Still(due) => {
                    tracing::info!(target = self.name, %zone, generation, renewal = %due, "what is served is the bundle in force, still with older signatures over it, which are good");
                }
            }
        }
        if before.is_none() {
            self.count(zone, "ok");
        }
        self.states.proven(&self.name, zone, generation, now);
        if !self.was_delivered(zone, job) {
            self.write_note(zone, job, now);
        }
        (job.failures, job.state) = (0, JobState::Watch { served: Some(served) });
        let next = match served {
            ServedProof::Exactly => PROOF_INTERVAL,
            // Until the renewal, then each second.
            ServedProof::Still(due) => due.since(now).clamp(1, PROOF_INTERVAL),
        };
        job.not_after_switch(now, next)
    }

    fn failed(
        &self,
        zone: &Name,
        job: &mut Job,
        reason: ImportReason,
        why: &str,
        now: Timestamp,
    ) -> Timestamp {
        self.count(zone, "failed");
        self.states.failed(&self.name, zone, one_line(why));
        let pause = BACKOFF.pause(job.failures);
        job.failures = job.failures.saturating_add(1);
        tracing::error!(
            target = self.name, %zone, generation = job.in_force.generation, retry_in = pause,
            "what is in force was not delivered: {}", one_line(why)
        );
        job.state = JobState::Import(reason);
        job.not_after_switch(now, pause)
    }

    fn count(&self, zone: &Name, result: &str) {
        let label = zone.zone_label();
        self.metrics.skr_deliveries_total.with_label_values(&[label.as_str(), &self.name, result]).inc();
    }

    /// True when this very generation was proven to be served by this very run of the server.
    fn was_delivered(&self, zone: &Name, job: &Job) -> bool {
        self.notes.read(zone).is_some_and(|note| {
            (note.generation, note.sha256) == (job.in_force.generation, hex(&job.in_force.digest))
                && Some(&note.instance) == self.instance.as_ref()
        })
    }

    fn write_note(&self, zone: &Name, job: &Job, now: Timestamp) {
        let note = DeliveryNote {
            generation: job.in_force.generation,
            sha256: hex(&job.in_force.digest),
            instance: self.instance.clone().unwrap_or_default(),
            proven: now.secs(),
        };
        if let Err(error) = self.notes.write(zone, &note) {
            tracing::error!(target = self.name, %zone, %error, "cannot note the delivery; it is repeated after a restart");
        }
    }

    fn remove_note(&self, zone: &Name) {
        if let Err(error) = self.notes.remove(zone) {
            tracing::error!(target = self.name, %zone, %error, "cannot remove the note of the last delivery");
        }
    }
}

impl JobState {
    const fn is_refreshed(self) -> bool {
        matches!(self, Self::Prove { is_refreshed: true, .. })
    }
}

impl Job {
    /// `seconds` from now, but not after the next slot begins or the signatures of this one end.
    fn not_after_switch(&self, now: Timestamp, seconds: u64) -> Timestamp {
        let due = now.plus(seconds);
        let slot = self.slot.and_then(|i| self.plan.slots.get(i));
        let end = slot.map(|slot| slot.bundle.expiration().plus(1)).filter(|end| now < *end);
        self.plan.next(now).into_iter().chain(end).fold(due, Timestamp::min)
    }
}

fn task<'a>(zone: &'a Name, job: &'a Job, skr: &'a std::path::Path, now: Timestamp) -> DeliveryTask<'a> {
    DeliveryTask { zone, generation: job.in_force.generation, skr, keys: &job.keys, plan: &job.plan, now }
}
