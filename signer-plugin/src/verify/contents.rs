//! A signed zone as its file has it: records sorted by name, type and data, names marked as what they are.

use std::ops::Range;
use std::path::Path;

use keystore::dns::{Name, Rrset, Rtype, name};
use rayon::prelude::*;

use super::finding::{ZoneFault, ZoneFinding};
use crate::rules::RecordProblem;
use crate::zone::{Records, Zone};
use crate::zonefile::{self, ZoneFileError};

/// Octets and records are counted by 32 bits.
const LIMIT: usize = u32::MAX as usize - 0x2_0000;

/// The records of a signed zone.
#[derive(Debug)]
pub struct ZoneContents {
    origin: Name,
    /// Owners in lower case, and RDATA.
    octets: Vec<u8>,
    records: Vec<Entry>,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    owner: u32,
    rdata: u32,
    ttl: u32,
    rtype: Rtype,
    len: u16,
    owner_len: u8,
}

/// A name with records.
#[derive(Debug)]
pub(super) struct Node {
    records: Range<usize>,
    pub standing: NameStatus,
}

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameStatus {
    /// It has data of the zone.
    Authoritative,
    /// A delegation; with a DS RRset or without.
    Cut {
        secure: bool,
    },
    /// Below a delegation.
    Glue,
    /// Below a DNAME.
    Hidden,
    OutOfZone,
    /// It has nothing but NSEC, NSEC3 and RRSIG records: the owner of an NSEC3 record, or a leftover.
    NoData,
}

/// An RRset, borrowed.
#[derive(Debug, Clone)]
pub(super) struct ContentRrset<'a> {
    pub rtype: Rtype,
    zone: &'a ZoneContents,
    records: Range<usize>,
}

impl ZoneContents {
    /// Reads a master file. `origin` is the zone; without it the owner of the SOA record is, and names must be absolute.
    ///
    /// # Errors
    /// When the file cannot be read or a line is no record.
    pub fn read(path: &Path, origin: Option<&Name>) -> Result<Self, ZoneFileError> {
        let mut zone =
            Self { origin: Name::root(), octets: Vec::new(), records: Vec::new(), nodes: Vec::new() };
        let mut apex = origin.cloned();
        let read_from = origin.cloned().unwrap_or_else(Name::root);
        zonefile::read(path, &read_from, &mut |record| {
            if record.rtype == Rtype::SOA && apex.is_none() {
                apex = Name::from_wire(record.owner).ok();
            }
            zone.put(record.owner, record.rtype, record.ttl, record.rdata)
        })?;
        zone.origin = apex.unwrap_or(read_from).to_lowercase();
        zone.sort();
        Ok(zone)
    }

    /// The records of a zone that has its DNSSEC records.
    ///
    /// # Errors
    /// When there are too many.
    pub fn of_zone(from: &Zone) -> Result<Self, RecordProblem> {
        let mut zone = Self {
            origin: from.origin().to_lowercase(),
            octets: Vec::new(),
            records: Vec::new(),
            nodes: Vec::new(),
        };
        for node in from.node_ids() {
            for set in from.rrsets_of(node).map(|id| from.rrset(id)) {
                for rdata in Records(set.data) {
                    zone.put(from.owner(node), set.rtype, from.ttl_of(node, &set, rdata), rdata)?;
                }
            }
        }
        zone.sort();
        Ok(zone)
    }

    fn put(&mut self, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[u8]) -> Result<(), RecordProblem> {
        let len = u16::try_from(rdata.len()).map_err(|_| RecordProblem::ZoneTooLarge)?;
        if self.octets.len() > LIMIT || self.records.len() > LIMIT {
            return Err(RecordProblem::ZoneTooLarge);
        }
        let (owner_len, owner) = (owner.len() as u8, self.put_owner(owner));
        self.records.push(Entry { owner, owner_len, rtype, ttl, rdata: self.octets.len() as u32, len });
        self.octets.extend_from_slice(rdata);
        Ok(())
    }

