//! A change of a zone as a value: what some names have from now on. Applied to a zone it gives the next one, which shares all else with it.
//!
//! ```text
//! zone A ─┐
//!         ├─ ContentChange::between ─▶ change ─┐
//! zone B ─┘                                    ├─ Zone::changed ─▶ B', which has the content of B and the blocks of A where nothing changed
//! zone A ──────────────────────────────────────┘
//! ```

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use keystore::dns::{Rtype, rdata};

use super::block::{NODES, Node, NodeBlock, NodeContent, RrsetRef};
use super::key;
use super::pack::canonical;
use super::{NodeId, Records, Zone};
use crate::rules::DnssecRecords;

/// What some names of a zone have from now on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContentChange {
    /// In canonical order, each name once.
    pub names: Vec<NameChange>,
}

/// What a name has from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameChange {
    /// In wire form.
    pub owner: Box<[u8]>,
    /// By type; none when the name has no records any more.
    pub rrsets: Vec<OwnedRrset>,
}

/// An RRset as a zone has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRrset {
    /// Its type.
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl: u32,
    /// True when the canonical form of its RDATA is not what `data` has.
    pub fold: bool,
    /// Its records in canonical order: each two octets of length, then the RDATA.
    pub data: Box<[u8]>,
}

impl OwnedRrset {
    /// An RRset from octets that are none of a zone's: its records, each two octets of length, then the RDATA. `None` when a zone could not
    /// have them; `dnssec` says whether it has the DNSSEC records that it came with.
    #[must_use]
    pub fn checked(rtype: Rtype, ttl: u32, data: &[u8], dnssec: DnssecRecords) -> Option<Self> {
        let octets: usize = Records(data).map(|record| 2 + record.len()).sum();
        if octets != data.len() || data.is_empty() || dnssec.leaves_out(rtype, false) {
            return None;
        }
        let is_good = |record: &[u8]| rdata::check(rtype, record).is_ok();
        let fold = Records(data).any(|record| matches!(canonical(rtype, record), Cow::Owned(_)));
        Records(data).all(is_good).then(|| Self { rtype, ttl, fold, data: data.into() })
    }

    fn borrow(&self) -> RrsetRef<'_> {
        RrsetRef { rtype: self.rtype, ttl: self.ttl, fold: self.fold, data: &self.data }
    }
}

impl NameChange {
    /// What a node of `zone` has.
    pub(crate) fn to_node_of(zone: &Zone, node: NodeId) -> Self {
        let rrsets = zone.rrsets_of(node).map(|id| {
            let RrsetRef { rtype, ttl, fold, data } = zone.rrset(id);
            OwnedRrset { rtype, ttl, fold, data: data.into() }
        });
        Self { owner: zone.owner(node).into(), rrsets: rrsets.collect() }
    }

    /// The records of a node of `zone` go.
    pub(crate) fn to_nothing_at(zone: &Zone, node: NodeId) -> Self {
        Self { owner: zone.owner(node).into(), rrsets: Vec::new() }
    }
}

impl ContentChange {
    /// What makes the content of `new` of that of `old`; `None` when they are zones of different names, or more than `most` names differ.
    pub(crate) fn between(old: &Zone, new: &Zone, most: usize) -> Option<Self> {
        if old.origin() != new.origin() {
            return None;
        }
        let mut names = Vec::new();
        if old.is_of_lineage(new) {
            for block in old.blocks_not_shared(new) {
                for node in NodeId::range(block * NODES..(block + 1) * NODES) {
                    if old.exists(node) {
                        match new.get(old.key(node)) {
                            Some(now) if new.has_same_at(now, old, node) => {}
                            Some(now) => names.push(NameChange::to_node_of(new, now)),
                            None if old.is_empty(node) => {}
                            None => names.push(NameChange::to_nothing_at(old, node)),
                        }
                    }
                    if new.exists(node) && !new.is_empty(node) && old.get(new.key(node)).is_none() {
                        names.push(NameChange::to_node_of(new, node));
                    }
                }
            }
            names.sort_by(|a: &NameChange, b| keystore::dns::name::canonical_cmp(&a.owner, &b.owner));
            return (names.len() <= most).then_some(Self { names });
        }
        let mut olds = old.node_ids().peekable();
        for node in new.node_ids() {
            while let Some(gone) = olds.next_if(|at| old.key(*at) < new.key(node)) {
                if !old.is_empty(gone) {
                    names.push(NameChange::to_nothing_at(old, gone));
                }
            }
            match olds.next_if(|at| old.key(*at) == new.key(node)) {
                Some(same) if new.has_same_at(node, old, same) => {}
                None if new.is_empty(node) => {}
                _ => names.push(NameChange::to_node_of(new, node)),
            }
            if names.len() > most {
                return None;
            }
        }
        for gone in olds.filter(|at| !old.is_empty(*at)) {
            names.push(NameChange::to_nothing_at(old, gone));
        }
        (names.len() <= most).then_some(Self { names })
    }
}

