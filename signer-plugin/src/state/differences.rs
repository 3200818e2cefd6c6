//! What differs between the last versions of a zone: with it a signer that was started again goes on to send differences, also to secondaries
//! that do not have the version which it served last.
//!
//! ```text
//! zones/ZONE/differences-0, -1   H (zone name)  { D… (pieces of a difference)  C (its length) }…     appended to
//! ```
//! A difference is written before the version that it leads to, and that version says in which file it stands, and up to where that belongs
//! to it ([`HistoryEnd`]). So what leads to a version that was never written down counts for nothing, and neither does a file that is behind.
//! A file that has become long is written anew as the other one, while the version on disk still names the first.
//!
//! The files are of use, and no more: where one is missing or damaged, secondaries get the whole zone once. That is why they are appended to
//! without a sync: a killed process loses nothing by that, and a loss of power at most these differences.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::dns::Name;
use keystore::durable;

use super::codec::{Put, Take};
use super::facts::HistoryEnd;
use super::folder::StateFolder;
use super::sections::{Sealer, SectionError, SectionKind, Unsealer};
use super::{Damage, FORMAT, StateError, error_at, open};
use crate::difference::Difference;

/// Names of the files in the zone's state folder.
const NAMES: [&str; 2] = ["differences-0", "differences-1"];
const HEAD: SectionKind = SectionKind(b'H');
const PIECE: SectionKind = SectionKind(b'D');
const COMMIT: SectionKind = SectionKind(b'C');
/// Octets of a piece.
const SECTION: usize = 256 << 10;
/// Octets that a file may have beyond twice those of the differences that are of use.
const SLACK: usize = 64 << 10;
/// Longest file that is read, in octets.
const MOST_OCTETS: u64 = 128 << 20;

/// The files of one zone.
#[derive(Debug)]
pub(crate) struct DifferenceStore {
    folder: StateFolder,
    zone: Name,
    /// What the version on disk says.
    in_use: Option<HistoryEnd>,
    /// What the file ends with; `None` when that is not known, and it is written whole next.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    last: Arc<Difference>,
    end: HistoryEnd,
}

impl DifferenceStore {
    /// The differences of `zone` in `folder`; nothing is read yet.
    pub fn new(folder: &Path, zone: &Name) -> Self {
        Self { folder: StateFolder::new(folder), zone: zone.clone(), in_use: None, held: None }
    }

    /// Has a file end with these differences, each of which begins where the one before ends; gives what the version is to say that they
    /// lead to, and `None` when there are none. When this returns `Ok` they outlive the process.
    pub fn save(&mut self, history: &[Arc<Difference>]) -> io::Result<Option<HistoryEnd>> {
        let Some((newest, before)) = history.split_last() else { return Ok(None) };
        // Whatever fails, the file is written whole next.
        let appended = self.held.take().and_then(|held| self.append(&held, before, newest));
        let end = match appended {
            Some(end) => end,
            // One fault is not to cost each secondary a whole zone. A full disk stays full, and what is left of it is for the version.
            None => self.replace(history).or_else(|error| match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Err(error),
                _ => self.replace(history),
            })?,
        };
        self.held = Some(Held { last: Arc::clone(newest), end });
        Ok(Some(end))
    }

    /// Appends the newest difference, unless the file has it; `None` where the file must be written whole.
    fn append(
        &self,
        held: &Held,
        before: &[Arc<Difference>],
        newest: &Arc<Difference>,
    ) -> Option<HistoryEnd> {
        if Arc::ptr_eq(&held.last, newest) {
            return Some(held.end);
        }
        let octets: usize = before.iter().map(|difference| difference.octets()).sum();
        let most = 2 * (octets + newest.octets()) + SLACK;
        before.last().filter(|last| Arc::ptr_eq(last, &held.last) && held.end.len < most as u64)?;
        let HistoryEnd { file, digest, len } = held.end;
        let sealer = Sealer::go_on(Vec::new(), digest, len);
        let (octets, end) = put(file, sealer, std::slice::from_ref(newest)).ok()?;
        durable::append_unsynced(&self.path(file), len, &octets).ok()?;
        Some(end)
    }

    fn replace(&mut self, history: &[Arc<Difference>]) -> io::Result<HistoryEnd> {
        self.folder.make()?;
        let file = self.in_use.is_some_and(|end| !end.file);
        let (octets, end) = whole(file, &self.zone, history)?;
        durable::write_unsynced(&self.path(file), &octets, 0o600)?;
        Ok(end)
    }

    /// Notes what the version on disk says from now on.
    pub fn set_in_use(&mut self, end: Option<HistoryEnd>) {
        self.in_use = end;
    }

    fn path(&self, file: bool) -> PathBuf {
        self.folder.path().join(NAMES[usize::from(file)])
    }

    /// Reads the differences that lead to the version which says `end`, the oldest first.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or is that of another version.
    pub fn load(&mut self, end: HistoryEnd) -> Result<Vec<Arc<Difference>>, StateError> {
        self.held = None;
        self.in_use = Some(end);
        let path = self.path(end.file);
        let Some(file) = open(&path)? else {
            return Err(StateError::Io { path, source: io::ErrorKind::NotFound.into() });
        };
        let is_whole = file.metadata().is_ok_and(|found| found.len() == end.len);
        let found = read(file, &self.zone, end).map_err(|error| error_at(&path, error))?;
        // A file that goes on is not appended to.
        self.held = found.last().filter(|_| is_whole).map(|last| Held { last: Arc::clone(last), end });
        Ok(found)
    }
}

