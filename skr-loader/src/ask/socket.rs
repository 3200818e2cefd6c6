//! UDP and TCP with an end to every wait.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::{TRIES, TRY};

pub(super) fn over_udp(
    server: SocketAddr,
    source: Option<IpAddr>,
    query: &[u8],
    id: u16,
    whole: Instant,
) -> io::Result<Vec<u8>> {
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((source.unwrap_or(any), 0))?;
    socket.connect(server)?;
    let mut buffer = [0; 65_535];
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..TRIES {
        if let Err(error) = socket.send(query) {
            last = error;
            continue;
        }
        let until = whole.min(Instant::now() + TRY);
        // Also when others flood the port.
        while let Ok(left) = left(until) {
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut buffer) {
                // Anything else is a late answer to somebody else, or forged.
                Ok(len) if len >= 12 && buffer[..2] == id.to_be_bytes() && buffer[2] & 0x80 != 0 => {
                    return Ok(buffer[..len].to_vec());
                }
                Ok(_) => {}
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
    }
    Err(last)
}

/// A TCP connection that carries DNS messages (RFC 1035 section 4.2.2).
#[derive(Debug)]
pub struct Tcp(TcpStream);

impl Tcp {
    /// Connects before `until`, from `source` where one is given: views are told apart by it over TCP too.
    pub fn connect(server: SocketAddr, source: Option<IpAddr>, until: Instant) -> io::Result<Self> {
        let timeout = left(until)?.min(TRY);
        let Some(source) = source else { return TcpStream::connect_timeout(&server, timeout).map(Self) };
        let domain = Domain::for_address(server);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&server.into(), timeout)?;
        Ok(Self(socket.into()))
    }

    /// Sends one message before `until`.
    pub fn send(&mut self, message: &[u8], until: Instant) -> io::Result<()> {
        self.0.set_write_timeout(Some(left(until)?))?;
        let len = u16::try_from(message.len()).map_err(io::Error::other)?;
        self.0.write_all(&[&len.to_be_bytes()[..], message].concat())
    }

    /// Receives one message whole before `until`.
    pub fn receive(&mut self, until: Instant) -> io::Result<Vec<u8>> {
        let mut len = [0; 2];
        self.fill(&mut len, until)?;
        let mut message = vec![0; u16::from_be_bytes(len).into()];
        self.fill(&mut message, until)?;
        Ok(message)
    }

    /// Fills `buffer`, each octet of it before `until`.
    fn fill(&mut self, mut buffer: &mut [u8], until: Instant) -> io::Result<()> {
        while !buffer.is_empty() {
            self.0.set_read_timeout(Some(left(until)?))?;
            match self.0.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Time until `until`; an error when it has come.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
