//! Reads the records of messages that others have written.

use keystore::dns::Rtype;
use keystore::dns::name::MAX_NAME;

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

impl ReceivedRecord {
    /// Room for a record that is read.
    pub(super) const fn room() -> Self {
        Self { owner: Vec::new(), rtype: Rtype(0), class: 0, ttl: 0, rdata: Vec::new() }
    }
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

    fn name(&mut self, out: &mut Vec<u8>) -> Result<(), TransferFault> {
        self.at = put_name(self.message, self.at, out).ok_or_else(|| self.malformed())?;
        Ok(())
    }

    /// A question: its name into `name`, type and class.
    pub fn question(&mut self, name: &mut Vec<u8>) -> Result<(Rtype, u16), TransferFault> {
        name.clear();
        self.name(name)?;
        let [t0, t1, c0, c1] = self.take()?;
        Ok((Rtype(u16::from_be_bytes([t0, t1])), u16::from_be_bytes([c0, c1])))
    }

    /// The next record, into `record`.
    pub fn record(&mut self, record: &mut ReceivedRecord) -> Result<(), TransferFault> {
        record.owner.clear();
        record.rdata.clear();
        self.name(&mut record.owner)?;
        let [t0, t1, c0, c1, l0, l1, l2, l3, d0, d1] = self.take()?;
        record.rtype = Rtype(u16::from_be_bytes([t0, t1]));
        record.class = u16::from_be_bytes([c0, c1]);
        record.ttl = u32::from_be_bytes([l0, l1, l2, l3]);
        let len = usize::from(u16::from_be_bytes([d0, d1]));
        put_rdata(record.rtype, self.message, self.at, len, &mut record.rdata)
            .ok_or_else(|| self.malformed())?;
        self.at += len;
        Ok(())
    }
}

/// Appends the name that stands at `at`, uncompressed; gives where it ends in the message. Pointers lead backwards only, so that this ends.
fn put_name(message: &[u8], mut at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let begin = out.len();
    let (mut limit, mut end) = (at, None);
    loop {
        let len = *message.get(at)?;
        match len {
            0..=63 => {
                let next = at + 1 + usize::from(len);
                out.extend_from_slice(message.get(at..next)?);
                if out.len() - begin > MAX_NAME {
                    return None;
                }
                at = next;
                if len == 0 {
                    return Some(end.unwrap_or(at));
                }
            }
            0xc0.. => {
                let target = usize::from(len & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                end.get_or_insert(at + 2);
                if target >= limit {
                    return None;
                }
                (limit, at) = (target, target);
            }
            _ => return None,
        }
    }
}

/// A part of the RDATA of a type that has names which may be compressed.
enum Part {
    Octets(usize),
    /// A character string, with its length octet.
    String,
    Name,
}

/// The parts of the types whose names a sender may compress (RFC 3597 section 4: those of RFC 1035, and others that old senders compress).
const fn parts(rtype: Rtype) -> Option<&'static [Part]> {
    use Part::{Name, Octets, String};
    Some(match rtype {
        Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::MB | Rtype::MD | Rtype::MF | Rtype::MG | Rtype::MR => {
            &[Name]
        }
        Rtype::SOA => &[Name, Name, Octets(20)],
        Rtype::MINFO | Rtype::RP => &[Name, Name],
        Rtype::MX | Rtype::AFSDB | Rtype::RT => &[Octets(2), Name],
        Rtype::PX => &[Octets(2), Name, Name],
        Rtype::SRV => &[Octets(6), Name],
        Rtype::NAPTR => &[Octets(4), String, String, String, Name],
        _ => return None,
    })
}

/// Appends RDATA of `len` octets that stands at `at`, its names uncompressed; `None` when it does not fit its type.
fn put_rdata(rtype: Rtype, message: &[u8], mut at: usize, len: usize, out: &mut Vec<u8>) -> Option<()> {
    let end = at.checked_add(len)?;
    let data = message.get(at..end)?;
    let Some(parts) = parts(rtype) else {
        out.extend_from_slice(data);
        return Some(());
    };
    for part in parts {
        let octets = match part {
            Part::Octets(octets) => *octets,
            Part::String => 1 + usize::from(*message.get(at)?),
            Part::Name => {
                at = put_name(message, at, out)?;
                continue;
            }
        };
        out.extend_from_slice(message.get(at..at + octets)?);
        at += octets;
    }
    (at == end).then_some(())
}
