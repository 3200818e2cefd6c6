//! Follows the catalogs that this host takes zones from (RFC 9432), and keeps what stands in them for the configuration.
//!
//! ```text
//! primaries, file ──▶ records ──Catalog::read──▶ catalogs-taken/NAME in the state folder ──▶ the configuration is read again
//! ```
//!
//! A catalog that is broken, cannot be transferred or has expired changes nothing: its zones stay (section 5.1).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keystore::catalog::kept::is_damage;
use keystore::catalog::taken::TakenVersion;
use keystore::catalog::{Catalog, CatalogFault};
use keystore::config::catalog::{CatalogSource, TakenCatalog};
use keystore::dns::Name;
use keystore::durable;
use metrics::changed::mark;
use metrics::condition::ConditionId;
use metrics::health::revision::Revision;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::connection::LookTime;
use super::fault::TransferFault;
use super::follow::{Settings, in_turn, settings_of};
use super::look::{Look, News, OctetsUnderWay, Received, Seen, TransferKind, WHOLE};
use super::soa::PrimaryVersion;
use super::timer::ZoneTimer;
use super::tls::TlsClients;
use crate::clock::Clock;
use crate::rules::ZoneRules;
use crate::runtime::{CatalogZone, FollowedCatalog};
use crate::zone::{Records, Zone};

/// Pause between two looks at a file.
const FILE_PAUSE: Duration = Duration::from_secs(2);
/// Looks at a file that has not changed before it is read again, where the last try may pass.
const FILE_RETRY: u32 = 15;
/// Longest time between two looks at the clock, which may be set.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Called when what stands in a catalog has changed on disk, with the zones whose label is another one than before: they are other zones of the same names.
pub type OnChange = Arc<dyn Fn(&[Name]) + Send + Sync>;

/// The tasks of all catalogs. Dropping it ends them.
pub struct CatalogFollower {
    runtime: Handle,
    clock: Clock,
    changed: OnChange,
    faults: CatalogFaults,
    clients: Arc<TlsClients>,
    under_way: Arc<OctetsUnderWay>,
    tasks: Mutex<HashMap<Name, Task>>,
}

/// Why catalogs change nothing; clones see the same.
#[derive(Debug, Clone, Default)]
pub struct CatalogFaults {
    by_catalog: Arc<Mutex<BTreeMap<Name, CatalogFollowFault>>>,
    revision: Revision,
}

/// Why a catalog that zones are taken from changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogFollowFault {
    /// It is broken: nothing of it is processed (RFC 9432 section 5.1).
    #[error("it is broken: {0}")]
    Broken(#[from] CatalogFault),
    /// Its zone file does not read.
    #[error("{0}")]
    File(String),
    /// No primary gives it.
    #[error("{0}")]
    NotTransferred(String),
    /// It cannot be kept in the state folder.
    #[error("{path}: {what}", path = path.display())]
    NotKept {
        /// The file.
        path: PathBuf,
        /// What the system says.
        what: String,
    },
}

struct Task {
    catalog: TakenCatalog,
    settings: Settings,
    handle: JoinHandle<()>,
}

impl CatalogFollower {
    /// Works on `runtime`; follows nothing before [`Self::follow`]. `changed` is called from its threads.
    #[must_use]
    pub fn new(runtime: Handle, clock: Clock, changed: OnChange) -> Self {
        Self {
            runtime,
            clock,
            changed,
            faults: CatalogFaults::default(),
            clients: Arc::default(),
            under_way: Arc::default(),
            tasks: Mutex::default(),
        }
    }

    /// Follows these catalogs from now on, and no others.
    pub fn follow(&self, catalogs: Vec<FollowedCatalog>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *tasks);
        for FollowedCatalog { zone, config: catalog, path } in catalogs {
            let settings = settings_of(&zone.transfers().settings());
            match before.remove(&catalog.zone) {
                Some(task) if task.catalog == catalog && task.settings == settings => {
                    tasks.insert(catalog.zone.clone(), task);
                    continue;
                }
                Some(task) => task.handle.abort(),
                None => {}
            }
            let follower = OneCatalog {
                zone,
                path,
                catalog: catalog.clone(),
                settings: settings.clone(),
                clock: Arc::clone(&self.clock),
                changed: Arc::clone(&self.changed),
                faults: self.faults.clone(),
                clients: Arc::clone(&self.clients),
                under_way: Arc::clone(&self.under_way),
                here: None,
            };
            let handle = self.runtime.spawn(follower.run());
            tasks.insert(catalog.zone.clone(), Task { catalog, settings, handle });
        }
        before.values().for_each(|task| task.handle.abort());
        self.faults.keep(|catalog| tasks.contains_key(catalog));
    }

    /// What is wrong with the catalogs.
    #[must_use]
    pub fn faults(&self) -> CatalogFaults {
        self.faults.clone()
    }
}

