//! The ZSKs of a zone: which are there, which sign at a time, and their private parts.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use keystore::crypto::{SignError, SigningKey};
use keystore::dns::Name;
use keystore::exchange::{Bundle, VerifiedSkr};
use keystore::keys::files::{KeyFile, KeyFileError};
use keystore::keys::{Dnskey, Timing};
use keystore::retry::Retry;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::zones::KEY_STATES;

use super::folders::KeyFolders;
use super::watch::Stamp;
use crate::signing::ZoneKey;

/// Opens the private part of a key; [`KeyFile::load_private`] outside of tests.
pub(super) type KeyLoader = fn(&KeyFile) -> Result<Box<dyn SigningKey>, KeyFileError>;

/// The key files of a zone.
pub struct Keyring {
    zone: Name,
    dir: PathBuf,
    folders: Arc<KeyFolders>,
    /// The zone's files as they were when the folder was last read.
    seen: Option<Vec<(OsString, Stamp)>>,
    /// Set while the folder or a file in it could not be opened or read.
    retry: Retry,
    /// The first of the errors for which the folder is read again.
    unreadable: Option<String>,
    /// Usable key sets. Of KSKs only the public part is ever read.
    keys: Vec<KeyFile>,
    /// When the folder was looked at ahead of [`Self::poll`], and whether something new was seen.
    looked_ahead: Option<(Timestamp, bool)>,
    /// A ZSK is in a token.
    in_token: bool,
    /// A ZSK's file could not be read for that, so that [`Self::in_token`] is as it was before.
    in_token_is_old: bool,
    /// Sets that did not read.
    damaged: usize,
    /// What was said of the folder at the last look, so that a look that finds the same says nothing.
    told: BTreeSet<String>,
    private: HashMap<Dnskey, PrivatePart>,
    load: KeyLoader,
    /// ZSKs of the schedule that are not here.
    missing: usize,
    /// Keys that have series of their own: role, tag, algorithm.
    labelled: Vec<[String; 3]>,
}

/// The private part of a key.
enum PrivatePart {
    /// It can sign.
    Ready(Arc<dyn SigningKey>),
    /// It could not be opened, or ceased to sign, for a passing reason: it is opened again when the retry is due.
    Waits { retry: Retry, cause: String },
    /// It is of no use until the files change.
    Refused { cause: String },
}

