//! The check of a version that follows on others which were checked: what these found right is not computed again.
//!
//! What was found right by a fault does not stay so: each version also computes the signatures of [`IN_TURN`] RRsets anew, the next ones in the
//! zone, so that all are computed again in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keystore::time::Timestamp;
use rayon::prelude::*;

use super::check::inception_of_made;
use super::denial::OwnerBuf;
use super::verifier::{FoundRight, Verifier};
use super::{CheckError, SignedZone, draft};
use crate::zone::NodeId;

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
        let verifier = Verifier::remembering(self, is_small.then_some(&*checks.memory));
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
}
