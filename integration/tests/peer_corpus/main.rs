//! Zones for the hard cases, signed with NSEC, NSEC3 and opt-out by each algorithm: `dnssec-verify`, `ldns-verify-zone`, `kzonecheck` and
//! `verify-zone` find nothing. None of them sees everything, so that the answers are judged elsewhere (`peer_compare`).

#[path = "../common/mod.rs"]
mod common;
mod walk;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use keystore::clock;
use keystore::crypto::{Algorithm, PrivateKey, SigningKey};
use keystore::dns::Name;
use keystore::dns::nsec3::NameHash;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::time::Timestamp;
use rayon::prelude::*;
use signer_plugin::rules::ZoneRules;
use signer_plugin::signing::{Denial, Nsec3, SigningPolicy, SigningTimes, ZoneKey, sign};
use signer_plugin::verify::{ZoneContents, verify};
use signer_plugin::zone::Zone;

const CORPUS: &str = include_str!("zones.txt");
/// Zones that the corpus has at least.
const LEAST: usize = 60;
/// Verdicts that are no fault of the zone: zone, program, why.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    ("cds-below-the-apex", "kzonecheck", "holds CDS and CDNSKEY of any name against the keys of the zone"),
    ("escaped-at", "ldns-verify-zone", "reads `\\064` in the data of an NSEC record as another name"),
];
/// SOA and NS of a zone without.
const HEAD: &str = "@ SOA ns.other. admin.other. 1 7200 900 1209600 300\n@ NS ns.other.\n";
const ALGORITHMS: [u8; 6] = [13, 8, 15, 14, 10, 16];

struct CorpusZone {
    title: &'static str,
    origin: Name,
    text: String,
}

/// The zones of the file.
fn corpus() -> Vec<CorpusZone> {
    let zones = CORPUS.split("\n; zone ").skip(1).map(|part| {
        let (head, text) = part.split_once('\n').unwrap_or((part, ""));
        let (head, why) = head.split_once(": ").expect("a reason");
        assert!(why.len() > 10, "{head}: {why}");
        let (title, origin) = head.split_once(' ').unwrap_or((head, "corpus.test."));
        let origin = Name::parse(&expand(origin, &Name::root())).expect(title);
        let text = expand(text, &origin);
        let head = if text.contains(" SOA ") { "" } else { HEAD };
        CorpusZone { title, text: format!("$TTL 3600\n{head}{text}"), origin }
    });
    zones.collect()
}

/// Replaces `%63%`, `%LABEL*N%` and `%hash NAME%`.
fn expand(text: &str, origin: &Name) -> String {
    let mut out = String::new();
    for (number, part) in text.split('%').enumerate() {
        match part {
            plain if number % 2 == 0 => out.push_str(plain),
            "63" => out.push_str(&"x".repeat(63)),
            other => match (other.split_once('*'), other.strip_prefix("hash ")) {
                (Some((label, count)), _) => {
                    let count = count.parse().expect("a number");
                    out.push_str(&format!("{label}.").repeat(count));
                }
                (None, Some(name)) => {
                    let name = if name == "@" {
                        Ok(origin.clone())
                    } else {
                        Name::parse_bytes(name.as_bytes(), Some(origin))
                    };
                    let hash = NameHash::of(name.expect("a name").as_wire(), &[], 0);
                    let _ = write!(out, "{hash}");
                }
                (None, None) => panic!("`%{other}%` means nothing"),
            },
        }
    }
    out
}

/// A KSK and a ZSK of each algorithm.
struct Keys {
    ksk: TestKey,
    zsk: ZoneKey,
}

impl Keys {
    fn generate(algorithm: Algorithm) -> Self {
        let private = PrivateKey::generate(algorithm, 2048).expect("a key");
        let signer: Arc<dyn SigningKey> = private.signer(algorithm).expect("a signer").into();
        let zsk = TestKey::new(256, Arc::clone(&signer));
        Self { ksk: TestKey::generate(257, algorithm, 2048), zsk: ZoneKey { dnskey: zsk.dnskey, signer } }
    }
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Nsec,
    Nsec3,
    OptOut,
    /// With iterations and a salt, and a digest of the zone.
    Salted,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Nsec, Self::Nsec3, Self::OptOut, Self::Salted];

    fn policy(self) -> SigningPolicy {
        let denial = match self {
            Self::Nsec => Denial::Nsec,
            Self::Nsec3 => Denial::Nsec3(Nsec3::new(0, false)),
            Self::OptOut => Denial::Nsec3(Nsec3::new(0, true)),
            Self::Salted => Denial::Nsec3(Nsec3::new(5, true).with_salt([0xab, 0xcd].into())),
        };
        let times = SigningTimes { validity: 14 * 86_400, refresh: 5 * 86_400, jitter: 3600 };
        SigningPolicy { times, denial, zonemd: matches!(self, Self::Salted) }
    }
}

