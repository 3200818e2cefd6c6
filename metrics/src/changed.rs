//! Whether a file is still the one that was read.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Inode, length, and the times of the last change of content and of inode: the kernel's clock ticks in milliseconds, so that a time of
/// content alone may be that of another file. `None` = it is not there.
pub type FileMark = Option<(u64, u64, [i64; 4])>;

/// The mark of the file at `path` as it is now.
#[must_use]
pub fn mark(path: &Path) -> FileMark {
    let m = path.metadata().ok()?;
    Some((m.ino(), m.len(), [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()]))
}

/// A value that is made from a file, and made again when the file has changed.
#[derive(Debug, Default)]
pub struct Changed<T> {
    mark: Option<FileMark>,
    value: T,
}

impl<T> Changed<T> {
    /// The value; `make` is called where the file at `path` is another one than at the last call.
    pub fn get(&mut self, path: &Path, make: impl FnOnce() -> T) -> &T {
        let mark = mark(path);
        if self.mark != Some(mark) {
            self.value = make();
            self.mark = Some(mark);
        }
        &self.value
    }
}
