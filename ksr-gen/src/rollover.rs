//! When a KSK that is to be replaced may leave: not before the parent was seen to have the DS of its successor.
//!
//! `dnssec-ksr` follows the times in the key files whatever the parent does: the old KSK stops signing at the second at which the new one
//! begins, and the zone is bogus for everyone who holds the old DS. Here a roll is a double-KSK roll (RFC 7583 section 3.3.1)
//! whose end hangs on the parent:
//!
//! ```text
//!            Publish new   Activate new            DS of the new one seen   + parent-propagation-delay + parent-ds-ttl
//!                 │             │                             │              + retire-safety          │
//!   DNSKEY old    ├──── old, new ───────────────────────────────────────────────────────────────────▶│ new
//!   signed by old ├──── old, new ───────────────────────────────────────────────────────────────────▶│ new
//!   CDS    old    old           │ new                                                                  new
//! ```
//! A new KSK signs as soon as it is published: named cannot serve a bundle with a published KSK that does not sign.
//!
//! A KSK with a Revoke time (`dnssec-settime -R`) has the REVOKE flag from then on, and with it another tag; it signs the DNSKEY RRset so
//! that resolvers heed the revocation (RFC 5011 section 2.1), and is named by neither CDS nor CDNSKEY. Nobody can use it as a
//! trust anchor any more, so the revocation waits for the parent as the end of signing does.

use keystore::crypto::Algorithm;
use std::collections::HashMap;

use keystore::dns::lexer::Entries;
use keystore::dns::record;
use keystore::dns::{Name, Rtype};
use keystore::exchange::{Ksr, TrustAnchor};
use keystore::keys::{Dnskey, FLAG_REVOKE, KeyFile, Timing};
use keystore::policy::Policy;
use keystore::time::Timestamp;

/// The DS RRset that the parent was seen to have, or the operator's word for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentDs {
    /// The DS records, or the DNSKEYs that they are made of.
    pub ds: Vec<TrustAnchor>,
    /// Time at which the RRset was seen. An older one may be in caches for the TTL of the DS from then on.
    pub seen: Timestamp,
}

/// Error of a file that should hold DS records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParentDsError {
    /// A line is no record.
    #[error("line {line}: {what}")]
    Syntax {
        /// The line.
        line: u32,
        /// The syntax error.
        what: String,
    },
    /// A record of another zone.
    #[error("line {line}: DS of {owner}, where {zone} was expected")]
    WrongZone {
        /// The line.
        line: u32,
        /// Owner of the record.
        owner: Name,
        /// The zone of the ceremony.
        zone: Name,
    },
    /// Nothing in it.
    #[error("there is no DS record in it; `dig +noall +answer DS {0}` prints what the parent has")]
    Empty(Name),
}

impl ParentDs {
    /// Reads DS records as `dig +noall +answer DS ZONE` prints them; RRSIGs beside them are read over.
    pub fn parse(text: &str, zone: &Name, seen: Timestamp) -> Result<Self, ParentDsError> {
        let mut ds = Vec::new();
        for (line, owner, rdata) in records(text)? {
            if owner != *zone {
                return Err(ParentDsError::WrongZone { line, owner, zone: zone.clone() });
            }
            ds.push(TrustAnchor::Ds(rdata));
        }
        if ds.is_empty() { Err(ParentDsError::Empty(zone.clone())) } else { Ok(Self { ds, seen }) }
    }

    /// Reads a file with the DS records of many zones; the key of the map is the zone in lower case.
    pub fn parse_all(text: &str, seen: Timestamp) -> Result<HashMap<Name, Self>, ParentDsError> {
        let mut zones: HashMap<Name, Self> = HashMap::new();
        for (_, owner, rdata) in records(text)? {
            let of_zone = zones.entry(owner.to_lowercase()).or_insert_with(|| Self { ds: Vec::new(), seen });
            of_zone.ds.push(TrustAnchor::Ds(rdata));
        }
        Ok(zones)
    }

    fn has(&self, zone: &Name, key: &KeyFile) -> bool {
        self.ds.iter().any(|ds| ds.matches(zone, &key.dnskey))
    }

