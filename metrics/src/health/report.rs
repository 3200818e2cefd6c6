//! What a running daemon knows and no other file says: one small file a component, written by it alone and read by everybody.
//!
//! ```text
//! STATE-DIR/health/COMPONENT.json         that it runs, and what is of the host; written when it changes and every [`HEARTBEAT`] seconds
//!                  COMPONENT.zones.json   what is of single zones; written when it changes
//! ```

mod files;

use std::collections::BTreeMap;

use crate::condition::{ConditionId, Severity};
use keystore::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::health::words::iso;
pub(super) use files::read_report;
pub use files::{FoundReport, Writer, path, read};

/// Folder of the files in the state folder.
pub const FOLDER: &str = "health";
/// Version of the form of the files.
pub const VERSION: u32 = 1;
/// Seconds between two writes when nothing changes.
pub const HEARTBEAT: u64 = 10;
/// Seconds after which a file that was not written again is old.
pub const VALID: u64 = 40;
/// Seconds by which the time of a file may be ahead of the clock.
const AHEAD: u64 = 120;

/// A part of the toolchain that reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The loader: `skr-loader run` or a part of `offline-ksk serve`.
    SkrLoader,
    /// The request timer: `offline-ksk requests` or a part of `offline-ksk serve`.
    Requests,
    /// The signer, a part of `offline-ksk serve`.
    Signer,
    /// The outside probe.
    Probe,
    /// The part of `offline-ksk serve` that keeps the lease, where two hosts are a pair.
    Pair,
}

impl Component {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Pair, Self::SkrLoader, Self::Requests, Self::Signer, Self::Probe];

    /// The name of its file, and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SkrLoader => "skr-loader",
            Self::Requests => "requests",
            Self::Signer => "signer",
            Self::Probe => "probe",
            Self::Pair => "pair",
        }
    }

    /// What people call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::SkrLoader => "loader",
            Self::Requests => "request timer",
            Self::Signer => "signer",
            Self::Probe => "outside probe",
            Self::Pair => "lease of the pair",
        }
    }
}

/// What a component reports, but for single zones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ComponentReport {
    /// [`VERSION`]; another one is not read.
    pub version: u32,
    /// Who reports.
    pub component: Component,
    /// Its process.
    pub pid: u32,
    /// The version of the program.
    pub program: String,
    /// When the component was started.
    #[serde(with = "iso")]
    pub started: Timestamp,
    /// When this was written.
    #[serde(with = "iso")]
    pub written: Timestamp,
    /// Seconds after [`Self::written`] for which this can be relied on.
    pub valid_for_seconds: u64,
    /// What is wrong with the newest configuration, which is not in use therefore.
    #[serde(default)]
    pub configuration_error: Option<String>,
    /// Zones that were in use before the start are not, because what is said of them cannot be used.
    #[serde(default)]
    pub zones_left_out: bool,
    /// What is wrong with the clock.
    #[serde(default)]
    pub clock: Option<ClockTrouble>,
    /// The inbox; of the loader.
    #[serde(default)]
    pub inbox: Option<InboxReport>,
    /// Why the audit log could not be written the last time; of the loader.
    #[serde(default)]
    pub audit_error: Option<String>,
    /// The HTTP endpoint of its process.
    #[serde(default)]
    pub endpoint: Option<EndpointReport>,
    /// The files that queries are answered with, and the certificate of DNS over TLS; of the signer.
    #[serde(default)]
    pub queries: Option<EndpointReport>,
    /// The catalog zones; of the loader of the process that serves.
    #[serde(default)]
    pub catalogs: Vec<CatalogReport>,
    /// This host is the standby of a pair: no other part runs here; of the lease of the pair.
    #[serde(default)]
    pub is_standby: bool,
    /// Conditions that the component found itself, over the network.
    #[serde(default)]
    pub conditions: Vec<ReportedCondition>,
    /// Counts how often the process has reported something of single zones that somebody may have to act on; set by the [`Writer`]. So other
    /// processes know without reading what is said of each zone.
    #[serde(default)]
    pub news: u64,
}

