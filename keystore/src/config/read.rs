//! From the text to a checked [`Config`].

mod address;
mod catalog;
mod content;
mod ksr;
mod listen;
mod loader;
mod pair;
mod parent;
mod probe;
mod query;
#[cfg(test)]
mod tests;
mod transfer;
mod zone;
mod zone_files;

use std::collections::HashSet;
use std::path::Path;

use super::catalog::{Catalogs, TakenCatalog};
use super::known::KnownZones;
use super::pair::PairConfig;
use super::zone_files::memory::{self, Memory, Program};
use super::zone_files::{InUse, ZoneFileErrors, ZoneFiles, ZoneSource};
use super::{Config, ConfigErrors, ZoneConfig};
use crate::dns::Name;
use crate::policy::table::{Document, DocumentError, Table, Value};
use crate::policy::toml::{self, TopLevelKey};
use crate::policy::{Policies, PolicyFinding, PolicySeverity};
use crate::shared::Shared;
use crate::time::Timestamp;
use zone::{NO_ZONE, ZoneReader};
use zone_files::{AddedFile, BadZoneFiles, Before, ZoneFileSettings};

pub(super) fn load(path: &Path) -> Result<Config, ConfigErrors> {
    read(Document::load(path)?, Anchors::Needed, BadZoneFiles::Refuse)
}

pub(super) fn load_without_bad_zone_files(
    path: &Path,
    in_use: InUse<'_>,
    now: Timestamp,
) -> Result<Config, ConfigErrors> {
    load_beside(path, in_use, None, now)
}

pub(super) fn load_with_zone_file(
    path: &Path,
    file: &Path,
    octets: &[u8],
    now: Timestamp,
) -> Result<Config, ConfigErrors> {
    let before = InUse::Remembered(Program::Loader);
    let config = load_beside(path, before, Some(AddedFile { path: file, octets }), now)?;
    let errors = config.zone_file_errors().map(|errors| errors.findings.as_slice()).unwrap_or_default();
    let of_file: Vec<_> = errors.iter().filter(|finding| finding.path == file).cloned().collect();
    if of_file.is_empty() { Ok(config) } else { Err(ConfigErrors::Findings(of_file)) }
}

/// Reads the file beside what is in use, or was used last.
fn load_beside(
    path: &Path,
    before: InUse<'_>,
    added: Option<AddedFile<'_>>,
    now: Timestamp,
) -> Result<Config, ConfigErrors> {
    let doc = Document::load(path)?;
    let (owned, is_damaged) = match before {
        InUse::Config(config) if config.zone_files.left_out.is_empty() => (None, false),
        InUse::Config(config) => (Some(with_left_out(path, config)?), false),
        InUse::Remembered(program) => remembered(path, &doc, program)?,
    };
    let in_use = match before {
        InUse::Config(config) => owned.as_ref().or(Some(config)),
        InUse::Remembered(_) => owned.as_ref(),
    };
    read(doc, Anchors::Needed, BadZoneFiles::Keep(Before { in_use, is_damaged, added, now }))
}

/// The configuration with the zone files that were used last, `None` where there were none; and whether it is not known which these were. A
/// program that has remembered nothing goes by what the other one has.
fn remembered(path: &Path, doc: &Document, program: Program) -> Result<(Option<Config>, bool), ConfigErrors> {
    let Some(state_dir) = locate_state_dir(path) else { return Ok((None, false)) };
    let found = match memory::read(&state_dir, program) {
        Ok(None) => memory::read(&state_dir, program.other()).ok().flatten(),
        Ok(found) => found,
        Err(error) => {
            let path = memory::path(&state_dir, program);
            let what =
                format!("{}: {error}; the zone files are read as if there were none before", path.display());
            doc.note(doc.place(0..0).warning(what));
            return Ok((None, true));
        }
    };
    match found.filter(|memory| !memory.texts.is_empty()) {
        Some(memory) => Ok((Some(reread(path, &memory)?), false)),
        None => Ok((None, false)),
    }
}

/// The configuration in use, with those of the zones left out by the start that can be used by now as they were.
fn with_left_out(path: &Path, in_use: &Config) -> Result<Config, ConfigErrors> {
    let texts = in_use.zone_files.texts.clone();
    let again = reread(path, &Memory { texts, ..Memory::default() })?;
    let left_out: HashSet<&Name> = in_use.zone_files.left_out.iter().map(|left| &left.zone).collect();
    let mut whole = in_use.clone();
    whole.zones.extend(again.zones.into_iter().filter(|zone| left_out.contains(&zone.name)));
    whole.zone_files.left_out = again.zone_files.left_out;
    Ok(whole)
}

