//! Checks of the signatures: each verifies, and a trusted KSK stands behind each RRset.

use crate::check::CheckId;
use std::collections::HashSet;

use rayon::prelude::*;

use super::report::FindingList;
use super::{BundleView, Subject};
use crate::crypto::Algorithm;
use crate::dns::{Name, Rrset, Rrsig, Rtype, rrsig};
use crate::keys::Dnskey;

/// Bundles that are verified together, on all cores.
const BATCH: usize = 64;
/// Bad signatures, and bundles without a trusted KSK, after which the rest is not tried: a hostile file takes no more time.
const MAX_BAD: usize = 32;

/// Signatures that are tried of an SKR that other checks reject: enough to tell what else is wrong. One that was put together from
/// good signatures of the past takes no more time either.
const MAX_TRIED_IN_VAIN: usize = 512;
/// Bundles that one thread verifies: to hand fewer to other threads takes longer, where many zones are read.
const FEW: usize = 4;

/// SKR-BAD-SIGNATURE and SKR-UNKNOWN-KSK, bundle by bundle. Gives the trusted KSKs that vouch for a bundle.
pub(super) fn check_signatures(subject: &Subject<'_>, report: &mut FindingList) -> HashSet<Dnskey> {
    let mut trust = Trust::new(subject);
    let in_vain = report.rejects();
    let (mut bad, mut tried) = (0, 0);
    for batch in subject.bundles.chunks(BATCH) {
        if in_vain && tried >= MAX_TRIED_IN_VAIN {
            report.warn(
                CheckId::SkrBadSignature,
                Some(batch[0].bundle),
                "the signatures from here on were not tried, since other checks reject the SKR",
            );
            return trust.vouched;
        }
        tried += batch.iter().map(|view| view.bundle.signatures.len()).sum::<usize>();
        let verdicts: Vec<_> =
            batch.par_iter().with_min_len(FEW).map(|view| verify_bundle(subject, view)).collect();
        for (view, verdict) in batch.iter().zip(verdicts) {
            bad += verdict.faults.len();
            for what in verdict.departed {
                report.warn(CheckId::SkrBadSignature, Some(view.bundle), what);
            }
            for fault in verdict.faults {
                report.reject(CheckId::SkrBadSignature, Some(view.bundle), fault);
            }
            bad += usize::from(!trust.check_bundle(view, &verdict.good, report));
        }
        if bad > MAX_BAD {
            report.give_up(
                CheckId::SkrBadSignature,
                "too many signatures that are bad or not by a trusted KSK; the rest was not tried",
            );
            return trust.vouched;
        }
    }
    trust.vouched
}

/// What became of the signatures of one bundle.
#[derive(Default)]
struct BundleVerdict {
    /// Of each signature that verifies: type covered, and the place of its key.
    good: Vec<(Rtype, usize)>,
    /// Signatures that verify with a key that has left the DNSKEY RRset.
    departed: Vec<String>,
    /// What is wrong with the others.
    faults: Vec<String>,
}

/// What a signature that verifies was made by.
enum Signer {
    /// The key at this place of the DNSKEY RRset.
    InSet(usize),
    /// A key that other bundles of the SKR have, and this one has not.
    Departed,
}

/// SKR-BAD-SIGNATURE: every signature of the bundle verifies with a key of its DNSKEY RRset.
///
/// A signature is tried with the one key of its tag and algorithm. Where two fit (SKR-COLLISION), or the key is malformed
/// (SKR-KEY), it is not tried at all, so that no file makes the work more than one try a signature.
///
/// A signature by a key of other bundles, as Knot makes them at the end of an algorithm rollover, is no fault when it
/// verifies: validators read over it. It vouches for nothing.
fn verify_bundle(subject: &Subject<'_>, view: &BundleView<'_>) -> BundleVerdict {
    let mut verdict = BundleVerdict::default();
    for signature in &view.bundle.signatures {
        let Some(rrset) = view.bundle.rrsets().find(|r| r.rtype == signature.covered) else {
            continue; // SKR-TYPE speaks of it.
        };
        match verify_one(subject, view, signature, rrset) {
            Ok(Signer::InSet(place)) => verdict.good.push((rrset.rtype, place)),
            Ok(Signer::Departed) => verdict.departed.push(format!(
                "the signature over {} by key {} helps nobody: the key is not in the DNSKEY RRset any more",
                signature.covered, signature.key_tag
            )),
            Err(fault) => {
                let (covered, tag) = (signature.covered, signature.key_tag);
                verdict.faults.push(format!("the signature over {covered} by key {tag} {fault}"));
            }
        }
    }
    verdict
}

