//! The reading side: the whole chain, over all files of the log, or the lines near its end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use keystore::open::{self, Links};
use keystore::store::digest;

use super::{MAX_LINE, NO_LINE, Record, parts};
use crate::files::hex;

/// Octets that are looked at near the end of the log.
const TAIL: u64 = 2 * MAX_LINE;

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

/// A log that holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditChain {
    /// Number of lines.
    pub lines: u64,
    /// SHA-256 of the last line, in hex: whoever keeps it elsewhere sees when lines are missing at the end.
    pub last: String,
    /// The oldest file that is there, where older ones were taken away: the SHA-256 of the last line in those, in hex.
    pub follows_on: Option<String>,
}

/// Reads the whole log and checks that each line names the one before it; gives the number of lines.
pub fn verify(path: &Path) -> Result<u64, AuditError> {
    Ok(read(path, |_, _| Ok(()))?.lines)
}

/// The same, and hands each line to `visit`, as it stands in the file and as it was read, once it is known to follow on
/// the one before. An error of `visit` ends it. The full files beside `path` are read before it, in the order of their numbers; the oldest
/// of them may have been taken away, none in between.
pub fn read(
    path: &Path,
    mut visit: impl FnMut(&[u8], &Record) -> io::Result<()>,
) -> Result<AuditChain, AuditError> {
    // Opened before the others are listed: when it is found full meanwhile, it is among them too, and counts once.
    let newest = open(path)?;
    let numbers = parts::numbers(path).map_err(|source| AuditError::Io { path: path.to_owned(), source })?;
    let mut files = Vec::new();
    for number in &numbers {
        let full = parts::full(path, *number);
        let file = open(&full)?;
        if !is_same(&file, &newest) {
            files.push((full, file));
        }
    }
    let may_lack_older = numbers.first().is_some_and(|number| *number > 1);
    files.push((path.to_owned(), newest));
    let mut chain = AuditChain { lines: 0, last: NO_LINE.to_owned(), follows_on: None };
    for (n, (path, file)) in files.into_iter().enumerate() {
        let begins_anew = n == 0 && may_lack_older;
        read_file(&path, file, begins_anew, &mut chain, &mut visit)?;
    }
    Ok(chain)
}

/// Continues the chain by the lines of one file. Where it `begins_anew`, its first line may name any line before.
fn read_file(
    path: &Path,
    file: File,
    begins_anew: bool,
    chain: &mut AuditChain,
    visit: &mut impl FnMut(&[u8], &Record) -> io::Result<()>,
) -> Result<(), AuditError> {
    let io = |source| AuditError::Io { path: path.to_owned(), source };
    let mut reader = BufReader::new(file);
    let mut number = 0;
    loop {
        let mut line = Vec::new();
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(io)? == 0 {
            return Ok(());
        }
        number += 1;
        let broken = |what| AuditError::Broken { path: path.to_owned(), line: number, what };
        let line = line.strip_suffix(b"\n").ok_or_else(|| broken("the line is cut off"))?;
        let record: Record =
            serde_json::from_slice(line).map_err(|_| broken("the line is none of this log"))?;
        if begins_anew && number == 1 {
            chain.follows_on = Some(record.previous.clone());
        } else if record.previous != chain.last {
            return Err(broken("the line before was changed, removed or inserted"));
        }
        visit(line, &record).map_err(AuditError::Output)?;
        chain.lines += 1;
        chain.last = hex(&digest(line));
    }
}

/// The lines near the end of the log (2 MiB), oldest first; where its newest file is shorter, those at the end of the full one before it
/// too. Nothing is checked; what does not read is left out.
pub fn tail(path: &Path) -> io::Result<Vec<Record>> {
    let (mut records, whole) = tail_of_file(path)?;
    if whole
        && let Some(last) = parts::numbers(path)?.last()
        && let Ok((mut before, _)) = tail_of_file(&parts::full(path, *last))
    {
        before.append(&mut records);
        records = before;
    }
    Ok(records)
}

/// The lines near the end of a file, and true when these are all.
fn tail_of_file(path: &Path) -> io::Result<(Vec<Record>, bool)> {
    let (mut file, metadata) = open::for_reading(path, Links::Refuse)?;
    let from = metadata.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut octets = Vec::new();
    file.take(TAIL).read_to_end(&mut octets)?;
    // The first one is cut where the log is longer, and does not read.
    let records = octets.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    Ok((records.collect(), from == 0))
}

/// Never waits for what somebody has put in the place of the log, and follows no link.
fn open(path: &Path) -> Result<File, AuditError> {
    let opened = open::for_reading(path, Links::Refuse);
    let io = |error: open::OpenError| AuditError::Io { path: path.to_owned(), source: error.into() };
    opened.map(|(file, _)| file).map_err(io)
}

fn is_same(one: &File, other: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = |file: &File| file.metadata().ok().map(|m| (m.dev(), m.ino()));
    inode(one).is_some() && inode(one) == inode(other)
}
