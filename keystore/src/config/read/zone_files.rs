//! The files of `zones-directory`, each with the `[[zone]]` tables of some zones.

mod guard;
mod members;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::zone::{Owner, ZoneReader};
use crate::config::catalog::TakenCatalog;
use crate::config::zone_files::memory::Memory;
use crate::config::zone_files::{
    CatalogTroubleKind, FolderMark, LeftOut, Origin, ZoneFileErrors, ZoneFileText, ZoneFiles, ZoneSource,
    list, release,
};
use crate::config::{Config, Signing, ZoneConfig};
use crate::dns::Name;
use crate::policy::finding::Place;
use crate::policy::table::{Document, DocumentError, Table};
use crate::policy::toml::TopLevelKey;
use crate::policy::{PolicyFinding, PolicySeverity};
use crate::shared::Shared;
use crate::time::Timestamp;
use members::{Listed, Members};

/// What becomes of the configuration where a zone file has errors.
#[derive(Debug, Clone, Copy)]
pub(super) enum BadZoneFiles<'a> {
    /// They are errors of the configuration.
    Refuse,
    /// The zones of such a file stay as they were.
    Keep(Before<'a>),
    /// These texts are read in place of the folder. What has errors by now is left out, and of a zone that stands in several the first is taken.
    Remembered(&'a Memory),
}

/// What was before, and what comes beside the folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before<'a> {
    /// The configuration in use; `None` where there never was one.
    pub in_use: Option<&'a Config>,
    /// What was used before cannot be read.
    pub is_damaged: bool,
    /// A file that is not in the folder yet.
    pub added: Option<AddedFile<'a>>,
    pub now: Timestamp,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct AddedFile<'a> {
    pub path: &'a Path,
    pub octets: &'a [u8],
}

/// A file with zones, or a zone of a catalog.
pub(super) struct ZoneDocument {
    pub doc: Result<Document, DocumentError>,
    pub file: PathBuf,
    pub origin: Origin,
    /// The label of the zone in its catalog.
    pub label: Option<Vec<u8>>,
}

impl ZoneDocument {
    fn load(file: PathBuf) -> Self {
        Self { doc: Document::load(&file), file, origin: Origin::Folder, label: None }
    }

    fn remembered(text: &ZoneFileText) -> Self {
        let doc = Document::from_octets(text.text.as_bytes().to_vec(), &text.path);
        Self { doc, file: text.path.to_path_buf(), origin: text.origin.clone(), label: None }
    }

    /// True for a file that was removed after the folder was listed. A link to nowhere is a file that cannot be read.
    fn is_gone(&self) -> bool {
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        matches!(&self.doc, Err(DocumentError::Io { source, .. }) if missing(source))
            && self.file.symlink_metadata().is_err_and(|error| missing(&error))
    }
}

/// What is known of the folder, or of a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OriginState {
    /// It has zones.
    HasZones,
    /// It has none.
    Empty,
    /// What it has is not known.
    Unread,
}

/// The settings of the main file.
pub(super) struct ZoneFileSettings<'a> {
    pub doc: &'a Document,
    /// `zones-directory`, and the line that says so.
    pub folder: Option<(PathBuf, Place)>,
    /// `zones-max-removal`: how many zones may go within an hour.
    pub max_removal: Option<u32>,
    /// The catalogs whose zones are there as well.
    pub catalogs: &'a [TakenCatalog],
}

impl ZoneFileSettings<'_> {
    fn place(&self) -> Place {
        self.folder.as_ref().map_or_else(|| self.doc.place(0..0), |(_, place)| place.clone())
    }
}

