//! Makes the RRSIGs, or takes them over, on all cores, and with keys in tokens on more threads. The octets to sign (RFC 4034 section
//! 3.1.8.1) are put together in one buffer a thread; the signatures land where they are served from.

use std::borrow::Cow;

use keystore::crypto::{self, SignError};
use keystore::dns::rdata;
use keystore::time::Timestamp;
use rayon::prelude::*;

use super::denial::{Chain, OwnerBuf};
use super::plan::{Plan, Position, SignatureState, Spread};
use super::progress::SigningProgress;
use super::reuse::{RetiringKey, Reuse};
use super::slots::{KeySlot, Subject, Task};
use super::{RrsetView, SignedZone, SigningError, ZoneKey};
use crate::zone::{NodeId, Records, Zone};

/// RRSIG RDATA in front of the signer's name.
const FIXED: usize = 18;
/// Signatures that are due and that one version makes in any case.
const LEAST_SLICE: usize = 10_000;

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    pub made: usize,
    pub reused: usize,
    /// The earliest expiration.
    pub earliest: Timestamp,
    /// When the first signature comes due.
    pub due: Timestamp,
}

impl Tally {
    pub const NOTHING: Self = Self { made: 0, reused: 0, earliest: Timestamp::MAX, due: Timestamp::MAX };

    pub const fn made(expiration: Timestamp, plan: &Plan) -> Self {
        Self { made: 1, reused: 0, earliest: expiration, due: plan.due(expiration) }
    }

    pub const fn reused(expiration: Timestamp, due: Timestamp) -> Self {
        Self { made: 0, reused: 1, earliest: expiration, due }
    }

    pub fn and(self, other: Self) -> Self {
        Self {
            made: self.made + other.made,
            reused: self.reused + other.reused,
            earliest: self.earliest.min(other.earliest),
            due: self.due.min(other.due),
        }
    }
}

/// How urgent it is to make the signatures of an RRset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// There are none that can be served.
    Missing,
    /// One is due; this is the time that it is still valid, in seconds.
    Due(u32),
    /// None is due.
    No,
}

pub(super) struct Maker<'a> {
    zone: &'a Zone,
    soa: &'a [u8],
    chain: &'a Chain,
    negative_ttl: u32,
    plan: &'a Plan,
    keys: Vec<(KeySlot, &'a ZoneKey)>,
    /// The zone's name in lower case, the signer of all.
    signer: Vec<u8>,
    /// Labels of the zone's name.
    apex_labels: u8,
    progress: Option<&'a SigningProgress>,
}

