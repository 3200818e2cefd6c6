//! Our signer is killed while updates come and no secondary has what came last. Started again, it has each update that it accepted, no serial goes
//! back, and secondaries of three products follow on by differences.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::primary::{ZONE, prepare};
use crate::secondaries::{Product, Secondary};
use crate::{common, records_at, serial_at};

/// How often it is killed, and the updates that are answered before each time.
const KILLED: usize = 4;
const UPDATES: usize = 5;

/// `offline-ksk serve` on a port of its own.
struct Daemon {
    child: Child,
    address: SocketAddr,
}

impl Daemon {
    fn start(dir: &Path, port: u16) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_offline-ksk"))
            .args(["serve", "-c"])
            .arg(dir.join("offline-ksk.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        common::wait_for("the first answer", Duration::from_secs(30), || serial_at(address));
        Self { child, address }
    }

    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// nsupdate with an update for each of these names, one after the other; it has begun.
fn update(dir: &Path, port: u16, names: &[String]) -> Child {
    let mut child = common::peer("nsupdate")
        .expect("it was there")
        .arg("-k")
        .arg(dir.join("xfr.key"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let added = names.iter().map(|name| format!("update add {name}.{ZONE} 60 A 192.0.2.9\nsend\n"));
    let text = format!("server 127.0.0.1 {port}\nzone {ZONE}\n{}", added.collect::<String>());
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    child
}

/// The zone, on these ports.
fn site(dir: &Path, port: u16, told: &[u16; 3]) {
    let hosts: String = (0..200).map(|n| format!("host{n} A 192.0.2.{n}\n")).collect();
    let text =
        format!("$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\nWww CNAME ns\n{hosts}");
    std::fs::write(dir.join("zone"), text).expect("write");
    let notify = told.map(|port| format!("{{ address = \"127.0.0.1:{port}\", key = \"xfr\" }}")).join(", ");
    let tables = format!(
        "[[zone]]\nname = \"{ZONE}\"\npolicy = \"common\"\nfile = \"zone\"\ntrust-anchor-file = \"{ZONE}.anchors\"\n\
         update = [{{ key = \"xfr\", names = \"zone\" }}]\n\
         [transfer]\nkey-files = [\"xfr.key\"]\nallow-transfer = [{{ key = \"xfr\" }}]\nnotify = [{notify}]\n"
    );
    prepare(dir, &tables);
    let path = dir.join("offline-ksk.toml");
    let text = std::fs::read_to_string(&path).expect("it was written");
    std::fs::write(&path, text.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))).expect("write");
}

#[test]
fn secondaries_follow_by_differences_behind_a_signer_that_is_killed_while_updates_come() {
    let programs = ["dig", "rndc", "named", "knotd", "nsd", "nsupdate"];
    if programs.iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let products = [Product::Bind, Product::Knot, Product::Nsd];
    let (port, ports) = (common::free_port(), products.map(|_| common::free_port()));
    site(dir, port, &ports);
    let mut daemon = Daemon::start(dir, port);
    let secondaries = [0, 1, 2].map(|n| {
        let folder: PathBuf = dir.join(format!("{:?}", products[n]));
        Secondary::start(products[n], &folder, ports[n], daemon.address)
    });
    // Behind a crash one more version is made soon after the first answer.
    let follow = |daemon: &Daemon| {
        for secondary in &secondaries {
            let what = format!("{:?} to have what is served", secondary.product);
            common::wait_for(&what, Duration::from_secs(40), || {
                let serial = serial_at(daemon.address)?;
                serial_at(secondary.address).filter(|found| *found == serial)
            });
        }
        serial_at(daemon.address).expect("it answers")
    };
    let mut last = follow(&daemon);
    let mut accepted = Vec::new();
    for round in 0..KILLED {
        secondaries.iter().for_each(|secondary| secondary.signal(Signal::STOP));
        for number in 0..UPDATES {
            let name = [format!("r{round}u{number}")];
            if update(dir, port, &name).wait().expect("it ends").success() {
                accepted.extend(name);
            }
        }
        // More come, and the last of them are never answered.
        let before = serial_at(daemon.address).expect("it answers");
        let more: Vec<String> = (0..200).map(|number| format!("r{round}x{number}")).collect();
        let mut unanswered = update(dir, port, &more);
        common::wait_for("some of the updates", Duration::from_secs(20), || {
            let serial = serial_at(daemon.address)?;
            (serial.wrapping_sub(before) > 3 + round as u32).then_some(())
        });
        daemon.kill();
        let _ = unanswered.kill();
        let _ = unanswered.wait();
        daemon = Daemon::start(dir, port);
        secondaries.iter().for_each(|secondary| secondary.signal(Signal::CONT));
        let serial = follow(&daemon);
        assert!((1..1 << 31).contains(&serial.wrapping_sub(last)), "{serial} after {last}");
        last = serial;
    }
    assert_eq!(accepted.len(), KILLED * UPDATES);
    for secondary in &secondaries {
        let records = records_at(secondary.address, None);
        for name in &accepted {
            let owner = format!("{name}.{ZONE}. ");
            assert!(
                records.iter().any(|line| line.starts_with(&owner)),
                "{:?} has no {name}",
                secondary.product
            );
        }
        assert_eq!(secondary.full_requests(), 1, "{:?} asks for the whole zone once", secondary.product);
    }
    daemon.kill();
    let log = std::fs::read_to_string(dir.join("log")).expect("a log");
    let sent = |kind: &str| {
        log.lines().filter(|line| line.contains("a transfer was sent") && line.contains(kind)).count()
    };
    assert_eq!(sent("axfr"), products.len(), "each has the whole zone once: {log}");
    assert!(sent("ixfr") >= products.len() * KILLED, "{log}");
}
