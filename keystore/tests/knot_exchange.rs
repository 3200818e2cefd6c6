//! What Knot's `keymgr` made is read, judged rightly, and printed back octet by octet.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use offline_ksk_keystore::check::CheckId;
use std::path::Path;

use offline_ksk_keystore::dns::Name;
use offline_ksk_keystore::exchange::knot::{Stamps, parse_ksr, parse_skr, print_ksr, print_skr};
use offline_ksk_keystore::exchange::verify::{SkrSeverity, findings};
use offline_ksk_keystore::exchange::{TrustAnchor, UnverifiedSkr, VerifyContext, bind, verify};
use offline_ksk_keystore::time::Timestamp;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/knot").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn zone() -> Name {
    Name::parse("example.com").unwrap()
}

fn skr(name: &str) -> UnverifiedSkr {
    parse_skr(fixture(name).as_bytes(), &zone()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The KSKs that sign in the first bundle, pinned.
fn anchors(skr: &UnverifiedSkr) -> Vec<TrustAnchor> {
    let signers = |tag| skr.bundles[0].signatures.iter().any(|s| s.key_tag == tag);
    skr.bundles[0].keys().filter(|k| k.is_ksk() && signers(k.tag())).map(TrustAnchor::Dnskey).collect()
}

/// When the samples were made.
fn now() -> Timestamp {
    Timestamp::parse_stamp("20261124034900").unwrap()
}

const WHOLE: &[&str] =
    &["01-zsk-rollover", "02-ksk-rollover-cds", "03-algorithm-rollover", "04-delete-dnssec"];

/// The time and program of the closing line.
fn closing(text: &str) -> (Timestamp, &str) {
    let (_, said) = text.rsplit_once("generated at ").unwrap();
    let (time, program) = said.trim_end().split_once(" by ").unwrap();
    (Timestamp::parse_stamp(&time.replace(['-', 'T', ':', 'Z'], "")).unwrap(), program)
}

#[test]
fn prints_back_what_it_read() {
    for name in WHOLE {
        let text = fixture(&format!("{name}.skr"));
        let (made, program) = closing(&text);
        assert_eq!(print_skr(&skr(&format!("{name}.skr")), Stamps::Unix, made, program), text, "{name}");
        let text = fixture(&format!("{name}.ksr"));
        let (made, program) = closing(&text);
        let ksr = parse_ksr(text.as_bytes(), &zone()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(print_ksr(&ksr, Stamps::Unix, made, program), text, "{name}");
    }
}

#[test]
fn accepts_what_knot_made() {
    for name in WHOLE {
        let skr = skr(&format!("{name}.skr"));
        let anchors = anchors(&skr);
        let zone = zone();
        let mut context = VerifyContext::new(&zone, &anchors);
        if *name == "04-delete-dnssec" {
            let refused = verify(skr.clone(), &context, now()).unwrap_err();
            assert!(refused.iter().filter(|f| f.rejects()).all(|f| f.id == CheckId::SkrCds), "{refused:#?}");
            context.allow_delete = true;
        }
        let count = skr.bundles.len();
        let good = verify(skr, &context, now()).unwrap_or_else(|f| panic!("{name}: {f:#?}"));
        assert_eq!(good.bundles().len(), count, "{name}");
    }
}

/// CDS and CDNSKEY of TTL 0 stand beside a DNSKEY RRset of TTL 3600, each with its own original TTL.
#[test]
fn cds_keep_their_ttl() {
    let skr = skr("02-ksk-rollover-cds.skr");
    for bundle in &skr.bundles {
        assert_eq!(bundle.dnskey.ttl, 3600);
        assert_eq!(bundle.cds.as_ref().unwrap().ttl, 0);
        assert_eq!(bundle.cdnskey.as_ref().unwrap().ttl, 0);
        assert!(bundle.signatures.iter().any(|s| s.original_ttl == 0));
    }
    let anchors = anchors(&skr);
    // One second of TTL more, and the signature is over something else.
    let mut altered = skr;
    altered.bundles[3].cds.as_mut().unwrap().ttl = 1;
    let refused = verify(altered, &VerifyContext::new(&zone(), &anchors), now()).unwrap_err();
    assert!(refused.iter().any(|f| f.id == CheckId::SkrBadSignature && f.rejects()), "{refused:#?}");
}

#[test]
fn knot_to_bind_and_back() {
    for name in WHOLE {
        let skr = skr(&format!("{name}.skr"));
        let text = bind::print_skr(&skr, now(), "a test");
        let back = bind::parse_skr(text.as_bytes(), &zone()).unwrap();
        let print = |skr: &UnverifiedSkr| print_skr(skr, Stamps::Unix, now(), "a test");
        assert_eq!(print(&back), print(&skr), "{name}");
    }
}

/// The IDs that reject, each once.
fn verdict(name: &str, skr: &UnverifiedSkr, anchors: &[TrustAnchor]) -> Vec<CheckId> {
    let zone = zone();
    let found = findings(skr, &VerifyContext::new(&zone, anchors), now());
    let mut ids: Vec<_> = found.iter().filter(|f| f.severity == SkrSeverity::Reject).map(|f| f.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert!(
        !ids.is_empty() || !found.iter().any(offline_ksk_keystore::exchange::SkrFinding::rejects),
        "{name}"
    );
    ids
}

#[test]
fn faulty_files_are_rejected_for_what_they_are() {
    let pinned = anchors(&skr("01-zsk-rollover.skr"));
    for (name, want) in [
        ("05-bad-signature-bundle6.skr", &[CheckId::SkrBadSignature, CheckId::SkrUnknownKsk][..]),
        ("06-coverage-gap.skr", &[CheckId::SkrGap]),
        ("07-foreign-ksk.skr", &[CheckId::SkrUnknownKsk]),
    ] {
        assert_eq!(verdict(name, &skr(name), &pinned), want, "{name}");
    }
    // Each of its bundles is good, by a KSK of its own; only the request tells that four weeks are missing.
    let truncated = skr("11-truncated-coverage.skr");
    assert_eq!(verdict("11-truncated-coverage.skr", &truncated, &anchors(&truncated)), Vec::<CheckId>::new());
    let cut = parse_skr(fixture("08-no-trailer.skr").as_bytes(), &zone()).unwrap_err();
    assert_eq!(cut.id, CheckId::SkrTruncated, "{cut}");
    // 6: what is wrong is told with the bundle it concerns.
    let zone = zone();
    let found = findings(&skr("05-bad-signature-bundle6.skr"), &VerifyContext::new(&zone, &pinned), now());
    let sixth = skr("01-zsk-rollover.skr").bundles[5].inception;
    assert!(found.iter().filter(|f| f.rejects()).all(|f| f.bundle == Some(sixth)), "{found:#?}");
}

#[test]
fn bind_files_of_the_same_ceremony() {
    let read = |name: &str| bind::parse_skr(fixture(name).as_bytes(), &zone()).unwrap();
    let unsigned = read("09-knot-request-signed-by-bind-9.20.skr");
    assert!(unsigned.bundles[0].signatures.is_empty());
    let pinned: Vec<_> = unsigned.bundles[1].keys().filter(|k| k.is_ksk()).map(TrustAnchor::Dnskey).collect();
    assert!(verdict("09", &unsigned, &pinned).contains(&CheckId::SkrUnknownKsk));
    let good = read("10-bind-9.20-response.skr");
    let pinned: Vec<_> = good.bundles[0].keys().filter(|k| k.is_ksk()).map(TrustAnchor::Dnskey).collect();
    assert_eq!(verdict("10", &good, &pinned), []);
    // In Knot's layout and back nothing is lost.
    let text = print_skr(&good, Stamps::Unix, now(), "a test");
    let back = parse_skr(text.as_bytes(), &zone()).unwrap();
    assert_eq!(verdict("10 in Knot's layout", &back, &pinned), []);
    assert_eq!(back.bundles.len(), good.bundles.len());
    parse_ksr(fixture("10-bind-9.20-request.ksr").as_bytes(), &zone()).unwrap();
}

/// At the end of an algorithm rollover Knot signs with a KSK that is not published any more: a word, and no more. An
/// altered signature of it, or one by a key that the file never shows, rejects.
#[test]
fn signatures_of_a_departed_ksk() {
    let skr = skr("03-algorithm-rollover.skr");
    let pinned = anchors(&skr);
    let zone = zone();
    let found = findings(&skr, &VerifyContext::new(&zone, &pinned), now());
    let told = found.iter().filter(|f| f.id == CheckId::SkrBadSignature).count();
    assert_eq!((told, found.iter().any(|f| f.rejects())), (2, false), "{found:#?}");
    let absent = |b: &offline_ksk_keystore::exchange::Bundle, tag| b.keys().all(|k| k.tag() != tag);
    let (i, j) = skr
        .bundles
        .iter()
        .enumerate()
        .find_map(|(i, b)| b.signatures.iter().position(|s| absent(b, s.key_tag)).map(|j| (i, j)))
        .unwrap();
    for alter in [
        |s: &mut offline_ksk_keystore::dns::Rrsig| s.signature[9] ^= 1,
        |s: &mut offline_ksk_keystore::dns::Rrsig| s.expiration += 1,
        |s: &mut offline_ksk_keystore::dns::Rrsig| s.key_tag ^= 1,
    ] {
        let mut altered = skr.clone();
        alter(&mut altered.bundles[i].signatures[j]);
        assert_eq!(verdict("altered", &altered, &pinned), [CheckId::SkrBadSignature]);
    }
}
