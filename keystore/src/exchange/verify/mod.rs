//! The checks that need nothing but the SKR, the pinned KSKs and the time. Each has a stable ID.
//!
//! [`verify`] runs all of them and gives back every finding at once; a finding either rejects the SKR or is a
//! warning. [`CHECKS`] lists the IDs, [`verdicts`] sets findings against that list.

mod keys;
mod records;
mod report;
mod signatures;
mod times;

use crate::check::CheckId;
pub use report::{CHECKS, CheckOutcome, CheckVerdict, SkrFinding, SkrSeverity, verdicts, verdicts_unread};

use report::FindingList;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::key_fault::key_fault;
use super::{Bundle, TrustAnchor, UnverifiedSkr, bind};
use crate::crypto::Algorithm;
use crate::dns::Name;
use crate::keys::Dnskey;
use crate::time::Timestamp;

/// What an SKR is held against.
#[derive(Debug, Clone)]
pub struct VerifyContext<'a> {
    /// The zone that the SKR must be for.
    pub zone: &'a Name,
    /// The pinned KSKs.
    pub anchors: &'a [TrustAnchor],
    /// KSKs that were published as revoked before the SKR begins, with the REVOKE flag or without it: they vouch for nothing, whatever their
    /// flags in the SKR are (RFC 5011 section 2.1).
    pub revoked: &'a [Dnskey],
    /// What the SKR is read for.
    pub purpose: Purpose,
    /// Take the delete form of CDS and CDNSKEY (RFC 8078 section 4), which asks the parent to remove the DS RRset.
    pub allow_delete: bool,
    /// Holes between the bundles are warnings: they were settled when each of them was accepted (SKR-GAP).
    pub allow_gaps: bool,
    /// Bounds on times.
    pub limits: Limits,
}

impl<'a> VerifyContext<'a> {
    /// Acceptance with the default limits; no revoked KSKs, no CDS deletion, no holes.
    #[must_use]
    pub fn new(zone: &'a Name, anchors: &'a [TrustAnchor]) -> Self {
        Self {
            zone,
            anchors,
            revoked: &[],
            purpose: Purpose::Accept,
            allow_delete: false,
            allow_gaps: false,
            limits: Limits::default(),
        }
    }

    /// The same for an SKR from the accepted store.
    #[must_use]
    pub const fn for_reload(mut self) -> Self {
        self.purpose = Purpose::Reload;
        self
    }
}

/// What an SKR is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is new: it must also be of use from `now` on (SKR-EXPIRED, SKR-HORIZON).
    Accept,
    /// It was accepted before and is read back: structure and cryptography only, `now` does not matter.
    Reload,
}

/// Bounds on the times in an SKR, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How far from now the last signature may expire.
    pub horizon: u64,
    /// How long a signature may be valid.
    pub validity: u64,
    /// How long the signatures of a bundle may outlive it.
    pub overlap: u64,
}

const DAY: u64 = 86_400;
/// Most keys in all bundles together. Ten years of weekly ZSKs are 530.
const MAX_DISTINCT_KEYS: usize = 4096;

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Ten years of bundles in one ceremony, and some.
            horizon: 11 * 366 * DAY,
            // A signature that leaks or is replayed stays good that long; a year is far beyond any use.
            validity: 367 * DAY,
            // BIND keeps 5 days of 14. Half a year is beyond any use.
            overlap: 200 * DAY,
        }
    }
}

/// An SKR whose every check held. Only this can be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSkr {
    zone: Name,
    bundles: Vec<Bundle>,
    warnings: Vec<SkrFinding>,
    trusted: HashSet<Dnskey>,
}

impl VerifiedSkr {
    /// The zone.
    #[must_use]
    pub const fn zone(&self) -> &Name {
        &self.zone
    }

    /// The bundles, strictly ordered by inception.
    #[must_use]
    pub fn bundles(&self) -> &[Bundle] {
        &self.bundles
    }

    /// True for a KSK that vouches for a bundle of it: pinned, or learnt from earlier bundles, and not revoked.
    #[must_use]
    pub fn trusts(&self, key: &Dnskey) -> bool {
        self.trusted.contains(key)
    }

    /// What the checks found that does not reject.
    #[must_use]
    pub fn warnings(&self) -> &[SkrFinding] {
        &self.warnings
    }

