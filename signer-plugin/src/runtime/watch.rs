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
