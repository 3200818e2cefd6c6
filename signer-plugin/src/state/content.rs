//! The unsigned content of a zone that does not come from its file alone: what was accepted is there after a restart.
//!
//! ```text
//! zones/ZONE/content           the content: a base, and the names that differ from it      replaced whole
//! zones/ZONE/content-changes   names that were changed since then                          appended to
//!
//! content          = B (zone name, write number)  R… (RRsets of the base)  N… (names that differ)  E (number of RRsets and of names)
//! content-changes  = J (ID and write number of the content that it continues)  { N… (names)  C (their number) }…
//! ```
//! The write number goes up with each content that is written whole. A journal of a content before is left over from a crash between two
//! writes, and the content has its changes. A journal of a *later* content cannot come from here: the two files were copied at different
//! moments, and the changes between them are in neither.
//!
//! The base of a zone with a file is the file as it was last read, so that a later file can be compared with it.
//!
//! A change is durable here before anybody is told that it was accepted. A journal that ends within a change, or in zeros, was being
//! written when the process or the host died: that change was not accepted. Anything else that does not fit is damage.

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::dns::{Name, name};
use keystore::durable;
use keystore::time::Timestamp;

use super::codec::{Put, Take};
use super::folder::StateFolder;
use super::journal::{COMMIT, NAMES, put_names, take_name};
use super::sections::{Sealer, SectionError, SectionKind, Unsealer};
use super::snapshot::{END, RRSETS, SECTION, SnapshotId, finish_zone, put_rrsets, take_rrset};
use super::{Damage, FORMAT, MOST_VERSIONS, StateError, StateKind, error_at, open, set_aside};
use crate::rules::DnssecRecords;
use crate::zone::{ContentChange, NameChange, Zone};

/// Name of the content in the zone's state folder.
pub(crate) const CONTENT: &str = "content";
/// Name of the journal.
const CHANGES: &str = "content-changes";
/// The files of the content: the newest of them was written when the content last changed.
pub(crate) const CONTENT_FILES: [&str; 2] = [CONTENT, CHANGES];
const BASE: SectionKind = SectionKind(b'B');
const HEAD: SectionKind = SectionKind(b'J');
/// A journal of fewer octets is not made into a new content.
const LEAST_JOURNAL: u64 = 1 << 20;

/// The names of several changes, with what they have after the last one, by owner in lower case.
type Names = BTreeMap<Box<[u8]>, NameChange>;

/// The files of one zone.
#[derive(Debug)]
pub(crate) struct ContentStore {
    folder: StateFolder,
    kind: StateKind,
    /// What the files hold; `None` when that is not known, and the content is written whole next.
    held: Option<Held>,
}

/// Where the files end.
#[derive(Debug, Clone, Copy)]
struct Held {
    id: SnapshotId,
    /// The write number of the content; 0 in files of before there were such numbers.
    number: u64,
    /// Octets of the content.
    len: u64,
    /// `None` when there is no journal yet.
    journal: Option<JournalEnd>,
}

#[derive(Debug, Clone, Copy)]
struct JournalEnd {
    digest: [u8; 32],
    len: u64,
    changes: usize,
}

/// Content that was found on disk.
#[derive(Debug)]
pub(crate) struct StoredContent {
    /// The file as it was last read, for a zone that has one.
    pub base: Arc<Zone>,
    /// What was made of it.
    pub current: Arc<Zone>,
}

impl ContentStore {
    /// The content of `zone` in `folder`; nothing is read yet.
    pub fn new(folder: &Path, zone: &Name) -> Self {
        Self::of_kind(folder, zone, DnssecRecords::LeftOut)
    }

    /// The same for a zone that may have the DNSSEC records that it came with.
    pub fn of_kind(folder: &Path, zone: &Name, dnssec: DnssecRecords) -> Self {
        let kind = StateKind { zone: zone.clone(), dnssec };
        Self { folder: StateFolder::new(folder), kind, held: None }
    }

