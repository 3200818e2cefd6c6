//! SKR-OPERATOR through the inbox: every way of a file and its signature. The signatures are made here, with keys that the openssl command made.

use std::fs;

use keystore::config::Config;
use keystore::exchange::testing::SkrBuilder;
use metrics::Metrics;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::pkey::PKey;
use openssl::x509::X509;

use super::*;
use crate::inbox::Dropped;
use crate::loader::{ImportOutcome, Loader};
use crate::testing::{StateDir, skr, start};

fn fixture(name: &str) -> Vec<u8> {
    fs::read(format!("{}/../keystore/tests/fixtures/cms/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// What `openssl cms -sign -binary -outform DER` gives; `attached` with -nodetach.
fn sign(content: &str, signer: &str, attached: bool) -> Vec<u8> {
    let certificate = X509::from_pem(&fixture(&format!("{signer}.pem"))).unwrap();
    let key = PKey::private_key_from_pem(&fixture(&format!("{signer}.key"))).unwrap();
    let mut flags = CMSOptions::BINARY;
    flags.set(CMSOptions::DETACHED, !attached);
    let cms =
        CmsContentInfo::sign(Some(&certificate), Some(&key), None, Some(content.as_bytes()), flags).unwrap();
    cms.to_der().unwrap()
}

#[test]
fn kind_12_signatures_by_sha_1_or_with_trailing_octets_are_refused() {
    let content = skr(9).text();
    let pinned = CmsCertificate::read_pem(&fixture("operator.pem")).unwrap();
    let judge = |octets: &[u8]| Operator::judge(Ok(octets), content.as_bytes(), &pinned, start());
    let good = sign(&content, "operator", false);
    assert!(matches!(judge(&good), Operator::Signed { .. }));
    let pem = CmsContentInfo::from_der(&good).unwrap().to_pem().unwrap();
    assert!(matches!(judge(&pem), Operator::Signed { .. }));
    let more = |octets: &[u8], more: &[u8]| [octets, more].concat();
    for (what, octets) in [
        ("an octet behind it", more(&good, b"\0")),
        ("a line end behind it", more(&good, b"\n")),
        ("twice", more(&good, &good)),
        ("text behind the PEM", more(&pem, b"and more\n")),
        ("PEM twice", more(&pem, &pem)),
    ] {
        assert!(matches!(judge(&octets), Operator::Bad(_)), "{what}");
    }
    for (digest, is_good) in [("sha1", false), ("md5", false), ("sha256", true), ("sha384", true)] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("content");
        fs::write(&file, &content).unwrap();
        let cms =
            |name: &str| format!("{}/../keystore/tests/fixtures/cms/{name}", env!("CARGO_MANIFEST_DIR"));
        let output = std::process::Command::new("openssl")
            .args(["cms", "-sign", "-binary", "-outform", "DER", "-md", digest, "-in"])
            .arg(&file)
            .args(["-signer", &cms("operator.pem"), "-inkey", &cms("operator.key")])
            .output()
            .unwrap();
        // One that does not make it cannot be asked for it.
        if !output.status.success() {
            assert!(!is_good, "{digest}: {}", String::from_utf8_lossy(&output.stderr));
            continue;
        }
        let judged = judge(&output.stdout);
        assert_eq!(matches!(judged, Operator::Signed { .. }), is_good, "{digest}: {judged:?}");
        assert!(
            is_good || matches!(&judged, Operator::Bad(why) if why.contains("SHA-1")),
            "{digest}: {judged:?}"
        );
    }
}

struct Bench {
    state: StateDir,
    loader: Loader,
    now: Timestamp,
}

impl Bench {
    fn new(required: bool) -> Self {
        let state = StateDir::new();
        let loader = Loader::new(Self::config(&state, required), Metrics::new().unwrap()).unwrap();
        Self { state, loader, now: start() }
    }

    fn config(state: &StateDir, required: bool) -> Config {
        let mut config = state.config();
        config.loader.operator_certificates = ["operator.pem", "expired.pem"]
            .iter()
            .flat_map(|name| CmsCertificate::read_pem(&fixture(name)).unwrap())
            .collect();
        config.zones[0].require_signature = required;
        config
    }

    fn put(&self, name: &str, octets: impl AsRef<[u8]>) {
        fs::write(self.state.path("aside"), octets).unwrap();
        fs::rename(self.state.path("aside"), self.state.path("inbox").join(name)).unwrap();
    }

    /// Steps once, `seconds` later; every file is looked at.
    fn step(&mut self, seconds: u64) -> Vec<ImportOutcome> {
        self.now = self.now.plus(seconds);
        self.loader.step(self.now).imports.into_iter().map(|import| import.outcome).collect()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.state.path(folder)).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// `accepted`, or the IDs that rejected.
fn word(outcome: &ImportOutcome) -> String {
    match outcome {
        ImportOutcome::Accepted { .. } => "accepted".to_owned(),
        ImportOutcome::Rejected { findings } => {
            keystore::check::join(&crate::checks::rejecting(findings), ",")
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn skr_operator_by_what_lies_beside_the_file() {
    let text = skr(0).text();
    let other = skr(9).text();
    let good = sign(&text, "operator", false);
    let pem = CmsContentInfo::from_der(&good).unwrap().to_pem().unwrap();
    let huge = vec![b' '; 65_537];
    for (what, signature, required, want) in [
        ("signed", Some(&good[..]), true, "accepted"),
        ("signed, PEM", Some(&pem), true, "accepted"),
        ("signed, and not asked for", Some(&good), false, "accepted"),
        ("nothing, and not asked for", None, false, "accepted"),
        ("nothing", None, true, "SKR-OPERATOR"),
        ("another certificate", Some(&sign(&text, "other", false)), true, "SKR-OPERATOR"),
        ("another certificate, not asked for", Some(&sign(&text, "other", false)), false, "SKR-OPERATOR"),
        ("for another file", Some(&sign(&other, "operator", false)), true, "SKR-OPERATOR"),
        ("garbage", Some(b"garbage"), true, "SKR-OPERATOR"),
        ("nothing in it", Some(b""), true, "SKR-OPERATOR"),
        ("huge", Some(&huge), true, "SKR-OPERATOR"),
        ("an expired certificate", Some(&sign(&text, "expired", false)), true, "SKR-OPERATOR"),
        ("attached", Some(&sign(&text, "operator", true)), true, "SKR-OPERATOR"),
        ("attached, not asked for", Some(&sign(&text, "operator", true)), false, "SKR-OPERATOR"),
    ] {
        let mut bench = Bench::new(required);
        if let Some(signature) = signature {
            bench.put("a.skr.p7s", signature);
        }
        bench.put("a.skr", &text);
        let mut outcomes = bench.step(0);
        if signature.is_none() && required {
            assert_eq!(outcomes, [], "{what}: it is waited for");
            outcomes = bench.step(61);
        }
        let words: Vec<String> = outcomes.iter().map(word).collect();
        assert_eq!(words, [want], "{what}: {outcomes:?}");
        assert_eq!(bench.names("inbox"), [""; 0], "{what}: the signature goes with its file");
        let expected = match (want == "accepted", signature) {
            (true, _) => vec![],
            (false, None) => vec!["a.skr", "a.skr.reason"],
            (false, Some(_)) => vec!["a.skr", "a.skr.p7s", "a.skr.reason"],
        };
        assert_eq!(bench.names("rejected"), expected, "{what}");
    }
}

#[test]
fn the_signature_may_come_later_and_slowly() {
    let text = skr(0).text();
    let good = sign(&text, "operator", false);
    let mut bench = Bench::new(true);
    bench.put("a.skr", &text);
    assert_eq!(bench.step(0), []);
    assert_eq!(bench.step(29), [], "still waiting");
    bench.put("a.skr.p7s", &good);
    let outcomes = bench.step(2);
    // The kernel's event, or the next look at what waits.
    let outcomes = if outcomes.is_empty() { bench.step(29) } else { outcomes };
    assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), ["accepted"]);
    assert_eq!(bench.names("inbox"), [""; 0]);

    // The audit log names the certificate that signed.
    let audit = fs::read_to_string(bench.state.path("audit.jsonl")).unwrap();
    let certificate = &CmsCertificate::read_pem(&fixture("operator.pem")).unwrap()[0];
    assert!(audit.contains(&format!("\"signer\":\"{}\"", certificate.sha256)), "{audit}");
}

#[test]
fn a_signature_of_many_zones_is_over_the_whole_file() {
    let parts = format!("{}{}", skr(0).text(), SkrBuilder::new("other.", start()).text());
    for (signed, want) in
        [(&parts, ["accepted", "SKR-WRONG-ZONE"]), (&skr(0).text(), ["SKR-OPERATOR", "SKR-WRONG-ZONE"])]
    {
        let mut bench = Bench::new(true);
        bench.put("all.skr.p7s", sign(signed, "operator", false));
        bench.put("all.skr", &parts);
        let mut outcomes = bench.step(0);
        outcomes.extend(bench.step(61));
        let words: Vec<String> = outcomes.iter().map(word).collect();
        assert_eq!(words, want);
        assert_eq!(bench.names("inbox"), [""; 0]);
    }
}

#[test]
fn without_pinned_certificates_a_signature_is_left_alone() {
    let state = StateDir::new();
    let mut bench =
        Bench { loader: Loader::new(state.config(), Metrics::new().unwrap()).unwrap(), state, now: start() };
    bench.put("a.skr.p7s", "whatever");
    bench.put("a.skr", skr(0).text());
    assert_eq!(bench.step(0).iter().map(word).collect::<Vec<_>>(), ["accepted"]);
    assert_eq!(bench.names("inbox"), ["a.skr.p7s"]);
}

#[test]
fn names() {
    for (name, signed) in [("a.skr.p7s", Some("a.skr")), (".p7s", None), ("a.skr", None)] {
        assert_eq!(signed_name(OsStr::new(name)).as_deref(), signed.map(OsStr::new));
    }
    assert_eq!(signature_name(OsStr::new("a.skr")), "a.skr.p7s");
}

#[test]
fn a_file_that_is_handed_over_has_no_signature_beside_it() {
    use std::sync::Arc;

    use crate::order::{Execution, OperatorOrder, ReasonRule};
    use crate::user::User;

    let mut bench = Bench::new(true);
    let mut import = |force: &[String]| {
        let order = OperatorOrder::new(
            User::current(),
            force,
            Some("the operator's key is lost"),
            Execution::Real,
            ReasonRule::WhenForced,
        )
        .unwrap();
        let file = Dropped::by_hand("a.skr".into(), skr(0).text().into_bytes(), Arc::new(order));
        word(&bench.loader.import_by_hand(&file, start()).remove(0).outcome)
    };
    assert_eq!(import(&[]), "SKR-OPERATOR");
    assert_eq!(import(&["SKR-OPERATOR".to_owned()]), "accepted");
}

#[test]
fn a_file_that_is_handed_over_with_its_signature_is_taken() {
    use crate::control::job::LoaderJob;
    use crate::control::{ControlAnswer, ControlRequest};
    use crate::user::User;

    let text = skr(0).text();
    let base64 = |octets: &[u8]| data_encoding::BASE64.encode(octets);
    let mut bench = Bench::new(true);
    let mut import = |signature: Option<Vec<u8>>| {
        let request = ControlRequest::Import {
            name: "a.skr".to_owned(),
            content: base64(text.as_bytes()),
            signature: signature.as_deref().map(base64),
            force: Vec::new(),
            reason: None,
            dry_run: false,
        };
        let answer = LoaderJob::new(request, User::current()).unwrap().run(&mut bench.loader, start());
        let ControlAnswer::Imported { imports } = answer else { panic!("{answer:?}") };
        let ids: Vec<String> = imports[0].findings.iter().map(|f| f.id.clone()).collect();
        (imports[0].result.as_str().to_owned(), ids.concat())
    };
    let rejected = || ("rejected".to_owned(), "SKR-OPERATOR".to_owned());
    assert_eq!(import(None), rejected());
    assert_eq!(import(Some(sign(&skr(9).text(), "operator", false))), rejected(), "of another file");
    assert_eq!(import(Some(sign(&text, "other", false))), rejected());
    assert_eq!(import(Some(b"no signature".to_vec())), rejected());
    assert_eq!(import(Some(sign(&text, "operator", false))), ("accepted".to_owned(), String::new()));
}
