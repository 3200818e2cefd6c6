//! What came of the logins with the PIN of a file. The process that logs in may end before it can tell, and its successor must not
//! try a wrong PIN until the token is locked.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::TokenError;
use super::wire::ModuleReply;

/// Logins that may end without a word. Tokens lock after three wrong ones and more.
const MOST_UNFINISHED: u8 = 2;

/// Which version of a file: its time of change, its size and its inode.
type Print = (i64, i64, u64, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The token took it.
    Good,
    /// The token refused it.
    Wrong,
    /// The process ended during so many logins in a row.
    Unfinished(u8),
}

/// By module and file with the PIN.
type Logins = HashMap<(PathBuf, PathBuf), (Print, Outcome)>;

static LOGINS: LazyLock<Mutex<Logins>> = LazyLock::new(Mutex::default);

/// Fails when another login with this file, as it is now, could lock the token.
pub(super) fn check(module: &Path, pin_source: Option<&Path>) -> Result<(), TokenError> {
    let Some((key, print)) = find(module, pin_source) else { return Ok(()) };
    match logins().get(&key) {
        Some((known, Outcome::Wrong)) if *known == print => {
            Err(TokenError::KnownWrongPin { token: String::new() })
        }
        Some((known, Outcome::Unfinished(count))) if *known == print && *count >= MOST_UNFINISHED => {
            Err(TokenError::LoginUnfinished { path: key.1, count: *count })
        }
        _ => Ok(()),
    }
}

/// Takes note that a login begins.
pub(super) fn begins(module: &Path, pin_source: Option<&Path>) {
    let Some((key, print)) = find(module, pin_source) else { return };
    let mut logins = logins();
    let before = logins.get(&key).filter(|(known, _)| *known == print).map(|(_, outcome)| *outcome);
    let outcome = match before {
        Some(Outcome::Good) => Outcome::Good,
        Some(Outcome::Unfinished(count)) => Outcome::Unfinished(count.saturating_add(1)),
        Some(Outcome::Wrong) | None => Outcome::Unfinished(1),
    };
    logins.insert(key, (print, outcome));
}

/// Takes note of the reply to a call that may have logged in.
pub(super) fn ends(module: &Path, pin_source: Option<&Path>, reply: &ModuleReply) {
    let Some((key, print)) = find(module, pin_source) else { return };
    let mut logins = logins();
    match reply {
        ModuleReply::Failed(TokenError::WrongPin { .. } | TokenError::Locked { .. }) => {
            logins.insert(key, (print, Outcome::Wrong));
        }
        // It came to an end that says nothing about the PIN.
        ModuleReply::Failed(_) => {
            if logins.get(&key).is_some_and(|(_, outcome)| *outcome != Outcome::Good) {
                logins.remove(&key);
            }
        }
        _ => {
            logins.insert(key, (print, Outcome::Good));
        }
    }
}

fn find(module: &Path, pin_source: Option<&Path>) -> Option<((PathBuf, PathBuf), Print)> {
    let file = pin_source?;
    let metadata = file.metadata().ok()?;
    let print = (metadata.mtime(), metadata.mtime_nsec(), metadata.size(), metadata.ino());
    Some(((module.to_owned(), file.to_owned()), print))
}

fn logins() -> MutexGuard<'static, Logins> {
    LOGINS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_that_was_wrong_or_never_judged_is_not_tried_until_its_file_changes() {
        let dir = tempfile::tempdir().expect("a folder");
        let (module, pin) = (Path::new("/m.so"), dir.path().join("pin"));
        std::fs::write(&pin, "1").expect("write");
        let file = Some(pin.as_path());
        let check = || check(module, file).map_err(|error| (error.is_passing(), error.to_string()));
        let wrong = || {
            ModuleReply::Failed(TokenError::WrongPin {
                token: "t".to_owned(),
                last_try: false,
                locked: false,
            })
        };
        assert_eq!(check(), Ok(()));
        begins(module, file);
        ends(module, file, &wrong());
        assert!(check().is_err_and(|(passing, text)| !passing && text.contains("wrong before")));
        // Another PIN, and two processes that end while they log in.
        std::fs::write(&pin, "22").expect("write");
        begins(module, file);
        assert_eq!(check(), Ok(()), "once more");
        begins(module, file);
        assert!(check().is_err_and(|(passing, text)| !passing && text.contains("2 logins")));
        // One that was taken once is tried as often as needed.
        std::fs::write(&pin, "333").expect("write");
        begins(module, file);
        ends(module, file, &ModuleReply::Done);
        (0..9).for_each(|_| begins(module, file));
        assert_eq!(check(), Ok(()));
        ends(module, file, &ModuleReply::Failed(TokenError::NoModule));
        assert_eq!(check(), Ok(()), "an error of something else");
        assert!(super::check(module, None).is_ok() && super::check(module, Some(Path::new("/no"))).is_ok());
    }
}
