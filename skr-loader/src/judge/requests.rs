//! The requests in the outbox: which are open, and which ZSKs they prove to be held by whoever made them.

use std::path::{Path, PathBuf};

use keystore::dns::Name;
use keystore::exchange::{Ksr, bind, possession, written_at};
use keystore::keys::Dnskey;
use keystore::keys::files::Found;
use keystore::store::{MAX_SKR_OCTETS, zone_dir};
use keystore::time::Timestamp;

use crate::files::{self, Named, one_line};

/// Answered requests that are looked at, newest first: those that the SKRs in force answer are among them.
const ANSWERED: usize = 8;

/// The requests of the zone that are not answered yet. One that says it was written after `now` was written by a clock that ran ahead: it
/// asks for nothing, so that it rejects no SKR.
pub fn open(state_dir: &Path, zone: &Name, now: Timestamp) -> Vec<Ksr> {
    let folder = zone_dir(&state_dir.join("outbox"), zone);
    let mut requests = read_folder(&folder, zone, usize::MAX);
    requests.retain(|(_, written)| written.is_none_or(|written| written <= now));
    requests.into_iter().map(|(ksr, _)| ksr).collect()
}

/// The keys of [`Found::sealed`] that an open or answered request of the zone proves: for a loader that may not read private keys.
pub fn proven(state_dir: &Path, zone: &Name, keys: &Found, open: &[Ksr]) -> Vec<Dnskey> {
    let mut proven = proven_by(keys, open);
    if proven.len() < keys.sealed.len() {
        let answered = zone_dir(&state_dir.join("outbox"), zone).join("answered");
        let answered: Vec<Ksr> =
            read_folder(&answered, zone, ANSWERED).into_iter().map(|(ksr, _)| ksr).collect();
        proven.extend(proven_by(keys, &answered));
    }
    proven
}

/// The keys of [`Found::sealed`] that one of these requests proves.
pub fn proven_by(keys: &Found, requests: &[Ksr]) -> Vec<Dnskey> {
    if keys.sealed.is_empty() {
        return Vec::new();
    }
    let mut proven = Vec::new();
    for ksr in requests {
        let flaws = possession::check(ksr);
        for key in &keys.sealed {
            let mut bundles = ksr.bundles.iter().filter(|bundle| bundle.keys.contains(key)).peekable();
            let is_there = bundles.peek().is_some();
            let good = is_there && !flaws.iter().any(|flaw| flaw.key == *key);
            if good && !proven.contains(key) {
                proven.push(key.clone());
            }
        }
    }
    proven
}

/// The requests in a folder, each with the time at which it says that it was written; the newest ones (by name) when there are more than
/// `most`. One that does not read asks for nothing.
fn read_folder(dir: &Path, zone: &Name, most: usize) -> Vec<(Ksr, Option<Timestamp>)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "ksr")).collect();
    paths.sort_unstable();
    let mut requests = Vec::new();
    for path in paths.iter().skip(paths.len().saturating_sub(most)) {
        let read = files::read(path, Named::ByOperator, MAX_SKR_OCTETS).map_err(|e| e.to_string());
        let parsed = read.and_then(|file| {
            let ksr = bind::parse_ksr(&file.octets, zone).map_err(|e| e.to_string())?;
            Ok((ksr, written_at(&file.octets)))
        });
        match parsed {
            Ok(request) => requests.push(request),
            Err(error) => {
                tracing::warn!(file = %path.display(), error = one_line(&error), "a request in the outbox does not read");
            }
        }
    }
    requests
}
