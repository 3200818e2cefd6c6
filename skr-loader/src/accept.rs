//! The checks that need more than the SKR: what is in force, the keys that are here, the requests that are open.
//!
//! [`verify`](mod@keystore::exchange::verify) comes before; [`crate::store::Store::commit`] after. The IDs are those of [`CHECKS`].

mod keys;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};

use keystore::check::{Check, CheckId};
use keystore::config::ParentCheck;
use keystore::dns::{Name, Rrsig, Rtype};
use keystore::exchange::format;
use keystore::exchange::prove::ProofWeight;
use keystore::exchange::{
    Bundle, Ksr, SkrFinding, TrustAnchor, UnverifiedSkr, VerifiedSkr, VerifyContext, bind, prove, verify,
};
use keystore::keys::Dnskey;
use keystore::keys::files::FolderKeys;
use keystore::policy::Policy;
use keystore::time::Timestamp;

use crate::operator::Operator;
use crate::parent::ParentAnswer;
use crate::store::history::{SignatureMark, SignedBefore, marked, marks};
use crate::store::{AcceptedState, Digest, InForce};
use keys::{check_folder, check_private_keys, check_requests};

/// The checks of this module, in the order in which they are reported. `SKR-GAP` is also one of
/// [`verify`](mod@keystore::exchange::verify)'s: there between the bundles, here towards the coverage in force.
pub const CHECKS: &[Check] = &[
    Check { id: CheckId::SkrOperator, holds: "the KSK operator has signed the file" },
    Check { id: CheckId::SkrParentDs, holds: "the DS RRset at the parent vouches for a KSK that signs" },
    Check { id: CheckId::SkrUnknownKey, holds: "every KSK in it is pinned or announced" },
    Check { id: CheckId::SkrReplay, holds: "nothing of it is older than what is in force" },
    Check { id: CheckId::SkrNoPrivateKey, holds: "the private key of every ZSK is in the key folder" },
    Check {
        id: CheckId::SkrKeyset,
        holds: "its ZSKs are those that were asked for, and those of the key folder",
    },
    Check { id: CheckId::SkrNotAsked, holds: "it answers an open request, if there is one" },
    Check {
        id: CheckId::SkrProve,
        holds: "every resolver validates at every second, whatever caches still hold",
    },
];

/// What a verified SKR is held against.
#[derive(Debug, Clone, Copy, Default)]
pub struct AcceptContext<'a> {
    /// What the store holds for the zone; `None` = not asked (no chain and replay checks).
    pub state: Option<&'a AcceptedState>,
    /// What the generations before it have signed.
    pub history: Option<&'a SignedBefore>,
    /// What the key folder holds for the zone; `None` = not asked (no key checks).
    pub keys: Option<&'a FolderKeys>,
    /// The keys of it whose private key is there and cannot be used, and why.
    pub unusable: &'a [(Dnskey, String)],
    /// The pinned KSKs, and those that were announced; `None` = not asked.
    pub ksks: Option<(&'a [TrustAnchor], &'a [TrustAnchor])>,
    /// The requests of the zone that are not answered yet.
    pub requests: &'a [Ksr],
    /// The policy of the zone and its pinned KSKs, for the proof over caches; `None` = not asked.
    pub proof: Option<(&'a Policy, &'a [TrustAnchor])>,
    /// There are ZSKs of other providers in it, whose private keys are not here (RFC 8901 model 1).
    pub multi_signer: bool,
    /// ZSKs that a request proves to be held by whoever made it; for [`FolderKeys::sealed`].
    pub proven: &'a [Dnskey],
    /// The signature of the KSK operator over the file, and whether there must be one; `None` = nobody's certificate is pinned.
    pub operator: Option<(&'a Operator, bool)>,
    /// What the parent says, and what it means; `None` = not asked.
    pub parent: Option<(&'a ParentAnswer, ParentCheck)>,
}

/// A verified SKR, with all that it is held against.
#[derive(Debug, Clone, Copy)]
struct Input<'a> {
    skr: &'a VerifiedSkr,
    digest: &'a Digest,
    context: &'a AcceptContext<'a>,
    /// The bundle in force, and those to come.
    remaining: &'a [Bundle],
    now: Timestamp,
}

