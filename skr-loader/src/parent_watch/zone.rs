//! One zone whose parent is watched: what is due at a moment, and what comes of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystore::dns::Name;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::condition::{ConditionId, Severity};
use metrics::health::report::ReportedCondition;

use super::note::{self, Note};
use super::resolver::ResolverNetwork;
use super::telling::{Network, Next, Telling, Told};
use super::wish::Wish;
use crate::standing::Standing;
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
    note: Option<Note>,
    telling: Option<Telling>,
    /// Since when the records are in force that the parent is to be told of.
    since: Timestamp,
}

/// When a zone is due again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// At once.
    Now,
    /// So much later.
    After(Duration),
    /// At this time.
    At(Timestamp),
    /// When something new is in force.
    Never,
}

/// Where a zone leaves what comes of a step.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The state folder.
    pub state_dir: &'a Path,
    /// The metrics.
    pub metrics: &'a Metrics,
    /// The conditions.
    pub standing: &'a Standing,
}

impl WatchedZone {
    /// A zone of which nothing is known.
    pub fn new(name: Name) -> Self {
        let label = name.zone_label();
        Self { name, label, in_force: None, note: None, telling: None, since: Timestamp::EPOCH }
    }

    /// Its name.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// A generation is in force.
    pub fn take(&mut self, in_force: Arc<InForce>) {
        self.in_force = Some(in_force);
    }

    /// Does what is due at `now`.
    pub fn step(
        &mut self,
        network: &ResolverNetwork,
        place: &Place<'_>,
        now: Timestamp,
        instant: Instant,
    ) -> Due {
        let Some(in_force) = &self.in_force else { return Due::Never };
        let (current, next) = Wish::at(&in_force.bundles, now);
        let is_first_look = self.note.is_none();
        let note = self.note.get_or_insert_with(|| note::read(place.state_dir, &self.name));
        let Some((wish, since)) = current else { return self.look_ahead(network, next, now) };
        if note.told.as_deref() == Some(&wish.id()) {
            self.settle(place);
            return self.look_ahead(network, next, now);
        }
        // Where nobody was told of anything yet, the DS records may be what the zone asks for: a parent is not told of what it has done.
        let is_done =
            || note.told.is_none() && is_first_look && network.ds(&self.name) == Some(wish.cds.clone());
        if wish.is_empty() || is_done() {
            self.note_told(&wish, place, now);
            return self.look_ahead(network, next, now);
        }
        let telling = match self.telling.take() {
            Some(telling) if *telling.wish() == wish => telling,
            _ => {
                self.since = since;
                place.metrics.parent_notify_pending.with_label_values(&[&self.label]).set(1);
                Telling::new(wish, instant)
            }
        };
        self.tell(telling, network, place, (now, instant), next)
    }

    fn tell(
        &mut self,
        mut telling: Telling,
        network: &dyn Network,
        place: &Place<'_>,
        (now, instant): (Timestamp, Instant),
        next: Option<Timestamp>,
    ) -> Due {
        match telling.step(&self.name, network, instant) {
            Next::Done(told) => {
                self.log(&told, telling.age(instant), place);
                self.note_told(telling.wish(), place, now);
                // The next bundle, and what may have changed meanwhile.
                Due::Now
            }
            Next::Wait { pause, is_unanswered } => {
                if is_unanswered {
                    self.count("failed", place);
                    tracing::warn!(zone = %self.name, next_try_in = pause.as_secs(), "{}", telling.cause());
                }
                if telling.age(instant) >= FIRST_TRIES {
                    self.raise(telling.cause(), place, now);
                }
                self.telling = Some(telling);
                let until_next = next.map_or(pause, |next| Duration::from_secs(next.since(now).max(1)));
                Due::After(pause.min(until_next))
            }
        }
    }

    /// The look-ups for the next bundle with other records are made shortly before it begins.
    fn look_ahead(&self, network: &dyn Network, next: Option<Timestamp>, now: Timestamp) -> Due {
        let Some(next) = next else { return Due::Never };
        let ahead = next.minus(AHEAD);
        if now < ahead {
            return Due::At(ahead);
        }
        // What comes of them is asked for again then; an error may have passed by then.
        let _ = (network.servers(&self.name), network.dsync(&self.name));
        Due::At(next)
    }

    fn note_told(&mut self, wish: &Wish, place: &Place<'_>, now: Timestamp) {
        let note = self.note.get_or_insert_default();
        note.set_told(wish.id(), now);
        if let Err(error) = note::write(place.state_dir, &self.name, note) {
            tracing::error!(zone = %self.name, %error, "cannot note what the parent was told; it is told once more after a restart");
        }
        self.settle(place);
    }

    /// Nothing is to be told.
    fn settle(&mut self, place: &Place<'_>) {
        self.telling = None;
        place.metrics.parent_notify_pending.with_label_values(&[&self.label]).set(0);
        place.standing.set_condition(&self.label, ConditionId::ParentNotTold, None);
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
            what: format!(
                "{}{}.",
                cause.get(..1).unwrap_or_default().to_uppercase(),
                cause.get(1..).unwrap_or_default()
            ),
        };
        place.standing.set_condition(&self.label, ConditionId::ParentNotTold, Some(condition));
    }

    fn count(&self, result: &str, place: &Place<'_>) {
        place.metrics.parent_notifies_total.with_label_values(&[&self.label, result]).inc();
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
            Told::NotSecure => {
                tracing::warn!(%zone, "the DSYNC records of the parent are not validated by the resolver, and are not used");
            }
        }
    }
}
