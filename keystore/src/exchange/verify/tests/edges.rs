//! The very edges of limits and conditions: one more, one less, one of two.

use super::*;
use crate::check::CheckId;
use crate::exchange::bind::{MAX_BUNDLES, MAX_SIGNATURES};

fn limits(skr: &UnverifiedSkr) -> Vec<SkrFinding> {
    let mut report = FindingList::default();
    check_limits(skr, &mut report);
    report.into_findings()
}

#[test]
fn skr_limits_are_met_exactly() {
    let one =
        Bundle { signatures: Vec::new(), cds: None, cdnskey: None, ..builder().build().bundles[0].clone() };
    let mut skr = builder().build();
    skr.bundles = vec![one.clone(); MAX_BUNDLES];
    assert_eq!(limits(&skr), [], "as many bundles as allowed");
    skr.bundles.push(one.clone());
    assert_eq!(rejecting(&limits(&skr)), [CheckId::SkrLimits]);

    let keyed = |count: usize| {
        let mut skr = builder().build();
        let bundle = |chunk: &[usize]| {
            let zsk = |n: &usize| key(|z| z.public_key[..4].copy_from_slice(&(*n as u32).to_be_bytes()));
            let mut bundle = one.clone();
            bundle.dnskey.rdatas = chunk.iter().map(|n| zsk(n).to_rdata().into()).collect();
            bundle
        };
        skr.bundles = (0..count).collect::<Vec<_>>().chunks(16).map(bundle).collect();
        skr
    };
    assert_eq!(limits(&keyed(MAX_DISTINCT_KEYS)), [], "as many keys as allowed");
    assert_eq!(rejecting(&limits(&keyed(MAX_DISTINCT_KEYS + 1))), [CheckId::SkrLimits]);

    let mut skr = builder().build();
    let signature = skr.bundles[1].signatures[0].clone();
    skr.bundles[1].signatures = vec![signature.clone(); 3 * MAX_SIGNATURES];
    assert_eq!(limits(&skr), [], "as many signatures as allowed");
    skr.bundles[1].signatures.push(signature);
    assert_eq!(rejecting(&limits(&skr)), [CheckId::SkrLimits]);
}

#[test]
fn skr_ttl_warns_over_a_week_and_not_before() {
    for (ttl, warned) in [(0, false), (2 * 86_400, false), (7 * 86_400, false), (7 * 86_400 + 1, true)] {
        let builder = builder().ttl(ttl);
        let findings = judge(&builder, &builder.build());
        assert_eq!(findings.iter().any(|f| f.id == CheckId::SkrTtl), warned, "{ttl}: {findings:#?}");
    }
    let builder = builder().ttl(0x7fff_ffff);
    assert!(!rejecting(&judge(&builder, &builder.build())).contains(&CheckId::SkrTtl), "the largest TTL");
}

#[test]
fn skr_algorithm_warns_of_keys_whose_algorithm_signs_no_dnskey_rrset() {
    let told = |skr: &UnverifiedSkr| {
        judge(&builder(), skr).iter().filter(|f| f.id == CheckId::SkrAlgorithm && !f.rejects()).count()
    };
    assert_eq!(told(&builder().build()), 0);
    // A signature of that algorithm over CDS is none over DNSKEY.
    let mut skr = builder().build();
    add_key(&builder(), &mut skr.bundles[1], &rsa_key(&[1, 0, 1], 2048));
    let mut over_cds =
        skr.bundles[1].signatures.iter().find(|s| s.covered == Rtype::CDS).expect("one").clone();
    over_cds.algorithm = Algorithm::RSASHA256;
    skr.bundles[1].signatures.push(over_cds);
    assert_eq!(told(&skr), 1);
    // Without any signature another check speaks.
    skr.bundles[1].signatures.clear();
    assert_eq!(told(&skr), 0);
    // An algorithm that cannot sign is rejected, and not told again.
    let mut skr = builder().build();
    add_key(&builder(), &mut skr.bundles[1], &key(|k| k.algorithm = Algorithm(5)));
    assert_eq!(told(&skr), 0);
}