impl Zone {
    /// The zone that has the content of `new`, made from this one where the two differ in few names; `None` where they differ in many, or where
    /// this one has changed so much since it was read that another start is better.
    #[must_use]
    pub fn succeeded_by(&self, new: &Self) -> Option<Self> {
        let has_room =
            self.free.len() <= NODES + self.totals.names / 2 && new.totals.names < self.index.room();
        let change = ContentChange::between(self, new, NODES + self.totals.names / 8).filter(|_| has_room)?;
        let mut zone = self.changed(&change);
        (zone.files, zone.warnings) = (new.files.clone(), new.warnings.clone());
        Some(zone)
    }

    /// The zone after `change`, whose names must be at or below the apex. What it makes is checked by nobody: it has to come from two zones that
    /// were.
    #[must_use]
    pub fn changed(&self, change: &ContentChange) -> Self {
        let mut next = Editor {
            zone: Self {
                dnssec: self.dnssec,
                origin: self.origin.clone(),
                files: self.files.clone(),
                warnings: self.warnings.clone(),
                lineage: Arc::clone(&self.lineage),
                identity: Arc::default(),
                before: Some(Arc::clone(&self.identity)),
                blocks: self.blocks.clone(),
                index: self.index.clone(),
                order: self.order.clone(),
                free: self.free.clone(),
                totals: self.totals.clone(),
                deepest: self.deepest,
            },
            freed: Vec::new(),
            cuts: BTreeSet::new(),
        };
        // What comes goes first, so that no empty non-terminal is taken out and made again.
        for name in change.names.iter().filter(|name| !name.rrsets.is_empty()) {
            next.put(name);
        }
        for name in change.names.iter().filter(|name| name.rrsets.is_empty()) {
            next.clear(name);
        }
        next.finish()
    }
}

/// A zone that is being changed.
struct Editor {
    zone: Zone,
    /// Nodes that have become free. They are used by later changes only: in this one, the same node is the same name.
    freed: Vec<NodeId>,
    /// Search keys of names that became a delegation, or are none any more.
    cuts: BTreeSet<Box<[u8]>>,
}

impl Editor {
    /// Gives a name its RRsets, and makes the name and those above it where they are missing.
    fn put(&mut self, name: &NameChange) {
        let Some(key) = self.zone.key_of(&name.owner) else { return };
        let key = key.as_slice();
        let node = self.zone.get(key).unwrap_or_else(|| self.add(&name.owner, key));
        self.set(node, key, &name.owner, &name.rrsets);
    }

    /// Takes the RRsets of a name away, and the name with those above it that are of no use then.
    fn clear(&mut self, name: &NameChange) {
        let Some(node) = self.zone.key_of(&name.owner).and_then(|key| self.zone.get(key.as_slice())) else {
            return;
        };
        let key: Box<[u8]> = self.zone.key(node).into();
        self.set(node, &key, &name.owner, &[]);
        let mut node = node;
        while node != NodeId::APEX && self.zone.node(node).children == 0 && self.zone.is_empty(node) {
            let parent = self.zone.node(node).parent;
            self.remove(node);
            node = parent;
        }
    }

