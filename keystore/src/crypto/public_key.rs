//! The check that a Public Key field of a DNSKEY record has the form and the limits of its algorithm.

use super::openssl::is_on_curve;
use super::rsa::RsaPublicKey;
use super::{Algorithm, VerifyError};

/// Checks that `public_key` is a usable Public Key field for `algorithm`, before any heavy arithmetic; gives its size in
/// bits (the modulus of RSA; 256, 384, 256 and 456 for algorithms 13 to 16).
///
/// RSA: RFC 3110 with the limits of [`RsaPublicKey::parse`]. ECDSA: 64 or 96 octets, the point on the curve (RFC 6605
/// section 4). Ed25519: 32 octets; Ed448: 57 octets (RFC 8080 section 3).
pub fn check_public_key(algorithm: Algorithm, public_key: &[u8]) -> Result<u16, VerifyError> {
    let usable = match algorithm.0 {
        5 | 7 | 8 | 10 => {
            let rsa = RsaPublicKey::parse(public_key).ok_or(VerifyError::BadKey)?;
            return u16::try_from(rsa.bits()).map_err(|_| VerifyError::BadKey);
        }
        13 => public_key.len() == 64 && is_on_curve(algorithm, public_key),
        14 => public_key.len() == 96 && is_on_curve(algorithm, public_key),
        15 => public_key.len() == 32,
        16 => public_key.len() == 57,
        _ => return Err(VerifyError::Unsupported(algorithm)),
    };
    match algorithm.fixed_bits() {
        Some(bits) if usable => Ok(bits),
        _ => Err(VerifyError::BadKey),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An RSA field with an exponent length in the short or the three-octet form.
    fn rsa(exponent: &[u8], bits: usize, long: bool) -> Vec<u8> {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] >>= (8 - bits % 8) % 8;
        let mut out = if long { vec![0, 0, exponent.len() as u8] } else { vec![exponent.len() as u8] };
        out.extend_from_slice(exponent);
        out.extend_from_slice(&modulus);
        out
    }

    #[test]
    fn rsa_limits() {
        let f4: &[u8] = &[1, 0, 1];
        let cases: &[(&str, Vec<u8>, Option<u16>)] = &[
            ("1024 bits", rsa(f4, 1024, false), Some(1024)),
            ("1023 bits", rsa(f4, 1023, false), None),
            ("1025 bits", rsa(f4, 1025, false), Some(1025)),
            ("4096 bits", rsa(f4, 4096, false), Some(4096)),
            ("4097 bits", rsa(f4, 4097, false), None),
            ("512 bits", rsa(f4, 512, false), None),
            ("three-octet length", rsa(f4, 2048, true), Some(2048)),
            ("exponent 3", rsa(&[3], 2048, false), Some(2048)),
            ("exponent 1", rsa(&[1], 2048, false), None),
            ("exponent 4", rsa(&[4], 2048, false), None),
            ("exponent 0", rsa(&[0], 2048, false), None),
            ("no exponent", rsa(&[], 2048, false), None),
            ("exponent with leading zero", rsa(&[0, 1, 0, 1], 2048, false), None),
            ("exponent 2^32+1", rsa(&[1, 0, 0, 0, 1], 2048, false), Some(2048)),
            ("exponent 2^33+1", rsa(&[2, 0, 0, 0, 1], 2048, false), None),
            ("exponent near 2^4096", [&[0, 2, 0], &[0xff; 512][..], &[0xff; 256]].concat(), None),
            ("exponent longer than the field", vec![200, 1, 0, 1], None),
            ("empty", vec![], None),
            ("length octets only", vec![0, 0], None),
            ("even modulus", [&rsa(f4, 1024, false)[..], &[0]].concat(), None),
            ("leading zero", [&[3, 1, 0, 1, 0][..], &[0xff; 256]].concat(), None),
        ];
        for (what, field, bits) in cases {
            for algorithm in [5, 7, 8, 10] {
                let want = bits.ok_or(VerifyError::BadKey);
                assert_eq!(check_public_key(Algorithm(algorithm), field), want, "{what}");
            }
        }
    }

    #[test]
    fn field_round_trip() {
        for exponent in [&[3][..], &[1, 0, 1], &[1, 0, 0, 0, 1]] {
            let field = rsa(exponent, 2048, false);
            let parsed = RsaPublicKey::parse(&field).expect("usable");
            assert_eq!(parsed.exponent, exponent);
            assert_eq!(parsed.to_field().as_deref(), Some(&field[..]));
        }
    }

    #[test]
    fn lengths_and_curve() {
        for (algorithm, len) in [(13, 64), (14, 96), (15, 32), (16, 57)] {
            for wrong in [0, 1, len - 1, len + 1, 2 * len] {
                assert_eq!(check_public_key(Algorithm(algorithm), &vec![1; wrong]), Err(VerifyError::BadKey));
            }
        }
        // x = y = 1 is on neither curve; nor is the all-zero field the point at infinity.
        for (algorithm, len) in [(13, 64), (14, 96)] {
            assert_eq!(check_public_key(Algorithm(algorithm), &vec![0; len]), Err(VerifyError::BadKey));
            assert_eq!(check_public_key(Algorithm(algorithm), &vec![1; len]), Err(VerifyError::BadKey));
        }
        for algorithm in [0, 1, 3, 6, 12, 17, 252, 253, 254, 255] {
            let algorithm = Algorithm(algorithm);
            assert_eq!(check_public_key(algorithm, &[1; 64]), Err(VerifyError::Unsupported(algorithm)));
        }
    }
}
