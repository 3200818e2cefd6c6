//! The control socket of the running loader: one JSON object on one line asks, one answers, and the connection is closed.
//!
//! ```text
//! skr-loader status ──{"command":"status"}──▶ STATE-DIR/skr-loader.sock ──▶ Loader's loop
//!                   ◀──{"answer":"status",…}──
//! ```
//! Here: what is said, and the side that asks. [`server`] is the side that answers.

pub mod job;
pub mod server;

use keystore::check::CheckId;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keystore::config::{Config, ConfigErrors};
use keystore::exchange::SkrFinding;
use keystore::policy::PolicyFinding;
use keystore::time::Timestamp;
use metrics::health::Health;
use serde::{Deserialize, Serialize};

use crate::files::{hex, one_line};
use crate::loader::{FileImport, ImportOutcome, Rollback, RollbackError};
use crate::order::OperatorOrder;
use crate::service::ConfigurationState;
use keystore::exchange::Coverage;

/// Longest answer that is read, in octets: the status of 10 000 zones has some 10 MB.
const MAX_ANSWER: u64 = 256 << 20;
/// Longest wait for the whole of an answer, of which most is the loader's. A big file of many zones takes its time.
const WAIT: Duration = Duration::from_secs(600);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum ControlRequest {
    /// How things stand.
    Status {
        /// The zones; all when there is none.
        #[serde(default)]
        zones: Vec<String>,
    },
    /// Read the configuration again.
    Reload {},
    /// Judge a file.
    Import {
        /// Its name, for messages.
        name: String,
        /// Its content, in base64.
        content: String,
        /// The signature of the KSK operator over it (CMS), in base64.
        #[serde(default)]
        signature: Option<String>,
        /// IDs of the checks to overrule.
        #[serde(default)]
        force: Vec<String>,
        /// The reason that the person gave, for the audit log.
        #[serde(default)]
        reason: Option<String>,
        /// Only say what would be done.
        #[serde(default)]
        dry_run: bool,
    },
    /// A person has seen that a drop was rejected, or what the generation in force was warned of.
    Acknowledge {
        /// The zone.
        zone: String,
        /// The rejected drop that was seen; without it whatever is told of the zone's drops.
        #[serde(default)]
        file: Option<String>,
        /// The reason that the person gave, for the audit log.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Go back to an older generation.
    Rollback {
        /// The zone.
        zone: String,
        /// The generation; without it the one before.
        #[serde(default)]
        to: Option<u64>,
        /// IDs of the checks to overrule.
        #[serde(default)]
        force: Vec<String>,
        /// The reason that the person gave, for the audit log.
        #[serde(default)]
        reason: Option<String>,
        /// Only say what would be done.
        #[serde(default)]
        dry_run: bool,
    },
}

impl ControlRequest {
    /// True for what only root and the user of the loader may ask.
    #[must_use]
    pub const fn is_privileged(&self) -> bool {
        matches!(self, Self::Import { .. } | Self::Rollback { .. } | Self::Acknowledge { .. })
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum ControlAnswer {
    /// The health of the host and its zones.
    Status(Box<Health>),
    /// The configuration is taken.
    Reloaded {
        /// Number of zones.
        zones: usize,
        /// What works, and hardly as it was meant.
        warnings: Vec<String>,
    },
    /// The configuration is taken, but for files of `zones-directory` that have errors: their zones stay as they were.
    PartlyReloaded {
        /// Number of zones.
        zones: usize,
        /// Every error of these files, and every warning.
        findings: Vec<String>,
        /// Zones that no file has, and that stay until they are released.
        #[serde(default)]
        held: Vec<String>,
    },
    /// The old configuration stays in use.
    NotReloaded {
        /// Every error and warning.
        findings: Vec<String>,
    },
    /// Each SKR of the file was judged.
    Imported {
        /// The verdicts.
        imports: Vec<ImportReport>,
    },
    /// It is done, or would be.
    RolledBack(Box<RollbackReport>),
    /// It stands in the audit log.
    Acknowledged {
        /// The zone.
        zone: String,
        /// The drop that was rejected; `None` = the newest one was not.
        rejected: Option<String>,
        /// The generation in force, where it was accepted with warnings.
        generation: Option<u64>,
        /// The checks of both.
        checks: Vec<String>,
    },
    /// It was not done.
    Refused {
        /// Why, and what to do.
        why: String,
        /// What the checks found.
        #[serde(default)]
        findings: Vec<FindingReport>,
    },
}

impl ControlAnswer {
    /// A refusal without findings.
    #[must_use]
    pub fn refused(why: impl Into<String>) -> Self {
        Self::Refused { why: why.into(), findings: Vec::new() }
    }

    /// What became of a configuration that reads, and whether it is in use: the number of its zones, or why it is not taken.
    #[must_use]
    pub fn of_reload<E: std::fmt::Display>(
        result: Result<usize, E>,
        warnings: &[PolicyFinding],
    ) -> (Self, ConfigurationState) {
        let warnings = warnings.iter().map(ToString::to_string);
        match result {
            Ok(zones) => (Self::Reloaded { zones, warnings: warnings.collect() }, ConfigurationState::Taken),
            Err(error) => {
                let findings = std::iter::once(error.to_string()).chain(warnings).collect();
                (Self::NotReloaded { findings }, ConfigurationState::Refused)
            }
        }
    }

    /// What became of a configuration, some of whose zone files may not have been taken.
    #[must_use]
    pub fn of_taken<E: std::fmt::Display>(
        result: Result<(), E>,
        config: &Config,
    ) -> (Self, ConfigurationState) {
        // Zones of catalogs that are not taken are no error of this host; `held` is told in any case.
        let is_told = !config.zone_files.held.is_empty();
        let errors = config.zone_file_errors().filter(|errors| is_told || !errors.is_of_catalogs_only());
        match (result, errors) {
            (Ok(()), Some(errors)) => {
                let findings = errors.all().chain(&config.warnings).map(ToString::to_string);
                let held = config.zone_files.held.iter().map(ToString::to_string).collect();
                let answer =
                    Self::PartlyReloaded { zones: config.zones.len(), findings: findings.collect(), held };
                (answer, ConfigurationState::from(config))
            }
            (result, _) => Self::of_reload(result.map(|()| config.zones.len()), &config.warnings),
        }
    }

    /// A configuration that does not read.
    #[must_use]
    pub fn of_errors(errors: &ConfigErrors) -> (Self, ConfigurationState) {
        let findings = match errors {
            ConfigErrors::Findings(findings) | ConfigErrors::Unread(findings) => {
                findings.iter().map(ToString::to_string).collect()
            }
            other => vec![other.to_string()],
        };
        (Self::NotReloaded { findings }, errors.into())
    }

    /// What became of a rollback.
    #[must_use]
    pub fn of_rollback(
        result: &Result<Rollback, RollbackError>,
        order: &OperatorOrder,
        now: Timestamp,
    ) -> Self {
        match result {
            Ok(rollback) => Self::RolledBack(Box::new(RollbackReport::new(rollback, order, now))),
            Err(error) => Self::Refused {
                why: error.to_string(),
                findings: error.findings().iter().map(FindingReport::from).collect(),
            },
        }
    }
}

/// A finding as scripts see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FindingReport {
    /// The check.
    pub id: String,
    /// It rejects.
    pub rejects: bool,
    /// Inception of the bundle it speaks of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bundle: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl From<&SkrFinding> for FindingReport {
    fn from(finding: &SkrFinding) -> Self {
        Self {
            id: finding.id.to_string(),
            rejects: finding.rejects(),
            bundle: finding.bundle.map(|b| b.to_string()),
            what: one_line(&finding.what),
        }
    }
}

/// What became of one SKR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImportReport {
    /// The file.
    pub file: String,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// The zone, when it is known and configured.
    pub zone: Option<String>,
    /// What became of it; of a dry run: what would.
    pub result: ControlImportResult,
    /// Nothing was done.
    pub dry_run: bool,
    /// Its generation, when it is in force.
    pub generation: Option<u64>,
    /// What the checks found.
    pub findings: Vec<FindingReport>,
    /// The checks that were overruled, and would have rejected it.
    pub forced: Vec<String>,
    /// The checks that were to be forced, and would not have rejected it.
    pub force_not_needed: Vec<String>,
    /// Why it could not be stored.
    pub error: Option<String>,
}

/// What became of a file, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlImportResult {
    /// It is in force.
    Accepted,
    /// It was in force already.
    Unchanged,
    /// A check rejects it.
    Rejected,
    /// It could not be judged or stored.
    Failed,
}

