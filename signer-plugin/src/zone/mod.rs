//! The unsigned zone: names in canonical order, RRsets as octets, cuts and empty non-terminals marked.
//!
//! ```text
//! nodes   apex │ a │ *.a │ b (empty non-terminal) │ sub.b (cut) │ ns.sub.b (below the cut) │ …     sorted: RFC 4034 section 6.1
//!           │ first_rrset
//! rrsets    SOA │ NS │ MX │ A │ …                                   by node, then by type
//!           │ offset
//! arena     [length, RDATA] [length, RDATA] …                       canonical order within an RRset, letter case as it came
//! ```
//!
//! Every name between the apex and an owner has a node, so that the closest encloser of a name that is not there
//! is an ancestor of the node in front of it.

mod audit;
mod build;
mod key;
mod layout;
mod pack;
mod placed;
#[cfg(test)]
mod tests;
mod warnings;

pub use build::ZoneBuilder;
pub(crate) use key::{KeyBuf, Labels};
pub use warnings::Warnings;

use std::path::Path;

use keystore::crypto::Sha256;
use keystore::dns::{Name, Rtype};

use crate::index::Index;
use crate::rules::ZoneRules;
use crate::zonefile::{self, ZoneFileError, ZoneFiles};

/// Index of a name of a zone; names stand in canonical order.
pub(crate) type NodeId = Index<Node>;
/// Index of an RRset of a zone; RRsets stand by node, then by type.
pub(crate) type RrsetId = Index<RrsetEntry>;

impl NodeId {
    /// The apex, which is the first name in canonical order.
    pub const APEX: Self = Self::at(0);

    /// The node behind this one, which may not exist.
    pub const fn next(self) -> Self {
        Self::at(self.position() + 1)
    }
}

/// An unsigned zone, checked (one SOA, CNAME alone, nothing outside, no foreign DNSSEC records).
#[derive(Debug)]
pub struct Zone {
    origin: Name,
    files: ZoneFiles,
    warnings: Warnings,
    /// Owner names and RRset data.
    arena: Box<[u8]>,
    /// Search keys of the nodes, see [`key`].
    keys: Box<[u8]>,
    /// The first eight octets of each node's key: most steps of a search need no more.
    prefixes: Box<[u64]>,
    nodes: Box<[Node]>,
    rrsets: Box<[RrsetEntry]>,
    soa: RrsetId,
}

/// A name of the zone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    owner: u32,
    key: u32,
    first_rrset: u32,
    /// The parent; the apex is its own.
    pub parent: NodeId,
    /// The child `*`.
    pub wildcard: Option<NodeId>,
    /// The topmost delegation at or above it.
    pub cut: Option<NodeId>,
    key_len: u16,
    owner_len: u8,
    /// Labels below the apex.
    pub depth: u8,
}

/// An RRset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RrsetEntry {
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl: u32,
    offset: u32,
    len: u32,
    /// True when the canonical form of its RDATA is not what the arena has: upper-case letters in names.
    pub fold: bool,
}

/// Where a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is this node.
    At(NodeId),
    /// It does not exist; this node is the last one in front of it.
    Behind(NodeId),
}

impl Zone {
    /// Reads a zone file and judges it by `rules`.
    ///
    /// # Errors
    /// When the file cannot be read, a line is no record, or a record refuses the zone ([`crate::rules::Handling::Refuse`]).
    pub fn load(path: &Path, origin: &Name, rules: ZoneRules) -> Result<Self, ZoneFileError> {
        Self::load_noting(path, origin, rules, &mut ZoneFiles::default())
    }

    /// Loads as [`Self::load`] does, and notes in `files` what was opened, also for a zone that does not load.
    pub fn load_noting(
        path: &Path,
        origin: &Name,
        rules: ZoneRules,
        files: &mut ZoneFiles,
    ) -> Result<Self, ZoneFileError> {
        let mut builder = ZoneBuilder::with_rules(origin, rules);
        zonefile::read_noting(path, origin, files, &mut |record| builder.push(&record))?;
        builder.finish(files.clone())
    }

    /// The apex.
    #[must_use]
    pub const fn origin(&self) -> &Name {
        &self.origin
    }

    /// The files it came from, to notice changes.
    #[must_use]
    pub const fn files(&self) -> &ZoneFiles {
        &self.files
    }

