//! Asks one nameserver one question over DNS: UDP first, TCP where the answer is truncated or UDP stays silent.
//!
//! Every answer is checked against its question before anything of it is used, and every wait has an end.

mod each;
mod notify;
mod socket;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use domain::base::iana::Class;
use domain::base::message::RecordSection;
use domain::base::name::ToName;
use domain::base::opt::{Expire, ExtendedError};
use domain::base::{Message, MessageBuilder, Name as WireName, Rtype as WireRtype};
use domain::rdata::AllRecordData;
use keystore::dns::{Name, Rrset, Rrsig, Rtype};
use rustix::io::Errno;

pub use domain::base::iana::Rcode;
pub use each::each;
pub use socket::Tcp;

/// Largest UDP answer that is asked for, in octets; anything longer comes by TCP.
const UDP_SIZE: u16 = 1232;
/// How long one try may take, and how many there are.
const TRY: Duration = Duration::from_millis(700);
const TRIES: usize = 3;
/// How long one answer over TCP may take from the connection to its last octet: a server that drips must not hold us.
const WHOLE_TCP: Duration = Duration::from_secs(2);

/// Why there is no answer that could be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// There is no answer.
    #[error("{server} does not answer over DNS: {source}")]
    NoAnswer {
        /// The server.
        server: SocketAddr,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// This host has no way to the address: no IPv6, or no route.
    #[error("{server} cannot be asked from here: {source}")]
    NoWay {
        /// The server.
        server: SocketAddr,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// The time of the caller was up before the server had time to answer.
    #[error("{server} was not asked: the time is up")]
    TimeUp {
        /// The server.
        server: SocketAddr,
    },
    /// What came is not an answer.
    #[error("the answer to {rtype} is {fault}")]
    BadAnswer {
        /// What was asked for.
        rtype: Rtype,
        /// What is wrong with what came.
        fault: AnswerFault,
    },
}

impl AskError {
    /// True when nothing came from the server, whoever is to blame for it.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        !matches!(self, Self::BadAnswer { .. })
    }

    /// True when the answer says that the name does not exist.
    #[must_use]
    pub const fn is_no_name(&self) -> bool {
        matches!(self, Self::BadAnswer { fault: AnswerFault::Rcode(Rcode::NXDOMAIN), .. })
    }

    /// The error of a question that had `time` for its answer.
    fn unanswered(server: SocketAddr, source: io::Error, time: Duration) -> Self {
        let timed_out = matches!(source.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        match Errno::from_io_error(&source) {
            Some(Errno::NETUNREACH | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => {
                Self::NoWay { server, source }
            }
            // A server that had less than one whole try cannot be called silent.
            _ if timed_out && time < TRY => Self::TimeUp { server },
            _ => Self::NoAnswer { server, source },
        }
    }
}

/// What is wrong with a message that came as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerFault {
    /// The query cannot be written, so none was sent.
    #[error("none: the query cannot be written")]
    NoQuery,
    /// It is no DNS message.
    #[error("malformed")]
    Malformed,
    /// Another ID, a query, or cut off over TCP.
    #[error("none to our question")]
    NotOurs,
    /// The server reports an error.
    #[error("{0}")]
    Rcode(Rcode),
    /// The AA bit is not set.
    #[error("not authoritative")]
    NotAuthoritative,
    /// The question is missing.
    #[error("without the question")]
    NoQuestion,
    /// It answers another question.
    #[error("to another question")]
    OtherQuestion,
    /// It has records of another owner or class.
    #[error("with records of another name")]
    OtherName,
    /// It has records of this type, which was not asked for.
    #[error("with records of another type, {0}")]
    OtherType(Rtype),
    /// A record is longer than a record can be.
    #[error("too long")]
    TooLong,
    /// It has no record where there must be one.
    #[error("empty")]
    Empty,
}

/// How a question goes to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// UDP, and TCP when the answer is truncated.
    UdpThenTcp,
    /// TCP alone.
    Tcp,
}

/// What a server is asked as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskedServer {
    /// A server of the zone: the AA bit must be set.
    Authoritative,
    /// A resolver, which asks others (RD).
    Resolver,
    /// A resolver that is told not to validate (RD and CD).
    Unchecked,
}

/// Asks one server.
#[derive(Debug, Clone)]
pub struct Asker {
    server: SocketAddr,
    source: Option<IpAddr>,
    kind: AskedServer,
    transport: Transport,
}