impl ControlImportResult {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Unchanged => "unchanged",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

impl ImportReport {
    /// What became of it, and which of `order`'s forces it needed.
    #[must_use]
    pub fn new(import: &FileImport, order: &OperatorOrder) -> Self {
        let (result, generation, findings, error): (_, _, &[SkrFinding], _) = match &import.outcome {
            ImportOutcome::Accepted { generation, warnings } => {
                (ControlImportResult::Accepted, Some(*generation), warnings, None)
            }
            ImportOutcome::Unchanged { generation } => {
                (ControlImportResult::Unchanged, Some(*generation), &[], None)
            }
            ImportOutcome::Rejected { findings } => (ControlImportResult::Rejected, None, findings, None),
            ImportOutcome::Failed { what } => (ControlImportResult::Failed, None, &[], Some(what.clone())),
        };
        let known =
            matches!(import.outcome, ImportOutcome::Accepted { .. } | ImportOutcome::Unchanged { .. });
        Self {
            file: import.file.clone(),
            sha256: hex(&import.digest),
            zone: import.zone.as_ref().map(|z| z.zone_label()),
            result,
            dry_run: order.dry_run,
            generation,
            findings: findings.iter().map(FindingReport::from).collect(),
            forced: owned(&import.forced),
            force_not_needed: if known { owned(&order.unneeded(&import.forced)) } else { Vec::new() },
            error,
        }
    }

