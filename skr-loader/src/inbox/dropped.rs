//! A file to judge, and where it came from.

use std::ffi::OsString;
use std::sync::Arc;

use keystore::time::Timestamp;

use crate::files::Fingerprint;
use crate::operator::Operator;
use crate::order::OperatorOrder;

/// A file that may be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its name in the inbox, or the one that the order gives it.
    pub name: OsString,
    /// The very octets to judge.
    pub octets: Arc<Vec<u8>>,
    /// What the signature of the KSK operator says; `None` = not looked for.
    pub operator: Option<Operator>,
    pub(super) origin: FileOrigin,
}

/// A file of the inbox, in the state in which it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InFile {
    /// Its name in the inbox.
    pub name: OsString,
    fingerprint: Fingerprint,
}

/// Where a file came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileOrigin {
    /// It lies in the inbox, and so may its signature, which goes where the file goes.
    File { fingerprint: Fingerprint, signature: Option<Box<Dropped>> },
    /// It is one zone's part of a file that lies in the inbox as a whole.
    Part(InFile),
    /// A person handed it, or the file that it is a part of, to the loader. It never lay in the inbox.
    Order(Arc<OperatorOrder>),
}

impl Dropped {
    /// A file that a person handed over. Nothing is ever done to that person's file.
    #[must_use]
    pub fn by_hand(name: OsString, octets: Vec<u8>, order: Arc<OperatorOrder>) -> Self {
        Self { name, octets: Arc::new(octets), operator: None, origin: FileOrigin::Order(order) }
    }

    /// A file of the inbox as it was read.
    pub(super) fn in_inbox(name: OsString, octets: Vec<u8>, fingerprint: Fingerprint) -> Self {
        let origin = FileOrigin::File { fingerprint, signature: None };
        Self { name, octets: Arc::new(octets), operator: None, origin }
    }

    /// The part of the file that is of one zone, to judge on its own; `name` is what a rejected one is called.
    #[must_use]
    pub fn part(&self, name: OsString, octets: &[u8]) -> Self {
        let origin = match &self.origin {
            FileOrigin::Order(order) => FileOrigin::Order(Arc::clone(order)),
            FileOrigin::File { fingerprint, .. } => {
                FileOrigin::Part(InFile { name: self.name.clone(), fingerprint: *fingerprint })
            }
            FileOrigin::Part(whole) => FileOrigin::Part(whole.clone()),
        };
        Self { name, octets: Arc::new(octets.to_vec()), operator: self.operator.clone(), origin }
    }

    /// Who handed it over; `None` = it was dropped.
    #[must_use]
    pub fn order(&self) -> Option<&OperatorOrder> {
        match &self.origin {
            FileOrigin::Order(order) => Some(order),
            FileOrigin::File { .. } | FileOrigin::Part(_) => None,
        }
    }

    /// The file with the signature of the KSK operator over this one.
    #[must_use]
    pub fn signature(&self) -> Option<&Self> {
        match &self.origin {
            FileOrigin::File { signature, .. } => signature.as_deref(),
            FileOrigin::Part(_) | FileOrigin::Order(_) => None,
        }
    }

    /// Octets of the file, which were not read when there are too many.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.origin {
            FileOrigin::File { fingerprint, .. } => fingerprint.size(),
            FileOrigin::Part(_) | FileOrigin::Order(_) => self.octets.len() as u64,
        }
    }

    /// True when it has more octets than are read.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.octets.is_empty() && self.size() > 0
    }

    /// It is the part of one zone in a file of several that lies in the inbox.
    #[must_use]
    pub const fn is_part(&self) -> bool {
        self.part_of().is_some()
    }

    /// The file in the inbox that it is a part of.
    #[must_use]
    pub const fn part_of(&self) -> Option<&InFile> {
        match &self.origin {
            FileOrigin::Part(whole) => Some(whole),
            FileOrigin::File { .. } | FileOrigin::Order(_) => None,
        }
    }

    /// It lies in the inbox as a whole, in this state.
    #[must_use]
    pub fn in_this_state(&self) -> Option<InFile> {
        match &self.origin {
            FileOrigin::File { fingerprint, .. } => {
                Some(InFile { name: self.name.clone(), fingerprint: *fingerprint })
            }
            FileOrigin::Part(_) | FileOrigin::Order(_) => None,
        }
    }

    /// True when nobody has written to it for so many seconds.
    #[must_use]
    pub fn is_untouched_for(&self, seconds: u64, now: Timestamp) -> bool {
        match &self.origin {
            FileOrigin::File { fingerprint, .. } | FileOrigin::Part(InFile { fingerprint, .. }) => {
                fingerprint.is_untouched_for(seconds, now)
            }
            FileOrigin::Order(_) => true,
        }
    }
}
