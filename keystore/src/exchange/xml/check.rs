//! What a KSK's operator checks on a request alone. One function a check, with the ID that it reports.
//!
//! [`super::chain`] has the checks against the SKR before.

use crate::check::CheckId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::convert::claim;
use super::{Label, SignatureAlgorithm, Uuid, XmlBundle, XmlKey, XmlRequest};
use crate::check::Check;
use crate::crypto::Algorithm;
use crate::dns::{Name, rrsig};
use crate::exchange::SkrFinding;
use crate::keys::FLAG_ZONE;
use crate::time::Timestamp;

const DAY: u64 = 86_400;

/// The checks of requests in XML, in the order in which they are reported.
pub const CHECKS: &[Check] = &[
    Check { id: CheckId::KsrDomain, holds: "the request is for a zone that is signed here" },
    Check { id: CheckId::KsrId, holds: "its id is not that of the SKR before" },
    Check { id: CheckId::KsrBundleUnique, holds: "no bundle id stands twice, here or in the SKR before" },
    Check {
        id: CheckId::KsrBundleKeys,
        holds: "each key is a ZSK, the same under its identifier, and as claimed",
    },
    Check { id: CheckId::KsrBundlePop, holds: "each key signed its bundle, and each signature verifies" },
    Check { id: CheckId::KsrBundleCount, holds: "there are as many bundles as agreed" },
    Check {
        id: CheckId::KsrBundleCycleDuration,
        holds: "from first to last inception it is as long as agreed",
    },
    Check { id: CheckId::KsrPolicyKeys, holds: "each bundle has as many keys as agreed" },
    Check { id: CheckId::KsrPolicyAlg, holds: "algorithms, key sizes and exponents are approved" },
    Check { id: CheckId::KsrPolicySigOverlap, holds: "bundles overlap as the request claims, without a gap" },
    Check { id: CheckId::KsrPolicySigValidity, holds: "bundles are as long as the request claims" },
    Check { id: CheckId::KsrPolicySigHorizon, holds: "no bundle ends in the past, or too far in the future" },
    Check {
        id: CheckId::KsrPolicyBundleIntervals,
        holds: "bundles follow each other at the agreed distance",
    },
    Check {
        id: CheckId::KsrPolicySafety,
        holds: "keys are published before their use and after it, as claimed",
    },
    Check {
        id: CheckId::KsrChainKeys,
        holds: "the keys of the first bundle are in the last one of the SKR before",
    },
    Check {
        id: CheckId::KsrChainOverlap,
        holds: "the first bundle overlaps the last one of the SKR before as claimed",
    },
    Check {
        id: CheckId::SkrVerify,
        holds: "the response answers the request, and each of its signatures verifies",
    },
];

/// What the operator demands. [`Rules::root`] are those of the root zone; each can be changed or switched off (`None`, false)
/// by itself, as files of the past need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// KSR-DOMAIN: the zones.
    pub domains: Vec<Name>,
    /// KSR-BUNDLE-KEYS: keys have an algorithm and size that the request claims.
    pub keys_match_policy: bool,
    /// KSR-BUNDLE-KEYS: RSA keys have the exponent that the request claims.
    pub exponents_match_policy: bool,
    /// KSR-BUNDLE-POP: signatures are verified.
    pub signatures: bool,
    /// Number of bundles that a request must have (KSR-BUNDLE-COUNT).
    pub bundles: Option<usize>,
    /// KSR-BUNDLE-CYCLE-DURATION, seconds.
    pub cycle: Option<RangeInclusive<u64>>,
    /// KSR-POLICY-KEYS: keys of each bundle.
    pub keys_per_bundle: Option<Vec<usize>>,
    /// KSR-POLICY-KEYS: different keys in all.
    pub different_keys: Option<usize>,
    /// Algorithms that keys may have (KSR-POLICY-ALG).
    pub algorithms: Option<Vec<Algorithm>>,
    /// KSR-POLICY-ALG, bits.
    pub rsa_sizes: Option<Vec<u16>>,
    /// Exponents that RSA keys may have (KSR-POLICY-ALG).
    pub rsa_exponents: Option<Vec<u64>>,
    /// KSR-POLICY-SIG-OVERLAP: as claimed; a gap is refused in any case.
    pub overlap: bool,
    /// Bounds of the validity of signatures (KSR-POLICY-SIG-VALIDITY).
    pub validity: bool,
    /// KSR-POLICY-SIG-HORIZON: how far from now a bundle may end, in seconds.
    pub horizon: Option<u64>,
    /// KSR-POLICY-SIG-HORIZON: no bundle has ended.
    pub not_expired: bool,
    /// KSR-POLICY-BUNDLE-INTERVALS, seconds.
    pub interval: Option<RangeInclusive<u64>>,
    /// Whether the first bundle must have the keys of the last one before (KSR-CHAIN-KEYS).
    pub chain_keys: bool,
    /// Whether the first bundle must overlap with the last one before (KSR-CHAIN-OVERLAP).
    pub chain_overlap: bool,
    /// KSR-POLICY-SAFETY before use.
    pub publish_safety: bool,
    /// KSR-POLICY-SAFETY after use.
    pub retire_safety: bool,
    /// Seconds by which lengths and overlaps may fall short of the claims: files of 2010 ended bundles a second early.
    pub slack: u64,
}

