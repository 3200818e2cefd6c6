//! `offline-ksk serve`: loader, request timer, signer and metrics in one process.
//!
//! The parts run by themselves and meet in files, as they would as processes of their own; here the loader also wakes the
//! signer and the timer as soon as an SKR is accepted.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use keystore::clock;
use keystore::config::pair::PairConfig;
use keystore::config::query::TlsConfig;
use keystore::config::zone_files::InUse;
use keystore::config::zone_files::memory::Program;
use keystore::config::{Config, SignerConfig};
use keystore::crypto::pkcs11;
use keystore::pair::Fence;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::health::gather::OwnReport;
use metrics::health::revision::Revision;
use metrics::health::watch::{HealthWatch, Watched};
use metrics::http::{Guard, RunningEndpoint as HttpServing, read_authorities};
use signer_plugin::border::SignerHandler;
use signer_plugin::border::server::{Listen, Server as DnsServer};
use signer_plugin::incoming::{CatalogFollower, PrimaryFollower};
use signer_plugin::runtime::{Signer, authority_files};
use signer_plugin::transfer::notify::Notifier;
use skr_loader::control::ControlAnswer;
use skr_loader::control::server::{Answers, ControlServer};
use skr_loader::loader::{Control, ImportOutcome, Loader, LoaderStartError};
use skr_loader::service::{self, ConfigurationState, Reloader, Signals, Waited};
use skr_loader::standing::LoaderStatus;
use skr_loader::watching::AUDIT;
use skr_loader::zone_folder::{ZoneFolder, ZoneFolderWatch};

use crate::catalogs::CatalogStanding;
use crate::clock_watch::ClockWatch;
use crate::daemon::{make_folders, metrics_of, serve_http};
use crate::pair::{Keeper, PairStanding, Role, Standby};
use crate::probe::rounds::{ProbeRounds, ProbeStanding};
use crate::reports::{self, ClockJump, TimerStanding};
use crate::timer::{self, RequestTimer};

/// What the service manager shows.
const STATUS: &str = "serving";
const ACTIVE: &str = "serving as the active host of the pair";
const STANDBY: &str = "standby of the pair";

/// Serves until SIGTERM or SIGINT; SIGHUP reads the configuration again.
pub fn run(path: &Path) -> Result<ExitCode> {
    let mut signals = service::signals().context("cannot watch for signals")?;
    pkcs11::do_not_wait();
    let stopped = service::stop_flag().context("cannot watch for signals")?;
    let config = load_at_start(path)?;
    if let Some(pair) = config.pair.clone() {
        return run_in_pair(path, &pair, config, &mut signals);
    }
    let Some(serving) = ServeProcess::start_unless(path, config, &stopped, None)? else {
        tracing::info!("stopped while it started");
        return Ok(ExitCode::SUCCESS);
    };
    service::run_until_stopped(&mut signals, STATUS, || serving.reload());
    // No part waits for a token any more.
    pkcs11::stop();
    serving.stop();
    Ok(ExitCode::SUCCESS)
}

/// Serves while this host is the active one of its pair, and waits while it is not, until SIGTERM or SIGINT.
fn run_in_pair(path: &Path, pair: &PairConfig, config: Config, signals: &mut Signals) -> Result<ExitCode> {
    let keeper = Keeper::start(path, pair, &config).context("cannot start to watch the lease")?;
    let ended = take_turns(path, pair, config, signals, &keeper.standing());
    service::tell_stopping();
    // Also where a part cannot start: the other host need not wait for the lease of this one.
    keeper.stop();
    ended.map(|()| ExitCode::SUCCESS)
}

