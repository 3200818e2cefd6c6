//! The zones of catalogs that this host takes zones from: each is a template with its name put in, read as a zone file is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::super::Anchors;
use super::super::zone::ZoneReader;
use super::{OriginState, ZoneDocument, zones_of};
use crate::catalog::taken::TakenVersion;
use crate::catalog::{Catalog, Member};
use crate::config::catalog::{TakenCatalog, taken_path};
use crate::config::zone_files::{CatalogTrouble, CatalogTroubleKind, Origin, ZoneSource};
use crate::dns::Name;
use crate::policy::named_conf::read_regular;
use crate::policy::table::{Document, DocumentError};
use crate::policy::{PolicyFinding, PolicySeverity};

/// Largest template that is read, in octets.
const MAX_TEMPLATE: u64 = 1 << 16;
/// Longest name of a zone as that of a file, in octets: folders of a zone have it.
const MAX_FILE_NAME: usize = 255;
/// What stands for the name of the zone in a template, and for its name as that of a file.
const ZONE: &str = "{zone}";
const FILE: &str = "{file}";

/// What catalogs have.
#[derive(Default)]
pub(super) struct Members {
    /// A document for each zone whose template reads, under a path that no other zone has.
    pub documents: Vec<ZoneDocument>,
    /// Each catalog.
    pub states: Vec<(Name, OriginState)>,
    /// The zones of each catalog that could be read.
    pub listed: HashMap<Name, Listed>,
    pub troubles: Vec<CatalogTrouble>,
    /// The errors of all templates, which stand among the troubles, too.
    pub template_errors: Vec<PolicyFinding>,
}

/// The zones of a catalog, whatever became of them here.
#[derive(Default)]
pub(super) struct Listed {
    /// Those that it has.
    pub zones: HashSet<Name>,
    /// Those that are of another catalog by their property `coo`.
    pub handed_over: HashSet<Name>,
}

/// The templates, by their paths.
type Templates<'a> = BTreeMap<&'a Path, Result<String, Vec<PolicyFinding>>>;

/// The files that these catalogs are read from: what was kept of them, and templates.
pub(super) fn files(catalogs: &[TakenCatalog], state_dir: Option<&Path>) -> Vec<PathBuf> {
    let Some(state_dir) = state_dir else { return Vec::new() };
    let of = |catalog: &TakenCatalog| {
        let kept = std::iter::once(taken_path(state_dir, &catalog.zone));
        kept.chain(catalog.templates().map(Path::to_owned)).collect::<Vec<_>>()
    };
    catalogs.iter().flat_map(of).collect()
}

/// The zones of these catalogs, as they were kept last. All templates are read, also those that no zone uses.
pub(super) fn read(catalogs: &[TakenCatalog], reader: &mut ZoneReader<'_>) -> Members {
    let mut found = Members::default();
    let Some(state_dir) = reader.state_dir else { return found };
    let mut all: BTreeMap<&Name, (&TakenCatalog, Catalog)> = BTreeMap::new();
    let mut templates: Templates<'_> = BTreeMap::new();
    for catalog in catalogs {
        let file = taken_path(state_dir, &catalog.zone);
        let state = match TakenVersion::read(&file) {
            Ok(Some(TakenVersion { catalog: kept, .. })) => {
                let state =
                    if kept.members().is_empty() { OriginState::Empty } else { OriginState::HasZones };
                all.insert(&catalog.zone, (catalog, kept));
                state
            }
            // It has not come yet, or has come and was lost: what is in use of it stays.
            Ok(None) => OriginState::Unread,
            Err(error) => {
                let what = format!("what was kept of the catalog {}: {error}; its zones stay", catalog.zone);
                found.trouble(catalog, CatalogTroubleKind::Unread, 0, vec![error_at(&file, what)]);
                OriginState::Unread
            }
        };
        found.states.push((catalog.zone.clone(), state));
        for template in catalog.templates() {
            let read = templates.entry(template).or_insert_with(|| read_template(template, reader));
            if let Err(errors) = read {
                found.bad_template(catalog, errors);
            }
        }
    }
    for catalog in catalogs {
        if let Some((_, kept)) = all.get(&catalog.zone) {
            let goes = |zone: &Name, member: &Member| goes_over(catalog, zone, member, &all, &templates);
            found.add(catalog, kept, &templates, goes);
        }
    }
    found
}

/// True for a zone that changes its catalog (RFC 9432 section 4.3.1) and is of the other one by now: that one has it, and can take it. Where both
/// say that it is of the other one, neither hands it over.
fn goes_over(
    catalog: &TakenCatalog,
    zone: &Name,
    member: &Member,
    all: &BTreeMap<&Name, (&TakenCatalog, Catalog)>,
    templates: &Templates<'_>,
) -> bool {
    let other = member.coo.as_ref().filter(|coo| **coo != catalog.zone).and_then(|coo| all.get(coo));
    other.is_some_and(|(other, kept)| {
        kept.members().get(zone).is_some_and(|there| {
            let template = other.template_of(there).and_then(|template| templates.get(template));
            other.may_have(zone)
                && template.is_some_and(Result::is_ok)
                && there.coo.as_ref().is_none_or(|back| *back != catalog.zone)
        })
    })
}

