//! How things stand, for people and scripts: from the running loader, or from the files when there is none.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use keystore::config::LoaderConfig;
use keystore::dns::Name;
use keystore::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::{self, AuditEvent, Record};
use crate::inbox::Pending;
use crate::report::label;
use crate::store::{self, InForce, Stored};
use keystore::exchange::Coverage;

/// How things stand. Times are ISO 8601 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// When this was so.
    pub now: String,
    /// The running loader; `None` = nobody answers, and this is from the files alone.
    pub daemon: Option<Daemon>,
    /// The zones.
    pub zones: Vec<ZoneStatus>,
}

/// The running loader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Daemon {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it was started.
    pub started: String,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// The inbox.
    pub inbox: InboxStatus,
    /// The configuration in the file is in use.
    pub configuration_taken: bool,
    /// What somebody should look at.
    pub conditions: Vec<Condition>,
}

/// The inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InboxStatus {
    /// The folder.
    pub folder: String,
    /// It is watched, by events or by polling.
    pub watched: bool,
    /// Why it is not watched, or nothing is taken from it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
    /// When all of it was last looked at.
    pub last_scan: Option<String>,
    /// Files that wait or were left there, up to a hundred.
    pub pending: Vec<Pending>,
}

/// One zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ZoneStatus {
    /// The zone.
    pub zone: String,
    /// A bundle is in force, with signatures that are valid.
    pub covered: bool,
    /// Number of the generation in force; 0 = none.
    pub generation: u64,
    /// Inception of the bundle in force.
    pub bundle_since: Option<String>,
    /// Earliest expiration of its signatures.
    pub bundle_until: Option<String>,
    /// When the next bundle comes into force.
    pub next_switch: Option<String>,
    /// End of the unbroken coverage.
    pub coverage_end: Option<String>,
    /// Seconds until then.
    pub coverage_left_seconds: u64,
    /// Longest hole to come, in seconds.
    pub gap_seconds: u64,
    /// Bundles to come.
    pub bundles_left: usize,
    /// How the last file, or rollback, of the zone fared, as the audit log has it.
    pub last_import: Option<LastImport>,
    /// The servers that are given what is accepted.
    pub deliveries: Vec<DeliveryStatus>,
    /// What somebody should look at.
    pub conditions: Vec<Condition>,
}

/// How a file, or a rollback, fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastImport {
    /// Time of the import, ISO 8601 in UTC.
    pub time: String,
    /// How it fared.
    pub result: AuditEvent,
    /// The file.
    pub file: Option<String>,
    /// The generation.
    pub generation: Option<u64>,
    /// IDs of the checks that failed or warned.
    pub checks: Vec<String>,
    /// The user who ordered it; `None` for a dropped file.
    pub by: Option<String>,
}

/// A server that is given what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeliveryStatus {
    /// Its name in the configuration.
    pub target: String,
    /// It is reached.
    pub up: bool,
    /// It was proven to serve what is in force.
    pub current: bool,
    /// The generation that it was last proven to serve; 0 = none.
    pub generation: u64,
    /// When that was.
    pub last_proof: Option<String>,
    /// Why the target is not reached, or why the last try failed.
    #[serde(default)]
    pub cause: Option<String>,
}

/// Something that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Condition {
    /// How urgent.
    pub severity: Severity,
    /// What is the matter, in a sentence for people.
    pub what: String,
}

/// How urgent it is, in the words of the alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Now.
    Critical,
    /// Today.
    Warning,
    /// This week.
    Info,
}

impl Condition {
    pub(crate) fn new(severity: Severity, what: impl Into<String>) -> Self {
        Self { severity, what: what.into() }
    }
}

/// What is wrong with the accepted store of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreTrouble {
    /// It was altered from outside; a new SKR repairs it.
    Damaged(String),
    /// It cannot be read just now; that may pass.
    Unread(String),
}

impl StoreTrouble {
    fn of(stored: &Stored) -> Option<Self> {
        match stored {
            Stored::Read { damage, .. } => damage.as_ref().map(|error| Self::Damaged(error.to_string())),
            Stored::Unread { error, .. } => Some(Self::Unread(error.to_string())),
        }
    }
}

impl fmt::Display for StoreTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "the accepted store is damaged: {what}"),
            Self::Unread(what) => write!(f, "the accepted store cannot be read: {what}"),
        }
    }
}

/// What one zone is made of.
#[derive(Debug)]
pub(crate) struct ZoneParts<'a> {
    pub zone: &'a Name,
    pub in_force: Option<&'a InForce>,
    pub trouble: Option<StoreTrouble>,
    pub last_import: Option<&'a Record>,
    pub deliveries: Vec<DeliveryStatus>,
    /// The thresholds of the alerts.
    pub thresholds: Option<&'a LoaderConfig>,
}

