//! Records that have found their node, as they go from the builder to the tables of the zone.

use keystore::dns::{Name, Rtype, name};

use super::NodeId;
use super::layout::Names;
use crate::zonefile::RecordPlace;

/// Largest table, in entries or octets: offsets and indices have 32 bits.
pub(super) const MAX_TABLE: usize = u32::MAX as usize;

/// A record and the node that it belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlacedRecord {
    pub node: NodeId,
    pub rtype: Rtype,
    pub len: u16,
    pub ttl: u32,
    pub offset: u32,
    pub place: RecordPlace,
    /// Index of its owner among the names.
    pub name: u32,
}

impl PlacedRecord {
    pub fn rdata<'a>(&self, names: &'a Names) -> &'a [u8] {
        &names.octets[self.offset as usize..][..usize::from(self.len)]
    }
}

/// The name that `wire` starts with; the root when it is none.
pub(super) fn to_name(wire: &[u8]) -> Name {
    let len = name::wire_len(wire).unwrap_or(0);
    Name::from_wire(&wire[..len]).unwrap_or_else(|_| Name::root())
}
