//! From a [`Zone`], the bundle in force and the active ZSKs to a [`SignedZone`], on all cores.
//!
//! What gets which record (RFC 4035 section 2):
//!
//! | name | RRSIGs by the ZSKs |
//! |---|---|
//! | apex | all but DNSKEY, CDS, CDNSKEY, which bring theirs in the bundle; NSEC3PARAM and ZONEMD are made here |
//! | authoritative | all |
//! | delegation | DS; not NS, not addresses |
//! | below a delegation | none |
//! | NSEC or NSEC3 record | its own, see the module `denial` |
//!
//! **When signatures expire.** Inception is an hour before `now`, for resolvers whose clocks are slow. Expiration is `now + validity` less
//! something between 0 and the jitter, by a hash of owner, type and `now`. Where most of a large zone is signed in one go, it is less something
//! between 0 and the whole time between making and renewing, so that from then on the same number comes due each hour. A small zone that is
//! signed whole stays together, and is renewed in one version; which part of that time is taken off depends on its name.
//!
//! **When they are renewed.** Once no more than `refresh` remains; those that would follow within a 24th of the jitter are renewed along,
//! so that a large zone is not put together anew every second. Where more than a fiftieth of a zone (and more than 10 000 signatures) is
//! due, one version makes the oldest ones, and the next version follows; what has less than half of `refresh` left is never put off.
//!
//! **When keys change.** Signatures of a ZSK that signs no more stay as long as it is published, until they are due or the time has come
//! at which they are replaced (see [`RetiringKey`]). Signatures of a key that is not published are never served.

mod apex;
mod check;
pub(crate) mod denial;
mod imported;
mod make;
mod output;
mod plan;
mod progress;
mod reuse;
mod slots;
mod stored;
#[cfg(test)]
mod tests;
mod verify_made;
mod zonemd;

pub use check::CheckError;
pub use denial::{Denial, Nsec3};
pub use imported::SignedFile;
pub use output::SignedRecord;
pub(crate) use output::{RecordPlace, RecordRef};
pub use progress::SigningProgress;
pub use reuse::RetiringKey;
pub(crate) use stored::{RestoreError, SigningKeyInfo, StoredApexRrset, StoredVersion};

use std::sync::Arc;

use keystore::crypto::{Algorithm, SignError, SigningKey};
use keystore::dns::{Name, Rrset, Rtype, nsec3};
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use crate::index::Index;
use crate::zone::{NodeId, Records, RrsetId, Zone};
use apex::ApexRrset;
use denial::{Chain, Collision, LinkId, OwnerBuf};
use make::{Maker, Tally};
use plan::Plan;
use slots::{KeySlot, Subject, Task};

/// An active ZSK.
#[derive(Clone)]
pub struct ZoneKey {
    /// Its DNSKEY, which is in the bundle.
    pub dnskey: Dnskey,
    /// Its private part.
    pub signer: Arc<dyn SigningKey>,
}

/// The ZSKs of a run; a slice of [`ZoneKey`] becomes one, with no key that retires, and nobody who looks how far it has come.
#[derive(Clone, Copy)]
pub struct SigningKeys<'a> {
    /// Those that sign.
    pub active: &'a [ZoneKey],
    /// Those whose signatures in the version before stay for a while.
    pub retiring: &'a [RetiringKey],
    /// Where it is counted what these keys have signed.
    pub progress: Option<&'a SigningProgress>,
}

impl<'a> From<&'a [ZoneKey]> for SigningKeys<'a> {
    fn from(active: &'a [ZoneKey]) -> Self {
        Self { active, retiring: &[], progress: None }
    }
}

impl<'a> From<&'a Vec<ZoneKey>> for SigningKeys<'a> {
    fn from(active: &'a Vec<ZoneKey>) -> Self {
        Self::from(active.as_slice())
    }
}

impl<'a, const N: usize> From<&'a [ZoneKey; N]> for SigningKeys<'a> {
    fn from(active: &'a [ZoneKey; N]) -> Self {
        Self::from(active.as_slice())
    }
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

/// How a zone is signed, beside the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningPolicy {
    /// How long signatures live.
    pub times: SigningTimes,
    /// How the zone proves that something does not exist.
    pub denial: Denial,
    /// Whether each version has a digest of the zone (ZONEMD, RFC 8976).
    pub zonemd: bool,
}

