//! DNS over TCP (RFC 7766) and TLS (RFC 7858) for our zones and any hickory request handler behind them.
//!
//! hickory's own TCP listener has no limit of connections, ends for good when one `accept` fails, and cannot send more messages
//! for a query than its buffer holds; this one has none of that. All queries that were received together are answered into one buffer and
//! written by one system call; a connection that waits holds no buffers.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::RequestHandler;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::certificate::Certificate;
use super::framing::{BatchEnd, PREFIX, StreamQueries, put_message, put_written};
use super::front::{FrontEnd, Via};
use super::inner::{Deliver, InnerAnswer, MessageLimit};
use super::limits::{CLOSING, ConnectionLimiter, ConnectionPermit, HANDSHAKE, MAX_QUERY, QUERY_TIME};
use crate::answer::StreamFacts;
use crate::seldom::Seldom;
use crate::transfer::request::{Outgoing, TransferEnd};
use crate::transfer::{RecordTooLong, TlsPeer};

/// Pause after a connection could not be accepted, so that an error that persists (no descriptor is left) does not take a core.
const PAUSE: Duration = Duration::from_millis(10);
/// Octets a second that the client of a transfer must take on average, after the first minute: each transfer under way keeps its version
/// of the zone in memory.
const LEAST_RATE: u64 = 16_384;
const GRACE: Duration = Duration::from_secs(60);
/// How long a transfer waits while there are too many at once, and how often it is tried.
const MAX_WAIT: Duration = Duration::from_secs(5);
const WAIT_STEP: Duration = Duration::from_millis(50);
/// Octets that are received at once; queries of resolvers that send several fit many times.
const READ: usize = 16_384;
/// Keeps the message that connections cannot be accepted from coming with each of them.
static NOT_ACCEPTED: Seldom = Seldom::new();

/// Accepts connections and answers their queries until `shutdown` is set; then the open ones are closed, each after the answer
/// under way.
pub(super) async fn serve_tcp<H: RequestHandler>(
    (listener, tls): (TcpListener, Option<Tls>),
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
                    let connection = Connection::new(client, permit, shutdown, transfers);
                    let _ = stream.set_nodelay(true);
                    match &tls {
                        None => {
                            let (reader, writer) = stream.into_split();
                            connections.spawn(connection.run(reader, writer, front.clone()))
                        }
                        Some(tls) => {
                            connections.spawn(connection.run_tls(stream, tls.clone(), front.clone()))
                        }
                    };
                }
                Err(exceeded) => {
                    front.count_refused_connection(exceeded.label());
                    tracing::debug!(%client, ?exceeded, "too many TCP connections; this one is closed");
                }
            },
            Err(error) => {
                // A connection that went away, or no descriptor left: neither is the end of the listener.
                if is_of_this_host(&error) {
                    front.count_refused_connection("system");
                    if let Some(held_back) = NOT_ACCEPTED.pass() {
                        tracing::error!(%error, held_back, "TCP connections cannot be accepted; raise the limit of open files");
                    }
                } else {
                    tracing::debug!(%error, "a TCP connection could not be accepted");
                    tokio::task::yield_now().await;
                    continue;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// True for errors of accept(2) that say that this process or host has no descriptor or memory left; the others are of the connection.
fn is_of_this_host(error: &io::Error) -> bool {
    const OF_THIS_HOST: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| OF_THIS_HOST.contains(&errno))
}

/// What is spoken over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OverTls {
    /// DNS over TLS (RFC 7858).
    Dns,
    /// DNS over HTTPS (RFC 8484).
    #[cfg(feature = "https")]
    Https,
}

/// What the connections of listeners of TLS share.
#[derive(Clone)]
pub(super) struct Tls {
    speaks: OverTls,
    certificate: Certificate,
    /// Counts the handshakes under way.
    handshakes: ConnectionLimiter,
    /// Counts the connections, those with a handshake under way included.
    connections: ConnectionLimiter,
}

