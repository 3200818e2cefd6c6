//! The coverage of a zone, and how its files fared.

use crate::condition::{ConditionId, Severity};
use keystore::exchange::Coverage;
use keystore::time::Timestamp;

use super::Findings;
use crate::health::facts::{ImportFacts, ImportResult, StoreFacts, Thresholds, ZoneFacts};
use crate::health::model::{Deadline, Event};
use crate::health::words::{DAY, date_time, span};

/// Seconds before a hole at which it is a warning, and critical.
const GAP_WARNING: u64 = 30 * DAY;
const GAP_CRITICAL: u64 = 7 * DAY;

/// The coverage of a zone, seen from one moment.
pub(super) struct CoverageView {
    /// `None` = nothing was ever accepted, or it cannot be read.
    pub coverage: Option<Coverage>,
    now: Timestamp,
}

impl CoverageView {
    pub fn of(store: &StoreFacts, now: Timestamp) -> Self {
        let times: Vec<_> = store
            .schedule
            .iter()
            .flat_map(|schedule| &schedule.bundles)
            .map(|bundle| (bundle.inception, bundle.expiration))
            .collect();
        Self { coverage: Coverage::of_times(&times, now), now }
    }

    /// Inception and end of the bundle in force.
    pub fn active(&self) -> Option<(Timestamp, Timestamp)> {
        self.coverage.and_then(|coverage| coverage.active)
    }

    /// Seconds of coverage left; 0 = none.
    pub fn left(&self) -> u64 {
        self.coverage.filter(|c| c.active.is_some()).map_or(0, |coverage| coverage.end.since(self.now))
    }

    /// True while there is a hole in the bundles to come.
    fn has_gap(&self) -> bool {
        self.coverage.is_some_and(|coverage| coverage.end < coverage.schedule_end)
    }

    /// How urgent the end of the coverage is.
    pub fn severity(&self, thresholds: Thresholds) -> Severity {
        if self.active().is_none() { Severity::Critical } else { thresholds.severity(self.left()) }
    }

    /// When the coverage becomes more urgent, by time; those of the past are among them.
    pub fn deadlines(&self, thresholds: Thresholds) -> Vec<Deadline> {
        let Some(coverage) = self.coverage else { return Vec::new() };
        let levels = [
            (thresholds.info, Severity::Attention),
            (thresholds.warning, Severity::Warning),
            (thresholds.critical, Severity::Critical),
        ];
        levels.map(|(before, severity)| Deadline { at: coverage.end.minus(before), severity }).into()
    }
}

pub(super) fn judge(zone: &ZoneFacts, seen: &CoverageView, found: &mut Findings<'_>, now: Timestamp) {
    if let Some(error) = zone.store.error.as_ref().or(zone.report.store_error.as_ref()) {
        found.command = Some(format!("skr-loader list {}", found.zone));
        found.raise(ConditionId::SkrStoreDamaged, Severity::Critical, format!("{error}."));
    }
    match seen.coverage {
        None if zone.store.error.is_none() => {
            found.raise(ConditionId::CoverageNever, Severity::Warning, "No SKR was ever accepted.");
        }
        None => {}
        Some(coverage) if coverage.active.is_none() => none_in_force(coverage, found, now),
        Some(coverage) if seen.has_gap() => gap(coverage, seen.severity(zone.thresholds), found, now),
        Some(coverage) => ends_soon(coverage, seen, zone.thresholds, found, now),
    }
    imports(zone, seen, found);
}

fn none_in_force(coverage: Coverage, found: &mut Findings<'_>, now: Timestamp) {
    let what = match coverage.next {
        Some(next) if coverage.past == 0 => {
            format!("The first bundle comes into force on {} UTC.", date_time(next))
        }
        Some(next) => {
            format!(
                "There is a hole between the bundles; the next one comes into force on {} UTC.",
                date_time(next)
            )
        }
        None => format!("The coverage ended on {} UTC.", date_time(coverage.end)),
    };
    if coverage.end < now {
        found.since = Some(coverage.end);
    }
    found.next.extend(coverage.next.map(|at| Event::at(at, "next bundle comes into force")));
    found.raise(ConditionId::CoverageNone, Severity::Critical, what);
}

