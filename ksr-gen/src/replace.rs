//! Another ZSK of the SKR in force signs in place of one that must sign no more, such as one that is exposed (RFC 7583 section 3.2.1 is the
//! regular roll, where nothing has to be done by hand).
//!
//! What is changed are times of key files, as by `dnssec-settime -s`; the signer follows them. A ZSK that no bundle in force has cannot take
//! over: nobody could validate its signatures.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use keystore::crypto::Algorithm;
use keystore::dns::Name;
use keystore::exchange::{Bundle, UnverifiedSkr, bind};
use keystore::keys::files::{Folder, KeyFileError};
use keystore::keys::{Dnskey, KeyFile};
use keystore::store;
use keystore::time::Timestamp;

use crate::keygen::{KeygenError, check_owner, lock};

/// What becomes of the signatures that the old ZSK has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldSignatures {
    /// They stay until they are due for renewal: its Inactive time is set.
    AsDue,
    /// The signer replaces all of them in one version: its Delete time is set as well. For a ZSK that is exposed.
    AtOnce,
}

/// Which ZSK is to be replaced, and how.
#[derive(Debug, Clone, Copy)]
pub struct Replacement<'a> {
    /// The key folder.
    pub dir: &'a Path,
    /// The zone.
    pub zone: &'a Name,
    /// The bundle in force, and those that follow it.
    pub bundles: &'a [Bundle],
    /// The ZSK; `None` for the only one that signs.
    pub tag: Option<u16>,
    /// What becomes of its signatures.
    pub old_signatures: OldSignatures,
    /// The time from which on another one signs.
    pub now: Timestamp,
}

/// The two keys, with the times that were written.
#[derive(Debug)]
pub struct Replaced {
    /// The one that signs no more.
    pub old: KeyFile,
    /// The one that signs from now on.
    pub new: KeyFile,
    /// From when on no ZSK of the algorithm signs that the bundle of that time has; `None` when one does as long as the bundles are valid.
    pub signed_until: Option<Timestamp>,
}

/// Why no ZSK was replaced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// The accepted store cannot be read.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The SKR in the accepted store does not read.
    #[error("the SKR in force, generation {generation}, does not read: {error}")]
    Skr {
        /// The generation.
        generation: u64,
        /// Where it does not.
        error: bind::BindSyntaxError,
    },
    /// No bundle is in force.
    #[error("no bundle of an accepted SKR is in force for {0}")]
    NoBundle(Name),
    /// The key folder cannot be locked, or belongs to another user.
    #[error(transparent)]
    Folder(#[from] KeygenError),
    /// A key file cannot be read or written.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The bundle in force has no ZSK with this tag.
    #[error("the bundle in force has no ZSK with the tag {0}")]
    NotInBundle(u16),
    /// It is not clear which ZSK is meant.
    #[error(
        "{} of {zone} could be meant: name the one that is to be replaced by a tag that no other has",
        tag_list(tags)
    )]
    Several {
        /// The zone.
        zone: Name,
        /// Their tags.
        tags: Vec<u16>,
    },
    /// No ZSK of the bundle in force is active.
    #[error("no ZSK of the bundle in force is active in {}: say which one is to be replaced", .0.display())]
    NoneSigns(PathBuf),
    /// The key is in the bundle, and its files are not in the folder.
    #[error("the files of ZSK {tag} are not in {}", dir.display())]
    NoFiles {
        /// Its tag.
        tag: u16,
        /// The folder.
        dir: PathBuf,
    },
    /// No other ZSK can take over.
    #[error(
        "no other ZSK of algorithm {algorithm} can sign in place of {tag}: one has to be in the bundle in force, with its files in {} and neither Inactive \
         nor Delete reached; load an SKR that has a standby ZSK, or an emergency SKR, first",
        dir.display()
    )]
    NoSuccessor {
        /// Tag of the key to be replaced.
        tag: u16,
        /// Its algorithm.
        algorithm: Algorithm,
        /// The folder.
        dir: PathBuf,
    },
}

fn tag_list(tags: &[u16]) -> String {
    let tags: Vec<String> = tags.iter().map(u16::to_string).collect();
    format!("ZSKs {}", tags.join(" and "))
}