impl Rules {
    /// Those of the root zone's operator: nine bundles in a cycle of 80 days, RSA/SHA-256 with 2048 bits.
    #[must_use]
    pub fn root() -> Self {
        Self {
            bundles: Some(9),
            cycle: Some(79 * DAY..=81 * DAY),
            keys_per_bundle: Some(vec![2, 1, 1, 1, 1, 1, 1, 1, 2]),
            different_keys: Some(3),
            algorithms: Some(vec![Algorithm::RSASHA256]),
            rsa_sizes: Some(vec![2048]),
            rsa_exponents: Some(vec![65537]),
            horizon: Some(180 * DAY),
            interval: Some(9 * DAY..=11 * DAY),
            ..Self::zone(Name::root())
        }
    }

    /// For another zone: what the request claims counts, and no calendar of the root zone.
    #[must_use]
    pub fn zone(zone: Name) -> Self {
        Self {
            domains: vec![zone],
            keys_match_policy: true,
            exponents_match_policy: true,
            signatures: true,
            bundles: None,
            cycle: None,
            keys_per_bundle: None,
            different_keys: None,
            algorithms: None,
            rsa_sizes: None,
            rsa_exponents: None,
            overlap: true,
            validity: true,
            horizon: None,
            not_expired: true,
            interval: None,
            chain_keys: true,
            chain_overlap: true,
            publish_safety: true,
            retire_safety: true,
            slack: 0,
        }
    }

    /// True when `is` lies between two claims, the slack allowed.
    pub(super) fn within(&self, is: u64, min: u64, max: u64) -> bool {
        is.saturating_add(self.slack) >= min && is <= max.saturating_add(self.slack)
    }
}

/// Runs all checks of this module; an empty list means that all hold.
#[must_use]
pub fn check_request(request: &XmlRequest, rules: &Rules, now: Timestamp) -> Vec<SkrFinding> {
    [
        check_domain(request, rules),
        check_unique(request),
        check_keys(request, rules),
        check_possession(request, rules),
        check_count(request, rules),
        check_cycle(request, rules),
        check_key_numbers(request, rules),
        check_algorithms(request, rules),
        check_overlap(request, rules),
        check_validity(request, rules),
        check_horizon(request, rules, now),
        check_intervals(request, rules),
    ]
    .concat()
}

pub(super) fn reject(id: CheckId, bundle: Option<&XmlBundle>, what: impl Into<String>) -> SkrFinding {
    SkrFinding::reject(id, bundle.map(|b| b.inception), what)
}

/// Seconds for people.
pub(super) fn days(seconds: u64) -> String {
    super::lexical::duration(seconds)
}

/// KSR-DOMAIN: the request is for a zone that is signed here.
fn check_domain(request: &XmlRequest, rules: &Rules) -> Vec<SkrFinding> {
    if rules.domains.contains(&request.domain) {
        return Vec::new();
    }
    let what = format!("the request is for {}, which is not signed here", request.domain);
    vec![reject(CheckId::KsrDomain, None, what)]
}

