//! A version before it has its signatures: which blocks are made for it, and what has to be signed in them.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use keystore::crypto::sha256;
use keystore::dns::Rtype;
use keystore::exchange::Bundle;
use keystore::time::Timestamp;
use rayon::prelude::*;

use super::apex::{self, ApexRrset};
use super::block::{BlockFacts, SignedBlock, SignedNode};
use super::denial::{Chain, ChainPlan, Denial, HashCollision, OwnerBuf, Planned};
use super::plan::RenewalPlan;
use super::slots::{KeySlot, SignSubject, SignTask};
use super::tally::{RenewalUrgency, Tally};
use super::{Basis, RecordSource, Renewed, RrsetView, SignedZone, soa_with_serial};
use crate::blocks::Blocks;
use crate::zone::{NODES, NodeId, RrsetId, Zone};

/// A version without its signatures.
pub(super) struct Draft<'a> {
    pub zone: Arc<Zone>,
    pub serial: u32,
    pub soa: Vec<u8>,
    pub apex: Vec<ApexRrset>,
    pub negative_ttl: u32,
    pub chain: ChainPlan,
    /// The version whose blocks are kept where nothing changes; `None`: all are made.
    pub base: Option<&'a SignedZone>,
    /// The numbers of the blocks that are made.
    pub scope: Vec<usize>,
}

/// What shows the RRsets of a draft.
#[derive(Clone)]
pub(super) struct Viewer {
    zone: Arc<Zone>,
    soa: Vec<u8>,
    denial: (Rtype, u32),
}

/// A block that is being made.
pub(super) struct BlockDraft {
    pub number: usize,
    pub block: SignedBlock,
    pub facts: BlockFacts,
    /// What is signed in it, in the order of the slots.
    pub tasks: Vec<(SignTask, RenewalUrgency)>,
}

/// What is signed, and where its signatures go.
pub(super) struct SlotTask<'a> {
    pub task: SignTask,
    pub urgency: RenewalUrgency,
    /// Octets in front of the slot.
    pub head: &'a [u8],
    pub slot: &'a mut [u8],
}

