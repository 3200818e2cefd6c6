//! The policy as TOML, with the words of `dnssec-policy`.
//!
//! ```toml
//! [policy.common]
//! offline-ksk = true
//! dnskey-ttl = "1h"                   # ISO 8601, TTL text, or seconds
//! signatures-validity-dnskey = "P14D"
//! cds-digest-types = ["SHA-256"]
//! nsec3param = { optout = false, salt-length = 0 }
//! keys = [
//!   { role = "ksk", lifetime = "unlimited", algorithm = "ecdsap256sha256" },
//!   { role = "zsk", lifetime = "P6M", algorithm = 13, tag-range = [0, 32767] },
//! ]
//!
//! [key-store.hsm]
//! pkcs11-uri = "pkcs11:token=ksk"
//! ```
//! The same tables may stand in `offline-ksk.toml`, whose other keys are not looked at here.

use std::path::Path;

use super::KeyRole;
use super::KeyStore;
use super::draft::{KEY_DIRECTORY, KeyDraft, Nsec3Draft, OPTIONS, PolicyDraft};
use super::finding::{Place, PolicyErrors};
use super::named_conf::{self, MAX_BLOCKS};
use super::set::Policies;
use super::table::{Document, Table, Value};

/// Reads the policies and key stores of the TOML file at `path`, and of the `named.conf` that its key `named-conf` names.
pub fn load(path: &Path) -> Result<Policies, PolicyErrors> {
    read(Document::load(path)?)
}

/// Reads the octets of a TOML file; `path` is for the messages and for a relative `named-conf`.
pub fn parse(octets: &[u8], path: &Path) -> Result<Policies, PolicyErrors> {
    read(Document::from_octets(octets.to_vec(), path)?)
}

/// A key at the top of `offline-ksk.toml` that says nothing of policies. [`crate::config`] reads what stands below it; whoever wants
/// the policies alone only has to know its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopLevelKey {
    StateDir,
    Zone,
    ZonesDirectory,
    ZonesMaxRemoval,
    Catalog,
    Loader,
    Parent,
    Deliver,
    Ksr,
    Signer,
    Transfer,
    Metrics,
    Probe,
    Pair,
}

impl TopLevelKey {
    /// All of them.
    pub(crate) const ALL: [Self; 14] = [
        Self::StateDir,
        Self::Zone,
        Self::ZonesDirectory,
        Self::ZonesMaxRemoval,
        Self::Catalog,
        Self::Loader,
        Self::Parent,
        Self::Deliver,
        Self::Ksr,
        Self::Signer,
        Self::Transfer,
        Self::Metrics,
        Self::Probe,
        Self::Pair,
    ];

    /// The key in the file.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::StateDir => "state-dir",
            Self::Zone => "zone",
            Self::ZonesDirectory => "zones-directory",
            Self::ZonesMaxRemoval => "zones-max-removal",
            Self::Catalog => "catalog",
            Self::Loader => "loader",
            Self::Parent => "parent",
            Self::Deliver => "deliver",
            Self::Ksr => "ksr",
            Self::Signer => "signer",
            Self::Transfer => "transfer",
            Self::Metrics => "metrics",
            Self::Probe => "probe",
            Self::Pair => "pair",
        }
    }
}

fn read(doc: Document) -> Result<Policies, PolicyErrors> {
    let policies = {
        let root = doc.parse()?;
        let mut top = Table::new(&doc, root.get_ref(), "", doc.place(0..0));
        for section in TopLevelKey::ALL {
            top.get(section.key());
        }
        if let Some(value) = top.get("version") {
            version(&value);
        }
        let policies = policies(&mut top);
        top.finish();
        policies
    };
    match doc.into_findings() {
        Ok(_) => Ok(policies),
        Err(findings) => Err(PolicyErrors::Findings(findings)),
    }
}

/// `version = 1`, the only one so far.
pub(crate) fn version(value: &Value<'_, '_>) {
    if value.integer(0..=u32::MAX).is_some_and(|v| v != 1) {
        value.error("this program reads version 1");
    }
}

