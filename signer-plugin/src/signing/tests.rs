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

#[test]
fn expirations_are_spread_and_never_due_at_once() {
    let text: String = (0..500).map(|i| format!("h{i} A 192.0.2.1\n")).collect();
    let signed = signed(zone("example", &format!("{ZONE}{text}")).expect("a zone"));
    let mut expirations: Vec<u64> = signed
        .records()
        .filter(|r| r.rtype == Rtype::RRSIG)
        .filter_map(|r| Rrsig::from_rdata(r.rdata).ok())
        .filter(|s| !matches!(s.covered, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY))
        .map(|s| s.expires(NOW).secs())
        .collect();
    expirations.sort_unstable();
    let latest = NOW.plus(u64::from(TIMES.validity)).secs();
    let jitter = u64::from(TIMES.jitter);
    assert!(expirations[0] >= latest - jitter && expirations[0] < latest - jitter * 9 / 10);
    assert!(
        *expirations.last().expect("some") <= latest
            && *expirations.last().expect("some") > latest - jitter / 10
    );
    // Every tenth of the jitter holds its share.
    for tenth in 0..10 {
        let from = latest - jitter + jitter / 10 * tenth;
        let share = expirations.iter().filter(|e| (from..from + jitter / 10).contains(e)).count();
        assert!((expirations.len() / 20..expirations.len() / 5).contains(&share), "{tenth}: {share}");
    }
    assert_eq!(signed.earliest_zsk_expiration().secs(), expirations[0]);
    assert_eq!(signed.next_refresh().secs(), expirations[0] - u64::from(TIMES.refresh));

    for times in [
        SigningTimes { validity: 100, refresh: 99, jitter: 100 },
        SigningTimes { validity: 100, refresh: 500, jitter: 500 },
        SigningTimes { validity: 0, refresh: 0, jitter: 0 },
    ] {
        let plan = make::Plan::new(&times, NOW);
        let (ksk, zsk) = keys();
        let zone = signed.zone();
        let bundle = bundle(zone.origin(), ksk, &[zsk], NOW, DAY);
        let policy = SigningPolicy { times, ..POLICY };
        let signed = sign(zone, &bundle, std::slice::from_ref(zsk), &policy, 1, None, NOW).expect("signs");
        assert!(signed.next_refresh() > NOW, "{times:?} {plan:?}");
    }
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
    *bad.slots.last_mut().expect("slots") ^= 1;
    assert!(matches!(bad.self_check(NOW, usize::MAX), Err(CheckError::Invalid { rtype: Rtype::NSEC, .. })));
    let mut bad = example();
    bad.slot_of[0] = None;
    assert!(matches!(bad.self_check(NOW, 0), Err(CheckError::Missing { found: 0, wanted: 1, .. })));
    let mut bad = example();
    bad.apex[0].signatures.clear();
    assert!(matches!(bad.self_check(NOW, 0), Err(CheckError::Missing { rtype: Rtype::DNSKEY, .. })));
    let mut bad = example();
    bad.chain.corrupt();
    assert!(matches!(bad.self_check(NOW, 0), Err(CheckError::Chain { .. })));
}
