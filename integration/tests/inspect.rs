//! What `inspect` draws, held against kept drawings. `UPDATE=1` makes them anew; look at them then.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::path::{Path, PathBuf};
use std::process::Command;

use keystore::dns::Name;
use keystore::time::Timestamp;
use offline_ksk_integration::inspect::{Paint, Style, look, render};

fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn bind(name: &str) -> PathBuf {
    repo().join("keystore/tests/fixtures/bind").join(name)
}

fn assert_drawing(name: &str, path: &Path, now: &str, style: Style) {
    let view = look(path, Some(&Name::parse("example.test").unwrap())).unwrap();
    let drawn = render(&view, Timestamp::parse_stamp(now).unwrap(), style);
    let drawn = drawn.replace(&format!("{}/", repo().display()), "");
    let kept = repo().join("integration/tests/inspect").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&kept, &drawn).unwrap();
    }
    let expected = std::fs::read_to_string(&kept).unwrap_or_default();
    assert!(drawn == expected, "{name}: drawn\n{drawn}\nexpected\n{expected}");
    for line in drawn.lines().filter(|line| !line.starts_with("sha256") && !line.starts_with("file")) {
        assert!(line.chars().count() <= style.width, "{name}: wider than {}: {line}", style.width);
    }
}

const PLAIN: Style = Style { width: 80, ascii: false, paint: Paint(false), all: false };

#[test]
fn drawings() {
    assert_drawing("skr-80", &bind("p256-ksk-roll.skr"), "20270215000000", PLAIN);
    assert_drawing("skr-120", &bind("p256-ksk-roll.skr"), "20270302120000", Style { width: 120, ..PLAIN });
    assert_drawing("skr-all", &bind("rsa-zsk-roll.skr"), "20280101000000", Style { all: true, ..PLAIN });
    assert_drawing("ksr-ascii", &bind("p256-ksk-roll.ksr"), "20270101000000", Style { ascii: true, ..PLAIN });
    assert_drawing("seconds", &bind("fast.skr"), "20270101000030", PLAIN);
    assert_drawing("folder", &repo().join("keystore/tests/fixtures/keys/ksr"), "20270301000000", PLAIN);
}

#[test]
fn ascii_is_ascii() {
    let view = look(&bind("p256-ksk-roll.skr"), None).unwrap();
    let drawn = render(&view, Timestamp::EPOCH, Style { ascii: true, ..PLAIN });
    assert!(drawn.is_ascii(), "{drawn}");
}

#[test]
fn a_lost_bundle_is_a_gap() {
    let text = std::fs::read_to_string(bind("rsa-zsk-roll.skr")).unwrap();
    // Two bundles gone leave more than the margin of 5 days.
    let mut parts: Vec<&str> = text.split_inclusive(";; SignedKeyResponse").collect();
    parts.drain(3..5);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lost.skr");
    std::fs::write(&path, parts.concat()).unwrap();
    let drawn = render(&look(&path, None).unwrap(), Timestamp::EPOCH, PLAIN);
    assert!(drawn.lines().any(|l| l.starts_with("gaps ") && l.contains('×')), "{drawn}");
    assert!(drawn.lines().any(|l| l.starts_with("gap       2027-")), "{drawn}");
}

