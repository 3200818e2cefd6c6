//! [`TokenThreads`]: the threads of zones whose ZSK is in a token, so that no zone without one waits for a token that hangs.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keystore::dns::Name;
use keystore::shared::Shared;

use super::{Scheduled, ThreadCommand};
use crate::hosted::Responder as _;
use crate::runtime::served::SignerZone;
use crate::runtime::setup::ZoneSetup;
use crate::seldom::Seldom;

/// Threads for tokens beside one thread of a signer. Further zones share these.
pub(super) const MOST_THREADS: usize = 32;

/// Time between two looks whether a thread has ended, while its end is waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// Keeps the message of a thread that the system did not give from coming with each step.
static NO_THREAD: Seldom = Seldom::new();

/// Number of a thread; numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct ThreadNumber(u64);

/// The threads, and which zone is on which. A thread ends when it has no zone left.
pub(in crate::runtime) struct TokenThreads {
    threads: HashMap<ThreadNumber, TokenThread>,
    zones: HashMap<Name, Placement>,
    next_number: u64,
    /// By this the threads say which zone they have let go.
    let_go: (Sender<Name>, Receiver<Name>),
}

struct TokenThread {
    commands: Sender<ThreadCommand>,
    handle: JoinHandle<()>,
    /// It takes no commands any more.
    has_ended: bool,
    /// Zones that are on it, or that it has not let go yet.
    zones: usize,
}

/// A zone on a thread. It stays there until the thread has let it go: a zone that comes back meets nobody who is still at work on it.
struct Placement {
    thread: ThreadNumber,
    /// Orders to let the zone go that the thread has not carried out.
    leaving: usize,
    /// Of what the zone is made anew when its thread ends out of turn; `None` when it was told to leave.
    content: Option<ZoneParts>,
}

/// What a zone is made of.
pub(super) type ZoneParts = (Shared<ZoneSetup>, Arc<SignerZone>);

impl Default for TokenThreads {
    fn default() -> Self {
        Self { threads: HashMap::new(), zones: HashMap::new(), next_number: 0, let_go: channel() }
    }
}

impl TokenThreads {
    /// Gives a command to the thread of its zone. Gives it back where the zone is on no thread, or on one that has ended: see
    /// [`Self::take_ended`], which comes first then.
    pub fn forward(&mut self, command: ThreadCommand) -> Option<ThreadCommand> {
        self.forget_those_let_go();
        let name = match &command {
            ThreadCommand::Look(name) | ThreadCommand::TakeChanges(name) | ThreadCommand::Leave(name) => name,
            ThreadCommand::Take(setup, _) => &setup.name,
            ThreadCommand::LookAtAll => {
                self.send_to_all(|| ThreadCommand::LookAtAll);
                return Some(command);
            }
            ThreadCommand::Wake => {
                self.send_to_all(|| ThreadCommand::Wake);
                return Some(command);
            }
            ThreadCommand::Adopt(_) => return Some(command),
        };
        let Some(placement) = self.zones.get_mut(name) else { return Some(command) };
        let Some(thread) = self.threads.get_mut(&placement.thread) else { return Some(command) };
        let taken = match &command {
            ThreadCommand::Take(setup, served) => Some((setup.clone(), Arc::clone(served))),
            _ => None,
        };
        let is_leave = matches!(command, ThreadCommand::Leave(_));
        if let Err(unsent) = thread.commands.send(command) {
            thread.has_ended = true;
            return Some(unsent.0);
        }
        if is_leave {
            placement.leaving += 1;
            placement.content = None;
        } else if taken.is_some() {
            placement.content = taken;
        }
        None
    }

