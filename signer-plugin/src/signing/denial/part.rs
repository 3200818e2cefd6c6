//! What differs in the chain of a version from that of the version before. Sets of names are compared, not an order of events: what a name is
//! in the chain follows from the zone before and the zone after.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use keystore::dns::Rtype;
use keystore::dns::nsec3::NameHash;

use super::plan::{ChainPlan, PlannedRecords};
use super::standing::{self, Membership};
use super::{Chain, ChainKind, HashCollision};
use crate::signing::SignedZone;
use crate::zone::{NodeId, Zone};

impl ChainPlan {
    /// The chain of `zone` as it follows from that of `old`, whose zone is of the same lineage and differs at `touched`; `apex_types` are
    /// those that the apex has beside the zone's own.
    pub fn part(
        old: &SignedZone,
        zone: &Zone,
        touched: &[NodeId],
        apex_types: Vec<Rtype>,
    ) -> Result<Self, HashCollision> {
        let mut changes = Changes {
            old,
            zone,
            kind: old.chain().kind(),
            below: HashMap::new(),
            looked_at: HashMap::new(),
            come: Vec::new(),
            gone: Vec::new(),
        };
        changes.look_at(touched);
        let mut remade: HashSet<NodeId> =
            touched.iter().copied().filter(|node| changes.is_member(*node)).collect();
        remade.extend(changes.come.iter().copied());
        let (chain, next, hashes) = match old.chain() {
            Chain::Nothing | Chain::Nsec => {
                changes.add_those_in_front(&mut remade);
                let next = remade.iter().map(|node| (*node, changes.next_by_name(*node))).collect();
                (Chain::Nsec, next, HashMap::new())
            }
            Chain::Nsec3(chain) => {
                let mut chain = chain.clone();
                for node in &changes.gone {
                    chain.remove(*node, old.hash(*node), |node| old.hash(node));
                }
                let come = changes.come.iter().map(|node| (*node, chain.nsec3.hash(zone.owner(*node))));
                let hashes: HashMap<NodeId, NameHash> = come.collect();
                let hash_of = |node: NodeId| hashes.get(&node).copied().unwrap_or_else(|| old.hash(node));
                for node in &changes.come {
                    if let Some(other) = chain.insert(*node, hash_of(*node), hash_of) {
                        return Err(HashCollision::of(zone, other, *node));
                    }
                }
                let places = changes.gone.iter().map(|node| old.hash(*node)).chain(hashes.values().copied());
                for place in places {
                    remade.insert(chain.before(place, hash_of));
                }
                let next: HashMap<NodeId, NodeId> =
                    remade.iter().map(|node| (*node, chain.next(hash_of(*node), hash_of))).collect();
                // Those that the records lead to, so that their hashes are not reckoned again.
                let known =
                    next.iter().flat_map(|(node, next)| [*node, *next]).map(|node| (node, hash_of(node)));
                let hashes = known.collect();
                (Chain::Nsec3(chain), next, hashes)
            }
        };
        let gone = changes.gone.iter().map(|node| match old.chain() {
            Chain::Nothing | Chain::Nsec => old.zone().key(*node).into(),
            Chain::Nsec3(_) => old.hash(*node).0.into(),
        });
        let gone = gone.collect();
        let made = PlannedRecords::Some { looked_at: changes.looked_at, next, hashes, gone };
        Ok(Self { chain, apex_types, made })
    }
}

/// What changes in a chain.
struct Changes<'a> {
    old: &'a SignedZone,
    zone: &'a Zone,
    kind: ChainKind,
    /// By how much the number of members below a name changes.
    below: HashMap<NodeId, i64>,
    /// What the names that are looked at are in the new chain.
    looked_at: HashMap<NodeId, Membership>,
    /// Names that come into the chain, and names of the old zone that go.
    come: Vec<NodeId>,
    gone: Vec<NodeId>,
}

