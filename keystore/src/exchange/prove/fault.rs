//! What can be wrong with a schedule: each with a stable ID and a sentence.

use crate::check::CheckId;
use std::fmt;

use crate::check::Check;
use crate::crypto::Algorithm;
use crate::keys::{Dnskey, FLAG_REVOKE};
use crate::time::Timestamp;

/// The IDs, in the order in which they are reported.
pub const CHECKS: &[Check] = &[
    Check { id: CheckId::ProveLimits, holds: "there are bundles, and not too many things to look at" },
    Check { id: CheckId::ProveNoZsk, holds: "at each second a ZSK signs" },
    Check { id: CheckId::ProveUnpublished, holds: "each ZSK that signs is in the bundles" },
    Check { id: CheckId::ProveLatePublication, holds: "each ZSK is in every cache before it signs" },
    Check {
        id: CheckId::ProveEarlyRemoval,
        holds: "each ZSK stays until the last signature by it has left the caches",
    },
    Check { id: CheckId::ProveUnsigned, holds: "a key signs each DNSKEY RRset" },
    Check { id: CheckId::ProveKskUnknown, holds: "the DS at the parent names keys of this schedule" },
    Check { id: CheckId::ProveKskLate, holds: "each KSK is in every cache before a DS names it alone" },
    Check {
        id: CheckId::ProveKskRemoved,
        holds: "each KSK stays and signs until no cache has a DS that names it alone",
    },
    Check { id: CheckId::ProveKskBeforeDs, holds: "no KSK signs alone before its DS is in every cache" },
    Check { id: CheckId::ProveRevoked, holds: "nothing in sight depends on a revoked key" },
    Check {
        id: CheckId::ProveHoldDown,
        holds: "a KSK is revoked after its successor was there for 30 days, and then stays for 30 (RFC 5011)",
    },
    Check {
        id: CheckId::ProveNotYet,
        holds: "signatures over the DNSKEY RRset are valid when it comes into force",
    },
    Check { id: CheckId::ProveExpired, holds: "they are valid for as long as it is in force" },
    Check {
        id: CheckId::ProveAlgorithm,
        holds: "each algorithm in the DS RRset signs DNSKEY RRset and zone",
    },
    Check { id: CheckId::ProveTagClash, holds: "no two keys in sight share tag and algorithm" },
    Check {
        id: CheckId::ProveCds,
        holds: "CDS and CDNSKEY name keys that are in the DNSKEY RRset, and one that signs it",
    },
    Check { id: CheckId::ProveTtl, holds: "the DNSKEY TTL is the planned one, and that of the signatures" },
    Check { id: CheckId::ProveExpiredCached, holds: "signatures also outlive the TTL of what they sign" },
    Check { id: CheckId::ProveAlgorithmZone, holds: "each algorithm in the DNSKEY RRset signs the zone" },
    Check { id: CheckId::ProveDsEarly, holds: "the parent may take the CDS as soon as they are there" },
];

/// A key, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyRef {
    /// Key tag.
    pub tag: u16,
    /// Number of the DNSSEC algorithm.
    pub algorithm: Algorithm,
    /// Flags of the DNSKEY record.
    pub flags: u16,
}

