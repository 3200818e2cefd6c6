//! The conditions brought about for real on daemons that run as they do for an operator: by files, drops, commands, reloads and signals.
//! Each is seen in the terminal, the JSON, the exit code, `/readyz`, the page and the metrics, and is gone from all of them when it is mended.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use keystore::crypto::PrivateKey;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};
use keystore::store::{digest, format_current};
use metrics::health::ConditionId;
use metrics::health::watch::PAUSE;
use skr_loader::audit::{AuditEvent, AuditWriter, Record};
use skr_loader::control::{ControlAnswer, ControlRequest};

use super::health_site::{Watch, now};
use super::place::{
    DAY, Daemon, Extra, HOSTS, Place, ZONE, bring, good, make_unreadable, page, restore, see, wait,
};
use super::{catalogs, disk_and_certificate, from_primaries, parent, probed};

const FILES: [ConditionId; 8] = [
    ConditionId::ZoneFileRejected,
    ConditionId::ImportRejected,
    ConditionId::ImportDeferred,
    ConditionId::KeyKskOnline,
    ConditionId::RequestWaits,
    ConditionId::HealthUnreadable,
    ConditionId::ConfigRejected,
    ConditionId::KeyZskUnreadable,
];
const KEPT: [ConditionId; 4] = [
    ConditionId::KeyZskMissing,
    ConditionId::AuditBroken,
    ConditionId::SkrStoreDamaged,
    ConditionId::WatchStalled,
];
const UNREADABLE: [ConditionId; 3] =
    [ConditionId::SignerZoneFileUnreadable, ConditionId::SignerSkrUnreadable, ConditionId::KeyFilesDamaged];

#[test]
fn conditions_that_files_and_drops_bring_about_are_seen_and_go() {
    // Two looks, of this process and of another one, are the longest way of a fact to where it is seen.
    assert!(2 * PAUSE <= Duration::from_secs(1));
    let place = Place::new();
    let _daemon = place.serve();
    let config = fs::read_to_string(place.path("config.toml")).expect("it is there");
    let outbox = place.path("state/outbox").join(ZONE);
    let mode = |mode| fs::set_permissions(place.private(), fs::Permissions::from_mode(mode)).expect("chmod");
    bring(
        &place,
        &FILES,
        || {
            place.write("example.zone", "this is no zone file\n");
            let other = SkrBuilder::new(ZONE, now().minus(DAY)).ksk(TestKey::ksk(7));
            place.drop_text("other.skr", &other.text());
            place.write("unsafe.skr", "x\n");
            let open = fs::Permissions::from_mode(0o666);
            fs::set_permissions(place.path("unsafe.skr"), open).expect("chmod");
            fs::rename(place.path("unsafe.skr"), place.path("state/inbox/unsafe.skr")).expect("rename");
            place.write_key(ZONE, &TestKey::ksk(1), 1);
            fs::create_dir_all(&outbox).expect("a folder");
            fs::write(outbox.join(format!("{}.ksr", now())), ";; a request\n").expect("write");
            place.write("state/health/probe.json", "{");
            place.write("config.toml", &format!("{config}nonsense = 1\n"));
            mode(0o644);
        },
        || {
            place.write_zone(ZONE, HOSTS);
            place.acknowledge(ZONE);
            fs::remove_file(place.path("state/inbox/unsafe.skr")).expect("it was left");
            let ksk = place.key_file(ZONE, &TestKey::ksk(1));
            ["key", "private", "state"].iter().for_each(|s| fs::remove_file(ksk.path(s)).expect("a file"));
            fs::remove_dir_all(&outbox).expect("it was there");
            fs::remove_file(place.path("state/health/probe.json")).expect("it was there");
            place.write("config.toml", &config);
            mode(0o600);
        },
    );
    let log = fs::read_to_string(place.path("state/audit.jsonl")).expect("it is there");
    let last = log.lines().last().expect("a line");
    assert!(last.contains("\"event\":\"acknowledged\"") && last.contains("other.skr"), "{last}");

    let generation = place.path("state/accepted").join(ZONE).join("1.skr");
    let octets = fs::read(&generation).expect("it is there");
    bring(
        &place,
        &KEPT,
        || {
            fs::rename(place.private(), place.path("away")).expect("moved");
            fs::write(place.path("state/audit.jsonl"), log.replacen("accepted", "Accepted", 1))
                .expect("write");
            fs::write(&generation, "altered").expect("write");
            fs::rename(place.path("state/inbox"), place.path("inbox-away")).expect("moved");
        },
        || {
            fs::rename(place.path("away"), place.private()).expect("moved back");
            fs::write(place.path("state/audit.jsonl"), &log).expect("write");
            fs::write(&generation, &octets).expect("write");
            // The loader may have made another one meanwhile.
            let _ = fs::remove_dir(place.path("state/inbox"));
            fs::rename(place.path("inbox-away"), place.path("state/inbox")).expect("moved back");
        },
    );
    let (zone, accepted) = (place.path("example.zone"), place.path("state/accepted").join(ZONE));
    place.write_key(ZONE, &TestKey::zsk(8), 8);
    let standby = place.key_file(ZONE, &TestKey::zsk(8)).path("key");
    bring(
        &place,
        &UNREADABLE,
        || {
            make_unreadable(&zone);
            make_unreadable(&accepted);
            fs::write(&standby, "garbage").expect("write");
        },
        || {
            restore(&zone);
            restore(&accepted);
            let standby = place.key_file(ZONE, &TestKey::zsk(8));
            ["key", "private", "state"]
                .iter()
                .for_each(|s| fs::remove_file(standby.path(s)).expect("a file"));
        },
    );
    stores(&place, &octets);
    host(&place, &log);
}

