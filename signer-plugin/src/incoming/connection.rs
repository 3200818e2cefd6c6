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

/// How long the connection, the handshake of TLS, and the sending of a query, may take each.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the next message may take.
pub(super) const PROGRESS: Duration = Duration::from_secs(30);

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

/// The time that a look has, with all its connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct LookTime {
    until: Instant,
    whole: Duration,
}

impl LookTime {
    /// A look that begins now.
    pub fn of(whole: Duration) -> Self {
        Self { until: Instant::now() + whole, whole }
    }
}

/// A connection over TCP or TLS.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    time: LookTime,
}

impl Connection {
    /// Connects, over TLS where the primary wants that.
    pub async fn open(
        primary: &Primary,
        clients: &TlsClients,
        time: LookTime,
    ) -> Result<Self, TransferFault> {
        let Primary { address, tls, .. } = primary;
        let until = || time.until.min(Instant::now() + CONNECT);
        let stream = timeout_at(until(), TcpStream::connect(address)).await.map_err(io::Error::from)??;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => {
                let shaken = timeout_at(until(), clients.connect(stream, *address, tls)).await;
                Box::new(shaken.map_err(|elapsed| TransferFault::Tls(elapsed.into()))??)
            }
        };
        Ok(Self { stream, time })
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), TransferFault> {
        let len = u16::try_from(message.len()).map_err(|_| TransferFault::NoQuery)?;
        let framed = [&len.to_be_bytes()[..], message].concat();
        let sent = async {
            self.stream.write_all(&framed).await?;
            self.stream.flush().await
        };
        timeout(CONNECT, sent).await.map_err(io::Error::from)??;
        Ok(())
    }

    /// The next message; `None` where the primary ends the connection instead. The half of the connection that we send on stays open
    /// until the end: some primaries take its end for that of the transfer.
    pub async fn receive(&mut self) -> Result<Option<Vec<u8>>, TransferFault> {
        let now = Instant::now();
        if self.time.until <= now {
            return Err(TransferFault::Endless { seconds: self.time.whole.as_secs() });
        }
        let until = self.time.until.min(now + PROGRESS);
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
        match received.await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(error)) if is_end(error.kind()) => Ok(None),
            Ok(Err(error)) => Err(error.into()),
            Err(_) if self.time.until <= Instant::now() => {
                Err(TransferFault::Endless { seconds: self.time.whole.as_secs() })
            }
            Err(_) => Err(TransferFault::Stalled { seconds: PROGRESS.as_secs() }),
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
