//! A whole zone by AXFR (RFC 5936), with TSIG (RFC 8945) where a key is given. Of a large zone only what the judgement needs is kept, so
//! that it takes the memory of one message; one that is not large is verified as a whole, from a temporary file.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use domain::base::{Message, MessageBuilder, Name as WireName, Rtype as WireRtype};
use domain::rdata::tsig::Time48;
use domain::tsig::{ClientSequence, ValidationError};
use keystore::dns::{Name, Rrsig, Rtype};
use keystore::time::Timestamp;
use keystore::tsig::TsigKey;

use crate::probe::contents::{Contents, NotVerified, ZoneCopy};
use crate::probe::soa::Soa;
use signer_plugin::transfer::wire_key;
use skr_loader::ask::{AnswerFault, Rcode, Tcp, message_id, records};

/// How long a transfer may take.
const WHOLE: Duration = Duration::from_secs(600);
/// How long the next message may take.
const MESSAGE: Duration = Duration::from_secs(15);
/// How long the verification of the whole zone may take: a zone as large as the limits allow takes some seconds.
const VERIFICATION: Duration = Duration::from_secs(60);
/// How many octets a transfer may have.
const MAX_OCTETS: u64 = 4 << 30;
/// How many keys a zone may be signed with.
const MAX_KEYS: usize = 256;

/// What is kept of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The serial at its begin and end.
    pub serial: u32,
    /// Records, the SOA once.
    pub records: u64,
    /// RRSIG records among them.
    pub signatures: u64,
    /// The zone has a ZONEMD record (RFC 8976).
    pub has_zonemd: bool,
    /// The signature of each key that expires first.
    pub earliest: BTreeMap<u16, EarliestSignature>,
    /// What the verification of the whole zone has found.
    pub contents: Contents,
}

/// The signature of a key that expires first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarliestSignature {
    /// Owner of the RRset.
    pub owner: Name,
    /// Type of the RRset.
    pub covered: Rtype,
    /// When it expires.
    pub expires: Timestamp,
}

/// Why a transfer was not had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The connection failed.
    #[error("{server} breaks off the transfer: {source}")]
    Io {
        /// The server.
        server: SocketAddr,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// A message cannot be used, or says an error: REFUSED without or with a wrong key.
    #[error("{server} answers the transfer with a message that is {fault}")]
    Message {
        /// The server.
        server: SocketAddr,
        /// What is wrong with it.
        fault: AnswerFault,
    },
    /// A message is not signed as it should be.
    #[error("{server} does not sign the transfer with the key {key}: {source}")]
    Tsig {
        /// The server.
        server: SocketAddr,
        /// Name of the key.
        key: String,
        /// What does not hold.
        source: ValidationError,
    },
    /// It does not begin with the SOA.
    #[error("{server} begins the transfer with another record than the SOA")]
    NoSoa {
        /// The server.
        server: SocketAddr,
    },
    /// It has more octets or keys than are taken.
    #[error(
        "the transfer from {server} is larger than {MAX_OCTETS} octets, or has signatures of more than {MAX_KEYS} keys"
    )]
    TooLarge {
        /// The server.
        server: SocketAddr,
    },
}

/// Transfers `zone` from `server`. `clock` is the time of the clock, for the TSIG records; `now` is near to the times of the signatures.
pub fn transfer(
    server: SocketAddr,
    zone: &Name,
    key: Option<&TsigKey>,
    clock: Timestamp,
    now: Timestamp,
) -> Result<Transfer, TransferError> {
    let io = |source| TransferError::Io { server, source };
    let fault = |fault| TransferError::Message { server, fault };
    let (started, time) = (Instant::now(), Time48::from_u64(clock.secs()));
    let (query, mut sequence, id) = query(zone, key, time).ok_or_else(|| fault(AnswerFault::NoQuery))?;
    let whole = started + WHOLE;
    let until = || whole.min(Instant::now() + MESSAGE);
    let mut stream = Tcp::connect(server, None, until()).map_err(io)?;
    stream.send(&query, until()).map_err(io)?;
    let (mut reading, mut octets) = (Reading::new(server, zone, now), 0);
    reading.copy = ZoneCopy::new();
    while !reading.ended {
        let message = stream.receive(until()).map_err(io)?;
        octets += message.len() as u64;
        if octets > MAX_OCTETS {
            return Err(TransferError::TooLarge { server });
        }
        let mut message = Message::from_octets(message).map_err(|_| fault(AnswerFault::Malformed))?;
        if let (Some(sequence), Some(key)) = (&mut sequence, key) {
            let elapsed = started.elapsed().as_secs();
            let time = Time48::from_u64(clock.plus(elapsed).secs());
            let key = || key.name.to_string();
            // A server that refuses says so, mostly without a signature.
            if message.header().rcode() != Rcode::NOERROR {
                return Err(fault(AnswerFault::Rcode(message.header().rcode())));
            }
            sequence.answer(&mut message, time).map_err(|source| TransferError::Tsig {
                server,
                key: key(),
                source,
            })?;
        }
        let header = message.header();
        if header.id() != id || !header.qr() {
            return Err(fault(AnswerFault::NotOurs));
        }
        if header.rcode() != Rcode::NOERROR {
            return Err(fault(AnswerFault::Rcode(header.rcode())));
        }
        reading.take(&message)?;
    }
    if let (Some(sequence), Some(key)) = (sequence, key) {
        let key = || key.name.to_string();
        sequence.done().map_err(|source| TransferError::Tsig { server, key: key(), source })?;
    }
    let mut transfer = reading.transfer.ok_or(TransferError::NoSoa { server })?;
    transfer.contents = match reading.copy {
        Ok(copy) => copy.verify(zone, now, VERIFICATION),
        Err(why) => Contents::NotVerified(why),
    };
    Ok(transfer)
}

