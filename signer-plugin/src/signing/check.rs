//! A signed zone looks at itself before it is served.

use keystore::dns::nsec3::NameHash;
use keystore::dns::{Name, Rtype, name};
use keystore::time::Timestamp;
use rayon::prelude::*;

use super::denial::{self, Chain, OwnerBuf};
use super::verifier::Verifier;
use super::{RrsetView, SignedZone, plan};
use crate::zone::{NodeId, Records};

/// Most names below an empty non-terminal that are looked at for a member of the chain.
const MOST_BELOW: usize = 1000;
/// Names that one thread looks at: to hand fewer to other threads takes longer than to look at them.
pub(super) const FEW: usize = 16;

/// What a signed zone must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The chain is not one ring in its order.
    #[error("the {rtype} record of {owner} does not lead to the next one")]
    Chain {
        /// Type of the record.
        rtype: Rtype,
        /// Its owner.
        owner: Name,
    },
    /// A name has no record in the chain and should have one, or the other way round.
    #[error("whether {name} is in the {rtype} chain is not what it should be")]
    Member {
        /// The name.
        name: Name,
        /// Type of the records of the chain.
        rtype: Rtype,
    },
    /// A type bitmap is not that of what is served.
    #[error("the {rtype} record for {name} does not have the types that are served there")]
    Types {
        /// The name.
        name: Name,
        /// Type of the records of the chain.
        rtype: Rtype,
    },
    /// An RRSIG is missing.
    #[error("{owner} {rtype} has {found} signatures of {wanted}")]
    Missing {
        /// Owner of the RRset.
        owner: Name,
        /// Its type.
        rtype: Rtype,
        /// Signatures there are.
        found: usize,
        /// Signatures there should be.
        wanted: usize,
    },
    /// An RRSIG does not verify, or not now.
    #[error("the signature of {owner} {rtype} by key {tag} is not valid")]
    Invalid {
        /// Owner of the RRset.
        owner: Name,
        /// Its type.
        rtype: Rtype,
        /// Key tag in the RRSIG.
        tag: u16,
    },
}

impl SignedZone {
    /// Checks the structure of the zone and the validity at `now` of all signatures' times; verifies the signatures of the SOA, of the apex
    /// key RRsets and of some `samples` RRsets spread over the zone, by another code path than the one that made them. Of a version that
    /// shares blocks with the one before, which was checked, it looks at those that were made for it, and at what they lead to.
    pub fn self_check(&self, now: Timestamp, samples: usize) -> Result<(), CheckError> {
        self.check(now, samples, &Verifier::of(self), None)
    }

    /// The same, with all signatures verified that were made for this version at `now`, each once.
    pub fn self_check_made(&self, now: Timestamp, samples: usize) -> Result<(), CheckError> {
        let verifier = Verifier::of(self);
        self.verify_made_by(&verifier, now)?;
        self.check(now, samples, &verifier, Some(inception_of_made(now)))
    }

    /// Signatures whose inception is `verified`, as in an RRSIG, are not verified again.
    pub(super) fn check(
        &self,
        now: Timestamp,
        samples: usize,
        verifier: &Verifier<'_>,
        verified: Option<[u8; 4]>,
    ) -> Result<(), CheckError> {
        match &self.renewed {
            None => {
                self.check_chain()?;
                self.check_members()?;
            }
            Some(renewed) => {
                renewed.links.par_iter().with_min_len(FEW).try_for_each(|node| self.check_link(*node))?;
                renewed.gone.par_iter().with_min_len(FEW).try_for_each(|place| self.check_gap(place))?;
                self.check_count()?;
            }
        }
        let nodes: Vec<NodeId> = self.renewed_nodes().collect();
        let every = (nodes.len() / samples.max(1)).max(1);
        nodes.par_iter().with_min_len(FEW).enumerate().try_for_each(|(number, node)| {
            let is_sample = samples > 0 && number % every == 0;
            self.check_node(*node, is_sample, now, (verifier, verified))
        })
    }

