//! Kinds of faults that were found by attack and in use, named by their line in the table of kinds: the input that was found, and siblings.

use std::sync::Arc;

use keystore::crypto::{Algorithm, PrivateKey};
use keystore::dns::{Name, Rrsig, Rtype};
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::exchange::{Bundle, Ksr, KsrBundle, TrustAnchor, UnverifiedSkr, bind, knot};
use keystore::keys::{Dnskey, FLAG_REVOKE, FLAG_SEP, FLAG_ZONE, Timing};
use keystore::time::Timestamp;
use offline_ksk_skr_loader::loader::ImportOutcome;

use crate::bench::*;
use crate::content::request_written;

const NEVER: (Timestamp, Timestamp) = (Timestamp::EPOCH, Timestamp::EPOCH);
/// The ZSK that takes the place of the one that was lost.
pub const NEW_ZSK: u8 = 5;

// --- 1: replayed and spliced SKRs -----------------------------------------------------------------------------------

/// The SKR of an emergency: the same moments as generation 1, another ZSK.
pub fn emergency() -> SkrBuilder {
    skr(0).zsk(TestKey::zsk(NEW_ZSK).dnskey)
}

/// Generation 1 was replaced by that of an emergency.
pub fn after_an_emergency() -> Bench {
    let mut bench = Bench::new();
    write_key(&bench.path("keys"), &TestKey::zsk(NEW_ZSK), NEW_ZSK, Timing::default());
    assert_eq!(accepted(&bench.import("emergency.skr", emergency().text())), 2);
    bench
}

/// The same SKR, written otherwise.
fn rewritings(skr: &UnverifiedSkr) -> Vec<(&'static str, String)> {
    let good = text(skr);
    let changed = |change: &dyn Fn(&mut Bundle)| {
        let mut skr = skr.clone();
        skr.bundles.iter_mut().for_each(change);
        text(&skr)
    };
    vec![
        ("one blank line more", format!("\n{good}")),
        ("one comment more", format!("; nothing new\n{good}")),
        ("CR LF", good.replace('\n', "\r\n")),
        ("another word in the closing line", good.replace("a test", "another program")),
        ("the owner in capitals", good.replace("example.\t", "EXAMPLE.\t")),
        ("tabs as blanks", good.replace('\t', " ")),
        ("records in another order", changed(&|bundle| bundle.dnskey.rdatas.reverse())),
        ("signatures in another order", changed(&|bundle| bundle.signatures.reverse())),
    ]
}

#[test]
fn kind_01_an_older_skr_is_replayed_whatever_the_file_looks_like() {
    let mut bench = after_an_emergency();
    for (what, old) in rewritings(&skr(0).build()) {
        bench.reject(what, old, "SKR-REPLAY");
    }
    // Nor after a restart, nor while the file of its generation is gone and only its signatures are known.
    let mut bench = bench.restart();
    bench.reject("after a restart", format!("\n{}", skr(0).text()), "SKR-REPLAY");
}

