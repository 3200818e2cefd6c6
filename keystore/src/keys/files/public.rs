//! The `.key` file: remarks, and one DNSKEY record.

use std::fmt::Write;
use std::path::Path;

use data_encoding::BASE64;

use super::{KeyFile, KeyFileError, lines, split_tag, stamp};
use crate::dns::lexer::Entries;
use crate::dns::record;
use crate::dns::{Class, Name, Rtype};
use crate::keys::timing::{TIMES, Timing};
use crate::keys::{Dnskey, FLAG_REVOKE};

/// The record of a `.key` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicFile {
    pub(super) owner: Name,
    pub(super) ttl: u32,
    pub(super) dnskey: Dnskey,
    /// What its remarks say: of use where `.private` may not be read.
    pub(super) timing: Timing,
}

/// Reads a `.key` file.
pub(super) fn parse(path: &Path, text: &[u8]) -> Result<PublicFile, KeyFileError> {
    let mut found = None;
    for entry in Entries::new(text) {
        let entry = entry.map_err(|e| KeyFileError::syntax(path, e.line, e.what.to_string()))?;
        if entry.tokens.is_empty() {
            continue;
        }
        let syntax = |what: String| KeyFileError::syntax(path, entry.line, what);
        if found.is_some() {
            return Err(syntax("a second record; a .key file holds one".to_owned()));
        }
        let record = record::parse(&entry, None, None).map_err(|e| syntax(e.to_string()))?;
        if record.class.is_some_and(|class| class != Class::IN) {
            return Err(syntax("a class other than IN".to_owned()));
        }
        if record.rtype == Rtype::KEY {
            return Err(KeyFileError::mismatch(path, "a KEY record (for SIG(0)), not the DNSKEY of a zone"));
        }
        if record.rtype != Rtype::DNSKEY {
            return Err(syntax(format!("a {} record where DNSKEY was expected", record.rtype)));
        }
        let dnskey = Dnskey::from_rdata(&record.rdata)
            .ok_or_else(|| syntax("a DNSKEY record without flags, protocol and algorithm".to_owned()))?;
        let timing = times(text);
        found = Some(PublicFile { owner: record.owner, ttl: record.ttl.unwrap_or(0), dnskey, timing });
    }
    let last = text.iter().filter(|b| **b == b'\n').count() as u32;
    found.ok_or_else(|| {
        KeyFileError::syntax(
            path,
            last.max(1),
            "no record; `OWNER [TTL] IN DNSKEY ...` was expected; restore the file",
        )
    })
}

/// The times in the remarks (`; Publish: 20261124000000 (…)`). A remark that does not read says nothing.
fn times(text: &[u8]) -> Timing {
    let mut timing = Timing::default();
    for (_, line) in lines(text) {
        let Some((tag, value)) = line.strip_prefix(b"; ").and_then(split_tag) else { continue };
        if let Some((_, time)) = TIMES.iter().find(|(name, _)| name.as_bytes() == tag)
            && let Ok(at) = stamp(value)
        {
            *time(&mut timing) = Some(at);
        }
    }
    timing
}

/// The text of a `.key` file.
pub(super) fn print(key: &KeyFile) -> String {
    let mut out = String::new();
    let revoked = if key.dnskey.flags & FLAG_REVOKE != 0 { "revoked " } else { "" };
    let kind = if key.dnskey.is_ksk() { "key" } else { "zone" };
    let tag = key.dnskey.tag();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "; This is a {revoked}{kind}-signing key, keyid {tag}, for {}", key.zone);
    let mut timing = key.timing;
    for (tag, time) in TIMES {
        if let Some(at) = time(&mut timing)
            && tag != "DSPublish"
        {
            let _ = writeln!(out, "; {tag}: {at} ({})", at.ctime());
        }
    }
    let _ = write!(out, "{} ", key.zone);
    if key.ttl != 0 {
        let _ = write!(out, "{} ", key.ttl);
    }
    let Dnskey { flags, protocol, algorithm, public_key } = &key.dnskey;
    let _ = write!(out, "IN DNSKEY {flags} {protocol} {}", algorithm.0);
    let base64 = BASE64.encode(public_key);
    for at in (0..base64.len()).step_by(56) {
        out.push(' ');
        out.push_str(&base64[at..base64.len().min(at + 56)]);
    }
    out.push('\n');
    out
}
