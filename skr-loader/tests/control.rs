//! Commands to a real `skr-loader run` over its socket: who may give them, and that nobody can hold it up.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{Bench, skr, wait_for};
use rustix::process::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
const SOCKET: &str = "state/skr-loader.sock";

fn command(bench: &Bench, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skr-loader"));
    command.args(&args[..1]).arg("-c").arg(bench.path("offline-ksk.toml")).args(&args[1..]);
    command.stdin(std::process::Stdio::null());
    command
}

/// Exit code, standard output, standard error.
fn run(bench: &Bench, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(bench, args).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn json(bench: &Bench, args: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(bench, &[args, &["--json"]].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out} {err}")))
}

fn started(bench: &Bench) -> common::Daemon {
    let daemon = bench.start();
    let pid = Value::from(daemon.pid());
    // Its report may be there before its socket is.
    let answers = || {
        UnixStream::connect(bench.path(SOCKET)).is_ok() && loader(&json(bench, &["status"]).1)["pid"] == pid
    };
    assert!(wait_for(LIMIT, answers), "{}", bench.log());
    daemon
}

/// The running loader of a status; null when none runs.
fn loader(status: &Value) -> Value {
    let parts = status["components"].as_array().cloned().unwrap_or_default();
    let is_it = |part: &Value| part["component"] == "skr-loader" && part["state"] == "running";
    parts.into_iter().find(is_it).unwrap_or_default()
}

fn conditions(status: &Value) -> String {
    status["conditions"].to_string()
}

fn write(bench: &Bench, name: &str, text: &str) -> String {
    fs::write(bench.path(name), text).unwrap();
    bench.path(name).to_str().unwrap().to_owned()
}

#[test]
fn import_and_rollback_go_to_the_daemon() {
    let bench = Bench::new();
    let now = keystore::clock::now();
    let (a, b) = (write(&bench, "a.skr", &skr(0, now)), write(&bench, "b.skr", &skr(1, now)));
    let _daemon = started(&bench);
    let (code, out, err) = run(&bench, &["status"]);
    assert!(code == 1 && out.contains("COVERAGE-NEVER"), "{out}{err}");

    let (code, answer) = json(&bench, &["import", &a]);
    assert_eq!((code, &answer["imports"][0]["result"]), (0, &Value::from("accepted")), "{answer}");
    let (code, out, _) = run(&bench, &["import", &a]);
    assert!(code == 0 && out.starts_with("unchanged  example., generation 1"), "{out}");
    assert_eq!(run(&bench, &["import", &b]).0, 0);

    // Not without a reason, not without being asked, and only what may be.
    let (code, _, err) = run(&bench, &["import", "--force", "SKR-REPLAY", &a]);
    assert!(code == 2 && err.contains("--reason"), "{err}");
    let (code, _, err) = run(&bench, &["import", "--force", "SKR-BAD-SIGNATURE", "--reason", "x", &a]);
    assert!(code == 2 && err.contains("every validating resolver would refuse"), "{err}");
    let (code, out, err) = run(&bench, &["import", "--force", "SKR-REPLAY", "--reason", "x", &a]);
    assert!(code == 1 && err.contains("--yes") && err.contains("SKR-REPLAY"), "{out}{err}");
    assert_eq!(bench.current().unwrap().generation, 2);
    let (code, out, _) = run(&bench, &["import", &a]);
    assert!(code == 1 && out.contains("if you know better: --force SKR-REPLAY --reason TEXT"), "{out}");
    let force =
        ["import", "--force", "SKR-REPLAY", "--force", "SKR-PROVE", "--reason", "b is wrong", "--yes"];
    let (code, out, err) = run(&bench, &[&force[..], &[&a]].concat());
    assert!(code == 0 && out.contains("accepted  example., generation 3"), "{out}{err}");
    assert!(out.contains("note: --force SKR-PROVE was not needed"), "{out}");

    // And back, and back again by name.
    let (code, _, err) = run(&bench, &["rollback", "example", "--reason", "x"]);
    assert!(code == 1 && err.contains("no generation before"), "{err}");
    let (code, _, err) = run(&bench, &["rollback", "--to", "2", "example", "--reason", "x"]);
    assert!(
        code == 1 && err.contains("would go back from generation 3 to generation 2") && err.contains("--yes")
    );
    let (code, answer) =
        json(&bench, &["rollback", "--to", "2", "example", "--reason", "b was right", "--yes"]);
    assert_eq!((code, &answer["generation"], &answer["from"]), (0, &4.into(), &3.into()), "{answer}");
    assert_eq!(bench.current().unwrap().octets, skr(1, now).as_bytes());
    let (code, out, err) = run(&bench, &["rollback", "example", "--reason", "third thoughts", "--yes"]);
    assert!(
        code == 0 && out.contains("went back from generation 4 to generation 1, as generation 5"),
        "{out}{err}"
    );
    assert!(bench.files("state/rejected").is_empty(), "files of people stay with them");

    let (code, answer) = json(&bench, &["status"]);
    let zone = &answer["zones"][0];
    assert_eq!((code, &zone["covered"], &zone["generation"]), (0, &true.into(), &5.into()), "{answer}");
    assert_eq!(zone["last-import"]["result"], "rolled-back");
    assert!(zone["last-import"]["by"].as_str().unwrap().contains("uid "), "{zone}");
    assert!(!conditions(&answer).contains("WATCH-STALLED"), "{answer}");
    let (code, out, err) = run(&bench, &["status", "nowhere.example"]);
    assert!(code == 1 && err.contains("is no [[zone]] of the configuration"), "{out}{err}");
    let audit = fs::read_to_string(bench.path("state/audit.jsonl")).unwrap();
    let reasons = audit.lines().filter(|line| line.contains("\"reason\":\"b is wrong\"")).count();
    assert_eq!(reasons, 2, "ordered and accepted: {audit}");
    offline_ksk_skr_loader::audit::verify(&bench.path("state/audit.jsonl")).unwrap();
}

#[test]
fn kind_104_an_order_without_a_daemon_speaks_of_deliveries_only_where_there_are_targets() {
    for (targets, speaks) in [
        ("", false),
        ("\n[[deliver.hook]]\nname = \"h\"\ncommand = [\"/bin/true\"]\n", true),
        (
            "\n[[deliver.named]]\nname = \"n\"\nrndc = [\"/bin/true\"]\naddress = \"127.0.0.1:53\"\nfolder = \"skr\"\n",
            true,
        ),
    ] {
        let bench = Bench::new();
        bench.configure(targets);
        let now = keystore::clock::now();
        let (a, b) = (write(&bench, "a.skr", &skr(0, now)), write(&bench, "b.skr", &skr(1, now)));
        let rollback = ["rollback", "example", "--reason", "x", "--yes"];
        for order in [&["import", &a][..], &["import", &b], &rollback] {
            let (code, out, err) = run(&bench, order);
            assert!(code == 0 && out.contains("no skr-loader runs"), "{targets} {order:?}: {out}{err}");
            assert_eq!(out.contains("delivers"), speaks, "{targets} {order:?}: {out}");
        }
    }
}

#[test]
fn without_a_daemon_the_work_is_done_under_the_lock() {
    let bench = Bench::new();
    let now = keystore::clock::now();
    let (a, b) = (write(&bench, "a.skr", &skr(0, now)), write(&bench, "b.skr", &skr(1, now)));
    let (code, out, err) = run(&bench, &["import", &a]);
    assert!(code == 0 && out.contains("no skr-loader runs"), "{out}{err}");
    assert_eq!(run(&bench, &["import", &b]).0, 0);
    let (code, out, err) = run(&bench, &["rollback", "example", "--reason", "x", "--yes"]);
    assert!(code == 0 && out.contains("as generation 3"), "{out}{err}");
    let (code, out, err) = run(&bench, &["status"]);
    assert!(code == 1 && out.contains("LOADER-NOT-RUNNING"), "{out}{err}");
    assert!(out.contains("generation 3") && out.contains("from the files alone"), "{out}{err}");
    let (code, _, err) = run(&bench, &["reload"]);
    assert!(code == 1 && err.contains("no skr-loader answers"), "{err}");
    // A loader that runs and has no socket keeps the lock.
    let _daemon = started(&bench);
    fs::remove_file(bench.path(SOCKET)).unwrap();
    let (code, _, err) = run(&bench, &["import", &a]);
    assert!(code == 1 && err.contains("another skr-loader (process"), "{err}");
}

#[test]
fn row_43_reload_says_everything_that_is_wrong() {
    let bench = Bench::new();
    let _daemon = started(&bench);
    bench.configure("\nnonsense = true\n[loader]\nrescan-interval = 0\n");
    let (code, out, err) = run(&bench, &["reload"]);
    assert!(code == 1 && out.contains("nonsense") && out.contains("rescan-interval"), "{out}{err}");
    assert!(out.ends_with("the old configuration stays in use\n"), "{out}");
    let (_, answer) = json(&bench, &["status"]);
    let told = conditions(&answer);
    assert!(told.contains("CONFIG-REJECTED") && told.contains("reload"), "by a broken file, too: {answer}");
    bench.configure("");
    let (code, answer) = json(&bench, &["reload"]);
    assert_eq!((code, &answer["answer"], &answer["zones"]), (0, &"reloaded".into(), &1.into()), "{answer}");
}

#[test]
fn a_place_that_is_not_there_is_named_with_the_way_out() {
    let bench = Bench::new();
    let broken = write(&bench, "broken.toml", "version = 1\n");
    let away = bench.path("away").to_str().unwrap().to_owned();
    for args in [&["reload"][..], &["status"], &["import", &broken]] {
        let args = [&args[..1], &["-c", &broken], &args[1..]].concat();
        let output = Command::new(env!("CARGO_BIN_EXE_skr-loader")).args(&args).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.contains("not said where skr-loader listens: "), "{args:?}: {err}");
        assert!(
            err.contains("state-dir") && err.contains("--socket") && !err.contains("answers on"),
            "{err}"
        );
        assert_eq!(output.status.code(), Some(1));
    }
    for args in [&["list", "--state-dir", &away, "example."][..], &["status", "--state-dir", &away]] {
        let (code, out, err) = run(&bench, args);
        assert!(code == 1 && out.is_empty(), "{args:?}: {out}");
        assert!(err.contains("away is not there") && err.contains("--state-dir"), "{err}");
    }
    // The folder of the configuration, where none is named; and each file is named once.
    let (code, _, err) = run(&bench, &["list", "example."]);
    assert!(code == 1 && err.contains("nothing was accepted for example."), "{err}");
    for what in ["verify", "show"] {
        let config = bench.path("offline-ksk.toml");
        let output = Command::new(env!("CARGO_BIN_EXE_skr-loader"))
            .args(["audit", what, "-c"])
            .arg(&config)
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.contains("state/audit.jsonl: ") && err.matches("os error").count() == 1, "{err}");
    }
    let state = bench.path("state");
    fs::rename(&state, &away).unwrap();
    let (code, out, err) = run(&bench, &["status"]);
    assert!(code == 1 && out.is_empty() && err.contains("state is not there"), "{out}{err}");
    std::os::unix::fs::symlink(bench.path("nowhere"), &state).unwrap();
    let (code, _, err) = run(&bench, &["run"]);
    assert!(code == 1 && err.contains("it is a link to ") && !err.contains("os error"), "{err}");
}

