//! What is known of a host and its zones, before anybody judges it.

use std::path::PathBuf;
use std::sync::Arc;

use keystore::config::{Config, Signing};
use keystore::dns::Name;
use keystore::keys::Timing;
use keystore::time::Timestamp;

use crate::condition::Severity;
use crate::health::report::{Component, ComponentReport, ReportedCondition, ZoneReport};

/// Everything that [`crate::health::judge::judge`] looks at.
#[derive(Debug, Clone, Default)]
pub struct HealthFacts {
    /// The parts of the toolchain that should run, or do.
    pub components: Vec<ComponentFacts>,
    /// What is of the host.
    pub host: HostFacts,
    /// The zones of the configuration.
    pub zones: Vec<ZoneFacts>,
}

/// A part of the toolchain, and its report.
#[derive(Debug, Clone)]
pub struct ComponentFacts {
    /// Which part.
    pub component: Component,
    /// The configuration has work for it.
    pub expected: bool,
    /// What was found of it.
    pub state: ComponentState,
}

/// What was found of a component.
#[derive(Debug, Clone)]
pub enum ComponentState {
    /// No report.
    Silent,
    /// A report that cannot be read, and why.
    Unreadable(String),
    /// A report; it may be old.
    Reported(Box<ComponentReport>),
    /// A report of a process that has ended without taking it away: it was killed, or crashed.
    Ended(Box<ComponentReport>),
}

/// What is of the host.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// What is wrong with the configuration file as it lies there.
    pub configuration_error: Option<String>,
    /// The file systems that are written to.
    pub disks: Vec<Disk>,
    /// The audit log.
    pub audit: AuditLog,
    /// Latest time that is known to have passed, from files; a clock before it is wrong.
    pub latest_known: Option<Timestamp>,
    /// The test of the alarms, where the configuration wants one again and again.
    pub alarm: Option<Alarm>,
}

/// When the way of the alarms was tested, and how often it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    /// Seconds between two tests.
    pub interval: u64,
    /// The last test that went well; `None` = never.
    pub tested: Option<Timestamp>,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// A folder on it.
    pub folder: PathBuf,
    /// Octets that can still be written.
    pub free: u64,
    /// Octets in all; 0 where the file system does not tell.
    pub size: u64,
    /// Files that can still be made.
    pub free_files: u64,
    /// Files in all; 0 where the file system does not tell.
    pub files: u64,
}

/// The audit log as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AuditLog {
    /// It was not looked at, or is not there yet.
    #[default]
    Unknown,
    /// Each line fits the one before.
    Whole,
    /// It does not hold together, or cannot be read: where and what.
    Broken(String),
}

/// What is known of one zone. What files say is shared with who looks at them again, and copied for nobody.
#[derive(Debug, Clone)]
pub struct ZoneFacts {
    /// The zone.
    pub name: Name,
    /// The thresholds of the coverage.
    pub thresholds: Thresholds,
    /// The zone is served from this host.
    pub is_served: bool,
    /// The request timer works for it.
    pub has_timer: bool,
    /// Others have ZSKs of the zone, too (RFC 8901 model 1).
    pub multi_signer: bool,
    /// Who makes its DNSSEC records.
    pub signing: Signing,
    /// The accepted store.
    pub store: Arc<StoreFacts>,
    /// How files and orders fared, from the audit log, oldest first; the last twenty.
    pub imports: Arc<[ImportFacts]>,
    /// The open requests, oldest first.
    pub requests: Arc<[RequestFacts]>,
    /// Why the outbox cannot be read.
    pub outbox_error: Option<String>,
    /// The key files.
    pub keys: Arc<KeyFacts>,
    /// What the daemons know, as far as it is fresh.
    pub report: ZoneReport,
    /// Conditions that daemons found by themselves.
    pub reported: Vec<ReportedCondition>,
}

impl ZoneFacts {
    /// A zone of which nothing is known yet.
    #[must_use]
    pub fn new(name: Name, thresholds: Thresholds) -> Self {
        Self {
            name,
            thresholds,
            is_served: false,
            has_timer: false,
            multi_signer: false,
            signing: Signing::Online,
            store: Arc::default(),
            imports: Arc::default(),
            requests: Arc::default(),
            outbox_error: None,
            keys: Arc::default(),
            report: ZoneReport::default(),
            reported: Vec::new(),
        }
    }
}

