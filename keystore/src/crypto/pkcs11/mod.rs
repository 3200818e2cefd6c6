//! Keys in PKCS#11 tokens (HSMs, smart cards, SoftHSM), named by RFC 7512 URI.
//!
//! ```text
//! URI ──module──▶ token ──PIN──▶ session ──label, id──▶ private key ──sign──▶ signature, verified here before anybody gets it
//! ```
//!
//! Modules and logins count for the whole process, as PKCS#11 has it: each module is loaded and initialised once, each token is
//! logged in to once, with one session that signs, behind a mutex. A PIN that was wrong is not sent a second time.
//!
//! The module is `module-path` or `module-name` of the URI, or else the environment's PKCS11_MODULE (or PKCS11_PROVIDER_MODULE, which
//! BIND's users have set).

#[cfg(any(feature = "pkcs11", test))]
mod answer;
mod error;
#[cfg(feature = "pkcs11")]
mod module;
mod pin;
#[cfg(feature = "pkcs11")]
mod token;
mod uri;

pub use error::TokenError;
pub use pin::{Pin, PinRequest, Prompt, set_prompt};
pub use uri::{Pkcs11Uri, UriError, with_object};

use super::{Algorithm, SigningKey};

/// The signer for the private key that `uri` names. Signs a fixed text once and verifies that with `public_key` (the Public Key field
/// of the DNSKEY), so that no other key of the token is taken for it.
#[cfg_attr(not(feature = "pkcs11"), allow(unused_variables))]
pub fn load(
    uri: &Pkcs11Uri,
    algorithm: Algorithm,
    public_key: &[u8],
) -> Result<Box<dyn SigningKey>, TokenError> {
    #[cfg(feature = "pkcs11")]
    return token::load(uri, algorithm, public_key);
    #[cfg(not(feature = "pkcs11"))]
    Err(TokenError::NotBuilt)
}

/// Makes a key pair in the token, which the private key never leaves. `uri` has the label of the new key as `object`; `bits` counts
/// for RSA only.
#[cfg_attr(not(feature = "pkcs11"), allow(unused_variables))]
pub fn generate(uri: &Pkcs11Uri, algorithm: Algorithm, bits: u16) -> Result<NewTokenKey, TokenError> {
    #[cfg(feature = "pkcs11")]
    return token::generate(uri, algorithm, bits);
    #[cfg(not(feature = "pkcs11"))]
    Err(TokenError::NotBuilt)
}

/// A key pair just made. It is removed from the token again when dropped, unless it is [kept](Self::keep).
pub struct NewTokenKey {
    public_key: Vec<u8>,
    #[cfg(feature = "pkcs11")]
    pair: token::Pair,
}

impl NewTokenKey {
    /// The Public Key field of its DNSKEY.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Leaves it in the token.
    #[cfg_attr(not(feature = "pkcs11"), allow(unused_mut))]
    pub fn keep(mut self) {
        #[cfg(feature = "pkcs11")]
        self.pair.keep();
    }

    /// Removes it from the token.
    #[cfg_attr(not(feature = "pkcs11"), allow(unused_mut))]
    pub fn discard(mut self) -> Result<(), TokenError> {
        #[cfg(feature = "pkcs11")]
        self.pair.remove()?;
        Ok(())
    }
}
