//! `offline-ksk status`: what is accepted, how long it lasts, and which requests wait, for people or as JSON.
//!
//! Reads files only, so it tells the truth whether or not a daemon runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use keystore::clock;
use keystore::config::{Config, ZoneConfig};
use keystore::exchange::Coverage;
use keystore::store;
use keystore::time::Timestamp;
use serde::Serialize;
use signer_plugin::runtime::CONDITIONS;

/// One zone, as it is printed. Times are ISO 8601 in UTC.
#[derive(Debug, Serialize)]
struct ZoneStatus {
    zone: String,
    /// Number of the accepted SKR; 0 = none.
    generation: u64,
    /// Inception of the bundle in force.
    bundle_since: Option<String>,
    /// Earliest expiration of its signatures.
    bundle_until: Option<String>,
    next_switch: Option<String>,
    coverage_end: Option<String>,
    /// Seconds until then; 0 = run out.
    coverage_left_seconds: u64,
    /// Longest hole to come, in seconds.
    gap_seconds: u64,
    bundles_left: usize,
    open_requests: Vec<PathBuf>,
    /// What is wrong with the store.
    error: Option<String>,
    /// What keeps the signer from following its files, one sentence each.
    signer_conditions: Vec<String>,
}

/// Prints the status of every configured zone; exit status 1 when one of them is not covered now.
pub fn run(path: &Path, json: bool) -> Result<ExitCode> {
    let config = Config::load(path)?;
    let now = clock::now();
    let zones: Vec<ZoneStatus> = config.zones.iter().map(|zone| look(&config, zone, now)).collect();
    if json {
        outln!("{}", serde_json::to_string_pretty(&zones)?);
    } else {
        zones.iter().for_each(print);
    }
    let covered = zones.iter().all(|zone| zone.bundle_since.is_some() && zone.coverage_left_seconds > 0);
    Ok(if covered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn look(config: &Config, zone: &ZoneConfig, now: Timestamp) -> ZoneStatus {
    let stored = skr_loader::store::peek(&config.state_dir.join("accepted"), &zone.name);
    let in_force = stored.in_force();
    let seen = in_force.and_then(|skr| Coverage::at(&skr.bundles, now));
    let iso = |time: Timestamp| time.iso();
    ZoneStatus {
        zone: zone.name.to_lowercase().to_string(),
        generation: in_force.map_or(0, |skr| skr.generation),
        bundle_since: seen.and_then(|c| c.active).map(|(since, _)| since.iso()),
        bundle_until: seen.and_then(|c| c.active).map(|(_, until)| until.iso()),
        next_switch: seen.and_then(|c| c.next).map(iso),
        coverage_end: seen.map(|c| c.end).map(iso),
        coverage_left_seconds: seen.map_or(0, |c| c.end.since(now)),
        gap_seconds: seen.map_or(0, |c| c.longest_gap),
        bundles_left: seen.map_or(0, |c| c.future),
        open_requests: requests(&store::zone_dir(&config.state_dir.join("outbox"), &zone.name)),
        error: stored.error().map(ToString::to_string),
        signer_conditions: signer_conditions(&store::zone_dir(&config.state_dir.join("zones"), &zone.name)),
    }
}

/// The conditions that the signer has written down; none when the file is not there.
fn signer_conditions(state: &Path) -> Vec<String> {
    match std::fs::read_to_string(state.join(CONDITIONS)) {
        Ok(text) => text.lines().map(str::to_owned).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => vec![format!("{}: {error}", state.join(CONDITIONS).display())],
    }
}

/// The `.ksr` files of an outbox, oldest name first; a folder that is not there has none.
fn requests(outbox: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(outbox).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|p| p.extension().is_some_and(|e| e == "ksr")).collect();
    found.sort();
    found
}

fn print(zone: &ZoneStatus) {
    outln!("{}", zone.zone);
    let line = |what: &str, value: &str| outln!("  {what:<16} {value}");
    if let Some(error) = &zone.error {
        line("ERROR", error);
    }
    for condition in &zone.signer_conditions {
        line("CONDITION", condition);
    }
    if zone.generation == 0 {
        line("accepted", "nothing yet; drop an SKR into the inbox");
    } else {
        line("generation", &zone.generation.to_string());
        match (&zone.bundle_since, &zone.bundle_until) {
            (Some(since), Some(until)) => {
                line("bundle in force", &format!("since {since}, signatures until {until}"))
            }
            _ => line("bundle in force", "NONE"),
        }
        line("next switch", zone.next_switch.as_deref().unwrap_or("none: this is the last bundle"));
        let days = zone.coverage_left_seconds / 86_400;
        line("coverage", &format!("{days} days, until {}", zone.coverage_end.as_deref().unwrap_or("-")));
        if zone.gap_seconds > 0 {
            line("GAP", &format!("{} seconds without a valid bundle to come", zone.gap_seconds));
        }
    }
    for request in &zone.open_requests {
        line("open request", &request.display().to_string());
    }
}
