//! What a person orders by hand: a file to import, a generation to go back to, and the checks that are overruled for it.
//!
//! **Invariant:** nothing that a check of [`FORCEABLE`] does not name can be overruled: an SKR whose signatures do not hold, or
//! whose KSK is not pinned, never comes into force, whoever orders it.
//! **Invariant:** what is forced, and each rollback, stands in the audit log before anything is changed.

use keystore::check::{self, CheckId};

use crate::checks::{self, FORCEABLE, why_not_forceable};
use crate::files::one_line;
use crate::user::User;

/// Characters that a reason may have.
const MAX_REASON: usize = 500;

/// An order of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorOrder {
    /// The person that gave the order.
    pub who: User,
    /// The checks that are overruled; all of [`FORCEABLE`].
    pub force: Vec<CheckId>,
    /// The reason that the person gave, for the audit log.
    pub reason: Option<String>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Why an order is not followed, before anything is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// No check has this ID.
    #[error("{0}: no check has this ID; these may be forced: {list}", list = check::join(FORCEABLE, ", "))]
    NoSuchCheck(String),
    /// It cannot be overruled.
    #[error("{id}: it cannot be forced: {why}; these may be forced: {list}", list = check::join(FORCEABLE, ", "))]
    NotForceable {
        /// The check.
        id: CheckId,
        /// What would follow.
        why: &'static str,
    },
    /// An order that overrules a check, or goes back, has no reason.
    #[error(
        "whoever overrules a check or goes back gives a reason, which stands in the audit log beside the name"
    )]
    NoReason,
    /// It is too long, empty, or no text.
    #[error("the reason must have 1 to {MAX_REASON} characters on one line")]
    BadReason,
}

/// Whether an order is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// Only said is what would be done.
    DryRun,
    /// It is.
    Real,
}

/// Which orders must say why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonRule {
    /// Those that overrule a check.
    WhenForced,
    /// All of the kind, such as a rollback.
    Always,
}

impl OperatorOrder {
    /// Checks an order; nothing needs a reason that is not carried out.
    pub fn new(
        who: User,
        force: &[String],
        reason: Option<&str>,
        execution: Execution,
        rule: ReasonRule,
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
            None if (rule == ReasonRule::Always || !ids.is_empty()) && execution == Execution::Real => {
                return Err(OrderError::NoReason);
            }
            None => None,
        };
        Ok(Self { who, force: ids, reason, dry_run: execution == Execution::DryRun })
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
    match known.map(|id| (id, why_not_forceable(id))) {
        Some((id, None)) => Ok(id),
        Some((id, Some(why))) => Err(OrderError::NotForceable { id, why }),
        None => Err(OrderError::NoSuchCheck(one_line(&text.chars().take(40).collect::<String>()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(force: &[&str], reason: Option<&str>) -> Result<OperatorOrder, OrderError> {
        let force: Vec<String> = force.iter().map(|id| (*id).to_owned()).collect();
        OperatorOrder::new(
            User { uid: 7, name: None },
            &force,
            reason,
            Execution::Real,
            ReasonRule::WhenForced,
        )
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
}