impl<'a> Maker<'a> {
    /// Tries each key on the SOA.
    pub fn new(
        zone: &'a Zone,
        soa: &'a [u8],
        chain: &'a Chain,
        negative_ttl: u32,
        keys: &[&'a ZoneKey],
        plan: &'a Plan,
    ) -> Result<Self, SigningError> {
        let signer = zone.origin().canonical_wire();
        let apex_labels = zone.origin().label_count() as u8;
        let keys_tried = Vec::new();
        let mut maker = Self {
            zone,
            soa,
            chain,
            negative_ttl,
            plan,
            keys: keys_tried,
            signer,
            apex_labels,
            progress: None,
        };
        let task = Task { node: NodeId::APEX, subject: Subject::Rrset(zone.soa().0) };
        let mut offset = 0;
        for key in keys {
            let mut slot = KeySlot { tag: key.dnskey.tag(), dnskey: key.dnskey.clone(), offset, len: 0 };
            let data = maker.signed_data(&task, &slot);
            let fail = |source| SigningError::Sign { tag: slot.tag, source };
            let signature = key.signer.sign(&data).map_err(fail)?;
            crypto::verify(slot.dnskey.algorithm, &slot.dnskey.public_key, &data, &signature)
                .map_err(|_| fail(SignError::BadKey("its signature does not verify with its DNSKEY")))?;
            slot.len = FIXED + maker.signer.len() + signature.len();
            offset += 2 + slot.len;
            maker.keys.push((slot, key));
        }
        Ok(maker)
    }

    /// The same, with what is done counted there.
    pub fn counting(self, progress: Option<&'a SigningProgress>) -> Self {
        Self { progress, ..self }
    }

    /// Octets of a slot.
    pub fn slot_len(&self) -> usize {
        self.keys.iter().map(|(slot, _)| 2 + slot.len).sum()
    }

    pub fn into_keys(self) -> Vec<KeySlot> {
        self.keys.into_iter().map(|(slot, _)| slot).collect()
    }

    /// Fills a slot for each task: takes over what it can of `previous`, whose keys of `retiring` sign no more, and makes the rest. What is
    /// due and still valid for long is made oldest first, a share of the zone in each version.
    pub fn run(
        &self,
        tasks: &[Task],
        previous: Option<&SignedZone>,
        retiring: &[RetiringKey],
    ) -> Result<(Vec<u8>, Tally), SigningError> {
        self.progress.inspect(|progress| progress.begin(tasks.len()));
        let places: Vec<&KeySlot> = self.keys.iter().map(|(slot, _)| slot).collect();
        let reuse = previous.map(|previous| Reuse::new(previous, self.zone, &places, retiring));
        let slot_len = self.slot_len();
        let mut slots = vec![0; tasks.len() * slot_len];
        let mut urgencies = vec![Urgency::Missing; tasks.len()];
        if let Some(reuse) = &reuse {
            let each = slots.par_chunks_exact_mut(slot_len).zip(tasks).zip(&mut urgencies);
            each.for_each(|((slot, task), urgency)| *urgency = self.take_over(reuse, task, slot));
        }
        self.put_off(&mut urgencies);
        let count = urgencies.iter().filter(|urgency| **urgency != Urgency::No).count();
        let spread = self.plan.spread(count, tasks.len(), &self.signer);
        let is_in_token = self.keys.iter().any(|(_, key)| key.signer.is_in_token());
        let tally = crypto::run_signing(is_in_token, || {
            let each = slots.par_chunks_exact_mut(slot_len).zip(tasks).zip(&urgencies);
            let parts = each.try_fold(
                || (Tally::NOTHING, Vec::new()),
                |(tally, mut scratch), ((slot, task), urgency)| {
                    let make = *urgency != Urgency::No;
                    let one = self.fill(task, slot, (reuse.as_ref(), make, spread), &mut scratch)?;
                    self.progress.inspect(|progress| progress.count());
                    Ok((tally.and(one), scratch))
                },
            );
            let tallies = parts.map(|result| result.map(|(tally, _)| tally));
            tallies.try_reduce(|| Tally::NOTHING, |a, b| Ok(a.and(b)))
        })?;
        Ok((slots, tally))
    }

    /// Copies what can be served of the old signatures of an RRset.
    fn take_over(&self, reuse: &Reuse<'_>, task: &Task, slot: &mut [u8]) -> Urgency {
        let old = reuse.of(task, &self.view(task));
        let mut urgency = Urgency::No;
        for (place, (key, _)) in self.keys.iter().enumerate() {
            let position = self.position(task);
            urgency =
                urgency.min(match old.and_then(|old| reuse.signature(old, place, &position, self.plan)) {
                    None => Urgency::Missing,
                    Some(old) => {
                        slot[key.offset..key.offset + 2 + key.len].copy_from_slice(old.octets);
                        match self.plan.state(&old) {
                            SignatureState::Good => Urgency::No,
                            SignatureState::Due => Urgency::Due(old.expiration.since(self.plan.now) as u32),
                            SignatureState::Urgent => Urgency::Missing,
                        }
                    }
                });
        }
        urgency
    }

    /// Puts off to the next version what is due and more than one version should make. The oldest come first.
    fn put_off(&self, urgencies: &mut [Urgency]) {
        let most = (urgencies.len() / 50).max(LEAST_SLICE);
        let is_due = |urgency: &&Urgency| matches!(urgency, Urgency::Due(_));
        if urgencies.iter().filter(is_due).count() <= most {
            return;
        }
        let mut due: Vec<Urgency> = urgencies.iter().filter(is_due).copied().collect();
        let (_, last, _) = due.select_nth_unstable(most - 1);
        let last = *last;
        for urgency in urgencies.iter_mut().filter(|urgency| **urgency > last) {
            *urgency = Urgency::No;
        }
    }

    /// Makes the RRSIGs of one RRset that `make` asks for, and counts those that [`Self::take_over`] has copied.
    fn fill(
        &self,
        task: &Task,
        slot: &mut [u8],
        (reuse, make, spread): (Option<&Reuse<'_>>, bool, Spread),
        scratch: &mut Vec<u8>,
    ) -> Result<Tally, SigningError> {
        let mut tally = Tally::NOTHING;
        let head_len = FIXED + self.signer.len();
        scratch.clear();
        for (place, (key, zone_key)) in self.keys.iter().enumerate() {
            let rrsig = &mut slot[key.offset..key.offset + 2 + key.len];
            // What was copied stands in its place already.
            let copied = reuse.and_then(|reuse| reuse.judge(rrsig, place, &self.position(task), self.plan));
            if let Some(old) = copied
                && (!make || self.plan.state(&old) == SignatureState::Good)
            {
                tally = tally.and(Tally::reused(old.expiration, old.due));
                continue;
            }
            if scratch.is_empty() {
                scratch.resize(head_len, 0);
                self.put_records(task, scratch);
            }
            let expiration = self.put_head(task, key, spread, &mut scratch[..head_len]);
            let fail = |source| SigningError::Sign { tag: key.tag, source };
            let signature = zone_key.signer.sign(scratch).map_err(fail)?;
            let (len, rdata) = rrsig.split_at_mut(2);
            let (head, room) = rdata.split_at_mut(head_len);
            if signature.len() != room.len() {
                return Err(fail(SignError::BadKey("the length of its signatures varies")));
            }
            len.copy_from_slice(&(key.len as u16).to_be_bytes());
            head.copy_from_slice(&scratch[..head_len]);
            room.copy_from_slice(&signature);
            tally = tally.and(Tally::made(expiration, self.plan));
        }
        Ok(tally)
    }

    /// What the times of the signatures of an RRset are spread by.
    fn position(&self, task: &Task) -> Position<'_> {
        Position { key: self.zone.key(task.node), rtype: self.view(task).rtype }
    }

    /// The RRset of a task, without signatures.
    fn view(&self, task: &Task) -> RrsetView<'a> {
        match task.subject {
            Subject::Rrset(index) => {
                let entry = self.zone.rrset(index);
                let data = if index == self.zone.soa().0 { self.soa } else { self.zone.data(entry) };
                RrsetView { rtype: entry.rtype, ttl: entry.ttl, data, signatures: &[] }
            }
            Subject::Denial(index) => RrsetView {
                rtype: self.chain.rtype(),
                ttl: self.negative_ttl,
                data: self.chain.data(index),
                signatures: &[],
            },
        }
    }

