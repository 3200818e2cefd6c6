//! Key files that could not be made, or not be used by those who need them: said before a key is made.

mod common;

use std::os::unix::fs::{MetadataExt, chown};

use common::{COMMON, Site};
use keystore::dns::Name;
use keystore::keys::plan::Interval;
use keystore::policy::{self, KeyRole};
use offline_ksk_ksr_gen::keygen::{self, Keygen, KeygenError, OtherOwner};

const TIMES: &str = "-l @policy -k common -i 20270101 -e 20280101";

/// A zone whose name has `octets` octets as text, without the final dot.
fn long_zone(octets: usize) -> String {
    let label = "a".repeat(63);
    let rest = octets - 3 * 64;
    format!("{label}.{label}.{label}.{}", "b".repeat(rest))
}

#[test]
fn kind_12_zone_whose_name_is_too_long_for_key_files_is_named_before_a_key_is_made() {
    let escaped: String = (0..60).map(|_| "\\200").collect();
    for (zone, good) in [
        (long_zone(250), false),
        (long_zone(234), false),
        (format!("{escaped}.{escaped}.test"), false),
        (long_zone(233), true),
        (format!("{escaped}.test"), true),
        ("example.test".to_owned(), true),
    ] {
        let site = Site::new(COMMON);
        for (folder, what) in [("zsk", "keygen"), ("ksk", "-o keygen")] {
            let ran = site.run(&format!("{TIMES} -K @{folder} {what} {zone}"));
            assert_eq!(ran.code == 0, good, "{zone}: {}", ran.stderr);
            assert_eq!(site.names(folder).is_empty(), !good, "{zone}");
            if !good {
                assert!(ran.stderr.contains("too long for key files"), "{}", ran.stderr);
                assert!(ran.stderr.contains("BIND does not shorten such names"), "{}", ran.stderr);
            }
        }
        if good {
            let ksr = site.run(&format!("{TIMES} -K @zsk request {zone}")).ok();
            site.write("ksr", &ksr);
            site.run(&format!("{TIMES} -K @ksk -f @ksr sign {zone}")).ok();
        }
    }
}

/// True when this test can give files away; else it says so.
fn is_root(site: &Site) -> bool {
    let root = std::fs::metadata(site.path("zsk")).expect("a folder").uid() == 0;
    if !root {
        assert!(std::env::var_os("CI").is_none(), "this test needs root, to give files to another user");
        eprintln!("SKIPPED: only root can give files to another user");
    }
    root
}

#[test]
fn kind_22_zsk_that_the_owner_of_folder_or_keys_could_not_read_is_not_made() {
    const SIGNER: u32 = 12_345;
    let site = Site::new(COMMON);
    if !is_root(&site) {
        return;
    }
    let keygen =
        |folder: &str, more: &str| site.run(&format!("{TIMES} -K @{folder} {more} keygen example.test"));
    // The folder is the signer's.
    chown(site.path("zsk"), Some(SIGNER), None).expect("chown");
    let refused = keygen("zsk", "").fails(1);
    assert!(
        refused.contains("belongs to user 12345") && refused.contains("--allow-other-owner"),
        "{refused}"
    );
    assert!(keygen("zsk", "--standby").fails(1).contains("belongs to user 12345"));
    assert!(site.names("zsk").is_empty(), "nothing was made");
    // So with the library, and so the request timer.
    let policies = policy::load(&site.path("policy")).expect("a file");
    let policy = policies.get("common").expect("a policy");
    let (dir, zone) = (site.path("zsk"), Name::parse("example.test").expect("a name"));
    let interval = Interval { start: site.now, end: site.now.plus(86_400) };
    let mut wanted = Keygen::new(&dir, &zone, policy, KeyRole::Zsk, interval, site.now);
    let error = keygen::run(&wanted, || {}).expect_err("refused");
    assert!(matches!(error, KeygenError::OtherOwner { owner: SIGNER, user: 0, .. }), "{error}");
    wanted.owner = OtherOwner::Accept;
    keygen::run(&wanted, || {}).expect("keys");
    // Only a ZSK is one for the signer.
    chown(site.path("ksk"), Some(SIGNER), None).expect("chown");
    keygen("ksk", "-o").ok();

    // The folder is ours, and the keys in it are the signer's.
    let site = Site::new(COMMON);
    let keygen = |end: &str| {
        site.run(&format!("-l @policy -k common -i 20270101 -e {end} -K @zsk keygen example.test"))
    };
    let first = keygen("20270301").ok();
    let path = site.path("zsk").join(format!("{}.private", first.trim()));
    chown(&path, Some(SIGNER), None).expect("chown");
    let before = site.names("zsk");
    let refused = keygen("20280101").fails(1);
    assert!(refused.contains(&path.display().to_string()) && refused.contains("user 12345"), "{refused}");
    assert_eq!(site.names("zsk"), before);
    // What is there is selected as ever.
    assert_eq!(keygen("20270301").ok(), first);
    chown(&path, Some(0), None).expect("chown");
    keygen("20280101").ok();
}