    /// True when it is in force, or would be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self.result, ControlImportResult::Accepted | ControlImportResult::Unchanged)
    }
}

/// What is covered, in times as people read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CoverageReport {
    /// Inception and expiration of the bundle in force.
    pub bundle: Option<(String, String)>,
    /// End of the unbroken coverage.
    pub end: String,
    /// Seconds until then.
    pub left_seconds: u64,
    /// Longest hole to come, in seconds.
    pub gap_seconds: u64,
    /// Bundles to come.
    pub bundles_left: usize,
}

impl CoverageReport {
    fn new(coverage: &Coverage, now: Timestamp) -> Self {
        Self {
            bundle: coverage.active.map(|(from, until)| (from.iso(), until.iso())),
            end: coverage.end.iso(),
            left_seconds: coverage.end.since(now),
            gap_seconds: coverage.longest_gap,
            bundles_left: coverage.future,
        }
    }
}

/// What became of a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RollbackReport {
    /// The zone.
    pub zone: String,
    /// Nothing was done.
    pub dry_run: bool,
    /// The generation that was in force.
    pub from: Option<u64>,
    /// The generation whose content is in force again.
    pub to: u64,
    /// Its number now.
    pub generation: u64,
    /// What was covered.
    pub before: Option<CoverageReport>,
    /// What is covered.
    pub after: CoverageReport,
    /// What the checks found.
    pub findings: Vec<FindingReport>,
    /// The checks that were overruled.
    pub forced: Vec<String>,
    /// The checks that were to be forced, and would not have rejected it.
    pub force_not_needed: Vec<String>,
}

impl RollbackReport {
    fn new(rollback: &Rollback, order: &OperatorOrder, now: Timestamp) -> Self {
        Self {
            zone: rollback.zone.zone_label(),
            dry_run: order.dry_run,
            from: rollback.from,
            to: rollback.to,
            generation: rollback.generation,
            before: rollback.before.as_ref().map(|c| CoverageReport::new(c, now)),
            after: CoverageReport::new(&rollback.after, now),
            findings: rollback.warnings.iter().map(FindingReport::from).collect(),
            forced: owned(&rollback.forced),
            force_not_needed: owned(&order.unneeded(&rollback.forced)),
        }
    }
}

