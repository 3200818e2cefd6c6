//! The same proof by brute force: every second, every fetch second of every cache. The spans must agree to the second.

use proptest::prelude::*;

use super::{Delays, DsPeriod, FaultKind, ParentModel, ProofInput, SigningModel, SigningPeriod, prove};
use crate::crypto::Algorithm;
use crate::dns::{Name, Rrset, Rrsig, Rtype};
use crate::exchange::{Bundle, TrustAnchor};
use crate::keys::Dnskey;
use crate::time::Timestamp;

const BASE: u64 = 1_000_000;

/// A key, and a begin and an end.
type Times = (usize, u64, u64);

/// A schedule of a few seconds. Keys are numbers: KSKs 0..3, ZSKs 3..7.
#[derive(Debug, Clone)]
struct Small {
    /// Inception, TTL, keys, signers with begin and end of validity.
    bundles: Vec<(u64, u32, Vec<usize>, Vec<Times>)>,
    /// From, keys, TTL.
    ds: Vec<(u64, Vec<usize>, u32)>,
    /// Key, Activate, Inactive.
    signing: Vec<Times>,
    delays: Delays,
    from: u64,
}

fn key(number: usize) -> Dnskey {
    let flags = if number < 3 { 257 } else { 256 };
    // 1 and 5 are of another algorithm; 3 and 6 are words in another order, so they share their tag.
    let algorithm =
        if number == 1 || number == 5 { Algorithm::RSASHA256 } else { Algorithm::ECDSAP256SHA256 };
    let n = number as u8;
    let public_key = match number {
        3 => vec![9, 1, 7, 2],
        6 => vec![7, 2, 9, 1],
        _ => vec![n, 40 + n, 3 * n, 11],
    };
    Dnskey { flags, protocol: 3, algorithm, public_key }
}

impl Small {
    fn end(&self) -> u64 {
        let last = self.bundles.last().expect("a bundle");
        last.3.iter().map(|s| s.2).min().unwrap_or(last.0)
    }

    fn bundle(&self, zone: &Name, at: usize) -> Bundle {
        let (inception, ttl, keys, signers) = &self.bundles[at];
        let rdatas = keys.iter().map(|k| key(*k).to_rdata().into()).collect();
        let signature = |(k, from, to): &Times| Rrsig {
            covered: Rtype::DNSKEY,
            algorithm: key(*k).algorithm,
            labels: 1,
            original_ttl: *ttl,
            expiration: *to as u32,
            inception: *from as u32,
            key_tag: key(*k).tag(),
            signer: zone.clone(),
            signature: Vec::new(),
        };
        Bundle {
            inception: Timestamp::from_secs(*inception),
            dnskey: Rrset { owner: zone.clone(), rtype: Rtype::DNSKEY, ttl: *ttl, rdatas }.into(),
            cdnskey: None,
            cds: None,
            signatures: signers.iter().map(signature).collect(),
        }
    }

    fn first_break_by_spans(&self) -> Option<u64> {
        let zone = Name::parse("example.").expect("a name");
        let bundles: Vec<Bundle> = (0..self.bundles.len()).map(|i| self.bundle(&zone, i)).collect();
        let ds = |(from, keys, ttl): &(u64, Vec<usize>, u32)| DsPeriod {
            from: Timestamp::from_secs(*from),
            ds: keys.iter().map(|k| TrustAnchor::Dnskey(key(*k))).collect(),
            ttl: *ttl,
        };
        let period = |(k, from, to): &Times| SigningPeriod {
            key: key(*k),
            activate: Timestamp::from_secs(*from),
            inactive: Some(Timestamp::from_secs(*to)),
        };
        let report = prove(&ProofInput {
            zone: &zone,
            bundles: &bundles.iter().collect::<Vec<_>>(),
            parent: ParentModel::Timeline(self.ds.iter().map(ds).collect()),
            signing: SigningModel::Known(self.signing.iter().map(period).collect()),
            delays: self.delays,
            from: Timestamp::from_secs(self.from),
        });
        for finding in &report.findings {
            assert!(finding.at >= report.from && finding.at <= report.to, "{finding}");
        }
        let first = report.findings.iter().find(|f| f.fault.kind() == FaultKind::Chain);
        assert_eq!(first, report.first_break());
        first.map(|f| f.at.secs())
    }

    // --- by brute force ---

