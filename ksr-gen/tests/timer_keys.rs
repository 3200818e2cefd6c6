//! The timer beside people and programs that change key files, policies and clocks.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::host::{DAY, Host, files};
use common::{COMMON, zone};
use keystore::exchange::bind;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;
use offline_ksk_ksr_gen::daemon::{Closed, KeyFileProblems, TickError, TimerOutcome, TimerReport};

/// A host with a request that is answered for half a year, and the look that has seen that.
fn answered() -> Host {
    let mut host = Host::new(COMMON);
    let open = host.tick().open.expect("a request");
    host.answer(open.end);
    let report = host.tick();
    assert_eq!((report.outcome, report.warnings), (TimerOutcome::NotDue, vec![]));
    host
}

/// The ZSKs of the only request, in any of its bundles.
fn asked(host: &Host) -> Vec<Dnskey> {
    let [request] = host.outbox().try_into().expect("one request");
    let ksr = bind::parse_ksr(&fs::read(request).expect("a file"), &zone()).expect("a KSR");
    ksr.bundles.into_iter().flat_map(|bundle| bundle.keys).collect()
}

fn reasons(report: &TimerReport) -> Vec<Closed> {
    report.closed.iter().map(|(_, why)| *why).collect()
}

/// Replaces text in each file of a key set.
fn edit(dir: &Path, base: &str, from: &str, to: &str) {
    let mut hits = 0;
    for suffix in ["key", "private", "state"] {
        let path = dir.join(format!("{base}.{suffix}"));
        let text = fs::read_to_string(&path).expect("a file");
        hits += usize::from(text.contains(from));
        fs::write(&path, text.replace(from, to)).expect("write");
    }
    assert!(hits > 0, "no {from} in {base}");
}

/// The operator makes a ZSK by hand, for a time that the accepted SKR covers.
#[test]
fn a_new_zsk_makes_a_request_due() {
    let mut host = answered();
    host.now = host.now.plus(10 * DAY);
    let old_end = host.tick().coverage_end.expect("a coverage");
    // Of its own tag range, so that keygen does not take the one that is there.
    let extra = COMMON.replace("zsk lifetime P6M", "zsk lifetime P1Y");
    host.site.write("extra", &extra);
    fs::create_dir(host.site.path("spare")).expect("a folder");
    host.site.run("-l @extra -k common -i 20261220 -e +60d -K @spare keygen example.test").ok();
    for file in ["key", "private", "state"].iter().flat_map(|suffix| files(&host.site.path("spare"), suffix))
    {
        fs::copy(&file, host.zone.key_directory.join(file.file_name().expect("a name"))).expect("copy");
    }
    let [_, _] = host.zsks().try_into().expect("two ZSKs");
    let report = host.tick();
    assert_eq!(report.outcome, TimerOutcome::Written);
    assert!(report.warnings.iter().any(|w| w.starts_with("KSR-COVERAGE-KEYS: ")), "{:?}", report.warnings);
    let open = report.open.expect("a request");
    assert_eq!((open.start, open.end), (host.now, old_end.plus(182 * DAY)));
    let keys = asked(&host);
    assert!(
        keys.iter().any(|key| Some(key.tag()) == tag(&host, 1))
            && keys.iter().any(|key| Some(key.tag()) == tag(&host, 0))
    );
    // It stays the only one until it is answered, and then all is well again.
    for _ in 0..3 {
        host.now = host.now.plus(DAY);
        let report = host.tick();
        assert_eq!((report.outcome, report.open.as_ref()), (TimerOutcome::Pending, Some(&open)));
    }
    host.answer(open.end);
    let report = host.tick();
    assert_eq!(
        (report.outcome, reasons(&report), report.warnings),
        (TimerOutcome::NotDue, vec![Closed::Answered], vec![])
    );
    assert_eq!(host.outbox(), Vec::<std::path::PathBuf>::new());
}

fn tag(host: &Host, n: usize) -> Option<u16> {
    host.zsks().get(n)?.rsplit('+').next()?.parse().ok()
}