type Run = fn(&Input<'_>, &mut Vec<SkrFinding>);

/// The functions of the checks, in the order in which they are run, with the IDs that their findings may have. A function that does not
/// stand here is never called, which the compiler tells; an ID that does not stand in [`CHECKS`] fails a test.
const RUNS: &[(&[CheckId], Run)] = &[
    (&[CheckId::SkrOperator], |i, found| check_operator(i.context.operator, found)),
    (&[CheckId::SkrParentDs], |i, found| check_parent(i.skr, i.remaining, i.context.parent, found)),
    (&[CheckId::SkrUnknownKey], |i, found| {
        check_unknown_keys(i.skr.zone(), i.remaining, i.context.ksks, found);
    }),
    (&[CheckId::SkrReplay], |i, found| {
        if let Some(state) = i.context.state {
            check_replay(i.skr, i.digest, state, i.now, found);
            check_older_bundles(i.skr, i.digest, (state, i.context.history), i.now, found);
        }
    }),
    (&[CheckId::SkrGap], |i, found| {
        if let Some(state) = i.context.state {
            check_chain(i.skr, state, i.now, found);
        }
    }),
    (&[CheckId::SkrNoPrivateKey], |i, found| {
        if let Some(keys) = i.context.keys {
            check_private_keys(i.remaining, keys, i.context, found);
        }
    }),
    (&[CheckId::SkrKeyset], |i, found| {
        if let Some(keys) = i.context.keys {
            check_folder(i.remaining, keys, i.now, found);
        }
    }),
    (&[CheckId::SkrNotAsked, CheckId::SkrKeyset], |i, found| {
        check_requests(i.skr, i.context.requests, i.context.multi_signer, found);
    }),
    (&[CheckId::SkrProve], |i, found| check_proof(i.skr, i.context, i.now, found)),
];

/// Runs every check of this module on an SKR whose file has the digest `digest`; all findings come back at once.
/// The SKR may be accepted when none of them [rejects](SkrFinding::rejects).
#[must_use]
pub fn check(
    skr: &VerifiedSkr,
    digest: &Digest,
    context: &AcceptContext<'_>,
    now: Timestamp,
) -> Vec<SkrFinding> {
    let input = Input { skr, digest, context, remaining: remaining(skr, now), now };
    let mut findings = Vec::new();
    for (ids, run) in RUNS {
        let before = findings.len();
        run(&input, &mut findings);
        debug_assert!(
            findings[before..].iter().all(|f| ids.contains(&f.id)),
            "{ids:?}: {:?}",
            &findings[before..]
        );
    }
    findings
}

/// The bundle in force at `now`, and those to come.
fn remaining(skr: &VerifiedSkr, now: Timestamp) -> &[Bundle] {
    let current = skr.bundles().partition_point(|b| b.inception <= now).saturating_sub(1);
    &skr.bundles()[current..]
}

/// SKR-PROVE: see [`prove`]. It rejects by the times in key files only: where they are not known, and where the parent's are
/// only assumed, it warns.
fn check_proof(
    skr: &VerifiedSkr,
    context: &AcceptContext<'_>,
    now: Timestamp,
    findings: &mut Vec<SkrFinding>,
) {
    let Some((policy, anchors)) = context.proof else { return };
    let in_force = context.state.and_then(|s| s.in_force.as_ref());
    let before = in_force.map_or(&[][..], |f| &f.bundles);
    // One that has begun replaces what is in force now: that is what caches hold, up to this second.
    let current = skr.bundles().partition_point(|b| b.inception <= now);
    let mut bundles = skr.bundles()[current.saturating_sub(1)..].to_vec();
    if current > 0 && before.iter().any(|b| b.inception < now) {
        bundles[0].inception = now;
    }
    let keys = context.keys.map(|found| &*found.keys);
    let parent = prove::ParentModel::assumed(anchors, before, now);
    let report = prove::prove_skr(skr.zone(), (before, &bundles), parent, keys, policy, now);
    let weight = if report.derived { ProofWeight::Warns } else { ProofWeight::Rejects };
    findings.extend(report.as_findings(CheckId::SkrProve, weight));
}

/// What to commit instead of the octets of the dropped file, when its first bundle is yet to come: the bundles in force
/// until that moment are put before its own, so that the generation is whole by itself and the switch needs nobody.
/// `Ok(None)` = the dropped file as it is.
pub fn join(
    skr: &VerifiedSkr,
    state: &AcceptedState,
    anchors: &[TrustAnchor],
    now: Timestamp,
    program: &str,
) -> Result<Option<Vec<u8>>, SkrFinding> {
    let Some(first) = skr.bundles().first().map(|b| b.inception).filter(|first| *first > now) else {
        return Ok(None);
    };
    let old = state.in_force.as_ref().map_or(&[][..], |f| &f.bundles);
    let Some(current) = old.partition_point(|b| b.inception <= now).checked_sub(1) else { return Ok(None) };
    let kept = old[current..].iter().filter(|b| b.inception < first);
    let bundles: Vec<Bundle> = kept.chain(skr.bundles()).cloned().collect();
    if bundles.len() == skr.bundles().len() {
        return Ok(None);
    }
    let joined = UnverifiedSkr { zone: skr.zone().clone(), bundles };
    let octets = bind::print_skr(&joined, now, program).into_bytes();
    // Whoever reads it back verifies it, so it must verify as it was written.
    let mut context = VerifyContext::new(skr.zone(), anchors).for_reload();
    // Settled when each of them was accepted.
    context.allow_delete = true;
    // Settled by `check`, as the hole that was forced, or the overlap.
    context.allow_gaps = true;
    let failed = |why: String| {
        let what = format!(
            "its first bundle begins only at {first}, and it cannot be joined to the bundles in force until then ({why}); \
             keep the KSKs of both pinned, or drop it again when that moment has come"
        );
        Err(SkrFinding::reject(CheckId::SkrGap, Some(first), what))
    };
    match bind::parse_skr(&octets, skr.zone()) {
        Err(error) => failed(error.to_string()),
        Ok(back) => match verify(back, &context, now) {
            Ok(_) => Ok(Some(octets)),
            Err(findings) => {
                failed(findings.iter().find(|f| f.rejects()).map_or_else(String::new, ToString::to_string))
            }
        },
    }
}

/// The owner of the first record in `octets`: the zone that an SKR is for.
#[must_use]
pub fn zone_of(octets: &[u8]) -> Option<Name> {
    format::zone_of(octets)
}

/// The octets to commit for a file of another form than BIND's.
#[must_use]
pub fn rewritten(skr: &VerifiedSkr, now: Timestamp, program: &str) -> Vec<u8> {
    let skr = UnverifiedSkr { zone: skr.zone().clone(), bundles: skr.bundles().to_vec() };
    bind::print_skr(&skr, now, program).into_bytes()
}

/// SKR-OPERATOR: signed by a pinned certificate where that is required, and never by another.
fn check_operator(operator: Option<(&Operator, bool)>, findings: &mut Vec<SkrFinding>) {
    let what = match operator {
        None | Some((Operator::Signed { .. }, _) | (Operator::Absent, false)) => return,
        Some((Operator::Absent, true)) => {
            "no signature of the KSK operator lies beside it, as FILE.p7s; put both into the inbox, the signature first".to_owned()
        }
        Some((Operator::Bad(why), _)) => format!("the signature beside it (.p7s) does not count: {why}"),
    };
    findings.push(SkrFinding::reject(CheckId::SkrOperator, None, what));
}

/// SKR-PARENT-DS: each bundle from now on is signed by a KSK that a DS record at the parent is of. A later bundle whose KSK the parent is
/// to learn of by the CDS of an earlier one is a KSK roll, and warns.
fn check_parent(
    skr: &VerifiedSkr,
    remaining: &[Bundle],
    parent: Option<(&ParentAnswer, ParentCheck)>,
    findings: &mut Vec<SkrFinding>,
) {
    let Some((parent, meaning)) = parent else { return };
    match parent {
        ParentAnswer::NoAnswer(_) => {
            findings.push(SkrFinding::warning(CheckId::SkrParentDs, None, parent.describe()));
            return;
        }
        ParentAnswer::Records { ds, .. } if ds.is_empty() => {
            let what = format!("{}: nobody validates the zone", parent.describe());
            findings.push(SkrFinding::warning(CheckId::SkrParentDs, None, what));
            return;
        }
        ParentAnswer::Records { .. } => {}
    }
    let zone = skr.zone();
    let mut told = HashSet::new();
    for (i, bundle) in remaining.iter().enumerate() {
        let signs = |key: &Dnskey| {
            let by_key = |s: &Rrsig| {
                s.covered == Rtype::DNSKEY && (s.key_tag, s.algorithm) == (key.tag(), key.algorithm)
            };
            key.is_ksk() && bundle.signatures.iter().any(by_key)
        };
        let signers: BTreeSet<Dnskey> = bundle.keys().filter(signs).collect();
        // Bundles with the same signers say the same.
        if signers.iter().any(|key| parent.vouches_for(zone, key)) || !told.insert(signers.clone()) {
            continue;
        }
        let names: Vec<String> = signers.iter().map(key_name).collect();
        let told_before = |key: &Dnskey| {
            let told = |b: &Bundle| {
                b.cds
                    .iter()
                    .any(|cds| cds.rdatas.iter().any(|r| TrustAnchor::Ds(r.to_vec()).matches(zone, key)))
            };
            remaining[..i].iter().any(told)
        };
        let (rejects, what) = if signers.iter().any(told_before) {
            let what = format!(
                "from here on only KSK {} signs, which earlier bundles announce (CDS): the DS must be changed until then; now {}",
                names.join(", "),
                parent.describe()
            );
            (false, what)
        } else {
            let what = format!("KSK {} signs, and {}", names.join(", "), parent.describe());
            (meaning == ParentCheck::Reject, what)
        };
        if rejects {
            findings.push(SkrFinding::reject(CheckId::SkrParentDs, Some(bundle.inception), what));
            return;
        }
        findings.push(SkrFinding::warning(CheckId::SkrParentDs, Some(bundle.inception), what));
    }
}

/// SKR-UNKNOWN-KEY: every key with the SEP flag is a pinned KSK or one that was announced, revoked or not. Validators let any zone key
/// sign, whatever its SEP flag says (RFC 4034 section 2.1.1), so a key that nobody knows could sign the zone.
fn check_unknown_keys(
    zone: &Name,
    remaining: &[Bundle],
    ksks: Option<(&[TrustAnchor], &[TrustAnchor])>,
    findings: &mut Vec<SkrFinding>,
) {
    let Some((pinned, announced)) = ksks else { return };
    let mut known = HashMap::new();
    let mut is_known = |key: &Dnskey| -> bool {
        *known.entry(key.clone()).or_insert_with(|| {
            let key = key.unrevoked();
            pinned.iter().chain(announced).any(|anchor| anchor.matches(zone, &key))
        })
    };
    let mut told = HashSet::new();
    for bundle in remaining {
        for key in bundle.keys().filter(|key| key.is_ksk() && !is_known(key)) {
            if !told.insert(key.clone()) {
                continue;
            }
            let what = format!(
                "KSK {} is neither pinned nor announced, and could sign the zone; if it is a standby or successor KSK, learn it by a \
                 second way and add it to announced-ksks or trust-anchors",
                key_name(&key)
            );
            findings.push(SkrFinding::reject(CheckId::SkrUnknownKey, Some(bundle.inception), what));
        }
    }
}

/// SKR-REPLAY: no bundle from now on holds what an older generation had signed and the one in force has not, whatever the file looks
/// like; and it is not a part of what is in force.
fn check_older_bundles(
    skr: &VerifiedSkr,
    digest: &Digest,
    (state, history): (&AcceptedState, Option<&SignedBefore>),
    now: Timestamp,
    findings: &mut Vec<SkrFinding>,
) {
    let remaining = remaining(skr, now);
    let in_force = state.in_force.as_ref();
    let current: HashSet<SignatureMark> = match (in_force, history) {
        (Some(in_force), _) => in_force.bundles.iter().flat_map(marks).collect(),
        (None, Some(history)) => history.marks_of_lost(digest, skr.bundles().iter().flat_map(marks)),
        (None, None) => HashSet::new(),
    };
    let of_older = |bundle: &Bundle| {
        // Where what is in force does not read, CDS that did not change may have been in it, too: the keys say which bundle it is.
        let counts = |s: &Rrsig| in_force.is_some() || s.covered == Rtype::DNSKEY;
        let not_current = marked(bundle).filter(|(mark, s)| counts(s) && !current.contains(mark));
        not_current.map(|(mark, _)| mark).find_map(|mark| history?.generation_of(&mark))
    };
    let older = remaining.iter().find_map(|bundle| Some((bundle.inception, of_older(bundle)?)));
    if let Some((inception, generation)) = older {
        let now_in_force = in_force.map_or_else(
            || "nothing is in force".to_owned(),
            |f| format!("generation {}, which is in force, has not", f.generation),
        );
        let what = format!(
            "generation {generation} had signed this, and {now_in_force}; to go back to it: skr-loader rollback"
        );
        findings.push(SkrFinding::reject(CheckId::SkrReplay, Some(inception), what));
        return;
    }
    // One that ends earlier was told of above.
    let ends_with = |f: &&InForce| now <= end_of(&f.bundles) && end_of(remaining) >= end_of(&f.bundles);
    let Some(in_force) = in_force.filter(ends_with) else { return };
    // What counts is what a trusted KSK has signed: anybody who holds a ZSK can add a signature by it.
    let by_trusted = |bundle: &Bundle, s: &Rrsig| {
        bundle.keys().any(|key| (key.tag(), key.algorithm) == (s.key_tag, s.algorithm) && skr.trusts(&key))
    };
    let is_new = |bundle: &Bundle| {
        marked(bundle).any(|(mark, signature)| !current.contains(&mark) && by_trusted(bundle, signature))
    };
    if !remaining.iter().any(is_new) && !is_same_schedule(remaining, &in_force.bundles, now) {
        let what = format!(
            "everything in it was signed for generation {}, which is in force, and it is another choice of that; drop the SKR as it was signed",
            in_force.generation
        );
        findings.push(SkrFinding::reject(CheckId::SkrReplay, None, what));
    }
}

/// True when `bundles` bring nothing about that `in_force` does not, from `now` on: the same bundles come into force at the same moments.
/// A bundle is the same when it says the same, also where it was signed a second time.
#[must_use]
pub fn is_same_schedule(bundles: &[Bundle], in_force: &[Bundle], now: Timestamp) -> bool {
    let from_now = |bundles: &[Bundle]| -> Vec<(Timestamp, BTreeSet<SignatureMark>, usize)> {
        let current = bundles.partition_point(|b| b.inception <= now).saturating_sub(1);
        let seen = |b: &Bundle| (b.inception, marks(b).collect(), b.rrsets().count());
        let mut seen: Vec<_> = bundles[current..].iter().map(seen).collect();
        // Of two bundles with one inception the second one counts.
        seen.reverse();
        seen.dedup_by_key(|(inception, ..)| *inception);
        seen.reverse();
        seen
    };
    let (new, old) = (from_now(bundles), from_now(in_force));
    let Some((first, ..)) = new.first() else { return false };
    if *first <= now {
        return new == old;
    }
    // Until it begins, what is in force stays: that is how it would be joined.
    old.ends_with(&new) && old[..old.len() - new.len()].iter().all(|(inception, ..)| inception < first)
}

/// SKR-REPLAY: not an older generation again, and not shorter than the coverage in force.
fn check_replay(
    skr: &VerifiedSkr,
    digest: &Digest,
    state: &AcceptedState,
    now: Timestamp,
    findings: &mut Vec<SkrFinding>,
) {
    let Some(in_force) = &state.in_force else { return };
    if let Some(generation) = state.known.get(digest).filter(|g| **g != in_force.generation) {
        let what = format!(
            "this file was accepted before, as generation {generation}; generation {} is in force",
            in_force.generation
        );
        findings.push(SkrFinding::reject(CheckId::SkrReplay, None, what));
        return;
    }
    let (old, new) = (end_of(&in_force.bundles), skr.coverage_end());
    if new < old && now <= old {
        let what = format!(
            "its coverage ends at {new}, before that of generation {} in force, {old}; drop the SKR of the newest request",
            in_force.generation
        );
        findings.push(SkrFinding::reject(CheckId::SkrReplay, None, what));
    }
}

/// SKR-GAP, towards what is in force: the first bundle begins before the coverage in force ends.
fn check_chain(skr: &VerifiedSkr, state: &AcceptedState, now: Timestamp, findings: &mut Vec<SkrFinding>) {
    let Some(first) = skr.bundles().first().map(|b| b.inception).filter(|first| *first > now) else { return };
    let covered = state.in_force.as_ref().map(|f| end_of(&f.bundles)).filter(|end| *end >= now);
    match covered {
        // The very second of the expiration is still covered (RFC 4035 section 5.3.1).
        Some(end) if first > end.plus(1) => findings.push(SkrFinding::reject(
            CheckId::SkrGap,
            Some(first),
            format!(
                "the coverage in force ends at {end}, and nothing covers the {} seconds until this first bundle; ask for an SKR that begins earlier",
                first.since(end) - 1
            ),
        )),
        Some(_) => {}
        None => findings.push(SkrFinding::warning(
            CheckId::SkrGap,
            Some(first),
            format!("nothing is in force, and the first bundle begins only in {} seconds", first.since(now)),
        )),
    }
}

fn end_of(bundles: &[Bundle]) -> Timestamp {
    bundles.last().map_or(Timestamp::EPOCH, Bundle::expiration)
}

/// Tag and algorithm, as people name a key.
#[must_use]
pub fn key_name(key: &Dnskey) -> String {
    format!("{} ({})", key.tag(), key.algorithm)
}
