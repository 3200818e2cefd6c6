//! A loader on a state folder of its own, whose clock is stepped.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use keystore::config::transfer::TransferConfig;
use keystore::config::{Config, KsrConfig, LoaderConfig, ZoneConfig};
use keystore::crypto::PrivateKey;
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::exchange::{Bundle, SkrFinding, TrustAnchor, UnverifiedSkr, bind};
use keystore::keys::{Dnskey, KeyFile, Timing};
use keystore::policy::Policy;
use keystore::store::{digest, read_current};
use keystore::time::Timestamp;
use metrics::Metrics;
use offline_ksk_skr_loader::loader::{FileImport, ImportOutcome, Loader};
use offline_ksk_skr_loader::store::Digest;
use offline_ksk_skr_loader::{audit, checks};

pub const DAY: u64 = 86_400;
pub const ZONE: &str = "example.";
/// The seeds of the builder's keys.
pub const KSK: u8 = 1;
pub const ZSK: u8 = 2;
/// No input may cost more: ten times the goal, because debug builds and other tests run beside.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// When everything begins.
pub fn start() -> Timestamp {
    Timestamp::parse_stamp("20270101000000").unwrap()
}

pub fn zone() -> Name {
    Name::parse(ZONE).unwrap()
}

/// Five bundles from `days` after [`start`] on, nine days apart.
pub fn skr(days: u64) -> SkrBuilder {
    SkrBuilder::new(ZONE, start().plus(days * DAY))
}

/// As text, in BIND's form.
pub fn text(skr: &UnverifiedSkr) -> String {
    bind::print_skr(skr, start(), "a test")
}

/// The SKR that follows the one in force, changed.
pub fn changed(change: impl FnOnce(&mut UnverifiedSkr)) -> String {
    let mut next = skr(9).build();
    change(&mut next);
    text(&next)
}

/// The same, one bundle changed and signed anew by the KSK.
pub fn signed_anew(change: impl FnOnce(&mut Bundle)) -> String {
    changed(|next| {
        change(&mut next.bundles[2]);
        skr(9).resign(&mut next.bundles[2], &[&TestKey::ksk(KSK)]);
    })
}

/// With one more key in a bundle, signed.
pub fn with_key(key: &Dnskey) -> String {
    signed_anew(|bundle| bundle.dnskey.rdatas.push(key.to_rdata().into()))
}

pub struct Bench {
    dir: tempfile::TempDir,
    pub metrics: Metrics,
    pub loader: Loader,
    pub now: Timestamp,
}

impl Bench {
    /// An empty store.
    pub fn empty() -> Self {
        Self::with(|_| {})
    }