    /// The octets that `key` signs.
    fn signed_data(&self, task: &Task, key: &KeySlot) -> Vec<u8> {
        let head_len = FIXED + self.signer.len();
        let mut data = vec![0; head_len];
        self.put_head(task, key, Spread::Jitter, &mut data[..head_len]);
        self.put_records(task, &mut data);
        data
    }

    /// Writes RRSIG RDATA up to the signature; gives the expiration.
    fn put_head(&self, task: &Task, key: &KeySlot, spread: Spread, head: &mut [u8]) -> Timestamp {
        let view = self.view(task);
        let expiration = self.plan.expiration(&self.position(task), spread);
        let labels = self.labels(task);
        let (fixed, signer) = head.split_at_mut(FIXED);
        fixed[0..2].copy_from_slice(&view.rtype.0.to_be_bytes());
        fixed[2] = key.dnskey.algorithm.0;
        fixed[3] = labels;
        fixed[4..8].copy_from_slice(&view.ttl.to_be_bytes());
        fixed[8..12].copy_from_slice(&expiration.to_rrsig().to_be_bytes());
        fixed[12..16].copy_from_slice(&self.plan.inception().to_rrsig().to_be_bytes());
        fixed[16..18].copy_from_slice(&key.tag.to_be_bytes());
        signer.copy_from_slice(&self.signer);
        expiration
    }

    /// The Labels field (RFC 4034 section 3.1.3): an asterisk is not counted.
    fn labels(&self, task: &Task) -> u8 {
        if let (Subject::Denial(_), Chain::Nsec3(_)) = (task.subject, self.chain) {
            return self.apex_labels + 1;
        }
        let wildcard = self.zone.owner(task.node).starts_with(b"\x01*");
        self.zone.node(task.node).depth + self.apex_labels - u8::from(wildcard)
    }

