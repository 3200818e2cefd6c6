//! From a trust anchor down to the DS RRset of a zone (RFC 4035 section 5).
//!
//! The records come through a resolver that is told not to validate; each step is verified here. Only what is proven is called
//! secure: where a name has no DS, the walk ends with an error that says where, and whether it is a delegation.

use std::time::Instant;

use keystore::dns::{Name, Rtype};
use keystore::exchange::{TrustAnchor, bind, parse_trust_anchors};
use keystore::time::Timestamp;

use skr_loader::ask::{AskError, Asker, Rcode, RrsetAnswer};

use crate::probe::validate::{self, Budget, DnskeySet};

/// Trust anchors of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainAnchors {
    /// Whose they are.
    pub owner: Name,
    /// The anchors.
    pub anchors: Vec<TrustAnchor>,
}

/// Why the chain from a trust anchor does not reach the zone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// An RRset on the way could not be had.
    #[error("{name}: {source}")]
    Ask {
        /// Whose RRset.
        name: Name,
        /// Why there is no answer.
        source: AskError,
    },
    /// The resolver reports an error.
    #[error("the resolver answers {rcode} for {name} {rtype}")]
    Rcode {
        /// Whose RRset.
        name: Name,
        /// Of which type.
        rtype: Rtype,
        /// The code.
        rcode: Rcode,
    },
    /// No valid signature by a trusted key.
    #[error("the {rtype} RRset of {name} has no valid signature by a key that the trust anchor leads to")]
    Bogus {
        /// Whose RRset.
        name: Name,
        /// Of which type.
        rtype: Rtype,
    },
    /// A delegation without DS: what is below is insecure.
    #[error("{name} is delegated without DS: nothing below it can be validated")]
    Insecure {
        /// The delegation.
        name: Name,
    },
}

/// Reads trust anchors of `zone` or of one of its ancestors. The error is that of the zone itself.
pub fn parse(text: &str, zone: &Name) -> Result<ChainAnchors, bind::BindSyntaxError> {
    let first = match parse_trust_anchors(text, zone) {
        Ok(anchors) => return Ok(ChainAnchors { owner: zone.clone(), anchors }),
        Err(error) => error,
    };
    let mut owner = zone.parent();
    while let Some(name) = owner {
        if let Ok(anchors) = parse_trust_anchors(text, &name) {
            return Ok(ChainAnchors { owner: name, anchors });
        }
        owner = name.parent();
    }
    Err(first)
}

/// The trust anchors of `zone`: `anchors` themselves where they are its own, else the DS RRset that they lead to through `resolver`.
pub fn walk(
    anchors: &ChainAnchors,
    zone: &Name,
    resolver: Asker,
    now: Timestamp,
    until: Instant,
) -> Result<Vec<TrustAnchor>, ChainError> {
    let resolver = resolver.unchecked();
    let get = |name: &Name, rtype| match resolver.ask_all(name, rtype, until) {
        Ok(reply) if matches!(reply.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) => {
            Ok(reply.answer.into_iter().find(|set| set.rrset.owner == *name && set.rrset.rtype == rtype))
        }
        Ok(reply) => Err(ChainError::Rcode { name: name.clone(), rtype, rcode: reply.rcode }),
        Err(source) => Err(ChainError::Ask { name: name.clone(), source }),
    };
    let mut budget = Budget::default();
    let mut trusted = anchors.anchors.clone();
    let mut at = anchors.owner.clone();
    let mut below: Vec<Name> =
        std::iter::successors(Some(zone.clone()), Name::parent).take_while(|name| *name != at).collect();
    while let Some(name) = below.pop() {
        let bogus = |name: &Name, rtype| ChainError::Bogus { name: name.clone(), rtype };
        let Some(ds) = get(&name, Rtype::DS)? else {
            // No DS: either no delegation, or one that is not signed.
            if get(&name, Rtype::NS)?.is_some() {
                return Err(ChainError::Insecure { name });
            }
            continue;
        };
        let dnskey = get(&at, Rtype::DNSKEY)?.ok_or_else(|| bogus(&at, Rtype::DNSKEY))?;
        let keys = trusted_keys(&dnskey, &at, &trusted, now, &mut budget)
            .ok_or_else(|| bogus(&at, Rtype::DNSKEY))?;
        let signed = validate::verified(&ds, &at, &keys, now, &mut budget);
        if !signed.iter().any(|(made, _)| made.is_valid_at(now)) {
            return Err(bogus(&name, Rtype::DS));
        }
        trusted = ds.rrset.rdatas.iter().map(|rdata| TrustAnchor::Ds(rdata.to_vec())).collect();
        at = name;
    }
    Ok(trusted)
}

/// The keys of a DNSKEY RRset, when one that `anchors` name has signed it.
fn trusted_keys(
    dnskey: &RrsetAnswer,
    zone: &Name,
    anchors: &[TrustAnchor],
    now: Timestamp,
    budget: &mut Budget,
) -> Option<DnskeySet> {
    let keys = DnskeySet::of(&dnskey.rrset);
    let trusted = validate::verified(dnskey, zone, &keys, now, budget)
        .into_iter()
        .any(|(made, key)| made.is_valid_at(now) && anchors.iter().any(|anchor| anchor.matches(zone, key)));
    trusted.then_some(keys)
}
