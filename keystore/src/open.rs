//! Opens files in folders that somebody else may write to: a FIFO, a device, a link or a file of another user never holds up
//! this process, and is never written to.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Whether a symbolic link in the last part of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It is: the operator has named the file.
    Follow,
    /// It is not: anybody may have put it there.
    Refuse,
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Error of the system call that failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A link, a folder, a device and so on; the word says which.
    #[error("it is a {0}, and only regular files are used")]
    NotRegular(&'static str),
    /// The file is not of the user that this process runs as.
    #[error(
        "it belongs to uid {owner}, not to uid {user}, which this program runs as; look at it, and remove it"
    )]
    Owner {
        /// Owner of the file.
        owner: u32,
        /// User of this process.
        user: u32,
    },
    /// A folder is needed, and something else has the name; the word says what.
    #[error("it is a {0}, and a folder is needed there; look at it, and remove it")]
    NotFolder(&'static str),
    /// The file has further names: what is written to it may show elsewhere.
    #[error("it has {0} names (hard links), and must have one; look at it, and remove it")]
    Linked(u64),
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(source) => source,
            other => Self::new(io::ErrorKind::InvalidInput, other),
        }
    }
}

/// Opens a regular file for reading. Never waits for a FIFO or a device, and does not open one.
pub fn for_reading(path: &Path, links: Links) -> Result<(File, Metadata), OpenError> {
    // Asked before opening, too: opening a device can have effects of its own.
    let before = match links {
        Links::Follow => path.metadata()?,
        Links::Refuse => path.symlink_metadata()?,
    };
    check_regular(&before)?;
    let mut options = OpenOptions::new();
    let mut flags = SAFE_FLAGS;
    flags.set(OFlags::NOFOLLOW, links == Links::Refuse);
    checked(options.read(true).custom_flags(flags.bits().cast_signed()).open(path))
}

/// How a file of this program is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// At any place.
    Anywhere,
    /// At the end only.
    Append,
}

/// Opens a file of this program (a lock, a log) for reading and writing, and makes it with `mode` when it is missing. What is
/// there must be a regular file with one name that belongs to the user of this process (for root: to the owner of the folder, or
/// root); it is not changed before that is known.
pub fn own(path: &Path, mode: u32, writing: Writing) -> Result<File, OpenError> {
    match path.symlink_metadata() {
        Ok(before) => check_regular(&before)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).append(writing == Writing::Append).create(true).truncate(false).mode(mode);
    let flags = SAFE_FLAGS | OFlags::NOFOLLOW;
    let (file, metadata) = checked(options.custom_flags(flags.bits().cast_signed()).open(path))?;
    let user = rustix::process::geteuid();
    let owner = metadata.uid();
    let of_folder = || path.parent().and_then(|folder| Some(folder.metadata().ok()?.uid()));
    if owner != user.as_raw() && !(user.is_root() && of_folder() == Some(owner)) {
        return Err(OpenError::Owner { owner, user: user.as_raw() });
    }
    if metadata.nlink() > 1 {
        return Err(OpenError::Linked(metadata.nlink()));
    }
    Ok(file)
}

/// Sees whether the folder at `path` is one that this process may write into: nobody else can have put it, or a link to another one, there.
///
/// What has the name must belong to the user of this process, to root, or (for root) to the owner of the folder around it; or nobody but
/// these can write in the folder around it.
pub fn own_folder(path: &Path) -> Result<(), OpenError> {
    let entry = path.symlink_metadata()?;
    let user = rustix::process::geteuid();
    let around = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    let around = around.metadata()?;
    let is_trusted =
        |owner: u32| owner == 0 || owner == user.as_raw() || (user.is_root() && owner == around.uid());
    let others_write = !is_trusted(around.uid()) || around.mode() & 0o022 != 0;
    if others_write && !is_trusted(entry.uid()) {
        return Err(OpenError::Owner { owner: entry.uid(), user: user.as_raw() });
    }
    let folder = if entry.is_symlink() { path.metadata()? } else { entry };
    if folder.is_dir() { Ok(()) } else { Err(OpenError::NotFolder(type_name(folder.file_type()))) }
}

/// Opening never waits, and no terminal becomes that of this process.
const SAFE_FLAGS: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

fn checked(opened: io::Result<File>) -> Result<(File, Metadata), OpenError> {
    let file = opened.map_err(|error| match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::LOOP) => OpenError::NotRegular("symbolic link"),
        // A socket, or a FIFO without reader.
        Some(rustix::io::Errno::NXIO) => OpenError::NotRegular("socket or FIFO"),
        _ => OpenError::Io(error),
    })?;
    let metadata = file.metadata()?;
    check_regular(&metadata)?;
    Ok((file, metadata))
}

fn check_regular(metadata: &Metadata) -> Result<(), OpenError> {
    if metadata.is_file() { Ok(()) } else { Err(OpenError::NotRegular(type_name(metadata.file_type()))) }
}

