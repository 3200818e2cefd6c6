//! promtool judges the alert rules, their tests, and the text of every family.

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use metrics::condition::{ConditionId, Scope, Severity};
use metrics::rules::{AlertSource, ConditionAlert};
use metrics::zones::ReportingPart;

fn rules_dir() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../metrics/rules")
}

#[test]
fn rules_pass_the_linter() {
    for file in ["offlineksk.rules.yml", "offlineksk.conditions.rules.yml"] {
        let mut promtool = peer!("promtool");
        let said =
            common::stdout(promtool.args(["check", "rules", "--lint=all", file]).current_dir(rules_dir()));
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn each_alert_fires_and_is_silent_when_it_should() {
    for file in ["offlineksk.rules.test.yml", "offlineksk.weeks.rules.test.yml"] {
        let mut promtool = peer!("promtool");
        let said = common::stdout(promtool.args(["test", "rules", file]).current_dir(rules_dir()));
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

/// A series that says that a condition holds.
fn series(alert: ConditionAlert, id: ConditionId, severity: &str) -> String {
    let zone = if id.scope() == Scope::Zone { ", zone=\"example.\"" } else { "" };
    format!(
        "offlineksk_{}{{condition=\"{id}\", severity=\"{severity}\", instance=\"h\"{zone}}}",
        alert.family()
    )
}

/// The tests of the rules that are made from the table of conditions: each condition fires in each of its severities, and is silent
/// while others hold.
fn condition_tests() -> String {
    let mut text =
        String::from("rule_files: [offlineksk.conditions.rules.yml]\nevaluation_interval: 1m\ntests:\n");
    let alerts = ConditionAlert::all();
    for alert in &alerts {
        let (id, name) = (alert.id, alert.name());
        let (zone, subject) = match id.scope() {
            Scope::Zone => (", zone: example.", "example. (zone)"),
            Scope::Host => ("", "h"),
        };
        let seen = if alert.source == AlertSource::Probe { " Seen from outside." } else { "" };
        let minutes = match id.severities() {
            [.., Severity::Critical] => 4,
            [.., Severity::Warning] => 12,
            _ => 62,
        };
        for severity in id.severities() {
            let label = if *severity == Severity::Attention { "info" } else { severity.as_str() };
            text.push_str(&format!(
                "  - name: {name} fires\n    interval: 1m\n    input_series: [{{series: '{}', values: '1x120'}}]\n    alert_rule_test:\n\
                 \x20     - {{eval_time: 1m, alertname: {name}}}\n      - eval_time: {minutes}m\n        alertname: {name}\n        exp_alerts:\n\
                 \x20         - exp_labels: {{severity: {label}, condition: {id}, instance: h{zone}}}\n            exp_annotations:\n\
                 \x20             summary: {:?}\n              description: {:?}\n              runbook_url: docs/runbook.md#{}\n",
                series(*alert, id, severity.as_str()),
                id.text().summary.trim_end_matches('.'),
                format!("{subject}: {}{seen} {}", id.text().next, id.text().remedy),
                id.anchor(),
            ));
        }
        let others = alerts.iter().filter(|other| (other.id, other.source) != (id, alert.source));
        let others: Vec<String> = others
            .map(|other| format!("{{series: '{}', values: '1x120'}}", series(*other, other.id, "critical")))
            .collect();
        text.push_str(&format!(
            "  - name: {name} is silent\n    interval: 1m\n    input_series: [{}]\n    alert_rule_test: [{{eval_time: {minutes}m, alertname: {name}}}]\n",
            others.join(", "),
        ));
    }
    text
}

#[test]
fn each_condition_fires_in_each_of_its_severities_and_is_silent_while_others_hold() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("write");
    write("offlineksk.conditions.rules.yml", &metrics::rules::conditions());
    write("tests.yml", &condition_tests());
    let mut promtool = peer!("promtool");
    let said = common::stdout(promtool.args(["test", "rules", "tests.yml"]).current_dir(dir.path()));
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn coverage_of_a_process_with_many_zones_fires_by_its_one_threshold() {
    let dir = tempfile::tempdir().expect("a folder");
    let tests = "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n\
                 \x20     - {series: 'offlineksk_skr_coverage_end_timestamp_seconds{zone=\"short.\"}', values: '900000x60'}\n\
                 \x20     - {series: 'offlineksk_skr_coverage_end_timestamp_seconds{zone=\"long.\"}', values: '9000000x60'}\n\
                 \x20     - {series: 'offlineksk_policy_skr_coverage_threshold_seconds{zone=\"\",severity=\"warning\"}', values: '1209600x60'}\n\
                 \x20     - {series: 'offlineksk_zone_condition{zone=\"short.\",condition=\"IMPORT-REJECTED\",severity=\"warning\"}', values: '1x60'}\n\
                 \x20     - {series: 'offlineksk_zone_condition{zone=\"detailed.\",condition=\"IMPORT-REJECTED\",severity=\"warning\"}', values: '1x60'}\n\
                 \x20     - {series: 'offlineksk_skr_coverage_start_timestamp_seconds{zone=\"detailed.\"}', values: '1x60'}\n\
                 \x20   promql_expr_test:\n\
                 \x20     - expr: count by (alertname, zone) (ALERTS{alertstate=\"firing\",zone!=\"\"})\n        eval_time: 50m\n\
                 \x20       exp_samples:\n          - {labels: '{alertname=\"OfflineKskCoverageWarning\",zone=\"short.\"}', value: 1}\n\
                 \x20         - {labels: '{alertname=\"OfflineKskConditionImportRejected\",zone=\"short.\"}', value: 1}\n";
    std::fs::write(dir.path().join("rules.yml"), metrics::rules::document(None)).expect("write");
    std::fs::write(dir.path().join("tests.yml"), tests).expect("write");
    let mut promtool = peer!("promtool");
    let said = common::stdout(promtool.args(["test", "rules", "tests.yml"]).current_dir(dir.path()));
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn rules_for_a_job_pass_the_linter_and_see_one_dead_host_of_several() {
    let dir = tempfile::tempdir().expect("a folder");
    let tests = "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n\
                 \x20     - {series: 'up{job=\"dns\",instance=\"dead\"}', values: '0x30'}\n      - {series: 'up{job=\"dns\",instance=\"alive\"}', values: '1x30'}\n\
                 \x20     - {series: 'up{job=\"other\",instance=\"not ours\"}', values: '0x30'}\n    promql_expr_test:\n\
                 \x20     - expr: count by (instance) (ALERTS{alertname=\"OfflineKskDown\",alertstate=\"firing\"})\n        eval_time: 20m\n\
                 \x20       exp_samples: [{labels: '{instance=\"dead\"}', value: 1}]\n";
    std::fs::write(dir.path().join("rules.yml"), metrics::rules::document(Some("dns"))).expect("write");
    std::fs::write(dir.path().join("tests.yml"), tests).expect("write");
    for arguments in [&["check", "rules", "--lint=all", "rules.yml"][..], &["test", "rules", "tests.yml"]] {
        let mut promtool = peer!("promtool");
        let said = common::stdout(promtool.args(arguments).current_dir(dir.path()));
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn every_family_passes_the_linter() {
    let metrics = metrics::Metrics::new().expect("families register");
    metrics.add_process();
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
    metrics.add_delivery("example.", "ns1");
    metrics.build_info.with_label_values(&["loader", "0", "0"]).set(1);
    metrics.skr_rejections_total.with_label_values(&["SKR-GAP"]).inc();
    metrics.key_info.with_label_values(&["example.", "zsk", "1", "13"]).set(1);
    metrics.key_timing_timestamp_seconds.with_label_values(&["example.", "zsk", "1", "publish"]).set(1);
    metrics.zone_sign_duration_seconds.with_label_values(&["full"]).observe(0.1);
    metrics.zone_condition.with_label_values(&["example.", "COVERAGE-GAP", "critical"]).set(1);
    metrics.zone_severity.with_label_values(&["example."]).set(3);
    metrics.host_condition.with_label_values(&["AUDIT-BROKEN", "critical"]).set(1);
    metrics.probe_condition.with_label_values(&["example.", "PROBE-DIFFERS", "warning"]).set(1);
    metrics.signatures_total.with_label_values(&["13", "ok"]).inc();
    metrics.secondary_serial.with_label_values(&["example.", "192.0.2.53:53"]).set(1);
    metrics.add_incoming("example.");
    metrics.add_parent("example.");
    for family in [
        &metrics.catalog_ok,
        &metrics.catalog_zones,
        &metrics.catalog_zones_held,
        &metrics.catalog_zones_refused,
    ] {
        family.with_label_values(&["catalog.example."]).set(1);
    }
    let text = metrics.encode().expect("text");
    for name in metrics::families::NAMES {
        assert!(text.contains(&format!("# HELP offlineksk_{name} ")), "{name} has no series");
    }
    let mut promtool = peer!("promtool");
    let mut child = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start promtool");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("write");
    let output = child.wait_with_output().expect("promtool ends");
    assert!(output.status.success() && common::text(&output).is_empty(), "{}", common::text(&output));
}
