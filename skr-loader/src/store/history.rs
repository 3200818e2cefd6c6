//! What generations that were replaced have signed, so that nothing of them comes into force again by itself; and how many are kept.
//!
//! A signature is known by what it signs ([`SignatureMark`]), not by its octets: an SKR that was signed twice has other octets and says the same.
//!
//! The KSKs that they have published as revoked are known by [`revoked`].
//!
//! ```text
//! accepted/ZONE/1.skr 2.skr ─┐
//! accepted/ZONE/replaced ────┴─▶ History: Mark → the generation that had it last
//! ```
//! `replaced` keeps the marks of generations whose files were removed, a line each: `<expiration> <generation> <mark in hex>`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keystore::config::LoaderConfig;
use keystore::dns::{Name, Rrsig};
use keystore::durable;
use keystore::exchange::{Bundle, bind};
use keystore::keys::Dnskey;
use keystore::store::{self, StoreError, digest, zone_dir};
use keystore::time::Timestamp;

use super::{Digest, generation_of, received_path, revoked};
use crate::files::{self, FileError, NamedBy, hex};

/// The file of the marks whose generations are gone.
const REPLACED: &str = "replaced";
/// Longest such file, in octets. A line has some ninety. Generations whose marks have no room in it are not removed.
const MAX_OCTETS: u64 = 64 << 20;

/// SHA-256 of what a signature signs: its own times and key tag, and the RRset (RFC 4034 section 3.1.8.1).
pub type SignatureMark = Digest;

/// The marks of the signatures of a bundle.
pub fn marks(bundle: &Bundle) -> impl Iterator<Item = SignatureMark> + '_ {
    marked(bundle).map(|(mark, _)| mark)
}

/// The signatures of a bundle, each with its mark.
pub fn marked(bundle: &Bundle) -> impl Iterator<Item = (SignatureMark, &Rrsig)> {
    bundle.signatures.iter().filter_map(|signature| {
        let rrset = bundle.rrsets().find(|rrset| rrset.rtype == signature.covered)?;
        Some((digest(&signature.signed_data(rrset)), signature))
    })
}

/// What generations that were replaced have signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignedBefore {
    marks: HashMap<SignatureMark, u64>,
    revoked: BTreeMap<Dnskey, Timestamp>,
    lost: Lost,
    /// What was altered from outside, so that it does not tell everything.
    damage: Vec<String>,
}

/// What is known of the generation that was in force and does not read any more: whoever drops its SKR again repairs the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Lost {
    /// SHA-256 of its file, and of the file that was dropped for it.
    digests: HashSet<Digest>,
    /// What its file says, where nobody but the file can tell that it was in force.
    marks: HashSet<SignatureMark>,
}

impl SignedBefore {
    /// Reads the generations before `in_force`. Where that does not read: before the one that `current` names, or, without a word of that, before
    /// the newest one. What has expired by `now` is left out.
    pub fn read(
        accepted: &Path,
        zone: &Name,
        in_force: Option<u64>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let dir = zone_dir(accepted, zone);
        let mut history = Self::read_revoked(accepted, zone)?;
        let replaced = match read_replaced(&dir) {
            Err(error @ StoreError::Damaged { .. }) => {
                history.damage.push(error.to_string());
                HashMap::new()
            }
            replaced => replaced?,
        };
        for (mark, line) in replaced {
            if line.expiration >= now {
                history.marks.insert(mark, line.generation);
            }
        }
        let mut generations = generations(&dir)?;
        let end = match in_force {
            Some(in_force) => in_force,
            None => {
                let named = named(&dir)?;
                let end = named.map(|(generation, _)| generation).or_else(|| generations.last().copied());
                let end = end.unwrap_or(0);
                history.lost = Lost::read(&dir, zone, end, named.map(|(_, digest)| digest))?;
                end
            }
        };
        generations.retain(|generation| *generation < end);
        for generation in generations {
            let marks = match marks_of_file(&dir, zone, generation) {
                Err(error @ StoreError::Damaged { .. }) => {
                    history.damage.push(error.to_string());
                    continue;
                }
                marks => marks?,
            };
            let counts = marks.into_iter().filter(|(_, line)| line.expiration >= now);
            history.marks.extend(counts.map(|(mark, _)| (mark, generation)));
        }
        Ok(history)
    }

