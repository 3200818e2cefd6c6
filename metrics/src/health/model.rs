//! The health of a host and its zones: what everything that shows it is made of, and its form in JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::condition::{ConditionId, Severity};
use keystore::config::Signing;
use keystore::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::health::facts::{ImportFacts, KeyFacts, StoreFacts, Thresholds};
use crate::health::report::{Component, Delivery};
use crate::health::words::{DAY, iso};

/// Version of the JSON; it grows when a key changes its meaning or goes away, not when one is added.
pub const VERSION: u32 = 1;

/// A host with its zones, seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// The version of this form: [`VERSION`].
    pub version: u32,
    /// The moment.
    #[serde(with = "iso")]
    pub now: Timestamp,
    /// The worst severity of all conditions.
    pub severity: Severity,
    /// How many zones are how urgent.
    pub totals: Totals,
    /// The parts of the toolchain, and whether they run.
    pub components: Vec<ComponentHealth>,
    /// The conditions of the host, the most urgent first.
    pub conditions: Vec<Condition>,
    /// The zones, the most urgent first, then by the end of the coverage and by name.
    pub zones: Vec<ZoneHealth>,
}

/// Numbers of zones by severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Totals {
    /// All zones.
    pub zones: usize,
    /// Act now.
    pub critical: usize,
    /// Act today.
    pub warning: usize,
    /// Look this week.
    pub attention: usize,
    /// Nothing to do.
    pub ok: usize,
}

/// A part of the toolchain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ComponentHealth {
    /// Which part.
    pub component: Component,
    /// Whether it runs.
    pub state: ComponentRuns,
    /// Its process.
    pub pid: Option<u32>,
    /// The version of its program.
    pub program: Option<String>,
    /// When it was started.
    #[serde(with = "iso::option")]
    pub started: Option<Timestamp>,
    /// When it last reported.
    #[serde(with = "iso::option")]
    pub reported: Option<Timestamp>,
}

/// Whether a component runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentRuns {
    /// Its report is fresh.
    Running,
    /// Its report is old, or cannot be read.
    Silent,
    /// There is no report.
    Stopped,
}

/// Something that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Condition {
    /// Its ID.
    pub id: ConditionId,
    /// How urgent it is.
    pub severity: Severity,
    /// What tells several of one kind apart: a server, a file, a key tag, a component.
    pub subject: Option<String>,
    /// Since when; `None` = that is not known.
    #[serde(with = "iso::option")]
    pub since: Option<Timestamp>,
    /// The facts in a sentence.
    pub what: String,
    /// What happens next when nobody acts.
    pub next: Vec<Event>,
    /// What to do.
    pub remedy: Cow<'static, str>,
    /// The command to type, where there is one.
    pub command: Option<String>,
    /// The section of the runbook.
    pub runbook: String,
}

/// Something that happens at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// When; `None` = at once, or nobody knows.
    #[serde(with = "iso::option")]
    pub at: Option<Timestamp>,
    /// What, a sentence without its full stop.
    pub what: Cow<'static, str>,
}

impl Event {
    pub(crate) fn at(time: Timestamp, what: impl Into<Cow<'static, str>>) -> Self {
        Self { at: Some(time), what: what.into() }
    }
}

/// One zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ZoneHealth {
    /// The zone, in presentation form, lower case, with its final dot.
    pub zone: String,
    /// The worst severity of its conditions.
    pub severity: Severity,
    /// Who makes its DNSSEC records.
    #[serde(default)]
    pub signing: ZoneSigning,
    /// The severity of its coverage alone; `ok` for a zone that is not signed here, which has no coverage.
    pub coverage_severity: Severity,
    /// A bundle is in force, with signatures that are valid.
    pub covered: bool,
    /// Number of the generation in force; 0 = none.
    pub generation: u64,
    /// Inception of the bundle in force.
    #[serde(with = "iso::option")]
    pub bundle_since: Option<Timestamp>,
    /// Earliest end of its signatures.
    #[serde(with = "iso::option")]
    pub bundle_until: Option<Timestamp>,
    /// When the next bundle comes into force.
    #[serde(with = "iso::option")]
    pub next_switch: Option<Timestamp>,
    /// End of the unbroken coverage; `None` = there never was any.
    #[serde(with = "iso::option")]
    pub coverage_end: Option<Timestamp>,
    /// Seconds until then; 0 = run out.
    pub coverage_left_seconds: u64,
    /// Longest hole to come, in seconds.
    pub gap_seconds: u64,
    /// Bundles to come.
    pub bundles_left: usize,
    /// How the last file, or rollback, of the zone fared.
    pub last_import: Option<ImportHealth>,
    /// The open request.
    pub request: Option<RequestHealth>,
    /// The servers that are given what is accepted.
    pub deliveries: Vec<Delivery>,
    /// The SOA serial that is served from here; `None` = it is not served from here.
    pub serial: Option<u32>,
    /// Its conditions, the most urgent first.
    pub conditions: Vec<Condition>,
    /// What happens next, by time.
    pub events: Vec<Event>,
    /// What the timeline shows; left out where many zones are told of, see [`Self::with_details`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub details: Option<Details>,
    /// What the details are made from; nothing where the health came from another process.
    #[serde(skip)]
    pub(crate) sources: Option<DetailSources>,
}

