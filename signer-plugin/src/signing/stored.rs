//! A signed zone as the state on disk keeps it, and made again from that without a private key.
//!
//! What is kept are the signatures: those of the RRsets of the zone in canonical order, then those of the denial records in the order of the
//! chain. The denial records follow from the zone, the bundle and the kind of denial, so a checksum tells whether they are still what the
//! signatures were made for.

use std::collections::HashMap;
use std::sync::Arc;

use keystore::dns::Rtype;
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use super::apex::{self, ApexRrset};
use super::denial::{Chain, HashCollision, Planned};
use super::draft::{self, Draft};
use super::plan;
use super::reuse::Reuse;
use super::slots::{KeySlot, SignSubject, SignTask};
use super::tally::Tally;
use super::verifier::Verifier;
use super::{Basis, CheckError, Denial, SignedZone, SigningTimes};
use crate::zone::{ContentChange, NameChange, NodeId, Records, Zone};

/// A key and the place of its signatures in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SigningKeyInfo {
    pub dnskey: Dnskey,
    /// Octets of the RDATA of each RRSIG at its place.
    pub rrsig_len: u16,
}

/// An RRset that is made for the apex, with its signatures: NSEC3PARAM, ZONEMD. Each record, and each RRSIG, has two octets of length in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredApexRrset {
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl: u32,
    pub data: Vec<u8>,
    pub signatures: Vec<u8>,
}

/// The parts of a version beside the zone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredVersion<'a> {
    pub serial: u32,
    pub bundle: &'a Bundle,
    pub denial: &'a Denial,
    pub made_at_apex: &'a [StoredApexRrset],
    pub keys: &'a [SigningKeyInfo],
    /// Checksum of the denial records.
    pub denial_checksum: u128,
}

type OwnerAndType = (Box<[u8]>, Rtype);

/// What versions behind a stored one have changed.
#[derive(Debug, Default)]
pub(crate) struct StoredChanges {
    /// By owner in lower case.
    pub names: HashMap<Box<[u8]>, NameChange>,
    /// Slots by owner in lower case and type; for a denial record the name that it stands for.
    pub slots: HashMap<OwnerAndType, Box<[u8]>>,
    /// How many versions these are.
    pub versions: usize,
}

/// By what a version that was made again comes due. Seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RestoreTimes {
    /// Remaining validity at which signatures are renewed.
    pub refresh: u32,
    pub now: Timestamp,
}

/// Why a version cannot be made again from its parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RestoreError {
    /// The zone or this program's idea of its denial records is not what the signatures were made for.
    #[error(
        "its denial records are not those that this program makes; another version of it wrote the state"
    )]
    Denial,
    /// The names that versions of the journal changed make no zone.
    #[error("with its changed names it has no SOA record, or several")]
    Soa,
    /// There are more or fewer signatures than RRsets to sign.
    #[error("it has {found} octets of signatures and needs {wanted}")]
    Length { found: usize, wanted: usize },
    /// A slot does not hold signatures of its RRset.
    #[error("signature {0} is not that of its RRset")]
    Slot(usize),
    /// The signatures at the apex do not verify.
    #[error(transparent)]
    Apex(#[from] CheckError),
}

