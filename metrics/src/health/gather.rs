//! Facts from the files of a state folder, the same with and without running daemons.
//!
//! A [`Gatherer`] remembers what it read and reads again what has changed, so that it can look every second.

mod accepted;
mod audit;
mod disk;
mod keys;
mod requests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keystore::config::zone_files::InUse;
use keystore::config::zone_files::memory::Program;
use keystore::config::{Config, KsrConfig, LoaderConfig, MetricsConfig, Signing};
use keystore::dns::Name;
use keystore::shared::Shared;
use keystore::time::Timestamp;

use crate::changed::Changed;
use crate::health::facts::{
    Alarm, ComponentFacts, ComponentState, HealthFacts, HostFacts, Thresholds, ZoneFacts,
};
use crate::health::model::Since;
use crate::health::report::{
    self, Component, ComponentReport, FOLDER, FoundReport, ReportedCondition, ZoneReports,
};
use crate::health::{alarm, alive};

pub use audit::{AuditReader, Outcomes};

/// What is looked at, and by which limits it is judged.
#[derive(Debug, Clone)]
pub struct Host {
    /// The state folder.
    pub state_dir: PathBuf,
    /// The zones.
    pub zones: Vec<HostZone>,
    /// The thresholds of the coverage.
    pub thresholds: Thresholds,
    /// Seconds that a request asks for that does not say so itself.
    pub period: u32,
    /// A request timer should run.
    pub has_timer: bool,
    /// A signer should run.
    pub has_signer: bool,
    /// Seconds between two tests of the alarms; `None` = they are not looked after.
    pub alert_test_interval: Option<u64>,
    /// Settings of the HTTP endpoint.
    pub endpoint: Option<MetricsConfig>,
}

/// A zone that is looked at.
#[derive(Debug, Clone)]
pub struct HostZone {
    /// The zone.
    pub name: Name,
    /// Where its keys lie; `None` = that is not known, and keys are not looked at.
    pub key_directory: Option<PathBuf>,
    /// It is served from this host.
    pub is_served: bool,
    /// Others have ZSKs of the zone, too.
    pub multi_signer: bool,
    /// Who makes its DNSSEC records; of a zone that is not signed here neither store nor requests nor keys are looked at.
    pub signing: Signing,
}

impl From<&Config> for Host {
    fn from(config: &Config) -> Self {
        let signs = config.signer.is_some();
        let zone = |zone: &Shared<keystore::config::ZoneConfig>| HostZone {
            name: zone.name.clone(),
            key_directory: zone.is_signed_here().then(|| zone.key_directory.clone()),
            is_served: signs && zone.has_content(),
            multi_signer: zone.multi_signer,
            signing: zone.versions.signing,
        };
        let zones: Vec<HostZone> = config.zones.iter().map(zone).collect();
        Self {
            state_dir: config.state_dir.clone(),
            thresholds: config.into(),
            period: config.ksr.period,
            has_timer: config.ksr.enabled,
            has_signer: zones.iter().any(|zone| zone.is_served),
            alert_test_interval: config.metrics.as_ref().and_then(|m| m.alert_test_interval).map(u64::from),
            endpoint: config.metrics.clone(),
            zones,
        }
    }
}

impl Host {
    /// A state folder of which no configuration is known.
    #[must_use]
    pub fn of_folder(state_dir: &Path, zones: Vec<Name>) -> Self {
        let zone = |name| HostZone {
            name,
            key_directory: None,
            is_served: false,
            multi_signer: false,
            signing: Signing::Online,
        };
        let (loader, ksr) = (LoaderConfig::default(), KsrConfig::default());
        Self {
            state_dir: state_dir.to_owned(),
            zones: zones.into_iter().map(zone).collect(),
            thresholds: Thresholds {
                info: loader.coverage_info.into(),
                warning: loader.coverage_warning.into(),
                critical: loader.coverage_critical.into(),
                lead: ksr.lead.into(),
            },
            period: ksr.period,
            has_timer: false,
            has_signer: false,
            alert_test_interval: None,
            endpoint: None,
        }
    }
}

