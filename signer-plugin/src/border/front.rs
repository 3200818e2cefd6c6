//! What a listener does with the octets of a query: the engine answers for our zones, octets in and octets out; every other name
//! goes to the inner handler, by way of hickory's types.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, OpCode};
use hickory_server::net::runtime::TokioTime;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler};
use keystore::dns::{Name, Rtype};
use metrics::Metrics;
use metrics::queries::RefusedQuery;

use super::SignerHandler;
use crate::answer::query::{HEADER, Head};
use crate::answer::{self, AnswerOutcome, Arrival, MOST_AHEAD, StreamFacts, Transport, WithoutZone};
use crate::hosted::{Responder, Version, Zones};
use crate::protocol::QuerySettings;
use crate::protocol::rate_limit::RateLimiter;
use crate::seldom::Seldom;
use crate::transfer::TlsPeer;
use crate::transfer::request::{self, Outgoing, Reaction, Sender, UPDATE, Way};
use crate::transfer::update::{self, UpdateReaction, WaitingUpdate};

/// Keeps the message of a query that our code fails at from coming with each such query.
static NOT_ANSWERED: Seldom = Seldom::new();

/// Time for an inner handler: resolvers have asked again long before, and a handler that hangs must keep neither the queries behind it nor the
/// end of the server waiting.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(10);
/// Keeps the message of an inner handler that is too slow from coming with each query.
static OTHERS_TOO_SLOW: Seldom = Seldom::new();

/// The handler and the counters of a server. Cheap to clone.
pub(super) struct FrontEnd<H> {
    handler: SignerHandler<H>,
    metrics: Option<Arc<Metrics>>,
}

impl<H> Clone for FrontEnd<H> {
    fn clone(&self) -> Self {
        Self { handler: self.handler.clone(), metrics: self.metrics.clone() }
    }
}

/// Who answers a query.
pub(super) enum Route {
    /// The answer is in the buffer.
    Answered,
    /// The inner handler, see [`FrontEnd::answer_others`].
    Others,
    /// Nobody: it deserves no answer.
    Nobody,
    /// A transfer of several messages.
    Transfer(Box<Outgoing>),
    /// An update, whose answer comes later.
    Update(Box<WaitingUpdate>),
}

/// Queries that have come in together, one after the other.
pub(super) trait Batch {
    /// Goes on to the next query; false when there is none.
    fn advance(&mut self) -> bool;
    /// The query that is to be answered now.
    fn current(&mut self) -> Received<'_>;
    /// Takes what became of it.
    fn put(&mut self, route: Route);
    /// The current query and those behind it, as far as they are known and find room, where [`LookAheadGain`] says that it pays. Gives their
    /// number.
    fn upcoming<'s>(&'s self, _room: &mut [&'s [u8]; MOST_AHEAD]) -> usize {
        0
    }
}

/// Whether it pays to look ahead at the queries of a listener: most that came of late got records. Floods of what is refused, limited or for
/// somebody else need nothing of what would be read.
#[derive(Debug)]
pub(super) struct LookAheadGain {
    pays: bool,
    /// Queries since that was reckoned, and those of them that got records.
    queries: usize,
    with_records: usize,
}

impl Default for LookAheadGain {
    fn default() -> Self {
        Self { pays: true, queries: 0, with_records: 0 }
    }
}

impl LookAheadGain {
    /// True when most of the queries of late got records.
    pub const fn pays(&self) -> bool {
        self.pays
    }

    /// Takes what became of a query; `answer` is of use only where it was answered.
    pub fn count(&mut self, route: &Route, answer: &[u8]) {
        let counts = answer.get(6..10).unwrap_or_default();
        let has_records = matches!(route, Route::Answered) && counts.iter().any(|octet| *octet != 0);
        self.queries += 1;
        self.with_records += usize::from(has_records);
        if self.queries >= MOST_AHEAD {
            *self = Self { pays: 2 * self.with_records > self.queries, ..Self::default() };
        }
    }
}

