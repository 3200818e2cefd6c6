//! The one way a file is written: temp file in the same folder, fsync, rename, fsync of the folder.

use std::io;
use std::path::Path;

/// Writes `bytes` to `path` so that a crash at any moment leaves the old or the new content, whole.
///
/// Temp file in the same folder (`O_EXCL`, mode `mode` from the start, name `.NAME.XXXXXX.tmp`), write, fsync, rename,
/// fsync of the folder. On an error the temp file is removed and the old content is untouched.
pub fn write(_path: &Path, _bytes: &[u8], _mode: u32) -> io::Result<()> {
    todo!()
}
