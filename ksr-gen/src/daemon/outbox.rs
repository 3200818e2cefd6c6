//! The requests in the outbox: what lies there, how each tells what it asks for, and where it goes when it needs no answer any more.
//!
//! ```text
//! outbox/ZONE/<start>.ksr            an open request; its last line says what it is for
//!             answered/<start>.ksr   one that needs no answer any more
//! ```

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use keystore::durable;
use keystore::exchange::bind::MAX_OCTETS;
use keystore::keys::plan::Interval;
use keystore::time::Timestamp;

use super::TickError;
use crate::PROGRAM;

/// Folder below `outbox/ZONE/` for requests that need no answer any more.
const ANSWERED: &str = "answered";

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
    /// True when this timer has written the request; an operator may put others into the outbox.
    pub ours: bool,
}

/// The open request that counts: more than one is there only when somebody put them there.
pub(super) fn newest(open: &[OpenRequest]) -> Option<&OpenRequest> {
    open.iter().max_by_key(|request| request.written)
}

/// The text behind `by` in the last line of a request: it names the time that the request asks for. BIND ignores it.
pub(super) fn footer(interval: Interval, now: Timestamp) -> String {
    format!("{PROGRAM} for {} to {} written {now}", interval.start, interval.end)
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
pub(super) fn open_requests(outbox: &Path, period: u32) -> Result<Vec<OpenRequest>, TickError> {
    let fail = |path: &Path, source| TickError::Outbox { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(outbox) {
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
pub(super) fn read_request(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    fs::File::open(path)?.take(MAX_OCTETS as u64).read_to_end(&mut octets)?;
    Ok(octets)
}

/// Moves a request to `answered/`, the mail with it; gives its new place. One of that name that lies there stays.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let (Some(dir), Some(stem)) = (path.parent(), path.file_stem().and_then(|stem| stem.to_str())) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let answered = dir.join(ANSWERED);
    durable::create_dir_durable(&answered, 0o755)?;
    let mut number = 1;
    let to = loop {
        let name = if number == 1 { format!("{stem}.ksr") } else { format!("{stem}.{number}.ksr") };
        let to = answered.join(name);
        match durable::rename_new(path, &to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
            other => break other.map(|()| to)?,
        }
    };
    // The mail and the note are made again where they are needed, so that it does not matter when they cannot be moved.
    let _ = fs::rename(mail_path(path), mail_path(&to));
    let _ = fs::remove_file(told_path(path));
    let _ = fs::remove_file(future_path(path));
    Ok(to)
}

/// The mail beside a request.
pub(super) fn mail_path(request: &Path) -> PathBuf {
    request.with_extension("eml")
}

/// The note of the levels told, beside a request.
pub(super) fn told_path(request: &Path) -> PathBuf {
    request.with_extension("told")
}

/// The note of since when the clock has been before the time of a request, beside the request.
pub(super) fn future_path(request: &Path) -> PathBuf {
    request.with_extension("future")
}
