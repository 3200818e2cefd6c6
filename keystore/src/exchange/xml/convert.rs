//! From and to the common model, with word of what one side cannot say.

use data_encoding::HEXLOWER;

use super::{
    ClaimedPolicy, Label, SignatureAlgorithm, Uuid, XmlBundle, XmlKey, XmlRequest, XmlResponse, XmlSignature,
};
use crate::crypto::Algorithm;
use crate::crypto::rsa::RsaPublicKey;
use crate::dns::{Name, Rtype};
use crate::exchange::{Bundle, Ksr, KsrBundle, UnverifiedSkr};
use crate::keys::Dnskey;
use crate::time::Timestamp;

/// What no text form of KSR says.
pub const LOST_OF_REQUEST: &[&str] = &[
    "the id and serial of the request, and the ids of its bundles",
    "the identifiers of its keys, and its wishes for certain KSKs",
    "its policy",
    "the ends of its bundles: each lasts until the next one begins",
    "the proof that the requester possesses each ZSK: `ksr-gen sign` checks it in the XML form",
];

/// What no text form of SKR says.
pub const LOST_OF_RESPONSE: &[&str] = &[
    "the id and serial of the request, and the ids of the bundles",
    "the identifiers of the keys",
    "the policies of both sides",
];

impl XmlRequest {
    /// The same in the common model, without what [`LOST_OF_REQUEST`] lists.
    #[must_use]
    pub fn to_ksr(&self) -> Ksr {
        let bundle = |b: &XmlBundle| KsrBundle {
            inception: b.inception,
            ttl: b.keys.first().map_or(0, |k| k.ttl),
            keys: b.keys.iter().map(|k| k.dnskey.clone()).collect(),
            // Theirs are for other times than the bundle's, and `super::check` judges them.
            proofs: Vec::new(),
        };
        Ksr { zone: self.domain.clone(), bundles: self.bundles.iter().map(bundle).collect() }
    }
}

impl XmlResponse {
    /// The same in the common model, without what [`LOST_OF_RESPONSE`] lists.
    #[must_use]
    pub fn to_skr(&self) -> UnverifiedSkr {
        let bundle = |b: &XmlBundle| Bundle {
            inception: b.inception,
            dnskey: b.rrset(&self.domain).into(),
            cdnskey: None,
            cds: None,
            signatures: b.signatures.iter().map(|s| s.rrsig.clone()).collect(),
        };
        UnverifiedSkr { zone: self.domain.clone(), bundles: self.bundles.iter().map(bundle).collect() }
    }
}

/// An SKR in XML that was made of one in text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromSkr {
    /// The SKR.
    pub response: XmlResponse,
    /// What the text says and XML cannot: the zone would be without it.
    pub left_out: Vec<String>,
    /// What XML needs and the text does not say, and what it was made of.
    pub made_up: Vec<String>,
}

/// Why a KSR or SKR has no form in XML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoXmlForm {
    /// A policy in XML has no form for the algorithm.
    #[error(
        "bundle {bundle}: the XML form has no way to say a key of algorithm {algorithm}; it knows RSA and ECDSA"
    )]
    Algorithm {
        /// Of the key.
        algorithm: Algorithm,
        /// Inception of the bundle.
        bundle: Timestamp,
    },
    /// A bundle in XML has at least one key and one signature.
    #[error("bundle {bundle} has no signed DNSKEY RRset, and the XML form needs one in each")]
    Unsigned {
        /// Inception of the bundle.
        bundle: Timestamp,
    },
    /// There is nothing to convert.
    #[error("there are no bundles, and the XML form needs one")]
    Empty,
    /// A request in XML has a signature by each ZSK, which only their private keys make.
    #[error(
        "a request in XML proves the possession of its ZSKs by their signatures, which only the holder of the private keys can make; \
         make it there in XML, or stay with a text form"
    )]
    NoProof,
}

/// Makes an SKR in XML.
///
/// UUIDs are made of the content, so that the same SKR gives the same file; claims of policies are made of the data. CDS and
/// CDNSKEY are left out with their signatures, and told.
pub fn from_skr(skr: &UnverifiedSkr) -> Result<FromSkr, NoXmlForm> {
    let mut bundles: Vec<XmlBundle> = Vec::with_capacity(skr.bundles.len());
    let mut left_out = Vec::new();
    for bundle in &skr.bundles {
        bundles.push(from_bundle(&skr.zone, bundle)?);
    }
    for (rtype, count) in [
        (Rtype::CDNSKEY, skr.bundles.iter().filter(|b| b.cdnskey.is_some()).count()),
        (Rtype::CDS, skr.bundles.iter().filter(|b| b.cds.is_some()).count()),
    ] {
        if count > 0 {
            left_out.push(format!("{rtype} and its signatures, in {count} of {} bundles", skr.bundles.len()));
        }
    }
    if bundles.is_empty() {
        return Err(NoXmlForm::Empty);
    }
    let response = XmlResponse {
        id: Uuid::of(format!("{} {}", skr.zone.to_lowercase(), ids_of(&bundles)).as_bytes()),
        serial: 0,
        domain: skr.zone.clone(),
        timestamp: None,
        ksk_policy: claims(&bundles, true),
        zsk_policy: claims(&bundles, false),
        bundles,
    };
    let made_up = [
        "ids, of the content; the serial, 0",
        "identifiers of the keys, of zone, algorithm and tag",
        "claims of validity, overlap and algorithms, of the data; those of safety, none",
    ];
    Ok(FromSkr { response, left_out, made_up: made_up.map(str::to_owned).to_vec() })
}

