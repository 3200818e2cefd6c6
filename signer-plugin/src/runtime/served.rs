//! A zone as queries see it: the snapshot in force, and the counters of its answers.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use keystore::dns::{Name, name};
use keystore::pair::Fence;
use keystore::time::Timestamp;
use metrics::Metrics;
use metrics::health::report::SignerCondition;
use metrics::health::revision::Revision;
use metrics::zones::ANSWER_KINDS;

use crate::answer::{AnswerKind, AnswerOutcome, Arrival, Context, answer, answer_not_ready, look_ahead};
use crate::clock::Clock;
use crate::content::ChangeQueue;
use crate::hosted::{Responder, Version};
use crate::runtime::status::{StatusFeed, ZoneEvent, ZoneStatus};
use crate::signing::{SignedZone, SigningProgress};
use crate::transfer::version::TransferVersion;
use crate::transfer::{SecondaryStanding, Transferable, ZoneTransfers};
use crate::zone::Zone;

/// How a zone stands after its last step, for whoever shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServedState {
    /// A version of the zone was read.
    pub loaded: bool,
    /// Why the zone file as it lies there cannot be read.
    pub file_error: Option<String>,
    /// A full set of valid signatures is served.
    pub validly_signed: bool,
    /// Why not.
    pub why_not: Option<&'static str>,
    /// The accepted generation in use; 0 = none.
    pub generation: u64,
    /// The SOA serial that is served; 0 = nothing is served, see [`Self::is_served`].
    pub serial: u32,
    /// A version is served.
    pub is_served: bool,
    /// The soonest end of a signature that a ZSK has made.
    pub zsk_expires: Option<Timestamp>,
    /// Remaining seconds at which a signature is renewed.
    pub refresh: u32,
    /// Why ZSKs that are due cannot sign, one sentence each.
    pub key_errors: Vec<String>,
    /// What keeps the zone from following its files.
    pub conditions: Vec<SignerCondition>,
    /// What comes next by the time alone.
    pub next_event: Option<ZoneEvent>,
    /// The secondaries that are told of each version.
    pub secondaries: BTreeMap<SocketAddr, SecondaryStanding>,
    /// What is being done for it at this moment.
    pub work: Option<ZoneWork>,
}

impl ServedState {
    /// True when nothing differs that somebody may have to act on.
    fn is_alike(&self, other: &Self) -> bool {
        let (serial, zsk_expires, next_event) = (other.serial, other.zsk_expires, other.next_event);
        Self { serial, zsk_expires, next_event, ..self.clone() } == *other
    }

    /// The newest of the errors that hold.
    fn last_error(&self) -> Option<&str> {
        let newest = self.conditions.iter().max_by_key(|condition| condition.since);
        newest
            .map(|condition| condition.cause.as_str())
            .or(self.file_error.as_deref())
            .or(self.key_errors.first().map(String::as_str))
            .or(self.why_not)
    }

    fn status(&self, zone: &Name) -> ZoneStatus {
        ZoneStatus {
            zone: zone.clone(),
            ready: self.validly_signed,
            generation: (self.generation != 0).then_some(self.generation),
            serial: self.is_served.then_some(self.serial),
            next_event: self.next_event,
            last_error: self.last_error().map(str::to_owned),
        }
    }
}

/// What is being done for a zone, and takes long when it is large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneWork {
    /// Its file is being read.
    ReadingFile,
    /// A version of it is being signed.
    Signing {
        /// The share of the RRsets whose signatures are there.
        percent: u8,
    },
}

/// The same, as it goes on.
#[derive(Debug, Default)]
enum Work {
    #[default]
    Nothing,
    Reading,
    Signing(Arc<SigningProgress>),
}

/// Of so many batches of answers of a thread one has its first answer timed.
const TIMED: u32 = 64;

thread_local! {
    /// Batches that the thread has answered.
    static BATCHES: Cell<u32> = const { Cell::new(0) };
}

