//! Tells secondaries of new versions (RFC 1996), again and again until each is seen to have the serial.
//!
//! ```text
//! publish ──▶ NOTIFY ──▶ pause ──▶ SOA query ──▶ it has the serial: done until the next version
//!               ▲                     └─ it has not: a longer pause, and where nobody acknowledged it, NOTIFY again
//! ```
//!
//! An answer to NOTIFY is no proof: what counts is the serial that the secondary serves. Each secondary has a task of its own, so that one
//! which is down does not delay the others.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::rdata::UnknownRecordData;
use domain::base::{Message, MessageBuilder, Name as WireName, Rtype as WireRtype, Ttl};
use domain::rdata::Soa;
use domain::rdata::tsig::Time48;
use domain::tsig::{ClientTransaction, Key};
use keystore::config::transfer::NotifyTarget;
use keystore::dns::Name;
use keystore::tsig::TsigKey;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout_at};

use super::wire_key::wire_key;
use super::{Clock, Version, ZoneTransfers};

/// Pauses between NOTIFY and the first SOA query, and between one SOA query and the next; the last one goes on.
const PAUSES: [Duration; 9] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_secs(60),
];
/// A NOTIFY that was acknowledged is sent again after so many SOA queries in vain: the secondary may have failed to transfer.
const AGAIN: usize = 4;
/// Time from one NOTIFY to the next of the same zone to one secondary, so that many versions a second are not as many messages.
const LEAST_GAP: Duration = Duration::from_millis(100);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// Exchanges with one address at once, over all zones.
const AT_ONCE: usize = 16;
/// Time after which a secondary that was seen to have the version is asked again: it may have lost the zone.
const RECHECK: Duration = Duration::from_secs(600);
/// Why a secondary cannot get a version that was signed anew under the serial of the one before.
const REPEATED: &str = "the zone was signed anew under the serial that it had, which no secondary takes; see the condition of the signer's state";
/// Largest answer that is taken, in octets.
pub(super) const MAX_ANSWER: usize = 4096;

/// The tasks of all secondaries. Dropping it ends them.
pub struct Notifier {
    runtime: Handle,
    clock: Clock,
    tasks: Mutex<HashMap<(Name, NotifyTarget), Task>>,
    zones: Mutex<Vec<Arc<ZoneTransfers>>>,
    /// How many exchanges with an address may be under way.
    at_once: Mutex<HashMap<SocketAddr, Arc<Semaphore>>>,
}

#[derive(Debug)]
struct Task {
    key: Option<TsigKey>,
    transfers: Arc<ZoneTransfers>,
    handle: JoinHandle<()>,
}

impl Notifier {
    /// Works on `runtime`; tells nobody before [`Self::follow`].
    #[must_use]
    pub fn new(runtime: Handle, clock: Clock) -> Self {
        Self { runtime, clock, tasks: Mutex::default(), zones: Mutex::default(), at_once: Mutex::default() }
    }

    /// Follows these zones from now on, and none else, each with the settings that it has now. Call it again after each change of them.
    pub fn follow(&self, zones: Vec<(Name, Arc<ZoneTransfers>)>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *tasks);
        let followed: Vec<Arc<ZoneTransfers>> =
            zones.iter().map(|(_, transfers)| Arc::clone(transfers)).collect();
        for (zone, transfers) in zones {
            let settings = transfers.settings.load_full();
            for target in &settings.notify {
                let named = target.key.as_ref();
                let key = named.and_then(|name| settings.keys.keys.iter().find(|key| key.name == *name));
                if let (Some(name), None) = (named, key) {
                    // Without its signature the secondary would not take the message.
                    let error =
                        format!("the key {name} is in no file of transfer.key-files that can be read");
                    transfers.secondaries.cannot_be_told(target.address, error, (self.clock)());
                    continue;
                }
                let id = (zone.clone(), target.clone());
                match before.remove(&id) {
                    Some(task) if task.key.as_ref() == key && Arc::ptr_eq(&task.transfers, &transfers) => {
                        tasks.insert(id, task);
                        continue;
                    }
                    Some(task) => task.handle.abort(),
                    None => {}
                }
                let secondary = Secondary {
                    zone: zone.clone(),
                    address: target.address,
                    key: key.and_then(wire_key),
                    transfers: Arc::clone(&transfers),
                    at_once: self.at_once(target.address),
                    clock: Arc::clone(&self.clock),
                };
                let handle = self.runtime.spawn(secondary.follow());
                let (key, transfers) = (key.cloned(), Arc::clone(&transfers));
                tasks.insert(id, Task { key, transfers, handle });
            }
        }
        // First the tasks end, then what they noted is forgotten.
        before.values().for_each(|task| task.handle.abort());
        let is_followed: HashSet<*const ZoneTransfers> = followed.iter().map(Arc::as_ptr).collect();
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in zones.iter().filter(|zone| !is_followed.contains(&Arc::as_ptr(zone))) {
            gone.keep_secondaries(&[]);
        }
        for zone in &followed {
            let told = zone.settings.load_full();
            zone.keep_secondaries(&told.notify.iter().map(|target| target.address).collect::<Vec<_>>());
        }
        *zones = followed;
    }

    /// The semaphore of an address: all zones share it, so that a server of many zones is not flooded, and no other server waits for it.
    fn at_once(&self, address: SocketAddr) -> Arc<Semaphore> {
        let mut all = self.at_once.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(address).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner).values().for_each(|t| t.handle.abort());
    }
}