#[test]
fn kind_01_bundles_of_an_older_skr_are_joined_to_newer_ones() {
    let mut bench = after_an_emergency();
    let (old, new) = (skr(0).build(), emergency().build());
    let later = emergency().bundles(7).build();
    let spliced = |from: &UnverifiedSkr, at: usize, tail: &UnverifiedSkr| {
        let bundles = from.bundles[..at].iter().chain(&tail.bundles[at..]).cloned().collect();
        text(&UnverifiedSkr { zone: zone(), bundles })
    };
    bench.reject("an older head, the tail in force", spliced(&old, 3, &new), "SKR-REPLAY");
    bench.reject("an older head, a newer tail", spliced(&old, 3, &later), "SKR-REPLAY");
    let mut middle = later.clone();
    middle.bundles[2] = old.bundles[2].clone();
    bench.reject("one older bundle among newer ones", text(&middle), "SKR-REPLAY");
    assert_eq!(accepted(&bench.import("later.skr", text(&later))), 3);
    // The CDS RRset of an older bundle, with its signature, in newer ones.
    let cds = |bundle: &Bundle| {
        let of_cds = |s: &&Rrsig| s.covered == Rtype::CDS;
        bundle.signatures.iter().find(of_cds).unwrap().clone()
    };
    let mut bench = Bench::empty();
    let (old, newer) = (skr(0).validity(15 * DAY), skr(0).bundles(6));
    assert_eq!(accepted(&bench.import("old.skr", old.text())), 1);
    assert_eq!(accepted(&bench.import("newer.skr", newer.text())), 2);
    let (old, mut spliced) = (old.build(), newer.bundles(7).build());
    let signature = cds(&old.bundles[2]);
    spliced.bundles[2].signatures.retain(|s| s.covered != Rtype::CDS);
    spliced.bundles[2].signatures.push(signature);
    bench.reject("older CDS in a newer bundle", text(&spliced), "SKR-REPLAY");
}

#[test]
fn kind_01_a_part_of_what_is_in_force_is_no_new_generation() {
    let mut bench = Bench::empty();
    let builder = skr(0).validity(30 * DAY);
    assert_eq!(accepted(&bench.import("good.skr", builder.text())), 1);
    let changed = |change: &dyn Fn(&mut UnverifiedSkr)| {
        let mut skr = builder.build();
        change(&mut skr);
        text(&skr)
    };
    let no_cds = |bundle: &mut Bundle| {
        bundle.cds = None;
        bundle.signatures.retain(|s| s.covered != Rtype::CDS);
    };
    for (what, text) in [
        ("a bundle is left out", changed(&|skr| drop(skr.bundles.remove(2)))),
        ("the CDS of a bundle is left out", changed(&|skr| no_cds(&mut skr.bundles[2]))),
        ("the CDS of every bundle is left out", changed(&|skr| skr.bundles.iter_mut().for_each(no_cds))),
    ] {
        bench.reject(what, text, "SKR-REPLAY");
    }
    assert_eq!(bench.current().unwrap().0, 1);
}

#[test]
fn kind_01_what_is_in_force_is_unchanged_whatever_the_file_looks_like() {
    let mut bench = after_an_emergency();
    for (what, same) in rewritings(&emergency().build()) {
        assert_eq!(bench.import("same.skr", same), ImportOutcome::Unchanged { generation: 2 }, "{what}");
    }
    // What is over does not matter.
    bench.now = start().plus(20 * DAY);
    let mut rest = emergency().build();
    drop(rest.bundles.drain(..2));
    assert_eq!(bench.import("rest.skr", text(&rest)), ImportOutcome::Unchanged { generation: 2 });
    // Nor does what a newer SKR was joined to until it begins.
    let later = emergency().bundles(9).build();
    let late = UnverifiedSkr { zone: zone(), bundles: later.bundles[4..].to_vec() };
    assert_eq!(accepted(&bench.import("late.skr", text(&late))), 3);
    for (what, same) in rewritings(&late) {
        assert_eq!(bench.import("same.skr", same), ImportOutcome::Unchanged { generation: 3 }, "{what}");
    }
}

#[test]
fn kind_01_an_skr_that_was_signed_a_second_time_says_the_same() {
    // ECDSA signs with a random number: other octets, the same content.
    let ksk = TestKey::generate(FLAG_ZONE | FLAG_SEP, Algorithm::ECDSAP256SHA256, 0);
    let anchor = TrustAnchor::Dnskey(ksk.dnskey.clone());
    let mut bench = Bench::with(|config| config.zones[0].anchors.push(anchor));
    let signed = |builder: SkrBuilder| builder.ksk(ksk.clone()).build();
    let (first, second) = (signed(skr(0)), signed(skr(0)));
    assert_ne!(first, second);
    assert_eq!(accepted(&bench.import("first.skr", text(&first))), 1);
    assert_eq!(bench.import("second.skr", text(&second)), ImportOutcome::Unchanged { generation: 1 });
    write_key(&bench.path("keys"), &TestKey::zsk(NEW_ZSK), NEW_ZSK, Timing::default());
    assert_eq!(accepted(&bench.import("emergency.skr", text(&signed(emergency())))), 2);
    bench.reject("a copy that was never dropped before", text(&second), "SKR-REPLAY");
    bench.reject("another one", text(&signed(skr(0))), "SKR-REPLAY");
}

