//! The one judge: it decides whether an SKR may come into force.
//!
//! ```text
//! octets ──split──▶ parts ──read──▶ Candidate ─┐
//!                                              ├─ judge ─▶ Verdict ─▶ the loader carries it out, `check` prints it
//! configuration, key folder, store, outbox, ───┘
//! resolver, signature of the operator ──gather──▶ Evidence
//! ```
//!
//! A dropped file, one part of a file of several zones, a file that a person hands over, a rollback and `skr-loader check` differ only in
//! where the octets come from and in what is done with the verdict.
//!
//! **Invariant:** [`judge`] reads nothing and writes nothing: the same candidate, evidence, overrides and time give the same verdict.

mod content;
mod evidence;
mod requests;

use keystore::check::CheckId;
use keystore::dns::Name;
use keystore::exchange::format::{self, Format};
use keystore::exchange::verify::{self, Limits};
use keystore::exchange::{SkrFinding, UnverifiedSkr, VerifiedSkr, VerifyContext};
use keystore::store::digest;
use keystore::time::Timestamp;

use crate::accept;
use crate::checks::{self, overrule};
use crate::store::Digest;
use keystore::exchange::Coverage;

pub use content::{FileContent, UnreadableSkr, ZonePart, split};
pub use evidence::{Evidence, EvidenceError, EvidenceSubject, Sources};

/// What the SKRs that the loader writes itself say that made them.
const PROGRAM: &str = concat!("skr-loader ", env!("CARGO_PKG_VERSION"));

/// An SKR that reads, with what is known of the octets that it was read from.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The zone, as the configuration writes it.
    pub zone: Name,
    /// SHA-256 of the octets.
    pub digest: Digest,
    /// What they say.
    pub skr: UnverifiedSkr,
    form: Format,
}

impl Candidate {
    /// Reads the SKR of one zone, which its content names. `ours` gives the zone as the configuration writes it.
    pub fn read(octets: &[u8], ours: impl FnOnce(&Name) -> Option<Name>) -> Result<Self, UnreadableSkr> {
        checks::parse(octets, ours)
            .map(|(zone, skr)| Self::new(zone, skr, octets))
            .map_err(|(zone, finding)| UnreadableSkr { zone, finding })
    }

    /// Reads an SKR that must be for `zone`, whatever its first record says.
    pub fn read_of_zone(octets: &[u8], zone: &Name) -> Result<Self, UnreadableSkr> {
        match format::parse_skr(octets, zone) {
            Ok(skr) => Ok(Self::new(zone.clone(), skr, octets)),
            Err(error) => Err(UnreadableSkr { zone: Some(zone.clone()), finding: (&error).into() }),
        }
    }

    fn new(zone: Name, skr: UnverifiedSkr, octets: &[u8]) -> Self {
        Self { zone, skr, digest: digest(octets), form: format::detect(octets) }
    }
}

/// Where a candidate comes from, and so what was settled before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CandidateOrigin {
    /// From outside: every check counts.
    #[default]
    Received,
    /// A generation of the store that a person orders to be in force again. That it is an older one, has holes, answers no open request
    /// and was signed by the operator was settled when it was accepted. It must cover this very moment.
    Kept,
}

/// What a person has decided, and what is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides<'a> {
    /// The checks whose rejections are warnings; see [`checks::FORCEABLE`].
    pub force: &'a [CheckId],
    /// Where the candidate comes from.
    pub origin: CandidateOrigin,
    /// What is done with an SKR that is in force already.
    pub in_force: InForceAlready,
}

/// What is done with an SKR that is in force already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InForceAlready {
    /// Nothing: it was judged when it was accepted.
    #[default]
    Skip,
    /// Every check runs, so that a person learns whether it is good still.
    Check,
    /// It is judged as a new one: the store does not hold it any more, and is repaired by it.
    Commit,
}

/// What [`judge`] decides.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It may come into force.
    Accept(Box<Acceptance>),
    /// It is in force already.
    Unchanged {
        /// The generation in force.
        generation: u64,
        /// Whether it is good still; `None` when that was not asked.
        still: Option<StillGood>,
    },
    /// It must not come into force.
    Reject(Rejection),
}

