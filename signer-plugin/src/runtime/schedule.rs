//! The zones of one thread, stepped in the order in which they are due. A zone whose ZSK is in a token is given to a thread for
//! such zones, see [`TokenThreads`].

mod token_threads;

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use keystore::dns::Name;
use keystore::retry::Retry;
use keystore::shared::Shared;
use keystore::time::Timestamp;
use metrics::Metrics;

use super::folders::KeyFolders;
use super::lock::SignerLock;
use super::served::SignerZone;
use super::setup::ZoneSetup;
use super::watch::Stamp;
use super::zone::ZoneRuntime;
use crate::clock::Clock;
use crate::hosted::Responder as _;
use crate::signing::FoundRight;
use token_threads::TokenThreads;

/// How late a switch may come: the time between two looks at the clock when something is due within a second.
const TICK: Duration = Duration::from_millis(50);
/// The same when nothing is, so that threads without work hardly wake; less than a second, as a clock that jumps is to be seen.
const REST: Duration = Duration::from_millis(500);
/// Longest time that the orderly end of a thread's zones takes, and that a thread which waits for a token is waited for; what is left skips some
/// serials at the next start.
const CLOSING: Duration = Duration::from_secs(2);
/// Zones whose files one thread looks at in a second when nothing else is due. With more zones each is looked at less often.
const LOOKS_PER_SECOND: usize = 200;
/// The same where the kernel tells of changes.
const LOOKS_PER_SECOND_WATCHED: usize = 20;

/// When zones that were restored and not stepped yet are due: behind those that are still to be restored, before all others.
const RESTORED: Timestamp = Timestamp::from_secs(1);

/// What a thread is to do.
pub(super) enum ThreadCommand {
    /// Look at the files of this zone now.
    Look(Name),
    /// Take the changes that wait for this zone.
    TakeChanges(Name),
    /// Look at the files of all zones now.
    LookAtAll,
    /// Take this zone over; one of the same name makes room, and what it serves goes on until there is something newer.
    Take(Shared<ZoneSetup>, Arc<SignerZone>),
    /// Let the zone go.
    Leave(Name),
    /// Go on with this zone, which another thread had.
    Adopt(Box<Scheduled>),
    /// Look whether the threads are to end.
    Wake,
}

/// A zone of a thread; numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ZoneNumber(u64);

/// What the threads of a signer share.
#[derive(Clone)]
pub(super) struct ThreadContext {
    pub metrics: Metrics,
    pub clock: Clock,
    pub folders: Arc<KeyFolders>,
    pub found_right: Arc<FoundRight>,
    /// Set when the threads are to end.
    pub stop: Arc<AtomicBool>,
    /// True while the kernel tells of changes in every folder.
    pub all_watched: Arc<AtomicBool>,
    /// Held until the last thread has ended.
    pub _lock: Arc<SignerLock>,
}

/// The zones and when each is due.
pub(super) struct ZoneSchedule {
    shared: ThreadContext,
    /// Boxed: the table has room for up to twice as many as there are, and a zone is kilobytes.
    zones: HashMap<ZoneNumber, Box<Scheduled>>,
    by_name: HashMap<Name, ZoneNumber>,
    queue: BTreeSet<(Timestamp, ZoneNumber)>,
    next_number: u64,
    /// The time of the last turn, to notice a clock that was set back.
    last: Timestamp,
    loader: LoaderWatch,
    role: Role,
}

/// Which zones a thread steps.
enum Role {
    /// All but those whose ZSK is in a token, which these threads have.
    General(TokenThreads),
    /// Zones whose ZSK is in a token. The general thread is told of each that is let go.
    Tokens(Sender<Name>),
}

/// Notices that a loader in another process has accepted something: each of its imports is a line of its audit log.
#[derive(Debug, Default, Clone)]
struct LoaderWatch {
    audit_log: PathBuf,
    seen: Stamp,
    /// When it was last looked at, and from when on all zones may be looked at again.
    looked: Timestamp,
    next: Timestamp,
}

