//! Which bundles a server is given, and from when it serves each of them.

use keystore::dns::{Name, Rtype};
use keystore::exchange::{Bundle, UnverifiedSkr, bind};
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

/// How long before its inception named is given a bundle that brings nothing but new signatures, in seconds.
///
/// At the very inception the signatures of the bundle before are due for renewal; a named that has not switched by then signs
/// the same set again and again, each time with a new SOA serial. Some minutes are time for several tries.
const EARLY: u64 = 300;

/// What a server is given of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPlan {
    /// In the order of their times.
    pub slots: Vec<Slot>,
    /// What cannot be served as it was signed, for the log.
    pub warnings: Vec<String>,
}

/// A bundle and when the server is to serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// From this time on, until that of the next slot.
    pub from: Timestamp,
    /// The bundle.
    pub bundle: Bundle,
}

impl DeliveryPlan {
    /// The bundles in force and to come, each from its inception. `bundles` are ordered by inception.
    #[must_use]
    pub fn as_signed(bundles: &[Bundle], now: Timestamp) -> Self {
        let current = bundles.partition_point(|b| b.inception <= now).saturating_sub(1);
        let slots =
            bundles[current..].iter().map(|b| Slot { from: b.inception, bundle: b.clone() }).collect();
        Self { slots, warnings: Vec::new() }
    }

    /// Only what named can serve, see [`unservable`]: a bundle that it cannot is left out where the one before it holds
    /// through it with the same ZSKs; and each bundle that only renews signatures comes up to five minutes early.
    #[must_use]
    pub fn for_named(bundles: &[Bundle], now: Timestamp) -> Self {
        let mut plan = Self { slots: Vec::new(), warnings: Vec::new() };
        let mut current = bundles.partition_point(|b| b.inception <= now).saturating_sub(1);
        // The one in force may be one to leave out; then the one before it is still served.
        if let Some(servable) =
            (0..=current).rev().find(|i| bundles.get(*i).is_some_and(|b| unservable(b).is_none()))
        {
            current = servable;
        }
        for (i, bundle) in bundles.iter().enumerate().skip(current) {
            let until = bundles.get(i + 1).map_or_else(|| bundle.expiration(), |next| next.inception);
            if let Some(why) = unservable(bundle) {
                let (held, what) = match plan.slots.last() {
                    Some(last) if holds_through(&last.bundle, bundle, until) => {
                        (true, "the bundle before it is served on through it")
                    }
                    _ => (false, "named will refuse to switch to it and keep what it serves"),
                };
                plan.warnings.push(format!("bundle {}: {why}; {what}", bundle.inception));
                if held {
                    continue;
                }
            }
            match plan.slots.last() {
                // named would never come to the first of two with one time.
                Some(last) if last.bundle.inception == bundle.inception => {
                    let from = last.from;
                    plan.slots.pop();
                    plan.slots.push(Slot { from, bundle: bundle.clone() });
                }
                Some(last) => {
                    let from = bundle.inception.minus(early(last, bundle));
                    plan.slots.push(Slot { from, bundle: bundle.clone() });
                }
                None => plan.slots.push(Slot { from: bundle.inception, bundle: bundle.clone() }),
            }
        }
        plan
    }

    /// Number of the slot that is served at `now`; `None` before the first.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Option<usize> {
        self.slots.partition_point(|s| s.from <= now).checked_sub(1)
    }

    /// When the next slot begins.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.slots.get(self.slots.partition_point(|s| s.from <= now)).map(|s| s.from)
    }

    /// How long before their end named renews the signatures of slot `i`, in seconds: what they have left when the next begins.
    #[must_use]
    pub fn refresh(&self, i: usize) -> u64 {
        let left = |pair: &[Slot]| pair[0].bundle.expiration().since(pair[1].bundle.inception);
        // The last is renewed as the one before it, and one alone when half of it is over.
        let pair = self.slots.get(i..i + 2).or_else(|| self.slots.get(i.checked_sub(1)?..=i));
        let alone = || self.slots.get(i).map_or(0, |s| s.bundle.expiration().since(s.bundle.inception) / 2);
        pair.map_or_else(alone, left)
    }

    /// The same with each TTL a second shorter than it was signed.
    #[must_use]
    pub fn with_shorter_ttl(&self) -> Self {
        let mut plan = self.clone();
        for bundle in plan.slots.iter_mut().map(|slot| &mut slot.bundle) {
            let rrsets = [Some(&mut bundle.dnskey), bundle.cdnskey.as_mut(), bundle.cds.as_mut()];
            rrsets.into_iter().flatten().for_each(|rrset| rrset.ttl = rrset.ttl.saturating_sub(1));
        }
        plan
    }

    /// In BIND's text form, each header with the time of its slot.
    #[must_use]
    pub fn text(&self, zone: &Name, now: Timestamp, program: &str) -> String {
        let bundles = self.slots.iter().map(|s| Bundle { inception: s.from, ..s.bundle.clone() }).collect();
        bind::print_skr(&UnverifiedSkr { zone: zone.clone(), bundles }, now, program)
    }
}

