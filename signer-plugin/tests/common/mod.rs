//! What the tests of this folder share: the files of a zone, and a question.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::config::Config;
use keystore::crypto::PrivateKey;
use keystore::dns::{Name, Rtype};
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::keys::{KeyFile, Timing};
use keystore::policy::Nsec3Param;
use keystore::time::Timestamp;
use keystore::{durable, store};
use metrics::Metrics;
use offline_ksk_signer::hosted::{Arrival, Responder, Transport};
use offline_ksk_signer::reply::MessageParts;
use offline_ksk_signer::rules::ZoneRules;
use offline_ksk_signer::runtime::{
    ContentRules, ContentSource, RollDelays, SignerZone, VersionRules, ZoneRuntime, ZoneSetup,
};
use offline_ksk_signer::signing::SigningTimes;
use offline_ksk_signer::transfer::{TransferKeys, TransferSettings};

pub const DAY: u32 = 86_400;

pub fn start() -> Timestamp {
    Timestamp::parse_stamp("20270101000000").expect("a time")
}

pub fn zone_name() -> Name {
    Name::parse("example").expect("a name")
}

/// The folders of one zone.
pub struct Host {
    root: PathBuf,
    /// Names of the zone beside those that every zone has.
    more_names: usize,
    /// With a salted NSEC3 chain and a ZONEMD record.
    rich: bool,
}

impl Host {
    /// A zone with a ZSK and an accepted SKR of three bundles, below `root`.
    pub fn new(root: &Path) -> Self {
        let host = Self::at(root);
        for folder in ["keys", "accepted/example."] {
            fs::create_dir_all(host.path(folder)).expect("a folder");
        }
        host.write_zone(2);
        host.add_zsk(2);
        host.accept(1, 3);
        host
    }

    /// What is there already.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), more_names: 0, rich: false }
    }

    /// The same, with so many more names in the zone files that it writes.
    pub fn with_names(self, more_names: usize) -> Self {
        Self { more_names, ..self }
    }

    /// The same, with a salted NSEC3 chain and a ZONEMD record.
    pub fn with_nsec3_and_zonemd(self, rich: bool) -> Self {
        Self { rich, ..self }
    }

    /// True when everybody may transfer the zone: the plain one, as each write of its differences is one more point for all faults.
    pub fn is_transferred(&self) -> bool {
        self.more_names == 0 && !self.rich
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes the zone file, in which `www` has this address.
    pub fn write_zone(&self, address: u8) {
        let more: String = (0..self.more_names).map(|n| format!("host{n} TXT \"{n:0>60}\"\n")).collect();
        let text = format!(
            "$TTL 300\n@ SOA ns admin 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.{address}\n{more}"
        );
        durable::write(&self.path("zone"), text.as_bytes(), 0o600).expect("write the zone file");
    }

    pub fn add_zsk(&self, seed: u8) {
        let timing = Timing { publish: Some(start()), activate: Some(start()), ..Timing::default() };
        let dnskey = TestKey::zsk(seed).dnskey;
        let key =
            KeyFile { zone: zone_name(), ttl: 3600, dnskey, timing, state: None, dir: self.path("keys") };
        key.write(&PrivateKey::Raw(vec![seed; 32])).expect("write the key");
    }

    pub fn accept(&self, generation: u64, bundles: u64) {
        let text = SkrBuilder::new("example.", start()).bundles(bundles).text();
        let write =
            |path: &Path, text: &str| durable::write(path, text.as_bytes(), 0o600).expect("write the store");
        write(&self.path(&format!("accepted/example./{generation}.skr")), &text);
        let current = store::format_current(generation, &store::digest(text.as_bytes()));
        write(&self.path("accepted/example./current"), &current);
    }

    pub fn zone(&self, metrics: &Metrics) -> ZoneRuntime {
        let setup = ZoneSetup {
            name: zone_name(),
            source: ContentSource::File(self.path("zone")),
            key_directory: self.path("keys"),
            accepted: self.path("accepted"),
            state: self.path("zones/example."),
            anchors: SkrBuilder::new("example.", start()).anchors(),
            times: SigningTimes { validity: 14 * DAY, refresh: 5 * DAY, jitter: DAY / 2 },
            nsec3: self.rich.then_some(Nsec3Param { iterations: 0, opt_out: false, salt_length: 8 }),
            versions: VersionRules { zonemd: self.rich, ..VersionRules::default() },
            rules: ZoneRules::default(),
            delays: RollDelays::default(),
            content: ContentRules::default(),
        };
        let served = SignerZone::new(zone_name(), metrics, Arc::new(start));
        if self.is_transferred() {
            served.transfers().set(open_to_everybody());
        }
        ZoneRuntime::new(setup, metrics.clone(), Arc::new(served))
    }
}

/// The settings of a zone that everybody may transfer.
fn open_to_everybody() -> TransferSettings {
    let key = data_encoding::BASE64.encode(&TestKey::ksk(1).dnskey.public_key);
    let text = format!(
        "version = 1\nstate-dir = \"state\"\n[signer]\nlisten = [\"127.0.0.1:0\"]\n[policy.common]\noffline-ksk = true\n\
         keys = [{{ role = \"ksk\", lifetime = 0, algorithm = 15 }}, {{ role = \"zsk\", lifetime = 0, algorithm = 15 }}]\n\
         [[zone]]\nname = \"example\"\npolicy = \"common\"\nfile = \"zone\"\ntrust-anchors = [\"example. DNSKEY 257 3 15 {key}\"]\n\
         allow-transfer = [{{ address = \"127.0.0.0/8\" }}]\n"
    );
    let config = Config::parse(text.as_bytes(), Path::new("offline-ksk.toml")).expect("a configuration");
    TransferSettings::of_zone(&config.zones[0], config.transfer.incoming, &TransferKeys::default())
}

/// RCODE, and the last octet of the address of `www`.
pub fn www(zone: &ZoneRuntime) -> (u16, Option<u8>) {
    let name = Name::parse("www.example").expect("a name");
    let query = [&[0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name.as_wire(), &[0, 1, 0, 1]].concat();
    let mut out = Vec::new();
    zone.served().respond(&query, &Arrival::new(Transport::Stream, 1232), &mut out);
    let reply = MessageParts::read(&out).expect("an answer");
    (reply.rcode(), reply.answers.iter().find(|rr| rr.rtype == Rtype::A).map(|rr| rr.rdata[3]))
}
