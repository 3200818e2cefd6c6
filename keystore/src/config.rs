//! The one configuration file of all daemons, `offline-ksk.toml`. Unknown keys are errors; every finding is reported at once.
//!
//! `docs/offline-ksk.example.toml` shows and explains every key. Durations are integers (seconds) or strings as in `dnssec-policy`.

pub mod catalog;
pub mod content;
pub mod deliver;
mod known;
mod name;
pub mod pair;
mod parent;
pub mod query;
mod read;
mod signing;
mod socket;
pub mod tls;
pub mod transfer;
pub mod zone_files;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::crypto::cms::CmsCertificate;
use crate::dns::Name;
use crate::exchange::TrustAnchor;
use crate::policy::{Policy, PolicyFinding};
use crate::shared::Shared;
use crate::time::Timestamp;
pub use parent::ParentConfig;
pub use signing::{Signing, Verify};
pub use socket::{CONTROL_SOCKET, control_socket_of, note_control_socket};

/// The file, checked: policies resolved, trust anchors read, paths made absolute against the folder of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything lies that the daemons write.
    pub state_dir: PathBuf,
    /// The zones.
    pub zones: Vec<Shared<ZoneConfig>>,
    /// `zones-directory`, and what its files say.
    pub zone_files: zone_files::ZoneFiles,
    /// `[[catalog]]`: the catalog zones that this host makes, and such that it takes zones from.
    pub catalogs: catalog::Catalogs,
    /// Settings of the table `[loader]`.
    pub loader: LoaderConfig,
    /// Settings of the table `[parent]`.
    pub parent: ParentConfig,
    /// `[deliver]`: the servers that accepted generations are handed to.
    pub deliver: Vec<deliver::TargetConfig>,
    /// Settings of the table `[ksr]`.
    pub ksr: KsrConfig,
    /// `[signer]`; `None` = this host does not serve.
    pub signer: Option<SignerConfig>,
    /// `[metrics]`; `None` = no endpoint.
    pub metrics: Option<MetricsConfig>,
    /// `[transfer]`: the keys of transfers.
    pub transfer: transfer::TransferConfig,
    /// `[probe]`; `None` = the daemons do not ask what nameservers serve.
    pub probe: Option<ProbeConfig>,
    /// `[pair]`; `None` = this host is the only one that signs its zones.
    pub pair: Option<pair::PairConfig>,
    /// What works, and hardly as it was meant: for the log.
    pub warnings: Vec<PolicyFinding>,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigErrors {
    /// The file could not be read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the system call that failed.
        source: std::io::Error,
    },
    /// A file that it names could not be read, for a reason that may pass; with every other error and warning, one a line.
    #[error("{}", .0.iter().map(PolicyFinding::to_string).collect::<Vec<_>>().join("\n"))]
    Unread(Vec<PolicyFinding>),
    /// Every error and warning, in the order of the file, one a line.
    #[error("{}", .0.iter().map(PolicyFinding::to_string).collect::<Vec<_>>().join("\n"))]
    Findings(Vec<PolicyFinding>),
}

impl ConfigErrors {
    /// True when it may be gone at the next try, without anybody's help: an error of the system, and none of what the file says.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                !matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidInput)
            }
            Self::Unread(_) => true,
            Self::Findings(_) => false,
        }
    }
}

