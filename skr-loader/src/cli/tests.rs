//! The commands, run inside the test.

use std::fs;
use std::path::PathBuf;

use keystore::exchange::bind;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use metrics::Metrics;

use super::*;
use crate::Loader;
use crate::testing::{DAY, StateDir, ZONE, skr, start};

struct Bench {
    state: StateDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { state: StateDir::new() };
        bench.anchor(&TestKey::ksk(1));
        bench
    }

    fn path(&self, name: &str) -> String {
        self.state.path(name).to_str().unwrap().to_owned()
    }

    fn anchor(&self, key: &TestKey) {
        let text = format!(
            "{ZONE} 3600 IN DNSKEY 257 3 15 {}\n",
            data_encoding::BASE64.encode(&key.dnskey.public_key)
        );
        fs::write(self.state.path("anchor"), text).unwrap();
    }

    fn run(&self, now: Timestamp, args: &[&str]) -> (anyhow::Result<bool>, String) {
        let mut out = Vec::new();
        let cli = Cli::try_parse_from(std::iter::once(&"skr-loader").chain(args)).unwrap();
        let result = run_command(&cli, now, &mut out);
        (result, String::from_utf8(out).unwrap())
    }

    /// `check` of a text; the verdict and the output.
    fn check(&self, text: &str, more: &[&str]) -> (bool, String) {
        let (skr, anchor) = (self.path("skr"), self.path("anchor"));
        fs::write(&skr, text).unwrap();
        let args = [&["check", "--zone", "EXAMPLE", "--trust-anchor", &anchor], more, &[&skr]].concat();
        let (result, out) = self.run(start(), &args);
        (result.unwrap(), out)
    }
}

fn fails(out: &str) -> Vec<&str> {
    out.lines().filter_map(|l| l.strip_prefix("FAIL ")).filter_map(|l| l.split(' ').next()).collect()
}

#[test]
fn check_takes_no_missing_store_for_an_empty_one() {
    let bench = Bench::new();
    let (file, anchor, none) = (bench.path("skr"), bench.path("anchor"), bench.path("accepter"));
    fs::write(&file, skr(0).text()).unwrap();
    let args = ["check", "--zone", "EXAMPLE", "--trust-anchor", &anchor, "--accepted", &none, &file];
    let error = bench.run(start(), &args).0.unwrap_err().to_string();
    assert!(error.contains("--accepted") && error.contains(&none), "{error}");
}

#[test]
fn check_accepts_and_says_what_it_checked() {
    let bench = Bench::new();
    let (good, out) = bench.check(&skr(0).text(), &["--key-directory", &bench.path("keys")]);
    assert!(good, "{out}");
    for check in crate::checks::all() {
        assert_eq!(
            out.lines().filter(|l| l.split_whitespace().nth(1) == Some(check.id.as_str())).count(),
            1,
            "{}: {out}",
            check.id
        );
    }
    assert!(out.contains("\nverdict   good\n"), "{out}");
    assert!(out.contains("coverage  ends 2027-02-20T00:00:00Z (in 50 days)"), "{out}");
    assert!(out.contains("bundles   5, first 2027-01-01T00:00:00Z, last 2027-02-06T00:00:00Z"), "{out}");
    assert!(!out.contains('\u{1b}'), "no colours but on a terminal");
}

#[test]
fn kind_101_verdict_names_the_warning_of_a_key_that_named_cannot_work_with() {
    let bench = Bench::new();
    bench.state.forget_key_times();
    let (good, out) = bench.check(&skr(0).text(), &["--key-directory", &bench.path("keys")]);
    assert!(good, "{out}");
    assert!(out.contains("a ZSK without Publish or Activate time makes each rekey of named fail"), "{out}");
    assert!(out.contains("dnssec-settime -s -P +1y -A +1y "), "{out}");
    assert!(out.contains("\nverdict   good; look at the warning of SKR-KEYSET\n"), "{out}");
}

