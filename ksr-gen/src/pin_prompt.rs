//! Asking for the PIN of a token, on the terminal itself and without echo, so that it is in no pipe, log or history.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use keystore::crypto::pkcs11::{Pin, PinRequest};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Longest line that is read.
const MAX_LINE: usize = 258;

/// Asks once; a wrong PIN ends the run, so that nobody locks a token by habit.
pub fn ask(request: &PinRequest<'_>) -> io::Result<Pin> {
    let mut terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|e| io::Error::new(e.kind(), format!("there is no terminal to ask on ({e})")))?;
    let warning = match request {
        PinRequest { last_try: true, .. } => "ONE MORE WRONG PIN LOCKS THIS TOKEN.\n",
        PinRequest { wrong_before: true, .. } => "The last PIN given to this token was wrong.\n",
        _ => "",
    };
    // Labels come from the token.
    let clean = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
    let silent = Silent::start(terminal.try_clone()?)?;
    write!(
        terminal,
        "{warning}PIN of token `{}` (serial number {}): ",
        clean(request.token),
        clean(request.serial)
    )?;
    terminal.flush()?;
    let line = read_line(&mut terminal);
    drop(silent);
    writeln!(terminal)?;
    Pin::from_line(line?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no PIN of 1 to 255 octets was typed"))
}

fn read_line(terminal: &mut File) -> io::Result<Zeroizing<Vec<u8>>> {
    // Fixed size: a growing buffer would leave copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
    let mut octet = Zeroizing::new([0]);
    while line.len() < MAX_LINE {
        match terminal.read(&mut *octet) {
            Ok(0) => break,
            Ok(_) => line.push(octet[0]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
        if octet[0] == b'\n' {
            break;
        }
    }
    Ok(line)
}

/// A terminal without echo, until dropped.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn start(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // There is nobody left to tell when it fails.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
