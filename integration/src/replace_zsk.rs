//! `offline-ksk replace-zsk`: another ZSK of the SKR in force signs from now on.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use keystore::clock;
use keystore::config::deliver::{Method, TargetConfig};
use keystore::config::zone_files::InUse;
use keystore::config::zone_files::memory::Program;
use keystore::config::{Config, ZoneConfig};
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
    let now = clock::now();
    // The zone is not to wait for files of other zones to be mended.
    let config =
        Config::load_without_bad_zone_files(&options.config, InUse::Remembered(Program::Loader), now)?;
    keystore::pair::require_active(config.pair.as_ref())?;
    let name = &options.zone;
    let zone = config.signed_zones().find(|zone| zone.name == *name);
    let zone = zone.with_context(|| {
        format!("{}: there is no zone {name} that is signed here", options.config.display())
    })?;
    let followers = Followers::of(zone, &config.deliver, options.now)?;
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
    followers.targets.iter().for_each(|target| outln!("{target}"));
    if let Some(until) = signed_until {
        outln!(
            "WARNING: from {} on no ZSK signs that the SKR in force has; another one must be accepted before",
            until.iso()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Who is known to follow the times of the key files, or not to.
#[derive(Debug, PartialEq, Eq)]
struct Followers {
    /// What has to be done at each server that the zone is delivered to.
    targets: Vec<String>,
}

/// Why the times would not have the zone signed by another ZSK.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum CannotFollow {
    #[error(
        "{zone} is served by named as well ({target}), which takes a ZSK out of the DNSKEY RRset at its Delete time, whatever the SKR has; leave --now out"
    )]
    NamedDeletes { zone: Name, target: String },
    #[error(
        "{zone} is signed by Knot ({target}) with ZSKs of its own key database, which have no files here: replace the ZSK there, with `keymgr {zone} set`"
    )]
    SignedByKnot { zone: Name, target: String },
    #[error(
        "nobody signs {zone} with these keys: it has neither `file` nor `primaries`, and is delivered to no server"
    )]
    NobodySigns { zone: Name },
}

impl Followers {
    fn of(zone: &ZoneConfig, targets: &[TargetConfig], now: bool) -> Result<Self, CannotFollow> {
        let name = &zone.name;
        let mut told = Vec::new();
        for target in targets {
            if target.zones.as_ref().is_some_and(|zones| !zones.contains(name)) {
                continue;
            }
            let server = &target.name;
            let refuse =
                |refusal: fn(Name, String) -> CannotFollow| Err(refusal(name.clone(), server.clone()));
            match &target.method {
                Method::Named { .. } if now => {
                    return refuse(|zone, target| CannotFollow::NamedDeletes { zone, target });
                }
                Method::Named { .. } => {
                    told.push(format!("{server}: have named read the times, with `rndc loadkeys {name}`"));
                }
                Method::Knot { .. } => {
                    return refuse(|zone, target| CannotFollow::SignedByKnot { zone, target });
                }
                Method::Hook { .. } => told.push(format!(
                    "{server}: where a server of this hook signs with keys of this folder, see that it follows their times{}",
                    if now { ", and does not take a ZSK out of the DNSKEY RRset at its Delete time" } else { "" }
                )),
            }
        }
        if told.is_empty() && !zone.has_content() {
            return Err(CannotFollow::NobodySigns { zone: name.clone() });
        }
        Ok(Self { targets: told })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const NAMED: &str = r#"[[deliver.named]]
name = "ns1"
rndc = ["rndc"]
address = "127.0.0.1:53"
folder = "/var/spool/skr"
"#;
    const KNOT: &str = r#"[[deliver.knot]]
name = "ns1"
keymgr = ["keymgr"]
knotc = ["knotc"]
folder = "/var/spool/skr"
"#;
    const HOOK: &str = r#"[[deliver.hook]]
name = "ns1"
command = ["/usr/local/bin/hand-over"]
"#;

    /// A configuration of two zones; `example.test` has this line, and `deliver` stands at the end.
    fn configuration(head: &str, line: &str, deliver: &str) -> String {
        let ds = "0123456789ABCDEF".repeat(4);
        let zone = |name: &str, line: &str| {
            format!(
                "[[zone]]\nname = \"{name}\"\npolicy = \"p\"\n{line}\ntrust-anchors = [\"{name}. DS 1 13 2 {ds}\"]\n"
            )
        };
        format!(
            "version = 1\n{head}\n{}{}[policy.p]\noffline-ksk = true\nkeys = [{{ role = \"ksk\", lifetime = 0, algorithm = 13 }}, \
             {{ role = \"zsk\", lifetime = 0, algorithm = 13 }}]\n{deliver}",
            zone("example.test", line),
            zone("other.test", "file = \"other.zone\"")
        )
    }

    /// What the command says of the servers of a zone; `served` when this program serves it.
    fn followers(served: bool, deliver: &str, now: bool) -> String {
        let file = if served { "file = \"example.zone\"" } else { "" };
        let text = configuration("state-dir = \"/nonexistent\"", file, deliver);
        let config = Config::parse(text.as_bytes(), Path::new("/x/c.toml"))
            .unwrap_or_else(|errors| panic!("{errors}"));
        match Followers::of(&config.zones[0], &config.deliver, now) {
            Ok(followers) => followers.targets.join("\n"),
            Err(refusal) => format!("refused: {refusal}"),
        }
    }

    #[test]
    fn a_bad_file_of_another_zone_does_not_keep_a_zsk_from_being_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let head = format!("state-dir = {:?}\nzones-directory = \"zones.d\"", dir.path().join("state"));
        let text = configuration(&head, "file = \"example.zone\"", "");
        let config = dir.path().join("config.toml");
        std::fs::write(&config, text).expect("a file");
        std::fs::create_dir(dir.path().join("zones.d")).expect("a folder");
        std::fs::write(dir.path().join("zones.d/bad.toml"), "[[zone]]\nname = 7\n").expect("a file");
        let zone = Name::parse("example.test").expect("a name");
        let error = run(&Options { config, tag: None, now: true, zone }).expect_err("there is no SKR yet");
        assert!(format!("{error:#}").contains("no bundle of an accepted SKR"), "{error:#}");
    }

    #[test]
    fn each_kind_of_server_of_the_zone_is_told_of_or_refused() {
        for (served, deliver, now, says) in [
            (true, "", false, ""),
            (true, "", true, ""),
            (false, "", true, "refused: nobody signs example.test."),
            (true, NAMED, false, "ns1: have named read the times, with `rndc loadkeys example.test.`"),
            (false, NAMED, false, "ns1: have named read"),
            (true, NAMED, true, "refused: example.test. is served by named as well (ns1)"),
            (false, KNOT, false, "refused: example.test. is signed by Knot (ns1)"),
            (false, KNOT, true, "refused: example.test. is signed by Knot (ns1)"),
            (true, HOOK, false, "ns1: where a server of this hook signs"),
            (true, HOOK, true, "does not take a ZSK out"),
            (true, &format!("{NAMED}zones = [\"other.test\"]\n"), true, ""),
        ] {
            let said = followers(served, deliver, now);
            assert!(
                said.contains(says) && said.is_empty() == says.is_empty(),
                "{served} {deliver} {now}: {said}"
            );
        }
    }
}
