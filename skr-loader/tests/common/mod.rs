//! A real `skr-loader run` on a state folder of its own.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part; a failure here is the test's")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use keystore::crypto::PrivateKey;
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};
use keystore::store::{Current, read_current};
use keystore::time::Timestamp;

pub const ZONE: &str = "example.";
/// Seeds of the keys of [`SkrBuilder`].
const KSK: u8 = 1;
const ZSK: u8 = 2;
const DAY: u64 = 86_400;

pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(bench.path("state/keys")).unwrap();
        fs::create_dir(bench.path("state/inbox")).unwrap();
        let long_ago = Timestamp::from_secs(1_600_000_000);
        let file = KeyFile {
            zone: zone(),
            ttl: 3600,
            dnskey: TestKey::zsk(ZSK).dnskey,
            timing: Timing { publish: Some(long_ago), activate: Some(long_ago), ..Timing::default() },
            state: None,
            dir: bench.path("state/keys"),
        };
        file.write(&PrivateKey::Raw(vec![ZSK; 32])).unwrap();
        bench.configure("");
        bench
    }

    /// Writes a good configuration, and `more` behind it.
    pub fn configure(&self, more: &str) {
        let key = data_encoding::BASE64.encode(&TestKey::ksk(KSK).dnskey.public_key);
        let text = format!(
            "version = 1\nstate-dir = \"state\"\n\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"test\"\n\
             trust-anchors = [\"{ZONE} DNSKEY 257 3 15 {key}\"]\n\n\
             [policy.test]\noffline-ksk = true\nkeys = [\n  {{ role = \"ksk\", lifetime = \"unlimited\", algorithm = \"ed25519\" }},\n  \
             {{ role = \"zsk\", lifetime = \"P6M\", algorithm = \"ed25519\" }},\n]\n[ksr]\nenabled = false\n{more}"
        );
        fs::write(self.path("offline-ksk.toml"), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts `skr-loader run`; its log is appended to the file `log`.
    pub fn start(&self) -> Daemon {
        self.start_under(&[])
    }

    /// The same under another program.
    pub fn start_under(&self, wrapper: &[&str]) -> Daemon {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let program = env!("CARGO_BIN_EXE_skr-loader");
        let words: Vec<&str> = wrapper.iter().copied().chain([program]).collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["run", "--log", "json", "-c"])
            .arg(self.path("offline-ksk.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Daemon { child }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Writes elsewhere and renames into the inbox.
    pub fn drop_file(&self, name: &str, octets: &str) {
        fs::write(self.path("aside"), octets).unwrap();
        fs::rename(self.path("aside"), self.path("state/inbox").join(name)).unwrap();
    }

    /// What is in force; damaged is an error here.
    pub fn current(&self) -> Option<Current> {
        read_current(&self.path("state/accepted"), &zone()).unwrap()
    }

    pub fn files(&self, folder: &str) -> Vec<String> {
        files(&self.path(folder))
    }
}

pub fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub fn zone() -> Name {
    Name::parse(ZONE).unwrap()
}

/// SKRs in force now, each ending a minute after the one before.
pub fn skr(n: u64, now: Timestamp) -> String {
    SkrBuilder::new(ZONE, now.minus(DAY).plus(60 * n)).bundles(3).text()
}

pub struct Daemon {
    child: Child,
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The exit status, when it comes within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut status = None;
        wait_for(limit, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already ended, most of the time.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// SIGTERM to the process that strace runs.
pub fn end_traced(strace: &Daemon) {
    let children = format!("/proc/{0}/task/{0}/children", strace.pid());
    let children = std::fs::read_to_string(children).unwrap_or_default();
    for pid in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        // Gone meanwhile, perhaps.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Asks again and again until it is true, or the time is over; true when it was.
pub fn wait_for(limit: Duration, mut is_true: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if is_true() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
