//! `request`: the KSR of an interval, from the key files.

use keystore::crypto::Algorithm;
use keystore::dns::Name;
use keystore::exchange::Ksr;
use keystore::keys::KeyFile;
use keystore::keys::plan::{self, Interval, PlanError};
use keystore::policy::{Policy, Role};
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
