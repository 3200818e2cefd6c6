//! What is wrong with a single DNSKEY, wherever it stands: in a bundle, or among the trust anchors.

use crate::crypto;
use crate::keys::{Dnskey, FLAG_REVOKE, FLAG_SEP, FLAG_ZONE};

/// Smallest RSA exponent taken. Small ones are only sound with a perfect verifier, and every tool makes 65537.
const MIN_RSA_EXPONENT: u64 = 65_537;

/// What is wrong with a key; `None` when nothing is. The algorithm is SKR-ALGORITHM's matter. Whether a revoked KSK stands where it may
/// is the caller's.
pub(super) fn key_fault(key: &Dnskey) -> Option<String> {
    if key.flags & FLAG_REVOKE != 0 && !key.is_revoked_ksk() {
        return Some(format!("flags {}: the key is revoked, and no KSK", key.flags));
    }
    if key.flags & !FLAG_SEP != FLAG_ZONE && !key.is_revoked_ksk() {
        return Some(format!("flags {}, where 256 (ZSK) or 257 (KSK) was expected", key.flags));
    }
    if key.protocol != 3 {
        return Some(format!("protocol {}, where 3 was expected", key.protocol));
    }
    if !key.algorithm.can_sign() {
        return None;
    }
    if crypto::check_public_key(key.algorithm, &key.public_key).is_err() {
        return Some(format!("the public key is no well-formed {} key", key.algorithm));
    }
    let exponent = if key.algorithm.is_rsa() { rsa_exponent(&key.public_key) } else { None };
    exponent
        .filter(|e| *e < MIN_RSA_EXPONENT)
        .map(|e| format!("RSA exponent {e}; the least is {MIN_RSA_EXPONENT}"))
}

/// The exponent of an RSA Public Key field (RFC 3110 section 2), when it fits into 64 bits.
fn rsa_exponent(field: &[u8]) -> Option<u64> {
    let (len, rest) = match field {
        [0, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        [len, rest @ ..] => (usize::from(*len), rest),
        [] => return None,
    };
    let exponent = rest.get(..len).filter(|e| e.len() <= 8)?;
    Some(exponent.iter().fold(0, |value, b| value << 8 | u64::from(*b)))
}
