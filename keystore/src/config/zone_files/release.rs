//! Removals of zones that a person has released, so that `zones-max-removal` does not hold them back.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::dns::Name;
use crate::durable;
use crate::lock::{LockError, LockFile};
use crate::policy::named_conf::read_regular;
use crate::time::Timestamp;

/// Seconds for which a release holds: every program of the host has looked at the folder by then, and zones that come back later are guarded
/// again.
pub const HOLDS: u64 = 600;
/// Largest file that is read, in octets.
const MAX: u64 = 64 << 20;
const MODE: u32 = 0o640;

/// Why a release was not noted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// Another release is noted at this moment.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// The file, below a state folder: a line for each zone, with the time of its release.
#[must_use]
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("zones-released")
}

/// Releases the removal of `zones` from `now` on, for [`HOLDS`] seconds. Releases that are over are dropped from the file.
///
/// # Errors
/// When the file cannot be written, or another release is noted at the same time.
pub fn write(state_dir: &Path, zones: &[Name], now: Timestamp) -> Result<(), ReleaseError> {
    let path = path(state_dir);
    let failed = |source| ReleaseError::Io { path: path.clone(), source };
    durable::create_dir_durable(state_dir, 0o755).map_err(failed)?;
    let _lock = LockFile::take(&state_dir.join("zones-released.lock"))?;
    let mut lines: Vec<(Timestamp, Name)> = entries(&path, now).map_err(failed)?;
    lines.retain(|(_, zone)| !zones.contains(zone));
    lines.extend(zones.iter().map(|zone| (now, zone.clone())));
    let text: String = lines.iter().map(|(time, zone)| format!("{} {zone}\n", time.secs())).collect();
    durable::write(&path, text.as_bytes(), MODE).map_err(failed)
}

/// The zones that may go at `now`.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read(state_dir: &Path, now: Timestamp) -> io::Result<HashSet<Name>> {
    Ok(entries(&path(state_dir), now)?.into_iter().map(|(_, zone)| zone).collect())
}

/// The lines that hold at `now`. Lines that are none are left out: they release nothing.
fn entries(path: &Path, now: Timestamp) -> io::Result<Vec<(Timestamp, Name)>> {
    let octets = match read_regular(path, MAX) {
        Ok(octets) => octets,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&octets);
    let entry = |line: &str| {
        let (time, zone) = line.split_once(' ')?;
        let time = Timestamp::from_secs(time.parse().ok()?);
        // A clock that was set back since then makes no release hold for longer.
        let holds = now.since(time).max(time.since(now)) < HOLDS;
        holds.then_some((time, Name::parse(zone).ok()?))
    };
    Ok(text.lines().filter_map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_holds_for_its_zones_and_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let name = |text: &str| Name::parse(text).unwrap();
        let at = Timestamp::from_secs;
        assert!(read(dir.path(), at(5000)).unwrap().is_empty());
        write(dir.path(), &[name("a.test"), name("b.test")], at(5000)).unwrap();
        write(dir.path(), &[name("C.test"), name("a.test")], at(5400)).unwrap();
        for (now, released) in [
            (5000, vec!["a.test", "b.test", "c.test"]),
            (5599, vec!["a.test", "b.test", "c.test"]),
            (5600, vec!["a.test", "c.test"]),
            (6000, vec![]),
            (4400, vec![]),
        ] {
            let wanted: HashSet<Name> = released.iter().map(|zone| name(zone)).collect();
            assert_eq!(read(dir.path(), at(now)).unwrap(), wanted, "{now}");
        }
        write(dir.path(), &[name("d.test")], at(9000)).unwrap();
        assert_eq!(std::fs::read_to_string(path(dir.path())).unwrap(), "9000 d.test.\n");
        std::fs::write(path(dir.path()), "x\n9000\n9000 a..b\n 9000 a.test\n9000 e.test\n").unwrap();
        assert_eq!(read(dir.path(), at(9000)).unwrap(), HashSet::from([name("e.test")]));
    }
}
