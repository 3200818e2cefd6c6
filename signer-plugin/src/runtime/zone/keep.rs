//! The version that is served and its copy on disk: written down before it is served, served again after a restart.

use std::io;
use std::sync::Arc;

use keystore::dns::{Name, Rrsig, Rtype, rrsig};
use keystore::exchange::{Bundle, TrustAnchor};
use keystore::retry::Backoff;
use keystore::store;
use keystore::time::Timestamp;

use super::{ConditionId, Made, MakeError, NextVersion, RETRY, Retry, VersionFacts, ZoneRuntime};
use crate::signing::SignedZone;
use crate::state::{LoadedVersion, StateError};
use crate::zone::{Records, Zone};

/// Longest time between two tries to write a version down, in seconds: of a large zone each try writes all of it.
pub(super) const LONGEST: u64 = 120;

/// Whether the version on disk is still to be read.
#[derive(Debug, Default)]
pub(super) enum Restoring {
    /// It was not tried yet.
    #[default]
    Pending,
    /// It could not be read and is tried again, as long as nothing else was made.
    Waits(Retry),
    /// It was read, or there was none that can be used.
    Done,
}

impl Restoring {
    /// Time of the next try.
    pub const fn next_try(&self) -> Option<Timestamp> {
        match self {
            Self::Waits(retry) => retry.at(),
            Self::Pending | Self::Done => None,
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        match self {
            Self::Pending => true,
            Self::Waits(retry) => retry.is_due(now),
            Self::Done => false,
        }
    }
}

/// Why a version that was found on disk is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Outdated {
    #[error("a later version than the one on disk was served")]
    Behind,
    #[error("none of the pinned KSKs signed the keys of the version on disk")]
    NotPinned,
    #[error("the version on disk has no signatures that were made here, and an SKR is accepted")]
    NotSigned,
    #[error("the signatures of the version on disk expired")]
    Expired,
    #[error("the version on disk was to be renewed longer ago than the SOA EXPIRE of the zone")]
    TooOld,
}

/// The versions that are not on disk as they should be.
pub(super) struct Unwritten {
    /// New content that was signed and could not be written down: only that is tried again.
    waiting: Option<Made>,
    /// True while new content is held back, signed or not.
    holds_content: bool,
    retry: Retry,
    /// Why; set while [`Self::retry`] is.
    cause: Option<String>,
}

impl Default for Unwritten {
    fn default() -> Self {
        Self { waiting: None, holds_content: false, retry: Retry::new(Backoff::new(1, LONGEST)), cause: None }
    }
}

impl Unwritten {
    /// Time of the next try.
    pub const fn next_try(&self) -> Option<Timestamp> {
        self.retry.at()
    }

    fn failed(&mut self, cause: String, now: Timestamp) {
        self.cause = Some(cause);
        self.retry.failed(now);
    }

    fn settled(&mut self) {
        *self = Self::default();
    }
}

impl ZoneRuntime {
    /// Serves the version that was served last, from disk, unless that was tried already; true when there is one. It needs neither the
    /// zone file nor an SKR nor a private key.
    pub(in crate::runtime) fn restore(&mut self, now: Timestamp) -> bool {
        if !self.restoring.is_due(now) {
            return false;
        }
        // Taken before the reading: if that panics, the next step does not repeat it.
        let mut before = std::mem::replace(&mut self.restoring, Restoring::Done);
        self.set_leftover_aside(now);
        self.open_serial(now);
        let loaded = self.state.load(self.setup.times.refresh, now);
        let result = if loaded.is_ok() { "ok" } else { "failed" };
        if !matches!(loaded, Ok(None)) {
            self.metrics.zone_restores_total.with_label_values(&[&self.label, result]).inc();
        }
        let mut cause = None;
        let restored = match loaded {
            Ok(Some(loaded)) => self.take_restored(loaded, now),
            Ok(None) => false,
            Err(error @ StateError::Io { .. }) => {
                cause = Some(error.to_string());
                let mut retry = match &mut before {
                    Restoring::Waits(retry) => std::mem::take(retry),
                    Restoring::Pending | Restoring::Done => Retry::default(),
                };
                retry.failed(now);
                self.restoring = Restoring::Waits(retry);
                false
            }
            Err(error @ StateError::Damaged { .. }) => {
                self.set_damaged_aside(&error, now);
                false
            }
        };
        self.set_condition(ConditionId::SignerStateUnreadable, cause.or(self.stored_unreadable()), now);
        // What is served goes on to be signed, even if the zone file never reads.
        if self.source.zone().is_none()
            && let Some((zone, _)) = self.standing()
            && zone.dnssec() == self.setup.rules.dnssec
        {
            self.source.adopt(&zone);
        }
        restored
    }