/// Whether the SKR in force would pass every check now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StillGood {
    /// It would, with these warnings.
    Yes(Vec<SkrFinding>),
    /// It would be rejected.
    No(Rejection),
}

/// An SKR that passed every check, or all but those that were overruled.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// The SKR as it was received.
    pub skr: VerifiedSkr,
    /// What to commit.
    pub commit: Commit,
    /// The warnings, and what was overruled.
    pub warnings: Vec<SkrFinding>,
    /// The checks that were overruled, and would have rejected.
    pub forced: Vec<CheckId>,
    /// What its own bundles cover.
    pub coverage: Option<Coverage>,
}

/// The octets of the next generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// Those that were received.
    AsReceived,
    /// These: it was joined to what is in force until it begins, or came in another form than BIND's.
    Written(Vec<u8>),
}

/// Why an SKR is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The last stage that it came to.
    pub stage: Stage,
    /// The findings that reject, and the warnings.
    pub findings: Vec<SkrFinding>,
}

/// The stages of a judgement; an SKR that fails at one does not come to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The text is read.
    Read,
    /// The SKR is held against the pinned KSKs and the time ([`verify::CHECKS`]).
    Verify,
    /// It is held against all other evidence ([`accept::CHECKS`]).
    Accept,
}

/// Decides what becomes of `candidate` at `now`.
#[must_use]
pub fn judge(
    candidate: Candidate,
    evidence: &Evidence<'_>,
    overrides: &Overrides<'_>,
    now: Timestamp,
) -> Verdict {
    match begin(candidate, evidence, overrides, now) {
        Begun::Decided(verdict) => verdict,
        Begun::Verified(verified) => finish(*verified, evidence, overrides, now),
    }
}

/// The same, and reads and asks no more evidence than the verdict needs: a file that is in force already, or whose signatures do not hold,
/// needs what is at hand.
pub fn judge_gathering(
    candidate: Candidate,
    subject: EvidenceSubject<'_>,
    sources: &mut Sources,
    overrides: &Overrides<'_>,
    now: Timestamp,
) -> Result<Verdict, EvidenceError> {
    let at_hand = Evidence::at_hand(subject)?;
    match begin(candidate, &at_hand.evidence, overrides, now) {
        Begun::Decided(verdict) => Ok(verdict),
        Begun::Verified(verified) => {
            let evidence = at_hand.gather(verified.skr.bundles(), sources, now)?;
            Ok(finish(*verified, &evidence, overrides, now))
        }
    }
}

/// What is known once the signatures were looked at.
enum Begun {
    Decided(Verdict),
    /// All other checks are yet to come.
    Verified(Box<Verified>),
}

/// Sees whether the SKR is in force already, and verifies its signatures.
fn begin(candidate: Candidate, evidence: &Evidence<'_>, overrides: &Overrides<'_>, now: Timestamp) -> Begun {
    let counts =
        overrides.origin == CandidateOrigin::Received && overrides.in_force != InForceAlready::Commit;
    let is_skipped = overrides.in_force == InForceAlready::Skip;
    let mut unchanged = evidence.generation_of(&candidate).filter(|_| counts);
    if let Some(generation) = unchanged.filter(|_| is_skipped) {
        return Begun::Decided(Verdict::Unchanged { generation, still: None });
    }
    let Candidate { zone, digest, skr, form } = candidate;
    match verify_candidate(skr, &zone, evidence, overrides, now) {
        Err(findings) => {
            let rejection = Rejection { stage: Stage::Verify, findings };
            Begun::Decided(match unchanged {
                Some(generation) => Verdict::Unchanged { generation, still: Some(StillGood::No(rejection)) },
                None => Verdict::Reject(rejection),
            })
        }
        Ok((skr, far)) => {
            unchanged =
                unchanged.or_else(|| evidence.generation_saying(skr.bundles(), now).filter(|_| counts));
            match unchanged.filter(|_| is_skipped) {
                Some(generation) => Begun::Decided(Verdict::Unchanged { generation, still: None }),
                None => Begun::Verified(Box::new(Verified { skr, digest, form, far, unchanged })),
            }
        }
    }
}

