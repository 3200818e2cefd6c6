mod queries;
mod transfers;
mod zones;

use super::loader::MAX_SOCKET_PATH;
use super::*;
use crate::config::query::{QueryConfig, RateLimitConfig};
use crate::config::tls::{ClientTls, KeyPin, OwnCertificate, PrimaryTls};
use crate::config::transfer::{AllowTransfer, Network, NotifyTarget};
use crate::config::{
    KsrConfig, LoaderConfig, MetricsConfig, ParentCheck, SelfCheck, SignerConfig, Signing, Verify,
    VersionConfig, ZoneCheck,
};
use crate::dns::Name;
use crate::exchange::TrustAnchor;
use crate::policy::Policy;

use proptest::prelude::*;

const EXAMPLE: &str = include_str!("../../../../docs/offline-ksk.example.toml");
const DAY: u32 = 86_400;

fn parse_text(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text.as_bytes(), Path::new("/etc/offline-ksk/offline-ksk.toml"))
}

/// Errors as `LINE: TEXT`.
fn errors(text: &str) -> Vec<String> {
    match parse_text(text) {
        Err(ConfigErrors::Findings(findings)) => findings
            .iter()
            .filter(|f| f.severity == PolicySeverity::Error)
            .map(|f| format!("{}: {}", f.line, f.what))
            .collect(),
        other => panic!("{other:?} for {text}"),
    }
}

/// Line of the example that starts with `start`, from 1.
fn line_of(start: &str) -> usize {
    EXAMPLE.lines().position(|l| l.starts_with(start)).expect("a line of the example") + 1
}

#[test]
fn the_example_is_what_the_defaults_say() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/offline-ksk.example.toml"));
    let config = Config::load(path).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.warnings, []);
    assert_eq!(config.state_dir, Path::new("/var/lib/offline-ksk"));
    assert_eq!((config.loader, config.ksr), (LoaderConfig::default(), KsrConfig::default()));
    let listen = ["127.0.0.1:53", "[::1]:53"].map(|a| a.parse().unwrap()).to_vec();
    assert_eq!(config.signer, Some(SignerConfig { listen, ..SignerConfig::default() }));
    let [listen, requests] = ["127.0.0.1:9753", "127.0.0.1:9754"].map(|a| a.parse().unwrap());
    assert_eq!(
        config.metrics,
        Some(MetricsConfig { requests_listen: Some(requests), ..MetricsConfig::at(listen) })
    );
    assert_eq!(config.probe, None);
    let [zone] = config.zones.as_slice() else { panic!("one zone") };
    assert_eq!(zone.name, Name::parse("example.com").unwrap());
    assert_eq!(zone.key_directory, Path::new("/var/lib/offline-ksk/keys"));
    assert_eq!(zone.file.as_deref(), Some(Path::new("/etc/offline-ksk/zones/example.com.zone")));
    assert!(matches!(zone.anchors.as_slice(), [TrustAnchor::Ds(ds)] if ds.len() == 36));
    let expected =
        Policy { keys: zone.policy.keys.clone(), offline_ksk: true, ..Policy::with_defaults("common") };
    assert_eq!(*zone.policy, expected);
    assert_eq!(zone.policy.keys.len(), 2);
}

#[test]
fn every_commented_default_is_the_default() {
    // The commented values of the policy, put in, change nothing.
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        let stripped = line.strip_prefix("# ").unwrap_or(line);
        let mut words = stripped.split(' ');
        let (key, equals) = (words.next().unwrap_or_default(), words.next() == Some("="));
        let other = [
            "named-conf",
            "zones-directory",
            "trust-anchor-file",
            "nsec3param",
            "pkcs11-uri",
            "directory",
            "on-request",
            "mail-to",
            "control-socket",
            "control-group",
            "operator-certificates",
            "parent-resolver",
            "parent-check",
            "notify-cds",
            "servers",
            "parent-servers",
            "on-ds-ready",
            "on-ds-seen",
            "on-ds-gone",
            "hook-timeout",
            "review",
            "cookie-secret-file",
            "tls-listen",
            "https-listen",
            "quic-listen",
            "tls-certificate",
            "tls-key",
            "allow-query",
            "nsid",
            "identity",
            "version",
            "report-agent",
            "web-config",
            "hosts",
            "alert-test-interval",
            "primaries",
        ];
        let put_in = equals && !other.contains(&key);
        text.push_str(if put_in { stripped } else { line });
        text.push('\n');
    }
    assert!(text.contains("\npurge-keys = ") && text.contains("\nallow-remote = "));
    let with = parse_text(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(with, parse_text(EXAMPLE).unwrap());
}

