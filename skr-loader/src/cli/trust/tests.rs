//! `trust`, run inside the test.

use clap::Parser;
use keystore::exchange::testing::TestKey;

use super::*;
use crate::audit;
use crate::testing::{KSK, StateDir, ZONE, skr, start, zone};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

struct Bench {
    state: StateDir,
}

impl Bench {
    /// A configuration whose anchor file does not exist yet.
    fn new() -> Self {
        let bench = Self { state: StateDir::new() };
        bench.configure("trust-anchor-file = \"anchors\"");
        bench
    }

    fn configure(&self, anchors: &str) {
        let text = format!(
            "version = 1\nstate-dir = \".\"\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"p\"\n{anchors}\n[policy.p]\noffline-ksk = true\n\
             keys = [{{ role = \"ksk\", lifetime = 0, algorithm = 15 }}, {{ role = \"zsk\", lifetime = 0, algorithm = 15 }}]\n"
        );
        fs::write(self.state.path("c.toml"), text).unwrap();
    }

    fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.state.path(name), text).unwrap();
        self.state.path(name).to_str().unwrap().to_owned()
    }

    fn learn(&self, more: &[&str], typed: &str) -> (Result<bool, String>, String) {
        let config = self.state.path("c.toml");
        let words = ["t", "learn", "-c", config.to_str().unwrap()];
        let cli = Cli::try_parse_from(words.iter().chain(more)).unwrap();
        let Command::Learn(args) = &cli.args.command else { panic!() };
        let mut out = Vec::new();
        let result = learn(args, start(), &mut typed.as_bytes(), &mut out).map_err(|e| format!("{e:#}"));
        (result, String::from_utf8(out).unwrap())
    }

    fn anchors(&self) -> Option<String> {
        fs::read_to_string(self.state.path("anchors")).ok()
    }

    fn loads(&self) -> Vec<TrustAnchor> {
        Config::load_before_trust(&self.state.path("c.toml")).unwrap().zones[0].anchors.clone()
    }
}

fn digest_of(seed: u8) -> String {
    let ds = TestKey::ksk(seed).dnskey.ds_rdata(&zone(), 2).unwrap();
    data_encoding::HEXUPPER.encode(&ds[4..])
}

fn dnskey(seed: u8) -> String {
    format!(
        "{ZONE} 3600 IN DNSKEY 257 3 15 {}\n",
        data_encoding::BASE64.encode(&TestKey::ksk(seed).dnskey.public_key)
    )
}

#[test]
fn a_key_is_learnt_only_by_its_digits() {
    let digest = digest_of(KSK);
    let last = &digest[56..];
    for (typed, learnt, good) in [
        ("", false, false),
        ("\n", false, false),
        ("y\n", false, false),
        ("yes\n", false, false),
        (&last[1..], false, false),
        ("00000000\n", false, false),
        (&digest[..8], false, false),
        (last, true, true),
        (&format!(" {} {} \n", last[..4].to_lowercase(), &last[4..]), true, true),
        (&digest, true, true),
    ] {
        let bench = Bench::new();
        let from = bench.file("a.skr", &skr(0).text());
        let (result, out) = bench.learn(&[&from], typed);
        assert_eq!((result, bench.anchors().is_some()), (Ok(good), learnt), "{typed:?}: {out}");
        assert!(out.contains("KSK 60795 (ED25519, 256 bits): not trusted yet"), "{out}");
        assert!(out.contains(&groups(&digest)[..8].join(" ")), "{out}");
        assert!(
            out.contains(
                "in 5 of 5 bundles of the SKR; it signs 5, and each of these signatures verifies with it"
            ),
            "{out}"
        );
        let words: Vec<&str> =
            pgp_words::words(&TestKey::ksk(KSK).dnskey.ds_rdata(&zone(), 2).unwrap()[4..]).collect();
        assert!(out.contains(&words[..8].join(" ")), "{out}");
        if learnt {
            assert!(bench.loads()[0].matches(&zone(), &TestKey::ksk(KSK).dnskey));
            let log = bench.state.path("audit.jsonl");
            assert_eq!(audit::verify(&log).unwrap(), 1);
            let line = fs::read_to_string(log).unwrap();
            assert!(line.contains("\"trust-learnt\"") && line.contains(&digest), "{line}");
        }
    }
}

