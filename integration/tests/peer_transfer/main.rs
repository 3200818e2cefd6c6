//! Secondaries of three products follow our signer by NOTIFY, IXFR and TSIG, with the configuration that the manual prints; and clients
//! that should get nothing, get nothing.

mod attack;
#[path = "../common/certificate.rs"]
mod certificate;
#[path = "../common/mod.rs"]
mod common;
mod incoming;
mod primary;
mod secondaries;
mod updates;
mod xot;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use keystore::dns::{Name, Rtype};
use primary::{Primary, ZONE};
use secondaries::{Product, Secondary};
use skr_loader::ask::Asker;

/// How old what a secondary serves may be.
const STALE: Duration = Duration::from_secs(5);

fn serial_at(address: std::net::SocketAddr) -> Option<u32> {
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
    let slowest = std::cell::Cell::new(Duration::ZERO);
    let follow = |serial: u32, what: &str| {
        let begin = std::time::Instant::now();
        for secondary in &secondaries {
            common::wait_for(
                &format!("{:?} to have {what}, serial {serial}", secondary.product),
                STALE,
                || serial_at(secondary.address).filter(|found| *found == serial),
            );
        }
        slowest.set(slowest.get().max(begin.elapsed()));
    };
    for secondary in &secondaries {
        common::wait_for(
            &format!("the first transfer to {:?}", secondary.product),
            Duration::from_secs(30),
            || serial_at(secondary.address),
        );
    }
    // Some one by one, others in bursts, with signatures made anew between them.
    let mut changes = 0;
    for round in 0..12 {
        for _ in 0..if round < 4 { 1 } else { 12 } {
            changes += 1;
            primary.change(changes);
        }
        follow(primary.serial(), "a change");
        if round % 4 == 3 {
            let before = primary.serial();
            primary.sign_anew();
            assert_ne!(primary.serial(), before, "the signatures were due");
            follow(primary.serial(), "new signatures");
        }
    }
    assert_eq!(changes, 100);
    println!("{} renewals; the slowest secondary followed after {:?}", primary.renewals, slowest.get());
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
    assert!((whole(3)..=whole(primary.renewals)).contains(&sent), "{sent}, {} renewals", primary.renewals);
    assert!(primary.transfers("ixfr") > 30, "{}", primary.transfers("ixfr"));
    let file = dir.path().join("transferred");
    std::fs::write(&file, ours.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("write");
    common::run(common::peer("dnssec-verify").expect("there").args(["-o", ZONE]).arg(&file));
    common::run(common::peer("kzonecheck").expect("there").args(["-o", ZONE]).arg(&file));
    common::run(common::peer("ldns-verify-zone").expect("there").arg(&file));
    primary.all_secondaries_are_seen();
}