impl SignedZone {
    /// The slots with the signatures made here, in the order in which they are stored.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &[u8]> {
        let nodes = (self.slot_len > 0).then(|| self.zone.node_ids());
        let of_zone =
            nodes.into_iter().flatten().flat_map(|node| self.zone.rrsets_of(node)).map(|id| self.view(id));
        let members = (self.slot_len > 0).then(|| self.members_from(0));
        let denials = members.into_iter().flatten().map(|node| self.denial(node));
        of_zone.chain(denials).map(|view| view.signatures).filter(|slot| !slot.is_empty())
    }

    /// Number of slots.
    pub(crate) const fn slot_count(&self) -> usize {
        self.all.slots as usize
    }

    /// Octets of one slot.
    pub(crate) const fn slot_len(&self) -> usize {
        self.slot_len
    }

    /// The keys that signed, in the order of their RRSIGs in a slot.
    pub(crate) fn signing_keys(&self) -> impl ExactSizeIterator<Item = SigningKeyInfo> {
        let info = |key: &KeySlot| SigningKeyInfo { dnskey: key.dnskey.clone(), rrsig_len: key.len as u16 };
        self.keys.iter().map(info)
    }

    /// A checksum of the denial records, which does not depend on their order.
    pub(crate) const fn denial_checksum(&self) -> u128 {
        self.all.checksum
    }

    /// True when both have the same kind of chain.
    pub(crate) fn denies_like(&self, other: &Self) -> bool {
        match (&self.chain, &other.chain) {
            (Chain::Nothing, Chain::Nothing) | (Chain::Nsec, Chain::Nsec) => true,
            (Chain::Nsec3(one), Chain::Nsec3(two)) => one.nsec3() == two.nsec3(),
            _ => false,
        }
    }

    /// The RRsets of the apex that are neither the zone's nor the bundle's.
    pub(crate) fn made_at_apex(&self) -> Vec<StoredApexRrset> {
        let made = self.apex.iter().filter(|set| !apex::is_of_bundle(set.rtype));
        let stored = |set: &ApexRrset| StoredApexRrset {
            rtype: set.rtype,
            ttl: set.ttl,
            data: set.data.clone(),
            signatures: set.signatures.clone(),
        };
        made.map(stored).collect()
    }

    /// Makes the version again that had these parts.
    ///
    /// Nothing is signed. The signatures over the SOA and the apex key RRsets are verified, whether they are in time or not; each of these
    /// RRsets must have one. Whose key signed the DNSKEY RRset is for the caller to judge.
    pub(crate) fn restore(
        zone: &Arc<Zone>,
        stored: &StoredVersion<'_>,
        slots: &[u8],
        times: RestoreTimes,
    ) -> Result<Self, RestoreError> {
        let draft = stored.draft(zone, None)?;
        let (places, slot_len) = stored.places();
        let number_of = Numbering::of(&draft);
        let wanted = number_of.count * slot_len;
        if slots.len() != wanted || slot_len == 0 {
            return Err(RestoreError::Length { found: slots.len(), wanted });
        }
        let slot_of = |task: &SignTask, _: &[u8]| {
            let number = number_of.number(task);
            (number, slots.get(number * slot_len..(number + 1) * slot_len))
        };
        stored.fill(draft, (places, slot_len), slot_of, times)
    }

    /// The zone of the version that followed this one by `changes`.
    pub(crate) fn changed_zone(&self, changes: &StoredChanges) -> Result<Arc<Zone>, RestoreError> {
        let mut names: Vec<NameChange> = changes.names.values().cloned().collect();
        names.sort_by(|a, b| keystore::dns::name::canonical_cmp(&a.owner, &b.owner));
        let zone = match names.is_empty() {
            true => Arc::clone(&self.zone),
            false => Arc::new(self.zone.changed(&ContentChange { names })),
        };
        let soa = zone.find(NodeId::APEX, Rtype::SOA).map(|id| Records(zone.rrset(id).data).count());
        if soa == Some(1) { Ok(zone) } else { Err(RestoreError::Soa) }
    }

    /// Makes the version again that followed this one by `changes`. Errors as with [`Self::restore`].
    pub(crate) fn advance(
        &self,
        changes: &StoredChanges,
        stored: &StoredVersion<'_>,
        times: RestoreTimes,
    ) -> Result<Self, RestoreError> {
        let zone = self.changed_zone(changes)?;
        let (places, slot_len) = stored.places();
        if slot_len != self.slot_len || slot_len == 0 {
            return Err(RestoreError::Length { found: slot_len, wanted: self.slot_len });
        }
        let mut draft = stored.draft(&zone, Some(self))?;
        draft.scope.extend(changes.slots.keys().filter_map(|(owner, _)| Some(zone.lookup(owner)?.block())));
        draft.scope.sort_unstable();
        draft.scope.dedup();
        let place_refs: Vec<&KeySlot> = places.iter().collect();
        let reuse = Reuse::new(self, &zone, &place_refs, &[]);
        let shared = Arc::clone(&draft.zone);
        let kind = draft.chain.chain.rtype();
        let views = draft.viewer();
        let slot_of = |task: &SignTask, head: &[u8]| {
            let view = views.view(task, head);
            let rtype = match task.subject {
                SignSubject::Rrset(_) => view.rtype,
                SignSubject::Denial(_) => kind,
            };
            let at = (shared.owner(task.node).to_ascii_lowercase().into_boxed_slice(), rtype);
            let slot = changes.slots.get(&at).map(|slot| &**slot);
            (task.slot as usize, slot.or_else(|| reuse.of(task, &view)))
        };
        let mut signed = stored.fill(draft, (places, slot_len), slot_of, times)?;
        // Nobody has checked the versions in between.
        signed.renewed = None;
        Ok(signed)
    }
}

