//! Makes the RRSIGs, or takes them over, on all cores. The octets to sign (RFC 4034 section 3.1.8.1) are put together in one buffer a
//! thread; the signatures land where they are served from.

use std::borrow::Cow;

use keystore::crypto::{self, SignError};
use keystore::dns::{Rtype, rdata};
use keystore::keys::Dnskey;
use keystore::time::Timestamp;
use rayon::prelude::*;

use super::denial::{Chain, LinkId, OwnerBuf};
use super::{RrsetView, SignedZone, SigningError, SigningTimes, ZoneKey};
use crate::zone::{NodeId, Records, RrsetId, Zone};

/// RRSIG RDATA in front of the signer's name.
const FIXED: usize = 18;
/// Resolvers' clocks may be slow by as much, in seconds.
const INCEPTION_OFFSET: u64 = 3600;

/// A key that signs.
#[derive(Debug, Clone)]
pub(super) struct KeySlot {
    pub dnskey: Dnskey,
    pub tag: u16,
    /// Where its RRSIG begins in a slot: two octets of length, then the RDATA.
    pub offset: usize,
    /// Octets of its RRSIG RDATA.
    pub len: usize,
}

/// The times of a signing, worked out from the policy. Seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub now: Timestamp,
    validity: u32,
    jitter: u32,
    /// Remaining validity at which a signature is renewed.
    pub refresh: u32,
    /// Those that come due within this time are renewed along.
    batch: u32,
}

impl Plan {
    pub fn new(times: &SigningTimes, now: Timestamp) -> Self {
        let validity = times.validity.max(1);
        // Policies are checked at load; whatever comes here, a new signature must not be due at once.
        let refresh = if times.refresh < validity { times.refresh } else { validity / 2 };
        let jitter = times.jitter.min((validity - refresh) / 2);
        Self { now, validity, jitter, refresh, batch: jitter / 24 }
    }

    pub fn inception(&self) -> Timestamp {
        self.now.minus(INCEPTION_OFFSET)
    }

    /// The expiration for an RRset, by search key of its owner, and type.
    pub fn expiration(&self, key: &[u8], rtype: Rtype) -> Timestamp {
        let octets = key.iter().copied().chain(rtype.0.to_be_bytes()).chain(self.now.secs().to_be_bytes());
        let fnv = octets
            .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        // The low bits of FNV are poor; fold the high ones in.
        let hash = (fnv ^ (fnv >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
        let jitter = hash % (u64::from(self.jitter) + 1);
        self.now.plus(u64::from(self.validity) - jitter)
    }

    /// True when a signature with these times need not be made anew. One from the future (a clock was set back) is.
    pub fn keeps(&self, inception: Timestamp, expiration: Timestamp) -> bool {
        inception <= self.now
            && expiration.since(self.now) > u64::from(self.refresh) + u64::from(self.batch)
            && expiration.since(self.now) <= u64::from(self.validity)
    }
}

/// One RRset to sign.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub node: NodeId,
    pub subject: Subject,
}

/// Which RRset of the node.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject {
    /// An RRset of the zone.
    Rrset(RrsetId),
    /// A record of the chain.
    Denial(LinkId),
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    pub made: usize,
    pub reused: usize,
    /// The earliest expiration.
    pub earliest: Timestamp,
}

impl Tally {
    pub const NOTHING: Self = Self { made: 0, reused: 0, earliest: Timestamp::MAX };

    pub fn and(self, other: Self) -> Self {
        Self {
            made: self.made + other.made,
            reused: self.reused + other.reused,
            earliest: self.earliest.min(other.earliest),
        }
    }
}

pub(super) struct Maker<'a> {
    zone: &'a Zone,
    soa: &'a [u8],
    chain: &'a Chain,
    negative_ttl: u32,
    plan: &'a Plan,
    keys: Vec<(KeySlot, &'a ZoneKey)>,
    /// The zone's name in lower case, the signer of all.
    signer: Vec<u8>,
    /// Labels of the zone's name.
    apex_labels: u8,
}

