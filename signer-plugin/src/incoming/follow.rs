//! Follows the primaries of zones: a task for each zone that looks when the timer or a NOTIFY says so, and hands what came to the signer.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use keystore::config::tls::PrimaryTls;
use keystore::dns::Name;
use keystore::shared::Shared;
use keystore::time::Timestamp;
use metrics::condition::ConditionId;
use metrics::health::report::SignerCondition;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::connection::{LookTime, LookTimes, Primary};
use super::fault::TransferFault;
use super::kept::{ExpiryFile, LabelFile};
use super::look::{FailedLook, Look, MOST_RECORDS, News, OctetsUnderWay, Received, TransferKind, times_of};
use super::timer::{LookFailure, Looked, TimerBounds, ZoneTimer};
use super::tls::TlsClients;
use crate::clock::Clock;
use crate::content::{Change, ChangeOutcome, ChangeRequest};
use crate::runtime::{SignerZone, ZoneSetup};
use crate::transfer::TransferSettings;

/// Looks of all zones at once, and at one primary.
const AT_ONCE: usize = 256;
const AT_ONE_PRIMARY: usize = 8;
/// Longest time between two looks at the clock, which may be set.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Seconds that a look may take before a zone of which nobody knows when it was confirmed counts as expired.
const FIRST_LOOK: u64 = 60;
/// Time between two looks whether the content that is on disk was found.
const RESTORE_STEP: Duration = Duration::from_millis(50);
/// Most DNSSEC and other records that were left out and are named in the log.
const NAMED: usize = 10;

/// The tasks of all zones. Dropping it ends them.
pub struct PrimaryFollower {
    runtime: Handle,
    clock: Clock,
    limits: Arc<LookLimits>,
    clients: Arc<TlsClients>,
    tasks: Mutex<HashMap<Name, Task>>,
}

/// How many looks may be under way.
struct LookLimits {
    all: Semaphore,
    by_primary: Mutex<HashMap<SocketAddr, Arc<Semaphore>>>,
    octets: Arc<OctetsUnderWay>,
    times: LookTimes,
}

impl Default for LookLimits {
    fn default() -> Self {
        Self {
            all: Semaphore::new(AT_ONCE),
            by_primary: Mutex::default(),
            octets: Arc::default(),
            times: LookTimes::default(),
        }
    }
}

impl LookLimits {
    fn of(&self, primary: SocketAddr) -> Arc<Semaphore> {
        let mut all = self.by_primary.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(primary).or_insert_with(|| Arc::new(Semaphore::new(AT_ONE_PRIMARY))))
    }
}

struct Task {
    settings: Settings,
    setup: Shared<ZoneSetup>,
    served: Arc<SignerZone>,
    handle: JoinHandle<()>,
}

/// What the configuration says of the primaries of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub primaries: Vec<Primary>,
    /// Why a primary cannot be asked.
    pub unusable: Vec<String>,
    pub bounds: TimerBounds,
    pub max_octets: Option<u64>,
    /// See [`TransferSettings`].
    pub label: Option<Vec<u8>>,
}

impl PrimaryFollower {
    /// Works on `runtime`; follows nothing before [`Self::follow`].
    #[must_use]
    pub fn new(runtime: Handle, clock: Clock) -> Self {
        Self { runtime, clock, limits: Arc::default(), clients: Arc::default(), tasks: Mutex::default() }
    }

    /// The same with other times for each look.
    #[cfg(test)]
    pub(super) fn with_times(mut self, times: LookTimes) -> Self {
        self.limits = Arc::new(LookLimits { times, ..LookLimits::default() });
        self
    }

