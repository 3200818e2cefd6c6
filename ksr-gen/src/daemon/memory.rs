//! What the timer remembers of a zone between two looks, and what it finds about the keys of the zone.

use std::path::{Path, PathBuf};

use keystore::config::ZoneConfig;
use keystore::dns::Name;
use keystore::exchange::bind;
use keystore::exchange::{Bundle, UnverifiedSkr};
use keystore::keys::files::Folder;
use keystore::outbox::{OpenRequest, OutboxError, read_request};
use keystore::policy::Policy;
use keystore::store::{self, AcceptedMark};
use keystore::time::Timestamp;

use super::fit;
use super::purge::NamedKeys;
use super::{KeyFileProblems, TickError};

/// The memory of one zone.
#[derive(Debug, Default)]
pub(super) struct ZoneMemory {
    accepted: Option<(AcceptedMark, AcceptedCoverage)>,
    pub(super) judged: Option<LastComparison>,
    /// Earliest time of the next removal of key files after one that failed.
    pub(super) purge_after: Option<Timestamp>,
    /// When the outbox was last kept within its limits.
    pub(super) pruned: Option<Timestamp>,
    /// Findings that no report has had yet.
    pub(super) unsaid: Option<(KeyFileProblems, Vec<String>)>,
}

/// What the timer needs of an accepted SKR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AcceptedCoverage {
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
    last_inception: Timestamp,
}

/// The result of the last comparison of the key files with SKR and request, and the marks of what was compared.
#[derive(Debug)]
pub(super) struct LastComparison {
    keys: u64,
    accepted: Option<AcceptedMark>,
    open: Option<PathBuf>,
    /// The reason why the accepted SKR does not fit the keys, if it does not.
    pub(super) coverage: Option<String>,
    /// The reason why the open request does not fit the keys, if it does not.
    pub(super) request: Option<String>,
    /// Number of damaged key sets, and what is wrong with the first.
    pub(super) damaged: Option<(usize, String)>,
    /// When the files of a key are next removed that neither the SKR nor a request names.
    pub(super) purge_at: Option<Timestamp>,
}

/// The inputs of [`ZoneMemory::judge`].
pub(super) struct ComparisonInput<'a> {
    pub(super) zone: &'a ZoneConfig,
    pub(super) folder: &'a Folder,
    pub(super) accepted: &'a Path,
    /// The accepted SKR, where it was read anyway.
    pub(super) skr: Option<UnverifiedSkr>,
    pub(super) open: Option<&'a OpenRequest>,
    /// When a request is due by the coverage.
    pub(super) planned: Timestamp,
    pub(super) now: Timestamp,
}

impl ZoneMemory {
    /// The coverage of the SKR in force, and that itself when it had to be read again.
    pub(super) fn coverage(
        &mut self,
        accepted: &Path,
        zone: &Name,
    ) -> Result<(Option<AcceptedCoverage>, Option<UnverifiedSkr>), TickError> {
        let mark = store::accepted_mark(accepted, zone);
        if let (Some(mark), Some((known, coverage))) = (&mark, &self.accepted)
            && mark == known
        {
            return Ok((Some(*coverage), None));
        }
        let skr = read_accepted(accepted, zone)?;
        let coverage = skr.as_ref().map(|skr| {
            let last = skr.bundles.last();
            AcceptedCoverage {
                begin: skr.bundles.first().map_or(Timestamp::EPOCH, |first| first.inception),
                end: last.map_or(Timestamp::EPOCH, Bundle::expiration),
                last_inception: last.map_or(Timestamp::EPOCH, |last| last.inception),
            }
        });
        self.accepted = mark.zip(coverage);
        Ok((coverage, skr))
    }