impl<'a> Maker<'a> {
    /// Tries each key on the SOA.
    pub fn new(
        zone: &'a Zone,
        soa: &'a [u8],
        chain: &'a Chain,
        negative_ttl: u32,
        keys: &[&'a ZoneKey],
        plan: &'a Plan,
    ) -> Result<Self, SigningError> {
        let signer = zone.origin().canonical_wire();
        let apex_labels = zone.origin().label_count() as u8;
        let mut maker = Self { zone, soa, chain, negative_ttl, plan, keys: Vec::new(), signer, apex_labels };
        let task = Task { node: NodeId::APEX, subject: Subject::Rrset(zone.soa().0) };
        let mut offset = 0;
        for key in keys {
            let mut slot = KeySlot { tag: key.dnskey.tag(), dnskey: key.dnskey.clone(), offset, len: 0 };
            let data = maker.signed_data(&task, &slot);
            let fail = |source| SigningError::Sign { tag: slot.tag, source };
            let signature = key.signer.sign(&data).map_err(fail)?;
            crypto::verify(slot.dnskey.algorithm, &slot.dnskey.public_key, &data, &signature)
                .map_err(|_| fail(SignError::BadKey("its signature does not verify with its DNSKEY")))?;
            slot.len = FIXED + maker.signer.len() + signature.len();
            offset += 2 + slot.len;
            maker.keys.push((slot, key));
        }
        Ok(maker)
    }

    /// Octets of a slot.
    pub fn slot_len(&self) -> usize {
        self.keys.iter().map(|(slot, _)| 2 + slot.len).sum()
    }

    pub fn into_keys(self) -> Vec<KeySlot> {
        self.keys.into_iter().map(|(slot, _)| slot).collect()
    }

    /// Fills a slot for each task.
    pub fn run(
        &self,
        tasks: &[Task],
        previous: Option<&SignedZone>,
    ) -> Result<(Vec<u8>, Tally), SigningError> {
        let reuse = previous.map(|previous| Reuse::new(previous, self.zone, &self.keys));
        let slot_len = self.slot_len();
        let mut slots = vec![0; tasks.len() * slot_len];
        let tally = slots
            .par_chunks_exact_mut(slot_len)
            .zip(tasks)
            .try_fold(
                || (Tally::NOTHING, Vec::new()),
                |(tally, mut scratch), (slot, task)| {
                    let old = reuse.as_ref().and_then(|reuse| reuse.slot(task, &self.view(task)));
                    let one = self.fill(task, slot, old.as_ref(), &mut scratch)?;
                    Ok((tally.and(one), scratch))
                },
            )
            .map(|result| result.map(|(tally, _)| tally))
            .try_reduce(|| Tally::NOTHING, |a, b| Ok(a.and(b)))?;
        Ok((slots, tally))
    }

    /// Makes or takes over the RRSIGs of one RRset.
    fn fill(
        &self,
        task: &Task,
        slot: &mut [u8],
        old: Option<&OldSlot<'_>>,
        scratch: &mut Vec<u8>,
    ) -> Result<Tally, SigningError> {
        let mut tally = Tally::NOTHING;
        let head_len = FIXED + self.signer.len();
        scratch.clear();
        for (number, (key, zone_key)) in self.keys.iter().enumerate() {
            let rrsig = &mut slot[key.offset..key.offset + 2 + key.len];
            if let Some(octets) = old.and_then(|old| old.of_key(number))
                && octets.len() == rrsig.len()
                && let Some((inception, expiration)) = times(&octets[2..], self.plan.now)
                && self.plan.keeps(inception, expiration)
            {
                rrsig.copy_from_slice(octets);
                tally = tally.and(Tally { made: 0, reused: 1, earliest: expiration });
                continue;
            }
            if scratch.is_empty() {
                scratch.resize(head_len, 0);
                self.put_records(task, scratch);
            }
            let expiration = self.put_head(task, key, &mut scratch[..head_len]);
            let fail = |source| SigningError::Sign { tag: key.tag, source };
            let signature = zone_key.signer.sign(scratch).map_err(fail)?;
            let (len, rdata) = rrsig.split_at_mut(2);
            let (head, room) = rdata.split_at_mut(head_len);
            if signature.len() != room.len() {
                return Err(fail(SignError::BadKey("the length of its signatures varies")));
            }
            len.copy_from_slice(&(key.len as u16).to_be_bytes());
            head.copy_from_slice(&scratch[..head_len]);
            room.copy_from_slice(&signature);
            tally = tally.and(Tally { made: 1, reused: 0, earliest: expiration });
        }
        Ok(tally)
    }

    /// The RRset of a task, without signatures.
    fn view(&self, task: &Task) -> RrsetView<'a> {
        match task.subject {
            Subject::Rrset(index) => {
                let entry = self.zone.rrset(index);
                let data = if index == self.zone.soa().0 { self.soa } else { self.zone.data(entry) };
                RrsetView { rtype: entry.rtype, ttl: entry.ttl, data, signatures: &[] }
            }
            Subject::Denial(index) => RrsetView {
                rtype: self.chain.rtype(),
                ttl: self.negative_ttl,
                data: self.chain.data(index),
                signatures: &[],
            },
        }
    }

    /// The octets that `key` signs.
    fn signed_data(&self, task: &Task, key: &KeySlot) -> Vec<u8> {
        let head_len = FIXED + self.signer.len();
        let mut data = vec![0; head_len];
        self.put_head(task, key, &mut data[..head_len]);
        self.put_records(task, &mut data);
        data
    }

    /// Writes RRSIG RDATA up to the signature; gives the expiration.
    fn put_head(&self, task: &Task, key: &KeySlot, head: &mut [u8]) -> Timestamp {
        let view = self.view(task);
        let expiration = self.plan.expiration(self.zone.key(task.node), view.rtype);
        let labels = self.labels(task);
        let (fixed, signer) = head.split_at_mut(FIXED);
        fixed[0..2].copy_from_slice(&view.rtype.0.to_be_bytes());
        fixed[2] = key.dnskey.algorithm.0;
        fixed[3] = labels;
        fixed[4..8].copy_from_slice(&view.ttl.to_be_bytes());
        fixed[8..12].copy_from_slice(&expiration.to_rrsig().to_be_bytes());
        fixed[12..16].copy_from_slice(&self.plan.inception().to_rrsig().to_be_bytes());
        fixed[16..18].copy_from_slice(&key.tag.to_be_bytes());
        signer.copy_from_slice(&self.signer);
        expiration
    }

