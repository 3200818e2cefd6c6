//! Updates on their way into the zone: what waits together is judged one after the other, becomes one version, and is answered when that is
//! served.
//!
//! ```text
//! queue ─evaluate─▶ pending ─share of records, review─▶ signed ─▶ on disk (committed) ─▶ version on disk ─▶ served ─▶ answered
//! ```
//! Up to the commit an update that cannot go on is answered with REFUSED or SERVFAIL, and has changed nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use keystore::dns::{Rtype, name};
use keystore::time::Timestamp;

use super::super::gate::{Passage, excess};
use super::super::setup::ContentSource;
use super::{MakeError, ZoneRuntime};
use crate::content::{Change, ChangeOutcome, ChangeRequest, Reply};
use crate::signing::Denial;
use crate::update::{NotDone, ServedApex, evaluate};
use crate::zone::{ContentChange, NameChange, Zone};

/// Most records of updates that are judged together; those of more updates wait for the next version.
const MOST_RECORDS: usize = 10_000;

/// Why an update cannot be taken by a host that is not the active one of two.
const FENCED: &str = "this host does not have the lease of the active one";

/// Updates that were judged good, and are not taken yet.
pub(super) struct PendingUpdates {
    /// The content with them.
    zone: Arc<Zone>,
    change: ContentChange,
    replies: Vec<Reply>,
}

impl PendingUpdates {
    pub const fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }
}

impl ZoneRuntime {
    /// Takes the changes that wait, when this is not a step; gives the time of the next step, when there were any.
    pub(in crate::runtime) fn take_changes_between_steps(&mut self, now: Timestamp) -> Option<Timestamp> {
        // Before the first step nothing is known of the zone.
        let (stepped, due_before) = self.stepped?;
        if !self.take_changes(now) {
            return None;
        }
        self.report(now);
        self.tell_unwritten(now);
        self.served.set_state(self.served_state(now));
        self.served.set_content(self.source.zone());
        // This was no step: what was due stays due, whatever the updates have changed.
        let due = self.next_step(now).min(due_before);
        self.stepped = Some((stepped, due));
        Some(due)
    }

    /// Takes the changes that wait, and answers those that are served then; true when there were any.
    pub(super) fn take_changes(&mut self, now: Timestamp) -> bool {
        if !self.gate.is_under_review() {
            self.fail_pending("no version of the zone can be made now");
        }
        if !self.served.may_publish() {
            self.fail_pending(FENCED);
        }
        let requests = if self.pending.is_none() { self.served.changes().take() } else { VecDeque::new() };
        let has_any = !requests.is_empty();
        let is_update = |request: &ChangeRequest| matches!(request.change, Change::Update(_));
        let (updates, others): (Vec<_>, Vec<_>) = requests.into_iter().partition(is_update);
        for request in others {
            self.take_content(request, now);
        }
        self.evaluate_all(updates, now);
        if self.pending.is_some() {
            self.renew(now);
            if !self.gate.is_under_review() {
                let why = self.failure.text().unwrap_or("no version of the zone can be made now").to_owned();
                self.fail_pending(&why);
            }
        }
        self.answer_served();
        has_any
    }

    /// Takes content that a primary has sent, which may have to wait until it is served.
    fn take_content(&mut self, ChangeRequest { change, reply }: ChangeRequest, now: Timestamp) {
        if let Err(outcome) = self.keep_content(change, now) {
            return reply(outcome);
        }
        self.told_when_served.push((reply, ChangeOutcome::Kept));
        self.note_largest_ttl(now);
        self.renew(now);
        self.answer_served();
    }

    /// Writes content down that a primary has sent, and takes it as that of the zone.
    fn keep_content(&mut self, change: Change, now: Timestamp) -> Result<(), ChangeOutcome> {
        let before = self.source.zone().cloned();
        let failed =
            |error: std::io::Error| ChangeOutcome::Failed(format!("it cannot be written down: {error}"));
        if self.setup.source != ContentSource::Primaries {
            return Err(ChangeOutcome::Refused("the content of the zone comes from its file".to_owned()));
        }
        let content = match change {
            // It was asked for when the zone was of another kind.
            Change::Whole(zone) if zone.dnssec() != self.setup.rules.dnssec => {
                return Err(ChangeOutcome::Stale);
            }
            Change::Whole(zone) => {
                let zone = self.shared_with_standing(&Arc::new(*zone));
                let stored = self.stored.as_mut().filter(|stored| stored.is_loaded());
                let stored = stored
                    .ok_or_else(|| ChangeOutcome::Failed("the content on disk cannot be read".to_owned()))?;
                stored.replace(&zone).map_err(failed)?;
                zone
            }
            Change::Difference { from, change } => {
                if before.is_none_or(|before| !Arc::ptr_eq(&before, &from)) {
                    return Err(ChangeOutcome::Stale);
                }
                let next =
                    from.changed_checked(&change).map_err(|e| ChangeOutcome::Refused(e.to_string()))?;
                let next = self.shared_with_standing(&Arc::new(next));
                let stored = self.stored.as_mut().ok_or(ChangeOutcome::Stale)?;
                stored.append(&change, &next, now).map_err(failed)?;
                next
            }
            Change::Update(_) => return Err(ChangeOutcome::Stale),
        };
        self.source.adopt(&content);
        Ok(())
    }

