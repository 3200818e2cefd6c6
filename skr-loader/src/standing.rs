//! What a running loader knows and no file says, for other threads: the watch of its inbox, its deliveries, what it cannot write.
//!
//! **Invariant:** the loader's loop and its watch of the parents alone write this, and write the metrics from the same values; nobody reads a metric back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keystore::config::zone_files::{ZoneFileErrors, ZoneFiles};
use keystore::time::Timestamp;
use metrics::condition::ConditionId;
use metrics::health::gather::OwnReport;
use metrics::health::report::{
    ClockTrouble, Component, ComponentReport, InboxReport, ReportedCondition, ZoneReports,
};
use metrics::health::revision::Revision;

use crate::service::ConfigurationState;

/// What is said of a configuration that was refused.
const REFUSED: &str = "the file was refused at the last reload; `skr-loader reload` says why";

/// What is said of one that could not be read.
const UNREAD: &str = "the file cannot be read, and is tried again; `skr-loader reload` says why";

/// Shared by the loader and whoever asks. Clones see the same values.
#[derive(Debug, Clone, Default)]
pub struct LoaderStatus {
    values: Arc<Mutex<Values>>,
    revision: Revision,
}

#[derive(Debug, Default)]
struct Values {
    configuration: ConfigurationState,
    /// What is wrong with files of `zones-directory`.
    zone_files: Option<String>,
    /// See [`ComponentReport::zones_left_out`].
    zones_left_out: bool,
    loop_state: LoopState,
    /// What is wrong at the parents of zones, by the label of the zone.
    conditions: BTreeMap<(String, ConditionId), ReportedCondition>,
}

/// How the loader's loop stands after a step.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoopState {
    /// When the loop began.
    pub started: Option<Timestamp>,
    /// The inbox.
    pub inbox: Option<InboxReport>,
    /// Why the audit log could not be written.
    pub audit_error: Option<String>,
    /// The clock stands before the last lines of the audit log.
    pub clock_is_behind: bool,
    /// Since when; kept by [`LoaderStatus::set_loop`].
    pub clock_since: Option<Timestamp>,
    /// What is to be said of zones, by their label.
    pub zones: Arc<ZoneReports>,
}

impl LoopState {
    /// True when nothing differs that somebody may have to act on.
    fn says_the_same(&self, new: &Self) -> bool {
        let watch = |state: &Self| {
            let inbox = state.inbox.as_ref();
            inbox.map(|inbox| InboxReport { last_scan: None, ..inbox.clone() })
        };
        (&self.audit_error, self.clock_is_behind) == (&new.audit_error, new.clock_is_behind)
            && Arc::ptr_eq(&self.zones, &new.zones)
            && watch(self) == watch(new)
    }
}

impl LoaderStatus {
    /// The report of this loader at `now`.
    #[must_use]
    pub fn report(&self, now: Timestamp) -> OwnReport {
        let values = self.values();
        let state = values.loop_state.clone();
        let clock = state.clock_since.filter(|_| state.clock_is_behind).map(|since| ClockTrouble {
            what: "The clock stands before the last lines of the audit log; nothing is imported until it is set, or has kept its time for an hour".to_owned(),
            waits: true,
            since,
        });
        let report = ComponentReport {
            configuration_error: match values.configuration {
                ConfigurationState::Taken => values.zone_files.clone(),
                ConfigurationState::Refused => Some(REFUSED.to_owned()),
                ConfigurationState::Unread => values.zone_files.clone().or_else(|| Some(UNREAD.to_owned())),
            },
            zones_left_out: values.zones_left_out,
            clock,
            inbox: state.inbox,
            audit_error: state.audit_error,
            conditions: values.conditions.values().cloned().collect(),
            ..ComponentReport::new(Component::SkrLoader, state.started.unwrap_or(now), now)
        };
        OwnReport { report, zones: state.zones }
    }

    /// Changes with what is reported.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision.clone()
    }

    /// A condition of the zone with this label holds as given, or no more.
    pub(crate) fn set_condition(&self, zone: &str, id: ConditionId, condition: Option<ReportedCondition>) {
        let mut values = self.values();
        let key = (zone.to_owned(), id);
        let before = match condition.clone() {
            Some(condition) => values.conditions.insert(key, condition),
            None => values.conditions.remove(&key),
        };
        if before != condition {
            self.revision.change();
        }
    }

    /// No condition of the zone with this label holds any more.
    pub(crate) fn clear_conditions(&self, zone: &str) {
        let mut values = self.values();
        let before = values.conditions.len();
        values.conditions.retain(|(of, _), _| of != zone);
        if values.conditions.len() != before {
            self.revision.change();
        }
    }

    pub(crate) fn set_configuration(&self, state: ConfigurationState) {
        self.values().configuration = state;
        self.revision.change();
    }

    pub(crate) fn set_zone_files(&self, files: &ZoneFiles) {
        let mut values = self.values();
        values.zone_files =
            files.errors.as_ref().and_then(ZoneFileErrors::of_files).map(|text| text.replace('\n', "; "));
        values.zones_left_out = !files.left_out.is_empty();
    }

    pub(crate) fn set_loop(&self, state: LoopState, now: Timestamp) {
        let mut values = self.values();
        let since =
            values.loop_state.clock_since.filter(|_| values.loop_state.clock_is_behind).unwrap_or(now);
        let new = LoopState { clock_since: state.clock_is_behind.then_some(since), ..state };
        if !values.loop_state.says_the_same(&new) {
            self.revision.change();
        }
        values.loop_state = new;
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
