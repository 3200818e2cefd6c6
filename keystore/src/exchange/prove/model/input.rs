//! What a proof needs of the bundles: keys, each once; DNSKEY RRsets and signatures with the seconds in which they are in sight.

use std::collections::{BTreeMap, HashMap};

use super::{Id, KeyInfo, KeySet, Signatures};
use crate::crypto::Algorithm;
use crate::dns::Rtype;
use crate::exchange::prove::ProofInput;
use crate::exchange::prove::fault::KeyRef;
use crate::exchange::prove::spans::Span;
use crate::exchange::{Bundle, TrustAnchor};
use crate::keys::{Dnskey, FLAG_REVOKE};
use crate::time::Timestamp;

/// Keys, each once.
#[derive(Default)]
pub(super) struct Interned {
    pub(super) keys: Vec<KeyInfo>,
    ids: HashMap<Dnskey, Id>,
}

impl Interned {
    pub(super) fn id(&mut self, key: &Dnskey) -> Id {
        if let Some(id) = self.ids.get(key) {
            return *id;
        }
        let id = self.keys.len();
        let twin = Dnskey { flags: key.flags ^ FLAG_REVOKE, ..key.clone() };
        let twin = self.ids.get(&twin).copied();
        let mut revoked = None;
        match twin {
            Some(twin) if key.flags & FLAG_REVOKE != 0 => self.keys[twin].revoked = Some(id),
            other => revoked = other,
        }
        self.keys.push(KeyInfo { key: key.clone(), name: KeyRef::from(key), revoked, published: None });
        self.ids.insert(key.clone(), id);
        id
    }
}

pub(super) fn dnskey_signatures(bundle: &Bundle) -> impl Iterator<Item = &crate::dns::Rrsig> {
    bundle.signatures.iter().filter(|s| s.covered == Rtype::DNSKEY)
}

pub(super) fn key_sets<'a>(plan: &ProofInput<'a>, interned: &mut Interned) -> Vec<KeySet<'a>> {
    let mut bundles = plan.bundles.to_vec();
    bundles.sort_by_key(|b| b.inception);
    let mut sets: Vec<KeySet<'a>> = Vec::with_capacity(bundles.len());
    for (i, bundle) in bundles.iter().copied().enumerate() {
        let next = bundles.get(i + 1).map(|b| b.inception);
        if next == Some(bundle.inception) {
            continue;
        }
        let since = bundle.inception.secs();
        let mut keys: Vec<Id> = bundle.keys().map(|k| interned.id(&k)).collect();
        for id in &keys {
            interned.keys[*id].published.get_or_insert(since);
        }
        keys.sort_unstable();
        keys.dedup();
        let signers = dnskey_signatures(bundle)
            .filter(|s| s.signer == *plan.zone)
            .flat_map(|s| {
                let (from, to) = (s.incepts(bundle.inception).secs(), s.expires(bundle.inception).secs());
                let fits = |id: &&Id| {
                    let info = &interned.keys[**id];
                    info.name.tag == s.key_tag && info.key.algorithm == s.algorithm
                };
                keys.iter().filter(fits).map(move |id| (*id, from, to)).collect::<Vec<_>>()
            })
            .collect();
        let lasts = plan.delays.zone_propagation + u64::from(bundle.dnskey.ttl);
        sets.push(KeySet {
            bundle,
            in_force: (since, next.unwrap_or(Timestamp::MAX).secs()),
            in_sight: (since, next.map_or(u64::MAX, |n| n.secs().saturating_add(lasts))),
            keys,
            signers,
        });
    }
    sets
}

/// How long signatures by a key stay in sight after its Inactive.
pub(super) fn in_sight_after(plan: &ProofInput<'_>) -> u64 {
    let d = &plan.delays;
    d.signature_retention.saturating_add(d.zone_propagation).saturating_add(d.max_zone_ttl)
}

