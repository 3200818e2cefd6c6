//! RRsets that the apex of a signed zone has and the zone file has not: those of the bundle, with their signatures, and those that are
//! made here.

use keystore::dns::rrsig::{self, Validity};
use keystore::dns::{Rrset, Rrsig, Rtype};
use keystore::exchange::Bundle;

use super::plan::{self, Position, RenewalPlan, Spread};
use super::tally::Tally;
use super::{RrsetView, SignedZone, SigningError, ZoneKey};
use crate::zone::{NodeId, Records, Zone};

/// TTL of NSEC3PARAM in seconds, as BIND has it: only servers of the zone read it.
pub(super) const NSEC3PARAM_TTL: u32 = 0;

/// An RRset of the apex as octets: each record with two octets of length in front.
#[derive(Debug)]
pub(super) struct ApexRrset {
    pub rtype: Rtype,
    pub ttl: u32,
    pub data: Vec<u8>,
    pub signatures: Vec<u8>,
}

impl ApexRrset {
    /// Without signatures; `records` are in canonical order.
    pub fn new(rtype: Rtype, ttl: u32, records: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { rtype, ttl, data: with_lengths(records), signatures: Vec::new() }
    }

    pub fn view(&self) -> RrsetView<'_> {
        RrsetView { rtype: self.rtype, ttl: self.ttl, data: &self.data, signatures: &self.signatures }
    }
}

/// DNSKEY, CDS and CDNSKEY with their signatures.
pub(super) fn from_bundle(zone: &Zone, bundle: &Bundle) -> Vec<ApexRrset> {
    let set = |rrset: &Rrset| {
        let signatures =
            bundle.signatures.iter().filter(|s| s.covered == rrset.rtype && s.signer == *zone.origin());
        let signatures = with_lengths(signatures.map(Rrsig::to_rdata));
        ApexRrset { signatures, ..ApexRrset::new(rrset.rtype, rrset.ttl, rrset.canonical_rdatas()) }
    };
    bundle.rrsets().map(set).collect()
}

/// True for the types whose RRsets at the apex come from the bundle.
pub(super) const fn is_of_bundle(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY)
}

/// What became of the RRsets that are made here.
#[derive(Debug)]
pub(super) struct ApexTally(Tally);

impl Default for ApexTally {
    fn default() -> Self {
        Self(Tally::NOTHING)
    }
}

impl ApexTally {
    pub const fn tally(&self) -> Tally {
        self.0
    }

    /// Signs `set` with each key, or takes the signatures of `previous` over as long as they are not due.
    pub fn sign(
        &mut self,
        mut set: ApexRrset,
        zone: &Zone,
        keys: &[&ZoneKey],
        plan: &RenewalPlan,
        previous: Option<&SignedZone>,
    ) -> Result<ApexRrset, SigningError> {
        let old = previous
            .filter(|previous| previous.zone().origin() == zone.origin())
            .and_then(|previous| previous.find(NodeId::APEX, set.rtype))
            .filter(|old| old.ttl == set.ttl && old.data == set.data);
        // The name of a zone is always a name.
        let Some(rrset) = set.view().to_rrset(zone.origin().as_wire()) else { return Ok(set) };
        let mut signatures = Vec::with_capacity(keys.len());
        for key in keys {
            let (tag, public_key) = (key.dnskey.tag(), &key.dnskey.public_key);
            let kept = old.and_then(|old| {
                Records(old.signatures).find_map(|rdata| {
                    let rrsig = Rrsig::from_rdata(rdata).ok()?;
                    let (inception, expiration) = plan::times(rdata, plan.now)?;
                    let is_ours = (rrsig.key_tag, rrsig.algorithm) == (tag, key.dnskey.algorithm)
                        && rrsig::verify_raw(&rrset, public_key, &rrsig).is_ok();
                    (is_ours && plan.keeps(inception, expiration)).then_some((rdata.to_vec(), expiration))
                })
            });
            let is_kept = kept.is_some();
            let (rdata, expiration) = match kept {
                Some(kept) => kept,
                None => {
                    let position = Position { key: zone.key(NodeId::APEX), rtype: set.rtype };
                    let expiration = plan.expiration(&position, Spread::Jitter);
                    let validity = Validity { inception: plan.inception(), expiration };
                    let rrsig = rrsig::sign_raw(&rrset, zone.origin(), tag, &*key.signer, validity)
                        .map_err(|source| SigningError::Sign { tag, source })?;
                    (rrsig.to_rdata(), expiration)
                }
            };
            signatures.push(rdata);
            self.0 = self.0.and(match is_kept {
                true => Tally::reused(expiration, plan.due(expiration)),
                false => Tally::made(expiration, plan),
            });
        }
        set.signatures = with_lengths(signatures);
        Ok(set)
    }
}

pub(super) fn with_lengths(records: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        out.extend_from_slice(&(record.len() as u16).to_be_bytes());
        out.extend_from_slice(&record);
    }
    out
}
