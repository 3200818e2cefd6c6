//! promtool judges the alert rules, their tests, and the text of every family.

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use metrics::zones::Part;

fn rules_dir() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../metrics/rules")
}

#[test]
fn rules_pass_the_linter() {
    let mut promtool = peer!("promtool");
    let said = common::stdout(
        promtool.args(["check", "rules", "--lint=all", "offlineksk.rules.yml"]).current_dir(rules_dir()),
    );
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn each_alert_fires_and_is_silent_when_it_should() {
    for file in ["offlineksk.rules.test.yml", "offlineksk.weeks.rules.test.yml"] {
        let mut promtool = peer!("promtool");
        let said = common::stdout(promtool.args(["test", "rules", file]).current_dir(rules_dir()));
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn every_family_passes_the_linter() {
    let metrics = metrics::Metrics::new().expect("families register");
    metrics.add_process();
    for part in [Part::Loader, Part::Requests, Part::KeyFiles, Part::Signer] {
        metrics.add_zone("example.", part);
    }
    metrics.add_delivery("example.", "ns1");
    metrics.build_info.with_label_values(&["loader", "0", "0"]).set(1);
    metrics.skr_rejections_total.with_label_values(&["SKR-GAP"]).inc();
    metrics.key_info.with_label_values(&["example.", "zsk", "1", "13"]).set(1);
    metrics.key_timing_timestamp_seconds.with_label_values(&["example.", "zsk", "1", "publish"]).set(1);
    metrics.zone_sign_duration_seconds.with_label_values(&["full"]).observe(0.1);
    metrics.signatures_total.with_label_values(&["13", "ok"]).inc();
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