    /// Reads only which KSKs they have published as revoked.
    pub fn read_revoked(accepted: &Path, zone: &Name) -> Result<Self, StoreError> {
        let in_force = named(&zone_dir(accepted, zone))?.map(|(generation, _)| generation);
        let (revoked, damage) = revoked::read(accepted, zone, in_force)?;
        let damage = damage.iter().map(ToString::to_string).collect();
        Ok(Self { revoked, damage, ..Self::default() })
    }

    /// What was altered from outside: nobody knows whether what it told of would forbid an SKR.
    #[must_use]
    pub fn damage(&self) -> &[String] {
        &self.damage
    }

    /// The marks of `bundles`, as those of `generation`.
    #[cfg(test)]
    pub fn of(bundles: &[Bundle], generation: u64) -> Self {
        let marks = bundles.iter().flat_map(marks).map(|mark| (mark, generation)).collect();
        Self { marks, ..Self::default() }
    }

    /// What the generation has signed that was in force and does not read any more, as far as that is known. A file of the digest `candidate`
    /// that holds `its` marks is its SKR, when the digest says so.
    #[must_use]
    pub fn marks_of_lost(
        &self,
        candidate: &Digest,
        its: impl Iterator<Item = SignatureMark>,
    ) -> HashSet<SignatureMark> {
        if self.lost.digests.contains(candidate) { its.collect() } else { self.lost.marks.clone() }
    }

    /// The KSKs that they have published as revoked by `until`, or will have by then where they stay in force.
    pub fn revoked(&self, until: Timestamp) -> impl Iterator<Item = &Dnskey> {
        self.revoked.iter().filter(move |(_, from)| **from <= until).map(|(key, _)| key)
    }

    /// The replaced generation that has signed this.
    #[must_use]
    pub fn generation_of(&self, mark: &SignatureMark) -> Option<u64> {
        self.marks.get(mark).copied()
    }
}

impl Lost {
    /// `named` is the digest in `current`. A file with another one was altered, and does not count.
    fn read(dir: &Path, zone: &Name, generation: u64, named: Option<Digest>) -> Result<Self, StoreError> {
        let mut lost = Self { digests: named.into_iter().collect(), ..Self::default() };
        lost.digests.extend(read_plain(&received_path(dir, generation))?.map(|octets| digest(&octets)));
        if named.is_none() {
            lost.digests.extend(read_plain(&store::skr_path(dir, generation))?.map(|octets| digest(&octets)));
            lost.marks = match marks_of_file(dir, zone, generation) {
                Err(StoreError::Damaged { .. }) => HashSet::new(),
                marks => marks?.into_keys().collect(),
            };
        }
        Ok(lost)
    }
}

/// How many generations are kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Generations of a zone at most, the one in force among them.
    pub generations: usize,
    /// Seconds after which a generation that was replaced goes, whatever their number is.
    pub longest: u64,
    /// Seconds for which a generation that was replaced stays, whatever their number is.
    pub shortest: u64,
}

impl From<&LoaderConfig> for Keep {
    fn from(config: &LoaderConfig) -> Self {
        const DAY: u64 = 86_400;
        Self {
            generations: usize::try_from(config.accepted_max_generations).unwrap_or(usize::MAX),
            longest: u64::from(config.accepted_max_days) * DAY,
            shortest: u64::from(config.accepted_min_days) * DAY,
        }
    }
}

/// Removes generations of `zone` that are older than `in_force` and not to be kept at `now`. Gives their numbers. Their marks are kept
/// until they expire, and are on disk before anything is removed.
pub fn prune(
    accepted: &Path,
    zone: &Name,
    in_force: u64,
    keep: Keep,
    now: Timestamp,
) -> Result<Vec<u64>, StoreError> {
    let dir = zone_dir(accepted, zone);
    let generations: Vec<u64> = generations(&dir)?.into_iter().filter(|n| *n <= in_force).collect();
    let mut gone = Vec::new();
    for (i, pair) in generations.windows(2).enumerate() {
        let [generation, next] = [pair[0], pair[1]];
        let Some(age) = age(&store::skr_path(&dir, next), now) else { continue };
        let too_many = generations.len() - i > keep.generations;
        if age > keep.shortest && (too_many || age > keep.longest) {
            gone.push(generation);
        }
    }
    if gone.is_empty() {
        return Ok(gone);
    }
    let mut replaced = read_replaced(&dir)?;
    replaced.retain(|_, line| line.expiration >= now);
    let mut damaged = Vec::new();
    for generation in &gone {
        match marks_of_file(&dir, zone, *generation) {
            // Whoever moves it away takes upon himself what it had signed.
            Err(StoreError::Damaged { .. }) => damaged.push(*generation),
            marks => replaced.extend(marks?.into_iter().filter(|(_, line)| line.expiration >= now)),
        }
    }
    gone.retain(|generation| !damaged.contains(generation));
    write_replaced(&dir, &replaced, MAX_OCTETS)?;
    let paths: Vec<PathBuf> = gone
        .iter()
        .flat_map(|generation| [store::skr_path(&dir, *generation), received_path(&dir, *generation)])
        .collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    durable::remove_each(&paths).map_err(|source| StoreError::Io { path: dir.clone(), source })?;
    Ok(gone)
}

