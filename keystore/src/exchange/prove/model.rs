//! The states that caches can be in, as spans of seconds, and the combinations that fail.

mod input;
mod revocation;

use std::collections::{BTreeMap, HashMap};

use super::fault::{Fault, FaultKind, KeyRef, ProofFinding};
use super::spans::{Span, both, common, joined, missing, span};
use super::{DsChange, ParentModel, ProofInput, ProofReport, SigningModel};
use crate::crypto::Algorithm;
use crate::exchange::{Bundle, TrustAnchor};
use crate::keys::{Dnskey, FLAG_REVOKE};
use crate::time::Timestamp;
use input::{
    Interned, child_record, derived_periods, dnskey_signatures, in_sight_after, key_sets, signatures, usable,
    wanted_ds,
};

/// Most combinations that are looked at: a second's work. Ten years of weekly bundles with weekly ZSKs make 600 000.
const MAX_COMBINATIONS: usize = 50_000_000;
/// Most keys of one tag that are compared with each other.
const MAX_CLASHES: usize = 64;

/// A key by its place in [`Model::keys`].
type Id = usize;

pub(super) struct Model<'a> {
    plan: &'a ProofInput<'a>,
    keys: Vec<KeyInfo>,
    /// By inception.
    sets: Vec<KeySet<'a>>,
    ds: Vec<DsSet>,
    zone: Vec<Signatures>,
    /// Key, and the seconds when it signs.
    periods: Vec<(Id, Span)>,
    ds_changes: Vec<DsChange>,
    /// The seconds that are looked at.
    window: Span,
    found: BTreeMap<Fault, (Fault, Vec<Span>)>,
}

struct KeyInfo {
    key: Dnskey,
    name: KeyRef,
    /// The same key once revoked.
    revoked: Option<Id>,
    /// Inception of the first bundle that has it.
    published: Option<u64>,
}

/// The DNSKEY RRset of a bundle.
struct KeySet<'a> {
    bundle: &'a Bundle,
    /// Given out by up-to-date servers.
    in_force: Span,
    in_sight: Span,
    /// Sorted.
    keys: Vec<Id>,
    /// With first and last second of validity.
    signers: Vec<(Id, u64, u64)>,
}

/// A DS RRset.
struct DsSet {
    in_sight: Span,
    /// By algorithm: the keys that its records name.
    named: BTreeMap<Algorithm, Vec<Id>>,
    tags: Vec<u16>,
}

/// What keys servers give out signatures of.
struct Signatures {
    in_sight: Span,
    by: BTreeMap<Algorithm, Vec<Id>>,
}

/// How a DNSKEY RRset hangs on a DS RRset.
#[derive(PartialEq)]
enum Entry {
    Good,
    /// Good for validators that are content with one algorithm.
    Lacks(Algorithm),
    None,
}

impl KeySet<'_> {
    fn has(&self, id: Id) -> bool {
        self.keys.binary_search(&id).is_ok()
    }

    fn signs(&self, id: Id) -> bool {
        self.signers.iter().any(|s| s.0 == id)
    }

    fn since(&self) -> Timestamp {
        self.bundle.inception
    }
}

impl DsSet {
    fn entry(&self, signs: impl Fn(Id) -> bool) -> Entry {
        let signed = |ids: &Vec<Id>| ids.iter().any(|id| signs(*id));
        let bad = self.named.iter().find(|(_, ids)| !signed(ids)).map(|(algorithm, _)| *algorithm);
        match bad {
            None => Entry::Good,
            Some(algorithm) if self.named.values().any(signed) => Entry::Lacks(algorithm),
            Some(_) => Entry::None,
        }
    }

    fn ids(&self) -> impl Iterator<Item = Id> {
        self.named.values().flatten().copied()
    }
}

