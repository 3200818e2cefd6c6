//! Makes the RRSIGs, or takes them over, on all cores, and with keys in tokens on more threads. The octets to sign (RFC 4034 section
//! 3.1.8.1) are put together in one buffer a thread; the signatures land where they are served from.

use std::borrow::Cow;

use keystore::crypto::{self, SignError};
use keystore::dns::rdata;
use keystore::time::Timestamp;
use rayon::prelude::*;

use super::check::FEW;
use super::denial::{Chain, Denial, OwnerBuf};
use super::draft::{BlockDraft, Draft, SlotTask, Viewer};
use super::plan::{Position, RenewalPlan, SignatureState, Spread};
use super::progress::SigningProgress;
use super::reuse::{self, RetiringKey, Reuse};
use super::slots::{KeySlot, SignSubject, SignTask};
use super::tally::{RenewalUrgency, Tally};
use super::{Basis, RrsetView, SignedZone, SigningError, ZoneKey};
use crate::zone::{NodeId, Records, RrsetId, Zone};

/// RRSIG RDATA in front of the signer's name.
const FIXED: usize = 18;
/// Signatures that are due and that one version makes in any case.
const LEAST_SLICE: usize = 10_000;

pub(super) struct Maker<'a> {
    zone: &'a Zone,
    plan: &'a RenewalPlan,
    keys: Vec<(KeySlot, &'a ZoneKey)>,
    /// The zone's name in lower case, the signer of all.
    signer: Vec<u8>,
    /// Labels of the zone's name.
    apex_labels: u8,
    progress: Option<&'a SigningProgress>,
}

/// An RRset as it is signed.
struct Subjected<'a> {
    view: RrsetView<'a>,
    owner: &'a [u8],
    /// True when its canonical form is not what the view has.
    fold: bool,
    /// The Labels field (RFC 4034 section 3.1.3): an asterisk is not counted.
    labels: u8,
    position: Position<'a>,
}

