//! A flood of queries in the name of a victim, and what the victim is sent before and after a rate limit.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::report::{Origin, under};
use crate::server::{Server, is_good, large_query, wait_for};

/// A flood in the name of a victim, before a rate limit is configured and after. Others are answered meanwhile.
pub fn flood_a_victim(server: &mut Server) {
    /// Answers a second that the victim's network may be sent.
    const RATE: usize = 50;
    let flood = |server: &mut Server, name, victim: Ipv4Addr| {
        let seen = Mutex::new(Flood::default());
        under(server, name, Origin::Outside, |server, attack| {
            *seen.lock().unwrap() = Flood::run(server.dns, victim, || attack.goes_on());
        });
        let seen = seen.into_inner().unwrap();
        println!(
            "ATTACK {name}: {} queries in {:.1} s, {} answers with records, {} octets for {} (amplification {:.2})",
            seen.queries,
            seen.seconds,
            seen.whole,
            seen.answer_octets,
            seen.query_octets,
            seen.amplification()
        );
        seen
    };
    let free = flood(server, "queries in the name of a victim, no limit", Ipv4Addr::new(127, 66, 0, 1));
    let text = fs::read_to_string(server.config()).unwrap();
    let limit =
        format!("[signer]\nrate-limit = {{ responses-per-second = {RATE}, exempt = [\"127.0.0.0/24\"] }}\n");
    assert!(text.contains("[signer]\n"), "{text}");
    server.configure(&text.replace("[signer]\n", &limit));
    let dns = server.dns;
    wait_for("the rate limit", || {
        let stop = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let flood = scope
                .spawn(|| Flood::run(dns, Ipv4Addr::new(127, 67, 0, 1), || !stop.load(Ordering::Relaxed)));
            std::thread::sleep(Duration::from_millis(100));
            stop.store(true, Ordering::Relaxed);
            flood.join().unwrap()
        });
        seen.queries > 2 * RATE && seen.whole <= seen.queries / 2
    });
    let limited = flood(server, "queries in the name of a victim, rate limit", Ipv4Addr::new(127, 68, 0, 1));
    let most = RATE as f64 * (limited.seconds + 1.0);
    assert!(limited.whole as f64 <= most, "{limited:?}");
    assert!(
        free.amplification() > 3.0 && limited.amplification() < free.amplification() / 2.0,
        "{limited:?}"
    );
}

/// What was sent in the name of a victim, and what the victim was sent.
#[derive(Debug, Default)]
struct Flood {
    queries: usize,
    query_octets: usize,
    answer_octets: usize,
    /// Answers with records.
    whole: usize,
    seconds: f64,
}

impl Flood {
    /// Asks for the DNSKEY RRset from the victim's address, as fast as this goes, until it is stopped.
    fn run(server: SocketAddr, victim: Ipv4Addr, goes_on: impl Fn() -> bool) -> Self {
        let socket = UdpSocket::bind((victim, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let query = large_query();
        let (mut flood, begun) = (Self::default(), Instant::now());
        let mut answer = [0; 4096];
        while goes_on() {
            for _ in 0..20 {
                if socket.send_to(&query, server).is_ok() {
                    flood.queries += 1;
                    flood.query_octets += query.len();
                }
            }
            std::thread::sleep(Duration::from_millis(1));
            while let Ok(len) = socket.recv(&mut answer) {
                flood.answer_octets += len;
                flood.whole += usize::from(is_good(&answer[..len]));
            }
        }
        flood.seconds = begun.elapsed().as_secs_f64();
        flood
    }

    fn amplification(&self) -> f64 {
        self.answer_octets as f64 / self.query_octets as f64
    }
}
