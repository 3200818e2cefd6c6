//! `list`, `show` and `status`: what the store holds. They take no lock and change nothing.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use keystore::dns::Name;
use keystore::exchange::{Bundle, bind, format};
use keystore::store::{MAX_SKR_OCTETS, skr_path, zone_dir};
use keystore::time::Timestamp;

use super::style::{Style, distance};
use crate::accept::{self, key_name};
use crate::coverage;
use crate::files::{self, Named, hex};
use crate::store;

/// List the accepted generations of a zone.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// The state folder.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/offline-ksk")]
    state_dir: PathBuf,
    /// The zone.
    #[arg(value_name = "ZONE")]
    zone: String,
}

/// Show the bundles of an SKR: when each comes into force, until when it holds, and its keys.
///
/// Nothing is verified; `skr-loader check` does that.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The SKR.
    #[arg(value_name = "SKR")]
    skr: PathBuf,
}

/// Say for each zone what is in force, and until when.
///
/// Exit code: 0 every zone is covered now, 1 one is not.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// The state folder.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/offline-ksk")]
    state_dir: PathBuf,
    /// The zones; all that have a folder when none is given.
    #[arg(value_name = "ZONE")]
    zones: Vec<String>,
}

/// Runs `list`.
pub fn list(args: &ListArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let zone = Name::parse(&args.zone).with_context(|| args.zone.clone())?;
    let accepted = args.state_dir.join("accepted");
    let (state, error) = store::peek(&accepted, &zone);
    if let Some(error) = error {
        return Err(error.into());
    }
    let in_force = state.in_force.ok_or_else(|| anyhow!("nothing was accepted for {zone} yet"))?.generation;
    let dir = zone_dir(&accepted, &zone);
    writeln!(out, "generation  bundles  first inception       coverage end          sha256")?;
    for generation in 1..state.next {
        let path = skr_path(&dir, generation);
        let Ok(file) = files::read(&path, Named::ByOperator, MAX_SKR_OCTETS) else { continue };
        let mark = if generation == in_force { "*" } else { " " };
        let sha256 = hex(&keystore::store::digest(&file.octets));
        match bind::parse_skr(&file.octets, &zone) {
            Ok(skr) => writeln!(
                out,
                "{generation:>9} {mark} {:>7}  {:<20}  {:<20}  {sha256}",
                skr.bundles.len(),
                skr.bundles.first().map_or_else(String::new, |b| b.inception.iso()),
                skr.bundles.last().map_or_else(String::new, |b| b.expiration().iso()),
            )?,
            Err(error) => writeln!(out, "{generation:>9} {mark} does not read: {error}  {sha256}")?,
        }
    }
    Ok(())
}

/// Runs `show`.
pub fn show(args: &ShowArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let name = || args.skr.display().to_string();
    let file = files::read(&args.skr, Named::ByOperator, MAX_SKR_OCTETS).with_context(name)?;
    let zone = accept::zone_of(&file.octets).ok_or_else(|| anyhow!("{}: it has no record", name()))?;
    let skr = format::parse_skr(&file.octets, &zone).map_err(|e| anyhow!("{}: {e}", name()))?;
    writeln!(out, "{zone}  {} bundles", skr.bundles.len())?;
    writeln!(out, "inception             expiration            CDS  keys")?;
    for bundle in &skr.bundles {
        writeln!(
            out,
            "{:<20}  {:<20}  {:<3}  {}",
            bundle.inception.iso(),
            bundle.expiration().iso(),
            if bundle.cds.is_some() || bundle.cdnskey.is_some() { "yes" } else { "-" },
            keys(bundle)
        )?;
    }
    Ok(())
}

fn keys(bundle: &Bundle) -> String {
    let name = |key: &keystore::keys::Dnskey| {
        let signs = bundle.signatures.iter().any(|s| s.key_tag == key.tag() && s.algorithm == key.algorithm);
        format!(
            "{} {}{}",
            if key.is_ksk() { "KSK" } else { "ZSK" },
            key_name(key),
            if signs { " signs" } else { "" }
        )
    };
    bundle.keys().map(|key| name(&key)).collect::<Vec<_>>().join(", ")
}

/// Runs `status`; true when every zone is covered now.
pub fn status(args: &StatusArgs, now: Timestamp, out: &mut impl Write) -> anyhow::Result<bool> {
    let style = Style::of_stdout();
    let accepted = args.state_dir.join("accepted");
    let mut zones = Vec::new();
    for zone in &args.zones {
        zones.push(Name::parse(zone).with_context(|| zone.clone())?);
    }
    if zones.is_empty() {
        let entries = std::fs::read_dir(&accepted).with_context(|| accepted.display().to_string())?;
        for entry in entries {
            zones.extend(zone_of_dir(&entry?.file_name().to_string_lossy()));
        }
        zones.sort();
    }
    let mut all_covered = true;
    for zone in zones {
        let (line, covered) = zone_status(&accepted, &zone, now);
        let word = if covered { style.good("covered    ") } else { style.bad("NOT COVERED") };
        writeln!(out, "{word} {zone}  {line}")?;
        all_covered &= covered;
    }
    Ok(all_covered)
}

fn zone_status(accepted: &std::path::Path, zone: &Name, now: Timestamp) -> (String, bool) {
    let (state, error) = store::peek(accepted, zone);
    if let Some(error) = error {
        return (error.to_string(), false);
    }
    let Some(in_force) = state.in_force else { return ("nothing was accepted yet".to_owned(), false) };
    let Some(coverage) = coverage::at(&in_force.bundles, now) else {
        return ("no bundles".to_owned(), false);
    };
    let next = coverage.next.map_or_else(
        || "no bundle follows".to_owned(),
        |next| format!("next bundle {} ({})", next.iso(), distance(next, now)),
    );
    let line = format!(
        "generation {}, until {} ({}), {next}",
        in_force.generation,
        coverage.end.iso(),
        distance(coverage.end, now)
    );
    (line, coverage.active.is_some())
}

/// The zone of a folder name; the inverse of [`Name::file_name`].
fn zone_of_dir(name: &str) -> Option<Name> {
    if name == ".root" {
        return Some(Name::root());
    }
    let mut text = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let (code, tail) = rest.split_at_checked(2)?;
            let octet = data_encoding::HEXUPPER.decode(code).ok()?;
            text.extend(format!("\\{:03}", octet[0]).bytes());
            rest = tail;
        } else {
            text.push(*first);
        }
    }
    let zone = Name::parse_bytes(&text, None).ok()?;
    (zone.file_name() == name).then_some(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_name_their_zones() {
        for zone in ["example.", "x/y.test.", "a\\.b.test.", "*.test."] {
            let zone = Name::parse(zone).unwrap();
            assert_eq!(zone_of_dir(&zone.file_name()), Some(zone));
        }
        assert_eq!(zone_of_dir(".root"), Some(Name::root()));
        for bad in ["example", "%2", "Example.", "lost+found", "current"] {
            assert_eq!(zone_of_dir(bad), None, "{bad}");
        }
    }
}
