//! From the octets of a query to the octets of its answer (RFC 1034 section 4.3.2, RFC 4035 section 3.1, RFC 6672, RFC 6891).

use keystore::time::Timestamp;

use crate::signing::SignedZone;

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
    /// Largest UDP answer that we send, in octets (1232).
    pub max_udp: u16,
    /// The time, so that an expired signature is never served.
    pub now: Timestamp,
}

/// What became of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// `out` holds the answer, of this kind.
    Reply(Kind),
    /// The name is in none of our zones: the next handler's.
    NotOurs,
    /// No answer is due (a response, or too short to answer).
    Drop,
}

/// Kind of an answer, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words are RFC 2308's and RFC 1034's")]
pub enum Kind {
    Positive,
    NoData,
    NxDomain,
    Referral,
    Error,
}

/// Answers `query` (a whole DNS message) from `zone`; `out` is cleared first.
pub fn answer(_zone: &SignedZone, _query: &[u8], _context: &Context, _out: &mut Vec<u8>) -> Outcome {
    todo!()
}
