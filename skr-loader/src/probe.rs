//! Asks a server over DNS what it serves, and holds that against a bundle.

#[cfg(test)]
mod tests;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use domain::base::iana::{Class, Rcode};
use domain::base::name::ToName;
use domain::base::{Message, MessageBuilder, Name as WireName, Rtype as WireRtype};
use domain::rdata::AllRecordData;
use keystore::dns::rrsig::{self, Rrsig};
use keystore::dns::{Name, Rrset, Rtype};
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;
use socket2::{Domain, Protocol, Socket, Type};

/// Largest UDP answer that is asked for, in octets; anything longer comes by TCP.
const UDP_SIZE: u16 = 1232;
/// How long one try may take, and how many there are.
const TRY: Duration = Duration::from_millis(700);
const TRIES: usize = 3;
/// How long one answer over TCP may take from the connection to its last octet: a server that drips must not hold us.
const WHOLE_TCP: Duration = Duration::from_secs(2);
/// How long one proof may take with all its questions.
const WHOLE_PROOF: Duration = Duration::from_secs(10);
/// Most signatures over one RRset that are verified.
const MAX_SIGNATURES: usize = 16;

/// How long after a signature is due for renewal it may still be served, in seconds.
const GRACE: u64 = 30;
const EXPIRED: &str = "it has expired, or is not valid yet";

/// What a server was proven to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The RRsets of the bundle with its very signatures.
    Exactly,
    /// The RRsets of the bundle with older signatures of the same keys, due for renewal then: named keeps those that it has until
    /// they are due, whatever it is given.
    Still(Timestamp),
}

/// What is wrong with what a server serves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// There is no answer.
    #[error("{server} does not answer over DNS: {source}")]
    NoAnswer {
        /// The server.
        server: SocketAddr,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// What came is not an answer.
    #[error("the answer to {rtype} is {fault}")]
    BadAnswer {
        /// What was asked for.
        rtype: Rtype,
        /// What is wrong with what came.
        fault: AnswerFault,
    },
    /// An RRset is not that of the bundle.
    #[error(
        "the {rtype} RRset that is served is not that of the bundle of {bundle} ({missing} records missing, {extra} more)"
    )]
    Differs {
        /// Its type.
        rtype: Rtype,
        /// Inception of the bundle.
        bundle: Timestamp,
        /// Records of the bundle that are not served.
        missing: usize,
        /// Records that are served and not of the bundle.
        extra: usize,
    },
    /// A signature of the bundle is not served, and none that is not due for renewal: the server is still on another bundle.
    #[error(
        "the signature of key {key_tag} over {rtype} is not that of the bundle of {bundle}, and is due for renewal or missing"
    )]
    OtherSignature {
        /// The covered type.
        rtype: Rtype,
        /// The key.
        key_tag: u16,
        /// Inception of the bundle.
        bundle: Timestamp,
    },
    /// There is no signature that a validator would take.
    #[error("no signature over {rtype} by a key of the bundle is valid now: {what}")]
    NotValid {
        /// The covered type.
        rtype: Rtype,
        /// What is wrong with the last one that was looked at.
        what: &'static str,
        /// Its time is over, or has not come.
        expired: bool,
    },
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

/// Asks one server.
#[derive(Debug, Clone)]
pub struct Probe {
    server: SocketAddr,
    source: Option<IpAddr>,
    /// It is a resolver, which asks others.
    recursive: bool,
}

/// An answer, as far as it belongs to the question.
#[derive(Debug)]
struct Answer {
    rrset: Rrset,
    signatures: Vec<Rrsig>,
    /// The AD bit.
    authentic: bool,
}

impl ProofError {
    /// True when an RRset of the bundle is served without one of its signatures that a validator would take, or the zone not at all.
    #[must_use]
    pub const fn lacks_signatures(&self) -> bool {
        match self {
            Self::OtherSignature { .. } | Self::BadAnswer { .. } => true,
            Self::NotValid { rtype, .. } => rtype.0 != Rtype::SOA.0,
            Self::NoAnswer { .. } | Self::Differs { .. } => false,
        }
    }

