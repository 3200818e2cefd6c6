//! Each check once accepting and once rejecting; the tables name the ID.

use std::collections::BTreeMap;

use keystore::exchange::KsrBundle;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::files::find;
use keystore::keys::{KeyFile, Timing};
use keystore::store::digest;

use super::*;
use crate::store::InForce;
use crate::testing::{DAY, KSK, ZSK, always, anchors, skr, start, verified, write_key, zone};

/// What rejects, and what warns, by ID.
fn ids(findings: &[SkrFinding]) -> (Vec<CheckId>, Vec<CheckId>) {
    let pick = |rejects| findings.iter().filter(move |f| f.rejects() == rejects).map(|f| f.id).collect();
    (pick(true), pick(false))
}

/// Times of a ZSK that is in no bundle of these tests by its times.
fn far() -> Timing {
    let at = Some(start().plus(10_000 * DAY));
    Timing { publish: at, activate: at, ..Timing::default() }
}

fn state_of(builder: &SkrBuilder, generation: u64) -> AcceptedState {
    let text = builder.text();
    let skr = bind::parse_skr(text.as_bytes(), &zone()).unwrap();
    let digest = digest(text.as_bytes());
    AcceptedState {
        in_force: Some(InForce { generation, digest, bundles: skr.bundles.into() }),
        known: BTreeMap::from([(digest, generation)]),
        next: generation + 1,
    }
}

fn check_against(builder: &SkrBuilder, state: &AcceptedState, now: Timestamp) -> Vec<SkrFinding> {
    let context = AcceptContext { state: Some(state), ..AcceptContext::default() };
    check(&verified(builder, now), &digest(builder.text().as_bytes()), &context, now)
}

#[test]
fn skr_replay() {
    // In force: five bundles, covered until day 50.
    let state = state_of(&skr(0), 7);
    let now = start().plus(10 * DAY);
    for (what, builder, rejects) in [
        ("goes further", skr(9), false),
        ("goes as far, with other signatures", skr(0).ttl(7200), false),
        ("goes as far, a part left out", skr(0).without_cds(), true),
        ("ends a bundle earlier", skr(0).bundles(4), true),
    ] {
        let found = check_against(&builder, &state, now);
        assert_eq!(ids(&found).0 == [CheckId::SkrReplay], rejects, "{what}: {found:?}");
        assert_eq!(found.is_empty(), !rejects, "{what}: {found:?}");
    }

    let mut state = state;
    let old = skr(9);
    state.known.insert(digest(old.text().as_bytes()), 3);
    let found = check_against(&old, &state, now);
    assert_eq!(ids(&found).0, [CheckId::SkrReplay]);
    assert!(found[0].what.contains("as generation 3"), "{found:?}");

    // What is in force has run out: anything that verifies is better.
    let short = skr(55).bundles(1);
    let found = check_against(&short, &state_of(&skr(0), 1), start().plus(56 * DAY));
    assert_eq!(found, []);
}

#[test]
fn skr_gap_towards_what_is_in_force() {
    let state = state_of(&skr(0), 1);
    let end = start().plus(50 * DAY);
    let now = start().plus(49 * DAY);
    for (first, want) in [
        (end.minus(1), (vec![], vec![])),
        (end, (vec![], vec![])),
        (end.plus(1), (vec![], vec![])),
        (end.plus(2), (vec![CheckId::SkrGap], vec![])),
        (end.plus(30 * DAY), (vec![CheckId::SkrGap], vec![])),
    ] {
        let found = check_against(&SkrBuilder::new("example.", first), &state, now);
        assert_eq!(ids(&found), want, "first bundle at {first}: {found:?}");
    }
    // Nothing in force (never, or no more): what begins later is a warning, what covers now is fine.
    for (state, now) in [(AcceptedState::default(), start()), (state, end.plus(DAY))] {
        let found = check_against(&SkrBuilder::new("example.", now.plus(10)), &state, now);
        assert_eq!(ids(&found), (vec![], vec![CheckId::SkrGap]), "{found:?}");
        assert_eq!(check_against(&SkrBuilder::new("example.", now), &state, now), []);
    }
}

