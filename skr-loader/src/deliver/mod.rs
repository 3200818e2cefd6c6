//! Hands accepted generations to the servers, and proves over DNS that they are served.
//!
//! ```text
//! new generation, or the server was started again ─▶ import ─▶ prove ─▶ watch
//! a slot of the plan begins ───────────────────────▶ switch ─▶ prove      │
//!            import again, with backoff ◀── alarm ◀── not proven ◀────────┘
//! ```
//!
//! The states of one zone at one target, with their transitions, are in `worker`.
//!
//! **Invariant:** each target has a thread of its own; the inbox never waits for a server.
//! **Invariant:** an exit status proves nothing; what a server answers over DNS does.

pub mod command;
mod note;
pub mod plan;
mod servers;
pub mod state;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use keystore::clock;
use keystore::config::Config;
use keystore::config::deliver::TargetConfig;
use keystore::dns::Name;
use keystore::exchange::Bundle;
use keystore::time::Timestamp;
use metrics::Metrics;

use crate::store::InForce;
use command::CommandError;
use note::DeliveryNotes;
use plan::DeliveryPlan;
use state::DeliveryStates;
use worker::Worker;

/// A server, as the worker sees it.
pub trait Deliver: Send {
    /// Names the run of the server: another text means that it was started again and has forgotten what it was given.
    /// Empty = it does not forget. An error means that it cannot be reached.
    fn instance(&mut self) -> Result<String, CommandError>;
    /// What of a generation it is given.
    fn plan(&self, bundles: &[Bundle], now: Timestamp) -> DeliveryPlan;
    /// Gives it a generation.
    fn import(&mut self, task: &DeliveryTask<'_>) -> Result<(), CommandError>;
    /// Tells it that a slot of the plan has begun.
    fn switch(&mut self, task: &DeliveryTask<'_>) -> Result<(), CommandError>;
    /// Makes the server take all signatures of the bundle anew, or load the zone, after an import that changed nothing. False where no
    /// command is known that does so. The caller imports what is in force a moment later.
    fn force_reimport(&mut self, _task: &DeliveryTask<'_>) -> Result<bool, CommandError> {
        Ok(false)
    }
    /// Makes the server look at once at which signatures are due, where it has put that off. False where no command is known that does
    /// so.
    fn refresh(&mut self) -> Result<bool, CommandError> {
        Ok(false)
    }
}

/// What is to be delivered.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryTask<'a> {
    /// The zone.
    pub zone: &'a Name,
    /// The generation in force.
    pub generation: u64,
    /// Its file in the accepted store.
    pub skr: &'a Path,
    /// The folder of the zone's ZSKs.
    pub keys: &'a Path,
    /// What the server is given of it.
    pub plan: &'a DeliveryPlan,
    /// The time.
    pub now: Timestamp,
}

/// All targets and their workers; dropping it stops them.
#[derive(Debug)]
pub struct Deliveries {
    metrics: Metrics,
    states: DeliveryStates,
    config: Vec<TargetConfig>,
    targets: Vec<Target>,
    /// Key folder of each zone.
    keys: BTreeMap<Name, PathBuf>,
    /// Threads of targets that are gone and were told to end.
    ending: Vec<Ending>,
}

#[derive(Debug)]
struct Target {
    config: TargetConfig,
    sender: Sender<Order>,
    ending: Ending,
}

/// How the thread of a target is told to end, and when it has.
#[derive(Debug)]
struct Ending {
    name: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

enum Order {
    Take(Name, Arc<InForce>, PathBuf),
    Forget(Name),
}

impl Deliveries {
    /// No targets yet.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            metrics: metrics.clone(),
            states: DeliveryStates::new(metrics.clone()),
            config: Vec::new(),
            targets: Vec::new(),
            keys: BTreeMap::new(),
            ending: Vec::new(),
        }
    }

    /// How the deliveries stand.
    #[must_use]
    pub const fn states(&self) -> &DeliveryStates {
        &self.states
    }

