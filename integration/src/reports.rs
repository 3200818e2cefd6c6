//! What the parts of this process report of themselves, in the form of the health.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keystore::config::Config;
use keystore::time::Timestamp;
use ksr_gen::daemon::{NoticeOutcome, TickError, TimerReport};
use metrics::health::gather::OwnReport;
use metrics::health::report::{
    ClockTrouble, Component, ComponentReport, SecondaryReport, ServedReport, SignerWork, TimerLook,
    ZoneReport, ZoneReports,
};
use metrics::health::revision::Revision;
use signer_plugin::runtime::{ServedState, Signer, ZoneWork};
use signer_plugin::transfer::SecondaryStanding;

/// What the request timer found at its last look at each zone. Clones see the same values.
#[derive(Debug, Clone, Default)]
pub struct TimerStanding {
    values: Arc<Mutex<TimerValues>>,
    revision: Revision,
}

#[derive(Debug, Default)]
struct TimerValues {
    started: Option<Timestamp>,
    configuration_error: Option<String>,
    zones: Arc<ZoneReports>,
}

impl TimerStanding {
    /// Changes with what is reported.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision.clone()
    }

    /// The timer works from now on.
    pub fn start(&self, now: Timestamp) {
        let mut values = self.values();
        if values.started.is_none() {
            values.started = Some(now);
            self.revision.change();
        }
    }

    /// The timer is turned off: it has nothing to report.
    pub fn stop(&self) {
        if std::mem::take(&mut *self.values()).started.is_some() {
            self.revision.change();
        }
    }

    /// Forgets all zones but those of this configuration.
    pub fn keep(&self, config: &Config) {
        let mut values = self.values();
        let mut left = ZoneReports::new();
        for zone in &config.zones {
            let label = zone.name.to_lowercase().to_string();
            left.extend(values.zones.get(&label).map(|report| (label, report.clone())));
        }
        if left.len() != values.zones.len() {
            values.zones = Arc::new(left);
            self.revision.change();
        }
    }

    /// Notes why the newest configuration is not in use; `None` = it is.
    pub fn set_configuration_error(&self, error: Option<String>) {
        self.values().configuration_error = error;
        self.revision.change();
    }

    /// Notes a look at a zone.
    pub fn note(&self, label: &str, result: &Result<TimerReport, TickError>, told: Option<&NoticeOutcome>) {
        let mut values = self.values();
        let known = values.zones.get(label).and_then(|zone| zone.timer.clone());
        let before = known.clone().unwrap_or_default();
        let notice_error = match told {
            Some(NoticeOutcome::Failed(_, error)) => Some(error.to_string()),
            // As after the last try.
            Some(NoticeOutcome::Waits(_)) | None => before.notice_error,
            Some(NoticeOutcome::Nothing | NoticeOutcome::Before(_) | NoticeOutcome::Now(..)) => None,
        };
        let look = match result {
            Ok(report) => {
                TimerLook { due: report.open.is_none().then_some(report.due), error: None, notice_error }
            }
            Err(error) => TimerLook { due: before.due, error: Some(error.to_string()), notice_error },
        };
        let errors = |look: &TimerLook| (look.error.clone(), look.notice_error.clone());
        if known.as_ref().map(errors) != Some(errors(&look)) {
            self.revision.change();
        }
        // Most looks find what the one before has found, and whoever has the reports shares them then.
        if known.as_ref() != Some(&look) {
            let report = ZoneReport { timer: Some(look), ..ZoneReport::default() };
            Arc::make_mut(&mut values.zones).insert(label.to_owned(), report);
        }
    }

    /// The report of the timer; `None` = it is turned off.
    #[must_use]
    pub fn report(&self, now: Timestamp) -> Option<OwnReport> {
        let values = self.values();
        let report = ComponentReport {
            configuration_error: values.configuration_error.clone(),
            ..ComponentReport::new(Component::Requests, values.started?, now)
        };
        Some(OwnReport { report, zones: Arc::clone(&values.zones) })
    }

    fn values(&self) -> MutexGuard<'_, TimerValues> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The report of the signer.
#[must_use]
pub fn of_signer(signer: &Signer, started: Timestamp, now: Timestamp) -> OwnReport {
    let zone = |(name, state): (keystore::dns::Name, ServedState)| {
        let ServedState {
            loaded, file_error, validly_signed, why_not, generation, serial, secondaries, ..
        } = state;
        let served = ServedReport {
            loaded,
            file_error,
            validly_signed,
            why_not: why_not.map(str::to_owned),
            generation,
            serial,
            zsk_expires: state.zsk_expires,
            refresh_seconds: state.refresh.into(),
            key_errors: state.key_errors,
            conditions: state.conditions,
            work: state.work.map(|work| match work {
                ZoneWork::ReadingFile => SignerWork::ReadingZoneFile,
                ZoneWork::Signing { percent } => SignerWork::Signing(percent),
            }),
        };
        let secondary = |(address, standing): (SocketAddr, SecondaryStanding)| SecondaryReport {
            address: address.to_string(),
            serial: standing.serial,
            behind_since: standing.behind_since,
            cause: standing.error,
        };
        let secondaries = secondaries.into_iter().map(secondary).collect();
        let report = ZoneReport { served: Some(served), secondaries, ..ZoneReport::default() };
        (name.to_lowercase().to_string(), report)
    };
    OwnReport {
        report: ComponentReport {
            queries: Some(signer.files_of_queries()),
            ..ComponentReport::new(Component::Signer, started, now)
        },
        zones: Arc::new(signer.states().into_iter().map(zone).collect()),
    }
}

/// The last jump of the clock; clones see the same.
#[derive(Debug, Clone, Default)]
pub struct ClockJump {
    last: Arc<Mutex<Option<ClockTrouble>>>,
    revision: Revision,
}

impl ClockJump {
    /// Notes a jump.
    pub fn note(&self, direction: &str, seconds: u64, now: Timestamp) {
        let what = format!("The clock jumped {direction} by {seconds} seconds");
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(ClockTrouble { what, waits: false, since: now });
        self.revision.change();
    }

    /// Changes with each jump.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision.clone()
    }

    /// Puts the last jump into the first of the reports that says nothing of the clock.
    #[must_use]
    pub fn told(&self, mut reports: Vec<OwnReport>) -> Vec<OwnReport> {
        let jump = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(own) = reports.iter_mut().find(|own| own.report.clock.is_none()) {
            own.report.clock = jump;
        }
        reports
    }
}
