//! `[probe]` of the daemons: asks what the nameservers of each zone serve, again and again, for metrics and log.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keystore::clock;
use keystore::config::{Config, ProbeConfig};
use keystore::dns::Name;
use keystore::time::Timestamp;
use keystore::tsig::TsigKey;
use metrics::Metrics;
use metrics::condition::{ConditionId, Severity};
use metrics::health::gather::OwnReport;
use metrics::health::report::{Component, ComponentReport, ReportedCondition};
use metrics::health::revision::Revision;
use metrics::zones::ReportingPart;

use super::facts::{ProbeFacts, ServerFacts, ServerReach};
use super::finding::ProbeFinding;
use super::gather::{self, ProbeRequest};
use super::history::FindingHistory;
use super::{expectations, judge, with_resolver};

/// Time between two looks whether a zone is due.
const PAUSE: Duration = Duration::from_secs(1);
/// Seconds that a zone takes of the budget of 20 queries a second, with 8 addresses and 4 servers of the parent.
const ZONE_BUDGET: u64 = 72 / 20 + 1;

/// The running probe.
pub struct ProbeRounds {
    wake: Sender<Wake>,
    thread: JoinHandle<()>,
    standing: ProbeStanding,
}

/// What the probe finds, for the health of the zones. Clones see the same values.
#[derive(Debug, Clone, Default)]
pub struct ProbeStanding {
    zones: Arc<Mutex<BTreeMap<String, Vec<ReportedCondition>>>>,
    revision: Revision,
}

impl ProbeStanding {
    /// The report of the probe; none where no zone is probed.
    pub fn report(&self, started: Timestamp, now: Timestamp) -> Option<OwnReport> {
        let zones = self.zones();
        let report = ComponentReport::new(Component::Probe, started, now);
        let conditions = zones.values().flatten().cloned().collect();
        let report = OwnReport { report: ComponentReport { conditions, ..report }, zones: Arc::default() };
        (!zones.is_empty()).then_some(report)
    }

    fn zones(&self) -> MutexGuard<'_, BTreeMap<String, Vec<ReportedCondition>>> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes with what is reported.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision.clone()
    }
}

enum Wake {
    Reload(Box<Config>),
    Stop,
}

impl ProbeRounds {
    /// Starts it; without `[probe]` it waits for another configuration.
    pub fn start(config: Config, metrics: Metrics) -> Result<Self> {
        let (wake, wakes) = channel();
        let standing = ProbeStanding::default();
        let seen = standing.clone();
        let thread = std::thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || live(config, &metrics, &seen, &wakes))
            .context("cannot start the probe")?;
        Ok(Self { wake, thread, standing })
    }

    /// What the probe finds.
    #[must_use]
    pub fn standing(&self) -> ProbeStanding {
        self.standing.clone()
    }

    /// Hands over a new configuration.
    pub fn reload(&self, config: Config) {
        // The thread ends only when told to.
        let _ = self.wake.send(Wake::Reload(Box::new(config)));
    }

    /// What hands over a new configuration from elsewhere.
    pub(crate) fn reloader(&self) -> impl Fn(Config) + Send + use<> {
        let wake = self.wake.clone();
        move |config| {
            let _ = wake.send(Wake::Reload(Box::new(config)));
        }
    }

    /// Tells it to end. A round under way ends by itself within a minute, and nobody waits for it: it writes nothing.
    pub fn stop(self) {
        let _ = self.wake.send(Wake::Stop);
        if self.thread.is_finished() && self.thread.join().is_err() {
            tracing::error!("the probe ended in a way that it should not; please report this");
        }
    }
}

/// One zone, as it is probed.
struct ProbedZone {
    name: Name,
    label: String,
    due: Instant,
    history: FindingHistory,
    /// Label values of the conditions that are raised.
    raised: BTreeSet<(&'static str, &'static str)>,
    /// Since when each finding is raised.
    since: BTreeMap<(ConditionId, Option<SocketAddr>), Timestamp>,
}