    /// What is odd in it, with file and line: records left out, differing TTLs, missing glue.
    #[must_use]
    pub const fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// The SOA serial in the file.
    #[must_use]
    pub fn serial(&self) -> u32 {
        let (_, soa) = self.soa();
        u32_from_end(self.data(soa), 20)
    }

    /// The largest TTL of an RRset, in seconds. Caches may hold signatures for as long, so that the times of key rolls reckon with it.
    #[must_use]
    pub fn largest_ttl(&self) -> u32 {
        self.rrsets.iter().map(|rrset| rrset.ttl).max().unwrap_or(0)
    }

    /// Number of names, empty non-terminals included.
    #[must_use]
    pub fn name_count(&self) -> usize {
        self.nodes.len()
    }

    /// Number of RRsets.
    #[must_use]
    pub fn rrset_count(&self) -> usize {
        self.rrsets.len()
    }

    /// True when both have the same names, spelled alike, with the same records and TTLs.
    pub(crate) fn has_content_of(&self, other: &Self) -> bool {
        let rrset = |zone: &Self, id: RrsetId| {
            let entry = zone.rrset(id);
            (entry.rtype, entry.ttl, entry.len)
        };
        self.origin == other.origin
            && self.nodes.len() == other.nodes.len()
            && self.rrsets.len() == other.rrsets.len()
            && self.node_ids().all(|id| {
                self.owner(id) == other.owner(id)
                    && self.rrset_range(id) == other.rrset_range(id)
                    && self.rrsets_of(id).all(|id| {
                        rrset(self, id) == rrset(other, id)
                            && self.data(self.rrset(id)) == other.data(other.rrset(id))
                    })
            })
    }

    /// Octets of the owner names and the RDATA.
    pub(crate) fn octets(&self) -> usize {
        self.arena.len()
    }

    /// Number of records.
    pub(crate) fn record_count(&self) -> usize {
        self.rrsets.iter().map(|rrset| Records(self.data(rrset)).count()).sum()
    }