#[test]
fn what_is_there_stays() {
    let bench = Bench::new();
    let before =
        "; mine\nexample. DS 1 15 2 3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000";
    bench.file("anchors", before);
    fs::set_permissions(bench.state.path("anchors"), fs::Permissions::from_mode(0o640)).unwrap();
    // While the daemon holds the log open.
    let mut daemon = AuditWriter::open(&bench.state.path("audit.jsonl")).unwrap();
    daemon.append(Record::new(start(), audit::AuditEvent::Started)).unwrap();
    let from = bench.file("K.key", &dnskey(7));
    let (result, out) = bench.learn(&["--yes", &digest_of(7).to_lowercase(), &from], "");
    assert_eq!(result, Ok(true), "{out}");
    daemon.append(Record::new(start(), audit::AuditEvent::Stopped)).unwrap();
    assert_eq!(audit::verify(&bench.state.path("audit.jsonl")).unwrap(), 3);
    let text = bench.anchors().unwrap();
    assert!(text.starts_with(&format!("{before}\n; learnt 2027-01-01T00:00:00Z from ")), "{text}");
    assert_eq!(fs::metadata(bench.state.path("anchors")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(bench.loads().len(), 2);
    // Once more: it is known.
    let (result, out) = bench.learn(&[&from], "");
    assert!(
        result == Ok(true) && out.contains("trusted already") && out.ends_with("nothing was written\n"),
        "{out}"
    );
    assert_eq!(bench.anchors().unwrap(), text);
}

#[test]
fn scripts_name_the_whole_digest() {
    let bench = Bench::new();
    let from = bench.file(
        "ds",
        &format!("example. DS {} 15 2 {}\n{}", TestKey::ksk(KSK).dnskey.tag(), digest_of(KSK), dnskey(9)),
    );
    for yes in ["y", &digest_of(KSK)[56..], &digest_of(8), ""] {
        let (result, out) = bench.learn(&["--yes", yes, &from], "");
        assert!(result.unwrap_err().contains("has this digest"), "{out}");
        assert_eq!(bench.anchors(), None);
    }
    let (result, out) =
        bench.learn(&["--yes", &digest_of(KSK), "--yes", &digest_of(9), "--zone", "EXAMPLE", &from], "");
    assert_eq!(result, Ok(true), "{out}");
    assert_eq!(bench.loads().len(), 2);
}

#[test]
fn what_cannot_be_learnt_is_told() {
    let bench = Bench::new();
    let good = bench.file("a.key", &dnskey(KSK));
    let zsk = bench.file("zsk.key", &dnskey(KSK).replace("257", "256"));
    let garbage = bench.file("garbage", "x y z");
    let yes = digest_of(KSK);
    for (args, want) in [
        (vec![zsk.as_str()], "neither DS or DNSKEY records"),
        (vec![&garbage], "nor an SKR"),
        (vec!["/nonexistent"], "No such file"),
        (vec!["--zone", "other", &good], "is no [[zone]]"),
    ] {
        let (result, _) = bench.learn(&args, "");
        let error = result.unwrap_err();
        assert!(error.contains(want), "{args:?}: {error}");
    }
    bench.configure(&format!("trust-anchors = [\"{}\"]", dnskey(9).trim_end()));
    let (result, _) = bench.learn(&["--yes", &yes, &good], "");
    let error = result.unwrap_err();
    assert!(error.contains("no trust-anchor-file") && error.contains(&yes), "{error}");
    // Not without the audit log.
    bench.configure("trust-anchor-file = \"anchors\"");
    fs::create_dir(bench.state.path("audit.jsonl")).unwrap();
    let (result, _) = bench.learn(&["--yes", &yes, &good], "");
    assert!(result.unwrap_err().contains("nothing is learnt that cannot be written there"));
    assert_eq!(bench.anchors(), None);
}

#[test]
fn a_key_that_signs_wrongly_or_nothing_is_told() {
    let bench = Bench::new();
    let mut bad = skr(0).build();
    for bundle in &mut bad.bundles[..2] {
        bundle.signatures[0].signature[3] ^= 1;
    }
    bad.bundles[4].signatures.clear();
    let from = bench.file("bad.skr", &keystore::exchange::bind::print_skr(&bad, start(), "a test"));
    let (_, out) = bench.learn(&[&from], "");
    assert!(out.contains("it signs 4, and 2 of these signatures DO NOT VERIFY"), "{out}");
}

#[test]
fn the_list_says_where_each_is_from() {
    let bench = Bench::new();
    bench.configure(&format!(
        "trust-anchors = [\"{}\"]\ntrust-anchor-file = \"anchors\"",
        dnskey(9).trim_end()
    ));
    bench.file("anchors", &dnskey(KSK));
    let run = |more: &[&str]| {
        let config = bench.state.path("c.toml");
        let cli =
            Cli::try_parse_from(["t", "list", "-c", config.to_str().unwrap()].iter().chain(more)).unwrap();
        let mut out = Vec::new();
        main(&cli.args, start(), &mut out).map(|_| String::from_utf8(out).unwrap())
    };
    let out = run(&[]).unwrap();
    assert!(out.contains("(ED25519)  configuration\n") && out.contains("/anchors\n"), "{out}");
    assert!(out.contains(&groups(&digest_of(KSK)).join(" ")), "{out}");
    let json: serde_json::Value =
        serde_json::from_str(&run(&["--json", "--zone", "example"]).unwrap()).unwrap();
    assert_eq!((json.as_array().unwrap().len(), &json[1]["digest"]), (2, &digest_of(KSK).into()));
    assert!(run(&["--zone", "other"]).is_err());
}
