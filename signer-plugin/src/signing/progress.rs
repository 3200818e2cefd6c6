//! How far a signing run has come.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the RRsets of a run whose signatures are there. Who signs counts, others look.
#[derive(Debug, Default)]
pub struct SigningProgress {
    all: AtomicUsize,
    done: AtomicUsize,
}

impl SigningProgress {
    /// A run over so many RRsets begins.
    pub(super) fn begin(&self, all: usize) {
        self.done.store(0, Ordering::Relaxed);
        self.all.store(all, Ordering::Relaxed);
    }

    /// The signatures of one more RRset are there.
    pub(super) fn count(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// RRsets whose signatures are there, and all of the run; 0 and 0 before they are known. A new run may begin between the two.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.done.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed))
    }

    /// The share that is done, in percent; 0 before the RRsets are known.
    #[must_use]
    pub fn percent(&self) -> u8 {
        let (done, all) = self.counts();
        done.min(all).saturating_mul(100).checked_div(all).map_or(0, |percent| percent as u8)
    }
}