/// For which zones the queries ahead were looked at: each is told of them once in so many queries.
#[derive(Default)]
struct LookedAhead<'z> {
    zones: [Option<&'z Arc<dyn Responder>>; 4],
    /// Queries until all are told again.
    left: usize,
}

impl<'z> LookedAhead<'z> {
    /// Tells the version of `zone` from which the current query is answered of the queries ahead, where that is due.
    fn tell(&mut self, zone: &'z Arc<dyn Responder>, version: &mut dyn Version, batch: &impl Batch) {
        if self.left == 0 {
            *self = Self { left: MOST_AHEAD, ..Self::default() };
        }
        self.left -= 1;
        // The zones that there are come first.
        let place = self.zones.iter_mut().find(|told| told.is_none_or(|told| Arc::ptr_eq(told, zone)));
        if let Some(place @ None) = place {
            *place = Some(zone);
            let mut room = [&[][..]; MOST_AHEAD];
            let count = batch.upcoming(&mut room);
            if count > 1 {
                version.look_ahead(&room[..count]);
            }
        }
    }
}

/// A query, and the buffer for its answer.
pub(super) struct Received<'a> {
    pub query: &'a [u8],
    pub client: SocketAddr,
    pub out: &'a mut Vec<u8>,
}

/// How the queries of a batch came in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Via<'c> {
    Datagrams,
    /// Over TCP, or over TLS, which says this of the client.
    Stream(StreamFacts, Option<&'c TlsPeer>),
    /// In an encrypted request or stream of its own, which has one answer at once: a transfer and an update are refused.
    #[cfg(any(feature = "https", feature = "quic"))]
    Single,
}

impl<'c> Via<'c> {
    /// Transfers and updates may come this way.
    const fn has_more_than_answers(self) -> bool {
        match self {
            Self::Datagrams | Self::Stream(..) => true,
            #[cfg(any(feature = "https", feature = "quic"))]
            Self::Single => false,
        }
    }

    /// What TLS says of the client.
    const fn peer(self) -> Option<&'c TlsPeer> {
        match self {
            Self::Stream(_, peer) => peer,
            _ => None,
        }
    }
}

/// A query for one of our zones.
#[derive(Clone, Copy)]
struct Ours<'z> {
    zone: &'z Arc<dyn Responder>,
    rtype: Rtype,
    /// Where the question ends.
    question_end: usize,
}

impl<H: RequestHandler> FrontEnd<H> {
    pub fn new(handler: SignerHandler<H>, metrics: Option<Arc<Metrics>>) -> Self {
        Self { handler, metrics }
    }

    pub fn metrics(&self) -> Option<&Metrics> {
        self.metrics.as_deref()
    }

    /// The largest UDP answer that we send, in octets.
    pub const fn max_udp(&self) -> u16 {
        self.handler.max_udp
    }

    /// Answers the queries of a batch. Those for one zone that follow each other are answered from one version of it.
    pub fn answer_all(&self, via: Via<'_>, batch: &mut impl Batch) {
        let (zones, settings) = self.handler.zones.load_with_settings();
        let mut looked_ahead = LookedAhead::default();
        let mut more = batch.advance();
        while more {
            let Some(first) = find(&zones, batch.current().query) else {
                let received = batch.current();
                let route = or_nobody(None, || self.answer_no_zone(via, &settings, received));
                batch.put(route);
                more = batch.advance();
                continue;
            };
            first.zone.hold(&mut |version| {
                let mut ours = first;
                loop {
                    looked_ahead.tell(ours.zone, version, batch);
                    let route = self.answer(ours, version, (via, &settings), batch.current());
                    batch.put(route);
                    more = batch.advance();
                    match more.then(|| find(&zones, batch.current().query)).flatten() {
                        Some(next) if Arc::ptr_eq(next.zone, ours.zone) => ours = next,
                        _ => return,
                    }
                }
            });
        }
    }

