//! The files for systemd, judged by systemd.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd").canonicalize().unwrap()
}

/// `None`, loudly, where systemd is not there.
fn run(program: &str, args: &[&str]) -> Option<Output> {
    match Command::new(program).args(args).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{program} is missing: {error}");
            eprintln!("SKIPPED: {program}: {error}");
            None
        }
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn units_are_good_and_hardened() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(packaging()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "service") {
            continue;
        }
        // The programs need not be installed for that.
        let text = std::fs::read_to_string(&path).unwrap();
        let text =
            text.replace("/usr/bin/offline-ksk ", "/bin/true ").replace("/usr/bin/skr-loader ", "/bin/true ");
        let unit = dir.path().join(path.file_name().unwrap());
        std::fs::write(&unit, &text).unwrap();
        let unit = unit.to_str().unwrap();
        let Some(verified) = run("systemd-analyze", &["verify", "--man=no", unit]) else { return };
        assert!(verified.status.success() && said(&verified).is_empty(), "{unit}: {}", said(&verified));
        let judged = run("systemd-analyze", &["security", "--offline=true", "--threshold=20", unit]).unwrap();
        assert!(judged.status.success(), "an exposure over 2.0: {}", said(&judged));
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn loader_and_timer_are_apart() {
    let unit = |name: &str| std::fs::read_to_string(packaging().join(name)).unwrap();
    let user = |text: &str| text.lines().find_map(|l| l.strip_prefix("User=")).unwrap().to_owned();
    let (loader, timer) = (unit("skr-loader.service"), unit("offline-ksk-requests.service"));
    assert_eq!((user(&loader).as_str(), user(&timer).as_str()), ("skr-loader", "offline-ksk-ksr"));
    for text in [&loader, &timer] {
        // systemd would give the whole folder to the user of the unit that starts last.
        assert!(!text.contains("StateDirectory="));
        assert!(text.contains("Group=offline-ksk\n"));
    }
    let users = unit("offline-ksk.sysusers");
    for user in ["offline-ksk", "skr-loader", "offline-ksk-ksr"] {
        assert!(users.lines().any(|l| l.starts_with(&format!("u {user} "))), "{user}");
    }
    let path = packaging().join("offline-ksk.sysusers");
    if let Some(output) = run("systemd-sysusers", &["--dry-run", path.to_str().unwrap()]) {
        assert!(
            output.status.success() && !said(&output).contains("offline-ksk.sysusers:"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn kind_05_units_give_descriptors_that_the_limits_of_connections_follow_from() {
    for (name, least) in [("offline-ksk", 65_536), ("skr-loader", 16_384), ("offline-ksk-requests", 4_096)] {
        let text = std::fs::read_to_string(packaging().join(format!("{name}.service"))).unwrap();
        let limits: Vec<u64> =
            text.lines().filter_map(|l| l.strip_prefix("LimitNOFILE=")).map(|n| n.parse().unwrap()).collect();
        assert_eq!(limits, [least], "{name}");
    }
}
