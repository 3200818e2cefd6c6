//! The servers of the zone, each by itself and beside the others.

use keystore::dns::Rtype;
use keystore::exchange::Bundle;
use keystore::time::Timestamp;
use metrics::condition::{ConditionId, Severity};

use super::signatures::{Earliest, ServerState, SetState};
use super::{Findings, has_ds, types};
use crate::probe::facts::{Facts, ServerFacts};
use crate::probe::finding::{ProbeFault, Role};
use skr_loader::ask::{Answer, AskError, Rcode};

/// How long before a signature ends a server that is behind becomes critical, in seconds.
const BEHIND_CRITICAL: u64 = 86_400;

/// Servers that do not answer, or not for the zone.
pub(super) fn reachable(facts: &Facts, found: &mut Findings) {
    let silent = |server: &ServerFacts| {
        server.answers.iter().any(|(_, answer)| matches!(answer, Err(AskError::NoAnswer { .. })))
    };
    let none_answers = facts.servers.iter().all(silent);
    let silence = if none_answers { Severity::Critical } else { Severity::Warning };
    for server in &facts.servers {
        let id = Some(&server.server);
        for (_, answer) in &server.answers {
            match answer {
                Ok(_) => continue,
                Err(error @ AskError::NoAnswer { .. }) => {
                    let fault = ProbeFault::Silent(error.to_string());
                    found.add(ConditionId::ProbeServerSilent, silence, id, fault);
                }
                Err(error) => {
                    let fault = ProbeFault::NotServed(error.to_string());
                    found.add(ConditionId::ZoneNotLoaded, Severity::Critical, id, fault);
                }
            }
            break;
        }
        if let Some(Err(error @ AskError::NoAnswer { .. })) = &server.tcp {
            let fault = ProbeFault::SilentOverTcp(error.to_string());
            found.add(ConditionId::ProbeServerSilent, Severity::Warning, id, fault);
        }
        if let Some(Err(error)) = &server.transfer {
            let fault = ProbeFault::NoTransfer(error.to_string());
            found.add(ConditionId::ProbeServerSilent, Severity::Warning, id, fault);
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

/// Signatures that a validator would not take, and what is not signed at all.
pub(super) fn judge(facts: &Facts, states: &[ServerState], now: Timestamp, found: &mut Findings) {
    let signed_somewhere =
        states.iter().any(|state| state.sets.iter().any(|set| set.state != SetState::Unsigned))
            || has_ds(facts);
    for (index, (server, state)) in facts.servers.iter().zip(states).enumerate() {
        let id = Some(&server.server);
        let wants = |wanted: fn(&SetState) -> bool| -> Vec<Rtype> {
            types(state.sets.iter().filter(|set| wanted(&set.state)).map(|set| set.rtype))
        };
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
        if signed_here && lacks_denial(server) {
            found.add(ConditionId::ZoneUnsigned, Severity::Critical, id, ProbeFault::NoDenial);
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
    }
}

/// True when the server denied a name and gave no record that proves it.
fn lacks_denial(server: &ServerFacts) -> bool {
    let Some(Ok(reply)) = &server.denial else { return false };
    // A wildcard answers the name: its signature is its proof.
    let denied = reply.answer.is_empty() && matches!(reply.rcode, Rcode::NXDOMAIN | Rcode::NOERROR);
    denied && !reply.authority.iter().any(|set| matches!(set.rrset.rtype, Rtype::NSEC | Rtype::NSEC3))
}

/// A signature deep in the zone that has expired; those that were asked for have been told.
fn expired_in_transfer(server: &ServerFacts, state: &ServerState, now: Timestamp, found: &mut Findings) {
    if state.sets.iter().any(|set| matches!(set.state, SetState::Expired { .. })) {
        return;
    }
    let roles = [Role::Ksk, Role::Zsk].into_iter();
    let all = roles.flat_map(|role| super::signatures::of_transfer(server, role));
    if let Some(Earliest { rtype, key_tag, at, .. }) = all.filter(|e| e.at < now).min_by_key(|e| e.at) {
        let fault = ProbeFault::Expired(vec![rtype], key_tag, at);
        found.add(ConditionId::SignatureLate, Severity::Critical, Some(&server.server), fault);
    }
}

/// Serials, and what differs at the same serial.
pub(super) fn compare(facts: &Facts, states: &[ServerState], now: Timestamp, found: &mut Findings) {
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
            let soon = left.min().is_some_and(|at| at.since(now) < BEHIND_CRITICAL);
            let severity = if soon { Severity::Critical } else { Severity::Warning };
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
        let differ = |differs: fn(&Answer, &Answer) -> bool| -> Vec<Rtype> {
            let both = crate::probe::facts::ASKED.into_iter().filter_map(|rtype| {
                Some((rtype, model.answer(rtype)?, server.answer(rtype)?)).filter(|(_, a, b)| differs(a, b))
            });
            both.map(|(rtype, ..)| rtype).collect()
        };
        let records = differ(|a, b| a.rrset.canonical_rdatas() != b.rrset.canonical_rdatas());
        let signatures = differ(|a, b| !same_signatures(a, b));
        let fault = match (records.is_empty(), signatures.is_empty()) {
            (false, _) => ProbeFault::OtherRecords(records),
            (true, false) => ProbeFault::OtherSignatures(signatures),
            (true, true) => continue,
        };
        found.add(ConditionId::ProbeDiffers, Severity::Warning, id, fault);
    }
}

fn same_signatures(a: &Answer, b: &Answer) -> bool {
    a.signatures.len() == b.signatures.len() && a.signatures.iter().all(|one| b.signatures.contains(one))
}

/// The key sets of each server against the bundle in force.
pub(super) fn hold_against_bundle(facts: &Facts, bundle: Option<&Bundle>, found: &mut Findings) {
    let Some(bundle) = bundle else { return };
    for server in &facts.servers {
        let of_bundle = [
            (Rtype::DNSKEY, Some(&bundle.dnskey)),
            (Rtype::CDS, bundle.cds.as_ref()),
            (Rtype::CDNSKEY, bundle.cdnskey.as_ref()),
        ];
        let other = of_bundle.into_iter().filter(|(rtype, expected)| {
            let expected = expected.map(keystore::dns::Rrset::canonical_rdatas).unwrap_or_default();
            server.answer(*rtype).is_some_and(|answer| answer.rrset.canonical_rdatas() != expected)
        });
        let other = types(other.map(|(rtype, _)| rtype));
        if !other.is_empty() {
            let fault = ProbeFault::NotOfBundle(other, bundle.inception);
            found.add(ConditionId::DeliveryUnproven, Severity::Critical, Some(&server.server), fault);
        }
    }
}
