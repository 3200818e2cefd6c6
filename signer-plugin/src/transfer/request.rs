//! What becomes of a query that asks for a transfer, or is signed with TSIG.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::access::{NotAllowed, TransferSettings};
use super::channel::TlsPeer;
use super::outgoing::{Content, Heading, Messages, OptReply, RecordTooLong};
use super::tsig::{Rejection, Signer, put_unsigned};
use super::version::TransferVersion;
use super::{Clock, Transferable, ZoneTransfers, inbound};
use crate::answer::query::{HEADER, Head, Question, Rest};
use crate::answer::{AnswerKind, AnswerOutcome, Transport};
use keystore::dns::{Class, Name, Rtype};

const QR: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AA: u16 = 0x0400;
const RD: u16 = 0x0100;

/// Opcode of NOTIFY (RFC 1996).
const NOTIFY: u8 = 4;

const NOERROR: u16 = 0;
const FORMERR: u16 = 1;
const SERVFAIL: u16 = 2;
const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;
const NOTAUTH: u16 = 9;

/// Smallest UDP size that every client takes.
const MIN_UDP: u16 = 512;

/// Where a query came from, and how its answer goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way<'c> {
    pub client: SocketAddr,
    /// What TLS says of the client; `None` = the query came in clear.
    pub peer: Option<&'c TlsPeer>,
    pub transport: Transport,
    /// Largest UDP answer that we send, in octets.
    pub max_udp: u16,
}

/// What became of a query.
pub(crate) enum Reaction {
    /// The answer is in the buffer.
    Answered(Sender),
    /// It is neither a transfer nor signed: it is answered as every query.
    Plain,
    /// It deserves no answer.
    Nothing,
    /// The answer has several messages.
    Stream(Box<Outgoing>),
}

/// What is known of who has sent a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// It was signed with a key that is known here: nobody else has sent it.
    Verified,
    /// Anybody may have sent it, with any address.
    Unknown,
}

impl Sender {
    pub(super) fn of(signer: Option<&Signer>) -> Self {
        if signer.is_some() { Self::Verified } else { Self::Unknown }
    }
}

/// The opcode of an update (RFC 2136 section 1.3).
pub(crate) const UPDATE: u8 = 5;

/// True when [`react`] may have to do with a query; false for nearly all that resolvers ask, at the cost of a few octets looked at.
pub(crate) fn concerns(query: &[u8], rtype: Rtype, question_end: usize) -> bool {
    matches!(rtype, Rtype::AXFR | Rtype::IXFR)
        || query.get(2).is_some_and(|flags| flags >> 3 & 0xf == NOTIFY)
        || {
            let additional = query.get(10..12).map_or(0, |n| u16::from_be_bytes([n[0], n[1]]));
            // The usual query has OPT behind its question, and nothing else.
            let has_opt = query.get(question_end..).is_some_and(|rest| rest.starts_with(&[0, 0, 41]));
            additional > u16::from(has_opt)
        }
}

/// Answers a query that is no transfer into the buffer, within so many octets over UDP.
pub(crate) type Plain<'a> = dyn Fn(&[u8], u16, &mut Vec<u8>) -> AnswerOutcome + 'a;

/// Answers a transfer, or a query with TSIG; what is no transfer is answered by `plain`, and signed here.
pub(crate) fn react(
    zone: &Transferable,
    origin: &Name,
    query: &[u8],
    way: Way<'_>,
    plain: &Plain<'_>,
    out: &mut Vec<u8>,
) -> Reaction {
    let Some(head) = Head::parse(query) else { return Reaction::Nothing };
    let Some(question) = head.question(query) else { return Reaction::Plain };
    // What is malformed is answered by the engine, too.
    let Some(rest) = question.rest(query) else { return Reaction::Plain };
    let settings = zone.transfers.settings.load();
    let is_notify = head.opcode() == NOTIFY && !settings.primaries.is_empty();
    if !is_notify && head.opcode() != 0 || rest.edns.is_some_and(|edns| edns.version > 0) {
        return Reaction::Plain;
    }
    let request = Request::new(zone, origin, (&head, &question, &rest), way);
    let is_transfer = !is_notify && matches!(question.rtype, Rtype::AXFR | Rtype::IXFR);
    let now = (zone.clock)();
    let signer = match &rest.tsig {
        Some(tsig) => match settings.keys.verified_with.verify(query, tsig, now) {
            Ok(signer) => Some(signer),
            Err(rejection) => {
                request.reject(rejection, out);
                return Reaction::Answered(Sender::Unknown);
            }
        },
        None if is_transfer || is_notify => None,
        None => return Reaction::Plain,
    };
    if is_notify {
        return request.notify(query, signer, &settings, out);
    }
    if is_transfer {
        return request.transfer(signer, &settings, out);
    }
    let (Some(mut signer), Some(tsig)) = (signer, &rest.tsig) else { return Reaction::Plain };
    if zone.is_private
        && let Err(why) = request.is_allowed(Some(&signer), &settings)
    {
        request.tell_refused(Some(&signer), why);
        return request.refuse(REFUSED, Some(signer), out);
    }
    let mut unsigned = query[..tsig.at].to_vec();
    let additional = head.additional().saturating_sub(1);
    unsigned[10..HEADER].copy_from_slice(&additional.to_be_bytes());
    let room = request.udp_size().saturating_sub(signer.record_len() as u16);
    match plain(&unsigned, room, out) {
        AnswerOutcome::Reply(_) if out.len() + signer.record_len() > usize::from(u16::MAX) => {
            request.refuse(SERVFAIL, Some(signer), out)
        }
        AnswerOutcome::Reply(_) => {
            signer.sign(0, out, now);
            Reaction::Answered(Sender::Verified)
        }
        AnswerOutcome::NotOurs => Reaction::Plain,
        AnswerOutcome::Drop => Reaction::Nothing,
    }
}

