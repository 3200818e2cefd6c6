//! A hundred thousand files in the inbox that are no SKR: a good one is judged in the first steps, wherever among them it lies.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Bench, skr};
use keystore::config::Config;
use metrics::Metrics;
use offline_ksk_skr_loader::Loader;

const FILES: usize = 100_000;
/// Steps in which a good SKR must be judged. Without an order it would be some thousand.
const STEPS: usize = 5;

#[test]
fn kind_12_a_hundred_thousand_garbage_files_hold_up_no_good_skr_wherever_it_lies() {
    let bench = Bench::new();
    let now = keystore::clock::now();
    let inbox = bench.path("state/inbox");
    let garbage = |from: usize, to: usize| {
        for n in from..to {
            // Some never become whole, and some claim that nothing follows.
            let text = if n % 2 == 0 { "garbage" } else { "garbage\n;; SignedKeyResponse 1.0 generated\n" };
            let text = if n % 2 == 0 { text.to_owned() } else { "x".repeat(600) + text };
            fs::write(inbox.join(format!("{n:06}.skr")), text).unwrap();
        }
    };
    // Before, in the middle of and after the flood.
    bench.drop_file("first.skr", &skr(1, now));
    garbage(0, FILES / 2);
    bench.drop_file("second.skr", &skr(2, now));
    garbage(FILES / 2, FILES);
    let config = Config::load(&bench.path("offline-ksk.toml")).unwrap();
    let metrics = Metrics::new().unwrap();
    let mut loader = Loader::new(config, metrics.clone()).unwrap();
    let started = Instant::now();
    let is_in = |n: u64| bench.current().is_some_and(|c| c.octets == skr(n, now).as_bytes());
    let step = |loader: &mut Loader| loader.step(now);
    let took = (1..=STEPS).find(|_| {
        step(&mut loader);
        is_in(2)
    });
    println!("{FILES} files: the good SKR in step {took:?}, after {:?}", started.elapsed());
    assert!(took.is_some(), "not in {STEPS} steps");
    // And one that comes later, while most of the others wait.
    bench.drop_file("third.skr", &skr(3, now));
    let heard = common::wait_for(Duration::from_secs(20), || {
        step(&mut loader);
        is_in(3)
    });
    assert!(heard, "the one that came later waits");
    let report = loader.standing().report(now).report.inbox.unwrap();
    assert!(report.trouble.as_ref().is_some_and(|why| why.contains("files wait in the inbox")), "{report:?}");
    let text = metrics.encode().unwrap();
    let waiting = text.lines().find_map(|l| l.strip_prefix("offlineksk_watch_waiting_files ")).unwrap();
    let waiting: usize = waiting.parse().unwrap();
    assert!((10_000..30_000).contains(&waiting), "{waiting}: no more are kept in mind");
    assert!(bench.files("state/inbox").len() > FILES / 2, "the others wait");
}