#[test]
fn skr_cds_delete_in_one_of_the_two() {
    let zone = Name::parse("example.").expect("a name");
    let anchors = builder().anchors();
    let mut context = VerifyContext::new(&zone, &anchors);
    context.allow_delete = true;
    type Change = fn(&mut Bundle);
    let changes: [(&str, Change, bool); 6] = [
        ("both", |_| {}, true),
        (
            "a real CDS beside the delete form",
            |b| {
                b.cds
                    .as_mut()
                    .expect("one")
                    .rdatas
                    .push(builder().bundle(start()).cds.expect("one").rdatas[0].clone())
            },
            false,
        ),
        (
            "a real CDNSKEY beside the delete form",
            |b| b.cdnskey.as_mut().expect("one").rdatas.push(TestKey::ksk(1).dnskey.to_rdata().into()),
            false,
        ),
        ("CDS alone", |b| b.cdnskey = None, true),
        ("CDNSKEY alone", |b| b.cds = None, true),
        (
            "CDS beside a real CDNSKEY",
            |b| b.cdnskey.as_mut().expect("one").rdatas = vec![TestKey::ksk(1).dnskey.to_rdata().into()],
            false,
        ),
    ];
    for (what, change, good) in changes {
        let mut skr = builder().build();
        delete_ds(&builder(), &mut skr.bundles[1]);
        change(&mut skr.bundles[1]);
        sign_again(&builder(), &mut skr.bundles[1]);
        let findings = findings(&skr, &context, start());
        assert_eq!(!rejecting(&findings).contains(&CheckId::SkrCds), good, "{what}: {findings:#?}");
    }
}

/// Both KSKs sign CDS and CDNSKEY, only the one that they do not name signs the DNSKEY RRset.
#[test]
fn skr_cds_wants_the_named_key_over_dnskey_itself() {
    let (one, two) = (TestKey::ksk(1), TestKey::ksk(3));
    let builder = builder().ksk(one.clone()).ksk(two.clone());
    let mut skr = builder.build();
    let bundle = &mut skr.bundles[1];
    let ds = two.dnskey.ds_rdata(&bundle.dnskey.owner, 2).expect("SHA-256 is known");
    bundle.cds.as_mut().expect("there is CDS").rdatas = vec![ds.into()];
    bundle.cdnskey.as_mut().expect("there is CDNSKEY").rdatas = vec![two.dnskey.to_rdata().into()];
    builder.resign(bundle, &[&one, &two]);
    assert_eq!(rejecting(&judge(&builder, &skr)), [], "both sign all");
    let bundle = &mut skr.bundles[1];
    bundle.signatures.retain(|s| s.covered != Rtype::DNSKEY || s.key_tag == one.dnskey.tag());
    assert_eq!(rejecting(&judge(&builder, &skr)), [CheckId::SkrCds]);
}

#[test]
fn a_signature_by_a_ksk_that_has_left_is_told_and_counts_for_nothing() {
    let (old, new) = (TestKey::ksk(1), TestKey::ksk(3));
    let leaves = start().plus(9 * DAY);
    let builder = builder()
        .ksk_during(old.clone(), (Timestamp::EPOCH, leaves), (Timestamp::EPOCH, leaves))
        .ksk(new.clone());
    let mut skr = builder.build();
    let (from, to) = (leaves.minus(3600), leaves.plus(14 * DAY));
    let extra = old.sign(&skr.bundles[1].dnskey, from, to);
    skr.bundles[1].signatures.push(extra);
    let found = judge(&builder, &skr);
    let bad: Vec<_> = found.iter().filter(|f| f.id == CheckId::SkrBadSignature).collect();
    assert!(bad.len() == 1 && !bad[0].rejects(), "{found:#?}");
    skr.bundles[1].signatures.last_mut().expect("one").signature[5] ^= 1;
    assert!(rejecting(&judge(&builder, &skr)).contains(&CheckId::SkrBadSignature));
}

#[test]
fn a_key_that_cannot_be_used_is_not_tried() {
    // Damaged, of an algorithm that signs; and sound, of one that does not.
    let damaged = key(|k| drop(k.public_key.split_off(31)));
    let unsupported = key(|k| k.algorithm = Algorithm(5));
    for bad in [damaged, unsupported] {
        let mut skr = builder().build();
        add_key(&builder(), &mut skr.bundles[1], &bad);
        let mut signature = skr.bundles[1].signatures[0].clone();
        (signature.key_tag, signature.algorithm) = (bad.tag(), bad.algorithm);
        skr.bundles[1].signatures.push(signature);
        let found = judge(&builder(), &skr);
        assert!(found.iter().any(|f| f.what.contains("unusable key, and was not tried")), "{found:#?}");
    }
}