/// A file with these differences.
pub(super) fn whole(
    file: bool,
    zone: &Name,
    history: &[Arc<Difference>],
) -> io::Result<(Vec<u8>, HistoryEnd)> {
    let mut sealer = Sealer::begin(Vec::new(), FORMAT)?;
    sealer.section(HEAD, zone.as_wire())?;
    put(file, sealer, history)
}

/// Puts differences behind what a file has.
fn put(
    file: bool,
    mut sealer: Sealer<Vec<u8>>,
    differences: &[Arc<Difference>],
) -> io::Result<(Vec<u8>, HistoryEnd)> {
    let (mut whole, mut commit) = (Vec::new(), Vec::new());
    for difference in differences {
        whole.clear();
        difference.put(&mut whole);
        for piece in whole.chunks(SECTION) {
            sealer.section(PIECE, piece)?;
        }
        commit.clear();
        commit.put_u64(whole.len() as u64);
        sealer.section(COMMIT, &commit)?;
    }
    let (octets, digest, len) = sealer.finish();
    Ok((octets, HistoryEnd { file, digest, len }))
}

/// The differences of a file up to `end`, where its sections must end as that says.
pub(super) fn read(
    from: impl Read,
    zone: &Name,
    end: HistoryEnd,
) -> Result<Vec<Arc<Difference>>, (Damage, u64)> {
    if end.len > MOST_OCTETS {
        return Err((Damage::Field, 0));
    }
    let from = BufReader::with_capacity(SECTION, from.take(end.len));
    let mut unsealer = Unsealer::begin(from, FORMAT).map_err(|error| (error.into(), 0))?;
    let (mut found, mut whole): (Vec<Arc<Difference>>, Vec<u8>) = (Vec::new(), Vec::new());
    let mut is_begun = false;
    loop {
        let at = unsealer.position();
        let damage = |damage: Damage| (damage, at);
        match unsealer.next().map_err(|error| damage(error.into()))? {
            None => break,
            Some((HEAD, payload)) if !is_begun => {
                let name = Name::from_wire(payload).map_err(|_| damage(Damage::Field))?;
                if name != *zone {
                    return Err(damage(Damage::OtherZone(name)));
                }
                is_begun = true;
            }
            Some((PIECE, payload)) if is_begun => whole.extend_from_slice(payload),
            Some((COMMIT, payload)) if is_begun => {
                if Take(payload).u64() != Some(whole.len() as u64) {
                    return Err(damage(Damage::Field));
                }
                let difference = Difference::take(&whole).ok_or_else(|| damage(Damage::Field))?;
                if found.last().is_some_and(|last| last.to() != difference.from()) {
                    return Err(damage(Damage::Order));
                }
                found.push(Arc::new(difference));
                whole.clear();
            }
            Some(_) => return Err(damage(Damage::Order)),
        }
    }
    let is_end = unsealer.digest() == end.digest && unsealer.position() == end.len && whole.is_empty();
    if is_end { Ok(found) } else { Err((SectionError::Checksum.into(), end.len)) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use keystore::dns::Rtype;

    use super::*;
    use crate::difference::RecordList;
    use crate::testing::name;

    /// The difference between two versions that have one record each, of so many octets.
    fn step(from: u32, to: u32, octets: usize) -> Arc<Difference> {
        let list = |serial: u32, rtype, octets| {
            let rdata = [vec![7; octets], serial.to_be_bytes().to_vec()].concat();
            RecordList::new([(name("example").as_wire().to_vec(), rtype, 300, rdata)])
        };
        let [old, new] =
            [from, to].map(|serial| (list(serial, Rtype::SOA, 0), list(serial, Rtype::TXT, octets)));
        Arc::new(Difference::of_lists((from, &old.0, &old.1), (to, &new.0, &new.1)))
    }

    fn store(dir: &tempfile::TempDir) -> DifferenceStore {
        DifferenceStore::new(dir.path(), &name("example"))
    }

    fn found(dir: &tempfile::TempDir, end: HistoryEnd) -> Option<Vec<(u32, u32)>> {
        let found = store(dir).load(end).ok()?;
        Some(found.iter().map(|step| (step.from(), step.to())).collect())
    }

    #[test]
    fn each_version_finds_what_leads_to_it_whatever_was_written_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = store(&dir);
        assert_eq!(kept.save(&[]).unwrap(), None);
        let mut history = vec![step(1, 2, 10)];
        let first = kept.save(&history).unwrap().unwrap();
        // Longer than a section.
        history.push(step(2, 5, 30_000));
        let second = kept.save(&history).unwrap().unwrap();
        assert_eq!(kept.save(&history).unwrap(), Some(second), "nothing is written twice");
        assert_eq!(found(&dir, first), Some(vec![(1, 2)]));
        assert_eq!(found(&dir, second), Some(vec![(1, 2), (2, 5)]));
        // A process that was started again goes on behind what it finds.
        let mut kept = store(&dir);
        let mut history = kept.load(second).unwrap();
        history.push(step(5, 6, 10));
        let third = kept.save(&history).unwrap().unwrap();
        assert!(third.len > second.len);
        assert_eq!(found(&dir, third), Some(vec![(1, 2), (2, 5), (5, 6)]));
        // And one that finds more than its version says writes another file.
        let mut kept = store(&dir);
        let mut history = kept.load(second).unwrap();
        history.push(step(5, 7, 10));
        let other = kept.save(&history).unwrap().unwrap();
        assert_eq!(found(&dir, other), Some(vec![(1, 2), (2, 5), (5, 7)]));
        // Until a version is written down that says so, the one that is on disk finds what leads to it.
        assert_eq!(found(&dir, second), Some(vec![(1, 2), (2, 5)]));
        kept.set_in_use(Some(other));
        // A version that was made and never served.
        history.pop();
        history.push(step(5, 9, 10));
        let last = kept.save(&history).unwrap().unwrap();
        assert_eq!(found(&dir, last), Some(vec![(1, 2), (2, 5), (5, 9)]));
    }

    #[test]
    fn files_stay_within_twice_what_is_of_use_and_the_one_in_use_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = store(&dir);
        let (mut history, mut before, mut files) = (Vec::new(), None, 0);
        for serial in 0..200 {
            history.push(step(serial, serial + 1, 10_000));
            history.drain(..history.len().saturating_sub(5));
            let end = kept.save(&history).unwrap().unwrap();
            assert_eq!(found(&dir, end).unwrap().last(), Some(&(serial, serial + 1)));
            // The process is killed here, before the version is written down that says so.
            if let Some(before) = before {
                assert_eq!(found(&dir, before).unwrap().last(), Some(&(serial - 1, serial)));
            }
            files += u32::from(before.is_some_and(|before: HistoryEnd| before.file != end.file));
            kept.set_in_use(Some(end));
            before = Some(end);
            let octets: usize = history.iter().map(|step| step.octets()).sum();
            assert!(end.len < (3 * octets + 2 * SLACK) as u64, "{} {octets}", end.len);
        }
        assert!(files > 5, "{files}");
    }

    #[test]
    fn a_file_that_was_cut_or_changed_or_is_of_another_zone_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = store(&dir);
        let end = kept.save(&[step(1, 2, 10), step(2, 3, 10)]).unwrap().unwrap();
        let path = dir.path().join(NAMES[0]);
        let octets = fs::read(&path).unwrap();
        for at in 0..octets.len() {
            fs::write(&path, &octets[..at]).unwrap();
            assert_eq!(found(&dir, end), None, "cut at {at}");
            let mut changed = octets.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert_eq!(found(&dir, end), None, "changed at {at}");
        }
        fs::write(&path, [&octets[..], &[0; 100]].concat()).unwrap();
        assert_eq!(found(&dir, end), Some(vec![(1, 2), (2, 3)]));
        assert!(DifferenceStore::new(dir.path(), &name("other")).load(end).is_err());
        fs::remove_file(&path).unwrap();
        assert!(store(&dir).load(end).is_err());
    }
}
