//! The files of one log, in order: those that are full, by their numbers, and the one that is written to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The path of the full file with this number: `audit-3.jsonl` beside `audit.jsonl`.
pub(super) fn full(log: &Path, number: u64) -> PathBuf {
    let (start, end) = around_number(log);
    log.with_file_name(format!("{start}{number}{end}"))
}

/// The numbers of the full files beside `log`, in order.
pub(super) fn numbers(log: &Path) -> io::Result<Vec<u64>> {
    let folder = match log.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (start, end) = around_number(log);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&start)?.strip_suffix(&end));
        numbers
            .extend(number.and_then(|digits| digits.parse::<u64>().ok().filter(|n| n.to_string() == digits)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// What the name of a full file has before and behind its number.
fn around_number(log: &Path) -> (String, String) {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    (format!("{}-", part(log.file_stem())), format!(".{}", part(log.extension())))
}