fn program(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_offline-ksk"))
        .args(args)
        .current_dir(repo().join("keystore/tests/fixtures/bind"))
        .env_remove("LC_ALL")
        .env("LANG", "C")
        .output()
        .unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_programs_json_and_exit_status() {
    let (code, out, err) = program(&["inspect", "p256-ksk-roll.skr", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    assert_eq!((code, json["bundles"].as_array().unwrap().len()), (Some(0), 22));
    assert_eq!(json["keys"][0]["tag"], 2669);
    assert_eq!(json["keys"][0]["signing"][0][0], "2027-01-01T00:00:00Z");

    let (code, out, err) = program(&["inspect", "named.conf"]);
    assert!(code == Some(1) && out.is_empty() && err.contains("neither KSR nor SKR"), "{out}{err}");

    let prove = |name: &str, policy: &str, more: &[&str]| {
        let (skr, anchor) = (format!("{name}.skr"), format!("{name}.ksk"));
        let args = [
            "prove",
            &skr,
            "--zone",
            "example.test",
            "--trust-anchor",
            &anchor,
            "--policy-file",
            "named.conf",
        ];
        program(&[&args, &["--policy", policy][..], more].concat())
    };
    let (code, out, err) = prove("rsa-zsk-roll", "rsa", &[]);
    assert!(code == Some(0) && out.contains("verdict   proved: at every second"), "{out}{err}");
    let (code, out, _) = prove("p256-ksk-roll", "p256", &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, json["proved"].as_bool()), (Some(1), Some(false)));
    assert_eq!(json["proved_until"], "2027-03-02T01:04:59Z");
    // BIND's `dnssec-ksr` knows nothing of the parent; the operator's word on the DS is for both keys, and then it holds.
    let (code, out, err) = prove("p256-ksk-roll", "p256", &["--parent-ds", "p256-ksk-roll.ksk"]);
    assert!(code == Some(0) && out.contains("as in --parent-ds"), "{out}{err}");
    let (code, _, err) = prove("rsa-zsk-roll", "rsa", &["--from", "yesterday"]);
    assert!(code == Some(1) && !err.is_empty(), "{err}");
    assert_eq!(program(&["prove"]).0, Some(2));
}

/// A zone with a TTL above `max-zone-ttl`: told by the operator, or noted by the signer in the state folder of its configuration.
#[test]
fn kind_18_prove_reckons_with_the_largest_ttl_of_the_zone() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("offline-ksk.toml");
    let conf = bind("named.conf");
    std::fs::write(&config, format!("state-dir = \".\"\nnamed-conf = {:?}\n", conf.display().to_string()))
        .unwrap();
    let prove = |file: &Path, more: &[&str]| {
        let file = file.to_str().unwrap();
        let args =
            ["prove", "rsa-zsk-roll.skr", "--zone", "example.test", "--trust-anchor", "rsa-zsk-roll.ksk"];
        program(&[&args, &["--policy-file", file, "--policy", "rsa", "--json"][..], more].concat())
    };
    let told = |(code, out, err): (Option<i32>, String, String)| {
        let json: serde_json::Value =
            serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
        assert_eq!(json["proved"].as_bool(), Some(code == Some(0)), "{out}");
        (code == Some(0), json["larger_ttl"].as_u64())
    };
    assert_eq!(told(prove(&conf, &[])), (true, None));
    assert_eq!(told(prove(&conf, &["--largest-ttl", "86400"])), (true, None));
    // The ZSKs of that SKR overlap by ten days: two days pass, thirty do not.
    assert_eq!(told(prove(&conf, &["--largest-ttl", "2d"])).1, Some(172_800));
    assert_eq!(told(prove(&conf, &["--largest-ttl", "P30D"])), (false, Some(2_592_000)));
    assert_eq!(told(prove(&config, &[])), (true, None));
    let state = keystore::store::zone_dir(&dir.path().join("zones"), &Name::parse("example.test").unwrap());
    keystore::store::write_largest_ttl(&state, Some(2_592_000)).unwrap();
    assert_eq!(told(prove(&config, &[])), (false, Some(2_592_000)));
    assert_eq!(told(prove(&config, &["--largest-ttl", "2d"])), (false, Some(2_592_000)));
    std::fs::write(state.join("largest-ttl"), "a week").unwrap();
    let (code, _, err) = prove(&config, &[]);
    assert!(code == Some(1) && err.contains("largest-ttl") && err.contains("a TTL in seconds"), "{err}");
    let (code, _, err) = prove(&conf, &["--largest-ttl", "soon"]);
    assert!(code == Some(1) && err.contains("--largest-ttl soon: give a duration"), "{err}");
}

/// The root zone's XML: the form is told from the content, and the zone from the file.
#[test]
fn the_root_zones_samples() {
    for (name, what, bundles) in [("skr-root-2017-q2-0.xml", "SKR", 9), ("ksr-root-2017-q2-0.xml", "KSR", 9)]
    {
        let path = repo().join("keystore/tests/fixtures/icann").join(name);
        let view = look(&path, None).unwrap();
        let json = view.json();
        let json = serde_json::to_value(&json).unwrap();
        assert_eq!(json["bundles"].as_array().map(Vec::len), Some(bundles), "{json}");
        let drawn = render(&view, Timestamp::parse_stamp("20170501000000").unwrap(), PLAIN);
        assert!(drawn.contains(what) && drawn.contains("root-zone XML"), "{drawn}");
        assert!(drawn.contains("19036") || what == "KSR", "the KSK of 2010: {drawn}");
    }
}

/// Without `.state` the times of a KSK are in `.private`, which is not opened; they are not 1970.
#[test]
fn kind_28_inspect_of_a_key_folder_without_state_files_says_where_the_times_are() {
    let source = repo().join("keystore/tests/fixtures/keys/ksr");
    // All files but .state; no times in .key either; nor a ZSK; only the KSK's .state missing.
    for (what, suffixes, remarks, ksks_only) in [
        ("no .state", &["key", "private"][..], true, false),
        ("KSKs alone", &["key", "private"], true, true),
        ("KSKs alone without remarks", &["key", "private"], false, true),
        ("all", &["key", "private", "state"], true, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(&source).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let suffix = name.rsplit('.').next().unwrap();
            let base = path.with_extension("key");
            let is_ksk = base.exists() && std::fs::read_to_string(base).unwrap().contains("DNSKEY 257");
            if !suffixes.contains(&suffix) || !name.starts_with('K') || (ksks_only && !is_ksk) {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text: String = match suffix == "key" && !remarks {
                true => text.lines().filter(|l| !l.starts_with(';')).map(|l| format!("{l}\n")).collect(),
                false => text,
            };
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let told = match look(dir.path(), Some(&Name::parse("example.test").unwrap())) {
            Ok(view) => render(&view, Timestamp::parse_stamp("20270301000000").unwrap(), PLAIN),
            Err(error) => format!("{error:#}"),
        };
        assert!(!told.contains("1970"), "{what}: {told}");
        // The chart wraps its lines.
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            told.contains(".private alone, which is not opened here"),
            what != "all",
            "{what}: {told}"
        );
        assert_eq!(told.contains("none are shown"), !remarks, "{what}: {told}");
    }
}

#[test]
fn kind_110_inspect_is_ascii_where_the_locale_is_not_utf_8() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zone-\u{fc}\u{2014}\u{1f511}.skr");
    std::fs::copy(bind("p256-ksk-roll.skr"), &path).unwrap();
    let odd = dir.path().join("\u{e9}.txt");
    std::fs::write(&odd, "nothing\n").unwrap();
    let run = |locale: &[(&str, &str)], args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
        for name in ["LC_ALL", "LC_CTYPE", "LANG"] {
            command.env_remove(name);
        }
        let output = command.envs(locale.iter().copied()).arg("inspect").args(args).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let (path, odd) = (path.to_str().unwrap(), odd.to_str().unwrap());
    let plain: [&[(&str, &str)]; 5] = [
        &[("LANG", "C")],
        &[("LANG", "POSIX")],
        &[],
        &[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")],
        &[("LC_CTYPE", "de_DE.ISO-8859-1"), ("LANG", "de_DE.UTF-8")],
    ];
    for locale in plain {
        for args in [&[path][..], &[path, "--all"], &["--help"], &[odd]] {
            let told = run(locale, args);
            assert!(!told.is_empty() && told.is_ascii(), "{locale:?} {args:?}: {told}");
        }
        assert!(run(locale, &[path]).contains("zone-\\u{fc}\\u{2014}\\u{1f511}.skr"));
    }
    let told = run(&[("LANG", "en_US.UTF-8")], &[path]);
    assert!(told.contains('\u{2500}') && told.contains("zone-\u{fc}\u{2014}"), "{told}");
    assert!(run(&[("LANG", "en_US.UTF-8")], &[path, "--ascii"]).is_ascii());
}
