//! The schedules that BIND's `dnssec-ksr` makes prove good; the time that a proof takes is in `benches/prove.rs`.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use offline_ksk_keystore::check::CheckId;
use std::path::Path;

use offline_ksk_keystore::dns::Name;
use offline_ksk_keystore::exchange::bind::parse_skr;
use offline_ksk_keystore::exchange::parse_trust_anchors;
use offline_ksk_keystore::exchange::prove::{
    Delays, ParentModel, ProofInput, ProofReport, ProofWeight, SigningModel, prove,
};
use offline_ksk_keystore::policy;
use offline_ksk_keystore::time::Timestamp;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bind").join(name)
}

fn run(
    name: &str,
    zone: &str,
    policy: &str,
    edit: impl Fn(&mut offline_ksk_keystore::exchange::UnverifiedSkr),
) -> ProofReport {
    let zone = Name::parse(zone).unwrap();
    let mut skr = parse_skr(&std::fs::read(fixture(&format!("{name}.skr"))).unwrap(), &zone).unwrap();
    edit(&mut skr);
    let anchors =
        parse_trust_anchors(&std::fs::read_to_string(fixture(&format!("{name}.ksk"))).unwrap(), &zone);
    let policies = policy::load(&fixture("named.conf")).unwrap();
    prove(&ProofInput {
        zone: &zone,
        bundles: &skr.bundles.iter().collect::<Vec<_>>(),
        parent: ParentModel::FollowsCds(anchors.unwrap()),
        signing: SigningModel::Derived,
        delays: Delays::from(&**policies.get(policy).unwrap()),
        from: Timestamp::EPOCH,
    })
}

#[test]
fn what_bind_made_is_good() {
    for (name, zone, policy, advice) in [
        ("rsa-zsk-roll", "example.test", "rsa", &[][..]),
        ("ed25519-zsk-roll", "example.test", "ed25519", &[]),
        ("p384", "a-zone-with-a-rather-long-name.example.test", "p384", &[]),
        ("ed448", ".", "ed448", &[]),
        ("two-algorithms", "sub.example.test", "two", &[]),
        ("short-request-bundle", "example.test", "long", &[]),
        // Signatures of 6 s, and a TTL of 439 s.
        ("fast", "example.test", "fast", &[CheckId::ProveExpiredCached]),
    ] {
        let report = run(name, zone, policy, |_| {});
        let found: Vec<_> = report.findings.iter().map(|f| f.fault.id()).collect();
        assert_eq!(found, advice, "{name}: {:#?}", report.findings);
        assert!(report.is_good() && report.proved_until() == Some(report.to), "{name}");
    }
}

/// BIND rolls KSKs by time alone: the old one no longer signs from the first bundle after its Inactive, an hour after the new
/// CDS came, while its DS is still in every cache.
#[test]
fn the_ksk_roll_of_bind_outruns_the_parent() {
    let report = run("p256-ksk-roll", "example.test", "p256", |_| {});
    let found: Vec<_> = report.findings.iter().map(|f| (f.fault.id(), f.at.to_string())).collect();
    let expected = [(CheckId::ProveDsEarly, "20270302000000"), (CheckId::ProveKskBeforeDs, "20270302010500")];
    assert_eq!(found, expected.map(|(id, at)| (id, at.to_owned())), "{:#?}", report.findings);
    assert_eq!(report.proved_until(), Timestamp::parse_stamp("20270302010459"));
    // What hangs on the parent is for people to judge, where the parent is only assumed.
    assert!(
        !report.is_good()
            && report.as_findings(CheckId::SkrProve, ProofWeight::Rejects).iter().all(|f| !f.rejects())
    );
}

#[test]
fn a_bundle_of_the_key_change_that_went_missing_is_noticed() {
    let good = run("rsa-zsk-roll", "example.test", "rsa", |_| {});
    let mut ids = Vec::new();
    for lost in 1..10 {
        let report = run("rsa-zsk-roll", "example.test", "rsa", |skr| {
            skr.bundles.remove(lost);
        });
        ids.extend(report.findings.iter().filter(|f| f.rejects()).map(|f| f.fault.id()));
    }
    assert!(good.is_good());
    assert!(ids.contains(&CheckId::ProveExpired) && ids.contains(&CheckId::ProveNoZsk), "{ids:?}");
}
