//! Public Key fields of RSA keys: their form and their limits.

/// Smallest RSA modulus, in bits (RFC 5702 section 2 allows 512 for algorithm 8, which is broken in hours).
pub const RSA_MIN_BITS: usize = 1024;
/// Largest RSA modulus, in bits (RFC 3110 section 2).
pub const RSA_MAX_BITS: usize = 4096;
/// Longest RSA exponent, in bits: 2^32+1 is the one that `dnssec-keygen -e` makes. A longer one costs the verifier time
/// and gains nobody anything.
const RSA_MAX_EXPONENT_BITS: usize = 33;

/// The parts of an RSA Public Key field (RFC 3110 section 2): big-endian, without leading zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RsaPublicKey<'a> {
    /// The public exponent e.
    pub exponent: &'a [u8],
    /// The modulus n.
    pub modulus: &'a [u8],
}

impl<'a> RsaPublicKey<'a> {
    /// Splits the field and checks the limits: modulus odd and of 1024 to 4096 bits, exponent odd, from 3 up to 33 bits,
    /// no leading zeros. The three-octet form of the exponent length is read for short exponents too, as BIND does.
    pub fn parse(field: &'a [u8]) -> Option<Self> {
        let (exponent_len, rest) = match field {
            [0, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            [len, rest @ ..] => (usize::from(*len), rest),
            [] => return None,
        };
        let (exponent, modulus) = rest.split_at_checked(exponent_len)?;
        let usable = exponent.first().is_some_and(|b| *b != 0)
            && exponent.last().is_some_and(|b| b % 2 == 1)
            && exponent != [1]
            && bit_len(exponent) <= RSA_MAX_EXPONENT_BITS
            && modulus.first().is_some_and(|b| *b != 0)
            && modulus.last().is_some_and(|b| b % 2 == 1)
            && (RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bit_len(modulus));
        usable.then_some(Self { exponent, modulus })
    }

    /// The Public Key field, with the short form of the exponent length wherever it fits; `None` when the exponent is
    /// too long for the field (65 536 octets or more).
    #[must_use]
    pub fn to_field(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(3 + self.exponent.len() + self.modulus.len());
        match u8::try_from(self.exponent.len()) {
            Ok(len) if len > 0 => out.push(len),
            _ => {
                out.push(0);
                out.extend_from_slice(&u16::try_from(self.exponent.len()).ok()?.to_be_bytes());
            }
        }
        out.extend_from_slice(self.exponent);
        out.extend_from_slice(self.modulus);
        Some(out)
    }

    /// Bits of the modulus.
    #[must_use]
    pub fn bits(&self) -> usize {
        bit_len(self.modulus)
    }
}

/// Bits of a big-endian number.
#[must_use]
pub fn bit_len(number: &[u8]) -> usize {
    match number.iter().position(|b| *b != 0) {
        Some(first) => (number.len() - first) * 8 - number[first].leading_zeros() as usize,
        None => 0,
    }
}
