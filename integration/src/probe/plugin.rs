//! The one line of a monitoring plugin (Monitoring Plugins Development Guidelines): state, text, performance data.

use keystore::time::Timestamp;
use metrics::condition::Severity;

use super::Options;
use super::report::JudgedZone;

/// Above so many zones the line has counts alone: some transports cut at 1 KiB.
const MAX_ZONES: usize = 20;
/// Findings that are named in the text.
const MAX_FINDINGS: usize = 5;

/// Text that cannot end the line, nor begin the performance data.
pub(super) fn text(text: &str) -> String {
    text.chars().map(|c| if c == '|' || c.is_control() { ' ' } else { c }).collect()
}

pub(super) fn line(zones: &[JudgedZone], options: &Options, now: Timestamp) -> String {
    let worst = zones.iter().map(|zone| zone.severity).max().unwrap_or_default();
    let word = match worst {
        Severity::Ok | Severity::Attention => "OK",
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
    };
    let mut found: Vec<_> =
        zones.iter().flat_map(|zone| zone.findings.iter().map(move |finding| (zone, finding))).collect();
    found.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.severity));
    let named = found.iter().take(MAX_FINDINGS).map(|(zone, finding)| {
        let server = finding.server.as_ref().map(|server| format!("{server} ")).unwrap_or_default();
        format!("{} {} {server}{}", zone.zone.to_lowercase(), finding.id.as_str(), finding.text(now))
    });
    let mut sentences: Vec<String> = named.collect();
    if found.len() > MAX_FINDINGS {
        sentences.push(format!("and {} more", found.len() - MAX_FINDINGS));
    }
    if sentences.is_empty() {
        sentences.push(format!("{} zones are served as they should be", zones.len()));
    }
    format!("PROBE {word}: {} | {}", text(&sentences.join("; ")), performance(zones, options, now))
}

fn performance(zones: &[JudgedZone], options: &Options, now: Timestamp) -> String {
    let limit = |seconds: Option<u64>| seconds.map(|seconds| format!("{seconds}:")).unwrap_or_default();
    let mut data: Vec<String> = Vec::new();
    for zone in zones.iter().filter(|_| zones.len() <= MAX_ZONES) {
        let label = zone.zone.to_lowercase().to_string().replace('\'', "''").replace('=', "_");
        let left = zone.earliest.map_or_else(|| "U".to_owned(), |end| format!("{}s", end.since(now)));
        data.push(format!(
            "'{} signature'={left};{};{};0",
            text(&label),
            limit(options.warning),
            limit(options.critical)
        ));
    }
    for severity in [Severity::Critical, Severity::Warning] {
        let count = zones.iter().filter(|zone| zone.severity == severity).count();
        data.push(format!("'{severity}'={count};;;0"));
    }
    data.join(" ")
}
