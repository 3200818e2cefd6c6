//! The checks of a dropped file by their IDs, from the file itself to what is in force, and which of them a person may overrule.

use keystore::check::{Check, CheckId};
use keystore::dns::Name;
use keystore::exchange::{SkrFinding, UnverifiedSkr, format, verify};

use crate::accept;

/// The checks of the file, before anything in it is read.
pub const FILE_CHECKS: &[Check] = &[
    Check { id: CheckId::SkrIo, holds: "the file can be read" },
    Check { id: CheckId::SkrUnsafe, holds: "it is a plain file" },
];

/// The checks that a person may overrule. Each of them holds an SKR whose signatures are good against what else is known here,
/// so that what comes into force is usable where that person knows better.
///
/// SKR-GAP only towards what is in force: a hole between the bundles of one SKR is not overruled.
pub const FORCEABLE: &[CheckId] = &[
    CheckId::SkrHorizon,
    CheckId::SkrGap,
    CheckId::SkrOperator,
    CheckId::SkrParentDs,
    CheckId::SkrReplay,
    CheckId::SkrNoPrivateKey,
    CheckId::SkrKeyset,
    CheckId::SkrNotAsked,
    CheckId::SkrProve,
];

const NOT_SERVED: &str = "there is no SKR in it that could be served";
const NOT_VALID: &str = "its signatures are not valid when they would be used, and every validating resolver would refuse the zone";
const NOT_SIGNED: &str = "every validating resolver would refuse the zone; a new KSK is pinned in the configuration (trust-anchors), a damaged \
     file is signed again";
const NOT_READ: &str = "what was not read cannot be judged; hand over a plain file";

/// The checks that nobody may overrule, and what would follow if they were.
const NOT_FORCEABLE: &[(CheckId, &str)] = &[
    (CheckId::SkrBadSignature, NOT_SIGNED),
    (CheckId::SkrUnknownKsk, NOT_SIGNED),
    (
        CheckId::SkrUnknownKey,
        "a key that nobody knows could sign the zone; announce it in the configuration (announced-ksks)",
    ),
    (CheckId::SkrExpired, NOT_VALID),
    (CheckId::SkrNotYet, NOT_VALID),
    (CheckId::SkrValidity, NOT_VALID),
    (CheckId::SkrLimits, "the limits keep the loader and the servers alive"),
    (CheckId::SkrIo, NOT_READ),
    (CheckId::SkrUnsafe, NOT_READ),
    (CheckId::SkrCds, "the parent would take it for a wish; see allow-cds-delete in the configuration"),
    (CheckId::SkrWrongZone, "it is for another zone; add that zone to the configuration"),
    (CheckId::SkrAlgorithm, NOT_SERVED),
    (CheckId::SkrClass, NOT_SERVED),
    (CheckId::SkrCollision, NOT_SERVED),
    (CheckId::SkrDuplicate, NOT_SERVED),
    (CheckId::SkrKey, NOT_SERVED),
    (CheckId::SkrOrder, NOT_SERVED),
    (CheckId::SkrOverlap, NOT_SERVED),
    (CheckId::SkrSyntax, NOT_SERVED),
    (CheckId::SkrTruncated, NOT_SERVED),
    (CheckId::SkrTtl, NOT_SERVED),
    (CheckId::SkrType, NOT_SERVED),
];

/// What would follow if `id` were overruled; `None` where a person may, and for what is no check of an SKR.
pub(crate) fn why_not_forceable(id: CheckId) -> Option<&'static str> {
    NOT_FORCEABLE.iter().find(|(not, _)| *not == id).map(|(_, why)| *why)
}

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
) -> Result<(Name, UnverifiedSkr), (Option<Name>, SkrFinding)> {
    let Some(zone) = accept::zone_of(octets) else {
        // Whatever the zone: it does not read.
        return match format::parse_skr(octets, &Name::root()) {
            Err(error) => Err((None, (&error).into())),
            Ok(_) => Err((None, SkrFinding::reject(CheckId::SkrSyntax, None, "it has no record"))),
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
            Err((None, SkrFinding::reject(CheckId::SkrWrongZone, None, what)))
        }
    }
}

/// SKR-SYNTAX: a zone that a file has several SKRs of.
#[must_use]
pub fn several_parts(parts: usize) -> SkrFinding {
    let what = format!(
        "the zone has {parts} parts in one file, and which of them counts is not clear; drop one file for each"
    );
    SkrFinding::reject(CheckId::SkrSyntax, None, what)
}

/// Turns what the checks in `forced` reject into warnings that say so. Gives the findings, and the IDs that were needed.
pub fn overrule(
    findings: impl IntoIterator<Item = SkrFinding>,
    forced: &[CheckId],
) -> (Vec<SkrFinding>, Vec<CheckId>) {
    let mut used = Vec::new();
    let findings = findings
        .into_iter()
        .map(|finding| {
            if !finding.rejects() || !forced.contains(&finding.id) {
                return finding;
            }
            if !used.contains(&finding.id) {
                used.push(finding.id);
            }
            SkrFinding::warning(finding.id, finding.bundle, format!("forced: {}", finding.what))
        })
        .collect();
    (findings, used)
}

/// The IDs of the checks that rejected, each once, in the order of the findings.
#[must_use]
pub fn rejecting(findings: &[SkrFinding]) -> Vec<CheckId> {
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
    fn only_what_was_forced_is_overruled() {
        let finding = |id| SkrFinding::reject(id, None, "what");
        let (findings, used) = overrule(
            [finding(CheckId::SkrReplay), finding(CheckId::SkrGap)],
            &[CheckId::SkrReplay, CheckId::SkrProve],
        );
        assert_eq!(used, [CheckId::SkrReplay]);
        assert!(!findings[0].rejects() && findings[0].what == "forced: what");
        assert!(findings[1].rejects());
    }

    #[test]
    fn each_check_of_an_skr_is_listed_and_may_be_overruled_or_says_why_not() {
        // SKR-VERIFY holds the root zone's response against its request, on the KSK side.
        let is_ours = |id: &&CheckId| id.as_str().starts_with("SKR-") && **id != CheckId::SkrVerify;
        let of_skrs = CheckId::ALL.iter().filter(is_ours);
        for id in of_skrs.clone() {
            let ways = (FORCEABLE.contains(id), why_not_forceable(*id).is_some());
            assert!(ways == (true, false) || ways == (false, true), "{id}: {ways:?}");
            assert!(all().any(|check| check.id == *id), "{id} is in no list of checks");
        }
        assert_eq!(FORCEABLE.len() + NOT_FORCEABLE.len(), of_skrs.count(), "each once");
    }

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
