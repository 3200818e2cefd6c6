//! From a [`Zone`], the bundle in force and the active ZSKs to a [`SignedZone`], on all cores.
//!
//! What gets which record (RFC 4035 section 2):
//!
//! | name | NSEC | RRSIGs by the ZSKs |
//! |---|---|---|
//! | apex | yes | all but DNSKEY, CDS, CDNSKEY, which bring theirs in the bundle |
//! | authoritative | yes | all |
//! | delegation | yes | DS and NSEC; not NS, not addresses |
//! | below a delegation | no | none |
//! | empty non-terminal | no | none |
//!
//! **When signatures expire.** Inception is an hour before `now`, for resolvers whose clocks are slow. Expiration is `now + validity -
//! jitter`, the jitter being a hash of owner, type and `now` modulo the policy's: signatures made in one go do not come due in one go, nor do
//! those made by a restarted daemon. The jitter is at most half of the time between making and renewing, whatever the policy says.
//!
//! **When they are renewed.** Once no more than `refresh` remains; those that would follow within a 24th of the jitter are renewed along,
//! so that a large zone is not put together anew every second.

mod check;
mod make;
mod nsec;
mod output;
#[cfg(test)]
mod tests;

pub use check::CheckError;
pub use output::SignedRecord;

use std::sync::Arc;

use keystore::crypto::{Algorithm, SignError, SigningKey};
use keystore::dns::{Rrset, Rtype};
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use crate::index::Index;
use crate::zone::{NodeId, Records, RrsetId, Zone};
use make::{KeySlot, Maker};
use nsec::LinkId;

/// An active ZSK.
#[derive(Clone)]
pub struct ZoneKey {
    /// Its DNSKEY, which is in the bundle.
    pub dnskey: Dnskey,
    /// Its private part.
    pub signer: Arc<dyn SigningKey>,
}

/// How long signatures live, from the policy. Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningTimes {
    /// Validity of signatures over the zone, in seconds (`signatures-validity`).
    pub validity: u32,
    /// `signatures-refresh`: remaining validity at which a signature is replaced.
    pub refresh: u32,
    /// `signatures-jitter`: at most so much is taken off the validity, spread over the names.
    pub jitter: u32,
}

/// A signed zone: immutable, served as it is, swapped whole.
#[derive(Debug)]
pub struct SignedZone {
    zone: Arc<Zone>,
    serial: u32,
    /// The keys that signed, in the order of their RRSIGs in a slot.
    keys: Vec<KeySlot>,
    /// RRSIGs made here, `slot_len` octets for each signed RRset: first the zone's RRsets in their order, then the NSECs.
    slots: Vec<u8>,
    slot_len: usize,
    /// For each RRset of the zone its slot; none for what is not signed.
    slot_of: Vec<Option<SlotId>>,
    /// The slot of the first NSEC.
    nsec_slot: SlotId,
    nsec: nsec::Chain,
    /// The SOA record with the serial to serve, with its length in front.
    soa: Vec<u8>,
    negative_ttl: u32,
    /// DNSKEY, CDS and CDNSKEY, by type, as in the bundle.
    apex: Vec<ApexRrset>,
    earliest_zsk: Timestamp,
    earliest_ksk: Timestamp,
    next_refresh: Timestamp,
    tally: make::Tally,
}

/// The RRSIGs of one RRset.
#[derive(Debug)]
enum Slot {}

type SlotId = Index<Slot>;

/// An apex key RRset as octets: each record with two octets of length in front.
#[derive(Debug)]
struct ApexRrset {
    rtype: Rtype,
    ttl: u32,
    data: Vec<u8>,
    signatures: Vec<u8>,
}

/// Why a zone cannot be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// No active ZSK of an algorithm that the DNSKEY RRset has.
    #[error("no active ZSK of algorithm {0} with its private key; the zone cannot be signed")]
    NoZsk(Algorithm),
    /// A key failed.
    #[error("signing with key {tag} failed: {source}")]
    Sign {
        /// Its tag.
        tag: u16,
        /// What is wrong with it, or the error of the call that failed.
        source: SignError,
    },
}

