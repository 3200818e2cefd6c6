//! Verifies the signatures of a version, and remembers which were found right, so that the next version need not compute them again.
//!
//! Whether a signature is right depends on nothing but the key, the RRset and the RRSIG, and a version has nearly all of the signatures of the
//! version before. What is remembered of one that was found right is 16 octets of SHA-256 over all three. The hash is made anew of the octets
//! that are to be served: a signature that was damaged or mixed up since has another one, and is computed.
//!
//! What was found right by a fault does not stay so: each version also computes the signatures of [`IN_TURN`] RRsets anew, the next ones in the
//! zone, so that all are computed again in time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use keystore::crypto::Sha256;
use keystore::dns::{Rrsig, Rtype, rrsig};
use keystore::keys::Dnskey;
use keystore::time::Timestamp;
use rayon::prelude::*;

use super::check::inception_of_made;
use super::denial::OwnerBuf;
use super::{CheckError, RrsetView, SignedZone, draft};
use crate::zone::{NodeId, Records};

/// Hashes that are remembered for all zones of a signer: 1 MiB. Those that were not seen for the longest time are forgotten.
const REMEMBERED: usize = 1 << 16;
/// Hashes among which one is looked for: they share a line of memory.
const LINE: usize = 4;
/// Parts with a lock each, so that threads hardly wait for each other.
const PARTS: usize = 64;
/// Signatures that a version may have made if it is to use the memory: a large one would drive out what other zones need.
const MOST_MADE: usize = 4096;
/// RRsets whose signatures each version computes in any case.
const IN_TURN: usize = 32;

/// What the checks of the versions of one zone go on from.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    memory: Arc<FoundRight>,
    /// The number of the signed RRset that is computed next.
    next: AtomicUsize,
}

impl Checks {
    /// Checks that share the memory of other zones.
    pub fn sharing(memory: Arc<FoundRight>) -> Self {
        Self { memory, next: AtomicUsize::new(0) }
    }
}

impl SignedZone {
    /// [`Self::self_check`], or [`Self::self_check_made`] where `all` that was made is to be verified, of the version that follows on those
    /// that were checked before: what these found right is not computed again, but for [`IN_TURN`] RRsets.
    pub(crate) fn self_check_next(
        &self,
        now: Timestamp,
        samples: usize,
        all: bool,
        checks: &Checks,
    ) -> Result<(), CheckError> {
        let is_small = self.renewed.is_some() && self.signatures_made() <= MOST_MADE;
        let verifier = Verifier { memory: is_small.then_some(&*checks.memory), ..Verifier::of(self) };
        if all {
            self.verify_made_by(&verifier, now)?;
        }
        self.check(now, samples, &verifier, all.then(|| inception_of_made(now)))?;
        // After a failure the same ones are computed again.
        let next = self.compute_in_turn(checks.next.load(Ordering::Relaxed))?;
        checks.next.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// Computes the signatures of [`IN_TURN`] RRsets from this number on; gives the number of the one behind them.
    fn compute_in_turn(&self, next: usize) -> Result<usize, CheckError> {
        let count = self.slot_count();
        if count == 0 {
            return Ok(0);
        }
        let (verifier, first, some) = (Verifier::of(self), next % count, IN_TURN.min(count));
        (0..some).into_par_iter().with_min_len(8).try_for_each(|at| {
            let Some((node, number)) = self.node_of_slot((first + at) % count) else { return Ok(()) };
            let is_signed = |id: &_| draft::is_signed(&self.zone, *id);
            if let Some(id) = self.zone.rrsets_of(node).filter(is_signed).nth(number) {
                return self.verify(self.zone.owner(node), &self.view(id), &verifier, None);
            }
            let mut room = OwnerBuf::new();
            self.verify(self.denial_owner(node, &mut room), &self.denial(node), &verifier, None)
        })?;
        Ok((first + some) % count)
    }

    /// The node that has the slot with this number, in the order of the blocks, and the number of the slot among its own.
    fn node_of_slot(&self, number: usize) -> Option<(NodeId, usize)> {
        let mut left = number;
        let mut is_elsewhere = |own: usize| {
            let is_here = left < own;
            left -= if is_here { 0 } else { own };
            !is_here
        };
        let block = self.facts.iter().position(|facts| !is_elsewhere(facts.slots as usize))?;
        let own = |node: &NodeId| self.at(*node).signed as usize + usize::from(self.at(*node).is_member());
        let node = self.zone.block_nodes(block).find(|node| !is_elsewhere(own(node)))?;
        Some((node, left))
    }
}

/// The keys that the signatures of a version are verified with, by tag: those of the DNSKEY RRset that is served.
pub(super) struct Verifier<'a> {
    keys: Vec<(u16, Dnskey)>,
    memory: Option<&'a FoundRight>,
}

