//! The loader as a user that may not read private keys, with keys of another user, as `packaging/systemd` sets them up. Needs root.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Bench, ZONE, files, skr, wait_for, zone};
use keystore::crypto::SignError;
use keystore::exchange::testing::TestKey;
use keystore::exchange::{Ksr, KsrBundle, bind, possession};
use keystore::time::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(20);
/// Users and group that own nothing else.
const LOADER: u32 = 64_001;
const MAKER: u32 = 64_002;
const GROUP: u32 = 64_000;

struct Site {
    bench: Bench,
    now: Timestamp,
}

impl Site {
    /// `None`, loudly, where the test cannot become other users.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "this test needs root");
            eprintln!("SKIPPED: only root can start processes of several users");
            return None;
        }
        let site = Self { bench: Bench::new(), now: keystore::clock::now() };
        fs::create_dir(site.bench.path("bin")).unwrap();
        // Where it was built others may have no way to.
        fs::copy(env!("CARGO_BIN_EXE_skr-loader"), site.bench.path("bin/skr-loader")).unwrap();
        let own = |path: &str, user, mode| {
            let path = site.bench.path(path);
            fs::create_dir_all(&path).unwrap();
            own(&path, user, mode);
        };
        own("", 0, 0o755);
        own("bin", 0, 0o755);
        own("state", 0, 0o1770);
        own("state/keys", MAKER, 0o2750);
        own("state/outbox", MAKER, 0o2750);
        own("state/inbox", LOADER, 0o2770);
        for name in site.bench.files("state/keys") {
            let mode = if name.ends_with(".private") { 0o600 } else { 0o644 };
            self::own(&site.bench.path("state/keys").join(name), MAKER, mode);
        }
        self::own(&site.bench.path("offline-ksk.toml"), 0, 0o644);
        Some(site)
    }

    /// A request that was answered, with or without proofs, made by the other user.
    fn request(&self, with_proofs: bool) {
        let zsk = TestKey::zsk(2);
        let start = self.now.minus(3_000_000);
        let bundle =
            KsrBundle { inception: start, ttl: 3600, keys: vec![zsk.dnskey.clone()], proofs: Vec::new() };
        let mut ksr = Ksr { zone: zone(), bundles: vec![bundle] };
        if with_proofs {
            possession::prove::<SignError>(&mut ksr, start.plus(864_000), |_| Ok(zsk.signer())).unwrap();
        }
        let folder = format!("state/outbox/{ZONE}/answered");
        fs::create_dir_all(self.bench.path(&folder)).unwrap();
        for folder in [&folder[..folder.len() - 9], &folder] {
            own(&self.bench.path(folder), MAKER, 0o2750);
        }
        let path = self.bench.path(&format!("{folder}/20260101000000.ksr"));
        fs::write(&path, bind::print_ksr(&ksr, start, "a test")).unwrap();
        own(&path, MAKER, 0o644);
    }

    fn start(&self, wrapper: &[&str]) -> Running {
        let program = self.bench.path("bin/skr-loader");
        // strace stays root: the loader turns its dumps off, and then only root may read its memory.
        let (uid, gid) = (format!("--reuid={LOADER}"), format!("--regid={GROUP}"));
        let user = ["setpriv", &uid, &gid, "--clear-groups"];
        let words: Vec<&str> = wrapper.iter().copied().chain(user).chain(program.to_str()).collect();
        let log = File::options().create(true).append(true).open(self.bench.path("log")).unwrap();
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["run", "-c"])
            .arg(self.bench.path("offline-ksk.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Running(child, self.bench.path("state/skr-loader.lock"))
    }

    fn drop_skr(&self, n: u64) {
        let aside = self.bench.path("aside");
        fs::write(&aside, skr(n, self.now)).unwrap();
        own(&aside, 0, 0o644);
        fs::rename(aside, self.bench.path("state/inbox").join(format!("{n}.skr"))).unwrap();
    }

    /// The last line of the audit log that is a verdict.
    fn verdict(&self, number: usize) -> String {
        let read = || fs::read_to_string(self.bench.path("state/audit.jsonl")).unwrap_or_default();
        let verdicts = || -> Vec<String> {
            let wanted = |line: &&str| line.contains("\"accepted\"") || line.contains("\"rejected\"");
            read().lines().filter(wanted).map(str::to_owned).collect()
        };
        assert!(wait_for(LIMIT, || verdicts().len() >= number), "{}\n{}", self.bench.log(), read());
        verdicts()[number - 1].clone()
    }
}