    /// Follows the primaries of these zones from now on, and of none else. Call it again after each change of the configuration.
    pub fn follow(&self, zones: Vec<(Arc<SignerZone>, Shared<ZoneSetup>)>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *tasks);
        for (served, setup) in zones {
            let settings = settings_of(&served.transfers().settings());
            match before.remove(&setup.name) {
                Some(task)
                    if task.settings == settings
                        && task.setup == setup
                        && Arc::ptr_eq(&task.served, &served) =>
                {
                    tasks.insert(setup.name.clone(), task);
                    continue;
                }
                Some(task) => task.handle.abort(),
                None => {}
            }
            served.transfers().add_incoming();
            let follower = self.follower(&served, &setup, &settings);
            // What has expired is not served while the content on disk is looked for.
            if let Some(expires) = follower.expiry.read() {
                served.set_incoming(Some(expires), Vec::new());
            }
            let handle = self.runtime.spawn(follower.run());
            tasks.insert(setup.name.clone(), Task { settings, setup, served, handle });
        }
        before.values().for_each(|task| task.handle.abort());
        self.keep_clients(&tasks);
    }

    fn follower(
        &self,
        served: &Arc<SignerZone>,
        setup: &Shared<ZoneSetup>,
        settings: &Settings,
    ) -> ZoneFollower {
        ZoneFollower {
            expiry: ExpiryFile::new(&setup.state),
            settings: settings.clone(),
            setup: setup.clone(),
            served: Arc::clone(served),
            clock: Arc::clone(&self.clock),
            limits: Arc::clone(&self.limits),
            clients: Arc::clone(&self.clients),
            failing: None,
            is_expired: false,
            label: LabelFile::new(&setup.state),
            is_afresh: false,
            unwritten: None,
        }
    }

    fn keep_clients(&self, tasks: &HashMap<Name, Task>) {
        let primaries = tasks.values().flat_map(|task| &task.settings.primaries);
        let used: HashSet<&PrimaryTls> = primaries.filter_map(|primary| primary.tls.as_ref()).collect();
        self.clients.keep(&used.into_iter().collect::<Vec<_>>());
    }
}

impl Drop for PrimaryFollower {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner);
        tasks.values().for_each(|task| task.handle.abort());
    }
}

pub(super) fn settings_of(configured: &TransferSettings) -> Settings {
    let (mut primaries, mut unusable) = (Vec::new(), Vec::new());
    for primary in &configured.primaries {
        let key = primary.key.as_ref().map(|name| (name, configured.key(name)));
        match key {
            Some((name, None)) => unusable.push(format!(
                "{}: the key {name} is in no file of transfer.key-files that can be read",
                primary.address
            )),
            Some((_, Some(key))) => {
                primaries.push(Primary {
                    address: primary.address,
                    key: Some(key.clone()),
                    tls: primary.tls.clone(),
                });
            }
            None => primaries.push(Primary { address: primary.address, key: None, tls: primary.tls.clone() }),
        }
    }
    let incoming = &configured.incoming;
    let bounds = TimerBounds { min_refresh: incoming.min_refresh, min_retry: incoming.min_retry };
    let label = configured.label.clone();
    Settings { primaries, unusable, bounds, max_octets: incoming.max_octets, label }
}

/// One zone.
struct ZoneFollower {
    settings: Settings,
    setup: Shared<ZoneSetup>,
    served: Arc<SignerZone>,
    expiry: ExpiryFile,
    clock: Clock,
    limits: Arc<LookLimits>,
    clients: Arc<TlsClients>,
    /// Since when looks fail, and why.
    failing: Option<(Timestamp, String)>,
    is_expired: bool,
    label: LabelFile,
    /// The content is to come anew by AXFR, whatever serial is here: it is that of another zone of the same name.
    is_afresh: bool,
    /// Since when the file of its end cannot be written, and why.
    unwritten: Option<(Timestamp, String)>,
}

impl ZoneFollower {
    /// Follows the primaries, for ever.
    async fn run(mut self) {
        let mut timer = self.restored().await;
        self.is_afresh = self.has_another_label();
        loop {
            let now = (self.clock)();
            self.report(&timer, now);
            if timer.is_due(now) {
                timer.begin(now);
                let is_repeat = timer.repeats();
                let looked = self.look(&mut timer).await;
                let confirmed = looked.as_ref().ok().filter(|looked| !looked.is_new).map(|looked| looked.by);
                self.settle(&mut timer, looked);
                // The others were asked behind the look that this one repeats, and are asked behind the last one.
                if let Some(by) = confirmed.filter(|_| !is_repeat || !timer.repeats()) {
                    self.report(&timer, (self.clock)());
                    self.look_behind(&mut timer, by).await;
                }
                continue;
            }
            let next = timer.due().into_iter().chain(timer.expires().filter(|at| *at > now)).min();
            let pause = next.map_or(LONGEST_PAUSE, |at| Duration::from_secs(at.since(now)));
            let transfers = Arc::clone(self.served.transfers());
            tokio::select! {
                () = sleep(pause.clamp(Duration::from_millis(100), LONGEST_PAUSE)) => {}
                news = transfers.notified() => timer.notified(news, (self.clock)()),
            }
        }
    }

