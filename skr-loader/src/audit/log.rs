//! The writing side: lines are appended under a lock, since the daemon keeps the log open and commands write to it too.
//!
//! ```text
//! audit.jsonl full ─▶ audit-N.jsonl is a second name of it ─▶ a new file, with its first line, takes the name audit.jsonl
//! ```
//! After a crash in between `audit.jsonl` has two names; the second one is taken away then, and the file is full still.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keystore::durable;
use keystore::open::{self, OpenError, Writing};
use keystore::store::digest;
use keystore::time::Timestamp;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;

use super::{AuditEvent, MAX_LINE, NO_LINE, Record, parts};
use crate::files::hex;

/// How long another writer is waited for.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// How often the file is opened anew when another process has put a new one in its place.
const OPEN_TRIES: u32 = 5;
const MODE: u32 = 0o640;
/// Octets that are enough for nearly every line.
const ROOM: u64 = 4096;

/// The log, for appending.
#[derive(Debug)]
pub struct AuditWriter {
    path: PathBuf,
    /// The file; `None` = it could not be opened yet, and is at the next line.
    log: Option<Log>,
    /// Octets after which a file is full.
    max_octets: u64,
}

/// The file that is written to.
#[derive(Debug)]
struct Log {
    file: File,
    /// Octets of whole lines.
    len: u64,
    /// Some of them are not synced yet.
    dirty: bool,
    previous: String,
    last_time: Option<Timestamp>,
}

impl AuditWriter {
    /// The log at `path`, which is opened at the first line: so that whatever has its name keeps no daemon from starting.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, log: None, max_octets: u64::MAX }
    }

    /// Opens the log, or begins it. A last line without line end (the machine stopped while it was written) is moved to
    /// a file of its own beside the log, `NAME.torn-N`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut audit = Self::new(path.to_owned());
        audit.make_ready()?;
        Ok(audit)
    }

    /// True when the file that has the name of the log is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.has_name(&self.path))
    }

    /// Opens the log where it is not open. Where another file has its name, since it was full or taken away, that is opened: what comes now
    /// follows on the last line all the same.
    pub fn make_ready(&mut self) -> io::Result<()> {
        if !self.is_ready() {
            let previous = self.log.as_ref().map(|log| log.previous.clone());
            self.log = Some(Log::open(&self.path, previous)?);
        }
        Ok(())
    }

    /// Opens the log as [`AuditWriter::make_ready`] does, and makes sure that the disk has room for a line, where the file system can tell.
    pub fn make_room(&mut self) -> io::Result<()> {
        self.make_ready()?;
        let Some(log) = &self.log else { return Ok(()) };
        match fallocate(&log.file, FallocateFlags::KEEP_SIZE, log.len, ROOM) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the octets after which a file of the log is full.
    pub const fn set_limit(&mut self, max_octets: u64) {
        self.max_octets = max_octets;
    }

    /// Appends a line and waits until it is on disk. When that fails the log is as it was before.
    pub fn append(&mut self, record: Record) -> io::Result<()> {
        self.write(record, true)
    }

    /// Appends a line that [`AuditWriter::sync`], or the next [`AuditWriter::append`], makes sure of.
    pub fn append_unsynced(&mut self, record: Record) -> io::Result<()> {
        self.write(record, false)
    }

    /// Waits until all lines are on disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.log.as_mut().map_or(Ok(()), Log::sync)
    }

    /// The time of the last line.
    #[must_use]
    pub fn last_time(&self) -> Option<Timestamp> {
        self.log.as_ref()?.last_time
    }

    fn write(&mut self, record: Record, sync: bool) -> io::Result<()> {
        for _ in 0..OPEN_TRIES {
            self.make_ready()?;
            let Some(log) = &mut self.log else { break };
            log.lock()?;
            if !log.has_name(&self.path) {
                log.unlock()?;
                continue;
            }
            let written = log.write(&record, sync, &self.path);
            if written.is_ok() && log.len >= self.max_octets {
                match log.begin_anew(&self.path, Timestamp::from_secs(record.time)) {
                    Ok(new) => {
                        // Closing the old file lets its lock go.
                        self.log = Some(new);
                        return Ok(());
                    }
                    Err(error) => {
                        tracing::error!(log = %self.path.display(), %error, "the full audit log is written to further; the next line tries again to begin another");
                    }
                }
            }
            let unlocked = log.unlock();
            return written.and(unlocked);
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "others replace the audit log again and again"))
    }
}

impl Log {
    /// Opens the file at `path`. An empty one follows on `previous`; where that is not known, on the full one before it.
    fn open(path: &Path, previous: Option<String>) -> io::Result<Self> {
        let file = match open::own(path, MODE, Writing::Append) {
            Err(OpenError::Linked(_)) => {
                undo_second_name(path)?;
                open::own(path, MODE, Writing::Append)?
            }
            opened => opened?,
        };
        let is_known = previous.is_some();
        let previous = previous.unwrap_or_else(|| NO_LINE.to_owned());
        let mut log = Self { file, len: 0, dirty: false, previous, last_time: None };
        log.lock()?;
        let mut read = log.repair(path);
        if read.is_ok() && log.len == 0 && !is_known {
            read = log.follow_on_full(path);
        }
        log.unlock()?;
        read.map(|()| log)
    }

