//! Whether a host may publish versions now.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::dns::Name;
use crate::time::Timestamp;

/// A moment by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, by which the other host judges the lease.
    pub wall: Timestamp,
    /// Time since this host was booted, suspension included, which nobody sets.
    pub boot: Duration,
}

/// The time in which versions may be published, and the zones of which none may. Clones share it. It ends by itself: a process that was
/// stopped for longer than its lease finds it closed when it goes on.
#[derive(Debug, Clone, Default)]
pub struct Fence(Option<Arc<Inner>>);

struct Inner {
    clock: Box<dyn Fn() -> Moment + Send + Sync>,
    values: Mutex<Values>,
}

#[derive(Debug, Default)]
struct Values {
    /// The last renewal of the lease, and how long it holds.
    span: Option<(Moment, Duration)>,
    held: BTreeSet<Name>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values.fmt(f)
    }
}

impl Fence {
    /// Permits nothing before [`Self::open`]; `clock` gives the moment of now. (The default, for a host without a second one, permits
    /// everything.)
    #[must_use]
    pub fn closed(clock: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Inner { clock: Box::new(clock), values: Mutex::default() })))
    }

    /// Permits versions for so long from `renewed` on, which must have been taken before the renewal began.
    pub fn open(&self, renewed: Moment, duration: Duration) {
        self.change(|values| values.span = Some((renewed, duration)));
    }

    /// Permits nothing from now on.
    pub fn close(&self) {
        self.change(|values| values.span = None);
    }

    /// Permits no version of these zones, and of all others.
    pub fn hold(&self, zones: BTreeSet<Name>) {
        self.change(|values| values.held = zones);
    }

    /// True while versions may be published, by both clocks. A wall clock that was set back behind the renewal permits nothing.
    #[must_use]
    pub fn permits(&self) -> bool {
        let Some(inner) = &self.0 else { return true };
        let now = (inner.clock)();
        let span = inner.values.lock().unwrap_or_else(PoisonError::into_inner).span;
        span.is_some_and(|(renewed, duration)| {
            let by_boot = now.boot.checked_sub(renewed.boot).is_some_and(|passed| passed < duration);
            by_boot && renewed.wall <= now.wall && now.wall < renewed.wall.plus(duration.as_secs())
        })
    }

    /// The same for one zone.
    #[must_use]
    pub fn permits_zone(&self, zone: &Name) -> bool {
        let is_held = |inner: &Arc<Inner>| {
            inner.values.lock().unwrap_or_else(PoisonError::into_inner).held.contains(zone)
        };
        self.permits() && !self.0.as_ref().is_some_and(is_held)
    }

    fn change(&self, change: impl FnOnce(&mut Values)) {
        if let Some(inner) = &self.0 {
            change(&mut inner.values.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(wall: u64, boot: u64) -> Moment {
        Moment { wall: Timestamp::from_secs(wall), boot: Duration::from_secs(boot) }
    }

    #[test]
    fn versions_are_permitted_from_the_renewal_up_to_the_end_of_the_lease_by_both_clocks() {
        let now = Arc::new(Mutex::new(moment(1000, 10)));
        let clock = Arc::clone(&now);
        let fence = Fence::closed(move || *clock.lock().expect("held by nobody"));
        assert!(!fence.permits());
        fence.open(moment(1000, 10), Duration::from_secs(60));
        for (what, wall, boot, permitted) in [
            ("at once", 1000, 10, true),
            ("just before the end", 1059, 69, true),
            ("at the end", 1060, 70, false),
            ("the wall clock was set back", 1010, 70, false),
            ("the wall clock was set back behind the renewal", 999, 11, false),
            ("the wall clock was set forward", 1060, 11, false),
            ("another boot", 1001, 9, false),
        ] {
            *now.lock().expect("held by nobody") = moment(wall, boot);
            assert_eq!(fence.permits(), permitted, "{what}");
        }
        *now.lock().expect("held by nobody") = moment(1001, 11);
        let (held, other) = (Name::parse("a.test").expect("a name"), Name::parse("b.test").expect("a name"));
        fence.hold([held.clone()].into());
        assert_eq!(
            (fence.permits(), fence.permits_zone(&held), fence.permits_zone(&other)),
            (true, false, true)
        );
        fence.hold(BTreeSet::new());
        assert!(fence.permits_zone(&held));
        fence.clone().close();
        assert!(!fence.permits_zone(&other), "clones share it");
        assert!(Fence::default().permits_zone(&held), "a host without a second one");
    }
}