impl Config {
    /// Reads and checks the file at `path`, the `named.conf` that it names, and the trust anchor files.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        read::load(path)
    }

    /// The same for a process that goes on without those files of `zones-directory` that have errors: their zones are as they are in the
    /// configuration that it works with, at a start as [`Self::remember_zone_files`] has kept them. Those that cannot be used so either are left
    /// out ([`zone_files::ZoneFiles::left_out`]). Zones whose files are gone stay as well where they are more than `zones-max-removal` allows and
    /// nobody has released them by `now` ([`zone_files::release`]). [`zone_files::ZoneFiles::errors`] says all of this.
    pub fn load_without_bad_zone_files(
        path: &Path,
        in_use: zone_files::InUse<'_>,
        now: Timestamp,
    ) -> Result<Self, ConfigErrors> {
        read::load_without_bad_zone_files(path, in_use, now)
    }

    /// The configuration as it would be with one more file of `zones-directory`.
    ///
    /// # Errors
    /// What is wrong with that file, or with the file at `path`; not what is wrong with others.
    pub fn load_with_zone_file(
        path: &Path,
        file: &Path,
        octets: &[u8],
        now: Timestamp,
    ) -> Result<Self, ConfigErrors> {
        read::load_with_zone_file(path, file, octets, now)
    }

    /// Keeps the zone files of this configuration, which `program` uses, for its next start.
    ///
    /// # Errors
    /// When the file of the state folder cannot be written; the one before stays.
    pub fn remember_zone_files(&self, program: zone_files::memory::Program) -> std::io::Result<()> {
        zone_files::memory::write(&self.state_dir, program, &self.zone_files)
    }

    /// As [`Self::load`], for whoever is to write the trust anchors: a `trust-anchor-file` that is not there yet, or empty, is no error, and
    /// [`ZoneConfig::anchors`] may be empty.
    pub fn load_before_trust(path: &Path) -> Result<Self, ConfigErrors> {
        read::load_before_trust(path)
    }

    /// Reads and checks the octets of a file; `path` is for messages and relative paths.
    pub fn parse(octets: &[u8], path: &Path) -> Result<Self, ConfigErrors> {
        read::parse(octets, path)
    }

    /// The zones that are signed here: those with keys, requests and SKRs.
    pub fn signed_zones(&self) -> impl Iterator<Item = &Shared<ZoneConfig>> + Clone {
        self.zones.iter().filter(|zone| zone.is_signed_here())
    }

    /// Why files of `zones-directory` are not in use as they lie there.
    #[must_use]
    pub fn zone_file_errors(&self) -> Option<&zone_files::ZoneFileErrors> {
        self.zone_files.errors.as_ref()
    }

    /// The control socket of the loader.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.loader.control_socket.clone().unwrap_or_else(|| self.state_dir.join(CONTROL_SOCKET))
    }

    /// Has the loader listen in `folder`, where the file names no place of its own.
    pub fn listen_in(&mut self, folder: &Path) {
        self.loader.control_socket.get_or_insert_with(|| folder.join(CONTROL_SOCKET));
    }

    /// The control socket that the file at `path` names, or that the loader of its state folder has noted, even where the rest of it has errors: so that a running loader can be asked
    /// what is wrong with it. `None` when that much cannot be read.
    #[must_use]
    pub fn locate_control_socket(path: &Path) -> Option<PathBuf> {
        read::locate_control_socket(path)
    }

    /// The state folder that the file at `path` names, even where the rest of it has errors. `None` when that much cannot be read.
    #[must_use]
    pub fn locate_state_dir(path: &Path) -> Option<PathBuf> {
        read::locate_state_dir(path)
    }

    /// The table `[pair]` of the file at `path`, even where the rest of it has errors. `None` when it has none, or is no TOML file that can be
    /// read.
    ///
    /// # Errors
    /// When the table has errors: it is not known then which host is active.
    pub fn locate_pair(path: &Path) -> Result<Option<pair::PairConfig>, ConfigErrors> {
        read::locate_pair(path)
    }
}

/// What becomes of records that a zone can be served without, and of TTLs above `max-zone-ttl` (`zone-check`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ZoneCheck {
    /// They are left out with a warning; the TTLs are warned of.
    #[default]
    Lenient,
    /// They refuse the zone.
    Strict,
}

/// Which of the signatures that were made for a version are verified before it is served (`self-check`). The structure of the version is
/// checked in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SelfCheck {
    /// All where they are at most [`SelfCheck::ALL_UP_TO`], otherwise a sample.
    #[default]
    Auto,
    /// All.
    All,
    /// Those of the apex and of some RRsets spread over the zone.
    Sample,
}

impl SelfCheck {
    /// Number of new signatures up to which [`SelfCheck::Auto`] verifies all: by P-256 that takes some 25 seconds on two cores.
    pub const ALL_UP_TO: usize = 1_000_000;

    /// Whether all signatures are verified where `made` are new.
    #[must_use]
    pub const fn is_of_all(self, made: usize) -> bool {
        match self {
            Self::Auto => made <= Self::ALL_UP_TO,
            Self::All => true,
            Self::Sample => false,
        }
    }
}

