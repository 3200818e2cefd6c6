//! Follows the catalogs that this host takes zones from (RFC 9432), and keeps what stands in them for the configuration.
//!
//! ```text
//! primaries, file ──▶ records ──Catalog::read──▶ catalogs-taken/NAME in the state folder ──▶ the configuration is read again
//! ```
//!
//! A catalog that is broken, cannot be transferred or has expired changes nothing: its zones stay (section 5.1).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keystore::catalog::kept::is_damage;
use keystore::catalog::taken::TakenVersion;
use keystore::catalog::{Catalog, CatalogFault};
use keystore::config::catalog::{CatalogSource, TakenCatalog};
use keystore::config::tls::PrimaryTls;
use keystore::dns::Name;
use keystore::durable;
use keystore::pair::Fence;
use metrics::changed::mark;
use metrics::condition::ConditionId;
use metrics::health::revision::Revision;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::connection::{LookTime, LookTimes};
use super::fault::TransferFault;
use super::follow::{Settings, ToAsk, settings_of, to_ask};
use super::look::{FailedLook, Look, News, OctetsUnderWay, Received, TransferKind};
use super::serial::is_newer;
use super::timer::{LookFailure, Looked, ZoneTimer};
use super::tls::TlsClients;
use crate::clock::Clock;
use crate::rules::ZoneRules;
use crate::runtime::{CatalogZone, FollowedCatalog};
use crate::zone::{Records, Zone};

/// Pause between two looks at a file.
const FILE_PAUSE: Duration = Duration::from_secs(2);
/// Looks at a file that has not changed before it is read again, where the last try may pass.
const FILE_RETRY: u32 = 15;
/// A file that has not changed for so long is whole.
const WRITTEN: Duration = Duration::from_millis(500);
/// Most zones of a catalog.
const MAX_ZONES: usize = 200_000;
/// Most records of its transfer: one of each zone, with its properties.
const MAX_RECORDS: u64 = 8 * MAX_ZONES as u64;
/// Longest time between two looks at the clock, which may be set.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Called when what stands in a catalog has changed on disk.
pub type OnChange = Arc<dyn Fn() + Send + Sync>;

/// The tasks of all catalogs. Dropping it ends them.
pub struct CatalogFollower {
    runtime: Handle,
    clock: Clock,
    fence: Fence,
    changed: OnChange,
    faults: CatalogFaults,
    clients: Arc<TlsClients>,
    under_way: Arc<OctetsUnderWay>,
    max_records: u64,
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
    /// It has more zones than one host takes.
    #[error("it has {zones} zones, and no more than {MAX_ZONES} are taken")]
    TooLarge {
        /// Their number.
        zones: usize,
    },
    /// This host of a pair has no lease now.
    #[error("this host of the pair has no lease now; it is taken when there is one")]
    NoLease,
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
    /// Works on `runtime`; follows nothing before [`Self::follow`]. `changed` is called from its threads. Of two hosts one that `fence` does not
    /// permit to publish takes nothing.
    #[must_use]
    pub fn new(runtime: Handle, clock: Clock, fence: Fence, changed: OnChange) -> Self {
        Self {
            runtime,
            clock,
            fence,
            changed,
            faults: CatalogFaults::default(),
            clients: Arc::default(),
            under_way: Arc::default(),
            max_records: MAX_RECORDS,
            tasks: Mutex::default(),
        }
    }

    /// The same with another limit of the records of a transfer.
    #[cfg(test)]
    pub(super) fn with_max_records(mut self, max_records: u64) -> Self {
        self.max_records = max_records;
        self
    }

