//! One zone: how long it is covered, what to do first, what happens next, its timeline, its conditions and everything behind them.

use crate::condition::Severity;
use keystore::time::Timestamp;
use maud::{Markup, html};

use super::{at, badge, conditions, on, page, seen, timeline, word, zone_path};
use crate::health::model::{Condition, Details, Health, ImportHealth, RequestHealth, ZoneHealth};
use crate::health::words::{DAY, counted, date, distance, printable, span};

/// The page of a zone; `only` = there is no other, so that this is the first page.
#[must_use]
pub fn zone(health: &Health, zone: &ZoneHealth, only: bool) -> String {
    let now = health.now;
    let zone = &zone.with_details(now);
    let severity = zone.severity.max(if only { health.severity } else { Severity::Ok });
    let name = printable(&zone.zone);
    let state = format!("{name} – {}, {}", word(severity), coverage_words(zone));
    let empty = Details::default();
    let details = zone.details.as_ref().unwrap_or(&empty);
    let main = html! {
        div.head { h1 { (name) } (badge(severity, word(severity))) }
        (seen(health))
        div.cards {
            (coverage(zone, now))
            (first(zone, health))
            (next(zone, now))
        }
        @if zone.signing.in_place_of_coverage().is_none() {
            h2 #timeline { "Timeline" }
            (timeline::draw(zone, details, now))
        }
        h2 #conditions { "Conditions" }
        @if zone.conditions.is_empty() { p { "None: nothing to do." } }
        (conditions(&zone.conditions, now))
        @if !health.conditions.is_empty() {
            h2 #host { "Conditions of this host" }
            (conditions(&health.conditions, now))
        }
        (request(zone, now))
        (imports(details, now))
        (servers(zone, now))
        (keys(details, now))
    };
    page(&format!("{state} – offline-ksk"), &state, !only, &main)
}

fn coverage_words(zone: &ZoneHealth) -> String {
    match zone.coverage_end {
        None => zone.signing.in_place_of_coverage().unwrap_or("no SKR in force").to_owned(),
        Some(_) if !zone.covered => "not covered".to_owned(),
        Some(_) => format!("{} of coverage left", span(zone.coverage_left_seconds)),
    }
}

fn coverage(zone: &ZoneHealth, now: Timestamp) -> Markup {
    let tone = format!("big tone-{}", zone.coverage_severity);
    if let Some(what) = zone.signing.in_place_of_coverage() {
        return html! {
            section.card aria-labelledby="h-left" {
                h2 #h-left { "Signing" }
                p { "The zone is " (what) ": it has no keys, no SKR and no coverage here." }
                @if let Some(serial) = zone.serial { p.small.soft { "Serial " (serial) "." } }
            }
        };
    }
    let left = zone.coverage_left_seconds;
    html! {
        section.card aria-labelledby="h-left" {
            h2 #h-left { "Coverage left" }
            @match zone.coverage_end {
                None => {
                    p class=(tone) { "none" }
                    p { "No SKR is in force. The zone is not signed; validating resolvers do not mind while no DS stands at the parent." }
                }
                Some(end) if !zone.covered => {
                    p class=(tone) { "none" }
                    p {
                        @if end > now { "A bundle comes into force later. " } @else { "It ended " strong { (at(end)) " UTC" } ", " (distance(end, now)) ". " }
                        "Validating resolvers answer SERVFAIL for the whole zone."
                    }
                }
                Some(end) => {
                    p class=(tone) {
                        @if left >= DAY { (left / DAY) " " span { @if left / DAY == 1 { "day" } @else { "days" } ", " (left % DAY / 3600) " h" } }
                        @else { (left / 3600) " " span { "hours, " (left % 3600 / 60) " min" } }
                    }
                    p { "Ends " strong { (at(end)) " UTC" } ". Then validating resolvers answer SERVFAIL for the whole zone." }
                }
            }
            @if zone.generation > 0 {
                p.small.soft {
                    "Generation " (zone.generation) ". "
                    @match zone.next_switch {
                        Some(next) => { (counted(zone.bundles_left, "more bundle")) ", the next on " (at(next)) "." }
                        None => { "The last bundle is in force." }
                    }
                }
            }
        }
    }
}

/// The one thing to do before all others.
fn first(zone: &ZoneHealth, health: &Health) -> Markup {
    let all = zone.conditions.iter().chain(&health.conditions);
    let worst: Option<&Condition> = all.fold(None, |worst, condition| match worst {
        Some(known) if known.severity >= condition.severity => Some(known),
        _ => Some(condition),
    });
    html! {
        section.card aria-labelledby="h-do" {
            h2 #h-do { "Do this first" }
            @match worst {
                None => {
                    p { strong { "Nothing." } }
                    p { "All that is looked at is as it should be." }
                }
                Some(condition) => {
                    p { strong { (condition.id.text().summary) } }
                    p { (printable(&condition.remedy)) }
                    @if let Some(command) = &condition.command { pre { (printable(command)) } }
                    @if zone.request.is_some() { p { a.alone href="#request" { "The open request" } } }
                    p.small.soft { code { (condition.id) } ", " a.alone href="#conditions" { "all conditions" } }
                }
            }
        }
    }
}

