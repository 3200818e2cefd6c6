//! Signatures: each one that is there, and those that are not.

use std::collections::BTreeSet;

use keystore::crypto::Algorithm;
use keystore::dns::{Rrsig, Rtype, rrsig};
use keystore::exchange::TrustAnchor;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;
use rayon::prelude::*;

use super::contents::{ContentRrset, NameStatus, Node, ZoneContents};
use super::finding::{ZoneFault, ZoneFinding};
use super::{Leniency, Manner};
use crate::zone::{Records, Zone};

/// Flags of DNSKEY: the key signs a zone, and the key is revoked (RFC 4034 section 2.1.1, RFC 5011 section 7).
const ZONE_KEY: u16 = 0x0100;
const REVOKED: u16 = 0x0080;

/// The keys of the zone.
pub(super) struct ZoneKeys {
    all: Vec<Key>,
    /// Algorithms that every RRset must be signed with.
    algorithms: BTreeSet<Algorithm>,
}

struct Key {
    dnskey: Dnskey,
    tag: u16,
    trusted: bool,
}

/// What [`check`] found.
pub(super) struct Signed {
    pub findings: Vec<ZoneFinding>,
    pub verified: usize,
    pub earliest: Option<Timestamp>,
}

impl ZoneKeys {
    /// Reads the DNSKEY RRset. With no anchor each key that signs the set is trusted.
    pub fn of(zone: &ZoneContents, anchors: &[TrustAnchor], findings: &mut Vec<ZoneFinding>) -> Self {
        let origin = zone.origin();
        let mut finding = |rtype, fault| findings.push(ZoneFinding::new(origin.as_wire(), rtype, fault));
        let find = |rtype| zone.apex().and_then(|apex| zone.find(apex, rtype));
        match find(Rtype::SOA).map_or(0, |set| set.rdatas().len()) {
            1 => {}
            count => finding(Rtype::SOA, ZoneFault::NotOne(count)),
        }
        if find(Rtype::NS).is_none() {
            finding(Rtype::NS, ZoneFault::ApexLacks);
        }
        let set = find(Rtype::DNSKEY);
        if set.is_none() {
            finding(Rtype::DNSKEY, ZoneFault::ApexLacks);
        }
        let keys = set.iter().flat_map(ContentRrset::rdatas).filter_map(Dnskey::from_rdata);
        let all: Vec<Key> = keys
            .filter(|key| key.flags & ZONE_KEY != 0 && key.protocol == 3)
            .map(|dnskey| Key {
                tag: dnskey.tag(),
                trusted: anchors.is_empty() || anchors.iter().any(|anchor| anchor.matches(origin, &dnskey)),
                dnskey,
            })
            .collect();
        if set.is_some() && !all.iter().any(|key| key.trusted) {
            finding(Rtype::DNSKEY, ZoneFault::NoTrustedKey);
        }
        let valid = all.iter().filter(|key| key.dnskey.flags & REVOKED == 0);
        let algorithms = valid.map(|key| key.dnskey.algorithm).collect();
        Self { all, algorithms }
    }
}

/// Checks the signatures of all names; `None` = there was not the time for it.
pub(super) fn check(zone: &ZoneContents, keys: &ZoneKeys, manner: &Manner<'_>) -> Option<Signed> {
    let parts = zone.nodes().par_iter().map(|node| {
        let mut checker =
            NodeChecker { zone, keys, manner, owner: zone.owner(node), signed: Signed::nothing() };
        checker.check(node).then_some(checker.signed)
    });
    parts.try_reduce(Signed::nothing, |a, b| Some(a.and(b)))
}

impl Signed {
    const fn nothing() -> Self {
        Self { findings: Vec::new(), verified: 0, earliest: None }
    }

    fn and(mut self, other: Self) -> Self {
        self.findings.extend(other.findings);
        let earliest = [self.earliest, other.earliest].into_iter().flatten().min();
        Self { findings: self.findings, verified: self.verified + other.verified, earliest }
    }
}

struct NodeChecker<'a> {
    zone: &'a ZoneContents,
    keys: &'a ZoneKeys,
    manner: &'a Manner<'a>,
    owner: &'a [u8],
    signed: Signed,
}

