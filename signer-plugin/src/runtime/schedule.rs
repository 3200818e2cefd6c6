//! The zones of one thread, stepped in the order in which they are due. A zone whose ZSK is in a token gets a thread of its own, so that no other
//! zone waits for the token.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keystore::dns::Name;
use keystore::shared::Shared;
use keystore::time::Timestamp;
use metrics::Metrics;

use super::folders::KeyFolders;
use super::retry::Retry;
use super::served::SignerZone;
use super::setup::ZoneSetup;
use super::watch::Stamp;
use super::zone::ZoneRuntime;
use crate::clock::Clock;
use crate::hosted::Responder as _;

/// How late a switch may come: the time between two looks at the clock when something is due within a second.
const TICK: Duration = Duration::from_millis(50);
/// The same when nothing is, so that threads without work hardly wake; less than a second, as a clock that jumps is to be seen.
const REST: Duration = Duration::from_millis(500);
/// Longest time that the orderly end of a thread's zones takes; what is left skips some serials at the next start.
const CLOSING: Duration = Duration::from_secs(2);
/// Zones whose files one thread looks at in a second when nothing else is due. With more zones each is looked at less often.
const LOOKS_PER_SECOND: usize = 200;
/// The same where the kernel tells of changes.
const LOOKS_PER_SECOND_WATCHED: usize = 20;

/// Zones of a schedule that get a thread of their own.
const MOST_APART: usize = 32;

/// When zones that were restored and not stepped yet are due: behind those that are still to be restored, before all others.
const RESTORED: Timestamp = Timestamp::from_secs(1);

/// What a thread is to do.
pub(super) enum Command {
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
    /// Set when the threads are to end.
    pub stop: Arc<AtomicBool>,
    /// True while the kernel tells of changes in every folder.
    pub all_watched: Arc<AtomicBool>,
}

/// The zones and when each is due.
pub(super) struct Schedule {
    shared: ThreadContext,
    /// Boxed: the table has room for up to twice as many as there are, and a zone is kilobytes.
    zones: HashMap<ZoneNumber, Box<Scheduled>>,
    by_name: HashMap<Name, ZoneNumber>,
    queue: BTreeSet<(Timestamp, ZoneNumber)>,
    next_number: u64,
    /// The time of the last turn, to notice a clock that was set back.
    last: Timestamp,
    loader: LoaderWatch,
    /// The zones with threads of their own, and all that ever had one: a zone that comes back finds its thread, which may still be busy with it.
    apart: HashMap<Name, Apart>,
    /// This is the thread of one zone.
    is_apart: bool,
}

/// The thread of a zone that may wait for a token.
struct Apart {
    commands: Sender<Command>,
    thread: JoinHandle<()>,
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

impl Schedule {
    pub fn new(shared: ThreadContext) -> Self {
        Self {
            shared,
            zones: HashMap::new(),
            by_name: HashMap::new(),
            queue: BTreeSet::new(),
            next_number: 0,
            last: Timestamp::EPOCH,
            loader: LoaderWatch::default(),
            apart: HashMap::new(),
            is_apart: false,
        }
    }