/// The bundles of the accepted store from the one on that is in force at `now` and valid.
pub fn bundles_from(accepted: &Path, zone: &Name, now: Timestamp) -> Result<Vec<Bundle>, ReplaceError> {
    let none = || ReplaceError::NoBundle(zone.clone());
    let current = store::read_current(accepted, zone)?.ok_or_else(none)?;
    let UnverifiedSkr { mut bundles, .. } = bind::parse_skr(&current.octets, zone)
        .map_err(|error| ReplaceError::Skr { generation: current.generation, error })?;
    let in_force = bundles.iter().rposition(|bundle| bundle.inception <= now).ok_or_else(none)?;
    bundles.drain(..in_force);
    let is_valid = bundles.first().is_some_and(|bundle| bundle.expiration() > now);
    if is_valid { Ok(bundles) } else { Err(none()) }
}

/// Has another ZSK sign. The files of the new one are written first, so that at no time none signs; a run that broke off can be repeated.
/// `waiting` is called when another run holds the folder.
pub fn replace_zsk(replacement: &Replacement<'_>, waiting: impl FnOnce()) -> Result<Replaced, ReplaceError> {
    let Replacement { dir, zone, bundles, old_signatures, now, .. } = *replacement;
    let _lock = lock(dir, waiting)?;
    let found = Folder::scan(dir)?.find_online(zone);
    check_owner(dir, &found.keys)?;
    let published: Vec<Dnskey> =
        bundles.iter().take(1).flat_map(Bundle::keys).filter(|key| !key.is_ksk()).collect();
    let files: Vec<&KeyFile> = found.keys.iter().filter(|key| published.contains(&key.dnskey)).collect();
    let mut old = find_old(replacement, &published, &files)?.clone();
    let later = Later { keys: &found.keys, bundles, old: &old.dnskey, now };
    let whole: Vec<&KeyFile> = files.iter().copied().filter(|key| key.check_private().is_ok()).collect();
    let Some((new, signed_until)) = later.successor(&whole) else {
        // The one that would take over, were its files whole.
        if let Some((damaged, _)) = later.successor(&files) {
            damaged.check_private()?;
        }
        return Err(ReplaceError::NoSuccessor {
            tag: old.dnskey.tag(),
            algorithm: old.dnskey.algorithm,
            dir: dir.to_owned(),
        });
    };
    let mut new = new.clone();
    let not_after = |time: Option<Timestamp>| Some(time.unwrap_or(now).min(now));
    if !new.timing.is_active(now) || new.timing.publish.is_none_or(|publish| publish > now) {
        new.timing.activate = not_after(new.timing.activate);
        new.timing.publish = not_after(new.timing.publish);
        new.update()?;
    }
    old.timing.inactive = not_after(old.timing.inactive);
    if old_signatures == OldSignatures::AtOnce {
        old.timing.delete = not_after(old.timing.delete);
    }
    old.update()?;
    Ok(Replaced { old, new, signed_until })
}

/// The ZSK that is to be replaced.
fn find_old<'f>(
    replacement: &Replacement<'_>,
    published: &[Dnskey],
    files: &[&'f KeyFile],
) -> Result<&'f KeyFile, ReplaceError> {
    let Replacement { dir, zone, tag, now, .. } = *replacement;
    let Some(tag) = tag else {
        let active: Vec<&KeyFile> = files.iter().copied().filter(|key| key.timing.is_active(now)).collect();
        return match active.as_slice() {
            [only] => Ok(only),
            [] => Err(ReplaceError::NoneSigns(dir.to_owned())),
            several => {
                let tags = several.iter().map(|key| key.dnskey.tag()).collect();
                Err(ReplaceError::Several { zone: zone.clone(), tags })
            }
        };
    };
    if !published.iter().any(|key| key.tag() == tag) {
        return Err(ReplaceError::NotInBundle(tag));
    }
    let named: Vec<&KeyFile> = files.iter().copied().filter(|key| key.dnskey.tag() == tag).collect();
    match named.as_slice() {
        [only] => Ok(only),
        [] => Err(ReplaceError::NoFiles { tag, dir: dir.to_owned() }),
        several => Err(ReplaceError::Several { zone: zone.clone(), tags: vec![tag; several.len()] }),
    }
}

/// What signs from now on, without the old ZSK.
struct Later<'a> {
    keys: &'a [KeyFile],
    bundles: &'a [Bundle],
    old: &'a Dnskey,
    now: Timestamp,
}