/// Reads the zones of all files of the folder; `main` are those of the main file. What is wrong with a file is noted in the document of the main file, or kept
/// beside the folder, as `bad` says.
pub(super) fn read(
    settings: &ZoneFileSettings<'_>,
    main: &[Shared<ZoneConfig>],
    reader: &mut ZoneReader<'_>,
    bad: BadZoneFiles<'_>,
) -> Option<(ZoneFiles, Vec<Shared<ZoneConfig>>)> {
    let folder = settings.folder.as_ref().map(|(path, _)| path.clone());
    // The mark comes first: what changes while the files are read is another change.
    let others = members::files(settings.catalogs, reader.state_dir);
    let mark = FolderMark::of(folder.as_deref(), reader.state_dir, &others);
    let mut members = match bad {
        BadZoneFiles::Remembered(_) => Members::default(),
        BadZoneFiles::Refuse | BadZoneFiles::Keep(_) => members::read(settings.catalogs, reader),
    };
    let before = match bad {
        BadZoneFiles::Keep(before) => Some(before),
        BadZoneFiles::Refuse | BadZoneFiles::Remembered(_) => None,
    };
    let mut files = FilesRead::default();
    let (mut documents, listed) = match bad {
        BadZoneFiles::Remembered(memory) => {
            (memory.texts.iter().map(ZoneDocument::remembered).collect(), true)
        }
        BadZoneFiles::Refuse | BadZoneFiles::Keep(_) => files.list(folder.as_deref(), settings),
    };
    documents.append(&mut members.documents);
    files.take(members);
    let lacks_zones = files.origins.values().any(|state| *state != OriginState::HasZones);
    if lacks_zones && before.is_some_and(|before| before.is_damaged) {
        settings.doc.note(settings.place().error(
            "the folder or a catalog has no zone, and which zones were used last cannot be read (see the warning); put the files back, or remove what was remembered when there are none",
        ));
        return None;
    }
    let in_use = before.and_then(|before| before.in_use).filter(|config| has_zone_files(config));
    if let Some(in_use) = in_use {
        let now = before.map_or(Timestamp::from_secs(0), |before| before.now);
        let released =
            reader.state_dir.and_then(|folder| release::read(folder, now).ok()).unwrap_or_default();
        let full = files.leaving_too_many(in_use, settings, now);
        reader.reserved = files.reserved(in_use, &documents, &full, &released);
    }
    reader.skip_claimed = matches!(bad, BadZoneFiles::Remembered(_));
    for document in documents {
        files.add(document, reader);
    }
    if let Some(added) = before.and_then(|before| before.added) {
        let doc = Document::from_octets(added.octets.to_vec(), added.path);
        let document = ZoneDocument { doc, file: added.path.to_owned(), origin: Origin::Folder, label: None };
        files.add(document, reader);
    }
    reader.reserved = HashMap::new();
    settings.doc.note_all(std::mem::take(&mut files.warnings));
    if let BadZoneFiles::Remembered(memory) = bad {
        let remembered = files.remembered(folder, mark, memory);
        return Some((ZoneFiles { others, ..remembered }, files.zones));
    }
    let kept = match (in_use, before) {
        (Some(in_use), Some(before)) => files.keep(in_use, main, settings, reader.state_dir, before.now),
        _ => guard::KeptZones::default(),
    };
    if matches!(bad, BadZoneFiles::Refuse) {
        files.note_catalogs(settings.doc);
    }
    let may_pass = files.passes.iter().any(|passes| *passes);
    let mark = mark.without_awaited(&files.awaited);
    let nothing_to_keep = matches!(bad, BadZoneFiles::Refuse) || (!listed && in_use.is_none());
    if nothing_to_keep && !files.errors.findings.is_empty() {
        if may_pass {
            settings.doc.note_unread(&io::Error::other("may pass"));
        }
        settings.doc.note_all(files.errors.findings);
        return None;
    }
    let errors = ZoneFileErrors { may_pass, ..files.errors };
    let errors = (!files.passes.is_empty() || !errors.of_catalogs.is_empty()).then_some(errors);
    let mut texts = files.texts;
    if let Some(in_use) = in_use {
        texts.extend(texts_of(&kept, &in_use.zone_files.texts));
    }
    let mut zones = files.zones;
    let guard::KeptZones { zones: stay, held, left_out, removals, additions } = kept;
    zones.extend(stay);
    let awaited = files.awaited;
    let files =
        ZoneFiles { folder, others, awaited, mark, texts, errors, removals, additions, held, left_out };
    Some((files, zones))
}

