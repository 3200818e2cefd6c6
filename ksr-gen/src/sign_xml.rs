//! `sign` of a KSR in the root zone's XML form.
//!
//! The request says more than one in text, and more is checked: that each ZSK proves its possession, that the bundles keep the
//! request's own claims, and that it follows the SKR before. Bundles and times are those of the request.

use std::collections::BTreeSet;

use keystore::check::CheckId;
use keystore::crypto::SigningKey;
use keystore::dns::{Name, Rrset, Rrsig, Rtype};
use keystore::exchange::xml::{
    Ksk, KskRole, Label, RespondError, Rules, XmlBundle, XmlRequest, XmlResponse, check_chain, check_request,
    check_response, convert, respond,
};
use keystore::exchange::{Bundle, SkrFinding, TrustAnchor, prove, xml};
use keystore::keys::files::KeyFileError;
use keystore::keys::{Dnskey, FLAG_REVOKE, KeyFile};
use keystore::policy::Policy;
use keystore::time::Timestamp;

use crate::chain;
use crate::check::{self, check_clock};
use crate::finding::{Advice, Findings, KsrFinding, Waiver, Waivers};
use crate::rollover::{ParentDs, is_revoked_file, is_same_key};

/// The input of the checks and of [`sign`].
pub(crate) struct SigningXml<'a> {
    pub zone: &'a Name,
    /// TTL and safety times of the KSKs.
    pub policy: &'a Policy,
    pub request: &'a XmlRequest,
    /// The SKR before.
    pub previous: Option<&'a XmlResponse>,
    /// The DS RRset of the parent, where it was looked at.
    pub parent: Option<&'a ParentDs>,
    /// Keys of the KSK folder.
    pub keys: &'a [KeyFile],
    pub now: Timestamp,
    pub waivers: Waivers,
}

/// Error of a ceremony. There is no SKR.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SigningXmlError {
    #[error("the KSR is refused and nothing is signed: {} finding(s)", .0.len())]
    Refused(Vec<KsrFinding>),
    #[error("KSK {name}: {source}")]
    Key { name: String, source: KeyFileError },
    #[error(transparent)]
    Respond(#[from] RespondError),
}

/// The checks on top of those of the form, as [`crate::check::CHECKS`] has them.
pub(crate) const MORE_CHECKS: &[CheckId] = &[
    CheckId::KsrClock,
    CheckId::KsrKeyCollision,
    CheckId::KsrChainSkr,
    CheckId::KsrNoKsk,
    CheckId::KsrParentDs,
    CheckId::KsrProve,
];

