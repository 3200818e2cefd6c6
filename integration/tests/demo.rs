//! The demo as a new user runs it, and the other commands of `offline-ksk` with wrong input.

use std::process::{Command, Output};

fn offline_ksk(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_offline-ksk")).args(arguments).output().expect("run offline-ksk")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn demo_once_validates_every_answer_and_ends_well() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path().join("kept");
    let output = offline_ksk(&["demo", "--once", "--keep", &dir.to_string_lossy()]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("18 of 18 answers hold") && !said.contains("WRONG"), "{said}");
    assert!(said.lines().count() <= 14, "a dozen lines are readable: {said}");
    for left in
        ["online/accepted/demo.example./1.skr", "online/audit.jsonl", "online/offline-ksk.toml", "bind.keys"]
    {
        assert!(dir.join(left).exists(), "{left} is not left to look at");
    }

    let config = dir.join("online/offline-ksk.toml");
    let output = offline_ksk(&["status", "--json", "-c", &config.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1), "nothing runs any more: {}", text(&output));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let zone = &status["zones"][0];
    assert_eq!((&zone["zone"], &zone["severity"]), (&"demo.example.".into(), &"ok".into()), "{zone}");
    assert_eq!((&zone["generation"], &zone["covered"]), (&1.into(), &true.into()));
    assert!(zone["coverage-left-seconds"].as_u64().expect("a number") > 180 * 86_400);
    let ids: Vec<_> = status["conditions"].as_array().expect("a list").iter().map(|c| &c["id"]).collect();
    assert!(ids.contains(&&"SIGNER-NOT-RUNNING".into()), "{ids:?}");
    let output = offline_ksk(&["serve", "--check-config", "-c", &config.to_string_lossy()]);
    assert!(output.status.success(), "{}", text(&output));
    let output = offline_ksk(&["requests", "--check-config", "-c", &config.to_string_lossy()]);
    assert!(output.status.success() && text(&output).contains("1 zones, no errors"), "{}", text(&output));
    let bad = dir.join("online/no-zone.toml");
    let good = std::fs::read_to_string(&config).expect("read");
    std::fs::write(&bad, good.replace("\nfile = ", "\nkey-directory = \"/nonexistent\"\nfile = "))
        .expect("write");
    for daemon in ["serve", "requests"] {
        let output = offline_ksk(&[daemon, "--check-config", "-c", &bad.to_string_lossy()]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("key-directory /nonexistent is not there"), "{}", text(&output));
    }

    let output = offline_ksk(&["demo", "--once", "--keep", &dir.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("is not empty"), "{}", text(&output));
}

#[test]
fn wrong_input_is_named_and_nothing_is_written() {
    let temp = tempfile::tempdir().expect("a folder");
    let path = |name: &str| temp.path().join(name).to_string_lossy().into_owned();
    std::fs::write(
        path("bad.toml"),
        "version = 1\nstate-dir = \".\"\nnonsense = 1\n[[zone]]\nname = \"a..b\"\npolicy = \"p\"\n",
    )
    .expect("write");
    std::fs::write(path("anchor"), "example. IN A 192.0.2.1\n").expect("write");
    std::fs::write(path("zone"), "@ SOA a b 1 1 1 1 1\n@ NS a\nx 300 A 192.0.2.300\n").expect("write");
    std::fs::write(path("skr"), ";; SignedKeyResponse 1.0 generated at x by y\n").expect("write");
    let sign_zone = |zone: &str, skr: &str| {
        let (zone, skr, anchor, dir, out) = (path(zone), path(skr), path("anchor"), path(""), path("out"));
        offline_ksk(&[
            "sign-zone",
            "--zone",
            "example",
            "--skr",
            &skr,
            "--trust-anchor",
            &anchor,
            "--key-directory",
            &dir,
            "-o",
            &out,
            &zone,
        ])
    };
    for (output, code, pieces) in [
        (offline_ksk(&["serve", "-c", &path("none.toml")]), 1, vec!["none.toml"]),
        (
            offline_ksk(&["serve", "--check-config", "-c", &path("bad.toml")]),
            1,
            vec!["bad.toml:3", "nonsense", "bad.toml:5"],
        ),
        (offline_ksk(&["status", "-c", &path("bad.toml")]), 1, vec!["bad.toml:3"]),
        (sign_zone("none", "skr"), 1, vec!["none"]),
        (sign_zone("zone", "skr"), 1, vec!["zone:3", "192.0.2.300"]),
        (offline_ksk(&["sign-zone"]), 2, vec!["--zone"]),
        (offline_ksk(&["nonsense"]), 2, vec!["nonsense"]),
        (offline_ksk(&["serve"]), 2, vec!["--config"]),
    ] {
        let said = text(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        for piece in pieces {
            assert!(said.contains(piece), "`{piece}` is missing: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
    assert!(!std::path::Path::new(&path("out")).exists());
}

#[test]
fn a_full_standard_output_is_an_error_and_no_panic() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_offline-ksk"))
        .args(["demo", "--once"])
        .stdout(full)
        .output()
        .expect("it runs");
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot write to standard output") && !stderr.contains("panicked"), "{stderr}");
}
