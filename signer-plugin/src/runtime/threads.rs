//! [`Threads`]: the threads that step zones, and which zone is at work on which.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use keystore::dns::Name;

use super::schedule::{ThreadCommand, ThreadContext, ZoneSchedule};

/// Threads, as many as there are zones, up to a limit. They end when [`Threads::join`] is called.
pub(super) struct Threads {
    most: usize,
    /// Set when the threads are to end.
    stop: Arc<AtomicBool>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// What new threads get; `None` when there are to be no more: who answers for the zones of a signer that has ended still holds its `Threads`, and must not hold the lock.
    context: Option<ThreadContext>,
    threads: Vec<Thread>,
    /// Index of the thread of each zone that was ever at work: a zone that comes back finds the thread that may still be busy with it.
    of_zone: HashMap<Name, usize>,
}

struct Thread {
    commands: Sender<ThreadCommand>,
    handle: JoinHandle<()>,
    /// Number of zones at work on it.
    zones: usize,
}

impl Threads {
    /// No thread yet, and never more than `most`.
    pub fn new(context: ThreadContext, most: usize) -> Self {
        let stop = Arc::clone(&context.stop);
        let inner = Inner { context: Some(context), threads: Vec::new(), of_zone: HashMap::new() };
        Self { most, stop, inner: Mutex::new(inner) }
    }

    /// Starts threads until there is one for each of `zones` zones, or as many as there may be.
    ///
    /// # Errors
    /// When the system gives no thread; those that were started go on.
    pub fn grow(&self, zones: usize) -> io::Result<()> {
        let mut inner = self.lock();
        let Some(context) = inner.context.clone() else { return Ok(()) };
        while inner.threads.len() < zones.min(self.most) {
            let (commands, commanded) = channel();
            let schedule = ZoneSchedule::new(context.clone());
            let thread = std::thread::Builder::new().name("signer".to_owned());
            let handle = thread.spawn(move || schedule.run(&commanded))?;
            inner.threads.push(Thread { commands, handle, zones: 0 });
        }
        Ok(())
    }

    /// Gives a zone that is not at work to the thread that had it last, otherwise to one with the fewest zones.
    pub fn take(&self, zone: &Name) {
        let mut inner = self.lock();
        let Inner { threads, of_zone, .. } = &mut *inner;
        let fewest = (0..threads.len()).min_by_key(|index| threads[*index].zones).unwrap_or(0);
        let index = *of_zone.entry(zone.clone()).or_insert(fewest);
        if let Some(thread) = threads.get_mut(index) {
            thread.zones += 1;
        }
    }

    /// Has the thread of a zone let it go.
    pub fn leave(&self, zone: Name) {
        self.send(&zone, ThreadCommand::Leave(zone.clone()));
        let mut inner = self.lock();
        let index = inner.of_zone.get(&zone).copied();
        if let Some(thread) = index.and_then(|index| inner.threads.get_mut(index)) {
            thread.zones = thread.zones.saturating_sub(1);
        }
    }

    /// Tells the thread of a zone what to do; nobody where the zone was never at work.
    pub fn send(&self, zone: &Name, command: ThreadCommand) {
        let inner = self.lock();
        if let Some(thread) = inner.of_zone.get(zone).and_then(|index| inner.threads.get(*index)) {
            // A thread that is gone has said why.
            let _ = thread.commands.send(command);
        }
    }

    /// Tells every thread what to do.
    pub fn send_to_all(&self, command: impl Fn() -> ThreadCommand) {
        for thread in &self.lock().threads {
            // A thread that is gone has said why.
            let _ = thread.commands.send(command());
        }
    }

    /// Has the threads end, each after the step under way, and does not wait for that.
    pub fn begin_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.send_to_all(|| ThreadCommand::Wake);
    }

    /// True when the threads are to end.
    pub fn are_ending(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The same as [`Self::begin_stop`], and waits for it.
    pub fn join(&self) {
        self.begin_stop();
        let threads = {
            let mut inner = self.lock();
            inner.context = None;
            std::mem::take(&mut inner.threads)
        };
        for thread in threads {
            let _ = thread.handle.join();
        }
    }

    /// Number of zones at work on each thread.
    #[cfg(test)]
    pub fn zones(&self) -> Vec<usize> {
        self.lock().threads.iter().map(|thread| thread.zones).collect()
    }

    /// Index of the thread of a zone that was at work.
    #[cfg(test)]
    pub fn of_zone(&self, zone: &Name) -> Option<usize> {
        self.lock().of_zone.get(zone).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
