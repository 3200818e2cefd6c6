use super::*;
use crate::dns::Name;
use crate::exchange::request::bundles;
use crate::keys::Dnskey;
use std::path::PathBuf;

const DAY: u64 = 86_400;
const P6M: u32 = 6 * 31 * 86_400;

fn stamp(text: &str) -> Timestamp {
    Timestamp::parse_stamp(text).expect("a stamp")
}

fn entry(role: KeyRole, lifetime: u32) -> KeyPolicy {
    KeyPolicy {
        role,
        lifetime,
        algorithm: Algorithm::ECDSAP256SHA256,
        bits: 256,
        tag_range: (0, 65535),
        key_store: None,
    }
}

fn policy(entries: Vec<KeyPolicy>) -> Policy {
    Policy { keys: entries, ..Policy::with_defaults("common") }
}

fn zone() -> Name {
    Name::parse("example.test").expect("a name")
}

/// The files that carrying out `steps` would leave, beside `existing`.
fn carried_out(existing: &[KeyFile], steps: &[PlanStep<'_>]) -> Vec<KeyFile> {
    let mut keys = existing.to_vec();
    for step in steps {
        if let PlannedKey::Generate(timing) = step.key {
            keys.push(key(step.entry, timing, keys.len() as u8));
        }
    }
    keys.sort_by_key(|k| (k.dnskey.algorithm, k.dnskey.tag()));
    keys
}

fn key(entry: &KeyPolicy, timing: Timing, fill: u8) -> KeyFile {
    let flags = if entry.role == KeyRole::Zsk { 256 } else { 257 };
    let dnskey = Dnskey { flags, protocol: 3, algorithm: entry.algorithm, public_key: vec![fill; 64] };
    let state = Some(state(entry));
    KeyFile { zone: zone(), ttl: 3600, dnskey, timing, state, dir: PathBuf::from(".") }
}

fn zsk(activate: &str, inactive: &str, fill: u8) -> KeyFile {
    let timing = Timing {
        publish: Some(stamp(activate).minus(7500)),
        activate: Some(stamp(activate)),
        inactive: Some(stamp(inactive)),
        delete: Some(stamp(inactive).plus(867_900)),
        ..Timing::default()
    };
    key(&entry(KeyRole::Zsk, P6M), timing, fill)
}

fn interval(start: &str, end: &str) -> Interval {
    Interval { start: stamp(start), end: stamp(end) }
}

fn generated(steps: &[PlanStep<'_>]) -> Vec<Timing> {
    let timing = |s: &PlanStep<'_>| if let PlannedKey::Generate(t) = s.key { Some(t) } else { None };
    steps.iter().filter_map(timing).collect()
}

#[test]
fn numbers_of_keys() {
    let start = stamp("20270101000000");
    for (lifetime_days, days, keys) in [
        (186, 365, 2), // P6M, 1 year
        (186, 730, 4),
        (93, 365, 4),  // P3M
        (155, 365, 3), // P5M
        (0, 730, 1),
        (186, 372, 2), // ends as the second key does
    ] {
        let policy = policy(vec![entry(KeyRole::Zsk, lifetime_days * 86_400)]);
        let interval = Interval { start, end: start.plus(days * DAY) };
        for holes in [Holes::Fill, Holes::Leave] {
            let steps = keygen(&[], &policy, KeyRole::Zsk, interval, holes, start).expect("a plan");
            assert_eq!(steps.len(), keys, "{lifetime_days} d in {days} d");
            assert!(steps.iter().all(|s| !s.fills_hole));
            let files = carried_out(&[], &steps);
            assert_eq!(first_without_active_zsk(&files, &policy, interval), None);
            let again =
                keygen(&files, &policy, KeyRole::Zsk, interval, holes, start.plus(9)).expect("a plan");
            assert_eq!(again.len(), keys);
            assert_eq!(generated(&again), [], "a repeated run makes no key");
        }
    }
}

#[test]
fn zsk_times() {
    let now = stamp("20261124034657");
    let policy = policy(vec![entry(KeyRole::Zsk, P6M)]);
    let steps =
        keygen(&[], &policy, KeyRole::Zsk, interval("20270101000000", "20280101000000"), Holes::Fill, now);
    let keys = generated(&steps.expect("a plan"));
    assert_eq!(
        keys[0],
        Timing {
            created: Some(now),
            publish: Some(stamp("20261231215500")),
            activate: Some(stamp("20270101000000")),
            inactive: Some(stamp("20270706000000")),
            delete: Some(stamp("20270716010500")),
            ..Timing::default()
        }
    );
    assert_eq!(keys[1].activate, keys[0].inactive);
    assert_eq!(keys[1].publish, Some(stamp("20270705215500")));
}

#[test]
fn ksk_times() {
    let now = stamp("20261124034657");
    let policy = policy(vec![entry(KeyRole::Ksk, P6M), entry(KeyRole::Zsk, 0)]);
    let plan =
        keygen(&[], &policy, KeyRole::Ksk, interval("20270101000000", "20280101000000"), Holes::Fill, now);
    let keys = generated(&plan.expect("a plan"));
    assert_eq!(keys.len(), 2);
    // The first CDS waits until max-zone-ttl has passed: 22 h after activation; later ones come with activation.
    assert_eq!(keys[0].sync_publish, Some(stamp("20270101220000")));
    assert_eq!(keys[0].sync_delete, keys[0].inactive);
    assert_eq!(keys[0].delete, Some(stamp("20270707020000")));
    assert_eq!(keys[1].sync_publish, keys[1].activate);
    let unlimited = self::policy(vec![entry(KeyRole::Ksk, 0)]);
    let plan =
        keygen(&[], &unlimited, KeyRole::Ksk, interval("20270101000000", "20280101000000"), Holes::Fill, now);
    let key = generated(&plan.expect("a plan"))[0];
    assert_eq!((key.inactive, key.delete, key.sync_delete), (None, None, None));
}

#[test]
fn no_limit_of_zone_ttl_counts_as_a_week() {
    let mut policy = policy(vec![entry(KeyRole::Zsk, P6M)]);
    policy.max_zone_ttl = 0;
    let t = timing(&policy, KeyRole::Zsk, P6M, stamp("20270101000000"), true, stamp("20261124034657"));
    assert_eq!(t.delete, t.inactive.map(|i| i.plus(604_800 + 300 + 3600 + 9 * DAY)));
}

#[test]
fn hole_behind_a_key_in_mid_life() {
    // BIND steps from 1 April to 4 October and makes no successor for the key that ends on 6 July.
    let policy = policy(vec![entry(KeyRole::Zsk, P6M)]);
    let keys = [zsk("20270101000000", "20270706000000", 1)];
    let summer = interval("20270401000000", "20270801000000");
    let bind = keygen(&keys, &policy, KeyRole::Zsk, summer, Holes::Leave, summer.start).expect("a plan");
    assert_eq!(bind.len(), 1);
    let (at, _) = first_without_active_zsk(&keys, &policy, summer).expect("a hole");
    assert_eq!(at, stamp("20270706000000"));
    let ours = keygen(&keys, &policy, KeyRole::Zsk, summer, Holes::Fill, summer.start).expect("a plan");
    assert_eq!(ours.len(), 2);
    assert!(ours[1].fills_hole);
    assert_eq!(generated(&ours)[0].activate, Some(stamp("20270706000000")));
    assert_eq!(first_without_active_zsk(&carried_out(&keys, &ours), &policy, summer), None);
}

#[test]
fn commands_of_one_ceremony_see_different_clocks() {
    let policy = policy(vec![entry(KeyRole::Zsk, 365 * 86_400)]);
    let start = stamp("20270101000000");
    let year = |start: Timestamp| Interval { start, end: start.plus(365 * DAY) };
    let steps = keygen(&[], &policy, KeyRole::Zsk, year(start), Holes::Fill, start).expect("a plan");
    let files = carried_out(&[], &steps);
    let later = start.plus(9);
    let again = keygen(&files, &policy, KeyRole::Zsk, year(later), Holes::Fill, later).expect("a plan");
    assert_eq!((again.len(), generated(&again).len()), (1, 0));
    let much_later = start.plus(END_TOLERANCE + 1);
    let again = keygen(&files, &policy, KeyRole::Zsk, year(much_later), Holes::Fill, later).expect("a plan");
    assert_eq!((again.len(), generated(&again).len()), (2, 1));
}

#[test]
fn hole_between_existing_keys() {
    let policy = policy(vec![entry(KeyRole::Zsk, P6M)]);
    let keys = [zsk("20261001000000", "20270201000000", 1), zsk("20270401000000", "20271004000000", 2)];
    let year = interval("20270101000000", "20280101000000");
    let steps = keygen(&keys, &policy, KeyRole::Zsk, year, Holes::Fill, year.start).expect("a plan");
    assert_eq!(first_without_active_zsk(&carried_out(&keys, &steps), &policy, year), None);
    assert_eq!(generated(&steps)[0].activate, Some(stamp("20270201000000")));
}

#[test]
fn only_matching_keys_are_selected() {
    let mut narrow = entry(KeyRole::Zsk, P6M);
    let year = interval("20270101000000", "20270601000000");
    let good = zsk("20270101000000", "20270706000000", 1);
    let made = |key: KeyFile, entry: KeyPolicy| {
        let (keys, policy) = ([key], policy(vec![entry]));
        let steps = keygen(&keys, &policy, KeyRole::Zsk, year, Holes::Fill, year.start).expect("a plan");
        generated(&steps).len()
    };
    assert_eq!(made(good.clone(), narrow.clone()), 0);
    assert_eq!(made(KeyFile { state: None, ..good.clone() }, narrow.clone()), 1, "lost .state");
    narrow.tag_range = (good.dnskey.tag(), good.dnskey.tag());
    assert_eq!(made(good.clone(), narrow.clone()), 1, "revoked tag outside the range");
    let rsa = KeyPolicy { algorithm: Algorithm::RSASHA256, bits: 2048, ..entry(KeyRole::Zsk, P6M) };
    assert_eq!(made(good.clone(), rsa), 1);
    let mut ksk = good;
    ksk.state.as_mut().expect("a state").ksk = Some(true);
    assert_eq!(made(ksk, entry(KeyRole::Zsk, P6M)), 1);
}

#[test]
fn refused_intervals() {
    let policy = policy(vec![entry(KeyRole::Csk, P6M)]);
    let year = interval("20270101000000", "20280101000000");
    let plan = |i| keygen(&[], &policy, KeyRole::Zsk, i, Holes::Fill, year.start).expect_err("no plan");
    assert!(plan(year).to_string().starts_with("no keys created for policy 'common'"));
    let zsks = self::policy(vec![entry(KeyRole::Zsk, P6M)]);
    let plan = |start, end| {
        keygen(&[], &zsks, KeyRole::Zsk, Interval { start, end }, Holes::Fill, year.start)
            .expect_err("no plan")
    };
    assert!(matches!(plan(year.end, year.start), PlanError::EndBeforeStart { .. }));
    assert!(matches!(plan(year.start, year.start), PlanError::Empty { .. }));
    assert!(matches!(plan(Timestamp::EPOCH, year.start), PlanError::StartTooEarly { .. }));
    assert!(matches!(plan(year.start, Timestamp::MAX), PlanError::BeyondTimes { .. }));
    assert!(matches!(
        check_interval(Interval { start: Timestamp::EPOCH, end: year.start }, false),
        Err(PlanError::TooLong { .. })
    ));
    let second = self::policy(vec![entry(KeyRole::Zsk, 1)]);
    assert_eq!(keygen(&[], &second, KeyRole::Zsk, year, Holes::Fill, year.start), Err(PlanError::TooMany));
}

#[test]
fn kind_27_lifetime_that_reaches_beyond_the_times_of_bind_is_named() {
    const YEAR: u32 = 365 * 86_400;
    let long = interval("20270101000000", "20280101000000");
    let late = interval("21050101000000", "21060101000000");
    for (role, lifetime, interval, says) in [
        (
            KeyRole::Zsk,
            100 * YEAR,
            long,
            "the lifetime of the zsk entry of policy 'common', 36500 days, is too long",
        ),
        (
            KeyRole::Ksk,
            80 * YEAR,
            long,
            "the lifetime of the ksk entry of policy 'common', 29200 days, is too long",
        ),
        (
            KeyRole::Zsk,
            u32::MAX,
            long,
            "the lifetime of the zsk entry of policy 'common', 49710 days, is too long",
        ),
        (
            KeyRole::Zsk,
            2 * YEAR,
            late,
            "the lifetime of the zsk entry of policy 'common', 730 days, is too long",
        ),
    ] {
        let policy = policy(vec![entry(role, lifetime)]);
        let error = keygen(&[], &policy, role, interval, Holes::Fill, interval.start)
            .expect_err("no plan")
            .to_string();
        assert!(error.starts_with(says) && error.contains("2106-02-07"), "{error}");
    }
    for lifetime in [0, 70 * YEAR] {
        let policy = policy(vec![entry(KeyRole::Zsk, lifetime)]);
        assert!(keygen(&[], &policy, KeyRole::Zsk, long, Holes::Fill, long.start).is_ok(), "{lifetime}");
    }
}

#[test]
fn bundles_change_at_publish_and_delete() {
    let policy = policy(vec![entry(KeyRole::Zsk, P6M)]);
    let keys = [zsk("20270101000000", "20270706000000", 1), zsk("20270706000000", "20280108000000", 2)];
    let made = bundles(&keys, &zone(), &policy, interval("20270101000000", "20280101000000"));
    let made: Vec<(String, Vec<u8>)> = made
        .expect("bundles")
        .iter()
        .map(|b| (b.inception.to_string(), b.keys.iter().map(|k| k.public_key[0]).collect()))
        .collect();
    assert_eq!(
        made,
        [
            ("20270101000000".to_owned(), vec![1]),
            ("20270705215500".to_owned(), vec![1, 2]),
            ("20270716010500".to_owned(), vec![2]),
        ]
    );
    let at_end = bundles(&keys, &zone(), &policy, interval("20270705000000", "20270705215500"));
    assert_eq!(at_end.expect("bundles").len(), 2, "a change at the very end still counts");
}

#[test]
fn bundle_without_zsk() {
    let policy = policy(vec![entry(KeyRole::Zsk, P6M)]);
    let keys = [zsk("20270101000000", "20270706000000", 1)];
    let error = bundles(&keys, &zone(), &policy, interval("20270101000000", "20280101000000"));
    let text = error.expect_err("no second key").to_string();
    assert!(
        text.starts_with(
            "no example.test/ECDSAP256SHA256 zsk key pair found for bundle Fri Jul 16 01:05:00 2027"
        ),
        "{text}"
    );
    // BIND is content here: the key is still published, though it signs nothing from 6 July on.
    let published = interval("20270101000000", "20270710000000");
    assert_eq!(bundles(&keys, &zone(), &policy, published).expect("bundles").len(), 1);
    let (at, _) = first_without_active_zsk(&keys, &policy, published).expect("a hole");
    assert_eq!(at, stamp("20270706000000"));
}

#[test]
fn two_entries_list_a_key_once() {
    let policy = policy(vec![entry(KeyRole::Zsk, P6M), entry(KeyRole::Zsk, 0)]);
    let keys = [zsk("20270101000000", "20270706000000", 1)];
    let made = bundles(&keys, &zone(), &policy, interval("20270101000000", "20270102000000"));
    assert_eq!(made.expect("bundles")[0].keys.len(), 1);
}

proptest::proptest! {
    /// Whatever keys exist, after a plan with `Holes::Fill` some key is active at every second of the interval.
    #[test]
    fn no_hole_is_left(
        spans in proptest::collection::vec((0u64..800, 1u64..300), 0..6),
        lifetime in 1u32..200,
        days in 1u64..700,
    ) {
        let start = stamp("20270101000000");
        let policy = policy(vec![entry(KeyRole::Zsk, lifetime * 86_400)]);
        let keys: Vec<KeyFile> = spans.iter().enumerate().map(|(i, (from, len))| {
            let from = start.minus(100 * DAY).plus(from * DAY);
            zsk(&from.to_string(), &from.plus(len * DAY).to_string(), 100 + i as u8)
        }).collect();
        let interval = Interval { start, end: start.plus(days * DAY) };
        let steps = keygen(&keys, &policy, KeyRole::Zsk, interval, Holes::Fill, start).expect("a plan");
        let files = carried_out(&keys, &steps);
        proptest::prop_assert_eq!(first_without_active_zsk(&files, &policy, interval), None);
    }
}