/// An RRset and its signatures, as far as they belong to the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RrsetAnswer {
    /// The records; none when the name or the type does not exist.
    pub rrset: Rrset,
    /// RRSIGs of the same owner that cover the type.
    pub signatures: Vec<Rrsig>,
    /// The AD bit: the resolver has validated it.
    pub authentic: bool,
    /// EDNS EXPIRE (RFC 7314): seconds until the server stops to serve the zone, where it says so.
    pub expire: Option<u32>,
}

/// Every RRset of the answer and authority sections of one reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReply {
    /// The response code.
    pub rcode: Rcode,
    /// The AA bit.
    pub authoritative: bool,
    /// The AD bit.
    pub authentic: bool,
    /// Code of the first extended error (RFC 8914).
    pub extended_error: Option<u16>,
    /// RRsets of the answer section.
    pub answer: Vec<RrsetAnswer>,
    /// RRsets of the authority section.
    pub authority: Vec<RrsetAnswer>,
}

impl Asker {
    /// Asks `server`, which must be authoritative, from the address `source` where one is given.
    #[must_use]
    pub const fn new(server: SocketAddr, source: Option<IpAddr>) -> Self {
        Self { server, source, kind: AskedServer::Authoritative, transport: Transport::UdpThenTcp }
    }

    /// Asks a resolver.
    #[must_use]
    pub const fn of_resolver(server: SocketAddr) -> Self {
        Self { server, source: None, kind: AskedServer::Resolver, transport: Transport::UdpThenTcp }
    }

    /// The same without validation by the resolver (CD bit): it gives what it got.
    #[must_use]
    pub const fn unchecked(mut self) -> Self {
        self.kind = AskedServer::Unchecked;
        self
    }

    /// The same over another transport.
    #[must_use]
    pub const fn over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// The server that is asked.
    #[must_use]
    pub const fn server(&self) -> SocketAddr {
        self.server
    }

    /// Asks for one RRset until `until`. The answer has no records when the name or the type does not exist; any record that does
    /// not belong to the question is an error, a CNAME too.
    pub fn ask(&self, name: &Name, rtype: Rtype, until: Instant) -> Result<RrsetAnswer, AskError> {
        let (message, id) = self.send_query(name, rtype, until)?;
        read(&message, name, rtype, id, self.kind).map_err(|fault| AskError::BadAnswer { rtype, fault })
    }

    /// Asks until `until`, and gives every RRset of the reply, whatever its response code.
    pub fn ask_all(&self, name: &Name, rtype: Rtype, until: Instant) -> Result<ServerReply, AskError> {
        let (message, id) = self.send_query(name, rtype, until)?;
        read_all(&message, name, rtype, id).map_err(|fault| AskError::BadAnswer { rtype, fault })
    }

    fn send_query(&self, name: &Name, rtype: Rtype, until: Instant) -> Result<(Vec<u8>, u16), AskError> {
        let id = message_id();
        let query = query(name, rtype, id, self.kind)
            .ok_or(AskError::BadAnswer { rtype, fault: AnswerFault::NoQuery })?;
        Ok((self.exchange(&query, id, until)?, id))
    }

    /// Sends a message with this ID, and gives what comes back under it.
    fn exchange(&self, message: &[u8], id: u16, until: Instant) -> Result<Vec<u8>, AskError> {
        let unanswered = |source, begun: Instant| {
            AskError::unanswered(self.server, source, until.saturating_duration_since(begun))
        };
        let begun = Instant::now();
        if self.transport == Transport::UdpThenTcp {
            let reply = socket::over_udp(self.server, self.source, message, id, until)
                .map_err(|source| unanswered(source, begun))?;
            let truncated = reply.get(2).is_some_and(|flags| flags & 0x02 != 0);
            if !truncated {
                return Ok(reply);
            }
        }
        let begun = Instant::now();
        let end = until.min(begun + WHOLE_TCP);
        let over_tcp = || {
            let mut stream = Tcp::connect(self.server, self.source, end)?;
            stream.send(message, end)?;
            stream.receive(end)
        };
        over_tcp().map_err(|source| unanswered(source, begun))
    }
}

/// A message ID that nobody can guess: the keys of the standard library's hasher are random.
pub fn message_id() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}