/// Deleted, added or edited under an open request: it is moved aside and made anew, and there are never two.
#[test]
fn an_open_request_follows_the_keys() {
    let mut host = Host::new(&COMMON.replace("P6M", "P3M"));
    let first = host.tick().open.expect("a request");
    let made = host.zsks().len();
    assert!(made >= 2, "keys for half a year of three months each");
    // Untouched, it stays, whoever looks.
    host.now = host.now.plus(DAY);
    assert_eq!(host.tick().outcome, TimerOutcome::Pending);
    assert_eq!(host.tick().outcome, TimerOutcome::Pending);

    // The key that comes later is deleted.
    let keys = keystore::keys::files::find(&host.zone.key_directory, &zone()).expect("keys").keys;
    let later = keys.iter().max_by_key(|key| key.timing.activate).expect("a key");
    for suffix in ["key", "private", "state"] {
        fs::remove_file(host.zone.key_directory.join(format!("{}.{suffix}", later.base_name())))
            .expect("remove");
    }
    let gone = later.dnskey.clone();
    host.now = host.now.plus(DAY);
    let report = host.tick();
    assert_eq!((report.outcome, reasons(&report)), (TimerOutcome::Written, vec![Closed::KeysChanged]));
    assert!(report.warnings.iter().any(|w| w.starts_with("KSR-KEYS-CHANGED: ")), "{:?}", report.warnings);
    assert_eq!(report.keys_made.len(), 1, "in its place");
    assert_ne!(report.open.as_ref(), Some(&first));
    assert!(!asked(&host).contains(&gone));
    assert_eq!(files(&host.outbox_dir().join("answered"), "ksr").len(), 1);
    host.now = host.now.plus(DAY);
    assert_eq!(host.tick().outcome, TimerOutcome::Pending, "the new one fits");

    // named or the operator moves a Delete.
    let keys = keystore::keys::files::find(&host.zone.key_directory, &zone()).expect("keys").keys;
    let early = keys.iter().min_by_key(|key| key.timing.activate).expect("a key");
    let delete = early.timing.delete.expect("a time");
    edit(&host.zone.key_directory, &early.base_name(), &delete.to_string(), &delete.plus(DAY).to_string());
    host.now = host.now.plus(DAY);
    let report = host.tick();
    assert_eq!(reasons(&report), vec![Closed::KeysChanged], "{report:?}");
    assert_eq!(host.outbox().len(), 1);
    // In the very same second another one is moved aside, and both stay to be read.
    edit(&host.zone.key_directory, &early.base_name(), &delete.plus(DAY).to_string(), &delete.to_string());
    assert_eq!(reasons(&host.tick()), vec![Closed::KeysChanged]);
    assert_eq!(host.outbox().len(), 1);
    assert_eq!(files(&host.outbox_dir().join("answered"), "ksr").len(), 3);
    assert_eq!(host.tick().outcome, TimerOutcome::Pending);
}

/// What has been is not held against a request: named purges key files whose Delete is over.
#[test]
fn a_purged_key_changes_nothing() {
    let mut host = Host::new(&COMMON.replace("P6M", "P3M"));
    host.ksr.period = u32::try_from(300 * DAY).expect("seconds");
    host.tick().open.expect("a request");
    let keys = keystore::keys::files::find(&host.zone.key_directory, &zone()).expect("keys").keys;
    let early = keys.iter().min_by_key(|key| key.timing.activate).expect("a key");
    host.now = early.timing.delete.expect("a time").plus(DAY);
    for suffix in ["key", "private", "state"] {
        fs::remove_file(host.zone.key_directory.join(format!("{}.{suffix}", early.base_name())))
            .expect("remove");
    }
    let report = host.tick();
    assert_eq!((report.outcome, report.warnings), (TimerOutcome::Pending, vec![]));
}

