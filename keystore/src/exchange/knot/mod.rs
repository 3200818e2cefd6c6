//! Knot DNS's text form of KSR and SKR: parse and print.
//!
//! It is BIND's form with other headers (seconds since 1970), records over several lines, and CDS and CDNSKEY of TTL 0.
//! Knot's signatures begin 90 minutes before their bundle, BIND's 60; neither matters to a reader.

mod print;

pub use print::{Stamps, print_ksr, print_skr};

use super::bind::{BindSyntaxError, Dialect, read_ksr, read_skr};
use super::{Ksr, UnverifiedSkr};
use crate::dns::Name;

/// Reads an SKR for `zone`. Header times are seconds since 1970 (10 digits; Knot 3.4) or 14 digits (later).
///
/// What Knot reads over is refused: another owner, another type, another version, a record before the first header,
/// text behind the closing line; and as with Knot the closing line must be there.
pub fn parse_skr(octets: &[u8], zone: &Name) -> Result<UnverifiedSkr, BindSyntaxError> {
    read_skr(octets, zone, Dialect::Knot)
}

/// Reads a KSR for `zone`, as strictly as [`parse_skr`].
pub fn parse_ksr(octets: &[u8], zone: &Name) -> Result<Ksr, BindSyntaxError> {
    read_ksr(octets, zone, Dialect::Knot)
}

#[cfg(test)]
mod tests;