const KEYS_AND_CLOCK: [ConditionId; 2] = [ConditionId::SignerKeysUnreadable, ConditionId::ClockWrong];
const SERIAL: [ConditionId; 1] = [ConditionId::SignerSerialNotWritten];
const VERSION: [ConditionId; 1] = [ConditionId::SignerStateNotWritten];
const AUDIT: [ConditionId; 1] = [ConditionId::AuditNotWritten];
/// Brought about by the tests of `pair::keeper`, and by two processes in `peer_transfer`.
const OF_PAIR: [ConditionId; 3] = [ConditionId::NotActive, ConditionId::LeaseLost, ConditionId::PairConflict];
const WARNED: [ConditionId; 1] = [ConditionId::SkrWarned];

/// What this host cannot read or write; `log` is the audit log as it was.
fn host(place: &Place, log: &str) {
    let (keys, audit) = (place.path("state/keys"), place.path("state/audit.jsonl"));
    bring(
        place,
        &KEYS_AND_CLOCK,
        || {
            make_unreadable(&keys);
            let tomorrow = Record::new(now().plus(DAY), AuditEvent::Started);
            AuditWriter::open(&audit).expect("the log").append(tomorrow).expect("a line");
        },
        || {
            restore(&keys);
            fs::write(&audit, log).expect("write");
        },
    );
    let state = place.path("state/zones/example.");
    // New content whose serial is reserved already, and content with a serial far behind those that are.
    for (ids, hosts, serial) in [(&VERSION, HOSTS + 1, 1), (&SERIAL, HOSTS, 2_000_000)] {
        let bring_about = || {
            make_unreadable(&state);
            place.write_zone_of(ZONE, hosts, serial, DAY);
        };
        bring(place, ids, bring_about, || restore(&state));
    }
    bring(
        place,
        &AUDIT,
        || {
            make_unreadable(&audit);
            place.drop_text("unlogged.skr", "this is no SKR\n");
        },
        || {
            restore(&audit);
            place.drop_text("logged.skr", "this is no SKR\n");
        },
    );
    // A ZSK of which nobody knows when it is to be used.
    let unused = KeyFile { timing: Timing::default(), ..place.key_file(ZONE, &TestKey::zsk(6)) };
    unused.write(&PrivateKey::Raw(vec![6; 32])).expect("a key");
    bring(
        place,
        &WARNED,
        || place.drop_text("warned.skr", &good(ZONE).text()),
        || {
            ["key", "private", "state"].iter().for_each(|s| fs::remove_file(unused.path(s)).expect("a file"));
            place.drop_text("unwarned.skr", &good(ZONE).bundles(21).text());
        },
    );
}

const STORES: [ConditionId; 4] = [
    ConditionId::CoverageNone,
    ConditionId::CoverageGap,
    ConditionId::GenerationBehind,
    ConditionId::CoverageEndsSoon,
];

/// What stands in the accepted store, as the loader would have put it there.
fn stores(place: &Place, good: &[u8]) {
    let heal = || {
        let current = format_current(1, &digest(good));
        place.write(&format!("state/accepted/{ZONE}/current"), &current);
    };
    let begin = now().minus(DAY);
    let past = SkrBuilder::new(ZONE, now().minus(100 * DAY)).bundles(2);
    bring(place, &STORES[..1], || place.accept(2, &past), heal);
    // The signer does not take what no KSK that it trusts has signed.
    let foreign = SkrBuilder::new(ZONE, begin).bundles(20).validity(5 * DAY).ksk(TestKey::ksk(7));
    bring(place, &STORES[1..3], || place.accept(3, &foreign), heal);
    bring(place, &STORES[3..], || place.accept(4, &SkrBuilder::new(ZONE, begin).bundles(1)), heal);
}