#[test]
fn kind_01_generations_that_were_removed_are_known_still() {
    let mut bench = Bench::with(|config| {
        config.loader.accepted_max_generations = 2;
        config.loader.accepted_min_days = 0;
    });
    // Ages are those of the files: each step of this test is later than they are.
    bench.now = keystore::clock::now().plus(DAY);
    let base = bench.now;
    write_key(&bench.path("keys"), &TestKey::zsk(NEW_ZSK), NEW_ZSK, Timing::default());
    let builder = |n: u64| {
        let builder = SkrBuilder::new(ZONE, base).bundles(5 + n);
        if n == 0 { builder } else { builder.zsk(TestKey::zsk(NEW_ZSK).dnskey) }
    };
    for n in 0..6 {
        assert_eq!(accepted(&bench.import("a.skr", builder(n).text())), n + 1);
    }
    let files = bench.files("accepted/example.");
    assert_eq!(files, ["5.skr", "6.skr", "current", "replaced"], "the others are removed");
    bench.reject("its file is gone", format!("\n{}", builder(0).text()), "SKR-REPLAY");
    let mut bench = bench.restart();
    bench.reject("after a restart", format!(";\n{}", builder(0).text()), "SKR-REPLAY");
}

// --- 2: keys that nobody knows --------------------------------------------------------------------------------------

pub fn anchor(key: &TestKey) -> TrustAnchor {
    TrustAnchor::Dnskey(key.dnskey.clone())
}

/// An SKR with one more key in its bundles, from `published` on; only the pinned KSK signs.
fn with_stranger(key: TestKey, published: Timestamp) -> SkrBuilder {
    skr(9).ksk(TestKey::ksk(KSK)).ksk_during(key, (published, Timestamp::MAX), NEVER)
}

#[test]
fn kind_02_a_key_with_the_sep_bit_that_nobody_knows_is_rejected() {
    let stranger = || TestKey::ksk(9);
    let ecdsa = TestKey::generate(FLAG_ZONE | FLAG_SEP, Algorithm::ECDSAP256SHA256, 0);
    let cds = skr(9).ksk(TestKey::ksk(KSK)).ksk(stranger());
    let mut bench = Bench::new();
    for (what, text) in [
        ("in every bundle", with_stranger(stranger(), Timestamp::EPOCH).text()),
        ("in a bundle to come", with_stranger(stranger(), start().plus(40 * DAY)).text()),
        ("of another algorithm", with_stranger(ecdsa, Timestamp::EPOCH).text()),
        (
            "the key of a ZSK of ours, with the SEP bit",
            with_stranger(TestKey::ksk(ZSK), Timestamp::EPOCH).text(),
        ),
        ("it signs and is named by CDS", cds.text()),
        ("it is revoked", revoked_beside(&TestKey::ksk(9), |_, _| {})),
    ] {
        bench.reject(what, text, "SKR-UNKNOWN-KEY");
    }
    bench.next_good_one_goes_in();
}

