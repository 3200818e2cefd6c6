//! The border to hickory: the only module that names its types.
//!
//! Two ways in, over the same zones ([`Hosted`]):
//! - [`SignerHandler`] wraps the user's `Catalog` (or any other request handler). Names of our zones are answered by the engine,
//!   with full control of header, sections and EDNS; all others go to the inner handler. **Take this one.**
//! - [`SignerZoneHandler`] is a member of a chain inside a `Catalog`. `Catalog` composes the message, and that limits it: see there.
//!
//! hickory-server must be built with a DNSSEC feature **and** `metrics`: both add methods to `ZoneHandler`, and a feature that
//! any crate of a build turns on is on for all of them.

mod certificate;
mod convert;
mod datagrams;
mod framing;
mod front;
#[cfg(feature = "https")]
mod https;
mod inner;
mod limits;
mod others;
#[cfg(feature = "quic")]
mod quic;
mod refuse;
pub mod server;
#[cfg(any(feature = "https", feature = "quic"))]
mod single;
mod tcp;
mod udp;
mod zone_handler;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use hickory_proto::op::{Header, HeaderCounts, MessageType, Metadata};
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use keystore::dns::Rtype;

use crate::answer::{AnswerOutcome, Arrival, Transport, asks_for_identity};
use crate::hosted::{Hosted, Responder, Zones};
use crate::protocol::QuerySettings;
use crate::reply::MessageParts;
use convert::HickoryAnswer;

pub use limits::TcpLimits;
pub use refuse::RefuseOthers;
pub use zone_handler::SignerZoneHandler;

/// Largest UDP answer, in octets: fits every path of today without fragments (DNS flag day 2020).
pub const MAX_UDP: u16 = 1232;

/// Answers for our zones, and leaves all else to `H`. Cheap to clone; clones share the zones and the inner handler.
///
/// Which of two nested zones answers is decided by the longest match over our zones and those that [`Hosted::besides`] names.
/// What the configuration says of queries (`allow-query`, cookies, `rate-limit`, NSID) comes with the zones of [`Signer::hosted`]. It holds for
/// our zones and for what is asked of the server itself (class CH); the inner handler decides for itself whom it answers.
///
/// [`Signer::hosted`]: crate::runtime::Signer::hosted
pub struct SignerHandler<H> {
    zones: Hosted,
    inner: Arc<ArcSwap<H>>,
    max_udp: u16,
    /// There is nobody to ask for names that are not ours: the engine refuses them.
    alone: bool,
}

impl<H> Clone for SignerHandler<H> {
    fn clone(&self) -> Self {
        Self {
            zones: self.zones.clone(),
            inner: Arc::clone(&self.inner),
            max_udp: self.max_udp,
            alone: self.alone,
        }
    }
}

impl SignerHandler<RefuseOthers> {
    /// Our zones alone; names outside of them are REFUSED.
    #[must_use]
    pub fn alone(zones: Hosted) -> Self {
        Self { alone: true, ..Self::new(zones, RefuseOthers) }
    }
}

impl<H: RequestHandler> SignerHandler<H> {
    /// Our zones in front of `inner`.
    pub fn new(zones: Hosted, inner: H) -> Self {
        Self { zones, inner: Arc::new(ArcSwap::from_pointee(inner)), max_udp: MAX_UDP, alone: false }
    }

    /// Another limit for UDP answers, in octets; at least 512.
    #[must_use]
    pub fn max_udp(mut self, octets: u16) -> Self {
        self.max_udp = octets.max(512);
        self
    }

    /// Replaces the inner handler, for this handler and all its clones: a query that comes from now on for a name that is not ours is
    /// `inner`'s. Queries that the handler before is at work on are answered by it. A `Catalog`, which cannot be changed while a server has
    /// it, is changed by making a new one; the zone handlers in it are `Arc`s.
    pub fn set_inner(&self, inner: H) {
        self.inner.store(Arc::new(inner));
    }

    /// The inner handler that answers now.
    #[must_use]
    pub fn inner(&self) -> Arc<H> {
        self.inner.load_full()
    }

