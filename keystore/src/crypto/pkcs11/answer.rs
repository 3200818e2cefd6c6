//! Holding what a token answers against what was asked: public keys read, signatures verified.

use super::TokenError;
use crate::crypto::SELF_CHECK;
use crate::crypto::rsa::RsaPublicKey;
use crate::crypto::{Algorithm, SignError, SigningKey, check_public_key, verify};

/// What makes signatures that are not to be trusted before they are verified.
pub(super) trait RawSigner: Send + Sync {
    /// The Signature field over `data`, as the token gives it.
    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, TokenError>;
    /// Label of the token.
    fn token(&self) -> &str;
}

/// A signer that hands out no signature which does not verify.
pub(super) struct Verified<S> {
    signer: S,
    algorithm: Algorithm,
    public_key: Vec<u8>,
}

impl<S: RawSigner> Verified<S> {
    /// Signs a fixed text once, so that a signer that has another key is noticed before it is used.
    pub(super) fn new(signer: S, algorithm: Algorithm, public_key: Vec<u8>) -> Result<Self, TokenError> {
        let verified = Self { signer, algorithm, public_key };
        verified
            .signature(SELF_CHECK, "the private key does not belong to the public key in the .key file")?;
        Ok(verified)
    }

    fn signature(&self, data: &[u8], what: &'static str) -> Result<Vec<u8>, TokenError> {
        let signature = self.signer.sign(data)?;
        verify(self.algorithm, &self.public_key, data, &signature).map_err(|_| TokenError::BadAnswer {
            token: self.signer.token().to_owned(),
            what: what.into(),
        })?;
        Ok(signature)
    }
}

impl<S: RawSigner> SigningKey for Verified<S> {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.signature(data, "a signature that does not verify")?)
    }

    fn is_in_token(&self) -> bool {
        true
    }
}

/// The Public Key field of an RSA key from CKA_PUBLIC_EXPONENT and CKA_MODULUS.
pub(super) fn rsa_field(algorithm: Algorithm, exponent: &[u8], modulus: &[u8]) -> Option<Vec<u8>> {
    let strip = |n: &[u8]| n[n.iter().take_while(|b| **b == 0).count()..].to_vec();
    let (exponent, modulus) = (strip(exponent), strip(modulus));
    let field = RsaPublicKey { exponent: &exponent, modulus: &modulus }.to_field()?;
    check_public_key(algorithm, &field).ok().map(|_| field)
}