    /// A query for a name that is not ours, or that has no question which can be read.
    fn answer_no_zone(&self, via: Via<'_>, settings: &QuerySettings, received: Received<'_>) -> Route {
        let Received { query, client, out } = received;
        // A handler of names that are not ours has no better answer to a query without one, and none to what is asked of this server.
        let is_for_others =
            || answer::question(query).is_some() && !answer::asks_for_identity(query, settings);
        if !self.handler.alone && is_for_others() {
            return Route::Others;
        }
        let arrival = self.arrival(client, via, settings);
        match answer::answer_without_zone(query, &arrival, out) {
            WithoutZone::Answered => Route::Answered,
            WithoutZone::Refused(counted_as) => {
                self.count(counted_as);
                Route::Answered
            }
            WithoutZone::Drop => Route::Nobody,
        }
    }

    /// The limiter that the answer to a datagram of `client` counts with; `None` where nothing limits it.
    pub fn limiter_of(&self, query: &[u8], client: SocketAddr) -> Option<Arc<RateLimiter>> {
        let settings = self.handler.zones.settings().load();
        answer::limit::limiter_of(query, &self.arrival(client, Via::Datagrams, &settings)).cloned()
    }

    fn arrival<'s>(&self, client: SocketAddr, via: Via<'_>, settings: &'s QuerySettings) -> Arrival<'s> {
        let (transport, stream) = match via {
            Via::Datagrams => (Transport::Udp, None),
            Via::Stream(facts, _) => (Transport::Stream, Some(facts)),
            // RFC 9250 section 5.5.2: such a connection has no idle time to tell of in the message.
            #[cfg(any(feature = "https", feature = "quic"))]
            Via::Single => (Transport::Stream, Some(StreamFacts { idle: None, is_encrypted: true })),
        };
        Arrival {
            client: client.ip(),
            transport,
            max_udp: self.handler.max_udp,
            stream,
            is_limited: true,
            is_signed: false,
            expire_left: None,
            settings,
        }
    }

    /// Answers a query for one of our zones.
    fn answer(
        &self,
        ours: Ours<'_>,
        version: &mut dyn Version,
        (via, settings): (Via<'_>, &QuerySettings),
        received: Received<'_>,
    ) -> Route {
        let Ours { zone, rtype, question_end } = ours;
        let Received { query, client, out } = received;
        let arrival = self.arrival(client, via, settings);
        let Arrival { transport, max_udp, .. } = arrival;
        let way = Way { client, peer: via.peer(), transport, max_udp };
        or_nobody(Some(zone.origin()), || {
            if via.has_more_than_answers()
                && Head::parse(query).is_some_and(|head| head.opcode() == UPDATE)
                && let Some(source) = zone.transferable()
            {
                match update::react(&source, zone.origin(), query, way, out) {
                    UpdateReaction::Answered(sender) => return answered(sender, query, &arrival, out),
                    UpdateReaction::Waits(update) => return Route::Update(update),
                    UpdateReaction::Plain => {}
                }
            }
            if via.has_more_than_answers()
                && request::concerns(query, rtype, question_end)
                && let Some(source) = zone.transferable()
            {
                let plain = |query: &[u8], max_udp, out: &mut Vec<u8>| {
                    // The signature was verified: nobody else has sent it.
                    zone.respond(
                        query,
                        &Arrival { max_udp, is_limited: false, is_signed: true, ..arrival },
                        out,
                    )
                };
                match request::react(&source, zone.origin(), query, way, &plain, out) {
                    Reaction::Answered(sender) => return answered(sender, query, &arrival, out),
                    Reaction::Nothing => return Route::Nobody,
                    Reaction::Stream(outgoing) => return Route::Transfer(outgoing),
                    Reaction::Plain => {}
                }
            }
            match version.respond(query, &arrival, out) {
                AnswerOutcome::Reply(_) => Route::Answered,
                AnswerOutcome::NotOurs => Route::Others,
                AnswerOutcome::Drop => Route::Nobody,
            }
        })
    }

    /// Has the inner handler answer. An error is the FORMERR to send for octets that are no query.
    pub async fn answer_others<R: ResponseHandler>(
        &self,
        query: Vec<u8>,
        client: SocketAddr,
        protocol: Protocol,
        response: R,
    ) -> Result<(), [u8; 12]> {
        let header = [query[0], query[1], query[2]];
        let request = match Request::from_bytes(query, client, protocol) {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!(%client, %error, "a query does not read");
                self.count(RefusedQuery::Malformed);
                return Err(format_error(header));
            }
        };
        self.count(match request.metadata.op_code {
            OpCode::Query if request.edns.as_ref().map_or(0, Edns::version) > 0 => RefusedQuery::EdnsVersion,
            OpCode::Query => RefusedQuery::OtherZone,
            _ => RefusedQuery::Opcode,
        });
        let inner = self.handler.inner();
        let answered = inner.handle_request::<R, TokioTime>(&request, response);
        if tokio::time::timeout(OTHERS_TIMEOUT, answered).await.is_err()
            && let Some(held_back) = OTHERS_TOO_SLOW.pass()
        {
            tracing::warn!(
                held_back,
                "the handler of names that are not ours took too long; the query is dropped"
            );
        }
        Ok(())
    }

