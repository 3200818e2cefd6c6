//! The one way a file is written: temp file in the same folder, fsync, rename, fsync of the folder.
//!
//! ```text
//! .NAME.XXXXXX.tmp  ──write──▶ ──fsync──▶ ──rename──▶ NAME ──fsync folder──▶ done
//!        └───────────── any error: unlink, the old NAME is untouched ◀──┘
//! ```
//! A temp file is locked (`flock`) as long as its writer lives, so that [`sweep_temps`] of a starting daemon removes
//! what a crashed process left and never what another one is just writing.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::open;

/// Writes `bytes` to `path` so that a crash at any moment leaves the old or the new content, whole.
///
/// Temp file in the same folder (`O_EXCL`, mode `mode` from the start, name `.NAME.XXXXXX.tmp`), write, fsync, rename,
/// fsync of the folder. The mode ends as exactly `mode`, whatever the umask. A symbolic link at `path` is replaced, not followed.
///
/// On an error the temp file is removed and the old content is untouched; only when the very last step, the fsync of
/// the folder, fails, the new content is already in place (whole) and just not yet sure to outlive a power loss.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_with(path, mode, |out| out.write_all(bytes))
}

/// Like [`write`], with content that `fill` writes piece by piece: for what is too large to be held in memory a second time.
pub fn write_with(path: &Path, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let temp = Temp::create(path, mode, fill)?;
    fs::rename(&temp.path, path)?;
    temp.done(path)
}

/// Like [`write`], but not durable: the new content outlives this process, and a loss of power may leave any octets of it, or the old content.
pub fn write_unsynced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut temp = Temp::create_unsynced(path, mode, |out| out.write_all(bytes))?;
    fs::rename(&temp.path, path)?;
    temp.file = None;
    Ok(())
}

/// Appends `bytes` to the regular file `path`, which must be there and have exactly `len` octets, and makes that durable (fdatasync).
///
/// After an error it is not known how much of `bytes` is in the file, and the kernel may have dropped what it could not write: the
/// caller must not append to this file again, but write a new one.
pub fn append(path: &Path, len: u64, bytes: &[u8]) -> io::Result<()> {
    appended(path, len, bytes)?.sync_data()
}

/// Like [`append`], but not durable: the octets outlive this process, and not a loss of power.
pub fn append_unsynced(path: &Path, len: u64, bytes: &[u8]) -> io::Result<()> {
    appended(path, len, bytes).map(drop)
}

fn appended(path: &Path, len: u64, bytes: &[u8]) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = OpenOptions::new().append(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() != len {
        let what = format!("expected a regular file of {len} octets and found one of {}", found.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    file.write_all(bytes)?;
    Ok(file)
}

/// Writes `bytes` over the octets from `at` on of the regular file `path`, which must be there and have exactly `len` octets, and makes that
/// durable (fdatasync). On a file system that writes in place this needs no space, so it works on a full disk.
///
/// A crash may leave a part of `bytes` there: keep two copies with checksums, and write over one at a time.
pub fn overwrite(path: &Path, len: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() != len || at.saturating_add(bytes.len() as u64) > len {
        let what = format!("expected a regular file of {len} octets and found one of {}", found.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    file.write_all_at(bytes, at)?;
    file.sync_data()
}

/// Like [`write`], but fails with [`io::ErrorKind::AlreadyExists`] when there is anything at `path`, and leaves that untouched.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temp = Temp::create(path, mode, |out| out.write_all(bytes))?;
    rename_no_replace(&temp.path, path)?;
    temp.done(path)
}

/// Like [`write_new`] without the fsync of the folder, for many files at once: the content is synced, and the caller calls [`sync_dir`]
/// when all have their names.
pub fn write_new_unsynced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut temp = Temp::create(path, mode, |out| out.write_all(bytes))?;
    rename_no_replace(&temp.path, path)?;
    temp.file = None;
    Ok(())
}

/// Like [`rename_new`] without the fsync of the folders, which the caller does for many files at once: the new folder first.
pub fn rename_new_unsynced(from: &Path, to: &Path) -> io::Result<()> {
    rename_no_replace(from, to)
}

/// Like [`remove_each`] without the fsync of the folder.
pub fn remove_each_unsynced(paths: &[&Path]) -> io::Result<()> {
    for path in paths {
        match fs::remove_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// Renames `from` to `to`, replacing `to`, and makes that durable (fsync of both folders, the new one first).
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_both(from, to)
}

/// Like [`rename`], but fails with [`io::ErrorKind::AlreadyExists`] when there is anything at `to`.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    rename_no_replace(from, to)?;
    sync_both(from, to)
}

/// Removes the file `path` and makes that durable (fsync of its folder).
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_dir(folder(path))
}

/// Removes the files, which lie in one folder, in this order, and makes that durable. Those that are gone already are no error.
pub fn remove_each(paths: &[&Path]) -> io::Result<()> {
    remove_each_unsynced(paths)?;
    paths.first().map_or(Ok(()), |path| sync_dir(folder(path)))
}

/// Makes the folder `path`, and those above it that are missing, each with exactly `mode`, and makes that durable (fsync
/// of each parent). A folder that is already there is left as it is; its parent is synced all the same, since whoever
/// made it may have died before doing so.
pub fn create_dir_durable(path: &Path, mode: u32) -> io::Result<()> {
    let parent = folder(path);
    let make = || DirBuilder::new().mode(mode).create(path);
    let mut made = make();
    if made.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
        && parent != path
        && parent != Path::new(".")
    {
        create_dir_durable(parent, mode)?;
        // Once: where no folder can be made (/proc) it is not found for ever.
        made = make();
    }
    match made {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode))?,
        Err(_) if path.is_dir() => {}
        Err(e) => return Err(e),
    }
    sync_dir(parent)
}

