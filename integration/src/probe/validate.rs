//! Verifies what strangers have signed, within a budget: a zone with many keys of one tag and many signatures can make a validator
//! work for minutes (KeyTrap, CVE-2023-50387).

use std::collections::BTreeMap;

use keystore::crypto::{self, Algorithm};
use keystore::dns::{Name, Rrset, Rrsig};
use keystore::exchange::TrustAnchor;
use keystore::keys::{Dnskey, signature};
use keystore::time::Timestamp;
use skr_loader::ask::RrsetAnswer;

/// Most signatures over one RRset that are verified.
const MAX_SIGNATURES: usize = 16;
/// Most keys of one tag and algorithm that are tried.
const MAX_OF_ONE_TAG: usize = 4;
/// Most verifications for one server, or for one walk down from a trust anchor. A zone in the middle of an algorithm rollover takes
/// about 50.
const MAX_VERIFICATIONS: u32 = 128;

/// The keys of a DNSKEY RRset, found by tag and algorithm.
#[derive(Debug, Clone, Default)]
pub struct DnskeySet(BTreeMap<(u16, Algorithm), OneTag>);

/// Keys of one tag and algorithm.
#[derive(Debug, Clone, Default)]
struct OneTag {
    keys: Vec<Dnskey>,
    /// There are more than are tried.
    cut: bool,
}

impl DnskeySet {
    /// Reads the keys of an RRset. Of each tag and algorithm a few are kept.
    #[must_use]
    pub fn of(dnskey: &Rrset) -> Self {
        let mut by_tag: BTreeMap<_, OneTag> = BTreeMap::new();
        for key in dnskey.rdatas.iter().filter_map(|rdata| Dnskey::from_rdata(rdata)) {
            let of_tag = by_tag.entry((key.tag(), key.algorithm)).or_default();
            if of_tag.keys.len() < MAX_OF_ONE_TAG {
                of_tag.keys.push(key);
            } else {
                of_tag.cut = true;
            }
        }
        Self(by_tag)
    }

    /// The key that an anchor names, where there is one.
    #[must_use]
    pub fn matching(&self, zone: &Name, anchor: &TrustAnchor) -> Option<&Dnskey> {
        // By the tag first: each key that is tried costs a digest.
        let tag = anchor.tag();
        let of_tag = self.0.range((tag, Algorithm(0))..=(tag, Algorithm(u8::MAX)));
        of_tag.flat_map(|(_, of_tag)| &of_tag.keys).find(|key| anchor.matches(zone, key))
    }

    /// A key of this tag, of any algorithm.
    #[must_use]
    pub fn of_tag(&self, tag: u16) -> Option<&Dnskey> {
        self.0
            .range((tag, Algorithm(0))..=(tag, Algorithm(u8::MAX)))
            .find_map(|(_, of_tag)| of_tag.keys.first())
    }
}

/// How many verifications are left.
#[derive(Debug)]
pub struct Budget {
    left: u32,
    exceeded: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: MAX_VERIFICATIONS, exceeded: false }
    }
}

impl Budget {
    /// True when something was left unverified because it would have cost too much.
    #[must_use]
    pub const fn is_exceeded(&self) -> bool {
        self.exceeded
    }

    const fn take(&mut self) -> bool {
        self.exceeded |= self.left == 0;
        self.left = self.left.saturating_sub(1);
        !self.exceeded
    }
}

