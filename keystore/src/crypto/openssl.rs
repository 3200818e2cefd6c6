//! openssl behind the traits of [`super`]: RSA signatures, verifying with P-384, Ed448; and what ring lacks: key generation and ECDSA points
//! from scalars.

use std::sync::LazyLock;

use ::openssl::bn::{BigNum, BigNumContext};
use ::openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use ::openssl::ecdsa::EcdsaSig;
use ::openssl::error::ErrorStack;
use ::openssl::hash::MessageDigest;
use ::openssl::nid::Nid;
use ::openssl::pkey::{Id, PKey, Private};
use ::openssl::rsa::{Rsa, RsaPrivateKeyBuilder};
use ::openssl::sha::sha384;
use ::openssl::sign::{Signer, Verifier};

use super::{Algorithm, PrivateKey, SignError, SigningKey, VerifyError};

impl From<ErrorStack> for SignError {
    fn from(error: ErrorStack) -> Self {
        Self::Backend(error.to_string())
    }
}

/// A signer of openssl. Its signing functions take `&self` and no lock of ours.
pub(super) struct OpensslSigner {
    algorithm: Algorithm,
    public_key: Vec<u8>,
    pair: PKey<Private>,
}

impl OpensslSigner {
    /// An RSA signer for algorithm 8 or 10. Checks that modulus = prime1 * prime2; the caller signs once to check the rest.
    pub(super) fn rsa(
        algorithm: Algorithm,
        key: &PrivateKey,
        public_key: Vec<u8>,
    ) -> Result<Self, SignError> {
        let PrivateKey::Rsa {
            modulus,
            public_exponent,
            private_exponent,
            prime1,
            prime2,
            exponent1,
            exponent2,
            coefficient,
        } = key
        else {
            return Err(SignError::BadKey("the elements are not those of an RSA key"));
        };
        let number = |octets: &[u8]| BigNum::from_slice(octets);
        let (mut p, mut q) = (number(prime1)?, number(prime2)?);
        let mut product = BigNum::new()?;
        product.checked_mul(&p, &q, &mut *BigNumContext::new_secure()?)?;
        if product != number(modulus)? {
            p.clear();
            q.clear();
            return Err(SignError::BadKey("the modulus is not the product of the primes"));
        }
        // The numbers move into the key, which clears them when it is freed.
        let rsa =
            RsaPrivateKeyBuilder::new(number(modulus)?, number(public_exponent)?, number(private_exponent)?)?
                .set_factors(p, q)?
                .set_crt_params(number(exponent1)?, number(exponent2)?, number(coefficient)?)?
                .build();
        Ok(Self { algorithm, public_key, pair: PKey::from_rsa(rsa)? })
    }

    /// An Ed448 signer from the seed.
    pub(super) fn ed448(seed: &[u8]) -> Result<Self, SignError> {
        let pair = ed448_pair(seed)?;
        Ok(Self { algorithm: Algorithm::ED448, public_key: pair.raw_public_key()?, pair })
    }
}

impl SigningKey for OpensslSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, SignError> {
        let mut signer = match self.algorithm {
            Algorithm::RSASHA256 => Signer::new(MessageDigest::sha256(), &self.pair)?,
            Algorithm::RSASHA512 => Signer::new(MessageDigest::sha512(), &self.pair)?,
            Algorithm::ED448 => Signer::new_without_digest(&self.pair)?,
            other => return Err(SignError::Unsupported(other)),
        };
        Ok(signer.sign_oneshot_to_vec(data)?)
    }
}

/// Verifies an ECDSA signature on P-384 (14).
pub(super) fn verify_p384(public_key: &[u8], data: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    let (group, len) = curve(Algorithm::ECDSAP384SHA384).map_err(|_| VerifyError::BadKey)?;
    if public_key.len() != 2 * len {
        return Err(VerifyError::BadKey);
    }
    let octets = [&[4], public_key].concat();
    // EC_POINT_oct2point refuses coordinates out of range and points off the curve.
    let key = BigNumContext::new()
        .and_then(|mut context| EcPoint::from_bytes(group, &octets, &mut context))
        .and_then(|point| EcKey::from_public_key(group, &point))
        .map_err(|_| VerifyError::BadKey)?;
    if signature.len() != 2 * len {
        return Err(VerifyError::BadSignature);
    }
    let (r, s) = signature.split_at(len);
    let good = BigNum::from_slice(r)
        .and_then(|r| EcdsaSig::from_private_components(r, BigNum::from_slice(s)?))
        .and_then(|both| both.verify(&sha384(data), &key));
    if good.unwrap_or(false) { Ok(()) } else { Err(VerifyError::BadSignature) }
}

/// Verifies an Ed448 signature (16).
pub(super) fn verify_ed448(public_key: &[u8], data: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    if public_key.len() != 57 {
        return Err(VerifyError::BadKey);
    }
    let key = PKey::public_key_from_raw_bytes(public_key, Id::ED448).map_err(|_| VerifyError::BadKey)?;
    let good = Verifier::new_without_digest(&key).and_then(|mut v| v.verify_oneshot(signature, data));
    if good.unwrap_or(false) { Ok(()) } else { Err(VerifyError::BadSignature) }
}

