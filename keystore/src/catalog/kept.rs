//! A catalog as it is kept in the state folder: what is served of it, and what a restart has to know of zones that left it.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use data_encoding::HEXLOWER;

use super::{Catalog, Member, next_serial};
use crate::crypto::sha256;
use crate::dns::Name;
use crate::durable;
use crate::policy::named_conf::read_regular;
use crate::removal_limit::{self, MAX_REMOVAL};
use crate::time::Timestamp;

/// First line of the file.
const HEAD: &str = "offline-ksk catalog 1\n";
/// Begins the last line, which has the SHA-256 of all lines before it.
const END: &str = "end ";
/// Stands for a group whose value has no octets.
const EMPTY: &str = "=";
/// Largest file that is read, in octets.
pub(super) const MAX: u64 = 1 << 30;
/// Mode of the file.
pub(super) const MODE: u32 = 0o640;

/// A catalog that is served, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeptCatalog {
    /// What is served.
    pub catalog: Catalog,
    /// Its serial.
    pub serial: u32,
    /// Zones that are not of the catalog any more, and stay in it until they are again or a person releases them.
    pub held: BTreeSet<Name>,
    /// How many zones left it without a release, with the time, as long as they count ([`removal_limit`]).
    pub removals: Vec<(Timestamp, usize)>,
}

impl KeptCatalog {
    /// A catalog of which nothing is known before.
    #[must_use]
    pub fn first(catalog: Catalog, now: Timestamp) -> Self {
        Self { catalog, serial: next_serial(None, now), ..Self::default() }
    }

    /// What is to be served where `wanted` is what the configuration says now. Secondaries drop what is not in a catalog: where more than
    /// [`MAX_REMOVAL`] percent of its zones, and more than one, would have left it within an hour, those that leave now are held. The zones of
    /// `released` go, and do not count.
    #[must_use]
    pub fn follow(&self, mut wanted: Catalog, released: &HashSet<Name>, now: Timestamp) -> Self {
        let mut removals = self.removals.clone();
        removals.retain(|(at, _)| removal_limit::counts(*at, now));
        let members = self.catalog.members.keys();
        let gone = members.filter(|zone| !wanted.members.contains_key(*zone) && !released.contains(*zone));
        let (held, fresh): (Vec<_>, Vec<_>) = gone.cloned().partition(|zone| self.held.contains(zone));
        let mut held = BTreeSet::from_iter(held);
        let before: usize = removals.iter().map(|(_, count)| count).sum();
        let limit = removal_limit::limit(MAX_REMOVAL, self.catalog.members.len() + before);
        if fresh.len() + before > limit {
            held.extend(fresh);
        } else if !fresh.is_empty() {
            removals.push((now, fresh.len()));
        }
        held.iter().for_each(|zone| wanted.keep(zone, &self.catalog));
        let serial = if wanted == self.catalog { self.serial } else { next_serial(Some(self.serial), now) };
        Self { catalog: wanted, serial, held, removals }
    }

