//! Two years with three ceremonies a year, the request timer and the loader on a clock that is stepped: one ceremony is late by its whole
//! lead time, one is answered wrongly twice first, and once an operator adds a ZSK in between.
//!
//! No second is without a valid bundle: by the proof over all caches, by the times of the signatures, and, one second before each
//! switch, at it and one second after it, by the `domain` crate, which shares no code with ours. Each state that is worth an alert
//! is seen in the metrics at its time.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::PathBuf;

use keystore::config::transfer::TransferConfig;
use keystore::config::{Config, KsrConfig, LoaderConfig, ZoneConfig};
use keystore::dns::Name;
use keystore::exchange::prove::{ParentModel, prove_skr};
use keystore::exchange::{Bundle, TrustAnchor, UnverifiedSkr, bind};
use keystore::keys::plan::Interval;
use keystore::keys::{Dnskey, files};
use keystore::policy::{self, KeyRole, Policy};
use keystore::time::Timestamp;
use ksr_gen::daemon::{self, Closed, NoticeOutcome, OpenRequest, Rounds, TimerReport, Urgency};
use ksr_gen::keygen::{self, Keygen};
use ksr_gen::sign::{self, SigningInput};
use metrics::Metrics;
use skr_loader::Loader;
use skr_loader::loader::ImportOutcome;

