//! The one place that reads the wall clock. Libraries take `now: Timestamp`; binaries ask here.

use crate::time::Timestamp;

/// 2026-07-01 00:00:00 UTC: no host that runs this program can rightly be before this time.
///
/// A constant in the source and no date of the build, so that a build gives the same octets whenever it is made.
pub const RELEASED: Timestamp = Timestamp::from_secs(1_782_864_000);

/// The current time of the system, in whole seconds; the epoch when the clock stands before 1970.
#[allow(clippy::disallowed_methods, reason = "this module is the one that reads the clock")]
#[must_use]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_secs(since.as_secs())
}

/// Time since this host was booted, with the time in which it was suspended (CLOCK_BOOTTIME): it goes on whatever the wall clock is set to.
#[must_use]
pub fn since_boot() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    std::time::Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0))
}

/// How long it is until the second `time` begins, for whoever sleeps until then; zero when it has begun.
#[allow(clippy::disallowed_methods, reason = "this module is the one that reads the clock")]
#[must_use]
pub fn until(time: Timestamp) -> std::time::Duration {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    std::time::Duration::from_secs(time.secs()).saturating_sub(since)
}

/// True when `now` can be: not before [`RELEASED`] (a board that boots in 1970), and not before `floor`, the newest time that
/// is known to have passed, such as that of the last state write ([`Timestamp::EPOCH`] when nothing is known).
///
/// A daemon whose clock is not plausible waits, not ready: it would take bundles of the past for those in force.
#[must_use]
pub fn plausible(now: Timestamp, floor: Timestamp) -> bool {
    now >= RELEASED && now >= floor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_release_or_the_last_write_is_not_plausible() {
        assert_eq!(RELEASED.to_string(), "20260701000000");
        let last_write = RELEASED.plus(1000);
        for (now, floor, expected) in [
            (Timestamp::EPOCH, Timestamp::EPOCH, false),
            (RELEASED.minus(1), Timestamp::EPOCH, false),
            (RELEASED, Timestamp::EPOCH, true),
            (last_write.minus(1), last_write, false),
            (last_write, last_write, true),
            (Timestamp::MAX, last_write, true),
        ] {
            assert_eq!(plausible(now, floor), expected, "{now} {floor}");
        }
    }
}
