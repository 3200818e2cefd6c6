//! What one target is due for, zone by zone. [`Worker::step`] does what is due at one moment.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use keystore::command::RunError;
use keystore::dns::Name;
use keystore::durable;
use keystore::exchange::Bundle;
use keystore::store::{skr_path, zone_dir};
use keystore::time::Timestamp;
use metrics::Metrics;
use serde::{Deserialize, Serialize};

use super::command::CommandError;
use super::plan::Plan;
use super::{Deliver, Task};
use crate::files::{self, Named, hex, one_line};
use crate::probe::{ProofError, Served};
use crate::report;
use crate::store::InForce;

/// Seconds between two looks at whether the server was started again.
const LOOK: u64 = 1;
/// Seconds between two proofs while nothing happens.
const WATCH: u64 = 60;
/// Seconds that a server may take from an import or switch until it is proven.
const SETTLE: u64 = 15;
/// named tries a renewal of signatures that failed again after 300 seconds. Where signatures are due no more than this before their end,
/// in seconds, that may be too late.
const SHORT: u64 = 600;
/// Seconds from one time that a server is woken to the next.
const REST: u64 = 5;
/// Longest pause between two tries, in seconds.
const MAX_PAUSE: u64 = 300;
/// Largest state file of ours, in octets.
const MAX_STATE: u64 = 4096;

/// Proves what a server serves, see [`crate::probe::Probe::prove`].
pub type Prover = Box<dyn Fn(&Name, &Bundle, u64, Timestamp) -> Result<Served, ProofError> + Send>;

/// One target.
pub struct Worker {
    name: String,
    server: Box<dyn Deliver>,
    prover: Option<Prover>,
    /// `delivered/TARGET`.
    folder: PathBuf,
    accepted: PathBuf,
    metrics: Metrics,
    jobs: BTreeMap<Name, Job>,
    due: BTreeSet<(Timestamp, Name)>,
    /// The run of the server that was last seen; `None` = it is not reached.
    instance: Option<String>,
    next_look: Timestamp,
    last_wake: Timestamp,
    down_told: bool,
}

struct Job {
    in_force: Arc<InForce>,
    /// The folder of the zone's ZSKs.
    keys: PathBuf,
    plan: Plan,
    /// The slot that the server was last told of.
    slot: Option<usize>,
    next: Next,
    due: Timestamp,
    failures: u32,
    /// The server was without an SKR until the next import.
    restarted: bool,
    /// It was woken since the last import.
    woken: bool,
    /// It serves the RRsets without the signatures of the bundle, whatever it was given.
    bare: bool,
    /// What was proven last.
    served: Option<Served>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Not looked at in this run of ours.
    Start,
    Import,
    /// Imported or switched at this time.
    Prove(Timestamp),
    Watch,
}

/// `delivered/TARGET/ZONE`: what was last proven.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Delivered {
    generation: u64,
    sha256: String,
    /// The run of the server, in its own words.
    instance: String,
    /// When, in seconds since 1970.
    proven: u64,
}

impl Worker {
    pub fn new(
        name: &str,
        server: Box<dyn Deliver>,
        prover: Option<Prover>,
        folder: PathBuf,
        accepted: PathBuf,
        metrics: Metrics,
    ) -> Self {
        Self {
            name: name.to_owned(),
            server,
            prover,
            folder,
            accepted,
            metrics,
            jobs: BTreeMap::new(),
            due: BTreeSet::new(),
            instance: None,
            next_look: Timestamp::EPOCH,
            last_wake: Timestamp::EPOCH,
            down_told: false,
        }
    }

    /// A generation is in force for `zone`; the same again changes nothing.
    pub fn take(&mut self, zone: Name, in_force: Arc<InForce>, keys: PathBuf, now: Timestamp) {
        let next = match self.jobs.get_mut(&zone) {
            Some(job)
                if (job.in_force.generation, job.in_force.digest)
                    == (in_force.generation, in_force.digest) =>
            {
                job.keys = keys;
                return;
            }
            Some(_) => Next::Import,
            None => Next::Start,
        };
        self.forget_due(&zone);
        self.metrics.add_delivery(&report::label(&zone), &self.name);
        let plan = Plan { slots: Vec::new(), warnings: Vec::new() };
        let restarted = next == Next::Start;
        let (slot, due, failures, woken, bare, served) = (None, now, 0, false, false, None);
        let job = Job { in_force, keys, plan, slot, next, due, failures, restarted, woken, bare, served };
        self.due.insert((now, zone.clone()));
        self.jobs.insert(zone, job);
    }