/// The active ZSK is gone for good in the middle of the coverage: a request is due at once.
#[test]
fn a_deleted_active_zsk_makes_a_request_due() {
    let mut host = answered();
    host.now = host.now.plus(10 * DAY);
    let [base] = host.zsks().try_into().expect("one ZSK");
    for suffix in ["key", "private", "state"] {
        fs::remove_file(host.zone.key_directory.join(format!("{base}.{suffix}"))).expect("remove");
    }
    let report = host.tick();
    assert_eq!(
        (report.outcome, report.keys_made.len()),
        (TimerOutcome::Written, 2),
        "for a year, of half a year each"
    );
    assert!(report.warnings.iter().any(|w| w.starts_with("KSR-COVERAGE-KEYS: ")), "{:?}", report.warnings);
}

#[test]
fn row_22_ksr_a_policy_that_changes_half_way_makes_the_request_anew_or_changes_nothing() {
    let mut host = Host::new(COMMON);
    host.tick().open.expect("a request");
    // Another TTL: the request would be answered with the old one.
    host.now = host.now.plus(DAY);
    host.reload(&COMMON.replace("offline-ksk yes;", "offline-ksk yes; dnskey-ttl 7200;"));
    let report = host.tick();
    assert_eq!(reasons(&report), vec![Closed::KeysChanged]);
    assert!(fs::read_to_string(&host.outbox()[0]).expect("a file").contains("\t7200\t"));
    // Another algorithm.
    host.now = host.now.plus(DAY);
    host.reload(&COMMON.replace("ecdsap256sha256", "ed25519"));
    let report = host.tick();
    assert_eq!((reasons(&report), report.keys_made.len()), (vec![Closed::KeysChanged], 1));
    assert!(asked(&host).iter().all(|key| key.algorithm.0 == 15), "{:?}", asked(&host));

    // A policy that cannot work is refused where it is read; one that got here all the same changes nothing.
    let before = (host.outbox(), fs::read(&host.outbox()[0]).expect("a file"), host.zsks());
    host.now = host.now.plus(DAY);
    let good = host.zone.policy.clone();
    for harm in 0..3 {
        let mut policy = good.clone();
        match harm {
            0 => policy.keys.clear(),
            1 => policy.keys.retain(|entry| entry.role == keystore::policy::KeyRole::Ksk),
            _ => policy.keys.iter_mut().for_each(|entry| entry.tag_range = (1, 0)),
        }
        host.reload(COMMON);
        host.zone.policy = policy;
        host.try_tick().expect_err("no request");
        assert_eq!(
            before,
            (host.outbox(), fs::read(&host.outbox()[0]).expect("a file"), host.zsks()),
            "{harm}"
        );
    }
    // A period of no length asks for nothing.
    let mut host = Host::new(COMMON);
    host.ksr.period = 0;
    host.try_tick().expect_err("no request");
    assert_eq!((host.outbox().len(), host.zsks().len()), (0, 0));
}

#[test]
fn row_37_a_clock_that_goes_back_or_ahead_makes_no_request_and_loses_none() {
    let mut host = Host::new(COMMON);
    let now = host.now;
    host.tick().open.expect("a request");
    let before = (host.outbox(), host.zsks());
    for wrong in [Timestamp::EPOCH, Timestamp::from_secs(60), now.minus(3600), now.minus(365 * DAY)] {
        host.now = wrong;
        let error = host.try_tick().expect_err("no request");
        assert!(matches!(error, TickError::Clock { .. }), "{wrong}: {error}");
        assert_eq!(before, (host.outbox(), host.zsks()), "{wrong}");
    }
    host.now = now.plus(60);
    assert_eq!(host.tick().outcome, TimerOutcome::Pending);

    // Covered, and an hour or a year back: nothing is due, nothing is made, nothing is moved.
    host.answer(now.plus(182 * DAY));
    host.tick();
    let keys = host.zsks();
    for back in [3600, 365 * DAY] {
        host.now = now.minus(back);
        let report = host.tick();
        assert_eq!((report.outcome, report.closed), (TimerOutcome::NotDue, vec![]));
        assert_eq!((host.outbox().len(), host.zsks()), (0, keys.clone()));
    }

    // Two years ahead, a request is written; after the return the message names the file, and without it all goes on.
    host.now = now.plus(730 * DAY);
    let ahead = host.tick().open.expect("a request");
    host.now = now.plus(DAY);
    let error = host.try_tick().expect_err("no request").to_string();
    assert!(error.contains(&ahead.path.display().to_string()) && error.contains("remove"), "{error}");
    fs::remove_file(&ahead.path).expect("remove");
    let report = host.tick();
    assert_eq!(report.outcome, TimerOutcome::NotDue);
    let due = report.due;
    host.now = due;
    assert_eq!(host.tick().outcome, TimerOutcome::Written);
}