/// Is the standby or the active host, as the lease says.
fn take_turns(
    path: &Path,
    pair: &PairConfig,
    mut config: Config,
    signals: &mut Signals,
    standing: &PairStanding,
) -> Result<()> {
    loop {
        let waited = match standing.role() {
            Role::Standby => {
                let standby = Standby::start(path, &config, standing)?;
                let still = || {
                    // Nobody else does while no loader runs.
                    service::alive();
                    standing.role() == Role::Standby
                };
                let waited = service::wait(signals, STANDBY, still);
                standby.stop();
                waited
            }
            Role::Active(generation) => {
                // One of its own each time: the loader that ends sets it.
                let stopped = service::stop_flag().context("cannot watch for signals")?;
                let serving = ServeProcess::start_unless(path, config.clone(), &stopped, Some(standing))?;
                let Some(serving) = serving else { return Ok(()) };
                let still = || standing.role() == Role::Active(generation);
                let mut waited = service::wait(signals, ACTIVE, still);
                while waited == Waited::Reload {
                    serving.reload();
                    waited = service::wait(signals, ACTIVE, still);
                }
                if waited == Waited::Stop {
                    // No part waits for a token any more.
                    pkcs11::stop();
                }
                serving.stop();
                standing.set_idle();
                waited
            }
        };
        if waited == Waited::Stop {
            return Ok(());
        }
        match service::load(path, InUse::Config(&config), clock::now()) {
            Ok(new) if new.pair.as_ref() == Some(pair) => config = new,
            Ok(_) => tracing::error!(
                "`[pair]` cannot change while this process runs; the old configuration stays in use, restart to take it"
            ),
            Err(error) => tracing::error!("{error:#}; the old configuration stays in use"),
        }
    }
}

/// All parts at work. [`ServeProcess::stop`] ends them in order; dropping it ends the process's parts at once.
pub struct ServeProcess {
    /// Before the parts that its reloads steer, too.
    folder_watch: ZoneFolderWatch,
    /// Before the parts that it steers: no command comes in while they end.
    socket: Option<ControlServer>,
    runtime: tokio::runtime::Runtime,
    loader: Control,
    loader_thread: JoinHandle<()>,
    timer: RequestTimer,
    clock_watch: ClockWatch,
    probe: ProbeRounds,
    signer: Arc<Signer>,
    notifier: Arc<Notifier>,
    follower: Arc<PrimaryFollower>,
    catalogs: Arc<CatalogFollower>,
    dns: Option<DnsServer>,
    endpoint: Option<HttpServing>,
    health: Arc<HealthWatch>,
    reloader: Reloader<ControlAnswer>,
}

/// Takes a new configuration to every part; for the signal and for the control socket.
struct Reloading {
    path: PathBuf,
    loader: Control,
    timer: Sender<timer::TimerMessage>,
    signer: Arc<Signer>,
    notifier: Arc<Notifier>,
    follower: Arc<PrimaryFollower>,
    catalogs: Arc<CatalogFollower>,
    standing: CatalogStanding,
    probe: Box<dyn Fn(Config) + Send>,
    /// The configuration in use.
    config: Config,
    folder: ZoneFolder,
    health: Arc<HealthWatch>,
    pair: Option<PairStanding>,
}

impl ServeProcess {
    /// Reads the configuration and starts every part. An error means that nothing runs.
    pub fn start(path: &Path) -> Result<Self> {
        let config = load_at_start(path)?;
        let serving = Self::start_unless(path, config, &Arc::default(), None)?;
        serving.context("nobody has stopped it")
    }