/// Signs `zone`: apex key RRsets and their RRSIGs as in `bundle`, all else by `keys`, NSEC chain. Signatures of `previous` (same
/// RRset, same keys, not yet due for refresh) are taken over. `serial` is the SOA serial to serve.
///
/// Keys whose DNSKEY is not in the bundle are not used: nobody could verify their signatures. Every algorithm of the bundle's ZSKs
/// must have a key (RFC 4035 section 2.2). The first signature of each key is verified before the others are made.
pub fn sign(
    zone: &Arc<Zone>,
    bundle: &Bundle,
    keys: &[ZoneKey],
    times: &SigningTimes,
    serial: u32,
    previous: Option<&SignedZone>,
    now: Timestamp,
) -> Result<SignedZone, SigningError> {
    let keys = usable_keys(zone, bundle, keys)?;
    let soa = soa_with_serial(zone, serial);
    let apex = apex_rrsets(zone, bundle);
    let negative_ttl = zone.negative_ttl();
    let chain = nsec::Chain::build(zone, apex.iter().map(|set| set.rtype));

    // Which RRsets are signed, in the order of their slots.
    let mut slot_of = vec![None; zone.rrset_count()];
    let mut tasks = Vec::with_capacity(zone.rrset_count() + chain.len());
    for node in zone.node_ids().filter(|node| !zone.is_below_cut(*node)) {
        for rrset in zone.rrsets_of(node) {
            if !zone.is_cut(node) || zone.rrset(rrset).rtype == Rtype::DS {
                slot_of[rrset.position()] = Some(SlotId::at(tasks.len()));
                tasks.push(make::Task { node, subject: make::Subject::Rrset(rrset) });
            }
        }
    }
    let nsec_slot = SlotId::at(tasks.len());
    tasks.extend(chain.iter().map(|(link, node)| make::Task { node, subject: make::Subject::Nsec(link) }));

    let plan = make::Plan::new(times, now);
    let maker = Maker::new(zone, &soa, &chain, negative_ttl, &keys, &plan)?;
    let (slots, tally) = maker.run(&tasks, previous)?;
    let earliest_ksk = bundle.signatures.iter().map(|s| s.expires(now)).min().unwrap_or(bundle.inception);
    Ok(SignedZone {
        zone: Arc::clone(zone),
        serial,
        slot_len: maker.slot_len(),
        keys: maker.into_keys(),
        slots,
        slot_of,
        nsec_slot,
        nsec: chain,
        soa,
        negative_ttl,
        apex,
        earliest_zsk: tally.earliest,
        earliest_ksk,
        next_refresh: tally.earliest.minus(u64::from(plan.refresh)),
        tally,
    })
}

/// The keys to sign with, when they are enough.
fn usable_keys<'a>(
    zone: &Zone,
    bundle: &Bundle,
    keys: &'a [ZoneKey],
) -> Result<Vec<&'a ZoneKey>, SigningError> {
    let published: Vec<Dnskey> = bundle.keys().collect();
    let mut usable: Vec<&ZoneKey> = Vec::new();
    for key in keys {
        if !published.contains(&key.dnskey) {
            tracing::warn!(
                zone = %zone.origin(), key = key.dnskey.tag(),
                "this ZSK is active and not in the bundle in force; it does not sign"
            );
        } else if !usable.iter().any(|other| other.dnskey == key.dnskey) {
            usable.push(key);
        }
    }
    let has = |algorithm| usable.iter().any(|key| key.dnskey.algorithm == algorithm);
    if let Some(lacking) = published.iter().filter(|key| !key.is_ksk()).find(|key| !has(key.algorithm)) {
        return Err(SigningError::NoZsk(lacking.algorithm));
    }
    if usable.is_empty() {
        return Err(SigningError::NoZsk(published.first().map_or(Algorithm(0), |key| key.algorithm)));
    }
    if let Some(ksk) = published.iter().find(|key| !has(key.algorithm)) {
        tracing::warn!(
            zone = %zone.origin(), algorithm = %ksk.algorithm,
            "the bundle has a KSK of an algorithm without a ZSK (RFC 4035 section 2.2)"
        );
    }
    Ok(usable)
}

/// The SOA record with another serial, its length in front.
fn soa_with_serial(zone: &Zone, serial: u32) -> Vec<u8> {
    let (_, entry) = zone.soa();
    let mut record = zone.data(entry).to_vec();
    if let Some(at) = record.len().checked_sub(20) {
        record[at..at + 4].copy_from_slice(&serial.to_be_bytes());
    }
    record
}

fn apex_rrsets(zone: &Zone, bundle: &Bundle) -> Vec<ApexRrset> {
    let mut sets: Vec<ApexRrset> = bundle
        .rrsets()
        .map(|rrset| {
            let records = rrset.canonical_rdatas();
            let signatures =
                bundle.signatures.iter().filter(|s| s.covered == rrset.rtype && s.signer == *zone.origin());
            ApexRrset {
                rtype: rrset.rtype,
                ttl: rrset.ttl,
                data: with_lengths(records),
                signatures: with_lengths(signatures.map(keystore::dns::Rrsig::to_rdata)),
            }
        })
        .collect();
    sets.sort_by_key(|set| set.rtype);
    sets
}

fn with_lengths(records: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        out.extend_from_slice(&(record.len() as u16).to_be_bytes());
        out.extend_from_slice(&record);
    }
    out
}

