//! What the clients of the endpoint may take up. A connection is for one request and short; one that drips or is silent makes
//! room for the next one of its address, so that nobody keeps a health check away or uses up the descriptors that the daemon needs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant as Moment, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::guard::{Guard, Protection};
use super::{HttpRequest, PLAIN, Page};

/// Connections open at once.
const CONNECTIONS: usize = 64;
/// Connections of one address (IPv6: of one /64) open at once.
const PER_ADDRESS: usize = 48;
/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// For the whole head of a request, from its connection on, TLS handshake included.
    pub head: Duration,
    /// To take the whole response: a scrape of ten thousand zones has some megabytes.
    pub response: Duration,
}

/// Those of an endpoint at work.
pub(super) const DEADLINES: Deadlines =
    Deadlines { head: Duration::from_secs(5), response: Duration::from_secs(30) };
/// Time to wait for the client to close, so that it reads the response before the connection ends.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Pause between two connections while many are open: a request that is on its way is read before so many newer ones come that its
/// connection is the oldest.
const CROWDED_PAUSE: Duration = Duration::from_millis(1);
/// Pause after an accept that failed: descriptors have run out, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Largest head of a request, in octets.
const MAX_HEAD: usize = 8 << 10;
/// Header fields of a request, at most.
const MAX_FIELDS: usize = 64;

/// First octet of a TLS handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
/// What a client is told that speaks HTTP without TLS where TLS is spoken.
const NO_TLS: &str = "this endpoint speaks TLS: ask for it with https://\n";

