//! The KSKs of a zone that were published as revoked: they are trusted never again (RFC 5011 section 2.1).
//!
//! ```text
//! accepted/ZONE/revoked   a line a key, as in its DNSKEY record: `385 3 <algorithm> <public key in Base64>`
//! ```
//! The generation in force shows what it has published itself. When it is replaced, what it has published by then is written here first.

use std::collections::BTreeSet;
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

/// The KSKs that replaced generations of `zone` have published as revoked, and what is damaged in their file: the lines that read count still.
pub fn read(accepted: &Path, zone: &Name) -> Result<(BTreeSet<Dnskey>, Option<StoreError>), StoreError> {
    let path = zone_dir(accepted, zone).join(REVOKED);
    let what = "it was altered from outside, and does not tell any more which KSKs were revoked; restore it, or move it away";
    let octets = match read_octets(&path) {
        Err(FileError::Io(source)) => return Err(StoreError::Io { path, source }),
        Err(_) => return Ok((BTreeSet::new(), Some(StoreError::Damaged { path, what }))),
        Ok(octets) => octets,
    };
    let text = String::from_utf8_lossy(&octets);
    let keys: Vec<Option<Dnskey>> = text.lines().map(parse).collect();
    let damage = keys.iter().any(Option::is_none).then_some(StoreError::Damaged { path, what });
    Ok((keys.into_iter().flatten().collect(), damage))
}

/// Adds keys to those of [`read`]; they are on disk afterwards. What is damaged stays as it is.
pub fn add(accepted: &Path, zone: &Name, keys: BTreeSet<Dnskey>) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let (known, _) = read(accepted, zone)?;
    let path = zone_dir(accepted, zone).join(REVOKED);
    let mut octets = match read_octets(&path) {
        Err(FileError::Io(source)) => return Err(StoreError::Io { path, source }),
        Err(_) => {
            let what =
                "it is no plain file, and KSKs that were revoked are to be written to it; move it away";
            return Err(StoreError::Damaged { path, what });
        }
        Ok(octets) => octets,
    };
    let new: Vec<&Dnskey> = keys.difference(&known).collect();
    if new.is_empty() {
        return Ok(());
    }
    if !octets.is_empty() && !octets.ends_with(b"\n") {
        octets.push(b'\n');
    }
    let lines = new.into_iter().map(|key| {
        let public_key = BASE64.encode(&key.public_key);
        format!("{} {} {} {public_key}\n", key.flags, key.protocol, key.algorithm.0)
    });
    octets.extend(lines.collect::<String>().into_bytes());
    durable::write(&path, &octets, super::SKR_MODE).map_err(|source| StoreError::Io { path, source })
}

/// Nothing where there is no such file.
fn read_octets(path: &Path) -> Result<Vec<u8>, FileError> {
    match files::read(path, Named::ByDrop, MAX_OCTETS) {
        Ok(file) => Ok(file.octets),
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
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