/// Made by `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.
const PEM: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgtzbNF3O0bFADBU+4
XR4+0XYOMeYReAWA+U9AYl+mYOihRANCAASvhnqd3PLOhTWTMwPwe8yX/7F0sPs7
D6Du8J7pZ5/Ko16fuFyC4ye+/Ve2jEt2VI2cgcU50XCv1DiWuzKS1d/f
-----END PRIVATE KEY-----
";
/// Made by `openssl genpkey -algorithm ED25519`.
const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAZBU/SEfRZTW6fRU3cfzrKsQE2CDqb6PU4G0qazacf0
-----END PRIVATE KEY-----
";

/// Writes a file that only its owner can read.
fn write_private(site: &Site, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    site.write(name, text);
    std::fs::set_permissions(site.path(name), std::fs::Permissions::from_mode(0o600)).expect("a mode");
}

/// The `.private` file of a key as programs without times write it.
fn without_times(private: &str) -> String {
    let times = ["Created:", "Publish:", "Activate:", "Inactive:", "Delete:", "SyncPublish:"];
    let lines = private.lines().filter(|line| !times.iter().any(|time| line.starts_with(time)));
    lines.map(|line| line.replace("v1.3", "v1.2") + "\n").collect()
}

#[test]
fn key_of_another_program_gets_files_by_which_requests_and_ceremonies_go_on_with_it() {
    for (role, folder) in [("", "zsk"), ("-o", "ksk")] {
        let site = Site::new(COMMON);
        std::fs::create_dir(site.path("old")).expect("a folder");
        let made = site.run(&format!("{TIMES} -K @old {role} keygen example.test")).ok();
        let name = made.lines().next().expect("a key").to_owned();
        let private =
            std::fs::read_to_string(site.path("old").join(format!("{name}.private"))).expect("a key");
        for (file, text, expected) in [
            ("v1.2", without_times(&private), Some(&name)),
            ("pem", PEM.to_owned(), None),
            ("pem-later", format!("\n{PEM}"), None),
        ] {
            let site = Site::new(COMMON);
            write_private(&site, file, &text);
            let line =
                format!("-l @policy -k common -K @{folder} -i 20261101 {role} import example.test @{file}");
            let got = site.run(&line).ok();
            assert!(expected.is_none_or(|name| got.trim() == name), "{got}: {made}");
            // keygen selects it, a request has it, and a KSK signs.
            let times = "-l @policy -k common -i 20261201 -e 20270901";
            let other = if folder == "zsk" { "ksk" } else { "zsk" };
            let selected = site.run(&format!("{times} -K @{folder} {role} keygen example.test")).ok();
            assert_eq!(selected.lines().next(), Some(got.trim()), "{selected}");
            let role = if other == "ksk" { "-o" } else { "" };
            site.run(&format!("{times} -K @{other} {role} keygen example.test")).ok();
            site.write("ksr", &site.run(&format!("{times} -K @zsk request example.test")).ok());
            let skr = site.run(&format!("{times} -K @ksk -f @ksr sign example.test")).ok();
            let dnskey = std::fs::read_to_string(site.path(folder).join(format!("{}.key", got.trim())));
            let dnskey = dnskey.expect("a key");
            let key =
                dnskey.lines().find(|line| !line.starts_with(';')).expect("a record").rsplit(' ').next();
            assert!(skr.replace(' ', "").contains(&key.expect("a key").replace(' ', "")), "{skr}");
            // Twice is once.
            assert!(site.run(&line).fails(1).contains("the key is here already"));
        }
    }
}

#[test]
fn key_of_another_program_that_cannot_be_used_is_refused_with_the_reason() {
    let rsa = "dnssec-policy common { offline-ksk yes; keys { ksk lifetime unlimited algorithm 8 2048; zsk lifetime P6M algorithm 8 2048; }; };";
    let import = "-l @policy -k common -K @zsk import example.test @key";
    for (policy, key, line, code, said) in [
        (COMMON, ED25519, import, 1, "no ZSK entry for a key of 256 bits for ED25519"),
        (rsa, PEM, import, 1, "no ZSK entry for a key of 256 bits for ECDSAP256SHA256"),
        (COMMON, "", import, 1, "key:1: "),
        (COMMON, "-----BEGIN CERTIFICATE-----\n", import, 1, "no private key in PEM"),
        (COMMON, PEM, "-l @policy -k common -K @zsk -i 20261201 import example.test @key", 2, "since when"),
        (COMMON, PEM, "-l @policy -k common -K @zsk -i 20260101 import example.test @key", 1, "has ended at"),
        (COMMON, PEM, "-l @policy -k common -K @zsk import example.test", 2, "import ZONE FILE"),
        (COMMON, PEM, "-K @zsk import example.test @key", 2, "requires a policy"),
        (COMMON, PEM, "-l @policy -k common -K @zsk import example.test @none", 1, "No such file"),
    ] {
        let site = Site::new(policy);
        write_private(&site, "key", key);
        let stderr = site.run(line).fails(code);
        assert!(stderr.contains(said), "{line}: {stderr}");
        assert!(site.names("zsk").is_empty(), "{line}");
    }
    let site = Site::new(COMMON);
    site.write("key", PEM);
    assert!(site.run(import).fails(1).contains("lets others read the private key"));
}
