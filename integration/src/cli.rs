//! The command line of `offline-ksk`. Exit status: 0 done, 1 something failed, 2 wrong usage.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use keystore::clock;
use keystore::config::Config;
use keystore::config::zone_files::InUse;
use keystore::config::zone_files::memory::Program;
use keystore::dns::Name;
use skr_loader::cli::{StatusArgs, exit_code, status, wrong_usage};
use skr_loader::preflight::HostTask;

use crate::{
    alert_test, convert, daemon, demo, inspect, locale, output, pair, probe, prove, replace_zsk, requests,
    serve, sign_zone, signal, verify_zone, zone_files,
};

/// Keeps a zone valid whose KSK is offline: takes SKRs, signs with ZSKs, serves, and tells long before the coverage ends.
#[derive(Debug, Parser)]
#[command(
    name = "offline-ksk",
    version,
    after_help = "The manual is docs/manual.md; `scripts/demo` shows the whole job."
)]
struct Cli {
    /// How log lines look
    #[arg(long, value_enum, default_value = "text", global = true)]
    log: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run loader, request timer, signer and metrics in one process
    ///
    /// SIGHUP reads the configuration again (the old one stays when it is wrong); SIGTERM and SIGINT stop.
    Serve {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Only read and check the configuration, and what it needs of this host: all findings at once. Exit code 1 when there is an error
        #[arg(long)]
        check_config: bool,
    },
    /// Run the request timer alone: make the ZSKs and the KSRs that are due, and tell people of those that wait
    ///
    /// For a host where `skr-loader run` takes the SKRs and named serves. SIGHUP reads the configuration again; SIGTERM and SIGINT stop.
    Requests(requests::Options),
    /// Show the whole job in a folder of its own: two sides, a ceremony, a served zone, validated answers
    Demo(demo::Options),
    /// Sign a zone file with the bundle in force and the ZSKs of a folder, file to file
    SignZone(sign_zone::Options),
    /// Verify a signed zone file: every finding of its signatures and of its NSEC or NSEC3 chain. Exit code 1 when there is one
    VerifyZone(verify_zone::Options),
    Status(StatusArgs),
    /// Let new content of a zone file pass that the signer holds back, because the zone would shrink or grow by too much
    ///
    /// What was held back and why is printed. Only the content that is held back now passes, not what the zone file has later.
    Release {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// The zone
        zone: Name,
    },
    Takeover(pair::TakeoverOptions),
    /// The pair that this host belongs to: two hosts with the same keys, one of them active
    #[command(subcommand)]
    Pair(pair::PairCommand),
    /// Add, remove and list zones without a restart, and print one as it is now
    #[command(subcommand)]
    Zone(ZoneCommand),
    ReplaceZsk(replace_zsk::Options),
    /// Show a KSR, an SKR or a key folder as a timeline: which keys are published, which sign, CDS, gaps, today
    Inspect(inspect::Options),
    /// Write a KSR or SKR in another form: BIND's, Knot's, or the root zone's XML
    Convert(convert::Options),
    /// Prove that an SKR keeps the zone valid at every second, for whatever caches may still hold
    Prove(prove::Options),
    /// Ask the nameservers of any zone what they serve, and say what is wrong: serials, signatures, keys, DS at the parent, SOA expire
    ///
    /// Exit code 0 when nothing has to be done, 1 for a warning, 2 for something critical, 3 when the command could not do its work.
    Probe(probe::Options),
    /// Print signaling records for a zone that is to become secure (RFC 9615), or look whether they are there
    ///
    /// For each nameserver whose name is outside of the zone, with the CDS and CDNSKEY records of the bundle in force. They go into the zone of
    /// the nameserver.
    Signal(signal::Options),
    /// Print the alert rules for Prometheus
    Rules {
        /// Find dead processes by this job of Prometheus, instead of by what they export
        #[arg(long, value_name = "NAME")]
        job: Option<String>,
    },
    /// Send a test alert to Alertmanager, and wait until somebody was told
    ///
    /// Exit code 0 when a notification was sent, 1 when Alertmanager has the alert and told nobody (a silence, a receiver that fails),
    /// 2 when it does not take it. Do this at every ceremony.
    AlertTest(alert_test::Options),
}

