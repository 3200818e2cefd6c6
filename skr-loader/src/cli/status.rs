//! `skr-loader status` and `skr-loader reload`: asks the running loader.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use keystore::config::{CONTROL_SOCKET, Config};
use keystore::dns::Name;
use keystore::time::Timestamp;

use super::look::zone_of_dir;
use super::reach::{Reach, STATE_DIR, is_there};
use super::style::{Style, distance};
use crate::control::{Answer, CallError, Request};
use crate::files::one_line;
use crate::status::{self, Condition, Daemon, Severity, Status, ZoneStatus};

/// Say for each zone what is in force and until when, and what somebody should look at.
///
/// Asks the running loader over its socket; when none answers, says so and looks at the files, which tell no deliveries and nothing of the
/// inbox.
///
/// Exit code: 0 every zone is covered now, 1 one is not, 2 wrong usage.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    reach: Reach,
    /// The state folder, instead of what the configuration says.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The zones; all when none is given.
    #[arg(value_name = "ZONE")]
    zones: Vec<String>,
}

/// Have the running loader read its configuration again.
///
/// Prints every error and warning in it. With errors the old configuration stays in use.
///
/// Exit code: 0 it is in use, 1 the old one stays, or no loader answers, 2 wrong usage.
#[derive(Debug, clap::Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    reach: Reach,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `status`; true when every zone is covered now.
pub fn status(args: &StatusArgs, now: Timestamp, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut zones = Vec::new();
    for zone in &args.zones {
        zones.push(Name::parse(zone).with_context(|| zone.clone())?);
    }
    let socket = match (&args.reach.socket, &args.state_dir) {
        (None, Some(dir)) => dir.join(CONTROL_SOCKET),
        _ => args.reach.locate()?,
    };
    let request = Request::Status { zones: zones.iter().map(ToString::to_string).collect() };
    let (status, why) = match args.reach.call(&socket, &request) {
        Ok(Answer::Status(status)) => (*status, None),
        Ok(Answer::Refused { why, .. }) => anyhow::bail!("{}", one_line(&why)),
        Ok(other) => anyhow::bail!("an answer to something else: {other:?}"),
        Err(error) if args.reach.socket.is_some() => return Err(error.into()),
        Err(error) => {
            let status = of_files(args, zones, now).with_context(|| error.to_string())?;
            (status, Some(error))
        }
    };
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?;
    } else {
        print(&status, why.as_ref(), now, out)?;
    }
    Ok(status.zones.iter().all(|zone| zone.covered))
}

fn of_files(args: &StatusArgs, mut zones: Vec<Name>, now: Timestamp) -> anyhow::Result<Status> {
    let config = match &args.state_dir {
        Some(_) => None,
        None if args.reach.config.exists() => Some(Config::load(&args.reach.config)?),
        None => None,
    };
    let configured = config.as_ref().map(|config| config.state_dir.clone());
    let state_dir = args.state_dir.clone().or(configured).unwrap_or_else(|| PathBuf::from(STATE_DIR));
    is_there(&state_dir)?;
    if zones.is_empty() {
        if let Some(config) = &config {
            zones = config.zones.iter().map(|zone| zone.name.clone()).collect();
        } else {
            let accepted = state_dir.join("accepted");
            let entries = std::fs::read_dir(&accepted).with_context(|| accepted.display().to_string())?;
            for entry in entries {
                zones.extend(zone_of_dir(&entry?.file_name().to_string_lossy()));
            }
        }
        zones.sort();
    }
    Ok(status::of_files(&state_dir, &zones, config.as_ref().map(|c| &c.loader), now))
}

fn print(
    status: &Status,
    why: Option<&CallError>,
    now: Timestamp,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let style = Style::of_stdout();
    for zone in &status.zones {
        print_zone(zone, style, now, out)?;
    }
    match &status.daemon {
        Some(daemon) => print_daemon(daemon, style, out),
        None => {
            let why = why.map_or_else(String::new, ToString::to_string);
            writeln!(out, "{}", style.dim(&format!("from the files: {why}")))
        }
    }
}