    /// True when both have the same DNSKEY RRset.
    pub(super) fn has_keys_of(&self, other: &Zone) -> bool {
        let own = self.apex().and_then(|apex| self.find(apex, Rtype::DNSKEY));
        own.is_some_and(|set| set.is_in(other, self.origin.as_wire()))
    }

    /// The owner in lower case; the same octets again when it is that of the record before.
    fn put_owner(&mut self, owner: &[u8]) -> u32 {
        if let Some(last) = self.records.last().filter(|last| self.owner_of(last).eq_ignore_ascii_case(owner))
        {
            return last.owner;
        }
        let start = self.octets.len();
        self.octets.extend_from_slice(owner);
        self.octets[start..].make_ascii_lowercase();
        start as u32
    }

    fn sort(&mut self) {
        let mut records = std::mem::take(&mut self.records);
        let parts = |entry: &Entry| (entry.rtype, self.rdata_of(entry));
        records.par_sort_unstable_by(|a, b| {
            let (owner_a, owner_b) = (self.owner_of(a), self.owner_of(b));
            let order = if a.owner == b.owner {
                std::cmp::Ordering::Equal
            } else {
                name::canonical_cmp(owner_a, owner_b)
            };
            order.then_with(|| parts(a).cmp(&parts(b))).then(a.ttl.cmp(&b.ttl))
        });
        records.dedup_by(|a, b| self.owner_of(a) == self.owner_of(b) && parts(a) == parts(b));
        self.records = records;
        self.mark();
    }

    /// Groups the records by name, and marks what each name is.
    fn mark(&mut self) {
        let mut nodes: Vec<Node> = Vec::new();
        // The delegation or DNAME that hides what follows in canonical order, as long as it is below it.
        let mut hidden_by: Option<(Range<usize>, NameStatus)> = None;
        let mut start = 0;
        while let Some(first) = self.records.get(start) {
            let owner = self.owner_of(first);
            let count = self.records[start..].iter().take_while(|r| self.owner_of(r) == owner).count();
            let here = &self.records[start..start + count];
            let has = |rtype| here.iter().any(|r| r.rtype == rtype);
            let is_apex = owner == self.origin.as_wire();
            if hidden_by
                .as_ref()
                .is_some_and(|(above, _)| !is_below(owner, self.owner_of(&self.records[above.start])))
            {
                hidden_by = None;
            }
            let standing = if !is_apex && !is_below(owner, self.origin.as_wire()) {
                NameStatus::OutOfZone
            } else if let Some((_, standing)) = &hidden_by {
                *standing
            } else if here.iter().all(|r| is_dnssec(r.rtype)) {
                NameStatus::NoData
            } else if has(Rtype::NS) && !is_apex {
                hidden_by = Some((start..start + count, NameStatus::Glue));
                NameStatus::Cut { secure: has(Rtype::DS) }
            } else {
                if has(Rtype::DNAME) {
                    hidden_by = Some((start..start + count, NameStatus::Hidden));
                }
                NameStatus::Authoritative
            };
            nodes.push(Node { records: start..start + count, standing });
            start += count;
        }
        self.nodes = nodes;
    }

    /// Findings of names that should not be in the file.
    pub(super) fn misplaced(&self) -> Vec<ZoneFinding> {
        let mut findings = Vec::new();
        let mut dname = self.origin.as_wire();
        for node in &self.nodes {
            let owner = self.owner(node);
            if node.standing == NameStatus::Authoritative && self.find(node, Rtype::DNAME).is_some() {
                dname = owner;
            }
            let fault = match node.standing {
                NameStatus::OutOfZone => ZoneFault::OutOfZone,
                NameStatus::Hidden
                    if !self
                        .rrsets(node)
                        .all(|set| set.rtype == Rtype::NSEC3 || set.rtype == Rtype::RRSIG) =>
                {
                    ZoneFault::BelowDname(Name::from_wire(dname).unwrap_or_else(|_| self.origin.clone()))
                }
                _ => continue,
            };
            if let Some(first) = self.rrsets(node).next() {
                findings.push(ZoneFinding::new(owner, first.rtype, fault));
            }
        }
        findings
    }

    /// The apex, in lower case.
    #[must_use]
    pub const fn origin(&self) -> &Name {
        &self.origin
    }

