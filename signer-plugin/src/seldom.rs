//! Messages about what may happen very often: one a minute, with the number of those held back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two messages.
const PAUSE: Duration = Duration::from_secs(60);

/// Lets a message pass once a minute.
#[derive(Debug)]
pub(crate) struct Seldom(Mutex<State>);

#[derive(Debug)]
struct State {
    passed: Option<Instant>,
    held_back: u64,
}

impl Seldom {
    pub const fn new() -> Self {
        Self(Mutex::new(State { passed: None, held_back: 0 }))
    }

    /// `Some` when the message may be written now, with the number of those that were held back since the one before.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.passed.is_some_and(|passed| now.saturating_duration_since(passed) < PAUSE) {
            state.held_back += 1;
            return None;
        }
        state.passed = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_a_minute_passes_and_tells_how_many_did_not() {
        let seldom = Seldom::new();
        let start = Instant::now();
        for (seconds, passes) in [
            (0, Some(0)),
            (0, None),
            (1, None),
            (59, None),
            (60, Some(3)),
            (119, None),
            (500, Some(1)),
            (560, Some(0)),
        ] {
            assert_eq!(seldom.pass_at(start + Duration::from_secs(seconds)), passes, "{seconds}");
        }
    }
}