impl From<&Dnskey> for KeyRef {
    fn from(key: &Dnskey) -> Self {
        Self { tag: key.tag(), algorithm: key.algorithm, flags: key.flags }
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.flags & FLAG_REVOKE != 0 {
            f.write_str("revoked ")?;
        }
        write!(f, "{} {}", if self.flags & 1 != 0 { "KSK" } else { "ZSK" }, self.tag)
    }
}

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// At its second the answers of the zone do not validate for some resolver.
    Chain,
    /// A rule is broken; what comes of it is in the hands of others.
    Rule,
    /// Worth a look.
    Advice,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// No bundles, or more than can be looked at.
    Limits {
        /// Which of the two.
        what: &'static str,
    },
    /// No ZSK is active.
    NoZsk {
        /// By derived times: no ZSK safely can be.
        derived: bool,
    },
    /// A ZSK signs that no bundle has.
    Unpublished {
        /// The ZSK.
        key: KeyRef,
    },
    /// A ZSK signs, and caches may hold a DNSKEY RRset of before its publication.
    LatePublication {
        /// The ZSK.
        key: KeyRef,
        /// Inception of the bundle that lacks it.
        bundle: Timestamp,
        /// The last second when a resolver can have fetched that bundle's RRset.
        fetched: Timestamp,
    },
    /// A ZSK was removed, and signatures by it may still be in sight.
    EarlyRemoval {
        /// The ZSK.
        key: KeyRef,
        /// Inception of the bundle that lacks it.
        bundle: Timestamp,
        /// When the last signature by it leaves the caches.
        needed: Timestamp,
    },
    /// The DNSKEY RRset has no signature by any of its keys.
    Unsigned {
        /// Inception of the bundle.
        bundle: Timestamp,
    },
    /// The DS RRset names keys that no bundle has.
    KskUnknown {
        /// Tags in the DS RRset.
        tags: Vec<u16>,
    },
    /// The DS RRset names keys that came only after a DNSKEY RRset that may still be cached.
    KskLate {
        /// Tags in the DS RRset.
        tags: Vec<u16>,
        /// Inception of the bundle that lacks them.
        bundle: Timestamp,
        /// The last second when a resolver can have fetched that bundle's RRset.
        fetched: Timestamp,
    },
    /// A KSK left, or no longer signs, and a DS RRset in sight names no other.
    KskRemoved {
        /// Tags in the DS RRset.
        tags: Vec<u16>,
        /// Inception of the bundle.
        bundle: Timestamp,
        /// When that DS RRset leaves the caches.
        needed: Timestamp,
    },
    /// The DNSKEY RRset is signed only by keys that a DS RRset in sight does not name (yet).
    KskBeforeDs {
        /// Tags in the DS RRset.
        tags: Vec<u16>,
        /// Tags of the keys that sign.
        signers: Vec<u16>,
        /// Inception of the bundle.
        bundle: Timestamp,
    },
    /// What is in sight needs a key that is revoked.
    Revoked {
        /// The key as it was before.
        key: KeyRef,
        /// Inception of the bundle where it is revoked.
        bundle: Timestamp,
    },
    /// A revoked key does not sign, so that nobody may heed the revocation (RFC 5011 section 2.1).
    RevokedUnsigned {
        /// The key.
        key: KeyRef,
    },
    /// A KSK is revoked before resolvers that follow RFC 5011 trust another one (section 2.4.1).
    HoldDown {
        /// The revoked key.
        key: KeyRef,
        /// The KSK that has been there for the longest time.
        successor: KeyRef,
        /// Inception of the first bundle that has it, without a gap since.
        published: Timestamp,
        /// The first second when the other key may be revoked.
        earliest: Timestamp,
        /// The successor is in the first bundle of all, so that it may have been there before.
        maybe_before: bool,
    },
    /// A revoked key leaves before resolvers that follow RFC 5011 have seen it (section 2.4.2).
    RevokedRemoved {
        /// The key.
        key: KeyRef,
        /// The first second when it may leave.
        needed: Timestamp,
    },
    /// The bundle came into force before its signatures are valid.
    NotYet {
        /// Inception of the bundle.
        bundle: Timestamp,
        /// Begin of their validity.
        begins: Timestamp,
    },
    /// The signatures ended and the next bundle is not in force.
    Expired {
        /// Inception of the bundle.
        bundle: Timestamp,
        /// Inception of the next one.
        next: Timestamp,
    },
    /// The DS RRset has an algorithm that does not sign the DNSKEY RRset.
    DnskeyAlgorithm {
        /// The algorithm.
        algorithm: Algorithm,
        /// Inception of the bundle.
        bundle: Timestamp,
    },
    /// The DS RRset has an algorithm that does not sign the zone.
    DsAlgorithm {
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// Two keys share tag and algorithm.
    TagClash {
        /// One of the two keys.
        one: KeyRef,
        /// The other.
        other: KeyRef,
        /// In one RRset, not only in two that are in sight at one time.
        one_set: bool,
    },
    /// A CDS or CDNSKEY record names a key that the DNSKEY RRset lacks.
    CdsNoKey {
        /// Its tag.
        tag: u16,
    },
    /// A CDS or CDNSKEY record names a revoked key.
    CdsRevoked {
        /// Its tag.
        tag: u16,
    },
    /// No key that CDS or CDNSKEY name signs the DNSKEY RRset (RFC 7344 section 4.1, continuity).
    CdsNotSigning {
        /// Their tags.
        tags: Vec<u16>,
    },
    /// The TTL is not the planned one.
    TtlPlan {
        /// TTL, in seconds.
        ttl: u32,
        /// The plan.
        planned: u32,
    },
    /// The TTL is larger than that in the signatures (RFC 4035 section 5.3.3 lowers it; caches that do not validate keep it).
    TtlOverOriginal {
        /// TTL, in seconds.
        ttl: u32,
        /// Original TTL.
        original: u32,
    },
    /// The signature ends while secondaries or caches may still have the RRset.
    ExpiredCached {
        /// Inception of the first bundle with that fault.
        bundle: Timestamp,
        /// When the RRset leaves the caches.
        kept: Timestamp,
    },
    /// The DNSKEY RRset has an algorithm that does not sign the zone (RFC 4035 section 2.2; validators do not insist, RFC 6840
    /// section 5.11).
    ZoneAlgorithm {
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// A parent that takes the CDS at once breaks resolvers.
    DsEarly {
        /// Tags in the new DS RRset.
        tags: Vec<u16>,
        /// The first second when it is safe.
        earliest: Timestamp,
        /// The last second when it comes early enough for what the bundles do later, when that lies before.
        missed: Option<Timestamp>,
    },
}

impl Fault {
    /// The stable ID, `PROVE-…`.
    #[must_use]
    pub fn id(&self) -> CheckId {
        match self {
            Self::Limits { .. } => CheckId::ProveLimits,
            Self::NoZsk { .. } => CheckId::ProveNoZsk,
            Self::Unpublished { .. } => CheckId::ProveUnpublished,
            Self::LatePublication { .. } => CheckId::ProveLatePublication,
            Self::EarlyRemoval { .. } => CheckId::ProveEarlyRemoval,
            Self::Unsigned { .. } => CheckId::ProveUnsigned,
            Self::KskUnknown { .. } => CheckId::ProveKskUnknown,
            Self::KskLate { .. } => CheckId::ProveKskLate,
            Self::KskRemoved { .. } => CheckId::ProveKskRemoved,
            Self::KskBeforeDs { .. } => CheckId::ProveKskBeforeDs,
            Self::Revoked { .. } | Self::RevokedUnsigned { .. } => CheckId::ProveRevoked,
            Self::HoldDown { .. } | Self::RevokedRemoved { .. } => CheckId::ProveHoldDown,
            Self::NotYet { .. } => CheckId::ProveNotYet,
            Self::Expired { .. } => CheckId::ProveExpired,
            Self::DnskeyAlgorithm { .. } | Self::DsAlgorithm { .. } => CheckId::ProveAlgorithm,
            Self::TagClash { .. } => CheckId::ProveTagClash,
            Self::CdsNoKey { .. } | Self::CdsRevoked { .. } | Self::CdsNotSigning { .. } => CheckId::ProveCds,
            Self::TtlPlan { .. } | Self::TtlOverOriginal { .. } => CheckId::ProveTtl,
            Self::ExpiredCached { .. } => CheckId::ProveExpiredCached,
            Self::ZoneAlgorithm { .. } => CheckId::ProveAlgorithmZone,
            Self::DsEarly { .. } => CheckId::ProveDsEarly,
        }
    }

    /// What it means.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Limits { .. }
            | Self::CdsNoKey { .. }
            | Self::CdsRevoked { .. }
            | Self::CdsNotSigning { .. }
            | Self::HoldDown { maybe_before: false, .. } => FaultKind::Rule,
            Self::RevokedUnsigned { .. }
            | Self::RevokedRemoved { .. }
            | Self::HoldDown { maybe_before: true, .. }
            | Self::TtlPlan { .. }
            | Self::TtlOverOriginal { .. }
            | Self::ExpiredCached { .. }
            | Self::ZoneAlgorithm { .. }
            | Self::DsEarly { .. } => FaultKind::Advice,
            _ => FaultKind::Chain,
        }
    }

    /// Whether it hangs on when the parent changes the DS RRset.
    #[must_use]
    pub fn is_of_parent(&self) -> bool {
        matches!(
            self,
            Self::KskUnknown { .. }
                | Self::KskLate { .. }
                | Self::KskRemoved { .. }
                | Self::KskBeforeDs { .. }
        )
    }

    /// The same without what differs from bundle to bundle: findings of one subject are told once.
    pub(super) fn subject(&self) -> Self {
        const AT: Timestamp = Timestamp::EPOCH;
        let mut subject = self.clone();
        match &mut subject {
            Self::LatePublication { bundle, fetched: time, .. }
            | Self::KskLate { bundle, fetched: time, .. }
            | Self::EarlyRemoval { bundle, needed: time, .. }
            | Self::KskRemoved { bundle, needed: time, .. }
            | Self::ExpiredCached { bundle, kept: time } => (*bundle, *time) = (AT, AT),
            Self::Revoked { bundle, .. }
            | Self::KskBeforeDs { bundle, .. }
            | Self::DnskeyAlgorithm { bundle, .. } => *bundle = AT,
            Self::TagClash { one_set, .. } => *one_set = false,
            _ => {}
        }
        subject
    }
}

