//! A signed zone looks at itself before it is served.

use keystore::dns::{Name, Rrsig, Rtype, name, rrsig};
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use super::denial::{self, Chain, ChainKind, LinkId, OwnerBuf};
use super::{RrsetView, SignedZone, plan};
use crate::zone::{NodeId, Records};

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
    /// Checks the structure of the whole zone and the validity at `now` of all signatures' times; verifies the signatures of the SOA, of
    /// the apex key RRsets and of some `samples` RRsets spread over the zone, by another code path than the one that made them.
    pub fn self_check(&self, now: Timestamp, samples: usize) -> Result<(), CheckError> {
        self.check_chain()?;
        self.check_members()?;
        let every = (self.zone.name_count() / samples.max(1)).max(1);
        let mut room = OwnerBuf::new();
        for node in self.zone.node_ids() {
            let cut = self.zone.is_cut(node);
            let is_sample = samples > 0 && node.position() % every == 0;
            for view in self.rrsets(node) {
                let signed = !self.zone.is_below_cut(node) && (!cut || view.rtype == Rtype::DS);
                let from_bundle =
                    node == NodeId::APEX && matches!(view.rtype, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY);
                let wanted = if from_bundle { usize::MAX } else { usize::from(signed) * self.keys.len() };
                let owner = self.zone.owner(node);
                self.check_times(owner, &view, wanted, now)?;
                if view.rtype == Rtype::SOA || from_bundle || is_sample {
                    self.verify(owner, view)?;
                }
            }
            if let Some(link) = self.chain.link_at(node) {
                let (owner, view) = (self.denial_owner(link, &mut room), self.denial(link));
                self.check_times(owner, &view, self.keys.len(), now)?;
                if is_sample {
                    self.verify(owner, view)?;
                }
            }
        }
        Ok(())
    }

    fn name(&self, wire: &[u8]) -> Name {
        Name::from_wire(wire).unwrap_or_else(|_| self.zone.origin().clone())
    }

    /// Each record leads to the next in order, and the last one to the first.
    fn check_chain(&self) -> Result<(), CheckError> {
        let links: Vec<(LinkId, NodeId)> = self.chain.iter().collect();
        let mut room = OwnerBuf::new();
        for (position, (link, node)) in links.iter().enumerate() {
            let is_last = position + 1 == links.len();
            let (next_link, next_node) = links[(position + 1) % links.len()];
            let rdata = Records(self.chain.data(*link)).next().unwrap_or_default();
            let (leads_on, ascends) = match &self.chain {
                Chain::Nsec(_) => {
                    let next = self.zone.owner(next_node);
                    let leads_on =
                        name::wire_len(rdata).is_some_and(|len| rdata[..len].eq_ignore_ascii_case(next));
                    (leads_on, self.zone.key(*node) < self.zone.key(next_node))
                }
                Chain::Nsec3(chain) => {
                    let next = chain.hash(next_link);
                    let leads_on = next_hash(rdata) == Some(&next.0[..])
                        && chain.nsec3().hash(self.zone.owner(*node)) == chain.hash(*link);
                    (leads_on, chain.hash(*link) < next)
                }
            };
            if !leads_on || !(ascends || is_last) {
                let owner = self.name(self.denial_owner(*link, &mut room));
                return Err(CheckError::Chain { rtype: self.chain.rtype(), owner });
            }
        }
        Ok(())
    }

    /// The members are those that must be, and their types those that are served.
    fn check_members(&self) -> Result<(), CheckError> {
        let rtype = self.chain.rtype();
        let kind = match &self.chain {
            Chain::Nsec(_) => ChainKind::Nsec,
            Chain::Nsec3(chain) => chain.nsec3().kind(),
        };
        let is_member = denial::members(&self.zone, kind);
        let (mut types, mut bitmap) = (Vec::new(), Vec::new());
        for node in self.zone.node_ids() {
            let link = self.chain.link_at(node);
            let name = || self.name(self.zone.owner(node));
            if link.is_some() != is_member[node.position()] {
                return Err(CheckError::Member { name: name(), rtype });
            }
            let Some(link) = link else { continue };
            types.clear();
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
            bitmap.clear();
            denial::put_bitmap(&types, &mut bitmap);
            let rdata = Records(self.chain.data(link)).next().unwrap_or_default();
            if !rdata.ends_with(&bitmap) || rdata.len() - bitmap.len() != bitmap_start(rtype, rdata) {
                return Err(CheckError::Types { name: name(), rtype });
            }
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

    fn invalid(&self, owner: &[u8], view: &RrsetView<'_>, rrsig: &[u8]) -> CheckError {
        let tag = rrsig.get(16..18).map_or(0, |t| u16::from_be_bytes([t[0], t[1]]));
        CheckError::Invalid { owner: self.name(owner), rtype: view.rtype, tag }
    }

    /// Every signature of an RRset must verify with a key of the DNSKEY RRset.
    pub(super) fn verify(&self, owner: &[u8], view: RrsetView<'_>) -> Result<(), CheckError> {
        let dnskeys =
            self.apex.iter().filter(|set| set.rtype == Rtype::DNSKEY).flat_map(|set| Records(&set.data));
        let keys: Vec<Dnskey> = dnskeys.filter_map(Dnskey::from_rdata).collect();
        for rdata in Records(view.signatures) {
            let verified = (|| {
                let rrsig = Rrsig::from_rdata(rdata).ok()?;
                let rrset = view.to_rrset(owner)?;
                let mut candidates =
                    keys.iter().filter(|k| k.algorithm == rrsig.algorithm && k.tag() == rrsig.key_tag);
                candidates.find(|key| rrsig::verify_raw(&rrset, &key.public_key, &rrsig).is_ok())
            })();
            if verified.is_none() {
                return Err(self.invalid(owner, &view, rdata));
            }
        }
        Ok(())
    }
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
