//! The name servers of a zone with several providers, as a resolver sees them: one port, behind which the providers answer in turn.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Forwards queries over UDP until it is dropped.
pub struct Balancer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Balancer {
    /// Takes queries at `socket`. They go to the server at `first`, and to that at `second` in turn with it while the file `joined` is there.
    pub fn start(socket: UdpSocket, first: u16, second: u16, joined: PathBuf) -> Self {
        let wait = Some(Duration::from_millis(200));
        socket.set_read_timeout(wait).expect("a timeout");
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut octets = [0; 4096];
            let mut count = 0_u32;
            while !seen.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut octets) else { continue };
                count += 1;
                let server = if count.is_multiple_of(2) && joined.exists() { second } else { first };
                let asker = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
                asker.connect(("127.0.0.1", server)).expect("an address");
                asker.set_read_timeout(wait).expect("a timeout");
                // What is lost is asked again by the resolver.
                if asker.send(&octets[..length]).is_ok()
                    && let Ok(length) = asker.recv(&mut octets)
                {
                    let _ = socket.send_to(&octets[..length], from);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
