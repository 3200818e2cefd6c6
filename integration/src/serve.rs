//! `offline-ksk serve`: loader, request timer, signer and metrics in one process.
//!
//! The parts run by themselves and meet in files, as they would as processes of their own; here the loader also wakes the
//! signer and the timer as soon as an SKR is accepted.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use keystore::clock;
use keystore::config::{Config, ConfigErrors};
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::http::{Endpoint, Server as HttpServer};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signer_plugin::border::SignerHandler;
use signer_plugin::border::server::{Listen, Server as DnsServer};
use signer_plugin::runtime::Signer;
use skr_loader::control::Answer;
use skr_loader::control::server::Server as ControlServer;
use skr_loader::loader::{Control, ImportOutcome, Loader};
use skr_loader::preflight::{self, Daemon};
use skr_loader::service;

use crate::clock_watch::ClockWatch;
use crate::requests::RequestTimer;

/// Reads the configuration, and prints every finding in it and on this host.
pub fn check_config(path: &Path, daemon: Daemon) -> Result<ExitCode> {
    let config = Config::load(path)?;
    let mut out = Vec::new();
    let good = preflight::report(&config, daemon, path, &mut out)?;
    out!("{}", String::from_utf8_lossy(&out));
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Serves until SIGTERM or SIGINT; SIGHUP reads the configuration again.
pub fn run(path: &Path) -> Result<ExitCode> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot watch for signals")?;
    let mut serving = Serving::start(path)?;
    service::ready("serving");
    for signal in signals.forever() {
        if signal == SIGHUP {
            service::reloading();
            serving.reload();
            service::ready("serving");
        } else {
            service::stopping();
            tracing::info!("stopping");
            break;
        }
    }
    serving.stop();
    Ok(ExitCode::SUCCESS)
}

/// Waits for SIGINT or SIGTERM.
pub fn wait_for_signal() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot watch for signals")?;
    signals.forever().next();
    Ok(())
}

pub(crate) fn load(path: &Path) -> Result<Config> {
    Ok(load_config(path)?)
}

