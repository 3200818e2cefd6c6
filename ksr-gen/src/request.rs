//! `request`: the KSR of an interval, from the key files.

use std::collections::HashMap;

use keystore::crypto::{Algorithm, SignError, SigningKey};
use keystore::dns::Name;
use keystore::exchange::{Ksr, possession};
use keystore::keys::files::KeyFileError;
use keystore::keys::plan::{self, Interval, PlanError};
use keystore::keys::{Dnskey, KeyFile};
use keystore::policy::{Policy, Role};
use keystore::time::Timestamp;

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A published key is there but none signs.
    #[error(
        "no active {algorithm} zsk from {} on: the zone could not be signed there; run keygen for this interval first, \
         or go on with --allow-inactive-zsk",
        at.ctime()
    )]
    NoActiveZsk {
        /// Algorithm of the entry of the policy.
        algorithm: Algorithm,
        /// First second without an active key.
        at: Timestamp,
    },
    /// The private part of a ZSK cannot be used.
    #[error(
        "ZSK {name} cannot prove that it is held here: {source}; to go on without proof of possession: --no-pop"
    )]
    Key {
        /// The key.
        name: String,
        /// Why.
        source: KeyFileError,
    },
    /// A ZSK made no signature.
    #[error("no proof of possession was made: {0}; to go on without it: --no-pop")]
    Sign(#[from] SignError),
}

/// Makes the KSR of `zone` for `interval`; `keys` are sorted by algorithm and tag, as
/// [`files::find`](keystore::keys::files::find) gives them.
///
/// Unless `allow_inactive_zsk`, each ZSK entry of the policy must have an active key from start to end, but for the last
/// seconds ([`plan::END_TOLERANCE`]); BIND asks for a published one only. [`plan::first_without_active_zsk`] tells the rest.
pub fn request(
    keys: &[KeyFile],
    zone: &Name,
    policy: &Policy,
    interval: Interval,
    allow_inactive_zsk: bool,
) -> Result<Ksr, RequestError> {
    let has = |role| policy.keys.iter().any(|entry| entry.role == role);
    if !has(Role::Zsk) {
        let (policy, role, csk) = (policy.name.clone(), Role::Zsk, has(Role::Csk));
        return Err(PlanError::NoEntry { policy, role, csk }.into());
    }
    let bundles = plan::bundles(keys, zone, policy, interval)?;
    if !allow_inactive_zsk
        && let Some((at, entry)) = plan::first_without_active_zsk(keys, policy, interval)
        && at.plus(plan::END_TOLERANCE) < interval.end
    {
        return Err(RequestError::NoActiveZsk { algorithm: entry.algorithm, at });
    }
    Ok(Ksr { zone: zone.clone(), bundles })
}

/// Adds the proofs of possession ([`possession`]): each ZSK signs its bundles with its private key, once it was read.
/// `end` is the end of the interval.
pub fn prove(ksr: &mut Ksr, keys: &[KeyFile], end: Timestamp) -> Result<(), RequestError> {
    let wanted = |key: &&KeyFile| ksr.bundles.iter().any(|bundle| bundle.keys.contains(&key.dnskey));
    let mut signers: HashMap<Dnskey, Box<dyn SigningKey>> = HashMap::new();
    for key in keys.iter().filter(wanted) {
        let signer =
            key.load_private().map_err(|source| RequestError::Key { name: key.base_name(), source })?;
        signers.insert(key.dnskey.clone(), signer);
    }
    possession::prove(ksr, end, |key| {
        let signer = signers.get(key).map(|signer| &**signer);
        signer.ok_or(RequestError::Sign(SignError::BadKey("it is not in the key folder")))
    })
}