/// Tags for people: `1`, `1 and 2`.
struct Tags<'a>(&'a [u16]);

impl fmt::Display for Tags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, tag) in self.0.iter().enumerate() {
            let comma = match i {
                0 => "",
                _ if i + 1 == self.0.len() => " and ",
                _ => ", ",
            };
            write!(f, "{comma}{tag}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limits { what } => f.write_str(what),
            Self::NoZsk { derived: false } => {
                f.write_str("no ZSK is active, nothing can be signed anew; make a ZSK that follows, with keygen")
            }
            Self::NoZsk { derived: true } => f.write_str(
                "no ZSK of the bundles can sign: none has been published for long enough that also stays for long enough \
                 (their times were derived from the bundles; key files tell them exactly)",
            ),
            Self::Unpublished { key } => {
                write!(f, "{key} signs the zone, and no bundle has its DNSKEY; request it and have it signed")
            }
            Self::LatePublication { key, bundle, fetched } => write!(
                f,
                "a resolver that cached the DNSKEY RRset of bundle {bundle} at {fetched} sees signatures by {key}, which it lacks; \
                 publish the key earlier, or activate it later"
            ),
            Self::EarlyRemoval { key, bundle, needed } => write!(
                f,
                "a resolver with the DNSKEY RRset of bundle {bundle}, which no longer has {key}, sees signatures by that key; \
                 they may be in caches before {needed}, so the key has to stay until then"
            ),
            Self::Unsigned { bundle } => {
                write!(f, "no key signs the DNSKEY RRset of bundle {bundle}; the KSK was missing or inactive")
            }
            Self::KskUnknown { tags } => {
                write!(f, "the DS at the parent (tag {}) names no key of any bundle", Tags(tags))
            }
            Self::KskLate { tags, bundle, fetched } => ksk_late(f, tags, *bundle, *fetched),
            Self::KskRemoved { tags, bundle, needed } => ksk_removed(f, tags, *bundle, *needed),
            Self::KskBeforeDs { tags, signers, bundle } => ksk_before_ds(f, tags, signers, *bundle),
            Self::Revoked { key, bundle } => write!(
                f,
                "{key} is still needed, and a resolver with the DNSKEY RRset of bundle {bundle} finds it revoked"
            ),
            Self::RevokedUnsigned { key } => {
                write!(f, "{key} does not sign the DNSKEY RRset, so that its revocation counts for nobody")
            }
            Self::HoldDown { key, successor, published, earliest, maybe_before } => {
                write!(f, "{key} is revoked, and resolvers that follow RFC 5011 do not trust {successor} before {earliest}: ")?;
                hold_down(f, *published, *maybe_before)
            }
            Self::RevokedRemoved { key, needed } => write!(
                f,
                "{key} leaves before {needed}: resolvers that follow RFC 5011 may not have seen the revocation, and go on to trust it"
            ),
            Self::NotYet { bundle, begins } => write!(
                f,
                "bundle {bundle} comes into force, and the signatures over its DNSKEY RRset only begin at {begins}"
            ),
            Self::Expired { bundle, next } => write!(
                f,
                "the signatures over the DNSKEY RRset of bundle {bundle} have expired, and the next bundle begins at {next}"
            ),
            Self::DnskeyAlgorithm { algorithm, bundle } => write!(
                f,
                "the DS RRset has algorithm {algorithm}, and no key of it that a DS names signs the DNSKEY RRset of bundle {bundle}"
            ),
            Self::DsAlgorithm { algorithm } => {
                write!(f, "the DS RRset has algorithm {algorithm}, and no ZSK of it signs the zone")
            }
            Self::TagClash { one, other, one_set } => write!(
                f,
                "{one} and {other} have the same tag and algorithm, {}; make a new key in place of one",
                if *one_set { "in one DNSKEY RRset" } else { "in RRsets that may be in caches at one time" }
            ),
            Self::CdsNoKey { tag } => {
                write!(f, "CDS or CDNSKEY name tag {tag}, a key that is not in the DNSKEY RRset of the bundle")
            }
            Self::CdsRevoked { tag } => {
                write!(f, "CDS or CDNSKEY name tag {tag}, a revoked key, which no DS may name")
            }
            Self::CdsNotSigning { tags } => write!(
                f,
                "no key that CDS and CDNSKEY name (tag {}) signs the DNSKEY RRset: a parent that follows breaks the zone",
                Tags(tags)
            ),
            Self::TtlPlan { ttl, planned } => {
                write!(f, "the DNSKEY RRset has TTL {ttl} s; the policy's dnskey-ttl is {planned} s")
            }
            Self::TtlOverOriginal { ttl, original } => write!(
                f,
                "the DNSKEY RRset has TTL {ttl} s, more than the {original} s that its signatures were made for"
            ),
            Self::ExpiredCached { bundle, kept } => write!(
                f,
                "the signatures of bundle {bundle} have expired; secondaries that lag and caches that do not validate may have it \
                 before {kept}"
            ),
            Self::ZoneAlgorithm { algorithm } => {
                write!(f, "the DNSKEY RRset has keys of {algorithm}, and none of them signs the zone")
            }
            Self::DsEarly { tags, earliest, missed } => ds_early(f, tags, *earliest, *missed),
        }
    }
}

