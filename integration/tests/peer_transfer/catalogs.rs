//! Catalog zones: our signer makes one, and three products set up and take down zones by it, with the configuration that the manual prints.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use keystore::clock;
use keystore::config::Config;
use metrics::Metrics;
use signer_plugin::border::SignerHandler;
use signer_plugin::border::server::{Listen, Server};
use signer_plugin::runtime::Signer;
use signer_plugin::transfer::notify::Notifier;

use crate::common::{self, Named, free_port};
use crate::primary::{KEY, SECRET, ZONE, prepare};
use crate::secondaries::{block_of, changed};
use crate::serial_at;

const PAGE: &str = include_str!("../../../docs/manual/fleets.md");
const LIMIT: Duration = Duration::from_secs(30);

/// A signer with the catalog of the manual.
struct Producer {
    address: SocketAddr,
    signer: Signer,
    notifier: Notifier,
    config: Config,
    _server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Producer {
    fn start(dir: &Path, ports: &[u16; 3]) -> Self {
        let told = ports.map(|port| format!("127.0.0.1:{port}"));
        let tables = changed(
            &block_of(PAGE, "A catalog of the zones: `offline-ksk.toml`"),
            &[
                ("192.0.2.0/24", "127.0.0.0/8"),
                ("192.0.2.53", &told[0]),
                ("192.0.2.54", &told[1]),
                ("192.0.2.55", &told[2]),
            ],
        );
        let anchor = format!("{ZONE}.anchors");
        let zone = format!(
            "[[zone]]\nname = \"{ZONE}\"\npolicy = \"common\"\nfile = \"zone\"\ngroup = \"gold\"\ntrust-anchor-file = \"{anchor}\"\n{tables}"
        );
        let text = "$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\n";
        std::fs::write(dir.join("zone"), text).expect("write");
        let config = prepare(dir, &zone);
        Self::with(config)
    }

    fn with(config: Config) -> Self {
        let metrics = Metrics::new().expect("families");
        let signer = Signer::start(&config, &metrics, Arc::new(clock::now)).expect("a signer");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let listen = Listen::on(vec!["127.0.0.1:0".parse().expect("an address")]);
        let handler = SignerHandler::alone(signer.hosted());
        let server = runtime.block_on(async { Server::start(&listen, &handler) }).expect("a server");
        let notifier = Notifier::new(runtime.handle().clone(), Arc::new(clock::now));
        notifier.follow(signer.transfers());
        let address = server.addresses()[0];
        Self { address, signer, notifier, config, _server: server, _runtime: runtime }
    }

    fn reload(&self, change: impl Fn(&mut Config)) {
        let mut config = self.config.clone();
        change(&mut config);
        self.signer.reload(&config).expect("the configuration");
        self.notifier.follow(self.signer.transfers());
    }
}

/// A program that ends when this is dropped.
enum Consumer {
    Named(#[allow(dead_code, reason = "ends named when it is dropped")] Named),
    Child(Child),
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if let Self::Child(child) = self {
            // SIGTERM, since a killed nsd leaves its children.
            let pid = rustix::process::Pid::from_child(child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }
}

fn bind(dir: &Path, port: u16, from: u16) -> Consumer {
    let text = changed(
        &block_of(PAGE, "BIND as consumer: `named.conf`"),
        &[
            ("192.0.2.1", &format!("127.0.0.1 port {from}")),
            // The test has options of its own.
            ("options {", "view \"all\" {"),
            ("  };\n};\nzone", "  };\nzone"),
        ],
    );
    std::fs::create_dir_all(dir).expect("a folder");
    Consumer::Named(Named::start_at(dir, &format!("{text}}};\n"), port).expect("named"))
}

fn knot(dir: &Path, port: u16, from: u16) -> Consumer {
    let text = changed(
        &block_of(PAGE, "Knot as consumer: `knot.conf`"),
        &[
            (
                "    address: 192.0.2.1\n    key: xfr\nacl:",
                &format!("    address: 127.0.0.1@{from}\n    key: xfr\nacl:"),
            ),
            ("    address: 192.0.2.1\n", "    address: 127.0.0.1\n"),
        ],
    );
    let folder = dir.display();
    let text = text.replace("template:\n", &format!("template:\n  - id: default\n    storage: {folder}\n"));
    let text = text.replace("  - id: member\n", &format!("  - id: member\n    storage: {folder}\n"));
    let head = format!(
        "server:\n    rundir: {folder}\n    listen: 127.0.0.1@{port}\ncontrol:\n    listen: {folder}/knot.sock\nlog:\n  - target: {folder}/log\n    any: info\n\
         database:\n    storage: {folder}\n"
    );
    start("knotd", dir, &(head + &text))
}

fn nsd(dir: &Path, port: u16, from: u16) -> Consumer {
    let text = changed(
        &block_of(PAGE, "NSD as consumer: `nsd.conf`"),
        &[
            ("request-xfr: 192.0.2.1", &format!("request-xfr: 127.0.0.1@{from}")),
            ("allow-notify: 192.0.2.1", "allow-notify: 127.0.0.1"),
        ],
    );
    let folder = dir.display();
    let head = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  port: {port}\n  username: \"\"\n  zonesdir: \"{folder}\"\n  pidfile: \"\"\n  logfile: \"{folder}/log\"\n\
         \x20 xfrdfile: \"{folder}/xfrd\"\n  xfrdir: \"{folder}\"\n  zonelistfile: \"{folder}/zonelist\"\n  server-count: 1\n  verbosity: 3\n\
         \x20 xfrd-reload-timeout: 0\nremote-control:\n  control-enable: yes\n  control-interface: \"{folder}/control\"\n"
    );
    start("nsd", dir, &(head + &text))
}

fn start(program: &str, dir: &Path, text: &str) -> Consumer {
    std::fs::create_dir_all(dir).expect("a folder");
    std::fs::write(dir.join("conf"), text).expect("write");
    let mut command = common::peer(program).expect("it was there");
    if program == "nsd" {
        command.arg("-d");
    }
    let output = std::fs::File::create(dir.join("output")).expect("a file");
    let child = command.arg("-c").arg(dir.join("conf")).stdout(Stdio::null()).stderr(output).spawn();
    Consumer::Child(child.unwrap_or_else(|e| panic!("{program}: {e}")))
}

/// What dig says of the catalog at `address`, with one space between two words.
fn dig(address: SocketAddr, words: &[&str]) -> String {
    let mut dig = common::peer("dig").expect("it was there");
    dig.args(["@127.0.0.1", "-p", &address.port().to_string(), "+noedns", "+time=2", "+tries=1"]);
    let text = common::text(&dig.args(words).output().expect("a run"));
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn consumers_of_three_products_set_up_and_take_down_what_our_catalog_says() {
    if ["dig", "rndc", "named", "knotd", "nsd"].iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let ports = [(); 3].map(|()| free_port());
    let producer = Producer::start(dir.path(), &ports);
    let from = producer.address.port();
    let at = |name: &str| dir.path().join(name);
    let _consumers = [
        bind(&at("bind"), ports[0], from),
        knot(&at("knot"), ports[1], from),
        nsd(&at("nsd"), ports[2], from),
    ];
    let addresses = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let all = |what: &str, is_there: bool| {
        for (address, product) in addresses.iter().zip(["BIND", "Knot", "NSD"]) {
            common::wait_for(&format!("{product}: {what}"), LIMIT, || {
                (serial_at(*address).is_some() == is_there).then_some(())
            });
        }
    };
    all("the zone of the catalog", true);
    let key = format!("hmac-sha256:{KEY}:{SECRET}");
    let axfr = dig(producer.address, &["-y", &key, "+onesoa", "AXFR", "catalog.example"]);
    for words in [
        " SOA invalid. invalid. ",
        " NS invalid.",
        "version.catalog.example.",
        "\"2\"",
        " PTR example.com.",
        "\"gold\"",
    ] {
        assert!(axfr.contains(words), "{words}: {axfr}");
    }
    // Those who may transfer it see its SOA record, and nobody sees anything else.
    for (words, status) in [
        (vec!["-y", key.as_str(), "SOA", "catalog.example"], "NOERROR"),
        (vec!["-y", key.as_str(), "NS", "catalog.example"], "REFUSED"),
        (vec!["SOA", "catalog.example"], "REFUSED"),
        (vec!["TXT", "version.catalog.example"], "REFUSED"),
    ] {
        let said = dig(producer.address, &words);
        assert!(said.contains(&format!("status: {status}")), "{words:?}: {said}");
    }
    let said = dig(producer.address, &["AXFR", "catalog.example"]);
    assert!(said.contains("Transfer failed"), "{said}");

    producer.reload(|config| config.zones.clear());
    all("the zone to be gone", false);
    producer.reload(|_| ());
    all("the zone to be back", true);
    // The changes went out as differences, and a restart serves the same version.
    let serial = |address| {
        let said = dig(address, &["-y", &key, "+short", "SOA", "catalog.example"]);
        said.split(' ')
            .nth(2)
            .and_then(|serial| serial.parse::<u32>().ok())
            .unwrap_or_else(|| panic!("{said}"))
    };
    let before = serial(producer.address);
    let config = producer.config.clone();
    drop(producer);
    let again = Producer::with(config);
    let after = common::wait_for("the catalog of the restart", LIMIT, || {
        dig(again.address, &["-y", &key, "SOA", "catalog.example"])
            .contains("NOERROR")
            .then(|| serial(again.address))
    });
    assert_eq!(before, after);
}
