//! Standard error: messages, colours, progress.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use keystore::keys::files::KeyFileError;

#[derive(Clone, Copy)]
pub(super) enum Level {
    Plain,
    Warning,
    Error,
    Fatal,
}

/// Standard error, with colours and progress for a person.
pub(super) struct Console<'a> {
    pub stderr: &'a mut (dyn Write + Send),
    pub terminal: bool,
    pub verbosity: u32,
    /// The zone that messages are about, where there are several.
    pub zone: Option<String>,
    /// A line of [`Self::show`] stands there and has no end yet.
    pub shows: bool,
}

impl Console<'_> {
    /// Prints `ksr-gen: <level>: <text>`. What goes wrong there has nowhere to be told.
    pub fn say(&mut self, level: Level, text: &str) {
        self.end_line();
        let (word, colour) = match level {
            Level::Plain => ("", ""),
            Level::Warning => ("warning: ", "\x1b[33m"),
            Level::Error => ("error: ", "\x1b[31m"),
            Level::Fatal => ("fatal: ", "\x1b[1;31m"),
        };
        let about = self.zone.as_deref().map_or_else(String::new, |zone| format!("{zone}: "));
        let text = printable(&format!("{about}{text}"));
        let _ = if self.terminal && !colour.is_empty() {
            writeln!(self.stderr, "ksr-gen: {colour}{word}\x1b[0m{text}")
        } else {
            writeln!(self.stderr, "ksr-gen: {word}{text}")
        };
    }

    /// Prints with `-v 1` and more.
    pub fn detail(&mut self, text: &str) {
        if self.verbosity > 0 {
            self.end_line();
            let _ = writeln!(self.stderr, "{}", printable(text));
        }
    }

    /// Warns of key files.
    pub fn folder(&mut self, warnings: &[KeyFileError]) {
        for warning in warnings {
            self.say(Level::Warning, &format!("key file {warning}"));
        }
    }

    /// Shows a person how far the work has come, in place of what was shown before.
    pub fn show(&mut self, text: &str) {
        if self.terminal {
            let _ = write!(self.stderr, "\rksr-gen: {}\x1b[K", printable(text));
            self.shows = true;
        }
    }

    /// Ends the line of [`Self::show`].
    fn end_line(&mut self) {
        if std::mem::take(&mut self.shows) {
            let _ = writeln!(self.stderr);
        }
    }

    /// Runs `work`, showing a person how far it has come once it takes more than a second.
    pub fn progress<T>(&mut self, total: usize, work: impl FnOnce(&(dyn Fn(usize) + Sync)) -> T) -> T {
        self.progress_by(Instant::now, total, work)
    }

    fn progress_by<T>(
        &mut self,
        clock: impl Fn() -> Instant + Sync,
        total: usize,
        work: impl FnOnce(&(dyn Fn(usize) + Sync)) -> T,
    ) -> T {
        if !self.terminal {
            return work(&|_| {});
        }
        let pace = Pace::start(clock());
        let shown = Mutex::new((&mut *self, pace));
        let out = work(&|done| {
            // The thread that holds the lock shows the progress.
            let Ok(mut shown) = shown.try_lock() else { return };
            let (console, pace) = &mut *shown;
            if pace.is_due(clock()) {
                console.show(&format!("signed {done} of {total} bundles"));
            }
        });
        self.end_line();
        out
    }
}

/// When a person is shown how far the work has come: after a second, and then five times a second.
pub(super) struct Pace {
    next: Instant,
}

impl Pace {
    const FIRST: Duration = Duration::from_secs(1);
    const THEN: Duration = Duration::from_millis(200);

    /// Begins at the start of the work.
    pub(super) fn start(now: Instant) -> Self {
        Self { next: now + Self::FIRST }
    }

    /// True when it is time to show it, which it is then not for a while.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.next <= now;
        if is_due {
            self.next = now + Self::THEN;
        }
        is_due
    }
}

/// The text without control characters: names and paths come from outside.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn progress_is_shown_after_a_second_and_five_times_a_second_from_then_on() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut pace = Pace::start(began);
        let shown: Vec<u64> = (0..30).map(|n| n * 100).filter(|ms| pace.is_due(at(*ms))).collect();
        assert_eq!(shown, [1000, 1200, 1400, 1600, 1800, 2000, 2200, 2400, 2600, 2800]);
    }

    #[test]
    fn kind_109_work_of_more_than_a_second_shows_a_person_how_far_it_is_and_a_log_nothing() {
        let shown = "\rksr-gen: signed 2 of 3 bundles\x1b[K\rksr-gen: signed 3 of 3 bundles\x1b[K\n";
        for (terminal, millis, expected) in [(true, 500, shown), (true, 300, ""), (false, 500, "")] {
            let (began, calls) = (Instant::now(), AtomicU64::new(0));
            let clock = || began + Duration::from_millis(millis * calls.fetch_add(1, Ordering::Relaxed));
            let mut stderr = Vec::new();
            let mut console =
                Console { stderr: &mut stderr, terminal, verbosity: 0, zone: None, shows: false };
            console.progress_by(clock, 3, |done| (1..=3).for_each(done));
            assert_eq!(String::from_utf8_lossy(&stderr), expected, "{terminal} {millis}");
        }
    }
}
