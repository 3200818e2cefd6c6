//! Which serial each secondary was seen to have.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keystore::time::Timestamp;

/// How a secondary stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecondaryStanding {
    /// The serial that it was last seen to have.
    pub serial: Option<u32>,
    /// Since when it lacks the version that is served; `None` = it has it.
    pub behind_since: Option<Timestamp>,
    /// What went wrong at the last try, while it lacks the version.
    pub error: Option<String>,
}

/// The secondaries of a zone that are told of its versions, by address.
#[derive(Debug, Default)]
pub(super) struct Secondaries(Mutex<BTreeMap<SocketAddr, SecondaryStanding>>);

impl Secondaries {
    /// Forgets all but these, and gives those that it forgot.
    pub fn keep(&self, kept: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut all = self.all();
        let gone: Vec<SocketAddr> = all.keys().filter(|address| !kept.contains(address)).copied().collect();
        all.retain(|address, _| kept.contains(address));
        gone
    }

    /// A version is to be brought to it. One that it is seen to have already is no news.
    pub fn wants(&self, address: SocketAddr, serial: u32, now: Timestamp) {
        let mut all = self.all();
        let standing = all.entry(address).or_default();
        if standing.serial != Some(serial) {
            standing.behind_since.get_or_insert(now);
        }
    }

    /// It was seen to have `serial`; `has_it` when that is the version which is served, or a later one. One that lacks it and has another
    /// serial than before follows: it is behind from now on only.
    pub fn seen(&self, address: SocketAddr, serial: u32, has_it: bool, now: Timestamp) {
        let mut all = self.all();
        let standing = all.entry(address).or_default();
        let follows = standing.serial.is_some_and(|before| before != serial);
        standing.serial = Some(serial);
        if has_it {
            (standing.behind_since, standing.error) = (None, None);
        } else if follows || standing.behind_since.is_none() {
            standing.behind_since = Some(now);
        }
    }

    /// It did not take a message, or did not answer.
    pub fn failed(&self, address: SocketAddr, error: String) {
        self.all().entry(address).or_default().error = Some(error);
    }

    /// It can be told of no version, for this reason.
    pub fn cannot_be_told(&self, address: SocketAddr, error: String, now: Timestamp) {
        let mut all = self.all();
        let standing = all.entry(address).or_default();
        standing.behind_since.get_or_insert(now);
        standing.error = Some(error);
    }

    /// All of them.
    pub fn standing(&self) -> BTreeMap<SocketAddr, SecondaryStanding> {
        self.all().clone()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, SecondaryStanding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secondary_is_behind_from_the_first_version_that_it_lacks_until_it_has_the_last() {
        let (secondaries, address) = (Secondaries::default(), SocketAddr::from(([192, 0, 2, 53], 53)));
        let at = Timestamp::from_secs;
        let behind = |secondaries: &Secondaries| secondaries.standing()[&address].behind_since;
        secondaries.wants(address, 1, at(100));
        secondaries.seen(address, 1, true, at(100));
        assert_eq!(behind(&secondaries), None);
        secondaries.wants(address, 2, at(200));
        secondaries.failed(address, "NOTIFY: no answer".to_owned());
        secondaries.wants(address, 3, at(300));
        secondaries.seen(address, 1, false, at(310));
        assert_eq!(behind(&secondaries), Some(at(200)), "it has had nothing newer since then");
        secondaries.seen(address, 2, false, at(320));
        assert_eq!(behind(&secondaries), Some(at(320)), "it follows");
        secondaries.seen(address, 3, true, at(330));
        let standing = &secondaries.standing()[&address];
        let expected = SecondaryStanding { serial: Some(3), behind_since: None, error: None };
        assert_eq!(*standing, expected);
        // It lost the zone, and got it again.
        secondaries.seen(address, 1, false, at(350));
        assert_eq!(behind(&secondaries), Some(at(350)));
        secondaries.seen(address, 3, true, at(360));
        // A restart of the task with the same version.
        secondaries.wants(address, 3, at(400));
        assert_eq!(behind(&secondaries), None);
        assert_eq!(secondaries.keep(&[]), [address]);
        assert!(secondaries.standing().is_empty());
    }
}