fn check_keys(builder: &SkrBuilder, dir: &std::path::Path, now: Timestamp) -> Vec<SkrFinding> {
    let keys = find(dir, &zone()).unwrap();
    let why_not = |file: &KeyFile| Some((file.dnskey.clone(), file.check_private().err()?.to_string()));
    let unusable: Vec<_> = keys.keys.iter().filter_map(why_not).collect();
    let context = AcceptContext { keys: Some(&keys), unusable: &unusable, ..AcceptContext::default() };
    check(&verified(builder, now), &[0; 32], &context, now)
}

#[test]
fn skr_no_private_key() {
    let dir = tempfile::tempdir().unwrap();
    let now = start();
    let builder = skr(0);
    let found = check_keys(&builder, dir.path(), now);
    assert_eq!(ids(&found).0, [CheckId::SkrNoPrivateKey], "nothing there: {found:?}");

    let file = write_key(dir.path(), &TestKey::zsk(ZSK), ZSK, far());
    assert_eq!(check_keys(&builder, dir.path(), now), []);

    let private = file.path("private");
    let good = std::fs::read_to_string(&private).unwrap();
    type Harm = fn(&std::path::Path, &str);
    let harms: [(&str, Harm); 4] = [
        ("gone", |path, _| std::fs::remove_file(path).unwrap()),
        ("cut off", |path, good| std::fs::write(path, &good[..good.len() / 2]).unwrap()),
        ("of another key", |path, good| {
            let line = good.lines().find(|l| l.starts_with("PrivateKey:")).unwrap();
            let other = data_encoding::BASE64.encode(&[9; 32]);
            std::fs::write(path, good.replace(line, &format!("PrivateKey: {other}"))).unwrap();
        }),
        ("open to others", |path, _| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }),
    ];
    for (what, harm) in harms {
        harm(&private, &good);
        let found = check_keys(&builder, dir.path(), now);
        assert_eq!(ids(&found).0, [CheckId::SkrNoPrivateKey], "{what}: {found:?}");
        let _ = std::fs::remove_file(&private);
        file.write(&keystore::crypto::PrivateKey::Raw(vec![ZSK; 32])).unwrap();
        assert_eq!(check_keys(&builder, dir.path(), now), [], "whole again after: {what}");
    }
}

#[test]
fn skr_no_private_key_of_a_sealed_key_hangs_on_the_proof() {
    let dir = tempfile::tempdir().unwrap();
    write_key(dir.path(), &TestKey::zsk(ZSK), ZSK, far());
    let builder = skr(0);
    let zsk = TestKey::zsk(ZSK).dnskey;
    let mut found = find(dir.path(), &zone()).unwrap();
    found.sealed.push(zsk.clone());
    // It is not opened: what is in it plays no part.
    std::fs::write(found.keys[0].path("private"), "nothing").unwrap();
    let run = |keys: &FolderKeys, proven: &[Dnskey]| {
        let context = AcceptContext { keys: Some(keys), proven, ..AcceptContext::default() };
        check(&verified(&builder, start()), &digest(builder.text().as_bytes()), &context, start())
    };
    assert_eq!(run(&found, std::slice::from_ref(&zsk)), []);
    let warned = run(&found, &[TestKey::zsk(9).dnskey]);
    assert_eq!(ids(&warned), (vec![], vec![CheckId::SkrNoPrivateKey]), "{warned:?}");
    assert!(warned[0].what.contains("no request in the outbox proves"), "{warned:?}");
    // Without any file it is missing, whatever is proven.
    found.keys.clear();
    assert_eq!(ids(&run(&found, std::slice::from_ref(&zsk))).0, [CheckId::SkrNoPrivateKey]);
}