/// Answers a query for a zone that is transferred and not asked for names: its SOA record to those who may transfer it, and REFUSED for all
/// else. `None` for what cannot be read, and while there is no version. What [`react`] has verified `is_signed` with a key that may.
pub(crate) fn answer_private(
    zone: &Transferable,
    origin: &Name,
    query: &[u8],
    (way, is_signed): (Way, bool),
    out: &mut Vec<u8>,
) -> Option<AnswerOutcome> {
    let head = Head::parse(query)?;
    let question = head.question(query)?;
    let rest = question.rest(query)?;
    if head.opcode() != 0 || rest.edns.is_some_and(|edns| edns.version > 0) {
        return None;
    }
    let request = Request::new(zone, origin, (&head, &question, &rest), way);
    let is_allowed = is_signed || request.is_allowed(None, &zone.transfers.settings.load()).is_ok();
    let is_soa = (question.rtype, question.class) == (Rtype::SOA, Class::IN)
        && question.name.eq_ignore_ascii_case(origin.as_wire());
    if !is_allowed || !is_soa {
        request.heading(REFUSED, None).put_alone(0, out);
        return Some(AnswerOutcome::Reply(AnswerKind::Error));
    }
    let version = zone.version.clone()?;
    let heading = request.heading(NOERROR | AA, Some(version.expire()));
    let limit = match way.transport {
        Transport::Udp => usize::from(request.udp_size()),
        _ => usize::from(u16::MAX),
    };
    let mut message = Messages::new(heading, Content::Soa(version), None);
    match message.single(limit, (zone.clock)(), out) {
        Ok(true) => Some(AnswerOutcome::Reply(AnswerKind::Positive)),
        _ => Some(AnswerOutcome::Drop),
    }
}

/// A query that can be read.
pub(super) struct Request<'a> {
    zone: &'a Transferable,
    origin: &'a Name,
    head: &'a Head,
    question: &'a Question<'a>,
    rest: &'a Rest<'a>,
    way: Way<'a>,
}