impl<'a> Model<'a> {
    pub(super) fn new(plan: &'a ProofInput<'a>) -> Self {
        let mut interned = Interned::default();
        let sets = key_sets(plan, &mut interned);
        let start = sets.first().map_or(0, |s| s.in_force.0);
        let end = sets.last().map_or(0, |s| s.bundle.expiration().secs().saturating_add(1));
        let periods: Vec<(Id, Span)> = match &plan.signing {
            SigningModel::Known(periods) => periods
                .iter()
                .map(|p| {
                    let inactive = p.inactive.unwrap_or(Timestamp::MAX);
                    (interned.id(&p.key), span(p.activate, inactive))
                })
                .collect(),
            SigningModel::Derived => derived_periods(plan, &sets, &interned),
        };
        let mut model = Self {
            plan,
            zone: signatures(plan, &periods, &interned.keys),
            periods,
            keys: interned.keys,
            sets,
            ds: Vec::new(),
            ds_changes: Vec::new(),
            window: (start.max(plan.from.secs()), end),
            found: BTreeMap::new(),
        };
        model.add_ds();
        model
    }

    pub(super) fn prove(mut self) -> ProofReport {
        let work = self.sets.len().saturating_mul((self.zone.len() + 1).saturating_mul(self.ds.len() + 1));
        if self.sets.is_empty() {
            self.window = (self.window.0, self.window.0 + 1);
            self.report(Fault::Limits { what: "there are no bundles" }, self.window);
        } else if self.window.0 >= self.window.1 {
            self.window.1 = self.window.0 + 1;
            let what = "the coverage is over: all signatures have expired";
            self.report(Fault::Limits { what }, self.window);
        } else if work > MAX_COMBINATIONS {
            let what = "too many bundles and keys to prove anything about; prove shorter parts";
            self.report(Fault::Limits { what }, self.window);
        } else {
            self.check_ds_changes();
            self.check_chain();
            self.check_validity();
            self.check_zone();
            self.check_active();
            self.check_clashes();
            self.check_rules();
            self.check_revocations();
        }
        self.into_report()
    }

    fn into_report(self) -> ProofReport {
        let last = self.sets.last().map_or(u64::MAX, |s| s.in_force.0);
        let end = self.window.1;
        let mut findings: Vec<ProofFinding> = self
            .found
            .into_values()
            .filter_map(|(fault, spans)| {
                let (at, until) = *joined(spans).first()?;
                let in_last_bundle = at > last && fault.kind() == FaultKind::Chain;
                let until = (until < end).then(|| Timestamp::from_secs(until));
                Some(ProofFinding { fault, at: Timestamp::from_secs(at), until, in_last_bundle })
            })
            .collect();
        findings.sort_by(|a, b| (a.at, a.fault.kind(), &a.fault).cmp(&(b.at, b.fault.kind(), &b.fault)));
        ProofReport {
            from: Timestamp::from_secs(self.window.0),
            to: Timestamp::from_secs(end.saturating_sub(1)),
            findings,
            ds_changes: self.ds_changes,
            derived: matches!(self.plan.signing, SigningModel::Derived),
            assumed_parent: matches!(self.plan.parent, ParentModel::FollowsCds(_)),
            last_begins: Timestamp::from_secs(last),
        }
    }

    /// Notes a fault in those seconds of `when` that are looked at.
    fn report(&mut self, fault: Fault, when: Span) {
        let Some(when) = common(when, self.window) else { return };
        let (first, spans) = self.found.entry(fault.subject()).or_insert_with(|| (fault.clone(), Vec::new()));
        if spans.iter().all(|s| when.0 < s.0) {
            *first = fault;
        }
        spans.push(when);
    }

    // --- DS and DNSKEY ---

