//! Whether a host may become the active one, by the lease, by its own state, and by what the secondaries have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use super::generation::Generation;
use super::lease::{Lease, Stage};
use super::origin::Origin;
use crate::dns::Name;
use crate::time::Timestamp;

/// So far beyond the highest serial that is known a new active host begins. What the host before it may still publish in the moment of the
/// takeover has lower serials, which no secondary takes (RFC 1982).
pub const SERIAL_JUMP: u32 = 1000;

/// A serial that is further than this beyond those of the state, of a quarter of all, does not come from a host of the pair.
const MOST_AHEAD: u32 = 1 << 30;

/// The serial of a zone that a secondary was seen to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The zone.
    pub zone: Name,
    /// The secondary that was asked.
    pub secondary: SocketAddr,
    /// The last serial that this host has, or may have, published; `None` when its state knows none.
    pub own: Option<u32>,
    /// The serial that the secondary has, `None` where it has no version of the zone, or why it did not say.
    pub seen: Result<Option<u32>, String>,
}

impl Sighting {
    /// True when the secondary has a version of the zone.
    fn is_seen(&self) -> bool {
        matches!(self.seen, Ok(Some(_)))
    }

    /// The serial, when it is later than any of this host.
    #[must_use]
    pub fn later(&self) -> Option<u32> {
        let seen = self.seen.as_ref().ok().copied().flatten()?;
        self.own.is_none_or(|own| is_later(seen, own)).then_some(seen)
    }
}

/// What is known when a host is to become active.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The host.
    pub host: &'a str,
    /// The name of its machine.
    pub node: &'a str,
    /// The lease.
    pub lease: Option<&'a Lease>,
    /// Seconds by which the clocks of the two hosts may differ.
    pub clock_margin: u32,
    /// Where its state comes from.
    pub origin: &'a Origin,
    /// What its secondaries have.
    pub sightings: &'a [Sighting],
}

/// Why a host should not become active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// The lease of the other host has not ended.
    Held {
        /// The other host.
        host: String,
        /// Its machine.
        node: String,
        /// When it can be taken over.
        until: Timestamp,
    },
    /// The clock of this host is behind that of the other one, so that it does not know when the lease ends.
    Clock {
        /// When the other host renewed the lease, by its clock.
        renewed: Timestamp,
    },
    /// The state of this host is not that of the takeover that the lease names: changes of the other host are not in it.
    OldState {
        /// Where the state comes from.
        origin: Origin,
        /// The host of the lease.
        host: String,
        /// The takeover of the lease.
        lease: Generation,
    },
    /// The other host has ended in order since the copy of its state was begun: what it did in between is not here.
    NotLast {
        /// The other host.
        host: String,
        /// When it gave back its lease.
        ended: Timestamp,
    },
    /// There is no lease, although this state was made by a host of a pair, or has serials that were published: the storage of the lease may
    /// not be there.
    NoLease {
        /// Where the state comes from.
        origin: Origin,
    },
    /// A secondary does not say which serial it has, nor does another one of the zone.
    Silent {
        /// The zone, or one of them.
        zone: Name,
        /// The secondary.
        secondary: SocketAddr,
        /// Why it does not.
        cause: String,
    },
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { host, node, until } => {
                write!(f, "host {host} ({node}) has the lease; it can be taken over from {} on", until.iso())
            }
            Self::Clock { renewed } => write!(
                f,
                "the lease was renewed at {}, which is in the future by the clock of this host: set the clock first",
                renewed.iso()
            ),
            Self::OldState { origin, host, lease } => {
                match origin {
                    Origin::Alone => f.write_str("the state folder was never copied from the active host")?,
                    Origin::Half => f.write_str("the last copy of the state folder did not come to its end")?,
                    Origin::Own(state) => write!(f, "the state folder is that of this host by takeover {state}")?,
                    Origin::Copied { generation: state, made_by: of, .. } => write!(f, "the state folder is that of host {of} by takeover {state}")?,
                }
                write!(
                    f,
                    ", and the lease is that of host {host} by takeover {lease}: copy the state of host {host} first (offline-ksk pair copy)"
                )
            }
            Self::NotLast { host, ended } => write!(
                f,
                "host {host} ended in order at {}, after the last copy of its state was begun, and updates that it answered may be missing here: run offline-ksk pair copy once more; where that cannot be done any more, offline-ksk takeover --without-last-copy goes on without them",
                ended.iso()
            ),
            Self::NoLease { origin: Origin::Own(state) | Origin::Copied { generation: state, .. } } => write!(
                f,
                "there is no lease, and this state was made by takeover {state}: see that the storage of the lease is there"
            ),
            Self::NoLease { .. } => {
                f.write_str("there is no lease, and zones of this host were published before, by the state here or by what secondaries have: see that the storage of the lease is there")
            }
            Self::Silent { zone, secondary, cause } => {
                write!(f, "no secondary of {zone} says which serial it has, {secondary} either: {cause}")
            }
        }
    }
}

