//! One zone, stepped: what it looks at, what it serves from when on, and when it wants to be looked at again.

mod changes;
mod file;
mod keep;
mod make;
mod report;
mod review;
mod stored;
mod verified;
mod wanted;

use std::io;
use std::sync::Arc;

use keystore::config::Signing;
use keystore::exchange::Bundle;
use keystore::retry::Retry;
use keystore::shared::Shared;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::condition::ConditionId;
use metrics::zones::ReportingPart;

use super::condition::Conditions;
use super::folders::KeyFolders;
use super::gate::Gate;
#[cfg(test)]
use super::keyring::KeyLoader;
use super::keyring::Keyring;
use super::largest_ttl::LargestTtl;
use super::salt::Salt;
use super::serial::SerialFile;
use super::served::SignerZone;
use super::setup::ZoneSetup;
use super::skr::{GenerationInUse, SkrWatch};
use super::source::ZoneFileWatch;
use crate::content::{ChangeOutcome, Reply};
use crate::rules::DnssecRecords;
use crate::signing::{CheckError, Checks, FoundRight, RetiringKey, SignedZone, SigningError, ZoneKey};
use crate::state::{DifferenceStore, Publication, SigningFacts, VersionFacts, VersionStore};
use crate::zone::Zone;
use changes::PendingUpdates;
use keep::{Restoring, Unwritten};
use stored::KeptContent;
use verified::VerifiedContent;
use wanted::{Making, NextVersion, ToSign, is_replaced_alike};

/// Seconds between two attempts at what failed, as long as nothing it depends on changes.
const RETRY: u64 = 10;
/// Seconds between two messages about a zone that is not, or not validly, signed.
const ALARM: u64 = 600;

/// Most warnings of a zone file that are written to the log.
const LOGGED_WARNINGS: usize = 10;

/// The life of one zone. [`ZoneRuntime::step`] does what is due; nothing here sleeps or asks the clock.
pub struct ZoneRuntime {
    setup: Shared<ZoneSetup>,
    label: String,
    metrics: Metrics,
    served: Arc<SignerZone>,
    skr: SkrWatch,
    source: ZoneFileWatch,
    keys: Keyring,
    /// `None` until the file could be read: nothing new is served before, and the file is not written.
    serial: Option<SerialFile>,
    /// Set while [`Self::serial`] could not be read.
    serial_retry: Retry,
    largest_ttl: LargestTtl,
    salt: Salt,
    conditions: Conditions,
    state: VersionStore,
    differences: DifferenceStore,
    /// The content beside the file, for a zone that has such.
    stored: Option<KeptContent>,
    /// Updates that are not taken yet.
    pending: Option<PendingUpdates>,
    /// Those who are told when the content is served, and what they are told where it is not.
    told_when_served: Vec<(Reply, ChangeOutcome)>,
    restoring: Restoring,
    unwritten: Unwritten,
    /// True while nobody knows what was served last: the process before did not end in order, and nothing was made since.
    is_disorderly: bool,
    made: Option<Made>,
    /// A version that is not served, because what was served is newer, or because it is under review: only its signatures are of use.
    unserved: Option<Arc<SignedZone>>,
    /// Since when the keys of a version are published that was found on disk and is not served.
    published_before: Option<Vec<Publication>>,
    gate: Gate,
    /// What is known of the content of a presigned zone.
    verified: VerifiedContent,
    /// What the checks of versions that are signed here go on from.
    checks: Checks,
    /// Earliest time of the next try after a failed signing run; `None` when nothing failed.
    retry_at: Option<Timestamp>,
    /// When the next version makes what the last one left although it was due.
    slice_at: Option<Timestamp>,
    /// When new content of a zone with a digest that waits for the end of the interval may be served.
    content_due: Option<Timestamp>,
    /// When an active ZSK that waits for caches to have it may sign.
    roll_at: Option<Timestamp>,
    alarmed: Option<Timestamp>,
    /// The message about the last signing run that failed.
    failure: LastMessage,
    /// The message about the NSEC3 salt that could not be had.
    salt_failure: LastMessage,
    /// True while this host may not publish versions.
    is_fenced: bool,
    /// The time of the step before, and the time that it gave for the next.
    stepped: Option<(Timestamp, Timestamp)>,
    /// Called once, when the zone file is next read.
    #[cfg(test)]
    pub(super) while_reading: Option<Box<dyn FnOnce() + Send>>,
}