/// One secondary of one zone.
struct Secondary {
    zone: Name,
    address: SocketAddr,
    key: Option<Arc<Key>>,
    transfers: Arc<ZoneTransfers>,
    at_once: Arc<Semaphore>,
    clock: Clock,
}

/// Why a message has no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("it does not answer: {0}")]
    Io(#[from] io::Error),
    #[error("the message cannot be written")]
    Unwritable,
    #[error("it answers {0}")]
    Rcode(Rcode),
    #[error("its answer is not signed as it should be: {0}")]
    Tsig(#[from] domain::tsig::ValidationError),
    #[error("its answer is not authoritative")]
    NotAuthoritative,
    #[error("its answer has no SOA record of the zone")]
    NoSoa,
}

impl Secondary {
    /// Follows the versions of the zone, for ever.
    async fn follow(self) {
        let mut versions = self.transfers.versions.subscribe();
        // What runs already has mostly what was served last: it is asked before it is told.
        let mut is_asked_first = true;
        loop {
            let version = versions.borrow_and_update().clone();
            match version {
                Some(version) if version.is_repeated => {
                    self.transfers.secondaries.cannot_be_told(
                        self.address,
                        REPEATED.to_owned(),
                        (self.clock)(),
                    );
                }
                Some(version) => {
                    self.transfers.secondaries.wants(self.address, version.serial, (self.clock)());
                    tokio::select! {
                        () = self.bring(&version, is_asked_first) => {}
                        changed = versions.changed() => {
                            if changed.is_err() {
                                return;
                            }
                            is_asked_first = false;
                            sleep(LEAST_GAP).await;
                            continue;
                        }
                    }
                }
                None => {}
            }
            tokio::select! {
                changed = versions.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    is_asked_first = false;
                }
                () = sleep(RECHECK) => is_asked_first = true,
            }
        }
    }

    /// Tells the secondary of a version, and returns when it was seen to have it, or a later one.
    async fn bring(&self, version: &Version, is_asked_first: bool) {
        if is_asked_first && self.has(version).await {
            return;
        }
        let mut is_acknowledged = false;
        for turn in 0_usize.. {
            if !is_acknowledged || turn.is_multiple_of(AGAIN) {
                is_acknowledged = self.tell(version).await;
            }
            sleep(*PAUSES.get(turn).unwrap_or(&PAUSES[PAUSES.len() - 1])).await;
            if self.has(version).await {
                return;
            }
        }
    }

    /// Sends NOTIFY; true when the secondary answered, whatever it said: it is not asked again at once (RFC 1996 section 4.8).
    async fn tell(&self, version: &Version) -> bool {
        let told = self.exchange(|id| notify(&self.zone, version, id)).await;
        let told = told.and_then(|answer| match answer.header().rcode() {
            Rcode::NOERROR => Ok(()),
            rcode => Err(NoAnswer::Rcode(rcode)),
        });
        self.transfers.count_notify(told.is_ok());
        match told {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(zone = %self.zone, secondary = %self.address, serial = version.serial, %error, "NOTIFY was not taken");
                let answered = !matches!(error, NoAnswer::Io(_) | NoAnswer::Unwritable);
                self.transfers.secondaries.failed(self.address, format!("NOTIFY: {error}"));
                answered
            }
        }
    }

    /// Asks for the serial; true when it is that of the version, or a later one.
    async fn has(&self, version: &Version) -> bool {
        match self
            .exchange(|id| soa_query(&self.zone, id))
            .await
            .and_then(|answer| serial_of(&self.zone, &answer))
        {
            Ok(serial) => {
                // While the answer was under way a later version may have been published, and fetched.
                let newest =
                    self.transfers.versions.borrow().as_ref().map_or(version.serial, |newest| newest.serial);
                let has = serial.wrapping_sub(version.serial) <= newest.wrapping_sub(version.serial);
                self.transfers.seen(self.address, serial, has, (self.clock)());
                if !has && serial.wrapping_sub(newest) < 0x8000_0000 {
                    let error = format!(
                        "serial {serial} was never served here and is ahead, so that it takes nothing from here; let the SOA serial of the zone file go beyond it, or have the secondary transfer the zone anew"
                    );
                    self.transfers.secondaries.failed(self.address, error);
                }
                if has {
                    tracing::debug!(zone = %self.zone, secondary = %self.address, serial, "the secondary has the version");
                }
                has
            }
            Err(error) => {
                self.transfers.secondaries.failed(self.address, format!("SOA query: {error}"));
                false
            }
        }
    }

    /// Sends a message, signed where there is a key, and gives the answer, which was found to be signed.
    async fn exchange(
        &self,
        build: impl Fn(u16) -> Option<Additional>,
    ) -> Result<Message<Vec<u8>>, NoAnswer> {
        // The semaphore is never closed.
        let _permit = self.at_once.acquire().await;
        let id = message_id();
        let mut message = build(id).ok_or(NoAnswer::Unwritable)?;
        let transaction = match &self.key {
            Some(key) => {
                let time = Time48::from_u64((self.clock)().secs());
                let signed = ClientTransaction::request(Arc::clone(key), &mut message, time);
                Some(signed.map_err(|_| NoAnswer::Unwritable)?)
            }
            None => None,
        };
        let any: IpAddr =
            if self.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(self.address).await?;
        socket.send(&message.finish()).await?;
        let until = tokio::time::Instant::from_std(Instant::now() + ANSWER);
        let mut octets = vec![0; MAX_ANSWER];
        loop {
            let len = timeout_at(until, socket.recv(&mut octets)).await.map_err(io::Error::from)??;
            let Ok(mut answer) = Message::from_octets(octets[..len].to_vec()) else { continue };
            if answer.header().id() != id || !answer.header().qr() {
                continue;
            }
            if let Some(transaction) = transaction {
                let time = Time48::from_u64((self.clock)().secs());
                // A server that refuses says so, mostly without a signature.
                if answer.header().rcode() != Rcode::NOERROR {
                    return Err(NoAnswer::Rcode(answer.header().rcode()));
                }
                transaction.answer(&mut answer, time)?;
            }
            return Ok(answer);
        }
    }
}

