//! Points in time: whole seconds since 1970 (UTC), the 14-digit stamp, BIND's `ctime` remark, and the
//! 32-bit serial arithmetic of RRSIG times (RFC 4034 section 3.1.5, RFC 1982).
//!
//! [`syntax`] reads the time syntax of the BIND tools, [`duration`] that of `dnssec-policy`; they differ
//! (a month is 30 days in the first and 31 in the second).

pub mod duration;
pub mod syntax;

use std::fmt;

/// A point in time, in whole seconds since 1970-01-01 00:00:00 UTC.
///
/// 64 bits wide, so that nothing wraps silently where BIND's 32 bits do. `Display` is the 14-digit stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01 00:00:00 UTC.
    pub const EPOCH: Self = Self(0);
    /// 9999-12-31 23:59:59 UTC, the last second that a 14-digit stamp can name.
    pub const MAX: Self = Self(253_402_300_799);

    /// The time `secs` seconds after the epoch, at most [`Self::MAX`].
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        if secs > Self::MAX.0 { Self::MAX } else { Self(secs) }
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0
    }

    /// `self + secs`, at most [`Self::MAX`].
    #[must_use]
    pub const fn plus(self, secs: u64) -> Self {
        Self::from_secs(self.0.saturating_add(secs))
    }

    /// `self - secs`, at least the epoch.
    #[must_use]
    pub const fn minus(self, secs: u64) -> Self {
        Self(self.0.saturating_sub(secs))
    }

    /// Seconds from `earlier` to `self`; 0 when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The 32-bit value of an RRSIG time field: seconds modulo 2^32 (RFC 4034 section 3.1.5).
    #[must_use]
    pub const fn to_rrsig(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// The time closest to `near` whose 32-bit value is `value` (RFC 1982 serial arithmetic).
    #[must_use]
    pub fn from_rrsig(value: u32, near: Self) -> Self {
        let ahead = value.wrapping_sub(near.to_rrsig()).cast_signed();
        if ahead >= 0 {
            near.plus(u64::from(ahead.unsigned_abs()))
        } else {
            near.minus(u64::from(ahead.unsigned_abs()))
        }
    }

    /// Reads exactly 14 digits `YYYYMMDDHHMMSS` (UTC). Second 60 is not a time here; [`syntax`] allows it.
    #[must_use]
    pub fn parse_stamp(text: &str) -> Option<Self> {
        if text.len() != 14 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let part = |range: std::ops::Range<usize>| text[range].parse::<i16>().ok();
        let small = |range: std::ops::Range<usize>| text[range].parse::<i8>().ok();
        let civil = jiff::civil::DateTime::new(
            part(0..4)?,
            small(4..6)?,
            small(6..8)?,
            small(8..10)?,
            small(10..12)?,
            small(12..14)?,
            0,
        )
        .ok()?;
        let stamp = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
        u64::try_from(stamp).ok().map(Self::from_secs)
    }

    fn civil(self) -> jiff::civil::DateTime {
        let seconds = i64::try_from(self.0).unwrap_or(0);
        jiff::Timestamp::from_second(seconds).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC).datetime()
    }

    /// The text that C `ctime` prints, without newline, in UTC: `Tue Nov 24 03:46:57 2026`.
    #[must_use]
    pub fn ctime(self) -> String {
        self.civil().strftime("%a %b %e %H:%M:%S %Y").to_string()
    }

    /// `2026-11-24T03:46:57Z`, for people and JSON.
    #[must_use]
    pub fn iso(self) -> String {
        self.civil().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = self.civil();
        let of_year = [c.month(), c.day(), c.hour(), c.minute(), c.second()];
        let of_year = of_year.iter().fold(0u64, |value, part| value * 100 + u64::from(part.unsigned_abs()));
        write!(f, "{:04}{of_year:010}", c.year())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_and_ctime() {
        let t = Timestamp::parse_stamp("20261124034657").expect("a stamp");
        assert_eq!(t.to_string(), "20261124034657");
        assert_eq!(t.ctime(), "Tue Nov 24 03:46:57 2026");
        assert_eq!(
            Timestamp::parse_stamp("20270101000000").expect("a stamp").ctime(),
            "Fri Jan  1 00:00:00 2027"
        );
        for bad in ["20260231000000", "2026112403465", "20261124034660", "202611240346 7", "+0261124034657"] {
            assert_eq!(Timestamp::parse_stamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn rrsig_times_wrap() {
        let near = Timestamp::from_secs(u64::from(u32::MAX) - 10);
        assert_eq!(Timestamp::from_rrsig(5, near), near.plus(16));
        assert_eq!(Timestamp::from_rrsig(near.to_rrsig() - 7, near), near.minus(7));
    }
}