    fn add_ds(&mut self) {
        let delay = |ttl: u32| self.plan.delays.parent_propagation + u64::from(ttl);
        match &self.plan.parent {
            ParentModel::Timeline(steps) => {
                let mut steps: Vec<_> = steps.iter().collect();
                steps.sort_by_key(|s| s.from);
                for (i, step) in steps.iter().enumerate() {
                    let from = if i == 0 { 0 } else { step.from.secs() };
                    let next = steps.get(i + 1).map_or(u64::MAX, |n| n.from.secs() + delay(step.ttl));
                    self.ds.push(self.ds_set(&step.ds, (from, next)));
                }
            }
            ParentModel::FollowsCds(first) => {
                let ttl = self.plan.delays.ds_ttl;
                let delay = delay(ttl);
                self.ds.push(self.ds_set(first, (0, u64::MAX)));
                for i in 0..self.sets.len() {
                    let Some(wanted) = wanted_ds(self.sets[i].bundle) else { continue };
                    let next = self.ds_set(&wanted, (0, u64::MAX));
                    let Some(before) = self.ds.last_mut().filter(|d| d.named != next.named) else { continue };
                    let asked = self.sets[i].in_force.0;
                    let broken = |d: &DsSet, s: &KeySet<'_>| d.entry(|id| s.signs(id)) != Entry::Good;
                    // Sets of before that may still be in caches, and that the new DS does not vouch for.
                    let older =
                        self.sets[..=i].iter().filter(|s| s.in_sight.1 > asked && s.in_force.0 < asked);
                    let held = older.filter(|s| broken(&next, s)).map(|s| s.in_sight.1).max();
                    let earliest = held.unwrap_or(asked).max(before.in_sight.0);
                    before.in_sight.1 = earliest.max(asked.saturating_add(delay));
                    // Sets to come that the DS of before does not vouch for.
                    let needs = self.sets[i..].iter().find(|s| s.in_force.0 > asked && broken(before, s));
                    let latest = needs.map(|s| Timestamp::from_secs(s.in_force.0.saturating_sub(delay)));
                    if latest.is_some() || earliest > asked {
                        self.ds_changes.push(DsChange {
                            asked: Timestamp::from_secs(asked),
                            tags: next.tags.clone(),
                            earliest: Timestamp::from_secs(earliest),
                            latest,
                        });
                    }
                    self.ds.push(DsSet { in_sight: (earliest, u64::MAX), ..next });
                }
            }
        }
    }

    /// The parent may take CDS as soon as they are there.
    fn check_ds_changes(&mut self) {
        let early = |c: &DsChange| {
            let (tags, earliest) = (c.tags.clone(), c.earliest);
            let missed = c.latest.filter(|latest| *latest < earliest);
            (Fault::DsEarly { tags, earliest, missed }, span(c.asked, earliest))
        };
        let faults: Vec<_> = self.ds_changes.iter().map(early).collect();
        faults.into_iter().for_each(|(fault, when)| self.report(fault, when));
    }

    /// Records that no validator here can use are left out (RFC 4035 section 5.2).
    fn ds_set(&self, anchors: &[TrustAnchor], in_sight: Span) -> DsSet {
        let mut set = DsSet { in_sight, named: BTreeMap::new(), tags: Vec::new() };
        for anchor in anchors {
            let Some(algorithm) = usable(anchor) else { continue };
            set.tags.push(anchor.tag());
            let ids = self.named_by(anchor);
            set.named.entry(algorithm).or_default().extend(ids);
        }
        for ids in set.named.values_mut() {
            ids.sort_unstable();
            ids.dedup();
        }
        set.tags.sort_unstable();
        set.tags.dedup();
        set
    }

    fn named_by(&self, anchor: &TrustAnchor) -> Vec<Id> {
        let tag = anchor.tag();
        let fits = |info: &KeyInfo| info.name.tag == tag && anchor.matches(self.plan.zone, &info.key);
        (0..self.keys.len()).filter(|id| fits(&self.keys[*id])).collect()
    }

    /// Every DS RRset in sight names a signer of every DNSKEY RRset in sight.
    fn check_chain(&mut self) {
        let mut faults = Vec::new();
        for ds in self.ds.iter().filter(|d| !d.named.is_empty()) {
            for set in &self.sets {
                let Some(when) = common(ds.in_sight, set.in_sight) else { continue };
                match ds.entry(|id| set.signs(id)) {
                    Entry::Good => {}
                    Entry::Lacks(algorithm) => {
                        faults.push((Fault::DnskeyAlgorithm { algorithm, bundle: set.since() }, when));
                    }
                    Entry::None => faults.push((self.no_entry(ds, set, when), when)),
                }
            }
        }
        faults.into_iter().for_each(|(fault, when)| self.report(fault, when));
    }

