//! `skr-loader run`: the daemon.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;
use keystore::clock;
use keystore::config::Config;
use keystore::config::zone_files::InUse;
use keystore::config::zone_files::memory::Program;
use metrics::Metrics;
use metrics::health::routes::Pages;
use metrics::health::watch::{HealthWatch, Watched};
use metrics::http::{self, Endpoint, Guard};
use tracing_subscriber::EnvFilter;

use crate::control::ControlAnswer;
use crate::control::server::{Answers, ControlServer};
use crate::loader::{Control, Loader, LoaderStartError};
use crate::preflight::{self, HostTask};
use crate::service::{self, ConfigurationState, Reloader};
use crate::watching::AUDIT;
use crate::zone_folder::{ZoneFolder, ZoneFolderWatch};

/// What the service manager shows.
const STATUS: &str = "watching the inbox";

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
        return Ok(preflight::report(&config, &[HostTask::AcceptSkrs], &args.config, out)?);
    }
    start_log(args.log);
    run(args)?;
    Ok(true)
}

fn run(args: &Args) -> anyhow::Result<()> {
    let config = service::load(&args.config, InUse::Remembered(Program::Loader), clock::now())?;
    service::refuse_pair(&config)?;
    let guard = config.metrics.as_ref().map(Guard::load).transpose()?;
    let listen = config.metrics.as_ref().map(|m| m.listen).zip(guard.clone());
    let metrics = Metrics::new().context("metrics")?;
    let (folder, in_use) = (ZoneFolder::default(), Mutex::new(config.clone()));
    folder.follow(&config);
    service::fit_metrics(&config, &metrics);
    // Before the loader, so that no signal ends us half-way.
    let mut signals = service::signals().context("signal handlers")?;
    let stopped = service::stop_flag().context("cannot watch for signals")?;
    let mut loader = match Loader::new_unless(config, metrics.clone(), &stopped) {
        Err(LoaderStartError::Stopped) => {
            tracing::info!("stopped while it started");
            return Ok(());
        }
        loader => loader?,
    };
    service::remember_zone_files(loader.config(), Program::Loader);
    // There is neither signer nor request timer in this process.
    loader.watch_key_files();
    metrics.build_info.with_label_values(&["skr-loader", env!("CARGO_PKG_VERSION"), ""]).set(1);
    let standing = loader.standing();
    let watched = Watched {
        host: loader.config().into(),
        config_file: args.config.clone(),
        audit: AUDIT,
        metrics: metrics.clone(),
        guard,
        revisions: vec![standing.revision()],
    };
    let reports = move |now| vec![standing.report(now)];
    let health = HealthWatch::start_unless(watched, reports, &stopped).context("health")?;
    let Some(health) = health.map(Arc::new) else {
        tracing::info!("stopped while it started");
        return Ok(());
    };
    let pages = Pages::new(health.newest());
    let endpoint = Endpoint::new(metrics, || clock::now().secs(), move |request| pages.answer(request));
    let _endpoint = listen.map(|(address, guard)| http::serve(address, endpoint, guard)).transpose()?;
    let control = loader.control();
    let (reloading, path) = (control.clone(), args.config.clone());
    let watch = Arc::clone(&health);
    let followed = folder.clone();
    let reloader = Reloader::new(STATUS, move || {
        let mut in_use = in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = reload(&reloading, &path, &watch, &mut in_use);
        followed.follow(&in_use);
        answer
    });
    let by_command = reloader.clone();
    let by_folder = reloader.clone();
    let folder_watch = ZoneFolderWatch::start(&args.config, folder, move || drop(by_folder.reload()))
        .context("zone folder")?;
    let answers = Answers { reload: Arc::new(move || by_command.reload()), health: Arc::clone(&health) };
    let _socket = match ControlServer::start(loader.config(), control.clone(), answers) {
        Ok(socket) => Some(socket),
        // Nobody can give commands then; what is dropped is taken all the same.
        Err(error) => {
            tracing::error!(%error, "no control socket");
            None
        }
    };
    tracing::info!(config = %args.config.display(), "skr-loader runs");
    let ending = Arc::clone(&health);
    let thread = thread::Builder::new().name("signals".to_owned());
    thread
        .spawn(move || {
            service::run_until_stopped(&mut signals, STATUS, || drop(reloader.reload()));
            drop(folder_watch);
            control.stop();
            ending.begin_stop();
        })
        .context("signal thread")?;
    let clock = || {
        service::alive();
        clock::now()
    };
    loader.run(clock, |_| ());
    health.stop();
    tracing::info!("skr-loader stops");
    Ok(())
}

/// Reads the configuration again, and has the loader take it.
fn reload(
    control: &Control,
    path: &Path,
    health: &HealthWatch,
    in_use: &mut Config,
) -> (ControlAnswer, ConfigurationState) {
    match service::load(path, InUse::Config(in_use), clock::now()) {
        Ok(config) => {
            health.reload((&config).into());
            let Some(result) = control.reload_and_wait(config.clone()) else {
                let what = "the loader is stopping, or very busy; the configuration is read again by itself";
                return (ControlAnswer::refused(what), ConfigurationState::Unread);
            };
            let answer = ControlAnswer::of_taken(result.as_ref().copied(), &config);
            if result.is_ok() {
                *in_use = config;
                service::remember_zone_files(in_use, Program::Loader);
            }
            answer
        }
        Err(error) => {
            tracing::error!("the configuration is not taken, the old one stays in use: {error}");
            let (answer, state) = ControlAnswer::of_errors(&error);
            control.reload_failed(state);
            (answer, state)
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
