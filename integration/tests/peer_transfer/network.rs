//! A network that cuts, delays, loses and reorders what goes between a primary, our signer and a secondary: nothing is lost, nothing stays
//! stale beyond the timers, no serial goes back.
//!
//! `scripts/network` runs this for many rounds.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{self, Named};
use crate::incoming::{Ours, Peer, txt_at};
use crate::primary::{self, KEY, SECRET, ZONE};
use crate::secondaries::{Product, block, changed};
use crate::{records_at, serial_at};

/// SOA refresh and retry of the zone are one second; an exchange that was lost is repeated after at most two more. The rest is load.
const FOLLOWS: Duration = Duration::from_secs(120);
/// How often a link looks whether it is to end, or to go on.
const TICK: Duration = Duration::from_millis(50);

/// What the network does to what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impairment {
    /// Nothing.
    None,
    /// Datagrams are lost; connections carry nothing and stay open, as without packets.
    Cut,
    /// Everything takes 300 milliseconds more.
    Delay,
    /// A third of the datagrams is lost; a connection breaks now and then in the middle.
    Loss,
    /// Each datagram takes from 0 to 300 milliseconds more.
    Reorder,
}

/// What all links share.
#[derive(Clone)]
pub struct Network {
    impairment: Arc<Mutex<Impairment>>,
    stop: Arc<AtomicBool>,
    /// Of a generator of numbers without pattern: the same in each run.
    state: Arc<AtomicU64>,
}

impl Network {
    pub fn new() -> Self {
        let impairment = Arc::new(Mutex::new(Impairment::None));
        Self { impairment, stop: Arc::default(), state: Arc::new(AtomicU64::new(15)) }
    }

    pub fn set(&self, impairment: Impairment) {
        *self.impairment.lock().expect("held by nobody") = impairment;
    }

    fn get(&self) -> Impairment {
        *self.impairment.lock().expect("held by nobody")
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A number below `most`.
    fn below(&self, most: u64) -> u64 {
        let step = |x: u64| x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let before = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |x| Some(step(x)));
        (step(before.unwrap_or_default()) >> 33) % most
    }

    /// A link to `target`; gives its address. It carries UDP and TCP.
    pub fn link(&self, target: SocketAddr) -> SocketAddr {
        let port = common::free_port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (udp, tcp) =
            (UdpSocket::bind(address).expect("a socket"), TcpListener::bind(address).expect("a socket"));
        let (of_udp, of_tcp) = (self.clone(), self.clone());
        std::thread::spawn(move || of_udp.carry_datagrams(&udp, target));
        std::thread::spawn(move || of_tcp.carry_connections(&tcp, target));
        address
    }

    fn carry_datagrams(&self, socket: &UdpSocket, target: SocketAddr) {
        socket.set_read_timeout(Some(TICK)).expect("a timeout");
        let mut clients: HashMap<SocketAddr, UdpSocket> = HashMap::new();
        let mut octets = [0; 65_535];
        while !self.is_over() {
            let Ok((len, client)) = socket.recv_from(&mut octets) else { continue };
            let to = clients.entry(client).or_insert_with(|| {
                let to = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
                to.connect(target).expect("an address");
                to.set_read_timeout(Some(TICK)).expect("a timeout");
                let (network, from) = (self.clone(), to.try_clone().expect("a socket"));
                let back = socket.try_clone().expect("a socket");
                std::thread::spawn(move || {
                    let mut octets = [0; 65_535];
                    while !network.is_over() {
                        if let Ok(len) = from.recv(&mut octets) {
                            let back = back.try_clone().expect("a socket");
                            network.send(&octets[..len], move |octets| drop(back.send_to(octets, client)));
                        }
                    }
                });
                to
            });
            let to = to.try_clone().expect("a socket");
            self.send(&octets[..len], move |octets| drop(to.send(octets)));
        }
    }

