//! One zone whose parent is watched: what is due at a moment, and what comes of it.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keystore::config::ParentConfig;
use keystore::dns::Name;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::condition::{ConditionId, Severity};
use metrics::health::report::ReportedCondition;

use super::hooks::{DsWatch, HookFailure, HookPlace, HookStep};
use super::note::{self, ParentNote};
use super::resolver::ResolverNetwork;
use super::telling::{Next, ParentNetwork, Telling, Told};
use super::wish::Wish;
use crate::standing::LoaderStatus;
use crate::store::InForce;

/// Seconds before a bundle with other records at which the look-ups for it are made once, so that the resolver has their answers.
const AHEAD: u64 = 20;
/// Seconds for which the parent may go untold before it is a condition, and before that is a warning.
const UNTOLD: (u64, u64) = (600, 86_400);
/// Time that the parent has to be told of records that are in force for long already: at a start, and behind a late SKR.
const FIRST_TRIES: Duration = Duration::from_secs(5);

/// A zone, and what is on its way to the parent.
#[derive(Debug)]
pub struct WatchedZone {
    name: Name,
    label: String,
    in_force: Option<Arc<InForce>>,
    /// What is known of it on disk; `None` = it was not read yet.
    note: Option<ParentNote>,
    telling: Option<Telling>,
    /// Since when the records are in force that the parent is to be told of.
    since: Timestamp,
    ksks: Option<DsWatch>,
    /// Since when a command fails.
    hook_fails_since: Option<Timestamp>,
}

/// When a zone is due again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueTime {
    /// At once.
    Now,
    /// So much later.
    After(Duration),
    /// At this time.
    At(Timestamp),
    /// When something new is in force.
    Never,
}

impl DueTime {
    /// The sooner one of both, seen from `now`.
    fn sooner(self, other: Self, now: Timestamp) -> Self {
        let left = |due: Self| match due {
            Self::Now => Duration::ZERO,
            Self::After(pause) => pause,
            Self::At(time) => Duration::from_secs(time.since(now)),
            Self::Never => Duration::MAX,
        };
        if left(other) < left(self) { other } else { self }
    }
}

/// Where a zone leaves what comes of a step.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The state folder.
    pub state_dir: &'a Path,
    /// The settings.
    pub config: &'a ParentConfig,
    /// Commands are killed when this is set.
    pub stop: &'a AtomicBool,
    /// True when the watch has ended: nothing that its threads find counts any more.
    pub is_closed: &'a Mutex<bool>,
    /// The metrics.
    pub metrics: &'a Metrics,
    /// The conditions.
    pub standing: &'a LoaderStatus,
}

impl Place<'_> {
    /// Leaves something, unless the watch has ended: then there may be another one, or none to take it back.
    fn leave(&self, what: impl FnOnce()) {
        let is_closed = self.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_closed {
            what();
        }
    }

    fn write_note(&self, zone: &Name, note: &ParentNote) {
        self.leave(|| {
            if let Err(error) = note::write(self.state_dir, zone, note) {
                tracing::error!(%zone, %error, "cannot note what the parent was told, or which command was run; that is done once more after a restart");
            }
        });
    }

    fn set_condition(&self, zone: &str, id: ConditionId, condition: Option<ReportedCondition>) {
        self.leave(|| self.standing.set_condition(zone, id, condition));
    }
}

impl WatchedZone {
    /// A zone of which nothing is known.
    pub fn new(name: Name) -> Self {
        let label = name.zone_label();
        Self {
            name,
            label,
            in_force: None,
            note: None,
            telling: None,
            since: Timestamp::EPOCH,
            ksks: None,
            hook_fails_since: None,
        }
    }

    /// Its name.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// A generation is in force; false when it is the one that was so before.
    pub fn take(&mut self, in_force: Arc<InForce>) -> bool {
        let id = |in_force: &InForce| (in_force.generation, in_force.digest);
        let is_known = self.in_force.as_deref().is_some_and(|known| id(known) == id(&in_force));
        self.in_force = Some(in_force);
        !is_known
    }

