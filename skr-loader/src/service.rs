//! What each daemon of this workspace does between its start and its end: it reads the configuration, tells the service manager
//! how it stands (sd_notify(3)), reads the configuration again at SIGHUP, and stops at SIGTERM or SIGINT.
//!
//! Without `NOTIFY_SOCKET` in the environment the service manager is told nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keystore::config::zone_files::InUse;
use keystore::config::zone_files::memory::Program;
use keystore::config::{Config, ConfigErrors};
use keystore::retry::Backoff;
use keystore::time::Timestamp;
use metrics::Metrics;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
pub use signal_hook::iterator::Signals;

/// What the service manager shows while the file of the configuration is not what is in use.
const REFUSED: &str = "the configuration has errors, the old one stays in use";

/// The same while it cannot be read.
const UNREAD: &str = "the configuration cannot be read, the old one stays in use; it is tried again";
/// Pause between two looks of [`wait`].
const WAIT: Duration = Duration::from_millis(200);
/// Pauses between two tries to read it, in seconds.
const BACKOFF: Backoff = Backoff::new(1, 60);

/// Whether the configuration in use is the one in the file, as it was when it was last read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConfigurationState {
    /// It is.
    #[default]
    Taken,
    /// The one in the file was refused, and the one before stays in use; or that of a file of `zones-directory`.
    Refused,
    /// The file, or one that it names, could not be read, for a reason that may pass. The one before stays in use until it can.
    Unread,
}

impl From<&ConfigErrors> for ConfigurationState {
    fn from(errors: &ConfigErrors) -> Self {
        if errors.may_pass() { Self::Unread } else { Self::Refused }
    }
}

impl From<&Config> for ConfigurationState {
    /// How it stands once this configuration is in use.
    fn from(config: &Config) -> Self {
        match config.zone_file_errors() {
            Some(errors) if errors.may_pass => Self::Unread,
            Some(errors) if !errors.is_of_catalogs_only() => Self::Refused,
            Some(_) | None => Self::Taken,
        }
    }
}

/// The folder that the service manager has made for this unit alone (`RuntimeDirectory=`, systemd.exec(5)); of several the first one.
fn runtime_folder() -> Option<PathBuf> {
    let folders = std::env::var_os("RUNTIME_DIRECTORY")?;
    std::env::split_paths(&folders).next().filter(|folder| folder.is_absolute())
}

/// Reads the configuration; its warnings go to the log. Files of `zones-directory` that have errors do not stop it: their zones stay as they are
/// in use, or as they were when the program ran last. The control socket is in the folder that the service manager has made, where there
/// is one and the file names no other place.
pub fn load(path: &Path, in_use: InUse<'_>, now: Timestamp) -> Result<Config, ConfigErrors> {
    let mut config = Config::load_without_bad_zone_files(path, in_use, now)?;
    if let Some(folder) = runtime_folder() {
        config.listen_in(&folder);
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(errors) = config.zone_file_errors() {
        for finding in errors.all() {
            tracing::error!("{finding}");
        }
        tracing::error!(
            "the zones of these files and catalogs stay as they were, where they were in use; all else of the configuration is taken"
        );
    }
    Ok(config)
}

/// Keeps the zone files of a configuration that `program` uses now for its next start. Where that fails, the next start goes by those that were kept
/// before.
pub fn remember_zone_files(config: &Config, program: Program) {
    if let Err(error) = config.remember_zone_files(program) {
        tracing::error!(%error, folder = %config.state_dir.display(), "the zone files in use cannot be kept for the next start");
    }
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

/// Is set at SIGTERM and SIGINT, for a start that takes long and is to be given up.
pub fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::default();
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// Tells the service manager that all parts run, with the line that it shows, and calls `reload` at each SIGHUP. Returns at
/// SIGTERM or SIGINT, after it has told that the process stops.
pub fn run_until_stopped(signals: &mut Signals, status: &str, reload: impl Fn()) {
    ready(status);
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        reload();
    }
    tell_stopping();
}

/// `[pair]` in the configuration of a program that does not know which host is active.
#[derive(Debug, thiserror::Error)]
#[error("with [pair] one process does all work, so that it can end it: start offline-ksk serve alone")]
pub struct PairNeedsServe;

/// Fails where this host is one of two: only `offline-ksk serve` ends all work when the other host takes over.
pub fn refuse_pair(config: &Config) -> Result<(), PairNeedsServe> {
    if config.pair.is_some() { Err(PairNeedsServe) } else { Ok(()) }
}

/// Why [`wait`] has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// SIGTERM or SIGINT came.
    Stop,
    /// SIGHUP came.
    Reload,
    /// What the process does is not wanted any more.
    Unwanted,
}

/// Tells the service manager that all parts run, with the line that it shows, and waits for a signal, or until `is_wanted` is false: it is
/// asked five times a second.
pub fn wait(signals: &mut Signals, status: &str, is_wanted: impl Fn() -> bool) -> Waited {
    ready(status);
    loop {
        let mut waited = None;
        for signal in signals.pending() {
            waited = Some(if signal == SIGHUP { waited.unwrap_or(Waited::Reload) } else { Waited::Stop });
        }
        if let Some(waited) = waited {
            return waited;
        }
        if !is_wanted() {
            return Waited::Unwanted;
        }
        std::thread::sleep(WAIT);
    }
}

/// Tells the service manager that the process stops.
pub fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
    tracing::info!("stopping");
}

/// Has the configuration read again, for the signal and for the control socket. One that cannot be read is tried again until it can.
/// Clones are of one process.
#[derive(Clone)]
pub struct Reloader<T> {
    status: &'static str,
    read: Arc<dyn Fn() -> (T, ConfigurationState) + Send + Sync>,
    /// A thread tries it again.
    retrying: Arc<AtomicBool>,
}

impl<T> std::fmt::Debug for Reloader<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("status", &self.status).finish_non_exhaustive()
    }
}

impl<T: 'static> Reloader<T> {
    /// `read` reads the configuration and has every part take it; `status` is what the service manager shows while all is well.
    pub fn new(
        status: &'static str,
        read: impl Fn() -> (T, ConfigurationState) + Send + Sync + 'static,
    ) -> Self {
        Self { status, read: Arc::new(read), retrying: Arc::default() }
    }

    /// Reads the configuration again, and tells the service manager when that begins and how it has ended.
    pub fn reload(&self) -> T {
        let (answer, state) = self.read_once();
        if state == ConfigurationState::Unread && !self.retrying.swap(true, Ordering::Relaxed) {
            let again = Reloader {
                status: self.status,
                read: Arc::clone(&self.read),
                retrying: Arc::clone(&self.retrying),
            };
            let thread = std::thread::Builder::new().name("reload".to_owned());
            if let Err(error) = thread.spawn(move || again.retry()) {
                tracing::error!(%error, "the configuration is not read again by itself; reload it when it can be read");
                self.retrying.store(false, Ordering::Relaxed);
            }
        }
        answer
    }

    fn read_once(&self) -> (T, ConfigurationState) {
        tell(&[NotifyState::Reloading]);
        let (answer, state) = (self.read)();
        match state {
            ConfigurationState::Taken => ready(self.status),
            ConfigurationState::Refused => ready(REFUSED),
            ConfigurationState::Unread => ready(UNREAD),
        }
        (answer, state)
    }

    fn retry(&self) {
        for failures in 0.. {
            std::thread::sleep(Duration::from_secs(BACKOFF.pause(failures)));
            if self.read_once().1 != ConfigurationState::Unread {
                break;
            }
        }
        self.retrying.store(false, Ordering::Relaxed);
    }
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