fn print_zone(zone: &ZoneStatus, style: Style, now: Timestamp, out: &mut impl Write) -> std::io::Result<()> {
    let word = if zone.covered { style.good("covered    ") } else { style.bad("NOT COVERED") };
    let read = |time: &str| {
        let digits: String = time.chars().filter(char::is_ascii_digit).collect();
        Timestamp::parse_stamp(&digits)
    };
    let away = |time: &str| read(time).map_or_else(String::new, |t| distance(t, now));
    let ago = |time: &str| match read(time) {
        Some(t) if t >= now => "just now".to_owned(),
        Some(t) => distance(t, now),
        None => String::new(),
    };
    match (&zone.coverage_end, zone.generation) {
        (Some(end), generation) => {
            let next = zone.next_switch.as_ref().map_or_else(
                || "no bundle follows".to_owned(),
                |next| format!("next bundle {next} ({})", away(next)),
            );
            writeln!(
                out,
                "{word} {}  generation {generation}, until {end} ({}), {next}",
                zone.zone,
                away(end)
            )?;
        }
        (None, _) => writeln!(out, "{word} {}", zone.zone)?,
    }
    if let Some(last) = &zone.last_import {
        let file = last.file.as_ref().map_or_else(String::new, |file| format!(", {file}"));
        let by = last.by.as_ref().map_or_else(String::new, |by| format!(", by {by}"));
        writeln!(out, "  last import: {} {}{file}{by}", last.result, ago(&last.time))?;
    }
    for delivery in &zone.deliveries {
        let state = match (delivery.up, delivery.current) {
            (_, true) => style.good("up to date"),
            (true, false) => style.bad("not up to date"),
            (false, false) => style.bad("not reached"),
        };
        let proof = delivery.last_proof.as_ref().map_or_else(
            || "never proven".to_owned(),
            |at| format!("generation {} proven {}", delivery.generation, ago(at)),
        );
        writeln!(out, "  delivery {}: {state}, {proof}", delivery.target)?;
    }
    print_conditions(&zone.conditions, style, out)
}

fn print_daemon(daemon: &Daemon, style: Style, out: &mut impl Write) -> std::io::Result<()> {
    let inbox = &daemon.inbox;
    let watched = if inbox.watched { "watched" } else { "NOT WATCHED" };
    writeln!(
        out,
        "skr-loader {}, process {}, up since {}; {} {watched}, {} file(s) wait or were left",
        daemon.version,
        daemon.pid,
        daemon.started,
        inbox.folder,
        inbox.pending.len()
    )?;
    for pending in &inbox.pending {
        let id = pending.id.as_ref().map_or_else(String::new, |id| format!(": {id}"));
        let why = pending.reason.as_ref().map_or_else(String::new, |why| format!(" {}", one_line(why)));
        writeln!(out, "  {} {}{id}{why}", pending.state, pending.file)?;
    }
    print_conditions(&daemon.conditions, style, out)
}

fn print_conditions(conditions: &[Condition], style: Style, out: &mut impl Write) -> std::io::Result<()> {
    for Condition { severity, what } in conditions {
        let word = match severity {
            Severity::Critical => style.bad("CRITICAL"),
            Severity::Warning => style.warn("warning"),
            Severity::Info => style.dim("info"),
        };
        writeln!(out, "  {word}: {}", one_line(what))?;
    }
    Ok(())
}

/// Runs `reload`; true when the new configuration is in use.
pub fn reload(args: &ReloadArgs, out: &mut impl Write) -> anyhow::Result<bool> {
    let answer = args.reach.call(&args.reach.locate()?, &Request::Reload {})?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
    }
    match &answer {
        Answer::Reloaded { zones, warnings } if !args.json => {
            for warning in warnings {
                writeln!(out, "{}", one_line(warning))?;
            }
            writeln!(out, "the configuration is in use, {zones} zone(s)")?;
        }
        Answer::NotReloaded { findings } if !args.json => {
            for finding in findings {
                writeln!(out, "{}", one_line(finding))?;
            }
            writeln!(out, "the old configuration stays in use")?;
        }
        Answer::Refused { why, .. } => anyhow::bail!("{}", one_line(why)),
        _ => {}
    }
    Ok(matches!(answer, Answer::Reloaded { .. }))
}
