//! Finding key sets in a folder: one reading of the folder serves any number of zones.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{FolderKeys, KeyFile, KeyFileError, Secrecy, private, public, read, state};
use crate::crypto::check_public_key;
use crate::dns::Name;
use crate::durable;
use crate::keys::timing::{TIMES, Timing};
use crate::keys::{Dnskey, FLAG_REVOKE, FLAG_SEP, FLAG_ZONE};
use crate::time::Timestamp;

/// Finds the keys of `zone` in `dir`: each `K<zone>+ddd+ddddd.private` makes a key exist, letter case ignored.
pub fn find(dir: &Path, zone: &Name) -> Result<FolderKeys, KeyFileError> {
    Ok(Folder::scan(dir)?.find(zone))
}

/// Like [`find`] for the online side: the `.private` file of a KSK is not opened; its times are those of `.state`.
pub fn find_online(dir: &Path, zone: &Name) -> Result<FolderKeys, KeyFileError> {
    Ok(Folder::scan(dir)?.find_online(zone))
}

/// Like [`find_online`], for a process that may list the folder and not read private keys: a ZSK whose `.private` file is there and
/// may not be read is one of [`FolderKeys::sealed`], with the times that `.key` and `.state` say.
pub fn find_sealed(dir: &Path, zone: &Name) -> Result<FolderKeys, KeyFileError> {
    Ok(Folder::scan(dir)?.find_sealed(zone))
}

/// What is read of the `.private` files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Privates {
    /// The times of all.
    All,
    /// The times of ZSKs.
    Zsks,
    /// The same; those that may not be read are left closed.
    Sealed,
}

/// The names of the key files in a folder, by zone.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    /// What the folder was like when its names were read.
    stamp: Stamp,
    /// There are temp files of writers, alive or gone.
    temps: bool,
    /// By the zone as it stands in file names, in lower case.
    zones: HashMap<String, Vec<Entry>>,
}

/// Changes when a name comes or goes; but for changes within one tick of the kernel's clock, a few milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp([i64; 5], u64);

impl Stamp {
    fn of(dir: &Path) -> std::io::Result<Self> {
        let m = std::fs::metadata(dir)?;
        Ok(Self([m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec(), m.dev().cast_signed()], m.ino()))
    }
}

/// The files of one name.
#[derive(Debug)]
struct Entry {
    /// `K<zone>+<AAA>+<TTTTT>` as it stands in the folder.
    base: String,
    algorithm: u16,
    tag: u16,
    key: bool,
    private: bool,
    state: bool,
}

/// A tag that a key file holds, so that no new key of the zone may have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenTag {
    /// The tag, or the tag once revoked.
    pub tag: u16,
    /// The file that holds it.
    pub path: PathBuf,
}