/// Sees a zone from `now`.
pub(crate) fn zone(parts: ZoneParts<'_>, now: Timestamp) -> ZoneStatus {
    let ZoneParts { zone, in_force, trouble, last_import, deliveries, thresholds } = parts;
    let seen = in_force.and_then(|skr| Coverage::at(&skr.bundles, now));
    let active = seen.and_then(|c| c.active);
    let mut conditions = Vec::new();
    let mut tell = |severity, what: String| conditions.push(Condition::new(severity, what));
    match (active, in_force) {
        (Some(_), _) => {}
        (None, Some(_)) => tell(Severity::Critical, "no bundle is in force; drop an SKR now".to_owned()),
        (None, None) if trouble.is_none() => {
            tell(Severity::Critical, "no SKR was accepted yet; drop one into the inbox".to_owned());
        }
        (None, None) => {}
    }
    if let Some(trouble) = trouble {
        tell(Severity::Critical, trouble.to_string());
    }
    if let (Some(coverage), Some(limits)) = (seen.filter(|c| c.active.is_some()), thresholds) {
        let left = coverage.end.since(now);
        let levels = [
            (limits.coverage_critical, Severity::Critical),
            (limits.coverage_warning, Severity::Warning),
            (limits.coverage_info, Severity::Info),
        ];
        if let Some((_, severity)) = levels.into_iter().find(|(limit, _)| left < u64::from(*limit)) {
            tell(severity, format!("the coverage ends at {}, in {} days", coverage.end.iso(), left / 86_400));
        }
    }
    if let Some(gap) = seen.map(|c| c.longest_gap).filter(|gap| *gap > 0) {
        tell(Severity::Warning, format!("there is a hole of {gap} seconds between the bundles to come"));
    }
    if let Some(record) = last_import.filter(|r| r.event == AuditEvent::Rejected) {
        tell(Severity::Info, format!("the last file was rejected ({})", record.checks.join(", ")));
    }
    for delivery in deliveries.iter().filter(|d| !d.current && in_force.is_some()) {
        let why = if delivery.up { "is not proven to serve what is in force" } else { "is not reached" };
        let cause = delivery.cause.as_ref().map_or_else(String::new, |cause| format!(": {cause}"));
        tell(Severity::Warning, format!("{} {why}{cause}", delivery.target));
    }
    conditions.sort_by_key(|condition| condition.severity);
    ZoneStatus {
        zone: label(zone),
        covered: active.is_some(),
        generation: in_force.map_or(0, |skr| skr.generation),
        bundle_since: active.map(|(since, _)| since.iso()),
        bundle_until: active.map(|(_, until)| until.iso()),
        next_switch: seen.and_then(|c| c.next).map(Timestamp::iso),
        coverage_end: seen.map(|c| c.end.iso()),
        coverage_left_seconds: seen.map_or(0, |c| c.end.since(now)),
        gap_seconds: seen.map_or(0, |c| c.longest_gap),
        bundles_left: seen.map_or(0, |c| c.future),
        last_import: last_import.map(LastImport::from),
        deliveries,
        conditions,
    }
}

impl From<&Record> for LastImport {
    fn from(record: &Record) -> Self {
        let by = record.uid.map(|uid| match &record.user {
            Some(name) => format!("{name} (uid {uid})"),
            None => format!("uid {uid}"),
        });
        Self {
            time: Timestamp::from_secs(record.time).iso(),
            result: record.event,
            file: record.file.clone(),
            generation: record.generation,
            checks: record.checks.clone(),
            by,
        }
    }
}

/// The last outcome of each zone near the end of the audit log, by the `zone` label. A log that does not read has none.
pub(crate) fn last_imports(state_dir: &Path) -> BTreeMap<String, Record> {
    let records = audit::tail(&state_dir.join("audit.jsonl")).unwrap_or_default();
    let outcomes = records.into_iter().filter(|record| record.event.is_outcome());
    outcomes.filter_map(|record| Some((record.zone.clone()?, record))).collect()
}

/// From the files of a state folder alone.
#[must_use]
pub fn of_files(
    state_dir: &Path,
    zones: &[Name],
    thresholds: Option<&LoaderConfig>,
    now: Timestamp,
) -> Status {
    let last = last_imports(state_dir);
    let look = |name: &Name| {
        let stored = store::peek(&state_dir.join("accepted"), name);
        let parts = ZoneParts {
            zone: name,
            in_force: stored.in_force(),
            trouble: StoreTrouble::of(&stored),
            last_import: last.get(&label(name)),
            deliveries: Vec::new(),
            thresholds,
        };
        zone(parts, now)
    };
    Status { now: now.iso(), daemon: None, zones: zones.iter().map(look).collect() }
}