    /// Follows these catalogs from now on, and no others.
    pub fn follow(&self, catalogs: Vec<FollowedCatalog>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *tasks);
        for FollowedCatalog { zone, config: catalog, path } in catalogs {
            let settings = settings_of(&zone.transfers().settings());
            match before.remove(&catalog.zone) {
                Some(task) if task.catalog.source == catalog.source && task.settings == settings => {
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
                fence: self.fence.clone(),
                changed: Arc::clone(&self.changed),
                faults: self.faults.clone(),
                clients: Arc::clone(&self.clients),
                under_way: Arc::clone(&self.under_way),
                max_records: self.max_records,
                here: None,
                taken: None,
                serial: None,
            };
            let handle = self.runtime.spawn(follower.run());
            tasks.insert(catalog.zone.clone(), Task { catalog, settings, handle });
        }
        before.values().for_each(|task| task.handle.abort());
        let primaries = tasks.values().flat_map(|task| &task.settings.primaries);
        let used: HashSet<&PrimaryTls> = primaries.filter_map(|primary| primary.tls.as_ref()).collect();
        self.clients.keep(&used.into_iter().collect::<Vec<_>>());
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
    fence: Fence,
    changed: OnChange,
    faults: CatalogFaults,
    clients: Arc<TlsClients>,
    under_way: Arc<OctetsUnderWay>,
    max_records: u64,
    /// The newest version of its zone, broken or not.
    here: Option<Arc<Zone>>,
    /// The version that was kept last by this task.
    taken: Option<Arc<Zone>>,
    /// The serial of what is kept.
    serial: Option<u32>,
}

impl OneCatalog {
    async fn run(mut self) {
        let path = self.path.clone();
        let kept = spawn_blocking(move || TakenVersion::read(&path)).await;
        self.serial = kept.ok().and_then(Result::ok).flatten().map(|kept| kept.serial);
        match self.catalog.source.clone() {
            CatalogSource::File(file) => self.follow_file(&file).await,
            CatalogSource::Primaries(_) => self.follow_primaries().await,
        }
    }

    /// Reads the file when it has changed, for ever. What may pass by itself is tried again without a change, but less often.
    async fn follow_file(mut self, file: &Path) {
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
            if is_due && read.is_some() {
                // One that is being written is read when it is whole.
                sleep(WRITTEN).await;
            }
            if is_due && mark(file) == seen {
                let (path, name) = (file.to_owned(), self.catalog.zone.clone());
                let loaded = spawn_blocking(move || Zone::load(&path, &name, ZoneRules::default())).await;
                let taken = match loaded {
                    Ok(Ok(zone)) => self.take(Arc::new(zone)).await,
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
                let looked = self.look(to_ask(&self.settings.primaries, &timer)).await;
                let now = (self.clock)();
                match looked {
                    Ok(looked) => {
                        timer.succeeded(looked, now);
                        self.zone.transfers().set_primary_serial(looked.serial);
                    }
                    Err(FailedLook { failure, why }) => {
                        timer.failed(failure, now);
                        self.faults.set(&self.catalog.zone, Some(why));
                    }
                }
                continue;
            }
            let pause = timer.due().map_or(LONGEST_PAUSE, |at| Duration::from_secs(at.since(now)));
            tokio::select! {
                () = sleep(pause.clamp(Duration::from_millis(100), LONGEST_PAUSE)) => {}
                news = self.zone.transfers().notified() => timer.notified(news, (self.clock)()),
            }
        }
    }

