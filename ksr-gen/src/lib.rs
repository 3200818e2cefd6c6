//! Keys, key signing requests and their signing, option-compatible with BIND's `dnssec-ksr`.
//!
//! ```text
//! policy + key files ──keygen──▶ ZSKs ──request──▶ KSR ─▶ (ceremony: check, sign) ─▶ SKR
//! ```
//!
//! [`keygen`], [`request`] and [`sign`] are the three commands as functions, [`cli`] is the command line around them, and
//! [`daemon`] keeps requests flowing on a host that serves the zone.
//!
//! **Invariant:** no network library and no async runtime is in the dependency tree of this crate (the feature `daemon`, which
//! the one process of all daemons turns on, adds the metric names).

mod chain;
pub mod check;
pub mod cli;
pub mod daemon;
pub mod finding;
pub mod keygen;
pub mod merge;
mod policy_file;
pub mod replace;
pub mod request;
pub mod rollover;
mod schedule;
pub mod sign;
mod sign_xml;

/// Name and version, as it stands in the last line of a KSR and an SKR.
pub const PROGRAM: &str = concat!("ksr-gen ", env!("CARGO_PKG_VERSION"));