/// Whenever a ZSK safely can sign: from when no cache has a set without it, until signatures by it would outlive it.
pub(super) fn derived_periods(
    plan: &ProofInput<'_>,
    sets: &[KeySet<'_>],
    interned: &Interned,
) -> Vec<(Id, Span)> {
    let mut periods = Vec::new();
    let is_zsk =
        |id: &Id| !interned.keys[*id].key.is_ksk() && interned.keys[*id].key.flags & FLAG_REVOKE == 0;
    for id in (0..interned.keys.len()).filter(is_zsk) {
        let (mut from, mut without) = (None, 0);
        for set in sets {
            match (set.has(id), from) {
                (true, None) => from = Some(set.in_force.0.max(without)),
                (false, Some(start)) => {
                    periods.push((id, (start, set.in_force.0.saturating_sub(in_sight_after(plan)))));
                    from = None;
                }
                _ => {}
            }
            if !set.has(id) {
                without = without.max(set.in_sight.1);
            }
        }
        periods.extend(from.map(|start| (id, (start, Timestamp::MAX.secs()))));
    }
    periods.retain(|(_, p)| p.0 < p.1);
    periods
}

/// Cuts time at each second where the keys of the signatures that servers give out change.
pub(super) fn signatures(plan: &ProofInput<'_>, periods: &[(Id, Span)], keys: &[KeyInfo]) -> Vec<Signatures> {
    let served = |p: Span| (p.0, p.1.saturating_add(plan.delays.signature_retention));
    let periods: Vec<(Id, Span)> =
        periods.iter().filter(|(_, p)| p.0 < p.1).map(|(id, p)| (*id, served(*p))).collect();
    let mut cuts: Vec<u64> = periods.iter().flat_map(|(_, p)| [p.0, p.1]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let lasts = plan.delays.zone_propagation.saturating_add(plan.delays.max_zone_ttl);
    let part = |w: &[u64]| {
        let mut by = BTreeMap::<Algorithm, Vec<Id>>::new();
        for (id, _) in periods.iter().filter(|(_, p)| p.0 <= w[0] && w[0] < p.1) {
            let ids = by.entry(keys[*id].key.algorithm).or_default();
            if !ids.contains(id) {
                ids.push(*id);
            }
        }
        Signatures { in_sight: (w[0], w[1].saturating_add(lasts)), by }
    };
    cuts.windows(2).map(part).filter(|s| !s.by.is_empty()).collect()
}

/// The algorithm of a DS record that validators here can use.
pub(super) fn usable(anchor: &TrustAnchor) -> Option<Algorithm> {
    let algorithm = match anchor {
        TrustAnchor::Dnskey(key) => key.algorithm,
        TrustAnchor::Ds(ds) => {
            let [_, _, algorithm, digest_type, ..] = **ds else { return None };
            matches!(digest_type, 1 | 2 | 4).then_some(Algorithm(algorithm))?
        }
    };
    algorithm.can_verify().then_some(algorithm)
}

/// A CDS or CDNSKEY record as what it asks for; `None` for the delete form (RFC 8078 section 4) and for what does not read.
pub(super) fn child_record(rtype: Rtype, rdata: &[u8]) -> Option<TrustAnchor> {
    match rtype {
        Rtype::CDS => (rdata.get(2).is_some_and(|a| *a != 0)).then(|| TrustAnchor::Ds(rdata.to_vec())),
        _ => Dnskey::from_rdata(rdata).filter(|k| k.algorithm.0 != 0).map(TrustAnchor::Dnskey),
    }
}

/// The DS RRset that a bundle asks for; empty for the delete form; `None` when it asks for nothing.
pub(super) fn wanted_ds(bundle: &Bundle) -> Option<Vec<TrustAnchor>> {
    let rrset = bundle.cds.as_ref().or(bundle.cdnskey.as_ref())?;
    Some(rrset.rdatas.iter().filter_map(|rdata| child_record(rrset.rtype, rdata)).collect())
}
