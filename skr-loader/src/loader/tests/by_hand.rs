//! What people order: imports by hand, forced checks, going back.

use keystore::check::CheckId;
use std::collections::BTreeMap;
use std::path::PathBuf;

use keystore::crypto::{Algorithm, PrivateKey};
use keystore::exchange::{TrustAnchor, VerifyContext, bind, verify};
use keystore::keys::{FLAG_REVOKE, FLAG_SEP, FLAG_ZONE, KeyFile, Timing};

use super::*;
use crate::checks::FORCEABLE;
use crate::inbox::Dropped;
use crate::order::OperatorOrder;
use crate::testing::{ZSK, health_of, write_key};
use crate::user::User;
use keystore::exchange::Coverage;

fn who() -> User {
    User { uid: 4711, name: Some("jo".to_owned()) }
}

fn order(force: &[CheckId]) -> OperatorOrder {
    OperatorOrder { who: who(), force: force.to_vec(), reason: Some("a test".to_owned()), dry_run: false }
}

fn dry(force: &[CheckId]) -> OperatorOrder {
    OperatorOrder { dry_run: true, reason: None, ..order(force) }
}

impl Bench {
    fn by_hand(&mut self, text: &str, order: OperatorOrder) -> FileImport {
        let file = Dropped::by_hand("hand.skr".into(), text.as_bytes().to_vec(), Arc::new(order));
        let mut imports = self.loader.import_by_hand(&file, self.now);
        assert_eq!(imports.len(), 1, "{imports:?}");
        imports.remove(0)
    }

    fn roll_back(&mut self, to: Option<u64>, order: &OperatorOrder) -> Result<Rollback, RollbackError> {
        self.loader.roll_back(&zone(), to, order, self.now)
    }

