//! From records in any order to a [`Zone`], with the checks.

use std::borrow::Cow;

use keystore::dns::{Name, Rtype, name, rdata};
use rayon::prelude::*;

use super::{KeyBuf, Labels};
use super::{NONE, Node, Place, RrsetEntry, Warnings, Zone, key};
use crate::zonefile::{Record, Source, ZoneFileError};

/// Largest RRset, in octets of `owner pointer, type, class, TTL, length, RDATA`: leaves a DNS message of 65535 octets room for header,
/// question, OPT and the RRSIGs of several large keys.
const MAX_RRSET: usize = 60_000;

/// Collects the records of a zone: push them in any order, then finish.
#[derive(Debug)]
pub struct ZoneBuilder {
    origin: Name,
    /// Owner names and RDATA as they come.
    octets: Vec<u8>,
    keys: Vec<u8>,
    names: Vec<NewName>,
    records: Vec<NewRecord>,
    /// Kept apart from `warnings` until the files' names are known.
    stripped: Vec<(Rtype, u32, u32)>,
    stripped_total: usize,
}

#[derive(Debug, Clone, Copy)]
struct NewName {
    owner: u32,
    key: u32,
    key_len: u16,
    owner_len: u8,
    depth: u8,
}

#[derive(Debug, Clone, Copy)]
struct NewRecord {
    /// Index of the name, later of the node.
    name: u32,
    rtype: Rtype,
    len: u16,
    ttl: u32,
    offset: u32,
    file: u32,
    line: u32,
}

impl ZoneBuilder {
    /// An empty zone at `origin`.
    #[must_use]
    pub fn new(origin: &Name) -> Self {
        Self {
            origin: origin.clone(),
            octets: Vec::new(),
            keys: Vec::new(),
            names: Vec::new(),
            records: Vec::new(),
            stripped: Vec::new(),
            stripped_total: 0,
        }
    }

