//! DNS UPDATE (RFC 2136): what a message asks for, and what comes of it on a zone. Who may ask is said by the module `policy`; signatures of messages are
//! those of [`crate::transfer`].
//!
//! ```text
//! octets ──UpdateMessage::read──▶ prerequisites, updates ──evaluate(zone, rules)──▶ ContentChange, or RCODE
//! ```

mod evaluate;
mod message;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use evaluate::{NotDone, ServedApex, evaluate};
pub use message::{UpdateMessage, UpdateRecord};

use keystore::config::content::UpdateRule;
use keystore::dns::Name;

/// The RCODE of an answer to an update (RFC 2136 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateRcode {
    /// Done.
    NoError = 0,
    /// The message is malformed.
    FormErr = 1,
    /// Not done now.
    ServFail = 2,
    /// A name that should exist does not.
    NxDomain = 3,
    /// Not allowed.
    Refused = 5,
    /// A name that should not exist does.
    YxDomain = 6,
    /// An RRset that should not exist does.
    YxRrset = 7,
    /// An RRset that should exist does not.
    NxRrset = 8,
    /// This server does not serve the zone, or not as its primary.
    NotAuth = 9,
    /// A name is not in the zone.
    NotZone = 10,
}

/// An update that a zone is asked for.
#[derive(Debug)]
pub struct UpdateRequest {
    /// What it asks for.
    pub message: UpdateMessage,
    /// The key that the request was signed with.
    pub key: Name,
    /// What its holder may change.
    pub rules: Vec<UpdateRule>,
}
