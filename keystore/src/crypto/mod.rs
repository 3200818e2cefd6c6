//! Signing and verifying behind one trait: for each algorithm by ring or by openssl, as the table in [`backend`] says; PKCS#11 for keys in
//! tokens. openssl makes the keys. No cryptography is written here.

pub mod backend;
pub mod cms;
mod openssl;
pub mod pem;
pub mod pkcs11;
mod private_key;
mod public_key;
mod ring;
pub mod rsa;
mod signer;
mod threads;

pub use private_key::PrivateKey;
pub use public_key::check_public_key;
pub use threads::run_signing;

use std::fmt;

use backend::{Backend, Library};

/// A DNSSEC algorithm number (IANA registry "DNS Security Algorithm Numbers").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Algorithm(pub u8);

impl Algorithm {
    /// RSA/SHA-1, verified only.
    pub const RSASHA1: Self = Self(5);
    /// RSA/SHA-1 with NSEC3, verified only.
    pub const NSEC3RSASHA1: Self = Self(7);
    /// RSA/SHA-256.
    pub const RSASHA256: Self = Self(8);
    /// RSA/SHA-512.
    pub const RSASHA512: Self = Self(10);
    /// ECDSA P-256 with SHA-256.
    pub const ECDSAP256SHA256: Self = Self(13);
    /// ECDSA P-384 with SHA-384.
    pub const ECDSAP384SHA384: Self = Self(14);
    /// Ed25519.
    pub const ED25519: Self = Self(15);
    /// Ed448.
    pub const ED448: Self = Self(16);

    /// The mnemonic that BIND prints, when the algorithm is one of ours.
    #[must_use]
    pub const fn mnemonic(self) -> Option<&'static str> {
        Some(match self.0 {
            5 => "RSASHA1",
            7 => "NSEC3RSASHA1",
            8 => "RSASHA256",
            10 => "RSASHA512",
            13 => "ECDSAP256SHA256",
            14 => "ECDSAP384SHA384",
            15 => "ED25519",
            16 => "ED448",
            _ => return None,
        })
    }

    /// Reads a mnemonic (also BIND's `ECDSA256` and `ECDSA384`) or the number, in any letter case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        let number = match upper.as_str() {
            "ECDSA256" => 13,
            "ECDSA384" => 14,
            other => match (0..=255).find(|n| Self(*n).mnemonic() == Some(other)) {
                Some(n) => n,
                None => other.parse().ok()?,
            },
        };
        Some(Self(number))
    }

    /// True for the algorithms that keys are generated and signatures made with (8, 10, 13, 14, 15, 16).
    #[must_use]
    pub const fn can_sign(self) -> bool {
        matches!(self.0, 8 | 10 | 13 | 14 | 15 | 16)
    }

    /// True for the algorithms whose signatures are verified (those that sign, and 5 and 7).
    #[must_use]
    pub const fn can_verify(self) -> bool {
        self.can_sign() || matches!(self.0, 5 | 7)
    }

    /// False for the algorithms that must not sign a zone with NSEC3, as resolvers that know no NSEC3 know them (RFC 5155 section 2).
    #[must_use]
    pub const fn works_with_nsec3(self) -> bool {
        !matches!(self.0, 1 | 3 | 5)
    }

    /// True for RSA, whose keys have a size to choose.
    #[must_use]
    pub const fn is_rsa(self) -> bool {
        matches!(self.0, 5 | 7 | 8 | 10)
    }

    /// Key size in bits as BIND's `.state` has it, for algorithms of fixed size (256, 384, 256, 456).
    #[must_use]
    pub const fn fixed_bits(self) -> Option<u16> {
        match self.0 {
            13 | 15 => Some(256),
            14 => Some(384),
            16 => Some(456),
            _ => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.pad(text),
            None => write!(f, "{}", self.0),
        }
    }
}

/// What a new signer signs once. No RRSIG can cover it: its first two octets would be an unassigned type covered.
const SELF_CHECK: &[u8] = b"offline-ksk: a signature to check a key with";

/// SHA-256 of `octets`.
#[must_use]
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(::ring::digest::digest(&::ring::digest::SHA256, octets).as_ref());
    out
}

/// A hash of ZONEMD records (RFC 8976 section 5.3) over what is fed to it.
pub struct ZoneDigest(::ring::digest::Context);

