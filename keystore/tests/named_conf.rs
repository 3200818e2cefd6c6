//! Every file of `fixtures/named_conf` is judged as BIND 9.20.30 judges it, or differently for a reason that is written down.
//!
//! `fixtures/named_conf/verdicts.tsv` holds, for each file, the verdicts of
//! `named-checkconf FILE` and `dnssec-ksr -K DIR -k x -l FILE -i 20300101 -e 20200101 request example.test`
//! (run in that folder; `ok` or `refused`), and ours: `ok`, or the first finding as `LINE: TEXT`.

use std::fs;
use std::path::{Path, PathBuf};

use offline_ksk_keystore::crypto::Algorithm;
use offline_ksk_keystore::policy::{
    KeyPolicy, KeyRole, Nsec3Param, Policies, Policy, PolicyErrors, PolicySeverity, named_conf,
};
use proptest::prelude::*;

/// Where our verdict is not that of `dnssec-ksr`, and why.
const DIFFERENT: [(&str, &str); 13] = [
    ("duration_empty_p.conf", "a duration without numbers is 0 for BIND in silence"),
    ("duration_sign.conf", "a sign inside of a duration is skipped by BIND in silence"),
    ("include_beside_the_including_file.conf", "looked up beside the including file too"),
    ("include_in_options_missing.conf", "includes in skipped blocks are not opened"),
    ("key_bits_hex.conf", "C numbers: `0x800` is 2048 for BIND"),
    ("key_tag_octal.conf", "C numbers: `010` is 8 for BIND"),
    ("nsec3_iterations_1.conf", "resolvers accept up to 50 iterations; a warning says to write 0"),
    ("policy_twice.conf", "named refuses it, and dnssec-ksr does not say which one it takes"),
    (
        "signatures_jitter_is_validity.conf",
        "with a jitter above signatures-refresh, and a validity not far above both, named makes signatures that are due at once",
    ),
    ("ttl_of_32_bits.conf", "TTLs have 31 bits (RFC 2181 section 8), and BIND's sums wrap at 2^32 seconds"),
    ("unknown_option_elsewhere.conf", "skipped blocks are not looked at"),
    ("unknown_statement.conf", "a warning, so that the file of a newer BIND can be read"),
    ("word_beside_quote_twice.conf", "skipped blocks are not looked at"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/named_conf")
}

/// `ok`, or the first error as `[FILE:]LINE: TEXT`.
fn verdict(path: &Path) -> String {
    let outcome = named_conf::load(path).and_then(|policies| policies.get("x").cloned());
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(PolicyErrors::Findings(findings)) => {
            let first = findings.iter().find(|f| f.severity == PolicySeverity::Error).expect("an error");
            let file = first.path.strip_prefix(folder()).unwrap_or(&first.path);
            let prefix = if first.path == path { String::new() } else { format!("{}:", file.display()) };
            let folder = format!("{}/", folder().display());
            format!("{prefix}{}: {}", first.line, first.what.replace(&folder, "./"))
        }
        Err(other) => other.to_string(),
    }
}

#[test]
fn judged_as_bind_does() {
    let table = fs::read_to_string(folder().join("verdicts.tsv")).expect("the table");
    let mut wrong = String::new();
    let mut seen = Vec::new();
    for line in table.lines().filter(|l| !l.starts_with('#')) {
        let columns: Vec<_> = line.split('\t').collect();
        let [file, _checkconf, ksr, ours] = columns[..] else { panic!("four columns, not {line:?}") };
        seen.push(file.to_owned());
        let got = verdict(&folder().join(file));
        if got != ours {
            wrong.push_str(&format!("{file}\t{got}\n"));
        }
        let differs = (ksr == "ok") != (ours == "ok");
        let listed = DIFFERENT.iter().any(|(f, _)| *f == file);
        assert_eq!(differs, listed, "{file}: BIND {ksr}, ours {ours}");
    }
    assert!(wrong.is_empty(), "{wrong}");
    let mut files: Vec<_> = fs::read_dir(folder())
        .expect("the folder")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".conf"))
        .collect();
    files.sort();
    assert_eq!(seen, files, "each file has its line, sorted by name");
}

