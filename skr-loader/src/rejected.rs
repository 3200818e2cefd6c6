//! `rejected/`: the files that were rejected, each with a `.reason` beside it. Nothing there is ever replaced; when there are too many,
//! the oldest are removed.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keystore::config::LoaderConfig;
use keystore::dns::Name;
use keystore::durable;
use keystore::exchange::SkrFinding;
use keystore::open;
use keystore::store::digest;
use keystore::time::Timestamp;

use crate::files::{self, NamedBy, hex, one_line, printable};
use crate::inbox::Dropped;
use crate::operator::{SUFFIX as SIGNATURE, signature_path};

/// Octets of a dropped file's name that are kept.
const NAME_OCTETS: usize = 120;
/// Findings that a reason lists.
const FINDINGS: usize = 200;

const FOLDER_MODE: u32 = 0o750;
/// Behind a rejected file's name.
const REASON: &str = ".reason";
/// How a reason begins: what begins otherwise is not ours to remove.
const FIRST_WORD: &[u8] = b"file     ";
/// Reasons that are written at the same time.
const WRITERS: usize = 16;
/// `st_blocks` counts in these, whatever the block size is.
const BLOCK: u64 = 512;

/// The folder.
#[derive(Debug)]
pub struct Rejected {
    dir: PathBuf,
    /// Where the search for a free name begins.
    number: u64,
    limits: RejectedLimits,
    /// What we have put there, the oldest first; `None` = not listed yet.
    kept: Option<VecDeque<Kept>>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectedLimits {
    /// Files, each with its reason.
    pub files: usize,
    /// Octets of disk.
    pub octets: u64,
}

impl From<&LoaderConfig> for RejectedLimits {
    fn from(config: &LoaderConfig) -> Self {
        let files = usize::try_from(config.rejected_max_files).unwrap_or(usize::MAX);
        Self { files, octets: config.rejected_max_octets.into() }
    }
}

/// A rejected file with its reason.
#[derive(Debug)]
struct Kept {
    /// Without `.reason`.
    path: PathBuf,
    octets: u64,
}

/// What [`Rejected::prune`] did.
#[derive(Debug, Default)]
pub struct PrunedFiles {
    /// The files that were removed, without their reasons.
    pub removed: Vec<PathBuf>,
    /// Files that are kept.
    pub kept: usize,
    /// The first that could not be removed.
    pub error: Option<(PathBuf, io::Error)>,
}

impl Rejected {
    /// The folder at `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), number: 1, limits: (&LoaderConfig::default()).into(), kept: None }
    }

    /// Sets how much is kept, from the next [`Rejected::prune`] on.
    pub const fn set_limits(&mut self, limits: RejectedLimits) {
        self.limits = limits;
    }

    /// Takes the file at `path`, as [`Rejected::place`] gave it, into account.
    pub fn placed(&mut self, path: PathBuf) {
        if let Some(kept) = &mut self.kept {
            let octets = octets_of(&path);
            kept.push_back(Kept { path, octets });
        }
    }

    /// Removes the oldest while there are too many; never the newest, and nothing that is not a reason of ours with its file.
    pub fn prune(&mut self) -> io::Result<PrunedFiles> {
        own_folder(&self.dir)?;
        let kept = match &mut self.kept {
            Some(kept) => kept,
            none => none.insert(list(&self.dir)?),
        };
        let mut octets: u64 = kept.iter().map(|k| k.octets).sum();
        let mut pruned = PrunedFiles::default();
        while kept.len() > 1 && (kept.len() > self.limits.files || octets > self.limits.octets) {
            let Some(oldest) = kept.pop_front() else { break };
            octets = octets.saturating_sub(oldest.octets);
            // Replaced from outside since it was listed: not ours any more.
            if !is_our_reason(&with_reason(&oldest.path)) {
                continue;
            }
            // The reason last: a crash in between leaves one without a file, which the next start lists.
            match durable::remove_each_unsynced(&[
                &oldest.path,
                &signature_path(&oldest.path),
                &with_reason(&oldest.path),
            ]) {
                Ok(()) => pruned.removed.push(oldest.path),
                // Not tried for ever; the next start lists it again.
                Err(error) => drop(pruned.error.get_or_insert((oldest.path, error))),
            }
        }
        pruned.kept = kept.len();
        if !pruned.removed.is_empty() {
            self.sync()?;
        }
        Ok(pruned)
    }

