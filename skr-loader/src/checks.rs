//! The checks of a dropped file by their IDs, from the file itself to what is in force, and the way through all of them.

use keystore::exchange::verify::{self, Check};
use keystore::exchange::{Finding, UnverifiedSkr, VerifiedSkr, VerifyContext};
use keystore::time::Timestamp;

use crate::accept::{self, Context};
use crate::store::Digest;

/// The checks of the file, before anything in it is read.
pub const FILE_CHECKS: &[Check] = &[
    Check { id: "SKR-IO", holds: "the file can be read" },
    Check { id: "SKR-UNSAFE", holds: "it is a plain file" },
];

/// Every check, in the order in which they are reported.
pub fn all() -> impl Iterator<Item = &'static Check> {
    FILE_CHECKS.iter().chain(verify::CHECKS).chain(accept::CHECKS)
}

/// An SKR that passed every check, and the warnings.
pub type Passed = (VerifiedSkr, Vec<Finding>);

/// Runs all checks that follow on parsing; those towards what is in force only on an SKR that verifies.
pub fn run(
    skr: UnverifiedSkr,
    digest: &Digest,
    verify_context: &VerifyContext<'_>,
    context: &Context<'_>,
    now: Timestamp,
) -> Result<Passed, Vec<Finding>> {
    let skr = verify::verify(skr, verify_context, now)?;
    let mut findings = skr.warnings().to_vec();
    findings.extend(accept::check(&skr, digest, context, now));
    if findings.iter().any(Finding::rejects) { Err(findings) } else { Ok((skr, findings)) }
}

/// The IDs of the checks that rejected, each once, in the order of the findings.
#[must_use]
pub fn rejecting(findings: &[Finding]) -> Vec<&'static str> {
    let mut ids = Vec::new();
    for finding in findings.iter().filter(|f| f.rejects()) {
        if !ids.contains(&finding.id) {
            ids.push(finding.id);
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_there_once() {
        let ids: Vec<_> = all().map(|c| c.id).collect();
        for (i, id) in ids.iter().enumerate() {
            assert!(id.starts_with("SKR-") && !ids[..i].contains(id), "{id}");
        }
    }

    #[test]
    fn each_id_has_a_section_in_the_manual_and_the_other_way_round() {
        let manual = include_str!("../../docs/skr-checks.md");
        let sections: Vec<_> = manual.lines().filter_map(|l| l.strip_prefix("### ")).collect();
        let ids: Vec<_> = all().map(|c| c.id).collect();
        assert_eq!(sections, ids, "in this order");
    }
}
