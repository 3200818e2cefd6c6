//! Which keys an interval needs, and which keys each bundle of a request carries: BIND's `keygen` rounds and `request`
//! bundles, as pure functions.
//!
//! ```text
//! existing keys + policy + interval ──keygen──▶ [Selected(key) | Generate(times)]
//! keys + policy + interval          ──bundles─▶ [KsrBundle]  (one more at each Publish and Delete)
//! ```
//!
//! BIND steps through the interval by the lifetime of the policy and can leave times without an active key (an interval
//! that starts inside a key's life). [`Holes::Fill`] adds the key that is missing; everything else is as BIND does it.
//! Pre-publication times are those of RFC 7583 section 3.2.1 in the words of `dnssec-policy`.

#[cfg(test)]
mod tests;

use super::timing::State;
use super::{FLAG_REVOKE, KeyFile, Timing};
use crate::crypto::Algorithm;
use crate::policy::{KeyPolicy, KeyRole, Policy};
use crate::time::Timestamp;

/// Longest interval that is planned without being asked twice, in seconds: 20 years of 365 days.
pub const LONGEST_INTERVAL: u64 = 20 * 365 * 86_400;

/// A time without an active key that short, at the very end of an interval, is none, in seconds: the commands of one ceremony
/// each read the clock, and an end given as `+1y` moves on between them.
pub const END_TOLERANCE: u64 = 3600;

/// Most keys or bundles of one plan; what lies beyond is a mistake in the policy or the interval, not a ceremony.
pub const MOST_STEPS: usize = 100_000;

/// The time that keys or a request are made for; both ends are given to BIND's tool as `-i` and `-e`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// First second.
    pub start: Timestamp,
    /// End; not before `start`.
    pub end: Timestamp,
}

/// What to do about times that BIND's rounds leave without an active key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holes {
    /// Add the missing keys.
    Fill,
    /// Leave them, as BIND does.
    Leave,
}

/// One line of a key plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStep<'a> {
    /// Time of the round: from here on a key is wanted.
    pub bundle: Timestamp,
    /// The entry of the policy.
    pub entry: &'a KeyPolicy,
    /// True when BIND's rounds would have left this time without an active key.
    pub fills_hole: bool,
    /// The key.
    pub key: PlannedKey<'a>,
}

/// A key that exists or is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedKey<'a> {
    /// A key that exists serves.
    Selected(&'a KeyFile),
    /// A key with these times is to be made.
    Generate(Timing),
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// `end` lies before `start`.
    #[error("the end ({end}) lies before the start ({start}); exchange or correct them")]
    EndBeforeStart {
        /// Start of the interval.
        start: Timestamp,
        /// End of the interval.
        end: Timestamp,
    },
    /// Nothing to do in an interval of no length.
    #[error("start and end are the same second ({at}); give a later end")]
    Empty {
        /// Start and end.
        at: Timestamp,
    },
    /// More than [`LONGEST_INTERVAL`].
    #[error("the interval {start} to {end} is longer than 20 years; check its start and end")]
    TooLong {
        /// Start of the interval.
        start: Timestamp,
        /// End of the interval.
        end: Timestamp,
    },
    /// A key would have to be published before 1970.
    #[error(
        "a key active from {start} must be published {prepublication} s earlier, before 1970; give a later start"
    )]
    StartTooEarly {
        /// Start of the interval.
        start: Timestamp,
        /// Seconds that a new key must be published before it signs.
        prepublication: u64,
    },
    /// A time does not fit into the 32 bits that BIND keeps times in.
    #[error(
        "the time {at} lies beyond 2106-02-07, where the 32-bit times of key files and BIND end; give an earlier end"
    )]
    BeyondTimes {
        /// The time.
        at: Timestamp,
    },
    /// A key would live on beyond the 32 bits that BIND keeps times in.
    #[error(
        "the lifetime of the {} entry of policy '{policy}', {} days, is too long: a key that is active from {activate} would be removed at {at}, \
         beyond 2106-02-07, where the 32-bit times of key files and BIND end; write a shorter lifetime or `unlimited`, or give an earlier end",
        role_word(*role), lifetime / 86_400
    )]
    LifetimeTooLong {
        /// Name of the policy.
        policy: String,
        /// Role of the entry.
        role: KeyRole,
        /// Its lifetime, in seconds.
        lifetime: u32,
        /// When the key would become active.
        activate: Timestamp,
        /// When it would be removed.
        at: Timestamp,
    },
    /// The policy has no entry of the wanted role.
    #[error("no keys created for policy '{policy}': it has no {} entry under `keys`{}", role_word(*role), csk_note(*csk))]
    NoEntry {
        /// Name of the policy.
        policy: String,
        /// The role.
        role: KeyRole,
        /// True when there is a `csk` entry.
        csk: bool,
    },
    /// A bundle for which a ZSK entry has no published key.
    #[error(
        "no {zone}/{algorithm} zsk key pair found for bundle {}; run keygen for this interval first",
        bundle.ctime()
    )]
    NoZsk {
        /// The zone, without final dot as BIND prints it.
        zone: String,
        /// Algorithm of the entry.
        algorithm: Algorithm,
        /// Time of the bundle.
        bundle: Timestamp,
    },
    /// More than [`MOST_STEPS`].
    #[error(
        "the plan would have more than {MOST_STEPS} keys or bundles; check the interval and the lifetimes of the policy"
    )]
    TooMany,
}