/// What the version that is served was made of.
struct Made {
    signed: Arc<SignedZone>,
    facts: VersionFacts,
    /// When the last of its signatures becomes valid.
    valid_from: Timestamp,
    records: u64,
    /// The keys that signed, as far as this process has their private parts.
    keys: Vec<ZoneKey>,
    /// The keys whose signatures were taken over.
    retiring: Vec<RetiringKey>,
    /// True when it is on disk.
    is_kept: bool,
}

impl Made {
    fn new(
        signed: Arc<SignedZone>,
        facts: VersionFacts,
        keys: Vec<ZoneKey>,
        retiring: Vec<RetiringKey>,
    ) -> Self {
        let valid_from =
            facts.signing.as_ref().map_or(Timestamp::EPOCH, |SigningFacts { bundle, .. }| {
                let incepts = bundle.signatures.iter().map(|s| s.incepts(facts.made_at)).max();
                incepts.unwrap_or(bundle.inception).max(facts.made_at.minus(SLOW_CLOCKS))
            });
        Self {
            valid_from,
            records: signed.record_count() as u64,
            signed,
            facts,
            keys,
            retiring,
            is_kept: false,
        }
    }

    fn zone(&self) -> &Arc<Zone> {
        self.signed.zone()
    }
}

impl ZoneRuntime {
    /// A zone that has not looked at anything yet; it publishes to `served`.
    #[must_use]
    pub fn new(setup: impl Into<Shared<ZoneSetup>>, metrics: Metrics, served: Arc<SignerZone>) -> Self {
        Self::sharing(setup.into(), metrics, served, (Arc::default(), Arc::default()))
    }

    /// The same, with listings of key folders and a memory of signatures that other zones use as well.
    pub(super) fn sharing(
        setup: Shared<ZoneSetup>,
        metrics: Metrics,
        served: Arc<SignerZone>,
        (folders, found_right): (Arc<KeyFolders>, Arc<FoundRight>),
    ) -> Self {
        let label = setup.name.zone_label();
        metrics.add_zone(&label, ReportingPart::Signer);
        if setup.is_signed_here() {
            metrics.add_zone(&label, ReportingPart::Signing);
            let refresh = metrics.policy_signature_refresh_seconds.with_label_values(&[&label]);
            refresh.set(setup.times.refresh.into());
        } else if setup.versions.signing.is_signed() {
            metrics.add_zone(&label, ReportingPart::Presigned);
        }
        Self {
            keys: Keyring::sharing(setup.name.clone(), setup.key_directory.clone(), folders),
            serial: None,
            serial_retry: Retry::default(),
            largest_ttl: LargestTtl::new(setup.state.clone()),
            label,
            metrics,
            served,
            skr: SkrWatch::default(),
            source: ZoneFileWatch::default(),
            salt: Salt::new(&setup.state),
            conditions: Conditions::default(),
            state: VersionStore::new(&setup.state, &setup.name),
            differences: DifferenceStore::new(&setup.state, &setup.name),
            stored: setup
                .source
                .is_stored()
                .then(|| KeptContent::new(&setup.state, &setup.name, setup.rules.dnssec)),
            pending: None,
            told_when_served: Vec::new(),
            restoring: Restoring::default(),
            unwritten: Unwritten::default(),
            is_disorderly: false,
            made: None,
            unserved: None,
            published_before: None,
            gate: Gate::new(&setup.state),
            verified: VerifiedContent::default(),
            checks: Checks::sharing(found_right),
            retry_at: None,
            slice_at: None,
            content_due: None,
            roll_at: None,
            alarmed: None,
            failure: LastMessage::default(),
            salt_failure: LastMessage::default(),
            is_fenced: false,
            stepped: None,
            #[cfg(test)]
            while_reading: None,
            setup,
        }
    }

    /// The same, with private keys opened by `load`.
    #[cfg(test)]
    pub(super) fn with_loader(mut self, load: KeyLoader) -> Self {
        self.keys = self.keys.with_loader(load);
        self
    }

    /// Takes its series out of the metrics, for good.
    pub(super) fn leave(&mut self) {
        self.leave_signing();
        self.metrics.remove_zone(&self.label, ReportingPart::Signer);
    }