    /// Gives a zone to a thread: a new one, by `spawn`, or when there are enough or the system gives none that with the fewest zones. Gives the zone back
    /// where there is no thread at all.
    pub fn adopt(
        &mut self,
        zone: Box<Scheduled>,
        spawn: impl FnOnce(Receiver<ThreadCommand>, Sender<Name>) -> io::Result<JoinHandle<()>>,
    ) -> Result<(), Box<Scheduled>> {
        let started = (self.threads.len() < MOST_THREADS).then(|| self.start(spawn)).transpose();
        let number = started.unwrap_or_else(|error| {
            if let Some(held_back) = NO_THREAD.pass() {
                tracing::warn!(%error, held_back, "no thread for a zone whose ZSK is in a token; others may wait for the token");
            }
            None
        });
        let fewest = || self.threads.iter().min_by_key(|(number, thread)| (thread.zones, **number));
        let Some(number) = number.or_else(|| fewest().map(|(number, _)| *number)) else { return Err(zone) };
        let Some(thread) = self.threads.get_mut(&number) else { return Err(zone) };
        let name = zone.zone.served().origin().clone();
        let content = Some(zone.zone.parts());
        match thread.commands.send(ThreadCommand::Adopt(zone)) {
            Ok(()) => {
                thread.zones += 1;
                self.zones.insert(name, Placement { thread: number, leaving: 0, content });
                Ok(())
            }
            Err(unsent) => {
                thread.has_ended = true;
                match unsent.0 {
                    ThreadCommand::Adopt(zone) => Err(zone),
                    _ => Ok(()),
                }
            }
        }
    }

    fn start(
        &mut self,
        spawn: impl FnOnce(Receiver<ThreadCommand>, Sender<Name>) -> io::Result<JoinHandle<()>>,
    ) -> io::Result<ThreadNumber> {
        let (commands, commanded) = channel();
        let handle = spawn(commanded, self.let_go.0.clone())?;
        let number = ThreadNumber(self.next_number);
        self.next_number += 1;
        self.threads.insert(number, TokenThread { commands, handle, has_ended: false, zones: 0 });
        Ok(number)
    }

    /// Takes the threads out that have ended although they have zones. Gives the zones that were on them.
    pub fn take_ended(&mut self) -> Vec<ZoneParts> {
        self.forget_those_let_go();
        let ended = self.threads.iter().filter(|(_, thread)| thread.has_ended || thread.handle.is_finished());
        let ended: Vec<ThreadNumber> = ended.map(|(number, _)| *number).collect();
        let mut parts = Vec::new();
        for number in ended {
            self.threads.remove(&number);
            self.zones.retain(|_, placement| {
                let stays = placement.thread != number;
                if !stays {
                    parts.extend(placement.content.take());
                }
                stays
            });
        }
        parts
    }

    /// Forgets the zones that their threads have let go, and has threads without zones end.
    fn forget_those_let_go(&mut self) {
        while let Ok(name) = self.let_go.1.try_recv() {
            let Some(placement) = self.zones.get_mut(&name) else { continue };
            placement.leaving = placement.leaving.saturating_sub(1);
            if placement.leaving > 0 || placement.content.is_some() {
                continue;
            }
            let number = placement.thread;
            self.zones.remove(&name);
            if let Some(thread) = self.threads.get_mut(&number) {
                thread.zones = thread.zones.saturating_sub(1);
                if thread.zones == 0 {
                    // Without a sender it ends.
                    self.threads.remove(&number);
                }
            }
        }
    }

    fn send_to_all(&self, command: impl Fn() -> ThreadCommand) {
        for thread in self.threads.values() {
            // The zones of a thread that has ended are taken up again at the next look.
            let _ = thread.commands.send(command());
        }
    }

    /// Has all threads end, each behind the step under way.
    pub(super) fn begin_end(&mut self) -> EndingThreads {
        EndingThreads(self.threads.drain().map(|(_, thread)| thread.handle).collect())
    }

    /// Number of threads.
    #[cfg(test)]
    pub fn thread_count(&mut self) -> usize {
        self.forget_those_let_go();
        self.threads.len()
    }

    /// Has commands reach no thread any more, as if they had all ended.
    #[cfg(test)]
    pub fn lose_threads(&mut self) {
        for thread in self.threads.values_mut() {
            (thread.commands, _) = channel();
        }
    }
}

/// Threads that are to end.
pub(super) struct EndingThreads(Vec<JoinHandle<()>>);

impl EndingThreads {
    /// Waits for their end until `limit`. One that waits for a token goes on by itself, and ends behind that step.
    pub fn wait(self, limit: Instant) {
        let running = || self.0.iter().filter(|handle| !handle.is_finished()).count();
        while running() > 0 && Instant::now() < limit {
            std::thread::sleep(PAUSE);
        }
        if running() > 0 {
            tracing::warn!(threads = running(), "threads that wait for a token are left to themselves");
        }
    }
}
