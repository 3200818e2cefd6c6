//! What the tests of several modules need: a state folder with keys, and SKRs to drop.

use std::path::{Path, PathBuf};

use keystore::config::transfer::TransferConfig;
use keystore::config::{Config, KsrConfig, LoaderConfig, ZoneConfig};
use keystore::crypto::PrivateKey;
use keystore::dns::Name;
use keystore::exchange::testing::{SkrBuilder, TestKey};
use keystore::exchange::{TrustAnchor, VerifiedSkr, VerifyContext, bind, verify};
use keystore::keys::{KeyFile, Timing};
use keystore::policy::Policy;
use keystore::time::Timestamp;

pub const DAY: u64 = 86_400;
pub const ZONE: &str = "example.";
/// The seeds of [`SkrBuilder`]'s keys.
pub const KSK: u8 = 1;
pub const ZSK: u8 = 2;

/// When everything begins.
pub fn start() -> Timestamp {
    Timestamp::parse_stamp("20270101000000").unwrap()
}

pub fn zone() -> Name {
    Name::parse(ZONE).unwrap()
}

/// Five bundles from `days` after [`start`] on, nine days apart; the last one's signatures end 50 days after that.
pub fn skr(days: u64) -> SkrBuilder {
    SkrBuilder::new(ZONE, start().plus(days * DAY))
}

pub fn anchors() -> Vec<TrustAnchor> {
    vec![TrustAnchor::Dnskey(TestKey::ksk(KSK).dnskey)]
}

pub fn verified(builder: &SkrBuilder, now: Timestamp) -> VerifiedSkr {
    let anchors = builder.anchors();
    let skr = bind::parse_skr(builder.text().as_bytes(), &zone()).unwrap();
    verify(skr, &VerifyContext::new(&zone(), &anchors), now).unwrap()
}

/// Writes the three files of the ZSK (or KSK) made from `seed`.
pub fn write_key(dir: &Path, key: &TestKey, seed: u8, timing: Timing) -> KeyFile {
    let file = KeyFile {
        zone: zone(),
        ttl: 3600,
        dnskey: key.dnskey.clone(),
        timing,
        state: None,
        dir: dir.to_owned(),
    };
    file.write(&PrivateKey::Raw(vec![seed; 32])).unwrap();
    file
}

/// Times of a ZSK that is used from the first bundle on.
pub fn always() -> Timing {
    Timing { publish: Some(start()), activate: Some(start()), ..Timing::default() }
}

/// A state folder with the ZSK of [`SkrBuilder`].
pub struct StateDir {
    dir: tempfile::TempDir,
}

impl StateDir {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("keys")).unwrap();
        let state = Self { dir };
        write_key(&state.path("keys"), &TestKey::zsk(ZSK), ZSK, always());
        state
    }

    /// Takes the times of the ZSK away, so that the proof over caches only warns.
    pub fn forget_key_times(&self) {
        let keys = self.path("keys");
        std::fs::remove_dir_all(&keys).unwrap();
        std::fs::create_dir(&keys).unwrap();
        write_key(&keys, &TestKey::zsk(ZSK), ZSK, Timing::default());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn config(&self) -> Config {
        let zone = ZoneConfig {
            anchors: anchors(),
            ..ZoneConfig::new(zone(), Policy::with_defaults("test"), self.path("keys"))
        };
        Config {
            state_dir: self.dir.path().to_owned(),
            zones: vec![zone.into()],
            loader: LoaderConfig::default(),
            zone_files: keystore::config::zone_files::ZoneFiles::default(),
            parent: keystore::config::ParentConfig::default(),
            catalogs: keystore::config::catalog::Catalogs::default(),
            deliver: Vec::new(),
            ksr: KsrConfig::default(),
            signer: None,
            metrics: None,
            transfer: TransferConfig::default(),
            probe: None,
            pair: None,
            warnings: Vec::new(),
        }
    }
}

/// The health of the loader's host at `now`, by its files and its own report.
pub fn health_of(loader: &crate::Loader, now: Timestamp) -> metrics::health::Health {
    let own = [loader.standing().report(now)];
    let mut gatherer = metrics::health::gather::Gatherer::new(crate::watching::AUDIT, None);
    let facts = gatherer.gather(&loader.config().into(), &own, now);
    metrics::health::judge::judge(&facts, &metrics::health::model::Since::default(), now)
}
