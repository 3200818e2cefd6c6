//! From the octets of a query to the octets of its answer (RFC 1034 section 4.3.2, RFC 4035 section 3.1, RFC 5155 section 7.2, RFC 6672,
//! RFC 6891).
//!
//! ```text
//! octets ──query──▶ Query ──lookup──▶ RRsets ──compose──▶ octets
//! ```
//!
//! Nothing here allocates but the output buffer (and a DNAME's target), and names that exist are found by
//! their hash: no step takes longer in a larger zone but the search of the denial record of a name that does not exist, O(log n).

mod ahead;
mod compose;
mod denial;
pub(crate) mod edns;
pub(crate) mod limit;
mod lookup;
pub(crate) mod names;
pub(crate) mod query;
mod rcode;
mod refusal;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};

use keystore::dns::{Class, Name, Rtype};
use keystore::time::Timestamp;
use metrics::queries::RefusedQuery;

use crate::protocol::QuerySettings;
use crate::protocol::rate_limit::RateVerdict;
use crate::signing::SignedZone;
use crate::zone::NodeId;
pub use ahead::{MOST_AHEAD, look_ahead};
use compose::Composer;
use edns::ReplyOptions;
use limit::AnswerLimit;
use lookup::LookupResult;
use query::{Head, Query};
use rcode::Rcode;
use refusal::Refusal;

/// How a query came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagram: the answer is at most the EDNS size of the query (512 without), and our own limit.
    Udp,
    /// Stream: at most 65535 octets.
    Stream,
}

/// The connection that a query came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFacts {
    /// How long it may be idle, in tenths of a second; `None` where the client is not told.
    pub idle: Option<u16>,
    /// It is TLS.
    pub is_encrypted: bool,
}

/// What is known of a query beside its octets.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Who asks.
    pub client: IpAddr,
    /// How it came.
    pub transport: Transport,
    /// Largest UDP answer that we send, in octets (1232); less than 512 when what is sent is encoded anew and grows.
    pub max_udp: u16,
    /// The connection; `None` over UDP, and where it is not known.
    pub stream: Option<StreamFacts>,
    /// The answer counts against the rate limit; false where it was counted, and where the client is known to be the one it says.
    pub is_limited: bool,
    /// It was signed with a TSIG key that may ask.
    pub is_signed: bool,
    /// Seconds for which the zone may be served yet, where it comes from primaries; `None` = for ever.
    pub expire_left: Option<u32>,
    /// What is said to whom.
    pub settings: &'a QuerySettings,
}

impl Arrival<'_> {
    /// A query of nobody in particular, answered under the default settings.
    #[must_use]
    pub const fn new(transport: Transport, max_udp: u16) -> Self {
        static DEFAULT: QuerySettings = QuerySettings::DEFAULT;
        Self {
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            transport,
            max_udp,
            stream: None,
            is_limited: true,
            is_signed: false,
            expire_left: None,
            settings: &DEFAULT,
        }
    }
}

/// What a query is answered under.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Whence and how it came.
    pub arrival: Arrival<'a>,
    /// The time, so that an expired signature is never served.
    pub now: Timestamp,
}

/// What became of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerOutcome {
    /// `out` holds the answer, of this kind.
    Reply(AnswerKind),
    /// The name is in none of our zones: the next handler's.
    NotOurs,
    /// No answer is due (a response, or too short to answer).
    Drop,
}

/// AnswerKind of an answer, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words are RFC 2308's and RFC 1034's")]
pub enum AnswerKind {
    Positive,
    NoData,
    NxDomain,
    Referral,
    Error,
}

/// Smallest UDP size that every client takes (RFC 1035 section 4.2.1, RFC 6891 section 6.2.3).
const MIN_UDP: u16 = 512;

