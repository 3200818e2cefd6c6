//! What is reported of catalog zones: of those that the signer makes, and of those that zones are taken from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use keystore::config::Config;
use keystore::config::zone_files::{CatalogTrouble, CatalogTroubleKind, Origin};
use keystore::dns::Name;
use metrics::Metrics;
use metrics::health::report::CatalogReport;
use metrics::health::revision::Revision;
use signer_plugin::incoming::CatalogFaults;
use signer_plugin::runtime::Signer;

/// Zones that a report names.
const NAMED: usize = 5;

/// The catalogs of this process. Clones see the same.
#[derive(Clone)]
pub struct CatalogStanding {
    signer: Arc<Signer>,
    faults: CatalogFaults,
    taken: Arc<Mutex<Taken>>,
    metrics: Metrics,
}

/// What the configuration in use has of catalogs that zones are taken from.
#[derive(Default)]
struct Taken {
    /// The zones of each that are in use.
    zones: BTreeMap<Name, usize>,
    troubles: Vec<CatalogTrouble>,
    /// Catalogs that have series.
    shown: BTreeSet<String>,
}

/// How one catalog stands.
#[derive(Default)]
struct Standing {
    report: CatalogReport,
    zones: usize,
    held: usize,
    refused: usize,
}

impl CatalogStanding {
    /// Of the catalogs of `signer`, and of those whose faults these are and whose zones `config` has.
    #[must_use]
    pub fn new(config: &Config, signer: &Arc<Signer>, faults: CatalogFaults, metrics: &Metrics) -> Self {
        let (signer, metrics) = (Arc::clone(signer), metrics.clone());
        let standing = Self { signer, faults, taken: Arc::default(), metrics };
        standing.take(config);
        standing
    }

    /// This configuration is in use from now on.
    pub fn take(&self, config: &Config) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.zones = config.catalogs.taken.iter().map(|catalog| (catalog.zone.clone(), 0)).collect();
        for zone in &config.zones {
            if let Some(Origin::Catalog(catalog)) = zone.source.origin() {
                *taken.zones.entry(catalog).or_default() += 1;
            }
        }
        taken.troubles =
            config.zone_file_errors().map(|errors| errors.of_catalogs.clone()).unwrap_or_default();
        self.revision().change();
    }

    /// Changes with what is reported.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.faults.revision()
    }

    /// How each catalog stands; the metrics say the same.
    #[must_use]
    pub fn reports(&self) -> Vec<CatalogReport> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let standings = self.standings(&taken);
        let labels: BTreeSet<String> =
            standings.iter().map(|standing| standing.report.catalog.clone()).collect();
        let metrics = &self.metrics;
        let families = [
            &metrics.catalog_ok,
            &metrics.catalog_zones,
            &metrics.catalog_zones_held,
            &metrics.catalog_zones_refused,
        ];
        for gone in taken.shown.difference(&labels) {
            families.iter().for_each(|family| family.remove(&[gone]));
        }
        for Standing { report, zones, held, refused } in &standings {
            let values = [usize::from(report.failing.is_none()), *zones, *held, *refused];
            for (family, value) in families.iter().zip(values) {
                family.with_label_values(&[&report.catalog]).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
        }
        taken.shown = labels;
        standings.into_iter().map(|standing| standing.report).collect()
    }

    fn standings(&self, taken: &Taken) -> Vec<Standing> {
        let mut standings: BTreeMap<Name, Standing> = BTreeMap::new();
        for made in self.signer.made_catalogs() {
            let held = (!made.held.is_empty()).then(|| held_in(&made.catalog, &made.held));
            let report = CatalogReport { failing: made.failure, held, ..CatalogReport::default() };
            let standing = Standing { report, zones: made.zones, held: made.held.len(), refused: 0 };
            standings.insert(made.catalog, standing);
        }
        for (catalog, zones) in &taken.zones {
            standings.entry(catalog.clone()).or_default().zones = *zones;
        }
        for (catalog, fault) in self.faults.all() {
            standings.entry(catalog).or_default().report.failing = Some(fault.to_string());
        }
        for trouble in &taken.troubles {
            let standing = standings.entry(trouble.catalog.clone()).or_default();
            let why = told(trouble);
            match trouble.kind {
                CatalogTroubleKind::Unread => {
                    standing.report.failing.get_or_insert(why);
                }
                CatalogTroubleKind::Held => {
                    standing.held = trouble.zones;
                    standing.report.held = Some(why);
                }
                CatalogTroubleKind::Refused => {
                    standing.refused = trouble.zones;
                    standing.report.refused = Some(why);
                }
            }
        }
        for (catalog, standing) in &mut standings {
            standing.report.catalog = catalog.zone_label();
        }
        standings.into_values().collect()
    }
}

/// What is said of zones that a catalog of ours holds.
fn held_in(catalog: &Name, held: &[Name]) -> String {
    let named: Vec<String> = held.iter().take(NAMED).map(Name::zone_label).collect();
    let more = if held.len() > NAMED { ", ..." } else { "" };
    format!(
        "{} zone(s) are not of the catalog {catalog} any more and stay in it ({}{more}), because too many would leave it within an hour",
        held.len(),
        named.join(", ")
    )
}

fn told(trouble: &CatalogTrouble) -> String {
    let findings: Vec<String> = trouble.findings.iter().map(ToString::to_string).collect();
    let more = trouble.zones.saturating_sub(findings.len());
    let rest = match trouble.kind {
        CatalogTroubleKind::Refused if more > 0 => format!("; {} zones in all", trouble.zones),
        _ => String::new(),
    };
    findings.join("; ") + &rest
}
