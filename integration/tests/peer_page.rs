//! The status page as a browser sees it: headless Chromium, at the width of a desk and of a phone, light and dark, without JavaScript, with
//! one, 50 and 10 000 zones. `scripts/page/check` brings what it needs; without that the test says SKIPPED.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystore::clock;
use keystore::config::MetricsConfig;
use keystore::dns::Name;
use keystore::keys::Timing;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::health::Health;
use metrics::health::facts::{
    BundleFacts, BundleKey, ComponentFacts, ComponentState, HealthFacts, ImportFacts, ImportResult,
    KeySetFacts, RequestFacts, ScheduleFacts, Thresholds, ZoneFacts,
};
use metrics::health::judge::judge;
use metrics::health::model::Since;
use metrics::health::report::{Component, ComponentReport, Delivery, ServedReport};
use metrics::health::routes::Pages;
use metrics::health::watch::Newest;
use metrics::http::{self, Endpoint, Guard, HttpRequest, RunningEndpoint};

const DAY: u64 = 86_400;
const LIMITS: Thresholds =
    Thresholds { info: 30 * DAY, warning: 14 * DAY, critical: 3 * DAY, lead: 60 * DAY };
const KSK: BundleKey = BundleKey { tag: 20_326, algorithm: 13, is_ksk: true };

fn zsk(tag: u16) -> BundleKey {
    BundleKey { tag, algorithm: 13, is_ksk: false }
}

/// A zone with bundles of nine days until so many days from now; its ZSKs roll.
fn zone(name: &str, now: Timestamp, days_left: u64) -> ZoneFacts {
    let mut zone = ZoneFacts::new(Name::parse(name).expect("a name"), LIMITS);
    let end = now.plus(days_left * DAY);
    let count = days_left / 9 + 8;
    let bundle = |at: u64| {
        let inception = end.minus(14 * DAY + 9 * DAY * (count - 1 - at));
        let keys = vec![KSK, zsk(if at * 2 < count { 7733 } else { 58_104 })];
        BundleFacts { inception, expiration: inception.plus(14 * DAY), keys }
    };
    let bundles: Vec<BundleFacts> = (0..count).map(bundle).collect();
    let roll = bundles[usize::try_from(count.div_ceil(2)).expect("small")].inception;
    Arc::make_mut(&mut zone.store).schedule = Some(ScheduleFacts { generation: 7, bundles });
    let timing = |publish: Timestamp, inactive: Option<Timestamp>| Timing {
        publish: Some(publish),
        activate: Some(publish.plus(3 * DAY)),
        inactive,
        delete: inactive.map(|time| time.plus(10 * DAY)),
        ..Timing::default()
    };
    Arc::make_mut(&mut zone.keys).keys = vec![
        KeySetFacts { key: zsk(7733), timing: timing(now.minus(80 * DAY), Some(roll)) },
        KeySetFacts { key: zsk(58_104), timing: timing(roll.minus(3 * DAY), None) },
    ];
    let import = |days: u64, result| ImportFacts {
        time: now.minus(days * DAY),
        result,
        file: Some(format!("{}skr", name.replace('/', "_"))),
        generation: Some(7),
        checks: Vec::new(),
        forced: Vec::new(),
        by: None,
    };
    zone.imports = [import(40, ImportResult::Accepted)].into();
    zone.is_served = true;
    zone.has_timer = true;
    zone.report.served = Some(ServedReport {
        loaded: true,
        validly_signed: true,
        generation: 7,
        serial: 2_026_112_601,
        zsk_expires: Some(now.plus(8 * DAY)),
        refresh_seconds: 5 * DAY,
        ..ServedReport::default()
    });
    zone
}

fn request(now: Timestamp, end: Timestamp) -> RequestFacts {
    let path = PathBuf::from("/var/lib/offline-ksk/outbox/example./20261030060000.ksr");
    RequestFacts { path, start: now.minus(27 * DAY), end, written: now.minus(27 * DAY), sha256: [0x5a; 32] }
}

/// A zone with ten days left, a rejected answer and a server that is not reached.
fn in_trouble(now: Timestamp) -> ZoneFacts {
    let mut zone = zone("example.", now, 10);
    zone.requests = [request(now, now.plus(190 * DAY))].into();
    let rejected = ImportFacts {
        time: now.minus(DAY),
        result: ImportResult::Rejected,
        file: Some("example-2026-11-25.skr".to_owned()),
        generation: None,
        checks: vec!["SKR-CHAIN-OVERLAP".to_owned()],
        forced: Vec::new(),
        by: None,
    };
    zone.imports = zone.imports.iter().cloned().chain([rejected]).collect();
    let delivery = |target: &str, up, cause: Option<&str>| Delivery {
        target: target.to_owned(),
        up,
        current: up,
        generation: 7,
        last_proof: Some(now.minus(4000)),
        cause: cause.map(str::to_owned),
    };
    zone.report.deliveries = vec![
        delivery("ns1", true, None),
        delivery("ns2", false, Some("rndc: connect failed: 192.0.2.2#953: timed out")),
    ];
    zone
}