#[test]
fn a_living_socket_is_not_stolen_and_a_dead_one_is_replaced() {
    let bench = Bench::new();
    let daemon = started(&bench);
    let socket = bench.path(SOCKET);
    let inode = || fs::symlink_metadata(&socket).unwrap().ino();
    assert_eq!(fs::symlink_metadata(&socket).unwrap().mode() & 0o7777, 0o660);
    let first = inode();
    let mut second = bench.start();
    assert_eq!(second.wait(LIMIT).and_then(|status| status.code()), Some(1));
    assert_eq!(inode(), first, "not stolen");
    assert_eq!(loader(&json(&bench, &["status"]).1)["pid"], daemon.pid());
    daemon.kill();
    assert!(socket.exists(), "kill -9 leaves it");
    let mut third = started(&bench);
    third.signal(Signal::TERM);
    assert!(third.wait(LIMIT).is_some_and(|status| status.success()));
    assert!(!socket.exists(), "one that ends takes it away");
    assert!(bench.files("state").iter().all(|name| !name.starts_with('.')), "{:?}", bench.files("state"));
}

/// What was ordered is handed to the servers as what was dropped, and the status tells of it.
#[test]
fn orders_are_delivered() {
    let bench = Bench::new();
    let hook = write(
        &bench,
        "hook",
        "#!/bin/sh\ncp \"$OFFLINE_KSK_SKR\" \"$(dirname \"$0\")/served.$OFFLINE_KSK_GENERATION\"\n",
    );
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    bench.configure(&format!("\n[[deliver.hook]]\nname = \"h\"\ncommand = [\"{hook}\"]\n"));
    let now = keystore::clock::now();
    let (a, b) = (write(&bench, "a.skr", &skr(0, now)), write(&bench, "b.skr", &skr(1, now)));
    let _daemon = started(&bench);
    for (args, generation, content) in [
        (vec!["import", &a], 1, &a),
        (vec!["import", &b], 2, &b),
        (vec!["rollback", "example", "--reason", "x", "--yes"], 3, &a),
        (vec!["import", "--force", "SKR-REPLAY", "--reason", "x", "--yes", &b], 4, &b),
    ] {
        let (code, out, err) = run(&bench, &args);
        assert_eq!(code, 0, "{out}{err}");
        let served = bench.path(&format!("served.{generation}"));
        let is_it = || fs::read(&served).is_ok_and(|octets| octets == fs::read(content).unwrap());
        assert!(wait_for(LIMIT, is_it), "{args:?}: {}", bench.log());
        let is_told = || {
            let delivery = &json(&bench, &["status"]).1["zones"][0]["deliveries"][0];
            delivery["target"] == "h" && delivery["current"] == true && delivery["generation"] == generation
        };
        assert!(wait_for(LIMIT, is_told), "{}", json(&bench, &["status"]).1);
    }
}