/// A served zone. Its snapshot is swapped whole; who answers never waits.
pub struct SignerZone {
    origin: Name,
    signed: ArcSwapOption<SignedZone>,
    clock: Clock,
    counters: [[metrics::values::Counter; 2]; 5],
    duration: metrics::values::Histogram,
    transfers: Arc<ZoneTransfers>,
    /// Changes with [`Self::state`], as far as somebody may have to act on it.
    revision: Revision,
    /// Changes that wait for its thread.
    changes: Arc<ChangeQueue>,
    /// The unsigned content, served or not.
    content: ArcSwapOption<Zone>,
    /// How it stands after its last step.
    state: ArcSwap<ServedState>,
    /// What the step under way is at.
    work: Mutex<Work>,
    /// Who is told of its status; nobody when the zone is gone.
    feed: Mutex<Option<StatusFeed>>,
    /// True once a step has ended, so that what is on disk was found.
    stepped: AtomicBool,
    /// Until when it may be served, in seconds, where it comes from primaries; for ever otherwise.
    expires: AtomicU64,
    /// What is the matter with its primaries.
    incoming: Mutex<Vec<SignerCondition>>,
    /// When versions may be published.
    fence: Fence,
}

impl SignerZone {
    /// A zone that has nothing to serve yet, and answers SERVFAIL.
    #[must_use]
    pub fn new(origin: Name, metrics: &Metrics, clock: Clock) -> Self {
        let label = origin.zone_label();
        let counters = ANSWER_KINDS.map(|kind| {
            ["no", "yes"]
                .map(|dnssec| metrics.answers_total.with_label_values(&[label.as_str(), kind, dnssec]))
        });
        let duration = metrics.answer_duration_seconds.clone();
        Self {
            origin,
            signed: ArcSwapOption::empty(),
            clock,
            counters,
            duration,
            transfers: Arc::new(ZoneTransfers::new(metrics, label)),
            revision: Revision::default(),
            changes: Arc::default(),
            content: ArcSwapOption::empty(),
            state: ArcSwap::default(),
            work: Mutex::default(),
            feed: Mutex::default(),
            stepped: AtomicBool::new(false),
            expires: AtomicU64::new(u64::MAX),
            incoming: Mutex::default(),
            fence: Fence::default(),
        }
    }

    /// The same; versions are published only while `fence` permits it.
    #[must_use]
    pub fn with_fence(self, fence: Fence) -> Self {
        Self { fence, ..self }
    }

    /// True while this host may publish versions of the zone, by the clocks of now: a step may have begun long ago, in a process that was
    /// stopped.
    pub(super) fn may_publish(&self) -> bool {
        self.fence.permits_zone(&self.origin)
    }

    /// The same, and changes of how it stands change this.
    #[must_use]
    pub(super) fn reporting_to(self, revision: Revision) -> Self {
        Self { revision, ..self }
    }

    /// The snapshot in force.
    #[must_use]
    pub fn signed(&self) -> Option<Arc<SignedZone>> {
        self.signed.load_full()
    }

    /// True when a version is served.
    pub(super) fn is_signed(&self) -> bool {
        self.signed.load().is_some()
    }

    /// How it stands, as of the last step of the zone; what the step under way is at and its secondaries, as of now.
    #[must_use]
    pub fn state(&self) -> ServedState {
        let work = match &*self.work.lock().unwrap_or_else(PoisonError::into_inner) {
            Work::Nothing => None,
            Work::Reading => Some(ZoneWork::ReadingFile),
            Work::Signing(progress) => Some(ZoneWork::Signing { percent: progress.percent() }),
        };
        let secondaries = self.transfers.secondaries();
        let mut state = ServedState { work, secondaries, ..ServedState::clone(&self.state.load()) };
        let incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<_> = state.conditions.iter().map(|condition| condition.id).collect();
        state.conditions.extend(incoming.iter().filter(|condition| !known.contains(&condition.id)).cloned());
        state
    }

    /// True once what an earlier process has kept was found.
    pub(crate) fn is_restored(&self) -> bool {
        self.stepped.load(Ordering::Acquire)
    }

    /// Says until when a zone from primaries may be served, and what is the matter with them. From then on it is answered with SERVFAIL.
    pub(crate) fn set_incoming(&self, expires: Option<Timestamp>, conditions: Vec<SignerCondition>) {
        self.expires.store(expires.map_or(u64::MAX, Timestamp::secs), Ordering::Relaxed);
        self.transfers.set_expires(expires);
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        if *incoming != conditions {
            *incoming = conditions;
            self.revision.change();
        }
    }