fn has_zone_files(config: &Config) -> bool {
    !config.zone_files.left_out.is_empty()
        || config.zones.iter().any(|zone| zone.source != ZoneSource::MainFile)
}

/// The zones that a file names, whatever else is wrong with it; `None` when it is no TOML.
fn names(doc: &Document) -> Option<HashSet<Name>> {
    let root = doc.parse().ok()?;
    let zones = root.get_ref().get(TopLevelKey::Zone.key())?.get_ref().as_array()?;
    let name = |zone: &toml::Spanned<toml::de::DeValue<'_>>| {
        Name::parse(zone.get_ref().as_table()?.get("name")?.get_ref().as_str()?).ok()
    };
    Some(zones.iter().filter_map(name).collect())
}

/// The zones that are not signed here as a file says, whatever else is wrong with it.
fn signed_elsewhere(doc: &Document) -> Vec<Name> {
    let Ok(root) = doc.parse() else { return Vec::new() };
    let zones = root.get_ref().get(TopLevelKey::Zone.key()).and_then(|zones| zones.get_ref().as_array());
    let name = |zone: &toml::Spanned<toml::de::DeValue<'_>>| {
        let text = |key: &str| zone.get_ref().as_table()?.get(key)?.get_ref().as_str();
        text("signing").filter(|signing| *signing != Signing::Online.as_str())?;
        Name::parse(text("name")?).ok()
    };
    zones.into_iter().flatten().filter_map(name).collect()
}

/// The trust anchor files that a file names.
fn anchor_files(doc: &Document, file: &Path) -> Vec<PathBuf> {
    let Ok(root) = doc.parse() else { return Vec::new() };
    let zones = root.get_ref().get(TopLevelKey::Zone.key()).and_then(|zones| zones.get_ref().as_array());
    let folder = file.parent().unwrap_or(file);
    let anchor_file = |zone: &toml::Spanned<toml::de::DeValue<'_>>| {
        Some(folder.join(zone.get_ref().as_table()?.get("trust-anchor-file")?.get_ref().as_str()?))
    };
    zones.into_iter().flatten().filter_map(anchor_file).collect()
}

/// The texts of the configuration before that these zones come from, and those of zones that are left out.
fn texts_of(kept: &guard::KeptZones, texts: &[ZoneFileText]) -> Vec<ZoneFileText> {
    let mut wanted: HashSet<(&Path, &Name)> =
        kept.left_out.iter().map(|left| (&*left.file, &left.zone)).collect();
    for zone in &kept.zones {
        if let Some(file) = zone.source.file() {
            wanted.insert((file, &zone.name));
        }
    }
    let files: HashSet<&Path> = wanted.iter().map(|(file, _)| *file).collect();
    let mut found = Vec::new();
    for text in texts.iter().filter(|text| files.contains(&*text.path)) {
        let names = ZoneDocument::remembered(text).doc.ok().and_then(|doc| names(&doc)).unwrap_or_default();
        let count = wanted.len();
        wanted.retain(|(file, zone)| *file != &*text.path || !names.contains(zone));
        if wanted.len() < count {
            found.push(text.clone());
        }
    }
    found
}

/// What the files have.
#[derive(Default)]
struct FilesRead {
    zones: Vec<Shared<ZoneConfig>>,
    /// Texts of the files without errors.
    texts: Vec<ZoneFileText>,
    /// Files of the folder with errors, with the zones that each of them names; `None` where that is not known.
    bad: HashMap<PathBuf, Option<HashSet<Name>>>,
    /// The same of zones of catalogs.
    bad_members: HashMap<PathBuf, Option<HashSet<Name>>>,
    /// The zones of each catalog.
    listed: HashMap<Name, Listed>,
    /// What the configuration takes zones from.
    origins: HashMap<Origin, OriginState>,
    /// Of each of them, of the folder, and of zones that are held, whether the error may pass.
    passes: Vec<bool>,
    errors: ZoneFileErrors,
    /// Errors of templates, whoever uses them.
    template_errors: Vec<PolicyFinding>,
    /// Trust anchor files of files with errors.
    awaited: Vec<PathBuf>,
    /// What is said of the others.
    warnings: Vec<PolicyFinding>,
}