#[test]
fn skr_operator() {
    let builder = skr(0);
    let run = |operator: Option<(&Operator, bool)>| {
        let context = AcceptContext { operator, ..AcceptContext::default() };
        check(&verified(&builder, start()), &digest(builder.text().as_bytes()), &context, start())
    };
    let signed = Operator::Signed { sha256: "00".to_owned(), subject: "CN=a".to_owned() };
    let bad = Operator::Bad("no".to_owned());
    for (operator, accepts) in [
        (None, true),
        (Some((&signed, true)), true),
        (Some((&signed, false)), true),
        (Some((&Operator::Absent, false)), true),
        (Some((&Operator::Absent, true)), false),
        (Some((&bad, true)), false),
        (Some((&bad, false)), false),
    ] {
        let found = run(operator);
        let want = if accepts { vec![] } else { vec![CheckId::SkrOperator] };
        assert_eq!(ids(&found).0, want, "{operator:?}: {found:?}");
    }
}

#[test]
fn skr_parent_ds() {
    use keystore::config::ParentCheck::{Reject, Warn};

    let ds = |seeds: &[u8]| ParentAnswer::Records {
        ds: seeds.iter().map(|seed| TestKey::ksk(*seed).dnskey.ds_rdata(&zone(), 2).unwrap()).collect(),
        authentic: true,
    };
    let switch = start().plus(18 * DAY);
    let plain = skr(0);
    // Both sign until the switch, the new one alone after it; CDS names both before.
    let always = (Timestamp::EPOCH, Timestamp::MAX);
    let until = (Timestamp::EPOCH, switch);
    let roll =
        skr(0).ksk_during(TestKey::ksk(KSK), always, until).ksk_during(TestKey::ksk(5), always, always);
    let unannounced = roll.clone().without_cds();
    let silent = ParentAnswer::NoAnswer("time".to_owned());
    for (what, builder, parent, meaning, rejects, warns) in [
        ("its KSK", &plain, ds(&[KSK]), Reject, false, false),
        ("its KSK and another", &plain, ds(&[9, KSK]), Reject, false, false),
        ("another", &plain, ds(&[9]), Reject, true, false),
        ("another, to warn", &plain, ds(&[9]), Warn, false, true),
        ("none", &plain, ds(&[]), Reject, false, true),
        ("no answer", &plain, silent, Reject, false, true),
        ("a roll that CDS announces", &roll, ds(&[KSK]), Reject, false, true),
        ("a roll that nothing announces", &unannounced, ds(&[KSK]), Reject, true, false),
        ("after the roll", &roll, ds(&[5]), Reject, false, false),
    ] {
        let context = AcceptContext { parent: Some((&parent, meaning)), ..AcceptContext::default() };
        let found = check(&verified(builder, start()), &digest(builder.text().as_bytes()), &context, start());
        let want = |is| if is { vec![CheckId::SkrParentDs] } else { vec![] };
        assert_eq!(ids(&found), (want(rejects), want(warns)), "{what}: {found:?}");
    }
    assert_eq!(
        check(&verified(&plain, start()), &[0; 32], &AcceptContext::default(), start()),
        [],
        "not asked"
    );
}

