//! A signed zone as the state on disk keeps it, and made again from that without a private key.
//!
//! What is kept are the signatures in the order of their slots. That order and the denial records follow from the zone, the bundle and the
//! kind of denial, so a digest tells whether they are still what the signatures were made for.

use std::sync::Arc;

use keystore::crypto::Sha256;
use keystore::dns::Rtype;
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use super::apex::{self, ApexRrset};
use super::denial::{Chain, Collision};
use super::make::Tally;
use super::plan;
use super::slots::{KeySlot, Subject};
use super::{CheckError, Denial, Draft, Signatures, SignedZone};
use crate::zone::{NodeId, Records, Zone};

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
    /// SHA-256 over the denial records.
    pub denial_digest: [u8; 32],
}

/// Why a version cannot be made again from its parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RestoreError {
    /// The zone or this program's idea of its denial records is not what the signatures were made for.
    #[error(
        "its denial records are not those that this program makes; another version of it wrote the state"
    )]
    Denial,
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
    /// The signatures made here, in the order of the slots.
    pub(crate) fn signature_octets(&self) -> &[u8] {
        &self.slots
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

    /// SHA-256 over the denial records.
    pub(crate) fn denial_digest(&self) -> [u8; 32] {
        digest(&self.chain)
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

    /// Makes the version again that had these parts. `refresh` is the remaining validity in seconds at which signatures are renewed.
    ///
    /// Nothing is signed. The signatures over the SOA and the apex key RRsets are verified, whether they are in time or not; each of these
    /// RRsets must have one. Whose key signed the DNSKEY RRset is for the caller to judge.
    pub(crate) fn restore(
        zone: &Arc<Zone>,
        stored: &StoredVersion<'_>,
        slots: Vec<u8>,
        refresh: u32,
        now: Timestamp,
    ) -> Result<Self, RestoreError> {
        let made_at_apex = stored.made_at_apex.iter().map(|set| ApexRrset {
            rtype: set.rtype,
            ttl: set.ttl,
            data: set.data.clone(),
            signatures: set.signatures.clone(),
        });
        let draft = Draft::new(zone, stored.bundle, made_at_apex.collect(), stored.denial, stored.serial)
            .map_err(|Collision(..)| RestoreError::Denial)?;
        if digest(&draft.chain) != stored.denial_digest {
            return Err(RestoreError::Denial);
        }
        let mut slot_len = 0;
        let mut places = Vec::with_capacity(stored.keys.len());
        for SigningKeyInfo { dnskey, rrsig_len } in stored.keys {
            let len = usize::from(*rrsig_len);
            places.push(KeySlot { dnskey: dnskey.clone(), tag: dnskey.tag(), offset: slot_len, len });
            slot_len += 2 + len;
        }
        let wanted = draft.tasks.len() * slot_len;
        if slots.len() != wanted || slot_len == 0 {
            return Err(RestoreError::Length { found: slots.len(), wanted });
        }
        let mut tally = Tally::NOTHING;
        for (number, (task, slot)) in draft.tasks.iter().zip(slots.chunks_exact(slot_len)).enumerate() {
            let rtype = match task.subject {
                Subject::Rrset(id) => zone.rrset(id).rtype,
                Subject::Denial(_) => draft.chain.rtype(),
            };
            for place in &places {
                let expiration = expiration_of(&slot[place.offset..], place.len, rtype, now)
                    .ok_or(RestoreError::Slot(number))?;
                tally = tally.and(Tally::reused(expiration, expiration.minus(u64::from(refresh))));
            }
        }
        for set in stored.made_at_apex {
            for rrsig in Records(&set.signatures) {
                let (_, expiration) = plan::times(rrsig, now).ok_or(RestoreError::Denial)?;
                tally = tally.and(Tally::reused(expiration, expiration.minus(u64::from(refresh))));
            }
        }
        let signatures = Signatures { keys: places, slots, slot_len };
        let restored = draft.finish(stored.bundle, signatures, tally, now);
        for view in restored.rrsets(NodeId::APEX) {
            if view.rtype == Rtype::SOA || restored.apex.iter().any(|set| set.rtype == view.rtype) {
                if view.signatures.is_empty() {
                    let (owner, rtype) = (zone.origin().clone(), view.rtype);
                    return Err(CheckError::Missing { owner, rtype, found: 0, wanted: 1 }.into());
                }
                restored.verify(zone.origin().as_wire(), view)?;
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

fn digest(chain: &Chain) -> [u8; 32] {
    let mut digest = Sha256::default();
    for (link, _) in chain.iter() {
        digest.update(chain.data(link));
    }
    digest.finish()
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
            let later = NOW.plus(40 * 86_400);
            let again = |zone: &Arc<Zone>, slots: &[u8]| {
                let stored = StoredVersion {
                    serial: 12,
                    bundle: &bundle,
                    denial: &denial,
                    made_at_apex: &made,
                    keys: &keys,
                    denial_digest: signed.denial_digest(),
                };
                SignedZone::restore(zone, &stored, slots.to_vec(), POLICY.times.refresh, later)
            };
            let slots = signed.signature_octets();
            let restored = again(&zone_of(&text_of(1)), slots).unwrap();
            assert_eq!(text(&restored), text(&signed));
            assert_eq!(
                (restored.next_refresh(), restored.earliest_zsk_expiration(), restored.serial()),
                (signed.next_refresh(), signed.earliest_zsk_expiration(), 12)
            );
            restored.self_check(NOW, usize::MAX).unwrap();

            let more = zone_of(&(text_of(1) + "more A 192.0.2.7\n"));
            assert_eq!(again(&more, slots).unwrap_err(), RestoreError::Denial);
            // A version whose DNSKEY RRset nobody signed.
            let mut unsigned = bundle.clone();
            unsigned.signatures.retain(|signature| signature.covered != Rtype::DNSKEY);
            let stored = StoredVersion {
                serial: 12,
                bundle: &unsigned,
                denial: &denial,
                made_at_apex: &made,
                keys: &keys,
                denial_digest: signed.denial_digest(),
            };
            let outcome = SignedZone::restore(&first, &stored, slots.to_vec(), POLICY.times.refresh, later);
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
