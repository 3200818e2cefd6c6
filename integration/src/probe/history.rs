//! What was found in the rounds before: one lost packet raises no alarm.

use metrics::condition::{ConditionId, Severity};

use crate::probe::facts::ServerId;
use crate::probe::finding::ProbeFinding;

/// Rounds in a row that a finding must be there to be raised.
const ROUNDS: u32 = 2;
/// The same for a server that is silent.
const SILENT_ROUNDS: u32 = 3;

/// The findings of a zone over the rounds.
#[derive(Debug, Default)]
pub struct FindingHistory {
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    id: ConditionId,
    server: Option<ServerId>,
    /// In how many rounds in a row.
    rounds: u32,
}

impl FindingHistory {
    /// Takes the findings of a round, and gives those that are raised.
    pub fn note(&mut self, findings: &[ProbeFinding]) -> Vec<ProbeFinding> {
        let mut seen: Vec<Seen> = Vec::new();
        for finding in findings {
            let same = |seen: &&Seen| seen.id == finding.id && seen.server == finding.server;
            if seen.iter().any(|s| same(&s)) {
                continue;
            }
            let rounds = self.seen.iter().find(same).map_or(0, |seen| seen.rounds) + 1;
            seen.push(Seen { id: finding.id, server: finding.server.clone(), rounds });
        }
        self.seen = seen;
        let raised = |finding: &&ProbeFinding| {
            let needed = if finding.id == ConditionId::ProbeServerSilent { SILENT_ROUNDS } else { ROUNDS };
            self.seen.iter().any(|s| s.id == finding.id && s.server == finding.server && s.rounds >= needed)
        };
        findings.iter().filter(raised).cloned().collect()
    }

    /// True when one of the findings is critical and new: it is asked again at once, so that it is raised in the same round.
    #[must_use]
    pub fn is_urgent(&self, findings: &[ProbeFinding]) -> bool {
        findings.iter().any(|finding| {
            finding.severity == Severity::Critical
                && finding.id != ConditionId::ProbeServerSilent
                && !self.seen.iter().any(|s| s.id == finding.id && s.server == finding.server)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::probe::finding::ProbeFault;

    fn finding(id: ConditionId, severity: Severity, last: u8) -> ProbeFinding {
        let server = ServerId { name: None, address: SocketAddr::from(([192, 0, 2, last], 53)) };
        ProbeFinding { id, severity, server: Some(server), fault: ProbeFault::KeysUnsigned }
    }

    #[test]
    fn a_finding_is_raised_in_the_second_round_and_silence_in_the_third() {
        let (behind, silent) = (ConditionId::ProbeSerialBehind, ConditionId::ProbeServerSilent);
        for (id, rounds) in [(behind, 2), (silent, 3)] {
            let mut history = FindingHistory::default();
            let found = [finding(id, Severity::Warning, 1)];
            for round in 1..=4 {
                assert_eq!(history.note(&found).len(), usize::from(round >= rounds), "{id} round {round}");
            }
            assert!(history.note(&[]).is_empty(), "gone at once");
            assert!(history.note(&found).is_empty(), "and counted anew");
        }
    }

    #[test]
    fn another_server_is_another_finding() {
        let mut history = FindingHistory::default();
        history.note(&[finding(ConditionId::ProbeDiffers, Severity::Warning, 1)]);
        assert!(history.note(&[finding(ConditionId::ProbeDiffers, Severity::Warning, 2)]).is_empty());
    }

    #[test]
    fn what_is_critical_by_its_content_is_asked_again_at_once() {
        let mut history = FindingHistory::default();
        let found = [finding(ConditionId::ParentDsWrong, Severity::Critical, 1)];
        assert!(history.is_urgent(&found));
        assert!(history.note(&found).is_empty());
        assert!(!history.is_urgent(&found), "it is known");
        assert_eq!(history.note(&found).len(), 1);
        assert!(!history.is_urgent(&[finding(ConditionId::ProbeServerSilent, Severity::Critical, 1)]));
        assert!(!history.is_urgent(&[finding(ConditionId::ProbeDiffers, Severity::Warning, 1)]));
    }
}
