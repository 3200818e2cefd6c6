//! What a signing run has made and taken over, and how urgent what is left is.

use keystore::time::Timestamp;

use super::plan::RenewalPlan;

/// What became of the signatures of a run, or of a part of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    pub made: usize,
    pub reused: usize,
    /// The earliest expiration.
    pub earliest: Timestamp,
    /// When the first signature comes due.
    pub due: Timestamp,
}

impl Tally {
    pub const NOTHING: Self = Self { made: 0, reused: 0, earliest: Timestamp::MAX, due: Timestamp::MAX };

    pub const fn made(expiration: Timestamp, plan: &RenewalPlan) -> Self {
        Self { made: 1, reused: 0, earliest: expiration, due: plan.due(expiration) }
    }

    pub const fn reused(expiration: Timestamp, due: Timestamp) -> Self {
        Self { made: 0, reused: 1, earliest: expiration, due }
    }

    pub fn and(self, other: Self) -> Self {
        Self {
            made: self.made + other.made,
            reused: self.reused + other.reused,
            earliest: self.earliest.min(other.earliest),
            due: self.due.min(other.due),
        }
    }
}

/// How urgent it is to make the signatures of an RRset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RenewalUrgency {
    /// There are none that can be served.
    Missing,
    /// One is due; this is the time that it is still valid, in seconds.
    Due(u32),
    /// None is due.
    No,
}
