//! One look at a primary: is there something newer, and if so, what.
//!
//! ```text
//! SOA query ──the same serial──▶ nothing
//!     └─ newer ──▶ IXFR ──▶ a change, or the whole zone
//!                   └─ it fails, but for its signature ──▶ AXFR ──▶ the whole zone
//! ```
//!
//! All of it goes over one connection. Where nothing is here yet, AXFR comes first.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keystore::dns::{Name, Rtype};

use super::connection::{Connection, LookTime, Primary};
use super::content::{Gathered, Gathering};
use super::fault::TransferFault;
use super::serial;
use super::soa::{PrimaryVersion, SoaQuery};
use super::stream::{StreamLimits, TransferProgress, TransferRequest, TransferStream};
use super::timer::{LookFailure, Looked, SoaTimes};
use super::tls::TlsClients;
use super::wire::ReceivedRecord;
use crate::clock::Clock;
use crate::rules::ZoneRules;
use crate::zone::{ContentChange, NodeId, Records, Zone};

/// Octets of a transfer that are taken where nothing is here to compare with: no zone has more.
const FIRST_OCTETS: u64 = 4 << 30;
/// Octets that each transfer may have whatever others are under way.
const FREE_OCTETS: u64 = 64 << 20;
/// Octets that all transfers under way may have together beyond that.
const MOST_UNDER_WAY: u64 = 4 << 30;
/// Octets that a transfer may have beyond twice those of the zone that is here.
const MORE_OCTETS: u64 = 64 << 20;
/// Most records of a zone.
pub(super) const MOST_RECORDS: u64 = 1 << 30;

/// What a look needs to know.
pub(super) struct Look {
    pub zone: Name,
    pub rules: ZoneRules,
    /// `max-octets`: octets of a transfer that are taken; `None` = by the size of what is here.
    pub max_octets: Option<u64>,
    /// Most records of a transfer.
    pub max_records: u64,
    /// What is here.
    pub here: Option<Arc<Zone>>,
    pub clock: Clock,
    /// What is needed for TLS.
    pub clients: Arc<TlsClients>,
    /// What all looks together have under way.
    pub under_way: Arc<OctetsUnderWay>,
}

/// The octets of all transfers that are under way, on the wire, as far as each has more than [`FREE_OCTETS`].
#[derive(Debug, Default)]
pub(super) struct OctetsUnderWay(AtomicU64);

/// The part of one transfer, given back when it is dropped.
struct OctetsOfOne<'a> {
    all: &'a OctetsUnderWay,
    own: u64,
}

impl OctetsOfOne<'_> {
    /// Takes a message of so many octets. A transfer that is not large is never in the way of others, nor they in its; the only large one
    /// that is under way may have as many as it is allowed.
    fn add(&mut self, octets: usize) -> Result<(), TransferFault> {
        let before = self.counted();
        self.own += octets as u64;
        let more = self.counted() - before;
        let all = self.all.0.fetch_add(more, Ordering::Relaxed) + more;
        if more > 0 && all > MOST_UNDER_WAY && all > self.counted() {
            return Err(TransferFault::TooMuchAtOnce { limit: MOST_UNDER_WAY });
        }
        Ok(())
    }

    const fn counted(&self) -> u64 {
        self.own.saturating_sub(FREE_OCTETS)
    }
}

impl Drop for OctetsOfOne<'_> {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.counted(), Ordering::Relaxed);
    }
}

/// What a look has found.
#[derive(Debug)]
pub(super) struct Seen {
    pub version: PrimaryVersion,
    pub news: News,
    /// The serial that the primary answered the question for its SOA record with, where it was asked. One with a database may send a transfer
    /// of an older one behind it.
    pub answered: u32,
}

impl Seen {
    /// What the timer goes by, where nothing of it is here yet.
    pub const fn looked(&self, primary: &Primary) -> Looked {
        let PrimaryVersion { serial, times, expire } = self.version;
        Looked { by: primary.address, serial, answered: self.answered, is_new: false, times, expire }
    }
}

