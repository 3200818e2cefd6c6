//! The programs of `docs/manual/hickory.md` are those of `examples/`; they run, and `dig` asks them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use keystore::dns::Rtype;
use keystore::exchange::TrustAnchor;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};
use keystore::store;
use keystore::time::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

use super::*;

const PAGE: &str = include_str!("../../../../../docs/manual/hickory.md");
const SERVE: &str = include_str!("../../../../examples/serve.rs");
const ZONES: &str = include_str!("../../../../examples/zones.rs");
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn page_prints_the_programs_of_the_examples_as_they_are() {
    for (name, program) in [("serve", SERVE), ("zones", ZONES)] {
        assert!(
            PAGE.contains(&format!("\n```rust\n{program}```\n")),
            "docs/manual/hickory.md differs from examples/{name}.rs"
        );
    }
    assert!(SERVE.lines().count() <= 42, "{} lines", SERVE.lines().count());
}

/// The folders of two zones, `a.test` and `b.test`, whose SKRs were accepted.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        let start = keystore::clock::now().minus(3600);
        let mut text = String::from(
            "version = 1\nstate-dir = \".\"\n[signer]\nlisten = [\"127.0.0.1:0\"]\n[policy.p]\noffline-ksk = true\nkeys = [\
             { role = \"ksk\", lifetime = \"unlimited\", algorithm = 15 }, { role = \"zsk\", lifetime = \"unlimited\", algorithm = 15 }]\n",
        );
        for zone in ["a.test.", "b.test."] {
            site.add(zone, start);
            let TrustAnchor::Dnskey(ksk) = &SkrBuilder::new(zone, start).anchors()[0] else {
                panic!("a key")
            };
            let ksk = keystore::dns::rdata::to_text(Rtype::DNSKEY, &ksk.to_rdata(), None);
            text.push_str(&format!(
                "[[zone]]\nname = \"{zone}\"\npolicy = \"p\"\nfile = \"{zone}zone\"\ntrust-anchors = [\"{zone} IN DNSKEY {ksk}\"]\n"
            ));
        }
        site.write("offline-ksk.toml", &text);
        site
    }

    fn add(&self, zone: &str, start: Timestamp) {
        let text =
            "$TTL 300\n@ SOA ns admin 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\n";
        self.write(&format!("{zone}zone"), text);
        let timing = Timing { publish: Some(start), activate: Some(start), ..Timing::default() };
        let dnskey = TestKey::zsk(2).dnskey;
        let name = Name::parse(zone).unwrap();
        let dir = self.path("keys");
        let key = KeyFile { zone: name, ttl: 3600, dnskey, timing, state: None, dir };
        fs::create_dir_all(self.path("keys")).unwrap();
        key.write(&keystore::crypto::PrivateKey::Raw(vec![2; 32])).unwrap();
        let skr = SkrBuilder::new(zone, start).bundles(3).text();
        let current = store::format_current(1, &store::digest(skr.as_bytes()));
        fs::create_dir_all(self.path(&format!("accepted/{zone}"))).unwrap();
        self.write(&format!("accepted/{zone}/1.skr"), &skr);
        self.write(&format!("accepted/{zone}/current"), &current);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        keystore::durable::write(&self.path(name), text.as_bytes(), 0o600).unwrap();
    }
}

/// An example that runs, and what it says.
struct Example {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    port: u16,
    /// Its folders, as long as it runs.
    site: Site,
}

