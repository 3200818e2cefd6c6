//! The differences between the last versions of a zone, for secondaries that are not far behind.
//!
//! They are kept in memory alone. A restart serves the version that was served last again, so that a secondary which has it is told of what
//! comes after it by differences; one that was further behind gets the whole zone once.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::difference::Difference;

/// Most differences that are kept.
const MAX_COUNT: usize = 1000;
/// Most octets of memory that they take, and the least that any zone may use; between these it is what the zone itself takes: more
/// would be of no use, as the whole zone is sent then.
const OCTETS: (usize, usize) = (64 << 10, 16 << 20);
/// The differences that lead to the version that is served, the oldest first; each begins where the one before ends.
#[derive(Debug, Default)]
pub(super) struct History {
    differences: VecDeque<Arc<Difference>>,
    octets: usize,
    /// A serial that was served with two contents: nobody knows which of them a secondary has.
    ambiguous: Option<u32>,
}

impl History {
    /// Adds the difference that leads to the next version, and keeps `most` octets of differences.
    pub fn push(&mut self, difference: Difference, most: usize) {
        if difference.is_empty() {
            // The same version once more, as after a reload.
            return;
        }
        if difference.from() == difference.to() {
            self.forget_before(difference.to(), Some(difference.from()));
            return;
        }
        if self.ambiguous == Some(difference.from()) {
            self.forget();
            return;
        }
        if self.differences.back().is_some_and(|last| last.to() != difference.from()) {
            self.forget();
        }
        self.ambiguous = None;
        self.octets += difference.octets();
        self.differences.push_back(Arc::new(difference));
        while self.differences.len() > MAX_COUNT || self.octets > most {
            let Some(oldest) = self.differences.pop_front() else { break };
            self.octets -= oldest.octets();
        }
    }

    /// Forgets all, for instance because the zone is not transferred any more.
    pub fn forget(&mut self) {
        *self = Self { ambiguous: self.ambiguous, ..Self::default() };
    }

    /// Forgets all, as the difference from the version with serial `before` to the one with `serial` is not known.
    pub fn forget_before(&mut self, serial: u32, before: Option<u32>) {
        self.forget();
        self.ambiguous = (before == Some(serial)).then_some(serial);
    }

    /// True when the serial was served with two contents.
    pub fn is_ambiguous(&self, serial: u32) -> bool {
        self.ambiguous == Some(serial)
    }

    /// The difference that leads to the newest version.
    pub fn last(&self) -> Option<Arc<Difference>> {
        self.differences.back().cloned()
    }

    /// The differences that lead from the version `from` to the version `to`, in order; none when that is not known.
    pub fn steps(&self, from: u32, to: u32) -> Vec<Arc<Difference>> {
        let steps =
            self.differences.iter().rposition(|difference| difference.from() == from).and_then(|first| {
                let last =
                    self.differences.iter().skip(first).position(|difference| difference.to() == to)?;
                Some(self.differences.range(first..=first + last).cloned().collect())
            });
        steps.unwrap_or_default()
    }
}

/// Most octets of differences that are worth keeping, and worth sending, for a zone that takes `zone_octets`.
pub(super) fn most_octets(zone_octets: usize) -> usize {
    zone_octets.clamp(OCTETS.0, OCTETS.1)
}

/// Differences that follow one another, in one. Neighbours are merged first, so that a record is copied once for each doubling of their
/// number.
pub(super) fn merge(steps: &[Arc<Difference>]) -> Option<Arc<Difference>> {
    match steps {
        [] => None,
        [one] => Some(Arc::clone(one)),
        more => {
            let (first, second) = more.split_at(more.len() / 2);
            Some(Arc::new(merge(first)?.merged(&*merge(second)?)))
        }
    }
}
