//! `offline-ksk replace-zsk`: another ZSK of the SKR in force signs from now on.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use keystore::clock;
use keystore::config::Config;
use keystore::config::deliver::Method;
use keystore::dns::Name;
use ksr_gen::replace::{OldSignatures, Replaced, Replacement, bundles_from, replace_zsk};

/// Have another ZSK of the SKR in force sign in place of one, such as one that is exposed
///
/// The times in the key files are set, and the running signer follows them within two seconds. The other ZSK has to be in the bundle in force, with
/// its files in the key folder; it signs as soon as caches can have it. The old one leaves the DNSKEY RRset with the next SKR that does not have it.
#[derive(Debug, Args)]
pub struct Options {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Key tag of the ZSK that is to sign no more; may be left out where one signs
    #[arg(long)]
    tag: Option<u16>,
    /// Replace all of its signatures in one version, for a ZSK that is exposed; without it they are replaced as they become due
    #[arg(long)]
    now: bool,
    /// The zone
    zone: Name,
}

/// Sets the times, and says what follows from that.
pub fn run(options: &Options) -> Result<ExitCode> {
    let config = Config::load(&options.config)?;
    let name = &options.zone;
    let zone = config.zones.iter().find(|zone| zone.name == *name);
    let zone = zone.with_context(|| format!("{}: there is no zone {name}", options.config.display()))?;
    let named = config.deliver.iter().find(|target| {
        matches!(target.method, Method::Named { .. })
            && target.zones.as_ref().is_none_or(|zones| zones.contains(name))
    });
    if options.now
        && let Some(named) = named
    {
        bail!(
            "{} is served by named as well ({}), which takes a ZSK out of the DNSKEY RRset at its Delete time, whatever the SKR has; leave --now out",
            name,
            named.name
        );
    }
    let now = clock::now();
    let bundles = bundles_from(&config.state_dir.join("accepted"), name, now)?;
    let old_signatures = if options.now { OldSignatures::AtOnce } else { OldSignatures::AsDue };
    let dir = &zone.key_directory;
    let replacement =
        Replacement { dir, zone: name, bundles: &bundles, tag: options.tag, old_signatures, now };
    let waiting = || eprintln!("another run works in {}; waiting for it", dir.display());
    let Replaced { old, new, signed_until } = replace_zsk(&replacement, waiting)?;
    outln!(
        "{name}: ZSK {} is to sign in place of {}; `offline-ksk status` says what signs",
        new.dnskey.tag(),
        old.dnskey.tag()
    );
    match old_signatures {
        OldSignatures::AtOnce => outln!(
            "all signatures are replaced in one version, as soon as caches can have the DNSKEY record of {}",
            new.dnskey.tag()
        ),
        OldSignatures::AsDue => outln!("signatures by {} are replaced as they become due", old.dnskey.tag()),
    }
    outln!(
        "ZSK {} can be validated until an SKR without it is in force, and the DNSKEY RRset before it has left caches",
        old.dnskey.tag()
    );
    if let Some(until) = signed_until {
        outln!(
            "WARNING: from {} on no ZSK signs that the SKR in force has; another one must be accepted before",
            until.iso()
        );
    }
    Ok(ExitCode::SUCCESS)
}
