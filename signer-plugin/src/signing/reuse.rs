//! The signatures of the version before, as far as they can be served on.

use keystore::crypto::Algorithm;
use keystore::dns::Rtype;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use super::plan::{OldSignature, Position, RenewalPlan};
use super::slots::{KeySlot, SignSubject, SignTask};
use super::{RrsetView, SignedZone};
use crate::zone::{NodeId, Records, Zone};

/// A ZSK that is published and signs no more. Its signatures stay until they are due, or are replaced in time before it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiringKey {
    /// Its DNSKEY, which is in the bundle.
    pub dnskey: Dnskey,
    /// The time over which its signatures are replaced one by one, whether they are due or not: from the first to the second, by which
    /// none must be left. `None`: as they come due.
    pub replaced: Option<(Timestamp, Timestamp)>,
}

/// Finds the old signatures of an RRset.
pub(super) struct Reuse<'a> {
    previous: &'a SignedZone,
    zone: &'a Zone,
    /// For each place the keys whose signatures can stand there, the key of the place first.
    takers: Vec<Vec<Taker>>,
}

/// A key whose signatures are known by algorithm and tag.
struct Taker {
    algorithm: Algorithm,
    tag: u16,
    /// Octets of its RRSIG RDATA.
    len: usize,
    /// For a key that retires, see [`RetiringKey::replaced`].
    replaced: Option<(Timestamp, Timestamp)>,
}

impl<'a> Reuse<'a> {
    pub fn new(
        previous: &'a SignedZone,
        zone: &'a Zone,
        places: &[&KeySlot],
        retiring: &[RetiringKey],
    ) -> Self {
        Self { previous, zone, takers: takers(previous, places, retiring) }
    }

    /// The node of the old zone that has the name of a node of the new one.
    fn node_of(&self, node: NodeId) -> Option<NodeId> {
        let (old, key) = (&self.previous.zone, self.zone.key(node));
        let is_same = old.is_of_lineage(self.zone) && old.exists(node) && old.key(node) == key;
        if is_same {
            return Some(node);
        }
        old.get(key).filter(|_| old.origin() == self.zone.origin())
    }

    /// The old RRSIGs of an RRset, when it is what it was.
    pub fn of(&self, task: &SignTask, view: &RrsetView<'_>) -> Option<&'a [u8]> {
        let node = self.node_of(task.node)?;
        let old = match task.subject {
            SignSubject::Rrset(_) => self.previous.view(self.previous.zone.find(node, view.rtype)?),
            // Equal parameters, which are part of the data, and an equal name have an equal hash.
            SignSubject::Denial(_) => self.previous.is_member(node).then(|| self.previous.denial(node))?,
        };
        let unchanged = old.rtype == view.rtype && old.ttl == view.ttl && old.data == view.data;
        unchanged.then_some(old.signatures)
    }

    /// The signature for `place` among the old RRSIGs of an RRset.
    pub fn signature<'o>(
        &self,
        old: &'o [u8],
        place: usize,
        position: &Position<'_>,
        plan: &RenewalPlan,
    ) -> Option<OldSignature<'o>> {
        let takers = self.takers.get(place)?;
        takers.iter().find_map(|taker| {
            Rrsigs(old)
                .find(|octets| taker.made(octets))
                .and_then(|octets| taker.judge(octets, position, plan))
        })
    }

    /// The same for octets that stand at `place` already.
    pub fn judge<'o>(
        &self,
        octets: &'o [u8],
        place: usize,
        position: &Position<'_>,
        plan: &RenewalPlan,
    ) -> Option<OldSignature<'o>> {
        let taker = self.takers.get(place)?.iter().find(|taker| taker.made(octets))?;
        taker.judge(octets, position, plan)
    }
}

impl Taker {
    /// True when the RRSIG, with its length in front, is by this key.
    fn made(&self, octets: &[u8]) -> bool {
        octets.len() == 2 + self.len
            && octets[4] == self.algorithm.0
            && octets[18..20] == self.tag.to_be_bytes()
    }

    fn judge<'o>(
        &self,
        octets: &'o [u8],
        position: &Position<'_>,
        plan: &RenewalPlan,
    ) -> Option<OldSignature<'o>> {
        let retire = self.replaced.map(|(from, to)| {
            let share = (position.hash(from.secs()) * to.since(from)) >> 32;
            (from.plus(share), to)
        });
        plan.judge(octets, retire)
    }
}

/// True when the signatures of each of the keys are known as such in the version `previous`.
pub(super) fn are_known(previous: &SignedZone, places: &[&KeySlot]) -> bool {
    takers(previous, places, &[]).iter().all(|takers| !takers.is_empty())
}

/// For each place the keys whose signatures can stand there. Signatures have no more than algorithm and tag of their key: one that fits
/// two keys of the old DNSKEY RRset, or another key than now, is of no use.
fn takers(previous: &SignedZone, places: &[&KeySlot], retiring: &[RetiringKey]) -> Vec<Vec<Taker>> {
    let dnskeys = previous.find(NodeId::APEX, Rtype::DNSKEY).map_or(&[][..], |view| view.data);
    let published: Vec<Dnskey> = Records(dnskeys).filter_map(Dnskey::from_rdata).collect();
    let is_known = |dnskey: &Dnskey| {
        let same_name = |other: &&Dnskey| other.algorithm == dnskey.algorithm && other.tag() == dnskey.tag();
        published.iter().filter(same_name).eq([dnskey])
    };
    let taker = |dnskey: &Dnskey, len, replaced| {
        is_known(dnskey).then(|| Taker { algorithm: dnskey.algorithm, tag: dnskey.tag(), len, replaced })
    };
    let mut inherited: Vec<Algorithm> = Vec::new();
    let of_place = |place: &&KeySlot| {
        let algorithm = place.dnskey.algorithm;
        // Signatures of a key that retires stand at one place: two would be one signature twice.
        let is_heir = !inherited.contains(&algorithm);
        inherited.push(algorithm);
        let own = taker(&place.dnskey, place.len, None);
        let retiring = retiring.iter().filter(|key| is_heir && key.dnskey.algorithm == algorithm);
        own.into_iter()
            .chain(retiring.filter_map(|key| taker(&key.dnskey, place.len, key.replaced)))
            .collect()
    };
    places.iter().map(of_place).collect()
}

/// The RRSIGs of a slot, each with its length in front.
struct Rrsigs<'a>(&'a [u8]);

impl<'a> Iterator for Rrsigs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let len = 2 + usize::from(u16::from_be_bytes(*self.0.first_chunk::<2>()?));
        let (octets, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(octets)
    }
}
