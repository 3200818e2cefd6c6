//! Real files of the root zone: read, printed back octet by octet, every signature verified, every check passed; and each
//! check refuses the file once it is damaged for it.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use offline_ksk_keystore::check::CheckId;
use std::path::Path;

use offline_ksk_keystore::crypto::Algorithm;
use offline_ksk_keystore::dns::{Name, rrsig};
use offline_ksk_keystore::exchange::xml::check::CHECKS;
use offline_ksk_keystore::exchange::xml::{
    Label, Rules, XmlBundle, XmlRequest, XmlResponse, check_chain, check_request, check_response,
    parse_request, parse_response, print_request, print_response,
};
use offline_ksk_keystore::exchange::{SkrFinding, TrustAnchor, VerifyContext, verify};
use offline_ksk_keystore::time::Timestamp;

const DAY: u64 = 86_400;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/icann").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn ksr(name: &str) -> XmlRequest {
    parse_request(fixture(name).as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn skr(name: &str) -> XmlResponse {
    parse_response(fixture(name).as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn request() -> XmlRequest {
    ksr("ksr-root-2017-q2-0.xml")
}

fn response() -> XmlResponse {
    skr("skr-root-2017-q2-0.xml")
}

fn previous() -> XmlResponse {
    skr("skr-root-2017-q1-0.xml")
}

/// The day of the ceremony for 2017-Q2.
fn now() -> Timestamp {
    Timestamp::parse_stamp("20170202200000").unwrap()
}

#[test]
fn printed_back_octet_by_octet() {
    assert_eq!(print_request(&request()), fixture("ksr-root-2017-q2-0.xml"));
    assert_eq!(print_response(&response()), fixture("skr-root-2017-q2-0.xml"));
    assert_eq!(print_response(&previous()), fixture("skr-root-2017-q1-0.xml"));
    // 2010 writes the times of signatures without zone, and indents one element more.
    let of_2010 = fixture("ksr-root-2010-q1-0.xml")
        .replace("</SignatureExpiration>", "+00:00</SignatureExpiration>")
        .replace("</SignatureInception>", "+00:00</SignatureInception>")
        .replace("          <SignatureAlgorithm", "        <SignatureAlgorithm")
        .replace("            <RSA", "          <RSA")
        .replace("          </SignatureAlgorithm", "        </SignatureAlgorithm");
    assert_eq!(print_request(&ksr("ksr-root-2010-q1-0.xml")), of_2010);
}

/// Each of 11, 11, 9 and 9 signatures, by the bare verifier.
#[test]
fn every_signature_verifies() {
    let count = |domain: &Name, bundles: &[XmlBundle]| {
        let mut count = 0;
        for bundle in bundles {
            for signature in &bundle.signatures {
                let by = bundle.keys.iter().find(|k| k.identifier == signature.identifier).unwrap();
                rrsig::verify_raw(&bundle.rrset(domain), &by.dnskey.public_key, &signature.rrsig).unwrap();
                count += 1;
            }
        }
        count
    };
    for (name, want) in [("ksr-root-2010-q1-0.xml", 11), ("ksr-root-2017-q2-0.xml", 11)] {
        let file = ksr(name);
        assert_eq!(count(&file.domain, &file.bundles), want, "{name}");
    }
    for name in ["skr-root-2017-q1-0.xml", "skr-root-2017-q2-0.xml"] {
        let file = skr(name);
        assert_eq!(count(&file.domain, &file.bundles), 9, "{name}");
    }
}

/// The ceremony for 2017-Q2, with the root zone's rules: request, chain, response.
#[test]
fn ceremony_of_2017_q2() {
    let (request, previous, response) = (request(), previous(), response());
    let rules = Rules::root();
    assert_eq!(check_request(&request, &rules, now()), []);
    assert_eq!(check_chain(&request, &previous, &rules), []);
    assert_eq!(check_response(&response, &request, Some(&previous), &rules), []);
}

/// In the common model the SKRs pass the loader's checks, with the KSK of that time pinned.
#[test]
fn responses_pass_as_any_skr() {
    let root = Name::root();
    for (skr, start) in [(previous(), "20170101000000"), (response(), "20170401000000")] {
        let ksk = skr.bundles[0].keys.iter().map(|k| &k.dnskey).find(|k| k.is_ksk()).unwrap().clone();
        assert_eq!(ksk.tag(), 19036);
        let anchors = [TrustAnchor::Dnskey(ksk)];
        let now = Timestamp::parse_stamp(start).unwrap();
        let good = verify(skr.to_skr(), &VerifyContext::new(&root, &anchors), now);
        let good = good.unwrap_or_else(|f| panic!("{start}: {f:#?}"));
        assert_eq!(good.bundles().len(), 9);
    }
    assert_eq!(
        request().to_ksr().bundles.iter().map(|b| b.keys.len()).collect::<Vec<_>>(),
        [2, 1, 1, 1, 1, 1, 1, 1, 2]
    );
}

/// The IDs that reject, each once, sorted.
fn ids(findings: &[SkrFinding]) -> Vec<CheckId> {
    let mut ids: Vec<_> = findings.iter().filter(|f| f.rejects()).map(|f| f.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// An exception, and the checks that refuse once it and those before it are made.
type Step = (fn(&mut Rules), &'static [CheckId]);

/// The check that must refuse, and what is damaged.
type Damage = (CheckId, fn(&mut XmlResponse));

/// The first request fails today's rules for what it was, and each exception switches off one of the reasons.
#[test]
fn exceptions_of_2010_one_by_one() {
    let request = ksr("ksr-root-2010-q1-0.xml");
    let then = Timestamp::parse_stamp("20091222000000").unwrap();
    let today = Timestamp::parse_stamp("20270101000000").unwrap();
    let mut rules = Rules::root();
    let check = |rules: &Rules, now| ids(&check_request(&request, rules, now));
    let steps: &[Step] = &[
        (
            |_| (),
            &[
                CheckId::KsrBundleKeys,
                CheckId::KsrPolicyAlg,
                CheckId::KsrPolicySigHorizon,
                CheckId::KsrPolicySigOverlap,
                CheckId::KsrPolicySigValidity,
            ],
        ),
        (
            |r| r.exponents_match_policy = false,
            &[
                CheckId::KsrPolicyAlg,
                CheckId::KsrPolicySigHorizon,
                CheckId::KsrPolicySigOverlap,
                CheckId::KsrPolicySigValidity,
            ],
        ),
        (
            |r| r.rsa_sizes = Some(vec![1024, 2048]),
            &[CheckId::KsrPolicySigHorizon, CheckId::KsrPolicySigOverlap, CheckId::KsrPolicySigValidity],
        ),
        (|r| r.slack = 1, &[CheckId::KsrPolicySigHorizon, CheckId::KsrPolicySigOverlap]),
        (|r| r.overlap = false, &[CheckId::KsrPolicySigHorizon]),
        (|r| r.not_expired = false, &[]),
    ];
    for (i, (switch, left)) in steps.iter().enumerate() {
        switch(&mut rules);
        assert_eq!(check(&rules, today), *left, "step {i}");
    }
    // At its own time it had not expired.
    rules.not_expired = true;
    assert_eq!(check(&rules, then), []);
    // Each exception is needed: without it alone the reason is back.
    let all = rules;
    for (restore, want) in [
        ((|r| r.exponents_match_policy = true) as fn(&mut Rules), CheckId::KsrBundleKeys),
        (|r| r.rsa_sizes = Some(vec![2048]), CheckId::KsrPolicyAlg),
        (|r| r.slack = 0, CheckId::KsrPolicySigValidity),
        (|r| r.overlap = true, CheckId::KsrPolicySigOverlap),
    ] {
        let mut rules = all.clone();
        restore(&mut rules);
        assert!(check(&rules, then).contains(&want), "{want}");
    }
}

/// What is damaged in the request of 2017-Q2, the only checks that must refuse it, and how to switch them off.
type Case = (&'static [CheckId], fn(&mut XmlRequest), Option<fn(&mut Rules)>);

const DAMAGED: &[Case] = &[
    (&[CheckId::KsrDomain, CheckId::KsrBundlePop], |r| r.domain = Name::parse("example.").unwrap(), None),
    (&[CheckId::KsrId], |r| r.id = previous().id, None),
    (&[CheckId::KsrBundleUnique], |r| r.bundles[4].id = r.bundles[2].id.clone(), None),
    (&[CheckId::KsrBundleUnique], |r| r.bundles[4].id = previous().bundles[0].id.clone(), None),
    (&[CheckId::KsrBundleKeys], |r| r.bundles[3].keys[0].tag ^= 1, None),
    (
        // Another key under an identifier that is known.
        &[CheckId::KsrBundleKeys, CheckId::KsrBundlePop],
        |r| r.bundles[3].keys[0].dnskey.public_key[77] ^= 1,
        None,
    ),
    (&[CheckId::KsrBundleKeys, CheckId::KsrBundlePop], |r| r.bundles[3].keys[0].dnskey.flags = 257, None),
    (
        &[CheckId::KsrBundleKeys],
        |r| r.zsk_policy.algorithms[0].size = 1024,
        Some(|r| r.keys_match_policy = false),
    ),
    (
        &[CheckId::KsrBundleKeys],
        |r| r.zsk_policy.algorithms[0].exponent = Some(3),
        Some(|r| r.exponents_match_policy = false),
    ),
    (
        &[CheckId::KsrBundlePop],
        |r| r.bundles[8].signatures[1].rrsig.signature[100] ^= 1,
        Some(|r| r.signatures = false),
    ),
    // Each key must have signed, not only one of them.
    (&[CheckId::KsrBundlePop], |r| drop(r.bundles[8].signatures.pop()), Some(|r| r.signatures = false)),
    (
        &[CheckId::KsrBundlePop],
        |r| r.bundles[8].signatures[1].identifier = Label::parse("nobody").unwrap(),
        Some(|r| r.signatures = false),
    ),
    // One key of the RRset left out of what was signed.
    (&[CheckId::KsrBundlePop, CheckId::KsrPolicyKeys], |r| drop(r.bundles[0].keys.pop()), None),
    (
        &[CheckId::KsrBundleCount, CheckId::KsrBundleCycleDuration, CheckId::KsrPolicyKeys],
        |r| drop(r.bundles.pop()),
        None,
    ),
    (
        &[CheckId::KsrBundleCount],
        |r| {
            let mut more = r.bundles[8].clone();
            more.id = offline_ksk_keystore::exchange::xml::Uuid::of(b"more");
            (more.inception, more.expiration) = (more.inception.plus(1), more.expiration.plus(1));
            r.bundles.push(more);
        },
        Some(|r| {
            (r.bundles, r.interval, r.overlap) = (None, None, false);
        }),
    ),
    (
        &[CheckId::KsrBundleCycleDuration, CheckId::KsrPolicyBundleIntervals, CheckId::KsrPolicySigOverlap],
        |r| shift(&mut r.bundles[8], 2 * DAY + 1),
        Some(|r| (r.cycle, r.interval, r.overlap) = (None, None, false)),
    ),
    (
        &[CheckId::KsrPolicyBundleIntervals],
        |r| shift(&mut r.bundles[4], DAY + 1),
        Some(|r| r.interval = None),
    ),
    (
        &[CheckId::KsrPolicyAlg],
        |r| {
            let more = offline_ksk_keystore::exchange::xml::SignatureAlgorithm {
                algorithm: Algorithm(5),
                size: 2048,
                exponent: Some(65537),
            };
            r.zsk_policy.algorithms.push(more);
        },
        None,
    ),
    (
        &[CheckId::KsrPolicyAlg],
        |r| {
            let more = offline_ksk_keystore::exchange::xml::SignatureAlgorithm {
                algorithm: Algorithm::ECDSAP256SHA256,
                size: 256,
                exponent: None,
            };
            r.zsk_policy.algorithms.push(more);
        },
        Some(|r| r.algorithms = None),
    ),
    (
        &[CheckId::KsrPolicySigOverlap],
        |r| r.zsk_policy.min_validity_overlap = 11 * DAY + 1,
        Some(|r| (r.overlap, r.chain_overlap) = (false, false)),
    ),
    (
        // A gap is refused whatever is switched off.
        &[CheckId::KsrPolicySigOverlap, CheckId::KsrPolicySigValidity],
        |r| r.bundles[2].expiration = r.bundles[3].inception.minus(1),
        None,
    ),
    (
        &[CheckId::KsrPolicySigValidity],
        |r| r.zsk_policy.max_signature_validity = 21 * DAY - 1,
        Some(|r| r.validity = false),
    ),
    (
        &[CheckId::KsrPolicySigValidity],
        |r| r.zsk_policy.min_signature_validity = 21 * DAY + 1,
        Some(|r| r.validity = false),
    ),
    (
        &[CheckId::KsrChainKeys, CheckId::KsrBundleKeys],
        |r| r.bundles[0].keys[0].ttl = 3600,
        Some(|r| r.chain_keys = false),
    ),
    (
        &[CheckId::KsrChainOverlap],
        |r| r.bundles[0].inception = Timestamp::parse_stamp("20170411000001").unwrap(),
        Some(|r| {
            (r.chain_overlap, r.validity, r.interval, r.cycle, r.overlap) = (false, false, None, None, false);
        }),
    ),
];

fn shift(bundle: &mut XmlBundle, seconds: u64) {
    bundle.inception = bundle.inception.plus(seconds);
    bundle.expiration = bundle.expiration.plus(seconds);
}

#[test]
fn each_check_refuses_what_is_damaged_for_it() {
    let all = |request: &XmlRequest, rules: &Rules| {
        let mut found = check_request(request, rules, now());
        found.extend(check_chain(request, &previous(), rules));
        for finding in &found {
            assert!(CHECKS.iter().any(|c| c.id == finding.id), "{} is in no table", finding.id);
        }
        ids(&found)
    };
    for (i, (want, damage, off)) in DAMAGED.iter().enumerate() {
        let mut request = request();
        damage(&mut request);
        let found = all(&request, &Rules::root());
        assert!(want.iter().all(|id| found.contains(id)), "case {i}: {want:?} in {found:?}");
        if let Some(off) = off {
            let mut rules = Rules::root();
            off(&mut rules);
            assert!(!all(&request, &rules).contains(&want[0]), "case {i}: {want:?} is switched off");
        }
    }
    // Between them the cases refuse by every check of requests.
    for check in CHECKS.iter().filter(|c| {
        !matches!(c.id, CheckId::SkrVerify | CheckId::KsrPolicySafety | CheckId::KsrPolicySigHorizon)
    }) {
        assert!(DAMAGED.iter().any(|(want, ..)| want.contains(&check.id)), "{} has no case", check.id);
    }
}

#[test]
fn horizon() {
    let last = request().bundles[8].expiration;
    let check = |now: Timestamp, rules: &Rules| ids(&check_request(&request(), rules, now));
    let root = Rules::root();
    assert_eq!(check(last.minus(180 * DAY), &root), []);
    assert_eq!(check(last.minus(180 * DAY + 1), &root), [CheckId::KsrPolicySigHorizon]);
    assert_eq!(check(last.minus(180 * DAY + 1), &Rules { horizon: None, ..root.clone() }), []);
    let first = request().bundles[0].expiration;
    assert_eq!(check(first.minus(1), &root), []);
    assert_eq!(check(first, &root), [CheckId::KsrPolicySigHorizon]);
}

#[test]
fn responses_that_do_not_answer() {
    let damages: &[Damage] = &[
        (CheckId::SkrVerify, |r| r.serial += 1),
        (CheckId::SkrVerify, |r| r.id = previous().id),
        (CheckId::SkrVerify, |r| r.bundles.swap(2, 3)),
        (CheckId::SkrVerify, |r| r.zsk_policy.publish_safety += 1),
        (CheckId::SkrVerify, |r| r.bundles[3].expiration = r.bundles[3].expiration.plus(1)),
        (CheckId::SkrVerify, |r| r.bundles[3].signatures[0].rrsig.signature[1] ^= 1),
        (CheckId::SkrVerify, |r| r.bundles[3].signatures[0].rrsig.expiration += 1),
        (CheckId::SkrVerify, |r| drop(r.bundles[0].keys.remove(0))),
        (CheckId::SkrVerify, |r| r.bundles[3].signatures.clear()),
        (CheckId::SkrVerify, |r| {
            r.bundles[3].signatures[0].identifier = r.bundles[3].keys[0].identifier.clone()
        }),
        // The KSK is gone from the last bundle.
        (CheckId::KsrPolicySafety, |r| r.bundles[8].keys.retain(|k| !k.dnskey.is_ksk())),
        // The new KSK signs at once, and nobody saw it before.
        (CheckId::KsrPolicySafety, |r| {
            r.bundles[0].signatures[0].identifier = Label::parse("Kfresh").unwrap();
            r.bundles[0].keys[2].identifier = Label::parse("Kfresh").unwrap();
        }),
        (CheckId::KsrPolicySafety, |r| r.ksk_policy.publish_safety = 11 * DAY + 1),
    ];
    for (i, (id, damage)) in damages.iter().enumerate() {
        let mut response = response();
        damage(&mut response);
        let found = ids(&check_response(&response, &request(), Some(&previous()), &Rules::root()));
        assert!(found.contains(id), "case {i}: {id} in {found:?}");
        let off = Rules { publish_safety: false, retire_safety: false, ..Rules::root() };
        let found = ids(&check_response(&response, &request(), Some(&previous()), &off));
        assert!(!found.contains(&CheckId::KsrPolicySafety), "case {i}");
    }
}
