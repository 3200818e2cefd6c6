//! The request timer: a thread of `offline-ksk serve`, or the process `offline-ksk requests`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use keystore::clock;
use keystore::config::{Config, ZoneConfig};
use ksr_gen::daemon::{self, Rounds, TickError, TimerLock, TimerOutcome, TimerReport, Told};
use metrics::Metrics;
use metrics::http::{Endpoint, Server};
use metrics::zones::Part;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use skr_loader::preflight::Daemon;
use skr_loader::service;

use crate::clock_watch::ClockWatch;
use crate::serve::{check_config, load, make_folders, seconds};

/// Time between two looks. Requests are due weeks ahead; keys that somebody changed are seen soon enough.
const PAUSE: Duration = Duration::from_secs(60);
/// What the service manager is told.
const STATUS: &str = "looking at the coverage";

/// `offline-ksk requests`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Look once at every zone, print what was found, and exit: with 1 when a look or a notice failed. For cron
    #[arg(long)]
    once: bool,
    /// With --once: print JSON
    #[arg(long, requires = "once")]
    json: bool,
    /// Only read and check the configuration, and what it needs of this host: all findings at once. Exit code 1 when there is an error
    #[arg(long, conflicts_with = "once")]
    check_config: bool,
    /// Serve /metrics on this address of the loopback
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "once")]
    metrics: Option<SocketAddr>,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.check_config {
        return check_config(&options.config, Daemon::Requests);
    }
    let config = load(&options.config)?;
    if !config.ksr.enabled {
        bail!("{}: [ksr] enabled = false: no requests are wanted", options.config.display());
    }
    make_folders(&config)?;
    let lock = TimerLock::take(&config.state_dir)?;
    if options.once {
        return once(&config, options.json);
    }
    if let Some(address) = options.metrics.filter(|address| !address.ip().to_canonical().is_loopback()) {
        bail!("--metrics {address} can be reached by others; use 127.0.0.1 or [::1]");
    }
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot watch for signals")?;
    let metrics = Metrics::new().context("cannot make the metrics")?;
    let labels = ["requests", env!("CARGO_PKG_VERSION"), option_env!("OFFLINE_KSK_REVISION").unwrap_or("")];
    metrics.build_info.with_label_values(&labels).set(1);
    metrics.add_process();
    loaded(&metrics, true);
    let clock_watch = ClockWatch::start(metrics.clone())?;
    let _endpoint = options.metrics.map(|address| serve_metrics(address, &metrics)).transpose()?;
    let state_dir = config.state_dir.clone();
    let timer = RequestTimer::start_with(config, metrics.clone(), Some(lock), service::alive)?;
    service::ready(STATUS);
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        service::reloading();
        match load(&options.config) {
            Ok(config) if config.state_dir != state_dir => {
                loaded(&metrics, false);
                tracing::error!("`state-dir` cannot change while this process runs; restart to take it");
            }
            Ok(config) => {
                loaded(&metrics, true);
                timer.reload(config);
            }
            Err(error) => {
                loaded(&metrics, false);
                tracing::error!("{error:#}; the old configuration stays in use");
            }
        }
        service::ready(STATUS);
    }
    service::stopping();
    tracing::info!("stopping");
    timer.stop();
    clock_watch.stop();
    Ok(ExitCode::SUCCESS)
}

/// Says whether the configuration was taken.
fn loaded(metrics: &Metrics, good: bool) {
    metrics.config_last_reload_successful.set(i64::from(good));
    if good {
        metrics.config_last_reload_success_timestamp_seconds.set(seconds(clock::now()));
    }
}

/// The runtime that is given back serves until it is dropped.
fn serve_metrics(address: SocketAddr, metrics: &Metrics) -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let endpoint = Endpoint {
        metrics: metrics.clone(),
        refresh: Arc::new(|metrics| metrics.clock_time_seconds.set(seconds(clock::now()))),
        not_ready: Arc::new(Vec::new),
    };
    let server = runtime.block_on(Server::bind(address, endpoint))?;
    tracing::info!(address = %server.address(), "metrics on /metrics");
    runtime.spawn(async move {
        if let Err(error) = server.run(std::future::pending()).await {
            tracing::error!(%error, "the metrics endpoint ended");
        }
    });
    Ok(runtime)
}

// --- one look -------------------------------------------------------------------------------------------------------

/// What one look found, as it is printed. Times are ISO 8601 in UTC.
#[derive(Debug, Default, Serialize)]
struct Seen {
    zone: String,
    /// `not due`, `open`, `written` or `failed`.
    outcome: &'static str,
    coverage_end: Option<String>,
    /// When the next request must exist; none while one is open.
    due: Option<String>,
    request: Option<PathBuf>,
    asks_until: Option<String>,
    /// `notice`, `reminder`, `warning` or `critical`.
    urgency: Option<&'static str>,
    keys_made: Vec<String>,
    warnings: Vec<String>,
    error: Option<String>,
}

