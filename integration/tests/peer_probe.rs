//! The probe against named, Knot, NSD and our own signer: each with eight planted faults, and a healthy zone.
//!
//! The files for the first three are made by BIND's `dnssec-signzone`; the parent is a named with the DS records.

#[path = "peer_probe/command.rs"]
mod command;
mod common;
#[path = "peer_probe/ours.rs"]
mod ours;
#[path = "peer_probe/servers.rs"]
mod servers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use keystore::clock;
use keystore::dns::Name;
use keystore::exchange::testing::TestKey;
use keystore::time::Timestamp;
use offline_ksk_integration::probe::facts::ProbeFacts;
use offline_ksk_integration::probe::gather::{self, ProbeRequest};
use offline_ksk_integration::probe::judge::{self, Expectations};
use ours::{OurZone, Ours, Skr};
use servers::{Product, Server};

const DAY: u64 = 86_400;
/// The names of the zones below `test.`: the healthy one, then one for each fault of issue 12.
const ZONES: [&str; 9] =
    ["healthy", "expired", "behind", "wrongds", "nods", "unsigned", "noksk", "ending", "expire"];

/// What must be found for a zone: ID, severity, server (`A`, `B`, or `-` for none).
fn expected(zone: &str) -> &'static [&'static str] {
    match zone {
        "expired" => &["PROBE-DIFFERS critical B"],
        "behind" => &["PROBE-SERIAL-BEHIND warning B"],
        "wrongds" => &["PARENT-DS-WRONG critical -"],
        "nods" => &["PARENT-DS-MISSING warning -"],
        "unsigned" => &["ZONE-UNSIGNED critical B"],
        "noksk" => &["ZONE-UNSIGNED critical A", "ZONE-UNSIGNED critical B"],
        "ending" => &["SIGNATURE-LATE warning -"],
        "expire" => &["SOA-EXPIRE-TOO-LONG warning -"],
        _ => &[],
    }
}

/// What must be found where our signer serves: it refuses to serve what is unsigned, or what an SKR without KSK would make of it.
fn expected_of_ours(zone: &str) -> &'static [&'static str] {
    match zone {
        "unsigned" => &["ZONE-NOT-LOADED critical B"],
        "noksk" => &["ZONE-NOT-LOADED critical A", "ZONE-NOT-LOADED critical B"],
        // Just signed: a secondary could not have transferred it yet.
        "behind" => &["PROBE-SERIAL-BEHIND attention B"],
        _ => expected(zone),
    }
}

/// Asks, judges, and gives the findings as `ID severity server`.
fn found(
    zone: &str,
    a: SocketAddr,
    b: SocketAddr,
    parent: SocketAddr,
    transfer: bool,
) -> (Vec<String>, ProbeFacts) {
    let name = Name::parse(&format!("{zone}.test.")).expect("a name");
    let request =
        ProbeRequest { servers: vec![a, b], parents: vec![parent], transfer, ..ProbeRequest::default() };
    let now = clock::now();
    let facts = gather::gather(&name, &request, now);
    let findings = judge::judge(&facts, &Expectations::default(), now);
    let server = |address: SocketAddr| if address == a { "A" } else { "B" };
    let line = |finding: &offline_ksk_integration::probe::finding::ProbeFinding| {
        eprintln!("  {}", finding.line(&name, now));
        let server = finding.server.as_ref().map_or("-", |s| server(s.address));
        format!("{} {} {server}", finding.id.as_str(), finding.severity)
    };
    let mut lines: Vec<String> = findings.iter().map(line).collect();
    lines.sort();
    (lines, facts)
}

// --- zone files by BIND's tools ---------------------------------------------------------------------------------------

/// The folder with the files that A and B serve, and the DS records for the parent.
struct Files {
    a: PathBuf,
    b: PathBuf,
    delegations: String,
}

impl Files {
    /// `None` when BIND is not here.
    fn make(dir: &Path) -> Option<Self> {
        common::peer("dnssec-signzone")?;
        let files = Self { a: dir.join("a"), b: dir.join("b"), delegations: String::new() };
        for folder in [&files.a, &files.b, &dir.join("keys")] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        let delegations = ZONES.iter().map(|zone| files.zone(dir, zone)).collect();
        Some(Self { delegations, ..files })
    }

