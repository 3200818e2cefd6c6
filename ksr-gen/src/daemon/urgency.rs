//! How urgent an open request is.

use keystore::config::Config;
use keystore::time::Timestamp;

/// How urgent a request is, by the coverage that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The request was written, and there is time.
    Notice = 1,
    /// Less than `coverage-info` is left.
    Reminder,
    /// Less than `coverage-warning` is left.
    Warning,
    /// Less than `coverage-critical` is left, or nothing.
    Critical,
}

impl Urgency {
    /// All, the least first.
    pub const ALL: [Self; 4] = [Self::Notice, Self::Reminder, Self::Warning, Self::Critical];

    /// The name in mails, in the note of the levels told, and in the environment of the hook.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Reminder => "reminder",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The level at `now`. A zone that never had coverage has nothing to lose: a notice.
    #[must_use]
    pub fn at(coverage_end: Option<Timestamp>, config: &Config, now: Timestamp) -> Self {
        let Some(end) = coverage_end else { return Self::Notice };
        // By the thresholds by which the health of the host judges the request, whose crate is not there without the feature `daemon`.
        let (left, loader) = (end.since(now), &config.loader);
        let below = |threshold: u32| left < u64::from(threshold);
        match () {
            () if below(loader.coverage_critical) => Self::Critical,
            () if below(loader.coverage_warning) => Self::Warning,
            () if below(loader.coverage_info) => Self::Reminder,
            () => Self::Notice,
        }
    }
}