fn ids_of(bundles: &[XmlBundle]) -> String {
    bundles.iter().map(|b| b.id.to_string()).collect::<Vec<_>>().join(" ")
}

fn from_bundle(zone: &Name, bundle: &Bundle) -> Result<XmlBundle, NoXmlForm> {
    let inception = bundle.inception;
    let label = |tag: u16, algorithm: Algorithm| {
        let made = bundle.keys().find(|k| k.tag() == tag && k.algorithm == algorithm);
        made.map_or_else(|| Label(format!("K+{:03}+{tag:05}", algorithm.0)), |key| Label::of(zone, &key))
    };
    let keys: Vec<XmlKey> = bundle
        .keys()
        .map(|dnskey| XmlKey {
            identifier: Label::of(zone, &dnskey),
            tag: dnskey.tag(),
            ttl: bundle.dnskey.ttl,
            dnskey,
        })
        .collect();
    for key in &keys {
        claim(&key.dnskey)
            .ok_or(NoXmlForm::Algorithm { algorithm: key.dnskey.algorithm, bundle: inception })?;
    }
    let over_keys = bundle.signatures.iter().filter(|s| s.covered == Rtype::DNSKEY);
    let signatures: Vec<XmlSignature> = over_keys
        .map(|s| XmlSignature { identifier: label(s.key_tag, s.algorithm), rrsig: s.clone() })
        .collect();
    let expiration = signatures.iter().map(|s| s.rrsig.expires(inception)).min();
    let expiration = expiration.filter(|e| *e > inception && !keys.is_empty());
    let expiration = expiration.ok_or(NoXmlForm::Unsigned { bundle: inception })?;
    let content: Vec<u8> = keys.iter().flat_map(|k| k.dnskey.to_rdata()).collect();
    let id =
        Uuid::of(format!("{} {inception} {}", zone.to_lowercase(), HEXLOWER.encode(&content)).as_bytes());
    Ok(XmlBundle { id, inception, expiration, signers: Vec::new(), keys, signatures })
}

/// What a policy says of a key like this one; `None` where the format has no form for it.
#[must_use]
pub fn claim(key: &Dnskey) -> Option<SignatureAlgorithm> {
    let algorithm = key.algorithm;
    if matches!(algorithm, Algorithm::ECDSAP256SHA256 | Algorithm::ECDSAP384SHA384) {
        return Some(SignatureAlgorithm { algorithm, size: algorithm.fixed_bits()?, exponent: None });
    }
    let rsa = RsaPublicKey::parse(&key.public_key).filter(|_| algorithm.is_rsa())?;
    let exponent = rsa.exponent.iter().fold(0u64, |e, b| e << 8 | u64::from(*b));
    Some(SignatureAlgorithm { algorithm, size: u16::try_from(rsa.bits()).ok()?, exponent: Some(exponent) })
}

/// The tightest claims that `bundles` keep; no safety times.
#[must_use]
pub fn claims(bundles: &[XmlBundle], ksks: bool) -> ClaimedPolicy {
    let validity = || bundles.iter().map(|b| b.expiration.since(b.inception));
    let overlap = || bundles.windows(2).map(|pair| pair[0].expiration.since(pair[1].inception));
    let mut algorithms = Vec::new();
    for key in bundles.iter().flat_map(|b| &b.keys).filter(|k| k.dnskey.is_ksk() == ksks) {
        algorithms.extend(claim(&key.dnskey).filter(|claim| !algorithms.contains(claim)));
    }
    if algorithms.is_empty() {
        // The schema wants one; there is a key of the other kind.
        algorithms.extend(bundles.iter().flat_map(|b| &b.keys).find_map(|k| claim(&k.dnskey)));
    }
    ClaimedPolicy {
        publish_safety: 0,
        retire_safety: 0,
        max_signature_validity: validity().max().unwrap_or(0),
        min_signature_validity: validity().min().unwrap_or(0),
        max_validity_overlap: overlap().max().unwrap_or(0),
        min_validity_overlap: overlap().min().unwrap_or(0),
        algorithms,
    }
}
