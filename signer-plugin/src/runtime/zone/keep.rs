//! The version that is served and its copy on disk: written down before it is served, served again after a restart.

use std::sync::Arc;

use keystore::time::Timestamp;

use super::{ConditionId, Facts, Made, MakeError, Retry, ZoneRuntime};
use crate::signing::SignedZone;
use crate::state::{Loaded, StateError};

/// Whether the version on disk is still to be read.
#[derive(Debug, Default)]
pub(super) enum Restoring {
    /// It was not tried yet.
    #[default]
    Pending,
    /// It could not be read and is tried again, as long as nothing else was made.
    Waits(Retry),
    /// It was read, or there was none that can be used.
    Done,
}

impl Restoring {
    /// Time of the next try.
    pub const fn next_try(&self) -> Option<Timestamp> {
        match self {
            Self::Waits(retry) => retry.at(),
            Self::Pending | Self::Done => None,
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        match self {
            Self::Pending => true,
            Self::Waits(retry) => retry.is_due(now),
            Self::Done => false,
        }
    }
}

impl ZoneRuntime {
    /// Serves the version that was served last, from disk, unless that was tried already; true when there is one. It needs neither the
    /// zone file nor an SKR nor a private key.
    pub(in crate::runtime) fn restore(&mut self, now: Timestamp) -> bool {
        if !self.restoring.is_due(now) {
            return false;
        }
        self.open_serial(now);
        let loaded = self.state.load(self.setup.times.refresh, now);
        let result = if loaded.is_ok() { "ok" } else { "failed" };
        if !matches!(loaded, Ok(None)) {
            self.metrics.zone_restores_total.with_label_values(&[&self.label, result]).inc();
        }
        let mut cause = None;
        let mut before = std::mem::replace(&mut self.restoring, Restoring::Done);
        let restored = match loaded {
            Ok(Some(loaded)) => self.take_restored(loaded, now),
            Ok(None) => false,
            Err(error @ StateError::Io { .. }) => {
                cause = Some(error.to_string());
                let mut retry = match &mut before {
                    Restoring::Waits(retry) => std::mem::take(retry),
                    Restoring::Pending | Restoring::Done => Retry::default(),
                };
                retry.failed(now);
                self.restoring = Restoring::Waits(retry);
                false
            }
            Err(error @ StateError::Damaged { .. }) => {
                self.set_damaged_aside(&error, now);
                false
            }
        };
        self.set_condition(ConditionId::StateUnreadable, cause, now);
        restored
    }

    fn take_restored(&mut self, Loaded { signed, facts }: Loaded, now: Timestamp) -> bool {
        let serial = signed.serial();
        let served = self.served.signed().map(|signed| signed.serial());
        if served.is_some_and(|served| served != serial)
            || self.serial.as_ref().is_some_and(|file| file.is_behind(serial))
        {
            tracing::warn!(
                zone = %self.setup.name, serial,
                "the version on disk is older than what was served last; it is not served, and its signatures are used"
            );
            self.unserved = Some(signed);
            return false;
        }
        let age = now.since(facts.made_at);
        tracing::info!(
            zone = %self.setup.name, serial, names = signed.zone().name_count(), age,
            "the version that was served last is served from disk"
        );
        if let Some(file) = &mut self.serial {
            file.note(serial);
        }
        if served.is_none() {
            self.served.publish(Arc::clone(&signed));
        }
        self.made = Some(Made::new(signed, facts, Vec::new(), Vec::new()));
        true
    }

    fn set_damaged_aside(&mut self, error: &StateError, now: Timestamp) {
        let consequence = "the zone is signed anew from its file, with a later serial";
        match self.state.set_aside(now) {
            Ok(folder) => tracing::error!(
                zone = %self.setup.name, %error, folder = %folder.display(),
                "the version on disk is damaged; its files were moved to the folder, and {consequence}"
            ),
            Err(failed) => tracing::error!(
                zone = %self.setup.name, %error, cannot_move = %failed,
                "the version on disk is damaged; {consequence}, and overwrites it"
            ),
        }
    }

    /// Writes a version down before it is served. Where that fails, new content waits. What is served goes on to be signed anew, and a
    /// zone of which nothing is served is served nevertheless: that signatures expire, or that the zone is dark, would be worse than a
    /// restart that serves the version before.
    pub(super) fn keep(
        &mut self,
        signed: &Arc<SignedZone>,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<(), MakeError> {
        let written = self.state.save(signed, facts);
        self.note_state_written(written.as_ref().err().map(ToString::to_string), now);
        let Err(error) = written else { return Ok(()) };
        match self.served.signed() {
            Some(served) if !Arc::ptr_eq(served.zone(), signed.zone()) => {
                Err(MakeError::StateNotWritten(error))
            }
            _ => Ok(()),
        }
    }

    /// Serves a version that was kept, as far as that was possible.
    pub(super) fn publish(&mut self, made: Made, now: Timestamp) {
        let serial = made.signed.serial();
        self.served.publish(Arc::clone(&made.signed));
        self.made = Some(made);
        self.unserved = None;
        self.gate.clear();
        self.restoring = Restoring::Done;
        self.set_condition(ConditionId::StateUnreadable, None, now);
        let is_kept = self.state_retry.at().is_none();
        let Some(file) = &mut self.serial else { return };
        if is_kept && file.next_try().is_none() {
            // The version has its serial; the file only has to be ahead of it.
            file.note(serial);
            self.set_condition(ConditionId::SerialNotWritten, None, now);
        } else {
            let written = file.served(serial, now);
            self.note_serial_written(written, now);
        }
    }

    /// Writes the version that is served down when that failed and is due again.
    pub(super) fn keep_again(&mut self, now: Timestamp) {
        if !self.state_retry.is_due(now) {
            return;
        }
        let Some(made) = &self.made else { return self.state_retry.settled() };
        let written = self.state.save(&made.signed, &made.facts);
        self.note_state_written(written.err().map(|error| error.to_string()), now);
    }

    fn note_state_written(&mut self, cause: Option<String>, now: Timestamp) {
        match &cause {
            Some(_) => self.state_retry.failed(now),
            None => self.state_retry.settled(),
        }
        self.set_condition(ConditionId::StateNotWritten, cause, now);
    }
}