/// KSK 1 signs two bundles, 5 the two after them, 7 the last one.
#[test]
fn skr_parent_ds_looks_at_every_change_of_the_signers() {
    use keystore::config::ParentCheck::{Reject, Warn};

    let at = |bundle: u64| start().plus(9 * bundle * DAY);
    let during = |from, to| (at(from), at(to));
    let roll = |named: &[u8]| {
        let builder = skr(0)
            .ksk_during(TestKey::ksk(KSK), during(0, 5), during(0, 2))
            .ksk_during(TestKey::ksk(5), during(0, 5), during(2, 4))
            .ksk_during(TestKey::ksk(7), during(0, 5), during(4, 5));
        let mut skr = builder.build();
        for bundle in &mut skr.bundles[..2] {
            let keys: Vec<Dnskey> = named.iter().map(|seed| TestKey::ksk(*seed).dnskey).collect();
            let cds = keys.iter().map(|key| key.ds_rdata(&zone(), 2).unwrap().into()).collect();
            bundle.cds.as_mut().unwrap().rdatas = cds;
            bundle.cdnskey.as_mut().unwrap().rdatas = keys.iter().map(|key| key.to_rdata().into()).collect();
            builder.resign(bundle, &[&TestKey::ksk(KSK)]);
        }
        let anchors = builder.anchors();
        verify(skr, &VerifyContext::new(&zone(), &anchors), start()).unwrap()
    };
    let ds = TestKey::ksk(KSK).dnskey.ds_rdata(&zone(), 2).unwrap();
    let parent = ParentAnswer::Records { ds: vec![ds], authentic: true };
    for (what, named, meaning, rejected, warned) in [
        ("both are announced", &[KSK, 5, 7][..], Reject, vec![], vec![at(2), at(4)]),
        ("the second one is not", &[KSK, 5], Reject, vec![at(4)], vec![at(2)]),
        ("none is", &[KSK], Reject, vec![at(2)], vec![]),
        ("none is, to warn", &[KSK], Warn, vec![], vec![at(2), at(4)]),
    ] {
        let context = AcceptContext { parent: Some((&parent, meaning)), ..AcceptContext::default() };
        let found = check(&roll(named), &[0; 32], &context, start());
        let places = |rejects| -> Vec<Timestamp> {
            found.iter().filter(|f| f.rejects() == rejects).map(|f| f.bundle.unwrap()).collect()
        };
        assert_eq!((places(true), places(false)), (rejected, warned), "{what}: {found:?}");
    }
}

#[test]
fn skr_no_private_key_looks_at_the_bundles_that_remain() {
    let dir = tempfile::tempdir().unwrap();
    write_key(dir.path(), &TestKey::zsk(3), 3, far());
    let switch = start().plus(18 * DAY);
    let builder = skr(0).zsk_during(TestKey::zsk(ZSK).dnskey, Timestamp::EPOCH, switch).zsk_during(
        TestKey::zsk(3).dnskey,
        start(),
        Timestamp::MAX,
    );
    let found = check_keys(&builder, dir.path(), switch.minus(1));
    assert_eq!(ids(&found).0, [CheckId::SkrNoPrivateKey], "still in the bundle in force: {found:?}");
    assert_eq!(check_keys(&builder, dir.path(), switch), [], "in past bundles only");
}

#[test]
fn skr_keyset_towards_the_key_folder() {
    let dir = tempfile::tempdir().unwrap();
    let now = start();
    let always = always();
    write_key(dir.path(), &TestKey::zsk(ZSK), ZSK, always);
    assert_eq!(check_keys(&skr(0), dir.path(), now), []);

    let over = Timing { delete: Some(start().plus(1)), publish: Some(start().minus(DAY)), ..far() };
    write_key(dir.path(), &TestKey::zsk(4), 4, over);
    let found = check_keys(&skr(0), dir.path(), now.plus(9 * DAY));
    assert_eq!(found, [], "not published in the bundles that remain");

    let later = Timing { publish: Some(start().plus(20 * DAY)), ..far() };
    write_key(dir.path(), &TestKey::zsk(5), 5, later);
    let found = check_keys(&skr(0), dir.path(), now.plus(9 * DAY));
    assert_eq!(ids(&found), (vec![], vec![CheckId::SkrKeyset]), "{found:?}");
    assert_eq!(found[0].bundle, Some(start().plus(27 * DAY)), "the first bundle that lacks it");
    std::fs::remove_dir_all(dir.path()).unwrap();
    std::fs::create_dir(dir.path()).unwrap();

    write_key(dir.path(), &TestKey::zsk(ZSK), ZSK, always);
    write_key(dir.path(), &TestKey::ksk(KSK), KSK, always);
    let found = check_keys(&skr(0), dir.path(), now);
    assert_eq!(ids(&found), (vec![], vec![CheckId::SkrKeyset]), "a KSK online: {found:?}");
}

fn request(days: u64, bundles: u64, seeds: &[u8]) -> Ksr {
    let bundle = |n| KsrBundle {
        inception: start().plus((days + 9 * n) * DAY),
        ttl: 3600,
        keys: seeds.iter().map(|seed| TestKey::zsk(*seed).dnskey).collect(),
        proofs: Vec::new(),
    };
    Ksr { zone: zone(), bundles: (0..bundles).map(bundle).collect() }
}

