//! What the loader writes to the audit log, and what it reads there at its start.
//!
//! What is in force counts more than the log of it: a log that cannot be opened, read or written is told of and tried again, and keeps nothing
//! from its way but what a person orders (see [`crate::order`]).

use std::io;

use keystore::time::Timestamp;

use super::Loader;
use crate::audit::{self, Record};
use crate::inbox::Dropped;
use crate::{report, watching};

impl Loader {
    /// Looks once a second whether a line could be written, where that failed before or another file has the name of the log: so that a log
    /// that cannot be written is told of before there is a line to write, and that it can again as soon as that is so.
    pub(super) fn retry_audit_log(&mut self, now: Timestamp) {
        let is_due = self.audit_tried.replace(now) != Some(now);
        if is_due && !(self.audit_is_read && self.audit_error.is_none() && self.audit.is_ready()) {
            self.read_audit_log();
            let ready = self.audit.make_room();
            if self.audit_is_read || ready.is_err() {
                self.tell_audit(ready);
            }
        }
    }

    /// Reads what earlier runs have written at the end of the log, where that was not possible before: the time that the clock must not be
    /// before, and how the last file of each zone fared.
    pub(super) fn read_audit_log(&mut self) {
        if self.audit_is_read {
            return;
        }
        let records = match audit::tail(&self.config.state_dir.join(audit::LOG)) {
            Ok(records) => records,
            // What is not there, or is no log of ours, will say nothing later either.
            Err(error) if !is_passing(&error) => Vec::new(),
            Err(error) => {
                self.tell_audit(Err(error));
                return;
            }
        };
        self.audit_is_read = true;
        self.clock.learn(&records);
        self.audit_tail = watching::last_outcomes(records);
        for zone in self.zones.values() {
            report::last_import(&self.metrics, &zone.label, self.audit_tail.get(&zone.label));
        }
    }

    /// Opens the log where it is not open.
    pub(super) fn open_audit_log(&mut self) {
        if !self.audit.is_ready() {
            let opened = self.audit.make_ready();
            self.tell_audit(opened);
        }
    }

    /// Writes a line, and waits until it is on disk.
    pub(super) fn record(&mut self, record: Record) {
        let result = self.audit.append(record);
        self.tell_audit(result);
    }

    /// How a file fared. The lines of the parts of one file are synced together before the next parts are judged.
    pub(super) fn record_outcome(&mut self, record: Record, file: &Dropped) {
        if file.is_part() { self.record_unsynced(record) } else { self.record(record) }
    }

    /// The same for many lines, which [`Loader::clear`] makes sure of.
    pub(super) fn record_unsynced(&mut self, record: Record) {
        let result = self.audit.append_unsynced(record);
        self.tell_audit(result);
    }

    /// Keeps how the log stands for the status; told when that changes.
    pub(super) fn tell_audit(&mut self, result: io::Result<()>) {
        let error = result.err().map(|error| error.to_string());
        match (&error, &self.audit_error) {
            (Some(new), old) if old.as_ref() != Some(new) => {
                tracing::error!(error = new, "the audit log cannot be written or read; it is tried again");
            }
            (None, Some(_)) => tracing::info!("the audit log is written again"),
            _ => {}
        }
        self.audit_error = error;
    }
}

/// True for an error of the system that says nothing about the file. A file that is not there, is another user's, or is no file, stays so.
fn is_passing(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
    )
}