const RELOADED: [ConditionId; 8] = [
    ConditionId::ZoneNotLoaded,
    ConditionId::CoverageNever,
    ConditionId::SignerSerialUnreadable,
    ConditionId::DeliveryUnproven,
    ConditionId::AlarmUntested,
    ConditionId::SignerContentHeld,
    ConditionId::NoticeFailed,
    ConditionId::RequestOverdue,
];
const REVIEWED: [ConditionId; 1] = [ConditionId::SignerReviewRefused];
const NOT_REVIEWED: [ConditionId; 1] = [ConditionId::SignerReviewFailing];
const FORCED: [ConditionId; 3] =
    [ConditionId::SkrForced, ConditionId::ZoneUnsigned, ConditionId::KeyZskMissing];
const LATE: [ConditionId; 1] = [ConditionId::SignatureLate];
const NOT_VERIFIED: [ConditionId; 1] = [ConditionId::SignerNotVerified];

#[test]
fn conditions_that_configuration_and_orders_bring_about_are_seen_and_go() {
    let place = Place::new();
    let daemon = place.serve();
    let reload = |extra: &Extra<'_>| {
        place.configure(extra);
        daemon.signal("-HUP");
    };
    let serial = place.path("state/zones/new./serial");
    bring(
        &place,
        &RELOADED,
        || {
            fs::create_dir_all(place.path("state/zones/new.")).expect("a folder");
            symlink(&serial, &serial).expect("a link to itself");
            fs::create_dir_all(place.path("state/outbox")).expect("a folder");
            fs::write(place.path("state/outbox/new."), "no folder").expect("write");
            reload(&Extra {
                zones: &["new."],
                metrics: "alert-test-interval = \"30d\"",
                ksr: "lead = \"400d\"\nperiod = \"600d\"\non-request = [\"/bin/false\"]",
                more: "[[deliver.hook]]\nname = \"h\"\ncommand = [\"/bin/false\"]\n",
                ..Extra::default()
            });
            place.write_zone(ZONE, 5);
        },
        || {
            place.write_zone("new.", 1);
            place.write_zone(ZONE, HOSTS);
            place.write_key("new.", &TestKey::zsk(2), 2);
            place.drop_text("new.skr", &good("new.").text());
            fs::remove_file(&serial).expect("the link");
            fs::remove_file(place.path("state/outbox/new.")).expect("it was there");
            metrics::health::alarm::note(&place.path("state"), now()).expect("written");
            reload(&Extra { zones: &["new."], ..Extra::default() });
        },
    );
    let reviewed = |command: &str, hosts: usize| {
        reload(&Extra { signer: &format!("review = [\"{command}\"]"), ..Extra::default() });
        place.write_zone(ZONE, hosts);
    };
    let heal = || {
        place.write_zone(ZONE, HOSTS);
        reload(&Extra::default());
    };
    bring(&place, &REVIEWED, || reviewed("/bin/false", HOSTS + 1), heal);
    bring(&place, &NOT_REVIEWED, || reviewed("/nonexistent", HOSTS + 2), heal);

    // A zone that should have signatures, and comes without.
    place.write_zone("given.", 1);
    let given = "[[zone]]\nname = \"given.\"\nsigning = \"presigned\"\nfile = \"given.zone\"\n";
    bring(
        &place,
        &NOT_VERIFIED,
        || reload(&Extra { more: given, ..Extra::default() }),
        || reload(&Extra::default()),
    );

    // A zone whose ZSK is elsewhere, because a person said so.
    place.write_zone("third.", 1);
    reload(&Extra { zones: &["third."], ..Extra::default() });
    see(&place, place.http, &[ConditionId::CoverageNever], true);
    let text = good("third.").zsk(TestKey::zsk(9).dnskey).text();
    bring(
        &place,
        &FORCED,
        || {
            let answer = place.order(&ControlRequest::Import {
                name: "third.skr".to_owned(),
                content: data_encoding::BASE64.encode(text.as_bytes()),
                signature: None,
                force: vec!["SKR-NO-PRIVATE-KEY".to_owned()],
                reason: Some("a test".to_owned()),
                dry_run: false,
            });
            assert!(matches!(answer, ControlAnswer::Imported { .. }), "{answer:?}");
        },
        || {
            place.write_key("third.", &TestKey::zsk(9), 9);
            place.acknowledge("third.");
        },
    );
    reload(&Extra::default());
    // A policy that wants signatures renewed earlier than those that are served, and no key to do it with.
    bring(
        &place,
        &LATE,
        || {
            fs::rename(place.private(), place.path("away")).expect("moved");
            let policy = "signatures-validity = \"40d\"\nsignatures-validity-dnskey = \"40d\"\nsignatures-refresh = \"30d\"";
            reload(&Extra { policy, ..Extra::default() });
        },
        || {
            fs::rename(place.path("away"), place.private()).expect("moved back");
            reload(&Extra::default());
        },
    );
}