/// Seconds of coverage left at which it gets urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Plan the next ceremony.
    pub info: u64,
    /// Hold it now.
    pub warning: u64,
    /// The end is near.
    pub critical: u64,
    /// Seconds before the end at which a request is written.
    pub lead: u64,
}

impl From<&Config> for Thresholds {
    fn from(config: &Config) -> Self {
        let (loader, ksr) = (&config.loader, &config.ksr);
        Self {
            info: loader.coverage_info.into(),
            warning: loader.coverage_warning.into(),
            critical: loader.coverage_critical.into(),
            lead: ksr.lead.into(),
        }
    }
}

impl Thresholds {
    /// How urgent it is when so many seconds of coverage are left: for the coverage, for an open request, and for whom it is told.
    #[must_use]
    pub const fn severity(self, left: u64) -> Severity {
        match left {
            left if left < self.critical => Severity::Critical,
            left if left < self.warning => Severity::Warning,
            left if left < self.info => Severity::Attention,
            _ => Severity::Ok,
        }
    }
}

/// The accepted store of a zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreFacts {
    /// What is in force, as far as it can be read.
    pub schedule: Option<ScheduleFacts>,
    /// Why the store cannot be read.
    pub error: Option<String>,
}

/// The bundles in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleFacts {
    /// The number of the generation.
    pub generation: u64,
    /// The bundles, ordered by inception.
    pub bundles: Vec<BundleFacts>,
}

/// One bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleFacts {
    /// When it comes into force.
    pub inception: Timestamp,
    /// The earliest end of its signatures.
    pub expiration: Timestamp,
    /// Its keys.
    pub keys: Vec<BundleKey>,
}

/// A key as a bundle lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleKey {
    /// Its tag.
    pub tag: u16,
    /// Its algorithm.
    pub algorithm: u8,
    /// It has the SEP flag.
    pub is_ksk: bool,
}

/// How a dropped file, or an order, fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportFacts {
    /// When it ended.
    pub time: Timestamp,
    /// How it ended.
    pub result: ImportResult,
    /// The file, escaped.
    pub file: Option<String>,
    /// The generation.
    pub generation: Option<u64>,
    /// IDs of the checks that failed or warned.
    pub checks: Vec<String>,
    /// IDs of the checks that were overruled.
    pub forced: Vec<String>,
    /// Who ordered it.
    pub by: Option<String>,
}

/// How an import ended, in the words of the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportResult {
    /// It came into force.
    Accepted,
    /// It was rejected.
    Rejected,
    /// It was in force already.
    Unchanged,
    /// An older generation came into force again.
    RolledBack,
    /// A person has seen what came before.
    Acknowledged,
}

impl ImportResult {
    /// The word of the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Unchanged => "unchanged",
            Self::RolledBack => "rolled-back",
            Self::Acknowledged => "acknowledged",
        }
    }
}

/// An open request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFacts {
    /// The file.
    pub path: PathBuf,
    /// Start of the time that it asks for.
    pub start: Timestamp,
    /// End of the time that it asks for.
    pub end: Timestamp,
    /// When it was written.
    pub written: Timestamp,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

/// The key files of a zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFacts {
    /// Key sets that read.
    pub keys: Vec<KeySetFacts>,
    /// Private files of KSKs.
    pub private_ksks: Vec<PathBuf>,
    /// Key sets that are damaged or contradict each other, one sentence each.
    pub damaged: Vec<String>,
    /// ZSKs with a `.key` file and without a `.private` file.
    pub without_private: Vec<(PathBuf, BundleKey)>,
    /// ZSKs whose `.private` file the signer refuses or cannot open, and why.
    pub unreadable: Vec<(BundleKey, String)>,
    /// Why the folder cannot be read.
    pub folder_error: Option<String>,
}

/// A key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetFacts {
    /// Tag, algorithm and role.
    pub key: BundleKey,
    /// BIND's times.
    pub timing: Timing,
}
