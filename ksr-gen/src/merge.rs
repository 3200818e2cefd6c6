//! Merges the requests of several providers of one zone into one, RFC 8901 model 1: one KSK, a ZSK set for each provider, and in every
//! DNSKEY RRset the ZSKs of all.
//!
//! ```text
//!   a   ├── A1 ───────────┼── A1 A2 ───┼── A2 ─────
//!   b        ├── B1 ──────────┼── B1 B2 ─────┼── B2
//!   out      ├ A1 B1 ─────┼ A1 A2 B1 ┼ … a bundle at each inception of any, with the ZSKs of all
//! ```
//! The merged request begins where the last one begins: before that one provider's zone would have no key in it.

use keystore::dns::{Name, Rtype};
use keystore::exchange::{Bundle, Ksr, KsrBundle};
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

/// Octets of a DNSKEY answer that UDP carries everywhere without fragments (DNS flag day 2020).
pub const UDP_OCTETS: usize = 1232;
/// Octets that most servers and resolvers take over UDP at most; larger answers always need TCP.
pub const LARGE_OCTETS: usize = 4096;

/// A request, and what to call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKsr {
    /// Name of the file.
    pub name: String,
    /// The request.
    pub ksr: Ksr,
}

/// Error of requests that cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// A request of another zone.
    #[error("{name} is a request for {zone}, {first} for {other}; only requests of one zone are merged")]
    Zone {
        /// Name of the file.
        name: String,
        /// Zone of the request.
        zone: Name,
        /// The first file.
        first: String,
        /// The zone of that.
        other: Name,
    },
    /// Nothing to merge.
    #[error("{0} has no bundles")]
    Empty(String),
    /// Bundles out of order: the requests must be sound by themselves first.
    #[error("the bundles of {0} are not in the order of their times")]
    Order(String),
}

/// The merged request, without proofs: those are of each provider's own bundles, and checked there.
///
/// Bundles are in order of time; keys in the order of the files, each once. With one request it is that request.
pub fn merge(requests: &[NamedKsr]) -> Result<Ksr, MergeError> {
    let Some(first) = requests.first() else { return Err(MergeError::Empty("the command line".to_owned())) };
    for NamedKsr { name, ksr } in requests {
        if ksr.zone != first.ksr.zone {
            return Err(MergeError::Zone {
                name: name.clone(),
                zone: ksr.zone.clone(),
                first: first.name.clone(),
                other: first.ksr.zone.clone(),
            });
        }
        if ksr.bundles.is_empty() {
            return Err(MergeError::Empty(name.clone()));
        }
        if !ksr.bundles.is_sorted_by(|a, b| a.inception < b.inception) {
            return Err(MergeError::Order(name.clone()));
        }
    }
    let start = requests.iter().map(|r| r.ksr.bundles[0].inception).max().unwrap_or(Timestamp::EPOCH);
    let mut inceptions: Vec<Timestamp> =
        requests.iter().flat_map(|r| &r.ksr.bundles).map(|b| b.inception).filter(|at| *at >= start).collect();
    inceptions.sort_unstable();
    inceptions.dedup();
    let bundles = inceptions.into_iter().map(|inception| {
        let mut keys: Vec<Dnskey> = Vec::new();
        let mut ttl = u32::MAX;
        for bundle in requests.iter().filter_map(|request| in_force(&request.ksr, inception)) {
            ttl = ttl.min(bundle.ttl);
            for key in &bundle.keys {
                if !keys.contains(key) {
                    keys.push(key.clone());
                }
            }
        }
        KsrBundle { inception, ttl, keys, proofs: Vec::new() }
    });
    Ok(Ksr { zone: first.ksr.zone.clone(), bundles: bundles.collect() })
}

/// The bundle of `ksr` that is in force at `at`.
fn in_force(ksr: &Ksr, at: Timestamp) -> Option<&KsrBundle> {
    ksr.bundles.partition_point(|b| b.inception <= at).checked_sub(1).map(|i| &ksr.bundles[i])
}