    /// Why no DS record leads to a signer of the set.
    fn no_entry(&self, ds: &DsSet, set: &KeySet<'_>, when: Span) -> Fault {
        let (bundle, tags) = (set.since(), ds.tags.clone());
        let revoked = ds.ids().find(|id| self.keys[*id].revoked.is_some_and(|r| set.has(r)));
        let published = ds.ids().filter_map(|id| self.keys[id].published).min();
        let signed_before =
            || self.sets.iter().any(|s| s.in_force.0 < set.in_force.0 && ds.ids().any(|id| s.signs(id)));
        let in_set = ds.ids().any(|id| set.has(id));
        let Some(first) = published.filter(|_| !set.signers.is_empty()) else {
            return if set.signers.is_empty() {
                Fault::Unsigned { bundle }
            } else {
                Fault::KskUnknown { tags }
            };
        };
        if let Some(id) = revoked {
            Fault::Revoked { key: self.keys[id].name, bundle }
        } else if in_set && signed_before() {
            let mut signers: Vec<u16> = set.signers.iter().map(|s| self.keys[s.0].name.tag).collect();
            signers.sort_unstable();
            signers.dedup();
            Fault::KskBeforeDs { tags, signers, bundle }
        } else if first < set.in_force.0 && !in_set {
            Fault::KskRemoved { tags, bundle, needed: Timestamp::from_secs(ds.in_sight.1) }
        } else {
            Fault::KskLate { tags, bundle, fetched: self.fetched(set, when) }
        }
    }

    /// The last second when a resolver can have fetched the set that fails from `when` on.
    fn fetched(&self, set: &KeySet<'_>, when: Span) -> Timestamp {
        let given_out = set.in_force.1.saturating_add(self.plan.delays.zone_propagation).saturating_sub(1);
        Timestamp::from_secs(when.0.max(self.window.0).min(given_out))
    }

    /// The signatures over a set in force are valid.
    fn check_validity(&mut self) {
        let mut faults = Vec::new();
        for (i, set) in self.sets.iter().enumerate() {
            let Some(force) = common(set.in_force, self.window) else { continue };
            let mut cuts = vec![force.0, force.1];
            let changes = set.signers.iter().flat_map(|(_, from, to)| [*from, to.saturating_add(1)]);
            cuts.extend(changes.filter(|t| force.0 < *t && *t < force.1));
            cuts.sort_unstable();
            cuts.dedup();
            for part in cuts.windows(2).map(|w| (w[0], w[1])) {
                let valid = |id: Id| {
                    set.signers.iter().any(|(s, from, to)| *s == id && *from <= part.0 && part.0 <= *to)
                };
                if set.signers.iter().all(|s| valid(s.0)) {
                    continue;
                }
                for ds in &self.ds {
                    let Some(when) = common(ds.in_sight, part) else { continue };
                    if ds.entry(|id| set.signs(id)) != Entry::Good || ds.entry(valid) == Entry::Good {
                        continue;
                    }
                    let bundle = set.since();
                    let begins = set.signers.iter().filter(|s| ds.ids().any(|id| id == s.0)).map(|s| s.1);
                    let fault = match begins.filter(|begin| *begin > part.0).min() {
                        Some(begins) => Fault::NotYet { bundle, begins: Timestamp::from_secs(begins) },
                        None => Fault::Expired { bundle, next: Timestamp::from_secs(set.in_force.1) },
                    };
                    faults.push((fault, when));
                }
            }
            let Some(end) = set.signers.iter().map(|s| s.2).min() else { continue };
            if i + 1 < self.sets.len() && end.saturating_add(1) >= set.in_force.1 {
                let kept = Timestamp::from_secs(set.in_sight.1);
                faults.push((Fault::ExpiredCached { bundle: set.since(), kept }, (end + 1, set.in_sight.1)));
            }
        }
        faults.into_iter().for_each(|(fault, when)| self.report(fault, when));
    }