fn query(name: &Name, rtype: Rtype, id: u16, kind: AskedServer) -> Option<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(kind != AskedServer::Authoritative);
    builder.header_mut().set_ad(kind == AskedServer::Resolver);
    builder.header_mut().set_cd(kind == AskedServer::Unchecked);
    let mut question = builder.question();
    let name = WireName::from_octets(name.as_wire().to_vec()).ok()?;
    question.push((name, WireRtype::from_int(rtype.0))).ok()?;
    let mut additional = question.additional();
    additional
        .opt(|opt| {
            opt.set_udp_payload_size(UDP_SIZE);
            opt.set_dnssec_ok(true);
            // Only a secondary answers it, and only with the SOA is it asked for.
            if rtype == Rtype::SOA && kind == AskedServer::Authoritative {
                opt.push(&Expire::new(None))?;
            }
            Ok(())
        })
        .ok()?;
    Some(additional.finish())
}

fn name_of(name: &impl ToName) -> Option<Name> {
    let mut wire = Vec::new();
    name.compose(&mut wire).ok()?;
    Name::from_wire(&wire).ok()
}

fn is_name(name: &impl ToName, expected: &Name) -> bool {
    name_of(name).is_some_and(|name| name == *expected)
}

/// The message, once ID and question are ours.
fn checked<'a>(
    reply: &'a [u8],
    name: &Name,
    rtype: Rtype,
    id: u16,
) -> Result<Message<&'a [u8]>, AnswerFault> {
    let message = Message::from_octets(reply).map_err(|_| AnswerFault::Malformed)?;
    let header = message.header();
    if header.id() != id || !header.qr() || header.tc() {
        return Err(AnswerFault::NotOurs);
    }
    // A server that cannot read the query may leave the question out.
    if header.rcode() != Rcode::NOERROR && message.header_counts().qdcount() == 0 {
        return Err(AnswerFault::Rcode(header.rcode()));
    }
    let question = message.sole_question().map_err(|_| AnswerFault::NoQuestion)?;
    if !is_name(question.qname(), name) || question.qtype().to_int() != rtype.0 {
        return Err(AnswerFault::OtherQuestion);
    }
    Ok(message)
}

/// Takes the RRset asked for and its signatures out of an answer.
pub(crate) fn read(
    reply: &[u8],
    name: &Name,
    rtype: Rtype,
    id: u16,
    kind: AskedServer,
) -> Result<RrsetAnswer, AnswerFault> {
    let message = checked(reply, name, rtype, id)?;
    let header = message.header();
    if header.rcode() != Rcode::NOERROR {
        return Err(AnswerFault::Rcode(header.rcode()));
    }
    if kind == AskedServer::Authoritative && !header.aa() {
        return Err(AnswerFault::NotAuthoritative);
    }
    let rrset = Rrset { owner: name.clone(), rtype, ttl: u32::MAX, rdatas: Vec::new() };
    let expire = message.opt().and_then(|opt| opt.opt().expire()).and_then(Expire::expire);
    let mut answer = RrsetAnswer { rrset, signatures: Vec::new(), authentic: header.ad(), expire };
    for record in records(message.answer().map_err(|_| AnswerFault::Malformed)?) {
        let record = record?;
        if record.owner != *name {
            return Err(AnswerFault::OtherName);
        }
        if record.rtype != rtype && record.rtype != Rtype::RRSIG {
            return Err(AnswerFault::OtherType(record.rtype));
        }
        if record.rtype == rtype {
            answer.rrset.ttl = answer.rrset.ttl.min(record.ttl);
            answer.rrset.rdatas.push(record.rdata.into());
        } else {
            let signature = Rrsig::from_rdata(&record.rdata).map_err(|_| AnswerFault::Malformed)?;
            if signature.covered == rtype {
                answer.signatures.push(signature);
            }
        }
    }
    Ok(answer)
}

/// Takes all RRsets out of the answer and authority sections of a reply.
pub(crate) fn read_all(reply: &[u8], name: &Name, rtype: Rtype, id: u16) -> Result<ServerReply, AnswerFault> {
    let message = checked(reply, name, rtype, id)?;
    let header = message.header();
    let authentic = header.ad();
    let extended_error = message
        .opt()
        .and_then(|opt| opt.opt().iter::<ExtendedError<_>>().find_map(Result::ok).map(|e| e.code().to_int()));
    let section = |section| rrsets(records(section), authentic);
    Ok(ServerReply {
        rcode: header.rcode(),
        authoritative: header.aa(),
        authentic,
        extended_error,
        answer: section(message.answer().map_err(|_| AnswerFault::Malformed)?)?,
        authority: section(message.authority().map_err(|_| AnswerFault::Malformed)?)?,
    })
}

/// A record as octets.
#[derive(Debug)]
pub struct RawRecord {
    /// Its owner name.
    pub owner: Name,
    /// Its type.
    pub rtype: Rtype,
    /// Its TTL in seconds.
    pub ttl: u32,
    /// Its RDATA without compression.
    pub rdata: Vec<u8>,
}

