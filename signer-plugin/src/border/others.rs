//! UDP queries that are not answered at once: a bounded queue between the threads that receive them and whoever answers on tokio. Names that
//! are not ours are answered by the inner handler, updates when they are served.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::RequestHandler;
use tokio::sync::{Semaphore, mpsc};

use super::datagrams::ReturnPath;
use super::front::FrontEnd;
use super::inner::{Deliver, InnerAnswer, MessageLimit};
use crate::answer::limit;
use crate::protocol::rate_limit::RateLimiter;
use crate::transfer::update::WaitingUpdate;

/// Queries that wait, and queries that the inner handler works on at once, over all sockets. More are dropped, and asked again by their
/// resolvers.
const MOST: usize = 1024;

/// A query that is not answered at once.
pub(super) enum OtherQuery {
    /// For the inner handler.
    Plain { query: Vec<u8>, back: ReturnPath },
    /// An update.
    Update { update: Box<WaitingUpdate>, back: ReturnPath },
}

/// The end of the queue at which queries are put in.
#[derive(Clone)]
pub(super) struct OtherQueries(mpsc::Sender<OtherQuery>);

impl OtherQueries {
    /// Puts a query in; false when the queue is full.
    pub fn offer(&self, make: impl FnOnce() -> OtherQuery) -> bool {
        self.0.try_reserve().map(|place| place.send(make())).is_ok()
    }
}

/// A queue.
pub(super) fn queue() -> (OtherQueries, mpsc::Receiver<OtherQuery>) {
    let (sender, receiver) = mpsc::channel(MOST);
    (OtherQueries(sender), receiver)
}

/// Has the inner handler answer what is in the queue, until all that put queries in are gone and the last query is answered.
pub(super) async fn answer_others<H: RequestHandler>(
    front: FrontEnd<H>,
    mut queue: mpsc::Receiver<OtherQuery>,
) {
    let places = Arc::new(Semaphore::new(MOST));
    let mut under_way = tokio::task::JoinSet::new();
    while let Some(waiting) = queue.recv().await {
        while under_way.try_join_next().is_some() {}
        let (query, back) = match waiting {
            OtherQuery::Plain { query, back } => (query, back),
            // The queue of its zone has bounds of its own.
            OtherQuery::Update { update, back } => {
                under_way.spawn(async move { back.send(&update.answer().await) });
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let front = front.clone();
        under_way.spawn(async move {
            let _place = place;
            let client = back.client();
            let limiter = front.limiter_of(&query, client);
            let response = Response { back, limiter };
            let to = InnerAnswer { to: response.clone(), limit: MessageLimit::Datagram(front.max_udp()) };
            let answered = front.answer_others(query, client, Protocol::Udp, to).await;
            if let Err(format_error) = answered {
                response.send(format_error.to_vec());
            }
        });
    }
    while under_way.join_next().await.is_some() {}
}

/// Sends the answer of the inner handler.
#[derive(Clone)]
struct Response {
    back: ReturnPath,
    /// Limits this answer.
    limiter: Option<Arc<RateLimiter>>,
}

impl Response {
    /// Sends an answer, or what the rate limit leaves of it.
    fn send(&self, mut answer: Vec<u8>) {
        let client = self.back.client().ip();
        if self.limiter.as_ref().is_none_or(|limiter| limit::hold(limiter, client, &mut answer)) {
            self.back.send(&answer);
        }
    }
}

#[async_trait]
impl Deliver for Response {
    async fn deliver(&self, message: Vec<u8>) -> io::Result<()> {
        self.send(message);
        Ok(())
    }
}
