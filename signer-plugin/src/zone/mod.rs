//! The unsigned zone: its names in blocks, found by hash, and in canonical order; a changed zone shares what was not changed.
//!
//! ```text
//! index    hash of a name → its node                            for names that exist
//! order    nodes in canonical order (RFC 4034 section 6.1)      for the name in front of one that does not exist
//! blocks   64 nodes each: node 0 is the apex, then │ a │ *.a │ b (empty non-terminal) │ sub.b (cut) │ ns.sub.b (below the cut) │ …
//!            each with its search key, its owner, its RRsets by type with their RDATA: canonical order within an RRset, letter case as it came
//! ```
//!
//! Every name between the apex and an owner has a node. A name has the same node in a zone and in those that were made from it by changes
//! (see [`ContentChange`]), so that what belongs to a name is found by its node in all of them. In a zone that was just read the nodes stand in
//! canonical order.

mod audit;
mod block;
mod build;
mod change;
mod checked;
mod edit;
mod key;
mod layout;
mod names;
mod pack;
mod placed;
#[cfg(test)]
mod tests;
mod warnings;

pub(crate) use block::{NODES, Node, RrsetRef, read_lines};
pub use build::ZoneBuilder;
pub use change::{ContentChange, NameChange, OwnedRrset};
pub(crate) use edit::{Edit, EditedRrset};
pub(crate) use key::{KeyBuf, Labels, prefix as key_prefix};
pub(crate) use names::KeyHash;
pub use warnings::Warnings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use keystore::crypto::Sha256;
use keystore::dns::{Name, Rtype};

use crate::blocks::Blocks;
use crate::index::Index;
use crate::rules::{DnssecRecords, ZoneRules};
use crate::sorted::Sorted;
use crate::zonefile::{self, SourceFiles, ZoneFileError};
use block::{NodeBlock, NodeContent};
use names::NameIndex;

/// Index of a name of a zone.
pub(crate) type NodeId = Index<Node>;

impl NodeId {
    /// The apex, which is the first name in canonical order.
    pub const APEX: Self = Self::at(0);

    /// Number of its block.
    pub const fn block(self) -> usize {
        self.position() / NODES
    }

    /// Its place in the block.
    pub const fn place(self) -> usize {
        self.position() % NODES
    }
}

/// An RRset of a zone: that with this number, by type, at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RrsetId {
    pub node: NodeId,
    pub number: usize,
}

/// A zone, checked: one SOA, CNAME alone, nothing outside, and no DNSSEC records unless it is presigned.
#[derive(Debug)]
pub struct Zone {
    origin: Name,
    files: SourceFiles,
    warnings: Warnings,
    /// Whether it has the DNSSEC records that it came with.
    dnssec: DnssecRecords,
    /// The same in all zones that were made from one by changes: a name that stays has the same node in all of them.
    lineage: Arc<()>,
    /// Tells this zone from others, and the one that it was made from by one change.
    identity: Arc<()>,
    before: Option<Arc<()>>,
    blocks: Blocks<NodeBlock>,
    /// Finds a name that exists.
    index: NameIndex,
    /// Finds the name in front of one that does not exist.
    order: Sorted<Node>,
    /// Nodes that no name has.
    free: Vec<NodeId>,
    totals: Totals,
    /// At least as many labels below the apex as any name has.
    deepest: usize,
}

/// What all names of a zone have together.
#[derive(Debug, Clone, Default)]
struct Totals {
    names: usize,
    rrsets: usize,
    records: usize,
    /// Octets of owners and RDATA.
    octets: usize,
    /// Number of RRsets by TTL.
    ttls: BTreeMap<u32, usize>,
}

impl Totals {
    fn add(&mut self, content: &NodeContent<'_>) {
        self.names += 1;
        self.octets += content.owner.len();
        for rrset in &content.rrsets {
            self.rrsets += 1;
            self.records += Records(rrset.data).count();
            self.octets += rrset.data.len();
            *self.ttls.entry(rrset.ttl).or_default() += 1;
        }
    }

    fn subtract(&mut self, content: &NodeContent<'_>) {
        self.names -= 1;
        self.octets -= content.owner.len();
        for rrset in &content.rrsets {
            self.rrsets -= 1;
            self.records -= Records(rrset.data).count();
            self.octets -= rrset.data.len();
            if let Some(count) = self.ttls.get_mut(&rrset.ttl) {
                *count -= 1;
                if *count == 0 {
                    self.ttls.remove(&rrset.ttl);
                }
            }
        }
    }
}

impl Zone {
    /// Reads a zone file and judges it by `rules`.
    ///
    /// # Errors
    /// When the file cannot be read, a line is no record, or a record refuses the zone ([`crate::rules::Handling::Refuse`]).
    pub fn load(path: &Path, origin: &Name, rules: ZoneRules) -> Result<Self, ZoneFileError> {
        Self::load_noting(path, origin, rules, &mut SourceFiles::default())
    }