/// Reads `named-conf`, `[policy.*]` and `[key-store.*]`; what is wrong with the file is noted in its document, what is wrong
/// with one policy stays with it.
pub(crate) fn policies(top: &mut Table<'_, '_>) -> Policies {
    let mut all = Policies::default();
    if let Some(value) = top.get("named-conf")
        && let Some(path) = value.path()
    {
        match named_conf::load(&path) {
            Ok(found) => all = found,
            Err(PolicyErrors::Findings(findings)) => top.doc.note_all(findings),
            Err(other) => {
                if let PolicyErrors::Io { source, .. } = &other {
                    top.doc.note_unread(source);
                }
                value.error(other.to_string());
            }
        }
    }
    let mut stores = Vec::new();
    for (name, value) in entries(top, "key-store") {
        let Some(mut table) = value.table() else { continue };
        if name == KEY_DIRECTORY || all.key_store(name).is_some() {
            table.error("this name is taken");
        }
        let directory = table.get("directory").and_then(|v| v.path());
        let pkcs11_uri = table.get("pkcs11-uri").and_then(|v| v.string().map(str::to_owned));
        let Place { path, line } = table.at.clone();
        table.finish();
        let path = path.to_path_buf();
        stores.push(KeyStore { name: name.to_owned(), directory, pkcs11_uri, path, line });
    }
    let mut drafts = Vec::new();
    for (name, value) in entries(top, "policy") {
        let Some(table) = value.table() else { continue };
        if all.names().any(|n| n == name) {
            table.error("the named.conf already defines a policy of this name; keep one of them");
        }
        drafts.push(policy(name, table));
    }
    match Policies::build(drafts, stores, Vec::new()) {
        Ok(inline) => all.merge(inline),
        // Cannot be: nothing was found in the file as a whole.
        Err(PolicyErrors::Findings(findings)) => top.doc.note_all(findings),
        Err(_) => {}
    }
    all.note_files([top.doc.path().to_owned()]);
    all
}

/// The named tables below `key`.
fn entries<'a, 'i>(top: &mut Table<'a, 'i>, key: &'static str) -> Vec<(&'a str, Value<'a, 'i>)> {
    let Some(value) = top.get(key) else { return Vec::new() };
    let mut entries = value.table().map(|t| t.entries()).unwrap_or_default();
    if entries.len() > MAX_BLOCKS {
        value.error(format!("more than {MAX_BLOCKS} tables"));
        entries.clear();
    }
    entries
}

fn policy(name: &str, mut table: Table<'_, '_>) -> PolicyDraft {
    let mut draft = PolicyDraft::new(name, table.at.clone());
    for option in OPTIONS {
        let Some(value) = table.get(option) else { continue };
        draft.give(option, &value.at);
        if let Some(field) = draft.duration_mut(option) {
            *field = value.duration().unwrap_or(*field);
        } else if let Some(field) = draft.bool_mut(option) {
            *field = value.boolean().unwrap_or(*field);
        } else {
            match option {
                "keys" => {
                    let entries = value.array();
                    let keys: Option<Vec<_>> = entries.as_ref().map(|e| e.iter().filter_map(key).collect());
                    draft.keys_broken = entries.map(|e| e.len()) != keys.as_ref().map(Vec::len);
                    draft.keys = keys;
                }
                "cds-digest-types" => {
                    draft.digests = value.array().map(|d| d.iter().filter_map(digest).collect());
                }
                _ => draft.nsec3 = nsec3param(&value),
            }
        }
    }
    table.finish();
    draft
}

fn key(value: &Value<'_, '_>) -> Option<KeyDraft> {
    let mut table = value.table()?;
    let role = table.require("role", "\"zsk\"").and_then(|v| match v.string()? {
        "ksk" => Some(KeyRole::Ksk),
        "zsk" => Some(KeyRole::Zsk),
        "csk" => Some(KeyRole::Csk),
        _ => {
            v.error("must be \"ksk\", \"zsk\" or \"csk\", in lower case");
            None
        }
    });
    let lifetime = table.require("lifetime", "\"P6M\"").and_then(|v| {
        let unlimited = v.is_string() && v.string() == Some("unlimited");
        if unlimited { Some(0) } else { v.duration() }
    });
    let algorithm = table.require("algorithm", "\"ecdsap256sha256\"").and_then(text_or_number);
    let bits = table.get("bits").and_then(|v| v.integer(0..=u32::MAX));
    let tag_range = table.get("tag-range").and_then(|v| match v.array()?.as_slice() {
        [min, max] => Some((min.integer(0..=u32::MAX)?, max.integer(0..=u32::MAX)?)),
        _ => {
            v.error("expected two numbers, [MIN, MAX]");
            None
        }
    });
    let key_store = table.get("key-store").and_then(|v| v.string());
    let key_store = key_store.filter(|s| *s != KEY_DIRECTORY).map(str::to_owned);
    let at = table.at.clone();
    table.finish();
    Some(KeyDraft { role: role?, key_store, lifetime: lifetime?, algorithm: algorithm?, tag_range, bits, at })
}