/// What a component of this process says of itself.
#[derive(Debug, Clone)]
pub struct OwnReport {
    /// What is of the host.
    pub report: ComponentReport,
    /// What is of single zones.
    pub zones: Arc<ZoneReports>,
}

/// Looks at the files again and again.
#[derive(Debug)]
pub struct Gatherer {
    /// The configuration file; `None` = it is not looked at.
    config_file: Option<PathBuf>,
    configuration: Changed<Option<String>>,
    accepted: accepted::Accepted,
    audit: audit::AuditGatherer,
    requests: requests::Requests,
    keys: keys::KeyGatherer,
}

impl Gatherer {
    /// Knows nothing yet. `audit` reads the audit log; `config_file` is checked each time it changes.
    #[must_use]
    pub fn new(audit: AuditReader, config_file: Option<&Path>) -> Self {
        Self {
            config_file: config_file.map(Path::to_owned),
            configuration: Changed::default(),
            accepted: accepted::Accepted::default(),
            audit: audit::AuditGatherer::new(audit),
            requests: requests::Requests::default(),
            keys: keys::KeyGatherer::default(),
        }
    }

    /// Looks at everything. `own` are the reports of this process; those of other processes are read from their files.
    #[must_use]
    pub fn gather(&mut self, host: &Host, own: &[OwnReport], now: Timestamp) -> HealthFacts {
        self.gather_unless(host, own, now, &AtomicBool::new(false)).unwrap_or_default()
    }

    /// The same, given up with `None` when `stop` is set: a look at many zones takes seconds.
    #[must_use]
    pub fn gather_unless(
        &mut self,
        host: &Host,
        own: &[OwnReport],
        now: Timestamp,
        stop: &AtomicBool,
    ) -> Option<HealthFacts> {
        let reports = Reports::read(host, own, now);
        let signs = own.iter().any(|own| own.report.component == Component::Signer);
        self.keys.begin(host);
        self.audit.look(&host.state_dir.join("audit.jsonl"));
        let mut zones = Vec::with_capacity(host.zones.len());
        for zone in &host.zones {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            zones.push(self.zone(host, zone, &reports, signs));
        }
        self.accepted.forget_others(host);
        self.requests.forget_others(host);
        let newest_request = self.requests.newest(host);
        Some(HealthFacts {
            components: reports.components,
            host: HostFacts {
                configuration_error: self.configuration_error(now),
                disks: disk::look(host),
                audit: self.audit.log().clone(),
                latest_known: self.audit.latest().max(newest_request),
                alarm: host
                    .alert_test_interval
                    .map(|interval| Alarm { interval, tested: alarm::read(&host.state_dir, now) }),
            },
            zones,
        })
    }

    fn zone(&mut self, host: &Host, zone: &HostZone, reports: &Reports, signs: bool) -> ZoneFacts {
        let label = zone.name.to_lowercase().to_string();
        let mut facts = ZoneFacts::new(zone.name.clone(), host.thresholds);
        facts.is_served = zone.is_served && !reports.is_standby;
        facts.has_timer = host.has_timer && !reports.is_standby;
        facts.multi_signer = zone.multi_signer;
        facts.signing = zone.signing;
        if zone.signing.is_here() {
            facts.store = self.accepted.look(&host.state_dir.join("accepted"), &zone.name);
            facts.imports = self.audit.of(&label);
            (facts.requests, facts.outbox_error) = self.requests.look(host, &zone.name);
            facts.keys = self.keys.look(zone, signs);
        }
        for zones in &reports.zones {
            if let Some(said) = zones.get(&label) {
                facts.report.served = facts.report.served.take().or_else(|| said.served.clone());
                facts.report.timer = facts.report.timer.take().or_else(|| said.timer.clone());
                let store_error = facts.report.store_error.take();
                facts.report.store_error = store_error.or_else(|| said.store_error.clone());
                facts.report.secondaries.extend(said.secondaries.iter().cloned());
                facts.report.deliveries.extend(said.deliveries.iter().cloned());
            }
        }
        facts.reported.extend(reports.conditions.get(&label).into_iter().flatten().cloned());
        facts
    }