    /// What was written last; `None` where there is no file.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged: [`is_damage`].
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match read_regular(path, MAX) {
            Ok(octets) => {
                let kept = std::str::from_utf8(&octets).ok().and_then(Self::from_text);
                kept.map(Some).ok_or_else(damage)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has what is kept at `path` be served under a serial beyond `floor` by the next start, and at least `jump` beyond the one of `now`, so that it is
    /// beyond all that another host may give by the time; call it while no process serves it, when this host takes over from another one.
    ///
    /// # Errors
    /// When it cannot be read or written. When there is no file, and the serial of a first version would not be beyond `floor`.
    pub fn raise_serial(path: &Path, floor: u32, jump: u32, now: Timestamp) -> io::Result<()> {
        let Some(kept) = Self::read(path)? else {
            let is_beyond = next_serial(Some(floor), now) == next_serial(None, now);
            let what = || {
                format!(
                    "there is no file of it, and the serial of a first version, the time, would not be beyond {floor}: copy the state again, or wait until it is, and run offline-ksk takeover again"
                )
            };
            return if is_beyond { Ok(()) } else { Err(io::Error::other(what())) };
        };
        let serial = next_serial(Some(floor), now.plus(jump.into()));
        Self { serial, ..kept }.write(path)
    }

    /// Writes it durably; its folder must be there.
    ///
    /// # Errors
    /// What the system says; the file before stays.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        durable::write(path, self.to_text().as_bytes(), MODE)
    }

    fn to_text(&self) -> String {
        let mut text = format!("{HEAD}serial {}\n", self.serial);
        // Writing to a string does not fail.
        for (time, count) in &self.removals {
            let _ = writeln!(text, "removed {} {count}", time.secs());
        }
        for zone in &self.held {
            let _ = writeln!(text, "held {zone}");
        }
        text.extend(self.catalog.members.iter().map(|(zone, member)| member_line(zone, member)));
        sealed(text)
    }

    /// `None` when the text is damaged: also where a label is not that of its zone.
    fn from_text(text: &str) -> Option<Self> {
        let mut lines = unsealed(text)?.strip_prefix(HEAD)?.lines();
        let serial = lines.next()?.strip_prefix("serial ")?.parse().ok()?;
        let mut kept = Self { serial, ..Self::default() };
        for line in lines {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["removed", time, count] => {
                    kept.removals.push((Timestamp::from_secs(time.parse().ok()?), count.parse().ok()?));
                }
                ["held", zone] => {
                    kept.held.insert(Name::parse(zone).ok()?);
                }
                ["zone", zone, label, coo, groups] => {
                    let zone = Name::parse(zone).ok()?;
                    let member = member_of(label, coo, groups)?;
                    if member.label != super::label(&zone.to_lowercase()) {
                        return None;
                    }
                    if kept.catalog.members.insert(zone, member).is_some() {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        Some(kept)
    }
}

/// The lines with a last one that has their sum.
pub(super) fn sealed(lines: String) -> String {
    let sum = HEXLOWER.encode(&sha256(lines.as_bytes()));
    lines + END + &sum + "\n"
}

/// The lines that [`sealed`] was given; `None` when they are others by now.
pub(super) fn unsealed(text: &str) -> Option<&str> {
    let lines_end = text.strip_suffix('\n')?.rfind('\n')? + 1;
    let (lines, end) = text.split_at(lines_end);
    (end.strip_prefix(END)?.strip_suffix('\n')? == HEXLOWER.encode(&sha256(lines.as_bytes())))
        .then_some(lines)
}

/// The line of a zone, as [`member_of`] reads it.
pub(super) fn member_line(zone: &Name, member: &Member) -> String {
    let group = |group: &Vec<u8>| if group.is_empty() { EMPTY.to_owned() } else { HEXLOWER.encode(group) };
    let groups: Vec<String> = member.groups.iter().map(group).collect();
    let coo = member.coo.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    format!("zone {zone} {} {coo} {}\n", HEXLOWER.encode(&member.label), groups.join(","))
}

/// What a line says of a zone.
pub(super) fn member_of(label: &str, coo: &str, groups: &str) -> Option<Member> {
    let coo = match coo {
        "-" => None,
        name => Some(Name::parse(name).ok()?),
    };
    let group =
        |group: &str| if group == EMPTY { Some(Vec::new()) } else { HEXLOWER.decode(group.as_bytes()).ok() };
    let groups = groups.split(',').filter(|group| !group.is_empty()).map(group).collect::<Option<_>>()?;
    Some(Member { label: HEXLOWER.decode(label.as_bytes()).ok()?, groups, coo })
}

/// What is said of a file that is not what was written.
pub(super) fn damage() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "damaged")
}

/// True for an error of [`KeptCatalog::read`] that says that the file is not what was written, so that no later try reads it.
#[must_use]
pub fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::removal_limit::REMOVAL_WINDOW;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn later(seconds: u64) -> Timestamp {
        Timestamp::from_secs(NOW.secs() + seconds)
    }

    /// A catalog of `z0.test` to `zN.test`, of these numbers.
    fn zones(numbers: impl IntoIterator<Item = usize>) -> Catalog {
        let mut catalog = Catalog::default();
        for number in numbers {
            catalog.put(&name(&format!("z{number}.test")), None, None);
        }
        catalog
    }

    fn released(numbers: impl IntoIterator<Item = usize>) -> HashSet<Name> {
        numbers.into_iter().map(|number| name(&format!("z{number}.test"))).collect()
    }

    /// What a restart finds.
    fn again(kept: &KeptCatalog) -> KeptCatalog {
        KeptCatalog::from_text(&kept.to_text()).unwrap()
    }

    #[test]
    fn a_takeover_has_the_same_zones_served_under_a_serial_beyond_all_that_the_other_host_may_have_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.test.");
        let time = NOW.to_rrsig();
        for (kept, floor, expected) in [
            // The host before may have given the time of now to a version that was not copied.
            (Some(time - 500_000), time - 499_000, time + 1000),
            (Some(time), time + 1000, time + 1001),
            (Some(time + 70_000), time + 71_000, time + 71_001),
            (None, time - 1, time),
        ] {
            let _ = std::fs::remove_file(&path);
            let before = kept.map(|serial| KeptCatalog { serial, ..KeptCatalog::first(zones(0..3), NOW) });
            before.iter().for_each(|kept| kept.write(&path).unwrap());
            KeptCatalog::raise_serial(&path, floor, 1000, NOW).unwrap();
            let found = KeptCatalog::read(&path).unwrap();
            assert_eq!(found, before.map(|before| KeptCatalog { serial: expected, ..before }));
            let next = next_serial(found.map(|found| found.serial), NOW);
            assert!((1..1 << 31).contains(&next.wrapping_sub(floor)), "{next} is beyond {floor}");
        }
        let _ = std::fs::remove_file(&path);
        assert!(
            KeptCatalog::raise_serial(&path, time, 1000, NOW).is_err(),
            "it would begin with the serial of the other host"
        );
        std::fs::write(&path, "damaged").unwrap();
        assert!(KeptCatalog::raise_serial(&path, 1, 1000, NOW).is_err());
    }