const fn role_word(role: KeyRole) -> &'static str {
    match role {
        KeyRole::Ksk => "ksk",
        KeyRole::Zsk => "zsk",
        KeyRole::Csk => "csk",
    }
}

const fn csk_note(csk: bool) -> &'static str {
    if csk { " (a csk cannot be split between an offline and an online side)" } else { "" }
}

/// Checks that `interval` is one that a plan can be made for. `long` allows more than [`LONGEST_INTERVAL`].
pub fn check_interval(interval: Interval, long: bool) -> Result<(), PlanError> {
    let Interval { start, end } = interval;
    if end < start {
        return Err(PlanError::EndBeforeStart { start, end });
    }
    if !long && end.since(start) > LONGEST_INTERVAL {
        return Err(PlanError::TooLong { start, end });
    }
    fits(end)
}

fn fits(at: Timestamp) -> Result<(), PlanError> {
    if at.secs() > u64::from(u32::MAX) { Err(PlanError::BeyondTimes { at }) } else { Ok(()) }
}

/// True when `key` is of the kind that `entry` asks for: algorithm, size and role (from `.state`; without it a key
/// matches nothing), tag and revoked tag inside the tag range.
#[must_use]
pub fn matches(entry: &KeyPolicy, key: &KeyFile) -> bool {
    let Some(state) = &key.state else { return false };
    let range = entry.tag_range.0..=entry.tag_range.1;
    let (ksk, zsk) = match entry.role {
        KeyRole::Ksk => (true, false),
        KeyRole::Zsk => (false, true),
        KeyRole::Csk => (true, true),
    };
    key.dnskey.algorithm == entry.algorithm
        && state.length == entry.bits
        && state.ksk == Some(ksk)
        && state.zsk == Some(zsk)
        && range.contains(&key.dnskey.tag())
        && range.contains(&key.dnskey.revoked_tag())
}

/// The times of a new key of `role` that is active from `activate` on for `lifetime` seconds (0 = for ever).
///
/// `first`: its round is the first of the interval, so that a KSK's CDS waits until caches know the zone as signed.
#[must_use]
pub fn timing(
    policy: &Policy,
    role: KeyRole,
    lifetime: u32,
    activate: Timestamp,
    first: bool,
    now: Timestamp,
) -> Timing {
    let publish = activate.minus(policy.prepublication());
    let mut timing =
        Timing { created: Some(now), publish: Some(publish), activate: Some(activate), ..Timing::default() };
    let ksk = role != KeyRole::Zsk;
    if ksk {
        let known = publish.plus(policy.prepublication());
        let signed = u64::from(policy.effective_max_zone_ttl()) + u64::from(policy.zone_propagation_delay);
        timing.sync_publish = Some(if first { known.max(publish.plus(signed)) } else { known });
    }
    if lifetime > 0 {
        let inactive = activate.plus(u64::from(lifetime));
        timing.inactive = Some(inactive);
        timing.delete =
            Some(inactive.plus(if ksk { policy.ksk_retirement() } else { policy.zsk_retirement() }));
        timing.sync_delete = ksk.then_some(inactive);
    }
    timing
}

/// `State` of a new key of `entry`: role, size and lifetime, no key states.
#[must_use]
pub fn state(entry: &KeyPolicy) -> State {
    State {
        length: entry.bits,
        lifetime: Some(entry.lifetime),
        ksk: Some(entry.role != KeyRole::Zsk),
        zsk: Some(entry.role != KeyRole::Ksk),
        ..State::default()
    }
}

