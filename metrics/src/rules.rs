//! The alert rules for Prometheus: those that stand in `rules/offlineksk.rules.yml`, and one for each condition, made from the table
//! of conditions.

use std::fmt::Write as _;

use crate::condition::{ConditionId, Scope, Severity};
use crate::families::PREFIX;

/// Rules over measurements: what runs out by itself is seen even when the process that measured it stands still.
const MEASURED: &str = include_str!("../rules/offlineksk.rules.yml");

/// The expressions of the file that find our processes by what they export, and what they are for one job.
const BY_JOB: [(&str, &str); 2] = [
    (
        "up * on (job, instance) group_left () (max by (job, instance) (max_over_time(offlineksk_build_info[7d]))) == 0",
        "up{job=NAME} == 0",
    ),
    (
        "max by (job, instance) (max_over_time(offlineksk_build_info[1d])) unless on (job, instance) up",
        "max by (job, instance) (max_over_time(up{job=NAME}[1d])) unless on (job, instance) up",
    ),
];

/// Conditions of a running daemon for which a rule over measurements fires, and that rule: one alarm is enough.
pub const MEASURED_ALERTS: [(ConditionId, &str); 14] = [
    (ConditionId::CoverageEndsSoon, "OfflineKskCoverageWarning"),
    (ConditionId::CoverageGap, "OfflineKskCoverageGap"),
    (ConditionId::GenerationBehind, "OfflineKskSignerStaleSkr"),
    (ConditionId::ImportRejected, "OfflineKskImportRejected"),
    (ConditionId::RequestWaits, "OfflineKskKsrUnanswered"),
    (ConditionId::RequestOverdue, "OfflineKskKsrOverdue"),
    (ConditionId::NoticeFailed, "OfflineKskNoticeFailed"),
    (ConditionId::KeyKskOnline, "OfflineKskPrivateKskOnline"),
    (ConditionId::ZoneUnsigned, "OfflineKskZoneUnsigned"),
    (ConditionId::ZoneFileRejected, "OfflineKskZoneFileRejected"),
    (ConditionId::SignatureLate, "OfflineKskSignatureExpiryWarning"),
    (ConditionId::DeliveryUnproven, "OfflineKskDeliveryFailed"),
    (ConditionId::WatchStalled, "OfflineKskWatchStalled"),
    (ConditionId::ConfigRejected, "OfflineKskConfigReloadFailed"),
];

/// Conditions that the outside probe finds, too, and for which a daemon has a rule over its own measurements: these do not see what
/// others serve.
pub const OF_PROBE: [ConditionId; 3] =
    [ConditionId::ZoneUnsigned, ConditionId::SignatureLate, ConditionId::DeliveryUnproven];

/// All rules as one document. With a `job` the rules that find dead processes look at its targets only.
#[must_use]
pub fn document(job: Option<&str>) -> String {
    let mut measured = MEASURED.to_owned();
    if let Some(job) = job {
        for (ours, of_job) in BY_JOB {
            let expression = escape(&of_job.replace("NAME", &format!("{job:?}")));
            measured = measured.replace(&escape(ours), &expression);
        }
    }
    format!("{measured}{}", groups())
}

/// The rules of the conditions as a document of their own, `rules/offlineksk.conditions.rules.yml`.
#[must_use]
pub fn conditions() -> String {
    format!(
        "# Alert rules for Prometheus, one for each condition. Made from the table of conditions: do not edit.\n\
         # cargo run -p offline-ksk-metrics --example rules > metrics/rules/offlineksk.conditions.rules.yml\n\
         groups:\n{}",
        groups()
    )
}

/// An alert that is made from a condition.
#[derive(Debug, Clone, Copy)]
pub struct ConditionAlert {
    /// The condition.
    pub id: ConditionId,
    /// Who finds it, and when it counts.
    pub source: AlertSource,
}

/// Where the condition of an alert comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertSource {
    /// A daemon; no rule over measurements covers it.
    Daemon,
    /// A daemon with so many zones that it leaves out what the rule over measurements looks at.
    ManyZones,
    /// The outside probe.
    Probe,
}

/// A family that a daemon has for each zone unless it leaves the details out.
const DETAIL: &str = "offlineksk_skr_coverage_start_timestamp_seconds";