#[test]
fn row_38_after_a_suspend_the_first_look_does_what_is_due() {
    let mut host = answered();
    let due = host.tick().due;
    // A week across the time at which the request was due.
    host.now = due.plus(7 * DAY);
    let open = host.tick().open.expect("a request");
    assert_eq!((open.start, open.written), (host.now, host.now));
    // And across its answer, which somebody dropped meanwhile.
    host.answer(open.end);
    host.now = host.now.plus(7 * DAY);
    let report = host.tick();
    assert_eq!((report.outcome, reasons(&report)), (TimerOutcome::NotDue, vec![Closed::Answered]));
    // And past the end of everything: one request, from now on.
    host.now = report.coverage_end.expect("a coverage").plus(30 * DAY);
    let open = host.tick().open.expect("a request");
    assert_eq!((open.start, open.end, host.outbox().len()), (host.now, host.now.plus(182 * DAY), 1));
}

#[test]
fn row_39_key_files_mismatch_no_key_is_made_in_place_of_a_damaged_one_for_a_day() {
    type Harm = fn(&Path, &str);
    let harms: [(&str, Harm); 6] = [
        ("garbage in .key", |dir, base| {
            fs::write(dir.join(format!("{base}.key")), "garbage").expect("write")
        }),
        ("garbage in .private", |dir, base| {
            fs::write(dir.join(format!("{base}.private")), "garbage").expect("write");
        }),
        ("garbage in .state", |dir, base| {
            fs::write(dir.join(format!("{base}.state")), "garbage").expect("write")
        }),
        (".private missing", |dir, base| {
            fs::remove_file(dir.join(format!("{base}.private"))).expect("remove")
        }),
        ("of another zone", |dir, base| {
            let path = dir.join(format!("{base}.key"));
            let text = fs::read_to_string(&path).expect("a file").replace("example.test", "other.test");
            fs::write(&path, text).expect("write");
        }),
        ("timing garbled", |dir, base| edit(dir, base, "Activate: 2", "Activate: x")),
    ];
    for (what, harm) in harms {
        let mut host = answered();
        // Another zone in the same folder.
        let mut other = host.zone.clone();
        other.name = keystore::dns::Name::parse("neighbour.test").expect("a name");
        let [base] = host.zsks().try_into().expect("one ZSK");
        let kept: Vec<_> = ["key", "private", "state"]
            .map(|suffix| host.zone.key_directory.join(format!("{base}.{suffix}")))
            .into_iter()
            .map(|path| (fs::read(&path).expect("a file"), path))
            .collect();
        harm(&host.zone.key_directory, &base);
        let report = host.tick();
        assert_eq!(
            (report.outcome, report.key_files.map(|seen| seen.mismatched)),
            (TimerOutcome::NotDue, Some(1)),
            "{what}"
        );
        assert!(
            report.warnings.iter().all(|w| w.starts_with("KSR-KEY-FILES: ")),
            "{what}: {:?}",
            report.warnings
        );
        assert_eq!(host.tick().warnings, Vec::<String>::new(), "told once");
        let good = offline_ksk_ksr_gen::daemon::tick(&other, &host.ksr, &host.site.path(""), host.now)
            .expect("a look");
        assert_eq!(good.outcome, TimerOutcome::Written, "{what}: the neighbour");
        // When the request is due, a day is left to put it back.
        host.now = report.due;
        for later in [0, DAY - 1] {
            host.now = report.due.plus(later);
            let error = host.try_tick().expect_err(what);
            assert!(matches!(error, TickError::Damaged { count: 1, .. }), "{what}: {error}");
            assert_eq!(host.outbox().len(), 0);
        }
        for (octets, path) in &kept {
            fs::write(path, octets).expect("write");
            // As it was: a private key that others can read proves nothing.
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
        }
        assert_eq!(host.tick().outcome, TimerOutcome::Written, "{what}: put back");
        assert!(asked(&host).iter().any(|key| base.ends_with(&format!("{:05}", key.tag()))), "{what}");

        // Damaged again under the open request: it stays.
        harm(&host.zone.key_directory, &base);
        let report = host.tick();
        assert_eq!((report.outcome, report.closed), (TimerOutcome::Pending, vec![]), "{what}");

        // Without anybody who puts it back, the request is written a day after it was due all the same.
        let mut lone = answered();
        let [base] = lone.zsks().try_into().expect("one ZSK");
        harm(&lone.zone.key_directory, &base);
        lone.now = lone.tick().due.plus(DAY);
        let report = lone.tick();
        assert_eq!(report.outcome, TimerOutcome::Written, "{what}");
        assert!(report.warnings.iter().any(|w| w.contains(&base)), "{what}: {:?}", report.warnings);
    }
}