impl Later<'_> {
    /// The ZSK of these that takes over, and from when on none signs all the same: the one with which the zone is signed longest; of several
    /// one that signs already, else the one that was published first.
    fn successor<'f>(&self, files: &[&'f KeyFile]) -> Option<(&'f KeyFile, Option<Timestamp>)> {
        let can_sign = |key: &&KeyFile| self.may_sign(key) && !is_over(key, self.now);
        let candidates =
            files.iter().copied().filter(can_sign).map(|key| (key, self.signed_until(&key.dnskey)));
        candidates.min_by_key(|(key, until)| {
            let published = key.timing.publish.unwrap_or(Timestamp::MAX);
            (Reverse(until.unwrap_or(Timestamp::MAX)), !key.timing.is_active(self.now), published)
        })
    }

    fn may_sign(&self, key: &KeyFile) -> bool {
        key.dnskey != *self.old && key.dnskey.algorithm == self.old.algorithm
    }

    /// The first time at which no ZSK signs that the bundle of that time has, if `new` signs from now on.
    fn signed_until(&self, new: &Dnskey) -> Option<Timestamp> {
        let end = self.bundles.last().map_or(self.now, Bundle::expiration);
        let ends = self.keys.iter().flat_map(|key| [key.timing.inactive, key.timing.delete]).flatten();
        let mut times: Vec<Timestamp> =
            self.bundles.iter().map(|bundle| bundle.inception).chain(ends).collect();
        times.retain(|time| self.now < *time && *time < end);
        times.sort_unstable();
        times.into_iter().find(|time| !self.is_signed_at(*time, new))
    }

    fn is_signed_at(&self, time: Timestamp, new: &Dnskey) -> bool {
        let bundle = self.bundles.iter().rfind(|bundle| bundle.inception <= time);
        let published: Vec<Dnskey> = bundle.into_iter().flat_map(Bundle::keys).collect();
        self.keys.iter().any(|key| {
            let begins = key.dnskey == *new || key.timing.activate.is_some_and(|activate| activate <= time);
            self.may_sign(key) && begins && !is_over(key, time) && published.contains(&key.dnskey)
        })
    }
}

/// Inactive or Delete is reached.
fn is_over(key: &KeyFile, time: Timestamp) -> bool {
    [key.timing.inactive, key.timing.delete].into_iter().flatten().any(|end| end <= time)
}