impl<'a> SigningXml<'a> {
    /// The KSKs of the folder.
    pub(crate) fn ksks(&self) -> Vec<&'a KeyFile> {
        let is_ksk = |key: &&KeyFile| {
            key.dnskey.is_ksk() && key.state.as_ref().and_then(|state| state.ksk) != Some(false)
        };
        self.keys.iter().filter(is_ksk).collect()
    }

    /// The KSKs of the folder as the bundles have them: one with a Revoke time is two keys, with and without the REVOKE flag.
    pub(crate) fn forms(&self) -> Vec<KskForm<'a>> {
        let forms = |file: &'a KeyFile| {
            let form = |is_revoked| KskForm { file, dnskey: dnskey(file, is_revoked), is_revoked };
            let plain = (!is_revoked_file(file)).then(|| form(false));
            let revoked = (is_revoked_file(file) || file.timing.revoke.is_some()).then(|| form(true));
            plain.into_iter().chain(revoked)
        };
        self.ksks().into_iter().flat_map(forms).collect()
    }

    /// All findings before anything is signed; no private key is looked at.
    pub(crate) fn check(&self) -> Vec<KsrFinding> {
        let rules = Rules::zone(self.zone.clone());
        let mut out = Findings::new(self.waivers);
        of_form(&mut out, check_request(self.request, &rules, self.now));
        if let Some(previous) = self.previous {
            of_form(&mut out, check_chain(self.request, previous, &rules));
        }
        check_clock(self.request.timestamp, self.now, &mut out);
        self.check_previous(&mut out);
        self.check_collisions(&mut out);
        self.check_ksks(&mut out);
        self.check_parent(&mut out);
        if !out.all.iter().any(KsrFinding::refuses) && !self.ksks().is_empty() {
            self.prove(&mut out);
        }
        out.all
    }

    /// The KSKs that tell whose the SKR before is.
    pub(crate) fn known_ksks(&self) -> Vec<TrustAnchor> {
        chain::known_ksks(&self.ksks(), self.parent)
    }

    /// KSR-PARENT-DS: the DS at the parent are of KSKs of this folder.
    fn check_parent(&self, out: &mut Findings) {
        let ksks = self.ksks();
        if let Some(what) = self.parent.and_then(|parent| parent.fault(self.zone, &ksks)) {
            let what = format!("{what}; look at the parent again, and at the key folder");
            out.refuse(CheckId::KsrParentDs, None, what);
        }
    }

    /// KSR-CHAIN-SKR: it verifies, by a KSK of this folder.
    fn check_previous(&self, out: &mut Findings) {
        let (Some(previous), Some(first)) = (self.previous, self.request.bundles.first()) else { return };
        let known = self.known_ksks();
        if let Some((bundle, what)) = chain::foreign(&previous.to_skr(), first.inception, &known) {
            out.refuse_unless(Waiver::BrokenChain, CheckId::KsrChainSkr, Some(bundle), what);
        }
    }

    /// KSR-KEY-COLLISION, among the ZSKs of a bundle, with the KSKs, and among those.
    fn check_collisions(&self, out: &mut Findings) {
        check::check_zsk_collisions(&self.request.to_ksr(), &self.ksks(), out);
        let forms = self.forms();
        let published = |bundle: &XmlBundle| {
            let there = forms.iter().filter(|ksk| ksk.role(bundle) != KskRole::Absent);
            (bundle.inception, there.map(|ksk| ksk.dnskey.clone()).collect())
        };
        check::check_ksk_collisions(self.request.bundles.iter().map(published), out);
    }

    /// KSR-NO-KSK: a KSK signs each bundle for each algorithm of its ZSKs.
    fn check_ksks(&self, out: &mut Findings) {
        let forms = self.forms();
        let algorithms =
            |keys: &mut dyn Iterator<Item = &Dnskey>| keys.map(|key| key.algorithm).collect::<BTreeSet<_>>();
        let lacks = |bundle: &&XmlBundle| {
            // Nobody trusts a revoked key (RFC 5011).
            let signing = forms.iter().filter(|ksk| !ksk.is_revoked && ksk.signs(bundle));
            let by = algorithms(&mut signing.map(|ksk| &ksk.dnskey));
            by.is_empty() || by != algorithms(&mut bundle.keys.iter().map(|key| &key.dnskey))
        };
        if let Some(bundle) = self.request.bundles.iter().find(lacks) {
            let at = Some(bundle.inception);
            if forms.is_empty() {
                let what = "the key folder has no KSK".to_owned();
                out.refuse(CheckId::KsrNoKsk, at, what).advise(Advice::GiveKskFolder);
                return;
            }
            let what = format!(
                "of the {} KSK(s) none is active and not revoked from its inception to its expiration for each algorithm of its ZSKs; look at their times (dnssec-settime)",
                self.ksks().len()
            );
            out.refuse(CheckId::KsrNoKsk, at, what).advise(Advice::MakeKsk);
        }
    }

    /// The bundles as they will be, their signatures without octets.
    fn outline(&self) -> Vec<Bundle> {
        let ksks = self.forms();
        let ttl = self.policy.dnskey_ttl;
        let bundle = |asked: &XmlBundle| {
            let published = ksks.iter().filter(|ksk| ksk.role(asked) != KskRole::Absent);
            let keys = published.map(|ksk| &ksk.dnskey).chain(asked.keys.iter().map(|key| &key.dnskey));
            let signature = |ksk: &KskForm<'_>| Rrsig {
                covered: Rtype::DNSKEY,
                algorithm: ksk.dnskey.algorithm,
                labels: self.zone.rrsig_labels(),
                original_ttl: ttl,
                expiration: asked.expiration.to_rrsig(),
                inception: asked.inception.to_rrsig(),
                key_tag: ksk.dnskey.tag(),
                signer: self.zone.clone(),
                signature: Vec::new(),
            };
            Bundle {
                inception: asked.inception,
                dnskey: Rrset {
                    owner: self.zone.clone(),
                    rtype: Rtype::DNSKEY,
                    ttl,
                    rdatas: keys.map(|key| key.to_rdata().into()).collect(),
                }
                .into(),
                cdnskey: None,
                cds: None,
                signatures: ksks.iter().filter(|ksk| ksk.signs(asked)).map(signature).collect(),
            }
        };
        self.request.bundles.iter().map(bundle).collect()
    }

    /// KSR-PROVE: the SKR behind the one before, over all caches. The form has no CDS, so the parent stays as it is: with the DS that it
    /// was seen to have, else with those of the KSKs that sign the first bundle.
    fn prove(&self, out: &mut Findings) {
        let bundles = self.outline();
        let Some(first) = self.request.bundles.first() else { return };
        let signing_first = || {
            let forms = self.forms().into_iter().filter(|ksk| !ksk.is_revoked && ksk.signs(first));
            forms.map(|ksk| TrustAnchor::Dnskey(ksk.dnskey)).collect::<Vec<_>>()
        };
        let before = self.previous.map(|skr| skr.to_skr().bundles).unwrap_or_default();
        let parent = match self.parent {
            Some(parent) => prove::ParentModel::FollowsCds(parent.ds.clone()),
            None => prove::ParentModel::assumed(&signing_first(), &before, first.inception),
        };
        let report =
            prove::prove_skr(self.zone, (&before, &bundles), parent, None, self.policy, first.inception);
        for fault in &report.findings {
            let by_times = self.waivers.contains(Waiver::UnconfirmedKskRoll) && fault.fault.is_of_parent();
            if fault.rejects() && !by_times {
                out.refuse_unless(Waiver::Unproven, CheckId::KsrProve, Some(fault.at), fault.to_string());
            } else {
                out.note(CheckId::KsrProve, Some(fault.at), fault.to_string());
            }
        }
    }
}

