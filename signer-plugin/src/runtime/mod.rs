//! The life of served zones: bundles and ZSKs switch at their second, signatures are renewed, the zone file is read again.
//!
//! ```text
//! accepted/ZONE ──read_current, parse_skr, verify──▶ schedule ─bundle at now─┐
//! K*.key .private ──find, load_private──▶ ZSKs ─────active at now────────────┼─▶ sign ─▶ self check ─▶ serial kept ─▶ published
//! zone file ──Zone::load──▶ zone ────────────────────────────────────────────┘
//! ```
//!
//! [`ZoneRuntime::step`] does all of it for one zone and one point in time; [`Signer`] steps it by the clock. Whatever fails is
//! reported and tried again, and what was served before stays.

mod condition;
mod keyring;
mod retry;
mod serial;
mod served;
mod setup;
mod skr;
mod source;
mod watch;
mod zone;

#[cfg(test)]
mod tests;

pub use condition::{CONDITIONS, ConditionId};
pub use keyring::Keyring;
pub use served::{Clock, SignerZone};
pub use setup::ZoneSetup;
pub use zone::ZoneRuntime;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use keystore::config::Config;
use keystore::dns::Name;
use keystore::time::Timestamp;
use metrics::Metrics;

use crate::hosted::{Hosted, Responder};

/// How late a switch may come: the time between two looks at the clock.
const TICK: Duration = Duration::from_millis(50);
/// Longest time that the orderly end of a thread's zones takes; what is left skips some serials at the next start.
const CLOSING: Duration = Duration::from_secs(2);

/// Zones at work, stepped by threads of their own. Dropping it ends them; what is published stays served by whoever holds it.
pub struct Signer {
    hosted: Hosted,
    metrics: Metrics,
    clock: Clock,
    wakers: Vec<Sender<Wake>>,
    threads: Vec<JoinHandle<()>>,
    roster: Mutex<HashMap<Name, Seat>>,
}

/// Where a zone is at work.
struct Seat {
    setup: ZoneSetup,
    served: Arc<SignerZone>,
    /// Index of its thread.
    thread: usize,
}

/// What a thread is woken for.
enum Wake {
    /// Look at the files now.
    Look,
    /// Take this zone over; one of the same name makes room, and what it serves goes on until there is something newer.
    Take(Box<ZoneSetup>, Arc<SignerZone>),
    /// Let the zone go.
    Leave(Name),
    End,
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
        let mut signer = Self {
            hosted: Hosted::default(),
            metrics: metrics.clone(),
            clock,
            wakers: Vec::new(),
            threads: Vec::new(),
            roster: Mutex::default(),
        };
        for _ in 0..count {
            let (waker, wakes) = channel();
            let (metrics, clock) = (metrics.clone(), Arc::clone(&signer.clock));
            let thread = std::thread::Builder::new().name("signer".to_owned());
            signer.threads.push(thread.spawn(move || live(&metrics, &clock, &wakes))?);
            signer.wakers.push(waker);
        }
        signer.reload(config);
        Ok(signer)
    }

    /// Takes a new configuration: zones that are new begin, zones that are gone are not answered for any more, zones whose
    /// settings changed work on with the new ones. What is served of them stays until there is something newer.
    pub fn reload(&self, config: &Config) {
        let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        let setups: Vec<ZoneSetup> =
            config.zones.iter().filter_map(|zone| ZoneSetup::from_config(config, zone)).collect();
        let gone: Vec<Name> =
            roster.keys().filter(|name| !setups.iter().any(|setup| setup.name == **name)).cloned().collect();
        for name in gone {
            if let Some(seat) = roster.remove(&name) {
                self.wake(seat.thread, Wake::Leave(name));
            }
        }
        for zone in config.zones.iter().filter(|zone| zone.file.is_some() && zone.policy.nsec3.is_some()) {
            tracing::warn!(zone = %zone.name, policy = %zone.policy.name, "nsec3param is not followed: the zone gets NSEC");
        }
        for setup in setups {
            let (served, thread) = match roster.get(&setup.name) {
                Some(seat) if seat.setup == setup => continue,
                Some(seat) => (Arc::clone(&seat.served), seat.thread),
                None => {
                    let served = SignerZone::new(setup.name.clone(), &self.metrics, Arc::clone(&self.clock));
                    (Arc::new(served), roster.len() % self.wakers.len())
                }
            };
            self.wake(thread, Wake::Take(Box::new(setup.clone()), Arc::clone(&served)));
            roster.insert(setup.name.clone(), Seat { setup, served, thread });
        }
        self.hosted.replace(roster.values().map(|seat| Arc::clone(&seat.served) as Arc<dyn Responder>));
    }

    fn wake(&self, thread: usize, wake: Wake) {
        // A thread that is gone has said why.
        let _ = self.wakers[thread].send(wake);
    }

    /// The zones, to be answered for by [`crate::border::SignerHandler`]; follows [`Signer::reload`].
    #[must_use]
    pub fn hosted(&self) -> Hosted {
        self.hosted.clone()
    }

    /// True when `zone` is served with a full set of valid signatures, as of its last step.
    #[must_use]
    pub fn is_validly_signed(&self, zone: &Name) -> bool {
        let roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        roster.get(zone).is_some_and(|seat| seat.served.is_validly_signed())
    }

    /// Looks at the files now, because an SKR was accepted; without it they are looked at within a second.
    pub fn notify_accept(&self) {
        for thread in 0..self.wakers.len() {
            self.wake(thread, Wake::Look);
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
        for waker in &self.wakers {
            let _ = waker.send(Wake::End);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Steps its zones once a second, and at once when woken.
fn live(metrics: &Metrics, clock: &Clock, wakes: &Receiver<Wake>) {
    let mut zones: Vec<ZoneRuntime> = Vec::new();
    let mut stepped: Option<Timestamp> = None;
    loop {
        let now = clock();
        if stepped != Some(now) {
            for zone in &mut zones {
                step(zone, now);
            }
            stepped = Some(now);
        }
        match wakes.recv_timeout(TICK) {
            Ok(Wake::Look) => stepped = None,
            Ok(Wake::Take(setup, served)) => {
                zones.retain_mut(|zone| {
                    let stays = *zone.served().origin() != setup.name;
                    if !stays {
                        zone.close();
                    }
                    stays
                });
                zones.push(ZoneRuntime::new(*setup, metrics.clone(), served));
                stepped = None;
            }
            Ok(Wake::Leave(name)) => zones.retain_mut(|zone| {
                let stays = *zone.served().origin() != name;
                if !stays {
                    zone.close();
                    zone.leave();
                }
                stays
            }),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Wake::End) | Err(RecvTimeoutError::Disconnected) => {
                close_all(&mut zones);
                return;
            }
        }
    }
}

/// Closes as many zones as the end of the process has time for.
fn close_all(zones: &mut [ZoneRuntime]) {
    let started = Instant::now();
    for zone in zones {
        if started.elapsed() > CLOSING {
            return;
        }
        zone.close();
    }
}

/// One step that cannot take the thread down: the other zones live on, and what this one serves stays.
fn step(zone: &mut ZoneRuntime, now: Timestamp) {
    if catch_unwind(AssertUnwindSafe(|| zone.step(now))).is_err() {
        tracing::error!(zone = %zone.served().origin(), "a step failed in a way that it should not; please report this");
    }
}
