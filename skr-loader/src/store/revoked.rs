//! The KSKs of a zone that were published as revoked: they are trusted never again (RFC 5011 section 2.1).
//!
//! ```text
//! accepted/ZONE/revoked   a line a key, as in its DNSKEY record: `385 3 <algorithm> <public key in Base64>`
//! ```
//! The generation in force shows what it has published itself. When it is replaced, what it has published by then is written here first.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use data_encoding::BASE64;
use keystore::crypto::Algorithm;
use keystore::dns::Name;
use keystore::durable;
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::store::{StoreError, zone_dir};
use keystore::time::Timestamp;

use crate::files::{self, FileError, Named};

const REVOKED: &str = "revoked";
/// Longest such file, in octets: some thousand keys by RSA.
const MAX_OCTETS: u64 = 1 << 20;

/// The revoked KSKs in the bundles that have begun by `until`. In bundles that were accepted each has signed the DNSKEY RRset (SKR-KEY).
pub fn published(bundles: &[Bundle], until: Timestamp) -> BTreeSet<Dnskey> {
    let begun = bundles.iter().filter(|bundle| bundle.inception <= until);
    begun.flat_map(Bundle::keys).filter(Dnskey::is_revoked_ksk).collect()
}

/// The KSKs that replaced generations of `zone` have published as revoked.
pub fn read(accepted: &Path, zone: &Name) -> Result<BTreeSet<Dnskey>, StoreError> {
    let path = zone_dir(accepted, zone).join(REVOKED);
    let octets = match files::read(&path, Named::ByDrop, MAX_OCTETS) {
        Ok(file) => file.octets,
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(FileError::Io(source)) => return Err(StoreError::Io { path, source }),
        Err(_) => Vec::from([0xff]),
    };
    let text = String::from_utf8(octets).ok();
    let keys = text.as_deref().and_then(|text| text.lines().map(parse).collect());
    keys.ok_or(StoreError::Damaged { path, what: "it was altered from outside; restore it, or move it away" })
}

/// Adds keys to those of [`read`]; they are on disk afterwards.
pub fn add(accepted: &Path, zone: &Name, keys: BTreeSet<Dnskey>) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut all = read(accepted, zone)?;
    let before = all.len();
    all.extend(keys);
    if all.len() == before {
        return Ok(());
    }
    let text = all.iter().fold(String::new(), |mut text, key| {
        let public_key = BASE64.encode(&key.public_key);
        let _ = writeln!(text, "{} {} {} {public_key}", key.flags, key.protocol, key.algorithm.0);
        text
    });
    let path = zone_dir(accepted, zone).join(REVOKED);
    durable::write(&path, text.as_bytes(), super::SKR_MODE).map_err(|source| StoreError::Io { path, source })
}

fn parse(line: &str) -> Option<Dnskey> {
    let words: Vec<&str> = line.split(' ').collect();
    let [flags, protocol, algorithm, public_key] = words[..] else { return None };
    let key = Dnskey {
        flags: flags.parse().ok()?,
        protocol: protocol.parse().ok()?,
        algorithm: Algorithm(algorithm.parse().ok()?),
        public_key: BASE64.decode(public_key.as_bytes()).ok()?,
    };
    key.is_revoked_ksk().then_some(key)
}
