//! `kill -9` of `skr-loader run` while SKRs are dropped: after each restart the old or the new generation is whole.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::Duration;

use common::{Bench, skr, wait_for};
use keystore::time::Timestamp;
use offline_ksk_skr_loader::audit;

const ROUNDS: u64 = 40;
const LIMIT: Duration = Duration::from_secs(20);

/// The same while a rollback is ordered over the socket: what is in force is the content of generation 1 or 2, whole, and whoever was told
/// that it is done finds it so.
#[test]
fn a_rollback_is_whole_or_void_after_kill_9_at_any_moment() {
    use offline_ksk_skr_loader::control::{ControlAnswer, ControlRequest, call};
    let bench = Bench::new();
    let now: Timestamp = keystore::clock::now();
    let skrs = [skr(0, now), skr(1, now)];
    let socket = bench.path("state/skr-loader.sock");
    {
        let daemon = bench.start();
        for (n, text) in skrs.iter().enumerate() {
            bench.drop_file("next.skr", text);
            let done = || bench.current().is_some_and(|c| c.generation == n as u64 + 1);
            assert!(wait_for(LIMIT, done), "{}", bench.log());
        }
        daemon.kill();
    }
    let (mut told, mut cut) = (0, 0);
    for round in 0..ROUNDS {
        let daemon = bench.start();
        let answers = || call(&socket, &ControlRequest::Status { zones: Vec::new() }).is_ok();
        assert!(wait_for(LIMIT, answers), "{}", bench.log());
        let before = bench.current().unwrap();
        // To the one that is not in force.
        let to = if before.octets == skrs[0].as_bytes() { 2 } else { 1 };
        let request = ControlRequest::Rollback {
            zone: "example.".to_owned(),
            to: Some(to),
            force: Vec::new(),
            reason: Some("a test".to_owned()),
            dry_run: false,
        };
        let asked = std::thread::spawn({
            let socket = socket.clone();
            move || call(&socket, &request)
        });
        if round % 8 == 0 {
            while !asked.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
        } else {
            std::thread::sleep(Duration::from_millis(round));
        }
        daemon.kill();
        let answer = asked.join().unwrap();
        let after = bench.current().expect("nothing in force");
        let content =
            skrs.iter().position(|skr| skr.as_bytes() == after.octets).expect("neither of the two, whole");
        if content as u64 + 1 == to {
            assert!(after.generation > before.generation, "a number is used twice");
        } else {
            assert_eq!(after, before);
            cut += 1;
        }
        match answer {
            Ok(ControlAnswer::RolledBack(report)) => {
                told += 1;
                assert_eq!((report.generation, content as u64 + 1), (after.generation, to));
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
    }
    println!("{ROUNDS} kills: {cut} before the rollback was done, {told} after it was answered");
    assert!(told > 0);
    let daemon = bench.start();
    let answers = || call(&socket, &ControlRequest::Status { zones: Vec::new() }).is_ok();
    assert!(wait_for(LIMIT, answers), "{}", bench.log());
    daemon.kill();
    let generation = bench.current().unwrap().generation;
    for name in bench.files("state/accepted/example.") {
        let number = name.strip_suffix(".skr").and_then(|n| n.parse::<u64>().ok());
        assert!(name == "current" || number.is_some_and(|n| n <= generation), "left over: {name}");
    }
    audit::verify(&bench.path("state/audit.jsonl")).unwrap();
}

#[test]
fn what_is_in_force_is_whole_after_kill_9_at_any_moment() {
    let bench = Bench::new();
    let now: Timestamp = keystore::clock::now();
    let skrs: Vec<String> = (0..=ROUNDS).map(|n| skr(n, now)).collect();
    // What is in force, as the number of the dropped SKR; the octets must be one of them, whole.
    let in_force = || {
        let current = bench.current()?;
        let found = skrs.iter().position(|skr| skr.as_bytes() == current.octets);
        Some((current.generation, found.expect("the generation in force is none of the dropped SKRs")))
    };
    let (mut last, mut cut, mut done) = (None, 0, 0);
    for round in 0..ROUNDS {
        let daemon = bench.start();
        let before = in_force();
        bench.drop_file("next.skr", &skrs[round as usize]);
        match round % 8 {
            // Once in a while it gets through: into force, or even out of the inbox.
            0 => assert!(wait_for(LIMIT, || in_force() != before), "not accepted:\n{}", bench.log()),
            4 => {
                let is_out = || bench.files("state/inbox").is_empty();
                assert!(wait_for(LIMIT, is_out), "not taken out:\n{}", bench.log());
            }
            // From before the first step to about the end of the import.
            _ => std::thread::sleep(Duration::from_millis(4 * (round % 24))),
        }
        daemon.kill();
        let after = in_force();
        assert!(after >= last, "back from {last:?} to {after:?}");
        if bench.files("state/inbox").is_empty() {
            done += 1
        } else {
            cut += 1
        }
        last = after;
    }
    println!("{ROUNDS} kills: {cut} before the file was taken out of the inbox, {done} after");
    assert!(cut > 0 && done > 0);

    // Whatever was left is taken in, or told to be old, and tidied up.
    let daemon = bench.start();
    bench.drop_file("last.skr", &skrs[ROUNDS as usize]);
    let newest = Some(ROUNDS as usize);
    let settled = || in_force().map(|(_, n)| n) == newest && bench.files("state/inbox").is_empty();
    assert!(wait_for(LIMIT, settled), "{:?} {:?}\n{}", in_force(), bench.files("state/inbox"), bench.log());
    daemon.signal(rustix::process::Signal::TERM);
    let mut daemon = daemon;
    assert!(daemon.wait(Duration::from_secs(5)).is_some_and(|status| status.success()), "{}", bench.log());
    let generation = in_force().unwrap().0;
    let accepted = bench.files("state/accepted/example.");
    for name in &accepted {
        let number = name.strip_suffix(".skr").and_then(|n| n.parse::<u64>().ok());
        assert!(name == "current" || number.is_some_and(|n| n <= generation), "left over: {accepted:?}");
    }
    for folder in ["state", "state/rejected", "state/inbox"] {
        let left: Vec<_> = bench.files(folder).into_iter().filter(|n| n.starts_with('.')).collect();
        assert!(left.is_empty(), "left over in {folder}: {left:?}");
    }
    audit::verify(&bench.path("state/audit.jsonl")).unwrap();
}
