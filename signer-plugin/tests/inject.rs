//! `kill -9` and failing system calls at every write, sync, rename and unlink of the signer's state, by strace, and every disk that a loss
//! of power may leave: what was served is served again from disk, and no serial goes back or stands for two contents.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "../../skr-loader/tests/common/power.rs"]
mod power;

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{DAY, Host, start, www};
use metrics::Metrics;
use offline_ksk_signer::runtime::ZoneRuntime;

/// The system calls at which something can be lost.
const CALLS: [&str; 4] =
    ["write,pwrite64,writev", "fsync,fdatasync", "rename,renameat,renameat2,link,linkat", "unlink,unlinkat"];
/// Names that make the snapshot so large that there is a journal.
const LARGE: usize = 1500;

/// What a process said that it serves: serial, and the last octet of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Served {
    serial: u32,
    address: u8,
}

fn served(zone: &ZoneRuntime) -> Option<Served> {
    let signed = zone.served().signed()?;
    let (_, address) = www(zone);
    Some(Served { serial: signed.serial(), address: address.expect("the zone has the address") })
}

fn strace_is_missing() -> bool {
    let missing = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err();
    assert!(!missing || std::env::var_os("CI").is_none(), "strace is missing");
    if missing {
        eprintln!("SKIPPED: strace is missing (apt-get install strace)");
    }
    missing
}

/// The process under strace: a first version, other content, a bundle switch and renewals; what is served is told after each step.
#[test]
#[ignore = "the process that the other tests of this file run under strace"]
fn signer_under_strace() {
    let root = std::env::var("SIGNER_ROOT").expect("set by the test that runs this");
    let root = Path::new(&root);
    let kind = Kind::read(root);
    let host = Host::at(root).with_names(kind.names).with_nsec3_and_zonemd(kind.rich);
    // Told over a socket: a write would be one of the calls that fail.
    let tell = UnixDatagram::unbound().unwrap();
    tell.connect(host.path("told.sock")).unwrap();
    // And by a call that is traced, for whoever wants to know what was durable by then.
    let mut log = std::fs::OpenOptions::new().append(true).open(host.path("told.log")).ok();
    let metrics = Metrics::new().unwrap();
    let mut zone = host.zone(&metrics);
    let mut step = |at: u64| {
        zone.step(start().plus(at));
        if let Some(Served { serial, address }) = served(&zone) {
            let text = format!("{serial} {address}");
            tell.send(text.as_bytes()).unwrap();
            if let Some(log) = &mut log {
                log.write_all(text.as_bytes()).unwrap();
            }
        }
    };
    let day = u64::from(DAY);
    // After an error there is time for the next try.
    for (from, address) in [(0, None), (3600, Some(3)), (9 * day, None), (9 * day + 7200, None)] {
        if let Some(address) = address {
            host.write_zone(address);
        }
        for second in [0, 1, 2, 14, 30] {
            step(from + second);
        }
    }
}

/// The kind of zone.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// Names beside those that every zone has.
    names: usize,
    /// With a salted NSEC3 chain and a ZONEMD record.
    rich: bool,
}

const KINDS: [Kind; 3] =
    [Kind { names: 0, rich: false }, Kind { names: LARGE, rich: false }, Kind { names: 0, rich: true }];

impl Kind {
    fn read(root: &Path) -> Self {
        let text = std::fs::read_to_string(root.join("kind")).unwrap();
        let (names, rich) = text.split_once(' ').unwrap();
        Self { names: names.parse().unwrap(), rich: rich == "rich" }
    }

    fn site(self, root: &Path) -> Host {
        let host = Host::new(root).with_names(self.names).with_nsec3_and_zonemd(self.rich);
        let rich = if self.rich { "rich" } else { "plain" };
        std::fs::write(root.join("kind"), format!("{} {rich}", self.names)).unwrap();
        host.write_zone(2);
        host
    }
}

impl Served {
    fn parse(text: &[u8]) -> Self {
        let (serial, address) = std::str::from_utf8(text).unwrap().split_once(' ').unwrap();
        Self { serial: serial.parse().unwrap(), address: address.parse().unwrap() }
    }
}

