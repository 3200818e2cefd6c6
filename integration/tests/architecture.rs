//! The invariants of ARCHITECTURE.md that a machine can check: who may depend on whom, and who names what.

mod modules;
mod source;
mod syntax;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use modules::{Crate, Ring};
use source::{CRATES, rust_files, workspace as top};

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
    let arrows: [(&str, &[&str]); 6] = [
        ("keystore", &[]),
        ("metrics", &["keystore"]),
        ("ksr-gen", &["keystore", "metrics"]),
        ("skr-loader", &["keystore", "metrics"]),
        ("signer-plugin", &["keystore", "metrics"]),
        ("integration", &["keystore", "ksr-gen", "skr-loader", "signer-plugin", "metrics"]),
    ];
    for (from, allowed) in arrows {
        let deps = tree(&format!("offline-ksk-{from}"), &["--all-features"]);
        for to in CRATES {
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

fn sources_naming(crates: &[&str], needle: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for krate in crates {
        files.extend(rust_files(&top().join(krate).join("src")));
    }
    files.retain(|f| {
        let text = std::fs::read_to_string(f).expect("readable");
        text.lines().any(|l| !l.trim_start().starts_with("//") && l.contains(needle))
    });
    files
}

#[test]
fn hickory_is_named_at_the_border_only() {
    // `hickory_server=warn` in a log filter names no type
    let named: BTreeSet<PathBuf> = ["hickory_server::", "hickory_proto::", "hickory_net::"]
        .iter()
        .flat_map(|needle| sources_naming(&CRATES, needle))
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
        let readers = sources_naming(&CRATES, needle);
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

/// The crates of this workspace, each with its modules.
fn crates() -> Vec<(&'static str, Crate)> {
    CRATES.iter().map(|name| (*name, Crate::read(&top().join(name).join("src/lib.rs")))).collect()
}

#[test]
fn sibling_modules_form_an_order() {
    let rings: Vec<(&str, Ring)> = crates()
        .into_iter()
        .flat_map(|(name, krate)| krate.rings().into_iter().map(move |ring| (name, ring)))
        .collect();
    let rings: Vec<String> = rings
        .iter()
        .map(|(name, ring)| {
            let references = ring.references.join("\n    ");
            format!("{name}: {} below `{}`:\n    {references}", ring.members.join(", "), ring.level)
        })
        .collect();
    assert!(rings.is_empty(), "modules refer to each other in a ring:\n{}", rings.join("\n"));
}

#[test]
fn a_planted_ring_is_found() {
    // Files of a crate, and the ring that they make: level, members.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<(&'a str, &'a [&'a str])>);
    let cases: [Case<'_>; 11] = [
        (
            "an order",
            &[("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::X;"), ("b.rs", "pub struct X;")],
            None,
        ),
        (
            "use lines",
            &[
                ("lib.rs", "mod a; mod b;"),
                ("a.rs", "use crate::b::X; pub struct Y;"),
                ("b.rs", "use super::a::{Y}; pub struct X;"),
            ],
            Some(("", &["a", "b"])),
        ),
        (
            "three, by paths in code, in a type and in a macro",
            &[
                ("lib.rs", "mod a; mod b; mod c;"),
                ("a.rs", "pub fn f() { crate::b::f() }"),
                ("b.rs", "pub fn f() { let _: Option<crate::c::X> = None; }"),
                ("c.rs", "pub struct X; fn f() { println!(\"{:?}\", crate::a::f()); }"),
            ],
            Some(("", &["a", "b", "c"])),
        ),
        (
            "below a module",
            &[
                ("lib.rs", "mod p;"),
                ("p/mod.rs", "mod a; mod b;"),
                ("p/a.rs", "use super::b;"),
                ("p/b.rs", "use crate::p::a as other;"),
            ],
            Some(("p", &["a", "b"])),
        ),
        (
            "subtrees",
            &[
                ("lib.rs", "mod a; mod b;"),
                ("a.rs", "mod deep; pub struct Y;"),
                ("a/deep.rs", "use crate::b::X;"),
                ("b.rs", "pub mod low; pub struct X;"),
                ("b/low.rs", "use crate::a::Y;"),
            ],
            Some(("", &["a", "b"])),
        ),
        (
            "a parent and its children are one",
            &[
                ("lib.rs", "mod a;"),
                ("a.rs", "mod low; pub struct X; use low::Y;"),
                ("a/low.rs", "use super::X; pub struct Y;"),
            ],
            None,
        ),
        (
            "a re-export of the parent",
            &[
                ("lib.rs", "mod a; mod b; pub use b::X;"),
                ("a.rs", "use super::X; pub struct Y;"),
                ("b.rs", "use crate::a::Y; pub struct X;"),
            ],
            Some(("", &["a", "b"])),
        ),
        (
            "a glob",
            &[
                ("lib.rs", "mod a; mod b; pub use b::*;"),
                ("a.rs", "use super::*; pub struct Y; fn f(_: b::X) {}"),
                ("b.rs", "use crate::a::Y; pub struct X;"),
            ],
            Some(("", &["a", "b"])),
        ),
        (
            "code for tests does not count",
            &[
                ("lib.rs", "mod a; mod b;"),
                (
                    "a.rs",
                    "pub struct Y; #[cfg(test)] mod tests { use crate::b::X; } #[cfg(test)] use crate::b; #[test] fn t() { crate::b::f() }",
                ),
                ("b.rs", "use crate::a::Y; pub struct X;"),
            ],
            None,
        ),
        (
            "modules in one file",
            &[("lib.rs", "mod a { use super::b; } mod b { pub(crate) fn f() { super::a::f() } }")],
            Some(("", &["a", "b"])),
        ),
        (
            "a call through an imported module",
            &[
                ("lib.rs", "mod a; mod p;"),
                ("a.rs", "use crate::p; fn f() { p::b::g() }"),
                ("p.rs", "pub mod b;"),
                ("p/b.rs", "pub fn g() { crate::a::f() }"),
            ],
            Some(("", &["a", "p"])),
        ),
    ];
    for (what, files, expected) in cases {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("make it");
            std::fs::write(path, text).expect("write");
        }
        let rings = Crate::read(&dir.path().join("lib.rs")).rings();
        let found: Vec<(&str, Vec<&str>)> = rings
            .iter()
            .map(|ring| (ring.level.as_str(), ring.members.iter().map(String::as_str).collect()))
            .collect();
        let expected: Vec<(&str, Vec<&str>)> =
            expected.into_iter().map(|(level, members)| (level, members.to_vec())).collect();
        assert_eq!(found, expected, "{what}: {rings:?}");
        assert!(
            rings.iter().all(|ring| ring.references.len() >= 2),
            "{what}: the names that tie it: {rings:?}"
        );
    }
}

#[test]
fn keystore_opens_no_socket() {
    // Addresses are values; everything else of these modules opens something.
    let addresses =
        ["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6", "AddrParseError"];
    let mut seen = 0;
    for (module, path) in Crate::read(&top().join("keystore/src/lib.rs")).paths() {
        let of_network =
            ["std::net", "core::net", "std::os::unix::net", "rustix::net", "socket2", "nix::sys::socket"]
                .iter()
                .find_map(|network| {
                    path.strip_prefix(network).filter(|rest| rest.is_empty() || rest.starts_with("::"))
                });
        if let Some(rest) = of_network {
            let item = rest.split("::").nth(1).unwrap_or_default();
            assert!(addresses.contains(&item), "keystore::{module} names {path}");
            seen += 1;
        }
    }
    assert!(seen > 0, "keystore names addresses");
}

#[test]
fn only_the_http_endpoint_reads_a_metric() {
    // Values are read with the feature `testing` of `metrics` only, so that code outside of tests that reads one does not compile.
    for krate in CRATES {
        let manifest = std::fs::read_to_string(top().join(krate).join("Cargo.toml")).expect("a manifest");
        let normal = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        let metrics = |text: &str| text.lines().any(|l| l.starts_with("metrics =") && l.contains("testing"));
        assert!(!metrics(normal), "{krate} reads metrics outside of tests");
        assert!(
            krate == "metrics" || !manifest.contains("prometheus"),
            "{krate} has prometheus' own types, which read"
        );
    }
    let readers = |needle: &str| -> Vec<String> {
        let name = |file: PathBuf| file.strip_prefix(top()).expect("ours").display().to_string();
        sources_naming(&CRATES, needle).into_iter().map(name).collect()
    };
    assert_eq!(readers(".exposition()"), ["metrics/src/families.rs", "metrics/src/http.rs"]);
    assert_eq!(readers(".gather()"), ["metrics/src/families.rs"]);
    let values = std::fs::read_to_string(top().join("metrics/src/values.rs")).expect("readable");
    let gates = values.matches("#[cfg(any(test, feature = \"testing\"))]").count();
    assert_eq!(values.matches("self.0.get").count(), gates, "each behind the feature");
}