/// Who makes the DNSSEC records of a zone: [`Signing`] in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneSigning {
    /// It is signed here.
    #[default]
    Online,
    /// Another signer.
    Presigned,
    /// Nobody.
    Unsigned,
}

impl From<Signing> for ZoneSigning {
    fn from(signing: Signing) -> Self {
        match signing {
            Signing::Online => Self::Online,
            Signing::Presigned(_) => Self::Presigned,
            Signing::Unsigned => Self::Unsigned,
        }
    }
}

impl ZoneSigning {
    /// What is said of the zone in place of its coverage; `None` for one that is signed here.
    #[must_use]
    pub const fn in_place_of_coverage(self) -> Option<&'static str> {
        match self {
            Self::Online => None,
            Self::Presigned => Some("served as another signer has signed it"),
            Self::Unsigned => Some("served unsigned"),
        }
    }
}

/// The facts of a zone that [`Details`] are made from when somebody looks at them. They are shared with who has read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetailSources {
    pub store: Arc<StoreFacts>,
    pub imports: Arc<[ImportFacts]>,
    pub keys: Arc<KeyFacts>,
    pub thresholds: Thresholds,
}

/// How a file, or a rollback, fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImportHealth {
    /// When it ended.
    #[serde(with = "iso")]
    pub time: Timestamp,
    /// `accepted`, `rejected`, `unchanged` or `rolled-back`.
    pub result: String,
    /// The file, escaped.
    pub file: Option<String>,
    /// The generation.
    pub generation: Option<u64>,
    /// IDs of the checks that failed or warned.
    pub checks: Vec<String>,
    /// The user who ordered it; `None` for a dropped file.
    pub by: Option<String>,
}

/// A request that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RequestHealth {
    /// The file.
    pub file: String,
    /// Start of the time that it asks for.
    #[serde(with = "iso")]
    pub start: Timestamp,
    /// End of the time that it asks for; what the KSK side gives to `ksr-gen sign -e`.
    #[serde(with = "iso")]
    pub end: Timestamp,
    /// When it was written.
    #[serde(with = "iso")]
    pub written: Timestamp,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// The first octets of that as words of the PGP word list, to read aloud.
    pub words: String,
}

/// What the timeline of a zone shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Details {
    /// The bundles of the generation in force.
    pub bundles: Vec<BundleHealth>,
    /// The keys of the zone.
    pub keys: Vec<KeyHealth>,
    /// The last imports, oldest first.
    pub imports: Vec<ImportHealth>,
    /// When the coverage becomes more urgent, by time.
    pub deadlines: Vec<Deadline>,
}

/// One bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BundleHealth {
    /// When it comes into force.
    #[serde(with = "iso")]
    pub inception: Timestamp,
    /// Earliest end of its signatures.
    #[serde(with = "iso")]
    pub expiration: Timestamp,
    /// Tags of its KSKs.
    pub ksks: Vec<u16>,
    /// Tags of its ZSKs.
    pub zsks: Vec<u16>,
}

/// A key of the zone, with BIND's times where its file is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeyHealth {
    /// Its tag.
    pub tag: u16,
    /// Its algorithm number.
    pub algorithm: u8,
    /// `ksk` or `zsk`.
    pub role: String,
    /// Enters the DNSKEY RRset.
    #[serde(with = "iso::option")]
    pub publish: Option<Timestamp>,
    /// Begins to sign.
    #[serde(with = "iso::option")]
    pub activate: Option<Timestamp>,
    /// Ceases to sign.
    #[serde(with = "iso::option")]
    pub inactive: Option<Timestamp>,
    /// Leaves the DNSKEY RRset.
    #[serde(with = "iso::option")]
    pub delete: Option<Timestamp>,
}

