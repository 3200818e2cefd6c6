//! The catalog zones (RFC 9432) that this host makes: which zones stand in each, their serials, and who is told. Those that it takes zones from
//! are here as far as NOTIFY comes for them; `CatalogFollower` follows them.
//!
//! ```text
//! configuration ─┐
//!                ├─ members ─▶ on disk, with the serial ─▶ PlainVersion ─▶ AXFR, IXFR, NOTIFY
//! served zones ──┘
//! ```
//!
//! A zone comes into a catalog when its first version is served, so that no secondary asks in vain, and stays until it is not configured any
//! more. What stands in a catalog is on disk before it is served: a restart serves the same version again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use keystore::catalog::Catalog;
use keystore::catalog::kept::{KeptCatalog, is_damage};
use keystore::config::catalog::{self as settings, CatalogConfig, TakenCatalog};
use keystore::config::zone_files::release;
use keystore::config::{Config, ZoneConfig};
use keystore::dns::Name;
use keystore::durable;
use keystore::pair::Fence;
use keystore::shared::Shared;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::condition::ConditionId;

use super::served::SignerZone;
use crate::answer::{AnswerOutcome, Arrival, Context, answer_not_ready};
use crate::clock::Clock;
use crate::content::ChangeQueue;
use crate::difference::RecordList;
use crate::hosted::Responder;
use crate::transfer::request::{Way, answer_private};
use crate::transfer::version::{PlainVersion, TransferVersion};
use crate::transfer::{TransferKeys, TransferSettings, Transferable, ZoneTransfers};

/// Pause between two looks at which zones are served.
const LOOK: Duration = Duration::from_secs(1);
/// What is behind the serial in the SOA record: refresh, retry, expire, minimum, in seconds, as other producers have it.
const SOA_TIMES: [u32; 4] = [3600, 600, 2_147_483_646, 0];
/// The name `invalid.`, for the names of a SOA record.
const INVALID: &[u8] = b"\x07invalid\x00";

/// A catalog zone, as secondaries see it.
pub struct CatalogZone {
    origin: Name,
    version: ArcSwapOption<PlainVersion>,
    transfers: Arc<ZoneTransfers>,
    changes: Arc<ChangeQueue>,
    clock: Clock,
}

impl CatalogZone {
    fn new(origin: Name, metrics: &Metrics, clock: Clock) -> Self {
        let transfers = Arc::new(ZoneTransfers::new(metrics, origin.zone_label()));
        Self { origin, version: ArcSwapOption::empty(), transfers, changes: Arc::default(), clock }
    }

    /// Its transfers to secondaries.
    #[must_use]
    pub fn transfers(&self) -> &Arc<ZoneTransfers> {
        &self.transfers
    }

    fn publish(&self, version: Arc<PlainVersion>) {
        self.transfers.record_plain(self.version.load().as_deref(), &version);
        self.version.store(Some(Arc::clone(&version)));
        self.transfers.announce(&TransferVersion::Plain(version));
    }

    fn source(&self) -> Transferable {
        Transferable {
            version: self.version.load_full().map(TransferVersion::Plain),
            transfers: Arc::clone(&self.transfers),
            changes: Arc::clone(&self.changes),
            expire: None,
            is_private: true,
            clock: Arc::clone(&self.clock),
        }
    }
}

impl Responder for CatalogZone {
    fn origin(&self) -> &Name {
        &self.origin
    }

    fn respond(&self, query: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> AnswerOutcome {
        let client = std::net::SocketAddr::new(arrival.client, 0);
        let way = Way { client, peer: None, transport: arrival.transport, max_udp: arrival.max_udp };
        let answered = answer_private(&self.source(), &self.origin, query, (way, arrival.is_signed), out);
        answered.unwrap_or_else(|| {
            let context = Context { arrival: *arrival, now: (self.clock)() };
            answer_not_ready(&self.origin, query, &context, out)
        })
    }

    fn transferable(&self) -> Option<Transferable> {
        Some(self.source())
    }
}

/// A catalog that zones are taken from.
#[derive(Clone)]
pub struct FollowedCatalog {
    /// Where NOTIFY comes for it, with what transfers of it need.
    pub zone: Arc<CatalogZone>,
    /// What the configuration says of it.
    pub config: TakenCatalog,
    /// The file that keeps its last version that could be used.
    pub path: PathBuf,
}

/// How a catalog stands that this host makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeCatalogState {
    /// Its name.
    pub catalog: Name,
    /// Zones that stand in it.
    pub zones: usize,
    /// Those of them that are not of it any more, and are held.
    pub held: Vec<Name>,
    /// Why it could not be kept on disk the last time.
    pub failure: Option<String>,
}

/// The catalogs of a signer, with the thread that keeps them. Dropping it ends the thread.
pub(crate) struct CatalogKeeper {
    state: Arc<Mutex<State>>,
    metrics: Metrics,
    clock: Clock,
    wake: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    catalogs: HashMap<Name, Kept>,
    taken: HashMap<Name, FollowedCatalog>,
    zones: Zones,
    is_stopping: bool,
}

