//! The metric families of the request timer.

use keystore::time::Timestamp;
use metrics::Metrics;

use super::{Closed, NoticeOutcome, TickError, TimerOutcome, TimerReport};

/// Sets the `ksr_…` families of one zone after a look; `zone` is the label (lower case, final dot). With `key_files` also those of
/// the key folder, which else the signer reports.
pub fn record(result: &Result<TimerReport, TickError>, zone: &str, key_files: bool, metrics: &Metrics) {
    let unix = |t: Option<Timestamp>| t.map_or(0, |t| i64::try_from(t.secs()).unwrap_or(i64::MAX));
    let count = |outcome| metrics.ksr_generations_total.with_label_values(&[zone, outcome]);
    // Both series exist from the first look on, so that a rate over them has a start.
    let (written, failed) = (count("written"), count("failed"));
    let report = match result {
        Ok(report) => report,
        Err(_) => return failed.inc(),
    };
    let open = report.open.as_ref();
    if report.outcome == TimerOutcome::Written {
        written.inc();
        let at = unix(open.map(|request| request.written));
        metrics.ksr_last_generated_timestamp_seconds.with_label_values(&[zone]).set(at);
    }
    // Once the request exists nothing is overdue; the answer is, and `pending since` says so.
    let due = if open.is_some() { None } else { Some(report.due) };
    metrics.ksr_due_timestamp_seconds.with_label_values(&[zone]).set(unix(due));
    metrics.ksr_pending_since_timestamp_seconds.with_label_values(&[zone]).set(unix(open.map(|r| r.written)));
    if let Some(request) = open {
        metrics.ksr_period_end_timestamp_seconds.with_label_values(&[zone]).set(unix(Some(request.end)));
    }
    for (_, why) in &report.closed {
        metrics.ksr_requests_closed_total.with_label_values(&[zone, reason(*why)]).inc();
    }
    if let Some(seen) = report.key_files.filter(|_| key_files) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        metrics.keystore_mismatched_keys.with_label_values(&[zone]).set(number(seen.mismatched));
        metrics.keystore_ksk_private_files.with_label_values(&[zone]).set(number(seen.private_ksks));
    }
}

/// A value of [`metrics::zones::CLOSE_REASONS`].
const fn reason(why: Closed) -> &'static str {
    match why {
        Closed::Answered => "answered",
        Closed::Superseded => "superseded",
        Closed::Expired => "expired",
        Closed::KeysChanged => "keys_changed",
        Closed::FromTheFuture => "clock",
    }
}

/// Sets the families of the notices of one zone.
pub fn record_notice(told: &NoticeOutcome, zone: &str, metrics: &Metrics) {
    let count = |result| metrics.ksr_notices_total.with_label_values(&[zone, result]);
    let urgency = match told {
        NoticeOutcome::Nothing => 0,
        NoticeOutcome::Before(urgency)
        | NoticeOutcome::Now(urgency, _)
        | NoticeOutcome::Waits(urgency)
        | NoticeOutcome::Failed(urgency, _) => i64::from(*urgency as u8),
    };
    metrics.ksr_urgency.with_label_values(&[zone]).set(urgency);
    let success = metrics.ksr_last_notice_success.with_label_values(&[zone]);
    match told {
        NoticeOutcome::Nothing | NoticeOutcome::Before(_) => success.set(1),
        NoticeOutcome::Now(..) => {
            count("ok").inc();
            success.set(1);
        }
        NoticeOutcome::Failed(..) => {
            count("failed").inc();
            success.set(0);
        }
        // As after the last try.
        NoticeOutcome::Waits(_) => {}
    }
}
