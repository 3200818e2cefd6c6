//! Rollovers before real judges: a real named serves the bundles in the midst of a KSK roll and of an algorithm roll, and `delv` and
//! `dnssec-verify` judge what it serves. (`ksr-gen/tests/rollovers.rs` proves the whole of them, second by second.)

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

const ZONE: &str = "roll.test";

const ZONE_FILE: &str = "\
$TTL 300
@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
ns1 A 192.0.2.1
a A 192.0.2.2
*.wild A 192.0.2.3
";

fn ksr_gen(dir: &Path, side: &str, line: &str) -> String {
    let path = Path::new(env!("CARGO_BIN_EXE_offline-ksk")).with_file_name("ksr-gen");
    assert!(
        path.exists(),
        "{} is not built; test the whole workspace (cargo nextest run --workspace)",
        path.display()
    );
    let mut command = Command::new(path);
    command.current_dir(dir).args(["-k", "p", "-l", "policy.conf", "-K", side]);
    common::stdout(command.args(line.split_ascii_whitespace()).arg(ZONE))
}

fn policy(dir: &Path, keys: &str) -> String {
    let text = format!("dnssec-policy p {{\n  offline-ksk yes;\n  keys {{ {keys} }};\n}};\n");
    std::fs::write(dir.join("policy.conf"), &text).expect("write the policy");
    text
}

/// The trust anchor of the KSK with this name in the form of `delv -a`.
fn anchor(dir: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(dir.join("ksk").join(format!("{name}.key"))).expect("a key file");
    let record = text.lines().find(|l| !l.starts_with(';')).expect("a record");
    let fields: Vec<&str> = record.split_whitespace().collect();
    let at = fields.iter().position(|f| *f == "DNSKEY").expect("a DNSKEY");
    let [flags, protocol, algorithm] = [1, 2, 3].map(|i| fields[at + i]);
    let key = fields[at + 4..].concat();
    format!("trust-anchors {{ \"{ZONE}\" static-key {flags} {protocol} {algorithm} \"{key}\"; }};\n")
}

/// named serves `response.skr`; what it serves validates by each of the KSKs alone. Gives the zone it serves.
fn served(dir: &Path, policy: &str, ksks: &[&str]) -> String {
    std::fs::write(dir.join("zone"), ZONE_FILE).expect("write the zone");
    let statements = format!(
        "{policy}zone \"{ZONE}\" {{ type primary; file \"{dir}/zone\"; dnssec-policy p; key-directory \"{dir}/zsk\"; allow-transfer {{ any; }}; }};",
        dir = dir.display()
    );
    let named = common::Named::start(dir, &statements).expect("named was there");
    let said =
        common::text(&named.rndc(&["skr", "-import", &dir.join("response.skr").to_string_lossy(), ZONE]));
    assert!(!said.contains("failed"), "{said}\n{}", named.log());
    let port = named.port.to_string();
    for ksk in ksks {
        std::fs::write(dir.join("bind.keys"), anchor(dir, ksk)).expect("write the anchor");
        let ask = |name: &str, rtype: &str| {
            let mut delv = common::peer("delv").expect("delv was there");
            delv.args(["@127.0.0.1", "-p", &port, "-a"]).arg(dir.join("bind.keys"));
            common::text(&delv.args([&format!("+root={ZONE}"), name, rtype]).output().expect("run delv"))
        };
        common::wait_for(&format!("the zone to validate by {ksk}"), Duration::from_secs(30), || {
            ask(&format!("a.{ZONE}"), "A").contains("; fully validated").then_some(())
        });
        for (name, rtype) in [(ZONE, "DNSKEY"), (ZONE, "CDS"), (ZONE, "SOA"), ("x.wild.roll.test", "A")] {
            let said = ask(name, rtype);
            assert!(said.contains("; fully validated"), "{ksk}: {name} {rtype}: {said}");
        }
        let said = ask("nothing.roll.test", "A");
        assert!(said.contains("; negative response, fully validated"), "{ksk}: {said}");
    }
    let mut dig = common::peer("dig").expect("dig was there");
    dig.args(["@127.0.0.1", "-p", &port, "+onesoa", "+nocomments", "+nocmd", "+nostats", "AXFR", ZONE]);
    let dump = common::stdout(&mut dig);
    std::fs::write(dir.join("dump"), &dump).expect("write");
    let mut verify = common::peer("dnssec-verify").expect("dnssec-verify was there");
    let said = common::text(&common::run(verify.args(["-o", ZONE]).arg(dir.join("dump"))));
    assert!(said.contains("Zone fully signed"), "{said}");
    dump
}