#[test]
fn settings_of_the_parent() {
    let with = |keys: &str| parse_text(&format!("{EXAMPLE}\n[parent]\n{keys}\n"));
    let resolver = EXAMPLE.replace("# parent-resolver = ", "parent-resolver = ");
    let beside = |keys: &str| parse_text(&format!("{resolver}\n[parent]\n{keys}\n"));
    assert!(parse_text(EXAMPLE).unwrap().parent.notify_cds, "by default");
    assert!(
        !with("notify-cds = false").unwrap().parent.notify_cds,
        "without a resolver nobody is told anyway"
    );
    let found =
        beside("notify-cds = true\nservers = [\"192.0.2.1:53\", \"[2001:db8::1]:53\"]").unwrap().parent;
    assert!(found.notify_cds && found.servers.len() == 2, "{found:?}");
    let found =
        beside("on-ds-seen = [\"/bin/true\"]\nhook-timeout = \"1m\"\nparent-servers = [\"192.0.2.1:53\"]");
    let found = found.unwrap().parent;
    assert!(found.has_hooks() && found.hook_timeout == 60 && found.parent_servers.len() == 1, "{found:?}");
    for keys in [
        "notify-cds = true",
        "servers = [\"192.0.2.1:53\"]",
        "parent-servers = [\"192.0.2.1:53\"]",
        "on-ds-gone = [\"/bin/true\"]",
    ] {
        let error = with(keys).unwrap_err().to_string();
        assert!(error.contains("needs a validating resolver"), "{keys}: {error}");
    }
    for keys in [
        "notify-cds = 1",
        "servers = [\"192.0.2.1\"]",
        "servers = [\"0.0.0.0:53\"]",
        "servers = [\"192.0.2.1:0\"]",
        "servers = \"192.0.2.1:53\"",
        "notify = true",
        "on-ds-ready = \"/bin/true\"",
        "on-ds-ready = []",
        "hook-timeout = 0",
    ] {
        assert!(beside(keys).is_err(), "{keys}");
    }
}

#[test]
fn endpoint_that_others_reach_needs_a_web_config_or_the_word_of_the_operator() {
    let with =
        |keys: &str| parse_text(&EXAMPLE.replace("listen = \"127.0.0.1:9753\"\n", &format!("{keys}\n")));
    let remote = "listen = \"192.0.2.1:9753\"";
    let metrics = with(&format!("{remote}\nweb-config = \"web.yml\"\nhosts = [\"NS1.example.net.\"]"))
        .unwrap()
        .metrics
        .unwrap();
    assert!(metrics.web_config.is_some_and(|path| path.ends_with("offline-ksk/web.yml")));
    assert_eq!((metrics.hosts, metrics.allow_remote), (vec!["ns1.example.net".to_owned()], false));
    assert!(with(&format!("{remote}\nallow-remote = true")).is_ok());
    for bad in [
        remote.to_owned(),
        format!("{remote}\nallow-remote = false"),
        format!("{remote}\nweb-config = \"\""),
        format!("{remote}\nweb-config = \"w\"\nhosts = [\"a:1\"]"),
        format!("{remote}\nweb-config = \"w\"\nhosts = [\"\"]"),
        format!("{remote}\nweb-config = \"w\"\nhosts = \"a\""),
    ] {
        assert!(with(&bad).is_err(), "{bad}");
    }
}

