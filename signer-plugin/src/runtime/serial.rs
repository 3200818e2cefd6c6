//! The SOA serial that is served: never goes back and never stands for two versions, over restarts too (RFC 1982, RFC 1912 section 2.2).
//!
//! The file has a serial that was served, and up to which serial versions may be served that are on disk themselves. So after a `kill -9`
//! the next serial is behind all that may have been served. An orderly end writes the exact serial. A version that is served although it
//! could not be written down has its serial written here first.
//!
//! ```text
//! 2027010112 reserved 2027010128 write 7 check 0123456789abcdef     512 octets, filled up with spaces; two such copies
//! ```
//! The copies are written over in turn, where they are: that needs no space, so it works on a full disk, and what a crash damages is only
//! ever the older one. A file with one line `SERIAL`, which a person wrote, is read as well.

use std::io;
use std::path::{Path, PathBuf};

use keystore::crypto::sha256;
use keystore::durable;
use keystore::retry::Retry;
use keystore::time::Timestamp;

use crate::state::StateFolder;

/// So many serials are reserved ahead of the one that is served.
const RESERVED: u32 = 16;
/// The mark that the serials were raised for a takeover, beside the file.
const RAISED: &str = "raised";
/// So far beyond the serial of the zone file the first version after a takeover is, where it would have that serial.
const JUMP: u32 = keystore::pair::takeover::SERIAL_JUMP;
/// Octets of a copy: one sector, so that no copy reaches into the other's.
const COPY: usize = 512;
const FILE_LEN: usize = 2 * COPY;

