//! The SOA serial that is served: never goes back, over restarts too (RFC 1982, RFC 1912 section 2.2).

use std::io;
use std::path::{Path, PathBuf};

use keystore::durable;

/// The last serial served, and where it is kept.
#[derive(Debug)]
pub(super) struct SerialFile {
    path: PathBuf,
    last: Option<u32>,
}

impl SerialFile {
    /// Reads `STATE/serial`; a file that does not read is reported, and counts as none.
    pub fn open(state: &Path) -> Self {
        let path = state.join("serial");
        let last = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let last = text.trim_end().parse().ok();
                if last.is_none() {
                    tracing::error!(
                        file = %path.display(),
                        "expected one line with the last SOA serial served; the serial of the zone file counts now. \
                         Write the serial that the secondaries have into the file and restart, if it is higher"
                    );
                }
                last
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "the last SOA serial served cannot be read");
                None
            }
        };
        Self { path, last }
    }

    /// The serial for new content of a zone whose file says `file`.
    pub fn next(&self, file: u32) -> u32 {
        self.last.map_or(file, |last| next_serial(file, last))
    }

    /// Notes durably that `serial` is served from now on; call it before serving.
    pub fn keep(&mut self, serial: u32) -> io::Result<()> {
        self.last = Some(serial);
        let folder = self.path.parent().unwrap_or(Path::new("."));
        if !folder.is_dir() {
            durable::create_dir_durable(folder, 0o700)?;
        }
        durable::write(&self.path, format!("{serial}\n").as_bytes(), 0o644)
    }
}

/// The later of the file's serial and the one behind the last served; 0 is skipped, which some secondaries treat as none.
fn next_serial(file: u32, last: u32) -> u32 {
    let after = match last.wrapping_add(1) {
        0 => 1,
        after => after,
    };
    if is_later(file, last) { file } else { after }
}

/// RFC 1982 section 3.2 for 32 bits; serials exactly half the circle apart are not later.
const fn is_later(a: u32, b: u32) -> bool {
    let distance = a.wrapping_sub(b);
    distance != 0 && distance < 1 << 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_later_one() {
        for (file, last, expected) in [
            (5, 4, 5),
            (5, 5, 6),
            (5, 9, 10),
            (2_026_010_100, 2_025_123_107, 2_026_010_100),
            (1, u32::MAX, 1),
            (u32::MAX, u32::MAX, 1),
            (0, u32::MAX, 0),
            (3, 0x8000_0003, 0x8000_0004),
            (0x8000_0003, 3, 4),
        ] {
            assert_eq!(next_serial(file, last), expected, "file {file}, last {last}");
        }
    }

    proptest! {
        #[test]
        fn never_goes_back(file: u32, last: u32) {
            prop_assert!(is_later(next_serial(file, last), last));
        }
    }

    #[test]
    fn survives_a_restart_and_a_damaged_file() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("zones/example");
        let mut file = SerialFile::open(&state);
        assert_eq!(file.next(7), 7);
        file.keep(7).unwrap();
        assert_eq!(file.next(7), 8);
        assert_eq!(SerialFile::open(&state).next(7), 8);
        std::fs::write(state.join("serial"), "seven\n").unwrap();
        let mut file = SerialFile::open(&state);
        assert_eq!(file.next(7), 7);
        file.keep(9).unwrap();
        assert_eq!(SerialFile::open(&state).next(1), 10);
    }
}