fn facts(zones: Vec<ZoneFacts>, now: Timestamp) -> HealthFacts {
    let part = |component| ComponentFacts {
        component,
        expected: true,
        state: ComponentState::Reported(Box::new(ComponentReport::new(
            component,
            now.minus(9 * DAY),
            now.minus(2),
        ))),
    };
    HealthFacts {
        components: [Component::SkrLoader, Component::Requests, Component::Signer].map(part).into(),
        zones,
        ..HealthFacts::default()
    }
}

/// So many zones, of which some need somebody.
fn fleet(count: usize, now: Timestamp) -> Health {
    let zones = (0..count).map(|at| {
        let name = match at % 50 {
            7 => format!("a-zone-with-a-rather-long-name-{at}.and-another-long-label-in-it.example."),
            _ => format!("zone{at}.example."),
        };
        let mut facts = match at % (count / 10) {
            1 => zone(&name, now, 2 + at as u64 % 12),
            2 => zone(&name, now, 20),
            _ => zone(&name, now, 61 + at as u64 % 90),
        };
        match at {
            3 => Arc::make_mut(&mut facts.keys)
                .private_ksks
                .push(PathBuf::from("/var/lib/offline-ksk/keys/Kzone3.example.+013+01181.private")),
            4 => Arc::make_mut(&mut facts.store).schedule = None,
            5 => {
                facts.report.served = Some(ServedReport {
                    file_error: Some("zone5:3: expected a type".to_owned()),
                    ..ServedReport::default()
                })
            }
            6 => facts = ZoneFacts { name: facts.name.clone(), ..in_trouble(now) },
            _ => {}
        }
        facts
    });
    judge(&facts(zones.collect(), now), &Since::default(), now)
}

fn serve(health: Health) -> RunningEndpoint {
    let pages = Pages::new(Newest::new(health));
    let endpoint =
        Endpoint::new(Metrics::new().expect("families"), || 0, move |request| pages.answer(request));
    let listen = "127.0.0.1:0".parse().expect("an address");
    let guard = Guard::load(&MetricsConfig::at(listen)).expect("no web-config");
    http::serve(listen, endpoint, guard).expect("bind")
}

/// Looks at these pages in the browser; false when there is none.
fn look(serving: &RunningEndpoint, paths: &str, name: &str) -> bool {
    let modules = std::env::var_os("NODE_MODULES");
    let Some(modules) = modules.filter(|_| Path::new("/usr/bin/chromium").exists()) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "chromium or NODE_MODULES is missing; run scripts/page/check"
        );
        eprintln!("SKIPPED: needs chromium and the packages that scripts/page/check brings");
        return false;
    };
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("scripts/page/check.mjs");
    let mut command = Command::new("node");
    command
        .arg(script)
        .arg(format!("http://{}", serving.address()))
        .env("PATHS", paths)
        .env("NODE_MODULES", modules);
    if let Some(folder) = std::env::var_os("SCREENSHOTS") {
        command.arg(folder).arg(name);
    }
    let output = command.output().expect("node runs");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    eprintln!("{said}");
    true
}

#[test]
fn one_zone_in_trouble_is_clean_in_a_browser() {
    let now = clock::now();
    let health = judge(&facts(vec![in_trouble(now)], now), &Since::default(), now);
    look(&serve(health), "/ /zone/example.", "trouble");
}

#[test]
fn one_zone_that_is_well_is_clean_in_a_browser() {
    let now = clock::now();
    let health = judge(&facts(vec![zone("example.", now, 150)], now), &Since::default(), now);
    look(&serve(health), "/", "well");
}

#[test]
fn zones_without_skr_without_signer_and_with_odd_names_are_clean_in_a_browser() {
    let now = clock::now();
    let long = format!("{}example.", "a\\032\\<b\\>.".repeat(40));
    let odd = |name: &str| ZoneFacts::new(Name::parse(name).expect("a name"), LIMITS);
    let health =
        judge(&facts(vec![odd("never.example."), odd(&long), odd(".")], now), &Since::default(), now);
    look(&serve(health), "/ /zone/never.example. /zone/", "odd");
}

#[test]
fn fleet_of_50_is_clean_in_a_browser() {
    look(&serve(fleet(50, clock::now())), "/ /?severity=ok /zone/zone6.example.", "fleet");
}

#[test]
fn fleet_of_10000_is_clean_in_a_browser_quick_and_small() {
    let now = clock::now();
    let health = fleet(10_000, now);
    let started = Instant::now();
    let json = serde_json::to_vec(&health.without_details()).expect("JSON").len();
    eprintln!("JSON of 10 000 zones: {json} octets in {:?}", started.elapsed());
    let pages = Pages::new(Newest::new(health.clone()));
    for (path, query) in
        [("/", ""), ("/", "order=end"), ("/", "q=zone99"), ("/readyz", ""), ("/calendar.ics", "")]
    {
        let started = Instant::now();
        let page = pages.answer(&HttpRequest::get(path, query)).expect("a page");
        let took = started.elapsed();
        eprintln!("{path}?{query}: {} octets in {took:?}", page.body.len());
        assert!(page.body.len() < 2 << 20, "{path}?{query} has {} octets", page.body.len());
        assert!(took < Duration::from_secs(1), "{path}?{query} took {took:?}");
    }
    look(&serve(health), "/", "large");
}
