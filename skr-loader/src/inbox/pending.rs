//! The files that lie in the inbox and are not judged yet, for the status.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Inbox, Seen};
use crate::files::{self, printable};

/// Files that are told of at most.
const SHOWN: usize = 100;

/// A file in the inbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pending {
    /// Its name, escaped.
    pub file: String,
    /// Whether it is looked at again without anybody's help.
    pub state: PendingState,
    /// The check for which it is left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// What is wrong with it, and what to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// What a file in the inbox waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PendingState {
    /// It is judged when it is whole.
    Waiting,
    /// It stays there until it changes.
    Left,
    /// It could not be read, judged or stored, and is tried again.
    Retried,
    /// It is of several zones, and some of them are judged; the reason says how many.
    AtWork,
}

impl fmt::Display for PendingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Left => "left",
            Self::Retried => "retried",
            Self::AtWork => "at-work",
        })
    }
}

impl Inbox {
    /// The files that wait or were left, up to a hundred, by name.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        let state = |seen: &Seen| match seen {
            Seen::Ignored => None,
            Seen::Waiting { .. } => Some(PendingState::Waiting),
            Seen::Left(_) => Some(PendingState::Left),
            Seen::Unreadable { .. } => Some(PendingState::Retried),
            Seen::AtWork(_) => Some(PendingState::AtWork),
        };
        let seen = self.files.iter().filter_map(|(name, seen)| Some((name, state(seen)?)));
        let due = self.due.keys().map(|name| (name, PendingState::Waiting));
        let all = seen.chain(due).collect::<BTreeMap<_, _>>();
        // The kernel does not always tell of a file that is removed.
        let is_there = |name: &OsString| self.dir.join(name).symlink_metadata().is_ok();
        let pending = |(name, state): (&OsString, PendingState)| {
            let left = self.reasons.get(name).filter(|_| state != PendingState::Waiting);
            Pending {
                file: printable(name),
                state,
                // Nothing is wrong with one that is at work.
                id: left.filter(|_| state != PendingState::AtWork).map(|(id, _)| id.to_string()),
                reason: left.map(|(_, why)| files::one_line(why)),
            }
        };
        all.into_iter().filter(|(name, _)| is_there(name)).take(SHOWN).map(pending).collect()
    }
}
