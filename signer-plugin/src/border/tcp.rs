//! DNS over TCP (RFC 7766) for any hickory request handler.
//!
//! hickory's own TCP listener has no limit of connections, ends for good when one `accept` fails, and cannot send more messages
//! for a query than its buffer holds; this one has none of that.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::net::runtime::TokioTime;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// What clients may take up over TCP.
#[derive(Debug, Clone, Copy)]
pub struct TcpLimits {
    /// Connections open at once, per listener; more are closed as they come.
    pub connections: usize,
    /// Connections open at once from one address.
    pub per_client: usize,
    /// Time for one query to arrive whole, from the answer before it, and for one answer to be taken. A quarter of it when more
    /// than half of the connections are in use.
    pub patience: Duration,
}

impl Default for TcpLimits {
    fn default() -> Self {
        // Some thousand descriptors are what a daemon has without asking; resolvers keep a few connections each; RFC 7766
        // section 6.2.3 wants an idle time of a few seconds.
        Self { connections: 1000, per_client: 100, patience: Duration::from_secs(10) }
    }
}

/// Accepts connections and answers their queries by `handler` until `shutdown` is set; then the open ones are closed, each after
/// the answer under way.
pub async fn serve_tcp<H: RequestHandler>(
    listener: TcpListener,
    handler: Arc<H>,
    limits: TcpLimits,
    mut shutdown: watch::Receiver<bool>,
) {
    let open = Open::default();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, client)) => {
                if let Some(seat) = open.seat(client.ip(), &limits) {
                    let connection = Connection { client, seat, limits, shutdown: shutdown.clone() };
                    connections.spawn(connection.run(stream, Arc::clone(&handler)));
                } else {
                    tracing::debug!(%client, "too many TCP connections; this one is closed");
                }
            }
            Err(error) => {
                // A connection that went away, or no descriptor left: neither is the end of the listener.
                tracing::debug!(%error, "a TCP connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Connections that are open, by client address.
#[derive(Clone, Default)]
struct Open(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Open {
    /// Counts a connection in, if the limits allow it.
    fn seat(&self, client: IpAddr, limits: &TcpLimits) -> Option<Seat> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = counts.values().sum();
        let of_client = counts.get(&client).copied().unwrap_or(0);
        if total >= limits.connections || of_client >= limits.per_client {
            return None;
        }
        counts.insert(client, of_client + 1);
        Some(Seat { open: self.clone(), client })
    }

    fn total(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

/// The place of one connection; given back when dropped.
struct Seat {
    open: Open,
    client: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

struct Connection {
    client: SocketAddr,
    seat: Seat,
    limits: TcpLimits,
    shutdown: watch::Receiver<bool>,
}

impl Connection {
    async fn run<H: RequestHandler>(mut self, stream: TcpStream, handler: Arc<H>) {
        let _ = stream.set_nodelay(true);
        let (mut reader, writer) = stream.into_split();
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        loop {
            let patience = self.patience();
            let query = tokio::select! {
                query = timeout(patience, read_message(&mut reader)) => query,
                _ = self.shutdown.wait_for(|stop| *stop) => return,
            };
            let Ok(Ok(query)) = query else { return };
            let answers = Answers { writer: Arc::clone(&writer), patience };
            if query.get(2).is_none_or(|flags| flags & 0x80 != 0) {
                return; // too short to answer, or a response
            }
            let header = [query[0], query[1], query[2]];
            match Request::from_bytes(query, self.client, Protocol::Tcp) {
                Ok(request) => {
                    handler.handle_request::<_, TokioTime>(&request, answers).await;
                }
                Err(error) => {
                    tracing::debug!(client = %self.client, %error, "a query does not read");
                    if answers.write(&format_error(header)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn patience(&self) -> Duration {
        let crowded = self.seat.open.total() > self.limits.connections / 2;
        if crowded { self.limits.patience / 4 } else { self.limits.patience }
    }
}

/// FORMERR to the query that begins with these octets.
fn format_error([id0, id1, flags]: [u8; 3]) -> [u8; 12] {
    const QR: u8 = 0x80;
    const OPCODE_AND_RD: u8 = 0x79;
    [id0, id1, QR | flags & OPCODE_AND_RD, 1, 0, 0, 0, 0, 0, 0, 0, 0]
}

async fn read_message(reader: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let len = reader.read_u16().await?;
    let mut message = Vec::new();
    // Memory is taken as octets come, not as the client promises them.
    let read = reader.take(u64::from(len)).read_to_end(&mut message).await?;
    if read < usize::from(len) { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(message) }
}

/// Sends answers on a connection.
#[derive(Clone)]
struct Answers {
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    patience: Duration,
}

impl Answers {
    async fn write(&self, message: &[u8]) -> io::Result<()> {
        let len = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let framed = [&len.to_be_bytes(), message].concat();
        let mut writer = self.writer.lock().await;
        timeout(self.patience, writer.write_all(&framed)).await?
    }
}

#[async_trait]
impl ResponseHandler for Answers {
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
