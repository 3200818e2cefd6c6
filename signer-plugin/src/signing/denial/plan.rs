//! Which denial records a version has, and which of them are made for it.

use std::collections::HashMap;

use keystore::dns::Rtype;
use keystore::dns::nsec3::NameHash;

use super::standing::{self, Membership};
use super::{Chain, ChainKind};
use crate::zone::{NodeId, Zone};

/// The chain of a version, and what is made for it.
pub(in crate::signing) struct ChainPlan {
    pub chain: Chain,
    /// Types that the apex has beside the zone's own.
    pub(super) apex_types: Vec<Rtype>,
    pub(super) made: PlannedRecords,
}

/// What is made.
pub(super) enum PlannedRecords {
    /// All records. By position of the node: what it is in the chain, the member behind it, and with NSEC3 its hash.
    All { members: Vec<Membership>, next: Vec<NodeId>, hashes: Vec<NameHash> },
    /// What differs from the version before: names that are looked at, and the members whose record is made, with what it leads to.
    Some {
        looked_at: HashMap<NodeId, Membership>,
        next: HashMap<NodeId, NodeId>,
        hashes: HashMap<NodeId, NameHash>,
        /// Where members were that are gone: search keys of names with NSEC, hashes with NSEC3.
        gone: Vec<Box<[u8]>>,
    },
}

/// What is planned for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::signing) enum Planned {
    /// What the version before has.
    Kept,
    /// It is not in the chain.
    Nothing,
    /// Its record leads to this member.
    Record(NodeId),
}

impl ChainPlan {
    /// What is planned for a name. Whoever keeps the record of the version before, keeps that there is none as well.
    pub fn at(&self, node: NodeId) -> Planned {
        match &self.made {
            PlannedRecords::All { members, next, .. } => match members[node.position()].is_member {
                true => Planned::Record(next[node.position()]),
                false => Planned::Nothing,
            },
            PlannedRecords::Some { looked_at, next, .. } => match (next.get(&node), looked_at.get(&node)) {
                (Some(next), _) => Planned::Record(*next),
                (None, Some(Membership { is_member: false, .. })) => Planned::Nothing,
                (None, _) => Planned::Kept,
            },
        }
    }

    /// Names below a name that are members; `None`: as many as in the version before.
    pub fn members_below(&self, node: NodeId) -> Option<u32> {
        match &self.made {
            PlannedRecords::All { members, .. } => Some(members[node.position()].below),
            PlannedRecords::Some { looked_at, .. } => looked_at.get(&node).map(|membership| membership.below),
        }
    }

    /// The nodes for which something may differ from the version before; `None`: all.
    pub fn nodes(&self) -> Option<impl Iterator<Item = NodeId>> {
        match &self.made {
            PlannedRecords::All { .. } => None,
            PlannedRecords::Some { looked_at, next, .. } => {
                Some(looked_at.keys().chain(next.keys()).copied())
            }
        }
    }

    /// Where members of the chain before were that are gone: search keys of names with NSEC, hashes with NSEC3.
    pub fn gone(&self) -> &[Box<[u8]>] {
        match &self.made {
            PlannedRecords::All { .. } => &[],
            PlannedRecords::Some { gone, .. } => gone,
        }
    }

    /// The hash of a name in an NSEC3 chain.
    pub fn hash(&self, zone: &Zone, node: NodeId) -> Option<NameHash> {
        let Chain::Nsec3(chain) = &self.chain else { return None };
        let known = match &self.made {
            PlannedRecords::All { hashes, .. } => hashes.get(node.position()).copied(),
            PlannedRecords::Some { hashes, .. } => hashes.get(&node).copied(),
        };
        Some(known.unwrap_or_else(|| chain.nsec3.hash(zone.owner(node))))
    }

    /// Appends the record of `node` that leads to `next`, with its length in front. `types` is room.
    pub fn put_record(
        &self,
        zone: &Zone,
        node: NodeId,
        next: NodeId,
        types: &mut Vec<Rtype>,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        out.extend_from_slice(&[0, 0]);
        let kind = match &self.chain {
            Chain::Nothing | Chain::Nsec => {
                // RFC 6840 section 5.1: the next name is signed as it stands. In lower case it is the same to everyone.
                out.extend(zone.owner(next).iter().map(u8::to_ascii_lowercase));
                ChainKind::Nsec
            }
            Chain::Nsec3(chain) => {
                chain.nsec3.put_record_head(out);
                let next = self.hash(zone, next).map_or([0; 20], |hash| hash.0);
                out.push(next.len() as u8);
                out.extend_from_slice(&next);
                chain.nsec3.kind()
            }
        };
        standing::types(zone, node, kind, &self.apex_types, types);
        standing::put_bitmap(types, out);
        let len = (out.len() - start - 2) as u16;
        out[start..start + 2].copy_from_slice(&len.to_be_bytes());
    }
}
