//! The parent: its DS RRset against the keys, its delegation, and the chain from a trust anchor.

use keystore::dns::{Rrset, Rtype};
use keystore::exchange::TrustAnchor;
use metrics::condition::{ConditionId, Severity};

use super::Findings;
use super::signatures::{ServerState, SetState};
use crate::probe::chain::ChainError;
use crate::probe::facts::{ProbeFacts, ResolverFacts, ServerFacts, ServerId, same_records};
use crate::probe::finding::ProbeFault;
use crate::probe::validate::DnskeySet;
use skr_loader::ask::{AskError, Rcode};

pub(super) fn judge(facts: &ProbeFacts, states: &[ServerState], found: &mut Findings) {
    for source in &facts.parent {
        if let Err(error) = &source.ds {
            let fault = match error {
                AskError::NoAnswer { .. } => ProbeFault::Silent(error.to_string()),
                AskError::NoWay { .. } | AskError::TimeUp { .. } => ProbeFault::NotAsked(error.to_string()),
                _ => ProbeFault::NotServed(format!("the DS RRset is not known: {error}")),
            };
            found.add(ConditionId::ProbeServerSilent, Severity::Warning, Some(&source.source), fault);
        }
    }
    delegation_signer(facts, states, found);
    if let Some(delegation) = &facts.delegation {
        let differs = |own: &Rrset| own.canonical_rdatas() != delegation.canonical_rdatas();
        let own = facts.servers.iter().find_map(|server| server.answer(Rtype::NS));
        if own.is_some_and(|own| differs(&own.rrset)) {
            found.add(ConditionId::ProbeDiffers, Severity::Warning, None, ProbeFault::OtherDelegation);
        }
    }
    chain(facts, states, found);
    if let Some(resolver) = &facts.resolver {
        second_opinion(resolver, found);
    }
}

/// The DS RRset against the keys that each server is seen to sign its DNSKEY RRset with.
fn delegation_signer(facts: &ProbeFacts, states: &[ServerState], found: &mut Findings) {
    let mut sets = facts.parent.iter().filter_map(|source| source.ds.as_ref().ok());
    let Some(ds) = sets.next() else { return not_known(facts, states, found) };
    if sets.any(|other| !same_records(other, ds)) {
        found.add(ConditionId::ProbeDiffers, Severity::Warning, None, ProbeFault::DsDiffers);
    }
    // Where a server has no DNSKEY RRset that is validly signed, that has been told, and nothing can be matched.
    let good: Vec<_> =
        facts.servers.iter().zip(states).filter(|(_, state)| !state.signing.is_empty()).collect();
    if good.is_empty() {
        return;
    }
    if ds.rrset.rdatas.is_empty() {
        found.add(ConditionId::ParentDsMissing, Severity::Warning, None, ProbeFault::DsMissing);
        return;
    }
    let anchors: Vec<TrustAnchor> =
        ds.rrset.rdatas.iter().map(|rdata| TrustAnchor::Ds(rdata.to_vec())).collect();
    let tags_of = |unmatched: &dyn Fn(&&TrustAnchor) -> bool| -> Vec<u16> {
        let mut tags: Vec<u16> = anchors.iter().filter(unmatched).map(TrustAnchor::tag).collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    };
    // A resolver that asks this server finds no chain, whatever the others serve.
    let broken = |state: &ServerState| {
        !anchors.iter().any(|anchor| state.signing.iter().any(|key| anchor.matches(&facts.zone, key)))
    };
    let bad: Vec<&ServerFacts> =
        good.iter().filter(|(_, state)| broken(state)).map(|(server, _)| *server).collect();
    let mut wrong = |server: Option<&ServerId>| {
        let fault = ProbeFault::DsMatchesNone(tags_of(&|_| true));
        found.add(ConditionId::ParentDsWrong, Severity::Critical, server, fault);
    };
    if bad.len() == good.len() {
        return wrong(None);
    }
    bad.iter().for_each(|server| wrong(Some(&server.server)));
    let keys: Vec<DnskeySet> = good.iter().map(|(server, _)| server.keys()).collect();
    let of_no_key =
        |anchor: &&TrustAnchor| keys.iter().all(|keys| keys.matching(&facts.zone, anchor).is_none());
    let unknown = tags_of(&of_no_key);
    if bad.is_empty() && !unknown.is_empty() {
        found.add(ConditionId::ParentDsWrong, Severity::Warning, None, ProbeFault::DsUnknown(unknown));
    }
}

/// No source has said whether there is a DS. That is told where nobody was asked, and where it decides whether the zone may be unsigned.
fn not_known(facts: &ProbeFacts, states: &[ServerState], found: &mut Findings) {
    let signed = states.iter().flat_map(|state| &state.sets).any(|set| set.state != SetState::Unsigned);
    let unsigned = !signed && states.iter().any(|state| !state.sets.is_empty());
    if !facts.zone.is_root() && (facts.parent.is_empty() || unsigned) {
        let fault = ProbeFault::DsNotKnown { signed };
        found.add(ConditionId::ProbeServerSilent, Severity::Warning, None, fault);
    }
}

/// The DNSKEY RRset of each server against the trust anchors.
fn chain(facts: &ProbeFacts, states: &[ServerState], found: &mut Findings) {
    let anchors = match &facts.anchors {
        None => return,
        Some(Ok(anchors)) => anchors,
        Some(Err(error)) => {
            let severity = match error {
                ChainError::Bogus { .. } => Severity::Critical,
                _ => Severity::Warning,
            };
            let id = match error {
                ChainError::Bogus { .. } => ConditionId::ZoneUnsigned,
                ChainError::Insecure { .. } => ConditionId::ParentDsMissing,
                _ => ConditionId::ProbeServerSilent,
            };
            let fault = ProbeFault::ChainBroken(format!("from the trust anchor: {error}"));
            found.add(id, severity, None, fault);
            return;
        }
    };
    for (server, state) in facts.servers.iter().zip(states) {
        let leads_to = |key| anchors.iter().any(|anchor| anchor.matches(&facts.zone, key));
        if server.answer(Rtype::DNSKEY).is_some() && !state.signing.iter().any(leads_to) {
            let told = found.has(ConditionId::ZoneUnsigned, &server.server)
                || found.has(ConditionId::ProbeDiffers, &server.server);
            if !told {
                let id = Some(&server.server);
                found.add(ConditionId::ZoneUnsigned, Severity::Critical, id, ProbeFault::NotTrusted);
            }
        }
    }
}

/// A resolver that validates and refuses, where it answers without validation.
fn second_opinion(resolver: &ResolverFacts, found: &mut Findings) {
    let Ok(validated) = &resolver.validated else { return };
    let answers =
        |reply: &skr_loader::ask::ServerReply| reply.rcode == Rcode::NOERROR && !reply.answer.is_empty();
    let answers_unchecked = matches!(&resolver.unchecked, Some(Ok(reply)) if answers(reply));
    if validated.rcode == Rcode::SERVFAIL && answers_unchecked {
        let fault = ProbeFault::ResolverRefuses(resolver.address, validated.extended_error);
        found.add(ConditionId::ZoneUnsigned, Severity::Critical, None, fault);
    }
}
