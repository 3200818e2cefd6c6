//! The root zone's form of KSR and SKR: XML as in draft-icann-dnssec-keymgmt-01, strict and limited.
//!
//! ```text
//! octets ──parse_request───▶ XmlRequest ──check_request, check_chain(SKR before)──▶ findings
//!                                │ └─to_ksr─▶ Ksr
//!                             respond(KSKs)
//!                                ▼
//! octets ──parse_response──▶ XmlResponse ──check_response──▶ findings
//!                                  └─to_skr─▶ UnverifiedSkr
//! ```
//!
//! It says more than the text forms (identifiers, the requester's policy, a proof of possession by each ZSK, an end of
//! each bundle) and cannot say CDS and CDNSKEY. [`convert`] goes from and to the common model, and tells what is left out.

pub mod chain;
pub mod check;
pub mod convert;
mod lexical;
mod parse;
mod print;
mod reader;
pub mod respond;

pub use chain::{check_chain, check_response};
pub use check::{CHECKS, Rules, check_request};
pub use parse::{parse_request, parse_response};
pub use print::{print_request, print_response};
pub use respond::{Ksk, KskRole, RespondError, request, respond};

use std::fmt;

use crate::crypto::Algorithm;
use crate::dns::{Name, Rrset, Rrsig, Rtype};
use crate::keys::Dnskey;
use crate::time::Timestamp;

/// Largest file that is read, in octets; the limit of the IANA's own reader. A KSR of the root zone has 20 000.
pub const MAX_OCTETS: usize = 1024 * 1024;
/// Most bundles of a file.
pub const MAX_BUNDLES: usize = 1024;
/// Most keys, and most signatures, of a bundle.
pub const MAX_KEYS: usize = 32;

/// A KSR: `KSR` with `Request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XmlRequest {
    /// Identifies the request; its response repeats it.
    pub id: Uuid,
    /// Revision of the request.
    pub serial: u64,
    /// The zone.
    pub domain: Name,
    /// When it was made, where said.
    pub timestamp: Option<Timestamp>,
    /// What the requester claims of its ZSKs and their signatures.
    pub zsk_policy: ClaimedPolicy,
    /// In the order of the file.
    pub bundles: Vec<XmlBundle>,
}

/// An SKR: `KSR` with `Response`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XmlResponse {
    /// That of the request.
    pub id: Uuid,
    /// That of the request.
    pub serial: u64,
    /// The zone.
    pub domain: Name,
    /// When it was made, where said.
    pub timestamp: Option<Timestamp>,
    /// What the KSK's operator claims of KSKs and their signatures.
    pub ksk_policy: ClaimedPolicy,
    /// That of the request.
    pub zsk_policy: ClaimedPolicy,
    /// In the order of the file.
    pub bundles: Vec<XmlBundle>,
}

/// A bundle of a request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XmlBundle {
    /// Identifies it; the response repeats that of the request.
    pub id: Uuid,
    /// When it comes into force.
    pub inception: Timestamp,
    /// When the signatures of the response end. Bundles overlap.
    pub expiration: Timestamp,
    /// KSKs that the request wishes for; never in a response.
    pub signers: Vec<Label>,
    /// The DNSKEY RRset: of a request its ZSKs, of a response also the KSKs.
    pub keys: Vec<XmlKey>,
    /// Over the DNSKEY RRset: of a request one by each ZSK, which proves its possession and whose times say nothing; of a
    /// response those by the KSKs.
    pub signatures: Vec<XmlSignature>,
}

/// A `Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XmlKey {
    /// Its name with whoever holds it.
    pub identifier: Label,
    /// The key tag as the file says it.
    pub tag: u16,
    /// TTL in seconds.
    pub ttl: u32,
    /// The record.
    pub dnskey: Dnskey,
}

/// A `Signature`. Its TTL is the original TTL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XmlSignature {
    /// That of the key which made it.
    pub identifier: Label,
    /// The record.
    pub rrsig: Rrsig,
}

impl XmlBundle {
    /// Its DNSKEY RRset, with the TTL of its first key.
    #[must_use]
    pub fn rrset(&self, domain: &Name) -> Rrset {
        Rrset {
            owner: domain.clone(),
            rtype: Rtype::DNSKEY,
            ttl: self.keys.first().map_or(0, |k| k.ttl),
            rdatas: self.keys.iter().map(|k| k.dnskey.to_rdata().into()).collect(),
        }
    }
}

/// What one side claims of its keys and signatures. Times in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedPolicy {
    /// A key is published at least so long before its use.
    pub publish_safety: u64,
    /// A key stays published at least so long after its last use.
    pub retire_safety: u64,
    /// Longest bundle, from inception to expiration.
    pub max_signature_validity: u64,
    /// Shortest bundle.
    pub min_signature_validity: u64,
    /// Longest overlap of a bundle with the one before.
    pub max_validity_overlap: u64,
    /// Shortest overlap.
    pub min_validity_overlap: u64,
    /// The algorithms of the keys.
    pub algorithms: Vec<SignatureAlgorithm>,
}

/// An algorithm that a policy claims. The format has no form for Ed25519 and Ed448.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureAlgorithm {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Key size in bits.
    pub size: u16,
    /// The exponent of RSA keys; `None` for ECDSA.
    pub exponent: Option<u64>,
}

/// A UUID as text: `dc1bc68c-b1c1-46f8-817f-ec893549f2be`. Letter case does not count.
#[derive(Debug, Clone)]
pub struct Uuid(String);

impl Uuid {
    /// Reads 32 hexadecimal digits in groups of 8, 4, 4, 4, 12.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let groups = text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
        let hex = text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
        (groups && hex).then(|| Self(text.to_owned()))
    }

    /// The UUID that stands for `octets`: version 8 of RFC 9562, made of their SHA-256.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, octets);
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&digest.as_ref()[..16]);
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        let hex = data_encoding::HEXLOWER.encode(&uuid);
        Self([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
    }
}

impl PartialEq for Uuid {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Uuid {}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A key identifier: free text that needs no escape in XML.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(String);

impl Label {
    /// Takes 1 to 255 printable ASCII characters but `<`, `>`, `&` and quotes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| matches!(b, b' '..=b'~') && !matches!(b, b'<' | b'>' | b'&' | b'"' | b'\'');
        let fits = (1..=255).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| Self(text.to_owned()))
    }

    /// A name for a key that has none: zone, algorithm and tag as in the names of BIND's key files.
    #[must_use]
    pub fn of(zone: &Name, key: &Dnskey) -> Self {
        let name = format!("K{}+{:03}+{:05}", zone.to_lowercase(), key.algorithm.0, key.tag());
        Self::parse(&name).unwrap_or_else(|| Self(format!("K+{:03}+{:05}", key.algorithm.0, key.tag())))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests;
