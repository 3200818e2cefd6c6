//! A running `offline-ksk serve` with one signed zone, and clients that ask it as resolvers do.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keystore::durable;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVerifyMode};

use crate::certificate;
use crate::primary::{self, Primary};

/// Time in which the server must be as before once an attack has ended.
pub const RECOVERY: Duration = Duration::from_secs(20);
/// The certificate of the server, in its folder.
pub const CERTIFICATE: &str = "server";
/// The network that connections of well-behaved clients come from.
const GOOD_CLIENT: Ipv4Addr = Ipv4Addr::new(127, 200, 0, 1);

/// A running server.
pub struct Server {
    child: Child,
    dir: tempfile::TempDir,
    pub dns: SocketAddr,
    pub tls: SocketAddr,
    pub https: SocketAddr,
    pub quic: SocketAddr,
    pub http: SocketAddr,
    /// What its second zone comes from.
    pub primary: Primary,
}

/// Names that clients ask for: one of the zone that is signed here, and one of the zone that comes from a primary.
pub const NAMES: [&[u8]; 2] = [b"\x03www\x04demo\x07example\x00", primary::WWW];

/// What the configuration has in `[signer]`, beside the certificate.
const LISTEN: &str =
    "tls-listen = [\"127.0.0.1:0\"]\nhttps-listen = [\"127.0.0.1:0\"]\nquic-listen = [\"127.0.0.1:0\"]\n";
/// What it has of updates: the zone may be changed by who has the key.
const UPDATE: &str = "[[zone]]\nupdate = [{ key = \"acme\", names = \"zone\" }]\n";
const TRANSFER: &str = "\n[transfer]\nkey-files = [\"acme.key\"]\n";
const KEY: &str =
    "key \"acme\" { algorithm hmac-sha256; secret \"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=\"; };\n";

impl Server {
    /// One that may open so many files.
    pub fn start(descriptors: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = env!("CARGO_BIN_EXE_offline-ksk");
        let site = dir.path().join("site");
        let demo = Command::new(program).args(["demo", "--once", "--keep"]).arg(&site).output().unwrap();
        assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
        certificate::write(dir.path(), CERTIFICATE, (-1, 365), None);
        let nowhere = SocketAddr::from(([0; 4], 0));
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let [file, key] = certificate::files(dir.path(), CERTIFICATE);
        let config = site.join("online/offline-ksk.toml");
        let text = fs::read_to_string(&config).unwrap();
        let signer = format!("[signer]\n{LISTEN}tls-certificate = {file:?}\ntls-key = {key:?}\n");
        let text = text.replace("[signer]\n", &signer).replace("[[zone]]\n", UPDATE) + TRANSFER;
        let primary = Primary::start();
        let zone = format!(
            "[[zone]]\nname = {:?}\nsigning = \"unsigned\"\nprimaries = [\"{}\"]\n",
            primary::NAME,
            primary.address
        );
        let text = text + &zone;
        durable::write(&config.with_file_name("acme.key"), KEY.as_bytes(), 0o600).unwrap();
        fs::write(&config, text).unwrap();
        let child = Command::new("prlimit")
            .arg(format!("--nofile={descriptors}"))
            .args([program, "serve", "-c"])
            .arg(config)
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .expect("prlimit of util-linux");
        let (https, quic) = (nowhere, nowhere);
        let mut server = Self { child, dir, dns: nowhere, tls: nowhere, https, quic, http: nowhere, primary };
        let address = |log: &str, what: &str| -> Option<SocketAddr> {
            let line = log.lines().find(|line| line.contains(what))?;
            line.rsplit_once("address=")?.1.trim().parse().ok()
        };
        wait_for("its addresses", || {
            let log = server.log();
            let served = [
                "serving",
                "serving DNS over TLS",
                "serving DNS over HTTPS",
                "serving DNS over QUIC",
                "metrics on /metrics",
            ];
            let found = served.map(|what| address(&log, &format!("{what} address=")));
            let [Some(dns), Some(tls), Some(https), Some(quic), Some(http)] = found else { return false };
            (server.dns, server.tls, server.https, server.quic, server.http) = (dns, tls, https, quic, http);
            true
        });
        wait_for("a signed zone", || server.answers_udp() && server.answers_tls() && server.is_healthy());
        wait_for("the zone of the primary", || server.has_latest_transfer());
        server
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder that its certificate is in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("site/online/offline-ksk.toml")
    }

    /// Puts another text in place of the configuration and has the server read it.
    pub fn configure(&self, text: &str) {
        replace(&self.config(), text);
        let hangup = Command::new("kill").args(["-HUP", &self.pid().to_string()]).status();
        assert!(hangup.unwrap().success());
    }

