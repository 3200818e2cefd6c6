//! The audit log: one JSON object a line, each with the SHA-256 of the line before, so that a changed, removed or
//! inserted line shows.

use keystore::check::CheckId;
use keystore::open::{self, Writing};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keystore::durable;
use keystore::store::digest;
use keystore::time::Timestamp;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::files::hex;
use crate::order::Order;

/// The `previous` of the very first line.
const NO_LINE: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Longest line that is looked for at the end of the log, in octets.
const MAX_LINE: u64 = 1024 * 1024;

/// How long another writer is waited for.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// What a line of the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AuditEvent {
    /// The loader runs.
    Started,
    /// The loader has ended.
    Stopped,
    /// An SKR came into force.
    Accepted,
    /// A file was rejected.
    Rejected,
    /// An SKR is in force already.
    Unchanged,
    /// A person has ordered something that changes what is in force; what came of it follows.
    Ordered,
    /// An older generation is in force again.
    RolledBack,
    /// An order to go back was refused.
    RollbackRefused,
    /// A KSK is trusted from now on.
    TrustLearnt,
    /// A KSK was to be trusted, and could not be written down.
    TrustFailed,
    /// The clock was found right although earlier lines are later: it had run ahead when they were written.
    ClockTaken,
    /// A word that this version does not know.
    #[serde(other)]
    Unknown,
}

impl AuditEvent {
    /// The word in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Unchanged => "unchanged",
            Self::Ordered => "ordered",
            Self::RolledBack => "rolled-back",
            Self::RollbackRefused => "rollback-refused",
            Self::TrustLearnt => "trust-learnt",
            Self::TrustFailed => "trust-failed",
            Self::ClockTaken => "clock-taken",
            Self::Unknown => "unknown",
        }
    }

    /// True for what says how a file, or a rollback, fared.
    #[must_use]
    pub const fn is_outcome(self) -> bool {
        matches!(self, Self::Accepted | Self::Unchanged | Self::Rejected | Self::RolledBack)
    }
}

impl fmt::Display for AuditEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Seconds since 1970 (UTC).
    pub time: u64,
    /// What happened.
    pub event: AuditEvent,
    /// The zone, when it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub zone: Option<String>,
    /// Name of the dropped file, escaped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// SHA-256 of the dropped file, in hex.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
    /// Number of the generation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub generation: Option<u64>,
    /// SHA-256 of the certificate of the KSK operator who signed the file, in hex.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signer: Option<String>,
    /// IDs of the checks that failed or warned.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub checks: Vec<String>,
    /// The generation whose content a rollback puts in force again, as `generation`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub back_to: Option<u64>,
    /// Number of the user who ordered it; nobody orders a dropped file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<u32>,
    /// Name of that user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// IDs of the checks that were overruled; of an `ordered` line: that may be.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub forced: Vec<String>,
    /// Why, in the words of who ordered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The DS record data of a KSK that was learnt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub anchor: Option<String>,
    /// SHA-256 of the line before, without its line end, in hex; set by [`Audit::append`].
    #[serde(default)]
    pub previous: String,
}

impl Record {
    /// An event without details.
    #[must_use]
    pub fn new(now: Timestamp, event: AuditEvent) -> Self {
        Self {
            time: now.secs(),
            event,
            zone: None,
            file: None,
            sha256: None,
            generation: None,
            signer: None,
            checks: Vec::new(),
            back_to: None,
            uid: None,
            user: None,
            forced: Vec::new(),
            reason: None,
            anchor: None,
            previous: String::new(),
        }
    }

    /// The same, with who ordered it and why.
    #[must_use]
    pub fn ordered(self, order: Option<&Order>, forced: &[CheckId]) -> Self {
        let Some(order) = order else { return self };
        Self {
            uid: Some(order.who.uid),
            user: order.who.name.clone(),
            forced: forced.iter().map(ToString::to_string).collect(),
            reason: order.reason.clone(),
            ..self
        }
    }
}

/// The log, open for appending.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: File,
    /// Octets of whole lines.
    len: u64,
    /// Some of them are not synced yet.
    dirty: bool,
    previous: String,
    last_time: Option<Timestamp>,
}