fn check_requests_of(builder: &SkrBuilder, requests: &[Ksr]) -> Vec<SkrFinding> {
    let context = AcceptContext { requests, ..AcceptContext::default() };
    check(&verified(builder, start()), &[0; 32], &context, start())
}

#[test]
fn skr_keyset_towards_the_request() {
    for (seeds, want) in
        [(&[ZSK][..], vec![]), (&[ZSK, 3], vec![CheckId::SkrKeyset; 5]), (&[3], vec![CheckId::SkrKeyset; 10])]
    {
        let found = check_requests_of(&skr(0), &[request(0, 5, seeds)]);
        assert_eq!(ids(&found), (want, vec![]), "asked for {seeds:?}: {found:?}");
    }
}

#[test]
fn skr_not_asked() {
    for (what, requests, want) in [
        ("no request is open", vec![], (vec![], vec![])),
        ("the request it answers", vec![request(0, 5, &[ZSK])], (vec![], vec![])),
        ("one of two", vec![request(40, 5, &[3]), request(0, 5, &[ZSK])], (vec![], vec![])),
        ("a request of another begin", vec![request(1, 5, &[ZSK])], (vec![], vec![CheckId::SkrNotAsked])),
        ("requests from its end on", vec![request(50, 5, &[ZSK])], (vec![], vec![CheckId::SkrNotAsked])),
        ("only requests behind its end", vec![request(51, 5, &[ZSK])], (vec![CheckId::SkrNotAsked], vec![])),
        ("an empty request", vec![request(0, 0, &[])], (vec![], vec![])),
    ] {
        let found = check_requests_of(&skr(0), &requests);
        assert_eq!(ids(&found), want, "{what}: {found:?}");
    }
}

#[test]
fn an_skr_that_begins_later_is_joined_to_what_is_in_force() {
    let state = state_of(&skr(0), 1);
    let now = start().plus(10 * DAY);
    let join = |builder: &SkrBuilder, now| join(&verified(builder, now), &state, &anchors(), now, "a test");

    let new = skr(40);
    let octets = join(&new, now).unwrap().expect("it begins later");
    let joined = bind::parse_skr(&octets, &zone()).unwrap();
    let inceptions: Vec<u64> = joined.bundles.iter().map(|b| b.inception.since(start()) / DAY).collect();
    assert_eq!(inceptions, [9, 18, 27, 36, 40, 49, 58, 67, 76], "from the bundle in force on");
    let in_force = &state.in_force.as_ref().unwrap().bundles;
    assert_eq!(joined.bundles[..4], in_force[1..]);
    assert_eq!(joined.bundles[4..], new.build().bundles[..]);

    assert_eq!(join(&skr(9), now).unwrap(), None, "begun already: as it was dropped");
    assert_eq!(join(&new, start().plus(40 * DAY)).unwrap(), None, "begins at this second");

    let other = skr(40).ksk(TestKey::ksk(77));
    let finding = super::join(&verified(&other, now), &state, &other.anchors(), now, "a test").unwrap_err();
    assert!(finding.rejects() && finding.what.contains("SKR-UNKNOWN-KSK"), "{finding:?}");
}

#[test]
fn the_zone_is_that_of_the_first_record() {
    for (text, want) in [
        ("example. 60 IN DNSKEY", Some("example.")),
        (";; SignedKeyResponse 1.0 20270101000000\n\n  ; remark\r\nEXAMPLE.com.\t60", Some("example.com.")),
        ("", None),
        (";; only\n; remarks\n", None),
        (" 60 IN DNSKEY", None),
        ("a..b 60 IN", None),
        ("\u{0}\n", Some("\\000.")),
    ] {
        let want = want.map(|name| Name::parse(name).unwrap());
        assert_eq!(zone_of(text.as_bytes()), want, "{text:?}");
    }
}