impl LoaderWatch {
    /// True when the files of all zones are to be looked at: once in `pause` seconds at most, whatever is written to the log.
    fn poll(&mut self, now: Timestamp, pause: u64) -> bool {
        if std::mem::replace(&mut self.looked, now) == now
            || (now < self.next && self.next.since(now) <= pause)
        {
            return false;
        }
        let stamp = Stamp::of(&self.audit_log);
        let changed = std::mem::replace(&mut self.seen, stamp) != stamp;
        if changed {
            self.next = now.plus(pause);
        }
        changed
    }
}

/// A zone, and when it is due.
pub(super) struct Scheduled {
    zone: ZoneRuntime,
    due: Timestamp,
    /// What was served by an earlier process is served again for all zones, before the first zone file is read.
    restored: bool,
    /// Its files are looked at once more a second after the next step: a folder is listed once a second, and the change may be newer.
    look_again: bool,
    /// Set while its steps panic: they come at growing distance, as each leaves messages.
    panics: Retry,
}

impl Scheduled {
    /// The time to be due at in order to come as soon as may be: behind those that are still to be restored.
    const fn at_once(&self) -> Timestamp {
        if self.restored { RESTORED } else { Timestamp::EPOCH }
    }
}

impl ZoneSchedule {
    pub fn new(shared: ThreadContext) -> Self {
        Self {
            shared,
            zones: HashMap::new(),
            by_name: HashMap::new(),
            queue: BTreeSet::new(),
            next_number: 0,
            last: Timestamp::EPOCH,
            loader: LoaderWatch::default(),
            role: Role::General(TokenThreads::default()),
        }
    }

