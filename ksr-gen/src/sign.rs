//! `sign`: makes the SKR to a KSR, with the KSKs of a folder.
//!
//! ```text
//! KSR + policy + KSKs + end ──plan──▶ SigningPlan (bundles, findings) ──sign──▶ SKR, every signature verified
//! ```
//!
//! Bundles, records and times are those of `dnssec-ksr sign`: DNSKEY, CDNSKEY and CDS with the TTL of the signing policy,
//! signatures valid from one hour before the inception of their bundle for `signatures-validity-dnskey`. At the very second at
//! which a KSK becomes inactive it still signs, beside its successor. Unlike there, a key acts as KSK only when it is one, the KSR
//! is held against the policy, nothing unsigned comes out, no bundle is made twice, and a DNSKEY is listed once.

mod bundles;

use keystore::check::CheckId;
use keystore::crypto::{SignError, VerifyError};
use keystore::dns::{Name, Rtype};
use keystore::exchange::bind::{MAX_BUNDLES, MAX_KEYS};
use keystore::exchange::prove::{self, Delays, Fault, ParentModel};
use keystore::exchange::{Bundle, Ksr, KsrBundle, TrustAnchor, UnverifiedSkr};
use keystore::keys::{Dnskey, FLAG_REVOKE, KeyFile, files::KeyFileError};
use keystore::policy::Policy;
use keystore::time::Timestamp;

use crate::chain;
pub use crate::chain::ZskChanges;
use crate::check;
use crate::finding::Findings;
pub use crate::finding::{Advice, KsrFinding, KsrSeverity, Waiver, Waivers};
use crate::rollover::{self, Circumstances, KskSchedule, ParentDs, signs, signs_as_anchor};
use crate::schedule::{self, BundleInterval, Until};

/// The input of [`plan`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SigningInput<'a> {
    /// The zone; its letter case goes into the records.
    pub zone: &'a Name,
    /// The policy: signature times, TTL, CDS and CDNSKEY, and which ZSKs are expected.
    pub policy: &'a Policy,
    /// The request.
    pub ksr: &'a Ksr,
    /// Keys of the KSK folder, sorted by algorithm and tag.
    pub keys: &'a [KeyFile],
    /// End of the last bundle.
    pub end: Timestamp,
    /// The DS RRset of the parent, where it was looked at. Without it no KSK leaves that has a successor.
    pub parent: Option<&'a ParentDs>,
    /// From when on CDS and CDNSKEY ask the parent to remove the DS RRset (RFC 8078 section 4).
    pub cds_delete: Option<Timestamp>,
    /// The SKR before.
    pub previous: Option<&'a UnverifiedSkr>,
    /// The ZSKs that may come and go between the SKR before and the request.
    pub zsk_changes: ZskChanges<'a>,
    /// The time of the ceremony.
    pub now: Timestamp,
    /// The checks that the operator waives.
    pub waivers: Waivers,
    /// The time at which the request says that it was written.
    pub written: Option<Timestamp>,
    /// Seconds after its replacement for which the zone may still have signatures by a ZSK; `None` = as with BIND, which re-signs as
    /// signatures become due: signatures-validity less signatures-refresh of the policy.
    pub resigning: Option<u32>,
    /// The largest TTL of the zone, in seconds, as the request tells it: where it is above `max-zone-ttl` of the policy, caches hold
    /// signatures for so long.
    pub largest_ttl: Option<u32>,
}

impl<'a> SigningInput<'a> {
    /// The request of a zone, to be signed by the KSKs among `keys` with bundles until `end`, with nothing known of the parent and
    /// of the SKR before, and nothing waived; `now` is the time of the ceremony.
    #[must_use]
    pub const fn new(
        zone: &'a Name,
        policy: &'a Policy,
        ksr: &'a Ksr,
        keys: &'a [KeyFile],
        end: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            zone,
            policy,
            ksr,
            keys,
            end,
            parent: None,
            cds_delete: None,
            previous: None,
            zsk_changes: ZskChanges { new: &[], gone: &[] },
            now,
            waivers: Waivers::NONE,
            written: None,
            resigning: None,
            largest_ttl: None,
        }
    }

    /// The policy with the largest TTL that the zone has by policy and request.
    fn reckoned_policy(&self) -> Policy {
        self.policy.reckoning_with(self.largest_ttl)
    }
}

