//! `sign-zone` and `verify-zone` by their command lines.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use keystore::clock;
use keystore::crypto::PrivateKey;
use keystore::dns::{Name, Rtype, rdata};
use keystore::exchange::TrustAnchor;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};

const ZONE: &str = "\
$TTL 3600
@ SOA ns admin 7 7200 900 1209600 300
@ NS ns
ns A 192.0.2.1
a.ent TXT t
*.wild A 192.0.2.2
sub NS ns
";

/// A folder with an unsigned zone, an SKR, its trust anchor and a ZSK.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        let (now, dir) = (clock::now(), folder.0.path());
        fs::create_dir(dir.join("keys")).expect("a folder");
        fs::write(dir.join("zone"), ZONE).expect("write the zone");
        let skr = SkrBuilder::new("example.", now).bundles(2);
        fs::write(dir.join("skr"), skr.text()).expect("write the SKR");
        let anchors = skr.anchors();
        let TrustAnchor::Dnskey(ksk) = &anchors[0] else { panic!("the KSK is pinned by its key") };
        let record = |key: &keystore::keys::Dnskey| {
            format!("example. IN DNSKEY {}\n", rdata::to_text(Rtype::DNSKEY, &key.to_rdata(), None))
        };
        fs::write(dir.join("anchor"), record(ksk)).expect("write the anchor");
        fs::write(dir.join("other"), record(&TestKey::ksk(9).dnskey)).expect("write the anchor");
        let timing = Timing { publish: Some(now), activate: Some(now), ..Timing::default() };
        let (zone, dnskey) = (Name::parse("example.").expect("a name"), TestKey::zsk(2).dnskey);
        let key = KeyFile { zone, ttl: 3600, dnskey, timing, state: None, dir: dir.join("keys") };
        key.write(&PrivateKey::Raw(vec![2; 32])).expect("write the ZSK");
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offline-ksk"));
        command.current_dir(self.path()).args(arguments.split_whitespace());
        command.output().expect("run offline-ksk")
    }

    /// Signs with `arguments`; gives the summary.
    fn sign(&self, arguments: &str) -> serde_json::Value {
        let output = self.run(&format!("sign-zone --zone example --key-directory keys --json {arguments}"));
        assert!(output.status.success(), "{arguments}: {}", common::text(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn verify(&self, file: &str) -> (Option<i32>, String) {
        let output = self.run(&format!("verify-zone --trust-anchor anchor {file}"));
        (output.status.code(), common::text(&output))
    }
}

/// Five checkers of zone files accept it. ldns-verify-zone 1.8.4 does not end where a zone with ZONEMD has a delegation.
fn check_by_strangers(signed: &Path, ldns_ends: bool) {
    for (program, arguments) in [
        ("dnssec-verify", &["-o", "example"][..]),
        ("kzonecheck", &["-d", "on", "-o", "example"]),
        ("named-checkzone", &["-q", "example"]),
        ("nsd-checkzone", &["example"]),
        ("ldns-verify-zone", &[]),
    ] {
        if program == "ldns-verify-zone" && !ldns_ends {
            continue;
        }
        if let Some(mut command) = common::peer(program) {
            common::run(command.args(arguments).arg(signed));
        }
    }
}

const SKR: &str = "--skr skr --trust-anchor anchor";

#[test]
fn each_kind_of_denial_is_signed_and_verified_and_is_what_the_options_say() {
    let folder = Folder::new();
    for (options, piece) in [
        ("", "\tNSEC\t"),
        ("--nsec3", "\tNSEC3PARAM\t1 0 0 -"),
        ("--nsec3 --opt-out --zonemd", "\tZONEMD\t7 1 1 "),
        ("--nsec3 --iterations 3 --salt aabb --verify-all", "\tNSEC3PARAM\t1 0 3 AABB"),
    ] {
        let summary = folder.sign(&format!("{SKR} {options} -o signed zone"));
        assert_eq!((&summary["serial"], &summary["signatures_kept"]), (&7.into(), &0.into()));
        let text = fs::read_to_string(folder.path().join("signed")).expect("the signed zone");
        assert!(text.contains(piece), "{options}: {text}");
        let (code, said) = folder.verify("signed");
        assert_eq!(code, Some(0), "{options}: {said}");
        check_by_strangers(&folder.path().join("signed"), !options.contains("zonemd"));
        // Damage of one octet of data is found.
        fs::write(folder.path().join("damaged"), text.replace("192.0.2.2", "192.0.2.3")).expect("write");
        let (code, said) = folder.verify("damaged");
        assert!(code == Some(1) && said.contains("*.wild.example. A: "), "{options}: {said}");
    }
    for wrong in ["--nsec3 --iterations 51", "--nsec3 --salt xy", "--opt-out", "--iterations 0", "--serial x"]
    {
        let output =
            folder.run(&format!("sign-zone --zone example --key-directory keys {SKR} {wrong} -o x zone"));
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", common::text(&output));
    }
}

#[test]
fn zone_with_its_signed_key_set_needs_no_skr_and_keeps_the_signatures_of_the_version_before() {
    let folder = Folder::new();
    let first = folder.sign(&format!("{SKR} --nsec3 -o signed zone"));
    let all = first["signatures_made"].as_u64().expect("a number");
    // The signed file is source and version before; only the SOA changes.
    let next =
        folder.sign("--trust-anchor anchor --nsec3 --previous signed --serial increment -o next signed");
    assert_eq!((next["serial"].as_u64(), next["signatures_made"].as_u64()), (Some(8), Some(1)));
    assert_eq!(next["signatures_kept"].as_u64(), Some(all - 1));
    assert_eq!(folder.verify("next").0, Some(0));
    // The version before may be written over.
    let third =
        folder.sign("--trust-anchor anchor --nsec3 --previous next --serial increment -o next signed");
    assert_eq!((third["serial"].as_u64(), third["signatures_made"].as_u64()), (Some(9), Some(1)));
    // Another key is no trust anchor; without any the key set vouches for itself.
    let other = "sign-zone --zone example --key-directory keys --trust-anchor other -o x signed";
    let output = folder.run(other);
    assert_eq!(output.status.code(), Some(1));
    assert!(common::text(&output).contains("is not signed by a trusted key"), "{}", common::text(&output));
    folder.sign("-o again signed");
    assert_eq!(folder.verify("again").0, Some(0));
    // An unsigned zone has no key set.
    let output = folder.run("sign-zone --zone example --key-directory keys -o x zone");
    assert!(common::text(&output).contains("no DNSKEY RRset, and no SKR"), "{}", common::text(&output));
    assert!(!folder.path().join("x").exists());
}
