//! One look at ten thousand zones whose requests are not due: seconds of wall time, and the peak of resident memory.
//!
//! `cargo bench -p offline-ksk-ksr-gen --bench scan` prints both; `scripts/bench` runs it.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::fs;
use std::time::Instant;

use keystore::config::{KsrConfig, ZoneConfig};
use keystore::dns::Name;
use keystore::exchange::TrustAnchor;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::policy::Policy;
use keystore::store::{digest, format_current, skr_path, zone_dir};
use keystore::time::Timestamp;
use ksr_gen::daemon::{Outcome, tick};

const ZONES: usize = 10_000;
const DAY: u64 = 86_400;

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::parse_stamp("20270101000000").unwrap();
    // Half a year of bundles; nothing is verified here, so one text serves all zones.
    let text = SkrBuilder::new("zone-00000.example.", now.minus(DAY)).bundles(20).text();
    let accepted = dir.path().join("accepted");
    let zones: Vec<ZoneConfig> = (0..ZONES)
        .map(|n| {
            let name = Name::parse(&format!("zone-{n:05}.example.")).unwrap();
            let folder = zone_dir(&accepted, &name);
            fs::create_dir_all(&folder).unwrap();
            let text = text.replace("zone-00000", &format!("zone-{n:05}"));
            fs::write(skr_path(&folder, 1), &text).unwrap();
            fs::write(folder.join("current"), format_current(1, &digest(text.as_bytes()))).unwrap();
            ZoneConfig {
                multi_signer: false,
                allow_cds_delete: false,
                name,
                policy: Policy::with_defaults("bench"),
                anchors: vec![TrustAnchor::Dnskey(TestKey::ksk(1).dnskey)],
                file: None,
                key_directory: dir.path().join("keys"),
            }
        })
        .collect();
    let config = KsrConfig { enabled: true, ..KsrConfig::default() };
    let begun = Instant::now();
    for zone in &zones {
        let report = tick(zone, &config, dir.path(), now).unwrap();
        assert_eq!(report.outcome, Outcome::NotDue);
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{ZONES} zones looked at in {seconds:.3} s (goal 2), peak {} MiB (goal 300)", peak_mib());
}

/// The largest resident set so far.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