    /// True when the server has the zone in its configuration and cannot answer for it.
    #[must_use]
    pub const fn is_servfail(&self) -> bool {
        matches!(self, Self::BadAnswer { fault: AnswerFault::Rcode(Rcode::SERVFAIL), .. })
    }

    /// True when what is served was good once and the server should have renewed it.
    #[must_use]
    pub const fn is_overdue(&self) -> bool {
        match self {
            Self::OtherSignature { .. } => true,
            Self::NotValid { expired, .. } => *expired,
            Self::NoAnswer { .. } | Self::BadAnswer { .. } | Self::Differs { .. } => false,
        }
    }
}

impl Probe {
    /// A probe of `server` that asks from `source`.
    #[must_use]
    pub const fn new(server: SocketAddr, source: Option<IpAddr>) -> Self {
        Self { server, source, recursive: false }
    }

    /// A probe of a resolver.
    #[must_use]
    pub const fn of_resolver(server: SocketAddr) -> Self {
        Self { server, source: None, recursive: true }
    }

    /// Asks for the DS RRset of `zone` until `until`: the RRset, empty when there is none, and whether the resolver has validated it.
    pub fn ds(&self, zone: &Name, until: Instant) -> Result<(Rrset, bool), ProofError> {
        let answer = self.ask(zone, Rtype::DS, until)?;
        Ok((answer.rrset, answer.authentic))
    }

    /// Proves that the server serves `bundle` at `now`: DNSKEY, CDNSKEY and CDS are the RRsets of the bundle with signatures that
    /// are valid now, and the SOA is signed by a key of the bundle. The signatures are those of the bundle, or older ones with more
    /// than `refresh` seconds to live, which is when named renews them.
    pub fn prove(
        &self,
        zone: &Name,
        bundle: &Bundle,
        refresh: u64,
        now: Timestamp,
    ) -> Result<Served, ProofError> {
        let keys: Vec<Dnskey> = bundle.keys().collect();
        let until = Instant::now() + WHOLE_PROOF;
        let mut served_is = Served::Exactly;
        for (rtype, rrset) in [
            (Rtype::DNSKEY, Some(&bundle.dnskey)),
            (Rtype::CDNSKEY, bundle.cdnskey.as_ref()),
            (Rtype::CDS, bundle.cds.as_ref()),
        ] {
            let answer = self.ask(zone, rtype, until)?;
            let expected = rrset.map(Rrset::canonical_rdatas).unwrap_or_default();
            let served = answer.rrset.canonical_rdatas();
            if expected != served {
                let missing = expected.iter().filter(|r| !served.contains(r)).count();
                let extra = served.iter().filter(|r| !expected.contains(r)).count();
                return Err(ProofError::Differs { rtype, bundle: bundle.inception, missing, extra });
            }
            if expected.is_empty() {
                continue;
            }
            check_signatures(&answer, zone, &keys, now)?;
            for own in
                bundle.signatures.iter().filter(|s| s.covered == rtype && !answer.signatures.contains(s))
            {
                let due = answer
                    .signatures
                    .iter()
                    .filter(|s| (s.key_tag, s.algorithm) == (own.key_tag, own.algorithm))
                    .map(|s| s.expires(now).minus(refresh))
                    .max();
                match due {
                    Some(due) if now < due.plus(GRACE.min(refresh / 2)) => {
                        served_is = match served_is {
                            Served::Still(other) => Served::Still(other.min(due)),
                            Served::Exactly => Served::Still(due),
                        }
                    }
                    _ => {
                        let key_tag = own.key_tag;
                        return Err(ProofError::OtherSignature { rtype, key_tag, bundle: bundle.inception });
                    }
                }
            }
        }
        let soa = self.ask(zone, Rtype::SOA, until)?;
        if soa.rrset.rdatas.is_empty() {
            return Err(ProofError::BadAnswer { rtype: Rtype::SOA, fault: AnswerFault::Empty });
        }
        check_signatures(&soa, zone, &keys, now)?;
        Ok(served_is)
    }

