//! The zone files that were used last, with the zones that are held and the removals of the last hour: a file for each program in the state folder.
//!
//! A start compares with them as a reload compares with the configuration in use: a folder that is not mounted, or a file that does not read,
//! takes no zone away by a restart either. Each program has its own file, because programs of different users cannot replace files of each other in a
//! state folder with the sticky bit.

use std::io;
use std::path::{Path, PathBuf};

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::{Origin, ZoneCount, ZoneFileText, ZoneFiles};
use crate::dns::Name;
use crate::durable;
use crate::policy::named_conf::read_regular;
use crate::time::Timestamp;

/// First line of the file.
const HEAD: &[u8] = b"offline-ksk zone files 1\n";
/// Last line: what comes before is whole.
const END: &[u8] = b"end\n";
/// Largest file that is read, in octets.
const MAX: u64 = 1 << 30;
/// Mode of the file: the programs of a host may run as different users of one group.
const MODE: u32 = 0o640;

/// A program that uses zone files and remembers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `skr-loader run` or `offline-ksk serve`, of which one runs on a state folder.
    Loader,
    /// `offline-ksk requests`.
    Requests,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Loader, Self::Requests];

    const fn file_name(self) -> &'static str {
        match self {
            Self::Loader => "zone-files-loader",
            Self::Requests => "zone-files-requests",
        }
    }

    /// Whose file is read where this program has none yet.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Loader => Self::Requests,
            Self::Requests => Self::Loader,
        }
    }
}

/// What a program has remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// See [`ZoneFiles::texts`].
    pub texts: Vec<ZoneFileText>,
    /// See [`ZoneFiles::held`].
    pub held: Vec<Name>,
    /// See [`ZoneFiles::removals`].
    pub removals: Vec<ZoneCount>,
    /// See [`ZoneFiles::additions`].
    pub additions: Vec<ZoneCount>,
}

/// The file of a program, below a state folder.
#[must_use]
pub fn path(state_dir: &Path, program: Program) -> PathBuf {
    state_dir.join(program.file_name())
}

/// Writes what is to be remembered of `files`, unless it stands there already. Nothing is written for a host that never had zone files.
///
/// # Errors
/// What the system says; the file before stays.
pub fn write(state_dir: &Path, program: Program, files: &ZoneFiles) -> io::Result<()> {
    let path = path(state_dir, program);
    let octets = print(&Memory {
        texts: files.texts.clone(),
        held: files.held.clone(),
        removals: files.removals.clone(),
        additions: files.additions.clone(),
    });
    match read_regular(&path, MAX) {
        Ok(old) if old == octets => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && files.texts.is_empty() => return Ok(()),
        _ => {}
    }
    durable::write(&path, &octets, MODE)
}

