//! [`RefuseOthers`]: the inner handler of a server that has our zones and no others.

use async_trait::async_trait;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};

use super::convert::Answer;
use crate::answer::{Arrival, WithoutZone, answer_without_zone};
use crate::reply::Reply;

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
        let mut octets = Vec::with_capacity(512);
        let arrival = Arrival::new(super::transport(request.protocol()), super::MAX_UDP);
        let outcome = answer_without_zone(request.as_slice(), &arrival, &mut octets);
        let reply = if outcome == WithoutZone::Drop { None } else { Reply::read(&octets).ok() };
        let Some(reply) = reply else {
            return super::nothing(request);
        };
        let answer = Answer::from_reply(reply, super::MAX_UDP);
        match response_handle.send_response(answer.message(&request.queries)).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, client = %request.src(), "a refusal could not be sent");
                answer.unsent()
            }
        }
    }
}
