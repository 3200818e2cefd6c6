//! The servers of the zone, each by itself and beside the others.

use keystore::dns::{Name, Rtype};
use keystore::exchange::Bundle;
use keystore::time::Timestamp;
use metrics::condition::{ConditionId, Severity};

use super::signatures::{Earliest, ServerState, SetState};
use super::{Findings, has_ds, types};
use crate::probe::contents::Contents;
use crate::probe::denial::{self, Unproven};
use crate::probe::facts::{ProbeFacts, ServerFacts, ServerReach, same_records, same_signatures};
use crate::probe::finding::{ProbeFault, SignerRole};
use crate::probe::soa::Soa;
use crate::probe::transfer::Transfer;
use skr_loader::ask::{AskError, Rcode, RrsetAnswer, ServerReply};

/// How long before a signature ends a server that is behind becomes critical, in seconds.
const BEHIND_CRITICAL: u64 = 86_400;
/// How long after a bundle comes into force a server may still serve the one before without a warning, in seconds.
const SWITCH_GRACE: u64 = 600;
/// How long before they make a signature signers let it begin, for clocks that are behind, in seconds: the default of BIND and Knot.
const BACKDATED: u64 = 3600;

/// Servers that do not answer, or not for the zone.
pub(super) fn reachable(facts: &ProbeFacts, found: &mut Findings) {
    let is_asked =
        |server: &&ServerFacts| !matches!(server.reach(), ServerReach::NoWay | ServerReach::TimeUp);
    let mut asked = facts.servers.iter().filter(is_asked).peekable();
    let none_asked = asked.peek().is_none();
    let none_answers = asked.all(|server| server.answers.iter().any(|(_, answer)| is_silence(answer)));
    for server in &facts.servers {
        let id = Some(&server.server);
        let mut silent = |severity, fault| {
            found.add(ConditionId::ProbeServerSilent, severity, id, fault);
        };
        match (server.reach(), server.first_error()) {
            // A host without IPv6 is no fault of the zone; where nothing else was asked, nothing is known.
            (ServerReach::NoWay, Some(error)) if none_asked => {
                silent(Severity::Warning, ProbeFault::NotAsked(error.to_string()));
            }
            (ServerReach::NoWay, _) => continue,
            (ServerReach::TimeUp, Some(error)) => {
                silent(Severity::Warning, ProbeFault::NotAsked(error.to_string()));
            }
            _ => {}
        }
        let silence = if none_answers { Severity::Critical } else { Severity::Warning };
        if let Some((_, Err(error @ AskError::NoAnswer { .. }))) =
            server.answers.iter().find(|(_, answer)| is_silence(answer))
        {
            silent(silence, ProbeFault::Silent(error.to_string()));
        }
        if let Some(Err(error @ AskError::NoAnswer { .. })) = &server.denial {
            silent(Severity::Critical, ProbeFault::SilentToUnknownName(error.to_string()));
        }
        if let Some(Err(error @ AskError::NoAnswer { .. })) = &server.tcp {
            silent(Severity::Warning, ProbeFault::SilentOverTcp(error.to_string()));
        }
        if let Some(Err(error)) = &server.transfer {
            silent(Severity::Warning, ProbeFault::NoTransfer(error.to_string()));
        }
        if let Some(Ok(Transfer { contents: Contents::Unreadable(error), .. })) = &server.transfer {
            let what = format!("what it transfers does not read as a zone: {error}");
            silent(Severity::Warning, ProbeFault::NoTransfer(what));
        }
        if let Some(why) = not_served(server) {
            found.add(ConditionId::ZoneNotLoaded, Severity::Critical, id, ProbeFault::NotServed(why));
        }
    }
    let unknown = if facts.servers.is_empty() { Severity::Critical } else { Severity::Warning };
    for (name, error) in &facts.no_address {
        let fault = ProbeFault::NoAddress(name.clone(), error.to_string());
        found.add(ConditionId::ProbeServerSilent, unknown, None, fault);
    }
    if facts.servers.is_empty() && facts.no_address.is_empty() {
        found.add(ConditionId::ProbeServerSilent, unknown, None, ProbeFault::NoServers);
    }
}

