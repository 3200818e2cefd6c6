//! From a [`Zone`], the bundle in force and the active ZSKs to a [`SignedZone`], on all cores.

use std::sync::Arc;

use keystore::crypto::SigningKey;
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use crate::zone::Zone;

/// An active ZSK.
#[derive(Clone)]
pub struct ZoneKey {
    /// Its DNSKEY, which is in the bundle.
    pub dnskey: Dnskey,
    /// Its private part.
    pub signer: Arc<dyn SigningKey>,
}

/// How long signatures live, from the policy. Seconds.
#[derive(Debug, Clone, Copy)]
pub struct SigningTimes {
    /// `signatures-validity`.
    pub validity: u32,
    /// `signatures-refresh`: remaining validity at which a signature is replaced.
    pub refresh: u32,
    /// `signatures-jitter`: at most so much is taken off the validity, spread over the names.
    pub jitter: u32,
}

/// A signed zone: immutable, served as it is, swapped whole.
#[derive(Debug)]
pub struct SignedZone {
    serial: u32,
}

/// Why a zone cannot be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// No active ZSK of an algorithm that the DNSKEY RRset has.
    #[error("no active ZSK of algorithm {0} with its private key; the zone cannot be signed")]
    NoZsk(keystore::crypto::Algorithm),
    /// A key failed.
    #[error("signing with key {tag} failed: {source}")]
    Sign {
        /// Its tag.
        tag: u16,
        /// Why.
        source: keystore::crypto::SignError,
    },
}

/// Signs `zone`: apex key RRsets and their RRSIGs as in `bundle`, all else by `keys`, NSEC chain. Signatures of `previous` (same
/// RRset, same keys, not yet due for refresh) are taken over. `serial` is the SOA serial to serve.
pub fn sign(
    _zone: &Arc<Zone>,
    _bundle: &Bundle,
    _keys: &[ZoneKey],
    _times: &SigningTimes,
    _serial: u32,
    _previous: Option<&SignedZone>,
    _now: Timestamp,
) -> Result<SignedZone, SigningError> {
    todo!()
}

impl SignedZone {
    /// The SOA serial.
    #[must_use]
    pub const fn serial(&self) -> u32 {
        self.serial
    }

    /// The earliest expiration of the signatures made by ZSKs.
    #[must_use]
    pub fn earliest_zsk_expiration(&self) -> Timestamp {
        todo!()
    }

    /// The earliest expiration of the signatures that came with the bundle.
    #[must_use]
    pub fn earliest_ksk_expiration(&self) -> Timestamp {
        todo!()
    }

    /// When the first ZSK-made signature comes due for renewal.
    #[must_use]
    pub fn next_refresh(&self) -> Timestamp {
        todo!()
    }

    /// Writes the whole signed zone as a master file that other signers' validators read.
    pub fn write_to(&self, _out: &mut dyn std::io::Write) -> std::io::Result<()> {
        todo!()
    }
}
