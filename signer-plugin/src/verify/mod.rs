//! A second opinion on a signed zone file: every finding, on all cores.
//!
//! It uses nothing of the signing and of the signer's own check: names, delegations, chain, bitmaps and key sets are worked out here a second
//! time. Shared with the signer are the reading of master files (`zonefile`, `keystore::dns`), the canonical order and form of names and
//! RDATA, the hash of NSEC3 (`keystore::dns::nsec3`), the verifying of one signature (`keystore::dns::rrsig`) and the hashing of ZONEMD. A
//! fault in one of these is seen by other programs only; the peer tests hold them against BIND, Knot and ldns.
//!
//! ```text
//! master file ──read──▶ ZoneContents (sorted; cuts and names below them marked) ──verify──▶ VerifyReport
//!                                                                signatures │ denial │ zonemd
//! ```
//!
//! A zone without a finding is one that every validator can use whatever it asks for, signed no more than it should be. Some findings are
//! no fault for most validators, as a second signature by a key that is not published: what nobody meant to publish is reported.

mod contents;
mod denial;
mod finding;
mod signatures;
#[cfg(test)]
mod tests;
mod zonemd;

pub use contents::ZoneContents;
pub use finding::{ZoneFault, ZoneFinding};

use keystore::dns::Rtype;
use keystore::exchange::TrustAnchor;
use keystore::time::Timestamp;

use crate::zone::Zone;
use signatures::ZoneKeys;

/// What was found in a zone, and how much was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Every finding, by owner.
    pub findings: Vec<ZoneFinding>,
    /// Names with records, NSEC3 owners included.
    pub names: usize,
    /// RRsets, without RRSIG.
    pub rrsets: usize,
    /// Signatures that were verified.
    pub signatures: usize,
    /// The earliest expiration of a signature; `None` without signatures.
    pub earliest_expiration: Option<Timestamp>,
}

/// Asked before each part of the work that may be long: whether there is time for it.
pub type InTime<'a> = &'a (dyn Fn() -> bool + Sync);

/// Verifies the zone at `now`. Its DNSKEY RRset must be signed by a key that one of `anchors` has; without anchors by any of its keys.
#[must_use]
pub fn verify(zone: &ZoneContents, anchors: &[TrustAnchor], now: Timestamp) -> VerifyReport {
    verify_in_time(zone, anchors, now, &|| true).unwrap_or_else(|| unreachable!("its time has no end"))
}

/// The same for a zone that somebody may have made so that it takes long: as soon as `in_time`, which is asked again and again from any
/// thread, says no, it ends with `None`.
#[must_use]
pub fn verify_in_time(
    zone: &ZoneContents,
    anchors: &[TrustAnchor],
    now: Timestamp,
    in_time: InTime<'_>,
) -> Option<VerifyReport> {
    run(zone, anchors, &Manner { now, in_time, known: None, leniency: Leniency::Nothing })
}

/// The same for a zone that another signer has signed: whether validators can use all that is served of it. A finding that none of them minds
/// is left out: a second chain or signatures that are not needed, signatures by one algorithm of several, TTLs of denial records. Of several
/// NSEC3 chains that is looked at which NSEC3PARAM names. Signatures that `known` has over the same records under the same DNSKEY RRset were
/// verified before.
#[must_use]
pub fn verify_presigned(
    zone: &ZoneContents,
    anchors: &[TrustAnchor],
    known: Option<&Zone>,
    now: Timestamp,
) -> VerifyReport {
    let known = known.filter(|known| zone.has_keys_of(known));
    let manner = Manner { now, in_time: &|| true, known, leniency: Leniency::WhatNobodyMinds };
    let report = run(zone, anchors, &manner).unwrap_or_else(|| unreachable!("its time has no end"));
    let findings = report.findings.into_iter().filter(ZoneFinding::is_minded).collect();
    VerifyReport { findings, ..report }
}

/// How a zone is verified.
struct Manner<'a> {
    now: Timestamp,
    in_time: InTime<'a>,
    /// Content whose signatures were verified before, with the DNSKEY RRset of the zone.
    known: Option<&'a Zone>,
    leniency: Leniency,
}

/// What is let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leniency {
    /// Every finding is told.
    Nothing,
    /// One good signature of an RRset and one good chain are enough.
    WhatNobodyMinds,
}

/// `None` when there was not the time for it.
fn run(zone: &ZoneContents, anchors: &[TrustAnchor], manner: &Manner<'_>) -> Option<VerifyReport> {
    let in_time = manner.in_time;
    let mut findings = zone.misplaced();
    let keys = ZoneKeys::of(zone, anchors, &mut findings);
    let signed = signatures::check(zone, &keys, manner)?;
    findings.extend(signed.findings);
    findings.extend(denial::check(zone, in_time, manner.leniency)?);
    findings.extend(zonemd::check(zone, in_time)?);
    findings.sort_by(|a, b| a.owner.cmp(&b.owner));
    let rrsets = |node| zone.rrsets(node).filter(|set| set.rtype != Rtype::RRSIG).count();
    Some(VerifyReport {
        findings,
        names: zone.nodes().len(),
        rrsets: zone.nodes().iter().map(rrsets).sum(),
        signatures: signed.verified,
        earliest_expiration: signed.earliest,
    })
}
