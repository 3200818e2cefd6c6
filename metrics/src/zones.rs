//! The series of a zone: all made with 0 when it is configured, all removed when it leaves.
//!
//! `increase()` misses the step from nothing to 1, and a missing series fires no alert; so each series whose labels come
//! from a closed set exists from the start.

use crate::Metrics;
use crate::queries::{CONNECTION_LIMITS, DroppedDatagram, LIMIT_ACTIONS, RefusedQuery};
use crate::values::{CounterFamily, GaugeFamily};

/// Severities of the coverage thresholds.
pub const SEVERITIES: [&str; 3] = ["info", "warning", "critical"];
/// States of a bundle.
pub const BUNDLE_STATES: [&str; 3] = ["past", "active", "future"];
/// Results of an import.
pub const IMPORT_RESULTS: [&str; 3] = ["accepted", "rejected", "unchanged"];
/// Results of writing a request.
pub const KSR_RESULTS: [&str; 2] = ["written", "failed"];
/// Reasons for which a request needs no answer any more.
pub const CLOSE_REASONS: [&str; 5] = ["answered", "superseded", "expired", "keys_changed", "clock"];
/// Roles of a key.
pub const ROLES: [&str; 2] = ["ksk", "zsk"];
/// States of a key by its times.
pub const KEY_STATES: [&str; 5] = ["future", "published", "active", "retired", "removed"];
/// Modes of a signing run.
pub const SIGN_MODES: [&str; 2] = ["full", "incremental"];
/// Results of a signing run or a self check.
pub const RESULTS: [&str; 2] = ["ok", "failed"];
/// Kinds of an answer.
pub const ANSWER_KINDS: [&str; 5] = ["positive", "nodata", "nxdomain", "referral", "error"];
/// Kinds of a transfer to a secondary.
pub const TRANSFER_KINDS: [&str; 2] = ["axfr", "ixfr"];
/// What became of an update that was answered.
pub const UPDATE_RESULTS: [&str; 4] = ["ok", "prerequisite", "refused", "failed"];
/// Reasons for which a transfer is refused.
pub const TRANSFER_REFUSALS: [&str; 3] = ["access", "tsig", "limit"];
/// What became of a NOTIFY(CDS) to the parent.
pub const PARENT_RESULTS: [&str; 3] = ["taken", "refused", "failed"];
/// What happens to the DS record of a KSK.
pub const DS_EVENTS: [&str; 3] = ["ds-ready", "ds-seen", "ds-gone"];
/// Outcomes of a file in the inbox.
pub const WATCH_OUTCOMES: [&str; 4] = ["imported", "ignored", "unsafe", "unstable"];
/// What became of an address that the outside probe asked.
pub const PROBE_SERVER_STATES: [&str; 2] = ["ok", "silent"];
/// Directions of a clock jump.
pub const DIRECTIONS: [&str; 2] = ["back", "forward"];

/// Which part of the toolchain reports a series. A process makes only those of the parts that run in it, so that no alert fires
/// for a part that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportingPart {
    /// `skr-loader`: the accepted SKR and its imports.
    Loader,
    /// The request timer.
    Requests,
    /// The look at the key files, by the request timer where no signer does it.
    KeyFiles,
    /// `signer-plugin`: content, versions, answers and transfers of a zone.
    Signer,
    /// `signer-plugin`: keys and signing of a zone that is signed there.
    Signing,
    /// `signer-plugin`: the signatures of a presigned zone.
    Presigned,
    /// The outside probe.
    Probe,
}

impl Metrics {
    /// Makes every series of `zone` (absolute, lower case, final dot) and `part` that does not exist yet, with 0.
    pub fn add_zone(&self, zone: &str, part: ReportingPart) {
        self.zone_series(zone, part, |family, labels| family.touch(labels));
        if part == ReportingPart::Loader {
            // No import was rejected yet: 0 here would say the newest one was.
            self.skr_last_import_success.with_label_values(&[zone]).set(1);
        }
        if part == ReportingPart::Requests {
            self.ksr_last_notice_success.with_label_values(&[zone]).set(1);
        }
        if part == ReportingPart::Signer {
            self.zone_last_load_success.with_label_values(&[zone]).set(1);
        }
    }

