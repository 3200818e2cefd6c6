//! `skr-loader status`, which is `offline-ksk status` as well, and `skr-loader reload`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use keystore::config::zone_files::InUse;
use keystore::config::zone_files::memory::Program;
use keystore::config::{Config, control_socket_of};
use keystore::dns::Name;
use keystore::time::Timestamp;
use metrics::health::facts::Thresholds;
use metrics::health::gather::{Gatherer, Host, read_since};
use metrics::health::judge::judge;
use metrics::health::plugin::{self, PluginState};
use metrics::health::terminal::{self, Paint};
use metrics::health::{Health, Severity};

use super::look::zone_of_dir;
use super::reach::{LoaderArgs, STATE_DIR, is_there};
use super::style::Style;
use crate::control::{CallError, ControlAnswer, ControlRequest};
use crate::files::one_line;
use crate::watching::AUDIT;

/// Columns where the terminal does not say how wide it is.
const COLUMNS: usize = 100;
/// Pause between two looks of --watch.
const PAUSE: Duration = Duration::from_secs(2);

/// Say for each zone until when it is covered, what is wrong with it, what happens next and what to do.
///
/// Without ZONE: all zones, those that need somebody first. With ZONE: the timeline, each condition with what to do, the open request.
/// Asks the running loader over its socket; when none answers, reads the files and what other daemons have written there, and says so.
///
/// Exit code: 0 nothing to do today, 1 somebody should act, or the state cannot be read, 2 wrong usage. With --check that of a
/// monitoring plugin: 0 ok, 1 warning, 2 critical, 3 unknown.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    reach: LoaderArgs,
    /// The state folder, instead of what the configuration says.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print JSON; its keys stand in the manual.
    #[arg(long, conflicts_with_all = ["check", "watch"])]
    json: bool,
    /// Print one line with performance data, and end with the exit code of a monitoring plugin (Icinga, Nagios).
    #[arg(long, conflicts_with = "watch")]
    check: bool,
    /// Coverage below this is a warning, instead of what the configuration says: 30d, 12h, 600s.
    #[arg(long, value_name = "TIME", requires = "check", value_parser = span)]
    warning: Option<u64>,
    /// Coverage below this is critical, instead of what the configuration says.
    #[arg(long, value_name = "TIME", requires = "check", value_parser = span)]
    critical: Option<u64>,
    /// Print again every two seconds, until Ctrl-C.
    #[arg(long)]
    watch: bool,
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
    reach: LoaderArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn span(text: &str) -> Result<u64, &'static str> {
    plugin::parse_span(text).ok_or("expected a time like 30d, 12h or 600s")
}

/// Runs `status`; gives the exit code.
pub fn status(args: &StatusArgs, clock: impl Fn() -> Timestamp, out: &mut impl Write) -> anyhow::Result<u8> {
    loop {
        let found = look(args, clock());
        if args.check {
            let (text, state) = match &found {
                Ok((health, thresholds)) => plugin::check(health, *thresholds),
                Err(error) => plugin::unknown(&format!("{error:#}")),
            };
            write!(out, "{text}")?;
            return Ok(state.code());
        }
        let (health, _) = found?;
        if args.watch {
            // Clears the terminal and begins at its top.
            write!(out, "\u{1b}[2J\u{1b}[H")?;
        }
        print(args, &health, out)?;
        if !args.watch {
            let needs_somebody = PluginState::of(health.severity) != PluginState::Ok;
            return Ok(u8::from(needs_somebody));
        }
        out.flush()?;
        std::thread::sleep(PAUSE);
    }
}

