//! One zone of the running loader: its configuration, what the store holds for it, and the retry when the store could not be read.

use std::sync::Arc;

use keystore::config::ZoneConfig;
use keystore::dns::Name;
use keystore::retry::{Backoff, Retry};
use keystore::shared::Shared;
use keystore::store::StoreError;
use keystore::time::Timestamp;

use super::{HandingOn, Loader};
use crate::inbox::Dropped;
use crate::report;
use crate::store::{self, AcceptedState, CommitError, Digest, InForce, StoreRead, history, revoked};

/// Pauses between two tries to read a store that could not be read, in seconds.
const BACKOFF: Backoff = Backoff::new(1, 60);

#[derive(Debug)]
pub(super) struct LoaderZone {
    pub config: Shared<ZoneConfig>,
    /// What is known of its store.
    pub held: ZoneStore,
    /// Why the older generations could not be read at the last try to judge a file.
    pub history_error: Option<String>,
    /// The `zone` label.
    pub label: String,
    /// The number of the last change of what is in force, among those of all zones; 0 = none since the start.
    pub changed: u64,
    /// When its series may say something else than they do.
    pub report_due: Timestamp,
}

/// A generation that is in force, and whose names may not be on disk.
#[derive(Debug)]
pub(super) struct NotDurable {
    zone: Name,
    /// The dropped file, which stays in the inbox until they are; a rollback has none.
    file: Option<Dropped>,
}

/// What is known of the store of a zone.
#[derive(Debug)]
pub(super) enum ZoneStore {
    /// What it holds, and what is damaged in it. Where the generation in force does not read any more, what was read of it before counts.
    Read { state: AcceptedState, damage: Option<String> },
    /// Nobody knows what it holds: nothing is judged against it and nothing is written to it before it is read.
    Unread(UnreadStore),
}

/// A store that could not be read at the last try.
#[derive(Debug)]
pub(super) struct UnreadStore {
    what: String,
    /// What was known to be in force before. It is in force still, as far as anybody knows.
    in_force: Option<InForce>,
    /// When it is read again.
    retry: Retry,
}

/// A store that cannot be read, at a moment when that is needed.
#[derive(Debug, thiserror::Error)]
#[error("the accepted store cannot be read: {0}")]
pub(super) struct NotRead(String);

impl UnreadStore {
    /// `before` has the tries that failed before this one.
    fn new(error: &StoreError, in_force: Option<InForce>, before: Option<Retry>, now: Timestamp) -> Self {
        let mut retry = before.unwrap_or(Retry::new(BACKOFF));
        retry.failed(now);
        Self { what: error.to_string(), in_force, retry }
    }
}

impl ZoneStore {
    /// What is in force, as far as it is known.
    pub const fn in_force(&self) -> Option<&InForce> {
        match self {
            Self::Read { state, .. } => state.in_force.as_ref(),
            Self::Unread(unread) => unread.in_force.as_ref(),
        }
    }

    /// What the store holds.
    pub fn state(&self) -> Result<&AcceptedState, NotRead> {
        match self {
            Self::Read { state, .. } => Ok(state),
            Self::Unread(unread) => Err(NotRead(unread.what.clone())),
        }
    }

    /// True when something in the store is damaged: it may not hold what is in force.
    pub const fn is_damaged(&self) -> bool {
        matches!(self, Self::Read { damage: Some(_), .. })
    }

    /// Why nobody knows what the store holds.
    pub fn why_unread(&self) -> Option<&str> {
        match self {
            Self::Read { .. } => None,
            Self::Unread(unread) => Some(&unread.what),
        }
    }

    pub const fn is_unread(&self) -> bool {
        matches!(self, Self::Unread(_))
    }

    /// The tries to read it that failed.
    const fn retry(&self) -> Option<Retry> {
        match self {
            Self::Unread(unread) => Some(unread.retry),
            Self::Read { .. } => None,
        }
    }

    fn id(&self) -> Option<(u64, Digest)> {
        self.in_force().map(|f| (f.generation, f.digest))
    }
}

