//! The host: the programs, the configuration, the inbox, the clock, the disk, the audit log.

use crate::condition::{ConditionId, Severity};
use keystore::clock::RELEASED;
use keystore::time::Timestamp;

use super::Findings;
use crate::health::facts::{Alarm, AuditLog, ComponentFacts, ComponentState, Disk, HealthFacts, HostFacts};
use crate::health::model::{ComponentHealth, ComponentRuns, Event, ZoneHealth};
use crate::health::report::{
    CatalogReport, CertificateReport, Component, ComponentReport, HEARTBEAT, InboxReport,
};
use crate::health::words::{DAY, date_time, distance, span};

/// Seconds by which the clock may be before a time that is known to have passed.
const CLOCK_TOLERANCE: u64 = 120;
/// Seconds after which a jump of the clock is not told any more.
const JUMP_TOLD: u64 = 600;
/// Seconds for which a file may be left in the inbox before it is a warning.
const LEFT: u64 = 3600;
/// Seconds for which a report may be on its way.
const REPORTED: u64 = 2 * HEARTBEAT + 10;
/// Seconds of validity left at which a certificate is a warning, and critical; less for one that lives shorter than a few months.
const CERTIFICATE_WARNING: u64 = 21 * DAY;
const CERTIFICATE_CRITICAL: u64 = 3 * DAY;

impl HealthFacts {
    /// The report of a component, where one was read.
    #[must_use]
    pub fn component(&self, component: Component) -> Option<&ComponentReport> {
        self.components.iter().find(|part| part.component == component).and_then(|part| match &part.state {
            ComponentState::Reported(report) => Some(&**report),
            ComponentState::Silent | ComponentState::Unreadable(_) | ComponentState::Ended(_) => None,
        })
    }
}

pub(super) fn judge(facts: &HealthFacts, zones: &[ZoneHealth], found: &mut Findings<'_>, now: Timestamp) {
    let request_due = zones.iter().any(|zone| {
        zone.request.is_none() && zone.conditions.iter().any(|c| c.id == ConditionId::RequestOverdue)
    });
    for part in &facts.components {
        match &part.state {
            ComponentState::Unreadable(what) => {
                found.subject = Some(part.component.as_str().to_owned());
                found.raise(ConditionId::HealthUnreadable, Severity::Warning, format!("{what}."));
            }
            ComponentState::Silent if part.expected => {
                let what = format!("The {} does not run, or never did.", part.component.title());
                silent(part.component, what, request_due, found);
            }
            ComponentState::Ended(report) if part.expected => {
                let what = format!(
                    "The {} (process {}) has ended without saying so: it crashed or was killed.",
                    part.component.title(),
                    report.pid
                );
                silent(part.component, what, request_due, found);
            }
            ComponentState::Reported(report) if !report.is_fresh(now) && part.expected => {
                found.since = (report.written <= now).then_some(report.written);
                silent(part.component, old(report, now), request_due, found);
            }
            ComponentState::Reported(report) if report.is_fresh(now) => reported(report, found, now),
            // Nobody waits for it.
            ComponentState::Silent | ComponentState::Ended(_) | ComponentState::Reported(_) => {}
        }
    }
    files(&facts.host, found, now);
}

fn silent(component: Component, what: String, request_due: bool, found: &mut Findings<'_>) {
    let (id, severity) = match component {
        Component::SkrLoader => (ConditionId::LoaderNotRunning, Severity::Warning),
        Component::Requests if request_due => (ConditionId::TimerNotRunning, Severity::Critical),
        Component::Requests => (ConditionId::TimerNotRunning, Severity::Warning),
        Component::Signer => (ConditionId::SignerNotRunning, Severity::Critical),
        // A probe that is not there is noticed by what it does not report.
        Component::Probe | Component::Pair => {
            found.since = None;
            return;
        }
    };
    found.raise(id, severity, what);
}

/// What is said of a report that is not of these seconds.
fn old(report: &ComponentReport, now: Timestamp) -> String {
    let title = report.component.title();
    if report.written > now {
        return format!(
            "The last report of the {title} is of the future: {} UTC.",
            date_time(report.written)
        );
    }
    let ago = distance(report.written, now);
    format!("The {title} (process {}) last reported {ago}; it may hang.", report.pid)
}

