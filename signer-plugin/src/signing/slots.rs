//! Where the signatures of a version stand: a slot for each RRset that is signed, in it a place for each key that signs.

use keystore::keys::Dnskey;

use super::denial::LinkId;
use crate::zone::{NodeId, RrsetId};

/// A key that signs.
#[derive(Debug, Clone)]
pub(super) struct KeySlot {
    pub dnskey: Dnskey,
    pub tag: u16,
    /// Where its RRSIG begins in a slot: two octets of length, then the RDATA.
    pub offset: usize,
    /// Octets of its RRSIG RDATA.
    pub len: usize,
}

/// One RRset to sign.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub node: NodeId,
    pub subject: Subject,
}

/// Which RRset of the node.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject {
    /// An RRset of the zone.
    Rrset(RrsetId),
    /// A record of the chain.
    Denial(LinkId),
}
