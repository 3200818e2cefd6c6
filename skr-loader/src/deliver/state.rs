//! What is known of each target and of each zone at it. The workers write it, the status reads it, and the metrics follow from it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keystore::dns::Name;
use keystore::time::Timestamp;
use metrics::Metrics;

/// Whether a server can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reachability {
    /// It was not asked yet.
    #[default]
    Unknown,
    /// The last command reached it.
    Reached,
    /// The last command did not reach it.
    Unreachable {
        /// What the last command said.
        cause: String,
    },
}

/// How the delivery of one zone to one target stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ZoneDelivery {
    /// True while the target is proven to serve the generation in force.
    pub is_current: bool,
    /// The generation that it was last proven to serve; 0 when there was none since the loader was started.
    pub generation: u64,
    /// Time of the last proof that succeeded.
    pub last_proof: Option<Timestamp>,
    /// Why the last try failed; `None` when it did not.
    pub cause: Option<String>,
}

/// How one target stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetState {
    /// Whether the server can be reached.
    pub reach: Reachability,
    /// The zones that are delivered to it.
    pub zones: BTreeMap<Name, ZoneDelivery>,
}

/// The states of all targets, shared by their workers and the status. Clones share one set.
#[derive(Debug, Clone)]
pub struct DeliveryStates {
    targets: Arc<Mutex<BTreeMap<String, TargetState>>>,
    /// How often anything in there was changed.
    changes: Arc<AtomicU64>,
    metrics: Metrics,
}

impl DeliveryStates {
    /// No targets yet.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { targets: Arc::default(), changes: Arc::default(), metrics }
    }

    /// How `target` stands; `None` when no worker has it.
    #[must_use]
    pub fn target(&self, target: &str) -> Option<TargetState> {
        self.lock().get(target).cloned()
    }

    /// How `zone` stands at `target`, and whether the target can be reached.
    #[must_use]
    pub fn zone(&self, target: &str, zone: &Name) -> (Reachability, ZoneDelivery) {
        let targets = self.lock();
        let Some(state) = targets.get(target) else {
            return (Reachability::Unknown, ZoneDelivery::default());
        };
        (state.reach.clone(), state.zones.get(zone).cloned().unwrap_or_default())
    }

    pub(super) fn add_zone(&self, target: &str, zone: &Name) {
        self.change()
            .entry(target.to_owned())
            .or_default()
            .zones
            .insert(zone.clone(), ZoneDelivery::default());
        self.metrics.add_delivery(&zone.zone_label(), target);
    }

    pub(super) fn remove_zone(&self, target: &str, zone: &Name) {
        if let Some(state) = self.change().get_mut(target) {
            state.zones.remove(zone);
        }
        self.metrics.remove_delivery(&zone.zone_label(), target);
    }

    pub(super) fn remove_target(&self, target: &str) {
        self.change().remove(target);
        self.metrics.remove_delivery_target(target);
    }

    pub(super) fn reached(&self, target: &str) {
        self.change().entry(target.to_owned()).or_default().reach = Reachability::Reached;
        self.metrics.delivery_server_up.with_label_values(&[target]).set(1);
    }

    /// The server is not reached: nothing of what it serves is proven from now on.
    pub(super) fn unreachable(&self, target: &str, cause: String) {
        let mut targets = self.change();
        let state = targets.entry(target.to_owned()).or_default();
        state.reach = Reachability::Unreachable { cause };
        self.metrics.delivery_server_up.with_label_values(&[target]).set(0);
        for (zone, delivery) in &mut state.zones {
            delivery.is_current = false;
            self.metrics.skr_delivery_current.with_label_values(&[&zone.zone_label(), target]).set(0);
        }
    }

    /// `generation` of `zone` was proven to be served at `now`.
    pub(super) fn proven(&self, target: &str, zone: &Name, generation: u64, now: Timestamp) {
        let delivery = ZoneDelivery { is_current: true, generation, last_proof: Some(now), cause: None };
        self.change().entry(target.to_owned()).or_default().zones.insert(zone.clone(), delivery);
        let label = zone.zone_label();
        let labels = [label.as_str(), target];
        let metric = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.skr_delivered_generation.with_label_values(&labels).set(metric(generation));
        self.metrics.skr_delivery_current.with_label_values(&labels).set(1);
        self.metrics
            .skr_delivery_last_proof_timestamp_seconds
            .with_label_values(&labels)
            .set(metric(now.secs()));
    }

    /// A delivery or a proof of `zone` failed, for this cause.
    pub(super) fn failed(&self, target: &str, zone: &Name, cause: String) {
        let mut targets = self.change();
        let delivery = targets.entry(target.to_owned()).or_default().zones.entry(zone.clone()).or_default();
        delivery.is_current = false;
        delivery.cause = Some(cause);
        self.metrics.skr_delivery_current.with_label_values(&[&zone.zone_label(), target]).set(0);
    }

    /// A number that is another one after each change.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The states, to change something in them.
    fn change(&self) -> MutexGuard<'_, BTreeMap<String, TargetState>> {
        let targets = self.lock();
        self.changes.fetch_add(1, Ordering::Release);
        targets
    }

    /// What is in there is written whole in one step each time, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, TargetState>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
