//! `offline-ksk signal`: signaling records (RFC 9615) for a zone that is to become secure, and whether they are there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use keystore::clock;
use keystore::config::Config;
use keystore::dns::Name;
use skr_loader::ask::Asker;
use skr_loader::signaling::{Signal, SignalState};
use skr_loader::store;

/// How long the look-ups for one nameserver may take.
const LOOKUP: Duration = Duration::from_secs(10);

/// What to print, or to look for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// A nameserver of the zone, outside of the zone; give all of them
    #[arg(long = "nameserver", value_name = "NAME", required = true, num_args = 1..)]
    nameservers: Vec<Name>,
    /// Look whether the records are there, validated, and those of the bundle in force; exit code 1 where they are not
    #[arg(long)]
    check: bool,
    /// The validating resolver for --check (by default [loader] parent-resolver of the configuration)
    #[arg(long, value_name = "IP:PORT", requires = "check")]
    resolver: Option<SocketAddr>,
    /// The zone
    zone: Name,
}

/// Prints the records, or how they are found.
pub fn run(options: &Options) -> Result<ExitCode> {
    let config = Config::load(&options.config)?;
    let zone = &options.zone;
    if !config.signed_zones().any(|known| known.name == *zone) {
        bail!("{zone} is no zone of {} that is signed here", options.config.display());
    }
    let stored = store::peek(&config.state_dir.join("accepted"), zone);
    if let Some(error) = stored.error() {
        bail!("the accepted SKR of {zone} cannot be read: {error}");
    }
    let in_force = stored.in_force().with_context(|| format!("no SKR was accepted for {zone}"))?;
    let now = clock::now();
    let bundle = in_force.bundles.iter().rfind(|bundle| bundle.inception <= now);
    let bundle = bundle.with_context(|| format!("no bundle of {zone} has come into force yet"))?;
    let resolver = options.resolver.or(config.loader.parent_resolver);
    let mut is_good = true;
    for nameserver in &options.nameservers {
        let signal = match Signal::new(zone, bundle, nameserver) {
            Ok(signal) => signal,
            Err(error) => {
                eprintln!("offline-ksk: {error}");
                is_good = false;
                continue;
            }
        };
        if !options.check {
            out!("{}", signal.to_text());
            continue;
        }
        let resolver = resolver.context(
            "nobody can be asked: give --resolver IP:PORT, or [loader] parent-resolver in the configuration",
        )?;
        for (rtype, state) in signal.check(&Asker::of_resolver(resolver), Instant::now() + LOOKUP) {
            is_good &= matches!(state, SignalState::Good);
            outln!("{} {rtype}: {state}", signal.owner);
        }
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