/// Runs all checks that come after the signatures.
fn finish(verified: Verified, evidence: &Evidence<'_>, overrides: &Overrides<'_>, now: Timestamp) -> Verdict {
    let unchanged = verified.unchanged;
    let reject = |findings| Rejection { stage: Stage::Accept, findings };
    match (unchanged, examine(verified, evidence, overrides, now)) {
        (Some(generation), Ok(accepted)) => {
            Verdict::Unchanged { generation, still: Some(StillGood::Yes(accepted.warnings)) }
        }
        (Some(generation), Err(findings)) => {
            Verdict::Unchanged { generation, still: Some(StillGood::No(reject(findings))) }
        }
        (None, Ok(acceptance)) => Verdict::Accept(Box::new(acceptance)),
        (None, Err(findings)) => Verdict::Reject(reject(findings)),
    }
}

/// A candidate whose signatures hold.
struct Verified {
    skr: VerifiedSkr,
    digest: Digest,
    form: Format,
    /// The findings of SKR-HORIZON, where that is overruled.
    far: Vec<SkrFinding>,
    /// The generation in force, when it is that.
    unchanged: Option<u64>,
}

/// Runs the checks of [`accept`], and makes the octets to commit.
fn examine(
    Verified { skr, digest, form, far, .. }: Verified,
    evidence: &Evidence<'_>,
    overrides: &Overrides<'_>,
    now: Timestamp,
) -> Result<Acceptance, Vec<SkrFinding>> {
    let mut findings = far;
    findings.extend(skr.warnings().iter().cloned());
    let mut found = accept::check(&skr, &digest, &evidence.context(), now);
    if overrides.origin == CandidateOrigin::Kept {
        // That it is an older one is what a rollback is about.
        found.retain(|finding| finding.id != CheckId::SkrReplay);
    }
    findings.extend(found);
    let damage = evidence.history.damage().iter();
    findings.extend(damage.map(|what| SkrFinding::reject(CheckId::SkrReplay, None, what.clone())));
    let coverage = Coverage::at(skr.bundles(), now);
    if overrides.origin == CandidateOrigin::Kept && coverage.is_none_or(|c| c.active.is_none()) {
        let what = "none of its bundles is in force now, with signatures that are valid; ask for a new SKR";
        findings.push(SkrFinding::reject(CheckId::SkrExpired, None, what));
    }
    let (mut warnings, forced) = overrule(findings, overrides.force);
    if warnings.iter().any(SkrFinding::rejects) {
        return Err(warnings);
    }
    let joined = match evidence.state.as_deref() {
        Some(state) if overrides.origin == CandidateOrigin::Received => {
            accept::join(&skr, state, &evidence.anchors, now, PROGRAM)
        }
        _ => Ok(None),
    };
    let commit = match joined {
        Ok(Some(octets)) => Commit::Written(octets),
        // Whoever reads a generation reads BIND's form.
        Ok(None) if form != Format::Bind => Commit::Written(accept::rewritten(&skr, now, PROGRAM)),
        Ok(None) => Commit::AsReceived,
        Err(finding) => {
            warnings.push(finding);
            return Err(warnings);
        }
    };
    Ok(Acceptance { skr, commit, warnings, forced, coverage })
}

/// Holds the SKR against the pinned KSKs and the time. The findings beside a verified SKR are those of SKR-HORIZON, where that is overruled.
fn verify_candidate(
    skr: UnverifiedSkr,
    zone: &Name,
    evidence: &Evidence<'_>,
    overrides: &Overrides<'_>,
    now: Timestamp,
) -> Result<(VerifiedSkr, Vec<SkrFinding>), Vec<SkrFinding>> {
    let revoked = evidence.revoked(&skr.bundles, now);
    let mut context = VerifyContext::new(zone, &evidence.anchors);
    context.revoked = &revoked;
    context.allow_delete = evidence.allow_delete;
    context.allow_gaps = overrides.origin == CandidateOrigin::Kept;
    if !overrides.force.contains(&CheckId::SkrHorizon) {
        return verify::verify(skr, &context, now).map(|skr| (skr, Vec::new()));
    }
    let far = verify::findings(&skr, &context, now).into_iter().filter(|f| f.id == CheckId::SkrHorizon);
    let far = far.collect();
    context.limits = Limits { horizon: u64::MAX, ..context.limits };
    verify::verify(skr, &context, now).map(|skr| (skr, far))
}
