//! Our signer as the secondary of real primaries, configured as the manual says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use keystore::clock;
use keystore::config::Config;
use keystore::dns::Rtype;
use metrics::Metrics;
use signer_plugin::border::SignerHandler;
use signer_plugin::border::server::{Listen, Server};
use signer_plugin::incoming::PrimaryFollower;
use signer_plugin::runtime::Signer;
use signer_plugin::transfer::notify::Notifier;

use crate::common::{self, Named};
use crate::primary::{self, ZONE};
use crate::secondaries::{Product, block, changed};
use crate::{records_at, serial_at};

/// Names of the zone.
const HOSTS: u32 = 300;
/// How old what we serve may be.
const STALE: Duration = Duration::from_secs(5);
const CHANGES: u32 = 10;

/// A primary of a product, which ends when it is dropped.
pub struct Peer {
    pub address: SocketAddr,
    pub file: PathBuf,
    pub named: Option<Named>,
    child: Option<Child>,
}

impl Peer {
    /// Starts it on `port` of 127.0.0.1 with our signer at `ours`.
    pub fn start(product: Product, dir: &Path, port: u16, ours: u16) -> Self {
        Self::start_edited(product, dir, port, ours, str::to_owned)
    }

    /// The same with its configuration changed by `edit`.
    pub fn start_edited(
        product: Product,
        dir: &Path,
        port: u16,
        ours: u16,
        edit: impl Fn(&str) -> String,
    ) -> Self {
        std::fs::create_dir_all(dir).expect("a folder");
        let file = dir.join("example.com.zone");
        std::fs::write(&file, text(1)).expect("write");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut peer = Self { address, file, named: None, child: None };
        let dir_text = dir.display();
        let (program, text) = match product {
            Product::Bind => {
                let block = block("BIND as primary: `named.conf`");
                let statements = changed(&block, &[("192.0.2.1", &format!("127.0.0.1 port {ours}"))]);
                peer.named = Some(Named::start_at(dir, &edit(&statements), port).expect("named"));
                return peer;
            }
            Product::Knot => {
                let zone = changed(
                    &block("Knot as primary: `knot.conf`"),
                    &[
                        (
                            "    address: 192.0.2.1\n    key: xfr\nacl:",
                            &format!("    address: 127.0.0.1@{ours}\n    key: xfr\nacl:"),
                        ),
                        ("    address: 192.0.2.1\n", "    address: 127.0.0.1\n"),
                    ],
                );
                let server = format!(
                    "server:\n    rundir: {dir_text}\n    listen: 127.0.0.1@{port}\ncontrol:\n    listen: {dir_text}/knot.sock\nlog:\n  - target: {dir_text}/log\n    any: info\n\
                     database:\n    storage: {dir_text}\ntemplate:\n  - id: default\n    storage: {dir_text}\n{zone}"
                );
                ("knotd", server)
            }
            Product::Nsd => {
                let zone = changed(
                    &block("NSD as primary: `nsd.conf`"),
                    &[
                        ("provide-xfr: 192.0.2.1", "provide-xfr: 127.0.0.1"),
                        ("notify: 192.0.2.1", &format!("notify: 127.0.0.1@{ours}")),
                    ],
                );
                let server = format!(
                    "server:\n  ip-address: 127.0.0.1@{port}\n  port: {port}\n  username: \"\"\n  zonesdir: \"{dir_text}\"\n  pidfile: \"\"\n  logfile: \"{dir_text}/log\"\n\
                     \x20 xfrdfile: \"{dir_text}/xfrd\"\n  xfrdir: \"{dir_text}\"\n  zonelistfile: \"{dir_text}/zonelist\"\n  server-count: 1\n  verbosity: 3\n\
                     \x20 xfrd-reload-timeout: 0\nremote-control:\n  control-enable: no\n{zone}"
                );
                ("nsd", server)
            }
        };
        let conf = dir.join("conf");
        std::fs::write(&conf, edit(&text)).expect("write");
        let mut command = common::peer(program).expect("it was there");
        if product == Product::Nsd {
            command.arg("-d");
        }
        let output = std::fs::File::create(dir.join("output")).expect("a file");
        let child = command.arg("-c").arg(&conf).stdout(Stdio::null()).stderr(output).spawn();
        peer.child = Some(child.unwrap_or_else(|e| panic!("{program}: {e}")));
        peer
    }

