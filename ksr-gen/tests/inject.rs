//! `kill -9` and failing system calls at every write, sync, rename and unlink of a run, by strace: what is there afterwards is the old or
//! the new state, whole, and the next run makes it good.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "../../skr-loader/tests/common/power.rs"]
mod power;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use common::zone;
use keystore::exchange::bind;
use keystore::keys::files;

const CONF: &str = "dnssec-policy common { offline-ksk yes;
    keys { ksk lifetime unlimited algorithm ed25519; zsk lifetime P3M algorithm ed25519; }; };";
/// The system calls at which something can be lost.
const CALLS: [&str; 4] =
    ["write,pwrite64,writev", "fsync,fdatasync", "rename,renameat,renameat2,link,linkat", "unlink,unlinkat"];
const FAULTS: [&str; 3] = ["signal=KILL", "error=ENOSPC", "error=EIO"];

fn ksr_gen(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ksr-gen"));
    command.current_dir(dir);
    command
}

/// Runs `ksr-gen` with a fault at the `n`-th of these calls; `None` when there are not so many.
fn faulted(dir: &Path, args: &[&str], calls: &str, fault: &str, n: usize) -> Option<()> {
    let log = dir.join("strace.log");
    let status = Command::new("strace")
        .current_dir(dir)
        .args(["-f", "-q", "-o"])
        .arg(&log)
        .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}:when={n}")])
        .arg(env!("CARGO_BIN_EXE_ksr-gen"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace runs");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let hit = text.contains("(INJECTED)") || text.contains("+++ killed by SIGKILL +++");
    assert!(hit || status.success(), "{calls} {fault} {n}: {text}");
    hit.then_some(())
}

/// Calls `case` for each point until a run meets no fault; gives the number of points.
fn every_point(mut case: impl FnMut(&str, &str, usize) -> Option<()>) -> usize {
    let mut points = 0;
    for calls in CALLS {
        for fault in FAULTS {
            let mut n = 1;
            while case(calls, fault, n).is_some() {
                n += 1;
            }
            points += n - 1;
        }
    }
    points
}

fn strace_is_missing() -> bool {
    let missing = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err();
    assert!(!missing || std::env::var_os("CI").is_none(), "strace is missing");
    if missing {
        eprintln!("SKIPPED: strace is missing (apt-get install strace)");
    }
    missing
}

/// Every disk that a power loss may leave while `args` ran in `dir`, which it leaves as it was before.
fn power_loss(dir: &Path, args: &[&str]) -> (std::collections::HashSet<power::Disk>, usize) {
    let before = power::snapshot(dir);
    let log = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new("strace")
        .current_dir(dir)
        .arg("-o")
        .arg(log.path())
        .args(power::STRACE)
        .arg(env!("CARGO_BIN_EXE_ksr-gen"))
        .args(args)
        .stdout(Stdio::null())
        .status()
        .expect("strace runs");
    assert!(status.success());
    power::disks(&before, &std::fs::read_to_string(log.path()).unwrap(), dir)
}

#[test]
fn row_33_key_creation_with_power_loss_at_every_step() {
    if strace_is_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("policy"), CONF).unwrap();
    std::fs::create_dir(dir.path().join("zsk")).unwrap();
    let args = "-k common -l policy -K zsk -i 20270101 -e 20270601 keygen example.test";
    let args: Vec<&str> = args.split(' ').collect();
    let (disks, steps) = power_loss(dir.path(), &args);
    let mut keys = [0; 3];
    for disk in &disks {
        let dir = power::fast_folder();
        power::make(disk, dir.path());
        let check = || {
            let found = files::find(&dir.path().join("zsk"), &zone()).unwrap();
            for key in &found.keys {
                assert!(key.state.is_some() && key.timing.activate.is_some(), "{}", key.base_name());
                let private = key.path("private");
                key.load_private().unwrap_or_else(|e| panic!("{}: {e}", private.display()));
            }
            found.keys.len()
        };
        keys[check()] += 1;
        let output = ksr_gen(dir.path()).args(&args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!((check(), String::from_utf8(output.stdout).unwrap().lines().count()), (2, 2));
        let names = std::fs::read_dir(dir.path().join("zsk")).unwrap();
        let names: Vec<_> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
    }
    println!(
        "key creation: {} disks after {steps} steps, with 0, 1 and 2 keys: {keys:?}; 0 mixed",
        disks.len()
    );
    assert!(disks.len() >= 20 && keys.iter().all(|n| *n > 0), "{} {keys:?}", disks.len());
}

#[test]
fn row_33_a_request_with_power_loss_at_every_step() {
    if strace_is_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("policy"), CONF).unwrap();
    std::fs::create_dir(dir.path().join("zsk")).unwrap();
    let run = |dir: &Path, args: &str| {
        let output = ksr_gen(dir).args(args.split(' ')).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let common = "-k common -l policy -K zsk -i 20270101";
    run(dir.path(), &format!("{common} -e 20280101 keygen example.test"));
    run(dir.path(), &format!("{common} -e 20270401 -O out request example.test"));
    let read = |dir: &Path| std::fs::read(dir.join("out")).unwrap();
    let bundles = |octets: &[u8]| bind::parse_ksr(octets, &zone()).unwrap().bundles.len();
    let old = read(dir.path());
    let longer = format!("{common} -e 20280101 -O out request example.test");
    let (disks, steps) = power_loss(dir.path(), &longer.split(' ').collect::<Vec<_>>());
    let mut found = [0, 0];
    for disk in &disks {
        let dir = power::fast_folder();
        power::make(disk, dir.path());
        let now = read(dir.path());
        let is_new = now != old;
        assert!(!is_new || bundles(&now) > bundles(&old), "neither the old nor the new one");
        found[usize::from(is_new)] += 1;
        run(dir.path(), &longer);
        assert!(bundles(&read(dir.path())) > bundles(&old));
        let names = std::fs::read_dir(dir.path()).unwrap();
        let names: Vec<_> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
    }
    println!(
        "a request: {} disks after {steps} steps, {} with the old one and {} with the new one",
        disks.len(),
        found[0],
        found[1]
    );
    assert!(disks.len() >= 6 && found.iter().all(|n| *n > 0), "{} {found:?}", disks.len());
}

#[test]
fn row_32_34_keygen_makes_whole_keys_or_none() {
    if strace_is_missing() {
        return;
    }
    let args = [
        "-k",
        "common",
        "-l",
        "policy",
        "-K",
        "zsk",
        "-i",
        "20270101",
        "-e",
        "20270601",
        "keygen",
        "example.test",
    ];
    let points = every_point(|calls, fault, n| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("policy"), CONF).unwrap();
        std::fs::create_dir(dir.path().join("zsk")).unwrap();
        faulted(dir.path(), &args, calls, fault, n)?;
        let at = format!("{calls} {fault} {n}");
        // What counts as a key is whole: it has its public key, its times, and a private key that fits.
        let check = |whole: usize| {
            let found = files::find(&dir.path().join("zsk"), &zone()).unwrap();
            for key in &found.keys {
                assert!(key.state.is_some() && key.timing.activate.is_some(), "{at}: {}", key.base_name());
                key.load_private().unwrap_or_else(|e| panic!("{at}: {e}"));
            }
            assert!(found.keys.len() >= whole, "{at}: {:?}", found.skipped);
            found.keys.len()
        };
        let before = check(0);
        assert!(before <= 2, "{at}");
        // The next run makes it good: as many keys as without the fault, and nothing else in the folder.
        let output = ksr_gen(dir.path()).args(args).output().unwrap();
        assert!(output.status.success(), "{at}: {}", String::from_utf8_lossy(&output.stderr));
        let named = String::from_utf8(output.stdout).unwrap().lines().count();
        assert_eq!((check(2), named), (2, 2), "{at}: no key twice");
        let names: BTreeSet<String> = std::fs::read_dir(dir.path().join("zsk"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                !name.ends_with(".key") && !name.ends_with(".state") && !name.ends_with(".private")
            })
            .collect();
        assert!(names.iter().all(|name| !name.contains("tmp") && !name.starts_with("K")), "{at}: {names:?}");
        Some(())
    });
    println!("key creation: {points} points, 0 lost, 0 mixed, 0 orphans");
    assert!(points >= 24, "{points}");
}