    /// The timer of what is on disk.
    async fn restored(&self) -> ZoneTimer {
        while !self.served.is_restored() {
            sleep(RESTORE_STEP).await;
        }
        let now = (self.clock)();
        let times = self.served.content().and_then(|zone| times_of(&zone));
        let kept = times.map(|times| {
            // What was written may be from before SOA EXPIRE became less.
            let latest = now.plus(times.expire.into());
            let expires = self.expiry.read().map(|expires| expires.min(latest)).unwrap_or_else(|| {
                // Nobody knows when the last look was: it was not before the content came. The first look now is waited for.
                let came = self.expiry.content_came().unwrap_or(now).min(now);
                let expires = came.plus(times.expire.into()).max(now.plus(FIRST_LOOK));
                tracing::warn!(zone = %self.setup.name, until = %expires.iso(), "the time until which the zone may be served is not on disk; it counts from when the content came");
                expires
            });
            (times, expires)
        });
        ZoneTimer::new(self.settings.bounds, kept, now)
    }

    /// Looks at one primary after the other until one has the version that is here, or a newer one that is taken.
    async fn look(&self, timer: &mut ZoneTimer) -> Result<Looked, FailedLook<String>> {
        let looking = self.look_at_all(to_ask(&self.settings.primaries, timer));
        tokio::pin!(looking);
        loop {
            tokio::select! {
                looked = &mut looking => return looked,
                news = self.served.transfers().notified() => timer.notified(news, (self.clock)()),
            }
        }
    }

    async fn look_at_all(&self, to_ask: ToAsk) -> Result<Looked, FailedLook<String>> {
        let mut faults = self.settings.unusable.clone();
        let mut are_older = Vec::new();
        for primary in &to_ask.primaries {
            // Each has its time: one that sends on and on leaves some to those behind it.
            match guarded(self.look_at(primary, LookTime::of(self.limits.times))).await {
                Ok(looked) => return Ok(looked),
                Err(fault) => {
                    tracing::debug!(zone = %self.setup.name, primary = %primary.address, "the look at a primary failed: {fault}");
                    faults.push(format!("{}: {fault}", primary.address));
                    are_older.push(matches!(fault, TransferFault::SerialBack { .. }));
                }
            }
        }
        Err(FailedLook { failure: to_ask.failure(&are_older), why: faults.join("; ") })
    }

    /// Looks whether another primary has a newer version than the one that has confirmed what is here, and may be behind. The zone is in order
    /// already: this ends when the next look is due, or NOTIFY comes.
    async fn look_behind(&mut self, timer: &mut ZoneTimer, confirmed_by: SocketAddr) {
        let now = (self.clock)();
        let left = timer.due().map_or(LONGEST_PAUSE, |due| Duration::from_secs(due.since(now)));
        let newer = async {
            for primary in self.settings.primaries.iter().filter(|other| other.address != confirmed_by) {
                match guarded(self.look_at(primary, LookTime::of(self.limits.times))).await {
                    Ok(looked) if looked.is_new => return Some(looked),
                    Ok(_) => {}
                    Err(fault) => {
                        tracing::debug!(zone = %self.setup.name, primary = %primary.address, "the look at a further primary failed: {fault}");
                    }
                }
            }
            None
        };
        let transfers = Arc::clone(self.served.transfers());
        let looked = tokio::select! {
            looked = newer => looked,
            () = sleep(left) => None,
            news = transfers.notified() => {
                timer.notified(news, (self.clock)());
                None
            }
        };
        if let Some(looked) = looked {
            self.settle(timer, Ok(looked));
        }
    }