/// When the coverage becomes more urgent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Deadline {
    /// From when on.
    #[serde(with = "iso")]
    pub at: Timestamp,
    /// The severity from then on.
    pub severity: Severity,
}

/// Since when each condition holds, by ID, zone (empty = the host) and subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Since(BTreeMap<(ConditionId, String, String), Timestamp>);

impl Since {
    /// Since when a condition holds that was there before.
    #[must_use]
    pub fn of(&self, id: ConditionId, zone: &str, subject: Option<&str>) -> Option<Timestamp> {
        self.0.get(&(id, zone.to_owned(), subject.unwrap_or_default().to_owned())).copied()
    }

    /// True when nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One line a condition: time, ID, zone (`-` = the host), subject. Line ends in a subject, which may be the name of a file, are written
    /// `\n` and `\r`, a backslash `\\`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let line = |((id, zone, subject), since): (&(ConditionId, String, String), &Timestamp)| {
            let zone = if zone.is_empty() { "-" } else { zone };
            format!("{} {id} {zone} {}\n", since.iso(), escaped(subject))
        };
        self.0.iter().map(line).collect()
    }

    /// Reads [`Self::to_text`], of several processes the earliest time; what does not read is left out, so that its time begins anew.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let read = |line: &str| {
            let mut words = line.splitn(4, ' ');
            let since = iso::parse(words.next()?)?;
            let id = ConditionId::parse(words.next()?)?;
            let zone = words.next().map(|zone| if zone == "-" { "" } else { zone })?;
            Some(((id, zone.to_owned(), unescaped(words.next().unwrap_or_default())), since))
        };
        let mut since = Self::default();
        for (key, at) in text.split('\n').filter_map(read) {
            let earliest = since.0.entry(key).or_insert(at);
            *earliest = at.min(*earliest);
        }
        since
    }
}

fn escaped(subject: &str) -> String {
    subject.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

/// Undoes [`escaped`]; a backslash before anything else stands for itself.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let next = if c == '\\' { rest.clone().next() } else { None };
        match next {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('\\') => out.push('\\'),
            _ => {
                out.push(c);
                continue;
            }
        }
        rest.next();
    }
    out
}

impl Health {
    /// The conditions with the zone of each; the host's first, which have none.
    pub fn all_conditions(&self) -> impl Iterator<Item = (Option<&str>, &Condition)> {
        let host = self.conditions.iter().map(|condition| (None, condition));
        host.chain(
            self.zones.iter().flat_map(|zone| {
                zone.conditions.iter().map(|condition| (Some(zone.zone.as_str()), condition))
            }),
        )
    }

    /// Since when each condition holds.
    #[must_use]
    pub fn since(&self) -> Since {
        let entry = |(zone, condition): (Option<&str>, &Condition)| {
            let subject = condition.subject.clone().unwrap_or_default();
            Some(((condition.id, zone.unwrap_or_default().to_owned(), subject), condition.since?))
        };
        Since(self.all_conditions().filter_map(entry).collect())
    }

    /// The zone of this name (lower case, with its final dot).
    #[must_use]
    pub fn zone(&self, name: &str) -> Option<&ZoneHealth> {
        self.zones.iter().find(|zone| zone.zone == name)
    }

    /// The conditions for which this host should not be counted on, with the zone of each.
    pub fn not_ready(&self) -> impl Iterator<Item = (Option<&str>, &Condition)> {
        self.all_conditions().filter(|(_, condition)| condition.is_not_ready())
    }

    /// The same for all zones, without what only the timeline shows: the JSON of many zones.
    #[must_use]
    pub fn without_details(&self) -> Self {
        let plain = |zone: &ZoneHealth| ZoneHealth { details: None, sources: None, ..zone.clone() };
        Self { zones: self.zones.iter().map(plain).collect(), ..self.head() }
    }

    /// All but the zones.
    pub(crate) fn head(&self) -> Self {
        Self {
            version: self.version,
            now: self.now,
            severity: self.severity,
            totals: self.totals,
            components: self.components.clone(),
            conditions: self.conditions.clone(),
            zones: Vec::new(),
        }
    }
}

