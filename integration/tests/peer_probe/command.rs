//! The command line: what a monitoring system takes for UNKNOWN must never look like a warning or worse.

use std::fs::File;
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("runs")
}

#[test]
fn whatever_keeps_the_command_from_its_work_ends_with_3_and_help_with_0() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("offline-ksk.toml");
    let text = format!(
        "version = 1\nstate-dir = \"{}\"\n[policy.p]\noffline-ksk = true\nkeys = [{{ role = \"ksk\", lifetime = 0, algorithm = 15 }}, \
         {{ role = \"zsk\", lifetime = 0, algorithm = 15 }}]\n[[zone]]\nname = \"example.\"\npolicy = \"p\"\n",
        dir.path().join("state").display()
    );
    std::fs::write(&config, text).expect("write");
    let config = config.to_str().expect("text");
    for (arguments, code) in [
        (&["probe", "example.", "--chekc"][..], 3),
        (&["probe"], 3),
        (&["probe", "example.", "--server", "ns.example."], 3),
        (&["--log", "json", "probe", "example.", "--warning", "soon"], 3),
        (&["probe", "example.", "-c", "/does/not/exist"], 3),
        (&["probe", "other.", "-c", config], 3),
        (&["probe", "example.", "--server", "192.0.2.1", "-6"], 3),
        (&["probe", "example.", "-4", "-6"], 3),
        (&["probe", "--help"], 0),
        (&["inspect", "--nonsense"], 2),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    }
    for wrong in [&["--warning", "soon"][..], &["-c", "/does/not/exist"]] {
        let output = run(&[&["probe", "example.", "--check"], wrong].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.starts_with("PROBE UNKNOWN: ") && text.lines().count() == 1, "{wrong:?}: {text}");
        assert_eq!(output.status.code(), Some(3), "{wrong:?}");
    }
}

#[test]
fn an_output_that_cannot_be_written_ends_with_3() {
    // Nobody answers there, which is critical.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let arguments =
        ["probe", "example.", "--server", &address, "--parent", &address, "--resolver", &address, "--check"];
    assert_eq!(run(&arguments).status.code(), Some(2));
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let status = command(&arguments).stdout(full).stderr(Stdio::null()).status().expect("runs");
    assert_eq!(status.code(), Some(3));
}
