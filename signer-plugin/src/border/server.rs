//! Listens on UDP and TCP, and hands the queries to a request handler.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::available_parallelism;

use hickory_server::Server as UdpServer;
use hickory_server::server::RequestHandler;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{SignerHandler, TcpLimits, serve_tcp};

/// How to listen.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Addresses; port 0 = the kernel's choice, the same one for UDP and TCP. On a host with several addresses name each: on a
    /// wildcard address the kernel picks the source address of a UDP answer.
    pub addresses: Vec<SocketAddr>,
    /// UDP sockets per address (SO_REUSEPORT); 0 = one per core.
    pub udp_sockets: usize,
    /// Limits of TCP, per address.
    pub tcp: TcpLimits,
}

impl Listen {
    /// These addresses, all else by default.
    #[must_use]
    pub fn on(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses, udp_sockets: 0, tcp: TcpLimits::default() }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{address}: cannot listen on {transport}: {source}{advice}", advice = advice(source))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// `UDP` or `TCP`.
    pub transport: &'static str,
    /// The system's word.
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
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Binds every address, then starts to answer. Nothing is answered when one of them fails. Must be called inside a tokio
    /// runtime.
    pub fn start<H: RequestHandler>(listen: &Listen, handler: &SignerHandler<H>) -> Result<Self, BindError> {
        let udp_sockets = match listen.udp_sockets {
            0 => available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let mut bound = Vec::new();
        for address in &listen.addresses {
            bound.push(bind(*address, udp_sockets)?);
        }
        let (stop, stopped) = watch::channel(false);
        let mut server = Self { addresses: Vec::new(), stop, tasks: Vec::new() };
        for Bound { address, udp, tcp } in bound {
            server.addresses.push(address);
            server.tasks.push(tokio::spawn(serve_udp(udp, handler.clone(), stopped.clone())));
            let handler = Arc::new(handler.clone());
            server.tasks.push(tokio::spawn(serve_tcp(tcp, handler, listen.tcp, stopped.clone())));
        }
        Ok(server)
    }

    /// The addresses listened on, in the order asked for, with the ports that the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Takes no more queries, and returns when those under way are answered.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
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

/// Runs hickory's UDP server on `sockets` until `stopped` is set.
async fn serve_udp<H: RequestHandler>(
    sockets: Vec<UdpSocket>,
    handler: SignerHandler<H>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut server = UdpServer::new(handler);
    for socket in sockets {
        server.register_socket(socket);
    }
    let token = server.shutdown_token().clone();
    let stopper = tokio::spawn(async move {
        // Set, or its sender dropped.
        let _ = stopped.wait_for(|stop| *stop).await;
        token.cancel();
    });
    let ended = server.block_until_done().await;
    stopper.abort();
    if let Err(error) = ended {
        tracing::error!(%error, "a UDP socket failed; queries to it are not answered any more");
    }
}

struct Bound {
    address: SocketAddr,
    udp: Vec<UdpSocket>,
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

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    const BACKLOG: i32 = 1024;
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}