    fn ask(&self, zone: &Name, rtype: Rtype, until: Instant) -> Result<Answer, ProofError> {
        let bad = |fault| ProofError::BadAnswer { rtype, fault };
        let id = message_id();
        let query = query(zone, rtype, id, self.recursive).ok_or_else(|| bad(AnswerFault::NoQuery))?;
        let no_answer = |source| ProofError::NoAnswer { server: self.server, source };
        let mut reply = self.over_udp(&query, id, until).map_err(no_answer)?;
        if reply.get(2).is_some_and(|flags| flags & 0x02 != 0) {
            reply = self.over_tcp(&query, until).map_err(no_answer)?;
        }
        read(&reply, zone, rtype, id, self.recursive).map_err(bad)
    }

    fn over_udp(&self, query: &[u8], id: u16, whole: Instant) -> io::Result<Vec<u8>> {
        let any = match self.server {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind((self.source.unwrap_or(any), 0))?;
        socket.connect(self.server)?;
        let mut buffer = [0; 65_535];
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        for _ in 0..TRIES {
            if let Err(error) = socket.send(query) {
                last = error;
                continue;
            }
            let until = whole.min(Instant::now() + TRY);
            // Also when others flood the port.
            while let Ok(left) = left(until) {
                socket.set_read_timeout(Some(left))?;
                match socket.recv(&mut buffer) {
                    // Anything else is a late answer to somebody else, or forged.
                    Ok(len) if len >= 12 && buffer[..2] == id.to_be_bytes() && buffer[2] & 0x80 != 0 => {
                        return Ok(buffer[..len].to_vec());
                    }
                    Ok(_) => {}
                    Err(error) => {
                        last = error;
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    fn over_tcp(&self, query: &[u8], whole: Instant) -> io::Result<Vec<u8>> {
        let until = whole.min(Instant::now() + WHOLE_TCP);
        let mut stream = self.connect(left(until)?.min(TRY))?;
        stream.set_write_timeout(Some(left(until)?))?;
        let len = u16::try_from(query.len()).map_err(io::Error::other)?;
        stream.write_all(&[&len.to_be_bytes()[..], query].concat())?;
        let mut len = [0; 2];
        read_until(&mut stream, &mut len, until)?;
        let mut reply = vec![0; u16::from_be_bytes(len).into()];
        read_until(&mut stream, &mut reply, until)?;
        Ok(reply)
    }

    /// Connects from the source that was configured, where one is: views are told apart by it over TCP too.
    fn connect(&self, timeout: Duration) -> io::Result<TcpStream> {
        let Some(source) = self.source else { return TcpStream::connect_timeout(&self.server, timeout) };
        let domain = Domain::for_address(self.server);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&self.server.into(), timeout)?;
        Ok(socket.into())
    }
}

/// Time until `until`; an error when it has come.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Fills `buffer`, each octet of it before `until`.
fn read_until(stream: &mut TcpStream, mut buffer: &mut [u8], until: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => buffer = &mut buffer[read..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Each signature must verify with the key it names and be valid now, and there must be one.
fn check_signatures(answer: &Answer, zone: &Name, keys: &[Dnskey], now: Timestamp) -> Result<(), ProofError> {
    let rtype = answer.rrset.rtype;
    let mut seen = Err(ProofError::NotValid { rtype, what: "it has none", expired: false });
    for signature in answer.signatures.iter().take(MAX_SIGNATURES) {
        let wrong = |what| Err(ProofError::NotValid { rtype, what, expired: what == EXPIRED });
        let key = keys.iter().find(|k| (k.tag(), k.algorithm) == (signature.key_tag, signature.algorithm));
        let Some(key) = key else {
            seen = seen.or_else(|_| wrong("it is of a key that the bundle does not have"));
            continue;
        };
        if signature.signer != *zone {
            return wrong("its signer is another zone");
        }
        if !signature.is_valid_at(now) {
            return wrong(EXPIRED);
        }
        if answer.rrset.ttl > signature.original_ttl {
            return wrong("it is served with a longer TTL than was signed");
        }
        if rrsig::verify_raw(&answer.rrset, &key.public_key, signature).is_err() {
            return wrong("it does not verify");
        }
        seen = Ok(());
    }
    seen
}

fn message_id() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}

fn query(zone: &Name, rtype: Rtype, id: u16, recursive: bool) -> Option<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(recursive);
    builder.header_mut().set_ad(recursive);
    let mut question = builder.question();
    let name = WireName::from_octets(zone.as_wire().to_vec()).ok()?;
    question.push((name, WireRtype::from_int(rtype.0))).ok()?;
    let mut additional = question.additional();
    additional
        .opt(|opt| {
            opt.set_udp_payload_size(UDP_SIZE);
            opt.set_dnssec_ok(true);
            Ok(())
        })
        .ok()?;
    Some(additional.finish())
}

fn is_zone(name: &impl ToName, zone: &Name) -> bool {
    let mut wire = Vec::new();
    name.compose(&mut wire).is_ok() && Name::from_wire(&wire).is_ok_and(|name| name == *zone)
}

/// Takes the RRset asked for and its signatures out of an answer.
fn read(reply: &[u8], zone: &Name, rtype: Rtype, id: u16, recursive: bool) -> Result<Answer, AnswerFault> {
    let message = Message::from_octets(reply).map_err(|_| AnswerFault::Malformed)?;
    let header = message.header();
    if header.id() != id || !header.qr() || header.tc() {
        return Err(AnswerFault::NotOurs);
    }
    if header.rcode() != Rcode::NOERROR {
        return Err(AnswerFault::Rcode(header.rcode()));
    }
    if !recursive && !header.aa() {
        return Err(AnswerFault::NotAuthoritative);
    }
    let question = message.sole_question().map_err(|_| AnswerFault::NoQuestion)?;
    if !is_zone(question.qname(), zone) || question.qtype().to_int() != rtype.0 {
        return Err(AnswerFault::OtherQuestion);
    }
    let mut rrset = Rrset { owner: zone.clone(), rtype, ttl: u32::MAX, rdatas: Vec::new() };
    let mut signatures = Vec::new();
    for record in message.answer().map_err(|_| AnswerFault::Malformed)? {
        let record = record.map_err(|_| AnswerFault::Malformed)?;
        if !is_zone(&record.owner(), zone) || record.class() != Class::IN {
            return Err(AnswerFault::OtherName);
        }
        let (found, ttl) = (Rtype(record.rtype().to_int()), record.ttl().as_secs());
        if found != rtype && found != Rtype::RRSIG {
            return Err(AnswerFault::OtherType(found));
        }
        let record = record.into_record::<AllRecordData<_, _>>().map_err(|_| AnswerFault::Malformed)?;
        let Some(record) = record else { return Err(AnswerFault::Malformed) };
        let mut rdata = Vec::new();
        domain::base::rdata::ComposeRecordData::compose_rdata(record.data(), &mut rdata)
            .map_err(|_| AnswerFault::TooLong)?;
        if found == rtype {
            rrset.ttl = rrset.ttl.min(ttl);
            rrset.rdatas.push(rdata.into());
        } else {
            let signature = Rrsig::from_rdata(&rdata).map_err(|_| AnswerFault::Malformed)?;
            if signature.covered == rtype {
                signatures.push(signature);
            }
        }
    }
    Ok(Answer { rrset, signatures, authentic: header.ad() })
}