/// The main file with remembered zone files.
fn reread(path: &Path, memory: &Memory) -> Result<Config, ConfigErrors> {
    read(Document::load(path)?, Anchors::Needed, BadZoneFiles::Remembered(memory))
}

pub(super) fn load_before_trust(path: &Path) -> Result<Config, ConfigErrors> {
    read(Document::load(path)?, Anchors::ToBeLearnt, BadZoneFiles::Refuse)
}

/// Whether a zone must have trust anchors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchors {
    /// It must.
    Needed,
    /// Its file may be missing or empty.
    ToBeLearnt,
}

pub(super) fn parse(octets: &[u8], path: &Path) -> Result<Config, ConfigErrors> {
    read(Document::from_octets(octets.to_vec(), path)?, Anchors::Needed, BadZoneFiles::Refuse)
}

/// See [`Config::locate_control_socket`].
pub(super) fn locate_control_socket(path: &Path) -> Option<std::path::PathBuf> {
    let doc = Document::load(path).ok()?;
    let root = doc.parse().ok()?;
    let mut top = Table::new(&doc, root.get_ref(), "", doc.place(0..0));
    let loader = top.get(TopLevelKey::Loader.key());
    let mut loader = loader.as_ref().and_then(Value::table);
    let named = loader.as_mut().and_then(|table| table.get("control-socket")?.path());
    named.or_else(|| Some(super::control_socket_of(&top.get(TopLevelKey::StateDir.key())?.path()?)))
}

/// See [`Config::locate_state_dir`].
pub(super) fn locate_state_dir(path: &Path) -> Option<std::path::PathBuf> {
    let doc = Document::load(path).ok()?;
    let root = doc.parse().ok()?;
    let mut top = Table::new(&doc, root.get_ref(), "", doc.place(0..0));
    top.get(TopLevelKey::StateDir.key())?.path()
}

/// See [`Config::locate_pair`].
pub(super) fn locate_pair(path: &Path) -> Result<Option<PairConfig>, ConfigErrors> {
    let Ok(doc) = Document::load(path) else { return Ok(None) };
    let pair = {
        let Ok(root) = doc.parse() else { return Ok(None) };
        let mut top = Table::new(&doc, root.get_ref(), "", doc.place(0..0));
        let state_dir = top.get(TopLevelKey::StateDir.key()).and_then(|value| value.path());
        top.get(TopLevelKey::Pair.key()).map(|value| pair::read(&value, state_dir.as_deref()))
    };
    doc.into_findings().map_err(ConfigErrors::Findings)?;
    Ok(pair.flatten())
}

impl From<DocumentError> for ConfigErrors {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Io { path, source } => Self::Io { path, source },
            DocumentError::Findings(findings) => Self::Findings(findings),
        }
    }
}

fn read(doc: Document, need: Anchors, bad: BadZoneFiles<'_>) -> Result<Config, ConfigErrors> {
    let config = {
        let root = doc.parse()?;
        top(&doc, Table::new(&doc, root.get_ref(), "", doc.place(0..0)), need, bad)
    };
    let is_unread = doc.is_unread();
    let warnings = doc.into_findings().map_err(|findings| {
        if is_unread { ConfigErrors::Unread(findings) } else { ConfigErrors::Findings(findings) }
    })?;
    // Every part that is missing has left an error.
    let config = config.ok_or_else(|| ConfigErrors::Findings(Vec::new()))?;
    Ok(Config { warnings, ..config })
}