    /// Judges updates in the order in which they came, each on top of those before it. What changes nothing, or is not to be done, is answered.
    fn evaluate_all(&mut self, requests: Vec<ChangeRequest>, now: Timestamp) {
        if requests.is_empty() {
            return;
        }
        let (content, served) = match self.can_change(now) {
            Ok(found) => found,
            Err(why) => {
                for request in requests {
                    (request.reply)(ChangeOutcome::Failed(why.to_owned()));
                }
                return;
            }
        };
        let mut working: Option<Zone> = None;
        let mut names: BTreeMap<Box<[u8]>, NameChange> = BTreeMap::new();
        let mut replies: Vec<Reply> = Vec::new();
        let mut records = 0;
        let mut requests: VecDeque<ChangeRequest> = requests.into();
        while let Some(ChangeRequest { change, reply }) = requests.pop_front() {
            let Change::Update(update) = change else { continue };
            let zone = working.as_ref().unwrap_or(&content);
            let max_ttl = self.setup.rules.max_ttl;
            records += update.message.record_count();
            if records > MOST_RECORDS && records > update.message.record_count() {
                requests.push_front(ChangeRequest { change: Change::Update(update), reply });
                break;
            }
            match evaluate(zone, &served, &update.message, &update.rules, max_ttl) {
                Err(NotDone { rcode, why: None }) if working.is_none() => {
                    reply(ChangeOutcome::Answered(rcode))
                }
                // What it says may come from an update before it, which must be served first.
                Err(NotDone { rcode, why: None }) => replies.push(Box::new(move |outcome| {
                    reply(match outcome {
                        ChangeOutcome::Served { .. } => ChangeOutcome::Answered(rcode),
                        failed => failed,
                    });
                })),
                Err(NotDone { why: Some(why), .. }) => reply(ChangeOutcome::Refused(why)),
                Ok(None) if working.is_none() => reply(ChangeOutcome::Served { serial: served.serial }),
                // It may rest on what an update before it has changed.
                Ok(None) => replies.push(reply),
                Ok(Some((next, change))) => {
                    let (before, after) = (content.record_count(), next.record_count());
                    if let Some(why) = excess(&self.setup.content, before, after) {
                        if working.is_none() {
                            reply(ChangeOutcome::Refused(why));
                            continue;
                        }
                        // By itself it may pass: it is judged again on top of what is served then.
                        requests.push_front(ChangeRequest { change: Change::Update(update), reply });
                        break;
                    }
                    let changed = change.names.into_iter();
                    names.extend(changed.map(|name| (name.owner.to_ascii_lowercase().into(), name)));
                    working = Some(next);
                    replies.push(reply);
                }
            }
        }
        self.served.changes().put_back(requests);
        let is_other = |name: &NameChange| match content.lookup(&name.owner) {
            Some(node) => NameChange::to_node_of(&content, node).rrsets != name.rrsets,
            None => !name.rrsets.is_empty(),
        };
        let mut names: Vec<NameChange> = names.into_values().filter(is_other).collect();
        if names.is_empty() {
            replies.into_iter().for_each(|reply| reply(ChangeOutcome::Served { serial: served.serial }));
            return;
        }
        names.sort_by(|a, b| name::canonical_cmp(&a.owner, &b.owner));
        let change = ContentChange { names };
        let zone = Arc::new(content.changed(&change));
        self.pending = Some(PendingUpdates { zone, change, replies });
    }

