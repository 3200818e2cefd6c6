//! The checks that need nothing but the SKR, the pinned KSKs and the time. Each has a stable ID.

use super::{Bundle, UnverifiedSkr};
use crate::dns::Name;
use crate::keys::Dnskey;
use crate::time::Timestamp;

/// What an SKR is held against.
#[derive(Debug, Clone)]
pub struct VerifyContext<'a> {
    /// The zone that the SKR must be for.
    pub zone: &'a Name,
    /// The pinned KSKs.
    pub anchors: &'a [TrustAnchor],
}

/// A pinned KSK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustAnchor {
    /// By its public key.
    Dnskey(Dnskey),
    /// By its DS RDATA.
    Ds(Vec<u8>),
}

impl TrustAnchor {
    /// True when `key` at `zone` is the pinned one.
    #[must_use]
    pub fn matches(&self, zone: &Name, key: &Dnskey) -> bool {
        match self {
            Self::Dnskey(pinned) => pinned == key,
            Self::Ds(ds) => ds.get(3).and_then(|t| key.ds_rdata(zone, *t)).is_some_and(|made| made == *ds),
        }
    }
}

/// Reads DS and DNSKEY records of `zone` in presentation form, one a line (comments and parentheses as in a zone file);
/// records of other owners and types are errors.
pub fn parse_trust_anchors(_text: &str, _zone: &Name) -> Result<Vec<TrustAnchor>, super::bind::SyntaxError> {
    todo!()
}

/// The verdict of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check, `SKR-…`.
    pub id: &'static str,
    /// The bundle it speaks of, by its inception.
    pub bundle: Option<Timestamp>,
    /// What is wrong, in one sentence, and what to do.
    pub what: String,
}

/// An SKR whose every check held. Only this can be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSkr {
    zone: Name,
    bundles: Vec<Bundle>,
}

impl VerifiedSkr {
    /// The zone.
    #[must_use]
    pub const fn zone(&self) -> &Name {
        &self.zone
    }

    /// The bundles, ordered by inception.
    #[must_use]
    pub fn bundles(&self) -> &[Bundle] {
        &self.bundles
    }

    /// The bundle in force at `now`: the last one whose inception is reached. Its signatures may have expired; see [`Bundle::expiration`].
    #[must_use]
    pub fn bundle_at(&self, now: Timestamp) -> Option<&Bundle> {
        let after = self.bundles.partition_point(|b| b.inception <= now);
        self.bundles[..after].last()
    }

    /// The inception of the first bundle after `now`.
    #[must_use]
    pub fn next_switch(&self, now: Timestamp) -> Option<Timestamp> {
        self.bundles.iter().map(|b| b.inception).find(|t| *t > now)
    }

    /// End of the coverage: the earliest signature expiration of the last bundle.
    #[must_use]
    pub fn coverage_end(&self) -> Timestamp {
        self.bundles.last().map_or(Timestamp::EPOCH, Bundle::expiration)
    }
}

/// Holds an SKR against its context; every check runs, all findings come back at once.
pub fn verify(
    _skr: UnverifiedSkr,
    _context: &VerifyContext<'_>,
    _now: Timestamp,
) -> Result<VerifiedSkr, Vec<Finding>> {
    todo!()
}
