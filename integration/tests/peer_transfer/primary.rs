//! Our signer as the primary: its zone is stepped by hand, so that a change needs no second; sockets, TSIG and NOTIFY are real.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keystore::clock;
use keystore::config::Config;
use keystore::crypto::PrivateKey;
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};
use keystore::time::Timestamp;
use metrics::Metrics;
use signer_plugin::border::server::{Listen, Server};
use signer_plugin::border::{SignerHandler, TcpLimits};
use signer_plugin::hosted::{Hosted, Responder};
use signer_plugin::protocol::SharedSettings;
use signer_plugin::runtime::{SignerZone, ZoneRuntime, ZoneSetup};
use signer_plugin::transfer::notify::Notifier;
use signer_plugin::transfer::{TransferKeys, TransferSettings};
use skr_loader::Loader;

use crate::common;
use crate::secondaries::{block, changed};

pub const ZONE: &str = "example.com";
pub const KEY: &str = "xfr";
/// The secret that the tests put into the blocks of the manual.
pub const SECRET: &str = "b2ZmbGluZS1rc2stdGVzdHMtb25seS1rZXktMDAwMDA=";
/// Seeds of KSK and ZSK, those of [`SkrBuilder`].
const KSK: u8 = 1;
const ZSK: u8 = 2;
const DAY: u64 = 86_400;
/// Time from one renewal of a signature to the next, in seconds: validity less refresh.
const RENEWAL: u64 = 13 * 60;

/// A signer that serves [`ZONE`].
pub struct Primary {
    pub address: SocketAddr,
    zone: ZoneRuntime,
    served: Arc<SignerZone>,
    metrics: Metrics,
    file: PathBuf,
    now: Timestamp,
    changes: u32,
    /// How many versions had every signature made anew.
    pub renewals: u64,
    _notifier: Notifier,
    _server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Primary {
    /// Serves the zone, and tells secondaries on these ports of 127.0.0.1, as many as the manual has.
    pub fn start(dir: &Path, ports: &[u16; 3]) -> Self {
        let told = ports.map(|port| format!("127.0.0.1:{port}"));
        let transfer = changed(
            &block("The signer: `offline-ksk.toml`"),
            &[
                ("192.0.2.0/24", "127.0.0.0/8"),
                ("192.0.2.53", &told[0]),
                ("192.0.2.54", &told[1]),
                ("192.0.2.55", &told[2]),
            ],
        );
        // So many names that twelve changes are never more than the zone, also when they go in one difference.
        Self::with(dir, &transfer, 300, Duration::from_secs(10))
    }

    /// The same with any table `[transfer]`, names in the zone, and time for which a client may take nothing.
    pub fn with(dir: &Path, transfer: &str, hosts: u32, idle: Duration) -> Self {
        write_private(&dir.join("xfr.key"), &block("The key"));
        let file = dir.join("zone");
        std::fs::write(&file, text(0, hosts)).expect("write");
        let config = configure(dir, transfer);
        let now = clock::now();
        accept(&config, now);
        let metrics = Metrics::new().expect("families");
        let keys = TransferKeys::new(config.load_transfer_keys().expect("the keys of the manual"));
        let name = Name::parse(ZONE).expect("a name");
        let served = Arc::new(SignerZone::new(name.clone(), &metrics, Arc::new(clock::now)));
        served.transfers().set(TransferSettings::of_zone(&config.zones[0], config.transfer.incoming, &keys));
        let setup = ZoneSetup::from_config(&config, &config.zones[0]).expect("a file");
        let mut zone = ZoneRuntime::new(setup, metrics.clone(), Arc::clone(&served));
        zone.step(now);
        assert!(served.signed().is_some(), "it is served");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let hosted = Hosted::new([Arc::clone(&served) as Arc<dyn Responder>], SharedSettings::default());
        let mut limits = TcpLimits::new(2000);
        (limits.per_network, limits.per_client, limits.idle_timeout) = (2000, 2000, idle);
        let listen = Listen::on(vec!["127.0.0.1:0".parse().expect("an address")]).with_tcp_limits(limits);
        let server = runtime
            .block_on(async { Server::start(&listen, &SignerHandler::alone(hosted)) })
            .expect("a server");
        let notifier = Notifier::new(runtime.handle().clone(), Arc::new(clock::now));
        notifier.follow(vec![(name, Arc::clone(served.transfers()))]);
        Self {
            address: server.addresses()[0],
            zone,
            served,
            metrics,
            file,
            now,
            changes: hosts,
            renewals: 0,
            _notifier: notifier,
            _server: server,
            _runtime: runtime,
        }
    }

    /// The serial that is served.
    pub fn serial(&self) -> u32 {
        self.served.signed().expect("it is served").serial()
    }

    /// The time that it goes by.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// How many transfers of a kind were sent: the whole zone (`axfr`), or what changed (`ixfr`).
    pub fn transfers(&self, kind: &str) -> u64 {
        self.metrics.transfers_total.with_label_values(&["example.com.", kind, "ok"]).get()
    }

    /// Changes a name, and takes one away or adds one.
    pub fn change(&mut self, number: u32) {
        let before = self.serial();
        std::fs::write(&self.file, text(number, self.changes + number % 3)).expect("write");
        // A file is read when it has rested from one second to the next.
        for _ in 0..2 {
            self.step(1);
        }
        assert_ne!(self.serial(), before, "change {number} was taken");
    }

    /// Lets the time pass after which signatures are renewed.
    pub fn sign_anew(&mut self) {
        self.step(RENEWAL + 60);
    }

    /// Lets the time pass by so many seconds.
    fn step(&mut self, seconds: u64) {
        let before = self.serial();
        self.now = self.now.plus(seconds);
        self.zone.step(self.now);
        let signed = self.served.signed().expect("it is served");
        let is_renewal = signed.signatures_made() > signed.signatures_reused();
        self.renewals += u64::from(signed.serial() != before && is_renewal);
    }

    /// Waits until each of so many secondaries was seen to have what is served, and none is behind.
    pub fn all_secondaries_are_seen(&self, count: usize) {
        let serial = self.serial();
        common::wait_for("the SOA query of each secondary", Duration::from_secs(10), || {
            let standing = self.served.transfers().secondaries();
            let seen = |s: &signer_plugin::transfer::SecondaryStanding| {
                s.serial == Some(serial) && s.behind_since.is_none()
            };
            (standing.len() == count && standing.values().all(seen)).then_some(())
        });
    }
}

/// The zone file: the SOA serial stays, as the signer makes its own.
fn text(number: u32, hosts: u32) -> String {
    let mut text = format!(
        "$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\nchanged TXT \"{number}\"\nWww CNAME ns\n"
    );
    for host in 0..hosts {
        text.push_str(&format!(
            "host{host} A 192.0.2.{}\n",
            if host == number % hosts { number % 250 } else { 250 }
        ));
    }
    text
}

pub fn write_private(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).expect("a new file");
    file.write_all(text.as_bytes()).expect("write");
}

