//! The ZSKs of a zone: which are there, which sign at a time, and their private parts.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use keystore::crypto::SigningKey;
use keystore::dns::Name;
use keystore::exchange::{Bundle, VerifiedSkr};
use keystore::keys::files::{KeyFile, KeyFileError};
use keystore::keys::{Dnskey, Timing};
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::zones::KEY_STATES;

use super::folders::KeyFolders;
use super::retry::Retry;
use super::served::label;
use super::watch::Stamp;
use crate::signing::ZoneKey;

/// The key files of a zone.
pub struct Keyring {
    zone: Name,
    dir: PathBuf,
    folders: Arc<KeyFolders>,
    /// The zone's files as they were when the folder was last read.
    seen: Option<Vec<(OsString, Stamp)>>,
    /// Set while a folder or file could not be opened or read.
    retry: Retry,
    /// The first of the errors for which the folder is read again.
    unreadable: Option<String>,
    /// Usable key sets. Of KSKs only the public part is ever read.
    keys: Vec<KeyFile>,
    /// Sets that did not read.
    damaged: usize,
    /// Private parts by key; an error counts as damage until the files change.
    private: HashMap<Dnskey, Option<Arc<dyn SigningKey>>>,
    /// ZSKs of the schedule that are not here.
    missing: usize,
    /// Keys that have series of their own: role, tag, algorithm.
    labelled: BTreeSet<[String; 3]>,
}

impl Keyring {
    /// A ring of the keys of `zone` in `dir`; nothing is read before [`Self::poll`].
    #[must_use]
    pub fn new(zone: Name, dir: PathBuf) -> Self {
        Self::sharing(zone, dir, Arc::default())
    }

    /// The same, with listings of folders that other zones use as well.
    pub(super) fn sharing(zone: Name, dir: PathBuf, folders: Arc<KeyFolders>) -> Self {
        Self {
            zone,
            dir,
            folders,
            seen: None,
            retry: Retry::default(),
            unreadable: None,
            keys: Vec::new(),
            damaged: 0,
            private: HashMap::new(),
            missing: 0,
            labelled: BTreeSet::new(),
        }
    }

    /// Reads the folder again when one of the zone's files changed, or when an earlier read failed for a passing reason and is due
    /// again; true when it did.
    pub fn poll(&mut self, now: Timestamp) -> bool {
        // A folder that cannot be listed is reported by the reading that follows.
        let files = self.folders.files(&self.dir, &self.zone, now).ok();
        if files.is_some() && self.seen == files && !self.retry.is_due(now) {
            return false;
        }
        if files.is_none() && self.unreadable.is_some() && !self.retry.is_due(now) {
            return false;
        }
        self.seen = files;
        self.unreadable = None;
        match self.folders.find_online(&self.dir, &self.zone, now) {
            Ok(found) => {
                for error in &found.skipped {
                    tracing::error!(zone = %self.zone, %error, "a key is not used");
                    self.note_unreadable(error);
                }
                self.damaged = found.skipped.len();
                self.keys = found.keys;
            }
            Err(error) => {
                tracing::error!(zone = %self.zone, %error, "the key folder cannot be read; the keys known so far are used");
                self.note_unreadable(&error);
            }
        }
        if self.unreadable.is_some() {
            self.retry.failed(now);
        } else {
            self.retry.settled();
        }
        for ksk in self.keys.iter().filter(|key| key.dnskey.is_ksk()) {
            tracing::error!(
                zone = %self.zone, file = %ksk.path("private").display(),
                "the private key of a KSK lies on this host; it is not opened. Move it to the offline side, and treat it as exposed"
            );
        }
        // What did not load may load now; what did is kept as long as its files are there.
        self.private.retain(|dnskey, key| key.is_some() && self.keys.iter().any(|k| k.dnskey == *dnskey));
        true
    }

    /// The error for which the key folder is read again soon; `None` when all that is there could be opened and read.
    #[must_use]
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    fn note_unreadable(&mut self, error: &KeyFileError) {
        if matches!(error, KeyFileError::Io { .. }) {
            self.unreadable.get_or_insert_with(|| error.to_string());
        }
    }

    /// The ZSKs that sign at `now` with the key set of `bundle`: active by their times, published in the bundle, private part
    /// readable.
    pub fn active(&mut self, bundle: &Bundle, now: Timestamp) -> Vec<ZoneKey> {
        let published: Vec<Dnskey> = bundle.keys().collect();
        let due: Vec<KeyFile> = self
            .keys
            .iter()
            .filter(|key| {
                !key.dnskey.is_ksk() && key.timing.is_active(now) && published.contains(&key.dnskey)
            })
            .cloned()
            .collect();
        due.iter()
            .filter_map(|key| Some(ZoneKey { dnskey: key.dnskey.clone(), signer: self.private(key, now)? }))
            .collect()
    }

