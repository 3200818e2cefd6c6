//! The attacks on the open ports and on the descriptors of `offline-ksk serve`, one after the other, while somebody asks on: all
//! connections of one network, descriptors that run out, floods of packets that would each be worth a log line, floods in the name of a
//! victim, HTTP requests that never end. `scripts/attack` runs it for longer and prints the figures.

#![allow(clippy::unwrap_used, reason = "a failure here is the test's")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long one attack takes, unless `OFFLINE_KSK_ATTACK_SECONDS` says otherwise.
const SECONDS: u64 = 3;
/// Open files that the server may have: few, so that they can run out.
const DESCRIPTORS: u64 = 512;
/// Most lines that one attack may add to the log.
const MAX_LOG_LINES: usize = 20;
/// Time in which the server must be as before once the attack has ended.
const RECOVERY: Duration = Duration::from_secs(20);

/// A running server with one signed zone.
struct Server {
    child: Child,
    dir: tempfile::TempDir,
    dns: SocketAddr,
    http: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = env!("CARGO_BIN_EXE_offline-ksk");
        let site = dir.path().join("site");
        let demo = Command::new(program).args(["demo", "--once", "--keep"]).arg(&site).output().unwrap();
        assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("prlimit")
            .arg(format!("--nofile={DESCRIPTORS}"))
            .args([program, "serve", "-c"])
            .arg(site.join("online/offline-ksk.toml"))
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .expect("prlimit of util-linux");
        let mut server = Self { child, dir, dns: ([0; 4], 0).into(), http: ([0; 4], 0).into() };
        let address = |log: &str, what: &str| -> Option<SocketAddr> {
            let line = log.lines().find(|line| line.contains(what))?;
            line.rsplit_once("address=")?.1.trim().parse().ok()
        };
        wait_for("its addresses", || {
            let log = server.log();
            match (address(&log, "serving address="), address(&log, "metrics on /metrics address=")) {
                (Some(dns), Some(http)) => {
                    (server.dns, server.http) = (dns, http);
                    true
                }
                _ => false,
            }
        });
        wait_for("a signed zone", || server.answers_udp() && server.is_healthy());
        server
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn zone_file(&self) -> PathBuf {
        let online = self.dir.path().join("site/online");
        let zone = |path: &Path| path.extension().is_some_and(|e| e == "zone");
        fs::read_dir(online).unwrap().map(|e| e.unwrap().path()).find(|p| zone(p)).expect("a zone file")
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// True when a query over UDP is answered well; asked again twice, as a resolver does.
    fn answers_udp(&self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let query = query(b"\x03www\x04demo\x07example\x00");
        (0..3).any(|_| {
            let mut answer = [0; 4096];
            socket.send_to(&query, self.dns).is_ok()
                && socket.recv(&mut answer).is_ok_and(|read| is_good(&answer[..read]))
        })
    }

    /// The same over TCP, from the last octet of a network of its own.
    fn answers_tcp(&self) -> bool {
        let Ok(mut stream) = connect([127, 200, 0, 1].into(), self.dns) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let query = query(b"\x03www\x04demo\x07example\x00");
        let mut framed = u16::try_from(query.len()).unwrap().to_be_bytes().to_vec();
        framed.extend(query);
        let mut answer = [0; 14];
        stream.write_all(&framed).is_ok() && stream.read_exact(&mut answer).is_ok() && is_good(&answer[2..])
    }

    fn is_healthy(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.http) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut answer = String::new();
        stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200 ")
    }

