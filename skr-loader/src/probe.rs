//! Asks a server over DNS what it serves, and holds that against a bundle.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::ask::{AnswerFault, AskError, Asker, Rcode, RrsetAnswer};
use keystore::dns::rrsig;
use keystore::dns::{Name, Rrset, Rtype};
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::time::Timestamp;

/// How long one proof may take with all its questions.
const WHOLE_PROOF: Duration = Duration::from_secs(10);
/// Most signatures over one RRset that are verified.
const MAX_SIGNATURES: usize = 16;

/// How long after a signature is due for renewal it may still be served, in seconds.
const GRACE: u64 = 30;
const EXPIRED: &str = "it has expired, or is not valid yet";

/// What a server was proven to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedProof {
    /// The RRsets of the bundle with its very signatures.
    Exactly,
    /// The RRsets of the bundle with older signatures of the same keys, due for renewal then: named keeps those that it has until
    /// they are due, whatever it is given.
    Still(Timestamp),
}

/// What is wrong with what a server serves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// There is no answer that could be used.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// An RRset is not that of the bundle.
    #[error(
        "the {rtype} RRset that is served is not that of the bundle of {bundle} ({missing} records missing, {extra} more)"
    )]
    Differs {
        /// Its type.
        rtype: Rtype,
        /// Inception of the bundle.
        bundle: Timestamp,
        /// Records of the bundle that are not served.
        missing: usize,
        /// Records that are served and not of the bundle.
        extra: usize,
    },
    /// A signature of the bundle is not served, and none that is not due for renewal: the server is still on another bundle.
    #[error(
        "the signature of key {key_tag} over {rtype} is not that of the bundle of {bundle}, and is due for renewal or missing"
    )]
    OtherSignature {
        /// The covered type.
        rtype: Rtype,
        /// The key.
        key_tag: u16,
        /// Inception of the bundle.
        bundle: Timestamp,
    },
    /// There is no signature that a validator would take.
    #[error("no signature over {rtype} by a key of the bundle is valid now: {what}")]
    NotValid {
        /// The covered type.
        rtype: Rtype,
        /// What is wrong with the last one that was looked at.
        what: &'static str,
        /// Its time is over, or has not come.
        expired: bool,
    },
}

/// Asks one server.
#[derive(Debug, Clone)]
pub struct Probe(Asker);

impl ProofError {
    /// True when an RRset of the bundle is served without one of its signatures that a validator would take, or the zone not at all.
    #[must_use]
    pub const fn lacks_signatures(&self) -> bool {
        match self {
            Self::OtherSignature { .. } | Self::Ask(AskError::BadAnswer { .. }) => true,
            Self::NotValid { rtype, .. } => rtype.0 != Rtype::SOA.0,
            Self::Ask(_) | Self::Differs { .. } => false,
        }
    }

    /// True when every validating resolver fails now, and the server does not mend it by itself: it cannot answer for a zone that it has, or
    /// it serves an RRset of the bundle with signatures that were made for another one.
    #[must_use]
    pub const fn is_bogus(&self) -> bool {
        match self {
            Self::Ask(AskError::BadAnswer { fault: AnswerFault::Rcode(rcode), .. }) => {
                matches!(*rcode, Rcode::SERVFAIL)
            }
            Self::NotValid { rtype, expired, .. } => rtype.0 != Rtype::SOA.0 && !*expired,
            _ => false,
        }
    }

    /// True when what is served was good once and the server should have renewed it.
    #[must_use]
    pub const fn is_overdue(&self) -> bool {
        match self {
            Self::OtherSignature { .. } => true,
            Self::NotValid { expired, .. } => *expired,
            Self::Ask(_) | Self::Differs { .. } => false,
        }
    }
}

impl Probe {
    /// A probe of `server` that asks from `source`.
    #[must_use]
    pub const fn new(server: SocketAddr, source: Option<IpAddr>) -> Self {
        Self(Asker::new(server, source))
    }

    /// A probe of a resolver.
    #[must_use]
    pub const fn of_resolver(server: SocketAddr) -> Self {
        Self(Asker::of_resolver(server))
    }