impl Example {
    /// Starts it on folders of its own.
    fn start(name: &str) -> Self {
        let site = Site::new();
        let mut child = Command::new(program(name))
            .arg(site.path("offline-ksk.toml"))
            .arg("127.0.0.1:0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut example = Self { child, stdin, lines, port: 0, site };
        let serving = example.says("serving on [127.0.0.1:");
        let port = serving.split([':', ']']).nth(1).unwrap();
        example.port = port.parse().unwrap();
        example
    }

    /// Waits for a line with this in it.
    fn says(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("it has not said {part}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    fn command(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Asks with dig until the answer has `wanted`.
    fn answers(&self, arguments: &[&str], wanted: &str) {
        let start = std::time::Instant::now();
        loop {
            let mut dig = dig();
            dig.args(["@127.0.0.1", "-p", &self.port.to_string(), "+tries=1", "+timeout=2"]).args(arguments);
            let said = String::from_utf8(dig.output().unwrap().stdout).unwrap();
            if said.contains(wanted) {
                return;
            }
            assert!(start.elapsed() < LIMIT, "{arguments:?} {wanted}: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Example {
    /// Sends a signal, and waits for an end without an error, in which the signer gives back the serials that it has reserved for
    /// `zone`, if one is named.
    fn ends_by(mut self, signal: Signal, zone: Option<&str>) {
        let file = zone.map(|zone| self.site.path(&format!("zones/{zone}/serial")));
        let serials = || {
            file.as_ref().map(|file| crate::runtime::serial::parse_serial(&fs::read(file).unwrap()).unwrap())
        };
        assert!(!matches!(serials(), Some((_, None))), "while it runs some are reserved: {:?}", serials());
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let start = std::time::Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < LIMIT, "{signal:?} does not end it");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{signal:?}: {status}");
        assert!(matches!(serials(), None | Some((Some(_), None))), "{signal:?}: {:?}", serials());
    }
}

/// The program of an example: beside the tests, where cargo has built it for a run of all tests, or built now.
fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(Path::parent).unwrap();
    let path = target.join("examples").join(name);
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).with_extension("rs");
    // One that is not there is older than any.
    if changed(&path) < changed(&source) {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--examples", "--target-dir"])
            .arg(target.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success(), "the examples do not build");
    }
    path
}

pub(in crate::border::tests) fn dig() -> Command {
    let peers = std::env::var_os("OFFLINE_KSK_PEERS").map(PathBuf::from);
    let peers = peers.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers"));
    let dig = peers.join("bin/dig");
    Command::new(if dig.exists() { dig } else { "dig".into() })
}

pub(in crate::border::tests) fn dig_is_missing() -> bool {
    let missing = dig().arg("-v").output().is_err();
    assert!(!missing || std::env::var_os("CI").is_none(), "dig is missing");
    if missing {
        eprintln!("SKIPPED: dig is missing; scripts/peers brings it");
    }
    missing
}

#[test]
fn program_of_the_page_serves_our_zone_and_a_zone_of_its_own() {
    if dig_is_missing() {
        return;
    }
    let serve = Example::start("serve");
    for transport in ["+notcp", "+tcp"] {
        serve.answers(&[transport, "+dnssec", "www.a.test", "A"], "RRSIG\tA 15 3");
        serve.answers(&[transport, "+dnssec", "nothing.b.test", "A"], "status: NXDOMAIN");
        serve.answers(&[transport, "+short", "www.own.test", "A"], "192.0.2.80");
        serve.answers(&[transport, "elsewhere.test", "A"], "status: REFUSED");
    }
    serve.ends_by(Signal::TERM, Some("a.test."));
}

#[test]
fn program_of_the_page_adds_and_removes_zones_while_it_serves() {
    if dig_is_missing() {
        return;
    }
    let mut zones = Example::start("zones");
    zones.answers(&["www.a.test", "A"], "status: REFUSED");
    for round in 0..2 {
        zones.command("add a.test");
        zones.says("ready: true");
        zones.answers(&["+dnssec", "www.a.test", "A"], "RRSIG\tA 15 3");
        zones.answers(&["www.b.test", "A"], "status: REFUSED");
        if round == 0 {
            zones.command("leave sub.A.test");
            zones.answers(&["www.sub.a.test", "A"], "status: REFUSED");
            zones.command("take-back Sub.a.test");
            zones.answers(&["www.sub.a.test", "A"], "status: NXDOMAIN");
        }
        zones.command("remove a.test");
        zones.says("Removed");
        zones.answers(&["www.a.test", "A"], "status: REFUSED");
    }
    zones.command("remove a.test");
    zones.says("there is no such zone");
    zones.command("add a.test");
    zones.answers(&["+dnssec", "www.a.test", "A"], "RRSIG\tA 15 3");
    // While it waits for a command. The version of the zone that came back is the one on disk, for which no serial is reserved.
    zones.ends_by(Signal::INT, None);
}
