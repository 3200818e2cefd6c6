//! `keygen`.

use std::io;
use std::path::Path;

use keystore::config::Config;
use keystore::dns::lexer::Entries;
use keystore::dns::{Name, Rtype, record};
use keystore::exchange::TrustAnchor;
use keystore::exchange::bind::MAX_OCTETS;
use keystore::keys::Dnskey;
use keystore::keys::plan::Holes;
use keystore::policy::KeyRole;

use super::console::{Console, Level};
use super::files::read_up_to;
use super::many::has_tables;
use super::options::CommandLine;
use super::{Failure, Job};
use crate::check::duration_text;
use crate::keygen::{self, Keygen, KeygenOutcome, OtherOwner};

/// Makes the keys; their names, one a line.
pub(super) fn keygen(
    job: &Job<'_>,
    line: &CommandLine,
    console: &mut Console<'_>,
) -> Result<String, Failure> {
    let (options, allow) = (&line.keygen, &line.allow);
    let taken_tags = taken_tags(job.zone, line, console)?;
    let role = if options.ksk { KeyRole::Ksk } else { KeyRole::Zsk };
    let keygen = Keygen {
        holes: if allow.holes { Holes::Leave } else { Holes::Fill },
        owner: if allow.other_owner { OtherOwner::Accept } else { OtherOwner::Refuse },
        taken_tags: &taken_tags,
        ..Keygen::new(job.folder, job.zone, job.policy, role, job.interval(allow)?, job.now)
    };
    let waiting = || console.say(Level::Plain, "waiting for another run that holds the key folder");
    let outcome =
        if options.standby { keygen::standby(&keygen, waiting)? } else { keygen::run(&keygen, waiting)? };
    console.folder(&outcome.warnings);
    tell_new_algorithm(&outcome, role, console);
    let mut text = String::new();
    for key in &outcome.keys {
        let word = if key.made { "Generating" } else { "Selecting" };
        console.detail(&format!("{word} key pair for bundle {}: {}", key.bundle.ctime(), key.name));
        if key.fills_hole {
            let what = if key.made { "made" } else { "selected" };
            console.say(
                Level::Warning,
                &format!(
                    "{} {what} for {}, where no other key would be active (dnssec-ksr leaves this hole; --allow-holes does too)",
                    key.name,
                    key.bundle.ctime()
                ),
            );
        }
        let file = outcome.files.iter().find(|file| file.base_name() == key.name);
        let begins = file.and_then(|file| file.timing.activate).filter(|at| *at > key.bundle);
        if let Some(begins) = begins.filter(|_| options.ksk && !key.made) {
            console.say(
                Level::Warning,
                &format!(
                    "{} signs from {begins} on, {} after the start of the interval, and no other KSK was made for that time: let requests begin when it does (-i {begins}), or let it begin earlier (dnssec-settime -s -P {start} -A {start})",
                    key.name,
                    duration_text(begins.since(key.bundle)),
                    start = key.bundle,
                ),
            );
        }
        text.push_str(&key.name);
        text.push('\n');
    }
    Ok(text)
}

/// The tags of the zone's keys that are not in the folder: those of `--other-keys`, and the trust anchors of the configuration.
pub(super) fn taken_tags(
    zone: &Name,
    line: &CommandLine,
    console: &mut Console<'_>,
) -> Result<Vec<u16>, Failure> {
    let mut tags = Vec::new();
    for path in &line.keygen.other_keys {
        let octets = read_up_to(path, &mut io::empty(), MAX_OCTETS as u64)?;
        tags.extend(tags_of(&octets, zone, path)?);
    }
    if let Some(path) = line.common.config.as_ref().filter(|path| has_tables(path)) {
        match Config::load_before_trust(path) {
            Ok(config) => {
                let known = config.zones.iter().find(|known| known.name == *zone);
                let anchors = known.iter().flat_map(|zone| zone.anchors.iter().chain(&zone.announced));
                tags.extend(anchors.flat_map(TrustAnchor::tags));
            }
            Err(error) => {
                let text = format!(
                    "the new keys are not compared with the trust anchors of the configuration: {error}"
                );
                console.say(Level::Warning, &text);
            }
        }
    }
    Ok(tags)
}

/// The tags of the keys that DNSKEY and DS records (and CDNSKEY and CDS) of the zone are about; other records are read over. `path` is for
/// the messages.
fn tags_of(octets: &[u8], zone: &Name, path: &Path) -> Result<Vec<u16>, Failure> {
    let bad =
        |line: u32, what: String| Failure::Fatal(format!("--other-keys {}({line}): {what}", path.display()));
    let mut tags = Vec::new();
    for entry in Entries::new(octets) {
        let entry = entry.map_err(|e| bad(e.line, e.what.to_string()))?;
        if entry.tokens.is_empty() {
            continue;
        }
        let record = record::parse(&entry, None, None).map_err(|e| bad(entry.line, e.to_string()))?;
        if record.owner != *zone {
            return Err(bad(entry.line, format!("a record of {}, where {zone} was expected", record.owner)));
        }
        match record.rtype {
            Rtype::DNSKEY | Rtype::CDNSKEY => {
                let key = Dnskey::from_rdata(&record.rdata);
                tags.extend(key.iter().flat_map(|key| [key.tag(), key.revoked_tag()]));
            }
            Rtype::DS | Rtype::CDS => tags.extend(TrustAnchor::Ds(record.rdata).tags()),
            _ => {}
        }
    }
    match tags.is_empty() {
        true => {
            Err(Failure::Fatal(format!("--other-keys {}: no DNSKEY or DS record of {zone}", path.display())))
        }
        false => Ok(tags),
    }
}

/// Tells of the first ZSK of another algorithm than those that are there: named publishes it by its times alone.
fn tell_new_algorithm(outcome: &KeygenOutcome, role: KeyRole, console: &mut Console<'_>) {
    let made = |name: &str| outcome.keys.iter().any(|key| key.made && key.name == name);
    let (new, old): (Vec<_>, Vec<_>) =
        outcome.files.iter().filter(|file| !file.dnskey.is_ksk()).partition(|file| made(&file.base_name()));
    let first = new.iter().filter(|file| !old.iter().any(|o| o.dnskey.algorithm == file.dnskey.algorithm));
    let first = first.min_by_key(|file| file.timing.publish);
    if let Some((file, publish)) = first.and_then(|file| Some((file, file.timing.publish?)))
        && role == KeyRole::Zsk
        && !old.is_empty()
    {
        let text = format!(
            "{} brings algorithm {} into the zone: named publishes it by itself from {publish} on, so the SKR that has it must be imported \
             before; from {publish} until then deliveries to named are held back",
            file.base_name(),
            file.dnskey.algorithm
        );
        console.say(Level::Warning, &text);
    }
}
