//! `zones-directory`: the folder with files of zones beside the main configuration file, and where each zone is configured.

pub mod memory;
pub mod release;

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dns::Name;
use crate::policy::PolicyFinding;
use crate::time::Timestamp;

/// Findings that are kept of one kind of trouble of a catalog.
const TOLD: usize = 5;

/// Where a zone is configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ZoneSource {
    /// A `[[zone]]` of the main configuration file.
    #[default]
    MainFile,
    /// A `[[zone]]` of this file of `zones-directory`.
    ZoneFile(Arc<Path>),
    /// A zone of a catalog, as the template of its group has it.
    Member(Arc<MemberSource>),
}

/// Where a zone of a catalog is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSource {
    /// The catalog.
    pub catalog: Name,
    /// Template, catalog and zone in one path, under which nothing lies: `TEMPLATE#CATALOG#ZONE`.
    pub file: Arc<Path>,
    /// The label of the zone in the catalog; `None` where that is not known, since what was remembered of it is in use.
    pub label: Option<Vec<u8>>,
}

/// What zones come from that are not of the main file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// `zones-directory`.
    Folder,
    /// This catalog.
    Catalog(Name),
}

impl MemberSource {
    /// The template.
    #[must_use]
    pub fn template(&self) -> PathBuf {
        let name = self.file.file_name().unwrap_or_default().as_bytes();
        let end = format!("#{}#", self.catalog.file_name());
        let at = name.windows(end.len()).rposition(|part| part == end.as_bytes()).unwrap_or(name.len());
        self.file.with_file_name(OsStr::from_bytes(&name[..at]))
    }
}

impl ZoneSource {
    /// What a zone comes from; `None` for one of the main file.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Self::MainFile => None,
            Self::ZoneFile(_) => Some(Origin::Folder),
            Self::Member(member) => Some(Origin::Catalog(member.catalog.clone())),
        }
    }

    /// The file of `zones-directory`, or the path of the zone of a catalog.
    #[must_use]
    pub fn file(&self) -> Option<&Arc<Path>> {
        match self {
            Self::MainFile => None,
            Self::ZoneFile(file) => Some(file),
            Self::Member(member) => Some(&member.file),
        }
    }

    /// The label of a zone of a catalog.
    #[must_use]
    pub fn label(&self) -> Option<&[u8]> {
        match self {
            Self::MainFile | Self::ZoneFile(_) => None,
            Self::Member(member) => member.label.as_deref(),
        }
    }

    pub(super) fn new(origin: &Origin, file: &Path, label: Option<Vec<u8>>) -> Self {
        match origin {
            Origin::Folder => Self::ZoneFile(file.into()),
            Origin::Catalog(catalog) => {
                Self::Member(Arc::new(MemberSource { catalog: catalog.clone(), file: file.into(), label }))
            }
        }
    }
}

/// The zone files of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ZoneFiles {
    /// `zones-directory`; `None` = all zones are in the main file.
    pub folder: Option<PathBuf>,
    /// Files of catalogs that zones come from, and templates.
    pub others: Vec<PathBuf>,
    /// Trust anchor files of zones that are not taken: that they come is a change.
    pub awaited: Vec<PathBuf>,
    /// How the folder and the others stood before they were read, without the awaited files.
    pub mark: FolderMark,
    /// The texts that zones in use come from. A file stands here twice when some of its zones are as an older text of it has them.
    pub texts: Vec<ZoneFileText>,
    /// What keeps files from being used as they lie there. [`super::Config::load`] refuses the configuration instead.
    pub errors: Option<ZoneFileErrors>,
    /// Zones that went without a release within [`REMOVAL_WINDOW`](crate::removal_limit::REMOVAL_WINDOW) seconds.
    pub removals: Vec<ZoneCount>,
    /// Zones that came from catalogs within that time: they do not count for what may go.
    pub additions: Vec<ZoneCount>,
    /// Zones that no file and no catalog has any more, and that stay in use until one has them again or a person releases them.
    pub held: Vec<Name>,
    /// Zones that were in use before this start and are not now: neither their file nor the text that was remembered of it can be used.
    pub left_out: Vec<LeftOut>,
}

/// Zones that went, or came, at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneCount {
    /// When it was.
    pub at: Timestamp,
    /// Their number.
    pub zones: usize,
    /// What they come from.
    pub origin: Origin,
}

/// A zone that a start has left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The zone.
    pub zone: Name,
    /// Its file.
    pub file: Arc<Path>,
    /// What it comes from.
    pub origin: Origin,
}

/// What the zone files of a folder are compared with.
#[derive(Debug, Clone, Copy)]
pub enum InUse<'a> {
    /// The configuration that this process works with.
    Config(&'a super::Config),
    /// At a start: what this program has remembered.
    Remembered(memory::Program),
}

/// The text of a zone file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneFileText {
    /// The file, or the path of the zone of a catalog.
    pub path: Arc<Path>,
    /// What it comes from.
    pub origin: Origin,
    /// What it says.
    pub text: Arc<str>,
}