/// Why the log does not hold together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Error of the system call that failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The log.
        path: PathBuf,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// Whoever was to see the lines took no more.
    #[error(transparent)]
    Output(io::Error),
    /// A line that is not what the line behind it says, or no line of this log.
    #[error("{path}:{line}: {what}", path = path.display())]
    Broken {
        /// The log.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What does not fit.
        what: &'static str,
    },
}

impl Audit {
    /// Opens the log, or begins it. A last line without line end (the machine stopped while it was written) is moved to
    /// a file of its own beside the log, `NAME.torn-N`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open::own(path, 0o640, Writing::Append)?;
        let mut audit = Self {
            path: path.to_owned(),
            file,
            len: 0,
            dirty: false,
            previous: NO_LINE.to_owned(),
            last_time: None,
        };
        audit.locked(Self::repair)?;
        Ok(audit)
    }

    /// Does `work` while no other process writes: the daemon keeps the log open, and commands write to it too. Whoever may read the log can
    /// keep the lock, so it is not waited for without end.
    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        let mut tries = LOCK_TRIES;
        loop {
            match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
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
        let result = work(self);
        flock(&self.file, FlockOperation::Unlock)?;
        result
    }

    /// Appends a line and waits until it is on disk. When that fails the log is as it was before.
    pub fn append(&mut self, record: Record) -> io::Result<()> {
        self.write(record, true)
    }

    /// Appends a line that [`Audit::sync`], or the next [`Audit::append`], makes sure of.
    pub fn append_unsynced(&mut self, record: Record) -> io::Result<()> {
        self.write(record, false)?;
        self.dirty = true;
        Ok(())
    }

    /// Waits until all lines are on disk.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.dirty {
            self.file.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }

    fn write(&mut self, record: Record, sync: bool) -> io::Result<()> {
        self.locked(|audit| audit.write_locked(record, sync))
    }

    fn write_locked(&mut self, mut record: Record, sync: bool) -> io::Result<()> {
        // Another process has written; a log that has become shorter shows as such.
        if self.file.metadata()?.len() > self.len {
            self.repair()?;
        }
        record.previous.clone_from(&self.previous);
        let mut line = serde_json::to_vec(&record)?;
        let this = hex(&digest(&line));
        line.push(b'\n');
        let written = self.file.write_all(&line);
        let written = written.and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.dirty &= !sync;
        self.len += line.len() as u64;
        self.previous = this;
        self.last_time = Some(Timestamp::from_secs(record.time));
        Ok(())
    }

    /// The time of the last line.
    #[must_use]
    pub const fn last_time(&self) -> Option<Timestamp> {
        self.last_time
    }

    /// Finds the last whole line, and moves away what lies behind it.
    fn repair(&mut self) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        let from = end.saturating_sub(2 * MAX_LINE);
        let mut tail = Vec::new();
        self.file.seek(SeekFrom::Start(from))?;
        (&self.file).take(2 * MAX_LINE).read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        self.len = from + whole as u64;
        if whole < tail.len() {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let aside = (1u32..)
                .map(|n| self.path.with_file_name(format!("{name}.torn-{n}")))
                .find(|p| p.symlink_metadata().is_err())
                .ok_or(io::ErrorKind::AlreadyExists)?;
            durable::write(&aside, &tail[whole..], 0o640)?;
            self.file.set_len(self.len)?;
            self.file.sync_all()?;
            tracing::warn!(
                log = %self.path.display(), aside = %aside.display(),
                "the last line of the audit log was cut off; moved aside"
            );
        }
        if let Some(line) = tail[..whole].strip_suffix(b"\n") {
            let line = &line[line.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1)..];
            self.previous = hex(&digest(line));
            self.last_time =
                serde_json::from_slice::<Record>(line).ok().map(|r| Timestamp::from_secs(r.time));
        }
        Ok(())
    }
}

