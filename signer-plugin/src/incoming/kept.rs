//! What is kept of a zone from primaries beside its content: until when it may be served, so that it is not served for longer because this process was
//! started again, and for which label of a catalog the content came.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use keystore::durable;
use keystore::time::Timestamp;

use crate::state::CONTENT_FILES;

/// Name of the file in the zone's state folder.
const FILE: &str = "expires";
/// The same of the label.
const LABEL_FILE: &str = "catalog-label";

/// The file of one zone.
#[derive(Debug)]
pub(super) struct ExpiryFile(PathBuf);

impl ExpiryFile {
    pub fn new(folder: &Path) -> Self {
        Self(folder.join(FILE))
    }

    /// The time that was kept; `None` where there is none that can be read.
    pub fn read(&self) -> Option<Timestamp> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        text.trim().parse().ok().map(Timestamp::from_secs)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// When the content beside it was last written; `None` where there is none.
    pub fn content_came(&self) -> Option<Timestamp> {
        let written = |name: &str| self.0.with_file_name(name).metadata().ok()?.modified().ok();
        let newest = CONTENT_FILES.iter().filter_map(|name| written(name)).max()?;
        newest.duration_since(UNIX_EPOCH).ok().map(|since| Timestamp::from_secs(since.as_secs()))
    }

    pub fn write(&self, expires: Timestamp) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            durable::create_dir_durable(folder, 0o700)?;
        }
        durable::write(&self.0, format!("{}\n", expires.secs()).as_bytes(), 0o644)
    }
}

/// The file with the label that a zone had in its catalog when its content came. Under another label it is another zone of the same
/// name (RFC 9432 section 5.4).
#[derive(Debug)]
pub(super) struct LabelFile(PathBuf);

impl LabelFile {
    pub fn new(folder: &Path) -> Self {
        Self(folder.join(LABEL_FILE))
    }

    /// The label that was kept; `None` where there is none that can be read.
    pub fn read(&self) -> Option<Vec<u8>> {
        std::fs::read(&self.0).ok()
    }

    pub fn write(&self, label: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            durable::create_dir_durable(folder, 0o700)?;
        }
        durable::write(&self.0, label, 0o644)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_back_and_what_is_none_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = ExpiryFile::new(&dir.path().join("zone"));
        assert_eq!((file.read(), file.content_came()), (None, None));
        for seconds in [0, 1_800_000_000, u64::from(u32::MAX) * 3] {
            file.write(Timestamp::from_secs(seconds)).expect("written");
            assert_eq!(file.read(), Some(Timestamp::from_secs(seconds)));
        }
        let content = std::fs::File::create(dir.path().join("zone/content")).expect("a file");
        let came = UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        content.set_modified(came).expect("a time");
        assert_eq!(file.content_came(), Some(Timestamp::from_secs(1_700_000_000)));
        for bad in ["", "soon", "-1", "99999999999999999999999"] {
            std::fs::write(dir.path().join("zone").join(FILE), bad).expect("written");
            assert_eq!(file.read(), None, "{bad}");
        }
    }

    #[test]
    fn the_label_is_read_back_whatever_octets_it_has() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = LabelFile::new(&dir.path().join("zone"));
        assert_eq!(file.read(), None);
        for label in [&b"5d41402a"[..], &[0, 0xff, b'\n'], b" "] {
            file.write(label).expect("written");
            assert_eq!(file.read().as_deref(), Some(label));
        }
    }
}