    fn take_restored(&mut self, LoadedVersion { signed, facts }: LoadedVersion, now: Timestamp) -> bool {
        let serial = signed.serial();
        if let Some(why) = self.outdated(&signed, &facts, now) {
            self.set_outdated(signed, facts, why);
            return false;
        }
        let age = now.since(facts.made_at);
        tracing::info!(
            zone = %self.setup.name, serial, names = signed.zone().name_count(), age,
            "the version that was served last is served from disk"
        );
        if let Some(file) = &mut self.serial {
            file.note(serial);
            // What this process serves already it knows itself.
            self.is_disorderly = file.may_be_behind() && self.served.signed().is_none();
        }
        if let Some(signing) = &facts.signing {
            self.salt.adopt(&signing.denial);
        }
        // Where this process serves the version already, it is not held in memory twice.
        self.served.publish(Arc::clone(&signed));
        self.restore_history(&signed, &facts);
        let mut made = Made::new(signed, facts, Vec::new(), Vec::new());
        made.is_kept = true;
        self.made = Some(made);
        true
    }

    /// Why a version that was found on disk must not be served, if so.
    fn outdated(&self, signed: &SignedZone, facts: &VersionFacts, now: Timestamp) -> Option<Outdated> {
        let serial = signed.serial();
        let served = self.served.signed().map(|signed| signed.serial());
        if served.is_some_and(|served| served != serial)
            || self.serial.as_ref().is_some_and(|file| file.is_behind(serial))
        {
            return Some(Outdated::Behind);
        }
        // Where nothing was signed, nothing vouches for a version, and nothing of it expires.
        let Some(signing) = &facts.signing else {
            let has_skr = || store::accepted_mark(&self.setup.accepted, &self.setup.name).is_some();
            return (self.setup.is_signed_here() && has_skr()).then_some(Outdated::NotSigned);
        };
        if !is_pinned(&signing.bundle, &self.setup.name, &self.setup.anchors) {
            return Some(Outdated::NotPinned);
        }
        // No signature was made later, or for longer, than those of the SOA.
        let soa = Records(signed.soa().signatures).filter_map(|rdata| Rrsig::from_rdata(rdata).ok());
        if soa.map(|signature| signature.expires(now)).max().is_none_or(|expires| expires < now) {
            return Some(Outdated::Expired);
        }
        // Until then a signer that was at work had nothing to do.
        let at_work = facts.made_at.max(signed.next_refresh());
        (now.since(at_work) > u64::from(signed.zone().expire())).then_some(Outdated::TooOld)
    }

    /// Takes from a version that is not to be served what is of use: its signatures, and since when keys are published.
    fn set_outdated(&mut self, signed: Arc<SignedZone>, facts: VersionFacts, why: Outdated) {
        tracing::warn!(
            zone = %self.setup.name, serial = signed.serial(),
            "{why}; it is not served, and what is of use of it is used"
        );
        // A zone that is not signed here any more has the content that was signed.
        if !self.setup.is_signed_here() && signed.zone().dnssec() == self.setup.rules.dnssec {
            self.source.adopt(signed.zone());
        }
        self.published_before = facts.signing.map(|signing| signing.published);
        self.unserved = Some(signed);
    }

    /// Looks at a version that was taken from disk again, once the serial that was served last is known.
    pub(super) fn judge_restored(&mut self) {
        let Some(file) = &mut self.serial else { return };
        let Some(made) = self.made.take() else { return };
        self.is_disorderly = file.may_be_behind();
        if file.is_behind(made.signed.serial()) {
            return self.set_outdated(made.signed, made.facts, Outdated::Behind);
        }
        file.note(made.signed.serial());
        self.made = Some(made);
    }

    fn set_damaged_aside(&mut self, error: &StateError, now: Timestamp) {
        let consequence = "the zone is signed anew from its file, with a later serial";
        match self.state.set_aside(now) {
            Ok(folder) => tracing::error!(
                zone = %self.setup.name, %error, folder = %folder.display(),
                "the version on disk is damaged; its files were moved to the folder, and {consequence}"
            ),
            Err(failed) => tracing::error!(
                zone = %self.setup.name, %error, cannot_move = %failed,
                "the version on disk is damaged; {consequence}, and overwrites it"
            ),
        }
    }