    /// Seconds for which it may be served yet; `None` = for ever.
    fn seconds_left(&self, now: Timestamp) -> Option<u64> {
        let expires = self.expires.load(Ordering::Relaxed);
        (expires != u64::MAX).then(|| expires.saturating_sub(now.secs()))
    }

    pub(super) fn begin_reading(&self) {
        self.set_work(Work::Reading);
    }

    /// Where the signing is to be counted.
    pub(super) fn begin_signing(&self) -> Arc<SigningProgress> {
        let progress = Arc::default();
        self.set_work(Work::Signing(Arc::clone(&progress)));
        progress
    }

    pub(super) fn end_work(&self) {
        self.set_work(Work::Nothing);
    }

    fn set_work(&self, work: Work) {
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = work;
    }

    pub(super) fn set_state(&self, state: ServedState) {
        let before = self.state.load_full();
        if *before == state {
            return;
        }
        if !before.is_alike(&state) {
            self.revision.change();
        }
        let status = state.status(&self.origin);
        self.state.store(Arc::new(state));
        if before.status(&self.origin) != status
            && let Some(feed) = &*self.feed()
        {
            feed.tell(&status);
        }
    }

    /// How it stands, as of its last step.
    #[must_use]
    pub fn status(&self) -> ZoneStatus {
        self.state.load().status(&self.origin)
    }

    /// The same zone, whose changes of status the subscribers of `feed` are told of.
    pub(super) fn with_feed(self, feed: StatusFeed) -> Self {
        Self { feed: Mutex::new(Some(feed)), ..self }
    }

    /// Has nobody be told of it any more.
    pub(super) fn end_feed(&self) {
        *self.feed() = None;
    }

    fn feed(&self) -> MutexGuard<'_, Option<StatusFeed>> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves `signed` from now on.
    pub(crate) fn publish(&self, signed: Arc<SignedZone>) {
        self.transfers.record(self.signed.load().as_deref(), &signed);
        self.signed.store(Some(Arc::clone(&signed)));
        self.transfers.announce(&TransferVersion::Signed(signed));
    }

    /// Where changes of it wait for its thread.
    pub(crate) fn changes(&self) -> &Arc<ChangeQueue> {
        &self.changes
    }

    /// The unsigned content that it has as of the last step, which may wait to be served; `None` before the first.
    #[must_use]
    pub fn content(&self) -> Option<Arc<Zone>> {
        self.content.load_full()
    }

    pub(super) fn set_content(&self, content: Option<&Arc<Zone>>) {
        let is_same = match (&*self.content.load(), content) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        if !is_same {
            self.content.store(content.cloned());
        }
        self.stepped.store(true, Ordering::Release);
    }

    /// Its transfers to secondaries.
    #[must_use]
    pub fn transfers(&self) -> &Arc<ZoneTransfers> {
        &self.transfers
    }
}

/// The version in force when it was begun to answer from it. What it counts is added to the metrics at its end, so that threads which
/// answer at the same time seldom write to the same place.
struct HeldVersion<'a> {
    zone: &'a SignerZone,
    signed: Guard<Option<Arc<SignedZone>>>,
    now: Timestamp,
    /// The next answer is timed.
    timed: bool,
    /// Answers, in the order of [`SignerZone::counters`].
    answers: [[u64; 2]; 5],
}

impl Version for HeldVersion<'_> {
    fn look_ahead(&mut self, queries: &[&[u8]]) {
        if let Some(signed) = &*self.signed {
            look_ahead(signed, queries);
        }
    }

    fn respond(&mut self, query: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> AnswerOutcome {
        let start = std::mem::take(&mut self.timed).then(Instant::now);
        let left = self.zone.seconds_left(self.now);
        let expire_left = left.map(|left| u32::try_from(left).unwrap_or(u32::MAX));
        let context = Context { arrival: Arrival { expire_left, ..*arrival }, now: self.now };
        let outcome = match &*self.signed {
            Some(signed) if left != Some(0) => answer(signed, query, &context, out),
            _ => answer_not_ready(&self.zone.origin, query, &context, out),
        };
        if let Some(start) = start {
            self.zone.duration.observe(start.elapsed().as_secs_f64());
        }
        if let AnswerOutcome::Reply(kind) = outcome {
            // In the order of ANSWER_KINDS.
            let kind = match kind {
                AnswerKind::Positive => 0,
                AnswerKind::NoData => 1,
                AnswerKind::NxDomain => 2,
                AnswerKind::Referral => 3,
                AnswerKind::Error => 4,
            };
            self.answers[kind][usize::from(opt(query).is_some_and(|opt| opt.dnssec_ok))] += 1;
        }
        outcome
    }
}

