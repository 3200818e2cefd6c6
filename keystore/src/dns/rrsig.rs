//! RRSIG records: wire form, the octets that are signed (RFC 4034 section 3.1.8.1), making and verifying.

use super::{Name, NameError, Rrset, Rtype, name};
use crate::crypto::{self, Algorithm, SigningKey};
use crate::time::Timestamp;

/// The fields of an RRSIG RDATA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rrsig {
    /// Type Covered.
    pub covered: Rtype,
    /// Number of the DNSSEC algorithm.
    pub algorithm: Algorithm,
    /// Labels: of the owner, without root and leftmost `*`.
    pub labels: u8,
    /// Original TTL, in seconds.
    pub original_ttl: u32,
    /// Signature Expiration, seconds modulo 2^32.
    pub expiration: u32,
    /// Signature Inception, seconds modulo 2^32.
    pub inception: u32,
    /// Key Tag.
    pub key_tag: u16,
    /// Signer's Name.
    pub signer: Name,
    /// The signature itself, in the form of its algorithm.
    pub signature: Vec<u8>,
}

impl Rrsig {
    /// Reads RDATA in wire form.
    pub fn from_rdata(rdata: &[u8]) -> Result<Self, NameError> {
        let (head, rest) = rdata.split_at_checked(18).ok_or(NameError::BadWire)?;
        let len = name::wire_len(rest).ok_or(NameError::BadWire)?;
        let u16_at = |i: usize| u16::from_be_bytes([head[i], head[i + 1]]);
        let u32_at = |i: usize| u32::from_be_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        Ok(Self {
            covered: Rtype(u16_at(0)),
            algorithm: Algorithm(head[2]),
            labels: head[3],
            original_ttl: u32_at(4),
            expiration: u32_at(8),
            inception: u32_at(12),
            key_tag: u16_at(16),
            signer: Name::from_wire(&rest[..len])?,
            signature: rest[len..].to_vec(),
        })
    }

    /// RDATA in wire form; the signer's name keeps its case.
    #[must_use]
    pub fn to_rdata(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(18 + self.signer.as_wire().len() + self.signature.len());
        self.put_head(&mut out, self.signer.as_wire());
        out.extend_from_slice(&self.signature);
        out
    }

    fn put_head(&self, out: &mut Vec<u8>, signer: &[u8]) {
        out.extend_from_slice(&self.covered.0.to_be_bytes());
        out.push(self.algorithm.0);
        out.push(self.labels);
        out.extend_from_slice(&self.original_ttl.to_be_bytes());
        out.extend_from_slice(&self.expiration.to_be_bytes());
        out.extend_from_slice(&self.inception.to_be_bytes());
        out.extend_from_slice(&self.key_tag.to_be_bytes());
        out.extend_from_slice(signer);
    }

    /// The octets that are signed: the RDATA without signature, then the canonical RRset (RFC 4034 section 3.1.8.1).
    #[must_use]
    pub fn signed_data(&self, rrset: &Rrset) -> Vec<u8> {
        self.signed_data_of(rrset, &rrset.canonical_rdatas())
    }

    /// The same for who has the canonical RDATAs of `rrset` at hand: whoever verifies many signatures over one RRset sorts it once.
    #[must_use]
    pub fn signed_data_of(&self, rrset: &Rrset, canonical_rdatas: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        self.put_head(&mut out, &self.signer.canonical_wire());
        let owner = signed_owner(&rrset.owner, self.labels);
        for rdata in canonical_rdatas {
            out.extend_from_slice(&owner);
            out.extend_from_slice(&rrset.rtype.0.to_be_bytes());
            out.extend_from_slice(&1u16.to_be_bytes());
            out.extend_from_slice(&self.original_ttl.to_be_bytes());
            out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            out.extend_from_slice(rdata);
        }
        out
    }

    /// The time of Signature Expiration nearest to `near`.
    #[must_use]
    pub fn expires(&self, near: Timestamp) -> Timestamp {
        Timestamp::from_rrsig(self.expiration, near)
    }

    /// The time of Signature Inception nearest to `near`.
    #[must_use]
    pub fn incepts(&self, near: Timestamp) -> Timestamp {
        Timestamp::from_rrsig(self.inception, near)
    }

    /// True when `now` lies in the validity period, both ends included, by serial arithmetic (RFC 4035 section 5.3.1).
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.incepts(now) <= now && now <= self.expires(now)
    }
}

/// When a signature is valid, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub inception: Timestamp,
    /// The last second.
    pub expiration: Timestamp,
}

/// Makes the signature over `rrset` itself; that `key` is the private key behind `key_tag`, and that the zone `signer` holds the
/// owner, is the caller's matter. `keys::signature::sign` checks it all.
pub fn sign_raw(
    rrset: &Rrset,
    signer: &Name,
    key_tag: u16,
    key: &dyn SigningKey,
    validity: Validity,
) -> Result<Rrsig, crypto::SignError> {
    let mut rrsig = Rrsig {
        covered: rrset.rtype,
        algorithm: key.algorithm(),
        labels: rrset.owner.rrsig_labels(),
        original_ttl: rrset.ttl,
        expiration: validity.expiration.to_rrsig(),
        inception: validity.inception.to_rrsig(),
        key_tag,
        signer: signer.clone(),
        signature: Vec::new(),
    };
    rrsig.signature = key.sign(&rrsig.signed_data(rrset))?;
    Ok(rrsig)
}

/// Verifies the signature itself: type covered, labels, and the octets against `public_key` (the Public Key field of a
/// DNSKEY). Times, key tag, signer and flags are the caller's matter; `keys::signature::verify` checks it all.
pub fn verify_raw(rrset: &Rrset, public_key: &[u8], rrsig: &Rrsig) -> Result<(), crypto::VerifyError> {
    if rrsig.covered != rrset.rtype || usize::from(rrsig.labels) > rrset.owner.label_count() {
        return Err(crypto::VerifyError::BadSignature);
    }
    crypto::verify(rrsig.algorithm, public_key, &rrsig.signed_data(rrset), &rrsig.signature)
}

/// The canonical owner in the signed data: the owner itself, or `*.` and its last `labels` labels when it has more
/// (RFC 4035 section 5.3.2).
fn signed_owner(owner: &Name, labels: u8) -> Vec<u8> {
    let wire = owner.canonical_wire();
    // A leftmost `*` counts here: `*.a.example.` may itself be made from `*.example.`.
    let extra = owner.label_count().saturating_sub(usize::from(labels));
    if extra == 0 {
        return wire;
    }
    let mut at = 0;
    for _ in 0..extra {
        at += usize::from(wire[at]) + 1;
    }
    [&[1, b'*'], &wire[at..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_owner_of_rfc_4035_section_5_3_2() {
        for (owner, labels, want) in [
            ("a.b.example.", 3, "a.b.example."),
            ("A.b.example.", 1, "*.example."),
            ("a.b.example.", 2, "*.b.example."),
            ("*.example.", 1, "*.example."),
            ("*.a.example.", 2, "*.a.example."),
            ("*.a.example.", 1, "*.example."),
            ("a.", 0, "*."),
            (".", 0, "."),
        ] {
            let owner = Name::parse(owner).expect(owner);
            let signed = Name::from_wire(&signed_owner(&owner, labels)).expect("a name");
            assert_eq!(signed.to_string(), want, "{owner} {labels}");
        }
    }
}
