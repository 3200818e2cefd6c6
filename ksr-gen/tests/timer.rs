//! The timer of the daemons: a request when it is due, one at a time, and closed by its answer.

mod common;

use common::host::{DAY, Host};
use common::{COMMON, stamp, zone};
use keystore::config::Config;
use keystore::exchange::bind;
use keystore::keys::{files, plan};
use keystore::store;
use keystore::time::Timestamp;
use offline_ksk_ksr_gen::daemon::{Closed, TickError, TimerOutcome, tick};

#[test]
fn a_life_of_requests() {
    let mut host = Host::new(COMMON);
    let first = host.tick();
    assert_eq!((first.outcome, first.coverage_end, first.due), (TimerOutcome::Written, None, host.now));
    assert_eq!(first.keys_made.len(), 1, "182 days within the 186 of the first key");
    let open = first.open.expect("a request");
    assert_eq!((open.start, open.end, open.written), (host.now, host.now.plus(182 * DAY), host.now));
    assert_eq!(open.path.file_name().and_then(|n| n.to_str()), Some("20261124000000.ksr"));
    let text = std::fs::read(&open.path).expect("a file");
    let ksr = bind::parse_ksr(&text, &zone()).expect("a KSR");
    assert_eq!(ksr.bundles[0].inception, host.now);

    host.now = host.now.plus(3 * DAY);
    let second = host.tick();
    assert_eq!(second.outcome, TimerOutcome::Pending);
    assert_eq!(second.open, Some(open.clone()), "read back from its last line");
    assert_eq!(host.outbox().len(), 1, "never two open requests");

    host.answer(open.end);
    let third = host.tick();
    assert_eq!(third.outcome, TimerOutcome::NotDue);
    assert_eq!((third.open, host.outbox().len()), (None, 0));
    let moved = open.path.parent().expect("a folder").join("answered/20261124000000.ksr");
    assert_eq!(third.closed, [(moved.clone(), Closed::Answered)]);
    assert_eq!(std::fs::read(moved).expect("the file"), text);
    let end = third.coverage_end.expect("a coverage");
    assert!(end > open.end);
    assert_eq!(third.due, end.minus(60 * DAY));

    host.now = third.due.minus(1);
    assert_eq!(host.tick().outcome, TimerOutcome::NotDue);
    host.now = third.due;
    let next = host.tick();
    assert_eq!(next.outcome, TimerOutcome::Written);
    let open = next.open.expect("a request");
    assert_eq!((open.start, open.end), (host.now, end.plus(182 * DAY)));
    // The answer to the first one lasts some days longer than asked for, and so does this request: past the second key's 372 days.
    assert_eq!(next.keys_made.len(), 2);
}

/// Over years of requests, each signed ten days after it was written: at every moment at which anything changes, and the second
/// before, the ZSKs on disk that are published are those of the bundle in force, and one of them is active.
#[test]
fn keys_and_accepted_bundles_agree_for_years() {
    for (lifetime, least_changes) in [("P6M", 200), ("P3M", 200), ("unlimited", 100)] {
        let mut host = Host::new(&COMMON.replace("P6M", lifetime));
        let stop = host.now.plus(3 * 365 * DAY);
        let (mut written, mut moments) = (0, 0);
        let mut in_force: Option<keystore::exchange::UnverifiedSkr> = None;
        while host.now < stop {
            let report = host.tick();
            assert_eq!(report.warnings, Vec::<String>::new());
            written += u32::from(report.outcome == TimerOutcome::Written);
            let signed = report.open.map(|open| (open.written.plus(10 * DAY), open.end));
            if let Some((_, end)) = signed.filter(|(at, _)| host.now >= *at) {
                host.answer(end);
                let current = store::read_current(&host.site.path("accepted"), &zone()).expect("a store");
                let octets = current.expect("a generation").octets;
                in_force = Some(bind::parse_skr(&octets, &zone()).expect("an SKR"));
            }
            let keys = files::find(&host.zone.key_directory, &zone()).expect("keys").keys;
            let bundles = in_force.as_ref().map_or(&[][..], |skr| &skr.bundles);
            let times =
                keys.iter().map(|key| key.timing).flat_map(|t| [t.publish, t.activate, t.inactive, t.delete]);
            let times =
                times.flatten().chain(bundles.iter().map(|b| b.inception)).chain(signed.map(|(at, _)| at));
            let next = times.chain([report.due, host.now.plus(30 * DAY)]).filter(|t| *t > host.now).min();
            let next = next.expect("the last one");
            for at in [host.now, next.minus(1)] {
                moments += 1;
                let moment = plan::Interval { start: at, end: at.plus(1) };
                assert_eq!(plan::first_without_active_zsk(&keys, &host.zone.policy, moment), None, "{at}");
                let Some(i) = bundles.partition_point(|b| b.inception <= at).checked_sub(1) else { continue };
                assert!(bundles[i].expiration() > at, "{at} covered");
                for key in &keys {
                    let listed = bundles[i].keys().any(|k| k == key.dnskey);
                    assert_eq!(listed, key.timing.is_published(at), "{} at {at}", key.base_name());
                }
            }
            host.now = next;
        }
        assert!((5..=10).contains(&written), "{lifetime}: {written} requests");
        assert!(moments > least_changes, "{lifetime}: {moments} moments");
    }
}

