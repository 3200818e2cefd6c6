//! `list` and `show`: what the store holds. They take no lock and change nothing.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use keystore::dns::Name;
use keystore::exchange::{Bundle, bind, format};
use keystore::store::{MAX_SKR_OCTETS, skr_path, zone_dir};
use serde::Serialize;

use super::reach::StateFolderArgs;
use crate::accept::{self, key_name};
use crate::files::{self, NamedBy, hex};
use crate::store::{self, StoreRead};

/// List the accepted generations of a zone.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    folder: StateFolderArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
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

/// A generation, as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Generation {
    generation: u64,
    in_force: bool,
    sha256: String,
    /// What is stored is not the file that was dropped, which lies beside it.
    joined_or_rewritten: bool,
    bundles: Option<usize>,
    first_inception: Option<String>,
    coverage_end: Option<String>,
    error: Option<String>,
}

/// Runs `list`.
pub fn list(args: &ListArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let zone = args.zone.parse::<Name>().with_context(|| args.zone.clone())?;
    let accepted = args.folder.locate()?.join("accepted");
    let state = match store::peek(&accepted, &zone) {
        StoreRead::Read { state, damage: None } => state,
        StoreRead::Read { damage: Some(error), .. } | StoreRead::Unread { error, .. } => {
            return Err(error.into());
        }
    };
    let in_force = state.in_force.ok_or_else(|| anyhow!("nothing was accepted for {zone} yet"))?.generation;
    let dir = zone_dir(&accepted, &zone);
    let look = |kept: store::KeptGeneration| {
        let (octets, received) = store::read_kept(&accepted, &zone, kept.generation)
            .with_context(|| skr_path(&dir, kept.generation).display().to_string())?;
        let parsed = bind::parse_skr(&octets, &zone).map_err(|error| error.to_string());
        let skr = parsed.as_ref().ok();
        anyhow::Ok(Generation {
            generation: kept.generation,
            in_force: kept.generation == in_force,
            sha256: hex(&kept.digest),
            joined_or_rewritten: received.is_some(),
            bundles: skr.map(|skr| skr.bundles.len()),
            first_inception: skr.and_then(|skr| Some(skr.bundles.first()?.inception.iso())),
            coverage_end: skr.and_then(|skr| Some(skr.bundles.last()?.expiration().iso())),
            error: parsed.err(),
        })
    };
    let generations =
        store::kept(&accepted, &zone, Some(in_force)).into_iter().map(look).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&generations)?)?;
        return Ok(());
    }
    writeln!(out, "generation  bundles  first inception       coverage end          sha256")?;
    for Generation { generation, in_force, sha256, bundles, first_inception, coverage_end, error, .. } in
        &generations
    {
        let mark = if *in_force { "*" } else { " " };
        match error {
            None => writeln!(
                out,
                "{generation:>9} {mark} {:>7}  {:<20}  {:<20}  {sha256}",
                bundles.unwrap_or(0),
                first_inception.as_deref().unwrap_or(""),
                coverage_end.as_deref().unwrap_or(""),
            )?,
            Some(error) => writeln!(out, "{generation:>9} {mark} does not read: {error}  {sha256}")?,
        }
    }
    Ok(())
}

/// Runs `show`.
pub fn show(args: &ShowArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let name = || args.skr.display().to_string();
    let file = files::read(&args.skr, NamedBy::Operator, MAX_SKR_OCTETS).with_context(name)?;
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

/// The zone of a folder name; the inverse of [`Name::file_name`].
pub fn zone_of_dir(name: &str) -> Option<Name> {
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
