//! How a running loader stands, for other threads: whether it is ready, and what its status shows.
//!
//! **Invariant:** the loader's loop alone writes this, and writes the metrics from the same values; nobody reads a metric back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keystore::dns::Name;
use keystore::exchange::Coverage;
use keystore::time::Timestamp;

use crate::service::ConfigurationState;
use crate::store::InForce;

/// How the inbox is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchState {
    /// The inbox is watched in the way that is configured.
    pub watched: bool,
    /// Time of the last full scan of the inbox; `None` = there was none.
    pub last_scan: Option<Timestamp>,
}

/// What is in force for a zone, as far as readiness asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneStanding {
    /// No SKR was accepted.
    NothingAccepted,
    /// The accepted store could not be read yet, so that nobody knows what is in force.
    Unread,
    /// An SKR was accepted, and no bundle of it is in force.
    NoBundle,
    /// A bundle is in force, and its signatures are valid until this time.
    CoveredUntil(Timestamp),
}

impl ZoneStanding {
    /// `nothing` is what it means that nothing is known to be in force.
    pub(crate) fn of(in_force: Option<&InForce>, nothing: Self, now: Timestamp) -> Self {
        let Some(in_force) = in_force else { return nothing };
        match Coverage::at(&in_force.bundles, now).and_then(|coverage| coverage.active) {
            Some((_, until)) => Self::CoveredUntil(until),
            None => Self::NoBundle,
        }
    }

    /// What the zone lacks at `now`; `None` = nothing.
    #[must_use]
    pub fn lacks(self, now: Timestamp) -> Option<&'static str> {
        match self {
            Self::NothingAccepted => Some("no SKR is accepted"),
            Self::Unread => Some("the accepted store cannot be read"),
            Self::NoBundle => Some("no bundle is in force"),
            Self::CoveredUntil(end) => (end <= now).then_some("no bundle is in force"),
        }
    }
}

/// Shared by the loader and whoever asks. Clones see the same values.
#[derive(Debug, Clone, Default)]
pub struct Standing(Arc<Mutex<Values>>);

#[derive(Debug, Default)]
struct Values {
    watch: WatchState,
    configuration: ConfigurationState,
    zones: BTreeMap<Name, ZoneStanding>,
}

impl Standing {
    /// How the inbox is watched.
    #[must_use]
    pub fn watch(&self) -> WatchState {
        self.values().watch
    }

    /// Whether the last configuration was taken.
    #[must_use]
    pub fn configuration(&self) -> ConfigurationState {
        self.values().configuration
    }

    /// What is in force for a zone; one that is not configured has nothing.
    #[must_use]
    pub fn zone(&self, zone: &Name) -> ZoneStanding {
        self.values().zones.get(zone).copied().unwrap_or(ZoneStanding::NothingAccepted)
    }

    pub(crate) fn set_watched(&self, watched: bool) {
        self.values().watch.watched = watched;
    }

    pub(crate) fn set_scanned(&self, at: Timestamp) {
        self.values().watch.last_scan = Some(at);
    }

    pub(crate) fn set_configuration(&self, state: ConfigurationState) {
        self.values().configuration = state;
    }

    pub(crate) fn set_zones(&self, zones: impl Iterator<Item = (Name, ZoneStanding)>) {
        self.values().zones = zones.collect();
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_is_ready_while_the_bundle_in_force_is_valid() {
        let now = Timestamp::from_secs(1_000);
        for (standing, ready) in [
            (ZoneStanding::NothingAccepted, false),
            (ZoneStanding::Unread, false),
            (ZoneStanding::NoBundle, false),
            (ZoneStanding::CoveredUntil(now.minus(1)), false),
            (ZoneStanding::CoveredUntil(now), false),
            (ZoneStanding::CoveredUntil(now.plus(1)), true),
        ] {
            assert_eq!(standing.lacks(now).is_none(), ready, "{standing:?}");
        }
        assert_eq!(
            Standing::default().zone(&Name::parse("example.").expect("a name")),
            ZoneStanding::NothingAccepted
        );
    }
}
