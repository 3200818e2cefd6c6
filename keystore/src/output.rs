//! Where a file that an operator names for output may be written, and what it must never replace.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::keys::files::is_key_file_name;

/// The first line of every `.private` file.
const PRIVATE_KEY: &[u8] = b"Private-key-format:";

/// What a run reads, and its output must not replace.
#[derive(Debug, Clone, Default)]
pub struct Protected {
    inputs: Vec<PathBuf>,
    key_folders: Vec<PathBuf>,
}

/// Why an output is not written. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The path or its folder cannot be looked at.
    #[error("{}: {source}", path.display())]
    Io {
        /// The output, or its folder.
        path: PathBuf,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// A device, FIFO, socket or folder: a rename onto `/dev/null` would take the device away from the whole host.
    #[error(
        "{}: it is there and no regular file; name a file, or write to standard output and redirect that",
        path.display()
    )]
    NoRegularFile {
        /// The output.
        path: PathBuf,
    },
    /// The output is a file that this run reads.
    #[error("{}: this is {}, which this run reads; name another file", path.display(), input.display())]
    Input {
        /// The output.
        path: PathBuf,
        /// The input, as it was named.
        input: PathBuf,
    },
    /// The output is a key file, by its name or its content.
    #[error("{}: this is a key file, or is named like one; name another file", path.display())]
    KeyFile {
        /// The output.
        path: PathBuf,
    },
    /// The output lies in a folder with keys.
    #[error("{}: it lies in the key folder {}; name a file elsewhere", path.display(), folder.display())]
    InKeyFolder {
        /// The output.
        path: PathBuf,
        /// The key folder, as it was named.
        folder: PathBuf,
    },
}

impl Protected {
    /// Nothing is protected but key files, which never are an output.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Protects a file that the run reads; `-` is standard input, and no file.
    #[must_use]
    pub fn input(mut self, path: impl Into<PathBuf>) -> Self {
        self.inputs.push(path.into());
        self
    }

    /// Protects several files that the run reads.
    #[must_use]
    pub fn inputs<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.inputs.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Protects a key folder, when it has keys in it.
    #[must_use]
    pub fn key_folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.key_folders.push(path.into());
        self
    }

    /// Where the output `path` is to be written: symbolic links are followed, so that [`crate::durable::write`] replaces the file and
    /// not the link.
    ///
    /// Refused are what is there and no regular file, an input (under whatever name: links count as what they lead to), a key file,
    /// and a file in a key folder.
    pub fn target(&self, path: &Path) -> Result<PathBuf, OutputError> {
        let target = resolve(path)?;
        for input in self.inputs.iter().filter(|input| input.as_os_str() != "-") {
            if is_same_file(&target, input) {
                return Err(OutputError::Input { path: path.to_owned(), input: input.clone() });
            }
        }
        if is_key_file(path) || is_key_file(&target) || holds_private_key(&target)? {
            return Err(OutputError::KeyFile { path: path.to_owned() });
        }
        let folder = parent(&target);
        for key_folder in &self.key_folders {
            if is_same_file(folder, key_folder) && has_keys(key_folder) {
                return Err(OutputError::InKeyFolder { path: path.to_owned(), folder: key_folder.clone() });
            }
        }
        Ok(target)
    }
}

/// The path with links followed, if there is anything.
fn resolve(path: &Path) -> Result<PathBuf, OutputError> {
    let io = |source| OutputError::Io { path: path.to_owned(), source };
    let is_file = match path.metadata() {
        Ok(found) => found.is_file(),
        // Also a link that leads nowhere: it is replaced.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(path.to_owned()),
        Err(e) => return Err(io(e)),
    };
    if !is_file {
        return Err(OutputError::NoRegularFile { path: path.to_owned() });
    }
    path.canonicalize().map_err(io)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// One file or folder under two names, hard links included.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| path.metadata().ok().map(|m| (m.dev(), m.ino()));
    id(a).is_some_and(|a| id(b) == Some(a))
}

fn is_key_file(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(is_key_file_name)
}

fn has_keys(folder: &Path) -> bool {
    let names = folder.read_dir().into_iter().flatten().flatten();
    names.map(|entry| entry.path()).any(|path| is_key_file(&path))
}

/// A private key under another name, such as a copy.
fn holds_private_key(path: &Path) -> Result<bool, OutputError> {
    let mut begin = Vec::new();
    let read = |begin: &mut Vec<u8>| {
        std::fs::File::open(path)?.take(PRIVATE_KEY.len() as u64).read_to_end(begin).map(|_| ())
    };
    match read(&mut begin) {
        Ok(()) => Ok(begin == PRIVATE_KEY),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        // A file that may be replaced and not be read: nobody knows what is lost with it.
        Err(source) => Err(OutputError::Io { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_and_what_is_no_regular_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        let (file, link) = (folder.join("file"), folder.join("link"));
        let target = |path: &Path| Protected::new().target(path);
        assert_eq!(target(&file).unwrap(), file, "not there yet");
        symlink("file", &link).unwrap();
        assert_eq!(target(&link).unwrap(), link, "a link that leads nowhere is replaced");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(target(&file).unwrap(), file);
        assert_eq!(target(&link).unwrap(), file, "the link stays");
        for path in [folder.as_path(), Path::new("/dev/null")] {
            assert!(matches!(target(path), Err(OutputError::NoRegularFile { .. })), "{}", path.display());
        }
    }

    #[test]
    fn kind_11_inputs_and_key_files_are_no_output_under_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("keys")).unwrap();
        for (name, content) in [
            ("t.ksr", "a request"),
            ("other", "x"),
            ("copy", "Private-key-format: v1.3\nAlgorithm: 13"),
            ("keys/Kexample.test.+013+00001.private", "Private-key-format: v1.3"),
        ] {
            std::fs::write(path(name), content).unwrap();
        }
        symlink("t.ksr", path("link")).unwrap();
        std::fs::hard_link(path("t.ksr"), path("hard")).unwrap();
        symlink("keys", path("more-keys")).unwrap();
        let protected = Protected::new()
            .input("-")
            .input(path("t.ksr"))
            .key_folder(path("keys"))
            .key_folder(path("none"));
        let kind = |name: &str| match protected.target(&path(name)) {
            Ok(_) => "",
            Err(OutputError::Input { .. }) => "input",
            Err(OutputError::KeyFile { .. }) => "key file",
            Err(OutputError::InKeyFolder { .. }) => "key folder",
            Err(other) => panic!("{other}"),
        };
        for (name, refused) in [
            ("t.ksr", "input"),
            ("link", "input"),
            ("hard", "input"),
            ("keys/../t.ksr", "input"),
            ("copy", "key file"),
            ("keys/Kexample.test.+013+00001.private", "key file"),
            ("Kexample.test.+013+00002.key", "key file"),
            ("kexample.test.+008+65535.STATE", "key file"),
            ("keys/new.ksr", "key folder"),
            ("more-keys/new.ksr", "key folder"),
            ("other", ""),
            ("new", ""),
            ("Kexample.test.ksr", ""),
            ("Kexample.test.+013+00002.ksr", ""),
        ] {
            assert_eq!(kind(name), refused, "{name}");
        }
        // A folder without keys is no key folder yet.
        std::fs::remove_file(path("keys/Kexample.test.+013+00001.private")).unwrap();
        assert_eq!(kind("keys/new.ksr"), "");
    }
}