const PROCESSES: [ConditionId; 2] = [ConditionId::SignerNotRunning, ConditionId::LoaderNotRunning];
const LAST_VERSION: [ConditionId; 1] = [ConditionId::SignerStateUnreadable];
const TIMER: [ConditionId; 1] = [ConditionId::TimerNotRunning];

#[test]
fn daemon_that_was_killed_is_seen_by_another_and_gone_when_it_is_back() {
    let place = Place::new();
    let serve = place.serve();
    // The same state folder, and a configuration in which the request timer is a process of its own.
    let with_timer = fs::read_to_string(place.path("config.toml")).expect("it is there");
    let with_timer = with_timer.replace("[ksr]\nenabled = false", "[ksr]\nlead = \"20d\"");
    place.write("requests.toml", &with_timer);
    let requests = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
        command.arg("requests").arg("-c").arg(place.path("requests.toml")).stdin(Stdio::null());
        Daemon::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))
    };
    let timer = requests();
    wait("the timer", || page(place.requests_http, "/readyz").starts_with("ready"));
    see(&place, place.requests_http, &PROCESSES, false);
    modes_of_the_state_of_health(&place);
    serve.kill();
    see(&place, place.requests_http, &PROCESSES, true);
    let serve = place.serve();
    see(&place, place.requests_http, &PROCESSES, false);
    serve.kill();

    // A start without a zone file, and with a folder of versions that cannot be read.
    let (versions, zone) = (place.path("state/zones/example."), place.path("example.zone"));
    make_unreadable(&versions);
    fs::rename(&zone, place.path("away")).expect("moved");
    let serve = place.start(&["serve"]);
    see(&place, place.http, &LAST_VERSION, true);
    restore(&versions);
    see(&place, place.http, &LAST_VERSION, false);
    drop(serve);

    // The request timer is killed, and this process looks.
    place.write("config.toml", &with_timer);
    let watch = Watch::start(&place.path("config.toml"));
    see(&place, watch.port(), &TIMER, false);
    timer.kill();
    see(&place, watch.port(), &TIMER, true);
    let _timer = requests();
    see(&place, watch.port(), &TIMER, false);
}

/// What the daemons tell each other is read by other users, and written by nobody else.
fn modes_of_the_state_of_health(place: &Place) {
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    let folder = place.path("state/health");
    assert_eq!(mode(&folder), 0o755);
    for component in ["skr-loader", "signer", "requests"] {
        for suffix in ["json", "zones.json", "lock"] {
            let file = folder.join(format!("{component}.{suffix}"));
            assert_eq!(mode(&file), 0o644, "{}", file.display());
        }
    }
    let since = fs::read_dir(&folder).expect("it reads").map(|entry| entry.expect("an entry").path());
    let since: Vec<_> = since.filter(|path| path.extension().is_some_and(|end| end == "since")).collect();
    assert!(!since.is_empty() && since.iter().all(|path| mode(path) == 0o644), "{since:?}");
}

#[test]
fn every_condition_is_brought_about_for_real() {
    let here = [
        &FILES[..],
        &KEPT,
        &UNREADABLE,
        &STORES,
        &RELOADED,
        &REVIEWED,
        &NOT_REVIEWED,
        &FORCED,
        &LATE,
        &NOT_VERIFIED,
        &PROCESSES,
        &LAST_VERSION,
        &TIMER,
        &KEYS_AND_CLOCK,
        &SERIAL,
        &VERSION,
        &AUDIT,
        &WARNED,
        &OF_PAIR,
    ];
    let here = here.iter().flat_map(|ids| ids.iter().copied());
    let here =
        here.chain(probed::brought()).chain(disk_and_certificate::BROUGHT).chain(from_primaries::BROUGHT);
    let here = here.chain(parent::BROUGHT).chain(catalogs::BROUGHT);
    let here: BTreeSet<ConditionId> = here.collect();
    let missing: Vec<_> = ConditionId::ALL.iter().filter(|id| !here.contains(id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
