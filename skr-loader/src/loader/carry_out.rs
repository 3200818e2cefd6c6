//! Carries a verdict out: the store, the audit log, the metrics, the log, and where the file goes.

use std::path::Path;

use keystore::check::{self, CheckId};
use keystore::dns::Name;
use keystore::exchange::SkrFinding;
use keystore::store::digest;
use keystore::time::Timestamp;

use super::Loader;
use super::outcome::{FileImport, ImportOutcome, is_dry_run};
use crate::audit::{AuditEvent, Record};
use crate::checks;
use crate::files::{FileError, hex, one_line, printable};
use crate::inbox::Dropped;
use crate::judge::{Acceptance, Commit, Rejection, Verdict};
use crate::operator;
use crate::order::OperatorOrder;
use crate::rejected;
use crate::report;
use crate::store::{CommitError, Digest};

impl Loader {
    /// Does what the verdict on `file` says. Of a dry run nothing is done.
    pub(super) fn carry_out(
        &mut self,
        zone: &Name,
        digest: Digest,
        verdict: Verdict,
        file: &Dropped,
        now: Timestamp,
    ) -> FileImport {
        match verdict {
            Verdict::Unchanged { generation, .. } => self.unchanged(zone, generation, file, now),
            Verdict::Reject(rejection) => self.reject(file, Some(zone.clone()), rejection, now),
            Verdict::Accept(acceptance) if is_dry_run(file) => {
                let generation = match self.next_number(zone) {
                    Ok(generation) => generation,
                    Err(error) => return self.failed(zone, file, &error.to_string(), now),
                };
                let outcome = ImportOutcome::Accepted { generation, warnings: acceptance.warnings };
                let import = FileImport::of(file, digest, Some(zone.clone()), outcome);
                FileImport { forced: acceptance.forced, ..import }
            }
            Verdict::Accept(acceptance) => self.accept(zone, digest, *acceptance, file, now),
        }
    }

    fn accept(
        &mut self,
        zone: &Name,
        digest: Digest,
        acceptance: Acceptance,
        file: &Dropped,
        now: Timestamp,
    ) -> FileImport {
        if let Some(order) = file.order().filter(|_| !acceptance.forced.is_empty()) {
            let next = match self.next_number(zone) {
                Ok(next) => next,
                Err(error) => return self.failed(zone, file, &error.to_string(), now),
            };
            let ordered = Record {
                generation: Some(next),
                ..of_file(AuditEvent::Ordered, Some(zone), file, &digest, now)
            };
            if let Err(error) = self.audit.append(ordered.ordered(Some(order), &acceptance.forced)) {
                let what =
                    format!("the audit log cannot be written ({error}), and nothing is forced without it");
                return self.failed(zone, file, &what, now);
            }
        }
        let (octets, received) = match &acceptance.commit {
            Commit::AsReceived => (&file.octets[..], None),
            Commit::Written(octets) => (&octets[..], Some(&file.octets[..])),
        };
        match self.commit(zone, octets, received, now) {
            Ok(generation) => {
                let import = self.accepted(zone, generation, acceptance, file, now);
                self.take_out(file, None);
                import
            }
            Err(CommitError::NotDurable { generation, source }) => {
                tracing::error!(%zone, generation, id = "SKR-IO", error = %source, "the SKR is in force and may not outlive a power loss; a dropped file stays in the inbox until it does");
                self.keep_until_durable(zone, file, now);
                self.accepted(zone, generation, acceptance, file, now)
            }
            Err(error) => self.failed(zone, file, &error.to_string(), now),
        }
    }

    /// Tells that the SKR is in force.
    fn accepted(
        &mut self,
        zone: &Name,
        generation: u64,
        acceptance: Acceptance,
        file: &Dropped,
        now: Timestamp,
    ) -> FileImport {
        let Acceptance { warnings, forced, .. } = acceptance;
        let (name, digest) = (printable(&file.name), digest(&file.octets));
        for warning in &warnings {
            tracing::warn!(%zone, file = name, id = warning.id.as_str(), "{}", one_line(&warning.to_string()));
        }
        let bundles = self.in_force(zone).map_or(0, |f| f.bundles.len());
        tracing::info!(%zone, generation, bundles, file = name, sha256 = hex(&digest), by = by(file.order()), forced = list(&forced), "SKR accepted");
        let record = Record {
            generation: Some(generation),
            checks: warnings.iter().map(|w| w.id.to_string()).collect(),
            signer: file.operator.as_ref().and_then(|o| Some(o.signer()?.to_owned())),
            ..of_file(AuditEvent::Accepted, Some(zone), file, &digest, now)
        };
        self.record_outcome(record.ordered(file.order(), &forced), file);
        report::import(&self.metrics, &zone.zone_label(), "accepted", now);
        self.tell_file(file);
        let outcome = ImportOutcome::Accepted { generation, warnings };
        FileImport { forced, ..FileImport::of(file, digest, Some(zone.clone()), outcome) }
    }

