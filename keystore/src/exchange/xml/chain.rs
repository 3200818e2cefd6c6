//! What a KSK's operator checks on a request against the SKR before, and on the response before it leaves.

use crate::check::CheckId;
use std::collections::BTreeSet;

use super::check::{Rules, days, reject, same_ids, verify};
use super::{XmlBundle, XmlKey, XmlRequest, XmlResponse};
use crate::crypto::Algorithm;
use crate::exchange::SkrFinding;
use crate::keys::FLAG_REVOKE;

/// Runs the checks of a request against the SKR before; an empty list means that all hold.
#[must_use]
pub fn check_chain(request: &XmlRequest, previous: &XmlResponse, rules: &Rules) -> Vec<SkrFinding> {
    [
        check_id(request, previous),
        check_unique(request, previous),
        check_chain_keys(request, previous, rules),
        check_chain_overlap(request, previous, rules),
    ]
    .concat()
}

/// Runs the checks of a response: that it answers the request, verifies, and follows the SKR before.
#[must_use]
pub fn check_response(
    response: &XmlResponse,
    request: &XmlRequest,
    previous: Option<&XmlResponse>,
    rules: &Rules,
) -> Vec<SkrFinding> {
    let mut findings = check_answer(response, request);
    findings.extend(check_signatures(response));
    if let Some(previous) = previous {
        findings.extend(check_publish_safety(response, previous, rules));
    }
    findings.extend(check_retire_safety(response, previous, rules));
    findings
}

/// KSR-ID: the request is not the one that the SKR before answered.
fn check_id(request: &XmlRequest, previous: &XmlResponse) -> Vec<SkrFinding> {
    if request.id != previous.id {
        return Vec::new();
    }
    let what = format!("the request {} was answered by the SKR before: a replay", request.id);
    vec![reject(CheckId::KsrId, None, what)]
}

/// KSR-BUNDLE-UNIQUE: no bundle id is one of the SKR before.
fn check_unique(request: &XmlRequest, previous: &XmlResponse) -> Vec<SkrFinding> {
    let lower = |b: &XmlBundle| b.id.to_string().to_ascii_lowercase();
    let known: BTreeSet<String> = previous.bundles.iter().map(lower).collect();
    let again = request.bundles.iter().filter(|b| known.contains(&lower(b)));
    let what = |b: &XmlBundle| format!("the id {} is that of a bundle of the SKR before", b.id);
    again.map(|b| reject(CheckId::KsrBundleUnique, Some(b), what(b))).collect()
}

/// KSR-CHAIN-KEYS: every key of the first bundle is in the last bundle of the SKR before, equal in all, the identifier and the TTL
/// too: who holds these ZSKs is who held them then.
fn check_chain_keys(request: &XmlRequest, previous: &XmlResponse, rules: &Rules) -> Vec<SkrFinding> {
    let (Some(first), Some(last)) = (request.bundles.first(), previous.bundles.last()) else {
        return Vec::new();
    };
    let missing = |k: &&XmlKey| rules.chain_keys && !last.keys.contains(k);
    let what = |k: &XmlKey| {
        format!("key {} (tag {}) is not in the last bundle of the SKR before", k.identifier, k.tag)
    };
    first.keys.iter().filter(missing).map(|k| reject(CheckId::KsrChainKeys, Some(first), what(k))).collect()
}

/// KSR-CHAIN-OVERLAP: the last bundle of the SKR before overlaps the first one as the request claims.
fn check_chain_overlap(request: &XmlRequest, previous: &XmlResponse, rules: &Rules) -> Vec<SkrFinding> {
    const ID: CheckId = CheckId::KsrChainOverlap;
    let (Some(first), Some(last)) = (request.bundles.first(), previous.bundles.last()) else {
        return Vec::new();
    };
    let (min, max) = (request.zsk_policy.min_validity_overlap, request.zsk_policy.max_validity_overlap);
    let what = if !rules.chain_overlap {
        return Vec::new();
    } else if first.inception > last.expiration {
        let gap = days(first.inception.since(last.expiration));
        format!("a gap of {gap} behind the end of the SKR before")
    } else if first.inception <= last.inception {
        "begins before the last bundle of the SKR before".to_owned()
    } else {
        let overlap = last.expiration.since(first.inception);
        if rules.within(overlap, min, max) {
            return Vec::new();
        }
        let (is, min, max) = (days(overlap), days(min), days(max));
        format!("overlaps the SKR before by {is}; the request claims {min} to {max}")
    };
    vec![reject(ID, Some(first), what)]
}

