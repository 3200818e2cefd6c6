//! What is wrong with a host and its zones, and how urgent it is: one pure function from facts to health.

mod coverage;
mod host;
mod keys;
mod request;
mod serving;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::condition::{ConditionId, Severity};
use keystore::time::Timestamp;

use crate::health::facts::{HealthFacts, ImportFacts, ImportResult, ZoneFacts};
use crate::health::model::{
    BundleHealth, Condition, Deadline, DetailSources, Details, Event, Health, ImportHealth, KeyHealth,
    RequestHealth, Since, Totals, VERSION, ZoneHealth,
};
use crate::health::report::Component;
use coverage::CoverageView;

/// Judges `facts` at `now`. `before` says since when conditions hold that were there already.
#[must_use]
pub fn judge(facts: &HealthFacts, before: &Since, now: Timestamp) -> Health {
    let runs = |component| facts.component(component).is_some_and(|report| report.is_fresh(now));
    let signer_runs = runs(Component::Signer);
    let mut zones: Vec<ZoneHealth> =
        facts.zones.iter().map(|zone| judge_zone(zone, signer_runs, before, now)).collect();
    zones.sort_by(|a, b| {
        let end = ZoneHealth::end_for_order;
        (b.severity, end(a), &a.zone).cmp(&(a.severity, end(b), &b.zone))
    });
    let mut found = Findings::new("", before, now);
    host::judge(facts, &zones, &mut found, now);
    let conditions = found.into_conditions();
    let worst = |conditions: &[Condition]| conditions.iter().map(|c| c.severity).max().unwrap_or_default();
    let severity = zones.iter().map(|zone| zone.severity).max().unwrap_or_default().max(worst(&conditions));
    Health {
        version: VERSION,
        now,
        severity,
        totals: Totals::of(&zones),
        components: facts.components.iter().map(|part| host::component(part, now)).collect(),
        conditions,
        zones,
    }
}

fn judge_zone(zone: &ZoneFacts, signer_runs: bool, before: &Since, now: Timestamp) -> ZoneHealth {
    let label = zone.name.to_lowercase().to_string();
    let seen = CoverageView::of(&zone.store, now);
    let mut found = Findings::new(&label, before, now);
    if zone.signing.is_here() {
        coverage::judge(zone, &seen, &mut found, now);
        request::judge(zone, &seen, &mut found, now);
        keys::judge(zone, &mut found, now);
    }
    serving::judge(zone, &seen, signer_runs, &mut found, now);
    for reported in &zone.reported {
        found.since = Some(reported.since);
        found.subject.clone_from(&reported.subject);
        found.raise(reported.id, reported.severity, reported.what.clone());
    }
    let conditions = found.into_conditions();
    let coverage = seen.coverage;
    let served = zone.report.served.as_ref();
    ZoneHealth {
        severity: conditions.iter().map(|c| c.severity).max().unwrap_or_default(),
        signing: zone.signing.into(),
        coverage_severity: if zone.signing.is_here() { seen.severity(zone.thresholds) } else { Severity::Ok },
        covered: seen.active().is_some(),
        generation: zone.store.schedule.as_ref().map_or(0, |schedule| schedule.generation),
        bundle_since: seen.active().map(|(since, _)| since),
        bundle_until: seen.active().map(|(_, until)| until),
        next_switch: coverage.and_then(|c| c.next),
        coverage_end: coverage.map(|c| c.end),
        coverage_left_seconds: coverage.map_or(0, |c| c.end.since(now)),
        gap_seconds: coverage.map_or(0, |c| c.longest_gap),
        bundles_left: coverage.map_or(0, |c| c.future),
        last_import: zone.imports.iter().rfind(|i| i.result != ImportResult::Acknowledged).map(import_health),
        request: zone.requests.last().map(request_health),
        deliveries: zone.report.deliveries.clone(),
        serial: served.filter(|served| served.loaded).map(|served| served.serial),
        events: events(zone, &seen, now),
        details: None,
        sources: Some(DetailSources {
            store: Arc::clone(&zone.store),
            imports: Arc::clone(&zone.imports),
            keys: Arc::clone(&zone.keys),
            thresholds: zone.thresholds,
        }),
        conditions,
        zone: label,
    }
}

