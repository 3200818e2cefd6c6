//! The timer that keeps requests flowing on a host that serves the zone: one look at a time, no thread, no clock of its own.
//!
//! ```text
//! accepted SKR ──coverage──▶ due? ──keygen, request──▶ outbox/ZONE/<start>.ksr ──(ceremony, accepted SKR)──▶ answered/
//! ```
//!
//! A request begins *now* and ends one period after the coverage ends. It asks again for what is covered already, so that the
//! answer can replace the SKR in force as a whole (as `named` does it), and so that a ZSK that is new after the old period is
//! published in time inside the overlap. One request is open at a time.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use keystore::config::{KsrConfig, ZoneConfig};
use keystore::dns::Name;
use keystore::durable;
use keystore::exchange::bind::{self, MAX_OCTETS, SyntaxError};
use keystore::exchange::{Bundle, UnverifiedSkr};
use keystore::keys::files::{self, KeyFileError};
use keystore::keys::plan::{Holes, Interval};
use keystore::policy::{Policy, Role};
use keystore::store::{self, StoreError};
use keystore::time::Timestamp;

use crate::PROGRAM;
use crate::keygen::{self, Keygen, KeygenError};
use crate::request::{self, RequestError};

/// 2020-01-01: no clock of a host that runs this shows an earlier time and is right.
const EARLIEST: Timestamp = Timestamp::from_secs(1_577_836_800);
/// Folder below `outbox/ZONE/` for requests that need no answer any more.
const ANSWERED: &str = "answered";

/// What one look at a zone found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was done.
    pub outcome: Outcome,
    /// End of the accepted coverage; `None` = nothing was ever accepted.
    pub coverage_end: Option<Timestamp>,
    /// When the next request must exist.
    pub due: Timestamp,
    /// The open request, if any.
    pub open: Option<OpenRequest>,
    /// Requests that were open before this look and need no answer any more, and why; they lie in `answered/` now.
    pub closed: Vec<(PathBuf, Closed)>,
    /// Names of keys made by this look.
    pub keys_made: Vec<String>,
    /// What a person should know; one sentence each.
    pub warnings: Vec<String>,
}

/// What one look did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The coverage is long enough.
    NotDue,
    /// A request is open and waits for its answer.
    Pending,
    /// A request was written.
    Written,
}

/// Why a request needs no answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The accepted SKR covers what it asked for.
    Answered,
    /// Another SKR was accepted, and no request is due.
    Superseded,
    /// The time that it asked for is over.
    Expired,
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
    /// When it was written.
    pub written: Timestamp,
}