/// Gives the page of a request.
pub(super) trait Respond: Fn(&HttpRequest<'_>) -> Page + Send + Sync + 'static {}

impl<F: Fn(&HttpRequest<'_>) -> Page + Send + Sync + 'static> Respond for F {}

/// Takes connections until it is dropped, which ends those that are open.
pub(super) async fn accept(
    listener: TcpListener,
    respond: Arc<impl Respond>,
    guard: Guard,
    deadlines: Deadlines,
) {
    let mut open = Open::default();
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // The client may be gone already; else it is this host.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
                {
                    tracing::warn!(%error, "no connection to the metrics endpoint can be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        open.make_room(client);
        let (respond, protection) = (Arc::clone(&respond), guard.in_use());
        let from = network(client.ip());
        let task = tokio::spawn(async move {
            if let Err(error) = welcome(stream, (from, deadlines), &*respond, &protection).await {
                tracing::debug!(%client, %error, "an HTTP connection ended early");
            }
        });
        open.0.push(Connection { from, task });
        if open.0.len() >= PER_ADDRESS / 2 {
            tokio::time::sleep(CROWDED_PAUSE).await;
        }
    }
}

/// The open connections, oldest first.
#[derive(Default)]
struct Open(Vec<Connection>);

struct Connection {
    from: IpAddr,
    task: JoinHandle<()>,
}

impl Open {
    /// Ends the oldest connection of this client's network when that has all it may have, and of the network with the most
    /// connections when there are too many in all. Whoever sends its request at once is done long before it is the oldest.
    fn make_room(&mut self, client: SocketAddr) {
        self.0.retain(|connection| !connection.task.is_finished());
        let from = network(client.ip());
        let count = |open: &Self, from| open.0.iter().filter(|c| c.from == from).count();
        if count(self, from) >= PER_ADDRESS {
            self.end_oldest(from);
        } else if self.0.len() >= CONNECTIONS
            // From the newest on, since the last of those that tie is taken: that is the network of the oldest connection.
            && let Some(most) = self.0.iter().rev().map(|c| c.from).max_by_key(|from| count(self, *from))
        {
            self.end_oldest(most);
        }
    }

    fn end_oldest(&mut self, from: IpAddr) {
        if let Some(at) = self.0.iter().position(|connection| connection.from == from) {
            tracing::debug!(client = %from, "too many HTTP connections; the oldest one is closed");
            self.0.remove(at).task.abort();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.iter().for_each(|connection| connection.task.abort());
    }
}

/// An IPv4 address, also where it comes in IPv6; the /64 of an IPv6 address, since a client has all of that.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Speaks TLS with the client, which is in the network `from`, where that is wanted, and answers its request.
async fn welcome(
    mut stream: TcpStream,
    (from, deadlines): (IpAddr, Deadlines),
    respond: &impl Respond,
    protection: &Arc<Protection>,
) -> io::Result<()> {
    let until = Moment::now() + deadlines.head;
    let client = (from, until, deadlines.response);
    let Some(tls) = &protection.tls else { return talk(stream, client, respond, protection).await };
    let mut first = [0];
    if timeout_at(until, stream.peek(&mut first)).await?? > 0 && first != [HANDSHAKE] {
        let page = Page::new("400 Bad Request", PLAIN, NO_TLS);
        return send(&mut stream, &page.octets("GET"), deadlines.response).await;
    }
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    let stream = timeout_at(until, acceptor.accept(stream)).await??;
    if !tls.lets_in(stream.get_ref().1.peer_certificates()) {
        let what = "the certificate of the client has none of client_allowed_sans";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    talk(stream, client, respond, protection).await
}

/// Reads one request of a client in the network `from`, whose head must be there by `until`, and answers it within `response`.
async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    (from, until, response): (IpAddr, Moment, Duration),
    respond: &impl Respond,
    protection: &Arc<Protection>,
) -> io::Result<()> {
    let head = timeout_at(until, read_head(&mut stream)).await??;
    let (mut page, method) = match head.as_deref().map(request) {
        Some(Some(request)) => {
            let page = match timeout(response, protection.admit(&request, from)).await? {
                Ok(()) => respond(&request),
                Err(refusal) => refusal,
            };
            (page, request.method)
        }
        Some(None) => (Page::new("400 Bad Request", PLAIN, "this is no request of HTTP/1.1\n"), "GET"),
        None => {
            let what = format!("the head of a request may have {MAX_HEAD} octets\n");
            (Page::new("431 Request Header Fields Too Large", PLAIN, what), "GET")
        }
    };
    protection.add_fields(&mut page);
    send(&mut stream, &page.octets(method), response).await
}

/// Sends the response and waits until the client has it, which may take so long.
async fn send(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    response: &[u8],
    limit: Duration,
) -> io::Result<()> {
    timeout(limit, async {
        stream.write_all(response).await?;
        stream.shutdown().await
    })
    .await??;
    // Closing with unread octets would reset the connection, and the client might lose the response.
    let mut rest = [0; 4096];
    let drain = async { while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
    // The client may keep its end open as long as it likes.
    let _ = timeout(CLOSE_TIME, drain).await;
    Ok(())
}

/// The head of a request up to the empty line; `None` when it is too long.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let ends = |end: &[u8]| head.windows(end.len()).any(|window| window == end);
        if ends(b"\r\n\r\n") || ends(b"\n\n") {
            return Ok(Some(head));
        }
        if head.len() > MAX_HEAD {
            return Ok(None);
        }
    }
}

/// The request of a head; `None` when it is none of HTTP/1, or has more than [`MAX_FIELDS`] header fields.
pub(crate) fn request(head: &[u8]) -> Option<HttpRequest<'_>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed.parse(head).ok().filter(httparse::Status::is_complete)?;
    let (method, target) = (parsed.method?, parsed.path.filter(|target| target.starts_with('/'))?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fields = parsed.headers.iter().map(|field| (field.name, field.value)).collect();
    Some(HttpRequest { method, path, query, fields })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream as Client};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::Metrics;
    use crate::http::{Endpoint, RunningEndpoint, serve_within};

    /// How long a client waits: long enough on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);
    const TRIES: usize = 5;

    fn serving() -> RunningEndpoint {
        serving_within(DEADLINES)
    }

    fn serving_within(deadlines: Deadlines) -> RunningEndpoint {
        let endpoint = Endpoint::new(Metrics::new().expect("families register"), || 0, |_| None);
        let listen = "127.0.0.1:0".parse().expect("an address");
        let guard = Guard::load(&keystore::config::MetricsConfig::at(listen)).expect("no web-config");
        serve_within(listen, endpoint, guard, deadlines).expect("bind")
    }

    /// The answer to `/healthz`; empty where the connection was ended without one, and something else where nothing came for long.
    fn health(address: SocketAddr) -> String {
        let mut client = Client::connect(address).expect("connect");
        client.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let mut answer = String::new();
        // Both fail where the connection was ended.
        let _ = client.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        match client.read_to_string(&mut answer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => "it waits for others".to_owned(),
            _ => answer,
        }
    }

    /// True when `/healthz` is answered. On a busy machine a client may lose its place to newer ones before it has sent its request, and
    /// asks again.
    fn is_healthy(address: SocketAddr) -> bool {
        let answer = (0..TRIES).map(|_| health(address)).find(|answer| !answer.is_empty());
        answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }

    #[derive(Debug, Clone, Copy)]
    enum Attack {
        /// An octet of a header from time to time.
        Drip,
        /// Nothing at all.
        Silence,
        /// Headers without end.
        EndlessHead,
        /// Requests for the longest page, of which nothing is read.
        NothingRead,
        /// As [`Attack::Drip`], and all that are closed are opened again.
        DripAnew,
    }

    fn attack(kind: Attack, address: SocketAddr, stop: &AtomicBool) {
        let connect = || Client::connect(address).expect("connect");
        let mut clients: Vec<Client> = (0..70).map(|_| connect()).collect();
        let text: &[u8] = match kind {
            Attack::NothingRead => b"GET /metrics HTTP/1.1\r\n\r\n",
            _ => b"GET /healthz HTTP/1.1\r\nX: ",
        };
        for client in &mut clients {
            client.set_nonblocking(true).expect("a flag");
            let _ = client.write_all(text);
        }
        while !stop.load(Ordering::Relaxed) {
            for client in &mut clients {
                let written = match kind {
                    Attack::Drip | Attack::DripAnew => client.write_all(b"x"),
                    Attack::EndlessHead => client.write_all(&[b'x'; 4096]),
                    Attack::Silence | Attack::NothingRead => Ok(()),
                };
                if written.is_err() && matches!(kind, Attack::DripAnew) {
                    *client = connect();
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn kind_08_health_is_answered_beside_70_connections_that_drip_or_hang() {
        for kind in
            [Attack::Drip, Attack::Silence, Attack::EndlessHead, Attack::NothingRead, Attack::DripAnew]
        {
            // Whoever waited for the connections of the attack to end by themselves would wait for an hour.
            let hour = Duration::from_secs(3600);
            let serving = serving_within(Deadlines { head: hour, response: hour });
            let address = serving.address();
            let stop = AtomicBool::new(false);
            let healthy = std::thread::scope(|scope| {
                scope.spawn(|| attack(kind, address, &stop));
                std::thread::sleep(Duration::from_millis(100));
                let healthy = (0..120).filter(|_| is_healthy(address)).count();
                stop.store(true, Ordering::Relaxed);
                healthy
            });
            assert_eq!(healthy, 120, "{kind:?}");
        }
    }

    #[test]
    fn kind_08_other_addresses_are_answered_beside_an_attack_from_many() {
        let serving = serving();
        let address = serving.address();
        let clients: Vec<Client> = (0..200u32)
            .map(|n| {
                // Each from an address of its own; the network 127/8 is this host.
                client_at(Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + n), address)
            })
            .collect();
        assert!((0..20).all(|_| is_healthy(address)));
        drop(clients);
    }

    /// A client of this address, which is one of this host.
    fn client_at(from: Ipv4Addr, address: SocketAddr) -> Client {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("bind");
        socket.connect(&address.into()).expect("connect");
        socket.into()
    }

    #[test]
    fn kind_08_head_that_never_ends_ends_at_its_deadline() {
        let serving = serving();
        let started = Instant::now();
        let mut client = Client::connect(serving.address()).expect("connect");
        let mut writer = client.try_clone().expect("a clone");
        let drip = std::thread::spawn(move || {
            while writer.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let mut answer = Vec::new();
        // A reset is an end, too.
        let _ = client.read_to_end(&mut answer);
        let took = started.elapsed();
        assert!(answer.is_empty(), "nothing was asked");
        assert!(DEADLINES.head <= took && took < DEADLINES.head * 4, "{took:?}");
        drip.join().expect("the client notices");
    }

    #[test]
    fn head_of_more_than_8_kib_is_refused_with_a_status() {
        let serving = serving();
        let mut client = Client::connect(serving.address()).expect("connect");
        client.write_all(b"GET / HTTP/1.1\r\nX: ").expect("write");
        client.write_all(&[b'x'; 3 * MAX_HEAD]).expect("write");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("read");
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[test]
    fn addresses_are_counted_by_what_a_client_has() {
        for (address, counted) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(network(parse(address)), parse(counted), "{address}");
        }
    }

    #[test]
    fn when_networks_tie_the_oldest_connection_is_ended() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _context = runtime.enter();
        let address = |n: usize| IpAddr::from([10, 0, 0, u8::try_from(n).expect("small")]);
        let connection = |from| Connection { from, task: tokio::spawn(std::future::pending()) };
        let mut open = Open((0..CONNECTIONS).map(|n| connection(address(n))).collect());
        open.make_room(SocketAddr::from((address(200), 1)));
        let left: Vec<IpAddr> = open.0.iter().map(|c| c.from).collect();
        assert_eq!(left, (1..CONNECTIONS).map(address).collect::<Vec<_>>(), "the first one is gone");
        // One network has two: its oldest goes, not the oldest of all.
        open.0.push(connection(address(7)));
        open.make_room(SocketAddr::from((address(201), 1)));
        assert_eq!(
            open.0.iter().position(|c| c.from == address(7)),
            Some(CONNECTIONS - 2),
            "its newest stays"
        );
        assert_eq!(open.0[0].from, address(1));
    }
}
