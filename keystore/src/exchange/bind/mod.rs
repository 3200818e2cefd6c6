//! BIND's text form of KSR and SKR: parse and print.

mod parse;
mod print;

use crate::check::CheckId;
pub(super) use parse::{Dialect, read_ksr, read_skr};
pub use parse::{parse_ksr, parse_skr};
pub use print::{
    print_ksr, print_skr, print_skr_grouped, put_ksr_bundle, put_ksr_footer, put_skr_bundle, put_skr_footer,
};

/// A line that does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BindSyntaxError {
    /// `SKR-SYNTAX`, `SKR-TYPE`, `SKR-CLASS`, `SKR-TTL`, `SKR-WRONG-ZONE`, `SKR-LIMITS`, `SKR-TRUNCATED`; the same with
    /// `KSR-` for a request, with `ANCHOR-` for trust anchors.
    pub id: CheckId,
    /// Line, from 1.
    pub line: u32,
    /// What was expected, and what to do.
    pub what: String,
}

/// Largest KSR or SKR that is read, in octets.
pub const MAX_OCTETS: usize = 8 * 1024 * 1024;
/// Longest line, in octets. An RRSIG by an RSA key of 4096 bits takes less than 1200.
pub const MAX_LINE: usize = 8192;
/// Most bundles in a KSR or SKR. Ten years of weekly bundles are 530.
pub const MAX_BUNDLES: usize = 20_000;
/// Most keys in a bundle.
pub const MAX_KEYS: usize = 32;
/// Most signatures over one RRset.
pub const MAX_SIGNATURES: usize = 16;

#[cfg(test)]
pub(crate) mod tests;