/// Everything that is against a takeover at `now`. Nothing: the host may become active.
#[must_use]
pub fn objections(facts: &Facts<'_>, now: Timestamp) -> Vec<Objection> {
    let mut found = Vec::new();
    if let Some(lease) = facts.lease {
        let (until, is_own) = (lease.until(facts.clock_margin), lease.is_of(facts.host, facts.node));
        if !is_own && now < until {
            let (host, node) = (lease.host.clone(), lease.node.clone());
            found.push(Objection::Held { host, node, until });
        }
        if !is_own && now.plus(facts.clock_margin.into()) < lease.renewed {
            found.push(Objection::Clock { renewed: lease.renewed });
        }
        if !is_state_of(facts.origin, facts.host, lease) {
            let (host, lease) = (lease.host.clone(), lease.generation);
            found.push(Objection::OldState { origin: facts.origin.clone(), host, lease });
        } else if let Origin::Copied { ended, .. } = facts.origin
            && lease.host != facts.host
            && let Stage::Ended(number) = lease.stage
            && *ended != Some(number)
        {
            found.push(Objection::NotLast { host: lease.host.clone(), ended: lease.renewed });
        }
    }
    let is_published = facts.sightings.iter().any(|sighting| sighting.own.is_some() || sighting.is_seen());
    if facts.lease.is_none() && (*facts.origin != Origin::Alone || is_published) {
        found.push(Objection::NoLease { origin: facts.origin.clone() });
    }
    found.extend(silent(facts.sightings));
    found
}

/// True when the state has what the host of the lease has published, up to what was not copied yet.
fn is_state_of(origin: &Origin, host: &str, lease: &Lease) -> bool {
    match origin {
        Origin::Own(state) => lease.host == host && *state == lease.generation,
        // A takeover of this host that was cut off before it was noted here: nobody has published by it.
        Origin::Copied { generation, .. } if lease.host == host => {
            lease.stage == Stage::Claimed && generation.next() == lease.generation
        }
        Origin::Copied { generation, made_by, .. } => {
            *made_by == lease.host && *generation == lease.generation
        }
        Origin::Alone | Origin::Half => false,
    }
}

/// The zones of which a secondary has a serial that no host of the pair can have published: a takeover leaves them as they are, and nothing of
/// them is published until a person has looked. Any other serial is one that the host before published after the state was copied, which
/// [`floor`] goes beyond.
#[must_use]
pub fn held(sightings: &[Sighting]) -> BTreeSet<Name> {
    let is_held = |sighting: &&Sighting| {
        let (serial, own) = (sighting.later(), sighting.own);
        serial.zip(own).is_some_and(|(serial, own)| serial.wrapping_sub(own) > MOST_AHEAD)
    };
    sightings.iter().filter(is_held).map(|sighting| sighting.zone.clone()).collect()
}

/// The secondaries that do not answer, each once, where none of a zone does.
fn silent(sightings: &[Sighting]) -> Vec<Objection> {
    let heard: BTreeSet<&Name> = sightings.iter().filter(|s| s.seen.is_ok()).map(|s| &s.zone).collect();
    let mut found: BTreeMap<SocketAddr, Objection> = BTreeMap::new();
    for Sighting { zone, secondary, seen, .. } in sightings.iter().filter(|s| !heard.contains(&s.zone)) {
        if let Err(cause) = seen {
            let objection =
                || Objection::Silent { zone: zone.clone(), secondary: *secondary, cause: cause.clone() };
            found.entry(*secondary).or_insert_with(objection);
        }
    }
    found.into_values().collect()
}

/// The serials of a zone are too far apart to have one that is later than all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no serial is later than both {0} and {1} (RFC 1982): one of the secondaries has a serial that cannot be right"
)]
pub struct Apart(pub u32, pub u32);

/// The serial up to which none may be used any more by a host that becomes active: beyond its own and all that the secondaries have.
/// `None` when no serial of the zone is known anywhere.
///
/// # Errors
/// When there is no such serial.
pub fn floor(own: Option<u32>, seen: &[u32]) -> Result<Option<u32>, Apart> {
    let known = || own.into_iter().chain(seen.iter().copied());
    let Some(highest) = known().reduce(|a, b| if is_later(b, a) { b } else { a }) else { return Ok(None) };
    let floor = match highest.wrapping_add(SERIAL_JUMP) {
        // Some secondaries take 0 as no serial.
        0 => 1,
        floor => floor,
    };
    match known().find(|serial| !is_later(floor, *serial)) {
        Some(other) => Err(Apart(highest, other)),
        None => Ok(Some(floor)),
    }
}

