//! Standard error: messages, colours, progress.

use std::io::Write;
use std::sync::Mutex;

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
}

impl Console<'_> {
    /// Prints `ksr-gen: <level>: <text>`. What goes wrong there has nowhere to be told.
    pub fn say(&mut self, level: Level, text: &str) {
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
            let _ = writeln!(self.stderr, "{}", printable(text));
        }
    }

    /// Warns of key files.
    pub fn folder(&mut self, warnings: &[KeyFileError]) {
        for warning in warnings {
            self.say(Level::Warning, &format!("key file {warning}"));
        }
    }

    /// Runs `work`, showing how far it has come when a person looks and it takes a while.
    pub fn progress<T>(&mut self, total: usize, work: impl FnOnce(&(dyn Fn(usize) + Sync)) -> T) -> T {
        const WORTH_SHOWING: usize = 200;
        if !self.terminal || total < WORTH_SHOWING {
            return work(&|_| {});
        }
        let stderr = Mutex::new(&mut *self.stderr);
        let every = (total / 50).max(1);
        let out = work(&|done| {
            if (done % every == 0 || done == total)
                && let Ok(mut stderr) = stderr.lock()
            {
                let _ = write!(stderr, "\rksr-gen: signed {done} of {total} bundles");
            }
        });
        let _ = writeln!(self.stderr);
        out
    }
}

/// The text without control characters: names and paths come from outside.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
