//! Counts the jumps of the wall clock against the monotonic clock: bundles switch by the wall clock, so a jump is worth an alert.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keystore::clock;
use keystore::time::Timestamp;
use metrics::Metrics;

use crate::reports::ClockJump;

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// A difference of so many seconds is a jump; less is rounding and slewing.
const TOLERANCE: u64 = 2;

/// The running watch; dropping the sender ends it.
pub struct ClockWatch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl ClockWatch {
    /// Starts it; the last jump is noted in `last`.
    pub fn start(metrics: Metrics, last: ClockJump) -> Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("clock".to_owned())
            .spawn(move || live(&metrics, &last, &stopped))
            .context("cannot start the watch of the clock")?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub fn stop(self) {
        drop(self.stop);
        // The thread does nothing that can panic.
        let _ = self.thread.join();
    }
}

fn live(metrics: &Metrics, last_jump: &ClockJump, stopped: &Receiver<()>) {
    let mut last = (clock::now(), Instant::now());
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PAUSE) {
        let new = (clock::now(), Instant::now());
        if let Some((direction, seconds)) = jump(last.0, new.0, new.1.duration_since(last.1)) {
            metrics.clock_jumps_total.with_label_values(&[direction]).inc();
            last_jump.note(direction, seconds, new.0);
            tracing::warn!(
                direction,
                seconds,
                "the wall clock jumped; bundles switch by it, check time synchronisation"
            );
        }
        last = new;
    }
}

/// Direction (a value of [`metrics::zones::DIRECTIONS`]) and size, in seconds, of a jump between two looks that were `passed`
/// apart by the monotonic clock.
fn jump(before: Timestamp, after: Timestamp, passed: Duration) -> Option<(&'static str, u64)> {
    let expected = before.plus(passed.as_secs());
    match (after.since(expected), expected.since(after)) {
        (ahead, _) if ahead > TOLERANCE => Some(("forward", ahead)),
        (_, behind) if behind > TOLERANCE => Some(("back", behind)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_seen_both_ways() {
        let at = |secs: u64| Timestamp::from_secs(1_800_000_000 + secs);
        for (after, passed, want) in [
            (5, 5, None),
            (7, 5, None),
            (3, 5, None),
            (8, 5, Some(("forward", 3))),
            (3605, 5, Some(("forward", 3600))),
            (2, 5, Some(("back", 3))),
            (604_800, 604_800, None),
        ] {
            assert_eq!(jump(at(0), at(after), Duration::from_secs(passed)), want, "{after} after {passed}");
        }
    }
}