    /// Does what is due at `now`.
    pub fn step(
        &mut self,
        network: &ResolverNetwork,
        place: &Place<'_>,
        now: Timestamp,
        instant: Instant,
    ) -> DueTime {
        let told =
            if place.config.notify_cds { self.notify(network, place, now, instant) } else { DueTime::Never };
        match told {
            // The parent is not told later because of a command.
            DueTime::Now => DueTime::Now,
            told => told.sooner(self.run_hooks(network, place, now, instant), now),
        }
    }

    fn notify(
        &mut self,
        network: &dyn ParentNetwork,
        place: &Place<'_>,
        now: Timestamp,
        instant: Instant,
    ) -> DueTime {
        let Some(in_force) = &self.in_force else { return DueTime::Never };
        let (current, next) = Wish::at(&in_force.bundles, now);
        let note = self.note.get_or_insert_with(|| note::read(place.state_dir, &self.name));
        let Some((wish, since)) = current else { return self.look_ahead(network, next, now) };
        if note.told.as_deref() == Some(&wish.id()) {
            self.settle(place);
            return self.look_ahead(network, next, now);
        }
        if wish.is_empty() {
            self.note_told(&wish, place, now);
            return self.look_ahead(network, next, now);
        }
        let telling = match self.telling.take() {
            Some(telling) if *telling.wish() == wish => telling,
            _ => {
                self.since = since;
                place.leave(|| place.metrics.parent_notify_pending.with_label_values(&[&self.label]).set(1));
                Telling::new(wish, note.told.is_none(), instant)
            }
        };
        self.tell(telling, network, place, (now, instant), next)
    }

    fn tell(
        &mut self,
        mut telling: Telling,
        network: &dyn ParentNetwork,
        place: &Place<'_>,
        (now, instant): (Timestamp, Instant),
        next: Option<Timestamp>,
    ) -> DueTime {
        // It may be due for another reason than the next step of this.
        if telling.due() <= instant {
            match telling.step(&self.name, network, instant) {
                Next::Done(told) => {
                    self.log(&told, telling.age(instant), place);
                    self.note_told(telling.wish(), place, now);
                    // The next bundle, and what may have changed meanwhile.
                    return DueTime::Now;
                }
                Next::Wait { pause, is_unanswered: true } => {
                    self.count("failed", place);
                    tracing::warn!(zone = %self.name, next_try_in = pause.as_secs(), "{}", telling.cause());
                }
                Next::Wait { .. } => {}
            }
        }
        let age = telling.age(instant);
        if age >= FIRST_TRIES {
            self.raise(telling.cause(), place, now);
        }
        let pause = telling.due().saturating_duration_since(instant);
        self.telling = Some(telling);
        let worse =
            [UNTOLD.0, UNTOLD.1].map(|untold| self.since.plus(untold)).into_iter().find(|at| *at > now);
        let first = FIRST_TRIES.checked_sub(age).filter(|left| !left.is_zero());
        let due = DueTime::After(first.map_or(pause, |first| pause.min(first)));
        [worse, next].into_iter().flatten().fold(due, |due, at| due.sooner(DueTime::At(at), now))
    }

    /// The look-ups for the next bundle with other records are made shortly before it begins.
    fn look_ahead(&self, network: &dyn ParentNetwork, next: Option<Timestamp>, now: Timestamp) -> DueTime {
        let Some(next) = next else { return DueTime::Never };
        let ahead = next.minus(AHEAD);
        if now < ahead {
            return DueTime::At(ahead);
        }
        network.prepare(&self.name);
        DueTime::At(next)
    }

    /// Runs the commands that are due.
    fn run_hooks(
        &mut self,
        network: &ResolverNetwork,
        place: &Place<'_>,
        now: Timestamp,
        instant: Instant,
    ) -> DueTime {
        let Some(in_force) = self.in_force.clone().filter(|_| place.config.has_hooks()) else {
            return DueTime::Never;
        };
        let next = in_force.bundles.iter().map(|bundle| bundle.inception).find(|inception| *inception > now);
        let next = next.map_or(DueTime::Never, DueTime::At);
        let Some(bundle) = in_force.bundles.iter().rfind(|bundle| bundle.inception <= now) else {
            return next;
        };
        let watch = self.ksks.get_or_insert_with(|| DsWatch::new(instant));
        watch.follow(bundle, instant);
        let mut step = None;
        if watch.due() <= instant {
            let note = self.note.get_or_insert_with(|| note::read(place.state_dir, &self.name));
            let hook = HookPlace { zone: &self.name, config: place.config, stop: place.stop, now };
            let done = watch.step(network, bundle, &mut note.ksks, hook, instant);
            if done.is_changed {
                place.write_note(&self.name, note);
            }
            step = Some(done);
        }
        let due = DueTime::After(watch.due().saturating_duration_since(instant));
        if let Some(step) = step {
            self.tell_hooks(&step, place, now);
        }
        due.sooner(next, now)
    }