/// As another user: without the group nothing, with the group looks, and nothing that changes the store. Needs root.
#[test]
fn only_the_group_connects_and_only_the_owner_changes() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        eprintln!("SKIPPED: another user is needed; run it as root");
        return;
    }
    const STRANGER: u32 = 54_321;
    const GROUP: u32 = 54_322;
    let bench = Bench::new();
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let now = keystore::clock::now();
    let a = write(&bench, "a.skr", &skr(0, now));
    let _daemon = started(&bench);
    let as_user = |gid: u32, args: &[&str]| {
        let Output { status, stdout, stderr } =
            command(&bench, args).uid(STRANGER).gid(gid).output().unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (status.code(), text(stdout), text(stderr))
    };
    let (_, out, err) = as_user(STRANGER, &["status"]);
    assert!(out.contains("COVERAGE-NEVER") && err.contains("from the files, since"), "{out}{err}");
    assert!(err.contains("permission denied"), "{out}{err}");
    let (code, _, err) = as_user(STRANGER, &["import", &a]);
    assert!(code == Some(1) && err.contains("control-group"), "{err}");
    // As the loader would, had the configuration named that group.
    std::os::unix::fs::chown(bench.path(SOCKET), None, Some(GROUP)).unwrap();
    let (_, out, err) = as_user(GROUP, &["status"]);
    assert!(out.contains("loader runs"), "{out}{err}");
    assert_eq!(as_user(GROUP, &["reload"]).0, Some(0));
    let orders: [&[&str]; 3] =
        [&["import", &a], &["import", "--dry-run", &a], &["rollback", "example", "--reason", "x", "--yes"]];
    for order in orders {
        let (code, out, err) = as_user(GROUP, order);
        assert!(code == Some(1) && err.contains("uid 54321 may not do this"), "{order:?}: {out}{err}");
    }
    assert_eq!(bench.current(), None);
    assert_eq!(run(&bench, &["import", &a]).0, 0, "root may");
}