impl Tls {
    /// With this certificate, and the limits of encrypted connections and of their handshakes.
    pub fn new(
        speaks: OverTls,
        certificate: Certificate,
        (connections, handshakes): (ConnectionLimiter, ConnectionLimiter),
    ) -> Self {
        Self { speaks, certificate, handshakes, connections }
    }
}

struct Connection {
    client: SocketAddr,
    /// What TLS says of the client; `None` = the connection is not encrypted.
    tls: Option<TlsPeer>,
    permit: ConnectionPermit,
    shutdown: watch::Receiver<bool>,
    /// Counts the transfers under way.
    transfers: ConnectionLimiter,
    /// What was received and is not answered: part of a query, or queries behind one that takes time.
    input: Vec<u8>,
    /// When the query that the input begins with must be whole.
    deadline: Option<Instant>,
}

/// What came of the queries that were received together.
struct Turn {
    /// Answers that the system did not take at once.
    unsent: Vec<u8>,
    end: BatchEnd,
}

/// Buffers of a thread, for what is done without waiting: a connection that waits has none.
struct Scratch {
    input: Box<[u8]>,
    answer: Vec<u8>,
    output: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; PREFIX + MAX_QUERY + READ].into_boxed_slice(),
        answer: Vec::new(),
        output: Vec::new(),
    });
}

impl Connection {
    fn new(
        client: SocketAddr,
        permit: ConnectionPermit,
        shutdown: watch::Receiver<bool>,
        transfers: ConnectionLimiter,
    ) -> Self {
        Self { client, tls: None, permit, shutdown, transfers, input: Vec::new(), deadline: None }
    }