fn rrsigs(dump: &str, covered: &str, algorithm: u8) -> usize {
    let wanted = format!("RRSIG\t{covered} {algorithm} ");
    dump.lines().filter(|line| line.starts_with(&format!("{ZONE}.\t")) && line.contains(&wanted)).count()
}

/// The new KSK is due and the parent has not been seen: named serves both, and either DS is good. In the bundles after the parent was seen
/// the old one is gone.
#[test]
fn ksk_roll_before_and_after_the_parent_was_seen() {
    drop(peer!("named"));
    peer!("delv");
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path();
    for side in ["ksk", "zsk"] {
        std::fs::create_dir(dir.join(side)).expect("a folder");
    }
    let keys =
        "ksk lifetime P3M algorithm ecdsap256sha256; zsk lifetime unlimited algorithm ecdsap256sha256;";
    let policy = policy(dir, keys);
    // The first KSK became inactive five days ago, and its successor active.
    let (from, to) = ("now-98d", "now+60d");
    let made = ksr_gen(dir, "ksk", &format!("-i {from} -e {to} -o keygen"));
    let ksks: Vec<&str> = made.lines().collect();
    assert_eq!(ksks.len(), 2);
    ksr_gen(dir, "zsk", &format!("-i {from} -e {to} keygen"));
    let request = ksr_gen(dir, "zsk", &format!("-i now-6d -e {to} request"));
    std::fs::write(dir.join("request.ksr"), request).expect("write");
    let before = ksr_gen(dir, "ksk", &format!("-i {from} -e {to} -f request.ksr --yes sign"));
    std::fs::write(dir.join("response.skr"), &before).expect("write");
    let dump = served(dir, &policy, &ksks);
    assert_eq!(rrsigs(&dump, "DNSKEY", 13), 2, "{dump}");

    let tag = ksks[1].rsplit('+').next().expect("a tag").trim_start_matches('0');
    let request = ksr_gen(dir, "zsk", &format!("-i now-1d -e {to} request"));
    std::fs::write(dir.join("request.ksr"), request).expect("write");
    std::fs::write(dir.join("before.skr"), &before).expect("write");
    let line = format!(
        "-i {from} -e {to} --previous before.skr --parent-has {tag} --parent-ds-seen now-3d -f request.ksr --yes sign"
    );
    std::fs::write(dir.join("response.skr"), ksr_gen(dir, "ksk", &line)).expect("write");
    let after = dir.join("after");
    std::fs::create_dir(&after).expect("a folder");
    for name in ["ksk", "zsk"] {
        std::fs::rename(dir.join(name), after.join(name)).expect("move");
    }
    std::fs::rename(dir.join("response.skr"), after.join("response.skr")).expect("move");
    let dump = served(&after, &policy, &ksks[1..]);
    assert_eq!(rrsigs(&dump, "DNSKEY", 13), 1, "the old one is gone: {dump}");
}

/// The middle of an algorithm roll: both algorithms have KSK and ZSK, sign all, and either DS is good.
#[test]
fn algorithm_roll_with_both_algorithms() {
    drop(peer!("named"));
    peer!("delv");
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path();
    for side in ["ksk", "zsk"] {
        std::fs::create_dir(dir.join(side)).expect("a folder");
    }
    let of = |algorithm: &str| {
        format!("ksk lifetime unlimited algorithm {algorithm}; zsk lifetime unlimited algorithm {algorithm};")
    };
    policy(dir, &of("rsasha256"));
    let old = ksr_gen(dir, "ksk", "-i now-30d -e now+60d -o keygen");
    ksr_gen(dir, "zsk", "-i now-30d -e now+60d keygen");
    let policy = policy(dir, &format!("{} {}", of("rsasha256"), of("ecdsap256sha256")));
    let both = ksr_gen(dir, "ksk", "-i now-4d -e now+60d -o keygen");
    let ksks: Vec<&str> = both.lines().collect();
    assert!(ksks.len() == 2 && ksks.contains(&old.trim()), "{both}");
    ksr_gen(dir, "zsk", "-i now-4d -e now+60d keygen");
    let request = ksr_gen(dir, "zsk", "-i now-4d -e now+60d request");
    std::fs::write(dir.join("request.ksr"), request).expect("write");
    let skr = ksr_gen(dir, "ksk", "-i now-4d -e now+60d -f request.ksr --yes sign");
    std::fs::write(dir.join("response.skr"), skr).expect("write");
    let dump = served(dir, &policy, &ksks);
    for algorithm in [8, 13] {
        for rtype in ["DNSKEY", "SOA", "NS", "CDS"] {
            assert_eq!(rrsigs(&dump, rtype, algorithm), 1, "{rtype} {algorithm}: {dump}");
        }
    }
}
