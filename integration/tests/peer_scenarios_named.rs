//! The scenarios of BIND's own system test up to the end: what we, or `dnssec-ksr`, signed is imported by a real named, which must
//! serve it whole, and log what it logs for its own.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

const COMMON: &str =
    "keys { ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime P6M algorithm ecdsap256sha256; };";

/// Zone, policy, start, end, and what is expected of named.
struct Scenario {
    zone: &'static str,
    policy: &'static str,
    start: &'static str,
    end: &'static str,
    /// Bundles cover now, so that the zone is served signed.
    served: bool,
    /// It must, or must not, warn that the last bundle is in use.
    last_bundle: bool,
}

const fn scenario(
    zone: &'static str,
    policy: &'static str,
    start: &'static str,
    end: &'static str,
) -> Scenario {
    Scenario { zone, policy, start, end, served: true, last_bundle: false }
}

const SCENARIOS: [Scenario; 8] = [
    scenario("common.test", COMMON, "now-1mi", "now+1y"),
    Scenario { last_bundle: true, ..scenario("last-bundle.test", COMMON, "now-1y", "now+1d") },
    scenario("in-the-middle.test", COMMON, "now-1y", "now+1y"),
    Scenario { served: false, ..scenario("past.test", COMMON, "now-2y", "now-1y") },
    Scenario { served: false, ..scenario("future.test", COMMON, "now+30d", "now+1y") },
    scenario(
        "unlimited.test",
        "keys { ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime unlimited algorithm ecdsap256sha256; };",
        "now-1mi",
        "now+4y",
    ),
    scenario(
        "two-tone.test",
        "keys { ksk lifetime unlimited algorithm rsasha256; zsk lifetime P5M algorithm rsasha256;
                ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime P3M algorithm ecdsap256sha256; };",
        "now-1mi",
        "now+1y",
    ),
    scenario(
        "ksk-roll.test",
        "keys { ksk lifetime P6M algorithm ecdsap256sha256; zsk lifetime unlimited algorithm ecdsap256sha256; };",
        "now-1mi",
        "now+1y",
    ),
];

/// One of the two tools.
fn tool(ours: bool) -> Command {
    if !ours {
        return common::peer("dnssec-ksr").expect("dnssec-ksr was there");
    }
    let path = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).with_file_name("ksr-gen");
    assert!(path.exists(), "{} is not built; test the whole workspace", path.display());
    Command::new(path)
}

/// Keys, request and SKR of one scenario; `signer`: ours signs. The other one makes keys and request.
fn ceremony(dir: &Path, s: &Scenario, ours_signs: bool) {
    std::fs::create_dir_all(dir.join("ksk")).expect("a folder");
    std::fs::create_dir_all(dir.join("zsk")).expect("a folder");
    std::fs::write(dir.join("policy"), format!("dnssec-policy p {{ offline-ksk yes; {} }};\n", s.policy))
        .expect("write");
    let run = |ours: bool, folder: &str, words: &[&str]| {
        let mut command = tool(ours);
        command.current_dir(dir).args(["-k", "p", "-l", "policy", "-K", folder, "-i", s.start, "-e", s.end]);
        // Of BIND's KSKs the rolls go by the times; a request of BIND has no proof of possession.
        if ours && words.contains(&"sign") {
            command.args(["--allow-no-pop", "--allow-unconfirmed-ksk-roll"]);
        }
        common::stdout(command.args(words).arg(s.zone))
    };
    run(!ours_signs, "ksk", &["-o", "keygen"]);
    run(!ours_signs, "zsk", &["keygen"]);
    std::fs::write(dir.join("ksr"), run(!ours_signs, "zsk", &["request"])).expect("write");
    std::fs::write(dir.join("skr"), run(ours_signs, "ksk", &["-f", "ksr", "sign"])).expect("write");
    let zone = "$TTL 300\n@ SOA ns1 hostmaster 1 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\na A 192.0.2.2\nb A 192.0.2.3\nc A 192.0.2.4\n";
    std::fs::write(dir.join("zone"), zone).expect("write");
}