    /// The last line of the newest full file, where the file itself has none.
    fn follow_on_full(&mut self, path: &Path) -> io::Result<()> {
        let Some(number) = parts::numbers(path)?.last().copied() else { return Ok(()) };
        let (mut file, metadata) = open::for_reading(&parts::full(path, number), open::Links::Refuse)?;
        if let Some(line) = last_line(&tail_of(&mut file, metadata.len())?) {
            self.previous = hex(&digest(line));
        }
        Ok(())
    }

    /// Nobody else writes until [`Log::unlock`]. Whoever may read the log can keep the lock, so it is not waited for without end.
    fn lock(&self) -> io::Result<()> {
        let mut tries = LOCK_TRIES;
        loop {
            match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::WOULDBLOCK) if tries > 0 => {
                    tries -= 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process keeps it locked"));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(flock(&self.file, FlockOperation::Unlock)?)
    }

    /// True while `path` is a name of this very file.
    fn has_name(&self, path: &Path) -> bool {
        let inode = |m: std::fs::Metadata| (m.dev(), m.ino());
        let (ours, named) = (self.file.metadata().map(inode), path.symlink_metadata().map(inode));
        // An error says nothing of who has the name.
        match (ours, named) {
            (Ok(ours), Ok(named)) => ours == named,
            (_, Err(error)) => error.kind() != io::ErrorKind::NotFound,
            (Err(_), _) => true,
        }
    }

    fn write(&mut self, record: &Record, sync: bool, path: &Path) -> io::Result<()> {
        // Another process has written; a log that has become shorter shows as such.
        if self.file.metadata()?.len() > self.len {
            self.repair(path)?;
        }
        let (line, this) = line_of(record, &self.previous)?;
        let written = self.file.write_all(&line);
        let written = written.and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.dirty = !sync;
        self.len += line.len() as u64;
        self.previous = this;
        self.last_time = Some(Timestamp::from_secs(record.time));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.dirty {
            self.file.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Gives the full file its number, and a new one, which follows on its last line, its name. The name is never free in between, so that
    /// nobody can take it.
    fn begin_anew(&mut self, path: &Path, now: Timestamp) -> io::Result<Self> {
        self.sync()?;
        let numbers = parts::numbers(path)?;
        let full = parts::full(path, numbers.last().map_or(1, |last| last.saturating_add(1)));
        let file = full.file_name().map(|name| name.to_string_lossy().into_owned());
        let (line, _) = line_of(&Record { file, ..Record::new(now, AuditEvent::Continued) }, &self.previous)?;
        std::fs::hard_link(path, &full)?;
        if let Err(error) = durable::write(path, &line, MODE)
            && self.has_name(path)
        {
            let _ = std::fs::remove_file(&full);
            return Err(error);
        }
        tracing::info!(log = %path.display(), full = %full.display(), "the audit log was full; it goes on in a new file");
        Self::open(path, None)
    }

    /// Finds the last whole line, and moves away what lies behind it.
    fn repair(&mut self, path: &Path) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        let tail = tail_of(&mut self.file, end)?;
        let whole = tail.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        self.len = end - (tail.len() - whole) as u64;
        if whole < tail.len() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let aside = (1u32..)
                .map(|n| path.with_file_name(format!("{name}.torn-{n}")))
                .find(|p| p.symlink_metadata().is_err())
                .ok_or(io::ErrorKind::AlreadyExists)?;
            durable::write_new(&aside, &tail[whole..], MODE)?;
            self.file.set_len(self.len)?;
            self.file.sync_all()?;
            tracing::warn!(
                log = %path.display(), aside = %aside.display(),
                "the last line of the audit log was cut off; moved aside"
            );
        }
        if let Some(line) = last_line(&tail[..whole]) {
            self.previous = hex(&digest(line));
            self.last_time =
                serde_json::from_slice::<Record>(line).ok().map(|r| Timestamp::from_secs(r.time));
        }
        Ok(())
    }
}

/// The line of a record that follows on `previous`, with its line end, and its own SHA-256.
fn line_of(record: &Record, previous: &str) -> io::Result<(Vec<u8>, String)> {
    let mut line = serde_json::to_vec(&Record { previous: previous.to_owned(), ..record.clone() })?;
    let this = hex(&digest(&line));
    line.push(b'\n');
    Ok((line, this))
}

fn tail_of(file: &mut File, end: u64) -> io::Result<Vec<u8>> {
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(end.saturating_sub(2 * MAX_LINE)))?;
    file.take(2 * MAX_LINE).read_to_end(&mut tail)?;
    Ok(tail)
}

/// The last line of octets that end in a line end, without that.
fn last_line(whole: &[u8]) -> Option<&[u8]> {
    let line = whole.strip_suffix(b"\n")?;
    Some(&line[line.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1)..])
}

/// Takes the second name away that a crash has left when the file had just been found full.
fn undo_second_name(path: &Path) -> io::Result<()> {
    let inode = |m: std::fs::Metadata| (m.dev(), m.ino());
    let ours = inode(path.symlink_metadata()?);
    for number in parts::numbers(path)? {
        let full = parts::full(path, number);
        if full.symlink_metadata().map(inode).is_ok_and(|found| found == ours) {
            durable::remove(&full)?;
        }
    }
    Ok(())
}
