//! Zones that come from primaries, by AXFR and IXFR.
//!
//! ```text
//! timer ──due, NOTIFY──▶ look ──query──▶ primary ──messages──▶ stream ──records──▶ content ──change──▶ the zone's thread
//! ```
//!
//! [`PrimaryFollower`] has a task for each zone; all else but the connection is pure: octets and times in, records and times out.

mod catalog;
mod connection;
mod content;
mod fault;
mod follow;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod kept;
mod look;
mod serial;
mod soa;
mod stream;
#[cfg(test)]
mod tests;
mod timer;
mod tls;
mod wire;

pub use catalog::{CatalogFaults, CatalogFollowFault, CatalogFollower};
pub use fault::TransferFault;
pub use follow::PrimaryFollower;
pub use stream::{StreamLimits, TransferEvent, TransferProgress, TransferRequest, TransferStream};
pub use timer::{LookFailure, Looked, SoaTimes, TimerBounds, ZoneTimer};
pub use wire::ReceivedRecord;
