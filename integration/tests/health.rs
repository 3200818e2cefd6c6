//! Each condition is brought about, is seen in the terminal, the JSON, the exit code, `/readyz`, the page and the metrics under one ID,
//! and is gone from all of them when it is mended. Here by what a daemon reports of itself; `real` has those that running daemons find.

#[path = "health_site/catalogs.rs"]
mod catalogs;
#[path = "common/certificate.rs"]
mod certificate;
#[path = "health_site/disk_and_certificate.rs"]
mod disk_and_certificate;
#[path = "health_site/from_primaries.rs"]
mod from_primaries;
mod health_site;
#[path = "health_site/parent.rs"]
mod parent;
#[path = "health_site/place.rs"]
mod place;
#[path = "health_site/probed.rs"]
mod probed;
#[path = "health_site/real.rs"]
mod real;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use health_site::{Files, Site, ZONE, now, record};
use metrics::health::report::{
    CatalogReport, ClockTrouble, Component, ReportedCondition, SecondaryReport, ServedReport, SignerCondition,
};
use metrics::health::{ConditionId, Severity};
use skr_loader::audit::{AuditEvent, Record};

/// Longest wait for a condition to be seen everywhere, or to be gone: two seconds, and the load of the machine.
const LIMIT: Duration = Duration::from_secs(30);

/// How a condition is brought about and mended.
struct Row {
    id: ConditionId,
    bring: fn(&Files),
    mend: fn(&Files),
}

const fn row(id: ConditionId, bring: fn(&Files), mend: fn(&Files)) -> Row {
    Row { id, bring, mend }
}

fn served(files: &Files, change: impl FnOnce(&mut ServedReport)) {
    files.report(Component::Signer, |_| (), |zone| change(zone.served.as_mut().expect("it is served")));
}

fn signer_is_well(files: &Files) {
    served(files, |_| ());
}

fn found_by_signer(files: &Files, id: ConditionId) {
    let found = SignerCondition { id, since: now(), cause: "no space left".to_owned() };
    served(files, |served| served.conditions.push(found));
}

fn loader_is_well(files: &Files) {
    files.report(Component::SkrLoader, |_| (), |_| ());
}

fn timer_is_well(files: &Files) {
    files.report(Component::Requests, |_| (), |_| ());
}

fn found_by_probe(files: &Files, id: ConditionId) {
    let severity = *id.severities().last().expect("one");
    let condition = ReportedCondition {
        id,
        zone: Some(ZONE.to_owned()),
        subject: Some("192.0.2.53".to_owned()),
        severity,
        since: now(),
        what: "The probe found it.".to_owned(),
    };
    files.report(Component::Probe, |report| report.conditions.push(condition), |_| ());
}

fn probe_ends(files: &Files) {
    files.end(Component::Probe);
}

fn found_by_pair(files: &Files, id: ConditionId) {
    let severity = *id.severities().last().expect("one");
    let what = "Host b is the active one.".to_owned();
    let condition = ReportedCondition { id, zone: None, subject: None, severity, since: now(), what };
    files.report(Component::Pair, |report| report.conditions.push(condition), |_| ());
}

fn pair_ends(files: &Files) {
    files.end(Component::Pair);
}

fn accepted(files: &Files, checks: &[&str], forced: &[&str]) {
    let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    let record = Record {
        generation: Some(1),
        checks: owned(checks),
        forced: owned(forced),
        ..record(AuditEvent::Accepted)
    };
    files.record(record);
}