/// The numbers of the slots in the order in which they are stored.
struct Numbering {
    /// For each node, by its position, the number of its first slot, and that of its denial record.
    rrsets: Vec<usize>,
    denials: Vec<usize>,
    count: usize,
}

impl Numbering {
    fn of(draft: &Draft<'_>) -> Self {
        let zone = &draft.zone;
        let places = zone.block_count() * crate::zone::NODES;
        let mut numbers = Self { rrsets: vec![0; places], denials: vec![0; places], count: 0 };
        for node in zone.node_ids() {
            numbers.rrsets[node.position()] = numbers.count;
            numbers.count += zone.rrsets_of(node).filter(|id| draft::is_signed(zone, *id)).count();
        }
        let mut number = |node: NodeId| {
            numbers.denials[node.position()] = numbers.count;
            numbers.count += 1;
        };
        match &draft.chain.chain {
            Chain::Nothing | Chain::Nsec => {
                zone.node_ids()
                    .filter(|node| draft.chain.at(*node) != Planned::Nothing)
                    .for_each(&mut number);
            }
            Chain::Nsec3(chain) => chain.members_from(0).for_each(&mut number),
        }
        numbers
    }

    fn number(&self, task: &SignTask) -> usize {
        match task.subject {
            // At a delegation DS is the only one that is signed.
            SignSubject::Rrset(_) => self.rrsets[task.node.position()] + task.number as usize,
            SignSubject::Denial(_) => self.denials[task.node.position()],
        }
    }
}