    /// Writes the reasons for files of these names, each under a free name, and gives the path where each file belongs: the same without
    /// `.reason`. What the reasons say is synced; their names are by [`Rejected::sync`].
    pub fn place(&mut self, files: &[(&OsStr, &str)]) -> Vec<io::Result<PathBuf>> {
        if let Err(error) = own_folder(&self.dir) {
            let again = || io::Error::new(error.kind(), format!("{}: {error}", self.dir.display()));
            return files.iter().map(|_| Err(again())).collect();
        }
        let mut taken = HashSet::new();
        let chosen: Vec<_> = files.iter().map(|(name, text)| (self.free(name, &mut taken), *text)).collect();
        // A disk syncs many files at once in the time of one.
        let share = chosen.len().div_ceil(WRITERS).max(1);
        let write_share = |share: &[(PathBuf, &str)]| -> Vec<io::Result<()>> {
            share.iter().map(|(path, text)| write_reason(path, text)).collect()
        };
        let written: Vec<io::Result<()>> = std::thread::scope(|scope| {
            let spawn = |share| {
                let builder = std::thread::Builder::new().name("reasons".to_owned());
                (share, builder.spawn_scoped(scope, move || write_share(share)))
            };
            let writers: Vec<_> = chosen.chunks(share).skip(1).map(spawn).collect();
            let mut written = chosen.chunks(share).next().map_or_else(Vec::new, write_share);
            for (share, writer) in writers {
                // Without another thread this one does it.
                let done = writer.ok().and_then(|writer| writer.join().ok());
                written.extend(done.unwrap_or_else(|| write_share(share)));
            }
            written
        });
        let results = chosen.into_iter().zip(written).zip(files);
        results
            .map(|(((mut path, text), mut written), (name, _))| {
                loop {
                    match written {
                        // Somebody else took the name meanwhile.
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                            path = self.free(name, &mut taken);
                            written = write_reason(&path, text);
                        }
                        other => break other.map(|()| path),
                    }
                }
            })
            .collect()
    }

    /// Makes the names in the folder durable.
    pub fn sync(&self) -> io::Result<()> {
        durable::sync_dir(&self.dir)
    }

    /// A path that nobody has, neither with `.reason` nor without.
    fn free(&mut self, name: &OsStr, taken: &mut HashSet<PathBuf>) -> PathBuf {
        let name = safe_name(name.as_bytes());
        let mut path = self.dir.join(&name);
        while path.symlink_metadata().is_ok()
            || with_reason(&path).symlink_metadata().is_ok()
            || signature_path(&path).symlink_metadata().is_ok()
            || !taken.insert(path.clone())
        {
            path = self.dir.join(format!("{name}.{}", self.number));
            self.number += 1;
        }
        path
    }
}

/// Sees that the folder is there and nobody else's; makes it when it is gone.
fn own_folder(dir: &Path) -> io::Result<()> {
    match open::own_folder(dir) {
        Err(open::OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            durable::create_own_dir(dir, FOLDER_MODE)
        }
        other => other.map_err(io::Error::from),
    }
}

fn write_reason(path: &Path, text: &str) -> io::Result<()> {
    durable::write_new_unsynced(&with_reason(path), text.as_bytes(), 0o640)
}

fn with_reason(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(REASON);
    name.into()
}

/// What lies in the folder and is ours, the oldest first: each reason, whether its file is there or not.
fn list(dir: &Path) -> io::Result<VecDeque<Kept>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(stem) = name.as_bytes().strip_suffix(REASON.as_bytes()) else { continue };
        if stem.is_empty() || stem.starts_with(b".") || !stem.iter().all(is_plain) {
            continue;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() && is_our_reason(&entry.path()) {
            let path = dir.join(OsStr::from_bytes(stem));
            let octets = octets_of(&path);
            found.push(((metadata.mtime(), metadata.mtime_nsec()), Kept { path, octets }));
        }
    }
    found.sort_by(|(a, kept_a), (b, kept_b)| a.cmp(b).then_with(|| kept_a.path.cmp(&kept_b.path)));
    Ok(found.into_iter().map(|(_, kept)| kept).collect())
}

/// True when it begins as we write it.
fn is_our_reason(path: &Path) -> bool {
    let mut start = [0; FIRST_WORD.len()];
    let read = files::open(path, NamedBy::Dropper).and_then(|mut file| Ok(file.read_exact(&mut start)?));
    read.is_ok() && start == FIRST_WORD
}

/// Octets of disk that the file, its reason and its signature take.
fn octets_of(path: &Path) -> u64 {
    let octets = |path: &Path| path.symlink_metadata().map_or(0, |m| m.blocks().saturating_mul(BLOCK));
    [path, &with_reason(path), &signature_path(path)].into_iter().map(octets).fold(0, u64::saturating_add)
}

/// The name with nothing in it that a shell, a terminal or a file system takes amiss.
fn safe_name(name: &[u8]) -> String {
    let name: String =
        name.iter().take(NAME_OCTETS).map(|b| if is_plain(b) { char::from(*b) } else { '_' }).collect();
    let name = if name.starts_with(['.', '-']) { format!("_{name}") } else { name };
    // What ends like the files that we put beside a rejected one would pass for them.
    if [REASON, SIGNATURE].iter().any(|end| name.ends_with(end)) { name + "_" } else { name }
}

