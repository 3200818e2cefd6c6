//! The health as a check of Icinga, Nagios and the like: one line with performance data, and an exit code
//! (Monitoring Plugins Development Guidelines).

use std::fmt::Write as _;

use crate::condition::Severity;

use crate::health::facts::Thresholds;
use crate::health::model::{Condition, Health, ZoneHealth};
use crate::health::words::{DAY, counted, printable, span};

/// Zones with performance data of their own: NRPE cuts longer lines.
const ZONES: usize = 20;
/// Conditions that are told of below the first line.
const TOLD: usize = 20;

/// What the check ends with. The number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginState {
    /// Nothing to do today.
    Ok = 0,
    /// Somebody must act today.
    Warning = 1,
    /// Somebody must act now.
    Critical = 2,
    /// Nothing is known.
    Unknown = 3,
}

impl PluginState {
    /// The state of a severity. What can wait for this week is ok.
    #[must_use]
    pub const fn of(severity: Severity) -> Self {
        match severity {
            Severity::Ok | Severity::Attention => Self::Ok,
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }

    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The word of the first line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The text of the check and its state. `thresholds` stand in the performance data.
#[must_use]
pub fn check(health: &Health, thresholds: Thresholds) -> (String, PluginState) {
    let state = PluginState::of(health.severity);
    let mut text = format!("OFFLINE-KSK {}: {}", state.word(), safe(&summary(health)));
    let _ = writeln!(text, " |{}", performance(health, thresholds));
    for (zone, condition) in worst_first(health).into_iter().take(TOLD) {
        let Condition { id, severity, what, .. } = condition;
        let zone = zone.map_or_else(String::new, |zone| format!(" {zone}"));
        let _ = writeln!(text, "{}", safe(&format!("{severity}{zone} {id}: {what}")));
    }
    (text, state)
}

/// The text of a check that could not be made.
#[must_use]
pub fn unknown(why: &str) -> (String, PluginState) {
    (format!("OFFLINE-KSK UNKNOWN: {}\n", safe(why)), PluginState::Unknown)
}

/// A bar ends the text of a plugin, and a line feed its first line.
fn safe(text: &str) -> String {
    printable(&text.replace('|', "/"))
}

fn worst_first(health: &Health) -> Vec<(Option<&str>, &Condition)> {
    let mut all: Vec<_> = health.all_conditions().collect();
    all.sort_by_key(|(_, condition)| std::cmp::Reverse(condition.severity));
    all
}

fn summary(health: &Health) -> String {
    let worst = worst_first(health).into_iter().next().filter(|(_, c)| c.severity > Severity::Ok);
    let ok = health.totals.ok;
    match (worst, health.zones.as_slice()) {
        (None, [zone]) => coverage(zone),
        (None, _) => format!("{} ok", counted(health.totals.zones, "zone")),
        (Some((Some(name), condition)), zones) => {
            let left = zones.iter().find(|zone| zone.zone == name).map_or_else(String::new, coverage);
            let rest =
                if zones.len() > 1 { format!("; {ok} of {} zones ok", zones.len()) } else { String::new() };
            format!("{left}, {}{rest}", condition.id)
        }
        (Some((None, condition)), zones) => format!("{}; {ok} of {} zones ok", condition.id, zones.len()),
    }
}

fn coverage(zone: &ZoneHealth) -> String {
    match zone.coverage_end {
        None => match zone.signing.in_place_of_coverage() {
            Some(what) => format!("{} is {what}", zone.zone),
            None => format!("{} has no SKR", zone.zone),
        },
        Some(_) if !zone.covered => format!("{} not covered", zone.zone),
        Some(_) => format!("{} {} of coverage left", zone.zone, span(zone.coverage_left_seconds)),
    }
}

fn performance(health: &Health, thresholds: Thresholds) -> String {
    let mut out = String::new();
    if health.zones.len() <= ZONES {
        let with_coverage = |zone: &&ZoneHealth| zone.signing.in_place_of_coverage().is_none();
        let mut zones: Vec<&ZoneHealth> = health.zones.iter().filter(with_coverage).collect();
        zones.sort_by(|a, b| a.zone.cmp(&b.zone));
        for zone in zones {
            // Coverage is bad below its thresholds; a range `N:` is good from N on.
            let name = label(&zone.zone);
            let Thresholds { warning, critical, .. } = thresholds;
            let left = if zone.covered { zone.coverage_left_seconds } else { 0 };
            let _ = write!(out, " '{name} coverage'={left}s;{warning}:;{critical}:;0");
        }
    }
    for severity in Severity::WORST_FIRST.into_iter().filter(|s| *s > Severity::Ok) {
        let _ = write!(out, " '{severity}'={};;;0", health.totals.count(severity));
    }
    out
}

/// A label has no equals sign, and its quotes are doubled.
fn label(zone: &str) -> String {
    safe(zone).replace('=', "_").replace('\'', "''")
}

/// Seconds of `30d`, `12h`, `600s` or plain seconds; `None` for anything else.
#[must_use]
pub fn parse_span(text: &str) -> Option<u64> {
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h', 'd', 'w']) {
        Some(digits) => (digits, text.chars().next_back()?),
        None => (text, 's'),
    };
    let number: u64 = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
    number.checked_mul(match unit {
        'm' => 60,
        'h' => 3600,
        'd' => DAY,
        'w' => 7 * DAY,
        _ => 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_with_and_without_unit() {
        for (text, seconds) in [
            ("30d", Some(30 * DAY)),
            ("600", Some(600)),
            ("600s", Some(600)),
            ("2w", Some(14 * DAY)),
            ("12h", Some(43_200)),
            ("d", None),
            ("", None),
            ("-1d", None),
            ("+1d", None),
            ("1.5d", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(parse_span(text), seconds, "{text}");
        }
    }

    #[test]
    fn a_bar_a_quote_and_a_line_feed_do_not_break_the_line() {
        let (text, state) = unknown("a|b\nc");
        assert_eq!((text.as_str(), state.code()), ("OFFLINE-KSK UNKNOWN: a/b\\u{a}c\n", 3));
        assert_eq!(label("a'=b."), "a''_b.");
    }
}