    async fn look_at(&self, primary: &Primary, time: LookTime) -> Result<Looked, TransferFault> {
        let told = |kind: TransferKind, how: Result<Received, &TransferFault>| self.tell(primary, kind, how);
        // What is here may be another version when the transfer has come: then it is looked at anew, once.
        for is_last in [false, true] {
            let here = self.served.content().filter(|_| !self.is_afresh);
            let look = Look {
                zone: self.setup.name.clone(),
                rules: self.setup.rules,
                max_octets: self.settings.max_octets,
                max_records: MOST_RECORDS,
                here: here.clone(),
                clock: Arc::clone(&self.clock),
                clients: Arc::clone(&self.clients),
                under_way: Arc::clone(&self.limits.octets),
            };
            let seen = {
                // Those of a primary first: one that hangs keeps no zone of another primary waiting. The semaphores are never closed.
                let of_primary = self.limits.of(primary.address);
                let _permits = (of_primary.acquire().await, self.limits.all.acquire().await);
                look.at(primary, time, &told).await?
            };
            let looked = seen.looked(primary);
            let change = match (seen.news, here) {
                (News::Nothing, _) => return Ok(looked),
                (News::Whole(zone), _) => {
                    for warning in zone.warnings().texts.iter().take(NAMED) {
                        tracing::warn!(zone = %self.setup.name, primary = %primary.address, "{warning}");
                    }
                    Change::Whole(zone)
                }
                (News::Change(change), Some(from)) => Change::Difference { from, change },
                (News::Change(_), None) => return Ok(looked),
            };
            match self.hand_over(change).await {
                ChangeOutcome::Served { .. } | ChangeOutcome::Kept => {
                    return Ok(Looked { is_new: true, ..looked });
                }
                ChangeOutcome::Stale if !is_last => {}
                ChangeOutcome::Stale => break,
                ChangeOutcome::Refused(why) | ChangeOutcome::Failed(why) => {
                    return Err(TransferFault::NotTaken(why));
                }
                // Of updates.
                ChangeOutcome::Answered(_) => break,
            }
        }
        Err(TransferFault::NotTaken("what is here changed during the transfer".to_owned()))
    }

    async fn hand_over(&self, change: Change) -> ChangeOutcome {
        let (sender, outcome) = oneshot::channel();
        // Nobody listens any more where the task has ended meanwhile.
        let reply = Box::new(move |outcome| drop(sender.send(outcome)));
        self.served.changes().submit(ChangeRequest { change, reply });
        outcome.await.unwrap_or_else(|_| ChangeOutcome::Failed("the signer has stopped".to_owned()))
    }

    fn tell(&self, primary: &Primary, kind: TransferKind, how: Result<Received, &TransferFault>) {
        let (zone, primary) = (&self.setup.name, primary.address);
        self.served.transfers().count_incoming(kind.as_str(), how.is_ok());
        match how {
            Ok(Received { serial, messages, records, octets, left_out, above_max_ttl }) => {
                let kind = kind.as_str();
                tracing::info!(%zone, %primary, kind, serial, messages, records, octets, "a transfer has come");
                if left_out > 0 {
                    tracing::info!(%zone, %primary, records = left_out, "DNSSEC records of the primary are left out: the zone is not presigned");
                }
                if above_max_ttl > 0 {
                    tracing::warn!(%zone, %primary, records = above_max_ttl, "TTLs of the difference are above the policy's max-zone-ttl; caches may hold old signatures for longer than key rolls wait");
                }
            }
            Err(fault) => {
                let kind = kind.as_str();
                tracing::warn!(%zone, %primary, kind, "a transfer is not taken, what is served stays: {fault}");
            }
        }
    }

    fn settle(&mut self, timer: &mut ZoneTimer, looked: Result<Looked, FailedLook<String>>) {
        let now = (self.clock)();
        match looked {
            Ok(looked) => {
                let serial = looked.serial;
                timer.succeeded(looked, now);
                self.keep_label();
                self.served.transfers().set_primary_serial(serial);
                if self.failing.take().is_some() {
                    tracing::info!(zone = %self.setup.name, serial, "a primary gives the zone again");
                }
                if let Some(expires) = timer.expires() {
                    self.write_down(expires, now);
                }
            }
            Err(FailedLook { failure, why }) => {
                timer.failed(failure, now);
                let since = self.failing.as_ref().map_or(now, |(since, _)| *since);
                if self.failing.as_ref().is_none_or(|(_, before)| *before != why) {
                    tracing::error!(zone = %self.setup.name, condition = %ConditionId::TransferFailing, "{why}");
                }
                self.failing = Some((since, why));
            }
        }
    }

    /// True where what is here came under another label of the catalog.
    fn has_another_label(&self) -> bool {
        let kept = self.settings.label.as_ref().and_then(|_| self.label.read());
        let is_another = kept.is_some_and(|kept| Some(&kept) != self.settings.label.as_ref());
        if is_another {
            tracing::warn!(zone = %self.setup.name, "the zone has another label in its catalog, so it is another zone of the same name: its content comes anew from its primaries; its keys and accepted SKRs stay, because the zone would be bogus without them");
        }
        is_another
    }