    fn first_break_by_seconds(&self) -> Option<u64> {
        (self.from.max(self.bundles[0].0)..=self.end()).find(|t| !self.holds_at(*t))
    }

    fn set_at(&self, t: u64) -> Option<usize> {
        self.bundles.iter().rposition(|b| b.0 <= t)
    }

    fn ds_at(&self, t: u64) -> usize {
        self.ds.iter().rposition(|d| d.0 <= t).unwrap_or(0)
    }

    fn signs_at(&self, k: &Times, t: u64) -> bool {
        k.1 <= t && t < k.2
    }

    fn holds_at(&self, t: u64) -> bool {
        const LONG: u64 = 60;
        let d = &self.delays;
        let past = t - LONG..=t;
        // What a cache can hold: fetched at any second, from a server that lags by any delay, and not yet timed out.
        let mut sets: Vec<usize> = past
            .clone()
            .filter_map(|x| self.set_at(x).map(|i| (x, i)))
            .filter(|(x, i)| t - x <= u64::from(self.bundles[*i].1) + d.zone_propagation)
            .map(|(_, i)| i)
            .collect();
        sets.dedup();
        let mut parents: Vec<&Vec<usize>> = past
            .clone()
            .map(|x| (x, &self.ds[self.ds_at(x)]))
            .filter(|(x, ds)| t - x <= u64::from(ds.2) + d.parent_propagation)
            .map(|(_, ds)| &ds.1)
            .filter(|keys| !keys.is_empty())
            .collect();
        parents.dedup();
        if parents.is_empty() {
            return self.has_no_clash(&sets); // insecure
        }
        let zones: Vec<Vec<usize>> = past
            .filter(|x| t - x <= d.zone_propagation + d.max_zone_ttl)
            .map(|x| {
                let made = |k: &&Times| (x - d.signature_retention..=x).any(|made| self.signs_at(k, made));
                self.signing.iter().filter(made).map(|k| k.0).collect::<Vec<_>>()
            })
            .filter(|keys| !keys.is_empty())
            .collect();
        let in_force = self.set_at(t).expect("after the first inception");
        let signed = |ds: &[usize], signers: &[usize]| {
            let algorithms: Vec<Algorithm> = ds.iter().map(|k| key(*k).algorithm).collect();
            algorithms.iter().all(|a| ds.iter().any(|k| key(*k).algorithm == *a && signers.contains(k)))
        };
        let all = |i: usize| -> Vec<usize> { self.bundles[i].3.iter().map(|s| s.0).collect() };
        let valid: Vec<usize> =
            self.bundles[in_force].3.iter().filter(|s| s.1 <= t && t <= s.2).map(|s| s.0).collect();
        let zone_fits = |ds: &[usize], set: usize, zone: &[usize]| {
            let good = |a: Algorithm| {
                let mut of_it = zone.iter().filter(|k| key(**k).algorithm == a).peekable();
                of_it.peek().is_some() && of_it.all(|k| self.bundles[set].2.contains(k))
            };
            zone.iter().any(|k| good(key(*k).algorithm)) && ds.iter().all(|k| good(key(*k).algorithm))
        };
        self.signing.iter().any(|k| self.signs_at(k, t))
            && self.has_no_clash(&sets)
            && parents.iter().all(|ds| signed(ds, &valid))
            && parents.iter().all(|ds| {
                sets.iter().all(|set| signed(ds, &all(*set)) && zones.iter().all(|z| zone_fits(ds, *set, z)))
            })
    }

