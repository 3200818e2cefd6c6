//! The host: the programs, the configuration, the inbox, the clock, the disk, the audit log.

use crate::condition::{ConditionId, Severity};
use keystore::clock::RELEASED;
use keystore::time::Timestamp;

use super::Findings;
use crate::health::facts::{AuditLog, ComponentFacts, ComponentState, Disk, Facts, HostFacts};
use crate::health::model::{ComponentHealth, ComponentRuns, ZoneHealth};
use crate::health::report::{Component, InboxReport, Report};
use crate::health::words::{date_time, distance, span};

/// Seconds by which the clock may be before a time that is known to have passed.
const CLOCK_TOLERANCE: u64 = 120;
/// Seconds after which a jump of the clock is not told any more.
const JUMP_TOLD: u64 = 600;
/// Seconds for which a file may be left in the inbox before it is a warning.
const LEFT: u64 = 3600;

impl Facts {
    /// The report of a component, where one was read.
    #[must_use]
    pub fn component(&self, component: Component) -> Option<&Report> {
        self.components.iter().find(|part| part.component == component).and_then(|part| match &part.state {
            ComponentState::Reported(report) => Some(&**report),
            ComponentState::Silent | ComponentState::Unreadable(_) => None,
        })
    }
}

pub(super) fn judge(facts: &Facts, zones: &[ZoneHealth], found: &mut Findings<'_>, now: Timestamp) {
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
                silent(part.component, None, request_due, found, now);
            }
            ComponentState::Reported(report) if !report.is_fresh(now) => {
                silent(part.component, Some(report), request_due, found, now);
            }
            ComponentState::Silent => {}
            ComponentState::Reported(report) => reported(report, found, now),
        }
    }
    files(&facts.host, found, now);
}

fn silent(
    component: Component,
    report: Option<&Report>,
    request_due: bool,
    found: &mut Findings<'_>,
    now: Timestamp,
) {
    let (id, severity) = match component {
        Component::SkrLoader => (ConditionId::LoaderNotRunning, Severity::Warning),
        Component::Requests if request_due => (ConditionId::TimerNotRunning, Severity::Critical),
        Component::Requests => (ConditionId::TimerNotRunning, Severity::Warning),
        Component::Signer => (ConditionId::SignerNotRunning, Severity::Critical),
        // A probe that is not there is noticed by what it does not report.
        Component::Probe => return,
    };
    let title = component.title();
    let what = match report {
        None => format!("The {title} does not run, or never did."),
        Some(report) if report.written > now => {
            format!("The last report of the {title} is of the future: {} UTC.", date_time(report.written))
        }
        Some(report) => {
            found.since = Some(report.written);
            let ago = distance(report.written, now);
            format!(
                "The {title} (process {}) last reported {ago}; it may hang or have been killed.",
                report.pid
            )
        }
    };
    found.raise(id, severity, what);
}

/// What a component that runs says of the host.
fn reported(report: &Report, found: &mut Findings<'_>, now: Timestamp) {
    let component = report.component;
    if let Some(error) = &report.configuration_error {
        found.subject = Some(component.as_str().to_owned());
        let what = format!("The {} works with an older configuration: {error}", component.title());
        found.raise(ConditionId::ConfigRejected, Severity::Warning, end_sentence(&what));
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
    if let Some(inbox) = &report.inbox {
        judge_inbox(inbox, report.started, found, now);
    }
    for condition in report.conditions.iter().filter(|condition| condition.zone.is_none()) {
        found.since = Some(condition.since);
        found.subject.clone_from(&condition.subject);
        found.raise(condition.id, condition.severity, condition.what.clone());
    }
}

fn judge_inbox(inbox: &InboxReport, started: Timestamp, found: &mut Findings<'_>, now: Timestamp) {
    let last = inbox.last_scan.unwrap_or(started);
    let stalled = now.since(last) > 2 * inbox.scan_interval + 10;
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
    if let AuditLog::Broken(what) = &host.audit {
        found.command = Some("skr-loader audit verify".to_owned());
        found.raise(ConditionId::AuditBroken, Severity::Critical, end_sentence(what));
    }
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
        ComponentState::Reported(report) => Some(report),
        ComponentState::Silent | ComponentState::Unreadable(_) => None,
    };
    ComponentHealth {
        component: part.component,
        state: match &part.state {
            ComponentState::Silent => ComponentRuns::Stopped,
            ComponentState::Reported(report) if report.is_fresh(now) => ComponentRuns::Running,
            ComponentState::Reported(_) | ComponentState::Unreadable(_) => ComponentRuns::Silent,
        },
        pid: report.map(|report| report.pid),
        program: report.map(|report| report.program.clone()),
        started: report.map(|report| report.started),
        reported: report.map(|report| report.written),
    }
}