/// A look that failed with every primary.
pub(super) struct FailedLook<Why> {
    pub failure: LookFailure,
    pub why: Why,
}

/// What is to be taken over.
#[derive(Debug)]
pub(super) enum News {
    Nothing,
    Whole(Box<Zone>),
    Change(ContentChange),
}

/// How a transfer went, for the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub serial: u32,
    pub messages: u64,
    pub records: u64,
    pub octets: u64,
    /// DNSSEC records of the primary that were left out.
    pub left_out: u64,
    /// Records whose TTL is above `max-zone-ttl`, and which are taken.
    pub above_max_ttl: u64,
}

/// How a transfer was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TransferKind {
    Axfr,
    Ixfr,
}

impl TransferKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Axfr => "axfr",
            Self::Ixfr => "ixfr",
        }
    }
}

impl Look {
    /// Looks at a primary. `told` hears how each transfer went.
    pub async fn at(
        &self,
        primary: &Primary,
        time: LookTime,
        told: &(dyn Fn(TransferKind, Result<Received, &TransferFault>) + Sync),
    ) -> Result<Seen, TransferFault> {
        let mut connection = Connection::open(primary, &self.clients, time).await?;
        let mut answered = None;
        if let Some(here) = &self.here {
            let version = self.version(&mut connection, primary).await?;
            answered = Some(version.serial);
            let ours = here.serial();
            if version.serial == ours {
                return Ok(Seen { version, news: News::Nothing, answered: ours });
            }
            if serial::is_newer(ours, version.serial) {
                return Err(TransferFault::SerialBack { ours, theirs: version.serial });
            }
            match self.transfer(&mut connection, primary, Some(here), told).await {
                // It said that it has a newer version.
                Ok(Seen { news: News::Nothing, version, .. }) if version.serial == ours => {}
                Err(fault) if fault.whole_zone_may_help() => {
                    // What is left of the answer would stand in front of the next one, unless it was one message.
                    if !matches!(fault, TransferFault::Rcode(_)) {
                        connection = Connection::open(primary, &self.clients, time).await?;
                    }
                }
                settled => return settled.map(|seen| Seen { answered: version.serial, ..seen }),
            }
        }
        let seen = self.transfer(&mut connection, primary, None, told).await?;
        Ok(Seen { answered: answered.unwrap_or(seen.answered), ..seen })
    }

    async fn version(
        &self,
        connection: &mut Connection,
        primary: &Primary,
    ) -> Result<PrimaryVersion, TransferFault> {
        let (query, reader) =
            SoaQuery::begin(&self.zone, primary.key.as_ref(), message_id(), (self.clock)())?;
        connection.send(&query).await?;
        let message = connection.receive().await?.ok_or(TransferFault::CutOff { records: 0 })?;
        reader.read(message, (self.clock)())
    }

    /// Transfers what changed since `since`, or the whole zone.
    async fn transfer(
        &self,
        connection: &mut Connection,
        primary: &Primary,
        since: Option<&Arc<Zone>>,
        told: &(dyn Fn(TransferKind, Result<Received, &TransferFault>) + Sync),
    ) -> Result<Seen, TransferFault> {
        let kind = if since.is_some() { TransferKind::Ixfr } else { TransferKind::Axfr };
        match self.receive(connection, primary, since).await {
            Ok((seen, received)) => {
                told(kind, Ok(received));
                Ok(seen)
            }
            Err(fault) => {
                told(kind, Err(&fault));
                Err(fault)
            }
        }
    }

