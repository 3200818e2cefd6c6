//! Zone transfers to secondaries: AXFR (RFC 5936), IXFR (RFC 1995), TSIG (RFC 8945), the option EXPIRE (RFC 7314).
//!
//! ```text
//! query octets ──request──▶ TSIG right? ──▶ allowed? ──▶ Content ──▶ Messages ──border::tcp──▶ client
//!                                                         ▲
//! publish: version before, new version ──Difference──▶ History
//! ```
//!
//! A transfer is made from the version that is served when the query comes; what is published later does not disturb it. Only the message
//! under way is in memory, and the last ones of transfers of the same version that run at the same time, which share them.

mod access;
mod channel;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod history;
mod inbound;
mod message;
pub mod notify;
mod outgoing;
mod replay;
pub(crate) mod request;
mod secondary;
pub mod serials;
mod shared;
#[cfg(test)]
mod tests;
mod tsig;
pub(crate) mod update;
pub(crate) mod version;
mod wire_key;

pub(crate) use access::load_keys;
pub use access::{TransferKeys, TransferSettings};
pub(crate) use channel::{TlsPeer, asking, pin_of};
pub use inbound::PrimaryNews;
pub use secondary::SecondaryStanding;
#[doc(hidden)]
pub use wire_key::wire_key;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::zones::{TRANSFER_REFUSALS, UPDATE_RESULTS};
use tokio::sync::watch;

pub(crate) use crate::clock::Clock;
use crate::content::ChangeQueue;
use crate::difference::Difference;
use crate::seldom::Seldom;
use crate::signing::SignedZone;
use history::{History, Step};
use inbound::Inbound;
pub(crate) use outgoing::RecordTooLong;
use outgoing::{Content, Place};
use replay::Replays;
use secondary::Secondaries;
use shared::SharedMessages;
use version::{PlainVersion, TransferVersion};

/// What transfers need of a zone, for one query.
pub struct Transferable {
    /// The version that is served; `None` = nothing is.
    pub(crate) version: Option<TransferVersion>,
    pub(crate) transfers: Arc<ZoneTransfers>,
    /// Where changes wait for the zone's thread.
    pub(crate) changes: Arc<ChangeQueue>,
    /// Seconds for which the zone may be served, where it comes from primaries.
    pub(crate) expire: Option<u32>,
    /// Queries are answered only to those who may transfer it.
    pub(crate) is_private: bool,
    /// Tells the time, for TSIG.
    pub(crate) clock: Clock,
}

/// The transfers of one zone: who may have them, and what changed between the last versions.
#[derive(Debug)]
pub struct ZoneTransfers {
    metrics: Metrics,
    /// The zone in metrics.
    label: String,
    settings: ArcSwap<TransferSettings>,
    history: Mutex<History>,
    /// The version that is served, for whoever tells others of it.
    versions: watch::Sender<Option<Version>>,
    secondaries: Secondaries,
    /// What the primaries say, for a zone that comes from some.
    inbound: Inbound,
    /// Keep the messages about requests that are refused from coming with each of them.
    refusals: Seldom,
    bad_signatures: Seldom,
    failures: Seldom,
    /// Updates that were accepted, so that none is done twice.
    replays: Replays,
    /// Messages of transfers that run at the same time.
    shared: SharedMessages<Place>,
}

/// What NOTIFY says of a version.
#[derive(Debug, Clone)]
struct Version {
    serial: u32,
    /// RDATA and TTL of the SOA record.
    soa: Vec<u8>,
    ttl: u32,
    /// The version before had the same serial and other content, so that no secondary takes this one.
    is_repeated: bool,
}

impl ZoneTransfers {
    /// Nobody may transfer the zone, and nobody is told of it, before [`Self::set`]. `label` is the zone in metrics.
    #[must_use]
    pub fn new(metrics: &Metrics, label: String) -> Self {
        Self {
            metrics: metrics.clone(),
            label,
            settings: ArcSwap::default(),
            history: Mutex::default(),
            versions: watch::Sender::default(),
            secondaries: Secondaries::default(),
            inbound: Inbound::default(),
            refusals: Seldom::new(),
            bad_signatures: Seldom::new(),
            failures: Seldom::new(),
            replays: Replays::default(),
            shared: SharedMessages::default(),
        }
    }