    /// Looks at one primary after the other until one gives the catalog. What it has is noted where it is broken, too: the primary was asked in
    /// vain only when it gave nothing.
    async fn look(&mut self, to_ask: ToAsk) -> Result<Looked, FailedLook<CatalogFollowFault>> {
        let (mut faults, mut are_older) = (self.settings.unusable.clone(), Vec::new());
        for primary in &to_ask.primaries {
            let look = Look {
                zone: self.catalog.zone.clone(),
                rules: ZoneRules::default(),
                max_octets: self.settings.max_octets,
                max_records: self.max_records,
                here: self.here.clone(),
                clock: Arc::clone(&self.clock),
                clients: Arc::clone(&self.clients),
                under_way: Arc::clone(&self.under_way),
            };
            let told = |kind: TransferKind, how: Result<Received, &TransferFault>| {
                self.zone.transfers().count_incoming(kind.as_str(), how.is_ok());
            };
            let seen = match look.at(primary, LookTime::of(LookTimes::default()), &told).await {
                Ok(seen) => seen,
                Err(fault) => {
                    faults.push(format!("{}: {fault}", primary.address));
                    are_older.push(matches!(fault, TransferFault::SerialBack { .. }));
                    continue;
                }
            };
            let is_new = !matches!(seen.news, News::Nothing);
            let looked = Looked { is_new, ..seen.looked(primary) };
            let zone = match (seen.news, &self.here) {
                (News::Whole(zone), _) => Some(Arc::from(zone)),
                (News::Change(change), Some(here)) => Some(Arc::new(here.changed(&change))),
                (News::Nothing, here) => here.clone(),
                (News::Change(_), None) => None,
            };
            // A version that was kept by a process before is compared with as one that is here.
            if let Some(kept) =
                self.serial.filter(|kept| self.here.is_none() && is_newer(*kept, looked.serial))
            {
                let (serial, file) = (looked.serial, self.path.display());
                faults.push(format!(
                    "{}: its serial {serial} is older than {kept}, which was taken before; where it begins anew, remove {file}",
                    primary.address
                ));
                are_older.push(true);
                continue;
            }
            self.here = zone;
            let taken = match self.here.clone() {
                Some(zone) => self.take(zone).await,
                None => Ok(()),
            };
            return match taken {
                Err(why @ CatalogFollowFault::NotKept { .. }) => {
                    Err(FailedLook { failure: LookFailure::Other, why })
                }
                taken => {
                    self.faults.set(&self.catalog.zone, taken.err());
                    Ok(looked)
                }
            };
        }
        Err(FailedLook {
            failure: to_ask.failure(&are_older),
            why: CatalogFollowFault::NotTransferred(faults.join("; ")),
        })
    }

    /// Keeps what stands in a version of the catalog, and has the configuration read again where it differs from what was kept.
    async fn take(&mut self, zone: Arc<Zone>) -> Result<(), CatalogFollowFault> {
        if !self.fence.permits() {
            return Err(CatalogFollowFault::NoLease);
        }
        if self.taken.as_ref().is_some_and(|taken| Arc::ptr_eq(taken, &zone)) {
            return Ok(());
        }
        let (name, path, version) = (self.catalog.zone.clone(), self.path.clone(), Arc::clone(&zone));
        let kept = spawn_blocking(move || keep(&name, &path, &version)).await;
        let has_changed = kept.map_err(|error| CatalogFollowFault::File(error.to_string()))??;
        self.serial = Some(zone.serial());
        self.taken = Some(zone);
        if has_changed {
            (self.changed)();
        }
        Ok(())
    }
}

/// Keeps what stands in a version of a catalog; false where it is what was kept already.
fn keep(name: &Name, path: &Path, zone: &Zone) -> Result<bool, CatalogFollowFault> {
    let mut records = Vec::new();
    for node in zone.node_ids() {
        for id in zone.rrsets_of(node) {
            let rrset = zone.rrset(id);
            records.extend(Records(rrset.data).map(|rdata| (zone.owner(node), rrset.rtype, rdata)));
        }
    }
    let catalog = Catalog::read(name, records.into_iter())?;
    let zones = catalog.members().len();
    if zones > MAX_ZONES {
        return Err(CatalogFollowFault::TooLarge { zones });
    }
    let failed = |error: std::io::Error| CatalogFollowFault::NotKept {
        path: path.to_owned(),
        what: error.to_string(),
    };
    let kept = match TakenVersion::read(path) {
        // What is damaged is written anew.
        Err(error) if is_damage(&error) => None,
        kept => kept.map_err(failed)?,
    };
    if kept.is_some_and(|kept| kept.catalog == catalog) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        durable::create_dir_durable(folder, 0o755).map_err(failed)?;
    }
    let serial = zone.serial();
    TakenVersion { catalog, serial }.write(path).map_err(failed)?;
    tracing::info!(catalog = %name, serial, zones, "the catalog has changed");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(dir: &Path, records: &str) -> Zone {
        let file = dir.join("cat.zone");
        let head = "$TTL 0\n@ SOA invalid. invalid. 7 3600 600 2147483646 0\n@ NS invalid.\n";
        std::fs::write(&file, format!("{head}{records}")).expect("write");
        Zone::load(&file, &name(), ZoneRules::default()).expect("a zone")
    }

    fn name() -> Name {
        Name::parse("cat.test").expect("a name")
    }

