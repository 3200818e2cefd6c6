//! `kill -9` and failing system calls at every write, sync, rename and unlink of an import, by strace: the old or the new generation is
//! in force, whole, and the next start makes it good. And the order of these calls: what a power loss could take was synced before.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/power.rs"]
mod power;

use std::collections::{HashMap, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Bench, end_traced, skr, wait_for};
use keystore::time::Timestamp;
use offline_ksk_skr_loader::audit;
use offline_ksk_skr_loader::control::{ControlAnswer, ControlRequest, call};

/// A file that is rejected.
const BAD: &str = "garbage\n;; SignedKeyResponse 1.0 generated\n";
const LIMIT: Duration = Duration::from_secs(20);
/// The system calls at which something can be lost. Writes to sockets and to the log are among them, and cost a round each.
const CALLS: [&str; 4] =
    ["write,pwrite64,writev", "fsync,fdatasync", "rename,renameat,renameat2,link,linkat", "unlink,unlinkat"];

fn strace_is_missing() -> bool {
    let missing = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err();
    assert!(!missing || std::env::var_os("CI").is_none(), "strace is missing");
    if missing {
        eprintln!("SKIPPED: strace is missing (apt-get install strace)");
    }
    missing
}

/// One point: true when the fault was met.
fn point(calls: &str, fault: &str, n: usize) -> bool {
    let at = format!("{calls} {fault} {n}");
    let now: Timestamp = keystore::clock::now();
    let (old, new, newer) = (skr(0, now), skr(1, now), skr(2, now));
    let bench = Bench::new();
    // Generation 1, put there as the loader leaves it.
    {
        let daemon = bench.start();
        bench.drop_file("old.skr", &old);
        assert!(wait_for(LIMIT, || bench.current().is_some() && bench.files("state/inbox").is_empty()));
        stop(daemon, &bench);
    }
    bench.drop_file("new.skr", &new);
    let trace = bench.path("strace.log");
    let inject = format!("inject={calls}:{fault}:when={n}");
    let which = format!("trace={calls}");
    let wrapper = ["strace", "-f", "-q", "-o", trace.to_str().unwrap(), "-e", &which, "-e", &inject];
    let mut daemon = bench.start_under(&wrapper);
    let traced = || std::fs::read_to_string(&trace).unwrap_or_default();
    let hit = || traced().contains("(INJECTED)") || traced().contains("+++ killed by SIGKILL +++");
    let is_in = |text: &str| bench.current().is_some_and(|c| c.octets == text.as_bytes());
    let done = || is_in(&new) && bench.files("state/inbox").is_empty();
    assert!(wait_for(LIMIT, || hit() || done()), "{at}: {}", bench.log());
    let mut last = &new;
    if hit() && fault.starts_with("error") {
        // It goes on, or says why not and waits for its next try.
        wait_for(Duration::from_millis(400), done);
        if daemon.wait(Duration::ZERO).is_none() {
            the_running_loader_knows_what_is_in_force(&bench, &at);
            bench.drop_file("newer.skr", &newer);
            assert!(wait_for(LIMIT, || is_in(&newer)), "{at}: {}", bench.log());
            the_running_loader_knows_what_is_in_force(&bench, &at);
            last = &newer;
        }
    }
    // SIGTERM goes to the traced process as strace ends with it.
    if daemon.wait(Duration::ZERO).is_none() {
        end_traced(&daemon);
        daemon.wait(LIMIT);
    }
    let met = hit();
    let current = bench.current().unwrap_or_else(|| panic!("{at}: nothing in force"));
    let whole = [&old, &new, &newer].iter().any(|text| text.as_bytes() == current.octets);
    assert!(whole, "{at}: what is in force is none of those that were dropped");
    // The next start makes it good.
    let daemon = bench.start();
    let done = || is_in(last) && bench.files("state/inbox").is_empty();
    assert!(wait_for(LIMIT, done), "{at}: {:?} {}", bench.files("state/inbox"), bench.log());
    stop(daemon, &bench);
    for folder in ["state", "state/accepted/example.", "state/rejected", "state/inbox"] {
        let left: Vec<_> =
            bench.files(folder).into_iter().filter(|n| n.starts_with('.') || n.ends_with(".tmp")).collect();
        assert!(left.is_empty(), "{at}: left over in {folder}: {left:?}");
    }
    let log = bench.path("state/audit.jsonl");
    audit::verify(&log).unwrap_or_else(|e| panic!("{at}: {e:?}"));
    // Each generation that is kept was in force once, and the log names it, unless the fault hit the log itself.
    let text = std::fs::read_to_string(&log).unwrap();
    for name in bench.files("state/accepted/example.") {
        let Some(generation) = name.strip_suffix(".skr") else { continue };
        let is_named = text.contains(&format!("\"generation\":{generation},"));
        assert!(
            is_named || bench.log().contains("audit log cannot be written") || fault.contains("KILL"),
            "{at}: {name}: {text}"
        );
    }
    met
}

