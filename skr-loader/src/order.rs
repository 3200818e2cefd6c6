//! What a person orders by hand: a file to import, a generation to go back to, and the checks that are overruled for it.
//!
//! **Invariant:** nothing that a check of [`FORCEABLE`] does not name can be overruled: an SKR whose signatures do not hold, or
//! whose KSK is not pinned, never comes into force, whoever orders it.
//! **Invariant:** what is forced, and each rollback, stands in the audit log before anything is changed.

use keystore::check::{self, CheckId};
use std::fmt;

use keystore::exchange::Finding;
use serde::{Deserialize, Serialize};

use crate::checks;
use crate::files::one_line;

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

/// Characters that a reason may have.
const MAX_REASON: usize = 500;

/// Who orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// Number of the user, as the kernel says.
    pub uid: u32,
    /// Its name, when there is one.
    pub name: Option<String>,
}

impl Who {
    /// The user with this number.
    #[must_use]
    pub fn of(uid: u32) -> Self {
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
        Self { uid, name: user.ok().flatten().map(|user| one_line(&user.name)) }
    }

    /// The user of this process.
    #[must_use]
    pub fn this() -> Self {
        Self::of(rustix::process::geteuid().as_raw())
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (uid {})", self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// An order of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Who.
    pub who: Who,
    /// The checks that are overruled; all of [`FORCEABLE`].
    pub force: Vec<CheckId>,
    /// Why.
    pub reason: Option<String>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Why an order is not followed, before anything is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// No check has this ID.
    #[error("--force {0}: no check has this ID; these may be forced: {list}", list = check::join(FORCEABLE, ", "))]
    NoSuchCheck(String),
    /// It cannot be overruled.
    #[error("--force {id}: it cannot be forced: {why}; these may be forced: {list}", list = check::join(FORCEABLE, ", "))]
    NotForceable {
        /// The check.
        id: CheckId,
        /// What would follow.
        why: &'static str,
    },
    /// Who overrules says why.
    #[error("--force and rollback need --reason TEXT: it stands in the audit log beside your name")]
    NoReason,
    /// It is too long, empty, or no text.
    #[error("--reason must be 1 to {MAX_REASON} characters on one line")]
    BadReason,
}

impl Order {
    /// Checks an order. `needs_reason` when it is one that must say why even without `force`.
    pub fn new(
        who: Who,
        force: &[String],
        reason: Option<&str>,
        dry_run: bool,
        needs_reason: bool,
    ) -> Result<Self, OrderError> {
        let mut ids = Vec::new();
        for id in force {
            let id = forceable(id)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let reason = match reason.map(str::trim) {
            Some(text)
                if text.is_empty()
                    || text.chars().count() > MAX_REASON
                    || text.chars().any(char::is_control) =>
            {
                return Err(OrderError::BadReason);
            }
            Some(text) => Some(text.to_owned()),
            None if (needs_reason || !ids.is_empty()) && !dry_run => return Err(OrderError::NoReason),
            None => None,
        };
        Ok(Self { who, force: ids, reason, dry_run })
    }

    /// True when `id` is overruled.
    #[must_use]
    pub fn forces(&self, id: CheckId) -> bool {
        self.force.contains(&id)
    }

    /// Those of [`Self::force`] that no finding in `used` needed.
    #[must_use]
    pub fn unneeded(&self, used: &[CheckId]) -> Vec<CheckId> {
        self.force.iter().copied().filter(|id| !used.contains(id)).collect()
    }
}

/// The check with this ID, if a person may overrule it; letter case does not matter.
fn forceable(text: &str) -> Result<CheckId, OrderError> {
    let known = text.parse().ok().filter(|id| checks::all().any(|check| check.id == *id));
    match known {
        Some(id) if FORCEABLE.contains(&id) => Ok(id),
        Some(id) => Err(OrderError::NotForceable { id, why: why_not(id) }),
        None => Err(OrderError::NoSuchCheck(one_line(&text.chars().take(40).collect::<String>()))),
    }
}

/// What would follow if `id` were overruled.
fn why_not(id: CheckId) -> &'static str {
    match id {
        CheckId::SkrBadSignature | CheckId::SkrUnknownKsk => {
            "every validating resolver would refuse the zone; a new KSK is pinned in the configuration (trust-anchors), a damaged file is signed again"
        }
        CheckId::SkrExpired | CheckId::SkrNotYet | CheckId::SkrValidity => {
            "its signatures are not valid when they would be used, and every validating resolver would refuse the zone"
        }
        CheckId::SkrLimits => "the limits keep the loader and the servers alive",
        CheckId::SkrIo | CheckId::SkrUnsafe => "what was not read cannot be judged; hand over a plain file",
        CheckId::SkrCds => "the parent would take it for a wish; see allow-cds-delete in the configuration",
        CheckId::SkrWrongZone => "it is for another zone; add that zone to the configuration",
        _ => "there is no SKR in it that could be served",
    }
}

/// Turns what the checks in `forced` reject into warnings that say so. Gives the findings, and the IDs that were needed.
pub fn overrule(
    findings: impl IntoIterator<Item = Finding>,
    forced: &[CheckId],
) -> (Vec<Finding>, Vec<CheckId>) {
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
            Finding::warning(finding.id, finding.bundle, format!("forced: {}", finding.what))
        })
        .collect();
    (findings, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(force: &[&str], reason: Option<&str>) -> Result<Order, OrderError> {
        let force: Vec<String> = force.iter().map(|id| (*id).to_owned()).collect();
        Order::new(Who { uid: 7, name: None }, &force, reason, false, false)
    }

    #[test]
    fn each_check_may_be_forced_or_says_why_not() {
        for check in checks::all() {
            match order(&[check.id.as_str()], Some("a reason")) {
                Ok(order) => assert!(FORCEABLE.contains(&check.id) && order.forces(check.id)),
                Err(error @ OrderError::NotForceable { .. }) => {
                    assert!(!FORCEABLE.contains(&check.id), "{error}");
                    assert!(
                        error.to_string().contains(check.id.as_str())
                            && error.to_string().contains("SKR-REPLAY")
                    );
                }
                Err(other) => panic!("{other}"),
            }
        }
        for id in FORCEABLE {
            assert!(checks::all().any(|check| check.id == *id), "{id}");
        }
        for id in [
            CheckId::SkrBadSignature,
            CheckId::SkrUnknownKsk,
            CheckId::SkrSyntax,
            CheckId::SkrLimits,
            CheckId::SkrExpired,
        ] {
            assert!(!FORCEABLE.contains(&id), "{id}");
        }
    }

    #[test]
    fn who_forces_says_why() {
        assert_eq!(order(&["SKR-REPLAY"], None), Err(OrderError::NoReason));
        assert_eq!(order(&["skr-replay", "SKR-REPLAY"], Some(" x ")).unwrap().force, [CheckId::SkrReplay]);
        assert_eq!(order(&[], None).unwrap().reason, None);
        for bad in ["", "  ", "a\nb", "\u{1b}[31m", &"x".repeat(MAX_REASON + 1)] {
            assert_eq!(order(&[], Some(bad)), Err(OrderError::BadReason), "{bad:?}");
        }
        let error = order(&["SKR-\u{1b}NOTHING"], Some("x")).unwrap_err().to_string();
        assert!(error.contains("no check has this ID") && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn only_what_was_forced_is_overruled() {
        let finding = |id| Finding::reject(id, None, "what");
        let (findings, used) = overrule(
            [finding(CheckId::SkrReplay), finding(CheckId::SkrGap)],
            &[CheckId::SkrReplay, CheckId::SkrProve],
        );
        assert_eq!(used, [CheckId::SkrReplay]);
        assert!(!findings[0].rejects() && findings[0].what == "forced: what");
        assert!(findings[1].rejects());
        let order = Order {
            who: Who { uid: 0, name: None },
            force: vec![CheckId::SkrReplay, CheckId::SkrProve],
            reason: None,
            dry_run: false,
        };
        assert_eq!(order.unneeded(&used), [CheckId::SkrProve]);
    }
}