/// The signatures over an RRset that verify with a key of `zone`, each with its key. Whether they are valid now is the caller's
/// matter, so that a wrong time is told from a wrong signature; `now` says which time of a signature's 32 bits is meant.
pub fn verified<'a>(
    answer: &'a RrsetAnswer,
    zone: &Name,
    keys: &'a DnskeySet,
    now: Timestamp,
    budget: &mut Budget,
) -> Vec<(&'a Rrsig, &'a Dnskey)> {
    let rrset = &answer.rrset;
    let mut found = Vec::new();
    let canonical = if answer.signatures.is_empty() { Vec::new() } else { rrset.canonical_rdatas() };
    for made in answer.signatures.iter().take(MAX_SIGNATURES) {
        let Some(of_tag) = keys.0.get(&(made.key_tag, made.algorithm)) else { continue };
        let fits = |key: &&Dnskey| signature::check_fields(rrset, zone, key, made, made.expires(now)).is_ok();
        let mut fitting = of_tag.keys.iter().filter(fits).peekable();
        if fitting.peek().is_none() {
            continue;
        }
        let data = made.signed_data_of(rrset, &canonical);
        let verifies = |key: &&Dnskey| {
            budget.take() && crypto::verify(made.algorithm, &key.public_key, &data, &made.signature).is_ok()
        };
        match fitting.find(verifies) {
            Some(key) => found.push((made, key)),
            None => budget.exceeded |= of_tag.cut,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use keystore::dns::Rtype;
    use keystore::exchange::testing::TestKey;

    use super::*;

    fn zone() -> Name {
        Name::parse("example.").expect("a name")
    }

    fn now() -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }

    /// A DNSKEY RRset with a signature by `key`, and `more` keys of its tag before it.
    fn colliding(key: &TestKey, more: usize) -> RrsetAnswer {
        // Two 16-bit words that change places leave the sum, which the tag is, as it was.
        let other = |i: usize| {
            let mut other = key.dnskey.clone();
            let swapped = (i / 15 * 2, (i % 15 + 1) * 2 % 32);
            for octet in 0..2 {
                other.public_key.swap(swapped.0 + octet, swapped.1 + octet);
            }
            other
        };
        let mut keys: Vec<Dnskey> = (0..more).map(other).collect();
        keys.push(key.dnskey.clone());
        let rdatas = keys.iter().map(|key| key.to_rdata().into_boxed_slice()).collect();
        let rrset = Rrset { owner: zone(), rtype: Rtype::DNSKEY, ttl: 60, rdatas };
        let signatures = vec![key.sign(&rrset, now().minus(60), now().plus(60))];
        RrsetAnswer { rrset, signatures, authentic: false, expire: None }
    }

    #[test]
    fn keys_of_one_tag_are_tried_up_to_the_limit_and_more_are_told() {
        let key = TestKey::ksk(1);
        for (more, found, exceeded) in [(0, 1, false), (3, 1, false), (4, 0, true), (14, 0, true)] {
            let answer = colliding(&key, more);
            let keys = DnskeySet::of(&answer.rrset);
            assert_eq!(keys.0.len(), 1, "one tag");
            let mut budget = Budget::default();
            let good = verified(&answer, &zone(), &keys, now(), &mut budget);
            assert_eq!((good.len(), budget.is_exceeded()), (found, exceeded), "{more} more keys");
            assert!(MAX_VERIFICATIONS - budget.left <= 4, "{}", budget.left);
        }
    }

    #[test]
    fn many_signatures_over_many_sets_end_with_the_budget() {
        let key = TestKey::ksk(1);
        let mut answer = colliding(&key, 3);
        let mut wrong = answer.signatures[0].clone();
        wrong.signature[0] ^= 1;
        answer.signatures = vec![wrong; 1000];
        let keys = DnskeySet::of(&answer.rrset);
        let mut budget = Budget::default();
        for sets in 1..=3 {
            assert!(verified(&answer, &zone(), &keys, now(), &mut budget).is_empty());
            let spent = 64 * sets;
            assert_eq!(budget.left, MAX_VERIFICATIONS.saturating_sub(spent), "16 signatures, 4 keys each");
            assert_eq!(budget.is_exceeded(), spent > MAX_VERIFICATIONS, "{sets}");
        }
    }

    #[test]
    fn an_anchor_finds_its_key_by_tag() {
        let (key, other) = (TestKey::ksk(1), TestKey::ksk(2));
        let keys = DnskeySet::of(&colliding(&key, 2).rrset);
        let ds = |key: &TestKey| TrustAnchor::Ds(key.dnskey.ds_rdata(&zone(), 2).expect("SHA-256"));
        assert_eq!(keys.matching(&zone(), &ds(&key)), Some(&key.dnskey));
        assert_eq!(keys.matching(&zone(), &TrustAnchor::Dnskey(key.dnskey.clone())), Some(&key.dnskey));
        assert_eq!(keys.matching(&zone(), &ds(&other)), None);
        assert_eq!(keys.matching(&zone(), &TrustAnchor::Ds(vec![])), None);
    }
}