    fn private(&mut self, key: &KeyFile, now: Timestamp) -> Option<Arc<dyn SigningKey>> {
        if let Some(known) = self.private.get(&key.dnskey) {
            return known.clone();
        }
        let loaded = match key.load_private() {
            Ok(signer) => Some(Arc::from(signer)),
            Err(error) => {
                tracing::error!(zone = %self.zone, key = key.dnskey.tag(), %error, "a ZSK cannot sign");
                if self.unreadable.is_none() && matches!(error, KeyFileError::Io { .. }) {
                    self.note_unreadable(&error);
                    self.retry.failed(now);
                }
                None
            }
        };
        self.private.insert(key.dnskey.clone(), loaded.clone());
        loaded
    }

    /// The first time after `now` at which a ZSK comes into another state, or the folder is read again after an error.
    pub fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self
            .keys
            .iter()
            .filter(|k| !k.dnskey.is_ksk())
            .flat_map(|k| events(&k.timing).map(|(_, time)| time));
        times.flatten().chain(self.retry.at()).filter(|t| *t > now).min()
    }

    /// Sets the series of keys and key files.
    pub fn report(&mut self, now: Timestamp, metrics: &Metrics) {
        let zone = label(&self.zone);
        let zone = zone.as_str();
        let mut labelled = BTreeSet::new();
        let mut counts: HashMap<(&str, &str), i64> = HashMap::new();
        for key in &self.keys {
            let role = role(&key.dnskey);
            let tag = key.dnskey.tag().to_string();
            let algorithm = key.dnskey.algorithm.to_string();
            metrics.key_info.with_label_values(&[zone, role, &tag, &algorithm]).set(1);
            for (event, time) in events(&key.timing) {
                let seconds = time.map_or(0, |t| t.secs().cast_signed());
                metrics
                    .key_timing_timestamp_seconds
                    .with_label_values(&[zone, role, &tag, event])
                    .set(seconds);
            }
            *counts.entry((role, state(&key.timing, now))).or_default() += 1;
            labelled.insert([role.to_owned(), tag, algorithm]);
        }
        self.label_only(labelled, metrics);
        for role in metrics::zones::ROLES {
            for state in KEY_STATES {
                let count = counts.get(&(role, state)).copied().unwrap_or(0);
                metrics.keys.with_label_values(&[zone, role, state]).set(count);
            }
        }
        let unreadable = self.private.values().filter(|key| key.is_none()).count();
        let ksks = self.keys.iter().filter(|key| key.dnskey.is_ksk()).count();
        let gauge = |family: &metrics::values::GaugeFamily, value: usize| {
            family.with_label_values(&[zone]).set(value as i64);
        };
        gauge(&metrics.keystore_mismatched_keys, self.damaged + unreadable);
        gauge(&metrics.keystore_missing_private_keys, self.missing);
        gauge(&metrics.keystore_ksk_private_files, ksks);
        self.report_check(now, metrics);
    }

    /// Sets the time of the last look at the key files.
    pub(super) fn report_check(&self, now: Timestamp, metrics: &Metrics) {
        let family = &metrics.keystore_last_check_timestamp_seconds;
        family.with_label_values(&[label(&self.zone).as_str()]).set(now.secs().cast_signed());
    }

    /// Removes the series of single keys.
    pub(super) fn forget_series(&mut self, metrics: &Metrics) {
        self.label_only(BTreeSet::new(), metrics);
    }

    /// Removes the series of every key but these.
    fn label_only(&mut self, labelled: BTreeSet<[String; 3]>, metrics: &Metrics) {
        let zone = label(&self.zone);
        for [role, tag, algorithm] in self.labelled.difference(&labelled) {
            // An error says that the series did not exist, which is the aim.
            metrics.key_info.remove(&[&zone, role, tag, algorithm]);
            for (event, _) in events(&Timing::default()) {
                metrics.key_timing_timestamp_seconds.remove(&[&zone, role, tag, event]);
            }
        }
        self.labelled = labelled;
    }

    /// Counts the ZSKs of the bundle in force and of those to come that are not here.
    pub fn count_missing(&mut self, skr: &VerifiedSkr, now: Timestamp) {
        let from = skr.bundle_at(now).map_or(Timestamp::EPOCH, |b| b.inception);
        let ahead = skr.bundles().iter().filter(|b| b.inception >= from);
        let scheduled: BTreeSet<Dnskey> = ahead.flat_map(Bundle::keys).filter(|key| !key.is_ksk()).collect();
        self.missing =
            scheduled.iter().filter(|wanted| !self.keys.iter().any(|key| key.dnskey == **wanted)).count();
    }
}

const fn role(key: &Dnskey) -> &'static str {
    if key.is_ksk() { "ksk" } else { "zsk" }
}

fn events(timing: &Timing) -> [(&'static str, Option<Timestamp>); 4] {
    [
        ("publish", timing.publish),
        ("activate", timing.activate),
        ("inactive", timing.inactive),
        ("delete", timing.delete),
    ]
}

/// One of [`KEY_STATES`].
fn state(timing: &Timing, now: Timestamp) -> &'static str {
    let reached = |time: Option<Timestamp>| time.is_some_and(|t| t <= now);
    if reached(timing.delete) {
        "removed"
    } else if reached(timing.inactive) {
        "retired"
    } else if reached(timing.activate) {
        "active"
    } else if reached(timing.publish) {
        "published"
    } else {
        "future"
    }
}
