//! Printing to standard output, which may be closed (`| head`) or full: neither is a reason to panic, nor to end a server.

use std::fmt::Arguments;
use std::io::{self, Write as _};
use std::sync::Mutex;
use std::sync::PoisonError;

/// The first failure.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints; a failure is kept for [`failure`].
pub fn put(text: Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// The first failure to print since the last call.
pub fn failure() -> Option<io::Error> {
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// `print!` that does not panic.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::put(format_args!($($text)*)) };
}

/// `println!` that does not panic.
macro_rules! outln {
    ($($text:tt)*) => { $crate::output::put(format_args!("{}\n", format_args!($($text)*))) };
}
