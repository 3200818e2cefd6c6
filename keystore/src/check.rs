//! The checks of KSRs, SKRs, schedules and trust anchors, by their stable IDs.
//!
//! The same ID stands in the error, the log, the label of the metric, the audit log and the manual. A check that is not in the list
//! below has no ID, and an ID that is mistyped does not compile.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! check_ids {
    ($($name:ident = $id:literal,)*) => {
        /// The stable ID of a check: `SKR-…` for responses, `KSR-…` for requests, `PROVE-…` for the proof over caches, `ANCHOR-…`
        /// for trust anchors.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum CheckId {
            $(#[doc = concat!("`", $id, "`")] $name,)*
        }

        impl CheckId {
            /// Every ID once.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The ID as it is written in messages, labels and the manual.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)*
                }
            }
        }
    };
}

check_ids! {
    SkrAlgorithm = "SKR-ALGORITHM",
    SkrBadSignature = "SKR-BAD-SIGNATURE",
    SkrCds = "SKR-CDS",
    SkrClass = "SKR-CLASS",
    SkrCollision = "SKR-COLLISION",
    SkrDuplicate = "SKR-DUPLICATE",
    SkrExpired = "SKR-EXPIRED",
    SkrGap = "SKR-GAP",
    SkrHorizon = "SKR-HORIZON",
    SkrIo = "SKR-IO",
    SkrKey = "SKR-KEY",
    SkrKeyset = "SKR-KEYSET",
    SkrLimits = "SKR-LIMITS",
    SkrNoPrivateKey = "SKR-NO-PRIVATE-KEY",
    SkrNotAsked = "SKR-NOT-ASKED",
    SkrNotYet = "SKR-NOT-YET",
    SkrOperator = "SKR-OPERATOR",
    SkrOrder = "SKR-ORDER",
    SkrOverlap = "SKR-OVERLAP",
    SkrParentDs = "SKR-PARENT-DS",
    SkrProve = "SKR-PROVE",
    SkrReplay = "SKR-REPLAY",
    SkrSyntax = "SKR-SYNTAX",
    SkrTruncated = "SKR-TRUNCATED",
    SkrTtl = "SKR-TTL",
    SkrType = "SKR-TYPE",
    SkrUnknownKey = "SKR-UNKNOWN-KEY",
    SkrUnknownKsk = "SKR-UNKNOWN-KSK",
    SkrUnsafe = "SKR-UNSAFE",
    SkrValidity = "SKR-VALIDITY",
    SkrVerify = "SKR-VERIFY",
    SkrWrongZone = "SKR-WRONG-ZONE",
    KsrAlgorithmSet = "KSR-ALGORITHM-SET",
    KsrBeyondEnd = "KSR-BEYOND-END",
    KsrBundleCount = "KSR-BUNDLE-COUNT",
    KsrBundleCycleDuration = "KSR-BUNDLE-CYCLE-DURATION",
    KsrBundleKeys = "KSR-BUNDLE-KEYS",
    KsrBundlePop = "KSR-BUNDLE-POP",
    KsrBundleUnique = "KSR-BUNDLE-UNIQUE",
    KsrCdsDelete = "KSR-CDS-DELETE",
    KsrChainKeys = "KSR-CHAIN-KEYS",
    KsrChainOverlap = "KSR-CHAIN-OVERLAP",
    KsrChainSkr = "KSR-CHAIN-SKR",
    KsrClass = "KSR-CLASS",
    KsrClock = "KSR-CLOCK",
    KsrDomain = "KSR-DOMAIN",
    KsrEmpty = "KSR-EMPTY",
    KsrEnd = "KSR-END",
    KsrHorizon = "KSR-HORIZON",
    KsrId = "KSR-ID",
    KsrKey = "KSR-KEY",
    KsrKeyAlgorithm = "KSR-KEY-ALGORITHM",
    KsrKeyCollision = "KSR-KEY-COLLISION",
    KsrKeyFlags = "KSR-KEY-FLAGS",
    KsrKeyInvalid = "KSR-KEY-INVALID",
    KsrKeyProtocol = "KSR-KEY-PROTOCOL",
    KsrKskHeld = "KSR-KSK-HELD",
    KsrKskLeft = "KSR-KSK-LEFT",
    KsrLimits = "KSR-LIMITS",
    KsrNoKsk = "KSR-NO-KSK",
    KsrOrder = "KSR-ORDER",
    KsrParentDs = "KSR-PARENT-DS",
    KsrPolicyAlg = "KSR-POLICY-ALG",
    KsrPolicyBundleIntervals = "KSR-POLICY-BUNDLE-INTERVALS",
    KsrPolicyKeys = "KSR-POLICY-KEYS",
    KsrPolicySafety = "KSR-POLICY-SAFETY",
    KsrPolicySigHorizon = "KSR-POLICY-SIG-HORIZON",
    KsrPolicySigOverlap = "KSR-POLICY-SIG-OVERLAP",
    KsrPolicySigValidity = "KSR-POLICY-SIG-VALIDITY",
    KsrPolicyTtl = "KSR-POLICY-TTL",
    KsrPopInvalid = "KSR-POP-INVALID",
    KsrPopMissing = "KSR-POP-MISSING",
    KsrProve = "KSR-PROVE",
    KsrSpan = "KSR-SPAN",
    KsrSyntax = "KSR-SYNTAX",
    KsrTruncated = "KSR-TRUNCATED",
    KsrTtl = "KSR-TTL",
    KsrType = "KSR-TYPE",
    KsrWrongZone = "KSR-WRONG-ZONE",
    ProveAlgorithm = "PROVE-ALGORITHM",
    ProveAlgorithmZone = "PROVE-ALGORITHM-ZONE",
    ProveCds = "PROVE-CDS",
    ProveDsEarly = "PROVE-DS-EARLY",
    ProveEarlyRemoval = "PROVE-EARLY-REMOVAL",
    ProveExpired = "PROVE-EXPIRED",
    ProveExpiredCached = "PROVE-EXPIRED-CACHED",
    ProveHoldDown = "PROVE-HOLD-DOWN",
    ProveKskBeforeDs = "PROVE-KSK-BEFORE-DS",
    ProveKskLate = "PROVE-KSK-LATE",
    ProveKskRemoved = "PROVE-KSK-REMOVED",
    ProveKskUnknown = "PROVE-KSK-UNKNOWN",
    ProveLatePublication = "PROVE-LATE-PUBLICATION",
    ProveLimits = "PROVE-LIMITS",
    ProveNoZsk = "PROVE-NO-ZSK",
    ProveNotYet = "PROVE-NOT-YET",
    ProveRevoked = "PROVE-REVOKED",
    ProveTagClash = "PROVE-TAG-CLASH",
    ProveTtl = "PROVE-TTL",
    ProveUnpublished = "PROVE-UNPUBLISHED",
    ProveUnsigned = "PROVE-UNSIGNED",
    AnchorKey = "ANCHOR-KEY",
    AnchorSyntax = "ANCHOR-SYNTAX",
    AnchorType = "ANCHOR-TYPE",
    AnchorWrongZone = "ANCHOR-WRONG-ZONE",
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl AsRef<str> for CheckId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// The IDs in their order, with `separator` between them.
#[must_use]
pub fn join(ids: &[CheckId], separator: &str) -> String {
    ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(separator)
}

/// No check has this ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no check has the ID {0:?}")]
pub struct UnknownCheckId(pub String);

impl FromStr for CheckId {
    type Err = UnknownCheckId;

    /// Reads an ID as a person types it: letter case does not count.
    fn from_str(text: &str) -> Result<Self, UnknownCheckId> {
        let found = Self::ALL.iter().find(|id| id.as_str().eq_ignore_ascii_case(text));
        found.copied().ok_or_else(|| UnknownCheckId(text.chars().take(40).collect()))
    }
}

impl Serialize for CheckId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for CheckId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A check: its ID, and what holds when it passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// The stable ID.
    pub id: CheckId,
    /// What holds when it passes, in one line.
    pub holds: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_unique_and_reads_back_in_any_letter_case() {
        for (i, id) in CheckId::ALL.iter().enumerate() {
            assert!(CheckId::ALL[..i].iter().all(|other| other.as_str() != id.as_str()), "{id}");
            assert_eq!(id.to_string().parse(), Ok(*id));
            assert_eq!(id.as_str().to_lowercase().parse(), Ok(*id));
        }
    }

    #[test]
    fn variant_is_named_after_its_id() {
        for id in CheckId::ALL {
            let squeezed = id.as_str().replace('-', "").to_lowercase();
            assert_eq!(format!("{id:?}").to_lowercase(), squeezed);
        }
    }

    #[test]
    fn unknown_id_is_refused_and_shortened() {
        for text in ["", "SKR", "SKR-", "SKR-GAPS", " SKR-GAP", &"x".repeat(1000)] {
            let error = text.parse::<CheckId>().expect_err(text);
            assert!(error.0.len() <= 40, "{error}");
        }
    }
}