    /// The zone is ours no more. What the server has is left to it.
    pub fn forget(&mut self, zone: &Name) {
        self.forget_due(zone);
        if self.jobs.remove(zone).is_some() {
            self.metrics.remove_delivery(&report::label(zone), &self.name);
        }
    }

    /// The target leaves.
    pub fn end(&mut self) {
        for zone in self.jobs.keys().cloned().collect::<Vec<_>>() {
            self.forget(&zone);
        }
        self.metrics.remove_delivery_target(&self.name);
    }

    /// Does at most one thing that is due at `now`, and says when to come again.
    pub fn step(&mut self, now: Timestamp) -> Timestamp {
        if self.jobs.is_empty() {
            return now.plus(WATCH);
        }
        // The clock may have been set back.
        if now >= self.next_look || self.next_look.since(now) > LOOK {
            self.next_look = now.plus(LOOK);
            self.look(now);
        }
        if self.instance.is_none() {
            return self.next_look;
        }
        if let Some((_, zone)) = self.due.first().filter(|(due, _)| *due <= now).cloned() {
            self.forget_due(&zone);
            if let Some(mut job) = self.jobs.remove(&zone) {
                job.due = self.handle(&zone, &mut job, now);
                self.due.insert((job.due, zone.clone()));
                self.jobs.insert(zone, job);
            }
        }
        self.due.first().map_or(self.next_look, |(due, _)| (*due).min(self.next_look))
    }

    fn forget_due(&mut self, zone: &Name) {
        if let Some(job) = self.jobs.get(zone) {
            self.due.remove(&(job.due, zone.clone()));
        }
    }

    /// Looks at whether the server is there, and the one that it was.
    fn look(&mut self, now: Timestamp) {
        let up = &self.metrics.delivery_server_up.with_label_values(&[&self.name]);
        match self.server.instance() {
            Ok(instance) => {
                up.set(1);
                self.down_told = false;
                if self.instance.as_ref() == Some(&instance) {
                    return;
                }
                tracing::info!(target = self.name, instance, "the server is reached");
                self.instance = Some(instance);
                self.due.clear();
                for (zone, job) in &mut self.jobs {
                    // What was begun before is settled against what was delivered to this very run.
                    (job.next, job.due, job.failures, job.restarted) = (Next::Start, now, 0, true);
                    self.due.insert((now, zone.clone()));
                }
            }
            // We stop: that says nothing of the server.
            Err(CommandError::Run(RunError::Stopped { .. })) => {}
            Err(error) => {
                up.set(0);
                if !std::mem::replace(&mut self.down_told, true) {
                    tracing::error!(target = self.name, %error, "the server is not reached; nothing is delivered until it is");
                }
                if self.instance.take().is_some() {
                    for zone in self.jobs.keys() {
                        self.metrics
                            .skr_delivery_current
                            .with_label_values(&[&report::label(zone), &self.name])
                            .set(0);
                    }
                }
            }
        }
    }