    /// A DS with the tag and algorithm of a KSK and another digest; or none of any KSK: what is wrong with it.
    pub(crate) fn fault(&self, zone: &Name, ksks: &[&KeyFile]) -> Option<String> {
        let algorithm = |ds: &TrustAnchor| match ds {
            TrustAnchor::Ds(rdata) => rdata.get(2).copied().unwrap_or(0),
            TrustAnchor::Dnskey(key) => key.algorithm.0,
        };
        let looks_like = |ds: &TrustAnchor, ksk: &KeyFile| {
            ds.tag() == ksk.dnskey.tag() && algorithm(ds) == ksk.dnskey.algorithm.0
        };
        let known = |ds: &TrustAnchor| match ds {
            TrustAnchor::Ds(rdata) => matches!(rdata.get(3), Some(1 | 2 | 4)),
            TrustAnchor::Dnskey(_) => true,
        };
        for ds in self.ds.iter().filter(|ds| known(ds)) {
            if let Some(ksk) = ksks.iter().find(|k| looks_like(ds, k) && !ds.matches(zone, &k.dnskey)) {
                return Some(format!(
                    "the DS with tag {} at the parent has another digest than KSK {}: it is the DS of another key",
                    ds.tag(),
                    ksk.base_name()
                ));
            }
        }
        (!ksks.iter().any(|ksk| self.has(zone, ksk))).then(|| {
            let tags: Vec<String> = self.ds.iter().map(|ds| ds.tag().to_string()).collect();
            format!("the parent has DS of {}, none of a KSK of this folder", tags.join(", "))
        })
    }
}

/// Line, owner and RDATA of each DS record.
fn records(text: &str) -> Result<Vec<(u32, Name, Vec<u8>)>, ParentDsError> {
    let mut out = Vec::new();
    for entry in Entries::new(text.as_bytes()) {
        let entry = entry.map_err(|e| ParentDsError::Syntax { line: e.line, what: e.what.to_string() })?;
        if entry.tokens.is_empty() {
            continue;
        }
        let line = entry.line;
        let record = record::parse(&entry, None, None)
            .map_err(|e| ParentDsError::Syntax { line, what: e.to_string() })?;
        match record.rtype {
            Rtype::RRSIG => {}
            Rtype::DS => out.push((line, record.owner, record.rdata)),
            other => {
                let what = format!("type {other}, where DS was expected");
                return Err(ParentDsError::Syntax { line, what });
            }
        }
    }
    Ok(out)
}

/// When a KSK is in the DNSKEY RRset, signs it, and is named by CDS and CDNSKEY.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KskSchedule<'a> {
    pub file: &'a KeyFile,
    /// The times that count; those of the file, but for what the parent holds back.
    pub timing: Timing,
    /// True when the KSK signs as soon as it is published.
    signs_early: bool,
    /// True when the KSK stays longer than its file says, because the parent was not seen to have its successor's DS.
    pub held: bool,
}

impl KskSchedule<'_> {
    /// Published in the bundle that begins at `at`; as for BIND, a time that is not set does not count.
    pub fn is_published(&self, at: Timestamp) -> bool {
        let t = &self.timing;
        t.publish.is_none_or(|publish| publish <= at) && t.delete.is_none_or(|delete| at < delete)
    }

    /// Has the REVOKE flag in the bundle that begins at `at`, by its Revoke time or because its file has it.
    pub fn is_revoked(&self, at: Timestamp) -> bool {
        is_revoked_file(self.file) || self.timing.revoke.is_some_and(|revoke| revoke <= at)
    }

    /// The DNSKEY in the bundle that begins at `at`.
    pub fn dnskey(&self, at: Timestamp) -> Dnskey {
        let flags = self.file.dnskey.flags | if self.is_revoked(at) { FLAG_REVOKE } else { 0 };
        Dnskey { flags, ..self.file.dnskey.clone() }
    }

    /// True when the key can lead a resolver to the zone in the bundle that begins at `at`: active, and not revoked.
    fn is_active(&self, at: Timestamp) -> bool {
        let t = &self.timing;
        !self.is_revoked(at)
            && t.activate.is_none_or(|activate| activate <= at)
            && t.inactive.is_none_or(|inactive| at <= inactive)
    }

    /// Has CDS and CDNSKEY in the bundle that begins at `at`.
    pub fn is_synced(&self, at: Timestamp) -> bool {
        let t = &self.timing;
        t.sync_publish.is_none_or(|publish| publish <= at)
            && t.sync_delete.is_none_or(|delete| at < delete)
            && (!self.signs_early || self.is_published(at))
            && !self.is_revoked(at)
    }
}

/// True when the REVOKE flag is in the key file itself, as `dnssec-revoke` sets it.
pub(crate) fn is_revoked_file(file: &KeyFile) -> bool {
    file.dnskey.flags & FLAG_REVOKE != 0
}

/// True when `ksk` signs the DNSKEY RRset of the bundle that begins at `at`, the second of Inactive included.
pub(crate) fn signs(ksk: &KskSchedule<'_>, all: &[KskSchedule<'_>], at: Timestamp) -> bool {
    signs_as_anchor(ksk, all, at) || (ksk.is_revoked(at) && ksk.is_published(at))
}