/// What the loader says over its socket is what lies on disk, in number and in content. A loader without its socket says so.
fn the_running_loader_knows_what_is_in_force(bench: &Bench, at: &str) {
    let socket = bench.path("state/skr-loader.sock");
    let ask = || match call(&socket, &ControlRequest::Status { zones: Vec::new() }) {
        Ok(ControlAnswer::Status(status)) => Some(status.zones[0].generation),
        _ => None,
    };
    let agrees = || ask().is_some_and(|told| bench.current().is_some_and(|c| c.generation == told));
    let is_mute = || bench.log().contains("no control socket");
    assert!(
        wait_for(LIMIT, || agrees() || is_mute()),
        "{at}: {:?}, and on disk {:?}",
        ask(),
        bench.current()
    );
}

fn stop(mut daemon: common::Daemon, bench: &Bench) {
    daemon.signal(rustix::process::Signal::TERM);
    // One that has only just begun has no handler for the signal yet.
    let ended = daemon.wait(LIMIT);
    assert!(
        ended.is_some_and(|status| status.success() || status.signal() == Some(15)),
        "{ended:?} {}",
        bench.log()
    );
}

fn every_point(fault: &str, least: usize) {
    if strace_is_missing() {
        return;
    }
    let mut points = 0;
    for calls in CALLS {
        let mut n = 1;
        while point(calls, fault, n) {
            n += 1;
        }
        points += n - 1;
    }
    println!("an import, {fault}: {points} points, 0 lost, 0 mixed, 0 orphans");
    assert!(points >= least, "{points}");
}

#[test]
fn row_32_import_killed_at_every_point() {
    every_point("signal=KILL", 20);
}

#[test]
fn row_34_import_with_enospc_at_every_point() {
    every_point("error=ENOSPC", 20);
}

#[test]
fn row_34_import_with_eio_at_every_point() {
    every_point("error=EIO", 20);
}

/// An order of a person, at generation 2, that puts the content of generation 1 in force again.
const ORDERS: [&[&str]; 2] = [
    &["rollback", "example.", "--reason", "a test", "--yes"],
    &["import", "--force", "SKR-REPLAY", "--reason", "a test", "--yes", "a.skr"],
];

/// One point of an order that is done without a daemon: true when the fault was met. `bench` holds generations 1 and 2.
fn point_of_order(bench: &Bench, order: &[&str], calls: &str, fault: &str, n: usize) -> bool {
    let at = format!("{order:?} {calls} {fault} {n}");
    let (old, new) = (read(bench, "b.skr"), read(bench, "a.skr"));
    let command = |wrapper: &[&str]| {
        let words: Vec<&str> = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_skr-loader")]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(order[0])
            .arg("-c")
            .arg(bench.path("offline-ksk.toml"))
            .args(&order[1..]);
        command.current_dir(bench.path("")).stdin(Stdio::null()).output().unwrap()
    };
    let trace = bench.path("strace.log");
    let inject = format!("inject={calls}:{fault}:when={n}");
    let which = format!("trace={calls}");
    let faulty = command(&["strace", "-f", "-q", "-o", trace.to_str().unwrap(), "-e", &which, "-e", &inject]);
    let traced = std::fs::read_to_string(&trace).unwrap();
    let met = traced.contains("(INJECTED)") || traced.contains("+++ killed by SIGKILL +++");
    let current = bench.current().unwrap_or_else(|| panic!("{at}: nothing in force"));
    let done = match (current.generation, &current.octets) {
        (2, octets) if *octets == old => false,
        (3, octets) if *octets == new => true,
        (generation, _) => panic!("{at}: generation {generation} is in force, and not whole"),
    };
    assert!(done || !faulty.status.success(), "{at}: it said that it is done: {faulty:?}");
    let audit = || std::fs::read_to_string(bench.path("state/audit.jsonl")).unwrap();
    let is_ordered = |line: &str| line.contains("\"ordered\"") && line.contains("\"generation\":3");
    assert!(!done || audit().lines().any(is_ordered), "{at}: changed and not in the log: {}", audit());
    // The next start makes it good.
    let again = command(&[]);
    assert!(again.status.success() || (done && order[0] == "rollback"), "{at}: {again:?}");
    let current = bench.current().unwrap();
    assert_eq!((current.generation, &current.octets), (3, &new), "{at}");
    assert_eq!(bench.files("state/accepted/example."), ["1.skr", "2.skr", "3.skr", "current"], "{at}");
    for folder in ["state", "state/rejected", "state/inbox"] {
        let left: Vec<_> = bench.files(folder).into_iter().filter(|n| n.starts_with('.')).collect();
        assert!(left.is_empty(), "{at}: left over in {folder}: {left:?}");
    }
    audit::verify(&bench.path("state/audit.jsonl")).unwrap_or_else(|e| panic!("{at}: {e:?}"));
    met
}