#[derive(Debug, Subcommand)]
enum ZoneCommand {
    #[command(flatten)]
    Files(zone_files::ZoneFileCommand),
    /// Print the unsigned zone that DNS UPDATE changes, as it is now: its file and the updates together, as a zone file
    Dump {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// The zone
        zone: Name,
    },
}

/// Runs the program on the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = keystore::crypto::pkcs11::module_process() {
        return code;
    }
    if let Err(error) = keystore::dumps::forbid() {
        eprintln!(
            "offline-ksk: warning: core dumps of this process, which may hold a private key, stay on: {error}"
        );
    }
    let words: Vec<String> = std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
    let failed = failure_code(&words);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && subcommand(&words) == Some("probe") => {
            // The text may be lost with a closed pipe; the exit code is what counts.
            let _ = error.print();
            if words.iter().any(|word| word == "--check") {
                probe::tell_wrong_usage(&error);
            }
            return failed;
        }
        Err(error) => wrong_usage(&error),
    };
    start_log(cli.log, matches!(cli.command, Command::Demo(_)));
    let code = run(cli.command).unwrap_or_else(|error| {
        let told = whole(&error);
        eprintln!("offline-ksk: {}", if locale::is_utf8() { told } else { locale::ascii(&told) });
        if is_plugin(&words) { failed } else { ExitCode::from(exit_code(&error)) }
    });
    match output::failure() {
        None => code,
        Some(error) => {
            // `| head` has seen enough, and knows.
            if error.kind() != std::io::ErrorKind::BrokenPipe {
                eprintln!("offline-ksk: cannot write to standard output: {error}");
            }
            failed
        }
    }
}

/// The exit code of a failure. Monitoring systems take 1 for a warning and 2 for something critical, so what they run ends with 3.
fn failure_code(words: &[String]) -> ExitCode {
    if is_plugin(words) { ExitCode::from(probe::UNKNOWN) } else { ExitCode::FAILURE }
}

fn is_plugin(words: &[String]) -> bool {
    match subcommand(words) {
        Some("probe") => true,
        Some("status") => words.iter().any(|word| word == "--check"),
        _ => false,
    }
}

/// The first word that is no option. Of those before it `--log` alone has a value.
fn subcommand(words: &[String]) -> Option<&str> {
    let mut words = words.iter().map(String::as_str);
    loop {
        match words.next()? {
            "--log" => drop(words.next()),
            word if word.starts_with('-') => {}
            word => return Some(word),
        }
    }
}

/// An error with its causes, each once: the errors of the libraries mostly end in the words of their cause already.
fn whole(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |mut text, cause| {
        if text.is_empty() {
            return cause;
        }
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        text
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve { config, check_config: true } => daemon::check_config(
            &config,
            &[HostTask::AcceptSkrs, HostTask::MakeRequests, HostTask::ServeZones],
        ),
        Command::Serve { config, check_config: false } => serve::run(&config),
        Command::Requests(options) => requests::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::SignZone(options) => sign_zone::run(&options),
        Command::VerifyZone(options) => verify_zone::run(&options),
        Command::Status(options) => print_status(&options),
        Command::Release { config, zone } => release(&config, &zone),
        Command::Takeover(options) => pair::takeover(&options),
        Command::Pair(command) => pair::run(&command),
        Command::Zone(ZoneCommand::Files(command)) => zone_files::run(&command),
        Command::Zone(ZoneCommand::Dump { config, zone }) => dump(&config, &zone),
        Command::ReplaceZsk(options) => replace_zsk::run(&options),
        Command::Inspect(options) => inspect::run(&options),
        Command::Signal(options) => signal::run(&options),
        Command::Convert(options) => convert::run(&options),
        Command::Prove(options) => prove::run(&options),
        Command::Probe(options) => Ok(probe::run(&options)),
        Command::Rules { job } => {
            out!("{}", metrics::rules::document(job.as_deref()));
            Ok(ExitCode::SUCCESS)
        }
        Command::AlertTest(options) => alert_test::run(&options),
    }
}

fn print_status(options: &StatusArgs) -> Result<ExitCode> {
    Ok(ExitCode::from(status(options, clock::now, &mut std::io::stdout().lock())?))
}

