//! A lock file: two programs of one kind on one state folder would undo each other's work.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::open::{self, OpenError, Writing};

/// Mode of a lock file. Whoever can open it can hold the lock, so nobody else may.
const MODE: u32 = 0o600;
/// Octets of a process number with its line end, and some more.
const MAX_OCTETS: u64 = 20;

/// A lock file, held until this is dropped; the kernel frees it when the process ends.
#[derive(Debug)]
pub struct LockFile(File);

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing the file would leave the lock to a child process that was forked just now and has not run its program yet.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The file cannot be made, opened, locked or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// What is wrong with it.
        source: OpenError,
    },
    /// Another process holds it.
    #[error("{path} is held by {}", holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")), path = path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, if the file says so.
        holder: Option<u32>,
    },
}

impl LockFile {
    /// Takes the lock at `path`, and makes the file when it is missing. Never waits, and changes nothing that is not a lock file
    /// of this user.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::File { path: path.to_owned(), source };
        let mut file = open::own(path, MODE, Writing::Anywhere).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let read = file.take(MAX_OCTETS).read_to_string(&mut text);
                let holder = read.ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::Held { path: path.to_owned(), holder });
            }
            Err(error) => return Err(failed(io::Error::from(error).into())),
        }
        // On a full disk the lock is held without the number.
        let _ = note_process(&mut file);
        Ok(Self(file))
    }
}

/// The number is for people; the lock is what counts.
fn note_process(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn one_holder_at_a_time_and_its_number_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.lock");
        let first = LockFile::take(&path).expect("free");
        let error = LockFile::take(&path).expect_err("held");
        let own = std::process::id();
        assert!(matches!(error, LockError::Held { holder: Some(pid), .. } if pid == own), "{error}");
        drop(first);
        LockFile::take(&path).expect("free again");
        let mode = path.metadata().expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "others could hold it");
    }

    #[test]
    fn what_is_no_lock_file_is_left_as_it_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let victim = dir.path().join("current");
        std::fs::write(&victim, "precious").expect("write");
        symlink(&victim, dir.path().join("a.lock")).expect("link");
        std::fs::hard_link(&victim, dir.path().join("b.lock")).expect("link");
        std::fs::create_dir(dir.path().join("c.lock")).expect("folder");
        for name in ["a.lock", "b.lock", "c.lock", "missing/d.lock"] {
            let error = LockFile::take(&dir.path().join(name)).expect_err(name);
            assert!(matches!(error, LockError::File { .. }), "{name}: {error}");
        }
        assert_eq!(std::fs::read(&victim).expect("read"), b"precious");
    }
}
