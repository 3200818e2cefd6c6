//! From facts to findings: one pure function. What a person or an alarm is told is made of its result alone.

mod parent;
mod servers;
mod signatures;
#[cfg(test)]
mod tests;

use keystore::dns::Rtype;
use keystore::exchange::Bundle;
use keystore::time::Timestamp;
use metrics::condition::{ConditionId, Severity};

use crate::probe::expire::ExpireRule;
use crate::probe::facts::{ProbeFacts, ServerId};
use crate::probe::finding::{ProbeFault, ProbeFinding, SignerRole};
use signatures::{Earliest, SetState};

/// Remaining validity that is warned of where no policy says it, in seconds: three quarters of BIND's default
/// `signatures-refresh` of 5 days, so that one renewal was missed.
const DEFAULT_WARNING: u64 = 5 * 86_400 * 3 / 4;
/// Remaining validity that is critical besides the largest TTL, in seconds.
const CRITICAL_MARGIN: u64 = 86_400;

/// What the zone is held against.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    /// The bundle in force, where the configuration is at hand.
    pub bundle: Option<Bundle>,
    /// Why the bundle in force is not known although the configuration is at hand.
    pub store_error: Option<String>,
    /// Remaining validity at which the signer renews a signature (`signatures-refresh`), in seconds, where it is known.
    pub refresh: Option<u64>,
    /// Remaining validity to warn of, in seconds; by the refresh time or BIND's default where none is given.
    pub warning: Option<u64>,
    /// Remaining validity that is critical, in seconds; the largest TTL and a day where none is given.
    pub critical: Option<u64>,
}

impl Expectations {
    const fn warning(&self) -> u64 {
        match (self.warning, self.refresh) {
            (Some(warning), _) => warning,
            (None, Some(refresh)) => refresh / 4 * 3,
            (None, None) => DEFAULT_WARNING,
        }
    }
}

/// Judges what was seen. The worst findings come first, then by condition and server.
#[must_use]
pub fn judge(facts: &ProbeFacts, expected: &Expectations, now: Timestamp) -> Vec<ProbeFinding> {
    let mut found = Findings(Vec::new());
    let states = signatures::states(facts, now);
    servers::reachable(facts, &mut found);
    servers::judge(facts, &states, now, &mut found);
    servers::compare(facts, &states, now, &mut found);
    lifetimes(facts, expected, &states, now, &mut found);
    parent::judge(facts, &states, &mut found);
    servers::hold_against_bundle(facts, expected.bundle.as_ref(), now, &mut found);
    if let Some(error) = &expected.store_error {
        let fault = ProbeFault::StoreUnread(error.clone());
        found.add(ConditionId::SkrStoreDamaged, Severity::Critical, None, fault);
    }
    let mut found = found.0;
    found.sort_by(|a, b| {
        let key =
            |f: &ProbeFinding| (std::cmp::Reverse(f.severity), f.id, f.server.as_ref().map(|s| s.address));
        key(a).cmp(&key(b))
    });
    found
}

/// The worst of the findings.
#[must_use]
pub fn severity(findings: &[ProbeFinding]) -> Severity {
    findings.iter().map(|finding| finding.severity).max().unwrap_or_default()
}

/// The findings so far.
struct Findings(Vec<ProbeFinding>);

impl Findings {
    fn add(&mut self, id: ConditionId, severity: Severity, server: Option<&ServerId>, fault: ProbeFault) {
        debug_assert!(id.severities().contains(&severity), "{id} is never {severity}");
        self.0.push(ProbeFinding { id, severity, server: server.cloned(), fault });
    }

    /// True when something critical was found at this server.
    fn is_told_of(&self, server: &ServerId) -> bool {
        self.0.iter().any(|f| f.severity == Severity::Critical && f.server.as_ref() == Some(server))
    }

    fn has(&self, id: ConditionId, server: &ServerId) -> bool {
        self.0.iter().any(|finding| finding.id == id && finding.server.as_ref() == Some(server))
    }
}

/// Signatures that end soon, and a SOA expire that outlives them. Told once for the zone: what ends first over all servers.
fn lifetimes(
    facts: &ProbeFacts,
    expected: &Expectations,
    states: &[signatures::ServerState],
    now: Timestamp,
    found: &mut Findings,
) {
    let ttl = states.iter().flat_map(|state| &state.sets).map(|set| u64::from(set.ttl)).max().unwrap_or(0);
    let critical = expected.critical.unwrap_or(ttl + CRITICAL_MARGIN);
    let warning = expected.warning().max(critical);
    let mut late = false;
    for role in [SignerRole::Ksk, SignerRole::Zsk] {
        let asked = states.iter().flat_map(|state| {
            state.sets.iter().filter_map(|set| match &set.state {
                SetState::Valid(earliest) => earliest.get(role).cloned(),
                _ => None,
            })
        });
        let transferred = facts.servers.iter().flat_map(|server| signatures::of_transfer(server, role));
        let earliest =
            asked.chain(transferred.filter(|earliest| earliest.at >= now)).min_by_key(|earliest| earliest.at);
        let Some(Earliest { owner, rtype, key_tag, at }) = earliest else { continue };
        let left = at.since(now);
        let severity = match left {
            _ if left < critical => Severity::Critical,
            _ if left < warning => Severity::Warning,
            _ => continue,
        };
        late = true;
        let fault = ProbeFault::EndsSoon { role, owner, rtype, key_tag, at };
        found.add(ConditionId::SignatureLate, severity, None, fault);
    }
    // Signatures that end soon have been told; without a policy nothing more is known of when they are renewed.
    if late && expected.refresh.is_none() {
        return;
    }
    let measured = states
        .iter()
        .flat_map(|state| &state.sets)
        .filter_map(|set| match &set.state {
            SetState::Valid(earliest) => earliest.first().map(|first| first.at.since(now)),
            _ => None,
        })
        .min();
    let expire =
        facts.servers.iter().filter_map(|server| server.soa()).map(|soa| u64::from(soa.expire)).max();
    if let (Some(expire), Some(remaining)) = (expire, expected.refresh.or(measured))
        && let Err(fault) = (ExpireRule { remaining, expire, ttl }).check()
    {
        let by_policy = expected.refresh.is_some();
        let fault = ProbeFault::ExpireTooLong { expire, remaining, by_policy, allowed: fault.allowed };
        found.add(ConditionId::SoaExpireTooLong, Severity::Warning, None, fault);
    }
}

/// True when a DS is known to stand at the parent.
fn has_ds(facts: &ProbeFacts) -> bool {
    facts.parent.iter().any(|source| source.ds.as_ref().is_ok_and(|answer| !answer.rrset.rdatas.is_empty()))
}

/// The RRset types of a list, each once, in order.
fn types(of: impl Iterator<Item = Rtype>) -> Vec<Rtype> {
    let mut types: Vec<Rtype> = Vec::new();
    for rtype in of {
        if !types.contains(&rtype) {
            types.push(rtype);
        }
    }
    types
}
