//! The folders where the daemons meet, and the reading side of the accepted store.
//!
//! ```text
//! STATE-DIR/
//!   keys/       K*.key .private .state
//!   outbox/     ZONE/<start>.ksr
//!   inbox/
//!   accepted/   ZONE/<generation>.skr, ZONE/current
//!   rejected/   the file + <file>.reason
//! ```
//! `ZONE` is [`Name::file_name`] (the root: `.root`). `current` is a small text file: the generation in force and the
//! SHA-256 of its SKR (`<generation> <hex>\n`), swapped by [`crate::durable::write`].

use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use crate::crypto::sha256 as digest;
use crate::dns::Name;
use crate::durable;
use crate::open::{self, Links, OpenError};

/// Largest SKR that is read, in octets: ten years of bundles with RSA keys of 4096 bits take some 5 MB.
pub const MAX_SKR_OCTETS: u64 = 8 << 20;

/// Name of the file that says which generation is in force.
pub const CURRENT: &str = "current";

/// Folder of one zone below `accepted/` or `outbox/`.
#[must_use]
pub fn zone_dir(base: &Path, zone: &Name) -> PathBuf {
    if zone.is_root() { base.join(".root") } else { base.join(zone.file_name()) }
}

/// The generation in force, as it lies on disk; its octets have the digest that `current` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Its number, from 1.
    pub generation: u64,
    /// The SKR, in BIND's text form.
    pub octets: Vec<u8>,
}

/// Why the accepted store cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Error of the system call that failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the system call that failed.
        source: std::io::Error,
    },
    /// `current` or the SKR it names was altered from outside.
    #[error("{path}: {what}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit, and what to do.
        what: &'static str,
    },
}