    /// An empty store, with a configuration of the test's own.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("keys")).unwrap();
        write_key(&dir.path().join("keys"), &TestKey::zsk(ZSK), ZSK, Timing::default());
        let metrics = Metrics::new().unwrap();
        let mut changed = config(dir.path());
        change(&mut changed);
        // By way of the file, so that `check -c` and the loader have the same.
        let file = dir.path().join("offline-ksk.toml");
        fs::write(&file, as_toml(&changed)).unwrap();
        let loader = Loader::new(Config::load(&file).unwrap(), metrics.clone()).unwrap();
        Self { dir, metrics, loader, now: start() }
    }

    /// Generation 1 in force: `skr(0)`.
    pub fn new() -> Self {
        let mut bench = Self::empty();
        assert_eq!(accepted(&bench.import("good.skr", skr(0).text())), 1);
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn restart(self) -> Self {
        let Self { dir, loader, now, .. } = self;
        let config = loader.config().clone();
        drop(loader);
        let metrics = Metrics::new().unwrap();
        let loader = Loader::new(config, metrics.clone()).unwrap();
        Self { dir, metrics, loader, now }
    }

    pub fn drop_file(&self, name: &str, octets: impl AsRef<[u8]>) {
        fs::write(self.path("aside"), octets).unwrap();
        fs::rename(self.path("aside"), self.path("inbox").join(name)).unwrap();
    }

    /// Steps until everything in the inbox was looked at, cut-off files too.
    pub fn settle(&mut self) -> Vec<FileImport> {
        let mut imports = Vec::new();
        for seconds in [0, 61, 61] {
            self.now = self.now.plus(seconds);
            loop {
                let step = self.loader.step(self.now);
                imports.extend(step.imports);
                if !step.more {
                    break;
                }
            }
        }
        imports
    }

    /// Drops one file and gives what became of it, which is what `check` said before.
    #[track_caller]
    pub fn import(&mut self, name: &str, octets: impl AsRef<[u8]>) -> ImportOutcome {
        fs::write(self.path("to-check"), octets.as_ref()).unwrap();
        let told = self.check(&self.path("to-check"));
        let outcome = self.import_unchecked(name, octets);
        assert_eq!(told, [Told::by_loader(&outcome)], "check, and the loader");
        outcome
    }

    /// The same where the loader remembers what the store does not hold any more, and `check` cannot know it.
    #[track_caller]
    pub fn import_unchecked(&mut self, name: &str, octets: impl AsRef<[u8]>) -> ImportOutcome {
        self.drop_file(name, octets);
        let mut imports = self.settle();
        assert_eq!(imports.len(), 1, "{imports:?}");
        imports.remove(0).outcome
    }

    /// What `check -c` says of the file: a verdict for each SKR in it.
    pub fn check(&self, path: &Path) -> Vec<Told> {
        self.check_report(path).iter().map(Told::by_check).collect()
    }

    /// The reports of `check -c --json`.
    pub fn check_report(&self, path: &Path) -> Vec<serde_json::Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_skr-loader"))
            .args(["check", "--json", "--now", &self.now.secs().to_string(), "-c"])
            .args([&self.path("offline-ksk.toml"), path])
            .output()
            .unwrap();
        let reports: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        reports.as_array().unwrap().clone()
    }

    /// Drops a bad file: it must be rejected by `id` (among others), and nothing else may change.
    #[track_caller]
    pub fn reject(&mut self, what: &str, octets: impl AsRef<[u8]>, id: &str) {
        let octets = octets.as_ref();
        let (before, aside) = (self.current(), self.files("rejected").len());
        let counted = self.value(&format!("skr_rejections_total{{reason=\"{id}\"}}"));
        let begun = Instant::now();
        let outcome = self.import("drop.skr", octets);
        assert!(begun.elapsed() < TIME_LIMIT, "{what}: {:?}", begun.elapsed());
        let findings = rejected(&outcome);
        assert!(
            checks::rejecting(findings).iter().any(|found| found.as_str() == id),
            "{what}: {id} expected, {findings:#?}"
        );
        assert_eq!(self.current(), before, "{what}: what is in force has changed");
        assert_eq!(self.files("rejected").len(), aside + 2, "{what}: the file and its reason");
        let reasons = self.files("rejected").into_iter().filter(|name| name.ends_with(".reason"));
        let reasons: Vec<String> =
            reasons.map(|name| fs::read_to_string(self.path("rejected").join(name)).unwrap()).collect();
        assert!(reasons.iter().any(|reason| reason.contains(id)), "{what}: {reasons:?}");
        assert!(self.value(&format!("skr_rejections_total{{reason=\"{id}\"}}")) > counted, "{what}");
        assert_eq!(self.files("inbox"), [""; 0], "{what}");
        audit::verify(&self.path("audit.jsonl")).unwrap();
    }

    /// After all that was refused: the next good SKR goes in.
    #[track_caller]
    pub fn next_good_one_goes_in(mut self) {
        let generation = self.current().map_or(0, |(generation, _)| generation);
        assert_eq!(accepted(&self.import("next.skr", skr(9).text())), generation + 1);
        // Joined to what covers the time until its first bundle.
        let current = read_current(&self.path("accepted"), &zone()).unwrap().unwrap();
        let stored = bind::parse_skr(&current.octets, &zone()).unwrap().bundles;
        assert!(stored.ends_with(&skr(9).build().bundles), "{} bundles", stored.len());
    }

    /// The generation in force and the SHA-256 of its text.
    pub fn current(&self) -> Option<(u64, Digest)> {
        let current = read_current(&self.path("accepted"), &zone()).unwrap()?;
        Some((current.generation, digest(&current.octets)))
    }

    pub fn files(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The value of a series as it is scraped; 0 when it is not there yet.
    pub fn value(&self, series: &str) -> i64 {
        let text = self.metrics.encode().unwrap();
        let line =
            text.lines().find_map(|l| l.strip_prefix(&format!("offlineksk_{series} ")).map(str::to_owned));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

/// A verdict, with the IDs of the checks that reject, or warn where it is good.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    Accepted(BTreeSet<String>),
    Unchanged(u64),
    Rejected(BTreeSet<String>),
}

impl Told {
    #[track_caller]
    pub fn by_loader(outcome: &ImportOutcome) -> Self {
        let ids = |findings: &[SkrFinding], rejects| -> BTreeSet<String> {
            findings.iter().filter(|f| f.rejects() == rejects).map(|f| f.id.to_string()).collect()
        };
        match outcome {
            ImportOutcome::Accepted { warnings, .. } => Self::Accepted(ids(warnings, false)),
            ImportOutcome::Unchanged { generation } => Self::Unchanged(*generation),
            ImportOutcome::Rejected { findings } => Self::Rejected(ids(findings, true)),
            ImportOutcome::Failed { what } => panic!("{what}"),
        }
    }

    fn by_check(report: &serde_json::Value) -> Self {
        let ids = |verdict: &str| -> BTreeSet<String> {
            let rows = report["checks"].as_array().unwrap().iter();
            rows.filter(|row| row["verdict"] == verdict)
                .map(|row| row["id"].as_str().unwrap().to_owned())
                .collect()
        };
        match (report["unchanged"].as_u64(), report["accepted"].as_bool().unwrap()) {
            (Some(generation), _) => Self::Unchanged(generation),
            (None, true) => Self::Accepted(ids("warn")),
            (None, false) => Self::Rejected(ids("fail")),
        }
    }
}

/// The configuration as a file, as far as tests change it.
fn as_toml(config: &Config) -> String {
    let zone = &config.zones[0];
    let records = |anchors: &[TrustAnchor]| {
        let record = |anchor: &TrustAnchor| match anchor {
            TrustAnchor::Dnskey(key) => {
                let public_key = data_encoding::BASE64.encode(&key.public_key);
                format!("\"{ZONE} DNSKEY {} {} {} {public_key}\"", key.flags, key.protocol, key.algorithm.0)
            }
            TrustAnchor::Ds(ds) => {
                let digest = data_encoding::HEXUPPER.encode(&ds[4..]);
                format!("\"{ZONE} DS {} {} {} {digest}\"", u16::from_be_bytes([ds[0], ds[1]]), ds[2], ds[3])
            }
        };
        anchors.iter().map(record).collect::<Vec<_>>().join(", ")
    };
    format!(
        "version = 1\nstate-dir = \"{}\"\n\n[[zone]]\nname = \"{ZONE}\"\npolicy = \"test\"\ntrust-anchors = [{}]\n\
         announced-ksks = [{}]\n\n[policy.test]\noffline-ksk = true\nkeys = [\n\
         {{ role = \"ksk\", lifetime = \"unlimited\", algorithm = \"ed25519\" }},\n\
         {{ role = \"zsk\", lifetime = \"P6M\", algorithm = \"ed25519\" }},\n]\n\n\
         [loader]\naccepted-max-generations = {}\naccepted-min-days = {}\n",
        config.state_dir.display(),
        records(&zone.anchors),
        records(&zone.announced),
        config.loader.accepted_max_generations,
        config.loader.accepted_min_days,
    )
}

fn config(state_dir: &Path) -> Config {
    let zone = ZoneConfig {
        anchors: vec![TrustAnchor::Dnskey(TestKey::ksk(KSK).dnskey)],
        ..ZoneConfig::new(zone(), Policy::with_defaults("test"), state_dir.join("keys"))
    };
    Config {
        state_dir: state_dir.to_owned(),
        zones: vec![zone.into()],
        loader: LoaderConfig::default(),
        zone_files: keystore::config::zone_files::ZoneFiles::default(),
        parent: keystore::config::ParentConfig::default(),
        catalogs: keystore::config::catalog::Catalogs::default(),
        deliver: Vec::new(),
        ksr: KsrConfig::default(),
        signer: None,
        metrics: None,
        transfer: TransferConfig::default(),
        probe: None,
        pair: None,
        warnings: Vec::new(),
    }
}

/// Writes the three files of a key made from `seed`.
pub fn write_key(dir: &Path, key: &TestKey, seed: u8, timing: Timing) -> KeyFile {
    let dnskey = key.dnskey.clone();
    let file = KeyFile { zone: zone(), ttl: 3600, dnskey, timing, state: None, dir: dir.to_owned() };
    file.write(&PrivateKey::Raw(vec![seed; 32])).unwrap();
    file
}

#[track_caller]
pub fn accepted(outcome: &ImportOutcome) -> u64 {
    match outcome {
        ImportOutcome::Accepted { generation, .. } => *generation,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub fn rejected(outcome: &ImportOutcome) -> &[SkrFinding] {
    match outcome {
        ImportOutcome::Rejected { findings } => findings,
        other => panic!("{other:?}"),
    }
}