impl<'a> Draft<'a> {
    /// `made_at_apex` are the RRsets that the apex has beside the zone's own and those of the bundle, with their signatures. Where there is a
    /// `base`, its zone is of the lineage of `zone`; with `plan` the blocks with signatures that are due are made as well.
    pub fn new(
        zone: &Arc<Zone>,
        bundle: &Bundle,
        made_at_apex: Vec<ApexRrset>,
        denial: &Denial,
        serial: u32,
        base: Option<(&'a SignedZone, Option<&RenewalPlan>)>,
    ) -> Result<Self, HashCollision> {
        let soa = soa_with_serial(zone, serial);
        let mut apex = apex::from_bundle(zone, bundle);
        apex.extend(made_at_apex);
        apex.sort_by_key(|set| set.rtype);
        let apex_types: Vec<Rtype> = apex.iter().map(|set| set.rtype).collect();
        let mut scope: Vec<usize> = (0..zone.block_count()).collect();
        let chain = match base {
            None => ChainPlan::whole(zone, denial, apex_types)?,
            Some((base, plan)) => {
                let touched = touched(&base.zone, zone);
                let chain = ChainPlan::part(base, zone, &touched, apex_types)?;
                let mut blocks: BTreeSet<usize> = touched.iter().map(|node| node.block()).collect();
                blocks.extend(chain.nodes().into_iter().flatten().map(NodeId::block));
                let due = base.facts.iter().enumerate();
                blocks.extend(
                    due.filter(|(_, facts)| plan.is_some_and(|plan| plan.is_due(facts.due))).map(|(n, _)| n),
                );
                scope.retain(|number| blocks.contains(number));
                chain
            }
        };
        let (zone, negative_ttl) = (Arc::clone(zone), zone.negative_ttl());
        Ok(Self { zone, serial, soa, apex, negative_ttl, chain, base: base.map(|(base, _)| base), scope })
    }

    /// All the blocks that are made, on all cores.
    pub fn blocks(&self, slot_len: usize) -> Vec<BlockDraft> {
        self.scope.par_iter().map(|number| self.block(*number, slot_len)).collect()
    }

    /// How many RRsets are signed in the blocks that are made.
    pub fn task_count(&self) -> usize {
        let of_node = |node: NodeId| {
            let is_member = match self.chain.at(node) {
                Planned::Nothing => false,
                Planned::Kept => self.base.is_some_and(|base| base.is_member(node)),
                Planned::Record(_) => true,
            };
            let zone = &*self.zone;
            zone.rrsets_of(node).filter(|id| is_signed(zone, *id)).count() + usize::from(is_member)
        };
        let of_block = |number: &usize| {
            let nodes = self.zone.block_nodes(*number).filter(|node| self.zone.exists(*node));
            nodes.map(of_node).sum::<usize>()
        };
        self.scope.par_iter().map(of_block).sum()
    }

    /// One of the blocks that are made: its denial records, and room for signatures, which are octets 0.
    pub fn block(&self, number: usize, slot_len: usize) -> BlockDraft {
        let zone = &*self.zone;
        let mut draft = BlockDraft {
            number,
            block: SignedBlock::default(),
            facts: BlockFacts::NOTHING,
            tasks: Vec::new(),
        };
        let mut types = Vec::new();
        for node in zone.block_nodes(number) {
            let octets = &mut draft.block.octets;
            let mut signed = SignedNode { offset: octets.len() as u32, ..SignedNode::default() };
            if zone.exists(node) {
                for id in zone.rrsets_of(node).filter(|id| is_signed(zone, *id)) {
                    let (subject, slot) = (SignSubject::Rrset(id.number as u32), octets.len() as u32);
                    draft.tasks.push((
                        SignTask { node, subject, number: signed.signed, slot },
                        RenewalUrgency::Missing,
                    ));
                    octets.resize(octets.len() + slot_len, 0);
                    signed.signed += 1;
                }
                signed.members_below = self.members_below(node);
                let start = octets.len();
                match self.chain.at(node) {
                    Planned::Nothing => {}
                    Planned::Kept => signed.denial_len = self.keep_denial(node, octets),
                    Planned::Record(next) => {
                        octets.extend_from_slice(
                            self.chain.hash(zone, node).as_ref().map_or(&[], |hash| &hash.0),
                        );
                        let record = octets.len();
                        self.chain.put_record(zone, node, next, &mut types, octets);
                        signed.denial_len = (octets.len() - record) as u16;
                    }
                }
                if signed.is_member() {
                    draft.facts.denials += 1;
                    draft.facts.checksum =
                        draft.facts.checksum.wrapping_add(checksum(zone.key(node), &octets[start..]));
                    let (subject, slot) = (SignSubject::Denial(signed.denial_len), octets.len() as u32);
                    draft.tasks.push((
                        SignTask { node, subject, number: signed.signed, slot },
                        RenewalUrgency::Missing,
                    ));
                    octets.resize(octets.len() + slot_len, 0);
                }
            }
            draft.block.nodes.push(signed);
        }
        draft.facts.slots = draft.tasks.len() as u32;
        draft.block.octets.shrink_to_fit();
        draft
    }

    fn members_below(&self, node: NodeId) -> u32 {
        let known = self.chain.members_below(node);
        known.unwrap_or_else(|| self.base.map_or(0, |base| base.members_below(node)))
    }

    /// Copies the denial record of the version before, with its hash; gives the octets of the record.
    fn keep_denial(&self, node: NodeId, out: &mut Vec<u8>) -> u16 {
        let Some(base) = self.base.filter(|base| base.is_member(node)) else { return 0 };
        if let Chain::Nsec3(_) = base.chain {
            out.extend_from_slice(&base.hash(node).0);
        }
        let data = base.denial(node).data;
        out.extend_from_slice(data);
        data.len() as u16
    }

    /// What shows the RRsets that are signed.
    pub fn viewer(&self) -> Viewer {
        let denial = (self.chain.chain.rtype(), self.negative_ttl);
        Viewer { zone: Arc::clone(&self.zone), soa: self.soa.clone(), denial }
    }

    /// The owner of the RRset of a task; `head` as with [`Self::view`].
    pub fn owner<'v>(&'v self, task: &SignTask, head: &'v [u8], room: &'v mut OwnerBuf) -> &'v [u8] {
        match (task.subject, &self.chain.chain) {
            (SignSubject::Denial(len), Chain::Nsec3(_)) => {
                let hash = head[..head.len() - usize::from(len)].last_chunk().map_or([0; 20], |hash| *hash);
                room.put_hashed(keystore::dns::nsec3::NameHash(hash), self.zone.origin())
            }
            _ => self.zone.owner(task.node),
        }
    }

    /// The version with its blocks, whose signatures are made. `made_at_apex` has the tally of what was signed at the apex.
    pub fn finish(
        self,
        bundle: &Bundle,
        (keys, slot_len): (Vec<KeySlot>, usize),
        made: Vec<BlockDraft>,
        basis: Basis,
        now: Timestamp,
    ) -> SignedZone {
        let earliest_ksk = bundle.signatures.iter().map(|s| s.expires(now)).min().unwrap_or(bundle.inception);
        let (blocks, facts, renewed) = match self.base {
            None => {
                let facts = made.iter().map(|draft| draft.facts).collect();
                (made.into_iter().map(|draft| draft.block).collect::<Blocks<_>>(), facts, None)
            }
            Some(base) => {
                let (mut blocks, mut facts) = (base.blocks.clone(), base.facts.clone());
                facts.resize(self.zone.block_count(), BlockFacts::NOTHING);
                for draft in made {
                    facts[draft.number] = draft.facts;
                    blocks.set(draft.number, draft.block);
                }
                let links = self.chain.nodes().into_iter().flatten().filter(|node| self.zone.exists(*node));
                (
                    blocks,
                    facts,
                    Some(Renewed {
                        links: links.collect(),
                        gone: self.chain.gone().to_vec(),
                        blocks: self.scope,
                    }),
                )
            }
        };
        let all = facts.iter().copied().fold(BlockFacts::NOTHING, BlockFacts::and);
        let tally = Tally { earliest: all.earliest, due: all.due, ..Tally::NOTHING };
        SignedZone {
            zone: self.zone,
            source: RecordSource::Blocks,
            serial: self.serial,
            keys,
            slot_len,
            blocks,
            facts,
            all,
            renewed,
            chain: self.chain.chain,
            soa: self.soa,
            negative_ttl: self.negative_ttl,
            apex: self.apex,
            earliest_ksk,
            tally,
            basis,
            no_apex_wildcard: OnceLock::new(),
        }
    }
}