    /// Takes the series out of the metrics that a zone of the kind which it is to be has not.
    pub(super) fn leave_kind(&mut self, next: Signing) {
        let kind = |signing: Signing| (signing.is_here(), signing.is_signed());
        if kind(self.setup.versions.signing) != kind(next) {
            self.leave_signing();
        }
    }

    fn leave_signing(&mut self) {
        self.keys.forget_series(&self.metrics);
        self.metrics.remove_zone(&self.label, ReportingPart::Signing);
        self.metrics.remove_zone(&self.label, ReportingPart::Presigned);
    }

    /// Writes down exactly which serial was served last; call it at an orderly end. Without it the next start skips some serials.
    pub fn close(&mut self) {
        if let Some(serial) = &mut self.serial {
            serial.close();
        }
    }

    /// The zone as queries see it.
    #[must_use]
    pub fn served(&self) -> &Arc<SignerZone> {
        &self.served
    }

    /// What the zone is made of.
    pub(super) fn parts(&self) -> (Shared<ZoneSetup>, Arc<SignerZone>) {
        (self.setup.clone(), Arc::clone(&self.served))
    }

    /// True when a ZSK is in a token, so that a step may wait for it.
    pub(super) fn is_in_token(&mut self, now: Timestamp) -> bool {
        self.setup.is_signed_here() && self.keys.is_in_token(now)
    }

    /// True while new content waits for a person or for the review command.
    pub(super) fn is_waiting(&self) -> bool {
        self.gate.is_waiting()
    }

    /// What keeps the zone from following its files now.
    pub fn conditions(&self) -> impl Iterator<Item = ConditionId> {
        self.conditions.ids()
    }

    /// Does what is due at `now`, and gives the time of the next step that is known to be due. Files are only seen to change in
    /// a step, so step every second besides.
    pub fn step(&mut self, now: Timestamp) -> Timestamp {
        let mut changed = self.restore(now);
        changed |= self.load_stored(now);
        changed |= self.poll_skr(now);
        let was_read = self.poll_zone_file(now);
        if was_read {
            // Reading a large file takes long, and an SKR may have been accepted meanwhile.
            self.poll_skr(now);
        }
        changed |= was_read;
        self.set_condition(
            ConditionId::SignerZoneFileUnreadable,
            self.source.unreadable().map(str::to_owned),
            now,
        );
        changed |= self.setup.is_signed_here() && self.keys.poll(now);
        changed |= self.open_serial(now);
        self.largest_ttl.poll(now);
        changed |= self.keep_again(now);
        changed |= self.has_switched(now) | self.gate.poll(now);
        changed |= std::mem::replace(&mut self.is_fenced, !self.served.may_publish()) && !self.is_fenced;
        // Time alone changes nothing between two times that are known; a clock that was set back may change everything.
        let (stepped, due) = self.stepped.replace((now, Timestamp::MAX)).unwrap_or((now, now));
        let alarm_is_due = self.alarmed.is_some_and(|at| at.plus(ALARM) <= now);
        let look_closer = changed || due <= now || now < stepped || alarm_is_due;
        if changed || self.retry_at.is_some_and(|at| at <= now || at.since(now) > RETRY) {
            self.retry_at = None;
        }
        if look_closer && self.retry_at.is_none() {
            changed |= self.renew(now);
        }
        changed |= self.take_changes(now);
        let unreadable = self.keys.unreadable().filter(|_| self.setup.is_signed_here());
        self.set_condition(ConditionId::SignerKeysUnreadable, unreadable.map(str::to_owned), now);
        if let Some(serial) = &mut self.serial {
            serial.retry(now);
        }
        self.tell_unwritten(now);
        if changed && let Some(in_use) = self.skr.in_use() {
            self.keys.count_missing(&in_use.skr, now);
        }
        if look_closer {
            self.report(now);
        } else if self.setup.is_signed_here() {
            self.keys.report_check(now, &self.metrics);
        }
        self.served.set_state(self.served_state(now));
        self.served.set_content(self.source.zone());
        let due = self.next_step(now);
        self.stepped = Some((now, due));
        due
    }

    /// Looks for a new generation of the SKR, in a zone that is signed here; true when the store was read.
    fn poll_skr(&mut self, now: Timestamp) -> bool {
        if !self.setup.is_signed_here() {
            return false;
        }
        let was_read = self.skr.poll(&self.setup, now);
        self.set_condition(ConditionId::SignerSkrUnreadable, self.skr.unreadable().map(str::to_owned), now);
        was_read
    }

