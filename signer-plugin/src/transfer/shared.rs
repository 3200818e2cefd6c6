//! Messages that transfers of one version share: secondaries that are told of it come for it at the same time, and what they are sent differs
//! in the header, OPT and TSIG alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::message::MAX_MESSAGE;
use super::version::TransferVersion;

/// Messages that are kept of one series, a megabyte: who is further behind composes them again.
pub(super) const KEPT: usize = 64;
/// Messages that are kept of all series, eight megabytes.
pub(super) const MOST: usize = 512;
/// Room for a message, and for the record that fits no more and is taken out again.
const ROOM: usize = MAX_MESSAGE + 1024;
/// Messages that this process keeps.
static OF_PROCESS: AtomicUsize = AtomicUsize::new(0);

/// The transfers of a zone, as far as they share messages. `P` is a place in the content.
#[derive(Debug)]
pub(super) struct SharedMessages<P> {
    all: Mutex<Vec<Weak<TransferSeries<P>>>>,
    /// Messages that are kept of all zones.
    total: &'static AtomicUsize,
}

/// Transfers of one version whose messages have the same records.
#[derive(Debug)]
pub(super) struct TransferSeries<P> {
    version: TransferVersion,
    /// As the client spells it, since records point to its name.
    question: Box<[u8]>,
    /// Octets of each message for header, question and records.
    room: usize,
    /// The highest number of a message that one of the transfers has come to.
    front: AtomicUsize,
    /// The last messages that were composed, by number.
    recent: Mutex<BTreeMap<usize, Arc<ComposedMessage<P>>>>,
    total: &'static AtomicUsize,
}

/// One message as far as it is the same for all.
#[derive(Debug)]
pub(super) struct ComposedMessage<P> {
    /// Room for the header, the question, the records.
    pub octets: Vec<u8>,
    /// Number of records.
    pub records: u16,
    /// Where the next message begins.
    pub next: P,
}

impl<P> Default for SharedMessages<P> {
    fn default() -> Self {
        Self::counted_by(&OF_PROCESS)
    }
}

impl<P> SharedMessages<P> {
    /// `total` counts the messages that are kept, over all that count by it.
    pub fn counted_by(total: &'static AtomicUsize) -> Self {
        Self { all: Mutex::default(), total }
    }

    /// The series of a transfer of `version` that begins now: one that others have begun a short time ago, else a new one. A series ends when
    /// the last of its transfers ends.
    pub fn join(&self, version: &TransferVersion, question: &[u8], room: usize) -> Arc<TransferSeries<P>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|series| series.strong_count() > 0);
        let fits = |series: &Arc<TransferSeries<P>>| {
            series.version.is(version)
                && *series.question == *question
                && series.room == room
                && series.front.load(Ordering::Relaxed) < KEPT
        };
        all.iter().filter_map(Weak::upgrade).find(fits).unwrap_or_else(|| {
            let series = Arc::new(TransferSeries {
                version: version.clone(),
                question: question.into(),
                room,
                front: AtomicUsize::new(0),
                recent: Mutex::default(),
                total: self.total,
            });
            all.push(Arc::downgrade(&series));
            series
        })
    }

    /// Number of messages that each series keeps which has not ended.
    #[cfg(test)]
    pub fn kept(&self) -> Vec<usize> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).map(|series| series.recent().len()).collect()
    }
}

impl<P> TransferSeries<P> {
    /// The message with this number, which a transfer has come to, where it was composed a short time ago. Nothing is kept for a transfer that
    /// `is_alone`.
    pub fn get(&self, number: usize, is_alone: bool) -> Option<Arc<ComposedMessage<P>>> {
        self.front.fetch_max(number, Ordering::Relaxed);
        let mut recent = self.recent();
        if is_alone {
            self.total.fetch_sub(recent.len(), Ordering::Relaxed);
            recent.clear();
        }
        recent.get(&number).cloned()
    }

    /// Keeps the message with this number; where there is no room for one more, in place of the one with the lowest number, if that is lower.
    /// Gives a buffer for the next message.
    pub fn put(&self, number: usize, composed: ComposedMessage<P>) -> Vec<u8> {
        let mut recent = self.recent();
        // Another thread may have composed it meanwhile. A message of one record that is longer than others would take too much memory.
        if composed.octets.len() > ROOM || recent.contains_key(&number) {
            return composed.octets;
        }
        let more = |total: usize| (total < MOST).then_some(total + 1);
        let has_room = recent.len() < KEPT
            && self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        let mut lowest = None;
        if !has_room {
            match recent.first_entry() {
                Some(entry) if *entry.key() < number => lowest = Some(entry.remove()),
                _ => return composed.octets,
            }
        }
        recent.insert(number, Arc::new(composed));
        let buffer = lowest.and_then(Arc::into_inner).map(|lowest| lowest.octets);
        buffer.unwrap_or_else(|| Vec::with_capacity(ROOM))
    }

    fn recent(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<ComposedMessage<P>>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Drop for TransferSeries<P> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.recent().len(), Ordering::Relaxed);
    }
}