    fn unchanged(&mut self, zone: &Name, generation: u64, file: &Dropped, now: Timestamp) -> FileImport {
        let (name, digest) = (printable(&file.name), digest(&file.octets));
        let unchanged =
            FileImport::of(file, digest, Some(zone.clone()), ImportOutcome::Unchanged { generation });
        if is_dry_run(file) {
            return unchanged;
        }
        // A sync that failed when it was committed is made good before its file goes.
        if let Err(error) = self.store.make_durable(zone) {
            return self.failed(zone, file, &error.to_string(), now);
        }
        tracing::info!(%zone, generation, file = name, "SKR unchanged: it is in force already");
        let record = Record {
            generation: Some(generation),
            ..of_file(AuditEvent::Unchanged, Some(zone), file, &digest, now)
        };
        self.record_outcome(record.ordered(file.order(), &[]), file);
        report::import(&self.metrics, &zone.zone_label(), "unchanged", now);
        self.tell_file(file);
        self.take_out(file, None);
        unchanged
    }

    /// Tells that the file is rejected, and moves a dropped one to `rejected/` with its reason.
    pub(super) fn reject(
        &mut self,
        file: &Dropped,
        zone: Option<Name>,
        rejection: Rejection,
        now: Timestamp,
    ) -> FileImport {
        let findings = rejection.findings;
        let (name, digest) = (printable(&file.name), digest(&file.octets));
        if is_dry_run(file) {
            return FileImport::of(file, digest, zone, ImportOutcome::Rejected { findings });
        }
        let ids = checks::rejecting(&findings);
        let first = findings.iter().find(|f| f.rejects()).map_or_else(String::new, ToString::to_string);
        let of_zone = zone.as_ref().map_or_else(|| "unknown".to_owned(), Name::zone_label);
        tracing::error!(
            zone = of_zone,
            file = name,
            sha256 = hex(&digest),
            checks = check::join(&ids, ","),
            findings = findings.len(),
            "SKR rejected: {}",
            one_line(&first)
        );
        report::rejection(&self.metrics, &findings);
        if zone.is_some() {
            report::import(&self.metrics, &of_zone, "rejected", now);
        }
        let record = Record {
            checks: ids.iter().map(ToString::to_string).collect(),
            ..of_file(AuditEvent::Rejected, zone.as_ref(), file, &digest, now)
        };
        self.record_unsynced(record.ordered(file.order(), &[]));
        if file.order().is_none() {
            let in_force = zone.as_ref().and_then(|z| self.in_force(z)).map(|f| f.generation);
            self.put_aside(file, rejected::reason(file, zone.as_ref(), in_force, &findings, now));
        }
        FileImport::of(file, digest, zone, ImportOutcome::Rejected { findings })
    }

    /// Tells that the file could not be dealt with, and leaves a dropped one for another try.
    pub(super) fn failed(&mut self, zone: &Name, file: &Dropped, error: &str, now: Timestamp) -> FileImport {
        let name = printable(&file.name);
        tracing::error!(%zone, file = name, id = "SKR-IO", error, "the SKR could not be judged or stored; a dropped file is tried again");
        report::failure(&self.metrics, &zone.zone_label());
        self.inbox.try_again(file, error, now);
        FileImport::failed(file, Some(zone.clone()), error.to_owned())
    }

    /// Tells that a file of the inbox cannot be read.
    pub(super) fn refuse(&self, name: &str, error: &FileError) {
        tracing::error!(file = name, id = error.id().as_str(), "left in the inbox: {error}");
        report::file(&self.metrics, "unsafe");
        report::rejection(&self.metrics, &[SkrFinding::reject(error.id(), None, "")]);
    }

    /// One that never lay in the inbox counts as no file of it.
    fn tell_file(&self, file: &Dropped) {
        if file.order().is_none() {
            report::file(&self.metrics, "imported");
        }
    }

    /// Takes a file out of the inbox, with its signature: away, or to `to`. False when it could not be taken out, or its copy not be written;
    /// that is told.
    pub(super) fn take_out(&mut self, file: &Dropped, to: Option<&Path>) -> bool {
        let taken = self.inbox.take_out(file, to);
        if let Err(error) = &taken {
            let name = printable(&file.name);
            tracing::error!(file = name, %error, "cannot take the judged file out of the inbox; remove it");
        }
        if let Some(signature) = file.signature() {
            self.take_out(signature, to.map(operator::signature_path).as_deref());
        }
        taken.is_ok()
    }
}

/// Who ordered it, for the log.
fn by(order: Option<&OperatorOrder>) -> Option<String> {
    order.map(|order| order.who.to_string())
}

fn list(ids: &[CheckId]) -> Option<String> {
    (!ids.is_empty()).then(|| check::join(ids, ","))
}

fn of_file(
    event: AuditEvent,
    zone: Option<&Name>,
    file: &Dropped,
    sha256: &Digest,
    now: Timestamp,
) -> Record {
    Record {
        zone: zone.map(Name::zone_label),
        file: Some(printable(&file.name)),
        sha256: Some(hex(sha256)),
        ..Record::new(now, event)
    }
}