impl Drop for CatalogFollower {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner);
        tasks.values().for_each(|task| task.handle.abort());
    }
}

impl CatalogFaults {
    /// Each catalog that changes nothing, and why.
    #[must_use]
    pub fn all(&self) -> Vec<(Name, CatalogFollowFault)> {
        let faults = self.by_catalog.lock().unwrap_or_else(PoisonError::into_inner);
        faults.iter().map(|(catalog, fault)| (catalog.clone(), fault.clone())).collect()
    }

    /// Changes with the faults.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision.clone()
    }

    fn set(&self, catalog: &Name, fault: Option<CatalogFollowFault>) {
        let mut faults = self.by_catalog.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.get(catalog) == fault.as_ref() {
            return;
        }
        match fault {
            Some(fault) => {
                let condition = ConditionId::CatalogFailing;
                tracing::error!(%catalog, %condition, "the catalog changes nothing, its zones stay: {fault}");
                faults.insert(catalog.clone(), fault);
            }
            None => {
                faults.remove(catalog);
            }
        }
        self.revision.change();
    }

    fn keep(&self, is_followed: impl Fn(&Name) -> bool) {
        let mut faults = self.by_catalog.lock().unwrap_or_else(PoisonError::into_inner);
        faults.retain(|catalog, _| is_followed(catalog));
        self.revision.change();
    }
}

/// One catalog.
struct OneCatalog {
    zone: Arc<CatalogZone>,
    catalog: TakenCatalog,
    /// The file that keeps it.
    path: PathBuf,
    settings: Settings,
    clock: Clock,
    changed: OnChange,
    faults: CatalogFaults,
    clients: Arc<TlsClients>,
    under_way: Arc<OctetsUnderWay>,
    /// The newest version of its zone, broken or not.
    here: Option<Arc<Zone>>,
}

impl OneCatalog {
    async fn run(self) {
        match self.catalog.source.clone() {
            CatalogSource::File(file) => self.follow_file(&file).await,
            CatalogSource::Primaries(_) => self.follow_primaries().await,
        }
    }

    /// Reads the file when it has changed, for ever. What may pass by itself is tried again without a change, but less often.
    async fn follow_file(self, file: &Path) {
        // The file as it was read last, and whether the same would come of it again.
        let mut read = None;
        let mut looks = 0;
        loop {
            let seen = mark(file);
            looks += 1;
            let is_due = match &read {
                Some((before, is_final)) => *before != seen || (!is_final && looks >= FILE_RETRY),
                None => true,
            };
            if is_due {
                let (path, name) = (file.to_owned(), self.catalog.zone.clone());
                let loaded = spawn_blocking(move || Zone::load(&path, &name, ZoneRules::default())).await;
                let taken = match loaded {
                    Ok(Ok(zone)) => self.take(&zone),
                    Ok(Err(error)) => Err(CatalogFollowFault::File(error.to_string())),
                    Err(error) => Err(CatalogFollowFault::File(error.to_string())),
                };
                let is_final = matches!(taken, Ok(()) | Err(CatalogFollowFault::Broken(_)));
                (read, looks) = (Some((seen, is_final)), 0);
                self.faults.set(&self.catalog.zone, taken.err());
            }
            sleep(FILE_PAUSE).await;
        }
    }

