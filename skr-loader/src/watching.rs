//! What the health of a host is made of here: the loader's report, and the reading of its audit log.

use std::path::Path;

use keystore::time::Timestamp;
use metrics::health::facts::{ImportFacts, ImportResult};
use metrics::health::gather::{AuditReader, Outcomes};

use crate::audit::{self, AuditError, AuditEvent, Record};

/// Reads the audit log for [`metrics::health::gather::Gatherer`].
pub const AUDIT: AuditReader = AuditReader { fault, outcomes };

fn fault(log: &Path) -> Option<String> {
    match audit::verify(log) {
        Ok(_) => None,
        Err(AuditError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
        // Whoever may not read it does not judge it.
        Err(AuditError::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => None,
        Err(error) => Some(error.to_string()),
    }
}

fn outcomes(log: &Path) -> Outcomes {
    let records = audit::tail(log).unwrap_or_default();
    let latest = records.iter().map(|record| Timestamp::from_secs(record.time)).max();
    Outcomes { latest, imports: records.into_iter().filter_map(import).collect() }
}

fn import(record: Record) -> Option<(String, ImportFacts)> {
    let result = match record.event {
        AuditEvent::Accepted => ImportResult::Accepted,
        AuditEvent::Rejected => ImportResult::Rejected,
        AuditEvent::Unchanged => ImportResult::Unchanged,
        AuditEvent::RolledBack => ImportResult::RolledBack,
        AuditEvent::Acknowledged => ImportResult::Acknowledged,
        _ => return None,
    };
    let by = record.uid.map(|uid| match &record.user {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    });
    let import = ImportFacts {
        time: Timestamp::from_secs(record.time),
        result,
        file: record.file,
        generation: record.generation,
        checks: record.checks,
        forced: record.forced,
        by,
    };
    Some((record.zone?, import))
}

/// The last outcome of each zone among these lines of the audit log, by the zone label.
pub(crate) fn last_outcomes(records: Vec<Record>) -> std::collections::BTreeMap<String, Record> {
    let outcomes = records.into_iter().filter(|record| record.event.is_outcome());
    outcomes.filter_map(|record| Some((record.zone.clone()?, record))).collect()
}