    /// Takes settings, from the next query on.
    pub fn set(&self, settings: TransferSettings) {
        if !settings.is_used() {
            self.history().forget();
        }
        self.settings.store(Arc::new(settings));
    }

    /// True when anybody may transfer the zone, is told of it, or may change it.
    pub(crate) fn is_used(&self) -> bool {
        self.settings.load().is_used()
    }

    /// True when somebody may send more than queries that resolvers send.
    pub(crate) fn takes_requests(&self) -> bool {
        let settings = self.settings.load();
        settings.is_used() || !settings.primaries.is_empty()
    }

    /// The settings that it has now.
    pub(crate) fn settings(&self) -> Arc<TransferSettings> {
        self.settings.load_full()
    }

    /// Waits until a primary has said that it has something new.
    pub(crate) async fn notified(&self) -> PrimaryNews {
        self.inbound.wait().await
    }

    /// Has a NOTIFY come from `from`.
    #[cfg(test)]
    pub(crate) fn put_notify(&self, from: std::net::IpAddr) {
        self.inbound.put(from, None);
    }

    /// Notes the serial that the primaries have.
    pub(crate) fn set_primary_serial(&self, serial: u32) {
        self.inbound.set_serial(serial);
        self.metrics.primary_serial.with_label_values(&[&self.label]).set(serial.into());
    }

    /// Shows until when the zone may be served, as far as its primaries have confirmed it.
    pub(crate) fn set_expires(&self, expires: Option<Timestamp>) {
        let seconds = expires.map_or(0, |at| at.secs().cast_signed());
        self.metrics.zone_expires_timestamp_seconds.with_label_values(&[&self.label]).set(seconds);
    }

    /// Makes the series of a zone that comes from primaries.
    pub(crate) fn add_incoming(&self) {
        self.metrics.add_incoming(&self.label);
    }

    /// Counts a transfer from a primary.
    pub(crate) fn count_incoming(&self, kind: &str, is_ok: bool) {
        let result = if is_ok { "ok" } else { "failed" };
        self.metrics.incoming_transfers_total.with_label_values(&[&self.label, kind, result]).inc();
    }

    /// Notes what a version changes that is written down now, and served then, if that goes well; gives the differences that lead to it, the
    /// oldest first.
    pub(crate) fn prepare(&self, before: Option<&SignedZone>, new: &Arc<SignedZone>) -> Vec<Arc<Difference>> {
        if !self.is_used() {
            return Vec::new();
        }
        if self.history().pending(new).is_none() {
            let step = step_between(before, new);
            self.history().set_pending(new, step);
        }
        self.history().all_to(new)
    }

    /// Notes what a new version changes. Called before it is served, so that there is no time in which a secondary cannot be told what
    /// changed.
    pub(crate) fn record(&self, before: Option<&SignedZone>, new: &Arc<SignedZone>) {
        if !self.is_used() {
            return;
        }
        let prepared = self.history().pending(new).cloned();
        let step = prepared.unwrap_or_else(|| step_between(before, new));
        self.history().push(step, new.serial(), history::most_octets(new.transfer_octets()));
    }

    /// Takes the differences that lead to this version, which is served, from an earlier process.
    pub(crate) fn restore_history(&self, differences: Vec<Arc<Difference>>, version: &SignedZone) {
        if self.is_used() {
            let most = history::most_octets(version.transfer_octets());
            self.history().restore(differences, version.serial(), most);
        }
    }

    /// The same for a version without signatures; the serial of the new one is another one.
    pub(crate) fn record_plain(&self, before: Option<&PlainVersion>, new: &PlainVersion) {
        let difference = before.map(|before| Difference::of_lists(before.lists(), new.lists()));
        match difference.filter(|_| self.is_used()) {
            Some(difference) => {
                let step = Step::Difference(Arc::new(difference));
                self.history().push(step, new.lists().0, history::most_octets(new.octets()));
            }
            None => self.history().forget(),
        }
    }

