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

mod keyring;
mod serial;
mod served;
mod watch;
mod zone;

#[cfg(test)]
mod tests;

pub use keyring::Keyring;
pub use served::{Clock, SignerZone};
pub use zone::{ZoneRuntime, ZoneSetup};

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{JoinHandle, available_parallelism};
use std::time::Duration;

use keystore::config::Config;
use keystore::time::Timestamp;
use metrics::Metrics;

use crate::hosted::{Hosted, Responder};

/// How late a switch may come: the time between two looks at the clock.
const TICK: Duration = Duration::from_millis(50);

/// Zones at work, stepped by threads of their own. Dropping it ends them; what is published stays served by whoever holds it.
#[derive(Debug)]
pub struct Signer {
    hosted: Hosted,
    wakers: Vec<Sender<Wake>>,
    threads: Vec<JoinHandle<()>>,
}

/// What a thread is woken for.
enum Wake {
    Look,
    End,
}

impl Signer {
    /// Starts to sign every zone of `config` that has a zone file. Returns at once; a zone answers SERVFAIL until its first
    /// version is made.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(config: &Config, metrics: &Metrics, clock: Clock) -> std::io::Result<Self> {
        let setups = config.zones.iter().filter_map(|zone| ZoneSetup::from_config(config, zone));
        let zones = setups.map(|setup| ZoneRuntime::new(setup, metrics.clone(), Arc::clone(&clock)));
        Self::run(zones.collect(), &clock)
    }

    /// Runs these zones.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn run(zones: Vec<ZoneRuntime>, clock: &Clock) -> std::io::Result<Self> {
        let hosted = Hosted::new(zones.iter().map(|zone| Arc::clone(zone.served()) as Arc<dyn Responder>));
        // Signing itself uses all cores; the threads only keep a large zone from holding up the small ones.
        let count = (2 * available_parallelism().map_or(1, usize::from)).min(zones.len());
        let mut shares: Vec<Vec<ZoneRuntime>> = (0..count).map(|_| Vec::new()).collect();
        for (index, zone) in zones.into_iter().enumerate() {
            shares[index % count].push(zone);
        }
        let mut signer = Self { hosted, wakers: Vec::new(), threads: Vec::new() };
        for share in shares {
            let (waker, wakes) = channel();
            let clock = Arc::clone(clock);
            let thread = std::thread::Builder::new().name("signer".to_owned());
            signer.threads.push(thread.spawn(move || live(share, &clock, &wakes))?);
            signer.wakers.push(waker);
        }
        Ok(signer)
    }

    /// The zones, to be answered for by [`crate::border::SignerHandler`].
    #[must_use]
    pub fn hosted(&self) -> Hosted {
        self.hosted.clone()
    }

    /// Looks at the files now, because an SKR was accepted; without it they are looked at within a second.
    pub fn notify_accept(&self) {
        for waker in &self.wakers {
            // A thread that is gone has said why.
            let _ = waker.send(Wake::Look);
        }
    }

    /// Ends the threads, each after the step under way.
    pub fn shutdown(self) {
        drop(self);
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

/// Steps `zones` once a second, and at once when woken.
fn live(mut zones: Vec<ZoneRuntime>, clock: &Clock, wakes: &Receiver<Wake>) {
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
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Wake::End) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One step that cannot take the thread down: the other zones live on, and what this one serves stays.
fn step(zone: &mut ZoneRuntime, now: Timestamp) {
    if catch_unwind(AssertUnwindSafe(|| zone.step(now))).is_err() {
        tracing::error!(zone = %zone.served().origin(), "a step failed in a way that it should not; please report this");
    }
}
