//! What a token holds, as it is told to a person.

use serde::{Deserialize, Serialize};

use crate::crypto::Algorithm;

/// A token and the keys in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holding {
    /// Label of the token.
    pub label: String,
    /// Its serial number.
    pub serial: String,
    /// Its maker.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// The keys, sorted by label and id.
    pub keys: Vec<HeldKey>,
    /// There are more keys than these.
    pub(super) more: bool,
}

/// A key of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HeldKey {
    /// CKA_LABEL, in most cases text.
    pub label: Vec<u8>,
    /// CKA_ID, any octets; what keygen makes has 16 random ones.
    pub id: Vec<u8>,
    /// What it can sign with.
    pub kind: HeldKeyKind,
    /// Which halves of the pair are there.
    pub part: HeldPart,
    /// The Public Key field that a DNSKEY with it has (RFC 3110, 6605, 8080), where the token tells it.
    pub public_key: Option<Vec<u8>>,
    /// What the private key may do, as PKCS#11 names it: `sign`, `decrypt`, `unwrap`, `derive`, `sign-recover`.
    pub rights: Vec<String>,
    /// It wants the PIN for each signature (CKA_ALWAYS_AUTHENTICATE).
    pub wants_pin: bool,
}

/// Which halves of a key pair a token holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeldPart {
    /// The pair.
    Both,
    /// The private key alone.
    Private,
    /// The public key alone, which signs nothing.
    Public,
}

/// Kind of a key in a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeldKeyKind {
    /// RSA with a modulus of so many bits.
    Rsa(u16),
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519.
    Ed25519,
    /// Nothing that DNSSEC signs with, or nothing that the token tells of.
    Other,
}

impl HeldKeyKind {
    /// The algorithms that it signs with.
    #[must_use]
    pub const fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Rsa(_) => &[Algorithm::RSASHA256, Algorithm::RSASHA512],
            Self::P256 => &[Algorithm::ECDSAP256SHA256],
            Self::P384 => &[Algorithm::ECDSAP384SHA384],
            Self::Ed25519 => &[Algorithm::ED25519],
            Self::Other => &[],
        }
    }
}

impl std::fmt::Display for HeldKeyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA-{bits}"),
            Self::P256 => f.write_str("P-256"),
            Self::P384 => f.write_str("P-384"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other => f.write_str("other"),
        }
    }
}
