//! The files of `zones-directory`, each with the `[[zone]]` tables of some zones.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::zone::ZoneReader;
use crate::config::zone_files::{
    FolderMark, MAX_REMOVAL, REMOVAL_WINDOW, ZoneFileErrors, ZoneFileText, ZoneFiles, ZoneSource, list,
    release,
};
use crate::config::{Config, ZoneConfig};
use crate::dns::Name;
use crate::policy::finding::Place;
use crate::policy::table::{Document, DocumentError, Table};
use crate::policy::toml::Section;
use crate::policy::{PolicyFinding, Severity};
use crate::shared::Shared;
use crate::time::Timestamp;

/// Zones that a message names.
const NAMED: usize = 5;

/// What becomes of the configuration where a zone file has errors.
#[derive(Debug, Clone, Copy)]
pub(super) enum BadZoneFiles<'a> {
    /// They are errors of the configuration.
    Refuse,
    /// The zones of such a file stay as they were.
    Keep(Before<'a>),
    /// These texts are read in place of the folder. What has errors by now is left out, and of a zone that stands in several the first is taken.
    Remembered(&'a [ZoneFileText]),
}

/// What was before, and what comes beside the folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before<'a> {
    /// The configuration in use; `None` where there never was one.
    pub in_use: Option<&'a Config>,
    /// A file that is not in the folder yet.
    pub added: Option<AddedFile<'a>>,
    pub now: Timestamp,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct AddedFile<'a> {
    pub path: &'a Path,
    pub octets: &'a [u8],
}

/// The settings of the main file.
pub(super) struct Settings<'a> {
    pub doc: &'a Document,
    /// `zones-directory`, and the line that says so.
    pub folder: Option<(PathBuf, Place)>,
    /// `zones-max-removal`: how many zones may go within an hour.
    pub max_removal: Option<u32>,
}

impl Settings<'_> {
    fn place(&self) -> Place {
        self.folder.as_ref().map_or_else(|| self.doc.place(0..0), |(_, place)| place.clone())
    }
}

/// Reads the zones of all files of the folder; `main` are those of the main file. What is wrong with a file is noted in the document of the main file, or kept
/// beside the folder, as `bad` says.
pub(super) fn read(
    settings: &Settings<'_>,
    main: &[Shared<ZoneConfig>],
    reader: &mut ZoneReader<'_>,
    bad: BadZoneFiles<'_>,
) -> Option<(ZoneFiles, Vec<Shared<ZoneConfig>>)> {
    let folder = settings.folder.as_ref().map(|(path, _)| path.clone());
    let mark = FolderMark::of(folder.as_deref(), reader.state_dir);
    let before = match bad {
        BadZoneFiles::Keep(before) => Some(before),
        BadZoneFiles::Refuse | BadZoneFiles::Remembered(_) => None,
    };
    let mut files = FilesRead::default();
    let (documents, listed) = match (bad, &folder) {
        (BadZoneFiles::Remembered(texts), _) => (texts.iter().map(document).collect(), true),
        (_, None) => (Vec::new(), true),
        (_, Some(folder)) => match list(folder) {
            Ok(listed) => (listed.into_iter().map(|file| (Document::load(&file), file)).collect(), true),
            Err(error) => {
                let what = format!("zones-directory: {}: {error}", folder.display());
                files.findings.push(settings.place().error(what));
                files.passes.push(passes(&error));
                (Vec::new(), false)
            }
        },
    };
    let in_use = before.and_then(|before| before.in_use).filter(|config| has_zone_files(config));
    if let Some(in_use) = in_use {
        reader.reserved = reserved(in_use, &documents, listed);
    }
    reader.skip_claimed = matches!(bad, BadZoneFiles::Remembered(_));
    for (doc, file) in documents {
        files.add(file, doc, reader);
    }
    if let Some(added) = before.and_then(|before| before.added) {
        let doc = Document::from_octets(added.octets.to_vec(), added.path);
        files.add(added.path.to_owned(), doc, reader);
    }
    reader.reserved = HashMap::new();
    settings.doc.note_all(std::mem::take(&mut files.warnings));
    let (kept, held, removals) = match (in_use, before) {
        (Some(in_use), Some(before)) => {
            files.keep(in_use, main, listed, settings, reader.state_dir, before.now)
        }
        _ => (Vec::new(), Vec::new(), Vec::new()),
    };
    let may_pass = files.passes.iter().all(|passes| *passes);
    let nothing_to_keep = matches!(bad, BadZoneFiles::Refuse) || (!listed && in_use.is_none());
    if nothing_to_keep && !files.passes.is_empty() {
        if may_pass {
            settings.doc.note_unread(&io::Error::other("may pass"));
        }
        settings.doc.note_all(files.findings);
        return None;
    }
    let errors =
        (!files.passes.is_empty()).then_some(ZoneFileErrors { findings: files.findings, may_pass, held });
    let mut texts = files.texts;
    if let Some(in_use) = in_use {
        texts.extend(texts_of(&kept, &in_use.zone_files.texts));
    }
    let mut zones = files.zones;
    zones.extend(kept);
    Some((ZoneFiles { folder, mark, texts, errors, removals }, zones))
}