    /// Holds the keys against the open request and, where none is due by the coverage, against the accepted SKR. Does nothing when
    /// neither has changed since it was done.
    pub(super) fn judge(&mut self, sides: ComparisonInput<'_>) -> Result<(), TickError> {
        let ComparisonInput { zone, folder, accepted, skr, open, planned, now } = sides;
        let keys = folder.mark(&zone.name);
        let mark = self.accepted.as_ref().map(|(mark, _)| mark.clone());
        let path = open.map(|request| request.path.clone());
        if self.judged.as_ref().is_some_and(|j| j.keys == keys && j.accepted == mark && j.open == path) {
            return Ok(());
        }
        let skr = match skr {
            Some(skr) => Some(skr),
            None => read_accepted(accepted, &zone.name)?,
        };
        let asked = match open {
            // What is not ours is not judged; the loader and the ceremony do that.
            Some(request) if request.ours => {
                let octets = read_request(&request.path)
                    .map_err(|source| OutboxError { path: request.path.clone(), source })?;
                bind::parse_ksr(&octets, &zone.name).ok()
            }
            _ => None,
        };
        let found = folder.find_online(&zone.name);
        let mut damage: Vec<String> = found.skipped.iter().map(ToString::to_string).collect();
        damage.extend(fit::without_private_part(folder, zone, skr.as_ref(), asked.as_ref(), now));
        let whole = damage.is_empty();
        let coverage = skr
            .as_ref()
            .filter(|_| planned > now)
            .and_then(|skr| fit::against_skr(&skr.bundles, zone, &found.keys, whole, now));
        let mut named = NamedKeys::default();
        if let Some(skr) = &skr {
            named.add_skr(&skr.bundles);
        }
        if let Some(asked) = &asked {
            named.add_request(asked);
        }
        let request = asked
            .zip(open)
            .and_then(|(asked, open)| fit::against_request(&asked, zone, &found.keys, open.end, now));
        let mut warnings = Vec::new();
        if let Some(what) = &coverage {
            warnings.push(format!(
                "KSR-COVERAGE-KEYS: the accepted SKR does not fit the keys any more ({what}); a request is due now"
            ));
        }
        warnings.extend(damage.iter().map(|what| format!("KSR-KEY-FILES: {what}")));
        let mut private_ksks = 0;
        for key in found.keys.iter().filter(|key| key.dnskey.is_ksk()) {
            private_ksks += 1;
            let path = key.private_path();
            warnings
                .push(format!("KSR-PRIVATE-KSK: {} is a private KSK; move it off this host", path.display()));
        }
        let seen = KeyFileProblems { mismatched: damage.len(), private_ksks };
        let damaged = damage.into_iter().next().map(|first| (seen.mismatched, first));
        let purge_at = named.spared(&found.keys, &zone.policy).map(|(_, time)| time).min();
        self.judged =
            Some(LastComparison { keys, accepted: mark, open: path, coverage, request, damaged, purge_at });
        self.unsaid = Some((seen, warnings));
        Ok(())
    }
}

impl AcceptedCoverage {
    /// True within it: a clock that shows another time may be wrong.
    pub(super) fn holds(self, now: Timestamp) -> bool {
        self.begin <= now && now <= self.end
    }
}

impl ZoneMemory {
    /// True when files of keys that are over are to be removed. Never while the clock shows a time that is not covered.
    pub(super) fn purge_is_due(&self, now: Timestamp) -> bool {
        let is_covered = self.accepted.as_ref().is_some_and(|(_, coverage)| coverage.holds(now));
        let waits = self.purge_after.is_some_and(|after| now < after);
        let at = self.judged.as_ref().and_then(|judged| judged.purge_at);
        is_covered && !waits && at.is_some_and(|at| at <= now)
    }
}

/// The SKR in force.
pub(super) fn read_accepted(dir: &Path, zone: &Name) -> Result<Option<UnverifiedSkr>, TickError> {
    let Some(current) = store::read_current(dir, zone)? else { return Ok(None) };
    bind::parse_skr(&current.octets, zone)
        .map(Some)
        .map_err(|error| TickError::Accepted { generation: current.generation, error })
}

/// When the next request must exist: `lead` before the coverage ends, and before a ZSK that follows the last bundle would have to
/// be published.
pub(super) fn due(
    coverage: Option<AcceptedCoverage>,
    policy: &Policy,
    lead: u32,
    now: Timestamp,
) -> Timestamp {
    coverage.map_or(now, |coverage| {
        let by_lead = coverage.end.minus(u64::from(lead));
        by_lead.min(coverage.last_inception.minus(policy.prepublication()))
    })
}