    /// Follows the primaries, for ever.
    async fn follow_primaries(mut self) {
        let mut timer = ZoneTimer::new(self.settings.bounds, None, (self.clock)());
        loop {
            let now = (self.clock)();
            if timer.is_due(now) {
                timer.begin(now);
                let looked = self.look().await;
                let now = (self.clock)();
                match looked {
                    Ok(version) => {
                        timer.succeeded(version.times, version.expire, now);
                        self.zone.transfers().set_primary_serial(version.serial);
                    }
                    Err(why) => {
                        timer.failed(now);
                        self.faults.set(&self.catalog.zone, Some(CatalogFollowFault::NotTransferred(why)));
                    }
                }
                continue;
            }
            let pause = timer.due().map_or(LONGEST_PAUSE, |at| Duration::from_secs(at.since(now)));
            tokio::select! {
                () = sleep(pause.clamp(Duration::from_millis(100), LONGEST_PAUSE)) => {}
                () = self.zone.transfers().notified() => timer.notified((self.clock)()),
            }
        }
    }

    /// Looks at one primary after the other until one gives the catalog. What it has is noted where it is broken, too: the primary was asked in
    /// vain only when it gave nothing.
    async fn look(&mut self) -> Result<PrimaryVersion, String> {
        let mut faults = self.settings.unusable.clone();
        let from = self.zone.transfers().notified_by();
        let time = LookTime::of(WHOLE);
        let primaries: Vec<_> = in_turn(&self.settings.primaries, from).cloned().collect();
        for primary in primaries {
            let look = Look {
                zone: self.catalog.zone.clone(),
                rules: ZoneRules::default(),
                max_octets: self.settings.max_octets,
                here: self.here.clone(),
                clock: Arc::clone(&self.clock),
                clients: Arc::clone(&self.clients),
                under_way: Arc::clone(&self.under_way),
            };
            let told = |kind: TransferKind, how: Result<Received, &TransferFault>| {
                self.zone.transfers().count_incoming(kind.as_str(), how.is_ok());
            };
            let Seen { version, news } = match look.at(&primary, time, &told).await {
                Ok(seen) => seen,
                Err(fault) => {
                    faults.push(format!("{}: {fault}", primary.address));
                    continue;
                }
            };
            let zone = match (news, &self.here) {
                (News::Whole(zone), _) => Some(Arc::from(zone)),
                (News::Change(change), Some(here)) => Some(Arc::new(here.changed(&change))),
                (News::Nothing, here) => here.clone(),
                (News::Change(_), None) => None,
            };
            self.here = zone;
            let taken = self.here.as_ref().map_or(Ok(()), |zone| self.take(zone));
            self.faults.set(&self.catalog.zone, taken.err());
            return Ok(version);
        }
        Err(faults.join("; "))
    }

    /// Keeps what stands in the catalog, where it differs from what was kept.
    fn take(&self, zone: &Zone) -> Result<(), CatalogFollowFault> {
        let mut records = Vec::new();
        for node in zone.node_ids() {
            for id in zone.rrsets_of(node) {
                let rrset = zone.rrset(id);
                records.extend(Records(rrset.data).map(|rdata| (zone.owner(node), rrset.rtype, rdata)));
            }
        }
        let catalog = Catalog::read(&self.catalog.zone, records.into_iter())?;
        let failed = |error: std::io::Error| CatalogFollowFault::NotKept {
            path: self.path.clone(),
            what: error.to_string(),
        };
        let kept = match TakenVersion::read(&self.path) {
            // What is damaged is written anew.
            Err(error) if is_damage(&error) => None,
            kept => kept.map_err(failed)?.map(|kept| kept.catalog),
        };
        if kept.as_ref() == Some(&catalog) {
            return Ok(());
        }
        let members = catalog.members().iter();
        let is_another = |zone: &Name, label: &[u8]| {
            let before = kept.as_ref().and_then(|kept| kept.members().get(zone));
            before.is_some_and(|before| before.label != label)
        };
        let others: Vec<Name> = members
            .filter(|(zone, member)| is_another(zone, &member.label))
            .map(|(zone, _)| zone.clone())
            .collect();
        for zone in &others {
            tracing::warn!(catalog = %self.catalog.zone, %zone, "the zone has another label in the catalog, so it is another zone of the same name: its content comes anew from its primaries; its keys and accepted SKRs stay, because the zone would be bogus without them");
        }
        if let Some(folder) = self.path.parent() {
            durable::create_dir_durable(folder, 0o755).map_err(failed)?;
        }
        let (zones, serial) = (catalog.members().len(), zone.serial());
        TakenVersion { catalog, serial }.write(&self.path).map_err(failed)?;
        tracing::info!(catalog = %self.catalog.zone, serial, zones, "the catalog has changed");
        (self.changed)(&others);
        Ok(())
    }
}