    async fn receive(
        &self,
        connection: &mut Connection,
        primary: &Primary,
        since: Option<&Arc<Zone>>,
    ) -> Result<(Seen, Received), TransferFault> {
        let soa = since.map(|zone| soa_of(zone));
        let ours = self.here.as_ref().map(|zone| zone.serial());
        let request = soa.as_ref().map_or(TransferRequest::Axfr(ours), TransferRequest::Ixfr);
        let (id, now) = (message_id(), (self.clock)());
        let key = primary.key.as_ref();
        let (query, mut stream) = TransferStream::begin(&self.zone, request, key, self.limits(), id, now)?;
        connection.send(&query).await?;
        let mut gathering = Gathering::new(self.zone.clone(), self.rules);
        let mut held = OctetsOfOne { all: &self.under_way, own: 0 };
        let progress = loop {
            let message = connection.receive().await?;
            let message = message.ok_or(TransferFault::CutOff { records: stream.records() })?;
            held.add(message.len())?;
            let progress = stream.take(message, (self.clock)(), &mut |event| gathering.put(event))?;
            match progress {
                TransferProgress::Goes => {}
                progress => break progress,
            }
        };
        let (TransferProgress::Nothing { serial }
        | TransferProgress::Whole { serial }
        | TransferProgress::Differences { serial }) = progress
        else {
            return Err(TransferFault::NoSoa);
        };
        let version = PrimaryVersion {
            serial,
            times: stream.times().ok_or(TransferFault::NoSoa)?,
            expire: stream.expire(),
        };
        let received = Received {
            serial,
            messages: stream.messages(),
            records: stream.records(),
            octets: stream.octets(),
            left_out: gathering.left_out(),
            above_max_ttl: gathering.above_max_ttl(),
        };
        let news = match progress {
            TransferProgress::Nothing { .. } => News::Nothing,
            _ => self.news(gathering).await?,
        };
        Ok((Seen { version, news, answered: serial }, received))
    }

    /// What was gathered, put together away from the threads that wait for sockets: a large zone takes long.
    async fn news(&self, gathering: Gathering) -> Result<News, TransferFault> {
        let here = self.here.clone();
        let finished = tokio::task::spawn_blocking(move || gathering.finish(here.as_deref()));
        let gathered = finished.await.map_err(|error| TransferFault::NotTaken(error.to_string()))??;
        Ok(match gathered {
            Gathered::Whole(zone) => News::Whole(zone),
            Gathered::Change(Some(change)) => News::Change(change),
            Gathered::Change(None) => News::Nothing,
        })
    }

    fn limits(&self) -> StreamLimits {
        let by_size = self.here.as_ref().map_or(FIRST_OCTETS, |here| 2 * here.octets() as u64 + MORE_OCTETS);
        StreamLimits { octets: self.max_octets.unwrap_or(by_size), records: self.max_records }
    }
}

/// The SOA record of a zone as it came.
pub(super) fn soa_of(zone: &Zone) -> ReceivedRecord {
    let (_, set) = zone.soa();
    ReceivedRecord {
        owner: zone.owner(NodeId::APEX).to_vec(),
        rtype: Rtype::SOA,
        class: 1,
        ttl: set.ttl,
        rdata: Records(set.data).next().unwrap_or_default().to_vec(),
    }
}

/// The times of the SOA record of a zone.
pub(super) fn times_of(zone: &Zone) -> Option<SoaTimes> {
    SoaTimes::of_rdata(&soa_of(zone).rdata)
}

/// A message ID that nobody can guess: the keys of the standard library's hasher are random.
fn message_id() -> u16 {
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_share_the_octets_under_way_and_give_theirs_back_when_they_end() {
        let all = OctetsUnderWay::default();
        let one = || OctetsOfOne { all: &all, own: 0 };
        let (most, free) = (MOST_UNDER_WAY as usize, FREE_OCTETS as usize);
        let mut first = one();
        first.add(most).expect("all there are");
        first.add(most).expect("the only one may have more");
        let mut second = one();
        second.add(free).expect("what is not large is not in the way");
        let fault = second.add(1).expect_err("there is no room");
        assert!(matches!(fault, TransferFault::TooMuchAtOnce { .. }) && !fault.whole_zone_may_help());
        drop(second);
        drop(first);
        let (mut first, mut second) = (one(), one());
        first.add(free + most - 1).expect("room");
        second.add(free + 1).expect("room");
        assert!(first.add(1).is_err() && second.add(1).is_err());
        drop((first, second));
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }
}