    /// Brings the targets in line with the configuration. `in_force` = what every zone has in force.
    ///
    /// Targets that did not change go on. Never waits for one that goes: a changed one is followed by a thread that begins when the
    /// one before it has ended.
    pub fn configure(&mut self, config: &Config, in_force: &BTreeMap<Name, Arc<InForce>>) {
        if self.config != config.deliver {
            self.ending.retain(|ending| !ending.thread.is_finished());
            let (mut kept, gone): (Vec<_>, Vec<_>) =
                self.targets.drain(..).partition(|target| config.deliver.contains(&target.config));
            self.ending.extend(gone.into_iter().map(Target::end));
            for wanted in &config.deliver {
                match kept.iter().position(|target| target.config == *wanted) {
                    Some(at) => self.targets.push(kept.swap_remove(at)),
                    None => {
                        let (before, others) =
                            self.ending.drain(..).partition(|ending| ending.name == wanted.name);
                        self.ending = others;
                        let shared = (&self.states, &self.metrics);
                        self.targets.extend(Target::start(wanted, &config.state_dir, shared, before));
                    }
                }
            }
            self.config.clone_from(&config.deliver);
        }
        self.keys = config.signed_zones().map(|z| (z.name.clone(), z.key_directory.clone())).collect();
        for (zone, in_force) in in_force {
            self.take(zone, in_force);
        }
    }

    /// A generation is in force.
    pub fn take(&self, zone: &Name, in_force: &Arc<InForce>) {
        let Some(keys) = self.keys.get(zone) else { return };
        for target in self.targets.iter().filter(|t| t.config.zones.as_ref().is_none_or(|z| z.contains(zone)))
        {
            target.send(Order::Take(zone.clone(), Arc::clone(in_force), keys.clone()));
        }
    }

    /// The zone has left the configuration.
    pub fn forget(&self, zone: &Name) {
        self.targets.iter().for_each(|t| t.send(Order::Forget(zone.clone())));
    }

    /// True when there is nobody to deliver to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

impl Target {
    /// Starts the thread of a target, which waits for the end of those `before` it.
    fn start(
        config: &TargetConfig,
        state_dir: &Path,
        (states, metrics): (&DeliveryStates, &Metrics),
        before: Vec<Ending>,
    ) -> Option<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (server, probe) = servers::server(config, Arc::clone(&stop));
        let prover = probe.map(|probe| -> worker::Prover {
            Box::new(move |zone, bundle, refresh, now| probe.prove(zone, bundle, refresh, now))
        });
        let worker = Worker::new(
            &config.name,
            server,
            prover,
            DeliveryNotes::new(state_dir.join("delivered").join(&config.name)),
            state_dir.join("accepted"),
            states.clone(),
            metrics.clone(),
        );
        let (sender, orders) = channel();
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(format!("deliver {}", config.name));
        let thread = thread.spawn(move || {
            before.into_iter().for_each(Ending::wait);
            run(worker, &orders, &stopping);
        });
        match thread {
            Ok(thread) => {
                let ending = Ending { name: config.name.clone(), stop, thread };
                Some(Self { config: config.clone(), sender, ending })
            }
            Err(error) => {
                tracing::error!(target = config.name, %error, "cannot start to deliver");
                None
            }
        }
    }

    fn send(&self, order: Order) {
        // The thread ends only when it is told to.
        let _ = self.sender.send(order);
    }

    /// Tells it to end, and does not wait.
    fn end(self) -> Ending {
        self.ending.stop.store(true, Ordering::Relaxed);
        // With its sender goes the thread's wait for orders.
        self.ending
    }
}

impl Ending {
    fn wait(self) {
        // A panic there has been told by its own message.
        let _ = self.thread.join();
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        // All are told before the first is waited for.
        self.ending.extend(self.targets.drain(..).map(Target::end));
        self.ending.drain(..).for_each(Ending::wait);
    }
}

fn run(mut worker: Worker, orders: &std::sync::mpsc::Receiver<Order>, stop: &AtomicBool) {
    let mut due = Timestamp::EPOCH;
    while !stop.load(Ordering::Relaxed) {
        match orders.recv_timeout(clock::until(due).min(Duration::from_secs(60))) {
            Ok(Order::Take(zone, in_force, keys)) => worker.take(zone, in_force, keys, clock::now()),
            Ok(Order::Forget(zone)) => worker.forget(&zone),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        due = worker.step(clock::now());
    }
    worker.end();
}