fn load(file: &str) -> Policies {
    named_conf::load(&folder().join(file)).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_value_of_a_whole_file_arrives() {
    let policies = load("whole.conf");
    assert_eq!(policies.names().collect::<Vec<_>>(), ["other", "x"]);
    assert_eq!(policies.findings().count(), 0);
    let hsm = policies.key_store("hsm").expect("a key store");
    assert_eq!(hsm.directory.as_deref(), Some(Path::new("/tmp")));
    assert_eq!(hsm.pkcs11_uri.as_deref(), Some("pkcs11:token=ksk;pin-source=/x"));
    const DAY: u32 = 86_400;
    let key = KeyPolicy {
        role: KeyRole::Ksk,
        lifetime: 0,
        algorithm: Algorithm::RSASHA256,
        bits: 4096,
        tag_range: (0, 32767),
        key_store: Some(hsm.clone()),
    };
    let zsk = KeyPolicy {
        role: KeyRole::Zsk,
        lifetime: 186 * DAY,
        bits: 2048,
        tag_range: (0, 65535),
        key_store: None,
        ..key.clone()
    };
    let expected = Policy {
        name: "x".to_owned(),
        keys: vec![key, zsk],
        dnskey_ttl: 3600,
        publish_safety: 7200,
        retire_safety: 5400,
        zone_propagation_delay: 300,
        parent_propagation_delay: 7200,
        parent_ds_ttl: DAY,
        max_zone_ttl: 7 * DAY,
        signatures_validity: 14 * DAY,
        signatures_validity_dnskey: 15 * DAY,
        signatures_refresh: 5 * DAY,
        signatures_jitter: 6 * 3600,
        purge_keys: 0,
        cds_digest_types: vec![2, 4],
        cdnskey: false,
        inline_signing: false,
        offline_ksk: true,
        manual_mode: false,
        nsec3: Some(Nsec3Param { iterations: 0, opt_out: false, salt_length: 8 }),
    };
    assert_eq!(**policies.get("x").expect("the policy"), expected);
    assert!(matches!(policies.get("other"), Err(PolicyErrors::NoKeys(_))));
    assert!(matches!(policies.get("X"), Err(PolicyErrors::Unknown { .. })));
}

#[test]
fn what_is_not_said_is_as_bind_has_it() {
    let policies = load("plain.conf");
    let policy = policies.get("x").expect("the policy");
    let expected = Policy { keys: policy.keys.clone(), ..Policy::with_defaults("x") };
    assert_eq!(**policy, expected);
    let keys: Vec<_> =
        policy.keys.iter().map(|k| (k.role, k.lifetime, k.algorithm, k.bits, k.tag_range)).collect();
    let p256 = Algorithm::ECDSAP256SHA256;
    assert_eq!(
        keys,
        [(KeyRole::Ksk, 0, p256, 256, (0, 65535)), (KeyRole::Zsk, 186 * 86_400, p256, 256, (0, 65535))]
    );
    let forms = load("key_algorithm_forms.conf");
    let bits: Vec<_> =
        forms.get("x").expect("the policy").keys.iter().map(|k| (k.algorithm.0, k.bits)).collect();
    assert_eq!(
        bits,
        [(13, 256), (13, 256), (15, 256), (15, 256), (14, 384), (14, 384), (16, 456), (16, 456)]
    );
}

#[test]
fn warnings_come_with_the_policy() {
    for (file, expected) in [
        ("plain.conf", &[][..]),
        ("key_lifetime_30_days.conf", &["4: dnssec-policy: key lifetime is shorter than 30 days"]),
        ("key_two_ksk.conf", &["2: dnssec-policy: algorithm 13 has multiple keys with KSK role"]),
        ("key_csk_and_zsk.conf", &["2: dnssec-policy: algorithm 13 has multiple keys with ZSK role"]),
        (
            "key_fixed_size_given.conf",
            &[
                "3: dnssec-policy: key algorithm 13 has predefined length; ignoring length value 384 (it is 256)",
            ],
        ),
        (
            "key_algorithm_7.conf",
            &[
                "3: dnssec-policy: DNSSEC algorithm NSEC3RSASHA1 is deprecated; it is verified here, and never signed with",
                "4: dnssec-policy: DNSSEC algorithm 7 is deprecated; it is verified here, and never signed with",
            ],
        ),
        ("cds_digest_numbers_and_names.conf", &["6: dnssec-policy: deprecated CDS digest-type 1"]),
        ("cds_digest_twice.conf", &["6: dnssec-policy: cds digest-type SHA-256 is given twice"]),
        ("unknown_statement.conf", &["1: unknown option 'frobnicate', skipped; named may refuse it"]),
        (
            "key_zsk_lifetime_without_max_ttl.conf",
            &[
                "4: dnssec-policy: key lifetime is shorter than 30 days",
                "4: dnssec-policy: without max-zone-ttl a rollover is reckoned with a TTL of a week and takes 1386300 s, longer than the key lifetime of 781501 s",
            ],
        ),
    ] {
        let policies = load(file);
        let policy = policies.get("x").expect(file);
        assert!(policy.cds_digest_types.len() <= 3);
        let warnings: Vec<_> =
            policies.warnings("x").iter().map(|f| format!("{}: {}", f.line, f.what)).collect();
        assert_eq!(warnings, expected, "{file}");
    }
    let default = load("policy_of_builtin_name.conf");
    assert_eq!(default.warnings("x").len(), 0);
    assert!(default.warnings("default")[0].what.contains("built-in policy of named"));
}

#[test]
fn every_error_of_a_policy_comes_at_once() {
    let text = "dnssec-policy x {\n dnskey-ttl 1y;\n cdnskey maybe;\n keys {\n  KSK lifetime 1d algorithm 13;\n  zsk lifetime 1d algorithm 99 tag-range 9 1;\n };\n signatures-refresh 20d;\n};\n";
    let Err(PolicyErrors::Findings(findings)) =
        named_conf::parse(text.as_bytes(), Path::new("f")).and_then(|p| p.get("x").cloned())
    else {
        panic!("findings")
    };
    let found: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let starts = [
        "f:2: expected ISO 8601 duration or TTL value near '1y'",
        "f:3: boolean expected near 'maybe'",
        "f:5: 'KSK' makes a key without a role in BIND; write ksk in lower case",
        "f:6: dnssec-policy: algorithm 99 not supported",
        "f:6: dnssec-policy: tag-min >= tag_max",
        "f:6: dnssec-policy: key lifetime is shorter than the time it takes to do a rollover",
        "f:6: warning: dnssec-policy: key lifetime is shorter than 30 days",
        "f:8: dnssec-policy: policy 'x' signatures-refresh must be at most 90% of the signatures-validity-dnskey",
        "f:8: dnssec-policy: policy 'x' signatures-refresh must be at most 90% of the signatures-validity (",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
}

#[test]
fn includes_are_looked_up_where_named_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("write");
    };
    let policy =
        |name: &str| fs::read_to_string(folder().join("plain.conf")).expect("a file").replace("\"x\"", name);
    write("etc/a.inc", &policy("beside"));
    write("var/a.inc", &policy("directory"));
    let options = format!("options {{ directory \"{}/var\"; }};\n", dir.path().display());
    for (text, expected) in [
        (format!("{options}include \"a.inc\";\n"), "directory"),
        (format!("include \"a.inc\";\n{options}"), "beside"),
        (
            format!(
                "options {{ x {{ directory \"{}/var\"; }}; }};\ninclude \"a.inc\";\n",
                dir.path().display()
            ),
            "beside",
        ),
    ] {
        write("etc/named.conf", &text);
        let policies = named_conf::load(&dir.path().join("etc/named.conf")).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(policies.names().collect::<Vec<_>>(), [expected], "{text}");
    }
}