    /// Does what is next for one zone, and says when it is due again.
    fn handle(&mut self, zone: &Name, job: &mut Job, now: Timestamp) -> Timestamp {
        if job.next == Next::Start {
            job.plan = self.server.plan(&job.in_force.bundles, now);
            job.slot = job.plan.at(now);
            job.next = if self.was_delivered(zone, job) { Next::Watch } else { Next::Import };
            job.restarted &= job.next == Next::Import;
        }
        if job.next == Next::Import {
            job.plan = self.server.plan(&job.in_force.bundles, now);
            for warning in &job.plan.warnings {
                tracing::warn!(target = self.name, %zone, "{warning}");
            }
            job.slot = job.plan.at(now);
            let skr = skr_path(&zone_dir(&self.accepted, zone), job.in_force.generation);
            if std::mem::take(&mut job.bare) {
                // Whatever happens in between: what it has then is not what was delivered.
                self.forget_delivered(zone);
                match self.server.shake(&task(zone, job, &skr, now)) {
                    Ok(true) => {
                        tracing::warn!(target = self.name, %zone, "an import has not helped; it was made to take the signatures anew");
                        let wakes = &self.metrics.skr_delivery_wakes_total;
                        wakes.with_label_values(&[&report::label(zone), &self.name]).inc();
                        // What is in force follows in a moment.
                        return now.plus(2);
                    }
                    Ok(false) => {}
                    Err(error) => return self.failed(zone, job, &error.to_string(), now),
                }
            }
            let done = self.server.import(&task(zone, job, &skr, now));
            if let Err(error) = done {
                return self.failed(zone, job, &error.to_string(), now);
            }
            tracing::info!(target = self.name, %zone, generation = job.in_force.generation, "handed over");
            job.next = Next::Prove(now);
            job.woken = false;
            let short = job.slot.is_some_and(|i| job.plan.refresh(i) <= SHORT);
            if std::mem::take(&mut job.restarted)
                && short
                && let Err(error) =
                    self.wake(zone, job, "signatures may have been due while it had no SKR", now)
            {
                return self.failed(zone, job, &error.to_string(), now);
            }
        } else if job.plan.at(now) != job.slot {
            job.slot = job.plan.at(now);
            let skr = skr_path(&zone_dir(&self.accepted, zone), job.in_force.generation);
            let done = self.server.switch(&task(zone, job, &skr, now));
            if let Err(error) = done {
                return self.failed(zone, job, &error.to_string(), now);
            }
            job.next = Next::Prove(now);
            return self.not_after_switch(job, now, 1);
        }
        let Some((i, slot)) = job.slot.and_then(|i| Some((i, job.plan.slots.get(i)?))) else {
            // Nothing is in force yet: there is nothing to prove.
            return self.proven(zone, job, Served::Exactly, now);
        };
        let prove = |prove: &Prover| prove(zone, &slot.bundle, job.plan.refresh(i), now);
        let error = match self.prover.as_ref().map_or(Ok(Served::Exactly), prove) {
            Ok(served) => return self.proven(zone, job, served, now),
            Err(error) => error,
        };
        let is_good = slot.bundle.signatures.iter().all(|s| s.is_valid_at(now));
        let may_be_renewed = error.is_overdue() && is_good;
        match job.next {
            // It has had no time yet.
            Next::Prove(since) if since == now => self.not_after_switch(job, now, 1),
            // While it rests, having been told for another zone, this one goes the way of every failed proof.
            _ if may_be_renewed && !job.woken && !self.rests(now) => {
                if let Err(error) = self.wake(zone, job, &error.to_string(), now) {
                    return self.failed(zone, job, &error.to_string(), now);
                }
                job.next = Next::Prove(now);
                self.not_after_switch(job, now, 1)
            }
            Next::Prove(since) if since < now && now.since(since) < SETTLE => {
                self.not_after_switch(job, now, 1)
            }
            _ => {
                // Once an import has not helped.
                job.bare = job.next != Next::Watch && error.lacks_signatures() && is_good;
                self.failed(zone, job, &error.to_string(), now)
            }
        }
    }

    /// It was told to look at what is due a moment ago, and does so for all its zones.
    fn rests(&self, now: Timestamp) -> bool {
        self.last_wake <= now && now.since(self.last_wake) < REST
    }

    /// Makes the server look at what is due: once for each import, and seldom.
    fn wake(&mut self, zone: &Name, job: &mut Job, why: &str, now: Timestamp) -> Result<(), CommandError> {
        if self.rests(now) {
            return Ok(());
        }
        (job.woken, self.last_wake) = (true, now);
        if self.server.wake()? {
            tracing::warn!(target = self.name, %zone, "{}; it was told to look at once at what is due", one_line(why));
            self.metrics
                .skr_delivery_wakes_total
                .with_label_values(&[&report::label(zone), &self.name])
                .inc();
        }
        Ok(())
    }

