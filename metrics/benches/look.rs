//! What a look at the files of the host costs a running daemon, which looks again and again: gathering the facts and judging them.

use std::fs;
use std::path::Path;
use std::time::Instant;

use keystore::clock;
use keystore::config::Config;
use keystore::crypto::PrivateKey;
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};
use keystore::store::{digest, format_current, skr_path, zone_dir};
use keystore::time::Timestamp;
use offline_ksk_metrics::health::gather::{AuditReader, Gatherer, Outcomes};
use offline_ksk_metrics::health::judge::judge;
use offline_ksk_metrics::health::model::Since;

const DAY: u64 = 86_400;

/// A state folder with so many zones, each covered, with its ZSK in the folder that all share.
fn state(dir: &Path, zones: usize, now: Timestamp) -> Config {
    let anchor = data_encoding::BASE64.encode(&TestKey::ksk(1).dnskey.public_key);
    let mut text = String::from("version = 1\nstate-dir = \"state\"\n");
    fs::create_dir_all(dir.join("state/keys")).expect("a folder");
    for number in 0..zones {
        let name = format!("zone{number:05}.example.");
        text.push_str(&format!(
            "[[zone]]\nname = \"{name}\"\npolicy = \"p\"\nfile = \"zone\"\ntrust-anchors = [\"{name} DNSKEY 257 3 15 {anchor}\"]\n"
        ));
        let zone = Name::parse(&name).expect("a name");
        let folder = zone_dir(&dir.join("state/accepted"), &zone);
        fs::create_dir_all(&folder).expect("a folder");
        let skr = SkrBuilder::new(&name, now.minus(DAY)).bundles(10).text();
        fs::write(skr_path(&folder, 1), &skr).expect("write");
        fs::write(folder.join("current"), format_current(1, &digest(skr.as_bytes()))).expect("write");
        let long_ago = Some(now.minus(30 * DAY));
        let timing = Timing { publish: long_ago, activate: long_ago, ..Timing::default() };
        let (dnskey, dir) = (TestKey::zsk(2).dnskey, dir.join("state/keys"));
        let key = KeyFile { zone, ttl: 3600, dnskey, timing, state: None, dir };
        key.write(&PrivateKey::Raw(vec![2; 32])).expect("a key");
    }
    text.push_str(
        "[signer]\nlisten = [\"127.0.0.1:0\"]\n[policy.p]\noffline-ksk = true\nkeys = [{ role = \"ksk\", lifetime = 0, algorithm = 15 }, \
         { role = \"zsk\", lifetime = 0, algorithm = 15 }]\n",
    );
    fs::write(dir.join("zone"), "").expect("write");
    fs::write(dir.join("config.toml"), text).expect("write");
    Config::load(&dir.join("config.toml")).expect("a configuration")
}

fn main() {
    println!("{:>8} {:>14} {:>14}", "zones", "first look, ms", "next looks, ms");
    for zones in [1, 100, 10_000] {
        let dir = tempfile::tempdir().expect("a folder");
        let now = clock::now();
        let config = state(dir.path(), zones, now);
        let host = (&config).into();
        let audit = AuditReader { fault: |_| None, outcomes: |_| Outcomes::default() };
        let mut gatherer = Gatherer::new(audit, Some(&dir.path().join("config.toml")));
        let mut look = || {
            let begun = Instant::now();
            let health = judge(&gatherer.gather(&host, &[], now), &Since::default(), now);
            let took = begun.elapsed().as_secs_f64() * 1e3;
            assert_eq!(health.zones.len(), zones);
            took
        };
        let first = look();
        // The best: what else runs on this host is not ours.
        let next = (0..10).map(|_| look()).fold(f64::MAX, f64::min);
        println!("{zones:>8} {first:>14.2} {next:>14.2}");
    }
}
