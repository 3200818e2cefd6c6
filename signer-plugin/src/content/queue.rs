//! Requests for changes of a zone, which wait for its thread.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::update::{UpdateRcode, UpdateRequest};
use crate::zone::{ContentChange, Zone};

/// Most updates that wait; each is held in memory.
const MOST: usize = 1024;

/// Told what became of a change, in the zone's thread: must not wait.
pub type Reply = Box<dyn FnOnce(ChangeOutcome) + Send>;

/// A change that somebody asks for.
pub struct ChangeRequest {
    /// What is to be changed.
    pub change: Change,
    /// Who asks for it.
    pub reply: Reply,
}

/// What is to be changed.
#[derive(Debug)]
pub enum Change {
    /// Whole new content. It is taken as a zone file that was read: what limits the share of changed records, and the review, may let it wait
    /// while what is served stays.
    Whole(Box<Zone>),
    /// What has changed since `from`, which must be the content that the zone has.
    Difference {
        /// The content that the change was made for.
        from: Arc<Zone>,
        /// What changes.
        change: ContentChange,
    },
    /// A DNS UPDATE (RFC 2136). One that cannot be served at once is not taken.
    Update(Box<UpdateRequest>),
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// It is on disk and served, or changes nothing.
    Served {
        /// The serial that is served.
        serial: u32,
    },
    /// It is on disk, and waits to be served.
    Kept,
    /// It is for other content than the zone has.
    Stale,
    /// The update is answered with this code, and has changed nothing.
    Answered(UpdateRcode),
    /// It was not taken, and would not be at another time either.
    Refused(String),
    /// It was not taken now.
    Failed(String),
}

/// The changes that wait for the thread of a zone.
#[derive(Default)]
pub struct ChangeQueue {
    waiting: Mutex<Waiting>,
    /// Has the thread look here.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<ChangeRequest>,
    /// No thread takes any more.
    is_closed: bool,
}

impl ChangeQueue {
    /// Says how the thread of the zone is woken. Only the first call counts.
    pub fn wake_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    /// Has a change wait, and wakes the thread. Where too many wait, or no thread takes them any more, it has failed at once.
    pub fn submit(&self, request: ChangeRequest) {
        let mut waiting = self.lock();
        if waiting.is_closed {
            drop(waiting);
            return fail([request]);
        }
        if waiting.requests.len() >= MOST {
            drop(waiting);
            return (request.reply)(ChangeOutcome::Failed(format!("{MOST} changes wait already")));
        }
        waiting.requests.push_back(request);
        let is_first = waiting.requests.len() == 1;
        drop(waiting);
        // Whoever comes behind another one is found with it.
        if is_first && let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// The changes that wait, in the order in which they came.
    pub fn take(&self) -> VecDeque<ChangeRequest> {
        std::mem::take(&mut self.lock().requests)
    }

    /// Has changes wait again, in front of all others, and wakes the thread.
    pub fn put_back(&self, mut requests: VecDeque<ChangeRequest>) {
        if requests.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        if waiting.is_closed {
            drop(waiting);
            return fail(requests);
        }
        requests.append(&mut waiting.requests);
        waiting.requests = requests;
        drop(waiting);
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.lock().requests.is_empty()
    }

    /// Has the changes that wait fail, and all that come after this: the zone has left, or its thread ends. Changes that the thread has taken are its own.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        let requests = std::mem::take(&mut waiting.requests);
        drop(waiting);
        fail(requests);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells those who wait that nobody takes their changes.
fn fail(requests: impl IntoIterator<Item = ChangeRequest>) {
    for request in requests {
        let why = "the zone is not signed and served here any more, or the signer ends";
        (request.reply)(ChangeOutcome::Failed(why.to_owned()));
    }
}

impl fmt::Debug for ChangeQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeQueue").finish_non_exhaustive()
    }
}
