//! Fills one message with records: names compressed, at most as many octets as pointers reach.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use keystore::dns::name::wire_len;

use crate::answer::names::{Case, compressible, is_at};
use crate::answer::query::HEADER;
use crate::signing::RecordRef;

/// Most octets of a message over TCP: pointers have 14 bits, and what stands behind could not be pointed to.
pub(super) const MAX_MESSAGE: usize = 0x3fff;
/// Slots of the table of names, a power of two.
const SLOTS: usize = 4096;
/// What a place has where nothing was put: no name stands in front of the header.
const FREE: (u16, u16) = (0, 0);
/// Names and tails of names that a message remembers; a table that is fuller would be slow.
const REMEMBERED: usize = SLOTS / 4 * 3;

/// Writes the messages of a transfer, one after the other, into a buffer of the caller.
#[derive(Debug)]
pub(super) struct MessageWriter {
    /// Where each remembered tail stands in the message, at the place that its hash says, with other bits of the hash.
    slots: Box<[(u16, u16); SLOTS]>,
    remembered: usize,
    /// Names come from strangers, who must not know which of them share a place.
    seed: RandomState,
    /// The tail that was found last behind labels that were not, and where it stands.
    shared: (Vec<u8>, u16),
    /// The owner of the record before, and where it stands.
    owner: (Vec<u8>, usize),
    count: u16,
    limit: usize,
    is_stream: bool,
}

impl MessageWriter {
    pub fn new() -> Self {
        Self {
            slots: Box::new([FREE; SLOTS]),
            remembered: 0,
            seed: RandomState::default(),
            shared: (Vec::new(), 0),
            owner: (Vec::new(), 0),
            count: 0,
            limit: MAX_MESSAGE,
            is_stream: true,
        }
    }

    /// Starts a message whose records end before octet `limit`; in a stream a first record may end behind it, since some record is longer
    /// than most messages are. `out` becomes room for the header, and the question, whose name later names may point to.
    pub fn begin(&mut self, question: &[u8], limit: usize, is_stream: bool, out: &mut Vec<u8>) {
        self.slots.fill(FREE);
        (self.remembered, self.count) = (0, 0);
        (self.limit, self.is_stream) = (limit.min(MAX_MESSAGE), is_stream);
        self.owner.0.clear();
        self.shared.0.clear();
        out.clear();
        out.resize(HEADER, 0);
        // Written as a name, so that it is remembered.
        let name = question.len().saturating_sub(4);
        self.put_name(&question[..name], out);
        out.extend_from_slice(&question[name..]);
    }

    /// Number of records in the message.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Appends a record; false, and nothing is appended, when it does not fit.
    pub fn put(&mut self, record: &RecordRef<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        if self.owner.0 == record.owner && !self.owner.0.is_empty() {
            out.extend_from_slice(&(0xc000 | self.owner.1 as u16).to_be_bytes());
        } else {
            self.put_name(record.owner, out);
        }
        out.extend_from_slice(&record.rtype.0.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&record.ttl.to_be_bytes());
        let at = out.len();
        out.extend_from_slice(&[0, 0]);
        match compressible(record.rtype) {
            Some((fixed, names)) => {
                let (head, mut rest) = record.rdata.split_at(fixed.min(record.rdata.len()));
                out.extend_from_slice(head);
                for _ in 0..names {
                    rest = &rest[self.put_name(rest, out)..];
                }
                out.extend_from_slice(rest);
            }
            None => out.extend_from_slice(record.rdata),
        }
        let len = (out.len() - at - 2) as u16;
        out[at..at + 2].copy_from_slice(&len.to_be_bytes());
        let is_alone = self.count == 0 && self.is_stream;
        if out.len() > self.limit && !is_alone || self.count == u16::MAX {
            // The names that the table has from here on stand behind the end of the message, which ends here.
            out.truncate(start);
            return false;
        }
        if self.owner.0 != record.owner && start < MAX_MESSAGE {
            self.owner.0.clear();
            self.owner.0.extend_from_slice(record.owner);
            self.owner.1 = start;
        }
        self.count += 1;
        true
    }

    /// Appends the name that `wire` starts with, the longest tail of it that stands in the message as a pointer. Gives the octets read,
    /// 0 when it starts with no name. Only a tail in the same letter case counts (RFC 5936 section 3.4).
    fn put_name(&mut self, wire: &[u8], out: &mut Vec<u8>) -> usize {
        let Some(len) = wire_len(wire) else { return 0 };
        let (name, start) = (&wire[..len], out.len());
        let mut in_full = 0;
        let found = loop {
            let tail = &name[in_full..];
            if tail.len() == 1 {
                break None;
            }
            // Nearly always what the name before ended with.
            if in_full > 0 && self.shared.0 == tail {
                break Some(self.shared.1);
            }
            match self.find(tail, out) {
                Ok(at) => {
                    if in_full > 0 {
                        self.shared.0.clear();
                        self.shared.0.extend_from_slice(tail);
                        self.shared.1 = at;
                    }
                    break Some(at);
                }
                Err(free) => self.remember(free, start + in_full),
            }
            in_full += 1 + usize::from(tail[0]);
        };
        out.extend_from_slice(&name[..in_full]);
        match found {
            Some(at) => out.extend_from_slice(&(0xc000 | at).to_be_bytes()),
            None => out.push(0),
        }
        len
    }

    /// Where the message has this tail of a name, or the place in the table for it.
    fn find(&self, tail: &[u8], message: &[u8]) -> Result<u16, FreeSlot> {
        let mut hasher = self.seed.build_hasher();
        hasher.write(tail);
        let hash = hasher.finish();
        let (mut slot, tag) = (hash as usize % SLOTS, (hash >> 48) as u16);
        loop {
            match self.slots[slot] {
                FREE => return Err(FreeSlot { slot, tag }),
                (at, found) if found == tag && is_at(message, usize::from(at), tail, Case::Exact) => {
                    return Ok(at);
                }
                _ => slot = (slot + 1) % SLOTS,
            }
        }
    }

    fn remember(&mut self, free: FreeSlot, at: usize) {
        if at < MAX_MESSAGE && self.remembered < REMEMBERED {
            self.slots[free.slot] = (at as u16, free.tag);
            self.remembered += 1;
        }
    }
}

/// A place in the table of names where nothing stands yet.
struct FreeSlot {
    slot: usize,
    /// Bits of the hash that the place does not tell.
    tag: u16,
}