#[cfg(test)]
mod tests {
    use keystore::exchange::testing::{SkrBuilder, TestKey};
    use keystore::keys::files::{self, NewKey};
    use keystore::keys::timing::State;
    use keystore::keys::{FLAG_SEP, FLAG_ZONE, Timing};

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);
    const NOW: Timestamp = Timestamp::from_secs(1_800_086_400);

    /// Times of a ZSK in days from [`START`]: Publish, Activate, Inactive, Delete.
    type Days = [Option<u64>; 4];
    const SIGNS: Days = [Some(0), Some(0), None, None];
    const STANDS_BY: Days = [Some(0), Some(9000), None, None];
    const COMES_LATER: Days = [Some(2), Some(9000), None, None];
    const SIGNS_NO_MORE: Days = [Some(0), Some(0), Some(1), None];
    const GONE: Days = [Some(0), Some(0), Some(0), Some(0)];

    struct Site {
        dir: tempfile::TempDir,
        zone: Name,
        keys: Vec<KeyFile>,
        bundles: Vec<Bundle>,
    }

    /// A key folder with ZSKs of these times, a KSK beside them, and the bundle that has them.
    fn site(zsks: &[(Algorithm, Days)]) -> Site {
        let dir = tempfile::tempdir().expect("a folder");
        let zone = Name::parse("example.test").expect("a name");
        let make = |flags, algorithm, [publish, activate, inactive, delete]: Days| {
            let at = |days: Option<u64>| days.map(|days| START.plus(days * 86_400));
            let timing = Timing {
                publish: at(publish),
                activate: at(activate),
                inactive: at(inactive),
                delete: at(delete),
                ..Timing::default()
            };
            let state = Some(State::default());
            let tag_range = 0..=u16::MAX;
            let new =
                NewKey { zone: &zone, ttl: 3600, flags, algorithm, bits: 256, tag_range, timing, state };
            files::generate_key(dir.path(), &new, &[]).expect("a key")
        };
        make(FLAG_ZONE | FLAG_SEP, Algorithm::ED25519, SIGNS);
        let keys: Vec<KeyFile> =
            zsks.iter().map(|(algorithm, days)| make(FLAG_ZONE, *algorithm, *days)).collect();
        let skr = SkrBuilder::new("example.test", START).bundles(3).ksk(TestKey::ksk(1));
        let skr = keys.iter().fold(skr, |skr, key| skr.zsk(key.dnskey.clone()));
        let bundles = skr.build().bundles;
        Site { dir, zone, keys, bundles }
    }

    impl Site {
        fn replace(
            &self,
            old: Option<usize>,
            old_signatures: OldSignatures,
        ) -> Result<Replaced, ReplaceError> {
            let (dir, zone, bundles, now) = (self.dir.path(), &self.zone, &*self.bundles, NOW);
            let tag = old.map(|old| self.keys[old].dnskey.tag());
            replace_zsk(&Replacement { dir, zone, bundles, tag, old_signatures, now }, || {})
        }

        /// The times of the ZSKs as the signer reads them.
        fn times(&self) -> Vec<Timing> {
            let found = files::find_online(self.dir.path(), &self.zone).expect("a folder");
            assert!(found.warnings().is_empty() && found.skipped.is_empty(), "{found:?}");
            let file = |key: &KeyFile| found.keys.iter().find(|file| file.dnskey == key.dnskey);
            self.keys.iter().map(|key| file(key).expect("its files").timing).collect()
        }
    }

    #[test]
    fn another_zsk_of_the_bundle_signs_and_the_old_one_is_at_its_end() {
        use Algorithm as A;
        let (one, other) = (A::ED25519, A::ECDSAP256SHA256);
        for (name, zsks, old, new) in [
            ("a standby key", vec![(one, SIGNS), (one, STANDS_BY)], None, 1),
            ("the old one is named", vec![(one, STANDS_BY), (one, SIGNS)], Some(1), 0),
            ("one that signs goes first", vec![(one, SIGNS), (one, STANDS_BY), (one, SIGNS)], Some(0), 2),
            (
                "the first that was published",
                vec![(one, SIGNS), (one, COMES_LATER), (one, STANDS_BY)],
                None,
                2,
            ),
            ("the SKR has it before its file says so", vec![(one, SIGNS), (one, COMES_LATER)], None, 1),
            ("one of the same algorithm", vec![(one, SIGNS), (other, SIGNS), (one, STANDS_BY)], Some(0), 2),
            ("one that signs no more, at once", vec![(one, SIGNS_NO_MORE), (one, SIGNS)], Some(0), 1),
            (
                "keys at their end do not sign again",
                vec![(one, GONE), (one, SIGNS), (one, STANDS_BY)],
                None,
                2,
            ),
        ] {
            for how in [OldSignatures::AsDue, OldSignatures::AtOnce] {
                let site = site(&zsks);
                let before = site.times();
                let replaced = site.replace(old, how).unwrap_or_else(|error| panic!("{name}: {error}"));
                let old = site.keys.iter().position(|key| key.dnskey == replaced.old.dnskey).expect("a ZSK");
                assert_eq!(replaced.new.dnskey, site.keys[new].dnskey, "{name}");
                let times = site.times();
                assert!(times[new].is_active(NOW) && times[new].is_published(NOW), "{name}: {times:?}");
                assert!(!times[old].is_active(NOW), "{name}: {times:?}");
                let is_deleted = times[old].delete.is_some_and(|delete| delete <= NOW);
                assert_eq!(is_deleted, how == OldSignatures::AtOnce, "{name}: {times:?}");
                for key in (0..zsks.len()).filter(|key| ![old, new].contains(key)) {
                    assert_eq!(times[key], before[key], "{name}");
                }
                // Again, as after a run that broke off.
                site.replace(Some(old), how).unwrap_or_else(|error| panic!("{name}, again: {error}"));
                assert_eq!(site.times(), times, "{name}");
            }
        }
    }

    #[test]
    fn what_would_leave_the_zone_without_a_signer_is_refused_and_changes_no_file() {
        use Algorithm as A;
        let (one, other) = (A::ED25519, A::ECDSAP256SHA256);
        for (name, zsks, old, says) in [
            ("it is alone", vec![(one, SIGNS)], None, "no other ZSK of algorithm ED25519"),
            (
                "the other is of another algorithm",
                vec![(one, SIGNS), (other, SIGNS)],
                Some(0),
                "no other ZSK",
            ),
            ("the other is at its end", vec![(one, SIGNS), (one, SIGNS_NO_MORE)], None, "no other ZSK"),
            ("the other is gone", vec![(one, SIGNS), (one, GONE)], None, "no other ZSK"),
            ("two sign", vec![(one, SIGNS), (one, SIGNS)], None, "could be meant"),
            ("none signs", vec![(one, STANDS_BY), (one, STANDS_BY)], None, "is active in"),
        ] {
            let site = site(&zsks);
            let before = site.times();
            let error = site.replace(old, OldSignatures::AtOnce).expect_err(name).to_string();
            assert!(error.contains(says), "{name}: {error}");
            assert_eq!(site.times(), before, "{name}");
        }
    }

    #[test]
    fn a_key_without_bundle_or_files_is_refused() {
        let mut site = site(&[(Algorithm::ED25519, SIGNS), (Algorithm::ED25519, STANDS_BY)]);
        let [old, standby] = [0, 1].map(|key| site.keys[key].dnskey.clone());
        let skr = |key: Dnskey| {
            SkrBuilder::new("example.test", START).ksk(TestKey::ksk(1)).zsk(key).build().bundles
        };
        site.bundles = skr(old);
        let error = site.replace(None, OldSignatures::AsDue).expect_err("the standby key is in no bundle");
        assert!(matches!(error, ReplaceError::NoSuccessor { .. }), "{error}");
        site.bundles = skr(standby);
        let error = site.replace(Some(0), OldSignatures::AsDue).expect_err("the old key is in no bundle");
        assert!(matches!(error, ReplaceError::NotInBundle(_)), "{error}");
        for suffix in ["key", "state", "private"] {
            std::fs::remove_file(site.keys[1].path(suffix)).expect("a file of the key");
        }
        let error = site.replace(Some(1), OldSignatures::AsDue).expect_err("the files are gone");
        assert!(matches!(error, ReplaceError::NoFiles { .. }), "{error}");
    }

    #[test]
    fn a_zsk_whose_private_part_is_not_its_own_does_not_take_over_and_another_one_does() {
        let site = site(&[
            (Algorithm::ED25519, SIGNS),
            (Algorithm::ED25519, SIGNS),
            (Algorithm::ED25519, STANDS_BY),
        ]);
        let private = |site: &Site, key: usize| {
            std::fs::read_to_string(site.keys[key].private_path()).expect("a file of the key")
        };
        let line = |text: &str| {
            text.lines().find(|line| line.starts_with("PrivateKey:")).expect("a private key").to_owned()
        };
        let of_old = line(&private(&site, 0));
        let spoil = |site: &Site, key: usize| {
            let text = private(site, key);
            let spoilt = text.replace(&line(&text), &of_old);
            std::fs::write(site.keys[key].private_path(), spoilt).expect("writes");
        };
        // The one that signs already would go first.
        spoil(&site, 1);
        let replaced = site.replace(Some(0), OldSignatures::AtOnce).expect("the standby key is whole");
        assert_eq!(replaced.new.dnskey, site.keys[2].dnskey);
        spoil(&site, 2);
        let before = site.times();
        let error = site.replace(Some(0), OldSignatures::AtOnce).expect_err("none is whole");
        assert!(matches!(error, ReplaceError::KeyFile(_)), "{error}");
        assert_eq!(site.times(), before);
    }

    /// The bundles begin at the start and every nine days; the last of the three ends on day 32.
    #[test]
    fn the_zsk_with_which_the_zone_is_signed_longest_takes_over_and_the_end_is_told() {
        let ed = |days: Days| (Algorithm::ED25519, days);
        let ends = |day| [Some(0), Some(0), Some(day), None];
        for (name, zsks, left_out_from, new, until) in [
            ("it signs to the end", vec![SIGNS, STANDS_BY], None, 1, None),
            (
                "the one before in a roll goes after the standby key",
                vec![SIGNS, ends(5), STANDS_BY],
                None,
                2,
                None,
            ),
            ("no other than the one before", vec![SIGNS, ends(5)], None, 1, Some(5)),
            (
                "its own successor follows it",
                vec![SIGNS, ends(5), [Some(0), Some(4), None, None]],
                None,
                1,
                None,
            ),
            ("the next bundle has it no more", vec![SIGNS, SIGNS], Some((1, 9)), 1, Some(9)),
            ("a standby key that stays goes first", vec![SIGNS, SIGNS, STANDS_BY], Some((1, 9)), 2, None),
        ] {
            let mut site = site(&zsks.iter().copied().map(ed).collect::<Vec<_>>());
            let skr = SkrBuilder::new("example.test", START).bundles(3).ksk(TestKey::ksk(1));
            let skr = site.keys.iter().enumerate().fold(skr, |skr, (number, key)| {
                let gone = left_out_from.filter(|(left_out, _)| *left_out == number);
                let to = gone.map_or(Timestamp::MAX, |(_, day)| START.plus(day * 86_400));
                skr.zsk_during(key.dnskey.clone(), START, to)
            });
            site.bundles = skr.build().bundles;
            let replaced = site
                .replace(Some(0), OldSignatures::AtOnce)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(replaced.new.dnskey, site.keys[new].dnskey, "{name}");
            assert_eq!(replaced.signed_until, until.map(|day: u64| START.plus(day * 86_400)), "{name}");
        }
    }
}
