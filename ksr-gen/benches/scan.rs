//! The request timer over ten thousand zones, each with two ZSKs and an accepted SKR, all keys in one folder of sixty thousand files:
//! seconds of a first round (everything is read), of the rounds after it, of one in which a key file of each zone was touched, and
//! the peak of resident memory. Then what the requests cost when many are due at once.
//!
//! `cargo bench -p offline-ksk-ksr-gen --bench scan` prints them; `scripts/bench` runs it.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use keystore::config::transfer::TransferConfig;
use keystore::config::{Config, KsrConfig, LoaderConfig, ParentConfig, ZoneConfig};
use keystore::dns::Name;
use keystore::exchange::{TrustAnchor, UnverifiedSkr, bind};
use keystore::keys::files;
use keystore::keys::plan::Interval;
use keystore::policy::{self, KeyRole, Policy};
use keystore::store::{digest, format_current, skr_path, zone_dir};
use keystore::time::Timestamp;
use offline_ksk_ksr_gen::daemon::{Rounds, TimerOutcome};
use offline_ksk_ksr_gen::keygen::{self, Keygen};
use offline_ksk_ksr_gen::request;
use offline_ksk_ksr_gen::sign::{self, SigningInput};

const ZONES: usize = 10_000;
/// Zones whose requests are due in the last part.
const DUE: usize = 200;
const DAY: u64 = 86_400;
/// Name of the zone that all others are copies of.
const MODEL: &str = "zone-00000.example.";

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::parse_stamp("20270101000000").unwrap();
    let policy = policy(dir.path());
    let model = Model::new(dir.path(), &policy, now);
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let zones = (0..ZONES).map(|n| model.copy(n, dir.path(), &keys, &policy).into()).collect();
    let files = fs::read_dir(&keys).unwrap().count();
    assert_eq!(files, 6 * ZONES);
    let mut config = Config {
        state_dir: dir.path().to_owned(),
        zones,
        loader: LoaderConfig::default(),
        zone_files: keystore::config::zone_files::ZoneFiles::default(),
        parent: ParentConfig::default(),
        catalogs: keystore::config::catalog::Catalogs::default(),
        deliver: Vec::new(),
        ksr: KsrConfig::default(),
        signer: None,
        metrics: None,
        transfer: TransferConfig::default(),
        probe: None,
        pair: None,
        warnings: Vec::new(),
    };
    // What the test data takes is not the timer's.
    let before = memory("VmRSS:");
    let mut rounds = Rounds::default();
    let first = round(&mut rounds, &config, now, TimerOutcome::NotDue);
    let later = (1..=5)
        .map(|n| round(&mut rounds, &config, now.plus(60 * n), TimerOutcome::NotDue))
        .fold(0.0, f64::max);
    for path in fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_some_and(|e| e == "state") {
            let octets = fs::read(&path).unwrap();
            fs::write(&path, octets).unwrap();
        }
    }
    let touched = round(&mut rounds, &config, now.plus(600), TimerOutcome::NotDue);
    println!(
        "{ZONES} zones, {files} key files in one folder: the first round {first:.2} s, a round {later:.2} s (goal 2), one after every \
         zone had a key file written {touched:.2} s; peak {} MiB (goal 300), of these {before} before the first round",
        memory("VmHWM:")
    );

    // Half a year later the requests of some are due, and their keys have to be made.
    config.zones.truncate(DUE);
    let due = round(&mut rounds, &config, now.plus(150 * DAY), TimerOutcome::Written);
    let each = due / DUE as f64 * 1000.0;
    println!("{DUE} requests due at once, keys made for each in that folder: {due:.2} s, {each:.0} ms each");
    let pending = round(&mut rounds, &config, now.plus(150 * DAY + 60), TimerOutcome::Pending);
    println!("a round over {DUE} open requests: {pending:.3} s");
}

fn round(rounds: &mut Rounds, config: &Config, now: Timestamp, expected: TimerOutcome) -> f64 {
    let begun = Instant::now();
    rounds.round(
        config,
        || now,
        |zone, result, _| {
            let report = result.as_ref().unwrap();
            assert_eq!((report.outcome, report.warnings.len()), (expected, 0), "{}: {report:?}", zone.name);
        },
    );
    begun.elapsed().as_secs_f64()
}

fn policy(dir: &Path) -> Policy {
    let path = dir.join("policy");
    let zsk = "zsk lifetime P4M algorithm ecdsap256sha256";
    let ksk = "ksk lifetime unlimited algorithm ecdsap256sha256";
    fs::write(&path, format!("dnssec-policy p {{ offline-ksk yes; keys {{ {ksk}; {zsk}; }}; }};")).unwrap();
    policy::load(&path).unwrap().get("p").unwrap().clone().into_inner()
}

/// The files of one zone: ZSKs made by keygen, and an SKR of half a year.
struct Model {
    keys: Vec<(String, String)>,
    skr: String,
}

impl Model {
    fn new(dir: &Path, policy: &Policy, now: Timestamp) -> Self {
        let zone = Name::parse(MODEL).unwrap();
        let interval = Interval { start: now.minus(DAY), end: now.plus(182 * DAY) };
        let make = |folder: &str, role| {
            let dir = dir.join(folder);
            fs::create_dir(&dir).unwrap();
            let now = interval.start;
            let keygen = Keygen::new(&dir, &zone, policy, role, interval, now);
            keygen::run(&keygen, || {}).unwrap();
            (files::find(&dir, &zone).unwrap().keys, dir)
        };
        let (ksks, _) = make("model-ksk", KeyRole::Ksk);
        let (zsks, folder): (_, PathBuf) = make("model-zsk", KeyRole::Zsk);
        assert_eq!(zsks.len(), 2);
        let mut ksr = request::request(&zsks, &zone, policy, interval, request::InactiveZsk::Refuse).unwrap();
        request::prove(&mut ksr, &zsks, interval.end).unwrap();
        let signing = SigningInput::new(&zone, policy, &ksr, &ksks, interval.end, interval.start);
        let bundles = sign::plan(signing).unwrap().sign(&|_| ()).unwrap().concat();
        let skr = bind::print_skr(&UnverifiedSkr { zone, bundles }, interval.start, "a benchmark");
        let keys = fs::read_dir(folder).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())
        });
        Self { keys: keys.collect(), skr }
    }

    /// The same under another name; the signatures are wrong then, and nobody here verifies them.
    fn copy(&self, n: usize, state: &Path, keys: &Path, policy: &Policy) -> ZoneConfig {
        let text = format!("zone-{n:05}.example.");
        let name = Name::parse(&text).unwrap();
        for (file, content) in &self.keys {
            let path = keys.join(file.replace(MODEL, &text));
            fs::write(&path, content.replace(MODEL, &text)).unwrap();
            if path.extension().is_some_and(|e| e == "private") {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
        let folder = zone_dir(&state.join("accepted"), &name);
        fs::create_dir_all(&folder).unwrap();
        let skr = self.skr.replace(MODEL, &text);
        fs::write(skr_path(&folder, 1), &skr).unwrap();
        fs::write(folder.join("current"), format_current(1, &digest(skr.as_bytes()))).unwrap();
        ZoneConfig {
            anchors: vec![TrustAnchor::Ds(vec![0; 36])],
            ..ZoneConfig::new(name, policy.clone(), keys.to_owned())
        }
    }
}

/// A line of /proc/self/status, in MiB.
fn memory(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