/// Answers `query` (a whole DNS message) from `zone`; `out` is cleared first.
///
/// - A signature that has expired at `context.now` is never sent: the answer is SERVFAIL with Extended DNS Error 7 instead (RFC 8914).
///   Answers without signatures (no DO bit) are not concerned.
/// - RD is copied, RA, AD and CD are clear (RFC 4035 section 3.1.6). AA is clear in referrals and errors.
/// - A SOA query with the option EXPIRE is answered with it (RFC 7314): SOA EXPIRE, as the zone is ours.
/// - NSID (RFC 5001), ZONEVERSION (RFC 9660) and, over TCP, edns-tcp-keepalive (RFC 7828) are answered where they are asked for.
/// - A query with a cookie is answered with one (RFC 7873, RFC 9018), where the settings have secrets for that.
/// - ANY and RRSIG get one RRset (RFC 8482).
/// - What must be in the answer and does not fit sets TC, with OPT kept and never part of an RRset; what may be left out is left out
///   (RFC 2181 section 9, RFC 9471).
/// - Transfers are REFUSED, other opcodes NOTIMP; TSIG is refused with BADKEY (RFC 8945 section 5.2.1), as no keys are known here.
pub fn answer(zone: &SignedZone, query: &[u8], context: &Context<'_>, out: &mut Vec<u8>) -> AnswerOutcome {
    let outcome = respond(query, Some(zone.zone().origin()), context, out, |query, composer, limit| {
        if matches!(query.question.rtype, Rtype::AXFR | Rtype::IXFR) {
            return Err(Refusal::Transfer);
        }
        if query.question.rtype == Rtype::SOA && query.below == 0 {
            let expire = zone.zone().expire();
            composer.set_expire(context.arrival.expire_left.map_or(expire, |left| left.min(expire)));
        }
        composer.set_earliest_expiration(zone.earliest_zsk_expiration().min(zone.earliest_ksk_expiration()));
        composer.set_zone_version(zone.zone().origin().label_count() as u8, zone.serial());
        Ok(lookup::run(zone, query, composer, limit))
    });
    outcome.into()
}

/// Answers for the zone `origin`, which has nothing to serve yet: SERVFAIL with Extended DNS Error 14, "Not Ready" (RFC 8914), where [`answer`]
/// would look names up.
pub fn answer_not_ready(
    origin: &Name,
    query: &[u8],
    context: &Context<'_>,
    out: &mut Vec<u8>,
) -> AnswerOutcome {
    respond(query, Some(origin), context, out, |_, _, _| Err(Refusal::NotReady)).into()
}

/// Answers a query for a name that no handler of this process has, or one whose question cannot be read: REFUSED with Extended DNS Error 20,
/// "Not Authoritative" (RFC 8914), where nothing else is wrong with it.
pub(crate) fn answer_without_zone(query: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> WithoutZone {
    // The time is that of signatures, and there are none.
    let context = Context { arrival: *arrival, now: Timestamp::EPOCH };
    let outcome = respond(query, None, &context, out, |query, _, _| {
        let is_transfer = matches!(query.question.rtype, Rtype::AXFR | Rtype::IXFR);
        Err(if is_transfer { Refusal::TransferOfOtherZone } else { Refusal::OtherZone })
    });
    match outcome {
        Responded::Answered(_) => WithoutZone::Answered,
        Responded::Refused(refusal) => WithoutZone::Refused(refusal.counted_as()),
        Responded::NotOurs | Responded::Drop => WithoutZone::Drop,
    }
}

/// What became of a query that no zone answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithoutZone {
    /// The answer tells what was asked for.
    Answered,
    /// The answer is a refusal, which is counted so.
    Refused(RefusedQuery),
    /// It gets no answer.
    Drop,
}

/// What became of a query, with the reason of a refusal.
enum Responded {
    Answered(AnswerKind),
    Refused(Refusal),
    NotOurs,
    Drop,
}

impl From<Responded> for AnswerOutcome {
    fn from(responded: Responded) -> Self {
        match responded {
            Responded::Answered(kind) => Self::Reply(kind),
            Responded::Refused(_) => Self::Reply(AnswerKind::Error),
            Responded::NotOurs => Self::NotOurs,
            Responded::Drop => Self::Drop,
        }
    }
}

