//! `rejected/`: the files that were rejected, each with a `.reason` beside it. Nothing there is ever replaced.

use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use keystore::dns::Name;
use keystore::durable;
use keystore::exchange::Finding;
use keystore::store::digest;
use keystore::time::Timestamp;

use crate::files::{hex, one_line, printable};
use crate::inbox::Dropped;

/// Octets of a dropped file's name that are kept.
const NAME_OCTETS: usize = 120;
/// Findings that a reason lists.
const FINDINGS: usize = 200;

/// The folder.
#[derive(Debug)]
pub struct Rejected {
    dir: PathBuf,
    /// Where the search for a free name begins.
    number: u64,
}

impl Rejected {
    /// The folder at `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), number: 1 }
    }

    /// Writes the reason under a free name, and gives the path where the file belongs: the same without `.reason`.
    pub fn place(
        &mut self,
        file: &Dropped,
        zone: Option<&Name>,
        in_force: Option<u64>,
        findings: &[Finding],
        now: Timestamp,
    ) -> io::Result<PathBuf> {
        let text = reason(file, zone, in_force, findings, now);
        let name = safe_name(file.name.as_bytes());
        let mut path = self.dir.join(&name);
        loop {
            if path.symlink_metadata().is_err() {
                match durable::write_new(&with_reason(&path), text.as_bytes(), 0o640) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    other => return other.map(|()| path),
                }
            }
            path = self.dir.join(format!("{name}.{}", self.number));
            self.number += 1;
        }
    }
}

fn with_reason(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".reason");
    name.into()
}

/// The name with nothing in it that a shell, a terminal or a file system takes amiss.
fn safe_name(name: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"._-+%".contains(b);
    let name: String =
        name.iter().take(NAME_OCTETS).map(|b| if plain(b) { char::from(*b) } else { '_' }).collect();
    if name.starts_with(['.', '-']) { format!("_{name}") } else { name }
}

fn reason(
    file: &Dropped,
    zone: Option<&Name>,
    in_force: Option<u64>,
    findings: &[Finding],
    now: Timestamp,
) -> String {
    let mut out = String::new();
    let mut line = |word: &str, value: &str| {
        let _ = writeln!(out, "{word:<9}{value}");
    };
    line("file", &printable(&file.name));
    if file.octets.is_empty() && file.size() > 0 {
        line("octets", &format!("{} (not read)", file.size()));
    } else {
        line("octets", &file.octets.len().to_string());
        line("sha256", &hex(&digest(&file.octets)));
    }
    line("time", &now.iso());
    line("zone", &zone.map_or_else(|| "unknown".to_owned(), ToString::to_string));
    line(
        "verdict",
        &in_force.map_or_else(
            || "rejected".to_owned(),
            |generation| format!("rejected; generation {generation} stays in force"),
        ),
    );
    out.push('\n');
    for finding in findings.iter().take(FINDINGS) {
        let _ = writeln!(out, "{}", one_line(&finding.to_string()));
    }
    if let Some(more) = findings.len().checked_sub(FINDINGS).filter(|more| *more > 0) {
        let _ = writeln!(out, "… and {more} more");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_safe() {
        for (name, want) in [
            (&b"example.skr"[..], "example.skr"),
            (b"a\nb c/..\xff", "a_b_c_.._"),
            (b"-rf", "_-rf"),
            (b"..", "_.."),
        ] {
            assert_eq!(safe_name(name), want);
        }
        assert_eq!(safe_name(&[b'x'; 255]).len(), NAME_OCTETS);
    }
}