/// BIND's `keygen`: for each entry of `role` in policy order, rounds through the interval, one lifetime apart.
///
/// `existing` is sorted by algorithm and tag, as [`super::files::find`] gives it. A round selects the first existing key
/// that matches and is active at its time; without one it makes a key that is active from the end of the key before.
pub fn keygen<'a>(
    existing: &'a [KeyFile],
    policy: &'a Policy,
    role: KeyRole,
    interval: Interval,
    holes: Holes,
    now: Timestamp,
) -> Result<Vec<PlanStep<'a>>, PlanError> {
    if interval.start == interval.end {
        return Err(PlanError::Empty { at: interval.start });
    }
    check_interval(interval, true)?;
    let mut steps = Vec::new();
    let mut entries = policy.keys.iter().filter(|entry| entry.role == role).peekable();
    if entries.peek().is_none() {
        let csk = policy.keys.iter().any(|entry| entry.role == KeyRole::Csk);
        return Err(PlanError::NoEntry { policy: policy.name.clone(), role, csk });
    }
    for entry in entries {
        let in_use = |key: &&KeyFile| {
            key.dnskey.is_ksk() == (role == KeyRole::Ksk)
                && key.timing.delete.is_none_or(|t| t > interval.start)
        };
        let mut in_use = existing.iter().filter(in_use).peekable();
        let enters = holes == Holes::Fill
            && in_use.peek().is_some()
            && !in_use.any(|key| key.dnskey.algorithm == entry.algorithm);
        let covered = Some(interval.start);
        Rounds { existing, policy, entry, interval, now, steps: &mut steps, covered, enters }.run(holes)?;
    }
    Ok(steps)
}

/// Activate of a standby ZSK: in 2100, before which somebody says when it is to sign. named works with no ZSK that has no such time
/// ([`LackingTimes`](super::timing::LackingTimes)), and later times do not fit into the 32 bits that BIND keeps them in.
pub const STANDBY_ACTIVATE: Timestamp = Timestamp::from_secs(4_102_444_800);

/// One standby key for each entry of `role`: published from `start` on, a ZSK with [`STANDBY_ACTIVATE`], so that it signs nothing before
/// somebody says so; a KSK without Activate, for it signs the DNSKEY RRset as long as it is published, and has its DS published beside
/// that of the active one.
///
/// A standby key that is there is selected, also a ZSK without Activate.
pub fn standby<'a>(
    existing: &'a [KeyFile],
    policy: &'a Policy,
    role: KeyRole,
    start: Timestamp,
    now: Timestamp,
) -> Result<Vec<PlanStep<'a>>, PlanError> {
    fits(start.plus(policy.prepublication()))?;
    let step = |entry: &'a KeyPolicy| {
        let is_standby = |key: &&KeyFile| {
            let waits = key.timing.activate.is_none_or(|at| role == KeyRole::Zsk && at >= STANDBY_ACTIVATE);
            matches(entry, key) && waits && key.timing.delete.is_none()
        };
        let key = existing.iter().find(is_standby).map_or_else(
            || {
                PlannedKey::Generate(Timing {
                    created: Some(now),
                    publish: Some(start),
                    activate: (role == KeyRole::Zsk).then_some(STANDBY_ACTIVATE),
                    sync_publish: (role != KeyRole::Zsk).then(|| start.plus(policy.prepublication())),
                    ..Timing::default()
                })
            },
            PlannedKey::Selected,
        );
        PlanStep { bundle: start, entry, fills_hole: false, key }
    };
    let steps: Vec<PlanStep<'a>> = policy.keys.iter().filter(|entry| entry.role == role).map(step).collect();
    if steps.is_empty() {
        let csk = policy.keys.iter().any(|entry| entry.role == KeyRole::Csk);
        return Err(PlanError::NoEntry { policy: policy.name.clone(), role, csk });
    }
    Ok(steps)
}

/// The rounds of one entry of the policy.
struct Rounds<'a, 's> {
    existing: &'a [KeyFile],
    policy: &'a Policy,
    entry: &'a KeyPolicy,
    interval: Interval,
    now: Timestamp,
    steps: &'s mut Vec<PlanStep<'a>>,
    /// A key is active at every second from the start of the interval until here (with [`Holes::Fill`]); `None` = for ever.
    covered: Option<Timestamp>,
    /// The zone has keys of this role, and none of this algorithm: an algorithm rollover.
    enters: bool,
}

