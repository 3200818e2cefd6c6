//! Requests that were written later than the clock says: the clock is wrong now, or it ran ahead when they were written.
//!
//! Nothing is made by a clock that is wrong. But when the clock keeps its time for an hour, and nothing else contradicts it, then it
//! was the request that had a wrong time, and the request is set aside. The hour begins with a note beside the request, so that
//! it is kept over restarts.

use std::fs;
use std::path::{Path, PathBuf};

use keystore::durable;
use keystore::outbox::{OpenRequest, OutboxError};
use keystore::time::Timestamp;

use super::outbox::{future_path, set_aside};
use super::{Closed, TickError};

/// Seconds for which the clock must keep its time.
const PATIENCE: u64 = 3600;

/// Takes the requests of ours that were written later than `now` out of `open` once the clock has proved right, and gives their new
/// places; an error until then. `in_force` is the inception of the first bundle of the SKR in force: no time before that can be
/// right.
pub(super) fn set_aside_requests_of_the_future(
    open: &mut Vec<OpenRequest>,
    in_force: Option<Timestamp>,
    now: Timestamp,
) -> Result<Vec<(PathBuf, Closed)>, TickError> {
    let is_ahead = |request: &OpenRequest| request.ours && request.written > now;
    for request in open.iter().filter(|request| !is_ahead(request)) {
        // The clock has come back to its time; the note may not be there.
        let _ = fs::remove_file(future_path(&request.path));
    }
    if let Some(request) = open.iter().find(|request| is_ahead(request))
        && let Some(begin) = in_force.filter(|begin| *begin > now)
    {
        let why = format!(
            "{} was written later, and the SKR in force begins at {begin}: the clock is behind",
            request.path.display()
        );
        return Err(TickError::Clock { now, why });
    }
    let mut aside = Vec::new();
    for request in open.iter().filter(|request| is_ahead(request)) {
        let until = noted_since(&request.path, now)?.plus(PATIENCE);
        if now < until {
            let why = format!(
                "{} was written later, at {}; if the clock was ahead at that time, it is set aside at {until}, or at once when you remove it",
                request.path.display(),
                request.written
            );
            return Err(TickError::Clock { now, why });
        }
        let fail = |source| OutboxError { path: request.path.clone(), source };
        aside.push((set_aside(&request.path).map_err(fail)?, Closed::FromTheFuture));
    }
    open.retain(|request| !is_ahead(request));
    Ok(aside)
}

/// Since when the clock has been before the time of the request without going back once more; notes it, if that is now.
fn noted_since(request: &Path, now: Timestamp) -> Result<Timestamp, TickError> {
    let note = future_path(request);
    let noted = fs::read_to_string(&note).ok().and_then(|text| Timestamp::parse_stamp(text.trim()));
    if let Some(since) = noted.filter(|since| *since <= now) {
        return Ok(since);
    }
    durable::write(&note, format!("{now}\n").as_bytes(), 0o644)
        .map_err(|source| OutboxError { path: note.clone(), source })?;
    Ok(now)
}
