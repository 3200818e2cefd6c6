//! A person has seen that a drop was rejected, or what the generation in force was warned of: it stands in the audit log, and the health
//! tells of it no more. Nothing else changes.

use keystore::dns::Name;
use keystore::time::Timestamp;

use super::Loader;
use crate::audit::{self, AuditEvent, Record};
use crate::order::OperatorOrder;
use crate::report;

/// What was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The zone.
    pub zone: Name,
    /// The drop that was rejected, escaped; `None` = the newest one was not.
    pub rejected: Option<String>,
    /// The generation in force, where it was accepted with warnings or because checks were overruled.
    pub generation: Option<u64>,
    /// The checks of both.
    pub checks: Vec<String>,
}

/// Why nothing was acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcknowledgeError {
    /// It is none of ours.
    #[error("{0} is no `[[zone]]` of the configuration")]
    UnknownZone(Name),
    /// Nothing is told of the zone that a person can acknowledge.
    #[error(
        "{0}: the newest drop was not rejected, and the generation in force was accepted without warnings"
    )]
    Nothing(Name),
    /// Another drop was rejected last than the one that was named.
    #[error("{meant} is not the newest rejected drop: that is {}", newest.as_deref().unwrap_or("none"))]
    OtherFile {
        /// The drop that was named.
        meant: String,
        /// The newest one that was rejected, escaped; `None` = the newest drop was not.
        newest: Option<String>,
    },
    /// The audit log cannot be read or written.
    #[error("the audit log cannot be read or written, and nothing is acknowledged without it: {0}")]
    Audit(#[source] std::io::Error),
}

impl Loader {
    /// Writes to the audit log that a person has seen what the health tells of `zone`'s drops; with `file` of that rejected drop alone.
    ///
    /// # Errors
    /// When there is nothing of the kind, or the log fails.
    pub fn acknowledge(
        &mut self,
        zone: &Name,
        file: Option<&str>,
        order: &OperatorOrder,
        now: Timestamp,
    ) -> Result<Acknowledgement, AcknowledgeError> {
        let Some((name, state)) = self.zones.get_key_value(zone) else {
            return Err(AcknowledgeError::UnknownZone(zone.clone()));
        };
        let (name, label) = (name.clone(), state.label.clone());
        let in_force =
            state.held.state().ok().and_then(|state| state.in_force.as_ref()).map(|f| f.generation);
        let records =
            audit::tail(&self.config.state_dir.join(audit::LOG)).map_err(AcknowledgeError::Audit)?;
        let seen =
            open_of(&records, &label, in_force).ok_or_else(|| AcknowledgeError::Nothing(name.clone()))?;
        let mut seen = Acknowledgement { zone: name, ..seen };
        if let Some(file) = file {
            // Something newer was not seen, and the generation in force was not meant.
            if seen.rejected.as_deref() != Some(file) {
                return Err(AcknowledgeError::OtherFile { meant: file.to_owned(), newest: seen.rejected });
            }
            seen.generation = None;
        }
        if order.dry_run {
            return Ok(seen);
        }
        let record = Record {
            zone: Some(label.clone()),
            file: seen.rejected.clone(),
            generation: if file.is_some() { None } else { in_force },
            checks: seen.checks.clone(),
            ..Record::new(now, AuditEvent::Acknowledged)
        };
        self.audit.append(record.clone().ordered(Some(order), &[])).map_err(AcknowledgeError::Audit)?;
        report::last_import(&self.metrics, &label, Some(&record));
        tracing::info!(zone = %seen.zone, by = %order.who, reason = order.reason, "acknowledged");
        Ok(seen)
    }
}

/// What a person can acknowledge of the zone with this label: what `metrics::health::judge` tells of the same lines.
fn open_of(records: &[Record], label: &str, in_force: Option<u64>) -> Option<Acknowledgement> {
    let outcomes: Vec<&Record> =
        records.iter().filter(|r| r.zone.as_deref() == Some(label) && r.event.is_outcome()).collect();
    let rejected = outcomes.last().filter(|record| record.event == AuditEvent::Rejected);
    let came = |record: &&Record| {
        matches!(record.event, AuditEvent::Accepted | AuditEvent::RolledBack) && record.generation == in_force
    };
    // The last time that it came into force counts: a state folder that was begun anew has the same numbers again.
    let at = outcomes.iter().rposition(came).filter(|_| in_force.is_some());
    let is_seen = |at: usize| {
        let mut later = outcomes[at + 1..].iter();
        later.any(|record| record.event == AuditEvent::Acknowledged && record.generation == in_force)
    };
    let warned = at.filter(|at| !is_seen(*at)).map(|at| outcomes[at]);
    let warned = warned.filter(|record| !(record.checks.is_empty() && record.forced.is_empty()));
    if rejected.is_none() && warned.is_none() {
        return None;
    }
    let mut checks: Vec<String> = rejected
        .into_iter()
        .copied()
        .chain(warned)
        .flat_map(|r| r.checks.iter().chain(&r.forced))
        .cloned()
        .collect();
    checks.sort_unstable();
    checks.dedup();
    Some(Acknowledgement {
        zone: Name::root(),
        rejected: rejected.map(|record| record.file.clone().unwrap_or_else(|| "a file".to_owned())),
        generation: warned.and_then(|record| record.generation),
        checks,
    })
}