    /// Removes every series of `zone` and `part`, except those of single keys, whose labels only their owner knows.
    pub fn remove_zone(&self, zone: &str, part: ReportingPart) {
        self.zone_series(zone, part, |family, labels| family.remove(labels));
        if part == ReportingPart::Signer {
            self.incoming_series(zone, |family, labels| family.remove(labels));
        }
    }

    /// Makes every series of a zone that comes from primaries, with 0.
    pub fn add_incoming(&self, zone: &str) {
        self.incoming_series(zone, |family, labels| family.touch(labels));
    }

    fn incoming_series(&self, zone: &str, mut visit: impl FnMut(&dyn Family, &[&str])) {
        visit(&self.primary_serial, &[zone]);
        visit(&self.zone_expires_timestamp_seconds, &[zone]);
        for result in RESULTS {
            for kind in TRANSFER_KINDS {
                visit(&self.incoming_transfers_total, &[zone, kind, result]);
            }
        }
    }

    /// Makes every series of a zone at a target of the delivery, with 0.
    pub fn add_delivery(&self, zone: &str, target: &str) {
        self.delivery_series(zone, target, |family, labels| family.touch(labels));
        self.delivery_server_up.touch(&[target]);
    }

    /// Removes every series of a zone at a target.
    pub fn remove_delivery(&self, zone: &str, target: &str) {
        self.delivery_series(zone, target, |family, labels| family.remove(labels));
    }

    /// Removes the series of a target that belong to no zone.
    pub fn remove_delivery_target(&self, target: &str) {
        self.delivery_server_up.remove(&[target]);
    }

    /// Makes every series of a zone whose parent is told of new CDS records, with 0.
    pub fn add_parent(&self, zone: &str) {
        self.parent_series(zone, |family, labels| family.touch(labels));
    }

    /// Removes them.
    pub fn remove_parent(&self, zone: &str) {
        self.parent_series(zone, |family, labels| family.remove(labels));
    }

    fn parent_series(&self, zone: &str, mut visit: impl FnMut(&dyn Family, &[&str])) {
        for result in PARENT_RESULTS {
            visit(&self.parent_notifies_total, &[zone, result]);
        }
        visit(&self.parent_notify_pending, &[zone]);
        for event in DS_EVENTS {
            for result in RESULTS {
                visit(&self.parent_hooks_total, &[zone, event, result]);
            }
        }
    }

    fn delivery_series(&self, zone: &str, target: &str, mut visit: impl FnMut(&dyn Family, &[&str])) {
        for result in RESULTS {
            visit(&self.skr_deliveries_total, &[zone, target, result]);
        }
        visit(&self.skr_delivery_refreshes_total, &[zone, target]);
        visit(&self.skr_delivered_generation, &[zone, target]);
        visit(&self.skr_delivery_current, &[zone, target]);
        visit(&self.skr_delivery_last_proof_timestamp_seconds, &[zone, target]);
    }

    fn zone_series(&self, zone: &str, part: ReportingPart, visit: impl FnMut(&dyn Family, &[&str])) {
        match part {
            ReportingPart::Loader => self.loader_series(zone, visit),
            ReportingPart::Requests => self.request_series(zone, visit),
            ReportingPart::KeyFiles => self.key_file_series(zone, visit),
            ReportingPart::Signer => self.signer_series(zone, visit),
            ReportingPart::Signing => self.signing_series(zone, visit),
            ReportingPart::Presigned => self.presigned_series(zone, visit),
            ReportingPart::Probe => self.probe_series(zone, visit),
        }
    }

