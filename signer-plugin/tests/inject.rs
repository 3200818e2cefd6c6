//! `kill -9` and failing system calls at every write, sync, rename and unlink of the signer's state, by strace, and every disk that a loss
//! of power may leave: what was served is served again from disk, and no serial goes back or stands for two contents.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "../../skr-loader/tests/common/power.rs"]
mod power;

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
    let host = Host::at(root).with_names(more_names(root));
    // Told over a socket: a write would be one of the calls that fail.
    let tell = UnixDatagram::unbound().unwrap();
    tell.connect(host.path("told.sock")).unwrap();
    let metrics = Metrics::new().unwrap();
    let mut zone = host.zone(&metrics);
    let mut step = |at: u64| {
        zone.step(start().plus(at));
        if let Some(Served { serial, address }) = served(&zone) {
            tell.send(format!("{serial} {address}").as_bytes()).unwrap();
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

fn more_names(root: &Path) -> usize {
    std::fs::read_to_string(root.join("more-names")).map_or(0, |text| text.parse().unwrap())
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
            let text = std::str::from_utf8(&buffer[..len]).unwrap();
            let (serial, address) = text.split_once(' ').unwrap();
            all.push(Served { serial: serial.parse().unwrap(), address: address.parse().unwrap() });
        }
        if ended {
            return all;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Judges what a process left that has told `told`, by the processes that come after it.
fn judge(host: &Host, told: &[Served], at: &str) {
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
        let found = found.unwrap_or_else(|| panic!("{at}: {last:?} is lost"));
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
    let left: Vec<_> = std::fs::read_dir(host.path("zones/example."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.') || name.starts_with("damaged"))
        .collect();
    assert!(left.is_empty(), "{at}: {left:?}");
}

fn site(root: &Path, names: usize) -> Host {
    let host = Host::new(root).with_names(names);
    std::fs::write(root.join("more-names"), names.to_string()).unwrap();
    host.write_zone(2);
    host
}

/// One point; true when the fault was met.
fn point(names: usize, calls: &str, fault: &str, n: usize) -> bool {
    let dir = power::fast_folder();
    let host = site(dir.path(), names);
    let trace = dir.path().join("strace.log");
    let (which, inject) = (format!("trace={calls}"), format!("inject={calls}:{fault}:when={n}"));
    let told = run(dir.path(), &["-f", "-q", "-o", trace.to_str().unwrap(), "-e", &which, "-e", &inject]);
    let log = std::fs::read_to_string(&trace).unwrap();
    let met = log.contains("(INJECTED)") || log.contains("+++ killed by SIGKILL +++");
    judge(&host, &told, &format!("{names} names, {calls} {fault} {n}"));
    met
}

fn every_point(fault: &str, least: usize) {
    if strace_is_missing() {
        return;
    }
    for names in [0, LARGE] {
        let mut points = 0;
        for calls in CALLS {
            let mut n = 1;
            while point(names, calls, fault, n) {
                n += 1;
            }
            points += n - 1;
        }
        println!("state of a zone with {names} more names, {fault}: {points} points, 0 lost, 0 serials back");
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

#[test]
fn row_33_signer_state_with_power_loss_at_every_step() {
    if strace_is_missing() {
        return;
    }
    for names in [0, LARGE] {
        power_loss(names);
    }
}

fn power_loss(names: usize) {
    let dir = power::fast_folder();
    let host = site(dir.path(), names);
    // The first version of an earlier process, so that there is always something to find.
    let metrics = Metrics::new().unwrap();
    let mut zone = host.zone(&metrics);
    zone.step(start());
    zone.close();
    let root = host.path("zones");
    let before = power::snapshot(&root);
    let trace = dir.path().join("strace.log");
    let strace: Vec<&str> = ["-o", trace.to_str().unwrap()].into_iter().chain(power::STRACE).collect();
    let told = run(dir.path(), &strace);
    let (disks, steps) = power::disks(&before, &std::fs::read_to_string(&trace).unwrap(), &root);
    let mut found = std::collections::BTreeSet::new();
    for disk in &disks {
        let copy = power::fast_folder();
        power::make(disk, &copy.path().join("zones"));
        let host = Host::at(copy.path());
        let metrics = Metrics::new().unwrap();
        let mut zone = host.zone(&metrics);
        zone.step(start().plus(9 * u64::from(DAY) + 8000));
        let served = served(&zone).unwrap_or_else(|| panic!("nothing is served from {:?}", disk.keys()));
        assert_eq!(metrics.zone_restores_total.with_label_values(&["example.", "failed"]).get(), 0);
        found.insert((served.serial, served.address));
    }
    println!("{names} more names: {} disks after {steps} steps, versions {found:?}", disks.len());
    let wanted: std::collections::BTreeSet<_> = told.iter().map(|told| (told.serial, told.address)).collect();
    assert_eq!(found, wanted, "each version is on a disk, and none that was not served");
    assert!(steps >= 12 && disks.len() >= 10, "{steps} steps, {} disks", disks.len());
}
