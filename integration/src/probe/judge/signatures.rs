//! Which RRsets of a server a validator would take.

use keystore::dns::{Name, Rrsig, Rtype};
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

use crate::probe::facts::{ProbeFacts, ServerFacts};
use crate::probe::finding::SignerRole;
use crate::probe::validate::{self, Budget};
use skr_loader::ask::{RrsetAnswer, ServerReply};

/// The signature that ends first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Earliest {
    pub(super) owner: Name,
    pub(super) rtype: Rtype,
    pub(super) key_tag: u16,
    pub(super) at: Timestamp,
}

/// The signatures of an RRset that end first, by who made them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ByRole {
    ksk: Option<Earliest>,
    zsk: Option<Earliest>,
}

impl ByRole {
    pub(super) const fn get(&self, role: SignerRole) -> Option<&Earliest> {
        match role {
            SignerRole::Ksk => self.ksk.as_ref(),
            SignerRole::Zsk => self.zsk.as_ref(),
        }
    }

    pub(super) fn first(&self) -> Option<&Earliest> {
        self.ksk.iter().chain(&self.zsk).min_by_key(|earliest| earliest.at)
    }

    fn note(&mut self, role: SignerRole, earliest: Earliest) {
        let slot = match role {
            SignerRole::Ksk => &mut self.ksk,
            SignerRole::Zsk => &mut self.zsk,
        };
        if slot.as_ref().is_none_or(|known| earliest.at < known.at) {
            *slot = Some(earliest);
        }
    }
}

/// How a validator sees an RRset, with the keys of the same server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SetState {
    /// There is a valid signature.
    Valid(ByRole),
    /// There is none.
    Unsigned,
    /// Every signature that would verify has expired; the last of them then.
    Expired { key_tag: u16, at: Timestamp },
    /// Every signature that would verify begins later; the first of them then.
    NotYet { key_tag: u16, at: Timestamp },
    /// No signature verifies.
    Bogus,
}

/// One RRset of a server.
#[derive(Debug, Clone)]
pub(super) struct SetFacts {
    pub(super) rtype: Rtype,
    pub(super) ttl: u32,
    pub(super) state: SetState,
}

/// The RRsets of a server that have records, in the order asked; those of the denial last.
#[derive(Debug, Clone)]
pub(super) struct ServerState {
    pub(super) sets: Vec<SetFacts>,
    /// The keys with a valid signature over the DNSKEY RRset.
    pub(super) signing: Vec<Dnskey>,
    /// Not everything was verified: it would have cost too much.
    pub(super) too_costly: bool,
}

impl ServerState {
    pub(super) fn of(&self, rtype: Rtype) -> Option<&SetState> {
        self.sets.iter().find(|set| set.rtype == rtype).map(|set| &set.state)
    }
}

/// The states of all servers, in the order of the facts.
pub(super) fn states(facts: &ProbeFacts, now: Timestamp) -> Vec<ServerState> {
    facts.servers.iter().map(|server| state(server, &facts.zone, now)).collect()
}

fn state(server: &ServerFacts, zone: &Name, now: Timestamp) -> ServerState {
    let keys = server.keys();
    let mut budget = Budget::default();
    let asked = server.answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let denial = server.denial.iter().filter_map(|reply| reply.as_ref().ok());
    let sets = asked.chain(denial.flat_map(|reply| of_denial(reply, zone)));
    let mut state = ServerState { sets: Vec::new(), signing: Vec::new(), too_costly: false };
    for answer in sets.filter(|answer| !answer.rrset.rdatas.is_empty()) {
        let verified = validate::verified(answer, zone, &keys, now, &mut budget);
        if answer.rrset.rtype == Rtype::DNSKEY {
            let signing = verified.iter().filter(|(made, _)| made.is_valid_at(now));
            state.signing = signing.map(|(_, key)| (*key).clone()).collect();
        }
        let (rtype, ttl) = (answer.rrset.rtype, answer.rrset.ttl);
        state.sets.push(SetFacts { rtype, ttl, state: set_state(answer, &verified, now) });
    }
    state.too_costly = budget.is_exceeded();
    state
}

/// The RRsets of a negative answer that the zone must have signed. A wildcard with a CNAME can lead into another zone of the same
/// server: what is of that zone is signed with its keys.
fn of_denial<'a>(reply: &'a ServerReply, zone: &Name) -> Vec<&'a RrsetAnswer> {
    let is = |set: &RrsetAnswer, rtype| set.rrset.rtype == rtype;
    let of_other_zone = reply.authority.iter().any(|set| is(set, Rtype::SOA) && set.rrset.owner != *zone);
    if of_other_zone {
        return Vec::new();
    }
    // Referral NS and glue are not signed; nothing of the kind belongs into a negative answer of the zone itself.
    let wanted = |set: &&RrsetAnswer| is(set, Rtype::SOA) || is(set, Rtype::NSEC) || is(set, Rtype::NSEC3);
    let inside = |set: &&RrsetAnswer| {
        let by_child = |made: &Rrsig| made.signer != *zone && made.signer.is_at_or_below(zone);
        let of_child = !set.signatures.is_empty() && set.signatures.iter().all(by_child);
        set.rrset.owner.is_at_or_below(zone) && (set.rrset.owner == *zone || !of_child)
    };
    reply.answer.iter().chain(&reply.authority).filter(wanted).filter(inside).collect()
}

fn set_state(answer: &RrsetAnswer, verified: &[(&Rrsig, &Dnskey)], now: Timestamp) -> SetState {
    if answer.signatures.is_empty() {
        return SetState::Unsigned;
    }
    let (mut valid, mut expired, mut early) = (ByRole::default(), None, None);
    for (made, key) in verified {
        let (at, key_tag) = (made.expires(now), made.key_tag);
        if at < now {
            expired = expired.max(Some((at, key_tag)));
        } else if made.incepts(now) > now {
            early = early.max(Some((made.incepts(now), key_tag)));
        } else {
            let (owner, rtype) = (answer.rrset.owner.clone(), answer.rrset.rtype);
            valid.note(role(rtype, Some(key)), Earliest { owner, rtype, key_tag, at });
        }
    }
    match (valid.first(), expired, early) {
        (Some(_), ..) => SetState::Valid(valid),
        (None, Some((at, key_tag)), _) => SetState::Expired { key_tag, at },
        (None, None, Some((at, key_tag))) => SetState::NotYet { key_tag, at },
        (None, None, None) => SetState::Bogus,
    }
}

fn role(rtype: Rtype, key: Option<&Dnskey>) -> SignerRole {
    let is_ksk = rtype == Rtype::DNSKEY || key.is_some_and(Dnskey::is_ksk);
    if is_ksk { SignerRole::Ksk } else { SignerRole::Zsk }
}

/// What ends first in the transferred zone by this role.
pub(super) fn of_transfer(server: &ServerFacts, role: SignerRole) -> Vec<Earliest> {
    let keys = server.keys();
    let Some(Ok(transfer)) = &server.transfer else { return Vec::new() };
    let of_role = |tag: &u16, covered| self::role(covered, keys.of_tag(*tag)) == role;
    transfer
        .earliest
        .iter()
        .filter(|(tag, earliest)| of_role(tag, earliest.covered))
        .map(|(tag, earliest)| Earliest {
            owner: earliest.owner.clone(),
            rtype: earliest.covered,
            key_tag: *tag,
            at: earliest.expires,
        })
        .collect()
}