#[test]
fn kind_02_a_key_with_the_sep_bit_is_taken_when_it_is_announced_or_pinned() {
    let key = TestKey::ksk(9);
    let ds = key.dnskey.ds_rdata(&zone(), 2).unwrap();
    for announced in [anchor(&key), TrustAnchor::Ds(ds)] {
        let mut bench = Bench::with(|config| config.zones[0].announced.push(announced));
        assert_eq!(accepted(&bench.import("a.skr", with_stranger(key.clone(), Timestamp::EPOCH).text())), 1);
        // It is announced, and not trusted.
        bench.reject("it signs alone", skr(9).ksk(key.clone()).text(), "SKR-UNKNOWN-KSK");
    }
    let mut bench = Bench::with(|config| config.zones[0].anchors.push(anchor(&key)));
    assert_eq!(accepted(&bench.import("a.skr", with_stranger(key.clone(), Timestamp::EPOCH).text())), 1);
}

// --- 3: revoked KSKs ------------------------------------------------------------------------------------------------

pub fn revoked(seed: u8) -> TestKey {
    let signer = PrivateKey::Raw(vec![seed; 32]).signer(Algorithm::ED25519).unwrap();
    TestKey::new(FLAG_ZONE | FLAG_SEP | FLAG_REVOKE, Arc::from(signer))
}

/// The next SKR, where `key`, revoked, stands beside the pinned KSK and both sign; then each bundle is changed.
fn revoked_beside(key: &TestKey, change: impl Fn(&mut Bundle, &dyn Fn(&mut Bundle, &[&TestKey]))) -> String {
    let (builder, ksk) = (skr(9), TestKey::ksk(KSK));
    let revoked = TestKey::new(
        key.dnskey.flags | FLAG_REVOKE,
        Arc::from(PrivateKey::Raw(vec![9; 32]).signer(Algorithm::ED25519).unwrap()),
    );
    changed(|next| {
        for bundle in &mut next.bundles {
            bundle.dnskey.rdatas.push(revoked.dnskey.to_rdata().into());
            builder.resign(bundle, &[&ksk, &revoked]);
            change(bundle, &|bundle, signers| builder.resign(bundle, signers));
        }
    })
}

fn without(bundle: &mut Bundle, key: &Dnskey) {
    bundle.dnskey.rdatas.retain(|rdata| **rdata != *key.to_rdata());
}

#[test]
fn kind_03_a_revoked_ksk_is_taken_beside_a_trusted_one_that_signs() {
    let old = TestKey::ksk(9);
    let pinned = || Bench::with(|config| config.zones[0].anchors.push(anchor(&TestKey::ksk(9))));
    let mut bench = pinned();
    assert_eq!(revoked(9).dnskey.tag(), old.dnskey.revoked_tag());
    assert_eq!(accepted(&bench.import("a.skr", revoked_beside(&old, |_, _| {}))), 1);
    // What is in force is read back, and the next one goes in.
    let mut bench = bench.restart();
    assert_eq!(bench.current().unwrap().0, 1);
    assert_eq!(accepted(&bench.import("b.skr", skr(18).text())), 2);
    // Announced is enough: it is not trusted any more.
    let mut bench = Bench::with(|config| config.zones[0].announced.push(anchor(&old)));
    assert_eq!(accepted(&bench.import("a.skr", revoked_beside(&old, |_, _| {}))), 1);
}