/// How a catalog zone stands: one that the host makes, or one that it takes zones from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CatalogReport {
    /// Its name as in metrics.
    pub catalog: String,
    /// Why it changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// What is said of zones that left it and are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// What is said of its zones that are not taken, or of its templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// How an endpoint of a process stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EndpointReport {
    /// Why a file that it is made of, as it lies there, is not in use.
    #[serde(default)]
    pub error: Option<String>,
    /// The certificate that clients are shown.
    #[serde(default)]
    pub certificate: Option<CertificateReport>,
    /// The certificates that it shows to other servers: to primaries of zones.
    #[serde(default)]
    pub shown: Vec<CertificateReport>,
    /// Why one of these, as it lies there, is not in use.
    #[serde(default)]
    pub shown_error: Option<String>,
    /// Why a file of authorities for transfers over TLS cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities_error: Option<String>,
}

/// A certificate, by its dates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CertificateReport {
    /// Its file.
    pub file: String,
    /// From when it is valid.
    #[serde(with = "iso")]
    pub not_before: Timestamp,
    /// Until when it is valid.
    #[serde(with = "iso")]
    pub not_after: Timestamp,
}

/// What a process noticed about the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClockTrouble {
    /// What it noticed, a sentence without its full stop.
    pub what: String,
    /// Nothing is done by this clock until it is right.
    pub waits: bool,
    /// When it was noticed.
    #[serde(with = "iso")]
    pub since: Timestamp,
}

/// How the inbox stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InboxReport {
    /// The folder.
    pub folder: String,
    /// It is watched in the way that is configured.
    pub watched: bool,
    /// Why it is not watched, or nothing is taken from it.
    #[serde(default)]
    pub trouble: Option<String>,
    /// When all of it was last looked at.
    #[serde(default, with = "iso::option")]
    pub last_scan: Option<Timestamp>,
    /// Seconds between two full looks.
    pub scan_interval: u64,
    /// Files that wait or were left there, up to a hundred.
    #[serde(default)]
    pub pending: Vec<PendingFile>,
}

/// A file in the inbox that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PendingFile {
    /// Its name, escaped.
    pub file: String,
    /// `waiting`: it is judged when it is whole; `left`: it stays until it changes; `retried`: it could not be read; `at-work`: some of its
    /// zones are judged.
    pub state: String,
    /// The check for which it is left.
    #[serde(default)]
    pub id: Option<String>,
    /// What is wrong with it, and what to do.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A condition that a component found by itself, because the facts are nowhere in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReportedCondition {
    /// Its ID.
    pub id: ConditionId,
    /// The zone as in metrics; `None` = the host.
    pub zone: Option<String>,
    /// What tells several of one kind apart: an address, a key tag, a file.
    pub subject: Option<String>,
    /// How urgent it is.
    pub severity: Severity,
    /// Since when.
    #[serde(with = "iso")]
    pub since: Timestamp,
    /// The facts in a sentence.
    pub what: String,
}

/// What the components know of one zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ZoneReport {
    /// How it is served from here; of the signer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<ServedReport>,
    /// The secondaries that are told of each version; of the signer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondaries: Vec<SecondaryReport>,
    /// The servers that are given what is accepted; of the loader.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<Delivery>,
    /// Why the loader cannot read what was accepted, which others may read well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_error: Option<String>,
    /// The last look of the request timer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<TimerLook>,
}

impl ZoneReport {
    /// True when nothing differs that somebody may have to act on.
    fn is_alike(&self, other: &Self) -> bool {
        let served = match (&self.served, &other.served) {
            (Some(a), Some(b)) => a.is_alike(b),
            (a, b) => a.is_none() == b.is_none(),
        };
        let timer = |look: &Option<TimerLook>| {
            look.as_ref().map(|look| (look.error.clone(), look.notice_error.clone()))
        };
        let delivery =
            |(a, b): (&Delivery, &Delivery)| (&a.target, a.up, a.current) == (&b.target, b.up, b.current);
        let secondaries = |report: &Self| -> Vec<(String, Option<Timestamp>)> {
            report.secondaries.iter().map(|s| (s.address.clone(), s.behind_since)).collect()
        };
        served
            && secondaries(self) == secondaries(other)
            && self.store_error == other.store_error
            && timer(&self.timer) == timer(&other.timer)
            && self.deliveries.len() == other.deliveries.len()
            && self.deliveries.iter().zip(&other.deliveries).all(delivery)
    }
}