impl Drop for HeldVersion<'_> {
    fn drop(&mut self) {
        for (counter, count) in self.zone.counters.iter().flatten().zip(self.answers.iter().flatten()) {
            if *count > 0 {
                counter.inc_by(*count);
            }
        }
    }
}

impl Responder for SignerZone {
    fn origin(&self) -> &Name {
        &self.origin
    }

    fn respond(&self, query: &[u8], arrival: &Arrival<'_>, out: &mut Vec<u8>) -> AnswerOutcome {
        let mut outcome = AnswerOutcome::Drop;
        self.hold(&mut |version| outcome = version.respond(query, arrival, out));
        outcome
    }

    fn hold(&self, work: &mut dyn FnMut(&mut dyn Version)) {
        work(&mut HeldVersion {
            zone: self,
            signed: self.signed.load(),
            now: (self.clock)(),
            timed: BATCHES.replace(BATCHES.get().wrapping_add(1)).is_multiple_of(TIMED),
            answers: [[0; 2]; 5],
        });
    }

    fn transferable(&self) -> Option<Transferable> {
        self.transfers.takes_requests().then(|| {
            let left = self.seconds_left((self.clock)());
            Transferable {
                version: self.signed().filter(|_| left != Some(0)).map(TransferVersion::Signed),
                is_private: false,
                transfers: Arc::clone(&self.transfers),
                changes: Arc::clone(&self.changes),
                expire: left.map(|left| u32::try_from(left).unwrap_or(u32::MAX)),
                clock: Arc::clone(&self.clock),
            }
        })
    }
}

struct QueryOpt {
    dnssec_ok: bool,
}

/// The OPT record of a query, when it stands where resolvers put it: right behind the question.
fn opt(query: &[u8]) -> Option<QueryOpt> {
    let opt = query.get(question_end(query)?..)?.get(..11)?;
    opt.starts_with(&[0, 0, 41]).then(|| QueryOpt { dnssec_ok: opt[7] & 0x80 != 0 })
}

/// Where the question ends, when there is exactly one.
fn question_end(query: &[u8]) -> Option<usize> {
    if query.get(4..6)? != [0, 1] {
        return None;
    }
    let end = 12 + name::wire_len(query.get(12..)?)? + 4;
    (end <= query.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Transport;
    use crate::reply::MessageParts;

    const UDP: Arrival<'_> = Arrival::new(Transport::Udp, 1232);

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03WWW\x07example\x00\x00\x01\x00\x01\
        \x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";

    #[test]
    fn a_zone_without_content_answers_servfail_and_counts() {
        let metrics = Metrics::new().unwrap();
        let zone = SignerZone::new(Name::parse("Example").unwrap(), &metrics, Arc::new(|| Timestamp::EPOCH));
        let mut out = vec![1];
        assert_eq!(zone.respond(QUERY, &UDP, &mut out), AnswerOutcome::Reply(AnswerKind::Error));
        let reply = MessageParts::read(&out).unwrap();
        assert_eq!((reply.id, reply.flags), (0x1234, 0x8102));
        assert_eq!(reply.opt.unwrap().options, [(15, vec![0, 14])]);
        assert_eq!(out[12..12 + 17], QUERY[12..12 + 17]);
        assert_eq!(metrics.answers_total.with_label_values(&["example.", "error", "yes"]).get(), 1);
        assert_eq!(metrics.answer_duration_seconds.get_sample_count(), 1);
        for len in 0..QUERY.len() {
            zone.respond(&QUERY[..len], &UDP, &mut out);
        }
        let mut response = QUERY.to_vec();
        response[2] |= 0x80;
        assert_eq!(zone.respond(&response, &UDP, &mut out), AnswerOutcome::Drop);
    }
}