fn read(bench: &Bench, name: &str) -> Vec<u8> {
    std::fs::read(bench.path(name)).unwrap()
}

/// A bench with generations 1 (a.skr) and 2 (b.skr), each time from the same copy.
fn two_generations(copy: &Bench) -> Bench {
    let bench = Bench::new();
    std::fs::remove_dir_all(bench.path("state")).unwrap();
    let mut copy_all = Command::new("cp");
    copy_all.arg("-a").args(["state", "a.skr", "b.skr"].map(|name| copy.path(name))).arg(bench.path(""));
    assert!(copy_all.status().unwrap().success());
    bench
}

fn every_point_of_orders(fault: &str, least: usize) {
    if strace_is_missing() {
        return;
    }
    let (copy, now) = (Bench::new(), keystore::clock::now());
    for (n, name) in ["a.skr", "b.skr"].into_iter().enumerate() {
        std::fs::write(copy.path(name), skr(n as u64, now)).unwrap();
        let imported = Command::new(env!("CARGO_BIN_EXE_skr-loader"))
            .args(["import", "-c", copy.path("offline-ksk.toml").to_str().unwrap()])
            .arg(copy.path(name))
            .output()
            .unwrap();
        assert!(imported.status.success(), "{imported:?}");
    }
    for order in ORDERS {
        let mut points = 0;
        for calls in CALLS {
            let mut n = 1;
            while point_of_order(&two_generations(&copy), order, calls, fault, n) {
                n += 1;
            }
            points += n - 1;
        }
        println!("{}, {fault}: {points} points, 0 lost, 0 mixed, 0 orphans", order[0]);
        assert!(points >= least, "{order:?}: {points}");
    }
}

#[test]
fn row_32_rollback_and_forced_import_killed_at_every_point() {
    every_point_of_orders("signal=KILL", 15);
}

#[test]
fn row_34_rollback_and_forced_import_with_enospc_at_every_point() {
    every_point_of_orders("error=ENOSPC", 15);
}

#[test]
fn row_34_rollback_and_forced_import_with_eio_at_every_point() {
    every_point_of_orders("error=EIO", 15);
}

