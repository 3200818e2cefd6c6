//! What BIND's `dnssec-ksr` made is read, accepted, and printed back octet by octet.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use offline_ksk_keystore::check::CheckId;
use std::path::{Path, PathBuf};

use offline_ksk_keystore::dns::Name;
use offline_ksk_keystore::exchange::bind::{parse_ksr, parse_skr, print_ksr, print_skr_grouped};
use offline_ksk_keystore::exchange::verify::{CheckOutcome, verdicts};
use offline_ksk_keystore::exchange::{
    Bundle, SkrFinding, TrustAnchor, UnverifiedSkr, VerifyContext, parse_trust_anchors, verify,
};
use offline_ksk_keystore::time::Timestamp;

const ALL: &[(&str, &str)] = &[
    ("rsa-zsk-roll", "example.test"),
    ("p256-ksk-roll", "example.test"),
    ("ed25519-zsk-roll", "example.test"),
    ("p384", "a-zone-with-a-rather-long-name.example.test"),
    ("ed448", "."),
    ("two-algorithms", "sub.example.test"),
    ("short-request-bundle", "example.test"),
    ("fast", "example.test"),
    ("sample", "example.com"),
];

fn fixture(name: &str, ending: &str) -> String {
    let path: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bind").join(format!("{name}.{ending}"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn load(name: &str, zone: &str) -> (Name, UnverifiedSkr, Vec<TrustAnchor>) {
    let zone = Name::parse(zone).unwrap();
    let skr = parse_skr(fixture(name, "skr").as_bytes(), &zone).unwrap_or_else(|e| panic!("{name}: {e}"));
    let anchors = parse_trust_anchors(&fixture(name, "ksk"), &zone).unwrap_or_else(|e| panic!("{name}: {e}"));
    (zone, skr, anchors)
}

fn now() -> Timestamp {
    Timestamp::parse_stamp("20270101000000").unwrap()
}

fn check(
    skr: UnverifiedSkr,
    zone: &Name,
    anchors: &[TrustAnchor],
) -> Result<Vec<SkrFinding>, Vec<SkrFinding>> {
    verify(skr, &VerifyContext::new(zone, anchors), now()).map(|good| good.warnings().to_vec())
}

#[test]
fn accepts_all_that_bind_made() {
    for (name, zone) in ALL {
        let (zone, skr, anchors) = load(name, zone);
        let count = skr.bundles.len();
        assert!(count > 4, "{name}: {count}");
        let warnings = check(skr, &zone, &anchors).unwrap_or_else(|f| panic!("{name}: {f:#?}"));
        let told: Vec<_> = verdicts(offline_ksk_keystore::exchange::verify::CHECKS, &warnings)
            .into_iter()
            .filter(|v| v.outcome != CheckOutcome::Passed)
            .map(|v| v.check.id)
            .collect();
        let want: &[CheckId] = match *name {
            "fast" => &[CheckId::SkrGap], // 2 s of overlap, and a TTL of 439
            "short-request-bundle" => &[CheckId::SkrDuplicate], // the bundle left out
            _ => &[],
        };
        assert_eq!(told, want, "{name}: {warnings:#?}");
    }
}

#[test]
fn follows_a_ksk_rollover_from_the_pinned_key_only_through_cds() {
    let (zone, skr, anchors) = load("p256-ksk-roll", "example.test");
    let first = skr.bundles[0].keys().find(offline_ksk_keystore::keys::Dnskey::is_ksk).unwrap();
    let pinned: Vec<_> = anchors.iter().filter(|a| a.matches(&zone, &first)).cloned().collect();
    assert!(pinned.len() == 1 && anchors.len() > 1);
    check(skr.clone(), &zone, &pinned).unwrap_or_else(|f| panic!("{f:#?}"));

    // Without the CDS and CDNSKEY that announce the second KSK, nothing vouches for it.
    let mut silent = skr;
    for bundle in &mut silent.bundles {
        (bundle.cds, bundle.cdnskey) = (None, None);
        bundle.signatures.retain(|s| s.covered == offline_ksk_keystore::dns::Rtype::DNSKEY);
    }
    check(silent.clone(), &zone, &anchors).unwrap_or_else(|f| panic!("{f:#?}"));
    let findings = check(silent, &zone, &pinned).unwrap_err();
    assert!(findings.iter().all(|f| f.id == CheckId::SkrUnknownKsk), "{findings:#?}");
}

#[test]
fn prints_responses_as_bind_does() {
    for (name, zone) in ALL {
        let text = fixture(name, "skr");
        let (_, skr, _) = load(name, zone);
        let groups = groups(&text, &skr.bundles);
        let (made, program) = footer(&text);
        assert_eq!(print_skr_grouped(&groups, made, program), text, "{name}");
    }
}

#[test]
fn prints_requests_as_bind_does() {
    for (name, zone) in ALL {
        let text = fixture(name, "ksr");
        let ksr =
            parse_ksr(text.as_bytes(), &Name::parse(zone).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (made, program) = footer(&text);
        assert_eq!(print_ksr(&ksr, made, program), text, "{name}");
    }
}

/// The bundles as the blank lines of the text group them.
fn groups<'a>(text: &str, bundles: &'a [Bundle]) -> Vec<&'a [Bundle]> {
    let mut rest = bundles;
    text.split("\n\n")
        .map(|part| {
            let count = part.matches(";; SignedKeyResponse 1.0 2").count();
            let (group, behind) = rest.split_at(count);
            rest = behind;
            group
        })
        .collect()
}

/// Time and program of the closing line.
fn footer(text: &str) -> (Timestamp, &str) {
    let (_, line) = text.rsplit_once(" generated at ").unwrap();
    let (time, program) = line.trim_end().split_once(" by ").unwrap();
    let [_, month, day, clock, year] = time.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(month, "Nov", "the only month in these files");
    (Timestamp::parse_stamp(&format!("{year}11{day:0>2}{}", clock.replace(':', ""))).unwrap(), program)
}

/// A bundle that goes missing is noticed by the signatures or the margin that it leaves behind. Where key changes follow
/// each other within one refresh step, the rest of the file is a good SKR without it; only the request can tell then.
#[test]
fn any_bundle_taken_from_the_middle_is_missed() {
    const ONLY_THE_REQUEST_TELLS: &[(&str, &[usize])] =
        &[("p256-ksk-roll", &[9, 10, 11]), ("short-request-bundle", &[1, 5, 6, 9, 10])];
    for (name, zone) in ALL {
        let (zone, skr, anchors) = load(name, zone);
        let excepted = ONLY_THE_REQUEST_TELLS.iter().find(|(n, _)| n == name).map_or(&[][..], |(_, i)| i);
        for i in 1..skr.bundles.len() - 1 {
            let mut less = skr.clone();
            less.bundles.remove(i);
            match check(less, &zone, &anchors) {
                Ok(_) => assert!(excepted.contains(&i), "{name} without bundle {i}"),
                Err(findings) => {
                    assert!(
                        // Without the first of two bundles of one second the other one's neighbour becomes its twin.
                        findings
                            .iter()
                            .any(|f| [CheckId::SkrGap, CheckId::SkrDuplicate].contains(&f.id) && f.rejects()),
                        "{name} without bundle {i}: {findings:#?}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_unrelated_ksk_is_refused() {
    let (zone, skr, _) = load("rsa-zsk-roll", "example.test");
    let (_, _, others) = load("p256-ksk-roll", "example.test");
    let findings = check(skr, &zone, &others).unwrap_err();
    assert!(findings.iter().any(|f| f.id == CheckId::SkrUnknownKsk), "{findings:#?}");
}
