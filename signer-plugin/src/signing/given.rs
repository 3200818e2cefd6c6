//! A version for which nothing is made here: it has the records of its zone, unsigned or as another signer has signed them.
//!
//! A presigned zone has its RRSIG, NSEC and NSEC3 records among its own. The signatures of an RRset are a part of the RRSIG RRset of its
//! name, as that is sorted by the type that is covered. The owner of an NSEC3 record has a node like every name; where it has nothing
//! else, nothing that is asked for finds it (RFC 5155 section 7.2.8).

use std::sync::{Arc, OnceLock};

use keystore::dns::Rtype;
use keystore::dns::nsec3::{MOST_GIVEN_ITERATIONS, NameHash};
use keystore::time::Timestamp;
use rayon::prelude::*;

use super::block::BlockFacts;
use super::denial::{Chain, HashPosition, Nsec3, Nsec3Chain, OwnerBuf};
use super::tally::Tally;
use super::{Basis, RecordSource, RrsetView, SignedZone, SigningTimes, plan, soa_with_serial};
use crate::blocks::Blocks;
use crate::rules::DnssecRecords;
use crate::zone::{NODES, NodeId, Records, Zone};

impl SignedZone {
    /// A version with the records of `zone` alone; `serial` is the SOA serial to serve, that of the zone where it is presigned. What is known
    /// of `base`, the version before, is taken over where the zone did not change. `now` says which times of signatures are meant.
    pub(crate) fn given(zone: &Arc<Zone>, serial: u32, base: Option<&Self>, now: Timestamp) -> Self {
        let base = base.filter(|base| {
            base.source == RecordSource::Zone
                && base.zone.dnssec() == zone.dnssec()
                && zone.goes_on_from(&base.zone)
        });
        let changed = base.map(|base| zone.blocks_not_shared(&base.zone));
        let (facts, chain) = match zone.dnssec() {
            DnssecRecords::LeftOut => (Vec::new(), Chain::Nothing),
            DnssecRecords::Kept => (
                facts_of(zone, base.zip(changed.as_deref()), now),
                chain_of(zone, base.zip(changed.as_deref())),
            ),
        };
        let all = facts.iter().copied().fold(BlockFacts::NOTHING, BlockFacts::and);
        let times = SigningTimes { validity: 0, refresh: 0, jitter: 0 };
        Self {
            zone: Arc::clone(zone),
            source: RecordSource::Zone,
            serial,
            keys: Vec::new(),
            slot_len: 0,
            blocks: Blocks::from_iter([]),
            facts,
            all,
            renewed: None,
            chain,
            soa: soa_with_serial(zone, serial),
            negative_ttl: zone.negative_ttl(),
            apex: Vec::new(),
            earliest_ksk: Timestamp::MAX,
            tally: Tally { earliest: all.earliest, ..Tally::NOTHING },
            basis: Basis { times, retiring: Vec::new(), made_at: Timestamp::MAX },
            no_apex_wildcard: OnceLock::new(),
        }
    }

    /// True for a version for which nothing was made here.
    pub(crate) fn is_given(&self) -> bool {
        self.source == RecordSource::Zone
    }

    /// True for a version without DNSSEC records, as its zone is not signed.
    pub(crate) fn is_unsigned(&self) -> bool {
        self.source == RecordSource::Zone && self.zone.dnssec() == DnssecRecords::LeftOut
    }

    /// True for a version with denial records.
    pub(crate) const fn has_chain(&self) -> bool {
        !matches!(self.chain, Chain::Nothing)
    }

    /// True for a version whose DNSSEC records came with its zone.
    pub(crate) fn is_presigned(&self) -> bool {
        self.source == RecordSource::Zone && self.zone.dnssec() == DnssecRecords::Kept
    }

    /// True for a name that has an NSEC3 record and nothing else, so that no query is for it.
    pub(crate) fn is_hidden(&self, node: NodeId) -> bool {
        self.is_presigned()
            && self.zone.find(node, Rtype::NSEC3).is_some()
            && self.zone.node(node).children == 0
            && self
                .zone
                .rrsets_of(node)
                .all(|id| matches!(self.zone.rrset(id).rtype, Rtype::NSEC3 | Rtype::RRSIG))
    }

    /// The signatures over an RRset of a presigned zone.
    pub(super) fn given_signatures(&self, node: NodeId, rtype: Rtype) -> &[u8] {
        let Some(id) = self.zone.find(node, Rtype::RRSIG) else { return &[] };
        signatures_over(self.zone.rrset(id).data, rtype)
    }

    /// The denial record of a presigned zone that stands at a node, see [`SignedZone::denial`].
    pub(super) fn given_denial(&self, node: NodeId) -> RrsetView<'_> {
        let rtype = self.chain.rtype();
        let nothing = RrsetView { rtype, ttl: self.negative_ttl, data: &[], signatures: &[] };
        self.zone.find(node, rtype).map_or(nothing, |id| self.view(id))
    }

    /// Where the denial record stands that matches a name of the zone: at its node, and in a presigned zone with NSEC3 at that of its hash.
    /// `None` for a name that is not in the chain.
    pub(crate) fn denial_at(&self, node: NodeId) -> Option<NodeId> {
        match (&self.chain, self.source) {
            (Chain::Nsec3(chain), RecordSource::Zone) => {
                let hash = chain.nsec3().hash(self.zone.owner(node));
                match self.find_hash(chain, hash) {
                    HashPosition::Matches(record) => Some(record),
                    HashPosition::Covered(_) => None,
                }
            }
            _ => self.is_member(node).then_some(node),
        }
    }
}

