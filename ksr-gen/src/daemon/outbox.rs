//! Where a request in the outbox goes when it needs no answer any more, and the files beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keystore::durable;

/// Folder below `outbox/ZONE/` for requests that need no answer any more.
pub(super) const ANSWERED: &str = "answered";
/// Suffixes of the files that the timer writes beside a request.
pub(super) const COMPANIONS: [&str; 3] = ["eml", "told", "future"];

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
