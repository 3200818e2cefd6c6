//! The accepted store, read again when it has changed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use keystore::dns::Name;
use keystore::exchange::bind;
use keystore::store::{self, AcceptedMark};

use super::{Host, retain_zones};
use crate::health::facts::{BundleFacts, BundleKey, ScheduleFacts, StoreFacts};

/// What was read of each zone.
#[derive(Debug, Default)]
pub(super) struct Accepted(HashMap<Name, (Option<AcceptedMark>, Arc<StoreFacts>)>);

impl Accepted {
    pub fn look(&mut self, accepted: &Path, zone: &Name) -> Arc<StoreFacts> {
        let before = self.0.get(zone);
        let mark = store::accepted_mark(accepted, zone);
        if let Some((known, facts)) = before
            && *known == mark
            && facts.error.is_none()
        {
            return Arc::clone(facts);
        }
        let mut facts = read(accepted, zone);
        if facts.error.is_some() {
            // What runs goes on with what it has.
            facts.schedule = before.and_then(|(_, facts)| facts.schedule.clone());
        }
        let facts = Arc::new(facts);
        self.0.insert(zone.clone(), (mark, Arc::clone(&facts)));
        facts
    }

    pub fn forget_others(&mut self, host: &Host) {
        retain_zones(&mut self.0, host);
    }
}

fn read(accepted: &Path, zone: &Name) -> StoreFacts {
    let failed = |error: String| StoreFacts { schedule: None, error: Some(error) };
    let current = match store::read_current(accepted, zone) {
        Ok(Some(current)) => current,
        Ok(None) => return StoreFacts { schedule: None, error: lost(accepted, zone) },
        Err(error) => return failed(error.to_string()),
    };
    let skr = match bind::parse_skr(&current.octets, zone) {
        Ok(skr) => skr,
        Err(error) => return failed(format!("generation {}: {error}", current.generation)),
    };
    let mut bundles: Vec<BundleFacts> = skr
        .bundles
        .iter()
        .map(|bundle| BundleFacts {
            inception: bundle.inception,
            expiration: bundle.expiration(),
            keys: bundle
                .keys()
                .map(|key| BundleKey { tag: key.tag(), algorithm: key.algorithm.0, is_ksk: key.is_ksk() })
                .collect(),
        })
        .collect();
    bundles.sort_by_key(|bundle| bundle.inception);
    StoreFacts { schedule: Some(ScheduleFacts { generation: current.generation, bundles }), error: None }
}

/// A store that is gone was not always empty: the folder of all zones after a loader has run, or `current` beside generations.
fn lost(accepted: &Path, zone: &Name) -> Option<String> {
    let dir = store::zone_dir(accepted, zone);
    let has_run = accepted.parent().is_some_and(|state_dir| state_dir.join("audit.jsonl").exists());
    if has_run && !accepted.is_dir() {
        return Some(format!("{}: is missing, although a loader has run here", accepted.display()));
    }
    let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let mut generations = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "skr"));
    generations.next()?;
    Some(format!("{}: is missing, although generations lie there", dir.join(store::CURRENT).display()))
}