#[test]
fn kind_03_a_revoked_ksk_alone_vouches_for_nothing() {
    let old = TestKey::ksk(9);
    let ksk = TestKey::ksk(KSK);
    let both = || Bench::with(|config| config.zones[0].anchors.push(anchor(&TestKey::ksk(9))));
    let cds_of = |key: &Dnskey| key.ds_rdata(&zone(), 2).unwrap();
    let mut bench = both();
    assert_eq!(accepted(&bench.import("good.skr", skr(0).text())), 1);
    for (what, text, id) in [
        (
            "alone",
            revoked_beside(&old, |b, resign| {
                without(b, &ksk.dnskey);
                (b.cds, b.cdnskey) = (None, None);
                resign(b, &[&revoked(9)]);
            }),
            "SKR-UNKNOWN-KSK",
        ),
        (
            "the trusted one does not sign",
            revoked_beside(&old, |b, resign| {
                (b.cds, b.cdnskey) = (None, None);
                resign(b, &[&revoked(9)]);
            }),
            "SKR-UNKNOWN-KSK",
        ),
        ("it does not sign itself", revoked_beside(&old, |b, resign| resign(b, &[&ksk])), "SKR-KEY"),
        (
            "CDS names it",
            revoked_beside(&old, |b, resign| {
                b.cds.as_mut().unwrap().rdatas.push(cds_of(&revoked(9).dnskey).into());
                resign(b, &[&ksk, &revoked(9)]);
            }),
            "SKR-CDS",
        ),
        (
            "CDNSKEY names it",
            revoked_beside(&old, |b, resign| {
                b.cdnskey.as_mut().unwrap().rdatas.push(revoked(9).dnskey.to_rdata().into());
                resign(b, &[&ksk, &revoked(9)]);
            }),
            "SKR-CDS",
        ),
    ] {
        bench.reject(what, text, id);
    }
    // The pinned one itself is revoked, and no other is trusted.
    let mut bench = Bench::with(|config| config.zones[0].anchors = vec![anchor(&TestKey::ksk(9))]);
    bench.reject("the only pinned one", revoked_beside(&old, |_, _| {}), "SKR-UNKNOWN-KSK");
    let stranger = signed_anew(|b| {
        b.dnskey
            .rdatas
            .push(Dnskey { flags: FLAG_ZONE | FLAG_REVOKE, ..TestKey::zsk(8).dnskey }.to_rdata().into());
    });
    bench.reject("a revoked ZSK", stranger, "SKR-KEY");
}

// --- 9: clocks ------------------------------------------------------------------------------------------------------

#[test]
fn kind_09_a_request_from_the_future_rejects_nothing() {
    let zsk = TestKey::zsk(ZSK).dnskey;
    for (what, written, rejects) in [
        ("of today", start(), true),
        ("of the day after tomorrow", start().plus(2 * DAY), false),
        ("of next year", start().plus(400 * DAY), false),
    ] {
        let mut bench = Bench::new();
        request_written(&bench, 200, &zsk, written);
        if rejects {
            bench.reject(what, skr(9).text(), "SKR-NOT-ASKED");
        } else {
            assert_eq!(accepted(&bench.import("a.skr", skr(9).text())), 2, "{what}");
        }
    }
}

#[test]
fn kind_09_a_file_waits_while_the_clock_is_behind_and_is_judged_when_it_is_right() {
    let mut bench = Bench::new();
    let right = bench.now;
    // The loader was running for a month by a clock that had run ahead.
    bench.now = right.plus(30 * DAY);
    assert_eq!(bench.settle(), []);
    bench.now = right;
    let mut bench = bench.restart();
    bench.drop_file("a.skr", skr(9).text());
    assert_eq!(
        bench.settle().iter().map(|i| accepted(&i.outcome)).collect::<Vec<_>>(),
        [2],
        "nothing was written then"
    );
    // It has written a line by that clock.
    bench.now = right.plus(30 * DAY);
    bench.drop_file("bad.skr", "garbage\n;; SignedKeyResponse 1.0 generated\n");
    assert_eq!(bench.settle().len(), 1);
    bench.now = right.plus(600);
    let mut bench = bench.restart();
    bench.drop_file("b.skr", skr(18).text());
    assert_eq!(bench.settle(), [], "which of the two clocks is right is not known yet");
    assert_eq!(bench.files("inbox"), ["b.skr"], "it is not moved away");
    bench.now = bench.now.plus(3600);
    assert_eq!(bench.settle().iter().map(|i| accepted(&i.outcome)).collect::<Vec<_>>(), [3]);
    // The next start knows.
    let mut bench = bench.restart();
    bench.drop_file("c.skr", skr(27).text());
    assert_eq!(bench.settle().iter().map(|i| accepted(&i.outcome)).collect::<Vec<_>>(), [4]);
}

// --- 28: check of what is in force, and of what is another file ----------------------------------------------------------------------------------

