//! Trust anchors: the KSKs that the operator pinned, as DNSKEY or DS records.

use super::bind::BindSyntaxError;
use super::key_fault::key_fault;
use crate::check::CheckId;
use crate::crypto::Algorithm;
use crate::dns::lexer::Entries;
use crate::dns::{Class, Name, Rtype, record};
use crate::keys::{Dnskey, FLAG_REVOKE};

/// A pinned KSK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustAnchor {
    /// By its public key.
    Dnskey(Dnskey),
    /// By its DS RDATA.
    Ds(Vec<u8>),
}

impl TrustAnchor {
    /// True when `key` at `zone` is the pinned one.
    #[must_use]
    pub fn matches(&self, zone: &Name, key: &Dnskey) -> bool {
        match self {
            Self::Dnskey(pinned) => pinned == key,
            Self::Ds(ds) => ds.get(3).and_then(|t| key.ds_rdata(zone, *t)).is_some_and(|made| made == *ds),
        }
    }

    /// The key tag of the pinned key.
    #[must_use]
    pub fn tag(&self) -> u16 {
        match self {
            Self::Dnskey(key) => key.tag(),
            Self::Ds(ds) => ds.first_chunk().map_or(0, |tag| u16::from_be_bytes(*tag)),
        }
    }

    /// The algorithm of the pinned key; 0 of a DS that is too short to have one.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Dnskey(key) => key.algorithm,
            Self::Ds(ds) => Algorithm(ds.get(2).copied().unwrap_or(0)),
        }
    }
}

impl TrustAnchor {
    /// The tags that a new key of the zone should not have: that of the pinned key, and the one that it gets when it is revoked. Of a DS
    /// both that this can be.
    #[must_use]
    pub fn tags(&self) -> Vec<u16> {
        match self {
            Self::Dnskey(key) => vec![key.tag(), key.revoked_tag()],
            Self::Ds(_) => revoked_tags(self.tag()).into_iter().chain([self.tag()]).collect(),
        }
    }
}

/// The tags that a key of which only the tag is known can have once it is revoked: the flag adds 128 to the sum that the tag is folded
/// from, and a carry may add one (RFC 4034 appendix B).
#[must_use]
pub const fn revoked_tags(tag: u16) -> [u16; 2] {
    [tag.wrapping_add(FLAG_REVOKE), tag.wrapping_add(FLAG_REVOKE + 1)]
}

/// Reads DS and DNSKEY records of `zone` in presentation form, one a line (comments and parentheses as in a zone file).
///
/// TTL and class may be left out. Records of other owners and types are errors,
/// and so is what must not be pinned: ZSKs, revoked keys, digests by SHA-1. IDs: `ANCHOR-SYNTAX`, `ANCHOR-WRONG-ZONE`,
/// `ANCHOR-TYPE`, `ANCHOR-KEY`.
pub fn parse_trust_anchors(text: &str, zone: &Name) -> Result<Vec<TrustAnchor>, BindSyntaxError> {
    let mut anchors = Vec::new();
    for entry in Entries::new(text.as_bytes()) {
        let entry = entry.map_err(|e| error(CheckId::AnchorSyntax, e.line, e.what.to_string()))?;
        if entry.tokens.is_empty() {
            continue;
        }
        let record = record::parse(&entry, None, None)
            .map_err(|e| error(CheckId::AnchorSyntax, entry.line, e.to_string()))?;
        let fault = |id, what: String| error(id, entry.line, what);
        if record.owner != *zone {
            let what = format!("owner {}, where {zone} was expected", record.owner);
            return Err(fault(CheckId::AnchorWrongZone, what));
        }
        if let Some(class) = record.class.filter(|c| *c != Class::IN) {
            return Err(fault(CheckId::AnchorType, format!("class {class}, where IN was expected")));
        }
        let anchor = match record.rtype {
            Rtype::DS => ds_anchor(record.rdata),
            Rtype::DNSKEY => dnskey_anchor(&record.rdata),
            other => {
                return Err(fault(
                    CheckId::AnchorType,
                    format!("type {other}, where DS or DNSKEY was expected"),
                ));
            }
        };
        let anchor = anchor.map_err(|what| fault(CheckId::AnchorKey, what.to_string()))?;
        if !anchors.contains(&anchor) {
            anchors.push(anchor);
        }
    }
    Ok(anchors)
}

fn error(id: CheckId, line: u32, what: impl Into<String>) -> BindSyntaxError {
    BindSyntaxError { id, line, what: what.into() }
}

/// Why a record cannot be a trust anchor.
#[derive(Debug, thiserror::Error)]
enum AnchorFault {
    #[error("the {0} record is too short")]
    TooShort(Rtype),
    #[error("a key of algorithm {} cannot be pinned: deprecated, or not supported", .0.0)]
    Algorithm(Algorithm),
    #[error("digest type 1, SHA-1, is too weak to pin a key by; take 2 (SHA-256)")]
    Sha1,
    #[error("digest type {0} is not supported; take 2 (SHA-256) or 4 (SHA-384)")]
    DigestType(u8),
    #[error("flags {0}: this is a ZSK; pin the KSK (flags 257)")]
    Zsk(u16),
    #[error("flags {0}: the key is revoked")]
    Revoked(u16),
    /// See [`key_fault`].
    #[error("{0}")]
    Key(String),
}

