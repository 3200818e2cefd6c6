//! Proof that whoever made a KSR holds the private keys of its ZSKs.
//!
//! Each ZSK of a bundle signs the bundle's DNSKEY RRset, as the root zone's requests have it: an RRSIG (RFC 4034 section 3.1.8.1)
//! over all ZSKs of the bundle with their TTL, the zone as signer, valid from the inception of the bundle until that of
//! the next one (the last bundle: until the end of the request). A key that is added or removed, another zone, TTL or time
//! breaks it.

use data_encoding::BASE64;
use rayon::prelude::*;

use crate::crypto::{SignError, SigningKey};
use crate::dns::rrsig::{self, Validity};
use crate::dns::{Rrset, Rrsig, Rtype};
use crate::exchange::{Ksr, KsrBundle};
use crate::keys::Dnskey;
use crate::time::Timestamp;

/// The word that marks a proof in the comment behind a DNSKEY record.
pub const WORD: &str = "proof-of-possession";

/// What is wrong with the proof of one key in one bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The bundle, by its inception.
    pub bundle: Timestamp,
    /// The key.
    pub key: Dnskey,
    /// Which kind.
    pub kind: FlawKind,
}

/// The kinds of [`Flaw`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlawKind {
    /// There is no proof: nothing shows that the key belongs to the requester.
    Missing,
    /// There is one, for another span of time than the bundle's.
    WrongTimes {
        /// Inception and expiration of the proof.
        proof: (Timestamp, Timestamp),
    },
    /// There is one, and it does not verify: the bundle was altered, or was made without the private key.
    BadSignature,
}

/// Signs each bundle of `ksr` with each of its keys; `end` is the end of the request.
///
/// `signer` gives the private key of a ZSK.
pub fn prove<'a, E: From<SignError>>(
    ksr: &mut Ksr,
    end: Timestamp,
    signer: impl Fn(&Dnskey) -> Result<&'a dyn SigningKey, E>,
) -> Result<(), E> {
    for i in 0..ksr.bundles.len() {
        let rrset = rrset(ksr, &ksr.bundles[i]);
        let (from, to) = (ksr.bundles[i].inception, next(ksr, i).unwrap_or(end));
        let proofs = ksr.bundles[i].keys.iter().map(|key| {
            let signer = signer(key)?;
            let validity = Validity { inception: from, expiration: to };
            Ok(rrsig::sign_raw(&rrset, &ksr.zone, key.tag(), signer, validity)?)
        });
        ksr.bundles[i].proofs = proofs.collect::<Result<_, E>>()?;
    }
    Ok(())
}

/// Checks the proof of each key in each bundle, on all cores; flaws in the order of the bundles.
#[must_use]
pub fn check(ksr: &Ksr) -> Vec<Flaw> {
    let of_bundle = |(i, bundle): (usize, &KsrBundle)| {
        let rrset = rrset(ksr, bundle);
        let flaw = |key: &Dnskey| {
            let kind = flaw(ksr, i, &rrset, key)?;
            Some(Flaw { bundle: bundle.inception, key: key.clone(), kind })
        };
        bundle.keys.iter().filter_map(flaw).collect::<Vec<_>>()
    };
    ksr.bundles.par_iter().enumerate().flat_map_iter(of_bundle).collect()
}

/// The end of the request that its last proofs name; `None` without them.
#[must_use]
pub fn end(ksr: &Ksr) -> Option<Timestamp> {
    let last = ksr.bundles.last()?;
    Some(last.proofs.first()?.expires(last.inception))
}

/// The proof of `key` as the text of a comment, without `;`; `None` when it has none.
pub(in crate::exchange) fn comment(bundle: &KsrBundle, key: &Dnskey) -> Option<String> {
    // Proofs come in the order of the keys; of keys with one tag each has its own.
    let before =
        bundle.keys.iter().take_while(|other| *other != key).filter(|other| is_alike(other, key)).count();
    let proof = bundle.proofs.iter().filter(|proof| is_of(proof, key)).nth(before)?;
    let (from, to) = (proof.incepts(bundle.inception), proof.expires(bundle.inception));
    Some(format!("{WORD} {from} {to} {}", BASE64.encode(&proof.signature)))
}

fn flaw(ksr: &Ksr, i: usize, rrset: &Rrset, key: &Dnskey) -> Option<FlawKind> {
    let bundle = &ksr.bundles[i];
    // Keys with one tag are refused for that; until then any of their proofs may be this key's, but each must be somebody's.
    let alike = bundle.keys.iter().filter(|other| is_alike(other, key)).count();
    let proofs: Vec<&Rrsig> = bundle.proofs.iter().filter(|proof| is_of(proof, key)).collect();
    if proofs.is_empty() {
        return Some(FlawKind::Missing);
    }
    if proofs.len() > alike.min(MOST_TRIED) {
        return Some(FlawKind::BadSignature);
    }
    let fits = |proof: &&&Rrsig| {
        proof.original_ttl == bundle.ttl
            && proof.signer == ksr.zone
            && rrsig::verify_raw(rrset, &key.public_key, proof).is_ok()
    };
    let Some(good) = proofs.iter().find(fits) else { return Some(FlawKind::BadSignature) };
    let (from, to) = (good.incepts(bundle.inception), good.expires(bundle.inception));
    let right_end = next(ksr, i).map_or(to >= bundle.inception, |next| to == next);
    (from != bundle.inception || !right_end).then_some(FlawKind::WrongTimes { proof: (from, to) })
}

fn is_of(proof: &Rrsig, key: &Dnskey) -> bool {
    proof.key_tag == key.tag() && proof.algorithm == key.algorithm
}

fn is_alike(a: &Dnskey, b: &Dnskey) -> bool {
    a.tag() == b.tag() && a.algorithm == b.algorithm
}

/// How many proofs with one tag are tried, so that no KSR costs more.
const MOST_TRIED: usize = 4;

fn next(ksr: &Ksr, i: usize) -> Option<Timestamp> {
    ksr.bundles.get(i + 1).map(|bundle| bundle.inception)
}

/// The ZSKs of a bundle as the RRset that they sign.
fn rrset(ksr: &Ksr, bundle: &KsrBundle) -> Rrset {
    let rdatas = bundle.keys.iter().map(|key| key.to_rdata().into()).collect();
    Rrset { owner: ksr.zone.clone(), rtype: Rtype::DNSKEY, ttl: bundle.ttl, rdatas }
}
