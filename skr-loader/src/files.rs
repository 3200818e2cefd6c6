//! Reading files that a stranger may have put there: never blocks, never follows a link in the inbox, never reads more
//! than the limit.

use keystore::check::CheckId;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use keystore::open::{self, Links, OpenError};
use keystore::time::Timestamp;

/// What tells one state of a file from another: a changed file differs in at least one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// The fingerprint in `metadata`.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Octets of the file.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// True when nobody has written to it for so many seconds, by the times of the file system.
    #[must_use]
    pub fn is_untouched_for(&self, seconds: u64, now: Timestamp) -> bool {
        u64::try_from(self.modified.0).is_ok_and(|at| now.secs() >= at.saturating_add(seconds))
    }

    /// True when both are the same file, whatever was done to it.
    #[must_use]
    pub const fn same_file(&self, other: &Self) -> bool {
        self.device == other.device && self.inode == other.inode
    }

    /// True when both are the same file with the same content, whatever its names, mode and owner are.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        Self { changed: other.changed, ..*self } == *other
    }
}

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Octets {
    /// Its content.
    pub octets: Vec<u8>,
    /// Its state when it was read.
    pub fingerprint: Fingerprint,
}

/// Who gave the name of a file, and so whether symbolic links in it are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// The operator, on the command line or in the configuration: symbolic links are followed.
    Operator,
    /// Whoever can write in the inbox: a plain file with one name, that not everyone can write.
    Dropper,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Error of the system call that failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A link, a folder, a device and so on.
    #[error(transparent)]
    NotRegular(OpenError),
    /// The file has other names, which may lie where it should not be moved away from.
    #[error("it has {0} names (hard links), and a dropped file must have one; copy it instead")]
    Linked(u64),
    /// Mode with write permission for everyone.
    #[error("everyone can write to it (mode {0:04o}); chmod o-w it")]
    WorldWritable(u32),
    /// Longer than the limit.
    #[error("it has {size} octets; no more than {limit} are read")]
    TooLarge {
        /// Octets of the file.
        size: u64,
        /// Octets that are read at most.
        limit: u64,
    },
    /// Written to while it was read.
    #[error("it changed while it was read")]
    Changing,
}

impl From<OpenError> for FileError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(source) => Self::Io(source),
            other => Self::NotRegular(other),
        }
    }
}

impl FileError {
    /// True when it may be gone at the next try, without anybody's help: an error of the system, or a second name that a rename by
    /// link(2) and unlink(2) leaves for a moment.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Io(error) => error.kind() != io::ErrorKind::NotFound,
            Self::Linked(_) | Self::Changing => true,
            Self::NotRegular(_) | Self::WorldWritable(_) | Self::TooLarge { .. } => false,
        }
    }

    /// ID of the check that it failed.
    #[must_use]
    pub const fn id(&self) -> CheckId {
        match self {
            Self::Io(_) | Self::Changing => CheckId::SkrIo,
            Self::TooLarge { .. } => CheckId::SkrLimits,
            Self::NotRegular(_) | Self::Linked(_) | Self::WorldWritable(_) => CheckId::SkrUnsafe,
        }
    }
}

/// Opens the file at `path` for reading, if it is a regular one. Never waits for a FIFO or a device.
pub fn open(path: &Path, named: NamedBy) -> Result<File, FileError> {
    open_at_most(path, named, u64::MAX).map(|(file, _)| file)
}

/// Reads the whole file at `path`, if it is a regular one of at most `limit` octets. Never waits for a FIFO or a device.
pub fn read(path: &Path, named: NamedBy, limit: u64) -> Result<Octets, FileError> {
    let (mut file, before) = open_at_most(path, named, limit)?;
    let mut octets = Vec::with_capacity(usize::try_from(before.size()).unwrap_or(0));
    file.by_ref().take(limit + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > limit {
        return Err(FileError::TooLarge { size: octets.len() as u64, limit });
    }
    let fingerprint = Fingerprint::of(&before);
    let after = Fingerprint::of(&file.metadata()?);
    if !fingerprint.same_content(&after) || octets.len() as u64 != before.size() {
        return Err(FileError::Changing);
    }
    Ok(Octets { octets, fingerprint })
}

/// The first octets, at most `limit`, of a file that was dropped.
pub fn read_head(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path, NamedBy::Dropper).map_err(io::Error::other)?;
    let mut octets = Vec::new();
    file.take(limit).read_to_end(&mut octets)?;
    Ok(octets)
}

fn open_at_most(path: &Path, named: NamedBy, limit: u64) -> Result<(File, Metadata), FileError> {
    let links = match named {
        NamedBy::Dropper => Links::Refuse,
        NamedBy::Operator => Links::Follow,
    };
    let (file, metadata) = open::for_reading(path, links)?;
    if named == NamedBy::Dropper && metadata.nlink() != 1 {
        return Err(FileError::Linked(metadata.nlink()));
    }
    if named == NamedBy::Dropper && metadata.mode() & 0o002 != 0 {
        return Err(FileError::WorldWritable(metadata.mode() & 0o7777));
    }
    if metadata.size() > limit {
        return Err(FileError::TooLarge { size: metadata.size(), limit });
    }
    Ok((file, metadata))
}

/// The fingerprint of the entry itself, not of what it may link to.
pub fn fingerprint(path: &Path) -> io::Result<Fingerprint> {
    Ok(Fingerprint::of(&path.symlink_metadata()?))
}

/// A name from outside as one line of printable ASCII: everything else as `\xNN`, at most 255 octets of it.
#[must_use]
pub fn printable(name: &OsStr) -> String {
    name.as_bytes().iter().take(255).flat_map(|b| std::ascii::escape_default(*b)).map(char::from).collect()
}

/// A text from outside without control characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// Lower-case hex.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_plain_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("plain"), "abc").unwrap();
        assert_eq!(read(&at("plain"), NamedBy::Dropper, 3).unwrap().octets, b"abc");
        assert!(matches!(
            read(&at("plain"), NamedBy::Dropper, 2),
            Err(FileError::TooLarge { size: 3, limit: 2 })
        ));

        symlink(at("plain"), at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for name in ["link", "folder", "fifo", "socket"] {
            let error = read(&at(name), NamedBy::Dropper, 10).unwrap_err();
            assert!(matches!(error, FileError::NotRegular(_)), "{name}: {error}");
        }
        assert!(matches!(
            read(Path::new("/dev/zero"), NamedBy::Dropper, 10),
            Err(FileError::NotRegular(OpenError::NotRegular("device")))
        ));
        assert_eq!(read(&at("link"), NamedBy::Operator, 3).unwrap().octets, b"abc");
        assert!(matches!(
            read(&at("fifo"), NamedBy::Operator, 3),
            Err(FileError::NotRegular(OpenError::NotRegular("FIFO")))
        ));

        fs::set_permissions(at("plain"), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(read(&at("plain"), NamedBy::Dropper, 3), Err(FileError::WorldWritable(0o666))));
        fs::set_permissions(at("plain"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(at("plain"), at("second")).unwrap();
        assert!(matches!(read(&at("plain"), NamedBy::Dropper, 3), Err(FileError::Linked(2))));
        assert_eq!(read(&at("gone"), NamedBy::Dropper, 3).unwrap_err().id(), CheckId::SkrIo);
    }

    #[test]
    fn names_are_printed_on_one_line() {
        let name = std::ffi::OsString::from_vec(b"a\nb\xff\x1b[31m.skr".to_vec());
        assert_eq!(printable(&name), r"a\nb\xff\x1b[31m.skr");
    }
}