/// KSR-BUNDLE-UNIQUE: no bundle id stands twice in the request.
fn check_unique(request: &XmlRequest) -> Vec<SkrFinding> {
    let mut seen = BTreeSet::new();
    let twice = |b: &&XmlBundle| !seen.insert(b.id.to_string().to_ascii_lowercase());
    let found = request.bundles.iter().filter(twice);
    found
        .map(|b| {
            reject(CheckId::KsrBundleUnique, Some(b), format!("the id {} is that of another bundle", b.id))
        })
        .collect()
}

/// KSR-BUNDLE-KEYS: one identifier stands for one key in all bundles; flags are 256; the tag is what the file says; algorithm,
/// size and exponent are among those that the request claims.
fn check_keys(request: &XmlRequest, rules: &Rules) -> Vec<SkrFinding> {
    const ID: CheckId = CheckId::KsrBundleKeys;
    let mut first: BTreeMap<&Label, &XmlKey> = BTreeMap::new();
    let mut findings = Vec::new();
    for bundle in &request.bundles {
        let mut here = BTreeSet::new();
        for key in &bundle.keys {
            let name = &key.identifier;
            let mut fault =
                |what: String| findings.push(reject(ID, Some(bundle), format!("key {name} {what}")));
            if !here.insert(name) {
                fault("stands twice".to_owned());
            }
            let known = *first.entry(name).or_insert(key);
            if known != key {
                fault("is another key than under this identifier before".to_owned());
            }
            if key.dnskey.flags != FLAG_ZONE {
                fault(format!("has flags {}; a ZSK has 256", key.dnskey.flags));
            }
            if key.dnskey.tag() != key.tag {
                fault(format!("has tag {}, and the file says {}", key.dnskey.tag(), key.tag));
            }
            if !std::ptr::eq(known, key) {
                continue; // Looked at before.
            }
            match claim(&key.dnskey) {
                Some(is) if !is_claimed(&is, &request.zsk_policy.algorithms, rules) => fault(format!(
                    "is {}, which the request's policy does not claim (the keys or the claims are wrong)",
                    shown(&is)
                )),
                Some(_) => {}
                None => fault("is malformed, or of an algorithm that the format has no form for".to_owned()),
            }
        }
    }
    findings
}

fn is_claimed(is: &SignatureAlgorithm, claimed: &[SignatureAlgorithm], rules: &Rules) -> bool {
    let exponent = |c: &SignatureAlgorithm| !rules.exponents_match_policy || c.exponent == is.exponent;
    let size = |c: &SignatureAlgorithm| c.algorithm == is.algorithm && c.size == is.size;
    !rules.keys_match_policy || claimed.iter().any(|c| size(c) && exponent(c))
}

fn shown(is: &SignatureAlgorithm) -> String {
    let exponent = is.exponent.map(|e| format!(", exponent {e}")).unwrap_or_default();
    format!("{} of {} bits{exponent}", is.algorithm, is.size)
}

/// KSR-BUNDLE-POP: every signature verifies over the whole DNSKEY RRset of its bundle, and every key has made one. Their times
/// do not count: they prove possession when the request was made.
fn check_possession(request: &XmlRequest, rules: &Rules) -> Vec<SkrFinding> {
    const ID: CheckId = CheckId::KsrBundlePop;
    let mut findings = Vec::new();
    for bundle in request.bundles.iter().filter(|_| rules.signatures) {
        for signature in &bundle.signatures {
            if let Err(fault) = verify(&request.domain, bundle, &signature.identifier, &signature.rrsig) {
                findings.push(reject(ID, Some(bundle), fault.to_string()));
            }
        }
        for key in &bundle.keys {
            if bundle.signatures.iter().all(|s| s.identifier != key.identifier) {
                let what = format!("key {} has not signed: its possession is not proved", key.identifier);
                findings.push(reject(ID, Some(bundle), what));
            }
        }
    }
    findings
}

/// What is wrong with a signature of a bundle.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignatureFault {
    #[error("the signature by {0} belongs to no key of the bundle, or to several")]
    NotOneKey(Label),
    #[error("the signature by {0} does not verify")]
    Wrong(Label),
}

