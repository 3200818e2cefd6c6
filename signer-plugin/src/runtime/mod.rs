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

mod condition;
mod events;
mod folders;
mod gate;
mod keyring;
mod largest_ttl;
mod publication;
mod retry;
mod roll;
mod salt;
mod schedule;
pub(crate) mod serial;
mod served;
mod settings;
mod setup;
mod skr;
mod source;
mod watch;
mod zone;

#[cfg(test)]
mod tests;

pub use crate::clock::Clock;
pub use gate::{ReleaseError, release};
pub use keyring::Keyring;
pub use served::{ServedState, SignerZone, ZoneWork};
pub use setup::{ContentRules, ContentSource, RollDelays, VersionRules, ZoneSetup};
pub use zone::ZoneRuntime;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, available_parallelism};

use keystore::config::{Config, ZoneConfig};
use keystore::dns::Name;
use keystore::shared::Shared;
use metrics::Metrics;
use metrics::health::report::EndpointReport;
use metrics::health::revision::Revision;

use crate::hosted::{Hosted, Responder};
use crate::protocol::SharedSettings;
use crate::transfer::{self, TransferSettings, ZoneTransfers};
use events::{Changed, FileEvents};
use schedule::{Command, Schedule, ThreadContext};
use settings::{SettingsKeeper, SettingsWatch};

/// Zones at work, stepped by threads of their own. Dropping it ends them; what is published stays served by whoever holds it.
pub struct Signer {
    hosted: Hosted,
    metrics: Metrics,
    clock: Clock,
    stop: Arc<AtomicBool>,
    commands: Vec<Sender<Command>>,
    threads: Vec<JoinHandle<()>>,
    zones: Mutex<HashMap<Name, ZoneAtWork>>,
    /// Index of the thread of each zone that was ever at work: a zone that comes back finds the thread that may still be busy with it.
    thread_of: Arc<Mutex<HashMap<Name, usize>>>,
    /// Wakes a zone when the kernel tells that its files have changed.
    events: Mutex<FileEvents>,
    settings: Arc<SettingsKeeper>,
    /// Changes with how the zones stand.
    revision: Revision,
    /// Ends with this.
    _settings_watch: SettingsWatch,
}

/// A zone, and where it is at work.
struct ZoneAtWork {
    setup: Shared<ZoneSetup>,
    served: Arc<SignerZone>,
    /// Index of its thread.
    thread: usize,
}

