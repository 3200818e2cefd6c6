//! Removes the files of ZSKs that are over, as `purge-keys` of the policy says.
//!
//! named does the same where it manages the keys (`keymgr_key_may_be_purged` of BIND 9.20), and not with `offline-ksk yes`.

use std::collections::HashSet;

use keystore::exchange::{Bundle, Ksr};
use keystore::keys::files::{Folder, KeyFileError};
use keystore::keys::timing::RecordState;
use keystore::keys::{Dnskey, KeyFile};
use keystore::policy::Policy;
use keystore::time::Timestamp;

/// When the files of the key may be removed: `purge-keys` after its Delete. `None` for a KSK, for a key without Delete, for one whose
/// `.state` has a record that is not hidden or that is meant to be seen, and where the policy keeps all keys (0).
pub(super) fn purge_time(key: &KeyFile, policy: &Policy) -> Option<Timestamp> {
    let delete = key.timing.delete?;
    if policy.purge_keys == 0 || key.dnskey.is_ksk() {
        return None;
    }
    if let Some(state) = &key.state {
        let records = [state.dnskey.0, state.zrrsig.0, state.krrsig.0, state.ds.0];
        let is_seen = records.into_iter().flatten().any(|record| record != RecordState::Hidden);
        if is_seen || state.goal == Some(RecordState::Omnipresent) {
            return None;
        }
    }
    Some(delete.plus(u64::from(policy.purge_keys)))
}

/// The keys that some bundle of the SKR in force or of an open request names; their files stay.
#[derive(Debug, Default)]
pub(super) struct NamedKeys(HashSet<Dnskey>);

impl NamedKeys {
    /// Takes in the keys of the SKR in force.
    pub fn add_skr(&mut self, bundles: &[Bundle]) {
        self.0.extend(bundles.iter().flat_map(Bundle::keys));
    }

    /// Takes in the keys of a request.
    pub fn add_request(&mut self, request: &Ksr) {
        self.0.extend(request.bundles.iter().flat_map(|bundle| bundle.keys.iter().cloned()));
    }

    /// The keys among `keys` whose files may be removed some day, and when.
    pub fn spared<'a>(
        &self,
        keys: &'a [KeyFile],
        policy: &Policy,
    ) -> impl Iterator<Item = (&'a KeyFile, Timestamp)> {
        keys.iter()
            .filter(|key| !self.0.contains(&key.dnskey))
            .filter_map(|key| Some((key, purge_time(key, policy)?)))
    }
}

/// Removes the files of the keys that are due at `now`; gives their names, and the error that ended it.
pub(super) fn purge(
    folder: &mut Folder,
    keys: &[KeyFile],
    named: &NamedKeys,
    policy: &Policy,
    now: Timestamp,
) -> (Vec<String>, Option<KeyFileError>) {
    let mut removed = Vec::new();
    let due: Vec<&KeyFile> =
        named.spared(keys, policy).filter(|(_, time)| *time <= now).map(|(key, _)| key).collect();
    for key in due {
        match folder.remove(key) {
            Ok(()) => removed.push(key.base_name()),
            Err(error) => return (removed, Some(error)),
        }
    }
    (removed, None)
}