impl<'a> Request<'a> {
    pub const fn new(
        zone: &'a Transferable,
        origin: &'a Name,
        (head, question, rest): (&'a Head, &'a Question<'a>, &'a Rest<'a>),
        way: Way<'a>,
    ) -> Self {
        Self { zone, origin, head, question, rest, way }
    }

    /// Answers AXFR and IXFR.
    fn transfer(&self, signer: Option<Signer>, settings: &TransferSettings, out: &mut Vec<u8>) -> Reaction {
        let is_axfr = self.question.rtype == Rtype::AXFR;
        let is_udp = self.way.transport == Transport::Udp;
        let refused = if self.question.class != Class::IN {
            Some(REFUSED)
        } else if let Err(why) = self.is_allowed(signer.as_ref(), settings) {
            self.tell_refused(signer.as_ref(), why);
            return self.refuse_saying(REFUSED, Some(why), signer, out);
        } else if !self.question.name.eq_ignore_ascii_case(self.origin.as_wire()) {
            Some(NOTAUTH)
        } else if is_axfr && is_udp || !is_axfr && self.rest.client_serial.is_none() {
            // RFC 5936 section 4.2; RFC 1995 section 3.
            Some(FORMERR)
        } else {
            None
        };
        let version = match (refused, &self.zone.version) {
            (Some(rcode), _) => return self.refuse(rcode, signer, out),
            (None, None) => return self.refuse(SERVFAIL, signer, out),
            (None, Some(version)) => version,
        };
        let content = match self.rest.client_serial {
            Some(serial) if is_udp => match self.zone.transfers.last_difference(serial, version.serial()) {
                Some(difference) => Content::Difference(difference),
                None => Content::Soa(version.clone()),
            },
            Some(serial) if !is_axfr => self.zone.transfers.since(serial, version),
            _ => Content::Zone(version.clone()),
        };
        let expire = version.expire();
        let left = self.zone.expire.map_or(expire, |left| left.min(expire));
        let heading = self.heading(NOERROR | AA, Some(left));
        match (is_udp, content) {
            (true, content) => self.over_udp(&heading, &content, version, signer, out),
            (false, content) => {
                let about = About {
                    transfers: Arc::clone(&self.zone.transfers),
                    zone: self.origin.clone(),
                    client: self.way.client,
                    key: signer.as_ref().map(|signer| signer.key().clone()),
                    serial: version.serial(),
                };
                let refusal = (self.heading(SERVFAIL, None), signer.clone());
                let clock = Arc::clone(&self.zone.clock);
                let messages = Messages::new(heading, content, signer);
                Reaction::Stream(Box::new(Outgoing { messages, about, refusal, clock, octets: 0, count: 0 }))
            }
        }
    }

    /// Answers NOTIFY, and wakes whoever follows the primaries.
    fn notify(
        &self,
        query: &[u8],
        signer: Option<Signer>,
        settings: &TransferSettings,
        out: &mut Vec<u8>,
    ) -> Reaction {
        let from = self.way.client.ip();
        let rcode = if !self.question.name.eq_ignore_ascii_case(self.origin.as_wire()) {
            NOTAUTH
        } else if self.question.rtype != Rtype::SOA || self.question.class != Class::IN {
            // Other types are for parents (RFC 9859).
            NOTIMP
        } else if !inbound::is_of_primary(settings, from, signer.as_ref().map(Signer::key)) {
            self.tell_not_primary(signer.as_ref());
            REFUSED
        } else {
            self.zone.transfers.inbound.put(from, inbound::hint(query, self.origin));
            NOERROR | AA
        };
        self.refuse(rcode, signer, out)
    }

    fn tell_not_primary(&self, signer: Option<&Signer>) {
        self.zone.transfers.count_refused("access");
        if let Some(held_back) = self.zone.transfers.refusals.pass() {
            let key = signer.map_or_else(|| "none".to_owned(), |signer| signer.key().to_string());
            let (zone, client) = (self.origin, self.way.client);
            tracing::warn!(%zone, %client, key, held_back, "NOTIFY is refused: primaries does not have this address or key");
        }
    }

    /// An IXFR over UDP: what fits into one message, or the SOA record, so that the client comes by TCP (RFC 1995 section 2).
    fn over_udp(
        &self,
        heading: &Heading,
        content: &Content,
        version: &TransferVersion,
        signer: Option<Signer>,
        out: &mut Vec<u8>,
    ) -> Reaction {
        let (limit, now) = (usize::from(self.udp_size()), (self.zone.clock)());
        let sender = Sender::of(signer.as_ref());
        if matches!(content, Content::Difference(_)) {
            let mut messages = Messages::new(heading.clone(), content.clone(), signer.clone());
            if messages.single(limit, now, out) == Ok(true) {
                return Reaction::Answered(sender);
            }
        }
        let mut soa = Messages::new(heading.clone(), Content::Soa(version.clone()), signer);
        match soa.single(limit, now, out) {
            Ok(true) => Reaction::Answered(sender),
            // Names of hundreds of octets: there is no answer over UDP.
            _ => Reaction::Nothing,
        }
    }

    /// Largest UDP answer, in octets.
    fn udp_size(&self) -> u16 {
        self.rest.edns.map_or(MIN_UDP, |edns| edns.size.max(MIN_UDP)).min(self.way.max_udp)
    }

    pub fn heading(&self, rcode_and_aa: u16, expire: Option<u32>) -> Heading {
        let flags = QR | self.head.flags & (OPCODE | RD) | rcode_and_aa;
        let opt = self.rest.edns.map(|edns| OptReply {
            dnssec_ok: edns.dnssec_ok,
            expire: expire.filter(|_| edns.wants_expire),
            prohibited: None,
            is_padded: self.way.peer.is_some() && edns.wants_padding,
        });
        Heading { id: self.head.id, flags, question: self.question.octets.into(), opt }
    }

    /// An answer without records.
    pub fn refuse(&self, rcode: u16, signer: Option<Signer>, out: &mut Vec<u8>) -> Reaction {
        self.refuse_saying(rcode, None, signer, out)
    }

    /// The same with a reason in the option Extended DNS Error (RFC 8914).
    fn refuse_saying(
        &self,
        rcode: u16,
        why: Option<NotAllowed>,
        signer: Option<Signer>,
        out: &mut Vec<u8>,
    ) -> Reaction {
        let mut heading = self.heading(rcode, None);
        if let (Some(opt), Some(NotAllowed::Channel(fault))) = (&mut heading.opt, why) {
            opt.prohibited = Some(fault.text());
        }
        heading.put_alone(signer.as_ref().map_or(0, Signer::record_len), out);
        let sender = Sender::of(signer.as_ref());
        if let Some(mut signer) = signer {
            signer.sign(0, out, (self.zone.clock)());
        }
        Reaction::Answered(sender)
    }

    /// The answer to a request whose TSIG record is not right.
    pub fn reject(&self, rejection: Rejection, out: &mut Vec<u8>) {
        let Some(tsig) = &self.rest.tsig else { return };
        let rcode = if matches!(rejection, Rejection::FormErr) { FORMERR } else { NOTAUTH };
        self.heading(rcode, None).put_alone(0, out);
        let error = match rejection {
            Rejection::FormErr => None,
            Rejection::Unsigned(error) => {
                put_unsigned(out, tsig, error);
                Some(error)
            }
            Rejection::Signed(error, signer) => {
                signer.sign_error(out, error, (self.zone.clock)());
                Some(error)
            }
        };
        self.zone.transfers.count_refused("tsig");
        if let Some(held_back) = self.zone.transfers.bad_signatures.pass() {
            let (zone, client) = (self.origin, self.way.client);
            tracing::warn!(%zone, %client, ?error, held_back, "the TSIG record of a request is not right");
        }
    }

    fn is_allowed(&self, signer: Option<&Signer>, settings: &TransferSettings) -> Result<(), NotAllowed> {
        let Way { client, peer, .. } = self.way;
        settings.allows(client.ip(), signer.map(Signer::key), peer, (self.zone.clock)())
    }

    fn tell_refused(&self, signer: Option<&Signer>, why: NotAllowed) {
        self.zone.transfers.count_refused("access");
        if let Some(held_back) = self.zone.transfers.refusals.pass() {
            let key = signer.map_or_else(|| "none".to_owned(), |signer| signer.key().to_string());
            let (zone, client) = (self.origin, self.way.client);
            tracing::warn!(%zone, %client, key, held_back, "a transfer is refused: {why}");
        }
    }
}

/// A transfer over TCP that has begun.
pub(crate) struct Outgoing {
    messages: Messages,
    about: About,
    /// What is answered when there are too many transfers at once.
    refusal: (Heading, Option<Signer>),
    clock: Clock,
    octets: u64,
    count: u64,
}

/// What the log says of a transfer.
#[derive(Debug)]
struct About {
    transfers: Arc<ZoneTransfers>,
    zone: Name,
    client: SocketAddr,
    key: Option<Name>,
    serial: u32,
}

impl Outgoing {
    /// Shares messages with the transfers of the same version that are under way. Called when this one has the right to begin.
    pub fn share(&mut self) {
        self.messages.share(&self.about.transfers.shared);
    }