/// The part of the RRSIG RRset of a name that covers `rtype`.
fn signatures_over(rrsigs: &[u8], rtype: Rtype) -> &[u8] {
    let covered = |rdata: &[u8]| rdata.first_chunk().map_or(0, |octets| u16::from_be_bytes(*octets));
    let (mut start, mut end) = (0, 0);
    for rdata in Records(rrsigs) {
        let len = 2 + rdata.len();
        match covered(rdata).cmp(&rtype.0) {
            std::cmp::Ordering::Less => (start, end) = (start + len, end + len),
            std::cmp::Ordering::Equal => end += len,
            std::cmp::Ordering::Greater => break,
        }
    }
    &rrsigs[start..end]
}

/// The hash that the owner of an NSEC3 record has as its first label; zeros where it is none.
pub(super) fn hash_of_owner(owner: &[u8]) -> NameHash {
    owner.first_chunk().and_then(NameHash::of_label).unwrap_or(NameHash([0; 20]))
}

/// When the first signature of each block ends.
fn facts_of(zone: &Zone, base: Option<(&SignedZone, &[usize])>, now: Timestamp) -> Vec<BlockFacts> {
    let of_block = |number: usize| {
        let nodes = zone.block_nodes(number).filter(|node| zone.exists(*node));
        let rrsigs = nodes.filter_map(|node| Some(zone.rrset(zone.find(node, Rtype::RRSIG)?).data));
        let ends = rrsigs.flat_map(Records).filter_map(|rdata| Some(plan::times(rdata, now)?.1));
        BlockFacts { earliest: ends.min().unwrap_or(Timestamp::MAX), ..BlockFacts::NOTHING }
    };
    let Some((base, changed)) = base else {
        return (0..zone.block_count()).into_par_iter().map(of_block).collect();
    };
    let mut facts = base.facts.clone();
    facts.resize(zone.block_count(), BlockFacts::NOTHING);
    for number in changed.iter().filter(|number| **number < zone.block_count()) {
        facts[*number] = of_block(*number);
    }
    facts
}

/// The chain that answers are proven by: that of NSEC3 which an NSEC3PARAM record with flags 0 names (RFC 5155 section 7.3), else that of NSEC.
/// There is none where the apex is not in it.
fn chain_of(zone: &Zone, base: Option<(&SignedZone, &[usize])>) -> Chain {
    let find = |node, rtype| zone.find(node, rtype).map_or(&[][..], |id| zone.rrset(id).data);
    let at_apex = |nsec3: &Nsec3| {
        let mut room = OwnerBuf::new();
        let owner = room.put_hashed(nsec3.hash(zone.origin().as_wire()), zone.origin());
        zone.lookup(owner)
            .is_some_and(|node| Records(find(node, Rtype::NSEC3)).any(|rdata| is_of(rdata, nsec3)))
    };
    let params = Records(find(NodeId::APEX, Rtype::NSEC3PARAM)).filter_map(Nsec3::of_param);
    let is_cheap = |nsec3: &Nsec3| nsec3.iterations <= MOST_GIVEN_ITERATIONS;
    match params.into_iter().find(|nsec3| is_cheap(nsec3) && at_apex(nsec3)) {
        Some(nsec3) => Chain::Nsec3(nsec3_chain(zone, &nsec3, base)),
        None if !find(NodeId::APEX, Rtype::NSEC).is_empty() => Chain::Nsec,
        None => Chain::Nothing,
    }
}

/// True for RDATA of an NSEC3 record with these parameters.
fn is_of(rdata: &[u8], nsec3: &Nsec3) -> bool {
    let param = nsec3.param_rdata();
    rdata.first() == param.first() && rdata.get(2..param.len()) == param.get(2..)
}

fn nsec3_chain(zone: &Zone, nsec3: &Nsec3, base: Option<(&SignedZone, &[usize])>) -> Nsec3Chain {
    // One label below the apex: others with such a label are no hashes of the zone.
    let member = |zone: &Zone, node: NodeId| {
        let id = zone.find(node, Rtype::NSEC3).filter(|_| zone.node(node).depth == 1)?;
        let is_member = Records(zone.rrset(id).data).any(|rdata| is_of(rdata, nsec3));
        zone.owner(node).first_chunk().filter(|_| is_member).and_then(NameHash::of_label)
    };
    if let Some((base, changed)) = base
        && let Chain::Nsec3(before) = &base.chain
        && before.nsec3() == nsec3
    {
        let nodes = changed.iter().flat_map(|number| NodeId::range(number * NODES..(number + 1) * NODES));
        let states = nodes.map(|node| {
            let at = |zone: &Zone| zone.exists(node).then(|| member(zone, node)).flatten();
            (node, at(&base.zone), at(zone))
        });
        let differing: Vec<_> = states.filter(|(_, before, now)| before != now).collect();
        let mut chain = before.clone();
        // A node may have been given to another name: all that goes is gone before anything comes.
        for (node, before, _) in &differing {
            if let Some(hash) = before {
                chain.remove(*node, *hash, |other| hash_of_owner(base.zone.owner(other)));
            }
        }
        for (node, _, now) in &differing {
            if let Some(hash) = now {
                // No two owners are the same.
                let _ = chain.insert(*node, *hash, |other| hash_of_owner(zone.owner(other)));
            }
        }
        return chain;
    }
    let mut members: Vec<(NameHash, NodeId)> =
        zone.node_ids().filter_map(|node| Some((member(zone, node)?, node))).collect();
    members.sort_unstable();
    Nsec3Chain::of_sorted(nsec3, &members)
}