/// What a component that runs says of the host.
fn reported(report: &ComponentReport, found: &mut Findings<'_>, now: Timestamp) {
    let component = report.component;
    if let Some(error) = &report.configuration_error {
        found.subject = Some(component.as_str().to_owned());
        let what = format!("The {} works with an older configuration: {error}", component.title());
        let severity = if report.zones_left_out { Severity::Critical } else { Severity::Warning };
        found.raise(ConditionId::ConfigRejected, severity, end_sentence(&what));
    }
    if let Some(clock) = report.clock.as_ref().filter(|c| c.waits || now.since(c.since) < JUMP_TOLD) {
        let severity = if clock.waits { Severity::Critical } else { Severity::Warning };
        found.since = Some(clock.since);
        found.subject = Some(component.as_str().to_owned());
        found.raise(ConditionId::ClockWrong, severity, end_sentence(&clock.what));
    }
    if let Some(error) = &report.audit_error {
        found.raise(ConditionId::AuditNotWritten, Severity::Critical, end_sentence(error));
    }
    if let Some(endpoint) = &report.endpoint {
        if let Some(error) = &endpoint.error {
            found.subject = Some(format!("web-config of {}", component.as_str()));
            let what =
                format!("The endpoint of the {} works with an older web-config: {error}", component.title());
            found.raise(ConditionId::ConfigRejected, Severity::Warning, end_sentence(&what));
        }
        if let Some(certificate) = &endpoint.certificate {
            let what = format!("The certificate of the endpoint of the {}", component.title());
            judge_certificate(certificate, &what, component.as_str(), found, now);
        }
    }
    if let Some(queries) = &report.queries {
        if let Some(error) = &queries.error {
            found.subject = Some("files of queries".to_owned());
            let what = format!("Queries are answered with older settings: {error}");
            found.raise(ConditionId::ConfigRejected, Severity::Warning, end_sentence(&what));
        }
        if let Some(certificate) = &queries.certificate {
            judge_certificate(certificate, "The certificate of DNS over TLS", "DNS over TLS", found, now);
        }
        if let Some(error) = &queries.shown_error {
            found.subject = Some("certificates for primaries".to_owned());
            let what =
                format!("A certificate for primaries cannot be read, and the one before is shown: {error}");
            found.raise(ConditionId::ConfigRejected, Severity::Warning, end_sentence(&what));
        }
        if let Some(error) = &queries.authorities_error {
            found.subject = Some("authorities of transfers".to_owned());
            let what = format!(
                "A file of authorities for transfers over TLS cannot be read; what was read of it before stays in use: {error}"
            );
            found.raise(ConditionId::ConfigRejected, Severity::Warning, end_sentence(&what));
        }
        for certificate in &queries.shown {
            let subject = format!("primaries, {}", certificate.file);
            judge_certificate(certificate, "The certificate that primaries are shown", &subject, found, now);
        }
    }
    report.catalogs.iter().for_each(|catalog| judge_catalog(catalog, found));
    if let Some(inbox) = &report.inbox {
        judge_inbox(inbox, report.started, found, now);
    }
    for condition in report.conditions.iter().filter(|condition| condition.zone.is_none()) {
        found.since = Some(condition.since);
        found.subject.clone_from(&condition.subject);
        found.raise(condition.id, condition.severity, condition.what.clone());
    }
}

fn judge_catalog(report: &CatalogReport, found: &mut Findings<'_>) {
    let CatalogReport { catalog, failing, held, refused } = report;
    let failing = failing.as_ref().map(|why| format!("The catalog {catalog} changes nothing: {why}"));
    for (id, what) in [
        (ConditionId::CatalogFailing, &failing),
        (ConditionId::CatalogHeld, held),
        (ConditionId::CatalogZonesRefused, refused),
    ] {
        if let Some(what) = what {
            found.subject = Some(catalog.clone());
            found.raise(id, Severity::Warning, end_sentence(what));
        }
    }
}

fn judge_certificate(
    certificate: &CertificateReport,
    of_what: &str,
    subject: &str,
    found: &mut Findings<'_>,
    now: Timestamp,
) {
    let CertificateReport { file, not_before, not_after } = certificate;
    let (life, left) = (not_after.since(*not_before), not_after.since(now));
    let (severity, state) = match left {
        _ if now < *not_before => {
            (Severity::Critical, format!("is valid only from {} UTC", date_time(*not_before)))
        }
        0 => (Severity::Critical, format!("ended on {} UTC", date_time(*not_after))),
        left if left < CERTIFICATE_CRITICAL.min(life / 10) => (Severity::Critical, String::new()),
        left if left < CERTIFICATE_WARNING.min(life / 4) => (Severity::Warning, String::new()),
        _ => return,
    };
    let state = if state.is_empty() { format!("ends on {} UTC", date_time(*not_after)) } else { state };
    if *not_after > now {
        found.next.push(Event::at(*not_after, "certificate ends"));
    }
    found.subject = Some(subject.to_owned());
    let what = format!("{of_what}, {file}, {state}.");
    found.raise(ConditionId::CertificateEndsSoon, severity, what);
}

fn judge_inbox(inbox: &InboxReport, started: Timestamp, found: &mut Findings<'_>, now: Timestamp) {
    let last = inbox.last_scan.unwrap_or(started);
    let stalled = now.since(last) > 2 * inbox.scan_interval + REPORTED;
    let why = match &inbox.trouble {
        Some(trouble) => Some(trouble.clone()),
        None if !inbox.watched && now.since(started) > 5 => Some(format!("{} is not watched", inbox.folder)),
        None if stalled => Some(format!("{} was last looked at {}", inbox.folder, distance(last, now))),
        None => None,
    };
    if let Some(why) = why {
        found.raise(ConditionId::WatchStalled, Severity::Warning, end_sentence(&why));
    }
    for file in inbox.pending.iter().filter(|file| file.state != "waiting") {
        let late = found.age(ConditionId::ImportDeferred, Some(&file.file)) >= LEFT;
        let severity = if late { Severity::Warning } else { Severity::Attention };
        let id = file.id.as_ref().map_or_else(String::new, |id| format!(" ({id})"));
        let why = file.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        found.subject = Some(file.file.clone());
        found.raise(
            ConditionId::ImportDeferred,
            severity,
            end_sentence(&format!("{} is not taken{id}{why}", file.file)),
        );
    }
}

