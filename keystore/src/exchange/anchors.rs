//! Trust anchors: the KSKs that the operator pinned, as DNSKEY or DS records.

use super::bind::SyntaxError;
use crate::dns::Name;
use crate::keys::Dnskey;

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
}

/// Reads DS and DNSKEY records of `zone` in presentation form, one a line (comments and parentheses as in a zone file);
/// records of other owners and types are errors.
pub fn parse_trust_anchors(_text: &str, _zone: &Name) -> Result<Vec<TrustAnchor>, SyntaxError> {
    todo!()
}
