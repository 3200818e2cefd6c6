//! The names of several queries looked up side by side, before they are answered one after another.
//!
//! In a large zone each step of a look-up waits for memory: table, block, name, RRset, signature. Where the names of a batch take each step
//! together, the processor fetches for all of them at once, and the answers find in its caches what they need. Nothing is decided
//! here: what is read is thrown away, and a guess that is wrong costs time alone.

use std::hint::black_box;

use super::query::{Head, Question};
use crate::signing::SignedZone;
use crate::signing::denial::Chain;
use crate::sorted::{ChunkPlace, Sorted};
use crate::zone::{KeyBuf, KeyHash, Node, NodeId, Zone, key_prefix};

/// Queries that are looked up side by side. The processor fetches about as many lines of memory at once.
pub const MOST_AHEAD: usize = 16;
/// Names of a zone below which all that queries need stays in the caches of the processor.
/// In tests every zone counts as large, so that all of them look ahead.
const LARGE: usize = if cfg!(test) { 1 } else { 30_000 };

/// Names of the zone that these queries lead to: one for a name that is asked for, one for that below the apex, one that denies it.
const MOST_NODES: usize = 3 * MOST_AHEAD;

/// A name that is asked for.
#[derive(Clone, Copy)]
struct Asked<'q> {
    wire: &'q [u8],
    /// Of its search key.
    hash: KeyHash,
    prefix: u64,
    /// Where the name one label below the apex begins in `wire`, and its hash, when that is another name.
    top: Option<(usize, KeyHash)>,
}

/// Reads from `zone` what the answers to the first [`MOST_AHEAD`] of `queries` will need. Without effect in small zones, and for octets
/// that are no query for a name of the zone.
pub fn look_ahead(zone: &SignedZone, queries: &[&[u8]]) {
    // One query waits for each step alone, here as there.
    if queries.len() < 2 || zone.zone().name_count() < LARGE {
        return;
    }
    let mut asked: Few<Asked<'_>, MOST_AHEAD> = Few::new();
    for query in queries.iter().take(MOST_AHEAD) {
        if let Some(name) = Asked::of(zone.zone(), query) {
            asked.push(name);
        }
    }
    walk(zone, &asked);
}

impl<'q> Asked<'q> {
    fn of(zone: &Zone, query: &'q [u8]) -> Option<Self> {
        let Question { name, labels, .. } = Head::parse(query)?.question(query)?;
        let below = labels.below(name, zone.origin().as_wire())?;
        let key = KeyBuf::of(name, &labels, below);
        let key = key.as_slice();
        let top = (below > 1).then(|| {
            let end = key.iter().position(|octet| *octet == 0).map_or(key.len(), |at| at + 1);
            (labels.offset(below - 1), zone.key_hash(&key[..end]))
        });
        Some(Self { wire: name, hash: zone.key_hash(key), prefix: key_prefix(key), top })
    }
}