    /// Whether a name is in the chain and with which types, the times of its signatures, and the signatures themselves where it is a sample.
    fn check_node(
        &self,
        node: NodeId,
        is_sample: bool,
        now: Timestamp,
        (verifier, verified): (&Verifier<'_>, Option<[u8; 4]>),
    ) -> Result<(), CheckError> {
        let cut = self.zone.is_cut(node);
        for view in self.rrsets(node) {
            let signed = !self.zone.is_below_cut(node) && (!cut || view.rtype == Rtype::DS);
            let from_bundle =
                node == NodeId::APEX && matches!(view.rtype, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY);
            let wanted = if from_bundle { usize::MAX } else { usize::from(signed) * self.keys.len() };
            let owner = self.zone.owner(node);
            self.check_times(owner, &view, wanted, now)?;
            if view.rtype == Rtype::SOA || from_bundle || is_sample {
                self.verify(owner, &view, verifier, verified)?;
            }
        }
        let is_member = denial::member(&self.zone, node, self.chain.kind(), self.members_below(node) > 0);
        if self.is_member(node) != is_member {
            let name = self.name(self.zone.owner(node));
            return Err(CheckError::Member { name, rtype: self.chain.rtype() });
        }
        if !is_member {
            return Ok(());
        }
        self.check_types(node)?;
        let mut room = OwnerBuf::new();
        let (owner, view) = (self.denial_owner(node, &mut room), self.denial(node));
        self.check_times(owner, &view, self.keys.len(), now)?;
        if is_sample { self.verify(owner, &view, verifier, verified) } else { Ok(()) }
    }

    /// The names of the blocks that were made for this version.
    pub(super) fn renewed_nodes(&self) -> impl Iterator<Item = NodeId> {
        let all = self.renewed.is_none().then_some(0..self.zone.block_count());
        let some = self.renewed.iter().flat_map(|renewed| renewed.blocks.iter().copied());
        let nodes = all.into_iter().flatten().chain(some).flat_map(|number| self.zone.block_nodes(number));
        nodes.filter(|node| self.zone.exists(*node))
    }

    fn name(&self, wire: &[u8]) -> Name {
        Name::from_wire(wire).unwrap_or_else(|_| self.zone.origin().clone())
    }

    /// Each record leads to the next in order, and the last one to the first.
    fn check_chain(&self) -> Result<(), CheckError> {
        let members: Vec<NodeId> = self.members_from(0).collect();
        members.par_iter().with_min_len(FEW).enumerate().try_for_each(|(position, node)| {
            self.check_leads_on(*node, members[(position + 1) % members.len()])
        })
    }

    /// The record of a name, if it has one, leads to the next, and the one in front of it leads to it.
    fn check_link(&self, node: NodeId) -> Result<(), CheckError> {
        self.check_below(node)?;
        if !self.is_member(node) {
            return Ok(());
        }
        self.check_leads_on(node, self.member_behind(node))?;
        self.check_leads_on(self.member_in_front(node), node)
    }

    /// An NSEC3 chain has as many members as there are records.
    fn check_count(&self) -> Result<(), CheckError> {
        match &self.chain {
            Chain::Nsec3(chain) if chain.len() != self.all.denials as usize => {
                Err(CheckError::Chain { rtype: self.chain.rtype(), owner: self.zone.origin().clone() })
            }
            _ => Ok(()),
        }
    }

    /// What is counted below a name is there, as far as a few names below it tell.
    fn check_below(&self, node: NodeId) -> Result<(), CheckError> {
        if self.has_nsec() || !self.zone.is_empty(node) {
            return Ok(());
        }
        let mut steps = 0;
        let mut below = self.zone.subtree(node).skip(1).take(MOST_BELOW).inspect(|_| steps += 1);
        let has_member = below.any(|other| self.is_member(other));
        let is_counted = self.members_below(node) > 0;
        if has_member == is_counted || (is_counted && steps == MOST_BELOW) {
            return Ok(());
        }
        Err(CheckError::Member { name: self.name(self.zone.owner(node)), rtype: self.chain.rtype() })
    }

    /// The record in front of a member that is gone leads to the one behind it.
    fn check_gap(&self, place: &[u8]) -> Result<(), CheckError> {
        let before = match &self.chain {
            // Nothing stands in front of the apex, which does not go.
            Chain::Nothing | Chain::Nsec => {
                self.zone.last_before(place).map_or(NodeId::APEX, |node| self.member_up_to(node))
            }
            Chain::Nsec3(chain) => {
                let hash = NameHash(place.first_chunk().map_or([0; 20], |hash| *hash));
                chain.before(hash, |other| self.hash(other))
            }
        };
        self.check_leads_on(before, self.member_behind(before))
    }

    fn check_leads_on(&self, node: NodeId, next: NodeId) -> Result<(), CheckError> {
        if self.leads_on(node, next) {
            return Ok(());
        }
        let mut room = OwnerBuf::new();
        let owner = self.name(self.denial_owner(node, &mut room));
        Err(CheckError::Chain { rtype: self.chain.rtype(), owner })
    }

    /// True when the record of a member leads to the next one, which is behind it or the first.
    fn leads_on(&self, node: NodeId, next: NodeId) -> bool {
        let rdata = Records(self.denial(node).data).next().unwrap_or_default();
        match &self.chain {
            Chain::Nothing | Chain::Nsec => {
                let owner = self.zone.owner(next);
                name::wire_len(rdata).is_some_and(|len| rdata[..len].eq_ignore_ascii_case(owner))
                    && (self.zone.key(node) < self.zone.key(next) || next == NodeId::APEX)
            }
            Chain::Nsec3(chain) => {
                let (own, following) = (self.hash(node), self.hash(next));
                next_hash(rdata) == Some(&following.0[..])
                    && chain.nsec3().hash(self.zone.owner(node)) == own
                    && (own < following || Some(next) == chain.members_from(0).next())
            }
        }
    }

    fn member_behind(&self, node: NodeId) -> NodeId {
        match &self.chain {
            Chain::Nothing | Chain::Nsec => {
                denial::next_by_name(&self.zone, node, |other| self.is_member(other))
            }
            Chain::Nsec3(chain) => chain.next(self.hash(node), |other| self.hash(other)),
        }
    }

    fn member_in_front(&self, node: NodeId) -> NodeId {
        match &self.chain {
            Chain::Nothing | Chain::Nsec => match self.zone.last_before(self.zone.key(node)) {
                Some(before) => self.member_up_to(before),
                // The last one leads to the apex.
                None => self.member_up_to(self.zone.last_up_to(&[u8::MAX; 256])),
            },
            Chain::Nsec3(chain) => chain.before(self.hash(node), |other| self.hash(other)),
        }
    }

    /// Counts again how many members are below each name.
    fn check_members(&self) -> Result<(), CheckError> {
        let members = denial::members(&self.zone, self.chain.kind());
        for node in self.zone.node_ids() {
            let wanted = members[node.position()];
            if (self.is_member(node), self.members_below(node)) != (wanted.is_member, wanted.below) {
                let name = self.name(self.zone.owner(node));
                return Err(CheckError::Member { name, rtype: self.chain.rtype() });
            }
        }
        Ok(())
    }

    /// The types of a member are those that are served.
    fn check_types(&self, node: NodeId) -> Result<(), CheckError> {
        let rtype = self.chain.rtype();
        let (mut types, mut bitmap) = (Vec::new(), Vec::new());
        let mut signed = rtype == Rtype::NSEC;
        for view in self.rrsets(node) {
            signed |= !view.signatures.is_empty();
            if !self.zone.is_cut(node) || matches!(view.rtype, Rtype::NS | Rtype::DS) {
                types.push(view.rtype);
            }
        }
        types.extend(signed.then_some(Rtype::RRSIG));
        types.extend((rtype == Rtype::NSEC).then_some(Rtype::NSEC));
        types.sort_unstable();
        denial::put_bitmap(&types, &mut bitmap);
        let rdata = Records(self.denial(node).data).next().unwrap_or_default();
        if !rdata.ends_with(&bitmap) || rdata.len() - bitmap.len() != bitmap_start(rtype, rdata) {
            return Err(CheckError::Types { name: self.name(self.zone.owner(node)), rtype });
        }
        Ok(())
    }

    /// Number of signatures (`usize::MAX`: at least one) and their times.
    fn check_times(
        &self,
        owner: &[u8],
        view: &RrsetView<'_>,
        wanted: usize,
        now: Timestamp,
    ) -> Result<(), CheckError> {
        let found = Records(view.signatures).count();
        if found != wanted && (wanted != usize::MAX || found == 0) {
            return Err(CheckError::Missing {
                owner: self.name(owner),
                rtype: view.rtype,
                found,
                wanted: wanted.min(self.keys.len()),
            });
        }
        for rdata in Records(view.signatures) {
            if !plan::times(rdata, now).is_some_and(|(from, to)| from <= now && now <= to) {
                return Err(self.invalid(owner, view, rdata));
            }
        }
        Ok(())
    }

    pub(super) fn invalid(&self, owner: &[u8], view: &RrsetView<'_>, rrsig: &[u8]) -> CheckError {
        let tag = rrsig.get(16..18).map_or(0, |t| u16::from_be_bytes([t[0], t[1]]));
        CheckError::Invalid { owner: self.name(owner), rtype: view.rtype, tag }
    }

    /// Every signature of an RRset, but those whose inception is `verified`, must verify with a key of the DNSKEY RRset.
    pub(super) fn verify(
        &self,
        owner: &[u8],
        view: &RrsetView<'_>,
        verifier: &Verifier<'_>,
        verified: Option<[u8; 4]>,
    ) -> Result<(), CheckError> {
        let mut left = Records(view.signatures).filter(|rdata| !has_inception(rdata, verified));
        let wrong = left.find(|rdata| !verifier.is_right(owner, view, rdata));
        wrong.map_or(Ok(()), |rdata| Err(self.invalid(owner, view, rdata)))
    }
}

/// The inception of the signatures that a version made at `now` has, as in an RRSIG.
pub(super) fn inception_of_made(now: Timestamp) -> [u8; 4] {
    plan::inception_at(now).to_rrsig().to_be_bytes()
}

/// True for the RDATA of an RRSIG with this inception.
pub(super) fn has_inception(rrsig: &[u8], inception: Option<[u8; 4]>) -> bool {
    inception.is_some_and(|inception| rrsig.get(12..16) == Some(&inception[..]))
}

/// The next hashed owner of NSEC3 RDATA.
fn next_hash(rdata: &[u8]) -> Option<&[u8]> {
    let at = 5 + usize::from(*rdata.get(4)?);
    rdata.get(at + 1..bitmap_start(Rtype::NSEC3, rdata))
}

/// Where the type bitmap begins.
fn bitmap_start(rtype: Rtype, rdata: &[u8]) -> usize {
    if rtype == Rtype::NSEC {
        return name::wire_len(rdata).unwrap_or(0);
    }
    let hash = 5 + rdata.get(4).map_or(0, |salt| usize::from(*salt));
    hash + 1 + rdata.get(hash).map_or(0, |len| usize::from(*len))
}
