//! `request`: the KSR of an interval, from the key files.

use keystore::crypto::Algorithm;
use keystore::dns::Name;
use keystore::exchange::Ksr;
use keystore::keys::KeyFile;
use keystore::keys::plan::{self, Interval, PlanError};
use keystore::policy::Policy;
use keystore::time::Timestamp;

/// Why there is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
}

/// Makes the KSR of `zone` for `interval`; `keys` are sorted by algorithm and tag, as
/// [`files::find`](keystore::keys::files::find) gives them.
///
/// Unless `allow_inactive_zsk`, each ZSK entry of the policy must have an active key at every second of the interval (BIND
/// asks for a published one only).
pub fn request(
    keys: &[KeyFile],
    zone: &Name,
    policy: &Policy,
    interval: Interval,
    allow_inactive_zsk: bool,
) -> Result<Ksr, RequestError> {
    let bundles = plan::bundles(keys, zone, policy, interval)?;
    if !policy.keys.iter().any(|entry| entry.role == keystore::policy::Role::Zsk) {
        let csk = policy.keys.iter().any(|entry| entry.role == keystore::policy::Role::Csk);
        let role = keystore::policy::Role::Zsk;
        return Err(PlanError::NoEntry { policy: policy.name.clone(), role, csk }.into());
    }
    if !allow_inactive_zsk
        && interval.start < interval.end
        && let Some((at, entry)) = plan::first_without_active_zsk(keys, policy, interval)
    {
        return Err(RequestError::NoActiveZsk { algorithm: entry.algorithm, at });
    }
    Ok(Ksr { zone: zone.clone(), bundles })
}