/// Slow, silent, endless, deaf and ill-mannered clients, many of them: commands and dropped files go through all the same.
#[test]
fn nobody_holds_it_up() {
    let bench = Bench::new();
    let now = keystore::clock::now();
    let _daemon = started(&bench);
    let connect = || UnixStream::connect(bench.path(SOCKET)).unwrap();
    // Silent ones, far more than there is room for, and some that drip.
    let mut silent: Vec<UnixStream> = (0..100).map(|_| connect()).collect();
    for stream in silent.iter_mut().rev().take(5) {
        let _ = stream.write(b"{\"comm");
    }
    let begun = Instant::now();
    assert!(run(&bench, &["status"]).1.contains("loader runs"));
    bench.drop_file("a.skr", &skr(0, now));
    assert!(wait_for(LIMIT, || bench.current().is_some()), "{}", bench.log());
    // Deaf ones: they ask, and never read.
    let deaf: Vec<UnixStream> = (0..20)
        .map(|_| {
            let mut stream = connect();
            let _ = stream.write_all(b"{\"command\":\"status\"}\n");
            stream
        })
        .collect();
    assert!(wait_for(LIMIT, || run(&bench, &["status"]).1.contains("loader runs")));
    bench.drop_file("b.skr", &skr(1, now));
    assert!(wait_for(LIMIT, || bench.current().is_some_and(|c| c.generation == 2)), "{}", bench.log());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    // Nonsense is answered, or the connection is closed; and the loader goes on.
    drop((silent, deaf));
    for nonsense in
        [&b"\0\xff\xfe\n"[..], b"{}\n", b"[[[[\n", b"{\"command\":\"status\",\"zones\":[\"..\"]}\n", b"\n"]
    {
        let mut stream = connect();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(nonsense).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.is_empty() || said.contains("\"refused\""), "{said}");
    }
    let deep = format!("{}\n", "[".repeat(60_000));
    let mut stream = connect();
    stream.write_all(deep.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.contains("does not read"), "{said}");
    assert!(run(&bench, &["status"]).1.contains("generation 2"));
}
