//! DNS UPDATE as a client sees it (RFC 2136, RFC 3007): signature and access, then the wait for the zone's thread, then the answer.
//!
//! An answer goes out when the change is on disk and served. A message that was accepted and comes again is answered alike and changes nothing,
//! as long as its signature counts; the process before is not remembered.

use std::sync::Arc;
use std::time::Duration;

use keystore::dns::{Class, Name, Rtype};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::outgoing::Heading;
use super::request::{Request, Sender, Way};
use super::tsig::Signer;
use super::{Clock, Transferable, ZoneTransfers};
use crate::answer::query::{HEADER, Head};
use crate::content::{Change, ChangeOutcome, ChangeRequest};
use crate::update::{UpdateMessage, UpdateRcode, UpdateRequest};

/// Longest time that a client is let wait; a change that comes later is made nevertheless, as its client may find.
const LONGEST: Duration = Duration::from_secs(30);

/// What becomes of an update.
pub(crate) enum UpdateReaction {
    /// The answer is in the buffer.
    Answered(Sender),
    /// The message cannot be read as an update: it is answered as every query.
    Plain,
    /// The answer comes when the zone's thread has worked.
    Waits(Box<WaitingUpdate>),
}

/// An update whose answer is not known yet.
pub(crate) struct WaitingUpdate {
    outcome: oneshot::Receiver<ChangeOutcome>,
    heading: Heading,
    signer: Signer,
    about: About,
    clock: Clock,
}

/// What the log says of an update.
struct About {
    transfers: Arc<ZoneTransfers>,
    zone: Name,
    client: std::net::SocketAddr,
    key: Name,
}

/// Answers an update, or hands it to the zone's thread.
pub(crate) fn react(
    zone: &Transferable,
    origin: &Name,
    query: &[u8],
    way: Way<'_>,
    out: &mut Vec<u8>,
) -> UpdateReaction {
    let Some(head) = Head::parse(query) else { return UpdateReaction::Plain };
    let Some(question) = head.question(query) else { return UpdateReaction::Plain };
    let Some(rest) = question.rest(query) else { return UpdateReaction::Plain };
    if rest.edns.is_some_and(|edns| edns.version > 0) {
        return UpdateReaction::Plain;
    }
    let request = Request::new(zone, origin, (&head, &question, &rest), way);
    let settings = zone.transfers.settings.load();
    let now = (zone.clock)();
    let answer = |rcode: UpdateRcode, signer: Option<Signer>, out: &mut Vec<u8>| {
        zone.transfers.count_update(result_of(rcode));
        let sender = Sender::of(signer.as_ref());
        request.refuse(rcode as u16, signer, out);
        UpdateReaction::Answered(sender)
    };
    let signer = match &rest.tsig {
        Some(tsig) => match settings.keys.verified_with.verify(query, tsig, now) {
            Ok(signer) => Some(signer),
            Err(rejection) => {
                zone.transfers.count_update("refused");
                request.reject(rejection, out);
                return UpdateReaction::Answered(Sender::Unknown);
            }
        },
        None => None,
    };
    if question.rtype != Rtype::SOA || question.class != Class::IN {
        return answer(UpdateRcode::FormErr, signer, out);
    }
    if !question.name.eq_ignore_ascii_case(origin.as_wire()) {
        return answer(UpdateRcode::NotAuth, signer, out);
    }
    let rules = signer.as_ref().map(|signer| settings.updates_of(way.client.ip(), signer.key()));
    let (Some(signer), Some(rules)) = (signer.clone(), rules.filter(|rules| !rules.is_empty())) else {
        if let Some(held_back) = zone.transfers.refusals.pass() {
            let key = signer.as_ref().map_or_else(|| "none".to_owned(), |signer| signer.key().to_string());
            tracing::warn!(zone = %origin, client = %way.client, key, held_back, "an update is refused: `update` of the zone does not have this key with this address");
        }
        return answer(UpdateRcode::Refused, signer, out);
    };
    // It was done: doing it again could undo what came after it.
    if zone.transfers.replays.knows(signer.request_mac().0) {
        return answer(UpdateRcode::NoError, Some(signer), out);
    }
    let at = HEADER + question.octets.len();
    let message = match UpdateMessage::read(query, at, head.answer_and_authority()) {
        Ok(message) => message,
        Err(rcode) => return answer(rcode, Some(signer), out),
    };
    let (told, outcome) = oneshot::channel();
    let key = signer.key().clone();
    let about = About {
        transfers: Arc::clone(&zone.transfers),
        zone: origin.clone(),
        client: way.client,
        key: key.clone(),
    };
    let (heading, clock) = (request.heading(0, None), Arc::clone(&zone.clock));
    zone.changes.submit(ChangeRequest {
        change: Change::Update(Box::new(UpdateRequest { message, key, rules })),
        // Whoever waited may be gone.
        reply: Box::new(move |outcome| drop(told.send(outcome))),
    });
    UpdateReaction::Waits(Box::new(WaitingUpdate { outcome, heading, signer, about, clock }))
}

impl WaitingUpdate {
    /// The octets of the answer, when it is known.
    pub async fn answer(mut self) -> Vec<u8> {
        let outcome = match timeout(LONGEST, self.outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => ChangeOutcome::Failed("the zone is not served any more".to_owned()),
            Err(_) => ChangeOutcome::Failed(format!("it took longer than {} s", LONGEST.as_secs())),
        };
        let About { transfers, zone, client, key } = &self.about;
        let rcode = match outcome {
            ChangeOutcome::Served { .. } => {
                let (mac, until) = self.signer.request_mac();
                transfers.replays.note(mac, until, (self.clock)());
                UpdateRcode::NoError
            }
            ChangeOutcome::Answered(rcode) => rcode,
            ChangeOutcome::Refused(why) => {
                if let Some(held_back) = transfers.refusals.pass() {
                    tracing::warn!(%zone, %client, %key, held_back, "an update is refused: {why}");
                }
                UpdateRcode::Refused
            }
            ChangeOutcome::Kept | ChangeOutcome::Stale => UpdateRcode::ServFail,
            ChangeOutcome::Failed(why) => {
                if let Some(held_back) = transfers.failures.pass() {
                    tracing::error!(%zone, %client, %key, held_back, "an update is not taken now: {why}");
                }
                UpdateRcode::ServFail
            }
        };
        transfers.count_update(result_of(rcode));
        self.heading.flags |= rcode as u16;
        let mut out = Vec::new();
        self.heading.put_alone(self.signer.record_len(), &mut out);
        self.signer.sign(0, &mut out, (self.clock)());
        out
    }
}

/// How an answer is counted.
const fn result_of(rcode: UpdateRcode) -> &'static str {
    match rcode {
        UpdateRcode::NoError => "ok",
        UpdateRcode::NxDomain | UpdateRcode::YxDomain | UpdateRcode::YxRrset | UpdateRcode::NxRrset => {
            "prerequisite"
        }
        UpdateRcode::FormErr | UpdateRcode::Refused | UpdateRcode::NotAuth | UpdateRcode::NotZone => {
            "refused"
        }
        UpdateRcode::ServFail => "failed",
    }
}