    fn loader_series(&self, zone: &str, mut visit: impl FnMut(&dyn Family, &[&str])) {
        for gauge in [
            &self.skr_coverage_start_timestamp_seconds,
            &self.skr_coverage_end_timestamp_seconds,
            &self.skr_schedule_end_timestamp_seconds,
            &self.skr_gap_seconds,
            &self.skr_active_bundle_inception_timestamp_seconds,
            &self.skr_active_bundle_expiration_timestamp_seconds,
            &self.skr_next_bundle_timestamp_seconds,
            &self.skr_generation,
            &self.skr_last_import_success,
        ] {
            visit(gauge, &[zone]);
        }
        for severity in SEVERITIES {
            visit(&self.policy_skr_coverage_threshold_seconds, &[zone, severity]);
        }
        for state in BUNDLE_STATES {
            visit(&self.skr_bundles, &[zone, state]);
        }
        for result in IMPORT_RESULTS {
            visit(&self.skr_imports_total, &[zone, result]);
            visit(&self.skr_last_import_timestamp_seconds, &[zone, result]);
        }
    }

    fn request_series(&self, zone: &str, mut visit: impl FnMut(&dyn Family, &[&str])) {
        for gauge in [
            &self.ksr_last_generated_timestamp_seconds,
            &self.ksr_due_timestamp_seconds,
            &self.ksr_period_end_timestamp_seconds,
            &self.ksr_pending_since_timestamp_seconds,
            &self.ksr_urgency,
            &self.ksr_last_notice_success,
        ] {
            visit(gauge, &[zone]);
        }
        for reason in CLOSE_REASONS {
            visit(&self.ksr_requests_closed_total, &[zone, reason]);
        }
        for result in RESULTS {
            visit(&self.ksr_notices_total, &[zone, result]);
        }
        for result in KSR_RESULTS {
            visit(&self.ksr_generations_total, &[zone, result]);
        }
    }

    fn key_file_series(&self, zone: &str, mut visit: impl FnMut(&dyn Family, &[&str])) {
        for gauge in [&self.keystore_mismatched_keys, &self.keystore_ksk_private_files] {
            visit(gauge, &[zone]);
        }
    }

    fn signing_series(&self, zone: &str, mut visit: impl FnMut(&dyn Family, &[&str])) {
        self.key_file_series(zone, &mut visit);
        for gauge in [
            &self.policy_signature_refresh_seconds,
            &self.signer_skr_generation,
            &self.keystore_missing_private_keys,
            &self.keystore_last_check_timestamp_seconds,
            &self.zone_signed,
            &self.zone_last_signed_timestamp_seconds,
            &self.resign_next_timestamp_seconds,
        ] {
            visit(gauge, &[zone]);
        }
        for role in ROLES {
            visit(&self.zone_rrsig_earliest_expiration_timestamp_seconds, &[zone, role]);
            for state in KEY_STATES {
                visit(&self.keys, &[zone, role, state]);
            }
        }
        for result in RESULTS {
            visit(&self.zone_self_checks_total, &[zone, result]);
            for mode in SIGN_MODES {
                visit(&self.zone_sign_runs_total, &[zone, mode, result]);
            }
        }
    }

    fn presigned_series(&self, zone: &str, mut visit: impl FnMut(&dyn Family, &[&str])) {
        for gauge in [&self.policy_signature_refresh_seconds, &self.zone_signed] {
            visit(gauge, &[zone]);
        }
        // By whichever key: signatures of KSKs and ZSKs are not told apart.
        visit(&self.zone_rrsig_earliest_expiration_timestamp_seconds, &[zone, "zsk"]);
        for result in RESULTS {
            visit(&self.zone_self_checks_total, &[zone, result]);
        }
    }

    fn signer_series(&self, zone: &str, mut visit: impl FnMut(&dyn Family, &[&str])) {
        for gauge in [
            &self.zone_serial,
            &self.zone_last_load_success,
            &self.zone_largest_ttl_seconds,
            &self.zone_content_held,
            &self.zone_records,
        ] {
            visit(gauge, &[zone]);
        }
        for result in RESULTS {
            visit(&self.zone_restores_total, &[zone, result]);
            visit(&self.zone_loads_total, &[zone, result]);
            visit(&self.notifies_total, &[zone, result]);
            for kind in TRANSFER_KINDS {
                visit(&self.transfers_total, &[zone, kind, result]);
            }
        }
        for result in UPDATE_RESULTS {
            visit(&self.updates_total, &[zone, result]);
        }
        for reason in TRANSFER_REFUSALS {
            visit(&self.transfers_refused_total, &[zone, reason]);
        }
        for kind in ANSWER_KINDS {
            for dnssec in ["yes", "no"] {
                visit(&self.answers_total, &[zone, kind, dnssec]);
            }
        }
    }