impl Changes<'_> {
    /// Decides for the touched names, and for all whose part in the chain follows from theirs.
    fn look_at(&mut self, touched: &[NodeId]) {
        let (old, zone) = (self.old.zone(), self.zone);
        let is_nsec3 = self.kind != ChainKind::Nsec;
        // Deepest first: what a name is depends on what is below it.
        let mut candidates: BTreeSet<(Reverse<u8>, NodeId)> = BTreeSet::new();
        let candidate = |node: NodeId| (Reverse(zone.node(node).depth), node);
        for node in touched {
            if old.exists(*node) && !self.is_same_name(*node) {
                if self.old.is_member(*node) {
                    self.gone.push(*node);
                }
                for above in ancestors(old, *node).filter(|_| is_nsec3) {
                    if self.is_same_name(above) {
                        candidates.insert(candidate(above));
                        if self.old.is_member(*node) {
                            *self.below.entry(above).or_default() -= 1;
                        }
                    }
                }
            }
            if zone.exists(*node) {
                candidates.insert(candidate(*node));
                candidates.extend(ancestors(zone, *node).filter(|_| is_nsec3).map(candidate));
                candidates.extend(self.depending_on_wildcard(*node).into_iter().map(candidate));
            }
        }
        for (_, node) in candidates {
            let is_old = self.is_same_name(node);
            let was_member = is_old && self.old.is_member(node);
            let before = if is_old { i64::from(self.old.members_below(node)) } else { 0 };
            let below = before + self.below.get(&node).copied().unwrap_or(0);
            let below = u32::try_from(below).unwrap_or(0);
            let is_member = standing::member(zone, node, self.kind, below > 0);
            self.looked_at.insert(node, Membership { is_member, below });
            if is_member == was_member {
                continue;
            }
            if is_member {
                self.come.push(node);
            } else {
                self.gone.push(node);
            }
            for above in ancestors(zone, node).filter(|_| is_nsec3) {
                *self.below.entry(above).or_default() += if is_member { 1 } else { -1 };
            }
        }
    }

    /// True when the node is the same name before and after.
    fn is_same_name(&self, node: NodeId) -> bool {
        let old = self.old.zone();
        old.exists(node) && self.zone.exists(node) && old.key(node) == self.zone.key(node)
    }

    /// The empty non-terminals whose part in a chain with opt-out changes because a wildcard beside them came or went.
    fn depending_on_wildcard(&self, node: NodeId) -> Vec<NodeId> {
        let had = self.is_same_name(node).then(|| self.old.zone().node(node).wildcard).flatten();
        if self.kind != (ChainKind::Nsec3 { opt_out: true }) || had == self.zone.node(node).wildcard {
            return Vec::new();
        }
        let beside = self.zone.subtree(node).filter(|other| self.zone.node(*other).parent == node);
        beside.filter(|other| *other != node && self.zone.is_empty(*other)).collect()
    }

    fn is_member(&self, node: NodeId) -> bool {
        match self.looked_at.get(&node) {
            Some(membership) => membership.is_member,
            None => self.is_same_name(node) && self.old.is_member(node),
        }
    }

    /// Adds the members of an NSEC chain that stand in front of the names that came or went.
    fn add_those_in_front(&self, remade: &mut HashSet<NodeId>) {
        let gone = self.gone.iter().map(|node| self.old.zone().key(*node));
        for key in gone.chain(self.come.iter().map(|node| self.zone.key(*node))) {
            let mut before = self.zone.last_before(key);
            while let Some(node) = before.filter(|node| !self.is_member(*node)) {
                before = match self.zone.node(node).cut {
                    Some(cut) if cut != node => Some(cut),
                    _ => self.zone.last_before(self.zone.key(node)),
                };
            }
            // Nothing stands in front of the apex, which neither comes nor goes.
            remade.extend(before);
        }
    }

    /// The member of an NSEC chain behind a member.
    fn next_by_name(&self, node: NodeId) -> NodeId {
        next_by_name(self.zone, node, |node| self.is_member(node))
    }
}

/// The names above a name.
fn ancestors(zone: &Zone, mut node: NodeId) -> impl Iterator<Item = NodeId> {
    std::iter::from_fn(move || {
        let parent = zone.node(node).parent;
        (node != NodeId::APEX).then(|| {
            node = parent;
            parent
        })
    })
}

/// The member of an NSEC chain behind a member; the last one leads back to the apex.
pub(in crate::signing) fn next_by_name(
    zone: &Zone,
    node: NodeId,
    is_member: impl Fn(NodeId) -> bool,
) -> NodeId {
    let behind = |node: NodeId| match zone.is_cut(node) {
        true => zone.first_behind(zone.key(node)),
        false => zone.first_after(zone.key(node)),
    };
    let mut next = behind(node);
    // Empty non-terminals are in no NSEC chain.
    while let Some(other) = next.filter(|other| !is_member(*other)) {
        next = behind(other);
    }
    next.unwrap_or(NodeId::APEX)
}