impl Members {
    fn add(
        &mut self,
        catalog: &TakenCatalog,
        kept: &Catalog,
        templates: &Templates<'_>,
        goes_over: impl Fn(&Name, &Member) -> bool,
    ) {
        let mut listed = Listed::default();
        let (mut strangers, mut homeless) = (Vec::new(), Vec::new());
        for (zone, member) in kept.members() {
            if goes_over(zone, member) {
                listed.handed_over.insert(zone.clone());
                continue;
            }
            listed.zones.insert(zone.clone());
            if !catalog.may_have(zone) || zone.file_name().len() > MAX_FILE_NAME {
                strangers.push(zone);
                continue;
            }
            let Some(template) = catalog.template_of(member) else {
                homeless.push(zone);
                continue;
            };
            if let Some(Ok(text)) = templates.get(template) {
                let file = file_of(template, &catalog.zone, zone);
                let doc = Document::from_octets(filled(text, zone).into_bytes(), &file);
                let (origin, label) = (Origin::Catalog(catalog.zone.clone()), Some(member.label.clone()));
                self.documents.push(ZoneDocument { doc, file, origin, label });
            }
        }
        self.listed.insert(catalog.zone.clone(), listed);
        self.left_out(
            catalog,
            &strangers,
            "are not below any of members-below, or have too long a name for a file, and are not taken",
        );
        self.left_out(catalog, &homeless, "have no group that has a template, and are not taken");
    }

    fn left_out(&mut self, catalog: &TakenCatalog, zones: &[&Name], what: &str) {
        if let Some(first) = zones.first() {
            let what = format!("{} zone(s) of the catalog {} {what}: {first}", zones.len(), catalog.zone);
            let finding = error_at(&catalog.file, what);
            self.trouble(catalog, CatalogTroubleKind::Refused, zones.len(), vec![finding]);
        }
    }

    fn bad_template(&mut self, catalog: &TakenCatalog, errors: &[PolicyFinding]) {
        self.template_errors.extend(errors.iter().cloned());
        self.trouble(catalog, CatalogTroubleKind::Refused, 0, errors.to_vec());
    }

    fn trouble(
        &mut self,
        catalog: &TakenCatalog,
        kind: CatalogTroubleKind,
        zones: usize,
        findings: Vec<PolicyFinding>,
    ) {
        let known = self.troubles.iter_mut().find(|t| t.catalog == catalog.zone && t.kind == kind);
        match known {
            Some(known) => {
                known.zones += zones;
                known.findings.extend(findings);
            }
            None => {
                self.troubles.push(CatalogTrouble { catalog: catalog.zone.clone(), kind, zones, findings });
            }
        }
    }
}

fn error_at(file: &Path, what: String) -> PolicyFinding {
    PolicyFinding { severity: PolicySeverity::Error, path: file.to_owned(), line: 1, what }
}

/// The path under which a zone is read: in the folder of its template, so that relative paths count from there.
fn file_of(template: &Path, catalog: &Name, zone: &Name) -> PathBuf {
    let mut name = template.file_name().unwrap_or_default().to_owned();
    name.push(format!("#{}#{}", catalog.file_name(), zone.file_name()));
    template.with_file_name(name)
}

/// The template with the name of the zone put in. Names come from strangers: what TOML reads as more than itself is escaped, and `{file}` has
/// nothing that leads to another folder.
fn filled(template: &str, zone: &Name) -> String {
    let name = zone.to_string().replace('\\', "\\\\").replace('"', "\\\"");
    let file = zone.file_name();
    let file = file.strip_suffix('.').filter(|file| !file.is_empty()).unwrap_or("@");
    // One after the other would look for {file} in what was put in for {zone}.
    let parts = template.split(ZONE).map(|part| part.replace(FILE, file));
    parts.collect::<Vec<_>>().join(&name)
}

/// The text of a template, when a zone of it would read: one `[[zone]]` with the name of the zone. Its trust anchors may be missing, since there is no such
/// zone.
fn read_template(path: &Path, reader: &mut ZoneReader<'_>) -> Result<String, Vec<PolicyFinding>> {
    let text = read_text(path).map_err(|error| vec![error_at(path, error.to_string())])?;
    // It is the name of no zone (RFC 6761 section 6.4).
    let sample =
        Name::parse("zone-of-a-catalog.invalid").map_err(|error| vec![error_at(path, error.to_string())])?;
    let doc = match Document::from_octets(filled(&text, &sample).into_bytes(), path) {
        Ok(doc) => doc,
        Err(DocumentError::Findings(findings)) => return Err(findings),
        Err(DocumentError::Io { source, .. }) => return Err(vec![error_at(path, source.to_string())]),
    };
    let need = std::mem::replace(&mut reader.need, Anchors::ToBeLearnt);
    reader.begin_file();
    let zones = zones_of(&doc, &ZoneSource::ZoneFile(path.into()), reader);
    reader.undo_file();
    reader.need = need;
    let is_one = zones.as_ref().is_none_or(|zones| zones.len() == 1 && zones[0].name == sample);
    if !is_one {
        doc.note(doc.place(0..0).error("a template has one [[zone]], with name = \"{zone}\""));
    }
    match doc.into_findings() {
        Ok(_) if zones.is_some() => Ok(text),
        Ok(findings) | Err(findings) => Err(findings),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read_regular(path, MAX_TEMPLATE)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
}

#[cfg(test)]
mod tests;