fn next(zone: &ZoneHealth, now: Timestamp) -> Markup {
    html! {
        section.card aria-labelledby="h-next" {
            h2 #h-next { "What happens next" }
            @if zone.events.is_empty() { p { "Nothing that is known." } }
            ul.next {
                @for event in zone.events.iter().take(6) {
                    li {
                        span { @if let Some(time) = event.at { (on(time)) } }
                        span { (event.what) " " @if let Some(time) = event.at { span.soft { "(" (distance(time, now)) ")" } } }
                    }
                }
            }
            p.small { a.alone href={ "/calendar.ics?zone=" (calendar_of(&zone.zone)) } { "Subscribe as a calendar (.ics)" } }
        }
    }
}

/// The zone as a value of a query.
fn calendar_of(zone: &str) -> String {
    match zone_path(zone).trim_start_matches("/zone/") {
        "" => ".".to_owned(),
        name => name.to_owned(),
    }
}

fn request(zone: &ZoneHealth, now: Timestamp) -> Markup {
    html! {
        h2 #request { "Open request" }
        @match &zone.request {
            None => { p { "None is open." } }
            Some(request) => { (open(zone, request, now)) }
        }
    }
}

fn open(zone: &ZoneHealth, request: &RequestHealth, now: Timestamp) -> Markup {
    let groups: Vec<&str> =
        (0..request.sha256.len()).step_by(8).filter_map(|from| request.sha256.get(from..from + 8)).collect();
    html! {
        p { a.btn href={ (zone_path(&zone.zone)) "/request.ksr" } download { "Download the request" } }
        dl {
            dt { "File" } dd { code { (printable(&request.file)) } }
            dt { "Asks for" } dd { (at(request.start)) " to " (at(request.end)) " UTC" }
            dt { "Written" } dd { (at(request.written)) " UTC (" (distance(request.written, now)) ")" }
            dt { "SHA-256" } dd { code.hash { (groups.join(" ")) } }
        }
        details {
            summary { "The hash as words, to read aloud at the ceremony" }
            ol.words { @for word in request.words.split(' ') { li { (word) } } }
        }
    }
}

fn imports(details: &Details, now: Timestamp) -> Markup {
    html! {
        h2 #imports { "Last imports" }
        @if details.imports.is_empty() { p { "The audit log knows of none." } } @else {
            table.stack {
                thead { tr { th scope="col" { "When" } th scope="col" { "Verdict" } th scope="col" { "File" } th scope="col" { "Checks" } } }
                tbody { @for import in details.imports.iter().rev().take(10) { (import_row(import, now)) } }
            }
        }
    }
}

fn import_row(import: &ImportHealth, now: Timestamp) -> Markup {
    html! {
        tr {
            th scope="row" { (at(import.time)) " " span.soft { "(" (distance(import.time, now)) ")" } }
            td data-l="Verdict" {
                (import.result) @if let Some(generation) = import.generation { ", generation " (generation) }
                @if let Some(by) = &import.by { ", by " (printable(by)) }
            }
            td data-l="File" { @if let Some(file) = &import.file { code { (printable(file)) } } }
            td data-l="Checks" { @for check in &import.checks { code { (printable(check)) } " " } }
        }
    }
}

fn servers(zone: &ZoneHealth, now: Timestamp) -> Markup {
    html! {
        @if !zone.deliveries.is_empty() || zone.serial.is_some() {
            h2 #servers { "Servers" }
            @if let Some(serial) = zone.serial { p { "This host serves the zone with serial " (serial) "." } }
        }
        @if !zone.deliveries.is_empty() {
            table.stack {
                thead { tr { th scope="col" { "Server" } th scope="col" { "State" } th scope="col" { "Proven to serve" } th scope="col" { "Cause" } } }
                tbody {
                    @for delivery in &zone.deliveries {
                        tr {
                            th scope="row" { (printable(&delivery.target)) }
                            td data-l="State" {
                                @match (delivery.up, delivery.current) {
                                    (_, true) => { (badge(Severity::Ok, "up to date")) }
                                    (true, false) => { (badge(Severity::Warning, "not up to date")) }
                                    (false, false) => { (badge(Severity::Warning, "not reached")) }
                                }
                            }
                            td data-l="Proven to serve" {
                                @match delivery.last_proof {
                                    Some(proof) => { "generation " (delivery.generation) ", " (distance(proof, now)) }
                                    None => { "never" }
                                }
                            }
                            td data-l="Cause" { @if let Some(cause) = &delivery.cause { (printable(cause)) } }
                        }
                    }
                }
            }
        }
    }
}

fn keys(details: &Details, now: Timestamp) -> Markup {
    let time = |time: Option<Timestamp>| time.map_or_else(String::new, date);
    html! {
        @if !details.keys.is_empty() {
            h2 #keys { "Keys" }
            table.stack {
                thead { tr {
                    th scope="col" { "Key" } th scope="col" { "State" } th scope="col" { "Publish" } th scope="col" { "Activate" }
                    th scope="col" { "Inactive" } th scope="col" { "Delete" }
                } }
                tbody {
                    @for key in &details.keys {
                        tr {
                            th scope="row" { (key.role.to_uppercase()) " " (key.tag) span.soft { ", algorithm " (key.algorithm) } }
                            td data-l="State" { (timeline::state(key, now)) }
                            td data-l="Publish" { (time(key.publish)) }
                            td data-l="Activate" { (time(key.activate)) }
                            td data-l="Inactive" { (time(key.inactive)) }
                            td data-l="Delete" { (time(key.delete)) }
                        }
                    }
                }
            }
        }
    }
}