fn once(config: &Config, json: bool) -> Result<ExitCode> {
    let mut all = Vec::new();
    Rounds::default().round(config, clock::now, |zone, result, told| all.push(seen(zone, result, told)));
    if json {
        outln!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        all.iter().for_each(print);
    }
    Ok(if all.iter().any(|seen| seen.error.is_some()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn seen(zone: &ZoneConfig, result: &Result<TimerReport, TickError>, told: Option<&Told>) -> Seen {
    let zone = zone.name.to_lowercase().to_string();
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            return Seen { zone, outcome: "failed", error: Some(error.to_string()), ..Seen::default() };
        }
    };
    let open = report.open.as_ref();
    let (urgency, error) = match told {
        None | Some(Told::Nothing) => (None, None),
        Some(Told::Before(level) | Told::Now(level, _) | Told::Waits(level)) => (Some(level.word()), None),
        Some(Told::Failed(level, error)) => (Some(level.word()), Some(error.to_string())),
    };
    Seen {
        zone,
        outcome: match report.outcome {
            TimerOutcome::NotDue => "not due",
            TimerOutcome::Pending => "open",
            TimerOutcome::Written => "written",
        },
        coverage_end: report.coverage_end.map(|end| end.iso()),
        due: open.is_none().then(|| report.due.iso()),
        request: open.map(|open| open.path.clone()),
        asks_until: open.map(|open| open.end.iso()),
        urgency,
        keys_made: report.keys_made.clone(),
        warnings: report.warnings.clone(),
        error,
    }
}

fn print(seen: &Seen) {
    let mut line = format!("{}: {}", seen.zone, seen.outcome);
    if let Some(due) = &seen.due {
        line.push_str(&format!(" before {due}"));
    }
    if let (Some(request), Some(until)) = (&seen.request, &seen.asks_until) {
        line.push_str(&format!(": {} asks until {until}", request.display()));
    }
    if let Some(urgency) = seen.urgency {
        line.push_str(&format!(" ({urgency})"));
    }
    outln!("{line}");
    for key in &seen.keys_made {
        outln!("  made {key}");
    }
    for warning in &seen.warnings {
        outln!("  warning: {warning}");
    }
    if let Some(error) = &seen.error {
        outln!("  ERROR: {error}");
    }
}

// --- the thread -----------------------------------------------------------------------------------------------------

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
        let lock = if config.ksr.enabled { Some(TimerLock::take(&config.state_dir)?) } else { None };
        Self::start_with(config, metrics, lock, || ())
    }

    /// Starts it with a lock that was taken; `alive` is called again and again.
    fn start_with(
        config: Config,
        metrics: Metrics,
        lock: Option<TimerLock>,
        alive: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let (wake, wakes) = channel();
        add_series(&metrics, &config);
        let thread = std::thread::Builder::new()
            .name("requests".to_owned())
            .spawn(move || live(config, &metrics, &wakes, lock, alive))
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

fn live(
    mut config: Config,
    metrics: &Metrics,
    wakes: &Receiver<Wake>,
    mut lock: Option<TimerLock>,
    alive: impl Fn(),
) {
    let mut rounds = Rounds::default();
    loop {
        alive();
        if !config.ksr.enabled {
            lock = None;
        } else if lock.is_none() {
            // A reload has turned the timer on.
            lock = TimerLock::take(&config.state_dir)
                .inspect_err(|error| tracing::error!("no requests: {error}"))
                .ok();
        }
        if lock.is_some() {
            rounds.round(&config, clock::now, |zone, result, told| {
                alive();
                tell(&config, zone, result, told, metrics);
            });
        }
        match wakes.recv_timeout(PAUSE) {
            Ok(Wake::Look) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Wake::Reload(new)) => {
                remove_series(metrics, &config, &new);
                config = *new;
                add_series(metrics, &config);
                rounds.forget();
            }
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// True for a zone whose key files no signer looks at.
fn looks_at_key_files(config: &Config, zone: &ZoneConfig) -> bool {
    config.signer.is_none() || zone.file.is_none()
}

/// Makes every series of the timer, so that alerts have something to see from the first scrape on.
fn add_series(metrics: &Metrics, config: &Config) {
    for zone in config.zones.iter().filter(|_| config.ksr.enabled) {
        let label = zone.name.to_lowercase().to_string();
        metrics.add_zone(&label, Part::Requests);
        if looks_at_key_files(config, zone) {
            metrics.add_zone(&label, Part::KeyFiles);
        }
    }
}

/// Removes the series of the zones that `new` has no more.
fn remove_series(metrics: &Metrics, old: &Config, new: &Config) {
    let gone = |zone: &&ZoneConfig| !new.ksr.enabled || !new.zones.iter().any(|kept| kept.name == zone.name);
    for zone in old.zones.iter().filter(gone) {
        let label = zone.name.to_lowercase().to_string();
        metrics.remove_zone(&label, Part::Requests);
        if looks_at_key_files(old, zone) {
            metrics.remove_zone(&label, Part::KeyFiles);
        }
    }
}

/// Log and metrics of one look.
fn tell(
    config: &Config,
    zone: &ZoneConfig,
    result: &Result<TimerReport, TickError>,
    told: Option<&Told>,
    metrics: &Metrics,
) {
    let label = zone.name.to_lowercase().to_string();
    daemon::record(result, &label, looks_at_key_files(config, zone), metrics);
    if let Some(told) = told {
        daemon::record_notice(told, &label, metrics);
    }
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            tracing::error!(zone = %label, "no request: {error}; the next look tries again");
            return;
        }
    };
    for name in &report.keys_made {
        tracing::info!(zone = %label, key = %name, "key made");
    }
    for (path, why) in &report.closed {
        tracing::info!(zone = %label, request = %path.display(), ?why, "request closed");
    }
    for warning in &report.warnings {
        tracing::warn!(zone = %label, "{warning}");
    }
    if let (TimerOutcome::Written, Some(open)) = (report.outcome, &report.open) {
        tracing::warn!(
            zone = %label, request = %open.path.display(), from = %open.start, until = %open.end,
            "request written; bring it to the KSK operator, sign it with -e {}", open.end
        );
    }
    match told {
        Some(Told::Now(urgency, mail)) => tracing::warn!(
            zone = %label, urgency = urgency.word(), mail = %mail.display(), "a request waits for its answer"
        ),
        Some(Told::Failed(urgency, error)) => tracing::error!(
            zone = %label, urgency = urgency.word(), "nobody was told of the request: {error}; it is tried again"
        ),
        _ => {}
    }
}