/// Told to stop when it goes. The lock names the daemon itself, which may run under another program.
struct Running(Child, PathBuf);

impl Drop for Running {
    fn drop(&mut self) {
        let number = fs::read_to_string(&self.1).ok().and_then(|text| text.trim().parse().ok());
        match number.and_then(Pid::from_raw) {
            Some(pid) => drop(kill_process(pid, Signal::TERM)),
            None => drop(self.0.kill()),
        }
        let _ = self.0.wait();
    }
}

fn own(path: &Path, user: u32, mode: u32) {
    chown(path, Some(user), Some(GROUP)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_loader_that_may_not_read_private_keys_sees_that_they_are_held() {
    let Some(site) = Site::new() else { return };
    site.request(true);
    let running = site.start(&[]);
    site.drop_skr(0);
    let verdict = site.verdict(1);
    assert!(verdict.contains("\"accepted\"") && !verdict.contains("SKR-"), "without a warning: {verdict}");

    // Without the proof: a warning that says so.
    fs::remove_dir_all(site.bench.path(&format!("state/outbox/{ZONE}"))).unwrap();
    site.request(false);
    site.drop_skr(1);
    let verdict = site.verdict(2);
    assert!(verdict.contains("\"accepted\"") && verdict.contains("SKR-NO-PRIVATE-KEY"), "{verdict}");
    assert!(site.bench.log().contains("no request in the outbox proves"), "{}", site.bench.log());

    // The private key is gone: rejected, proof or not.
    site.request(true);
    let keys = site.bench.path("state/keys");
    let private = files(&keys).into_iter().find(|name| name.ends_with(".private")).unwrap();
    fs::remove_file(keys.join(private)).unwrap();
    site.drop_skr(2);
    let verdict = site.verdict(3);
    assert!(verdict.contains("\"rejected\"") && verdict.contains("SKR-NO-PRIVATE-KEY"), "{verdict}");
    drop(running);

    // The maker of the keys cannot write what is accepted.
    let folder = site.bench.path("state/accepted");
    for path in [folder.join("x"), folder.join(ZONE).join("current"), site.bench.path("state/audit.jsonl")] {
        let touched = Command::new("touch").arg(&path).uid(MAKER).gid(GROUP).stderr(Stdio::null()).status();
        assert!(!touched.unwrap().success(), "{}", path.display());
    }
    let renamed = Command::new("mv")
        .args([&folder, &site.bench.path("state/away")])
        .uid(MAKER)
        .gid(GROUP)
        .stderr(Stdio::null())
        .status();
    assert!(!renamed.unwrap().success(), "the sticky bit keeps the folder where it is");
}

#[test]
fn no_private_key_is_ever_opened() {
    let Some(site) = Site::new() else { return };
    let trace = site.bench.path("trace/calls");
    fs::create_dir(site.bench.path("trace")).unwrap();
    own(&site.bench.path("trace"), LOADER, 0o755);
    let strace = ["strace", "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", trace.to_str().unwrap()];
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is not here");
        eprintln!("SKIPPED: strace is not here");
        return;
    }
    site.request(true);
    let running = site.start(&strace);
    site.drop_skr(0);
    let verdict = site.verdict(1);
    assert!(verdict.contains("\"accepted\""), "{verdict}");
    drop(running);
    let calls = fs::read_to_string(&trace).unwrap();
    let of_private: Vec<&str> = calls.lines().filter(|line| line.contains(".private\"")).collect();
    assert!(!of_private.is_empty() && calls.contains(".key\""), "the trace shows nothing: {calls}");
    for call in of_private {
        assert!(call.contains("EACCES"), "{call}");
    }
}