    pub fn zone_file(&self) -> PathBuf {
        let online = self.dir.path().join("site/online");
        let zone = |path: &Path| path.extension().is_some_and(|e| e == "zone");
        fs::read_dir(online).unwrap().map(|e| e.unwrap().path()).find(|p| zone(p)).expect("a zone file")
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Octets of memory that it has now.
    pub fn memory(&self) -> usize {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap_or_default();
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
        pages.unwrap_or(0) * 4096
    }

    /// How often a query for a name over UDP had to be sent until it was answered well, at most three times, as a resolver does; `None`: it was not.
    pub fn asks_udp(&self, name: &[u8]) -> Option<usize> {
        (1..=3).find(|_| self.answers_datagram(name, Duration::from_secs(1)))
    }

    /// True when one datagram is answered well in this time.
    pub fn answers_datagram(&self, name: &[u8], time: Duration) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(time)).unwrap();
        let mut answer = [0; 4096];
        socket.send_to(&query(name), self.dns).is_ok()
            && socket.recv(&mut answer).is_ok_and(|read| is_good(&answer[..read]))
    }

    pub fn answers_udp(&self) -> bool {
        NAMES.iter().all(|name| self.asks_udp(name).is_some())
    }

    /// True when the last version of the primary is served.
    pub fn has_latest_transfer(&self) -> bool {
        self.serial_of(primary::WIRE) == Some(self.primary.serial())
    }

    /// The same over TCP, from a network of its own.
    pub fn answers_tcp(&self) -> bool {
        connect(GOOD_CLIENT, self.dns).is_ok_and(|mut stream| asks(&mut stream))
    }

    /// The same over TLS, with the certificate of the server verified.
    pub fn answers_tls(&self) -> bool {
        self.connect_tls(GOOD_CLIENT, true).is_ok_and(|mut stream| asks(&mut stream))
    }

    /// A connection of TLS from an address; the certificate must be the one in the server's folder if `verified`.
    pub fn connect_tls(&self, from: Ipv4Addr, verified: bool) -> std::io::Result<SslStream<TcpStream>> {
        self.encrypt(connect(from, self.tls)?, verified)
    }

    /// The same on a connection that is open.
    pub fn encrypt(&self, stream: TcpStream, verified: bool) -> std::io::Result<SslStream<TcpStream>> {
        let mut context = SslContext::builder(SslMethod::tls_client())?;
        let [file, _] = certificate::files(self.dir(), CERTIFICATE);
        context.set_ca_file(file)?;
        context.set_verify(if verified { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
        let mut ssl = Ssl::new(&context.build())?;
        ssl.set_hostname("server.example")?;
        ssl.param_mut().set_host("server.example")?;
        ssl.connect(stream).map_err(|error| std::io::Error::other(error.to_string()))
    }

    pub fn is_healthy(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.http) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut answer = String::new();
        stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200 ")
    }

    /// What `status` says of the conditions.
    pub fn status(&self) -> String {
        let status = Command::new(env!("CARGO_BIN_EXE_offline-ksk"))
            .args(["status", "-c"])
            .arg(self.config())
            .output();
        String::from_utf8(status.unwrap().stdout).unwrap()
    }

    /// What the option NSID of an answer has.
    pub fn nsid(&self) -> Option<Vec<u8>> {
        const OPT_WITH_NSID: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x04\x00\x03\x00\x00";
        let mut query = query(b"\x03www\x04demo\x07example\x00");
        query[11] = 1;
        query.extend_from_slice(OPT_WITH_NSID);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
        let mut answer = [0; 4096];
        socket.send_to(&query, self.dns).ok()?;
        let read = socket.recv(&mut answer).ok()?;
        let (code, _) = OPT_WITH_NSID[11..].split_at(2);
        let at = answer[..read].windows(2).rposition(|pair| pair == code)?;
        answer[at + 4..read].get(..usize::from(answer[at + 3])).map(<[u8]>::to_vec)
    }

    pub fn serial(&self) -> Option<u32> {
        self.serial_of(b"\x04demo\x07example\x00")
    }

    fn serial_of(&self, zone: &[u8]) -> Option<u32> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
        let mut query = query(zone);
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

/// Puts a file in place by a rename.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("renamed");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < RECOVERY, "waited {RECOVERY:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    start.elapsed()
}

/// A query for the A records of a name.
pub fn query(name: &[u8]) -> Vec<u8> {
    [b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", name, b"\x00\x01\x00\x01"].concat()
}

/// A query for the DNSKEY RRset with its signatures, whose answer is large.
pub fn large_query() -> Vec<u8> {
    let mut query = query(b"\x04demo\x07example\x00");
    let (rtype, count) = (query.len() - 3, 11);
    (query[rtype], query[count]) = (48, 1);
    query.extend_from_slice(b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00");
    query
}

/// An update that adds a record, signed by nobody (RFC 2136), and with a TSIG record that no key has made.
pub fn updates() -> [Vec<u8>; 2] {
    const ZONE: &[u8] = b"\x04demo\x07example\x00\x00\x06\x00\x01";
    const RECORD: &[u8] = b"\x03new\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x07";
    let signature = [
        &b"\x04acme\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x3d\x0bhmac-sha256\x00\x00\x00\x6b\x00\x00\x00\x01\x2c\x00\x20"[..],
        &[7; 32],
        b"\x12\x34\x00\x00\x00\x00",
    ]
    .concat();
    let message = |additional: u8, end: &[u8]| {
        let head = [0x12, 0x34, 0x28, 0, 0, 1, 0, 0, 0, 1, 0, additional];
        [&head[..], ZONE, RECORD, end].concat()
    };
    [message(0, &[]), message(1, &signature)]
}

/// A message behind its length.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

/// True for a response to [`query`] with NOERROR and an answer.
pub fn is_good(answer: &[u8]) -> bool {
    answer.len() >= 12
        && answer[..2] == *b"\x12\x34"
        && answer[2] & 0x80 != 0
        && answer[3] & 15 == 0
        && answer[7] > 0
}

/// True when a query on this connection is answered well.
pub fn asks(stream: &mut (impl Read + Write)) -> bool {
    let query = framed(&query(b"\x03www\x04demo\x07example\x00"));
    let mut len = [0; 2];
    if stream.write_all(&query).is_err() || stream.read_exact(&mut len).is_err() {
        return false;
    }
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut answer).is_ok() && is_good(&answer)
}

pub fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