    /// Asks for the DS RRset of `zone` until `until`: the RRset, empty when there is none, and whether the resolver has validated it.
    pub fn ds(&self, zone: &Name, until: Instant) -> Result<(Rrset, bool), ProofError> {
        let answer = self.0.ask(zone, Rtype::DS, until)?;
        Ok((answer.rrset, answer.authentic))
    }

    /// Proves that the server serves `bundle` at `now`: DNSKEY, CDNSKEY and CDS are the RRsets of the bundle with signatures that
    /// are valid now, and the SOA is signed by a key of the bundle. The signatures are those of the bundle, or older ones with more
    /// than `refresh` seconds to live, which is when named renews them.
    pub fn prove(
        &self,
        zone: &Name,
        bundle: &Bundle,
        refresh: u64,
        now: Timestamp,
    ) -> Result<ServedProof, ProofError> {
        let keys: Vec<Dnskey> = bundle.keys().collect();
        let until = Instant::now() + WHOLE_PROOF;
        let mut served_is = ServedProof::Exactly;
        for (rtype, rrset) in [
            (Rtype::DNSKEY, Some(&*bundle.dnskey)),
            (Rtype::CDNSKEY, bundle.cdnskey.as_deref()),
            (Rtype::CDS, bundle.cds.as_deref()),
        ] {
            let answer = self.0.ask(zone, rtype, until)?;
            let expected = rrset.map(Rrset::canonical_rdatas).unwrap_or_default();
            let served = answer.rrset.canonical_rdatas();
            if expected != served {
                let missing = expected.iter().filter(|r| !served.contains(r)).count();
                let extra = served.iter().filter(|r| !expected.contains(r)).count();
                return Err(ProofError::Differs { rtype, bundle: bundle.inception, missing, extra });
            }
            if expected.is_empty() {
                continue;
            }
            check_signatures(&answer, zone, &keys, now)?;
            for own in
                bundle.signatures.iter().filter(|s| s.covered == rtype && !answer.signatures.contains(s))
            {
                let due = answer
                    .signatures
                    .iter()
                    .filter(|s| (s.key_tag, s.algorithm) == (own.key_tag, own.algorithm))
                    .map(|s| s.expires(now).minus(refresh))
                    .max();
                match due {
                    Some(due) if now < due.plus(GRACE.min(refresh / 2)) => {
                        served_is = match served_is {
                            ServedProof::Still(other) => ServedProof::Still(other.min(due)),
                            ServedProof::Exactly => ServedProof::Still(due),
                        }
                    }
                    _ => {
                        let key_tag = own.key_tag;
                        return Err(ProofError::OtherSignature { rtype, key_tag, bundle: bundle.inception });
                    }
                }
            }
        }
        let soa = self.0.ask(zone, Rtype::SOA, until)?;
        if soa.rrset.rdatas.is_empty() {
            return Err(AskError::BadAnswer { rtype: Rtype::SOA, fault: AnswerFault::Empty }.into());
        }
        check_signatures(&soa, zone, &keys, now)?;
        Ok(served_is)
    }
}

/// Each signature must verify with the key it names and be valid now, and there must be one.
fn check_signatures(
    answer: &RrsetAnswer,
    zone: &Name,
    keys: &[Dnskey],
    now: Timestamp,
) -> Result<(), ProofError> {
    let rtype = answer.rrset.rtype;
    let mut seen = Err(ProofError::NotValid { rtype, what: "it has none", expired: false });
    for signature in answer.signatures.iter().take(MAX_SIGNATURES) {
        let wrong = |what| Err(ProofError::NotValid { rtype, what, expired: what == EXPIRED });
        let key = keys.iter().find(|k| (k.tag(), k.algorithm) == (signature.key_tag, signature.algorithm));
        let Some(key) = key else {
            seen = seen.or_else(|_| wrong("it is of a key that the bundle does not have"));
            continue;
        };
        if signature.signer != *zone {
            return wrong("its signer is another zone");
        }
        if !signature.is_valid_at(now) {
            return wrong(EXPIRED);
        }
        if answer.rrset.ttl > signature.original_ttl {
            return wrong("it is served with a longer TTL than was signed");
        }
        if rrsig::verify_raw(&answer.rrset, &key.public_key, signature).is_err() {
            return wrong("it does not verify");
        }
        seen = Ok(());
    }
    seen
}