    /// Loads as [`Self::load`] does, and notes in `files` what was opened, also for a zone that does not load.
    pub fn load_noting(
        path: &Path,
        origin: &Name,
        rules: ZoneRules,
        files: &mut SourceFiles,
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
    pub const fn files(&self) -> &SourceFiles {
        &self.files
    }

    /// What is odd in it, with file and line: records left out, differing TTLs, missing glue.
    #[must_use]
    pub const fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// Whether it has the DNSSEC records that it came with.
    #[must_use]
    pub const fn dnssec(&self) -> DnssecRecords {
        self.dnssec
    }

    /// The SOA serial in the file.
    #[must_use]
    pub fn serial(&self) -> u32 {
        u32_from_end(self.soa().1.data, 20)
    }

    /// The largest TTL of an RRset, in seconds. Caches may hold signatures for as long, so that the times of key rolls reckon with it.
    #[must_use]
    pub fn largest_ttl(&self) -> u32 {
        self.totals.ttls.keys().next_back().copied().unwrap_or(0)
    }

    /// Number of names, empty non-terminals included.
    #[must_use]
    pub fn name_count(&self) -> usize {
        self.totals.names
    }

    /// Number of RRsets.
    #[must_use]
    pub fn rrset_count(&self) -> usize {
        self.totals.rrsets
    }

    /// True when both have the same records at names that are spelled alike, with the same TTLs.
    pub(crate) fn has_content_of(&self, other: &Self) -> bool {
        if self.is_of_lineage(other) {
            return self.origin == other.origin && self.blocks.not_shared(&other.blocks).is_empty();
        }
        self.origin == other.origin
            && (self.totals.names, self.totals.rrsets) == (other.totals.names, other.totals.rrsets)
            && self.node_ids().zip(other.node_ids()).all(|(own, others)| self.has_same_at(own, other, others))
    }

    /// True when the two nodes have the same name, spelled alike, and the same RRsets. The spelling of an empty non-terminal does not count.
    pub(crate) fn has_same_at(&self, node: NodeId, other: &Self, at: NodeId) -> bool {
        self.key(node) == other.key(at)
            && self.node(node).rrset_count() == other.node(at).rrset_count()
            && (self.is_empty(node) || self.owner(node) == other.owner(at))
            && self.rrsets_of(node).zip(other.rrsets_of(at)).all(|(a, b)| self.rrset(a) == other.rrset(b))
    }

    /// True when one was made from the other, or both from a third one, by changes. A name that went in between and came again may have
    /// another node; see [`Self::goes_on_from`].
    pub(crate) fn is_of_lineage(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lineage, &other.lineage)
    }

    /// True for the same zone, and for one that was made from `other` by one change: a name that both have, has the same node in both.
    pub(crate) fn goes_on_from(&self, other: &Self) -> bool {
        let is_other = |identity: &Arc<()>| Arc::ptr_eq(identity, &other.identity);
        is_other(&self.identity) || self.before.as_ref().is_some_and(is_other)
    }

    /// The blocks in which this zone and `other`, which is of its lineage, may differ.
    pub(crate) fn blocks_not_shared(&self, other: &Self) -> Vec<usize> {
        self.blocks.not_shared(&other.blocks)
    }

    /// Octets of the owner names and the RDATA.
    pub(crate) const fn octets(&self) -> usize {
        self.totals.octets
    }

