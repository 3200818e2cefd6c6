//! What the loader tells through [`Metrics`].

use keystore::check::CheckId;
use keystore::config::LoaderConfig;
use keystore::exchange::SkrFinding;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::zones::{BUNDLE_STATES, SEVERITIES};

use crate::audit::{AuditEvent, Record};
use crate::checks;
use crate::service::ConfigurationState;
use crate::store::InForce;
use keystore::exchange::Coverage;

fn unix(time: Timestamp) -> i64 {
    i64::try_from(time.secs()).unwrap_or(i64::MAX)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Makes the series that do not belong to a zone.
pub fn start(metrics: &Metrics) {
    metrics.add_process();
    // A loader that has started has read its configuration.
    metrics.config_last_reload_successful.set(1);
    for check in checks::all() {
        metrics.skr_rejections_total.touch(&[check.id]);
    }
}

/// The thresholds of the alerts.
pub fn thresholds(metrics: &Metrics, zone: &str, config: &LoaderConfig) {
    let values = [config.coverage_info, config.coverage_warning, config.coverage_critical];
    for (severity, value) in SEVERITIES.into_iter().zip(values) {
        let gauge = metrics.policy_skr_coverage_threshold_seconds.with_label_values(&[zone, severity]);
        gauge.set(value.into());
    }
}

/// What is in force for a zone, seen from `now`.
pub fn zone(metrics: &Metrics, zone: &str, in_force: Option<&InForce>, now: Timestamp) {
    let coverage = in_force.and_then(|f| Coverage::at(&f.bundles, now));
    let time = |pick: fn(&Coverage) -> Option<Timestamp>| coverage.as_ref().and_then(pick).map_or(0, unix);
    let generation = in_force.map_or(0, |f: &InForce| i64::try_from(f.generation).unwrap_or(i64::MAX));
    for (gauge, value) in [
        (&metrics.skr_coverage_start_timestamp_seconds, time(|c| Some(c.start))),
        (&metrics.skr_coverage_end_timestamp_seconds, time(|c| Some(c.end))),
        (&metrics.skr_schedule_end_timestamp_seconds, time(|c| Some(c.schedule_end))),
        (&metrics.skr_active_bundle_inception_timestamp_seconds, time(|c| c.active.map(|a| a.0))),
        (&metrics.skr_active_bundle_expiration_timestamp_seconds, time(|c| c.active.map(|a| a.1))),
        (&metrics.skr_next_bundle_timestamp_seconds, time(|c| c.next)),
        (&metrics.skr_gap_seconds, coverage.map_or(0, |c| i64::try_from(c.longest_gap).unwrap_or(i64::MAX))),
        (&metrics.skr_generation, generation),
    ] {
        gauge.with_label_values(&[zone]).set(value);
    }
    let counts = coverage.map_or([0; 3], |c| [c.past, usize::from(c.active.is_some()), c.future]);
    for (state, number) in BUNDLE_STATES.into_iter().zip(counts) {
        metrics.skr_bundles.with_label_values(&[zone, state]).set(count(number));
    }
}

/// The first time after `now` at which [`zone`] says something else of what is in force: a bundle begins or ends.
pub fn next_change(in_force: Option<&InForce>, now: Timestamp) -> Timestamp {
    let bundles = in_force.map_or(&[][..], |in_force| &in_force.bundles);
    let times = bundles
        .iter()
        .flat_map(|bundle| [bundle.inception, bundle.expiration(), bundle.expiration().plus(1)]);
    times.filter(|time| *time > now).min().unwrap_or(Timestamp::MAX)
}

/// How an import of a known zone ended: `accepted`, `rejected` or `unchanged`.
pub fn import(metrics: &Metrics, zone: &str, result: &str, now: Timestamp) {
    metrics.skr_imports_total.with_label_values(&[zone, result]).inc();
    metrics.skr_last_import_timestamp_seconds.with_label_values(&[zone, result]).set(unix(now));
    metrics.skr_last_import_success.with_label_values(&[zone]).set((result != "rejected").into());
}

/// How the last import before this process fared, as the audit log has it; `None` = there was none.
pub fn last_import(metrics: &Metrics, zone: &str, last: Option<&Record>) {
    let rejected = last.is_some_and(|record| record.event == AuditEvent::Rejected);
    metrics.skr_last_import_success.with_label_values(&[zone]).set((!rejected).into());
}

/// A good SKR could not be stored.
pub fn failure(metrics: &Metrics, zone: &str) {
    metrics.skr_last_import_success.with_label_values(&[zone]).set(0);
    metrics.skr_rejections_total.with_label_values(&[CheckId::SkrIo]).inc();
}

/// The configuration was read again, or not.
pub fn reload(metrics: &Metrics, state: ConfigurationState, now: Timestamp) {
    let taken = state == ConfigurationState::Taken;
    metrics.config_last_reload_successful.set(taken.into());
    if taken {
        metrics.config_last_reload_success_timestamp_seconds.set(unix(now));
    }
}

/// A file was rejected; its zone may be unknown.
pub fn rejection(metrics: &Metrics, findings: &[SkrFinding]) {
    for id in checks::rejecting(findings) {
        metrics.skr_rejections_total.with_label_values(&[id]).inc();
    }
}

/// What became of a file in the inbox: `imported`, `ignored`, `unsafe` or `unstable`.
pub fn file(metrics: &Metrics, outcome: &str) {
    metrics.watch_files_total.with_label_values(&[outcome]).inc();
}

/// How many rejected files are kept, and were removed.
pub fn pruned(metrics: &Metrics, pruned: &crate::rejected::PrunedFiles) {
    metrics.rejected_files.set(count(pruned.kept));
    metrics.rejected_removed_total.inc_by(pruned.removed.len() as u64);
}

/// How many files of the inbox are not judged yet.
pub fn waiting(metrics: &Metrics, files: usize) {
    metrics.watch_waiting_files.set(count(files));
}

/// How the watch stands.
pub fn watch(metrics: &Metrics, polled: &crate::inbox::Polled, now: Timestamp) {
    metrics.watch_up.set(polled.watched.into());
    if polled.scanned {
        metrics.watch_last_scan_timestamp_seconds.set(unix(now));
    }
    if polled.overflowed {
        metrics.watch_overflows_total.inc();
    }
}
