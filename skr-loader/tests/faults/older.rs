//! What older generations have signed, where files of the store are lost, and where signatures are added or left out: kind 1.

use std::fs;
use std::path::Path;

use keystore::check::CheckId;
use keystore::dns::Rtype;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::exchange::{Bundle, UnverifiedSkr};
use keystore::keys::Timing;
use keystore::store::{digest, format_current, skr_path, zone_dir};
use keystore::time::Timestamp;
use offline_ksk_skr_loader::checks;
use offline_ksk_skr_loader::loader::ImportOutcome;

use crate::bench::*;
use crate::kinds::{NEW_ZSK, after_an_emergency, anchor, emergency};

type Harm = fn(&Path, u64);

/// What becomes of the files of the generation in force.
const HARMS: &[(&str, Harm)] = &[
    ("the generation gone", |dir, n| fs::remove_file(skr_path(dir, n)).unwrap()),
    ("the generation altered", |dir, n| fs::write(skr_path(dir, n), "altered").unwrap()),
    ("the generation cut off", |dir, n| {
        let text = fs::read_to_string(skr_path(dir, n)).unwrap();
        fs::write(skr_path(dir, n), &text[..text.len() / 2]).unwrap();
    }),
    ("current garbage", |dir, _| fs::write(dir.join("current"), "garbage").unwrap()),
    ("current gone", |dir, _| fs::remove_file(dir.join("current")).unwrap()),
];

#[test]
fn kind_01_the_predecessor_is_an_older_one_when_what_is_in_force_does_not_read() {
    let no_skr: (&str, Harm) = ("current names what is no SKR", |dir, n| {
        fs::write(skr_path(dir, n), "no SKR").unwrap();
        fs::write(dir.join("current"), format_current(n, &digest(b"no SKR"))).unwrap();
    });
    for (what, harm) in HARMS.iter().copied().chain([no_skr]) {
        for restarted in [true, false] {
            let what = format!("{what}, restarted: {restarted}");
            let mut bench = after_an_emergency();
            harm(&zone_dir(&bench.path("accepted"), &zone()), 2);
            if restarted {
                bench = bench.restart();
            }
            for old in [skr(0).text(), format!("\n{}", skr(0).text())] {
                let outcome = bench.import("old.skr", old);
                let ids = checks::rejecting(rejected(&outcome));
                assert_eq!(ids, [CheckId::SkrReplay], "{what}: {outcome:?}");
            }
            assert_eq!(accepted(&bench.import("emergency.skr", emergency().text())), 3, "{what}");
            bench.reject(&what, format!(";\n{}", skr(0).text()), "SKR-REPLAY");
        }
    }
}

#[test]
fn kind_01_the_skr_in_force_repairs_the_store_also_where_an_older_one_has_signed_the_same() {
    let older = |days: u64, bundles: u64| skr(days).bundles(bundles).text();
    // What was accepted one after the other; the last one is in force, and repairs the store.
    let superset = vec![older(0, 5), older(0, 7)];
    let joined = vec![older(0, 5), older(27, 5), older(27, 7)];
    for (what, generations) in [("a superset", superset), ("joined", joined)] {
        for (harm_name, harm) in HARMS {
            for restarted in [true, false] {
                let what = format!("{what}, {harm_name}, restarted: {restarted}");
                let mut bench = Bench::empty();
                for text in &generations {
                    accepted(&bench.import("a.skr", text));
                }
                let (last, again) = (generations.len() as u64, generations.last().unwrap());
                harm(&zone_dir(&bench.path("accepted"), &zone()), last);
                if restarted {
                    bench = bench.restart();
                }
                assert_eq!(accepted(&bench.import_unchecked("again.skr", again)), last + 1, "{what}");
                let unchanged = ImportOutcome::Unchanged { generation: last + 1 };
                assert_eq!(bench.import("again.skr", again), unchanged, "{what}");
                bench.reject(&what, &generations[0], "SKR-REPLAY");
            }
        }
    }
}

#[test]
fn kind_01_a_signature_that_no_trusted_ksk_made_makes_nothing_new() {
    let (zsk, left) = (TestKey::zsk(ZSK), TestKey::ksk(9));
    let late = (start().plus(30 * DAY), Timestamp::MAX);
    let mut bench = Bench::with(|config| config.zones[0].anchors.push(anchor(&TestKey::ksk(9))));
    let builder = skr(0).validity(30 * DAY).ksk(TestKey::ksk(KSK)).ksk_during(left.clone(), late, late);
    assert_eq!(accepted(&bench.import("good.skr", builder.text())), 1);
    let signed_too = |bundle: &mut Bundle, key: &TestKey| {
        let signature =
            key.sign(&bundle.dnskey, bundle.inception.minus(3600), bundle.inception.plus(20 * DAY));
        bundle.signatures.push(signature);
    };
    let without_a_bundle: fn(&mut UnverifiedSkr) = |skr| drop(skr.bundles.remove(1));
    let without_cds: fn(&mut UnverifiedSkr) = |skr| {
        skr.bundles[2].cds = None;
        skr.bundles[2].signatures.retain(|s| s.covered != Rtype::CDS);
    };
    for (what, key) in [("by a ZSK", &zsk), ("by a KSK that is not in the set", &left)] {
        for change in [without_a_bundle, without_cds, |_| {}] {
            let mut skr = builder.build();
            change(&mut skr);
            signed_too(&mut skr.bundles[0], key);
            bench.reject(what, text(&skr), "SKR-REPLAY");
        }
    }
    assert_eq!(accepted(&bench.import("new.skr", builder.bundles(6).text())), 2, "a KSK has signed more");
}

#[test]
fn kind_01_each_signature_of_an_older_skr_is_known_until_its_own_end() {
    let (a, b) = (TestKey::ksk(9), TestKey::ksk(KSK));
    for pruned in [false, true] {
        let mut bench = Bench::with(|config| {
            config.zones[0].anchors.push(anchor(&TestKey::ksk(9)));
            if pruned {
                config.loader.accepted_max_generations = 1;
                config.loader.accepted_min_days = 0;
            }
        });
        write_key(&bench.path("keys"), &TestKey::zsk(NEW_ZSK), NEW_ZSK, Timing::default());
        // Ages are those of the files: each step of this test is later than they are.
        let base = keystore::clock::now().plus(DAY);
        bench.now = base;
        // In the last bundle the signatures by A end four days before those by B.
        let builder = SkrBuilder::new(ZONE, base).ksk(a.clone()).ksk(b.clone());
        let mut old = builder.build();
        let last = old.bundles.last_mut().unwrap();
        builder.clone().validity(10 * DAY).resign(last, &[&a]);
        let of_a = std::mem::take(&mut last.signatures);
        builder.resign(last, &[&b]);
        last.signatures.extend(of_a);
        assert_eq!(accepted(&bench.import("old.skr", text(&old))), 1);
        let emergency = SkrBuilder::new(ZONE, base).zsk(TestKey::zsk(NEW_ZSK).dnskey);
        assert_eq!(accepted(&bench.import("emergency.skr", emergency.text())), 2);
        assert_eq!(bench.path("accepted/example./1.skr").exists(), !pruned);
        bench.now = base.plus(47 * DAY);
        let mut stripped = UnverifiedSkr { zone: zone(), bundles: old.bundles[4..].to_vec() };
        stripped.bundles[0].signatures.retain(|s| s.key_tag == b.dnskey.tag());
        bench.reject(&format!("pruned: {pruned}"), text(&stripped), "SKR-REPLAY");
    }
}