#[test]
fn control_socket() {
    let with = |keys: &str| parse_text(&EXAMPLE.replace("[loader]\n", &format!("[loader]\n{keys}\n")));
    let plain = parse_text(EXAMPLE).unwrap();
    assert_eq!(plain.control_socket(), Path::new("/var/lib/offline-ksk/skr-loader.sock"));
    let config = with("control-socket = \"/run/x.sock\"\ncontrol-group = \"dnsops\"").unwrap();
    assert_eq!(config.control_socket(), Path::new("/run/x.sock"));
    assert_eq!(config.loader.control_group.as_deref(), Some("dnsops"));
    let long = format!("control-socket = \"/{}\"", "x".repeat(MAX_SOCKET_PATH));
    for bad in [long.as_str(), "control-group = \"\"", "control-group = 7"] {
        assert!(with(bad).is_err(), "{bad}");
    }
    // Found where the rest is wrong, too.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    let locate = |text: &str| {
        std::fs::write(&file, text).unwrap();
        Config::locate_control_socket(&file)
    };
    assert_eq!(locate("state-dir = \"s\"\nnonsense = 1"), Some(dir.path().join("s/skr-loader.sock")));
    let named = locate("state-dir = \"s\"\n[loader]\ncontrol-socket = \"/run/y\"\nrescan-interval = 0");
    assert_eq!(named, Some("/run/y".into()));
    assert_eq!(locate("state-dir = "), None);
    assert_eq!(locate("nonsense = 1"), None);
}

