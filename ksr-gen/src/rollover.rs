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

use keystore::dns::presentation::Entries;
use keystore::dns::{Name, Rtype};
use keystore::exchange::TrustAnchor;
use keystore::keys::{KeyFile, Timing};
use keystore::policy::Policy;
use keystore::time::Timestamp;

/// The DS RRset that the parent was seen to have, or the operator's word for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentDs {
    /// Its records, or the keys that they name.
    pub ds: Vec<TrustAnchor>,
    /// When it was seen. What it replaced may be in caches for the DS TTL from then on.
    pub seen: Timestamp,
}

/// Why a file is no DS RRset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParentDsError {
    /// It does not read as records.
    #[error("line {line}: {what}")]
    Syntax {
        /// The line.
        line: u32,
        /// Why.
        what: String,
    },
    /// A record of another zone.
    #[error("line {line}: DS of {owner}, where {zone} was expected")]
    WrongZone {
        /// The line.
        line: u32,
        /// Whose it is.
        owner: Name,
        /// Whose it should be.
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
        for entry in Entries::new(text.as_bytes()) {
            let entry =
                entry.map_err(|e| ParentDsError::Syntax { line: e.line, what: e.what.to_string() })?;
            if entry.tokens.is_empty() {
                continue;
            }
            let line = entry.line;
            let record =
                entry.record(None, None).map_err(|e| ParentDsError::Syntax { line, what: e.to_string() })?;
            match record.rtype {
                Rtype::RRSIG => continue,
                Rtype::DS if record.owner == *zone => ds.push(TrustAnchor::Ds(record.rdata)),
                Rtype::DS => {
                    return Err(ParentDsError::WrongZone { line, owner: record.owner, zone: zone.clone() });
                }
                other => {
                    let what = format!("type {other}, where DS was expected");
                    return Err(ParentDsError::Syntax { line, what });
                }
            }
        }
        if ds.is_empty() { Err(ParentDsError::Empty(zone.clone())) } else { Ok(Self { ds, seen }) }
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

/// When a KSK is in the DNSKEY RRset, signs it, and is named by CDS and CDNSKEY.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use<'a> {
    pub file: &'a KeyFile,
    /// The times that count; those of the file, but for what the parent holds back.
    pub timing: Timing,
    /// It signs from when it is published.
    signs_early: bool,
    /// It stays longer than its file says, because the parent was not seen to have its successor's DS.
    pub held: bool,
}

impl Use<'_> {
    /// Published in the bundle that begins at `at`; as for BIND, a time that is not set does not count.
    pub fn is_published(&self, at: Timestamp) -> bool {
        let t = &self.timing;
        t.publish.is_none_or(|publish| publish <= at) && t.delete.is_none_or(|delete| at < delete)
    }

    fn is_active(&self, at: Timestamp) -> bool {
        let t = &self.timing;
        t.activate.is_none_or(|activate| activate <= at) && t.inactive.is_none_or(|inactive| at <= inactive)
    }

    /// Has CDS and CDNSKEY in the bundle that begins at `at`.
    pub fn is_synced(&self, at: Timestamp) -> bool {
        let t = &self.timing;
        t.sync_publish.is_none_or(|publish| publish <= at) && t.sync_delete.is_none_or(|delete| at < delete)
    }
}

/// True when `ksk` signs the bundle that begins at `at`, the second of Inactive included.
pub(crate) fn signs(ksk: &Use<'_>, all: &[Use<'_>], at: Timestamp) -> bool {
    ksk.is_active(at)
        || (ksk.signs_early && ksk.is_published(at) && all.iter().any(|other| other.is_active(at)))
}

/// By the times in the key files alone, as `dnssec-ksr` does.
pub(crate) fn by_times<'a>(ksks: &[&'a KeyFile]) -> Vec<Use<'a>> {
    ksks.iter().map(|file| Use { file, timing: file.timing, signs_early: false, held: false }).collect()
}

/// With what the parent has. `from` is the first inception: a KSK whose Delete lies before it is gone, unless `kept` says that the SKR
/// before still has it.
pub(crate) fn by_parent<'a>(
    zone: &Name,
    policy: &Policy,
    ksks: &[&'a KeyFile],
    parent: Option<&ParentDs>,
    from: Timestamp,
    kept: impl Fn(&KeyFile) -> bool,
) -> Vec<Use<'a>> {
    let one = |file: &'a KeyFile| {
        let mut timing = file.timing;
        let gone = timing.delete.is_some_and(|delete| delete <= from) && !kept(file);
        let leaves = timing.inactive.is_some() || timing.delete.is_some();
        let is_other = |other: &&&KeyFile| other.dnskey != file.dnskey;
        // Without any other KSK nothing is rolled; then a KSK that ends is a lack of KSKs, and told as that.
        if gone || !leaves || !ksks.iter().any(|k| is_other(&k)) {
            return Use { file, timing, signs_early: !gone, held: false };
        }
        let may_leave = parent.filter(|parent| {
            let is_successor = |k: &&&KeyFile| {
                is_other(k)
                    && parent.has(zone, k)
                    && (k.dnskey.algorithm == file.dnskey.algorithm || !parent.has(zone, file))
                    && outlives(&k.timing, &file.timing)
            };
            ksks.iter().any(|k| is_successor(&k))
        });
        let delay = u64::from(policy.parent_propagation_delay)
            + u64::from(policy.parent_ds_ttl)
            + u64::from(policy.retire_safety);
        // Until it leaves it signs: its DS may be all that a resolver has.
        let planned = timing.delete.or(timing.inactive);
        let leave = may_leave.map(|parent| parent.seen.plus(delay).max(planned.unwrap_or(parent.seen)));
        let held = leave.is_none();
        timing.inactive = leave.map(|at| at.minus(1));
        timing.delete = leave;
        Use { file, timing, signs_early: true, held }
    };
    ksks.iter().map(|file| one(file)).collect()
}

/// `a` goes on after `b` has become inactive.
fn outlives(a: &Timing, b: &Timing) -> bool {
    let end = |t: &Timing| t.inactive.or(t.delete).unwrap_or(Timestamp::MAX);
    end(a) > end(b)
}