/// Every disk that a power loss may leave during an import: the old or the new generation is in force, whole, and the next start makes it
/// good.
#[test]
fn row_33_import_with_power_loss_at_every_step() {
    if strace_is_missing() {
        return;
    }
    let now: Timestamp = keystore::clock::now();
    let (old, new) = (skr(0, now), skr(1, now));
    let bench = Bench::new();
    let daemon = bench.start();
    bench.drop_file("old.skr", &old);
    assert!(wait_for(LIMIT, || bench.current().is_some() && bench.files("state/inbox").is_empty()));
    stop(daemon, &bench);
    bench.drop_file("new.skr", &new);
    bench.drop_file("bad.skr", BAD);
    let (root, trace) = (bench.path("state"), bench.path("strace.log"));
    let before = power::snapshot(&root);
    let wrapper: Vec<&str> =
        ["strace", "-o", trace.to_str().unwrap()].into_iter().chain(power::STRACE).collect();
    let mut daemon = bench.start_under(&wrapper);
    let is_in = || bench.current().is_some_and(|c| c.octets == new.as_bytes());
    assert!(wait_for(LIMIT, || is_in() && bench.files("state/inbox").is_empty()), "{}", bench.log());
    end_traced(&daemon);
    daemon.wait(LIMIT);
    let (disks, steps) = power::disks(&before, &std::fs::read_to_string(&trace).unwrap(), &root);
    let mut in_force = [0, 0];
    for disk in &disks {
        let dir = power::fast_folder();
        power::make(disk, &dir.path().join("state"));
        std::fs::copy(bench.path("offline-ksk.toml"), dir.path().join("offline-ksk.toml")).unwrap();
        let accepted = dir.path().join("state/accepted");
        let octets = || keystore::store::read_current(&accepted, &common::zone()).unwrap().unwrap().octets;
        let found = octets();
        let which = [&old, &new].iter().position(|text| text.as_bytes() == found);
        in_force[which.expect("the old or the new one, whole")] += 1;
        // The next start makes it good.
        let config = keystore::config::Config::load(&dir.path().join("offline-ksk.toml")).unwrap();
        let mut loader =
            offline_ksk_skr_loader::Loader::new(config, metrics::Metrics::new().unwrap()).unwrap();
        for seconds in [0, 61, 122] {
            while loader.step(now.plus(seconds)).more {}
        }
        drop(loader);
        let folder = |name: &str| common::files(&dir.path().join("state").join(name));
        assert!(octets() == new.as_bytes(), "{:?} {:?}", disk.keys(), folder("rejected"));
        assert_eq!(folder("inbox"), [""; 0], "{:?}", disk.keys());
        // The bad one is there, with its reason: under a name of ours when it had been taken for moving, and nobody knew it any more.
        let rejected = folder("rejected");
        let read = |name: &String| std::fs::read(dir.path().join("state/rejected").join(name)).unwrap();
        let kept = rejected.iter().find(|name| read(name) == BAD.as_bytes());
        assert!(kept.is_some_and(|n| rejected.contains(&format!("{n}.reason"))), "{rejected:?}");
        for name in ["", "accepted/example.", "rejected"] {
            assert!(!folder(name).iter().any(|n| n.ends_with(".tmp")), "{name}: {:?}", folder(name));
        }
        audit::verify(&dir.path().join("state/audit.jsonl")).unwrap();
    }
    println!(
        "an import and a rejection: {} disks after {steps} steps, {} with the old generation and {} with the new one, 0 lost, 0 mixed",
        disks.len(),
        in_force[0],
        in_force[1]
    );
    assert!(steps >= 30 && disks.len() >= 100 && in_force.iter().all(|n| *n > 0), "{steps} {in_force:?}");
}

/// After a power loss only what was synced is there, and names only once their folder was synced. So a file must be synced before it
/// gets its name, and the folder before anything that relies on the name.
#[test]
fn row_33_nothing_gets_its_name_before_it_is_synced() {
    if strace_is_missing() {
        return;
    }
    let now: Timestamp = keystore::clock::now();
    let bench = Bench::new();
    let trace = bench.path("strace.log");
    let wrapper = [
        "strace",
        "-f",
        "-q",
        "-y",
        "-o",
        trace.to_str().unwrap(),
        "-e",
        "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2",
    ];
    let mut daemon = bench.start_under(&wrapper);
    bench.drop_file("new.skr", &skr(1, now));
    assert!(wait_for(LIMIT, || bench.current().is_some() && bench.files("state/inbox").is_empty()));
    end_traced(&daemon);
    daemon.wait(LIMIT);
    let state = bench.path("state");
    let accepted = state.join("accepted/example.");
    let text = std::fs::read_to_string(&trace).unwrap();
    let (mut dirty, mut unsynced_names) = (HashSet::new(), HashMap::new());
    let mut renames = 0;
    for line in text.lines() {
        let path = |text: &str| {
            text.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(p, _)| p.to_owned())
        };
        let call = line.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
        let target = path(call).unwrap_or_default();
        if call.starts_with("write(") || call.starts_with("pwrite64(") {
            dirty.insert(target);
        } else if call.starts_with("fsync(") || call.starts_with("fdatasync(") {
            dirty.remove(&target);
            unsynced_names.retain(|_, folder: &mut String| *folder != target);
        } else if call.starts_with("rename") {
            let quoted: Vec<&str> = call.split('"').collect();
            let absolute = |name: &str| {
                let name = name.split_once('<').map_or(name, |(name, _)| name);
                if name.starts_with('/') { name.to_owned() } else { format!("{target}/{name}") }
            };
            let (Some(from), Some(to)) = (quoted.get(1), quoted.get(3)) else { continue };
            let (from, to) = (absolute(from), absolute(to));
            if !to.starts_with(accepted.to_str().unwrap()) {
                continue;
            }
            renames += 1;
            assert!(!dirty.contains(&from), "{from} is not synced when it becomes {to}\n{text}");
            // `current` names a generation: that must have its name for good.
            assert!(unsynced_names.is_empty(), "{unsynced_names:?} when {to} gets its name\n{text}");
            let folder = to.rsplit_once('/').unwrap().0.to_owned();
            unsynced_names.insert(to, folder);
        }
    }
    assert!(renames >= 2, "the generation and `current`: {text}");
    assert!(unsynced_names.is_empty(), "{unsynced_names:?} at the end\n{text}");
}
