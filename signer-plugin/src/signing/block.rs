//! What is made for the names of a zone, in blocks like those of the zone: signatures, and the denial record of each name.

use keystore::dns::nsec3::NameHash;
use keystore::time::Timestamp;

use super::tally::Tally;
use crate::zone::read_lines;

/// Octets of the hash in front of an NSEC3 record.
const HASH: usize = 20;

/// Lines of memory that are read ahead of an answer: those that most names need.
const MOST_LINES: usize = 8;

/// What was made for the names of a block.
#[derive(Debug, Clone, Default)]
pub(super) struct SignedBlock {
    pub nodes: Vec<SignedNode>,
    /// For each name: a slot for each RRset of the zone that is signed, by type; with NSEC3 the hash of the name; the denial record with its
    /// length in front; its slot.
    pub octets: Vec<u8>,
}

/// What was made for a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SignedNode {
    /// Where it begins among the octets of the block.
    pub offset: u32,
    /// Number of RRsets of the zone that are signed.
    pub signed: u32,
    /// Names below it that are in the NSEC3 chain; 0 with NSEC.
    pub members_below: u32,
    /// Octets of its denial record with its length; 0 when it is not in the chain.
    pub denial_len: u16,
}

/// What is known of the signatures and denial records of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockFacts {
    /// The earliest expiration, and when the first signature comes due.
    pub earliest: Timestamp,
    pub due: Timestamp,
    pub slots: u32,
    pub denials: u32,
    /// A checksum over the denial records that does not depend on their order. It shows accidents, and other denial records of another version
    /// of this program; the sections of the state have digests that show what persons change.
    pub checksum: u128,
}

impl BlockFacts {
    pub const NOTHING: Self =
        Self { earliest: Timestamp::MAX, due: Timestamp::MAX, slots: 0, denials: 0, checksum: 0 };

    pub fn and(self, other: Self) -> Self {
        Self {
            earliest: self.earliest.min(other.earliest),
            due: self.due.min(other.due),
            slots: self.slots + other.slots,
            denials: self.denials + other.denials,
            checksum: self.checksum.wrapping_add(other.checksum),
        }
    }

    pub fn with_times(self, tally: &Tally) -> Self {
        Self { earliest: tally.earliest, due: tally.due, ..self }
    }
}

impl SignedBlock {
    /// The slot of a signed RRset, by its number among those of the name that are signed.
    pub fn slot(&self, place: usize, number: usize, slot_len: usize) -> &[u8] {
        let at = self.nodes[place].offset as usize + number * slot_len;
        &self.octets[at..at + slot_len]
    }

    pub fn node(&self, place: usize) -> &SignedNode {
        &self.nodes[place]
    }

    /// Reads where what a name has begins, so that it is found without waiting for that.
    pub fn read_name(&self, place: usize) -> usize {
        self.nodes.get(place).map_or(0, |node| node.offset as usize)
    }

    /// Reads what a name has, as far as most names have.
    pub fn read_content(&self, place: usize) -> usize {
        let begin = |place: usize| self.nodes.get(place).map(|node| node.offset as usize);
        let Some(from) = begin(place) else { return 0 };
        let end = begin(place + 1).unwrap_or(self.octets.len());
        read_lines(&self.octets, from, (end.saturating_sub(from) / 64 + 1).min(MOST_LINES))
    }

    /// The hash of a name in the NSEC3 chain.
    pub fn hash(&self, place: usize, slot_len: usize) -> NameHash {
        let at = self.nodes[place].behind_slots(slot_len);
        NameHash(*self.octets[at..].first_chunk::<HASH>().unwrap_or(&[0; HASH]))
    }

    /// The denial record of a name in the chain, and its slot.
    pub fn denial(&self, place: usize, has_hash: bool, slot_len: usize) -> (&[u8], &[u8]) {
        let node = &self.nodes[place];
        let at = node.behind_slots(slot_len) + if has_hash { HASH } else { 0 };
        self.octets[at..][..usize::from(node.denial_len) + slot_len].split_at(usize::from(node.denial_len))
    }
}

impl SignedNode {
    /// Nothing was made.
    pub const NOTHING: Self = Self { offset: 0, signed: 0, members_below: 0, denial_len: 0 };

    const fn behind_slots(&self, slot_len: usize) -> usize {
        self.offset as usize + self.signed as usize * slot_len
    }

    pub const fn is_member(&self) -> bool {
        self.denial_len > 0
    }
}