fn ds_anchor(rdata: Vec<u8>) -> Result<TrustAnchor, AnchorFault> {
    let [_, _, algorithm, digest_type, ..] = *rdata else {
        return Err(AnchorFault::TooShort(Rtype::DS));
    };
    if !Algorithm(algorithm).can_sign() {
        return Err(AnchorFault::Algorithm(Algorithm(algorithm)));
    }
    match digest_type {
        2 | 4 => Ok(TrustAnchor::Ds(rdata)),
        1 => Err(AnchorFault::Sha1),
        other => Err(AnchorFault::DigestType(other)),
    }
}

fn dnskey_anchor(rdata: &[u8]) -> Result<TrustAnchor, AnchorFault> {
    let key = Dnskey::from_rdata(rdata).ok_or(AnchorFault::TooShort(Rtype::DNSKEY))?;
    if !key.is_ksk() {
        return Err(AnchorFault::Zsk(key.flags));
    }
    if !key.algorithm.can_sign() {
        return Err(AnchorFault::Algorithm(key.algorithm));
    }
    if key.is_revoked_ksk() {
        return Err(AnchorFault::Revoked(key.flags));
    }
    match key_fault(&key) {
        Some(fault) => Err(AnchorFault::Key(fault)),
        None => Ok(TrustAnchor::Dnskey(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::testing::TestKey;

    #[test]
    fn reads_keys_and_digests() {
        let zone = Name::parse("example.").expect("a name");
        let ksk = TestKey::ksk(1).dnskey;
        let base64 = data_encoding::BASE64.encode(&ksk.public_key);
        let ds = ksk.ds_rdata(&zone, 2).expect("SHA-256 is known");
        let hex = data_encoding::HEXUPPER.encode(&ds[4..]);
        let tag = ksk.tag();
        let text = format!(
            "; a remark\n\nExample. 3600 IN DNSKEY 257 3 15 ({}\n {}) ; KSK\r\nexample DS {tag} 15 2 {hex}\nexample. DS {tag} 15 2 {}",
            &base64[..20],
            &base64[20..],
            hex.to_lowercase()
        );
        let anchors = parse_trust_anchors(&text, &zone).expect("good");
        assert_eq!(anchors, [TrustAnchor::Dnskey(ksk.clone()), TrustAnchor::Ds(ds)]);
        for anchor in &anchors {
            assert!(anchor.matches(&zone, &ksk) && anchor.tag() == tag);
            assert!(
                !anchor.matches(&zone, &TestKey::ksk(2).dnskey)
                    && !anchor.matches(&zone, &TestKey::zsk(1).dnskey)
            );
        }
        assert_eq!(parse_trust_anchors("; nothing\n", &zone), Ok(Vec::new()));
    }

    #[test]
    fn refuses_what_must_not_be_pinned() {
        let zone = Name::parse("example.").expect("a name");
        let key = data_encoding::BASE64.encode(&TestKey::ksk(1).dnskey.public_key);
        let digest = "00".repeat(32);
        for (id, record) in [
            (CheckId::AnchorSyntax, "example. DNSKEY 257 3 15".to_owned()),
            (CheckId::AnchorSyntax, "example. DS 1 15 2 (00".to_owned()),
            (CheckId::AnchorSyntax, "@ DS 1 15 2 00".to_owned()),
            (CheckId::AnchorSyntax, "  DS 1 15 2 00".to_owned()),
            (CheckId::AnchorSyntax, "$INCLUDE /etc/passwd".to_owned()),
            (CheckId::AnchorWrongZone, format!("a.example. DS 1 15 2 {digest}")),
            (CheckId::AnchorType, format!("example. CH DS 1 15 2 {digest}")),
            (CheckId::AnchorType, format!("example. CDS 1 15 2 {digest}")),
            (CheckId::AnchorKey, format!("example. DS 1 15 1 {}", "00".repeat(20))),
            (CheckId::AnchorKey, format!("example. DS 1 15 3 {digest}")),
            (CheckId::AnchorSyntax, format!("example. DS 1 15 2 {}", "00".repeat(31))),
            (CheckId::AnchorKey, format!("example. DS 1 5 2 {digest}")),
            (CheckId::AnchorKey, format!("example. DNSKEY 256 3 15 {key}")),
            (CheckId::AnchorKey, format!("example. DNSKEY 385 3 15 {key}")),
            (CheckId::AnchorKey, format!("example. DNSKEY 257 3 7 {key}")),
            (CheckId::AnchorKey, "example. DNSKEY 257 3 15 AQID".to_owned()),
        ] {
            let error = parse_trust_anchors(&format!("; one\n{record}\n"), &zone).expect_err(&record);
            assert_eq!((error.id, error.line), (id, 2), "{record}: {error}");
        }
    }
}