    /// Raises or clears a condition, and says so when it begins and when it ends.
    fn set_condition(&mut self, id: ConditionId, cause: Option<String>, now: Timestamp) {
        match cause {
            Some(cause) => {
                if self.conditions.raise(id, cause.clone(), now) {
                    tracing::error!(zone = %self.setup.name, condition = %id, cause, "{}", id.text().next);
                }
            }
            None => {
                if self.conditions.clear(id) {
                    tracing::info!(zone = %self.setup.name, condition = %id, "this is in order again");
                }
            }
        }
    }

    /// Reads the last serial that was served, at the first step and until it goes well; true when it went well in this step.
    fn open_serial(&mut self, now: Timestamp) -> bool {
        let waits = self.serial_retry.at().is_some() && !self.serial_retry.is_due(now);
        if self.serial.is_some() || waits {
            return false;
        }
        let served = self.served.signed().map(|signed| signed.serial());
        let cause = match SerialFile::open(&self.setup.state, served) {
            Ok(serial) => {
                self.serial = Some(serial);
                self.serial_retry.settled();
                None
            }
            Err(error) => {
                self.serial_retry.failed(now);
                Some(format!("{}: {error}", self.setup.state.join("serial").display()))
            }
        };
        self.set_condition(ConditionId::SignerSerialUnreadable, cause, now);
        self.judge_restored();
        self.serial.is_some()
    }

    /// The bundle to serve at `now`, and the time by which keys are chosen.
    ///
    /// It is the last one whose inception is reached. When the clock went back behind the inception of the bundle in use, that one
    /// stays as long as its signatures are valid: caches have it, and its keys must not be unpublished.
    fn bundle(&self, now: Timestamp) -> Option<(&Bundle, Timestamp)> {
        let GenerationInUse { generation, skr } = self.skr.in_use()?;
        let made = self.made.as_ref().and_then(|made| made.facts.signing.as_ref());
        let in_use = made.filter(|made| made.generation == *generation && made.bundle.inception > now);
        let kept = in_use
            .and_then(|made| skr.bundle_at(made.bundle.inception))
            .filter(|bundle| is_valid(bundle, now));
        match kept {
            Some(bundle) => Some((bundle, bundle.inception)),
            None => skr.bundle_at(now).map(|bundle| (bundle, now)),
        }
    }

    /// Makes and publishes a new version, if there is a reason; true when it tried. While new content has to wait, what is served goes on
    /// to be signed, with the bundle and the keys of now.
    fn renew(&mut self, now: Timestamp) -> bool {
        if !self.served.may_publish() {
            self.is_fenced = true;
            return false;
        }
        let Some(mut wanted) = self.wanted(now) else { return false };
        // Who has sent an update waits for its answer.
        let rests = self.pending.is_none() && self.content_rests(&wanted.zone, now);
        let waits = !rests && self.waits_for_disk(&wanted, now);
        let may_go = !rests && !waits && self.is_verified(&wanted.zone, now) && self.may_take(&wanted, now);
        let tried = if may_go { self.renew_with(&wanted, now) } else { Tried::ContentWaits };
        match (tried, self.standing()) {
            // What is served of another kind of zone stays as it is.
            (Tried::ContentWaits, Some((zone, _))) if zone.dnssec() == wanted.zone.dnssec() => {
                if waits {
                    self.look_again(now);
                }
                wanted.zone = zone;
                self.renew_with(&wanted, now);
                true
            }
            (Tried::Nothing, _) => {
                self.nothing_waits();
                false
            }
            (Tried::Made, _) => {
                self.failure = LastMessage::default();
                self.content_due = None;
                true
            }
            _ => true,
        }
    }