/// What catalogs are made of.
#[derive(Default)]
struct Zones {
    served: Vec<(Shared<ZoneConfig>, Arc<SignerZone>)>,
    /// Zones that the start has left out: they have not gone.
    left_out: Vec<Name>,
    /// Zones that were removed by name, so that they may leave.
    removed: HashSet<Name>,
}

/// A catalog, and what is on disk of it.
struct Kept {
    config: CatalogConfig,
    path: PathBuf,
    zone: Arc<CatalogZone>,
    /// `None` before the file was read, or where there is none that can be used.
    on_disk: Option<KeptCatalog>,
    /// The file was looked for.
    is_read: bool,
    /// Why it could not be kept the last time.
    failure: Option<String>,
    state_dir: PathBuf,
}

impl CatalogKeeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(metrics: &Metrics, clock: Clock, fence: Fence) -> io::Result<Self> {
        let state: Arc<Mutex<State>> = Arc::default();
        // One message says all: look.
        let (wake, woken) = sync_channel(1);
        let (kept, time) = (Arc::clone(&state), Arc::clone(&clock));
        let thread = std::thread::Builder::new().name("catalogs".to_owned());
        let thread = thread.spawn(move || keep(&kept, &time, &fence, &woken))?;
        Ok(Self { state, metrics: metrics.clone(), clock, wake, thread: Some(thread) })
    }

    /// Has the catalogs that `config` has, of these zones.
    pub fn take(
        &self,
        config: &Config,
        keys: &TransferKeys,
        zones: Vec<(Shared<ZoneConfig>, Arc<SignerZone>)>,
    ) {
        let mut state = lock(&self.state);
        let mut before = std::mem::take(&mut state.catalogs);
        for wanted in &config.catalogs.made {
            let kept = before.remove(&wanted.zone);
            let mut kept =
                kept.unwrap_or_else(|| Kept::new(wanted, &config.state_dir, &self.metrics, &self.clock));
            kept.config = wanted.clone();
            kept.zone.transfers.set(TransferSettings::of_catalog(wanted, keys));
            state.catalogs.insert(wanted.zone.clone(), kept);
        }
        let mut before = std::mem::take(&mut state.taken);
        for wanted in &config.catalogs.taken {
            let new =
                || Arc::new(CatalogZone::new(wanted.zone.clone(), &self.metrics, Arc::clone(&self.clock)));
            let zone = before.remove(&wanted.zone).map_or_else(new, |known| known.zone);
            zone.transfers.set(TransferSettings::of_taken_catalog(wanted, config.transfer.incoming, keys));
            let path = settings::taken_path(&config.state_dir, &wanted.zone);
            let followed = FollowedCatalog { zone, config: wanted.clone(), path };
            state.taken.insert(wanted.zone.clone(), followed);
        }
        let State { zones: Zones { served, left_out, removed }, .. } = &mut *state;
        removed.retain(|zone| !config.zones.iter().any(|known| known.name == *zone));
        *left_out = config.zone_files.left_out.iter().map(|left| left.zone.clone()).collect();
        *served = zones;
        drop(state);
        // A message that waits already says the same.
        let _ = self.wake.try_send(());
    }

    /// A zone is removed by name: it leaves the catalogs with the next [`Self::take`] that has it no more, however many others have left.
    pub fn release(&self, zone: &Name) {
        lock(&self.state).zones.removed.insert(zone.clone());
    }

    /// The catalog zones.
    pub fn zones(&self) -> Vec<Arc<CatalogZone>> {
        let state = lock(&self.state);
        let taken = state.taken.values().map(|followed| Arc::clone(&followed.zone));
        state.catalogs.values().map(|kept| Arc::clone(&kept.zone)).chain(taken).collect()
    }

    /// How each catalog stands that this host makes.
    pub fn made(&self) -> Vec<MadeCatalogState> {
        let state = lock(&self.state);
        let state_of = |kept: &Kept| MadeCatalogState {
            catalog: kept.config.zone.clone(),
            zones: kept.on_disk.as_ref().map_or(0, |on_disk| on_disk.catalog.members().len()),
            held: kept.on_disk.iter().flat_map(|on_disk| on_disk.held.iter().cloned()).collect(),
            failure: kept.failure.clone(),
        };
        state.catalogs.values().map(state_of).collect()
    }

    /// The catalogs that zones are taken from.
    pub fn taken(&self) -> Vec<FollowedCatalog> {
        lock(&self.state).taken.values().cloned().collect()
    }
}