const OF_ZONE: [Row; 3] = [
    row(
        ConditionId::ImportRejected,
        |files| {
            let file = Some("new.skr".to_owned());
            files.record(Record {
                file,
                checks: vec!["SKR-SYNTAX".to_owned()],
                ..record(AuditEvent::Rejected)
            });
        },
        |files| files.record(Record { generation: Some(1), ..record(AuditEvent::Unchanged) }),
    ),
    row(
        ConditionId::SkrWarned,
        |files| accepted(files, &["SKR-PARENT-DS"], &[]),
        |files| accepted(files, &[], &[]),
    ),
    row(
        ConditionId::RequestWaits,
        |files| {
            let folder = files.path("state/outbox").join(ZONE);
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join(format!("{}.ksr", now())), ";; a request\n").expect("write");
        },
        |files| fs::remove_dir_all(files.path("state/outbox")).expect("it was there"),
    ),
];

const REPORTED: [Row; 14] = [
    row(
        ConditionId::SignerSerialNotWritten,
        |files| found_by_signer(files, ConditionId::SignerSerialNotWritten),
        signer_is_well,
    ),
    row(
        ConditionId::SignerStateUnreadable,
        |files| found_by_signer(files, ConditionId::SignerStateUnreadable),
        signer_is_well,
    ),
    row(
        ConditionId::SignerStateNotWritten,
        |files| found_by_signer(files, ConditionId::SignerStateNotWritten),
        signer_is_well,
    ),
    row(
        ConditionId::SignerKeysUnreadable,
        |files| found_by_signer(files, ConditionId::SignerKeysUnreadable),
        signer_is_well,
    ),
    row(
        ConditionId::TransferFailing,
        |files| found_by_signer(files, ConditionId::TransferFailing),
        signer_is_well,
    ),
    row(ConditionId::ZoneExpired, |files| found_by_signer(files, ConditionId::ZoneExpired), signer_is_well),
    row(
        ConditionId::SecondaryBehind,
        |files| {
            let behind = SecondaryReport {
                address: "192.0.2.53:53".to_owned(),
                serial: Some(1),
                behind_since: Some(now().minus(86_400)),
                cause: Some("NOTIFY: it answers REFUSED".to_owned()),
            };
            files.report(Component::Signer, |_| (), |zone| zone.secondaries.push(behind));
        },
        signer_is_well,
    ),
    row(
        ConditionId::ParentDsMissing,
        |files| found_by_probe(files, ConditionId::ParentDsMissing),
        probe_ends,
    ),
    row(ConditionId::ParentDsWrong, |files| found_by_probe(files, ConditionId::ParentDsWrong), probe_ends),
    row(
        ConditionId::ParentNotTold,
        |files| {
            let condition = ReportedCondition {
                id: ConditionId::ParentNotTold,
                zone: Some(ZONE.to_owned()),
                subject: None,
                severity: Severity::Warning,
                since: now().minus(86_400),
                what: "192.0.2.53:53 does not serve the new CDS and CDNSKEY records yet.".to_owned(),
            };
            files.report(Component::SkrLoader, |report| report.conditions.push(condition), |_| ());
        },
        loader_is_well,
    ),
    row(
        ConditionId::SoaExpireTooLong,
        |files| found_by_probe(files, ConditionId::SoaExpireTooLong),
        probe_ends,
    ),
    row(
        ConditionId::ProbeServerSilent,
        |files| found_by_probe(files, ConditionId::ProbeServerSilent),
        probe_ends,
    ),
    row(
        ConditionId::ProbeSerialBehind,
        |files| found_by_probe(files, ConditionId::ProbeSerialBehind),
        probe_ends,
    ),
    row(ConditionId::ProbeDiffers, |files| found_by_probe(files, ConditionId::ProbeDiffers), probe_ends),
];

fn report_of_catalog(files: &Files, of: impl FnOnce(&mut CatalogReport)) {
    let mut catalog = CatalogReport { catalog: "catalog.example.".to_owned(), ..CatalogReport::default() };
    of(&mut catalog);
    files.report(Component::Signer, |report| report.catalogs.push(catalog), |_| ());
}