    /// Sends a datagram, later or never, as the network is impaired.
    fn send(&self, octets: &[u8], send: impl FnOnce(&[u8]) + Send + 'static) {
        let pause = match self.get() {
            Impairment::None => 0,
            Impairment::Cut => return,
            Impairment::Delay => 300,
            Impairment::Loss if self.below(3) == 0 => return,
            Impairment::Loss => 0,
            Impairment::Reorder => self.below(300),
        };
        let octets = octets.to_vec();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(pause));
            send(&octets);
        });
    }

    fn carry_connections(&self, listener: &TcpListener, target: SocketAddr) {
        listener.set_nonblocking(true).expect("a socket");
        while !self.is_over() {
            let Ok((client, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            client.set_nonblocking(false).expect("a socket");
            let network = self.clone();
            std::thread::spawn(move || {
                network.wait_for_packets();
                let Ok(server) = TcpStream::connect(target) else { return };
                let pair = |one: &TcpStream| one.try_clone().expect("a socket");
                let (network_back, from, to) = (network.clone(), pair(&server), pair(&client));
                std::thread::spawn(move || network_back.carry(from, to));
                network.carry(client, server);
            });
        }
    }

    fn wait_for_packets(&self) {
        while self.get() == Impairment::Cut && !self.is_over() {
            std::thread::sleep(TICK);
        }
    }

    /// Carries the octets of a connection in one direction.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut octets = [0; 1400];
        while let Ok(len) = from.read(&mut octets)
            && len > 0
        {
            self.wait_for_packets();
            match self.get() {
                Impairment::Delay => std::thread::sleep(Duration::from_millis(300)),
                Impairment::Loss if self.below(16) == 0 => {
                    // Some of it has arrived.
                    drop(to.write_all(&octets[..len / 2]));
                    break;
                }
                _ => {}
            }
            if to.write_all(&octets[..len]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}

/// The zone of the primary: SOA refresh and retry of a second.
fn text(serial: u32) -> String {
    let hosts: String = (0..40).map(|n| format!("host{n} A 192.0.2.{}\n", (n + serial) % 250)).collect();
    format!(
        "$TTL 300\n@ SOA ns h {serial} 1 1 86400 300\n@ NS ns\nns A 127.0.0.1\nchanged TXT \"{serial}\"\n{hosts}"
    )
}

fn publish(peer: &Peer, serial: u32) {
    let new = peer.file.with_extension("new");
    std::fs::write(&new, text(serial)).expect("write");
    std::fs::rename(&new, &peer.file).expect("rename");
    let output = peer.named.as_ref().expect("named").rndc(&["reload", ZONE]);
    assert!(output.status.success(), "{output:?}");
}

fn waits(secondary: SocketAddr, serial: u32, what: &str) -> Duration {
    let begin = Instant::now();
    common::wait_for(&format!("change {serial} at the secondary, {what}"), FOLLOWS, || {
        (txt_at(secondary)? == format!("\"{serial}\"")).then_some(())
    });
    begin.elapsed()
}

#[test]
fn changes_reach_the_secondary_through_a_network_that_cuts_delays_loses_and_reorders() {
    if ["dig", "rndc", "named", "dnssec-verify"].iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    let rounds = std::env::var("OFFLINE_KSK_NETWORK_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let dir = tempfile::tempdir().expect("a folder");
    let [from, ours, to] = [(); 3].map(|()| SocketAddr::from((Ipv4Addr::LOCALHOST, common::free_port())));
    let network = Network::new();
    let peer =
        Peer::start(Product::Bind, &dir.path().join("primary"), from.port(), network.link(ours).port());
    publish(&peer, 2);
    let table = changed(
        &block("A zone from primaries: `offline-ksk.toml`"),
        &[
            ("192.0.2.10", &network.link(from).to_string()),
            (", { address = \"192.0.2.11:53\", key = \"xfr\" }", ""),
        ],
    );
    let transfer = format!(
        "allow-transfer = [{{ key = \"{KEY}\" }}]\nnotify = [{{ address = \"{}\", key = \"{KEY}\" }}]\nmin-refresh = 1\nmin-retry = 1\n",
        network.link(to)
    );
    let config = primary::prepare(dir.path(), &table.replace("[[zone]]", &format!("{transfer}[[zone]]")));
    let us = Ours::start(&config, ours.port());
    let statements = changed(
        &block("BIND: `named.conf`"),
        &[
            ("192.0.2.1", &format!("127.0.0.1 port {}", network.link(ours).port())),
            (
                "type secondary;",
                "type secondary; allow-transfer { any; }; min-refresh-time 1; min-retry-time 1; max-refresh-time 2; max-retry-time 2;",
            ),
        ],
    );
    let of_secondary = dir.path().join("secondary");
    std::fs::create_dir_all(&of_secondary).expect("a folder");
    let _named = Named::start_at(&of_secondary, &statements, to.port()).expect("named");
    waits(to, 2, "at the start");
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let sampler = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            seen.extend(serial_at(to));
            std::thread::sleep(Duration::from_millis(20));
        }
        seen
    });
    let mut serial = 2;
    for round in 0..rounds {
        for impairment in [Impairment::Cut, Impairment::Delay, Impairment::Loss, Impairment::Reorder] {
            network.set(impairment);
            for _ in 0..3 {
                serial += 1;
                publish(&peer, serial);
                std::thread::sleep(Duration::from_millis(200));
            }
            if impairment == Impairment::Cut {
                assert_ne!(txt_at(to), Some(format!("\"{serial}\"")), "nothing comes through");
                network.set(Impairment::None);
            }
            let took = waits(to, serial, &format!("{impairment:?}"));
            println!(
                "round {round}: {impairment:?}: the last of three changes at the secondary after {took:.1?}"
            );
        }
    }
    network.set(Impairment::None);
    serial += 1;
    publish(&peer, serial);
    println!("clear: at the secondary after {:.1?}", waits(to, serial, "clear"));
    over.store(true, Ordering::Relaxed);
    let seen = sampler.join().expect("it ended well");
    assert!(seen.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]).cast_signed() >= 0), "{seen:?}");
    let key = format!("hmac-sha256:{KEY}:{SECRET}");
    let here = records_at(us.address(), Some(&key));
    assert_eq!(here, records_at(to, None), "the secondary has what is served here");
    let file = dir.path().join("transferred");
    std::fs::write(&file, here.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("write");
    common::run(common::peer("dnssec-verify").expect("there").args(["-o", ZONE]).arg(&file));
    network.stop.store(true, Ordering::Relaxed);
    us.stop();
}
