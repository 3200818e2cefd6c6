//! Reads the records of messages that others have written.

use keystore::dns::{Rtype, name, rdata};

use super::fault::TransferFault;
use crate::answer::query::HEADER;

/// A record that came; owner and RDATA uncompressed, letter case kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedRecord {
    /// Owner, in wire form.
    pub owner: Vec<u8>,
    /// Type of the record.
    pub rtype: Rtype,
    /// Class of the record.
    pub class: u16,
    /// TTL in seconds.
    pub ttl: u32,
    /// Record data in wire form.
    pub rdata: Vec<u8>,
}

/// The header of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerHead {
    pub id: u16,
    pub flags: u16,
    /// Records in question, answer, authority and additional section.
    pub counts: [u16; 4],
}

impl AnswerHead {
    pub fn read(message: &[u8]) -> Result<Self, TransferFault> {
        let header = message.first_chunk::<HEADER>().ok_or(TransferFault::Malformed { at: message.len() })?;
        let word = |i: usize| u16::from_be_bytes([header[i], header[i + 1]]);
        Ok(Self { id: word(0), flags: word(2), counts: [word(4), word(6), word(8), word(10)] })
    }
}

/// Goes through a message from front to back.
#[derive(Debug)]
pub(super) struct MessageReader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> MessageReader<'a> {
    /// Begins behind the header.
    pub const fn new(message: &'a [u8]) -> Self {
        Self { message, at: HEADER }
    }

    const fn malformed(&self) -> TransferFault {
        TransferFault::Malformed { at: self.at }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], TransferFault> {
        let taken = self.message.get(self.at..).and_then(<[u8]>::first_chunk::<N>).copied();
        let taken = taken.ok_or_else(|| self.malformed())?;
        self.at += N;
        Ok(taken)
    }

    fn name(&mut self) -> Result<Vec<u8>, TransferFault> {
        let (name, end) = name::read_message(self.message, self.at).ok_or_else(|| self.malformed())?;
        self.at = end;
        Ok(name)
    }

    /// A question: its name, type and class.
    pub fn question(&mut self) -> Result<(Vec<u8>, Rtype, u16), TransferFault> {
        let name = self.name()?;
        let [t0, t1, c0, c1] = self.take()?;
        Ok((name, Rtype(u16::from_be_bytes([t0, t1])), u16::from_be_bytes([c0, c1])))
    }

    /// The next record.
    pub fn record(&mut self) -> Result<ReceivedRecord, TransferFault> {
        let owner = self.name()?;
        let [t0, t1, c0, c1, l0, l1, l2, l3, d0, d1] = self.take()?;
        let rtype = Rtype(u16::from_be_bytes([t0, t1]));
        let len = usize::from(u16::from_be_bytes([d0, d1]));
        let rdata = rdata::read_message(rtype, self.message, self.at, len).ok_or_else(|| self.malformed())?;
        self.at += len;
        let (class, ttl) = (u16::from_be_bytes([c0, c1]), u32::from_be_bytes([l0, l1, l2, l3]));
        Ok(ReceivedRecord { owner, rtype, class, ttl, rdata })
    }
}