/// How the signer makes and judges versions of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionConfig {
    /// `signing`: who makes the DNSSEC records of the zone.
    pub signing: Signing,
    /// `zonemd`: each version of the zone has a digest (RFC 8976).
    pub zonemd: bool,
    /// `zonemd-interval`: how long new content and renewals of a zone with a digest wait after a version, in seconds.
    pub zonemd_interval: u32,
    /// `self-check`: which new signatures are verified before they are served.
    pub self_check: SelfCheck,
    /// `max-shrink`, in place of that of `[signer]`.
    pub max_shrink: Option<u32>,
    /// `max-growth`, in place of that of `[signer]`.
    pub max_growth: Option<u32>,
}

impl Default for VersionConfig {
    fn default() -> Self {
        // A digest of a million names takes half a second: with this a tenth of a core goes to those of changes.
        let zonemd_interval = 5;
        let self_check = SelfCheck::default();
        Self {
            signing: Signing::default(),
            zonemd: false,
            zonemd_interval,
            self_check,
            max_shrink: None,
            max_growth: None,
        }
    }
}

/// One `[[zone]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneConfig {
    /// Name of the zone (`name`).
    pub name: Name,
    /// The file that configures it.
    pub source: zone_files::ZoneSource,
    /// `policy`, resolved; one without keys and limits for a zone that is not signed here.
    pub policy: Shared<Policy>,
    /// `trust-anchors` (presentation form) and `trust-anchor-file`, read. Never empty where SKRs are checked; empty for a zone that is not
    /// signed here.
    pub anchors: Vec<TrustAnchor>,
    /// `announced-ksks`: standby and successor KSKs. They may stand in the DNSKEY RRset, and are not trusted.
    pub announced: Vec<TrustAnchor>,
    /// `trust-anchor-file`: also where `skr-loader trust learn` writes.
    pub anchor_file: Option<PathBuf>,
    /// `require-signature`: a dropped SKR needs the detached signature of the KSK operator; by default as in `[loader]`.
    pub require_signature: bool,
    /// `zone-check`: how the signer judges `file`.
    pub zone_check: ZoneCheck,
    /// `file`: the unsigned zone, for the signer.
    pub file: Option<PathBuf>,
    /// `key-directory`, by default `STATE-DIR/keys`.
    pub key_directory: PathBuf,
    /// `multi-signer`: an SKR also has ZSKs of other providers (RFC 8901 model 1).
    pub multi_signer: bool,
    /// `allow-query`: networks whose queries for the zone are answered; `None` = as in `[signer]`.
    pub allow_query: Option<Vec<transfer::Network>>,
    /// `allow-transfer`: who may transfer the zone; by default as in `[transfer]`.
    pub allow_transfer: Vec<transfer::AllowTransfer>,
    /// `notify`: who is told of each new version; by default as in `[transfer]`.
    pub notify: Vec<transfer::NotifyTarget>,
    /// What may change the content of the zone beside its file.
    pub content: content::ContentConfig,
    /// How the signer makes and judges versions of the zone.
    pub versions: VersionConfig,
    /// `group` and `change-of-ownership`: what catalogs say of the zone.
    pub member: catalog::MemberConfig,
    /// `allow-cds-delete`: an SKR may ask the parent to remove the DS RRset (RFC 8078 section 4).
    pub allow_cds_delete: bool,
}

impl ZoneConfig {
    /// A zone of the main file with what its table must say; all else is as where the table does not say it.
    #[must_use]
    pub fn new(name: Name, policy: impl Into<Shared<Policy>>, key_directory: PathBuf) -> Self {
        Self {
            name,
            source: zone_files::ZoneSource::MainFile,
            policy: policy.into(),
            anchors: Vec::new(),
            announced: Vec::new(),
            anchor_file: None,
            require_signature: false,
            zone_check: ZoneCheck::default(),
            file: None,
            key_directory,
            multi_signer: false,
            allow_query: None,
            allow_transfer: Vec::new(),
            notify: Vec::new(),
            content: content::ContentConfig::default(),
            versions: VersionConfig::default(),
            member: catalog::MemberConfig::default(),
            allow_cds_delete: false,
        }
    }

    /// True for a zone that the signer serves: it has a file, or comes from primaries.
    #[must_use]
    pub const fn has_content(&self) -> bool {
        self.file.is_some() || !self.content.primaries.is_empty()
    }

    /// True for a zone that is signed here: it has keys, requests and SKRs.
    #[must_use]
    pub const fn is_signed_here(&self) -> bool {
        self.versions.signing.is_here()
    }
}