/// Seconds since the file was written; `None` when that is not known, or lies in the future.
fn age(path: &Path, now: Timestamp) -> Option<u64> {
    let written = path.symlink_metadata().ok()?.modified().ok()?;
    let written = written.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    now.secs().checked_sub(written)
}

/// The generation that `current` names, and its digest; `None` where it is gone or altered.
fn named(dir: &Path) -> Result<Option<(u64, Digest)>, StoreError> {
    Ok(read_plain(&dir.join(store::CURRENT))?.and_then(|octets| store::parse_current(&octets)))
}

/// The octets of a file; `None` where it is not there, or is no plain file.
fn read_plain(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match files::read(path, NamedBy::Dropper, store::MAX_SKR_OCTETS) {
        Ok(file) => Ok(Some(file.octets)),
        Err(FileError::Io(source)) if source.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::Io { path: path.to_owned(), source })
        }
        Err(_) => Ok(None),
    }
}

/// The numbers of the generations in the folder, in order.
fn generations(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let io = |source| StoreError::Io { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == "skr") {
            found.extend(generation_of(&path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Where a mark comes from, and how long it counts.
#[derive(Debug, Clone, Copy)]
struct Line {
    expiration: Timestamp,
    generation: u64,
}

/// What a generation had signed; nothing where its file is gone. One that was altered from outside is [`StoreError::Damaged`].
fn marks_of_file(
    dir: &Path,
    zone: &Name,
    generation: u64,
) -> Result<HashMap<SignatureMark, Line>, StoreError> {
    let path = store::skr_path(dir, generation);
    let octets = match files::read(&path, NamedBy::Dropper, store::MAX_SKR_OCTETS) {
        Ok(file) => file.octets,
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(FileError::Io(source)) => return Err(StoreError::Io { path, source }),
        Err(_) => return Err(altered(path)),
    };
    let Ok(skr) = bind::parse_skr(&octets, zone) else { return Err(altered(path)) };
    // Each signature counts until its own end: without the one that ends first, the others can be replayed still.
    let line = |bundle: &Bundle, s: &Rrsig| Line { expiration: s.expires(bundle.inception), generation };
    let of = |bundle| marked(bundle).map(move |(mark, signature)| (mark, line(bundle, signature)));
    Ok(skr.bundles.iter().flat_map(of).collect())
}

fn read_replaced(dir: &Path) -> Result<HashMap<SignatureMark, Line>, StoreError> {
    let path = dir.join(REPLACED);
    let octets = match files::read(&path, NamedBy::Dropper, MAX_OCTETS) {
        Ok(file) => file.octets,
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(FileError::Io(source)) => return Err(StoreError::Io { path, source }),
        Err(_) => return Err(altered(path)),
    };
    parse_replaced(octets).ok_or_else(|| altered(path))
}

/// The lines of the file `replaced`; `None` when one of them does not read.
fn parse_replaced(octets: Vec<u8>) -> Option<HashMap<SignatureMark, Line>> {
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let expiration = Timestamp::from_secs(words.next()?.parse().ok()?);
        let generation = words.next()?.parse().ok()?;
        let mark = data_encoding::HEXLOWER.decode(words.next()?.as_bytes()).ok()?.try_into().ok()?;
        words.next().is_none().then_some((mark, Line { expiration, generation }))
    };
    String::from_utf8(octets).ok()?.lines().map(parse).collect()
}

/// How many marks the file `replaced` has, for the fuzz targets.
#[cfg(feature = "testing")]
pub(crate) fn count_replaced(octets: Vec<u8>) -> Option<usize> {
    parse_replaced(octets).map(|lines| lines.len())
}

fn altered(path: PathBuf) -> StoreError {
    let what = "it was altered from outside, and does not tell any more what older generations had signed; restore it, or move it away";
    StoreError::Damaged { path, what }
}

fn write_replaced(dir: &Path, lines: &HashMap<SignatureMark, Line>, limit: u64) -> Result<(), StoreError> {
    let path = dir.join(REPLACED);
    let mut sorted: Vec<_> =
        lines.iter().map(|(mark, l)| (l.expiration.secs(), l.generation, mark)).collect();
    sorted.sort_unstable();
    let text = sorted.into_iter().fold(String::new(), |mut text, (expiration, generation, mark)| {
        let _ = writeln!(text, "{expiration} {generation} {}", hex(mark));
        text
    });
    let written = if text.len() as u64 > limit {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("would be larger than {limit} octets")))
    } else {
        durable::write(&path, text.as_bytes(), super::SKR_MODE)
    };
    written.map_err(|source| StoreError::Io { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DAY, skr, start, zone};

    /// A folder with generations 1 to `count`; each was written `step` days after the one before, the last one at `start`.
    fn folder(count: u64, step: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let of_zone = zone_dir(dir.path(), &zone());
        fs::create_dir(&of_zone).unwrap();
        for n in 1..=count {
            let path = store::skr_path(&of_zone, n);
            fs::write(&path, skr(9 * n).text()).unwrap();
            let time = start().minus((count - n) * step * DAY);
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time.secs());
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        dir
    }

    #[test]
    fn generations_go_by_number_and_age_and_never_when_they_were_in_force_lately() {
        let keep = |generations, longest: u64, shortest: u64| Keep {
            generations,
            longest: longest * DAY,
            shortest: shortest * DAY,
        };
        // Six generations, ten days apart: generation 5 was replaced now, 4 ten days ago, … 1 forty days ago.
        for (what, keep, gone) in [
            ("few enough", keep(6, 1000, 5), &[][..]),
            ("too many", keep(3, 1000, 5), &[1, 2, 3]),
            ("too many, and one was in force lately", keep(3, 1000, 25), &[1, 2]),
            ("all were in force lately", keep(1, 1000, 50), &[]),
            ("too old", keep(100, 25, 5), &[1, 2]),
            ("one only", keep(1, 1000, 0), &[1, 2, 3, 4]),
        ] {
            let dir = folder(6, 10);
            let before = SignedBefore::read(dir.path(), &zone(), Some(6), start()).unwrap();
            assert_eq!(prune(dir.path(), &zone(), 6, keep, start()).unwrap(), gone, "{what}");
            let after = SignedBefore::read(dir.path(), &zone(), Some(6), start()).unwrap();
            assert_eq!(
                before.marks.keys().collect::<std::collections::BTreeSet<_>>(),
                after.marks.keys().collect(),
                "{what}: nothing is forgotten"
            );
            let left = generations(&zone_dir(dir.path(), &zone())).unwrap();
            assert!(
                left.iter().all(|n| !gone.contains(n)) && left.len() == 6 - gone.len(),
                "{what}: {left:?}"
            );
        }
    }

    #[test]
    fn marks_are_kept_until_they_expire() {
        let dir = folder(3, 10);
        let keep = Keep { generations: 1, longest: 0, shortest: 0 };
        assert_eq!(prune(dir.path(), &zone(), 3, keep, start().plus(DAY)).unwrap(), [1, 2]);
        let read = |days| {
            SignedBefore::read(dir.path(), &zone(), Some(3), start().plus(days * DAY)).unwrap().marks.len()
        };
        assert!(read(1) > read(40) && read(40) > 0 && read(200) == 0, "{} {}", read(1), read(40));
        // A damaged file is no empty one.
        let of_zone = zone_dir(dir.path(), &zone());
        let good = fs::read_to_string(of_zone.join(REPLACED)).unwrap();
        fs::write(of_zone.join(REPLACED), "garbage\n").unwrap();
        let read = SignedBefore::read(dir.path(), &zone(), Some(3), start()).unwrap();
        assert!(matches!(read.damage(), [what] if what.contains("replaced")), "{:?}", read.damage());
        assert!(prune(dir.path(), &zone(), 3, keep, start()).unwrap().is_empty(), "nothing is to be removed");
        // What is written is read back, however much it is.
        fs::write(of_zone.join(REPLACED), &good).unwrap();
        let lines = read_replaced(&of_zone).unwrap();
        let octets = good.len() as u64;
        assert!(write_replaced(&of_zone, &lines, octets - 1).is_err());
        assert_eq!(fs::read_to_string(of_zone.join(REPLACED)).unwrap(), good);
        write_replaced(&of_zone, &lines, octets).unwrap();
    }
}