const OF_HOST: [Row; 9] = [
    row(
        ConditionId::CatalogFailing,
        |files| report_of_catalog(files, |catalog| catalog.failing = Some("it is broken".to_owned())),
        signer_is_well,
    ),
    row(
        ConditionId::CatalogHeld,
        |files| report_of_catalog(files, |catalog| catalog.held = Some("9 zones are held".to_owned())),
        signer_is_well,
    ),
    row(
        ConditionId::CatalogZonesRefused,
        |files| report_of_catalog(files, |catalog| catalog.refused = Some("a.test. is elsewhere".to_owned())),
        signer_is_well,
    ),
    row(ConditionId::NotActive, |files| found_by_pair(files, ConditionId::NotActive), pair_ends),
    row(ConditionId::LeaseLost, |files| found_by_pair(files, ConditionId::LeaseLost), pair_ends),
    row(ConditionId::PairConflict, |files| found_by_pair(files, ConditionId::PairConflict), pair_ends),
    row(ConditionId::TimerNotRunning, |files| files.end(Component::Requests), timer_is_well),
    row(
        ConditionId::ClockWrong,
        |files| {
            let clock = ClockTrouble { what: "The clock jumped".to_owned(), waits: true, since: now() };
            files.report(Component::Requests, |report| report.clock = Some(clock), |_| ());
        },
        timer_is_well,
    ),
    row(
        ConditionId::AuditNotWritten,
        |files| {
            let error = Some("The audit log cannot be written: no space left".to_owned());
            files.report(Component::SkrLoader, |report| report.audit_error = error, |_| ());
        },
        loader_is_well,
    ),
];