    /// Writes the files of one zone; gives its records at the parent.
    fn zone(&self, dir: &Path, zone: &str) -> String {
        let name = format!("{zone}.test");
        let keys = dir.join("keys");
        let keygen = |more: &[&str]| {
            let mut command = common::peer("dnssec-keygen").expect("was there");
            command.args(["-q", "-a", "ECDSAP256SHA256"]).args(more).arg(&name);
            common::stdout(command.current_dir(&keys)).trim().to_owned()
        };
        let (ksk, zsk) = (keygen(&["-f", "KSK"]), keygen(&[]));
        let soa = |serial: u32, days: u64| {
            let records = format!(
                "$TTL 300\n@ SOA ns h {serial} 3600 600 {} 300\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.1\n",
                days * DAY
            );
            let keys: String =
                [&ksk, &zsk].map(|key| format!("$INCLUDE {}/{key}.key\n", keys.display())).concat();
            format!("$ORIGIN {name}.\n{records}{keys}")
        };
        let now = clock::now();
        let sign = |input: &str, from: Timestamp, to: Timestamp, keys_to: Timestamp, out: &Path| {
            let file = dir.join(format!("{name}.in"));
            std::fs::write(&file, input).expect("write");
            let mut command = common::peer("dnssec-signzone").expect("was there");
            command.args(["-P", "-x", "-O", "full", "-o", &name, "-K"]).arg(&keys);
            command.args(["-s", &from.to_string(), "-e", &to.to_string(), "-X", &keys_to.to_string()]);
            command.args(["-k", &ksk, "-f"]).arg(out).arg(&file).arg(&zsk);
            common::run(command.current_dir(dir));
        };
        let (from, to, keys_to) = (now.minus(2 * DAY), now.plus(20 * DAY), now.plus(30 * DAY));
        let days = if zone == "expire" { 35 } else { 14 };
        let keys_to = if zone == "ending" { now.plus(2 * DAY) } else { keys_to };
        let (a, b) = (self.a.join(&name), self.b.join(&name));
        sign(&soa(100, days), from, to, keys_to, &a);
        match zone {
            "expired" => sign(&soa(100, days), now.minus(20 * DAY), now.minus(DAY), keys_to, &b),
            "behind" => sign(&soa(99, days), from, to, keys_to, &b),
            "unsigned" => {
                let text: String = soa(100, days)
                    .lines()
                    .filter(|l| !l.starts_with("$INCLUDE"))
                    .fold(String::new(), |t, l| t + l + "\n");
                std::fs::write(&b, text).expect("write");
            }
            "noksk" => {
                let text = std::fs::read_to_string(&a).expect("the signed zone");
                let kept = |line: &&str| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    !words.windows(2).any(|w| w == ["DNSKEY", "257"] || w == ["RRSIG", "DNSKEY"])
                };
                let text: String = text.lines().filter(kept).map(|line| format!("{line}\n")).collect();
                std::fs::write(&a, &text).expect("write");
                std::fs::write(&b, &text).expect("write");
            }
            _ => drop(std::fs::copy(&a, &b).expect("copy")),
        }
        let ds = match zone {
            "nods" => String::new(),
            "wrongds" => self.ds(&keys, &keygen(&["-f", "KSK"])),
            _ => self.ds(&keys, &ksk),
        };
        format!("{zone} NS ns.{zone}\nns.{zone} A 127.0.0.1\n{ds}")
    }

    fn ds(&self, keys: &Path, key: &str) -> String {
        let mut command = common::peer("dnssec-dsfromkey").expect("was there");
        common::stdout(command.args(["-2", key]).current_dir(keys))
    }
}

/// A named with the parent of all zones.
fn parent(dir: &Path, delegations: &str) -> Option<common::Named> {
    std::fs::create_dir_all(dir).expect("a folder");
    let zone = format!("$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\n{delegations}");
    std::fs::write(dir.join("zone"), zone).expect("write");
    let statement = format!("zone \"test\" {{ type primary; file \"{}/zone\"; }};", dir.display());
    common::Named::start(dir, &statement)
}

fn names() -> Vec<String> {
    ZONES.iter().map(|zone| format!("{zone}.test")).collect()
}

