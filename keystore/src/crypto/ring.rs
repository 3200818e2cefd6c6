//! ring behind the traits of [`super`]: signing with ECDSA and Ed25519, verifying these and RSA.
//!
//! ring keeps a private key inside its key pair types and does not wipe them when dropped; everything that goes in is
//! wiped here.

use ::ring::rand::SystemRandom;
use ::ring::rsa::PublicKeyComponents;
use ::ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::rsa::RsaPublicKey;
use super::{Algorithm, SignError, SigningKey, VerifyError};

/// A key pair of ring.
enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A signer of ring. Signing takes `&self` and no lock.
pub(super) struct RingSigner {
    algorithm: Algorithm,
    public_key: Vec<u8>,
    pair: Pair,
    random: SystemRandom,
}

impl RingSigner {
    /// An ECDSA signer from the scalar and the Public Key field; ring checks that both belong together.
    pub(super) fn ecdsa(algorithm: Algorithm, scalar: &[u8], public_key: Vec<u8>) -> Result<Self, SignError> {
        let signing = match algorithm {
            Algorithm::ECDSAP256SHA256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            Algorithm::ECDSAP384SHA384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            other => return Err(SignError::Unsupported(other)),
        };
        let random = SystemRandom::new();
        let point = [&[4], &public_key[..]].concat();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, scalar, &point, &random)
            .map_err(|_| SignError::BadKey("the ECDSA scalar is out of range"))?;
        Ok(Self::new(algorithm, public_key, Pair::Ecdsa(pair)))
    }

    /// An Ed25519 signer from the seed.
    pub(super) fn ed25519(seed: &[u8]) -> Result<Self, SignError> {
        let pair = ed25519_pair(seed)?;
        let public_key = pair.public_key().as_ref().to_vec();
        Ok(Self::new(Algorithm::ED25519, public_key, Pair::Ed25519(pair)))
    }

    fn new(algorithm: Algorithm, public_key: Vec<u8>, pair: Pair) -> Self {
        Self { algorithm, public_key, pair, random: SystemRandom::new() }
    }
}

impl SigningKey for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, SignError> {
        let refused = |_| SignError::Backend("ring made no signature".to_owned());
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign(&self.random, data).map_err(refused)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(data).as_ref().to_vec()),
        }
    }
}

/// The Public Key field that belongs to an Ed25519 seed.
pub(super) fn ed25519_public_key(seed: &[u8]) -> Result<Vec<u8>, SignError> {
    Ok(ed25519_pair(seed)?.public_key().as_ref().to_vec())
}

fn ed25519_pair(seed: &[u8]) -> Result<Ed25519KeyPair, SignError> {
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SignError::BadKey("an Ed25519 seed has 32 octets"))
}

/// Verifies an RSA signature (5, 7, 8, 10).
pub(super) fn verify_rsa(
    algorithm: Algorithm,
    public_key: &[u8],
    data: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    let parameters = match algorithm.0 {
        5 | 7 => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        8 => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        10 => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        _ => return Err(VerifyError::Unsupported(algorithm)),
    };
    let key = RsaPublicKey::parse(public_key).ok_or(VerifyError::BadKey)?;
    PublicKeyComponents { n: key.modulus, e: key.exponent }
        .verify(parameters, data, signature)
        .map_err(|_| VerifyError::BadSignature)
}

/// Verifies an ECDSA signature on P-256 (13). Says `BadSignature` for a point off the curve too.
pub(super) fn verify_p256(public_key: &[u8], data: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    let mut point = [4; 65];
    if public_key.len() != point.len() - 1 {
        return Err(VerifyError::BadKey);
    }
    point[1..].copy_from_slice(public_key);
    UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
        .verify(data, signature)
        .map_err(|_| VerifyError::BadSignature)
}

/// Verifies an Ed25519 signature (15).
pub(super) fn verify_ed25519(public_key: &[u8], data: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    if public_key.len() != 32 {
        return Err(VerifyError::BadKey);
    }
    UnparsedPublicKey::new(&signature::ED25519, public_key)
        .verify(data, signature)
        .map_err(|_| VerifyError::BadSignature)
}
