//! Whether a request follows the SKR before.

use keystore::check::CheckId;
use keystore::dns::{Rtype, rrsig};
use keystore::exchange::{Bundle, Ksr, KsrBundle, TrustAnchor, UnverifiedSkr, VerifyContext, verify};
use keystore::keys::{Dnskey, FLAG_REVOKE, KeyFile};
use keystore::time::Timestamp;

use crate::check::key_name;
use crate::finding::{Advice, Findings, Waiver};
use crate::rollover::{ParentDs, is_revoked_file};

/// The ZSKs of which the operator says, by their tags, that they may come and go between the SKR before and the request: where a provider
/// joins or leaves, or a spare ZSK takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ZskChanges<'a> {
    /// Tags of those that the SKR before does not have yet.
    pub new: &'a [u16],
    /// Tags of those that the request does not have any more.
    pub gone: &'a [u16],
}

/// KSR-CHAIN-SKR, KSR-CHAIN-OVERLAP and KSR-CHAIN-KEYS.
///
/// `known` are the KSKs that the operator knows from elsewhere; when there are none, nobody can tell whose SKR it is.
pub(crate) fn check(
    ksr: &Ksr,
    previous: &UnverifiedSkr,
    known: &[TrustAnchor],
    changes: ZskChanges<'_>,
    now: Timestamp,
    out: &mut Findings,
) {
    let (Some(first), Some(last)) = (ksr.bundles.first(), previous.bundles.last()) else { return };
    // Signed by the KSKs that it has itself, so that damage is seen; whose they are is asked below.
    let anchors: Vec<TrustAnchor> = previous
        .bundles
        .iter()
        .flat_map(|bundle| bundle.keys())
        .filter(|key| key.is_ksk() && key.flags & FLAG_REVOKE == 0)
        .map(TrustAnchor::Dnskey)
        .collect();
    let mut context = VerifyContext::new(&previous.zone, &anchors).for_reload();
    context.allow_delete = true;
    if let Err(findings) = verify(previous.clone(), &context, now)
        && let Some(finding) = findings.iter().find(|f| f.rejects())
    {
        let what = format!("the SKR before does not verify ({finding}); take the one that is in force");
        out.refuse(CheckId::KsrChainSkr, None, what);
        return;
    }
    let at = first.inception;
    if let Some((bundle, what)) = foreign(previous, at, known) {
        out.refuse_unless(Waiver::BrokenChain, CheckId::KsrChainSkr, Some(bundle), what);
    }
    if at > last.expiration() {
        let what = format!(
            "it begins after the SKR before has ended ({}): nothing covers the time between; ask for a request that begins earlier",
            last.expiration()
        );
        out.refuse_unless(Waiver::BrokenChain, CheckId::KsrChainOverlap, Some(at), what);
    }
    let in_force = previous.bundles.partition_point(|bundle| bundle.inception <= at).checked_sub(1);
    let Some(before) = in_force.map(|i| &previous.bundles[i]) else {
        let what = "it begins before the SKR before does: this is not the SKR that it follows".to_owned();
        out.refuse_unless(Waiver::BrokenChain, CheckId::KsrChainOverlap, Some(at), what);
        return;
    };
    check_zsks(first, before, changes, out);
}

