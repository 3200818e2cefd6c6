//! The parent, served by a real named: SKR-PARENT-DS, and NOTIFY(CDS) by its DSYNC records as unbound validates them.

mod common;
#[path = "peer_parent/rolled.rs"]
mod rolled;
#[path = "peer_parent/signal.rs"]
mod signal;
#[path = "peer_parent/told.rs"]
mod told;

use keystore::check::CheckId;
use std::path::Path;

use keystore::clock;
use keystore::config::Config;
use keystore::crypto::PrivateKey;
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};
use metrics::Metrics;
use skr_loader::Loader;
use skr_loader::loader::ImportOutcome;

/// KSK and ZSK of [`SkrBuilder`].
const KSK: u8 = 1;
const ZSK: u8 = 2;
const DAY: u64 = 86_400;

fn config(port: u16, check: &str) -> String {
    let key = data_encoding::BASE64.encode(&TestKey::ksk(KSK).dnskey.public_key);
    let zones = ["good.test", "other.test", "unsigned.test"].map(|zone| {
        format!("[[zone]]\nname = \"{zone}\"\npolicy = \"p\"\ntrust-anchors = [\"{zone}. DNSKEY 257 3 15 {key}\"]\n")
    });
    format!(
        "version = 1\nstate-dir = \"state\"\n{}\n[policy.p]\noffline-ksk = true\nkeys = [{{ role = \"ksk\", lifetime = 0, algorithm = 15 }}, \
         {{ role = \"zsk\", lifetime = 0, algorithm = 15 }}]\n[loader]\nparent-resolver = \"127.0.0.1:{port}\"\nparent-check = \"{check}\"\n",
        zones.concat()
    )
}

/// What becomes of an SKR of each zone: accepted or rejected, and the IDs.
fn outcomes(dir: &Path, port: u16, check: &str) -> Vec<(String, bool, bool)> {
    let dir = dir.join(check);
    let keys = dir.join("state/keys");
    std::fs::create_dir_all(&keys).expect("a folder");
    let config =
        Config::parse(config(port, check).as_bytes(), &dir.join("c.toml")).unwrap_or_else(|e| panic!("{e}"));
    let zones: Vec<Name> = config.zones.iter().map(|zone| zone.name.clone()).collect();
    let mut loader = Loader::new(config, Metrics::new().expect("families")).expect("a loader");
    let mut seen = Vec::new();
    let mut now = clock::now();
    for zone in zones {
        let dnskey = TestKey::zsk(ZSK).dnskey;
        let (timing, state, dir_of_keys) = (Timing::default(), None, keys.clone());
        let file = KeyFile { zone: zone.clone(), ttl: 3600, dnskey, timing, state, dir: dir_of_keys };
        file.write(&PrivateKey::Raw(vec![ZSK; 32])).expect("a key");
        let skr = SkrBuilder::new(&zone.to_string(), now.minus(DAY)).bundles(3).text();
        std::fs::write(dir.join("state/inbox/.new"), skr).expect("write");
        std::fs::rename(dir.join("state/inbox/.new"), dir.join("state/inbox/a.skr")).expect("rename");
        let mut imports = Vec::new();
        // With several zones a file settles first.
        for _ in 0..3 {
            imports.extend(loader.step(now).imports);
            now = now.plus(61);
        }
        let [import] = &imports[..] else { panic!("{imports:?}") };
        let (accepted, findings) = match &import.outcome {
            ImportOutcome::Accepted { warnings, .. } => (true, warnings),
            ImportOutcome::Rejected { findings } => (false, findings),
            other => panic!("{other:?}"),
        };
        let named = findings.iter().any(|finding| finding.id == CheckId::SkrParentDs);
        seen.push((zone.to_string(), accepted, named));
    }
    seen
}

#[test]
fn skr_parent_ds_of_a_real_named() {
    let temp = tempfile::tempdir().expect("a folder");
    let ds = |zone: &str, seed: u8| {
        let rdata =
            TestKey::ksk(seed).dnskey.ds_rdata(&Name::parse(zone).expect("a name"), 2).expect("SHA-256");
        let tag = u16::from_be_bytes([rdata[0], rdata[1]]);
        format!(
            "{zone}. NS ns.test.\n{zone}. DS {tag} 15 2 {}\n",
            data_encoding::HEXUPPER.encode(&rdata[4..])
        )
    };
    let zone = format!(
        "$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\n{}{}unsigned NS ns\n",
        ds("good.test", KSK),
        ds("other.test", 9)
    );
    std::fs::write(temp.path().join("zone"), zone).expect("write");
    let statements = format!("zone \"test\" {{ type primary; file \"{}/zone\"; }};", temp.path().display());
    let Some(named) = common::Named::start(temp.path(), &statements) else { return };
    let row = |zone: &str, accepted, named| (format!("{zone}."), accepted, named);
    let good = row("good.test", true, false);
    let unsigned = row("unsigned.test", true, true);
    let found = outcomes(temp.path(), named.port, "reject");
    assert_eq!(found, [good.clone(), row("other.test", false, true), unsigned.clone()]);
    let found = outcomes(temp.path(), named.port, "warn");
    assert_eq!(found, [good, row("other.test", true, true), unsigned]);
}
