//! The KSKs of a zone that were published as revoked: they are trusted never again (RFC 5011 section 2.1).
//!
//! ```text
//! accepted/ZONE/revoked   a line a key, as in its DNSKEY record: `385 3 <algorithm> <public key in Base64>`
//!                         the same with ` <inception> <generation>`: this generation publishes it from then on, while it is in force
//! ```
//! When a generation comes into force, what it will publish is written here, so that it is known even when the file of the generation is
//! lost. When it is replaced, what it has published by then is written first, and counts for ever; what it was yet to publish does not.

use std::collections::{BTreeMap, BTreeSet};
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

use crate::files::{self, FileError, NamedBy};

const REVOKED: &str = "revoked";
/// Longest such file, in octets: some thousand keys by RSA.
const MAX_OCTETS: u64 = 1 << 20;

/// The revoked KSKs in the bundles that have begun by `until`. In bundles that were accepted each has signed the DNSKEY RRset (SKR-KEY).
pub fn published(bundles: &[Bundle], until: Timestamp) -> BTreeSet<Dnskey> {
    let begun = bundles.iter().filter(|bundle| bundle.inception <= until);
    begun.flat_map(Bundle::keys).filter(Dnskey::is_revoked_ksk).collect()
}

/// The KSKs that generations of `zone` have published as revoked, each with the time from which it counts, and what is damaged in their
/// file: the lines that read count still. `in_force` is the generation that `current` names; without it, what any of them publishes counts.
pub fn read(
    accepted: &Path,
    zone: &Name,
    in_force: Option<u64>,
) -> Result<(BTreeMap<Dnskey, Timestamp>, Option<StoreError>), StoreError> {
    let path = zone_dir(accepted, zone).join(REVOKED);
    let what = "it was altered from outside, and does not tell any more which KSKs were revoked; restore it, or move it away";
    let octets = match read_octets(&path) {
        Err(FileError::Io(source)) => return Err(StoreError::Io { path, source }),
        Err(_) => return Ok((BTreeMap::new(), Some(StoreError::Damaged { path, what }))),
        Ok(octets) => octets,
    };
    let text = String::from_utf8_lossy(&octets);
    let lines: Vec<Option<Line>> = text.lines().map(parse).collect();
    let damage = lines.iter().any(Option::is_none).then_some(StoreError::Damaged { path, what });
    let mut keys = BTreeMap::new();
    for Line { key, of } in lines.into_iter().flatten() {
        let from = match of {
            None => Timestamp::EPOCH,
            Some((from, generation)) if in_force.is_none_or(|in_force| in_force == generation) => from,
            // It was replaced before: what it had published by then has a line of its own.
            Some(_) => continue,
        };
        let known: &mut Timestamp = keys.entry(key).or_insert(from);
        *known = from.min(*known);
    }
    Ok((keys, damage))
}

/// Writes down which KSKs were published as revoked and count for ever; they are on disk afterwards. What is damaged stays as it is.
pub fn add(accepted: &Path, zone: &Name, keys: BTreeSet<Dnskey>) -> Result<(), StoreError> {
    append(accepted, zone, keys.into_iter().map(|key| Line { key, of: None }).collect())
}

/// The same for those that a generation which has come into force publishes from some time on.
pub fn add_of_generation(
    accepted: &Path,
    zone: &Name,
    generation: u64,
    bundles: &[Bundle],
) -> Result<(), StoreError> {
    let mut from: BTreeMap<Dnskey, Timestamp> = BTreeMap::new();
    for bundle in bundles {
        for key in bundle.keys().filter(Dnskey::is_revoked_ksk) {
            from.entry(key).and_modify(|at| *at = bundle.inception.min(*at)).or_insert(bundle.inception);
        }
    }
    let lines = from.into_iter().map(|(key, from)| Line { key, of: Some((from, generation)) });
    append(accepted, zone, lines.collect())
}

fn append(accepted: &Path, zone: &Name, lines: Vec<Line>) -> Result<(), StoreError> {
    if lines.is_empty() {
        return Ok(());
    }
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
    let known: BTreeSet<Line> = String::from_utf8_lossy(&octets).lines().filter_map(parse).collect();
    let new: BTreeSet<Line> = lines.into_iter().filter(|line| !known.contains(line)).collect();
    if new.is_empty() {
        return Ok(());
    }
    if !octets.is_empty() && !octets.ends_with(b"\n") {
        octets.push(b'\n');
    }
    let lines = new.into_iter().map(|Line { key, of }| {
        let public_key = BASE64.encode(&key.public_key);
        let of = of.map_or_else(String::new, |(from, generation)| format!(" {} {generation}", from.secs()));
        format!("{} {} {} {public_key}{of}\n", key.flags, key.protocol, key.algorithm.0)
    });
    octets.extend(lines.collect::<String>().into_bytes());
    durable::write(&path, &octets, super::SKR_MODE).map_err(|source| StoreError::Io { path, source })
}

/// Nothing where there is no such file.
fn read_octets(path: &Path) -> Result<Vec<u8>, FileError> {
    match files::read(path, NamedBy::Dropper, MAX_OCTETS) {
        Ok(file) => Ok(file.octets),
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A line of the file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    key: Dnskey,
    /// From when on, and by which generation; `None` = it was published, and counts for ever.
    of: Option<(Timestamp, u64)>,
}

/// True for a line that counts, for the fuzz targets.
#[cfg(feature = "testing")]
pub(crate) fn is_line(line: &str) -> bool {
    parse(line).is_some()
}

fn parse(line: &str) -> Option<Line> {
    let words: Vec<&str> = line.split(' ').collect();
    let (key, of) = words.split_at_checked(4)?;
    let [flags, protocol, algorithm, public_key] = key else { return None };
    let of = match of {
        [] => None,
        [from, generation] => Some((Timestamp::from_secs(from.parse().ok()?), generation.parse().ok()?)),
        _ => return None,
    };
    let key = Dnskey {
        flags: flags.parse().ok()?,
        protocol: protocol.parse().ok()?,
        algorithm: Algorithm(algorithm.parse().ok()?),
        public_key: BASE64.decode(public_key.as_bytes()).ok()?,
    };
    key.is_revoked_ksk().then_some(Line { key, of })
}
