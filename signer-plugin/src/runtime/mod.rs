//! The life of served zones: bundles and ZSKs switch at their second, signatures are renewed, the zone file is read again.
//!
//! ```text
//! accepted/ZONE ──read_current, parse_skr, verify──▶ schedule ─bundle at now─┐
//! K*.key .private ──find, load_private──▶ ZSKs ─────active at now────────────┼─▶ sign ─▶ self check ─▶ written down ─▶ published
//! zone file ──Zone::load──▶ zone ────────────────────────────────────────────┘
//! ```
//!
//! Each version is written down before it is served, and a restart serves it again before it reads anything else.
//!
//! [`ZoneRuntime::step`] does all of it for one zone and one point in time; [`Signer`] steps it by the clock. Whatever fails is
//! reported and tried again, and what was served before stays.

mod authorities;
mod catalogs;
mod certificate;
mod condition;
mod error;
mod events;
mod folders;
mod gate;
mod keyring;
mod largest_ttl;
mod lock;
mod publication;
mod roll;
mod salt;
mod schedule;
pub(crate) mod serial;
mod served;
mod settings;
mod setup;
mod skr;
mod source;
mod status;
mod threads;
mod watch;
mod zone;

#[cfg(test)]
mod tests;

pub use crate::clock::Clock;
pub use authorities::authority_files;
pub use error::{AddZoneError, ReloadError, StartError};
pub use gate::{ReleaseError, release};
pub use keyring::Keyring;
pub use lock::SignerLock;
pub use serial::{last_serial, raise_serial};
pub use served::{ServedState, SignerZone, ZoneWork};
pub use setup::{ContentRules, ContentSource, RollDelays, VersionRules, ZoneSetup};
pub use status::{StatusChanges, ZoneChange, ZoneEvent, ZoneEventKind, ZoneStatus};
pub use zone::ZoneRuntime;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use keystore::config::{Config, ZoneConfig};
use keystore::dns::Name;
use keystore::pair::Fence;
use keystore::shared::Shared;
use metrics::Metrics;
use metrics::health::report::EndpointReport;
use metrics::health::revision::Revision;

use crate::hosted::{Hosted, Responder};
use crate::protocol::SharedSettings;
use crate::transfer::{self, TransferKeys, TransferSettings, ZoneTransfers};
pub(crate) use catalogs::CatalogKeeper;
pub use catalogs::{CatalogZone, FollowedCatalog, MadeCatalogState};
use events::{Changed, FileEvents};
use schedule::{ThreadCommand, ThreadContext};
use settings::{SettingsKeeper, SettingsWatch};
use status::StatusFeed;
use threads::Threads;

/// Zones at work, stepped by threads of their own. Dropping it ends them; what is published stays served by whoever holds it.
pub struct Signer {
    hosted: Hosted,
    metrics: Metrics,
    clock: Clock,
    threads: Arc<Threads>,
    /// Held while zones come and go.
    in_use: Mutex<InUse>,
    zones: Mutex<HashMap<Name, ZoneAtWork>>,
    feed: StatusFeed,
    /// Wakes a zone when the kernel tells that its files have changed.
    events: Mutex<FileEvents>,
    settings: Arc<SettingsKeeper>,
    /// The catalog zones that are made of the zones.
    catalogs: CatalogKeeper,
    /// Changes with how the zones stand.
    revision: Revision,
    /// When the zones may publish versions.
    fence: Fence,
    /// Ends with this.
    _settings_watch: SettingsWatch,
}

/// The configuration in use.
struct InUse {
    /// With the zones that were added, and without those that were removed.
    config: Config,
    /// The zones that were added and are in no configuration that was given as a whole.
    added: HashSet<Name>,
    /// The TSIG keys of its files, as they were read when it was taken.
    keys: TransferKeys,
}

/// A zone, and where it is at work.
struct ZoneAtWork {
    setup: Shared<ZoneSetup>,
    served: Arc<SignerZone>,
}

impl Signer {
    /// Starts to sign every zone of `config` that has a zone file. Returns at once; a zone answers SERVFAIL until its first
    /// version is made.
    ///
    /// # Errors
    /// When another signer is at work in the `state-dir`, or the system gives no thread.
    pub fn start(config: &Config, metrics: &Metrics, clock: Clock) -> Result<Self, StartError> {
        Self::start_fenced(config, metrics, clock, Fence::default())
    }

