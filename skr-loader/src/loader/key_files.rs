//! The look at the key files for the metrics (`keystore_…`), in a process where neither signer nor request timer does it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use keystore::dns::Name;
use keystore::keys::files::Folder;
use keystore::time::Timestamp;
use metrics::zones::ReportingPart;

use super::Loader;

/// Seconds between two looks; a look reads only what has changed.
const INTERVAL: u64 = 60;

/// What the last look saw.
#[derive(Debug, Default)]
pub(super) struct KeyFileWatch {
    enabled: bool,
    last: Option<Timestamp>,
    folders: HashMap<PathBuf, Folder>,
    zones: BTreeMap<Name, Seen>,
}

/// The key files of one zone.
#[derive(Debug)]
struct Seen {
    label: String,
    /// See [`Folder::mark`]; `None` when the folder was not readable.
    mark: Option<u64>,
    private_ksks: usize,
}

impl Loader {
    /// Lets the loader count damaged key files and private KSKs: for a process in which nobody else does.
    pub fn watch_key_files(&mut self) {
        self.key_files.enabled = true;
    }

    /// Looks at the key folders of all zones, when that is due.
    pub(super) fn look_at_key_files(&mut self, now: Timestamp) {
        let seen = &mut self.key_files;
        // A clock that went back must not delay it.
        let waits = seen.last.is_some_and(|last| now >= last && now.since(last) < INTERVAL);
        if !seen.enabled || waits {
            return;
        }
        seen.last = Some(now);
        let metrics = &self.metrics;
        let zones = &self.zones;
        seen.zones.retain(|name, zone| {
            let stays = zones.contains_key(name);
            if !stays {
                metrics.remove_zone(&zone.label, ReportingPart::KeyFiles);
            }
            stays
        });
        let mut unreadable = Vec::new();
        let mut folders = HashMap::new();
        for zone in zones.values() {
            let dir = &zone.config.key_directory;
            if folders.contains_key(dir) || unreadable.contains(dir) {
                continue;
            }
            let folder = match seen.folders.remove(dir) {
                Some(mut folder) => folder.refresh().map(|()| folder),
                None => Folder::scan(dir),
            };
            match folder {
                Ok(folder) => drop(folders.insert(dir.clone(), folder)),
                Err(error) => {
                    tracing::error!(%error, "the key folder does not read");
                    unreadable.push(dir.clone());
                }
            }
        }
        for (name, zone) in zones {
            let before = seen.zones.get(name);
            if before.is_none() {
                metrics.add_zone(&zone.label, ReportingPart::KeyFiles);
            }
            let folder = folders.get(&zone.config.key_directory);
            let mark = folder.map(|folder| folder.mark(name));
            if mark.is_some() && before.is_some_and(|before| before.mark == mark) {
                continue;
            }
            let (damaged, private_ksks) = match folder {
                Some(folder) => (folder.find_sealed(name).skipped.len(), folder.private_ksks(name).len()),
                None => (1, 0),
            };
            if private_ksks > before.map_or(0, |before| before.private_ksks) {
                tracing::error!(
                    zone = zone.label,
                    files = private_ksks,
                    "a private KSK lies in the key folder of this host; move it away"
                );
            }
            let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            metrics.keystore_mismatched_keys.with_label_values(&[&zone.label]).set(number(damaged));
            metrics.keystore_ksk_private_files.with_label_values(&[&zone.label]).set(number(private_ksks));
            seen.zones.insert(name.clone(), Seen { label: zone.label.clone(), mark, private_ksks });
        }
        seen.folders = folders;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use keystore::exchange::testing::TestKey;
    use keystore::keys::Timing;
    use metrics::Metrics;

    use super::*;
    use crate::testing::{StateDir, ZONE, start, write_key};

    #[test]
    fn damaged_sets_and_private_ksks_are_counted_and_followed() {
        let state = StateDir::new();
        let metrics = Metrics::new().unwrap();
        let mut loader = Loader::new(state.config(), metrics.clone()).unwrap();
        let text = || metrics.encode().unwrap();
        let value = |family: &str| {
            let series = format!("offlineksk_keystore_{family}{{zone=\"{ZONE}\"}} ");
            text().lines().find_map(|l| l.strip_prefix(&series).map(str::to_owned))
        };
        let counts = || (value("mismatched_keys"), value("ksk_private_files"));
        let is = |damaged: &str, ksks: &str| (Some(damaged.to_owned()), Some(ksks.to_owned()));

        loader.step(start());
        assert_eq!(counts(), (None, None), "another part of the process does it");
        loader.watch_key_files();
        loader.step(start());
        assert_eq!(counts(), is("0", "0"));

        let ksk = write_key(&state.path("keys"), &TestKey::ksk(7), 7, Timing::default());
        loader.step(start().plus(INTERVAL - 1));
        assert_eq!(counts(), is("0", "0"), "not due yet");
        loader.step(start().plus(INTERVAL));
        assert_eq!(counts(), is("0", "1"));
        fs::remove_file(ksk.path("private")).unwrap();
        fs::write(ksk.path("key"), "garbage").unwrap();
        let zsk = fs::read_dir(state.path("keys")).unwrap().map(|e| e.unwrap().path());
        let zsk: Vec<_> = zsk.filter(|p| p.extension().is_some_and(|e| e == "private")).collect();
        let whole = fs::read(&zsk[0]).unwrap();
        fs::write(&zsk[0], &whole[..20]).unwrap();
        loader.step(start().plus(2 * INTERVAL));
        assert_eq!(counts(), is("1", "0"));
        fs::write(&zsk[0], &whole).unwrap();
        loader.step(start().plus(3 * INTERVAL));
        assert_eq!(counts(), is("0", "0"));
        // A folder that does not read is damage, too; one that is back is looked at anew.
        fs::rename(state.path("keys"), state.path("away")).unwrap();
        loader.step(start().plus(4 * INTERVAL));
        assert_eq!(counts(), is("1", "0"));
        fs::rename(state.path("away"), state.path("keys")).unwrap();
        loader.step(start().plus(5 * INTERVAL));
        assert_eq!(counts(), is("0", "0"));

        let mut config = state.config();
        config.zones.clear();
        loader.reload(config, start()).unwrap();
        loader.step(start().plus(6 * INTERVAL));
        assert_eq!(counts(), (None, None), "it goes with its zone");
    }
}
