//! Zones that come from primaries, by AXFR and IXFR.
//!
//! ```text
//! timer ── due, NOTIFY ──▶ client ──query──▶ primary ──messages──▶ stream ──records──▶ content ──▶ the signer
//! ```

mod fault;
mod serial;
mod stream;
#[cfg(test)]
mod tests;
mod timer;
mod wire;

pub use fault::TransferFault;
pub use stream::{StreamLimits, TransferEvent, TransferProgress, TransferRequest, TransferStream};
pub use timer::{SoaTimes, TimerBounds, ZoneTimer};
pub use wire::ReceivedRecord;
