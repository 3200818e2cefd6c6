//! `skr-loader run`: the daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use keystore::config::{Config, ConfigErrors};
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::http::{Endpoint, Server};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

use crate::control::Answer;
use crate::control::server::Server as ControlServer;
use crate::loader::{Control, Loader};
use crate::preflight::{self, Daemon};
use crate::service;

/// Watch the inbox, and accept or reject what is dropped there, until SIGTERM.
///
/// A dropped SKR that passes every check becomes the new generation below `accepted/` in the state folder; any other file
/// is moved to `rejected/`, with a `.reason` beside it. Write elsewhere and rename into the inbox; a file that is still
/// being written is waited for. SIGHUP reads the configuration again, and keeps the old one when the new one has errors.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/offline-ksk/offline-ksk.toml")]
    config: PathBuf,
    /// Only read and check the configuration, and what it needs of this host: all findings at once. Exit code 1 when there is an error.
    #[arg(long)]
    check_config: bool,
    /// Form of the log lines, on standard error.
    #[arg(long, value_name = "FORM", default_value = "text")]
    log: LogForm,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogForm {
    /// One line of text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Runs the daemon until a signal stops it; true when all is well.
pub fn main(args: &Args, out: &mut impl std::io::Write) -> anyhow::Result<bool> {
    if args.check_config {
        let config = Config::load(&args.config)?;
        return Ok(preflight::report(&config, Daemon::Loader, &args.config, out)?);
    }
    start_log(args.log);
    run(args)?;
    Ok(true)
}

fn run(args: &Args) -> anyhow::Result<()> {
    let config = load(&args.config)?;
    let listen = config.metrics.as_ref().map(|m| m.listen);
    let metrics = Metrics::new().context("metrics")?;
    // Before the loader, so that no signal ends us half-way.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signal handlers")?;
    let mut loader = Loader::new(config, metrics.clone())?;
    // There is neither signer nor request timer in this process.
    loader.watch_key_files();
    metrics.build_info.with_label_values(&["skr-loader", env!("CARGO_PKG_VERSION"), ""]).set(1);
    if let Some(address) = listen {
        serve_metrics(address, metrics)?;
    }
    let control = loader.control();
    let path = args.config.clone();
    let (reloading, reload_path) = (control.clone(), path.clone());
    let reload = Arc::new(move || reload(&reloading, &reload_path));
    let _socket = match ControlServer::start(loader.config(), control.clone(), reload) {
        Ok(socket) => Some(socket),
        // Nobody can give commands then; what is dropped is taken all the same.
        Err(error) => {
            tracing::error!(%error, "no control socket");
            None
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || on_signals(signals, &control, &path)).context("signal thread")?;
    tracing::info!(config = %args.config.display(), "skr-loader runs");
    service::ready("watching the inbox");
    let clock = || {
        service::alive();
        keystore::clock::now()
    };
    loader.run(clock, |_| ());
    service::stopping();
    tracing::info!("skr-loader stops");
    Ok(())
}

/// What a reload over the control socket does.
fn reload(control: &Control, path: &Path) -> Answer {
    service::reloading();
    let answer = match load(path) {
        Ok(config) => {
            let (zones, warnings) = (config.zones.len(), config.warnings.clone());
            control.reload_and_wait(config).map_or_else(
                || Answer::refused("the loader is stopping, or very busy; try again"),
                |result| Answer::of_reload(result.map(|()| zones).map_err(|e| e.to_string()), &warnings),
            )
        }
        Err(error) => {
            tracing::error!("the configuration has errors, the old one stays in use: {error}");
            control.reload_failed();
            Answer::of_errors(&error)
        }
    };
    service::ready("watching the inbox");
    answer
}

fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let config = Config::load(path)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

fn on_signals(mut signals: Signals, control: &Control, path: &Path) {
    for signal in signals.forever() {
        if signal != SIGHUP {
            control.stop();
            continue;
        }
        service::reloading();
        match load(path) {
            Ok(config) => {
                if !control.reload(config) {
                    return;
                }
                service::ready("watching the inbox");
            }
            Err(error) => {
                tracing::error!("the configuration has errors, the old one stays in use: {error}");
                control.reload_failed();
                service::ready("the configuration has errors, the old one stays in use");
            }
        }
    }
}

fn start_log(form: LogForm) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match form {
        LogForm::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogForm::Json => log.json().init(),
    }
}

/// Serves `/metrics` in a thread of its own, until the process ends.
fn serve_metrics(address: std::net::SocketAddr, metrics: Metrics) -> anyhow::Result<()> {
    let watch_up = metrics.watch_up.clone();
    let endpoint = Endpoint {
        metrics,
        refresh: Arc::new(|metrics| metrics.clock_time_seconds.set(unix(keystore::clock::now()))),
        not_ready: Arc::new(move || match watch_up.get() {
            0 => vec!["the inbox is not watched".to_owned()],
            _ => Vec::new(),
        }),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let server = runtime.block_on(Server::bind(address, endpoint))?;
    tracing::info!(address = %server.address(), "metrics are served");
    let thread = thread::Builder::new().name("metrics".to_owned());
    thread.spawn(move || {
        if let Err(error) = runtime.block_on(server.run(std::future::pending())) {
            tracing::error!(%error, "metrics are served no more");
        }
    })?;
    Ok(())
}

fn unix(time: Timestamp) -> i64 {
    i64::try_from(time.secs()).unwrap_or(i64::MAX)
}