    /// Has it serve the zone with this serial.
    pub fn publish(&self, serial: u32) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, text(serial)).expect("write");
        std::fs::rename(&new, &self.file).expect("rename");
        match (&self.named, &self.child) {
            (Some(named), _) => {
                let output = named.rndc(&["reload", ZONE]);
                assert!(output.status.success(), "{output:?}");
            }
            (None, Some(child)) => {
                let pid = rustix::process::Pid::from_child(child);
                rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
            }
            (None, None) => panic!("it does not run"),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let pid = rustix::process::Pid::from_child(child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }
}

/// Our daemon's parts that take part in it.
pub struct Ours {
    pub metrics: Metrics,
    pub signer: Signer,
    server: Server,
    _follower: PrimaryFollower,
    _notifier: Notifier,
    runtime: tokio::runtime::Runtime,
}

impl Ours {
    pub fn start(config: &Config, port: u16) -> Self {
        let metrics = Metrics::new().expect("families");
        let signer = Signer::start(config, &metrics, Arc::new(clock::now)).expect("threads");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let tls = config.signer.iter().filter_map(|signer| signer.query.tls.as_ref());
        let tls = tls.flat_map(|tls| tls.listen.clone()).collect();
        let listen = Listen::on(vec![SocketAddr::from(([127, 0, 0, 1], port))]).with_tls(tls);
        let handler = SignerHandler::alone(signer.hosted());
        let server = runtime.block_on(async { Server::start(&listen, &handler) }).expect("a server");
        let follower = PrimaryFollower::new(runtime.handle().clone(), Arc::new(clock::now));
        follower.follow(signer.from_primaries());
        let notifier = Notifier::new(runtime.handle().clone(), Arc::new(clock::now));
        notifier.follow(signer.transfers());
        Self { metrics, signer, server, _follower: follower, _notifier: notifier, runtime }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    pub fn transfers(&self, kind: &str, result: &str) -> u64 {
        self.metrics.incoming_transfers_total.with_label_values(&["example.com.", kind, result]).get()
    }

    pub fn stop(self) {
        drop(self.signer);
        self.runtime.block_on(self.server.shutdown());
        self.runtime.shutdown_background();
    }
}

/// The zone file of a primary.
pub fn text(serial: u32) -> String {
    let mut text = format!(
        "$TTL 300\n@ SOA ns h {serial} 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\nchanged TXT \"{serial}\"\nWww CNAME ns\nmx MX 5 a.mx\n"
    );
    for host in 0..HOSTS {
        text.push_str(&format!("host{host} A 192.0.2.{}\n", if host == serial { 1 } else { 250 }));
    }
    text
}

#[test]
fn our_signer_follows_primaries_of_three_products_by_notify_and_ixfr_and_serves_without_them() {
    if ["dig", "rndc", "named", "knotd", "nsd", "dnssec-verify"]
        .iter()
        .any(|program| common::peer(program).is_none())
    {
        return;
    }
    std::thread::scope(|scope| {
        for product in [Product::Bind, Product::Knot, Product::Nsd] {
            scope.spawn(move || follows(product));
        }
    });
}

fn follows(product: Product) {
    let dir = tempfile::tempdir().expect("a folder");
    let (port, ours) = (common::free_port(), common::free_port());
    let peer = Peer::start(product, &dir.path().join("peer"), port, ours);
    let table = changed(
        &block("A zone from primaries: `offline-ksk.toml`"),
        &[
            ("192.0.2.10", &peer.address.to_string()),
            (", { address = \"192.0.2.11:53\", key = \"xfr\" }", ""),
        ],
    );
    let allow = "allow-transfer = [{ address = \"127.0.0.0/8\", key = \"xfr\" }]\nmin-retry = 1\n";
    let config = primary::prepare(dir.path(), &table.replace("[[zone]]", &format!("{allow}[[zone]]")));
    let us = Ours::start(&config, ours);
    let serves = |us: &Ours, serial: u32, limit: Duration| {
        common::wait_for(&format!("{product:?}: serial {serial}"), limit, || {
            let text = txt_at(us.address())?;
            (text == format!("\"{serial}\"")).then_some(())
        });
    };
    serves(&us, 1, Duration::from_secs(30));
    let mut last = serial_at(us.address()).expect("a serial");
    for serial in 2..2 + CHANGES {
        peer.publish(serial);
        serves(&us, serial, STALE);
        let now = serial_at(us.address()).expect("a serial");
        assert!(now > last, "{product:?}: {now} after {last}");
        last = now;
    }
    assert_eq!(us.transfers("axfr", "ok"), 1, "{product:?}: the whole zone came once");
    assert!(us.transfers("ixfr", "ok") >= 1, "{product:?}");
    assert_eq!((us.transfers("axfr", "failed"), us.transfers("ixfr", "failed")), (0, 0), "{product:?}");
    let key = format!("hmac-sha256:{}:{}", primary::KEY, primary::SECRET);
    let data = |address| {
        let made_here = ["RRSIG", "NSEC", "DNSKEY", "CDS", "CDNSKEY", "SOA"];
        let is_data = |line: &String| !made_here.contains(&line.split(' ').nth(3).expect("a type"));
        // Knot and NSD keep owner names in lower case.
        let lower = |line: String| line.to_lowercase();
        records_at(address, Some(&key)).into_iter().filter(is_data).map(lower).collect::<Vec<_>>()
    };
    let (mut theirs, mut here) = (data(peer.address), data(us.address()));
    theirs.sort();
    here.sort();
    assert_eq!(theirs, here, "{product:?}");
    let signed: String =
        records_at(us.address(), Some(&key)).iter().map(|line| format!("{line}\n")).collect();
    let file = dir.path().join("transferred");
    std::fs::write(&file, signed).expect("write");
    common::run(common::peer("dnssec-verify").expect("there").args(["-o", ZONE]).arg(&file));
    // Without the primary a restart serves what came last, under the serial that was served.
    drop(peer);
    us.stop();
    let us = Ours::start(&config, ours);
    serves(&us, 1 + CHANGES, Duration::from_secs(30));
    assert_eq!(serial_at(us.address()), Some(last), "{product:?}");
    us.stop();
}

#[test]
fn zone_follows_the_primary_that_goes_ahead_beside_one_that_stays_and_beside_one_that_hangs() {
    let dir = tempfile::tempdir().expect("a folder");
    let ports = [common::free_port(), common::free_port()];
    let zone =
        format!("[[zone]]\nname = \"{ZONE}\"\npolicy = \"common\"\ntrust-anchor-file = \"{ZONE}.anchors\"\n");
    let start = |name: &str, source: &str, port: u16| {
        let dir = dir.path().join(name);
        std::fs::create_dir_all(&dir).expect("a folder");
        std::fs::write(dir.join("zone"), text(1)).expect("write");
        let tables = format!(
            "[transfer]\nkey-files = [\"xfr.key\"]\nmin-retry = 1\nallow-transfer = [{{ address = \"127.0.0.0/8\", key = \"xfr\" }}]\n{source}"
        );
        Ours::start(&primary::prepare(&dir, &tables), port)
    };
    let told = ports.map(|port| format!("{{ address = \"127.0.0.1:{port}\", key = \"xfr\" }}")).join(", ");
    let source = format!("notify = [{told}]\n{zone}file = \"zone\"\n");
    let [stays, goes] = ["stays", "goes"].map(|name| start(name, &source, common::free_port()));
    // A look at one that does not serve yet goes on to the one that hangs, which takes longer than this test waits.
    for primary in [&stays, &goes] {
        common::wait_for("the first version", Duration::from_secs(20), || txt_at(primary.address()));
    }
    // It takes connections, and says nothing on them for longer than this test takes.
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let hangs_at = hangs.local_addr().expect("an address");
    let from = |name: &str, primaries: [SocketAddr; 2], port: u16| {
        let listed = primaries.map(|at| format!("{{ address = \"{at}\", key = \"xfr\" }}")).join(", ");
        start(name, &format!("{zone}primaries = [{listed}]\n"), port)
    };
    // The one that is asked first has nothing new, or the one behind it never answers.
    let secondaries = [
        from("beside-stays", [stays.address(), goes.address()], ports[0]),
        from("beside-hangs", [goes.address(), hangs_at], ports[1]),
    ];
    let file = dir.path().join("goes/zone");
    for serial in [1, 7, 9] {
        std::fs::write(file.with_extension("new"), text(serial)).expect("write");
        std::fs::rename(file.with_extension("new"), &file).expect("rename");
        for secondary in &secondaries {
            common::wait_for(&format!("serial {serial}"), Duration::from_secs(20), || {
                (txt_at(secondary.address())? == format!("\"{serial}\"")).then_some(())
            });
        }
    }
    secondaries.into_iter().chain([stays, goes]).for_each(Ours::stop);
}

/// The text of the name that changes.
pub fn txt_at(address: SocketAddr) -> Option<String> {
    let until = std::time::Instant::now() + Duration::from_secs(2);
    let name = keystore::dns::Name::parse(&format!("changed.{ZONE}")).expect("a name");
    let answer = skr_loader::ask::Asker::new(address, None).ask(&name, Rtype::TXT, until).ok()?;
    let rdata = answer.rrset.rdatas.first()?;
    Some(format!("\"{}\"", String::from_utf8_lossy(rdata.get(1..)?)))
}
