//! When something that failed for a passing reason is tried again.

use keystore::time::Timestamp;

/// Longest time between two tries where nothing else is said, in seconds.
const LONGEST: u64 = 15;

/// Tries that double their distance from one second to a quarter of a minute, or to what is said.
#[derive(Debug, Clone)]
pub(super) struct Retry {
    failures: u32,
    at: Option<Timestamp>,
    /// Longest time between two tries, in seconds.
    longest: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl Retry {
    /// Tries with at most `longest` seconds between two.
    pub const fn up_to(longest: u64) -> Self {
        Self { failures: 0, at: None, longest }
    }

    /// True when something failed, and the time of the next try has come. A time far ahead is from a clock that was set back since.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.at.is_some_and(|at| at <= now || at.since(now) > self.longest)
    }

    /// Notes a failure at `now`, and plans the next try.
    pub fn failed(&mut self, now: Timestamp) {
        let delay = 1u64.checked_shl(self.failures).unwrap_or(self.longest).min(self.longest);
        self.failures = (self.failures + 1).min(u64::BITS - 1);
        self.at = Some(now.plus(delay));
    }

    /// Nothing is to be tried again: it went well, or failed for good.
    pub fn settled(&mut self) {
        *self = Self::up_to(self.longest);
    }

    /// Time of the next try.
    pub const fn at(&self) -> Option<Timestamp> {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_at_growing_distance_until_one_goes_well() {
        let mut retry = Retry::default();
        let mut now = Timestamp::from_secs(1_000_000);
        assert!(!retry.is_due(now) && retry.at().is_none());
        for delay in [1, 2, 4, 8, 15, 15, 15] {
            retry.failed(now);
            assert!(!retry.is_due(now.plus(delay - 1)), "{delay}");
            now = now.plus(delay);
            assert!(retry.is_due(now), "{delay}");
        }
        assert!(retry.is_due(now.minus(3600)), "after the clock went back");
        retry.settled();
        assert!(!retry.is_due(now.plus(3600)));
    }
}