    fn probe_series(&self, zone: &str, mut visit: impl FnMut(&dyn Family, &[&str])) {
        visit(&self.probe_last_round_timestamp_seconds, &[zone]);
        visit(&self.probe_rrsig_earliest_expiration_timestamp_seconds, &[zone]);
        for state in PROBE_SERVER_STATES {
            visit(&self.probe_servers, &[zone, state]);
        }
    }

    /// Makes the series that belong to no zone, with 0.
    pub fn add_process(&self) {
        for outcome in WATCH_OUTCOMES {
            self.watch_files_total.touch(&[outcome]);
        }
        for action in LIMIT_ACTIONS {
            self.answers_limited_total.touch(&[action]);
        }
        for reason in RefusedQuery::ALL {
            self.queries_refused_total.touch(&[reason.label()]);
        }
        for reason in DroppedDatagram::ALL {
            self.udp_datagrams_dropped_total.touch(&[reason.label()]);
        }
        for limit in CONNECTION_LIMITS {
            self.connections_refused_total.touch(&[limit]);
        }
        for direction in DIRECTIONS {
            self.clock_jumps_total.touch(&[direction]);
        }
    }
}

/// A family with labels, whatever its values are.
trait Family {
    fn touch(&self, labels: &[&str]);
    fn remove(&self, labels: &[&str]);
}

impl Family for GaugeFamily {
    fn touch(&self, labels: &[&str]) {
        Self::touch(self, labels);
    }
    fn remove(&self, labels: &[&str]) {
        Self::remove(self, labels);
    }
}