/// The same for a folder that this process alone writes into, below one that other users may write into too: one that is there already
/// must not be another user's, nor a link that another user may have put there ([`open::own_folder`]).
pub fn create_own_dir(path: &Path, mode: u32) -> io::Result<()> {
    create_dir_durable(path, mode)?;
    open::own_folder(path).map_err(io::Error::from)
}

/// Removes the temp files that processes which are gone left in `dir` (not in folders below), and gives their number.
///
/// Temp files of a live writer are locked and stay. Anything else is not looked at: only regular files
/// with a name as [`write`] gives it.
pub fn sweep_temps(dir: &Path) -> io::Result<usize> {
    sweep(dir, |_| true)
}

/// The same for the temp files of one file alone, in whatever folder it is.
pub fn sweep_temps_of(path: &Path) -> io::Result<usize> {
    let Some(name) = path.file_name() else { return Ok(0) };
    let start = [b".", name.as_bytes(), b"."].concat();
    sweep(folder(path), |temp| {
        // `.NAME.` and six random characters, so that the temps of `NAME.old` are not taken for those of `NAME`.
        temp.as_bytes().starts_with(&start) && temp.len() == start.len() + RANDOM_LEN + TEMP_SUFFIX.len()
    })
}

fn sweep(dir: &Path, wanted: impl Fn(&OsStr) -> bool) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if !is_temp_name(&name) || !wanted(&name) || !entry.file_type()?.is_file() {
            continue;
        }
        let path = entry.path();
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            // Its writer was faster, or it is another user's.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                continue;
            }
            Err(e) => return Err(e),
        };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => swept += 1,
            // Gone, or another user's in a folder where each removes his own.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
            Err(e) => return Err(e),
        }
    }
    if swept > 0 {
        sync_dir(dir)?;
    }
    Ok(swept)
}

/// True for a name that [`write`] gives to its temp files (`.NAME.XXXXXX.tmp`); whoever scans a folder skips these.
#[must_use]
pub fn is_temp_name(name: &OsStr) -> bool {
    let inner = name.as_bytes().strip_prefix(b".").and_then(|n| n.strip_suffix(TEMP_SUFFIX));
    inner.and_then(|n| n.split_last_chunk::<{ RANDOM_LEN + 1 }>()).is_some_and(|(stem, tail)| {
        !stem.is_empty() && tail[0] == b'.' && tail[1..].iter().all(u8::is_ascii_alphanumeric)
    })
}

/// Makes the names in `dir` durable. What is no folder is not opened: a FIFO in its place would keep this process waiting.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    let flags = (OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(dir)?.sync_all()
}

const TEMP_SUFFIX: &[u8] = b".tmp";
const RANDOM_LEN: usize = 6;
const NAME_MAX: usize = 255;

/// A temp file with its content written and synced; removed when dropped before [`Temp::done`].
struct Temp {
    path: PathBuf,
    /// Keeps the lock; `None` once the file has its final name.
    file: Option<File>,
}

