//! Content of a zone that does not come from its file alone: requests for changes on their way to the zone's thread, and what becomes of a file
//! that changes beside them.
//!
//! ```text
//! DNS UPDATE ──▶ ChangeQueue ──ZoneRuntime::take_changes──▶ ContentStore (on disk) ──▶ signed, served ──▶ answer
//! zone file that changed ──rebased──▶ what it changes, on top of what updates made
//! ```

mod dump;
mod queue;
mod rebase;

#[cfg(feature = "testing")]
pub(crate) use dump::print;
pub use dump::{DumpError, dump};
pub use queue::{Change, ChangeOutcome, ChangeQueue, ChangeRequest, Reply};
pub(crate) use rebase::{Rebased, rebased};