const fn is_plain(octet: &u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-' | b'+' | b'%')
}

/// The text of a reason.
pub fn reason(
    file: &Dropped,
    zone: Option<&Name>,
    in_force: Option<u64>,
    findings: &[SkrFinding],
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
        let _ = writeln!(out, "... and {more} more");
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
            (b"precious.reason", "precious.reason_"),
            (b"precious.p7s", "precious.p7s_"),
        ] {
            assert_eq!(safe_name(name), want);
        }
        assert_eq!(safe_name(&[b'x'; 255]).len(), NAME_OCTETS);
    }

    /// A folder with files of ours, `size` octets each, and its limits.
    fn folder(names: &[&str], size: usize, limits: RejectedLimits) -> (tempfile::TempDir, Rejected) {
        let dir = tempfile::tempdir().unwrap();
        let mut rejected = Rejected::new(dir.path());
        rejected.set_limits(limits);
        for (n, name) in names.iter().enumerate() {
            put(dir.path(), name, size, n as u64);
        }
        (dir, rejected)
    }

    fn put(dir: &Path, name: &str, size: usize, second: u64) {
        fs::write(dir.join(name), vec![b'x'; size]).unwrap();
        let reason = dir.join(format!("{name}.reason"));
        fs::write(&reason, "file     x\noctets   1\n").unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000 + second);
        fs::File::options().write(true).open(reason).unwrap().set_modified(time).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_go_first_and_the_newest_never() {
        let limits = |files, octets| RejectedLimits { files, octets };
        // By age, whatever the names are; what is at the limit stays.
        for (limits, want) in [
            (limits(3, u64::MAX), &["z", "m", "a"][..]),
            (limits(2, u64::MAX), &["m", "a"]),
            (limits(1, u64::MAX), &["a"]),
            (limits(9, 0), &["a"]),
            (limits(9, 3 * (100_000 + 50_000)), &["z", "m", "a"]),
            (limits(9, 2 * (100_000 + 50_000)), &["m", "a"]),
        ] {
            let (dir, mut rejected) = folder(&["z", "m", "a"], 100_000, limits);
            let pruned = rejected.prune().unwrap();
            assert!(pruned.error.is_none());
            assert_eq!((pruned.kept, pruned.removed.len()), (want.len(), 3 - want.len()), "{limits:?}");
            let mut want: Vec<String> =
                want.iter().flat_map(|n| [(*n).to_owned(), format!("{n}.reason")]).collect();
            want.sort();
            assert_eq!(names(dir.path()), want, "{limits:?}");
        }
    }

    #[test]
    fn what_is_placed_later_counts() {
        let (dir, mut rejected) = folder(&["a"], 10, RejectedLimits { files: 2, octets: u64::MAX });
        assert_eq!(rejected.prune().unwrap().kept, 1);
        for name in ["b", "c"] {
            put(dir.path(), name, 10, 9);
            rejected.placed(dir.path().join(name));
        }
        assert_eq!(rejected.prune().unwrap().removed, [dir.path().join("a")]);
        // Somebody else was faster.
        fs::remove_file(dir.path().join("b")).unwrap();
        fs::remove_file(dir.path().join("b.reason")).unwrap();
        put(dir.path(), "d", 10, 10);
        rejected.placed(dir.path().join("d"));
        let pruned = rejected.prune().unwrap();
        assert!(pruned.error.is_none() && pruned.removed.is_empty(), "{pruned:?}");
        assert_eq!(names(dir.path()), ["c", "c.reason", "d", "d.reason"]);
    }

    #[test]
    fn what_is_not_ours_stays() {
        let limits = RejectedLimits { files: 1, octets: u64::MAX };
        let (dir, mut rejected) = folder(&["old", "new"], 10, limits);
        let at = |name: &str| dir.path().join(name);
        fs::write(at("notes.txt"), "mine").unwrap();
        fs::write(at("case"), "mine").unwrap();
        fs::write(at("case.reason"), "because I say so\n").unwrap();
        fs::write(at("short.reason"), "file").unwrap();
        fs::write(at("a b.reason"), "file     x\n").unwrap();
        fs::create_dir(at("folder.reason")).unwrap();
        std::os::unix::fs::symlink(at("case.reason"), at("link.reason")).unwrap();
        // A reason without its file is ours all the same.
        fs::write(at("lost.reason"), "file     x\n").unwrap();
        fs::File::options()
            .write(true)
            .open(at("lost.reason"))
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        let pruned = rejected.prune().unwrap();
        assert_eq!(pruned.removed, [at("lost"), at("old")]);
        assert_eq!(
            names(dir.path()),
            [
                "a b.reason",
                "case",
                "case.reason",
                "folder.reason",
                "link.reason",
                "new",
                "new.reason",
                "notes.txt",
                "short.reason"
            ]
        );
    }
}
