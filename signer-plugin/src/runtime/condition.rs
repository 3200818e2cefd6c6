//! What keeps a zone from following its files at the moment, and since when: for `offline-ksk status`, in a file that goes away with
//! the last condition.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use keystore::durable;
use keystore::time::Timestamp;

use crate::state::StateFolder;

/// Name of the file in the zone's state folder; one line a condition.
pub const CONDITIONS: &str = "conditions";

/// What is the matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ConditionId {
    /// The zone file or a file that it includes cannot be opened or read.
    ZoneFileUnreadable,
    /// The accepted SKR cannot be opened or read.
    SkrUnreadable,
    /// The key folder or a key file cannot be opened or read.
    KeysUnreadable,
    /// The SOA serial that was served last cannot be read.
    SerialUnreadable,
    /// The SOA serial cannot be written down.
    SerialNotWritten,
    /// The version that was served last cannot be read.
    StateUnreadable,
    /// A version cannot be written down.
    StateNotWritten,
    /// A bundle that is, or comes, in force has an algorithm that must not be used with NSEC3, which the policy wants.
    DenialImpossible,
    /// New content of the zone file has far fewer or far more records than what is served, and waits for a person.
    ContentHeld,
    /// The review command refused new content of the zone file.
    ReviewRefused,
    /// The review command cannot be run, or does not end in time.
    ReviewFailing,
}

impl ConditionId {
    /// The name that never changes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ZoneFileUnreadable => "SIGNER-ZONE-FILE-UNREADABLE",
            Self::SkrUnreadable => "SIGNER-SKR-UNREADABLE",
            Self::KeysUnreadable => "SIGNER-KEYS-UNREADABLE",
            Self::SerialUnreadable => "SIGNER-SERIAL-UNREADABLE",
            Self::SerialNotWritten => "SIGNER-SERIAL-NOT-WRITTEN",
            Self::StateUnreadable => "SIGNER-STATE-UNREADABLE",
            Self::StateNotWritten => "SIGNER-STATE-NOT-WRITTEN",
            Self::DenialImpossible => "SIGNER-DENIAL-IMPOSSIBLE",
            Self::ContentHeld => "SIGNER-CONTENT-HELD",
            Self::ReviewRefused => "SIGNER-REVIEW-REFUSED",
            Self::ReviewFailing => "SIGNER-REVIEW-FAILING",
        }
    }

    /// What happens next.
    #[must_use]
    pub const fn next(self) -> &'static str {
        match self {
            Self::ContentHeld => "it waits until a person releases it, or the zone file changes",
            Self::ReviewRefused => "it waits until the zone file changes",
            Self::DenialImpossible => "it stays until the policy or the SKR changes",
            _ => "it is tried again",
        }
    }
}

impl fmt::Display for ConditionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The conditions of one zone.
#[derive(Debug)]
pub(super) struct Conditions {
    folder: StateFolder,
    path: PathBuf,
    /// Since when, and the cause.
    current: BTreeMap<ConditionId, (Timestamp, String)>,
    /// What the file says; `None` before the first look.
    written: Option<String>,
}

impl Conditions {
    /// No condition yet; the file in `state` is that of an earlier process until [`Self::write`].
    pub fn new(state: &Path) -> Self {
        Self {
            folder: StateFolder::new(state),
            path: state.join(CONDITIONS),
            current: BTreeMap::new(),
            written: None,
        }
    }

    /// Notes that something is the matter. True when it is new, or has another cause than before.
    pub fn raise(&mut self, id: ConditionId, cause: String, now: Timestamp) -> bool {
        let (_, known) = self.current.entry(id).or_insert_with(|| (now, String::new()));
        let new = *known != cause;
        *known = cause;
        new
    }

    /// Notes that it is not the matter any more. True when it was.
    pub fn clear(&mut self, id: ConditionId) -> bool {
        self.current.remove(&id).is_some()
    }

    /// The conditions now.
    pub fn ids(&self) -> impl Iterator<Item = ConditionId> {
        self.current.keys().copied()
    }

    /// The cause of the first condition that is of the zone's own state on disk, not of its files.
    pub fn of_state(&self) -> Option<&str> {
        let of_files =
            [ConditionId::ZoneFileUnreadable, ConditionId::SkrUnreadable, ConditionId::KeysUnreadable];
        self.current.iter().find(|(id, _)| !of_files.contains(id)).map(|(_, (_, cause))| cause.as_str())
    }

    /// Brings the file up to date. An error leaves it for the next call.
    pub fn write(&mut self) -> io::Result<()> {
        let line = |(id, (since, cause)): (&ConditionId, &(Timestamp, String))| {
            format!("{id} since {}: {}; {}\n", since.iso(), cause.replace('\n', " "), id.next())
        };
        let text: String = self.current.iter().map(line).collect();
        if self.written.as_ref() == Some(&text) {
            return Ok(());
        }
        if !text.is_empty() {
            self.folder.make()?;
            durable::write(&self.path, text.as_bytes(), 0o644)?;
        } else if let Err(error) = durable::remove(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        self.written = Some(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_conditions_of_now_and_goes_with_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let read = || std::fs::read_to_string(dir.path().join(CONDITIONS)).unwrap_or_default();
        std::fs::write(dir.path().join(CONDITIONS), "of an earlier process\n").unwrap();
        let mut conditions = Conditions::new(dir.path());
        conditions.write().unwrap();
        assert_eq!(read(), "");
        let now = Timestamp::parse_stamp("20270101000000").unwrap();
        assert!(conditions.raise(ConditionId::SkrUnreadable, "a: no".to_owned(), now));
        assert!(!conditions.raise(ConditionId::SkrUnreadable, "a: no".to_owned(), now.plus(4)));
        assert!(conditions.raise(ConditionId::SkrUnreadable, "b: no\nmore".to_owned(), now.plus(5)));
        assert!(conditions.raise(ConditionId::KeysUnreadable, "k".to_owned(), now.plus(6)));
        conditions.write().unwrap();
        assert_eq!(
            read(),
            "SIGNER-SKR-UNREADABLE since 2027-01-01T00:00:00Z: b: no more; it is tried again\n\
             SIGNER-KEYS-UNREADABLE since 2027-01-01T00:00:06Z: k; it is tried again\n"
        );
        assert!(
            conditions.clear(ConditionId::SkrUnreadable) && conditions.clear(ConditionId::KeysUnreadable)
        );
        assert!(!conditions.clear(ConditionId::KeysUnreadable));
        conditions.write().unwrap();
        assert!(!dir.path().join(CONDITIONS).exists());
        // Nothing to remove where there is no folder; it is made for what is to be written, if that can be.
        let mut new = Conditions::new(&dir.path().join("new"));
        new.write().unwrap();
        new.raise(ConditionId::SerialNotWritten, "full".to_owned(), now);
        new.write().unwrap();
        assert!(dir.path().join("new").join(CONDITIONS).exists());
        std::fs::write(dir.path().join("file"), "").unwrap();
        let mut lost = Conditions::new(&dir.path().join("file"));
        lost.raise(ConditionId::SerialNotWritten, "full".to_owned(), now);
        assert!(lost.write().is_err() && lost.write().is_err());
    }
}