    /// Writes down for which label the content came. Where that fails, the next start has it come anew.
    fn keep_label(&mut self) {
        self.is_afresh = false;
        let Some(label) =
            self.settings.label.as_ref().filter(|label| self.label.read().as_ref() != Some(label))
        else {
            return;
        };
        if let Err(error) = self.label.write(label) {
            tracing::warn!(zone = %self.setup.name, %error, "the label of the zone in its catalog cannot be kept; the next start has its content come anew");
        }
    }

    /// Writes down until when the zone may be served. Where that fails, a start goes by what was written before, which is sooner.
    fn write_down(&mut self, expires: Timestamp, now: Timestamp) {
        match self.expiry.write(expires) {
            Ok(()) => self.unwritten = None,
            Err(error) => {
                let cause = format!("{}: {error}", self.expiry.path().display());
                if self.unwritten.is_none() {
                    tracing::error!(zone = %self.setup.name, condition = %ConditionId::SignerStateNotWritten, "{cause}");
                }
                let since = self.unwritten.take().map_or(now, |(since, _)| since);
                self.unwritten = Some((since, cause));
            }
        }
    }

    /// Says until when the zone may be served, and what is wrong.
    fn report(&mut self, timer: &ZoneTimer, now: Timestamp) {
        let mut conditions = Vec::new();
        let was_expired = std::mem::replace(&mut self.is_expired, timer.is_expired(now));
        if self.is_expired && !was_expired {
            let condition = ConditionId::ZoneExpired;
            tracing::error!(zone = %self.setup.name, %condition, "{}", condition.text().next);
        }
        if let Some((since, cause)) = &self.failing {
            let (id, cause) = (ConditionId::TransferFailing, cause.clone());
            conditions.push(SignerCondition { id, since: *since, cause });
        }
        if let Some((since, cause)) = &self.unwritten {
            let (id, cause) = (ConditionId::SignerStateNotWritten, cause.clone());
            conditions.push(SignerCondition { id, since: *since, cause });
        }
        if let Some(expires) = timer.expires().filter(|_| timer.is_expired(now)) {
            let cause = format!("No primary has confirmed the zone since before {}", expires.iso());
            conditions.push(SignerCondition { id: ConditionId::ZoneExpired, since: expires, cause });
        }
        self.served.set_incoming(timer.expires(), conditions);
    }
}

/// A look whose panic is a fault like others: it ends neither the task of the zone nor the word of it in the conditions.
async fn guarded<T>(look: impl Future<Output = Result<T, TransferFault>>) -> Result<T, TransferFault> {
    let mut look = pin!(look);
    poll_fn(|context| {
        // What a look leaves behind is dropped with it: permits, its connection, and content that nobody has.
        let polled = catch_unwind(AssertUnwindSafe(|| look.as_mut().poll(context)));
        polled.unwrap_or(Poll::Ready(Err(TransferFault::Panicked)))
    })
    .await
}

/// The primaries that a look asks, in turn.
pub(super) struct ToAsk {
    pub primaries: Vec<Primary>,
    /// How many of them, which come first, have the address that an awaited version was announced from.
    pub announced: usize,
}

/// The primaries, the one first that has said that it has something new; a repeat asks that one alone.
pub(super) fn to_ask(primaries: &[Primary], timer: &ZoneTimer) -> ToAsk {
    let has_announced = |primary: &Primary| Some(primary.address.ip().to_canonical()) == timer.announced_by();
    let (mut first, others): (Vec<_>, Vec<_>) = primaries.iter().cloned().partition(has_announced);
    let announced = first.len();
    if announced == 0 || !timer.repeats() {
        first.extend(others);
    }
    ToAsk { primaries: first, announced }
}

impl ToAsk {
    /// Why the look has failed, where this is said of each primary: it has an older serial than what is here. The one that has announced a
    /// version decides.
    pub fn failure(&self, are_older: &[bool]) -> LookFailure {
        let deciding = are_older.get(..self.announced).filter(|of| !of.is_empty()).unwrap_or(are_older);
        match deciding {
            [] => LookFailure::Other,
            deciding if deciding.iter().all(|is_older| *is_older) => LookFailure::OlderSerial,
            _ => LookFailure::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_of_a_look_is_a_fault_and_the_next_look_goes_on() {
        let panics = async {
            tokio::task::yield_now().await;
            panic!("a message of a stranger")
        };
        assert!(matches!(guarded::<u8>(panics).await, Err(TransferFault::Panicked)));
        assert_eq!(guarded(async { Ok(7) }).await.ok(), Some(7));
    }
}