    /// The names with records, in canonical order.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The apex, when it has records.
    pub(super) fn apex(&self) -> Option<&Node> {
        self.node_of(self.origin.as_wire())
    }

    /// A name in lower case, when it has records.
    pub(super) fn node_of(&self, owner: &[u8]) -> Option<&Node> {
        let at = self.nodes.binary_search_by(|node| name::canonical_cmp(self.owner(node), owner));
        at.ok().map(|at| &self.nodes[at])
    }

    /// An owner in lower case.
    pub(super) fn owner(&self, node: &Node) -> &[u8] {
        self.owner_of(&self.records[node.records.start])
    }

    /// The RRsets of a name, by type.
    pub(super) fn rrsets<'a>(&'a self, node: &Node) -> impl Iterator<Item = ContentRrset<'a>> + use<'a> {
        let mut start = node.records.start;
        let end = node.records.end;
        std::iter::from_fn(move || {
            let rtype = self.records[start..end].first()?.rtype;
            let count = self.records[start..end].iter().take_while(|r| r.rtype == rtype).count();
            let records = start..start + count;
            start += count;
            Some(ContentRrset { rtype, zone: self, records })
        })
    }

    pub(super) fn find<'a>(&'a self, node: &Node, rtype: Rtype) -> Option<ContentRrset<'a>> {
        self.rrsets(node).find(|set| set.rtype == rtype)
    }

    /// The lesser of SOA TTL and SOA MINIMUM (RFC 9077).
    pub(super) fn denial_ttl(&self) -> Option<u32> {
        let soa = self.find(self.apex()?, Rtype::SOA)?;
        let rdata = soa.rdatas().next()?;
        Some(soa.ttl().min(u32::from_be_bytes(*rdata.last_chunk()?)))
    }

    fn owner_of(&self, entry: &Entry) -> &[u8] {
        &self.octets[entry.owner as usize..][..usize::from(entry.owner_len)]
    }

    fn rdata_of(&self, entry: &Entry) -> &[u8] {
        &self.octets[entry.rdata as usize..][..usize::from(entry.len)]
    }
}

impl<'a> ContentRrset<'a> {
    /// TTL of the first record.
    pub fn ttl(&self) -> u32 {
        self.zone.records[self.records.start].ttl
    }

    pub fn ttls(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.zone.records[self.records.clone()].iter().map(|record| record.ttl)
    }

    pub fn rdatas(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let zone = self.zone;
        zone.records[self.records.clone()].iter().map(|record| zone.rdata_of(record))
    }

    /// TTL and RDATA of each record.
    pub fn records(&self) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        let zone = self.zone;
        zone.records[self.records.clone()].iter().map(|record| (record.ttl, zone.rdata_of(record)))
    }

    /// True when `zone` has the same records with the same TTL at this name.
    pub fn is_in(&self, zone: &Zone, owner: &[u8]) -> bool {
        let found = zone.lookup(owner).and_then(|node| zone.find(node, self.rtype)).map(|id| zone.rrset(id));
        found.is_some_and(|found| found.ttl == self.ttl() && Records(found.data).eq(self.rdatas()))
    }

    /// The same in keystore's form.
    pub fn to_rrset(&self) -> Option<Rrset> {
        let owner = self.zone.owner_of(&self.zone.records[self.records.start]);
        Some(Rrset {
            owner: Name::from_wire(owner).ok()?,
            rtype: self.rtype,
            ttl: self.ttl(),
            rdatas: self.rdatas().map(Into::into).collect(),
        })
    }
}

/// Types that a name can have without existing, or that speak of its other types.
pub(super) const fn is_dnssec(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3)
}

/// True when `name` is below `ancestor`; both in lower case.
pub(super) fn is_below(name: &[u8], ancestor: &[u8]) -> bool {
    parents(name).any(|parent| parent == ancestor)
}

/// The names above a name, from the nearest to the root.
pub(super) fn parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(parent(name), |name| parent(name))
}

fn parent(name: &[u8]) -> Option<&[u8]> {
    let len = usize::from(*name.first()?);
    if len == 0 { None } else { name.get(len + 1..) }
}