impl<'a> Rounds<'a, '_> {
    fn run(mut self, holes: Holes) -> Result<(), PlanError> {
        let Interval { start, end } = self.interval;
        let mut round = start;
        // BIND's variable: when the key of the round before ends, and the next new one starts.
        let mut next_activation = Some(start);
        while round < end {
            let found = self.pick(round).or_else(|| self.pick_soon(round).filter(|_| holes == Holes::Fill));
            if let Some(activate) = found.and_then(|key| key.timing.activate)
                && holes == Holes::Fill
            {
                self.fill_until(activate)?;
            }
            next_activation = match found {
                Some(key) => self.push(round, PlannedKey::Selected(key), false)?,
                // After a key without end there is always a match, so that `None` only comes with odd key files.
                None => self.generate(round, next_activation.unwrap_or(round), false)?,
            };
            if self.entry.lifetime == 0 {
                break;
            }
            round = round.plus(u64::from(self.entry.lifetime));
        }
        if holes == Holes::Fill { self.fill_until(end.minus(END_TOLERANCE)) } else { Ok(()) }
    }

    /// Selects or makes keys until one is active at every second before `until`.
    fn fill_until(&mut self, until: Timestamp) -> Result<(), PlanError> {
        while let Some(from) = self.covered.filter(|covered| *covered < until) {
            match self.pick(from) {
                Some(key) => self.push(from, PlannedKey::Selected(key), true)?,
                None => self.generate(from, from, true)?,
            };
        }
        Ok(())
    }

    /// The first key that matches and is active at `at`. A revoked one signs, and nobody trusts it: it does not count.
    fn pick(&self, at: Timestamp) -> Option<&'a KeyFile> {
        let is_revoked = |key: &KeyFile| {
            key.dnskey.flags & FLAG_REVOKE != 0 || key.timing.revoke.is_some_and(|revoke| revoke <= at)
        };
        let is_active = |key: &KeyFile| key.timing.is_active(at) && !is_revoked(key);
        self.existing.iter().find(|key| matches(self.entry, key) && is_active(key))
    }

    /// The KSK that is active from some moments after the start on. It is used although it is missing in these: a second KSK for them
    /// would be in the zone for ever, and the request can begin later, or the KSK earlier.
    fn pick_soon(&mut self, round: Timestamp) -> Option<&'a KeyFile> {
        if self.entry.role != KeyRole::Ksk || round != self.interval.start {
            return None;
        }
        let soon = |key: &&KeyFile| {
            let activate = key.timing.activate.filter(|at| *at > round && *at <= round.plus(END_TOLERANCE));
            matches(self.entry, key) && activate.is_some_and(|at| key.timing.is_active(at))
        };
        let found = self.existing.iter().filter(soon).min_by_key(|key| key.timing.activate)?;
        self.covered = found.timing.activate;
        Some(found)
    }

    fn generate(
        &mut self,
        round: Timestamp,
        activate: Timestamp,
        fills_hole: bool,
    ) -> Result<Option<Timestamp>, PlanError> {
        let prepublication = self.policy.prepublication();
        if activate.secs() < prepublication {
            return Err(PlanError::StartTooEarly { start: activate, prepublication });
        }
        let first = round == self.interval.start;
        let mut timing = timing(self.policy, self.entry.role, self.entry.lifetime, activate, first, self.now);
        if first && self.enters {
            // A DNSKEY of a new algorithm comes with its signatures, not before them (RFC 4035 section 2.2).
            timing.publish = Some(activate);
            timing.sync_publish = timing.sync_publish.map(|sync| sync.plus(prepublication));
        }
        timing.sync_publish.max(timing.activate).map_or(Ok(()), fits)?;
        if let Some(at) = timing.delete.filter(|at| fits(*at).is_err()) {
            let (policy, role, lifetime) = (self.policy.name.clone(), self.entry.role, self.entry.lifetime);
            return Err(PlanError::LifetimeTooLong { policy, role, lifetime, activate, at });
        }
        self.push(round, PlannedKey::Generate(timing), fills_hole)
    }

    /// Adds a step; gives the end of its key.
    fn push(
        &mut self,
        bundle: Timestamp,
        key: PlannedKey<'a>,
        fills_hole: bool,
    ) -> Result<Option<Timestamp>, PlanError> {
        if self.steps.len() >= MOST_STEPS {
            return Err(PlanError::TooMany);
        }
        let end = match &key {
            PlannedKey::Selected(key) => key.timing.inactive,
            PlannedKey::Generate(timing) => timing.inactive,
        };
        self.covered = self.covered.zip(end).map(|(covered, end)| covered.max(end));
        self.steps.push(PlanStep { bundle, entry: self.entry, fills_hole, key });
        Ok(end)
    }
}

/// The first second of the interval (its end excluded, unless it is its start) at which a ZSK entry of the policy has no
/// active key, and the entry: the zone could not be signed from there.
#[must_use]
pub fn first_without_active_zsk<'a>(
    keys: &[KeyFile],
    policy: &'a Policy,
    interval: Interval,
) -> Option<(Timestamp, &'a KeyPolicy)> {
    let uncovered = |entry: &KeyPolicy| {
        let mut at = interval.start;
        loop {
            let active = keys.iter().filter(|key| matches(entry, key) && key.timing.is_active(at));
            // The latest end among the keys active at `at`; no end = active for ever.
            let ends: Vec<Option<Timestamp>> = active.map(|key| key.timing.inactive).collect();
            if ends.is_empty() {
                return Some(at);
            }
            match ends.into_iter().collect::<Option<Vec<_>>>().and_then(|ends| ends.into_iter().max()) {
                Some(end) if end < interval.end => at = end,
                _ => return None,
            }
        }
    };
    let zsks = policy.keys.iter().filter(|entry| entry.role == KeyRole::Zsk);
    zsks.filter_map(|entry| uncovered(entry).map(|at| (at, entry))).min_by_key(|(at, _)| *at)
}
