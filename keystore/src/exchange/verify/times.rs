//! Checks of times: order, gaps, validity.

use crate::check::CheckId;
use std::collections::BTreeMap;

use super::report::FindingList;
use super::{Purpose, Subject, span};
use crate::dns::Rrsig;
use crate::exchange::Bundle;
use crate::keys::Dnskey;
use crate::time::Timestamp;

/// Which bundles never come into force because the next one has the same inception and replaces them lawfully.
///
/// `dnssec-ksr sign` makes such pairs where a bundle of the KSR lasts less than a refresh step: first one with the
/// ZSKs of before, then the right one. So the first of a pair is left out when its ZSKs are those of the bundle
/// before the pair; any other pair stays as it is, for SKR-DUPLICATE to refuse.
pub(super) fn superseded(bundles: &[Bundle]) -> Vec<bool> {
    let zsks = |b: &Bundle| {
        let mut keys: Vec<Dnskey> = b.keys().filter(|k| !k.is_ksk()).collect();
        keys.sort_unstable();
        keys
    };
    let mut gone = vec![false; bundles.len()];
    for (i, three) in bundles.windows(3).enumerate() {
        let [before, first, second] = three else { continue };
        gone[i + 1] = before.inception < first.inception
            && first.inception == second.inception
            && zsks(before) == zsks(first)
            && zsks(first) != zsks(second);
    }
    gone
}

/// SKR-ORDER: bundles come in the order of their inceptions.
pub(super) fn check_order(subject: &Subject<'_>, report: &mut FindingList) {
    for (before, bundle) in subject.switches().filter(|(a, b)| a.inception > b.inception) {
        let what = format!("comes after the bundle of {}, which begins later", before.inception);
        report.reject(CheckId::SkrOrder, Some(bundle), what);
    }
}

/// SKR-DUPLICATE: no two bundles share an inception (but see [`superseded`]).
pub(super) fn check_duplicates(subject: &Subject<'_>, report: &mut FindingList) {
    let mut seen = BTreeMap::<Timestamp, usize>::new();
    for bundle in subject.in_force() {
        let count = seen.entry(bundle.inception).or_default();
        *count += 1;
        if *count == 2 {
            report.reject(CheckId::SkrDuplicate, Some(bundle), "another bundle has the same inception");
        }
    }
    for view in subject.bundles.iter().filter(|v| v.superseded) {
        let what = "is left out: it has the ZSKs of before, and the next one begins at the same second";
        report.warn(CheckId::SkrDuplicate, Some(view.bundle), what);
    }
}

/// Inception and expiration of a signature, nearest to its bundle's inception.
fn period(bundle: &Bundle, signature: &Rrsig) -> (Timestamp, Timestamp) {
    (signature.incepts(bundle.inception), signature.expires(bundle.inception))
}

/// SKR-VALIDITY: each signature begins before it ends, and does not last longer than the limit.
pub(super) fn check_validity(subject: &Subject<'_>, report: &mut FindingList) {
    const ID: CheckId = CheckId::SkrValidity;
    for (bundle, signature) in all_signatures(subject) {
        let (start, end) = period(bundle, signature);
        let covered = signature.covered;
        if end <= start {
            let what = format!("the signature over {covered} ends at {end}, not after its begin at {start}");
            report.reject(ID, Some(bundle), what);
        } else if end.since(start) > subject.context.limits.validity {
            let (is, limit) = (span(end.since(start)), span(subject.context.limits.validity));
            let what = format!("the signature over {covered} is valid for {is}; the limit is {limit}");
            report.reject(ID, Some(bundle), what);
        }
    }
}

