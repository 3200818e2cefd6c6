//! Names of files that are not finished: they wait until they are renamed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Names that writers use for files that are not finished, and that hidden files have; letter case does not matter.
pub(super) fn is_temp_name(name: &OsStr) -> bool {
    let name = name.as_bytes().to_ascii_lowercase();
    let ends = TEMP_ENDS.iter().any(|end| name.ends_with(end.as_bytes()));
    ends || TEMP_STARTS.iter().any(|start| name.starts_with(start))
}

/// How names end that writers use for files that are not finished: rsync and Syncthing (`.tmp`, and hidden), browsers and curl (`.part`),
/// rclone (`.partial`), WinSCP (`.filepart`), vim (`.swp` and the like, `~`), Emacs (`#`), Chromium (`.crdownload`), Opera (`.opdownload`),
/// Safari (`.download`), Resilio (`.!sync`), lftp (`.lftp-pget-status`), and scripts of people (`.upload` and so on).
const TEMP_ENDS: [&str; 18] = [
    ".tmp",
    ".temp",
    ".part",
    ".partial",
    ".filepart",
    ".swp",
    ".swx",
    "~",
    "#",
    ".crdownload",
    ".opdownload",
    ".download",
    ".!sync",
    ".lftp-pget-status",
    ".upload",
    ".uploading",
    ".incomplete",
    ".inprogress",
];
/// How they begin: hidden files, Syncthing on Windows, and the lock files of office programs on shared folders.
const TEMP_STARTS: [&[u8]; 3] = [b".", b"~syncthing~", b"~$"];
