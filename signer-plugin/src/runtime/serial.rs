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
mod tests;