fn has_zone_files(config: &Config) -> bool {
    config.zones.iter().any(|zone| matches!(zone.source, ZoneSource::ZoneFile(_)))
}

fn document(file: &ZoneFileText) -> (Result<Document, DocumentError>, PathBuf) {
    (Document::from_octets(file.text.as_bytes().to_vec(), &file.path), file.path.to_path_buf())
}

/// The zones in use whose file still has them, or may have them because it does not read: another file does not take them over.
fn reserved(
    in_use: &Config,
    documents: &[(Result<Document, DocumentError>, PathBuf)],
    listed: bool,
) -> HashMap<Name, Arc<Path>> {
    let named: HashMap<&Path, Option<HashSet<Name>>> = documents
        .iter()
        .filter(|(doc, file)| !is_gone(doc, file))
        .map(|(doc, file)| (file.as_path(), doc.as_ref().ok().and_then(names)))
        .collect();
    let mut reserved = HashMap::new();
    for zone in &in_use.zones {
        let ZoneSource::ZoneFile(file) = &zone.source else { continue };
        let has = match named.get(&**file) {
            Some(Some(names)) => names.contains(&zone.name),
            Some(None) => true,
            None => !listed,
        };
        if has {
            reserved.insert(zone.name.clone(), Arc::clone(file));
        }
    }
    reserved
}

/// The zones that a file names, whatever else is wrong with it; `None` when it is no TOML.
fn names(doc: &Document) -> Option<HashSet<Name>> {
    let root = doc.parse().ok()?;
    let zones = root.get_ref().get(Section::Zone.key())?.get_ref().as_array()?;
    let name = |zone: &toml::Spanned<toml::de::DeValue<'_>>| {
        Name::parse(zone.get_ref().as_table()?.get("name")?.get_ref().as_str()?).ok()
    };
    Some(zones.iter().filter_map(name).collect())
}

/// The texts of the configuration before that these zones come from.
fn texts_of(kept: &[Shared<ZoneConfig>], texts: &[ZoneFileText]) -> Vec<ZoneFileText> {
    let mut wanted: HashSet<(&Path, &Name)> = HashSet::new();
    for zone in kept {
        if let ZoneSource::ZoneFile(file) = &zone.source {
            wanted.insert((file, &zone.name));
        }
    }
    let files: HashSet<&Path> = wanted.iter().map(|(file, _)| *file).collect();
    let mut found = Vec::new();
    for text in texts.iter().filter(|text| files.contains(&*text.path)) {
        let names = document(text).0.ok().and_then(|doc| names(&doc)).unwrap_or_default();
        let count = wanted.len();
        wanted.retain(|(file, zone)| *file != &*text.path || !names.contains(zone));
        if wanted.len() < count {
            found.push(text.clone());
        }
    }
    found
}

/// True for a file that was removed after the folder was listed. A link to nowhere is a file that cannot be read.
fn is_gone(doc: &Result<Document, DocumentError>, file: &Path) -> bool {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    matches!(doc, Err(DocumentError::Io { source, .. }) if missing(source))
        && file.symlink_metadata().is_err_and(|error| missing(&error))
}

/// What the files have.
#[derive(Default)]
struct FilesRead {
    zones: Vec<Shared<ZoneConfig>>,
    /// Texts of the files without errors.
    texts: Vec<ZoneFileText>,
    /// Files with errors.
    bad: HashSet<PathBuf>,
    /// Of each of them, of the folder, and of zones that are held, whether the error may pass.
    passes: Vec<bool>,
    findings: Vec<PolicyFinding>,
    /// What is said of the others.
    warnings: Vec<PolicyFinding>,
}

type Kept = (Vec<Shared<ZoneConfig>>, Vec<Name>, Vec<(Timestamp, usize)>);

