//! Zone transfers to secondaries: AXFR (RFC 5936), IXFR (RFC 1995), TSIG (RFC 8945), the option EXPIRE (RFC 7314).
//!
//! ```text
//! query octets ──request──▶ TSIG right? ──▶ allowed? ──▶ Content ──▶ Messages ──border::tcp──▶ client
//!                                                         ▲
//! publish: version before, new version ──Difference──▶ History
//! ```
//!
//! A transfer is made from the version that is served when the query comes; what is published later does not disturb it. Only the message
//! under way is in memory.

mod access;
#[cfg(feature = "testing")]
pub(crate) mod fuzzing;
mod history;
mod message;
pub mod notify;
mod outgoing;
pub(crate) mod request;
mod secondary;
#[cfg(test)]
mod tests;
mod tsig;
mod wire_key;

pub(crate) use access::load_keys;
pub use access::{TransferKeys, TransferSettings};
pub use secondary::SecondaryStanding;
#[doc(hidden)]
pub use wire_key::wire_key;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::zones::TRANSFER_REFUSALS;
use tokio::sync::watch;

use crate::difference::Difference;
use crate::signing::SignedZone;
use crate::zone::Records;
use history::History;
use outgoing::Content;
use secondary::Secondaries;

/// Tells the time; `keystore::clock::now` outside of tests.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What transfers need of a zone, for one query.
pub struct Transferable {
    /// The version that is served; `None` = nothing is.
    pub(crate) signed: Option<Arc<SignedZone>>,
    pub(crate) transfers: Arc<ZoneTransfers>,
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
}

/// What NOTIFY says of a version.
#[derive(Debug, Clone)]
struct Version {
    serial: u32,
    /// RDATA and TTL of the SOA record.
    soa: Vec<u8>,
    ttl: u32,
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
        }
    }

    /// Takes settings, from the next query on.
    pub fn set(&self, settings: TransferSettings) {
        if !settings.is_used() {
            self.history().forget();
        }
        self.settings.store(Arc::new(settings));
    }

    /// True when anybody may transfer the zone.
    pub(crate) fn is_used(&self) -> bool {
        self.settings.load().is_used()
    }

    /// Notes what a new version changes. Called before it is served, so that there is no time in which a secondary cannot be told what
    /// changed.
    pub(crate) fn record(&self, before: Option<&SignedZone>, new: &SignedZone) {
        if !self.is_used() {
            return;
        }
        // Walks both versions: outside of the lock.
        let difference = before.map(|before| Difference::between(before, new));
        let mut history = self.history();
        match difference {
            Some(difference) => history.push(difference, new.transfer_octets()),
            None => history.forget(),
        }
    }

    /// Tells of a version that is served from now on, on every socket.
    pub(crate) fn announce(&self, signed: &SignedZone) {
        let view = signed.soa();
        let soa = Records(view.data).next().unwrap_or_default().to_vec();
        self.versions.send_replace(Some(Version { serial: signed.serial(), soa, ttl: view.ttl }));
    }

    /// How the secondaries stand that are told of the versions.
    #[must_use]
    pub fn secondaries(&self) -> BTreeMap<SocketAddr, SecondaryStanding> {
        self.secondaries.standing()
    }

    /// What a client is sent that has the version `serial` (RFC 1995 sections 2 and 4): the SOA record where it has all that there is,
    /// the difference where that is known and smaller than the zone, else the whole zone.
    fn since(&self, serial: u32, signed: &Arc<SignedZone>) -> Content {
        // Serials that are 2^31 apart have no order (RFC 1982 section 3.2): the client gets what is there.
        match serial.wrapping_sub(signed.serial()) {
            0..0x8000_0000 => Content::Soa(Arc::clone(signed)),
            _ => match self.history().between(serial, signed.serial()) {
                Some(difference) if difference.octets() < signed.transfer_octets() => {
                    Content::Difference(difference)
                }
                _ => Content::Zone(Arc::clone(signed)),
            },
        }
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

    /// Counts a NOTIFY.
    fn count_notify(&self, is_ok: bool) {
        let result = if is_ok { "ok" } else { "failed" };
        self.metrics.notifies_total.with_label_values(&[&self.label, result]).inc();
    }

    /// Notes the serial that a secondary was seen to have.
    fn seen(&self, secondary: SocketAddr, serial: u32, has_it: bool) {
        self.secondaries.seen(secondary, serial, has_it);
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
