//! Which takeover a state folder comes from, and whether a copy of it is whole.
//!
//! ```text
//! pair-generation   7 a        the host of takeover 7, a, has made this state; copied with it
//! pair-held         names of zones of which nothing is published since that takeover, one a line; where there are such
//! pair-copied       7 a to b   a whole copy of it came to host b; written by b, last
//!                   7 a to b ended 123   the same, begun after a had ended in order and given back its lease with this number
//! ```
//! On host `b` the first file with the name of another host counts only with the second one beside it, so a copy that ended half-way, or
//! that another program put there, is known.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::generation::Generation;
use crate::dns::Name;
use crate::durable;

/// Where the state of a host comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// From no host of a pair.
    Alone,
    /// From this host, which became active by this takeover.
    Own(Generation),
    /// A whole copy of the state of another host.
    Copied {
        /// The takeover by which that host is or was active.
        generation: Generation,
        /// That host.
        made_by: String,
        /// The number of the end with which it had given back its lease before the copy was begun: all that it did is in the copy. `None`: it was
        /// at work.
        ended: Option<u64>,
    },
    /// A copy that did not come to its end.
    Half,
}

/// The file that says which host and takeover made the state.
#[must_use]
pub fn made_path(state_dir: &Path) -> PathBuf {
    state_dir.join("pair-generation")
}

fn copied_path(state_dir: &Path) -> PathBuf {
    state_dir.join("pair-copied")
}

/// Where the state in this folder of `host` comes from.
///
/// # Errors
/// When a file cannot be read, or is damaged: a state of unknown origin must not become active.
pub fn read(state_dir: &Path, host: &str) -> io::Result<Origin> {
    let Some((generation, made_by)) = read_made(state_dir)? else {
        let is_begun = read_text(&copied_path(state_dir))?.is_some();
        return Ok(if is_begun { Origin::Half } else { Origin::Alone });
    };
    if made_by == host {
        return Ok(Origin::Own(generation));
    }
    let text = read_text(&copied_path(state_dir))?.unwrap_or_default();
    let line =
        text.strip_suffix('\n').and_then(|line| line.strip_prefix(&copied(generation, &made_by, host)));
    let ended = match line {
        Some("") => None,
        Some(rest) => match rest.strip_prefix(" ended ").and_then(|number| number.parse().ok()) {
            Some(number) => Some(number),
            None => return Ok(Origin::Half),
        },
        None => return Ok(Origin::Half),
    };
    Ok(Origin::Copied { generation, made_by, ended })
}

/// The takeover and the host that made the state in this folder, whoever has it now; `None` when no host of a pair has.
///
/// # Errors
/// When the file cannot be read, or is damaged.
pub fn read_made(dir: &Path) -> io::Result<Option<(Generation, String)>> {
    let path = made_path(dir);
    let Some(text) = read_text(&path)? else { return Ok(None) };
    let parsed = text.strip_suffix('\n').and_then(|line| line.split_once(' '));
    let parsed = parsed.and_then(|(number, host)| Some((Generation::parse(number)?, host.to_owned())));
    let what = || format!("{}: it says no takeover", path.display());
    parsed.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, what()))
}

/// Notes that `host` makes the state in this folder by `generation` from now on.
pub fn write_own(state_dir: &Path, generation: Generation, host: &str) -> io::Result<()> {
    durable::write(&made_path(state_dir), format!("{generation} {host}\n").as_bytes(), 0o644)?;
    durable::remove_each(&[&copied_path(state_dir)])
}

fn held_path(state_dir: &Path) -> PathBuf {
    state_dir.join("pair-held")
}

/// Notes the zones of which this host publishes nothing after a takeover.
pub fn write_held(state_dir: &Path, zones: &BTreeSet<Name>) -> io::Result<()> {
    if zones.is_empty() {
        return durable::remove_each(&[&held_path(state_dir)]);
    }
    let text: String = zones.iter().map(|zone| format!("{zone}\n")).collect();
    durable::write(&held_path(state_dir), text.as_bytes(), 0o644)
}