/// The last serial served, and where it is kept.
#[derive(Debug)]
pub(super) struct SerialFile {
    folder: StateFolder,
    path: PathBuf,
    /// The last serial that was, or may have been, served.
    last: Option<u32>,
    /// The last serial that is known to have been served by this process or the one before.
    known: Option<u32>,
    /// What the file says.
    on_disk: OnDisk,
    /// Number of the write that made the newer copy; `None` when the file is not there or has another form.
    writes: Option<u64>,
    /// True until a version is served after [`raise_serial`]: another host may have taken the serial of the zone file for its own version.
    is_raised: bool,
    retry: Retry,
    /// Why the file could not be written; set while [`Self::retry`] is.
    unwritten: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct OnDisk {
    served: Option<u32>,
    /// The last serial that may be served without being written down.
    reserved: Option<u32>,
}

impl SerialFile {
    /// Reads `STATE/serial`. A file with other content than a serial is reported, and counts as none. `served` is the serial that this
    /// process serves already, if it serves the zone.
    ///
    /// # Errors
    /// When there is a file that cannot be opened or read: what it says is not known then, and it must not be written over.
    pub fn open(state: &Path, served: Option<u32>) -> io::Result<Self> {
        let path = state.join("serial");
        // What a process that was killed has left; nobody else looks here.
        if let Err(error) = durable::sweep_temps_of(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // What keeps this folder from being read is told once, as a condition, by the reading that follows.
            tracing::debug!(file = %path.display(), %error, "temp files that an earlier run may have left stay");
        }
        let (on_disk, writes) = match std::fs::read(&path) {
            Ok(text) => parse(&text).unwrap_or_else(|| {
                tracing::error!(
                    file = %path.display(),
                    "expected the last SOA serial served; the serial of the zone file counts now. \
                     Write the serial that the secondaries have into the file and restart, if it is higher"
                );
                Default::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
            Err(error) => return Err(error),
        };
        let of_file = on_disk.reserved.or(on_disk.served);
        let last = match (of_file, served) {
            (Some(of_file), Some(served)) if is_later(served, of_file) => Some(served),
            (None, served) => served,
            (of_file, _) => of_file,
        };
        let (folder, retry, is_raised) =
            (StateFolder::new(state), Retry::default(), state.join(RAISED).exists());
        Ok(Self { folder, path, last, known: None, on_disk, writes, is_raised, retry, unwritten: None })
    }

    /// The serial for new content of a zone whose file says `file`.
    pub fn next(&self, file: u32) -> u32 {
        match self.last.map_or(file, |last| next_serial(file, last)) {
            serial if self.is_raised && serial == file => next_serial(file.wrapping_add(JUMP), file),
            serial => serial,
        }
    }

    /// Makes sure that `serial` cannot be given to another version after a restart; call it before a version is served. An error says
    /// that the file could not be written.
    pub fn reserve(&mut self, serial: u32, now: Timestamp) -> io::Result<()> {
        let covered = self.on_disk.reserved.is_some_and(|reserved| !is_later(serial, reserved))
            && self.on_disk.served.is_some_and(|served| serial == served || is_later(serial, served));
        if covered {
            return Ok(());
        }
        let served = self.known.or(self.on_disk.served).or(Some(serial));
        self.write_or_plan(OnDisk { served, reserved: Some(ahead(serial)) }, now)
    }

    /// Notes that a version with this serial is served from now on which is not on disk; call it before it is served. An error says that
    /// this could not be written down.
    pub fn served(&mut self, serial: u32, now: Timestamp) -> io::Result<()> {
        self.last = Some(serial);
        self.known = self.last;
        self.lower();
        self.write_served(now)
    }

    /// Notes that a version with this serial is served, which is on disk itself: the file may lag behind by what is reserved.
    pub fn note(&mut self, serial: u32) {
        self.known = Some(serial);
        if self.last.is_none_or(|last| is_later(serial, last)) {
            self.last = self.known;
            self.lower();
        }
    }

    /// A version with a serial beyond all of the other host is served.
    fn lower(&mut self) {
        if std::mem::take(&mut self.is_raised)
            && let Err(error) = durable::remove(&self.path.with_file_name(RAISED))
        {
            tracing::warn!(file = %self.path.display(), %error, "the mark of the takeover stays; the next start skips some serials");
        }
    }

    /// True when the file says that a later serial than this was served.
    pub fn is_behind(&self, serial: u32) -> bool {
        self.on_disk.served.is_some_and(|served| is_later(served, serial))
    }

    /// True when the process before did not end in order, so that it may have served later versions than any that is known.
    pub const fn may_be_behind(&self) -> bool {
        self.on_disk.reserved.is_some()
    }

    /// Why the file could not be written, until it could.
    pub fn unwritten(&self) -> Option<&str> {
        self.unwritten.as_deref()
    }

    /// Writes the file again when an earlier write failed and its next try is due.
    pub fn retry(&mut self, now: Timestamp) {
        if self.retry.is_due(now) {
            // The cause is kept.
            let _ = self.write_served(now);
        }
    }

    /// Time of the next try to write the file.
    pub const fn next_try(&self) -> Option<Timestamp> {
        self.retry.at()
    }

    fn write_served(&mut self, now: Timestamp) -> io::Result<()> {
        match self.last {
            Some(last) => self.write_or_plan(OnDisk { served: Some(last), reserved: Some(ahead(last)) }, now),
            None => {
                self.settled();
                Ok(())
            }
        }
    }

    /// Writes the file, and plans another try where that fails.
    fn write_or_plan(&mut self, on_disk: OnDisk, now: Timestamp) -> io::Result<()> {
        let written = self.write(on_disk);
        match &written {
            Ok(()) => self.settled(),
            Err(error) => {
                self.unwritten = Some(error.to_string());
                self.retry.failed(now);
            }
        }
        written
    }

    fn settled(&mut self) {
        self.unwritten = None;
        self.retry.settled();
    }

    fn write(&mut self, on_disk: OnDisk) -> io::Result<()> {
        let number = self.writes.map_or(1, |last| last.wrapping_add(1));
        let copy = copy(on_disk, number);
        let in_place = self.writes.is_some_and(|_| {
            // The newer copy stays until this one is durable.
            let at = if number.is_multiple_of(2) { 0 } else { COPY as u64 };
            durable::overwrite(&self.path, FILE_LEN as u64, at, &copy).is_ok()
        });
        if !in_place {
            self.folder.make()?;
            durable::write(&self.path, &[copy.as_slice(), copy.as_slice()].concat(), 0o644)?;
        }
        (self.on_disk, self.writes) = (on_disk, Some(number));
        Ok(())
    }

    /// Gives the reserved serials back; for an orderly end.
    pub fn close(&mut self) {
        // What is not known to have been served may have been, by a process that was killed.
        if self.known != self.last {
            return;
        }
        let exact = OnDisk { served: self.last, reserved: None };
        if self.on_disk == exact {
            return;
        }
        let given_back = match self.last {
            Some(_) => self.write(exact),
            None => durable::remove(&self.path).map(|()| (self.on_disk, self.writes) = (exact, None)),
        };
        if let Err(error) = given_back {
            tracing::warn!(file = %self.path.display(), %error, "the last SOA serial could not be written down; the next one skips some");
        }
    }
}

/// The last serial that a zone was, or may have been, published under by the process that had this state folder `zones/ZONE`; `None` when
/// none is known.
///
/// # Errors
/// When the file cannot be read, or is damaged.
pub fn last_serial(state: &Path) -> io::Result<Option<u32>> {
    match std::fs::read(state.join("serial")) {
        Ok(text) => {
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it says no serial");
            let (on_disk, _) = parse(&text).ok_or_else(damaged)?;
            Ok(on_disk.reserved.or(on_disk.served))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has the next serial of a zone be later than `floor`, which is behind all serials in its state folder; call it while no process serves
/// the zone. The version on disk stays the one that is served first, so that secondaries which have it get the difference from there.
///
/// # Errors
/// When the file cannot be read or written.
pub fn raise_serial(state: &Path, floor: u32) -> io::Result<()> {
    let mut file = SerialFile::open(state, None)?;
    let served = file.on_disk.served.or(Some(floor));
    file.folder.make()?;
    durable::write(&state.join(RAISED), b"", 0o644)?;
    file.write(OnDisk { served, reserved: Some(floor) })
}

/// The serials that a file says, for the fuzz targets: the one served last, and the last one that is reserved.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn parse_serial(text: &[u8]) -> Option<(Option<u32>, Option<u32>)> {
    parse(text).map(|(on_disk, _)| (on_disk.served, on_disk.reserved))
}

/// What a file says, and the number of the write that made its newer copy.
fn parse(text: &[u8]) -> Option<(OnDisk, Option<u64>)> {
    let (one, other) = match text.split_at_checked(COPY) {
        Some((one, other)) if other.len() == COPY => (parse_copy(one), parse_copy(other)),
        _ => return parse_line(text).map(|on_disk| (on_disk, None)),
    };
    match (one, other) {
        (Some(one), Some(other)) => {
            let (on_disk, number) = if other.1.wrapping_sub(one.1).cast_signed() > 0 { other } else { one };
            Some((on_disk, Some(number)))
        }
        // The damaged copy may be the newer one. The file is written whole next time.
        (Some((left, _)), None) | (None, Some((left, _))) => {
            Some((OnDisk { reserved: left.reserved.or(left.served.map(ahead)), ..left }, None))
        }
        (None, None) => None,
    }
}

/// `SERIAL [reserved SERIAL]`
fn parse_line(text: &[u8]) -> Option<OnDisk> {
    let words: Vec<&str> = std::str::from_utf8(text).ok()?.split_ascii_whitespace().collect();
    match words.as_slice() {
        [served] => Some(OnDisk { served: Some(served.parse().ok()?), reserved: None }),
        [served, "reserved", reserved] => {
            Some(OnDisk { served: Some(served.parse().ok()?), reserved: Some(reserved.parse().ok()?) })
        }
        _ => None,
    }
}

/// `SERIAL [reserved SERIAL] write NUMBER check CHECK`
fn parse_copy(text: &[u8]) -> Option<(OnDisk, u64)> {
    let (line, check) = std::str::from_utf8(text).ok()?.split_once(" check ")?;
    let (serials, number) = line.split_once(" write ")?;
    let (on_disk, number) = (parse_line(serials.as_bytes())?, number.parse().ok()?);
    (text == copy(on_disk, number) && check.trim_ascii() == check_of(line)).then_some((on_disk, number))
}

/// A copy of `on_disk`, which is the write of this number.
fn copy(on_disk: OnDisk, number: u64) -> Vec<u8> {
    let served = on_disk.served.unwrap_or_default();
    let reserved = on_disk.reserved.map_or(String::new(), |reserved| format!(" reserved {reserved}"));
    let line = format!("{served}{reserved} write {number}");
    let mut copy = format!("{line} check {}", check_of(&line)).into_bytes();
    copy.resize(COPY - 1, b' ');
    copy.push(b'\n');
    copy
}

fn check_of(line: &str) -> String {
    sha256(line.as_bytes())[..8].iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The last serial that is reserved when `serial` is served.
const fn ahead(serial: u32) -> u32 {
    match serial.wrapping_add(RESERVED) {
        0 => 1,
        ahead => ahead,
    }
}

/// The later of the file's serial and the one behind the last served; 0 is skipped, which some secondaries treat as none.
fn next_serial(file: u32, last: u32) -> u32 {
    let after = match last.wrapping_add(1) {
        0 => 1,
        after => after,
    };
    if is_later(file, last) { file } else { after }
}

/// RFC 1982 section 3.2 for 32 bits; serials exactly half the circle apart are not later.
const fn is_later(a: u32, b: u32) -> bool {
    let distance = a.wrapping_sub(b);
    distance != 0 && distance < 1 << 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn the_later_one_of_the_file_and_the_last_served() {
        for (file, last, expected) in [
            (5, 4, 5),
            (5, 5, 6),
            (5, 9, 10),
            (2_026_010_100, 2_025_123_107, 2_026_010_100),
            (1, u32::MAX, 1),
            (u32::MAX, u32::MAX, 1),
            (0, u32::MAX, 0),
            (3, 0x8000_0003, 0x8000_0004),
            (0x8000_0003, 3, 4),
        ] {
            assert_eq!(next_serial(file, last), expected, "file {file}, last {last}");
        }
    }

    proptest! {
        #[test]
        fn never_goes_back(file: u32, last: u32) {
            prop_assert!(is_later(next_serial(file, last), last));
        }
    }

    #[test]
    fn kind_12_what_a_kill_left_beside_the_serial_is_removed_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in
            [".serial.Ab3dE9.tmp", ".serial.000000.tmp", ".other.000000.tmp", ".serial.tmp", "serial.tmp"]
        {
            std::fs::write(at(name), "7\n").unwrap();
        }
        // That of a writer that is at work.
        let alive = std::fs::File::create(at(".serial.zzzzzz.tmp")).unwrap();
        rustix::fs::flock(&alive, rustix::fs::FlockOperation::LockExclusive).unwrap();
        drop(open(dir.path()));
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [".other.000000.tmp", ".serial.tmp", ".serial.zzzzzz.tmp", "serial.tmp"]);
        SerialFile::open(&at("no such folder"), None).unwrap();
    }

    fn open(state: &Path) -> SerialFile {
        SerialFile::open(state, None).unwrap()
    }

    /// Serves the next version, as the runtime does; gives its serial, and an error when it may not be served.
    fn serve(file: &mut SerialFile, in_zone_file: u32) -> io::Result<u32> {
        let serial = file.next(in_zone_file);
        file.reserve(serial, NOW)?;
        // The version may be served although the file could not be written.
        drop(file.served(serial, NOW));
        Ok(serial)
    }

    #[test]
    fn survives_a_restart_and_a_damaged_file() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("zones/example");
        let mut file = open(&state);
        assert_eq!(serve(&mut file, 7).unwrap(), 7);
        assert_eq!(file.next(7), 8);
        file.close();
        assert!(std::fs::read_to_string(state.join("serial")).unwrap().contains("7 write "));
        assert_eq!(open(&state).next(7), 8);
        let without_check = [b'7'; FILE_LEN];
        for damaged in
            [&b"seven\n"[..], b"", b"7 8\n", b"7 reserved\n", b"7 reserved -1\n", b"\xff7\n", &without_check]
        {
            std::fs::write(state.join("serial"), damaged).unwrap();
            assert_eq!(open(&state).next(7), 7, "{damaged:?}");
        }
        let mut file = open(&state);
        assert_eq!(serve(&mut file, 9).unwrap(), 9);
        file.close();
        assert_eq!(open(&state).next(1), 10);
    }

    /// A folder that cannot be written until it is given back: a file stands at its place.
    fn without_folder<T>(state: &Path, during: impl FnOnce() -> T) -> T {
        let away = state.with_extension("away");
        std::fs::rename(state, &away).unwrap();
        std::fs::write(state, "").unwrap();
        let result = during();
        std::fs::remove_file(state).unwrap();
        std::fs::rename(&away, state).unwrap();
        result
    }

    #[test]
    fn kind_10_no_serial_is_given_twice_although_the_disk_was_full() {
        // First serial, versions served before and while the disk is full, whether it has space again before the kill.
        for (first, before, during, mended) in [
            (7, 1, 3, true),
            (7, 1, 3, false),
            (7, 5, 16, false),
            (u32::MAX - 1, 1, 3, false),
            (2_027_010_100, 2, 16, true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let state = dir.path().join("example");
            let mut file = open(&state);
            let mut served: Vec<u32> = (0..before).map(|_| serve(&mut file, first).unwrap()).collect();
            without_folder(&state, || {
                served.extend((0..during).map(|_| serve(&mut file, first).unwrap()));
                assert!(file.next_try().is_some_and(|at| at > NOW));
                file.retry(NOW.plus(60));
                assert!(file.unwritten().is_some());
            });
            if mended {
                file.retry(NOW.plus(200));
                assert!(file.next_try().is_none() && file.unwritten().is_none());
            }
            // Killed: nobody closes the file.
            drop(file);
            let next = open(&state).next(first);
            assert!(served.iter().all(|serial| is_later(next, *serial)), "{served:?} then {next}");
        }
    }

    #[test]
    fn kind_10_when_the_reserve_is_used_up_nothing_new_is_served_until_the_disk_has_space() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("example");
        let mut file = open(&state);
        serve(&mut file, 7).unwrap();
        without_folder(&state, || {
            for number in 1..=RESERVED {
                assert_eq!(serve(&mut file, 7).unwrap(), 7 + number);
            }
            assert!(serve(&mut file, 7).is_err() && serve(&mut file, 1_000).is_err());
        });
        assert_eq!(serve(&mut file, 7).unwrap(), 7 + RESERVED + 1);
    }

    #[test]
    fn kind_10_a_serial_of_the_zone_file_beyond_the_reserve_is_written_before_it_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("example");
        let mut file = open(&state);
        serve(&mut file, 7).unwrap();
        // The zone's serial jumps: it is on disk as reserved before it is served, whatever comes then.
        let serial = file.next(5_000);
        file.reserve(serial, NOW).unwrap();
        assert!(is_later(open(&state).next(1), serial));
        without_folder(&state, || assert!(file.served(serial, NOW).is_err()));
        drop(file);
        assert!(is_later(open(&state).next(1), serial));
    }

    #[test]
    fn kind_10_a_copy_that_is_torn_or_changed_anywhere_leaves_the_other_and_a_later_serial() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("example");
        let mut file = open(&state);
        let served: Vec<u32> = (0..3).map(|_| serve(&mut file, 7).unwrap()).collect();
        let path = state.join("serial");
        let before = std::fs::read(&path).unwrap();
        assert_eq!(serve(&mut file, 7).unwrap(), 10);
        let after = std::fs::read(&path).unwrap();
        let changed: Vec<usize> = (0..FILE_LEN).filter(|at| before[*at] != after[*at]).collect();
        let (first, last) = (changed[0], changed[changed.len() - 1]);
        assert_eq!((before.len(), first / COPY), (FILE_LEN, last / COPY), "one copy is written at a time");
        for at in first..=last {
            let torn = [&after[..at], &before[at..]].concat();
            std::fs::write(&path, &torn).unwrap();
            let found = open(&state);
            assert!(
                !found.is_behind(10) && served.iter().all(|s| is_later(found.next(7), *s)),
                "torn at {at}"
            );
        }
        for at in 0..FILE_LEN {
            let mut flipped = after.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            let found = open(&state);
            assert!(found.may_be_behind() && is_later(found.next(7), 10), "changed at {at}");
        }
    }