fn top(doc: &Document, mut top: Table<'_, '_>, need: Anchors, bad: BadZoneFiles<'_>) -> Option<Config> {
    if let Some(value) = top.require("version", "1") {
        toml::version(&value);
    }
    let state_dir =
        top.require(TopLevelKey::StateDir.key(), "\"/var/lib/offline-ksk\"").and_then(|v| v.path());
    let policies = toml::policies(&mut top);
    let (transfer, rules) = transfer::read(&mut top);
    let ksr = ksr::read(&mut top);
    let (loader, require_signature) = loader::read(&mut top, &ksr);
    let parent = parent::read(&mut top, &loader);
    let mut reader = ZoneReader::new(&policies, state_dir.as_deref(), need, rules.clone());
    reader.require_signature = require_signature;
    reader.has_operators = !loader.operator_certificates.is_empty();
    let catalogs = catalog::read(&mut top, &rules);
    let taken = catalogs.as_ref().map(|catalogs| catalogs.taken.as_slice()).unwrap_or_default();
    reader.catalogs = catalogs.iter().flat_map(Catalogs::names).cloned().collect();
    let (zones, mut zone_files) = zones(&mut top, &mut reader, taken, bad).unzip();
    let used = reader.used;
    let known = KnownZones::new(zones.as_deref(), zone_files.as_ref());
    let deliver = top.get(TopLevelKey::Deliver.key()).map(|v| super::deliver::read(&v, &known));
    let signer = top.get(TopLevelKey::Signer.key()).map(|v| listen::signer(&v));
    let metrics = top.get(TopLevelKey::Metrics.key()).map(|v| listen::metrics(&v));
    let probe = top.get(TopLevelKey::Probe.key()).map(|v| probe::read(&v, &known));
    let pair = top.get(TopLevelKey::Pair.key()).map(|v| pair::read(&v, state_dir.as_deref()));
    top.finish();
    let missing = known.into_missing();
    match (bad, &mut zone_files) {
        (BadZoneFiles::Keep(_), Some(files)) if !missing.is_empty() => {
            files.errors.get_or_insert(ZoneFileErrors::default()).findings.extend(missing);
        }
        (BadZoneFiles::Refuse, _) => doc.note_all(missing),
        _ => {}
    }
    note_policies(doc, &policies, &used);
    Some(Config {
        state_dir: state_dir?,
        zones: zones?,
        zone_files: zone_files?,
        catalogs: catalogs?,
        loader,
        parent,
        deliver: transposed(deliver)?.unwrap_or_default(),
        ksr,
        transfer,
        signer: transposed(signer)?,
        metrics: transposed(metrics)?,
        probe: transposed(probe)?,
        pair: transposed(pair)?,
        warnings: Vec::new(),
    })
}

/// The zones of the file and of `zones-directory`; `None` when one of them has an error.
fn zones(
    top: &mut Table<'_, '_>,
    reader: &mut ZoneReader<'_>,
    catalogs: &[TakenCatalog],
    bad: BadZoneFiles<'_>,
) -> Option<(Vec<Shared<ZoneConfig>>, ZoneFiles)> {
    let of_file = top.get(TopLevelKey::Zone.key()).map(|value| reader.read(&value, &ZoneSource::MainFile));
    let folder = top.get(TopLevelKey::ZonesDirectory.key());
    if folder.is_none() && of_file.is_none() && catalogs.is_empty() {
        top.error(NO_ZONE);
    }
    let max_removal = top.get(TopLevelKey::ZonesMaxRemoval.key()).and_then(|value| value.integer(0..=100));
    let is_named = folder.is_some();
    let folder = folder.and_then(|value| Some((value.path()?, value.at.clone())));
    if is_named && folder.is_none() {
        return None;
    }
    let settings = ZoneFileSettings { doc: top.doc, folder, max_removal, catalogs };
    let main = of_file.unwrap_or_else(|| Some(Vec::new()));
    let of_files = zone_files::read(&settings, main.as_deref().unwrap_or_default(), reader, bad);
    let (mut zones, (files, mut of_files)) = (main?, of_files?);
    zones.append(&mut of_files);
    Some((zones, files))
}

/// What is found in the policies. An unused one that cannot work is no reason to stop, but a reason to say so.
fn note_policies(doc: &Document, policies: &Policies, used: &HashSet<String>) {
    doc.note_all(policies.of_file().iter().cloned());
    for name in policies.names() {
        let findings = policies.of_policy(name).iter().cloned();
        if used.contains(name) {
            doc.note_all(findings);
            continue;
        }
        doc.note_all(findings.map(|f| match f.severity {
            PolicySeverity::Warning => f,
            PolicySeverity::Error => PolicyFinding {
                severity: PolicySeverity::Warning,
                what: format!("{} (no zone uses this policy)", f.what),
                ..f
            },
        }));
    }
}

/// `None` when the part is there and wrong.
fn transposed<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        None => Some(None),
        Some(part) => part.map(Some),
    }
}