    /// The Labels field (RFC 4034 section 3.1.3): an asterisk is not counted.
    fn labels(&self, task: &Task) -> u8 {
        if let (Subject::Denial(_), Chain::Nsec3(_)) = (task.subject, self.chain) {
            return self.apex_labels + 1;
        }
        let wildcard = self.zone.owner(task.node).starts_with(b"\x01*");
        self.zone.node(task.node).depth + self.apex_labels - u8::from(wildcard)
    }

    /// Appends the canonical RRset.
    fn put_records(&self, task: &Task, out: &mut Vec<u8>) {
        let view = self.view(task);
        let fold = match task.subject {
            Subject::Rrset(index) => self.zone.rrset(index).fold,
            Subject::Denial(_) => false,
        };
        let mut room = OwnerBuf::new();
        let owner = match task.subject {
            Subject::Rrset(_) => self.zone.owner(task.node),
            Subject::Denial(link) => self.chain.owner(self.zone, link, &mut room),
        };
        for record in Records(view.data) {
            let record =
                if fold { Cow::Owned(rdata::canonical(view.rtype, record)) } else { Cow::Borrowed(record) };
            let start = out.len();
            out.extend_from_slice(owner);
            out[start..].make_ascii_lowercase();
            out.extend_from_slice(&view.rtype.0.to_be_bytes());
            out.extend_from_slice(&1u16.to_be_bytes());
            out.extend_from_slice(&view.ttl.to_be_bytes());
            out.extend_from_slice(&(record.len() as u16).to_be_bytes());
            out.extend_from_slice(&record);
        }
    }
}

/// Inception and expiration of RRSIG RDATA.
pub(super) fn times(rdata: &[u8], near: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let expiration = u32::from_be_bytes(*rdata.get(8..)?.first_chunk()?);
    let inception = u32::from_be_bytes(*rdata.get(12..)?.first_chunk()?);
    Some((Timestamp::from_rrsig(inception, near), Timestamp::from_rrsig(expiration, near)))
}

/// Finds the signatures of the version before.
struct Reuse<'a> {
    previous: &'a SignedZone,
    /// For each node of the new zone that of the old, if there is one; `None` when it is the same zone.
    node_of: Option<Vec<Option<NodeId>>>,
    /// For each key now where its RRSIG stands in an old slot.
    key_of: Vec<Option<std::ops::Range<usize>>>,
}

/// The old RRSIGs of an RRset that has not changed.
struct OldSlot<'a> {
    octets: &'a [u8],
    key_of: &'a [Option<std::ops::Range<usize>>],
}

impl<'a> OldSlot<'a> {
    /// That of key `number`, with its length in front.
    fn of_key(&self, number: usize) -> Option<&'a [u8]> {
        self.octets.get(self.key_of.get(number)?.clone()?)
    }
}

impl<'a> Reuse<'a> {
    fn new(previous: &'a SignedZone, zone: &Zone, keys: &[(KeySlot, &ZoneKey)]) -> Self {
        let old = &previous.zone;
        let same = std::ptr::eq(&raw const **old, zone);
        let key_of = keys
            .iter()
            .map(|(key, _)| {
                let old = previous.keys.iter().find(|old| old.dnskey == key.dnskey)?;
                Some(old.offset..old.offset + 2 + old.len)
            })
            .collect();
        // Both zones are sorted by the same keys, so one pass finds the common names.
        let node_of = (!same && old.origin() == zone.origin()).then(|| {
            let mut candidates = old.node_ids().peekable();
            zone.node_ids()
                .map(|node| {
                    while candidates.next_if(|old_node| old.key(*old_node) < zone.key(node)).is_some() {}
                    candidates.peek().copied().filter(|old_node| old.key(*old_node) == zone.key(node))
                })
                .collect()
        });
        let node_of = if same { None } else { Some(node_of.unwrap_or_default()) };
        Self { previous, node_of, key_of }
    }

    /// The old slot of a task, when the RRset, as in `view`, is what it was.
    fn slot(&self, task: &Task, view: &RrsetView<'_>) -> Option<OldSlot<'_>> {
        let node = match &self.node_of {
            None => task.node,
            Some(map) => (*map.get(task.node.position())?)?,
        };
        let old = match task.subject {
            Subject::Rrset(_) => self.previous.view(self.previous.zone.find(node, view.rtype)?),
            // Equal parameters, which are part of the data, and an equal name have an equal hash.
            Subject::Denial(_) => self.previous.denial(self.previous.chain.link_at(node)?),
        };
        let unchanged = old.rtype == view.rtype
            && old.ttl == view.ttl
            && old.data == view.data
            && !old.signatures.is_empty();
        unchanged.then_some(OldSlot { octets: old.signatures, key_of: &self.key_of })
    }
}
