//! `skr-loader import`: hands a file to the loader by hand.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use keystore::crypto::cms::MAX_SIGNATURE_OCTETS;
use keystore::exchange::many;
use keystore::time::Timestamp;

use super::reach::{CarriedOut, LoaderArgs, confirm, print_advice, print_findings};
use super::style::Style;
use crate::control::{ControlAnswer, ControlImportResult, ControlRequest, ImportReport};
use crate::files::{self, NamedBy, one_line, printable};
use crate::operator::signature_path;
use crate::order::{Execution, OperatorOrder, ReasonRule};
use crate::user::User;

/// Hand a file to the loader, and say what became of it.
///
/// It is judged as if it had been dropped into the inbox, with the same line in the audit log, and your name in it; your file stays
/// where it is. Asks the running loader over its socket, which is for root and the loader's own user; without a loader it does the work
/// itself.
///
/// --force lets an SKR pass a check that rejects it, where you know better than the loader: SKR-HORIZON, SKR-GAP (towards what is
/// in force), SKR-OPERATOR, SKR-PARENT-DS, SKR-REPLAY, SKR-NO-PRIVATE-KEY, SKR-KEYSET, SKR-NOT-ASKED, SKR-PROVE. Signatures, unknown KSKs, syntax and limits are never
/// forced.
///
/// Exit code: 0 in force now (or was already), 1 rejected, not stored, or refused, 2 wrong usage.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skr-loader import example.org.skr
  skr-loader import --dry-run --force SKR-REPLAY --reason 'try it' old.skr
  skr-loader import --force SKR-REPLAY --reason 'generation 7 has the wrong ZSK' --yes old.skr")]
pub struct Args {
    #[command(flatten)]
    reach: LoaderArgs,
    /// The signature of the KSK operator over the file (CMS); by default FILE.p7s, when it is there.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Let this check pass, though it rejects; may be given several times.
    #[arg(long, value_name = "CHECK-ID", requires = "reason", value_parser = forceable)]
    force: Vec<String>,
    /// Why; it stands in the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before something is forced.
    #[arg(long)]
    yes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The file; - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// An ID that may be forced.
pub fn forceable(id: &str) -> Result<String, String> {
    let who = User { uid: 0, name: None };
    let order = OperatorOrder::new(who, &[id.to_owned()], None, Execution::DryRun, ReasonRule::WhenForced);
    order
        .map(|order| order.force.iter().map(ToString::to_string).collect())
        .map_err(|error| error.to_string())
}

/// Runs the command; true when every SKR of the file is in force.
pub fn main(args: &Args, now: Timestamp, out: &mut impl Write) -> anyhow::Result<bool> {
    let style = Style::of_stdout();
    let octets = read(&args.file)?;
    let name = if args.file == Path::new("-") {
        "standard input".to_owned()
    } else {
        printable(args.file.file_name().unwrap_or_default())
    };
    let signature = signature(args)?.map(|octets| data_encoding::BASE64.encode(&octets));
    let request = |dry_run, force: &[String]| ControlRequest::Import {
        name: name.clone(),
        content: data_encoding::BASE64.encode(&octets),
        signature: signature.clone(),
        force: force.to_vec(),
        reason: args.reason.clone(),
        dry_run,
    };
    if !args.force.is_empty() && !args.dry_run && !args.yes {
        let (answer, _) = args.reach.ask(request(true, &args.force), now)?;
        let ControlAnswer::Imported { imports } = &answer else {
            return finish(args, &answer, CarriedOut::ByDaemon, style, out);
        };
        if imports.iter().all(|import| !import.is_good()) {
            // Not even with what is forced: for the log, too. Nothing is forced that nobody was asked about, should it be good by now.
            let (answer, done) = args.reach.ask(request(false, &[]), now)?;
            return finish(args, &answer, done, style, out);
        }
        for import in imports {
            print(import, style, &mut io::stderr())?;
        }
        if !confirm(&format!("Import {name} all the same?"), false)? {
            return Ok(false);
        }
    }
    let (answer, done) = args.reach.ask(request(args.dry_run, &args.force), now)?;
    finish(args, &answer, done, style, out)
}

fn finish(
    args: &Args,
    answer: &ControlAnswer,
    done: CarriedOut,
    style: Style,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(answer)?)?;
    }
    match answer {
        ControlAnswer::Imported { imports } => {
            if !args.json {
                for import in imports {
                    print(import, style, out)?;
                }
                if !args.dry_run
                    && imports.iter().any(|import| import.result == ControlImportResult::Accepted)
                {
                    done.note(out)?;
                }
            }
            Ok(!imports.is_empty() && imports.iter().all(ImportReport::is_good))
        }
        ControlAnswer::Refused { why, .. } => anyhow::bail!("{}", one_line(why)),
        other => anyhow::bail!("an answer to something else: {other:?}"),
    }
}

fn print(import: &ImportReport, style: Style, out: &mut impl Write) -> io::Result<()> {
    let result = import.result.as_str();
    let result = if import.is_good() { style.good(result) } else { style.bad(result) };
    let would = if import.dry_run { "would be " } else { "" };
    let zone = import.zone.as_deref().unwrap_or("unknown zone");
    let generation = import.generation.map_or_else(String::new, |n| format!(", generation {n}"));
    writeln!(out, "{would}{result}  {zone}{generation}  ({})", import.file)?;
    print_findings(&import.findings, style, out)?;
    if let Some(error) = &import.error {
        writeln!(out, "  {}", one_line(error))?;
    }
    for id in &import.force_not_needed {
        writeln!(out, "  note: --force {id} was not needed")?;
    }
    print_advice(&import.findings, out)
}

/// What `--signature` names, or what lies beside the file.
fn signature(args: &Args) -> anyhow::Result<Option<Vec<u8>>> {
    let beside = signature_path(&args.file);
    let path = match &args.signature {
        Some(path) => path,
        None if args.file != Path::new("-") && beside.exists() => &beside,
        None => return Ok(None),
    };
    let file = files::read(path, NamedBy::Operator, MAX_SIGNATURE_OCTETS);
    Ok(Some(file.with_context(|| path.display().to_string())?.octets))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path != Path::new("-") {
        let file = files::read(path, NamedBy::Operator, many::MAX_FILE_OCTETS);
        return Ok(file.with_context(|| path.display().to_string())?.octets);
    }
    let mut octets = Vec::new();
    io::stdin().lock().take(many::MAX_FILE_OCTETS).read_to_end(&mut octets).context("standard input")?;
    Ok(octets)
}
