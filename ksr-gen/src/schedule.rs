//! When the bundles of an SKR begin: BIND's `sign` rounds over the bundles of a KSR.
//!
//! Inside a KSR bundle a new SKR bundle begins when the signatures of the one before need a refresh, and at each time at
//! which a KSK changes. BIND's rounds also stop at the very end of the KSR bundle, and there print a bundle with the *old*
//! ZSKs in front of the right one with the same time (two bundles with one header). Here only the right one is made; the
//! rest is as BIND does it, also the bundle at the very end of the whole interval.

use keystore::policy::Policy;
use keystore::time::Timestamp;

use crate::rollover::KskSchedule;

/// Times at which the KSKs change what is published or signed, sorted.
pub(crate) fn events(ksks: &[KskSchedule<'_>], policy: &Policy) -> Vec<Timestamp> {
    let sync = policy.cdnskey || !policy.cds_digest_types.is_empty();
    let mut events: Vec<Timestamp> = ksks
        .iter()
        .flat_map(|key| {
            let t = &key.timing;
            let sync = [t.sync_publish, t.sync_delete].into_iter().filter(move |_| sync);
            [t.publish, t.activate, t.revoke, t.inactive, t.delete].into_iter().chain(sync).flatten()
        })
        .collect();
    events.sort_unstable();
    events.dedup();
    events
}

/// How long one bundle after the other lasts; see [`BundleInterval::of`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct BundleInterval {
    /// Seconds until the signatures of a bundle need a refresh; more than 0.
    refresh: u64,
    /// Seconds for which they are valid.
    validity: u64,
}

impl BundleInterval {
    /// `signatures-validity-dnskey - signatures-refresh`, and the former; `None` when that leaves no time between two bundles.
    pub(crate) fn of(policy: &Policy) -> Option<Self> {
        let (validity, refresh) = (policy.signatures_validity_dnskey, policy.signatures_refresh);
        let step = validity.checked_sub(refresh).filter(|step| *step > 0)?;
        Some(Self { refresh: step.into(), validity: validity.into() })
    }
}

/// What ends the time of a KSR bundle.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// The next KSR bundle, which begins then.
    Next(Timestamp),
    /// The end of the interval, at which the last KSR bundle has still an SKR bundle.
    End(Timestamp),
}

/// Inceptions of the SKR bundles of the KSR bundle that is in force from `from` on, at most `most` of them.
pub(crate) fn inceptions(
    from: Timestamp,
    until: Until,
    step: BundleInterval,
    events: &[Timestamp],
    most: usize,
) -> Vec<Timestamp> {
    let mut out = Vec::new();
    let (until, last) = match until {
        Until::Next(at) => (at, false),
        Until::End(at) => (at, true),
    };
    let (mut inception, mut limit) = (from, until);
    while (inception < until || (last && inception == until)) && out.len() < most {
        out.push(inception);
        let next = events.get(events.partition_point(|e| *e <= inception)).filter(|e| **e < limit);
        let refresh = inception.plus(step.refresh);
        // Only a KSR bundle that begins at its very end has its limit behind it.
        let limited = next.copied().unwrap_or(limit);
        inception = if limited > inception { refresh.min(limited) } else { refresh };
        limit = inception.plus(step.validity);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn days(from: u64, until: u64, last: bool, events: &[u64]) -> Vec<u64> {
        let at = |day: u64| Timestamp::from_secs(day * DAY);
        let events: Vec<_> = events.iter().map(|d| at(*d)).collect();
        let until = if last { Until::End(at(until)) } else { Until::Next(at(until)) };
        let step = BundleInterval { refresh: 9 * DAY, validity: 14 * DAY };
        let made = inceptions(at(from), until, step, &events, 100);
        made.iter().map(|t| t.secs() / DAY).collect()
    }

    #[test]
    fn steps_and_events() {
        for (from, until, last, events, expected) in [
            (100, 130, false, vec![], vec![100, 109, 118, 127]),
            (100, 130, true, vec![], vec![100, 109, 118, 127]),
            (100, 130, false, vec![99, 100, 105], vec![100, 105, 114, 123]),
            // BIND prints a second bundle at 127, with the keys of before.
            (100, 127, false, vec![], vec![100, 109, 118]),
            (100, 127, true, vec![], vec![100, 109, 118, 127]),
            (100, 103, false, vec![], vec![100]),
            (100, 103, true, vec![], vec![100, 103]),
            (100, 100, true, vec![], vec![100]),
            (100, 100, false, vec![], vec![]),
            (100, 99, true, vec![], vec![]),
            // An event behind the end of the KSR bundle is the next bundle's matter.
            (100, 105, false, vec![107], vec![100]),
        ] {
            assert_eq!(days(from, until, last, &events), expected, "{from} {until} {last} {events:?}");
        }
    }

    #[test]
    fn never_more_than_asked_for() {
        let end = Timestamp::from_secs(u64::from(u32::MAX));
        let step = BundleInterval { refresh: 1, validity: 2 };
        assert_eq!(inceptions(Timestamp::EPOCH, Until::End(end), step, &[], 7).len(), 7);
    }
}
