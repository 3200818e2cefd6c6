//! Reads the messages that answer AXFR (RFC 5936) and IXFR (RFC 1995): octets in, records out. It waits for nobody.
//!
//! ```text
//! SOA 9                                                  nothing newer, where 9 is what the client has
//! SOA 9, records …, SOA 9                                the whole zone, for IXFR as well
//! SOA 9, SOA 7, removed …, SOA 8, added …, SOA 8, …, SOA 9   differences, each from a serial to the next (IXFR only)
//! ```
//!
//! The end is found by content; where messages begin and end means nothing.

use std::sync::Arc;

use domain::base::iana::Rcode;
use domain::base::message_builder::AdditionalBuilder;
use domain::base::opt::Expire;
use domain::base::{Message, MessageBuilder, Name as WireName, Rtype as WireRtype};
use domain::rdata::tsig::Time48;
use domain::tsig::{ClientSequence, Key};
use keystore::dns::name::wire_len;
use keystore::dns::{Name, Rtype};
use keystore::time::Timestamp;
use keystore::tsig::TsigKey;

use super::fault::TransferFault;
use super::serial;
use super::timer::SoaTimes;
use super::wire::{AnswerHead, MessageReader, ReceivedRecord};
use crate::rules::RecordProblem;
use crate::transfer::wire_key;

/// Most messages in a row without a record.
const MOST_EMPTY: u32 = 100;
/// UDP size in the OPT record of a query, in octets; transfers come over TCP.
const UDP_SIZE: u16 = 1232;
/// Octets of the numbers of a SOA record, which stand behind its names.
const SOA_NUMBERS: usize = 20;
/// Octets that a record takes in memory beside its owner and its data, about.
const RECORD_OVERHEAD: usize = 16;
/// How many times the octets that are taken the records may have without compression: names of real zones come to less than three.
const MOST_UNPACKED: u64 = 4;
/// Class IN.
const IN: u16 = 1;

const QR: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TC: u16 = 0x0200;
const RCODE: u16 = 0x000f;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferRequest<'a> {
    /// The whole zone. The serial of what is here already, where there is something: an older version is not taken.
    Axfr(Option<u32>),
    /// What changed since the version with this SOA record, which is uncompressed.
    Ixfr(&'a ReceivedRecord),
}

/// How much is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Octets of all messages.
    pub octets: u64,
    /// Records of all messages.
    pub records: u64,
}