impl ZoneDigest {
    /// SHA-384 (1) or SHA-512 (2); `None` for other numbers.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::sha384()),
            2 => Some(Self(::ring::digest::Context::new(&::ring::digest::SHA512))),
            _ => None,
        }
    }

    /// SHA-384, number 1.
    #[must_use]
    pub fn sha384() -> Self {
        Self(::ring::digest::Context::new(&::ring::digest::SHA384))
    }

    /// Adds octets.
    pub fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// The digest of all that was added.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

/// Fills `octets` with random ones of the system.
///
/// # Errors
/// When the system has none to give.
pub fn random(octets: &mut [u8]) -> Result<(), RandomError> {
    ::ring::rand::SecureRandom::fill(&::ring::rand::SystemRandom::new(), octets).map_err(|_| RandomError)
}

/// The system gives no random octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random octets")]
pub struct RandomError;

/// SHA-256 of octets that come piece by piece.
#[derive(Clone)]
pub struct Sha256(::ring::digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(::ring::digest::Context::new(&::ring::digest::SHA256))
    }
}

impl Sha256 {
    /// Takes the next octets.
    pub fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// The digest of all octets.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

/// A private key that makes DNSSEC signatures.
pub trait SigningKey: Send + Sync {
    /// The algorithm of its signatures.
    fn algorithm(&self) -> Algorithm;
    /// The Public Key field of its DNSKEY record, in wire form.
    fn public_key(&self) -> &[u8];
    /// The Signature field of an RRSIG over `data` (the octets of RFC 4034 section 3.1.8.1).
    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, SignError>;
    /// True for a key in a token: [`Self::sign`] verifies each signature with [`Self::public_key`] before it gives it out, and waits for
    /// the token meanwhile, so that more calls side by side than there are processors are of use (see [`run_signing`]).
    fn is_in_token(&self) -> bool {
        false
    }
}

/// Why no signature was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The algorithm is unknown or only verified.
    #[error("algorithm {0} cannot be signed with")]
    Unsupported(Algorithm),
    /// The private key is damaged or does not belong to its public key.
    #[error("the private key is unusable: {0}")]
    BadKey(&'static str),
    /// The library refused.
    #[error("the cryptographic library failed: {0}")]
    Backend(String),
    /// The key is in a token, which did not do it.
    #[error(transparent)]
    Token(Box<pkcs11::TokenError>),
}

impl SignError {
    /// True when another try may go well although the key files stay as they are (see [`pkcs11::TokenError::is_passing`]).
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Token(error) => error.is_passing(),
            Self::Unsupported(_) | Self::BadKey(_) | Self::Backend(_) => false,
        }
    }
}

impl From<pkcs11::TokenError> for SignError {
    fn from(error: pkcs11::TokenError) -> Self {
        Self::Token(Box::new(error))
    }
}

/// Why a signature does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The algorithm is unknown or not verified.
    #[error("algorithm {0} is not supported")]
    Unsupported(Algorithm),
    /// The public key is malformed (length, point off the curve, RSA size outside 1024 to 4096 bits, exponent even, under 3 or over 33 bits).
    #[error("the public key is malformed")]
    BadKey,
    /// The signature is wrong.
    #[error("the signature does not verify")]
    BadSignature,
}

/// Verifies `signature` over `data` with the Public Key field `public_key` of a DNSKEY (algorithms 5, 7, 8, 10, 13 to 16).
///
/// Malformed keys are refused before any heavy arithmetic, as in [`check_public_key`]. ECDSA signatures are r and s in
/// fixed length (RFC 6605 section 4), RSA signatures as long as the modulus (RFC 3110 section 3).
pub fn verify(
    algorithm: Algorithm,
    public_key: &[u8],
    data: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    let library = Backend::of(algorithm).ok_or(VerifyError::Unsupported(algorithm))?.verify;
    match (library, algorithm.0) {
        (Library::Ring, 5 | 7 | 8 | 10) => ring::verify_rsa(algorithm, public_key, data, signature),
        (Library::Openssl, 14) => openssl::verify_p384(public_key, data, signature),
        (Library::Ring, 13) => {
            let verdict = ring::verify_p256(public_key, data, signature);
            // ring checks the point itself and does not say what was wrong; good signatures need no second look.
            if verdict.is_err() {
                check_public_key(algorithm, public_key)?;
            }
            verdict
        }
        (Library::Ring, 15) => ring::verify_ed25519(public_key, data, signature),
        (Library::Openssl, 16) => openssl::verify_ed448(public_key, data, signature),
        _ => Err(VerifyError::Unsupported(algorithm)),
    }
}

#[cfg(test)]
mod tests;
