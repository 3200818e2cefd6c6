//! A chain from nothing but the zone, on all cores.

use keystore::dns::Rtype;
use keystore::dns::nsec3::NameHash;
use rayon::prelude::*;

use super::nsec3::prefix;
use super::plan::{ChainPlan, PlannedRecords};
use super::standing;
use super::{Chain, ChainKind, Denial, HashCollision, Nsec3Chain};
use crate::sorted::Sorted;
use crate::zone::{NodeId, Zone};

impl ChainPlan {
    /// The chain that `denial` asks for; `apex_types` are those that the apex has beside the zone's own.
    pub fn whole(zone: &Zone, denial: &Denial, apex_types: Vec<Rtype>) -> Result<Self, HashCollision> {
        let kind = match denial {
            Denial::Nsec => ChainKind::Nsec,
            Denial::Nsec3(nsec3) => nsec3.kind(),
        };
        let members = standing::members(zone, kind);
        let in_order = zone.node_ids().filter(|node| members[node.position()].is_member);
        let mut next = vec![NodeId::APEX; members.len()];
        let mut hashes = Vec::new();
        let chain = match denial {
            Denial::Nsec => {
                let in_order: Vec<NodeId> = in_order.collect();
                for pair in in_order.windows(2) {
                    next[pair[0].position()] = pair[1];
                }
                Chain::Nsec
            }
            Denial::Nsec3(nsec3) => {
                let in_order: Vec<NodeId> = in_order.collect();
                let mut hashed: Vec<(NameHash, NodeId)> =
                    in_order.into_par_iter().map(|node| (nsec3.hash(zone.owner(node)), node)).collect();
                hashed.par_sort_unstable();
                if let Some(pair) = hashed.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    return Err(HashCollision::of(zone, pair[0].1, pair[1].1));
                }
                hashes = vec![NameHash([0; 20]); members.len()];
                for (at, (hash, node)) in hashed.iter().enumerate() {
                    next[node.position()] = hashed[(at + 1) % hashed.len()].1;
                    hashes[node.position()] = *hash;
                }
                let order = Sorted::new(hashed.iter().map(|(hash, node)| (prefix(*hash), *node)));
                Chain::Nsec3(Nsec3Chain { nsec3: nsec3.clone(), order })
            }
        };
        Ok(Self { chain, apex_types, made: PlannedRecords::All { members, next, hashes } })
    }
}
