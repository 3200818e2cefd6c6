//! Removals of zones that a person has released, so that `zones-max-removal` does not hold them back.
//!
//! Commands write the file, as root or as the user of a daemon, and every daemon reads it. So it gets the owner and the group of the state folder when root
//! writes it, and everybody who may enter that folder can read it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::dns::Name;
use crate::durable;
use crate::policy::named_conf::read_regular;
use crate::time::Timestamp;

/// Seconds for which a release holds: every program of the host has looked at the folder by then, and zones that come back later are guarded
/// again.
pub const HOLDS: u64 = 600;
/// Largest file that is read, in octets.
const MAX: u64 = 64 << 20;
const MODE: u32 = 0o644;
/// Pause between two tries to have the file alone.
const PAUSE: Duration = Duration::from_millis(20);
/// So many tries are made.
const TRIES: usize = 500;

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
    /// Another command has been writing the file all the time.
    #[error("{path} is being written by another command all the time", path = path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

/// The file, below a state folder: a line for each zone, with the time of its release.
#[must_use]
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("zones-released")
}

/// Releases the removal of `zones` from `now` on, for [`HOLDS`] seconds. Releases that are over are dropped from the file. Without a state folder no program
/// has used a zone, and nothing is written.
///
/// # Errors
/// When the file cannot be written, or other commands write it all the time.
pub fn write(state_dir: &Path, zones: &[Name], now: Timestamp) -> Result<(), ReleaseError> {
    change(state_dir, zones, Some(now), now)
}

/// Takes the releases of `zones` back, so that they are guarded again.
///
/// # Errors
/// As [`write()`].
pub fn withdraw(state_dir: &Path, zones: &[Name], now: Timestamp) -> Result<(), ReleaseError> {
    if read(state_dir, now).is_ok_and(|released| !zones.iter().any(|zone| released.contains(zone))) {
        return Ok(());
    }
    change(state_dir, zones, None, now)
}

fn change(
    state_dir: &Path,
    zones: &[Name],
    at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), ReleaseError> {
    let path = path(state_dir);
    let failed = |source| ReleaseError::Io { path: path.clone(), source };
    let folder = match File::open(state_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        folder => folder.map_err(failed)?,
    };
    lock(&folder, &path)?;
    let owner = folder.metadata().map_err(failed)?;
    let changed: HashSet<&Name> = zones.iter().collect();
    let mut lines: Vec<(Timestamp, Name)> = entries(&path, now).map_err(failed)?;
    lines.retain(|(_, zone)| !changed.contains(zone));
    lines.extend(at.into_iter().flat_map(|at| zones.iter().map(move |zone| (at, zone.clone()))));
    let text: String = lines.iter().map(|(time, zone)| format!("{} {zone}\n", time.secs())).collect();
    let is_root = rustix::process::geteuid().is_root();
    durable::write_with(&path, MODE, |file| {
        if is_root {
            fchown(&*file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all(text.as_bytes())
    })
    .map_err(failed)
}

/// Waits until no other command changes the file. The folder is locked, because a lock file of one user could not be opened by another.
fn lock(folder: &File, path: &Path) -> Result<(), ReleaseError> {
    for _ in 0..TRIES {
        match rustix::fs::flock(folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            Err(error) => return Err(ReleaseError::Io { path: path.to_owned(), source: error.into() }),
        }
    }
    Err(ReleaseError::Busy { path: path.to_owned() })
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
    fn a_release_of_root_can_be_read_and_replaced_by_the_owner_of_the_state_folder() {
        use std::os::unix::fs::PermissionsExt as _;
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "CI runs this as root");
            eprintln!("SKIPPED: only root can give a file to another user");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(4321), Some(4322)).unwrap();
        write(dir.path(), &[Name::parse("a.test").unwrap()], Timestamp::from_secs(1)).unwrap();
        let found = path(dir.path()).metadata().unwrap();
        assert_eq!((found.uid(), found.gid(), found.permissions().mode() & 0o777), (4321, 4322, 0o644));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no lock file of root");
    }

    #[test]
    fn commands_at_the_same_time_wait_for_each_other_and_no_state_folder_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let zones: Vec<Name> = (0..16).map(|n| Name::parse(&format!("z{n}.test")).unwrap()).collect();
        let now = Timestamp::from_secs(7);
        std::thread::scope(|scope| {
            for zone in &zones {
                scope.spawn(|| write(dir.path(), std::slice::from_ref(zone), now).unwrap());
            }
        });
        assert_eq!(read(dir.path(), now).unwrap().len(), zones.len());
        write(&dir.path().join("missing"), &zones, now).unwrap();
        assert!(!dir.path().join("missing").exists());
    }

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
        write(dir.path(), &[name("c.test"), name("d.test")], at(9000)).unwrap();
        withdraw(dir.path(), &[name("c.test"), name("x.test")], at(9001)).unwrap();
        assert_eq!(std::fs::read_to_string(path(dir.path())).unwrap(), "9000 d.test.\n");
        std::fs::write(path(dir.path()), "x\n9000\n9000 a..b\n 9000 a.test\n9000 e.test\n").unwrap();
        assert_eq!(read(dir.path(), at(9000)).unwrap(), HashSet::from([name("e.test")]));
    }
}