impl ConditionAlert {
    /// All of them, in the order of the table of conditions, those of the probe last.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let measured = |id: &ConditionId| MEASURED_ALERTS.iter().any(|(of, _)| of == id);
        let own = ConditionId::ALL.iter().filter(|id| !measured(id));
        let own = own.map(|id| Self { id: *id, source: AlertSource::Daemon });
        // The coverage has its measurement, and its thresholds, for many zones too.
        let left_out = |id: &ConditionId| id.scope() == Scope::Zone && *id != ConditionId::CoverageEndsSoon;
        let left_out = MEASURED_ALERTS.iter().map(|(id, _)| *id).filter(left_out);
        own.chain(left_out.map(|id| Self { id, source: AlertSource::ManyZones }))
            .chain(OF_PROBE.map(|id| Self { id, source: AlertSource::Probe }))
            .collect()
    }

    /// Its name: the ID in camel case.
    #[must_use]
    pub fn name(self) -> String {
        let id = self.id.as_str();
        let (prefix, words) = match self.source {
            AlertSource::Daemon => ("OfflineKsk", id),
            AlertSource::ManyZones => ("OfflineKskCondition", id),
            AlertSource::Probe => ("OfflineKskProbe", id),
        };
        words
            .split('-')
            .fold(prefix.to_owned(), |name, word| name + &word[..1] + &word[1..].to_ascii_lowercase())
    }

    /// The family without prefix.
    #[must_use]
    pub const fn family(self) -> &'static str {
        match (self.source, self.id.scope()) {
            (AlertSource::Probe, _) => "probe_condition",
            (_, Scope::Zone) => "zone_condition",
            (_, Scope::Host) => "host_condition",
        }
    }

    /// How long it must hold: what is critical is told after a failed scrape or two, the rest after a restart.
    const fn hold(self) -> &'static str {
        match self.id.severities() {
            [.., Severity::Critical] => "2m",
            [.., Severity::Warning] => "10m",
            _ => "1h",
        }
    }

    /// The annotations, with `{{ $labels.… }}`.
    fn description(self) -> String {
        let text = self.id.text();
        let subject = match self.id.scope() {
            Scope::Zone => "{{ $labels.zone }} (zone)",
            Scope::Host => "{{ $labels.instance }}",
        };
        let seen = if self.source == AlertSource::Probe { " Seen from outside." } else { "" };
        format!("{subject}: {}{seen} {}", text.next, text.remedy)
    }
}

fn groups() -> String {
    let mut text = String::new();
    for (group, source) in [
        ("offlineksk-conditions", AlertSource::Daemon),
        ("offlineksk-many-zones", AlertSource::ManyZones),
        ("offlineksk-probe", AlertSource::Probe),
    ] {
        let _ = writeln!(text, "  - name: {group}\n    rules:");
        for alert in ConditionAlert::all().into_iter().filter(|alert| alert.source == source) {
            rule(alert, &mut text);
        }
    }
    text
}

fn rule(alert: ConditionAlert, text: &mut String) {
    let id = alert.id;
    let unless = match alert.source {
        AlertSource::ManyZones => format!(" unless on (zone) {DETAIL}"),
        AlertSource::Daemon | AlertSource::Probe => String::new(),
    };
    let expression = format!("{PREFIX}{}{{condition=\"{id}\"}} == 1{unless}", alert.family());
    let _ = writeln!(text, "      - alert: {}", alert.name());
    let _ = writeln!(text, "        expr: \"{}\"", escape(&expression));
    let _ = writeln!(text, "        for: {}", alert.hold());
    // Alertmanager's word for what only has to be planned.
    let severity =
        "{{ if eq $labels.severity \\\"attention\\\" }}info{{ else }}{{ $labels.severity }}{{ end }}";
    let _ = writeln!(text, "        labels: {{severity: \"{severity}\"}}");
    let _ = writeln!(text, "        annotations:");
    let _ = writeln!(text, "          summary: \"{}\"", escape(id.text().summary.trim_end_matches('.')));
    let _ = writeln!(text, "          description: \"{}\"", escape(&alert.description()));
    let _ = writeln!(text, "          runbook_url: docs/runbook.md#{}", id.anchor());
}

/// A text between double quotes in YAML.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_rules_are_those_of_the_table() {
        let shipped = include_str!("../rules/offlineksk.conditions.rules.yml");
        assert!(shipped == conditions(), "run the command in the head of the file");
    }

    #[test]
    fn every_condition_has_an_alert_and_no_two_have_one_name() {
        let alerts = ConditionAlert::all();
        for id in ConditionId::ALL {
            let measured = MEASURED_ALERTS.iter().find(|(of, _)| of == id).map(|(_, alert)| *alert);
            let made = alerts.iter().any(|alert| alert.id == *id);
            assert!(measured.is_some() || made, "{id} has no alert");
            if let Some(alert) = measured {
                assert!(MEASURED.contains(&format!("- alert: {alert}\n")), "{id}: {alert} is not there");
            }
        }
        let mut names: Vec<String> = alerts.iter().map(|alert| alert.name()).collect();
        names.extend(MEASURED.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")).map(str::to_owned));
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
    }

    #[test]
    fn rules_of_a_job_look_at_its_targets() {
        for (ours, _) in BY_JOB {
            assert!(document(None).contains(&escape(ours)), "{ours}");
            assert!(!document(Some("dns")).contains(&escape(ours)), "{ours}");
        }
        assert_eq!(document(Some("dns")).matches("up{job=\\\"dns\\\"}").count(), 2);
        // A name that would end the string stays a name.
        let odd = document(Some("a\"} or up{x=\"b"));
        assert!(odd.contains(r#"up{job=\"a\\\"} or up{x=\\\"b\"} == 0"#), "{odd}");
    }
}