impl PrivatePart {
    fn signer(&self) -> Option<Arc<dyn SigningKey>> {
        match self {
            Self::Ready(signer) => Some(Arc::clone(signer)),
            Self::Waits { .. } | Self::Refused { .. } => None,
        }
    }
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
            looked_ahead: None,
            in_token: false,
            in_token_is_old: false,
            damaged: 0,
            told: BTreeSet::new(),
            private: HashMap::new(),
            load: KeyFile::load_private,
            missing: 0,
            labelled: Vec::new(),
        }
    }

    /// The same, with private parts opened by `load`.
    #[cfg(test)]
    pub(super) fn with_loader(self, load: KeyLoader) -> Self {
        Self { load, ..self }
    }

    /// Reads the folder again when one of the zone's files changed, or when an earlier read failed for a passing reason and is due
    /// again, and opens private parts again that are due; true when there is something new.
    pub fn poll(&mut self, now: Timestamp) -> bool {
        let (looked_at, news) = self.looked_ahead.take().unzip();
        let news = (looked_at != Some(now) && self.look(now)) || news == Some(true);
        self.retry_private(now) || news
    }

    /// True when a ZSK is in a token, by its file: no token is opened. The next [`Self::poll`] tells what was new.
    pub(super) fn is_in_token(&mut self, now: Timestamp) -> bool {
        let news = self.looked_ahead.is_some_and(|(_, news)| news);
        self.looked_ahead = Some((now, self.look(now) || news));
        self.in_token
    }

    /// Reads the folder again where that is due; true when there is something new.
    fn look(&mut self, now: Timestamp) -> bool {
        let read = self.poll_folder(now);
        if read || self.in_token_is_old {
            // What cannot be read is told when the key is opened.
            let zsks = self.keys.iter().filter(|key| !key.dnskey.is_ksk());
            let found: Vec<Option<bool>> =
                zsks.map(|key| key.in_token().ok().map(|uri| uri.is_some())).collect();
            self.in_token_is_old = !found.contains(&Some(true)) && found.contains(&None);
            if !self.in_token_is_old {
                self.in_token = found.contains(&Some(true));
            }
        }
        read
    }

    fn poll_folder(&mut self, now: Timestamp) -> bool {
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
        let mut messages = BTreeSet::new();
        match self.folders.find_online(&self.dir, &self.zone, now) {
            Ok(found) => {
                self.damaged = found.skipped.len();
                let kept = kept_keys(&self.keys, &found.keys, &found.skipped);
                self.keys = found.keys;
                self.keys.extend(kept);
                for error in found.skipped {
                    // A passing error is a condition of the zone, which tells it.
                    if error.is_passing() {
                        self.unreadable.get_or_insert_with(|| error.to_string());
                    } else {
                        messages.insert(format!("{error}; this key is not used"));
                    }
                }
            }
            Err(error) => self.unreadable = Some(format!("{error}; the keys known so far are used")),
        }
        if self.unreadable.is_some() {
            self.retry.failed(now);
        } else {
            self.retry.settled();
        }
        messages.extend(self.keys.iter().filter(|key| key.dnskey.is_ksk()).map(|ksk| {
            format!(
                "{}: the private key of a KSK lies on this host; it is not opened. Move it to the offline side, and treat it as exposed",
                ksk.path("private").display()
            )
        }));
        for message in messages.difference(&self.told) {
            tracing::error!(zone = %self.zone, "{message}");
        }
        self.told = messages;
        // What did not load may load now; what did is kept as long as its files are there.
        self.private.retain(|dnskey, part| {
            matches!(part, PrivatePart::Ready(_)) && self.keys.iter().any(|k| k.dnskey == *dnskey)
        });
        true
    }

    /// Opens the private parts that wait and are due; true when one can sign now.
    fn retry_private(&mut self, now: Timestamp) -> bool {
        let due = |key: &&KeyFile| matches!(self.private.get(&key.dnskey), Some(PrivatePart::Waits { retry, .. }) if retry.is_due(now));
        let due: Vec<KeyFile> = self.keys.iter().filter(due).cloned().collect();
        let mut ready = false;
        for key in due {
            ready |= self.open_private(&key, now).is_some();
        }
        ready
    }

    /// The error for which a folder, file or token is tried again soon; `None` when all that is there could be opened and read.
    #[must_use]
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref().or_else(|| {
            self.keys.iter().find_map(|key| match self.private.get(&key.dnskey) {
                Some(PrivatePart::Waits { cause, .. }) => Some(cause.as_str()),
                _ => None,
            })
        })
    }

    /// Why keys that were due to sign cannot, and why the folder cannot be read, one sentence each.
    pub(super) fn errors(&self) -> Vec<String> {
        let parts = self.keys.iter().filter_map(|key| match self.private.get(&key.dnskey)? {
            PrivatePart::Waits { cause, .. } | PrivatePart::Refused { cause } => Some(cause),
            PrivatePart::Ready(_) => None,
        });
        self.unreadable.iter().chain(parts).cloned().collect()
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

    /// The times of a key that is here.
    pub(super) fn timing(&self, dnskey: &Dnskey) -> Option<&Timing> {
        self.keys.iter().find(|key| key.dnskey == *dnskey).map(|key| &key.timing)
    }

    /// The key pair with this DNSKEY, whatever its times are, when it is here and its private part is readable.
    pub(super) fn pair(&mut self, dnskey: &Dnskey, now: Timestamp) -> Option<ZoneKey> {
        let key = self.keys.iter().find(|key| key.dnskey == *dnskey && !key.dnskey.is_ksk())?.clone();
        Some(ZoneKey { dnskey: key.dnskey.clone(), signer: self.private(&key, now)? })
    }

    fn private(&mut self, key: &KeyFile, now: Timestamp) -> Option<Arc<dyn SigningKey>> {
        match self.private.get(&key.dnskey) {
            Some(known) => known.signer(),
            None => self.open_private(key, now),
        }
    }

    /// Opens a private part, and remembers how that went.
    fn open_private(&mut self, key: &KeyFile, now: Timestamp) -> Option<Arc<dyn SigningKey>> {
        let part = match (self.load)(key) {
            Ok(signer) => PrivatePart::Ready(Arc::from(signer)),
            Err(error) if error.is_passing() => self.waiting(key, error.to_string(), now),
            Err(error) => {
                tracing::error!(zone = %self.zone, key = key.dnskey.tag(), %error, "a ZSK cannot sign");
                PrivatePart::Refused { cause: error.to_string() }
            }
        };
        let signer = part.signer();
        self.private.insert(key.dnskey.clone(), part);
        signer
    }

    /// The state of a private part that failed at `now`, by the state that it had.
    fn waiting(&self, key: &KeyFile, cause: String, now: Timestamp) -> PrivatePart {
        let mut retry = match self.private.get(&key.dnskey) {
            Some(PrivatePart::Waits { retry, .. }) => *retry,
            _ => Retry::default(),
        };
        retry.failed(now);
        PrivatePart::Waits { retry, cause }
    }

    /// Takes note that the keys of this tag failed to sign: after a passing error (a token that was reset) they are opened again.
    pub(super) fn signing_failed(&mut self, tag: u16, error: &SignError, now: Timestamp) {
        if !error.is_passing() {
            return;
        }
        for key in self.keys.iter().filter(|key| key.dnskey.tag() == tag) {
            if matches!(self.private.get(&key.dnskey), Some(PrivatePart::Ready(_))) {
                let part = self.waiting(key, format!("signing with key {tag} failed: {error}"), now);
                self.private.insert(key.dnskey.clone(), part);
            }
        }
    }

    /// The first time after `now` at which a ZSK comes into another state, or the folder is read again after an error.
    pub fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self
            .keys
            .iter()
            .filter(|k| !k.dnskey.is_ksk())
            .flat_map(|k| events(&k.timing).map(|(_, time)| time));
        let retries = self.private.values().filter_map(|part| match part {
            PrivatePart::Waits { retry, .. } => retry.at(),
            PrivatePart::Ready(_) | PrivatePart::Refused { .. } => None,
        });
        times.flatten().chain(self.retry.at()).chain(retries).filter(|t| *t > now).min()
    }

    /// Sets the series of keys and key files.
    pub fn report(&mut self, now: Timestamp, metrics: &Metrics) {
        let zone = self.zone.zone_label();
        let zone = zone.as_str();
        let mut labelled = Vec::with_capacity(self.keys.len());
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
            labelled.push([role.to_owned(), tag, algorithm]);
        }
        self.label_only(labelled, metrics);
        for role in metrics::zones::ROLES {
            for state in KEY_STATES {
                let count = counts.get(&(role, state)).copied().unwrap_or(0);
                metrics.keys.with_label_values(&[zone, role, state]).set(count);
            }
        }
        let unreadable = self.private.values().filter(|part| part.signer().is_none()).count();
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
        family.with_label_values(&[self.zone.zone_label().as_str()]).set(now.secs().cast_signed());
    }

    /// Removes the series of single keys.
    pub(super) fn forget_series(&mut self, metrics: &Metrics) {
        self.label_only(Vec::new(), metrics);
    }

    /// Removes the series of every key but these.
    fn label_only(&mut self, labelled: Vec<[String; 3]>, metrics: &Metrics) {
        let zone = self.zone.zone_label();
        for [role, tag, algorithm] in self.labelled.iter().filter(|key| !labelled.contains(key)) {
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

/// Known keys that stay although their set could not be read just now: one error of the disk unpublishes no key, and stops none from
/// signing. A set whose files are gone is not kept.
fn kept_keys(known: &[KeyFile], found: &[KeyFile], skipped: &[KeyFileError]) -> Vec<KeyFile> {
    let is_unread = |key: &KeyFile| {
        let base = key.base_name();
        skipped.iter().any(|error| match error {
            KeyFileError::Io { path, .. } if !error.is_not_found() => {
                path.file_stem().is_some_and(|stem| stem.eq_ignore_ascii_case(&base))
            }
            _ => false,
        })
    };
    let is_found = |key: &KeyFile| found.iter().any(|other| other.dnskey == key.dnskey);
    known.iter().filter(|key| is_unread(key) && !is_found(key)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::{io, slice};

    use keystore::exchange::testing::TestKey;

    use super::*;

    #[test]
    fn kind_06_a_key_is_kept_when_a_file_of_it_cannot_be_read_and_goes_when_the_file_is_gone_or_bad() {
        let key = |seed| KeyFile {
            zone: Name::parse("example.").unwrap(),
            ttl: 3600,
            dnskey: TestKey::zsk(seed).dnskey,
            timing: Timing::default(),
            state: None,
            dir: PathBuf::from("/keys"),
        };
        let (one, two) = (key(2), key(3));
        let errno = |suffix: &str, code| KeyFileError::Io {
            path: one.path(suffix),
            source: io::Error::from_raw_os_error(code),
        };
        let bad = KeyFileError::Mismatch { path: one.path("key"), what: "another key" };
        for (error, kept) in [
            (errno("private", 5), true),
            (errno("key", 24), true),
            (errno("state", 13), true),
            (errno("private", 2), false),
            (bad, false),
        ] {
            let what = error.to_string();
            let known = [one.clone(), two.clone()];
            let expected = if kept { vec![one.clone()] } else { vec![] };
            assert_eq!(kept_keys(&known, slice::from_ref(&two), &[error]), expected, "{what}");
        }
        let known = slice::from_ref(&one);
        assert_eq!(kept_keys(known, known, &[errno("state", 5)]), [], "it was found");
    }
}
