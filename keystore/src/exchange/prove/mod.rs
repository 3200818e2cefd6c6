//! Proves that a schedule keeps a zone valid: at every second, for whatever caches may still hold.
//!
//! Three things reach a validating resolver by ways of their own, each from a cache or fresh from any server: the DS RRset of
//! the parent, the DNSKEY RRset, and the signatures over the zone's data. What was replaced stays in sight for some time:
//!
//! ```text
//!   DNSKEY RRset    from its bundle's inception until the next one's   + zone-propagation-delay + its TTL
//!   signatures      from Activate until Inactive + (validity - refresh) + zone-propagation-delay + max-zone-ttl
//!   DS RRset        from its publication until it is replaced          + parent-propagation-delay + its TTL
//! ```
//! The first terms are how long servers give a thing out, the others how long it may live on elsewhere (RFC 7583 section 3).
//! At any second a resolver may hold any one of the DS RRsets in sight with any of the DNSKEY RRsets in sight and any of the
//! signatures in sight, and every such combination must validate. So each of them is a span of seconds, and the proof is
//! arithmetic on spans: exact, and no second is stepped over. What must hold of a combination:
//!
//! - a DS names a key of the DNSKEY RRset that signs it, for each algorithm in the DS RRset (RFC 4035 section 2.2);
//! - of some algorithm, and of each in the DS RRset, all signatures in sight are by keys of the DNSKEY RRset;
//! - a signature over a DNSKEY RRset in force is valid.
//!
//! Signatures are taken to be good ones; [`verify`](mod@super::verify) sees to that.

mod fault;
mod model;
mod spans;

use crate::check::CheckId;
pub use fault::{CHECKS, Fault, FaultKind, KeyRef, ProofFinding};

use super::verify::{self, SkrSeverity};
use super::{Bundle, TrustAnchor};
use crate::dns::Name;
use crate::keys::{Dnskey, KeyFile};
use crate::policy::Policy;
use crate::time::Timestamp;

/// What is to be proved.
#[derive(Debug, Clone)]
pub struct ProofInput<'a> {
    /// The zone.
    pub zone: &'a Name,
    /// Its bundles, those of before that caches may still hold included. The order does not matter; of two with one
    /// inception the later in the list is in force, as in BIND.
    pub bundles: &'a [&'a Bundle],
    /// The DS RRset of the parent.
    pub parent: ParentModel,
    /// Which keys sign the zone, and when.
    pub signing: SigningModel,
    /// How long things stay in sight.
    pub delays: Delays,
    /// Only look at this second and later ones; [`Timestamp::EPOCH`] = from the first bundle on.
    pub from: Timestamp,
}

/// What the parent publishes.
#[derive(Debug, Clone)]
pub enum ParentModel {
    /// These DS RRsets, one after the other; the first one also before its time.
    Timeline(Vec<DsPeriod>),
    /// These DS at first, and then what CDS and CDNSKEY ask for (RFC 7344): the old ones are in sight no longer than if the parent
    /// changed them at once, the new ones not before it is safe. [`ProofReport::ds_changes`] says what is so taken for granted.
    FollowsCds(Vec<TrustAnchor>),
}

/// One DS RRset of the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DsPeriod {
    /// When the parent publishes it.
    pub from: Timestamp,
    /// The DS records, or the keys that they name; empty = an insecure delegation.
    pub ds: Vec<TrustAnchor>,
    /// Its TTL, in seconds.
    pub ttl: u32,
}

/// Which keys sign the zone.
#[derive(Debug, Clone)]
pub enum SigningModel {
    /// These, by their key files.
    Known(Vec<SigningPeriod>),
    /// Not known: each key without SEP flag signs whenever it safely can. The proof then is that there is a way.
    Derived,
}

/// A key makes signatures over the zone in `[activate, inactive)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningPeriod {
    /// The key.
    pub key: Dnskey,
    /// Its first second.
    pub activate: Timestamp,
    /// The first second when it no longer does; `None` = never.
    pub inactive: Option<Timestamp>,
}

impl SigningModel {
    /// The periods of the ZSKs among key files; [`SigningModel::Derived`] when there are none. A ZSK without Activate never signs.
    #[must_use]
    pub fn from_files(keys: &[KeyFile]) -> Self {
        let zsks = keys.iter().filter(|k| !k.dnskey.is_ksk());
        let periods: Vec<_> = zsks
            .filter_map(|k| {
                let activate = k.timing.activate?;
                Some(SigningPeriod { key: k.dnskey.clone(), activate, inactive: k.timing.inactive })
            })
            .collect();
        if periods.is_empty() { Self::Derived } else { Self::Known(periods) }
    }
}

/// How long things stay in sight, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// Until all servers of the zone have a change.
    pub zone_propagation: u64,
    /// Until all servers of the parent have a change of the DS RRset.
    pub parent_propagation: u64,
    /// TTL of the DS RRset, where [`DsPeriod`] does not say it.
    pub ds_ttl: u32,
    /// Largest TTL in the zone.
    pub max_zone_ttl: u64,
    /// How long after Inactive the zone may still have signatures by a key: until the last of them was refreshed.
    pub signature_retention: u64,
    /// TTL that the DNSKEY RRset is planned to have; `None` = any.
    pub dnskey_ttl: Option<u32>,
}