impl Family for CounterFamily {
    fn touch(&self, labels: &[&str]) {
        Self::touch(self, labels);
    }
    fn remove(&self, labels: &[&str]) {
        Self::remove(self, labels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_comes_and_goes_whole() {
        let metrics = Metrics::new().expect("families register");
        // process_* values move by themselves
        let ours = |text: String| -> Vec<String> {
            text.lines().filter(|l| !l.contains("process_")).map(str::to_owned).collect()
        };
        let before = ours(metrics.encode().expect("text"));
        for part in
            [ReportingPart::Loader, ReportingPart::Requests, ReportingPart::Signer, ReportingPart::Signing]
        {
            metrics.add_zone("example.", part);
        }
        let with = metrics.encode().expect("text");
        assert!(
            with.contains("offlineksk_skr_coverage_end_timestamp_seconds{zone=\"example.\"} 0"),
            "{with}"
        );
        assert!(with.contains("offlineksk_skr_last_import_success{zone=\"example.\"} 1"), "{with}");
        metrics.add_delivery("example.", "ns1");
        assert!(metrics.encode().expect("text").contains("offlineksk_delivery_server_up{target=\"ns1\"} 0"));
        metrics.remove_delivery("example.", "ns1");
        metrics.remove_delivery_target("ns1");
        assert!(with.contains("offlineksk_zone_signed{zone=\"example.\"} 0"), "{with}");
        metrics.remove_zone("example.", ReportingPart::Signer);
        metrics.remove_zone("example.", ReportingPart::Signing);
        let with = metrics.encode().expect("text");
        assert!(
            !with.contains("zone_signed{") && with.contains("skr_generation{"),
            "a process without signer: {with}"
        );
        for part in [ReportingPart::Loader, ReportingPart::Requests] {
            metrics.remove_zone("example.", part);
        }
        assert_eq!(ours(metrics.encode().expect("text")), before);
    }

    #[test]
    fn a_process_with_many_zones_exports_few_families_of_each() {
        let metrics = Metrics::new().expect("families register");
        metrics.leave_out_zones([("info", 3), ("warning", 2), ("critical", 1)]);
        for part in [
            ReportingPart::Loader,
            ReportingPart::Requests,
            ReportingPart::KeyFiles,
            ReportingPart::Signer,
            ReportingPart::Signing,
            ReportingPart::Probe,
        ] {
            metrics.add_zone("example.", part);
        }
        metrics.skr_generation.with_label_values(&["example."]).set(7);
        metrics.zone_severity.with_label_values(&["example."]).set(2);
        let text = metrics.encode().expect("text");
        let of_zone: Vec<&str> = text.lines().filter(|line| line.contains("zone=\"example.\"")).collect();
        assert_eq!(of_zone.len(), 5, "{of_zone:#?}");
        assert!(
            text.contains("policy_skr_coverage_threshold_seconds{severity=\"warning\",zone=\"\"} 2"),
            "{text}"
        );
        assert!(text.contains("offlineksk_zone_severity{zone=\"example.\"} 2"), "{text}");
        metrics.remove_zone("example.", ReportingPart::Loader);
        assert!(
            !metrics.encode().expect("text").contains("coverage_end_timestamp_seconds{"),
            "removed all the same"
        );
    }

    /// 10 000 zones of a process have less than 5 MB, whatever parts run in it, and each zone costs the same.
    #[test]
    fn kind_114_a_zone_among_many_has_less_than_500_octets_of_metrics() {
        use ReportingPart::{KeyFiles, Loader, Probe, Requests, Signer};
        let processes: [(&str, &[ReportingPart]); 4] = [
            ("skr-loader run", &[Loader, KeyFiles]),
            ("offline-ksk requests", &[Requests, KeyFiles]),
            ("offline-ksk serve", &[Loader, Requests, Signer]),
            ("all", &[Loader, Requests, KeyFiles, Signer, Probe]),
        ];
        for (process, parts) in processes {
            let octets = |zones: usize| {
                let metrics = Metrics::new().expect("families register");
                metrics.leave_out_zones([("info", 3), ("warning", 2), ("critical", 1)]);
                for zone in (0..zones).map(|n| format!("zone-{n:05}.customer.example.")) {
                    parts.iter().for_each(|part| metrics.add_zone(&zone, *part));
                    metrics.skr_generation.with_label_values(&[&zone]).set(7);
                    metrics.zone_severity.with_label_values(&[&zone]).set(2);
                    metrics.skr_coverage_end_timestamp_seconds.with_label_values(&[&zone]).set(1_800_000_000);
                }
                metrics.encode().expect("text").len()
            };
            let (some, more) = (octets(10), octets(110));
            assert!((more - some) / 100 < 500, "{process}: {} octets a zone", (more - some) / 100);
            let (twice, most) = (octets(210), octets(310));
            assert!(most - twice <= more - some + 200, "{process}: no zone costs more than those before");
        }
    }

    #[test]
    fn rules_name_only_our_families_and_every_alert_has_a_runbook_section() {
        let rules = include_str!("../rules/offlineksk.rules.yml");
        let runbook = include_str!("../../docs/runbook.md");
        let mut seen = 0;
        for (at, _) in rules.match_indices(crate::families::PREFIX) {
            let rest = &rules[at + crate::families::PREFIX.len()..];
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let known = crate::families::NAMES.contains(&name.as_str()) || name == "skr_coverage_remaining";
            assert!(known, "{name} is no family");
            seen += 1;
        }
        assert!(seen > 20, "{seen} names found");
        let alerts: Vec<&str> = rules.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")).collect();
        assert!(alerts.len() > 15);
        for alert in alerts {
            assert!(
                runbook.contains(&format!("\n## {alert}\n")),
                "{alert} has no section in docs/runbook.md"
            );
            assert!(
                rules.contains(&format!("runbook_url: docs/runbook.md#{}\n", alert.to_lowercase())),
                "{alert}"
            );
            let cases = [
                include_str!("../rules/offlineksk.rules.test.yml"),
                include_str!("../rules/offlineksk.weeks.rules.test.yml"),
            ];
            // The heartbeat is never silent.
            for case in
                ["fires", "is silent"].into_iter().filter(|case| alert != "Watchdog" || *case == "fires")
            {
                let name = format!("- name: {alert} {case}\n");
                assert!(cases.iter().any(|file| file.contains(&name)), "no test: {name}");
            }
        }
    }
}