/// Settings of the table `[loader]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderConfig {
    /// `watch`: how new files in the inbox are noticed.
    pub watch: WatchMode,
    /// Seconds between full scans of the inbox, beside the kernel's events.
    pub rescan_interval: u32,
    /// `poll-interval`: seconds between full scans of the inbox where the kernel is not asked for events.
    pub poll_interval: u32,
    /// `accepted-max-generations`: generations of a zone that are kept, the one in force among them; the oldest go first.
    pub accepted_max_generations: u32,
    /// `accepted-max-days`: days after which a generation that was replaced is removed, whatever their number is.
    pub accepted_max_days: u32,
    /// `accepted-min-days`: days for which a generation that was replaced is kept, whatever their number is.
    pub accepted_min_days: u32,
    /// `rejected-max-files`: rejected files that are kept, each with its reason; the oldest go first.
    pub rejected_max_files: u32,
    /// `rejected-max-octets`: octets of disk that they take at most.
    pub rejected_max_octets: u32,
    /// `audit-max-octets`: octets after which a file of the audit log is full, and another is begun.
    pub audit_max_octets: u32,
    /// `control-socket`: where commands reach the running loader; `None` = [`CONTROL_SOCKET`] in the state folder.
    pub control_socket: Option<PathBuf>,
    /// `control-group`: the group that may connect to it; `None` = the daemon's.
    pub control_group: Option<String>,
    /// Seconds until the end of the coverage at which the alerts are due: information.
    pub coverage_info: u32,
    /// The same: warning.
    pub coverage_warning: u32,
    /// The same: critical.
    pub coverage_critical: u32,
    /// `operator-certificates`: the pinned certificates of KSK operators, who sign what is dropped. Empty = such signatures are not looked at.
    pub operator_certificates: Vec<CmsCertificate>,
    /// `parent-resolver`: who is asked for the DS RRset at the parent. `None` = nobody.
    pub parent_resolver: Option<SocketAddr>,
    /// `parent-check`: what it means when no DS record there vouches for a KSK that signs.
    pub parent_check: ParentCheck,
}

/// What a missing DS at the parent means for an SKR (`parent-check`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParentCheck {
    /// `warn`: it is told.
    #[default]
    Warn,
    /// `reject`: the SKR is rejected.
    Reject,
}

/// `[loader] watch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WatchMode {
    /// The kernel tells of each change, and a scan every `rescan-interval` finds what it missed.
    #[default]
    Events,
    /// The inbox is scanned every `poll-interval`: for NFS and the like, where the kernel does not know what others drop.
    Poll,
}

/// Settings of the table `[ksr]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KsrConfig {
    /// Write requests on a timer.
    pub enabled: bool,
    /// Seconds before the end of the coverage at which the next request is written.
    pub lead: u32,
    /// Seconds that a request asks for.
    pub period: u32,
    /// `on-request`: program and arguments that are called for each request that waits, at each level of urgency. Empty = none.
    pub on_request: Vec<String>,
    /// `on-request-timeout`: seconds that one call may take.
    pub on_request_timeout: u32,
    /// `answered-max-requests`: requests of a zone that are kept when they need no answer any more; the oldest go first.
    pub answered_max_requests: u32,
    /// `answered-max-days`: days after which one of them is removed, whatever their number is; the newest eight stay.
    pub answered_max_days: u32,
    /// `mail-from`: the sender of the mail that lies beside a request.
    pub mail_from: String,
    /// `mail-to`: its receivers; may be empty.
    pub mail_to: Vec<String>,
}

/// Settings of the table `[signer]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerConfig {
    /// UDP and TCP addresses, port 0 = the kernel's choice.
    pub listen: Vec<SocketAddr>,
    /// `max-shrink`: new content of a zone file that has fewer records by more than this waits for a person. Percent of what is served;
    /// 0 = no limit.
    pub max_shrink: u32,
    /// `max-growth`: the same for more records.
    pub max_growth: u32,
    /// `review`: program and arguments that judge new content of a zone before it is served. Empty = none.
    pub review: Vec<String>,
    /// `review-timeout`: seconds that one call may take.
    pub review_timeout: u32,
    /// How queries are answered.
    pub query: query::QueryConfig,
}