    /// Reads the content; `None` when there is none. Of a journal that ends within a change, the changes before it are taken.
    ///
    /// # Errors
    /// When a file cannot be read, or is damaged; nothing is changed on disk then, see [`Self::set_aside`].
    pub fn load(&mut self) -> Result<Option<StoredContent>, StateError> {
        self.held = None;
        let path = self.folder.path().join(CONTENT);
        let changes = self.folder.path().join(CHANGES);
        let Some(file) = open(&path)? else {
            // The content is written before its journal.
            return open(&changes)?.map_or(Ok(None), |_| Err(error_at(&changes, (Damage::OtherMoment, 0))));
        };
        let (mut held, base, mut names) = self.read_content(file).map_err(|e| error_at(&path, e))?;
        let mut is_whole = true;
        if let Some(file) = open(&changes)? {
            is_whole = self.replay(file, &mut held, &mut names).map_err(|e| error_at(&changes, e))?;
        }
        if !is_whole {
            tracing::info!(zone = %self.kind.zone, file = %changes.display(), "its last change is not whole, and was not accepted; it is left out");
        }
        // A journal that was cut is not appended to.
        self.held = is_whole.then_some(held);
        Ok(Some(StoredContent::of(base, names)))
    }

    /// Reads the two files as octets, for the fuzz targets.
    #[cfg(feature = "testing")]
    pub fn read(zone: &Name, content: &[u8], changes: &[u8]) -> Option<StoredContent> {
        let store = Self::new(Path::new(""), zone);
        let (mut held, base, mut names) = store.read_content(content).ok()?;
        store.replay(changes, &mut held, &mut names).ok()?;
        Some(StoredContent::of(base, names))
    }

    /// Writes the content whole; when this returns `Ok` it outlives a loss of power.
    pub fn replace(&mut self, base: &Zone, current: &Zone) -> io::Result<()> {
        self.held = None;
        self.folder.make()?;
        let number = self.last_number()?.saturating_add(1);
        let mut written = None;
        durable::write_with(&self.folder.path().join(CONTENT), 0o600, |file| {
            let (mut out, id, len) = write(base, current, number, BufWriter::with_capacity(SECTION, file))?;
            out.flush()?;
            written = Some(Held { id, number, len, journal: None });
            Ok(())
        })?;
        self.held = written;
        Ok(())
    }

    /// Writes a change down that makes `current`; when this returns `Ok` it outlives a loss of power. Where the journal has become long, or
    /// cannot be appended to, the content is written whole.
    pub fn append(&mut self, change: &ContentChange, base: &Zone, current: &Zone) -> io::Result<()> {
        // Whatever fails, the content is written whole next: a file whose write failed is not appended to.
        let held = self.held.take().filter(|held| {
            let most = LEAST_JOURNAL.max(held.len / 2);
            held.journal.is_none_or(|end| end.len < most && end.changes < MOST_VERSIONS)
        });
        let Some(held) = held else { return self.replace(base, current) };
        let sealer = match &held.journal {
            Some(end) => Sealer::go_on(Vec::new(), end.digest, end.len),
            None => begin(&held.id, held.number)?,
        };
        let (octets, digest, len) = put_change(sealer, change)?;
        let path = self.folder.path().join(CHANGES);
        match held.journal {
            Some(end) => durable::append(&path, end.len, &octets)?,
            None => durable::write(&path, &octets, 0o600)?,
        }
        let changes = held.journal.map_or(0, |end| end.changes) + 1;
        self.held = Some(Held { journal: Some(JournalEnd { digest, len, changes }), ..held });
        Ok(())
    }

    /// Moves the files to a folder `damaged-TIME` beside them, and gives its path.
    pub fn set_aside(&mut self, now: Timestamp) -> io::Result<PathBuf> {
        self.held = None;
        set_aside(self.folder.path(), &[CONTENT, CHANGES], now)
    }

    /// The highest write number of the files that are there. One that is damaged has none.
    fn last_number(&self) -> io::Result<u64> {
        let mut last = 0;
        for name in CONTENT_FILES {
            let file = match open(&self.folder.path().join(name)) {
                Ok(file) => file,
                Err(StateError::Io { source, .. }) => return Err(source),
                Err(StateError::Damaged { .. }) => None,
            };
            let number = file.and_then(|file| {
                let mut unsealer = Unsealer::begin(BufReader::new(file), FORMAT).ok()?;
                match unsealer.next() {
                    Ok(Some((BASE, payload))) => take_base(payload).map(|(_, number)| number),
                    Ok(Some((HEAD, payload))) => take_head(payload).map(|(_, number)| number),
                    _ => None,
                }
            });
            last = last.max(number.unwrap_or(0));
        }
        Ok(last)
    }

