//! Verifies the signatures of a version, and remembers which were found right, so that the next version need not compute them again.
//!
//! Whether a signature is right depends on nothing but the key, the RRset and the RRSIG, and a version has nearly all of the signatures of the
//! version before. What is remembered of one that was found right is 16 octets of SHA-256 over all three. The hash is made anew of the octets
//! that are to be served: a signature that was damaged or mixed up since has another one, and is computed.

use std::sync::{Mutex, PoisonError};

use keystore::crypto::Sha256;
use keystore::dns::{Rrsig, Rtype, rrsig};
use keystore::keys::Dnskey;

use super::{RrsetView, SignedZone};
use crate::zone::{NodeId, Records};

/// Hashes that are remembered for all zones of a signer: 1 MiB. Those that were not seen for the longest time are forgotten.
const REMEMBERED: usize = 1 << 16;
/// Hashes among which one is looked for: they share a line of memory.
const LINE: usize = 4;
/// Parts with a lock each, so that threads hardly wait for each other.
const PARTS: usize = 64;

/// The keys that the signatures of a version are verified with, by tag: those of the DNSKEY RRset that is served.
pub(super) struct Verifier<'a> {
    keys: Vec<(u16, Dnskey)>,
    memory: Option<&'a FoundRight>,
}

impl<'a> Verifier<'a> {
    /// Computes each signature.
    pub fn of(version: &SignedZone) -> Self {
        Self::remembering(version, None)
    }

    /// Computes those that `memory` does not have, where there is one.
    pub fn remembering(version: &SignedZone, memory: Option<&'a FoundRight>) -> Self {
        let dnskeys = version.find(NodeId::APEX, Rtype::DNSKEY).map_or(&[][..], |view| view.data);
        let keys = Records(dnskeys).filter_map(Dnskey::from_rdata);
        Self { keys: keys.map(|key| (key.tag(), key)).collect(), memory }
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
    pub fn count(&self) -> usize {
        let part = |part: &Mutex<Vec<u128>>| part.lock().unwrap().iter().filter(|hash| **hash != 0).count();
        self.0.iter().map(part).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{signed, zone};

    #[test]
    fn a_signature_that_was_found_right_is_not_taken_for_one_with_another_octet_anywhere() {
        let signed =
            signed(zone("example", "@ SOA ns admin 7 1h 5m 1w 10m\n@ NS ns\nns A 192.0.2.1\n").unwrap());
        let view = signed.soa();
        let rdata = Records(view.signatures).next().unwrap();
        let owner = signed.zone().origin().as_wire();
        let memory = FoundRight::default();
        let verifier = Verifier::remembering(&signed, Some(&memory));
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
