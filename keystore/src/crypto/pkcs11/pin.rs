//! The PIN of a token: from a file that only its owner reads, or from a person. Never from a command line, the environment or a URI.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use zeroize::Zeroizing;

use super::TokenError;
use crate::open::{self, Links, OpenError};

/// Longest PIN that is read, in octets.
const MAX_PIN: usize = 255;

/// A PIN. Wiped when dropped; `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin(...)")
    }
}

impl Pin {
    /// Takes a line as typed or as it stands in a file: without its line end, not empty, without NUL, of at most 255 octets.
    #[must_use]
    pub fn from_line(mut line: Zeroizing<Vec<u8>>) -> Option<Self> {
        for end in [b'\n', b'\r'] {
            if line.last() == Some(&end) {
                line.pop();
            }
        }
        let good =
            (1..=MAX_PIN).contains(&line.len()) && !line.iter().any(|b| matches!(b, 0 | b'\n' | b'\r'));
        good.then_some(Self(line))
    }

    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Reads the file of a `pin-source`.
    #[cfg_attr(not(feature = "pkcs11"), allow(dead_code))]
    pub(super) fn read(path: &Path) -> Result<Self, TokenError> {
        let refuse = |what: &'static str| TokenError::PinFile { path: path.to_owned(), what: what.into() };
        let io = |source: io::Error| TokenError::PinFileIo { path: path.to_owned(), source };
        let (mut file, metadata) = open::for_reading(path, Links::Follow).map_err(|error| match error {
            OpenError::Io(source) => io(source),
            _ => refuse("not a regular file; put the PIN in a file of mode 0600"),
        })?;
        if metadata.mode() & 0o077 != 0 {
            return Err(refuse("others can read the PIN; chmod 600 it"));
        }
        // Fixed size: a growing buffer would leave copies behind.
        let mut line = Zeroizing::new(vec![0; MAX_PIN + 3]);
        let mut filled = 0;
        while filled < line.len() {
            match file.read(&mut line[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(io(e)),
            }
        }
        line.truncate(filled);
        Self::from_line(line).ok_or_else(|| refuse("one line with the PIN and nothing else was expected"))
    }
}

/// What a person is asked for.
#[derive(Debug, Clone, Copy)]
pub struct PinRequest<'a> {
    /// Label of the token.
    pub token: &'a str,
    /// Its serial number.
    pub serial: &'a str,
    /// A wrong PIN was given since the last good one.
    pub wrong_before: bool,
    /// One more wrong PIN locks the token.
    pub last_try: bool,
}

/// Asks a person for a PIN.
pub type Prompt = fn(&PinRequest<'_>) -> io::Result<Pin>;

/// Tells a person to type the PIN at the token of this label, which has a keypad.
pub type KeypadNotice = fn(&str);

static PROMPT: OnceLock<(Prompt, KeypadNotice)> = OnceLock::new();

/// Sets how people are asked for PINs and told to type them at a token, once for the process: a login to a token counts for the whole
/// process as well (PKCS#11 section 5.6). Without it a PIN comes from the file of `pin-source` only. A second call changes nothing.
pub fn set_prompt(prompt: Prompt, keypad: KeypadNotice) {
    // The first one stays.
    let _ = PROMPT.set((prompt, keypad));
}

static LOGIN_NOTICE: OnceLock<fn()> = OnceLock::new();

/// Sets what is told each time that a PIN goes to a token, once for the process.
#[cfg_attr(not(feature = "pkcs11"), allow(dead_code))]
pub(super) fn set_login_notice(notice: fn()) {
    // The first one stays.
    let _ = LOGIN_NOTICE.set(notice);
}

/// Tells that a PIN goes to a token.
#[cfg_attr(not(feature = "pkcs11"), allow(dead_code))]
pub(super) fn tell_of_login() {
    if let Some(tell) = LOGIN_NOTICE.get() {
        tell();
    }
}

/// Tells a person that the token waits for its PIN.
#[cfg_attr(not(feature = "pkcs11"), allow(dead_code))]
pub(super) fn tell_of_keypad(token: &str) {
    if let Some((_, tell)) = PROMPT.get() {
        tell(token);
    }
}

/// Asks for the PIN of a token that has no `pin-source`.
#[cfg_attr(not(feature = "pkcs11"), allow(dead_code))]
pub(super) fn ask(request: &PinRequest<'_>) -> Result<Pin, TokenError> {
    let token = || request.token.to_owned();
    let (prompt, _) = PROMPT.get().ok_or_else(|| TokenError::NoPin { token: token() })?;
    prompt(request).map_err(|source| TokenError::Prompt { token: token(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn line(text: &[u8]) -> Option<Vec<u8>> {
        Pin::from_line(Zeroizing::new(text.to_vec())).map(|pin| pin.octets().to_vec())
    }

    #[test]
    fn lines() {
        for text in [&b"1234"[..], b"1234\n", b"1234\r\n"] {
            assert_eq!(line(text).as_deref(), Some(&b"1234"[..]));
        }
        assert_eq!(line(b" 12 \n").as_deref(), Some(&b" 12 "[..]), "blanks may belong to it");
        for text in [&b""[..], b"\n", b"12\n34\n", b"12\0", b"12\n\n", &[b'1'; 256]] {
            assert_eq!(line(text), None);
        }
        let pin = Pin::from_line(Zeroizing::new(b"4711".to_vec())).expect("a PIN");
        assert!(!format!("{pin:?}").contains("4711"));
    }

    #[test]
    fn files() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("pin");
        std::fs::write(&path, "1234\n").expect("write");
        let read = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
            Pin::read(&path).map(|pin| pin.octets().to_vec()).map_err(|e| e.to_string())
        };
        assert_eq!(read(0o600), Ok(b"1234".to_vec()));
        for mode in [0o640, 0o604, 0o610] {
            assert!(read(mode).is_err_and(|e| e.contains("others can read")), "{mode:o}");
        }
        assert!(Pin::read(dir.path()).is_err());
        assert!(matches!(Pin::read(&dir.path().join("none")), Err(TokenError::PinFileIo { .. })));
        std::fs::write(&path, "1234\n5678\n").expect("write");
        assert!(read(0o600).is_err_and(|e| e.contains("one line") && !e.contains("1234")));
    }
}
