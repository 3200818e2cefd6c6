//! When a zone that comes from primaries is looked at again, and until when it is served (RFC 1034 section 4.3.5, RFC 1996).
//!
//! ```text
//!            due: refresh, retry, NOTIFY, a version that was announced and has not come
//!   Rests ─────────────────────────────▶ Looks ──▶ NOTIFY meanwhile: one more look behind this one
//!     ▲     succeeded: next look after refresh, expires later │
//!     ├───────────────────────────────────────────────────────┤
//!     └─── failed: next look after retry, which doubles ──────┘
//! ```

use std::net::{IpAddr, SocketAddr};

use keystore::time::Timestamp;

use super::serial::is_newer;
use crate::transfer::PrimaryNews;

/// Longest pause after looks that failed, as a multiple of the retry time, and in seconds.
const MOST_RETRIES: u64 = 16;
const LONGEST_RETRY: u64 = 4 * 3600;
/// Pause after a look that failed while there is no zone yet, in seconds; it doubles.
const FIRST_RETRY: u64 = 2;
/// Longest pause while there is no zone.
const LONGEST_FIRST_RETRY: u64 = 300;
/// Longest REFRESH and RETRY that are followed, in seconds: what a primary says must not keep us from looking for years.
const MAX_REFRESH: u32 = 28 * 86_400;
const MAX_RETRY: u32 = 14 * 86_400;
/// Longest pause once the zone has expired, in seconds.
const LONGEST_EXPIRED: u64 = 3600;
/// Looks at least that are made in the time that is left before the zone expires, as far as RETRY allows.
const LAST_LOOKS: u64 = 4;
/// Time between two looks that NOTIFY asks for, in seconds: whoever sends many messages does not make many connections.
const NOTIFY_GAP: u64 = 1;
/// Looks that are made for a version that a primary has announced and does not give yet: a second behind the look that did not find it, then
/// at twice the distance up to the longest one, in seconds. Together that is longer than the caches of PowerDNS keep an old SOA record.
const REPEATS: u32 = 7;
const LONGEST_REPEAT: u64 = 8;

/// The times of a SOA record, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoaTimes {
    /// From a look that succeeded to the next one.
    pub refresh: u32,
    /// From a look that failed to the next one.
    pub retry: u32,
    /// From the last look that succeeded until the zone must not be served.
    pub expire: u32,
}

impl SoaTimes {
    /// Those of the uncompressed RDATA of a SOA record.
    #[must_use]
    pub fn of_rdata(rdata: &[u8]) -> Option<Self> {
        let numbers: &[u8; 20] = rdata.last_chunk()?;
        let number =
            |at: usize| u32::from_be_bytes([numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]]);
        Some(Self { refresh: number(4), retry: number(8), expire: number(12) })
    }
}

/// What a look that succeeded has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// The primary.
    pub by: SocketAddr,
    /// The serial of what it has given, or of what is here and it has nothing newer than.
    pub serial: u32,
    /// The serial that it answered the question for its SOA record with. It is newer than that of the transfer behind it where the primary
    /// read the SOA record of the transfer elsewhere.
    pub answered: u32,
    /// What it has given is here now, and was not before.
    pub is_new: bool,
    /// The times of its SOA record.
    pub times: SoaTimes,
    /// What it says of its own time left (RFC 7314 section 4), in seconds.
    pub expire: Option<u32>,
}

/// Why a look has failed, as far as the timer goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookFailure {
    /// A primary has an older serial than what is here, as the answer of a cache has for some seconds.
    OlderSerial,
    /// All else. What comes of a transfer is refused the next time, too: it is not repeated soon.
    Other,
}

/// A version that a primary has announced and has not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Awaited {
    news: PrimaryNews,
    /// Looks that were made for it behind the first one.
    repeats: u32,
}

/// Bounds of what a primary may ask for, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerBounds {
    /// `min-refresh`: least time from a look that succeeded to the next one.
    pub min_refresh: u32,
    /// `min-retry`: least time from a look that failed to the next one.
    pub min_retry: u32,
}

