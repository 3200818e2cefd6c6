//! The very second at which each check of times begins to speak: still silent one second before.

use super::*;
use crate::check::CheckId;

fn judge_by(skr: &UnverifiedSkr, limits: Limits) -> Vec<SkrFinding> {
    let (zone, anchors) = (Name::parse("example.").expect("a name"), builder().anchors());
    findings(skr, &VerifyContext { limits, ..VerifyContext::new(&zone, &anchors) }, start())
}

/// The SKR with the signatures of bundle `i` made for `period(i, inception)`.
fn signed_for(period: impl Fn(u64, Timestamp) -> (Timestamp, Timestamp)) -> UnverifiedSkr {
    let mut skr = builder().build();
    for (i, bundle) in (0..).zip(&mut skr.bundles) {
        let (from, to) = period(i, bundle.inception);
        bundle.signatures = bundle.rrsets().map(|rrset| TestKey::ksk(1).sign(rrset, from, to)).collect();
    }
    skr
}

#[test]
fn skr_validity_skr_overlap_and_skr_horizon_hold_at_the_very_limit() {
    let skr = builder().build();
    let (first, last) = (&skr.bundles[0], &skr.bundles[4]);
    let signature = &first.signatures[0];
    let exact = Limits {
        validity: signature.expires(first.inception).since(signature.incepts(first.inception)),
        overlap: first.expiration().since(skr.bundles[1].inception),
        horizon: last.expiration().since(start()),
    };
    assert_eq!(rejecting(&judge_by(&skr, exact)), []);
    for (id, less) in [
        (CheckId::SkrValidity, Limits { validity: exact.validity - 1, ..exact }),
        (CheckId::SkrOverlap, Limits { overlap: exact.overlap - 1, ..exact }),
        (CheckId::SkrHorizon, Limits { horizon: exact.horizon - 1, ..exact }),
    ] {
        assert_eq!(rejecting(&judge_by(&skr, less)), [id]);
    }
}

#[test]
fn skr_duplicate_is_no_disorder_and_leaves_out_none_of_three() {
    let mut skr = builder().build();
    skr.bundles.insert(2, skr.bundles[2].clone());
    assert_eq!(rejecting(&judge(&builder(), &skr)), [CheckId::SkrDuplicate]);

    let old = skr.bundles[2].clone();
    skr.bundles[3..].iter_mut().for_each(|bundle| add_key(&builder(), bundle, &TestKey::zsk(9).dnskey));
    skr.bundles.insert(2, old);
    assert_eq!(skr.bundles[2..5].iter().filter(|b| b.inception == skr.bundles[2].inception).count(), 3);
    let told: Vec<_> =
        judge(&builder(), &skr).into_iter().filter(|finding| finding.id == CheckId::SkrDuplicate).collect();
    assert!(told.len() == 1 && told[0].rejects(), "{told:#?}");
}

#[test]
fn skr_validity_of_headers_speaks_only_where_most_of_three_agree() {
    let skr = signed_for(|i, at| (at.minus(3600 * (i + 1)), at.plus(14 * DAY)));
    assert_eq!(rejecting(&judge(&builder(), &skr)), [], "each its own way");
}

#[test]
fn skr_not_yet_lets_signatures_begin_with_their_bundle() {
    for (late, ids) in [(0, vec![]), (1, vec![CheckId::SkrNotYet])] {
        let skr = signed_for(|_, at| (at.plus(late), at.plus(14 * DAY)));
        assert_eq!(rejecting(&judge(&builder(), &skr)), ids, "{late} seconds late");
    }
}

#[test]
fn skr_gap_warns_of_less_than_the_ttl_behind_the_switch() {
    for (ttl, warned) in [(3600, false), (3601, true)] {
        let builder = builder().ttl(ttl).validity(9 * DAY + 3600);
        let found = judge(&builder, &builder.build());
        assert_eq!(found.iter().any(|f| f.id == CheckId::SkrGap), warned, "{ttl}: {found:#?}");
        assert_eq!(rejecting(&found), []);
    }
}

#[test]
fn skr_expired_leaves_signatures_that_never_were_valid_to_skr_validity() {
    for (seconds, ids) in [(0, vec![CheckId::SkrValidity]), (1, vec![CheckId::SkrExpired])] {
        let mut skr = builder().build();
        for signature in &mut skr.bundles[0].signatures {
            signature.expiration = signature.inception.wrapping_add(seconds);
        }
        let mut told = rejecting(&judge(&builder(), &skr));
        told.retain(|id| [CheckId::SkrValidity, CheckId::SkrExpired].contains(id));
        assert_eq!(told, ids, "valid for {seconds} seconds");
    }
}