/// Why named cannot switch to a bundle: it takes for each KSK in the DNSKEY RRset one signature by key tag over each of the
/// RRsets, and its rekey fails as a whole when one is missing.
#[must_use]
pub fn unservable(bundle: &Bundle) -> Option<String> {
    let mut tags = Vec::new();
    for key in bundle.keys().filter(Dnskey::is_ksk) {
        let tag = key.tag();
        if tags.contains(&tag) {
            return Some(format!("two KSKs have the tag {tag}, which named cannot tell apart"));
        }
        tags.push(tag);
        let lacks = |rtype: Rtype| !bundle.signatures.iter().any(|s| s.covered == rtype && s.key_tag == tag);
        if let Some(rrset) = bundle.rrsets().find(|rrset| lacks(rrset.rtype)) {
            return Some(format!(
                "KSK {tag} is published and signs no {}, which named cannot serve",
                rrset.rtype
            ));
        }
    }
    None
}

/// True when `kept` can be served in the place of `left_out`, until `until`, and for what caches hold then.
fn holds_through(kept: &Bundle, left_out: &Bundle, until: Timestamp) -> bool {
    let zsks = |bundle: &Bundle| {
        let mut keys: Vec<_> = bundle.keys().filter(|key| !key.is_ksk()).map(|key| key.to_rdata()).collect();
        keys.sort();
        keys
    };
    zsks(kept) == zsks(left_out) && kept.expiration() >= until.plus(kept.dnskey.ttl.into())
}