/// True when `ksk` also signs it as a key that a resolver can trust: not a revoked one.
pub(crate) fn signs_as_anchor(ksk: &KskSchedule<'_>, all: &[KskSchedule<'_>], at: Timestamp) -> bool {
    (ksk.is_active(at) && (!ksk.signs_early || ksk.is_published(at)))
        || (ksk.signs_early
            && ksk.is_published(at)
            && !ksk.is_revoked(at)
            && all.iter().any(|other| other.is_active(at)))
}

/// Uses the KSKs by the times in their key files alone, as `dnssec-ksr` does.
pub(crate) fn by_times<'a>(ksks: &[&'a KeyFile]) -> Vec<KskSchedule<'a>> {
    ksks.iter()
        .map(|file| KskSchedule { file, timing: file.timing, signs_early: false, held: false })
        .collect()
}

/// What [`by_parent`] needs beside the keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub zone: &'a Name,
    pub policy: &'a Policy,
    pub ksr: &'a Ksr,
    /// The DNSKEY RRset in force when the KSR begins, by the SKR before; empty = not known.
    pub before: &'a [Dnskey],
    pub parent: Option<&'a ParentDs>,
}

impl Circumstances<'_> {
    fn from(&self) -> Timestamp {
        self.ksr.bundles.first().map_or(Timestamp::EPOCH, |bundle| bundle.inception)
    }

    /// True when nobody says that `key` is still in use: neither the SKR before has it nor the parent its DS.
    pub fn is_gone(&self, key: &KeyFile) -> bool {
        key.timing.delete.is_some_and(|delete| delete <= self.from())
            && !self.before.iter().any(|before| is_same_key(before, &key.dnskey))
            && !self.parent.is_some_and(|parent| parent.has(self.zone, key))
    }

    /// The first second at or after `at` when the request has a ZSK of `algorithm`; `None` = never.
    fn enters(&self, algorithm: Algorithm, at: Timestamp) -> Option<Timestamp> {
        self.first(at, |keys| keys.iter().any(|key| key.algorithm == algorithm))
    }

    /// The first second at or after `at` when the request has no ZSK of `algorithm`; `None` = never.
    fn leaves(&self, algorithm: Algorithm, at: Timestamp) -> Option<Timestamp> {
        self.first(at, |keys| keys.iter().all(|key| key.algorithm != algorithm))
    }

    /// The first second at or after `at` when the ZSKs of the request are `such`.
    fn first(&self, at: Timestamp, such: impl Fn(&[Dnskey]) -> bool) -> Option<Timestamp> {
        let now = self.ksr.bundles.partition_point(|bundle| bundle.inception <= at).saturating_sub(1);
        // An empty bundle says nothing; KSR-EMPTY does.
        let bundle = self.ksr.bundles[now.min(self.ksr.bundles.len())..]
            .iter()
            .find(|bundle| bundle.keys.is_empty() || such(&bundle.keys))?;
        Some(bundle.inception.max(at))
    }

    /// The times of a KSK until its successor comes: an algorithm enters the DNSKEY RRset by KSK and ZSK in the same second, and CDS
    /// names no key that is not there, nor one of a new algorithm before all caches know the zone as signed with it.
    fn entry(&self, file: &KeyFile) -> Timing {
        let mut timing = file.timing;
        let algorithm = file.dnskey.algorithm;
        let from = self.from();
        let known = self.before.is_empty() || self.before.iter().any(|key| key.algorithm == algorithm);
        let enters = match self.enters(algorithm, from) {
            Some(at) if at > from || !known => Some(at),
            _ => None,
        };
        if let Some(at) = enters {
            let publish = timing.publish.map_or(at, |publish| publish.max(at));
            let signed = u64::from(self.policy.effective_max_zone_ttl())
                + u64::from(self.policy.zone_propagation_delay);
            let safe = publish.plus(self.policy.prepublication()).plus(signed);
            timing.publish = Some(publish);
            timing.activate = timing.activate.map(|activate| activate.max(publish));
            timing.sync_publish = Some(timing.sync_publish.map_or(safe, |sync| sync.max(safe)));
        }
        timing.sync_publish = timing.sync_publish.max(timing.publish);
        timing
    }
}

