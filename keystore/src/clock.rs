//! The one place that reads the wall clock. Libraries take `now: Timestamp`; binaries ask here.

use crate::time::Timestamp;

/// The current time of the system, in whole seconds; the epoch when the clock stands before 1970.
#[allow(clippy::disallowed_methods, reason = "this module is the one that reads the clock")]
#[must_use]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_secs(since.as_secs())
}