#[test]
fn skr_prove() {
    use keystore::exchange::testing::SkrBuilder;
    let dir = tempfile::tempdir().unwrap();
    let (now, roll) = (start(), start().plus(30 * DAY));
    let zsk = |seed| TestKey::zsk(seed);
    let times = |activate, inactive| Timing { activate: Some(activate), inactive, ..Timing::default() };
    write_key(dir.path(), &zsk(ZSK), ZSK, times(now, Some(roll)));
    write_key(dir.path(), &zsk(ZSK + 1), ZSK + 1, times(roll, None));
    let policy = keystore::policy::Policy::with_defaults("default");
    let found = |publish: Timestamp, keys: bool| {
        let builder = SkrBuilder::new("example.", now).bundles(12).zsk(zsk(ZSK).dnskey).zsk_during(
            zsk(ZSK + 1).dnskey,
            publish,
            Timestamp::MAX,
        );
        let anchors = builder.anchors();
        let files = find(dir.path(), &zone()).unwrap();
        let context = AcceptContext {
            keys: keys.then_some(&files),
            proof: Some((&policy, &anchors)),
            ..AcceptContext::default()
        };
        let findings = check(&verified(&builder, now), &[0; 32], &context, now);
        findings.into_iter().filter(|f| f.id == CheckId::SkrProve).collect::<Vec<_>>()
    };
    assert_eq!(found(roll.minus(4 * DAY), true), [], "published at day 27, for day 30");
    let late = found(roll.plus(DAY), true);
    assert!(late.len() == 1 && late[0].rejects(), "{late:?}");
    let place = format!("PROVE-LATE-PUBLICATION: {}", roll.iso());
    assert!(late[0].what.starts_with(&place), "{late:?}");
    // Nothing known of the times: the old key could sign on.
    assert_eq!(found(roll.plus(DAY), false), []);
}

/// What a signer cannot work with is named with the file: times that a ZSK lacks or has in the wrong order, a KSK, and files beside which
/// the private key is missing.
#[test]
fn kind_101_check_names_each_key_that_a_signer_cannot_work_with() {
    let at = |days: u64| Some(start().plus(days * DAY));
    let times = |publish, activate, inactive, delete| Timing {
        publish,
        activate,
        inactive,
        delete,
        ..Timing::default()
    };
    let good = times(at(0), at(1), at(20), at(30));
    let (zsk, ksk) = (TestKey::zsk(ZSK), TestKey::ksk(KSK));
    type Spoil = fn(&KeyFile);
    let remove = |file: &KeyFile| std::fs::remove_file(file.path("private")).unwrap();
    let state_only = |file: &KeyFile| {
        std::fs::write(file.path("state"), "").unwrap();
        ["key", "private"].iter().for_each(|suffix| std::fs::remove_file(file.path(suffix)).unwrap());
    };
    let past = times(at(0), at(0), at(9), at(0));
    let cases: [(&TestKey, u8, Timing, Spoil, &str); 14] = [
        (&zsk, ZSK, good, |_| (), ""),
        (&zsk, ZSK, times(at(0), at(0), at(3), at(3)), |_| (), ""),
        (&zsk, ZSK, times(at(0), None, None, None), |_| (), "a ZSK without Activate time"),
        (&zsk, ZSK, times(None, at(0), None, None), |_| (), "a ZSK without Publish time"),
        (&zsk, ZSK, Timing::default(), |_| (), "dnssec-settime -s -P +1y -A +1y"),
        (&zsk, ZSK, times(at(2), at(1), None, None), |_| (), "its Publish is later than its Activate"),
        (&zsk, ZSK, times(at(0), at(1), at(9), at(8)), |_| (), "its Delete is earlier than the times before"),
        (&zsk, ZSK, times(at(0), at(5), None, at(3)), |_| (), "its Delete is earlier than the times before"),
        (&zsk, ZSK, times(at(0), at(5), at(3), at(9)), |_| (), "its Inactive is earlier than its Activate"),
        (&zsk, ZSK, times(at(0), at(5), at(3), None), |_| (), "it would never sign"),
        (&zsk, ZSK, past, |_| (), ""),
        (&ksk, KSK, times(at(0), None, None, None), |_| (), "lies in the key folder of this host"),
        (&zsk, ZSK, good, remove, ".key: there is no .private file beside it; restore it"),
        (&zsk, ZSK, good, state_only, ".state: there is no .private file beside it; restore it"),
    ];
    for (i, (key, seed, timing, spoil, says)) in cases.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        write_key(dir.path(), &zsk, ZSK, good);
        spoil(&write_key(dir.path(), key, seed, timing));
        let files = find(dir.path(), &zone()).unwrap();
        let context = AcceptContext { keys: Some(&files), ..AcceptContext::default() };
        let findings =
            check(&verified(&skr(0).zsk(zsk.dnskey.clone()), start()), &[0; 32], &context, start());
        let told: Vec<&str> = findings.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(told.is_empty(), says.is_empty(), "{i}: {told:?}");
        assert!(told.iter().all(|told| told.contains(says)), "{i}: {told:?}");
    }
}

