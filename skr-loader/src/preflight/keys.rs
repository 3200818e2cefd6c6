//! The private keys of the zones: those that the daemon could not read, or that others can.

use std::collections::HashMap;
use std::path::Path;

use keystore::config::Config;
use keystore::config::deliver::Method;
use keystore::keys::files::{Folder, KeyFileError};

use super::{Host, HostTask};

impl Host<'_> {
    /// Looks at the key files of each zone. No private key is decoded, and the private file of a KSK is not opened.
    pub(super) fn keys(&mut self, config: &Config, work: &[HostTask]) {
        let mut folders: HashMap<&Path, Option<Folder>> = HashMap::new();
        for zone in config.signed_zones() {
            let dir = &*zone.key_directory;
            // A folder that cannot be listed has its own finding.
            let Some(folder) = folders.entry(dir).or_insert_with(|| Folder::scan(dir).ok()) else { continue };
            let name = &zone.name;
            for path in folder.private_ksks(name) {
                self.warning(format!(
                    "zone {name}: {} is the private key of a KSK, which is meant to be offline; move it to the KSK side",
                    path.display()
                ));
            }
            let beside_named =
                config.deliver.iter().any(|target| matches!(target.method, Method::Named { .. }));
            // Who only accepts SKRs can do without the private keys, as another user than the signer.
            let found = if work.contains(&HostTask::MakeRequests) || work.contains(&HostTask::ServeZones) {
                folder.find_online(name)
            } else {
                folder.find_sealed(name)
            };
            for error in found.skipped.iter().chain(&found.warnings()) {
                match error {
                    KeyFileError::NoState { .. } => {}
                    KeyFileError::StopsNamed { .. } if !beside_named => {}
                    KeyFileError::Permissions { .. } => {
                        self.error(format!("zone {name}: {error}; until then nothing is signed with it"));
                    }
                    denied if denied.is_denied() => self.error(format!(
                        "zone {name}: {denied}; nothing can be signed with this key before the user of the daemon may read it (chown it)"
                    )),
                    other => self.warning(format!("zone {name}: {other}")),
                }
            }
        }
    }
}