#[test]
fn check_accepts_what_bind_made_and_finds_its_request_answered() {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../keystore/tests/fixtures/bind");
    let path =
        |name: &str, suffix: &str| fixtures.join(format!("{name}.{suffix}")).to_str().unwrap().to_owned();
    let mut seen = 0;
    for entry in fs::read_dir(&fixtures).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".skr") else { continue };
        let text = fs::read_to_string(fixtures.join(format!("{name}.skr"))).unwrap();
        let zone = crate::accept::zone_of(text.as_bytes()).unwrap().to_string();
        let now = text.split(' ').nth(3).and_then(|stamp| Timestamp::parse_stamp(&stamp[..14])).unwrap();
        let (anchor, request, skr) = (path(name, "ksk"), path(name, "ksr"), path(name, "skr"));
        let args = ["check", "--zone", &zone, "--trust-anchor", &anchor, "--request", &request, &skr];
        let (result, out) = Bench::new().run(now, &args);
        assert!(result.unwrap(), "{name}: {out}");
        for id in ["SKR-KEYSET", "SKR-NOT-ASKED"] {
            let line = out.lines().find(|l| l.contains(id)).unwrap();
            assert!(line.starts_with("ok "), "{name}: {line}");
        }
        seen += 1;
    }
    assert!(seen >= 9, "{seen} fixtures");
}

#[test]
fn check_rejects_any_single_signature_bit_and_any_missing_bundle() {
    let bench = Bench::new();
    let good = skr(0).build();
    let print = |skr: &keystore::exchange::UnverifiedSkr| bind::print_skr(skr, start(), "a test");
    for (i, bundle) in good.bundles.iter().enumerate() {
        for j in 0..bundle.signatures.len() {
            let mut bad = good.clone();
            bad.bundles[i].signatures[j].signature[(i * 13 + j * 29) % 64] ^= 1 << ((i + j) % 8);
            let (verdict, out) = bench.check(&print(&bad), &[]);
            assert!(!verdict && fails(&out).contains(&"SKR-BAD-SIGNATURE"), "{i} {j}: {out}");
        }
        let mut bad = good.clone();
        bad.bundles.remove(i);
        let (verdict, out) = bench.check(&print(&bad), &[]);
        let at_an_end = i == 0 || i == good.bundles.len() - 1;
        assert_eq!(verdict, at_an_end, "bundle {i} removed: {out}");
        assert!(at_an_end || fails(&out) == ["SKR-GAP"], "{out}");
    }
}

#[test]
fn check_rejects_by_the_id() {
    let bench = Bench::new();
    let keys = bench.path("keys");
    for (what, text, more, id) in [
        ("another KSK", skr(0).ksk(TestKey::ksk(9)).text(), vec![], "SKR-UNKNOWN-KSK"),
        ("the past", skr(0).text(), vec!["--now", "20280101000000"], "SKR-EXPIRED"),
        (
            "no key",
            skr(0).zsk(TestKey::zsk(9).dnskey).text(),
            vec!["--key-directory", &keys],
            "SKR-NO-PRIVATE-KEY",
        ),
        ("another zone", SkrBuilder::new("other.", start()).text(), vec![], "SKR-WRONG-ZONE"),
        ("an empty file", String::new(), vec![], "SKR-SYNTAX"),
    ] {
        let (good, out) = bench.check(&text, &more);
        assert!(!good && fails(&out).contains(&id), "{what}: {out}");
        assert!(out.contains("\nverdict   rejected by ") && out.contains(id), "{what}: {out}");
        let json = [&more[..], &["--json"]].concat();
        let (good, out) = bench.check(&text, &json);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((good, &report["accepted"]), (false, &false.into()), "{what}");
        let checks = report["checks"].as_array().unwrap();
        let row = checks.iter().find(|row| row["id"] == id).unwrap();
        assert_eq!(row["verdict"], "fail", "{what}: {out}");
        assert!(!row["findings"].as_array().unwrap().is_empty(), "{what}: {out}");
    }
}