impl FilesRead {
    /// Takes what catalogs have, but for the documents.
    fn take(&mut self, members: Members) {
        self.errors.of_catalogs = members.troubles;
        self.template_errors = members.template_errors;
        self.listed = members.listed;
        self.origins
            .extend(members.states.into_iter().map(|(catalog, state)| (Origin::Catalog(catalog), state)));
    }

    /// The documents of the folder; false where it cannot be listed.
    fn list(&mut self, folder: Option<&Path>, settings: &ZoneFileSettings<'_>) -> (Vec<ZoneDocument>, bool) {
        let Some(folder) = folder else { return (Vec::new(), true) };
        let (documents, state) = match list(folder) {
            Ok(files) if files.is_empty() => (Vec::new(), OriginState::Empty),
            Ok(files) => (files.into_iter().map(ZoneDocument::load).collect(), OriginState::HasZones),
            Err(error) => {
                let what = format!("zones-directory: {}: {error}", folder.display());
                self.errors.findings.push(settings.place().error(what));
                self.passes.push(passes(&error));
                (Vec::new(), OriginState::Unread)
            }
        };
        self.origins.insert(Origin::Folder, state);
        (documents, state != OriginState::Unread)
    }

    /// The zones in use that others do not take over: those whose file still has them, or may have them because it does not read; and those of a catalog that
    /// has them still, whatever became of their templates, or that leave it in too large a number.
    fn reserved(
        &self,
        in_use: &Config,
        documents: &[ZoneDocument],
        full: &HashSet<Name>,
        released: &HashSet<Name>,
    ) -> HashMap<Name, Owner> {
        let named: HashMap<&Path, Option<HashSet<Name>>> = documents
            .iter()
            .filter(|document| document.origin == Origin::Folder && !document.is_gone())
            .map(|document| (document.file.as_path(), document.doc.as_ref().ok().and_then(names)))
            .collect();
        let held: HashSet<&Name> = in_use.zone_files.held.iter().collect();
        let mut reserved = HashMap::new();
        for zone in &in_use.zones {
            let owner = match &zone.source {
                ZoneSource::MainFile => continue,
                ZoneSource::ZoneFile(file) => match named.get(&**file) {
                    Some(Some(names)) => names.contains(&zone.name),
                    Some(None) => true,
                    None => self.origins.get(&Origin::Folder) == Some(&OriginState::Unread),
                }
                .then(|| Owner::File(Arc::clone(file))),
                ZoneSource::Member(member) => {
                    let listed = self.listed.get(&member.catalog);
                    let origin = Origin::Catalog(member.catalog.clone());
                    let is_unread = self.origins.get(&origin) == Some(&OriginState::Unread);
                    let has_it = is_unread || listed.is_some_and(|listed| listed.zones.contains(&zone.name));
                    let is_handed = listed.is_some_and(|listed| listed.handed_over.contains(&zone.name));
                    let waits = (held.contains(&zone.name) || full.contains(&member.catalog))
                        && !released.contains(&zone.name);
                    let (catalog, file) = (member.catalog.clone(), Arc::clone(&member.file));
                    let is_held_signed = held.contains(&zone.name) && zone.is_signed_here();
                    let owner = Owner::Catalog { catalog, file, has_it, is_held_signed };
                    (!is_handed && (has_it || waits)).then_some(owner)
                }
            };
            if let Some(owner) = owner {
                reserved.insert(zone.name.clone(), owner);
            }
        }
        reserved
    }

