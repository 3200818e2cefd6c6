//! Secondaries of three products follow our signer by NOTIFY, IXFR and TSIG, with the configuration that the manual prints; and clients
//! that should get nothing, get nothing.

mod acme;
mod attack;
mod catalogs;
#[path = "../common/certificate.rs"]
mod certificate;
#[path = "../common/mod.rs"]
mod common;
mod database;
mod incoming;
mod killed;
mod network;
mod pair;
mod powerdns;
mod presigned;
mod primary;
mod secondaries;
mod updates;
mod xot;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use keystore::dns::{Name, Rtype};
use primary::{Primary, ZONE};
use secondaries::{Product, Secondary};
use skr_loader::ask::Asker;

/// How old what a secondary serves may be.
const STALE: Duration = Duration::from_secs(5);

fn serial_at(address: SocketAddr) -> Option<u32> {
    let until = Instant::now() + Duration::from_secs(2);
    let answer =
        Asker::new(address, None).ask(&Name::parse(ZONE).expect("a name"), Rtype::SOA, until).ok()?;
    let rdata = answer.rrset.rdatas.first()?;
    Some(u32::from_be_bytes(*rdata.get(rdata.len() - 20..)?.first_chunk()?))
}

/// The records of a server's AXFR, as dig prints them.
fn records_at(address: std::net::SocketAddr, key: Option<&str>) -> BTreeSet<String> {
    let mut dig = common::peer("dig").expect("it was there");
    dig.args(["@127.0.0.1", "-p", &address.port().to_string()]);
    dig.args(["+onesoa", "+nocomments", "+nocmd", "+nostats", "AXFR", ZONE]);
    if let Some(key) = key {
        dig.args(["-y", key]);
    }
    let text = common::stdout(&mut dig);
    let lines = text.lines().filter(|line| !line.is_empty() && !line.contains("\tTSIG\t"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Changes after which secondaries are validated.
const VALIDATED: u32 = 50;

/// Changes that come close together, and whether every signature is made anew behind them.
struct Round {
    burst: u32,
    is_renewal: bool,
}

/// True for the long form of the tests of changes.
fn is_soak() -> bool {
    std::env::var_os("OFFLINE_KSK_TRANSFER_SOAK").is_some()
}

/// Some changes one by one, others in bursts; with OFFLINE_KSK_TRANSFER_SOAK 1000 one by one, and 100 renewals.
fn rounds() -> Vec<Round> {
    if is_soak() {
        return (1..=1000).map(|number| Round { burst: 1, is_renewal: number % 10 == 0 }).collect();
    }
    let round = |number| Round { burst: if number < 4 { 1 } else { 12 }, is_renewal: number % 4 == 3 };
    (0..12).map(round).collect()
}

/// A secondary, for messages and names of files.
type SecondaryAt = (String, SocketAddr);

/// Makes the changes and renewals of [`rounds`]; each secondary must have each version within `limit`. Two independent validators look now and then,
/// and at the end, at the zone that each gives, as of the time of the primary. Gives how many renewals there were.
fn follow_every_version(
    primary: &mut Primary,
    secondaries: &[SecondaryAt],
    limit: Duration,
    dir: &Path,
) -> u64 {
    let slowest = Cell::new(Duration::ZERO);
    let follow = |serial: u32, what: &str| {
        let begin = Instant::now();
        for (name, address) in secondaries {
            common::wait_for(&format!("{name} to have {what}, serial {serial}"), limit, || {
                serial_at(*address).filter(|found| *found == serial)
            });
        }
        slowest.set(slowest.get().max(begin.elapsed()));
    };
    let validate = |primary: &Primary| {
        for (name, address) in secondaries {
            let file = dir.join(format!("{name}.validated"));
            write_zone(&records_at(*address, None), &file);
            validate_file(&file, primary.now());
        }
    };
    for (name, address) in secondaries {
        common::wait_for(&format!("the first transfer to {name}"), Duration::from_secs(30), || {
            serial_at(*address)
        });
    }
    let (mut changes, rounds) = (0, rounds());
    for Round { burst, is_renewal } in &rounds {
        for _ in 0..*burst {
            changes += 1;
            primary.change(changes);
        }
        follow(primary.serial(), "a change");
        if changes % VALIDATED == 0 {
            validate(primary);
        }
        if *is_renewal {
            let before = primary.serial();
            primary.sign_anew();
            assert_ne!(primary.serial(), before, "the signatures were due");
            follow(primary.serial(), "new signatures");
        }
    }
    let renewals = rounds.iter().filter(|round| round.is_renewal).count() as u64;
    let names = secondaries.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    println!(
        "SOAK {changes} changes, {renewals} renewals; {names} had each serial, the slowest after {:?}",
        slowest.get()
    );
    validate(primary);
    renewals
}

fn write_zone(records: &BTreeSet<String>, file: &Path) {
    let text: String = records.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(file, text).expect("write");
}

fn validate_file(file: &Path, now: keystore::time::Timestamp) {
    let (stamp, seconds) = (now.to_string(), now.secs().to_string());
    common::run(common::peer("ldns-verify-zone").expect("there").args(["-t", &stamp]).arg(file));
    common::run(common::peer("kzonecheck").expect("there").args(["-o", ZONE, "-t", &seconds]).arg(file));
}

#[test]
fn secondaries_of_three_products_follow_every_change_by_notify_and_ixfr() {
    let products = [Product::Bind, Product::Knot, Product::Nsd];
    let programs =
        ["dig", "rndc", "named", "knotd", "nsd", "dnssec-verify", "kzonecheck", "ldns-verify-zone"];
    if programs.iter().any(|program| common::peer(program).is_none()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let ports = products.map(|_| common::free_port());
    let mut primary = Primary::start(dir.path(), &ports);
    let secondaries: Vec<Secondary> = products
        .iter()
        .zip(ports)
        .map(|(product, port)| {
            Secondary::start(*product, &dir.path().join(format!("{product:?}")), port, primary.address)
        })
        .collect();
    let named = secondaries.iter().map(|secondary| (format!("{:?}", secondary.product), secondary.address));
    let forced = follow_every_version(&mut primary, &named.collect::<Vec<_>>(), STALE, dir.path());
    let key = format!("hmac-sha256:{}:{}", primary::KEY, primary::SECRET);
    let ours = records_at(primary.address, Some(&key));
    assert!(ours.len() > 100, "{}", ours.len());
    for secondary in &secondaries {
        let theirs = records_at(secondary.address, None);
        // Knot and NSD keep owner names in lower case, named as it gets them.
        let keeps_case = theirs.iter().any(|line| line.starts_with("Www."));
        assert_eq!(keeps_case, secondary.product == Product::Bind);
        let lower = |records: &BTreeSet<String>| -> BTreeSet<String> {
            let owner =
                |line: &String| line.split_once(' ').map(|(o, rest)| format!("{} {rest}", o.to_lowercase()));
            records.iter().filter_map(owner).collect()
        };
        let (lower_ours, theirs) = (lower(&ours), lower(&theirs));
        let differs: Vec<_> = lower_ours.symmetric_difference(&theirs).collect();
        assert!(differs.is_empty(), "{:?}: {differs:#?}", secondary.product);
        assert_eq!(secondary.full_requests(), 1, "{:?} asks for the whole zone once", secondary.product);
    }
    // Each secondary at its first start and each time that every signature was made anew, which is more than the zone has; and dig. When
    // signatures come due depends on the time of day, so that this can happen between changes too; who then takes two such versions in one
    // needs the whole zone once.
    let whole = |renewals: u64| 3 + 3 * renewals + 1;
    let sent = primary.transfers("axfr");
    assert!(
        (whole(forced)..=whole(primary.renewals)).contains(&sent),
        "{sent}, {} renewals",
        primary.renewals
    );
    assert!(primary.transfers("ixfr") > 30, "{}", primary.transfers("ixfr"));
    let file = dir.path().join("transferred");
    write_zone(&ours, &file);
    validate_file(&file, primary.now());
    // It goes by the clock of this host, which the many renewals of the long form leave behind.
    if primary.now().since(keystore::clock::now()) < 3600 {
        common::run(common::peer("dnssec-verify").expect("there").args(["-o", ZONE]).arg(&file));
    }
    primary.all_secondaries_are_seen(3);
}