    /// The bundle in force at `now`: the last one whose inception is reached. Its signatures may have expired; see [`Bundle::expiration`].
    #[must_use]
    pub fn bundle_at(&self, now: Timestamp) -> Option<&Bundle> {
        let after = self.bundles.partition_point(|b| b.inception <= now);
        self.bundles[..after].last()
    }

    /// The inception of the first bundle after `now`.
    #[must_use]
    pub fn next_switch(&self, now: Timestamp) -> Option<Timestamp> {
        let after = self.bundles.partition_point(|b| b.inception <= now);
        self.bundles.get(after).map(|b| b.inception)
    }

    /// End of the coverage: the earliest signature expiration of the last bundle.
    #[must_use]
    pub fn coverage_end(&self) -> Timestamp {
        self.bundles.last().map_or(Timestamp::EPOCH, Bundle::expiration)
    }
}

/// Holds an SKR against its context; every check runs, all findings come back at once.
///
/// Warnings come with the verified SKR ([`VerifiedSkr::warnings`]), or with the findings that reject.
pub fn verify(
    skr: UnverifiedSkr,
    context: &VerifyContext<'_>,
    now: Timestamp,
) -> Result<VerifiedSkr, Vec<SkrFinding>> {
    let (findings, trusted) = examine(&skr, context, now);
    if findings.iter().any(SkrFinding::rejects) {
        return Err(findings);
    }
    let superseded = times::superseded(&skr.bundles);
    let bundles = skr.bundles.into_iter().zip(superseded).filter(|(_, gone)| !gone).map(|(b, _)| b).collect();
    Ok(VerifiedSkr { zone: skr.zone, bundles, warnings: findings, trusted })
}

/// Everything that the checks find in an SKR, warnings included.
#[must_use]
pub fn findings(skr: &UnverifiedSkr, context: &VerifyContext<'_>, now: Timestamp) -> Vec<SkrFinding> {
    examine(skr, context, now).0
}

/// Everything that the checks find, and the KSKs that vouch for a bundle.
fn examine(
    skr: &UnverifiedSkr,
    context: &VerifyContext<'_>,
    now: Timestamp,
) -> (Vec<SkrFinding>, HashSet<Dnskey>) {
    let mut report = FindingList::default();
    check_limits(skr, &mut report);
    check_not_empty(skr, &mut report);
    if report.rejects() {
        // Nothing to look at, or more than is worth the time.
        return (report.into_findings(), HashSet::new());
    }
    let subject = Subject::new(skr, context, now);
    records::check_zone(&subject, &mut report);
    records::check_types(&subject, &mut report);
    records::check_ttls(&subject, &mut report);
    times::check_order(&subject, &mut report);
    times::check_duplicates(&subject, &mut report);
    keys::check_keys(&subject, &mut report);
    keys::check_algorithms(&subject, &mut report);
    keys::check_collisions(&subject, &mut report);
    records::check_cds(&subject, &mut report);
    times::check_validity(&subject, &mut report);
    times::check_headers(&subject, &mut report);
    times::check_not_yet(&subject, &mut report);
    times::check_gaps(&subject, &mut report);
    times::check_missing(&subject, &mut report);
    times::check_overlap(&subject, &mut report);
    times::check_expired(&subject, &mut report);
    times::check_horizon(&subject, &mut report);
    let trusted = signatures::check_signatures(&subject, &mut report);
    (report.into_findings(), trusted)
}

/// SKR-LIMITS: bundles, keys and signatures stay below their limits, so that no file takes the verifier's time.
fn check_limits(skr: &UnverifiedSkr, report: &mut FindingList) {
    const ID: CheckId = CheckId::SkrLimits;
    if skr.bundles.len() > bind::MAX_BUNDLES {
        let count = skr.bundles.len();
        report.reject(ID, None, format!("{count} bundles; the limit is {}", bind::MAX_BUNDLES));
    }
    let distinct: HashSet<&[u8]> = skr.bundles.iter().flat_map(|b| &b.dnskey.rdatas).map(|r| &**r).collect();
    if distinct.len() > MAX_DISTINCT_KEYS {
        report.reject(ID, None, format!("{} keys; the limit is {MAX_DISTINCT_KEYS}", distinct.len()));
    }
    for bundle in &skr.bundles {
        for rrset in bundle.rrsets() {
            let (count, rtype) = (rrset.rdatas.len(), rrset.rtype);
            if count > bind::MAX_KEYS {
                let what = format!("{count} {rtype} records; the limit is {}", bind::MAX_KEYS);
                report.reject(ID, Some(bundle), what);
            }
        }
        let count = bundle.signatures.len();
        if count > 3 * bind::MAX_SIGNATURES {
            let what = format!("{count} signatures; the limit is {} for each RRset", bind::MAX_SIGNATURES);
            report.reject(ID, Some(bundle), what);
        }
    }
}

