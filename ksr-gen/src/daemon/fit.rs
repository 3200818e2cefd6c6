//! Whether keys are still those that a request asks for, and those that an accepted SKR has.

use std::collections::BTreeSet;

use keystore::config::ZoneConfig;
use keystore::exchange::{Bundle, Ksr, KsrBundle, UnverifiedSkr};
use keystore::keys::files::Folder;
use keystore::keys::plan::{self, Interval};
use keystore::keys::{Dnskey, KeyFile};
use keystore::policy::KeyRole;
use keystore::time::Timestamp;

use crate::request::{self, InactiveZsk};

/// The first difference between an open request that ends at `end` and the request that would be made from the key files now, from
/// `now` on; `None` when there is none.
pub(super) fn against_request(
    asked: &Ksr,
    zone: &ZoneConfig,
    keys: &[KeyFile],
    end: Timestamp,
    now: Timestamp,
) -> Option<String> {
    let from = asked.bundles.first().map_or(now, |first| first.inception.max(now));
    if from >= end {
        return None;
    }
    // What was before has been; key files whose Delete is over may be gone.
    let fresh = match request::request(
        keys,
        &zone.name,
        &zone.policy,
        Interval { start: from, end },
        InactiveZsk::Refuse,
    ) {
        Ok(fresh) => fresh,
        Err(error) => return Some(error.to_string()),
    };
    let mut times: Vec<Timestamp> = asked.bundles.iter().chain(&fresh.bundles).map(|b| b.inception).collect();
    times.retain(|time| *time > from);
    times.push(from);
    times.sort_unstable();
    times.into_iter().find_map(|at| {
        let (old, new) = (in_force(&asked.bundles, at)?, in_force(&fresh.bundles, at)?);
        if old.ttl != new.ttl {
            return Some(format!("the policy's dnskey-ttl is {}, the request has {}", new.ttl, old.ttl));
        }
        difference(&old.keys, &new.keys).map(|what| format!("{what} at {at}"))
    })
}

/// The first reason why an accepted SKR does not fit the key files, from now on until its last bundle: a ZSK that is published by its times and
/// not in the bundle, or (`whole`: when no key file is damaged) a time for which no active ZSK is there. ZSKs that are only in the
/// SKR are another provider's, or lie elsewhere for an emergency.
pub(super) fn against_skr(
    bundles: &[Bundle],
    zone: &ZoneConfig,
    keys: &[KeyFile],
    whole: bool,
    now: Timestamp,
) -> Option<String> {
    // A clock that was set back shows keys as they were before; that is no reason for a request.
    if bundles.first().is_none_or(|first| now < first.inception) {
        return None;
    }
    let rest = bundles.get(current(bundles, |bundle| bundle.inception, now)..)?;
    let is_zsk = |key: &KeyFile| {
        zone.policy.keys.iter().any(|entry| entry.role == KeyRole::Zsk && plan::matches(entry, key))
    };
    for bundle in rest {
        let at = bundle.inception.max(now);
        let listed: Vec<Dnskey> = bundle.keys().collect();
        let missing = keys
            .iter()
            .find(|key| is_zsk(key) && key.timing.is_published(at) && !listed.contains(&key.dnskey));
        if let Some(key) = missing {
            return Some(format!("it lacks {}, which is published at {at}", key.base_name()));
        }
    }
    let (Some(current), Some(last)) = (rest.first(), rest.last()) else { return None };
    if !whole || last.inception <= now {
        return None;
    }
    let until = Interval { start: now, end: last.inception };
    let (at, entry) = plan::first_without_active_zsk(keys, &zone.policy, until)?;
    // A new algorithm of the policy waits for the next request: its keys would be published at once.
    let known = current.keys().any(|key| !key.is_ksk() && key.algorithm == entry.algorithm);
    (known && at.plus(plan::END_TOLERANCE) < until.end)
        .then(|| format!("no {} ZSK is here that is active from {at} on", entry.algorithm))
}

/// The ZSKs that the SKR or the request has from now on and whose `.key` file lies in the folder without a `.private` file.
pub(super) fn without_private_part(
    folder: &Folder,
    zone: &ZoneConfig,
    skr: Option<&UnverifiedSkr>,
    asked: Option<&Ksr>,
    now: Timestamp,
) -> Vec<String> {
    let lone = folder.without_private(&zone.name);
    if lone.is_empty() {
        return Vec::new();
    }
    let mut wanted: Vec<Dnskey> = Vec::new();
    if let Some(skr) = skr {
        let from = current(&skr.bundles, |bundle| bundle.inception, now);
        wanted.extend(skr.bundles.iter().skip(from).flat_map(Bundle::keys));
    }
    if let Some(ksr) = asked {
        let from = current(&ksr.bundles, |bundle| bundle.inception, now);
        wanted.extend(ksr.bundles.iter().skip(from).flat_map(|bundle| bundle.keys.iter().cloned()));
    }
    let missing = lone.into_iter().filter(|(_, key)| !key.is_ksk() && wanted.contains(key));
    missing.map(|(path, _)| format!("{}: the .private file is gone; put it back", path.display())).collect()
}

/// Index of the bundle in force at `now`, or of the first one.
fn current<B>(bundles: &[B], inception: impl Fn(&B) -> Timestamp, now: Timestamp) -> usize {
    bundles.partition_point(|bundle| inception(bundle) <= now).saturating_sub(1)
}

fn in_force(bundles: &[KsrBundle], at: Timestamp) -> Option<&KsrBundle> {
    let after = bundles.partition_point(|bundle| bundle.inception <= at);
    bundles.get(after.checked_sub(1)?)
}

/// The difference between two key sets, by key tags.
fn difference(old: &[Dnskey], new: &[Dnskey]) -> Option<String> {
    let only = |these: &[Dnskey], those: &[Dnskey]| -> BTreeSet<u16> {
        these.iter().filter(|key| !those.contains(key)).map(Dnskey::tag).collect()
    };
    let list = |tags: BTreeSet<u16>| tags.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let (gone, added) = (only(old, new), only(new, old));
    match (gone.is_empty(), added.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!("ZSK {} is not published any more", list(gone))),
        (true, false) => Some(format!("ZSK {} is published too", list(added))),
        (false, false) => Some(format!("ZSK {} is published instead of {}", list(added), list(gone))),
    }
}
