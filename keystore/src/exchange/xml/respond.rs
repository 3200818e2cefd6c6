//! Makes requests and responses in XML.

use super::convert::{claim, claims};
use super::{ClaimedPolicy, Label, Uuid, XmlBundle, XmlKey, XmlRequest, XmlResponse, XmlSignature};
use crate::crypto::{Algorithm, SignError, SigningKey, VerifyError};
use crate::dns::rrsig::{self, Validity};
use crate::dns::{Name, Rrset};
use crate::keys::Dnskey;
use crate::time::Timestamp;

/// What a KSK does in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KskRole {
    /// It is not in it.
    Absent,
    /// It is published and does not sign.
    Published,
    /// It is published and signs.
    Signing,
}

/// A KSK that answers requests.
#[derive(Clone, Copy)]
pub struct Ksk<'a> {
    /// Its record. A revoked key has the REVOKE flag in it.
    pub dnskey: &'a Dnskey,
    /// Its private part.
    pub key: &'a dyn SigningKey,
    /// Its name in the response.
    pub identifier: &'a Label,
    /// What it does in each bundle of the request.
    pub role: &'a dyn Fn(&XmlBundle) -> KskRole,
}

/// Why there is no response. Nothing was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RespondError {
    /// A bundle that no KSK signs, for an algorithm of its ZSKs or at all.
    #[error(
        "bundle {bundle}: its ZSKs have the algorithms {zsks}, and the KSKs that sign it {ksks}; each needs the other"
    )]
    Algorithms {
        /// Inception of the bundle.
        bundle: Timestamp,
        /// Those of the ZSKs.
        zsks: String,
        /// Those of the KSKs.
        ksks: String,
    },
    /// The format has no form for a key.
    #[error("key {identifier}: the format knows RSA and ECDSA keys only, well-formed ones")]
    NoForm {
        /// Of the key.
        identifier: Label,
    },
    /// A key of the request is no ZSK, or has the identifier or the record of another key.
    #[error("bundle {bundle}: key {identifier} of the request is no ZSK, or is also one of the KSKs")]
    NoZsk {
        /// Inception of the bundle.
        bundle: Timestamp,
        /// Of the key.
        identifier: Label,
    },
    /// A signature could not be made.
    #[error("key {identifier} made no signature for bundle {bundle}: {source}")]
    Sign {
        /// Of the key.
        identifier: Label,
        /// Inception of the bundle.
        bundle: Timestamp,
        /// What is wrong with it, or the error of the call that failed.
        source: SignError,
    },
    /// A signature was made and does not verify: a broken key, token or machine.
    #[error(
        "the signature that key {identifier} made for bundle {bundle} does not verify: {source}; do not use this key store or machine \
         before the cause is known"
    )]
    Verify {
        /// Of the key.
        identifier: Label,
        /// Inception of the bundle.
        bundle: Timestamp,
        /// What is wrong with it, or the error of the call that failed.
        source: VerifyError,
    },
}

