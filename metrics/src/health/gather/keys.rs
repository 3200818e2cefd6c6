//! The key files, read again when they have changed. No private key is opened, only its times where it is a ZSK's.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use keystore::dns::Name;
use keystore::keys::Dnskey;
use keystore::keys::files::{Folder, KeyFileError};

use super::{Host, HostZone, retain_zones};
use crate::health::facts::{BundleKey, KeyFacts, KeySetFacts};

/// The key folders, and what was read of each zone.
#[derive(Debug, Default)]
pub(super) struct KeyGatherer {
    folders: HashMap<PathBuf, Result<Folder, KeyFileError>>,
    zones: HashMap<Name, (u64, Arc<KeyFacts>)>,
}

impl KeyGatherer {
    /// Begins a look: the names in each folder are read where they have changed.
    pub fn begin(&mut self, host: &Host) {
        let mut before = std::mem::take(&mut self.folders);
        for dir in host.zones.iter().filter_map(|zone| zone.key_directory.as_ref()) {
            if self.folders.contains_key(dir) {
                continue;
            }
            let folder = match before.remove(dir) {
                Some(Ok(mut folder)) => folder.refresh().map(|()| folder),
                Some(Err(_)) | None => Folder::scan(dir),
            };
            self.folders.insert(dir.clone(), folder);
        }
        retain_zones(&mut self.zones, host);
    }

    /// The key files of a zone. `signs` = this process signs, so that what it may not read it cannot sign with.
    pub fn look(&mut self, zone: &HostZone, signs: bool) -> Arc<KeyFacts> {
        let folder = match zone.key_directory.as_ref().and_then(|dir| self.folders.get(dir)) {
            Some(Ok(folder)) => folder,
            Some(Err(error)) => {
                return Arc::new(KeyFacts { folder_error: Some(error.to_string()), ..KeyFacts::default() });
            }
            None => return Arc::default(),
        };
        let mark = folder.mark(&zone.name);
        if let Some((known, facts)) = self.zones.get(&zone.name)
            && *known == mark
        {
            return Arc::clone(facts);
        }
        let facts = Arc::new(read(folder, &zone.name, zone.is_served, signs));
        self.zones.insert(zone.name.clone(), (mark, Arc::clone(&facts)));
        facts
    }
}

fn read(folder: &Folder, zone: &Name, is_served: bool, signs: bool) -> KeyFacts {
    let found = folder.find_sealed(zone);
    let mut unreadable: Vec<(BundleKey, String)> = Vec::new();
    if signs {
        let sealed = found.keys.iter().filter(|key| found.sealed.contains(&key.dnskey));
        unreadable.extend(sealed.map(|key| {
            (
                bundle_key(&key.dnskey),
                format!("{} may not be read by the signer", key.private_path().display()),
            )
        }));
    }
    if is_served {
        for warning in found.warnings() {
            let KeyFileError::Permissions { path, .. } = &warning else { continue };
            let key = found.keys.iter().find(|key| !key.dnskey.is_ksk() && key.private_path() == *path);
            unreadable.extend(key.map(|key| (bundle_key(&key.dnskey), warning.to_string())));
        }
    }
    let lone = folder.without_private(zone).into_iter().filter(|(_, key)| !key.is_ksk());
    KeyFacts {
        private_ksks: folder.private_ksks(zone),
        damaged: found.skipped.iter().map(ToString::to_string).collect(),
        without_private: lone.map(|(path, key)| (path, bundle_key(&key))).collect(),
        unreadable,
        keys: found
            .keys
            .iter()
            .map(|key| KeySetFacts { key: bundle_key(&key.dnskey), timing: key.timing })
            .collect(),
        folder_error: None,
    }
}

fn bundle_key(key: &Dnskey) -> BundleKey {
    BundleKey { tag: key.tag(), algorithm: key.algorithm.0, is_ksk: key.is_ksk() }
}