impl NodeChecker<'_> {
    fn find(&mut self, rtype: Rtype, fault: ZoneFault) {
        self.signed.findings.push(ZoneFinding::new(self.owner, rtype, fault));
    }

    /// False when there was not the time for it.
    fn check(&mut self, node: &Node) -> bool {
        if node.standing == NameStatus::OutOfZone {
            return true;
        }
        let mut signatures: Vec<(u32, Rrsig)> = Vec::new();
        for (ttl, rdata) in self.zone.find(node, Rtype::RRSIG).iter().flat_map(ContentRrset::records) {
            match Rrsig::from_rdata(rdata) {
                Ok(rrsig) => signatures.push((ttl, rrsig)),
                Err(_) => self.find(Rtype::RRSIG, ZoneFault::MalformedSignature),
            }
        }
        for set in self.zone.rrsets(node).filter(|set| set.rtype != Rtype::RRSIG) {
            // A name may have an RRset of each type, with many signatures.
            if !(self.manner.in_time)() {
                return false;
            }
            if set.ttls().any(|ttl| ttl != set.ttl()) {
                self.find(set.rtype, ZoneFault::TtlsDiffer);
            }
            let (own, others) = signatures.into_iter().partition(|(_, rrsig)| rrsig.covered == set.rtype);
            signatures = others;
            self.check_rrset(node.standing, &set, own);
        }
        for (_, rrsig) in signatures {
            self.find(rrsig.covered, ZoneFault::SignatureOfNothing(rrsig.key_tag));
        }
        true
    }

    fn check_rrset(&mut self, standing: NameStatus, set: &ContentRrset<'_>, signatures: Vec<(u32, Rrsig)>) {
        let must_be_signed = match standing {
            _ if set.rtype == Rtype::NSEC3 => true,
            NameStatus::Authoritative | NameStatus::NoData => true,
            NameStatus::Cut { .. } => matches!(set.rtype, Rtype::DS | Rtype::NSEC),
            NameStatus::Glue => false,
            // Reported for being where it is.
            NameStatus::Hidden | NameStatus::OutOfZone => return,
        };
        if !must_be_signed {
            if !signatures.is_empty() {
                self.find(set.rtype, ZoneFault::NotToBeSigned);
            }
            return;
        }
        let mut good: BTreeSet<Algorithm> = BTreeSet::new();
        let mut trusted = false;
        let mut by_key: BTreeSet<usize> = BTreeSet::new();
        for (ttl, rrsig) in signatures {
            let Some((position, holds)) = self.check_signature(set, ttl, &rrsig) else { continue };
            if !by_key.insert(position) {
                self.find(set.rtype, ZoneFault::SeveralByOneKey(rrsig.key_tag));
            }
            if holds {
                good.insert(rrsig.algorithm);
                trusted |= self.keys.all[position].trusted;
            }
        }
        let is_enough = self.manner.leniency == Leniency::WhatNobodyMinds && !good.is_empty();
        for algorithm in self.keys.algorithms.difference(&good).filter(|_| !is_enough) {
            self.signed.findings.push(ZoneFinding::new(
                self.owner,
                set.rtype,
                ZoneFault::Unsigned(*algorithm),
            ));
        }
        let is_key_set = set.rtype == Rtype::DNSKEY && self.owner == self.zone.origin().as_wire();
        if is_key_set && !trusted {
            self.find(set.rtype, ZoneFault::UntrustedKeySet);
        }
    }

    /// True when `known` has the RRset with this signature.
    fn is_known(&self, known: &Zone, set: &ContentRrset<'_>, rrsig: &Rrsig) -> bool {
        let rdata = rrsig.to_rdata();
        let signatures = known.lookup(self.owner).and_then(|node| known.find(node, Rtype::RRSIG));
        signatures.is_some_and(|id| Records(known.rrset(id).data).any(|other| other == rdata))
            && set.is_in(known, self.owner)
    }

    /// Checks one signature. Gives the position of its key and whether all holds; `None` when no key is meant.
    fn check_signature(&mut self, set: &ContentRrset<'_>, ttl: u32, rrsig: &Rrsig) -> Option<(usize, bool)> {
        let tag = rrsig.key_tag;
        let before = self.signed.findings.len();
        if rrsig.signer != *self.zone.origin() {
            self.find(set.rtype, ZoneFault::OtherSigner { tag, signer: rrsig.signer.clone() });
        }
        let wanted = labels(self.owner);
        if rrsig.labels != wanted {
            self.find(set.rtype, ZoneFault::Labels { tag, found: rrsig.labels, wanted });
        }
        if rrsig.original_ttl != set.ttl() {
            self.find(
                set.rtype,
                ZoneFault::OriginalTtl { tag, found: rrsig.original_ttl, wanted: set.ttl() },
            );
        }
        if ttl != set.ttl() {
            self.find(set.rtype, ZoneFault::SignatureTtl { tag, found: ttl, wanted: set.ttl() });
        }
        let now = self.manner.now;
        let (from, to) = (rrsig.incepts(now), rrsig.expires(now));
        self.signed.earliest = Some(self.signed.earliest.map_or(to, |earliest| earliest.min(to)));
        if from > now {
            self.find(set.rtype, ZoneFault::NotYetValid { tag, from });
        }
        if to < now {
            self.find(set.rtype, ZoneFault::Expired { tag, at: to });
        }
        let keys = self.keys;
        let meant = |(_, key): &(usize, &Key)| (key.tag, key.dnskey.algorithm) == (tag, rrsig.algorithm);
        let mut candidates = keys.all.iter().enumerate().filter(meant).peekable();
        let Some((first, _)) = candidates.peek().copied() else {
            self.find(set.rtype, ZoneFault::UnknownKey(tag));
            return None;
        };
        // Of several keys with one tag the one that it verifies with is meant.
        let rrset = set.to_rrset()?;
        let verified = if self.manner.known.is_some_and(|known| self.is_known(known, set, rrsig)) {
            // By which of several keys with one tag does not matter.
            Some((first, &keys.all[first]))
        } else {
            self.signed.verified += 1;
            candidates.find(|(_, key)| rrsig::verify_raw(&rrset, &key.dnskey.public_key, rrsig).is_ok())
        };
        if verified.is_none() {
            self.find(set.rtype, ZoneFault::Wrong(tag));
        }
        let position = verified.map_or(first, |(position, _)| position);
        Some((position, self.signed.findings.len() == before))
    }
}

/// The labels of a name, without the root and a leftmost asterisk (RFC 4034 section 3.1.3).
fn labels(owner: &[u8]) -> u8 {
    let count = super::contents::parents(owner).count();
    (count - usize::from(owner.starts_with(b"\x01*"))) as u8
}