    fn set(&mut self, node: NodeId, key: &[u8], owner: &[u8], rrsets: &[OwnedRrset]) {
        let zone = &mut self.zone;
        let had_ns = zone.find(node, Rtype::NS).is_some();
        let has_ns = rrsets.iter().any(|rrset| rrset.rtype == Rtype::NS);
        if had_ns != has_ns && node != NodeId::APEX {
            self.cuts.insert(key.into());
        }
        let content = NodeContent { key, owner, rrsets: rrsets.iter().map(OwnedRrset::borrow).collect() };
        let block = zone.blocks.get(node.block());
        zone.totals.subtract(&block.content(node.place()));
        zone.totals.add(&content);
        let block = block.with(node.place(), *block.node(node.place()), &content);
        zone.blocks.set(node.block(), block);
    }

    /// Makes a name without RRsets, and those above it that are missing.
    fn add(&mut self, owner: &[u8], key: &[u8]) -> NodeId {
        let encloser = self.zone.closest_encloser(key);
        let (mut parent, depth) = (encloser, key::label_count(key));
        for at in usize::from(self.zone.node(encloser).depth) + 1..=depth {
            // An ancestor's owner is the tail of the name's, its key the head of the name's.
            let skip = (at..depth).fold(0, |skip, _| skip + usize::from(owner[skip]) + 1);
            parent = self.add_below(parent, &owner[skip..], &key[..key::ancestor_len(key, at)]);
        }
        parent
    }

    fn add_below(&mut self, parent: NodeId, owner: &[u8], key: &[u8]) -> NodeId {
        let zone = &mut self.zone;
        let node = zone.free.pop().unwrap_or_else(|| {
            let last = zone.blocks.len() - 1;
            match zone.blocks.get(last).len() {
                NODES => NodeId::at((last + 1) * NODES),
                place => NodeId::at(last * NODES + place),
            }
        });
        let above = *zone.node(parent);
        let (depth, cut) = (above.depth + 1, above.cut);
        let links = Node { parent, cut, depth, exists: true, ..Node::NOTHING };
        let content = NodeContent { key, owner, rrsets: Vec::new() };
        zone.totals.add(&content);
        let block = if node.block() < zone.blocks.len() {
            zone.blocks.get(node.block()).with(node.place(), links, &content)
        } else {
            NodeBlock::default().with(0, links, &content)
        };
        zone.blocks.set(node.block(), block);
        let above = zone.blocks.get_mut(parent.block()).node_mut(parent.place());
        above.children += 1;
        if owner.starts_with(b"\x01*") {
            above.wildcard = Some(node);
        }
        zone.deepest = zone.deepest.max(usize::from(depth));
        let blocks = &zone.blocks;
        let key_of = |node: NodeId| blocks.get(node.block()).key(node.place());
        zone.index.insert(node, key_of);
        zone.order.insert(key::prefix(key), node, |other| key_of(other).cmp(key));
        node
    }

    fn remove(&mut self, node: NodeId) {
        let zone = &mut self.zone;
        let Node { parent, .. } = *zone.node(node);
        let blocks = &zone.blocks;
        let key_of = |node: NodeId| blocks.get(node.block()).key(node.place());
        let key = key_of(node);
        zone.index.remove(node, key);
        zone.order.remove(key::prefix(key), node, |other| key_of(other).cmp(key));
        let block = blocks.get(node.block());
        zone.totals.subtract(&block.content(node.place()));
        let nothing = NodeContent { key: &[], owner: &[], rrsets: Vec::new() };
        let block = block.with(node.place(), Node::NOTHING, &nothing);
        zone.blocks.set(node.block(), block);
        let above = zone.blocks.get_mut(parent.block()).node_mut(parent.place());
        above.children -= 1;
        if above.wildcard == Some(node) {
            above.wildcard = None;
        }
        self.freed.push(node);
    }

    /// Says of each name at or below the changed delegations which one it is below.
    fn finish(self) -> Zone {
        let Self { mut zone, freed, cuts } = self;
        zone.free.extend(freed);
        for key in cuts {
            let Some(top) = zone.get(&key) else { continue };
            let below: Vec<NodeId> = zone.subtree(top).collect();
            for node in below {
                let Node { parent, cut, .. } = *zone.node(node);
                let is_cut = zone.find(node, Rtype::NS).is_some();
                let now = zone.node(parent).cut.or(is_cut.then_some(node));
                if now != cut {
                    zone.blocks.get_mut(node.block()).node_mut(node.place()).cut = now;
                }
            }
        }
        zone
    }
}