/// KSR-CHAIN-KEYS: the first bundle of the request has the ZSKs that the SKR before has then, but for the changes that were announced.
fn check_zsks(first: &KsrBundle, before: &Bundle, changes: ZskChanges<'_>, out: &mut Findings) {
    let at = Some(first.inception);
    let zsks: Vec<Dnskey> = before.keys().filter(|key| !key.is_ksk()).collect();
    // An algorithm that enters or leaves as a whole is judged by KSR-ALGORITHM-SET and KSR-PROVE.
    let known_algorithm = |key: &&Dnskey, keys: &[Dnskey]| keys.iter().any(|k| k.algorithm == key.algorithm);
    let is_new = |key: &&Dnskey| !zsks.contains(key) && known_algorithm(key, &zsks);
    let is_gone = |key: &&Dnskey| !first.keys.contains(key) && known_algorithm(key, &first.keys);
    for key in first.keys.iter().filter(is_new) {
        let what = format!(
            "{} is not in bundle {} of the SKR before, which it follows",
            key_name(key),
            before.inception
        );
        if changes.new.contains(&key.tag()) {
            out.note(CheckId::KsrChainKeys, at, format!("{what}, as was said"));
            continue;
        }
        let what = format!("{what}: a key that nobody has published yet");
        out.refuse_unless(Waiver::BrokenChain, CheckId::KsrChainKeys, at, what)
            .advise(Advice::NameNewZsk(key.tag()));
    }
    for key in zsks.iter().filter(is_gone) {
        let what =
            format!("{} is in bundle {} of the SKR before and missing here", key_name(key), before.inception);
        if changes.gone.contains(&key.tag()) {
            out.note(CheckId::KsrChainKeys, at, format!("{what}, as was said"));
            continue;
        }
        let what = format!("{what}: caches may still need it");
        out.refuse_unless(Waiver::BrokenChain, CheckId::KsrChainKeys, at, what)
            .advise(Advice::NameGoneZsk(key.tag()));
    }
    // A tag that fits nothing was mistyped, or is that of another ceremony.
    let unused = |tags: &[u16], keys: &[Dnskey]| {
        let unused: Vec<String> = tags
            .iter()
            .filter(|tag| !keys.iter().any(|key| key.tag() == **tag))
            .map(u16::to_string)
            .collect();
        (!unused.is_empty()).then(|| unused.join(", "))
    };
    if let Some(tags) = unused(changes.new, &first.keys) {
        out.refuse(CheckId::KsrChainKeys, at, format!("no ZSK has the tag {tags}, which was said to be new"));
    }
    if let Some(tags) = unused(changes.gone, &zsks) {
        let what = format!("the SKR before has no ZSK with the tag {tags}, which was said to be gone");
        out.refuse(CheckId::KsrChainKeys, at, what);
    }
}

/// The KSKs that the operator knows without the request and the SKR before: those of the key folder that are not revoked, and where there
/// are none, those of the parent's DS.
pub(crate) fn known_ksks(ksks: &[&KeyFile], parent: Option<&ParentDs>) -> Vec<TrustAnchor> {
    let trusted = ksks.iter().filter(|ksk| !is_revoked_file(ksk));
    let known: Vec<TrustAnchor> = trusted.map(|ksk| TrustAnchor::Dnskey(ksk.dnskey.clone())).collect();
    match parent {
        Some(parent) if known.is_empty() => parent.ds.clone(),
        _ => known,
    }
}

/// The first bundle from `at` on that none of the `known` KSKs has signed: somebody else's SKR, however well it verifies by itself.
pub(crate) fn foreign(
    previous: &UnverifiedSkr,
    at: Timestamp,
    known: &[TrustAnchor],
) -> Option<(Timestamp, String)> {
    if known.is_empty() {
        return None;
    }
    let in_force = previous.bundles.partition_point(|bundle| bundle.inception <= at).saturating_sub(1);
    let bundle = previous.bundles[in_force..].iter().find(|bundle| !signed_by(bundle, known))?;
    let by: Vec<String> = bundle.signatures.iter().map(|s| s.key_tag.to_string()).collect();
    let what = format!(
        "none of the KSKs known here has signed it (it is signed by {}): the SKR before is not of this operator, or its KSK is missing from the key folder",
        by.first().map_or("nobody", String::as_str)
    );
    Some((bundle.inception, what))
}

/// True when a KSK that is `known` has signed the DNSKEY RRset.
fn signed_by(bundle: &Bundle, known: &[TrustAnchor]) -> bool {
    bundle.keys().any(|key| {
        known.iter().any(|anchor| anchor.matches(&bundle.dnskey.owner, &key))
            && bundle
                .signatures
                .iter()
                .filter(|s| (s.covered, s.key_tag, s.algorithm) == (Rtype::DNSKEY, key.tag(), key.algorithm))
                .any(|s| rrsig::verify_raw(&bundle.dnskey, &key.public_key, s).is_ok())
    })
}