impl Loader {
    /// Reads the store of a zone that is new in the configuration, and tells how it stands.
    pub(super) fn read_zone(&self, zone: &Name, now: Timestamp) -> ZoneStore {
        match self.store.load(zone) {
            StoreRead::Unread { in_force, error } => {
                tell_unread(zone, &error);
                ZoneStore::Unread(UnreadStore::new(&error, in_force, None, now))
            }
            StoreRead::Read { state, damage } => {
                match (&state.in_force, &damage) {
                    (_, Some(error)) => tell_damaged(zone, error),
                    (Some(in_force), None) => {
                        let until = in_force.bundles.last().map_or(Timestamp::EPOCH, |b| b.expiration());
                        tracing::info!(%zone, generation = in_force.generation, until = %until.iso(), "read back what is in force");
                    }
                    (None, None) => {
                        tracing::warn!(%zone, "no SKR was accepted yet; drop one into the inbox")
                    }
                }
                ZoneStore::Read { state, damage: damage.map(|error| error.to_string()) }
            }
        }
    }

    /// Reads the store of a zone again. What is in force in memory stays so when the store cannot be read, or does not hold it any more.
    pub(super) fn reread_zone(&mut self, name: &Name, now: Timestamp) {
        let Some(zone) = self.zones.get_mut(name) else { return };
        let before = zone.held.id();
        match self.store.load(name) {
            StoreRead::Unread { in_force, error } => {
                tell_unread(name, &error);
                let in_force = in_force.or_else(|| zone.held.in_force().cloned());
                zone.held = ZoneStore::Unread(UnreadStore::new(&error, in_force, zone.held.retry(), now));
                self.has_trouble = true;
            }
            StoreRead::Read { state: found, damage } => {
                if let Some(error) = &damage {
                    tell_damaged(name, error);
                }
                let is_held = found.in_force.is_some();
                // A number that was in force is never given out again, even where the store was emptied from outside.
                let next = found.next.max(before.map_or(0, |(generation, _)| generation.saturating_add(1)));
                let mut damage = damage.map(|error| error.to_string());
                let in_force = found.in_force.or_else(|| zone.held.in_force().cloned());
                if let Some(lost) = in_force.as_ref().filter(|_| !is_held) {
                    damage.get_or_insert_with(|| {
                        format!("generation {} was taken away from outside", lost.generation)
                    });
                }
                zone.held = ZoneStore::Read { state: AcceptedState { next, in_force, ..found }, damage };
            }
        }
        self.hand_on(name, before, now);
    }