fn dump(config: &Path, zone: &Name) -> Result<ExitCode> {
    let config = Config::load(config)?;
    signer_plugin::content::dump(&config.state_dir, zone, &mut std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn release(config: &Path, zone: &Name) -> Result<ExitCode> {
    let config =
        Config::load_without_bad_zone_files(config, InUse::Remembered(Program::Loader), clock::now())?;
    keystore::pair::require_active(config.pair.as_ref())?;
    let released = signer_plugin::runtime::release(&config.state_dir, zone)?;
    outln!("{zone}: released; {released}");
    Ok(ExitCode::SUCCESS)
}

/// Log lines go to standard error; `RUST_LOG` chooses which. The demo is quiet but for errors, its own lines are the story; that the
/// zone is not served before the ceremony is part of it.
fn start_log(format: LogFormat, quiet: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        if quiet {
            "error,offline_ksk_signer::runtime::zone=off".into()
        } else {
            "info,hickory_server=warn,hickory_net=warn".into()
        }
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn what_monitoring_systems_run_is_known_by_its_command_line() {
        for (line, plugin) in [
            ("probe example.org --chekc", true),
            ("--log json probe", true),
            ("--log=json --nonsense probe x", true),
            ("status -c x --check --wran", true),
            ("status -c x", false),
            ("--log probe", false),
            ("inspect probe", false),
            ("", false),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(super::is_plugin(&words), plugin, "{line}");
        }
    }

    #[test]
    fn each_cause_is_told_once() {
        let word = "not a file";
        for (error, whole) in [
            (anyhow!("no zone"), "no zone"),
            (anyhow!(word).context(format!("x.toml: {word}")), "x.toml: not a file"),
            (anyhow!(word).context("cannot write x"), "cannot write x: not a file"),
            (anyhow!(word).context("x").context("y"), "y: x: not a file"),
        ] {
            assert_eq!(super::whole(&error), whole);
        }
    }

    #[test]
    fn what_changes_the_state_is_refused_on_the_standby_which_names_the_active_host() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        for folder in ["state", "state/zones.d", "leases"] {
            std::fs::create_dir(at(folder)).expect("a folder");
        }
        let zone =
            |name: &str| format!("[[zone]]\nname = \"{name}\"\nsigning = \"unsigned\"\nfile = \"zone\"\n");
        let main = "version = 1\nstate-dir = \"state\"\nzones-directory = \"state/zones.d\"\n[signer]\nlisten = [\"127.0.0.1:0\"]\n\
            [pair]\nhost = \"b\"\nlease-directory = \"leases\"\n";
        std::fs::write(at("c.toml"), format!("{main}{}", zone("a.test"))).expect("written");
        std::fs::write(at("state/zones.d/b.test.toml"), zone("b.test")).expect("written");
        let run = |command: &str| {
            let config = at("c.toml").display().to_string();
            let words = command.split(' ').map(|word| if word == "FILE" { &config } else { word });
            let cli =
                <super::Cli as clap::Parser>::try_parse_from(std::iter::once("offline-ksk").chain(words));
            let ended = super::run(cli.unwrap_or_else(|error| panic!("{error}")).command);
            ended.err().map(|error| super::whole(&error)).unwrap_or_default()
        };
        let commands = [
            "release -c FILE a.test",
            "replace-zsk -c FILE a.test",
            "zone add -c FILE c.test --unsigned --file zone",
            "zone remove -c FILE b.test",
            "zone release -c FILE c.test",
        ];
        let take_over = |host: &str, number: u32| {
            let text = format!(
                "offline-ksk lease 1\nhost {host}\nnode m/1\ngeneration {number}\nrenewed 1800000000\nexpires 1800000060\nforced no\nbegun yes\n"
            );
            std::fs::write(at(&format!("leases/lease-{number}")), text).expect("written");
        };
        take_over("a", 1);
        let refusal = "host a is the active one of the pair, by takeover 1, and not b";
        for command in commands {
            let said = run(command);
            assert!(said.contains(refusal), "{command}: {said}");
        }
        assert!(at("state/zones.d/b.test.toml").exists() && !at("state/zones.d/c.test.toml").exists());
        take_over("b", 2);
        for command in commands {
            let said = run(command);
            assert!(!said.contains("active"), "{command}: {said}");
        }
        assert!(!at("state/zones.d/b.test.toml").exists(), "the active host has removed it");
    }
}
