//! The checks that need nothing but the SKR, the pinned KSKs and the time. Each has a stable ID.
//!
//! [`verify`] runs all of them and gives back every finding at once; a finding either rejects the SKR or is a
//! warning. [`CHECKS`] lists the IDs, [`verdicts`] sets findings against that list.

mod report;

pub use super::anchors::{TrustAnchor, parse_trust_anchors};
pub use report::{CHECKS, Check, Finding, Outcome, Severity, Verdict, verdicts, verdicts_unread};

use super::{Bundle, UnverifiedSkr};
use crate::dns::Name;
use crate::time::Timestamp;

/// What an SKR is held against.
#[derive(Debug, Clone)]
pub struct VerifyContext<'a> {
    /// The zone that the SKR must be for.
    pub zone: &'a Name,
    /// The pinned KSKs.
    pub anchors: &'a [TrustAnchor],
    /// What the SKR is read for.
    pub purpose: Purpose,
    /// Take the delete form of CDS and CDNSKEY (RFC 8078 section 4), which asks the parent to remove the DS RRset.
    pub allow_delete: bool,
    /// Bounds on times.
    pub limits: Limits,
}

impl<'a> VerifyContext<'a> {
    /// Acceptance with the default limits; no CDS deletion.
    #[must_use]
    pub fn new(zone: &'a Name, anchors: &'a [TrustAnchor]) -> Self {
        Self { zone, anchors, purpose: Purpose::Accept, allow_delete: false, limits: Limits::default() }
    }

    /// The same for an SKR from the accepted store.
    #[must_use]
    pub const fn for_reload(mut self) -> Self {
        self.purpose = Purpose::Reload;
        self
    }
}

/// What an SKR is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is new: it must also be of use from `now` on (SKR-EXPIRED, SKR-HORIZON).
    Accept,
    /// It was accepted before and is read back: structure and cryptography only, `now` does not matter.
    Reload,
}

/// Bounds on the times in an SKR, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How far from now the last signature may expire.
    pub horizon: u64,
    /// How long a signature may be valid.
    pub validity: u64,
    /// How long the signatures of a bundle may outlive it.
    pub overlap: u64,
}

const DAY: u64 = 86_400;

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Ten years of bundles in one ceremony, and some.
            horizon: 11 * 366 * DAY,
            // A signature that leaks or is replayed stays good that long; a year is far beyond any use.
            validity: 367 * DAY,
            // BIND keeps 5 days of 14. Half a year is beyond any use.
            overlap: 200 * DAY,
        }
    }
}

/// An SKR whose every check held. Only this can be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSkr {
    zone: Name,
    bundles: Vec<Bundle>,
    warnings: Vec<Finding>,
}

impl VerifiedSkr {
    /// The zone.
    #[must_use]
    pub const fn zone(&self) -> &Name {
        &self.zone
    }

    /// The bundles, strictly ordered by inception.
    #[must_use]
    pub fn bundles(&self) -> &[Bundle] {
        &self.bundles
    }

    /// What the checks found that does not reject.
    #[must_use]
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
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
        let after = self.bundles.partition_point(|b| b.inception <= now);
        self.bundles.get(after).map(|b| b.inception)
    }

    /// End of the coverage: the earliest signature expiration of the last bundle.
    #[must_use]
    pub fn coverage_end(&self) -> Timestamp {
        self.bundles.last().map_or(Timestamp::EPOCH, Bundle::expiration)
    }
}

/// Holds an SKR against its context; every check runs, all findings come back at once.
///
/// Warnings come with the verified SKR ([`VerifiedSkr::warnings`]), or with the findings that reject.
pub fn verify(
    _skr: UnverifiedSkr,
    _context: &VerifyContext<'_>,
    _now: Timestamp,
) -> Result<VerifiedSkr, Vec<Finding>> {
    todo!()
}