/// The zones of which this host publishes nothing since its takeover.
///
/// # Errors
/// When the file cannot be read, or is damaged.
pub fn read_held(state_dir: &Path) -> io::Result<BTreeSet<Name>> {
    let text = read_text(&held_path(state_dir))?.unwrap_or_default();
    let name = |line: &str| {
        Name::parse(line)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("pair-held: {error}")))
    };
    text.lines().map(name).collect()
}

/// Notes that a copy is being put into the folder: until [`end_copy`] its state is half of one and half of another.
pub fn begin_copy(state_dir: &Path) -> io::Result<()> {
    durable::write(&copied_path(state_dir), b"begun\n", 0o644)?;
    durable::remove_each(&[&made_path(state_dir)])
}

/// Notes that the state in this folder of `host` is a whole copy; `ended` is the number of the end with which the host that made it had given
/// back its lease before the copy was begun, if it had.
///
/// # Errors
/// When it does not say whose state it is, or a file cannot be read or written.
pub fn end_copy(state_dir: &Path, host: &str, ended: Option<u64>) -> io::Result<()> {
    let nobody =
        || io::Error::new(io::ErrorKind::InvalidData, "the copy does not say which takeover it is of");
    let (generation, made_by) = read_made(state_dir)?.ok_or_else(nobody)?;
    let ended = ended.map_or_else(String::new, |number| format!(" ended {number}"));
    let line = copied(generation, &made_by, host) + &ended + "\n";
    durable::write(&copied_path(state_dir), line.as_bytes(), 0o644)
}

fn copied(generation: Generation, made_by: &str, host: &str) -> String {
    format!("{generation} {made_by} to {host}")
}

fn read_text(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_that_are_held_are_known_until_the_next_takeover() {
        let dir = tempfile::tempdir().expect("a folder");
        let zones: BTreeSet<Name> = ["a.test", "."].map(|zone| Name::parse(zone).expect("a name")).into();
        for zones in [BTreeSet::new(), zones, BTreeSet::new()] {
            write_held(dir.path(), &zones).expect("written");
            assert_eq!(read_held(dir.path()).expect("it reads"), zones);
        }
        std::fs::write(held_path(dir.path()), "a..b\n").expect("written");
        assert!(read_held(dir.path()).is_err());
    }

    #[test]
    fn a_state_is_of_its_host_or_a_whole_copy_and_anything_else_is_known_as_half() {
        let dir = tempfile::tempdir().expect("a folder");
        let (two, origin) = (Generation::FIRST.next(), |host| read(dir.path(), host).expect("it reads"));
        assert_eq!(origin("b"), Origin::Alone);
        write_own(dir.path(), two, "a").expect("written");
        assert_eq!(
            (origin("a"), origin("b")),
            (Origin::Own(two), Origin::Half),
            "nobody has said that it is whole"
        );
        for ended in [None, Some(u64::MAX)] {
            end_copy(dir.path(), "b", ended).expect("written");
            let copied = Origin::Copied { generation: two, made_by: "a".to_owned(), ended };
            assert_eq!((origin("b"), origin("c")), (copied, Origin::Half));
        }
        for text in
            ["2 a to b", "2 a to b ended\n", "2 a to b ended x\n", "2 a to b1\n", "2 a to b ended 1 2\n"]
        {
            std::fs::write(copied_path(dir.path()), text).expect("written");
            assert_eq!(origin("b"), Origin::Half, "{text:?}");
        }
        begin_copy(dir.path()).expect("written");
        assert_eq!((origin("a"), origin("b")), (Origin::Half, Origin::Half));
        assert!(end_copy(dir.path(), "b", None).is_err(), "nothing says whose it is");
        // The mark of the copy that was begun vouches for nothing that comes later.
        std::fs::write(made_path(dir.path()), "3 a\n").expect("written");
        assert_eq!(origin("b"), Origin::Half);
        for text in ["", "0 a\n", "3\n", "3 a", "x a\n"] {
            std::fs::write(made_path(dir.path()), text).expect("written");
            assert!(read(dir.path(), "b").is_err(), "{text:?}");
        }
    }
}