fn owned(ids: &[CheckId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody listens there.
    #[error("no skr-loader answers on {}", .0.display())]
    NoDaemon(PathBuf),
    /// The same, and the configuration that may name another socket does not read.
    #[error("{what}, and no skr-loader answers on {}; name another file (-c FILE), or the socket (--socket SOCKET)", socket.display())]
    NoConfig {
        /// Why the configuration does not read, with its name.
        what: String,
        /// The socket where none has to be named.
        socket: PathBuf,
    },
    /// The configuration is there and names neither socket nor state folder.
    #[error(
        "it is not said where skr-loader listens: {0}; mend that, or name the socket (--socket STATE-DIR/skr-loader.sock)"
    )]
    Unlocated(String),
    /// The socket is not for this user.
    #[error("{}: permission denied; only root and the members of the socket's group may connect (see control-group)", .0.display())]
    Denied(PathBuf),
    /// Somebody answers there who is not the loader: the file may have been put in its place.
    #[error(
        "{}: who answers there runs as uid {uid}, and is neither root, nor this user, nor the owner of the folder or of `accepted` beside it; \
         nothing was asked: see who has put that socket there, or name the right one (control-socket)",
        path.display()
    )]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// User of the process on the other side.
        uid: u32,
    },
    /// Error of the system call that failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// It is no answer.
    #[error("{}: the answer does not read ({what}); is it another version?", path.display())]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What is wrong, in words for a message.
        what: String,
    },
}

/// Asks the loader that listens on `socket`, and waits for its answer.
pub fn call(socket: &Path, request: &ControlRequest) -> Result<ControlAnswer, CallError> {
    let path = || socket.to_owned();
    let io = |source| CallError::Io { path: path(), source };
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        // Of a path that is too long nobody can make a socket.
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput => {
            CallError::NoDaemon(path())
        }
        io::ErrorKind::PermissionDenied => CallError::Denied(path()),
        _ => io(error),
    })?;
    let uid = rustix::net::sockopt::socket_peercred(&stream).map_err(|error| io(error.into()))?.uid.as_raw();
    if !may_answer(socket, uid) {
        return Err(CallError::Stranger { path: path(), uid });
    }
    stream.set_write_timeout(Some(WAIT)).map_err(io)?;
    stream.set_read_timeout(Some(WAIT)).map_err(io)?;
    let answer = |what: String| CallError::Answer { path: path(), what };
    let mut line = serde_json::to_vec(request).map_err(|e| answer(e.to_string()))?;
    line.push(b'\n');
    // One that refuses early stops reading: then its answer says why.
    let sent = stream.write_all(&line).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut text = Vec::new();
    let read = stream.take(MAX_ANSWER).read_to_end(&mut text);
    if text.is_empty() {
        sent.and(read.map(|_| ())).map_err(io)?;
        return Err(answer("it closed the connection".to_owned()));
    }
    serde_json::from_slice(&text).map_err(|error| answer(error.to_string()))
}

/// True when a process of the user `uid` can be the loader of this socket: it is root's, this user's, or of who owns the folder of the socket
/// or the accepted store in it; nobody else could put a socket there, where that folder is only theirs.
fn may_answer(socket: &Path, uid: u32) -> bool {
    let folder = socket.parent().unwrap_or(Path::new("/"));
    let owner = |path: &Path| path.symlink_metadata().map(|m| m.uid()).ok();
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    uid == 0
        || uid == rustix::process::geteuid().as_raw()
        || owner(&folder) == Some(uid)
        || owner(&folder.join("accepted")) == Some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_strictly() {
        let read = |text: &str| serde_json::from_str::<ControlRequest>(text);
        assert_eq!(read(r#"{"command":"status"}"#).unwrap(), ControlRequest::Status { zones: Vec::new() });
        assert_eq!(read(r#"{"command":"reload"}"#).unwrap(), ControlRequest::Reload {});
        let rollback = read(r#"{"command":"rollback","zone":"example.","to":3,"dry-run":true}"#).unwrap();
        assert!(matches!(
            &rollback,
            ControlRequest::Rollback { to: Some(3), dry_run: true, reason: None, .. }
        ));
        assert!(rollback.is_privileged());
        for bad in [
            r#"{"command":"shutdown"}"#,
            r#"{"command":"status","zone":"x"}"#,
            r#"{"command":"rollback","zone":"x","to":-1}"#,
            r#"{"command":"import","name":"x"}"#,
            r#"{"zones":[]}"#,
            "[]",
            "",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nobody_there_is_told_from_nobody_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let request = ControlRequest::Reload {};
        assert!(matches!(call(&socket, &request), Err(CallError::NoDaemon(_))));
        // What a killed loader leaves.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(socket.exists());
        assert!(matches!(call(&socket, &request), Err(CallError::NoDaemon(_))));
    }
}