/// An SKR that has begun and was not in force: until now caches have got what was, whatever the SKR says of the past.
#[test]
fn skr_prove_counts_what_was_in_force_until_now() {
    let begin = start().plus(10 * DAY);
    let policy = Policy::with_defaults("default");
    let found = |old: Option<Timestamp>, switch: Timestamp, now: Timestamp| {
        let dir = tempfile::tempdir().unwrap();
        for (seed, activate, inactive) in [(ZSK, start(), Some(switch)), (ZSK + 1, switch, None)] {
            let times = Timing { activate: Some(activate), inactive, ..Timing::default() };
            write_key(dir.path(), &TestKey::zsk(seed), seed, times);
        }
        let zsks = |builder: SkrBuilder, seeds: &[u8]| {
            seeds.iter().fold(builder, |builder, seed| builder.zsk(TestKey::zsk(*seed).dnskey))
        };
        let state = old.map(|at| state_of(&zsks(SkrBuilder::new("example.", at).bundles(1), &[ZSK]), 1));
        let new = zsks(SkrBuilder::new("example.", begin).bundles(12), &[ZSK, ZSK + 1]);
        let (anchors, files) = (new.anchors(), find(dir.path(), &zone()).unwrap());
        let context = AcceptContext {
            state: state.as_ref(),
            keys: Some(&files),
            proof: Some((&policy, &anchors)),
            ..AcceptContext::default()
        };
        let findings = check(&verified(&new, now), &[0; 32], &context, now);
        findings.into_iter().filter(|f| f.id == CheckId::SkrProve && f.rejects()).count()
    };
    let (day, late) = (begin.plus(DAY), 1);
    for (what, old, switch, now, rejected) in [
        ("a day before its ZSK signs", Some(start()), day.plus(DAY), day, 0),
        ("a minute before its ZSK signs", Some(start()), day.plus(60), day, late),
        ("nothing was in force: nobody has anything else", None, day.plus(60), day, 0),
        ("what is in force begins in this second: neither", Some(day), day.plus(60), day, 0),
        (
            "it begins a minute before its ZSK signs, and is accepted a day before",
            Some(start()),
            begin.plus(60),
            begin.minus(DAY),
            late,
        ),
        ("it begins a day before its ZSK signs", Some(start()), day, begin.minus(DAY), 0),
    ] {
        assert_eq!(found(old, switch, now), rejected, "{what}");
    }
}

/// The KSK that the parent vouches for signs CDS and CDNSKEY, and another one the DNSKEY RRset.
#[test]
fn skr_parent_ds_wants_the_signature_over_dnskey() {
    let builder = skr(0).ksk(TestKey::ksk(KSK)).ksk(TestKey::ksk(5));
    let vouched = TestKey::ksk(KSK).dnskey;
    let mut edited = builder.build();
    let anchors = builder.anchors();
    let parent = ParentAnswer::Records { ds: vec![vouched.ds_rdata(&zone(), 2).unwrap()], authentic: true };
    let context = AcceptContext {
        parent: Some((&parent, keystore::config::ParentCheck::Reject)),
        ..AcceptContext::default()
    };
    let found = |skr: &UnverifiedSkr| {
        let skr = verify(skr.clone(), &VerifyContext::new(&zone(), &anchors), start()).unwrap();
        check(&skr, &[0; 32], &context, start())
    };
    assert_eq!(found(&edited), [], "both sign");
    for bundle in &mut edited.bundles {
        bundle.signatures.retain(|s| s.covered != Rtype::DNSKEY || s.key_tag != vouched.tag());
    }
    assert_eq!(ids(&found(&edited)).0, [CheckId::SkrParentDs]);
}