/// What is wrong with a signature; the sentence begins with the signature.
#[derive(Debug, thiserror::Error)]
enum SignatureFault {
    #[error("names {named} as signer, not {zone}")]
    Signer { named: Name, zone: Name },
    #[error("has {is} labels, not {expected}")]
    Labels { is: u8, expected: u8 },
    #[error("has original TTL {is}, and the RRset {expected}")]
    OriginalTtl { is: u32, expected: u32 },
    #[error("of algorithm {0} has no key in the DNSKEY RRset")]
    NoKey(Algorithm),
    #[error("could be that of two keys, and was not tried")]
    TwoKeys,
    #[error("is by an unusable key, and was not tried")]
    UnusableKey,
    #[error("does not verify: the file was altered, or signed with another key")]
    Wrong,
}

/// The key that made the signature, or what is wrong with it.
fn verify_one(
    subject: &Subject<'_>,
    view: &BundleView<'_>,
    signature: &Rrsig,
    rrset: &Rrset,
) -> Result<Signer, SignatureFault> {
    let zone = subject.context.zone;
    if signature.signer != *zone {
        return Err(SignatureFault::Signer { named: signature.signer.clone(), zone: zone.clone() });
    }
    let expected = rrset.owner.rrsig_labels();
    if signature.labels != expected {
        return Err(SignatureFault::Labels { is: signature.labels, expected });
    }
    if signature.original_ttl != rrset.ttl {
        return Err(SignatureFault::OriginalTtl { is: signature.original_ttl, expected: rrset.ttl });
    }
    let fits = |(_, kv): &(usize, &super::KeyView)| {
        kv.tag == signature.key_tag && kv.key.algorithm == signature.algorithm
    };
    let mut fitting = view.keys.iter().enumerate().filter(fits);
    let Some((place, kv)) = fitting.next() else {
        let departed = subject.only_key(signature.key_tag, signature.algorithm);
        if departed.is_some_and(|key| rrsig::verify_raw(rrset, &key.public_key, signature).is_ok()) {
            return Ok(Signer::Departed);
        }
        return Err(SignatureFault::NoKey(signature.algorithm));
    };
    if fitting.next().is_some() {
        return Err(SignatureFault::TwoKeys);
    }
    if !kv.key.algorithm.can_sign() || kv.fault.is_some() {
        return Err(SignatureFault::UnusableKey);
    }
    rrsig::verify_raw(rrset, &kv.key.public_key, signature)
        .map(|()| Signer::InSet(place))
        .map_err(|_| SignatureFault::Wrong)
}

/// Which KSKs are trusted, from bundle to bundle.
///
/// Trusted are the pinned KSKs, and each KSK that an earlier bundle of the same SKR published both in its DNSKEY RRset and
/// in its CDS or CDNSKEY RRset, these signed by a trusted KSK: that is how the parent learns a new KSK (RFC 7344), and what
/// lets one SKR carry a KSK rollover to its end. The next SKR starts again from the pinned ones.
///
/// A KSK that was published as revoked, before this SKR or in an earlier bundle of it, is not trusted again: resolvers that follow RFC 5011
/// have lost it for ever (section 2.1).
struct Trust<'a> {
    subject: &'a Subject<'a>,
    learnt: HashSet<Dnskey>,
    /// Without the REVOKE flag.
    revoked: HashSet<Dnskey>,
    /// Those that have signed the DNSKEY RRset of a bundle when they were trusted.
    vouched: HashSet<Dnskey>,
}

impl<'a> Trust<'a> {
    fn new(subject: &'a Subject<'a>) -> Self {
        let revoked = subject.context.revoked.iter().map(Dnskey::unrevoked).collect();
        Self { subject, learnt: HashSet::new(), revoked, vouched: HashSet::new() }
    }

    fn is_trusted(&self, key: &Dnskey) -> bool {
        let context = self.subject.context;
        key.is_ksk()
            && !key.is_revoked_ksk()
            && !self.revoked.contains(key)
            && (self.learnt.contains(key) || context.anchors.iter().any(|a| a.matches(context.zone, key)))
    }