impl ServedReport {
    fn is_alike(&self, other: &Self) -> bool {
        let key = |s: &Self| (s.loaded, s.validly_signed, s.generation);
        key(self) == key(other)
            && self.file_error == other.file_error
            && self.why_not == other.why_not
            && self.key_errors == other.key_errors
            && self.conditions == other.conditions
    }
}

/// How a zone is served from here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServedReport {
    /// A version of the zone was read.
    pub loaded: bool,
    /// Why the zone file as it lies there cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_error: Option<String>,
    /// A full set of valid signatures is served.
    pub validly_signed: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// The accepted generation in use; 0 = none.
    pub generation: u64,
    /// The SOA serial that is served.
    pub serial: u32,
    /// The soonest end of a signature that a ZSK has made.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "iso::option")]
    pub zsk_expires: Option<Timestamp>,
    /// Remaining seconds at which a signature is renewed (`signatures-refresh`).
    pub refresh_seconds: u64,
    /// Why ZSKs that are due cannot sign, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_errors: Vec<String>,
    /// What keeps the zone from following its files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<SignerCondition>,
    /// What the signer is doing for it at this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<SignerWork>,
}

/// What the signer is doing for a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignerWork {
    /// The zone file is being read.
    ReadingZoneFile,
    /// A version of the zone is being signed; the share that is done, in percent.
    Signing(u8),
}

/// A condition that the signer found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SignerCondition {
    /// Its ID.
    pub id: ConditionId,
    /// Since when.
    #[serde(with = "iso")]
    pub since: Timestamp,
    /// The cause, a sentence without its full stop.
    pub cause: String,
}

/// A secondary that is told of each version of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SecondaryReport {
    /// Its address and port.
    pub address: String,
    /// The serial that it was last seen to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u32>,
    /// Since when it lacks the version that is served; `None` = it has it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "iso::option")]
    pub behind_since: Option<Timestamp>,
    /// What went wrong at the last try to tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// A server that is given what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Delivery {
    /// Its name in the configuration.
    pub target: String,
    /// It is reached.
    pub up: bool,
    /// It was proven to serve what is in force.
    pub current: bool,
    /// The generation that it was last proven to serve; 0 = none.
    pub generation: u64,
    /// When that was.
    #[serde(default, with = "iso::option")]
    pub last_proof: Option<Timestamp>,
    /// Why the target is not reached, or why the last try failed.
    #[serde(default)]
    pub cause: Option<String>,
}

/// The last look of the request timer at a zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TimerLook {
    /// When the next request must exist; `None` while one is open.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "iso::option")]
    pub due: Option<Timestamp>,
    /// Why no request could be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why nobody could be told of the open request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice_error: Option<String>,
}

/// What is of single zones, by the zone as in metrics (lower case, final dot).
pub type ZoneReports = BTreeMap<String, ZoneReport>;

impl ComponentReport {
    /// A report of a component of this process that has nothing to say but that it runs.
    #[must_use]
    pub fn new(component: Component, started: Timestamp, now: Timestamp) -> Self {
        Self {
            version: VERSION,
            component,
            pid: std::process::id(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            started,
            written: now,
            valid_for_seconds: VALID,
            configuration_error: None,
            zones_left_out: false,
            clock: None,
            inbox: None,
            audit_error: None,
            endpoint: None,
            queries: None,
            catalogs: Vec::new(),
            is_standby: false,
            conditions: Vec::new(),
            news: 0,
        }
    }

    /// True when this can be relied on at `now`.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.written) <= self.valid_for_seconds && self.written.since(now) <= AHEAD
    }

    /// True when nothing but the time of writing, and that of the last look at the inbox, differs.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let mut same = Self { written: other.written, ..self.clone() };
        if let (Some(inbox), Some(other)) = (&mut same.inbox, &other.inbox) {
            inbox.last_scan = other.last_scan;
        }
        same == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    #[test]
    fn report_is_fresh_for_its_time_and_not_when_it_is_of_the_future() {
        let report = ComponentReport::new(Component::Requests, at(0), at(1000));
        for (now, fresh) in [
            (at(1000), true),
            (at(1000 + VALID), true),
            (at(1001 + VALID), false),
            (at(1000 - AHEAD), true),
            (at(999 - AHEAD), false),
        ] {
            assert_eq!(report.is_fresh(now), fresh, "{now}");
        }
    }
}