    fn serial(&self) -> Option<u32> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
        let mut query = query(b"\x04demo\x07example\x00");
        let at = query.len() - 3;
        query[at] = 6;
        let mut answer = [0; 4096];
        socket.send_to(&query, self.dns).ok()?;
        let read = socket.recv(&mut answer).ok()?;
        // The only record's data ends in five numbers, of which the serial is the first.
        (is_good(&answer[..read]) && read > 20)
            .then(|| u32::from_be_bytes(answer[read - 20..read - 16].try_into().unwrap()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < RECOVERY, "waited {RECOVERY:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    start.elapsed()
}

/// A query for the A records of a name.
fn query(name: &[u8]) -> Vec<u8> {
    [b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", name, b"\x00\x01\x00\x01"].concat()
}

/// True for a response to [`query`] with NOERROR and an answer.
fn is_good(answer: &[u8]) -> bool {
    answer.len() >= 12
        && answer[..2] == *b"\x12\x34"
        && answer[2] & 0x80 != 0
        && answer[3] & 15 == 0
        && answer[7] > 0
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(2))?;
    Ok(socket.into())
}

/// What one attack led to.
#[derive(Debug, Default)]
struct Report {
    asked: usize,
    lost: usize,
    health_asked: usize,
    health_lost: usize,
    most_descriptors: usize,
    log_lines: usize,
    log_octets: usize,
    recovery: Duration,
}

/// Runs an attack for its time, asks meanwhile over UDP, and over HTTP where `health` says so, and prints and returns what came of it.
fn under(server: &Server, name: &str, health: Health, attack: impl Fn(&AtomicBool) + Sync) -> Report {
    let seconds = std::env::var("OFFLINE_KSK_ATTACK_SECONDS").ok().and_then(|s| s.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(SECONDS));
    let before = server.log();
    let stop = AtomicBool::new(false);
    let mut report = Report::default();
    std::thread::scope(|scope| {
        scope.spawn(|| attack(&stop));
        while Instant::now() < end {
            report.asked += 1;
            report.lost += usize::from(!server.answers_udp());
            if health == Health::Asked {
                report.health_asked += 1;
                report.health_lost += usize::from(!server.is_healthy());
            }
            report.most_descriptors = report.most_descriptors.max(server.descriptors());
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
    });
    report.recovery = wait_for("the server as before", || {
        server.answers_udp() && server.answers_tcp() && server.is_healthy()
    });
    let after = server.log();
    report.log_lines = after.lines().count() - before.lines().count();
    report.log_octets = after.len() - before.len();
    println!(
        "ATTACK {name}: {} of {} answers lost, {} of {} health checks lost, {} descriptors at most, {} log lines ({} octets), \
         recovered in {} ms",
        report.lost,
        report.asked,
        report.health_lost,
        report.health_asked,
        report.most_descriptors,
        report.log_lines,
        report.log_octets,
        report.recovery.as_millis()
    );
    assert!(report.log_lines <= MAX_LOG_LINES, "{name}: {}", &after[before.len()..]);
    assert_eq!((report.lost, report.health_lost), (0, 0), "{name}: {report:?}");
    report
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
    fn run(server: SocketAddr, victim: Ipv4Addr, stop: &AtomicBool) -> Self {
        let socket = UdpSocket::bind((victim, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut query = query(b"\x04demo\x07example\x00");
        let (rtype, count) = (query.len() - 3, 11);
        (query[rtype], query[count]) = (48, 1);
        query.extend_from_slice(b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00");
        let (mut flood, begun) = (Self::default(), Instant::now());
        let mut answer = [0; 4096];
        while !stop.load(Ordering::Relaxed) {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Asked,
    /// No descriptor is left for a connection.
    NotAsked,
}

#[test]
fn server_answers_and_recovers_under_each_attack() {
    let server = Server::start();
    let (dns, http) = (server.dns, server.http);

    let report = under(&server, "all connections of one network", Health::Asked, |stop| {
        let mut open = Vec::new();
        for n in 0..1500u32 {
            let from = Ipv4Addr::from([127, 1, 1, u8::try_from(n % 250 + 1).unwrap()]);
            open.extend(connect(from, dns));
        }
        while !stop.load(Ordering::Relaxed) {
            assert!(server.answers_tcp(), "another network is answered over TCP");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert!(report.most_descriptors < usize::try_from(DESCRIPTORS).unwrap() * 3 / 4, "{report:?}");

    under(&server, "packets that are no query for us", Health::Asked, |stop| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let good = query(b"\x07foreign\x04test\x00");
        let with = |at: usize, octet: u8| {
            let mut packet = good.clone();
            packet[at] = octet;
            packet
        };
        let edns_1 = [&with(11, 1)[..], b"\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00"].concat();
        let packets = [good.clone(), with(2, 0x29), with(2, 0x79), edns_1, vec![0xff; 40], vec![0; 5]];
        while !stop.load(Ordering::Relaxed) {
            for packet in &packets {
                let _ = socket.send_to(packet, dns);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });

    under(&server, "HTTP requests that drip", Health::Asked, |stop| {
        let mut clients: Vec<TcpStream> = (0..70).map(|_| TcpStream::connect(http).unwrap()).collect();
        while !stop.load(Ordering::Relaxed) {
            for client in &mut clients {
                if client.write_all(b"X").is_err() {
                    *client = TcpStream::connect(http).unwrap();
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });

    flood_a_victim(&server);

    let serial = server.serial().expect("a serial");
    let limit = |number: String| {
        let pid = server.child.id().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={number}")]).status();
        assert!(set.unwrap().success());
    };
    under(&server, "no descriptor left while the zone file changes", Health::NotAsked, |stop| {
        limit(format!("8:{DESCRIPTORS}"));
        let zone = server.zone_file();
        let text = fs::read_to_string(&zone).unwrap();
        fs::write(&zone, text + "attacked A 192.0.2.99\n").unwrap();
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        limit(format!("{DESCRIPTORS}:{DESCRIPTORS}"));
    });
    let took = wait_for("the edited zone", || server.serial().is_some_and(|now| now != serial));
    println!("ATTACK the edited zone is served {} ms after the descriptors are back", took.as_millis());
}

/// A flood in the name of a victim, before a rate limit is configured and after. Others are answered meanwhile.
fn flood_a_victim(server: &Server) {
    /// Answers a second that the victim's network may be sent.
    const RATE: usize = 50;
    let flood = |name, victim: Ipv4Addr| {
        let seen = Mutex::new(Flood::default());
        under(server, name, Health::Asked, |stop| {
            *seen.lock().unwrap() = Flood::run(server.dns, victim, stop);
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
    let free = flood("queries in the name of a victim, no limit", Ipv4Addr::new(127, 66, 0, 1));
    let config = server.dir.path().join("site/online/offline-ksk.toml");
    let text = fs::read_to_string(&config).unwrap();
    let limit =
        format!("[signer]\nrate-limit = {{ responses-per-second = {RATE}, exempt = [\"127.0.0.0/24\"] }}\n");
    assert!(text.contains("[signer]\n"), "{text}");
    fs::write(&config, text.replace("[signer]\n", &limit)).unwrap();
    let hangup = Command::new("kill").args(["-HUP", &server.child.id().to_string()]).status();
    assert!(hangup.unwrap().success());
    wait_for("the rate limit", || {
        let stop = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let flood = scope.spawn(|| Flood::run(server.dns, Ipv4Addr::new(127, 67, 0, 1), &stop));
            std::thread::sleep(Duration::from_millis(100));
            stop.store(true, Ordering::Relaxed);
            flood.join().unwrap()
        });
        seen.queries > 2 * RATE && seen.whole <= seen.queries / 2
    });
    let limited = flood("queries in the name of a victim, rate limit", Ipv4Addr::new(127, 68, 0, 1));
    let most = RATE as f64 * (limited.seconds + 1.0);
    assert!(limited.whole as f64 <= most, "{limited:?}");
    assert!(
        free.amplification() > 3.0 && limited.amplification() < free.amplification() / 2.0,
        "{limited:?}"
    );
}