/// The conditions of one zone, or of the host, while they are found.
struct Findings<'a> {
    zone: &'a str,
    before: &'a Since,
    now: Timestamp,
    /// For the next condition: since when it holds, where a fact says so.
    since: Option<Timestamp>,
    /// For the next condition: what tells it apart.
    subject: Option<String>,
    /// For the next condition: what happens next.
    next: Vec<Event>,
    /// For the next condition: the command to type.
    command: Option<String>,
    conditions: Vec<Condition>,
}

impl<'a> Findings<'a> {
    const fn new(zone: &'a str, before: &'a Since, now: Timestamp) -> Self {
        let conditions = Vec::new();
        Self { zone, before, now, since: None, subject: None, next: Vec::new(), command: None, conditions }
    }

    /// Seconds for which a condition has been there; 0 when it is new.
    fn age(&self, id: ConditionId, subject: Option<&str>) -> u64 {
        self.before.of(id, self.zone, subject).map_or(0, |since| self.now.since(since))
    }

    /// Adds a condition with what was set for it.
    fn raise(&mut self, id: ConditionId, severity: Severity, what: impl Into<String>) {
        let text = id.text();
        let subject = self.subject.take();
        let known = || self.before.of(id, self.zone, subject.as_deref());
        let since = self.since.take().or_else(known).unwrap_or(self.now);
        let mut next = std::mem::take(&mut self.next);
        next.push(Event { at: None, what: text.next.trim_end_matches('.').into() });
        self.conditions.push(Condition {
            id,
            severity,
            subject,
            since: Some(since),
            what: what.into(),
            next,
            remedy: text.remedy.into(),
            command: self.command.take(),
            runbook: format!("docs/runbook.md#{}", id.anchor()),
        });
    }

    /// The conditions, the most urgent first.
    fn into_conditions(mut self) -> Vec<Condition> {
        let first = |condition: &Condition| condition.next.iter().filter_map(|event| event.at).min();
        self.conditions.sort_by(|a, b| {
            let key = |c: &Condition| (first(c).unwrap_or(Timestamp::MAX), c.id, c.subject.clone());
            b.severity.cmp(&a.severity).then_with(|| key(a).cmp(&key(b)))
        });
        self.conditions
    }
}

/// What happens next by itself, or has to be done by then.
fn events(zone: &ZoneFacts, seen: &CoverageView, now: Timestamp) -> Vec<Event> {
    let mut events = Vec::new();
    if let Some(coverage) = seen.coverage {
        events.extend(coverage.next.map(|at| Event::at(at, "next bundle comes into force")));
        if coverage.end < coverage.schedule_end {
            events.push(Event::at(coverage.end, "hole in the coverage begins"));
        }
        for Deadline { at, severity } in seen.deadlines(zone.thresholds) {
            events.push(Event::at(at, format!("coverage becomes urgent: {severity}")));
        }
        if zone.requests.is_empty() && zone.has_timer {
            events.push(Event::at(coverage.end.minus(zone.thresholds.lead), "next request is due"));
        }
        events.push(Event::at(coverage.schedule_end, "coverage ends"));
    }
    for key in zone.keys.keys.iter().filter(|key| !key.key.is_ksk) {
        let tag = key.key.tag;
        let times = [
            (key.timing.activate, format!("ZSK {tag} begins to sign")),
            (key.timing.inactive, format!("ZSK {tag} ceases to sign")),
        ];
        events.extend(times.into_iter().filter_map(|(at, what)| Some(Event::at(at?, what))));
    }
    events.retain(|event| event.at.is_some_and(|at| at > now));
    events.sort_by_key(|event| event.at);
    events.truncate(12);
    events
}

fn import_health(import: &ImportFacts) -> ImportHealth {
    ImportHealth {
        time: import.time,
        result: import.result.as_str().to_owned(),
        file: import.file.clone(),
        generation: import.generation,
        checks: import.checks.clone(),
        by: import.by.clone(),
    }
}

fn request_health(request: &crate::health::facts::RequestFacts) -> RequestHealth {
    let hex: String = request.sha256.iter().map(|octet| format!("{octet:02x}")).collect();
    RequestHealth {
        file: request.path.display().to_string(),
        start: request.start,
        end: request.end,
        written: request.written,
        sha256: hex,
        words: keystore::pgp_words::words(&request.sha256).collect::<Vec<_>>().join(" "),
    }
}