    #[test]
    fn what_is_written_reads_as_the_same_and_a_changed_octet_is_damage() {
        let mut catalog = Catalog::default();
        for (zone, group, coo) in [
            ("a.test", None, None),
            ("B.test", Some("gold"), None),
            ("c.test", Some("ü\n, \"x\""), Some("Other.cat")),
            ("a\\032b.test", None, None),
            (".", None, None),
        ] {
            catalog.put(&name(zone), group, coo.map(name).as_ref());
        }
        let held = BTreeSet::from([name("a.test"), name("a\\032b.test")]);
        let kept = KeptCatalog { catalog, serial: 7, held, removals: vec![(NOW, 3), (later(1), 1)] };
        let text = kept.to_text();
        assert_eq!(KeptCatalog::from_text(&text), Some(kept));
        for at in 0..text.len() {
            assert_eq!(KeptCatalog::from_text(&text[..at]), None, "cut off at {at}");
            let mut octets = text.clone().into_bytes();
            octets[at] ^= 1;
            let changed = String::from_utf8(octets).unwrap();
            assert_eq!(KeptCatalog::from_text(&changed), None, "changed at {at}: {changed}");
        }
    }

    #[test]
    fn a_file_with_the_label_of_another_zone_or_with_a_zone_twice_is_damage_though_its_sum_is_right() {
        let (a, b) = (name("a.test"), name("b.test"));
        let mut kept = KeptCatalog::default();
        kept.catalog.put(&a, None, None);
        kept.catalog.put(&b, None, None);
        let label_of_b = kept.catalog.members[&b].label.clone();
        let other = |label: Vec<u8>| {
            let mut kept = kept.clone();
            kept.catalog.members.get_mut(&a).unwrap().label = label;
            kept.to_text()
        };
        assert!(KeptCatalog::from_text(&other(kept.catalog.members[&a].label.clone())).is_some());
        for label in [label_of_b, b"1".to_vec(), Vec::new()] {
            assert_eq!(KeptCatalog::from_text(&other(label.clone())), None, "{label:?}");
        }
        let text = kept.to_text();
        let lines = &text[..text.rfind(END).unwrap()];
        let twice = lines.to_owned() + lines.lines().last().unwrap() + "\n";
        let sum = HEXLOWER.encode(&sha256(twice.as_bytes()));
        assert_eq!(KeptCatalog::from_text(&(twice + END + &sum + "\n")), None);
    }