    /// Takes one record. Foreign DNSSEC records (RRSIG, NSEC, NSEC3, NSEC3PARAM; DNSKEY; CDS and CDNSKEY at the apex) are left out with a
    /// warning: signatures are made here, and the apex key RRsets come from the SKR. Refusals say what is wrong and what to do.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), String> {
        if name::wire_len(record.owner) != Some(record.owner.len()) {
            return Err("the owner is no domain name".to_owned());
        }
        let labels = Labels::of(record.owner).ok_or("the owner is no domain name")?;
        let Some(below) = labels.below(record.owner, self.origin.as_wire()) else {
            let owner = display(record.owner);
            return Err(format!(
                "{owner} is outside the zone {}; remove the record, or check $ORIGIN and final dots",
                self.origin
            ));
        };
        let rtype = record.rtype;
        match rtype {
            Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::NSEC3PARAM | Rtype::DNSKEY => {
                self.strip(record);
                return Ok(());
            }
            Rtype::CDS | Rtype::CDNSKEY if below == 0 => {
                self.strip(record);
                return Ok(());
            }
            Rtype(0 | 41 | 128..=255) => {
                return Err(format!("{rtype} is no type of zone data (RFC 6895); remove the record"));
            }
            _ => {}
        }
        if record.ttl > i32::MAX.unsigned_abs() {
            return Err(format!("TTL {} is above 2147483647 (RFC 2181 section 8)", record.ttl));
        }
        let len = u16::try_from(record.rdata.len()).map_err(|_| rdata::RdataError::TooLong.to_string())?;
        rdata::check(rtype, record.rdata).map_err(|e| e.to_string())?;
        let growth = record.owner.len() + record.rdata.len() + 2 * name::MAX_NAME;
        if self.octets.len().max(self.keys.len()) + growth >= NONE as usize
            || self.records.len() >= (NONE / 2) as usize
        {
            return Err("the zone is larger than 4 GiB; split it".to_owned());
        }
        let name = match self.names.last() {
            Some(last)
                if self.octets[last.owner as usize..][..usize::from(last.owner_len)] == *record.owner =>
            {
                self.names.len() - 1
            }
            _ => {
                let key = KeyBuf::of(record.owner, &labels, below);
                self.names.push(NewName {
                    owner: self.octets.len() as u32,
                    key: self.keys.len() as u32,
                    key_len: key.as_slice().len() as u16,
                    owner_len: record.owner.len() as u8,
                    depth: below as u8,
                });
                self.octets.extend_from_slice(record.owner);
                self.keys.extend_from_slice(key.as_slice());
                self.names.len() - 1
            }
        };
        self.records.push(NewRecord {
            name: name as u32,
            rtype,
            len,
            ttl: record.ttl,
            offset: self.octets.len() as u32,
            file: record.file,
            line: record.line,
        });
        self.octets.extend_from_slice(record.rdata);
        Ok(())
    }

    fn strip(&mut self, record: &Record<'_>) {
        if self.stripped.len() < Warnings::KEPT {
            self.stripped.push((record.rtype, record.file, record.line));
        }
        self.stripped_total += 1;
    }

    fn name_key(&self, name: &NewName) -> &[u8] {
        &self.keys[name.key as usize..][..usize::from(name.key_len)]
    }

    fn rdata(&self, record: &NewRecord) -> &[u8] {
        &self.octets[record.offset as usize..][..usize::from(record.len)]
    }

    /// Sorts, checks and packs. `source` names the files that the records' `file` counts.
    pub fn finish(mut self, source: Source) -> Result<Zone, ZoneFileError> {
        let (layout, node_of) = self.lay_out_nodes();
        for record in &mut self.records {
            record.name = node_of[record.name as usize];
        }
        drop(node_of);
        let mut records = std::mem::take(&mut self.records);
        // The place in the file is the last criterion: which of several spellings or lines is meant must not be chance.
        records.par_sort_unstable_by_key(|r| (r.name, r.rtype, r.file, r.line, r.offset));
        let mut packer = Packer {
            builder: &self,
            source: &source,
            arena: Vec::with_capacity(self.octets.len() + 2 * records.len()),
            nodes: layout.nodes,
            rrsets: Vec::with_capacity(records.len()),
            warnings: Warnings::default(),
            soa: None,
            at_dname: Vec::new(),
        };
        packer.pack(&records)?;
        let Packer { arena, nodes, rrsets, mut warnings, soa, .. } = packer;
        let Some(soa) = soa else {
            let path = source.files.first().cloned().unwrap_or_default();
            let what = format!("the zone {} has no SOA at its apex; add one", self.origin);
            return Err(ZoneFileError::Syntax { path, line: 1, what });
        };
        for (rtype, file, line) in &self.stripped {
            warnings.add(|| {
                format!(
                    "{}: {rtype} left out; signatures are made here, and the apex keys come from the SKR",
                    at(&source, *file, *line)
                )
            });
        }
        warnings.total += self.stripped_total - self.stripped.len();
        let prefixes = nodes
            .iter()
            .map(|n| key::prefix(&layout.keys[n.key as usize..][..usize::from(n.key_len)]))
            .collect();
        let mut zone = Zone {
            origin: self.origin,
            source,
            warnings,
            arena: arena.into(),
            keys: layout.keys.into(),
            prefixes,
            nodes: nodes.into(),
            rrsets: rrsets.into(),
            soa,
        };
        check_name_servers(&mut zone, &records, &self.octets);
        Ok(zone)
    }

    /// Sorts the names, joins equal ones, and adds the empty non-terminals. Gives the nodes and, for each name, its node.
    fn lay_out_nodes(&self) -> (Layout, Vec<u32>) {
        let mut order: Vec<(u64, u32)> =
            (0..).zip(&self.names).map(|(i, n)| (key::prefix(self.name_key(n)), i)).collect();
        order.par_sort_unstable_by(|(prefix_a, a), (prefix_b, b)| {
            let key = |i: u32| self.name_key(&self.names[i as usize]);
            prefix_a.cmp(prefix_b).then_with(|| key(*a).cmp(key(*b))).then(a.cmp(b))
        });
        let mut node_of = vec![0; self.names.len()];
        let mut layout =
            Layout { nodes: Vec::with_capacity(order.len() + 1), keys: Vec::with_capacity(self.keys.len()) };
        // The nodes from the apex down to the one added last.
        let mut path: Vec<u32> = Vec::new();
        let origin_len = self.origin.as_wire().len();
        if order.first().is_none_or(|(_, i)| self.names[*i as usize].depth > 0) {
            // No record at the apex: refused later, for want of a SOA; until then the tree needs its root.
            layout.nodes.push(Node::new(0, origin_len as u8, 0, 0, 0, 0));
            path.push(0);
        }
        for (_, index) in order {
            let name = &self.names[index as usize];
            let key = self.name_key(name);
            let common = match layout.nodes.last() {
                Some(last) => {
                    let last_key = layout.key(last);
                    if last_key == key {
                        node_of[index as usize] = layout.nodes.len() as u32 - 1;
                        continue;
                    }
                    key::common_labels(last_key, key)
                }
                None => 0,
            };
            let key_start = layout.keys.len() as u32;
            layout.keys.extend_from_slice(key);
            path.truncate(common + 1);
            for depth in path.len()..=usize::from(name.depth) {
                // An ancestor's owner is the tail of the name's, its key the head of the name's.
                let mut skip = 0;
                for _ in depth..usize::from(name.depth) {
                    skip += usize::from(self.octets[name.owner as usize + skip]) + 1;
                }
                let node = layout.nodes.len() as u32;
                let parent = path.last().copied().unwrap_or(0);
                let key_len = key::ancestor_len(key, depth) as u16;
                if self.octets[name.owner as usize + skip..].starts_with(b"\x01*") && depth > 0 {
                    layout.nodes[parent as usize].wildcard = node;
                }
                layout.nodes.push(Node::new(
                    name.owner + skip as u32,
                    name.owner_len - skip as u8,
                    key_start,
                    key_len,
                    parent,
                    depth as u8,
                ));
                path.push(node);
            }
            node_of[index as usize] = layout.nodes.len() as u32 - 1;
        }
        (layout, node_of)
    }
}