/// A signed zone: immutable, served as it is, swapped whole.
#[derive(Debug)]
pub struct SignedZone {
    zone: Arc<Zone>,
    serial: u32,
    /// The keys that signed, in the order of their RRSIGs in a slot.
    keys: Vec<KeySlot>,
    /// RRSIGs made here, `slot_len` octets for each signed RRset: first the zone's RRsets in their order, then the chain.
    slots: Vec<u8>,
    slot_len: usize,
    /// For each RRset of the zone its slot; none for what is not signed.
    slot_of: Vec<Option<SlotId>>,
    /// The slot of the first record of the chain.
    chain_slot: SlotId,
    chain: Chain,
    /// The SOA record with the serial to serve, with its length in front.
    soa: Vec<u8>,
    negative_ttl: u32,
    /// What the apex has beside the zone's own, by type: DNSKEY, CDS and CDNSKEY as in the bundle, and what is made here.
    apex: Vec<ApexRrset>,
    earliest_ksk: Timestamp,
    tally: Tally,
}

/// The RRSIGs of one RRset.
#[derive(Debug)]
enum Slot {}

type SlotId = Index<Slot>;

/// Why a zone cannot be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// No active ZSK of an algorithm that the DNSKEY RRset has.
    #[error("no active ZSK of algorithm {0} with its private key; the zone cannot be signed")]
    NoZsk(Algorithm),
    /// A zone with NSEC3 has, or gets, keys of an algorithm that must not be used with it (RFC 5155 section 2).
    #[error(
        "the zone has a key of algorithm {0}, which cannot be used with NSEC3 (RFC 5155 section 2); roll the algorithm first"
    )]
    NotWithNsec3(Algorithm),
    /// The name of the zone is too long for NSEC3.
    #[error("{0} has more than {max} octets; no NSEC3 hash fits in front of it", max = nsec3::MAX_APEX)]
    ApexTooLong(Name),
    /// Two names have one NSEC3 hash.
    #[error("{first} and {second} have one NSEC3 hash; choose another salt, or rename one of them")]
    HashCollision {
        /// One of them.
        first: Name,
        /// The other.
        second: Name,
    },
    /// A key failed.
    #[error("signing with key {tag} failed: {source}")]
    Sign {
        /// Its tag.
        tag: u16,
        /// What is wrong with it, or the error of the call that failed.
        source: SignError,
    },
}

/// Signs `zone`: apex key RRsets and their RRSIGs as in `bundle`, all else by `keys`, denial as in `policy`. Signatures of `previous` (same
/// RRset, same keys, not yet due for refresh) are taken over. `serial` is the SOA serial to serve.
///
/// Keys whose DNSKEY is not in the bundle are not used: nobody could verify their signatures. Every algorithm of the bundle's ZSKs
/// must have a key (RFC 4035 section 2.2). The first signature of each key is verified before the others are made.
pub fn sign<'a>(
    zone: &Arc<Zone>,
    bundle: &Bundle,
    keys: impl Into<SigningKeys<'a>>,
    policy: &SigningPolicy,
    serial: u32,
    previous: Option<&SignedZone>,
    now: Timestamp,
) -> Result<SignedZone, SigningError> {
    let SigningKeys { active, retiring, progress } = keys.into();
    let keys = usable_keys(zone, bundle, active)?;
    let retiring = still_published(bundle, retiring);
    check_denial(zone, bundle, &policy.denial)?;
    let plan = Plan::new(&policy.times, now);
    let mut made = apex::Made::default();
    let mut made_at_apex = Vec::new();
    if let Denial::Nsec3(nsec3) = &policy.denial {
        let set = ApexRrset::new(Rtype::NSEC3PARAM, apex::NSEC3PARAM_TTL, [nsec3.param_rdata()]);
        made_at_apex.push(made.sign(set, zone, &keys, &plan, previous)?);
    }
    let digest = |records: Option<Vec<u8>>| ApexRrset::new(Rtype::ZONEMD, zone.soa().1.ttl, records);
    if policy.zonemd {
        // Its place: the digest is over all that is signed.
        made_at_apex.push(digest(None));
    }
    let draft = Draft::new(zone, bundle, made_at_apex, &policy.denial, serial)
        .map_err(|Collision(first, second)| SigningError::HashCollision { first, second })?;
    let maker =
        Maker::new(zone, &draft.soa, &draft.chain, draft.negative_ttl, &keys, &plan)?.counting(progress);
    let (slots, tally) = maker.run(&draft.tasks, previous, &retiring)?;
    let slot_len = maker.slot_len();
    let signatures = Signatures { keys: maker.into_keys(), slots, slot_len };
    let mut signed = draft.finish(bundle, signatures, tally, now);
    if policy.zonemd {
        let set = digest(Some(zonemd::rdata(&signed)));
        let set = made.sign(set, zone, &keys, &plan, previous)?;
        signed.apex.retain(|other| other.rtype != Rtype::ZONEMD);
        signed.apex.push(set);
        signed.apex.sort_by_key(|set| set.rtype);
    }
    signed.tally = signed.tally.and(made.tally());
    Ok(signed)
}