    /// The content that is served, and its serial.
    pub(super) fn standing(&self) -> Option<(Arc<Zone>, u32)> {
        let served = || self.served.signed().map(|signed| (Arc::clone(signed.zone()), signed.serial()));
        self.made.as_ref().map(|made| (Arc::clone(made.zone()), made.signed.serial())).or_else(served)
    }

    /// What is served, or waits to be, in place of a zone with the same content. Where the content differs in few names, the zone that shares
    /// all else with what is served.
    pub(super) fn shared_with_standing(&self, zone: &Arc<Zone>) -> Arc<Zone> {
        let is_of_kind = |known: &Arc<Zone>| known.dnssec() == zone.dnssec();
        let waiting = self.unwritten.waiting.as_ref().map(|made| Arc::clone(made.zone())).filter(is_of_kind);
        let standing = self.standing().map(|(zone, _)| zone).filter(is_of_kind);
        let known = waiting.into_iter().chain(standing.clone());
        if let Some(same) = known.into_iter().find(|known| known.has_content_of(zone)) {
            return same;
        }
        let next = standing.and_then(|standing| standing.succeeded_by(zone));
        next.map_or_else(|| Arc::clone(zone), Arc::new)
    }

    /// Writes a version down before it is served. Where that fails, new content waits. What is served goes on to be signed anew, and a
    /// zone of which nothing is served is served nevertheless: that signatures expire, or that the zone is dark, would be worse than a
    /// restart that has to sign it again.
    pub(super) fn keep(&mut self, mut made: Made, now: Timestamp) -> Result<Made, MakeError> {
        match self.write_down(&mut made) {
            Ok(()) => {
                let is_new = self.source.zone().is_some_and(|zone| Arc::ptr_eq(zone, made.zone()));
                if is_new || !self.unwritten.holds_content {
                    self.unwritten.settled();
                }
                Ok(made)
            }
            Err(error) => {
                self.unwritten.failed(error.to_string(), now);
                let same =
                    |zone: &Arc<Zone>| Arc::ptr_eq(zone, made.zone()) || zone.has_content_of(made.zone());
                if self.standing().is_none_or(|(zone, _)| same(&zone)) {
                    return Ok(made);
                }
                self.unwritten.holds_content = true;
                self.unwritten.waiting = Some(made);
                Err(MakeError::StateNotWritten(error))
            }
        }
    }

    /// True when the content of `wanted` is new and has to wait for the disk, so that it is not to be signed now.
    pub(super) fn waits_for_disk(&mut self, wanted: &NextVersion, now: Timestamp) -> bool {
        if self.standing().is_none_or(|(zone, _)| Arc::ptr_eq(&zone, &wanted.zone)) {
            return false;
        }
        let waiting = self.unwritten.waiting.as_ref();
        if waiting.is_some_and(|waiting| self.reason(Some(waiting), wanted, now).is_none()) {
            return true;
        }
        self.unwritten.waiting = None;
        self.unwritten.holds_content = self.unwritten.retry.at().is_some_and(|at| at > now);
        self.unwritten.holds_content
    }

    /// Serves a version that was kept, as far as that was possible. Each version that is made here goes through this one place, so it is asked
    /// here, after all that may take long, whether this host still is the active one.
    ///
    /// # Errors
    /// When it is not: the version before stays, and the signatures of this one are of use for the next.
    pub(super) fn publish(&mut self, made: Made, now: Timestamp) -> Result<(), MakeError> {
        let serial = made.signed.serial();
        if let Some(file) = &mut self.serial {
            if made.is_kept && file.unwritten().is_none() {
                // The version has its serial; the file only has to be ahead of it.
                file.note(serial);
            } else {
                // Where this fails too, a restart finds that the end was not orderly. The cause is told as a condition.
                let _ = file.served(serial, now);
            }
        }
        if !self.served.may_publish() {
            self.unwritten.waiting = None;
            self.unserved = Some(made.signed);
            return Err(MakeError::Fenced);
        }
        self.served.publish(Arc::clone(&made.signed));
        self.made = Some(made);
        // Its serial was given to this version.
        self.unwritten.waiting = None;
        self.unserved = None;
        // Other content may go on to wait.
        if self
            .source
            .zone()
            .is_some_and(|zone| self.made.as_ref().is_some_and(|m| Arc::ptr_eq(zone, m.zone())))
        {
            self.gate.clear();
        }
        self.is_disorderly = false;
        self.restoring = Restoring::Done;
        self.set_condition(ConditionId::SignerStateUnreadable, self.stored_unreadable(), now);
        Ok(())
    }