impl Node {
    const fn new(owner: u32, owner_len: u8, key: u32, key_len: u16, parent: u32, depth: u8) -> Self {
        Self { owner, key, first_rrset: 0, parent, wildcard: NONE, cut: NONE, key_len, owner_len, depth }
    }
}

struct Layout {
    nodes: Vec<Node>,
    keys: Vec<u8>,
}

impl Layout {
    fn key(&self, node: &Node) -> &[u8] {
        &self.keys[node.key as usize..][..usize::from(node.key_len)]
    }
}

/// Writes RRsets into the arena, node by node, and checks what stands at each.
struct Packer<'a> {
    builder: &'a ZoneBuilder,
    source: &'a Source,
    arena: Vec<u8>,
    nodes: Vec<Node>,
    rrsets: Vec<RrsetEntry>,
    warnings: Warnings,
    soa: Option<u32>,
    /// Of each node: at or below a DNAME.
    at_dname: Vec<bool>,
}

impl Packer<'_> {
    /// `records` are sorted by node and type.
    fn pack(&mut self, mut records: &[NewRecord]) -> Result<(), ZoneFileError> {
        for node in 0..self.nodes.len() as u32 {
            let count = records.iter().take_while(|r| r.name == node).count();
            let (here, rest) = records.split_at(count);
            records = rest;
            let Node { owner, owner_len, parent, .. } = self.nodes[node as usize];
            let owner_at = self.arena.len() as u32;
            if node == 0 && here.is_empty() {
                self.arena.extend_from_slice(self.builder.origin.as_wire());
            } else {
                let owner = &self.builder.octets[owner as usize..][..usize::from(owner_len)];
                self.arena.extend_from_slice(owner);
            }
            let first = self.rrsets.len();
            for rrset in here.chunk_by(|a, b| a.rtype == b.rtype) {
                self.pack_rrset(node, rrset)?;
            }
            let has = |rtype| self.rrsets[first..].iter().any(|e| e.rtype == rtype);
            let above = if node == 0 { NONE } else { self.nodes[parent as usize].cut };
            let cut = if above == NONE && node != 0 && has(Rtype::NS) { node } else { above };
            self.at_dname.push(has(Rtype::DNAME) || node != 0 && self.at_dname[parent as usize]);
            let entry = &mut self.nodes[node as usize];
            (entry.owner, entry.first_rrset, entry.cut) = (owner_at, first as u32, cut);
            self.check_node(node, first, here)?;
        }
        Ok(())
    }

    /// Sorts the records of one RRset into canonical order, drops duplicates, writes them.
    fn pack_rrset(&mut self, node: u32, records: &[NewRecord]) -> Result<(), ZoneFileError> {
        let rtype = records[0].rtype;
        let ttl = records.iter().map(|r| r.ttl).min().unwrap_or(0);
        if let Some(other) = records.iter().find(|r| r.ttl != records[0].ttl) {
            let (source, owner) =
                (self.source, display(&self.builder.octets[self.nodes[node as usize].owner as usize..]));
            self.warnings.add(|| {
                let place = at(source, other.file, other.line);
                format!("{place}: TTLs differ in the {rtype} RRset of {owner}; the lowest, {ttl}, is taken (RFC 2181 section 5.2)")
            });
        }
        let mut sorted: Vec<(Cow<'_, [u8]>, &NewRecord)> =
            records.iter().map(|r| (canonical(rtype, self.builder.rdata(r)), r)).collect();
        // Stable: of two spellings that are the same record, the first in the file stays.
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        sorted.dedup_by(|(a, _), (b, _)| a == b);
        let single = matches!(rtype, Rtype::SOA | Rtype::CNAME | Rtype::DNAME);
        if single && let Some((_, second)) = sorted.get(1) {
            return Err(place(
                self.source,
                second,
                format!("a second, different {rtype} at this name; there can be one only, remove the others"),
            ));
        }
        let octets: usize = sorted.iter().map(|(_, r)| 12 + usize::from(r.len)).sum();
        if octets > MAX_RRSET {
            let what = format!(
                "the {rtype} RRset of this name has {} records and {octets} octets; more than {MAX_RRSET} do not fit a DNS message with their signatures",
                sorted.len()
            );
            return Err(place(self.source, &records[0], what));
        }
        let offset = self.arena.len();
        for (_, record) in &sorted {
            self.arena.extend_from_slice(&record.len.to_be_bytes());
            self.arena.extend_from_slice(self.builder.rdata(record));
        }
        if self.arena.len() >= NONE as usize {
            return Err(place(
                self.source,
                &records[0],
                "the zone is larger than 4 GiB; split it".to_owned(),
            ));
        }
        if rtype == Rtype::SOA && node == 0 {
            self.soa = Some(self.rrsets.len() as u32);
        }
        self.rrsets.push(RrsetEntry {
            rtype,
            ttl,
            offset: offset as u32,
            len: (self.arena.len() - offset) as u32,
            fold: sorted.iter().any(|(canonical, _)| matches!(canonical, Cow::Owned(_))),
        });
        Ok(())
    }

    /// What must not stand at a name, beside which other types, and where.
    fn check_node(&mut self, node: u32, first: usize, here: &[NewRecord]) -> Result<(), ZoneFileError> {
        let Some(head) = here.first() else { return Ok(()) };
        let types = &self.rrsets[first..];
        let record_of = |rtype| here.iter().find(|r| r.rtype == rtype);
        let refuse = |record: &NewRecord, what: String| Err(place(self.source, record, what));
        let Node { parent, cut, .. } = self.nodes[node as usize];
        let owner = || display(&self.arena[self.nodes[node as usize].owner as usize..]);
        if node == 0 {
            for rtype in [Rtype::SOA, Rtype::NS] {
                if record_of(rtype).is_none() {
                    return refuse(
                        head,
                        format!("the zone {} has no {rtype} at its apex; add one", self.builder.origin),
                    );
                }
            }
        } else if let Some(soa) = record_of(Rtype::SOA) {
            return refuse(
                soa,
                format!(
                    "SOA of {} inside the zone {}; a zone has one SOA, at its apex",
                    owner(),
                    self.builder.origin
                ),
            );
        }
        if let Some(cname) = record_of(Rtype::CNAME)
            && let Some(other) = types.iter().find(|e| e.rtype != Rtype::CNAME)
        {
            return refuse(
                cname,
                format!(
                    "{} has a CNAME beside {}; a CNAME stands alone (RFC 2181 section 10.1), remove one",
                    owner(),
                    other.rtype
                ),
            );
        }
        if node != 0 && self.at_dname[parent as usize] && cut == NONE {
            return refuse(
                head,
                format!("{} is below a DNAME, which hides it (RFC 6672 section 2.4); remove one", owner()),
            );
        }
        if let Some(dname) = record_of(Rtype::DNAME) {
            if cut == node {
                return refuse(
                    dname,
                    format!("{} has a DNAME beside NS (RFC 6672 section 2.3); remove one", owner()),
                );
            }
            if self.is_wildcard(node) {
                let (source, record) = (self.source, *dname);
                self.warnings.add(|| {
                    format!(
                        "{}: DNAME at a wildcard; it is no redirection (RFC 6672 section 3.3)",
                        at(source, record.file, record.line)
                    )
                });
                return Ok(());
            }
        }
        if let Some(ns) = record_of(Rtype::NS)
            && cut == node
            && self.is_wildcard(node)
        {
            return refuse(
                ns,
                format!(
                    "{} is a delegation at a wildcard, which has no defined meaning (RFC 4592 section 4.2); remove it",
                    owner()
                ),
            );
        }
        if let Some(ds) = record_of(Rtype::DS)
            && cut != node
        {
            return refuse(
                ds,
                format!(
                    "DS of {}, which is no delegation of this zone (RFC 4035 section 2.4); add its NS or remove the DS",
                    owner()
                ),
            );
        }
        Ok(())
    }

    fn is_wildcard(&self, node: u32) -> bool {
        node != 0 && self.arena[self.nodes[node as usize].owner as usize..].starts_with(b"\x01*")
    }
}

