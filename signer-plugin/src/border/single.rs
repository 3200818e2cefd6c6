//! A query that comes in a request or on a stream of its own (DNS over HTTPS, DNS over QUIC), and its one answer.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::RequestHandler;

use super::front::{Batch, FrontEnd, Received, Route, Via};
use super::inner::{Deliver, InnerAnswer, MessageLimit};
use super::limits::MAX_QUERY;
use crate::answer::query::HEADER;

/// The answer to `query`; `None` where it deserves none.
pub(super) async fn answer_one<H: RequestHandler>(
    front: &FrontEnd<H>,
    query: Vec<u8>,
    client: SocketAddr,
) -> Option<Vec<u8>> {
    if !(HEADER..=MAX_QUERY).contains(&query.len()) {
        return None;
    }
    let mut single = Single { query: &query, client, answer: Vec::new(), route: None, is_taken: false };
    front.answer_all(Via::Single, &mut single);
    match single.route? {
        Route::Answered => Some(single.answer),
        Route::Others => {
            let kept = Kept::default();
            let to = InnerAnswer { to: kept.clone(), limit: MessageLimit::Stream };
            match front.answer_others(query, client, Protocol::Tcp, to).await {
                Ok(()) => kept.0.lock().unwrap_or_else(PoisonError::into_inner).take(),
                Err(format_error) => Some(format_error.to_vec()),
            }
        }
        // Transfers and updates do not come this way.
        Route::Nobody | Route::Transfer(_) | Route::Update(_) => None,
    }
}

/// A batch of one query.
struct Single<'a> {
    query: &'a [u8],
    client: SocketAddr,
    answer: Vec<u8>,
    route: Option<Route>,
    is_taken: bool,
}

impl Batch for Single<'_> {
    fn advance(&mut self) -> bool {
        !std::mem::replace(&mut self.is_taken, true)
    }

    fn current(&mut self) -> Received<'_> {
        Received { query: self.query, client: self.client, out: &mut self.answer }
    }

    fn put(&mut self, route: Route) {
        self.route = Some(route);
    }
}

/// Keeps the first message that an inner handler answers.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Option<Vec<u8>>>>);

#[async_trait]
impl Deliver for Kept {
    async fn deliver(&self, message: Vec<u8>) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
        Ok(())
    }
}