/// Reads what the answers to these names need; gives the names of the zone that it was read of.
fn walk(signed: &SignedZone, asked: &Few<Asked<'_>, MOST_AHEAD>) -> Few<NodeId, MOST_NODES> {
    let zone = signed.zone();
    let hashes = || asked.iter().flat_map(|name| [Some(name.hash), name.top.map(|(_, hash)| hash)]).flatten();
    read(hashes(), |hash| zone.read_table(hash));
    let mut nodes: Few<NodeId, MOST_NODES> = Few::new();
    let mut absent: Few<(Asked<'_>, Option<NodeId>), MOST_AHEAD> = Few::new();
    for name in asked.iter() {
        let node = zone.guess(name.hash);
        let top = name.top.and_then(|(_, hash)| zone.guess(hash));
        node.into_iter().chain(top).for_each(|node| nodes.push(node));
        if node.is_none() {
            absent.push((name, top));
        }
    }
    read_nodes(signed, &nodes);
    // A name below a delegation is not denied.
    let denied = || absent.iter().filter(|(_, top)| top.is_none_or(|top| zone.node(top).cut.is_none()));
    let mut denying: Few<NodeId, MOST_NODES> = Few::new();
    match signed.chain() {
        Chain::Nothing => {}
        Chain::Nsec => {
            let prefixes = denied().map(|(name, _)| name.prefix);
            find_in_order(zone.order(), prefixes, &mut denying);
        }
        // More iterations take longer than what they would save.
        Chain::Nsec3(chain) if chain.nsec3().iterations == 0 => {
            let prefixes = denied().map(|(name, top)| {
                // The next closer name: mostly the one below the apex, or the one asked for.
                let start = name.top.filter(|_| top.is_none()).map_or(0, |(start, _)| start);
                chain.prefix_of(&name.wire[start..])
            });
            find_in_order(chain.order(), prefixes, &mut denying);
        }
        Chain::Nsec3(_) => {}
    }
    read_nodes(signed, &denying);
    denying.iter().for_each(|node| nodes.push(node));
    nodes
}

/// Reads what the version has for these names, each step for all of them.
fn read_nodes(signed: &SignedZone, nodes: &Few<NodeId, MOST_NODES>) {
    read(nodes.iter(), |node| signed.read_block(node));
    read(nodes.iter(), |node| signed.read_name(node));
    read(nodes.iter(), |node| signed.read_content(node));
}

/// Finds the entries in front of keys with these prefixes, all groups of chunks first, then all chunks.
fn find_in_order(
    order: &Sorted<Node>,
    prefixes: impl Iterator<Item = u64>,
    found: &mut Few<NodeId, MOST_NODES>,
) {
    let mut places: Few<(u64, ChunkPlace), MOST_AHEAD> = Few::new();
    for prefix in prefixes {
        if let Some(place) = order.chunk_near(prefix) {
            places.push((prefix, place));
        }
    }
    read(places.iter(), |(_, place)| order.read_chunk(place));
    for (prefix, place) in places.iter() {
        if let Some(node) = order.near(prefix, place) {
            found.push(node);
        }
    }
}

/// Reads something of each; the sum keeps the reading from being left out.
fn read<T>(all: impl Iterator<Item = T>, mut one: impl FnMut(T) -> usize) {
    black_box(all.fold(0, |sum, each| one(each).wrapping_add(sum)));
}

/// At most `N` entries; those that find no room are left out.
struct Few<T, const N: usize> {
    entries: [Option<T>; N],
    len: usize,
}

impl<T: Copy, const N: usize> Few<T, N> {
    const fn new() -> Self {
        Self { entries: [None; N], len: 0 }
    }

    fn push(&mut self, entry: T) {
        if let Some(room) = self.entries.get_mut(self.len) {
            *room = Some(entry);
            self.len += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = T> {
        self.entries[..self.len].iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::super::{Arrival, Context, Transport, answer};
    use super::*;
    use crate::signing::denial::HashPosition;
    use crate::signing::{Denial, Nsec3, SigningKeys, SigningPolicy, sign};
    use crate::testing::{DAY, NOW, POLICY, bundle, keys, name, signed_by, zone};

    const NAMES: usize = 400;

    /// The names of `bench.test` that exist have an even number.
    fn query(owner: &str) -> Vec<u8> {
        let mut out = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        out.extend_from_slice(name(&format!("{owner}.bench.test")).as_wire());
        out.extend_from_slice(&[0, 1, 0, 1]);
        out
    }

    fn signed(denial: Denial) -> SignedZone {
        let mut text = "@ SOA ns1 admin 1 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\n".to_owned();
        (0..NAMES).for_each(|n| text.push_str(&format!("h{:06} A 192.0.2.2\n", 2 * n)));
        signed_by(zone("bench.test", &text).expect("a zone"), &SigningPolicy { denial, ..POLICY })
            .expect("signs")
    }

    /// The share of queries, in percent, for which the node that `needed` gives is read.
    fn share(
        signed: &SignedZone,
        owner: impl Fn(usize) -> String,
        needed: impl Fn(&[u8], &[u8]) -> NodeId,
    ) -> usize {
        let queries: Vec<Vec<u8>> = (0..NAMES).map(|n| query(&owner(n))).collect();
        let mut found = 0;
        for batch in queries.chunks(MOST_AHEAD) {
            let mut asked = Few::new();
            batch
                .iter()
                .filter_map(|query| Asked::of(signed.zone(), query))
                .for_each(|name| asked.push(name));
            let nodes: Vec<NodeId> = walk(signed, &asked).iter().collect();
            found += asked
                .iter()
                .filter(|name| {
                    let key = signed.zone().key_of(name.wire).expect("a name of the zone");
                    nodes.contains(&needed(key.as_slice(), name.wire))
                })
                .count();
        }
        100 * found / NAMES
    }

    #[test]
    fn what_most_answers_need_is_read_ahead_with_nsec_and_nsec3() {
        for denial in [Denial::Nsec, Denial::Nsec3(Nsec3::new(0, false))] {
            let signed = signed(denial);
            let zone = signed.zone();
            // The tag of a hash has seven bits, so that some names are taken for others.
            let positive =
                share(&signed, |n| format!("h{:06}", 2 * n), |key, _| zone.get(key).expect("it exists"));
            assert!(positive > 70, "{positive} %");
            let below = share(&signed, |n| format!("a.h{:06}", 2 * n), |key, _| zone.closest_encloser(key));
            assert!(below > 70, "{below} %");
            let denied = share(
                &signed,
                |n| format!("h{:06}", 2 * n + 1),
                |key, wire| match signed.chain() {
                    Chain::Nothing | Chain::Nsec => zone.last_up_to(key),
                    Chain::Nsec3(chain) => match signed.find_hash(chain, chain.nsec3().hash(wire)) {
                        HashPosition::Covered(node) | HashPosition::Matches(node) => node,
                    },
                },
            );
            assert!(denied > 60, "{denied} %");
        }
    }

    /// Versions that follow each other by random changes, each asked for names that are there, that were there, and that never were.
    #[test]
    fn no_answer_depends_on_what_is_read_ahead_whatever_the_versions_before_had() {
        let (ksk, zsk) = keys();
        let bundle = bundle(&name("bench.test"), ksk, &[zsk], NOW, 30 * DAY);
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let kinds = ["A 192.0.2.1", "NS ns.other.test.", "DNAME other.test.", "CNAME h000001", "TXT \"x\""];
        for denial in [Denial::Nsec, Denial::Nsec3(Nsec3::new(0, false)), Denial::Nsec3(Nsec3::new(0, true))]
        {
            let policy = SigningPolicy { denial, ..POLICY };
            let mut at: Option<SignedZone> = None;
            let mut names: BTreeMap<u64, u64> = BTreeMap::new();
            for serial in 1..40 {
                for _ in 0..12 {
                    let label = next(200);
                    if names.remove(&label).is_none() {
                        names.insert(label, next(7));
                    }
                }
                let mut text =
                    "@ SOA ns1 admin 1 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\n".to_owned();
                for (label, kind) in &names {
                    let (below, kind) = match *kind {
                        5 => ("a.b.", "A 192.0.2.3"),
                        6 => ("*.", "A 192.0.2.4"),
                        kind => ("", kinds[kind as usize]),
                    };
                    text.push_str(&format!("{below}h{label:06} {kind}\n"));
                }
                let read = zone("bench.test", &text).expect("a zone");
                let content = match &at {
                    None => read,
                    Some(before) => before.zone().succeeded_by(&read).expect("a small change"),
                };
                let key = SigningKeys::from(std::slice::from_ref(zsk));
                let signed =
                    sign(&Arc::new(content), &bundle, key, &policy, serial, at.as_ref(), NOW).expect("signs");
                let below = ["", "x.", "a.b.", "b.", "*.", "x.a.b."];
                let queries: Vec<Vec<u8>> = (0..3 * MOST_AHEAD as u64)
                    .map(|_| query(&format!("{}h{:06}", below[next(6) as usize], next(220))))
                    .collect();
                let answers = |signed: &SignedZone| -> Vec<Vec<u8>> {
                    let context = Context { arrival: Arrival::new(Transport::Udp, 1232), now: NOW };
                    let mut out = Vec::new();
                    let of = |query: &Vec<u8>| {
                        answer(signed, query, &context, &mut out);
                        out.clone()
                    };
                    queries.iter().map(of).collect()
                };
                let alone = answers(&signed);
                for batch in queries.chunks(MOST_AHEAD) {
                    let batch: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
                    look_ahead(&signed, &batch);
                }
                assert_eq!(answers(&signed), alone);
                at = Some(signed);
            }
        }
    }

    #[test]
    fn octets_that_are_no_query_and_names_of_other_zones_are_left_out() {
        let signed = signed(Denial::Nsec);
        let whole = query("h000000");
        for len in 0..whole.len() {
            assert!(Asked::of(signed.zone(), &whole[..len]).is_none(), "{len} octets");
        }
        let other = [&whole[..12], name("h000000.bench.example").as_wire(), &[0, 1, 0, 1]].concat();
        assert!(Asked::of(signed.zone(), &other).is_none());
        assert!(Asked::of(signed.zone(), &whole).is_some());
        look_ahead(&signed, &[&whole, &other, &[], &whole[..20]]);
    }
}
