//! From the octets of a query to the octets of its answer (RFC 1034 section 4.3.2, RFC 4035 section 3.1, RFC 5155 section 7.2, RFC 6672,
//! RFC 6891).
//!
//! ```text
//! octets ──query──▶ Query ──lookup──▶ RRsets ──compose──▶ octets
//! ```
//!
//! Nothing here allocates but the output buffer (and a DNAME's target), and names that exist are found by
//! their hash: no step takes longer in a larger zone but the search of the denial record of a name that does not exist, O(log n).

mod compose;
mod denial;
mod lookup;
pub(crate) mod names;
pub(crate) mod query;
#[cfg(test)]
mod tests;

use keystore::dns::{Class, Rtype};
use keystore::time::Timestamp;

use crate::signing::SignedZone;
use compose::{Composer, Rcode};
use query::{Head, Query};

/// How a query came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagram: the answer is at most the EDNS size of the query (512 without), and our own limit.
    Udp,
    /// Stream: at most 65535 octets.
    Stream,
}

/// What a query is answered under.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// How it came.
    pub transport: Transport,
    /// Largest UDP answer that we send, in octets (1232); less than 512 when what is sent is encoded anew and grows.
    pub max_udp: u16,
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
/// - ANY and RRSIG get one RRset (RFC 8482).
/// - What must be in the answer and does not fit sets TC, with OPT kept and never part of an RRset; what may be left out is left out
///   (RFC 2181 section 9, RFC 9471).
/// - Transfers are REFUSED, other opcodes NOTIMP; TSIG is refused with BADKEY (RFC 8945 section 5.2.1), as no keys are known here.
pub fn answer(zone: &SignedZone, query: &[u8], context: &Context, out: &mut Vec<u8>) -> AnswerOutcome {
    out.clear();
    let Some(head) = Head::parse(query) else { return AnswerOutcome::Drop };
    let Some(question) = head.question(query) else {
        let rcode = if head.opcode() == 0 { Rcode::FORMERR } else { Rcode::NOTIMP };
        Composer::without_question(&head, rcode, out);
        return AnswerOutcome::Reply(AnswerKind::Error);
    };
    let Some(below) = question.labels.below(question.name, zone.zone().origin().as_wire()) else {
        return AnswerOutcome::NotOurs;
    };
    let rest = question.rest(query);
    let well_formed = rest.is_some();
    let query = Query { head, question, below, rest: rest.unwrap_or_default() };
    let mut composer = Composer::new(&query, size_limit(&query, context), context, out);
    let rcode = match query.question.rtype {
        _ if query.head.opcode() != 0 => Rcode::NOTIMP,
        _ if !well_formed => Rcode::FORMERR,
        _ if query.rest.edns.is_some_and(|edns| edns.version > 0) => Rcode::BADVERS,
        _ if query.rest.tsig.is_some() => Rcode::NOTAUTH,
        _ if query.question.class != Class::IN => Rcode::REFUSED,
        Rtype::AXFR | Rtype::IXFR => Rcode::REFUSED,
        // No data can be of these types (RFC 6895 section 3.1); 128 is NXNAME (RFC 9824 section 3.1).
        Rtype(0) | Rtype::OPT | Rtype(128) | Rtype::TSIG => Rcode::FORMERR,
        Rtype(129..=254) => Rcode::NOTIMP,
        _ => Rcode::NOERROR,
    };
    if rcode != Rcode::NOERROR {
        composer.refuse(rcode);
        return AnswerOutcome::Reply(AnswerKind::Error);
    }
    if query.question.rtype == Rtype::SOA && query.below == 0 {
        composer.set_expire(zone.zone().expire());
    }
    let kind = lookup::run(zone, &query, &mut composer);
    composer.finish();
    AnswerOutcome::Reply(kind)
}

/// The name (uncompressed wire form, letter case as it came) and the type that `query` asks for, when it has exactly one question.
pub(crate) fn question(query: &[u8]) -> Option<(&[u8], Rtype)> {
    let question = Head::parse(query)?.question(query)?;
    Some((question.name, question.rtype))
}

fn size_limit(query: &Query<'_>, context: &Context) -> usize {
    let limit = match (context.transport, query.rest.edns) {
        (Transport::Stream, _) => u16::MAX,
        (Transport::Udp, None) => MIN_UDP.min(context.max_udp),
        (Transport::Udp, Some(edns)) => edns.size.max(MIN_UDP).min(context.max_udp),
    };
    usize::from(limit)
}