impl FilesRead {
    fn add(&mut self, file: PathBuf, doc: Result<Document, DocumentError>, reader: &mut ZoneReader<'_>) {
        if is_gone(&doc, &file) {
            return;
        }
        let (findings, passes) = match doc {
            Ok(doc) => {
                reader.begin_file();
                let zones = zones_of(&doc, &file, reader);
                let (unread, text) = (doc.is_unread(), doc.text().into());
                match (doc.into_findings(), zones) {
                    (Ok(warnings), Some(zones)) => {
                        self.warnings.extend(warnings);
                        self.zones.extend(zones);
                        self.texts.push(ZoneFileText { path: file.into(), text });
                        return;
                    }
                    (Ok(findings) | Err(findings), _) => {
                        reader.undo_file();
                        (findings, unread)
                    }
                }
            }
            Err(DocumentError::Io { path, source }) => (vec![unread(&path, &source)], passes(&source)),
            Err(DocumentError::Findings(findings)) => (findings, false),
        };
        self.findings.extend(findings);
        self.passes.push(passes);
        self.bad.insert(file);
    }

    /// The zones in use that stay though no file has them: those of files with errors, and those that are too many to go at once, which come
    /// once more as the second value. The third one is what went in this hour.
    fn keep(
        &mut self,
        in_use: &Config,
        main: &[Shared<ZoneConfig>],
        listed: bool,
        settings: &Settings<'_>,
        state_dir: Option<&Path>,
        now: Timestamp,
    ) -> Kept {
        let taken: HashSet<&Name> = main.iter().chain(&self.zones).map(|zone| &zone.name).collect();
        let (mut kept, mut gone, mut total) = (Vec::new(), Vec::new(), 0);
        for zone in &in_use.zones {
            let ZoneSource::ZoneFile(file) = &zone.source else { continue };
            total += 1;
            if taken.contains(&zone.name) {
                continue;
            }
            let stays = !listed || self.bad.contains(&**file);
            if stays { &mut kept } else { &mut gone }.push(zone.clone());
        }
        let released = match state_dir.map(|state_dir| release::read(state_dir, now)) {
            Some(Ok(released)) => released,
            Some(Err(error)) => {
                let what = format!("what was released cannot be read: {error}");
                self.findings.push(settings.doc.place(0..0).error(what));
                self.passes.push(true);
                HashSet::new()
            }
            None => HashSet::new(),
        };
        gone.retain(|zone| !released.contains(&zone.name));
        let is_recent = |at: Timestamp| now.since(at).max(at.since(now)) < REMOVAL_WINDOW;
        let mut removals = in_use.zone_files.removals.clone();
        removals.retain(|(at, _)| is_recent(*at));
        let before: usize = removals.iter().map(|(_, count)| count).sum();
        let percent = settings.max_removal.unwrap_or(MAX_REMOVAL) as usize;
        let limit = ((total + before) * percent / 100).max(1);
        if gone.is_empty() || gone.len() + before <= limit {
            if !gone.is_empty() {
                removals.push((now, gone.len()));
            }
            return (kept, Vec::new(), removals);
        }
        self.findings.push(settings.place().error(held_back(&gone, total + before, limit)));
        self.passes.push(false);
        let held = gone.iter().map(|zone| zone.name.clone()).collect();
        kept.extend(gone);
        (kept, held, removals)
    }
}

/// What is said where too many zones would go.
fn held_back(gone: &[Shared<ZoneConfig>], total: usize, limit: usize) -> String {
    let named: Vec<String> = gone.iter().take(NAMED).map(|zone| zone.name.zone_label()).collect();
    let more = if gone.len() > NAMED { ", ..." } else { "" };
    format!(
        "{} of the {total} zones of zone files are in no file any more ({}{more}), and at most {limit} may go within an hour (zones-max-removal). \
         They stay as they were: put the files back, mount the folder, or let the zones go by `offline-ksk zone release`",
        gone.len(),
        named.join(", ")
    )
}

/// The zones of one file; `None` when there is an error, which may be one of a policy.
fn zones_of(doc: &Document, file: &Path, reader: &mut ZoneReader<'_>) -> Option<Vec<Shared<ZoneConfig>>> {
    let root = match doc.parse() {
        Ok(root) => root,
        Err(DocumentError::Findings(findings)) => {
            doc.note_all(findings);
            return None;
        }
        Err(DocumentError::Io { .. }) => return None,
    };
    let mut top = Table::new(doc, root.get_ref(), "", doc.place(0..0));
    let value = top.require(Section::Zone.key(), "[{ name = \"example.com\", policy = \"common\" }]");
    let zones = value.and_then(|value| reader.read(&value, &ZoneSource::ZoneFile(Arc::from(file))));
    top.finish();
    zones
}

fn unread(path: &Path, error: &io::Error) -> PolicyFinding {
    PolicyFinding { severity: Severity::Error, path: path.to_owned(), line: 1, what: error.to_string() }
}

/// True for an error of the system that may be gone at the next try.
fn passes(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge
    )
}