/// Runs the process under strace; gives what it told, in order.
fn run(root: &Path, strace: &[&str]) -> Vec<Served> {
    let path = root.join("told.sock");
    let _ = std::fs::remove_file(&path);
    let told = UnixDatagram::bind(&path).unwrap();
    told.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut command = Command::new("strace");
    command.args(strace).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "signer_under_strace", "--ignored", "--nocapture", "--test-threads=1"]);
    let mut child =
        command.env("SIGNER_ROOT", root).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut all = Vec::new();
    let mut buffer = [0; 64];
    loop {
        let ended = child.try_wait().unwrap().is_some();
        while let Ok(len) = told.recv(&mut buffer) {
            all.push(Served::parse(&buffer[..len]));
        }
        if ended {
            return all;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What the disk must have of what was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// The last version, or a later one.
    Last,
    /// The same, and what changed since each version.
    AndHistory,
    /// Nothing, where the disk took nothing more: then nothing is served from it.
    LastOrNothing,
}

/// Judges what a process left that has told `told`, by the processes that come after it; gives what was served from disk alone.
fn judge(host: &Host, told: &[Served], kept: Kept, at: &str) -> Option<Served> {
    for (one, other) in told.iter().zip(&told[1.min(told.len())..]) {
        assert!(other.serial >= one.serial, "{at}: {one:?} before {other:?}");
        assert!(other.serial != one.serial || other == one, "{at}: {one:?} and {other:?}");
    }
    let metrics = Metrics::new().unwrap();
    let mut now = start().plus(9 * u64::from(DAY) + 8000);
    // From disk alone.
    let inputs = ["zone", "keys", "accepted"];
    for input in inputs {
        std::fs::rename(host.path(input), host.path(&format!("{input}.away"))).unwrap();
    }
    let mut zone = host.zone(&metrics);
    zone.step(now);
    let found = served(&zone);
    if let Some(last) = told.last() {
        assert!(found.is_some() || kept == Kept::LastOrNothing, "{at}: {last:?} is lost");
        let found = found.unwrap_or(*last);
        assert!(found.serial >= last.serial, "{at}: {last:?} was served and {found:?} is on disk");
        assert!(found.serial != last.serial || found == *last, "{at}: {last:?} became {found:?}");
    }
    drop(zone);
    for input in inputs {
        std::fs::rename(host.path(&format!("{input}.away")), host.path(input)).unwrap();
    }
    // And with everything there new content comes, with a serial that nobody has seen.
    host.write_zone(9);
    let mut zone = host.zone(&metrics);
    for _ in 0..3 {
        zone.step(now);
        now = now.plus(1);
    }
    let new = served(&zone).unwrap_or_else(|| panic!("{at}: nothing is served"));
    assert_eq!((new.address, zone.conditions().count()), (9, 0), "{at}");
    let seen = told.iter().chain(&found).map(|served| served.serial).max();
    assert!(seen.is_none_or(|seen| new.serial > seen), "{at}: {new:?} after {seen:?}");
    zone.served().signed().unwrap().self_check(now, usize::MAX).unwrap();
    if kept == Kept::AndHistory {
        for served in told {
            let known = zone.served().transfers().knows_what_changed(served.serial, new.serial);
            assert!(known, "{at}: a secondary with {served:?} of {told:?} is not told what leads to {new:?}");
        }
    }
    let left: Vec<_> = std::fs::read_dir(host.path("zones/example."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.') || name.starts_with("damaged"))
        .collect();
    assert!(left.is_empty(), "{at}: {left:?}");
    found
}

/// One point; true when the fault was met.
fn point(kind: Kind, calls: &str, fault: &str, n: usize) -> bool {
    let dir = power::fast_folder();
    let host = kind.site(dir.path());
    let told = run_with(dir.path(), calls, fault, &n.to_string());
    let kept = if host.is_transferred() { Kept::AndHistory } else { Kept::Last };
    judge(&host, &told.0, kept, &format!("{kind:?}, {calls} {fault} {n}"));
    told.1
}

/// Runs the process with a fault at the calls `when`; gives what it told, and whether the fault was met.
fn run_with(root: &Path, calls: &str, fault: &str, when: &str) -> (Vec<Served>, bool) {
    let trace = root.join("strace.log");
    let (which, inject) = (format!("trace={calls}"), format!("inject={calls}:{fault}:when={when}"));
    let told = run(root, &["-f", "-q", "-o", trace.to_str().unwrap(), "-e", &which, "-e", &inject]);
    let log = std::fs::read_to_string(&trace).unwrap();
    (told, log.contains("(INJECTED)") || log.contains("+++ killed by SIGKILL +++"))
}

fn every_point(fault: &str, least: usize) {
    if strace_is_missing() {
        return;
    }
    for kind in KINDS {
        let mut points = 0;
        for calls in CALLS {
            let mut n = 1;
            while point(kind, calls, fault, n) {
                n += 1;
            }
            points += n - 1;
        }
        println!("state of a zone ({kind:?}), {fault}: {points} points, 0 lost, 0 serials back");
        assert!(points >= least, "{points}");
    }
}

#[test]
fn row_32_signer_state_killed_at_every_point() {
    every_point("signal=KILL", 20);
}

#[test]
fn row_34_signer_state_with_enospc_at_every_point() {
    every_point("error=ENOSPC", 20);
}

#[test]
fn row_34_signer_state_with_eio_at_every_point() {
    every_point("error=EIO", 20);
}

/// A site on which an earlier process has served the first version, and has ended in order.
fn served_before(kind: Kind, root: &Path) -> Host {
    let host = kind.site(root);
    let mut zone = host.zone(&Metrics::new().unwrap());
    zone.step(start());
    zone.close();
    host
}

/// A full disk: what is there can be written over, and nothing can be added. The process is killed while it is full.
#[test]
fn row_34_signer_state_on_a_disk_that_stays_full_until_the_process_is_killed() {
    if strace_is_missing() {
        return;
    }
    for kind in KINDS {
        let (mut n, mut points, mut unwritten) = (1, 0, 0);
        loop {
            let dir = power::fast_folder();
            let host = served_before(kind, dir.path());
            let (told, met) = run_with(dir.path(), "write,writev", "error=ENOSPC", &format!("{n}+"));
            if !met {
                break;
            }
            if told.is_empty() {
                // The first writes are those of the test harness, which ends without them.
                assert!(n < 8, "{kind:?}: nothing was served");
                n += 1;
                continue;
            }
            points += 1;
            let found = judge(&host, &told, Kept::LastOrNothing, &format!("{kind:?}, full from {n} on"));
            unwritten += usize::from(found.is_none());
            n += 1;
        }
        println!(
            "state of a zone ({kind:?}): {points} disks that stay full, {unwritten} with an older version"
        );
        assert!(points > 4 && unwritten > 0, "{points} {unwritten}");
    }
}

#[test]
fn row_33_signer_state_with_power_loss_at_every_step() {
    if strace_is_missing() {
        return;
    }
    for kind in KINDS {
        power_loss(kind);
    }
}

fn power_loss(kind: Kind) {
    let dir = power::fast_folder();
    let host = served_before(kind, dir.path());
    let log = host.path("told.log");
    std::fs::write(&log, "").unwrap();
    let root = host.path("zones");
    let before = power::snapshot(&root);
    let trace = dir.path().join("strace.log");
    let strace: Vec<&str> = ["-o", trace.to_str().unwrap()].into_iter().chain(power::STRACE).collect();
    let told = run(dir.path(), &strace);
    let trace = std::fs::read_to_string(&trace).unwrap();
    let (disks, steps) = power::disks_and_told(&before, &trace, &root, &log);
    let mut found = std::collections::BTreeSet::new();
    let mut with_told = 0;
    for (disk, last) in &disks {
        let copy = power::fast_folder();
        let host = kind.site(copy.path());
        power::make(disk, &copy.path().join("zones"));
        let last = last.as_deref().map(Served::parse);
        with_told += usize::from(last.is_some());
        // All that was told up to then, in its order.
        let until = last.and_then(|last| told.iter().rposition(|told| *told == last)).map_or(0, |at| at + 1);
        let at = format!("{kind:?}, after {last:?}");
        let served = judge(&host, &told[..until], Kept::Last, &at);
        let served = served.unwrap_or_else(|| panic!("{at}: nothing is served from {:?}", disk.keys()));
        found.insert((served.serial, served.address));
    }
    println!("{kind:?}: {} disks after {steps} steps, versions {found:?}", disks.len());
    let wanted: std::collections::BTreeSet<_> = told.iter().map(|told| (told.serial, told.address)).collect();
    assert_eq!(found, wanted, "each version is on a disk, and none that was not served");
    assert!(steps >= 12 && disks.len() >= 10 && with_told >= 10, "{steps} steps, {} disks", disks.len());
}