/// The Public Key field of an ECDSA or EdDSA key from CKA_EC_POINT, which tokens give as a DER OCTET STRING (PKCS#11 2.40), as a DER
/// BIT STRING (EdDSA of 3.0 drafts), or bare.
pub(super) fn point_field(algorithm: Algorithm, value: &[u8]) -> Option<Vec<u8>> {
    let len = match algorithm {
        Algorithm::ECDSAP256SHA256 => 64,
        Algorithm::ECDSAP384SHA384 => 96,
        Algorithm::ED25519 => 32,
        _ => return None,
    };
    // ECDSA points have the mark of the uncompressed form in front.
    let mark: &[u8] = if algorithm == Algorithm::ED25519 { &[] } else { &[4] };
    let bare = mark.len() + len;
    let octet_string = [4, u8::try_from(bare).ok()?];
    let bit_string = [3, u8::try_from(bare + 1).ok()?, 0];
    let point = match value.len().checked_sub(bare)? {
        0 => value,
        2 => value.strip_prefix(&octet_string)?,
        3 => value.strip_prefix(&bit_string)?,
        _ => return None,
    };
    let field = point.strip_prefix(mark)?;
    check_public_key(algorithm, field).ok().map(|_| field.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PrivateKey;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A token that answers well a number of times, then with `spoil` of the good answer.
    struct Token {
        key: Box<dyn SigningKey>,
        good: AtomicU32,
        spoil: fn(Vec<u8>) -> Vec<u8>,
    }

    impl RawSigner for Token {
        fn sign(&self, data: &[u8]) -> Result<Vec<u8>, TokenError> {
            let signature = self.key.sign(data).expect("a signature");
            let good =
                self.good.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
            Ok(if good { signature } else { (self.spoil)(signature) })
        }

        fn token(&self) -> &str {
            "t"
        }
    }

    #[test]
    fn a_bad_answer_is_never_handed_on() {
        let spoils: [fn(Vec<u8>) -> Vec<u8>; 5] = [
            |_| Vec::new(),
            |s| s[1..].to_vec(),
            |s| [&s[..], &[0]].concat(),
            |s| vec![0; s.len()],
            |mut s| {
                s[5] ^= 1;
                s
            },
        ];
        for algorithm in [8, 10, 13, 14, 15].map(Algorithm) {
            let private = PrivateKey::generate(algorithm, 1024).expect("a key");
            let public_key = private.public_key(algorithm).expect("a public key");
            for spoil in spoils {
                let token = |good| Token {
                    key: private.signer(algorithm).expect("a signer"),
                    good: AtomicU32::new(good),
                    spoil,
                };
                let key = Verified::new(token(3), algorithm, public_key.clone()).expect("good at first");
                assert!(key.sign(b"one").is_ok() && key.sign(b"two").is_ok());
                let error = key.sign(b"three").expect_err("spoilt").to_string();
                assert!(error.contains("does not verify"), "{error}");
                assert!(Verified::new(token(0), algorithm, public_key.clone()).is_err());
            }
            let other = PrivateKey::generate(algorithm, 1024).expect("a key").public_key(algorithm);
            let token = Token {
                key: private.signer(algorithm).expect("a signer"),
                good: AtomicU32::new(9),
                spoil: |s| s,
            };
            let error =
                Verified::new(token, algorithm, other.expect("a public key")).err().expect("another key");
            assert!(error.to_string().contains("does not belong"), "{error}");
        }
    }

    #[test]
    fn points_in_all_forms() {
        for algorithm in [13, 14, 15].map(Algorithm) {
            let field =
                PrivateKey::generate(algorithm, 0).and_then(|k| k.public_key(algorithm)).expect("a key");
            let bare =
                if algorithm == Algorithm::ED25519 { field.clone() } else { [&[4], &field[..]].concat() };
            let len = u8::try_from(bare.len()).expect("short");
            let octets = [&[4, len], &bare[..]].concat();
            let bits = [&[3, len + 1, 0], &bare[..]].concat();
            for form in [&bare, &octets, &bits] {
                assert_eq!(point_field(algorithm, form).as_ref(), Some(&field), "{algorithm}");
                // Cut to the length of a bare one, a wrapped Ed25519 key is any other 32 octets.
                for cut in (0..form.len()).filter(|cut| *cut != bare.len()) {
                    assert_eq!(point_field(algorithm, &form[..cut]), None);
                }
                assert_eq!(point_field(algorithm, &[&form[..], &[0; 4]].concat()), None);
            }
        }
        assert_eq!(
            point_field(Algorithm::ECDSAP256SHA256, &[&[4][..], &[1; 64]].concat()),
            None,
            "off the curve"
        );
        assert_eq!(point_field(Algorithm::RSASHA256, &[4; 65]), None);
    }

    #[test]
    fn rsa_numbers_with_leading_zeros() {
        let PrivateKey::Rsa { modulus, public_exponent, .. } =
            &PrivateKey::generate(Algorithm::RSASHA256, 1024).expect("a key")
        else {
            panic!("an RSA key")
        };
        let plain = rsa_field(Algorithm::RSASHA256, public_exponent, modulus);
        let padded = [&[0, 0], &modulus[..]].concat();
        assert!(plain.is_some());
        assert_eq!(rsa_field(Algorithm::RSASHA256, &[0, 1, 0, 1], &padded), plain);
        assert_eq!(rsa_field(Algorithm::RSASHA256, &[], &padded), None);
        assert_eq!(rsa_field(Algorithm::RSASHA256, public_exponent, &[]), None);
    }
}
