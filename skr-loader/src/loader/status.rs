//! How the running loader stands.

use keystore::dns::Name;
use keystore::time::Timestamp;

use super::{Loader, Zone};
use crate::deliver::state::Reachability;
use crate::report;
use crate::service::ConfigurationState;
use crate::standing::WatchState;
use crate::status::{
    self, Condition, Daemon, DeliveryStatus, InboxStatus, Severity, Status, ZoneParts, ZoneStatus,
};

/// Files that wait in the inbox before somebody should look at it.
const MANY_WAIT: usize = 1000;

impl Loader {
    /// How things stand for these zones, or all where there are none. One that is not configured is not covered, and says so.
    #[must_use]
    pub fn status(&self, zones: &[Name], now: Timestamp) -> Status {
        let zones = if zones.is_empty() {
            self.zones.values().map(|zone| self.zone_status(zone, now)).collect()
        } else {
            zones
                .iter()
                .map(|name| {
                    self.zones.get(name).map_or_else(|| unknown(name, now), |z| self.zone_status(z, now))
                })
                .collect()
        };
        Status { now: now.iso(), daemon: Some(self.daemon_status(now)), zones }
    }

    fn zone_status(&self, zone: &Zone, now: Timestamp) -> ZoneStatus {
        let parts = ZoneParts {
            zone: &zone.config.name,
            in_force: zone.held.in_force(),
            trouble: zone.held.trouble(),
            last_import: zone.last_import.as_ref(),
            deliveries: self.deliveries_of(zone),
            thresholds: Some(&self.config.loader),
        };
        status::zone(parts, now)
    }

    fn deliveries_of(&self, zone: &Zone) -> Vec<DeliveryStatus> {
        let wanted = |zones: &Option<Vec<Name>>| zones.as_ref().is_none_or(|z| z.contains(&zone.config.name));
        let targets =
            self.config.deliver.iter().filter(|t| wanted(&t.zones) && zone.held.in_force().is_some());
        let look = |target: &keystore::config::deliver::TargetConfig| {
            let (reach, delivery) = self.deliveries.states().zone(&target.name, &zone.config.name);
            DeliveryStatus {
                target: target.name.clone(),
                up: reach == Reachability::Reached,
                current: delivery.is_current,
                generation: delivery.generation,
                last_proof: delivery.last_proof.map(Timestamp::iso),
                cause: match reach {
                    Reachability::Unreachable { cause } => Some(cause),
                    Reachability::Unknown | Reachability::Reached => delivery.cause,
                },
            }
        };
        targets.map(look).collect()
    }

    fn daemon_status(&self, now: Timestamp) -> Daemon {
        let mut conditions = Vec::new();
        let mut tell = |severity, what: &str| conditions.push(Condition::new(severity, what));
        if self.clock.is_behind() {
            tell(
                Severity::Critical,
                "the clock stands before the last lines of the audit log; nothing is imported until it is set, or has kept its time for an hour",
            );
        }
        let WatchState { watched, last_scan } = self.standing.watch();
        match self.inbox.trouble() {
            Some(why) => tell(Severity::Warning, why),
            None if !watched => tell(Severity::Warning, "the inbox is not watched yet"),
            None => {}
        }
        let waiting = self.inbox.waiting();
        if waiting > MANY_WAIT {
            tell(
                Severity::Warning,
                &format!(
                    "{waiting} files wait in the inbox, the newest are judged first; see who drops them"
                ),
            );
        }
        let taken = self.standing.configuration() == ConfigurationState::Taken;
        if !taken {
            tell(
                Severity::Warning,
                "the configuration has errors, the old one is in use; `skr-loader reload` lists them",
            );
        }
        if let Some(error) = &self.audit_error {
            tell(Severity::Warning, &format!("the audit log cannot be written: {error}"));
        }
        Daemon {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started.map_or_else(String::new, Timestamp::iso),
            uptime_seconds: self.started.map_or(0, |started| now.since(started)),
            inbox: InboxStatus {
                folder: self.inbox.dir().display().to_string(),
                watched,
                trouble: self.inbox.trouble().map(str::to_owned),
                last_scan: last_scan.map(Timestamp::iso),
                pending: self.inbox.pending(),
            },
            configuration_taken: taken,
            conditions,
        }
    }
}

fn unknown(name: &Name, now: Timestamp) -> ZoneStatus {
    let parts = ZoneParts {
        zone: name,
        in_force: None,
        trouble: None,
        last_import: None,
        deliveries: Vec::new(),
        thresholds: None,
    };
    let what = format!("{} is no [[zone]] of the configuration", report::label(name));
    ZoneStatus { conditions: vec![Condition::new(Severity::Critical, what)], ..status::zone(parts, now) }
}