impl From<&Policy> for Delays {
    /// `signature_retention` is signatures-validity less signatures-refresh, as in BIND's formula for Delete.
    fn from(policy: &Policy) -> Self {
        Self {
            zone_propagation: policy.zone_propagation_delay.into(),
            parent_propagation: policy.parent_propagation_delay.into(),
            ds_ttl: policy.parent_ds_ttl,
            max_zone_ttl: policy.effective_max_zone_ttl().into(),
            signature_retention: policy.signatures_validity.saturating_sub(policy.signatures_refresh).into(),
            dnskey_ttl: Some(policy.dnskey_ttl),
        }
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofReport {
    /// The first second that was looked at.
    pub from: Timestamp,
    /// The last one: the earliest expiration of the last bundle's signatures.
    pub to: Timestamp,
    /// What was found, by time.
    pub findings: Vec<ProofFinding>,
    /// Changes of the DS RRset that the proof takes for granted.
    pub ds_changes: Vec<DsChange>,
    /// The times of the ZSKs were not known.
    pub derived: bool,
    /// The parent was taken to follow CDS.
    pub assumed_parent: bool,
    /// Inception of the last bundle.
    pub last_begins: Timestamp,
}

/// A change of the DS RRset that the bundles ask for by CDS, and when the parent may make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DsChange {
    /// When CDS and CDNSKEY ask for it.
    pub asked: Timestamp,
    /// Key tags of the new DS RRset.
    pub tags: Vec<u16>,
    /// The first second when it does not break a resolver.
    pub earliest: Timestamp,
    /// The last second when it comes early enough for what the bundles do later; `None` = they do nothing that needs it.
    pub latest: Option<Timestamp>,
}

impl ProofReport {
    /// True when nothing found [rejects](ProofFinding::rejects).
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.findings.iter().any(ProofFinding::rejects)
    }

    /// The first second at which some resolver fails, faults that a newer SKR may still heal included.
    #[must_use]
    pub fn first_break(&self) -> Option<&ProofFinding> {
        self.findings.iter().filter(|f| f.fault.kind() == FaultKind::Chain).min_by_key(|f| f.at)
    }

    /// The last second up to which every resolver finds its way; `None` when the very first second fails, or nothing could
    /// be proved.
    #[must_use]
    pub fn proved_until(&self) -> Option<Timestamp> {
        if self.findings.iter().any(|f| matches!(f.fault, Fault::Limits { .. })) {
            return None;
        }
        match self.first_break().map(|f| f.at) {
            None => Some(self.to),
            Some(at) if at <= self.from => None,
            Some(at) => Some(at.minus(1)),
        }
    }
}

/// How much the findings of a proof weigh among those of other checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofWeight {
    /// What rejects in the proof rejects there.
    Rejects,
    /// It is a warning: the times of the keys are only derived.
    Warns,
}

impl ProofReport {
    /// The findings as those of one check `id`, for who lists them among other checks: what rejects here weighs there as `weight` says;
    /// advice is a warning, and so is what hangs on a parent whose times are only assumed.
    ///
    /// That the ZSKs end with the last bundle is left out as long as that bundle is yet to come: they are made for the time that was
    /// asked for, which ends within it, and the next SKR brings others.
    #[must_use]
    pub fn as_findings(&self, id: CheckId, weight: ProofWeight) -> Vec<verify::SkrFinding> {
        let turn = |f: &ProofFinding| {
            let is_sure = weight == ProofWeight::Rejects && !(self.assumed_parent && f.fault.is_of_parent());
            let severity = if is_sure && f.rejects() { SkrSeverity::Reject } else { SkrSeverity::Warning };
            verify::SkrFinding { id, severity, bundle: None, what: f.to_string() }
        };
        let is_told = |f: &&ProofFinding| {
            !(f.in_last_bundle && matches!(f.fault, Fault::NoZsk { .. }) && self.from < self.last_begins)
        };
        self.findings.iter().filter(is_told).map(turn).collect()
    }
}

impl ParentModel {
    /// The parent as far as it is known where only KSKs are pinned: it has the DS of `anchors`, and follows CDS. `before` is what was in
    /// force until the bundles that are to be proved.
    ///
    /// An anchor of an algorithm that no KSK in force at `from` has is that of a successor: the parent cannot have its DS yet, since
    /// every resolver that honours RFC 4035 section 2.2 would fail already. Where that leaves no anchor, all count: a parent without DS
    /// would be an insecure delegation, of which nothing is to be proved.
    #[must_use]
    pub fn assumed(anchors: &[TrustAnchor], before: &[Bundle], from: Timestamp) -> Self {
        let in_force = before.iter().filter(|b| b.inception <= from).max_by_key(|b| b.inception);
        let is_in_use = |anchor: &&TrustAnchor| {
            in_force.is_none_or(|b| b.keys().any(|k| k.is_ksk() && k.algorithm == anchor.algorithm()))
        };
        let in_use: Vec<TrustAnchor> = anchors.iter().filter(is_in_use).cloned().collect();
        Self::FollowsCds(if in_use.is_empty() { anchors.to_vec() } else { in_use })
    }
}

/// The proof as acceptance and ceremony need it: `bundles` follow on `before` (what caches may still hold), and `keys` are the key files
/// of the zone, where there are any.
#[must_use]
pub fn prove_skr(
    zone: &Name,
    (before, bundles): (&[Bundle], &[Bundle]),
    parent: ParentModel,
    keys: Option<&[KeyFile]>,
    policy: &Policy,
    from: Timestamp,
) -> ProofReport {
    let first = bundles.iter().map(|b| b.inception).min().unwrap_or(Timestamp::MAX);
    let before = before.iter().filter(|b| b.inception < first);
    prove(&ProofInput {
        zone,
        bundles: &before.chain(bundles).collect::<Vec<_>>(),
        parent,
        signing: keys.map_or(SigningModel::Derived, SigningModel::from_files),
        delays: Delays::from(policy),
        from,
    })
}

/// Runs the proof.
#[must_use]
pub fn prove(plan: &ProofInput<'_>) -> ProofReport {
    model::Model::new(plan).prove()
}

#[cfg(test)]
mod brute;
#[cfg(test)]
mod tests;