type Query = (Vec<u8>, Option<ClientSequence<std::sync::Arc<domain::tsig::Key>>>, u16);

fn query(zone: &Name, key: Option<&TsigKey>, now: Time48) -> Option<Query> {
    let id = message_id();
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    let mut question = builder.question();
    let name = WireName::from_octets(zone.as_wire().to_vec()).ok()?;
    question.push((name, WireRtype::AXFR)).ok()?;
    let mut additional = question.additional();
    let sequence = match key {
        Some(key) => Some(ClientSequence::request(wire_key(key)?, &mut additional, now).ok()?),
        None => None,
    };
    Some((additional.finish(), sequence, id))
}

/// A transfer as far as it was read.
pub struct Reading<'a> {
    server: SocketAddr,
    zone: &'a Name,
    now: Timestamp,
    transfer: Option<Transfer>,
    /// The SOA has come for the second time.
    ended: bool,
    /// The records, where the zone is verified at the end; else why it is not.
    copy: Result<ZoneCopy, NotVerified>,
}

impl<'a> Reading<'a> {
    /// Nothing is read yet; `server` is for messages, `now` is near to the times of the signatures.
    pub const fn new(server: SocketAddr, zone: &'a Name, now: Timestamp) -> Self {
        Self { server, zone, now, transfer: None, ended: false, copy: Err(NotVerified::NotKept) }
    }

    /// What is known of the transfer.
    pub const fn transfer(&self) -> Option<&Transfer> {
        self.transfer.as_ref()
    }

    /// Takes the next message, whose header was checked.
    pub fn take(&mut self, message: &Message<Vec<u8>>) -> Result<(), TransferError> {
        let server = self.server;
        let fault = |fault| TransferError::Message { server, fault };
        let message = Message::from_octets(message.as_slice()).map_err(|_| fault(AnswerFault::Malformed))?;
        let mut any = false;
        for record in records(message.answer().map_err(|_| fault(AnswerFault::Malformed))?) {
            let record = record.map_err(fault)?;
            any = true;
            let is_soa = record.rtype == Rtype::SOA && record.owner == *self.zone;
            let is_end = is_soa && self.transfer.is_some();
            if let Ok(copy) = &mut self.copy
                && !is_end
                && let Err(why) = copy.add(&record, self.zone)
            {
                self.copy = Err(why);
            }
            let Some(transfer) = &mut self.transfer else {
                let soa = Some(&record.rdata).filter(|_| is_soa).and_then(|rdata| Soa::from_rdata(rdata));
                let serial = soa.ok_or(TransferError::NoSoa { server })?.serial;
                let (earliest, has_zonemd) = (BTreeMap::new(), false);
                let contents = Contents::NotVerified(NotVerified::NotKept);
                self.transfer =
                    Some(Transfer { serial, records: 1, signatures: 0, has_zonemd, earliest, contents });
                continue;
            };
            if is_end {
                self.ended = true;
                return Ok(());
            }
            transfer.records += 1;
            transfer.has_zonemd |= record.rtype == Rtype::ZONEMD;
            if record.rtype == Rtype::RRSIG {
                transfer.signatures += 1;
                let signature =
                    Rrsig::from_rdata(&record.rdata).map_err(|_| fault(AnswerFault::Malformed))?;
                let (covered, expires) = (signature.covered, signature.expires(self.now));
                let earliest = EarliestSignature { owner: record.owner, covered, expires };
                let known = transfer.earliest.entry(signature.key_tag).or_insert_with(|| earliest.clone());
                if expires < known.expires {
                    *known = earliest;
                }
                if transfer.earliest.len() > MAX_KEYS {
                    return Err(TransferError::TooLarge { server });
                }
            }
        }
        // A message without any record would let a server hold us until the end of our time.
        if any { Ok(()) } else { Err(fault(AnswerFault::Empty)) }
    }
}
