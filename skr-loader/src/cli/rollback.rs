//! `skr-loader rollback`: the content of an older generation in force again.

use std::io::{self, Write};

use keystore::dns::Name;
use keystore::time::Timestamp;

use super::import::forceable;
use super::reach::{LoaderArgs, confirm, print_advice, print_findings};
use super::style::Style;
use crate::control::{ControlAnswer, ControlRequest, CoverageReport, RollbackReport};
use crate::files::one_line;

/// Put the content of an older generation in force again.
///
/// It becomes a new generation: nothing is removed, and no number is used twice. It is judged anew, as of now: its signatures must be
/// valid, a bundle must be in force, its keys must be here, and it must be safe with what caches hold of the generation that
/// it replaces. Without --to it is the newest generation before the one whose content is in force, so that two rollbacks do not
/// undo each other. Shows what is covered before and after, and asks.
///
/// The file of the generation that is left counts as an older one from then on: dropped again it is rejected (SKR-REPLAY). To bring it
/// back, name it: `rollback --to N`, or `import --force SKR-REPLAY`.
///
/// Exit code: 0 done, 1 refused, 2 wrong usage.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  skr-loader rollback example.org --reason 'generation 7 has the wrong ZSK'
What there is to go back to: skr-loader list example.org")]
pub struct Args {
    #[command(flatten)]
    reach: LoaderArgs,
    /// The generation to go back to.
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Why; it stands in the audit log.
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Let this check pass, though it rejects (SKR-PROVE, SKR-KEYSET, SKR-NO-PRIVATE-KEY).
    #[arg(long, value_name = "CHECK-ID", requires = "reason", value_parser = forceable)]
    force: Vec<String>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The zone.
    #[arg(value_name = "ZONE")]
    zone: Name,
}

/// Runs the command; true when it is done.
pub fn main(args: &Args, now: Timestamp, out: &mut impl Write) -> anyhow::Result<bool> {
    let style = Style::of_stdout();
    let request = |to, dry_run| ControlRequest::Rollback {
        zone: args.zone.to_string(),
        to,
        force: args.force.clone(),
        reason: args.reason.clone(),
        dry_run,
    };
    let mut to = args.to;
    if !args.dry_run && !args.yes {
        let (answer, _) = args.reach.ask(request(to, true), now)?;
        if let ControlAnswer::RolledBack(report) = &answer {
            print(report, style, &mut io::stderr())?;
            if !confirm("Go back?", false)? {
                return Ok(false);
            }
            // What was asked about, whatever came in between.
            to = Some(report.to);
        }
    }
    let (answer, done) = args.reach.ask(request(to, args.dry_run), now)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
    }
    match &answer {
        ControlAnswer::RolledBack(report) => {
            if !args.json {
                print(report, style, out)?;
                if !args.dry_run {
                    done.note(out)?;
                }
            }
            Ok(true)
        }
        ControlAnswer::Refused { why, findings } => {
            if !args.json {
                print_findings(findings, style, out)?;
                print_advice(findings, out)?;
            }
            anyhow::bail!("{}", one_line(why))
        }
        other => anyhow::bail!("an answer to something else: {other:?}"),
    }
}

fn print(report: &RollbackReport, style: Style, out: &mut impl Write) -> io::Result<()> {
    let from = report.from.map_or_else(|| "a damaged store".to_owned(), |n| format!("generation {n}"));
    let would = if report.dry_run { "would go" } else { "went" };
    let RollbackReport { zone, to, generation, .. } = report;
    writeln!(out, "{zone}  {would} back from {from} to generation {to}, as generation {generation}")?;
    match &report.before {
        Some(before) => print_coverage("before", before, out)?,
        None => writeln!(out, "  before  nothing")?,
    }
    print_coverage("after", &report.after, out)?;
    let before = report.before.as_ref().map_or(0, |c| c.left_seconds);
    if report.after.left_seconds < before {
        let lost = before - report.after.left_seconds;
        let text = format!("the coverage ends {} days {} hours earlier", lost / 86_400, lost % 86_400 / 3600);
        writeln!(out, "  {}", style.warn(&text))?;
    }
    print_findings(&report.findings, style, out)?;
    for id in &report.force_not_needed {
        writeln!(out, "  note: --force {id} was not needed")?;
    }
    Ok(())
}

fn print_coverage(word: &str, coverage: &CoverageReport, out: &mut impl Write) -> io::Result<()> {
    let CoverageReport { bundle, end, left_seconds, gap_seconds, bundles_left } = coverage;
    let bundle = bundle
        .as_ref()
        .map_or_else(|| "no bundle in force".to_owned(), |(from, _)| format!("bundle of {from}"));
    let gap = if *gap_seconds > 0 { format!(", a hole of {gap_seconds} seconds") } else { String::new() };
    writeln!(
        out,
        "  {word:<7} {bundle}, {bundles_left} to come, covered until {end} ({} days){gap}",
        left_seconds / 86_400
    )
}