    /// Steps zones as they are due and does what it is told, until the threads are to end.
    pub fn run(mut self, commands: &Receiver<Command>) {
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

    pub fn obey(&mut self, command: Command) {
        if let Some(command) = self.tell_apart(command) {
            self.obey_here(command);
        }
    }

    /// Tells the threads of single zones what is for them. Gives what is to be done here.
    fn tell_apart(&self, command: Command) -> Option<Command> {
        let name = match &command {
            Command::Look(name) | Command::TakeChanges(name) | Command::Leave(name) => name,
            Command::Take(setup, _) => &setup.name,
            Command::LookAtAll | Command::Wake => {
                for apart in self.apart.values() {
                    let all =
                        if matches!(command, Command::Wake) { Command::Wake } else { Command::LookAtAll };
                    // A thread that is gone has said why.
                    let _ = apart.commands.send(all);
                }
                return Some(command);
            }
            Command::Adopt(_) => return Some(command),
        };
        match self.apart.get(name) {
            Some(apart) => {
                let _ = apart.commands.send(command);
                None
            }
            None => Some(command),
        }
    }

    fn obey_here(&mut self, command: Command) {
        match command {
            Command::Look(name) => {
                if let Some(number) = self.by_name.get(&name).copied()
                    && let Some(scheduled) = self.zones.get_mut(&number)
                {
                    scheduled.look_again = true;
                    let at_once = scheduled.at_once();
                    self.set_due(number, at_once);
                }
            }
            Command::TakeChanges(name) => self.take_changes(&name),
            Command::LookAtAll => self.set_all_due(),
            Command::Wake => {}
            Command::Take(setup, served) => {
                if let Some(mut before) = self.remove(&setup.name) {
                    before.zone.close();
                }
                if let Some(state_dir) = setup.accepted.parent()
                    && self.loader.audit_log.as_os_str().is_empty()
                {
                    self.loader.audit_log = state_dir.join("audit.jsonl");
                    self.loader.seen = Stamp::of(&self.loader.audit_log);
                }
                let ThreadContext { metrics, folders, .. } = &self.shared;
                let zone = ZoneRuntime::sharing(setup, metrics.clone(), served, Arc::clone(folders));
                let (due, panics) = (Timestamp::EPOCH, Retry::default());
                self.add(Box::new(Scheduled { zone, due, restored: false, look_again: false, panics }));
            }
            Command::Adopt(scheduled) => self.add(scheduled),
            Command::Leave(name) => {
                if let Some(mut scheduled) = self.remove(&name) {
                    scheduled.zone.close();
                    scheduled.zone.leave();
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
        self.by_name.insert(scheduled.zone.served().origin().clone(), number);
        self.queue.insert((scheduled.due, number));
        self.zones.insert(number, scheduled);
    }

    /// Gives a zone whose ZSK is in a token a thread of its own; true when it has one. Where the system gives no thread it stays here.
    fn set_apart(&mut self, number: ZoneNumber, now: Timestamp) -> bool {
        if self.is_apart || self.apart.len() >= MOST_APART {
            return false;
        }
        let Some(scheduled) = self.zones.get_mut(&number) else { return false };
        if guarded(&mut scheduled.zone, |zone| zone.is_in_token(now)) != Some(true) {
            return false;
        }
        let (commands, commanded) = channel();
        let (loader, is_apart) = (LoaderWatch { looked: now, ..self.loader.clone() }, true);
        let schedule = Self { is_apart, loader, ..Self::new(self.shared.clone()) };
        let thread = std::thread::Builder::new().name("signer-token".to_owned());
        let Ok(thread) = thread.spawn(move || schedule.run(&commanded)) else { return false };
        let name = scheduled.zone.served().origin().clone();
        if let Some(scheduled) = self.remove(&name) {
            let _ = commands.send(Command::Adopt(scheduled));
        }
        self.apart.insert(name, Apart { commands, thread });
        true
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
        self.last = now;
        let Some((_, number)) = self.queue.first().copied().filter(|(due, _)| *due <= now) else {
            return false;
        };
        if self.set_apart(number, now) {
            return true;
        }
        let pause = self.seconds_between_looks();
        let Some(scheduled) = self.zones.get_mut(&number) else {
            self.queue.pop_first();
            return true;
        };
        if !std::mem::replace(&mut scheduled.restored, true) {
            guarded(&mut scheduled.zone, |zone| zone.restore(now));
            self.set_due(number, RESTORED);
            return true;
        }
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

    /// A zone that is at work here; `None` for one with a thread of its own.
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
        for scheduled in self.zones.values_mut() {
            if started.elapsed() > CLOSING {
                break;
            }
            scheduled.zone.close();
        }
        for (_, Apart { commands, thread }) in self.apart.drain() {
            // Without a sender the thread ends.
            drop(commands);
            let _ = thread.join();
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
