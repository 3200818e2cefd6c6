//! `request`: the KSR of an interval, from the key files.

use std::collections::HashMap;

use keystore::crypto::{Algorithm, SignError, SigningKey};
use keystore::dns::Name;
use keystore::exchange::bind::{MAX_BUNDLES, MAX_KEYS};
use keystore::exchange::request::bundles;
use keystore::exchange::xml::respond::{self, RespondError, Zsk};
use keystore::exchange::xml::{Label, XmlRequest};
use keystore::exchange::{Ksr, KsrBundle, possession};
use keystore::keys::files::KeyFileError;
use keystore::keys::plan::{self, Interval, PlanError};
use keystore::keys::{Dnskey, KeyFile};
use keystore::policy::{KeyRole, Policy};
use keystore::time::Timestamp;

use crate::schedule::{self, BundleInterval, Until};

/// Error of a request that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A published key is there but none signs.
    #[error(
        "no active {algorithm} zsk from {} on: the zone could not be signed there; run keygen for this interval first",
        at.ctime()
    )]
    NoActiveZsk {
        /// Algorithm of the entry of the policy.
        algorithm: Algorithm,
        /// First second without an active key.
        at: Timestamp,
    },
    /// The private part of a ZSK cannot be used.
    #[error("ZSK {name} cannot prove that it is held here: {source}")]
    Key {
        /// Base name of the key.
        name: String,
        /// What is wrong with the key files.
        source: KeyFileError,
    },
    /// A ZSK made no signature.
    #[error("no proof of possession was made: {0}")]
    Sign(#[from] SignError),
    /// The policy leaves no time between two bundles.
    #[error("signatures-refresh must be shorter than signatures-validity-dnskey")]
    NoStep,
    /// The interval and the policy would make a request that nobody reads.
    #[error("the request would have more than {MAX_BUNDLES} bundles; give an earlier end")]
    TooManyBundles,
    /// A bundle would have more keys than are read.
    #[error(
        "the bundle of {inception} would have {keys} ZSKs, and a request with more than {MAX_KEYS} is not read; remove keys that are \
         no longer published, or move them away"
    )]
    TooManyKeys {
        /// Inception of the bundle.
        inception: Timestamp,
        /// Its ZSKs.
        keys: usize,
    },
    /// The XML form cannot carry the request.
    #[error(transparent)]
    Xml(#[from] RespondError),
}

/// What to do where the policy has no active ZSK for a part of the interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InactiveZsk {
    /// There is no request.
    Refuse,
    /// As BIND, which asks for a published key only.
    Accept,
}

/// Makes the KSR of `zone` for `interval`; `keys` are sorted by algorithm and tag, as
/// [`files::find`](keystore::keys::files::find) gives them.
///
/// With [`InactiveZsk::Refuse`] each ZSK entry of the policy must have an active key from start to end, but for the last
/// seconds ([`plan::END_TOLERANCE`]); BIND asks for a published one only. [`plan::first_without_active_zsk`] tells the rest.
pub fn request(
    keys: &[KeyFile],
    zone: &Name,
    policy: &Policy,
    interval: Interval,
    inactive: InactiveZsk,
) -> Result<Ksr, RequestError> {
    let has = |role| policy.keys.iter().any(|entry| entry.role == role);
    if !has(KeyRole::Zsk) {
        let (policy, role, csk) = (policy.name.clone(), KeyRole::Zsk, has(KeyRole::Csk));
        return Err(PlanError::NoEntry { policy, role, csk }.into());
    }
    let bundles = bundles(keys, zone, policy, interval)?;
    if inactive == InactiveZsk::Refuse
        && let Some((at, entry)) = plan::first_without_active_zsk(keys, policy, interval)
        && at.plus(plan::END_TOLERANCE) < interval.end
    {
        return Err(RequestError::NoActiveZsk { algorithm: entry.algorithm, at });
    }
    // What is written must be read: the limit of the reader holds here.
    if let Some(bundle) = bundles.iter().find(|bundle| bundle.keys.len() > MAX_KEYS) {
        return Err(RequestError::TooManyKeys { inception: bundle.inception, keys: bundle.keys.len() });
    }
    Ok(Ksr { zone: zone.clone(), bundles })
}

