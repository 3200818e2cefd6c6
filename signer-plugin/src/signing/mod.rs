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
mod block;
mod check;
mod check_next;
pub(crate) mod denial;
mod draft;
mod given;
mod imported;
mod make;
mod output;
mod plan;
mod progress;
mod reuse;
mod slots;
mod stored;
mod tally;
#[cfg(test)]
mod tests;
mod verifier;
mod verify_made;
mod zonemd;

pub use check::CheckError;
pub(crate) use check_next::Checks;
pub use denial::{Denial, Nsec3};
pub use imported::SignedFile;
pub use output::SignedRecord;
pub(crate) use output::{RecordRef, VisitPosition};
pub use progress::SigningProgress;
pub use reuse::RetiringKey;
pub(crate) use stored::{
    RestoreError, RestoreTimes, SigningKeyInfo, StoredApexRrset, StoredChanges, StoredVersion,
};
pub(crate) use verifier::FoundRight;

use std::sync::{Arc, OnceLock};

use keystore::crypto::{Algorithm, SignError, SigningKey};
use keystore::dns::nsec3::NameHash;
use keystore::dns::{Name, Rrset, Rtype, nsec3};
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use crate::blocks::Blocks;
use crate::zone::{NODES, NodeId, Records, RrsetId, Zone};
use apex::ApexRrset;
use block::{BlockFacts, SignedBlock, SignedNode};
use denial::{Chain, HashCollision, HashPosition, OwnerBuf};
use draft::Draft;
use make::Maker;
use plan::RenewalPlan;
use slots::KeySlot;
use tally::Tally;

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

/// A version of a zone: immutable, served as it is. It is signed, but for a zone that nobody signs. The next version shares all with it that did not change.
#[derive(Debug)]
pub struct SignedZone {
    zone: Arc<Zone>,
    source: RecordSource,
    serial: u32,
    /// The keys that signed, in the order of their RRSIGs in a slot, and the octets of a slot.
    keys: Vec<KeySlot>,
    slot_len: usize,
    /// What was made for the names of each block of the zone, and what is known of it.
    blocks: Blocks<SignedBlock>,
    facts: Vec<BlockFacts>,
    /// The facts of all blocks together.
    all: BlockFacts,
    /// What was made for this version; `None`: all.
    renewed: Option<Renewed>,
    chain: Chain,
    /// The SOA record with the serial to serve, with its length in front.
    soa: Vec<u8>,
    negative_ttl: u32,
    /// What the apex has beside the zone's own, by type: DNSKEY, CDS and CDNSKEY as in the bundle, and what is made here.
    apex: Vec<ApexRrset>,
    earliest_ksk: Timestamp,
    tally: Tally,
    basis: Basis,
    /// See [`Self::no_apex_wildcard`].
    no_apex_wildcard: OnceLock<NodeId>,
}

/// Where the signatures and denial records of a version are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordSource {
    /// In its blocks: they were made here.
    Blocks,
    /// Among the records of its zone, if it has any: see the module `given`.
    Zone,
}

/// The part of a version that was made for it.
#[derive(Debug)]
struct Renewed {
    /// Numbers of the blocks.
    blocks: Vec<usize>,
    /// Names in them that may have come into the chain, or have another denial record than before.
    links: Vec<NodeId>,
    /// Where members of the chain were that are gone: search keys of names with NSEC, hashes with NSEC3.
    gone: Vec<Box<[u8]>>,
}

