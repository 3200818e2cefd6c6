//! BIND's text form of KSR and SKR: parse and print.

use super::{Ksr, UnverifiedSkr};
use crate::dns::Name;
use crate::time::Timestamp;

/// A line that does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SyntaxError {
    /// `SKR-SYNTAX`, `SKR-TYPE`, `SKR-CLASS`, `SKR-TTL`, `SKR-WRONG-ZONE`, `SKR-LIMITS`, `SKR-TRUNCATED`.
    pub id: &'static str,
    /// Line, from 1.
    pub line: u32,
    /// What was expected, and what to do.
    pub what: String,
}

/// Largest KSR or SKR that is read, in octets.
pub const MAX_OCTETS: usize = 16 * 1024 * 1024;

/// Reads an SKR for `zone`.
pub fn parse_skr(_octets: &[u8], _zone: &Name) -> Result<UnverifiedSkr, SyntaxError> {
    todo!()
}

/// Reads a KSR for `zone`; header times may be relative to `now`, as BIND reads them.
pub fn parse_ksr(_octets: &[u8], _zone: &Name, _now: Timestamp) -> Result<Ksr, SyntaxError> {
    todo!()
}

/// Prints an SKR as `dnssec-ksr sign` does. `made` goes to the footer, behind `generated at`: time and program.
#[must_use]
pub fn print_skr(_skr: &UnverifiedSkr, _made: Timestamp, _program: &str) -> String {
    todo!()
}

/// Prints a KSR as `dnssec-ksr request` does.
#[must_use]
pub fn print_ksr(_ksr: &Ksr, _made: Timestamp, _program: &str) -> String {
    todo!()
}
