//! The daemon as a process: signals, the lock, metrics over HTTP, the log.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Bench, skr, wait_for};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(5);

#[test]
fn it_stops_at_sigterm_and_sigint() {
    for signal in [Signal::TERM, Signal::INT] {
        let bench = Bench::new();
        let mut daemon = bench.start();
        bench.drop_file("a.skr", &skr(0, keystore::clock::now()));
        assert!(wait_for(LIMIT, || bench.current().is_some()), "{}", bench.log());
        daemon.signal(signal);
        assert!(daemon.wait(STOP).is_some_and(|status| status.success()), "{}", bench.log());
        let audit = fs::read_to_string(bench.path("state/audit.jsonl")).unwrap();
        let events: Vec<_> = audit.lines().map(|l| l.split('"').nth(5).unwrap().to_owned()).collect();
        assert_eq!(events, ["started", "accepted", "stopped"]);
    }
}

#[test]
fn row_35_a_second_daemon_says_who_is_there_and_exits() {
    let bench = Bench::new();
    let daemon = bench.start();
    assert!(wait_for(LIMIT, || bench.log().contains("skr-loader runs")));
    let mut second = bench.start();
    assert_eq!(second.wait(LIMIT).and_then(|status| status.code()), Some(1));
    assert!(
        bench.log().contains(&format!("another skr-loader (process {})", daemon.pid())),
        "{}",
        bench.log()
    );
    // The lock of one that was killed is free.
    daemon.kill();
    let _third = bench.start();
    assert!(wait_for(LIMIT, || bench.log().matches("skr-loader runs").count() == 2), "{}", bench.log());
}

#[test]
fn row_43_sighup_takes_a_good_configuration_and_keeps_the_old_one_else() {
    let bench = Bench::new();
    let mut daemon = bench.start();
    assert!(wait_for(LIMIT, || bench.log().contains("skr-loader runs")));
    bench.configure("\nnonsense = true\n");
    daemon.signal(Signal::HUP);
    assert!(wait_for(LIMIT, || bench.log().contains("the old one stays in use")), "{}", bench.log());
    assert!(bench.log().contains("nonsense"), "says what is wrong: {}", bench.log());
    let now = keystore::clock::now();
    bench.drop_file("a.skr", &skr(0, now));
    assert!(wait_for(LIMIT, || bench.current().is_some()), "{}", bench.log());
    bench.configure("");
    daemon.signal(Signal::HUP);
    assert!(wait_for(LIMIT, || bench.log().contains("configuration reloaded")), "{}", bench.log());
    bench.drop_file("b.skr", &skr(1, now));
    assert!(wait_for(LIMIT, || bench.current().is_some_and(|c| c.generation == 2)), "{}", bench.log());
    daemon.signal(Signal::TERM);
    assert!(daemon.wait(STOP).is_some_and(|status| status.success()));
}

#[test]
fn a_broken_configuration_is_refused_with_the_reason() {
    let bench = Bench::new();
    bench.configure("\nnonsense = true\n");
    let mut daemon = bench.start();
    assert_eq!(daemon.wait(LIMIT).and_then(|status| status.code()), Some(1));
    assert!(bench.log().contains("offline-ksk.toml:") && bench.log().contains("nonsense"), "{}", bench.log());
    assert!(!bench.path("state/accepted").exists(), "nothing was written");
}

