//! From a private key to a signer: generation, the public key, and the signer of the library that the table of [`super::backend`] names.

use super::backend::{Backend, Library};
use super::rsa::{RSA_MAX_BITS, RSA_MIN_BITS, RsaPublicKey};
use super::{
    Algorithm, PrivateKey, SELF_CHECK, SignError, SigningKey, check_public_key, openssl, ring, verify,
};

impl PrivateKey {
    /// Makes a new key; `bits` counts for RSA only (1024 to 4096, exponent 65537).
    pub fn generate(algorithm: Algorithm, bits: u16) -> Result<Self, SignError> {
        if !algorithm.can_sign() {
            return Err(SignError::Unsupported(algorithm));
        }
        if algorithm.is_rsa() && !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&usize::from(bits)) {
            return Err(SignError::BadKey("an RSA key has from 1024 to 4096 bits"));
        }
        openssl::generate(algorithm, bits)
    }

    /// The Public Key field of the DNSKEY that belongs to it.
    pub fn public_key(&self, algorithm: Algorithm) -> Result<Vec<u8>, SignError> {
        match (algorithm.0, self) {
            (8 | 10, Self::Rsa { modulus, public_exponent, .. }) => {
                let key = RsaPublicKey { exponent: public_exponent, modulus };
                let field = key.to_field().ok_or(SignError::BadKey("the RSA exponent is too long"))?;
                check_public_key(algorithm, &field)
                    .map_err(|_| SignError::BadKey("the RSA modulus or exponent is out of bounds"))?;
                Ok(field)
            }
            (13 | 14, Self::Raw(scalar)) => openssl::ecdsa_public_key(algorithm, scalar),
            (15, Self::Raw(seed)) => ring::ed25519_public_key(seed),
            (16, Self::Raw(seed)) => openssl::ed448_public_key(seed),
            (8 | 10 | 13..=16, _) => Err(SignError::BadKey("the elements are those of another algorithm")),
            _ => Err(SignError::Unsupported(algorithm)),
        }
    }

    /// A signer for it. Signs a fixed text once and verifies that, so that a damaged key never makes a wrong signature.
    pub fn signer(&self, algorithm: Algorithm) -> Result<Box<dyn SigningKey>, SignError> {
        let public_key = self.public_key(algorithm)?;
        let library = Backend::of(algorithm).and_then(|backend| backend.sign);
        let signer: Box<dyn SigningKey> = match (library, algorithm.0, self) {
            (Some(Library::Openssl), 8 | 10, key @ Self::Rsa { .. }) => {
                Box::new(openssl::OpensslSigner::rsa(algorithm, key, public_key)?)
            }
            (Some(Library::Ring), 13 | 14, Self::Raw(scalar)) => {
                Box::new(ring::RingSigner::ecdsa(algorithm, scalar, public_key)?)
            }
            (Some(Library::Ring), 15, Self::Raw(seed)) => Box::new(ring::RingSigner::ed25519(seed)?),
            (Some(Library::Openssl), 16, Self::Raw(seed)) => Box::new(openssl::OpensslSigner::ed448(seed)?),
            _ => return Err(SignError::Unsupported(algorithm)),
        };
        let signature = signer
            .sign(SELF_CHECK)
            .map_err(|_| SignError::BadKey("it makes no signature; the private elements are damaged"))?;
        verify(algorithm, signer.public_key(), SELF_CHECK, &signature).map_err(|_| {
            SignError::BadKey("its signatures do not verify; the private elements are damaged")
        })?;
        Ok(signer)
    }
}