impl Viewer {
    /// The RRset of a task, without signatures; `head` are the octets of the block in front of its slot.
    pub fn view<'v>(&'v self, task: &SignTask, head: &'v [u8]) -> RrsetView<'v> {
        match task.subject {
            SignSubject::Rrset(number) => {
                let rrset = self.zone.rrset(RrsetId { node: task.node, number: number as usize });
                let is_soa = task.node == NodeId::APEX && rrset.rtype == Rtype::SOA;
                let data = if is_soa { self.soa.as_slice() } else { rrset.data };
                RrsetView { rtype: rrset.rtype, ttl: rrset.ttl, data, signatures: &[] }
            }
            SignSubject::Denial(len) => RrsetView {
                rtype: self.denial.0,
                ttl: self.denial.1,
                data: &head[head.len() - usize::from(len)..],
                signatures: &[],
            },
        }
    }
}

impl BlockDraft {
    /// Hands each task to `fill`, with the octets in front of its slot and the slot.
    pub fn each(
        &mut self,
        mut fill: impl FnMut(&SignTask, &mut RenewalUrgency, &[u8], &mut [u8]),
        slot_len: usize,
    ) {
        for (task, urgency) in &mut self.tasks {
            let (head, slot) = self.block.octets.split_at_mut(task.slot as usize);
            fill(task, urgency, head, &mut slot[..slot_len]);
        }
    }

    /// The tasks, each with the octets between the slot before and its own, which have its denial record, and with its slot; they can be filled
    /// at the same time. The block has no tasks any more.
    pub fn take_tasks(&mut self, slot_len: usize) -> Vec<SlotTask<'_>> {
        let (mut rest, mut at) = (self.block.octets.as_mut_slice(), 0);
        let tasks = std::mem::take(&mut self.tasks).into_iter().map(|(task, urgency)| {
            let octets = std::mem::take(&mut rest);
            let (head, octets) = octets.split_at_mut(task.slot as usize - at);
            let (slot, octets) = octets.split_at_mut(slot_len);
            (rest, at) = (octets, task.slot as usize + slot_len);
            SlotTask { task, urgency, head, slot }
        });
        tasks.collect()
    }
}

/// True for an RRset of the zone that is signed (see the table of [`super`]).
pub(super) fn is_signed(zone: &Zone, id: RrsetId) -> bool {
    match zone.node(id.node).cut {
        None => true,
        Some(cut) => cut == id.node && zone.rrset(id).rtype == Rtype::DS,
    }
}

/// The nodes at which two zones of one lineage differ, in what signatures and denial records depend on, and the apex.
pub(super) fn touched(old: &Zone, new: &Zone) -> Vec<NodeId> {
    let mut touched = vec![NodeId::APEX];
    for block in old.blocks_not_shared(new) {
        for node in NodeId::range(block * NODES..(block + 1) * NODES).filter(|node| *node != NodeId::APEX) {
            let differs = match (old.exists(node), new.exists(node)) {
                (false, false) => false,
                (true, true) => {
                    let (before, after) = (old.node(node), new.node(node));
                    (before.cut, before.wildcard) != (after.cut, after.wildcard)
                        || !new.has_same_at(node, old, node)
                }
                _ => true,
            };
            if differs {
                touched.push(node);
            }
        }
    }
    touched
}

fn checksum(key: &[u8], denial: &[u8]) -> u128 {
    let digest = sha256(&[key, denial].concat());
    digest.first_chunk().map_or(0, |octets| u128::from_be_bytes(*octets))
}