    /// What is wrong with the configuration file, when it is looked at.
    fn configuration_error(&mut self, now: Timestamp) -> Option<String> {
        let path = self.config_file.as_ref()?;
        // What is wrong with zone files is reported by the programs that go on without them.
        let read = || {
            Config::load_without_bad_zone_files(path, InUse::Remembered(Program::Loader), now)
                .err()
                .map(|error| error.to_string().replace('\n', "; "))
        };
        self.configuration.get(path, read).clone()
    }
}

/// Since when the conditions hold that running daemons have seen.
#[must_use]
pub fn read_since(state_dir: &Path) -> Since {
    let texts = Component::ALL.map(|component| std::fs::read_to_string(since_path(state_dir, component)));
    Since::parse(&texts.into_iter().flatten().collect::<String>())
}

/// Where the process of a component writes since when conditions hold.
#[must_use]
pub fn since_path(state_dir: &Path, component: Component) -> PathBuf {
    state_dir.join(FOLDER).join(format!("{}.since", component.as_str()))
}

/// The reports of all components.
#[derive(Default)]
struct Reports {
    components: Vec<ComponentFacts>,
    /// What those say of single zones that can be relied on, in the order of the components.
    zones: Vec<Arc<ZoneReports>>,
    /// And the conditions that they found themselves, by the zone.
    conditions: HashMap<String, Vec<ReportedCondition>>,
    /// This host is the standby of a pair.
    is_standby: bool,
}

impl Reports {
    fn read(host: &Host, own: &[OwnReport], now: Timestamp) -> Self {
        let mut reports = Self::default();
        // The pair comes first: it knows whether the others should run at all.
        for component in Component::ALL {
            let (state, zones) = match own.iter().find(|own| own.report.component == component) {
                Some(own) => {
                    (ComponentState::Reported(Box::new(own.report.clone())), Some(Arc::clone(&own.zones)))
                }
                None => match report::read(&host.state_dir, component) {
                    FoundReport::Nothing => (ComponentState::Silent, None),
                    FoundReport::Unreadable(what) => (ComponentState::Unreadable(what), None),
                    FoundReport::Read(report, _) if !alive::may_live(&host.state_dir, component) => {
                        (ComponentState::Ended(report), None)
                    }
                    FoundReport::Read(report, zones) => {
                        (ComponentState::Reported(report), Some(Arc::new(zones)))
                    }
                },
            };
            if let ComponentState::Reported(report) = &state
                && report.is_fresh(now)
            {
                reports.is_standby |= report.is_standby;
                reports.zones.extend(zones);
                for condition in &report.conditions {
                    if let Some(zone) = &condition.zone {
                        reports.conditions.entry(zone.clone()).or_default().push(condition.clone());
                    }
                }
            }
            let expected = !reports.is_standby
                && match component {
                    Component::SkrLoader => true,
                    Component::Requests => host.has_timer,
                    Component::Signer => host.has_signer,
                    Component::Probe | Component::Pair => false,
                };
            let is_there = !matches!(state, ComponentState::Silent);
            if expected || is_there {
                reports.components.push(ComponentFacts { component, expected, state });
            }
        }
        reports
    }
}

/// Keeps only the entries of zones that are configured.
fn retain_zones<T>(map: &mut HashMap<Name, T>, host: &Host) {
    if map.len() > host.zones.len() {
        let configured: HashSet<&Name> = host.zones.iter().map(|zone| &zone.name).collect();
        map.retain(|name, _| configured.contains(name));
    }
}