#[test]
fn kind_28_check_of_what_is_in_force_runs_every_check() {
    let mut bench = Bench::new();
    let verdict = |bench: &Bench, text: &str| {
        std::fs::write(bench.path("in-force.skr"), text).unwrap();
        bench.check_report(&bench.path("in-force.skr")).remove(0)
    };
    let failed = |report: &serde_json::Value| -> Vec<String> {
        let rows = report["checks"].as_array().unwrap().iter();
        rows.filter(|row| row["verdict"] == "fail")
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let good = verdict(&bench, &skr(0).text());
    assert_eq!((good["unchanged"].as_u64(), good["accepted"].as_bool()), (Some(1), Some(true)));
    let ran = good["checks"].as_array().unwrap().iter().filter(|row| row["verdict"] == "ok").count();
    assert!(ran >= 24, "{ran}: {good}");
    // The same content in another file.
    let other = verdict(&bench, &format!("\n{}", skr(0).text()));
    assert_eq!((other["unchanged"].as_u64(), other["accepted"].as_bool()), (Some(1), Some(true)));
    // What it needs is gone, or it is over.
    std::fs::rename(bench.path("keys"), bench.path("keys-away")).unwrap();
    let report = verdict(&bench, &skr(0).text());
    assert_eq!((report["unchanged"].as_u64(), report["accepted"].as_bool()), (Some(1), Some(false)));
    // What the daemon would say, and whether it is good still, are two things.
    assert_eq!(
        (report["verdict"].as_str(), report["still_good"].as_bool()),
        (Some("unchanged"), Some(false))
    );
    assert_eq!((good["verdict"].as_str(), good["still_good"].as_bool()), (Some("unchanged"), Some(true)));
    assert_eq!(failed(&report), ["SKR-NO-PRIVATE-KEY"]);
    std::fs::rename(bench.path("keys-away"), bench.path("keys")).unwrap();
    bench.now = start().plus(60 * DAY);
    let report = verdict(&bench, &skr(0).text());
    assert_eq!((report["unchanged"].as_u64(), report["accepted"].as_bool()), (Some(1), Some(false)));
    assert!(failed(&report).contains(&"SKR-EXPIRED".to_owned()), "{report}");
}

#[test]
fn kind_28_check_of_another_file_says_what_it_is() {
    let bench = Bench::new();
    let other = SkrBuilder::new("other.test.", start()).build();
    let zsk = TestKey::zsk(ZSK).dnskey;
    let asked = KsrBundle { inception: start(), ttl: 3600, keys: vec![zsk], proofs: Vec::new() };
    let ksr = |zone: &str| Ksr { zone: Name::parse(zone).unwrap(), bundles: vec![asked.clone()] };
    let knot_form = knot::print_skr(&other, knot::Stamps::Unix, start(), "Knot DNS 3.4.6");
    for (what, text, words) in [
        ("an SKR of another zone", text(&other), &["SKR of other.test.", "5 bundles"][..]),
        ("the same in Knot's form", knot_form, &["SKR of other.test.", "5 bundles"]),
        (
            "a request",
            bind::print_ksr(&ksr("example."), start(), "a test"),
            &["request (KSR) of example.", "1 bundles"],
        ),
        (
            "a request of another zone",
            bind::print_ksr(&ksr("other.test."), start(), "a test"),
            &["request (KSR) of other.test."],
        ),
        ("garbage", "garbage\n".to_owned(), &[]),
    ] {
        let file = bench.path("a-file");
        std::fs::write(&file, text).unwrap();
        let report = bench.check_report(&file).remove(0);
        assert_eq!(report["verdict"], "rejected", "{what}");
        let notes = report["notes"].to_string();
        assert!(words.iter().all(|word| notes.contains(word)), "{what}: {report}");
        assert_eq!(words.is_empty(), report["notes"].is_null(), "{what}: {notes}");
    }
}
