//! The audit log: one JSON object a line, each with the SHA-256 of the line before, so that a changed, removed or
//! inserted line shows.
//!
//! ```text
//! STATE-DIR/audit-1.jsonl ─▶ audit-2.jsonl ─▶ … ─▶ audit.jsonl    the first line of each file has the SHA-256 of the last line before it
//! ```
//! A file that has grown to `audit-max-octets` gets the next number, and `audit.jsonl` begins anew with a line `continued`.

mod chain;
mod log;
mod parts;
#[cfg(test)]
mod tests;

use std::fmt;

use keystore::check::CheckId;
use keystore::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::order::OperatorOrder;

pub use chain::{AuditChain, AuditError, read, tail, verify};
pub use log::AuditWriter;

/// Name of the file in the state folder that is written to.
pub const LOG: &str = "audit.jsonl";
/// The `previous` of the very first line.
const NO_LINE: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Longest line that is looked for at the end of the log, in octets.
const MAX_LINE: u64 = 1024 * 1024;

/// What a line of the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AuditEvent {
    /// The loader runs.
    Started,
    /// The loader has ended.
    Stopped,
    /// An SKR came into force.
    Accepted,
    /// A file was rejected.
    Rejected,
    /// An SKR is in force already.
    Unchanged,
    /// A person has ordered something that changes what is in force; what came of it follows.
    Ordered,
    /// An older generation is in force again.
    RolledBack,
    /// An order to go back was refused.
    RollbackRefused,
    /// A person has seen that a file was rejected, or what the SKR in force was warned of.
    Acknowledged,
    /// A KSK is trusted from now on.
    TrustLearnt,
    /// A KSK was to be trusted, and could not be written down.
    TrustFailed,
    /// The clock was found right although earlier lines are later: it had run ahead when they were written.
    ClockTaken,
    /// The file of the log before this one was full; `file` names it.
    Continued,
    /// A word that this version does not know.
    #[serde(other)]
    Unknown,
}

impl AuditEvent {
    /// The word in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Unchanged => "unchanged",
            Self::Ordered => "ordered",
            Self::RolledBack => "rolled-back",
            Self::RollbackRefused => "rollback-refused",
            Self::Acknowledged => "acknowledged",
            Self::TrustLearnt => "trust-learnt",
            Self::TrustFailed => "trust-failed",
            Self::ClockTaken => "clock-taken",
            Self::Continued => "continued",
            Self::Unknown => "unknown",
        }
    }

    /// True for what says how a file, or a rollback, fared, and that a person has seen it.
    #[must_use]
    pub const fn is_outcome(self) -> bool {
        matches!(
            self,
            Self::Accepted | Self::Unchanged | Self::Rejected | Self::RolledBack | Self::Acknowledged
        )
    }
}

impl fmt::Display for AuditEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Seconds since 1970 (UTC).
    pub time: u64,
    /// What happened.
    pub event: AuditEvent,
    /// The zone, when it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub zone: Option<String>,
    /// Name of the dropped file, escaped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// SHA-256 of the dropped file, in hex.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
    /// Number of the generation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub generation: Option<u64>,
    /// SHA-256 of the certificate of the KSK operator who signed the file, in hex.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signer: Option<String>,
    /// IDs of the checks that failed or warned.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub checks: Vec<String>,
    /// The generation whose content a rollback puts in force again, as `generation`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub back_to: Option<u64>,
    /// Number of the user who ordered it; nobody orders a dropped file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<u32>,
    /// Name of that user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// IDs of the checks that were overruled; of an `ordered` line: that may be.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub forced: Vec<String>,
    /// Why, in the words of who ordered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The DS record data of a KSK that was learnt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub anchor: Option<String>,
    /// SHA-256 of the line before, without its line end, in hex; set by [`AuditWriter::append`].
    #[serde(default)]
    pub previous: String,
}

impl Record {
    /// An event without details.
    #[must_use]
    pub fn new(now: Timestamp, event: AuditEvent) -> Self {
        Self {
            time: now.secs(),
            event,
            zone: None,
            file: None,
            sha256: None,
            generation: None,
            signer: None,
            checks: Vec::new(),
            back_to: None,
            uid: None,
            user: None,
            forced: Vec::new(),
            reason: None,
            anchor: None,
            previous: String::new(),
        }
    }

    /// The same, with who ordered it and why.
    #[must_use]
    pub fn ordered(self, order: Option<&OperatorOrder>, forced: &[CheckId]) -> Self {
        let Some(order) = order else { return self };
        Self {
            uid: Some(order.who.uid),
            user: order.who.name.clone(),
            forced: forced.iter().map(ToString::to_string).collect(),
            reason: order.reason.clone(),
            ..self
        }
    }
}
