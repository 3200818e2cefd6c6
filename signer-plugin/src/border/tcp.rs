//! DNS over TCP (RFC 7766) for our zones and any hickory request handler behind them.
//!
//! hickory's own TCP listener has no limit of connections, ends for good when one `accept` fails, and cannot send more messages
//! for a query than its buffer holds; this one has none of that.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::front::{FrontEnd, Route};
use super::limits::{ConnectionLimiter, ConnectionPermit};
use crate::answer::Transport;

/// Pause after a connection could not be accepted, so that an error that persists (no descriptor is left) does not take a core.
const PAUSE: Duration = Duration::from_millis(10);

/// Accepts connections and answers their queries until `shutdown` is set; then the open ones are closed, each after the answer
/// under way.
pub(super) async fn serve_tcp<H: RequestHandler>(
    listener: TcpListener,
    front: FrontEnd<H>,
    limiter: ConnectionLimiter,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, client)) => match limiter.admit(client.ip()) {
                Ok(permit) => {
                    let connection = Connection { client, permit, shutdown: shutdown.clone() };
                    connections.spawn(connection.run(stream, front.clone()));
                }
                Err(exceeded) => {
                    if let Some(metrics) = front.metrics() {
                        let family = &metrics.tcp_connections_refused_total;
                        family.with_label_values(&[exceeded.label()]).inc();
                    }
                    tracing::debug!(%client, ?exceeded, "too many TCP connections; this one is closed");
                }
            },
            Err(error) => {
                // A connection that went away, or no descriptor left: neither is the end of the listener.
                tracing::debug!(%error, "a TCP connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

struct Connection {
    client: SocketAddr,
    permit: ConnectionPermit,
    shutdown: watch::Receiver<bool>,
}

impl Connection {
    async fn run<H: RequestHandler>(mut self, stream: TcpStream, front: FrontEnd<H>) {
        let _ = stream.set_nodelay(true);
        let (mut reader, writer) = stream.into_split();
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        let mut answer = Vec::with_capacity(512);
        loop {
            let idle_timeout = self.permit.idle_timeout();
            let query = tokio::select! {
                query = timeout(idle_timeout, read_message(&mut reader)) => query,
                _ = self.shutdown.wait_for(|stop| *stop) => return,
            };
            let Ok(Ok(query)) = query else { return };
            let stream = Stream { writer: Arc::clone(&writer), idle_timeout };
            let written = match front.answer(&query, Transport::Stream, &mut answer) {
                Route::Answered => stream.write(&answer).await,
                Route::Others => {
                    match front.answer_others(query, self.client, Protocol::Tcp, stream.clone()).await {
                        Ok(()) => Ok(()),
                        Err(format_error) => stream.write(&format_error).await,
                    }
                }
                Route::Nobody => return,
            };
            if written.is_err() {
                return;
            }
        }
    }
}

async fn read_message(reader: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let len = reader.read_u16().await?;
    let mut message = Vec::new();
    // Memory is taken as octets come, not as the client promises them.
    let read = reader.take(u64::from(len)).read_to_end(&mut message).await?;
    if read < usize::from(len) { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(message) }
}

/// Writes answers to a connection.
#[derive(Clone)]
struct Stream {
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    idle_timeout: Duration,
}

impl Stream {
    async fn write(&self, message: &[u8]) -> io::Result<()> {
        let len = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let framed = [&len.to_be_bytes(), message].concat();
        let mut writer = self.writer.lock().await;
        timeout(self.idle_timeout, writer.write_all(&framed)).await?
    }
}

#[async_trait]
impl ResponseHandler for Stream {
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
        let mut octets = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_max_size(u16::MAX);
        let info = response.destructive_emit(&mut encoder)?;
        self.write(&octets).await.map_err(NetError::from)?;
        Ok(info)
    }
}