/// Why files of `zones-directory`, or zones of catalogs, are not in use as they lie there. Their zones are as they were before; those that were never
/// read are not there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ZoneFileErrors {
    /// The errors of files, and the warnings of the same files.
    pub findings: Vec<PolicyFinding>,
    /// What is wrong with zones of catalogs.
    pub of_catalogs: Vec<CatalogTrouble>,
    /// Something of it may be gone at the next try, without anybody's help.
    pub may_pass: bool,
}

/// What is wrong with zones of a catalog that zones are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogTrouble {
    /// The catalog.
    pub catalog: Name,
    /// What became of the zones.
    pub kind: CatalogTroubleKind,
    /// Their number.
    pub zones: usize,
    /// Why; of many zones only what is wrong with the first ones.
    pub findings: Vec<PolicyFinding>,
}

/// What became of zones of a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CatalogTroubleKind {
    /// They stay as they are, because what was kept of the catalog cannot be read.
    Unread,
    /// They left the catalog, and stay until they are in it again or a person releases them.
    Held,
    /// They are in the catalog and are not taken: another place has them, the catalog may not have them, or their template has errors.
    Refused,
}

/// Which files stand in a folder, when each was changed last, and which removals a person has released. Two equal marks mean that nothing has
/// changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FolderMark(u64);

impl FolderMark {
    /// The mark of the zone files that lie in `folder` now, and of `others`, with the releases below `state_dir`.
    #[must_use]
    pub fn of(folder: Option<&Path>, state_dir: Option<&Path>, others: &[PathBuf]) -> Self {
        let mut hasher = DefaultHasher::new();
        let mut add = |file: &Path| (file, state(file)).hash(&mut hasher);
        if let Some(state_dir) = state_dir {
            add(&release::path(state_dir));
        }
        others.iter().for_each(|file| add(file));
        match folder.map(list) {
            None => {}
            Some(Ok(files)) => files.iter().for_each(|file| add(file)),
            Some(Err(error)) => error.raw_os_error().hash(&mut hasher),
        }
        Self(hasher.finish())
    }

    /// The same, with the awaited files as they lie there.
    #[must_use]
    pub fn with_awaited(self, awaited: &[PathBuf]) -> Self {
        awaited.iter().fold(self, |mark, file| mark.and(file, state(file)))
    }

    /// The same, with awaited files that are not there.
    #[must_use]
    pub(super) fn without_awaited(self, awaited: &[PathBuf]) -> Self {
        awaited.iter().fold(self, |mark, file| mark.and(file, None))
    }

    fn and(self, file: &Path, state: Option<FileState>) -> Self {
        let mut hasher = DefaultHasher::new();
        (self.0, file, state).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Inode, length, and the times of the last changes.
type FileState = (u64, u64, [i64; 4]);

/// `None` for a file that is not there, or cannot be looked at.
fn state(file: &Path) -> Option<FileState> {
    let found = file.metadata().ok()?;
    Some((found.ino(), found.len(), [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()]))
}

/// The zone files of a folder, in the order of their names: `*.toml`, without hidden ones.
pub fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let text = name.as_encoded_bytes();
        if text.ends_with(b".toml") && !text.starts_with(b".") {
            files.push(folder.join(name));
        }
    }
    files.sort_unstable();
    Ok(files)
}

impl ZoneFileErrors {
    /// What is wrong with files, one finding a line; `None` where it is only zones of catalogs.
    #[must_use]
    pub fn of_files(&self) -> Option<String> {
        (!self.findings.is_empty()).then(|| lines(&self.findings))
    }

    /// True where it is only what catalogs of others have: no file of this host has to be mended.
    #[must_use]
    pub const fn is_of_catalogs_only(&self) -> bool {
        self.findings.is_empty() && !self.may_pass
    }

    /// Notes what is wrong with zones of a catalog.
    pub(super) fn note_catalog(
        &mut self,
        catalog: &Name,
        kind: CatalogTroubleKind,
        zones: usize,
        findings: impl IntoIterator<Item = PolicyFinding>,
    ) {
        let all = &mut self.of_catalogs;
        let known = all.iter().position(|known| known.catalog == *catalog && known.kind == kind);
        let at = known.unwrap_or_else(|| {
            all.push(CatalogTrouble { catalog: catalog.clone(), kind, zones: 0, findings: Vec::new() });
            all.len() - 1
        });
        let trouble = &mut all[at];
        trouble.zones += zones;
        let room = TOLD.saturating_sub(trouble.findings.len());
        trouble.findings.extend(findings.into_iter().take(room));
    }

    /// All findings.
    pub fn all(&self) -> impl Iterator<Item = &PolicyFinding> {
        self.findings.iter().chain(self.of_catalogs.iter().flat_map(|trouble| &trouble.findings))
    }
}

impl std::fmt::Display for ZoneFileErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&lines(self.all()))
    }
}

fn lines<'a>(findings: impl IntoIterator<Item = &'a PolicyFinding>) -> String {
    let lines: Vec<String> = findings.into_iter().map(ToString::to_string).collect();
    lines.join("\n")
}