#[test]
fn another_answer_supersedes_a_request() {
    let mut host = Host::new(COMMON);
    let open = host.tick().open.expect("a request");
    // Signed for a shorter time than asked for: too short to last, then long enough.
    host.answer(host.now.plus(30 * DAY));
    let still = host.tick();
    assert_eq!((still.outcome, still.closed), (TimerOutcome::Pending, vec![]));
    host.answer(host.now.plus(150 * DAY));
    let closed = host.tick();
    assert_eq!(closed.outcome, TimerOutcome::NotDue);
    assert_eq!(closed.closed.iter().map(|(_, why)| *why).collect::<Vec<_>>(), [Closed::Superseded]);
    assert!(closed.coverage_end.expect("a coverage") < open.end);
}

#[test]
fn an_unanswered_request_expires() {
    let mut host = Host::new(COMMON);
    let open = host.tick().open.expect("a request");
    host.now = open.end;
    let report = host.tick();
    assert_eq!(report.outcome, TimerOutcome::Written);
    assert_eq!(report.closed.iter().map(|(_, why)| *why).collect::<Vec<_>>(), [Closed::Expired]);
    assert_eq!(host.outbox().len(), 1);
}

#[test]
fn a_request_of_another_hand_counts() {
    let host = Host::new(COMMON);
    let dir = store::zone_dir(&host.site.path("outbox"), &host.zone.name);
    std::fs::create_dir_all(&dir).expect("a folder");
    std::fs::write(dir.join("20261101000000.ksr"), [0xff, b'\n', 0]).expect("write");
    std::fs::write(dir.join("notes.txt"), "for 1 to 2 written 3").expect("write");
    let report = host.tick();
    assert_eq!(report.outcome, TimerOutcome::Pending);
    let open = report.open.expect("a request");
    assert_eq!((open.start, open.end), (stamp("20261101000000"), stamp("20261101000000").plus(182 * DAY)));
}

#[test]
fn what_cannot_be_right_makes_no_request() {
    let mut host = Host::new(COMMON);
    let now = host.now;
    host.now = Timestamp::from_secs(1000);
    let look = |host: &Host| tick(&host.zone, &host.ksr, host.site.path("").as_path(), host.now);
    assert!(matches!(look(&host), Err(TickError::Clock { .. })));
    host.now = now;
    host.tick();
    host.now = now.minus(3600);
    assert!(matches!(look(&host), Err(TickError::Clock { .. })));
    assert_eq!(host.outbox().len(), 1);
    host.now = now;

    host.answer(now.plus(150 * DAY));
    let dir = store::zone_dir(&host.site.path("accepted"), &host.zone.name);
    std::fs::write(store::skr_path(&dir, 1), "damaged").expect("write");
    assert!(matches!(look(&host), Err(TickError::Store(_))));

    let mut other = Host::new(COMMON);
    other.zone.key_directory = other.site.path("nowhere");
    assert!(matches!(look(&other), Err(TickError::Keygen(_))));
    assert_eq!(other.outbox().len(), 0);
}

#[cfg(feature = "daemon")]
#[test]
fn metrics_follow_the_looks() {
    use offline_ksk_ksr_gen::daemon::record;
    let mut host = Host::new(COMMON);
    let metrics = metrics::Metrics::new().expect("a registry");
    let value = |name: &str| {
        let text = metrics.encode().expect("text");
        let line = text.lines().find(|l| l.starts_with(&format!("offlineksk_{name}"))).map(str::to_owned);
        line.and_then(|l| l.rsplit(' ').next().and_then(|v| v.parse::<u64>().ok()))
    };
    let look = |host: &Host| {
        record(
            &tick(&host.zone, &host.ksr, host.site.path("").as_path(), host.now),
            "example.test.",
            true,
            &metrics,
        );
    };
    look(&host);
    let written = host.now;
    assert_eq!(value("ksr_last_generated_timestamp_seconds"), Some(written.secs()));
    assert_eq!(value("ksr_pending_since_timestamp_seconds"), Some(written.secs()));
    assert_eq!(value("ksr_due_timestamp_seconds"), Some(0));
    assert_eq!(value("ksr_period_end_timestamp_seconds"), Some(written.plus(182 * DAY).secs()));
    host.answer(written.plus(182 * DAY));
    host.now = written.plus(DAY);
    look(&host);
    assert_eq!(value("ksr_pending_since_timestamp_seconds"), Some(0));
    assert!(value("ksr_due_timestamp_seconds").is_some_and(|due| due > host.now.secs()));
    host.now = Timestamp::EPOCH;
    look(&host);
    assert_eq!(value("ksr_generations_total{result=\"failed\""), Some(1));
    assert_eq!(value("ksr_generations_total{result=\"written\""), Some(1));
}

