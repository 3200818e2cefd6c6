//! Notices that files changed, by looking: works on every file system, and a missed event is made good a second later.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a file looked like from outside; equal as long as nobody wrote it. A file that is not there has one too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp(Option<[i128; 4]>);

impl Stamp {
    /// Of the file that `path` leads to.
    pub fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|m| {
            let nanos = |secs: i64, nanos: i64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
            [
                nanos(m.mtime(), m.mtime_nsec()),
                nanos(m.ctime(), m.ctime_nsec()),
                i128::from(m.size()),
                i128::from(m.dev()) << 64 | i128::from(m.ino()),
            ]
        }))
    }

    /// Of several files, in their order.
    pub fn of_all<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<Self> {
        paths.into_iter().map(Self::of).collect()
    }
}

/// Stamps of the files in `dir` whose names begin with `prefix`, by name.
pub(super) fn folder(dir: &Path, prefix: &str) -> Vec<(std::ffi::OsString, Stamp)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()))
        .map(|entry| (entry.file_name(), Stamp::of(&entry.path())))
        .collect();
    files.sort();
    files
}

impl PartialOrd for Stamp {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Stamp {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