/// Which bundles there will be, and what the checks found.
#[derive(Debug)]
pub struct SigningPlan<'a> {
    signing: SigningInput<'a>,
    ksks: Vec<KskSchedule<'a>>,
    /// For each bundle of the KSR: its index, and the inceptions of its bundles in the SKR.
    groups: Vec<Group>,
    /// All findings; the plan is signed only when none refuses.
    pub findings: Vec<KsrFinding>,
    /// KSR-PROVE was looked at.
    proved: bool,
    /// Keys of the folder that are no KSKs and take no part.
    pub left_out: Vec<&'a KeyFile>,
}

/// What a KSK does in the bundles of an SKR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KskUse<'a> {
    /// The DNSKEY of the key file.
    pub key: &'a Dnskey,
    /// Inceptions of the first and the last bundle that it signs; `None` = it signs none.
    pub signs: Option<(Timestamp, Timestamp)>,
    /// Inception of the first bundle in which it is revoked.
    pub revoked: Option<Timestamp>,
}

/// The index of a bundle of the KSR, and the inceptions of its bundles in the SKR.
type Group = (usize, Vec<Timestamp>);

/// Error of a ceremony. There is no SKR.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KsrSigningError {
    /// A finding of the plan is not allowed.
    #[error("the KSR is refused and nothing is signed: {} finding(s)", .0.len())]
    Refused(Vec<KsrFinding>),
    /// The policy leaves no time between two bundles.
    #[error(
        "policy '{policy}': signatures-refresh ({refresh} s) must be shorter than signatures-validity-dnskey ({validity} s)"
    )]
    Policy {
        /// Name of the policy.
        policy: String,
        /// Value of signatures-refresh, in seconds.
        refresh: u32,
        /// Value of signatures-validity-dnskey, in seconds.
        validity: u32,
    },
    /// The interval and the policy would make an SKR that nobody reads.
    #[error(
        "the SKR would have more than {MAX_BUNDLES} bundles; give an earlier end, or a longer signatures-validity-dnskey"
    )]
    TooManyBundles,
    /// A bundle would have more keys than are read.
    #[error(
        "the bundle of {inception} would have {keys} keys, ZSKs and KSKs, and an SKR with more than {MAX_KEYS} is not read; nothing is \
         signed"
    )]
    TooManyKeys {
        /// Inception of the bundle in the KSR.
        inception: Timestamp,
        /// Its ZSKs, and the KSKs of the key folder.
        keys: usize,
    },
    /// The private part of a KSK cannot be used.
    #[error("KSK {name}: {source}")]
    Key {
        /// Base name of the key.
        name: String,
        /// Error of the key files or the token.
        source: KeyFileError,
    },
    /// A signature could not be made.
    #[error("KSK {name} made no signature for bundle {bundle}: {source}")]
    Sign {
        /// Base name of the key.
        name: String,
        /// Inception of the bundle.
        bundle: Timestamp,
        /// Error of the signing key.
        source: SignError,
    },
    /// A signature was made and does not verify: a broken key, token or machine.
    #[error(
        "the {covered} signature that KSK {name} made for bundle {bundle} does not verify: {source}; do not use this key store or machine before the cause is known"
    )]
    Verify {
        /// Base name of the key.
        name: String,
        /// Inception of the bundle.
        bundle: Timestamp,
        /// The RRset.
        covered: Rtype,
        /// Error of the verification.
        source: VerifyError,
    },
}

impl KsrSigningError {
    /// True when another try may go well although nobody mends anything: the token or the file of a KSK could not be used just now.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Key { source, .. } => source.is_passing(),
            Self::Sign { source, .. } => source.is_passing(),
            Self::Refused(_)
            | Self::Policy { .. }
            | Self::TooManyBundles
            | Self::TooManyKeys { .. }
            | Self::Verify { .. } => false,
        }
    }
}