fn named_takes_all(ours_signs: bool) {
    drop(peer!("named"));
    let temp = tempfile::tempdir().expect("a folder");
    let mut statements = String::new();
    for s in &SCENARIOS {
        let dir = temp.path().join(s.zone);
        ceremony(&dir, s, ours_signs);
        let (name, at) = (s.zone.replace(['.', '-'], "_"), dir.display());
        statements.push_str(&format!(
            "dnssec-policy {name} {{ offline-ksk yes; {} }};\nzone \"{}\" {{ type primary; file \"{at}/zone\"; \
             dnssec-policy {name}; key-directory \"{at}/zsk\"; allow-transfer {{ any; }}; }};\n",
            s.policy, s.zone
        ));
    }
    let named = common::Named::start(temp.path(), &statements).expect("named was there");
    for s in &SCENARIOS {
        let skr = temp.path().join(s.zone).join("skr");
        let said = common::text(&named.rndc(&["skr", "-import", &skr.to_string_lossy(), s.zone]));
        assert!(!said.contains("failed"), "{}: {said}\n{}", s.zone, named.log());
    }
    let port = named.port.to_string();
    let dig = |words: &[&str]| {
        let mut dig = common::peer("dig").expect("dig was there");
        common::text(&dig.args(["@127.0.0.1", "-p", &port]).args(words).output().expect("run dig"))
    };
    for s in SCENARIOS.iter().filter(|s| s.served) {
        let dump = temp.path().join(s.zone).join("dump");
        // The whole zone: BIND's own verifier.
        common::wait_for(s.zone, Duration::from_secs(30), || {
            let text = dig(&["+onesoa", "+nocomments", "+nocmd", "+nostats", "AXFR", s.zone]);
            std::fs::write(&dump, text).expect("write");
            let mut verify = common::peer("dnssec-verify").expect("dnssec-verify was there");
            let output = verify.args(["-o", s.zone]).arg(&dump).output().expect("run dnssec-verify");
            common::text(&output).contains("Zone fully signed").then_some(())
        });
        let status = common::text(&named.rndc(&["dnssec", "-status", s.zone]));
        assert!(status.contains(&format!("dnssec-policy: {}", s.zone.replace(['.', '-'], "_"))), "{status}");
        let zsks = std::fs::read_dir(temp.path().join(s.zone).join("zsk")).expect("a folder");
        for name in zsks.filter_map(|e| e.expect("an entry").file_name().into_string().ok()) {
            let Some(tag) = name.strip_suffix(".key").and_then(|n| n.rsplit('+').next()) else { continue };
            assert!(status.contains(&format!("key: {} ", tag.trim_start_matches('0'))), "{tag}: {status}");
        }
        // The first KSK's CDS come 22 hours after it (SyncPublish).
        let rtypes = if s.start == "now-1y" { &["DNSKEY", "CDNSKEY", "CDS"][..] } else { &["DNSKEY"] };
        for rtype in rtypes {
            let answer = dig(&["+dnssec", "+noall", "+answer", s.zone, rtype]);
            assert!(answer.contains(&format!("RRSIG\t{rtype} ")), "{} {rtype}: {answer}", s.zone);
        }
    }
    for s in &SCENARIOS {
        let last = format!(
            "zone {}/IN (signed): zone_rekey: last bundle in skr, please import new skr file",
            s.zone
        );
        assert_eq!(named.log().contains(&last), s.last_bundle, "{}: {}", s.zone, named.log());
        if !s.served {
            let none = format!("zone {}/IN (signed): zone_rekey failure: no available SKR bundle", s.zone);
            common::wait_for(&none, Duration::from_secs(15), || named.log().contains(&none).then_some(()));
        }
    }
    // A long line of rubbish: named stays up, and ours says what it is.
    let rubbish = temp.path().join("rubbish");
    std::fs::write(&rubbish, format!(";; SignedKeyResponse 1.0 {}\n", "A".repeat(5000))).expect("write");
    named.rndc(&["skr", "-import", &rubbish.to_string_lossy(), "common.test"]);
    assert!(named.rndc(&["status"]).status.success(), "{}", named.log());
}

#[test]
fn what_we_sign_for_bind_is_served() {
    named_takes_all(true);
}

#[test]
fn what_bind_signs_for_us_is_served() {
    named_takes_all(false);
}