    /// SHA-256 over names, types, TTLs and records.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::default();
        for node in self.node_ids() {
            for id in self.rrsets_of(node) {
                let rrset = self.rrset(id);
                digest.update(self.owner(node));
                digest.update(&rrset.rtype.0.to_be_bytes());
                digest.update(&rrset.ttl.to_be_bytes());
                digest.update(&rrset.len.to_be_bytes());
                digest.update(self.data(rrset));
            }
        }
        digest.finish()
    }

    /// TTL of negative answers and NSEC records: the lesser of SOA TTL and SOA MINIMUM (RFC 2308 section 3, RFC 9077).
    pub(crate) fn negative_ttl(&self) -> u32 {
        let (_, soa) = self.soa();
        soa.ttl.min(u32_from_end(self.data(soa), 4))
    }

    /// Seconds after which a secondary that lost its primary serves the zone no more: SOA EXPIRE.
    pub(crate) fn expire(&self) -> u32 {
        u32_from_end(self.data(self.soa().1), 8)
    }

    /// Index and entry of the SOA.
    pub(crate) fn soa(&self) -> (RrsetId, &RrsetEntry) {
        (self.soa, self.rrset(self.soa))
    }

    /// All names in canonical order, empty non-terminals included.
    pub(crate) fn node_ids(&self) -> impl ExactSizeIterator<Item = NodeId> {
        NodeId::range(0..self.nodes.len())
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.position()]
    }

    /// The owner of a node, wire form, case kept.
    pub(crate) fn owner(&self, id: NodeId) -> &[u8] {
        let node = self.node(id);
        &self.arena[node.owner as usize..][..usize::from(node.owner_len)]
    }

    /// The search key of a node.
    pub(crate) fn key(&self, id: NodeId) -> &[u8] {
        let node = self.node(id);
        &self.keys[node.key as usize..][..usize::from(node.key_len)]
    }

    /// The RRsets of a node, by type.
    pub(crate) fn rrsets_of(&self, id: NodeId) -> impl ExactSizeIterator<Item = RrsetId> + use<> {
        RrsetId::range(self.rrset_range(id))
    }

    fn rrset_range(&self, id: NodeId) -> std::ops::Range<usize> {
        let end = self.nodes.get(id.next().position()).map_or(self.rrsets.len(), |n| n.first_rrset as usize);
        self.node(id).first_rrset as usize..end
    }

    pub(crate) fn rrset(&self, id: RrsetId) -> &RrsetEntry {
        &self.rrsets[id.position()]
    }

    /// A node's RRset of type `rtype`.
    pub(crate) fn find(&self, node: NodeId, rtype: Rtype) -> Option<RrsetId> {
        let range = self.rrset_range(node);
        let entries = &self.rrsets[range.clone()];
        let at = entries.partition_point(|e| e.rtype < rtype);
        entries.get(at).filter(|e| e.rtype == rtype).map(|_| RrsetId::at(range.start + at))
    }

    /// The records of an RRset: each two octets of length, then the RDATA.
    pub(crate) fn data(&self, entry: &RrsetEntry) -> &[u8] {
        &self.arena[entry.offset as usize..][..entry.len as usize]
    }

    /// True for a delegation point (not for what is below it).
    pub(crate) fn is_cut(&self, node: NodeId) -> bool {
        self.node(node).cut == Some(node)
    }

    /// True for names below a delegation: glue, or hidden by it.
    pub(crate) fn is_below_cut(&self, node: NodeId) -> bool {
        self.node(node).cut.is_some_and(|cut| cut != node)
    }

    /// True when the node has no RRset.
    pub(crate) fn is_empty(&self, node: NodeId) -> bool {
        self.rrset_range(node).is_empty()
    }

    /// Finds the node of the search key, or the last one in front of it: O(log n).
    pub(crate) fn search(&self, key: &[u8]) -> Place {
        let prefix = key::prefix(key);
        let from = self.prefixes.partition_point(|p| *p < prefix);
        // Names that share the first eight octets: host0000001, host0000002, …
        let (mut low, mut high, mut step) = (from, from, 1);
        while self.prefixes.get(high) == Some(&prefix) {
            high = (high + step).min(self.prefixes.len());
            step *= 2;
        }
        while low < high {
            let mid = low + (high - low) / 2;
            if self.prefixes[mid] == prefix && self.key(NodeId::at(mid)) <= key {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        // The apex has the empty key, the least of all, so something always stands in front.
        let before = NodeId::at(low - 1);
        if self.key(before) == key { Place::At(before) } else { Place::Behind(before) }
    }

    /// The closest encloser (RFC 4592 section 3.3.1) of a name that is not there: `before` is the node in front of it.
    pub(crate) fn closest_encloser(&self, key: &[u8], before: NodeId) -> NodeId {
        let common = key::common_labels(key, self.key(before));
        let mut node = before;
        while usize::from(self.node(node).depth) > common {
            node = self.node(node).parent;
        }
        node
    }

    /// The node in front of the child `*`, which does not exist, of `encloser`.
    pub(crate) fn before_wildcard(&self, encloser: NodeId) -> NodeId {
        let mut key = KeyBuf::new();
        key.append(self.key(encloser));
        key.append(b"*\0");
        // Hardly a name sorts in front of `*`: look at the next node before searching.
        match self.nodes.get(encloser.next().position()) {
            Some(_) if self.key(encloser.next()) < key.as_slice() => match self.search(key.as_slice()) {
                Place::At(node) | Place::Behind(node) => node,
            },
            _ => encloser,
        }
    }

    /// The node of an uncompressed name, when the zone has it.
    pub(crate) fn lookup(&self, wire: &[u8]) -> Option<NodeId> {
        match self.place(wire)?.0 {
            Place::At(node) => Some(node),
            Place::Behind(_) => None,
        }
    }

    /// Place and search key of an uncompressed name; `None` when it is outside the zone or no name.
    pub(crate) fn place(&self, wire: &[u8]) -> Option<(Place, KeyBuf)> {
        let labels = Labels::of(wire)?;
        let below = labels.below(wire, self.origin.as_wire())?;
        let key = KeyBuf::of(wire, &labels, below);
        Some((self.search(key.as_slice()), key))
    }
}

/// The records of an RRset's octets: each two octets of length, then the RDATA.
pub(crate) struct Records<'a>(pub &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk::<2>()?;
        let (rdata, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        self.0 = rest;
        Some(rdata)
    }
}

/// The four octets that stand `from_end` octets in front of the end; 0 when there are none.
fn u32_from_end(data: &[u8], from_end: usize) -> u32 {
    data.len()
        .checked_sub(from_end)
        .and_then(|at| data[at..].first_chunk::<4>())
        .map_or(0, |octets| u32::from_be_bytes(*octets))
}