fn print(args: &StatusArgs, health: &Health, out: &mut impl Write) -> std::io::Result<()> {
    if args.json {
        return writeln!(out, "{}", serde_json::to_string_pretty(health)?);
    }
    let paint = Paint { colours: Style::of_stdout().has_colours() };
    if args.zones.is_empty() && health.zones.len() != 1 {
        return write!(out, "{}", terminal::overview(health, paint));
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(COLUMNS);
    write!(out, "{}", terminal::zones(health, paint, columns))
}

/// The health of the zones that are asked for, and the thresholds that it was judged by.
fn look(args: &StatusArgs, now: Timestamp) -> anyhow::Result<(Health, Thresholds)> {
    // A configuration of thousands of zones takes time to read, and only the monitoring plugin prints the thresholds.
    let thresholds = || match args.check {
        true => host(args, now).map_or_else(|_| defaults(), |host| host.thresholds),
        false => defaults(),
    };
    let mut zones = Vec::new();
    for zone in &args.zones {
        zones.push(zone.parse::<Name>().with_context(|| zone.clone())?);
    }
    let socket = match (&args.reach.socket, &args.state_dir) {
        (None, Some(dir)) => control_socket_of(dir),
        _ => args.reach.locate()?,
    };
    let has_limits = args.warning.is_some() || args.critical.is_some();
    let here = |why: Option<CallError>| {
        let host = host(args, now).with_context(|| why.map_or_else(String::new, |why| why.to_string()))?;
        let thresholds = host.thresholds;
        let facts = Gatherer::new(AUDIT, None).gather(&host, &[], now);
        let health = judge(&facts, &read_since(&host.state_dir), now);
        anyhow::Ok((health, thresholds))
    };
    let (health, thresholds) = if has_limits && args.reach.socket.is_none() {
        here(None)?
    } else {
        let request = ControlRequest::Status { zones: zones.iter().map(ToString::to_string).collect() };
        match args.reach.call(&socket, &request) {
            Ok(ControlAnswer::Status(health)) => (*health, thresholds()),
            Ok(ControlAnswer::Refused { why, .. }) => anyhow::bail!("{}", one_line(&why)),
            Ok(other) => anyhow::bail!("an answer to something else: {other:?}"),
            Err(error) if args.reach.socket.is_some() => return Err(error.into()),
            Err(error) => {
                if socket.exists() {
                    eprintln!("skr-loader: status: from the files, since {error}");
                }
                here(Some(error))?
            }
        }
    };
    Ok((of_zones(health, &zones)?, thresholds))
}

/// The health of these zones alone, or all where none is named.
fn of_zones(health: Health, zones: &[Name]) -> anyhow::Result<Health> {
    let labels: Vec<String> = zones.iter().map(|zone| zone.to_lowercase().to_string()).collect();
    if let Some(unknown) = labels.iter().find(|label| health.zone(label).is_none()) {
        anyhow::bail!("{unknown} is no [[zone]] of the configuration");
    }
    if zones.is_empty() {
        return Ok(match &health.zones[..] {
            [zone] => Health { zones: vec![zone.with_details(health.now)], ..health },
            _ => health.without_details(),
        });
    }
    let mut health = health.only(&labels);
    let worst = |conditions: &[metrics::health::Condition]| conditions.iter().map(|c| c.severity).max();
    let zones = health.zones.iter().map(|zone| zone.severity).max();
    health.severity = zones.max(worst(&health.conditions)).unwrap_or(Severity::Ok);
    Ok(health)
}

/// What is to be looked at, with the limits of the command line.
fn host(args: &StatusArgs, now: Timestamp) -> anyhow::Result<Host> {
    let mut host = match &args.state_dir {
        None if args.reach.config.exists() => {
            let config = Config::load_without_bad_zone_files(
                &args.reach.config,
                InUse::Remembered(Program::Loader),
                now,
            )?;
            if let Some(errors) = config.zone_file_errors() {
                eprintln!("{errors}");
            }
            Host::from(&config)
        }
        dir => {
            let state_dir = dir.clone().unwrap_or_else(|| PathBuf::from(STATE_DIR));
            is_there(&state_dir)?;
            let accepted = state_dir.join("accepted");
            let entries = std::fs::read_dir(&accepted).with_context(|| accepted.display().to_string())?;
            let mut zones = Vec::new();
            for entry in entries {
                zones.extend(zone_of_dir(&entry?.file_name().to_string_lossy()));
            }
            zones.extend(args.zones.iter().filter_map(|zone| Name::parse(zone).ok()));
            zones.sort();
            zones.dedup();
            Host::of_folder(&state_dir, zones)
        }
    };
    is_there(&host.state_dir)?;
    let limits = &mut host.thresholds;
    limits.critical = args.critical.unwrap_or(limits.critical);
    limits.warning = args.warning.unwrap_or(limits.warning).max(limits.critical);
    limits.info = limits.info.max(limits.warning);
    Ok(host)
}

fn defaults() -> Thresholds {
    Host::of_folder(std::path::Path::new(STATE_DIR), Vec::new()).thresholds
}

/// Runs `reload`; true when the new configuration is in use.
pub fn reload(args: &ReloadArgs, out: &mut impl Write) -> anyhow::Result<bool> {
    let answer = args.reach.call(&args.reach.locate()?, &ControlRequest::Reload {})?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
    }
    match &answer {
        ControlAnswer::Reloaded { zones, warnings } if !args.json => {
            for warning in warnings {
                writeln!(out, "{}", one_line(warning))?;
            }
            writeln!(out, "the configuration is in use, {zones} zone(s)")?;
        }
        ControlAnswer::PartlyReloaded { zones, findings, .. } if !args.json => {
            for finding in findings {
                writeln!(out, "{}", one_line(finding))?;
            }
            writeln!(
                out,
                "the configuration is in use, {zones} zone(s); those of zone files with errors are as they were"
            )?;
        }
        ControlAnswer::NotReloaded { findings } if !args.json => {
            for finding in findings {
                writeln!(out, "{}", one_line(finding))?;
            }
            writeln!(out, "the old configuration stays in use")?;
        }
        ControlAnswer::Refused { why, .. } => anyhow::bail!("{}", one_line(why)),
        _ => {}
    }
    Ok(matches!(answer, ControlAnswer::Reloaded { .. }))
}
