//! A signed zone looks at itself before it is served.

use keystore::dns::{Name, Rrsig, Rtype, name, rrsig};
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use super::{RrsetView, SignedZone, make};
use crate::zone::{NodeId, Records};

/// What a signed zone must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The NSEC chain is not one ring in canonical order.
    #[error("the NSEC record of {owner} does not lead to the next name")]
    Chain {
        /// Its owner.
        owner: Name,
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
        let every = (self.zone.name_count() / samples.max(1)).max(1);
        for node in self.zone.node_ids() {
            let cut = self.zone.is_cut(node);
            for view in self.rrsets(node).chain(self.nsec_at(node)) {
                let signed =
                    !self.zone.is_below_cut(node) && (!cut || matches!(view.rtype, Rtype::DS | Rtype::NSEC));
                let from_bundle =
                    node == NodeId::APEX && matches!(view.rtype, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY);
                let wanted = if from_bundle { usize::MAX } else { usize::from(signed) * self.keys.len() };
                self.check_times(node, &view, wanted, now)?;
                if view.rtype == Rtype::SOA || from_bundle || samples > 0 && node.position() % every == 0 {
                    self.verify(node, view)?;
                }
            }
        }
        Ok(())
    }

    fn owner_name(&self, node: NodeId) -> Name {
        Name::from_wire(self.zone.owner(node)).unwrap_or_else(|_| self.zone.origin().clone())
    }

    fn check_chain(&self) -> Result<(), CheckError> {
        let owners: Vec<_> = self.nsec.iter().collect();
        for (position, (link, node)) in owners.iter().enumerate() {
            let next = owners.get(position + 1).map_or(NodeId::APEX, |(_, next)| *next);
            let rdata = Records(self.nsec.data(*link)).next().unwrap_or_default();
            let points_on = name::wire_len(rdata)
                .is_some_and(|len| rdata[..len].eq_ignore_ascii_case(self.zone.owner(next)));
            let ascends = next == NodeId::APEX || self.zone.key(*node) < self.zone.key(next);
            if !points_on || !ascends {
                return Err(CheckError::Chain { owner: self.owner_name(*node) });
            }
        }
        Ok(())
    }

    /// Number of signatures (`usize::MAX`: at least one) and their times.
    fn check_times(
        &self,
        node: NodeId,
        view: &RrsetView<'_>,
        wanted: usize,
        now: Timestamp,
    ) -> Result<(), CheckError> {
        let found = Records(view.signatures).count();
        if found != wanted && (wanted != usize::MAX || found == 0) {
            return Err(CheckError::Missing {
                owner: self.owner_name(node),
                rtype: view.rtype,
                found,
                wanted: wanted.min(self.keys.len()),
            });
        }
        for rdata in Records(view.signatures) {
            if !make::times(rdata, now).is_some_and(|(from, to)| from <= now && now <= to) {
                return Err(self.invalid(node, view, rdata));
            }
        }
        Ok(())
    }

    fn invalid(&self, node: NodeId, view: &RrsetView<'_>, rrsig: &[u8]) -> CheckError {
        let tag = rrsig.get(16..18).map_or(0, |t| u16::from_be_bytes([t[0], t[1]]));
        CheckError::Invalid { owner: self.owner_name(node), rtype: view.rtype, tag }
    }

    /// Every signature of an RRset must verify with a key of the DNSKEY RRset.
    fn verify(&self, node: NodeId, view: RrsetView<'_>) -> Result<(), CheckError> {
        let dnskeys =
            self.apex.iter().filter(|set| set.rtype == Rtype::DNSKEY).flat_map(|set| Records(&set.data));
        let keys: Vec<Dnskey> = dnskeys.filter_map(Dnskey::from_rdata).collect();
        for rdata in Records(view.signatures) {
            let verified = (|| {
                let rrsig = Rrsig::from_rdata(rdata).ok()?;
                let rrset = view.to_rrset(self.zone.owner(node))?;
                let mut candidates =
                    keys.iter().filter(|k| k.algorithm == rrsig.algorithm && k.tag() == rrsig.key_tag);
                candidates.find(|key| rrsig::verify_raw(&rrset, &key.public_key, &rrsig).is_ok())
            })();
            if verified.is_none() {
                return Err(self.invalid(node, &view, rdata));
            }
        }
        Ok(())
    }
}
