//! A folder with `offline-ksk serve` for one zone, and the processes beside it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use keystore::clock;
use keystore::crypto::PrivateKey;
use keystore::dns::{Name, Rtype};
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::timing::State;
use keystore::keys::{KeyFile, Timing};
use keystore::time::Timestamp;
use skr_loader::ask::Asker;

use crate::common;

pub const DAY: u64 = 86_400;
const ZONE: &str = "example.";

/// A process that ends when it is dropped.
pub struct Process(Child);

impl Process {
    pub fn spawn(command: &mut Command, log: &Path) -> Self {
        let log = std::fs::File::create(log).expect("a log");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        Self(child.unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

pub struct Site {
    dir: tempfile::TempDir,
    pub dns: u16,
    pub metrics: u16,
    daemon: Option<Process>,
}

impl Site {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let site = Self { dir, dns: common::free_port(), metrics: common::free_port(), daemon: None };
        let key = data_encoding::BASE64.encode(&TestKey::ksk(1).dnskey.public_key);
        let (dns, metrics, path) = (site.dns, site.metrics, site.path("").display().to_string());
        site.write(
            "offline-ksk.toml",
            &format!(
                "version = 1\nstate-dir = \"{path}state\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"p\"\nfile = \"{path}zone\"\n\
                 trust-anchors = [\"{ZONE} DNSKEY 257 3 15 {key}\"]\n[policy.p]\noffline-ksk = true\nkeys = [{{ role = \"ksk\", lifetime = 0, algorithm = 15 }}, \
                 {{ role = \"zsk\", lifetime = 0, algorithm = 15 }}]\n[signer]\nlisten = [\"127.0.0.1:{dns}\"]\n[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n\
                 [probe]\nservers = [\"127.0.0.1:{dns}\"]\n"
            ),
        );
        site.write(
            "zone",
            "$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.1\n",
        );
        for folder in ["state/keys", "state/inbox"] {
            std::fs::create_dir_all(site.path(folder)).expect("a folder");
        }
        let long_ago = Some(Timestamp::from_secs(1_000_000_000));
        let timing = Timing { created: long_ago, publish: long_ago, activate: long_ago, ..Timing::default() };
        let (zone, dnskey) = (Name::parse(ZONE).expect("a name"), TestKey::zsk(2).dnskey);
        // The policy knows it by its state, so that the request timer makes no other one that the SKR below lacks.
        let state = State { lifetime: Some(0), zsk: Some(true), ksk: Some(false), ..State::default() };
        let dir = site.path("state/keys");
        let file = KeyFile { zone, ttl: 3600, dnskey, timing, state: Some(state), dir };
        file.write(&PrivateKey::Raw(vec![2; 32])).expect("a key");
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    /// Drops an SKR that began yesterday.
    pub fn drop_skr(&self, name: &str, bundles: u64, validity: u64) {
        let start = clock::now().minus(DAY);
        self.drop_text(name, &SkrBuilder::new(ZONE, start).bundles(bundles).validity(validity).text());
    }

    pub fn drop_text(&self, name: &str, text: &str) {
        self.write("dropped", text);
        std::fs::rename(self.path("dropped"), self.path(&format!("state/inbox/{name}.skr"))).expect("rename");
    }

    fn program() -> Command {
        Command::new(env!("CARGO_BIN_EXE_offline-ksk"))
    }

    pub fn start(&mut self) {
        let mut command = Self::program();
        command.args(["serve", "-c"]).arg(self.path("offline-ksk.toml"));
        self.daemon = Some(Process::spawn(&mut command, &self.path("serve.log")));
    }

    pub fn stop(&mut self) {
        self.daemon = None;
    }

    /// Waits until the zone is answered with signatures.
    pub fn wait_until_served(&self) {
        let (asker, zone) =
            (Asker::new(([127, 0, 0, 1], self.dns).into(), None), Name::parse(ZONE).expect("a name"));
        common::wait_for("the zone", Duration::from_secs(30), || {
            let answer = asker.ask(&zone, Rtype::SOA, Instant::now() + Duration::from_secs(2)).ok()?;
            (!answer.signatures.is_empty()).then_some(())
        });
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        Self::program().args(arguments).stdin(Stdio::null()).output().expect("run offline-ksk")
    }

    pub fn stdout(&self, arguments: &[&str]) -> String {
        common::stdout(Self::program().args(arguments))
    }
}