#[test]
fn check_reads_files_safely_and_says_what_is_wrong_with_them() {
    let bench = Bench::new();
    let anchor = bench.path("anchor");
    for (skr, want) in [("nowhere", "FAIL SKR-IO"), ("keys", "FAIL SKR-UNSAFE")] {
        let path = bench.path(skr);
        let (result, out) = bench.run(start(), &["check", "--zone", ZONE, "--trust-anchor", &anchor, &path]);
        assert!(!result.unwrap() && out.contains(want), "{out}");
    }
    for (text, want) in [
        ("", "no DS or DNSKEY record"),
        ("other. 3600 IN DS 1 13 2 00\n", "anchor:1: "),
        ("; remark\nexample. 3600 IN DS garbage\n", "anchor:2: "),
    ] {
        fs::write(&anchor, text).unwrap();
        let (result, _) = bench.run(start(), &["check", "--zone", ZONE, "--trust-anchor", &anchor, "x"]);
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn check_follows_on_what_is_in_force() {
    let bench = Bench::new();
    let mut loader = Loader::new(bench.state.config(), Metrics::new().unwrap()).unwrap();
    fs::write(bench.state.path("inbox").join("a"), skr(9).text()).unwrap();
    assert_eq!(loader.step(start().plus(9 * DAY)).imports.len(), 1);
    let accepted = bench.path("accepted");
    let (good, out) = bench.check(&skr(0).text(), &["--accepted", &accepted, "--now", "20270110000000"]);
    assert!(!good && fails(&out) == ["SKR-REPLAY"], "{out}");
    let (good, out) = bench.check(&skr(18).text(), &["--accepted", &accepted, "--now", "20270110000000"]);
    assert!(good && out.contains("\nok   SKR-REPLAY"), "{out}");
}

#[test]
fn usage_is_told_by_clap() {
    for args in [&["check"][..], &["check", "--zone", "a..b", "--trust-anchor", "x", "y"], &["nothing"]] {
        let error = Cli::try_parse_from(std::iter::once(&"skr-loader").chain(args)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{args:?}");
    }
    <Cli as clap::CommandFactory>::command().debug_assert();
}

#[test]
fn list_show_and_status() {
    let bench = Bench::new();
    let dir = bench.path("");
    let (result, _) = bench.run(start(), &["list", "--state-dir", &dir, ZONE]);
    assert!(result.unwrap_err().to_string().contains("nothing was accepted"), "before the first");

    let mut loader = Loader::new(bench.state.config(), Metrics::new().unwrap()).unwrap();
    for days in [0, 9] {
        fs::write(bench.state.path("inbox").join("a"), skr(days).text()).unwrap();
        assert_eq!(loader.step(start().plus((days + 61) * 60)).imports.len(), 1);
    }
    let (result, out) = bench.run(start(), &["list", "--state-dir", &dir, ZONE]);
    result.unwrap();
    let marks: Vec<_> =
        out.lines().skip(1).map(|l| l.split_whitespace().take(3).collect::<Vec<_>>()).collect();
    assert_eq!(marks, [vec!["1", "5", "2027-01-01T00:00:00Z"], vec!["2", "*", "6"]], "{out}");

    let now = start().plus(DAY);
    let (result, out) = bench.run(now, &["status", "--state-dir", &dir]);
    assert!(!result.unwrap(), "no loader runs: {out}");
    assert!(out.contains("LOADER-NOT-RUNNING"), "{out}");
    let line = "ok        example.  58 days left, until 1 Mar 2027 00:00 UTC; generation 2, next bundle";
    assert!(out.contains(line), "{out}");
    let (result, out) = bench.run(start().plus(100 * DAY), &["status", "--state-dir", &dir, ZONE]);
    assert!(!result.unwrap() && out.starts_with("CRITICAL") && out.contains("COVERAGE-NONE"), "{out}");
    let (_, out) = bench.run(now, &["status", "--state-dir", &dir, "--check"]);
    assert!(out.starts_with("OFFLINE-KSK WARNING: LOADER-NOT-RUNNING; 1 of 1 zones ok |"), "{out}");
    let (_, out) = bench.run(now, &["status", "--state-dir", &dir, "--check", "--warning", "60d"]);
    assert!(out.contains("'example. coverage'=5011200s;5184000:;259200:;0 'critical'=0;;;0"), "{out}");
    let (_, out) = bench.run(now, &["status", "--state-dir", &bench.path("nothing"), "--check"]);
    assert!(out.starts_with("OFFLINE-KSK UNKNOWN: "), "{out}");

    let path = bench.path("accepted/example./1.skr");
    let (result, out) = bench.run(now, &["show", &path]);
    result.unwrap();
    assert_eq!(out.lines().count(), 7, "{out}");
    assert!(out.contains("KSK 60795 (ED25519) signs, ZSK"), "{out}");
}

#[test]
fn audit_verify_names_the_first_bad_line() {
    let bench = Bench::new();
    let dir = bench.state.path("");
    let (dir, path) = (dir.to_str().unwrap(), bench.state.path("audit.jsonl"));
    let run = |more: &[&str]| bench.run(start(), &[&["audit"], more, &["--state-dir", dir]].concat());
    assert!(run(&["verify"]).0.unwrap_err().to_string().contains("audit.jsonl"), "no log");

    let mut log = crate::audit::AuditWriter::open(&path).unwrap();
    for n in 0..3 {
        let record = crate::audit::Record {
            zone: Some(ZONE.to_owned()),
            generation: Some(n),
            ..crate::audit::Record::new(start().plus(n), crate::audit::AuditEvent::Accepted)
        };
        log.append(record).unwrap();
    }
    let (good, out) = run(&["verify"]);
    assert!(good.unwrap() && out.contains(": 3 lines, last "), "{out}");
    let last = out.trim_end().rsplit(' ').next().unwrap().to_owned();
    let (_, shown) = run(&["show"]);
    assert_eq!(shown.lines().next(), Some("2027-01-01T00:00:00Z  accepted   example.  generation 0"));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(run(&["show", "--json"]).1, text);

    let lines: Vec<&str> = text.lines().collect();
    for (bad, at) in [
        (text.replacen("\"generation\":1", "\"generation\":7", 1), Some(3)),
        (format!("{}\n{}\n", lines[0], lines[2]), Some(2)),
        (text[..text.len() - 1].to_owned(), Some(3)),
        // Only the hash that somebody kept shows what is missing at the end.
        (format!("{}\n{}\n", lines[0], lines[1]), None),
    ] {
        fs::write(&path, bad).unwrap();
        let (good, out) = run(&["verify"]);
        assert_eq!(good.unwrap(), at.is_none(), "{out}");
        if let Some(line) = at {
            assert!(out.starts_with("BROKEN ") && out.contains(&format!("audit.jsonl:{line}: ")), "{out}");
        }
        let (good, out) = run(&["verify", "--last", &last]);
        assert!(!good.unwrap() && out.starts_with("BROKEN "), "{out}");
    }
    fs::write(&path, &text).unwrap();
    assert!(run(&["verify", "--last", &last.to_uppercase()]).0.unwrap());
}

// --- check with a configuration -------------------------------------------------------------------------------------

impl Bench {
    /// Writes a configuration file of the zone; `more` goes into its table.
    fn config(&self, more: &str) -> String {
        let text = format!(
            "version = 1\nstate-dir = \".\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"p\"\ntrust-anchor-file = \"anchor\"\n{more}\n\
             [policy.p]\noffline-ksk = true\nkeys = [\n  {{ role = \"ksk\", lifetime = \"unlimited\", algorithm = \"ed25519\" }},\n\
             \x20 {{ role = \"zsk\", lifetime = \"P1Y\", algorithm = \"ed25519\" }},\n]\n"
        );
        let path = self.state.path("config.toml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.state.path(name), text).unwrap();
        self.path(name)
    }
}

/// The IDs that rejected, by the JSON of one report.
fn rejected_by(report: &serde_json::Value) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks.filter(|row| row["verdict"] == "fail").map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// What cannot be read for one zone hides no other report.
#[test]
fn check_reports_each_file_when_something_cannot_be_read() {
    for in_the_way in ["accepted", "outbox"] {
        let bench = Bench::new();
        let config = bench.config("");
        let (good, bad) = (bench.write("good", &skr(9).text()), bench.write("bad", "garbage"));
        let folder = bench.state.path(in_the_way);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("example."), "a file").unwrap();
        let now = start().plus(9 * DAY);
        let (result, out) = bench.run(now, &["check", "-c", &config, "--json", &good, &bad]);
        assert!(!result.unwrap(), "{out}");
        let reports: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
        let ids: Vec<_> = reports.iter().map(rejected_by).collect();
        assert_eq!(ids, [["SKR-IO"], ["SKR-SYNTAX"]], "{in_the_way}: {out}");
        assert_eq!(reports[0]["zone"], "example.", "{out}");
        // The very file is good when it can be read.
        fs::remove_file(folder.join("example.")).unwrap();
        assert!(bench.run(now, &["check", "-c", &config, &good]).0.unwrap());
    }
}

#[test]
fn check_with_the_configuration_says_what_the_daemon_then_does() {
    use crate::loader::ImportOutcome;

    let bench = Bench::new();
    let config = bench.config("");
    let load = || keystore::config::Config::load(std::path::Path::new(&config)).unwrap();
    let mut loader = Loader::new(load(), Metrics::new().unwrap()).unwrap();
    let good = skr(9).text();
    let joined = skr(54).text();
    let mut now = start().plus(9 * DAY);
    for (what, text, want) in [
        ("another KSK", skr(9).ksk(TestKey::ksk(9)).text(), &["SKR-UNKNOWN-KSK"][..]),
        ("no key", skr(9).zsk(TestKey::zsk(9).dnskey).text(), &["SKR-NO-PRIVATE-KEY"]),
        ("another zone", SkrBuilder::new("other.", start()).text(), &["SKR-WRONG-ZONE"]),
        ("nothing", String::new(), &["SKR-SYNTAX"]),
        ("cut off", good[..good.rfind(";; Signed").unwrap()].to_owned(), &["SKR-TRUNCATED"]),
        ("good", good.clone(), &[]),
        ("the same again", good.clone(), &[]),
        ("older", skr(0).text(), &["SKR-REPLAY"]),
        ("begins later", joined, &[]),
        ("the one before", good, &["SKR-REPLAY"]),
        (
            "a good zone and another",
            format!("{}{}", skr(63).text(), SkrBuilder::new("other.", start()).text()),
            &["SKR-WRONG-ZONE"],
        ),
        ("a zone twice", format!("{}{}", skr(64).text(), skr(65).text()), &["SKR-SYNTAX"]),
    ] {
        let file = bench.write("candidate", &text);
        let (result, out) = bench.run(now, &["check", "-c", &config, "--json", &file]);
        let reports: serde_json::Value = serde_json::from_str(&out).unwrap();
        let reports = reports.as_array().unwrap();
        assert_eq!(result.unwrap(), want.is_empty(), "{what}: {out}");

        fs::rename(&file, bench.state.path("inbox").join("candidate")).unwrap();
        let mut imports = Vec::new();
        for _ in 0..3 {
            imports.extend(loader.step(now).imports);
            // By far later than the file was written, whatever the clock says.
            now = now.plus(61);
        }
        assert_eq!(imports.len(), reports.len(), "{what}: {imports:?}");
        let mut told = Vec::new();
        for (import, report) in imports.iter().zip(reports) {
            let ids = rejected_by(report);
            match &import.outcome {
                ImportOutcome::Accepted { .. } => {
                    assert!(report["accepted"] == true && report["unchanged"].is_null());
                }
                ImportOutcome::Unchanged { generation } => {
                    assert_eq!(report["unchanged"], *generation, "{what}")
                }
                ImportOutcome::Rejected { findings } => {
                    assert_eq!(report["accepted"], false, "{what}");
                    let want: Vec<String> =
                        crate::checks::rejecting(findings).iter().map(ToString::to_string).collect();
                    assert_eq!(ids, want, "{what}");
                }
                ImportOutcome::Failed { what } => panic!("{what}"),
            }
            told.extend(ids);
        }
        for id in want {
            assert!(told.iter().any(|t| t == id), "{what}: {told:?}, and {id} was expected");
        }
    }
}

#[test]
fn flags_go_over_the_configuration() {
    let bench = Bench::new();
    let config = bench.config("");
    let file = bench.write("skr", &skr(0).text());
    let run = |more: &[&str]| {
        let (result, out) = bench.run(start(), &[&["check", "-c", &config], more, &[&file]].concat());
        (result.map_err(|e| format!("{e:#}")), out)
    };
    let (good, out) = run(&[]);
    assert!(good.unwrap() && out.contains("\nzone      example.\n"), "{out}");
    assert!(!out.contains("no --"), "everything that a check needs is in the configuration: {out}");
    fs::create_dir(bench.state.path("empty")).unwrap();
    let (good, out) = run(&["--key-directory", &bench.path("empty")]);
    assert!(!good.unwrap() && fails(&out) == ["SKR-NO-PRIVATE-KEY"], "{out}");
    let (good, out) = run(&["--zone", "other"]);
    assert!(!good.unwrap() && fails(&out).contains(&"SKR-WRONG-ZONE"), "{out}");
    fs::write(
        bench.state.path("others"),
        "example. DS 1 15 2 3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000\n",
    )
    .unwrap();
    let (good, out) = run(&["--trust-anchor", &bench.path("others")]);
    assert!(!good.unwrap() && fails(&out).contains(&"SKR-UNKNOWN-KSK"), "{out}");
    assert!(run(&["--accepted", &bench.path("typo")]).0.unwrap_err().contains("typo"));

    // Several files at once: what is wrong, a verdict each, and how many.
    let bad = bench.write("bad", &skr(0).ksk(TestKey::ksk(9)).text());
    let (result, out) = bench.run(start(), &["check", "-c", &config, &file, &bad]);
    assert!(!result.unwrap() && out.ends_with("\n2 SKRs: 1 good, 1 rejected\n"), "{out}");
    assert!(out.contains("FAIL SKR-UNKNOWN-KSK") && !out.contains("\nok  "), "{out}");
}
