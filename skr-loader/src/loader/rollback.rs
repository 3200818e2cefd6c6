//! Going back: the content of an older generation in force again, as a new generation, after it was judged anew.
//!
//! ```text
//! accepted/ZONE/2.skr (in force, wrong)     accepted/ZONE/3.skr = the octets of 1.skr, 3.received = those of 1.received
//! accepted/ZONE/1.skr             ──────▶   accepted/ZONE/current → 3
//! ```
//!
//! Nothing is removed and no number is used twice. The file of generation 2 is an older one from then on (SKR-REPLAY), so that nobody
//! brings it back by accident.

use std::borrow::Cow;

use keystore::check::CheckId;
use keystore::dns::Name;
use keystore::exchange::SkrFinding;
use keystore::time::Timestamp;

use super::{FileImport, ImportOutcome, Loader};
use crate::audit::{AuditEvent, Record};
use crate::checks;
use crate::files::{hex, one_line};
use crate::judge::{
    self, Acceptance, Candidate, CandidateOrigin, EvidenceSubject, Overrides, Sources, Verdict,
};
use crate::order::OperatorOrder;
use crate::store::{self, CommitError, Digest, KeptGeneration};
use keystore::exchange::Coverage;

/// What a rollback did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    /// The zone.
    pub zone: Name,
    /// The generation that was in force; `None` = the store was damaged.
    pub from: Option<u64>,
    /// The generation whose content is in force again.
    pub to: u64,
    /// Its SHA-256.
    pub digest: Digest,
    /// Its number now.
    pub generation: u64,
    /// What was covered.
    pub before: Option<Coverage>,
    /// What is covered.
    pub after: Coverage,
    /// What the checks found that does not reject, and what was overruled.
    pub warnings: Vec<SkrFinding>,
    /// The checks that were overruled.
    pub forced: Vec<CheckId>,
}

/// The generation to go back to.
struct Target {
    generation: u64,
    /// Those of its file.
    octets: Vec<u8>,
    /// Those of the dropped file, where it differs.
    received: Option<Vec<u8>>,
}

/// Why a rollback is not done. What was in force stays so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RollbackError {
    /// It is none of ours.
    #[error("{0} is no `[[zone]]` of the configuration")]
    UnknownZone(Name),
    /// There is nothing to go back to.
    #[error(
        "there is no generation before the one in force ({in_force}) whose content was not replaced; name one of those that are kept ({kept})"
    )]
    NoOlder {
        /// What is in force.
        in_force: String,
        /// The generations that are kept.
        kept: String,
    },
    /// No such generation.
    #[error("generation {to} is not kept; there are {kept}")]
    NotKept {
        /// What was asked for.
        to: u64,
        /// The generations that are kept.
        kept: String,
    },
    /// Nothing would change.
    #[error("the content of generation {to} is in force already{}", if to == in_force { String::new() } else { format!(", as generation {in_force}") })]
    InForceAlready {
        /// What was asked for.
        to: u64,
        /// What is in force.
        in_force: u64,
    },
    /// A check rejects it now.
    #[error("generation {to} cannot be in force now: {first}", first = first(.findings))]
    Refused {
        /// What was asked for.
        to: u64,
        /// Why, and the warnings.
        findings: Vec<SkrFinding>,
    },
    /// It is good and could not be written.
    #[error("generation {to} was not put in force: {what}")]
    Failed {
        /// What was asked for.
        to: u64,
        /// What is wrong, in words for a message.
        what: String,
    },
}

fn first(findings: &[SkrFinding]) -> String {
    findings.iter().find(|f| f.rejects()).map_or_else(String::new, |f| one_line(&f.to_string()))
}

impl Rollback {
    /// What it means for who waits for imports: another generation is in force.
    #[must_use]
    pub fn as_import(&self) -> FileImport {
        let (generation, warnings) = (self.generation, self.warnings.clone());
        FileImport {
            file: format!("{}.skr", self.to),
            digest: self.digest,
            zone: Some(self.zone.clone()),
            forced: self.forced.clone(),
            outcome: ImportOutcome::Accepted { generation, warnings },
        }
    }
}