/// SKR-VALIDITY: the header's time stands to its signatures as in the other bundles.
///
/// A signer makes all signatures begin by the same time before their bundle (an hour in BIND). Where most bundles agree
/// and one does not, its header is damaged: nothing else in the file covers that time.
pub(super) fn check_headers(subject: &Subject<'_>, report: &mut FindingList) {
    let lead =
        |b: &Bundle, s: &Rrsig| i128::from(b.inception.secs()) - i128::from(s.incepts(b.inception).secs());
    let mut counts = BTreeMap::<i128, usize>::new();
    for (bundle, signature) in all_signatures(subject) {
        *counts.entry(lead(bundle, signature)).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    let Some((usual, count)) = counts.iter().max_by_key(|(_, count)| **count).map(|(l, c)| (*l, *c)) else {
        return;
    };
    if count * 2 <= total && subject.bundles.len() > 2 {
        return;
    }
    for view in &subject.bundles {
        if view.bundle.signatures.iter().any(|s| lead(view.bundle, s) != usual) {
            let what = "its header's time does not stand to the begin of its signatures as in the other bundles: \
                        the header is damaged; sign again";
            report.reject(CheckId::SkrValidity, Some(view.bundle), what);
        }
    }
}

/// SKR-NOT-YET: each signature is valid when its bundle comes into force.
pub(super) fn check_not_yet(subject: &Subject<'_>, report: &mut FindingList) {
    for (bundle, signature) in all_signatures(subject) {
        let (start, _) = period(bundle, signature);
        if start > bundle.inception {
            let what = format!(
                "the signature over {} only begins at {start}, after the bundle came into force",
                signature.covered
            );
            report.reject(CheckId::SkrNotYet, Some(bundle), what);
        }
    }
}

/// SKR-GAP: each signature stays valid until the next bundle comes into force.
///
/// A cache keeps an RRset for its TTL, but never longer than its signature (RFC 4035 section 5.3.3), so that a
/// signature that outlives the switch by less than the TTL only costs queries: a warning. Of a bundle without
/// signatures SKR-UNKNOWN-KSK speaks.
pub(super) fn check_gaps(subject: &Subject<'_>, report: &mut FindingList) {
    const ID: CheckId = CheckId::SkrGap;
    for (bundle, next) in subject.switches().filter(|(bundle, _)| !bundle.signatures.is_empty()) {
        let end = bundle.expiration();
        if end < next.inception {
            let hole = span(next.inception.since(end));
            let what = format!(
                "its signatures end at {end}, {hole} before the next bundle begins at {}; the zone would be bogus \
                 in between: a bundle is missing, or the signing policy's refresh is too short",
                next.inception
            );
            note_gap(subject, report, bundle, what);
        } else if end < next.inception.plus(u64::from(bundle.dnskey.ttl)) {
            let left = span(end.since(next.inception));
            let what = format!(
                "its signatures end {left} after the next bundle begins, less than the TTL of {} s",
                bundle.dnskey.ttl
            );
            report.warn(ID, Some(bundle), what);
        }
    }
}

/// SKR-GAP: no bundle seems to be missing.
///
/// A signer starts the next bundle when its refresh margin before the expiration is reached, or earlier when the key set
/// changes, so the margin of the switches between equal key sets is the least one. One single switch with a smaller margin
/// means that the bundle that should have come before it is gone, although signatures still reach across. Only told where
/// three or more switches between equal key sets agree on the margin (key changes at regular distances agree, too, and say
/// nothing), and where signatures do not end before the switch anyway.
pub(super) fn check_missing(subject: &Subject<'_>, report: &mut FindingList) {
    let margins: Vec<(&Bundle, &Bundle, u64)> = subject
        .switches()
        .filter(|(bundle, next)| bundle.expiration() >= next.inception)
        .map(|(bundle, next)| (bundle, next, bundle.expiration().since(next.inception)))
        .collect();
    let mut counts = BTreeMap::<u64, usize>::new();
    let mut refreshes = BTreeMap::<u64, usize>::new();
    for (bundle, next, margin) in &margins {
        *counts.entry(*margin).or_default() += 1;
        if bundle.rrsets().eq(next.rrsets()) {
            *refreshes.entry(*margin).or_default() += 1;
        }
    }
    let Some((usual, 3..)) = refreshes.iter().max_by_key(|(_, count)| **count).map(|(m, c)| (*m, *c)) else {
        return;
    };
    for (bundle, next, margin) in margins.iter().filter(|(_, _, m)| *m < usual && counts[m] == 1) {
        let what = format!(
            "its signatures outlive the switch to the next bundle at {} by only {}, where other bundles keep {}: the \
             bundle between seems to be missing",
            next.inception,
            span(*margin),
            span(usual)
        );
        note_gap(subject, report, bundle, what);
    }
}

fn note_gap(subject: &Subject<'_>, report: &mut FindingList, bundle: &Bundle, what: String) {
    if subject.context.allow_gaps {
        report.warn(CheckId::SkrGap, Some(bundle), what);
    } else {
        report.reject(CheckId::SkrGap, Some(bundle), what);
    }
}

/// SKR-OVERLAP: no signature outlives its bundle by more than the limit. Until it expires, a replaced key set can be
/// replayed to validators.
pub(super) fn check_overlap(subject: &Subject<'_>, report: &mut FindingList) {
    for (bundle, next) in subject.switches() {
        let end = bundle.signatures.iter().map(|s| s.expires(bundle.inception)).max();
        let over = end.map_or(0, |end| end.since(next.inception));
        if over > subject.context.limits.overlap {
            let what = format!(
                "its signatures outlive it by {}; the limit is {}",
                span(over),
                span(subject.context.limits.overlap)
            );
            report.reject(CheckId::SkrOverlap, Some(bundle), what);
        }
    }
}

/// SKR-EXPIRED: no signature ends before its bundle comes into force, and a new SKR is not all in the past.
pub(super) fn check_expired(subject: &Subject<'_>, report: &mut FindingList) {
    const ID: CheckId = CheckId::SkrExpired;
    for (bundle, signature) in all_signatures(subject) {
        let (start, end) = period(bundle, signature);
        if start < end && end <= bundle.inception {
            let what =
                format!("the signature over {} ends at {end}, before the bundle begins", signature.covered);
            report.reject(ID, Some(bundle), what);
        }
    }
    if subject.context.purpose == Purpose::Reload {
        return;
    }
    let end = subject.in_force().map(Bundle::expiration).max();
    if let Some(end) = end.filter(|end| *end <= subject.now) {
        report.reject(ID, None, format!("all bundles are in the past; the last signature ended at {end}"));
    }
}

/// SKR-HORIZON: a new SKR does not reach further into the future than the limit.
pub(super) fn check_horizon(subject: &Subject<'_>, report: &mut FindingList) {
    if subject.context.purpose == Purpose::Reload {
        return;
    }
    let limit = subject.context.limits.horizon;
    let horizon = subject.now.plus(limit);
    let far = |b: &&Bundle| b.inception.max(b.expiration()) > horizon;
    if let Some(bundle) = subject.bundles.iter().map(|v| v.bundle).find(far) {
        let what = format!("reaches further than {} from now; is the clock right?", span(limit));
        report.reject(CheckId::SkrHorizon, Some(bundle), what);
    }
}

fn all_signatures<'a>(subject: &'a Subject<'_>) -> impl Iterator<Item = (&'a Bundle, &'a Rrsig)> {
    subject.bundles.iter().flat_map(|v| v.bundle.signatures.iter().map(move |s| (v.bundle, s)))
}