/// Where a condition is looked for. Each gives the severity that it shows there, or that it is there at all.
fn seen(site: &Site, id: ConditionId) -> [(&'static str, bool); 6] {
    let text = String::from_utf8(site.status(&[]).stdout).expect("text");
    let json: serde_json::Value = serde_json::from_slice(&site.status(&["--json"]).stdout).expect("JSON");
    let zones =
        json["zones"].as_array().expect("zones").iter().flat_map(|zone| zone["conditions"].as_array());
    let mut all = zones.chain(json["conditions"].as_array()).flatten();
    let found = all.find(|condition| condition["id"] == id.as_str());
    let check = site.status(&["--check"]);
    let line = String::from_utf8(check.stdout).expect("text");
    let severity = found.map(|condition| condition["severity"].as_str().expect("a word").to_owned());
    // The exit code is that of the worst condition, of which this one is.
    let least = match severity.as_deref() {
        Some("critical") => 2,
        Some("warning") => 1,
        _ => 0,
    };
    let allowed = |word: &str| id.severities().iter().any(|severity| severity.as_str() == word);
    assert!(severity.as_deref().is_none_or(allowed), "{id} as {severity:?}");
    let has = |text: &str| text.contains(id.as_str());
    let label = format!("condition=\"{id}\"");
    [
        ("terminal", has(&text)),
        ("JSON", found.is_some()),
        ("exit code", has(&line) && check.status.code().is_some_and(|code| code >= least)),
        ("/readyz", site.get("/readyz").1.lines().any(|line| line.split(' ').nth(1) == Some(id.as_str()))),
        ("page", site.get("/").1.contains(&format!("<code>{id}</code>"))),
        ("metric", site.watch.metrics.encode().expect("text").contains(&label)),
    ]
}

fn wait(site: &Site, id: ConditionId, is_there: bool) {
    let begun = Instant::now();
    loop {
        let seen = seen(site, id);
        if seen.iter().all(|(_, there)| *there == is_there) {
            return;
        }
        let where_ = if is_there { "be seen everywhere" } else { "be gone everywhere" };
        assert!(begun.elapsed() < LIMIT, "{id} should {where_}: {seen:?}\n{}", site.get("/readyz").1);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn each(rows: &[Row]) {
    let site = Site::new();
    for Row { id, bring, mend } in rows {
        wait(&site, *id, false);
        bring(&site.files());
        wait(&site, *id, true);
        mend(&site.files());
        wait(&site, *id, false);
    }
}

#[test]
fn conditions_of_a_zone_are_seen_everywhere_and_go() {
    each(&OF_ZONE);
}

#[test]
fn conditions_that_daemons_report_are_seen_everywhere_and_go() {
    each(&REPORTED);
}

#[test]
fn conditions_of_the_host_are_seen_everywhere_and_go() {
    each(&OF_HOST);
}

#[test]
fn every_condition_has_its_row_in_the_manual() {
    let manual = include_str!("../../docs/manual/health.md");
    for id in ConditionId::ALL {
        let severities: Vec<&str> = id.severities().iter().map(|s| s.as_str()).collect();
        let head = format!("\n| {id} | {} | ", severities.join(", "));
        assert!(manual.contains(&head), "docs/manual/health.md lacks {head}");
    }
    let ids = manual.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    for id in ids.filter(|id| id.contains('-') && id.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')) {
        assert!(ConditionId::parse(id).is_some(), "{id} in the manual is no condition");
    }
}

#[test]
fn each_key_of_the_json_stands_in_the_manual() {
    fn keys(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| {
                found.insert(key.clone());
                keys(value, found);
            }),
            serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    let site = Site::new();
    (OF_ZONE[2].bring)(&site.files());
    (OF_ZONE[0].bring)(&site.files());
    let json: serde_json::Value =
        serde_json::from_slice(&site.status(&[ZONE, "--json"]).stdout).expect("JSON");
    assert_eq!(json["version"], 1);
    let mut found = BTreeSet::new();
    keys(&json, &mut found);
    assert!(found.len() > 50, "{found:?}");
    let manual = include_str!("../../docs/manual/health.md");
    let schema = &manual[manual.find("\n## JSON\n").expect("the section")..];
    for key in found {
        let stands = [format!("`{key}`"), format!(".{key}`"), format!("`{key}[]`"), format!(".{key}[]`")];
        assert!(stands.iter().any(|word| schema.contains(word)), "the manual has no key {key}");
    }
}

#[test]
fn names_from_files_are_escaped_in_page_terminal_and_plugin() {
    let site = Site::new();
    let evil = "<script>alert(1)</script>\u{1b}[2J|\u{202e}\"'.skr";
    let file = Some(evil.to_owned());
    site.files().record(Record { file, ..record(AuditEvent::Rejected) });
    wait(&site, ConditionId::ImportRejected, true);
    let path = format!("/zone/{ZONE}");
    for page in ["/", "/?q=%3Cscript%3Ealert(1)%3C/script%3E", &path, "/zone/%3Cscript%3Ealert(1)"] {
        let (head, body) = site.get(page);
        assert!(!body.contains("<script>alert"), "{page}: {body}");
        assert!(!body.contains('\u{1b}') && !body.contains('\u{202e}'), "{page}");
        assert!(head.contains("Content-Security-Policy: default-src 'none'; style-src 'self'"), "{head}");
        assert!(
            !body.contains(" style=")
                && !body.contains(" onclick")
                && !body.contains("http://www.w3.org/1999")
        );
    }
    for arguments in [&[][..], &[ZONE], &["--check"]] {
        let text = String::from_utf8(site.status(arguments).stdout).expect("text");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{arguments:?}: {text}");
    }
    let line = String::from_utf8(site.status(&["--check"]).stdout).expect("text");
    assert_eq!(line.lines().next().map(|first| first.matches('|').count()), Some(1), "{line}");
    assert!(line.lines().skip(1).all(|line| !line.contains('|')), "{line}");
}

#[test]
fn pages_have_their_addresses_and_only_show() {
    let site = Site::new();
    (OF_ZONE[2].bring)(&site.files());
    wait(&site, ConditionId::RequestWaits, true);
    let zone = format!("/zone/{ZONE}");
    let page = site.get(&zone).1;
    let (timeline, _) = page.split_once("The timeline as a table").expect("a table");
    let last_line = timeline.rfind("<line").expect("lines");
    for word in [">asked until", " to come</text>", ">Coverage<", ">active</text>"] {
        assert!(timeline.find(word).is_some_and(|at| at > last_line), "no line is drawn over {word}");
    }
    let bare = zone.trim_end_matches('.').to_owned();
    let request = format!("{zone}/request.ksr");
    for (path, media_type, says) in [
        ("/", "text/html", "<h1>example.test.</h1>"),
        ("/?order=name", "text/html", "<h1>1 zone</h1>"),
        (&zone, "text/html", "<svg class=\"tl\" role=\"img\""),
        (&bare, "text/html", "Subscribe as a calendar"),
        (&request, "application/octet-stream", ";; a request\n"),
        ("/calendar.ics", "text/calendar", "BEGIN:VCALENDAR\r\n"),
        ("/api/v1/health", "application/json", "{\"version\":1,"),
        ("/api/v1/health?zone=example.test", "application/json", "\"details\":"),
        ("/healthz", "text/plain", "ok\n"),
        ("/metrics", "text/plain", "offlineksk_zone_severity{zone=\"example.test.\"} 1\n"),
        ("/readyz", "text/plain", "ready\n"),
        ("/readyz?of=serving", "text/plain", "ready\n"),
        ("/favicon.ico", "image/svg+xml", "<svg"),
        ("/style.css", "text/css", ":root"),
        ("/live.js", "text/javascript", "use strict"),
    ] {
        let (head, body) = site.get(path);
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        assert!(head.contains(&format!("\r\nContent-Type: {media_type}")), "{path}: {head}");
        assert!(body.contains(says), "{path}: {body}");
    }
    assert!(
        site.get(&request).0.contains("attachment; filename=\"example_test-"),
        "{}",
        site.get(&request).0
    );
    for missing in
        ["/zone/", "/zone/other.", "/zone/other./request.ksr", "/nothing", "/api/v1/health?zone=other."]
    {
        let (head, _) = site.get(missing);
        assert!(head.starts_with("HTTP/1.1 404 "), "{missing}: {head}");
    }
}

#[test]
fn host_without_its_request_timer_is_not_ready_and_goes_on_to_be_asked() {
    let site = Site::new();
    site.files().end(Component::Requests);
    wait(&site, ConditionId::TimerNotRunning, true);
    for (path, status) in [("/readyz", "503"), ("/readyz?of=serving", "200"), ("/readyz?of=", "503")] {
        let (head, body) = site.get(path);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
        assert!(body.contains("TIMER-NOT-RUNNING"), "{path}: {body}");
    }
    site.files().end(Component::Signer);
    wait(&site, ConditionId::SignerNotRunning, true);
    assert!(site.get("/readyz?of=serving").0.starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_plugin_that_cannot_look_is_unknown_and_wrong_usage_too() {
    let program = env!("CARGO_BIN_EXE_offline-ksk");
    let site = Site::new();
    for (arguments, code) in [
        (vec!["status", "--check", "-c", "/nonexistent.toml", "--state-dir", "/nonexistent"], 3),
        (vec!["status", "--check", "--nonsense"], 3),
        (vec!["status", "--nonsense"], 2),
    ] {
        let output = Command::new(program).args(&arguments).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    }
    let (text, code) = (site.status(&["--check"]), 0);
    let line = String::from_utf8(text.stdout).expect("text");
    if !line.contains("DISK-NEARLY-FULL") {
        assert_eq!(text.status.code(), Some(code), "{line}");
        // The second of the coverage's begin may be over.
        let days = ["184", "183"]
            .map(|days| format!("OFFLINE-KSK OK: example.test. {days} days of coverage left |"));
        assert!(days.iter().any(|begin| line.starts_with(begin)), "{line}");
    }
    // Only the thresholds of the coverage are those of the command line.
    let output = site.status(&["--check", "--warning", "200d", "--critical", "190d"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(Severity::Critical.number(), 2 + 1);
}
