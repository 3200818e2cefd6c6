//! [`InnerAnswer`]: takes the answer of an inner handler, in octets, to where its query came from.

use std::io;

use async_trait::async_trait;
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::server::{ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponse;

/// Where the octets of an answer go.
#[async_trait]
pub(super) trait Deliver: Clone + Send + Sync + Unpin + 'static {
    /// Takes a whole message there.
    async fn deliver(&self, message: Vec<u8>) -> io::Result<()>;
}

/// The largest message that a client takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum MessageLimit {
    /// Over UDP: what the client says, 512 octets where it says nothing, and at most these octets.
    Datagram(u16),
    /// 65535 octets.
    Stream,
}

/// What an inner handler gives its answer to.
#[derive(Clone)]
pub(super) struct InnerAnswer<D> {
    pub to: D,
    pub limit: MessageLimit,
}

#[async_trait]
impl<D: Deliver> ResponseHandler for InnerAnswer<D> {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let limit = match self.limit {
            MessageLimit::Datagram(most) => {
                response.edns().map_or(512, |edns| edns.max_payload().max(512)).min(most)
            }
            MessageLimit::Stream => u16::MAX,
        };
        let mut octets = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_max_size(limit);
        let info = response.destructive_emit(&mut encoder)?;
        self.to.deliver(octets).await.map_err(NetError::from)?;
        Ok(info)
    }
}
