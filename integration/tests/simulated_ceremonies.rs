//! Two years with three ceremonies a year, the request timer and the loader on a clock that is stepped: one ceremony is late by its whole
//! lead time, one is answered wrongly twice first. No second is without a valid bundle, and what is worth an alert is counted.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::PathBuf;

use keystore::config::{Config, KsrConfig, LoaderConfig, ZoneConfig};
use keystore::dns::Name;
use keystore::exchange::{Bundle, TrustAnchor, UnverifiedSkr, bind};
use keystore::keys::plan::{Holes, Interval};
use keystore::keys::{Dnskey, files};
use keystore::policy::{self, Policy, Role};
use keystore::time::Timestamp;
use ksr_gen::daemon::{OpenRequest, tick};
use ksr_gen::keygen::{self, Keygen};
use ksr_gen::sign::{self, Allow, Signing};
use metrics::Metrics;
use skr_loader::Loader;
use skr_loader::loader::Outcome;

const DAY: u64 = 86_400;
const STEP: u64 = 6 * 3600;
/// Four months, so that there are three ceremonies a year, and a month for each.
const PERIOD: u32 = 122 * 86_400;
const LEAD: u32 = 30 * 86_400;

struct World {
    dir: tempfile::TempDir,
    name: Name,
    policy: Policy,
    start: Timestamp,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["state/keys", "state/inbox", "safe", "stranger"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let conf = "dnssec-policy p { offline-ksk yes; keys { ksk lifetime unlimited algorithm ed25519; zsk lifetime P3M algorithm ed25519; }; };";
        std::fs::write(dir.path().join("policy"), conf).unwrap();
        let policy = policy::load(&dir.path().join("policy")).unwrap().get("p").unwrap().clone();
        let start = Timestamp::parse_stamp("20270101000000").unwrap();
        let world = Self { dir, name: Name::parse("example.test").unwrap(), policy, start };
        for folder in ["safe", "stranger"] {
            let interval = Interval { start: start.minus(DAY), end: start.plus(3 * 365 * DAY) };
            let keygen = Keygen {
                dir: &world.path(folder),
                zone: &world.name,
                policy: &world.policy,
                role: Role::Ksk,
                interval,
                holes: Holes::Fill,
                now: start,
            };
            keygen::run(&keygen, || {}).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn zone(&self) -> ZoneConfig {
        let ksks: Vec<Dnskey> =
            files::find(&self.path("safe"), &self.name).unwrap().keys.into_iter().map(|k| k.dnskey).collect();
        ZoneConfig {
            multi_signer: false,
            allow_cds_delete: false,
            name: self.name.clone(),
            policy: self.policy.clone(),
            anchors: ksks.into_iter().map(TrustAnchor::Dnskey).collect(),
            file: None,
            key_directory: self.path("state/keys"),
        }
    }

    fn config(&self) -> Config {
        Config {
            state_dir: self.path("state"),
            zones: vec![self.zone()],
            loader: LoaderConfig::default(),
            deliver: Vec::new(),
            ksr: KsrConfig { enabled: true, lead: LEAD, period: PERIOD, ..KsrConfig::default() },
            signer: None,
            metrics: None,
            warnings: Vec::new(),
        }
    }

    /// The ceremony: checks, proves and signs a request with the KSK of a folder.
    fn ceremony(&self, request: &OpenRequest, safe: &str, now: Timestamp) -> UnverifiedSkr {
        let octets = std::fs::read(&request.path).unwrap();
        let ksr = bind::parse_ksr(&octets, &self.name).unwrap();
        let keys = files::find(&self.path(safe), &self.name).unwrap().keys;
        let signing = Signing {
            zone: &self.name,
            policy: &self.policy,
            ksr: &ksr,
            keys: &keys,
            end: request.end,
            parent: None,
            cds_delete: None,
            previous: None,
            now,
            allow: Allow::default(),
        };
        let groups = sign::plan(signing).unwrap().sign(&|_| ()).unwrap();
        UnverifiedSkr { zone: self.name.clone(), bundles: groups.concat() }
    }

    /// Drops an SKR and lets the loader look; gives what became of it.
    fn drop_skr(&self, loader: &mut Loader, skr: &UnverifiedSkr, now: Timestamp) -> Outcome {
        std::fs::write(self.path("aside"), bind::print_skr(skr, now, "a test")).unwrap();
        std::fs::rename(self.path("aside"), self.path("state/inbox/a.skr")).unwrap();
        // The inbox is scanned once a minute; the kernel's events may come later than this step.
        for look in 0..10 {
            let mut imports = loader.step(now.plus(look * 61)).imports;
            if !imports.is_empty() {
                assert_eq!(imports.len(), 1, "{imports:?}");
                return imports.remove(0).outcome;
            }
        }
        panic!("the file was not looked at");
    }
}

/// The value of a series as it is scraped.
fn value(metrics: &Metrics, series: &str) -> u64 {
    let text = metrics.encode().unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(&format!("offlineksk_{series} ")));
    line.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
}

/// Every second from `from` until `to` has a bundle in force whose signatures are valid.
#[track_caller]
fn covered(bundles: &[Bundle], from: Timestamp, to: Timestamp) {
    let first = bundles.partition_point(|b| b.inception <= from).checked_sub(1);
    let first = first.unwrap_or_else(|| panic!("nothing is in force at {from}"));
    for (i, bundle) in bundles.iter().enumerate().skip(first) {
        let begin = bundle.inception.max(from);
        let end = bundles.get(i + 1).map_or(to, |next| next.inception.min(to));
        if begin >= end {
            continue;
        }
        for signature in &bundle.signatures {
            assert!(
                signature.incepts(begin) <= begin && end.minus(1) <= signature.expires(begin),
                "{begin} to {end}: the signature over {} is not valid throughout",
                signature.covered
            );
        }
    }
}

#[test]
fn two_years_with_three_ceremonies_each() {
    let world = World::new();
    let metrics = Metrics::new().unwrap();
    let mut loader = Loader::new(world.config(), metrics.clone()).unwrap();
    let config = world.config();
    let zone = world.zone();
    let (mut ceremonies, mut late, mut wrong_first) = (0, 0, 0);
    let (mut warned, mut critical) = (Vec::new(), Vec::new());
    // What has been in force since when.
    let mut in_force: Option<(Vec<Bundle>, Timestamp)> = None;
    let (mut zsks_seen, mut open_steps) = (std::collections::HashSet::new(), 0);
    let end = world.start.plus(2 * 365 * DAY);
    let mut now = world.start;
    while now < end {
        loader.step(now);
        let report = tick(&zone, &config.ksr, &config.state_dir, now).unwrap();
        let coverage_end = value(&metrics, "skr_coverage_end_timestamp_seconds{zone=\"example.test.\"}");
        if in_force.is_some() {
            let left = coverage_end.saturating_sub(now.secs());
            let threshold = |severity: &str| {
                value(
                    &metrics,
                    &format!(
                        "policy_skr_coverage_threshold_seconds{{severity=\"{severity}\",zone=\"example.test.\"}}"
                    ),
                )
            };
            assert!(left > 0, "{now}: the coverage has run out");
            if left < threshold("warning") {
                warned.push(ceremonies);
            }
            if left < threshold("critical") {
                critical.push(ceremonies);
            }
        }
        if let Some(request) = report.open {
            open_steps += 1;
            let waited = now.since(request.written);
            // The third one is answered when its whole lead time is over, at the last look before the end; the others in a week.
            let is_late = ceremonies == 2;
            let last_chance = coverage_end.saturating_sub(now.secs()) <= STEP;
            let answered = if is_late { last_chance } else { waited >= 7 * DAY || in_force.is_none() };
            if answered {
                if is_late {
                    assert!(waited + STEP >= u64::from(LEAD), "{waited}");
                    late += 1;
                }
                let good = world.ceremony(&request, "safe", now);
                let mut holed = good.clone();
                holed.bundles.remove(holed.bundles.len() / 2);
                if ceremonies == 4 {
                    // By the wrong KSK, then with a hole; both are refused by name, and what is in force stays.
                    let before = loader.in_force(&world.name).map(|f| f.generation);
                    for (bad, id) in
                        [(world.ceremony(&request, "stranger", now), "SKR-UNKNOWN-KSK"), (holed, "SKR-GAP")]
                    {
                        let outcome = world.drop_skr(&mut loader, &bad, now);
                        let Outcome::Rejected { findings } = &outcome else { panic!("{outcome:?}") };
                        assert!(findings.iter().any(|f| f.rejects() && f.id == id), "{findings:?}");
                        assert_eq!(value(&metrics, &format!("skr_rejections_total{{reason=\"{id}\"}}")), 1);
                        assert_eq!(
                            value(&metrics, "skr_last_import_success{zone=\"example.test.\"}"),
                            0,
                            "an alert of its own"
                        );
                        assert_eq!(loader.in_force(&world.name).map(|f| f.generation), before);
                        wrong_first += 1;
                    }
                }
                let outcome = world.drop_skr(&mut loader, &good, now);
                assert!(matches!(outcome, Outcome::Accepted { .. }), "{now}: {outcome:?}");
                assert_eq!(value(&metrics, "skr_last_import_success{zone=\"example.test.\"}"), 1);
                ceremonies += 1;
                if let Some((bundles, since)) = in_force.take() {
                    covered(&bundles, since, now);
                }
                let bundles = loader.in_force(&world.name).unwrap().bundles.clone();
                zsks_seen.extend(bundles.iter().flat_map(Bundle::keys).filter(|k| !k.is_ksk()));
                in_force = Some((bundles, now));
                // Answered: no request is open until the next one is due.
                let report = tick(&zone, &config.ksr, &config.state_dir, now).unwrap();
                assert!(report.open.is_none(), "{:?}", report.open);
            }
        }
        now = now.plus(STEP);
    }
    let (bundles, since) = in_force.unwrap();
    covered(&bundles, since, end);
    println!(
        "{ceremonies} ceremonies, {late} late, {wrong_first} wrong answers; {} ZSKs; a request was open at {open_steps} looks, \
         the coverage below the warning at {} and critical at {}",
        zsks_seen.len(),
        warned.len(),
        critical.len()
    );
    assert!((6..=9).contains(&ceremonies), "{ceremonies}");
    assert_eq!((late, wrong_first), (1, 2));
    // Only the late one came so near.
    assert!(!warned.is_empty() && !critical.is_empty());
    assert!(warned.iter().chain(&critical).all(|ceremony| *ceremony == 2), "{warned:?} {critical:?}");
    assert_eq!(critical.len() as u64, 3 * DAY / STEP, "three days, at each look");
    assert!(zsks_seen.len() >= 8, "ZSKs were rolled");
    assert_eq!(value(&metrics, "skr_imports_total{result=\"accepted\",zone=\"example.test.\"}"), ceremonies);
    assert_eq!(value(&metrics, "skr_imports_total{result=\"rejected\",zone=\"example.test.\"}"), 2);
}