#[test]
fn small_file_and_paths() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("anchors"), "; the KSK\nexample. DS 1 13 2 (\n 3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000 )\n").unwrap();
    std::fs::write(at("named.conf"), "dnssec-policy \"p\" { offline-ksk yes; keys { ksk lifetime unlimited algorithm 15; zsk lifetime P1Y algorithm 15; }; };").unwrap();
    let text = "version = 1\nstate-dir = \".\"\nnamed-conf = \"named.conf\"\n[[zone]]\nname = \"example\"\npolicy = \"p\"\ntrust-anchor-file = \"anchors\"\nfile = \"zone\"\nkey-directory = \"/keys\"\n";
    std::fs::write(at("config.toml"), text).unwrap();
    let config = Config::load(&at("config.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.state_dir.join("x"), at("x"));
    assert_eq!(config.zones[0].file, Some(at("zone")));
    assert_eq!(config.zones[0].key_directory, Path::new("/keys"));
    assert_eq!(config.zones[0].policy.keys[1].lifetime, 365 * DAY);
    assert_eq!((config.signer, config.metrics), (None, None));
    let error = Config::load(&at("none.toml")).unwrap_err();
    assert!(matches!(error, ConfigErrors::Io { .. }), "{error}");
}

#[test]
fn operators_and_the_parent() {
    let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cms/operator.pem");
    let loader = format!(
        "[loader]\noperator-certificates = [\"{pem}\", \"{pem}\"]\nrequire-signature = true\nparent-resolver = \"[::1]:53\"\nparent-check = \"reject\"\n"
    );
    let second = "[[zone]]\nname = \"b\"\npolicy = \"common\"\ntrust-anchors = [\"b. DS 1 13 2 3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000\"]\nrequire-signature = false\n";
    let text = EXAMPLE.replace("[loader]", &format!("{second}{loader}"));
    let config = parse_text(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.loader.operator_certificates.len(), 2);
    assert_eq!(config.loader.operator_certificates[0].subject, "CN=ksk-operator");
    assert_eq!(config.loader.parent_resolver, Some("[::1]:53".parse().unwrap()));
    assert_eq!(config.loader.parent_check, ParentCheck::Reject);
    let required: Vec<bool> = config.zones.iter().map(|z| z.require_signature).collect();
    assert_eq!(required, [true, false], "the zone's word counts before the loader's");
}

#[test]
fn anchors_that_are_yet_to_be_learnt() {
    let dir = tempfile::tempdir().unwrap();
    let (config, anchors) = (dir.path().join("c.toml"), dir.path().join("anchors"));
    std::fs::write(&config, "version = 1\nstate-dir = \".\"\n[[zone]]\nname = \"example\"\npolicy = \"p\"\ntrust-anchor-file = \"anchors\"\n[policy.p]\noffline-ksk = true\nkeys = [{ role = \"ksk\", lifetime = 0, algorithm = 13 }, { role = \"zsk\", lifetime = 0, algorithm = 13 }]\n").unwrap();
    for text in [None, Some(""), Some("; nothing\n")] {
        if let Some(text) = text {
            std::fs::write(&anchors, text).unwrap();
        }
        assert!(Config::load(&config).is_err(), "{text:?}");
        let learnt = Config::load_before_trust(&config).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(learnt.zones[0].anchors, []);
        assert_eq!(learnt.zones[0].anchor_file.as_deref(), Some(&*anchors));
    }
    std::fs::write(&anchors, "garbage\n").unwrap();
    assert!(Config::load_before_trust(&config).is_err(), "what does not read is no file to add to");
}

#[test]
fn each_mistake_is_told_with_its_line() {
    let cases: &[(&str, &str, &str)] = &[
        ("version = 1", "version = 2", "version: this program reads version 1"),
        ("version = 1", "", "version is missing"),
        ("version = 1", "verson = 1", "unknown key 'verson' (did you mean 'version'?)"),
        ("state-dir", "state-dir = 1 #", "state-dir: expected a string, found integer"),
        ("state-dir", "state-dir = \"\" #", "state-dir: must be the name of a file or folder"),
        ("name =", "name = \"a..b\"", "zone[1].name: is no domain name: a label is empty"),
        ("name =", "", "zone[1]: name is missing"),
        (
            "policy =",
            "policy = \"comon\"",
            "zone[1].policy: failed to load dnssec-policy 'comon': the file defines 'common'",
        ),
        ("policy =", "", "zone[1]: policy is missing"),
        ("policy =", "policy = true", "zone[1].policy: expected a string, found boolean"),
        ("file =", "zonefile = \"x\"", "zone[1]: unknown key 'zonefile'"),
        (
            "file =",
            "trust-anchor-file = \"/nonexistent/anchors\"",
            "zone[1].trust-anchor-file: /nonexistent/anchors: No such file or directory",
        ),
        (
            "offline-ksk",
            "offline-ksk = \"yes\"",
            "policy.common.offline-ksk: expected true or false, found string",
        ),
        (
            "offline-ksk",
            "signatures-refresh = \"13d\"",
            "dnssec-policy: policy 'common' signatures-refresh must be at most 90% of the signatures-validity-dnskey",
        ),
        ("rescan-interval", "rescan-interval = 0", "loader.rescan-interval: must be from 1 second to 1 day"),
        (
            "rescan-interval",
            "rescan-interval = -5",
            "loader.rescan-interval: must be an integer from 0 to 4294967295, not -5",
        ),
        ("watch", "watch = \"inotify\"", "loader.watch: must be \"events\""),
        ("watch", "watch = true", "loader.watch: expected a string, found boolean"),
        ("poll-interval", "poll-interval = 0", "loader.poll-interval: must be from 1 second to 1 hour"),
        (
            "rejected-max-files",
            "rejected-max-files = 0",
            "loader.rejected-max-files: must be an integer from 1 to 1000000, not 0",
        ),
        (
            "rejected-max-octets",
            "rejected-max-octets = 1000",
            "loader.rejected-max-octets: must be an integer from 1048576 to 4294967295, not 1000",
        ),
        (
            "coverage-info",
            "coverage-info = \"1mo\"",
            "loader.coverage-info: expected ISO 8601 duration or TTL value near \"1mo\"",
        ),
        ("coverage-info", "coverage-info = 1.5", "loader.coverage-info: expected a duration"),
        (
            "coverage-info",
            "coverage-info = \"14d\"",
            "loader: coverage-critical (259200 s) must be less than coverage-warning (1209600 s), and that less than coverage-info (1209600 s)",
        ),
        (
            "coverage-critical",
            "coverage-critical = \"20d\"",
            "loader: coverage-critical (1728000 s) must be less than",
        ),
        ("period", "period = \"61d\"\n[x]", "unknown key 'x'"),
        ("period", "period = \"60d\"", "ksr: lead (5184000 s) must be shorter than period (5184000 s)"),
        ("enabled", "on-request = []", "ksr.on-request: must name a program"),
        ("enabled", "on-request-timeout = 0", "ksr.on-request-timeout: must be from 1 second"),
        ("enabled", "mail-to = \"a@b\"", "ksr.mail-to: expected an array"),
        ("enabled", "mail-to = [\"a@b\\nBcc: c@d\"]", "ksr.mail-to[1]: must be a plain mail address"),
        ("enabled", "mail-to = [\"a@b\", \"K <c@d>\"]", "ksr.mail-to[2]: must be a plain mail address"),
        ("enabled", "mail-from = \"\"", "ksr.mail-from: must be a plain mail address"),
        ("rescan-interval", "operator-certificates = []", "loader.operator-certificates: names no file"),
        (
            "rescan-interval",
            "operator-certificates = [\"/nonexistent.pem\"]",
            "loader.operator-certificates[1]: /nonexistent.pem: No such file",
        ),
        (
            "rescan-interval",
            "require-signature = true",
            "zone example.com. says require-signature, and [loader] has no operator-certificates",
        ),
        (
            "policy =",
            "policy = \"common\"\nrequire-signature = true",
            "zone example.com. says require-signature, and [loader] has no operator-certificates",
        ),
        (
            "rescan-interval",
            "parent-resolver = \"127.0.0.1\"",
            "loader.parent-resolver: must be an IP address and a port",
        ),
        (
            "rescan-interval",
            "parent-resolver = \"0.0.0.0:53\"",
            "loader.parent-resolver: must be an address that can be asked",
        ),
        (
            "rescan-interval",
            "parent-resolver = \"[::1]:53\"\nparent-check = \"refuse\"",
            "loader.parent-check: must be \"warn\" or \"reject\"",
        ),
        (
            "rescan-interval",
            "parent-check = \"warn\"",
            "loader.parent-check: says what the answer of parent-resolver",
        ),
        ("enabled", "enabled = 1", "ksr.enabled: expected true or false, found integer"),
        ("listen = [", "listen = [\"127.0.0.1\"]", "signer.listen[1]: must be an IP address and a port"),
        ("listen = [", "listen = []", "signer.listen: names no address"),
        (
            "listen = [",
            "listen = [\"[::1]:53\", \"[0:0::1]:53\"]",
            "signer.listen[2]: [::1]:53 is given twice",
        ),
        ("listen = [", "", "signer: listen is missing"),
        ("listen = \"", "listen = \"0.0.0.0:9753\"", "metrics.listen: 0.0.0.0:9753 can be reached by others"),
        (
            "listen = \"",
            "listen = \"[::ffff:10.0.0.1]:9753\"",
            "metrics.listen: [::ffff:10.0.0.1]:9753 can be reached by others",
        ),
        (
            "listen = \"",
            "listen = \"[2001:db8::1]:9753\"\nallow-remote = false",
            "metrics.listen: [2001:db8::1]:9753 can be reached by others",
        ),
    ];
    for (start, replacement, expected) in cases {
        let at = line_of(start);
        let lines: Vec<_> =
            EXAMPLE.lines().enumerate().map(|(n, l)| if n + 1 == at { replacement } else { l }).collect();
        let found = errors(&lines.join("\n"));
        let found_there =
            found.iter().any(|e| e.split_once(": ").is_some_and(|(_, what)| what.starts_with(expected)));
        assert!(found_there, "{replacement}: {found:#?}");
        // A misspelt key is also one that is missing.
        assert!(found.len() <= 2, "{replacement}: {found:#?}");
        let elsewhere = ["missing", "loader: ", "ksr: ", "'x'", "says require", "parent-check"]
            .iter()
            .any(|w| expected.contains(w));
        assert!(elsewhere || found.iter().any(|f| f.starts_with(&format!("{at}: "))), "line {at}: {found:?}");
    }
}

#[test]
fn findings_come_at_once_and_in_order() {
    let text = "version = 1\nstate_dir = \"x\"\n[[zone]]\nname = \"a\"\npolicy = \"p\"\ntrust-anchors = []\n\
                [[zone]]\nname = \"A.\"\npolicy = \"p\"\ntrust-anchors = [\"b. DS 1 13 2 00\", 1]\n\
                [policy.p]\nkeys = [{ role = \"zsk\", lifetime = \"1d\", algorithm = 13 }]\nttl = 1\n\
                [policy.unused]\nkeys = [{ role = \"zsk\", lifetime = 0, algorithm = 13 }]\n[metrics]\n";
    let found = errors(text);
    let starts = [
        "1: state-dir is missing",
        "2: unknown key 'state_dir' (did you mean 'state-dir'?)",
        "6: zone[1].trust-anchors: expected 1 to 64 DS or DNSKEY records",
        "8: zone[2].name: the zone A. is already configured in line 4",
        "10: zone[2].trust-anchors[1]: ANCHOR-",
        "10: zone[2].trust-anchors[2]: expected a string, found integer",
        "12: dnssec-policy: key lifetime is shorter than the time it takes to do a rollover",
        "13: policy.p: unknown key 'ttl'",
        "16: metrics: listen is missing",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found:?}, expected {start:?}");
    }
}

