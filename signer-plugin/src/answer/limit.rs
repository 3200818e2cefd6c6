//! The rate limit of answers: of those that the engine composes, by what they will be; of others, those to transfers and those of the inner
//! handler, by their octets.

use std::net::IpAddr;
use std::sync::Arc;

use keystore::dns::{Name, Rtype};

use super::edns::ReplyOptions;
use super::query::{HEADER, Head};
use super::{AnswerKind, Arrival, Transport};
use crate::protocol::rate_limit::{AnswerClass, AnswerGroup, RateLimiter, RateVerdict};
use crate::reply::{MessageParts, Rr};
use crate::zone::NodeId;

/// The node of these answers, which is that of no name of a zone of ours.
const NO_NODE: u32 = u32::MAX;
const NXDOMAIN: u16 = 3;

/// Whether the answer to a query is within the limits, decided once.
pub(super) struct AnswerLimit<'a> {
    /// `None` where nothing limits it.
    limiter: Option<&'a RateLimiter>,
    client: IpAddr,
    /// Apex of the zone that answers, in wire form; empty where none does.
    zone: &'a [u8],
    verdict: Option<RateVerdict>,
}

impl<'a> AnswerLimit<'a> {
    /// Over TCP, and with a good cookie, the client has not forged its address, and nothing is limited.
    pub fn of(arrival: &Arrival<'a>, options: &ReplyOptions<'_>, zone: Option<&'a Name>) -> Self {
        let is_known =
            arrival.transport != Transport::Udp || options.cookie.is_some_and(|cookie| cookie.is_good);
        Self {
            limiter: arrival.settings.limiter.as_deref().filter(|_| arrival.is_limited && !is_known),
            client: arrival.client,
            zone: zone.map_or(&[], Name::as_wire),
            verdict: None,
        }
    }

    /// Counts the answer, unless that was done, and says what becomes of it. `node` is where it comes from: the name, or the wildcard, DNAME or
    /// delegation for it. All that one of these gives are one kind, and all that say that something does not exist are one kind for a zone.
    pub fn judge(&mut self, kind: AnswerKind, node: NodeId) -> RateVerdict {
        let Some(limiter) = self.limiter else { return RateVerdict::Send };
        let (class, node) = match kind {
            AnswerKind::Positive => (AnswerClass::Positive, node.position() as u32),
            AnswerKind::Referral => (AnswerClass::Referral, node.position() as u32),
            AnswerKind::NoData => (AnswerClass::NoData, 0),
            AnswerKind::NxDomain => (AnswerClass::NxDomain, 0),
            AnswerKind::Error => (AnswerClass::Error, 0),
        };
        let group = AnswerGroup { class, zone: self.zone, node };
        *self.verdict.get_or_insert_with(|| limiter.judge(self.client, group, limiter.now()))
    }
}

/// The limiter that the answer to `query` counts with; `None` where nothing limits it: nothing is configured, or the client is known to have
/// the address that it says, by its TCP connection or by a good cookie.
pub(crate) fn limiter_of<'s>(query: &[u8], arrival: &Arrival<'s>) -> Option<&'s Arc<RateLimiter>> {
    let limiter = arrival.settings.limiter.as_ref()?;
    let is_over_udp = arrival.is_limited && arrival.transport == Transport::Udp;
    (is_over_udp && !has_good_cookie(query, arrival)).then_some(limiter)
}

fn has_good_cookie(query: &[u8], arrival: &Arrival<'_>) -> bool {
    let rest = Head::parse(query).and_then(|head| head.question(query)?.rest(query));
    let edns = rest.and_then(|rest| rest.edns);
    ReplyOptions::to(edns, arrival).cookie.is_some_and(|cookie| cookie.is_good)
}

/// Counts `answer` to `client`. True when it is to be sent; it may be header and question with TC by then, so that a client comes back over
/// TCP.
pub(crate) fn hold(limiter: &RateLimiter, client: IpAddr, answer: &mut Vec<u8>) -> bool {
    let (class, zone) = class_of(answer);
    let group = AnswerGroup { class, zone: zone.as_ref().map_or(&[], Name::as_wire), node: NO_NODE };
    match limiter.judge(client, group, limiter.now()) {
        RateVerdict::Send => true,
        RateVerdict::Slip => cut(answer),
        RateVerdict::Drop => false,
    }
}

/// The class of an answer, and the name that it counts with: all that deny names of one zone count together, and all records of names with
/// the same parent, as a wildcard may stand for them.
fn class_of(answer: &[u8]) -> (AnswerClass, Option<Name>) {
    let Ok(reply) = MessageParts::read(answer) else { return (AnswerClass::Error, None) };
    let owner_of = |rtype: Rtype| {
        let found = reply.authorities.iter().find(|rr: &&Rr| rr.rtype == rtype);
        found.map(|rr| rr.owner.to_lowercase())
    };
    let parent = || reply.answers.first().and_then(|rr| rr.owner.to_lowercase().parent());
    match (reply.rcode(), owner_of(Rtype::SOA)) {
        (NXDOMAIN, apex) => (AnswerClass::NxDomain, apex),
        (1.., _) => (AnswerClass::Error, None),
        (0, _) if !reply.answers.is_empty() => (AnswerClass::Positive, parent()),
        (0, Some(apex)) => (AnswerClass::NoData, Some(apex)),
        (0, None) => match owner_of(Rtype::NS) {
            Some(cut) => (AnswerClass::Referral, Some(cut)),
            None => (AnswerClass::NoData, None),
        },
    }
}

/// Leaves header and question, with TC; false where there is no question.
fn cut(answer: &mut Vec<u8>) -> bool {
    const TC: u8 = 2;
    let len =
        answer.get(HEADER..).and_then(keystore::dns::name::wire_len).map_or(0, |name| HEADER + name + 4);
    let Some(head) = answer.get_mut(..HEADER).filter(|head| head[4..6] == [0, 1]) else { return false };
    head[2] |= TC;
    head[6..].fill(0);
    answer.truncate(len);
    answer.len() == len && len > HEADER
}