/// SKR-SYNTAX: there is a bundle, and each has a DNSKEY RRset.
fn check_not_empty(skr: &UnverifiedSkr, report: &mut FindingList) {
    const ID: CheckId = CheckId::SkrSyntax;
    if skr.bundles.is_empty() {
        report.reject(ID, None, "there are no bundles");
    }
    for bundle in skr.bundles.iter().filter(|b| b.dnskey.rdatas.is_empty()) {
        report.reject(ID, Some(bundle), "the bundle has no DNSKEY record");
    }
}

/// What the checks look at, with what several of them need.
struct Subject<'a> {
    context: &'a VerifyContext<'a>,
    now: Timestamp,
    zone: &'a Name,
    /// In the order of the SKR.
    bundles: Vec<BundleView<'a>>,
    /// The usable KSKs of all bundles by tag and algorithm; `None` where two share them.
    ksks: HashMap<(u16, Algorithm), Option<Dnskey>>,
}

/// A bundle, its keys read.
struct BundleView<'a> {
    bundle: &'a Bundle,
    keys: Vec<KeyView>,
    /// True for the first of two bundles with one inception, where the second takes its place at once.
    superseded: bool,
}

/// A key, its tag, and what is wrong with it.
struct KeyView {
    key: Dnskey,
    tag: u16,
    fault: Option<Arc<str>>,
}

impl<'a> Subject<'a> {
    fn new(skr: &'a UnverifiedSkr, context: &'a VerifyContext<'a>, now: Timestamp) -> Self {
        // The same keys come again in bundle after bundle, and looking at one costs arithmetic.
        let mut faults = HashMap::<Dnskey, Option<Arc<str>>>::new();
        let mut view_key = |key: Dnskey| {
            let fault = faults.entry(key.clone()).or_insert_with(|| key_fault(&key).map(Arc::from)).clone();
            KeyView { tag: key.tag(), key, fault }
        };
        let superseded = times::superseded(&skr.bundles);
        let bundles = skr.bundles.iter().zip(superseded).map(|(bundle, superseded)| BundleView {
            bundle,
            keys: bundle.keys().map(&mut view_key).collect(),
            superseded,
        });
        let bundles: Vec<_> = bundles.collect();
        let mut ksks = HashMap::new();
        for (key, _) in faults.into_iter().filter(|(key, fault)| fault.is_none() && key.is_ksk()) {
            ksks.entry((key.tag(), key.algorithm)).and_modify(|k| *k = None).or_insert(Some(key));
        }
        Self { context, now, zone: &skr.zone, bundles, ksks }
    }

    /// The one KSK of the whole SKR that has this tag and algorithm.
    fn only_key(&self, tag: u16, algorithm: Algorithm) -> Option<&Dnskey> {
        self.ksks.get(&(tag, algorithm))?.as_ref().filter(|key| key.algorithm.can_sign())
    }

    /// The bundles that come into force, without the superseded ones.
    fn in_force(&self) -> impl Iterator<Item = &'a Bundle> {
        self.bundles.iter().filter(|v| !v.superseded).map(|v| v.bundle)
    }

    /// Each bundle that comes into force with the one that follows.
    fn switches(&self) -> impl Iterator<Item = (&'a Bundle, &'a Bundle)> {
        self.in_force().zip(self.in_force().skip(1))
    }
}

/// A time span for people: `9d 3h`, `4s`.
fn span(seconds: u64) -> String {
    let parts =
        [("d", seconds / DAY), ("h", seconds / 3600 % 24), ("min", seconds / 60 % 60), ("s", seconds % 60)];
    let text: Vec<_> =
        parts.iter().filter(|(_, n)| *n > 0).take(2).map(|(unit, n)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text.join(" ") }
}

#[cfg(test)]
pub(crate) mod tests;