const DAY: u64 = 86_400;
const STEP: u64 = 6 * 3600;
/// Four months, so that there are three ceremonies a year, and forty days for each.
const PERIOD: u32 = 122 * 86_400;
const LEAD: u32 = 40 * 86_400;

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
        let policy = policy::load(&dir.path().join("policy")).unwrap().get("p").unwrap().clone().into_inner();
        let start = Timestamp::parse_stamp("20270101000000").unwrap();
        let world = Self { dir, name: Name::parse("example.test").unwrap(), policy, start };
        for folder in ["safe", "stranger"] {
            let interval = Interval { start: start.minus(DAY), end: start.plus(3 * 365 * DAY) };
            let dir = world.path(folder);
            let keygen = Keygen::new(&dir, &world.name, &world.policy, KeyRole::Ksk, interval, start);
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
            anchors: ksks.into_iter().map(TrustAnchor::Dnskey).collect(),
            ..ZoneConfig::new(self.name.clone(), self.policy.clone(), self.path("state/keys"))
        }
    }

    /// An operator makes a ZSK more, published from `at` on for a month.
    fn add_zsk(&self, at: Timestamp) {
        let dir = self.path("spare");
        std::fs::create_dir_all(&dir).unwrap();
        let interval = Interval { start: at, end: at.plus(30 * DAY) };
        let keygen = Keygen::new(&dir, &self.name, &self.policy, KeyRole::Zsk, interval, at);
        keygen::run(&keygen, || {}).unwrap();
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, self.path("state/keys").join(path.file_name().unwrap())).unwrap();
        }
    }

    fn config(&self) -> Config {
        Config {
            state_dir: self.path("state"),
            zones: vec![self.zone().into()],
            loader: LoaderConfig::default(),
            zone_files: keystore::config::zone_files::ZoneFiles::default(),
            parent: keystore::config::ParentConfig::default(),
            catalogs: keystore::config::catalog::Catalogs::default(),
            deliver: Vec::new(),
            ksr: KsrConfig { enabled: true, lead: LEAD, period: PERIOD, ..KsrConfig::default() },
            signer: None,
            metrics: None,
            transfer: TransferConfig::default(),
            probe: None,
            pair: None,
            warnings: Vec::new(),
        }
    }

    /// The ceremony: checks, proves and signs a request with the KSK of a folder.
    fn ceremony(&self, request: &OpenRequest, safe: &str, now: Timestamp) -> UnverifiedSkr {
        let octets = std::fs::read(&request.path).unwrap();
        let ksr = bind::parse_ksr(&octets, &self.name).unwrap();
        let keys = files::find(&self.path(safe), &self.name).unwrap().keys;
        let signing = SigningInput::new(&self.name, &self.policy, &ksr, &keys, request.end, now);
        let groups = sign::plan(signing).unwrap().sign(&|_| ()).unwrap();
        UnverifiedSkr { zone: self.name.clone(), bundles: groups.concat() }
    }

    /// Drops an SKR and lets the loader look; gives what became of it.
    fn drop_skr(&self, loader: &mut Loader, skr: &UnverifiedSkr, now: Timestamp) -> ImportOutcome {
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

/// The `domain` crate as a validator that knows only the KSKs: at `at` the DNSKEY, CDS and CDNSKEY RRsets are each signed by one of
/// them, validly then, and a ZSK is among the keys that has its private key here and is active.
#[track_caller]
fn judged_by_others(bundles: &[Bundle], ksks: &[Vec<u8>], zsks: &[Dnskey], at: Timestamp) {
    use domain::base::{Name as OtherName, Record, Rtype, Serial, Ttl, UnknownRecordData};
    use domain::dep::octseq::Parser;
    use domain::dnssec::validator::base::RrsigExt as _;
    use domain::rdata::{Dnskey as OtherDnskey, Rrsig as OtherRrsig};

    let bundle = bundles.iter().rev().find(|b| b.inception <= at).unwrap_or_else(|| panic!("{at}: nothing"));
    let owner: OtherName<Vec<u8>> = "example.test.".parse().unwrap();
    for rrset in bundle.rrsets() {
        let rtype = Rtype::from_int(rrset.rtype.0);
        let good = bundle.signatures.iter().any(|signature| {
            let octets = signature.to_rdata();
            let rrsig = OtherRrsig::parse(&mut Parser::from_ref(octets.as_slice())).unwrap();
            let now = Serial(u32::try_from(at.secs()).unwrap());
            let in_time =
                rrsig.inception().into_int() <= now.into_int() && now < Serial(rrsig.expiration().into_int());
            if rrsig.type_covered() != rtype || !in_time {
                return false;
            }
            let mut records: Vec<_> = rrset
                .rdatas
                .iter()
                .map(|rdata| {
                    let data = UnknownRecordData::from_octets(rtype, rdata.to_vec()).unwrap();
                    Record::new(owner.clone(), domain::base::iana::Class::IN, Ttl::from_secs(rrset.ttl), data)
                })
                .collect();
            let mut signed = Vec::new();
            rrsig.signed_data(&mut signed, records.as_mut_slice()).unwrap();
            ksks.iter().any(|rdata| {
                let key = OtherDnskey::parse(&mut Parser::from_ref(rdata.as_slice())).unwrap();
                key.key_tag() == rrsig.key_tag() && rrsig.verify_signed_data(&key, &signed).is_ok()
            })
        });
        assert!(good, "{at}: the {} RRset has no valid signature of a KSK", rrset.rtype.0);
    }
    assert!(bundle.rrsets().count() == 3, "{at}: DNSKEY, CDS and CDNSKEY");
    assert!(bundle.keys().any(|key| zsks.contains(&key)), "{at}: no active ZSK is published");
}

/// All that is watched over the two years.
struct Watch {
    metrics: Metrics,
    rounds: Rounds,
    /// What was told, by the number of ceremonies until then, with the seconds that were left.
    told: Vec<(u64, Urgency, u64)>,
    closed: Vec<Closed>,
    warnings: Vec<String>,
}

impl Watch {
    /// One round of the request timer, as the daemon does it.
    fn round(&mut self, config: &Config, ceremonies: u64, now: Timestamp) -> TimerReport {
        let (metrics, mut seen) = (self.metrics.clone(), None);
        let (told_before, closed, warnings) = (&mut self.told, &mut self.closed, &mut self.warnings);
        self.rounds.round(
            config,
            || now,
            |_, result, told| {
                daemon::record(result, "example.test.", true, &metrics);
                let report = result.as_ref().unwrap_or_else(|error| panic!("{now}: {error}"));
                closed.extend(report.closed.iter().map(|(_, why)| *why));
                warnings.extend(report.warnings.iter().cloned());
                let told = told.unwrap();
                daemon::record_notice(told, "example.test.", &metrics);
                if let NoticeOutcome::Now(urgency, _) = told {
                    told_before.push((
                        ceremonies,
                        *urgency,
                        report.coverage_end.map_or(0, |end| end.since(now)),
                    ));
                }
                seen = Some(report.clone());
            },
        );
        seen.unwrap()
    }
}

#[test]
fn two_years_with_three_ceremonies_each() {
    let world = World::new();
    let config = world.config();
    let metrics = Metrics::new().unwrap();
    let mut loader = Loader::new(world.config(), metrics.clone()).unwrap();
    let mut watch = Watch {
        metrics: metrics.clone(),
        rounds: Rounds::default(),
        told: vec![],
        closed: vec![],
        warnings: vec![],
    };
    let gauge = |name: &str| value(&metrics, &format!("{name}{{zone=\"example.test.\"}}"));
    let anchors = world.zone().anchors;
    let ksks: Vec<Vec<u8>> = files::find(&world.path("safe"), &world.name)
        .unwrap()
        .keys
        .iter()
        .map(|k| k.dnskey.to_rdata())
        .collect();
    let (mut ceremonies, mut late, mut wrong_first) = (0, 0, 0);
    let (mut warned, mut critical) = (Vec::new(), Vec::new());
    // What has been in force since when.
    let mut in_force: Option<(Vec<Bundle>, Timestamp)> = None;
    let (mut zsks_seen, mut open_steps, mut judged) = (std::collections::HashSet::new(), 0, 0);
    let (mut added, mut longest_wait) = (None, 0);
    let end = world.start.plus(2 * 365 * DAY);
    let mut now = world.start;
    while now < end {
        loader.step(now);
        let report = watch.round(&config, ceremonies, now);
        let coverage_end = gauge("skr_coverage_end_timestamp_seconds");
        let left = coverage_end.saturating_sub(now.secs());
        if in_force.is_some() {
            let threshold = |severity: &str| {
                value(
                    &metrics,
                    &format!(
                        "policy_skr_coverage_threshold_seconds{{severity=\"{severity}\",zone=\"example.test.\"}}"
                    ),
                )
            };
            assert!(left > 0, "{now}: the coverage has run out");
            let level = match () {
                () if left < threshold("critical") => 4,
                () if left < threshold("warning") => 3,
                () if left < threshold("info") => 2,
                () => 1,
            };
            let expected = if report.open.is_some() { level } else { 0 };
            assert_eq!(gauge("ksr_urgency"), expected, "{now}: {left} s left");
            if level >= 3 {
                warned.push(ceremonies);
            }
            if level == 4 {
                critical.push(ceremonies);
            }
        }
        // What the alerts of requests look at.
        let waiting = report.open.as_ref().map_or(0, |open| open.written.secs());
        assert_eq!(gauge("ksr_pending_since_timestamp_seconds"), waiting, "{now}");
        if let Some(open) = &report.open {
            longest_wait = longest_wait.max(now.since(open.written));
            assert_eq!(gauge("ksr_due_timestamp_seconds"), 0, "{now}: nothing is overdue");
        } else {
            assert_eq!(gauge("ksr_due_timestamp_seconds"), report.due.secs(), "{now}");
        }

        // In the middle of the second SKR's time an operator adds a ZSK.
        if ceremonies == 2 && added.is_none() && left < u64::from(LEAD) + 20 * DAY {
            assert!(report.open.is_none());
            world.add_zsk(now.plus(DAY));
            let report = watch.round(&config, ceremonies, now);
            assert!(
                report.warnings.iter().any(|w| w.starts_with("KSR-COVERAGE-KEYS: ")),
                "{:?}",
                report.warnings
            );
            // Its private part is not in force before its SKR is: the KSK side answers at once.
            let request = report.open.unwrap();
            let good = world.ceremony(&request, "safe", now);
            let outcome = world.drop_skr(&mut loader, &good, now);
            assert!(matches!(outcome, ImportOutcome::Accepted { .. }), "{now}: {outcome:?}");
            if let Some((bundles, since)) = in_force.take() {
                covered(&bundles, since, now);
            }
            let bundles = loader.in_force(&world.name).unwrap().bundles.to_vec();
            in_force = Some((bundles, now));
            added = Some(now);
            let report = watch.round(&config, ceremonies, now);
            assert_eq!((report.open, report.warnings), (None, vec![]));
            continue;
        }

        // The second before a switch, at it, and the second after.
        if let Some((bundles, since)) = &in_force {
            let zsks: Vec<_> = files::find(&world.path("state/keys"), &world.name).unwrap().keys;
            let switches = bundles.iter().map(|b| b.inception).filter(|t| *t >= now && *t < now.plus(STEP));
            for switch in switches {
                for at in [switch.minus(1), switch, switch.plus(1)].into_iter().filter(|at| at >= since) {
                    let active: Vec<Dnskey> = zsks
                        .iter()
                        .filter(|key| key.timing.is_active(at) && key.load_private().is_ok())
                        .map(|key| key.dnskey.clone())
                        .collect();
                    judged_by_others(bundles, &ksks, &active, at);
                    judged += 1;
                }
            }
        }

        if let Some(request) = report.open {
            open_steps += 1;
            let waited = now.since(request.written);
            // The third one is answered when its whole lead time is over, at the last look before the end; the others in a week.
            let is_late = ceremonies == 3;
            let answered = if is_late { left <= STEP } else { waited >= 7 * DAY || in_force.is_none() };
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
                        let ImportOutcome::Rejected { findings } = &outcome else { panic!("{outcome:?}") };
                        assert!(findings.iter().any(|f| f.rejects() && f.id.as_str() == id), "{findings:?}");
                        assert_eq!(value(&metrics, &format!("skr_rejections_total{{reason=\"{id}\"}}")), 1);
                        assert_eq!(gauge("skr_last_import_success"), 0, "an alert of its own");
                        assert_eq!(loader.in_force(&world.name).map(|f| f.generation), before);
                        // The request goes on waiting.
                        assert!(watch.round(&config, ceremonies, now).open.is_some());
                        wrong_first += 1;
                    }
                }
                let outcome = world.drop_skr(&mut loader, &good, now);
                assert!(matches!(outcome, ImportOutcome::Accepted { .. }), "{now}: {outcome:?}");
                assert_eq!(gauge("skr_last_import_success"), 1);
                let bundles = loader.in_force(&world.name).unwrap().bundles.to_vec();
                let before = in_force.take();
                if let Some((bundles, since)) = &before {
                    covered(bundles, *since, now);
                }
                let keys = files::find(&world.path("state/keys"), &world.name).unwrap().keys;
                let cached: &[Bundle] = before.as_ref().map_or(&[], |(bundles, _)| bundles);
                let proof = prove_skr(
                    &world.name,
                    (cached, &bundles),
                    ParentModel::assumed(&anchors, cached, now),
                    Some(&keys),
                    &world.policy,
                    now,
                );
                assert!(proof.findings.iter().all(|f| !f.rejects()), "{now}: {:?}", proof.findings);
                ceremonies += 1;
                zsks_seen.extend(bundles.iter().flat_map(Bundle::keys).filter(|k| !k.is_ksk()));
                in_force = Some((bundles, now));
                // Answered: no request is open until the next one is due.
                let report = watch.round(&config, ceremonies, now);
                assert!(report.open.is_none(), "{:?}", report.open);
                assert_eq!(gauge("ksr_urgency"), 0);
            }
        }
        now = now.plus(STEP);
    }
    let (bundles, since) = in_force.unwrap();
    covered(&bundles, since, end);
    println!(
        "{ceremonies} ceremonies and one for an added ZSK, {late} late, {wrong_first} wrong answers, {judged} looks of another validator; {} ZSKs; \
         a request was open at {open_steps} looks, the coverage below the warning at {} and critical at {}",
        zsks_seen.len(),
        warned.len(),
        critical.len()
    );
    assert_eq!(ceremonies + 1, 6, "three a year, one of them for the added ZSK");
    assert_eq!((late, wrong_first, added.is_some()), (1, 2, true));
    assert!(judged > 200, "{judged}");
    // Only the late one came so near.
    assert!(!warned.is_empty() && !critical.is_empty());
    assert!(warned.iter().chain(&critical).all(|ceremony| *ceremony == 3), "{warned:?} {critical:?}");
    assert_eq!(critical.len() as u64, 3 * DAY / STEP, "three days, at each look");
    assert!(longest_wait > 14 * DAY, "OfflineKskKsrUnanswered fired for the late one");
    // People were told once for each request, and once for each level of the late one, in its time.
    let late_levels: Vec<_> =
        watch.told.iter().filter(|told| told.0 == 3).map(|(_, level, left)| (*level, left / DAY)).collect();
    assert_eq!(
        late_levels,
        [(Urgency::Notice, 39), (Urgency::Reminder, 29), (Urgency::Warning, 13), (Urgency::Critical, 2)]
    );
    let others = watch.told.iter().filter(|told| told.0 != 3);
    assert!(others.clone().all(|(_, level, _)| *level == Urgency::Notice), "{:?}", watch.told);
    assert_eq!(watch.warnings.len(), 1, "{:?}", watch.warnings);
    assert!(zsks_seen.len() >= 8, "ZSKs were rolled");
    // Each request was answered, none was superseded, expired or replaced; the counters say the same.
    assert!(watch.closed.iter().all(|why| *why == Closed::Answered), "{:?}", watch.closed);
    let closed = |reason: &str| {
        value(&metrics, &format!("ksr_requests_closed_total{{reason=\"{reason}\",zone=\"example.test.\"}}"))
    };
    assert_eq!(closed("answered"), ceremonies + 1);
    let accepted = value(&metrics, "skr_imports_total{result=\"accepted\",zone=\"example.test.\"}");
    assert_eq!(accepted, ceremonies + 1, "and the one for the added ZSK");
    assert_eq!(value(&metrics, "skr_imports_total{result=\"rejected\",zone=\"example.test.\"}"), 2);
    let written = value(&metrics, "ksr_generations_total{result=\"written\",zone=\"example.test.\"}");
    assert!((accepted..=accepted + 1).contains(&written), "{written}: the last one may be open");
    assert_eq!(value(&metrics, "ksr_generations_total{result=\"failed\",zone=\"example.test.\"}"), 0);
}
