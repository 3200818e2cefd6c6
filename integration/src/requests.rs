//! `offline-ksk requests`: the request timer as a process of its own, or one look of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use keystore::clock;
use keystore::config::zone_files::memory::Program;
use keystore::config::zone_files::{InUse, ZoneFileErrors};
use keystore::config::{Config, MetricsConfig, ZoneConfig};
use keystore::crypto::pkcs11;
use keystore::pair::Fence;
use ksr_gen::daemon::{NoticeOutcome, Rounds, TickError, TimerLock, TimerOutcome, TimerReport};
use metrics::health::routes::Pages;
use metrics::health::watch::{HealthWatch, Watched};
use metrics::http::{self, Endpoint, Guard};
use serde::Serialize;
use skr_loader::preflight::HostTask;
use skr_loader::service::{self, ConfigurationState, Reloader};
use skr_loader::watching::AUDIT;
use skr_loader::zone_folder::{ZoneFolder, ZoneFolderWatch};

use crate::clock_watch::ClockWatch;
use crate::daemon::{check_config, make_folders, metrics_of, set_configuration};
use crate::probe::rounds::ProbeRounds;
use crate::reports::{ClockJump, TimerStanding};
use crate::timer::{RequestTimer, TimerMessage};

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
    /// Serve /metrics on this address of the loopback, in place of `requests-listen` of the configuration
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "once")]
    metrics: Option<SocketAddr>,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.check_config {
        return check_config(&options.config, &[HostTask::MakeRequests]);
    }
    let config = service::load(&options.config, InUse::Remembered(Program::Requests), clock::now())?;
    service::refuse_pair(&config)?;
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
    pkcs11::do_not_wait();
    let mut signals = service::signals().context("cannot watch for signals")?;
    let stopped = service::stop_flag().context("cannot watch for signals")?;
    let metrics = metrics_of("requests")?;
    service::fit_metrics(&config, &metrics);
    let jump = ClockJump::default();
    let clock_watch = ClockWatch::start(metrics.clone(), jump.clone())?;
    let configured = config.metrics.as_ref().and_then(|metrics| metrics.requests_listen);
    let listen = options.metrics.or(configured);
    let guard = match listen {
        Some(address) => {
            Some(Guard::load(&config.metrics.clone().unwrap_or_else(|| MetricsConfig::at(address)))?)
        }
        None => None,
    };
    let probe = ProbeRounds::start(config.clone(), metrics.clone())?;
    let host = (&config).into();
    let (folder, in_use) = (ZoneFolder::default(), Mutex::new(config.clone()));
    folder.follow(&config);
    service::remember_zone_files(&config, Program::Requests);
    let timer =
        RequestTimer::start_with(config, metrics.clone(), Some(lock), Fence::default(), service::alive)?;
    let watched = Watched {
        host,
        config_file: options.config.clone(),
        audit: AUDIT,
        metrics: metrics.clone(),
        guard: guard.clone(),
        revisions: vec![timer.standing().revision(), probe.standing().revision(), jump.revision()],
    };
    let standing = timer.standing();
    let (seen, started) = (probe.standing(), clock::now());
    standing.start(clock::now());
    let reported = standing.clone();
    let reports = move |now| {
        let reports = reported.report(now).into_iter().chain(seen.report(started, now));
        jump.told(reports.collect())
    };
    let health = HealthWatch::start_unless(watched, reports, &stopped)
        .context("cannot start the watch of the health")?;
    let Some(health) = health.map(Arc::new) else {
        tracing::info!("stopped while it started");
        timer.stop();
        return Ok(ExitCode::SUCCESS);
    };
    let pages = Pages::new(health.newest());
    let endpoint =
        Endpoint::new(metrics.clone(), || clock::now().secs(), move |request| pages.answer(request));
    let _endpoint =
        listen.zip(guard).map(|(address, guard)| http::serve(address, endpoint, guard)).transpose()?;
    let parts = Parts {
        timer: timer.waker(),
        probe: Box::new(probe.reloader()),
        standing,
        health: Arc::clone(&health),
    };
    parts.tell_zone_files(&in_use.lock().unwrap_or_else(PoisonError::into_inner));
    let (path, followed) = (options.config.clone(), folder.clone());
    let reloader = Reloader::new(STATUS, move || {
        let mut in_use = in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let state = reload(&path, &mut in_use, &parts);
        followed.follow(&in_use);
        set_configuration(&metrics, state);
        ((), state)
    });
    let by_folder = reloader.clone();
    let folder_watch = ZoneFolderWatch::start(&options.config, folder, move || by_folder.reload())
        .context("cannot watch the folder of zone files")?;
    service::run_until_stopped(&mut signals, STATUS, || reloader.reload());
    drop(folder_watch);
    timer.begin_stop();
    health.stop();
    drop((reloader, health));
    // The timer does not wait for a token any more.
    pkcs11::stop();
    timer.stop();
    probe.stop();
    clock_watch.stop();
    Ok(ExitCode::SUCCESS)
}