#[test]
fn twenty_findings_of_a_kind_are_told_and_the_rest_is_counted() {
    for (count, told, more) in [(20, 20, None), (21, 21, Some(1)), (25, 21, Some(5))] {
        let mut report = FindingList::default();
        for _ in 0..count {
            report.reject(CheckId::SkrKey, None, "a".to_owned());
        }
        for _ in 0..19 {
            report.warn(CheckId::SkrKey, None, "b".to_owned());
            report.reject(CheckId::SkrTtl, None, "c".to_owned());
        }
        let findings = report.into_findings();
        let of_it: Vec<_> = findings.iter().filter(|f| f.id == CheckId::SkrKey && f.rejects()).collect();
        assert_eq!(of_it.len(), told, "{count}");
        assert_eq!(findings.len(), told + 38, "each kind has its own count");
        let says = more.map(|n| format!("and {n} more of this kind"));
        assert_eq!(findings.iter().find(|f| f.what.starts_with("and ")).map(|f| f.what.clone()), says);
    }
}

#[test]
fn so_many_bad_signatures_are_tried() {
    // Each costs two: the signature, and the bundle that no trusted KSK signs.
    for (bad, gives_up) in [(16, false), (17, true)] {
        let mut skr = builder().without_cds().bundles(60).build();
        for bundle in &mut skr.bundles[..bad] {
            bundle.signatures[0].signature = vec![1; 64];
        }
        let found = judge(&builder(), &skr);
        assert_eq!(found.iter().any(|f| f.what.contains("the rest was not tried")), gives_up, "{bad}");
    }
}

#[test]
fn warnings_stay_with_the_verified_skr() {
    let builder = builder().ttl(8 * 86_400);
    let (zone, anchors) = (Name::parse("example.").expect("a name"), builder.anchors());
    let skr = verify(builder.build(), &VerifyContext::new(&zone, &anchors), start()).expect("good");
    assert!(skr.warnings().iter().any(|f| f.id == CheckId::SkrTtl));
}

#[test]
fn verdicts_of_what_did_not_read_name_every_check() {
    let finding = SkrFinding::reject(CheckId::SkrType, None, "no");
    assert_eq!(verdicts_unread(CHECKS, &finding).len(), CHECKS.len());
    assert_eq!(span(3661), "1h 1min");
}

/// Where a bundle has only one of CDS and CDNSKEY, that one announces a KSK, and only the KSK that it names.
#[test]
fn skr_unknown_ksk_follows_an_announcement_by_cds_or_by_cdnskey_alone() {
    let day = |n: u64| start().plus(n * DAY);
    let (zone, anchors) = (Name::parse("example.").expect("a name"), builder().anchors());
    for left_out in [Rtype::CDNSKEY, Rtype::CDS] {
        for announced in [true, false] {
            let new_signs = if announced { day(18) } else { day(27) };
            let mut skr = builder()
                .ksk_during(TestKey::ksk(1), (start(), day(36)), (start(), day(27)))
                .ksk_during(TestKey::ksk(5), (day(9), Timestamp::MAX), (new_signs, Timestamp::MAX))
                .bundles(6)
                .build();
            for bundle in &mut skr.bundles {
                let rrset = if left_out == Rtype::CDS { &mut bundle.cds } else { &mut bundle.cdnskey };
                *rrset = None;
                bundle.signatures.retain(|s| s.covered != left_out);
            }
            let found = findings(&skr, &VerifyContext::new(&zone, &anchors), start());
            let expected: &[CheckId] = if announced { &[] } else { &[CheckId::SkrUnknownKsk] };
            assert_eq!(rejecting(&found), expected, "without {left_out}, announced: {announced}");
        }
    }
}

#[test]
fn skr_unknown_ksk_says_why() {
    type Change = fn(&mut UnverifiedSkr);
    let pinned = builder().anchors();
    let tag = |seed| TestKey::ksk(seed).dnskey.tag();
    let other = format!("(pinned: {}; in the set: {})", tag(1), tag(7));
    let cases: [(&[TrustAnchor], Change, &str); 4] = [
        (&[], |_| {}, "no KSK is pinned for the zone"),
        (
            &pinned,
            |s| s.bundles[0].dnskey.rdatas.retain(|r| r[1] & 1 == 0),
            "there is no KSK in the DNSKEY RRset",
        ),
        (&pinned, |s| s.bundles[0].signatures.clear(), "was the KSK active at that time?"),
        (&pinned, |s| *s = builder().ksk(TestKey::ksk(7)).build(), &other),
    ];
    let zone = Name::parse("example.").expect("a name");
    for (anchors, change, says) in cases {
        let mut skr = builder().build();
        change(&mut skr);
        let found = findings(&skr, &VerifyContext::new(&zone, anchors), start());
        let why = found.iter().find(|f| f.id == CheckId::SkrUnknownKsk && f.rejects());
        assert!(why.is_some_and(|why| why.what.contains(says)), "{says}: {found:#?}");
    }
}