impl Drop for CatalogKeeper {
    fn drop(&mut self) {
        lock(&self.state).is_stopping = true;
        let _ = self.wake.try_send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(state: &Mutex<State>, clock: &Clock, fence: &Fence, woken: &Receiver<()>) {
    loop {
        if woken.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        let mut state = lock(state);
        if state.is_stopping {
            return;
        }
        step(&mut state, clock, fence);
    }
}

/// Looks at each catalog of which this host may publish versions: of two hosts only the active one may.
fn step(state: &mut State, clock: &Clock, fence: &Fence) {
    let State { catalogs, zones, .. } = state;
    for kept in catalogs.values_mut().filter(|kept| fence.permits_zone(&kept.config.zone)) {
        let before = kept.held();
        let looked = kept.look(zones, clock());
        if kept.held() > before {
            tracing::error!(catalog = %kept.config.zone, zones = kept.held(), condition = %ConditionId::CatalogHeld, "too many zones would leave the catalog at once; they stay in it until they are configured again, or are released by `offline-ksk zone release`");
        }
        let failure = looked.err().map(|error| format!("{}: {error}", kept.path.display()));
        if let Some(why) = failure.as_ref().filter(|_| kept.failure.is_none()) {
            tracing::error!(catalog = %kept.config.zone, condition = %ConditionId::CatalogFailing, "the catalog cannot be kept; what is served of it stays, and it is tried again: {why}");
        }
        kept.failure = failure;
    }
}

impl Kept {
    fn new(config: &CatalogConfig, state_dir: &Path, metrics: &Metrics, clock: &Clock) -> Self {
        Self {
            config: config.clone(),
            path: settings::path(state_dir, &config.zone),
            zone: Arc::new(CatalogZone::new(config.zone.clone(), metrics, Arc::clone(clock))),
            on_disk: None,
            is_read: false,
            failure: None,
            state_dir: state_dir.to_owned(),
        }
    }

    /// How many zones stay though they are not of the catalog any more.
    fn held(&self) -> usize {
        self.on_disk.as_ref().map_or(0, |kept| kept.held.len())
    }

    /// Serves what is on disk, and then what stands in the catalog now.
    fn look(&mut self, zones: &Zones, now: Timestamp) -> io::Result<()> {
        if !self.is_read {
            self.on_disk = read(&self.path, &self.config.zone)?;
            self.is_read = true;
            if let Some(kept) = &self.on_disk {
                self.serve(kept)?;
            }
        }
        let mut wanted = Catalog::default();
        for (zone, served) in zones.served.iter().filter(|(zone, _)| self.config.has(zone)) {
            // Where nothing is known of the catalog before, secondaries may have every zone of it: none is taken from them.
            let is_member =
                self.on_disk.as_ref().is_none_or(|kept| kept.catalog.members().contains_key(&zone.name));
            if is_member || served.is_signed() {
                wanted.put(&zone.name, zone.member.group.as_deref(), zone.member.coo.as_ref());
            }
        }
        let next = match &self.on_disk {
            Some(before) => {
                zones.left_out.iter().for_each(|zone| wanted.keep(zone, &before.catalog));
                // What cannot be read releases nothing.
                let mut released = release::read(&self.state_dir, now).unwrap_or_default();
                released.extend(zones.removed.iter().cloned());
                before.follow(wanted, &released, now)
            }
            None if !zones.left_out.is_empty() => {
                let what = "there is no file of it that can be used, and the start has left zones out; it is made when these are back or removed";
                return Err(io::Error::other(what));
            }
            None => KeptCatalog::first(wanted, now),
        };
        let before = self.on_disk.as_ref();
        if before.is_some_and(|before| (&before.catalog, &before.held) == (&next.catalog, &next.held)) {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            durable::create_dir_durable(folder, 0o755)?;
        }
        next.write(&self.path)?;
        if before.is_none_or(|before| before.catalog != next.catalog) {
            self.serve(&next)?;
            let (serial, zones) = (next.serial, next.catalog.members().len());
            tracing::info!(catalog = %self.config.zone, serial, zones, "the catalog has changed");
        }
        self.on_disk = Some(next);
        Ok(())
    }

    fn serve(&self, kept: &KeptCatalog) -> io::Result<()> {
        let version = version(&self.config.zone, &kept.catalog, kept.serial);
        self.zone.publish(Arc::new(version.ok_or_else(|| io::Error::other("its name is too long"))?));
        Ok(())
    }
}

/// What is on disk. A file that is damaged is set aside.
fn read(path: &Path, catalog: &Name) -> io::Result<Option<KeptCatalog>> {
    match KeptCatalog::read(path) {
        Err(error) if is_damage(&error) => {
            let aside = aside(path);
            durable::rename(path, &aside)?;
            tracing::error!(%catalog, file = %path.display(), aside = %aside.display(), %error, "what was kept of the catalog is damaged; it is set aside, and the catalog is made anew of all zones that are configured");
            Ok(None)
        }
        read => read,
    }
}

/// Where a damaged file of a catalog is put. The files of catalogs end with the dot of their names, so that this is none of them.
fn aside(path: &Path) -> PathBuf {
    let mut aside = path.as_os_str().to_owned();
    aside.push("damaged");
    aside.into()
}

fn version(origin: &Name, catalog: &Catalog, serial: u32) -> Option<PlainVersion> {
    let mut soa = [INVALID, INVALID].concat();
    for number in [&[serial][..], &SOA_TIMES].concat() {
        soa.extend_from_slice(&number.to_be_bytes());
    }
    let records = catalog.records(origin).ok()?;
    let records = records.into_iter().map(|record| (record.owner, record.rtype, 0, record.rdata));
    PlainVersion::new((origin.canonical_wire(), 0, soa), RecordList::new(records))
}

#[cfg(test)]
mod tests;
