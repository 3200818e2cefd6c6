//! KSKs that were published as revoked and come back without the REVOKE flag: kind 3.

use keystore::check::CheckId;
use keystore::exchange::UnverifiedSkr;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::time::Timestamp;

use offline_ksk_skr_loader::checks;

use crate::bench::*;
use crate::kinds::{anchor, revoked};

/// A and B are pinned. B signs all the time; A is revoked from `from` until `to`, and signs, revoked, the DNSKEY RRset then.
fn shows_revoked(builder: &SkrBuilder, from: Timestamp, to: Timestamp) -> UnverifiedSkr {
    let (a, b) = (revoked(9), TestKey::ksk(KSK));
    let mut skr = builder.build();
    for bundle in skr.bundles.iter_mut().filter(|bundle| from <= bundle.inception && bundle.inception < to) {
        bundle.dnskey.rdatas.push(a.dnskey.to_rdata().into());
        builder.resign(bundle, &[&b, &a]);
    }
    skr
}

/// The bundles of `builder` from `from` on signed by A alone, as if it had never been revoked.
fn then_signed_by_a(builder: &SkrBuilder, mut skr: UnverifiedSkr, from: Timestamp) -> UnverifiedSkr {
    let a = TestKey::ksk(9);
    for bundle in skr.bundles.iter_mut().filter(|bundle| bundle.inception >= from) {
        *bundle = builder.clone().ksk(a.clone()).bundle(bundle.inception);
    }
    skr
}

#[test]
fn kind_03_a_ksk_that_was_published_as_revoked_is_never_trusted_again() {
    let both = || Bench::with(|config| config.zones[0].anchors.push(anchor(&TestKey::ksk(9))));
    let day = |day: u64| start().plus(day * DAY);
    let a_alone = |days: u64| skr(days).bundles(7).ksk(TestKey::ksk(9));
    // Within one SKR: revoked in one bundle and trusted in a later one, with the revocation still shown before, or left long ago.
    for (what, to, from) in [("at once", 18, 18), ("later", 18, 36), ("in the very bundle", 18, 9)] {
        let mut bench = both();
        let spliced = then_signed_by_a(&skr(0), shows_revoked(&skr(0), day(0), day(to)), day(from));
        let mut text_of = text(&spliced);
        if what == "in the very bundle" {
            // Both forms of A, and only the one without the flag besides.
            let mut skr0 = spliced.clone();
            for bundle in &mut skr0.bundles[1..] {
                bundle.dnskey.rdatas.push(revoked(9).dnskey.to_rdata().into());
                skr(0).resign(bundle, &[&TestKey::ksk(9), &revoked(9)]);
            }
            text_of = text(&skr0);
        }
        bench.reject(what, text_of, "SKR-UNKNOWN-KSK");
    }
    // From SKR to SKR: shown by what is in force, by a generation that was replaced, and by one that is in force until the next begins.
    for (what, from, to, replaced, now, next) in [
        ("in force shows it", 0, 100, false, 1, 1),
        ("in force has shown it", 0, 9, false, 20, 20),
        ("a replaced generation had shown it", 0, 9, true, 20, 20),
        ("what is in force will have shown it", 18, 27, false, 1, 36),
    ] {
        let mut bench = both();
        let shown = shows_revoked(&skr(0), day(from), day(to));
        assert_eq!(accepted(&bench.import("shown.skr", text(&shown))), 1, "{what}");
        bench.now = day(now);
        if replaced {
            assert_eq!(accepted(&bench.import("next.skr", skr(9).text())), 2, "{what}");
            bench = bench.restart();
        }
        bench.reject(what, a_alone(next).text(), "SKR-UNKNOWN-KSK");
        // Beside a trusted one it may stand, and B alone is trusted as ever.
        let generation = bench.current().unwrap().0;
        assert_eq!(
            accepted(&bench.import("good.skr", skr(next).bundles(8).text())),
            generation + 1,
            "{what}"
        );
    }
}

/// The generation that shows the revocation is lost, and nothing else has shown it.
#[test]
fn kind_03_a_revocation_is_known_when_the_generation_that_shows_it_is_lost() {
    type Harm = fn(&std::path::Path);
    let harms: [(&str, Harm); 3] = [
        ("its file is gone", |dir| std::fs::remove_file(dir.join("1.skr")).unwrap()),
        ("its file is altered", |dir| std::fs::write(dir.join("1.skr"), "altered").unwrap()),
        ("current is gone", |dir| std::fs::remove_file(dir.join("current")).unwrap()),
    ];
    let day = |day: u64| start().plus(day * DAY);
    for (what, harm) in harms {
        for (shown_from, revoked_at_20) in [(0, true), (18, true), (27, false)] {
            let mut bench = Bench::with(|config| config.zones[0].anchors.push(anchor(&TestKey::ksk(9))));
            let shown = shows_revoked(&skr(0), day(shown_from), day(100));
            assert_eq!(accepted(&bench.import("shown.skr", text(&shown))), 1, "{what}");
            harm(&bench.path("accepted/example."));
            let mut bench = bench.restart();
            bench.now = day(20);
            let a_alone = skr(20).bundles(7).ksk(TestKey::ksk(9)).text();
            if revoked_at_20 {
                let outcome = bench.import("a.skr", a_alone);
                let ids = checks::rejecting(rejected(&outcome));
                assert!(ids.contains(&CheckId::SkrUnknownKsk), "{what}: {ids:?}");
            } else {
                assert_eq!(
                    accepted(&bench.import("a.skr", a_alone)),
                    2,
                    "{what}: it was yet to be published"
                );
            }
        }
    }
}

#[test]
fn kind_03_a_revocation_that_was_put_off_before_it_was_published_counts_for_nothing() {
    let mut bench = Bench::with(|config| config.zones[0].anchors.push(anchor(&TestKey::ksk(9))));
    let day = |day: u64| start().plus(day * DAY);
    assert_eq!(accepted(&bench.import("a.skr", text(&shows_revoked(&skr(0), day(18), day(27))))), 1);
    bench.now = day(10);
    assert_eq!(
        accepted(&bench.import("b.skr", skr(9).ksk(TestKey::ksk(KSK)).ksk(TestKey::ksk(9)).text())),
        2
    );
    bench.now = day(30);
    assert_eq!(accepted(&bench.import("c.skr", skr(27).ksk(TestKey::ksk(9)).text())), 3);
}
