//! Asks nameservers over DNS what they serve, whoever runs them, and judges what was seen.
//!
//! [`gather`](gather::gather) asks, [`judge`](judge::judge) decides: facts in, findings out, with the time as an argument. Every
//! round is bounded in queries, memory and time.

pub mod ask;
pub mod chain;
pub mod expire;
pub mod facts;
pub mod finding;
pub mod gather;
pub mod history;
pub mod judge;
pub mod soa;
pub mod transfer;
pub mod tsig;

/// Most signatures over one RRset that are verified.
const MAX_SIGNATURES: usize = 16;
