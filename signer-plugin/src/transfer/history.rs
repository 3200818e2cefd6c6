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
/// Merged differences that are kept until the next version: secondaries mostly stop at the same few serials.
const MERGED: usize = 4;

/// The differences that lead to the version that is served, the oldest first; each begins where the one before ends.
#[derive(Debug, Default)]
pub(super) struct History {
    differences: VecDeque<Arc<Difference>>,
    octets: usize,
    merged: VecDeque<Arc<Difference>>,
    /// A serial that was served with two contents: nobody knows which of them a secondary has.
    ambiguous: Option<u32>,
}

impl History {
    /// Adds the difference that leads to the next version; `zone_octets` is what the zone itself takes.
    pub fn push(&mut self, difference: Difference, zone_octets: usize) {
        self.merged.clear();
        if difference.from() == difference.to() {
            self.forget();
            self.ambiguous = Some(difference.to());
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
        let most = zone_octets.clamp(OCTETS.0, OCTETS.1);
        while self.differences.len() > MAX_COUNT || self.octets > most {
            let Some(oldest) = self.differences.pop_front() else { break };
            self.octets -= oldest.octets();
        }
    }

    /// Forgets all, for instance because the zone is not transferred any more.
    pub fn forget(&mut self) {
        *self = Self { ambiguous: self.ambiguous, ..Self::default() };
    }

    /// What leads from the version `from` to the version `to`, in one difference; `None` when that is not known.
    pub fn between(&mut self, from: u32, to: u32) -> Option<Arc<Difference>> {
        let first = self.differences.iter().rposition(|difference| difference.from() == from)?;
        let last = self.differences.iter().skip(first).position(|difference| difference.to() == to)? + first;
        if first == last {
            return self.differences.get(first).cloned();
        }
        if let Some(known) = self.merged.iter().find(|known| known.from() == from && known.to() == to) {
            return Some(Arc::clone(known));
        }
        let merged = Arc::new(merge(&self.differences.range(first..=last).collect::<Vec<_>>()));
        if self.merged.len() == MERGED {
            self.merged.pop_front();
        }
        self.merged.push_back(Arc::clone(&merged));
        Some(merged)
    }
}

/// Merges neighbours first, so that a record is copied once for each doubling of their number.
fn merge(differences: &[&Arc<Difference>]) -> Difference {
    match differences {
        [one] => Difference::clone(one),
        more => {
            let (first, second) = more.split_at(more.len() / 2);
            merge(first).merged(&merge(second))
        }
    }
}