    /// Steps zones as they are due and does what it is told, until the threads are to end.
    pub fn run(mut self, commands: &Receiver<ThreadCommand>) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            match commands.try_recv() {
                Ok(command) => {
                    self.obey(command);
                    // Commands that keep coming must not keep any zone from what is due.
                    self.step_one();
                }
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) if self.step_one() => {}
                Err(TryRecvError::Empty) => match commands.recv_timeout(self.rest()) {
                    Ok(command) => self.obey(command),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                },
            }
        }
        self.close();
    }

    pub fn obey(&mut self, command: ThreadCommand) {
        let here = match &mut self.role {
            Role::General(threads) => threads.forward(command),
            Role::Tokens(_) => Some(command),
        };
        if let Some(command) = here {
            self.take_back();
            self.obey_here(command);
        }
    }

    /// Takes zones up again whose thread has ended out of turn.
    fn take_back(&mut self) {
        // At the end of the process the threads of tokens end by themselves.
        if self.shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let Role::General(threads) = &mut self.role else { return };
        for (setup, served) in threads.take_ended() {
            tracing::error!(zone = %setup.name, "the thread of this zone has ended, which it should not; please report this");
            self.obey_here(ThreadCommand::Take(setup, served));
        }
    }

    fn obey_here(&mut self, command: ThreadCommand) {
        match command {
            ThreadCommand::Look(name) => {
                if let Some(number) = self.by_name.get(&name).copied()
                    && let Some(scheduled) = self.zones.get_mut(&number)
                {
                    scheduled.look_again = true;
                    let at_once = scheduled.at_once();
                    self.set_due(number, at_once);
                }
            }
            ThreadCommand::TakeChanges(name) => self.take_changes(&name),
            ThreadCommand::LookAtAll => self.set_all_due(),
            ThreadCommand::Wake => {}
            ThreadCommand::Take(setup, served) => {
                if let Some(mut before) = self.remove(&setup.name) {
                    before.zone.close();
                    before.zone.leave_kind(setup.versions.signing);
                }
                if let Some(state_dir) = setup.accepted.parent()
                    && self.loader.audit_log.as_os_str().is_empty()
                {
                    self.loader.audit_log = state_dir.join("audit.jsonl");
                    self.loader.seen = Stamp::of(&self.loader.audit_log);
                }
                let ThreadContext { metrics, folders, found_right, .. } = &self.shared;
                let shared = (Arc::clone(folders), Arc::clone(found_right));
                let zone = ZoneRuntime::sharing(setup, metrics.clone(), served, shared);
                let (due, panics) = (Timestamp::EPOCH, Retry::default());
                self.add(Box::new(Scheduled { zone, due, restored: false, look_again: false, panics }));
            }
            ThreadCommand::Adopt(scheduled) => self.add(scheduled),
            ThreadCommand::Leave(name) => {
                if let Some(mut scheduled) = self.remove(&name) {
                    scheduled.zone.close();
                    scheduled.zone.leave();
                }
                if let Role::Tokens(let_go) = &self.role {
                    // Nobody listens where all come to their end.
                    let _ = let_go.send(name);
                }
            }
        }
    }

    /// Has a zone take the changes that wait for it; one that was not stepped yet does so in its first step.
    fn take_changes(&mut self, name: &Name) {
        let now = (self.shared.clock)();
        let Some(number) = self.by_name.get(name).copied() else { return };
        let Some(scheduled) = self.zones.get_mut(&number) else { return };
        let before = scheduled.due;
        let due = guarded(&mut scheduled.zone, |zone| zone.take_changes_between_steps(now)).flatten();
        if let Some(due) = due {
            self.set_due(number, due.max(now.plus(1)).min(before));
        }
    }

    fn add(&mut self, scheduled: Box<Scheduled>) {
        let number = ZoneNumber(self.next_number);
        self.next_number += 1;
        self.insert(number, scheduled);
    }

    fn insert(&mut self, number: ZoneNumber, scheduled: Box<Scheduled>) {
        self.by_name.insert(scheduled.zone.served().origin().clone(), number);
        self.queue.insert((scheduled.due, number));
        self.zones.insert(number, scheduled);
    }

    /// Gives a zone whose ZSK is in a token to a thread for those; true when that has it. Where the system gives no thread it stays here.
    fn set_apart(&mut self, number: ZoneNumber, now: Timestamp) -> bool {
        if matches!(self.role, Role::Tokens(_)) {
            return false;
        }
        let Some(scheduled) = self.zones.get_mut(&number) else { return false };
        if guarded(&mut scheduled.zone, |zone| zone.is_in_token(now)) != Some(true) {
            return false;
        }
        let name = scheduled.zone.served().origin().clone();
        let Some(scheduled) = self.remove(&name) else { return false };
        let (shared, loader) = (self.shared.clone(), LoaderWatch { looked: now, ..self.loader.clone() });
        let spawn = |commanded: Receiver<ThreadCommand>, let_go| {
            let schedule = Self { role: Role::Tokens(let_go), loader, ..Self::new(shared) };
            let thread = std::thread::Builder::new().name("signer-token".to_owned());
            thread.spawn(move || schedule.run(&commanded))
        };
        let Role::General(threads) = &mut self.role else { return false };
        let Err(scheduled) = threads.adopt(scheduled, spawn) else { return true };
        self.insert(number, scheduled);
        false
    }

    /// The pause until the next look at the clock, when nothing is due now.
    fn rest(&self) -> Duration {
        let soon = self.last.plus(1);
        let is_due_soon = self.queue.first().is_some_and(|(due, _)| *due <= soon);
        if is_due_soon || self.last == Timestamp::EPOCH { TICK } else { REST }
    }

    fn remove(&mut self, name: &Name) -> Option<Box<Scheduled>> {
        let number = self.by_name.remove(name)?;
        let scheduled = self.zones.remove(&number)?;
        self.queue.remove(&(scheduled.due, number));
        Some(scheduled)
    }

    fn set_due(&mut self, number: ZoneNumber, due: Timestamp) {
        if let Some(scheduled) = self.zones.get_mut(&number) {
            self.queue.remove(&(scheduled.due, number));
            scheduled.due = due;
            self.queue.insert((due, number));
        }
    }

    fn set_all_due(&mut self) {
        for scheduled in self.zones.values_mut() {
            scheduled.due = scheduled.at_once();
        }
        self.queue = self.zones.iter().map(|(number, scheduled)| (scheduled.due, *number)).collect();
    }

    /// Steps the zone that is due first; false when none is due.
    pub fn step_one(&mut self) -> bool {
        let now = (self.shared.clock)();
        let pause = self.zones.len().div_ceil(LOOKS_PER_SECOND).max(1) as u64;
        if now < self.last || self.loader.poll(now, pause) {
            self.set_all_due();
        }
        if std::mem::replace(&mut self.last, now) != now {
            self.take_back();
        }
        let Some((_, number)) = self.queue.first().copied().filter(|(due, _)| *due <= now) else {
            return false;
        };
        let Some(scheduled) = self.zones.get_mut(&number) else {
            self.queue.pop_first();
            return true;
        };
        // No key is needed for that, nor a look at any key folder.
        if !std::mem::replace(&mut scheduled.restored, true) {
            guarded(&mut scheduled.zone, |zone| zone.restore(now));
            self.set_due(number, RESTORED);
            return true;
        }
        if self.set_apart(number, now) {
            return true;
        }
        let pause = self.seconds_between_looks();
        let Some(scheduled) = self.zones.get_mut(&number) else { return true };
        let due = match guarded(&mut scheduled.zone, |zone| zone.step(now)) {
            Some(due) => {
                scheduled.panics.settled();
                // The word of a person or of a program is in no folder that is watched.
                let soon = std::mem::take(&mut scheduled.look_again) || scheduled.zone.is_waiting();
                due.min(now.plus(if soon { 1 } else { pause }))
            }
            None => {
                scheduled.panics.failed(now);
                scheduled.panics.at().unwrap_or(now.plus(pause))
            }
        };
        // A step that is due at once would keep the others from theirs.
        self.set_due(number, due.max(now.plus(1)));
        true
    }

    /// True when what an earlier process served is served again, as far as there is something.
    #[cfg(test)]
    pub fn all_restored(&self) -> bool {
        self.zones.values().all(|scheduled| scheduled.restored)
    }

    /// The threads for zones whose ZSK is in a token.
    #[cfg(test)]
    pub fn token_threads(&mut self) -> &mut TokenThreads {
        match &mut self.role {
            Role::General(threads) => threads,
            Role::Tokens(_) => panic!("this is one of them"),
        }
    }

    /// A zone that is at work here; `None` for one on a thread for tokens.
    #[cfg(test)]
    pub fn zone_mut(&mut self, name: &Name) -> Option<&mut ZoneRuntime> {
        let number = self.by_name.get(name)?;
        self.zones.get_mut(number).map(|scheduled| &mut scheduled.zone)
    }

    /// Files are looked at every second, as long as the zones are few.
    fn seconds_between_looks(&self) -> u64 {
        let watched = self.shared.all_watched.load(Ordering::Relaxed);
        let looks = if watched { LOOKS_PER_SECOND_WATCHED } else { LOOKS_PER_SECOND };
        self.zones.len().div_ceil(looks).max(1) as u64
    }

    /// Closes as many zones as the end of the process has time for.
    fn close(&mut self) {
        let started = Instant::now();
        let ending = match &mut self.role {
            Role::General(threads) => Some(threads.begin_end()),
            Role::Tokens(_) => None,
        };
        for scheduled in self.zones.values_mut() {
            if started.elapsed() > CLOSING {
                break;
            }
            scheduled.zone.close();
        }
        if let Some(ending) = ending {
            ending.wait(started + CLOSING);
        }
    }
}

/// One step that cannot take the thread down: the other zones live on, and what this one serves stays.
fn guarded<T>(zone: &mut ZoneRuntime, step: impl FnOnce(&mut ZoneRuntime) -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(|| step(zone)));
    if done.is_err() {
        zone.served().end_work();
        tracing::error!(zone = %zone.served().origin(), "a step failed in a way that it should not; please report this");
    }
    done.ok()
}