impl RollbackError {
    /// The findings, when there are any.
    #[must_use]
    pub fn findings(&self) -> &[SkrFinding] {
        match self {
            Self::Refused { findings, .. } => findings,
            _ => &[],
        }
    }
}

impl Loader {
    /// Puts the content of generation `to` in force again; without `to` that of the newest one before the content in force.
    pub fn roll_back(
        &mut self,
        zone: &Name,
        to: Option<u64>,
        order: &OperatorOrder,
        now: Timestamp,
    ) -> Result<Rollback, RollbackError> {
        let Some((name, _)) = self.zones.get_key_value(zone) else {
            return Err(RollbackError::UnknownZone(zone.clone()));
        };
        let name = name.clone();
        let result = self.try_roll_back(&name, to, order, now);
        if let Err(error) = &result
            && !order.dry_run
        {
            tracing::error!(zone = %name, by = %order.who, "rollback refused: {error}");
            let record = Record {
                zone: Some(name.zone_label()),
                back_to: to,
                checks: checks::rejecting(error.findings()).into_iter().map(|id| id.to_string()).collect(),
                ..Record::new(now, AuditEvent::RollbackRefused)
            };
            self.record(record.ordered(Some(order), &[]));
        }
        result
    }

    fn try_roll_back(
        &mut self,
        name: &Name,
        to: Option<u64>,
        order: &OperatorOrder,
        now: Timestamp,
    ) -> Result<Rollback, RollbackError> {
        if !self.clock_is_plausible(now) {
            return Err(RollbackError::Failed { to: to.unwrap_or(0), what: super::CLOCK.to_owned() });
        }
        self.read_if_unread(name, now);
        let target = self.rollback_target(name, to)?;
        let rollback = self.judge_target(name, &target, order, now)?;
        if order.dry_run {
            return Ok(rollback);
        }
        self.put_in_force_again(&target, rollback, order, now)
    }

    /// The generation to go back to, with its octets: `to`, or the newest one before the content in force.
    fn rollback_target(&self, name: &Name, to: Option<u64>) -> Result<Target, RollbackError> {
        let failed = |to: Option<u64>, what: String| RollbackError::Failed { to: to.unwrap_or(0), what };
        let state = self.zones[name].held.state().map_err(|error| failed(to, error.to_string()))?;
        let in_force = state.in_force.as_ref();
        let kept = store::kept(&self.store.accepted(), name, in_force.map(|f| f.generation));
        let Some(to) = to.or_else(|| previous(&kept, in_force?.digest)) else {
            let number = in_force.map_or_else(|| "none".to_owned(), |f| f.generation.to_string());
            let digest = in_force.map(|f| f.digest);
            let others: Vec<_> = kept.into_iter().filter(|k| Some(k.digest) != digest).collect();
            return Err(RollbackError::NoOlder { in_force: number, kept: list(&others) });
        };
        let Some(target) = kept.iter().find(|k| k.generation == to) else {
            return Err(RollbackError::NotKept { to, kept: list(&kept) });
        };
        if let Some(in_force) = in_force.filter(|f| f.digest == target.digest) {
            return Err(RollbackError::InForceAlready { to, in_force: in_force.generation });
        }
        let (octets, received) = store::read_kept(&self.store.accepted(), name, to)
            .map_err(|error| failed(Some(to), error.to_string()))?;
        Ok(Target { generation: to, octets, received })
    }