    fn tell_hooks(&mut self, step: &HookStep, place: &Place<'_>, now: Timestamp) {
        let zone = &self.name;
        let count = |event: &str, result: &str| {
            place.leave(|| {
                place.metrics.parent_hooks_total.with_label_values(&[&self.label, event, result]).inc()
            });
        };
        if let Some((event, tag)) = &step.done {
            count(event.as_str(), "ok");
            tracing::info!(%zone, key = tag, event = event.as_str(), "the DS record of a KSK has come this far");
        }
        let condition = step.failed.as_ref().map(|HookFailure { event, tag, error }| {
            count(event.as_str(), "failed");
            tracing::warn!(%zone, key = tag, event = event.as_str(), %error, "the command for a DS record failed, and is run again later");
            ReportedCondition {
                id: ConditionId::ParentHookFailed,
                zone: Some(self.label.clone()),
                subject: Some(format!("{} of key {tag}", event.as_str())),
                severity: Severity::Warning,
                since: *self.hook_fails_since.get_or_insert(now),
                what: format!("The command on-{} failed for key {tag}: {error}.", event.as_str()),
            }
        });
        if condition.is_none() {
            self.hook_fails_since = None;
        }
        place.set_condition(&self.label, ConditionId::ParentHookFailed, condition);
    }

    fn note_told(&mut self, wish: &Wish, place: &Place<'_>, now: Timestamp) {
        let note = self.note.get_or_insert_default();
        note.set_told(wish.id(), now);
        place.write_note(&self.name, note);
        self.settle(place);
    }

    /// Nothing is to be told.
    fn settle(&mut self, place: &Place<'_>) {
        self.telling = None;
        place.leave(|| place.metrics.parent_notify_pending.with_label_values(&[&self.label]).set(0));
        place.set_condition(&self.label, ConditionId::ParentNotTold, None);
    }

    fn raise(&self, cause: &str, place: &Place<'_>, now: Timestamp) {
        let severity = match now.since(self.since) {
            age if age < UNTOLD.0 => return,
            age if age < UNTOLD.1 => Severity::Attention,
            _ => Severity::Warning,
        };
        let condition = ReportedCondition {
            id: ConditionId::ParentNotTold,
            zone: Some(self.label.clone()),
            subject: None,
            severity,
            since: self.since,
            what: format!("The parent is not told of the CDS records in force: {cause}."),
        };
        place.set_condition(&self.label, ConditionId::ParentNotTold, Some(condition));
    }

    fn count(&self, result: &str, place: &Place<'_>) {
        place.leave(|| place.metrics.parent_notifies_total.with_label_values(&[&self.label, result]).inc());
    }

    fn log(&self, told: &Told, age: Duration, place: &Place<'_>) {
        let zone = &self.name;
        let milliseconds = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        match told {
            Told::Taken(receiver) => {
                self.count("taken", place);
                tracing::info!(%zone, %receiver, milliseconds, "the parent was told of new CDS records");
            }
            Told::Refused(receiver, rcode) => {
                self.count("refused", place);
                tracing::warn!(%zone, %receiver, %rcode, "the parent does not take NOTIFY(CDS); it is not sent again for these records, and what the parent finds by itself it still finds");
            }
            Told::NoReceiver => {
                tracing::info!(%zone, "the parent has no DSYNC record for NOTIFY(CDS), and is not told of new CDS records");
            }
            Told::Granted => {
                tracing::info!(%zone, "the parent has the DS records that the CDS records in force ask for, and is not told of them");
            }
        }
    }
}