/// SKR-VERIFY: id, serial, zone and the ZSKs' policy are those of the request; so are the bundles' ids and times; each has the keys
/// that were asked for, and no other ZSK; the algorithms of ZSKs and signatures are the same.
fn check_answer(response: &XmlResponse, request: &XmlRequest) -> Vec<SkrFinding> {
    const ID: CheckId = CheckId::SkrVerify;
    let mut findings = Vec::new();
    let heads = (&response.id, response.serial, &response.domain, &response.zsk_policy)
        == (&request.id, request.serial, &request.domain, &request.zsk_policy);
    if !heads || !same_ids(&response.bundles, &request.bundles) {
        let what = "id, serial, zone, policy or bundles are not those of the request";
        return vec![reject(ID, None, what)];
    }
    for (bundle, asked) in response.bundles.iter().zip(&request.bundles) {
        if (bundle.inception, bundle.expiration) != (asked.inception, asked.expiration) {
            findings.push(reject(ID, Some(bundle), "its times are not those of the request"));
        }
        let records = |keys: &[XmlKey]| -> BTreeSet<crate::keys::Dnskey> {
            keys.iter().map(|k| k.dnskey.clone()).filter(|k| !k.is_ksk()).collect()
        };
        if records(&bundle.keys) != records(&asked.keys) {
            findings.push(reject(ID, Some(bundle), "its ZSKs are not those of the request"));
        }
        let of_zsks: BTreeSet<Algorithm> = asked.keys.iter().map(|k| k.dnskey.algorithm).collect();
        let signing: BTreeSet<Algorithm> = bundle.signatures.iter().map(|s| s.rrsig.algorithm).collect();
        if of_zsks != signing {
            findings.push(reject(ID, Some(bundle), "ZSKs and signatures have different algorithms"));
        }
    }
    findings
}

/// SKR-VERIFY: each signature is by a KSK of its bundle, verifies, and begins and ends with the bundle.
fn check_signatures(response: &XmlResponse) -> Vec<SkrFinding> {
    let mut findings = Vec::new();
    for bundle in &response.bundles {
        let mut fault = |what: String| findings.push(reject(CheckId::SkrVerify, Some(bundle), what));
        for signature in &bundle.signatures {
            let (name, rrsig) = (&signature.identifier, &signature.rrsig);
            let by_ksk = |k: &XmlKey| k.identifier == *name && k.dnskey.is_ksk();
            if !bundle.keys.iter().any(by_ksk) {
                fault(format!("the signature by {name} is not that of a KSK of the bundle"));
            } else if let Err(wrong) = verify(&response.domain, bundle, name, rrsig) {
                fault(wrong.to_string());
            } else if (rrsig.inception, rrsig.expiration)
                != (bundle.inception.to_rrsig(), bundle.expiration.to_rrsig())
            {
                fault(format!("the signature by {name} does not begin and end with the bundle"));
            }
        }
    }
    findings
}

/// The keys that sign a bundle.
fn signing(bundle: &XmlBundle) -> impl Iterator<Item = &XmlKey> {
    let signs = |k: &&XmlKey| bundle.signatures.iter().any(|s| s.identifier == k.identifier);
    bundle.keys.iter().filter(signs)
}

fn has(bundle: &XmlBundle, key: &XmlKey) -> bool {
    bundle.keys.iter().any(|k| k.dnskey.public_key == key.dnskey.public_key && k.identifier == key.identifier)
}

/// KSR-POLICY-SAFETY: each key that signs the first bundle was in the last one of the SKR before, and that for as long as the KSKs'
/// policy claims.
fn check_publish_safety(response: &XmlResponse, previous: &XmlResponse, rules: &Rules) -> Vec<SkrFinding> {
    const ID: CheckId = CheckId::KsrPolicySafety;
    let (Some(first), Some(last)) = (response.bundles.first(), previous.bundles.last()) else {
        return Vec::new();
    };
    if !rules.publish_safety {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for key in signing(first).filter(|k| !has(last, k)) {
        let what = format!("key {} signs, and was not in the last bundle of the SKR before", key.identifier);
        findings.push(reject(ID, Some(first), what));
    }
    let safety = response.ksk_policy.publish_safety;
    let since = first.inception.minus(safety);
    if since < last.inception || since > last.expiration {
        let what = format!("{} before it the last bundle of the SKR before was not in force", days(safety));
        findings.push(reject(ID, Some(first), what));
    }
    findings
}

/// KSR-POLICY-SAFETY: the keys that signed the last bundle of the SKR before stay for as long as the KSKs' policy claims; a key that
/// signed does not vanish within the response, unless it was revoked.
fn check_retire_safety(
    response: &XmlResponse,
    previous: Option<&XmlResponse>,
    rules: &Rules,
) -> Vec<SkrFinding> {
    const ID: CheckId = CheckId::KsrPolicySafety;
    let mut findings = Vec::new();
    if !rules.retire_safety {
        return findings;
    }
    if let (Some(last), Some(first)) = (previous.and_then(|p| p.bundles.last()), response.bundles.first()) {
        let until = first.inception.plus(response.ksk_policy.retire_safety);
        for bundle in response.bundles.iter().filter(|b| b.inception < until) {
            for key in signing(last).filter(|k| !has(bundle, k)) {
                let what = format!("key {}, which signed the SKR before, is gone too early", key.identifier);
                findings.push(reject(ID, Some(bundle), what));
            }
        }
    }
    for pair in response.bundles.windows(2) {
        let [before, bundle] = pair else { continue };
        let gone = signing(before).filter(|k| !has(bundle, k) && k.dnskey.flags & FLAG_REVOKE == 0);
        for key in gone {
            let what = format!("key {} signed the bundle before, and is gone", key.identifier);
            findings.push(reject(ID, Some(bundle), what));
        }
    }
    findings
}
