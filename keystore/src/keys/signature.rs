//! RRSIG records by the keys of a zone: made, and verified with everything that RFC 4035 section 5.3.1 asks for.
//!
//! The two functions take the same arguments in the same order: the RRset, the zone, its key, then what is made from or held
//! against them. Whoever must tell apart why a signature does not fit, or has no DNSKEY record at hand, takes
//! [`rrsig::sign_raw`] and [`rrsig::verify_raw`].

use super::{Dnskey, FLAG_ZONE};
use crate::crypto::{SignError, SigningKey, VerifyError};
use crate::dns::rrsig::{self, Validity};
use crate::dns::{Name, Rrset, Rrsig};
use crate::time::Timestamp;

/// Why a signature is not made, or does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The private key, or the token that it is in, made none.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The private key belongs to another public key.
    #[error("the private key is not that of the DNSKEY record")]
    OtherKey,
    /// The signature does not fit the RRset, the zone or the key.
    #[error("{0}")]
    Unfit(&'static str),
    /// The octets of the signature are wrong.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// Signs `rrset` of `zone` with the private key of `dnskey`, and verifies the signature with `dnskey` before it is given out.
pub fn sign(
    rrset: &Rrset,
    zone: &Name,
    dnskey: &Dnskey,
    key: &dyn SigningKey,
    validity: Validity,
) -> Result<Rrsig, SignatureError> {
    if key.algorithm() != dnskey.algorithm || key.public_key() != dnskey.public_key {
        return Err(SignatureError::OtherKey);
    }
    let made = rrsig::sign_raw(rrset, zone, dnskey.tag(), key, validity)?;
    verify(rrset, zone, dnskey, &made, validity.inception)?;
    Ok(made)
}

/// Verifies `signature` over `rrset` of `zone` with `dnskey` at `now`: type covered, owner, labels, signer, key tag, algorithm,
/// flags and protocol of the key, original TTL, times, and the octets.
pub fn verify(
    rrset: &Rrset,
    zone: &Name,
    dnskey: &Dnskey,
    signature: &Rrsig,
    now: Timestamp,
) -> Result<(), SignatureError> {
    check_fields(rrset, zone, dnskey, signature, now)?;
    Ok(rrsig::verify_raw(rrset, &dnskey.public_key, signature)?)
}

/// The part of [`verify`] that costs next to nothing: all conditions but the octets of the signature. Whoever verifies what strangers
/// serve sorts out by it which keys are worth a verification.
pub fn check_fields(
    rrset: &Rrset,
    zone: &Name,
    dnskey: &Dnskey,
    signature: &Rrsig,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let conditions = [
        (signature.covered == rrset.rtype, "it covers another type"),
        (rrset.owner.is_at_or_below(zone), "the owner is not in the zone"),
        (signature.signer == *zone, "the signer is another zone"),
        (usize::from(signature.labels) <= rrset.owner.label_count(), "it has more labels than the owner"),
        (signature.key_tag == dnskey.tag(), "it names another key tag"),
        (signature.algorithm == dnskey.algorithm, "it names another algorithm"),
        (dnskey.flags & FLAG_ZONE != 0 && dnskey.protocol == 3, "the key is no zone key"),
        (rrset.ttl <= signature.original_ttl, "the TTL is longer than the one that was signed"),
        (signature.is_valid_at(now), "it is not valid at this time"),
    ];
    match conditions.iter().find(|(holds, _)| !holds) {
        Some((_, what)) => Err(SignatureError::Unfit(what)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Rtype;
    use crate::exchange::testing::TestKey;

    #[test]
    fn signature_that_misses_one_condition_does_not_verify() {
        let name = |text: &str| Name::parse(text).expect("a name");
        let (zone, key) = (name("example."), TestKey::zsk(1));
        let rrset = Rrset {
            owner: name("a.example."),
            rtype: Rtype::A,
            ttl: 60,
            rdatas: vec![Box::new([192, 0, 2, 1])],
        };
        let (from, to) = (Timestamp::from_secs(1_800_000_000), Timestamp::from_secs(1_800_100_000));
        let validity = Validity { inception: from, expiration: to };
        let made = sign(&rrset, &zone, &key.dnskey, key.signer(), validity).expect("a signature");
        let verify_at = |rrset: &Rrset, dnskey: &Dnskey, signature: &Rrsig, now| {
            verify(rrset, &zone, dnskey, signature, now).map_err(|error| error.to_string())
        };
        for now in [from, from.plus(1), to] {
            assert_eq!(verify_at(&rrset, &key.dnskey, &made, now), Ok(()));
        }
        let refused = |rrset: &Rrset, dnskey: &Dnskey, signature: &Rrsig, now, want: &str| {
            assert_eq!(verify_at(rrset, dnskey, signature, now), Err(want.to_owned()));
        };
        refused(&rrset, &key.dnskey, &made, from.minus(1), "it is not valid at this time");
        refused(&rrset, &key.dnskey, &made, to.plus(1), "it is not valid at this time");
        let longer = Rrset { ttl: 61, ..rrset.clone() };
        refused(&longer, &key.dnskey, &made, from, "the TTL is longer than the one that was signed");
        let outside = Rrset { owner: name("a.test."), ..rrset.clone() };
        refused(&outside, &key.dnskey, &made, from, "the owner is not in the zone");
        let other_type = Rrset { rtype: Rtype::TXT, ..rrset.clone() };
        refused(&other_type, &key.dnskey, &made, from, "it covers another type");
        let moved = Rrset { owner: name("b.example."), ..rrset.clone() };
        refused(&moved, &key.dnskey, &made, from, "the signature does not verify");
        let signer = Rrsig { signer: name("."), ..made.clone() };
        refused(&rrset, &key.dnskey, &signer, from, "the signer is another zone");
        let labels = Rrsig { labels: 3, ..made.clone() };
        refused(&rrset, &key.dnskey, &labels, from, "it has more labels than the owner");
        let other = TestKey::zsk(2);
        refused(&rrset, &other.dnskey, &made, from, "it names another key tag");
        let no_zone_key = Dnskey { flags: 0, ..key.dnskey.clone() };
        let tag = Rrsig { key_tag: no_zone_key.tag(), ..made.clone() };
        refused(&rrset, &no_zone_key, &tag, from, "the key is no zone key");
        let mut damaged = made;
        damaged.signature[0] ^= 1;
        refused(&rrset, &key.dnskey, &damaged, from, "the signature does not verify");
        let error = sign(&rrset, &zone, &key.dnskey, other.signer(), validity).expect_err("another key");
        assert!(matches!(error, SignatureError::OtherKey), "{error}");
    }
}