/// Takes over the findings of the checks of the XML form.
fn of_form(out: &mut Findings, findings: Vec<SkrFinding>) {
    for finding in findings {
        if finding.rejects() {
            out.refuse(finding.id, finding.bundle, finding.what);
        } else {
            out.note(finding.id, finding.bundle, finding.what);
        }
    }
}

/// Signs the request and checks the response. `findings` are those of [`SigningXml::check`].
pub(crate) fn sign(
    signing: &SigningXml<'_>,
    findings: Vec<KsrFinding>,
) -> Result<XmlResponse, SigningXmlError> {
    let SigningXml { zone, policy, request, previous, .. } = *signing;
    let rules = Rules::zone(zone.clone());
    refuse(findings)?;

    let used = |ksk: &KskForm<'_>| request.bundles.iter().any(|b| ksk.role(b) != KskRole::Absent);
    let ksks: Vec<Loaded<'_>> = signing
        .forms()
        .into_iter()
        .filter(used)
        .map(|ksk| Loaded::new(ksk, zone, previous))
        .collect::<Result<_, _>>()?;
    let roles: Vec<_> = ksks.iter().map(|k| move |bundle: &XmlBundle| k.form.role(bundle)).collect();
    let ksks: Vec<Ksk<'_>> = ksks
        .iter()
        .zip(&roles)
        .map(|(k, role)| Ksk { dnskey: &k.form.dnskey, key: &*k.key, identifier: &k.identifier, role })
        .collect();
    let mut claims = convert::claims(&request.bundles, true);
    claims.publish_safety = policy.publish_safety.into();
    claims.retire_safety = policy.retire_safety.into();
    let response = respond(request, &ksks, policy.dnskey_ttl, &claims)?;
    let mut of_response = Findings::new(signing.waivers);
    of_form(&mut of_response, check_response(&response, request, previous, &rules));
    refuse(of_response.all)?;
    Ok(response)
}

fn refuse(findings: Vec<KsrFinding>) -> Result<(), SigningXmlError> {
    match findings.iter().any(KsrFinding::refuses) {
        true => Err(SigningXmlError::Refused(findings)),
        false => Ok(()),
    }
}

/// A KSK as a bundle has it.
pub(crate) struct KskForm<'a> {
    file: &'a KeyFile,
    /// Its record, with the REVOKE flag or without.
    dnskey: Dnskey,
    /// This is the revoked form.
    pub is_revoked: bool,
}

fn dnskey(file: &KeyFile, is_revoked: bool) -> Dnskey {
    let flags = file.dnskey.flags | if is_revoked { FLAG_REVOKE } else { 0 };
    Dnskey { flags, ..file.dnskey.clone() }
}

impl<'a> KskForm<'a> {
    /// The DNSKEY of the key file.
    pub fn of_file(&self) -> &'a Dnskey {
        &self.file.dnskey
    }

    /// Whether the bundle has a signature by it.
    pub fn signs(&self, bundle: &XmlBundle) -> bool {
        self.role(bundle) == KskRole::Signing
    }

    /// A KSK is used where its times hold for the whole of a bundle, from its inception to its expiration; it is revoked in the
    /// bundles that begin at or after its Revoke time, and signs there as long as it is published (RFC 5011 section 2.1).
    fn role(&self, bundle: &XmlBundle) -> KskRole {
        let t = &self.file.timing;
        let holds = |from: Option<Timestamp>, until: Option<Timestamp>| {
            from.is_none_or(|from| from <= bundle.inception)
                && until.is_none_or(|until| bundle.expiration <= until)
        };
        let is_revoked =
            is_revoked_file(self.file) || t.revoke.is_some_and(|revoke| revoke <= bundle.inception);
        match (holds(t.publish, t.delete), holds(t.activate, t.inactive)) {
            (false, _) => KskRole::Absent,
            _ if is_revoked != self.is_revoked => KskRole::Absent,
            (true, _) if is_revoked => KskRole::Signing,
            (true, false) => KskRole::Published,
            (true, true) => KskRole::Signing,
        }
    }
}

/// A KSK, ready to sign.
struct Loaded<'a> {
    form: KskForm<'a>,
    key: Box<dyn SigningKey>,
    identifier: Label,
}

impl<'a> Loaded<'a> {
    /// Loads the private key. The KSK keeps the identifier that the SKR before gave it, also when it is revoked.
    fn new(form: KskForm<'a>, zone: &Name, previous: Option<&XmlResponse>) -> Result<Self, SigningXmlError> {
        let file = form.file;
        let key =
            file.load_private().map_err(|source| SigningXmlError::Key { name: file.base_name(), source })?;
        let known = |k: &&xml::XmlKey| is_same_key(&k.dnskey, &form.dnskey);
        let before = previous.iter().flat_map(|p| &p.bundles).flat_map(|b| &b.keys).find(known);
        let identifier = before.map_or_else(|| Label::of(zone, &file.dnskey), |k| k.identifier.clone());
        Ok(Self { form, key, identifier })
    }
}