    fn has_no_clash(&self, sets: &[usize]) -> bool {
        let mut keys: Vec<usize> = sets.iter().flat_map(|i| self.bundles[*i].2.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        let name = |k: usize| (key(k).tag(), key(k).algorithm);
        keys.iter().enumerate().all(|(i, a)| keys[..i].iter().all(|b| name(*a) != name(*b)))
    }
}

prop_compose! {
    /// Any schedule, mostly broken.
    fn wild()(
        steps in prop::collection::vec((1..9u64, 0..5u32, prop::collection::btree_set(0..7usize, 1..6),
            prop::collection::vec((0..2usize, 0..3u64, 4..16u64), 1..3)), 1..7),
        ds in prop::collection::vec((0..40u64, prop::collection::btree_set(0..3usize, 0..3), 0..5u32), 1..4),
        signing in prop::collection::vec((3..7usize, 0..30u64, 1..50u64), 1..5),
        delays in delays(),
        from in 0..10u64,
    ) -> Small {
        let mut at = BASE;
        let bundles = steps.into_iter().map(|(step, ttl, keys, signers)| {
            let inception = at;
            at += step;
            let keys: Vec<usize> = keys.into_iter().collect();
            let signers = signers.into_iter().filter(|(k, ..)| keys.contains(k));
            let signers = signers.map(|(k, lead, lasts)| (k, inception + 1 - lead, inception + lasts)).collect();
            (inception, ttl, keys, signers)
        }).collect();
        let mut ds: Vec<_> = ds.into_iter().map(|(at, k, ttl)| (BASE + at, k.into_iter().collect::<Vec<_>>(), ttl)).collect();
        ds.sort();
        ds.dedup_by_key(|d| d.0);
        let signing = signing.into_iter().map(|(k, from, lasts)| (k, BASE - 5 + from, BASE - 5 + from + lasts)).collect();
        Small { bundles, ds, signing, delays, from: BASE + from }
    }
}

prop_compose! {
    fn delays()(zone in 0..4u64, parent in 0..4u64, max_zone_ttl in 0..5u64, signature_retention in 0..4u64) -> Delays {
        Delays { zone_propagation: zone, parent_propagation: parent, ds_ttl: 0, max_zone_ttl, signature_retention, dnskey_ttl: None }
    }
}

prop_compose! {
    /// A good schedule of a ZSK roll and a KSK roll, with every time shifted by little or nothing: about half are good.
    fn nearly_good()(
        delays in delays(), ttl in 0..5u32, ds_ttl in 0..5u32,
        shifts in prop::array::uniform8(prop_oneof![8 => Just(0i64), 1 => -2..3i64, 1 => Just(1i64)]),
        short in prop_oneof![4 => Just(0u64), 1 => 1..9u64],
    ) -> Small {
        let l = delays.zone_propagation + u64::from(ttl);
        let at = |base: u64, i: usize| base.saturating_add_signed(shifts[i]);
        // ZSK 3 rolls to 4, KSK 0 to 2, both as early and as late as is safe.
        let (publish, activate) = (at(BASE + 10, 0), at(BASE + 10 + l, 1));
        let inactive = activate.saturating_add_signed(shifts[2].max(0));
        let delete = at(inactive + delays.signature_retention + delays.zone_propagation + delays.max_zone_ttl, 3);
        let ksk_publish = at(BASE + 12, 4);
        let ds_change = at(ksk_publish + l, 5);
        let ksk_delete = at(ds_change + delays.parent_propagation + u64::from(ds_ttl), 6);
        let mut starts = vec![BASE, publish, delete, ksk_publish, ksk_delete];
        starts.sort_unstable();
        starts.dedup();
        let until = |i: usize| starts.get(i + 1).map_or(starts[i] + 12, |n| n + 1);
        let bundles = starts.iter().enumerate().map(|(i, s)| {
            let mut keys = Vec::new();
            if *s < ksk_delete { keys.push(0); }
            if *s >= ksk_publish { keys.push(2); }
            let signers = keys.iter().map(|k| (*k, s - 1, until(i) - short)).collect();
            if *s < delete { keys.push(3); }
            if *s >= publish { keys.push(4); }
            (*s, ttl, keys, signers)
        }).collect();
        let ds = vec![(BASE, vec![0], ds_ttl), (ds_change, vec![2], ds_ttl)];
        let signing = vec![(3, BASE - 3, inactive), (4, activate, BASE + 500)];
        Small { bundles, ds, signing, delays, from: BASE.saturating_add_signed(shifts[7]) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn spans_and_seconds_agree_on_any_schedule(small in wild()) {
        prop_assert_eq!(small.first_break_by_spans(), small.first_break_by_seconds());
    }

    #[test]
    fn spans_and_seconds_agree_on_nearly_good_schedules(small in nearly_good()) {
        prop_assert_eq!(small.first_break_by_spans(), small.first_break_by_seconds());
    }
}

/// The generator makes good schedules as well as bad ones, else agreement means nothing.
#[test]
fn nearly_good_schedules_are_of_both_kinds() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let good = (0..400)
        .filter(|_| {
            nearly_good()
                .new_tree(&mut runner)
                .expect("a schedule")
                .current()
                .first_break_by_spans()
                .is_none()
        })
        .count();
    assert!((60..340).contains(&good), "{good} of 400 are good");
}
