//! Puts RRsets together, name by name, checks what stands at each, and fills the blocks of the zone.

use std::borrow::Cow;

use keystore::dns::{Name, Rtype, rdata};

use super::block::{NODES, Node, NodeBlock, NodeContent, RrsetRef};
use super::layout::{LaidOutNode, Names};
use super::placed::{MAX_TABLE, PlacedRecord, to_name};
use super::warnings::Judge;
use super::{NodeId, Totals};
use crate::rules::RecordProblem;
use crate::zonefile::{SourceFiles, ZoneFileError};

/// Octets of a DNS message that are left for an RRset by header, question type and class, and OPT.
pub(super) const MESSAGE_ROOM: usize = 65_535 - 12 - 4 - 11;
/// An RRset above this may leave no room for the RRSIGs of several large keys.
const LARGE_RRSET: usize = 60_000;

pub(super) struct ZonePacker<'a> {
    origin: &'a Name,
    names: &'a Names,
    files: &'a SourceFiles,
    judge: &'a mut Judge,
    nodes: Vec<LaidOutNode>,
    /// The search keys of the nodes.
    keys: &'a [u8],
    /// For each node so far the topmost delegation at or above it.
    cuts: Vec<Option<NodeId>>,
    packed: Packed,
    /// Of the name that is being packed.
    rrsets: Vec<PackedRrset>,
    data: Vec<u8>,
}

/// An RRset whose records stand in [`ZonePacker::data`].
struct PackedRrset {
    rtype: Rtype,
    ttl: u32,
    fold: bool,
    range: std::ops::Range<usize>,
}

/// What a zone is made of.
#[derive(Default)]
pub(super) struct Packed {
    pub blocks: Vec<NodeBlock>,
    pub totals: Totals,
    pub has_soa: bool,
}

impl<'a> ZonePacker<'a> {
    /// `nodes` are in canonical order, with their owners as offsets into `names` and their keys as offsets into `keys`.
    pub fn new(
        origin: &'a Name,
        names: &'a Names,
        files: &'a SourceFiles,
        judge: &'a mut Judge,
        nodes: Vec<LaidOutNode>,
        keys: &'a [u8],
    ) -> Self {
        let cuts = Vec::with_capacity(nodes.len());
        let packed = Packed::default();
        Self { origin, names, files, judge, nodes, keys, cuts, packed, rrsets: Vec::new(), data: Vec::new() }
    }

    /// Takes records that are sorted by node and type.
    pub fn pack(mut self, mut records: &[PlacedRecord]) -> Result<Packed, ZoneFileError> {
        for id in NodeId::range(0..self.nodes.len()) {
            let count = records.iter().take_while(|r| r.node == id).count();
            let (here, rest) = records.split_at(count);
            records = rest;
            self.rrsets.clear();
            self.data.clear();
            for rrset in here.chunk_by(|a, b| a.rtype == b.rtype) {
                self.pack_rrset(id, rrset)?;
            }
            let has_ns = self.rrsets.iter().any(|e| e.rtype == Rtype::NS);
            let parent = self.nodes[id.position()].parent;
            let above = if id == NodeId::APEX { None } else { self.cuts[parent.position()] };
            self.cuts.push(above.or((id != NodeId::APEX && has_ns).then_some(id)));
            self.check_node(id, here)?;
            self.push(id);
            if self.packed.totals.octets >= MAX_TABLE
                && let Some(record) = here.first()
            {
                return Err(self.refused(record, RecordProblem::ZoneTooLarge));
            }
        }
        self.packed.blocks.last_mut().map(NodeBlock::shrink);
        Ok(self.packed)
    }

    /// Adds the name that was packed to the blocks.
    fn push(&mut self, id: NodeId) {
        let LaidOutNode { key, key_len, parent, wildcard, children, depth, .. } = self.nodes[id.position()];
        let rrsets = self.rrsets.iter().map(|set| RrsetRef {
            rtype: set.rtype,
            ttl: set.ttl,
            fold: set.fold,
            data: &self.data[set.range.clone()],
        });
        let content = NodeContent {
            key: &self.keys[key as usize..][..usize::from(key_len)],
            owner: self.owner_wire(id),
            rrsets: rrsets.collect(),
        };
        let cut = self.cuts[id.position()];
        let links = Node { parent, wildcard, cut, children, depth, exists: true, ..Node::NOTHING };
        self.packed.totals.add(&content);
        if self.packed.blocks.last().is_none_or(|block| block.len() == NODES) {
            self.packed.blocks.last_mut().map(NodeBlock::shrink);
            self.packed.blocks.push(NodeBlock::default());
        }
        if let Some(block) = self.packed.blocks.last_mut() {
            block.push(links, &content);
        }
    }

