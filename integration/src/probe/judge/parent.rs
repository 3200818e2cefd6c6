//! The parent: its DS RRset against the keys, its delegation, and the chain from a trust anchor.

use keystore::dns::{Rrset, Rtype};
use keystore::exchange::TrustAnchor;
use keystore::keys::{Dnskey, signature};
use keystore::time::Timestamp;
use metrics::condition::{ConditionId, Severity};

use super::Findings;
use super::signatures::{ServerState, SetState};
use crate::probe::chain::{ChainError, trusted_keys};
use crate::probe::facts::{Facts, ResolverFacts};
use crate::probe::finding::ProbeFault;
use skr_loader::ask::{AskError, Rcode};

pub(super) fn judge(facts: &Facts, states: &[ServerState], now: Timestamp, found: &mut Findings) {
    for source in &facts.parent {
        if let Err(error) = &source.ds {
            let fault = match error {
                AskError::NoAnswer { .. } => ProbeFault::Silent(error.to_string()),
                _ => ProbeFault::NotServed(format!("the DS RRset is not known: {error}")),
            };
            found.add(ConditionId::ProbeServerSilent, Severity::Warning, Some(&source.source), fault);
        }
    }
    delegation_signer(facts, states, now, found);
    if let Some(delegation) = &facts.delegation {
        let differs = |own: &Rrset| own.canonical_rdatas() != delegation.canonical_rdatas();
        let own = facts.servers.iter().find_map(|server| server.answer(Rtype::NS));
        if own.is_some_and(|own| differs(&own.rrset)) {
            found.add(ConditionId::ProbeDiffers, Severity::Warning, None, ProbeFault::OtherDelegation);
        }
    }
    chain(facts, now, found);
    if let Some(resolver) = &facts.resolver {
        second_opinion(resolver, found);
    }
}

/// The DS RRset against the keys that are seen to sign the DNSKEY RRset.
fn delegation_signer(facts: &Facts, states: &[ServerState], now: Timestamp, found: &mut Findings) {
    let mut sets = facts.parent.iter().filter_map(|source| source.ds.as_ref().ok());
    let Some(ds) = sets.next() else { return };
    if sets.any(|other| other.rrset.canonical_rdatas() != ds.rrset.canonical_rdatas()) {
        found.add(ConditionId::ProbeDiffers, Severity::Warning, None, ProbeFault::DsDiffers);
    }
    let is_valid = |state: &&ServerState| matches!(state.of(Rtype::DNSKEY), Some(SetState::Valid(_)));
    let good: Vec<_> = facts.servers.iter().zip(states).filter(|(_, state)| is_valid(state)).collect();
    // Where no server has a DNSKEY RRset that is validly signed, that has been told, and nothing can be matched.
    if good.is_empty() {
        return;
    }
    if ds.rrset.rdatas.is_empty() {
        found.add(ConditionId::ParentDsMissing, Severity::Warning, None, ProbeFault::DsMissing);
        return;
    }
    let mut keys: Vec<Dnskey> = Vec::new();
    let mut signing: Vec<Dnskey> = Vec::new();
    for (server, _) in good {
        let Some(dnskey) = server.answer(Rtype::DNSKEY) else { continue };
        for key in server.keys() {
            let signs = dnskey
                .signatures
                .iter()
                .take(crate::probe::MAX_SIGNATURES)
                .any(|made| signature::verify(&dnskey.rrset, &facts.zone, &key, made, now).is_ok());
            if signs {
                signing.push(key.clone());
            }
            keys.push(key);
        }
    }
    let anchors: Vec<TrustAnchor> =
        ds.rrset.rdatas.iter().map(|rdata| TrustAnchor::Ds(rdata.to_vec())).collect();
    let matches =
        |anchor: &TrustAnchor, keys: &[Dnskey]| keys.iter().any(|key| anchor.matches(&facts.zone, key));
    let mut tags: Vec<u16> = anchors.iter().filter(|a| !matches(a, &keys)).map(TrustAnchor::tag).collect();
    tags.dedup();
    if !anchors.iter().any(|anchor| matches(anchor, &signing)) {
        let mut all: Vec<u16> = anchors.iter().map(TrustAnchor::tag).collect();
        all.dedup();
        let fault = ProbeFault::DsMatchesNone(all);
        found.add(ConditionId::ParentDsWrong, Severity::Critical, None, fault);
    } else if !tags.is_empty() {
        found.add(ConditionId::ParentDsWrong, Severity::Warning, None, ProbeFault::DsUnknown(tags));
    }
}

/// The DNSKEY RRset of each server against the trust anchors.
fn chain(facts: &Facts, now: Timestamp, found: &mut Findings) {
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
    for server in &facts.servers {
        let Some(dnskey) = server.answer(Rtype::DNSKEY) else { continue };
        if trusted_keys(dnskey, &facts.zone, anchors, now).is_none() {
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
    let answers = |reply: &skr_loader::ask::Reply| reply.rcode == Rcode::NOERROR && !reply.answer.is_empty();
    let answers_unchecked = matches!(&resolver.unchecked, Some(Ok(reply)) if answers(reply));
    if validated.rcode == Rcode::SERVFAIL && answers_unchecked {
        let fault = ProbeFault::ResolverRefuses(resolver.address, validated.extended_error);
        found.add(ConditionId::ZoneUnsigned, Severity::Critical, None, fault);
    }
}
