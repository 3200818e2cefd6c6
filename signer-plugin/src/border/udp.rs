//! DNS over UDP for our zones and any hickory request handler behind them.
//!
//! hickory's own UDP server takes records and encodes them anew, starts a task for each query, and writes log lines for what strangers
//! send; here the engine's octets are sent as they are, by the task that owns the socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponse;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::front::{FrontEnd, Route};
use super::limits::MAX_QUERY;
use crate::answer::Transport;

/// Queries that the inner handler works on at once, a socket; more are dropped, and asked again by their resolvers.
const MAX_OTHERS: usize = 1024;
/// Pause after an error of the socket, so that one that persists does not take a core.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers queries on `socket` until `shutdown` is set; then those that the inner handler works on are answered.
pub(super) async fn serve_udp<H: RequestHandler>(
    socket: UdpSocket,
    front: FrontEnd<H>,
    mut shutdown: watch::Receiver<bool>,
) {
    let socket = Arc::new(socket);
    let mut others = JoinSet::new();
    // A longer query is cut, and then malformed.
    let mut query = [0; MAX_QUERY];
    let mut answer = Vec::with_capacity(MAX_QUERY);
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut query) => received,
            _ = shutdown.wait_for(|stop| *stop) => break,
        };
        while others.try_join_next().is_some() {}
        let (len, client) = match received {
            Ok((len, client)) => (len, client),
            // The answer to somebody else found no port there.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                tracing::debug!(%error, "a UDP query could not be received");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if !can_be_answered(client) {
            continue;
        }
        match front.answer(&query[..len], client, Transport::Udp, &mut answer) {
            Route::Answered => send(&socket, client, &answer).await,
            Route::Others if others.len() < MAX_OTHERS => {
                others.spawn(answer_others(
                    front.clone(),
                    Arc::clone(&socket),
                    client,
                    query[..len].to_vec(),
                ));
            }
            // Transfers of several messages come over TCP only.
            Route::Others | Route::Nobody | Route::Transfer(_) => {}
        }
    }
    while others.join_next().await.is_some() {}
}

async fn answer_others<H: RequestHandler>(
    front: FrontEnd<H>,
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    query: Vec<u8>,
) {
    let response = Datagram { socket: Arc::clone(&socket), client, max_udp: front.max_udp() };
    if let Err(format_error) = front.answer_others(query, client, Protocol::Udp, response).await {
        send(&socket, client, &format_error).await;
    }
}

async fn send(socket: &UdpSocket, client: SocketAddr, answer: &[u8]) {
    if let Err(error) = socket.send_to(answer, client).await {
        tracing::debug!(%client, %error, "an answer could not be sent");
    }
}

/// False for source addresses that nobody can have; answers to them would go to everyone, or back to us.
fn can_be_answered(client: SocketAddr) -> bool {
    client.port() != 0
        && match client.ip().to_canonical() {
            IpAddr::V4(address) => !address.is_unspecified() && !address.is_broadcast(),
            IpAddr::V6(address) => !address.is_unspecified(),
        }
}

/// Sends the answer of the inner handler.
#[derive(Clone)]
struct Datagram {
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    max_udp: u16,
}

#[async_trait]
impl ResponseHandler for Datagram {
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
        let limit = response.edns().map_or(512, |edns| edns.max_payload().max(512)).min(self.max_udp);
        let mut octets = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_max_size(limit);
        let info = response.destructive_emit(&mut encoder)?;
        self.socket.send_to(&octets, self.client).await.map_err(NetError::from)?;
        Ok(info)
    }
}
