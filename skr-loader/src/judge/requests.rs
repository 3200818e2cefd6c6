//! The requests in the outbox: which are open, and which ZSKs they prove to be held by whoever made them.

use std::io;
use std::path::{Path, PathBuf};

use keystore::dns::Name;
use keystore::exchange::{Ksr, bind, possession, written_at};
use keystore::keys::Dnskey;
use keystore::keys::files::FolderKeys;
use keystore::store::{MAX_SKR_OCTETS, zone_dir};
use keystore::time::Timestamp;

use crate::files::{self, FileError, NamedBy, one_line};

/// Answered requests that are looked at, newest first: those that the SKRs in force answer are among them.
const ANSWERED: usize = 8;

/// The outbox, or a request in it, cannot be read. That is not "nobody has asked".
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = path.display())]
pub struct RequestsError {
    path: PathBuf,
    source: io::Error,
}

/// The requests of the zone that are not answered yet. One that says it was written after `now` was written by a clock that ran ahead: it
/// asks for nothing, so that it rejects no SKR.
pub fn open(state_dir: &Path, zone: &Name, now: Timestamp) -> Result<Vec<Ksr>, RequestsError> {
    let folder = zone_dir(&state_dir.join("outbox"), zone);
    let mut requests = read_folder(&folder, zone, usize::MAX)?;
    requests.retain(|(_, written)| written.is_none_or(|written| written <= now));
    Ok(requests.into_iter().map(|(ksr, _)| ksr).collect())
}

/// The keys of [`FolderKeys::sealed`] that an open or answered request of the zone proves: for a loader that may not read private keys.
pub fn proven(
    state_dir: &Path,
    zone: &Name,
    keys: &FolderKeys,
    open: &[Ksr],
) -> Result<Vec<Dnskey>, RequestsError> {
    let mut proven = proven_by(keys, open);
    if proven.len() < keys.sealed.len() {
        let answered = zone_dir(&state_dir.join("outbox"), zone).join("answered");
        let answered: Vec<Ksr> =
            read_folder(&answered, zone, ANSWERED)?.into_iter().map(|(ksr, _)| ksr).collect();
        proven.extend(proven_by(keys, &answered));
    }
    Ok(proven)
}

/// The keys of [`FolderKeys::sealed`] that one of these requests proves.
pub fn proven_by(keys: &FolderKeys, requests: &[Ksr]) -> Vec<Dnskey> {
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
/// `most`. One that is gone meanwhile, or is no request, asks for nothing.
fn read_folder(dir: &Path, zone: &Name, most: usize) -> Result<Vec<(Ksr, Option<Timestamp>)>, RequestsError> {
    let at = |path: &Path, source| RequestsError { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| at(dir, error))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| at(dir, error))?.path();
        if path.extension().is_some_and(|e| e == "ksr") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    let mut requests = Vec::new();
    for path in paths.iter().skip(paths.len().saturating_sub(most)) {
        let tell = |error: &str| {
            tracing::warn!(file = %path.display(), error = one_line(error), "a request in the outbox does not read");
        };
        // Another user's folder: a link there could lead anywhere.
        match files::read(path, NamedBy::Dropper, MAX_SKR_OCTETS) {
            Ok(file) => match bind::parse_ksr(&file.octets, zone) {
                Ok(ksr) => requests.push((ksr, written_at(&file.octets))),
                Err(error) => tell(&error.to_string()),
            },
            // Answered, and moved away, since the folder was listed.
            Err(FileError::Io(source)) if source.kind() == io::ErrorKind::NotFound => {}
            Err(FileError::Io(source)) => return Err(at(path, source)),
            Err(error) => tell(&error.to_string()),
        }
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::testing::{StateDir, start, zone};

    /// Only what is not there asks for nothing.
    #[test]
    fn an_outbox_that_cannot_be_read_is_no_empty_one() {
        type Make = fn(&Path);
        let cases: [(&str, Make, bool); 7] = [
            ("no folder", |_| (), true),
            ("an empty folder", |dir| fs::create_dir(dir).unwrap(), true),
            (
                "a file that is no request",
                |dir| {
                    fs::create_dir(dir).unwrap();
                    fs::write(dir.join("1.ksr"), "garbage").unwrap();
                },
                true,
            ),
            (
                "a request that is a link to nothing",
                |dir| {
                    fs::create_dir(dir).unwrap();
                    symlink("nowhere", dir.join("1.ksr")).unwrap();
                },
                true,
            ),
            ("ENOTDIR", |dir| fs::write(dir, "in the way").unwrap(), false),
            ("ELOOP", |dir| symlink(dir, dir).unwrap(), false),
            (
                "a request that is a link to a file",
                |dir| {
                    fs::create_dir(dir).unwrap();
                    fs::write(dir.join("x"), "").unwrap();
                    symlink("x", dir.join("1.ksr")).unwrap();
                },
                true,
            ),
        ];
        for (what, make, reads) in cases {
            let state = StateDir::new();
            let outbox = state.path("outbox");
            fs::create_dir(&outbox).unwrap();
            make(&zone_dir(&outbox, &zone()));
            let found = open(&state.path(""), &zone(), start());
            assert_eq!(found.as_ref().map(Vec::len).ok(), reads.then_some(0), "{what}: {found:?}");
        }
    }
}
