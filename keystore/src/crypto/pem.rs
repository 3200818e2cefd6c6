//! Private keys in PEM: PKCS#8, as Knot and GnuTLS write it, and the older forms of RSA and EC keys.

use ::openssl::error::ErrorStack;
use ::openssl::nid::Nid;
use ::openssl::pkey::{Id, PKey, Private};

use super::{Algorithm, PrivateKey};

/// Why a PEM file has no key for DNSSEC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// A passphrase protects it.
    #[error(
        "the key is encrypted; decrypt it with `openssl pkey -in FILE -out NEW`, in a folder that nobody else can read"
    )]
    Encrypted,
    /// It is no private key.
    #[error("no private key in PEM")]
    Syntax,
    /// A key of another kind, such as one of a curve that DNSSEC does not have.
    #[error(
        "a key that DNSSEC does not sign with: RSA, ECDSA on P-256 or P-384, Ed25519 or Ed448 was expected"
    )]
    Kind,
}

/// Reads a private key, and gives the algorithms that it can sign with.
pub fn read(pem: &[u8]) -> Result<(PrivateKey, &'static [Algorithm]), PemError> {
    let mut is_encrypted = false;
    let pair = PKey::private_key_from_pem_callback(pem, |_| {
        is_encrypted = true;
        Err(ErrorStack::get())
    });
    let pair = pair.map_err(|_| if is_encrypted { PemError::Encrypted } else { PemError::Syntax })?;
    let (algorithms, len): (&'static [Algorithm], _) = match pair.id() {
        Id::RSA => {
            return Ok((rsa(&pair).ok_or(PemError::Kind)?, &[Algorithm::RSASHA256, Algorithm::RSASHA512]));
        }
        Id::ED25519 => return Ok((raw(&pair)?, &[Algorithm::ED25519])),
        Id::ED448 => return Ok((raw(&pair)?, &[Algorithm::ED448])),
        Id::EC => match pair.ec_key().map_err(|_| PemError::Kind)?.group().curve_name() {
            Some(Nid::X9_62_PRIME256V1) => (&[Algorithm::ECDSAP256SHA256], 32),
            Some(Nid::SECP384R1) => (&[Algorithm::ECDSAP384SHA384], 48),
            _ => return Err(PemError::Kind),
        },
        _ => return Err(PemError::Kind),
    };
    let key = pair.ec_key().map_err(|_| PemError::Kind)?;
    let scalar = key.private_key().to_vec_padded(len).map_err(|_| PemError::Kind)?;
    Ok((PrivateKey::Raw(scalar), algorithms))
}

fn raw(pair: &PKey<Private>) -> Result<PrivateKey, PemError> {
    pair.raw_private_key().map(PrivateKey::Raw).map_err(|_| PemError::Kind)
}

/// The numbers of an RSA key; `None` without its primes.
fn rsa(pair: &PKey<Private>) -> Option<PrivateKey> {
    let rsa = pair.rsa().ok()?;
    Some(PrivateKey::Rsa {
        modulus: rsa.n().to_vec(),
        public_exponent: rsa.e().to_vec(),
        private_exponent: rsa.d().to_vec(),
        prime1: rsa.p()?.to_vec(),
        prime2: rsa.q()?.to_vec(),
        exponent1: rsa.dmp1()?.to_vec(),
        exponent2: rsa.dmq1()?.to_vec(),
        coefficient: rsa.iqmp()?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::openssl::ec::{EcGroup, EcKey};
    use ::openssl::rsa::Rsa;
    use ::openssl::symm::Cipher;

    fn ec(curve: Nid) -> PKey<Private> {
        let group = EcGroup::from_curve_name(curve).expect("a curve");
        PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a pair")
    }

    #[test]
    fn key_of_each_kind_is_read_in_every_form_and_signs() {
        let rsa = Rsa::generate(2048).expect("a key");
        let (p256, p384) = (ec(Nid::X9_62_PRIME256V1), ec(Nid::SECP384R1));
        let pkcs8 = |pair: &PKey<Private>| pair.private_key_to_pem_pkcs8().expect("PEM");
        let ed25519 = PKey::generate_ed25519().expect("a key");
        let ed448 = PKey::generate_ed448().expect("a key");
        let forms = [
            (rsa.private_key_to_pem().expect("PEM"), 8, 2),
            (pkcs8(&PKey::from_rsa(rsa).expect("a pair")), 8, 2),
            (p256.ec_key().expect("EC").private_key_to_pem().expect("PEM"), 13, 1),
            (pkcs8(&p256), 13, 1),
            (pkcs8(&p384), 14, 1),
            (pkcs8(&ed25519), 15, 1),
            (pkcs8(&ed448), 16, 1),
        ];
        for (pem, algorithm, count) in forms {
            let (key, algorithms) = read(&pem).expect("a key");
            assert_eq!((algorithms[0].0, algorithms.len()), (algorithm, count));
            key.signer(algorithms[0]).expect("it signs");
        }
    }

    #[test]
    fn what_is_no_key_for_dnssec_is_refused_with_its_reason() {
        let locked = ec(Nid::X9_62_PRIME256V1);
        let locked =
            locked.private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"secret").expect("PEM");
        let public = ec(Nid::X9_62_PRIME256V1).public_key_to_pem().expect("PEM");
        let other = ec(Nid::SECP521R1).private_key_to_pem_pkcs8().expect("PEM");
        for (pem, expected) in [
            (locked.as_slice(), PemError::Encrypted),
            (&public, PemError::Syntax),
            (b"", PemError::Syntax),
            (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", PemError::Syntax),
            (&other, PemError::Kind),
        ] {
            assert_eq!(read(pem).err(), Some(expected), "{}", String::from_utf8_lossy(pem));
        }
    }
}
