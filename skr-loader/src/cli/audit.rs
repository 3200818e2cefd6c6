//! `skr-loader audit`: reads the audit log, and checks that no line was changed, removed or inserted.

use std::io::Write;

use keystore::time::Timestamp;

use super::reach::StateFolderArgs;
use crate::audit::{self, AuditError, LOG, Record};

/// Read the audit log, or check that it holds together.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check the whole chain of hashes; name the first line that does not fit
    ///
    /// Each line holds the SHA-256 of the line before. Lines that are missing at the end cannot be seen from the log alone:
    /// keep the printed hash elsewhere, and give it as --last the next time. The files audit-N.jsonl are read before audit.jsonl; the oldest
    /// of them may have been archived elsewhere.
    ///
    /// Exit code: 0 the log holds together, 1 it does not, or cannot be read, 2 wrong usage.
    Verify {
        #[command(flatten)]
        folder: StateFolderArgs,
        /// The hash that an earlier run printed: it must still be the hash of one of the lines.
        #[arg(long, value_name = "SHA-256")]
        last: Option<String>,
    },
    /// Print the events, oldest first, up to the first line that does not fit
    Show {
        #[command(flatten)]
        folder: StateFolderArgs,
        /// Print the lines as they stand in the log: a JSON object each.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command; true when the log holds together.
pub fn main(args: &Args, out: &mut impl Write) -> anyhow::Result<bool> {
    match &args.command {
        Command::Verify { folder, last } => verify(&folder.locate()?, last.as_deref(), out),
        Command::Show { folder, json } => {
            let shown = audit::read(&folder.locate()?.join(LOG), |line, record| {
                if *json {
                    out.write_all(line)?;
                    return writeln!(out);
                }
                writeln!(out, "{}", event(record))
            });
            match shown {
                Ok(_) => Ok(true),
                // The plain error, so that a closed pipe is known as one.
                Err(AuditError::Output(error)) => Err(error.into()),
                Err(error) => Err(error.into()),
            }
        }
    }
}

fn verify(state_dir: &std::path::Path, last: Option<&str>, out: &mut impl Write) -> anyhow::Result<bool> {
    let path = state_dir.join(LOG);
    let wanted = last.map(str::to_ascii_lowercase);
    let mut seen = None;
    let chain = audit::read(&path, |line, _| {
        if wanted.as_ref() == Some(&crate::files::hex(&keystore::store::digest(line))) {
            seen = Some(());
        }
        Ok(())
    });
    let chain = match chain {
        Ok(chain) => chain,
        Err(error @ AuditError::Broken { .. }) => {
            writeln!(out, "BROKEN {error}")?;
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    if wanted.is_some() && seen.is_none() {
        writeln!(
            out,
            "BROKEN {}: no line has the hash given as --last: lines at the end are gone",
            path.display()
        )?;
        return Ok(false);
    }
    writeln!(out, "ok {}: {} lines, last {}", path.display(), chain.lines, chain.last)?;
    if let Some(before) = &chain.follows_on {
        writeln!(out, "older files of the log are not here; the last line in them has the hash {before}")?;
    }
    Ok(true)
}

/// One line for people.
fn event(record: &Record) -> String {
    let mut text = format!("{}  {:<9}", Timestamp::from_secs(record.time).iso(), record.event);
    let mut add = |word: &str, value: Option<&str>| {
        if let Some(value) = value {
            text.push_str(&format!("  {word}{}", crate::files::one_line(value)));
        }
    };
    add("", record.zone.as_deref());
    add("generation ", record.generation.map(|n| n.to_string()).as_deref());
    add("file ", record.file.as_deref());
    add("KSK ", record.anchor.as_deref());
    add("checks ", (!record.checks.is_empty()).then(|| record.checks.join(",")).as_deref());
    add("back to ", record.back_to.map(|n| n.to_string()).as_deref());
    add("forced ", (!record.forced.is_empty()).then(|| record.forced.join(",")).as_deref());
    let by = record.uid.map(|uid| crate::user::User { uid, name: record.user.clone() }.to_string());
    add("by ", by.as_deref());
    add("reason ", record.reason.as_deref());
    text.trim_end().to_owned()
}