    /// Sorts the records of one RRset into canonical order, drops duplicates, writes them.
    fn pack_rrset(&mut self, node: NodeId, records: &[PlacedRecord]) -> Result<(), ZoneFileError> {
        let rtype = records[0].rtype;
        let ttl = records.iter().map(|r| r.ttl).min().unwrap_or(0);
        // An RRSIG record has the TTL of what it covers (RFC 4034 section 3), and is served with that.
        let differs = |r: &&PlacedRecord| r.ttl != records[0].ttl && rtype != Rtype::RRSIG;
        if let Some(other) = records.iter().find(differs) {
            let problem = RecordProblem::TtlsDiffer { owner: self.owner(node), rtype, ttl };
            self.judge.judge_in(self.files, other.place, problem)?;
        }
        let names = self.names;
        let mut sorted: Vec<(Cow<'_, [u8]>, &PlacedRecord)> =
            records.iter().map(|r| (canonical(rtype, r.rdata(names)), r)).collect();
        // Stable: of two spellings that are the same record, the first in the file stays.
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        sorted.dedup_by(|(a, _), (b, _)| a == b);
        let single = matches!(rtype, Rtype::SOA | Rtype::CNAME | Rtype::DNAME);
        if single && let Some((_, second)) = sorted.get(1) {
            return Err(self.refused(second, RecordProblem::SecondOf(rtype)));
        }
        let octets = sorted.iter().map(|(_, r)| 12 + usize::from(r.len)).sum();
        self.check_size(node, &records[0], sorted.len(), octets)?;
        let start = self.data.len();
        for (_, record) in &sorted {
            self.data.extend_from_slice(&record.len.to_be_bytes());
            self.data.extend_from_slice(record.rdata(names));
        }
        self.packed.has_soa |= rtype == Rtype::SOA && node == NodeId::APEX;
        let fold = sorted.iter().any(|(canonical, _)| matches!(canonical, Cow::Owned(_)));
        self.rrsets.push(PackedRrset { rtype, ttl, fold, range: start..self.data.len() });
        Ok(())
    }

    /// Refuses an RRset that no message holds; warns of one that leaves little room for signatures.
    fn check_size(
        &mut self,
        node: NodeId,
        first: &PlacedRecord,
        records: usize,
        octets: usize,
    ) -> Result<(), ZoneFileError> {
        let rtype = first.rtype;
        let limit = MESSAGE_ROOM - usize::from(self.nodes[node.position()].owner_len);
        let problem = if octets > limit {
            RecordProblem::RrsetTooLarge { rtype, records, octets, limit }
        } else if octets > LARGE_RRSET {
            RecordProblem::RrsetLarge { owner: self.owner(node), rtype, octets }
        } else {
            return Ok(());
        };
        self.judge.judge_in(self.files, first.place, problem).map(drop)
    }

    /// What must not stand at a name, and beside which other types.
    fn check_node(&mut self, id: NodeId, here: &[PlacedRecord]) -> Result<(), ZoneFileError> {
        let Some(head) = here.first() else { return Ok(()) };
        let types = &self.rrsets;
        let record_of = |rtype| here.iter().find(|r| r.rtype == rtype);
        let is_cut = self.cuts[id.position()] == Some(id);
        let is_wildcard = id != NodeId::APEX && self.owner_wire(id).starts_with(b"\x01*");
        let owner = || self.owner(id);
        let zone = || self.origin.clone();
        let refused = |record: &PlacedRecord, problem| Err(self.refused(record, problem));
        if id == NodeId::APEX {
            for rtype in [Rtype::SOA, Rtype::NS] {
                if record_of(rtype).is_none() {
                    return refused(head, RecordProblem::ApexLacks(zone(), rtype));
                }
            }
        } else if let Some(soa) = record_of(Rtype::SOA) {
            return refused(soa, RecordProblem::SecondSoa { owner: owner(), zone: zone() });
        }
        if let Some(cname) = record_of(Rtype::CNAME)
            && let Some(other) = types.iter().find(|e| !stands_beside_cname(e.rtype))
        {
            return refused(cname, RecordProblem::CnameAndOther { owner: owner(), other: other.rtype });
        }
        if let Some(dname) = record_of(Rtype::DNAME)
            && is_cut
        {
            return refused(dname, RecordProblem::DnameAndNs { owner: owner() });
        }
        if let Some(ns) = record_of(Rtype::NS)
            && is_cut
            && is_wildcard
        {
            return refused(ns, RecordProblem::WildcardDelegation { owner: owner() });
        }
        if let Some(ds) = record_of(Rtype::DS)
            && !is_cut
        {
            return refused(ds, RecordProblem::DsNotAtCut { owner: owner() });
        }
        if let Some(dname) = record_of(Rtype::DNAME)
            && is_wildcard
        {
            self.judge.judge_in(self.files, dname.place, RecordProblem::WildcardDname)?;
        }
        Ok(())
    }

    fn owner_wire(&self, id: NodeId) -> &'a [u8] {
        let node = &self.nodes[id.position()];
        if id == NodeId::APEX && self.rrsets.is_empty() {
            return self.origin.as_wire();
        }
        &self.names.octets[node.owner as usize..][..usize::from(node.owner_len)]
    }

    fn owner(&self, id: NodeId) -> Name {
        to_name(self.owner_wire(id))
    }

    fn refused(&self, record: &PlacedRecord, problem: RecordProblem) -> ZoneFileError {
        ZoneFileError::refused(self.files, record.place, problem)
    }
}

/// Types that may stand beside a CNAME: itself, its RRSIG and NSEC (RFC 4034), and KEY, which RFC 2535 allowed there and which BIND still does.
pub(super) const fn stands_beside_cname(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC | Rtype::KEY)
}

/// The canonical form of an RDATA; borrowed when it is as it stands, which is the rule.
pub(super) fn canonical(rtype: Rtype, octets: &[u8]) -> Cow<'_, [u8]> {
    if octets.iter().any(u8::is_ascii_uppercase) {
        let folded = rdata::canonical(rtype, octets);
        if folded != octets {
            return Cow::Owned(folded);
        }
    }
    Cow::Borrowed(octets)
}
