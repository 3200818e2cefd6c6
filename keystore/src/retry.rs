//! When something that failed for a passing reason is tried again: after a pause that doubles with each failure, up to a longest one.

use crate::time::Timestamp;

/// The first and the longest pause between two tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: u64,
    longest: u64,
}

impl Backoff {
    /// Pauses from `first` to `longest` seconds.
    #[must_use]
    pub const fn new(first: u64, longest: u64) -> Self {
        Self { first, longest }
    }

    /// Seconds between a failure and the next try, where `failures` tries had failed before it.
    #[must_use]
    pub fn pause(self, failures: u32) -> u64 {
        let factor = 1u64.checked_shl(failures).unwrap_or(u64::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// Failures in a row, and the time of the next try.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    backoff: Backoff,
    failures: u32,
    at: Option<Timestamp>,
}

impl Default for Retry {
    /// Pauses from one second to a quarter of a minute.
    fn default() -> Self {
        Self::new(Backoff::new(1, 15))
    }
}

impl Retry {
    /// Nothing has failed yet.
    #[must_use]
    pub const fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0, at: None }
    }

    /// Notes a failure at `now` and plans the next try. Returns the seconds until then.
    pub fn failed(&mut self, now: Timestamp) -> u64 {
        let pause = self.backoff.pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.at = Some(now.plus(pause));
        pause
    }

    /// Forgets the failures: the last try went well, or failed for good.
    pub fn settled(&mut self) {
        *self = Self::new(self.backoff);
    }

    /// True when the last try failed and the time of the next one has come. A time that is further ahead than the longest pause comes from a
    /// clock that was set back since, and counts as due.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.at.is_some_and(|at| at <= now || at.since(now) > self.backoff.longest)
    }

    /// True when the last try failed and the time of the next one has not come.
    #[must_use]
    pub fn is_waiting(&self, now: Timestamp) -> bool {
        self.at.is_some() && !self.is_due(now)
    }

    /// Time of the next try; `None` when nothing has failed.
    #[must_use]
    pub const fn at(&self) -> Option<Timestamp> {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_try_goes_well() {
        let mut retry = Retry::default();
        let mut now = Timestamp::from_secs(1_000_000);
        assert!(!retry.is_due(now) && !retry.is_waiting(now) && retry.at().is_none());
        for pause in [1, 2, 4, 8, 15, 15, 15] {
            assert_eq!(retry.failed(now), pause);
            assert!(retry.is_waiting(now.plus(pause - 1)) && !retry.is_due(now.plus(pause - 1)), "{pause}");
            now = now.plus(pause);
            assert!(retry.is_due(now) && !retry.is_waiting(now), "{pause}");
        }
        assert!(retry.is_due(now.minus(3600)), "after the clock went back");
        retry.settled();
        assert!(!retry.is_due(now.plus(3600)));
        assert_eq!(retry.failed(now), 1);
    }

    #[test]
    fn pauses_have_bounds_however_many_tries_failed() {
        let backoff = Backoff::new(60, 3600);
        let cases = [(0, 60), (1, 120), (5, 1920), (6, 3600), (63, 3600), (64, 3600), (u32::MAX, 3600)];
        for (failures, pause) in cases {
            assert_eq!(backoff.pause(failures), pause, "{failures}");
        }
    }
}