fn load_config(path: &Path) -> Result<Config, ConfigErrors> {
    let config = Config::load(path)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

/// All parts at work. [`Serving::stop`] ends them in order; dropping it ends the process's parts at once.
pub struct Serving {
    /// Before the parts that it steers: no command comes in while they end.
    socket: Option<ControlServer>,
    runtime: tokio::runtime::Runtime,
    loader: Control,
    loader_thread: JoinHandle<()>,
    timer: RequestTimer,
    clock_watch: ClockWatch,
    signer: Arc<Signer>,
    dns: Option<DnsServer>,
    metrics_address: Option<SocketAddr>,
    stop_http: tokio::sync::watch::Sender<bool>,
    reloading: Arc<Mutex<Reloading>>,
}

/// Takes a new configuration to every part; for the signal and for the control socket.
struct Reloading {
    path: PathBuf,
    loader: Control,
    timer: Sender<crate::requests::Wake>,
    signer: Arc<Signer>,
    /// The configuration in use.
    config: Config,
    /// The zones that must be ready, as the endpoint sees them.
    zones: Arc<Mutex<Vec<ReadyZone>>>,
}

impl Serving {
    /// Reads the configuration and starts every part. An error means that nothing runs.
    pub fn start(path: &Path) -> Result<Self> {
        let config = load(path)?;
        let metrics = Metrics::new().context("the metric families do not register")?;
        start_metrics(&metrics);
        make_folders(&config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;

        let mut loader = Loader::new(config.clone(), metrics.clone())?;
        let signer = Arc::new(
            Signer::start(&config, &metrics, Arc::new(clock::now)).context("cannot start the signer")?,
        );
        let dns = match &config.signer {
            Some(wanted) => Some(runtime.block_on(async {
                let handler = SignerHandler::alone(signer.hosted());
                let listen = Listen::on(wanted.listen.clone()).with_metrics(&metrics);
                DnsServer::start(&listen, &handler)
            })?),
            None => None,
        };
        let zones = Arc::new(Mutex::new(ready_zones(&config)));
        let (stop_http, stopped) = tokio::sync::watch::channel(false);
        let metrics_address = match &config.metrics {
            Some(wanted) => {
                let server = runtime.block_on(HttpServer::bind(wanted.listen, endpoint(&zones, &metrics)))?;
                let address = server.address();
                runtime.spawn(serve_http(server, stopped));
                Some(address)
            }
            None => None,
        };
        let timer = RequestTimer::start(config.clone(), metrics.clone())?;
        let clock_watch = ClockWatch::start(metrics.clone())?;
        let control = loader.control();
        let wake = (Arc::clone(&signer), timer.waker());
        let loader_thread = std::thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                let clock = || {
                    service::alive();
                    clock::now()
                };
                loader.run(clock, |import| wake_others(import, &wake.0, &wake.1));
            })
            .context("cannot start the loader")?;
        let reloading = Arc::new(Mutex::new(Reloading {
            path: path.to_owned(),
            loader: control.clone(),
            timer: timer.waker(),
            signer: Arc::clone(&signer),
            config: config.clone(),
            zones,
        }));
        let at_socket = Arc::clone(&reloading);
        let reload = Arc::new(move || {
            service::reloading();
            let answer = at_socket.lock().unwrap_or_else(PoisonError::into_inner).reload();
            service::ready("serving");
            answer
        });
        let socket = match ControlServer::start(&config, control.clone(), reload) {
            Ok(socket) => Some(socket),
            // Nobody can give commands then; everything else works.
            Err(error) => {
                tracing::error!(%error, "no control socket");
                None
            }
        };
        let serving = Self {
            socket,
            runtime,
            loader: control,
            loader_thread,
            timer,
            clock_watch,
            signer,
            dns,
            metrics_address,
            stop_http,
            reloading,
        };
        for address in serving.dns() {
            tracing::info!(%address, "serving");
        }
        if let Some(address) = serving.metrics_address {
            tracing::info!(%address, "metrics on /metrics");
        }
        Ok(serving)
    }

    /// Addresses that DNS is served on.
    #[must_use]
    pub fn dns(&self) -> &[SocketAddr] {
        self.dns.as_ref().map_or(&[], DnsServer::addresses)
    }

    /// Address of the HTTP endpoint.
    #[must_use]
    pub const fn metrics(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Reads the configuration again; the old one stays in use when it is wrong.
    pub fn reload(&mut self) {
        // Told by the log.
        drop(self.reloading.lock().unwrap_or_else(PoisonError::into_inner).reload());
    }

    /// Ends every part: takes no more queries, finishes the import under way.
    pub fn stop(mut self) {
        drop(self.socket.take());
        if let Some(dns) = self.dns.take() {
            self.runtime.block_on(dns.shutdown());
        }
        self.stop_http.send_replace(true);
        self.loader.stop();
        if self.loader_thread.join().is_err() {
            tracing::error!("the loader ended in a way that it should not; please report this");
        }
        self.timer.stop();
        self.clock_watch.stop();
        drop(self.reloading);
        drop(self.signer);
        self.runtime.shutdown_background();
    }
}

impl Reloading {
    fn reload(&mut self) -> Answer {
        let config = match load_config(&self.path) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("{error:#}; the old configuration stays in use");
                self.loader.reload_failed();
                return Answer::of_errors(&error);
            }
        };
        if let Some(what) = fixed(&self.config, &config) {
            let what = format!(
                "{what} cannot change while this process runs; the old configuration stays in use, restart to take it"
            );
            tracing::error!("{what}");
            self.loader.reload_failed();
            return Answer::of_reload(Err(what), &config.warnings);
        }
        if let Err(error) = make_folders(&config) {
            tracing::error!("{error:#}; requests of the zone fail until the folder is there");
        }
        *self.zones.lock().unwrap_or_else(PoisonError::into_inner) = ready_zones(&config);
        self.signer.reload(&config);
        // The timer has ended when nobody listens: the process is stopping.
        let _ = self.timer.send(crate::requests::Wake::Reload(Box::new(config.clone())));
        let taken = self.loader.reload_and_wait(config.clone());
        let (zones, warnings) = (config.zones.len(), config.warnings.clone());
        self.config = config;
        match taken {
            Some(result) => Answer::of_reload(result.map(|()| zones).map_err(|e| e.to_string()), &warnings),
            None => {
                let what = "the loader does not answer; restart this process";
                tracing::error!("{what}");
                Answer::refused(what)
            }
        }
    }
}

