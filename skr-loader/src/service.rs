//! What each daemon of this workspace does between its start and its end: it reads the configuration, tells the service manager
//! how it stands (sd_notify(3)), reads the configuration again at SIGHUP, and stops at SIGTERM or SIGINT.
//!
//! Without `NOTIFY_SOCKET` in the environment the service manager is told nothing.

use std::path::Path;

use keystore::config::{Config, ConfigErrors};
use metrics::Metrics;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What the service manager shows while the file of the configuration is not what is in use.
const REFUSED: &str = "the configuration has errors, the old one stays in use";

/// Whether the configuration in use is the one in the file, as it was when it was last read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConfigurationState {
    /// It is.
    #[default]
    Taken,
    /// The one in the file was refused, and the one before stays in use.
    Refused,
}

/// Reads the configuration; its warnings go to the log.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let config = Config::load(path)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

/// Has a process with more zones than `detail-zones` export only a few families for each of them. Called before anything makes
/// series.
pub fn fit_metrics(config: &Config, metrics: &Metrics) {
    let limit = config.metrics.as_ref().map_or(u32::MAX, |metrics| metrics.detail_zones);
    if u32::try_from(config.zones.len()).is_ok_and(|zones| zones <= limit) {
        return;
    }
    let loader = &config.loader;
    metrics.leave_out_zones([
        ("info", loader.coverage_info),
        ("warning", loader.coverage_warning),
        ("critical", loader.coverage_critical),
    ]);
    tracing::info!(
        zones = config.zones.len(),
        limit,
        "metrics of single zones are left out but for a few families"
    );
}

/// The signals that a daemon follows, from now on. Made before anything starts, so that no signal ends the process half-way.
pub fn signals() -> std::io::Result<Signals> {
    Signals::new([SIGHUP, SIGINT, SIGTERM])
}

/// Tells the service manager that all parts run, with the line that it shows, and calls `reload` at each SIGHUP. Returns at
/// SIGTERM or SIGINT, after it has told that the process stops.
pub fn run_until_stopped(signals: &mut Signals, status: &str, reload: impl Fn() -> ConfigurationState) {
    ready(status);
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        reloading(status, || ((), reload()));
    }
    tell(&[NotifyState::Stopping]);
    tracing::info!("stopping");
}

/// Reads the configuration again by `reload`, and tells the service manager when that begins and how it has ended.
pub fn reloading<T>(status: &str, reload: impl FnOnce() -> (T, ConfigurationState)) -> T {
    tell(&[NotifyState::Reloading]);
    let (answer, state) = reload();
    match state {
        ConfigurationState::Taken => ready(status),
        ConfigurationState::Refused => ready(REFUSED),
    }
    answer
}

/// The loop has come round; WATCHDOG=1. It does so at least once a `rescan-interval`: `WatchdogSec` must be longer.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        // The service manager will say so by its own means, when it waits for it.
        tracing::debug!(%error, "the service manager was not told");
    }
}