/// What the files of the host say.
fn files(host: &HostFacts, found: &mut Findings<'_>, now: Timestamp) {
    if let Some(error) = &host.configuration_error {
        found.command = Some("offline-ksk serve --check-config -c FILE".to_owned());
        found.raise(ConditionId::ConfigRejected, Severity::Warning, end_sentence(error));
    }
    if now < RELEASED {
        let what = format!("The clock says {} UTC, which cannot be.", date_time(now));
        found.raise(ConditionId::ClockWrong, Severity::Critical, what);
    } else if let Some(latest) = host.latest_known.filter(|latest| latest.since(now) > CLOCK_TOLERANCE) {
        let what = format!(
            "The clock says {} UTC, {} before the newest file in the state folder.",
            date_time(now),
            span(latest.since(now))
        );
        found.raise(ConditionId::ClockWrong, Severity::Critical, what);
    }
    for disk in &host.disks {
        let folder = disk.folder.display().to_string();
        let was_full = found.age(ConditionId::DiskNearlyFull, Some(&folder)) > 0;
        if let Some((severity, what)) = judge_disk(disk, was_full) {
            found.subject = Some(folder);
            found.raise(ConditionId::DiskNearlyFull, severity, what);
        }
    }
    if let Some(alarm) = &host.alarm {
        judge_alarm(*alarm, found, now);
    }
    if let AuditLog::Broken(what) = &host.audit {
        found.command = Some("skr-loader audit verify".to_owned());
        found.raise(ConditionId::AuditBroken, Severity::Critical, end_sentence(what));
    }
}

/// An alarm that was not tested for longer than the operator wants may ring where nobody hears it.
fn judge_alarm(alarm: Alarm, found: &mut Findings<'_>, now: Timestamp) {
    let Alarm { interval, tested } = alarm;
    let age = tested.map(|at| now.since(at));
    if age.is_some_and(|age| age <= interval) {
        return;
    }
    let severity =
        if age.is_some_and(|age| age > 2 * interval) { Severity::Warning } else { Severity::Attention };
    found.since = tested.map(|at| at.plus(interval));
    found.command = Some("offline-ksk alert-test -c FILE --alertmanager URL".to_owned());
    let when = tested
        .map_or_else(|| "never tested".to_owned(), |at| format!("last tested on {} UTC", date_time(at)));
    let what = format!("The way of the alarms was {when}; it should be every {}.", span(interval));
    found.raise(ConditionId::AlarmUntested, severity, what);
}

/// Whether a file system is nearly full. One that was full before has to get a fifth more room than the limit to count as free again.
fn judge_disk(disk: &Disk, was_full: bool) -> Option<(Severity, String)> {
    const MIB: u64 = 1 << 20;
    // A tenth of a large disk is room for years: what is written here is small.
    const ENOUGH: u64 = 10 << 30;
    let scale = |limit: u64| if was_full { limit / 5 * 6 } else { limit };
    let folder = disk.folder.display();
    let few_files = disk.files > 0 && disk.free_files < scale(disk.files / 100);
    let small_part = disk.free < scale(disk.size / 10) && disk.free < ENOUGH;
    let severity = match disk.free {
        free if free < scale(64 * MIB) || few_files => Severity::Critical,
        free if free < scale(256 * MIB) || small_part => Severity::Warning,
        _ => return None,
    };
    let what = if few_files {
        format!("{folder} has room for {} more files.", disk.free_files)
    } else {
        format!("{folder} has {} MiB left of {} MiB.", disk.free / MIB, disk.size / MIB)
    };
    Some((severity, what))
}

fn end_sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

/// How a component is shown.
pub(super) fn component(part: &ComponentFacts, now: Timestamp) -> ComponentHealth {
    let report = match &part.state {
        ComponentState::Reported(report) | ComponentState::Ended(report) => Some(report),
        ComponentState::Silent | ComponentState::Unreadable(_) => None,
    };
    ComponentHealth {
        component: part.component,
        state: match &part.state {
            ComponentState::Silent | ComponentState::Ended(_) => ComponentRuns::Stopped,
            ComponentState::Reported(report) if report.is_fresh(now) => ComponentRuns::Running,
            ComponentState::Reported(_) | ComponentState::Unreadable(_) => ComponentRuns::Silent,
        },
        pid: report.map(|report| report.pid),
        program: report.map(|report| report.program.clone()),
        started: report.map(|report| report.started),
        reported: report.map(|report| report.written),
    }
}
