//! Which RRsets of a server a validator would take.

use keystore::dns::{Name, Rtype};
use keystore::keys::{Dnskey, signature};
use keystore::time::Timestamp;

use crate::probe::MAX_SIGNATURES;
use crate::probe::facts::{Facts, ServerFacts};
use crate::probe::finding::Role;
use skr_loader::ask::Answer;

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
    pub(super) const fn get(&self, role: Role) -> Option<&Earliest> {
        match role {
            Role::Ksk => self.ksk.as_ref(),
            Role::Zsk => self.zsk.as_ref(),
        }
    }

    pub(super) fn first(&self) -> Option<&Earliest> {
        self.ksk.iter().chain(&self.zsk).min_by_key(|earliest| earliest.at)
    }

    fn note(&mut self, role: Role, earliest: Earliest) {
        let slot = match role {
            Role::Ksk => &mut self.ksk,
            Role::Zsk => &mut self.zsk,
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
}

impl ServerState {
    pub(super) fn of(&self, rtype: Rtype) -> Option<&SetState> {
        self.sets.iter().find(|set| set.rtype == rtype).map(|set| &set.state)
    }
}

/// The states of all servers, in the order of the facts.
pub(super) fn states(facts: &Facts, now: Timestamp) -> Vec<ServerState> {
    facts.servers.iter().map(|server| state(server, &facts.zone, now)).collect()
}

fn state(server: &ServerFacts, zone: &Name, now: Timestamp) -> ServerState {
    let keys = server.keys();
    let asked = server.answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let denial = server.denial.iter().filter_map(|reply| reply.as_ref().ok());
    let denial = denial.flat_map(|reply| reply.answer.iter().chain(&reply.authority));
    // Referral NS and glue are not signed; nothing of the kind belongs into a negative answer of the zone itself.
    let denial = denial.filter(|set| matches!(set.rrset.rtype, Rtype::SOA | Rtype::NSEC | Rtype::NSEC3));
    let sets = asked.chain(denial).filter(|answer| !answer.rrset.rdatas.is_empty());
    let set = |answer: &Answer| SetFacts {
        rtype: answer.rrset.rtype,
        ttl: answer.rrset.ttl,
        state: set_state(answer, zone, &keys, now),
    };
    ServerState { sets: sets.map(set).collect() }
}

fn set_state(answer: &Answer, zone: &Name, keys: &[Dnskey], now: Timestamp) -> SetState {
    if answer.signatures.is_empty() {
        return SetState::Unsigned;
    }
    let (mut valid, mut expired, mut early) = (ByRole::default(), None, None);
    for made in answer.signatures.iter().take(MAX_SIGNATURES) {
        // Judged at a time at which it is valid, so that a wrong time is told from a wrong signature.
        let verifies =
            |key: &&Dnskey| signature::verify(&answer.rrset, zone, key, made, made.expires(now)).is_ok();
        let Some(key) = keys.iter().find(verifies) else { continue };
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

fn role(rtype: Rtype, key: Option<&Dnskey>) -> Role {
    let is_ksk = rtype == Rtype::DNSKEY || key.is_some_and(Dnskey::is_ksk);
    if is_ksk { Role::Ksk } else { Role::Zsk }
}

/// What ends first in the transferred zone by this role.
pub(super) fn of_transfer(server: &ServerFacts, role: Role) -> Vec<Earliest> {
    let keys = server.keys();
    let Some(Ok(transfer)) = &server.transfer else { return Vec::new() };
    let of_role = |tag: &u16, covered| {
        let key = keys.iter().find(|key| key.tag() == *tag);
        self::role(covered, key) == role
    };
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