    /// Answers what comes over TLS on `stream`. The connection is closed where there is no certificate, where too many such connections or handshakes are
    /// there, and where the handshake does not succeed in its time.
    async fn run_tls<H: RequestHandler>(mut self, stream: TcpStream, tls: Tls, front: FrontEnd<H>) {
        let Some(config) = tls.certificate.now() else { return };
        let Ok(_encrypted) = tls.connections.admit(self.client.ip()) else {
            front.count_refused_connection("tls");
            return;
        };
        let Ok(place) = tls.handshakes.admit(self.client.ip()) else {
            front.count_refused_connection("handshakes");
            return;
        };
        let mut shutdown = self.shutdown.clone();
        let stream = tokio::select! {
            stream = timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)) => stream,
            _ = shutdown.wait_for(|stop| *stop) => return,
        };
        drop(place);
        match stream {
            Ok(Ok(stream)) => match tls.speaks {
                OverTls::Dns => {
                    self.tls = Some(TlsPeer::of(stream.get_ref().1));
                    let (reader, writer) = tokio::io::split(stream);
                    self.run(reader, writer, front).await;
                }
                #[cfg(feature = "https")]
                OverTls::Https => {
                    super::https::serve(stream, self.client, self.permit, shutdown, front).await;
                }
            },
            Ok(Err(error)) => {
                tracing::debug!(client = %self.client, %error, "a handshake of TLS failed");
            }
            Err(_) => {}
        }
    }

    /// Answers what comes by `reader` into `writer`: the halves of a TCP connection, or of TLS on one.
    async fn run<H, R, W>(mut self, reader: R, writer: W, front: FrontEnd<H>)
    where
        H: RequestHandler,
        R: AsyncRead + Unpin,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let is_encrypted = self.tls.is_some();
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        self.answer_until_end(reader, Arc::clone(&writer), front).await;
        if is_encrypted {
            let _ = timeout(CLOSING, async { writer.lock().await.shutdown().await }).await;
        }
    }

    async fn answer_until_end<H, R, W>(
        &mut self,
        mut reader: R,
        writer: Arc<tokio::sync::Mutex<W>>,
        front: FrontEnd<H>,
    ) where
        H: RequestHandler,
        R: AsyncRead + Unpin,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let mut shutdown = self.shutdown.clone();
        let mut has_queries = false;
        loop {
            let idle_timeout = self.permit.idle_timeout();
            let wait = self.deadline.map_or(idle_timeout, |at| at.saturating_duration_since(Instant::now()));
            let answered = poll_fn(|context| {
                if has_queries {
                    let input = std::mem::take(&mut self.input);
                    return SCRATCH.with_borrow_mut(|scratch| {
                        let Scratch { answer, output, .. } = scratch;
                        Poll::Ready(self.answer(context, &input, answer, output, &writer, &front))
                    });
                }
                self.poll_queries(context, &mut reader, &writer, &front)
            });
            let turn = tokio::select! {
                turn = timeout(wait, answered) => turn.unwrap_or_else(|elapsed| Err(elapsed.into())),
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            let Ok(Turn { unsent, end }) = turn else { return };
            let stream = Stream { writer: Arc::clone(&writer), idle_timeout };
            let Some(_kept) = self.permit.keep_unsent(unsent.len()) else { return };
            if stream.write(&unsent).await.is_err() {
                return;
            }
            has_queries = !matches!(end, BatchEnd::Incomplete);
            let written = match end {
                BatchEnd::Incomplete => Ok(()),
                BatchEnd::Full => {
                    // Other connections have their turn.
                    tokio::task::yield_now().await;
                    Ok(())
                }
                BatchEnd::Close => return,
                BatchEnd::Others(query) => {
                    let to = InnerAnswer { to: stream.clone(), limit: MessageLimit::Stream };
                    match front.answer_others(query, self.client, Protocol::Tcp, to).await {
                        Ok(()) => Ok(()),
                        Err(format_error) => stream.write_message(&format_error).await,
                    }
                }
                BatchEnd::Update(update) => {
                    let answer = tokio::select! {
                        answer = update.answer() => answer,
                        _ = shutdown.wait_for(|stop| *stop) => return,
                    };
                    stream.write_message(&answer).await
                }
                BatchEnd::Transfer(mut outgoing) => {
                    let mut message = Vec::new();
                    let sent = self.send(&mut outgoing, &stream, &mut message).await;
                    outgoing.log(&sent);
                    match sent {
                        Ok(()) => Ok(()),
                        Err(TransferEnd::TooMany) => stream.write_message(&message).await,
                        Err(_) => return,
                    }
                }
            };
            if written.is_err() {
                return;
            }
        }
    }

    /// Receives what is there, and answers the whole queries in it.
    fn poll_queries<H: RequestHandler>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &tokio::sync::Mutex<impl AsyncWrite + Unpin>,
        front: &FrontEnd<H>,
    ) -> Poll<io::Result<Turn>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { input, answer, output } = scratch;
            // Part of one query at most.
            let kept = self.input.len();
            input[..kept].copy_from_slice(&self.input);
            let mut room = ReadBuf::new(&mut input[kept..]);
            ready!(Pin::new(reader).poll_read(context, &mut room))?;
            let read = room.filled().len();
            if read == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            Poll::Ready(self.answer(context, &input[..kept + read], answer, output, writer, front))
        })
    }

    /// Answers the whole queries in `octets`, and keeps what is behind them.
    fn answer<H: RequestHandler>(
        &mut self,
        context: &mut Context<'_>,
        octets: &[u8],
        answer: &mut Vec<u8>,
        output: &mut Vec<u8>,
        writer: &tokio::sync::Mutex<impl AsyncWrite + Unpin>,
        front: &FrontEnd<H>,
    ) -> io::Result<Turn> {
        output.clear();
        let mut queries = StreamQueries::new(octets, self.client, answer, output);
        let idle = u16::try_from(self.permit.idle_timeout().as_millis() / 100).unwrap_or(u16::MAX);
        let facts = StreamFacts { idle: Some(idle), is_encrypted: self.tls.is_some() };
        front.answer_all(Via::Stream(facts, self.tls.as_ref()), &mut queries);
        let (read, end) = queries.finish();
        let rest = octets.get(read..).unwrap_or_default();
        if rest.is_empty() {
            (self.input, self.deadline) = (Vec::new(), None);
        } else {
            self.input.clear();
            self.input.extend_from_slice(rest);
            if read > 0 || self.deadline.is_none() {
                self.deadline = Some(Instant::now() + QUERY_TIME.min(self.permit.idle_timeout()));
            }
        }
        let sent = match writer.try_lock() {
            Ok(mut writer) => match Pin::new(&mut *writer).poll_write(context, output) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => 0,
            },
            // An answer of the inner handler is being written.
            Err(_) => 0,
        };
        let unsent = output.get(sent..).unwrap_or_default().to_vec();
        Ok(Turn { unsent, end })
    }
}

