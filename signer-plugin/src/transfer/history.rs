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

/// The differences that lead to the version that is served, the oldest first; each begins where the one before ends.
#[derive(Debug, Default)]
pub(super) struct History {
    differences: VecDeque<Arc<Difference>>,
    octets: usize,
    /// A serial that was served with two contents: nobody knows which of them a secondary has.
    ambiguous: Option<u32>,
    /// What leads to a version that is not served yet, and may never be.
    pending: Option<Pending>,
}

/// What leads from the version that is served to one that was made.
#[derive(Debug)]
struct Pending {
    version: Weak<SignedZone>,
    step: Step,
}

/// What leads from one version to the next.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// The records that differ.
    Difference(Arc<Difference>),
    /// More than the whole zone has; the serial of the version before.
    Whole(u32),
    /// There was no version before.
    First,
}

impl History {
    /// Takes what leads to the next version, which has this serial, and keeps `most` octets of differences.
    pub fn push(&mut self, step: Step, serial: u32, most: usize) {
        self.pending = None;
        let difference = match step {
            // The same version once more, as after a reload.
            Step::Difference(difference) if difference.is_empty() => return,
            Step::Difference(difference) if difference.from() == difference.to() => {
                return self.forget_before(serial, Some(serial));
            }
            Step::Difference(difference) => difference,
            Step::Whole(before) => return self.forget_before(serial, Some(before)),
            Step::First => return self.forget(),
        };
        if self.ambiguous == Some(difference.from()) {
            self.forget();
            return;
        }
        if self.differences.back().is_some_and(|last| last.to() != difference.from()) {
            self.forget();
        }
        self.ambiguous = None;
        self.add(difference, most);
    }

    fn add(&mut self, difference: Arc<Difference>, most: usize) {
        self.octets += difference.octets();
        self.differences.push_back(difference);
        while self.differences.len() > MAX_COUNT || self.octets > most {
            let Some(oldest) = self.differences.pop_front() else { break };
            self.octets -= oldest.octets();
        }
    }

    /// Notes what leads to a version that was made and is not served yet.
    pub fn set_pending(&mut self, version: &Arc<SignedZone>, step: Step) {
        self.pending = Some(Pending { version: Arc::downgrade(version), step });
    }

    /// What was noted for this version.
    pub fn pending(&self, version: &Arc<SignedZone>) -> Option<&Step> {
        let pending = self.pending.as_ref();
        let pending = pending.filter(|pending| std::ptr::eq(pending.version.as_ptr(), Arc::as_ptr(version)));
        pending.map(|pending| &pending.step)
    }

    /// All differences that lead to this version, which is served or was noted.
    pub fn all_to(&self, version: &Arc<SignedZone>) -> Vec<Arc<Difference>> {
        let known = |serial| {
            let leads_there = self.differences.back().is_some_and(|last| last.to() == serial);
            if leads_there && self.ambiguous.is_none() { self.all() } else { Vec::new() }
        };
        match self.pending(version) {
            Some(Step::Difference(next)) if next.is_empty() => known(version.serial()),
            Some(Step::Difference(next)) if next.from() == next.to() || self.is_ambiguous(next.from()) => {
                Vec::new()
            }
            Some(Step::Difference(next)) => {
                let mut all = known(next.from());
                all.push(Arc::clone(next));
                all
            }
            Some(Step::Whole(_) | Step::First) => Vec::new(),
            None => known(version.serial()),
        }
    }

    fn all(&self) -> Vec<Arc<Difference>> {
        self.differences.iter().cloned().collect()
    }

    /// Takes differences that lead to the version with this serial, where none are known, and keeps `most` octets of them.
    pub fn restore(&mut self, differences: Vec<Arc<Difference>>, serial: u32, most: usize) {
        let leads_there = differences.last().is_some_and(|last| last.to() == serial);
        if !leads_there || !self.differences.is_empty() || self.ambiguous.is_some() {
            return;
        }
        for difference in differences {
            self.add(difference, most);
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

    fn push(history: &mut History, from: u32, to: u32) {
        history.push(Step::Difference(Arc::new(step(from, to))), to, OCTETS.0);
    }

    #[test]
    fn a_step_that_is_not_known_leaves_none_of_those_before_it() {
        let mut history = History::default();
        push(&mut history, 1, 2);
        push(&mut history, 2, 3);
        assert_eq!(serials(&history.all()), [(1, 2), (2, 3)]);
        assert_eq!(serials(&history.steps(1, 3)), [(1, 2), (2, 3)]);
        // From a version that nobody knows nothing leads on.
        push(&mut history, 9, 10);
        assert_eq!(serials(&history.all()), [(9, 10)]);
        history.push(Step::Whole(10), 11, OCTETS.0);
        assert!(history.all().is_empty() && !history.is_ambiguous(11));
        history.push(Step::Whole(11), 11, OCTETS.0);
        assert!(history.is_ambiguous(11));
        push(&mut history, 11, 12);
        assert!(history.all().is_empty());
    }

    #[test]
    fn what_an_earlier_process_kept_is_taken_where_it_leads_to_what_is_served() {
        let kept = || vec![Arc::new(step(1, 2)), Arc::new(step(2, 5))];
        let octets = kept()[1].octets();
        for (served, before, most, taken) in [
            (5, None, OCTETS.0, 2),
            (5, None, octets, 1),
            (6, None, OCTETS.0, 0),
            (5, Some((5, 6)), OCTETS.0, 1),
        ] {
            let mut history = History::default();
            if let Some((from, to)) = before {
                push(&mut history, from, to);
            }
            history.restore(kept(), served, most);
            assert_eq!(history.all().len(), taken, "{served} {most}");
        }
        let mut history = History::default();
        history.forget_before(5, Some(5));
        history.restore(kept(), 5, OCTETS.0);
        assert!(history.is_ambiguous(5) && history.all().is_empty());
    }
}