    /// Starts every part; `None` when `stopped` was set before all had started: nothing runs then.
    fn start_unless(
        path: &Path,
        config: Config,
        stopped: &Arc<AtomicBool>,
        pair: Option<&PairStanding>,
    ) -> Result<Option<Self>> {
        check_addresses(&config)?;
        let guard = config.metrics.as_ref().map(Guard::load).transpose()?;
        let metrics = metrics_of("serve")?;
        service::fit_metrics(&config, &metrics);
        make_folders(&config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;

        let fence = pair.map(PairStanding::fence).unwrap_or_default();
        let mut loader = match Loader::new_unless(config.clone(), metrics.clone(), stopped) {
            Err(LoaderStartError::Stopped) => return Ok(None),
            loader => loader?,
        };
        loader.set_fence(fence.clone());
        let signer = Arc::new(
            Signer::start_fenced(&config, &metrics, Arc::new(clock::now), fence.clone())
                .context("cannot start the signer")?,
        );
        let dns = serve_dns(&config, &signer, &metrics, &runtime)?;
        let notifier = Arc::new(Notifier::new(runtime.handle().clone(), Arc::new(clock::now)));
        notifier.follow(signer.transfers());
        let follower = Arc::new(PrimaryFollower::new(runtime.handle().clone(), Arc::new(clock::now)));
        follower.follow(signer.from_primaries());
        let folder = ZoneFolder::default();
        let catalogs = follow_catalogs(&runtime, &signer, &folder, fence.clone());
        let standing = CatalogStanding::new(&config, &signer, catalogs.faults(), &metrics);
        let timer = RequestTimer::start(config.clone(), metrics.clone(), fence.clone())?;
        let jump = ClockJump::default();
        let clock_watch = ClockWatch::start(metrics.clone(), jump.clone())?;
        let probe = ProbeRounds::start(config.clone(), metrics.clone())?;
        let (loads, requests, probes) = (loader.standing(), timer.standing(), probe.standing());
        let others =
            [loads.revision(), requests.revision(), probes.revision(), jump.revision(), standing.revision()];
        let of_pair: Vec<_> = pair.map(PairStanding::revision).into_iter().collect();
        let revisions = [&signer.revisions()[..], &others, &of_pair[..]].concat();
        let watched = watched(path, &config, &metrics, guard.clone(), revisions);
        if stopped.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let parts = (loads, requests, Arc::clone(&signer), config.signer.is_some(), standing.clone());
        let all = with_pair(reports(parts, probes, jump), pair, &metrics);
        let health = HealthWatch::start_unless(watched, all, stopped)
            .context("cannot start the watch of the health")?;
        let Some(health) = health.map(Arc::new) else { return Ok(None) };
        let endpoint = serve_http(&config, health.newest(), metrics.clone(), guard)?;
        let control = loader.control();
        let loader_thread = run_loader(loader, Arc::clone(&signer), timer.waker())?;
        folder.follow(&config);
        service::remember_zone_files(&config, Program::Loader);
        let reloading = Arc::new(Mutex::new(Reloading {
            path: path.to_owned(),
            loader: control.clone(),
            timer: timer.waker(),
            signer: Arc::clone(&signer),
            notifier: Arc::clone(&notifier),
            follower: Arc::clone(&follower),
            catalogs: Arc::clone(&catalogs),
            standing,
            probe: Box::new(probe.reloader()),
            config: config.clone(),
            folder: folder.clone(),
            health: Arc::clone(&health),
            pair: pair.cloned(),
        }));
        let at_socket = Arc::clone(&reloading);
        let reloader =
            Reloader::new(STATUS, move || at_socket.lock().unwrap_or_else(PoisonError::into_inner).reload());
        let by_command = reloader.clone();
        let by_folder = reloader.clone();
        let folder_watch = ZoneFolderWatch::start(path, folder, move || drop(by_folder.reload()))
            .context("cannot watch the folder of zone files")?;
        let answers = Answers { reload: Arc::new(move || by_command.reload()), health: Arc::clone(&health) };
        let socket = start_socket(&config, &control, answers);
        let serving = Self {
            folder_watch,
            socket,
            runtime,
            loader: control,
            loader_thread,
            timer,
            clock_watch,
            probe,
            signer,
            notifier,
            follower,
            catalogs,
            dns,
            endpoint,
            health,
            reloader,
        };
        serving.tell_addresses();
        Ok(Some(serving))
    }

    /// Says in the log where DNS is served.
    fn tell_addresses(&self) {
        for address in self.dns() {
            tracing::info!(%address, "serving");
        }
        for address in self.dns.iter().flat_map(DnsServer::tls_addresses) {
            tracing::info!(%address, "serving DNS over TLS");
        }
        for address in self.dns.iter().flat_map(DnsServer::https_addresses) {
            tracing::info!(%address, "serving DNS over HTTPS");
        }
        for address in self.dns.iter().flat_map(DnsServer::quic_addresses) {
            tracing::info!(%address, "serving DNS over QUIC");
        }
    }

    /// Addresses that DNS is served on.
    #[must_use]
    pub fn dns(&self) -> &[SocketAddr] {
        self.dns.as_ref().map_or(&[], DnsServer::addresses)
    }

    /// Address of the HTTP endpoint.
    #[must_use]
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.endpoint.as_ref().map(HttpServing::address)
    }

    /// Reads the configuration again; the old one stays in use when it is wrong, and until it can be read.
    pub fn reload(&self) {
        drop(self.reloader.reload());
    }