#[test]
fn no_file_keeps_us_busy() {
    let parse = |text: &str| named_conf::parse(text.as_bytes(), Path::new("/nonexistent/f"));
    let many = |what: &str, n: usize| what.repeat(n);
    for text in [
        many("{", 1_000_000),
        format!("a {}", many("{", 1_000_000)),
        format!("a {}", many("{ b ", 1_000_000)),
        many("a;", 1_000_000),
        many("dnssec-policy a { };", 50_000),
        format!("dnssec-policy a {{ {} }};", many("x;", 500_000)),
        format!("dnssec-policy a {{ keys {{ {} }}; }};", many("zsk lifetime 0 algorithm 13;", 50_000)),
        format!("dnssec-policy a {{ keys {{ {} }}; }};", many("x ", 500_000)),
        format!("dnssec-policy {} {{ }};", many("x", 1_000_000)),
        many("key-store a { };", 50_000),
        many("/*", 1_000_000),
        many("\\\"", 1_000_000),
    ] {
        let start: String = text.chars().take(40).collect();
        match parse(&text) {
            Ok(policies) => assert!(start.starts_with("a;") || policies.get("a").is_err(), "{start}"),
            Err(PolicyErrors::Findings(findings)) => {
                assert!((1..=1100).contains(&findings.len()), "{start}: {}", findings.len());
            }
            Err(other) => panic!("{other}"),
        }
    }
    for special in ["/dev/zero", "/dev/null", "/proc/self", "/"] {
        assert!(matches!(named_conf::load(Path::new(special)), Err(PolicyErrors::Io { .. })), "{special}");
    }
}

proptest! {
    #[test]
    fn damage_never_panics_and_has_a_line(
        cuts in proptest::collection::vec((0..2000usize, 0..30usize, "[{};!/*#\\\\\"a-z0-9 \\n-]{0,6}"), 1..5),
    ) {
        let mut octets = fs::read(folder().join("whole.conf")).expect("the file");
        for (at, len, put_in) in cuts {
            let at = at.min(octets.len());
            let end = (at + len).min(octets.len());
            octets.splice(at..end, put_in.bytes());
        }
        let path = folder().join("whole.conf");
        let lines = octets.split(|b| *b == b'\n').count();
        let check = |findings: &[offline_ksk_keystore::policy::PolicyFinding]| {
            findings.iter().all(|f| f.path != path || (1..=lines).contains(&(f.line as usize)))
        };
        match named_conf::parse(&octets, &path) {
            Ok(policies) => prop_assert!(policies.findings().all(|f| check(std::slice::from_ref(f)))),
            Err(PolicyErrors::Findings(f)) => {
                prop_assert!(f.iter().any(|f| f.severity == PolicySeverity::Error) && check(&f), "{f:?}");
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn any_octets_are_judged(octets: Vec<u8>) {
        let _ = named_conf::parse(&octets, Path::new("/nonexistent/f"));
        let _ = offline_ksk_keystore::policy::toml::parse(&octets, Path::new("/nonexistent/f"));
    }
}
