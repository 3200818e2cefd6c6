//! DNS over TCP (RFC 7766) for our zones and any hickory request handler behind them.
//!
//! hickory's own TCP listener has no limit of connections, ends for good when one `accept` fails, and cannot send more messages
//! for a query than its buffer holds; this one has none of that.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponse;
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::front::{FrontEnd, Route};
use super::limits::{ConnectionLimiter, ConnectionPermit, MAX_QUERY};
use crate::answer::Transport;
use crate::seldom::Seldom;
use crate::transfer::request::{Outgoing, TransferEnd};

/// Pause after a connection could not be accepted, so that an error that persists (no descriptor is left) does not take a core.
const PAUSE: Duration = Duration::from_millis(10);
/// Octets a second that the client of a transfer must take on average, after the first minute: each transfer under way keeps its version
/// of the zone in memory.
const LEAST_RATE: u64 = 16_384;
const GRACE: Duration = Duration::from_secs(60);
/// How long a transfer waits while there are too many at once, and how often it is tried.
const MAX_WAIT: Duration = Duration::from_secs(5);
const WAIT_STEP: Duration = Duration::from_millis(50);
/// Octets of memory that a connection keeps for its next answer; what a larger answer took is given back when it is sent.
const KEPT_ANSWER: usize = 4096;

/// Keeps the message that connections cannot be accepted from coming with each of them.
static NOT_ACCEPTED: Seldom = Seldom::new();

/// Accepts connections and answers their queries until `shutdown` is set; then the open ones are closed, each after the answer
/// under way.
pub(super) async fn serve_tcp<H: RequestHandler>(
    listener: TcpListener,
    front: FrontEnd<H>,
    (limiter, transfers): (ConnectionLimiter, ConnectionLimiter),
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
                    let (shutdown, transfers) = (shutdown.clone(), transfers.clone());
                    let connection = Connection { client, permit, shutdown, transfers };
                    connections.spawn(connection.run(stream, front.clone()));
                }
                Err(exceeded) => {
                    count_refused(&front, exceeded.label());
                    tracing::debug!(%client, ?exceeded, "too many TCP connections; this one is closed");
                }
            },
            Err(error) => {
                // A connection that went away, or no descriptor left: neither is the end of the listener.
                if is_of_this_host(&error) {
                    count_refused(&front, "system");
                    if let Some(held_back) = NOT_ACCEPTED.pass() {
                        tracing::error!(%error, held_back, "TCP connections cannot be accepted; raise the limit of open files");
                    }
                } else {
                    tracing::debug!(%error, "a TCP connection could not be accepted");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

fn count_refused<H: RequestHandler>(front: &FrontEnd<H>, limit: &str) {
    if let Some(metrics) = front.metrics() {
        metrics.tcp_connections_refused_total.with_label_values(&[limit]).inc();
    }
}

/// True for errors of accept(2) that say that this process or host has no descriptor or memory left; the others are of the connection.
fn is_of_this_host(error: &io::Error) -> bool {
    const OF_THIS_HOST: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| OF_THIS_HOST.contains(&errno))
}

struct Connection {
    client: SocketAddr,
    permit: ConnectionPermit,
    shutdown: watch::Receiver<bool>,
    /// Counts the transfers under way.
    transfers: ConnectionLimiter,
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
            let written = match front.answer_one(&query, self.client, Transport::Stream, &mut answer) {
                Route::Answered => stream.write(&answer).await,
                Route::Transfer(mut outgoing) => {
                    let sent = self.send(&mut outgoing, &stream, &mut answer).await;
                    outgoing.log(&sent);
                    match sent {
                        Ok(()) => Ok(()),
                        Err(TransferEnd::TooMany) => stream.write(&answer).await,
                        Err(_) => return,
                    }
                }
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
            answer.clear();
            answer.shrink_to(KEPT_ANSWER);
        }
    }
}

impl Connection {
    /// Sends the messages of a transfer, each when the client has taken the one before: a client that takes nothing for the idle time
    /// loses the connection.
    async fn send(
        &self,
        outgoing: &mut Outgoing,
        stream: &Stream,
        message: &mut Vec<u8>,
    ) -> Result<(), TransferEnd> {
        let Some(_permit) = self.wait_for_transfer().await else {
            outgoing.turn_away(message);
            return Err(TransferEnd::TooMany);
        };
        let (begun, mut sent) = (Instant::now(), 0);
        while outgoing.next(message)? {
            if *self.shutdown.borrow() {
                return Err(TransferEnd::Stop);
            }
            sent += message.len() as u64;
            if begun.elapsed() > GRACE + Duration::from_secs(sent / LEAST_RATE) {
                return Err(TransferEnd::TooLong);
            }
            let mut shutdown = self.shutdown.clone();
            tokio::select! {
                written = stream.write(message) => written.map_err(TransferEnd::Client)?,
                // A client that takes nothing must not keep the server from its end.
                _ = shutdown.wait_for(|stop| *stop) => return Err(TransferEnd::Stop),
            }
        }
        Ok(())
    }

    /// The right to one of the transfers that may be under way at once; `None` when there is none for too long.
    async fn wait_for_transfer(&self) -> Option<ConnectionPermit> {
        let begun = Instant::now();
        loop {
            match self.transfers.admit(self.client.ip()) {
                Ok(permit) => return Some(permit),
                Err(_) if begun.elapsed() > MAX_WAIT || *self.shutdown.borrow() => return None,
                Err(_) => tokio::time::sleep(WAIT_STEP).await,
            }
        }
    }
}

/// Reads one query. A longer one than [`MAX_QUERY`] is an error as soon as its length is known.
async fn read_message(reader: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let len = reader.read_u16().await?;
    if usize::from(len) > MAX_QUERY {
        return Err(io::ErrorKind::InvalidData.into());
    }
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
        let len = len.to_be_bytes();
        let mut parts = [IoSlice::new(&len), IoSlice::new(message)];
        let mut writer = self.writer.lock().await;
        timeout(self.idle_timeout, write_all(&mut writer, &mut parts)).await?
    }
}

/// Writes the length and the message together, without a copy that has both.
async fn write_all(writer: &mut OwnedWriteHalf, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !parts.is_empty() {
        match writer.write_vectored(parts).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut parts, written),
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_05_only_errors_of_this_host_count_as_connections_that_it_could_not_take() {
        for (errno, of_this_host) in
            [(24, true), (23, true), (105, true), (12, true), (103, false), (1, false), (113, false)]
        {
            assert_eq!(is_of_this_host(&io::Error::from_raw_os_error(errno)), of_this_host, "{errno}");
        }
    }
}
