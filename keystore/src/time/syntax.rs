//! The time syntax of the BIND tools (`-i`, `-e`): absolute, relative to now, offsets (month = 30 d).

use super::Timestamp;

/// Reads a time as `dnssec-ksr -i` and `-e` do; `Ok(None)` for `none`, `never`, `unset`.
pub fn parse(_text: &str, _now: Timestamp) -> Result<Option<Timestamp>, TimeSyntaxError> {
    todo!()
}

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeSyntaxError {
    /// Not readable at all.
    #[error("time value {0} is invalid")]
    Invalid(String),
    /// `m` alone.
    #[error("'{0}' ambiguous: use 'mi' for minutes or 'mo' for months")]
    Ambiguous(String),
    /// A date that does not exist or does not fit.
    #[error("time value {0} is invalid: out of range")]
    OutOfRange(String),
}
