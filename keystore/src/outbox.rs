//! The requests in the outbox: what lies there, and how each tells what it asks for.
//!
//! ```text
//! outbox/ZONE/<start>.ksr            an open request; its last line says what it is for
//!             answered/<start>.ksr   one that needs no answer any more
//! ```

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::exchange::bind::MAX_OCTETS;
use crate::keys::plan::Interval;
use crate::time::Timestamp;

/// The outbox, or a request in it, cannot be read. That is not an empty one.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = path.display())]
pub struct OutboxError {
    /// File or folder.
    pub path: PathBuf,
    /// Error of the system call that failed.
    pub source: io::Error,
}

/// A request that lies in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    /// The file.
    pub path: PathBuf,
    /// Start of the time it asks for.
    pub start: Timestamp,
    /// End of the time it asks for; what the KSK side gives to `sign -e`.
    pub end: Timestamp,
    /// Time at which the request was written.
    pub written: Timestamp,
    /// True when the request timer has written the request; an operator may put others into the outbox.
    pub ours: bool,
}

/// The open request that counts: more than one is there only when somebody put them there.
#[must_use]
pub fn newest(open: &[OpenRequest]) -> Option<&OpenRequest> {
    open.iter().max_by_key(|request| request.written)
}

/// The text behind `by` in the last line of a request of `program`: it names the time that the request asks for. BIND ignores it.
#[must_use]
pub fn footer(program: &str, interval: Interval, now: Timestamp) -> String {
    format!("{program} for {} to {} written {now}", interval.start, interval.end)
}

/// Reads [`footer`] back from the last line of a request.
fn parse_footer(octets: &[u8]) -> Option<(Timestamp, Timestamp, Timestamp)> {
    let last = octets.trim_ascii_end().rsplit(|octet| *octet == b'\n').next()?;
    let line = String::from_utf8_lossy(last);
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [.., "for", start, "to", end, "written", written] = words.as_slice() else { return None };
    Some((Timestamp::parse_stamp(start)?, Timestamp::parse_stamp(end)?, Timestamp::parse_stamp(written)?))
}

/// The requests in the outbox of a zone. One whose last line is not ours counts from the time in its name, for one period.
pub fn open_requests(outbox: &Path, period: u32) -> Result<Vec<OpenRequest>, OutboxError> {
    let fail = |path: &Path, source| OutboxError { path: path.to_owned(), source };
    let entries = match fs::read_dir(outbox) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(outbox, e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| fail(outbox, e))?.path();
        let stem = path.file_stem().and_then(|s| s.to_str()).and_then(Timestamp::parse_stamp);
        let is_request = path.extension().is_some_and(|e| e == "ksr");
        let (Some(start), true, Ok(true)) = (stem, is_request, path.symlink_metadata().map(|m| m.is_file()))
        else {
            continue;
        };
        let octets = read_request(&path).map_err(|e| fail(&path, e))?;
        let ours = parse_footer(&octets);
        let (start, end, written) = ours.unwrap_or((start, start.plus(u64::from(period)), start));
        out.push(OpenRequest { path, start, end, written, ours: ours.is_some() });
    }
    Ok(out)
}

/// The octets of a request; of one that is larger than any that is read, the beginning.
pub fn read_request(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    fs::File::open(path)?.take(MAX_OCTETS as u64).read_to_end(&mut octets)?;
    Ok(octets)
}
