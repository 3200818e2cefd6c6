//! Fills one message with records: names compressed, at most as many octets as pointers reach.

use crate::answer::names::compressible;
use crate::answer::query::HEADER;
use crate::signing::RecordRef;
use crate::zone::Labels;

/// Most octets of a message over TCP: pointers have 14 bits, and what stands behind could not be pointed to.
pub(super) const MAX_MESSAGE: usize = 0x3fff;
/// Slots of the table of names, a power of two.
const SLOTS: usize = 4096;
/// Names and tails of names that a message remembers; a table that is fuller would be slow.
const REMEMBERED: usize = SLOTS / 4 * 3;

/// Writes the messages of a transfer, one after the other, into a buffer of the caller.
#[derive(Debug)]
pub(super) struct Packer {
    /// Where each remembered tail stands in the message, by its hash; 0 = free.
    slots: Box<[u16; SLOTS]>,
    remembered: usize,
    /// The owner of the record before, and where it stands.
    owner: (Vec<u8>, usize),
    count: u16,
    limit: usize,
    is_stream: bool,
}

impl Packer {
    pub fn new() -> Self {
        Self {
            slots: Box::new([0; SLOTS]),
            remembered: 0,
            owner: (Vec::new(), 0),
            count: 0,
            limit: MAX_MESSAGE,
            is_stream: true,
        }
    }

    /// Starts a message whose records end before octet `limit`; in a stream a first record may end behind it, since some record is longer
    /// than most messages are. `out` becomes room for the header, and the question, whose name later names may point to.
    pub fn begin(&mut self, question: &[u8], limit: usize, is_stream: bool, out: &mut Vec<u8>) {
        self.slots.fill(0);
        (self.remembered, self.count) = (0, 0);
        (self.limit, self.is_stream) = (limit.min(MAX_MESSAGE), is_stream);
        self.owner.0.clear();
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
        let Some(labels) = Labels::of(wire) else { return 0 };
        let len = usize::from(labels.len);
        let mut hashes = [0_u32; 128];
        let mut hash = 0x811c_9dc5_u32;
        for label in (0..labels.count()).rev() {
            let start = labels.offset(label);
            for octet in &wire[start..=start + usize::from(wire[start])] {
                hash = (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193);
            }
            hashes[label] = hash;
        }
        let mut found = None;
        let mut in_full = labels.count();
        for (label, hash) in hashes[..labels.count()].iter().enumerate() {
            if let Some(at) = self.find(*hash, &wire[labels.offset(label)..len], out) {
                (found, in_full) = (Some(at), label);
                break;
            }
        }
        let start = out.len();
        out.extend_from_slice(&wire[..labels.offset(in_full)]);
        match found {
            Some(at) => out.extend_from_slice(&(0xc000 | at).to_be_bytes()),
            None => out.push(0),
        }
        for (label, hash) in hashes[..in_full].iter().enumerate() {
            self.remember(*hash, start + labels.offset(label));
        }
        len
    }

    fn find(&self, hash: u32, tail: &[u8], message: &[u8]) -> Option<u16> {
        let mut slot = hash as usize % SLOTS;
        while self.slots[slot] != 0 {
            let at = self.slots[slot];
            if is_at(message, usize::from(at), tail) {
                return Some(at);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }

    fn remember(&mut self, hash: u32, at: usize) {
        if at >= MAX_MESSAGE || self.remembered == REMEMBERED {
            return;
        }
        let mut slot = hash as usize % SLOTS;
        while self.slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        self.slots[slot] = at as u16;
        self.remembered += 1;
    }
}

/// True when the message has the uncompressed name `name` at `at`, in full or behind pointers. Those are ours: they lead backwards.
fn is_at(message: &[u8], mut at: usize, name: &[u8]) -> bool {
    let mut rest = name;
    loop {
        let Some(&len) = message.get(at) else { return false };
        if len >= 0xc0 {
            let Some(&low) = message.get(at + 1) else { return false };
            at = usize::from(len & 0x3f) << 8 | usize::from(low);
            continue;
        }
        let end = 1 + usize::from(len);
        if message.get(at..at + end).is_none_or(|label| rest.get(..end) != Some(label)) {
            return false;
        }
        if len == 0 {
            return true;
        }
        at += end;
        rest = &rest[end..];
    }
}
