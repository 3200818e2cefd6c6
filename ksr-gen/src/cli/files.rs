//! What is read from files and from standard input.

use std::io::{self, Read};
use std::path::Path;

use keystore::exchange::bind::MAX_OCTETS;

use super::Failure;
use crate::keygen;

/// Reads a KSR, at most [`MAX_OCTETS`].
pub(super) fn read_ksr(path: &Path, stdin: &mut dyn Read) -> Result<Vec<u8>, Failure> {
    read_up_to(path, stdin, MAX_OCTETS as u64)
}

/// Reads a file of at most `max` octets.
pub(super) fn read_up_to(path: &Path, stdin: &mut dyn Read, max: u64) -> Result<Vec<u8>, Failure> {
    let fail = |e: io::Error| {
        Failure::Fatal(format!("unable to open KSR file {}: {}", path.display(), keygen::reason(&e)))
    };
    let mut octets = Vec::new();
    let limit = max + 1;
    if path == Path::new("-") {
        stdin.take(limit).read_to_end(&mut octets).map_err(fail)?;
    } else {
        let file = std::fs::File::open(path).map_err(fail)?;
        file.take(limit).read_to_end(&mut octets).map_err(fail)?;
    }
    if octets.len() as u64 > max {
        return Err(Failure::Fatal(format!(
            "KSR file {} is larger than {max} octets; no request is",
            path.display()
        )));
    }
    Ok(octets)
}

/// A line that a person typed.
pub(super) fn read_line(stdin: &mut dyn Read) -> String {
    let (mut line, mut octet) = (Vec::new(), [0]);
    while line.len() < 80 && stdin.read(&mut octet).is_ok_and(|n| n == 1) && octet[0] != b'\n' {
        line.push(octet[0]);
    }
    String::from_utf8_lossy(&line).into_owned()
}
