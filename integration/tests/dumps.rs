//! Programs that hold private keys leave no core dump.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that lies beside `offline-ksk`; `None` when it was not built.
fn beside(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).with_file_name(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing: build the whole workspace", path.display());
    eprintln!("SKIPPED: {} was not built", path.display());
    None
}

/// A program that waits for its standard input, or for a signal. (SIGABRT: the runtime of Rust takes a SIGSEGV from outside for nothing.)
fn start(program: &Path, arguments: &[&str]) -> Child {
    let mut line = format!("ulimit -c unlimited 2>/dev/null; exec {}", program.display());
    arguments.iter().for_each(|argument| line.push_str(&format!(" '{argument}'")));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &line]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a shell")
}

fn core_limit(child: &Child) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max core file size"))?.to_owned();
    Some(line.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

#[test]
fn kind_12_programs_with_private_keys_leave_no_core_dump() {
    let dir = tempfile::tempdir().expect("a folder");
    let policy = dir.path().join("policy");
    let text = "dnssec-policy p { offline-ksk yes; keys { ksk lifetime unlimited algorithm 13; zsk lifetime P6M algorithm 13; }; };";
    std::fs::write(&policy, text).expect("write");
    let config = dir.path().join("offline-ksk.toml");
    let text = format!(
        "version = 1\nstate-dir = {:?}\n[policy.p]\noffline-ksk = true\nkeys = [{{ role = \"ksk\", lifetime = 0, algorithm = 13 }}, {{ role = \"zsk\", lifetime = \"P6M\", algorithm = 13 }}]\n[[zone]]\nname = \"example.test\"\npolicy = \"p\"\ntrust-anchors = [\"example.test. DS 1 13 2 {}\"]\n",
        dir.path().join("state"),
        "00".repeat(32)
    );
    std::fs::write(&config, text).expect("write");
    let (policy, config) = (policy.to_str().expect("text"), config.to_str().expect("text"));
    let folder = dir.path().to_str().expect("text");
    let sign = ["-l", policy, "-k", "p", "-e", "+1y", "-K", folder, "-f", "-", "sign", "example.test"];
    for (program, arguments) in [
        ("ksr-gen", &sign[..]),
        ("skr-loader", &["run", "-c", config]),
        ("offline-ksk", &["convert", "--to", "xml", "-"]),
        ("offline-ksk", &["requests", "-c", config]),
    ] {
        let Some(path) = beside(program) else { continue };
        let mut child = start(&path, arguments);
        let began = Instant::now();
        while core_limit(&child).as_deref() != Some("0 0") {
            assert!(began.elapsed() < Duration::from_secs(30), "{program}: {:?}", core_limit(&child));
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-ABRT", &pid]).status().expect("kill").success(), "{program}");
        let status = child.wait().expect("an end");
        assert!(status.signal().is_some() && !status.core_dumped(), "{program}: {status}");
    }
}

#[test]
fn kind_12_units_have_no_core_dumps() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let mut seen = 0;
    for entry in std::fs::read_dir(packaging).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "service") {
            let text = std::fs::read_to_string(&path).expect("text");
            assert!(text.lines().any(|line| line == "LimitCORE=0"), "{}", path.display());
            seen += 1;
        }
    }
    assert_eq!(seen, 3);
}