    fn read_content(&self, from: impl Read) -> Result<(Held, Zone, Names), (Damage, u64)> {
        let from = BufReader::with_capacity(SECTION, from);
        let mut unsealer = Unsealer::begin(from, FORMAT).map_err(|error| (error.into(), 0))?;
        let (mut builder, mut names) = (self.kind.builder(), Names::new());
        let (mut rrsets, mut begun) = (0, None);
        loop {
            let at = unsealer.position();
            let damage = |damage: Damage| (damage, at);
            let section = unsealer.next().map_err(|error| damage(error.into()))?;
            let Some((kind, payload)) = section else { return Err(damage(SectionError::CutShort.into())) };
            let mut from = Take(payload);
            match kind {
                BASE if begun.is_none() => {
                    let (found, number) = take_base(payload).ok_or_else(|| damage(Damage::Field))?;
                    if found != self.kind.zone {
                        return Err(damage(Damage::OtherZone(found)));
                    }
                    begun = Some(number);
                }
                RRSETS if begun.is_some() && names.is_empty() => {
                    while !from.is_empty() {
                        take_rrset(&mut from, &mut builder).map_err(damage)?;
                        rrsets += 1;
                    }
                }
                NAMES if rrsets > 0 => {
                    gather(&mut from, &self.kind, &mut names).ok_or_else(|| damage(Damage::Field))?;
                }
                END => {
                    if (from.u64(), from.u64()) != (Some(rrsets), Some(names.len() as u64))
                        || !from.is_empty()
                    {
                        return Err(damage(Damage::Field));
                    }
                    break;
                }
                _ => return Err(damage(Damage::Order)),
            }
        }
        let (id, len) = (unsealer.digest(), unsealer.position());
        if !matches!(unsealer.next(), Ok(None)) {
            return Err((Damage::Order, len));
        }
        let held = Held { id, number: begun.unwrap_or(0), len, journal: None };
        Ok((held, finish_zone(builder, len)?, names))
    }

    /// Gathers the changes of a journal that continues the content; false when its last one is not whole.
    fn replay(&self, from: impl Read, held: &mut Held, names: &mut Names) -> Result<bool, (Damage, u64)> {
        let from = BufReader::with_capacity(SECTION, from);
        let mut unsealer = Unsealer::begin(from, FORMAT).map_err(|error| (error.into(), 0))?;
        let head = match unsealer.next() {
            Ok(Some((HEAD, payload))) => take_head(payload),
            Ok(_) => return Err((Damage::Order, 0)),
            Err(error) => return Err((error.into(), 0)),
        };
        let (id, number) = head.ok_or((Damage::Field, 0))?;
        if id != held.id {
            // Of a content before, after a crash between two writes; files without numbers can be nothing else that is known.
            let is_before = number < held.number || number == 0;
            return if is_before { Ok(true) } else { Err((Damage::OtherMoment, 0)) };
        }
        let mut end = JournalEnd { digest: unsealer.digest(), len: unsealer.position(), changes: 0 };
        held.journal = Some(end);
        let mut change = Names::new();
        loop {
            let at = unsealer.position();
            let damage = |damage: Damage| (damage, at);
            match unsealer.next() {
                Ok(None) => return Ok(at == end.len),
                Err(SectionError::CutShort) => return Ok(false),
                Err(SectionError::Checksum) => {
                    let torn = unsealer.ends_in_zeros().map_err(|e| damage(SectionError::from(e).into()))?;
                    return if torn { Ok(false) } else { Err(damage(SectionError::Checksum.into())) };
                }
                Err(error) => return Err(damage(error.into())),
                Ok(Some((NAMES, payload))) => gather(&mut Take(payload), &self.kind, &mut change)
                    .ok_or_else(|| damage(Damage::Field))?,
                Ok(Some((COMMIT, payload))) => {
                    if Take(payload).u32() != Some(change.len() as u32) {
                        return Err(damage(Damage::Field));
                    }
                    names.append(&mut change);
                    let changes = end.changes + 1;
                    end = JournalEnd { digest: unsealer.digest(), len: unsealer.position(), changes };
                    held.journal = Some(end);
                }
                Ok(Some(_)) => return Err(damage(Damage::Order)),
            }
        }
    }
}