/// The serial in an authoritative answer of the secondary.
pub(super) fn serial_of(zone: &Name, answer: &Message<Vec<u8>>) -> Result<u32, NoAnswer> {
    if answer.header().rcode() != Rcode::NOERROR {
        return Err(NoAnswer::Rcode(answer.header().rcode()));
    }
    if !answer.header().aa() {
        return Err(NoAnswer::NotAuthoritative);
    }
    let section = answer.answer().map_err(|_| NoAnswer::NoSoa)?;
    let soa = section.limit_to::<Soa<_>>().flatten().next().ok_or(NoAnswer::NoSoa)?;
    let mut owner = Vec::new();
    domain::base::name::ToName::compose(soa.owner(), &mut owner).map_err(|_| NoAnswer::NoSoa)?;
    if !owner.eq_ignore_ascii_case(zone.as_wire()) {
        return Err(NoAnswer::NoSoa);
    }
    Ok(soa.data().serial().into_int())
}

pub(super) type Additional = domain::base::message_builder::AdditionalBuilder<Vec<u8>>;

fn wire(name: &Name) -> Option<WireName<Vec<u8>>> {
    WireName::from_octets(name.as_wire().to_vec()).ok()
}

/// NOTIFY with the SOA record, as a hint (RFC 1996 section 3.7).
fn notify(zone: &Name, version: &Version, id: u16) -> Option<Additional> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_opcode(Opcode::NOTIFY);
    builder.header_mut().set_aa(true);
    let mut question = builder.question();
    question.push((wire(zone)?, WireRtype::SOA)).ok()?;
    let mut answer = question.answer();
    let rdata = UnknownRecordData::from_octets(WireRtype::SOA, version.soa.as_slice()).ok()?;
    answer.push((wire(zone)?, Class::IN, Ttl::from_secs(version.ttl), rdata)).ok()?;
    Some(answer.additional())
}

pub(super) fn soa_query(zone: &Name, id: u16) -> Option<Additional> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    let mut question = builder.question();
    question.push((wire(zone)?, WireRtype::SOA)).ok()?;
    Some(question.additional())
}

/// A message ID that nobody can guess: the keys of the standard library's hasher are random.
pub(super) fn message_id() -> u16 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u16
}