impl Signer {
    /// Starts to sign every zone of `config` that has a zone file. Returns at once; a zone answers SERVFAIL until its first
    /// version is made.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(config: &Config, metrics: &Metrics, clock: Clock) -> std::io::Result<Self> {
        // Signing itself uses all cores; the threads only keep a large zone from holding up the small ones.
        let count = (2 * available_parallelism().map_or(1, usize::from)).min(config.zones.len()).max(1);
        let all_watched = Arc::default();
        let shared = ThreadContext {
            metrics: metrics.clone(),
            clock: Arc::clone(&clock),
            folders: Arc::default(),
            stop: Arc::default(),
            all_watched: Arc::clone(&all_watched),
        };
        let (mut commands, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (sender, commanded) = channel();
            let schedule = Schedule::new(shared.clone());
            let thread = std::thread::Builder::new().name("signer".to_owned());
            threads.push(thread.spawn(move || schedule.run(&commanded))?);
            commands.push(sender);
        }
        let thread_of: Arc<Mutex<HashMap<Name, usize>>> = Arc::default();
        let (told, known) = (commands.clone(), Arc::clone(&thread_of));
        let tell = move |changed| match changed {
            Changed::Zone(name) => {
                let thread = known.lock().unwrap_or_else(PoisonError::into_inner).get(&name).copied();
                if let Some(thread) = thread.and_then(|thread| told.get(thread)) {
                    // A thread that is gone has said why.
                    let _ = thread.send(Command::Look(name));
                }
            }
            Changed::Anything => told.iter().for_each(|thread| drop(thread.send(Command::LookAtAll))),
        };
        let settings = Arc::new(SettingsKeeper::new(metrics, Arc::clone(&clock)));
        let signer = Self {
            hosted: Hosted::default(),
            metrics: metrics.clone(),
            clock,
            stop: shared.stop,
            commands,
            threads,
            zones: Mutex::default(),
            thread_of,
            events: Mutex::new(FileEvents::new(all_watched, tell)),
            _settings_watch: SettingsWatch::start(Arc::clone(&settings))?,
            settings,
            revision: Revision::default(),
        };
        signer.reload(config);
        Ok(signer)
    }

    /// Takes a new configuration: zones that are new begin, zones that are gone are not answered for any more, zones whose
    /// settings changed work on with the new ones. What is served of them stays until there is something newer.
    pub fn reload(&self, config: &Config) {
        self.settings.take(config);
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        let setups = config.zones.iter().filter_map(|zone| ZoneSetup::from_config(config, zone));
        let setups: Vec<Shared<ZoneSetup>> = setups.map(Into::into).collect();
        let names: HashSet<&Name> = setups.iter().map(|setup| &setup.name).collect();
        let gone: Vec<Name> = zones.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            if let Some(zone) = zones.remove(&name) {
                self.send(zone.thread, Command::Leave(name));
            }
        }
        let keys = transfer::load_keys(config);
        let configured: HashMap<&Name, &Shared<ZoneConfig>> =
            config.zones.iter().map(|zone| (&zone.name, zone)).collect();
        for setup in setups {
            let (served, thread) = match zones.get(&setup.name) {
                Some(zone) if zone.setup == setup => continue,
                Some(zone) => (Arc::clone(&zone.served), zone.thread),
                None => {
                    let served = SignerZone::new(setup.name.clone(), &self.metrics, Arc::clone(&self.clock));
                    (Arc::new(served.reporting_to(self.revision.clone())), self.thread_of(&setup.name))
                }
            };
            // Before its first version is served: what follows on it is told by differences.
            if let Some(zone) = configured.get(&setup.name) {
                served.transfers().set(TransferSettings::of_zone(zone, &keys));
            }
            let (commands, name) = (self.commands[thread].clone(), setup.name.clone());
            // A thread that is gone has said why.
            served.changes().wake_by(move || drop(commands.send(Command::TakeChanges(name.clone()))));
            self.send(thread, Command::Take(setup.clone(), Arc::clone(&served)));
            zones.insert(setup.name.clone(), ZoneAtWork { setup, served, thread });
        }
        for zone in &config.zones {
            if let Some(at_work) = zones.get(&zone.name) {
                at_work.served.transfers().set(TransferSettings::of_zone(zone, &keys));
            }
        }
        // Before the first looks at new zones have begun a change may pass unseen, and after that none does.
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.follow(zones.values().map(|zone| &*zone.setup));
        self.hosted.replace(zones.values().map(|zone| Arc::clone(&zone.served) as Arc<dyn Responder>));
    }

    /// The thread that a zone is, or is to be, at work on.
    fn thread_of(&self, zone: &Name) -> usize {
        let mut known = self.thread_of.lock().unwrap_or_else(PoisonError::into_inner);
        let next = known.len() % self.commands.len();
        *known.entry(zone.clone()).or_insert(next)
    }

    fn send(&self, thread: usize, command: Command) {
        // A thread that is gone has said why.
        let _ = self.commands[thread].send(command);
    }

    /// The zones, to be answered for by [`crate::border::SignerHandler`]; follows [`Signer::reload`].
    #[must_use]
    pub fn hosted(&self) -> Hosted {
        self.hosted.clone()
    }

    /// What the configuration says of queries, for [`crate::border::SignerHandler::settings`]; follows [`Signer::reload`] and the files that the
    /// configuration names.
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

    /// The transfers of each zone.
    #[must_use]
    pub fn transfers(&self) -> Vec<(Name, Arc<ZoneTransfers>)> {
        let zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        zones.iter().map(|(name, zone)| (name.clone(), Arc::clone(zone.served.transfers()))).collect()
    }

    /// How each zone stands, as of its last step; a zone without a step so far stands as one that was not read.
    #[must_use]
    pub fn states(&self) -> Vec<(Name, ServedState)> {
        let zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        zones.iter().map(|(name, zone)| (name.clone(), zone.served.state())).collect()
    }

    /// Looks at the files of all zones now, because an SKR was accepted. Without it files are looked at when the kernel tells that they have
    /// changed, and every second, with many zones less often: each thread looks at 20 zones a second, or at 200 where the kernel
    /// tells nothing.
    pub fn notify_accept(&self) {
        for thread in 0..self.commands.len() {
            self.send(thread, Command::LookAtAll);
        }
    }

    /// The same for one zone.
    pub fn notify_accept_of(&self, zone: &Name) {
        let zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at_work) = zones.get(zone) {
            self.send(at_work.thread, Command::Look(zone.clone()));
        }
    }

    /// Has the threads end, each after the step under way, and does not wait for that.
    pub fn begin_shutdown(&self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in 0..self.commands.len() {
            self.send(thread, Command::Wake);
        }
    }

    /// Ends the threads, each after the step under way.
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
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
