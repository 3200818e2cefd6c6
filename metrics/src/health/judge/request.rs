//! The open request, the one that is due, and whether anybody was told.

use crate::condition::{ConditionId, Severity};
use keystore::time::Timestamp;

use super::Findings;
use super::coverage::CoverageView;
use crate::health::facts::ZoneFacts;
use crate::health::model::{Deadline, Event};
use crate::health::words::date_time;

/// Seconds after its time at which a request that is not there is overdue; a timer looks every minute.
const GRACE: u64 = 3600;

pub(super) fn judge(zone: &ZoneFacts, seen: &CoverageView, found: &mut Findings<'_>, now: Timestamp) {
    if let Some(error) = &zone.outbox_error {
        found.raise(
            ConditionId::RequestOverdue,
            Severity::Warning,
            format!("The outbox cannot be read: {error}."),
        );
    } else if let Some(request) = zone.requests.last() {
        let severity = match seen.coverage {
            // A zone that never had coverage has nothing to lose.
            None => Severity::Attention,
            Some(_) => seen.severity(zone.thresholds).max(Severity::Attention),
        };
        let ahead = seen.deadlines(zone.thresholds).into_iter().filter(|deadline| deadline.at > now);
        found.next = ahead
            .map(|Deadline { at, severity }| {
                Event::at(at, format!("request becomes more urgent: {severity}"))
            })
            .collect();
        found.since = Some(request.written);
        found.subject = Some(request.path.display().to_string());
        found.command = Some(format!(
            "ksr-gen -k POLICY -l POLICY-FILE -K KSK-FOLDER -e {} -f {} -O answer.skr sign {}",
            request.end,
            request.path.display(),
            found.zone
        ));
        let error = zone.report.timer.as_ref().and_then(|timer| timer.error.as_ref());
        let failed = error.map_or_else(String::new, |error| {
            format!(" The last look of the request timer failed: {error}.")
        });
        let what = format!(
            "The request of {} UTC asks for the time until {} UTC and is not answered.{failed}",
            date_time(request.written),
            date_time(request.end)
        );
        found.raise(ConditionId::RequestWaits, severity, what);
    } else if zone.has_timer {
        overdue(zone, seen, found, now);
    }
    let timer = zone.report.timer.as_ref();
    if let Some(error) = timer.and_then(|timer| timer.notice_error.as_ref()) {
        found.raise(ConditionId::NoticeFailed, Severity::Warning, format!("The notice failed: {error}."));
    }
}

fn overdue(zone: &ZoneFacts, seen: &CoverageView, found: &mut Findings<'_>, now: Timestamp) {
    let timer = zone.report.timer.as_ref();
    let planned = seen.coverage.map(|coverage| coverage.end.minus(zone.thresholds.lead));
    let due = timer.and_then(|timer| timer.due).or(planned);
    let error = timer.and_then(|timer| timer.error.as_ref());
    let late = due.is_some_and(|due| now.since(due) > GRACE);
    if !late && error.is_none() {
        return;
    }
    let severity = match seen.coverage {
        Some(_) if seen.left() < zone.thresholds.critical => Severity::Critical,
        _ => Severity::Warning,
    };
    let why = error.map_or_else(String::new, |error| format!(" The last try failed: {error}."));
    let what = match due.filter(|due| *due <= now) {
        Some(due) => format!("A request was due on {} UTC and is not there.{why}", date_time(due)),
        None => format!("No request can be written.{why}"),
    };
    found.since = due.filter(|due| *due <= now);
    found.command = Some("offline-ksk requests --once -c FILE".to_owned());
    found.raise(ConditionId::RequestOverdue, severity, what);
}
