//! The daemon: takes dropped files from the inbox, judges them, commits the good ones, and tells what it did.
//!
//! [`Loader::step`] does everything that is due at one moment, without waiting; [`Loader::run`] is a loop around it.
//!
//! The life of an SKR, and the type that it has in each state:
//!
//! ```text
//!  on disk                     what it is in the program
//!
//!  inbox/FILE                  Pending ── half written, or cannot be read ──▶ stays in the inbox, looked at again
//!      │                          │ whole and at rest
//!      │                          ▼
//!      │                       Dropped: its octets, read once
//!      │                          │ parse
//!      │                          ▼
//!      │                       Candidate, with an UnverifiedSkr
//!      │                          │ judge::judge(Candidate, Evidence, Overrides, now)
//!      │                          ├─ Verdict::Reject ────▶ rejected/FILE + FILE.reason, with the ID of the check; final
//!      │                          ├─ Verdict::Unchanged ─▶ it is in force already: the file goes, nothing else changes
//!      │                          ▼
//!      │                       Verdict::Accept, with a VerifiedSkr
//!      │ Store::commit            │ Loader::carry_out
//!      ▼                          ▼
//!  accepted/ZONE/N.skr         InForce: named by `current`, delivered and served
//!      │                          │ a later generation, or a rollback that a person orders
//!      ▼                          ▼
//!  accepted/ZONE/N.skr         replaced: kept for a rollback, pruned by age and number, then noted in `replaced`
//! ```
//!
//! Only what is in force is delivered and served. Whatever fails on the way leaves the generation before in force.

mod acknowledge;
mod aside;
mod audit_log;
mod carry_out;
mod clock;
mod import;
mod key_files;
mod many;
mod outcome;
mod rollback;
mod standing;
#[cfg(test)]
mod tests;
mod zone;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use keystore::config::Config;
use keystore::dns::Name;
use keystore::pair::Fence;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::health::report::ZoneReports;
use metrics::zones::ReportingPart;

use crate::audit::{self, AuditEvent, AuditWriter, Record};
use crate::deliver::Deliveries;
use crate::inbox::{EventTaken, InFile, Inbox, InboxEvent, More, OnEvent, Polled};
use crate::parent_watch::ParentWatch;
use crate::rejected::Rejected;
use crate::report;
use crate::service::ConfigurationState;
use crate::standing::LoaderStatus;
use crate::store::{Digest, InForce, Store, StoreOpenError};
use clock::ClockGuard;
use zone::{LoaderZone, NotDurable};

pub use acknowledge::{AcknowledgeError, Acknowledgement};
pub use outcome::{FileImport, ImportOutcome};
pub use rollback::{Rollback, RollbackError};

/// Events that wait to be fetched at most; more are replaced by one scan.
const QUEUE: usize = 4096;
/// Longest pause between two steps: what is due, tried again, or gone meanwhile is seen within it.
const PAUSE: Duration = Duration::from_secs(1);
/// How long somebody waits for a place in the queue.
const ASK_TIME: Duration = Duration::from_secs(10);
/// Why one host of two takes nothing.
pub(crate) const NO_LEASE: &str =
    "this host of the pair has no lease now (LEASE-LOST), and takes nothing until it has one";
/// What is said while the clock is not plausible.
const CLOCK: &str = "the clock stands before the last lines of the audit log; set it first";
/// The loader with everything that it holds.
#[derive(Debug)]
pub struct Loader {
    config: Config,
    metrics: Metrics,
    store: Store,
    audit: AuditWriter,
    inbox: Inbox,
    rejected: Rejected,
    zones: BTreeMap<Name, LoaderZone>,
    deliveries: Deliveries,
    parent_watch: ParentWatch,
    handing_on: HandingOn,
    key_files: key_files::KeyFileWatch,
    /// Rejected files that are yet to be moved.
    aside: Vec<aside::RejectedInInbox>,
    messages: Receiver<Message>,
    control: Control,
    /// When it may change what is in force: always, but on one host of two.
    fence: Fence,
    /// How it stands, for other threads.
    standing: LoaderStatus,
    clock: ClockGuard,
    /// When [`Loader::run`] began.
    started: Option<Timestamp>,
    /// When all of the inbox was last looked at.
    last_scan: Option<Timestamp>,
    /// Why the last line of the audit log could not be written.
    audit_error: Option<String>,
    /// What an earlier run wrote at the end of the audit log was read.
    audit_is_read: bool,
    /// Second in which the log was last tried to be read and opened, where that failed.
    audit_tried: Option<Timestamp>,
    /// The last outcome of each zone that was read there, by the `zone` label.
    audit_tail: BTreeMap<String, Record>,
    /// What is to be told to who waits for imports.
    ordered: Vec<FileImport>,
    /// Parts of files of several zones that were rejected already, while the rest of their file waits for another try.
    rejected_parts: HashMap<InFile, HashSet<Digest>>,
    /// What is in force and not surely on disk.
    not_durable: Vec<NotDurable>,
    /// Files of several zones of which some parts are not judged yet.
    many: VecDeque<many::ManyImport>,
    /// Changes of what is in force for any zone, counted since the start.
    changes: u64,
    /// Those, and new configurations: what was found of all zones holds as long as this stays as it is.
    revision: u64,
    /// The latest begin of what is in force for any zone, and the revision of which it is.
    latest_begin: (u64, Option<Timestamp>),
    /// The first time at which the series of any zone may say something else than they do.
    report_due: Timestamp,
    /// A store may be one that could not be read, or its history: only then each zone is looked at in each step.
    has_trouble: bool,
    /// What was said of single zones, and of which revision and of how many changes of deliveries it is; `None` when that is to be found anew.
    told: Option<(u64, u64, Arc<ZoneReports>)>,
    /// The time of the step before.
    stepped: Option<Timestamp>,
}

