//! Writes RRsets into the arena, node by node, and checks what stands at each.

use std::borrow::Cow;

use keystore::dns::{Name, Rtype, rdata};

use super::layout::Names;
use super::placed::{MAX_TABLE, PlacedRecord, to_name};
use super::warnings::Judge;
use super::{Node, NodeId, RrsetEntry, RrsetId};
use crate::rules::RecordProblem;
use crate::zonefile::{ZoneFileError, ZoneFiles};

/// Octets of a DNS message that are left for an RRset by header, question type and class, and OPT.
const MESSAGE_ROOM: usize = 65_535 - 12 - 4 - 11;
/// An RRset above this may leave no room for the RRSIGs of several large keys.
const LARGE_RRSET: usize = 60_000;

pub(super) struct Packer<'a> {
    origin: &'a Name,
    names: &'a Names,
    files: &'a ZoneFiles,
    judge: &'a mut Judge,
    tables: Tables,
    soa: Option<RrsetId>,
}

/// The tables of the zone.
pub(super) struct Tables {
    /// Owner names and RRset data.
    pub arena: Vec<u8>,
    pub nodes: Vec<Node>,
    pub rrsets: Vec<RrsetEntry>,
}

impl<'a> Packer<'a> {
    /// `nodes` are in canonical order, with their owners as offsets into `names`.
    pub fn new(
        origin: &'a Name,
        names: &'a Names,
        files: &'a ZoneFiles,
        judge: &'a mut Judge,
        nodes: Vec<Node>,
        record_count: usize,
    ) -> Self {
        let arena = Vec::with_capacity(names.octets.len() + 2 * record_count);
        let rrsets = Vec::with_capacity(record_count);
        Self { origin, names, files, judge, tables: Tables { arena, nodes, rrsets }, soa: None }
    }

    /// The tables, and the SOA when the apex has one.
    pub fn into_tables(self) -> (Tables, Option<RrsetId>) {
        (self.tables, self.soa)
    }

    /// `records` are sorted by node and type.
    pub fn pack(&mut self, mut records: &[PlacedRecord]) -> Result<(), ZoneFileError> {
        for id in NodeId::range(0..self.tables.nodes.len()) {
            let count = records.iter().take_while(|r| r.node == id).count();
            let (here, rest) = records.split_at(count);
            records = rest;
            let Node { owner, owner_len, parent, .. } = self.tables.nodes[id.position()];
            let owner_at = self.tables.arena.len() as u32;
            if id == NodeId::APEX && here.is_empty() {
                self.tables.arena.extend_from_slice(self.origin.as_wire());
            } else {
                let owner = &self.names.octets[owner as usize..][..usize::from(owner_len)];
                self.tables.arena.extend_from_slice(owner);
            }
            let first = self.tables.rrsets.len();
            let entry = &mut self.tables.nodes[id.position()];
            (entry.owner, entry.first_rrset) = (owner_at, first as u32);
            for rrset in here.chunk_by(|a, b| a.rtype == b.rtype) {
                self.pack_rrset(id, rrset)?;
            }
            let has_ns = self.tables.rrsets[first..].iter().any(|e| e.rtype == Rtype::NS);
            let above = if id == NodeId::APEX { None } else { self.tables.nodes[parent.position()].cut };
            let cut = above.or((id != NodeId::APEX && has_ns).then_some(id));
            self.tables.nodes[id.position()].cut = cut;
            self.check_node(id, first, here)?;
        }
        Ok(())
    }

    /// Sorts the records of one RRset into canonical order, drops duplicates, writes them.
    fn pack_rrset(&mut self, node: NodeId, records: &[PlacedRecord]) -> Result<(), ZoneFileError> {
        let rtype = records[0].rtype;
        let ttl = records.iter().map(|r| r.ttl).min().unwrap_or(0);
        if let Some(other) = records.iter().find(|r| r.ttl != records[0].ttl) {
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
        let Tables { arena, rrsets, .. } = &mut self.tables;
        let offset = arena.len();
        for (_, record) in &sorted {
            arena.extend_from_slice(&record.len.to_be_bytes());
            arena.extend_from_slice(record.rdata(names));
        }
        let len = arena.len() - offset;
        if rtype == Rtype::SOA && node == NodeId::APEX {
            self.soa = Some(RrsetId::at(rrsets.len()));
        }
        let fold = sorted.iter().any(|(canonical, _)| matches!(canonical, Cow::Owned(_)));
        rrsets.push(RrsetEntry { rtype, ttl, offset: offset as u32, len: len as u32, fold });
        if arena.len() >= MAX_TABLE {
            return Err(self.refused(&records[0], RecordProblem::ZoneTooLarge));
        }
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
        let limit = MESSAGE_ROOM - usize::from(self.tables.nodes[node.position()].owner_len);
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
    fn check_node(&mut self, id: NodeId, first: usize, here: &[PlacedRecord]) -> Result<(), ZoneFileError> {
        let Some(head) = here.first() else { return Ok(()) };
        let types = &self.tables.rrsets[first..];
        let record_of = |rtype| here.iter().find(|r| r.rtype == rtype);
        let is_cut = self.tables.nodes[id.position()].cut == Some(id);
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

    fn owner_wire(&self, id: NodeId) -> &[u8] {
        let node = &self.tables.nodes[id.position()];
        &self.tables.arena[node.owner as usize..][..usize::from(node.owner_len)]
    }

    fn owner(&self, id: NodeId) -> Name {
        to_name(self.owner_wire(id))
    }

    fn refused(&self, record: &PlacedRecord, problem: RecordProblem) -> ZoneFileError {
        ZoneFileError::refused(self.files, record.place, problem)
    }
}

/// Types that may stand beside a CNAME: itself, and KEY, which RFC 2535 allowed there and which BIND still does.
const fn stands_beside_cname(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::CNAME | Rtype::KEY)
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
