//! Updates that were accepted, by the MAC of their request: one that is sent again, by the network or by somebody who has recorded it, must not
//! undo what came after it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keystore::time::Timestamp;

/// Most requests that are remembered; the oldest are forgotten first.
const MOST: usize = 16_384;

/// The accepted updates of a zone whose signatures still count by their time.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    known: HashSet<Box<[u8]>>,
    /// In the order in which they came, each with the last time at which its signature counts.
    order: VecDeque<(Timestamp, Box<[u8]>)>,
}

impl Replays {
    /// True for the MAC of an update that was accepted.
    pub fn knows(&self, mac: &[u8]) -> bool {
        self.lock().known.contains(mac)
    }

    /// Notes an update that was accepted, whose signature counts up to `until`.
    pub fn note(&self, mac: &[u8], until: Timestamp, now: Timestamp) {
        let mut state = self.lock();
        let State { known, order } = &mut *state;
        while order.len() >= MOST || order.front().is_some_and(|(until, _)| *until < now) {
            let Some((_, old)) = order.pop_front() else { break };
            known.remove(&old);
        }
        if known.insert(mac.into()) {
            order.push_back((until, mac.into()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_known_until_its_signature_counts_no_more_and_the_oldest_are_forgotten_first() {
        let at = Timestamp::from_secs;
        let replays = Replays::default();
        replays.note(b"a", at(300), at(0));
        replays.note(b"a", at(300), at(1));
        assert!(replays.knows(b"a") && !replays.knows(b"b"));
        replays.note(b"b", at(600), at(300));
        assert!(replays.knows(b"a") && replays.knows(b"b"));
        replays.note(b"c", at(700), at(301));
        assert!(!replays.knows(b"a") && replays.knows(b"b"));
        for number in 0..MOST {
            replays.note(&number.to_be_bytes(), at(1000), at(302));
        }
        assert!(!replays.knows(b"b") && !replays.knows(b"c") && replays.knows(&0_usize.to_be_bytes()));
    }
}