/// The timer of one zone. Time is an argument; nothing here waits.
#[derive(Debug, Clone)]
pub struct ZoneTimer {
    bounds: TimerBounds,
    /// Of the version that is here; `None` = there is none.
    times: Option<SoaTimes>,
    due: Timestamp,
    awaited: Option<Awaited>,
    expires: Option<Timestamp>,
    failures: u32,
    looks: bool,
    /// A NOTIFY came while a look was under way.
    again: bool,
    /// When the last look began.
    looked: Option<Timestamp>,
}

impl ZoneTimer {
    /// A zone that is due at once. `kept` is what is here from an earlier process: the times of its SOA record, and until when it may be
    /// served as [`Self::expires`] said it.
    #[must_use]
    pub fn new(bounds: TimerBounds, kept: Option<(SoaTimes, Timestamp)>, now: Timestamp) -> Self {
        let (times, expires) = kept.unzip();
        Self {
            bounds,
            times,
            due: now,
            awaited: None,
            expires,
            failures: 0,
            looks: false,
            again: false,
            looked: None,
        }
    }

    /// When the next look is due; `None` while one is under way.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        (!self.looks).then_some(self.due)
    }

    /// Until when the version may be served; `None` = there is none.
    #[must_use]
    pub const fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// True when the version that is here must not be served any more.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// True when a look is to begin now. A time that is further ahead than any pause is from a clock that was set back since.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let went_back = self.looked.is_some_and(|looked| now < looked);
        !self.looks && (self.due <= now || went_back)
    }

    /// A look begins.
    pub const fn begin(&mut self, now: Timestamp) {
        self.looks = true;
        self.again = false;
        self.looked = Some(now);
    }

    /// A primary says that there is something new. However often it says so, one more look is made, and some repeats where that does not find it.
    pub fn notified(&mut self, news: PrimaryNews, now: Timestamp) {
        let news = self.awaited.map_or(news, |before| news.behind(before.news));
        self.awaited = Some(Awaited { news, repeats: 0 });
        if self.looks {
            self.again = true;
        } else {
            self.due = self.due.min(self.after_gap(now));
        }
    }

    /// The address that has said so, while its version has not come: it is asked first.
    #[must_use]
    pub fn announced_by(&self) -> Option<IpAddr> {
        self.awaited.map(|awaited| awaited.news.from)
    }

    /// True when the next look, or the one under way, is a repeat for that version: it is for who has announced it alone.
    #[must_use]
    pub fn repeats(&self) -> bool {
        self.awaited.is_some_and(|awaited| awaited.repeats > 0)
    }

    /// The look has succeeded: what is here is what the primary has.
    pub fn succeeded(&mut self, looked: Looked, now: Timestamp) {
        let Looked { times, expire, .. } = looked;
        self.times = Some(times);
        self.failures = 0;
        // A version that expires before it can be looked at again would come and go.
        let least = u64::from(self.refresh()) + u64::from(self.retry());
        let expire_in = u64::from(times.expire).max(least);
        // A primary that has it from nobody says what its SOA record says.
        let left = expire.filter(|left| *left < times.expire);
        self.expires = Some(now.plus(left.map_or(expire_in, u64::from)));
        let repeat = self.repeat_behind(&looked);
        self.end(now.plus(self.refresh().into()), repeat, now);
    }

    /// Pause until the next look for a version that was announced, where `looked` has not found it. A look that NOTIFY has asked for meanwhile
    /// settles it.
    fn repeat_behind(&mut self, looked: &Looked) -> Option<u64> {
        if self.again {
            return None;
        }
        let announced = self.awaited.map(|awaited| awaited.news.serial);
        let is_behind = match announced {
            Some(Some(serial)) => is_newer(serial, looked.serial),
            // It may have meant any version.
            Some(None) => !looked.is_new,
            None => false,
        };
        if !is_behind && !is_newer(looked.answered, looked.serial) {
            self.awaited = None;
            return None;
        }
        let news = PrimaryNews { from: looked.by.ip().to_canonical(), serial: Some(looked.answered) };
        self.awaited.get_or_insert(Awaited { news, repeats: 0 });
        self.next_repeat()
    }

    /// Pause until the next look for the version that was announced; after the last one it is awaited no more.
    fn next_repeat(&mut self) -> Option<u64> {
        let awaited = self.awaited.as_mut()?;
        if awaited.repeats >= REPEATS {
            self.awaited = None;
            return None;
        }
        let pause = (1 << awaited.repeats).min(LONGEST_REPEAT);
        awaited.repeats += 1;
        Some(pause)
    }

    /// The look has failed.
    pub fn failed(&mut self, failure: LookFailure, now: Timestamp) {
        let doubled = |first: u64, longest: u64| {
            first
                .checked_shl(self.failures)
                .filter(|pause| pause >> self.failures == first)
                .unwrap_or(longest)
                .min(longest)
        };
        let pause = match self.times {
            None => doubled(FIRST_RETRY.max(self.bounds.min_retry.into()), LONGEST_FIRST_RETRY),
            Some(_) => {
                let first = u64::from(self.retry());
                let pause = doubled(first, (MOST_RETRIES * first).min(LONGEST_RETRY).max(first));
                match self.expires.filter(|at| *at > now) {
                    Some(at) => pause.min(first.max(at.since(now) / LAST_LOOKS)),
                    None => first.min(LONGEST_EXPIRED).max(self.bounds.min_retry.into()),
                }
            }
        };
        let repeat = match failure {
            LookFailure::OlderSerial if !self.again => self.next_repeat(),
            _ => None,
        };
        if repeat.is_none() {
            // The looks for one announced version are one failure.
            self.failures = (self.failures + 1).min(u64::BITS - 1);
        }
        self.end(now.plus(pause), repeat.map(|pause| pause.max(self.bounds.min_retry.into())), now);
    }

    fn end(&mut self, due: Timestamp, repeat: Option<u64>, now: Timestamp) {
        self.looks = false;
        let due = if std::mem::take(&mut self.again) { due.min(self.after_gap(now)) } else { due };
        self.due = repeat.map_or(due, |pause| due.min(now.plus(pause)));
    }

    fn after_gap(&self, now: Timestamp) -> Timestamp {
        // Anybody may send NOTIFY with the address of a primary: it does not make looks that fail come faster than they may.
        let gap = if self.failures > 0 { self.bounds.min_retry.into() } else { NOTIFY_GAP };
        match self.looked {
            Some(looked) if looked <= now => now.max(looked.plus(gap.max(NOTIFY_GAP))),
            _ => now,
        }
    }

    fn refresh(&self) -> u32 {
        self.times.map_or(0, |times| times.refresh).min(MAX_REFRESH).max(self.bounds.min_refresh)
    }

    fn retry(&self) -> u32 {
        self.times.map_or(0, |times| times.retry).min(MAX_RETRY).max(self.bounds.min_retry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: TimerBounds = TimerBounds { min_refresh: 10, min_retry: 5 };
    const TIMES: SoaTimes = SoaTimes { refresh: 3600, retry: 600, expire: 86_400 };
    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// A look that has found what was expected.
    fn found(times: SoaTimes, expire: Option<u32>) -> Looked {
        let by = SocketAddr::from(([192, 0, 2, 1], 53));
        Looked { by, serial: 7, answered: 7, is_new: true, times, expire }
    }

    fn news(serial: Option<u32>) -> PrimaryNews {
        PrimaryNews { from: IpAddr::from([192, 0, 2, 2]), serial }
    }

    fn looked_at(times: SoaTimes, expire: Option<u32>) -> ZoneTimer {
        let mut timer = ZoneTimer::new(BOUNDS, None, NOW);
        assert!(timer.is_due(NOW));
        timer.begin(NOW);
        assert_eq!((timer.due(), timer.is_due(NOW.plus(9))), (None, false), "one look at a time");
        timer.succeeded(found(times, expire), NOW);
        timer
    }

    #[test]
    fn a_look_that_succeeds_sets_refresh_and_expire_within_bounds() {
        let times = |refresh, retry, expire| SoaTimes { refresh, retry, expire };
        for (times, option, due, expires) in [
            (TIMES, None, 3600, 86_400),
            (TIMES, Some(7200), 3600, 7200),
            (TIMES, Some(u32::MAX), 3600, 86_400),
            (TIMES, Some(0), 3600, 0),
            (times(0, 0, 0), None, 10, 15),
            (times(0, 0, 0), Some(0), 10, 15),
            (times(60, 30, 0), None, 60, 90),
            (times(60, 30, 80), None, 60, 90),
            (times(u32::MAX, u32::MAX, u32::MAX), None, MAX_REFRESH.into(), u64::from(u32::MAX)),
            (times(60, 30, u32::MAX), None, 60, u64::from(u32::MAX)),
        ] {
            let timer = looked_at(times, option);
            assert_eq!(timer.due(), Some(NOW.plus(due)), "{times:?} {option:?}");
            assert_eq!(timer.expires(), Some(NOW.plus(expires)), "{times:?} {option:?}");
            assert!(timer.is_expired(NOW.plus(expires)), "{times:?}");
            assert!(expires == 0 || !timer.is_expired(NOW.plus(expires - 1)), "{times:?}");
        }
    }

    #[test]
    fn looks_that_fail_come_at_growing_distance_and_one_that_succeeds_ends_that() {
        for (times, pauses) in [
            (None, vec![5, 10, 20, 40, 80, 160, 300, 300]),
            (Some(TIMES), vec![600, 1200, 2400, 4800, 9600, 9600]),
            (Some(SoaTimes { retry: 0, ..TIMES }), vec![5, 10, 20, 40, 80, 80]),
            (Some(SoaTimes { retry: u32::MAX, ..TIMES }), vec![u64::from(MAX_RETRY), 3600, 3600]),
        ] {
            let mut timer = match times {
                Some(times) => looked_at(times, None),
                None => ZoneTimer::new(BOUNDS, None, NOW),
            };
            let expires = timer.expires();
            let mut now = NOW.plus(4000);
            for pause in pauses {
                timer.begin(now);
                timer.failed(LookFailure::Other, now);
                assert_eq!(timer.due(), Some(now.plus(pause)), "{times:?}");
                now = now.plus(pause);
                assert!(timer.is_due(now));
            }
            assert_eq!(timer.expires(), expires, "a failure moves nothing");
            timer.begin(now);
            timer.succeeded(found(TIMES, None), now);
            timer.begin(now.plus(3600));
            timer.failed(LookFailure::Other, now.plus(3600));
            assert_eq!(timer.due(), Some(now.plus(4200)));
        }
        let mut endless = ZoneTimer::new(BOUNDS, None, NOW);
        for _ in 0..200 {
            endless.begin(NOW);
            endless.failed(LookFailure::Other, NOW);
        }
        assert_eq!(endless.due(), Some(NOW.plus(LONGEST_FIRST_RETRY)));
    }

    #[test]
    fn looks_go_on_before_and_after_the_zone_expires() {
        for (refresh, retry, expire) in [(900, 600, 3600), (3600, 600, 86_400), (900, 60, 3600), (10, 5, 100)]
        {
            let mut timer = looked_at(SoaTimes { refresh, retry, expire }, None);
            let expires = NOW.plus(u64::from(expire).max(u64::from(refresh) + u64::from(retry)));
            let mut looks = Vec::new();
            for _ in 0..200 {
                let now = timer.due().expect("none is under way");
                timer.begin(now);
                timer.failed(LookFailure::Other, now);
                looks.push(now);
            }
            let half = NOW.plus(expires.since(NOW) / 2);
            let last = looks.iter().filter(|at| (half..expires).contains(at)).count();
            assert!(last >= 2, "{refresh} {retry} {expire}: {last}");
            let behind: Vec<_> = looks.iter().filter(|at| **at >= expires).collect();
            let pauses = behind.windows(2).map(|pair| pair[1].since(*pair[0])).collect::<Vec<_>>();
            assert!(pauses.iter().all(|pause| *pause <= u64::from(retry).max(5)), "{pauses:?}");
        }
    }

    #[test]
    fn notify_asks_for_one_look_more_whenever_it_comes() {
        let mut timer = looked_at(TIMES, None);
        timer.notified(news(Some(7)), NOW.plus(100));
        assert!(timer.is_due(NOW.plus(100)));
        timer.begin(NOW.plus(100));
        for _ in 0..1000 {
            timer.notified(news(Some(7)), NOW.plus(100));
        }
        assert!(!timer.is_due(NOW.plus(101)), "one at a time");
        timer.succeeded(found(TIMES, None), NOW.plus(107));
        assert!(timer.is_due(NOW.plus(107)), "it may have come behind what was asked");
        timer.begin(NOW.plus(107));
        timer.succeeded(found(TIMES, None), NOW.plus(107));
        assert_eq!(timer.due(), Some(NOW.plus(107 + 3600)), "a thousand are one");
        // A stream of them: one look a second.
        timer.notified(news(Some(7)), NOW.plus(107));
        assert_eq!(timer.due(), Some(NOW.plus(108)));
        // A failure behind which one came.
        timer.begin(NOW.plus(108));
        timer.notified(news(Some(7)), NOW.plus(108));
        timer.failed(LookFailure::Other, NOW.plus(120));
        assert_eq!(timer.due(), Some(NOW.plus(120)));
        // While looks fail, it does not make them come faster than they may.
        timer.begin(NOW.plus(120));
        timer.failed(LookFailure::Other, NOW.plus(120));
        timer.notified(news(Some(7)), NOW.plus(121));
        assert_eq!(timer.due(), Some(NOW.plus(125)));
    }

    #[test]
    fn what_an_earlier_process_kept_goes_on_to_expire_and_a_clock_that_went_back_stops_nothing() {
        let mut timer = ZoneTimer::new(BOUNDS, Some((TIMES, NOW.plus(50))), NOW);
        timer.begin(NOW);
        timer.failed(LookFailure::Other, NOW);
        assert!(!timer.is_expired(NOW.plus(49)) && timer.is_expired(NOW.plus(50)));
        assert_eq!(timer.due(), Some(NOW.plus(600)));
        assert!(!timer.is_due(NOW.plus(599)));
        assert!(timer.is_due(NOW.minus(86_400)), "the clock went back a day");
    }

    #[test]
    fn version_that_was_announced_is_asked_for_again_soon_and_a_few_times() {
        let at = |serial, is_new| Looked { serial, answered: serial, is_new, ..found(TIMES, None) };
        let lags = |serial, answered| Looked { answered, ..at(serial, true) };
        let all = vec![1, 2, 4, 8, 8, 8, 8];
        let (mine, others) = (IpAddr::from([192, 0, 2, 2]), IpAddr::from([192, 0, 2, 1]));
        for (what, told, looked, pauses, first) in [
            ("nothing was announced", None, at(7, false), vec![], None),
            ("what came was announced", Some(Some(8)), at(8, true), vec![], None),
            ("a later one came", Some(Some(8)), at(9, true), vec![], None),
            ("it has come before", Some(Some(7)), at(7, false), vec![], None),
            ("it does not show yet", Some(Some(8)), at(7, false), all.clone(), Some(mine)),
            ("one between", Some(Some(9)), at(8, true), all.clone(), Some(mine)),
            ("over the end of serials", Some(Some(0)), at(u32::MAX, false), all.clone(), Some(mine)),
            ("without order", Some(Some(7 + 0x8000_0000)), at(7, false), vec![], None),
            ("any, and one came", Some(None), at(8, true), vec![], None),
            ("any, and none came", Some(None), at(7, false), all.clone(), Some(mine)),
            ("the transfer is older than the answer", None, lags(7, 8), all.clone(), Some(others)),
            ("the same behind NOTIFY", Some(Some(7)), lags(7, 8), all, Some(mine)),
        ] {
            let mut timer = looked_at(TIMES, None);
            let mut now = NOW.plus(100);
            match told {
                Some(serial) => timer.notified(news(serial), now),
                None => now = NOW.plus(3600),
            }
            for pause in pauses {
                assert!(timer.is_due(now), "{what}");
                timer.begin(now);
                timer.succeeded(looked, now);
                assert_eq!(timer.due(), Some(now.plus(pause)), "{what}");
                assert_eq!(timer.announced_by(), first, "{what}");
                now = now.plus(pause);
            }
            timer.begin(now);
            timer.succeeded(Looked { answered: looked.serial, ..looked }, now);
            assert_eq!(timer.due(), Some(now.plus(3600)), "{what}: REFRESH counts again");
            assert_eq!(timer.announced_by(), None, "{what}");
        }
    }

    #[test]
    fn looks_for_an_announced_version_end_when_it_comes_begin_anew_by_notify_and_fail_no_faster_than_they_may()
     {
        let behind = Looked { is_new: false, ..found(TIMES, None) };
        let mut timer = looked_at(TIMES, None);
        let mut now = NOW.plus(100);
        timer.notified(news(Some(8)), now);
        for pause in [1, 2, 4] {
            timer.begin(now);
            timer.succeeded(behind, now);
            now = now.plus(pause);
        }
        timer.notified(news(Some(9)), now);
        for pause in [1, 2] {
            timer.begin(now);
            timer.succeeded(behind, now);
            now = now.plus(pause);
            assert_eq!(timer.due(), Some(now));
        }
        // One that comes during a look is settled by the next one, whatever this one finds.
        timer.begin(now);
        timer.notified(news(None), now);
        timer.succeeded(found(TIMES, None), now);
        assert_eq!((timer.due(), timer.announced_by().is_some()), (Some(now.plus(1)), true));
        // While the primary has an older serial than what is here.
        for pause in [5, 5, 5, 8, 8, 8, 8, 600, 1200] {
            timer.begin(now);
            timer.failed(LookFailure::OlderSerial, now);
            assert_eq!(timer.due(), Some(now.plus(pause)));
            now = now.plus(pause);
        }
        // One that is older, or says no serial, hides none: it is asked for where it was announced.
        for (first, second, expected) in [
            (Some(9), Some(8), Some(9)),
            (Some(9), None, Some(9)),
            (Some(8), Some(9), Some(9)),
            (None, Some(8), Some(8)),
            (None, None, None),
            (Some(u32::MAX), Some(0), Some(0)),
        ] {
            let mut timer = looked_at(TIMES, None);
            let early = PrimaryNews { from: IpAddr::from([192, 0, 2, 3]), serial: first };
            timer.notified(early, NOW.plus(10));
            timer.notified(news(second), NOW.plus(11));
            let of_first = first.is_some() && expected == first;
            let from = if of_first { early.from } else { news(None).from };
            assert_eq!(timer.announced_by(), Some(from), "{first:?} {second:?}");
            timer.begin(NOW.plus(12));
            timer.succeeded(Looked { serial: 8, answered: 8, ..found(TIMES, None) }, NOW.plus(12));
            let waits = expected.is_some_and(|serial| is_newer(serial, 8));
            assert_eq!(timer.repeats(), waits, "{first:?} {second:?}");
        }
        // What fails otherwise is left to SOA RETRY.
        let mut timer = looked_at(TIMES, None);
        timer.notified(news(Some(8)), NOW);
        timer.begin(NOW);
        timer.failed(LookFailure::Other, NOW);
        assert_eq!(timer.due(), Some(NOW.plus(600)));
        // SOA REFRESH may be shorter.
        let short = SoaTimes { refresh: 0, ..TIMES };
        let mut timer = ZoneTimer::new(TimerBounds { min_refresh: 3, min_retry: 5 }, None, NOW);
        timer.notified(news(None), NOW);
        for pause in [1, 2, 3, 3] {
            timer.begin(NOW);
            timer.succeeded(Looked { times: short, ..behind }, NOW);
            assert_eq!(timer.due(), Some(NOW.plus(pause)));
        }
    }
}
