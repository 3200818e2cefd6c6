//! The DS RRset of a zone at its parent, asked from a resolver that was configured: would the world follow this SKR?
//!
//! The answer says what the resolver says: whether it validated is told (the AD bit), and the way to it is not protected. So it never accepts
//! anything; it only warns, or rejects where the configuration says so. No answer is a warning.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keystore::dns::Name;
use keystore::exchange::TrustAnchor;
use keystore::keys::Dnskey;

use crate::probe::{Probe, ProofError};

/// How long one question may take.
const ONE: Duration = Duration::from_secs(2);
/// How long all questions of one look into the inbox may take: other zones wait.
const ALL: Duration = Duration::from_secs(3);

/// What the resolver says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParentAnswer {
    /// The DS records of the zone at its parent; none = the parent does not say that the zone is signed.
    Records {
        /// Their RDATA.
        ds: Vec<Vec<u8>>,
        /// The resolver has validated them (AD).
        authentic: bool,
    },
    /// Nothing that could be used, and why.
    NoAnswer(String),
}

impl ParentAnswer {
    /// True when a DS record is of `key`.
    #[must_use]
    pub fn vouches_for(&self, zone: &Name, key: &Dnskey) -> bool {
        match self {
            Self::Records { ds, .. } => {
                ds.iter().any(|rdata| TrustAnchor::Ds(rdata.clone()).matches(zone, key))
            }
            Self::NoAnswer(_) => false,
        }
    }

    /// One line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Records { ds, .. } if ds.is_empty() => "there is no DS record at the parent".to_owned(),
            Self::Records { ds, authentic } => {
                let tags =
                    ds.iter().filter_map(|rdata| rdata.first_chunk().map(|tag| u16::from_be_bytes(*tag)));
                let tags: Vec<String> = tags.map(|tag| tag.to_string()).collect();
                let authentic =
                    if *authentic { "validated by the resolver" } else { "not validated (no AD bit)" };
                format!("the DS records at the parent are of key {}; {authentic}", tags.join(", "))
            }
            Self::NoAnswer(why) => format!("the DS RRset at the parent is not known: {why}"),
        }
    }
}

/// Asks, within the time of one look into the inbox.
#[derive(Debug, Default)]
pub struct ParentAsker {
    spent: Duration,
    silent: Option<String>,
}

impl ParentAsker {
    /// Asks `resolver` for the DS RRset of `zone`. One that was silent is not asked again.
    pub fn ask(&mut self, resolver: SocketAddr, zone: &Name) -> ParentAnswer {
        if let Some(why) = &self.silent {
            return ParentAnswer::NoAnswer(why.clone());
        }
        let left = ALL.saturating_sub(self.spent);
        if left.is_zero() {
            return ParentAnswer::NoAnswer(format!(
                "{} seconds were used up by other zones; drop the SKR by itself",
                ALL.as_secs()
            ));
        }
        let started = Instant::now();
        let answer = Probe::of_resolver(resolver).ds(zone, started + ONE.min(left));
        self.spent += started.elapsed();
        let parent = match answer {
            Ok((rrset, authentic)) => ParentAnswer::Records {
                ds: rrset.rdatas.iter().map(|rdata| rdata.to_vec()).collect(),
                authentic,
            },
            Err(error) => {
                if matches!(&error, ProofError::Ask(error) if error.is_silence()) {
                    self.silent = Some(error.to_string());
                }
                ParentAnswer::NoAnswer(error.to_string())
            }
        };
        tracing::info!(%zone, %resolver, "{}", parent.describe());
        parent
    }
}