    fn add(&mut self, document: ZoneDocument, reader: &mut ZoneReader<'_>) {
        if document.is_gone() {
            return;
        }
        let ZoneDocument { doc, file, origin, label } = document;
        let (findings, passes, named) = match doc {
            Ok(doc) => {
                let named = names(&doc);
                reader.begin_file();
                let source = ZoneSource::new(&origin, &file, label);
                let zones = zones_of(&doc, &source, reader);
                let (unread, text) = (doc.is_unread(), doc.text().into());
                let awaited = if zones.is_none() { anchor_files(&doc, &file) } else { Vec::new() };
                match (doc.into_findings(), zones) {
                    (Ok(warnings), Some(zones)) => {
                        self.warnings.extend(warnings);
                        self.zones.extend(zones);
                        self.texts.push(ZoneFileText { path: file.into(), origin, text });
                        return;
                    }
                    (Ok(findings) | Err(findings), _) => {
                        reader.undo_file();
                        self.awaited.extend(awaited);
                        (findings, unread, named)
                    }
                }
            }
            Err(DocumentError::Io { path, source }) => (vec![unread(&path, &source)], passes(&source), None),
            Err(DocumentError::Findings(findings)) => (findings, false, None),
        };
        match origin {
            Origin::Folder => {
                self.errors.findings.extend(findings);
                self.passes.push(passes);
                self.bad.insert(file, named);
            }
            Origin::Catalog(catalog) => {
                self.passes.extend(passes.then_some(true));
                let errors = findings.into_iter().filter(|finding| finding.severity == PolicySeverity::Error);
                self.errors.note_catalog(&catalog, CatalogTroubleKind::Refused, 1, errors);
                self.bad_members.insert(file, named);
            }
        }
    }

    /// Says in the document of the main file what is wrong with catalogs: errors of templates are errors of the configuration, and what strangers put into a
    /// catalog is none.
    fn note_catalogs(&mut self, doc: &Document) {
        let templates = std::mem::take(&mut self.template_errors);
        for trouble in std::mem::take(&mut self.errors.of_catalogs) {
            let findings = trouble.findings.into_iter().filter(|finding| !templates.contains(finding));
            doc.note_all(
                findings.map(|finding| PolicyFinding { severity: PolicySeverity::Warning, ..finding }),
            );
        }
        doc.note_all(templates);
    }

    /// What was remembered. Its zones that cannot be used by now are left out.
    fn remembered(&self, folder: Option<PathBuf>, mark: FolderMark, memory: &Memory) -> ZoneFiles {
        let read: HashSet<&Name> = self.zones.iter().map(|zone| &zone.name).collect();
        let mut left_out = Vec::new();
        let origins: HashMap<&Path, &Origin> =
            memory.texts.iter().map(|text| (&*text.path, &text.origin)).collect();
        for (file, names) in self.bad.iter().chain(&self.bad_members) {
            let origin = origins.get(file.as_path()).copied().unwrap_or(&Origin::Folder);
            for zone in names.iter().flatten().filter(|zone| !read.contains(zone)) {
                let (zone, origin) = (zone.clone(), origin.clone());
                left_out.push(LeftOut { zone, file: file.as_path().into(), origin });
            }
        }
        left_out.sort_by(|a, b| a.zone.cmp(&b.zone));
        let Memory { texts, held, removals, additions } = memory.clone();
        ZoneFiles { folder, mark, texts, removals, additions, held, left_out, ..ZoneFiles::default() }
    }
}

/// The zones of one file; `None` when there is an error, which may be one of a policy.
fn zones_of(
    doc: &Document,
    source: &ZoneSource,
    reader: &mut ZoneReader<'_>,
) -> Option<Vec<Shared<ZoneConfig>>> {
    let root = match doc.parse() {
        Ok(root) => root,
        Err(DocumentError::Findings(findings)) => {
            doc.note_all(findings);
            return None;
        }
        Err(DocumentError::Io { .. }) => return None,
    };
    let mut top = Table::new(doc, root.get_ref(), "", doc.place(0..0));
    let value = top.require(TopLevelKey::Zone.key(), "[{ name = \"example.com\", policy = \"common\" }]");
    let zones = value.and_then(|value| reader.read(&value, source));
    top.finish();
    zones
}

fn unread(path: &Path, error: &io::Error) -> PolicyFinding {
    PolicyFinding { severity: PolicySeverity::Error, path: path.to_owned(), line: 1, what: error.to_string() }
}

/// True for an error of the system that may be gone at the next try. Rights are others only when somebody changes them, which the mark of the folder shows.
fn passes(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::PermissionDenied
    )
}