/// The lines near the end of the log (2 MiB), oldest first. Nothing is checked; what does not read is left out.
pub fn tail(path: &Path) -> io::Result<Vec<Record>> {
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(2 * MAX_LINE);
    file.seek(SeekFrom::Start(from))?;
    let mut octets = Vec::new();
    file.take(2 * MAX_LINE).read_to_end(&mut octets)?;
    // The first one is cut where the log is longer, and does not read.
    Ok(octets.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// A log that holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Number of lines.
    pub lines: u64,
    /// SHA-256 of the last line, in hex: whoever keeps it elsewhere sees when lines are missing at the end.
    pub last: String,
}

/// Reads the whole log and checks that each line names the one before it; gives the number of lines.
pub fn verify(path: &Path) -> Result<u64, AuditError> {
    Ok(read(path, |_, _| Ok(()))?.lines)
}

/// The same, and hands each line to `visit`, as it stands in the file and as it was read, once it is known to follow on
/// the one before. An error of `visit` ends it.
pub fn read(
    path: &Path,
    mut visit: impl FnMut(&[u8], &Record) -> io::Result<()>,
) -> Result<Chain, AuditError> {
    let io = |source| AuditError::Io { path: path.to_owned(), source };
    let mut reader = BufReader::new(File::open(path).map_err(io)?);
    let (mut previous, mut lines) = (NO_LINE.to_owned(), 0);
    loop {
        let mut line = Vec::new();
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(io)? == 0 {
            return Ok(Chain { lines, last: previous });
        }
        lines += 1;
        let broken = |what| AuditError::Broken { path: path.to_owned(), line: lines, what };
        let line = line.strip_suffix(b"\n").ok_or_else(|| broken("the line is cut off"))?;
        let record: Record =
            serde_json::from_slice(line).map_err(|_| broken("the line is none of this log"))?;
        if record.previous != previous {
            return Err(broken("the line before was changed, removed or inserted"));
        }
        visit(line, &record).map_err(AuditError::Output)?;
        previous = hex(&digest(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn t(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_changed_line_shows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        for n in 0..3 {
            let mut audit = Audit::open(&path).unwrap();
            audit.append(Record { generation: Some(n), ..Record::new(t(n), AuditEvent::Accepted) }).unwrap();
        }
        assert_eq!(verify(&path).unwrap(), 3);
        let good = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = good.lines().collect();
        for (bad, at) in [
            (good.replacen("\"generation\":1", "\"generation\":7", 1), 3),
            (format!("{}\n{}\n", lines[0], lines[2]), 2),
            (format!("{}\n{}\n", lines[1], lines[2]), 1),
            (format!("{}\n{}\n{}\n", lines[0], lines[0], lines[1]), 2),
        ] {
            fs::write(&path, bad).unwrap();
            match verify(&path) {
                Err(AuditError::Broken { line, .. }) => assert_eq!(line, at),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn two_writers_make_one_chain() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let write = |n: u64| {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut audit = Audit::open(&path).unwrap();
                for i in 0..50 {
                    audit
                        .append(Record {
                            generation: Some(n * 100 + i),
                            ..Record::new(t(1), AuditEvent::Accepted)
                        })
                        .unwrap();
                }
            })
        };
        for writer in [write(0), write(1), write(2)] {
            writer.join().unwrap();
        }
        assert_eq!(verify(&path).unwrap(), 150);
        // A process that keeps the lock for ever does not stop the loader for ever.
        let mut audit = Audit::open(&path).unwrap();
        let reader = File::open(&path).unwrap();
        flock(&reader, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(
            audit.append(Record::new(t(2), AuditEvent::Accepted)).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(reader);
        audit.append(Record::new(t(2), AuditEvent::Accepted)).unwrap();
        assert_eq!(verify(&path).unwrap(), 151);
    }

    #[test]
    fn a_torn_line_is_moved_aside_at_any_octet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        audit.append(Record::new(t(1), AuditEvent::Started)).unwrap();
        let first = fs::read(&path).unwrap();
        audit.append(Record::new(t(2), AuditEvent::Stopped)).unwrap();
        let both = fs::read(&path).unwrap();
        for cut in first.len()..both.len() {
            fs::write(&path, &both[..cut]).unwrap();
            let mut audit = Audit::open(&path).unwrap();
            assert_eq!(audit.last_time(), Some(t(1)));
            assert_eq!(fs::read(&path).unwrap(), first);
            audit.append(Record::new(t(3), AuditEvent::Started)).unwrap();
            assert_eq!(verify(&path).unwrap(), 2, "cut at {cut}");
        }
        let torn = fs::read_dir(dir.path()).unwrap().count() - 1;
        assert_eq!(torn, both.len() - first.len() - 1, "each torn end is kept");
    }
}