/// How many seconds before its inception `bundle` may follow on `last`: none when its RRsets differ, since the ZSKs on disk change at
/// the very inception; at most half-way to the slot before, and to the inception of the signatures.
fn early(last: &Slot, bundle: &Bundle) -> u64 {
    let sets = |b: &Bundle| b.rrsets().map(|r| (r.rtype, r.ttl, r.canonical_rdatas())).collect::<Vec<_>>();
    if sets(&last.bundle) != sets(bundle) {
        return 0;
    }
    let valid =
        bundle.signatures.iter().map(|s| s.incepts(bundle.inception)).max().unwrap_or(bundle.inception);
    EARLY.min(bundle.inception.since(last.from) / 2).min(bundle.inception.since(valid) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystore::exchange::testing::{SkrBuilder, TestKey};

    const DAY: u64 = 86_400;

    fn t(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    #[test]
    fn bundles_that_only_renew_come_early_and_past_ones_are_left_out() {
        let bundles = SkrBuilder::new("example.", t(0)).bundles(4).build().bundles;
        let plan = DeliveryPlan::for_named(&bundles, t(9 * DAY + 5));
        let from: Vec<_> = plan.slots.iter().map(|s| s.from).collect();
        assert_eq!(from, [t(9 * DAY), t(18 * DAY - EARLY), t(27 * DAY - EARLY)]);
        assert_eq!(plan.warnings, Vec::<String>::new());
        assert_eq!(plan.at(t(18 * DAY - EARLY - 1)), Some(0));
        assert_eq!(plan.at(t(18 * DAY - EARLY)), Some(1));
        assert_eq!(plan.next(t(18 * DAY - EARLY)), Some(t(27 * DAY - EARLY)));
        assert_eq!([0, 1, 2].map(|i| plan.refresh(i)), [5 * DAY; 3]);
        assert_eq!(DeliveryPlan::for_named(&bundles[..1], t(0)).refresh(0), 7 * DAY);
        assert_eq!((plan.at(t(0)), plan.next(t(28 * DAY))), (None, None));
        let signed: Vec<_> =
            DeliveryPlan::as_signed(&bundles, t(9 * DAY)).slots.iter().map(|s| s.from).collect();
        assert_eq!(signed, [t(9 * DAY), t(18 * DAY), t(27 * DAY)]);
        assert_eq!(DeliveryPlan::for_named(&[], t(0)).slots, []);
    }

    #[test]
    fn seconds_between_bundles_are_halved() {
        let bundles = SkrBuilder::new("example.", t(0)).bundles(4).step(4).validity(6).build().bundles;
        let from: Vec<_> = DeliveryPlan::for_named(&bundles, t(0)).slots.iter().map(|s| s.from).collect();
        assert_eq!(from, [t(0), t(2), t(5), t(9)], "strictly in order");
    }

    #[test]
    fn other_keys_come_at_their_very_time() {
        let zsk = |seed| TestKey::zsk(seed).dnskey;
        let builder = SkrBuilder::new("example.", t(0)).bundles(3);
        let builder = builder.zsk(zsk(2)).zsk_during(zsk(3), t(9 * DAY), Timestamp::MAX);
        let from: Vec<_> =
            DeliveryPlan::for_named(&builder.build().bundles, t(0)).slots.iter().map(|s| s.from).collect();
        assert_eq!(from, [t(0), t(9 * DAY), t(18 * DAY - EARLY)]);
    }

    /// K2 is published from the second bundle on and signs from the third on: named's rekey fails at the second.
    fn prepublished(step: u64) -> Vec<Bundle> {
        let always = (Timestamp::EPOCH, Timestamp::MAX);
        SkrBuilder::new("example.", t(0))
            .bundles(4)
            .step(step)
            .ksk_during(TestKey::ksk(1), always, always)
            .ksk_during(TestKey::ksk(5), (t(step), Timestamp::MAX), (t(2 * step), Timestamp::MAX))
            .build()
            .bundles
    }

    #[test]
    fn a_ksk_that_does_not_sign_yet_is_left_out_where_the_bundle_before_holds() {
        let bundles = prepublished(7500);
        assert!(unservable(&bundles[1]).unwrap().contains("is published and signs no DNSKEY"));
        // From before, in the middle of, and after the bundle that is left out.
        for (now, expected) in [(0, vec![0, 2, 3]), (7600, vec![0, 2, 3]), (15_001, vec![2, 3])] {
            let plan = DeliveryPlan::for_named(&bundles, t(now));
            let kept: Vec<_> = plan.slots.iter().map(|s| s.bundle.inception).collect();
            assert_eq!(kept, expected.iter().map(|i| bundles[*i].inception).collect::<Vec<_>>(), "{now}");
            assert_eq!(plan.warnings.is_empty(), now > 15_000);
            assert!(plan.at(t(now)).is_some());
        }
    }

    #[test]
    fn it_is_kept_with_a_warning_where_nothing_holds_through_it() {
        let bundles = prepublished(9 * DAY);
        let plan = DeliveryPlan::for_named(&bundles, t(0));
        assert_eq!(plan.slots.len(), 4, "the signatures of the first do not last 18 days");
        assert!(plan.warnings[0].ends_with("named will refuse to switch to it and keep what it serves"));
        assert_eq!(plan.warnings.len(), 1);
    }

    #[test]
    fn the_text_reads_back_with_the_times_of_the_slots() {
        let bundles = SkrBuilder::new("example.", t(0)).bundles(3).build().bundles;
        let zone = Name::parse("example.").unwrap();
        let plan = DeliveryPlan::for_named(&bundles, t(0));
        let back = bind::parse_skr(plan.text(&zone, t(0), "a test").as_bytes(), &zone).unwrap();
        let times: Vec<_> = back.bundles.iter().map(|b| b.inception).collect();
        assert_eq!(times, plan.slots.iter().map(|s| s.from).collect::<Vec<_>>());
        assert_eq!(back.bundles[1].signatures, bundles[1].signatures);
    }
}
