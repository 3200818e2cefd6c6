//! Where the control socket of the loader is: in the state folder, or where the loader of that folder has noted it.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::open::{self, Links};

/// Name of the control socket in the state folder.
pub const CONTROL_SOCKET: &str = "skr-loader.sock";

/// Name of the note in `accepted/`, where nobody but the loader writes: one line with the path of its socket.
const NOTE: &str = ".skr-loader.socket";

/// Longest note, in octets; the path of a socket has at most 107.
const MAX_NOTE: u64 = 4096;

/// Where the loader of a state folder listens, when its configuration does not say: where the loader has noted it, else in the state
/// folder. A note that does not read counts for nothing.
#[must_use]
pub fn control_socket_of(state_dir: &Path) -> PathBuf {
    noted(state_dir).unwrap_or_else(|| state_dir.join(CONTROL_SOCKET))
}

fn noted(state_dir: &Path) -> Option<PathBuf> {
    let (file, _) = open::for_reading(&note(state_dir), Links::Refuse).ok()?;
    let mut octets = Vec::new();
    file.take(MAX_NOTE).read_to_end(&mut octets).ok()?;
    let path = PathBuf::from(OsStr::from_bytes(octets.strip_suffix(b"\n")?));
    path.is_absolute().then_some(path)
}

/// Notes that the loader of a state folder listens at `socket`. In the state folder commands look anyway, and nothing is noted.
pub fn note_control_socket(state_dir: &Path, socket: &Path) -> io::Result<()> {
    let path = note(state_dir);
    if socket == state_dir.join(CONTROL_SOCKET) {
        return match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => durable::remove(&path),
        };
    }
    let mut line = std::path::absolute(socket)?.into_os_string();
    line.push("\n");
    durable::write(&path, line.as_bytes(), 0o644)
}

fn note(state_dir: &Path) -> PathBuf {
    state_dir.join("accepted").join(NOTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_look_where_the_loader_has_noted_it_and_else_in_the_state_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = dir.path();
        let default = state.join(CONTROL_SOCKET);
        std::fs::create_dir(state.join("accepted")).expect("a folder");
        assert_eq!(control_socket_of(state), default);
        for socket in ["/run/skr-loader/skr-loader.sock", "/tmp/a b\u{e9}/s"] {
            note_control_socket(state, Path::new(socket)).expect("noted");
            assert_eq!(control_socket_of(state), Path::new(socket));
        }
        for bad in ["", "\n", "relative\n", "/without/an/end"] {
            std::fs::write(note(state), bad).expect("written");
            assert_eq!(control_socket_of(state), default, "{bad:?}");
        }
        note_control_socket(state, Path::new("/run/x")).expect("noted");
        note_control_socket(state, &default).expect("taken back");
        note_control_socket(state, &default).expect("there is none");
        assert_eq!(control_socket_of(state), default);
        assert!(!note(state).exists());
    }
}
