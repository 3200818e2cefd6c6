//! [`ZoneStatus`]: how a zone stands, for the program that the signer is part of; and [`StatusChanges`], which tells of each change.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use keystore::dns::Name;
use keystore::time::Timestamp;
use tokio::sync::Notify;

/// How a zone stands, as of its last step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZoneStatus {
    /// The apex.
    pub zone: Name,
    /// A full set of valid signatures is served. While it is false queries are answered SERVFAIL where a valid signature is missing.
    pub ready: bool,
    /// Number of the accepted SKR in use; `None`: none is.
    pub generation: Option<u64>,
    /// The SOA serial that is served; `None`: nothing is.
    pub serial: Option<u32>,
    /// What comes next by the time alone; `None`: nothing is known to be due.
    pub next_event: Option<ZoneEvent>,
    /// What keeps the zone from being signed or from following its files, in one sentence: the newest of the errors that hold. `None` when
    /// everything is in order.
    pub last_error: Option<String>,
}

/// Something that is due at a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneEvent {
    /// When, in seconds since 1970. It is seen to within a second, or later where many zones are due at once.
    pub at: Timestamp,
    /// What is due then.
    pub kind: ZoneEventKind,
}

/// What is due at a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZoneEventKind {
    /// The next bundle of the SKR comes into force.
    BundleSwitch,
    /// A time in the key files: a ZSK begins or ends to sign, or to be published.
    KeyTime,
    /// The first signatures by a ZSK are renewed.
    Renewal,
    /// What has failed is tried again.
    Retry,
}

/// What a subscriber is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneChange {
    /// A zone stands so now. The zones that are there when the subscription begins come first.
    Status(ZoneStatus),
    /// The zone with this apex is not the signer's any more.
    Removed(Name),
}

/// Changes of the status of zones, see [`Signer::subscribe`]. Of several changes of one zone that nobody has taken yet only the last is kept, so that
/// a slow subscriber misses no zone and holds at most one change of each.
///
/// [`Signer::subscribe`]: super::Signer::subscribe
#[derive(Debug)]
pub struct StatusChanges(Arc<Subscriber>);

impl StatusChanges {
    /// Waits for the next change; `None` when the signer has ended and every change was taken. It may be dropped while it waits; no change is
    /// lost by that. It works in every runtime.
    pub async fn next(&mut self) -> Option<ZoneChange> {
        loop {
            let woken = self.0.wake.notified();
            let is_over = {
                let mut waiting = self.0.lock();
                if let Some(change) = waiting.take() {
                    return Some(change);
                }
                waiting.is_over
            };
            if is_over {
                return None;
            }
            woken.await;
        }
    }

    /// The next change, when there is one that was not taken yet.
    pub fn try_next(&mut self) -> Option<ZoneChange> {
        self.0.lock().take()
    }
}

#[derive(Debug, Default)]
struct Subscriber {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

/// Changes that were not taken yet.
#[derive(Debug, Default)]
struct Waiting {
    changes: HashMap<Name, ZoneChange>,
    /// The zones of `changes`, in the order in which they are told of.
    order: VecDeque<Name>,
    is_over: bool,
}

impl Waiting {
    fn put(&mut self, zone: &Name, change: ZoneChange) {
        if self.changes.insert(zone.clone(), change).is_none() {
            self.order.push_back(zone.clone());
        }
    }

    fn take(&mut self) -> Option<ZoneChange> {
        self.changes.remove(&self.order.pop_front()?)
    }
}

impl Subscriber {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subscribers of a signer. Clones have the same ones.
#[derive(Debug, Clone, Default)]
pub(super) struct StatusFeed(Arc<Mutex<Vec<Weak<Subscriber>>>>);

impl StatusFeed {
    /// A subscriber, who is told first of how zones stand: `now` is called when changes are told already, so that none is missed.
    pub fn subscribe(&self, now: impl FnOnce() -> Vec<ZoneStatus>) -> StatusChanges {
        let subscriber = Arc::<Subscriber>::default();
        self.subscribers().push(Arc::downgrade(&subscriber));
        let now = now();
        let mut waiting = subscriber.lock();
        for status in now {
            let zone = status.zone.clone();
            // A change that came meanwhile is newer.
            if !waiting.changes.contains_key(&zone) {
                waiting.put(&zone, ZoneChange::Status(status));
            }
        }
        drop(waiting);
        StatusChanges(subscriber)
    }

    /// Tells of a zone's status.
    pub fn tell(&self, status: &ZoneStatus) {
        self.to_each(|waiting| waiting.put(&status.zone, ZoneChange::Status(status.clone())));
    }

    /// Tells that a zone is gone.
    pub fn tell_removed(&self, zone: &Name) {
        self.to_each(|waiting| waiting.put(zone, ZoneChange::Removed(zone.clone())));
    }

    /// Tells that there will be no change any more.
    pub fn close(&self) {
        self.to_each(|waiting| waiting.is_over = true);
    }

    fn to_each(&self, act: impl Fn(&mut Waiting)) {
        self.subscribers().retain(|subscriber| {
            let Some(subscriber) = subscriber.upgrade() else { return false };
            act(&mut subscriber.lock());
            subscriber.wake.notify_one();
            true
        });
    }

    fn subscribers(&self) -> MutexGuard<'_, Vec<Weak<Subscriber>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(zone: &str, serial: u32) -> ZoneStatus {
        let zone = Name::parse(zone).expect("a name");
        ZoneStatus {
            zone,
            ready: true,
            generation: Some(1),
            serial: Some(serial),
            next_event: None,
            last_error: None,
        }
    }

    #[tokio::test]
    async fn slow_subscriber_gets_the_last_change_of_each_zone_and_then_the_end() {
        let feed = StatusFeed::default();
        let mut slow = feed.subscribe(|| {
            // A change while the subscription begins is newer than what was read for it.
            feed.tell(&status("a.test", 2));
            vec![status("a.test", 1), status("b.test", 1)]
        });
        let gone = feed.subscribe(Vec::new);
        drop(gone);
        for serial in 3..1000 {
            feed.tell(&status("b.test", serial));
        }
        assert_eq!(feed.subscribers().len(), 1, "who is gone is told nothing");
        let c = Name::parse("c.test").expect("a name");
        feed.tell(&status("c.test", 1));
        feed.tell_removed(&c);
        assert_eq!(slow.next().await, Some(ZoneChange::Status(status("a.test", 2))));
        assert_eq!(slow.try_next(), Some(ZoneChange::Status(status("b.test", 999))));
        assert_eq!(slow.next().await, Some(ZoneChange::Removed(c)));
        assert_eq!(slow.try_next(), None);

        // One that waits is woken, also when it had begun to wait and given up before.
        assert!(tokio::time::timeout(std::time::Duration::ZERO, slow.next()).await.is_err());
        let waits = tokio::spawn(async move { (slow.next().await, slow) });
        tokio::task::yield_now().await;
        feed.tell(&status("a.test", 3));
        let (change, mut slow) = waits.await.expect("it ends");
        assert_eq!(change, Some(ZoneChange::Status(status("a.test", 3))));
        feed.tell(&status("a.test", 4));
        feed.close();
        assert!(slow.next().await.is_some());
        assert_eq!((slow.next().await, slow.next().await), (None, None), "and it stays so");
    }
}
