//! The fleet: all zones, the worst first, a page at a time.

use std::collections::{BTreeMap, BTreeSet};

use crate::condition::{ConditionId, Severity};
use maud::{Markup, html};

use super::{at, badge, conditions, on, page, seen, word, zone_path};
use crate::health::model::{Health, ZoneHealth};
use crate::health::words::{DAY, counted, date, number, printable, span};

/// Zones on one page.
const ROWS: usize = 50;
/// Days that the bars of the coverage show.
const BAR_DAYS: u64 = 120;
/// Lines of zones that need nobody, at most.
const ENDS: usize = 12;

/// What a visitor asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetQuery {
    /// Part of a zone name.
    pub name: String,
    /// Only zones with this condition.
    pub condition: Option<ConditionId>,
    /// Only zones of this severity.
    pub severity: Option<Severity>,
    /// The order of the rows.
    pub order: RowOrder,
    /// The page, from 1.
    pub page: usize,
}

/// The order of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RowOrder {
    /// The most urgent first.
    #[default]
    Worst,
    /// The earliest end of the coverage first.
    End,
    /// By name.
    Name,
}

impl RowOrder {
    /// All, with the words of the form.
    pub const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self::Worst, "worst", "worst first"),
        (Self::End, "end", "coverage end"),
        (Self::Name, "name", "name"),
    ];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(order, ..)| *order == self).map_or("worst", |(_, word, _)| word)
    }
}

impl FleetQuery {
    /// True when nothing is asked for but the worst zones.
    fn is_plain(&self) -> bool {
        *self == Self { page: self.page, ..Self::default() }
    }

    fn wants(&self, zone: &ZoneHealth) -> bool {
        let name = self.name.trim().to_lowercase();
        self.severity.is_none_or(|severity| zone.severity == severity)
            && self.condition.is_none_or(|id| zone.conditions.iter().any(|c| c.id == id))
            && (name.is_empty() || zone.zone.contains(&name))
    }

    /// The same query for another page, as a link.
    fn link(&self, page: usize) -> String {
        let mut link = format!("?order={}&page={page}", self.order.word());
        if !self.name.is_empty() {
            let encoded = zone_path(&self.name);
            link.push_str(&format!("&q={}", encoded.trim_start_matches("/zone/")));
        }
        if let Some(id) = self.condition {
            link.push_str(&format!("&condition={id}"));
        }
        if let Some(severity) = self.severity {
            link.push_str(&format!("&severity={severity}"));
        }
        link
    }
}

/// The page of the fleet.
#[must_use]
pub fn fleet(health: &Health, query: &FleetQuery) -> String {
    let totals = health.totals;
    let state = state(health);
    let mut rows: Vec<&ZoneHealth> = health.zones.iter().filter(|zone| query.wants(zone)).collect();
    if query.is_plain() && totals.ok > 0 && totals.zones > ROWS {
        rows.retain(|zone| zone.severity > Severity::Ok);
    }
    match query.order {
        // The order that they have.
        RowOrder::Worst => {}
        RowOrder::End => rows.sort_by_key(|zone| zone.end_for_order()),
        RowOrder::Name => rows.sort_by(|a, b| a.zone.cmp(&b.zone)),
    }
    let pages = rows.len().div_ceil(ROWS).max(1);
    let here = query.page.clamp(1, pages);
    let shown = rows.iter().skip((here - 1) * ROWS).take(ROWS);
    let main = html! {
        div.head { h1 { (counted(totals.zones, "zone")) } (badge(health.severity, &state)) }
        (seen(health))
        div.tiles {
            @for severity in Severity::WORST_FIRST {
                a.tile href={ "/?severity=" (severity) } aria-current=[(query.severity == Some(severity)).then_some("true")] {
                    (badge(severity, word(severity)))
                    b { (number(totals.count(severity))) }
                    span.soft.small { (meaning(severity)) }
                }
            }
        }
        @if !health.conditions.is_empty() {
            h2 #host { "This host" }
            (conditions(&health.conditions, health.now))
        }
        (form(health, query))
        h2 #zones { (heading(health, query)) }
        @if rows.is_empty() {
            p { "None." }
        } @else {
            table.stack.fleet {
                caption { (number(rows.len())) " of " (number(totals.zones)) ". Bars show " (BAR_DAYS) " days; the dotted line marks 30 days." }
                thead { tr {
                    th scope="col" { "Zone" } th scope="col" { "State" } th.n scope="col" { "Left" }
                    th scope="col" { "Coverage" } th scope="col" { "Why" } th scope="col" { "What next" }
                } }
                tbody { @for zone in shown { (row(zone)) } }
            }
            @if pages > 1 { (pager(query, here, pages)) }
        }
        (ends(health))
    };
    page(&format!("{state} – {} – offline-ksk", counted(totals.zones, "zone")), &state, false, &main)
}

/// `Critical: 3 zones`, `All is well`.
fn state(health: &Health) -> String {
    let count = health.totals.count(health.severity);
    match health.severity {
        Severity::Ok if health.totals.zones == 0 => "No zone is configured".to_owned(),
        Severity::Ok => "All is well".to_owned(),
        severity if count == 0 => format!("{}: this host", word(severity)),
        severity => format!("{}: {}", word(severity), counted(count, "zone")),
    }
}

const fn meaning(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "act now: SERVFAIL, or soon",
        Severity::Warning => "act today",
        Severity::Attention => "look at it this week",
        Severity::Ok => "nothing to do",
    }
}

