//! Our own signer and server, with an SKR for each zone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystore::clock;
use keystore::config::Config;
use keystore::crypto::PrivateKey;
use keystore::dns::{Name, Rtype};
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};
use keystore::time::Timestamp;
use metrics::Metrics;
use signer_plugin::border::SignerHandler;
use signer_plugin::border::server::{Listen, Server as DnsServer};
use signer_plugin::runtime::Signer;
use skr_loader::Loader;
use skr_loader::ask::Asker;

use crate::common;

const DAY: u64 = 86_400;
/// Seeds of KSK and ZSK, those of [`SkrBuilder`].
pub const KSK: u8 = 1;
const ZSK: u8 = 2;

/// One zone, as it is to be served.
#[derive(Debug, Clone)]
pub struct OurZone {
    pub name: String,
    pub serial: u32,
    pub expire: u32,
    pub skr: Skr,
}

/// What SKR is dropped for a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skr {
    /// One that lasts for months.
    Good,
    /// One whose last signatures end in two days.
    Ending,
    /// One whose DNSKEY RRsets have no KSK and no signature.
    WithoutKsk,
    /// None.
    Nothing,
}

/// A running signer.
pub struct Ours {
    pub addresses: Vec<SocketAddr>,
    _signer: Arc<Signer>,
    _server: DnsServer,
    _runtime: tokio::runtime::Runtime,
}

impl Ours {
    /// Accepts the SKRs and serves, by a clock that is behind by `behind` seconds.
    pub fn start(dir: &Path, zones: &[OurZone], behind: u64) -> Self {
        let config = configure(dir, zones);
        let now = clock::now().minus(behind);
        accept(&config, zones, now);
        let metrics = Metrics::new().expect("families");
        let clock = Arc::new(move || clock::now().minus(behind));
        let signer = Arc::new(Signer::start(&config, &metrics, clock).expect("a signer"));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let listen = config.signer.as_ref().expect("addresses").listen.clone();
        let server = runtime.block_on(async {
            DnsServer::start(&Listen::on(listen), &SignerHandler::alone(signer.hosted())).expect("a server")
        });
        let addresses = server.addresses().to_vec();
        for zone in zones.iter().filter(|zone| matches!(zone.skr, Skr::Good | Skr::Ending)) {
            let name = Name::parse(&zone.name).expect("a name");
            common::wait_for(&zone.name, Duration::from_secs(60), || {
                let until = Instant::now() + Duration::from_secs(2);
                Asker::new(addresses[0], None).ask(&name, Rtype::SOA, until).ok()
            });
        }
        Self { addresses, _signer: signer, _server: server, _runtime: runtime }
    }
}

fn configure(dir: &Path, zones: &[OurZone]) -> Config {
    let key = data_encoding::BASE64.encode(&TestKey::ksk(KSK).dnskey.public_key);
    let mut text = format!(
        "version = 1\nstate-dir = \"{dir}/state\"\n[ksr]\nenabled = false\n[signer]\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\n\
         [policy.p]\noffline-ksk = true\nkeys = [{{ role = \"ksk\", lifetime = 0, algorithm = 15 }}, \
         {{ role = \"zsk\", lifetime = 0, algorithm = 15 }}]\n",
        dir = dir.display()
    );
    std::fs::create_dir_all(dir.join("state/keys")).expect("a folder");
    for zone in zones {
        let OurZone { name, serial, expire, .. } = zone;
        let file = dir.join(name);
        let records = format!(
            "$TTL 300\n@ SOA ns h {serial} 3600 600 {expire} 300\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.1\n"
        );
        std::fs::write(&file, records).expect("write");
        text.push_str(&format!(
            "[[zone]]\nname = \"{name}\"\npolicy = \"p\"\nfile = \"{}\"\ntrust-anchors = [\"{name}. DNSKEY 257 3 15 {key}\"]\n",
            file.display()
        ));
    }
    let config =
        Config::parse(text.as_bytes(), &PathBuf::from("probe.toml")).unwrap_or_else(|e| panic!("{e}"));
    for zone in &config.zones {
        let long_ago = Some(Timestamp::from_secs(1_000_000_000));
        let timing = Timing { publish: long_ago, activate: long_ago, ..Timing::default() };
        let (dnskey, dir) = (TestKey::zsk(ZSK).dnskey, zone.key_directory.clone());
        let file = KeyFile { zone: zone.name.clone(), ttl: 3600, dnskey, timing, state: None, dir };
        file.write(&PrivateKey::Raw(vec![ZSK; 32])).expect("a key");
    }
    config
}

/// Drops the SKRs, and runs the loader until each is judged.
fn accept(config: &Config, zones: &[OurZone], now: Timestamp) {
    let mut loader = Loader::new(config.clone(), Metrics::new().expect("families")).expect("a loader");
    let mut dropped = 0;
    for zone in zones {
        let name = format!("{}.", zone.name);
        let text = match zone.skr {
            Skr::Nothing => continue,
            Skr::Good => SkrBuilder::new(&name, now.minus(DAY)).bundles(8).text(),
            Skr::Ending => SkrBuilder::new(&name, now.minus(5 * DAY)).bundles(1).validity(7 * DAY).text(),
            Skr::WithoutKsk => {
                let text = SkrBuilder::new(&name, now.minus(DAY)).bundles(2).text();
                let kept = |line: &&str| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    !words.windows(2).any(|pair| pair == ["DNSKEY", "257"] || pair == ["RRSIG", "DNSKEY"])
                };
                text.lines().filter(kept).map(|line| format!("{line}\n")).collect()
            }
        };
        let inbox = config.state_dir.join("inbox");
        std::fs::write(inbox.join(".new"), text).expect("write");
        std::fs::rename(inbox.join(".new"), inbox.join(format!("{}skr", name))).expect("rename");
        dropped += 1;
    }
    let mut judged = 0;
    // With several zones a file settles first.
    for minute in 0..10 {
        judged += loader.step(now.minus(600).plus(61 * minute)).imports.len();
    }
    assert_eq!(judged, dropped, "each file was judged");
}