    /// Judges a generation that is kept as if it came in now, and says what going back to it would do.
    fn judge_target(
        &self,
        name: &Name,
        target: &Target,
        order: &OperatorOrder,
        now: Timestamp,
    ) -> Result<Rollback, RollbackError> {
        let to = target.generation;
        let failed = |what: String| RollbackError::Failed { to, what };
        let refused = |findings| RollbackError::Refused { to, findings };
        let zone = &self.zones[name];
        let state = zone.held.state().map_err(|error| failed(error.to_string()))?;
        let candidate =
            Candidate::read_of_zone(&target.octets, name).map_err(|unread| refused(vec![unread.finding]))?;
        let digest = candidate.digest;
        let overrides =
            Overrides { force: &order.force, origin: CandidateOrigin::Kept, ..Overrides::default() };
        let subject = EvidenceSubject {
            config: &self.config,
            zone: &zone.config,
            state: Cow::Borrowed(state),
            operator: None,
            origin: overrides.origin,
        };
        let verdict = judge::judge_gathering(candidate, subject, &mut Sources::default(), &overrides, now)
            .map_err(|error| failed(error.to_string()))?;
        let acceptance = match verdict {
            Verdict::Accept(acceptance) => acceptance,
            Verdict::Reject(rejection) => return Err(refused(rejection.findings)),
            Verdict::Unchanged { generation, .. } => {
                return Err(RollbackError::InForceAlready { to, in_force: generation });
            }
        };
        let Acceptance { warnings, forced, coverage: Some(after), .. } = *acceptance else {
            return Err(failed("it has no bundle".to_owned()));
        };
        let in_force = state.in_force.as_ref();
        Ok(Rollback {
            zone: name.clone(),
            from: in_force.map(|f| f.generation),
            to,
            digest,
            generation: self.store.next_number(name, state),
            before: in_force.and_then(|f| Coverage::at(&f.bundles, now)),
            after,
            warnings,
            forced,
        })
    }

    /// Writes the order to the audit log, and makes the octets of the target the next generation.
    fn put_in_force_again(
        &mut self,
        target: &Target,
        mut rollback: Rollback,
        order: &OperatorOrder,
        now: Timestamp,
    ) -> Result<Rollback, RollbackError> {
        let (name, to) = (rollback.zone.clone(), rollback.to);
        let failed = |what: String| RollbackError::Failed { to, what };
        let record = |event, rollback: &Rollback| {
            let record = Record {
                zone: Some(name.zone_label()),
                sha256: Some(hex(&rollback.digest)),
                generation: Some(rollback.generation),
                back_to: Some(to),
                checks: rollback.warnings.iter().map(|w| w.id.to_string()).collect(),
                ..Record::new(now, event)
            };
            record.ordered(Some(order), &rollback.forced)
        };
        if let Err(error) = self.audit.append(record(AuditEvent::Ordered, &rollback)) {
            return Err(failed(format!(
                "the audit log cannot be written ({error}), and nothing is rolled back without it"
            )));
        }
        rollback.generation = match self.commit(&name, &target.octets, target.received.as_deref(), now) {
            Ok(generation) => generation,
            Err(error @ CommitError::NotDurable { generation, .. }) => {
                tracing::error!(zone = %name, id = "SKR-IO", %error, "rolled back all the same; the sync is tried again");
                self.sync_later(&name);
                generation
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        self.record(record(AuditEvent::RolledBack, &rollback));
        tracing::warn!(
            zone = %name, generation = rollback.generation, to, from = rollback.from, by = %order.who,
            reason = order.reason, until = %rollback.after.end.iso(), "rolled back"
        );
        Ok(rollback)
    }
}

/// The newest generation before the first one with the content in force, so that two rollbacks do not undo each other.
fn previous(kept: &[KeptGeneration], in_force: Digest) -> Option<u64> {
    let first = kept.iter().find(|k| k.digest == in_force)?.generation;
    kept.iter().rev().find(|k| k.generation < first).map(|k| k.generation)
}

fn list(kept: &[KeptGeneration]) -> String {
    if kept.is_empty() {
        return "none is kept".to_owned();
    }
    kept.iter().map(|k| k.generation.to_string()).collect::<Vec<_>>().join(", ")
}
