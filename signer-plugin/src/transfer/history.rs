//! The differences between the last versions of a zone, for secondaries that are not far behind.
//!
//! They are in memory, and on disk beside the versions (`state::differences`), from where a restart has them again.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::difference::Difference;
use crate::signing::SignedZone;

/// Most differences that are kept.
const MAX_COUNT: usize = 1000;
/// Most octets of memory that they take, and the least that any zone may use; between these it is what the zone itself takes: more
/// would be of no use, as the whole zone is sent then.
const OCTETS: (usize, usize) = (64 << 10, 16 << 20);

/// The differences that lead to the version that is served, or to one that is about to be, the oldest first; each begins where the one before
/// ends.
#[derive(Debug, Default)]
pub(super) struct History {
    differences: VecDeque<Arc<Difference>>,
    octets: usize,
    /// A serial that was served with two contents: nobody knows which of them a secondary has.
    ambiguous: Option<u32>,
    /// The version that was recorded last.
    newest: Weak<SignedZone>,
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
        // What leads to a version that was made and never served.
        while self.differences.back().is_some_and(|last| last.to() != difference.from()) {
            let Some(unserved) = self.differences.pop_back() else { break };
            self.octets -= unserved.octets();
        }
        self.ambiguous = None;
        self.add(Arc::new(difference), most);
    }

    fn add(&mut self, difference: Arc<Difference>, most: usize) {
        self.octets += difference.octets();
        self.differences.push_back(difference);
        while self.differences.len() > MAX_COUNT || self.octets > most {
            let Some(oldest) = self.differences.pop_front() else { break };
            self.octets -= oldest.octets();
        }
    }

    /// True when `version` was recorded last.
    pub fn leads_to(&self, version: &Arc<SignedZone>) -> bool {
        std::ptr::eq(self.newest.as_ptr(), Arc::as_ptr(version))
    }

    /// Notes that `version` was recorded.
    pub fn note(&mut self, version: &Arc<SignedZone>) {
        self.newest = Arc::downgrade(version);
    }

    /// All differences, when they lead to the version with this serial.
    pub fn all_to(&self, serial: u32) -> Vec<Arc<Difference>> {
        let leads_there = self.differences.back().is_some_and(|last| last.to() == serial);
        if leads_there { self.differences.iter().cloned().collect() } else { Vec::new() }
    }

    /// Takes differences that lead to the version with this serial, where none are known.
    pub fn restore(&mut self, differences: Vec<Arc<Difference>>, serial: u32) {
        let leads_there = differences.last().is_some_and(|last| last.to() == serial);
        if !leads_there || !self.differences.is_empty() || self.ambiguous.is_some() {
            return;
        }
        for difference in differences {
            self.add(difference, OCTETS.1);
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

#[cfg(test)]
mod tests {
    use keystore::dns::Rtype;

    use super::*;
    use crate::difference::RecordList;
    use crate::testing::name;

    fn step(from: u32, to: u32) -> Difference {
        let list = |serial: u32| {
            RecordList::new([(
                name("example").as_wire().to_vec(),
                Rtype::SOA,
                300,
                serial.to_be_bytes().to_vec(),
            )])
        };
        let none = RecordList::default();
        Difference::of_lists((from, &list(from), &none), (to, &list(to), &none))
    }

    fn serials(steps: &[Arc<Difference>]) -> Vec<(u32, u32)> {
        steps.iter().map(|step| (step.from(), step.to())).collect()
    }

    #[test]
    fn a_version_that_was_never_served_leaves_the_differences_before_it() {
        let mut history = History::default();
        history.push(step(1, 2), OCTETS.0);
        history.push(step(2, 3), OCTETS.0);
        // The version with serial 3 could not be written down; that with serial 4 could.
        history.push(step(2, 4), OCTETS.0);
        assert_eq!(serials(&history.all_to(4)), [(1, 2), (2, 4)]);
        assert!(history.all_to(3).is_empty() && history.steps(2, 3).is_empty());
        let octets: usize = history.all_to(4).iter().map(|step| step.octets()).sum();
        assert_eq!(history.octets, octets);
        // From a version that nobody knows nothing leads on.
        history.push(step(9, 10), OCTETS.0);
        assert_eq!(serials(&history.all_to(10)), [(9, 10)]);
    }

    #[test]
    fn what_an_earlier_process_kept_is_taken_where_it_leads_to_what_is_served() {
        let kept = || vec![Arc::new(step(1, 2)), Arc::new(step(2, 5))];
        for (served, before, taken) in [(5, None, 2), (6, None, 0), (5, Some(step(5, 6)), 0)] {
            let mut history = History::default();
            if let Some(before) = before {
                history.push(before, OCTETS.0);
            }
            history.restore(kept(), served);
            assert_eq!(history.all_to(5).len(), taken, "{served}");
        }
        let mut history = History::default();
        history.forget_before(5, Some(5));
        history.restore(kept(), 5);
        assert!(history.is_ambiguous(5) && history.all_to(5).is_empty());
    }
}
