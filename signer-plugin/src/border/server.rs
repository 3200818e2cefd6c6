//! Listens on UDP and TCP, and hands the queries to a request handler.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use hickory_server::server::RequestHandler;
use keystore::config::tls::ALPN_DOT;
use metrics::Metrics;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo, RcvBufForce, SndBufForce};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::SignerHandler;
use super::certificate::Certificate;
use super::front::FrontEnd;
use super::limits::{ConnectionLimiter, TcpLimits};
use super::others;
#[cfg(feature = "quic")]
use super::quic::Quic;
use super::tcp::{OverTls, Tls, serve_tcp};
use super::udp::UdpThread;
use crate::hosted::Hosted;

/// Longest time that a UDP thread waits before it looks whether it is to end. It is woken for that; this is for systems where that fails.
const UDP_WAIT: Duration = Duration::from_secs(1);

/// Octets of queries that wait while a thread is at work or waits for a core.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Octets of answers on their way, those to hosts included whose link-layer address is still asked for: they must leave room for others.
const SEND_BUFFER: usize = 4 << 20;

/// How to listen.
#[derive(Clone)]
#[non_exhaustive]
pub struct Listen {
    /// Addresses; port 0 = the kernel's choice, the same one for UDP and TCP. Answers leave from the address that was asked, on a wildcard
    /// address too, where that costs a little more for each datagram (`IP_PKTINFO`).
    pub addresses: Vec<SocketAddr>,
    /// Addresses of DNS over TLS (RFC 7858); port 0 = the kernel's choice.
    pub tls: Vec<SocketAddr>,
    /// Addresses of DNS over HTTPS (RFC 8484, HTTP/2 at the path `/dns-query`); port 0 = the kernel's choice.
    #[cfg(feature = "https")]
    pub https: Vec<SocketAddr>,
    /// Addresses of DNS over QUIC (RFC 9250); port 0 = the kernel's choice.
    #[cfg(feature = "quic")]
    pub quic: Vec<SocketAddr>,
    /// For the handshakes of TLS; `None`: the certificate of the signer's configuration (`tls-certificate`), which is read again when the
    /// file changes. The protocols of ALPN in it are not used. Entries of `allow-transfer` that want a
    /// client certificate need a verifier in it that asks for one.
    pub tls_config: Option<Arc<ServerConfig>>,
    /// UDP sockets per address (SO_REUSEPORT), each with a thread of its own; 0 = one per core.
    pub udp_sockets: usize,
    /// Limits of TCP, over all addresses; `None`: those that [`TcpLimits::of_this_process`] gives.
    pub tcp: Option<TcpLimits>,
    /// Where refused queries and connections are counted.
    pub metrics: Option<Arc<Metrics>>,
}

impl Listen {
    /// These addresses, all else by default.
    #[must_use]
    pub fn on(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            tls: Vec::new(),
            #[cfg(feature = "https")]
            https: Vec::new(),
            #[cfg(feature = "quic")]
            quic: Vec::new(),
            tls_config: None,
            udp_sockets: 0,
            tcp: None,
            metrics: None,
        }
    }

    /// The same with DNS over TLS on these addresses.
    #[must_use]
    pub fn with_tls(self, addresses: Vec<SocketAddr>) -> Self {
        Self { tls: addresses, ..self }
    }

    /// The same with DNS over HTTPS on these addresses.
    #[cfg(feature = "https")]
    #[must_use]
    pub fn with_https(self, addresses: Vec<SocketAddr>) -> Self {
        Self { https: addresses, ..self }
    }

    /// The same with DNS over QUIC on these addresses.
    #[cfg(feature = "quic")]
    #[must_use]
    pub fn with_quic(self, addresses: Vec<SocketAddr>) -> Self {
        Self { quic: addresses, ..self }
    }

    /// The same with `config` for the handshakes of TLS, in place of the certificate of the signer's configuration. A certificate that
    /// changes while the server runs is given by its `cert_resolver`.
    #[must_use]
    pub fn with_tls_config(self, config: Arc<ServerConfig>) -> Self {
        Self { tls_config: Some(config), ..self }
    }

    /// The same with these limits of TCP.
    #[must_use]
    pub fn with_tcp_limits(self, limits: TcpLimits) -> Self {
        Self { tcp: Some(limits), ..self }
    }

    /// The same, with refused queries and connections counted in `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: &Metrics) -> Self {
        Self { metrics: Some(Arc::new(metrics.clone())), ..self }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{address}: cannot listen on {transport}: {source}{advice}", advice = advice(source))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// `UDP`, `TCP`, `TLS`, `HTTPS` or `QUIC`.
    pub transport: &'static str,
    /// Error of the call that made, set up or bound the socket.
    pub source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; stop the server that runs there, or choose another address in [signer] listen"
        }
        io::ErrorKind::PermissionDenied => "; ports under 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has the address",
        _ => "",
    }
}