impl StoredVersion<'_> {
    fn draft<'a>(&self, zone: &Arc<Zone>, base: Option<&'a SignedZone>) -> Result<Draft<'a>, RestoreError> {
        let made_at_apex = self.made_at_apex.iter().map(|set| ApexRrset {
            rtype: set.rtype,
            ttl: set.ttl,
            data: set.data.clone(),
            signatures: set.signatures.clone(),
        });
        let base = base.map(|base| (base, None));
        Draft::new(zone, self.bundle, made_at_apex.collect(), self.denial, self.serial, base)
            .map_err(|HashCollision(..)| RestoreError::Denial)
    }

    /// The places of the keys in a slot, and its octets.
    fn places(&self) -> (Vec<KeySlot>, usize) {
        let mut slot_len = 0;
        let mut places = Vec::with_capacity(self.keys.len());
        for SigningKeyInfo { dnskey, rrsig_len } in self.keys {
            let len = usize::from(*rrsig_len);
            places.push(KeySlot { dnskey: dnskey.clone(), tag: dnskey.tag(), offset: slot_len, len });
            slot_len += 2 + len;
        }
        (places, slot_len)
    }

    /// The version of `draft` with the slots that `slot_of` gives, each with its number.
    fn fill<'s>(
        &self,
        draft: Draft<'_>,
        (places, slot_len): (Vec<KeySlot>, usize),
        slot_of: impl Fn(&SignTask, &[u8]) -> (usize, Option<&'s [u8]>),
        RestoreTimes { refresh, now }: RestoreTimes,
    ) -> Result<SignedZone, RestoreError> {
        let zone = Arc::clone(&draft.zone);
        let reused = |expiration: Timestamp| Tally::reused(expiration, expiration.minus(u64::from(refresh)));
        let viewer = draft.viewer();
        let mut blocks = draft.blocks(slot_len);
        let mut failed: Option<usize> = None;
        for block in &mut blocks {
            let mut tally = Tally::NOTHING;
            block.each(
                |task, _, head, slot| {
                    let (number, stored) = slot_of(task, head);
                    let rtype = viewer.view(task, head).rtype;
                    for place in &places {
                        let octets = stored.and_then(|stored| stored.get(place.offset..));
                        let expiration =
                            octets.and_then(|octets| expiration_of(octets, place.len, rtype, now));
                        match expiration {
                            Some(expiration) => tally = tally.and(reused(expiration)),
                            None => failed = Some(failed.map_or(number, |first| first.min(number))),
                        }
                    }
                    if let Some(stored) = stored.filter(|stored| stored.len() == slot.len()) {
                        slot.copy_from_slice(stored);
                    }
                },
                slot_len,
            );
            block.facts = block.facts.with_times(&tally);
        }
        if let Some(number) = failed {
            return Err(RestoreError::Slot(number));
        }
        let mut at_apex = Tally::NOTHING;
        for set in self.made_at_apex {
            for rrsig in Records(&set.signatures) {
                let (_, expiration) = plan::times(rrsig, now).ok_or(RestoreError::Denial)?;
                at_apex = at_apex.and(reused(expiration));
            }
        }
        let times = SigningTimes { validity: 0, refresh, jitter: 0 };
        let basis = Basis { times, retiring: Vec::new(), made_at: Timestamp::MAX };
        let mut restored = draft.finish(self.bundle, (places, slot_len), blocks, basis, now);
        if restored.denial_checksum() != self.denial_checksum {
            return Err(RestoreError::Denial);
        }
        restored.tally = restored.tally_without(&[]).and(at_apex);
        let verifier = Verifier::of(&restored);
        for view in restored.rrsets(NodeId::APEX) {
            if view.rtype == Rtype::SOA || restored.apex.iter().any(|set| set.rtype == view.rtype) {
                if view.signatures.is_empty() {
                    let (owner, rtype) = (zone.origin().clone(), view.rtype);
                    return Err(CheckError::Missing { owner, rtype, found: 0, wanted: 1 }.into());
                }
                restored.verify(zone.origin().as_wire(), &view, &verifier, None)?;
            }
        }
        Ok(restored)
    }
}

