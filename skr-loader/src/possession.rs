//! Which ZSKs a request proves to be held: for a loader that may not read private keys.

use std::path::Path;

use keystore::dns::Name;
use keystore::exchange::{Ksr, possession};
use keystore::keys::Dnskey;
use keystore::keys::files::Found;
use keystore::store::zone_dir;

use crate::loader::import::requests_in;

/// Answered requests that are looked at, newest first: those that the SKRs in force answer are among them.
const ANSWERED: usize = 8;

/// The keys of [`Found::sealed`] that an open or answered request of the zone proves.
pub fn proven(state_dir: &Path, zone: &Name, keys: &Found, open: &[Ksr]) -> Vec<Dnskey> {
    let mut proven = of_requests(keys, open);
    if proven.len() < keys.sealed.len() {
        let answered = zone_dir(&state_dir.join("outbox"), zone).join("answered");
        proven.extend(of_requests(keys, &requests_in(&answered, zone, ANSWERED)));
    }
    proven
}

/// The keys of [`Found::sealed`] that one of these requests proves.
pub fn of_requests(keys: &Found, requests: &[Ksr]) -> Vec<Dnskey> {
    if keys.sealed.is_empty() {
        return Vec::new();
    }
    let mut proven = Vec::new();
    for ksr in requests {
        let flaws = possession::check(ksr);
        for key in &keys.sealed {
            let mut bundles = ksr.bundles.iter().filter(|bundle| bundle.keys.contains(key)).peekable();
            let is_there = bundles.peek().is_some();
            let good = is_there && !flaws.iter().any(|flaw| flaw.key == *key);
            if good && !proven.contains(key) {
                proven.push(key.clone());
            }
        }
    }
    proven
}
