use super::*;
use crate::testing::{DAY, NOW, POLICY, TIMES, bundle, key, keys, name, signed, zone};
use keystore::crypto::Algorithm;
use keystore::dns::{Name, Rrsig, rrsig};

const ZONE: &str = "\
@ SOA ns admin 7 1h 5m 1w 10m
@ NS ns
@ MX 10 Mail
@ MX 10 b
ns A 192.0.2.1
Mail A 192.0.2.2
Mail A 192.0.2.3
x.ent TXT t
x.ent TYPE1234 \\# 1 00
*.wild A 192.0.2.4
sub NS ns.sub
sub A 192.0.2.5
ns.sub A 192.0.2.6
safe NS ns.sub
safe DS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
";

fn example() -> SignedZone {
    signed(zone("example", ZONE).expect("a zone"))
}

fn text(zone: &SignedZone) -> String {
    let mut out = Vec::new();
    zone.write_to(&mut out).expect("memory");
    String::from_utf8(out).expect("ASCII")
}

fn nsecs(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|l| l.contains("\tNSEC\t"));
    lines
        .map(|l| {
            l.split_whitespace()
                .enumerate()
                .filter(|(i, _)| *i != 2)
                .map(|(_, w)| w)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

#[test]
fn the_chain_skips_what_is_not_ours() {
    assert_eq!(
        nsecs(&text(&example())),
        [
            "example. 600 NSEC x.ent.example. NS SOA MX RRSIG NSEC DNSKEY CDS CDNSKEY",
            "x.ent.example. 600 NSEC mail.example. TXT RRSIG NSEC TYPE1234",
            "Mail.example. 600 NSEC ns.example. A RRSIG NSEC",
            "ns.example. 600 NSEC safe.example. A RRSIG NSEC",
            "safe.example. 600 NSEC sub.example. NS DS RRSIG NSEC",
            "sub.example. 600 NSEC *.wild.example. NS RRSIG NSEC",
            "*.wild.example. 600 NSEC example. A RRSIG NSEC",
        ]
    );
}

#[test]
fn rrsigs_stand_where_they_belong() {
    let zone = example();
    let covered: Vec<String> = zone
        .records()
        .filter(|r| r.rtype == Rtype::RRSIG)
        .map(|r| {
            let sig = Rrsig::from_rdata(r.rdata).expect("an RRSIG");
            format!("{} {} {}", Name::from_wire(&r.owner).expect("a name"), sig.covered, sig.labels)
        })
        .collect();
    let want = "example. SOA 1, example. NS 1, example. MX 1, example. DNSKEY 1, example. CDS 1, example. CDNSKEY 1, example. NSEC 1, \
                x.ent.example. TXT 3, x.ent.example. TYPE1234 3, x.ent.example. NSEC 3, Mail.example. A 2, Mail.example. NSEC 2, \
                ns.example. A 2, ns.example. NSEC 2, safe.example. DS 2, safe.example. NSEC 2, sub.example. NSEC 2, \
                *.wild.example. A 2, *.wild.example. NSEC 2";
    assert_eq!(covered.join(", "), want);
    assert_eq!(zone.signatures_made(), 19 - 3);
    zone.self_check(NOW, usize::MAX).expect("all signatures verify");
}

/// The octets signed here are those of keystore's signer, for every RRset, mixed case and wildcard included.
#[test]
fn signatures_verify_by_the_other_path() {
    let zone = example();
    let (_, zsk) = keys();
    let mut checked = 0;
    for node in zone.zone().node_ids() {
        for view in zone.rrsets(node).chain(zone.nsec_at(node)) {
            for rdata in Records(view.signatures) {
                let sig = Rrsig::from_rdata(rdata).expect("an RRSIG");
                if sig.key_tag == zsk.dnskey.tag() && sig.algorithm == zsk.dnskey.algorithm {
                    let rrset = view.to_rrset(zone.zone().owner(node)).expect("an RRset");
                    rrsig::verify_raw(&rrset, &zsk.dnskey.public_key, &sig).expect("verifies");
                    assert_eq!(sig.original_ttl, view.ttl);
                    assert_eq!(sig.incepts(NOW), NOW.minus(3600));
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 16);
}

#[test]
fn serial_and_bundle_are_taken_as_given() {
    let (ksk, zsk) = keys();
    let zone = Arc::new(zone("example", ZONE).expect("a zone"));
    let bundle = bundle(zone.origin(), ksk, &[zsk], NOW.minus(DAY), 20 * DAY);
    let signed =
        sign(&zone, &bundle, std::slice::from_ref(zsk), &POLICY, 4_000_000_000, None, NOW).expect("signs");
    assert_eq!((signed.serial(), zone.serial()), (4_000_000_000, 7));
    assert!(text(&signed).starts_with("example.\t3600\tIN\tSOA\tns.example. admin.example. 4000000000 "));
    assert_eq!(signed.earliest_ksk_expiration(), NOW.plus(19 * DAY));
    for rrset in bundle.rrsets() {
        let served: Vec<&[u8]> =
            signed.records().filter(|r| r.rtype == rrset.rtype).map(|r| r.rdata).collect();
        assert_eq!(served, rrset.canonical_rdatas());
    }
    let served: Vec<&[u8]> = signed.records().filter(|r| r.rtype == Rtype::RRSIG).map(|r| r.rdata).collect();
    assert!(bundle.signatures.iter().all(|s| served.contains(&s.to_rdata().as_slice())));
}

/// The expirations of all signatures that were made here.
fn expirations(signed: &SignedZone) -> Vec<u64> {
    let of_bundle = |rtype| matches!(rtype, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY);
    let rrsigs = signed.records().filter(|r| r.rtype == Rtype::RRSIG);
    let made = rrsigs.filter_map(|r| Rrsig::from_rdata(r.rdata).ok()).filter(|s| !of_bundle(s.covered));
    let mut expirations: Vec<u64> = made.map(|s| s.expires(NOW).secs()).collect();
    expirations.sort_unstable();
    expirations
}

fn hosts(count: usize) -> Zone {
    let text: String = (0..count).map(|i| format!("h{i} A 192.0.2.1\n")).collect();
    zone("example", &format!("{ZONE}{text}")).expect("a zone")
}

#[test]
fn a_large_zone_comes_due_evenly_from_its_first_signing_on_and_a_small_one_in_one_go() {
    let latest = NOW.plus(u64::from(TIMES.validity)).secs();
    let jitter = u64::from(TIMES.jitter);
    let room = u64::from(TIMES.validity - TIMES.refresh) - jitter;
    for (count, even) in [(1000, true), (100, false)] {
        let signed = signed(hosts(count));
        let mut all = expirations(&signed);
        assert_eq!(signed.earliest_zsk_expiration().secs(), all[0]);
        assert_eq!(signed.next_refresh().secs(), all[0] - u64::from(TIMES.refresh));
        assert_eq!(all.pop(), Some(latest), "the SOA has the whole validity");
        // The shortest still lives for the jitter before it comes due.
        let (first, last) = (all[0], all[all.len() - 1]);
        assert!(first >= latest - room && last <= latest);
        let width = if even { room } else { jitter };
        let from = if even { latest - room } else { last - jitter };
        assert!(last - first <= width && last - first > width * 9 / 10);
        for tenth in 0..10 {
            let from = from + width / 10 * tenth;
            let share = all.iter().filter(|e| (from..from + width / 10).contains(e)).count();
            assert!((all.len() / 20..all.len() / 5).contains(&share), "{count}, {tenth}: {share}");
        }
    }
    // Small zones do not come due at the same time.
    let due = |origin: &str| {
        let zone = zone(origin, "@ SOA ns admin 7 1h 5m 1w 10m\n@ NS ns.elsewhere.\n").expect("a zone");
        signed(zone).next_refresh().secs() / 3600
    };
    let hours: std::collections::BTreeSet<u64> = (0..50).map(|n| due(&format!("zone{n}"))).collect();
    assert!(hours.len() > 30, "{hours:?}");
}

#[test]
fn nothing_that_was_just_signed_is_due_whatever_the_policy_says() {
    for times in [
        SigningTimes { validity: 100, refresh: 99, jitter: 100 },
        SigningTimes { validity: 100, refresh: 500, jitter: 500 },
        SigningTimes { validity: 100, refresh: 90, jitter: 5 },
        SigningTimes { validity: 0, refresh: 0, jitter: 0 },
    ] {
        for zone in [example().zone(), signed(hosts(600)).zone()] {
            let (ksk, zsk) = keys();
            let bundle = bundle(zone.origin(), ksk, &[zsk], NOW, DAY);
            let zsk = std::slice::from_ref(zsk);
            let policy = SigningPolicy { times, ..POLICY };
            let signed = sign(zone, &bundle, zsk, &policy, 1, None, NOW).expect("signs");
            assert!(signed.next_refresh() > NOW, "{times:?}");
        }
    }
}

/// A year of renewals: no hour has much more to do than another, and no signature is ever short of its floor.
#[test]
fn renewals_of_a_large_zone_are_spread_over_a_year() {
    let (ksk, zsk) = keys();
    let zone = Arc::new(hosts(600));
    let bundle = bundle(zone.origin(), ksk, &[zsk], NOW, 500 * DAY);
    let zsk = std::slice::from_ref(zsk);
    let mut signed = sign(&zone, &bundle, zsk, &POLICY, 1, None, NOW).expect("signs");
    let mut of_day = std::collections::BTreeMap::<u64, usize>::new();
    let (mut now, mut serial) = (NOW, 1);
    while now < NOW.plus(120 * DAY) {
        now = signed.next_refresh();
        assert!(signed.earliest_zsk_expiration() >= now.plus(u64::from(TIMES.refresh)));
        serial += 1;
        signed = sign(&zone, &bundle, zsk, &POLICY, serial, Some(&signed), now).expect("signs");
        *of_day.entry(now.since(NOW) / DAY).or_default() += signed.signatures_made() - 1;
    }
    let days: Vec<usize> =
        of_day.into_iter().filter(|(day, _)| (1..119).contains(day)).map(|(_, n)| n).collect();
    let mean = days.iter().sum::<usize>() / days.len();
    let most = days.iter().max().expect("days");
    assert!(days.len() == 118 && *most < mean * 2, "{most} in a day, {mean} in the mean");
}

#[test]
fn what_is_due_after_an_outage_is_made_oldest_first_in_several_versions() {
    let (ksk, zsk) = keys();
    let zone = Arc::new(hosts(6_000));
    let bundle = bundle(zone.origin(), ksk, &[zsk], NOW, 60 * DAY);
    let zsk = std::slice::from_ref(zsk);
    let times = SigningTimes { refresh: 10 * DAY as u32, ..TIMES };
    let policy = SigningPolicy { times, ..POLICY };
    let first = sign(&zone, &bundle, zsk, &policy, 1, None, NOW).expect("signs");
    // Everything is due, and nothing is short of half of the refresh time.
    let now = NOW.plus(u64::from(times.validity - times.refresh));
    let all = first.signatures_made();
    let late = expirations(&first);
    let second = sign(&zone, &bundle, zsk, &policy, 2, Some(&first), now).expect("signs");
    second.self_check(now, 50).expect("valid");
    let made = second.signatures_made();
    assert!((10_000..10_010).contains(&made) && made < all, "{made} of {all}");
    // What is left is younger than all that was made anew.
    let left = second.earliest_zsk_expiration().secs();
    let younger = late.iter().filter(|e| **e < left).count();
    assert!(younger <= made, "{younger} were older than what is left");
    assert!(second.next_refresh() <= now, "the next version follows");
    let third = sign(&zone, &bundle, zsk, &policy, 3, Some(&second), now).expect("signs");
    assert!(third.next_refresh() > now && third.signatures_made() >= all - made);
}

#[test]
fn signatures_of_a_key_that_retires_stay_until_they_are_due_or_its_time_comes() {
    let (ksk, old) = keys();
    let new = key(256, Algorithm::ECDSAP256SHA256);
    let zone = Arc::new(hosts(600));
    let with = |zsks: &[&ZoneKey]| bundle(zone.origin(), ksk, zsks, NOW.minus(DAY), 90 * DAY);
    let first = sign(&zone, &with(&[old]), std::slice::from_ref(old), &POLICY, 1, None, NOW).expect("signs");
    let all = first.signatures_made();
    let both = with(&[old, &new]);
    let roll = |previous: &SignedZone, replaced, bundle: &Bundle, now| {
        let retiring = [RetiringKey { dnskey: old.dnskey.clone(), replaced }];
        let keys = SigningKeys { active: std::slice::from_ref(&new), retiring: &retiring, progress: None };
        let signed = sign(&zone, bundle, keys, &POLICY, 2, Some(previous), now).expect("signs");
        signed.self_check(now, usize::MAX).expect("valid");
        signed
    };
    let by_new = |signed: &SignedZone| {
        let rrsigs = signed.records().filter(|r| r.rtype == Rtype::RRSIG);
        rrsigs.filter(|r| r.rdata[16..18] == new.dnskey.tag().to_be_bytes()).count()
    };
    // As they come due: the SOA alone is by the new key at first.
    let now = NOW.plus(60);
    assert_eq!(roll(&first, None, &both, now).signatures_made(), 1);
    // Over ten days, whether due or not.
    let (from, to) = (now, now.plus(10 * DAY));
    let mut signed = roll(&first, Some((from, to)), &both, now);
    assert!(by_new(&signed) < all / 10);
    for day in 1..=10 {
        let now = from.plus(day * DAY);
        assert!(signed.next_refresh() <= now, "it comes due by itself");
        signed = roll(&signed, Some((from, to)), &both, now);
        let (done, share) = (by_new(&signed), all * day as usize / 10);
        assert!(done >= share * 8 / 10, "day {day}: {done} of {all}");
    }
    assert_eq!(by_new(&signed), all, "none is left when the time is over");
    // At once: the time is over already.
    assert_eq!(by_new(&roll(&first, Some((now, now)), &both, now)), all);
    // The bundle does not have it any more: nothing of it is served, whatever was planned.
    assert_eq!(by_new(&roll(&first, Some((from, to)), &with(&[&new]), now)), all);
    assert_eq!(by_new(&roll(&first, None, &with(&[&new]), now)), all);
    // A key with the tag of the one that signed, which it is not, inherits nothing.
    let other = key(256, Algorithm::ECDSAP256SHA256);
    let retiring = [RetiringKey { dnskey: other.dnskey.clone(), replaced: None }];
    let keys = SigningKeys { active: std::slice::from_ref(&new), retiring: &retiring, progress: None };
    let signed =
        sign(&zone, &with(&[old, &new, &other]), keys, &POLICY, 2, Some(&first), now).expect("signs");
    assert_eq!(signed.signatures_made(), all);
}

#[test]
fn an_algorithm_roll_has_both_algorithms_on_every_rrset_and_keeps_those_that_are_there() {
    let (ksk, old) = keys();
    let new = key(256, Algorithm::ED25519);
    let zone = Arc::new(zone("example", ZONE).expect("a zone"));
    let sign_with = |zsks: &[&ZoneKey], serial, previous: Option<&SignedZone>, now| {
        let bundle = bundle(zone.origin(), ksk, zsks, NOW.minus(DAY), 60 * DAY);
        let active: Vec<ZoneKey> = zsks.iter().map(|key| (*key).clone()).collect();
        let signed = sign(&zone, &bundle, &active, &POLICY, serial, previous, now).expect("signs");
        signed.self_check(now, usize::MAX).expect("valid");
        signed
    };
    let first = sign_with(&[old], 1, None, NOW);
    let both = sign_with(&[old, &new], 2, Some(&first), NOW.plus(60));
    // All by the new algorithm, and the SOA by the old one, too.
    assert_eq!((both.signatures_made(), both.signatures_reused()), (16 + 1, 15));
    let stripped = sign_with(&[&new], 3, Some(&both), NOW.plus(120));
    assert_eq!((stripped.signatures_made(), stripped.signatures_reused()), (1, 15), "the SOA");
}

/// Signs `zone` again at `now` over `previous`; gives (made, reused).
fn again(
    previous: &SignedZone,
    zone: &Arc<Zone>,
    zsks: &[&ZoneKey],
    serial: u32,
    now: Timestamp,
) -> SignedZone {
    let (ksk, _) = keys();
    let bundle = bundle(zone.origin(), ksk, zsks, NOW.minus(DAY), 60 * DAY);
    let keys: Vec<ZoneKey> = zsks.iter().map(|k| (*k).clone()).collect();
    let signed = sign(zone, &bundle, &keys, &POLICY, serial, Some(previous), now).expect("signs");
    signed.self_check(now, usize::MAX).expect("valid");
    assert_eq!(
        signed.signatures_made() + signed.signatures_reused(),
        16 * zsks.len() + extra(zone) * zsks.len()
    );
    signed
}

/// RRsets beyond those of [`ZONE`] that are signed.
fn extra(zone: &Zone) -> usize {
    match zone.lookup(name("new.example").as_wire()) {
        Some(_) => 2,
        None => 0,
    }
}

#[test]
fn signatures_are_taken_over_until_they_are_due_or_the_data_changes() {
    let (_, zsk) = keys();
    let other = key(256, Algorithm::ECDSAP256SHA256);
    let first = example();
    let zone_now = Arc::clone(first.zone());

    let same = again(&first, &zone_now, &[zsk], 7, NOW.plus(60));
    assert_eq!(same.signatures_made(), 0);
    assert_eq!(same.earliest_zsk_expiration(), first.earliest_zsk_expiration());
    assert_eq!(again(&first, &zone_now, &[zsk], 8, NOW.plus(60)).signatures_made(), 1, "the SOA only");

    let reloaded = Arc::new(zone("example", ZONE).expect("a zone"));
    assert_eq!(again(&first, &reloaded, &[zsk], 7, NOW).signatures_made(), 0);

    let changed = ZONE.replace("192.0.2.1\n", "192.0.2.9\n") + "new A 192.0.2.7\n";
    let changed = Arc::new(zone("example", &changed).expect("a zone"));
    // ns A, new A, new NSEC, and the NSEC in front of it (Mail's).
    assert_eq!(again(&first, &changed, &[zsk], 7, NOW).signatures_made(), 4);
    let ttl = Arc::new(zone("example", &ZONE.replace("ns A", "ns 60 A")).expect("a zone"));
    assert_eq!(again(&first, &ttl, &[zsk], 7, NOW).signatures_made(), 1);

    // A second before the first comes due nothing is, but what is renewed along with it.
    let due = first.next_refresh();
    let batch = u64::from(TIMES.jitter / 24);
    assert_eq!(again(&first, &zone_now, &[zsk], 7, due.minus(batch + 1)).signatures_made(), 0);
    let renewed = again(&first, &zone_now, &[zsk], 7, due);
    assert!((1..16).contains(&renewed.signatures_made()));
    assert!(renewed.next_refresh() > due.plus(batch));
    let late = NOW.plus(u64::from(TIMES.validity));
    assert_eq!(again(&first, &zone_now, &[zsk], 7, late).signatures_made(), 16);

    // A clock set back: signatures from the future are made anew.
    assert_eq!(again(&first, &zone_now, &[zsk], 7, NOW.minus(2 * 3600)).signatures_made(), 16);

    // A key comes: only its signatures are made. It goes: nothing is made. The key changes: all is made.
    let both = again(&first, &zone_now, &[&other, zsk], 7, NOW);
    assert_eq!((both.signatures_made(), both.signatures_reused()), (16, 16));
    assert_eq!(again(&both, &zone_now, &[zsk], 7, NOW).signatures_made(), 0);
    assert_eq!(again(&first, &zone_now, &[&other], 7, NOW).signatures_made(), 16);
}

#[test]
fn another_zone_is_no_source_of_signatures() {
    let first = example();
    let other = Arc::new(zone("other", ZONE).expect("a zone"));
    let (_, zsk) = keys();
    assert_eq!(again(&first, &other, &[zsk], 7, NOW).signatures_reused(), 0);
}

#[test]
fn every_algorithm_of_the_bundles_zsks_must_sign() {
    let (ksk, zsk) = keys();
    let zone = Arc::new(zone("example", ZONE).expect("a zone"));
    let ed = key(256, Algorithm::ED25519);
    let sign = |published: &[&ZoneKey], active: &[ZoneKey]| {
        let bundle = bundle(zone.origin(), ksk, published, NOW, DAY);
        sign(&zone, &bundle, active, &POLICY, 7, None, NOW)
    };
    let no_zsk = |result: Result<SignedZone, SigningError>, want| match result {
        Err(SigningError::NoZsk(algorithm)) => assert_eq!(algorithm, want),
        other => panic!("{other:?}"),
    };
    no_zsk(sign(&[zsk, &ed], std::slice::from_ref(zsk)), Algorithm::ED25519);
    no_zsk(sign(&[zsk], &[]), Algorithm::ECDSAP256SHA256);
    no_zsk(sign(&[zsk], std::slice::from_ref(&ed)), Algorithm::ECDSAP256SHA256);
    no_zsk(sign(&[], std::slice::from_ref(zsk)), Algorithm::ECDSAP256SHA256);
    let both = sign(&[zsk, &ed], &[zsk.clone(), ed.clone()]).expect("signs");
    both.self_check(NOW, usize::MAX).expect("valid");
    assert_eq!(both.signatures_made(), 32);
    // A key that is not published does not sign.
    let one = sign(&[zsk], &[zsk.clone(), ed]).expect("signs");
    assert_eq!(one.key_tags().collect::<Vec<_>>(), [zsk.dnskey.tag()]);
}

#[test]
fn all_algorithms_sign() {
    let zone = Arc::new(zone("example", ZONE).expect("a zone"));
    for algorithm in [8, 10, 13, 14, 15, 16].map(Algorithm) {
        let (ksk, zsk) = (key(257, algorithm), key(256, algorithm));
        let bundle = bundle(zone.origin(), &ksk, &[&zsk], NOW, DAY);
        let signed = sign(&zone, &bundle, &[zsk], &POLICY, 7, None, NOW).expect("signs");
        signed.self_check(NOW, usize::MAX).unwrap_or_else(|e| panic!("{algorithm}: {e}"));
    }
}

#[test]
fn a_key_that_is_not_its_dnskeys_is_refused_before_anything_is_signed() {
    let (ksk, zsk) = keys();
    let zone = Arc::new(zone("example", ZONE).expect("a zone"));
    let mixed = ZoneKey { dnskey: zsk.dnskey.clone(), signer: Arc::clone(&ksk.signer) };
    let bundle = bundle(zone.origin(), ksk, &[zsk], NOW, DAY);
    let error = sign(&zone, &bundle, &[mixed], &POLICY, 7, None, NOW).expect_err("a wrong key");
    assert!(matches!(error, SigningError::Sign { tag, .. } if tag == zsk.dnskey.tag()), "{error}");
}

#[test]
fn the_self_check_sees_damage() {
    let good = example();
    good.self_check(NOW, 0).expect("good");
    let expired = good.earliest_zsk_expiration().plus(1);
    assert!(matches!(good.self_check(expired, 0), Err(CheckError::Invalid { .. })));
    let mut bad = example();
    bad.corrupt_slot(bad.slot_count() - 1, 1);
    assert!(matches!(bad.self_check(NOW, usize::MAX), Err(CheckError::Invalid { rtype: Rtype::NSEC, .. })));
    let mut bad = example();
    // The length of a signature: what follows is read as others.
    bad.corrupt_slot(0, bad.slot_len - 1);
    assert!(matches!(bad.self_check(NOW, 0), Err(CheckError::Missing { wanted: 1, .. })));
    let mut bad = example();
    bad.apex[0].signatures.clear();
    assert!(matches!(bad.self_check(NOW, 0), Err(CheckError::Missing { rtype: Rtype::DNSKEY, .. })));
    let mut bad = example();
    bad.corrupt_denial();
    assert!(matches!(bad.self_check(NOW, 0), Err(CheckError::Chain { .. })));
}

/// What a run has done is known while it goes on: nothing before it begins, all of it at its end, whatever was taken over.
#[test]
fn kind_116_a_signing_run_counts_what_is_done() {
    let progress = SigningProgress::default();
    assert_eq!(progress.percent(), 0, "before the run");
    progress.begin(200);
    let seen = [(79, 39), (1, 40), (120, 100)].map(|(more, percent)| {
        (0..more).for_each(|_| progress.count());
        (progress.percent(), percent)
    });
    seen.iter().for_each(|(found, wanted)| assert_eq!(found, wanted));
    progress.begin(0);
    assert_eq!(progress.percent(), 0, "a run over nothing");
}