#[test]
fn warnings_do_not_refuse() {
    let text = EXAMPLE
        .replace("lead = \"60d\"", "lead = \"10d\"")
        .replace("offline-ksk = true", "offline-ksk = false")
        .replace(
            "[loader]",
            "[policy.unused]\nkeys = [{ role = \"zsk\", lifetime = 0, algorithm = 13 }]\n[loader]",
        );
    let warnings: Vec<_> = parse_text(&text).unwrap().warnings.iter().map(|w| w.what.clone()).collect();
    let parts = ["does not say `offline-ksk`", "(no zone uses this policy)", "raise ksr.lead"];
    assert_eq!(warnings.len(), parts.len(), "{warnings:#?}");
    for (warning, part) in warnings.iter().zip(parts) {
        assert!(warning.contains(part), "{warning}");
    }
    let allowed = EXAMPLE.replace("\"127.0.0.1:9753\"", "\"0.0.0.0:9753\"\nallow-remote = true");
    assert_eq!(parse_text(&allowed).unwrap().warnings, []);
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    for (octets, line) in [
        (&b"version = 1\nx y\n"[..], 2),
        (b"version = 1\n\nversion = 1\n", 3),
        (b"version = 1\nx = \"\xfc\"\n", 2),
        (b"\0", 1),
        (b"[a\n", 1),
    ] {
        match Config::parse(octets, Path::new("c.toml")) {
            Err(ConfigErrors::Findings(f)) => assert_eq!(f[0].line, line, "{f:?}"),
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn damage_never_panics_and_has_a_line(
        cuts in proptest::collection::vec((0..EXAMPLE.len(), 0..40usize, "[\\[\\]{}\"=#.,a-z0-9 \n-]{0,6}"), 1..4),
    ) {
        let mut octets = EXAMPLE.as_bytes().to_vec();
        for (at, len, put_in) in cuts {
            let at = at.min(octets.len());
            let end = (at + len).min(octets.len());
            octets.splice(at..end, put_in.bytes());
        }
        let lines = octets.split(|b| *b == b'\n').count();
        match Config::parse(&octets, Path::new("/c.toml")) {
            Ok(config) => prop_assert!(!config.zones.is_empty() && config.zones.iter().all(|z| !z.anchors.is_empty())),
            Err(ConfigErrors::Findings(findings)) => {
                prop_assert!(findings.iter().any(|f| f.severity == PolicySeverity::Error));
                for f in findings {
                    prop_assert!((1..=lines).contains(&(f.line as usize)), "{}", f);
                }
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

#[test]
fn what_the_probe_asks_is_read_or_refused_with_its_line() {
    let line = EXAMPLE.lines().count() + 2;
    let good = "interval = \"5m\"\nservers = [\"192.0.2.1:53\", \"[2001:db8::1]:53\"]\nzones = [\"EXAMPLE.com\"]\naxfr = true\ntsig-key = \"k\"";
    for (probe, expected) in [
        ("", None),
        (good, None),
        ("interval = \"30s\"", Some("probe.interval: must be at least 60 seconds: a round may take as long")),
        (
            "resolver = \"localhost\"",
            Some(
                "probe.resolver: must be an IP address and a port, such as \"127.0.0.1:5300\" or \"[::1]:5300\"",
            ),
        ),
        ("zones = [\"other.\"]", Some("probe.zones[1]: other. is no [[zone]] of this file")),
        (
            "tsig-key = \"k\"",
            Some("probe.tsig-key: is the key of transfers; say axfr = true, or leave it out"),
        ),
        ("interval = \"5m\"\nshout = 1", Some("probe: unknown key 'shout'")),
    ] {
        let text = format!("{EXAMPLE}[probe]\n{probe}");
        match expected {
            None => drop(parse_text(&text).unwrap_or_else(|e| panic!("{e}"))),
            Some(what) => {
                let found = errors(&text).concat();
                let (at, found) = found.split_once(": ").unwrap();
                assert_eq!(found, what, "{probe}");
                assert!(at.parse::<usize>().unwrap() >= line, "{probe}: line {at}");
            }
        }
    }
    let config = parse_text(&format!("{EXAMPLE}[probe]\n{good}")).unwrap();
    let probe = config.probe.unwrap();
    assert_eq!((probe.interval, probe.servers.len(), probe.transfer), (300, 2, true));
    assert!(
        probe.is_of(&Name::parse("example.COM.").unwrap()) && !probe.is_of(&Name::parse("com.").unwrap())
    );
}