/// Settings of the table `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Address of the HTTP endpoint; loopback unless `allow-remote`, or `web-config` names who may read it.
    pub listen: SocketAddr,
    /// `requests-listen`: address of the endpoint of `offline-ksk requests`, which runs beside a loader on the same host.
    pub requests_listen: Option<SocketAddr>,
    /// `detail-zones`: with more zones than this a process exports only a few families for each of them.
    pub detail_zones: u32,
    /// `allow-remote`: an address that others reach needs neither password nor client certificates.
    pub allow_remote: bool,
    /// `web-config`: file with TLS and passwords, in the form of Prometheus's exporters. `None` = neither.
    pub web_config: Option<PathBuf>,
    /// `alert-test-interval`: seconds after which `offline-ksk alert-test` should be run again. `None` = nobody looks after that.
    pub alert_test_interval: Option<u32>,
    /// `hosts`: names by which the endpoint is asked for, beside addresses, `localhost` and the name of this host.
    pub hosts: Vec<String>,
}

impl MetricsConfig {
    /// An endpoint at `listen`, and the defaults.
    #[must_use]
    pub const fn at(listen: SocketAddr) -> Self {
        Self {
            listen,
            requests_listen: None,
            // 80 series a zone: beyond this a scrape has megabytes.
            detail_zones: 500,
            allow_remote: false,
            web_config: None,
            alert_test_interval: None,
            hosts: Vec::new(),
        }
    }
}

/// Settings of the table `[probe]`: what nameservers are seen to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Time between two rounds of a zone, in seconds.
    pub interval: u32,
    /// The resolver that finds the servers; that of the system where none is named and no servers are.
    pub resolver: Option<SocketAddr>,
    /// Servers of every zone; found through the resolver when there are none.
    pub servers: Vec<SocketAddr>,
    /// Servers of the parent; found through the resolver when there are none.
    pub parents: Vec<SocketAddr>,
    /// The zones; all of the configuration where none are named.
    pub zones: Vec<Name>,
    /// `axfr`: transfer the whole zone from each server.
    pub transfer: bool,
    /// `tsig-key`: file with the key of the transfers.
    pub tsig_key: Option<PathBuf>,
}

impl ProbeConfig {
    /// Whether a zone is probed.
    #[must_use]
    pub fn is_of(&self, zone: &Name) -> bool {
        self.zones.is_empty() || self.zones.contains(zone)
    }
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            // A quarter of an hour: two rounds make a finding, and half an hour is soon enough for what ends in days.
            interval: 900,
            resolver: None,
            servers: Vec::new(),
            parents: Vec::new(),
            zones: Vec::new(),
            transfer: false,
            tsig_key: None,
        }
    }
}

impl Default for LoaderConfig {
    fn default() -> Self {
        const DAY: u32 = 86_400;
        // 2·L + 10 d, L + 4 d and 3 d for a ceremony lead L of 10 days: time to repeat a failed ceremony.
        Self {
            watch: WatchMode::Events,
            rescan_interval: 60,
            poll_interval: 5,
            // A rejected file is there for people to look at; nobody looks at more than these.
            accepted_max_generations: 100,
            // Five years: auditors ask for less.
            accepted_max_days: 1827,
            // Time enough to notice a bad generation and to go back.
            accepted_min_days: 30,
            rejected_max_files: 1000,
            rejected_max_octets: 256 << 20,
            // Some hundred thousand lines: a year of many zones, and still read in a second.
            audit_max_octets: 64 << 20,
            control_socket: None,
            control_group: None,
            coverage_info: 30 * DAY,
            coverage_warning: 14 * DAY,
            coverage_critical: 3 * DAY,
            operator_certificates: Vec::new(),
            parent_resolver: None,
            parent_check: ParentCheck::Warn,
        }
    }
}

impl Default for SignerConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            // A truncated export is the commonest way to lose a zone; one that grows is mostly meant to.
            max_shrink: 50,
            max_growth: 0,
            review: Vec::new(),
            review_timeout: 60,
            query: query::QueryConfig::default(),
        }
    }
}

impl Default for KsrConfig {
    fn default() -> Self {
        const DAY: u32 = 86_400;
        // Half a year a request, the next one two months before the end: a ceremony can be repeated twice.
        Self {
            enabled: true,
            lead: 60 * DAY,
            period: 182 * DAY,
            on_request: Vec::new(),
            on_request_timeout: 30,
            // As the generations that answered them.
            answered_max_requests: 100,
            answered_max_days: 1827,
            mail_from: "offline-ksk".to_owned(),
            mail_to: Vec::new(),
        }
    }
}