    /// Tells of a version that is served from now on, on every socket.
    pub(crate) fn announce(&self, version: &TransferVersion) {
        let serial = version.serial();
        let (mut soa, mut ttl) = (Vec::new(), 0);
        version.put_soa(&mut |record| {
            (soa, ttl) = (record.rdata.to_vec(), record.ttl);
            true
        });
        let is_repeated = self.history().is_ambiguous(serial);
        self.versions.send_replace(Some(Version { serial, soa, ttl, is_repeated }));
    }

    /// How the secondaries stand that are told of the versions.
    #[must_use]
    pub fn secondaries(&self) -> BTreeMap<SocketAddr, SecondaryStanding> {
        self.secondaries.standing()
    }

    /// What a client is sent that has the version `serial` (RFC 1995 sections 2 and 4): the SOA record where it has all that there is,
    /// the difference where that is known and smaller than the zone, else the whole zone.
    fn since(&self, serial: u32, version: &TransferVersion) -> Content {
        // Serials that are 2^31 apart have no order (RFC 1982 section 3.2): the client gets what is there.
        match serial.wrapping_sub(version.serial()) {
            0..0x8000_0000 => Content::Soa(version.clone()),
            _ => match self.difference(serial, version.serial()) {
                Some(difference) if difference.octets() < version.octets() => Content::Difference(difference),
                _ => Content::Zone(version.clone()),
            },
        }
    }

    /// True when a secondary that has the version with serial `from` can be sent what leads to the one with serial `to`.
    #[must_use]
    pub fn knows_what_changed(&self, from: u32, to: u32) -> bool {
        !self.history().steps(from, to).is_empty()
    }

    /// What leads from one serial to another, in one difference. It is merged outside of the lock, which queries and publications wait for.
    fn difference(&self, from: u32, to: u32) -> Option<Arc<Difference>> {
        let steps = self.history().steps(from, to);
        history::merge(&steps)
    }

    /// The difference from the version before to `serial`, when it begins at `from`: what is looked at for a query over UDP, whose sender
    /// may be forged, must cost nothing.
    pub(crate) fn last_difference(&self, from: u32, serial: u32) -> Option<Arc<Difference>> {
        self.history().last().filter(|last| last.from() == from && last.to() == serial)
    }

    /// Counts a transfer that ended.
    fn count_transfer(&self, kind: &str, is_ok: bool) {
        let result = if is_ok { "ok" } else { "failed" };
        self.metrics.transfers_total.with_label_values(&[&self.label, kind, result]).inc();
    }

    /// Counts a request that is refused; the reason is one of [`TRANSFER_REFUSALS`].
    fn count_refused(&self, reason: &str) {
        debug_assert!(TRANSFER_REFUSALS.contains(&reason));
        self.metrics.transfers_refused_total.with_label_values(&[&self.label, reason]).inc();
    }

    /// Counts an update that was answered; the result is one of [`UPDATE_RESULTS`].
    fn count_update(&self, result: &str) {
        debug_assert!(UPDATE_RESULTS.contains(&result));
        self.metrics.updates_total.with_label_values(&[&self.label, result]).inc();
    }

    /// Counts a NOTIFY.
    fn count_notify(&self, is_ok: bool) {
        let result = if is_ok { "ok" } else { "failed" };
        self.metrics.notifies_total.with_label_values(&[&self.label, result]).inc();
    }

    /// Notes the serial that a secondary was seen to have.
    fn seen(&self, secondary: SocketAddr, serial: u32, has_it: bool, now: Timestamp) {
        self.secondaries.seen(secondary, serial, has_it, now);
        let labels = [self.label.as_str(), &secondary.to_string()];
        self.metrics.secondary_serial.with_label_values(&labels).set(serial.into());
    }

    /// Forgets the secondaries that are told no more.
    fn keep_secondaries(&self, kept: &[SocketAddr]) {
        for gone in self.secondaries.keep(kept) {
            self.metrics.secondary_serial.remove(&[&self.label, &gone.to_string()]);
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What leads from the version that is served to a new one; it walks both where they share little.
fn step_between(before: Option<&SignedZone>, new: &SignedZone) -> Step {
    let Some(before) = before else { return Step::First };
    match Difference::between(before, new, history::most_octets(new.transfer_octets())) {
        Some(difference) => Step::Difference(Arc::new(difference)),
        None => Step::Whole(before.serial()),
    }
}