    fn proven(&mut self, zone: &Name, job: &mut Job, served: Served, now: Timestamp) -> Timestamp {
        let label = report::label(zone);
        let labels = [label.as_str(), self.name.as_str()];
        let is_news = job.failures > 0 || job.next != Next::Watch;
        if is_news || job.served != Some(served) {
            let generation = job.in_force.generation;
            match served {
                Served::Exactly => {
                    tracing::info!(target = self.name, %zone, generation, "what is served is the bundle in force");
                }
                Served::Still(due) => {
                    tracing::info!(target = self.name, %zone, generation, renewal = %due, "what is served is the bundle in force, still with older signatures over it, which are good");
                }
            }
        }
        if is_news {
            self.metrics.skr_deliveries_total.with_label_values(&[labels[0], labels[1], "ok"]).inc();
        }
        let generation = i64::try_from(job.in_force.generation).unwrap_or(i64::MAX);
        self.metrics.skr_delivered_generation.with_label_values(&labels).set(generation);
        self.metrics.skr_delivery_current.with_label_values(&labels).set(1);
        let last = &self.metrics.skr_delivery_last_proof_timestamp_seconds;
        last.with_label_values(&labels).set(i64::try_from(now.secs()).unwrap_or(i64::MAX));
        if !self.was_delivered(zone, job) {
            self.remember(zone, job, now);
        }
        (job.failures, job.woken, job.served, job.next) = (0, false, Some(served), Next::Watch);
        let next = match served {
            Served::Exactly => WATCH,
            // Until the renewal, then each second.
            Served::Still(due) => due.since(now).clamp(1, WATCH),
        };
        self.not_after_switch(job, now, next)
    }

    fn failed(&mut self, zone: &Name, job: &mut Job, why: &str, now: Timestamp) -> Timestamp {
        let label = report::label(zone);
        let labels = [label.as_str(), self.name.as_str()];
        self.metrics.skr_deliveries_total.with_label_values(&[labels[0], labels[1], "failed"]).inc();
        self.metrics.skr_delivery_current.with_label_values(&labels).set(0);
        let pause = (1 << job.failures.min(16)).min(MAX_PAUSE);
        job.failures = job.failures.saturating_add(1);
        tracing::error!(
            target = self.name, %zone, generation = job.in_force.generation, retry_in = pause,
            "what is in force was not delivered: {}", one_line(why)
        );
        (job.next, job.served) = (Next::Import, None);
        self.not_after_switch(job, now, pause)
    }

    /// In `seconds`, and not after the next slot begins, or the signatures of this one end.
    fn not_after_switch(&self, job: &Job, now: Timestamp, seconds: u64) -> Timestamp {
        let due = now.plus(seconds);
        let slot = job.slot.and_then(|i| job.plan.slots.get(i));
        let end = slot.map(|slot| slot.bundle.expiration().plus(1)).filter(|end| now < *end);
        job.plan.next(now).into_iter().chain(end).fold(due, Timestamp::min)
    }

    /// True when this very generation was proven to be served by this very run of the server.
    fn was_delivered(&self, zone: &Name, job: &Job) -> bool {
        let Ok(file) = files::read(&self.state_file(zone), Named::ByOperator, MAX_STATE) else {
            return false;
        };
        // One that does not read is as good as none.
        let Ok(delivered) = serde_json::from_slice::<Delivered>(&file.octets) else { return false };
        (delivered.generation, &delivered.sha256) == (job.in_force.generation, &hex(&job.in_force.digest))
            && Some(&delivered.instance) == self.instance.as_ref()
    }

    fn remember(&self, zone: &Name, job: &Job, now: Timestamp) {
        let delivered = Delivered {
            generation: job.in_force.generation,
            sha256: hex(&job.in_force.digest),
            instance: self.instance.clone().unwrap_or_default(),
            proven: now.secs(),
        };
        let written = serde_json::to_vec(&delivered).map_err(std::io::Error::other).and_then(|octets| {
            durable::create_dir_durable(&self.folder, 0o755)?;
            durable::sweep_temps(&self.folder)?;
            durable::write(&self.state_file(zone), &octets, 0o644)
        });
        if let Err(error) = written {
            tracing::error!(target = self.name, %zone, %error, "cannot note the delivery; it is repeated after a restart");
        }
    }

    fn forget_delivered(&self, zone: &Name) {
        let path = self.state_file(zone);
        match durable::remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!(target = self.name, %zone, %error, "cannot forget the delivery");
            }
            _ => {}
        }
    }

    fn state_file(&self, zone: &Name) -> PathBuf {
        zone_dir(&self.folder, zone)
    }
}

fn task<'a>(zone: &'a Name, job: &'a Job, skr: &'a std::path::Path, now: Timestamp) -> Task<'a> {
    Task { zone, generation: job.in_force.generation, skr, keys: &job.keys, plan: &job.plan, now }
}
