//! DNS over QUIC (RFC 9250): each query and its answer on a stream of their own.
//!
//! What a client can take up is bounded: connections by the limits that TCP has, handshakes under way, the queries of a connection that are
//! under way, those that come to nothing, the time that a query takes to come in and an answer to be taken, and the octets of answers that wait
//! for their clients. A client must first show that it has its address (Retry, RFC 9000 section 8.1.2), so that nobody takes the share of
//! others by datagrams with a forged source; with a token of an earlier connection it need not.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_server::server::RequestHandler;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Endpoint, EndpointConfig, Incoming, ReadToEndError, RecvStream, SendStream, TokioRuntime, VarInt,
};
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::certificate::Certificate;
use super::framing::{PREFIX, put_message};
use super::front::FrontEnd;
use super::limits::{
    CLOSING, ConnectionLimiter, ConnectionPermit, HANDSHAKE, MAX_QUERY, MOST_IN_VAIN, QUERY_TIME,
};
use super::single::answer_one;

/// Codes that connections and streams end with (RFC 9250 section 4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const INTERNAL_ERROR: VarInt = VarInt::from_u32(1);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

/// Queries of a connection that are under way at once.
const MOST_QUERIES: u32 = 100;
/// Octets of answers that a connection sends before the client acknowledges them.
const SEND_WINDOW: u64 = 262_144;
/// First datagrams of clients that wait to be looked at, and octets that are kept of what follows on them.
const MOST_INCOMING: usize = 1024;
const INCOMING_OCTETS: u64 = 1 << 20;
/// How often it is looked whether there is another certificate.
const LOOK: Duration = Duration::from_secs(1);

/// A listener.
pub(super) struct Quic {
    endpoint: Endpoint,
    certificate: Certificate,
    limiter: ConnectionLimiter,
    handshakes: ConnectionLimiter,
    shutdown: watch::Receiver<bool>,
}

impl Quic {
    /// On `socket`, with the limits of connections and of handshakes under way. While there is no certificate nobody is answered.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn new(
        socket: UdpSocket,
        certificate: Certificate,
        (limiter, handshakes): (ConnectionLimiter, ConnectionLimiter),
        shutdown: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
        Ok(Self { endpoint, certificate, limiter, handshakes, shutdown })
    }

    /// Answers until the end of the server.
    pub async fn serve<H: RequestHandler>(self, front: FrontEnd<H>) {
        let mut shutdown = self.shutdown.clone();
        let mut connections = JoinSet::new();
        let mut in_use = SettingsInUse::default();
        loop {
            self.take_certificate(&mut in_use);
            tokio::select! {
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.admit(incoming, &front, &mut connections),
                    None => {
                        tracing::error!("DNS over QUIC has ended: its socket cannot be used any more; restart the server");
                        break;
                    }
                },
                () = tokio::time::sleep(LOOK) => {}
                _ = shutdown.wait_for(|stop| *stop) => break,
            }
            while connections.try_join_next().is_some() {}
        }
        // New connections are refused; those that there are end by themselves.
        self.endpoint.set_server_config(None);
        while connections.join_next().await.is_some() {}
        self.endpoint.close(NO_ERROR, b"");
        let _ = timeout(CLOSING, self.endpoint.wait_idle()).await;
    }

    /// Has new connections use the certificate that there is now.
    fn take_certificate(&self, in_use: &mut SettingsInUse) {
        let now = self.certificate.source();
        let is_same = match (&now, &in_use.source) {
            (Some(now), Some(in_use)) => Arc::ptr_eq(now, in_use),
            (now, in_use) => now.is_none() && in_use.is_none(),
        };
        if !is_same {
            let config = now.as_ref().and_then(|source| in_use.server_config(self.certificate.of(source)));
            self.endpoint.set_server_config(config);
            in_use.source = now;
        }
    }

    /// Begins with a connection, if the limits allow it.
    fn admit<H: RequestHandler>(
        &self,
        incoming: Incoming,
        front: &FrontEnd<H>,
        connections: &mut JoinSet<()>,
    ) {
        let client = incoming.remote_address();
        // Before anything is counted against the address.
        if !incoming.remote_address_validated() {
            let _ = incoming.retry();
            return;
        }
        let (permit, place) = match (self.limiter.admit(client.ip()), self.handshakes.admit(client.ip())) {
            (Ok(permit), Ok(place)) => (permit, place),
            (Err(exceeded), _) => {
                front.count_refused_connection(exceeded.label());
                return incoming.refuse();
            }
            (_, Err(_)) => {
                front.count_refused_connection("handshakes");
                return incoming.refuse();
            }
        };
        let (front, mut shutdown) = (front.clone(), self.shutdown.clone());
        connections.spawn(async move {
            let Ok(connecting) = incoming.accept() else { return };
            let connected = tokio::select! {
                connected = timeout(HANDSHAKE, connecting) => connected,
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            if let Ok(Ok(connection)) = connected {
                drop(place);
                serve_connection(connection, client, permit, shutdown, front).await;
            }
        });
    }
}

/// What new connections use.
#[derive(Default)]
struct SettingsInUse {
    source: Option<Arc<ServerConfig>>,
    /// The settings of connections as they were made first. The key of the tokens by which clients show their address is in them, so that one that a
    /// Retry packet was sent to comes in under the certificate that has taken the place of another one meanwhile.
    settings: Option<quinn::ServerConfig>,
}