    fn renew_with(&mut self, wanted: &NextVersion, now: Timestamp) -> Tried {
        let Some(reason) = self.reason(self.made.as_ref(), wanted, now) else { return Tried::Nothing };
        let made = self.make(wanted, now);
        // Signing takes time, in which another host may have become the active one.
        let made =
            made.and_then(|made| if self.served.may_publish() { Ok(made) } else { Err(MakeError::Fenced) });
        let made = made.and_then(|made| self.commit_pending(&wanted.zone, now).map(|()| made));
        let kept = made.and_then(|made| self.keep(made, now));
        let published = kept.and_then(|made| {
            let signed = Arc::clone(&made.signed);
            self.publish(made, now).map(|()| signed)
        });
        match published {
            Ok(signed) => {
                match &wanted.making {
                    Making::Signed(parts) => tracing::info!(
                        zone = %self.setup.name, serial = signed.serial(), bundle = %parts.bundle.inception.iso(), reason,
                        made = signed.signatures_made(), kept = signed.signatures_reused(), "the zone was signed"
                    ),
                    Making::Given => tracing::info!(
                        zone = %self.setup.name, serial = signed.serial(), reason, signing = self.setup.versions.signing.as_str(),
                        "a version of a zone that is not signed here is served"
                    ),
                }
                // Where a version leaves something that is due, the next one makes it, with a pause for all else.
                self.slice_at = (signed.next_refresh() <= now).then(|| now.plus(RETRY));
                Tried::Made
            }
            Err(error) => {
                if let MakeError::Sign(SigningError::Sign { tag, source }) = &error {
                    self.keys.signing_failed(*tag, source, now);
                }
                let stays =
                    if self.made.is_some() { "the version before stays" } else { "nothing is served" };
                let message = format!("no version of the zone could be made ({reason}); {stays}: {error}");
                if self.failure.is_news(&message, now) {
                    tracing::error!(zone = %self.setup.name, "{message}");
                }
                self.retry_at = Some(now.plus(RETRY));
                if error.keeps_content_waiting() { Tried::ContentWaits } else { Tried::Failed }
            }
        }
    }

    /// Why a new version is due where there is `made`, if it is.
    fn reason(&self, made: Option<&Made>, wanted: &NextVersion, now: Timestamp) -> Option<&'static str> {
        let Some(made) = made else { return Some("start") };
        if !Arc::ptr_eq(made.zone(), &wanted.zone) {
            return Some("new content");
        }
        let reason = match (&wanted.making, &made.facts.signing) {
            (Making::Signed(parts), Some(facts)) => self.reason_to_sign(made, facts, parts, now),
            (Making::Given, None) => None,
            (Making::Signed(_), None) | (Making::Given, Some(_)) => Some("new setting of signing"),
        };
        // The serial of a presigned zone cannot be raised.
        let may_raise = made.zone().dnssec() == DnssecRecords::LeftOut;
        reason.or_else(|| {
            (self.is_disorderly && may_raise).then_some("the process before did not end in order")
        })
    }

    /// Why `made`, which was signed with `facts`, is to be signed anew, if it is.
    fn reason_to_sign(
        &self,
        made: &Made,
        facts: &SigningFacts,
        parts: &ToSign,
        now: Timestamp,
    ) -> Option<&'static str> {
        let ToSign { generation, bundle, keys, retiring, denial, .. } = parts;
        let SigningFacts { keys: signed_by, bundle: served, .. } = facts;
        let same_keys = signed_by.len() == keys.len()
            && keys.iter().all(|key| signed_by.iter().any(|other| other.dnskey == key.dnskey));
        if facts.generation != *generation || served != bundle {
            Some("new bundle")
        } else if denial.as_ref() != Some(&facts.denial) {
            Some("new denial of existence")
        } else if made.signed.has_digest() != self.setup.versions.zonemd {
            Some("new setting of zonemd")
        } else if !same_keys || !is_replaced_alike(retiring, &made.retiring) {
            Some("new keys")
        } else if made.signed.next_refresh() <= now
            && self.slice_at.is_none_or(|at| at <= now)
            && !self.renewals_rest(made, now)
        {
            Some("renewal")
        } else if now < made.facts.made_at.minus(SLOW_CLOCKS) {
            Some("the clock went back")
        } else {
            None
        }
    }

    /// The earliest time of the version after `made` in a zone with a digest.
    fn rests_until(&self, made: &Made) -> Timestamp {
        let rules = &self.setup.versions;
        made.facts.made_at.plus(if rules.zonemd { rules.zonemd_interval.into() } else { 0 })
    }

    /// True while new content waits, so that changes that come close together become one version with one digest. It waits for one
    /// interval at most, whatever other versions are made meanwhile.
    fn content_rests(&mut self, content: &Arc<Zone>, now: Timestamp) -> bool {
        let Some(made) = self.made.as_ref().filter(|made| !Arc::ptr_eq(made.zone(), content)) else {
            self.content_due = None;
            return false;
        };
        let until = self.rests_until(made);
        let due = *self.content_due.get_or_insert(until);
        // After a clock was set back nothing waits.
        (made.facts.made_at..due).contains(&now)
    }

    /// True while renewals wait for the same reason: not when one is urgent, nor when a version has left some for the next one.
    fn renewals_rest(&self, made: &Made, now: Timestamp) -> bool {
        let rests = (made.facts.made_at..self.rests_until(made)).contains(&now);
        rests && self.slice_at.is_none() && now < self.urgent_from(made)
    }

    /// When a signature of `made` has half of the time left for renewing.
    fn urgent_from(&self, made: &Made) -> Timestamp {
        made.signed.next_refresh().plus(u64::from(self.setup.times.refresh) / 2)
    }

    /// The first time after `now` at which something is known to be due.
    fn next_step(&self, now: Timestamp) -> Timestamp {
        let mut times = vec![self.keys.next_event(now), self.retry_at, self.slice_at, self.roll_at];
        times.extend([self.skr.next_try(), self.source.next_try(now), self.largest_ttl.next_try()]);
        times.extend([self.restoring.next_try(), self.unwritten.next_try(), self.gate.next_try()]);
        times.push(self.verified.next_try());
        times.push(self.stored.as_ref().and_then(KeptContent::next_try));
        // What was due while nothing could be published is made as soon as something can.
        times.push(self.is_fenced.then(|| now.plus(1)));
        times.extend([self.serial_retry.at(), self.serial.as_ref().and_then(SerialFile::next_try)]);
        if let Some(in_use) = self.skr.in_use() {
            times.push(in_use.skr.next_switch(now));
        }
        if let Some(made) = &self.made {
            times.push(Some(made.valid_from));
            times.extend([Some(self.rests_until(made)), Some(self.urgent_from(made)), self.content_due]);
            times.push(Some(made.signed.next_refresh()));
            times.push(Some(made.signed.earliest_zsk_expiration().plus(1)));
            times.push(Some(made.signed.earliest_ksk_expiration().plus(1)));
        }
        times.into_iter().flatten().filter(|time| *time > now).min().unwrap_or(Timestamp::MAX)
    }
}