/// The KSKs among `keys`: SEP flag, and not declared to be something else by `.state`; and the others.
fn part(keys: &[KeyFile], waivers: Waivers) -> (Vec<&KeyFile>, Vec<&KeyFile>) {
    let is_ksk = |key: &&KeyFile| {
        waivers.contains(Waiver::ZskAsKsk)
            || key.dnskey.is_ksk() && key.state.as_ref().and_then(|state| state.ksk) != Some(false)
    };
    keys.iter().partition(is_ksk)
}

/// Plans the bundles and runs the checks.
pub fn plan(signing: SigningInput<'_>) -> Result<SigningPlan<'_>, KsrSigningError> {
    let SigningInput { policy, ksr, end, waivers, .. } = signing;
    let step = BundleInterval::of(policy).ok_or_else(|| KsrSigningError::Policy {
        policy: policy.name.clone(),
        refresh: policy.signatures_refresh,
        validity: policy.signatures_validity_dnskey,
    })?;
    let (ksks, left_out) = part(signing.keys, waivers);
    let mut findings = Findings::new(waivers);
    check::check(ksr, policy, &ksks, end, &mut findings);
    check::check_horizon(ksr, end, signing.now, &mut findings);
    check::check_clock(signing.written, signing.now, &mut findings);
    if let Some(previous) = signing.previous {
        let known = chain::known_ksks(&ksks, signing.parent);
        chain::check(ksr, previous, &known, signing.zsk_changes, signing.now, &mut findings);
    }
    let ksks = uses(&signing, &ksks, &mut findings);
    let mut events = schedule::events(&ksks, policy);
    if let Some(from) = signing.cds_delete {
        let place = events.partition_point(|event| *event < from);
        events.insert(place, from);
        let what = format!(
            "from {from} on CDS and CDNSKEY ask the parent to remove the DS RRset: the zone becomes insecure when it does"
        );
        findings.note(CheckId::KsrCdsDelete, Some(from), what);
    }
    // What is written must be read: the limit of the reader holds here.
    let too_many = |bundle: &&KsrBundle| bundle.keys.len() + ksks.len() > MAX_KEYS;
    if let Some(bundle) = ksr.bundles.iter().find(too_many) {
        return Err(KsrSigningError::TooManyKeys {
            inception: bundle.inception,
            keys: bundle.keys.len() + ksks.len(),
        });
    }
    let groups = groups(&signing, step, &events)?;
    check_ksks(&signing, &ksks, &groups, &mut findings);
    check_ksk_tags(&ksks, &groups, &mut findings);
    let mut plan = SigningPlan { signing, ksks, groups, findings: Vec::new(), proved: false, left_out };
    plan.prove(&mut findings);
    plan.findings = findings.all;
    Ok(plan)
}

/// For each bundle of the KSR the inceptions of the bundles that the SKR has in its place.
fn groups(
    signing: &SigningInput<'_>,
    step: BundleInterval,
    events: &[Timestamp],
) -> Result<Vec<Group>, KsrSigningError> {
    let SigningInput { ksr, end, .. } = *signing;
    let mut groups = Vec::with_capacity(ksr.bundles.len());
    let mut left = MAX_BUNDLES;
    for (i, bundle) in ksr.bundles.iter().enumerate() {
        let next = ksr.bundles.get(i + 1).map(|next| next.inception);
        let until = next.map_or(Until::End(end), Until::Next);
        let inceptions = schedule::inceptions(bundle.inception, until, step, events, left + 1);
        left = left.checked_sub(inceptions.len()).ok_or(KsrSigningError::TooManyBundles)?;
        if !inceptions.is_empty() {
            groups.push((i, inceptions));
        }
    }
    Ok(groups)
}

/// KSR-KEY-COLLISION among the KSKs that are published in one bundle.
fn check_ksk_tags(ksks: &[KskSchedule<'_>], groups: &[Group], findings: &mut Findings) {
    let inceptions = groups.iter().flat_map(|(_, inceptions)| inceptions);
    let published = |at: &Timestamp| {
        let keys = ksks.iter().filter(|ksk| ksk.is_published(*at)).map(|ksk| ksk.dnskey(*at)).collect();
        (*at, keys)
    };
    check::check_ksk_collisions(inceptions.map(published), findings);
}

/// KSR-NO-KSK and KSR-ALGORITHM-SET: each bundle is signed, by a KSK of each algorithm.
fn check_ksks(
    signing: &SigningInput<'_>,
    ksks: &[KskSchedule<'_>],
    groups: &[Group],
    findings: &mut Findings,
) {
    let SigningInput { policy, ksr, waivers, .. } = *signing;
    let unsigned = |at: &&Timestamp| !ksks.iter().any(|ksk| signs_as_anchor(ksk, ksks, **at));
    if let Some(at) = groups.iter().flat_map(|(_, inceptions)| inceptions).find(unsigned) {
        let (what, advice) = no_ksk(ksks, *at);
        findings.refuse_unless(Waiver::Unsigned, CheckId::KsrNoKsk, Some(*at), what).advise(advice);
    }
    if waivers.contains(Waiver::ForeignAlgorithms) {
        return;
    }
    let one_sided = groups.iter().find_map(|(i, inceptions)| {
        let of = |at: &Timestamp| Some((*at, rollover::one_sided(policy, ksks, &ksr.bundles[*i].keys, *at)?));
        inceptions.iter().find_map(of)
    });
    if let Some((at, what)) = one_sided {
        findings.refuse_unless(Waiver::UnconfirmedKskRoll, CheckId::KsrAlgorithmSet, Some(at), what);
    }
}

/// Why no KSK signs the bundle that begins at `at`, and what would mend it.
fn no_ksk(ksks: &[KskSchedule<'_>], at: Timestamp) -> (String, Advice) {
    const UNSIGNED: &str = "the bundle would be unsigned";
    let named = |ksk: &KskSchedule<'_>| format!("KSK {}", ksk.file.base_name());
    if ksks.is_empty() {
        return (format!("the key folder has no KSK, {UNSIGNED}"), Advice::GiveKskFolder);
    }
    let begins = |ksk: &&KskSchedule<'_>| ksk.timing.activate.filter(|activate| *activate > at);
    if let Some(ksk) = ksks.iter().filter(|ksk| begins(ksk).is_some()).min_by_key(begins)
        && let Some(activate) = begins(&ksk)
    {
        let what = format!(
            "{} begins to sign at {activate}, {} after the bundle: {UNSIGNED}",
            named(ksk),
            check::duration_text(activate.since(at))
        );
        return (what, Advice::MoveKskTimes(at));
    }
    if let Some(ksk) = ksks.iter().find(|ksk| ksk.is_published(at) && ksk.is_revoked(at)) {
        let since = ksk.timing.revoke.map_or_else(String::new, |revoke| format!(" since {revoke}"));
        let what = format!(
            "{} is revoked{since}, and no other KSK signs: nobody can trust the bundle (RFC 5011)",
            named(ksk)
        );
        return (what, Advice::MakeKsk);
    }
    let ended = |ksk: &&KskSchedule<'_>| ksk.timing.inactive.or(ksk.timing.delete).filter(|end| *end <= at);
    if let Some(ksk) = ksks.iter().filter(|ksk| ended(ksk).is_some()).max_by_key(ended)
        && let Some(end) = ended(&ksk)
    {
        let what = format!("{} has signed until {end} and does so no more: {UNSIGNED}", named(ksk));
        return (what, Advice::MakeKsk);
    }
    (format!("none of the {} KSK(s) is active, {UNSIGNED}", ksks.len()), Advice::MakeKsk)
}

/// Decides when each KSK is used; finds KSR-PARENT-DS, KSR-KSK-HELD and KSR-KSK-LEFT.
fn uses<'a>(
    signing: &SigningInput<'a>,
    ksks: &[&'a KeyFile],
    findings: &mut Findings,
) -> Vec<KskSchedule<'a>> {
    let SigningInput { zone, ksr, parent, previous, waivers, .. } = *signing;
    if let Some(what) = parent.and_then(|parent| parent.fault(zone, ksks)) {
        let what = format!("{what}; look at the parent again, and at the key folder");
        findings.refuse(CheckId::KsrParentDs, None, what);
    }
    if waivers.contains(Waiver::UnconfirmedKskRoll) {
        return rollover::by_times(ksks);
    }
    let from = ksr.bundles.first().map_or(Timestamp::EPOCH, |bundle| bundle.inception);
    let previous = previous.map_or(&[][..], |skr| &skr.bundles);
    let before = previous.partition_point(|bundle| bundle.inception <= from).checked_sub(1);
    let before: Vec<Dnskey> = before.iter().flat_map(|i| previous[*i].keys()).collect();
    let about = Circumstances { zone, policy: &signing.reckoned_policy(), ksr, before: &before, parent };
    let uses = rollover::by_parent(ksks, about);
    let unknown = |ksk: &&&KeyFile| about.is_gone(ksk) && parent.is_none() && before.is_empty();
    if ksks.len() > 1
        && let Some(ksk) = ksks.iter().find(unknown)
    {
        let what = format!(
            "KSK {} was to be gone before this request, and nothing says whether it is; once it has left and its DS too, take its files out of this folder",
            ksk.base_name()
        );
        findings
            .refuse_unless(Waiver::UnconfirmedKskRoll, CheckId::KsrKskLeft, Some(from), what)
            .advise(Advice::GivePreviousOrParentDs);
    }
    for ksk in uses.iter().filter(|ksk| ksk.held) {
        let planned = ksk.file.timing.inactive.or(ksk.file.timing.delete);
        if planned.is_none_or(|at| at > signing.end) {
            continue;
        }
        let seen = match parent {
            None => "nothing was said of the DS at the parent",
            Some(_) => "the parent has no DS of a KSK that goes on after it",
        };
        let what = format!(
            "KSK {} stays and signs beyond {}: {seen}",
            ksk.file.base_name(),
            planned.unwrap_or(from)
        );
        findings.note(CheckId::KsrKskHeld, planned, what).advise(Advice::GiveParentDs);
    }
    uses
}

impl SigningPlan<'_> {
    /// The request that is signed.
    #[must_use]
    pub fn ksr(&self) -> &Ksr {
        self.signing.ksr
    }

    /// The policy of the ceremony.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.signing.policy
    }

    /// The largest TTL of the zone, in seconds, where the request tells one above `max-zone-ttl` of the policy.
    #[must_use]
    pub fn larger_ttl(&self) -> Option<u32> {
        self.signing.largest_ttl.filter(|ttl| *ttl > self.policy().effective_max_zone_ttl())
    }

    /// End of the last bundle.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.signing.end
    }

    pub(crate) fn has_previous(&self) -> bool {
        self.signing.previous.is_some()
    }

    /// False where the proof over caches could not be made, because what lacks keys or signatures cannot hold.
    pub(crate) fn is_proved(&self) -> bool {
        self.proved
    }

    /// True when the key folder has KSKs.
    pub(crate) fn has_ksks(&self) -> bool {
        !self.ksks.is_empty()
    }

    /// True when a KSK or DS tells whose the SKR before is.
    pub(crate) fn knows_ksks(&self) -> bool {
        let files: Vec<&KeyFile> = self.ksks.iter().map(|ksk| ksk.file).collect();
        !chain::known_ksks(&files, self.signing.parent).is_empty()
    }

    pub(crate) fn has_parent(&self) -> bool {
        self.signing.parent.is_some()
    }

    /// The KSKs, each with what it does in the bundles.
    #[must_use]
    pub fn ksks(&self) -> Vec<KskUse<'_>> {
        let inceptions = || self.groups.iter().flat_map(|(_, inceptions)| inceptions).copied();
        let use_of = |ksk: &'_ KskSchedule<'_>| {
            let mut signed = inceptions().filter(|at| signs(ksk, &self.ksks, *at));
            let first = signed.next();
            let last = signed.next_back().or(first);
            let revoked = inceptions().find(|at| ksk.is_published(*at) && ksk.is_revoked(*at));
            (first.zip(last), revoked)
        };
        let ksks = self.ksks.iter().map(|ksk| {
            let (signs, revoked) = use_of(ksk);
            KskUse { key: &ksk.file.dnskey, signs, revoked }
        });
        ksks.collect()
    }

    /// Number of bundles that the SKR will have.
    #[must_use]
    pub fn bundle_count(&self) -> usize {
        self.groups.iter().map(|(_, inceptions)| inceptions.len()).sum()
    }

    /// KSR-PROVE: the SKR that this plan makes, behind the one before, over all caches. What the parent does not have, it is taken to
    /// take from CDS.
    fn prove(&mut self, findings: &mut Findings) {
        let SigningInput { zone, previous, parent, waivers, .. } = self.signing;
        // What lacks keys or signatures was told.
        let told = |f: &KsrFinding| f.refuses() || f.id == CheckId::KsrNoKsk || f.id == CheckId::KsrKeyFlags;
        if findings.all.iter().any(told) {
            return;
        }
        let bundles = self.outline();
        let Some(first) = bundles.first() else { return };
        let signing_first = |key: &&Dnskey| first.signatures.iter().any(|s| s.key_tag == key.tag());
        let before: &[Bundle] = previous.as_ref().map_or(&[], |skr| &skr.bundles);
        let parent = match parent {
            Some(parent) => ParentModel::FollowsCds(parent.ds.clone()),
            None => {
                let trusted = |key: &Dnskey| key.is_ksk() && key.flags & FLAG_REVOKE == 0;
                let ksks: Vec<Dnskey> = first.keys().filter(trusted).collect();
                let anchors: Vec<TrustAnchor> =
                    ksks.iter().filter(signing_first).cloned().map(TrustAnchor::Dnskey).collect();
                ParentModel::assumed(&anchors, before, first.inception)
            }
        };
        let mut delays = Delays::from(&self.signing.reckoned_policy());
        if let Some(resigning) = self.signing.resigning {
            delays.signature_retention = resigning.into();
        }
        let before = before.iter().filter(|b| b.inception < first.inception);
        self.proved = true;
        let report = prove::prove(&prove::ProofInput {
            zone,
            bundles: &before.chain(&bundles).collect::<Vec<_>>(),
            parent,
            signing: prove::SigningModel::Derived,
            delays,
            from: first.inception,
        });
        for fault in &report.findings {
            let mut what = fault.to_string();
            let no_zsk = matches!(fault.fault, Fault::NoZsk { derived: true });
            if no_zsk {
                what.push_str(&format!(
                    "; signatures by a ZSK are taken to stay in sight for {} after its replacement: {} until the zone is re-signed, {} of zone-propagation-delay, {} of {}",
                    check::duration_text(
                        delays.signature_retention + delays.zone_propagation + delays.max_zone_ttl
                    ),
                    check::duration_text(delays.signature_retention),
                    check::duration_text(delays.zone_propagation),
                    check::duration_text(delays.max_zone_ttl),
                    self.larger_ttl().map_or("max-zone-ttl", |_| "the largest TTL that the request names"),
                ));
            }
            // By the times alone, as BIND does it, no KSK roll proves good.
            if fault.rejects()
                && !(waivers.contains(Waiver::UnconfirmedKskRoll) && fault.fault.is_of_parent())
            {
                let found = findings.refuse_unless(Waiver::Unproven, CheckId::KsrProve, Some(fault.at), what);
                if no_zsk {
                    found.advise(Advice::GiveSignerDelays);
                }
            } else {
                findings.note(CheckId::KsrProve, Some(fault.at), what);
            }
        }
    }
}

#[cfg(test)]
mod tests;
