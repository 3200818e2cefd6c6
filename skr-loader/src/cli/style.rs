//! Colours, on a terminal only, and how times are told to people.

use std::io::IsTerminal;

use keystore::time::Timestamp;

/// Whether colours are used.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    colours: bool,
}

impl Style {
    /// Colours when standard output is a terminal and `NO_COLOR` is not set.
    pub fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colours: wanted && std::io::stdout().is_terminal() }
    }

    /// Whether they are used.
    pub const fn has_colours(self) -> bool {
        self.colours
    }

    /// Good news.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Bad news.
    pub fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Worth a look.
    pub fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// By the way.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// How long until (or since) `time`, in the unit that fits.
pub fn distance(time: Timestamp, now: Timestamp) -> String {
    let (seconds, ahead) = if time >= now { (time.since(now), true) } else { (now.since(time), false) };
    let (number, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let s = if number == 1 { "" } else { "s" };
    if ahead { format!("in {number} {unit}{s}") } else { format!("{number} {unit}{s} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let now = Timestamp::from_secs(1_000_000);
        for (time, want) in [
            (now, "in 0 seconds"),
            (now.plus(1), "in 1 second"),
            (now.minus(119), "119 seconds ago"),
            (now.plus(7_199), "in 119 minutes"),
            (now.plus(172_799), "in 47 hours"),
            (now.plus(172_800), "in 2 days"),
        ] {
            assert_eq!(distance(time, now), want);
        }
    }
}
