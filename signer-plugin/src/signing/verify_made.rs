//! Verifies every signature that was made for a version, before it is served: zones were published with thousands of wrong signatures that
//! one look at each would have shown (.se in 2022, .de in 2026).

use keystore::time::Timestamp;
use rayon::prelude::*;

use super::check::{FEW, has_inception, inception_of_made};
use super::denial::OwnerBuf;
use super::verifier::Verifier;
use super::{CheckError, RrsetView, SignedZone};
use crate::zone::{NodeId, Records};

impl SignedZone {
    /// Verifies all signatures that were made at `now` and for this version, on all cores, with the keys of the DNSKEY RRset that is served.
    pub fn verify_made(&self, now: Timestamp) -> Result<(), CheckError> {
        self.verify_made_by(&Verifier::of(self), now)
    }

    pub(super) fn verify_made_by(&self, verifier: &Verifier<'_>, now: Timestamp) -> Result<(), CheckError> {
        let inception = inception_of_made(now);
        let nodes: Vec<NodeId> = self.renewed_nodes().collect();
        nodes.into_par_iter().with_min_len(FEW).try_for_each(|node| {
            for view in self.rrsets(node) {
                self.verify_new(self.zone.owner(node), &view, verifier, inception)?;
            }
            if !self.is_member(node) {
                return Ok(());
            }
            let mut room = OwnerBuf::new();
            self.verify_new(self.denial_owner(node, &mut room), &self.denial(node), verifier, inception)
        })
    }

    fn verify_new(
        &self,
        owner: &[u8],
        view: &RrsetView<'_>,
        verifier: &Verifier<'_>,
        inception: [u8; 4],
    ) -> Result<(), CheckError> {
        let mut new = Records(view.signatures).filter(|rdata| has_inception(rdata, Some(inception)));
        let wrong = new.find(|rdata| !verifier.is_right(owner, view, rdata));
        wrong.map_or(Ok(()), |rdata| Err(self.invalid(owner, view, rdata)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::{Denial, Nsec3, SigningPolicy, sign};
    use crate::testing::{DAY, NOW, POLICY, bundle, keys, signed_by, zone};

    #[test]
    fn one_wrong_signature_of_hundreds_is_found_wherever_it_is_and_old_ones_are_not_looked_at() {
        let hosts: String = (0..200).map(|n| format!("h{n} A 192.0.2.1\n")).collect();
        let text = format!("@ SOA ns admin 7 1h 5m 1w 10m\n@ NS ns\nns A 192.0.2.1\n*.w TXT a\n{hosts}");
        for denial in [Denial::Nsec, Denial::Nsec3(Nsec3::new(0, false))] {
            let policy = SigningPolicy { denial, ..POLICY };
            let mut signed = signed_by(zone("example", &text).unwrap(), &policy).unwrap();
            signed.verify_made(NOW).unwrap();
            let slots = signed.slot_count();
            for slot in [0, 1, slots / 3, slots / 2, slots - 1] {
                signed.corrupt_slot(slot, 7);
                let error = signed.verify_made(NOW).unwrap_err();
                assert_eq!(signed.self_check_made(NOW, 0).unwrap_err(), error);
                assert!(matches!(error, CheckError::Invalid { .. }), "{error}");
                // They are not of this time: it is another version that has to answer for them.
                signed.verify_made(NOW.plus(1)).unwrap();
                signed.corrupt_slot(slot, 7);
            }
            // The next version takes all but the SOA over.
            let (ksk, zsk) = keys();
            signed.corrupt_slot(slots - 1, 7);
            let zone = std::sync::Arc::clone(signed.zone());
            let bundle = bundle(zone.origin(), ksk, &[zsk], NOW, 30 * DAY);
            let zsk = std::slice::from_ref(zsk);
            let next = sign(&zone, &bundle, zsk, &policy, 8, Some(&signed), NOW.plus(9)).unwrap();
            next.verify_made(NOW.plus(9)).unwrap();
            // The block that they share belongs to the version that was checked when it was made.
            next.self_check(NOW.plus(9), usize::MAX).unwrap();
            assert!(signed.self_check(NOW.plus(9), usize::MAX).is_err());
            assert!(
                signed.self_check_made(NOW.plus(9), usize::MAX).is_err(),
                "samples are of what was taken over"
            );
        }
    }
}