    /// Ends every part: takes no more queries, finishes the import under way.
    pub fn stop(mut self) {
        drop(self.folder_watch);
        // What each part is at ends at the same time.
        self.health.begin_stop();
        self.timer.begin_stop();
        self.loader.stop();
        drop(self.socket.take());
        if let Some(dns) = self.dns.take() {
            self.runtime.block_on(dns.shutdown());
        }
        self.signer.begin_shutdown();
        drop(self.endpoint.take());
        if self.loader_thread.join().is_err() {
            tracing::error!("the loader ended in a way that it should not; please report this");
        }
        self.timer.stop();
        self.clock_watch.stop();
        self.probe.stop();
        self.health.stop();
        drop(self.reloader);
        drop(self.notifier);
        drop(self.follower);
        drop(self.catalogs);
        drop(self.signer);
        self.runtime.shutdown_background();
    }
}

impl Reloading {
    /// Says why a configuration is not taken.
    fn refused(&self, what: String, config: &Config) -> (ControlAnswer, ConfigurationState) {
        tracing::error!("{what}; the old configuration stays in use");
        self.loader.reload_failed(ConfigurationState::Refused);
        ControlAnswer::of_reload(Err(what), &config.warnings)
    }

    fn reload(&mut self) -> (ControlAnswer, ConfigurationState) {
        let mut config = match service::load(&self.path, InUse::Config(&self.config), clock::now()) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("{error:#}; the old configuration stays in use");
                let (answer, state) = ControlAnswer::of_errors(&error);
                self.loader.reload_failed(state);
                return (answer, state);
            }
        };
        if let Some(what) = fixed(&self.config, &config) {
            let what = format!("{what} cannot change while this process runs; restart it to take that");
            return self.refused(what, &config);
        }
        if let Err(errors) = config.settle_transfer_keys(Some(&self.config)) {
            let what = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return self.refused(what, &config);
        }
        if let Some(error) = unread_authorities(&self.config, &config) {
            return self.refused(format!("transfers over TLS: {error}"), &config);
        }
        if let Err(error) = make_folders(&config) {
            tracing::error!("{error:#}; requests of the zone fail until the folder is there");
        }
        if let Err(error) = self.signer.reload(&config) {
            return self.refused(error.to_string(), &config);
        }
        self.health.reload((&config).into());
        if let Some(pair) = &self.pair {
            pair.set_config(&config);
        }
        self.notifier.follow(self.signer.transfers());
        self.follower.follow(self.signer.from_primaries());
        self.catalogs.follow(self.signer.taken_catalogs());
        self.standing.take(&config);
        // The timer has ended when nobody listens: the process is stopping.
        let _ = self.timer.send(timer::TimerMessage::Reload(Box::new(config.clone())));
        (self.probe)(config.clone());
        let taken = self.loader.reload_and_wait(config.clone());
        self.config = config;
        self.folder.follow(&self.config);
        service::remember_zone_files(&self.config, Program::Loader);
        match taken {
            Some(result) => ControlAnswer::of_taken(result, &self.config),
            None => {
                let what = "the loader does not answer; restart this process";
                tracing::error!("{what}");
                (ControlAnswer::refused(what), ConfigurationState::Refused)
            }
        }
    }
}

/// The configuration of a start. What is wrong with the key files themselves is said by the signer, which goes on without them.
fn load_at_start(path: &Path) -> Result<Config> {
    let mut config = service::load(path, InUse::Remembered(Program::Loader), clock::now())?;
    let _ = config.settle_transfer_keys(None);
    Ok(config)
}

