//! Real secondaries, configured as the manual says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::common::{self, Named};
use crate::primary::SECRET;

const PAGE: &str = include_str!("../../../docs/manual/transfers.md");

/// Products that are secondaries here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Bind,
    Knot,
    Nsd,
}

/// A secondary that ends when it is dropped.
pub struct Secondary {
    pub product: Product,
    pub address: SocketAddr,
    dir: PathBuf,
    named: Option<Named>,
    child: Option<Child>,
}

/// The first block behind a heading of the page, with a secret in the place for it.
pub fn block(heading: &str) -> String {
    block_of(PAGE, heading)
}

/// The same of another page.
pub fn block_of(page: &str, heading: &str) -> String {
    let behind = page.split(&format!("\n## {heading}\n")).nth(1).expect(heading);
    let block = behind.split("\n```").nth(1).expect("a block");
    let block = block.split_once('\n').expect("the kind of the block, then the block").1;
    block.replace("SECRET-OF-XFR", SECRET)
}

/// `text` with each of `changes` made; each must have a place.
pub fn changed(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the page has no {from}: {text}");
        text.replace(from, to)
    })
}

impl Secondary {
    /// Starts it on `port` of 127.0.0.1, in a folder of its own.
    pub fn start(product: Product, dir: &Path, port: u16, primary: SocketAddr) -> Self {
        std::fs::create_dir_all(dir).expect("a folder");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut secondary = Self { product, address, dir: dir.to_owned(), named: None, child: None };
        let from = primary.port();
        let (program, text) = match product {
            Product::Bind => {
                let statements = changed(
                    &block("BIND: `named.conf`"),
                    &[
                        ("192.0.2.1", &format!("127.0.0.1 port {from}")),
                        ("type secondary;", "type secondary; allow-transfer { any; };"),
                    ],
                );
                secondary.named = Some(Named::start_at(dir, &statements, port).expect("named"));
                return secondary;
            }
            Product::Knot => ("knotd", knot(dir, port, from)),
            Product::Nsd => ("nsd", nsd(dir, port, from)),
        };
        let conf = dir.join("conf");
        std::fs::write(&conf, text).expect("write");
        let mut command = common::peer(program).expect("it was there");
        if product == Product::Nsd {
            command.arg("-d");
        }
        let output = std::fs::File::create(dir.join("output")).expect("a file");
        let child = command.arg("-c").arg(&conf).stdout(Stdio::null()).stderr(output).spawn();
        secondary.child = Some(child.unwrap_or_else(|e| panic!("{program}: {e}")));
        secondary
    }

    /// Sends a signal to it and to all processes that it has started.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let first = match &self.child {
            Some(child) => child.id().to_string(),
            None => read(self.dir.join("named.pid")).trim().to_owned(),
        };
        let mut waiting = vec![first];
        while let Some(pid) = waiting.pop() {
            let children = read(format!("/proc/{pid}/task/{pid}/children").into());
            waiting.extend(children.split_whitespace().map(str::to_owned));
            if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                // One that has ended meanwhile needs none.
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        match &self.named {
            Some(named) => named.log(),
            None => std::fs::read_to_string(self.dir.join("log")).unwrap_or_default(),
        }
    }

    /// How many times it asked for the whole zone, by its log. An IXFR that is answered with the whole zone does not count.
    pub fn full_requests(&self) -> usize {
        let log = self.log();
        let count =
            |said: &[&str]| log.lines().filter(|line| said.iter().all(|word| line.contains(word))).count();
        match self.product {
            Product::Bind => count(&["requesting AXFR"]),
            Product::Knot => {
                count(&[" AXFR, incoming", ", started"]) - count(&["receiving AXFR-style IXFR"])
                    + count(&["fallback to AXFR"])
            }
            Product::Nsd => count(&["request full zone transfer (AXFR)"]),
        }
    }
}

impl Drop for Secondary {
    fn drop(&mut self) {
        // A test may have stopped it.
        self.signal(rustix::process::Signal::CONT);
        if let Some(child) = &mut self.child {
            // SIGTERM, since a killed nsd leaves its children.
            let pid = rustix::process::Pid::from_child(child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }
}

fn knot(dir: &Path, port: u16, from: u16) -> String {
    let zone = changed(
        &block("Knot: `knot.conf`"),
        &[
            (
                "    address: 192.0.2.1\n    key: xfr\nacl:",
                &format!("    address: 127.0.0.1@{from}\n    key: xfr\nacl:"),
            ),
            ("    address: 192.0.2.1\n", "    address: 127.0.0.1\n"),
            ("acl:\n  - id", "acl:\n  - id: test\n    address: 127.0.0.1\n    action: transfer\n  - id"),
            ("acl: signer-notify", "acl: [signer-notify, test]"),
        ],
    );
    let dir = dir.display();
    format!(
        "server:\n    rundir: {dir}\n    listen: 127.0.0.1@{port}\ncontrol:\n    listen: {dir}/knot.sock\nlog:\n  - target: {dir}/log\n    any: info\n\
         database:\n    storage: {dir}\ntemplate:\n  - id: default\n    storage: {dir}\n{zone}"
    )
}

fn nsd(dir: &Path, port: u16, from: u16) -> String {
    let zone = changed(
        &block("NSD: `nsd.conf`"),
        &[
            ("request-xfr: 192.0.2.1", &format!("request-xfr: 127.0.0.1@{from}")),
            ("allow-notify: 192.0.2.1 xfr", "allow-notify: 127.0.0.1 xfr\n  provide-xfr: 127.0.0.1 NOKEY"),
        ],
    );
    let dir = dir.display();
    format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  port: {port}\n  username: \"\"\n  zonesdir: \"{dir}\"\n  pidfile: \"\"\n  logfile: \"{dir}/log\"\n\
         \x20 xfrdfile: \"{dir}/xfrd\"\n  xfrdir: \"{dir}\"\n  zonelistfile: \"{dir}/zonelist\"\n  server-count: 1\n  verbosity: 3\n\
         \x20 xfrd-reload-timeout: 0\nremote-control:\n  control-enable: no\n{zone}"
    )
}