#[test]
fn metrics_are_served_and_hostile_names_do_not_reach_the_log() {
    let bench = Bench::new();
    bench.configure("\n[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let _daemon = bench.start();
    bench.drop_file("evil\n\u{1b}[31m.skr", "garbage\n;; SignedKeyResponse 1.0 generated\n");
    bench.drop_file("good.skr", &skr(0, keystore::clock::now()));
    assert!(wait_for(LIMIT, || bench.current().is_some()), "{}", bench.log());
    assert!(wait_for(LIMIT, || bench.log().contains("rejected")), "{}", bench.log());
    let log = bench.log();
    assert!(!log.contains('\u{1b}') && log.lines().all(|line| line.starts_with('{')), "{log}");
    let address =
        log.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    for line in [
        "offlineksk_skr_generation{zone=\"example.\"} 1\n",
        "offlineksk_watch_up 1\n",
        "offlineksk_skr_rejections_total{reason=\"SKR-SYNTAX\"} 1\n",
        "offlineksk_build_info{component=\"skr-loader\"",
    ] {
        let is_there = || get(&address, "/metrics").contains(line);
        assert!(wait_for(LIMIT, is_there), "{line} is not in\n{}", get(&address, "/metrics"));
    }
    assert!(wait_for(LIMIT, || get(&address, "/readyz").contains(" 200 ")), "{}", get(&address, "/readyz"));
}

#[test]
fn without_events_what_is_dropped_goes_in_once() {
    let bench = Bench::new();
    bench.configure(
        "\n[loader]\nwatch = \"poll\"\npoll-interval = 1\n\n[metrics]\nlisten = \"127.0.0.1:0\"\n",
    );
    let mut daemon = bench.start();
    let now = keystore::clock::now();
    for n in 0..3 {
        bench.drop_file("a.skr", &skr(n, now));
        let is_in = || bench.current().is_some_and(|c| c.generation == n + 1);
        assert!(wait_for(LIMIT, is_in), "{}", bench.log());
        assert!(wait_for(LIMIT, || bench.files("state/inbox").is_empty()), "{}", bench.log());
    }
    let log = bench.log();
    let address = log.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(get(address, "/metrics").contains("offlineksk_watch_up 1\n"));
    daemon.signal(Signal::TERM);
    assert!(daemon.wait(STOP).is_some_and(|status| status.success()));
    let audit = std::fs::read_to_string(bench.path("state/audit.jsonl")).unwrap();
    assert_eq!(audit.matches("\"accepted\"").count(), 3, "{audit}");
    assert_eq!(audit.lines().count(), 5, "and the start, and the stop: {audit}");
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// sd_notify(3): READY once it runs, RELOADING and READY around a reload, WATCHDOG from the loop, STOPPING at the end.
#[test]
fn the_service_manager_is_told() {
    use std::os::unix::net::UnixDatagram;
    let bench = Bench::new();
    let socket = UnixDatagram::bind(bench.path("notify")).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut seen = String::new();
    let mut wait_for_word = |word: &str| {
        let mut buffer = [0; 4096];
        while !seen.contains(word) {
            let n = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{word}: {e}; {seen}"));
            seen.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
        seen.clear();
    };
    let address = format!("NOTIFY_SOCKET={}", bench.path("notify").display());
    let mut daemon = bench.start_under(&["env", &address]);
    wait_for_word("READY=1");
    wait_for_word("WATCHDOG=1");
    daemon.signal(Signal::HUP);
    wait_for_word("RELOADING=1");
    wait_for_word("READY=1");
    bench.configure("\nnonsense = true\n");
    daemon.signal(Signal::HUP);
    wait_for_word("the old one stays in use");
    daemon.signal(Signal::TERM);
    wait_for_word("STOPPING=1");
    assert!(daemon.wait(STOP).is_some_and(|status| status.success()), "{}", bench.log());
}

#[test]
fn zone_files_come_and_go_without_a_signal() {
    let bench = Bench::new();
    let (config, folder) = (bench.path("offline-ksk.toml"), bench.path("zones.d"));
    fs::create_dir(&folder).unwrap();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replacen("version = 1\n", "version = 1\nzones-directory = \"zones.d\"\n", 1))
        .unwrap();
    let mut daemon = bench.start();
    assert!(wait_for(LIMIT, || bench.log().contains("skr-loader runs")), "{}", bench.log());
    // The last number of zones that the daemon tells.
    let zones =
        |count: &str| bench.log().rsplit("\"zones\":").next().is_some_and(|rest| rest.starts_with(count));
    let zone = "[[zone]]\nname = \"b.example\"\npolicy = \"p\"\n\
        trust-anchors = [\"b.example. DS 1 13 2 3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000\"]\n";
    let policy = text.split("policy = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let zone = zone.replace("\"p\"", &format!("\"{policy}\""));
    let put = |name: &str, text: &str| {
        fs::write(bench.path("new"), text).unwrap();
        fs::rename(bench.path("new"), folder.join(name)).unwrap();
    };
    // The only zone of a folder would stay until it is released.
    put("c.toml", &zone.replace("b.example", "c.example"));
    assert!(wait_for(LIMIT, || zones("2")), "{}", bench.log());
    put("b.toml", &zone);
    assert!(wait_for(LIMIT, || zones("3")), "{}", bench.log());
    put("b.toml", "[[zone]]\nname = 1\n");
    assert!(wait_for(LIMIT, || bench.log().contains("stay as they were")), "{}", bench.log());
    assert!(wait_for(LIMIT, || zones("3")), "{}", bench.log());
    assert!(bench.log().contains("b.toml:2: "), "{}", bench.log());
    fs::remove_file(folder.join("b.toml")).unwrap();
    assert!(wait_for(LIMIT, || zones("2")), "{}", bench.log());
    daemon.signal(Signal::TERM);
    assert!(daemon.wait(STOP).is_some_and(|status| status.success()), "{}", bench.log());
}