fn gap(coverage: Coverage, by_policy: Severity, found: &mut Findings<'_>, now: Timestamp) {
    let severity = match coverage.end.since(now) {
        left if left < GAP_CRITICAL => Severity::Critical,
        left if left < GAP_WARNING => Severity::Warning,
        _ => Severity::Attention,
    };
    let what = format!(
        "The coverage is broken from {} UTC on; the longest hole to come lasts {}.",
        date_time(coverage.end),
        span(coverage.longest_gap)
    );
    found.next.push(Event::at(coverage.end, "hole begins"));
    found.raise(ConditionId::CoverageGap, severity.max(by_policy), what);
}

fn ends_soon(
    coverage: Coverage,
    seen: &CoverageView,
    thresholds: Thresholds,
    found: &mut Findings<'_>,
    now: Timestamp,
) {
    let severity = seen.severity(thresholds);
    if severity == Severity::Ok {
        return;
    }
    let ahead = seen.deadlines(thresholds).into_iter().filter(|deadline| deadline.at > now);
    found.next = ahead
        .map(|Deadline { at, severity }| Event::at(at, format!("coverage counts as {severity}")))
        .collect();
    found.next.push(Event::at(coverage.end, "coverage ends"));
    let reached = seen.deadlines(thresholds).into_iter().find(|deadline| deadline.severity == severity);
    found.since = reached.map(|deadline| deadline.at);
    let left = span(coverage.end.since(now));
    let what = format!("The coverage ends on {} UTC, in {left}.", date_time(coverage.end));
    found.raise(ConditionId::CoverageEndsSoon, severity, what);
}

fn imports(zone: &ZoneFacts, seen: &CoverageView, found: &mut Findings<'_>) {
    if let Some(last) = zone.imports.last().filter(|import| import.result == ImportResult::Rejected) {
        let file = last.file.as_deref().unwrap_or("a file");
        let plenty = seen.active().is_some() && seen.left() >= zone.thresholds.info;
        let severity = if plenty { Severity::Attention } else { Severity::Warning };
        found.since = Some(last.time);
        found.subject.clone_from(&last.file);
        found.command = Some(format!(
            "skr-loader check rejected/{file}; then skr-loader acknowledge --file {file} {}",
            found.zone
        ));
        found.raise(
            ConditionId::ImportRejected,
            severity,
            format!("{file} was rejected{}.", by_checks(&last.checks)),
        );
    }
    let generation = zone.store.schedule.as_ref().map(|schedule| schedule.generation);
    let came = |import: &&ImportFacts| {
        matches!(import.result, ImportResult::Accepted | ImportResult::RolledBack)
            && import.generation == generation
    };
    let Some(number) = generation else { return };
    let Some(at) = zone.imports.iter().rposition(|import| came(&import)) else { return };
    let (import, later) = (&zone.imports[at], &zone.imports[at + 1..]);
    // What a person has seen of this generation is told no more.
    if later.iter().any(|later| later.result == ImportResult::Acknowledged && later.generation == generation)
    {
        return;
    }
    if !import.forced.is_empty() {
        let by = import.by.as_deref().unwrap_or("somebody");
        let checks = import.forced.join(", ");
        found.since = Some(import.time);
        found.raise(
            ConditionId::SkrForced,
            Severity::Attention,
            format!("Generation {number} is in force because {by} overruled {checks}."),
        );
    }
    let warned: Vec<&str> =
        import.checks.iter().filter(|check| !import.forced.contains(check)).map(String::as_str).collect();
    if !warned.is_empty() {
        found.since = Some(import.time);
        found.command = Some(format!("skr-loader check accepted/{}/{number}.skr", found.zone));
        found.raise(
            ConditionId::SkrWarned,
            Severity::Attention,
            format!("Generation {number} was accepted with {}.", warned.join(", ")),
        );
    }
}

fn by_checks(checks: &[String]) -> String {
    if checks.is_empty() { String::new() } else { format!(": {}", checks.join(", ")) }
}
