//! A connection to a primary, over TCP or TLS: messages with their length in front, each with a deadline.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use keystore::config::tls::PrimaryTls;
use keystore::tsig::TsigKey;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::fault::TransferFault;
use super::tls::TlsClients;

/// Octets that a primary must send each second on average, once an answer was waited for for [`LookTimes::slow`]: any line that is in use gives more.
const LEAST_RATE: u64 = 1 << 10;

/// What is read from and written to.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A primary, ready to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Primary {
    pub address: SocketAddr,
    pub key: Option<TsigKey>,
    /// It is asked over TLS, and must be who this says.
    pub tls: Option<PrimaryTls>,
}

/// How long a primary may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct LookTimes {
    /// For a look at one primary, with every transfer of it.
    pub whole: Duration,
    /// For the connection, the handshake of TLS, and the sending of a query, each.
    pub connect: Duration,
    /// For the next message.
    pub message: Duration,
    /// For an answer, whatever its rate.
    pub slow: Duration,
}

impl Default for LookTimes {
    fn default() -> Self {
        Self {
            whole: Duration::from_secs(2 * 3600),
            connect: Duration::from_secs(10),
            message: Duration::from_secs(30),
            slow: Duration::from_secs(60),
        }
    }
}

/// The time that a look has, with all its connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct LookTime {
    until: Instant,
    times: LookTimes,
}

impl LookTime {
    /// A look that begins now.
    pub fn of(times: LookTimes) -> Self {
        Self { until: Instant::now() + times.whole, times }
    }

    const fn endless(&self) -> TransferFault {
        TransferFault::Endless { seconds: self.times.whole.as_secs() }
    }
}

/// A connection over TCP or TLS.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    time: LookTime,
    /// How long was waited for the answer to the last query, and the octets of it that have come.
    waited: Duration,
    octets: u64,
}

impl Connection {
    /// Connects, over TLS where the primary wants that.
    pub async fn open(
        primary: &Primary,
        clients: &TlsClients,
        time: LookTime,
    ) -> Result<Self, TransferFault> {
        let Primary { address, tls, .. } = primary;
        let until = || time.until.min(Instant::now() + time.times.connect);
        let stream = timeout_at(until(), TcpStream::connect(address)).await.map_err(io::Error::from)??;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => {
                let shaken = timeout_at(until(), clients.connect(stream, *address, tls)).await;
                Box::new(shaken.map_err(|elapsed| TransferFault::Tls(elapsed.into()))??)
            }
        };
        Ok(Self { stream, time, waited: Duration::ZERO, octets: 0 })
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), TransferFault> {
        let len = u16::try_from(message.len()).map_err(|_| TransferFault::NoQuery)?;
        let framed = [&len.to_be_bytes()[..], message].concat();
        let sent = async {
            self.stream.write_all(&framed).await?;
            self.stream.flush().await
        };
        timeout(self.time.times.connect, sent).await.map_err(io::Error::from)??;
        (self.waited, self.octets) = (Duration::ZERO, 0);
        Ok(())
    }

    /// The next message; `None` where the primary ends the connection instead. The half of the connection that we send on stays open
    /// until the end: some primaries take its end for that of the transfer.
    pub async fn receive(&mut self) -> Result<Option<Vec<u8>>, TransferFault> {
        let (now, times) = (Instant::now(), self.time.times);
        if self.time.until <= now {
            return Err(self.time.endless());
        }
        let waited = self.waited.as_secs();
        if self.waited > times.slow && self.octets < waited * LEAST_RATE {
            return Err(TransferFault::TooSlow { octets: self.octets, seconds: waited });
        }
        let until = self.time.until.min(now + times.message);
        let stream = &mut self.stream;
        let received = timeout_at(until, async {
            let mut len = [0; 2];
            if stream.read(&mut len[..1]).await? == 0 {
                return Ok(None);
            }
            stream.read_exact(&mut len[1..]).await?;
            let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut message).await?;
            Ok::<_, io::Error>(Some(message))
        });
        let received = received.await;
        self.waited += now.elapsed();
        match received {
            Ok(Ok(message)) => {
                self.octets += message.as_ref().map_or(0, |message| message.len() as u64);
                Ok(message)
            }
            Ok(Err(error)) if is_end(error.kind()) => Ok(None),
            Ok(Err(error)) => Err(error.into()),
            Err(_) if self.time.until <= Instant::now() => Err(self.time.endless()),
            Err(_) => Err(TransferFault::Stalled { seconds: times.message.as_secs() }),
        }
    }
}

/// True for the errors by which a connection that was open ends.
const fn is_end(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}