#[test]
fn row_32_34_a_request_is_the_old_or_the_new_one() {
    if strace_is_missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("policy"), CONF).unwrap();
    std::fs::create_dir(dir.path().join("zsk")).unwrap();
    let common = ["-k", "common", "-l", "policy", "-K", "zsk", "-i", "20270101"];
    let run = |rest: &[&str]| {
        let output = ksr_gen(dir.path()).args(common).args(rest).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["-e", "20280101", "keygen", "example.test"]);
    run(&["-e", "20270401", "-O", "old", "request", "example.test"]);
    let old = std::fs::read(dir.path().join("old")).unwrap();
    let parse = |octets: &[u8]| bind::parse_ksr(octets, &zone()).unwrap().bundles;
    let args: Vec<&str> =
        common.into_iter().chain(["-e", "20280101", "-O", "out", "request", "example.test"]).collect();
    let points = every_point(|calls, fault, n| {
        std::fs::write(dir.path().join("out"), &old).unwrap();
        faulted(dir.path(), &args, calls, fault, n)?;
        let now = std::fs::read(dir.path().join("out")).unwrap();
        assert!(now == old || parse(&now).len() > parse(&old).len(), "{calls} {fault} {n}: neither nor");
        run(&args[common.len()..]);
        assert!(parse(&std::fs::read(dir.path().join("out")).unwrap()).len() > parse(&old).len());
        let left: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("out") && name != "out")
            .collect();
        // A killed run cannot tidy up; whoever writes the same file next does.
        assert!(left.is_empty(), "{calls} {fault} {n}: {left:?}");
        Some(())
    });
    println!("a request: {points} points, 0 lost, 0 mixed, 0 orphans");
    assert!(points >= 12, "{points}");
}