/// Reads a query, refuses what cannot be answered by any zone, has `look_up` answer the rest, and holds the answer against the limits.
fn respond<F>(
    octets: &[u8],
    origin: Option<&Name>,
    context: &Context<'_>,
    out: &mut Vec<u8>,
    look_up: F,
) -> Responded
where
    F: FnOnce(&Query<'_>, &mut Composer<'_>, &mut AnswerLimit<'_>) -> Result<LookupResult, Refusal>,
{
    out.clear();
    let Some(head) = Head::parse(octets) else { return Responded::Drop };
    let Some(question) = head.question(octets) else {
        return without_question(&head, octets, &context.arrival, out);
    };
    let below = match origin {
        Some(origin) => match question.labels.below(question.name, origin.as_wire()) {
            Some(below) => below,
            None => return Responded::NotOurs,
        },
        None => 0,
    };
    let rest = question.rest(octets);
    let well_formed = rest.is_some();
    let query = Query { head, question, below, rest: rest.unwrap_or_default() };
    let options = ReplyOptions::to(query.rest.edns, &context.arrival);
    let mut limit = AnswerLimit::of(&context.arrival, &options, origin);
    let mut composer = Composer::new(&query, size_limit(&query, &context.arrival), options, context, out);
    let refusal = Refusal::of_any_zone(&query, origin, well_formed, &context.arrival);
    let found = match (refusal, identity(&query, &context.arrival)) {
        (Some(Refusal::OtherClass) | None, Some(text)) => {
            composer.put_identity(text);
            Ok(LookupResult { kind: AnswerKind::Positive, node: NodeId::APEX })
        }
        (Some(refusal), _) => Err(refusal),
        (None, None) => look_up(&query, &mut composer, &mut limit),
    };
    if let Err(refusal) = found {
        composer.refuse(refusal);
    }
    let (kind, node) = found.map_or((AnswerKind::Error, NodeId::APEX), |found| (found.kind, found.node));
    match limit.judge(kind, node) {
        RateVerdict::Send => {}
        RateVerdict::Slip => composer.slip(),
        RateVerdict::Drop => {
            composer.discard();
            return Responded::Drop;
        }
    }
    composer.finish();
    match found {
        Ok(found) => Responded::Answered(found.kind),
        Err(refusal) => Responded::Refused(refusal),
    }
}

/// Class CH, in which servers tell of themselves (RFC 4892).
const CHAOS: Class = Class(3);

/// True for a query for something that this server says of itself, which no handler of names answers in its place.
pub(crate) fn asks_for_identity(query: &[u8], settings: &QuerySettings) -> bool {
    let question = Head::parse(query).and_then(|head| head.question(query));
    question.is_some_and(|asked| asked.class == CHAOS && settings.identity.text(asked.name).is_some())
}

/// What this server says of itself, where a query asks for that.
fn identity<'s>(query: &Query<'_>, arrival: &Arrival<'s>) -> Option<&'s [u8]> {
    let asks = query.question.class == CHAOS && matches!(query.question.rtype, Rtype::TXT | Rtype::ANY);
    let settings = arrival.settings;
    if asks && settings.access.allows_identity(arrival.client) {
        settings.identity.text(query.question.name)
    } else {
        None
    }
}

/// Answers a query that has not exactly one question that can be read. One without any may ask for a cookie alone (RFC 7873 section 5.4).
fn without_question(head: &Head, octets: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> Responded {
    if head.opcode() == 0
        && let Some(edns) = head.rest_without_question(octets).and_then(|rest| rest.edns)
        && edns.version == 0
    {
        let options = ReplyOptions::to(Some(edns), arrival);
        if options.cookie.is_some() {
            // One that slips has what it was asked for.
            let verdict = AnswerLimit::of(arrival, &options, None).judge(AnswerKind::Error, NodeId::APEX);
            if verdict == RateVerdict::Drop {
                return Responded::Drop;
            }
            compose::put_header(head, Rcode::NOERROR, 1, out);
            options.put_opt(edns, arrival.max_udp, Rcode::NOERROR, out);
            return Responded::Answered(AnswerKind::NoData);
        }
    }
    let mut limit = AnswerLimit::of(arrival, &ReplyOptions::default(), None);
    if limit.judge(AnswerKind::Error, NodeId::APEX) != RateVerdict::Send {
        return Responded::Drop;
    }
    let refusal = if head.opcode() == 0 { Refusal::Malformed } else { Refusal::Opcode };
    compose::put_header(head, refusal.rcode(), 0, out);
    Responded::Refused(refusal)
}

/// The name (uncompressed wire form, letter case as it came) and the type that `query` asks for, when it has exactly one question.
pub(crate) fn question(query: &[u8]) -> Option<(&[u8], Rtype)> {
    let question = Head::parse(query)?.question(query)?;
    Some((question.name, question.rtype))
}

fn size_limit(query: &Query<'_>, arrival: &Arrival<'_>) -> usize {
    let limit = match (arrival.transport, query.rest.edns) {
        (Transport::Stream, _) => u16::MAX,
        (Transport::Udp, None) => MIN_UDP.min(arrival.max_udp),
        (Transport::Udp, Some(edns)) => edns.size.max(MIN_UDP).min(arrival.max_udp),
    };
    usize::from(limit)
}
