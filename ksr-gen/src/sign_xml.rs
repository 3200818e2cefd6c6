//! `sign` of a KSR in the root zone's XML form.
//!
//! The request says more than one in text, and more is checked: that each ZSK proves its possession, that the bundles keep the
//! request's own claims, and that it follows the SKR before. Bundles and times are those of the request.

use keystore::crypto::SigningKey;
use keystore::dns::Name;
use keystore::exchange::xml::{
    Ksk, Label, RespondError, Role, Rules, XmlBundle, XmlRequest, XmlResponse, check_chain, check_request,
    check_response, convert, respond,
};
use keystore::exchange::{Finding, xml};
use keystore::keys::files::KeyFileError;
use keystore::keys::{Dnskey, KeyFile, Timing};
use keystore::policy::Policy;
use keystore::time::Timestamp;

/// What to sign, and with what.
pub(crate) struct SigningXml<'a> {
    pub zone: &'a Name,
    /// TTL and safety times of the KSKs.
    pub policy: &'a Policy,
    pub request: &'a XmlRequest,
    /// The SKR before.
    pub previous: Option<&'a XmlResponse>,
    /// Keys of the KSK folder.
    pub keys: &'a [KeyFile],
    pub now: Timestamp,
}

/// Why there is no SKR. Nothing was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SigningXmlError {
    #[error("the KSR is refused and nothing is signed: {} finding(s)", .0.len())]
    Refused(Vec<Finding>),
    #[error("KSK {name}: {source}")]
    Key { name: String, source: KeyFileError },
    #[error(transparent)]
    Respond(#[from] RespondError),
}

/// Checks the request, signs it, and checks the response.
pub(crate) fn sign(signing: &SigningXml<'_>) -> Result<XmlResponse, SigningXmlError> {
    let SigningXml { zone, policy, request, previous, keys, now } = *signing;
    let rules = Rules::zone(zone.clone());
    let mut findings = check_request(request, &rules, now);
    findings.extend(previous.iter().flat_map(|previous| check_chain(request, previous, &rules)));
    refuse(findings)?;

    let is_ksk =
        |key: &&KeyFile| key.dnskey.is_ksk() && key.state.as_ref().and_then(|state| state.ksk) != Some(false);
    let used = |key: &&KeyFile| request.bundles.iter().any(|b| role(&key.timing, b) != Role::Absent);
    let ksks: Vec<Loaded> = keys
        .iter()
        .filter(is_ksk)
        .filter(used)
        .map(|key| Loaded::new(key, zone, previous))
        .collect::<Result<_, _>>()?;
    let roles: Vec<_> = ksks.iter().map(|k| move |bundle: &XmlBundle| role(&k.timing, bundle)).collect();
    let ksks: Vec<Ksk<'_>> = ksks
        .iter()
        .zip(&roles)
        .map(|(k, role)| Ksk { dnskey: &k.dnskey, key: &*k.key, identifier: &k.identifier, role })
        .collect();
    let mut claims = convert::claims(&request.bundles, true);
    claims.publish_safety = policy.publish_safety.into();
    claims.retire_safety = policy.retire_safety.into();
    let response = respond(request, &ksks, policy.dnskey_ttl, &claims)?;
    refuse(check_response(&response, request, previous, &rules))?;
    Ok(response)
}

fn refuse(findings: Vec<Finding>) -> Result<(), SigningXmlError> {
    match findings.iter().any(Finding::rejects) {
        true => Err(SigningXmlError::Refused(findings)),
        false => Ok(()),
    }
}

/// A KSK is used where its times hold for the whole of a bundle, from its inception to its expiration.
fn role(t: &Timing, bundle: &XmlBundle) -> Role {
    let holds = |from: Option<Timestamp>, until: Option<Timestamp>| {
        from.is_none_or(|from| from <= bundle.inception)
            && until.is_none_or(|until| bundle.expiration <= until)
    };
    match (holds(t.publish, t.delete), holds(t.activate, t.inactive)) {
        (false, _) => Role::Absent,
        (true, false) => Role::Published,
        (true, true) => Role::Signing,
    }
}

/// A KSK, ready to sign.
struct Loaded {
    dnskey: Dnskey,
    key: Box<dyn SigningKey>,
    timing: Timing,
    identifier: Label,
}

impl Loaded {
    /// It keeps the identifier that the SKR before gave it.
    fn new(file: &KeyFile, zone: &Name, previous: Option<&XmlResponse>) -> Result<Self, SigningXmlError> {
        let key =
            file.load_private().map_err(|source| SigningXmlError::Key { name: file.base_name(), source })?;
        let known = |k: &&xml::XmlKey| k.dnskey == file.dnskey;
        let before = previous.iter().flat_map(|p| &p.bundles).flat_map(|b| &b.keys).find(known);
        Ok(Self {
            dnskey: file.dnskey.clone(),
            key,
            timing: file.timing,
            identifier: before.map_or_else(|| Label::of(zone, &file.dnskey), |k| k.identifier.clone()),
        })
    }
}
