//! What is served: from this host, and by the servers that are given what is accepted.

use crate::condition::{ConditionId, Severity};
use keystore::config::Signing;
use keystore::time::Timestamp;

use super::Findings;
use super::coverage::CoverageView;
use crate::health::facts::ZoneFacts;
use crate::health::model::Event;
use crate::health::report::{Delivery, SecondaryReport, ServedReport, SignerCondition, SignerWork};
use crate::health::words::{DAY, date_time, span};

/// Seconds for which a signer may use an older generation before it is critical.
const BEHIND: u64 = 600;
/// Seconds for which a delivery may go unproven before it is a warning.
const UNPROVEN: u64 = 600;
/// Seconds that the transfer of a version to a secondary may take.
const TRANSFERRING: u64 = 60;
/// Seconds for which a secondary may lack a version before it is a warning.
const UNTRANSFERRED: u64 = 3600;
/// Seconds before a bundle switch at which a server that is not proven is critical.
const SWITCH: u64 = 3600;

pub(super) fn judge(
    zone: &ZoneFacts,
    seen: &CoverageView,
    signer_runs: bool,
    found: &mut Findings<'_>,
    now: Timestamp,
) {
    if zone.is_served && signer_runs {
        match &zone.report.served {
            Some(served) => {
                here(zone, served, seen, found, now);
                zone.report.secondaries.iter().for_each(|secondary| behind(secondary, served, found, now));
            }
            None => {
                let what = "The signer does not know the zone; reload the configuration.";
                found.raise(ConditionId::ZoneNotLoaded, Severity::Critical, what);
            }
        }
    }
    if zone.store.schedule.is_some() {
        for delivery in zone.report.deliveries.iter().filter(|delivery| !delivery.current) {
            unproven(delivery, seen, found, now);
        }
    }
}

fn here(
    zone: &ZoneFacts,
    served: &ServedReport,
    seen: &CoverageView,
    found: &mut Findings<'_>,
    now: Timestamp,
) {
    let cause = served.file_error.as_ref();
    if !served.loaded {
        let why = cause.cloned().or_else(|| work(served)).unwrap_or_else(|| "It was not read yet".to_owned());
        found.raise(ConditionId::ZoneNotLoaded, Severity::Critical, format!("{why}."));
    } else if let Some(cause) = cause.filter(|_| !served.has(ConditionId::SignerZoneFileUnreadable)) {
        found.raise(ConditionId::ZoneFileRejected, Severity::Warning, format!("{cause}."));
    }
    for SignerCondition { id, since, cause } in &served.conditions {
        let severity = id.severities().last().copied().unwrap_or(Severity::Warning);
        found.since = Some(*since);
        found.raise(*id, severity, format!("{cause}."));
    }
    let Some(schedule) = &zone.store.schedule else {
        if let Signing::Presigned(_) = zone.signing {
            signatures_end(served, found, now);
        }
        return;
    };
    if served.loaded && !served.validly_signed {
        let why = work(served).or_else(|| served.why_not.clone());
        let why = why.unwrap_or_else(|| "The cause stands in the log of the signer".to_owned());
        found.raise(ConditionId::ZoneUnsigned, Severity::Critical, format!("{why}."));
    }
    if served.generation != schedule.generation {
        let late = found.age(ConditionId::GenerationBehind, None) >= BEHIND;
        let severity = if late { Severity::Critical } else { Severity::Attention };
        found.next.extend(
            seen.active().map(|(_, until)| Event::at(until, "signatures of the bundle in force end")),
        );
        let what = format!(
            "The signer uses generation {}, accepted is generation {}.",
            served.generation, schedule.generation
        );
        found.raise(ConditionId::GenerationBehind, severity, what);
    }
    signatures_end(served, found, now);
}

/// Whether a signature that is served ends sooner than it should: whoever signs the zone has not renewed it.
fn signatures_end(served: &ServedReport, found: &mut Findings<'_>, now: Timestamp) {
    if let Some(end) = served.zsk_expires.filter(|_| served.loaded) {
        let left = end.since(now);
        let critical = DAY.min(served.refresh_seconds / 4);
        let severity = match left {
            left if left < critical => Severity::Critical,
            left if left < served.refresh_seconds / 4 * 3 => Severity::Warning,
            _ => return,
        };
        found.next.push(Event::at(end, "first signature ends"));
        let what = format!(
            "A signature ends on {} UTC; it should have been renewed {} before that.",
            date_time(end),
            span(served.refresh_seconds)
        );
        found.raise(ConditionId::SignatureLate, severity, what);
    }
}

impl ServedReport {
    fn has(&self, id: ConditionId) -> bool {
        self.conditions.iter().any(|condition| condition.id == id)
    }
}

fn behind(secondary: &SecondaryReport, served: &ServedReport, found: &mut Findings<'_>, now: Timestamp) {
    let Some(since) = secondary.behind_since else { return };
    let severity = match now.since(since) {
        age if age < TRANSFERRING => return,
        age if age < UNTRANSFERRED => Severity::Attention,
        _ => Severity::Warning,
    };
    let has = secondary
        .serial
        .map_or_else(|| "was not seen to have the zone".to_owned(), |serial| format!("has serial {serial}"));
    let cause = secondary.cause.as_ref().map_or_else(String::new, |cause| format!(": {cause}"));
    found.subject = Some(secondary.address.clone());
    let what = format!("{} {has}, serial {} is served here{cause}.", secondary.address, served.serial);
    found.raise(ConditionId::SecondaryBehind, severity, what);
}

/// What is being done for a zone that is not served as it should be, a sentence without its full stop.
fn work(served: &ServedReport) -> Option<String> {
    served.work.map(|work| match work {
        SignerWork::ReadingZoneFile => "The zone file is being read".to_owned(),
        SignerWork::Signing(percent) => format!("The zone is being signed, {percent} % done"),
    })
}

fn unproven(delivery: &Delivery, seen: &CoverageView, found: &mut Findings<'_>, now: Timestamp) {
    let age = found.age(ConditionId::DeliveryUnproven, Some(&delivery.target));
    let next = seen.coverage.and_then(|coverage| coverage.next);
    let ends = seen.active().map(|(_, until)| until);
    let severity = match next.or(ends) {
        Some(at) if at.since(now) < SWITCH => Severity::Critical,
        _ if age < UNPROVEN => Severity::Attention,
        _ => Severity::Warning,
    };
    let state = if delivery.up { "is not proven to serve what is in force" } else { "is not reached" };
    let cause = delivery.cause.as_ref().map_or_else(String::new, |cause| format!(": {cause}"));
    found.subject = Some(delivery.target.clone());
    found.next.extend(next.map(|at| Event::at(at, "next bundle must be served")));
    found.raise(ConditionId::DeliveryUnproven, severity, format!("{} {state}{cause}.", delivery.target));
}
