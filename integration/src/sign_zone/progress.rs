//! The bar that shows on a terminal how far the signing has come.

use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use signer_plugin::signing::SigningProgress;

/// Time between two pictures of the bar.
const INTERVAL: Duration = Duration::from_millis(200);
/// Characters of the bar between its brackets.
const WIDTH: usize = 30;

/// Does `work`, which counts in `progress`; meanwhile the bar stands on standard error, when that is a terminal.
pub(super) fn show_while<T>(progress: &SigningProgress, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let start = Instant::now();
    let (working, ended) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let (done, all) = progress.counts();
                draw(&bar(done, all, start.elapsed()));
            }
            draw("");
        });
        let result = work();
        drop(working);
        result
    })
}

/// Writes a line over the one before. A terminal that takes no more is no reason to end.
fn draw(line: &str) {
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
}

/// The bar with the share that is done, the RRsets and their rate, and the time that is left at this rate.
fn bar(done: usize, all: usize, elapsed: Duration) -> String {
    if all == 0 {
        return "preparing".to_owned();
    }
    let done = done.min(all);
    let filled = done * WIDTH / all;
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let left = if done == 0 { String::new() } else { format!(", {:.0} s left", (all - done) as f64 / rate) };
    format!(
        "[{}{}] {:3} % of {all} RRsets, {rate:.0}/s{left}",
        "#".repeat(filled),
        ".".repeat(WIDTH - filled),
        done * 100 / all
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_shows_share_rate_and_the_time_that_is_left() {
        for (done, all, seconds, want) in [
            (0, 0, 0, "preparing"),
            (0, 10, 0, "[..............................]   0 % of 10 RRsets, 0/s"),
            (5, 10, 1, "[###############...............]  50 % of 10 RRsets, 5/s, 1 s left"),
            (9999, 10_000, 2, "[#############################.]  99 % of 10000 RRsets, 5000/s, 0 s left"),
            (10, 10, 2, "[##############################] 100 % of 10 RRsets, 5/s, 0 s left"),
            (11, 10, 2, "[##############################] 100 % of 10 RRsets, 5/s, 0 s left"),
        ] {
            assert_eq!(bar(done, all, Duration::from_secs(seconds)), want);
        }
    }
}