/// Uses the KSKs by their times and by what the parent has. A KSK that [is gone](Circumstances::is_gone) goes by its times.
pub(crate) fn by_parent<'a>(ksks: &[&'a KeyFile], about: Circumstances<'_>) -> Vec<KskSchedule<'a>> {
    let Circumstances { zone, policy, parent, .. } = about;
    let one = |file: &'a KeyFile| {
        let mut timing = about.entry(file);
        let gone = about.is_gone(file);
        if is_revoked_file(file) {
            // That cannot be taken back.
            return KskSchedule { file, timing, signs_early: !gone, held: false };
        }
        let leaves = timing.revoke.or(timing.inactive).or(timing.delete).is_some();
        let after = || {
            let is_other = |k: &&&KeyFile| k.dnskey != file.dnskey && !is_revoked_file(k);
            ksks.iter().filter(is_other).filter(|k| outlives(&k.timing, &file.timing))
        };
        // Without any other KSK nothing is rolled; then a KSK that ends is a lack of KSKs, and told as that.
        if gone || !leaves || !ksks.iter().any(|k| k.dnskey != file.dnskey) {
            return KskSchedule { file, timing, signs_early: !gone, held: false };
        }
        // CDS asks for the old DS until it asks for the new one, and no longer.
        let asks_no_more = timing.sync_delete.or(timing.inactive).or(timing.revoke).or(timing.delete);
        let successor_asks = after().map(|k| about.entry(k).sync_publish).min().flatten();
        timing.sync_delete = asks_no_more.max(successor_asks);
        let may_leave = parent.filter(|parent| {
            let is_successor = |k: &&KeyFile| {
                parent.has(zone, k)
                    && (k.dnskey.algorithm == file.dnskey.algorithm || !parent.has(zone, file))
            };
            after().any(is_successor)
        });
        let delay = u64::from(policy.parent_propagation_delay)
            + u64::from(policy.parent_ds_ttl)
            + u64::from(policy.retire_safety);
        // Until it leaves, or is revoked, it signs: its DS may be all that a resolver has.
        let planned = timing.revoke.or(timing.delete).or(timing.inactive);
        let mut leave = may_leave.map(|parent| parent.seen.plus(delay).max(planned.unwrap_or(parent.seen)));
        let held = leave.is_none();
        // The last KSK of an algorithm leaves with its ZSKs, in the same second.
        let algorithm = file.dnskey.algorithm;
        if !after().any(|k| k.dnskey.algorithm == algorithm) {
            leave = leave.and_then(|at| about.leaves(algorithm, at));
        }
        timing.inactive = leave.map(|at| at.minus(1));
        timing.delete = match timing.revoke {
            // A revoked key stays for as long as was planned (RFC 5011 section 6.2), however late it was revoked.
            Some(revoke) => timing.delete.zip(leave).map(|(delete, at)| at.plus(delete.since(revoke))),
            None => leave,
        };
        timing.revoke = timing.revoke.and(leave);
        KskSchedule { file, timing, signs_early: true, held }
    };
    ksks.iter().map(|file| one(file)).collect()
}

/// The first bundle in which an algorithm has KSKs and no ZSK, or ZSKs and no KSK that signs (RFC 4035 section 2.2): what is wrong.
/// Zones of one algorithm that is the same for both never have this fault.
pub(crate) fn one_sided(
    policy: &Policy,
    ksks: &[KskSchedule<'_>],
    zsks: &[Dnskey],
    at: Timestamp,
) -> Option<String> {
    let there: Vec<Algorithm> = ksks
        .iter()
        .filter(|k| k.is_published(at) && !k.is_revoked(at))
        .map(|k| k.file.dnskey.algorithm)
        .collect();
    // A bundle without KSK is KSR-NO-KSK, an algorithm that the policy does not have KSR-KEY-ALGORITHM.
    let asked_for = |zsk: &&Dnskey| policy.keys.iter().any(|entry| entry.algorithm == zsk.algorithm);
    if there.is_empty() || !zsks.iter().any(|zsk| asked_for(&zsk)) {
        return None;
    }
    if let Some(zsk) = zsks.iter().filter(asked_for).find(|zsk| !there.contains(&zsk.algorithm)) {
        return Some(format!(
            "ZSKs of algorithm {} and no KSK of it: validators that look for each algorithm (RFC 4035 section 2.2) find none; make that KSK, or take the ZSK out of the request",
            zsk.algorithm
        ));
    }
    let alone = there.iter().find(|algorithm| !zsks.iter().any(|zsk| zsk.algorithm == **algorithm))?;
    Some(format!(
        "a KSK of algorithm {alone} and no ZSK of it, while the parent or a cache may still have its DS: the zone is bogus where each algorithm of the DS is asked for; the request must have that ZSK until the parent was seen without this DS, and the delays are over"
    ))
}

/// One key, revoked or not.
pub(crate) fn is_same_key(a: &Dnskey, b: &Dnskey) -> bool {
    (a.algorithm, &a.public_key) == (b.algorithm, &b.public_key)
}

/// `a` goes on after `b` has become inactive or was revoked.
fn outlives(a: &Timing, b: &Timing) -> bool {
    let end =
        |t: &Timing| [t.revoke, t.inactive, t.delete].into_iter().flatten().min().unwrap_or(Timestamp::MAX);
    end(a) > end(b)
}
