//! `zones-directory`: the folder with files of zones beside the main configuration file, and where each zone is configured.

pub mod memory;
pub mod release;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dns::Name;
use crate::policy::PolicyFinding;
use crate::time::Timestamp;

/// Default of `zones-max-removal`, in percent.
pub const MAX_REMOVAL: u32 = 10;
/// Removals of so many seconds count together for `zones-max-removal`.
pub const REMOVAL_WINDOW: u64 = 3600;

/// Where a zone is configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ZoneSource {
    /// A `[[zone]]` of the main configuration file.
    #[default]
    MainFile,
    /// A `[[zone]]` of this file of `zones-directory`.
    ZoneFile(Arc<Path>),
}

/// The zone files of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ZoneFiles {
    /// `zones-directory`; `None` = all zones are in the main file.
    pub folder: Option<PathBuf>,
    /// How the folder stood before its files were read.
    pub mark: FolderMark,
    /// The texts that zones in use come from. A file stands here twice when some of its zones are as an older text of it has them.
    pub texts: Vec<ZoneFileText>,
    /// What keeps files from being used as they lie there. [`super::Config::load`] refuses the configuration instead.
    pub errors: Option<ZoneFileErrors>,
    /// Zones that went without a release, with the time, within [`REMOVAL_WINDOW`].
    pub removals: Vec<(Timestamp, usize)>,
    /// Zones that no file has any more, and that stay in use until a file has them again or a person releases them.
    pub held: Vec<Name>,
    /// Zones that were in use before this start and are not now: neither their file nor the text that was remembered of it can be used.
    pub left_out: Vec<LeftOut>,
}

/// A zone that a start has left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The zone.
    pub zone: Name,
    /// Its file.
    pub file: Arc<Path>,
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
    /// The file.
    pub path: Arc<Path>,
    /// What it says.
    pub text: Arc<str>,
}

/// Why files of `zones-directory` are not in use as they lie there. Their zones are as they were before; those that were never read are not
/// there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneFileErrors {
    /// The errors, and the warnings of the same files.
    pub findings: Vec<PolicyFinding>,
    /// Something of it may be gone at the next try, without anybody's help.
    pub may_pass: bool,
}

/// Which files stand in a folder, when each was changed last, and which removals a person has released. Two equal marks mean that nothing has
/// changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FolderMark(u64);

impl FolderMark {
    /// The mark of the zone files that lie in `folder` now, with the releases below `state_dir`.
    #[must_use]
    pub fn of(folder: Option<&Path>, state_dir: Option<&Path>) -> Self {
        let mut hasher = DefaultHasher::new();
        let mut add = |file: &Path| {
            let state = file
                .metadata()
                .map(|m| (m.ino(), m.len(), [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()]));
            (file, state.ok()).hash(&mut hasher);
        };
        if let Some(state_dir) = state_dir {
            add(&release::path(state_dir));
        }
        match folder.map(list) {
            None => {}
            Some(Ok(files)) => files.iter().for_each(|file| add(file)),
            Some(Err(error)) => error.raw_os_error().hash(&mut hasher),
        }
        Self(hasher.finish())
    }
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

impl std::fmt::Display for ZoneFileErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<String> = self.findings.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}
