//! The request timer as a thread: looks at every zone, writes the KSR that is due.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use keystore::clock;
use keystore::config::Config;
use ksr_gen::daemon::{self, Outcome};
use metrics::Metrics;

/// Time between two looks. Requests are due weeks ahead; keys that somebody changed are seen soon enough.
const PAUSE: Duration = Duration::from_secs(60);

/// What the thread is woken for.
pub enum Wake {
    /// Look now.
    Look,
    /// Take this configuration, and look.
    Reload(Box<Config>),
    /// End.
    Stop,
}

/// The running timer.
pub struct RequestTimer {
    wake: Sender<Wake>,
    thread: JoinHandle<()>,
}

impl RequestTimer {
    /// Starts it. With `[ksr] enabled = false` it only waits for another configuration.
    pub fn start(config: Config, metrics: Metrics) -> Result<Self> {
        let (wake, wakes) = channel();
        let thread = std::thread::Builder::new()
            .name("requests".to_owned())
            .spawn(move || live(config, &metrics, &wakes))
            .context("cannot start the request timer")?;
        Ok(Self { wake, thread })
    }

    /// What wakes it from other threads.
    #[must_use]
    pub fn waker(&self) -> Sender<Wake> {
        self.wake.clone()
    }

    /// Hands over a new configuration.
    pub fn reload(&self, config: Config) {
        // The thread ends only when told to.
        let _ = self.wake.send(Wake::Reload(Box::new(config)));
    }

    /// Ends it after the look under way.
    pub fn stop(self) {
        let _ = self.wake.send(Wake::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the request timer ended in a way that it should not; please report this");
        }
    }
}

fn live(mut config: Config, metrics: &Metrics, wakes: &Receiver<Wake>) {
    loop {
        if config.ksr.enabled {
            look(&config, metrics);
        }
        match wakes.recv_timeout(PAUSE) {
            Ok(Wake::Look) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Wake::Reload(new)) => config = *new,
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn look(config: &Config, metrics: &Metrics) {
    for zone in &config.zones {
        let label = zone.name.to_lowercase().to_string();
        let result = daemon::tick(zone, &config.ksr, &config.state_dir, clock::now());
        daemon::record(&result, &label, metrics);
        match &result {
            Err(error) => tracing::error!(zone = %label, "no request: {error}; the next look tries again"),
            Ok(report) => {
                for name in &report.keys_made {
                    tracing::info!(zone = %label, key = %name, "key made");
                }
                for (path, why) in &report.closed {
                    tracing::info!(zone = %label, request = %path.display(), ?why, "request closed");
                }
                for warning in &report.warnings {
                    tracing::warn!(zone = %label, "{warning}");
                }
                if let (Outcome::Written, Some(open)) = (report.outcome, &report.open) {
                    tracing::warn!(
                        zone = %label, request = %open.path.display(), from = %open.start, until = %open.end,
                        "request written; bring it to the KSK operator, sign it with -e {}", open.end
                    );
                }
            }
        }
    }
}