/// What the times at which signatures come due were reckoned from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Basis {
    times: SigningTimes,
    retiring: Vec<RetiringKey>,
    made_at: Timestamp,
}

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
    let plan = RenewalPlan::new(&policy.times, now);
    let mut made = apex::ApexTally::default();
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
    let soa = soa_with_serial(zone, serial);
    let maker = Maker::new(zone, &soa, &keys, &plan)?.counting(progress);
    let basis = Basis { times: policy.times, retiring, made_at: now };
    let base = previous.filter(|previous| maker.goes_on_from(previous, zone, &policy.denial, &basis));
    let draft =
        Draft::new(zone, bundle, made_at_apex, &policy.denial, serial, base.map(|base| (base, Some(&plan))))
            .map_err(|HashCollision(first, second)| SigningError::HashCollision { first, second })?;
    let (blocks, tally) = maker.run(&draft, previous, &basis.retiring)?;
    let mut signed = draft.finish(bundle, maker.into_keys(), blocks, basis, now);
    signed.tally = tally;
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
    let mut record = zone.soa().1.data.to_vec();
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
        let slots = self.all.slots as usize;
        self.zone.octets() + slots * self.slot_len + (self.zone.rrset_count() + slots) * OF_RECORD
    }

    /// Number of records, RRSIGs and denial records included.
    pub(crate) fn record_count(&self) -> usize {
        let at_apex = |set: &ApexRrset| Records(&set.data).count() + Records(&set.signatures).count();
        let made = self.all.slots as usize * self.keys.len() + self.all.denials as usize;
        self.zone.record_count() + made + self.apex.iter().map(at_apex).sum::<usize>()
    }

    /// An RRset of the zone.
    pub(crate) fn view(&self, id: RrsetId) -> RrsetView<'_> {
        let rrset = self.zone.rrset(id);
        let is_soa = id.node == NodeId::APEX && rrset.rtype == Rtype::SOA;
        let slot = match self.zone.node(id.node).cut {
            None => Some(id.number),
            // It is the only one that is signed there.
            Some(cut) => (cut == id.node && rrset.rtype == Rtype::DS).then_some(0),
        };
        RrsetView {
            rtype: rrset.rtype,
            ttl: rrset.ttl,
            data: if is_soa { self.soa.as_slice() } else { rrset.data },
            signatures: match self.source {
                RecordSource::Blocks => slot.map_or(&[], |slot| self.slot(id.node, slot)),
                RecordSource::Zone => self.given_signatures(id.node, rrset.rtype),
            },
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

    /// All RRsets of a node but NSEC and NSEC3 records that were made here, and the NSEC records that answers are proven by: the zone's, then those
    /// that only the signed zone has.
    pub(crate) fn rrsets(&self, node: NodeId) -> impl Iterator<Item = RrsetView<'_>> {
        let apex = if node == NodeId::APEX { self.apex.as_slice() } else { &[] };
        let is_apart = move |rtype| rtype == Rtype::RRSIG || rtype == Rtype::NSEC && self.has_nsec();
        let own = self.zone.rrsets_of(node).filter(move |id| !is_apart(self.zone.rrset(*id).rtype));
        own.map(|id| self.view(id)).chain(apex.iter().map(ApexRrset::view))
    }

    pub(crate) fn soa(&self) -> RrsetView<'_> {
        self.view(self.zone.soa().0)
    }

    /// The chain of denial records.
    pub(crate) const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What is known of the signatures of all blocks but these.
    fn tally_without(&self, blocks: &[usize]) -> Tally {
        let mut kept = self.facts.clone();
        for number in blocks {
            if let Some(facts) = kept.get_mut(*number) {
                *facts = BlockFacts::NOTHING;
            }
        }
        let kept = kept.into_iter().fold(BlockFacts::NOTHING, BlockFacts::and);
        let reused = kept.slots as usize * self.keys.len();
        Tally { made: 0, reused, earliest: kept.earliest, due: kept.due }
    }

    /// What was made for a name.
    fn at(&self, node: NodeId) -> &SignedNode {
        match self.source {
            RecordSource::Blocks => self.blocks.get(node.block()).node(node.place()),
            RecordSource::Zone => &SignedNode::NOTHING,
        }
    }

    /// The signatures that were made for an RRset of a name, by its number among those that are signed.
    fn slot(&self, node: NodeId, number: usize) -> &[u8] {
        self.blocks.get(node.block()).slot(node.place(), number, self.slot_len)
    }

    /// The block with what was made for a name; `None` where nothing is.
    fn block_of(&self, node: NodeId) -> Option<&SignedBlock> {
        (node.block() < self.blocks.len()).then(|| self.blocks.get(node.block()))
    }

    /// Reads where what the version has for a node is, see [`Zone::read_block`].
    pub(crate) fn read_block(&self, node: NodeId) -> usize {
        self.zone.read_block(node) + self.block_of(node).map_or(0, |block| block.nodes.len())
    }

    pub(crate) fn read_name(&self, node: NodeId) -> usize {
        self.zone.read_name(node) + self.block_of(node).map_or(0, |block| block.read_name(node.place()))
    }

    pub(crate) fn read_content(&self, node: NodeId) -> usize {
        self.zone.read_content(node) + self.block_of(node).map_or(0, |block| block.read_content(node.place()))
    }

    /// The member whose denial record says that there is no `*` below the apex, found by `find` when that is first asked for: most names that do
    /// not exist are one label below the apex, and their answers need it.
    pub(crate) fn no_apex_wildcard<E>(&self, find: impl FnOnce() -> Result<NodeId, E>) -> Result<NodeId, E> {
        match self.no_apex_wildcard.get() {
            Some(node) => Ok(*node),
            None => find().map(|node| *self.no_apex_wildcard.get_or_init(|| node)),
        }
    }

    /// True when a record of the chain stands with the name: not that of a presigned zone with NSEC3, where it has a name of its own.
    pub(crate) fn is_member(&self, node: NodeId) -> bool {
        match self.source {
            RecordSource::Blocks => self.at(node).is_member(),
            RecordSource::Zone => self.has_nsec() && self.zone.find(node, Rtype::NSEC).is_some(),
        }
    }

    /// Names below the name that are in the NSEC3 chain.
    fn members_below(&self, node: NodeId) -> u32 {
        self.at(node).members_below
    }

    /// The members of the chain in its order, without the first `skip`.
    pub(crate) fn members_from(&self, skip: usize) -> impl Iterator<Item = NodeId> {
        let (by_name, by_hash) = match &self.chain {
            Chain::Nothing => (None, None),
            Chain::Nsec => (Some(self.zone.node_ids().filter(|node| self.is_member(*node)).skip(skip)), None),
            Chain::Nsec3(chain) => (None, Some(chain.members_from(skip))),
        };
        by_name.into_iter().flatten().chain(by_hash.into_iter().flatten())
    }

    /// The last name at or in front of `node` that is in the NSEC chain.
    pub(crate) fn member_up_to(&self, mut node: NodeId) -> NodeId {
        // The apex is a member of every chain, and the end where there is none.
        while node != NodeId::APEX && !self.is_member(node) {
            node = match self.zone.node(node).cut {
                Some(cut) if cut != node => cut,
                _ => self.zone.last_before(self.zone.key(node)).unwrap_or(NodeId::APEX),
            };
        }
        node
    }

    /// The hash of a member of the NSEC3 chain.
    pub(crate) fn hash(&self, node: NodeId) -> NameHash {
        match self.source {
            RecordSource::Blocks => self.blocks.get(node.block()).hash(node.place(), self.slot_len),
            RecordSource::Zone => given::hash_of_owner(self.zone.owner(node)),
        }
    }

    /// What the NSEC3 chain says of a hash.
    pub(crate) fn find_hash(&self, chain: &denial::Nsec3Chain, hash: NameHash) -> HashPosition {
        chain.find(hash, |node| self.hash(node))
    }

    /// The denial record of a member of the chain.
    pub(crate) fn denial(&self, node: NodeId) -> RrsetView<'_> {
        if self.source == RecordSource::Zone {
            return self.given_denial(node);
        }
        let block = self.blocks.get(node.block());
        let (data, signatures) = block.denial(node.place(), !self.has_nsec(), self.slot_len);
        RrsetView { rtype: self.chain.rtype(), ttl: self.negative_ttl, data, signatures }
    }

    /// The owner of the denial record of a member.
    pub(crate) fn denial_owner<'a>(&'a self, node: NodeId, room: &'a mut OwnerBuf) -> &'a [u8] {
        match &self.chain {
            Chain::Nsec3(_) if self.source == RecordSource::Blocks => {
                room.put_hashed(self.hash(node), self.zone.origin())
            }
            _ => self.zone.owner(node),
        }
    }

    /// True when the version has a ZONEMD record.
    pub(crate) fn has_digest(&self) -> bool {
        self.apex.iter().any(|set| set.rtype == Rtype::ZONEMD)
    }

    /// True when the zone denies with NSEC.
    pub(crate) const fn has_nsec(&self) -> bool {
        matches!(self.chain, Chain::Nsec)
    }

    /// The NSEC record that a node owns. With NSEC3 there is none.
    pub(crate) fn nsec_at(&self, node: NodeId) -> Option<RrsetView<'_>> {
        (self.has_nsec() && self.is_member(node)).then(|| self.denial(node))
    }

    /// The nodes at which this version may differ from `old`, beside the RRsets that only the signed apex has; `None` when that is not known
    /// without looking at all.
    pub(crate) fn nodes_not_shared(&self, old: &Self) -> Option<Vec<NodeId>> {
        if !self.zone.goes_on_from(&old.zone) {
            return None;
        }
        let mut numbers = self.zone.blocks_not_shared(&old.zone);
        numbers.extend(self.blocks.not_shared(&old.blocks));
        numbers.push(NodeId::APEX.block());
        numbers.sort_unstable();
        numbers.dedup();
        Some(numbers.iter().flat_map(|number| NodeId::range(number * NODES..(number + 1) * NODES)).collect())
    }

    /// Changes the octet of the slot with this number, in the order of the blocks, that is so many octets in front of its end.
    #[cfg(test)]
    pub(crate) fn corrupt_slot(&mut self, number: usize, from_end: usize) {
        let mut first = 0;
        for block in 0..self.blocks.len() {
            let slots = self.facts[block].slots as usize;
            if number < first + slots {
                let mut left = number - first;
                let (slot_len, hash) = (self.slot_len, if self.has_nsec() { 0 } else { 20 });
                let block = self.blocks.get_mut(block);
                for node in block.nodes.clone() {
                    let own = node.signed as usize + usize::from(node.is_member());
                    if left < own {
                        let denial = if left == node.signed as usize {
                            hash + usize::from(node.denial_len)
                        } else {
                            0
                        };
                        let end = node.offset as usize + denial + (left + 1) * slot_len;
                        block.octets[end - from_end] ^= 4;
                        return;
                    }
                    left -= own;
                }
            }
            first += slots;
        }
        panic!("there are {first} slots");
    }

    /// Changes the next name or hash of the denial record of the apex.
    #[cfg(test)]
    pub(crate) fn corrupt_denial(&mut self) {
        let slot_len = self.slot_len;
        let at = match &self.chain {
            Chain::Nothing | Chain::Nsec => 3,
            Chain::Nsec3(chain) => 20 + 2 + 5 + chain.nsec3().salt.len() + 1,
        };
        let block = self.blocks.get_mut(0);
        let node = block.nodes[0];
        block.octets[node.offset as usize + node.signed as usize * slot_len + at] ^= 1;
    }
}
