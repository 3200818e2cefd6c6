//! The status page: the fleet and one zone, as HTML made on the server. Nothing on it changes anything, nothing comes from elsewhere, and
//! it is complete without a script.
//!
//! Text from zones, files and logs goes through maud, which escapes whatever is put into it.

#[cfg(test)]
mod colours;
mod fleet;
mod timeline;
mod zone;

use crate::condition::Severity;
use keystore::time::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::health::model::{ComponentRuns, Condition, Health};
use crate::health::words::{date, date_time, distance, printable};

pub use fleet::{FleetQuery, RowOrder, fleet};
pub use zone::zone;

/// The style sheet.
pub const STYLE: &str = include_str!("page/style.css");
/// The script that refreshes the page.
pub const SCRIPT: &str = include_str!("page/live.js");

/// The shapes of the severities, so that colour is never the only sign.
const SHAPES: &str = r#"<svg class="defs" width="0" height="0" aria-hidden="true" focusable="false"><defs>
<symbol id="i-ok" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7.2" fill="currentColor"/><path d="m4.4 8.2 2.4 2.6 4.8-5.4" fill="none" stroke="var(--bg)" stroke-width="1.9"/></symbol>
<symbol id="i-attention" viewBox="0 0 16 16"><path d="M8 .5 15.5 8 8 15.5.5 8Z" fill="currentColor"/><path d="M8 4v5M8 10.6v1.8" stroke="var(--bg)" stroke-width="1.8"/></symbol>
<symbol id="i-warning" viewBox="0 0 16 16"><path d="M8 .9 15.7 14.8H.3Z" fill="currentColor"/><path d="M8 5.4v4.9M8 11.4v1.8" stroke="var(--bg)" stroke-width="1.8"/></symbol>
<symbol id="i-critical" viewBox="0 0 16 16"><path d="M5 .6h6L15.4 5v6L11 15.4H5L.6 11V5Z" fill="currentColor"/><path d="m5 5 6 6m0-6-6 6" stroke="var(--bg)" stroke-width="1.9"/></symbol>
</defs></svg>"#;

/// A whole page. `state` is what a screen reader is told when it changes.
fn page(title: &str, state: &str, one_zone: bool, main: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) }
                link rel="icon" href="/favicon.ico";
                link rel="stylesheet" href="/style.css";
                script src="/live.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (PreEscaped(SHAPES))
                header.top {
                    div {
                        b { "offline-ksk" }
                        nav aria-label="Pages" {
                            @if one_zone { a href="/" { "All zones" } } @else { a href="/" aria-current="page" { "All zones" } }
                            a href="/calendar.ics" { "Calendar" }
                            a href="/api/v1/health" { "JSON" }
                            a href="/metrics" { "Metrics" }
                            a href="/readyz" { "Readiness" }
                        }
                    }
                }
                p #said .defs role="status" aria-live="polite" {}
                main #main tabindex="-1" data-state=(state) { (main) }
                footer {
                    "All times are UTC. This page only shows: what it says to do is done with the commands it names. "
                    "With JavaScript it refreshes itself every 30 seconds; without, reload it."
                }
            }
        }
    }
    .into_string()
}

/// A page that says that there is no such zone.
#[must_use]
pub fn not_found(name: &str) -> String {
    let main = html! {
        div.head { h1 { "No such zone" } }
        p { code { (printable(name)) } " is no zone of the configuration of this host." }
        p { a.alone href="/" { "All zones" } }
    };
    page("No such zone – offline-ksk", "no such zone", true, &main)
}

/// The icon of the tab, in the colour of the worst severity.
#[must_use]
pub fn icon(severity: Severity) -> String {
    let (shape, colour) = match severity {
        Severity::Ok => (r#"<circle cx="8" cy="8" r="7.2"/>"#, "#1f7a40"),
        Severity::Attention => (r#"<path d="M8 .5 15.5 8 8 15.5.5 8Z"/>"#, "#0a58b5"),
        Severity::Warning => (r#"<path d="M8 .9 15.7 14.8H.3Z"/>"#, "#b86a00"),
        Severity::Critical => (r#"<path d="M5 .6h6L15.4 5v6L11 15.4H5L.6 11V5Z"/>"#, "#c62a23"),
    };
    format!(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="{colour}">{shape}</svg>"#)
}

/// A severity as shape and word.
fn badge(severity: Severity, text: &str) -> Markup {
    html! {
        span class={ "sev " (severity) } {
            svg aria-hidden="true" { use href={ "#i-" (severity) } {} }
            (text)
        }
    }
}

/// The word of a severity at the beginning of a sentence.
const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "Ok",
        Severity::Attention => "Attention",
        Severity::Warning => "Warning",
        Severity::Critical => "Critical",
    }
}

fn at(time: Timestamp) -> Markup {
    html! { time datetime=(time.iso()) { (date_time(time)) } }
}

fn on(time: Timestamp) -> Markup {
    html! { time datetime=(time.iso()) { (date(time)) } }
}

/// How old what is shown is, and which process said it.
fn seen(health: &Health) -> Markup {
    let part = |part: &crate::health::model::ComponentHealth| {
        let title = part.component.title();
        match (part.state, part.reported) {
            (ComponentRuns::Running, Some(at)) => format!("{title} reported {}", distance(at, health.now)),
            (ComponentRuns::Silent, Some(at)) => {
                format!("{title} is silent since {}", distance(at, health.now))
            }
            (ComponentRuns::Running | ComponentRuns::Silent, None) => format!("{title} cannot be read"),
            (ComponentRuns::Stopped, _) => format!("{title} does not run"),
        }
    };
    let parts: Vec<String> = health.components.iter().map(part).collect();
    html! { p.soft.small { "Seen " (at(health.now)) " UTC: " (parts.join(", ")) "." } }
}

/// Conditions, each with what next and what to do.
fn conditions(list: &[Condition], now: Timestamp) -> Markup {
    html! {
        @for condition in list {
            section class={ "cond c-" (condition.severity) } {
                header {
                    (badge(condition.severity, word(condition.severity)))
                    h3 { (condition.id.text().summary.trim_end_matches('.')) }
                    code { (condition.id) }
                }
                dl {
                    dt { "What" }
                    dd { (printable(&condition.what)) }
                    @if let Some(since) = condition.since {
                        dt { "Since" }
                        dd { (at(since)) " UTC (" (distance(since, now)) ")" }
                    }
                    dt { "What next" }
                    dd {
                        @for event in &condition.next {
                            p { @if let Some(time) = event.at { (at(time)) " UTC: " } (printable(&event.what)) "." }
                        }
                    }
                    dt { "What to do" }
                    dd {
                        p { (printable(&condition.remedy)) }
                        @if let Some(command) = &condition.command { pre { (printable(command)) } }
                        p.small.soft { "Runbook: " code { (condition.runbook) } }
                    }
                }
            }
        }
    }
}

/// The path of a zone's page, percent-encoded. The root has nothing behind the last slash: browsers take a dot away there, encoded or not.
#[must_use]
pub fn zone_path(zone: &str) -> String {
    if zone == "." {
        return "/zone/".to_owned();
    }
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.' | b'~');
    zone.bytes().fold(String::from("/zone/"), |mut path, octet| {
        if plain(octet) {
            path.push(char::from(octet));
        } else {
            path.push_str(&format!("%{octet:02X}"));
        }
        path
    })
}