#[test]
fn skr_no_private_key_with_several_providers() {
    let (ours, theirs) = (TestKey::zsk(ZSK), TestKey::zsk(3));
    let builder = skr(0).zsk(ours.dnskey.clone()).zsk(theirs.dnskey.clone());
    let dir = tempfile::tempdir().unwrap();
    let found = |keys: &FolderKeys, multi_signer| {
        let context = AcceptContext { keys: Some(keys), multi_signer, ..AcceptContext::default() };
        check(&verified(&builder, start()), &[0; 32], &context, start())
    };
    let none = find(dir.path(), &zone()).unwrap();
    let no_key = CheckId::SkrNoPrivateKey;
    assert_eq!(ids(&found(&none, false)).0, [no_key; 2], "alone, each is missing");
    let said = found(&none, true);
    assert!(said.len() == 1 && said[0].what.contains("no ZSK of the bundle"), "{said:?}");

    write_key(dir.path(), &ours, ZSK, far());
    let mut own = find(dir.path(), &zone()).unwrap();
    assert_eq!(found(&own, true), [], "the other one is theirs");
    let said = found(&own, false);
    assert!(ids(&said).0 == [no_key] && said[0].what.contains(&theirs.dnskey.tag().to_string()), "{said:?}");

    // One with the tag and algorithm of ours is meant to be ours, and is another key.
    own.keys[0].dnskey.public_key.swap(0, 2);
    own.keys[0].dnskey.public_key.swap(1, 3);
    assert_eq!(own.keys[0].dnskey.tag(), ours.dnskey.tag());
    for multi_signer in [false, true] {
        let said = found(&own, multi_signer);
        let other = said.iter().find(|f| f.what.contains("is another key than ZSK"));
        assert!(other.is_some_and(|f| f.id == no_key && f.rejects()), "{multi_signer}: {said:?}");
    }
}

#[test]
fn skr_not_asked_with_several_providers() {
    for (what, days, bundles, alone, several) in [
        ("begins with it", 20, 5, vec![], vec![]),
        ("began before", 2, 5, vec![CheckId::SkrNotAsked], vec![]),
        ("ends as it begins", 2, 3, vec![CheckId::SkrNotAsked], vec![CheckId::SkrNotAsked]),
        ("begins later", 21, 5, vec![CheckId::SkrNotAsked], vec![CheckId::SkrNotAsked]),
    ] {
        for (multi_signer, want) in [(false, alone), (true, several)] {
            let requests = [request(days, bundles, &[ZSK])];
            let context = AcceptContext { requests: &requests, multi_signer, ..AcceptContext::default() };
            let found = check(&verified(&skr(20), start().plus(20 * DAY)), &[0; 32], &context, start());
            assert_eq!(ids(&found), (vec![], want), "our request {what}, several: {multi_signer}");
        }
    }
}

#[test]
fn what_came_in_another_form_is_rewritten_in_binds() {
    let skr = verified(&skr(0), start());
    let octets = rewritten(&skr, start(), "a test");
    assert_eq!(bind::parse_skr(&octets, &zone()).expect("an SKR").bundles, skr.bundles());
}

#[test]
fn each_id_of_a_finding_stands_in_the_list_of_checks() {
    let of_runs: BTreeSet<CheckId> = RUNS.iter().flat_map(|(ids, _)| ids.iter().copied()).collect();
    let mut listed: BTreeSet<CheckId> = CHECKS.iter().map(|check| check.id).collect();
    // It is also one of `verify`, and listed there.
    assert!(verify::CHECKS.iter().any(|check| check.id == CheckId::SkrGap) && listed.insert(CheckId::SkrGap));
    assert_eq!(of_runs, listed);
}
