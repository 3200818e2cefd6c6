//! `offline-ksk alert-test`: sends a test alert to Alertmanager, and waits until it was taken and somebody was told.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keystore::clock;
use keystore::config::Config;
use keystore::time::duration;
use metrics::health::alarm;
use serde_json::{Value, json};

use crate::http_client::HttpServer;

/// Name of the alert.
const ALERT: &str = "OfflineKskTest";
/// How long the alert lasts when it cannot be ended, in seconds.
const LASTS: u64 = 300;
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// `offline-ksk alert-test`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The configuration file; a test that went well is noted in its state folder, for the condition ALARM-UNTESTED
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Alertmanager, such as http://localhost:9093
    #[arg(long, value_name = "URL")]
    alertmanager: String,
    /// The label `severity`, by which alerts are routed: critical, warning or info
    #[arg(long, default_value = "critical", value_parser = ["critical", "warning", "info"])]
    severity: String,
    /// How long to wait until a notification was sent; 0 = only until Alertmanager has the alert
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = seconds)]
    wait: u64,
    /// Name for basic authentication
    #[arg(long, requires = "password_file")]
    user: Option<String>,
    /// File with the password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Certificates (PEM) that the server's must lead to; by default those of the system
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<u64, String> {
    duration::parse(text).map(u64::from).ok_or_else(|| "expected a duration, such as 90s or 5m".to_owned())
}

/// What became of the alert.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// A notification was sent.
    Sent,
    /// Alertmanager has it, and nobody waited for more.
    Taken,
    /// It is silenced or inhibited; why.
    Suppressed(Vec<String>),
    /// No notification was sent in time; how many failed.
    NotSent { failed: u64 },
}

/// Runs the command: exit code 0 when somebody was told, 1 when Alertmanager has the alert and told nobody, 2 when it does not take it.
pub fn run(options: &Options) -> Result<ExitCode> {
    let sent = server(options).and_then(|server| send(&server, options));
    match sent {
        Ok((receivers, outcome)) => {
            outln!("Alertmanager has the alert; receivers: {}", receivers.join(", "));
            Ok(match outcome {
                Outcome::Sent => {
                    outln!("a notification was sent: see that it has arrived");
                    note(options)?;
                    ExitCode::SUCCESS
                }
                Outcome::Taken => ExitCode::SUCCESS,
                Outcome::Suppressed(reasons) => {
                    outln!("SUPPRESSED, nobody is told: {}", reasons.join("; "));
                    ExitCode::FAILURE
                }
                Outcome::NotSent { failed } => {
                    outln!(
                        "NOT SENT within {} seconds; {failed} notifications failed: see the log of Alertmanager",
                        options.wait
                    );
                    ExitCode::FAILURE
                }
            })
        }
        Err(error) => {
            eprintln!("offline-ksk: {error:#}");
            Ok(ExitCode::from(2))
        }
    }
}

/// Notes in the state folder that the test went well.
fn note(options: &Options) -> Result<()> {
    let Some(config) = &options.config else { return Ok(()) };
    let state_dir = Config::locate_state_dir(config)
        .with_context(|| format!("{}: no state-dir can be read from it", config.display()))?;
    let path = alarm::note(&state_dir, clock::now())
        .with_context(|| format!("the test cannot be noted in {}", state_dir.display()))?;
    outln!("noted in {}", path.display());
    Ok(())
}

fn server(options: &Options) -> Result<HttpServer> {
    let mut server = HttpServer::parse(&options.alertmanager)?;
    server.ca.clone_from(&options.ca);
    if let (Some(user), Some(path)) = (&options.user, &options.password_file) {
        let password = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        server.login = Some((user.clone(), password.trim_end_matches(['\r', '\n']).to_owned()));
    }
    Ok(server)
}

/// Sends the alert, waits, and ends it. The names of the receivers, and what became of it.
fn send(server: &HttpServer, options: &Options) -> Result<(Vec<String>, Outcome)> {
    let before = Notifications::read(server)?;
    let now = clock::now();
    let run = format!("{}-{}", now.secs(), std::process::id());
    let alert = |end: &str| {
        json!([{
            "labels": {"alertname": ALERT, "severity": options.severity, "test": "true", "run": run},
            "annotations": {
                "summary": "A test: offline-ksk alert-test was run",
                "description": "Nothing is wrong. Whoever reads this can be reached by the alerts of offline-ksk.",
            },
            // Without the start it would begin at its end, and nobody would be told.
            "startsAt": now.iso(),
            "endsAt": end,
        }])
        .to_string()
    };
    server.post("/api/v2/alerts", &alert(&now.plus(LASTS).iso()))?;
    let outcome = watch(server, &run, &before, Duration::from_secs(options.wait));
    // The notification that it is over follows; when this fails it ends by itself.
    let _ = server.post("/api/v2/alerts", &alert(&clock::now().iso()));
    outcome
}