/// Why no new version was made.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error(transparent)]
    Sign(#[from] SigningError),
    #[error("the check of the fresh signatures failed: {0}")]
    SelfCheck(#[from] CheckError),
    #[error("the zone cannot be handed to the review command: {0}")]
    Review(io::Error),
    #[error("the NSEC3 salt of the zone cannot be read or written down; see the message before")]
    NoSalt,
    #[error("the SOA serial that was served last cannot be read")]
    SerialUnknown,
    #[error("this host has lost the lease of the active one")]
    Fenced,
    #[error(
        "the SOA serial cannot be written down ({0}); the new content waits, so that no serial comes twice"
    )]
    SerialNotWritten(io::Error),
    #[error("the changes cannot be written down ({0}); they are not taken")]
    ContentNotWritten(io::Error),
    #[error(
        "the version cannot be written down ({0}); it waits, so that nothing is served that a restart would lose"
    )]
    StateNotWritten(io::Error),
}

impl MakeError {
    /// True when a version with the content that is served may be made nevertheless.
    const fn keeps_content_waiting(&self) -> bool {
        matches!(self, Self::SerialNotWritten(_) | Self::ContentNotWritten(_) | Self::StateNotWritten(_))
    }
}

/// What became of an attempt at a new version.
enum Tried {
    /// There was no reason for one.
    Nothing,
    Made,
    /// New content of the zone file has to wait.
    ContentWaits,
    Failed,
}

/// A message that is written when it begins or changes, and then once in [`ALARM`] seconds.
#[derive(Debug, Default)]
struct LastMessage(Option<(String, Timestamp)>);

impl LastMessage {
    fn text(&self) -> Option<&str> {
        self.0.as_ref().map(|(text, _)| text.as_str())
    }

    fn is_news(&mut self, message: &str, now: Timestamp) -> bool {
        if self.0.as_ref().is_some_and(|(last, at)| last == message && now >= *at && now.since(*at) < ALARM) {
            return false;
        }
        self.0 = Some((message.to_owned(), now));
        true
    }
}

/// Seconds that signatures reach back before the time they are made.
const SLOW_CLOCKS: u64 = 3600;

/// True when every signature of the bundle is valid at `now`.
fn is_valid(bundle: &Bundle, now: Timestamp) -> bool {
    bundle.signatures.iter().all(|signature| signature.is_valid_at(now))
}
