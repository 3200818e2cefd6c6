//! Two hosts with the same keys and zones: which of them makes versions, and what keeps the other from it.
//!
//! ```text
//! lease folder ──LeaseFolder::read──▶ Lease ─┐
//! state folder ──origin::read──▶ Origin ─────┼──takeover::objections──▶ take over, or what is against it
//! secondaries ──SOA queries──▶ Sighting ─────┘
//! Lease ──renew──▶ Fence ──permits──▶ a version may be published now
//! ```
//!
//! A *generation* here is the number of a takeover: each takeover has the next one. It stands in the lease and, once the host has taken
//! over, in its state folder with the name of the host, and is copied with it: so a state of before a takeover is known by it.

pub mod active;
pub mod fence;
pub mod generation;
pub mod lease;
pub mod origin;
pub mod takeover;

pub use active::{NotActive, require_active};
pub use fence::{Fence, Moment};
pub use generation::Generation;
pub use lease::{Lease, LeaseError, LeaseFolder, Listing, Skipped, Stage};
pub use origin::Origin;
pub use takeover::{Facts, Objection, Sighting};