    /// Has the engine answer what is ours: names of our zones, what is asked of the server itself, and, where there is nobody else, all.
    fn ask(&self, request: &Request) -> Asked {
        let (zones, settings) = self.zones.load_with_settings();
        match zone(&zones, request) {
            Some(zone) => ask(&**zone, request, self.max_udp, &settings),
            None if self.alone || asks_for_identity(request.as_slice(), &settings) => {
                refuse::answer(request, &settings, self.max_udp).map_or(Asked::Drop, Asked::Answer)
            }
            None => Asked::NotOurs,
        }
    }
}

/// The zone that a request is for.
fn zone<'z>(zones: &'z Zones, request: &Request) -> Option<&'z Arc<dyn Responder>> {
    let query = request.queries.queries().first()?;
    zones.find(&convert::wire(query.name()), Rtype(query.query_type().into()))
}

#[async_trait]
impl<H: RequestHandler> RequestHandler for SignerHandler<H> {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let answer = match self.ask(request) {
            Asked::Answer(answer) => answer,
            Asked::NotOurs => return self.inner().handle_request::<R, T>(request, response_handle).await,
            Asked::Drop => return nothing(request),
        };
        match response_handle.send_response(answer.message(&request.queries)).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, client = %request.src(), "an answer could not be sent");
                answer.unsent()
            }
        }
    }
}

/// What came of a request.
enum Asked {
    Answer(HickoryAnswer),
    NotOurs,
    Drop,
}

/// Has the engine answer, and sees to it that what hickory makes of the answer is no larger than the engine was allowed to make
/// it; otherwise hickory would cut it in the middle of an RRset and drop OPT.
fn ask(zone: &dyn Responder, request: &Request, max_udp: u16, settings: &QuerySettings) -> Asked {
    let transport = transport(request.protocol());
    let limit = match transport {
        Transport::Stream => usize::from(u16::MAX),
        Transport::Udp => {
            usize::from(request.edns.as_ref().map_or(512, |e| e.max_payload().max(512)).min(max_udp))
        }
    };
    let question = request.queries.as_bytes().len();
    let mut octets = Vec::with_capacity(512);
    let mut allowed = max_udp;
    // Once for a query, however often the engine is asked.
    let mut is_limited = true;
    loop {
        let arrival = Arrival {
            client: request.src().ip(),
            transport,
            max_udp: allowed,
            stream: None,
            is_limited,
            is_signed: false,
            expire_left: None,
            settings,
        };
        match zone.respond(request.as_slice(), &arrival, &mut octets) {
            AnswerOutcome::Reply(_) => {}
            AnswerOutcome::NotOurs => return Asked::NotOurs,
            AnswerOutcome::Drop => return Asked::Drop,
        }
        let reply = match MessageParts::read(&octets) {
            Ok(reply) => reply,
            Err(error) => {
                tracing::error!(zone = %zone.origin(), %error, "the engine made an answer that does not read");
                return Asked::Answer(servfail(request));
            }
        };
        let surely_fits = reply.uncompressed_len(question) <= limit;
        let answer = HickoryAnswer::from_reply(reply, max_udp);
        if surely_fits {
            return Asked::Answer(answer);
        }
        let len = answer.len(&request.queries);
        if len.is_some_and(|len| len <= limit) {
            return Asked::Answer(answer);
        }
        // hickory needs more octets than the engine: ask again for less. Each turn takes off at least as much as the excess.
        let excess = len.unwrap_or(usize::from(u16::MAX)).saturating_sub(limit).max(1);
        is_limited = false;
        let next = octets.len().min(usize::from(allowed)).saturating_sub(excess);
        match u16::try_from(next) {
            Ok(next) if transport == Transport::Udp && octets.len() <= usize::from(allowed) => allowed = next,
            _ => return Asked::Answer(answer.truncated()),
        }
    }
}

fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Udp => Transport::Udp,
        _ => Transport::Stream,
    }
}

fn servfail(request: &Request) -> HickoryAnswer {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = hickory_proto::op::ResponseCode::ServFail;
    HickoryAnswer {
        metadata,
        answers: Vec::new(),
        authorities: Vec::new(),
        additionals: Vec::new(),
        edns: None,
        tsig: None,
    }
}

/// The return value for a request that gets no answer.
fn nothing(request: &Request) -> ResponseInfo {
    let metadata = Metadata::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
}