/// Makes the series of the process; the parts make their own.
fn start_metrics(metrics: &Metrics) {
    metrics.add_process();
    let labels = ["serve", env!("CARGO_PKG_VERSION"), option_env!("OFFLINE_KSK_REVISION").unwrap_or("")];
    metrics.build_info.with_label_values(&labels).set(1);
    metrics.config_last_reload_successful.set(1);
    metrics.config_last_reload_success_timestamp_seconds.set(seconds(clock::now()));
}

/// Makes the key folders that are missing: on a new host nobody has put a key there yet.
pub(crate) fn make_folders(config: &Config) -> Result<()> {
    keystore::durable::create_dir_durable(&config.state_dir, 0o755)
        .with_context(|| format!("cannot make the state folder {}", config.state_dir.display()))?;
    for zone in &config.zones {
        let dir = &zone.key_directory;
        if !dir.exists() && dir.starts_with(&config.state_dir) {
            keystore::durable::create_dir_durable(dir, 0o700)
                .with_context(|| format!("cannot make the key folder {}", dir.display()))?;
        }
    }
    Ok(())
}

/// What differs between two configurations and is fixed while the process runs.
fn fixed(old: &Config, new: &Config) -> Option<&'static str> {
    let listen = |config: &Config| config.signer.as_ref().map(|signer| signer.listen.clone());
    let metrics = |config: &Config| config.metrics.as_ref().map(|metrics| metrics.listen);
    match () {
        () if old.state_dir != new.state_dir => Some("`state-dir`"),
        () if listen(old) != listen(new) => Some("`[signer] listen`"),
        () if metrics(old) != metrics(new) => Some("`[metrics] listen`"),
        () => None,
    }
}

pub(crate) fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.secs()).unwrap_or(i64::MAX)
}

/// A zone whose state decides whether this process is ready.
struct ReadyZone {
    label: String,
    /// It must be served, too.
    signed: bool,
}

fn ready_zones(config: &Config) -> Vec<ReadyZone> {
    let signed = config.signer.is_some();
    let zone = |zone: &keystore::config::ZoneConfig| ReadyZone {
        label: zone.name.to_lowercase().to_string(),
        signed: signed && zone.file.is_some(),
    };
    config.zones.iter().map(zone).collect()
}

fn endpoint(zones: &Arc<Mutex<Vec<ReadyZone>>>, metrics: &Metrics) -> Endpoint {
    let zones = Arc::clone(zones);
    let seen = metrics.clone();
    Endpoint {
        metrics: metrics.clone(),
        refresh: Arc::new(|metrics| metrics.clock_time_seconds.set(seconds(clock::now()))),
        not_ready: Arc::new(move || {
            let now = seconds(clock::now());
            let zones = zones.lock().unwrap_or_else(PoisonError::into_inner);
            zones
                .iter()
                .filter_map(|zone| Some(format!("{}: {}", zone.label, missing(&seen, zone, now)?)))
                .collect()
        }),
    }
}

/// What `zone` lacks at `now` (Unix time), by the gauges that its parts have set.
fn missing(metrics: &Metrics, zone: &ReadyZone, now: i64) -> Option<&'static str> {
    let gauge = |family: &prometheus::IntGaugeVec| family.with_label_values(&[&zone.label]).get();
    match () {
        () if gauge(&metrics.skr_generation) == 0 => Some("no SKR is accepted"),
        () if gauge(&metrics.skr_active_bundle_expiration_timestamp_seconds) <= now => {
            Some("no bundle is in force")
        }
        () if zone.signed && gauge(&metrics.zone_signed) == 0 => Some("not served with valid signatures"),
        () => None,
    }
}

async fn serve_http(server: HttpServer, mut stopped: tokio::sync::watch::Receiver<bool>) {
    let stop = async move {
        // An error means that the other end is gone, which is the end too.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    if let Err(error) = server.run(stop).await {
        tracing::error!(%error, "the metrics endpoint ended");
    }
}

fn wake_others(import: &skr_loader::loader::Import, signer: &Signer, timer: &Sender<crate::requests::Wake>) {
    if matches!(import.outcome, ImportOutcome::Accepted { .. }) {
        signer.notify_accept();
        // The timer has ended when nobody listens: the process is stopping.
        let _ = timer.send(crate::requests::Wake::Look);
    }
}
