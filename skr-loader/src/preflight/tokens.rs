//! The PKCS#11 tokens of the key stores: whether their URIs read, and whether those with ZSKs can be opened.

use std::collections::BTreeMap;

use keystore::config::Config;
use keystore::crypto::pkcs11::{self, TokenError};
use keystore::policy::{KeyRole, KeyStore};

use super::{Host, HostTask};

impl Host<'_> {
    /// Looks at each key store that a key entry of a zone names. The token of ZSKs is looked for, with its module and PIN file, and not
    /// logged in to, as a PIN that is wrong would use up one of its tries each time. That of KSKs is on the KSK side.
    pub(super) fn tokens(&mut self, config: &Config, work: &[HostTask]) {
        let opens = work.contains(&HostTask::MakeRequests) || work.contains(&HostTask::ServeZones);
        // By file, line and name; true for those that have keys for this process.
        let mut stores: BTreeMap<String, (&KeyStore, bool)> = BTreeMap::new();
        for entry in config.zones.iter().flat_map(|zone| &zone.policy.keys) {
            let Some(store) = &entry.key_store else { continue };
            let (_, is_here) = stores.entry(store.to_string()).or_insert((store, false));
            *is_here |= opens && entry.role == KeyRole::Zsk;
        }
        for (store, is_here) in stores.into_values() {
            match store.token() {
                Err(error) if is_here => self.error(format!("{store}: {error}")),
                Err(error) => self.warning(format!("{store}: {error}")),
                Ok(Some(uri)) if is_here => match pkcs11::look(&uri) {
                    Ok(()) if uri.pin_source.is_none() => self.warning(format!(
                        "{store}: no pin-source, and a daemon asks nobody for a PIN; name the file with the PIN in the URI"
                    )),
                    Ok(()) => {}
                    Err(error @ TokenError::NotBuilt) => self.warning(format!("{store}: {error}")),
                    Err(error) => self.error(format!("{store}: {error}")),
                },
                Ok(_) => {}
            }
        }
    }
}