    // --- DNSKEY and the zone's signatures ---

    /// Every DNSKEY RRset in sight has the keys of the signatures in sight: of one algorithm, and of those in the DS.
    fn check_zone(&mut self) {
        let mut faults = Vec::new();
        for signatures in &self.zone {
            for set in &self.sets {
                let Some(when) = common(signatures.in_sight, set.in_sight) else { continue };
                let is_good = |ids: &Vec<Id>| ids.iter().all(|id| set.has(*id));
                let any_good = signatures.by.values().any(is_good);
                for ds in self.ds.iter().filter(|d| !d.named.is_empty()) {
                    let Some(when) = common(when, ds.in_sight) else { continue };
                    for algorithm in ds.named.keys().filter(|a| !signatures.by.contains_key(a)) {
                        faults.push((Fault::DsAlgorithm { algorithm: *algorithm }, when));
                    }
                    for (algorithm, ids) in &signatures.by {
                        if any_good && !ds.named.contains_key(algorithm) {
                            continue;
                        }
                        for id in ids.iter().filter(|id| !set.has(**id)) {
                            faults.push((self.lacks(*id, set, when), when));
                        }
                    }
                }
            }
        }
        faults.into_iter().for_each(|(fault, when)| self.report(fault, when));
    }

    /// Why the set lacks the ZSK.
    fn lacks(&self, id: Id, set: &KeySet<'_>, when: Span) -> Fault {
        let info = &self.keys[id];
        let (key, bundle) = (info.name, set.since());
        match info.published {
            _ if info.revoked.is_some_and(|r| set.has(r)) => Fault::Revoked { key, bundle },
            None => Fault::Unpublished { key },
            Some(first) if set.in_force.0 < first => {
                Fault::LatePublication { key, bundle, fetched: self.fetched(set, when) }
            }
            Some(_) => {
                let seen = self.periods.iter().filter(|(k, p)| *k == id && p.0 <= when.0).map(|(_, p)| p.1);
                let gone = seen.max().unwrap_or(when.1).saturating_add(in_sight_after(self.plan));
                Fault::EarlyRemoval { key, bundle, needed: Timestamp::from_secs(gone) }
            }
        }
    }

    /// At each second a ZSK signs; of each algorithm in the DNSKEY RRset, too.
    fn check_active(&mut self) {
        let derived = matches!(self.plan.signing, SigningModel::Derived);
        let spans = |algorithm: Option<Algorithm>| -> Vec<Span> {
            let fits = |id: Id| algorithm.is_none_or(|a| self.keys[id].key.algorithm == a);
            self.periods.iter().filter(|(id, _)| fits(*id)).map(|(_, p)| *p).collect()
        };
        let insecure: Vec<Span> =
            self.ds.iter().filter(|d| !d.named.is_empty()).map(|d| d.in_sight).collect();
        let secure = joined(insecure);
        let mut faults = Vec::new();
        for hole in both(&missing(spans(None), self.window), &secure) {
            faults.push((Fault::NoZsk { derived }, hole));
        }
        let mut algorithms = BTreeMap::<Algorithm, Vec<Span>>::new();
        for set in &self.sets {
            let mut of_set: Vec<Algorithm> = set.keys.iter().map(|id| self.keys[*id].key.algorithm).collect();
            of_set.sort_unstable();
            of_set.dedup();
            of_set.into_iter().for_each(|a| algorithms.entry(a).or_default().push(set.in_force));
        }
        for (algorithm, in_force) in algorithms {
            let holes = missing(spans(Some(algorithm)), self.window);
            for hole in both(&holes, &joined(in_force)) {
                // With no ZSK at all, that is said already.
                if !both(&joined(spans(None)), &[hole]).is_empty() {
                    faults.push((Fault::ZoneAlgorithm { algorithm }, hole));
                }
            }
        }
        faults.into_iter().for_each(|(fault, when)| self.report(fault, when));
    }

