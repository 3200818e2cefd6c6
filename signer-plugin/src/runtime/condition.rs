//! What keeps a zone from following its files at the moment, and since when: for `offline-ksk status`, in a file that goes away with
//! the last condition.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use keystore::durable;
use keystore::time::Timestamp;
use metrics::condition::ConditionId;
use metrics::health::report::SignerCondition;

use crate::state::StateFolder;

/// Name of the file in the zone's state folder; one line a condition.
pub const CONDITIONS: &str = "conditions";

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

    /// The conditions now, for the health of the host.
    pub fn reported(&self) -> Vec<SignerCondition> {
        let one = |(id, (since, cause)): (&ConditionId, &(Timestamp, String))| SignerCondition {
            id: *id,
            since: *since,
            cause: cause.clone(),
        };
        self.current.iter().map(one).collect()
    }

    /// Brings the file up to date. An error leaves it for the next call.
    pub fn write(&mut self) -> io::Result<()> {
        let line = |(id, (since, cause)): (&ConditionId, &(Timestamp, String))| {
            format!("{id} since {}: {}. {}\n", since.iso(), cause.replace('\n', " "), id.text().next)
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
        assert!(conditions.raise(ConditionId::SignerSkrUnreadable, "a: no".to_owned(), now));
        assert!(!conditions.raise(ConditionId::SignerSkrUnreadable, "a: no".to_owned(), now.plus(4)));
        assert!(conditions.raise(ConditionId::SignerSkrUnreadable, "b: no\nmore".to_owned(), now.plus(5)));
        assert!(conditions.raise(ConditionId::SignerKeysUnreadable, "k".to_owned(), now.plus(6)));
        conditions.write().unwrap();
        assert_eq!(
            read(),
            "SIGNER-SKR-UNREADABLE since 2027-01-01T00:00:00Z: b: no more. The signer goes on with the SKR that it has, and tries \
             again; after a restart it has none.\nSIGNER-KEYS-UNREADABLE since 2027-01-01T00:00:06Z: k. Keys that are known already go \
             on; the rest is tried again, but for a PIN that was wrong.\n"
        );
        assert!(
            conditions.clear(ConditionId::SignerSkrUnreadable)
                && conditions.clear(ConditionId::SignerKeysUnreadable)
        );
        assert!(!conditions.clear(ConditionId::SignerKeysUnreadable));
        conditions.write().unwrap();
        assert!(!dir.path().join(CONDITIONS).exists());
        // Nothing to remove where there is no folder; it is made for what is to be written, if that can be.
        let mut new = Conditions::new(&dir.path().join("new"));
        new.write().unwrap();
        new.raise(ConditionId::SignerSerialNotWritten, "full".to_owned(), now);
        new.write().unwrap();
        assert!(dir.path().join("new").join(CONDITIONS).exists());
        std::fs::write(dir.path().join("file"), "").unwrap();
        let mut lost = Conditions::new(&dir.path().join("file"));
        lost.raise(ConditionId::SignerSerialNotWritten, "full".to_owned(), now);
        assert!(lost.write().is_err() && lost.write().is_err());
    }
}