/// Verifies a signature over the keys of its bundle with the key of its identifier.
pub(super) fn verify(
    domain: &Name,
    bundle: &XmlBundle,
    identifier: &Label,
    signature: &crate::dns::Rrsig,
) -> Result<(), SignatureFault> {
    let mut keys = bundle.keys.iter().filter(|k| k.identifier == *identifier);
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(SignatureFault::NotOneKey(identifier.clone()));
    };
    let fits = signature.algorithm == key.dnskey.algorithm
        && signature.key_tag == key.dnskey.tag()
        && signature.labels == domain.rrsig_labels()
        && signature.signer == *domain;
    let verifies = || rrsig::verify_raw(&bundle.rrset(domain), &key.dnskey.public_key, signature).is_ok();
    if fits && verifies() { Ok(()) } else { Err(SignatureFault::Wrong(identifier.clone())) }
}

/// KSR-BUNDLE-COUNT: there are as many bundles as agreed.
fn check_count(request: &XmlRequest, rules: &Rules) -> Vec<SkrFinding> {
    let is = request.bundles.len();
    let wrong = rules.bundles.filter(|want| *want != is);
    let finding =
        |want| reject(CheckId::KsrBundleCount, None, format!("{is} bundles, where {want} were agreed"));
    wrong.map(finding).into_iter().collect()
}

/// KSR-BUNDLE-CYCLE-DURATION: from the first to the last inception it is as long as agreed.
fn check_cycle(request: &XmlRequest, rules: &Rules) -> Vec<SkrFinding> {
    let (Some(first), Some(last), Some(agreed)) =
        (request.bundles.first(), request.bundles.last(), &rules.cycle)
    else {
        return Vec::new();
    };
    let is = last.inception.since(first.inception);
    if agreed.contains(&is) {
        return Vec::new();
    }
    let (is, from, to) = (days(is), days(*agreed.start()), days(*agreed.end()));
    let what = format!("from first to last inception it is {is}, where {from} to {to} was agreed");
    vec![reject(CheckId::KsrBundleCycleDuration, None, what)]
}

/// KSR-POLICY-KEYS: each bundle has as many keys as agreed, and there are as many different ones in all.
fn check_key_numbers(request: &XmlRequest, rules: &Rules) -> Vec<SkrFinding> {
    const ID: CheckId = CheckId::KsrPolicyKeys;
    let mut findings = Vec::new();
    if let Some(agreed) = &rules.keys_per_bundle {
        for (bundle, want) in request.bundles.iter().zip(agreed) {
            let is = bundle.keys.len();
            if is != *want {
                findings.push(reject(ID, Some(bundle), format!("{is} keys, where {want} were agreed")));
            }
        }
    }
    let different: BTreeSet<_> = request.bundles.iter().flat_map(|b| &b.keys).map(|k| &k.dnskey).collect();
    if let Some(want) = rules.different_keys.filter(|want| *want != different.len()) {
        let what = format!("{} different keys in all, where {want} were agreed", different.len());
        findings.push(reject(ID, None, what));
    }
    findings
}

/// KSR-POLICY-ALG: no claimed algorithm is deprecated (1, 3, 5, 6, 7, 12) or unknown; algorithms, RSA sizes and exponents, of the
/// claims and of the keys, are approved.
fn check_algorithms(request: &XmlRequest, rules: &Rules) -> Vec<SkrFinding> {
    const ID: CheckId = CheckId::KsrPolicyAlg;
    let mut all = request.zsk_policy.algorithms.clone();
    for claim in request.bundles.iter().flat_map(|b| &b.keys).filter_map(|k| claim(&k.dnskey)) {
        if !all.contains(&claim) {
            all.push(claim);
        }
    }
    let approved = |list: &Option<Vec<u16>>, is| list.as_ref().is_none_or(|l| l.contains(&is));
    let mut findings = Vec::new();
    for is in &all {
        let name = shown(is);
        if !is.algorithm.can_sign() {
            findings.push(reject(ID, None, format!("{name} is deprecated or unknown")));
        } else if rules.algorithms.as_ref().is_some_and(|l| !l.contains(&is.algorithm)) {
            findings.push(reject(ID, None, format!("{name} is not approved")));
        } else if is.algorithm.is_rsa() && !approved(&rules.rsa_sizes, is.size) {
            findings.push(reject(ID, None, format!("{name}: the size is not approved")));
        } else if let Some((e, list)) = is.exponent.zip(rules.rsa_exponents.as_ref())
            && !list.contains(&e)
        {
            // A wrong claim is KSR-BUNDLE-KEYS's matter, and switched off with it.
            let claimed_only =
                request.bundles.iter().flat_map(|b| &b.keys).all(|k| claim(&k.dnskey) != Some(*is));
            if !claimed_only || rules.exponents_match_policy {
                findings.push(reject(ID, None, format!("{name}: the exponent is not approved")));
            }
        }
    }
    findings
}