impl ZoneHealth {
    /// When its coverage ends, for an order by that: a zone that never had any comes first, and one that needs none last.
    pub(crate) fn end_for_order(&self) -> Timestamp {
        match (self.coverage_end, self.signing.in_place_of_coverage()) {
            (Some(end), _) => end,
            (None, None) => Timestamp::EPOCH,
            (None, Some(_)) => Timestamp::MAX,
        }
    }

    /// The same with what its timeline shows, as far as that is known: it is made for who looks at one zone, and not kept for thousands.
    #[must_use]
    pub fn with_details(&self, now: Timestamp) -> Self {
        let details = self.sources.as_ref().map(|sources| details(sources, now));
        Self { details: details.or_else(|| self.details.clone()), sources: None, ..self.clone() }
    }
}

impl Health {
    /// The same, of these zones alone, with what their timelines show; a name that is not there is left out.
    #[must_use]
    pub fn only(&self, zones: &[String]) -> Self {
        let named = self.zones.iter().filter(|zone| zones.contains(&zone.zone));
        let zones: Vec<ZoneHealth> = named.map(|zone| zone.with_details(self.now)).collect();
        Self { totals: Totals::of(&zones), zones, ..self.head() }
    }
}

fn details(zone: &DetailSources, now: Timestamp) -> Details {
    let seen = CoverageView::of(&zone.store, now);
    let bundles = zone.store.schedule.iter().flat_map(|schedule| &schedule.bundles);
    let tags = |bundle: &crate::health::facts::BundleFacts, ksk: bool| {
        bundle.keys.iter().filter(|key| key.is_ksk == ksk).map(|key| key.tag).collect()
    };
    let bundles: Vec<BundleHealth> = bundles
        .map(|bundle| BundleHealth {
            inception: bundle.inception,
            expiration: bundle.expiration,
            ksks: tags(bundle, true),
            zsks: tags(bundle, false),
        })
        .collect();
    Details {
        keys: key_lanes(zone, &bundles),
        bundles,
        imports: zone.imports.iter().map(import_health).collect(),
        deadlines: seen.deadlines(zone.thresholds),
    }
}

/// The keys of the timeline: those with files here, and those that only bundles have, which live as long as bundles list them.
fn key_lanes(zone: &DetailSources, bundles: &[BundleHealth]) -> Vec<KeyHealth> {
    let mut lanes: Vec<KeyHealth> = Vec::new();
    let mut listed: Vec<crate::health::facts::BundleKey> =
        zone.store.schedule.iter().flat_map(|s| &s.bundles).flat_map(|b| b.keys.iter().copied()).collect();
    listed.extend(zone.keys.keys.iter().map(|key| key.key));
    listed.sort_unstable_by_key(|key| (!key.is_ksk, key.algorithm, key.tag));
    listed.dedup();
    for key in listed {
        let role = if key.is_ksk { "ksk" } else { "zsk" };
        let lists = |bundle: &&BundleHealth| {
            let tags = if key.is_ksk { &bundle.ksks } else { &bundle.zsks };
            tags.contains(&key.tag)
        };
        let lane = KeyHealth {
            tag: key.tag,
            algorithm: key.algorithm,
            role: role.to_owned(),
            publish: bundles.iter().find(lists).map(|bundle| bundle.inception),
            activate: None,
            inactive: None,
            delete: None,
        };
        let timed = zone.keys.keys.iter().find(|known| known.key == key).map(|known| known.timing);
        lanes.push(match timed.filter(|timing| timing.publish.is_some() || timing.activate.is_some()) {
            Some(timing) => KeyHealth {
                publish: timing.publish,
                activate: timing.activate,
                inactive: timing.inactive,
                delete: timing.delete,
                ..lane
            },
            // It leaves with the first bundle that does not list it any more.
            None => {
                let last = bundles.iter().rposition(|bundle| lists(&bundle));
                KeyHealth { delete: last.and_then(|at| bundles.get(at + 1)).map(|b| b.inception), ..lane }
            }
        });
    }
    lanes.sort_by_key(|lane| (lane.role == "zsk", lane.activate.or(lane.publish), lane.tag));
    lanes
}
