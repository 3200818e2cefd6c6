//! Asking for the PIN of a token, on the terminal itself and without echo, so that it is in no pipe, log or history.
//!
//! A signal that ends or stops this program finds the terminal as it was before: echo is put back, then the signal does what it does by
//! default. When the program goes on after a stop, the question stands there again, without echo.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use keystore::crypto::pkcs11::{Pin, PinRequest};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use zeroize::Zeroizing;

/// Longest line that is read.
const MAX_LINE: usize = 258;

/// Signals that end or stop a program, and that a person at a terminal or a service manager sends.
const SIGNALS: [i32; 5] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP];

/// How often signals are looked at, in nanoseconds: a tenth of a second.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Asks once; a wrong PIN ends the run, so that nobody locks a token by habit.
pub fn ask(request: &PinRequest<'_>) -> io::Result<Pin> {
    // One question at a time: another would put the echo back while this PIN is typed.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut terminal = terminal()?;
    let warning = match request {
        PinRequest { last_try: true, .. } => "ONE MORE WRONG PIN LOCKS THIS TOKEN.\n",
        PinRequest { wrong_before: true, .. } => "The last PIN given to this token was wrong.\n",
        _ => "",
    };
    let question = format!(
        "{warning}PIN of token `{}` (serial number {}): ",
        clean(request.token),
        clean(request.serial)
    );
    let signals = Signals::watch()?;
    let line = loop {
        let silent = Silent::start(terminal.try_clone()?)?;
        write!(terminal, "{question}")?;
        terminal.flush()?;
        let read = read_line(&mut terminal, &signals);
        drop(silent);
        writeln!(terminal)?;
        match read? {
            Answer::Line(line) => break line,
            // Ends this program, or stops it until somebody has it go on.
            Answer::Signal(signal) => signal_hook::low_level::emulate_default_handler(signal)?,
        }
    };
    Pin::from_line(line)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no PIN of 1 to 255 octets was typed"))
}

/// Tells that a token waits for its PIN at its own keypad.
pub fn tell_of_keypad(token: &str) {
    let text = format!("Type the PIN of token `{}` at the keypad of the token itself.\n", clean(token));
    // Without a terminal there is nobody to read it here; the person may stand at the token all the same.
    let _ = terminal().and_then(|mut terminal| terminal.write_all(text.as_bytes()));
}

fn terminal() -> io::Result<File> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/tty");
    opened.map_err(|e| io::Error::new(e.kind(), format!("there is no terminal to ask on ({e})")))
}

/// Labels come from the token.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// What ended the reading.
enum Answer {
    Line(Zeroizing<Vec<u8>>),
    Signal(i32),
}

fn read_line(terminal: &mut File, signals: &Signals) -> io::Result<Answer> {
    // Fixed size: a growing buffer would leave copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
    let mut octet = Zeroizing::new([0]);
    while line.len() < MAX_LINE {
        if let Some(signal) = signals.came() {
            return Ok(Answer::Signal(signal));
        }
        match poll(&mut [PollFd::new(terminal, PollFlags::IN)], Some(&GLANCE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
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
    Ok(Answer::Line(line))
}

/// Holds the default effect of [`SIGNALS`] back until dropped, and tells which came.
struct Signals(&'static Handlers);

/// Handlers stay for the whole run, as taking one away again would leave the signal without any effect.
struct Handlers {
    came: Vec<(i32, Arc<AtomicBool>)>,
    /// While true, a signal does what it does by default.
    by_default: Arc<AtomicBool>,
}

static HANDLERS: OnceLock<Handlers> = OnceLock::new();

impl Signals {
    fn watch() -> io::Result<Self> {
        let handlers = match HANDLERS.get() {
            Some(handlers) => handlers,
            None => {
                let handlers = Handlers::register()?;
                HANDLERS.get_or_init(|| handlers)
            }
        };
        handlers.by_default.store(false, Ordering::SeqCst);
        // What came before had its effect.
        handlers.came.iter().for_each(|(_, flag)| flag.store(false, Ordering::SeqCst));
        Ok(Self(handlers))
    }

    /// One that came since the last look.
    fn came(&self) -> Option<i32> {
        self.0.came.iter().find(|(_, flag)| flag.swap(false, Ordering::SeqCst)).map(|(signal, _)| *signal)
    }
}

impl Handlers {
    fn register() -> io::Result<Self> {
        let by_default = Arc::new(AtomicBool::new(true));
        let mut came = Vec::new();
        for signal in SIGNALS {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&by_default))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            came.push((signal, flag));
        }
        Ok(Self { came, by_default })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.0.by_default.store(true, Ordering::SeqCst);
        // One that came after the last look.
        if let Some(signal) = self.came() {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    }
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