/// An RRset of a signed zone, borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RrsetView<'a> {
    pub rtype: Rtype,
    pub ttl: u32,
    /// Its records: each two octets of length, then the RDATA.
    pub data: &'a [u8],
    /// Its RRSIGs, likewise; empty when it is not signed.
    pub signatures: &'a [u8],
}

impl RrsetView<'_> {
    /// The same in keystore's form.
    fn to_rrset(self, owner: &[u8]) -> Option<Rrset> {
        Some(Rrset {
            owner: keystore::dns::Name::from_wire(owner).ok()?,
            rtype: self.rtype,
            ttl: self.ttl,
            rdatas: Records(self.data).map(Into::into).collect(),
        })
    }
}

impl SignedZone {
    /// The SOA serial.
    #[must_use]
    pub const fn serial(&self) -> u32 {
        self.serial
    }

    /// The zone that was signed.
    #[must_use]
    pub const fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }

    /// The earliest expiration of the signatures made by ZSKs.
    #[must_use]
    pub const fn earliest_zsk_expiration(&self) -> Timestamp {
        self.earliest_zsk
    }

    /// The earliest expiration of the signatures that came with the bundle; the bundle's inception when it has none.
    #[must_use]
    pub const fn earliest_ksk_expiration(&self) -> Timestamp {
        self.earliest_ksk
    }

    /// When the first ZSK-made signature comes due for renewal.
    #[must_use]
    pub const fn next_refresh(&self) -> Timestamp {
        self.next_refresh
    }

    /// Number of signatures that [`sign`] made for this version.
    #[must_use]
    pub const fn signatures_made(&self) -> usize {
        self.tally.made
    }

    /// Number of signatures taken over from the version before.
    #[must_use]
    pub const fn signatures_reused(&self) -> usize {
        self.tally.reused
    }

    /// Tags of the ZSKs that signed.
    pub fn key_tags(&self) -> impl Iterator<Item = u16> {
        self.keys.iter().map(|key| key.tag)
    }

    /// TTL of negative answers and of NSEC records (RFC 9077).
    pub(crate) const fn negative_ttl(&self) -> u32 {
        self.negative_ttl
    }

    /// An RRset of the zone.
    pub(crate) fn view(&self, id: RrsetId) -> RrsetView<'_> {
        let entry = self.zone.rrset(id);
        let data = if id == self.zone.soa().0 { self.soa.as_slice() } else { self.zone.data(entry) };
        RrsetView {
            rtype: entry.rtype,
            ttl: entry.ttl,
            data,
            signatures: self.slot_of[id.position()].map_or(&[], |slot| self.slot(slot)),
        }
    }

    /// The RRset of type `rtype` at a node; NSEC is not looked for.
    pub(crate) fn find(&self, node: NodeId, rtype: Rtype) -> Option<RrsetView<'_>> {
        if node == NodeId::APEX
            && let Some(set) = self.apex.iter().find(|set| set.rtype == rtype)
        {
            return Some(set.view());
        }
        self.zone.find(node, rtype).map(|index| self.view(index))
    }

    /// All RRsets of a node but NSEC: the zone's, then the bundle's.
    pub(crate) fn rrsets(&self, node: NodeId) -> impl Iterator<Item = RrsetView<'_>> {
        let apex = if node == NodeId::APEX { self.apex.as_slice() } else { &[] };
        self.zone.rrsets_of(node).map(|id| self.view(id)).chain(apex.iter().map(ApexRrset::view))
    }

    pub(crate) fn soa(&self) -> RrsetView<'_> {
        self.view(self.zone.soa().0)
    }

    /// The NSEC record that a node owns.
    pub(crate) fn nsec_at(&self, node: NodeId) -> Option<RrsetView<'_>> {
        let (link, owner) = self.nsec.at_or_before(node);
        (owner == node).then(|| self.nsec_view(link))
    }

    /// Owner and NSEC record that covers the names behind `node` up to the next owner (or matches `node` itself).
    pub(crate) fn nsec_covering(&self, node: NodeId) -> (NodeId, RrsetView<'_>) {
        let (link, owner) = self.nsec.at_or_before(node);
        (owner, self.nsec_view(link))
    }

    fn nsec_view(&self, link: LinkId) -> RrsetView<'_> {
        RrsetView {
            rtype: Rtype::NSEC,
            ttl: self.negative_ttl,
            data: self.nsec.data(link),
            signatures: self.slot(SlotId::at(self.nsec_slot.position() + link.position())),
        }
    }

    fn slot(&self, slot: SlotId) -> &[u8] {
        &self.slots[slot.position() * self.slot_len..][..self.slot_len]
    }
}

impl ApexRrset {
    fn view(&self) -> RrsetView<'_> {
        RrsetView { rtype: self.rtype, ttl: self.ttl, data: &self.data, signatures: &self.signatures }
    }
}