impl StoredContent {
    fn of(base: Zone, names: Names) -> Self {
        let base = Arc::new(base);
        let mut names: Vec<NameChange> = names.into_values().collect();
        names.sort_by(|a, b| name::canonical_cmp(&a.owner, &b.owner));
        let current = if names.is_empty() {
            Arc::clone(&base)
        } else {
            Arc::new(base.changed(&ContentChange { names }))
        };
        Self { base, current }
    }
}

/// Writes the content whole; gives the stream, the ID of the content, and its length.
pub(super) fn write<W: Write>(
    base: &Zone,
    current: &Zone,
    number: u64,
    out: W,
) -> io::Result<(W, SnapshotId, u64)> {
    let most = base.name_count() + current.name_count();
    let differs = ContentChange::between(base, current, most).unwrap_or_default();
    let mut sealer = Sealer::begin(out, FORMAT)?;
    let mut section = Vec::new();
    section.put_short(base.origin().as_wire());
    section.put_u64(number);
    sealer.section(BASE, &section)?;
    put_rrsets(base, &mut sealer)?;
    put_names(&differs, &mut sealer)?;
    section.clear();
    section.put_u64(base.rrset_count() as u64);
    section.put_u64(differs.names.len() as u64);
    sealer.section(END, &section)?;
    Ok(sealer.finish())
}

/// A journal that continues the content with this ID and write number.
pub(super) fn begin(id: &SnapshotId, number: u64) -> io::Result<Sealer<Vec<u8>>> {
    let mut sealer = Sealer::begin(Vec::new(), FORMAT)?;
    let mut section = id.to_vec();
    section.put_u64(number);
    sealer.section(HEAD, &section)?;
    Ok(sealer)
}

/// The zone of a content, and its write number.
fn take_base(payload: &[u8]) -> Option<(Name, u64)> {
    let mut from = Take(payload);
    let zone = from.short().and_then(|wire| Name::from_wire(wire).ok())?;
    Some((zone, take_number(&mut from)?))
}

/// ID and write number of the content that a journal continues.
fn take_head(payload: &[u8]) -> Option<(SnapshotId, u64)> {
    let mut from = Take(payload);
    Some((from.array()?, take_number(&mut from)?))
}

/// The write number at the end of a section; 0 where it has none.
fn take_number(from: &mut Take<'_>) -> Option<u64> {
    let number = if from.is_empty() { 0 } else { from.u64()? };
    from.is_empty().then_some(number)
}

/// Puts a change behind what a journal has; gives the octets, the digest of the last section, and the length of the file.
pub(super) fn put_change(
    mut sealer: Sealer<Vec<u8>>,
    change: &ContentChange,
) -> io::Result<(Vec<u8>, [u8; 32], u64)> {
    put_names(change, &mut sealer)?;
    let mut section = Vec::new();
    section.put_u32(change.names.len() as u32);
    sealer.section(COMMIT, &section)?;
    Ok(sealer.finish())
}

