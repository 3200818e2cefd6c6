//! The checks of a dropped file by their IDs, from the file itself to what is in force, and the way through all of them.

use keystore::check::{Check, CheckId};
use keystore::dns::Name;
use keystore::exchange::verify::{self, Limits};
use keystore::exchange::{Finding, UnverifiedSkr, VerifiedSkr, VerifyContext, format};
use keystore::time::Timestamp;

use crate::accept::{self, Context};
use crate::order::overrule;
use crate::store::Digest;

/// The checks of the file, before anything in it is read.
pub const FILE_CHECKS: &[Check] = &[
    Check { id: CheckId::SkrIo, holds: "the file can be read" },
    Check { id: CheckId::SkrUnsafe, holds: "it is a plain file" },
];

/// Every check, in the order in which they are reported.
pub fn all() -> impl Iterator<Item = &'static Check> {
    FILE_CHECKS.iter().chain(verify::CHECKS).chain(accept::CHECKS)
}

/// The zone that the file is for, by its content, and the SKR in it. `ours` gives the zone as the configuration has it.
///
/// An error has the zone beside it when that is known and ours.
pub fn parse(
    octets: &[u8],
    ours: impl FnOnce(&Name) -> Option<Name>,
) -> Result<(Name, UnverifiedSkr), (Option<Name>, Finding)> {
    let Some(zone) = accept::zone_of(octets) else {
        // Whatever the zone: it does not read.
        return match format::parse_skr(octets, &Name::root()) {
            Err(error) => Err((None, (&error).into())),
            Ok(_) => Err((None, Finding::reject(CheckId::SkrSyntax, None, "it has no record"))),
        };
    };
    let parsed = format::parse_skr(octets, &zone);
    match (ours(&zone), parsed) {
        (Some(ours), Ok(skr)) => Ok((ours, skr)),
        (Some(ours), Err(error)) => Err((Some(ours), (&error).into())),
        // What does not read has no zone, even when its first word looks like one.
        (None, Err(error)) => Err((None, (&error).into())),
        (None, Ok(_)) => {
            let what = format!("it is for {zone}, which is no `[[zone]]` of the configuration");
            Err((None, Finding::reject(CheckId::SkrWrongZone, None, what)))
        }
    }
}

/// SKR-SYNTAX: a zone that a file has several SKRs of.
#[must_use]
pub fn several_parts(parts: usize) -> Finding {
    let what = format!(
        "the zone has {parts} parts in one file, and which of them counts is not clear; drop one file for each"
    );
    Finding::reject(CheckId::SkrSyntax, None, what)
}

/// An SKR that passed every check, or all but those that were forced.
#[derive(Debug)]
pub struct Passed {
    /// The SKR.
    pub skr: VerifiedSkr,
    /// The warnings, and what was overruled.
    pub warnings: Vec<Finding>,
    /// The checks that were overruled, and would have rejected.
    pub forced: Vec<CheckId>,
}

/// Runs all checks that follow on parsing; those towards what is in force only on an SKR that verifies. What a check in `forced`
/// rejects is a warning; see [`crate::order::FORCEABLE`].
pub fn run(
    skr: UnverifiedSkr,
    digest: &Digest,
    verify_context: &VerifyContext<'_>,
    context: &Context<'_>,
    forced: &[CheckId],
    now: Timestamp,
) -> Result<Passed, Vec<Finding>> {
    const HORIZON: CheckId = CheckId::SkrHorizon;
    let (skr, mut findings) = if forced.contains(&HORIZON) {
        let far =
            verify::findings(&skr, verify_context, now).into_iter().filter(|f| f.id == HORIZON).collect();
        let limits = Limits { horizon: u64::MAX, ..verify_context.limits };
        (verify::verify(skr, &VerifyContext { limits, ..verify_context.clone() }, now)?, far)
    } else {
        (verify::verify(skr, verify_context, now)?, Vec::new())
    };
    findings.extend(skr.warnings().iter().cloned());
    findings.extend(accept::check(&skr, digest, context, now));
    let (warnings, forced) = overrule(findings, forced);
    if warnings.iter().any(Finding::rejects) {
        return Err(warnings);
    }
    Ok(Passed { skr, warnings, forced })
}

/// The IDs of the checks that rejected, each once, in the order of the findings.
#[must_use]
pub fn rejecting(findings: &[Finding]) -> Vec<CheckId> {
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
            assert!(id.as_str().starts_with("SKR-") && !ids[..i].contains(id), "{id}");
        }
    }

    #[test]
    fn each_id_has_a_section_in_the_manual_and_the_other_way_round() {
        let manual = include_str!("../../docs/skr-checks.md");
        let sections: Vec<_> = manual.lines().filter_map(|l| l.strip_prefix("### ")).collect();
        let ids: Vec<_> = all().map(|c| c.id).collect();
        assert_eq!(sections, ids.iter().map(|id| id.as_str()).collect::<Vec<_>>(), "in this order");
    }
}