fn heading(health: &Health, query: &FleetQuery) -> &'static str {
    match (query.is_plain(), health.totals.ok == health.totals.zones) {
        (true, false) if health.totals.zones > ROWS => "Zones that need somebody",
        _ => "Zones",
    }
}

fn form(health: &Health, query: &FleetQuery) -> Markup {
    let mut counts: BTreeMap<ConditionId, usize> = BTreeMap::new();
    for zone in &health.zones {
        let ids: BTreeSet<ConditionId> = zone.conditions.iter().map(|condition| condition.id).collect();
        for id in ids {
            *counts.entry(id).or_default() += 1;
        }
    }
    html! {
        form method="get" action="/" role="search" aria-label="Zones" {
            div { label for="q" { "Zone name" } input #q name="q" type="search" size="24" autocomplete="off" spellcheck="false" value=(query.name); }
            div {
                label for="c" { "Condition" }
                select #c name="condition" {
                    option value="" { "any" }
                    @for (id, count) in &counts {
                        option value=(id) selected[query.condition == Some(*id)] { (id) " (" (number(*count)) ")" }
                    }
                }
            }
            div {
                label for="o" { "Order" }
                select #o name="order" {
                    @for (order, value, text) in RowOrder::ALL { option value=(value) selected[query.order == order] { (text) } }
                }
            }
            div { button { "Show" } }
        }
    }
}

fn row(zone: &ZoneHealth) -> Markup {
    let ids: BTreeSet<&str> = zone.conditions.iter().map(|condition| condition.id.as_str()).collect();
    let next = zone.conditions.iter().flat_map(|c| &c.next).find(|event| event.at.is_some());
    html! {
        tr {
            th scope="row" { a.alone href=(zone_path(&zone.zone)) { (printable(&zone.zone)) } }
            td { (badge(zone.severity, word(zone.severity))) }
            td.n data-l="Left" { (left(zone)) }
            td { @if zone.signing.in_place_of_coverage().is_none() { (bar(zone)) } }
            td data-l="Why" { @for id in ids { code { (id) } " " } }
            td data-l="Next" {
                @match (next, zone.conditions.first(), zone.events.first()) {
                    (Some(event), ..) => { @if let Some(time) = event.at { (on(time)) ": " } (printable(&event.what)) }
                    (None, Some(condition), _) => { (printable(&condition.what)) }
                    (None, None, Some(event)) => { @if let Some(time) = event.at { (on(time)) ": " } (event.what) }
                    (None, None, None) => {}
                }
            }
        }
    }
}

fn left(zone: &ZoneHealth) -> String {
    match zone.coverage_end {
        None => zone.signing.in_place_of_coverage().unwrap_or("never").to_owned(),
        Some(_) if !zone.covered => "none".to_owned(),
        Some(_) => span(zone.coverage_left_seconds),
    }
}

/// The coverage as a bar in the colour of the coverage, which need not be that of the zone.
fn bar(zone: &ZoneHealth) -> Markup {
    let seconds = if zone.covered { zone.coverage_left_seconds } else { 0 };
    let width = format!("{}%", (seconds * 100 / (BAR_DAYS * DAY)).min(100));
    let label = format!("{} of coverage left", span(seconds));
    html! {
        svg.bar role="img" aria-label=(label) {
            rect.bg x=".5" y="5" width="99.4%" height="12" rx="2" {}
            rect class={ "b-" (zone.coverage_severity) } y="5" width=(width) height="12" rx="2" {}
            line.th x1="25%" x2="25%" y1="1" y2="21" {}
        }
    }
}

fn pager(query: &FleetQuery, here: usize, pages: usize) -> Markup {
    html! {
        nav.pager aria-label="Pages of zones" {
            @if here > 1 { a.alone href=(query.link(here - 1)) rel="prev" { "Previous" } }
            span { "Page " (here) " of " (pages) }
            @if here < pages { a.alone href=(query.link(here + 1)) rel="next" { "Next" } }
        }
    }
}

/// Zones with nothing to do, one line for each day on which their coverage ends.
fn ends(health: &Health) -> Markup {
    let mut days: BTreeMap<u64, (usize, &ZoneHealth)> = BTreeMap::new();
    for zone in health.zones.iter().filter(|zone| zone.severity == Severity::Ok) {
        if let Some(end) = zone.coverage_end {
            days.entry(end.secs() / DAY).or_insert((0, zone)).0 += 1;
        }
    }
    let more = days.len().saturating_sub(ENDS);
    html! {
        @if !days.is_empty() && health.totals.zones > 1 {
            h2 #ends { "When the coverage of zones with nothing to do ends" }
            table.stack {
                thead { tr { th scope="col" { "Day" } th.n scope="col" { "Zones" } th scope="col" { "Next" } } }
                tbody {
                    @for (count, zone) in days.values().take(ENDS) {
                        tr {
                            th scope="row" { @if let Some(end) = zone.coverage_end { (date(end)) } }
                            td.n data-l="Zones" { (number(*count)) }
                            td data-l="Next" {
                                @if let Some(event) = zone.events.first() { @if let Some(time) = event.at { (at(time)) ": " } (event.what) }
                            }
                        }
                    }
                }
            }
            @if more > 0 { p.soft.small { "and " (counted(more, "later day")) "." } }
        }
    }
}
