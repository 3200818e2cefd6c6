//! Findings, and the verdict of each check.

use crate::check::{Check, CheckId};
use std::collections::BTreeMap;
use std::fmt;

use crate::exchange::Bundle;
use crate::exchange::bind::BindSyntaxError;
use crate::time::Timestamp;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkrFinding {
    /// The check, `SKR-…`.
    pub id: CheckId,
    /// Whether it rejects.
    pub severity: SkrSeverity,
    /// The bundle it speaks of, by its inception.
    pub bundle: Option<Timestamp>,
    /// What is wrong, in one sentence, and what to do.
    pub what: String,
}

/// Whether a finding rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkrSeverity {
    /// Worth a look; the SKR can be used.
    Warning,
    /// The SKR must not be used.
    Reject,
}

impl SkrFinding {
    /// A finding that rejects.
    #[must_use]
    pub fn reject(id: CheckId, bundle: Option<Timestamp>, what: impl Into<String>) -> Self {
        Self { id, severity: SkrSeverity::Reject, bundle, what: what.into() }
    }

    /// A finding that does not reject.
    #[must_use]
    pub fn warning(id: CheckId, bundle: Option<Timestamp>, what: impl Into<String>) -> Self {
        Self { id, severity: SkrSeverity::Warning, bundle, what: what.into() }
    }

    /// True when it rejects.
    #[must_use]
    pub fn rejects(&self) -> bool {
        self.severity == SkrSeverity::Reject
    }
}

impl fmt::Display for SkrFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.id)?;
        if self.severity == SkrSeverity::Warning {
            f.write_str("warning: ")?;
        }
        if let Some(bundle) = self.bundle {
            write!(f, "bundle {bundle}: ")?;
        }
        f.write_str(&self.what)
    }
}

impl From<&BindSyntaxError> for SkrFinding {
    fn from(error: &BindSyntaxError) -> Self {
        Self::reject(error.id, None, format!("line {}: {}", error.line, error.what))
    }
}

/// Most findings of one check that are told one by one.
const MAX_TOLD: usize = 20;

/// Collects findings; what goes beyond [`MAX_TOLD`] of a check is only counted.
#[derive(Default)]
pub(super) struct FindingList {
    findings: Vec<SkrFinding>,
    untold: BTreeMap<(CheckId, SkrSeverity), usize>,
}

impl FindingList {
    pub(super) fn reject(&mut self, id: CheckId, bundle: Option<&Bundle>, what: impl Into<String>) {
        self.add(SkrFinding::reject(id, bundle.map(|b| b.inception), what));
    }

    pub(super) fn warn(&mut self, id: CheckId, bundle: Option<&Bundle>, what: impl Into<String>) {
        self.add(SkrFinding::warning(id, bundle.map(|b| b.inception), what));
    }

    /// Rejects, and is told however many findings there are.
    pub(super) fn give_up(&mut self, id: CheckId, what: &str) {
        self.findings.push(SkrFinding::reject(id, None, what));
    }

    fn add(&mut self, finding: SkrFinding) {
        let told =
            self.findings.iter().filter(|f| f.id == finding.id && f.severity == finding.severity).count();
        if told < MAX_TOLD {
            self.findings.push(finding);
        } else {
            *self.untold.entry((finding.id, finding.severity)).or_default() += 1;
        }
    }

    pub(super) fn rejects(&self) -> bool {
        self.findings.iter().any(SkrFinding::rejects)
    }

    pub(super) fn into_findings(mut self) -> Vec<SkrFinding> {
        for ((id, severity), count) in self.untold {
            self.findings.push(SkrFinding {
                id,
                severity,
                bundle: None,
                what: format!("and {count} more of this kind"),
            });
        }
        self.findings
    }
}

macro_rules! checks {
    ($($id:ident $holds:literal,)*) => { &[$(Check { id: CheckId::$id, holds: $holds }),*] };
}

/// The checks of reading and verifying, in the order in which they are reported.
pub const CHECKS: &[Check] = checks! {
    SkrLimits "octets, bundles, keys and signatures stay below their limits",
    SkrSyntax "the text reads, and has at least one bundle",
    SkrTruncated "the closing line is there",
    SkrType "there are only DNSKEY, CDNSKEY, CDS, and RRSIG records that cover them",
    SkrClass "every record has class IN",
    SkrTtl "each RRset has one TTL, not over 2^31-1",
    SkrWrongZone "every record and signature belongs to the zone",
    SkrOrder "bundles come in the order of their inceptions",
    SkrDuplicate "no two bundles share an inception",
    SkrKey "every key is a well-formed ZSK (256) or KSK (257); a revoked KSK (385) signs",
    SkrAlgorithm "every key has a supported algorithm that is not deprecated",
    SkrCollision "no two keys of a bundle share tag and algorithm",
    SkrCds "CDS and CDNSKEY name KSKs of their bundle, agree, and do not break the delegation",
    SkrValidity "signatures begin before they end, and do not last too long",
    SkrNotYet "signatures are valid when their bundle comes into force",
    SkrGap "signatures stay valid until the next bundle comes into force",
    SkrOverlap "signatures do not outlive their bundle for too long",
    SkrExpired "signatures end after their bundle's inception, and not all of them in the past",
    SkrHorizon "the last signature ends in a foreseeable future",
    SkrUnknownKsk "each DNSKEY RRset is signed by a trusted KSK that it contains",
    SkrBadSignature "every signature verifies, and every RRset has one by a trusted KSK",
};

/// The verdict of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckVerdict<'a> {
    /// The check.
    pub check: Check,
    /// How it went.
    pub outcome: CheckOutcome,
    /// What it found.
    pub findings: Vec<&'a SkrFinding>,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckOutcome {
    /// Nothing found.
    Passed,
    /// Warnings only.
    Warned,
    /// At least one finding rejects.
    Rejected,
    /// The text does not read, so the check could not run.
    NotReached,
}

/// A verdict for each of `checks`, given the findings of a run. Findings of other checks are left out.
#[must_use]
pub fn verdicts<'a>(checks: &[Check], findings: &'a [SkrFinding]) -> Vec<CheckVerdict<'a>> {
    checks
        .iter()
        .map(|check| {
            let findings: Vec<_> = findings.iter().filter(|f| f.id == check.id).collect();
            let outcome = match findings.iter().map(|f| f.severity).max() {
                None => CheckOutcome::Passed,
                Some(SkrSeverity::Warning) => CheckOutcome::Warned,
                Some(SkrSeverity::Reject) => CheckOutcome::Rejected,
            };
            CheckVerdict { check: *check, outcome, findings }
        })
        .collect()
}

/// A verdict for each of `checks` when the text did not read: `finding` (made from the [`BindSyntaxError`]) stands
/// alone, all others were not reached.
#[must_use]
pub fn verdicts_unread<'a>(checks: &[Check], finding: &'a SkrFinding) -> Vec<CheckVerdict<'a>> {
    let mut all = verdicts(checks, std::slice::from_ref(finding));
    for verdict in all.iter_mut().filter(|v| v.findings.is_empty()) {
        verdict.outcome = CheckOutcome::NotReached;
    }
    all
}