impl<'a> Maker<'a> {
    /// Tries each key on the SOA record `soa`.
    pub fn new(
        zone: &'a Zone,
        soa: &[u8],
        keys: &[&'a ZoneKey],
        plan: &'a RenewalPlan,
    ) -> Result<Self, SigningError> {
        let signer = zone.origin().canonical_wire();
        let apex_labels = zone.origin().label_count() as u8;
        let mut maker = Self { zone, plan, keys: Vec::new(), signer, apex_labels, progress: None };
        let rrset = zone.soa().1;
        let subject = Subjected {
            view: RrsetView { rtype: rrset.rtype, ttl: rrset.ttl, data: soa, signatures: &[] },
            owner: zone.owner(NodeId::APEX),
            fold: rrset.fold,
            labels: apex_labels,
            position: Position { key: zone.key(NodeId::APEX), rtype: rrset.rtype },
        };
        let mut offset = 0;
        for key in keys {
            let mut slot = KeySlot { tag: key.dnskey.tag(), dnskey: key.dnskey.clone(), offset, len: 0 };
            let head_len = FIXED + maker.signer.len();
            let mut data = vec![0; head_len];
            maker.put_head(&subject, &slot, Spread::Jitter, &mut data);
            put_records(&subject, &mut data);
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
    fn slot_len(&self) -> usize {
        self.keys.iter().map(|(slot, _)| 2 + slot.len).sum()
    }

    /// The keys with their places, and the octets of a slot.
    pub fn into_keys(self) -> (Vec<KeySlot>, usize) {
        let slot_len = self.slot_len();
        (self.keys.into_iter().map(|(slot, _)| slot).collect(), slot_len)
    }

    /// True when the next version of `previous` is signed by the same keys under the same policy, so that all that did not change can be kept as
    /// it is, and when it comes due is known.
    pub fn goes_on_from(&self, previous: &SignedZone, zone: &Zone, denial: &Denial, basis: &Basis) -> bool {
        let places: Vec<&KeySlot> = self.keys.iter().map(|(slot, _)| slot).collect();
        zone.goes_on_from(&previous.zone)
            && previous.chain.is(denial)
            && previous.negative_ttl == zone.negative_ttl()
            && previous.keys.iter().eq(places.iter().copied())
            && reuse::are_known(previous, &places)
            && (&previous.basis.times, &previous.basis.retiring) == (&basis.times, &basis.retiring)
            && previous.basis.made_at <= basis.made_at
            && previous.blocks.len() <= zone.block_count()
    }

    /// Makes the blocks of `draft`: takes over what it can of `previous`, whose keys of `retiring` sign no more, and makes the rest. What is due
    /// and still valid for long is made oldest first, a share of the zone in each version.
    pub fn run(
        &self,
        draft: &Draft<'_>,
        previous: Option<&SignedZone>,
        retiring: &[RetiringKey],
    ) -> Result<(Vec<BlockDraft>, Tally), SigningError> {
        let viewer = draft.viewer();
        match previous {
            Some(previous) => self.run_after(draft, &viewer, previous, retiring),
            None => self.run_first(draft, &viewer),
        }
    }

    /// Makes all signatures. Each block is signed as soon as it is laid out, so that in a large zone few tasks are held.
    fn run_first(
        &self,
        draft: &Draft<'_>,
        viewer: &Viewer,
    ) -> Result<(Vec<BlockDraft>, Tally), SigningError> {
        let (slot_len, count) = (self.slot_len(), draft.task_count());
        self.progress.inspect(|progress| progress.begin(count));
        let how = (None, self.plan.spread(count, count, &self.signer));
        let made: Vec<(BlockDraft, Tally)> = self.on_threads(|| {
            let blocks = draft.scope.par_iter().map(|number| {
                let mut block = draft.block(*number, slot_len);
                let tally = self.make_block((draft, viewer), &mut block, how)?;
                Ok((block, tally))
            });
            blocks.collect::<Result<_, SigningError>>()
        })?;
        let (blocks, tallies): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        Ok((blocks, tallies.into_iter().fold(Tally::NOTHING, Tally::and)))
    }

    /// Takes over what can be taken over, and makes the rest.
    fn run_after(
        &self,
        draft: &Draft<'_>,
        viewer: &Viewer,
        previous: &SignedZone,
        retiring: &[RetiringKey],
    ) -> Result<(Vec<BlockDraft>, Tally), SigningError> {
        let places: Vec<&KeySlot> = self.keys.iter().map(|(slot, _)| slot).collect();
        let reuse = Reuse::new(previous, self.zone, &places, retiring);
        let slot_len = self.slot_len();
        let mut blocks = draft.blocks(slot_len);
        let here: usize = blocks.iter().map(|block| block.tasks.len()).sum();
        self.progress.inspect(|progress| progress.begin(here));
        blocks.par_iter_mut().for_each(|block| {
            block.each(
                |task, urgency, head, slot| *urgency = self.take_over(viewer, &reuse, task, head, slot),
                slot_len,
            );
        });
        // What stays as it is belongs to the zone as well.
        let kept = draft.base.map_or(0, |base| {
            let replaced =
                |block: &BlockDraft| base.facts.get(block.number).map_or(0, |facts| facts.slots as usize);
            (base.all.slots as usize).saturating_sub(blocks.iter().map(replaced).sum())
        });
        self.put_off(&mut blocks, kept + here);
        let urgencies = blocks.iter().flat_map(|block| &block.tasks);
        let count = urgencies.filter(|(_, urgency)| *urgency != RenewalUrgency::No).count();
        let how = (Some(&reuse), self.plan.spread(count, kept + here, &self.signer));
        let made = self.on_threads(|| {
            let tallies = blocks.par_iter_mut().map(|block| self.make_block((draft, viewer), block, how));
            tallies.try_reduce(|| Tally::NOTHING, |a, b| Ok(a.and(b)))
        })?;
        let renewed: Vec<usize> = blocks.iter().map(|block| block.number).collect();
        let kept_tally = draft.base.map_or(Tally::NOTHING, |base| base.tally_without(&renewed));
        Ok((blocks, made.and(kept_tally)))
    }

    fn on_threads<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        crypto::run_signing(self.keys.iter().any(|(_, key)| key.signer.is_in_token()), work)
    }

    /// Copies what can be served of the old signatures of an RRset.
    fn take_over(
        &self,
        viewer: &Viewer,
        reuse: &Reuse<'_>,
        task: &SignTask,
        head: &[u8],
        slot: &mut [u8],
    ) -> RenewalUrgency {
        let view = viewer.view(task, head);
        let old = reuse.of(task, &view);
        let position = Position { key: self.zone.key(task.node), rtype: view.rtype };
        let mut urgency = RenewalUrgency::No;
        for (place, (key, _)) in self.keys.iter().enumerate() {
            urgency =
                urgency.min(match old.and_then(|old| reuse.signature(old, place, &position, self.plan)) {
                    None => RenewalUrgency::Missing,
                    Some(old) => {
                        slot[key.offset..key.offset + 2 + key.len].copy_from_slice(old.octets);
                        match self.plan.state(&old) {
                            SignatureState::Good => RenewalUrgency::No,
                            SignatureState::Due => {
                                RenewalUrgency::Due(old.expiration.since(self.plan.now) as u32)
                            }
                            SignatureState::Urgent => RenewalUrgency::Missing,
                        }
                    }
                });
        }
        urgency
    }

    /// Puts off to the next version what is due and more than one version of `all` RRsets should make. The oldest come first.
    fn put_off(&self, blocks: &mut [BlockDraft], all: usize) {
        let most = (all / 50).max(LEAST_SLICE);
        let is_due = |urgency: &RenewalUrgency| matches!(urgency, RenewalUrgency::Due(_));
        let urgencies = blocks.iter().flat_map(|block| block.tasks.iter().map(|(_, urgency)| *urgency));
        let mut due: Vec<RenewalUrgency> = urgencies.filter(is_due).collect();
        if due.len() <= most {
            return;
        }
        let (_, last, _) = due.select_nth_unstable(most - 1);
        let last = *last;
        for (_, urgency) in blocks.iter_mut().flat_map(|block| &mut block.tasks) {
            if *urgency > last {
                *urgency = RenewalUrgency::No;
            }
        }
    }

    /// RRsets that one thread signs: with elliptic curves and no token between, to hand fewer to other threads takes longer.
    fn least_together(&self) -> usize {
        let is_fast = |key: &ZoneKey| !key.dnskey.algorithm.is_rsa() && !key.signer.is_in_token();
        if self.keys.iter().all(|(_, key)| is_fast(key)) { FEW } else { 1 }
    }

    /// Makes what a block lacks, all its RRsets at a time where threads are free: a small zone may have one block, and a slow key.
    fn make_block(
        &self,
        draft: (&Draft<'_>, &Viewer),
        block: &mut BlockDraft,
        (reuse, spread): (Option<&Reuse<'_>>, Spread),
    ) -> Result<Tally, SigningError> {
        let tasks = block.take_tasks(self.slot_len());
        let tasks = tasks.into_par_iter().with_min_len(self.least_together());
        let tallies = tasks.map_init(Vec::new, |scratch, task| {
            let tally = self.fill(draft, task, (reuse, spread), scratch);
            self.progress.inspect(|progress| progress.count());
            tally
        });
        let tally = tallies.try_reduce(|| Tally::NOTHING, |a, b| Ok(a.and(b)))?;
        block.facts = block.facts.with_times(&tally);
        Ok(tally)
    }

    /// Makes the RRSIGs of one RRset, unless what [`Self::take_over`] has copied is good or need not be made now.
    fn fill(
        &self,
        draft: (&Draft<'_>, &Viewer),
        SlotTask { task, urgency, head, slot }: SlotTask<'_>,
        (reuse, spread): (Option<&Reuse<'_>>, Spread),
        scratch: &mut Vec<u8>,
    ) -> Result<Tally, SigningError> {
        let mut tally = Tally::NOTHING;
        let head_len = FIXED + self.signer.len();
        let mut room = OwnerBuf::new();
        let subject = self.subject(draft, &task, head, &mut room);
        scratch.clear();
        for (place, (key, zone_key)) in self.keys.iter().enumerate() {
            let rrsig = &mut slot[key.offset..key.offset + 2 + key.len];
            // What was copied stands in its place already.
            let copied = reuse.and_then(|reuse| reuse.judge(rrsig, place, &subject.position, self.plan));
            if let Some(old) = copied
                && (urgency == RenewalUrgency::No || self.plan.state(&old) == SignatureState::Good)
            {
                tally = tally.and(Tally::reused(old.expiration, old.due));
                continue;
            }
            if scratch.is_empty() {
                scratch.resize(head_len, 0);
                put_records(&subject, scratch);
            }
            let expiration = self.put_head(&subject, key, spread, &mut scratch[..head_len]);
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

    /// The RRset of a task; `head` are the octets in front of its slot.
    fn subject<'s>(
        &'s self,
        (draft, viewer): (&'s Draft<'_>, &'s Viewer),
        task: &SignTask,
        head: &'s [u8],
        room: &'s mut OwnerBuf,
    ) -> Subjected<'s> {
        let view = viewer.view(task, head);
        let (fold, labels) = match (task.subject, &draft.chain.chain) {
            (SignSubject::Denial(_), Chain::Nsec3(_)) => (false, self.apex_labels + 1),
            (subject, _) => {
                let wildcard = self.zone.owner(task.node).starts_with(b"\x01*");
                let labels = self.zone.node(task.node).depth + self.apex_labels - u8::from(wildcard);
                let fold = match subject {
                    SignSubject::Rrset(number) => {
                        self.zone.rrset(RrsetId { node: task.node, number: number as usize }).fold
                    }
                    SignSubject::Denial(_) => false,
                };
                (fold, labels)
            }
        };
        let position = Position { key: self.zone.key(task.node), rtype: view.rtype };
        Subjected { view, owner: draft.owner(task, head, room), fold, labels, position }
    }

    /// Writes RRSIG RDATA up to the signature; gives the expiration.
    fn put_head(&self, subject: &Subjected<'_>, key: &KeySlot, spread: Spread, head: &mut [u8]) -> Timestamp {
        let expiration = self.plan.expiration(&subject.position, spread);
        let (fixed, signer) = head.split_at_mut(FIXED);
        fixed[0..2].copy_from_slice(&subject.view.rtype.0.to_be_bytes());
        fixed[2] = key.dnskey.algorithm.0;
        fixed[3] = subject.labels;
        fixed[4..8].copy_from_slice(&subject.view.ttl.to_be_bytes());
        fixed[8..12].copy_from_slice(&expiration.to_rrsig().to_be_bytes());
        fixed[12..16].copy_from_slice(&self.plan.inception().to_rrsig().to_be_bytes());
        fixed[16..18].copy_from_slice(&key.tag.to_be_bytes());
        signer.copy_from_slice(&self.signer);
        expiration
    }
}

/// Appends the canonical RRset (RFC 4034 section 6.2 and 6.3).
fn put_records(subject: &Subjected<'_>, out: &mut Vec<u8>) {
    let view = &subject.view;
    for record in Records(view.data) {
        let record = match subject.fold {
            true => Cow::Owned(rdata::canonical(view.rtype, record)),
            false => Cow::Borrowed(record),
        };
        let start = out.len();
        out.extend_from_slice(subject.owner);
        out[start..].make_ascii_lowercase();
        out.extend_from_slice(&view.rtype.0.to_be_bytes());
        out.extend_from_slice(&1u16.to_be_bytes());
        out.extend_from_slice(&view.ttl.to_be_bytes());
        out.extend_from_slice(&(record.len() as u16).to_be_bytes());
        out.extend_from_slice(&record);
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
