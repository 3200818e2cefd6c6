//! DNS over UDP: threads that own a socket each, receive and send in batches, and have the engine write into the buffer that is sent. A
//! query costs no task, no lock and no memory; one for a name that is not ours is handed over, see [`super::others`].

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_server::server::RequestHandler;
use metrics::queries::DroppedDatagram;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, shutdown};

use super::datagrams::{BATCH, Datagrams, Family, V4, V6};
use super::front::{Batch, FrontEnd, LookAheadGain, Received, Route, Via};
use super::others::{OtherQueries, OtherQuery};
use crate::answer::MOST_AHEAD;
use crate::answer::query::HEADER;
use crate::seldom::Seldom;

/// Pause after an error of the socket, so that one that persists does not take a core.
const PAUSE: Duration = Duration::from_millis(10);
/// Batches that are still answered when a thread is stopped; a socket buffer of the usual size holds fewer datagrams.
const LAST_BATCHES: usize = 256;
/// What an answer needs at most, with room for a record that turns out not to fit.
const ANSWER_ROOM: usize = 4096;

/// Keeps the message of batches that our code fails at from coming with each of them.
static FAILED: Seldom = Seldom::new();

/// Answers what comes to one socket.
#[derive(Debug)]
pub(super) struct UdpThread {
    stop: Arc<AtomicBool>,
    socket: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl UdpThread {
    /// Starts to answer. The socket is bound, blocking, and has packet information if its address is a wildcard.
    pub fn start<H: RequestHandler>(
        socket: OwnedFd,
        address: SocketAddr,
        front: FrontEnd<H>,
        others: OtherQueries,
    ) -> io::Result<Self> {
        let socket = Arc::new(socket);
        let stop = Arc::new(AtomicBool::new(false));
        let (of_thread, stop_of_thread) = (Arc::clone(&socket), Arc::clone(&stop));
        let is_wildcard = address.ip().is_unspecified();
        let run = move || match address {
            SocketAddr::V4(_) => serve::<V4, H>(&of_thread, is_wildcard, &others, &stop_of_thread, &front),
            SocketAddr::V6(_) => serve::<V6, H>(&of_thread, is_wildcard, &others, &stop_of_thread, &front),
        };
        let thread = std::thread::Builder::new().name("dns-udp".to_owned()).spawn(run)?;
        Ok(Self { stop, socket, thread: Some(thread) })
    }

    /// Has the thread end when what was received until now is answered. Does not wait for that.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // Wakes a thread that waits for a datagram. The kernel reports that the socket is not connected, and wakes it all the same.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Read);
    }

    /// Waits for the end of the thread.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for UdpThread {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers until `stop` is set. A panic costs the answers of one batch: the kernel goes on to give this socket its share of the clients.
fn serve<F: Family, H: RequestHandler>(
    socket: &Arc<OwnedFd>,
    is_wildcard: bool,
    others: &OtherQueries,
    stop: &AtomicBool,
    front: &FrontEnd<H>,
) {
    loop {
        let mut queries = UdpQueries::<F>::new(Arc::clone(socket), is_wildcard, others.clone());
        match catch_unwind(AssertUnwindSafe(|| queries.answer_until(stop, front))) {
            Ok(()) => return,
            Err(_) => {
                if let Some(held_back) = FAILED.pass() {
                    tracing::error!(held_back, "UDP queries could not be answered; please report this");
                }
            }
        }
    }
}

/// The queries of a socket: those of the last batch, and the buffers for their answers.
struct UdpQueries<F: Family> {
    datagrams: Datagrams<F>,
    others: OtherQueries,
    /// Number of datagrams in the batch, and the one behind the current one.
    count: usize,
    next: usize,
    answers: [Vec<u8>; BATCH],
    /// The queries that have an answer.
    ready: [usize; BATCH],
    ready_count: usize,
    dropped: Dropped,
    gain: LookAheadGain,
}

/// Datagrams of a batch that get no answer, or whose answer was not sent.
#[derive(Debug, Clone, Copy, Default)]
struct Dropped {
    source: u64,
    destination: u64,
    queue: u64,
    send: u64,
}

impl<F: Family> UdpQueries<F> {
    fn new(socket: Arc<OwnedFd>, is_wildcard: bool, others: OtherQueries) -> Self {
        Self {
            datagrams: Datagrams::new(socket, is_wildcard),
            others,
            count: 0,
            next: 0,
            answers: std::array::from_fn(|_| Vec::with_capacity(ANSWER_ROOM)),
            ready: [0; BATCH],
            ready_count: 0,
            dropped: Dropped::default(),
            gain: LookAheadGain::default(),
        }
    }

