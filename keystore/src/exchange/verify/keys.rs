//! Checks of the keys, before any signature is tried with them.

use super::report::FindingList;
use super::{BundleView, KeyView, Subject};
use crate::check::CheckId;
use crate::crypto::Algorithm;

/// SKR-KEY: every key is a zone key with protocol 3, ZSK (256) or KSK (257), and its public key is well-formed. A revoked KSK (385)
/// signs the DNSKEY RRset itself, as otherwise nobody may heed the revocation (RFC 5011 section 2.1).
pub(super) fn check_keys(subject: &Subject<'_>, report: &mut FindingList) {
    const ID: CheckId = CheckId::SkrKey;
    for view in &subject.bundles {
        if view.keys.len() < view.bundle.dnskey.rdatas.len() {
            report.reject(ID, Some(view.bundle), "a DNSKEY record is too short to hold a key");
        }
        for kv in &view.keys {
            if let Some(fault) = &kv.fault {
                report.reject(ID, Some(view.bundle), format!("key {}: {fault}", kv.tag));
            } else if kv.key.is_revoked_ksk() && !signs_dnskey(view, kv) {
                let what = format!(
                    "key {}: flags {}: the key is revoked and does not sign the DNSKEY RRset, so that no resolver may heed it",
                    kv.tag, kv.key.flags
                );
                report.reject(ID, Some(view.bundle), what);
            }
        }
    }
}

/// True when there is a signature over the DNSKEY RRset by this key. Whether it verifies is SKR-BAD-SIGNATURE's matter.
fn signs_dnskey(view: &BundleView<'_>, kv: &KeyView) -> bool {
    let rtype = view.bundle.dnskey.rtype;
    let signatures = &view.bundle.signatures;
    signatures.iter().any(|s| s.covered == rtype && (s.key_tag, s.algorithm) == (kv.tag, kv.key.algorithm))
}

/// SKR-ALGORITHM: every key and signature has an algorithm that is supported and not deprecated.
///
/// Of each algorithm in the DNSKEY RRset a key must sign it (RFC 4035 section 2.2). Validators do not insist
/// (RFC 6840 section 5.11), so its lack is a warning.
pub(super) fn check_algorithms(subject: &Subject<'_>, report: &mut FindingList) {
    const ID: CheckId = CheckId::SkrAlgorithm;
    for BundleView { bundle, keys, .. } in &subject.bundles {
        for kv in keys.iter().filter(|kv| !kv.key.algorithm.can_sign()) {
            let (tag, number) = (kv.tag, kv.key.algorithm.0);
            let why = if kv.key.algorithm.can_verify() { "deprecated (RFC 9905)" } else { "not supported" };
            report.reject(ID, Some(bundle), format!("key {tag}: algorithm {number} is {why}"));
        }
        for signature in bundle.signatures.iter().filter(|s| !s.algorithm.can_sign()) {
            let (tag, number) = (signature.key_tag, signature.algorithm.0);
            report.reject(
                ID,
                Some(bundle),
                format!("signature by key {tag}: algorithm {number} is not taken"),
            );
        }
        let signs = |a: Algorithm| {
            bundle.signatures.iter().any(|s| s.covered == bundle.dnskey.rtype && s.algorithm == a)
        };
        let mut unsigned: Vec<Algorithm> =
            keys.iter().map(|kv| kv.key.algorithm).filter(|a| !signs(*a)).collect();
        unsigned.sort_unstable();
        unsigned.dedup();
        // With no signature at all SKR-UNKNOWN-KSK speaks.
        for algorithm in unsigned.into_iter().filter(|a| a.can_sign() && !bundle.signatures.is_empty()) {
            let what = format!("there are keys of {algorithm}, and none signs the DNSKEY RRset");
            report.warn(ID, Some(bundle), what);
        }
    }
}

/// SKR-COLLISION: no two keys of a bundle share tag and algorithm.
///
/// A validator has to try every key that fits a signature (CVE-2023-50387), and who chooses a signature by tag, as BIND
/// does on import, chooses the wrong one. The same tag with another algorithm is a warning.
pub(super) fn check_collisions(subject: &Subject<'_>, report: &mut FindingList) {
    const ID: CheckId = CheckId::SkrCollision;
    for BundleView { bundle, keys, .. } in &subject.bundles {
        for (i, kv) in keys.iter().enumerate() {
            let Some(twin) = keys[..i].iter().find(|other| other.tag == kv.tag && other.key != kv.key) else {
                continue;
            };
            if twin.key.algorithm == kv.key.algorithm {
                let what = format!("two keys have tag {} and algorithm {}", kv.tag, kv.key.algorithm);
                report.reject(ID, Some(bundle), what + "; make a new key in place of one of them");
            } else {
                let what = format!("two keys of different algorithms have tag {}", kv.tag);
                report.warn(ID, Some(bundle), what);
            }
        }
    }
}