impl SettingsInUse {
    /// The settings of connections with this TLS; `None` where that cannot be used for QUIC.
    fn server_config(&mut self, tls: Arc<ServerConfig>) -> Option<quinn::ServerConfig> {
        let crypto = QuicServerConfig::try_from(tls).inspect_err(|error| {
            tracing::error!(%error, "the certificate cannot be used for DNS over QUIC");
        });
        let crypto = Arc::new(crypto.ok()?);
        let config = self.settings.get_or_insert_with(|| settings(Arc::clone(&crypto)));
        config.crypto = crypto;
        Some(config.clone())
    }
}

fn settings(crypto: Arc<QuicServerConfig>) -> quinn::ServerConfig {
    let mut config = quinn::ServerConfig::with_crypto(crypto);
    config.migration(false);
    config.max_incoming(MOST_INCOMING);
    config.incoming_buffer_size(INCOMING_OCTETS / 64).incoming_buffer_size_total(INCOMING_OCTETS);
    let mut transport = quinn::TransportConfig::default();
    let window = VarInt::from_u32((PREFIX + MAX_QUERY) as u32);
    transport
        .max_concurrent_bidi_streams(MOST_QUERIES.into())
        .max_concurrent_uni_streams(0_u32.into())
        .stream_receive_window(window)
        .receive_window(VarInt::from_u32(65_535))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    // Within the handshake, too.
    transport.max_idle_timeout(HANDSHAKE.saturating_mul(4).try_into().ok());
    config.transport_config(Arc::new(transport));
    config
}

/// Why a stream has ended without an answer.
#[derive(Debug, PartialEq, Eq)]
enum Unanswered {
    /// A message that RFC 9250 forbids: its connection ends.
    Forbidden,
    /// The query did not come in time, or the answer was not taken.
    Slow,
    /// This server had no answer, or the client wanted none any more.
    Other,
}

/// Answers the queries of a connection until the client ends it, leaves it idle, or `shutdown` is set.
async fn serve_connection<H: RequestHandler>(
    connection: quinn::Connection,
    client: SocketAddr,
    permit: ConnectionPermit,
    mut shutdown: watch::Receiver<bool>,
    front: FrontEnd<H>,
) {
    let permit = Arc::new(permit);
    let mut queries = JoinSet::new();
    let mut slow = 0;
    let code = loop {
        tokio::select! {
            stream = timeout(permit.idle_timeout(), connection.accept_bi()) => match stream {
                Ok(Ok(stream)) => {
                    queries.spawn(answer_stream(stream, client, Arc::clone(&permit), front.clone()));
                }
                Ok(Err(_)) => return,
                Err(_) if queries.is_empty() => break NO_ERROR,
                // Those under way have deadlines of their own.
                Err(_) => {}
            },
            Some(answered) = queries.join_next() => match answered {
                Ok(Err(Unanswered::Forbidden)) => break PROTOCOL_ERROR,
                Ok(Err(Unanswered::Slow)) => {
                    slow += 1;
                    if slow == MOST_IN_VAIN {
                        break EXCESSIVE_LOAD;
                    }
                }
                _ => {}
            },
            _ = shutdown.wait_for(|stop| *stop) => break NO_ERROR,
        }
    };
    if code == NO_ERROR {
        let _ = timeout(CLOSING, async { while queries.join_next().await.is_some() {} }).await;
    }
    connection.close(code, b"");
}

/// Answers the query of a stream.
async fn answer_stream<H: RequestHandler>(
    (mut send, mut receive): (SendStream, RecvStream),
    client: SocketAddr,
    permit: Arc<ConnectionPermit>,
    front: FrontEnd<H>,
) -> Result<(), Unanswered> {
    let octets = match timeout(QUERY_TIME, receive.read_to_end(PREFIX + MAX_QUERY)).await {
        Ok(Ok(octets)) => octets,
        Ok(Err(ReadToEndError::TooLong)) => return Err(break_off(&mut send)),
        Ok(Err(ReadToEndError::Read(_))) => return Err(Unanswered::Other),
        Err(_) => {
            let _ = receive.stop(EXCESSIVE_LOAD);
            let _ = send.reset(EXCESSIVE_LOAD);
            return Err(Unanswered::Slow);
        }
    };
    let Some(query) = message(&octets).map(<[u8]>::to_vec) else { return Err(break_off(&mut send)) };
    let Some(answer) = answer_one(&front, query, client).await else {
        let _ = send.reset(INTERNAL_ERROR);
        return Err(Unanswered::Other);
    };
    let Some(_kept) = permit.keep_unsent(answer.len()) else {
        let _ = send.reset(EXCESSIVE_LOAD);
        return Err(Unanswered::Other);
    };
    let mut octets = Vec::with_capacity(PREFIX + answer.len());
    put_message(&mut octets, &answer);
    let sent = timeout(permit.idle_timeout(), async {
        if send.write_all(&octets).await.is_ok() && send.finish().is_ok() {
            // The client has it when this returns.
            let _ = send.stopped().await;
        }
    });
    if sent.await.is_err() {
        let _ = send.reset(EXCESSIVE_LOAD);
        return Err(Unanswered::Slow);
    }
    Ok(())
}

/// Ends a stream without an answer, which would end it as if there were an empty one when it is dropped.
fn break_off(send: &mut SendStream) -> Unanswered {
    let _ = send.reset(PROTOCOL_ERROR);
    Unanswered::Forbidden
}

/// The one message behind its length, whose ID is 0 (RFC 9250 section 4.2.1); `None` where it is anything else.
fn message(octets: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = octets.split_first_chunk::<PREFIX>()?;
    let is_whole = usize::from(u16::from_be_bytes(*prefix)) == message.len();
    (is_whole && message.starts_with(&[0, 0])).then_some(message)
}