impl Folder {
    /// Reads the names in `dir`. No file is opened.
    pub fn scan(dir: &Path) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io { path: dir.to_owned(), source };
        let mut zones: HashMap<String, Vec<Entry>> = HashMap::new();
        // Before the names: a change in between is then seen as one.
        let stamp = Stamp::of(dir).map_err(io)?;
        let mut temps = false;
        for entry in std::fs::read_dir(dir).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            temps |= durable::is_temp_name(&name);
            if let Some((zone, found)) = name.to_str().and_then(split_name) {
                zones.entry(zone).or_default().push(found);
            }
        }
        zones.values_mut().for_each(tidy);
        Ok(Self { dir: dir.to_owned(), stamp, temps, zones })
    }

    /// Reads the names again if any came or went since.
    pub fn refresh(&mut self) -> Result<(), KeyFileError> {
        let io = |source| KeyFileError::Io { path: self.dir.clone(), source };
        if Stamp::of(&self.dir).map_err(io)? != self.stamp {
            *self = Self::scan(&self.dir)?;
        }
        Ok(())
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// True when temp files of writers lay there, alive or gone.
    #[must_use]
    pub const fn has_temps(&self) -> bool {
        self.temps
    }

    /// Takes in a key set that this process has just made, so that the names need not be read again. Whoever calls holds the
    /// folder's lock and has [refreshed](Self::refresh): what another program does in the same moment is seen at the next reading.
    pub(super) fn note(&mut self, key: &KeyFile) -> Result<(), KeyFileError> {
        let base = key.base_name();
        let entry = split_name(&format!("{base}.private"));
        if let Some((zone, entry)) = entry {
            let entries = self.zones.entry(zone).or_default();
            entries.push(Entry { key: true, private: true, state: key.state.is_some(), ..entry });
            tidy(entries);
        }
        self.stamp =
            Stamp::of(&self.dir).map_err(|source| KeyFileError::Io { path: self.dir.clone(), source })?;
        Ok(())
    }

    /// Removes the files of a key durably, `.private` first: without it the others are no key to anybody. The names need not be read again.
    pub fn remove(&mut self, key: &KeyFile) -> Result<(), KeyFileError> {
        let base = key.base_name();
        let paths = [key.private_path(), key.path("state"), key.path("key")];
        let all = paths.each_ref().map(PathBuf::as_path);
        durable::remove_each(&all).map_err(|source| KeyFileError::Io { path: paths[0].clone(), source })?;
        if let Some(entries) = self.zones.get_mut(&key.zone.file_name().to_ascii_lowercase()) {
            entries.retain(|entry| !entry.base.eq_ignore_ascii_case(&base));
        }
        self.stamp =
            Stamp::of(&self.dir).map_err(|source| KeyFileError::Io { path: self.dir.clone(), source })?;
        Ok(())
    }

    /// The zones that have a key, as in file names (see [`Name::file_name`]), in no order.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.zones
            .iter()
            .filter(|(_, entries)| entries.iter().any(|e| e.private))
            .map(|(zone, _)| zone.as_str())
    }

    /// The zones that have any file of a key, also one without its `.private` file, as in file names, in no order.
    pub fn zones_of_all_files(&self) -> impl Iterator<Item = &str> {
        self.zones.keys().map(String::as_str)
    }

    /// A number that changes when a key file of the zone comes, goes, or is written: from names, sizes, inode numbers and times of the
    /// last write. No file is opened. Only good to compare within one process.
    #[must_use]
    pub fn mark(&self, zone: &Name) -> u64 {
        let mut hasher = DefaultHasher::new();
        for entry in self.entries(zone) {
            entry.base.hash(&mut hasher);
            for suffix in ["key", "private", "state"] {
                // A file that went since the names were read counts as none.
                let seen = self.path(entry, suffix).symlink_metadata().ok();
                seen.map(|m| (m.len(), m.ino(), m.mtime(), m.mtime_nsec(), m.mode())).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// The base names of the zone's key sets (those with a `.private` file), sorted by algorithm and tag.
    pub fn bases(&self, zone: &Name) -> impl Iterator<Item = &str> {
        self.sets(zone).map(|entry| entry.base.as_str())
    }

    /// Reads the key sets of a zone.
    #[must_use]
    pub fn find(&self, zone: &Name) -> FolderKeys {
        self.read_sets(zone, Privates::All)
    }

    /// Reads the key sets of a zone and opens no `.private` file of a KSK; see [`find_online`].
    #[must_use]
    pub fn find_online(&self, zone: &Name) -> FolderKeys {
        self.read_sets(zone, Privates::Zsks)
    }

    /// The same, also of ZSKs whose `.private` file may not be read; see [`find_sealed`].
    #[must_use]
    pub fn find_sealed(&self, zone: &Name) -> FolderKeys {
        self.read_sets(zone, Privates::Sealed)
    }

    /// The files of the zone's key sets, in no order. No file is opened.
    pub fn files(&self, zone: &Name) -> impl Iterator<Item = PathBuf> {
        self.entries(zone).iter().flat_map(|entry| {
            let suffixes = [(entry.key, "key"), (entry.private, "private"), (entry.state, "state")];
            suffixes.into_iter().filter(|(there, _)| *there).map(|(_, suffix)| self.path(entry, suffix))
        })
    }

    /// The `.private` files of the zone's KSKs that lie in the folder. Only `.key` files are opened; a set whose `.key` does
    /// not read counts as none.
    #[must_use]
    pub fn private_ksks(&self, zone: &Name) -> Vec<PathBuf> {
        self.sets(zone)
            .filter(|entry| self.public(entry).is_ok_and(|file| file.dnskey.flags & FLAG_SEP != 0))
            .map(|entry| self.path(entry, "private"))
            .collect()
    }

    /// The `.key` files of the zone without a `.private` file, with their keys; those that do not read are left out.
    #[must_use]
    pub fn without_private(&self, zone: &Name) -> Vec<(PathBuf, Dnskey)> {
        let lone = self.entries(zone).iter().filter(|entry| entry.key && !entry.private);
        lone.filter_map(|entry| Some((self.path(entry, "key"), self.public(entry).ok()?.dnskey))).collect()
    }

    /// Every tag of the zone that is taken: of usable sets, lone files, old formats, KEY records and sets that do not read, of
    /// any algorithm, with the tags they have once revoked.
    #[must_use]
    pub fn taken_tags(&self, zone: &Name) -> Vec<TakenTag> {
        let mut out = Vec::new();
        for entry in self.entries(zone) {
            let path = self.path(
                entry,
                if entry.key {
                    "key"
                } else if entry.private {
                    "private"
                } else {
                    "state"
                },
            );
            // Setting REVOKE adds 128 to the sum that the tag is folded from.
            let guess = entry
                .tag
                .wrapping_add(FLAG_REVOKE)
                .wrapping_add(u16::from(entry.tag > u16::MAX - FLAG_REVOKE));
            let mut tags = vec![entry.tag, guess];
            if let Ok(file) = self.public(entry) {
                tags.extend([file.dnskey.tag(), file.dnskey.revoked_tag()]);
            }
            tags.sort_unstable();
            tags.dedup();
            out.extend(tags.into_iter().map(|tag| TakenTag { tag, path: path.clone() }));
        }
        out
    }

    fn entries(&self, zone: &Name) -> &[Entry] {
        self.zones.get(&zone.file_name().to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    fn sets(&self, zone: &Name) -> impl Iterator<Item = &Entry> {
        self.entries(zone).iter().filter(|entry| entry.private)
    }

    fn path(&self, entry: &Entry, suffix: &str) -> PathBuf {
        self.dir.join(format!("{}.{suffix}", entry.base))
    }

    fn public(&self, entry: &Entry) -> Result<public::PublicFile, KeyFileError> {
        let path = self.path(entry, "key");
        public::parse(&path, &read(&path, Secrecy::Ignored)?)
    }

    fn read_sets(&self, zone: &Name, privates: Privates) -> FolderKeys {
        let lone = self.entries(zone).iter().filter(|entry| !entry.private);
        let lone = lone.map(|entry| self.path(entry, if entry.key { "key" } else { "state" }));
        let mut found = FolderKeys { without_private: lone.collect(), ..FolderKeys::default() };
        let mut last = None;
        for entry in self.sets(zone) {
            if last.replace((entry.algorithm, entry.tag)) == Some((entry.algorithm, entry.tag)) {
                let what = "a second set of the same key, in other letter case; remove one";
                found.skipped.push(KeyFileError::mismatch(&self.path(entry, "private"), what));
                continue;
            }
            match self.read_set(entry, zone, privates) {
                Ok(KeySet { key, sealed, contradiction }) => {
                    if sealed {
                        found.sealed.push(key.dnskey.clone());
                    }
                    found.contradictions.extend(contradiction);
                    found.keys.push(key);
                }
                Err(error) => found.skipped.push(error),
            }
        }
        // Who serves many zones keeps the keys of each, and mostly that is one.
        found.keys.shrink_to_fit();
        found
    }

    fn read_set(&self, entry: &Entry, zone: &Name, privates: Privates) -> Result<KeySet, KeyFileError> {
        let key_path = self.path(entry, "key");
        let mismatch = |what| KeyFileError::mismatch(&key_path, what);
        let file = self.public(entry)?;
        let dnskey = file.dnskey;
        if file.owner != *zone {
            return Err(mismatch(
                "the record belongs to another zone than the file name says; restore the file",
            ));
        }
        if u16::from(dnskey.algorithm.0) != entry.algorithm || dnskey.tag() != entry.tag {
            return Err(mismatch(
                "the record has another algorithm or key tag than the file name; restore the file",
            ));
        }
        if dnskey.flags & FLAG_ZONE == 0 || dnskey.protocol != 3 {
            return Err(mismatch("no zone key: flags must have the value 256, the protocol must be 3"));
        }
        let bits = check_public_key(dnskey.algorithm, &dnskey.public_key)
            .map_err(|source| KeyFileError::PublicKey { path: key_path.clone(), source })?;

        let (mut timing, mut sealed, mut of_private) = (Timing::default(), false, None);
        if privates == Privates::All || !dnskey.is_ksk() {
            let path = self.path(entry, "private");
            match read(&path, Secrecy::Ignored) {
                Ok(text) => {
                    let private = private::PrivateFile::parse(&path, &text)?;
                    private.check_algorithm(&path, dnskey.algorithm)?;
                    if private.is_legacy() {
                        return Err(KeyFileError::Legacy { path });
                    }
                    timing = private.timing;
                    of_private = Some(timing);
                }
                Err(error) if error.is_denied() && privates == Privates::Sealed => {
                    sealed = true;
                    timing = file.timing;
                }
                Err(error) => return Err(error),
            }
        }
        let (mut state, mut contradiction) = (None, None);
        if entry.state {
            let path = self.path(entry, "state");
            match read(&path, Secrecy::Ignored) {
                Ok(text) => {
                    state = Some(state::parse(&path, &text, &dnskey, bits, &mut timing)?);
                    let differs = |private| times_differ(private, timing);
                    contradiction = of_private.and_then(differs).map(|what| (path, what));
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let key = KeyFile { zone: file.owner, ttl: file.ttl, dnskey, timing, state, dir: self.dir.clone() };
        Ok(KeySet { key, sealed, contradiction })
    }
}

/// A key set that was read.
struct KeySet {
    key: KeyFile,
    /// Its private part stays closed.
    sealed: bool,
    /// The `.state` file and the times that it and `.private` say differently.
    contradiction: Option<(PathBuf, String)>,
}

/// The times that `.state` has replaced by others; `None` when both files say the same.
fn times_differ(mut private: Timing, mut counting: Timing) -> Option<String> {
    let said = |at: Option<Timestamp>| at.map_or_else(|| "not set".to_owned(), |at| at.to_string());
    let differing: Vec<String> = TIMES
        .iter()
        .filter_map(|(tag, field)| {
            let (theirs, ours) = (*field(&mut private), *field(&mut counting));
            let (theirs, ours) = (theirs != ours).then(|| (said(theirs), said(ours)))?;
            Some(format!("{tag} is {ours} here and {theirs} in .private"))
        })
        .collect();
    (!differing.is_empty()).then(|| differing.join(", "))
}

/// Names in lower case before other spellings of the same key; the files of one name become one entry.
fn tidy(entries: &mut Vec<Entry>) {
    entries.sort_by(|a, b| (a.algorithm, a.tag).cmp(&(b.algorithm, b.tag)).then_with(|| b.base.cmp(&a.base)));
    entries.dedup_by(|other, kept| {
        let same = other.base == kept.base;
        if same {
            kept.key |= other.key;
            kept.private |= other.private;
            kept.state |= other.state;
        }
        same
    });
    // There is a list for each of many zones.
    entries.shrink_to_fit();
}

/// True for `K<zone>+ddd+ddddd.key`, `.private` and `.state`, letter case ignored.
#[must_use]
pub fn is_key_file_name(name: &str) -> bool {
    split_name(name).is_some()
}

/// Splits `K<zone>+ddd+ddddd.<suffix>`, letter case ignored, into zone and entry; `None` for other names.
fn split_name(name: &str) -> Option<(String, Entry)> {
    let (base, suffix) = name.rsplit_once('.')?;
    let [key, private, state] = ["key", "private", "state"].map(|known| suffix.eq_ignore_ascii_case(known));
    let mut parts = base.rsplitn(3, '+');
    let (tag, algorithm, head) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if !(key || private || state) || !digits(tag, 5) || !digits(algorithm, 3) {
        return None;
    }
    let zone = head.strip_prefix(['K', 'k']).filter(|zone| zone.ends_with('.'))?.to_ascii_lowercase();
    let (algorithm, tag) = (algorithm.parse().ok()?, tag.parse().ok()?);
    Some((zone, Entry { base: base.to_owned(), algorithm, tag, key, private, state }))
}