/// A version without the signatures in slots.
struct Draft {
    zone: Arc<Zone>,
    serial: u32,
    soa: Vec<u8>,
    apex: Vec<ApexRrset>,
    negative_ttl: u32,
    chain: Chain,
    slot_of: Vec<Option<SlotId>>,
    chain_slot: SlotId,
    /// What is signed, in the order of the slots.
    tasks: Vec<Task>,
}

/// The signatures of a version that are in slots.
struct Signatures {
    keys: Vec<KeySlot>,
    slots: Vec<u8>,
    slot_len: usize,
}

impl Draft {
    /// `made_at_apex` are the RRsets that the apex has beside the zone's own and those of the bundle, with their signatures.
    fn new(
        zone: &Arc<Zone>,
        bundle: &Bundle,
        made_at_apex: Vec<ApexRrset>,
        denial: &Denial,
        serial: u32,
    ) -> Result<Self, Collision> {
        let soa = soa_with_serial(zone, serial);
        let mut apex = apex::from_bundle(zone, bundle);
        apex.extend(made_at_apex);
        apex.sort_by_key(|set| set.rtype);
        let apex_types: Vec<Rtype> = apex.iter().map(|set| set.rtype).collect();
        let chain = Chain::build(zone, denial, &apex_types)?;
        let mut slot_of = vec![None; zone.rrset_count()];
        let mut tasks = Vec::with_capacity(zone.rrset_count() + chain.len());
        for node in zone.node_ids().filter(|node| !zone.is_below_cut(*node)) {
            for rrset in zone.rrsets_of(node) {
                if !zone.is_cut(node) || zone.rrset(rrset).rtype == Rtype::DS {
                    slot_of[rrset.position()] = Some(SlotId::at(tasks.len()));
                    tasks.push(Task { node, subject: Subject::Rrset(rrset) });
                }
            }
        }
        let chain_slot = SlotId::at(tasks.len());
        let denials = chain.iter();
        tasks.extend(denials.map(|(link, node)| Task { node, subject: Subject::Denial(link) }));
        let (zone, negative_ttl) = (Arc::clone(zone), zone.negative_ttl());
        Ok(Self { zone, serial, soa, apex, negative_ttl, chain, slot_of, chain_slot, tasks })
    }

    fn finish(self, bundle: &Bundle, signatures: Signatures, tally: Tally, now: Timestamp) -> SignedZone {
        let earliest_ksk = bundle.signatures.iter().map(|s| s.expires(now)).min().unwrap_or(bundle.inception);
        SignedZone {
            zone: self.zone,
            serial: self.serial,
            keys: signatures.keys,
            slots: signatures.slots,
            slot_len: signatures.slot_len,
            slot_of: self.slot_of,
            chain_slot: self.chain_slot,
            chain: self.chain,
            soa: self.soa,
            negative_ttl: self.negative_ttl,
            apex: self.apex,
            earliest_ksk,
            tally,
        }
    }
}