    /// Number of records.
    pub(crate) const fn record_count(&self) -> usize {
        self.totals.records
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
                digest.update(&(rrset.data.len() as u32).to_be_bytes());
                digest.update(rrset.data);
            }
        }
        digest.finish()
    }

    /// TTL of negative answers and NSEC records: the lesser of SOA TTL and SOA MINIMUM (RFC 2308 section 3, RFC 9077).
    pub(crate) fn negative_ttl(&self) -> u32 {
        let (_, soa) = self.soa();
        soa.ttl.min(u32_from_end(soa.data, 4))
    }

    /// Seconds after which a secondary that lost its primary serves the zone no more: SOA EXPIRE.
    pub(crate) fn expire(&self) -> u32 {
        u32_from_end(self.soa().1.data, 8)
    }

    /// The SOA RRset.
    pub(crate) fn soa(&self) -> (RrsetId, RrsetRef<'_>) {
        // No zone is without it.
        let id = self.find(NodeId::APEX, Rtype::SOA).unwrap_or(RrsetId { node: NodeId::APEX, number: 0 });
        (id, self.rrset(id))
    }

    /// The TTL that a record of an RRset has. An RRSIG record has that of the RRset that it covers (RFC 4034 section 3).
    pub(crate) fn ttl_of(&self, node: NodeId, set: &RrsetRef<'_>, rdata: &[u8]) -> u32 {
        let covered = rdata.first_chunk().filter(|_| set.rtype == Rtype::RRSIG);
        let covered = covered.and_then(|rtype| self.find(node, Rtype(u16::from_be_bytes(*rtype))));
        covered.map_or(set.ttl, |id| self.rrset(id).ttl)
    }

    /// All names in canonical order, empty non-terminals included.
    pub(crate) fn node_ids(&self) -> impl Iterator<Item = NodeId> {
        self.order.iter_from(0)
    }

    /// The same without the first `skip`.
    pub(crate) fn node_ids_from(&self, skip: usize) -> impl Iterator<Item = NodeId> {
        self.order.iter_from(skip)
    }

    /// Number of blocks.
    pub(crate) const fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The nodes of a block; some may be places that no name has.
    pub(crate) fn block_nodes(&self, number: usize) -> impl Iterator<Item = NodeId> + use<> {
        let count = if number < self.blocks.len() { self.blocks.get(number).len() } else { 0 };
        NodeId::range(number * NODES..number * NODES + count)
    }

    /// True when a name has the node.
    pub(crate) fn exists(&self, id: NodeId) -> bool {
        id.block() < self.blocks.len() && {
            let block = self.blocks.get(id.block());
            id.place() < block.len() && block.node(id.place()).exists
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.blocks.get(id.block()).node(id.place())
    }

    /// The owner of a node, wire form, case kept.
    pub(crate) fn owner(&self, id: NodeId) -> &[u8] {
        self.blocks.get(id.block()).owner(id.place())
    }

    /// The search key of a node.
    pub(crate) fn key(&self, id: NodeId) -> &[u8] {
        self.blocks.get(id.block()).key(id.place())
    }

    /// The RRsets of a node, by type.
    pub(crate) fn rrsets_of(&self, node: NodeId) -> impl ExactSizeIterator<Item = RrsetId> + use<> {
        (0..self.node(node).rrset_count()).map(move |number| RrsetId { node, number })
    }

    pub(crate) fn rrset(&self, id: RrsetId) -> RrsetRef<'_> {
        self.blocks.get(id.node.block()).rrset(id.node.place(), id.number)
    }

    /// A node's RRset of type `rtype`.
    pub(crate) fn find(&self, node: NodeId, rtype: Rtype) -> Option<RrsetId> {
        let number = self.blocks.get(node.block()).find(node.place(), rtype)?;
        Some(RrsetId { node, number })
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
        self.node(node).rrset_count() == 0
    }

    /// The node of a search key, when the zone has it. It takes as long in a large zone as in a small one.
    pub(crate) fn get(&self, key: &[u8]) -> Option<NodeId> {
        self.index.get(key, |node| self.key(node))
    }

    /// The hash of a search key in the index.
    pub(crate) fn key_hash(&self, key: &[u8]) -> KeyHash {
        self.index.hash(key)
    }

    /// See [`NameIndex::read_table`].
    pub(crate) fn read_table(&self, hash: KeyHash) -> usize {
        self.index.read_table(hash)
    }

    /// See [`NameIndex::guess`].
    pub(crate) fn guess(&self, hash: KeyHash) -> Option<NodeId> {
        self.index.guess(hash)
    }

    /// The names in canonical order.
    pub(crate) const fn order(&self) -> &Sorted<Node> {
        &self.order
    }

    /// Reads where the block of a node is, then its name, then its content: each without waiting when the ones before were read.
    pub(crate) fn read_block(&self, node: NodeId) -> usize {
        self.blocks.get(node.block()).len()
    }

    pub(crate) fn read_name(&self, node: NodeId) -> usize {
        self.blocks.get(node.block()).read_name(node.place())
    }

    pub(crate) fn read_content(&self, node: NodeId) -> usize {
        self.blocks.get(node.block()).read_content(node.place())
    }

    /// The last node in canonical order that is not behind the search key: O(log n).
    pub(crate) fn last_up_to(&self, key: &[u8]) -> NodeId {
        let last = self.order.last_up_to(key::prefix(key), |node| self.key(node).cmp(key));
        // The apex has the empty key, the least of all.
        last.unwrap_or(NodeId::APEX)
    }

    /// The last node in canonical order in front of the search key; `None` in front of the apex.
    pub(crate) fn last_before(&self, key: &[u8]) -> Option<NodeId> {
        self.order.last_before(key::prefix(key), |node| self.key(node).cmp(key))
    }

    /// The first node in canonical order behind the search key.
    pub(crate) fn first_after(&self, key: &[u8]) -> Option<NodeId> {
        self.order.first_after(key::prefix(key), |node| self.key(node).cmp(key))
    }

    /// The first node in canonical order behind the search key and behind all names below it.
    pub(crate) fn first_behind(&self, key: &[u8]) -> Option<NodeId> {
        let mut end = KeyBuf::new();
        end.append(key);
        end.pass_subtree();
        let end = end.as_slice();
        self.order.first_after(key::prefix(end), |node| self.key(node).cmp(end))
    }

    /// The node and all names below it, in canonical order.
    pub(crate) fn subtree(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let key = self.key(node);
        let mut next = Some(node);
        std::iter::from_fn(move || {
            let node = next.take().filter(|node| self.key(*node).starts_with(key))?;
            next = self.first_after(self.key(node));
            Some(node)
        })
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
