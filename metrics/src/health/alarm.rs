//! When the way of the alarms was last tested: one line in the state folder, written by `offline-ksk alert-test`.
//!
//! ```text
//! STATE-DIR/alarm-tested    2027-01-31T12:00:00Z
//! ```

use std::io;
use std::path::{Path, PathBuf};

use keystore::durable;
use keystore::time::Timestamp;

use crate::health::words::iso;

/// Name of the file in the state folder.
const FILE: &str = "alarm-tested";

/// Notes a test that went well.
///
/// # Errors
/// Those of the file system.
pub fn note(state_dir: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let path = state_dir.join(FILE);
    durable::write(&path, format!("{}\n", now.iso()).as_bytes(), 0o644)?;
    Ok(path)
}

/// The last test that went well. One that is not noted, cannot be read or is of the future counts for nothing.
#[must_use]
pub fn read(state_dir: &Path, now: Timestamp) -> Option<Timestamp> {
    let text = std::fs::read_to_string(state_dir.join(FILE)).ok()?;
    iso::parse(text.trim()).filter(|at| *at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_is_read_back_and_what_is_no_time_of_the_past_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let now = Timestamp::from_secs(1_800_000_000);
        assert_eq!(read(dir.path(), now), None);
        let path = note(dir.path(), now).expect("written");
        assert_eq!(read(dir.path(), now), Some(now));
        assert_eq!(read(dir.path(), now.minus(1)), None);
        for text in ["", "soon", "2027-01-31", "2027-13-31T12:00:00Z", "\0"] {
            std::fs::write(&path, text).expect("write");
            assert_eq!(read(dir.path(), now), None, "{text:?}");
        }
    }
}
