//! Keeps the outbox of a zone within its limits: requests that need no answer any more, and files whose request is gone.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keystore::config::KsrConfig;
use keystore::durable;
use keystore::time::Timestamp;

use super::outbox::{ANSWERED, COMPANIONS, mail_path};

/// Requests that stay however old they are: a loader that may not read private keys takes the proof of possession from the newest ones.
const ALWAYS: usize = 8;

/// What was removed, and what could not be.
#[derive(Debug, Default)]
pub(super) struct PrunedRequests {
    /// Answered requests that were removed.
    pub requests: usize,
    /// The first error.
    pub error: Option<(PathBuf, io::Error)>,
}

/// Removes the oldest requests from `answered/` below `outbox` as the limits of `config` want it, each with its mail, and what lies beside
/// requests that somebody has taken away.
pub(super) fn prune(outbox: &Path, config: &KsrConfig, now: Timestamp) -> PrunedRequests {
    let mut pruned = PrunedRequests::default();
    let answered = outbox.join(ANSWERED);
    let mut old = Vec::new();
    match names(&answered) {
        Ok(names) => {
            let mut requests: Vec<(Timestamp, &OsString)> =
                names.iter().filter_map(|name| Some((time_of(name, "ksr")?, name))).collect();
            requests.sort_unstable();
            let spare = requests.len().saturating_sub(ALWAYS);
            let too_many = requests.len().saturating_sub(config.answered_max_requests as usize);
            let oldest = now.minus(u64::from(config.answered_max_days) * 86_400);
            let too_old = requests.partition_point(|(time, _)| *time < oldest).min(spare);
            for (_, name) in &requests[..too_many.max(too_old)] {
                let path = answered.join(name);
                old.extend([mail_path(&path), path]);
                pruned.requests += 1;
            }
            old.extend(left_behind(&names, &answered));
        }
        Err(error) => pruned.error = Some((answered.clone(), error)),
    }
    remove(&old, &mut pruned);
    match names(outbox) {
        Ok(names) => remove(&left_behind(&names, outbox), &mut pruned),
        Err(error) => drop(pruned.error.get_or_insert_with(|| (outbox.to_owned(), error))),
    }
    pruned
}

/// Removes files of one folder.
fn remove(paths: &[PathBuf], pruned: &mut PrunedRequests) {
    let Some(first) = paths.first() else { return };
    let all: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    if let Err(error) = durable::remove_each(&all) {
        pruned.error.get_or_insert_with(|| (first.clone(), error));
    }
}

/// Mails and notes without their request.
fn left_behind(names: &BTreeSet<OsString>, dir: &Path) -> Vec<PathBuf> {
    let is_left = |name: &&OsString| {
        COMPANIONS.iter().any(|suffix| time_of(name, suffix).is_some())
            && !names.contains(Path::new(name).with_extension("ksr").as_os_str())
    };
    names.iter().filter(is_left).map(|name| dir.join(name)).collect()
}

/// The names in a folder; none where there is no folder.
fn names(dir: &Path) -> io::Result<BTreeSet<OsString>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// The time in a name that the timer gives: `<start>.<suffix>`, or `<start>.<number>.<suffix>`. `None` for other names, which are left alone.
fn time_of(name: &OsString, suffix: &str) -> Option<Timestamp> {
    let stem = name.to_str()?.strip_suffix(suffix)?.strip_suffix('.')?;
    let (start, number) = stem.split_once('.').unwrap_or((stem, "1"));
    number.parse::<u32>().ok()?;
    Timestamp::parse_stamp(start)
}
