//! The messages between a program and the process of a token, for the fuzz targets.

use super::wire::{ModuleReply, ModuleRequest};

/// Reads the requests that `octets` begin with, and writes them again.
#[must_use]
pub fn requests(mut octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Ok((call, request)) = ModuleRequest::read(&mut octets) {
        // What was read is short enough to be written.
        let _ = request.write(call, &mut out);
    }
    out
}

/// Reads the replies that `octets` begin with, and writes them again.
#[must_use]
pub fn replies(mut octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Ok((call, reply)) = ModuleReply::read(&mut octets) {
        let _ = reply.write(call, &mut out);
    }
    out
}
