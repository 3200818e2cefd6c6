//! [`RefuseOthers`]: the inner handler of a server that has our zones and no others.

use async_trait::async_trait;
use hickory_proto::op::{Edns, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

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
        let version = request.edns.as_ref().map_or(0, Edns::version);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let question = request.queries.queries().first();
        let is_transfer =
            question.is_some_and(|query| matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR));
        metadata.response_code = match request.metadata.op_code {
            _ if version > 0 => ResponseCode::BADVERS,
            // RFC 5936 section 2.2.1: the zone is not here; REFUSED is for those that may not have it.
            OpCode::Query if is_transfer => ResponseCode::NotAuth,
            OpCode::Query => ResponseCode::Refused,
            _ => ResponseCode::NotImp,
        };
        if metadata.response_code == ResponseCode::NotImp {
            metadata.recursion_desired = false; // means nothing to such an opcode; named clears it, too
        }
        let edns = request.edns.as_ref().map(|edns| {
            let mut ours = Edns::new();
            ours.set_max_payload(super::MAX_UDP);
            ours.set_dnssec_ok(edns.flags().dnssec_ok);
            ours
        });
        let message = MessageResponseBuilder::new(&request.queries, edns.as_ref()).build_no_records(metadata);
        match response_handle.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, client = %request.src(), "a refusal could not be sent");
                super::nothing(request)
            }
        }
    }
}