    #[test]
    fn kind_10_a_serial_is_written_where_no_file_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("example");
        let mut file = open(&state);
        serve(&mut file, 7).unwrap();
        let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(state.join("serial")).unwrap());
        let before = inode();
        for serial in 8..40 {
            assert_eq!(serve(&mut file, 7).unwrap(), serial);
            assert!(open(&state).is_behind(serial - 1) && !open(&state).is_behind(serial));
        }
        file.close();
        assert_eq!((inode(), open(&state).next(7)), (before, 40));
        // Removed, or written by a person, while the process runs: it is made again.
        for harm in [None, Some("3\n")] {
            std::fs::remove_file(state.join("serial")).unwrap();
            if let Some(text) = harm {
                std::fs::write(state.join("serial"), text).unwrap();
            }
            let serial = serve(&mut file, 7).unwrap();
            assert!(open(&state).is_behind(serial - 1));
        }
    }

    #[test]
    fn kind_10_a_file_that_cannot_be_read_is_an_error_and_stays_as_it_is() {
        type Harm = fn(&Path);
        let harms: [(&str, Harm); 3] = [
            ("a folder", |state| std::fs::create_dir_all(state.join("serial")).unwrap()),
            ("a link to itself", |state| {
                std::fs::create_dir_all(state).unwrap();
                std::os::unix::fs::symlink("serial", state.join("serial")).unwrap();
            }),
            ("a file in place of the state folder", |state| std::fs::write(state, "").unwrap()),
        ];
        for (what, harm) in harms {
            let dir = tempfile::tempdir().unwrap();
            harm(&dir.path().join("example"));
            assert!(SerialFile::open(&dir.path().join("example"), Some(7)).is_err(), "{what}");
        }
    }

    #[test]
    fn kind_10_the_next_serial_is_behind_the_file_and_behind_what_this_process_serves() {
        for (content, served, next) in [
            (None, None, 7),
            (None, Some(500), 501),
            (Some("9\n"), Some(500), 501),
            (Some("600\n"), Some(500), 601),
            (Some("500 reserved 516\n"), Some(500), 517),
            (Some("damaged"), Some(500), 501),
        ] {
            let dir = tempfile::tempdir().unwrap();
            if let Some(content) = content {
                std::fs::write(dir.path().join("serial"), content).unwrap();
            }
            assert_eq!(SerialFile::open(dir.path(), served).unwrap().next(7), next, "{content:?} {served:?}");
        }
    }

    #[test]
    fn a_serial_that_was_reserved_and_not_served_is_written_once_and_given_back_at_an_orderly_end() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("example");
        let mut file = open(&state);
        file.reserve(7, NOW).unwrap();
        std::fs::remove_file(state.join("serial")).unwrap();
        file.reserve(7, NOW).unwrap();
        assert!(!state.join("serial").exists(), "reserved already");
        std::fs::write(state.join("serial"), "7 reserved 23\n").unwrap();
        file.close();
        assert!(!state.join("serial").exists());
        serve(&mut file, 7).unwrap();
        file.reserve(500, NOW).unwrap();
        file.close();
        assert_eq!(open(&state).next(7), 8);
    }

    #[test]
    fn the_first_version_after_a_takeover_never_has_the_serial_of_the_zone_file() {
        for (served, floor, in_file, next) in [
            (7, 1007, 1, 1008),
            (7, 1007, 1007, 1008),
            (7, 1007, 5000, 6000),
            (2_027_010_112, 2_027_011_112, 2_027_020_100, 2_027_021_100),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let state = dir.path().join("example");
            let mut file = open(&state);
            serve(&mut file, served).unwrap();
            file.close();
            raise_serial(&state, floor).unwrap();
            assert_eq!(last_serial(&state).unwrap(), Some(floor));
            let mut file = open(&state);
            // The version of before is served first.
            file.note(served);
            assert_eq!(serve(&mut file, in_file).unwrap(), next, "{served} {floor} {in_file}");
            // From then on the file's serial is taken as ever.
            assert_eq!(file.next(next + 5), next + 5);
            drop(file);
            assert_eq!(open(&state).next(next + 5000), next + 5000);
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_serial(dir.path()).unwrap(), None);
        raise_serial(&dir.path().join("new"), 7).unwrap();
        assert_eq!(open(&dir.path().join("new")).next(7), 8);
    }
}