    // --- tags, and rules for single bundles ---

    /// No two keys in sight share tag and algorithm.
    fn check_clashes(&mut self) {
        let mut groups = BTreeMap::<(u16, Algorithm), Vec<Id>>::new();
        for (id, info) in self.keys.iter().enumerate() {
            groups.entry((info.name.tag, info.key.algorithm)).or_default().push(id);
        }
        let mut faults = Vec::new();
        for ids in groups.into_values().filter(|ids| ids.len() > 1) {
            let ids = &ids[..ids.len().min(MAX_CLASHES)];
            let seen = |id: Id| -> Vec<Span> {
                joined(self.sets.iter().filter(|s| s.has(id)).map(|s| s.in_sight).collect())
            };
            let seen: Vec<_> = ids.iter().map(|id| (*id, seen(*id))).collect();
            for (i, (a, a_seen)) in seen.iter().enumerate() {
                for (b, b_seen) in &seen[..i] {
                    for when in both(a_seen, b_seen) {
                        let at = when.0.max(self.window.0);
                        let one_set = self
                            .sets
                            .iter()
                            .any(|s| s.has(*a) && s.has(*b) && s.in_sight.0 <= at && at < s.in_sight.1);
                        let (one, other) = (self.keys[*b].name, self.keys[*a].name);
                        faults.push((Fault::TagClash { one, other, one_set }, when));
                    }
                }
            }
        }
        faults.into_iter().for_each(|(fault, when)| self.report(fault, when));
    }

    /// CDS, TTL, revoked keys: what can be said of a bundle alone.
    fn check_rules(&mut self) {
        let mut faults = Vec::new();
        let mut known = HashMap::<&[u8], Vec<Id>>::new();
        for set in &self.sets {
            let when = set.in_force;
            let (mut signed, mut tags) = (false, Vec::new());
            for rrset in [&set.bundle.cds, &set.bundle.cdnskey].into_iter().flatten() {
                for rdata in &rrset.rdatas {
                    let Some(anchor) = child_record(rrset.rtype, rdata) else { continue };
                    if usable(&anchor).is_none() {
                        continue;
                    }
                    let ids = known.entry(rdata).or_insert_with(|| self.named_by(&anchor));
                    tags.push(anchor.tag());
                    signed |= ids.iter().any(|id| set.signs(*id));
                    if !ids.iter().any(|id| set.has(*id)) {
                        faults.push((Fault::CdsNoKey { tag: anchor.tag() }, when));
                    }
                    if ids.iter().any(|id| self.keys[*id].key.flags & FLAG_REVOKE != 0) {
                        faults.push((Fault::CdsRevoked { tag: anchor.tag() }, when));
                    }
                }
            }
            if !tags.is_empty() && !signed {
                tags.sort_unstable();
                tags.dedup();
                faults.push((Fault::CdsNotSigning { tags }, when));
            }
            let ttl = set.bundle.dnskey.ttl;
            if let Some(planned) = self.plan.delays.dnskey_ttl.filter(|planned| *planned != ttl) {
                faults.push((Fault::TtlPlan { ttl, planned }, when));
            }
            let originals = dnskey_signatures(set.bundle).map(|s| s.original_ttl);
            if let Some(original) = originals.min().filter(|original| *original < ttl) {
                faults.push((Fault::TtlOverOriginal { ttl, original }, when));
            }
            for id in set.keys.iter().filter(|id| self.keys[**id].key.flags & FLAG_REVOKE != 0) {
                if !set.signs(*id) {
                    faults.push((Fault::RevokedUnsigned { key: self.keys[*id].name }, when));
                }
            }
        }
        faults.into_iter().for_each(|(fault, when)| self.report(fault, when));
    }
}
