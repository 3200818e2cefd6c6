//! The zone files that were used last, in one file of the state folder.
//!
//! A start compares with them as a reload compares with the configuration in use: a folder that is not mounted, or a file that does not read,
//! takes no zone away by a restart either.

use std::io;
use std::path::{Path, PathBuf};

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::{ZoneFileText, ZoneFiles};
use crate::durable;
use crate::policy::named_conf::read_regular;

/// First line of the file.
const HEAD: &[u8] = b"offline-ksk zone files 1\n";
/// Last line: what comes before is whole.
const END: &[u8] = b"end\n";
/// Largest file that is read, in octets.
const MAX: u64 = 1 << 30;
/// Mode of the file: the programs of a host may run as different users of one group.
const MODE: u32 = 0o640;

/// The file, below a state folder.
#[must_use]
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("zone-files")
}

/// Writes the texts of `files`, unless they stand there already. Nothing is written for a host that never had zone files.
///
/// # Errors
/// What the system says; the file before stays.
pub fn write(state_dir: &Path, files: &ZoneFiles) -> io::Result<()> {
    let path = path(state_dir);
    let octets = print(&files.texts);
    match read_regular(&path, MAX) {
        Ok(old) if old == octets => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && files.texts.is_empty() => return Ok(()),
        _ => {}
    }
    durable::write(&path, &octets, MODE)
}

/// The texts that were written last; none where there is no file.
///
/// # Errors
/// When it cannot be read, or is damaged (`InvalidData`).
pub fn read(state_dir: &Path) -> io::Result<Vec<ZoneFileText>> {
    match read_regular(&path(state_dir), MAX) {
        Ok(octets) => parse(&octets).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "damaged")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn print(texts: &[ZoneFileText]) -> Vec<u8> {
    let mut out = HEAD.to_vec();
    for file in texts {
        let path = file.path.as_os_str().as_bytes();
        out.extend_from_slice(format!("{} {}\n", path.len(), file.text.len()).as_bytes());
        out.extend_from_slice(path);
        out.extend_from_slice(file.text.as_bytes());
    }
    out.extend_from_slice(END);
    out
}

fn parse(octets: &[u8]) -> Option<Vec<ZoneFileText>> {
    let mut rest = octets.strip_prefix(HEAD)?;
    let mut texts = Vec::new();
    while rest != END {
        let line_end = rest.iter().position(|octet| *octet == b'\n')?;
        let (path_len, text_len) = std::str::from_utf8(&rest[..line_end]).ok()?.split_once(' ')?;
        rest = &rest[line_end + 1..];
        let (path, after) = rest.split_at_checked(path_len.parse().ok()?)?;
        let (text, after) = after.split_at_checked(text_len.parse().ok()?)?;
        rest = after;
        let text = std::str::from_utf8(text).ok()?.into();
        texts.push(ZoneFileText { path: Path::new(OsStr::from_bytes(path)).into(), text });
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &[u8], text: &str) -> ZoneFileText {
        ZoneFileText { path: Path::new(OsStr::from_bytes(path)).into(), text: text.into() }
    }

    #[test]
    fn what_was_written_reads_as_the_same_and_anything_else_is_damaged() {
        let texts = [text(b"/a b\n/\xff.toml", "end\n"), text(b"/b.toml", ""), text(b"/c.toml", "ü\n1 1\n")];
        for count in 0..=texts.len() {
            let octets = print(&texts[..count]);
            assert_eq!(parse(&octets).as_deref(), Some(&texts[..count]));
            for end in 0..octets.len() {
                assert_eq!(parse(&octets[..end]), None, "cut off at {end}");
            }
        }
        for damaged in ["", "x", "offline-ksk zone files 2\nend\n", "offline-ksk zone files 1\n-1 2\nend\n"] {
            assert_eq!(parse(damaged.as_bytes()), None, "{damaged:?}");
        }
    }

    #[test]
    fn a_host_without_zone_files_gets_no_file_and_one_with_them_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let files = |texts: &[ZoneFileText]| ZoneFiles { texts: texts.to_vec(), ..ZoneFiles::default() };
        write(dir.path(), &files(&[])).unwrap();
        assert!(!path(dir.path()).exists());
        for texts in [vec![text(b"/a.toml", "1")], vec![text(b"/a.toml", "2"), text(b"/b.toml", "3")], vec![]]
        {
            write(dir.path(), &files(&texts)).unwrap();
            assert_eq!(read(dir.path()).unwrap(), texts);
        }
        std::fs::write(path(dir.path()), "x").unwrap();
        assert_eq!(read(dir.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