/// The parts of the process that take a new configuration.
struct Parts {
    timer: Sender<TimerMessage>,
    probe: Box<dyn Fn(Config) + Send + Sync>,
    standing: TimerStanding,
    health: Arc<HealthWatch>,
}

impl Parts {
    /// Reports which files of zones are not in use as they lie there.
    fn tell_zone_files(&self, config: &Config) {
        let errors = config.zone_file_errors().and_then(ZoneFileErrors::of_files);
        let errors = errors.map(|text| text.replace('\n', "; "));
        self.standing.set_configuration_error(errors);
    }
}

/// Reads the configuration again, and has every part take it.
fn reload(path: &Path, in_use: &mut Config, parts: &Parts) -> ConfigurationState {
    match service::load(path, InUse::Config(in_use), clock::now()) {
        Ok(config) if config.state_dir != in_use.state_dir => {
            let what = "`state-dir` cannot change while this process runs; restart to take it";
            tracing::error!("{what}");
            parts.standing.set_configuration_error(Some(what.to_owned()));
            ConfigurationState::Refused
        }
        Ok(config) => {
            (parts.probe)(config.clone());
            parts.tell_zone_files(&config);
            parts.health.reload((&config).into());
            // The timer has ended when nobody listens: the process is stopping.
            let _ = parts.timer.send(TimerMessage::Reload(Box::new(config.clone())));
            *in_use = config;
            service::remember_zone_files(in_use, Program::Requests);
            ConfigurationState::from(&*in_use)
        }
        Err(error) => {
            tracing::error!("{error:#}; the old configuration stays in use");
            parts.standing.set_configuration_error(Some(format!("{error:#}")));
            (&error).into()
        }
    }
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
    keys_removed: Vec<String>,
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

fn seen(zone: &ZoneConfig, result: &Result<TimerReport, TickError>, told: Option<&NoticeOutcome>) -> Seen {
    let zone = zone.name.zone_label();
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            return Seen { zone, outcome: "failed", error: Some(error.to_string()), ..Seen::default() };
        }
    };
    let open = report.open.as_ref();
    let (urgency, error) = match told {
        None | Some(NoticeOutcome::Nothing) => (None, None),
        Some(NoticeOutcome::Before(level) | NoticeOutcome::Now(level, _) | NoticeOutcome::Waits(level)) => {
            (Some(level.word()), None)
        }
        Some(NoticeOutcome::Failed(level, error)) => (Some(level.word()), Some(error.to_string())),
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
        keys_removed: report.keys_removed.clone(),
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
    for key in &seen.keys_removed {
        outln!("  removed {key}");
    }
    for warning in &seen.warnings {
        outln!("  warning: {warning}");
    }
    if let Some(error) = &seen.error {
        outln!("  ERROR: {error}");
    }
}