/// The records of a section. One of another class than IN is an error.
pub fn records<'a>(
    section: RecordSection<'a, &'a [u8]>,
) -> impl Iterator<Item = Result<RawRecord, AnswerFault>> + use<'a> {
    section.map(|record| {
        let record = record.map_err(|_| AnswerFault::Malformed)?;
        if record.class() != Class::IN {
            return Err(AnswerFault::OtherName);
        }
        let owner = name_of(&record.owner()).ok_or(AnswerFault::Malformed)?;
        let (rtype, ttl) = (Rtype(record.rtype().to_int()), record.ttl().as_secs());
        let record = record.into_record::<AllRecordData<_, _>>().map_err(|_| AnswerFault::Malformed)?;
        let record = record.ok_or(AnswerFault::Malformed)?;
        let mut rdata = Vec::new();
        domain::base::rdata::ComposeRecordData::compose_rdata(record.data(), &mut rdata)
            .map_err(|_| AnswerFault::TooLong)?;
        Ok(RawRecord { owner, rtype, ttl, rdata })
    })
}

/// Puts records of one owner and type together with the signatures over them.
fn rrsets(
    records: impl Iterator<Item = Result<RawRecord, AnswerFault>>,
    authentic: bool,
) -> Result<Vec<RrsetAnswer>, AnswerFault> {
    let mut sets: Vec<RrsetAnswer> = Vec::new();
    let at = |sets: &mut Vec<RrsetAnswer>, owner: Name, rtype, ttl| {
        let found = sets.iter().position(|set| set.rrset.owner == owner && set.rrset.rtype == rtype);
        found.unwrap_or_else(|| {
            let rrset = Rrset { owner, rtype, ttl, rdatas: Vec::new() };
            sets.push(RrsetAnswer { rrset, signatures: Vec::new(), authentic, expire: None });
            sets.len() - 1
        })
    };
    for record in records {
        let RawRecord { owner, rtype, ttl, rdata } = record?;
        if rtype == Rtype::RRSIG {
            let signature = Rrsig::from_rdata(&rdata).map_err(|_| AnswerFault::Malformed)?;
            let at = at(&mut sets, owner, signature.covered, ttl);
            sets[at].signatures.push(signature);
        } else {
            let at = at(&mut sets, owner, rtype, ttl);
            sets[at].rrset.ttl = sets[at].rrset.ttl.min(ttl);
            sets[at].rrset.rdatas.push(rdata.into());
        }
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn no_way_to_a_server_and_no_time_for_it_are_not_its_silence() {
        let server = SocketAddr::from(([192, 0, 2, 1], 53));
        let system = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        for (source, time, expected) in [
            (system(Errno::NETUNREACH), TRY, "cannot be asked from here"),
            (system(Errno::ADDRNOTAVAIL), TRY, "cannot be asked from here"),
            (system(Errno::AFNOSUPPORT), Duration::ZERO, "cannot be asked from here"),
            (system(Errno::CONNREFUSED), Duration::ZERO, "does not answer"),
            (system(Errno::HOSTUNREACH), TRY, "does not answer"),
            (io::ErrorKind::TimedOut.into(), TRY, "does not answer"),
            (io::ErrorKind::WouldBlock.into(), TRY, "does not answer"),
            (io::ErrorKind::TimedOut.into(), TRY - Duration::from_millis(1), "was not asked"),
            (io::ErrorKind::WouldBlock.into(), Duration::ZERO, "was not asked"),
        ] {
            let shown = format!("{source:?} {time:?}");
            let error = AskError::unanswered(server, source, time);
            assert!(error.to_string().contains(expected) && error.is_silence(), "{shown}: {error}");
        }
    }

    #[test]
    fn a_question_without_time_says_so_over_udp_and_tcp() {
        // Bound, so that nobody answers, and nobody refuses either.
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let server = silent.local_addr().expect("an address");
        for transport in [Transport::UdpThenTcp, Transport::Tcp] {
            let asker = Asker::new(server, None).over(transport);
            let error = asker.ask(&Name::root(), Rtype::SOA, Instant::now()).expect_err("no time");
            assert!(matches!(error, AskError::TimeUp { .. }), "{transport:?}: {error}");
        }
        let until = Instant::now() + Duration::from_secs(10);
        let error = Asker::new(server, None).ask(&Name::root(), Rtype::SOA, until).expect_err("silence");
        assert!(matches!(error, AskError::NoAnswer { .. }), "{error}");
    }
}
