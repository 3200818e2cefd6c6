//! One zone of the running loader: its configuration, what the store holds for it, and the retry when the store could not be read.

use std::sync::Arc;

use keystore::config::ZoneConfig;
use keystore::dns::Name;
use keystore::store::StoreError;
use keystore::time::Timestamp;

use super::Loader;
use crate::audit::Record;
use crate::inbox::Dropped;
use crate::report;
use crate::store::{CommitError, ZoneState, history};

/// First and longest pause, in seconds, between two tries to read a store that could not be read.
const RETRY: (u64, u64) = (1, 60);

#[derive(Debug)]
pub(super) struct Zone {
    pub config: ZoneConfig,
    pub state: ZoneState,
    /// What was wrong when the store was last read.
    pub damage: Option<Damage>,
    /// How the last file, or rollback, fared.
    pub last_import: Option<Record>,
    /// The `zone` label.
    pub label: String,
}

/// What is wrong with the store of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub what: String,
    /// When the store is read again, and the pause after that. `None` for damage of the content, which only a new SKR repairs.
    retry: Option<(Timestamp, u64)>,
}

impl Damage {
    /// `before` is what was wrong at the last try: the pauses grow.
    fn new(error: &StoreError, before: Option<&Self>, now: Timestamp) -> Self {
        let pause = before.and_then(|before| Some(before.retry?.1)).unwrap_or(RETRY.0);
        let retry = may_pass(error).then(|| (now.plus(pause), (2 * pause).min(RETRY.1)));
        Self { what: error.to_string(), retry }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        // A clock that went back must not delay it.
        self.retry.is_some_and(|(at, _)| now >= at || at.since(now) > RETRY.1)
    }

    /// True when it may pass without anybody's help.
    pub const fn is_retried(&self) -> bool {
        self.retry.is_some()
    }
}

/// True for an error of the system that may be gone at the next try. A file that is not there does not come back by itself.
fn may_pass(error: &StoreError) -> bool {
    match error {
        StoreError::Io { source, .. } => source.kind() != std::io::ErrorKind::NotFound,
        _ => false,
    }
}

impl Loader {
    /// Reads the store of a zone that is new in the configuration, and tells how it stands.
    pub(super) fn read_zone(&self, zone: &Name, now: Timestamp) -> (ZoneState, Option<Damage>) {
        let (state, error) = self.store.load(zone);
        match (&state.in_force, &error) {
            (_, Some(error)) if may_pass(error) => {
                tracing::error!(%zone, %error, "the accepted store cannot be read; it is tried again");
            }
            (_, Some(error)) => {
                tracing::error!(%zone, %error, "the accepted store is damaged; drop the SKR in force, or a newer one, to repair it");
            }
            (Some(in_force), None) => {
                let until = in_force.bundles.last().map_or(Timestamp::EPOCH, |b| b.expiration());
                tracing::info!(%zone, generation = in_force.generation, until = %until.iso(), "read back what is in force");
            }
            (None, None) => tracing::warn!(%zone, "no SKR was accepted yet; drop one into the inbox"),
        }
        let damage = error.map(|error| Damage::new(&error, None, now));
        (state, damage)
    }

    /// Reads the store of a zone again. What is in memory stays when the store cannot be read.
    pub(super) fn reread_zone(&mut self, name: &Name, now: Timestamp) {
        let Some(zone) = self.zones.get_mut(name) else { return };
        let before = zone.state.in_force.as_ref().map(|f| (f.generation, f.digest));
        let (found, error) = self.store.load(name);
        match error {
            Some(error) if may_pass(&error) => {
                tracing::error!(zone = %name, %error, "the accepted store cannot be read; it is tried again");
                zone.damage = Some(Damage::new(&error, zone.damage.as_ref(), now));
                return;
            }
            Some(error) => {
                tracing::error!(zone = %name, %error, "the accepted store is damaged; drop the SKR in force, or a newer one, to repair it");
                zone.damage = Some(Damage::new(&error, None, now));
            }
            None => zone.damage = None,
        }
        // A number that was in force is never given out again, even where the store was emptied from outside.
        let next = found.next.max(before.map_or(0, |(generation, _)| generation.saturating_add(1)));
        zone.state = ZoneState { next, ..found };
        self.hand_on(name, before, now);
    }

    /// Reads again the stores that could not be read, when that is due.
    pub(super) fn retry_stores(&mut self, now: Timestamp) {
        let is_due = |zone: &Zone| zone.damage.as_ref().is_some_and(|damage| damage.is_due(now));
        let due: Vec<Name> =
            self.zones.iter().filter(|(_, zone)| is_due(zone)).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.reread_zone(&name, now);
        }
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
        let Some(zone) = self.zones.get_mut(name) else {
            return self.store.commit(name, &mut ZoneState::default(), octets, received);
        };
        let before = zone.state.in_force.as_ref().map(|f| (f.generation, f.digest));
        let result = self.store.commit(name, &mut zone.state, octets, received);
        zone.damage = match &result {
            Err(CommitError::Unread { unread, .. }) => Some(Damage::new(unread, zone.damage.as_ref(), now)),
            // What was damaged is so still.
            Err(CommitError::NotInForce(_)) if zone.state.in_force.is_none() => zone.damage.take(),
            _ => None,
        };
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

    /// Keeps a dropped file whose SKR is in force until the names in the store are on disk.
    pub(super) fn keep_until_durable(&mut self, name: &Name, file: &Dropped, now: Timestamp) {
        if file.is_part() {
            // The whole file is judged again later, and this part is unchanged then.
            self.inbox.put_back(file, now);
        } else {
            self.not_durable.push((name.clone(), file.clone()));
        }
    }

    /// Syncs what could not be synced when it was committed, and takes the files out of the inbox.
    pub(super) fn retry_syncs(&mut self) {
        for (name, file) in std::mem::take(&mut self.not_durable) {
            match self.store.make_durable(&name) {
                Ok(()) => {
                    tracing::info!(zone = %name, "what is in force is on disk now");
                    self.take_out(&file, None);
                }
                Err(_) => self.not_durable.push((name, file)),
            }
        }
    }

    /// Gives what is in force to the deliveries and the metrics, when it is another generation than `before`.
    fn hand_on(&mut self, name: &Name, before: Option<(u64, [u8; 32])>, now: Timestamp) {
        let Some(zone) = self.zones.get(name) else { return };
        let in_force = zone.state.in_force.as_ref();
        if in_force.map(|f| (f.generation, f.digest)) == before {
            return;
        }
        if let Some(in_force) = in_force.filter(|_| !self.deliveries.is_empty()) {
            self.deliveries.take(name, &Arc::new(in_force.clone()));
        }
        report::zone(&self.metrics, &zone.label, &zone.state, now);
    }
}