#[test]
fn row_39_a_private_zsk_that_others_can_read_proves_nothing() {
    let mut host = answered();
    let [base] = host.zsks().try_into().expect("one ZSK");
    let path = host.zone.key_directory.join(format!("{base}.private"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
    host.now = host.tick().due;
    let error = host.try_tick().expect_err("no request").to_string();
    assert!(error.contains(&base) && error.contains("644"), "{error}");
    assert_eq!(host.outbox().len(), 0);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    assert_eq!(host.tick().outcome, TimerOutcome::Written);
}

#[test]
fn row_40_a_private_ksk_is_reported_and_neither_opened_nor_asked_for() {
    let mut host = answered();
    for suffix in ["key", "private", "state"] {
        for file in files(&host.site.path("ksk"), suffix) {
            let to = host.zone.key_directory.join(file.file_name().expect("a name"));
            fs::copy(&file, &to).expect("copy");
            if suffix == "private" {
                // Whoever opens it fails.
                fs::write(&to, "garbage").expect("write");
            }
        }
    }
    host.now = host.now.plus(DAY);
    let report = host.tick();
    assert_eq!(report.key_files, Some(KeyFileProblems { mismatched: 0, private_ksks: 1 }));
    assert!(report.warnings.iter().all(|w| w.starts_with("KSR-PRIVATE-KSK: ")), "{:?}", report.warnings);
    assert_eq!(report.warnings.len(), 1);
    host.now = report.due;
    assert_eq!(host.tick().outcome, TimerOutcome::Written);
    assert!(asked(&host).iter().all(|key| !key.is_ksk()));
    // Gone again.
    for suffix in ["key", "private", "state"] {
        for file in files(&host.site.path("ksk"), suffix) {
            fs::remove_file(host.zone.key_directory.join(file.file_name().expect("a name"))).expect("remove");
        }
    }
    assert_eq!(host.tick().key_files, Some(KeyFileProblems { mismatched: 0, private_ksks: 0 }));
}

/// Where the signer has noted a TTL above `max-zone-ttl`, a ZSK stays for as long as caches may hold signatures by it.
#[test]
fn kind_18_keys_are_planned_with_the_largest_ttl_of_the_zone() {
    let stays = |noted: Option<u32>| {
        let host = Host::new(COMMON);
        let state = keystore::store::zone_dir(&host.site.path("zones"), &common::zone());
        keystore::store::write_largest_ttl(&state, noted).expect("noted");
        host.tick();
        let keys = keystore::keys::files::find(&host.site.path("zsk"), &common::zone()).expect("keys").keys;
        let times: Vec<u64> =
            keys.iter().filter_map(|key| Some(key.timing.delete?.since(key.timing.inactive?))).collect();
        assert!(!times.is_empty());
        let request = fs::read_to_string(&host.outbox()[0]).expect("text");
        let told = noted.filter(|ttl| *ttl > 86_400);
        assert_eq!(keystore::exchange::largest_ttl(request.as_bytes()), told, "{request}");
        times
    };
    let plain = stays(None);
    let day = 86_400;
    for (noted, more) in
        [(Some(day), 0), (Some(14 * day), 13 * u64::from(day)), (Some(30 * day), 29 * u64::from(day))]
    {
        let longer: Vec<u64> = plain.iter().map(|time| time + more).collect();
        assert_eq!(stays(noted), longer, "{noted:?}");
    }
    let host = Host::new(COMMON);
    let state = keystore::store::zone_dir(&host.site.path("zones"), &common::zone());
    std::fs::create_dir_all(&state).expect("a folder");
    std::fs::write(state.join("largest-ttl"), "garbage").expect("write");
    let error = host.try_tick().expect_err("nothing is planned").to_string();
    assert!(error.contains("largest-ttl") && error.contains("a TTL in seconds"), "{error}");
}

/// A ZSK that nothing names, with these times.
fn add_old_zsk(
    host: &Host,
    delete: Option<Timestamp>,
    state: Option<keystore::keys::timing::State>,
) -> String {
    let policy = host
        .zone
        .policy
        .keys
        .iter()
        .find(|entry| entry.role == keystore::policy::KeyRole::Zsk)
        .expect("a ZSK");
    let early = Some(host.now.minus(400 * DAY));
    let timing = keystore::keys::Timing {
        created: early,
        publish: early,
        activate: early,
        inactive: delete,
        delete,
        ..Default::default()
    };
    let private = keystore::crypto::PrivateKey::generate(policy.algorithm, policy.bits).expect("a key");
    let public_key = private.public_key(policy.algorithm).expect("its public key");
    let dnskey = keystore::keys::Dnskey { flags: 256, protocol: 3, algorithm: policy.algorithm, public_key };
    let dir = host.zone.key_directory.clone();
    let key = keystore::keys::KeyFile { zone: zone(), ttl: 3600, dnskey, timing, state, dir };
    key.create(&private).expect("written");
    key.base_name()
}

/// `purge-keys` after Delete the files go, as named removes them; never those that the SKR in force or an open request names, never by a
/// clock that shows a time that is not covered.
#[test]
fn kind_115_files_of_keys_are_removed_purge_keys_after_their_delete_and_no_others() {
    use keystore::keys::timing::{RecordState, State};
    let host = answered();
    let kept = host.zsks();
    let long_ago = |days: u64| Some(host.now.minus(days * DAY));
    let hidden =
        State { length: 256, zsk: Some(true), dnskey: (Some(RecordState::Hidden), None), ..State::default() };
    let seen = State { dnskey: (Some(RecordState::Unretentive), None), ..hidden.clone() };
    let meant = State { goal: Some(RecordState::Omnipresent), ..hidden.clone() };
    let cases = [
        ("Delete 91 days ago", add_old_zsk(&host, long_ago(91), None), true),
        ("the same, hidden by its .state", add_old_zsk(&host, long_ago(91), Some(hidden)), true),
        ("a record that is not hidden", add_old_zsk(&host, long_ago(91), Some(seen)), false),
        ("meant to be seen", add_old_zsk(&host, long_ago(91), Some(meant)), false),
        ("Delete 89 days ago", add_old_zsk(&host, long_ago(89), None), false),
    ];
    let report = host.tick();
    for (what, base, goes) in &cases {
        assert_eq!(report.keys_removed.contains(base), *goes, "{what}");
        for suffix in ["key", "private"] {
            let path = host.zone.key_directory.join(format!("{base}.{suffix}"));
            assert_eq!(path.exists(), !goes, "{what}: {suffix}");
        }
    }
    assert!(kept.iter().all(|base| host.zsks().contains(base)), "those of the SKR stay");
    assert_eq!(host.tick().keys_removed, Vec::<String>::new());
}

#[test]
fn kind_115_key_files_stay_where_the_policy_keeps_them_or_the_clock_is_not_in_what_is_covered() {
    type Harm = fn(&mut Host);
    let cases: [(&str, Harm); 4] = [
        ("purge-keys 0", |host| host.zone.policy.purge_keys = 0),
        ("a clock behind the coverage", |host| host.now = host.now.plus(400 * DAY)),
        ("a clock before it", |host| host.now = host.now.minus(200 * DAY)),
        ("a request that does not read", |host| {
            // A request is due by then, so that nothing in the outbox is superseded.
            host.now = host.now.plus(150 * DAY);
            fs::write(host.outbox_dir().join(format!("{}.ksr", host.now)), "garbage").expect("written");
        }),
    ];
    for (what, harm) in cases {
        let mut host = answered();
        let old = add_old_zsk(&host, Some(host.now.minus(300 * DAY)), None);
        harm(&mut host);
        if let Ok(report) = host.try_tick() {
            assert_eq!(report.keys_removed, Vec::<String>::new(), "{what}");
        }
        assert!(host.zsks().contains(&old), "{what}");
    }
}

/// Key files that an SKR or a request names stay, however long their Delete is over.
#[test]
fn kind_115_a_key_that_the_skr_in_force_or_a_request_names_stays() {
    let mut host = answered();
    host.zone.policy.purge_keys = 1;
    let [base] = host.zsks().try_into().expect("one ZSK");
    let keys = keystore::keys::files::find(&host.zone.key_directory, &zone()).expect("keys").keys;
    let mut key = keys.into_iter().next().expect("the key");
    (key.timing.inactive, key.timing.delete) = (Some(host.now.minus(2 * DAY)), Some(host.now.minus(DAY)));
    key.update().expect("written");
    host.now = host.now.plus(1);
    assert_eq!(host.tick().keys_removed, Vec::<String>::new());
    assert!(host.zsks().contains(&base));
}

/// Requests that need no answer any more go by age and number with their mails, and so does what lies beside requests that are gone.
#[test]
fn kind_115_answered_requests_are_kept_by_number_and_age_and_nothing_is_left_beside() {
    for (limits, wanted) in
        [((100, 1827), 30), ((20, 1827), 20), ((100, 15), 16), ((100, 1), 8), ((8, 1827), 8)]
    {
        let mut host = answered();
        host.now = host.now.plus(DAY);
        (host.ksr.answered_max_requests, host.ksr.answered_max_days) = limits;
        let answered = host.outbox_dir().join("answered");
        fs::remove_dir_all(&answered).expect("removed");
        fs::create_dir(&answered).expect("made");
        for days in 0..30 {
            let name = host.now.minus(days * DAY).to_string();
            for suffix in ["ksr", "eml"] {
                fs::write(answered.join(format!("{name}.{suffix}")), "x").expect("written");
            }
        }
        let foreign = ["note.ksr", "20261201.eml", "readme"];
        for name in foreign {
            fs::write(answered.join(name), "x").expect("written");
        }
        for suffix in ["told", "eml", "future"] {
            fs::write(host.outbox_dir().join(format!("20200101000000.{suffix}")), "x").expect("written");
        }
        let report = host.tick();
        assert_eq!(report.requests_removed, 30 - wanted, "{limits:?}");
        for suffix in ["ksr", "eml"] {
            let left = files(&answered, suffix)
                .into_iter()
                .filter(|path| !foreign.iter().any(|name| path.ends_with(name)));
            assert_eq!(left.count(), wanted, "{limits:?}: {suffix}");
        }
        assert!(answered.join(format!("{}.ksr", host.now)).exists(), "the newest stays");
        assert!(foreign.iter().all(|name| answered.join(name).exists()), "names of others stay");
        for suffix in ["told", "eml", "future"] {
            assert_eq!(files(&host.outbox_dir(), suffix), Vec::<std::path::PathBuf>::new(), "{suffix}");
        }
        // Once a day.
        fs::write(host.outbox_dir().join("20200101000000.told"), "x").expect("written");
        host.now = host.now.plus(DAY - 1);
        host.tick();
        assert_eq!(files(&host.outbox_dir(), "told").len(), 1);
        host.now = host.now.plus(1);
        host.tick();
        assert!(files(&host.outbox_dir(), "told").is_empty());
    }
}
