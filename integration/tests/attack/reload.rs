//! Certificate, configuration and zone change again and again while clients ask: no answer is lost.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::certificate;
use crate::clients::{Https, Quic, Updater};
use crate::report::long_seconds;
use crate::server::{CERTIFICATE, NAMES, Server, asks, connect, wait_for};

/// Files that the server may open.
const DESCRIPTORS: u64 = 1024;
/// Changes of each kind, at least.
const ROUNDS: usize = 3;
/// Pause of a client between two queries: about 400 a second of each.
const PAUSE: Duration = Duration::from_micros(2500);

/// Time for an answer: one that has not come by then was lost.
const TIME: Duration = Duration::from_secs(5);

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 201, 0, 1);

/// A kind of client: its queries, and those that were not answered.
struct Load {
    name: &'static str,
    asked: AtomicUsize,
    lost: AtomicUsize,
}

impl Load {
    const fn new(name: &'static str) -> Self {
        Self { name, asked: AtomicUsize::new(0), lost: AtomicUsize::new(0) }
    }

    /// Asks until it is stopped.
    fn run(&self, stop: &AtomicBool, mut answered: impl FnMut() -> bool) {
        while !stop.load(Ordering::Relaxed) {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.lost.fetch_add(usize::from(!answered()), Ordering::Relaxed);
            std::thread::sleep(PAUSE);
        }
    }

    /// Keeps a connection, which must not end.
    fn run_on<C: std::io::Read + std::io::Write>(
        &self,
        stop: &AtomicBool,
        connect: impl FnOnce() -> std::io::Result<C>,
    ) {
        let mut connection = connect().unwrap();
        self.run(stop, || asks(&mut connection));
    }
}

#[test]
fn no_answer_is_lost_while_certificate_configuration_and_zone_change() {
    let server = Server::start(DESCRIPTORS);
    let loads = [
        "UDP",
        "UDP, a zone from a primary",
        "TCP",
        "TCP, a connection for each query",
        "TLS",
        "TLS, a connection for each query",
        "HTTPS",
        "HTTPS, a connection for each query",
        "QUIC",
        "signed updates over TCP",
    ]
    .map(Load::new);
    let [udp, from, tcp, tcp_anew, tls, tls_anew, https, https_anew, quic, updates] = &loads;
    let stop = AtomicBool::new(false);
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        // One datagram each: nothing is asked again.
        for (load, name) in [udp, from].into_iter().zip(NAMES) {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || load.run(stop, || server.answers_datagram(name, TIME)));
        }
        scope.spawn(|| tcp.run_on(&stop, || connect(CLIENT, server.dns)));
        scope.spawn(|| {
            tcp_anew.run(&stop, || connect(CLIENT, server.dns).is_ok_and(|mut open| asks(&mut open)))
        });
        scope.spawn(|| tls.run_on(&stop, || server.connect_tls(CLIENT, false)));
        scope.spawn(|| {
            let answered = || server.connect_tls(CLIENT, false).is_ok_and(|mut open| asks(&mut open));
            tls_anew.run(&stop, answered);
        });
        scope.spawn(|| {
            let mut open = Https::connect(CLIENT, &server, TIME).unwrap();
            https.run(&stop, || open.asks(TIME));
        });
        scope.spawn(|| {
            let answered = || Https::connect(CLIENT, &server, TIME).is_some_and(|mut open| open.asks(TIME));
            https_anew.run(&stop, answered);
        });
        scope.spawn(|| {
            let mut open = Quic::connect(CLIENT, &server, TIME).unwrap();
            quic.run(&stop, || open.asks(TIME));
        });
        scope.spawn(|| {
            let mut client = Updater::new(&server, "changed");
            updates.run(&stop, || client.changes_tcp(CLIENT, server.dns));
        });
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| change(&server)));
        stop.store(true, Ordering::Relaxed);
        times = changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    for (number, [zone, certificate, configuration]) in times.iter().enumerate() {
        println!(
            "ATTACK reload {number}: seen after ms: zone {zone}, certificate {certificate}, configuration {configuration}"
        );
    }
    let mut lost = 0;
    for Load { name, asked, lost: of_load } in loads {
        let (asked, of_load) = (asked.into_inner(), of_load.into_inner());
        println!("ATTACK reload under load: {name}: {of_load} of {asked} answers lost");
        assert!(asked > ROUNDS, "{name}: {asked}");
        lost += of_load;
    }
    assert_eq!(lost, 0, "answers were lost; the server says\n{}", server.log());
}

/// Changes zone, certificate and configuration together, round after round, each when the changes before are seen by clients; and tells
/// after how many milliseconds they were.
fn change(server: &Server) -> Vec<[u128; 3]> {
    let (zone, config) =
        (fs::read_to_string(server.zone_file()).unwrap(), fs::read_to_string(server.config()).unwrap());
    let end = long_seconds().map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut times = Vec::new();
    for round in 0.. {
        if end.map_or(round >= ROUNDS, |end| Instant::now() >= end) {
            break;
        }
        let begun = Instant::now();
        let [mut of_zone, mut of_certificate, mut of_configuration] = [None; 3];
        let label = format!("round{round}");
        crate::server::replace(&server.zone_file(), &format!("{zone}{label} A 192.0.2.77\n"));
        let added = [&[label.len() as u8], label.as_bytes(), b"\x04demo\x07example\x00"].concat();
        certificate::write(server.dir(), CERTIFICATE, (-1, 365), None);
        let nsid = format!("round-{round}");
        server.configure(&config.replace("[signer]\n", &format!("[signer]\nnsid = \"{nsid}\"\n")));
        wait_for("the changes of a round", || {
            let note = |seen: &mut Option<u128>, is_there: bool| {
                *seen = seen.or_else(|| is_there.then(|| begun.elapsed().as_millis()));
            };
            note(&mut of_zone, server.asks_udp(&added).is_some());
            note(&mut of_certificate, server.answers_tls());
            note(&mut of_configuration, server.nsid().is_some_and(|now| now == nsid.as_bytes()));
            of_zone.is_some() && of_certificate.is_some() && of_configuration.is_some()
        });
        times.push([of_zone, of_certificate, of_configuration].map(Option::unwrap_or_default));
    }
    assert!(times.len() >= ROUNDS, "{times:?}");
    times
}