/// Refuses NSEC3 where it cannot be.
fn check_denial(zone: &Zone, bundle: &Bundle, denial: &Denial) -> Result<(), SigningError> {
    if *denial == Denial::Nsec {
        return Ok(());
    }
    if zone.origin().as_wire().len() > nsec3::MAX_APEX {
        return Err(SigningError::ApexTooLong(zone.origin().clone()));
    }
    // RFC 5155 section 2.
    let unfit = bundle.keys().map(|key| key.algorithm).find(|algorithm| !algorithm.works_with_nsec3());
    unfit.map_or(Ok(()), |algorithm| Err(SigningError::NotWithNsec3(algorithm)))
}

/// Those of the keys that retire that the bundle has: signatures of others cannot be validated any more.
fn still_published(bundle: &Bundle, retiring: &[RetiringKey]) -> Vec<RetiringKey> {
    let published: Vec<Dnskey> = bundle.keys().collect();
    retiring.iter().filter(|key| published.contains(&key.dnskey)).cloned().collect()
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

/// An RRset of a signed zone, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        self.tally.earliest
    }

    /// The earliest expiration of the signatures that came with the bundle; the bundle's inception when it has none.
    #[must_use]
    pub const fn earliest_ksk_expiration(&self) -> Timestamp {
        self.earliest_ksk
    }

    /// When the first ZSK-made signature comes due for renewal.
    #[must_use]
    pub const fn next_refresh(&self) -> Timestamp {
        self.tally.due
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

    /// TTL of negative answers and of denial records (RFC 9077).
    pub(crate) const fn negative_ttl(&self) -> u32 {
        self.negative_ttl
    }

    /// About how many octets of memory the records take that a transfer of the whole zone has.
    pub(crate) fn transfer_octets(&self) -> usize {
        const OF_RECORD: usize = 12;
        let records = self.zone.rrset_count() + self.slot_of.len() + self.chain.len() * 2;
        self.zone.octets() + self.slots.len() + records * OF_RECORD
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

    /// The RRset of type `rtype` at a node; denial records are not looked for.
    pub(crate) fn find(&self, node: NodeId, rtype: Rtype) -> Option<RrsetView<'_>> {
        if node == NodeId::APEX
            && let Some(set) = self.apex.iter().find(|set| set.rtype == rtype)
        {
            return Some(set.view());
        }
        self.zone.find(node, rtype).map(|index| self.view(index))
    }

    /// All RRsets of a node but denial records: the zone's, then those that only the signed zone has.
    pub(crate) fn rrsets(&self, node: NodeId) -> impl Iterator<Item = RrsetView<'_>> {
        let apex = if node == NodeId::APEX { self.apex.as_slice() } else { &[] };
        self.zone.rrsets_of(node).map(|id| self.view(id)).chain(apex.iter().map(ApexRrset::view))
    }

    pub(crate) fn soa(&self) -> RrsetView<'_> {
        self.view(self.zone.soa().0)
    }

    /// The chain of denial records.
    pub(crate) const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// A record of the chain.
    pub(crate) fn denial(&self, link: LinkId) -> RrsetView<'_> {
        RrsetView {
            rtype: self.chain.rtype(),
            ttl: self.negative_ttl,
            data: self.chain.data(link),
            signatures: self.slot(SlotId::at(self.chain_slot.position() + link.position())),
        }
    }

    /// The owner of a record of the chain.
    pub(crate) fn denial_owner<'a>(&'a self, link: LinkId, room: &'a mut OwnerBuf) -> &'a [u8] {
        self.chain.owner(&self.zone, link, room)
    }

    /// True when the version has a ZONEMD record.
    pub(crate) fn has_digest(&self) -> bool {
        self.apex.iter().any(|set| set.rtype == Rtype::ZONEMD)
    }

    /// True when the zone denies with NSEC.
    pub(crate) const fn has_nsec(&self) -> bool {
        matches!(self.chain, Chain::Nsec(_))
    }

    /// The NSEC record that a node owns. With NSEC3 there is none.
    pub(crate) fn nsec_at(&self, node: NodeId) -> Option<RrsetView<'_>> {
        match &self.chain {
            Chain::Nsec(_) => self.chain.link_at(node).map(|link| self.denial(link)),
            Chain::Nsec3(_) => None,
        }
    }

    fn slot(&self, slot: SlotId) -> &[u8] {
        &self.slots[slot.position() * self.slot_len..][..self.slot_len]
    }
}