/// Fails where an address is taken before the files of many zones are read, which takes long and is in vain then.
fn check_addresses(config: &Config) -> Result<()> {
    let tls = |signer: &SignerConfig| {
        let tls = signer.query.tls.iter();
        tls.flat_map(|tls| tls.listen.iter().chain(&tls.https).copied().collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let dns = config.signer.iter().flat_map(|signer| signer.listen.iter().copied().chain(tls(signer)));
    for address in dns.chain(config.metrics.as_ref().map(|metrics| metrics.listen)) {
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    }
    let quic = config.signer.iter().flat_map(|signer| signer.query.tls.iter().flat_map(|tls| &tls.quic));
    for address in quic {
        UdpSocket::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    }
    Ok(())
}

/// What the watch of the health looks at.
fn watched(
    path: &Path,
    config: &Config,
    metrics: &Metrics,
    guard: Option<Guard>,
    revisions: Vec<Revision>,
) -> Watched {
    let (config_file, metrics) = (path.to_owned(), metrics.clone());
    Watched { host: config.into(), config_file, audit: AUDIT, metrics, guard, revisions }
}

/// The control socket; `None` where there is none: nobody can give commands then, and everything else works.
fn start_socket(config: &Config, control: &Control, answers: Answers) -> Option<ControlServer> {
    let socket = ControlServer::start(config, control.clone(), answers);
    socket.inspect_err(|error| tracing::error!(%error, "no control socket")).ok()
}

/// Follows the catalogs that zones are taken from; what changes in one has the configuration read again.
fn follow_catalogs(
    runtime: &tokio::runtime::Runtime,
    signer: &Signer,
    folder: &ZoneFolder,
    fence: Fence,
) -> Arc<CatalogFollower> {
    let folder = folder.clone();
    let changed = Arc::new(move || folder.wake());
    let catalogs = CatalogFollower::new(runtime.handle().clone(), Arc::new(clock::now), fence, changed);
    catalogs.follow(signer.taken_catalogs());
    Arc::new(catalogs)
}

/// Answers queries for the zones of the signer, where the configuration has addresses for that.
fn serve_dns(
    config: &Config,
    signer: &Signer,
    metrics: &Metrics,
    runtime: &tokio::runtime::Runtime,
) -> Result<Option<DnsServer>> {
    let Some(wanted) = &config.signer else { return Ok(None) };
    let handler = SignerHandler::alone(signer.hosted());
    let mut listen = Listen::on(wanted.listen.clone()).with_metrics(metrics);
    if let Some(tls) = &wanted.query.tls {
        listen =
            listen.with_tls(tls.listen.clone()).with_https(tls.https.clone()).with_quic(tls.quic.clone());
    }
    Ok(Some(runtime.block_on(async { DnsServer::start(&listen, &handler) })?))
}

/// Why a file of authorities that is named for the first time cannot be read, as for the keys of transfers. What was read of the others
/// stays in use, whatever becomes of them.
fn unread_authorities(old: &Config, new: &Config) -> Option<String> {
    let known = authority_files(old);
    let files = authority_files(new).into_iter().filter(|file| !known.contains(file));
    let errors: Vec<String> =
        files.filter_map(|file| read_authorities(&file).err()).map(|e| e.to_string()).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

/// What differs between two configurations and is fixed while the process runs.
fn fixed(old: &Config, new: &Config) -> Option<&'static str> {
    let listen = |config: &Config| config.signer.as_ref().map(|signer| signer.listen.clone());
    let of_tls = |config: &Config, listen: fn(&TlsConfig) -> &Vec<SocketAddr>| {
        let tls = config.signer.as_ref().and_then(|signer| signer.query.tls.as_ref());
        tls.map(listen).cloned().unwrap_or_default()
    };
    let differs = |listen: fn(&TlsConfig) -> &Vec<SocketAddr>| of_tls(old, listen) != of_tls(new, listen);
    let metrics = |config: &Config| config.metrics.as_ref().map(|metrics| metrics.listen);
    match () {
        () if old.state_dir != new.state_dir => Some("`state-dir`"),
        () if listen(old) != listen(new) => Some("`[signer] listen`"),
        () if differs(|tls| &tls.listen) => Some("`[signer] tls-listen`"),
        () if differs(|tls| &tls.https) => Some("`[signer] https-listen`"),
        () if differs(|tls| &tls.quic) => Some("`[signer] quic-listen`"),
        () if old.pair != new.pair => Some("`[pair]`"),
        () if metrics(old) != metrics(new) => Some("`[metrics] listen`"),
        () => None,
    }
}

/// What the parts of this process report of themselves; there is a signer to report where the last one is true.
fn reports(
    (loader, timer, signer, signs, catalogs): (
        LoaderStatus,
        TimerStanding,
        Arc<Signer>,
        bool,
        CatalogStanding,
    ),
    probe: ProbeStanding,
    jump: ClockJump,
) -> impl Fn(Timestamp) -> Vec<OwnReport> + Send + 'static {
    let started = clock::now();
    move |now| {
        let mut of_loader = loader.report(now);
        of_loader.report.catalogs = catalogs.reports();
        let mut reports = vec![of_loader];
        reports.extend(timer.report(now));
        reports.extend(probe.report(started, now));
        reports.extend(signs.then(|| reports::of_signer(&signer, started, now)));
        jump.told(reports)
    }
}

/// The same with the report of the pair, where this host is one of two.
fn with_pair(
    of_parts: impl Fn(Timestamp) -> Vec<OwnReport> + Send + 'static,
    pair: Option<&PairStanding>,
    metrics: &Metrics,
) -> impl Fn(Timestamp) -> Vec<OwnReport> + Send + 'static {
    let pair = pair.cloned().map(|pair| (pair, metrics.clone()));
    move |now| {
        let of_pair = pair.as_ref().map(|(pair, metrics)| pair.report(now, metrics));
        of_parts(now).into_iter().chain(of_pair).collect()
    }
}