/// Who hands what is accepted to the servers of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HandingOn {
    /// This loader.
    Here,
    /// The daemon that is started next.
    ByTheNext,
}

/// What the loop is told by other threads.
#[derive(Debug)]
enum Message {
    /// Something happened in the inbox.
    Inbox(InboxEvent),
    /// Take this configuration.
    Reload(Box<Config>),
    /// The new configuration does not read.
    ReloadFailed(ConfigurationState),
    /// Do this.
    Ask(Question),
    /// Look at the stop flag.
    Stop,
}

/// Something to do between two steps.
struct Question(Box<Asked>);

type Asked = dyn FnOnce(&mut Loader, Timestamp) + Send;

/// Takes what comes of a question, once.
pub type AnswerCallback<T> = Box<dyn FnOnce(T) + Send>;

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Question")
    }
}

/// Steers a running loader from another thread.
#[derive(Debug, Clone)]
pub struct Control {
    messages: SyncSender<Message>,
    stop: Arc<AtomicBool>,
}

impl Control {
    /// Ends [`Loader::run`] after the file that is being judged.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // With a full queue the loop does not wait, and sees the flag.
        let _ = self.messages.try_send(Message::Stop);
    }

    /// Hands over a new configuration. False when the loader has ended.
    #[must_use]
    pub fn reload(&self, config: Config) -> bool {
        self.messages.send(Message::Reload(Box::new(config))).is_ok()
    }

    /// Has the loader do something between two steps, and waits for what comes of it, which `what` gives to its last argument: at once,
    /// or in a later step. `None` when the loader has ended, or is too busy.
    pub fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Loader, Timestamp, AnswerCallback<T>) + Send + 'static,
    ) -> Option<T> {
        let (sender, answer) = sync_channel(1);
        let reply: AnswerCallback<T> = Box::new(move |said| {
            // The thread that asked may have given up waiting.
            let _ = sender.send(said);
        });
        let mut ask = Message::Ask(Question(Box::new(move |loader, now| what(loader, now, reply))));
        let until = Instant::now() + ASK_TIME;
        loop {
            ask = match self.messages.try_send(ask) {
                Ok(()) => return answer.recv().ok(),
                Err(TrySendError::Disconnected(_)) => return None,
                Err(TrySendError::Full(_)) if Instant::now() > until => return None,
                Err(TrySendError::Full(ask)) => ask,
            };
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Hands over a new configuration, and waits until it is in use or refused.
    pub fn reload_and_wait(&self, config: Config) -> Option<Result<(), LoaderStartError>> {
        self.ask(move |loader, now, reply| reply(loader.take_config(config, now)))
    }

    /// Says that there is a new configuration, and why it is not in use: refused, or not read.
    pub fn reload_failed(&self, state: ConfigurationState) {
        // The loader has ended, or hears of it.
        let _ = self.messages.send(Message::ReloadFailed(state));
    }
}

/// What one step did.
#[derive(Debug, Default)]
pub struct LoaderStep {
    /// The files that were judged.
    pub imports: Vec<FileImport>,
    /// More is due at once.
    pub more: bool,
    /// And that is nothing but files that do not look like an SKR.
    pub only_unlikely: bool,
}

/// Why the loader cannot start, or cannot take a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoaderStartError {
    /// The state folder.
    #[error(transparent)]
    Store(#[from] StoreOpenError),
    /// The process is to end before it has begun.
    #[error("stopped while the accepted stores were read")]
    Stopped,
    /// Only a restart can do that.
    #[error("`state-dir` cannot change while skr-loader runs ({from} to {to}); restart it", from = from.display(), to = to.display())]
    StateDirChanged {
        /// The folder that is locked.
        from: PathBuf,
        /// The folder in the new configuration.
        to: PathBuf,
    },
}

impl Loader {
    /// Locks the state folder and reads back what is in force. Nothing is watched before the first step.
    pub fn new(config: Config, metrics: Metrics) -> Result<Self, LoaderStartError> {
        Self::new_unless(config, metrics, &Arc::default())
    }

    /// The same, given up with [`LoaderStartError::Stopped`] when `stop` is set: the stores of many zones take seconds to read. Later it ends
    /// [`Self::run`] as [`Control::stop`] does, in the midst of a new configuration, too.
    pub fn new_unless(
        config: Config,
        metrics: Metrics,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, LoaderStartError> {
        Self::open(config, metrics, HandingOn::Here, stop)
    }

    /// The same for the order of one command: what it accepts is handed to the servers by the daemon that is started next.
    pub fn for_order(config: Config, metrics: Metrics) -> Result<Self, LoaderStartError> {
        Self::open(config, metrics, HandingOn::ByTheNext, &Arc::default())
    }

    fn open(
        config: Config,
        metrics: Metrics,
        handing_on: HandingOn,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, LoaderStartError> {
        let store = Store::open(&config.state_dir)?;
        let audit = AuditWriter::new(config.state_dir.join(audit::LOG));
        let (sender, messages) = sync_channel(QUEUE);
        let events = sender.clone();
        let on_event = OnEvent::new(move |event| match events.try_send(Message::Inbox(event)) {
            Err(TrySendError::Full(_)) => EventTaken::Full,
            Ok(()) | Err(TrySendError::Disconnected(_)) => EventTaken::Yes,
        });
        let inbox = Inbox::new(&config.state_dir.join("inbox"), config.loader.rescan_interval, on_event);
        let standing = LoaderStatus::default();
        let mut loader = Self {
            fence: Fence::default(),
            rejected: Rejected::new(&config.state_dir.join("rejected")),
            config: config.clone(),
            metrics: metrics.clone(),
            store,
            audit,
            inbox,
            zones: BTreeMap::new(),
            deliveries: Deliveries::new(&metrics),
            parent_watch: ParentWatch::new(metrics, standing.clone()),
            handing_on,
            key_files: key_files::KeyFileWatch::default(),
            aside: Vec::new(),
            messages,
            control: Control { messages: sender, stop: Arc::clone(stop) },
            standing,
            clock: ClockGuard::default(),
            started: None,
            last_scan: None,
            audit_error: None,
            audit_is_read: false,
            audit_tried: None,
            audit_tail: BTreeMap::new(),
            ordered: Vec::new(),
            rejected_parts: HashMap::new(),
            not_durable: Vec::new(),
            many: VecDeque::new(),
            changes: 0,
            revision: 0,
            latest_begin: (0, None),
            report_due: Timestamp::EPOCH,
            has_trouble: true,
            told: None,
            stepped: None,
        };
        report::start(&loader.metrics);
        // Before this loader writes anything there.
        loader.read_audit_log();
        loader.open_audit_log();
        // Before the first step nobody knows the time; what could not be read is tried again then.
        if !loader.configure(config, Timestamp::EPOCH, stop) {
            return Err(LoaderStartError::Stopped);
        }
        Ok(loader)
    }

    /// A handle that steers it.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// How it stands, for other threads; it follows each step.
    #[must_use]
    pub fn standing(&self) -> LoaderStatus {
        self.standing.clone()
    }

    /// The configuration in use.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What is in force for `zone`.
    #[must_use]
    pub fn in_force(&self, zone: &Name) -> Option<&InForce> {
        self.zones.get(zone)?.held.in_force()
    }

    /// Takes a new configuration: zones that are new are read back, zones that are gone are let go.
    pub fn reload(&mut self, config: Config, now: Timestamp) -> Result<(), LoaderStartError> {
        let stop = Arc::clone(&self.control.stop);
        if config.state_dir != self.config.state_dir {
            let (from, to) = (self.config.state_dir.clone(), config.state_dir);
            return Err(LoaderStartError::StateDirChanged { from, to });
        }
        if self.configure(config, now, &stop) { Ok(()) } else { Err(LoaderStartError::Stopped) }
    }

    /// Runs until [`Control::stop`]; `on_import` hears of each judged file, after its commit.
    pub fn run(&mut self, clock: impl Fn() -> Timestamp, mut on_import: impl FnMut(&FileImport)) {
        self.started = Some(clock());
        self.record(Record::new(clock(), AuditEvent::Started));
        while !self.is_stopping() {
            let (now, began) = (clock(), Instant::now());
            let step = self.step(now);
            step.imports.iter().for_each(&mut on_import);
            let pause = match () {
                // The step may have taken the message that says to stop.
                () if self.is_stopping() => Duration::ZERO,
                // What looks like no SKR takes half of the time at most; an event ends the pause.
                () if step.only_unlikely => began.elapsed().min(PAUSE),
                () if step.more => Duration::ZERO,
                () => PAUSE,
            };
            match self.messages.recv_timeout(pause) {
                // It may have waited for long.
                Ok(message) => self.handle(message, clock()),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
        self.fail_ordered_many(many::STOPS);
        self.record(Record::new(clock(), AuditEvent::Stopped));
    }

    /// On one host of two it takes no SKR and no order while `fence` does not permit versions.
    pub fn set_fence(&mut self, fence: Fence) {
        self.fence = fence;
    }

    /// True while it may change what is in force.
    pub(crate) fn may_change(&self) -> bool {
        self.fence.permits()
    }

    /// Does everything that is due at `now`, and returns; call it again at once when it says that there is more.
    pub fn step(&mut self, now: Timestamp) -> LoaderStep {
        for _ in 0..QUEUE {
            let Ok(message) = self.messages.try_recv() else { break };
            self.handle(message, now);
        }
        let mut step = LoaderStep::default();
        if !self.may_change() {
            self.fail_ordered_many(NO_LEASE);
            self.tell_standing(now);
            return step;
        }
        self.retry_audit_log(now);
        self.retry_stores(now);
        self.retry_syncs();
        let polled = self.inbox.poll(now);
        self.tell_watch(&polled, now);
        if self.clock_is_plausible(now) {
            let looks = self.inbox.look(now);
            step.more = looks.more != More::Nothing;
            step.only_unlikely = looks.more == More::UnlikelyFiles;
            self.import(looks.looks, now, &mut step.imports);
            self.go_on_with_many(now, &mut step.imports);
        } else {
            self.fail_ordered_many(CLOCK);
        }
        if !self.many.is_empty() {
            (step.more, step.only_unlikely) = (true, false);
        }
        report::waiting(&self.metrics, self.inbox.waiting());
        step.imports.splice(0..0, self.ordered.drain(..));
        self.look_at_key_files(now);
        let before = self.stepped.replace(now);
        self.report_zones(before, now);
        // With a file of many zones at work there are many steps in a second, and what they say of all zones is the same.
        if self.many.is_empty() || before != Some(now) {
            self.tell_standing(now);
        }
        step
    }

    /// Sets the series of the zones for which time has changed something since the step at `before`; a new generation has set its own.
    fn report_zones(&mut self, before: Option<Timestamp>, now: Timestamp) {
        let went_back = before.is_some_and(|before| now < before);
        if now < self.report_due && !went_back {
            return;
        }
        for zone in self.zones.values_mut().filter(|zone| went_back || zone.report_due <= now) {
            let in_force = zone.held.in_force();
            report::zone(&self.metrics, &zone.label, in_force, now);
            zone.report_due = report::next_change(in_force, now);
        }
        self.report_due = self.zones.values().map(|zone| zone.report_due).min().unwrap_or(Timestamp::MAX);
    }

    fn handle(&mut self, message: Message, now: Timestamp) {
        match message {
            Message::Inbox(event) => self.inbox.on_event(event),
            Message::Stop => {}
            Message::ReloadFailed(state) => self.tell_reload(state, now),
            Message::Ask(Question(what)) => what(self, now),
            // Told by the log.
            Message::Reload(config) => drop(self.take_config(*config, now)),
        }
    }

    /// [`Self::reload`], told by the log and the metrics.
    fn take_config(&mut self, config: Config, now: Timestamp) -> Result<(), LoaderStartError> {
        let same_state = config.state_dir == self.config.state_dir;
        if same_state
            && (config.control_socket() != self.config.control_socket()
                || config.loader.control_group != self.config.loader.control_group)
        {
            tracing::warn!("`control-socket` and `control-group` change at the next start");
        }
        let result = self.reload(config, now);
        // Files of zones that were not taken are told of by what `configure` has said.
        self.standing.set_configuration(match &result {
            Ok(()) => ConfigurationState::Taken,
            Err(_) => ConfigurationState::Refused,
        });
        let state = match &result {
            Ok(()) => ConfigurationState::from(&self.config),
            Err(_) => ConfigurationState::Refused,
        };
        report::reload(&self.metrics, state, now);
        match &result {
            Ok(()) => tracing::info!(zones = self.zones.len(), "configuration reloaded"),
            Err(error) => tracing::error!(%error, "configuration not taken; the old one stays in use"),
        }
        result
    }

    /// Whoever waits for imports is told of this one at the end of the next step.
    pub(crate) fn tell_later(&mut self, import: FileImport) {
        self.ordered.push(import);
    }

    fn tell_reload(&self, state: ConfigurationState, now: Timestamp) {
        self.standing.set_configuration(state);
        report::reload(&self.metrics, state, now);
    }

    fn is_stopping(&self) -> bool {
        self.control.stop.load(Ordering::Relaxed)
    }

    /// False when `stop` was set meanwhile: then this loader is of no use any more.
    fn configure(&mut self, config: Config, now: Timestamp, stop: &AtomicBool) -> bool {
        self.revision += 1;
        (self.report_due, self.has_trouble) = (Timestamp::EPOCH, true);
        let mut old = std::mem::take(&mut self.zones);
        for zone in config.signed_zones() {
            if stop.load(Ordering::Relaxed) {
                return false;
            }
            let label = zone.name.zone_label();
            report::thresholds(&self.metrics, &label, &config.loader);
            let (config, name) = (zone.clone(), zone.name.clone());
            let report_due = Timestamp::EPOCH;
            let zone = match old.remove(&zone.name) {
                Some(known) => LoaderZone { config, report_due, ..known },
                None => {
                    self.metrics.add_zone(&label, ReportingPart::Loader);
                    let held = self.read_zone(&zone.name, now);
                    report::last_import(&self.metrics, &label, self.audit_tail.get(&label));
                    LoaderZone { config, held, history_error: None, label, changed: 0, report_due }
                }
            };
            self.zones.insert(name, zone);
        }
        for zone in old.values() {
            self.metrics.remove_zone(&zone.label, ReportingPart::Loader);
            self.deliveries.forget(&zone.config.name);
        }
        if self.handing_on == HandingOn::Here {
            let of_zone = |(name, zone): (&Name, &LoaderZone)| {
                Some((name.clone(), Arc::new(zone.held.in_force()?.clone())))
            };
            let all = self.zones.iter().filter(|_| !config.deliver.is_empty());
            self.deliveries.configure(&config, &all.filter_map(of_zone).collect());
            let all = self.zones.iter().filter(|_| ParentWatch::is_wanted(&config));
            self.parent_watch.configure(&config, all.filter_map(of_zone).collect());
        }
        self.audit.set_limit(config.loader.audit_max_octets.into());
        // What they were rejected for may be mended.
        self.rejected_parts.clear();
        self.inbox.configure(&config.loader);
        self.rejected.set_limits((&config.loader).into());
        self.prune_rejected();
        self.inbox.set_zones(config.zones.len());
        self.standing.set_zone_files(&config.zone_files);
        self.config = config;
        true
    }

    /// Keeps `rejected/` within its limits.
    fn prune_rejected(&mut self) {
        let pruned = match self.rejected.prune() {
            Ok(pruned) => pruned,
            Err(error) => {
                tracing::error!(%error, "cannot list the rejected files");
                return;
            }
        };
        if let Some((path, error)) = &pruned.error {
            tracing::error!(file = %path.display(), %error, "cannot remove an old rejected file; remove it, and its reason");
        }
        if let (Some(oldest), removed) = (pruned.removed.first(), pruned.removed.len()) {
            tracing::warn!(removed, kept = pruned.kept, oldest = %oldest.display(), "removed the oldest rejected files: there were more than `rejected-max-files` or `rejected-max-octets` allow");
        }
        report::pruned(&self.metrics, &pruned);
    }

    fn tell_watch(&mut self, polled: &Polled, now: Timestamp) {
        if polled.scanned {
            self.last_scan = Some(now);
        }
        report::watch(&self.metrics, polled, now);
        if let Some(error) = &polled.error {
            tracing::error!(%error, "the inbox is not watched");
        }
        if polled.mended {
            tracing::info!(inbox = %self.inbox.dir().display(), "the inbox is watched again, and all that lies in it is looked at");
        }
        if polled.overflowed {
            tracing::warn!("events of the inbox were lost; scanned it");
        }
    }
}