/// One signed zone, and what the verifiers find.
fn check(zone: &CorpusZone, mode: Mode, keys: &Keys, now: Timestamp, folder: &Path) -> Result<(), String> {
    let at = |what: &str| format!("{} {mode:?} {}: {what}", zone.title, keys.zsk.dnskey.algorithm);
    let name = format!("{}-{mode:?}-{}", zone.title, keys.zsk.dnskey.algorithm);
    let (unsigned, signed) = (folder.join(&name), folder.join(format!("{name}.signed")));
    fs::write(&unsigned, &zone.text).map_err(|e| at(&e.to_string()))?;
    let loaded = Zone::load(&unsigned, &zone.origin, ZoneRules::default()).map_err(|e| at(&e.to_string()))?;
    if loaded.warnings().left_out > 0 {
        return Err(at(&format!("records are left out: {:?}", loaded.warnings().texts)));
    }
    let skr =
        SkrBuilder::new(&zone.origin.to_string(), now).ksk(keys.ksk.clone()).zsk(keys.zsk.dnskey.clone());
    let zsk = std::slice::from_ref(&keys.zsk);
    let version = sign(&Arc::new(loaded), &skr.bundle(now), zsk, &mode.policy(), 1, None, now)
        .map_err(|e| at(&e.to_string()))?;
    version.self_check(now, usize::MAX).map_err(|e| at(&format!("self-check: {e}")))?;
    let mut text = Vec::new();
    version.write_to(&mut text).map_err(|e| at(&e.to_string()))?;
    fs::write(&signed, text).map_err(|e| at(&e.to_string()))?;
    let contents = ZoneContents::read(&signed, Some(&zone.origin)).map_err(|e| at(&e.to_string()))?;
    let report = verify(&contents, &skr.anchors(), now);
    if !report.findings.is_empty() {
        return Err(at(&format!("verify-zone: {}", report.findings[0])));
    }
    let origin = zone.origin.to_string();
    let digest = mode.policy().zonemd;
    let kzonecheck: &[&str] = if digest { &["-z", "-d", "on", "-o"] } else { &["-d", "on", "-o"] };
    // ldns-verify-zone 1.8.4 does not end where a zone with ZONEMD has a delegation.
    let ldns_ends = !digest || !zone.text.lines().any(|line| line.contains(" NS ") && !line.starts_with('@'));
    let arguments: [(&str, Vec<&str>); 3] = [
        ("dnssec-verify", vec!["-o", &origin]),
        ("kzonecheck", [kzonecheck, &[&origin]].concat()),
        ("ldns-verify-zone", vec![]),
    ];
    for (program, arguments) in arguments.into_iter().take(if ldns_ends { 3 } else { 2 }) {
        if EXCEPTIONS.iter().any(|(title, other, _)| (*title, *other) == (zone.title, program)) {
            continue;
        }
        let Some(mut command) = common::peer(program) else { continue };
        let output = run(command.args(arguments).arg(&signed)).map_err(|e| at(&format!("{program}: {e}")))?;
        if !output.0 {
            return Err(at(&format!("{program}: {}", output.1)));
        }
    }
    // Hundreds of signed zones need not stay.
    let _ = fs::remove_file(&signed);
    Ok(())
}

fn run(command: &mut Command) -> std::io::Result<(bool, String)> {
    let output = command.stdin(Stdio::null()).output()?;
    Ok((output.status.success(), common::text(&output)))
}

#[test]
fn row_45_verifiers_find_nothing_in_zones_of_the_hard_cases_in_each_mode_with_each_algorithm() {
    common::peer("dnssec-verify");
    let zones = corpus();
    assert!(zones.len() >= LEAST, "{} zones", zones.len());
    let folder = tempfile::tempdir().expect("a folder");
    let now = clock::now();
    let keys: HashMap<u8, Keys> =
        ALGORITHMS.par_iter().map(|number| (*number, Keys::generate(Algorithm(*number)))).collect();
    // Each zone in each mode with P-256, and with another algorithm in turn, so that each meets each mode many times.
    let tasks: Vec<(&CorpusZone, Mode, u8)> = zones
        .iter()
        .enumerate()
        .flat_map(|(number, zone)| {
            Mode::ALL.into_iter().enumerate().flat_map(move |(mode_number, mode)| {
                let other = ALGORITHMS[1 + (number + mode_number) % (ALGORITHMS.len() - 1)];
                [(zone, mode, 13), (zone, mode, other)]
            })
        })
        .collect();
    let faults: Vec<String> = tasks
        .par_iter()
        .filter_map(|(zone, mode, algorithm)| check(zone, *mode, &keys[algorithm], now, folder.path()).err())
        .collect();
    println!("{} zones, {} signed versions", zones.len(), tasks.len());
    let shown: Vec<&str> = faults.iter().take(20).map(String::as_str).collect();
    assert!(faults.is_empty(), "{} of {} are refused:\n{}", faults.len(), tasks.len(), shown.join("\n"));
}