    /// Reads again the stores that could not be read, when that is due.
    pub(super) fn retry_stores(&mut self, now: Timestamp) {
        if !self.has_trouble {
            return;
        }
        let is_due =
            |zone: &LoaderZone| matches!(&zone.held, ZoneStore::Unread(unread) if unread.retry.is_due(now));
        let due: Vec<Name> =
            self.zones.iter().filter(|(_, zone)| is_due(zone)).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.reread_zone(&name, now);
        }
    }

    /// Reads the store of a zone that could not be read at the last try, whether that is due or not: a file is to be held against it.
    pub(super) fn read_if_unread(&mut self, name: &Name, now: Timestamp) {
        if self.zones.get(name).is_some_and(|zone| zone.held.is_unread()) {
            self.reread_zone(name, now);
        }
    }

    /// The number that the next generation of the zone will have.
    pub(super) fn next_number(&self, name: &Name) -> Result<u64, CommitError> {
        let state = self.zones.get(name).and_then(|zone| zone.held.state().ok());
        state.map(|state| self.store.next_number(name, state)).ok_or(CommitError::NotRead)
    }

    /// Makes `octets` the next generation of the zone, and hands it on. `received` are the octets of the dropped file when they differ.
    ///
    /// An error leaves in force what the store says; with [`CommitError::NotDurable`] that is the new generation.
    pub(super) fn commit(
        &mut self,
        name: &Name,
        octets: &[u8],
        received: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<u64, CommitError> {
        let Some(zone) = self.zones.get_mut(name) else { return Err(CommitError::NotRead) };
        let before = zone.held.id();
        let ZoneStore::Read { state, damage } = &mut zone.held else { return Err(CommitError::NotRead) };
        let known = state.in_force.clone();
        if let Some(replaced) = &state.in_force {
            revoked::add(&self.store.accepted(), name, revoked::published(&replaced.bundles, now))
                .map_err(CommitError::NotInForce)?;
        }
        let result = self.store.commit(name, state, octets, received);
        match &result {
            Err(CommitError::Unread { unread, .. }) if store::may_pass(unread) => {
                zone.held = ZoneStore::Unread(UnreadStore::new(unread, state.in_force.take(), None, now));
                self.has_trouble = true;
            }
            Err(CommitError::Unread { unread, .. }) => *damage = Some(unread.to_string()),
            // What was damaged is so still, and what was known to be in force is so, too.
            Err(CommitError::NotInForce(_)) if state.in_force.is_none() => state.in_force = known,
            _ => *damage = None,
        }
        self.hand_on(name, before, now);
        if let Ok(generation) = result {
            self.prune_generations(name, generation, now);
        }
        result
    }

    /// Removes generations that are not to be kept any more.
    fn prune_generations(&self, name: &Name, in_force: u64, now: Timestamp) {
        let keep = (&self.config.loader).into();
        match history::prune(&self.store.accepted(), name, in_force, keep, now) {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => {
                tracing::info!(zone = %name, ?gone, "removed old generations: there were more than `accepted-max-generations` or `accepted-max-days` allow");
            }
            Err(error) => {
                tracing::error!(zone = %name, %error, "cannot remove old generations; it is tried again at the next SKR")
            }
        }
    }

    /// The names of what is in force are to be synced once more.
    pub(super) fn sync_later(&mut self, name: &Name) {
        self.not_durable.push(NotDurable { zone: name.clone(), file: None });
    }

    /// Keeps a dropped file whose SKR is in force until the names in the store are on disk.
    pub(super) fn keep_until_durable(&mut self, name: &Name, file: &Dropped, now: Timestamp) {
        if file.is_part() {
            // The whole file is judged again later, and this part is unchanged then.
            self.inbox.put_back(file, now);
        } else {
            self.not_durable.push(NotDurable { zone: name.clone(), file: Some(file.clone()) });
        }
    }

    /// Syncs what could not be synced when it was committed, and takes the files out of the inbox.
    pub(super) fn retry_syncs(&mut self) {
        for waiting in std::mem::take(&mut self.not_durable) {
            match self.store.make_durable(&waiting.zone) {
                Ok(()) => {
                    tracing::info!(zone = %waiting.zone, "what is in force is on disk now");
                    if let Some(file) = &waiting.file {
                        self.take_out(file, None);
                    }
                }
                Err(_) => self.not_durable.push(waiting),
            }
        }
    }

    /// Gives what is in force to the deliveries and the metrics, when it is another generation than `before`.
    fn hand_on(&mut self, name: &Name, before: Option<(u64, Digest)>, now: Timestamp) {
        let Some(zone) = self.zones.get_mut(name) else { return };
        if zone.held.id() == before {
            return;
        }
        (zone.report_due, self.report_due) = (Timestamp::EPOCH, Timestamp::EPOCH);
        self.changes += 1;
        self.revision += 1;
        zone.changed = self.changes;
        let in_force = zone.held.in_force();
        if let Some(in_force) = in_force.filter(|_| !self.deliveries.is_empty()) {
            self.deliveries.take(name, &Arc::new(in_force.clone()));
        }
        if let Some(in_force) = in_force.filter(|_| self.handing_on == HandingOn::Here) {
            self.parent_watch.take(name, in_force);
        }
        report::zone(&self.metrics, &zone.label, in_force, now);
    }
}

fn tell_unread(zone: &Name, error: &StoreError) {
    tracing::error!(%zone, %error, "the accepted store cannot be read; it is tried again");
}

fn tell_damaged(zone: &Name, error: &StoreError) {
    tracing::error!(%zone, %error, "the accepted store is damaged; drop the SKR in force, or a newer one, to repair it");
}
