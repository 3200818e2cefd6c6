//! Whether the process of a component lives: it holds a lock that the kernel lets go of when the process ends, however it ends. So a daemon
//! that was killed is seen at the next look, and not only when its report has grown old.
//!
//! ```text
//! STATE-DIR/health/COMPONENT.lock    flock(2), held as long as COMPONENT.json is written
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use keystore::open::{self, Links, Writing};
use rustix::fs::{FlockOperation, flock};

use crate::health::report::{Component, FOLDER};

/// Tries to take the lock, and the pause between two: who looks holds it for microseconds.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(1);

/// The lock of a component that lives.
#[derive(Debug)]
pub struct Alive {
    _lock: File,
}

impl Alive {
    /// Takes the lock; `None` when it cannot be had now, which the next call may change.
    #[must_use]
    pub fn hold(state_dir: &Path, component: Component) -> Option<Self> {
        let lock = open::own(&path(state_dir, component), 0o644, Writing::Anywhere).ok()?;
        for _ in 0..TRIES {
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Some(Self { _lock: lock });
            }
            thread::sleep(PAUSE);
        }
        None
    }
}

/// False when the process of the component has ended. True when it lives, or nothing is known: there is no lock, or it cannot be read.
#[must_use]
pub fn may_live(state_dir: &Path, component: Component) -> bool {
    let Ok((lock, _)) = open::for_reading(&path(state_dir, component), Links::Refuse) else { return true };
    // A lock that can be had is held by nobody; it goes with the file at the end.
    flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
}

fn path(state_dir: &Path, component: Component) -> PathBuf {
    state_dir.join(FOLDER).join(format!("{}.lock", component.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_that_somebody_else_put_there_is_not_taken_and_says_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join(FOLDER);
        std::fs::create_dir(&folder).expect("a folder");
        let lock = path(dir.path(), Component::Signer);
        let put: [(&str, &dyn Fn()); 3] = [
            ("a link", &|| std::os::unix::fs::symlink(folder.join("other"), &lock).expect("a link")),
            ("a folder", &|| std::fs::create_dir(&lock).expect("a folder")),
            ("a FIFO", &|| {
                let mode = rustix::fs::Mode::RWXU;
                rustix::fs::mknodat(rustix::fs::CWD, &lock, rustix::fs::FileType::Fifo, mode, 0)
                    .expect("a FIFO");
            }),
        ];
        for (what, put) in put {
            put();
            assert!(Alive::hold(dir.path(), Component::Signer).is_none(), "{what}");
            assert!(may_live(dir.path(), Component::Signer), "{what}");
            assert!(!folder.join("other").exists(), "{what}");
            let _ = std::fs::remove_file(&lock).or_else(|_| std::fs::remove_dir(&lock));
        }
    }

    #[test]
    fn component_lives_as_long_as_its_lock_is_held() {
        let dir = tempfile::tempdir().expect("a folder");
        let lives = || may_live(dir.path(), Component::Signer);
        assert!(lives(), "nothing is known");
        assert!(Alive::hold(dir.path(), Component::Signer).is_none(), "there is no folder");
        std::fs::create_dir(dir.path().join(FOLDER)).expect("a folder");
        for _ in 0..2 {
            let alive = Alive::hold(dir.path(), Component::Signer).expect("nobody holds it");
            assert!(lives() && lives());
            assert!(Alive::hold(dir.path(), Component::Signer).is_none(), "one at a time");
            assert!(may_live(dir.path(), Component::Probe), "another component");
            drop(alive);
            assert!(!lives());
        }
    }
}
