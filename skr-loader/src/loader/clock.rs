//! Is the clock right enough to judge by? A clock that is far behind (1970 after a boot) would reject what is good, and accept what has ended.
//!
//! ```text
//! plausible ──now is a day before the latest time known──▶ behind ──an hour later, and nothing contradicts it──▶ plausible
//!     ▲                                                      │                      (the clock had run ahead before)
//!     └──────────────────the clock is set────────────────────┘
//! ```

use keystore::time::Timestamp;

use super::Loader;
use crate::audit::{AuditEvent, Record};

/// How far the clock may stand behind the latest time that is known, in seconds.
const TOLERANCE: u64 = 86_400;
/// Seconds for which a clock that is behind must keep its time before it is taken for right.
const PATIENCE: u64 = 3600;

/// 2020-01-01: a clock that shows an earlier time is wrong, whatever is known.
const EARLIEST: Timestamp = Timestamp::from_secs(1_577_836_800);

/// What is known of the time.
#[derive(Debug, Default)]
pub(super) struct ClockGuard {
    /// The latest time in the audit log when it was opened, or at which something was judged.
    latest: Option<Timestamp>,
    /// Since when the clock has been behind, and has not gone back once more.
    behind_since: Option<Timestamp>,
}

impl ClockGuard {
    /// Learns what time it was at least, from the lines of the audit log that earlier runs have written.
    pub(super) fn learn(&mut self, records: &[Record]) {
        let mut latest = None;
        for record in records {
            let time = Some(Timestamp::from_secs(record.time));
            // What was later had been written while the clock ran ahead.
            latest = if record.event == AuditEvent::ClockTaken { time } else { latest.max(time) };
        }
        self.latest = self.latest.max(latest);
    }

    /// Why nothing is judged; `None` when the clock is plausible.
    pub(super) const fn is_behind(&self) -> bool {
        self.behind_since.is_some()
    }

    /// Looks at the clock. `earliest` is the begin of what is in force: no time before that can be right.
    fn look(&mut self, earliest: Option<Timestamp>, now: Timestamp) -> Look {
        let earliest = earliest.unwrap_or(EARLIEST).max(EARLIEST);
        if now >= EARLIEST && self.latest.is_none_or(|latest| latest.since(now) <= TOLERANCE) {
            self.latest = self.latest.max(Some(now));
            self.behind_since = None;
            return Look::Plausible;
        }
        let is_new = self.behind_since.is_none();
        let since = *self.behind_since.get_or_insert(now);
        if now < since || now < earliest {
            self.behind_since = Some(now);
        } else if now.since(since) >= PATIENCE {
            *self = Self { latest: Some(now), behind_since: None };
            return Look::Taken;
        }
        Look::Behind { is_new }
    }
}

/// What a look at the clock finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Plausible,
    /// It is behind; found just now, or before.
    Behind {
        is_new: bool,
    },
    /// It kept its time, so it was right, and the later times were wrong.
    Taken,
}

impl Loader {
    /// True when files may be judged by this clock. A clock that is not plausible is told of once.
    pub(super) fn clock_is_plausible(&mut self, now: Timestamp) -> bool {
        if self.latest_begin.0 != self.revision {
            let begins = self.zones.values().filter_map(|zone| {
                let bundles = &zone.held.in_force()?.bundles;
                Some(bundles.first()?.inception)
            });
            self.latest_begin = (self.revision, begins.max());
        }
        match self.clock.look(self.latest_begin.1, now) {
            Look::Plausible => true,
            Look::Behind { is_new } => {
                if is_new {
                    tracing::error!(now = %now.iso(), "the clock stands before the last lines of the audit log; nothing is imported until it is set, or has kept its time for an hour");
                }
                false
            }
            Look::Taken => {
                tracing::warn!(now = %now.iso(), "the clock has kept its time for an hour: it had run ahead when the last lines of the audit log were written");
                self.record(Record::new(now, AuditEvent::ClockTaken));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(days: i64) -> Timestamp {
        let base = Timestamp::from_secs(1_800_000_000);
        let seconds = days.unsigned_abs() * DAY;
        if days < 0 { base.minus(seconds) } else { base.plus(seconds) }
    }

    fn guard(days: &[i64]) -> ClockGuard {
        let records: Vec<Record> =
            days.iter().map(|days| Record::new(at(*days), AuditEvent::Started)).collect();
        read(&records)
    }

    fn read(records: &[Record]) -> ClockGuard {
        let mut guard = ClockGuard::default();
        guard.learn(records);
        guard
    }

    #[test]
    fn kind_09_a_clock_that_is_behind_at_boot_is_noticed_whatever_the_last_line_is() {
        let behind = Look::Behind { is_new: true };
        for (what, lines, now, expected) in [
            ("an empty log", &[][..], -400, Look::Plausible),
            ("it goes on", &[0, 1], 2, Look::Plausible),
            ("a correction of hours", &[0, 1], 0, Look::Plausible),
            ("three days behind", &[0, 1], -2, behind),
            ("three days behind, at the second start too", &[0, 1, -2], -2, behind),
            ("1970", &[0, 1], -20_000, behind),
            ("1970 and an empty log", &[], -20_000, behind),
            ("1970 at the first start too", &[-20_000], -20_000, behind),
        ] {
            assert_eq!(guard(lines).look(None, at(now)), expected, "{what}");
        }
    }

    #[test]
    fn kind_09_a_clock_that_is_right_again_after_it_ran_ahead_is_taken_after_an_hour() {
        let mut guard = guard(&[0, 1, 200]);
        let now = at(2);
        assert_eq!(guard.look(None, now), Look::Behind { is_new: true });
        assert_eq!(guard.look(None, now.plus(3599)), Look::Behind { is_new: false });
        assert_eq!(guard.look(None, now.plus(3600)), Look::Taken);
        assert_eq!(guard.look(None, now.plus(3601)), Look::Plausible);
        // The log says so, for the next start.
        let mut records: Vec<Record> =
            [0, 1, 200].map(|days| Record::new(at(days), AuditEvent::Started)).to_vec();
        records.push(Record::new(now.plus(3600), AuditEvent::ClockTaken));
        assert_eq!(read(&records).look(None, now.plus(4000)), Look::Plausible);
    }

    #[test]
    fn kind_09_a_clock_that_moves_or_contradicts_what_is_in_force_is_not_taken() {
        let mut moving = guard(&[100]);
        for n in 0..10 {
            let now = at(10).minus(n * 60);
            assert!(
                matches!(moving.look(None, now), Look::Behind { .. }),
                "{n}: it goes back again and again"
            );
        }
        for lines in [&[][..], &[100], &[-20_800]] {
            let mut before_2020 = guard(lines);
            for hours in 0..50 {
                let look = before_2020.look(None, Timestamp::from_secs(7 + hours * 3600));
                assert!(matches!(look, Look::Behind { .. }), "{hours}, {lines:?}: no time of this program");
            }
        }
        let mut contradicted = guard(&[100]);
        for hours in 0..50 {
            let now = at(10).plus(hours * 3600);
            let look = contradicted.look(Some(at(50)), now);
            assert!(matches!(look, Look::Behind { .. }), "{hours}: what is in force has not begun");
        }
    }
}
