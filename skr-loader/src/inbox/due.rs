//! The files to look at: first those that look like an SKR, then the others, and of each the newest first. Whatever else lies in the inbox, an
//! SKR is judged in the next step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::files;
use crate::operator;

/// Octets at the beginning of a file in which the words are looked for that every SKR begins with.
const HEAD: u64 = 512;
/// What is at the beginning of an SKR: the header of BIND's and Knot's text, and the root of the XML form.
const BEGINS: [&[u8]; 2] = [b"SignedKeyResponse", b"<KSR"];
/// Files that do not look like an SKR and are kept in mind at most. Those beyond it are found by a scan when there is room again.
const MOST_UNLIKELY: usize = 20_000;

/// Seconds and nanoseconds of the last change of a file, its name included; a rename into the folder is one.
type Changed = (i64, i64);

/// What a file looks like, before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likelihood {
    /// It begins as an SKR, or cannot be opened just now.
    Likely,
    /// It begins otherwise.
    Unlikely,
}

/// Where a file stands in the order: its kind, and the newest first.
type Place = (Likelihood, Reverse<Changed>);

/// Names of files, in the order in which they are looked at.
#[derive(Debug, Default)]
pub(super) struct LookQueue {
    /// The place of each, and true when a writer was seen to close it.
    names: BTreeMap<OsString, (Place, bool)>,
    order: BTreeSet<(Place, OsString)>,
    unlikely: usize,
    /// Files were left out, as there were too many.
    left_out: bool,
}

impl LookQueue {
    /// Adds a file of the folder, or says anew whether its writer closed it.
    pub(super) fn insert(&mut self, dir: &Path, name: OsString, closed: bool) {
        self.remove(&name);
        let path = dir.join(&name);
        let changed = path.symlink_metadata().map_or((0, 0), |m| (m.ctime(), m.ctime_nsec()));
        // A signature is read with its file, which may wait for it.
        let kind = if operator::signed_name(&name).is_some() { Likelihood::Likely } else { look(&path) };
        if kind == Likelihood::Unlikely {
            if self.unlikely >= MOST_UNLIKELY {
                self.left_out = true;
                return;
            }
            self.unlikely += 1;
        }
        let place = (kind, Reverse(changed));
        self.names.insert(name.clone(), (place, closed));
        self.order.insert((place, name));
    }

    /// Adds a file of the folder, if it is not there yet.
    pub(super) fn add(&mut self, dir: &Path, name: OsString, closed: bool) {
        if !self.names.contains_key(&name) {
            self.insert(dir, name, closed);
        }
    }

    /// Takes the next one out: its kind, and whether its writer closed it.
    pub(super) fn pop(&mut self) -> Option<(OsString, Likelihood, bool)> {
        let ((kind, _), name) = self.order.first()?.clone();
        let closed = self.remove(&name)?;
        Some((name, kind, closed))
    }

    /// The kind of the next one.
    pub(super) fn next_kind(&self) -> Option<Likelihood> {
        self.order.first().map(|((kind, _), _)| *kind)
    }

    /// True once when there is room again for files that were left out.
    pub(super) fn take_left_out(&mut self) -> bool {
        self.unlikely < MOST_UNLIKELY / 2 && std::mem::take(&mut self.left_out)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &OsString> {
        self.names.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    fn remove(&mut self, name: &OsString) -> Option<bool> {
        let (place, closed) = self.names.remove(name)?;
        self.order.remove(&(place, name.clone()));
        self.unlikely -= usize::from(place.0 == Likelihood::Unlikely);
        Some(closed)
    }
}

/// What cannot be opened may be an SKR: it is looked at, and tried again.
fn look(path: &Path) -> Likelihood {
    match files::read_head(path, HEAD) {
        Ok(head) if !BEGINS.iter().any(|begin| head.windows(begin.len()).any(|octets| octets == *begin)) => {
            Likelihood::Unlikely
        }
        _ => Likelihood::Likely,
    }
}