/// The sentence of [`Fault::KskLate`].
fn ksk_late(f: &mut fmt::Formatter<'_>, tags: &[u16], bundle: Timestamp, fetched: Timestamp) -> fmt::Result {
    write!(
        f,
        "the DS RRset names tag {} only, and a resolver may have cached the DNSKEY RRset of bundle {bundle} at {fetched}, which that key \
         does not sign; change the DS later",
        Tags(tags)
    )
}

/// The sentence of [`Fault::KskBeforeDs`].
fn ksk_before_ds(
    f: &mut fmt::Formatter<'_>,
    tags: &[u16],
    signers: &[u16],
    bundle: Timestamp,
) -> fmt::Result {
    write!(
        f,
        "the DNSKEY RRset of bundle {bundle} is signed by tag {} only, and a resolver may have a DS RRset that names tag {} only",
        Tags(signers),
        Tags(tags)
    )
}

/// The sentence of [`Fault::KskRemoved`].
fn ksk_removed(
    f: &mut fmt::Formatter<'_>,
    tags: &[u16],
    bundle: Timestamp,
    needed: Timestamp,
) -> fmt::Result {
    write!(
        f,
        "a resolver with a DS RRset that names tag {} only gets the DNSKEY RRset of bundle {bundle}, where that key is gone or does not \
         sign; ",
        Tags(tags)
    )?;
    match needed {
        Timestamp::EPOCH => f.write_str("nothing says that the DS at the parent ever changes"),
        needed => write!(f, "the DS may be in caches before {needed}"),
    }
}