/// Why a look failed. Nothing was replaced; the next look tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TickError {
    /// The clock cannot be right.
    #[error("the clock says {now}, and that cannot be ({why}); set it, no request is made before")]
    Clock {
        /// What it says.
        now: Timestamp,
        /// Against what it was held.
        why: &'static str,
    },
    /// The accepted store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The SKR in the accepted store does not read.
    #[error("the accepted SKR, generation {generation}, {error}")]
    Accepted {
        /// Its number.
        generation: u64,
        /// Where and why.
        error: SyntaxError,
    },
    /// The outbox.
    #[error("{path}: {source}", path = path.display())]
    Outbox {
        /// File or folder.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Making keys.
    #[error(transparent)]
    Keygen(#[from] KeygenError),
    /// Reading keys.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Making the request.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Looks at one zone: closes requests that are answered, and writes the next one when it is due.
///
/// `state_dir` holds `accepted/` and `outbox/`. Safe to repeat at any time and after a kill at any moment: keys that exist are
/// selected again, and a request is in the outbox whole or not at all.
pub fn tick(
    zone: &ZoneConfig,
    config: &KsrConfig,
    state_dir: &Path,
    now: Timestamp,
) -> Result<Report, TickError> {
    if now < EARLIEST {
        return Err(TickError::Clock { now, why: "it lies before 2020" });
    }
    let outbox = store::zone_dir(&state_dir.join("outbox"), &zone.name);
    let accepted = accepted(&state_dir.join("accepted"), &zone.name)?;
    let coverage_end =
        accepted.as_ref().map(|skr| skr.bundles.last().map_or(Timestamp::EPOCH, Bundle::expiration));
    let due = due(accepted.as_ref(), &zone.policy, config.lead, now);
    let mut open = open_requests(&outbox, config.period)?;
    if open.iter().any(|request| request.written > now) {
        return Err(TickError::Clock { now, why: "a request in the outbox was written later" });
    }
    let mut closed = Vec::new();
    open.retain(|request| match close_reason(request, coverage_end, due, now) {
        Some(why) => {
            closed.push((request.path.clone(), why));
            false
        }
        None => true,
    });
    for (path, _) in &mut closed {
        *path = set_aside(path).map_err(|source| TickError::Outbox { path: path.clone(), source })?;
    }
    // The newest one; more than one only when somebody put them there.
    let open = open.into_iter().max_by_key(|request| request.written);
    let mut report = Report {
        outcome: Outcome::NotDue,
        coverage_end,
        due,
        open,
        closed,
        keys_made: vec![],
        warnings: vec![],
    };
    if report.open.is_some() {
        report.outcome = Outcome::Pending;
    } else if due <= now {
        let end = coverage_end.unwrap_or(now).max(now).plus(u64::from(config.period));
        write_request(zone, &outbox, Interval { start: now, end }, &mut report)?;
    }
    Ok(report)
}

/// The SKR in force.
fn accepted(dir: &Path, zone: &Name) -> Result<Option<UnverifiedSkr>, TickError> {
    let Some(current) = store::read_current(dir, zone)? else { return Ok(None) };
    bind::parse_skr(&current.octets, zone)
        .map(Some)
        .map_err(|error| TickError::Accepted { generation: current.generation, error })
}

/// When the next request must exist: `lead` before the coverage ends, and before a ZSK that follows the last bundle would have to
/// be published.
fn due(accepted: Option<&UnverifiedSkr>, policy: &Policy, lead: u32, now: Timestamp) -> Timestamp {
    let last = accepted.and_then(|skr| skr.bundles.last());
    last.map_or(now, |last| {
        let by_lead = last.expiration().minus(u64::from(lead));
        by_lead.min(last.inception.minus(policy.prepublication()))
    })
}

fn close_reason(
    request: &OpenRequest,
    coverage_end: Option<Timestamp>,
    due: Timestamp,
    now: Timestamp,
) -> Option<Closed> {
    if coverage_end.is_some_and(|end| end >= request.end) {
        Some(Closed::Answered)
    } else if due > now {
        Some(Closed::Superseded)
    } else if request.end <= now {
        Some(Closed::Expired)
    } else {
        None
    }
}

/// Makes the keys that are missing, then the request.
fn write_request(
    zone: &ZoneConfig,
    outbox: &Path,
    interval: Interval,
    report: &mut Report,
) -> Result<(), TickError> {
    let (dir, policy, now) = (&zone.key_directory, &zone.policy, interval.start);
    let keygen = Keygen { dir, zone: &zone.name, policy, role: Role::Zsk, interval, holes: Holes::Fill, now };
    let made = keygen::run(&keygen, || {})?;
    report.keys_made = made.keys.into_iter().filter(|key| key.made).map(|key| key.name).collect();
    report.warnings.extend(made.warnings.iter().map(ToString::to_string));
    let found = files::find_online(dir, &zone.name)?;
    let mut ksr = request::request(&found.keys, &zone.name, policy, interval, false)?;
    request::prove(&mut ksr, &found.keys, interval.end)?;
    let path = outbox.join(format!("{}.ksr", interval.start));
    let text = bind::print_ksr(&ksr, now, &footer(interval, now));
    let fail = |source| TickError::Outbox { path: path.clone(), source };
    durable::create_dir_durable(outbox, 0o755).map_err(fail)?;
    let _ = durable::sweep_temps(outbox);
    durable::write(&path, text.as_bytes(), 0o644).map_err(fail)?;
    report.outcome = Outcome::Written;
    report.open = Some(OpenRequest { path, start: interval.start, end: interval.end, written: now });
    Ok(())
}

/// What stands behind `by` in the last line of a request: BIND reads over it, people and [`open_requests`] read it.
fn footer(interval: Interval, now: Timestamp) -> String {
    format!("{PROGRAM} for {} to {} written {now}", interval.start, interval.end)
}

/// Reads [`footer`] back from the last line of a request.
fn parse_footer(text: &str) -> Option<(Timestamp, Timestamp, Timestamp)> {
    let line = text.trim_end().lines().next_back()?;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [.., "for", start, "to", end, "written", written] = words.as_slice() else { return None };
    Some((Timestamp::parse_stamp(start)?, Timestamp::parse_stamp(end)?, Timestamp::parse_stamp(written)?))
}

/// The requests in the outbox of a zone. One whose last line is not ours counts from the time in its name, for one period.
fn open_requests(outbox: &Path, period: u32) -> Result<Vec<OpenRequest>, TickError> {
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
        let mut octets = Vec::new();
        let file = std::fs::File::open(&path).map_err(|e| fail(&path, e))?;
        file.take(MAX_OCTETS as u64).read_to_end(&mut octets).map_err(|e| fail(&path, e))?;
        let (start, end, written) = parse_footer(&String::from_utf8_lossy(&octets)).unwrap_or((
            start,
            start.plus(u64::from(period)),
            start,
        ));
        out.push(OpenRequest { path, start, end, written });
    }
    Ok(out)
}

/// Moves a request to `answered/`; gives its new place.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let to = dir.join(ANSWERED);
    durable::create_dir_durable(&to, 0o755)?;
    let to = to.join(name);
    durable::rename(path, &to)?;
    Ok(to)
}

/// Sets the `ksr_…` families of one zone after a look; `zone` is the label (lower case, final dot).
#[cfg(feature = "daemon")]
pub fn record(result: &Result<Report, TickError>, zone: &str, metrics: &metrics::Metrics) {
    let unix = |t: Option<Timestamp>| t.map_or(0, |t| i64::try_from(t.secs()).unwrap_or(i64::MAX));
    let count = |outcome| metrics.ksr_generations_total.with_label_values(&[zone, outcome]);
    // Both series exist from the first look on, so that a rate over them has a start.
    let (written, failed) = (count("written"), count("failed"));
    let report = match result {
        Ok(report) => report,
        Err(_) => return failed.inc(),
    };
    let open = report.open.as_ref();
    if report.outcome == Outcome::Written {
        written.inc();
        let at = unix(open.map(|request| request.written));
        metrics.ksr_last_generated_timestamp_seconds.with_label_values(&[zone]).set(at);
    }
    // Once the request exists nothing is overdue; the answer is, and `pending since` says so.
    let due = if open.is_some() { None } else { Some(report.due) };
    metrics.ksr_due_timestamp_seconds.with_label_values(&[zone]).set(unix(due));
    metrics.ksr_pending_since_timestamp_seconds.with_label_values(&[zone]).set(unix(open.map(|r| r.written)));
    if let Some(request) = open {
        metrics.ksr_period_end_timestamp_seconds.with_label_values(&[zone]).set(unix(Some(request.end)));
    }
}