impl Temp {
    fn create(target: &Path, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<Self> {
        let temp = Self::create_unsynced(target, mode, fill)?;
        temp.file.as_ref().map_or(Ok(()), File::sync_all)?;
        Ok(temp)
    }

    fn create_unsynced(
        target: &Path,
        mode: u32,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<Self> {
        let name = target.file_name().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a file name")
        })?;
        loop {
            let path = folder(target).join(temp_name(name));
            // 0600 at most until fchmod, so that no umask opens it wider than asked for.
            let opened = OpenOptions::new().write(true).create_new(true).mode(mode & 0o600).open(&path);
            let mut temp = match opened {
                Ok(file) => Self { path, file: Some(file) },
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e),
            };
            let Some(file) = temp.file.as_mut() else { continue };
            let locked = rustix::fs::flock(&*file, FlockOperation::NonBlockingLockExclusive);
            // Any other failure is a file system without locks, and nobody can sweep there either.
            let caught = locked == Err(Errno::WOULDBLOCK);
            if caught || file.metadata()?.nlink() == 0 {
                continue; // a sweeper caught the file between its birth and its lock
            }
            file.set_permissions(Permissions::from_mode(mode))?;
            fill(file)?;
            return Ok(temp);
        }
    }

    /// The file has its final name: make that durable.
    fn done(mut self, target: &Path) -> io::Result<()> {
        self.file = None;
        sync_dir(folder(target))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Nothing more can be done about a failure here; the next start sweeps.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// `.NAME.XXXXXX.tmp`, with NAME cut so that the whole fits in a folder entry. `O_EXCL` decides, so chance need not be secret.
fn temp_name(name: &OsStr) -> OsString {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let stem = &name.as_bytes()[..name.len().min(NAME_MAX - 2 - RANDOM_LEN - TEMP_SUFFIX.len())];
    let mut out = Vec::with_capacity(NAME_MAX);
    out.push(b'.');
    out.extend_from_slice(stem);
    out.push(b'.');
    let mut chance = RandomState::new().build_hasher().finish();
    for _ in 0..RANDOM_LEN {
        out.push(ALPHABET[(chance % 62) as usize]);
        chance /= 62;
    }
    out.extend_from_slice(TEMP_SUFFIX);
    OsString::from_vec(out)
}

fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that lacks the flag: a link never replaces anything either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

fn sync_both(from: &Path, to: &Path) -> io::Result<()> {
    sync_dir(folder(to))?;
    if folder(from) != folder(to) {
        sync_dir(folder(from))?;
    }
    Ok(())
}

/// The folder that holds `path`; `.` for a bare name.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn writes_and_replaces_with_the_very_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("current");
        for (bytes, mode) in [(&b"one"[..], 0o600), (b"", 0o666), (b"two\n", 0o400), (b"three", 0o644)] {
            write(&path, bytes, mode).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
        assert_eq!(names(dir.path()), ["current"]);
    }

    #[test]
    fn overwrites_within_a_file_of_the_expected_length_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        assert_eq!(overwrite(&path, 6, 0, b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "abcdef").unwrap();
        overwrite(&path, 6, 2, b"CD").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abCDef");
        for (len, at, bytes) in
            [(5, 0, &b"x"[..]), (7, 0, b"x"), (6, 5, b"xy"), (6, 7, b""), (6, u64::MAX, b"x")]
        {
            assert_eq!(overwrite(&path, len, at, bytes).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(overwrite(&link, 6, 0, b"x").is_err() && overwrite(dir.path(), 6, 0, b"x").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"abCDef");
    }

    #[test]
    fn replaces_a_link_and_leaves_what_it_points_to() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, link) = (dir.path().join("victim"), dir.path().join("link"));
        fs::write(&victim, "mine").unwrap();
        symlink(&victim, &link).unwrap();
        write(&link, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
    }

    #[test]
    fn an_error_leaves_the_old_content_and_no_temp_file() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("inside"), "x").unwrap();
        write(&taken, b"new", 0o600).unwrap_err();
        write_new(&taken, b"new", 0o600).unwrap_err();
        assert_eq!(names(dir.path()), ["taken"]);
        assert_eq!(
            write(&dir.path().join("no/such/folder"), b"", 0o600).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(write(Path::new("/tmp/.."), b"", 0o600).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn write_new_and_rename_new_never_replace() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        write_new(&a, b"first", 0o640).unwrap();
        assert_eq!(fs::metadata(&a).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(write_new(&a, b"second", 0o640).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&a).unwrap(), b"first");
        symlink("/nonexistent", &b).unwrap();
        assert_eq!(write_new(&b, b"x", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(rename_new(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(dir.path()), ["a", "b"]);
        remove_each(&[&b, &dir.path().join("gone")]).unwrap();
        rename_new_unsynced(&a, &b).unwrap();
        assert_eq!(write_new_unsynced(&b, b"x", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(dir.path()), ["b"]);
        write_new_unsynced(&a, b"x", 0o640).unwrap();
        assert_eq!(fs::metadata(&a).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(rename_new_unsynced(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        remove_each_unsynced(&[&a, &a]).unwrap();
        assert_eq!(names(dir.path()), ["b"]);
        write(&a, b"again", 0o600).unwrap();
        rename(&b, &a).unwrap();
        assert_eq!(fs::read(&a).unwrap(), b"first");
    }

    #[test]
    fn content_that_cannot_be_made_replaces_nothing_and_leaves_no_temp_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        write_with(&path, 0o600, |out| out.write_all(b"one").and_then(|()| out.write_all(b" two"))).unwrap();
        let failing = |out: &mut File| {
            out.write_all(b"half")?;
            Err(io::Error::other("no more"))
        };
        assert_eq!(write_with(&path, 0o600, failing).unwrap_err().to_string(), "no more");
        assert_eq!(fs::read(&path).unwrap(), b"one two");
        assert_eq!(names(dir.path()), ["state"]);
    }

    #[test]
    fn appends_only_to_a_regular_file_of_the_length_that_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(append(&path, 0, b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
        write(&path, b"one", 0o600).unwrap();
        append(&path, 3, b" two").unwrap();
        for len in [0, 3, 6, 8, u64::MAX] {
            assert_eq!(append(&path, len, b"x").unwrap_err().kind(), io::ErrorKind::InvalidData, "{len}");
        }
        append(&path, 7, b"").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one two");
        symlink(&path, dir.path().join("link")).unwrap();
        append(&dir.path().join("link"), 7, b"x").unwrap_err();
        append(dir.path(), 0, b"x").unwrap_err();
    }

    #[test]
    fn makes_folders() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir_durable(&deep, 0o750).unwrap();
        create_dir_durable(&deep, 0o700).unwrap();
        for made in [&deep, &dir.path().join("a")] {
            assert_eq!(
                fs::metadata(made).unwrap().mode() & 0o7777,
                0o750,
                "an existing folder keeps its mode"
            );
        }
        fs::write(dir.path().join("file"), "").unwrap();
        create_dir_durable(&dir.path().join("file"), 0o700).unwrap_err();
        create_dir_durable(&dir.path().join("file/below"), 0o700).unwrap_err();
        // Where mkdir says that the parent is not there although it is.
        create_dir_durable(Path::new("/proc/none/below"), 0o700).unwrap_err();
        create_dir_durable(Path::new("."), 0o700).unwrap();
    }

    #[test]
    fn sweeps_what_the_dead_left_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let keep = [
            "current",
            ".current.tmp",
            ".x.12345.tmp",
            ".x.12345-.tmp",
            "x.123456.tmp",
            ".root",
            ".123456.tmp",
        ];
        for name in keep {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join(".folder.123456.tmp")).unwrap();
        symlink("current", dir.path().join(".link.123456.tmp")).unwrap();
        fs::write(dir.path().join(".current.aB3456.tmp"), "half").unwrap();
        let live = Temp::create(&dir.path().join("live"), 0o600, |out| out.write_all(b"whole")).unwrap();
        assert!(is_temp_name(live.path.file_name().unwrap()));
        assert_eq!(sweep_temps(dir.path()).unwrap(), 1);
        assert!(live.path.exists(), "the temp file of a live writer stays");
        assert!(!dir.path().join(".current.aB3456.tmp").exists());
        drop(live);
        assert_eq!(names(dir.path()).len(), keep.len() + 2);
    }

    #[test]
    fn a_name_of_255_octets_fits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n".repeat(255));
        write(&path, b"x", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        write(&dir.path().join("n".repeat(256)), b"x", 0o600).unwrap_err();
        assert_eq!(names(dir.path()).len(), 1);
    }

    #[test]
    fn writers_sweepers_and_readers_at_once_see_whole_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shared");
        let content = |n: u8| vec![n; 4096 + usize::from(n)];
        write(&path, &content(0), 0o600).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..3u8 {
                let path = &path;
                scope.spawn(move || {
                    (0..20).for_each(|i| write(path, &content(writer * 20 + i), 0o600).unwrap());
                });
            }
            scope.spawn(|| {
                (0..60).for_each(|_| {
                    sweep_temps(dir.path()).unwrap();
                })
            });
            for _ in 0..200 {
                let seen = fs::read(&path).unwrap();
                assert_eq!(seen, content(seen[0]));
            }
        });
        assert_eq!(names(dir.path()), ["shared"]);
    }
}
