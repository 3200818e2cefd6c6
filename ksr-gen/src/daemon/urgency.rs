//! How urgent an open request is.

use keystore::config::Config;
use keystore::time::Timestamp;
use metrics::condition::Severity;
use metrics::health::facts::Thresholds;

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
        // As the health of the host judges the request.
        match Thresholds::from(config).severity(end.since(now)) {
            Severity::Critical => Self::Critical,
            Severity::Warning => Self::Warning,
            Severity::Attention => Self::Reminder,
            Severity::Ok => Self::Notice,
        }
    }
}