/// RFC 1982 section 3.2 for 32 bits; serials exactly half the circle apart are not later.
const fn is_later(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn lease(host: &str, expires: Timestamp) -> Lease {
        let renewed = NOW.minus(600);
        Lease {
            host: host.to_owned(),
            node: "m".to_owned(),
            generation: Generation::FIRST.next(),
            renewed,
            expires,
            forced: false,
            stage: Stage::Begun,
        }
    }

    fn sighting(own: Option<u32>, seen: Result<u32, &str>) -> Sighting {
        Sighting {
            zone: Name::parse("example.").expect("a name"),
            secondary: "192.0.2.53:53".parse().expect("an address"),
            own,
            seen: seen.map(Some).map_err(str::to_owned),
        }
    }

    fn copied(generation: Generation, ended: Option<u64>) -> Origin {
        Origin::Copied { generation, made_by: "a".to_owned(), ended }
    }

    /// What is the case, lease, origin, sightings, and what is objected.
    type Row = (&'static str, Option<Lease>, Origin, Vec<Sighting>, &'static str);

    #[test]
    fn each_fact_alone_decides_whether_a_host_may_take_over() {
        let (two, one) = (|| copied(Generation::FIRST.next(), None), || copied(Generation::FIRST, None));
        let last = |ended| copied(Generation::FIRST.next(), Some(ended));
        let own = |number: &str| Origin::Own(Generation::parse(number).expect("a number"));
        let ended = || Some(lease("a", NOW.minus(5)));
        let given_back = || Some(Lease { stage: Stage::Ended(7), ..lease("a", NOW.minus(600)) });
        let good = || vec![sighting(Some(10), Ok(10))];
        let renewed = |renewed| Some(Lease { renewed, expires: NOW.minus(5), ..lease("a", NOW) });
        let begun = |stage| Some(Lease { stage, ..lease("b", NOW.plus(60)) });
        let rows: [Row; 31] = [
            ("no lease yet", None, Origin::Alone, vec![], ""),
            (
                "no lease, zones signed before",
                None,
                Origin::Alone,
                vec![sighting(None, Ok(7))],
                "there is no lease",
            ),
            (
                "no lease, a secondary is down",
                None,
                Origin::Alone,
                vec![sighting(None, Err("no answer"))],
                "says which serial",
            ),
            ("the lease has ended", ended(), two(), good(), ""),
            ("it ends within the margin", Some(lease("a", NOW.minus(4))), two(), good(), "has the lease"),
            ("it runs", Some(lease("a", NOW.plus(1))), two(), good(), "has the lease"),
            ("it was given back, and copied since", given_back(), last(7), good(), ""),
            (
                "it was given back after the copy was begun",
                given_back(),
                two(),
                good(),
                "pair copy once more",
            ),
            ("it was given back again since", given_back(), last(6), good(), "pair copy once more"),
            ("it has worked on since the copy of its end", ended(), last(7), good(), ""),
            ("it was renewed in the future", renewed(NOW.plus(6)), two(), good(), "in the future"),
            ("clocks within the margin", renewed(NOW.plus(5)), two(), good(), ""),
            ("it is its own", Some(lease("b", NOW.plus(60))), own("2"), good(), ""),
            ("its own, and the takeover was cut off", begun(Stage::Claimed), one(), good(), ""),
            (
                "its own, which was active, and an older copy",
                begun(Stage::Begun),
                one(),
                good(),
                "of host a by takeover 1",
            ),
            (
                "its own name on another machine",
                Some(Lease { node: "n".to_owned(), ..lease("b", NOW) }),
                own("2"),
                good(),
                "(n) has the lease",
            ),
            (
                "its own of later",
                Some(lease("b", NOW.plus(60))),
                own("1"),
                good(),
                "of this host by takeover 1",
            ),
            (
                "its own, and a copy of the same",
                Some(lease("b", NOW.plus(60))),
                two(),
                good(),
                "of host a by takeover 2",
            ),
            ("the state is of the takeover before", ended(), one(), good(), "by takeover 1"),
            ("the state is its own of before", ended(), own("1"), good(), "of this host by takeover 1"),
            ("two hosts have made one takeover", ended(), own("2"), good(), "of this host by takeover 2"),
            ("a later state than the lease", ended(), own("3"), good(), "of this host by takeover 3"),
            ("the state was never copied", ended(), Origin::Alone, good(), "never copied"),
            ("half a copy", ended(), Origin::Half, good(), "did not come to its end"),
            // However far: what was published after the copy is gone beyond.
            ("the state lags", ended(), two(), vec![sighting(Some(10), Ok(8910))], ""),
            ("the state lags over the end", ended(), two(), vec![sighting(Some(u32::MAX), Ok(490))], ""),
            ("the secondary is behind", ended(), two(), vec![sighting(Some(10), Ok(1))], ""),
            ("no serial of the zone here", ended(), two(), vec![sighting(None, Ok(1))], ""),
            (
                "a secondary is silent",
                ended(),
                two(),
                vec![sighting(Some(1), Err("no answer"))],
                "says which serial",
            ),
            ("no lease, state of a takeover", None, two(), vec![], "made by takeover 2"),
            ("no lease, serials that were published", None, Origin::Alone, good(), "there is no lease"),
        ];
        for (what, lease, origin, sightings, expected) in rows {
            let facts = Facts {
                host: "b",
                node: "m",
                lease: lease.as_ref(),
                clock_margin: 5,
                origin: &origin,
                sightings: &sightings,
            };
            let found = objections(&facts, NOW);
            let text = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            assert_eq!(found.len(), usize::from(!expected.is_empty()), "{what}: {text}");
            assert!(text.contains(expected), "{what}: {text}");
        }
    }

    /// A sighting of this zone at this secondary.
    fn of(zone: &str, last: u8, own: Option<u32>, seen: Result<u32, &str>) -> Sighting {
        let (zone, secondary) = (Name::parse(zone).expect("a name"), ([192, 0, 2, last], 53).into());
        Sighting { zone, secondary, ..sighting(own, seen) }
    }

    #[test]
    fn a_secondary_that_is_down_is_told_once_and_only_where_no_other_one_answers() {
        let down = Err("no answer");
        for (what, sightings, expected) in [
            ("the only one of two zones", vec![of("a.", 1, Some(1), down), of("b.", 1, Some(1), down)], 1),
            ("one of two", vec![of("a.", 1, Some(1), down), of("a.", 2, Some(1), Ok(1))], 0),
            ("both of them", vec![of("a.", 1, Some(1), down), of("a.", 2, Some(1), down)], 2),
            (
                "one of two, for one zone alone",
                vec![of("a.", 1, Some(1), down), of("b.", 2, Some(1), Ok(1))],
                1,
            ),
        ] {
            assert_eq!(silent(&sightings).len(), expected, "{what}");
        }
    }

    #[test]
    fn a_zone_with_a_serial_of_no_host_of_the_pair_is_held_and_is_no_objection() {
        let rows = [
            (Some(10), 8910, false),
            (Some(10), 11 + MOST_AHEAD, true),
            (Some(10), 10 + MOST_AHEAD, false),
            (Some(10), 9, false),
            (None, u32::MAX, false),
        ];
        for (own, seen, expected) in rows {
            let all = [of("a.", 1, own, Ok(seen)), of("b.", 1, Some(1), Ok(1))];
            assert_eq!(held(&all).len(), usize::from(expected), "{own:?} {seen}");
            let origin = copied(Generation::FIRST.next(), None);
            let lease = lease("a", NOW.minus(5));
            let facts = Facts {
                host: "b",
                node: "m",
                lease: Some(&lease),
                clock_margin: 5,
                origin: &origin,
                sightings: &all,
            };
            assert_eq!(objections(&facts, NOW), [], "{own:?} {seen}");
        }
    }

    #[test]
    fn the_serials_of_a_new_active_host_begin_beyond_all_that_are_known() {
        for (own, seen, expected) in [
            (None, vec![], None),
            (Some(5), vec![], Some(5 + SERIAL_JUMP)),
            (None, vec![7], Some(7 + SERIAL_JUMP)),
            (Some(5), vec![9, 3], Some(9 + SERIAL_JUMP)),
            (Some(u32::MAX), vec![2, u32::MAX - 1], Some(2 + SERIAL_JUMP)),
            (Some(u32::MAX - SERIAL_JUMP + 1), vec![], Some(1)),
        ] {
            assert_eq!(floor(own, &seen), Ok(expected), "{own:?} {seen:?}");
        }
        for (own, seen) in
            [(Some(5), vec![5 + 0x7fff_ffff]), (None, vec![0, 1 << 31]), (Some(0), vec![0x7fff_ffff - 500])]
        {
            assert!(floor(own, &seen).is_err(), "{own:?} {seen:?}");
        }
    }
}