/// The end of the sentence of [`Fault::HoldDown`].
fn hold_down(f: &mut fmt::Formatter<'_>, published: Timestamp, maybe_before: bool) -> fmt::Result {
    if maybe_before {
        write!(
            f,
            "the bundles show it from {published} on (those of before would tell whether it was there)"
        )?;
    } else {
        write!(f, "it was published at {published}, and their hold-down is 30 days")?;
    }
    f.write_str("; revoke it later")
}

/// The sentence of [`Fault::DsEarly`].
fn ds_early(
    f: &mut fmt::Formatter<'_>,
    tags: &[u16],
    earliest: Timestamp,
    missed: Option<Timestamp>,
) -> fmt::Result {
    write!(
        f,
        "CDS and CDNSKEY ask for a DS RRset with tag {}; the parent must not have it before {earliest}, as caches may hold a DNSKEY \
         RRset that those keys do not sign",
        Tags(tags)
    )?;
    let Some(missed) = missed else { return Ok(()) };
    let short = earliest.since(missed);
    write!(
        f,
        "; but the old key leaves so soon that the DS has to change by {missed}: no moment is safe for every cache; let the old key stay \
         {short} s longer"
    )
}

/// One fault and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFinding {
    /// What is wrong.
    pub fault: Fault,
    /// The first second of it.
    pub at: Timestamp,
    /// The first second after it, when it ends within the coverage.
    pub until: Option<Timestamp>,
    /// It begins while the last bundle is in force: an SKR that follows in time may heal it.
    pub in_last_bundle: bool,
}

impl ProofFinding {
    /// True when the schedule should not be used: the zone breaks before the last bundle begins, or a rule is broken.
    #[must_use]
    pub fn rejects(&self) -> bool {
        self.fault.kind() != FaultKind::Advice && !self.in_last_bundle
    }

    /// The sentence, without ID and time.
    #[must_use]
    pub fn what(&self) -> String {
        let healed = self.in_last_bundle && self.fault.kind() == FaultKind::Chain;
        format!("{}{}", self.fault, if healed { "; a newer SKR must be in force by then" } else { "" })
    }
}

impl fmt::Display for ProofFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.fault.id(), self.at.iso(), self.what())
    }
}
