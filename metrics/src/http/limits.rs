//! What the clients of the endpoint may take up: connections are few and short, so that nobody uses up the descriptors that
//! the daemon needs for its files and sockets.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections open at once. A few scrapers keep one each.
const CONNECTIONS: usize = 64;
/// Life of a connection. Scrapers that keep theirs open make a new one then.
const LIFE: Duration = Duration::from_secs(300);
/// Time in which a client must send or take something. Longer than Prometheus' default interval, so that its connection is kept.
const IDLE: Duration = Duration::from_secs(75);
/// The same while more than half of the connections are in use.
const IDLE_CROWDED: Duration = Duration::from_secs(5);

/// A listener with these limits.
pub(super) struct Limited {
    listener: TcpListener,
    seats: Arc<Semaphore>,
    waits: Waits,
}

#[derive(Clone, Copy)]
struct Waits {
    life: Duration,
    idle: Duration,
    crowded: Duration,
}

impl Limited {
    pub(super) fn new(listener: TcpListener) -> Self {
        let waits = Waits { life: LIFE, idle: IDLE, crowded: IDLE_CROWDED };
        Self { listener, seats: Arc::new(Semaphore::new(CONNECTIONS)), waits }
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // axum's own: logs an error and tries again.
            let (stream, client) = Listener::accept(&mut self.listener).await;
            let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
                tracing::debug!(%client, "too many HTTP connections; this one is closed");
                continue;
            };
            let end = Instant::now() + self.waits.life;
            let connection = Connection {
                stream,
                seats: Arc::clone(&self.seats),
                _seat: seat,
                waits: self.waits,
                end,
                moved: Instant::now(),
                alarm: Box::pin(tokio::time::sleep(self.waits.crowded)),
            };
            return (connection, client);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails with a timeout once the client has done nothing for too long, or has stayed for too long.
pub(super) struct Connection {
    stream: TcpStream,
    seats: Arc<Semaphore>,
    _seat: OwnedSemaphorePermit,
    waits: Waits,
    end: Instant,
    /// When octets last went one way or the other.
    moved: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Connection {
    /// Ready when the client's time is over; else the task is woken up to look again.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let crowded = self.seats.available_permits() < CONNECTIONS / 2;
            let idle = if crowded { self.waits.crowded } else { self.waits.idle };
            let now = Instant::now();
            if now >= self.end.min(self.moved + idle) {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // Looked at often enough to notice when it gets crowded.
            self.alarm.as_mut().reset(now + self.waits.crowded);
        }
    }

    fn or_over<T>(&mut self, done: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match done {
            Poll::Ready(done) => {
                self.moved = Instant::now();
                Poll::Ready(done)
            }
            Poll::Pending => self.poll_over(cx).map(Err),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buf);
        // A slow sender has the life of its connection, no more.
        if Instant::now() >= self.end {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.or_over(done, cx)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.or_over(done, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn listen(waits: Waits) -> (Limited, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let limited = Limited { waits, ..Limited::new(listener) };
        let address = limited.local_addr().expect("an address");
        (limited, address)
    }

    fn waits(life: u64, idle: u64, crowded: u64) -> Waits {
        Waits {
            life: Duration::from_millis(life),
            idle: Duration::from_millis(idle),
            crowded: Duration::from_millis(crowded),
        }
    }

    #[tokio::test]
    async fn more_connections_than_seats_are_closed() {
        let (mut limited, address) = listen(waits(60_000, 60_000, 60_000)).await;
        let mut kept = Vec::new();
        for _ in 0..CONNECTIONS {
            let client = TcpStream::connect(address).await.expect("connect");
            kept.push((client, limited.accept().await.0));
        }
        let mut extra = TcpStream::connect(address).await.expect("connect");
        let task = tokio::spawn(async move { limited.accept().await });
        let mut octets = Vec::new();
        let _ = extra.read_to_end(&mut octets).await;
        assert!(octets.is_empty(), "closed without a word");
        kept.clear();
        let _again = TcpStream::connect(address).await.expect("connect");
        task.await.expect("a seat is free again");
    }

    #[tokio::test]
    async fn silence_and_trickle_end() {
        let (mut limited, address) = listen(waits(60_000, 50, 20)).await;
        let _silent = TcpStream::connect(address).await.expect("connect");
        let mut connection = limited.accept().await.0;
        let error = connection.read_u8().await.expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (mut limited, address) = listen(waits(50, 60_000, 20)).await;
        let mut slow = TcpStream::connect(address).await.expect("connect");
        let trickle = tokio::spawn(async move {
            while slow.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let mut connection = limited.accept().await.0;
        let error = loop {
            if let Err(error) = connection.read_u8().await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(connection);
        trickle.await.expect("it is told");
    }
}