#[test]
fn kind_30_first_start_makes_the_key_folder_of_the_state_folder_and_no_other() {
    let mut host = Host::new(COMMON);
    host.zone.key_directory = host.site.path("keys");
    assert_eq!(host.tick().outcome, TimerOutcome::Written);
    assert!(!host.zsks().is_empty(), "keys in the new folder");
    let mode = std::os::unix::fs::MetadataExt::mode(&host.site.path("keys").metadata().expect("a folder"));
    assert_eq!(mode & 0o7777, 0o700);
    // One that the configuration names elsewhere, below the state folder or not; a file; and a link that leads nowhere.
    for name in ["elsewhere", "keys/below", "policy", "state-keys"] {
        let mut host = Host::new(COMMON);
        std::os::unix::fs::symlink("nowhere", host.site.path("state-keys")).expect("a link");
        host.zone.key_directory = host.site.path(name);
        let error = host.try_tick().expect_err("no key folder").to_string();
        assert!(error.contains("cannot open directory"), "{error}");
        assert_eq!(host.zone.key_directory.exists(), name == "policy", "{name}");
    }
}

#[test]
fn kind_107_a_panic_in_the_look_at_one_zone_is_an_error_of_that_zone_alone() {
    use std::cell::Cell;

    use offline_ksk_ksr_gen::daemon::{Rounds, TickError};

    let host = Host::new(COMMON);
    let mut config = host.config();
    let others = ["b.test", "c.test"].map(|name| {
        let name = keystore::dns::Name::parse(name).expect("a name");
        keystore::config::ZoneConfig { name, ..host.zone.clone() }.into()
    });
    config.zones.extend(others);
    let mut rounds = Rounds::default();
    // The clock is read once before, and once for each zone: the call of this number panics.
    for bad in [1, 2, 3, 4, 99] {
        let calls = Cell::new(0);
        let clock = || {
            calls.set(calls.get() + 1);
            assert!(calls.get() != bad, "call {bad}");
            host.now
        };
        let mut found = Vec::new();
        rounds.round(&config, clock, |zone, result, told| {
            let panicked = match result {
                Err(TickError::Panicked { what }) => Some(what.clone()),
                Err(other) => panic!("{}: {other}", zone.name),
                Ok(_) => None,
            };
            assert_eq!(told.is_some(), panicked.is_none());
            found.push(panicked);
        });
        let expected: Vec<_> = (2..=4).map(|n| (n == bad).then(|| format!("call {bad}"))).collect();
        assert_eq!(found, expected, "call {bad}");
    }
}

#[test]
fn kind_111_a_new_configuration_has_the_files_of_those_zones_read_again_that_are_configured_otherwise() {
    use offline_ksk_ksr_gen::daemon::Rounds;

    let host = Host::new(COMMON);
    let mut config = host.config();
    let others = ["b.test", "c.test"].map(|name| {
        let name = keystore::dns::Name::parse(name).expect("a name");
        keystore::config::ZoneConfig { name, ..host.zone.clone() }.into()
    });
    config.zones.extend(others);
    let mut rounds = Rounds::default();
    // Zones whose key files were judged in a round.
    let judged = |rounds: &mut Rounds, config: &Config| {
        let mut judged = Vec::new();
        rounds.round(
            config,
            || host.now,
            |zone, result, _| {
                let report = result.as_ref().unwrap_or_else(|error| panic!("{}: {error}", zone.name));
                judged.extend(report.key_files.is_some().then(|| zone.name.to_string()));
            },
        );
        judged
    };
    // Keys are made in the first round.
    judged(&mut rounds, &config);
    judged(&mut rounds, &config);
    assert_eq!(judged(&mut rounds, &config), [""; 0], "nothing has changed");
    let mut other_policy = config.clone();
    other_policy.zones[1].multi_signer = true;
    let mut fewer = other_policy.clone();
    let gone = fewer.zones.remove(2);
    let mut more = fewer.clone();
    more.zones.push(gone);
    let mut other_times = more.clone();
    other_times.ksr.lead += 1;
    let all = other_times.zones.iter().map(|zone| zone.name.to_string()).collect::<Vec<_>>();
    let mut before = &config;
    for (what, new, expected) in [
        ("the same", &config, &[][..]),
        ("a zone is configured otherwise", &other_policy, &all[1..2]),
        ("a zone is gone", &fewer, &[]),
        ("and comes again", &more, &all[2..]),
        ("[ksr] says something else", &other_times, &all),
    ] {
        rounds.reconfigure(before, new);
        assert_eq!(judged(&mut rounds, new), expected, "{what}");
        before = new;
    }
}