fn is_silence(answer: &Result<RrsetAnswer, AskError>) -> bool {
    matches!(answer, Err(AskError::NoAnswer { .. }))
}

/// What shows that the zone is not served here, or not whole: the first such answer.
fn not_served(server: &ServerFacts) -> Option<String> {
    let bad = |error: &AskError| (!error.is_silence()).then(|| error.to_string());
    let empty = |answer: &RrsetAnswer| {
        let rrset = &answer.rrset;
        let readable = match rrset.rtype {
            Rtype::SOA => rrset.rdatas.len() == 1 && Soa::from_rdata(&rrset.rdatas[0]).is_some(),
            Rtype::NS => !rrset.rdatas.is_empty(),
            _ => true,
        };
        (!readable).then(|| format!("the answer to {} has no record that could be used", rrset.rtype))
    };
    let of = |answer: &Result<RrsetAnswer, AskError>| match answer {
        Ok(answer) => empty(answer),
        Err(error) => bad(error),
    };
    let of_unknown_name = |reply: &Result<ServerReply, AskError>| match reply {
        Err(error) => bad(error),
        // Behind the CNAME of a wildcard the code is that of another name.
        Ok(reply) if !reply.answer.is_empty() => None,
        Ok(reply) if !matches!(reply.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) => {
            Some(format!("the answer is {}", reply.rcode))
        }
        Ok(reply) => (!reply.authoritative).then(|| "the answer is not authoritative".to_owned()),
    };
    let unknown_name = || server.denial.as_ref().and_then(of_unknown_name);
    let over_tcp = || server.tcp.as_ref().and_then(of);
    let asked = server.answers.iter().find_map(|(_, answer)| of(answer));
    asked
        .or_else(|| unknown_name().map(|why| format!("asked for a name that does not exist: {why}")))
        .or_else(|| over_tcp().map(|why| format!("over TCP: {why}")))
}

/// Signatures that a validator would not take, and what is not signed at all.
pub(super) fn judge(facts: &ProbeFacts, states: &[ServerState], now: Timestamp, found: &mut Findings) {
    let signed_somewhere =
        states.iter().any(|state| state.sets.iter().any(|set| set.state != SetState::Unsigned))
            || has_ds(facts);
    for (index, (server, state)) in facts.servers.iter().zip(states).enumerate() {
        let id = Some(&server.server);
        let wants = |wanted: fn(&SetState) -> bool| -> Vec<Rtype> {
            types(state.sets.iter().filter(|set| wanted(&set.state)).map(|set| set.rtype))
        };
        if state.too_costly {
            found.add(ConditionId::ZoneUnsigned, Severity::Critical, id, ProbeFault::TooCostly);
            continue;
        }
        // Without it nothing else can be valid; some servers send no other signatures then either.
        if signed_somewhere && state.of(Rtype::DNSKEY) == Some(&SetState::Unsigned) {
            found.add(ConditionId::ZoneUnsigned, Severity::Critical, id, ProbeFault::KeysUnsigned);
            continue;
        }
        let unsigned = wants(|state| *state == SetState::Unsigned);
        if signed_somewhere && !unsigned.is_empty() {
            found.add(ConditionId::ZoneUnsigned, Severity::Critical, id, ProbeFault::Unsigned(unsigned));
        }
        let signed_here = matches!(state.of(Rtype::SOA), Some(SetState::Valid(_)));
        if let Some(gap) = unproven_denial(server, &facts.zone).filter(|_| signed_here) {
            found.add(ConditionId::ZoneUnsigned, Severity::Critical, id, ProbeFault::NoDenial(gap));
        }
        let good_elsewhere = |types: &[Rtype]| {
            let good =
                |other: &ServerState| types.iter().all(|t| matches!(other.of(*t), Some(SetState::Valid(_))));
            states.iter().enumerate().any(|(other, state)| other != index && good(state))
        };
        let mut report =
            |types: Vec<Rtype>, alone: ConditionId, fault: &dyn Fn(Vec<Rtype>) -> Option<ProbeFault>| {
                if types.is_empty() {
                    return;
                }
                let id_of = if good_elsewhere(&types) { ConditionId::ProbeDiffers } else { alone };
                if let Some(fault) = fault(types) {
                    found.add(id_of, Severity::Critical, id, fault);
                }
            };
        report(wants(|s| matches!(s, SetState::Expired { .. })), ConditionId::SignatureLate, &|types| {
            let first = state.sets.iter().filter_map(|set| match set.state {
                SetState::Expired { key_tag, at } => Some((at, key_tag)),
                _ => None,
            });
            first.min().map(|(at, tag)| ProbeFault::Expired(types, tag, at))
        });
        report(wants(|s| matches!(s, SetState::NotYet { .. })), ConditionId::SignatureLate, &|types| {
            let last = state.sets.iter().filter_map(|set| match set.state {
                SetState::NotYet { key_tag, at } => Some((at, key_tag)),
                _ => None,
            });
            last.max().map(|(at, tag)| ProbeFault::NotYetValid(types, tag, at))
        });
        report(wants(|s| *s == SetState::Bogus), ConditionId::ZoneUnsigned, &|types| {
            Some(ProbeFault::Bogus(types))
        });
        expired_in_transfer(server, state, now, found);
        if let Some(Ok(transfer)) = server.transfer.as_ref().filter(|_| signed_here)
            && let Contents::Faulty { findings, first } = &transfer.contents
            && !found.is_told_of(&server.server)
        {
            let fault = ProbeFault::FaultyContents { findings: *findings, first: first.clone() };
            found.add(ConditionId::ZoneUnsigned, Severity::Critical, id, fault);
        }
    }
}