    /// Answers until `stop` is set and what was received by then is answered.
    fn answer_until<H: RequestHandler>(&mut self, stop: &AtomicBool, front: &FrontEnd<H>) {
        while !stop.load(Ordering::Acquire) {
            self.answer_batch(front, MsgFlags::empty());
        }
        // The end of the socket has filled a header.
        self.datagrams.reset();
        for _ in 0..LAST_BATCHES {
            if !self.answer_batch(front, MsgFlags::MSG_DONTWAIT) {
                break;
            }
        }
    }

    /// Receives queries and answers them. False when there were none.
    fn answer_batch<H: RequestHandler>(&mut self, front: &FrontEnd<H>, flags: MsgFlags) -> bool {
        self.count = match self.datagrams.receive(flags) {
            Ok(count) => count,
            // Nothing was there in time; or an answer to somebody else found no port there.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return false,
            Err(errno) => {
                tracing::debug!(%errno, "UDP queries could not be received");
                std::thread::sleep(PAUSE);
                return false;
            }
        };
        (self.next, self.ready_count) = (0, 0);
        front.answer_all(Via::Datagrams, self);
        let ready = self.ready.get(..self.ready_count).unwrap_or_default();
        let sent = self.datagrams.send(ready, &self.answers);
        if let Some(errno) = sent.error {
            tracing::debug!(%errno, failed = sent.failed, "answers could not be sent");
            self.dropped.send += sent.failed as u64;
        }
        self.dropped.tell(front);
        true
    }
}

impl<F: Family> Batch for UdpQueries<F> {
    fn advance(&mut self) -> bool {
        while self.next < self.count {
            self.next += 1;
            match self.datagrams.get(self.next - 1) {
                // No query; the end of the socket looks so as well.
                _ if self.datagrams.len(self.next - 1) == 0 => {}
                None => self.dropped.destination += 1,
                Some((_, datagram)) if can_be_answered(datagram.client.into()) => return true,
                Some(_) => self.dropped.source += 1,
            }
        }
        false
    }

    fn current(&mut self) -> Received<'_> {
        let index = self.next - 1;
        let out = &mut self.answers[index];
        match self.datagrams.get(index) {
            Some((octets, datagram)) => {
                // A query that was cut is malformed, whatever its first octets are.
                let query = if datagram.is_cut { octets.get(..HEADER).unwrap_or_default() } else { octets };
                Received { query, client: datagram.client.into(), out }
            }
            // advance() has looked.
            None => Received { query: &[], client: SocketAddr::from(([0; 4], 0)), out },
        }
    }

    fn put(&mut self, route: Route) {
        let index = self.next - 1;
        self.gain.count(&route, &self.answers[index]);
        match route {
            Route::Answered => {
                self.ready[self.ready_count] = index;
                self.ready_count += 1;
            }
            Route::Others => {
                let Some((octets, datagram)) = self.datagrams.get(index) else { return };
                let query = if datagram.is_cut { octets.get(..HEADER).unwrap_or_default() } else { octets };
                let Some(back) = self.datagrams.return_path(index) else { return };
                if !self.others.offer(|| OtherQuery::Plain { query: query.to_vec(), back }) {
                    self.dropped.queue += 1;
                }
            }
            Route::Update(update) => {
                let Some(back) = self.datagrams.return_path(index) else { return };
                if !self.others.offer(|| OtherQuery::Update { update, back }) {
                    self.dropped.queue += 1;
                }
            }
            // Transfers of several messages come over TCP only.
            Route::Nobody | Route::Transfer(_) => {}
        }
    }

    fn upcoming<'s>(&'s self, room: &mut [&'s [u8]; MOST_AHEAD]) -> usize {
        if !self.gain.pays() {
            return 0;
        }
        let datagrams =
            (self.next.saturating_sub(1)..self.count).filter_map(|index| self.datagrams.get(index));
        let mut count = 0;
        for (place, (octets, _)) in room.iter_mut().zip(datagrams) {
            *place = octets;
            count += 1;
        }
        count
    }
}

impl Dropped {
    /// Adds them to the metrics.
    fn tell<H: RequestHandler>(&mut self, front: &FrontEnd<H>) {
        let Self { source, destination, queue, send } = std::mem::take(self);
        let Some(metrics) = front.metrics() else { return };
        for (count, why) in [
            (source, DroppedDatagram::Source),
            (destination, DroppedDatagram::Destination),
            (queue, DroppedDatagram::Queue),
            (send, DroppedDatagram::Send),
        ] {
            if count > 0 {
                metrics.count_dropped_datagrams(why, count);
            }
        }
    }
}

/// False for source addresses that nobody can have; answers to them would go to everyone, or back to us.
fn can_be_answered(client: SocketAddr) -> bool {
    client.port() != 0
        && match client.ip().to_canonical() {
            IpAddr::V4(address) => !address.is_unspecified() && !address.is_broadcast(),
            IpAddr::V6(address) => !address.is_unspecified(),
        }
}
