//! Private key material: wiped when dropped, silent in `Debug`.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The private elements of a key, as BIND's `.private` file has them. Wiped when dropped; `Debug` prints the kind only.
#[derive(Zeroize, ZeroizeOnDrop)]
pub enum PrivateKey {
    /// RSA: big-endian numbers without leading zeros.
    Rsa {
        /// The modulus n.
        modulus: Vec<u8>,
        /// The public exponent e.
        public_exponent: Vec<u8>,
        /// The private exponent d.
        private_exponent: Vec<u8>,
        /// The first prime p.
        prime1: Vec<u8>,
        /// The second prime q.
        prime2: Vec<u8>,
        /// d mod (p-1)
        exponent1: Vec<u8>,
        /// d mod (q-1)
        exponent2: Vec<u8>,
        /// q^-1 mod p
        coefficient: Vec<u8>,
    },
    /// ECDSA scalar (32 or 48 octets) or EdDSA seed (32 or 57 octets).
    Raw(Vec<u8>),
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "PrivateKey(RSA, ...)",
            Self::Raw(_) => "PrivateKey(...)",
        })
    }
}
