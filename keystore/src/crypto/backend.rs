//! Which library signs and which verifies, for each algorithm: the faster one of ring and openssl by
//! `cargo bench -p offline-ksk-keystore --bench crypto`, which measures both. Microseconds for 120 octets, on one core of an x86-64 virtual
//! machine, with ring 0.17.14 and openssl 3.0; with RSA of 2048 bits:
//!
//! | algorithm | sign: ring | openssl | verify: ring | openssl |
//! |---|---|---|---|---|
//! | RSASHA256 | 410 | **192** | **15** | 21 |
//! | RSASHA512 | 399 | **197** | **16** | 21 |
//! | ECDSAP256SHA256 | **11.6** | 13.3 | **35** | 38 |
//! | ECDSAP384SHA384 | **252** | 484 | 455 | **407** |
//! | ED25519 | **16** | 23 | **29** | 59 |
//! | ED448 | | **118** | | **140** |
//!
//! With RSA of 4096 bits they are alike (2.9 ms).

use super::Algorithm;

/// A library with cryptography.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// The crate `ring`.
    Ring,
    /// OpenSSL, through the crate `openssl`.
    Openssl,
}

/// The libraries of one algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// What makes its signatures; `None` for an algorithm that is verified only.
    pub sign: Option<Library>,
    /// What verifies its signatures.
    pub verify: Library,
}

impl Backend {
    /// The choice for `algorithm`; `None` for one that is not known here.
    #[must_use]
    pub fn of(algorithm: Algorithm) -> Option<&'static Self> {
        BACKENDS.iter().find(|backend| backend.algorithm == algorithm)
    }
}

const fn backend(algorithm: Algorithm, sign: Option<Library>, verify: Library) -> Backend {
    Backend { algorithm, sign, verify }
}

/// The choice for each algorithm. openssl makes RSA signatures in about half of the time of ring, and with keys of every size.
/// ring has no Ed448.
pub const BACKENDS: [Backend; 8] = [
    backend(Algorithm::RSASHA1, None, Library::Ring),
    backend(Algorithm::NSEC3RSASHA1, None, Library::Ring),
    backend(Algorithm::RSASHA256, Some(Library::Openssl), Library::Ring),
    backend(Algorithm::RSASHA512, Some(Library::Openssl), Library::Ring),
    backend(Algorithm::ECDSAP256SHA256, Some(Library::Ring), Library::Ring),
    backend(Algorithm::ECDSAP384SHA384, Some(Library::Ring), Library::Openssl),
    backend(Algorithm::ED25519, Some(Library::Ring), Library::Ring),
    backend(Algorithm::ED448, Some(Library::Openssl), Library::Openssl),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{PrivateKey, VerifyError, verify};

    #[test]
    fn each_row_signs_and_verifies_by_the_libraries_that_it_names() {
        for row in BACKENDS.iter().filter(|row| row.sign.is_some()) {
            let key = PrivateKey::generate(row.algorithm, 1024).unwrap();
            let signer = key.signer(row.algorithm).unwrap_or_else(|e| panic!("{}: {e}", row.algorithm));
            let mut signature = signer.sign(b"data").unwrap();
            verify(row.algorithm, signer.public_key(), b"data", &signature).unwrap();
            signature[5] ^= 1;
            verify(row.algorithm, signer.public_key(), b"data", &signature).unwrap_err();
        }
        // No key is made for the others: a wrong signature is told from an algorithm that is not known.
        for row in BACKENDS.iter().filter(|row| row.sign.is_none()) {
            let key = PrivateKey::generate(Algorithm::RSASHA256, 1024).unwrap();
            let public = key.public_key(Algorithm::RSASHA256).unwrap();
            let verdict = verify(row.algorithm, &public, b"data", &[1; 128]);
            assert_eq!(verdict, Err(VerifyError::BadSignature), "{}", row.algorithm);
        }
    }

    #[test]
    fn each_algorithm_that_signs_or_verifies_has_one_row() {
        for number in 0..=u8::MAX {
            let algorithm = Algorithm(number);
            let rows: Vec<&Backend> = BACKENDS.iter().filter(|row| row.algorithm == algorithm).collect();
            assert_eq!(rows.len(), usize::from(algorithm.can_verify()), "{algorithm}");
            assert_eq!(rows.iter().any(|row| row.sign.is_some()), algorithm.can_sign(), "{algorithm}");
        }
    }
}