/// Adds the names of a section; `None` when these are no names of the zone.
fn gather(from: &mut Take<'_>, kind: &StateKind, names: &mut Names) -> Option<()> {
    while !from.is_empty() {
        let name = take_name(from, kind)?;
        names.insert(name.owner.to_ascii_lowercase().into(), name);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{name, zone};
    use crate::zone::Edit;

    const FILE: &str = "@ SOA ns h 1 1 1 1 60\n@ NS ns\nns A 192.0.2.1\nWww A 192.0.2.2\n";

    fn read(text: &str) -> Arc<Zone> {
        Arc::new(zone("example", text).expect(text))
    }

    /// The zone after an edit, and the change.
    fn edited(zone: &Arc<Zone>, edit: impl FnOnce(&mut Edit<'_>)) -> (ContentChange, Arc<Zone>) {
        let mut editing = Edit::new(zone);
        edit(&mut editing);
        let change = editing.finish().expect("a change");
        let next = Arc::new(zone.changed(&change));
        (change, next)
    }

    /// A store with a base and `count` changes; gives each content that it had.
    fn filled(folder: &Path, count: u8) -> (ContentStore, Vec<Arc<Zone>>) {
        let base = read(FILE);
        let mut store = ContentStore::new(folder, &name("example"));
        store.replace(&base, &base).expect("written");
        let mut contents = vec![Arc::clone(&base)];
        for number in 0..count {
            let before = &contents[contents.len() - 1];
            let owner = name(&format!("Host{}.example", number % 3));
            let (change, next) = edited(before, |edit| {
                if !edit.remove_rrset(owner.as_wire(), keystore::dns::Rtype::A) {
                    edit.add(owner.as_wire(), keystore::dns::Rtype::A, 60, &[192, 0, 2, number]);
                }
            });
            store.append(&change, &base, &next).expect("appended");
            contents.push(next);
        }
        (store, contents)
    }

    fn load(folder: &Path) -> Result<Option<StoredContent>, StateError> {
        ContentStore::new(folder, &name("example")).load()
    }

    #[test]
    fn content_is_found_as_it_was_with_letter_case_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().is_none());
        let (_, contents) = filled(dir.path(), 5);
        let mut store = ContentStore::new(dir.path(), &name("example"));
        let found = store.load().unwrap().expect("content");
        assert!(found.base.has_content_of(&contents[0]) && found.current.has_content_of(&contents[5]));
        let (change, next) = edited(&found.current, |edit| {
            edit.add(name("X.example").as_wire(), keystore::dns::Rtype::TXT, 7, b"\x01A");
        });
        store.append(&change, &found.base, &next).unwrap();
        let again = load(dir.path()).unwrap().expect("content");
        assert!(again.current.has_content_of(&next) && again.base.has_content_of(&contents[0]));
        // Whole again: the base stays apart from what was made of it.
        store.replace(&found.base, &next).unwrap();
        let again = load(dir.path()).unwrap().expect("content");
        assert!(again.current.has_content_of(&next) && again.base.has_content_of(&contents[0]));
        let other = ContentStore::new(dir.path(), &name("other")).load();
        assert!(matches!(other, Err(StateError::Damaged { damage: Damage::OtherZone(_), .. })));
    }

    #[test]
    fn a_journal_cut_anywhere_has_all_whole_changes_and_no_half_one() {
        let dir = tempfile::tempdir().unwrap();
        let (store, contents) = filled(dir.path(), 4);
        let journal = dir.path().join(CHANGES);
        let octets = fs::read(&journal).unwrap();
        let ends: Vec<usize> = {
            // Where each change ends: by writing them one after the other.
            let again = tempfile::tempdir().unwrap();
            (1..=4)
                .map(|count| {
                    filled(again.path(), count);
                    fs::metadata(again.path().join(CHANGES)).unwrap().len() as usize
                })
                .collect()
        };
        assert_eq!(ends[3], octets.len());
        drop(store);
        let cuts = (ends[0]..=octets.len()).map(|len| (len, 0));
        for (len, zeros) in cuts.chain(ends.iter().map(|len| (*len, 40))) {
            let mut cut = octets[..len].to_vec();
            cut.resize(len + zeros, 0);
            fs::write(&journal, &cut).unwrap();
            let whole = ends.iter().filter(|end| **end <= len).count();
            let found = load(dir.path()).unwrap_or_else(|e| panic!("{len}+{zeros}: {e}")).expect("content");
            assert!(found.current.has_content_of(&contents[whole]), "{len}+{zeros}");
        }
        // Another octet anywhere is damage, and never other content.
        for at in 0..octets.len() {
            let mut wrong = octets.clone();
            wrong[at] ^= 0x20;
            fs::write(&journal, &wrong).unwrap();
            match load(dir.path()) {
                Err(StateError::Damaged { .. }) => {}
                other => panic!("octet {at}: {:?}", other.map(|found| found.is_some())),
            }
        }
    }

    #[test]
    fn a_journal_of_content_before_is_ignored_and_damage_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, contents) = filled(dir.path(), 2);
        let journal = fs::read(dir.path().join(CHANGES)).unwrap();
        store.replace(&contents[0], &contents[1]).unwrap();
        fs::write(dir.path().join(CHANGES), journal).unwrap();
        assert!(load(dir.path()).unwrap().expect("content").current.has_content_of(&contents[1]));
        fs::write(dir.path().join(CONTENT), b"nonsense").unwrap();
        assert!(load(dir.path()).is_err());
        let folder = store.set_aside(Timestamp::from_secs(1_800_000_000)).unwrap();
        assert!(folder.join(CONTENT).exists() && folder.join(CHANGES).exists());
        assert!(load(dir.path()).unwrap().is_none());
    }

    /// All mixtures of the two files at three moments: before and after a content was written whole, and after the change behind that.
    #[test]
    fn files_of_two_moments_read_as_content_that_was_there_or_are_damage() {
        let dir = tempfile::tempdir().unwrap();
        let octets = |name: &str| fs::read(dir.path().join(name)).unwrap();
        let (mut store, contents) = filled(dir.path(), 2);
        let first = (octets(CONTENT), octets(CHANGES));
        store.replace(&contents[0], &contents[2]).unwrap();
        let second = (octets(CONTENT), octets(CHANGES));
        let (change, last) = edited(&contents[2], |edit| {
            edit.add(name("Late.example").as_wire(), keystore::dns::Rtype::A, 60, &[192, 0, 2, 9]);
        });
        store.append(&change, &contents[0], &last).unwrap();
        let third = (octets(CONTENT), octets(CHANGES));
        assert_eq!((&first.1, &second.0), (&second.1, &third.0));
        /// What is the case, content, journal, and what it reads as.
        type Row<'a> = (&'a str, Option<&'a [u8]>, &'a [u8], Option<&'a Arc<Zone>>);
        let rows: [Row<'_>; 5] = [
            ("of one moment", Some(&first.0), &first.1, Some(&contents[2])),
            ("content that is later", Some(&second.0), &first.1, Some(&contents[2])),
            ("a journal that goes on", Some(&second.0), &third.1, Some(&last)),
            ("a journal that is later", Some(&first.0), &third.1, None),
            ("no content", None, &third.1, None),
        ];
        for (what, content, changes, expected) in rows {
            let copy = tempfile::tempdir().unwrap();
            if let Some(content) = content {
                fs::write(copy.path().join(CONTENT), content).unwrap();
            }
            fs::write(copy.path().join(CHANGES), changes).unwrap();
            match (load(copy.path()), expected) {
                (Ok(Some(found)), Some(expected)) => {
                    assert!(found.current.has_content_of(expected), "{what}");
                }
                (Err(StateError::Damaged { damage: Damage::OtherMoment, .. }), None) => {}
                (other, _) => panic!("{what}: {:?}", other.map(|found| found.is_some())),
            }
        }
    }

    #[test]
    fn files_without_write_numbers_read_as_before_and_numbers_go_on_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, contents) = filled(dir.path(), 1);
        let number = |dir: &Path| ContentStore::new(dir, &name("example")).last_number().unwrap();
        assert_eq!(number(dir.path()), 1);
        store.replace(&contents[0], &contents[1]).unwrap();
        ContentStore::new(dir.path(), &name("example")).replace(&contents[0], &contents[1]).unwrap();
        assert_eq!(number(dir.path()), 3);
        for (journal, expected) in
            [([7; 32].to_vec(), true), ([&[7; 32][..], &9_u64.to_be_bytes()].concat(), false)]
        {
            let mut sealer = Sealer::begin(Vec::new(), FORMAT).unwrap();
            sealer.section(HEAD, &journal).unwrap();
            fs::write(dir.path().join(CHANGES), sealer.finish().0).unwrap();
            assert_eq!(load(dir.path()).is_ok(), expected, "{} octets", journal.len());
        }
    }

    #[test]
    fn a_journal_that_has_become_long_is_made_into_content() {
        let dir = tempfile::tempdir().unwrap();
        let base = read(FILE);
        let mut store = ContentStore::new(dir.path(), &name("example"));
        store.replace(&base, &base).unwrap();
        let mut current = Arc::clone(&base);
        let text = vec![b'x'; 200];
        let long: Vec<u8> = std::iter::repeat_n([&[200][..], &text].concat(), 200).flatten().collect();
        for number in 0..40 {
            let (change, next) = edited(&current, |edit| {
                edit.remove_rrset(name("t.example").as_wire(), keystore::dns::Rtype::TXT);
                edit.add(name("t.example").as_wire(), keystore::dns::Rtype::TXT, number, &long);
            });
            store.append(&change, &base, &next).unwrap();
            current = next;
        }
        let size = fs::metadata(dir.path().join(CHANGES)).unwrap().len();
        assert!(size < LEAST_JOURNAL + 100_000, "{size}");
        assert!(load(dir.path()).unwrap().expect("content").current.has_content_of(&current));
    }
}