/// A server that answers. Dropping it stops it at once; [`Server::shutdown`] lets answers under way go out.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    tls: Vec<SocketAddr>,
    #[cfg(feature = "https")]
    https: Vec<SocketAddr>,
    #[cfg(feature = "quic")]
    quic: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    threads: Vec<UdpThread>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Serves `handler` alone, whatever it is: a `Catalog`, for instance, with the limits of this server. Otherwise as [`Server::start`].
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn start_any<H: RequestHandler>(listen: &Listen, handler: H) -> Result<Self, BindError> {
        Self::start(listen, &SignerHandler::new(Hosted::default(), handler))
    }

    /// Binds every address, then starts to answer. Nothing is answered when one of them fails. Must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn start<H: RequestHandler>(listen: &Listen, handler: &SignerHandler<H>) -> Result<Self, BindError> {
        let udp_sockets = match listen.udp_sockets {
            0 => available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let mut bound = Vec::new();
        for address in &listen.addresses {
            bound.push(bind(*address, udp_sockets)?);
        }
        let tls = bind_streams(&listen.tls, "TLS")?;
        #[cfg(feature = "https")]
        let https = bind_streams(&listen.https, "HTTPS")?;
        #[cfg(feature = "quic")]
        let quic = bind_quic(&listen.quic)?;
        let front = FrontEnd::new(handler.clone(), listen.metrics.clone());
        let limits = listen.tcp.unwrap_or_else(TcpLimits::of_this_process);
        let limiters = (ConnectionLimiter::new(limits), ConnectionLimiter::new(limits.of_transfers()));
        let (stop, stopped) = watch::channel(false);
        let mut server = Self {
            addresses: Vec::new(),
            tls: tls.iter().map(|(address, _)| *address).collect(),
            #[cfg(feature = "https")]
            https: https.iter().map(|(address, _)| *address).collect(),
            #[cfg(feature = "quic")]
            quic: quic.iter().map(|(address, _)| *address).collect(),
            stop,
            threads: Vec::new(),
            tasks: Vec::new(),
        };
        let (others, queue) = others::queue();
        for Bound { address, udp, tcp } in bound {
            server.addresses.push(address);
            for socket in udp {
                let thread = UdpThread::start(socket, address, front.clone(), others.clone());
                server.threads.push(thread.map_err(|source| BindError {
                    address,
                    transport: "UDP",
                    source,
                })?);
            }
            server.tasks.push(tokio::spawn(serve_tcp(
                (tcp, None),
                front.clone(),
                limiters.clone(),
                stopped.clone(),
            )));
        }
        let certificate =
            |protocol| Certificate::new(listen.tls_config.as_ref(), handler.zones.settings(), protocol);
        let encrypted =
            (ConnectionLimiter::new(limits.of_encrypted()), ConnectionLimiter::new(limits.of_handshakes()));
        let over_tls = [
            (tls, Tls::new(OverTls::Dns, certificate(ALPN_DOT), encrypted.clone())),
            #[cfg(feature = "https")]
            (https, Tls::new(OverTls::Https, certificate(b"h2"), encrypted.clone())),
        ];
        for (listeners, tls) in over_tls {
            for (_, listener) in listeners {
                let listener = (listener, Some(tls.clone()));
                let serve = serve_tcp(listener, front.clone(), limiters.clone(), stopped.clone());
                server.tasks.push(tokio::spawn(serve));
            }
        }
        #[cfg(feature = "quic")]
        for (address, socket) in quic {
            let quic = Quic::new(socket, certificate(b"doq"), encrypted.clone(), stopped.clone())
                .map_err(|source| BindError { address, transport: "QUIC", source })?;
            server.tasks.push(tokio::spawn(quic.serve(front.clone())));
        }
        // It ends when the threads have.
        server.tasks.push(tokio::spawn(others::answer_others(front, queue)));
        Ok(server)
    }

    /// The addresses listened on, in the order asked for, with the ports that the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses of DNS over TLS, likewise.
    #[must_use]
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        &self.tls
    }

    /// The addresses of DNS over HTTPS, likewise.
    #[cfg(feature = "https")]
    #[must_use]
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.https
    }

    /// The addresses of DNS over QUIC, likewise.
    #[cfg(feature = "quic")]
    #[must_use]
    pub fn quic_addresses(&self) -> &[SocketAddr] {
        &self.quic
    }

    /// Takes no more queries, and returns when those under way are answered.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        self.threads.iter().for_each(UdpThread::stop);
        let threads = std::mem::take(&mut self.threads);
        let _ = tokio::task::spawn_blocking(|| threads.into_iter().for_each(UdpThread::join)).await;
        for task in std::mem::take(&mut self.tasks) {
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

struct Bound {
    address: SocketAddr,
    udp: Vec<OwnedFd>,
    tcp: TcpListener,
}

/// Binds TCP first and without SO_REUSEPORT, so that a second server on the address fails instead of taking half of the queries.
fn bind(address: SocketAddr, udp_sockets: usize) -> Result<Bound, BindError> {
    const TRIES: u32 = 20;
    let mut tries = 0;
    loop {
        tries += 1;
        let tcp = bind_tcp(address).map_err(|source| BindError { address, transport: "TCP", source })?;
        let local = tcp.local_addr().map_err(|source| BindError { address, transport: "TCP", source })?;
        let udp: io::Result<Vec<_>> = (0..udp_sockets).map(|_| bind_udp(local)).collect();
        match udp {
            Ok(udp) => return Ok(Bound { address: local, udp, tcp }),
            // The port that the kernel chose for TCP is taken for UDP: another one.
            Err(e) if address.port() == 0 && e.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {}
            Err(source) => return Err(BindError { address, transport: "UDP", source }),
        }
    }
}

fn socket(address: SocketAddr, ty: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), ty, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Listeners of TLS, each with the address that it has.
fn bind_streams(
    addresses: &[SocketAddr],
    transport: &'static str,
) -> Result<Vec<(SocketAddr, TcpListener)>, BindError> {
    let bind = |address: &SocketAddr| {
        let bound = bind_tcp(*address).and_then(|listener| Ok((listener.local_addr()?, listener)));
        bound.map_err(|source| BindError { address: *address, transport, source })
    };
    addresses.iter().map(bind).collect()
}

/// Sockets of QUIC, each with the address that it has.
#[cfg(feature = "quic")]
fn bind_quic(addresses: &[SocketAddr]) -> Result<Vec<(SocketAddr, std::net::UdpSocket)>, BindError> {
    let bind = |address: &SocketAddr| {
        let bound = socket(*address, Type::DGRAM, Protocol::UDP).and_then(|socket| {
            socket.bind(&(*address).into())?;
            let socket = std::net::UdpSocket::from(socket);
            Ok((socket.local_addr()?, socket))
        });
        bound.map_err(|source| BindError { address: *address, transport: "QUIC", source })
    };
    addresses.iter().map(bind).collect()
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    const BACKLOG: i32 = 1024;
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A UDP socket whose datagrams leave in fragments where they have to: what strangers report of the largest datagram of a path is not
/// believed (IP_PMTUDISC_OMIT), as it could make us send fragments that they can replace.
pub(super) fn bind_udp(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_nonblocking(false)?;
    socket.set_reuse_port(true)?;
    socket.set_read_timeout(Some(UDP_WAIT))?;
    // More than the system allows (net.core.rmem_max, wmem_max) is cut by it, but for those who may pass that limit.
    let _ = setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER)
        .map_err(io::Error::from)
        .or_else(|_| socket.set_recv_buffer_size(RECEIVE_BUFFER));
    let _ = setsockopt(&socket, SndBufForce, &SEND_BUFFER)
        .map_err(io::Error::from)
        .or_else(|_| socket.set_send_buffer_size(SEND_BUFFER));
    let is_wildcard = address.ip().is_unspecified();
    if address.is_ipv4() {
        sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::OMIT)?;
        setsockopt(&socket, Ipv4PacketInfo, &is_wildcard)?;
    } else {
        sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::OMIT)?;
        setsockopt(&socket, Ipv6RecvPacketInfo, &is_wildcard)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}