/// KSR-POLICY-SIG-OVERLAP: no gap between two bundles, and the overlap is within what the request claims.
fn check_overlap(request: &XmlRequest, rules: &Rules) -> Vec<SkrFinding> {
    const ID: CheckId = CheckId::KsrPolicySigOverlap;
    let (min, max) = (request.zsk_policy.min_validity_overlap, request.zsk_policy.max_validity_overlap);
    let mut findings = Vec::new();
    for pair in request.bundles.windows(2) {
        let [before, bundle] = pair else { continue };
        let overlap = before.expiration.since(bundle.inception);
        if bundle.inception <= before.inception {
            findings.push(reject(ID, Some(bundle), "does not begin after the bundle before"));
        } else if bundle.inception > before.expiration {
            let gap = days(bundle.inception.since(before.expiration));
            findings.push(reject(ID, Some(bundle), format!("a gap of {gap} to the bundle before")));
        } else if rules.overlap && !rules.within(overlap, min, max) {
            let what = format!(
                "overlaps the bundle before by {}; the request claims {} to {}",
                days(overlap),
                days(min),
                days(max)
            );
            findings.push(reject(ID, Some(bundle), what));
        }
    }
    findings
}

/// KSR-POLICY-SIG-VALIDITY: each bundle is as long as the request claims.
fn check_validity(request: &XmlRequest, rules: &Rules) -> Vec<SkrFinding> {
    let (min, max) = (request.zsk_policy.min_signature_validity, request.zsk_policy.max_signature_validity);
    let length = |b: &XmlBundle| b.expiration.since(b.inception);
    let wrong = |b: &&XmlBundle| rules.validity && !rules.within(length(b), min, max);
    let what = |b| format!("lasts {}; the request claims {} to {}", days(length(b)), days(min), days(max));
    let found = request.bundles.iter().filter(wrong);
    found.map(|b| reject(CheckId::KsrPolicySigValidity, Some(b), what(b))).collect()
}

/// KSR-POLICY-SIG-HORIZON: no bundle has ended, and none ends too far in the future.
fn check_horizon(request: &XmlRequest, rules: &Rules, now: Timestamp) -> Vec<SkrFinding> {
    const ID: CheckId = CheckId::KsrPolicySigHorizon;
    let mut findings = Vec::new();
    for bundle in &request.bundles {
        let end = bundle.expiration;
        if rules.not_expired && end <= now {
            findings.push(reject(ID, Some(bundle), format!("ended at {}", end.iso())));
        }
        if let Some(horizon) = rules.horizon.filter(|h| end.since(now) > *h) {
            let what = format!("ends at {}, more than {} from now", end.iso(), days(horizon));
            findings.push(reject(ID, Some(bundle), what));
        }
    }
    findings
}

/// KSR-POLICY-BUNDLE-INTERVALS: bundles follow each other at the agreed distance.
fn check_intervals(request: &XmlRequest, rules: &Rules) -> Vec<SkrFinding> {
    let Some(agreed) = &rules.interval else { return Vec::new() };
    let distance = |pair: &[XmlBundle]| pair[1].inception.since(pair[0].inception);
    let wrong = request.bundles.windows(2).filter(|pair| !agreed.contains(&distance(pair)));
    wrong
        .map(|pair| {
            let (is, from, to) = (days(distance(pair)), days(*agreed.start()), days(*agreed.end()));
            let what = format!("begins {is} after the bundle before, where {from} to {to} was agreed");
            reject(CheckId::KsrPolicyBundleIntervals, Some(&pair[1]), what)
        })
        .collect()
}

/// True when both lists hold the same ids in the same order.
pub(super) fn same_ids(a: &[XmlBundle], b: &[XmlBundle]) -> bool {
    let ids = |bundles: &[XmlBundle]| -> Vec<Uuid> { bundles.iter().map(|b| b.id.clone()).collect() };
    ids(a) == ids(b)
}