fn digest(value: &Value<'_, '_>) -> Option<(String, super::finding::Place)> {
    let at = value.at.clone();
    let text =
        if value.is_string() { value.string()?.to_owned() } else { value.integer(0..=255)?.to_string() };
    Some((text, at))
}

fn text_or_number(value: Value<'_, '_>) -> Option<String> {
    if value.is_string() {
        value.string().map(str::to_owned)
    } else {
        value.integer(0..=255).map(|n| n.to_string())
    }
}

fn nsec3param(value: &Value<'_, '_>) -> Option<Nsec3Draft> {
    let mut table = value.table()?;
    let mut number = |key| table.get(key).and_then(|v| v.integer(0..=u32::MAX)).unwrap_or(0);
    let (iterations, salt_length) = (number("iterations"), number("salt-length"));
    let opt_out = table.get("optout").and_then(|v| v.boolean()).unwrap_or(false);
    let at = table.at.clone();
    table.finish();
    Some(Nsec3Draft { iterations, opt_out, salt_length, at })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::policy::{Policy, PolicyErrors};

    const WHOLE: &str = r#"
version = 1

[key-store.hsm]
directory = "/tmp"
pkcs11-uri = "pkcs11:token=ksk;pin-source=/x"

[policy.other]
dnskey-ttl = "2h"

[policy.x]
offline-ksk = true
keys = [
  { role = "ksk", key-store = "hsm", lifetime = "unlimited", algorithm = "rsasha256", tag-range = [0, 32767], bits = 4096 },
  { role = "zsk", key-store = "key-directory", lifetime = "P6M", algorithm = 8 },
]
dnskey-ttl = "PT1H"
publish-safety = 7200
retire-safety = "1h30m"
purge-keys = 0
zone-propagation-delay = "300"
parent-propagation-delay = "PT2H"
parent-ds-ttl = "P1D"
max-zone-ttl = "1w"
signatures-validity = "P14D"
signatures-validity-dnskey = "P15D"
signatures-refresh = "P5D"
signatures-jitter = "6h"
cds-digest-types = ["SHA-256", 4]
cdnskey = false
inline-signing = false
manual-mode = false
nsec3param = { optout = false, salt-length = 8 }
"#;

    fn text(text: &str) -> Result<Policies, PolicyErrors> {
        parse(text.as_bytes(), Path::new("/etc/p.toml"))
    }

    #[test]
    fn the_same_policy_in_both_syntaxes_is_the_same() {
        let named = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/named_conf/whole.conf");
        let named = named_conf::load(&named).unwrap_or_else(|e| panic!("{e}"));
        let ours = text(WHOLE).unwrap_or_else(|e| panic!("{e}"));
        // All but the places of the key stores.
        let placeless = |policies: &Policies| {
            let mut policy = policies.get("x").unwrap().clone();
            for store in policy.keys.iter_mut().filter_map(|key| key.key_store.as_mut()) {
                (store.path, store.line) = (PathBuf::new(), 0);
            }
            policy
        };
        assert_eq!(placeless(&ours), placeless(&named));
        assert_eq!(
            ours.key_store("hsm").map(ToString::to_string),
            Some("/etc/p.toml:4: key-store 'hsm'".into())
        );
        assert!(
            named
                .key_store("hsm")
                .is_some_and(|store| store.to_string().ends_with("whole.conf:14: key-store 'hsm'"))
        );
        assert_eq!(ours.names().collect::<Vec<_>>(), named.names().collect::<Vec<_>>());
        assert!(matches!(ours.get("other"), Err(PolicyErrors::NoKeys(_))));
    }

    #[test]
    fn defaults_are_the_same_too() {
        let minimal =
            "[policy.\"a b\"]\n[[policy.\"a b\".keys]]\nrole = \"csk\"\nlifetime = 0\nalgorithm = 15\n";
        let policies = text(minimal).unwrap_or_else(|e| panic!("{e}"));
        let policy = policies.get("a b").unwrap();
        assert_eq!(**policy, Policy { keys: policy.keys.clone(), ..Policy::with_defaults("a b") });
    }

    #[test]
    fn all_mistakes_of_a_file_come_at_once() {
        let wrong = "[policy.x]\nKEYS = []\nkeys = [\n  { role = \"KSK\", lifetime = \"1y\", algorithm = 13, tag-range = [1] },\n  { role = \"zsk\", algorithm = 300, bit = 1 },\n]\n\
                     dnskey-ttl = \"1y\"\ncdnskey = \"yes\"\nnsec3param = { iterations = -1, opt-out = true }\ncds-digest-types = [\"SHA-256\", 3.5]\n[key-store.key-directory]\ndir = 1\n[polcy.y]\n";
        let Err(PolicyErrors::Findings(findings)) = text(wrong) else { panic!("findings") };
        let found: Vec<_> = findings.iter().map(|f| format!("{}: {}", f.line, f.what)).collect();
        let starts = [
            "2: policy.x: unknown key 'KEYS' (did you mean 'keys'?)",
            "4: policy.x.keys[1].role: must be \"ksk\", \"zsk\" or \"csk\", in lower case",
            "4: policy.x.keys[1].lifetime: expected ISO 8601 duration or TTL value near \"1y\"",
            "4: policy.x.keys[1].tag-range: expected two numbers, [MIN, MAX]",
            "5: policy.x.keys[2]: lifetime is missing",
            "5: policy.x.keys[2].algorithm: must be an integer from 0 to 255, not 300",
            "5: policy.x.keys[2]: unknown key 'bit' (did you mean 'bits'?)",
            "7: policy.x.dnskey-ttl: expected ISO 8601 duration",
            "8: policy.x.cdnskey: expected true or false, found string",
            "9: policy.x.nsec3param.iterations: must be an integer from 0 to 4294967295, not -1",
            "9: policy.x.nsec3param: unknown key 'opt-out' (did you mean 'optout'?)",
            "10: policy.x.cds-digest-types[2]: expected an integer from 0 to 255, found float",
            "11: key-store.key-directory: this name is taken",
            "12: key-store.key-directory: unknown key 'dir'",
            "13: unknown key 'polcy' (did you mean 'policy'?)",
        ];
        for start in starts {
            assert!(found.iter().any(|f| f.starts_with(start)), "{start}: {found:#?}");
        }
        assert_eq!(found.len(), starts.len(), "{found:#?}");
    }

    #[test]
    fn checks_are_those_of_named_conf() {
        let bad = WHOLE
            .replace("signatures-refresh = \"P5D\"", "signatures-refresh = \"P14D\"")
            .replace("\"P6M\"", "\"1d\"");
        let policies = text(&bad).unwrap_or_else(|e| panic!("{e}"));
        let Err(PolicyErrors::Findings(findings)) = policies.get("x") else { panic!("findings") };
        let lines: Vec<_> = findings.iter().map(|f| f.line).collect();
        assert_eq!(lines, [15, 15, 27, 27], "{findings:#?}");
        assert!(
            findings[0]
                .to_string()
                .starts_with("/etc/p.toml:15: dnssec-policy: key lifetime is shorter than the time it takes")
        );
    }

    #[test]
    fn a_named_conf_and_tables_go_together() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("offline-ksk.toml");
        let statement =
            "{ keys { ksk lifetime unlimited algorithm 13; zsk lifetime P6M algorithm 13; }; };\n";
        std::fs::write(dir.path().join("named.conf"), format!("dnssec-policy a {statement}")).unwrap();
        let other =
            WHOLE.replace("version = 1", "version = 1\nstate-dir = \"x\"\nnamed-conf = \"named.conf\"\n");
        std::fs::write(&config, &other).unwrap();
        let both = load(&config).unwrap_or_else(|e| panic!("{e}"));
        assert!(both.get("a").is_ok() && both.get("x").is_ok());

        std::fs::write(&config, other.replace("[policy.other]", "[policy.a]")).unwrap();
        let error = load(&config).unwrap_err().to_string();
        assert!(
            error.ends_with(
                ":11: policy.a: the named.conf already defines a policy of this name; keep one of them"
            ),
            "{error}"
        );

        std::fs::write(dir.path().join("named.conf"), "dnssec-policy a {").unwrap();
        std::fs::write(&config, &other).unwrap();
        let error = load(&config).unwrap_err().to_string();
        assert!(error.ends_with("named.conf:1: '}' expected near end of file"), "{error}");
        std::fs::remove_file(dir.path().join("named.conf")).unwrap();
        let error = load(&config).unwrap_err().to_string();
        assert!(error.contains("offline-ksk.toml:4: named-conf: open: "), "{error}");
    }

    /// Every section of the configuration of the daemons, also those that the example has in comments only.
    #[test]
    fn policies_are_read_from_a_configuration_with_every_section() {
        let example = include_str!("../../../docs/offline-ksk.example.toml");
        let path = Path::new("/etc/offline-ksk/offline-ksk.toml");
        let deliver = "[[deliver.named]]\nname = \"ns1\"\naddress = \"127.0.0.1:53\"\nfolder = \"/var/cache/bind/skr\"\n";
        let knot = "[[deliver.knot]]\nname = \"knot\"\nfolder = \"/var/lib/knot/skr\"\n";
        let hook = "[[deliver.hook]]\nname = \"hook\"\ncommand = [\"/bin/true\"]\n";
        for more in ["", deliver, knot, hook, "named-conf = 7"] {
            let whole =
                if more.contains('[') { format!("{example}\n{more}") } else { format!("{more}\n{example}") };
            let daemons = crate::config::Config::parse(whole.as_bytes(), path);
            let policies = parse(whole.as_bytes(), path);
            assert_eq!(daemons.is_ok(), policies.is_ok(), "{more}: {daemons:?} {policies:?}");
            assert!(policies.is_err() || policies.is_ok_and(|p| p.get("common").is_ok()), "{more}");
        }
    }

    #[test]
    fn each_section_is_known_to_both_readers() {
        for section in TopLevelKey::ALL {
            let text = format!("{} = 7\n", section.key());
            let path = Path::new("/etc/offline-ksk/offline-ksk.toml");
            assert!(parse(text.as_bytes(), path).is_ok(), "{section:?}");
            let Err(error) = crate::config::Config::parse(text.as_bytes(), path) else {
                panic!("{section:?}")
            };
            assert!(!error.to_string().contains("unknown key"), "{section:?}: {error}");
        }
    }

    #[test]
    fn the_syntax_is_told_by_name_or_by_content() {
        let dir = tempfile::tempdir().unwrap();
        let named = "# x\n\ndnssec-policy x { keys { ksk lifetime unlimited algorithm 13; zsk lifetime P6M algorithm 13; }; };\n";
        for (name, content, good) in [
            ("a.toml", WHOLE, true),
            ("a.TOML", named, false),
            ("a.conf", named, true),
            ("a.conf", WHOLE, false),
            ("policy", WHOLE, true),
            ("policy", &WHOLE.replace("version = 1", ""), true),
            ("policy", &format!("# c = d\n{}", WHOLE.replace("version = 1", "version=1")), true),
            ("policy", named, true),
            ("policy", "options { };", false),
            ("policy", "", false),
        ] {
            std::fs::write(dir.path().join(name), content).unwrap();
            let outcome = crate::policy::load(&dir.path().join(name)).and_then(|p| p.get("x").cloned());
            assert_eq!(outcome.is_ok(), good, "{name} {content}: {outcome:?}");
        }
        let error = crate::policy::load(&dir.path().join("none")).unwrap_err().to_string();
        assert!(error.starts_with("open: ") && error.contains("none: No such file"), "{error}");
    }
}