/// Makes a new private key.
pub(super) fn generate(algorithm: Algorithm, bits: u16) -> Result<PrivateKey, SignError> {
    match algorithm.0 {
        8 | 10 => {
            let rsa = Rsa::generate_with_e(u32::from(bits), &*BigNum::from_u32(65537)?)?;
            let missing = SignError::BadKey("openssl made an RSA key without primes");
            let (Some(p), Some(q), Some(dp), Some(dq), Some(inverse)) =
                (rsa.p(), rsa.q(), rsa.dmp1(), rsa.dmq1(), rsa.iqmp())
            else {
                return Err(missing);
            };
            Ok(PrivateKey::Rsa {
                modulus: rsa.n().to_vec(),
                public_exponent: rsa.e().to_vec(),
                private_exponent: rsa.d().to_vec(),
                prime1: p.to_vec(),
                prime2: q.to_vec(),
                exponent1: dp.to_vec(),
                exponent2: dq.to_vec(),
                coefficient: inverse.to_vec(),
            })
        }
        13 | 14 => {
            let (group, len) = curve(algorithm)?;
            Ok(PrivateKey::Raw(EcKey::generate(group)?.private_key().to_vec_padded(len as i32)?))
        }
        15 => Ok(PrivateKey::Raw(PKey::generate_ed25519()?.raw_private_key()?)),
        16 => Ok(PrivateKey::Raw(PKey::generate_ed448()?.raw_private_key()?)),
        _ => Err(SignError::Unsupported(algorithm)),
    }
}

/// The Public Key field that belongs to an Ed448 seed.
pub(super) fn ed448_public_key(seed: &[u8]) -> Result<Vec<u8>, SignError> {
    Ok(ed448_pair(seed)?.raw_public_key()?)
}

fn ed448_pair(seed: &[u8]) -> Result<PKey<Private>, SignError> {
    if seed.len() != 57 {
        return Err(SignError::BadKey("an Ed448 seed has 57 octets"));
    }
    Ok(PKey::private_key_from_raw_bytes(seed, Id::ED448)?)
}

/// The Public Key field (x and y) that belongs to an ECDSA scalar.
pub(super) fn ecdsa_public_key(algorithm: Algorithm, scalar: &[u8]) -> Result<Vec<u8>, SignError> {
    let (group, len) = curve(algorithm)?;
    if scalar.len() != len {
        return Err(SignError::BadKey("the ECDSA scalar has the wrong length"));
    }
    let mut context = BigNumContext::new_secure()?;
    let mut order = BigNum::new()?;
    group.order(&mut order, &mut context)?;
    let scalar = ClearedNumber(BigNum::from_slice(scalar)?);
    if scalar.0.num_bits() == 0 || *scalar.0 >= *order {
        return Err(SignError::BadKey("the ECDSA scalar is out of range"));
    }
    let mut point = EcPoint::new(group)?;
    point.mul_generator2(group, &scalar.0, &mut context)?;
    let octets = point.to_bytes(group, PointConversionForm::UNCOMPRESSED, &mut context)?;
    match octets.split_first() {
        Some((4, field)) if field.len() == 2 * len => Ok(field.to_vec()),
        _ => Err(SignError::BadKey("the ECDSA scalar gives no point")),
    }
}

/// True when the Public Key field of an ECDSA key is a point on its curve.
pub(super) fn is_on_curve(algorithm: Algorithm, public_key: &[u8]) -> bool {
    let Ok((group, len)) = curve(algorithm) else { return false };
    if public_key.len() != 2 * len {
        return false;
    }
    let octets = [&[4], public_key].concat();
    // EC_POINT_oct2point refuses coordinates out of range and points off the curve.
    BigNumContext::new().and_then(|mut context| EcPoint::from_bytes(group, &octets, &mut context)).is_ok()
}

/// The curve of algorithm 13 or 14 and the octets of its scalars.
fn curve(algorithm: Algorithm) -> Result<(&'static EcGroup, usize), SignError> {
    static P256: LazyLock<Result<EcGroup, ErrorStack>> =
        LazyLock::new(|| EcGroup::from_curve_name(Nid::X9_62_PRIME256V1));
    static P384: LazyLock<Result<EcGroup, ErrorStack>> =
        LazyLock::new(|| EcGroup::from_curve_name(Nid::SECP384R1));
    let (group, len) = match algorithm {
        Algorithm::ECDSAP256SHA256 => (&*P256, 32),
        Algorithm::ECDSAP384SHA384 => (&*P384, 48),
        other => return Err(SignError::Unsupported(other)),
    };
    match group {
        Ok(group) => Ok((group, len)),
        Err(error) => Err(SignError::Backend(error.to_string())),
    }
}

/// A secret number that is overwritten before its memory is given back.
struct ClearedNumber(BigNum);

impl Drop for ClearedNumber {
    fn drop(&mut self) {
        self.0.clear();
    }
}
