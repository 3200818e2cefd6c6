//! The command line: `check`, `run`, orders to the running loader, and looks at what the store holds.

mod acknowledge;
mod audit;
mod check;
mod import;
mod look;
mod missing;
mod reach;
mod rollback;
mod run;
mod status;
mod style;
#[cfg(test)]
mod tests;
mod trust;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use keystore::time::Timestamp;
use metrics::health::plugin::PluginState;

pub use missing::{MissingOption, exit_code};
pub use reach::confirm;
pub use status::{StatusArgs, status};

/// Checks SKRs, the signed key sets of a zone whose KSK is offline, and keeps the good ones.
#[derive(Debug, Parser)]
#[command(name = "skr-loader", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Run(run::Args),
    Import(import::Args),
    Rollback(rollback::Args),
    Acknowledge(acknowledge::Args),
    Reload(status::ReloadArgs),
    List(look::ListArgs),
    Show(look::ShowArgs),
    Status(status::StatusArgs),
    Trust(trust::Args),
    Audit(audit::Args),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    if let Err(error) = keystore::dumps::forbid() {
        eprintln!(
            "skr-loader: warning: core dumps of this process, which may hold a private key, stay on: {error}"
        );
    }
    let cli = Cli::try_parse().unwrap_or_else(|error| wrong_usage(&error));
    match &cli.command {
        Command::Status(args) => end_status(status(args, keystore::clock::now, &mut io::stdout().lock())),
        _ => end(run_command(&cli, keystore::clock::now(), &mut io::stdout().lock())),
    }
}

/// Prints what is wrong with the command line, or the help that was asked for, and ends the process. A monitoring plugin ends with 3
/// then, for 2 would say that something is critical.
pub fn wrong_usage(error: &clap::Error) -> ! {
    // The text may be lost with a closed pipe; the exit code is what counts.
    let _ = error.print();
    let mut words = std::env::args();
    let is_plugin = words.any(|word| word == "status") && words.any(|word| word == "--check");
    std::process::exit(if is_plugin { PluginState::Unknown.code().into() } else { error.exit_code() })
}

/// Ends with the code of `status`.
fn end_status(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => end(Err(error)),
    }
}

/// Runs one command at `now`; true when all is well.
fn run_command(cli: &Cli, now: Timestamp, out: &mut impl Write) -> anyhow::Result<bool> {
    match &cli.command {
        Command::Check(args) => check::main(args, now, out),
        Command::Run(args) => run::main(args, out),
        Command::Import(args) => import::main(args, now, out),
        Command::Rollback(args) => rollback::main(args, now, out),
        Command::Acknowledge(args) => acknowledge::main(args, now, out),
        Command::Reload(args) => status::reload(args, out),
        Command::List(args) => look::list(args, out).map(|()| true),
        Command::Show(args) => look::show(args, out).map(|()| true),
        Command::Status(args) => status(args, || now, out).map(|code| code == 0),
        Command::Trust(args) => trust::main(args, now, out),
        Command::Audit(args) => audit::main(args, out),
    }
}

/// 0 when all is well, 1 when the answer is no, or there is none, 2 when an option is missing.
fn end(result: anyhow::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if is_closed_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("skr-loader: {}", with_causes(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// The error and what caused it; many name their cause themselves.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match () {
        () if text.is_empty() => cause,
        () if text.contains(&cause) => text,
        () => format!("{text}: {cause}"),
    })
}

/// The reader of our output (`head`) has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