impl Verifier<'_> {
    /// Computes each signature.
    pub fn of(version: &SignedZone) -> Self {
        let dnskeys = version.find(NodeId::APEX, Rtype::DNSKEY).map_or(&[][..], |view| view.data);
        let keys = Records(dnskeys).filter_map(Dnskey::from_rdata);
        Self { keys: keys.map(|key| (key.tag(), key)).collect(), memory: None }
    }

    /// True when the RRSIG `rdata` is a right signature over an RRset, whatever its times, or has the hash of one that was found right.
    pub fn is_right(&self, owner: &[u8], view: &RrsetView<'_>, rdata: &[u8]) -> bool {
        let [_, _, algorithm, .., high, low] = rdata.first_chunk::<18>().copied().unwrap_or_default();
        let tag = u16::from_be_bytes([high, low]);
        let mut candidates = self.keys.iter().filter(|(of, key)| *of == tag && key.algorithm.0 == algorithm);
        candidates.any(|(_, key)| {
            let Some(memory) = self.memory else { return verifies(key, owner, view, rdata) };
            let hash = hash(key, owner, view, rdata);
            let is_right = memory.has(hash) || verifies(key, owner, view, rdata);
            if is_right {
                memory.note(hash);
            }
            is_right
        })
    }
}

fn verifies(key: &Dnskey, owner: &[u8], view: &RrsetView<'_>, rdata: &[u8]) -> bool {
    let (Ok(rrsig), Some(rrset)) = (Rrsig::from_rdata(rdata), view.to_rrset(owner)) else { return false };
    rrsig::verify_raw(&rrset, &key.public_key, &rrsig).is_ok()
}

/// A hash of all that decides whether a signature is right.
fn hash(key: &Dnskey, owner: &[u8], view: &RrsetView<'_>, rdata: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::default();
    for part in [&key.public_key, owner, view.data, rdata] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(&[key.algorithm.0]);
    hash.update(&view.rtype.0.to_be_bytes());
    hash.finish()
}

/// The signatures that were found right, by their hashes; made when it is first used.
#[derive(Debug)]
pub(crate) struct FoundRight([Mutex<Vec<u128>>; PARTS]);

impl Default for FoundRight {
    fn default() -> Self {
        Self([const { Mutex::new(Vec::new()) }; PARTS])
    }
}

impl FoundRight {
    fn has(&self, hash: [u8; 32]) -> bool {
        self.with_line(hash, |line, hash| line.contains(&hash))
    }

    /// Remembers a hash; one that was there is forgotten last.
    fn note(&self, hash: [u8; 32]) {
        self.with_line(hash, |line, hash| {
            let place = line.iter().position(|other| *other == hash).unwrap_or(LINE - 1);
            line[..=place].rotate_right(1);
            line[0] = hash;
        });
    }