/// What is found in a transfer.
#[derive(Debug, PartialEq, Eq)]
pub enum TransferEvent<'a> {
    /// A record of the whole zone; the first one is the SOA record, which comes once.
    Record(&'a ReceivedRecord),
    /// A record that the client has goes. The SOA records are among them.
    Removed(&'a ReceivedRecord),
    /// A record comes.
    Added(&'a ReceivedRecord),
}

/// How far a transfer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferProgress {
    /// Its end has not come.
    Goes,
    /// The primary has nothing newer than the client, but this serial.
    Nothing {
        /// Serial of the primary.
        serial: u32,
    },
    /// The whole zone has come.
    Whole {
        /// Its serial.
        serial: u32,
    },
    /// All differences have come.
    Differences {
        /// Serial that they end at.
        serial: u32,
    },
}

/// Reads one transfer.
#[derive(Debug)]
pub struct TransferStream {
    zone: Name,
    rtype: Rtype,
    id: u16,
    /// Serial that the client has.
    ours: Option<u32>,
    limits: StreamLimits,
    tsig: Option<ClientSequence<Arc<Key>>>,
    state: State,
    /// The SOA record at the begin.
    first: Option<ReceivedRecord>,
    /// EDNS EXPIRE (RFC 7314) of the first message.
    expire: Option<u32>,
    octets: u64,
    /// Octets of the records without compression.
    unpacked: u64,
    records: u64,
    messages: u64,
    empty: u32,
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The SOA record at the begin.
    Begin,
    /// The record behind it, which tells what the transfer is.
    Second,
    /// Records of the whole zone.
    Whole,
    /// Records that go with the difference that begins at this serial.
    Removed {
        from: u32,
    },
    /// Records that come with the difference that ends at this serial.
    Added {
        to: u32,
    },
    End(TransferProgress),
}

impl TransferStream {
    /// The query, and the reader of what it is answered with. It is signed where a key is given, and then every answer must be.
    pub fn begin(
        zone: &Name,
        request: TransferRequest<'_>,
        key: Option<&TsigKey>,
        limits: StreamLimits,
        id: u16,
        now: Timestamp,
    ) -> Result<(Vec<u8>, Self), TransferFault> {
        let (query, tsig) = query(zone, request, key, id, now).ok_or(TransferFault::NoQuery)?;
        let (rtype, ours) = match request {
            TransferRequest::Axfr(ours) => (Rtype::AXFR, ours),
            TransferRequest::Ixfr(soa) => {
                (Rtype::IXFR, Some(serial::of_soa(&soa.rdata).ok_or(TransferFault::NoQuery)?))
            }
        };
        let stream = Self {
            zone: zone.clone(),
            rtype,
            id,
            ours,
            limits,
            tsig,
            state: State::Begin,
            first: None,
            expire: None,
            octets: 0,
            unpacked: 0,
            records: 0,
            messages: 0,
            empty: 0,
        };
        Ok((query, stream))
    }

    /// Takes the next message, and hands what it has to `sink`, whose error ends the transfer. Behind the end no message may be given.
    pub fn take(
        &mut self,
        message: Vec<u8>,
        now: Timestamp,
        sink: &mut dyn FnMut(TransferEvent<'_>) -> Result<(), TransferFault>,
    ) -> Result<TransferProgress, TransferFault> {
        self.octets += message.len() as u64;
        if self.octets > self.limits.octets {
            return Err(TransferFault::TooLarge { limit: self.limits.octets });
        }
        let head = AnswerHead::read(&message)?;
        check_answer(&head, self.id, &message)?;
        let message = self.verified(message, now)?;
        self.messages += 1;
        let mut reader = MessageReader::new(&message);
        for _ in 0..head.counts[0] {
            let (name, rtype, class) = reader.question()?;
            let is_zone = name.eq_ignore_ascii_case(self.zone.as_wire());
            if !is_zone || rtype != self.rtype || class != IN {
                return Err(TransferFault::NotOurs("it has another question"));
            }
        }
        let before = self.records;
        for _ in 0..head.counts[1] {
            let record = reader.record()?;
            self.records += 1;
            self.unpacked += (record.owner.len() + record.rdata.len() + RECORD_OVERHEAD) as u64;
            if self.unpacked > self.limits.octets.saturating_mul(MOST_UNPACKED) {
                return Err(TransferFault::TooLarge { limit: self.limits.octets });
            }
            if self.records > self.limits.records {
                return Err(TransferFault::TooManyRecords { limit: self.limits.records });
            }
            self.put(&record, sink)?;
        }
        self.empty = if self.records > before { 0 } else { self.empty + 1 };
        if self.empty > MOST_EMPTY {
            return Err(TransferFault::TooManyEmpty(self.empty));
        }
        if self.messages == 1 {
            self.expire = expire_of(message);
        }
        self.settle()
    }

    /// Records that came so far, each SOA record among them.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Octets that came so far.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// Messages that came so far.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// The times of the SOA record at the begin, once it has come.
    #[must_use]
    pub fn times(&self) -> Option<SoaTimes> {
        SoaTimes::of_rdata(self.first_rdata())
    }

    /// EDNS EXPIRE (RFC 7314): seconds until the primary stops to serve the zone, where it says so.
    #[must_use]
    pub const fn expire(&self) -> Option<u32> {
        self.expire
    }

    /// The message without its TSIG record, which was found to be right where there must be one.
    fn verified(&mut self, message: Vec<u8>, now: Timestamp) -> Result<Vec<u8>, TransferFault> {
        let Some(sequence) = &mut self.tsig else { return Ok(message) };
        let len = message.len();
        let mut message = Message::from_octets(message).map_err(|_| TransferFault::Malformed { at: len })?;
        sequence.answer(&mut message, Time48::from_u64(now.secs()))?;
        Ok(message.into_octets())
    }

    /// Takes a record.
    fn put(
        &mut self,
        record: &ReceivedRecord,
        sink: &mut dyn FnMut(TransferEvent<'_>) -> Result<(), TransferFault>,
    ) -> Result<(), TransferFault> {
        let soa = self.check_record(record)?;
        let target = serial::of_soa(self.first_rdata()).unwrap_or_default();
        self.state = match (self.state, soa) {
            (State::Begin, None) => return Err(TransferFault::NoSoa),
            (State::Begin, Some(_)) => {
                self.first = Some(record.clone());
                State::Second
            }
            (State::Second, soa) => return self.put_second(record, soa, target, sink),
            (State::Whole, None) => {
                sink(TransferEvent::Record(record))?;
                State::Whole
            }
            (State::Whole, Some(_)) => {
                self.check_end(record)?;
                State::End(TransferProgress::Whole { serial: target })
            }
            (State::Removed { from }, None) => {
                sink(TransferEvent::Removed(record))?;
                State::Removed { from }
            }
            (State::Removed { from }, Some(to)) => {
                if !serial::is_newer(to, from) || serial::is_newer(to, target) {
                    return Err(TransferFault::WrongStep { from, to, target });
                }
                sink(TransferEvent::Added(record))?;
                State::Added { to }
            }
            (State::Added { to }, None) => {
                sink(TransferEvent::Added(record))?;
                State::Added { to }
            }
            (State::Added { to }, Some(_)) if to == target => {
                self.check_end(record)?;
                State::End(TransferProgress::Differences { serial: target })
            }
            (State::Added { to }, Some(found)) => {
                if found != to {
                    return Err(TransferFault::BrokenChain { expected: to, found });
                }
                sink(TransferEvent::Removed(record))?;
                State::Removed { from: found }
            }
            (State::End(_), _) => return Err(TransferFault::BehindEnd),
        };
        Ok(())
    }

    /// Takes the record behind the SOA record at the begin.
    fn put_second(
        &mut self,
        record: &ReceivedRecord,
        soa: Option<u32>,
        target: u32,
        sink: &mut dyn FnMut(TransferEvent<'_>) -> Result<(), TransferFault>,
    ) -> Result<(), TransferFault> {
        if let Some(ours) = self.ours
            && serial::is_newer(ours, target)
        {
            return Err(TransferFault::SerialBack { ours, theirs: target });
        }
        let is_difference = self.rtype == Rtype::IXFR && self.ours != Some(target);
        self.state = match soa {
            Some(found) if is_difference && Some(found) == self.ours => {
                sink(TransferEvent::Removed(record))?;
                State::Removed { from: found }
            }
            // A zone of a SOA record alone.
            Some(_) if self.is_first(record) => {
                if let Some(first) = &self.first {
                    sink(TransferEvent::Record(first))?;
                }
                State::End(TransferProgress::Whole { serial: target })
            }
            Some(found) => {
                return Err(match self.ours {
                    Some(expected) if is_difference => TransferFault::BrokenChain { expected, found },
                    _ => TransferFault::OtherEnd { first: target, last: found },
                });
            }
            None => {
                if let Some(first) = &self.first {
                    sink(TransferEvent::Record(first))?;
                }
                sink(TransferEvent::Record(record))?;
                State::Whole
            }
        };
        Ok(())
    }

    /// Checks class and owner; gives the serial of a SOA record of the zone.
    fn check_record(&self, record: &ReceivedRecord) -> Result<Option<u32>, TransferFault> {
        let owner = || Name::from_wire(&record.owner).unwrap_or_else(|_| Name::root());
        if record.class != IN {
            return Err(TransferFault::OtherClass { owner: owner() });
        }
        if record.rtype == Rtype::SOA {
            if !record.owner.eq_ignore_ascii_case(self.zone.as_wire()) {
                return Err(TransferFault::ForeignSoa { owner: owner() });
            }
            let serial = serial::of_soa(&record.rdata).ok_or(TransferFault::NoSoa)?;
            return Ok(Some(serial));
        }
        if is_meta(record.rtype) {
            let (rtype, problem) = (record.rtype, RecordProblem::MetaType(record.rtype));
            return Err(TransferFault::Record { owner: owner(), rtype, problem });
        }
        if !is_below(&record.owner, self.zone.as_wire()) {
            return Err(TransferFault::OutOfZone { owner: owner(), rtype: record.rtype });
        }
        Ok(None)
    }

    /// RDATA of the SOA record at the begin; empty before it.
    fn first_rdata(&self) -> &[u8] {
        self.first.as_ref().map_or(&[], |first| &first.rdata)
    }

    fn is_first(&self, record: &ReceivedRecord) -> bool {
        // Names in any letter case, and the numbers behind them as they are.
        let parts = |rdata: &[u8]| rdata.len().checked_sub(SOA_NUMBERS);
        match (self.first_rdata(), parts(self.first_rdata())) {
            (first, Some(at)) if parts(&record.rdata) == Some(at) => {
                first[..at].eq_ignore_ascii_case(&record.rdata[..at]) && first[at..] == record.rdata[at..]
            }
            _ => false,
        }
    }

    fn check_end(&self, record: &ReceivedRecord) -> Result<(), TransferFault> {
        if self.is_first(record) {
            return Ok(());
        }
        let serial = |rdata: &[u8]| serial::of_soa(rdata).unwrap_or_default();
        Err(TransferFault::OtherEnd { first: serial(self.first_rdata()), last: serial(&record.rdata) })
    }

    /// How far the transfer is at the end of a message.
    fn settle(&mut self) -> Result<TransferProgress, TransferFault> {
        let progress = match (self.state, self.ours) {
            (State::End(progress), _) => progress,
            // A newer version may follow in the next message.
            (State::Second, Some(ours)) if self.rtype == Rtype::IXFR => {
                let serial = serial::of_soa(self.first_rdata()).unwrap_or_default();
                if serial::is_newer(ours, serial) {
                    return Err(TransferFault::SerialBack { ours, theirs: serial });
                }
                if serial != ours {
                    return Ok(TransferProgress::Goes);
                }
                TransferProgress::Nothing { serial }
            }
            _ => return Ok(TransferProgress::Goes),
        };
        // The last message must be signed.
        if let Some(sequence) = self.tsig.take() {
            sequence.done()?;
        }
        Ok(progress)
    }
}

/// Checks the header of an answer to the query with this ID.
pub(super) fn check_answer(head: &AnswerHead, id: u16, message: &[u8]) -> Result<(), TransferFault> {
    let fault = |what| Err(TransferFault::NotOurs(what));
    let rcode = (head.flags & RCODE) as u8;
    match () {
        () if head.id != id => fault("it has another ID"),
        () if head.flags & QR == 0 => fault("it is a query"),
        () if head.flags & OPCODE != 0 => fault("it has another opcode"),
        // A server that refuses says so, mostly without a signature.
        () if rcode != 0 => {
            let rcode = Rcode::checked_from_int(rcode).unwrap_or(Rcode::SERVFAIL);
            Err(match tsig_error(head, message) {
                Some(error) => TransferFault::SignatureRefused { rcode, error },
                None => TransferFault::Rcode(rcode),
            })
        }
        () if head.flags & TC != 0 => fault("it is truncated"),
        () if head.counts[0] > 1 => fault("it has several questions"),
        () => Ok(()),
    }
}

/// What the TSIG record of an answer says is wrong with the query (RFC 8945 section 3); `None` = it says nothing.
fn tsig_error(head: &AnswerHead, message: &[u8]) -> Option<&'static str> {
    let mut reader = MessageReader::new(message);
    for _ in 0..head.counts[0] {
        reader.question().ok()?;
    }
    let records = head.counts[1..].iter().map(|count| u32::from(*count)).sum::<u32>();
    let mut last = None;
    for _ in 0..records {
        last = Some(reader.record().ok()?);
    }
    let last = last.filter(|record| record.rtype == Rtype::TSIG)?;
    // Behind the name of the algorithm: time, fudge, the MAC with its length, the ID, the error.
    let rest = last.rdata.get(wire_len(&last.rdata)?..)?;
    let mac = usize::from(u16::from_be_bytes(*rest.get(8..)?.first_chunk()?));
    match u16::from_be_bytes(*rest.get(12 + mac..)?.first_chunk()?) {
        16 => Some("BADSIG, it does not fit the key of this name there"),
        17 => Some("BADKEY, there is no key of this name and algorithm there"),
        18 => Some("BADTIME, the clocks differ too much"),
        22 => Some("BADTRUNC, it is too short"),
        _ => None,
    }
}

/// EDNS EXPIRE of a message.
pub(super) fn expire_of(message: Vec<u8>) -> Option<u32> {
    let message = Message::from_octets(message).ok()?;
    message.opt()?.opt().expire().and_then(Expire::expire)
}

/// True for types that no zone has (RFC 6895 section 3.1).
const fn is_meta(rtype: Rtype) -> bool {
    matches!(rtype, Rtype(0 | 41 | 128..=255))
}

/// True when the uncompressed name `owner` is `apex` or below it, in any letter case.
fn is_below(owner: &[u8], apex: &[u8]) -> bool {
    let Some(head) = owner.len().checked_sub(apex.len()) else { return false };
    if !owner[head..].eq_ignore_ascii_case(apex) {
        return false;
    }
    // The tail must begin with a label, and not in the middle of one.
    let mut at = 0;
    while at < head {
        at += 1 + usize::from(owner[at]);
    }
    at == head
}

/// Adds an OPT record with the option EXPIRE, as other secondaries have it.
pub(super) fn push_opt(additional: &mut AdditionalBuilder<Vec<u8>>) -> Option<()> {
    additional
        .opt(|opt| {
            opt.set_udp_payload_size(UDP_SIZE);
            opt.push(&Expire::new(None))
        })
        .ok()
}

type Query = (Vec<u8>, Option<ClientSequence<Arc<Key>>>);

fn query(
    zone: &Name,
    request: TransferRequest<'_>,
    key: Option<&TsigKey>,
    id: u16,
    now: Timestamp,
) -> Option<Query> {
    let wire = |wire: &[u8]| WireName::from_octets(wire.to_vec()).ok();
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    let mut question = builder.question();
    let mut additional = match request {
        TransferRequest::Axfr(_) => {
            question.push((wire(zone.as_wire())?, WireRtype::AXFR)).ok()?;
            question.authority()
        }
        TransferRequest::Ixfr(soa) => {
            question.push((wire(zone.as_wire())?, WireRtype::IXFR)).ok()?;
            let mut authority = question.authority();
            let rdata =
                domain::base::rdata::UnknownRecordData::from_octets(WireRtype::SOA, soa.rdata.as_slice())
                    .ok()?;
            let ttl = domain::base::Ttl::from_secs(soa.ttl);
            authority.push((wire(zone.as_wire())?, domain::base::iana::Class::IN, ttl, rdata)).ok()?;
            authority
        }
    }
    .additional();
    push_opt(&mut additional)?;
    let sequence = match key {
        Some(key) => {
            let now = Time48::from_u64(now.secs());
            Some(ClientSequence::request(wire_key(key)?, &mut additional, now).ok()?)
        }
        None => None,
    };
    Some((additional.finish(), sequence))
}
