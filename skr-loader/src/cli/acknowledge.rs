//! `skr-loader acknowledge`: a person has seen what is told of the drops of a zone.

use std::io::Write;

use keystore::dns::Name;
use keystore::time::Timestamp;

use super::reach::LoaderArgs;
use crate::control::{ControlAnswer, ControlRequest};
use crate::files::one_line;

/// Note in the audit log that the rejected drop of a zone, or the warnings of the SKR in force, were seen.
///
/// IMPORT-REJECTED, SKR-WARNED and SKR-FORCED of the zone are then told no more, until another drop is rejected or another
/// generation is in force. Nothing else changes: the rejected file stays in rejected/, and the audit log keeps what happened.
///
/// Exit code: 0 done, 1 there is nothing to acknowledge, or the audit log cannot be written, 2 wrong usage.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  skr-loader acknowledge example.org --reason 'test file of the KSK side'")]
pub struct Args {
    #[command(flatten)]
    reach: LoaderArgs,
    /// The rejected drop that was seen: refused when another one was rejected since, and of the SKR in force nothing is acknowledged.
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// Why; it stands in the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The zone.
    #[arg(value_name = "ZONE")]
    zone: Name,
}

/// Runs the command; true when it is done.
pub fn main(args: &Args, now: Timestamp, out: &mut impl Write) -> anyhow::Result<bool> {
    let (zone, file, reason) = (args.zone.to_string(), args.file.clone(), args.reason.clone());
    let request = ControlRequest::Acknowledge { zone, file, reason };
    let (answer, _) = args.reach.ask(request, now)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
    }
    match &answer {
        ControlAnswer::Acknowledged { zone, rejected, generation, checks } => {
            let mut seen = Vec::new();
            seen.extend(rejected.as_ref().map(|file| format!("{} was rejected", one_line(file))));
            seen.extend(generation.map(|number| format!("generation {number} has warnings")));
            if !args.json {
                writeln!(
                    out,
                    "{zone}  acknowledged: {} ({})",
                    seen.join("; "),
                    one_line(&checks.join(", "))
                )?;
            }
            Ok(true)
        }
        ControlAnswer::Refused { why, .. } => anyhow::bail!("{}", one_line(why)),
        other => anyhow::bail!("an answer to something else: {other:?}"),
    }
}
