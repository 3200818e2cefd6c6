//! What crosses the air gap: the model of KSR, SKR and bundle; its text form; verification.
//!
//! ```text
//! octets ──bind::parse_skr──▶ UnverifiedSkr ──verify──▶ VerifiedSkr
//!                                   └──── Vec<SkrFinding> ◀───┘
//! ```
//!
//! Knows nothing of files.

mod anchors;
pub mod bind;
mod coverage;
pub mod format;
mod key_fault;
pub mod knot;
pub mod many;
pub mod possession;
pub mod prove;
pub mod request;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod verify;
mod written;
pub mod xml;

pub use anchors::{TrustAnchor, parse_trust_anchors, revoked_tags};
pub use coverage::Coverage;
pub use verify::{SkrFinding, VerifiedSkr, VerifyContext, verify};
pub use written::{is_by_knot, largest_ttl, program_of_copy, program_with_ttl, written_at};

use crate::dns::{Name, Rrset, Rrsig};
use crate::keys::Dnskey;
use crate::shared::Shared;
use crate::time::Timestamp;

/// A key signing request: the ZSKs of a zone, bundle by bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ksr {
    /// The zone, letter case as in the file.
    pub zone: Name,
    /// Bundles in the order of the file.
    pub bundles: Vec<KsrBundle>,
}

/// The ZSKs that are published from `inception` until the inception of the next bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KsrBundle {
    /// When it comes into force.
    pub inception: Timestamp,
    /// TTL of the DNSKEY records, in seconds.
    pub ttl: u32,
    /// The keys in the order of the file.
    pub keys: Vec<Dnskey>,
    /// Proofs that the requester holds the private keys, see [`possession`]; empty when there are none.
    pub proofs: Vec<Rrsig>,
}

/// One bundle of an SKR: the apex key RRsets in force from `inception` until the inception of the next bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// When it comes into force.
    pub inception: Timestamp,
    /// The DNSKEY RRset.
    pub dnskey: Shared<Rrset>,
    /// The CDNSKEY RRset, if any.
    pub cdnskey: Option<Shared<Rrset>>,
    /// The CDS RRset, if any.
    pub cds: Option<Shared<Rrset>>,
    /// All RRSIGs of the bundle, in the order of the file.
    pub signatures: Vec<Rrsig>,
}

impl Bundle {
    /// Its RRsets: DNSKEY, then CDNSKEY and CDS where present.
    pub fn rrsets(&self) -> impl Iterator<Item = &Rrset> {
        std::iter::once(&*self.dnskey).chain(self.cdnskey.as_deref()).chain(self.cds.as_deref())
    }

    /// The keys of its DNSKEY RRset; records too short to be keys are left out.
    pub fn keys(&self) -> impl Iterator<Item = Dnskey> {
        self.dnskey.rdatas.iter().filter_map(|r| Dnskey::from_rdata(r))
    }

    /// Holds what equals the same RRset of `other` in one place with that: most bundles have the keys of the one before.
    pub fn share_with(&mut self, other: &Self) {
        let one = |mine: &mut Shared<Rrset>, theirs: &Shared<Rrset>| {
            // Names are equal whatever their letter case is, which stays as it came.
            if mine.owner.as_wire() == theirs.owner.as_wire() {
                *mine = mine.clone().or_same_as(theirs);
            }
        };
        one(&mut self.dnskey, &other.dnskey);
        for (mine, theirs) in [(&mut self.cdnskey, &other.cdnskey), (&mut self.cds, &other.cds)] {
            if let (Some(mine), Some(theirs)) = (mine, theirs) {
                one(mine, theirs);
            }
        }
    }

    /// The earliest expiration of its signatures; its inception when it has none.
    #[must_use]
    pub fn expiration(&self) -> Timestamp {
        self.signatures.iter().map(|s| s.expires(self.inception)).min().unwrap_or(self.inception)
    }
}

/// The ordered bundles of an SKR that nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedSkr {
    /// The zone, letter case as in the file.
    pub zone: Name,
    /// Bundles in the order of the file.
    pub bundles: Vec<Bundle>,
}