/// What the program has written last; `None` where there is no file.
///
/// # Errors
/// When it cannot be read, or is damaged (`InvalidData`).
pub fn read(state_dir: &Path, program: Program) -> io::Result<Option<Memory>> {
    match read_regular(&path(state_dir, program), MAX) {
        Ok(octets) => {
            parse(&octets).map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "damaged"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The zones that any program of the host holds, as far as their files can be read.
#[must_use]
pub fn held(state_dir: &Path) -> Vec<Name> {
    let memories = Program::ALL.into_iter().filter_map(|program| read(state_dir, program).ok().flatten());
    let mut held: Vec<Name> = memories.flat_map(|memory| memory.held).collect();
    held.sort();
    held.dedup();
    held
}

fn print(Memory { texts, held, removals, additions }: &Memory) -> Vec<u8> {
    let mut out = HEAD.to_vec();
    let removed = removals.iter().map(|count| ("removed", count));
    for (word, ZoneCount { at, zones, origin }) in
        removed.chain(additions.iter().map(|count| ("added", count)))
    {
        let catalog = match origin {
            Origin::Folder => String::new(),
            Origin::Catalog(catalog) => format!(" {catalog}"),
        };
        out.extend_from_slice(format!("{word} {} {zones}{catalog}\n", at.secs()).as_bytes());
    }
    for zone in held {
        out.extend_from_slice(format!("held {zone}\n").as_bytes());
    }
    for file in texts {
        let path = file.path.as_os_str().as_bytes();
        let kind = match &file.origin {
            Origin::Folder => "file".to_owned(),
            Origin::Catalog(catalog) => format!("member {catalog}"),
        };
        out.extend_from_slice(format!("{kind} {} {}\n", path.len(), file.text.len()).as_bytes());
        out.extend_from_slice(path);
        out.extend_from_slice(file.text.as_bytes());
    }
    out.extend_from_slice(END);
    out
}

fn parse(octets: &[u8]) -> Option<Memory> {
    let mut rest = octets.strip_prefix(HEAD)?;
    let mut memory = Memory::default();
    let catalog = |name: &str| Some(Origin::Catalog(Name::parse(name).ok()?));
    while rest != END {
        let line_end = rest.iter().position(|octet| *octet == b'\n')?;
        let words: Vec<&str> = std::str::from_utf8(&rest[..line_end]).ok()?.split(' ').collect();
        rest = &rest[line_end + 1..];
        let origin = |name: Option<&&str>| name.map_or(Some(Origin::Folder), |name| catalog(name));
        let file = match words[..] {
            [word @ ("removed" | "added"), time, count, ref name @ ..] if name.len() < 2 => {
                let at = Timestamp::from_secs(time.parse().ok()?);
                let count = ZoneCount { at, zones: count.parse().ok()?, origin: origin(name.first())? };
                if word == "added" { &mut memory.additions } else { &mut memory.removals }.push(count);
                None
            }
            ["held", zone] => {
                memory.held.push(Name::parse(zone).ok()?);
                None
            }
            ["file", path_len, text_len] => Some((path_len, text_len, Origin::Folder)),
            ["member", name, path_len, text_len] => Some((path_len, text_len, catalog(name)?)),
            _ => return None,
        };
        if let Some((path_len, text_len, origin)) = file {
            let (path, after) = rest.split_at_checked(path_len.parse().ok()?)?;
            let (text, after) = after.split_at_checked(text_len.parse().ok()?)?;
            rest = after;
            let path = Path::new(OsStr::from_bytes(path)).into();
            memory.texts.push(ZoneFileText { path, origin, text: std::str::from_utf8(text).ok()?.into() });
        }
    }
    Some(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &[u8], text: &str) -> ZoneFileText {
        let path = Path::new(OsStr::from_bytes(path)).into();
        ZoneFileText { path, origin: Origin::Folder, text: text.into() }
    }

    #[test]
    fn what_was_written_reads_as_the_same_and_anything_else_is_damaged() {
        let catalog = Origin::Catalog(Name::parse("a\\032c.test").unwrap());
        let mut texts =
            [text(b"/a b\n/\xff.toml", "end\n"), text(b"/b.toml", ""), text(b"/c.toml", "ü\n1 1\n")];
        texts[1].origin = catalog.clone();
        let held = vec![Name::parse("h.test").unwrap(), Name::parse("a\\ b.test").unwrap()];
        let count = |seconds, zones, origin| ZoneCount { at: Timestamp::from_secs(seconds), zones, origin };
        let removals = vec![count(7, 3, Origin::Folder), count(8, 1, catalog.clone())];
        let additions = vec![count(9, 2, catalog)];
        for count in 0..=texts.len() {
            let (held, removals, additions) = (held.clone(), removals.clone(), additions.clone());
            let memory = Memory { texts: texts[..count].to_vec(), held, removals, additions };
            let octets = print(&memory);
            assert_eq!(parse(&octets), Some(memory));
            for end in 0..octets.len() {
                assert_eq!(parse(&octets[..end]), None, "cut off at {end}");
            }
            // Whatever an octet is changed to, the reader ends, and what it reads is printed as something that reads as the same.
            for at in 0..octets.len() {
                for value in 0..=u8::MAX {
                    let mut changed = octets.clone();
                    changed[at] = value;
                    if let Some(memory) = parse(&changed) {
                        let again = print(&memory);
                        assert_eq!(parse(&again), Some(memory), "octet {at} is {value}");
                    }
                }
            }
        }
        for damaged in
            ["", "x", "offline-ksk zone files 2\nend\n", "offline-ksk zone files 1\nfile -1 2\nend\n"]
        {
            assert_eq!(parse(damaged.as_bytes()), None, "{damaged:?}");
        }
    }

    #[test]
    fn a_host_without_zone_files_gets_no_file_and_one_with_them_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let files = |texts: &[ZoneFileText]| ZoneFiles { texts: texts.to_vec(), ..ZoneFiles::default() };
        let (mine, other) = (Program::Requests, Program::Loader);
        write(dir.path(), mine, &files(&[])).unwrap();
        assert!(!path(dir.path(), mine).exists());
        for texts in [vec![text(b"/a.toml", "1")], vec![text(b"/a.toml", "2"), text(b"/b.toml", "3")], vec![]]
        {
            write(dir.path(), mine, &files(&texts)).unwrap();
            assert_eq!(read(dir.path(), mine).unwrap().unwrap().texts, texts);
        }
        assert_eq!(read(dir.path(), other).unwrap(), None, "each program has its own");
        std::fs::write(path(dir.path(), mine), "x").unwrap();
        assert_eq!(read(dir.path(), mine).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let held = [Name::parse("h.test").unwrap()];
        let files = ZoneFiles { texts: vec![text(b"/a", "")], held: held.to_vec(), ..ZoneFiles::default() };
        write(dir.path(), other, &files).unwrap();
        assert_eq!(super::held(dir.path()), held, "one that does not read hides nothing of the other");
    }
}