/// Warns of name servers inside the zone that have no address there.
fn check_name_servers(zone: &mut Zone, records: &[NewRecord], octets: &[u8]) {
    let mut found = Vec::new();
    for record in records.iter().filter(|r| r.rtype == Rtype::NS) {
        let target = &octets[record.offset as usize..][..usize::from(record.len)];
        let Some((place, key)) = zone.place(target) else { continue };
        let node = match place {
            Place::At(node) => Some(node),
            Place::Behind(before) => {
                let encloser = zone.closest_encloser(key.as_slice(), before);
                Some(zone.node(encloser).wildcard).filter(|w| *w != NONE && zone.node(encloser).cut == NONE)
            }
        };
        if !node.is_some_and(|n| [Rtype::A, Rtype::AAAA].into_iter().any(|t| zone.find(n, t).is_some())) {
            found.push((record.file, record.line, target));
        }
    }
    let Zone { warnings, source, .. } = zone;
    for (file, line, target) in found {
        warnings.add(|| {
            format!(
                "{}: the name server {} is in the zone and has no address there",
                at(source, file, line),
                display(target)
            )
        });
    }
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

fn display(wire: &[u8]) -> String {
    let len = name::wire_len(wire).unwrap_or(0);
    Name::from_wire(&wire[..len]).map_or_else(|_| "a name".to_owned(), |n| n.to_string())
}

fn at(source: &Source, file: u32, line: u32) -> String {
    match source.files.get(file as usize) {
        Some(path) => format!("{}:{line}", path.display()),
        None => format!("record {line}"),
    }
}

fn place(source: &Source, record: &NewRecord, what: String) -> ZoneFileError {
    ZoneFileError::Syntax {
        path: source.files.get(record.file as usize).cloned().unwrap_or_default(),
        line: record.line,
        what,
    }
}