    fn with_line<T>(&self, hash: [u8; 32], look: impl FnOnce(&mut [u128], u128) -> T) -> T {
        let [place, hash] =
            [0, 16].map(|from| u128::from_be_bytes(std::array::from_fn(|octet| hash[from + octet])));
        let part = &self.0[(place % PARTS as u128) as usize];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if part.is_empty() {
            *part = vec![0; REMEMBERED / PARTS];
        }
        let lines = (part.len() / LINE) as u128;
        let from = (place / PARTS as u128 % lines) as usize * LINE;
        // 0 stands where nothing is.
        look(&mut part[from..from + LINE], hash.max(1))
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        let part = |part: &Mutex<Vec<u128>>| part.lock().unwrap().iter().filter(|hash| **hash != 0).count();
        self.0.iter().map(part).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::sign;
    use crate::testing::{DAY, NOW, POLICY, bundle, keys, signed, zone};

    fn of_hosts(hosts: usize) -> SignedZone {
        let hosts: String = (0..hosts).map(|n| format!("h{n} A 192.0.2.1\n")).collect();
        signed(
            zone("example", &format!("@ SOA ns admin 7 1h 5m 1w 10m\n@ NS ns\nns A 192.0.2.1\n{hosts}"))
                .unwrap(),
        )
    }

    /// The version behind, of the same content.
    fn after(before: &SignedZone) -> SignedZone {
        let (ksk, zsk) = keys();
        let bundle = bundle(before.zone().origin(), ksk, &[zsk], NOW, 30 * DAY);
        let zsk = std::slice::from_ref(zsk);
        sign(before.zone(), &bundle, zsk, &POLICY, before.serial() + 1, Some(before), NOW.plus(9)).unwrap()
    }

    #[test]
    fn a_signature_that_was_found_right_is_not_taken_for_one_with_another_octet_anywhere() {
        let signed = of_hosts(0);
        let view = signed.soa();
        let rdata = Records(view.signatures).next().unwrap();
        let owner = signed.zone().origin().as_wire();
        let memory = FoundRight::default();
        let verifier = Verifier { memory: Some(&memory), ..Verifier::of(&signed) };
        for _ in 0..2 {
            assert!(verifier.is_right(owner, &view, rdata));
            assert_eq!(memory.count(), 1);
        }
        let changed = |octets: &[u8], at: usize| {
            let mut octets = octets.to_vec();
            octets[at] ^= 1;
            octets
        };
        for _ in 0..2 {
            for at in 0..rdata.len() {
                assert!(!verifier.is_right(owner, &view, &changed(rdata, at)), "RRSIG, {at}");
            }
            for at in 2..view.data.len() {
                let data = changed(view.data, at);
                assert!(!verifier.is_right(owner, &RrsetView { data: &data, ..view }, rdata), "record, {at}");
            }
            assert!(!verifier.is_right(&changed(owner, 1), &view, rdata));
            assert!(!verifier.is_right(owner, &RrsetView { rtype: Rtype::TXT, ..view }, rdata));
            let other = verifier.keys.iter().map(|(tag, key)| {
                let public_key = changed(&key.public_key, 40);
                (*tag, Dnskey { public_key, ..key.clone() })
            });
            let other = Verifier { keys: other.collect(), memory: Some(&memory) };
            assert!(!other.is_right(owner, &view, rdata), "another key with the same tag");
        }
    }

    #[test]
    fn a_signature_that_is_damaged_anywhere_is_found_before_all_were_computed_in_turn() {
        let mut version = after(&of_hosts(200));
        let slots = version.slot_count();
        for slot in [0, 1, 40, slots / 2, slots - 2, slots - 1] {
            let checks = Checks::default();
            version.self_check_next(NOW.plus(9), 0, false, &checks).unwrap();
            version.corrupt_slot(slot, 7);
            let failed = (1..=slots.div_ceil(IN_TURN))
                .find_map(|_| version.self_check_next(NOW.plus(9), 0, false, &checks).err());
            assert!(matches!(failed, Some(CheckError::Invalid { .. })), "{slot}: {failed:?}");
            let again = version.self_check_next(NOW.plus(9), 0, false, &checks);
            assert_eq!(again.err(), failed, "it stays so");
            version.corrupt_slot(slot, 7);
            version.self_check_next(NOW.plus(9), 0, false, &checks).unwrap();
        }
    }

    #[test]
    fn what_is_damaged_among_the_samples_is_found_at_once_although_it_was_found_right_before() {
        let mut version = after(&of_hosts(200));
        let checks = Checks::default();
        version.self_check_next(NOW.plus(9), 256, true, &checks).unwrap();
        let remembered = checks.memory.count();
        assert!(remembered > 64, "{remembered}");
        // Of the block that was made for the version, behind those that are computed in turn.
        for slot in [70, 90, 100] {
            let checks = Checks::sharing(Arc::clone(&checks.memory));
            version.corrupt_slot(slot, 7);
            let error = version.self_check_next(NOW.plus(9), 256, true, &checks).unwrap_err();
            assert!(matches!(error, CheckError::Invalid { .. }), "{error}");
            version.corrupt_slot(slot, 7);
            version.self_check_next(NOW.plus(9), 256, true, &checks).unwrap();
        }
        assert_eq!(checks.memory.count(), remembered, "what is wrong is not remembered");
    }

    #[test]
    fn a_zone_that_is_signed_whole_drives_out_nothing_of_others() {
        let checks = Checks::default();
        let first = of_hosts(200);
        first.self_check_next(NOW, 256, true, &checks).unwrap();
        assert_eq!(checks.memory.count(), 0);
        after(&first).self_check_next(NOW.plus(9), 256, true, &checks).unwrap();
        assert!(checks.memory.count() > 0);
    }

    #[test]
    fn the_hashes_that_were_seen_last_are_remembered() {
        let found = FoundRight::default();
        // All of one line.
        let of = |number: u128| {
            let mut hash = [0; 32];
            hash[16..].copy_from_slice(&number.to_be_bytes());
            hash
        };
        assert!(!found.has(of(1)) && !found.has(of(0)), "nothing was noted");
        (1..=4).for_each(|number| found.note(of(number)));
        assert!((1..=4).all(|number| found.has(of(number))));
        found.note(of(1));
        found.note(of(100));
        let left: Vec<u128> = (1..=100).filter(|number| found.has(of(*number))).collect();
        assert_eq!(left, [1, 3, 4, 100], "2 was not seen for the longest time");
        let mut elsewhere = of(3);
        elsewhere[15] = 1;
        assert!(!found.has(elsewhere));
    }
}
