//! A whole ceremony in a temporary folder: keys, request, checks, signed response, and the verification by the side that asked.
//!
//! `cargo run --example ceremony -p offline-ksk-ksr-gen`

use std::error::Error;
use std::path::Path;

use keystore::dns::Name;
use keystore::exchange::{TrustAnchor, UnverifiedSkr, VerifyContext, bind, verify};
use keystore::keys::files;
use keystore::keys::plan::Interval;
use keystore::policy::{self, KeyRole};
use keystore::time::Timestamp;
use offline_ksk_ksr_gen::keygen::{self, Keygen};
use offline_ksk_ksr_gen::request::{self, InactiveZsk};
use offline_ksk_ksr_gen::sign::{self, SigningInput};

const POLICY: &str = "dnssec-policy standard {
    offline-ksk yes;
    keys { ksk lifetime unlimited algorithm 13; zsk lifetime P6M algorithm 13; };
};";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (online, offline) = (folder.path().join("zsk"), folder.path().join("ksk"));
    std::fs::create_dir(&online)?;
    std::fs::create_dir(&offline)?;
    let skr = ceremony(folder.path(), &online, &offline)?;
    println!("{skr}");
    Ok(())
}

/// Makes keys and request on the side of the zone, signs on the side of the KSK; the text of the SKR.
fn ceremony(folder: &Path, online: &Path, offline: &Path) -> Result<String, Box<dyn Error>> {
    let policy_file = folder.join("policy.conf");
    std::fs::write(&policy_file, POLICY)?;
    let policies = policy::load(&policy_file)?;
    let policy = policies.get("standard")?;
    let zone = Name::parse("example.org")?;
    let now = Timestamp::parse_stamp("20270101000000").ok_or("a time")?;
    let end = Timestamp::parse_stamp("20280101000000").ok_or("a time")?;
    let interval = Interval { start: now, end };

    // The side of the zone: ZSKs, and the request with a proof of possession for each.
    let zsks = keygen::run(&Keygen::new(online, &zone, policy, KeyRole::Zsk, interval, now), || {})?.files;
    let mut ksr = request::request(&zsks, &zone, policy, interval, InactiveZsk::Refuse)?;
    request::prove(&mut ksr, &zsks, end)?;
    let sent = bind::print_ksr(&ksr, now, "the example");

    // The side of the KSK: what arrived is read, checked and signed.
    keygen::run(&Keygen::new(offline, &zone, policy, KeyRole::Ksk, interval, now), || {})?;
    let ksks = files::find(offline, &zone)?.keys;
    let asked = bind::parse_ksr(sent.as_bytes(), &zone)?;
    let plan = sign::plan(SigningInput::new(&zone, policy, &asked, &ksks, end, now))?;
    plan.findings.iter().for_each(|finding| eprintln!("{finding}"));
    let bundles = plan.sign(&|_| ())?.concat();
    let skr = bind::print_skr(&UnverifiedSkr { zone: zone.clone(), bundles }, now, "the example");

    // The side of the zone again: every signature of every bundle verifies under the pinned KSK.
    let anchors: Vec<TrustAnchor> = ksks.iter().map(|ksk| TrustAnchor::Dnskey(ksk.dnskey.clone())).collect();
    let verified = verify(bind::parse_skr(skr.as_bytes(), &zone)?, &VerifyContext::new(&zone, &anchors), now);
    let verified = verified.map_err(|findings| format!("{findings:?}"))?;
    eprintln!("{} bundles, good until {}", verified.bundles().len(), verified.coverage_end().iso());
    Ok(skr)
}