/// The KSK of the zone.
fn anchor() -> String {
    let key = data_encoding::BASE64.encode(&TestKey::ksk(KSK).dnskey.public_key);
    format!("{ZONE}. DNSKEY 257 3 15 {key}")
}

/// A configuration with these tables of a zone and of transfers, its keys, and an SKR that is in force.
pub fn prepare(dir: &Path, tables: &str) -> Config {
    prepare_with(dir, "", tables)
}

/// The same with these lines of the table of the signer.
pub fn prepare_with(dir: &Path, signer: &str, tables: &str) -> Config {
    write_private(&dir.join("xfr.key"), &block("The key"));
    std::fs::write(dir.join(format!("{ZONE}.anchors")), anchor()).expect("write");
    let config = configure_tables(dir, signer, tables);
    accept(&config, clock::now());
    config
}

pub fn configure(dir: &Path, transfer: &str) -> Config {
    let anchor = anchor();
    let zone = format!(
        "[[zone]]\nname = \"{ZONE}\"\npolicy = \"common\"\nfile = \"zone\"\ntrust-anchors = [\"{anchor}\"]\n{transfer}"
    );
    configure_tables(dir, "", &zone)
}

fn configure_tables(dir: &Path, signer: &str, tables: &str) -> Config {
    let validity = 2 * 3600;
    let text = format!(
        "version = 1\nstate-dir = \"state\"\n[ksr]\nenabled = false\n[signer]\nlisten = [\"127.0.0.1:0\"]\nmax-shrink = 0\n{signer}\
         [policy.common]\noffline-ksk = true\nsignatures-validity = {validity}\nsignatures-refresh = {}\nsignatures-jitter = 0\n\
         keys = [{{ role = \"ksk\", lifetime = 0, algorithm = 15 }}, {{ role = \"zsk\", lifetime = 0, algorithm = 15 }}]\n{tables}",
        validity - RENEWAL
    );
    std::fs::create_dir_all(dir.join("state/keys")).expect("a folder");
    let path = dir.join("offline-ksk.toml");
    std::fs::write(&path, text).expect("write");
    let config = Config::load(&path).unwrap_or_else(|e| panic!("{e}"));
    let long_ago = Some(Timestamp::from_secs(1_000_000_000));
    let timing = Timing { publish: long_ago, activate: long_ago, ..Timing::default() };
    let (dnskey, dir) = (TestKey::zsk(ZSK).dnskey, config.zones[0].key_directory.clone());
    let file = KeyFile { zone: config.zones[0].name.clone(), ttl: 3600, dnskey, timing, state: None, dir };
    file.write(&PrivateKey::Raw(vec![ZSK; 32])).expect("a key");
    config
}

/// Has the loader accept an SKR.
pub fn accept(config: &Config, now: Timestamp) {
    let mut loader = Loader::new(config.clone(), Metrics::new().expect("families")).expect("a loader");
    let inbox = config.state_dir.join("inbox");
    let text = SkrBuilder::new(&format!("{ZONE}."), now.minus(DAY)).bundles(8).text();
    std::fs::write(inbox.join(".new"), text).expect("write");
    std::fs::rename(inbox.join(".new"), inbox.join("example.skr")).expect("rename");
    let imports =
        (0..3).map(|minute| loader.step(now.minus(600).plus(61 * minute)).imports.len()).sum::<usize>();
    assert_eq!(imports, 1, "the SKR was judged");
}