    /// The same for one host of two: versions are published only while `fence` permits it. What is served stays served without it, updates
    /// are answered with SERVFAIL.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_fenced(
        config: &Config,
        metrics: &Metrics,
        clock: Clock,
        fence: Fence,
    ) -> Result<Self, StartError> {
        let lock = SignerLock::take(&config.state_dir)?;
        let all_watched = Arc::default();
        let context = ThreadContext {
            metrics: metrics.clone(),
            clock: Arc::clone(&clock),
            folders: Arc::default(),
            found_right: Arc::default(),
            stop: Arc::default(),
            all_watched: Arc::clone(&all_watched),
            _lock: Arc::new(lock),
        };
        // Signing itself uses all cores; the threads only keep a large zone from holding up the small ones.
        let threads = Arc::new(Threads::new(context, 2 * available_parallelism().map_or(1, usize::from)));
        threads.grow(config.zones.len().max(1))?;
        let told = Arc::clone(&threads);
        let tell = move |changed| match changed {
            Changed::Zone(name) => told.send(&name, ThreadCommand::Look(name.clone())),
            Changed::Anything => told.send_to_all(|| ThreadCommand::LookAtAll),
        };
        let settings = Arc::new(SettingsKeeper::new(metrics, Arc::clone(&clock)));
        let catalogs = CatalogKeeper::start(metrics, Arc::clone(&clock), fence.clone())?;
        let signer = Self {
            hosted: Hosted::default().with_settings(settings.shared()),
            metrics: metrics.clone(),
            clock,
            threads,
            in_use: Mutex::new(InUse {
                config: config.clone(),
                added: HashSet::new(),
                keys: TransferKeys::default(),
            }),
            zones: Mutex::default(),
            catalogs,
            feed: StatusFeed::default(),
            events: Mutex::new(FileEvents::new(all_watched, tell)),
            _settings_watch: SettingsWatch::start(Arc::clone(&settings))?,
            settings,
            revision: Revision::default(),
            fence,
        };
        signer.take(&mut signer.in_use());
        Ok(signer)
    }

    /// Takes a new configuration: zones that are new begin, zones that are gone are not answered for any more, zones whose
    /// settings changed work on with the new ones. What is served of them stays until there is something newer.
    ///
    /// Zones that [`Signer::add_zone`] has added stay, until [`Signer::remove_zone`] ends with them. Where `config` has one of them, its settings are
    /// taken from there, and it goes when a later configuration has it no more.
    ///
    /// # Errors
    /// When the signer ends, or `state-dir` is another one than at the start: nothing changes then.
    pub fn reload(&self, config: &Config) -> Result<(), ReloadError> {
        let mut in_use = self.in_use();
        if self.threads.are_ending() {
            return Err(ReloadError::Ending);
        }
        if config.state_dir != in_use.config.state_dir {
            let (at_work, wanted) = (in_use.config.state_dir.clone(), config.state_dir.clone());
            return Err(ReloadError::OtherStateDir { at_work, wanted });
        }
        let has: HashSet<&Name> = config.zones.iter().map(|zone| &zone.name).collect();
        in_use.added.retain(|name| !has.contains(name));
        let InUse { config: before, added, .. } = &mut *in_use;
        let added: Vec<_> = before.zones.iter().filter(|zone| added.contains(&zone.name)).cloned().collect();
        before.clone_from(config);
        before.zones.extend(added);
        self.take(&mut in_use);
        Ok(())
    }

    /// Begins with one zone more, which a [`Signer::reload`] leaves; one of the same name works on with these settings, and stays one of the
    /// configuration if it is.
    ///
    /// # Errors
    /// When the signer ends, the zone has no content, its name is that of a catalog of the configuration, or it names a TSIG key that no file of
    /// the configuration in use has: nothing changes then.
    pub fn add_zone(&self, zone: Shared<ZoneConfig>) -> Result<(), AddZoneError> {
        let mut in_use = self.in_use();
        if self.threads.are_ending() {
            return Err(AddZoneError::Ending { zone: zone.name.clone() });
        }
        if ZoneSetup::from_config(&in_use.config, &zone).is_none() {
            return Err(AddZoneError::NothingToServe { zone: zone.name.clone() });
        }
        if in_use.config.catalogs.names().any(|catalog| *catalog == zone.name) {
            return Err(AddZoneError::Catalog { zone: zone.name.clone() });
        }
        if let Some(error) = zone.unknown_keys(in_use.keys.keys()).next() {
            return Err(AddZoneError::Key(error));
        }
        let InUse { config, added, .. } = &mut *in_use;
        let before = config.zones.len();
        config.zones.retain(|known| known.name != zone.name);
        if config.zones.len() == before {
            added.insert(zone.name.clone());
        }
        config.zones.push(zone);
        self.take(&mut in_use);
        Ok(())
    }

    /// Ends with a zone: its names are not answered for any more, and its state stays on the disk, for when it comes back. One that a later
    /// [`Signer::reload`] has in its configuration is such a one. False when there is no such zone.
    pub fn remove_zone(&self, zone: &Name) -> bool {
        let mut in_use = self.in_use();
        let InUse { config, added, .. } = &mut *in_use;
        let before = config.zones.len();
        config.zones.retain(|known| known.name != *zone);
        added.remove(zone);
        let is_known = config.zones.len() < before;
        if is_known {
            self.catalogs.release(zone);
            self.take(&mut in_use);
        }
        is_known
    }

    /// The configuration in use, with the zones that were added and without those that were removed: for a loader in the same process.
    #[must_use]
    pub fn config(&self) -> Config {
        self.in_use().config.clone()
    }

    fn in_use(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the zones that the configuration has at work, and no others.
    fn take(&self, in_use: &mut InUse) {
        let InUse { config, keys, .. } = in_use;
        let config = &*config;
        let catalogs = config.catalogs.names();
        let stay: HashSet<&Name> = config.zones.iter().map(|zone| &zone.name).chain(catalogs).collect();
        let is_gone = |zone: &Arc<dyn Responder>| !stay.contains(zone.origin());
        if self.hosted.zones().iter().any(is_gone) {
            // Before the settings, which know nothing any more of who may ask for a zone that has left.
            self.hosted.replace(self.hosted.zones().into_iter().filter(|zone| !is_gone(zone)));
        }
        self.settings.take(config);
        if let Err(error) = self.threads.grow(config.zones.len()) {
            tracing::warn!(%error, "the system gives no more threads; the zones share those that there are");
        }
        let mut zones = self.zones();
        let setups = config.zones.iter().filter_map(|zone| ZoneSetup::from_config(config, zone));
        let setups: Vec<Shared<ZoneSetup>> = setups.map(Into::into).collect();
        let names: HashSet<&Name> = setups.iter().map(|setup| &setup.name).collect();
        let gone: Vec<Name> = zones.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            if let Some(zone) = zones.remove(&name) {
                // A step under way tells nothing of the zone after this.
                zone.served.end_feed();
                zone.served.changes().close();
                self.feed.tell_removed(&name);
            }
            self.threads.leave(name);
        }
        *keys = transfer::load_keys(config);
        let keys = &*keys;
        let configured: HashMap<&Name, &Shared<ZoneConfig>> =
            config.zones.iter().map(|zone| (&zone.name, zone)).collect();
        for setup in setups {
            let served = match zones.get(&setup.name) {
                Some(zone) if zone.setup == setup => continue,
                Some(zone) => Arc::clone(&zone.served),
                None => {
                    self.threads.take(&setup.name);
                    let served = SignerZone::new(setup.name.clone(), &self.metrics, Arc::clone(&self.clock));
                    let served = served.reporting_to(self.revision.clone()).with_feed(self.feed.clone());
                    let served = served.with_fence(self.fence.clone());
                    Arc::new(served)
                }
            };
            // Before its first version is served: what follows on it is told by differences.
            if let Some(zone) = configured.get(&setup.name) {
                served.transfers().set(TransferSettings::of_zone(zone, config.transfer.incoming, keys));
            }
            let (threads, name) = (Arc::clone(&self.threads), setup.name.clone());
            served.changes().wake_by(move || threads.send(&name, ThreadCommand::TakeChanges(name.clone())));
            self.threads.send(&setup.name, ThreadCommand::Take(setup.clone(), Arc::clone(&served)));
            zones.insert(setup.name.clone(), ZoneAtWork { setup, served });
        }
        for zone in &config.zones {
            if let Some(at_work) = zones.get(&zone.name) {
                at_work.served.transfers().set(TransferSettings::of_zone(
                    zone,
                    config.transfer.incoming,
                    keys,
                ));
            }
        }
        // Before the first looks at new zones have begun a change may pass unseen, and after that none does.
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.follow(zones.values().map(|zone| &*zone.setup));
        let served = |zone: &Shared<ZoneConfig>| {
            zones.get(&zone.name).map(|at_work| (zone.clone(), Arc::clone(&at_work.served)))
        };
        self.catalogs.take(config, keys, config.zones.iter().filter_map(served).collect());
        let catalogs = self.catalogs.zones().into_iter().map(|catalog| catalog as Arc<dyn Responder>);
        let zones = zones.values().map(|zone| Arc::clone(&zone.served) as Arc<dyn Responder>);
        self.hosted.replace(zones.chain(catalogs));
    }

    fn zones(&self) -> MutexGuard<'_, HashMap<Name, ZoneAtWork>> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a zone stands, as of its last step; `None` when the signer has no zone with this apex. A zone without a step so far is not ready
    /// and has no error.
    #[must_use]
    pub fn status(&self, zone: &Name) -> Option<ZoneStatus> {
        Some(self.zones().get(zone)?.served.status())
    }

    /// Tells of each zone now, and then of each change: of its status, and that it has come or gone.
    ///
    /// ```no_run
    /// # async fn watch(signer: &offline_ksk_signer::runtime::Signer) {
    /// use offline_ksk_signer::runtime::ZoneChange;
    /// let mut changes = signer.subscribe();
    /// while let Some(change) = changes.next().await {
    ///     match change {
    ///         ZoneChange::Status(status) => println!("{}: ready {}, serial {:?}", status.zone, status.ready, status.serial),
    ///         ZoneChange::Removed(zone) => println!("{zone}: removed"),
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> StatusChanges {
        self.feed.subscribe(|| self.zones().values().map(|zone| zone.served.status()).collect())
    }

    /// The zones, to be answered for by [`crate::border::SignerHandler`] under the settings of the configuration; follows [`Signer::reload`],
    /// [`Signer::add_zone`] and [`Signer::remove_zone`].
    #[must_use]
    pub fn hosted(&self) -> Hosted {
        self.hosted.clone()
    }

    /// What the configuration says of queries, for [`Hosted::new`]; [`Signer::hosted`] has it already.
    /// Follows [`Signer::reload`] and the files that the configuration names.
    #[must_use]
    pub fn settings(&self) -> SharedSettings {
        self.settings.shared()
    }

    /// How the files stand that queries are answered with: secrets of cookies, the certificate of DNS over TLS.
    #[must_use]
    pub fn files_of_queries(&self) -> EndpointReport {
        self.settings.standing()
    }

    /// These change with [`Self::states`] and [`Self::files_of_queries`], as far as somebody may have to act on it.
    #[must_use]
    pub fn revisions(&self) -> [Revision; 2] {
        [self.revision.clone(), self.settings.revision()]
    }

    /// The transfers of each zone and of each catalog.
    #[must_use]
    pub fn transfers(&self) -> Vec<(Name, Arc<ZoneTransfers>)> {
        let catalogs = self.catalogs.zones();
        let catalogs =
            catalogs.iter().map(|catalog| (catalog.origin().clone(), Arc::clone(catalog.transfers())));
        let zones = self.zones();
        let zones = zones.iter().map(|(name, zone)| (name.clone(), Arc::clone(zone.served.transfers())));
        zones.chain(catalogs).collect()
    }

    /// The zones that come from primaries, and what each is made from.
    #[must_use]
    pub fn from_primaries(&self) -> Vec<(Arc<SignerZone>, Shared<ZoneSetup>)> {
        let zones = self.zones();
        let zones = zones.values().filter(|zone| zone.setup.source == ContentSource::Primaries);
        zones.map(|zone| (Arc::clone(&zone.served), zone.setup.clone())).collect()
    }

    /// How each catalog stands that this host makes.
    #[must_use]
    pub fn made_catalogs(&self) -> Vec<MadeCatalogState> {
        self.catalogs.made()
    }

    /// The catalogs that zones are taken from, for whoever follows them.
    #[must_use]
    pub fn taken_catalogs(&self) -> Vec<FollowedCatalog> {
        self.catalogs.taken()
    }

    /// How each zone stands, as of its last step; a zone without a step so far stands as one that was not read.
    #[must_use]
    pub fn states(&self) -> Vec<(Name, ServedState)> {
        self.zones().iter().map(|(name, zone)| (name.clone(), zone.served.state())).collect()
    }

    /// Looks at the files of all zones now, because an SKR was accepted. Without it files are looked at when the kernel tells that they have
    /// changed, and every second, with many zones less often: each thread looks at 20 zones a second, or at 200 where the kernel
    /// tells nothing.
    pub fn notify_accept(&self) {
        self.threads.send_to_all(|| ThreadCommand::LookAtAll);
    }

    /// The same for one zone.
    pub fn notify_accept_of(&self, zone: &Name) {
        self.threads.send(zone, ThreadCommand::Look(zone.clone()));
    }

    /// Has the threads end, each after the step under way, and does not wait for that. No zone and no configuration is taken after this, and
    /// updates that no step is at are answered with SERVFAIL.
    pub fn begin_shutdown(&self) {
        // An addition or a reload that is under way is finished before.
        let _in_use = self.in_use();
        self.threads.begin_stop();
        for zone in self.zones().values() {
            zone.served.changes().close();
        }
    }

    /// Ends the threads, each after the step under way. One that is at work on a zone whose ZSK is in a token is waited for for two seconds; after
    /// that it ends by itself, behind its step. Until then no other signer starts on the same `state-dir` ([`StartError::InUse`]).
    pub fn shutdown(self) {
        drop(self);
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("hosted", &self.hosted).finish_non_exhaustive()
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        self.begin_shutdown();
        self.threads.join();
        self.feed.close();
    }
}