    #[test]
    fn a_version_is_kept_once_and_a_broken_one_or_one_that_cannot_be_written_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("kept/cat.test.");
        let keep = |records: &str| super::keep(&name(), &path, &zone(dir.path(), records));
        let one = "version TXT \"2\"\na.zones PTR a.test.\n";
        assert_eq!((keep(one), keep(one)), (Ok(true), Ok(false)));
        let kept = std::fs::read(&path).expect("it was written");
        for broken in [
            "a.zones PTR a.test.\n",
            "version TXT \"1\"\n",
            "version TXT \"2\"\na.zones PTR a.test.\nb.zones PTR a.test.\n",
            "version TXT \"2\"\na.zones PTR a.test.\na.zones PTR b.test.\n",
        ] {
            assert!(matches!(keep(broken), Err(CatalogFollowFault::Broken(_))), "{broken}");
            assert_eq!(std::fs::read(&path).expect("it is there"), kept, "{broken}");
        }
        std::fs::write(&path, "damaged").expect("write");
        assert_eq!(keep(one), Ok(true), "what is damaged is written anew");
        std::fs::remove_file(&path).expect("it was there");
        std::fs::create_dir(&path).expect("a folder in its place");
        assert!(matches!(keep(one), Err(CatalogFollowFault::NotKept { .. })));
    }

    #[tokio::test]
    async fn of_two_hosts_the_one_without_a_lease_takes_no_version_of_a_catalog() {
        use keystore::pair::Moment;
        use keystore::time::Timestamp;
        let dir = tempfile::tempdir().expect("a folder");
        zone(dir.path(), "version TXT \"2\"\na.zones PTR a.test.\n");
        let template = "[[zone]]\nname = \"{zone}\"\npolicy = \"p\"\ntrust-anchor-file = \"{zone}.ds\"\n";
        std::fs::write(dir.path().join("t.toml"), template).expect("write");
        std::fs::create_dir(dir.path().join("state")).expect("a folder");
        let text = "version = 1\nstate-dir = \"state\"\n[policy.p]\noffline-ksk = true\nkeys = [{ role = \"ksk\", lifetime = 0, \
            algorithm = 13 }, { role = \"zsk\", lifetime = 0, algorithm = 13 }]\n\
            [[catalog]]\nzone = \"cat.test\"\nfile = \"cat.zone\"\ntemplate = \"t.toml\"\n";
        let config = keystore::config::Config::parse(text.as_bytes(), &dir.path().join("main.toml"));
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let now = || Timestamp::from_secs(1_800_000_000);
        let moment = move || Moment { wall: now(), boot: Duration::from_secs(1) };
        let (fence, clock): (_, Clock) = (Fence::closed(moment), Arc::new(now));
        let metrics = metrics::Metrics::new().expect("families");
        let catalogs = crate::runtime::CatalogKeeper::start(&metrics, Arc::clone(&clock), fence.clone())
            .expect("a thread");
        catalogs.take(&config, &crate::transfer::TransferKeys::default(), Vec::new());
        let changes = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&changes);
        let changed: OnChange = Arc::new(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
        let follower = CatalogFollower::new(Handle::current(), clock, fence.clone(), changed);
        follower.follow(catalogs.taken());
        let path = catalogs.taken()[0].path.clone();
        let began = std::time::Instant::now();
        let until = async |what: &str, is: &dyn Fn() -> bool| {
            while !is() {
                assert!(began.elapsed() < Duration::from_secs(60), "{what}");
                sleep(Duration::from_millis(10)).await;
            }
        };
        let faults = follower.faults();
        until("the fault is told", &|| faults.all() == [(name(), CatalogFollowFault::NoLease)]).await;
        assert!(!path.exists() && changes.load(std::sync::atomic::Ordering::SeqCst) == 0);
        fence.open(moment(), Duration::from_secs(60));
        // What changes is looked at sooner than what is tried again.
        zone(dir.path(), "version TXT \"2\"\na.zones PTR a.test.\nb.zones PTR b.test.\n");
        until("it is kept", &|| path.exists() && changes.load(std::sync::atomic::Ordering::SeqCst) == 1)
            .await;
    }
}