    /// Appends the next message to `out`; false when there is none.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, RecordTooLong> {
        let start = out.len();
        let more = self.messages.next((self.clock)(), out)?;
        if more {
            self.octets += (out.len() - start) as u64;
            self.count += 1;
        }
        Ok(more)
    }

    /// Writes SERVFAIL in place of the transfer: the client tries again (RFC 9103 section 6.3.3).
    pub fn turn_away(&mut self, out: &mut Vec<u8>) {
        self.refusal.0.put_alone(self.refusal.1.as_ref().map_or(0, Signer::record_len), out);
        if let Some(signer) = &mut self.refusal.1 {
            signer.sign(0, out, (self.clock)());
        }
        let About { zone, client, transfers, .. } = &self.about;
        transfers.count_refused("limit");
        tracing::warn!(%zone, %client, "too many transfers at once; this one is answered with SERVFAIL");
    }

    /// Logs how it ended.
    pub fn log(&self, end: &Result<(), TransferEnd>) {
        let About { zone, client, key, serial, transfers } = &self.about;
        let key = key.as_ref().map_or_else(|| "none".to_owned(), Name::to_string);
        let (kind, messages, octets) = (self.messages.kind(), self.count, self.octets);
        if kind != "soa" && !matches!(end, Err(TransferEnd::TooMany)) {
            transfers.count_transfer(kind, end.is_ok());
        }
        match end {
            Err(TransferEnd::TooMany) => {}
            Ok(()) => {
                tracing::info!(%zone, %client, key, kind, serial, messages, octets, "a transfer was sent")
            }
            Err(end) => {
                tracing::warn!(%zone, %client, key, kind, serial, messages, octets, "a transfer ended before its end: {end}");
            }
        }
    }
}

/// Why a transfer ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferEnd {
    #[error("the client does not take it: {0}")]
    Client(io::Error),
    #[error("it took too long")]
    TooLong,
    #[error("this server stops")]
    Stop,
    #[error("there are too many at once")]
    TooMany,
    #[error(transparent)]
    Record(#[from] RecordTooLong),
}