/// Adds the proofs of possession ([`possession`]): each ZSK signs its bundles with its private key, once it was read.
/// `end` is the end of the interval.
pub fn prove(ksr: &mut Ksr, keys: &[KeyFile], end: Timestamp) -> Result<(), RequestError> {
    let signers = signers(ksr, keys)?;
    possession::prove(ksr, end, |key| signer(&signers, key))
}

type Signers = HashMap<Dnskey, Box<dyn SigningKey>>;

/// The private part of each ZSK of the request.
fn signers(ksr: &Ksr, keys: &[KeyFile]) -> Result<Signers, RequestError> {
    let wanted = |key: &&KeyFile| ksr.bundles.iter().any(|bundle| bundle.keys.contains(&key.dnskey));
    let mut signers = Signers::new();
    for key in keys.iter().filter(wanted) {
        let signer =
            key.load_private().map_err(|source| RequestError::Key { name: key.base_name(), source })?;
        signers.insert(key.dnskey.clone(), signer);
    }
    Ok(signers)
}

fn signer<'a>(signers: &'a Signers, key: &Dnskey) -> Result<&'a dyn SigningKey, RequestError> {
    let signer = signers.get(key).map(|signer| &**signer);
    signer.ok_or(RequestError::Sign(SignError::BadKey("it is not in the key folder")))
}

/// Adds the bundle at the very end that Knot needs: `keymgr sign-ksr` refreshes signatures up to the time of the last bundle, and
/// makes a single one for that. It has the keys of the bundle before. Comes before [`prove`].
pub fn close_for_knot(ksr: &mut Ksr, end: Timestamp) {
    if let Some(last) = ksr.bundles.last().filter(|last| last.inception < end) {
        let closing = KsrBundle { inception: end, proofs: Vec::new(), ..last.clone() };
        ksr.bundles.push(closing);
    }
}

/// The request in the root zone's form, where each bundle is signed just once: those of the KSR, cut where `sign` would renew
/// signatures, each valid for signatures-validity-dnskey, signed by its ZSKs. The claims are those that the bundles keep, with
/// publish-safety and retire-safety of the policy; `serial` tells revisions of a request apart.
pub fn xml(
    ksr: &Ksr,
    keys: &[KeyFile],
    policy: &Policy,
    end: Timestamp,
    serial: u64,
) -> Result<XmlRequest, RequestError> {
    let step = BundleInterval::of(policy).ok_or(RequestError::NoStep)?;
    let validity = u64::from(policy.signatures_validity_dnskey);
    let signers = signers(ksr, keys)?;
    let labels: HashMap<&Dnskey, Label> =
        signers.keys().map(|key| (key, Label::of(&ksr.zone, key))).collect();
    let mut bundles = Vec::new();
    for (i, bundle) in ksr.bundles.iter().enumerate() {
        let next = ksr.bundles.get(i + 1).map(|next| next.inception);
        let most = MAX_BUNDLES + 1 - bundles.len();
        let until = next.map_or(Until::End(end), Until::Next);
        let inceptions = schedule::inceptions(bundle.inception, until, step, &[], most);
        for at in inceptions {
            let zsk = |key: &'_ Dnskey| {
                let (dnskey, identifier) =
                    labels.get_key_value(key).ok_or(SignError::BadKey("it is not in the key folder"))?;
                Ok(Zsk { dnskey, key: signer(&signers, key)?, identifier })
            };
            let zsks = bundle.keys.iter().map(zsk).collect::<Result<Vec<_>, RequestError>>()?;
            bundles.push((at, at.plus(validity), zsks));
        }
        if bundles.len() > MAX_BUNDLES {
            return Err(RequestError::TooManyBundles);
        }
    }
    let safety = (policy.publish_safety.into(), policy.retire_safety.into());
    Ok(respond::request(&ksr.zone, serial, &bundles, policy.dnskey_ttl, safety)?)
}