/// The word for a kind of file in what a person is told.
pub fn type_name(kind: FileType) -> &'static str {
    match () {
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "symbolic link",
        () if kind.is_dir() => "folder",
        () if kind.is_fifo() => "FIFO",
        () if kind.is_socket() => "socket",
        () => "device",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A folder with one file of each kind; `plain` holds "abc".
    fn zoo() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("plain"), "abc").expect("write");
        symlink(at("plain"), at("link")).expect("link");
        symlink(at("nowhere"), at("dangling")).expect("link");
        fs::create_dir(at("folder")).expect("folder");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, 0o600.into(), 0).expect("FIFO");
        drop(std::os::unix::net::UnixListener::bind(at("socket")).expect("socket"));
        dir
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = zoo();
        let at = |name: &str| dir.path().join(name);
        for (name, links, word) in [
            ("plain", Links::Refuse, ""),
            ("link", Links::Follow, ""),
            ("link", Links::Refuse, "symbolic link"),
            ("dangling", Links::Refuse, "symbolic link"),
            ("folder", Links::Refuse, "folder"),
            ("folder", Links::Follow, "folder"),
            ("fifo", Links::Refuse, "FIFO"),
            ("fifo", Links::Follow, "FIFO"),
            ("socket", Links::Refuse, "socket"),
        ] {
            match for_reading(&at(name), links) {
                Ok(_) => assert_eq!(word, "", "{name}"),
                Err(OpenError::NotRegular(found)) => assert_eq!(found, word, "{name}"),
                Err(error) => panic!("{name}: {error}"),
            }
        }
        assert!(matches!(
            for_reading(Path::new("/dev/zero"), Links::Follow),
            Err(OpenError::NotRegular("device"))
        ));
        assert!(matches!(for_reading(&at("gone"), Links::Refuse), Err(OpenError::Io(_))));
    }

    #[test]
    fn what_is_planted_in_place_of_a_file_of_ours_is_refused_and_not_changed() {
        let dir = zoo();
        let at = |name: &str| dir.path().join(name);
        for name in ["link", "dangling", "folder", "fifo", "socket"] {
            for writing in [Writing::Anywhere, Writing::Append] {
                let error = own(&at(name), 0o640, writing).expect_err(name);
                assert!(matches!(error, OpenError::NotRegular(_)), "{name}: {error}");
            }
        }
        assert!(!at("nowhere").exists(), "nothing is made at the end of a link");
        fs::hard_link(at("plain"), at("second")).expect("link");
        assert!(matches!(own(&at("second"), 0o640, Writing::Append), Err(OpenError::Linked(2))));
        assert_eq!(fs::read(at("plain")).expect("read"), b"abc");
        let new = own(&at("new"), 0o600, Writing::Append).expect("made");
        assert_eq!(new.metadata().expect("metadata").permissions().mode() & 0o777, 0o600);
        own(&at("new"), 0o600, Writing::Anywhere).expect("opened again");
    }

    #[test]
    fn file_of_another_user_is_refused() {
        // Root can give files away; others cannot make one that is not theirs, and the files of root do not open for writing.
        if !rustix::process::geteuid().is_root() {
            assert!(own(Path::new("/etc/hostname"), 0o640, Writing::Append).is_err());
            return;
        }
        let dir = zoo();
        let plain = dir.path().join("plain");
        let other = Some(rustix::fs::Uid::from_raw(12_345));
        rustix::fs::chown(&plain, other, None).expect("chown");
        let error = own(&plain, 0o640, Writing::Append).expect_err("another user's");
        assert!(matches!(error, OpenError::Owner { owner: 12_345, .. }), "{error}");
        rustix::fs::chown(dir.path(), other, None).expect("chown");
        own(&plain, 0o640, Writing::Append).expect("root works in the folder of the daemon's user");
    }

    #[test]
    fn folder_that_another_user_may_have_put_there_is_refused() {
        let dir = zoo();
        let at = |name: &str| dir.path().join(name);
        symlink(at("folder"), at("to-folder")).expect("link");
        for (name, good) in
            [("folder", true), ("to-folder", true), ("plain", false), ("fifo", false), ("link", false)]
        {
            assert_eq!(own_folder(&at(name)).is_ok(), good, "{name}");
        }
        assert!(matches!(own_folder(&at("gone")), Err(OpenError::Io(_))));
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let other = Some(rustix::fs::Uid::from_raw(12_345));
        for name in ["folder", "to-folder"] {
            std::os::unix::fs::lchown(at(name), Some(12_345), None).expect("chown");
        }
        let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).expect("chmod");
        for (around, good) in [(0o755, true), (0o1777, false), (0o1770, false), (0o775, false)] {
            mode(around);
            for name in ["folder", "to-folder"] {
                assert_eq!(own_folder(&at(name)).is_ok(), good, "{name} in a folder of mode {around:o}");
            }
        }
        rustix::fs::chown(dir.path(), other, None).expect("chown");
        own_folder(&at("folder")).expect("root works in the folder of the daemon's user");
    }
}