    /// Appends the canonical RRset.
    fn put_records(&self, task: &Task, out: &mut Vec<u8>) {
        let view = self.view(task);
        let fold = match task.subject {
            Subject::Rrset(index) => self.zone.rrset(index).fold,
            Subject::Denial(_) => false,
        };
        let mut room = OwnerBuf::new();
        let owner = match task.subject {
            Subject::Rrset(_) => self.zone.owner(task.node),
            Subject::Denial(link) => self.chain.owner(self.zone, link, &mut room),
        };
        for record in Records(view.data) {
            let record =
                if fold { Cow::Owned(rdata::canonical(view.rtype, record)) } else { Cow::Borrowed(record) };
            let start = out.len();
            out.extend_from_slice(owner);
            out[start..].make_ascii_lowercase();
            out.extend_from_slice(&view.rtype.0.to_be_bytes());
            out.extend_from_slice(&1u16.to_be_bytes());
            out.extend_from_slice(&view.ttl.to_be_bytes());
            out.extend_from_slice(&(record.len() as u16).to_be_bytes());
            out.extend_from_slice(&record);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex};
    use std::time::Duration;

    use keystore::crypto::{Algorithm, SignError, SigningKey};

    use super::*;
    use crate::signing::sign;
    use crate::testing::{DAY, NOW, POLICY, bundle, keys, signed, zone};

    /// Longest time for which a signature waits.
    const DEADLINE: Duration = Duration::from_secs(30);

    /// A key in a token whose signatures, but for the first, wait until `ends_at` of them wait at the same time, or until they are released.
    struct SlowKey {
        inner: Arc<dyn SigningKey>,
        ends_at: usize,
        calls: Mutex<Calls>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct Calls {
        begun: usize,
        waiting: usize,
        released: bool,
        timed_out: bool,
    }

    impl SlowKey {
        fn of(key: &ZoneKey, ends_at: usize) -> Arc<Self> {
            let (calls, changed) = (Mutex::default(), Condvar::new());
            Arc::new(Self { inner: Arc::clone(&key.signer), ends_at, calls, changed })
        }

        fn wait_for(&self, done: impl Fn(&Calls) -> bool) {
            let calls = self.calls.lock().unwrap();
            let waited = self.changed.wait_timeout_while(calls, DEADLINE, |calls| !done(calls));
            let (mut calls, result) = waited.unwrap();
            calls.timed_out |= result.timed_out();
        }

        fn release(&self) {
            self.calls.lock().unwrap().released = true;
            self.changed.notify_all();
        }
    }

    impl SigningKey for SlowKey {
        fn algorithm(&self) -> Algorithm {
            self.inner.algorithm()
        }

        fn public_key(&self) -> &[u8] {
            self.inner.public_key()
        }

        fn sign(&self, data: &[u8]) -> Result<Vec<u8>, SignError> {
            let is_first = {
                let mut calls = self.calls.lock().unwrap();
                calls.begun += 1;
                calls.waiting += usize::from(calls.begun > 1);
                calls.released |= calls.waiting >= self.ends_at;
                self.changed.notify_all();
                calls.begun == 1
            };
            if !is_first {
                self.wait_for(|calls| calls.released);
                self.calls.lock().unwrap().waiting -= 1;
            }
            self.inner.sign(data)
        }

        fn is_in_token(&self) -> bool {
            true
        }
    }

    fn hosts() -> Zone {
        let hosts: String = (0..200).map(|n| format!("h{n} A 192.0.2.1\n")).collect();
        zone("example", &format!("@ SOA ns admin 7 1h 5m 1w 10m\n@ NS ns\nns A 192.0.2.1\n{hosts}")).unwrap()
    }

    fn sign_by(key: &Arc<SlowKey>) -> SignedZone {
        let (ksk, zsk) = keys();
        let zone = Arc::new(hosts());
        let bundle = bundle(zone.origin(), ksk, &[zsk], NOW, 30 * DAY);
        let signer: Arc<dyn SigningKey> = Arc::clone(key) as _;
        let zsk = ZoneKey { dnskey: zsk.dnskey.clone(), signer };
        sign(&zone, &bundle, &[zsk], &POLICY, 1, None, NOW).unwrap()
    }

    #[test]
    fn a_key_in_a_token_makes_eight_signatures_at_a_time_whatever_the_number_of_cores() {
        let key = SlowKey::of(&keys().1, 8);
        let signed = sign_by(&key);
        assert!(!key.calls.lock().unwrap().timed_out, "fewer were asked for at the same time");
        signed.self_check(NOW, usize::MAX).unwrap();
    }

    #[test]
    fn a_token_that_hangs_takes_none_of_the_threads_that_sign_other_zones() {
        let key = SlowKey::of(&keys().1, usize::MAX);
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| sign_by(&key));
            key.wait_for(|calls| calls.waiting >= 8);
            signed(hosts()).verify_made(NOW).unwrap();
            assert_eq!(key.calls.lock().unwrap().waiting, 8, "the token has answered before");
            key.release();
            slow.join().unwrap().verify_made(NOW).unwrap();
        });
        assert!(!key.calls.lock().unwrap().timed_out);
    }
}