    #[test]
    fn a_file_that_is_too_large_or_no_catalog_is_damage_and_one_that_cannot_be_read_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.test.");
        assert_eq!(KeptCatalog::read(&path).unwrap(), None);
        let kept = KeptCatalog::first(zones(0..3), NOW);
        kept.write(&path).unwrap();
        assert_eq!(KeptCatalog::read(&path).unwrap(), Some(kept));
        for wrong in [&b""[..], b"x", b"\xff\n", b"offline-ksk catalog 1\n7\nend\n"] {
            std::fs::write(&path, wrong).unwrap();
            assert!(is_damage(&KeptCatalog::read(&path).unwrap_err()), "{wrong:?}");
        }
        // The file has a hole, and takes no room.
        std::fs::File::create(&path).unwrap().set_len(MAX + 1).unwrap();
        assert!(is_damage(&KeptCatalog::read(&path).unwrap_err()));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(!is_damage(&KeptCatalog::read(&path).unwrap_err()));
    }

    #[test]
    fn a_tenth_leaves_within_an_hour_also_in_steps_and_across_restarts_and_more_is_held() {
        let none = HashSet::new();
        for (members, may_go) in [(1, 1), (5, 1), (10, 1), (40, 4), (100, 10)] {
            let first = KeptCatalog::first(zones(0..members), NOW);
            let at_once = first.follow(zones(may_go..members), &none, later(1));
            assert_eq!(
                (at_once.catalog.members.len(), at_once.held.len()),
                (members - may_go, 0),
                "{members}"
            );
            assert_ne!(at_once.serial, first.serial);
            // One by one, with a restart before each.
            let mut kept = first.clone();
            for gone in 1..=may_go {
                kept = again(&kept).follow(zones(gone..members), &none, later(gone as u64));
                assert_eq!((kept.catalog.members.len(), kept.held.len()), (members - gone, 0), "{members}");
            }
            if may_go < members {
                for before in [&kept, &at_once, &again(&at_once)] {
                    let held = before.follow(zones(may_go + 1..members), &none, later(60));
                    assert_eq!((held.catalog.members.len(), held.held.len()), (members - may_go, 1));
                    assert_eq!((held.serial, &held.catalog), (before.serial, &before.catalog));
                }
                let all = first.follow(Catalog::default(), &none, later(1));
                assert_eq!((all.catalog.members.len(), all.held.len()), (members, members));
                // After the hour another tenth may go.
                let next = again(&kept).follow(zones(may_go + 1..members), &none, later(2 * REMOVAL_WINDOW));
                assert_eq!((next.catalog.members.len(), next.held.len()), (members - may_go - 1, 0));
            }
        }
    }

    #[test]
    fn what_is_held_stays_until_it_is_back_or_released_also_when_time_goes_by_and_others_are_released() {
        let none = HashSet::new();
        let first = KeptCatalog::first(zones(0..40), NOW);
        let held = first.follow(zones(6..40), &none, later(1));
        assert_eq!(held.held, released(0..6).into_iter().collect());
        let much_later = later(10 * REMOVAL_WINDOW);
        assert_eq!(again(&held).follow(zones(6..40), &none, much_later).held.len(), 6);
        // Three are released; the three others would be few enough by now.
        let after = again(&held).follow(zones(6..40), &released(0..3), much_later);
        assert_eq!(after.held, released(3..6).into_iter().collect());
        assert_eq!(after.catalog, zones(3..40));
        assert_eq!(after.removals, [], "what was released does not count");
        // One is back.
        let back = after.follow(zones(5..40), &none, much_later);
        assert_eq!((back.held, back.catalog), (released(3..5).into_iter().collect(), zones(3..40)));
        // A clock that was set back forgets no removal within the hour, and the serial goes on.
        let gone = first.follow(zones(4..40), &none, later(1));
        let earlier = gone.follow(zones(5..40), &none, Timestamp::from_secs(NOW.secs() - 60));
        assert_eq!((earlier.held.len(), earlier.serial), (1, gone.serial));
    }
}