/// What is not proven where the server denied a name.
fn unproven_denial(server: &ServerFacts, zone: &Name) -> Option<Unproven> {
    let (Some(Ok(reply)), Some(name)) = (&server.denial, &server.unknown_name) else { return None };
    // A wildcard answers the name: its signature is its proof.
    let denied = reply.answer.is_empty() && matches!(reply.rcode, Rcode::NXDOMAIN | Rcode::NOERROR);
    if denied { denial::unproven(reply, zone, name) } else { None }
}

/// A signature deep in the zone that has expired; those that were asked for have been told.
fn expired_in_transfer(server: &ServerFacts, state: &ServerState, now: Timestamp, found: &mut Findings) {
    if state.sets.iter().any(|set| matches!(set.state, SetState::Expired { .. })) {
        return;
    }
    let roles = [SignerRole::Ksk, SignerRole::Zsk].into_iter();
    let all = roles.flat_map(|role| super::signatures::of_transfer(server, role));
    if let Some(Earliest { rtype, key_tag, at, .. }) = all.filter(|e| e.at < now).min_by_key(|e| e.at) {
        let fault = ProbeFault::Expired(vec![rtype], key_tag, at);
        found.add(ConditionId::SignatureLate, Severity::Critical, Some(&server.server), fault);
    }
}