/// Octets of the answer to a query for the DNSKEY RRset of a bundle, with DO: header, question, OPT, records with compressed
/// owners, and their signatures.
#[must_use]
pub fn answer_octets(bundle: &Bundle) -> usize {
    const HEADER: usize = 12 + 4 + 11;
    const RECORD: usize = 2 + 10;
    let zone = bundle.dnskey.owner.as_wire().len();
    let keys: usize = bundle.dnskey.rdatas.iter().map(|rdata| RECORD + rdata.len()).sum();
    let signatures = bundle.signatures.iter().filter(|s| s.covered == Rtype::DNSKEY);
    HEADER + zone + keys + signatures.map(|s| RECORD + 18 + zone + s.signature.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use keystore::exchange::testing::TestKey;
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 86_400;

    fn at(day: u64) -> Timestamp {
        Timestamp::from_secs((20_000 + day) * DAY)
    }

    fn request(name: &str, bundles: &[(u64, &[u8])]) -> NamedKsr {
        let bundle = |(day, seeds): &(u64, &[u8])| KsrBundle {
            inception: at(*day),
            ttl: 3600,
            keys: seeds.iter().map(|seed| TestKey::zsk(*seed).dnskey).collect(),
            proofs: Vec::new(),
        };
        let zone = Name::parse("example.").expect("a name");
        NamedKsr { name: name.to_owned(), ksr: Ksr { zone, bundles: bundles.iter().map(bundle).collect() } }
    }

    fn tags(bundle: &KsrBundle) -> BTreeSet<u16> {
        bundle.keys.iter().map(Dnskey::tag).collect()
    }

    #[test]
    fn one_request_stays_as_it_is() {
        let a = request("a", &[(0, &[1]), (10, &[1, 2]), (20, &[2])]);
        assert_eq!(merge(std::slice::from_ref(&a)), Ok(a.ksr));
    }

    #[test]
    fn at_each_instant_the_keys_of_all_are_in_it_and_the_order_of_files_plays_no_part() {
        let a = request("a", &[(0, &[1]), (10, &[1, 2]), (20, &[2])]);
        let b = request("b", &[(5, &[3]), (10, &[3]), (15, &[3, 4]), (30, &[4])]);
        let c = request("c", &[(2, &[5, 1])]);
        let all = [a, b, c];
        let merged = merge(&all).expect("sound requests");
        let days: Vec<u64> = merged.bundles.iter().map(|b| b.inception.secs() / DAY - 20_000).collect();
        assert_eq!(days, [5, 10, 15, 20, 30], "from the latest begin on, each inception of any");
        for day in 5..40 {
            let want: BTreeSet<u16> =
                all.iter().flat_map(|r| tags(in_force(&r.ksr, at(day)).expect("covered"))).collect();
            let got = in_force(&merged, at(day)).expect("covered");
            assert_eq!(tags(got), want, "day {day}");
            assert_eq!(got.keys.len(), want.len(), "no key twice");
        }
        for order in [[2, 1, 0], [1, 0, 2]] {
            let other = merge(&order.map(|i| all[i].clone())).expect("sound requests");
            let sets = |ksr: &Ksr| ksr.bundles.iter().map(|b| (b.inception, tags(b))).collect::<Vec<_>>();
            assert_eq!(sets(&other), sets(&merged));
        }
    }

    proptest! {
        /// Of any requests: a bundle where any begins once all have begun, at each instant the keys of all, each once; the order of
        /// the files changes nothing but that of the keys, and a request merged with itself is itself.
        #[test]
        fn the_keys_of_all_at_each_instant(all in proptest::collection::vec(
            proptest::collection::btree_map(0u64..40, proptest::collection::btree_set(1u8..9, 0..4), 1..6), 1..5)) {
            let all: Vec<NamedKsr> = all.iter().enumerate().map(|(i, bundles)| {
                let bundles: Vec<(u64, Vec<u8>)> =
                    bundles.iter().map(|(day, seeds)| (*day, seeds.iter().copied().collect())).collect();
                let bundles: Vec<(u64, &[u8])> = bundles.iter().map(|(day, seeds)| (*day, &seeds[..])).collect();
                request(&i.to_string(), &bundles)
            }).collect();
            let merged = merge(&all).expect("sound requests");
            let begin = all.iter().map(|r| r.ksr.bundles[0].inception).max().expect("one");
            prop_assert_eq!(merged.bundles[0].inception, begin);
            for day in 0..45 {
                let want: Option<BTreeSet<u16>> = (at(day) >= begin).then(|| {
                    all.iter().flat_map(|r| tags(in_force(&r.ksr, at(day)).expect("begun"))).collect()
                });
                let got = in_force(&merged, at(day));
                prop_assert_eq!(got.map(tags), want, "day {}", day);
                prop_assert!(got.is_none_or(|b| b.keys.len() == tags(b).len()));
                let begins = all.iter().flat_map(|r| &r.ksr.bundles).any(|b| b.inception == at(day));
                prop_assert_eq!(
                    merged.bundles.iter().any(|b| b.inception == at(day)),
                    begins && at(day) >= begin
                );
            }
            let sets = |ksr: &Ksr| ksr.bundles.iter().map(|b| (b.inception, tags(b), b.ttl)).collect::<Vec<_>>();
            let turned: Vec<NamedKsr> = all.iter().rev().cloned().collect();
            prop_assert_eq!(sets(&merge(&turned).expect("sound requests")), sets(&merged));
            let twice = [all[0].clone(), all[0].clone()];
            prop_assert_eq!(merge(&twice), Ok(all[0].ksr.clone()));
        }
    }

    #[test]
    fn what_cannot_be_merged() {
        let a = request("a", &[(0, &[1])]);
        let mut other = request("b", &[(0, &[2])]);
        other.ksr.zone = Name::parse("other.").expect("a name");
        let text = |requests: &[NamedKsr]| merge(requests).expect_err("refused").to_string();
        assert!(text(&[a.clone(), other]).contains("b is a request for other."));
        assert!(text(&[a.clone(), request("b", &[])]).contains("b has no bundles"));
        assert!(text(&[a, request("b", &[(2, &[1]), (1, &[1])])]).contains("order"));
        assert!(merge(&[]).is_err());
    }
}