/// Shortest and longest time to come that a timeline shows, in seconds.
const AHEAD: (u64, u64) = (30 * DAY, 400 * DAY);

impl ZoneHealth {
    /// The time that a timeline shows: what is to come takes at least half of it.
    #[must_use]
    pub fn window(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let bundles = self.details.as_ref().map_or(&[][..], |details| &details.bundles);
        let ends = bundles.iter().map(|bundle| bundle.expiration);
        let asked = self.request.as_ref().map(|request| request.end);
        let last = ends.chain(asked).filter(|end| *end > now).max().unwrap_or(now);
        let ahead = last.since(now).clamp(AHEAD.0, AHEAD.1);
        let first = bundles.first().map_or(now, |bundle| bundle.inception);
        let from = first.max(now.minus(ahead)).min(now.minus(ahead / 8));
        (from, now.plus(ahead + ahead / 10))
    }
}

impl Condition {
    /// True when what this host answers now cannot be counted on: the reason for which `/readyz?of=serving` says no.
    #[must_use]
    pub fn is_not_serving(&self) -> bool {
        match self.id {
            ConditionId::CoverageNone
            | ConditionId::ZoneNotLoaded
            | ConditionId::ZoneUnsigned
            | ConditionId::SignerNotRunning => true,
            ConditionId::ClockWrong => self.severity == Severity::Critical,
            _ => false,
        }
    }

    /// True when what is served or done here cannot be counted on: the reason for which `/readyz` says no.
    #[must_use]
    pub fn is_not_ready(&self) -> bool {
        match self.id {
            ConditionId::CoverageNone
            | ConditionId::CoverageNever
            | ConditionId::SkrStoreDamaged
            | ConditionId::ZoneNotLoaded
            | ConditionId::ZoneUnsigned
            | ConditionId::WatchStalled
            | ConditionId::LoaderNotRunning
            | ConditionId::TimerNotRunning
            | ConditionId::SignerNotRunning => true,
            ConditionId::ClockWrong => self.severity == Severity::Critical,
            _ => false,
        }
    }
}

impl Totals {
    /// Counts the zones by their severity.
    #[must_use]
    pub fn of(zones: &[ZoneHealth]) -> Self {
        let mut totals = Self { zones: zones.len(), ..Self::default() };
        for zone in zones {
            *totals.place(zone.severity) += 1;
        }
        totals
    }

    /// The number of zones of one severity.
    #[must_use]
    pub fn count(mut self, severity: Severity) -> usize {
        *self.place(severity)
    }

    const fn place(&mut self, severity: Severity) -> &mut usize {
        match severity {
            Severity::Critical => &mut self.critical,
            Severity::Warning => &mut self.warning,
            Severity::Attention => &mut self.attention,
            Severity::Ok => &mut self.ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_117_subject_with_line_ends_and_backslashes_keeps_its_time_over_a_restart() {
        let at = Timestamp::from_secs(1_800_000_000);
        for subject in [
            "a.skr\r",
            "a\r\r\n.skr",
            "\n",
            "a\\nb",
            "a\\",
            "\\\\r\\\r",
            "a\\046b.",
            "\u{85}\u{2028}x",
            " a ",
        ] {
            let key = (ConditionId::CoverageNone, "example.".to_owned(), subject.to_owned());
            let since = Since([(key, at)].into());
            assert_eq!(Since::parse(&since.to_text()), since, "{subject:?}");
        }
        // As a version before wrote it.
        let old = Since::parse("2027-01-15T08:00:00Z COVERAGE-NONE example. K\\046x\n");
        assert_eq!(old.of(ConditionId::CoverageNone, "example.", Some("K\\046x")), Some(at));
    }

    #[test]
    fn since_reads_back_also_with_odd_subjects() {
        let at = Timestamp::from_secs(1_800_000_000);
        let mut since = Since::default();
        for (id, zone, subject) in [
            (ConditionId::CoverageNone, "example.", ""),
            (ConditionId::KeyKskOnline, "example.", "/keys/K a.private"),
            (ConditionId::DiskNearlyFull, "", "/var lib"),
        ] {
            since.0.insert((id, zone.to_owned(), subject.to_owned()), at);
        }
        assert_eq!(Since::parse(&since.to_text()), since);
        assert_eq!(Since::parse("rubbish\n1970 COVERAGE-NONE x\n"), Since::default());
        assert_eq!(since.of(ConditionId::DiskNearlyFull, "", Some("/var lib")), Some(at));
    }
}
