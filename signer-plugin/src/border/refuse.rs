//! [`RefuseOthers`]: the inner handler of a server that has our zones and no others.

use async_trait::async_trait;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};

use super::convert::HickoryAnswer;
use crate::answer::{Arrival, WithoutZone, answer_without_zone};
use crate::protocol::QuerySettings;
use crate::reply::MessageParts;

/// What the engine says to a request that no zone answers; `None`: nothing.
pub(super) fn answer(request: &Request, settings: &QuerySettings, max_udp: u16) -> Option<HickoryAnswer> {
    let transport = super::transport(request.protocol());
    let arrival = Arrival { client: request.src().ip(), settings, ..Arrival::new(transport, max_udp) };
    let mut octets = Vec::with_capacity(512);
    match answer_without_zone(request.as_slice(), &arrival, &mut octets) {
        WithoutZone::Drop => None,
        WithoutZone::Answered | WithoutZone::Refused(_) => {
            MessageParts::read(&octets).ok().map(|reply| HickoryAnswer::from_reply(reply, max_udp))
        }
    }
}

/// Answers every query: REFUSED, NOTAUTH to a transfer, or NOTIMP and BADVERS where the query cannot even be refused as such. Unlike an empty `Catalog` it writes
/// no log line for what a stranger sends.
#[derive(Debug, Clone, Copy, Default)]
pub struct RefuseOthers;

#[async_trait]
impl RequestHandler for RefuseOthers {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let Some(answer) = answer(request, &QuerySettings::DEFAULT, super::MAX_UDP) else {
            return super::nothing(request);
        };
        match response_handle.send_response(answer.message(&request.queries)).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, client = %request.src(), "a refusal could not be sent");
                answer.unsent()
            }
        }
    }
}
