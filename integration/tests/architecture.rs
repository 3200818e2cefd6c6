//! The invariants of ARCHITECTURE.md that a machine can check: who may depend on whom, and who names what.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Names of all packages that `package` is built with, itself left out.
fn tree(package: &str, arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--package",
            package,
        ])
        .args(arguments)
        .current_dir(top())
        .output()
        .expect("run cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| *name != package)
        .map(str::to_owned)
        .collect()
}

#[test]
fn crates_depend_along_the_arrows_only() {
    const OURS: [&str; 6] = ["keystore", "ksr-gen", "skr-loader", "signer-plugin", "metrics", "integration"];
    let arrows: [(&str, &[&str]); 6] = [
        ("keystore", &[]),
        ("metrics", &[]),
        ("ksr-gen", &["keystore", "metrics"]),
        ("skr-loader", &["keystore", "metrics"]),
        ("signer-plugin", &["keystore", "metrics"]),
        ("integration", &["keystore", "ksr-gen", "skr-loader", "signer-plugin", "metrics"]),
    ];
    for (from, allowed) in arrows {
        let deps = tree(&format!("offline-ksk-{from}"), &["--all-features"]);
        for to in OURS {
            let there = deps.contains(&format!("offline-ksk-{to}"));
            assert!(!there || allowed.contains(&to), "{from} depends on {to}");
        }
    }
}

#[test]
fn keystore_and_ksr_gen_are_free_of_runtimes_and_networks() {
    for (package, arguments) in
        [("offline-ksk-keystore", &["--all-features"][..]), ("offline-ksk-ksr-gen", &[][..])]
    {
        let deps = tree(package, arguments);
        for foreign in [
            "tokio",
            "mio",
            "socket2",
            "hyper",
            "axum",
            "hickory-proto",
            "hickory-net",
            "hickory-server",
            "notify",
        ] {
            assert!(!deps.contains(foreign), "{package} is built with {foreign}");
        }
    }
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder").map(|e| e.expect("an entry").path()) {
        if entry.is_dir() {
            sources(&entry, into);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            into.push(entry);
        }
    }
}

fn sources_naming(crates: &[&str], needle: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for krate in crates {
        sources(&top().join(krate).join("src"), &mut files);
    }
    files.retain(|f| {
        let text = std::fs::read_to_string(f).expect("readable");
        text.lines().any(|l| !l.trim_start().starts_with("//") && l.contains(needle))
    });
    files
}

#[test]
fn hickory_is_named_at_the_border_only() {
    let crates = ["keystore", "ksr-gen", "skr-loader", "signer-plugin", "metrics", "integration"];
    // `hickory_server=warn` in a log filter names no type
    let named: BTreeSet<PathBuf> = ["hickory_server::", "hickory_proto::", "hickory_net::"]
        .iter()
        .flat_map(|needle| sources_naming(&crates, needle))
        .collect();
    assert!(!named.is_empty(), "the border names hickory");
    for file in named {
        let file = file.strip_prefix(top()).expect("ours").to_owned();
        let text = file.to_string_lossy().into_owned();
        let at_the_border =
            text.starts_with("signer-plugin/src/border") || text.starts_with("signer-plugin/src/server");
        assert!(at_the_border, "{text} names hickory");
    }
}

#[test]
fn one_module_reads_the_clock() {
    for needle in ["SystemTime::now", "Timestamp::now", "Zoned::now"] {
        let readers = sources_naming(
            &["keystore", "ksr-gen", "skr-loader", "signer-plugin", "metrics", "integration"],
            needle,
        );
        for file in readers {
            assert!(file.ends_with("keystore/src/clock.rs"), "{} reads the clock", file.display());
        }
    }
}

#[test]
fn the_online_crates_never_write_beside_the_durable_helper() {
    for needle in ["fs::write(", "File::create("] {
        for file in sources_naming(&["keystore", "ksr-gen", "skr-loader", "signer-plugin"], needle) {
            let text = std::fs::read_to_string(&file).expect("readable");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let in_code = code.lines().any(|l| !l.trim_start().starts_with("//") && l.contains(needle));
            let test_file = file.components().any(|c| c.as_os_str() == "tests") || file.ends_with("tests.rs");
            assert!(
                !in_code || test_file || file.ends_with("keystore/src/durable.rs"),
                "{} uses {needle}",
                file.display()
            );
        }
    }
}
