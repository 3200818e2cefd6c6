//! The sections of an UPDATE message (RFC 2136 section 2): prerequisites and updates. Any octets may come.

use keystore::dns::{Class, Name, Rtype, name, rdata};

use super::UpdateRcode;

/// Class NONE (RFC 2136 section 1.1).
pub(super) const NONE: Class = Class(254);
/// Class ANY.
pub(super) const ANY: Class = Class(255);
/// Most records of an update: a message of 65 535 octets has room for fewer.
const MOST: usize = 6000;

/// What an update asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateMessage {
    /// What must hold.
    pub prerequisites: Vec<UpdateRecord>,
    /// What is added and deleted, in this order.
    pub updates: Vec<UpdateRecord>,
}

/// A record of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateRecord {
    /// Its owner.
    pub owner: Name,
    /// Its type.
    pub rtype: Rtype,
    /// IN, ANY or NONE: what is meant.
    pub class: Class,
    /// TTL in seconds.
    pub ttl: u32,
    /// Uncompressed; well-formed where there are any octets.
    pub rdata: Vec<u8>,
}

impl UpdateMessage {
    /// Number of its records, which its cost goes by.
    pub(crate) const fn record_count(&self) -> usize {
        self.prerequisites.len() + self.updates.len()
    }

    /// Reads the records behind the zone section, which ends at octet `at`: `prerequisites` records, then `updates` records.
    pub fn read(
        message: &[u8],
        at: usize,
        (prerequisites, updates): (u16, u16),
    ) -> Result<Self, UpdateRcode> {
        if usize::from(prerequisites) + usize::from(updates) > MOST {
            return Err(UpdateRcode::Refused);
        }
        let mut at = at;
        let mut section = |count: u16| -> Option<Vec<UpdateRecord>> {
            (0..count).map(|_| UpdateRecord::read(message, &mut at)).collect()
        };
        let read = section(prerequisites)
            .and_then(|prerequisites| Some(Self { prerequisites, updates: section(updates)? }));
        read.ok_or(UpdateRcode::FormErr)
    }
}

impl UpdateRecord {
    /// Reads the record at `at`, and goes on to the next; `None` when it is malformed.
    fn read(message: &[u8], at: &mut usize) -> Option<Self> {
        let (owner, behind) = name::read_message(message, *at)?;
        let fixed = message.get(behind..)?.first_chunk::<10>()?;
        let word = |i: usize| u16::from_be_bytes([fixed[i], fixed[i + 1]]);
        let (rtype, class, len) = (Rtype(word(0)), Class(word(2)), usize::from(word(8)));
        let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let start = behind + 10;
        message.get(start..start + len)?;
        // An RRset or a name is meant as a whole by a record without data.
        let rdata = match len {
            0 if class != Class::IN => Vec::new(),
            _ => rdata::read_message(rtype, message, start, len)?,
        };
        let is_data = !rdata.is_empty() || class == Class::IN;
        if is_data && !rtype.is_meta() && rdata::check(rtype, &rdata).is_err() {
            return None;
        }
        *at = start + len;
        Some(Self { owner: Name::from_wire(&owner).ok()?, rtype, class, ttl, rdata })
    }
}