/// The expiration of the RRSIG over `rtype` that `octets` begin with, its length in front; `None` when there is another RRSIG.
fn expiration_of(octets: &[u8], len: usize, rtype: Rtype, now: Timestamp) -> Option<Timestamp> {
    let (head, rdata) = octets.split_first_chunk::<2>()?;
    let rdata = rdata.get(..len).filter(|_| usize::from(u16::from_be_bytes(*head)) == len)?;
    if rdata.get(..2)? != rtype.0.to_be_bytes() {
        return None;
    }
    plan::times(rdata, now).map(|(_, expiration)| expiration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::{Nsec3, SigningPolicy, sign};
    use crate::testing::{NOW, POLICY, bundle, keys, zone};

    fn text(zone: &SignedZone) -> String {
        let mut out = Vec::new();
        zone.write_to(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_version_is_made_again_octet_for_octet_and_other_parts_are_refused() {
        let (ksk, zsk) = keys();
        let text_of = |address: u8| {
            format!("@ SOA ns admin 7 1h 5m 1w 10m\n@ NS ns\nns A 192.0.2.{address}\nsub NS ns\n*.w TXT a\n")
        };
        let zone_of = |text: &str| Arc::new(zone("example", text).unwrap());
        let first = zone_of(&text_of(1));
        let bundle = bundle(first.origin(), ksk, &[zsk], NOW, 30 * 86_400);
        let mut rounds = 0;
        for denial in [Denial::Nsec, Denial::Nsec3(Nsec3::new(2, true).with_salt([7, 9].into()))] {
            rounds += 1;
            let policy = SigningPolicy { denial: denial.clone(), ..POLICY };
            let signed = sign(&first, &bundle, std::slice::from_ref(zsk), &policy, 12, None, NOW).unwrap();
            let (keys, made) = (signed.signing_keys().collect::<Vec<_>>(), signed.made_at_apex());
            assert_eq!(made.len(), usize::from(denial != Denial::Nsec));
            let times = RestoreTimes { refresh: POLICY.times.refresh, now: NOW.plus(40 * 86_400) };
            let again = |zone: &Arc<Zone>, slots: &[u8]| {
                let stored = StoredVersion {
                    serial: 12,
                    bundle: &bundle,
                    denial: &denial,
                    made_at_apex: &made,
                    keys: &keys,
                    denial_checksum: signed.denial_checksum(),
                };
                SignedZone::restore(zone, &stored, slots, times)
            };
            let slots = &signed.slots().flatten().copied().collect::<Vec<u8>>()[..];
            let restored = again(&zone_of(&text_of(1)), slots).unwrap();
            assert_eq!(text(&restored), text(&signed));
            assert_eq!(
                (restored.next_refresh(), restored.earliest_zsk_expiration(), restored.serial()),
                (signed.next_refresh(), signed.earliest_zsk_expiration(), 12)
            );
            restored.self_check(NOW, usize::MAX).unwrap();

            let more = zone_of(&(text_of(1) + "more A 192.0.2.7\n"));
            assert!(matches!(again(&more, slots).unwrap_err(), RestoreError::Length { .. }));
            let other = zone_of(&text_of(1).replace("*.w", "*.v"));
            assert_eq!(again(&other, slots).unwrap_err(), RestoreError::Denial);
            // A version whose DNSKEY RRset nobody signed.
            let mut unsigned = bundle.clone();
            unsigned.signatures.retain(|signature| signature.covered != Rtype::DNSKEY);
            let stored = StoredVersion {
                serial: 12,
                bundle: &unsigned,
                denial: &denial,
                made_at_apex: &made,
                keys: &keys,
                denial_checksum: signed.denial_checksum(),
            };
            let outcome = SignedZone::restore(&first, &stored, slots, times);
            assert!(matches!(
                outcome,
                Err(RestoreError::Apex(CheckError::Missing { rtype: Rtype::DNSKEY, .. }))
            ));
            let one_less = &slots[signed.slot_len()..];
            let error = again(&first, one_less).unwrap_err();
            assert!(matches!(error, RestoreError::Length { .. }), "{error}");
            // Slots of two RRsets change places.
            let mut mixed = slots.to_vec();
            mixed.rotate_left(signed.slot_len());
            assert_eq!(again(&first, &mixed).unwrap_err(), RestoreError::Slot(0));
            // The very last octet of the signature over the first RRset, the NS or SOA of the apex.
            for slot in 0..2 {
                let mut damaged = slots.to_vec();
                damaged[(slot + 1) * signed.slot_len() - 1] ^= 1;
                let outcome = again(&first, &damaged);
                let is_soa = damaged[slot * signed.slot_len() + 3] == 6;
                assert_eq!(matches!(outcome, Err(RestoreError::Apex(_))), is_soa, "{slot}");
            }
        }
        assert_eq!(rounds, 2);
    }
}