    /// The content that updates change, and what is served beside it; else why there can be no updates now.
    fn can_change(&self, now: Timestamp) -> Result<(Arc<Zone>, ServedApex), &'static str> {
        let stored = self.stored.as_ref().ok_or("the zone takes no updates")?;
        if !self.served.may_publish() {
            return Err(FENCED);
        }
        if !stored.is_loaded() {
            return Err("the content on disk cannot be read");
        }
        if stored.waits(now) {
            return Err("the state folder of the zone cannot be written");
        }
        let content = self.source.zone().ok_or("the zone has no content yet")?;
        let (standing, serial) = self.standing().ok_or("the zone is not served yet")?;
        if !Arc::ptr_eq(content, &standing) {
            return Err("new content of the zone waits to be served");
        }
        let made = self.made.as_ref().ok_or("no version of the zone was made yet")?;
        let Some(facts) = &made.facts.signing else {
            return Ok((Arc::clone(content), ServedApex { serial, made_at_apex: Vec::new() }));
        };
        let bundle = self.bundle(now).map_or(&facts.bundle, |(bundle, _)| bundle);
        let mut made_at_apex = vec![Rtype::DNSKEY, Rtype::RRSIG];
        made_at_apex.extend(facts.made_at_apex.iter().map(|set| set.rtype));
        made_at_apex.extend(bundle.cds.is_some().then_some(Rtype::CDS));
        made_at_apex.extend(bundle.cdnskey.is_some().then_some(Rtype::CDNSKEY));
        made_at_apex.push(match facts.denial {
            Denial::Nsec => Rtype::NSEC,
            Denial::Nsec3(_) => Rtype::NSEC3PARAM,
        });
        Ok((Arc::clone(content), ServedApex { serial, made_at_apex }))
    }

    /// True when `zone` is the content with the updates that wait.
    pub(super) fn judges_pending(&self, zone: &Arc<Zone>) -> bool {
        self.pending.as_ref().is_some_and(|pending| Arc::ptr_eq(&pending.zone, zone))
    }

    /// Answers updates that do not pass.
    pub(super) fn settle_pending(&mut self, passage: &Passage) {
        let outcome = match passage {
            Passage::Passes | Passage::NeedsReview | Passage::UnderReview => return,
            Passage::Held(why) => ChangeOutcome::Refused(why.clone()),
            Passage::Refused(said) => ChangeOutcome::Refused(format!("the review refused it: {said}")),
            Passage::ReviewFails(why) => ChangeOutcome::Failed(format!("the review failed: {why}")),
        };
        self.end_pending(&outcome);
    }

    /// Answers the updates that wait with SERVFAIL.
    pub(super) fn fail_pending(&mut self, why: &str) {
        self.end_pending(&ChangeOutcome::Failed(why.to_owned()));
    }

    fn end_pending(&mut self, outcome: &ChangeOutcome) {
        let Some(pending) = self.pending.take() else { return };
        // It knows the content of these updates, also where it let them pass.
        self.gate.clear();
        pending.replies.into_iter().for_each(|reply| reply(outcome.clone()));
    }

    /// Writes the updates down that wait, if `zone` is the content with them: from now on they are taken.
    pub(super) fn commit_pending(&mut self, zone: &Arc<Zone>, now: Timestamp) -> Result<(), MakeError> {
        let Some(pending) = self.pending.take_if(|pending| Arc::ptr_eq(&pending.zone, zone)) else {
            return Ok(());
        };
        let Some(stored) = &mut self.stored else { return Ok(()) };
        if let Err(error) = stored.append(&pending.change, &pending.zone, now) {
            self.pending = Some(pending);
            self.fail_pending(&format!("it cannot be written down: {error}"));
            return Err(MakeError::ContentNotWritten(error));
        }
        self.source.adopt(&pending.zone);
        self.source.read_refused_again();
        let otherwise = || ChangeOutcome::Failed("it is on disk, and could not be served yet".to_owned());
        self.told_when_served.extend(pending.replies.into_iter().map(|reply| (reply, otherwise())));
        self.note_largest_ttl(now);
        Ok(())
    }

    /// Answers those whose updates were taken.
    pub(super) fn answer_served(&mut self) {
        if self.told_when_served.is_empty() {
            return;
        }
        let content = self.source.zone();
        let served = self.standing().filter(|(zone, _)| content.is_some_and(|c| Arc::ptr_eq(c, zone)));
        // Nobody takes from here what was published in the moment in which another host became active.
        let served = served.filter(|_| self.served.may_publish());
        let served = served.map(|(_, serial)| ChangeOutcome::Served { serial });
        for (reply, otherwise) in std::mem::take(&mut self.told_when_served) {
            reply(served.clone().unwrap_or(otherwise));
        }
    }
}
