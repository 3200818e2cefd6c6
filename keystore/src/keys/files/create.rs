//! Making a new key whose tag collides with no other key of the zone.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::{Folder, KeyFile, KeyFileError};
use crate::crypto::{Algorithm, PrivateKey};
use crate::dns::Name;
use crate::keys::timing::{State, Timing};
use crate::keys::{Dnskey, FLAG_REVOKE};

/// Draws before a key of fixed size is given up (some 20 µs each), and one of RSA (0.1 to 3 s each).
const MOST_DRAWS: usize = 100_000;
const MOST_RSA_DRAWS: usize = 1_000;

/// What key to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey<'a> {
    /// The zone; its letter case goes into `.key`.
    pub zone: &'a Name,
    /// TTL of the DNSKEY record, in seconds; 0 = none written.
    pub ttl: u32,
    /// Flags of the DNSKEY: 256 for a ZSK, 257 for a KSK.
    pub flags: u16,
    /// Number of the DNSSEC algorithm.
    pub algorithm: Algorithm,
    /// Bits of an RSA key; other algorithms have a fixed size.
    pub bits: u16,
    /// Where its tag and its tag once revoked must lie.
    pub tag_range: RangeInclusive<u16>,
    /// Times that are written to its files.
    pub timing: Timing,
    /// The `.state` file; `None` writes none.
    pub state: Option<State>,
}

/// Makes a key and writes its set durably as new files (see [`KeyFile::create`]).
///
/// A key is thrown away and drawn again when its tag, or its tag once revoked, lies outside of the range, or equals the tag
/// (plain or revoked) of any key of the zone: of those in `dir`, of any algorithm and role, readable or not, and one of `taken`,
/// which the caller knows from elsewhere (those of the KSKs, say, with their tags once revoked). BIND looks at keys of one
/// algorithm in one folder only.
pub fn generate_key(dir: &Path, new: &NewKey<'_>, taken: &[u16]) -> Result<KeyFile, KeyFileError> {
    generate_key_in(&mut Folder::scan(dir)?, new, taken)
}

/// The same in a folder whose names were read already, and are kept up to date: see [`Folder::refresh`].
pub fn generate_key_in(
    folder: &mut Folder,
    new: &NewKey<'_>,
    taken: &[u16],
) -> Result<KeyFile, KeyFileError> {
    let dir = folder.dir().to_owned();
    let key = draw(&Tags::of(folder, new, taken)?, &dir, new)?;
    folder.note(&key)?;
    Ok(key)
}

fn draw(tags: &Tags<'_>, dir: &Path, new: &NewKey<'_>) -> Result<KeyFile, KeyFileError> {
    let fail = |source| KeyFileError::Generate { path: dir.to_owned(), algorithm: new.algorithm, source };
    let draws = if new.algorithm.is_rsa() { MOST_RSA_DRAWS } else { MOST_DRAWS };
    for _ in 0..draws {
        let private = PrivateKey::generate(new.algorithm, new.bits).map_err(fail)?;
        let public_key = private.public_key(new.algorithm).map_err(fail)?;
        let dnskey = Dnskey { flags: new.flags, protocol: 3, algorithm: new.algorithm, public_key };
        if !tags.suit(&dnskey) {
            continue;
        }
        let key = new.file(dir, dnskey);
        match key.create(&private) {
            Ok(()) => return Ok(key),
            // Another process took the name since the folder was read.
            Err(KeyFileError::Exists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(tags.none_free())
}

impl NewKey<'_> {
    /// The set of files for a key that was drawn.
    pub(super) fn file(&self, dir: &Path, dnskey: Dnskey) -> KeyFile {
        KeyFile {
            zone: self.zone.clone(),
            ttl: self.ttl,
            dnskey,
            timing: self.timing,
            state: self.state.clone(),
            dir: dir.to_owned(),
        }
    }
}

/// The set of files for a key that exists already, with this Public Key field: none of them may be there, and its tag must be free.
pub(super) fn placed(
    dir: &Path,
    new: &NewKey<'_>,
    taken: &[u16],
    public_key: Vec<u8>,
) -> Result<KeyFile, KeyFileError> {
    let key = new.file(dir, Dnskey { flags: new.flags, protocol: 3, algorithm: new.algorithm, public_key });
    let path = key.path("private");
    if path.symlink_metadata().is_ok() {
        return Err(KeyFileError::Exists { path });
    }
    if !Tags::of(&Folder::scan(dir)?, new, taken)?.suit(&key.dnskey) {
        let what = "the tag of the key, or the one it has once revoked, is that of another key of the zone or outside of tag-range";
        return Err(KeyFileError::mismatch(&path, what));
    }
    Ok(key)
}

/// Which tags a new key may have.
pub(super) struct Tags<'a> {
    dir: PathBuf,
    new: &'a NewKey<'a>,
    taken: Vec<u16>,
}

impl<'a> Tags<'a> {
    /// Looks at the folder and at the keys known from elsewhere; fails when no tag at all would do.
    pub(super) fn of(folder: &Folder, new: &'a NewKey<'a>, taken: &[u16]) -> Result<Self, KeyFileError> {
        let mut taken = taken.to_vec();
        taken.extend(folder.taken_tags(new.zone).into_iter().map(|taken| taken.tag));
        let tags = Self { dir: folder.dir().to_owned(), new, taken };
        // Revoking adds 128 to the sum that the tag is folded from: without such a pair no draw would ever do.
        let pair = |tag: &u16| {
            let revoked = [tag.wrapping_add(FLAG_REVOKE), tag.wrapping_add(FLAG_REVOKE + 1)];
            tags.free(*tag) && revoked.into_iter().any(|tag| tags.free(tag))
        };
        match new.tag_range.clone().any(|tag| pair(&tag)) {
            true => Ok(tags),
            false => Err(tags.none_free()),
        }
    }

    fn free(&self, tag: u16) -> bool {
        self.new.tag_range.contains(&tag) && !self.taken.contains(&tag)
    }

    /// True for a key whose tag, and whose tag once revoked, are free.
    pub(super) fn suit(&self, key: &Dnskey) -> bool {
        self.free(key.tag()) && self.free(key.revoked_tag())
    }

    /// The error when no key came out.
    pub(super) fn none_free(&self) -> KeyFileError {
        KeyFileError::NoFreeTag {
            path: self.dir.clone(),
            zone: self.new.zone.clone(),
            min: *self.new.tag_range.start(),
            max: *self.new.tag_range.end(),
        }
    }
}