/// Serials, and what differs at the same serial.
pub(super) fn compare(facts: &ProbeFacts, states: &[ServerState], now: Timestamp, found: &mut Findings) {
    let Some(newest) = facts.newest_serial() else { return };
    let current = |server: &ServerFacts| server.soa().is_some_and(|soa| soa.serial == newest);
    // What most servers at the newest serial have is not known; the first of them that is wholly valid speaks for them.
    let valid = |state: &ServerState| state.sets.iter().all(|set| matches!(set.state, SetState::Valid(_)));
    let pairs = || facts.servers.iter().zip(states).filter(|(server, _)| current(server));
    let model = pairs().find(|(_, state)| valid(state)).or_else(|| pairs().next()).map(|(server, _)| server);
    for (server, state) in facts.servers.iter().zip(states) {
        let Some(soa) = server.soa() else { continue };
        let id = Some(&server.server);
        if soa.serial != newest {
            let left = state.sets.iter().filter_map(|set| match &set.state {
                SetState::Valid(earliest) => earliest.first().map(|first| first.at),
                SetState::Expired { at, .. } => Some(*at),
                _ => None,
            });
            let severity = match () {
                () if left.min().is_some_and(|at| at.since(now) < BEHIND_CRITICAL) => Severity::Critical,
                () if may_still_transfer(server, soa, pairs().map(|(server, _)| server), now) => {
                    Severity::Attention
                }
                () => Severity::Warning,
            };
            let fault = ProbeFault::Behind { serial: soa.serial, newest };
            found.add(ConditionId::ProbeSerialBehind, severity, id, fault);
            continue;
        }
        let Some(model) = model.filter(|model| model.server != server.server) else { continue };
        // One finding for a server: what is unsigned or invalid there has been told.
        let told = [ConditionId::ProbeDiffers, ConditionId::ZoneUnsigned]
            .iter()
            .any(|c| found.has(*c, &server.server));
        if told {
            continue;
        }
        let differ = |differs: fn(&RrsetAnswer, &RrsetAnswer) -> bool| -> Vec<Rtype> {
            let both = crate::probe::facts::ASKED.into_iter().filter_map(|rtype| {
                Some((rtype, model.answer(rtype)?, server.answer(rtype)?)).filter(|(_, a, b)| differs(a, b))
            });
            both.map(|(rtype, ..)| rtype).collect()
        };
        let records = differ(|a, b| !same_records(a, b));
        let signatures = differ(|a, b| !same_signatures(a, b));
        let fault = match (records.is_empty(), signatures.is_empty()) {
            (false, _) => ProbeFault::OtherRecords(records),
            (true, false) => ProbeFault::OtherSignatures(signatures),
            (true, true) => continue,
        };
        found.add(ConditionId::ProbeDiffers, Severity::Warning, id, fault);
    }
}

/// True when a secondary has had less time to see the newest version than its SOA refresh, so that its transfer need not have come.
/// The signatures over the SOA say when a version was made. A version cannot be out of date for longer than it exists; and where the
/// newest one is the next one, not for longer than that exists.
fn may_still_transfer<'a>(
    server: &ServerFacts,
    soa: Soa,
    mut newest: impl Iterator<Item = &'a ServerFacts>,
    now: Timestamp,
) -> bool {
    let age = |server: &ServerFacts| {
        let made = server.answer(Rtype::SOA)?.signatures.iter().map(|made| made.incepts(now)).max()?;
        Some(now.since(made).saturating_sub(BACKDATED))
    };
    let is_next =
        |newest: &ServerFacts| newest.soa().is_some_and(|newest| newest.serial == soa.serial.wrapping_add(1));
    let of_next = newest.find(|newest| is_next(newest)).and_then(age);
    age(server).into_iter().chain(of_next).min().is_some_and(|age| age < u64::from(soa.refresh))
}

/// The key sets of each server against the bundle in force.
pub(super) fn hold_against_bundle(
    facts: &ProbeFacts,
    bundle: Option<&Bundle>,
    now: Timestamp,
    found: &mut Findings,
) {
    let Some(bundle) = bundle else { return };
    // Each secondary has the bundle before until it has transferred the zone.
    let fresh = now.since(bundle.inception) < SWITCH_GRACE;
    let severity = if fresh { Severity::Attention } else { Severity::Warning };
    for server in &facts.servers {
        let of_bundle = [
            (Rtype::DNSKEY, Some(&*bundle.dnskey)),
            (Rtype::CDS, bundle.cds.as_deref()),
            (Rtype::CDNSKEY, bundle.cdnskey.as_deref()),
        ];
        let other = of_bundle.into_iter().filter(|(rtype, expected)| {
            let expected = expected.map(keystore::dns::Rrset::canonical_rdatas).unwrap_or_default();
            server.answer(*rtype).is_some_and(|answer| answer.rrset.canonical_rdatas() != expected)
        });
        let other = types(other.map(|(rtype, _)| rtype));
        if !other.is_empty() {
            let fault = ProbeFault::NotOfBundle(other, bundle.inception);
            found.add(ConditionId::DeliveryUnproven, severity, Some(&server.server), fault);
        }
    }
}