/// Signs a request: each bundle gets the KSKs, the TTL of the KSKs' policy, and signatures from its inception to its expiration.
/// `policy` is what the KSKs' operator claims, its algorithms apart, which are those of the KSKs.
///
/// The caller has checked the request ([`super::check_request`], [`super::check_chain`]). Every signature is verified before this
/// returns.
pub fn respond(
    request: &XmlRequest,
    ksks: &[Ksk<'_>],
    ttl: u32,
    policy: &ClaimedPolicy,
) -> Result<XmlResponse, RespondError> {
    let mut ksk_policy = ClaimedPolicy { algorithms: Vec::new(), ..policy.clone() };
    for ksk in ksks {
        let claim =
            claim(ksk.dnskey).ok_or_else(|| RespondError::NoForm { identifier: ksk.identifier.clone() })?;
        if !ksk_policy.algorithms.contains(&claim) {
            ksk_policy.algorithms.push(claim);
        }
    }
    let bundles = request.bundles.iter().map(|b| answer(&request.domain, b, ksks, ttl));
    Ok(XmlResponse {
        id: request.id.clone(),
        serial: request.serial,
        domain: request.domain.clone(),
        timestamp: None,
        ksk_policy,
        zsk_policy: request.zsk_policy.clone(),
        bundles: bundles.collect::<Result<_, _>>()?,
    })
}

fn answer(domain: &Name, asked: &XmlBundle, ksks: &[Ksk<'_>], ttl: u32) -> Result<XmlBundle, RespondError> {
    let roles: Vec<(KskRole, &Ksk<'_>)> = ksks.iter().map(|ksk| ((ksk.role)(asked), ksk)).collect();
    let published = || roles.iter().filter(|(role, _)| *role != KskRole::Absent).map(|(_, ksk)| *ksk);
    let signing = || roles.iter().filter(|(role, _)| *role == KskRole::Signing).map(|(_, ksk)| *ksk);
    for key in &asked.keys {
        let clash =
            |k: &Ksk<'_>| *k.identifier == key.identifier || k.dnskey.public_key == key.dnskey.public_key;
        if key.dnskey.is_ksk() || published().any(clash) {
            return Err(RespondError::NoZsk { bundle: asked.inception, identifier: key.identifier.clone() });
        }
    }
    let algorithms = |keys: &mut dyn Iterator<Item = Algorithm>| {
        let mut all: Vec<Algorithm> = keys.collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let zsks = algorithms(&mut asked.keys.iter().map(|k| k.dnskey.algorithm));
    let by = algorithms(&mut signing().map(|k| k.dnskey.algorithm));
    if zsks != by || by.is_empty() {
        let list = |all: &[Algorithm]| match all {
            [] => "none".to_owned(),
            all => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        return Err(RespondError::Algorithms { bundle: asked.inception, zsks: list(&zsks), ksks: list(&by) });
    }
    let mut keys: Vec<XmlKey> = asked.keys.iter().map(|k| XmlKey { ttl, ..k.clone() }).collect();
    keys.iter_mut().for_each(|k| k.tag = k.dnskey.tag());
    keys.extend(published().map(|ksk| named(ksk.dnskey, ksk.identifier, ttl)));
    let mut bundle = XmlBundle { signers: Vec::new(), keys, signatures: Vec::new(), ..asked.clone() };
    let rrset = bundle.rrset(domain);
    let window = (bundle.inception, bundle.expiration);
    for ksk in signing() {
        bundle.signatures.push(sign(&rrset, ksk.dnskey, ksk.key, ksk.identifier, window)?);
    }
    Ok(bundle)
}

fn named(dnskey: &Dnskey, identifier: &Label, ttl: u32) -> XmlKey {
    XmlKey { identifier: identifier.clone(), tag: dnskey.tag(), ttl, dnskey: dnskey.clone() }
}

/// Signs, and verifies the signature with the public key of the record.
fn sign(
    rrset: &Rrset,
    dnskey: &Dnskey,
    key: &dyn SigningKey,
    identifier: &Label,
    (from, to): (Timestamp, Timestamp),
) -> Result<XmlSignature, RespondError> {
    let name = || identifier.clone();
    let validity = Validity { inception: from, expiration: to };
    let rrsig = rrsig::sign_raw(rrset, &rrset.owner, dnskey.tag(), key, validity)
        .map_err(|source| RespondError::Sign { identifier: name(), bundle: from, source })?;
    rrsig::verify_raw(rrset, &dnskey.public_key, &rrsig).map_err(|source| RespondError::Verify {
        identifier: name(),
        bundle: from,
        source,
    })?;
    Ok(XmlSignature { identifier: name(), rrsig })
}

/// A ZSK that a request asks for.
#[derive(Clone, Copy)]
pub struct Zsk<'a> {
    /// Its record.
    pub dnskey: &'a Dnskey,
    /// Its private part.
    pub key: &'a dyn SigningKey,
    /// Its name in the request.
    pub identifier: &'a Label,
}

/// Makes a request: for each bundle its inception, its expiration, and its ZSKs, each of which signs it. `safety` are the claims of
/// safety before and after the use of a key, in seconds; the other claims are those that the bundles keep. UUIDs are made of the
/// content.
pub fn request(
    zone: &Name,
    serial: u64,
    bundles: &[(Timestamp, Timestamp, Vec<Zsk<'_>>)],
    ttl: u32,
    safety: (u64, u64),
) -> Result<XmlRequest, RespondError> {
    let mut asked = Vec::with_capacity(bundles.len());
    for (inception, expiration, zsks) in bundles {
        let keys: Vec<XmlKey> = zsks.iter().map(|z| named(z.dnskey, z.identifier, ttl)).collect();
        if let Some(key) = keys.iter().find(|k| claim(&k.dnskey).is_none()) {
            return Err(RespondError::NoForm { identifier: key.identifier.clone() });
        }
        let mut content = format!("{} {serial} {inception} {expiration}", zone.to_lowercase()).into_bytes();
        keys.iter().for_each(|k| content.extend(k.dnskey.to_rdata()));
        let mut bundle = XmlBundle {
            id: Uuid::of(&content),
            inception: *inception,
            expiration: *expiration,
            signers: Vec::new(),
            keys,
            signatures: Vec::new(),
        };
        let rrset = bundle.rrset(zone);
        for zsk in zsks {
            let window = (*inception, *expiration);
            bundle.signatures.push(sign(&rrset, zsk.dnskey, zsk.key, zsk.identifier, window)?);
        }
        asked.push(bundle);
    }
    let ids: Vec<String> = asked.iter().map(|b| b.id.to_string()).collect();
    let mut zsk_policy = claims(&asked, false);
    (zsk_policy.publish_safety, zsk_policy.retire_safety) = safety;
    Ok(XmlRequest {
        id: Uuid::of(format!("request {}", ids.join(" ")).as_bytes()),
        serial,
        domain: zone.clone(),
        timestamp: None,
        zsk_policy,
        bundles: asked,
    })
}