    /// Writes down what could not be written and is due again: new content, which is served then, or what is served. True when new
    /// content is served, or may be tried again.
    pub(super) fn keep_again(&mut self, now: Timestamp) -> bool {
        if !self.unwritten.retry.is_due(now) || !self.served.may_publish() {
            return false;
        }
        let waiting = self.unwritten.waiting.take();
        // Content that was replaced meanwhile is of no interest.
        if let Some(mut made) =
            waiting.filter(|made| self.source.zone().is_some_and(|z| Arc::ptr_eq(z, made.zone())))
        {
            return match self.write_down(&mut made) {
                Ok(()) => {
                    let serial = made.signed.serial();
                    self.unwritten.settled();
                    if self.publish(made, now).is_ok() {
                        tracing::info!(zone = %self.setup.name, serial, "the version that waited for the disk is served");
                    }
                    true
                }
                Err(error) => {
                    self.unwritten.failed(error.to_string(), now);
                    self.unwritten.waiting = Some(made);
                    false
                }
            };
        }
        let Some(mut made) = self.made.take_if(|made| !made.is_kept) else { return true };
        let written = self.write_down(&mut made);
        self.made = Some(made);
        match written {
            Ok(()) => {
                if !self.unwritten.holds_content {
                    self.unwritten.settled();
                }
                self.unwritten.holds_content
            }
            Err(error) => {
                self.unwritten.failed(error.to_string(), now);
                false
            }
        }
    }

    /// Writes a version down, and before it what leads to it from those before. Where that part fails, the version is written nevertheless.
    fn write_down(&mut self, made: &mut Made) -> io::Result<()> {
        let history = self.served.transfers().prepare(self.served.signed().as_deref(), &made.signed);
        made.facts.history =
            self.differences.save(&history).unwrap_or_else(|error| {
                tracing::warn!(
                    zone = %self.setup.name, serial = made.signed.serial(), %error,
                    "what differs from the versions before cannot be written down; should the process end now, secondaries that are behind get the whole zone"
                );
                None
            });
        self.state.save(&made.signed, &made.facts)?;
        self.differences.set_in_use(made.facts.history);
        made.is_kept = true;
        Ok(())
    }

    /// Takes from disk what leads to the version that was restored.
    fn restore_history(&mut self, signed: &SignedZone, facts: &VersionFacts) {
        let Some(end) = facts.history else { return };
        match self.differences.load(end) {
            Ok(found) => self.served.transfers().restore_history(found, signed),
            Err(error) => tracing::warn!(
                zone = %self.setup.name, serial = facts.serial, %error,
                "what differs from the versions before cannot be read; secondaries that are behind get the whole zone"
            ),
        }
    }

    /// Notes that no content waits: what the files say is served.
    pub(super) fn nothing_waits(&mut self) {
        if self.made.as_ref().is_some_and(|made| made.is_kept) {
            self.unwritten.settled();
        }
    }

    /// Tells what could not be written down.
    pub(super) fn tell_unwritten(&mut self, now: Timestamp) {
        let serial = self.serial.as_ref().and_then(|file| file.unwritten()).map(str::to_owned);
        self.set_condition(ConditionId::SignerSerialNotWritten, serial, now);
        let content = self.stored.as_ref().and_then(|stored| stored.unwritten().map(str::to_owned));
        self.set_condition(ConditionId::SignerStateNotWritten, self.unwritten.cause.clone().or(content), now);
    }

    /// Plans when content that waits is looked at again.
    pub(super) fn look_again(&mut self, now: Timestamp) {
        self.retry_at = Some(now.plus(RETRY));
    }
}

/// True when one of the pinned keys signed the DNSKEY RRset of `bundle`.
fn is_pinned(bundle: &Bundle, zone: &Name, anchors: &[TrustAnchor]) -> bool {
    let mut pinned = bundle.keys().filter(|key| anchors.iter().any(|anchor| anchor.matches(zone, key)));
    pinned.any(|key| {
        let mut by_key = bundle.signatures.iter().filter(|signature| {
            signature.covered == Rtype::DNSKEY
                && (signature.key_tag, signature.algorithm) == (key.tag(), key.algorithm)
        });
        by_key.any(|signature| rrsig::verify_raw(&bundle.dnskey, &key.public_key, signature).is_ok())
    })
}
