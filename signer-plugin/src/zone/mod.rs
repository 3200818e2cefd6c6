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
mod names;
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
use crate::sorted::Sorted;
use crate::zonefile::{self, ZoneFileError, ZoneFiles};
use names::NameIndex;

/// Index of a name of a zone; names stand in canonical order.
pub(crate) type NodeId = Index<Node>;
/// Index of an RRset of a zone; RRsets stand by node, then by type.
pub(crate) type RrsetId = Index<RrsetEntry>;

impl NodeId {
    /// The apex, which is the first name in canonical order.
    pub const APEX: Self = Self::at(0);

    const fn next(self) -> Self {
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
    /// Finds a name that exists.
    index: NameIndex,
    /// Finds the name in front of one that does not exist.
    order: Sorted<Node>,
    nodes: Box<[Node]>,
    rrsets: Box<[RrsetEntry]>,
    soa: RrsetId,
    /// Labels below the apex of the name that has most.
    deepest: usize,
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

    /// The node of a search key, when the zone has it. It takes as long in a large zone as in a small one.
    pub(crate) fn get(&self, key: &[u8]) -> Option<NodeId> {
        self.index.get(key, |node| self.key(node))
    }

    /// The last node in canonical order that is not behind the search key: O(log n).
    pub(crate) fn last_up_to(&self, key: &[u8]) -> NodeId {
        let last = self.order.last_up_to(key::prefix(key), |node| self.key(node).cmp(key));
        // The apex has the empty key, the least of all.
        last.unwrap_or(NodeId::APEX)
    }

    /// The closest encloser (RFC 4592 section 3.3.1) of a name that is not there.
    pub(crate) fn closest_encloser(&self, key: &[u8]) -> NodeId {
        let mut encloser = NodeId::APEX;
        // Every name between the apex and an owner exists: of the ancestors of a name the upper ones do, the lower ones do not.
        let (mut exists, mut absent) = (0, key::label_count(key).min(self.deepest + 1));
        while absent - exists > 1 {
            let depth = exists + (absent - exists) / 2;
            match self.get(&key[..key::ancestor_len(key, depth)]) {
                Some(node) => (encloser, exists) = (node, depth),
                None => absent = depth,
            }
        }
        encloser
    }

    /// The last node in front of the child `*` of `encloser`, when that does not exist.
    pub(crate) fn before_wildcard(&self, encloser: NodeId) -> NodeId {
        let mut key = KeyBuf::new();
        key.append(self.key(encloser));
        key.append(b"*\0");
        self.last_up_to(key.as_slice())
    }

    /// The node of an uncompressed name, when the zone has it.
    pub(crate) fn lookup(&self, wire: &[u8]) -> Option<NodeId> {
        self.get(self.key_of(wire)?.as_slice())
    }

    /// The search key of an uncompressed name; `None` when it is outside the zone or no name.
    pub(crate) fn key_of(&self, wire: &[u8]) -> Option<KeyBuf> {
        let labels = Labels::of(wire)?;
        let below = labels.below(wire, self.origin.as_wire())?;
        Some(KeyBuf::of(wire, &labels, below))
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
