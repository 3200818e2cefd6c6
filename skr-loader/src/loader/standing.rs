//! What the loader's loop knows, handed to other threads after each step.

use std::sync::Arc;

use keystore::dns::Name;
use keystore::time::Timestamp;
use metrics::health::report::{Delivery, InboxReport, PendingFile, ZoneReport, ZoneReports};

use super::{Loader, LoaderZone};
use crate::deliver::state::Reachability;
use crate::inbox::PendingState;
use crate::standing::LoopState;

/// Files that wait in the inbox before somebody should look at it.
const MANY_WAIT: usize = 1000;

impl Loader {
    /// Brings [`Loader::standing`] up to date.
    pub(super) fn tell_standing(&mut self, now: Timestamp) {
        let inbox = self.inbox_report();
        let zones = self.zone_reports(&inbox);
        let state = LoopState {
            started: self.started,
            inbox: Some(inbox),
            audit_error: self
                .audit_error
                .as_ref()
                .map(|error| format!("The audit log cannot be written: {error}")),
            clock_is_behind: self.clock.is_behind(),
            clock_since: None,
            zones,
        };
        self.standing.set_loop(state, now);
    }

    /// What is to be said of single zones: found anew only where something has changed, since there may be thousands of them and a step each
    /// second.
    fn zone_reports(&mut self, inbox: &InboxReport) -> Arc<ZoneReports> {
        let deliveries = self.deliveries.states().changes();
        if let Some((revision, changes, told)) = &self.told
            && (*revision, *changes) == (self.revision, deliveries)
            && !self.has_trouble
        {
            return Arc::clone(told);
        }
        let is_trouble = |zone: &LoaderZone| zone.held.is_unread() || zone.history_error.is_some();
        self.has_trouble = self.zones.values().any(is_trouble);
        // Nothing else reads the older generations: without a file that waits for them nobody knows whether they can be read again.
        let is_waited_for = inbox.pending.iter().any(|file| file.state == PendingState::Retried.to_string());
        let zones = self.zones.values().filter_map(|zone| {
            let deliveries = self.deliveries_of(zone);
            let history = zone.history_error.as_deref().filter(|_| is_waited_for);
            let unread = zone.held.why_unread().or(history);
            let store_error = unread.map(|why| format!("The loader cannot read it, and tries again: {why}"));
            let report = ZoneReport { deliveries, store_error, ..ZoneReport::default() };
            (report != ZoneReport::default()).then(|| (zone.label.clone(), report))
        });
        let zones: Arc<ZoneReports> = Arc::new(zones.collect());
        self.told = Some((self.revision, deliveries, Arc::clone(&zones)));
        zones
    }

    fn inbox_report(&self) -> InboxReport {
        let waiting = self.inbox.waiting();
        let crowded = (waiting > MANY_WAIT).then(|| {
            format!("{waiting} files wait in the inbox, the newest are judged first; see who drops them")
        });
        let pending = self.inbox.pending().into_iter().map(|file| PendingFile {
            file: file.file,
            state: file.state.to_string(),
            id: file.id,
            reason: file.reason,
        });
        InboxReport {
            folder: self.inbox.dir().display().to_string(),
            watched: self.inbox.is_watched(),
            trouble: self.inbox.trouble().map(str::to_owned).or(crowded),
            last_scan: self.last_scan,
            scan_interval: self.config.loader.rescan_interval.into(),
            pending: pending.collect(),
        }
    }

    fn deliveries_of(&self, zone: &LoaderZone) -> Vec<Delivery> {
        let wanted = |zones: &Option<Vec<Name>>| zones.as_ref().is_none_or(|z| z.contains(&zone.config.name));
        let targets =
            self.config.deliver.iter().filter(|t| wanted(&t.zones) && zone.held.in_force().is_some());
        let look = |target: &keystore::config::deliver::TargetConfig| {
            let (reach, delivery) = self.deliveries.states().zone(&target.name, &zone.config.name);
            Delivery {
                target: target.name.clone(),
                up: reach == Reachability::Reached,
                current: delivery.is_current,
                generation: delivery.generation,
                last_proof: delivery.last_proof,
                cause: match reach {
                    Reachability::Unreachable { cause } => Some(cause),
                    Reachability::Unknown | Reachability::Reached => delivery.cause,
                },
            }
        };
        targets.map(look).collect()
    }
}
