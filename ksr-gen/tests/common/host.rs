//! A host with the request timer, and the ceremony that answers it, on a clock that is stepped.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use keystore::config::transfer::TransferConfig;
use keystore::config::{Config, KsrConfig, LoaderConfig, ParentConfig, ZoneConfig};
use keystore::policy::{self, Policy};
use keystore::store;
use keystore::time::Timestamp;
use offline_ksk_ksr_gen::daemon::{TickError, Timer, TimerReport};

use super::{Site, stamp, zone};

pub const DAY: u64 = 86_400;

pub struct Host {
    pub site: Site,
    pub zone: ZoneConfig,
    pub ksr: KsrConfig,
    pub now: Timestamp,
    pub generation: u64,
    timer: RefCell<Timer>,
}

impl Host {
    pub fn new(named_conf: &str) -> Self {
        let site = Site::new(named_conf);
        let zone = ZoneConfig::new(zone(), policy_of(&site), site.path("zsk"));
        let now = stamp("20261124000000");
        site.run("-l @policy -k common -i 20261124 -e +10y -o -K @ksk keygen example.test").ok();
        Self { site, zone, ksr: KsrConfig::default(), now, generation: 0, timer: RefCell::default() }
    }

    /// Writes the policy anew, and reads it as after a reload.
    pub fn reload(&mut self, named_conf: &str) {
        self.site.write("policy", named_conf);
        self.zone.policy = policy_of(&self.site).into();
        self.timer = RefCell::default();
    }

    /// Looks with a timer that remembers.
    pub fn try_tick(&self) -> Result<TimerReport, TickError> {
        let mut timer = self.timer.borrow_mut();
        timer.begin_round();
        timer.look(&self.zone, &self.ksr, &self.site.path(""), self.now)
    }

    #[track_caller]
    pub fn tick(&self) -> TimerReport {
        self.try_tick().expect("a look")
    }

    pub fn config(&self) -> Config {
        Config {
            state_dir: self.site.path(""),
            zones: vec![self.zone.clone().into()],
            loader: LoaderConfig::default(),
            zone_files: keystore::config::zone_files::ZoneFiles::default(),
            parent: ParentConfig::default(),
            catalogs: keystore::config::catalog::Catalogs::default(),
            deliver: Vec::new(),
            ksr: self.ksr.clone(),
            signer: None,
            metrics: None,
            transfer: TransferConfig::default(),
            probe: None,
            pair: None,
            warnings: Vec::new(),
        }
    }

    pub fn outbox_dir(&self) -> PathBuf {
        store::zone_dir(&self.site.path("outbox"), &self.zone.name)
    }

    /// The open requests.
    pub fn outbox(&self) -> Vec<PathBuf> {
        files(&self.outbox_dir(), "ksr")
    }

    /// The ceremony and the loader: signs the only request in the outbox, and makes the answer the generation in force.
    pub fn answer(&mut self, end: Timestamp) {
        let [request] = self.outbox().try_into().expect("one request");
        let line =
            format!("-l @policy -k common -e {end} -K @ksk -f {} sign example.test", request.display());
        let skr = self.site.run(&line).ok();
        self.accept(&skr);
    }

    /// The loader: makes the SKR the generation in force.
    pub fn accept(&mut self, skr: &str) {
        self.generation += 1;
        let dir = store::zone_dir(&self.site.path("accepted"), &self.zone.name);
        std::fs::create_dir_all(&dir).expect("a folder");
        std::fs::write(store::skr_path(&dir, self.generation), skr).expect("write");
        let current = store::format_current(self.generation, &store::digest(skr.as_bytes()));
        std::fs::write(dir.join("current"), current).expect("write");
    }

    /// The base names of the ZSKs on disk, sorted.
    pub fn zsks(&self) -> Vec<String> {
        let mut names: Vec<String> = files(&self.zone.key_directory, "private")
            .iter()
            .map(|path| path.file_stem().and_then(|stem| stem.to_str()).expect("text").to_owned())
            .collect();
        names.sort();
        names
    }
}

fn policy_of(site: &Site) -> Policy {
    policy::load(&site.path("policy")).expect("a file").get("common").expect("a policy").clone().into_inner()
}

/// The files of a folder with an extension.
pub fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|e| e.expect("an entry").path());
    paths.filter(|p| p.is_file() && p.extension().is_some_and(|e| e == extension)).collect()
}
