//! Ten thousand files at once, while the kernel's event queue overflows: none is missed, each is handled once.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use common::{Bench, skr, wait_for};
use keystore::time::Timestamp;
use offline_ksk_skr_loader::audit;
use rustix::process::Signal;

const FILES: usize = 10_000;
/// One file in so many is a good SKR, each with a later end than the one before; as many again are copies of the one before them.
const EVERY: usize = 50;
/// Far above what it takes: a loader that hangs is to be told from a slow machine.
const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn row_29_ten_thousand_drops_with_overflow_are_each_handled_once() {
    let bench = Bench::new();
    bench.configure("\n[loader]\nrescan-interval = \"1h\"\n\n[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let mut daemon = bench.start();
    let now: Timestamp = keystore::clock::now();
    bench.drop_file("first.skr", &skr(0, now));
    assert!(wait_for(LIMIT, || bench.current().is_some()), "{}", bench.log());
    assert!(wait_for(LIMIT, || bench.files("state/inbox").is_empty()), "{}", bench.log());
    let log = bench.log();
    let address = log.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let overflows = || value(address, "offlineksk_watch_overflows_total");
    assert_eq!(overflows(), 0);

    // Nobody fetches events now. Each file written into the inbox makes three: created, written to, closed.
    daemon.signal(Signal::STOP);
    let mut good: u64 = 0;
    let mut text = skr(0, now);
    for n in 0..FILES {
        let name = bench.path("state/inbox").join(format!("{n:05}.skr"));
        match n % EVERY {
            0 => {
                good += 1;
                text = skr(good, now);
                fs::write(name, &text).unwrap();
            }
            1 => fs::write(name, &text).unwrap(),
            _ => fs::write(name, format!("garbage {n}\n;; SignedKeyResponse 1.0 generated\n")).unwrap(),
        }
    }
    daemon.signal(Signal::CONT);
    let done = || bench.files("state/inbox").is_empty();
    let started = std::time::Instant::now();
    assert!(wait_for(LIMIT, done), "{} left", bench.files("state/inbox").len());
    let took = started.elapsed().as_secs_f64();
    let queue: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    assert!(queue > 3 * FILES || overflows() > 0, "the queue holds {queue} events and did not overflow");
    println!(
        "{FILES} drops, {good} of them good, in {took:.1} s: the queue of {queue} events overflowed {} times, 0 missed",
        overflows()
    );

    daemon.signal(Signal::TERM);
    assert!(daemon.wait(LIMIT).is_some_and(|status| status.success()));
    assert_eq!(bench.current().unwrap().octets, skr(good, now).as_bytes());
    let mut verdicts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut checks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    audit::read(&bench.path("state/audit.jsonl"), |_, record| {
        if let Some(file) = &record.file {
            verdicts.entry(file.clone()).or_default().push(record.event.to_string());
            checks.insert(file.clone(), record.checks.clone());
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(verdicts.remove("first.skr").unwrap(), ["accepted"]);
    assert_eq!(verdicts.len(), FILES, "each has its verdict");
    let mut accepted = 0;
    for (n, (file, verdicts)) in verdicts.iter().enumerate() {
        assert_eq!((file.as_str(), verdicts.len()), (&*format!("{n:05}.skr"), 1), "each once: {verdicts:?}");
        // The newest files are judged first: what an older one says may be in force already, or be replaced.
        let allowed: &[&str] = match n % EVERY {
            0 | 1 => &["accepted", "unchanged", "rejected"],
            _ => &["rejected"],
        };
        assert!(allowed.contains(&&*verdicts[0]), "{file}: {verdicts:?}");
        if n % EVERY < 2 && verdicts[0] == "rejected" {
            assert_eq!(checks[file], ["SKR-REPLAY"], "{file}: a good one is only ever too old");
            assert!(n + EVERY < FILES, "the newest one and its copy are not rejected");
        }
        accepted += u64::from(verdicts[0] == "accepted");
    }
    assert_eq!(bench.current().unwrap().generation, accepted + 1, "a generation for each that was accepted");
}

fn value(address: &str, series: &str) -> u64 {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} in {text}")).parse().unwrap()
}
