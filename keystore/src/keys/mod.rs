//! Key files of BIND: names, tags, timing, states, planning.
//!
//! [`files`] reads and writes the three files of a key, [`timing`] holds BIND's timing words, [`plan`] makes the keys
//! that an interval needs.

pub mod files;
pub mod plan;
pub mod signature;
pub mod timing;

pub use files::KeyFile;
pub use timing::Timing;

use crate::crypto::Algorithm;
use crate::dns::Name;

/// Zone Key flag (RFC 4034 section 2.1.1).
pub const FLAG_ZONE: u16 = 0x0100;
/// Secure Entry Point flag (RFC 4034 section 2.1.1).
pub const FLAG_SEP: u16 = 0x0001;
/// Revoke flag (RFC 5011 section 3).
pub const FLAG_REVOKE: u16 = 0x0080;

/// The fields of a DNSKEY (or CDNSKEY) RDATA.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dnskey {
    /// Flags: 256 ZSK, 257 KSK, 385 revoked KSK.
    pub flags: u16,
    /// Protocol, always 3 in a valid key.
    pub protocol: u8,
    /// Number of the DNSSEC algorithm.
    pub algorithm: Algorithm,
    /// Public Key field, wire form.
    pub public_key: Vec<u8>,
}

impl Dnskey {
    /// Reads RDATA in wire form; `None` when shorter than 4 octets.
    #[must_use]
    pub fn from_rdata(rdata: &[u8]) -> Option<Self> {
        let (head, key) = rdata.split_at_checked(4)?;
        Some(Self {
            flags: u16::from_be_bytes([head[0], head[1]]),
            protocol: head[2],
            algorithm: Algorithm(head[3]),
            public_key: key.to_vec(),
        })
    }

    /// RDATA in wire form.
    #[must_use]
    pub fn to_rdata(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.public_key.len());
        out.extend_from_slice(&self.flags.to_be_bytes());
        out.extend_from_slice(&[self.protocol, self.algorithm.0]);
        out.extend_from_slice(&self.public_key);
        out
    }

    /// The key tag (RFC 4034 appendix B).
    #[must_use]
    pub fn tag(&self) -> u16 {
        key_tag(&self.to_rdata())
    }

    /// The tag it has once revoked (REVOKE bit set).
    #[must_use]
    pub fn revoked_tag(&self) -> u16 {
        Self { flags: self.flags | FLAG_REVOKE, ..self.clone() }.tag()
    }

    /// True when the SEP flag is set: a KSK.
    #[must_use]
    pub const fn is_ksk(&self) -> bool {
        self.flags & FLAG_SEP != 0
    }

    /// True for a KSK with the REVOKE flag (RFC 5011 section 2.1): it still signs the DNSKEY RRset, and nobody may trust it.
    #[must_use]
    pub const fn is_revoked_ksk(&self) -> bool {
        self.flags == FLAG_ZONE | FLAG_SEP | FLAG_REVOKE
    }

    /// The same key without the REVOKE flag: what it was before it was revoked.
    #[must_use]
    pub fn unrevoked(&self) -> Self {
        Self { flags: self.flags & !FLAG_REVOKE, ..self.clone() }
    }

    /// RDATA of the DS (or CDS) record for it at `owner`; digest types 1 (SHA-1), 2 (SHA-256), 4 (SHA-384);
    /// `None` for others (RFC 4034 section 5, RFC 4509, RFC 6605).
    #[must_use]
    pub fn ds_rdata(&self, owner: &Name, digest_type: u8) -> Option<Vec<u8>> {
        let kind = match digest_type {
            1 => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
            2 => &ring::digest::SHA256,
            4 => &ring::digest::SHA384,
            _ => return None,
        };
        let digest = ring::digest::digest(kind, &[owner.canonical_wire(), self.to_rdata()].concat());
        let mut out = self.tag().to_be_bytes().to_vec();
        out.extend_from_slice(&[self.algorithm.0, digest_type]);
        out.extend_from_slice(digest.as_ref());
        Some(out)
    }
}

/// The key tag of a DNSKEY RDATA (RFC 4034 appendix B; algorithm 1 has another rule and is not supported).
#[must_use]
pub fn key_tag(rdata: &[u8]) -> u16 {
    let sum = rdata.iter().enumerate().fold(0u32, |sum, (i, b)| {
        sum.wrapping_add(if i % 2 == 0 { u32::from(*b) << 8 } else { u32::from(*b) })
    });
    ((sum + (sum >> 16)) & 0xffff) as u16
}
