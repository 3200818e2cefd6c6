//! What a schedule covers at a moment: the unbroken run of bundles, holes, the bundle in force.

use super::Bundle;
use crate::time::Timestamp;

/// What a schedule covers, seen from one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// Start of the unbroken run that holds the moment, or of the first run when none has begun.
    pub start: Timestamp,
    /// End of that run: the earliest signature expiration of its last bundle.
    pub end: Timestamp,
    /// The same for the very last bundle, holes ignored.
    pub schedule_end: Timestamp,
    /// Longest hole from the moment on, in seconds.
    pub longest_gap: u64,
    /// Number of bundles that another one has replaced, or whose signatures have expired.
    pub past: usize,
    /// Number of bundles to come.
    pub future: usize,
    /// Inception and earliest signature expiration of the bundle in force; `None` = there is none.
    pub active: Option<(Timestamp, Timestamp)>,
    /// When the next bundle comes into force.
    pub next: Option<Timestamp>,
}

impl Coverage {
    /// Sees `bundles`, ordered by inception, from `now`; `None` when there are none.
    #[must_use]
    pub fn at(bundles: &[Bundle], now: Timestamp) -> Option<Self> {
        let times: Vec<_> = bundles.iter().map(|bundle| (bundle.inception, bundle.expiration())).collect();
        Self::of_times(&times, now)
    }

    /// The same from the inception and the earliest signature expiration of each bundle.
    #[must_use]
    pub fn of_times(bundles: &[(Timestamp, Timestamp)], now: Timestamp) -> Option<Self> {
        let last = bundles.len().checked_sub(1)?;
        let started = bundles.partition_point(|(inception, _)| *inception <= now);
        let here = started.saturating_sub(1);
        let hole = |i: usize| bundles[i + 1].0.since(bundles[i].1);
        let first_of_run = (0..here).rev().find(|i| hole(*i) > 0).map_or(0, |i| i + 1);
        let last_of_run = (here..last).find(|i| hole(*i) > 0).unwrap_or(last);
        let active = started.checked_sub(1).map(|i| bundles[i]).filter(|(_, expiration)| now <= *expiration);
        Some(Self {
            start: bundles[first_of_run].0,
            end: bundles[last_of_run].1,
            schedule_end: bundles[last].1,
            longest_gap: (here..last).map(hole).max().unwrap_or(0),
            past: started - usize::from(active.is_some()),
            future: bundles.len() - started,
            active,
            next: bundles.get(started).map(|(inception, _)| *inception),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Algorithm;
    use crate::dns::{Name, Rrset, Rrsig, Rtype};

    fn t(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    fn bundle(inception: u64, expiration: u64) -> Bundle {
        let dnskey = Rrset { owner: Name::root(), rtype: Rtype::DNSKEY, ttl: 60, rdatas: Vec::new() };
        let signature = Rrsig {
            covered: Rtype::DNSKEY,
            algorithm: Algorithm::ED25519,
            labels: 0,
            original_ttl: 60,
            expiration: t(expiration).to_rrsig(),
            inception: t(inception).to_rrsig(),
            key_tag: 1,
            signer: Name::root(),
            signature: Vec::new(),
        };
        Bundle {
            inception: t(inception),
            dnskey: dnskey.into(),
            cdnskey: None,
            cds: None,
            signatures: vec![signature],
        }
    }

    #[test]
    fn runs_and_holes() {
        // 100..350 without a hole, a hole of 50, then 400..600.
        let bundles = [bundle(100, 220), bundle(200, 350), bundle(400, 500), bundle(480, 600)];
        let see = |now| Coverage::at(&bundles, t(now)).unwrap();
        for (now, start, end, gap, past, active, future, next) in [
            (50, 100, 350, 50, 0, None, 4, Some(100)),
            (100, 100, 350, 50, 0, Some((100, 220)), 3, Some(200)),
            (199, 100, 350, 50, 0, Some((100, 220)), 3, Some(200)),
            (200, 100, 350, 50, 1, Some((200, 350)), 2, Some(400)),
            (350, 100, 350, 50, 1, Some((200, 350)), 2, Some(400)),
            (351, 100, 350, 50, 2, None, 2, Some(400)),
            (400, 400, 600, 0, 2, Some((400, 500)), 1, Some(480)),
            (480, 400, 600, 0, 3, Some((480, 600)), 0, None),
            (601, 400, 600, 0, 4, None, 0, None),
        ] {
            let want = Coverage {
                start: t(start),
                end: t(end),
                schedule_end: t(600),
                longest_gap: gap,
                past,
                future,
                active: active.map(|(from, to)| (t(from), t(to))),
                next: next.map(t),
            };
            assert_eq!(see(now), want, "at {now}");
        }
        assert_eq!(Coverage::at(&[], t(0)), None);
    }
}