    /// Every file with its content, but for the lock.
    fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.state.path("")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    drop(files.insert(path.clone(), fs::read(path).unwrap()))
                }
            }
        }
        files
    }

    fn records(&self) -> Vec<Record> {
        audit::verify(&self.state.path("audit.jsonl")).unwrap();
        let text = fs::read_to_string(self.state.path("audit.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Generations 1 (from day 0) and 2 (from day 9), at day 12.
fn two_generations() -> Bench {
    let mut bench = Bench::new();
    bench.import("a.skr", skr(0).text());
    bench.now = start().plus(12 * DAY);
    assert_eq!(accepted(&bench.import("b.skr", skr(9).text())), 2);
    bench
}

#[test]
fn a_file_by_hand_is_judged_like_a_dropped_one() {
    let mut bench = Bench::new();
    let import = bench.by_hand(&skr(0).text(), order(&[]));
    assert_eq!((accepted(&import.outcome), &import.forced), (1, &Vec::new()));
    assert_eq!(bench.current(), Some((1, sha256(&skr(0)))));
    assert_eq!(bench.value("skr_imports_total{result=\"accepted\",zone=\"example.\"}"), 1);
    assert_eq!(bench.value("watch_files_total{outcome=\"imported\"}"), 0, "it never lay in the inbox");
    assert_eq!(bench.by_hand(&skr(0).text(), order(&[])).outcome, ImportOutcome::Unchanged { generation: 1 });
    let rejected = bench.by_hand(&skr(9).ksk(TestKey::ksk(9)).text(), order(&[]));
    assert!(rejecting_ids(&rejected.outcome).contains(&CheckId::SkrUnknownKsk), "{rejected:?}");
    assert_eq!(bench.files("rejected"), [""; 0], "the file stays where it is");
    let records = bench.records();
    let events: Vec<_> = records.iter().map(|r| (r.event.as_str(), r.uid, r.user.as_deref())).collect();
    let jo = (Some(4711), Some("jo"));
    assert_eq!(events, [("accepted", jo.0, jo.1), ("unchanged", jo.0, jo.1), ("rejected", jo.0, jo.1)]);
    assert_eq!(records[0].file.as_deref(), Some("hand.skr"));
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut bench = two_generations();
    let series = |bench: &Bench| -> Vec<String> {
        let text = bench.metrics.encode().unwrap();
        text.lines().filter(|l| l.starts_with("offlineksk_")).map(str::to_owned).collect()
    };
    let (tree, metrics) = (bench.tree(), series(&bench));
    let new = skr(12).text();
    assert_eq!(accepted(&bench.by_hand(&new, dry(&[])).outcome), 3);
    assert_eq!(bench.by_hand(&skr(9).text(), dry(&[])).outcome, ImportOutcome::Unchanged { generation: 2 });
    let replay = skr(0).text();
    assert_eq!(rejecting_ids(&bench.by_hand(&replay, dry(&[])).outcome), [CheckId::SkrReplay]);
    let forced = bench.by_hand(&replay, dry(&[CheckId::SkrReplay]));
    assert_eq!((accepted(&forced.outcome), &*forced.forced), (3, &[CheckId::SkrReplay][..]));
    assert_eq!(bench.roll_back(None, &dry(&[])).unwrap().generation, 3);
    assert!(bench.roll_back(Some(7), &dry(&[])).is_err());
    assert_eq!(series(&bench), metrics);
    assert!(bench.tree() == tree, "a file changed");
}

#[test]
fn force_replay_and_nothing_else() {
    let mut bench = two_generations();
    let old = skr(0).text();
    assert_eq!(rejecting_ids(&bench.by_hand(&old, order(&[CheckId::SkrGap])).outcome), [CheckId::SkrReplay]);
    let import = bench.by_hand(&old, order(&[CheckId::SkrReplay, CheckId::SkrNotAsked]));
    let ImportOutcome::Accepted { generation: 3, warnings } = &import.outcome else { panic!("{import:?}") };
    assert!(
        warnings.iter().any(|w| w.id == CheckId::SkrReplay && w.what.starts_with("forced: ")),
        "{warnings:?}"
    );
    assert_eq!(
        order(&[CheckId::SkrReplay, CheckId::SkrNotAsked]).unneeded(&import.forced),
        [CheckId::SkrNotAsked]
    );
    let records = bench.records();
    let [.., ordered, done] = &records[..] else { panic!() };
    for (record, event) in [(ordered, "ordered"), (done, "accepted")] {
        assert_eq!((record.event.as_str(), record.generation), (event, Some(3)));
        assert_eq!((record.uid, record.reason.as_deref()), (Some(4711), Some("a test")));
        assert_eq!(record.forced, ["SKR-REPLAY"]);
    }
    // What it replaced does not come back by accident, after a restart neither.
    for restarts in 0..2 {
        if restarts == 1 {
            bench = bench.restart();
        }
        assert_eq!(rejecting_ids(&bench.import("b.skr", skr(9).text())), [CheckId::SkrReplay]);
        assert_eq!(bench.import("a.skr", &old), ImportOutcome::Unchanged { generation: 3 });
    }
}

#[test]
fn row_12_skr_gap_forced_keeps_the_old_bundles_until_their_end() {
    let mut bench = Bench::new();
    bench.import("a.skr", skr(0).text());
    bench.now = start().plus(40 * DAY);
    // What is in force ends at day 50, this one begins at day 60.
    let late = skr(60).text();
    let ids = rejecting_ids(&bench.by_hand(&late, order(&[])).outcome);
    assert!(ids.contains(&CheckId::SkrGap), "{ids:?}");
    let import = bench.by_hand(&late, order(&[CheckId::SkrGap, CheckId::SkrProve]));
    assert_eq!(accepted(&import.outcome), 2, "{import:?}");
    for restarts in 0..2 {
        if restarts == 1 {
            bench = bench.restart();
            bench.settle();
        }
        let bundles = bench.loader.in_force(&zone()).unwrap().bundles.clone();
        let inceptions: Vec<u64> = bundles.iter().map(|b| b.inception.since(start()) / DAY).collect();
        assert_eq!(inceptions, [36, 60, 69, 78, 87, 96]);
        let see = |day: u64| Coverage::at(&bundles, start().plus(day * DAY)).unwrap();
        assert_eq!((see(41).end, see(41).longest_gap), (start().plus(50 * DAY), 10 * DAY));
        assert!(see(50).active.is_some() && see(51).active.is_none() && see(60).active.is_some());
        assert_eq!(bench.value("skr_gap_seconds{zone=\"example.\"}"), (10 * DAY).cast_signed());
        // As the signer reads it.
        let current = read_current(&bench.state.path("accepted"), &zone()).unwrap().unwrap();
        let anchors = crate::testing::anchors();
        let mut context = VerifyContext::new(&bench.loader.config.zones[0].name, &anchors).for_reload();
        let parse = || bind::parse_skr(&current.octets, &zone()).unwrap();
        assert!(verify(parse(), &context, bench.now).is_err(), "a hole is none that goes unseen");
        context.allow_gaps = true;
        let skr = verify(parse(), &context, bench.now).unwrap();
        assert!(skr.warnings().iter().any(|w| w.id == CheckId::SkrGap));
    }
    // A hole inside of one SKR is not forced.
    let mut holed = skr(60).build();
    holed.bundles.remove(2);
    let holed = bind::print_skr(&holed, start(), "a test");
    assert_eq!(rejecting_ids(&bench.by_hand(&holed, order(FORCEABLE)).outcome), [CheckId::SkrGap]);
}

#[test]
fn force_missing_keys_unasked_and_far() {
    let mut bench = Bench::new();
    bench.state.forget_key_times();
    let other = skr(0).zsk(TestKey::zsk(9).dnskey).text();
    assert_eq!(rejecting_ids(&bench.by_hand(&other, order(&[])).outcome), [CheckId::SkrNoPrivateKey]);
    let import = bench.by_hand(&other, order(&[CheckId::SkrNoPrivateKey]));
    assert_eq!((accepted(&import.outcome), &*import.forced), (1, &[CheckId::SkrNoPrivateKey][..]));

    let far = skr(0).step(3000 * DAY).validity(3001 * DAY).bundles(2);
    let ids = rejecting_ids(&bench.by_hand(&far.text(), order(FORCEABLE)).outcome);
    assert_eq!(ids, [CheckId::SkrValidity], "forced is the horizon alone");
    let bundles = 366 * 12 / 45;
    let far = skr(0).step(45 * DAY).validity(50 * DAY).bundles(bundles).text();
    let ids = rejecting_ids(&bench.by_hand(&far, order(&[])).outcome);
    assert_eq!(ids, [CheckId::SkrHorizon]);
    let import = bench.by_hand(&far, order(&[CheckId::SkrHorizon]));
    assert_eq!((accepted(&import.outcome), &*import.forced), (2, &[CheckId::SkrHorizon][..]));
}

#[test]
fn what_is_not_signed_is_never_forced() {
    let mut bench = Bench::new();
    bench.import("a.skr", skr(0).text());
    let mut flipped = skr(9).build();
    flipped.bundles[3].signatures[0].signature[7] ^= 1;
    let past = SkrBuilder::new(ZONE, start().minus(80 * DAY)).text();
    for (text, id) in [
        (bind::print_skr(&flipped, start(), "a test"), CheckId::SkrBadSignature),
        (skr(9).ksk(TestKey::ksk(9)).text(), CheckId::SkrUnknownKsk),
        (past, CheckId::SkrExpired),
        (String::new(), CheckId::SkrSyntax),
        (SkrBuilder::new("other.", start()).text(), CheckId::SkrWrongZone),
    ] {
        let ids = rejecting_ids(&bench.by_hand(&text, order(FORCEABLE)).outcome);
        assert!(ids.contains(&id), "{id}: {ids:?}");
        assert_eq!(bench.current().unwrap().0, 1);
    }
}

#[test]
fn back_to_the_one_before_as_a_new_generation() {
    let mut bench = two_generations();
    let rollback = bench.roll_back(None, &order(&[])).unwrap();
    assert_eq!((rollback.from, rollback.to, rollback.generation), (Some(2), 1, 3));
    assert_eq!(rollback.before.unwrap().end, start().plus(59 * DAY));
    assert_eq!(rollback.after.end, start().plus(50 * DAY));
    assert_eq!(bench.current(), Some((3, sha256(&skr(0)))));
    assert_eq!(bench.value("skr_generation{zone=\"example.\"}"), 3);
    assert_eq!(
        bench.value("skr_coverage_end_timestamp_seconds{zone=\"example.\"}"),
        start().plus(50 * DAY).secs().cast_signed()
    );
    assert_eq!(bench.files("accepted/example."), ["1.skr", "2.skr", "3.skr", "current"], "nothing is lost");
    let records = bench.records();
    let [.., ordered, done] = &records[..] else { panic!() };
    for (record, event) in [(ordered, "ordered"), (done, "rolled-back")] {
        let seen = (record.event.as_str(), record.generation, record.back_to, record.uid);
        assert_eq!(seen, (event, Some(3), Some(1), Some(4711)));
        assert_eq!(record.reason.as_deref(), Some("a test"));
    }
    // A second one does not undo the first.
    let error = bench.roll_back(None, &order(&[])).unwrap_err();
    assert!(matches!(error, RollbackError::NoOlder { .. }), "{error}");
    let mut bench = bench.restart();
    assert_eq!(rejecting_ids(&bench.import("b.skr", skr(9).text())), [CheckId::SkrReplay]);
    assert_eq!(bench.import("a.skr", skr(0).text()), ImportOutcome::Unchanged { generation: 3 });
    // By name, or by force, what was left comes back.
    assert_eq!(bench.roll_back(Some(2), &order(&[])).unwrap().generation, 4);
    assert_eq!(bench.current(), Some((4, sha256(&skr(9)))));
    assert_eq!(accepted(&bench.by_hand(&skr(0).text(), order(&[CheckId::SkrReplay])).outcome), 5);
    // And a newer one is taken as ever.
    assert_eq!(accepted(&bench.import("c.skr", skr(12).text())), 6);
}

/// The number is the store's choice, and the log names that one: a file from outside may have the next number.
#[test]
fn the_log_names_the_generation_that_a_rollback_or_a_forced_import_made() {
    for (what, by_rollback) in [("rollback", true), ("forced import", false)] {
        let mut bench = two_generations();
        fs::write(skr_path(&zone_dir(&bench.state.path("accepted"), &zone()), 3), "from outside").unwrap();
        if by_rollback {
            assert_eq!(bench.roll_back(None, &order(&[])).unwrap().generation, 4);
        } else {
            let import = bench.by_hand(&skr(0).text(), order(&[CheckId::SkrReplay]));
            assert_eq!(accepted(&import.outcome), 4);
        }
        let records = bench.records();
        let [.., ordered, done] = &records[..] else { panic!() };
        assert_eq!((ordered.generation, done.generation), (Some(4), Some(4)), "{what}");
        assert_eq!(bench.current().unwrap().0, 4, "{what}");
    }
}

/// A rollback has no file in the inbox that would keep the sync in mind.
#[test]
fn a_sync_that_failed_after_a_rollback_is_tried_until_it_is_done() {
    let mut bench = two_generations();
    bench.roll_back(None, &order(&[])).unwrap();
    bench.loader.sync_later(&zone());
    let dir = zone_dir(&bench.state.path("accepted"), &zone());
    fs::rename(&dir, bench.state.path("hidden")).unwrap();
    bench.loader.step(bench.now);
    assert_eq!(bench.loader.not_durable.len(), 1, "it could not be synced");
    fs::rename(bench.state.path("hidden"), &dir).unwrap();
    bench.loader.step(bench.now);
    assert_eq!(bench.loader.not_durable.len(), 0);
}

#[test]
fn what_cannot_be_in_force_now_is_no_way_back() {
    let mut bench = two_generations();
    type Harm = fn(&mut Bench);
    let cases: [(&str, Option<u64>, Harm, &str); 6] = [
        ("no such generation", Some(7), |_| (), "generation 7 is not kept; there are 1, 2"),
        ("the one in force", Some(2), |_| (), "in force already"),
        ("all of it over", None, |b| b.now = start().plus(55 * DAY), "SKR-EXPIRED"),
        (
            "altered",
            None,
            |b| {
                let path = skr_path(&zone_dir(&b.state.path("accepted"), &zone()), 1);
                let text = skr(0).text().replacen("DNSKEY\t257", "DNSKEY\t256", 1);
                fs::write(path, text).unwrap();
            },
            "SKR-",
        ),
        (
            "keys gone",
            None,
            |b| {
                fs::remove_dir_all(b.state.path("keys")).unwrap();
                fs::create_dir(b.state.path("keys")).unwrap();
            },
            "SKR-NO-PRIVATE-KEY",
        ),
        (
            "its file gone",
            Some(1),
            |b| {
                fs::remove_file(skr_path(&zone_dir(&b.state.path("accepted"), &zone()), 1)).unwrap();
            },
            "generation 1 is not kept",
        ),
    ];
    for (what, to, harm, want) in cases {
        harm(&mut bench);
        let error = bench.roll_back(to, &order(&[])).expect_err(what);
        assert!(error.to_string().contains(want), "{what}: {error}");
        assert_eq!(bench.current(), Some((2, sha256(&skr(9)))), "{what}");
        let last = bench.records().pop().unwrap();
        assert_eq!((last.event.as_str(), last.uid), ("rollback-refused", Some(4711)), "{what}");
        bench = two_generations();
    }
    let error =
        bench.loader.roll_back(&Name::parse("x.").unwrap(), None, &order(&[]), bench.now).unwrap_err();
    assert!(matches!(error, RollbackError::UnknownZone(_)), "{error}");
}

/// Caches hold the key set that is in force until now: what they may still validate with counts for the way back, too.
#[test]
fn the_way_back_is_proven_from_what_caches_hold_now() {
    let mut bench = Bench::new();
    let times = |activate, inactive| Timing { activate: Some(activate), inactive, ..Timing::default() };
    let (a, b) = (TestKey::zsk(ZSK), TestKey::zsk(9));
    let rewrite = |bench: &Bench, key: &TestKey, seed, timing| -> KeyFile {
        write_key(&bench.state.path("keys"), key, seed, timing)
    };
    let far = start().plus(3650 * DAY);
    fs::remove_dir_all(bench.state.path("keys")).unwrap();
    fs::create_dir(bench.state.path("keys")).unwrap();
    rewrite(&bench, &a, ZSK, times(start(), Some(far)));
    rewrite(&bench, &b, 9, times(far, None));
    bench.import("a.skr", skr(0).zsk(a.dnskey.clone()).text());
    bench.now = start().plus(12 * DAY);
    // The wrong one: it lacks the ZSK that signs.
    let wrong = skr(9).zsk(b.dnskey.clone()).text();
    let ids = rejecting_ids(&bench.by_hand(&wrong, order(&[])).outcome);
    assert_eq!(ids, [CheckId::SkrProve]);
    assert_eq!(accepted(&bench.by_hand(&wrong, order(&[CheckId::SkrProve])).outcome), 2);
    let error = bench.roll_back(None, &order(&[])).unwrap_err();
    assert_eq!(checks::rejecting(error.findings()), [CheckId::SkrProve], "{error}");
    let rollback = bench.roll_back(None, &order(&[CheckId::SkrProve])).unwrap();
    assert_eq!((rollback.generation, &*rollback.forced), (3, &[CheckId::SkrProve][..]));
}

/// What was joined, or rewritten from another form, comes back with the file that was dropped: that is `unchanged` then.
#[test]
fn the_way_back_keeps_the_dropped_file() {
    let mut bench = Bench::new();
    bench.import("a.skr", skr(0).text());
    let later = skr(45).text();
    assert_eq!(accepted(&bench.import("b.skr", &later)), 2);
    bench.now = start().plus(46 * DAY);
    assert_eq!(accepted(&bench.import("c.skr", skr(46).text())), 3);
    let rollback = bench.roll_back(None, &order(&[])).unwrap();
    assert_eq!((rollback.to, rollback.generation), (2, 4));
    let dir = zone_dir(&bench.state.path("accepted"), &zone());
    assert_eq!(fs::read_to_string(dir.join("4.received")).unwrap(), later);
    assert_eq!(bench.import("b.skr", &later), ImportOutcome::Unchanged { generation: 4 });
    assert_eq!(bench.restart().import("b.skr", &later), ImportOutcome::Unchanged { generation: 4 });
}

/// Generation 1 is signed by a KSK that generation 2 shows as revoked.
#[test]
fn kind_03_nobody_goes_back_to_what_a_revoked_ksk_alone_has_signed() {
    let old = || TestKey::ksk(9);
    let signer = PrivateKey::Raw(vec![9; 32]).signer(Algorithm::ED25519).unwrap();
    let revoked = TestKey::new(FLAG_ZONE | FLAG_SEP | FLAG_REVOKE, Arc::from(signer));
    let state = StateDir::new();
    state.forget_key_times();
    let mut config = state.config();
    config.zones[0].anchors.push(TrustAnchor::Dnskey(old().dnskey));
    let metrics = Metrics::new().unwrap();
    let loader = Loader::new(config, metrics.clone()).unwrap();
    let mut bench = Bench { state, metrics, loader, now: start() };
    let first = skr(0).ksk(old()).text();
    assert_eq!(accepted(&bench.import("a.skr", &first)), 1);
    let builder = skr(9);
    let mut second = builder.build();
    for bundle in &mut second.bundles[..2] {
        bundle.dnskey.rdatas.push(revoked.dnskey.to_rdata().into());
        builder.resign(bundle, &[&TestKey::ksk(1), &revoked]);
    }
    bench.now = start().plus(12 * DAY);
    assert_eq!(accepted(&bench.import("b.skr", bind::print_skr(&second, start(), "a test"))), 2);
    for generation in [2, 3] {
        // Shown by what is in force, then by what was replaced.
        let error = bench.roll_back(Some(1), &order(FORCEABLE)).unwrap_err();
        assert!(checks::rejecting(error.findings()).contains(&CheckId::SkrUnknownKsk), "{error}");
        let by_hand = bench.by_hand(&first, order(FORCEABLE));
        assert!(rejecting_ids(&by_hand.outcome).contains(&CheckId::SkrUnknownKsk), "{by_hand:?}");
        assert_eq!(bench.current().unwrap().0, generation);
        if generation == 2 {
            assert_eq!(accepted(&bench.import("c.skr", skr(12).text())), 3);
        }
    }
}

/// What was altered from outside is a finding that a person can overrule, and stops no rollback that does not need it.
#[test]
fn kind_01_a_damaged_history_can_be_overruled() {
    type Harm = fn(&Path);
    let harms: [Harm; 3] = [
        |path| fs::write(path, "garbage\n").unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| fs::write(path, [0xff, 0, b'\n']).unwrap(),
    ];
    let force = [CheckId::SkrReplay];
    for (name, rollback_needs_it) in [("replaced", false), ("revoked", true)] {
        for harm in harms {
            let mut bench = two_generations();
            let path = zone_dir(&bench.state.path("accepted"), &zone()).join(name);
            harm(&path);
            let outcome = bench.import("c.skr", skr(12).text());
            assert_eq!(rejecting_ids(&outcome), force, "{name}");
            assert!(format!("{outcome:?}").contains(name), "{outcome:?}");
            assert_eq!(bench.import("b.skr", skr(9).text()), ImportOutcome::Unchanged { generation: 2 });
            let back = bench.roll_back(None, &order(&[]));
            assert_eq!(back.is_err(), rollback_needs_it, "{name}: {back:?}");
            if let Err(error) = back {
                assert_eq!(checks::rejecting(error.findings()), force, "{name}");
                assert_eq!(bench.roll_back(None, &order(&force)).unwrap().generation, 3, "{name}");
            }
            assert_eq!(accepted(&bench.by_hand(&skr(12).text(), order(&force)).outcome), 4, "{name}");
            let moved = path.with_extension("aside");
            fs::rename(&path, moved).unwrap();
            assert_eq!(accepted(&bench.import("d.skr", skr(13).text())), 5, "{name}");
        }
    }
}

/// Nobody knows whether what it had signed is in a new SKR.
#[test]
fn kind_01_an_older_generation_that_was_altered_is_a_finding_until_it_is_moved_away() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("garbage", |path| fs::write(path, "garbage\n").unwrap()),
        ("cut off", |path| fs::File::options().write(true).open(path).unwrap().set_len(100).unwrap()),
        ("a folder", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("a link", |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("2.skr", path).unwrap();
        }),
    ];
    let force = [CheckId::SkrReplay];
    for (what, harm) in harms {
        let mut bench = two_generations();
        let path = skr_path(&zone_dir(&bench.state.path("accepted"), &zone()), 1);
        harm(&path);
        let outcome = bench.import("c.skr", skr(12).text());
        assert_eq!(rejecting_ids(&outcome), force, "{what}");
        assert!(format!("{outcome:?}").contains("1.skr: it was altered from outside"), "{what}: {outcome:?}");
        assert_eq!(
            bench.import("b.skr", skr(9).text()),
            ImportOutcome::Unchanged { generation: 2 },
            "{what}"
        );
        assert_eq!(accepted(&bench.by_hand(&skr(12).text(), order(&force)).outcome), 3, "{what}");
        fs::rename(&path, path.with_extension("aside")).unwrap();
        assert_eq!(accepted(&bench.import("d.skr", skr(13).text())), 4, "{what}");
    }
}

#[test]
fn row_37_nobody_orders_by_a_clock_that_is_far_behind() {
    let mut bench = two_generations();
    bench.now = Timestamp::from_secs(7);
    let outcome = bench.by_hand(&skr(12).text(), order(&[])).outcome;
    assert!(matches!(&outcome, ImportOutcome::Failed { what } if what.contains("clock")), "{outcome:?}");
    let error = bench.roll_back(None, &order(&[])).unwrap_err();
    assert!(error.to_string().contains("clock"), "{error}");
    assert_eq!(bench.current(), Some((2, sha256(&skr(9)))));
}

#[test]
fn the_health_tells_what_somebody_should_look_at() {
    use metrics::health::ConditionId::{
        CoverageEndsSoon, CoverageNever, CoverageNone, ImportRejected, SkrStoreDamaged,
    };
    use metrics::health::Severity::{Attention, Critical, Warning};

    let mut bench = Bench::new();
    let tell = |bench: &Bench| {
        let zone = health_of(&bench.loader, bench.now).zones.remove(0);
        // No request timer runs here.
        let of_timer = |id| id == metrics::health::ConditionId::RequestOverdue;
        let conditions = zone.conditions.iter().filter(|c| !of_timer(c.id)).map(|c| (c.id, c.severity));
        let conditions: Vec<_> = conditions.collect();
        (zone, conditions)
    };
    let (zone, conditions) = tell(&bench);
    assert!(!zone.covered && zone.generation == 0 && zone.last_import.is_none());
    assert_eq!(conditions, [(CoverageNever, Warning)]);

    // Covered until day 50; the thresholds are 30, 14 and 3 days.
    bench.import("a.skr", skr(0).text());
    for (day, want) in [
        (19, None),
        (21, Some((CoverageEndsSoon, Attention))),
        (37, Some((CoverageEndsSoon, Warning))),
        (48, Some((CoverageEndsSoon, Critical))),
        (51, Some((CoverageNone, Critical))),
    ] {
        bench.now = start().plus(day * DAY);
        let (zone, conditions) = tell(&bench);
        assert_eq!(conditions.first().copied(), want, "day {day}: {conditions:?}");
        assert_eq!((zone.covered, zone.generation), (day < 51, 1), "day {day}");
        let left = start().plus(50 * DAY).since(bench.now);
        assert_eq!(zone.coverage_left_seconds, left, "day {day}");
    }
    bench.now = start().plus(12 * DAY);
    bench.import("b.skr", "garbage\n;; SignedKeyResponse 1.0 generated\n");
    assert_eq!(tell(&bench).0.last_import.unwrap().result, "accepted", "nobody knows what zone that was");
    bench.import("b.skr", skr(9).ksk(TestKey::ksk(9)).text());
    let (zone, conditions) = tell(&bench);
    assert_eq!(zone.last_import.unwrap().result, "rejected");
    assert_eq!(conditions, [(ImportRejected, Attention)]);
    assert!(zone.conditions.iter().any(|c| c.what.contains("SKR-UNKNOWN-KSK")), "{:?}", zone.conditions);
    // What was is known after a restart.
    let bench = bench.restart();
    let (zone, conditions) = tell(&bench);
    assert_eq!((zone.covered, zone.generation, conditions), (true, 1, vec![(ImportRejected, Attention)]));
    fs::write(skr_path(&zone_dir(&bench.state.path("accepted"), &crate::testing::zone()), 1), "altered")
        .unwrap();
    let bench = bench.restart();
    let (zone, conditions) = tell(&bench);
    assert!(!zone.covered);
    assert_eq!(conditions[0], (SkrStoreDamaged, Critical));
}
