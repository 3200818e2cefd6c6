//! Where the signatures of a version stand: a slot for each RRset that is signed, in it a place for each key that signs.

use keystore::keys::Dnskey;

use crate::zone::NodeId;

/// A key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
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
pub(super) struct SignTask {
    pub node: NodeId,
    pub subject: SignSubject,
    /// Its number among those of the name.
    pub number: u32,
    /// Where its slot begins among the octets of its block.
    pub slot: u32,
}

/// Which RRset of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignSubject {
    /// The RRset of the zone with this number.
    Rrset(u32),
    /// Its denial record, of so many octets, which stand in front of the slot.
    Denial(u16),
}