fn watch(
    server: &HttpServer,
    run: &str,
    before: &Notifications,
    wait: Duration,
) -> Result<(Vec<String>, Outcome)> {
    let started = Instant::now();
    // Taking an alert needs a moment even when nobody waits for more.
    let least = Duration::from_secs(10);
    loop {
        let found = find(server, run)?;
        let over = started.elapsed() >= wait.max(if found.is_some() { Duration::ZERO } else { least });
        let failed = |after: &Notifications| after.failed.saturating_sub(before.failed);
        match found {
            Some((receivers, Standing::Suppressed(reasons))) => {
                return Ok((receivers, Outcome::Suppressed(reasons)));
            }
            Some((receivers, Standing::Active)) if wait.is_zero() => return Ok((receivers, Outcome::Taken)),
            Some((receivers, Standing::Active)) => {
                let after = Notifications::read(server)?;
                let failed = failed(&after);
                if after.sent.saturating_sub(before.sent) > failed {
                    return Ok((receivers, Outcome::Sent));
                }
                if over {
                    return Ok((receivers, Outcome::NotSent { failed }));
                }
            }
            None if over => anyhow::bail!("Alertmanager took the alert and does not list it"),
            None => {}
        }
        std::thread::sleep(PAUSE);
    }
}

/// How Alertmanager sees the alert.
enum Standing {
    Active,
    Suppressed(Vec<String>),
}

/// The alert of this run as Alertmanager lists it: its receivers, and whether it is suppressed.
fn find(server: &HttpServer, run: &str) -> Result<Option<(Vec<String>, Standing)>> {
    let text = server.get(&format!("/api/v2/alerts?filter=run%3D%22{run}%22"))?;
    let listed: Value = serde_json::from_str(&text).context("the list of alerts is no JSON")?;
    let Some(alert) = listed.get(0) else { return Ok(None) };
    let words = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(|item| item.as_str().or_else(|| item["name"].as_str())).map(str::to_owned).collect()
    };
    let receivers = words(&alert["receivers"]);
    let status = &alert["status"];
    match status["state"].as_str() {
        Some("suppressed") => {
            let silences = words(&status["silencedBy"]).into_iter().map(|id| silence(server, &id));
            let inhibited =
                words(&status["inhibitedBy"]).into_iter().map(|by| format!("inhibited by the alert {by}"));
            let muted =
                words(&status["mutedBy"]).into_iter().map(|by| format!("muted by the time interval {by}"));
            Ok(Some((receivers, Standing::Suppressed(silences.chain(inhibited).chain(muted).collect()))))
        }
        Some("active") => Ok(Some((receivers, Standing::Active))),
        // It was not looked at yet.
        _ => Ok(None),
    }
}

/// A silence in words: who made it, why, and until when.
fn silence(server: &HttpServer, id: &str) -> String {
    let read = || -> Result<String> {
        let silence: Value = serde_json::from_str(&server.get(&format!("/api/v2/silence/{id}"))?)?;
        let word = |key: &str| silence[key].as_str().unwrap_or("?").to_owned();
        Ok(format!("silenced by {} until {}: {}", word("createdBy"), word("endsAt"), word("comment")))
    };
    read().unwrap_or_else(|_| format!("silenced by {id}"))
}

/// Counters of Alertmanager, over all its integrations.
#[derive(Debug, Default, PartialEq, Eq)]
struct Notifications {
    sent: u64,
    failed: u64,
}

impl Notifications {
    fn read(server: &HttpServer) -> Result<Self> {
        Ok(Self::parse(&server.get("/metrics")?))
    }

    fn parse(text: &str) -> Self {
        let sum = |family: &str| {
            let of_family = text
                .lines()
                .filter(|line| line.strip_prefix(family).is_some_and(|r| r.starts_with(['{', ' '])));
            of_family.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
        };
        Self {
            sent: sum("alertmanager_notifications_total"),
            failed: sum("alertmanager_notifications_failed_total"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_are_counted_over_all_integrations() {
        let text = "# TYPE alertmanager_notifications_total counter\nalertmanager_notifications_total{integration=\"email\"} 2\n\
                    alertmanager_notifications_total{integration=\"webhook\"} 1e+01\n\
                    alertmanager_notifications_failed_total{integration=\"webhook\",reason=\"other\"} 3\n\
                    alertmanager_notifications_suppressed_total 9\n";
        assert_eq!(Notifications::parse(text), Notifications { sent: 12, failed: 3 });
        assert_eq!(Notifications::parse(""), Notifications::default());
    }
}