fn live(mut config: Config, metrics: &Metrics, standing: &ProbeStanding, wakes: &Receiver<Wake>) {
    let mut zones = zones(&config, metrics, standing, BTreeMap::new(), false);
    loop {
        match wakes.recv_timeout(PAUSE) {
            Ok(Wake::Reload(new)) => {
                let is_changed = config.probe != new.probe;
                config = *new;
                let old = zones.into_iter().map(|zone| (zone.label.clone(), zone)).collect();
                zones = self::zones(&config, metrics, standing, old, is_changed);
                continue;
            }
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let Some(probe) = &config.probe else { continue };
        let now = Instant::now();
        let interval = interval(probe, zones.len());
        if let Some(zone) = zones.iter_mut().filter(|zone| zone.due <= now).min_by_key(|zone| zone.due) {
            round(zone, &config, probe, (metrics, standing));
            zone.due = Instant::now() + interval;
        }
    }
}

/// Time between two rounds of a zone: what is configured, and more where many zones share the budget of queries.
fn interval(probe: &ProbeConfig, zones: usize) -> Duration {
    Duration::from_secs(u64::from(probe.interval).max(zones as u64 * ZONE_BUDGET))
}

/// The zones to probe; those that were probed before keep their history, and the series of those that left are removed. With other
/// settings of the probe than before (`is_changed`) none is due later than it would be as a new one.
fn zones(
    config: &Config,
    metrics: &Metrics,
    standing: &ProbeStanding,
    mut old: BTreeMap<String, ProbedZone>,
    is_changed: bool,
) -> Vec<ProbedZone> {
    let probed = |zone: &Name| config.probe.as_ref().is_some_and(|probe| probe.is_of(zone));
    let wanted: Vec<Name> = config.zones.iter().map(|zone| zone.name.clone()).filter(probed).collect();
    if let Some(probe) = &config.probe {
        tracing::info!(
            zones = wanted.len(),
            interval = interval(probe, wanted.len()).as_secs(),
            "probing nameservers"
        );
    }
    let now = Instant::now();
    let zones = wanted.into_iter().enumerate().map(|(at, name)| {
        let label = name.to_lowercase().to_string();
        metrics.add_zone(&label, ReportingPart::Probe);
        standing.zones().entry(label.clone()).or_default();
        // Not all at once.
        let due = now + Duration::from_secs(at as u64 * ZONE_BUDGET);
        match old.remove(&label) {
            Some(zone) => ProbedZone { due: if is_changed { zone.due.min(due) } else { zone.due }, ..zone },
            None => ProbedZone {
                name,
                label,
                due,
                history: FindingHistory::default(),
                raised: BTreeSet::new(),
                since: BTreeMap::new(),
            },
        }
    });
    let zones: Vec<ProbedZone> = zones.collect();
    for gone in old.into_values() {
        for (id, severity) in &gone.raised {
            metrics.probe_condition.remove(&[gone.label.as_str(), id, severity]);
        }
        metrics.remove_zone(&gone.label, ReportingPart::Probe);
        standing.zones().remove(&gone.label);
        standing.revision.change();
    }
    zones
}

fn round(
    zone: &mut ProbedZone,
    config: &Config,
    probe: &ProbeConfig,
    (metrics, standing): (&Metrics, &ProbeStanding),
) {
    let request = match request(probe) {
        Ok(request) => request,
        Err(error) => {
            tracing::error!(zone = %zone.label, "no probe: {error:#}");
            return;
        }
    };
    let now = clock::now();
    let expected = expectations(config, &zone.name, now);
    let look = || {
        let facts = gather::gather(&zone.name, &request, now);
        let findings = judge::judge(&facts, &expected, now);
        (facts, findings)
    };
    let (mut facts, mut findings) = look();
    if zone.history.is_urgent(&findings) {
        zone.history.note(&findings);
        (facts, findings) = look();
    }
    let raised = zone.history.note(&findings);
    tell(zone, &raised, now);
    report(zone, &raised, now, standing);
    write(zone, &facts, &raised, now, metrics);
}

fn request(probe: &ProbeConfig) -> Result<ProbeRequest> {
    Ok(ProbeRequest {
        servers: probe.servers.clone(),
        parents: probe.parents.clone(),
        transfer: probe.transfer,
        key: probe.tsig_key.as_deref().map(TsigKey::load).transpose()?,
        ..with_resolver(probe.resolver, &probe.servers)
    })
}

/// Logs what is new, and what is gone.
fn tell(zone: &ProbedZone, raised: &[ProbeFinding], now: Timestamp) {
    for finding in raised {
        let labels = (finding.id.as_str(), finding.severity.as_str());
        if !zone.raised.contains(&labels) {
            match finding.severity {
                Severity::Critical => tracing::error!("{}", finding.line(&zone.name, now)),
                _ => tracing::warn!("{}", finding.line(&zone.name, now)),
            }
        }
    }
    for (id, severity) in &zone.raised {
        if !raised.iter().any(|finding| finding.id.as_str() == *id) {
            tracing::info!(zone = %zone.label, condition = id, severity, "the probe does not find this any more");
        }
    }
}

/// Notes the findings for the health of the zone.
fn report(zone: &mut ProbedZone, raised: &[ProbeFinding], now: Timestamp, standing: &ProbeStanding) {
    let key = |finding: &ProbeFinding| (finding.id, finding.server.as_ref().map(|server| server.address));
    let since = raised.iter().map(|finding| (key(finding), *zone.since.get(&key(finding)).unwrap_or(&now)));
    zone.since = since.collect();
    let condition = |finding: &ProbeFinding| ReportedCondition {
        id: finding.id,
        zone: Some(zone.label.clone()),
        subject: finding.server.as_ref().map(ToString::to_string),
        severity: finding.severity,
        since: *zone.since.get(&key(finding)).unwrap_or(&now),
        what: match &finding.server {
            Some(server) => format!("{server}: {}.", finding.text(now)),
            None => format!("{}.", finding.text(now)),
        },
    };
    let conditions: Vec<ReportedCondition> = raised.iter().map(condition).collect();
    if standing.zones().insert(zone.label.clone(), conditions.clone()) != Some(conditions) {
        standing.revision.change();
    }
}

fn write(
    zone: &mut ProbedZone,
    facts: &ProbeFacts,
    raised: &[ProbeFinding],
    now: Timestamp,
    metrics: &Metrics,
) {
    let seconds = |time: Timestamp| i64::try_from(time.secs()).unwrap_or(i64::MAX);
    let label = [zone.label.as_str()];
    // The worst of each condition.
    let mut worst: BTreeMap<&'static str, Severity> = BTreeMap::new();
    for finding in raised {
        let known = worst.entry(finding.id.as_str()).or_default();
        *known = finding.severity.max(*known);
    }
    let new: BTreeSet<_> = worst.into_iter().map(|(id, severity)| (id, severity.as_str())).collect();
    for (id, severity) in zone.raised.difference(&new) {
        metrics.probe_condition.remove(&[zone.label.as_str(), id, severity]);
    }
    for (id, severity) in &new {
        metrics.probe_condition.with_label_values(&[zone.label.as_str(), id, severity]).set(1);
    }
    zone.raised = new;
    metrics.probe_last_round_timestamp_seconds.with_label_values(&label).set(seconds(now));
    let earliest = facts.earliest_expiration(now).map_or(0, seconds);
    metrics.probe_rrsig_earliest_expiration_timestamp_seconds.with_label_values(&label).set(earliest);
    // A server that this host has no way to is neither.
    let is_asked =
        |server: &&ServerFacts| !matches!(server.reach(), ServerReach::NoWay | ServerReach::TimeUp);
    let asked: BTreeSet<SocketAddr> =
        facts.servers.iter().filter(is_asked).map(|s| s.server.address).collect();
    let silent = |server: &&ServerFacts| {
        asked.contains(&server.server.address) && server.answers.iter().all(|(_, answer)| answer.is_err())
    };
    let addresses: BTreeSet<SocketAddr> =
        facts.servers.iter().filter(silent).map(|s| s.server.address).collect();
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let of = |state: &str| metrics.probe_servers.with_label_values(&[zone.label.as_str(), state]);
    of("silent").set(number(addresses.len()));
    of("ok").set(number(asked.len() - addresses.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_settings_bring_rounds_forward_and_put_none_off() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("config.toml");
        let names = ["a.example.", "b.example.", "c.example."];
        let anchor = format!("DS 1 13 2 {}", "00".repeat(32));
        let zone = |name: &&str| {
            format!("[[zone]]\nname = \"{name}\"\npolicy = \"p\"\ntrust-anchors = [\"{name} {anchor}\"]\n")
        };
        let text = format!(
            "version = 1\nstate-dir = \"state\"\n{}[policy.p]\noffline-ksk = true\nkeys = [{{ role = \"ksk\", lifetime = 0, algorithm = \
             13 }}, {{ role = \"zsk\", lifetime = 0, algorithm = 13 }}]\n[probe]\ninterval = 900\n",
            names.iter().map(zone).collect::<String>()
        );
        std::fs::write(&file, text).expect("write");
        let config = Config::load(&file).expect("a configuration");
        let metrics = Metrics::new().expect("families register");
        let standing = ProbeStanding::default();
        let mut known = zones(&config, &metrics, &standing, BTreeMap::new(), false);
        let (begin, far) = (Instant::now(), Duration::from_secs(10_000));
        // The first waits for its next round, the last one is due now.
        known[0].due = begin + far;
        known[1].due = begin + far;
        known[2].due = begin;
        for (is_changed, waits) in [(false, [true, true, false]), (true, [false, false, false])] {
            let old = known.into_iter().map(|zone| (zone.label.clone(), zone)).collect();
            known = zones(&config, &metrics, &standing, old, is_changed);
            let due: Vec<bool> = known.iter().map(|zone| zone.due >= begin + far).collect();
            assert_eq!(due, waits, "changed: {is_changed}");
        }
        assert_eq!(known[2].due, begin, "what is due is not put off");
    }

    #[test]
    fn many_zones_share_the_budget_of_queries() {
        let probe = ProbeConfig::default();
        for (zones, seconds) in [(0, 900), (1, 900), (225, 900), (226, 904), (10_000, 40_000)] {
            assert_eq!(interval(&probe, zones).as_secs(), seconds, "{zones}");
        }
    }
}