/// Octets of a transfer that are handed to the system at once, and one message more.
const AT_ONCE: usize = 32 << 10;

impl Connection {
    /// Sends the messages of a transfer, some at a time, when the client has taken those before: a client that takes nothing for the idle
    /// time loses the connection.
    async fn send(
        &self,
        outgoing: &mut Outgoing,
        stream: &Stream<impl AsyncWrite + Send + Unpin>,
        message: &mut Vec<u8>,
    ) -> Result<(), TransferEnd> {
        let Some(_permit) = self.wait_for_transfer().await else {
            outgoing.turn_away(message);
            return Err(TransferEnd::TooMany);
        };
        outgoing.share();
        let (begun, mut sent, mut octets) = (Instant::now(), 0, Vec::new());
        loop {
            octets.clear();
            while octets.len() < AT_ONCE
                && put_written(&mut octets, RecordTooLong, |octets| outgoing.next(octets))?
            {}
            if octets.is_empty() {
                return Ok(());
            }
            if *self.shutdown.borrow() {
                return Err(TransferEnd::Stop);
            }
            sent += octets.len() as u64;
            let most = GRACE + Duration::from_secs(sent / LEAST_RATE);
            let written = timeout(most.saturating_sub(begun.elapsed()), stream.write_step_by_step(&octets));
            let mut shutdown = self.shutdown.clone();
            tokio::select! {
                written = written => {
                    written.map_err(|_| TransferEnd::TooLong)?.map_err(TransferEnd::Client)?;
                }
                // A client that takes nothing must not keep the server from its end.
                _ = shutdown.wait_for(|stop| *stop) => return Err(TransferEnd::Stop),
            }
            // Others have their turn: transfers that go on side by side share what was composed.
            tokio::task::yield_now().await;
        }
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

/// Writes answers to a connection.
struct Stream<W> {
    writer: Arc<tokio::sync::Mutex<W>>,
    idle_timeout: Duration,
}

impl<W> Clone for Stream<W> {
    fn clone(&self) -> Self {
        Self { writer: Arc::clone(&self.writer), idle_timeout: self.idle_timeout }
    }
}

impl<W: AsyncWrite + Send + Unpin> Stream<W> {
    /// Writes octets, all of them within the idle time.
    async fn write(&self, octets: &[u8]) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        let written = async {
            writer.write_all(octets).await?;
            writer.flush().await
        };
        timeout(self.idle_timeout, written).await?
    }

    /// Writes octets, some of them within each idle time. For how long in all is the caller's to say.
    async fn write_step_by_step(&self, octets: &[u8]) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        let mut rest = octets;
        while !rest.is_empty() {
            match timeout(self.idle_timeout, writer.write(rest)).await?? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                taken => rest = &rest[taken..],
            }
        }
        timeout(self.idle_timeout, writer.flush()).await?
    }

    /// Writes a message behind its length, both together.
    async fn write_message(&self, message: &[u8]) -> io::Result<()> {
        let mut octets = Vec::with_capacity(PREFIX + message.len());
        put_message(&mut octets, message);
        self.write(&octets).await
    }
}

#[async_trait]
impl<W: AsyncWrite + Send + Unpin + 'static> Deliver for Stream<W> {
    async fn deliver(&self, message: Vec<u8>) -> io::Result<()> {
        self.write_message(&message).await
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
