//! What the checks of a request find, how much each finding weighs, and what the operator may waive.

use std::fmt;

use keystore::check::CheckId;
use keystore::time::Timestamp;

/// What one check found in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KsrFinding {
    /// The check.
    pub id: CheckId,
    /// Inception of the first bundle that is affected.
    pub bundle: Option<Timestamp>,
    /// What is wrong, and what to do as far as that is no matter of options.
    pub what: String,
    /// What else the ceremony could be given to mend it.
    pub advice: Option<Advice>,
    /// Whether the request is refused for it.
    pub severity: KsrSeverity,
}

/// Whether a request is refused for a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KsrSeverity {
    /// Worth a look; the request can be signed.
    Note,
    /// The operator has waived this check.
    Waived(Waiver),
    /// Refused; the operator may waive this check.
    Waivable(Waiver),
    /// Refused, and nothing can be waived.
    Refused,
}

/// What would mend a finding. The command line tells the options for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Give the end of the request, where it is known.
    GiveEnd(Option<Timestamp>),
    /// Give the key folder with the KSKs.
    GiveKskFolder,
    /// Make a KSK for this time.
    MakeKsk,
    /// Let the KSK begin at this time, or ask for a request that begins when the KSK does.
    MoveKskTimes(Timestamp),
    /// Give what the parent has.
    GiveParentDs,
    /// Give the SKR before.
    GivePrevious,
    /// Say that the ZSK with this tag may be new.
    NameNewZsk(u16),
    /// Say that the ZSK with this tag may be missing.
    NameGoneZsk(u16),
    /// Give the delays of the signer of the zone, in the policy and as the time that it takes to re-sign.
    GiveSignerDelays,
    /// Give the SKR before, or what the parent has.
    GivePreviousOrParentDs,
}

/// A check that the operator may waive: what BIND would sign, and is refused here by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Waiver {
    /// DNSKEYs with flags other than 256.
    ForeignFlags,
    /// DNSKEYs of an algorithm or size that the policy has no ZSK entry for.
    ForeignAlgorithms,
    /// Bundles without an active KSK, which come out unsigned.
    Unsigned,
    /// Keys without SEP flag or KSK role in the key folder act as KSKs.
    ZskAsKsk,
    /// KSR bundles that begin after the end; those that nothing follows are left out.
    BeyondEnd,
    /// Two keys of one bundle with the same tag.
    TagCollision,
    /// KSKs come and go by the times in their files, whatever the parent has.
    UnconfirmedKskRoll,
    /// An end far behind the request, or far in the future.
    LongSpan,
    /// A request that does not follow the SKR before.
    BrokenChain,
    /// An SKR that does not prove good for every cache at every second.
    Unproven,
    /// Keys without proof of possession. A proof that is there and wrong is never waived.
    NoPossession,
}

/// A set of [`Waiver`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waivers(u32);

impl Waivers {
    /// Nothing is waived.
    pub const NONE: Self = Self(0);

    /// This set and one more waiver.
    #[must_use]
    pub const fn with(self, waiver: Waiver) -> Self {
        Self(self.0 | 1 << waiver as u32)
    }

    /// Whether the check is waived.
    #[must_use]
    pub const fn contains(self, waiver: Waiver) -> bool {
        self.0 & 1 << waiver as u32 != 0
    }
}

impl FromIterator<Waiver> for Waivers {
    fn from_iter<I: IntoIterator<Item = Waiver>>(waivers: I) -> Self {
        waivers.into_iter().fold(Self::NONE, Self::with)
    }
}

impl KsrFinding {
    /// True when the request is refused for it.
    #[must_use]
    pub const fn refuses(&self) -> bool {
        matches!(self.severity, KsrSeverity::Waivable(_) | KsrSeverity::Refused)
    }

    /// The waiver with which the request is signed nonetheless.
    #[must_use]
    pub const fn waiver(&self) -> Option<Waiver> {
        match self.severity {
            KsrSeverity::Waived(waiver) | KsrSeverity::Waivable(waiver) => Some(waiver),
            KsrSeverity::Note | KsrSeverity::Refused => None,
        }
    }

    /// Adds what would mend it.
    pub(crate) fn advise(&mut self, advice: Advice) {
        self.advice = Some(advice);
    }
}

impl fmt::Display for KsrFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.id)?;
        if let Some(bundle) = self.bundle {
            write!(f, "bundle {bundle} ({}): ", bundle.ctime())?;
        }
        f.write_str(&self.what)
    }
}

/// Collects findings under the waivers of the operator.
#[derive(Debug)]
pub(crate) struct Findings {
    waivers: Waivers,
    pub(crate) all: Vec<KsrFinding>,
}

impl Findings {
    pub(crate) const fn new(waivers: Waivers) -> Self {
        Self { waivers, all: Vec::new() }
    }

    /// The request can be signed.
    pub(crate) fn note(&mut self, id: CheckId, bundle: Option<Timestamp>, what: String) -> &mut KsrFinding {
        self.put(id, bundle, what, KsrSeverity::Note)
    }

    /// The request is refused.
    pub(crate) fn refuse(&mut self, id: CheckId, bundle: Option<Timestamp>, what: String) -> &mut KsrFinding {
        self.put(id, bundle, what, KsrSeverity::Refused)
    }

    /// The request is refused, if the operator has not waived this check.
    pub(crate) fn refuse_unless(
        &mut self,
        waiver: Waiver,
        id: CheckId,
        bundle: Option<Timestamp>,
        what: String,
    ) -> &mut KsrFinding {
        let waived = self.waivers.contains(waiver);
        let severity = if waived { KsrSeverity::Waived(waiver) } else { KsrSeverity::Waivable(waiver) };
        self.put(id, bundle, what, severity)
    }

    fn put(
        &mut self,
        id: CheckId,
        bundle: Option<Timestamp>,
        what: String,
        severity: KsrSeverity,
    ) -> &mut KsrFinding {
        let at = self.all.len();
        self.all.push(KsrFinding { id, bundle, what, advice: None, severity });
        &mut self.all[at]
    }
}
