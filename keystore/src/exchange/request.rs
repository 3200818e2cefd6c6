//! The bundles of a request, from the key files of a zone.

use super::KsrBundle;
use crate::dns::Name;
use crate::keys::KeyFile;
use crate::keys::plan::{Interval, MOST_STEPS, PlanError, check_interval, matches};
use crate::policy::{KeyRole, Policy};

/// BIND's `request`: the bundles from `start` to `end` (included), a new one at each Publish and Delete of any key.
///
/// `keys` is sorted by algorithm and tag. A key that two entries of the policy match is listed once (BIND lists it twice).
pub fn bundles(
    keys: &[KeyFile],
    zone: &Name,
    policy: &Policy,
    interval: Interval,
) -> Result<Vec<KsrBundle>, PlanError> {
    check_interval(interval, true)?;
    let mut out = Vec::new();
    let mut at = interval.start;
    while at <= interval.end {
        if out.len() >= MOST_STEPS {
            return Err(PlanError::TooMany);
        }
        let mut bundle =
            KsrBundle { inception: at, ttl: policy.dnskey_ttl, keys: Vec::new(), proofs: Vec::new() };
        for entry in policy.keys.iter().filter(|entry| entry.role == KeyRole::Zsk) {
            let mut found = false;
            for key in keys.iter().filter(|key| matches(entry, key) && key.timing.is_published(at)) {
                found = true;
                if !bundle.keys.contains(&key.dnskey) {
                    bundle.keys.push(key.dnskey.clone());
                }
            }
            if !found {
                let text = zone.to_string();
                let zone = text.strip_suffix('.').filter(|z| !z.is_empty()).unwrap_or(&text).to_owned();
                return Err(PlanError::NoZsk { zone, algorithm: entry.algorithm, bundle: at });
            }
        }
        out.push(bundle);
        at = keys
            .iter()
            .flat_map(|key| [key.timing.publish, key.timing.delete])
            .flatten()
            .filter(|t| *t > at && *t <= interval.end)
            .min()
            .unwrap_or_else(|| interval.end.plus(1));
    }
    Ok(out)
}