    /// SKR-UNKNOWN-KSK: the DNSKEY RRset is signed by a trusted KSK that it contains.
    /// SKR-BAD-SIGNATURE: so are CDNSKEY and CDS (RFC 7344 section 4.1). Gives false when nothing of it is trusted.
    fn check_bundle(
        &mut self,
        view: &BundleView<'_>,
        good: &[(Rtype, usize)],
        report: &mut FindingList,
    ) -> bool {
        let bundle = view.bundle;
        self.heed_revocations(view, good);
        let vouched = |rtype: Rtype| {
            good.iter().any(|(covered, place)| *covered == rtype && self.is_trusted(&view.keys[*place].key))
        };
        if !vouched(Rtype::DNSKEY) {
            report.reject(CheckId::SkrUnknownKsk, Some(bundle), self.why_unknown(view));
            return false;
        }
        let signers = good.iter().filter(|(covered, _)| *covered == Rtype::DNSKEY);
        let signers = signers.map(|(_, place)| &view.keys[*place].key);
        let trusted: Vec<Dnskey> = signers.filter(|key| self.is_trusted(key)).cloned().collect();
        let mut all_vouched = true;
        for rrset in bundle.rrsets().filter(|r| r.rtype != Rtype::DNSKEY && !vouched(r.rtype)) {
            all_vouched = false;
            let what = format!("{} has no good signature by a trusted KSK", rrset.rtype);
            report.reject(CheckId::SkrBadSignature, Some(bundle), what);
        }
        if all_vouched {
            let named: Vec<Dnskey> =
                view.keys.iter().map(|kv| &kv.key).filter(|k| is_named(view, k)).cloned().collect();
            self.learnt.extend(named);
        }
        self.vouched.extend(trusted);
        true
    }

    /// A KSK with the REVOKE flag that signs the DNSKEY RRset itself is revoked, whoever else signs. A superseded bundle is never published.
    fn heed_revocations(&mut self, view: &BundleView<'_>, good: &[(Rtype, usize)]) {
        if view.superseded {
            return;
        }
        let signers = good.iter().filter(|(covered, _)| *covered == Rtype::DNSKEY);
        let revoked = signers.map(|(_, place)| &view.keys[*place].key).filter(|key| key.is_revoked_ksk());
        self.revoked.extend(revoked.map(Dnskey::unrevoked));
    }

    /// Why no trusted KSK signs, for the operator.
    fn why_unknown(&self, view: &BundleView<'_>) -> String {
        let ksks: Vec<_> = view.keys.iter().filter(|kv| kv.key.is_ksk()).collect();
        let pinned =
            self.subject.context.anchors.iter().map(|a| a.tag().to_string()).collect::<Vec<_>>().join(", ");
        let in_set = ksks.iter().map(|kv| kv.tag.to_string()).collect::<Vec<_>>().join(", ");
        let again = ksks.iter().find(|kv| self.revoked.contains(&kv.key));
        if pinned.is_empty() {
            "no KSK is pinned for the zone; pin the DS or DNSKEY of its KSK".to_owned()
        } else if ksks.is_empty() {
            "there is no KSK in the DNSKEY RRset".to_owned()
        } else if ksks.iter().all(|kv| kv.key.is_revoked_ksk()) {
            format!("all KSKs in the DNSKEY RRset are revoked (pinned: {pinned}; in the set: {in_set})")
        } else if ksks.iter().any(|kv| self.is_trusted(&kv.key)) {
            "no good signature by a trusted KSK covers the DNSKEY RRset; was the KSK active at that time?"
                .to_owned()
        } else if let Some(again) = again {
            format!(
                "KSK {} was published as revoked, and is trusted never again (RFC 5011 section 2.1); sign with another one (pinned: {pinned})",
                again.tag
            )
        } else {
            format!(
                "no trusted KSK is in the DNSKEY RRset (pinned: {pinned}; in the set: {in_set}); if the KSK was rolled, \
                 pin the new one too"
            )
        }
    }
}

/// True when CDS or CDNSKEY of the bundle name this KSK; where there are both, both must.
fn is_named(view: &BundleView<'_>, key: &Dnskey) -> bool {
    let (cds, cdnskey) = (view.bundle.cds.as_deref(), view.bundle.cdnskey.as_deref());
    let in_cds = |r: &Rrset| {
        r.rdatas.iter().any(|rdata| {
            let digest_type = rdata.get(3).copied().filter(|t| *t != 1);
            digest_type.and_then(|t| key.ds_rdata(&r.owner, t)).is_some_and(|made| made == **rdata)
        })
    };
    let in_cdnskey = |r: &Rrset| r.rdatas.iter().any(|rdata| Dnskey::from_rdata(rdata).as_ref() == Some(key));
    key.is_ksk()
        && !key.is_revoked_ksk()
        && (cds.is_some() || cdnskey.is_some())
        && cds.is_none_or(in_cds)
        && cdnskey.is_none_or(in_cdnskey)
}