/// Reads the generation in force; `Ok(None)` when nothing was ever accepted.
///
/// Only regular files are read, no links, at most [`MAX_SKR_OCTETS`]; the SKR must have the digest that `current` names.
/// Safe beside a loader that commits at the same time: the outcome is one generation, whole.
pub fn read_current(accepted: &Path, zone: &Name) -> Result<Option<Current>, StoreError> {
    let dir = zone_dir(accepted, zone);
    let current = dir.join(CURRENT);
    let mut seen = None;
    loop {
        let text = match read_regular(&current, MAX_CURRENT_OCTETS) {
            Ok(text) => text,
            Err(StoreError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && seen.is_none() =>
            {
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        let Some(named) = parse_current(&text) else {
            let what =
                "expected one line `<generation> <SHA-256 in hex>`; restore the file, or accept an SKR anew";
            return Err(StoreError::Damaged { path: current, what });
        };
        let path = skr_path(&dir, named.0);
        match read_regular(&path, MAX_SKR_OCTETS) {
            Ok(octets) if digest(&octets) == named.1 => {
                return Ok(Some(Current { generation: named.0, octets }));
            }
            // The loader may have moved on and tidied up since `current` was read: then `current` has changed.
            other if seen == Some(named) => {
                other?;
                let what = "its SHA-256 is not the one that `current` names: the file was altered; restore it, or accept an SKR anew";
                return Err(StoreError::Damaged { path, what });
            }
            _ => seen = Some(named),
        }
    }
}

/// What the generation in force looks like from outside: `current`, and the SKR that it names. Equal as long as nobody wrote or
/// replaced one of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedMark {
    current: (FileMark, Option<u64>),
    skr: Option<FileMark>,
}

/// Device, inode, length, and the times of the last change of content and of inode, in seconds and nanoseconds.
type FileMark = ([u64; 3], [i64; 2], [i32; 2]);

/// The mark of the generation in force; `None` when nothing was ever accepted, or `current` is gone.
#[must_use]
pub fn accepted_mark(accepted: &Path, zone: &Name) -> Option<AcceptedMark> {
    let mark = |path: &Path| {
        let m = path.symlink_metadata().ok()?;
        // Below 10^9.
        let nanos = |nanos: i64| i32::try_from(nanos).unwrap_or(i32::MAX);
        let times = ([m.mtime(), m.ctime()], [nanos(m.mtime_nsec()), nanos(m.ctime_nsec())]);
        Some(([m.dev(), m.ino(), m.len()], times.0, times.1))
    };
    let dir = zone_dir(accepted, zone);
    let path = dir.join(CURRENT);
    let current = mark(&path)?;
    let text = read_regular(&path, MAX_CURRENT_OCTETS).ok();
    let generation = text.and_then(|text| parse_current(&text)).map(|(generation, _)| generation);
    let skr = generation.and_then(|generation| mark(&skr_path(&dir, generation)));
    Some(AcceptedMark { current: (current, generation), skr })
}

/// Name of the file below `zones/ZONE/` that says the largest TTL of a zone, where that is above the policy's `max-zone-ttl`.
const LARGEST_TTL: &str = "largest-ttl";

/// The largest TTL of a zone in seconds, as the signer of this state folder has noted it; `None` where it is not above `max-zone-ttl`, or
/// nothing signs the zone here.
pub fn largest_ttl(state_dir: &Path, zone: &Name) -> Result<Option<u32>, StoreError> {
    let path = zone_dir(&state_dir.join("zones"), zone).join(LARGEST_TTL);
    let text = match read_regular(&path, MAX_CURRENT_OCTETS) {
        Ok(text) => text,
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
    let what = "expected one line with a TTL in seconds; remove the file, and the signer writes it again at its next start";
    number.map(Some).ok_or(StoreError::Damaged { path, what })
}

/// Notes the largest TTL of a zone in its folder below `zones/`, or that it is not above `max-zone-ttl`.
pub fn write_largest_ttl(zone_state: &Path, ttl: Option<u32>) -> io::Result<()> {
    let path = zone_state.join(LARGEST_TTL);
    match ttl {
        Some(ttl) => {
            durable::create_dir_durable(zone_state, 0o755)?;
            durable::write(&path, format!("{ttl}\n").as_bytes(), 0o644)
        }
        None if path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) => Ok(()),
        None => durable::remove(&path),
    }
}

/// Path of the SKR of `generation` in the zone's folder below `accepted/` (see [`zone_dir`]).
#[must_use]
pub fn skr_path(zone_dir: &Path, generation: u64) -> PathBuf {
    zone_dir.join(format!("{generation}.skr"))
}

/// The content of `current`: `<generation> <hex>\n`.
#[must_use]
pub fn format_current(generation: u64, digest: &[u8; 32]) -> String {
    let mut text = format!("{generation} ");
    for octet in digest {
        write!(text, "{octet:02x}").expect("a String takes all text");
    }
    text.push('\n');
    text
}

/// Reads what [`format_current`] writes, and only that; `None` for anything else.
#[must_use]
pub fn parse_current(text: &[u8]) -> Option<(u64, [u8; 32])> {
    let line = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let (generation, hex) = line.split_once(' ')?;
    let generation = generation.parse().ok().filter(|n| *n > 0)?;
    let digest = data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()?;
    // Leading zeros and signs are none of ours.
    (format_current(generation, &digest).as_bytes() == text).then_some((generation, digest))
}

/// `u64` and 64 hex digits with blank and newline take 86 octets.
const MAX_CURRENT_OCTETS: u64 = 128;

fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let damaged = |what| StoreError::Damaged { path: path.to_owned(), what };
    let (file, metadata) = open::for_reading(path, Links::Refuse).map_err(|error| match error {
        OpenError::Io(source) => io(source),
        OpenError::NotRegular("symbolic link") => {
            damaged("is a symbolic link; only regular files are read here")
        }
        _ => damaged("is no regular file; remove it, or accept an SKR anew"),
    })?;
    // With room for one octet more the end is seen without another piece.
    let room = usize::try_from(metadata.len().min(limit)).map_or(0, |len| len + 1);
    let mut octets = Vec::with_capacity(room);
    file.take(limit + 1).read_to_end(&mut octets).map_err(io)?;
    if octets.len() as u64 > limit {
        return Err(damaged("is larger than any file that was accepted; restore it, or accept an SKR anew"));
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use proptest::prelude::*;

    fn store(zone: &str) -> (tempfile::TempDir, Name, PathBuf) {
        let base = tempfile::tempdir().unwrap();
        let zone = Name::parse(zone).unwrap();
        let dir = zone_dir(base.path(), &zone);
        fs::create_dir(&dir).unwrap();
        (base, zone, dir)
    }

    fn commit(dir: &Path, generation: u64, octets: &[u8]) {
        fs::write(skr_path(dir, generation), octets).unwrap();
        fs::write(dir.join(CURRENT), format_current(generation, &digest(octets))).unwrap();
    }

    #[test]
    fn reads_what_was_committed() {
        for zone in ["example.test", ".", "x/y.test"] {
            let (base, name, dir) = store(zone);
            assert_eq!(read_current(base.path(), &name).unwrap(), None, "{zone}");
            commit(&dir, 1, b"first");
            commit(&dir, 2, b"");
            let expected = Current { generation: 2, octets: Vec::new() };
            assert_eq!(read_current(base.path(), &name).unwrap(), Some(expected), "{zone}");
        }
        assert_eq!(read_current(Path::new("/nonexistent"), &Name::root()).unwrap(), None);
    }

    #[test]
    fn damage_is_told() {
        type Harm = fn(&Path);
        let harms: [(&str, Harm); 10] = [
            ("altered SKR", |d| fs::write(d.join("1.skr"), "SKR.").unwrap()),
            ("SKR cut", |d| fs::write(d.join("1.skr"), "SK").unwrap()),
            ("SKR a link to the very content", |d| {
                fs::rename(d.join("1.skr"), d.join("x")).unwrap();
                std::os::unix::fs::symlink("x", d.join("1.skr")).unwrap();
            }),
            ("SKR a folder", |d| {
                fs::remove_file(d.join("1.skr")).unwrap();
                fs::create_dir(d.join("1.skr")).unwrap();
            }),
            ("SKR huge and sparse", |d| {
                fs::File::create(d.join("1.skr")).unwrap().set_len(MAX_SKR_OCTETS + 1).unwrap();
            }),
            ("current empty", |d| fs::write(d.join(CURRENT), "").unwrap()),
            ("current huge", |d| fs::File::create(d.join(CURRENT)).unwrap().set_len(5 << 30).unwrap()),
            ("current a link", |d| {
                fs::remove_file(d.join(CURRENT)).unwrap();
                std::os::unix::fs::symlink("/dev/zero", d.join(CURRENT)).unwrap();
            }),
            ("current a folder", |d| {
                fs::remove_file(d.join(CURRENT)).unwrap();
                fs::create_dir(d.join(CURRENT)).unwrap();
            }),
            ("current names another digest", |d| {
                fs::write(d.join(CURRENT), format_current(1, &digest(b"other"))).unwrap();
            }),
        ];
        for (what, harm) in harms {
            let (base, zone, dir) = store("example.test");
            commit(&dir, 1, b"SKR!");
            harm(&dir);
            let error = read_current(base.path(), &zone).expect_err(what);
            assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error}");
        }
        let (base, zone, dir) = store("example.test");
        commit(&dir, 1, b"SKR!");
        fs::remove_file(dir.join("1.skr")).unwrap();
        assert!(matches!(read_current(base.path(), &zone), Err(StoreError::Io { .. })));
    }

    #[test]
    fn a_reader_beside_a_committing_loader_sees_whole_generations() {
        let (base, zone, dir) = store("example.test");
        let content = |n: u64| format!("generation {n}").repeat(100).into_bytes();
        commit(&dir, 1, &content(1));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 2..60 {
                    crate::durable::write(&skr_path(&dir, n), &content(n), 0o600).unwrap();
                    let text = format_current(n, &digest(&content(n)));
                    crate::durable::write(&dir.join(CURRENT), text.as_bytes(), 0o600).unwrap();
                    fs::remove_file(skr_path(&dir, n - 1)).unwrap();
                }
            });
            let mut last = 0;
            while last < 59 {
                let seen = read_current(base.path(), &zone).unwrap().unwrap();
                assert!(seen.generation >= last);
                assert_eq!(seen.octets, content(seen.generation));
                last = seen.generation;
            }
        });
    }

    #[test]
    fn current_is_read_strictly() {
        let good = format_current(7, &[0xab; 32]);
        assert_eq!(good, format!("7 {}\n", "ab".repeat(32)));
        assert_eq!(parse_current(good.as_bytes()), Some((7, [0xab; 32])));
        for bad in [
            good.replace('7', "07"),
            good.replace('7', "0"),
            good.replace('7', "+7"),
            good.replace('7', "18446744073709551616"),
            good.replace("ab", "AB"),
            good.replace('\n', ""),
            good.replace('\n', "\r\n"),
            format!("{good}\n"),
            good.replace(' ', "  "),
            good.replacen("ab", "", 1),
        ] {
            assert_eq!(parse_current(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn current_round_trip(generation in 1..u64::MAX, digest: [u8; 32], noise: Vec<u8>) {
            prop_assert_eq!(parse_current(format_current(generation, &digest).as_bytes()), Some((generation, digest)));
            let _ = parse_current(&noise);
        }
    }

    #[test]
    fn the_mark_changes_with_each_of_the_two_files() {
        type Change = fn(&Path);
        let changes: [(&str, Change, bool); 7] = [
            ("nothing", |_| {}, false),
            ("an older generation", |d| fs::write(d.join("1.skr"), "other").unwrap(), false),
            ("damage of the SKR", |d| fs::write(d.join("2.skr"), "damage").unwrap(), true),
            ("the SKR is gone", |d| fs::remove_file(d.join("2.skr")).unwrap(), true),
            (
                "the same SKR in a new file",
                |d| {
                    fs::write(d.join("x"), "second").unwrap();
                    fs::rename(d.join("x"), d.join("2.skr")).unwrap();
                },
                true,
            ),
            ("a new generation", |d| commit(d, 3, b"third"), true),
            ("`current` is gone", |d| fs::remove_file(d.join(CURRENT)).unwrap(), true),
        ];
        for (what, change, changed) in changes {
            let (base, name, dir) = store("example.test");
            assert_eq!(accepted_mark(base.path(), &name), None, "{what}");
            commit(&dir, 1, b"first");
            commit(&dir, 2, b"second");
            let before = accepted_mark(base.path(), &name);
            change(&dir);
            let now = accepted_mark(base.path(), &name);
            assert_eq!(now != before, changed, "{what}");
        }
    }
}