/// Runs the loader in a thread of its own; what it accepts wakes the signer and the request timer.
fn run_loader(
    mut loader: Loader,
    signer: Arc<Signer>,
    timer: Sender<timer::TimerMessage>,
) -> Result<JoinHandle<()>> {
    let clock = || {
        service::alive();
        clock::now()
    };
    let run = move || loader.run(clock, |import| wake_others(import, &signer, &timer));
    std::thread::Builder::new().name("loader".to_owned()).spawn(run).context("cannot start the loader")
}

fn wake_others(
    import: &skr_loader::loader::FileImport,
    signer: &Signer,
    timer: &Sender<timer::TimerMessage>,
) {
    if matches!(import.outcome, ImportOutcome::Accepted { .. }) {
        match &import.zone {
            Some(zone) => signer.notify_accept_of(zone),
            None => signer.notify_accept(),
        }
        // The timer has ended when nobody listens: the process is stopping.
        let _ = timer.send(timer::TimerMessage::Look);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const ZONE: &str = "[[zone]]\nname = \"a.test\"\npolicy = \"p\"\ntrust-anchors = [\"a.test. DS 18064 13 2 \
        3A29A99C11758FF5431CE194C22EDF9264022A985D25CFC7319FC2BE29529000\"]\n[policy.p]\noffline-ksk = true\nkeys = [\
        { role = \"ksk\", lifetime = \"unlimited\", algorithm = 13 }, { role = \"zsk\", lifetime = \"unlimited\", algorithm = 13 }]\n";

    #[test]
    fn authorities_that_are_new_must_read_and_those_in_use_may_go() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = |allowed: &str| {
            let zone = ZONE.replace("[policy.p]", &format!("allow-transfer = [{allowed}]\n[policy.p]"));
            let text = format!("version = 1\nstate-dir = \"/nonexistent\"\n{zone}");
            Config::parse(text.as_bytes(), &dir.path().join("c.toml")).unwrap_or_else(|e| panic!("{e}"))
        };
        let without = config("");
        let with = config("{ tls = { client-ca-file = \"ca.pem\" } }");
        let said = unread_authorities(&without, &with).expect("it is not there");
        assert!(said.contains("ca.pem"), "{said}");
        assert_eq!(unread_authorities(&with, &with), None);
        assert_eq!(unread_authorities(&with, &without), None);
        std::fs::write(dir.path().join("ca.pem"), "half a file").expect("written");
        assert!(unread_authorities(&without, &with).is_some());
    }

    #[test]
    fn kind_111_a_start_fails_by_an_address_that_is_taken_before_anything_is_read() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = taken.local_addr().map(|address| (taken, address)).expect("its address");
        let config = |dns: &str, http: &str| {
            let text = format!(
                "version = 1\nstate-dir = \"/nonexistent\"\n{ZONE}[signer]\nlisten = [\"{dns}\"]\n[metrics]\nlisten = \"{http}\"\n"
            );
            Config::parse(text.as_bytes(), &PathBuf::from("/x/c.toml")).expect("a configuration")
        };
        let (free, busy) = ("127.0.0.1:0", taken.1.to_string());
        assert!(check_addresses(&config(free, free)).is_ok());
        for (dns, http) in [(busy.as_str(), free), (free, busy.as_str())] {
            let error = check_addresses(&config(dns, http)).expect_err("it is taken");
            assert!(format!("{error:#}").contains(&busy), "{error:#}");
        }
    }
}
