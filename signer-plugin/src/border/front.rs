//! What a listener does with the octets of a query: the engine answers for our zones, octets in and octets out; every other name
//! goes to the inner handler, by way of hickory's types.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hickory_proto::op::{Edns, OpCode};
use hickory_server::net::runtime::TokioTime;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler};
use keystore::dns::name::MAX_NAME;
use metrics::Metrics;
use metrics::queries::RefusedQuery;

use super::SignerHandler;
use crate::answer::query::HEADER;
use crate::answer::{self, AnswerOutcome, Transport};
use crate::seldom::Seldom;
use crate::transfer::request::{self, Outgoing, Reaction, Way};

/// Keeps the message of a query that our code fails at from coming with each such query.
static NOT_ANSWERED: Seldom = Seldom::new();

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

    /// Answers a query of `client` for one of our zones into `out`.
    pub fn answer(&self, query: &[u8], client: SocketAddr, transport: Transport, out: &mut Vec<u8>) -> Route {
        out.clear();
        if query.len() < 12 || query[2] & 0x80 != 0 {
            return Route::Nobody; // too short to answer, or a response
        }
        let Some((name, rtype)) = answer::question(query) else { return Route::Others };
        let mut lower = [0; MAX_NAME];
        let lower = &mut lower[..name.len()];
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let Some(zone) = self.handler.zones.find(lower, rtype) else { return Route::Others };
        let max_udp = self.handler.max_udp;
        let behind_question = HEADER + name.len() + 4;
        // A panic would end the listener; it must cost one answer only.
        let answered = catch_unwind(AssertUnwindSafe(|| {
            if request::concerns(query, rtype, behind_question)
                && let Some(source) = zone.transferable()
            {
                let way = Way { client, transport, max_udp };
                let plain = |query: &[u8], size, out: &mut Vec<u8>| zone.respond(query, transport, size, out);
                match request::react(&source, zone.origin(), query, way, &plain, out) {
                    Reaction::Answered => return Route::Answered,
                    Reaction::Nothing => return Route::Nobody,
                    Reaction::Stream(outgoing) => return Route::Transfer(outgoing),
                    Reaction::Plain => {}
                }
            }
            match zone.respond(query, transport, max_udp, out) {
                AnswerOutcome::Reply(_) => Route::Answered,
                AnswerOutcome::NotOurs => Route::Others,
                AnswerOutcome::Drop => Route::Nobody,
            }
        }));
        match answered {
            Ok(route) => route,
            Err(_) => {
                if let Some(held_back) = NOT_ANSWERED.pass() {
                    tracing::error!(zone = %zone.origin(), held_back, "a query could not be answered; please report this");
                }
                Route::Nobody
            }
        }
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
        self.handler.inner.handle_request::<R, TokioTime>(&request, response).await;
        Ok(())
    }

    fn count(&self, what: RefusedQuery) {
        if let Some(metrics) = &self.metrics {
            metrics.count_refused_query(what);
        }
    }
}

/// FORMERR to the query that begins with these octets.
fn format_error([id0, id1, flags]: [u8; 3]) -> [u8; 12] {
    const QR: u8 = 0x80;
    const OPCODE_AND_RD: u8 = 0x79;
    [id0, id1, QR | flags & OPCODE_AND_RD, 1, 0, 0, 0, 0, 0, 0, 0, 0]
}
