//! The health for people at a terminal: an overview, the worst zone first, and for a single zone its timeline and what to do.

mod timeline;

use std::fmt::Write as _;

use crate::condition::Severity;
use keystore::time::Timestamp;

use crate::health::model::{ComponentRuns, Condition, Health, ImportHealth, ZoneHealth};
use crate::health::words::{counted, date_time, distance, printable, span};

/// Zones without conditions that are listed one by one; more are counted.
const LISTED: usize = 50;

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    /// They are.
    pub colours: bool,
}

impl Paint {
    fn severity(self, severity: Severity, text: &str) -> String {
        self.code(
            match severity {
                Severity::Ok => "32",
                Severity::Attention => "36",
                Severity::Warning => "33",
                Severity::Critical => "1;31",
            },
            text,
        )
    }

    fn dim(self, text: &str) -> String {
        self.code("2", text)
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// All zones: one line each, with the conditions of those that need somebody.
#[must_use]
pub fn overview(health: &Health, paint: Paint) -> String {
    let mut out = head(health, paint);
    let (needy, well): (Vec<_>, Vec<_>) = health.zones.iter().partition(|zone| !zone.conditions.is_empty());
    for zone in &needy {
        zone_line(zone, health.now, paint, &mut out);
        for condition in &zone.conditions {
            brief(condition, paint, &mut out);
        }
    }
    if well.len() > LISTED {
        let _ = writeln!(
            out,
            "{} {} with nothing to do",
            paint.severity(Severity::Ok, "ok       "),
            counted(well.len(), "zone")
        );
    } else {
        for zone in &well {
            zone_line(zone, health.now, paint, &mut out);
        }
    }
    out
}

/// Each zone in full: its state, its timeline, its conditions with what to do.
#[must_use]
pub fn zones(health: &Health, paint: Paint, width: usize) -> String {
    let mut out = head(health, paint);
    for zone in &health.zones {
        zone_line(zone, health.now, paint, &mut out);
        facts(zone, health.now, &mut out);
        if let Some(details) = &zone.details {
            out.push_str(&timeline::draw(zone, details, health.now, width));
        }
        for condition in &zone.conditions {
            full(condition, health.now, paint, &mut out);
        }
        if !zone.events.is_empty() {
            let _ = writeln!(out, "  what happens next:");
        }
        for event in &zone.events {
            let when = event.at.map_or_else(
                || "at once".to_owned(),
                |at| format!("{} UTC, {}", date_time(at), distance(at, health.now)),
            );
            let _ = writeln!(out, "    {} ({when})", event.what);
        }
    }
    out
}

/// The host: who runs, and what is the matter with it.
fn head(health: &Health, paint: Paint) -> String {
    let mut out = String::new();
    let totals = health.totals;
    let worst = paint.severity(health.severity, &health.severity.as_str().to_uppercase());
    let mut counts: Vec<String> = Vec::new();
    for severity in Severity::WORST_FIRST {
        let count = totals.count(severity);
        if count > 0 {
            counts.push(format!("{count} {severity}"));
        }
    }
    let _ = writeln!(
        out,
        "{worst}  {} ({}), seen {} UTC",
        counted(totals.zones, "zone"),
        if counts.is_empty() { "none configured".to_owned() } else { counts.join(", ") },
        date_time(health.now)
    );
    let parts: Vec<String> = health
        .components
        .iter()
        .map(|part| {
            let title = part.component.title();
            match (part.state, part.reported) {
                (ComponentRuns::Running, Some(at)) => {
                    format!("{title} runs (reported {})", distance(at, health.now))
                }
                (ComponentRuns::Silent, Some(at)) => {
                    format!("{title} IS SILENT (last reported {})", distance(at, health.now))
                }
                (ComponentRuns::Running | ComponentRuns::Silent, None) => format!("{title} cannot be read"),
                (ComponentRuns::Stopped, _) => format!("{title} does not run"),
            }
        })
        .collect();
    let from_files = health.components.iter().all(|part| part.state != ComponentRuns::Running);
    let source = if from_files { "from the files alone: " } else { "" };
    let _ = writeln!(out, "{}", paint.dim(&format!("{source}{}", parts.join(", "))));
    for condition in &health.conditions {
        full(condition, health.now, paint, &mut out);
    }
    out
}

fn zone_line(zone: &ZoneHealth, now: Timestamp, paint: Paint, out: &mut String) {
    let state = paint.severity(zone.severity, &format!("{:<9}", zone.severity.as_str()));
    let coverage = match zone.coverage_end {
        None => zone.signing.in_place_of_coverage().unwrap_or("no SKR in force").to_owned(),
        Some(end) if !zone.covered => format!(
            "NOT COVERED, generation {} ended or begins later ({} UTC)",
            zone.generation,
            date_time(end)
        ),
        Some(end) => {
            let next = zone.next_switch.map_or_else(
                || "the last bundle is in force".to_owned(),
                |next| format!("next bundle {} ({})", date_time(next), distance(next, now)),
            );
            format!(
                "{} left, until {} UTC; generation {}, {next}",
                span(zone.coverage_left_seconds),
                date_time(end),
                zone.generation
            )
        }
    };
    let _ = writeln!(out, "{state} {}  {coverage}", printable(&zone.zone));
}

/// What is true of a zone whether or not it needs somebody.
fn facts(zone: &ZoneHealth, now: Timestamp, out: &mut String) {
    if let Some(last) = &zone.last_import {
        let _ = writeln!(out, "  last import: {}", import(last, now));
    }
    if let Some(request) = &zone.request {
        let _ = writeln!(
            out,
            "  open request: {}\n    asks until {} UTC, SHA-256 {}\n    words: {}",
            printable(&request.file),
            date_time(request.end),
            request.sha256,
            request.words
        );
    }
    for delivery in &zone.deliveries {
        let state = match (delivery.up, delivery.current) {
            (_, true) => "up to date",
            (true, false) => "NOT UP TO DATE",
            (false, false) => "NOT REACHED",
        };
        let proof = delivery.last_proof.map_or_else(
            || "never proven".to_owned(),
            |at| format!("generation {} proven {}", delivery.generation, distance(at, now)),
        );
        let _ = writeln!(out, "  delivery {}: {state}, {proof}", printable(&delivery.target));
    }
    if let Some(serial) = zone.serial {
        let _ = writeln!(out, "  served from here with serial {serial}");
    }
}

fn import(import: &ImportHealth, now: Timestamp) -> String {
    let file = import.file.as_ref().map_or_else(String::new, |file| format!(", {file}"));
    let by = import.by.as_ref().map_or_else(String::new, |by| format!(", by {by}"));
    let checks =
        if import.checks.is_empty() { String::new() } else { format!(" ({})", import.checks.join(", ")) };
    printable(&format!("{} {}{file}{by}{checks}", import.result, distance(import.time, now)))
}

fn brief(condition: &Condition, paint: Paint, out: &mut String) {
    let id = paint.severity(condition.severity, condition.id.as_str());
    let _ = writeln!(out, "  {id} {}", printable(&condition.what));
}

fn full(condition: &Condition, now: Timestamp, paint: Paint, out: &mut String) {
    let Condition { id, severity, since, what, next, remedy, command, runbook, .. } = condition;
    let since =
        since.map_or_else(String::new, |at| format!(", since {} UTC ({})", date_time(at), distance(at, now)));
    let head = paint.severity(*severity, &format!("{} {id}", severity.as_str().to_uppercase()));
    let _ = writeln!(out, "  {head}{since}");
    let _ = writeln!(out, "    {}", printable(what));
    for event in next {
        let when = event.at.map_or_else(String::new, |at| format!("{} UTC: ", date_time(at)));
        let _ = writeln!(out, "    next: {when}{}", printable(&event.what));
    }
    let _ = writeln!(out, "    do:   {}", printable(remedy));
    if let Some(command) = command {
        let _ = writeln!(out, "          {}", printable(command));
    }
    let _ = writeln!(out, "    {}", paint.dim(runbook));
}