fn product_with_eight_faults(product: Product) {
    let temp = tempfile::tempdir().expect("a folder");
    let Some(files) = Files::make(temp.path()) else { return };
    let Some(parent) = parent(&temp.path().join("parent"), &files.delegations) else { return };
    let start = |name: &str, folder: &Path| Server::start(product, &temp.path().join(name), &names(), folder);
    let (Some(a), Some(b)) = (start("run-a", &files.a), start("run-b", &files.b)) else { return };
    let parent = SocketAddr::from(([127, 0, 0, 1], parent.port));
    for zone in ZONES {
        eprintln!("{product:?} {zone}");
        for transfer in [false, true] {
            let (found, facts) = found(zone, a.address, b.address, parent, transfer);
            assert_eq!(found, expected(zone), "{product:?} {zone}, transfer: {transfer}");
            if transfer {
                let records = facts
                    .servers
                    .iter()
                    .map(|s| s.transfer.as_ref().expect("asked for").as_ref().expect("had"));
                assert!(records.map(|t| t.records).all(|records| records >= 4), "{product:?} {zone}");
            }
        }
    }
}

#[test]
fn eight_faults_at_named_are_named_rightly_and_nothing_at_the_healthy_zone() {
    product_with_eight_faults(Product::Named);
}

#[test]
fn eight_faults_at_knot_are_named_rightly_and_nothing_at_the_healthy_zone() {
    product_with_eight_faults(Product::Knot);
}

#[test]
fn eight_faults_at_nsd_are_named_rightly_and_nothing_at_the_healthy_zone() {
    product_with_eight_faults(Product::Nsd);
}

#[test]
fn eight_faults_at_our_signer_are_named_rightly_and_nothing_at_the_healthy_zone() {
    let temp = tempfile::tempdir().expect("a folder");
    let ds = |zone: &str, seed: u8| {
        let name = Name::parse(&format!("{zone}.test.")).expect("a name");
        let rdata = TestKey::ksk(seed).dnskey.ds_rdata(&name, 2).expect("SHA-256");
        let tag = u16::from_be_bytes([rdata[0], rdata[1]]);
        format!("{zone} DS {tag} 15 2 {}\n", data_encoding::HEXUPPER.encode(&rdata[4..]))
    };
    let delegation = |zone: &&str| {
        let ds = match *zone {
            "nods" => String::new(),
            "wrongds" => ds(zone, 9),
            _ => ds(zone, ours::KSK),
        };
        format!("{zone} NS ns.{zone}\nns.{zone} A 127.0.0.1\n{ds}")
    };
    let delegations: String = ZONES.iter().map(delegation).collect();
    let Some(parent) = parent(&temp.path().join("parent"), &delegations) else { return };
    let parent = SocketAddr::from(([127, 0, 0, 1], parent.port));
    let zone = |zone: &str, other: bool| OurZone {
        name: format!("{zone}.test"),
        serial: if zone == "behind" && other { 99 } else { 100 },
        // BIND's default refresh leaves 5 days at least.
        expire: if zone == "expire" { 35 * 86_400 } else { 4 * 86_400 },
        skr: match zone {
            "noksk" => Skr::WithoutKsk,
            "ending" => Skr::Ending,
            "unsigned" if other => Skr::Nothing,
            _ => Skr::Good,
        },
    };
    let all = |other: bool| ZONES.map(|name| zone(name, other));
    let a = Ours::start(&temp.path().join("a"), &all(false), 0);
    let b = Ours::start(&temp.path().join("b"), &all(true), 0);
    // Its clock stands 20 days ago, so that all that it signs for 14 days has expired.
    let late = Ours::start(&temp.path().join("late"), &[zone("expired", true)], 20 * DAY);
    for zone in ZONES {
        eprintln!("ours {zone}");
        let other = match zone {
            "expired" => late.addresses[0],
            "behind" | "unsigned" | "noksk" => b.addresses[0],
            // Two signers make two signatures at the same serial; one signer has two addresses.
            _ => a.addresses[1],
        };
        let (found, _) = found(zone, a.addresses[0], other, parent, false);
        assert_eq!(found, expected_of_ours(zone), "{zone}");
    }
}