    /// Counts a connection that was closed as it came, by the limit that it met.
    pub fn count_refused_connection(&self, limit: &str) {
        if let Some(metrics) = &self.metrics {
            metrics.connections_refused_total.with_label_values(&[limit]).inc();
        }
    }

    fn count(&self, what: RefusedQuery) {
        if let Some(metrics) = &self.metrics {
            metrics.count_refused_query(what);
        }
    }
}

/// Sends an answer, or what the rate limit leaves of it where anybody may have sent the query.
fn answered(sender: Sender, query: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> Route {
    let limiter = match sender {
        Sender::Verified => None,
        Sender::Unknown => answer::limit::limiter_of(query, arrival),
    };
    let is_sent = limiter.is_none_or(|limiter| answer::limit::hold(limiter, arrival.client, out));
    if is_sent { Route::Answered } else { Route::Nobody }
}

/// What `answer` says; nobody where it panics, which would end the listener and must cost one answer only.
fn or_nobody(zone: Option<&Name>, answer: impl FnOnce() -> Route) -> Route {
    catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_| {
        if let Some(held_back) = NOT_ANSWERED.pass() {
            let zone = zone.map(tracing::field::display);
            tracing::error!(zone, held_back, "a query could not be answered; please report this");
        }
        Route::Nobody
    })
}

/// Our zone that a query is for.
fn find<'z>(zones: &'z Zones, query: &[u8]) -> Option<Ours<'z>> {
    let (name, rtype) = answer::question(query)?;
    Some(Ours { zone: zones.find(name, rtype)?, rtype, question_end: HEADER + name.len() + 4 })
}

/// FORMERR to the query that begins with these octets.
fn format_error([id0, id1, flags]: [u8; 3]) -> [u8; 12] {
    const QR: u8 = 0x80;
    const OPCODE_AND_RD: u8 = 0x79;
    [id0, id1, QR | flags & OPCODE_AND_RD, 1, 0, 0, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_ahead_pays_while_most_queries_of_late_got_records() {
        let answer = |answers: u8, authorities: u8| [0, 1, 0x84, 0, 0, 1, 0, answers, 0, authorities, 0, 1];
        let (positive, denied, limited) = (answer(2, 0), answer(0, 6), answer(0, 0));
        let mut gain = LookAheadGain::default();
        for (what, answer, pays) in [
            ("at first", None, true),
            ("positive", Some(positive), true),
            ("refused or with TC alone", Some(limited), false),
            ("dropped", None, false),
            ("negative", Some(denied), true),
        ] {
            for _ in 0..MOST_AHEAD {
                match (what, answer) {
                    ("at first", _) => {}
                    // The buffer has what was answered last.
                    (_, None) => gain.count(&Route::Nobody, &positive),
                    (_, Some(answer)) => gain.count(&Route::Answered, &answer),
                }
            }
            assert_eq!(gain.pays(), pays, "{what}");
        }
    }
}
