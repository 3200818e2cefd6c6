//! `sign`: makes the SKR to a KSR, with the KSKs of a folder.
//!
//! ```text
//! KSR + policy + KSKs + end ──plan──▶ SigningPlan (bundles, findings) ──sign──▶ SKR, every signature verified
//! ```
//!
//! Bundles, records and times are those of `dnssec-ksr sign`: DNSKEY, CDNSKEY and CDS with the TTL of the signing policy,
//! signatures valid from one hour before the inception of their bundle for `signatures-validity-dnskey`. At the very second at
//! which a KSK becomes inactive it still signs, beside its successor. Unlike there, a key acts as KSK only when it is one, the KSR
//! is held against the policy, nothing unsigned comes out, no bundle is made twice, and a DNSKEY is listed once.

use keystore::check::CheckId;
use std::sync::atomic::{AtomicUsize, Ordering};

use keystore::crypto::{SignError, SigningKey, VerifyError};
use keystore::dns::{Name, Rrset, Rrsig, Rtype, rrsig};
use keystore::exchange::bind::MAX_BUNDLES;
use keystore::exchange::{Bundle, Ksr, TrustAnchor, UnverifiedSkr, prove};
use keystore::keys::{Dnskey, KeyFile, files::KeyFileError};
use keystore::policy::Policy;
use keystore::time::Timestamp;
use rayon::prelude::*;

use crate::chain;
use crate::check::{self, Findings};
pub use crate::check::{Allow, Finding};
use crate::rollover::{self, Circumstances, ParentDs, Use, signs};
use crate::schedule;

/// Seconds between the inception of a signature and that of its bundle, for clocks that are behind.
const INCEPTION_OFFSET: u64 = 3600;
/// `CDS 0 0 0 00` and `CDNSKEY 0 3 0 AA==`: the parent is asked to remove the DS RRset (RFC 8078 section 4).
const CDS_DELETE: &[u8] = &[0, 0, 0, 0, 0];
const CDNSKEY_DELETE: &[u8] = &[0, 0, 3, 0, 0];

/// What to sign, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    /// The zone; its letter case goes into the records.
    pub zone: &'a Name,
    /// The policy: signature times, TTL, CDS and CDNSKEY, and which ZSKs are expected.
    pub policy: &'a Policy,
    /// The request.
    pub ksr: &'a Ksr,
    /// Keys of the KSK folder, sorted by algorithm and tag.
    pub keys: &'a [KeyFile],
    /// End of the last bundle.
    pub end: Timestamp,
    /// The DS RRset of the parent, where it was looked at. Without it no KSK leaves that has a successor.
    pub parent: Option<&'a ParentDs>,
    /// From when on CDS and CDNSKEY ask the parent to remove the DS RRset (RFC 8078 section 4).
    pub cds_delete: Option<Timestamp>,
    /// The SKR before.
    pub previous: Option<&'a UnverifiedSkr>,
    /// The time of the ceremony.
    pub now: Timestamp,
    /// What goes on although a check failed.
    pub allow: Allow,
}

impl Signing<'_> {
    /// The KSKs that the operator knows without the request and the SKR before: those of the folder, else those of the parent's DS.
    fn known(&self, ksks: &[&KeyFile]) -> Vec<TrustAnchor> {
        match (ksks, self.parent) {
            ([], Some(parent)) => parent.ds.clone(),
            (ksks, _) => ksks.iter().map(|ksk| TrustAnchor::Dnskey(ksk.dnskey.clone())).collect(),
        }
    }
}

/// Which bundles there will be, and what the checks found.
#[derive(Debug)]
pub struct SigningPlan<'a> {
    signing: Signing<'a>,
    ksks: Vec<Use<'a>>,
    /// For each bundle of the KSR: its index, and the inceptions of its bundles in the SKR.
    groups: Vec<(usize, Vec<Timestamp>)>,
    /// All findings; the plan is signed only when each is allowed.
    pub findings: Vec<Finding>,
    /// KSR-PROVE was looked at.
    proved: bool,
    /// Keys of the folder that are no KSKs and take no part.
    pub left_out: Vec<&'a KeyFile>,
}

/// Why there is no SKR. Nothing was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// A finding of the plan is not allowed.
    #[error("the KSR is refused and nothing is signed: {} finding(s)", .0.len())]
    Refused(Vec<Finding>),
    /// The policy leaves no time between two bundles.
    #[error(
        "policy '{policy}': signatures-refresh ({refresh} s) must be shorter than signatures-validity-dnskey ({validity} s)"
    )]
    Policy {
        /// Its name.
        policy: String,
        /// Seconds.
        refresh: u32,
        /// Seconds.
        validity: u32,
    },
    /// The interval and the policy would make an SKR that nobody reads.
    #[error(
        "the SKR would have more than {MAX_BUNDLES} bundles; give an earlier end with -e, or a longer signatures-validity-dnskey"
    )]
    TooManyBundles,
    /// The private part of a KSK cannot be used.
    #[error("KSK {name}: {source}")]
    Key {
        /// The key.
        name: String,
        /// Why.
        source: KeyFileError,
    },
    /// A signature could not be made.
    #[error("KSK {name} made no signature for bundle {bundle}: {source}")]
    Sign {
        /// The key.
        name: String,
        /// Inception.
        bundle: Timestamp,
        /// Why.
        source: SignError,
    },
    /// A signature was made and does not verify: a broken key, token or machine.
    #[error(
        "the {covered} signature that KSK {name} made for bundle {bundle} does not verify: {source}; do not use this key store or machine before the cause is known"
    )]
    Verify {
        /// The key.
        name: String,
        /// Inception.
        bundle: Timestamp,
        /// The RRset.
        covered: Rtype,
        /// Why.
        source: VerifyError,
    },
}

/// The KSKs among `keys`: SEP flag, and not declared to be something else by `.state`; and the others.
fn part(keys: &[KeyFile], all: bool) -> (Vec<&KeyFile>, Vec<&KeyFile>) {
    let is_ksk = |key: &&KeyFile| {
        all || key.dnskey.is_ksk() && key.state.as_ref().and_then(|state| state.ksk) != Some(false)
    };
    keys.iter().partition(is_ksk)
}

/// Plans the bundles and runs the checks.
pub fn plan(signing: Signing<'_>) -> Result<SigningPlan<'_>, SigningError> {
    let Signing { policy, ksr, end, allow, .. } = signing;
    let (validity, refresh) = (policy.signatures_validity_dnskey, policy.signatures_refresh);
    if refresh >= validity {
        return Err(SigningError::Policy { policy: policy.name.clone(), refresh, validity });
    }
    let times = (u64::from(validity - refresh), u64::from(validity));
    let (ksks, left_out) = part(signing.keys, allow.zsk_as_ksk);
    let mut findings = Findings(check::check(ksr, policy, &ksks, end, allow));
    check::check_horizon(ksr, end, signing.now, allow, &mut findings);
    if let Some(previous) = signing.previous {
        chain::check(ksr, previous, &signing.known(&ksks), allow, signing.now, &mut findings);
    }
    let ksks = uses(&signing, &ksks, &mut findings);
    let mut events = schedule::events(&ksks, policy);
    if let Some(from) = signing.cds_delete {
        let place = events.partition_point(|event| *event < from);
        events.insert(place, from);
        let what = format!(
            "from {from} on CDS and CDNSKEY ask the parent to remove the DS RRset: the zone becomes insecure when it does"
        );
        findings.note(CheckId::KsrCdsDelete, Some(from), what);
    }
    let mut groups = Vec::with_capacity(ksr.bundles.len());
    let mut left = MAX_BUNDLES;
    for (i, bundle) in ksr.bundles.iter().enumerate() {
        let next = ksr.bundles.get(i + 1).map(|next| next.inception);
        let until = next.unwrap_or(end);
        let inceptions =
            schedule::inceptions(bundle.inception, until, next.is_none(), times, &events, left + 1);
        left = left.checked_sub(inceptions.len()).ok_or(SigningError::TooManyBundles)?;
        if !inceptions.is_empty() {
            groups.push((i, inceptions));
        }
    }
    let unsigned = |at: &Timestamp| !ksks.iter().any(|ksk| signs(ksk, &ksks, *at));
    if let Some(at) = groups.iter().flat_map(|(_, inceptions)| inceptions).find(|at| unsigned(at)) {
        let what = match ksks.len() {
            0 => "the key folder has no KSK, the SKR would be unsigned; give the folder of the KSKs with -K"
                .to_owned(),
            n => format!(
                "none of the {n} KSK(s) is active, the bundle would be unsigned; make a KSK for it (keygen -o)"
            ),
        };
        findings.unless(allow.unsigned, CheckId::KsrNoKsk, Some(*at), what, "--allow-unsigned");
    }
    let one_sided = groups.iter().find_map(|(i, inceptions)| {
        let of =
            |at: &Timestamp| Some((*at, rollover::one_sided(policy, &ksks, &ksr.bundles[*i].keys, *at)?));
        inceptions.iter().find_map(of)
    });
    if let Some((at, what)) = one_sided.filter(|_| !allow.foreign_algorithms) {
        let go_on = allow.unconfirmed_ksk_roll;
        findings.unless(go_on, CheckId::KsrAlgorithmSet, Some(at), what, "--allow-unconfirmed-ksk-roll");
    }
    let mut plan = SigningPlan { signing, ksks, groups, findings: findings.0, proved: false, left_out };
    plan.prove();
    Ok(plan)
}

/// When each KSK is used, and what is to be said of that: KSR-PARENT-DS, KSR-KSK-HELD, KSR-KSK-LEFT.
fn uses<'a>(signing: &Signing<'a>, ksks: &[&'a KeyFile], findings: &mut Findings) -> Vec<Use<'a>> {
    let Signing { zone, policy, ksr, parent, previous, allow, .. } = *signing;
    if let Some(what) = parent.and_then(|parent| parent.fault(zone, ksks)) {
        let what = format!("{what}; look at the parent again, and at the key folder");
        findings.never(CheckId::KsrParentDs, None, what);
    }
    if allow.unconfirmed_ksk_roll {
        return rollover::by_times(ksks);
    }
    let from = ksr.bundles.first().map_or(Timestamp::EPOCH, |bundle| bundle.inception);
    let previous = previous.map_or(&[][..], |skr| &skr.bundles);
    let before = previous.partition_point(|bundle| bundle.inception <= from).checked_sub(1);
    let before: Vec<Dnskey> = before.iter().flat_map(|i| previous[*i].keys()).collect();
    let about = Circumstances { zone, policy, ksr, before: &before, parent };
    let uses = rollover::by_parent(ksks, about);
    let unknown = |ksk: &&&KeyFile| about.is_gone(ksk) && parent.is_none() && before.is_empty();
    if ksks.len() > 1
        && let Some(ksk) = ksks.iter().find(unknown)
    {
        let what = format!(
            "KSK {} was to be gone before this request, and nothing says whether it is: give the SKR before (--previous) or what the parent has (--parent-ds); once it has left and its DS too, take its files out of this folder",
            ksk.base_name()
        );
        findings.unless(false, CheckId::KsrKskLeft, Some(from), what, "--allow-unconfirmed-ksk-roll");
    }
    for ksk in uses.iter().filter(|ksk| ksk.held) {
        let planned = ksk.file.timing.inactive.or(ksk.file.timing.delete);
        if planned.is_none_or(|at| at > signing.end) {
            continue;
        }
        let seen = match parent {
            None => "nothing was said of the DS at the parent",
            Some(_) => "the parent has no DS of a KSK that goes on after it",
        };
        let what = format!(
            "KSK {} stays and signs beyond {}: {seen}; once the parent has the DS of its successor, give it with --parent-ds",
            ksk.file.base_name(),
            planned.unwrap_or(from)
        );
        findings.note(CheckId::KsrKskHeld, planned, what);
    }
    uses
}

/// A KSK that is ready to sign.
struct Signer<'a> {
    ksk: &'a Use<'a>,
    file: &'a KeyFile,
    tag: u16,
    key: Box<dyn SigningKey>,
}

impl SigningPlan<'_> {
    /// What is signed.
    #[must_use]
    pub fn ksr(&self) -> &Ksr {
        self.signing.ksr
    }

    /// The policy of the ceremony.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.signing.policy
    }

    /// End of the last bundle.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.signing.end
    }

    pub(crate) fn has_previous(&self) -> bool {
        self.signing.previous.is_some()
    }

    /// False where the proof over caches could not be made, because what lacks keys or signatures cannot hold.
    pub(crate) fn is_proved(&self) -> bool {
        self.proved
    }

    pub(crate) fn has_parent(&self) -> bool {
        self.signing.parent.is_some()
    }

    /// The KSKs, each with the inceptions of the first and the last bundle that it signs.
    #[must_use]
    pub fn ksks(&self) -> Vec<(&Dnskey, Option<Timestamp>, Option<Timestamp>)> {
        let inceptions = || self.groups.iter().flat_map(|(_, inceptions)| inceptions);
        let line = |ksk: &Use<'_>| {
            let mut signed = inceptions().filter(|at| signs(ksk, &self.ksks, **at));
            let first = signed.next();
            (first.copied(), signed.next_back().or(first).copied())
        };
        self.ksks
            .iter()
            .map(|ksk| {
                let (first, last) = line(ksk);
                (&ksk.file.dnskey, first, last)
            })
            .collect()
    }

    /// Number of bundles that the SKR will have.
    #[must_use]
    pub fn bundle_count(&self) -> usize {
        self.groups.iter().map(|(_, inceptions)| inceptions.len()).sum()
    }

    /// Makes the bundles, those of one KSR bundle in one group, on all cores; each signature is verified before this returns.
    /// `progress` is told the number of bundles done, from any thread.
    pub fn sign(&self, progress: &(dyn Fn(usize) + Sync)) -> Result<Vec<Vec<Bundle>>, SigningError> {
        let refused: Vec<Finding> = self.findings.iter().filter(|f| !f.allowed).cloned().collect();
        if !refused.is_empty() {
            return Err(SigningError::Refused(refused));
        }
        let signers = self.load_signers()?;
        let done = AtomicUsize::new(0);
        let one = |i: usize, at: Timestamp| {
            let bundle = self.bundle(&self.signing.ksr.bundles[i].keys, at, &signers)?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            Ok(bundle)
        };
        self.groups
            .par_iter()
            .map(|(i, inceptions)| inceptions.par_iter().map(|at| one(*i, *at)).collect())
            .collect()
    }

    /// Reads the private parts of those KSKs that sign any bundle.
    fn load_signers(&self) -> Result<Vec<Signer<'_>>, SigningError> {
        let needed = |ksk: &Use<'_>| {
            self.groups.iter().flat_map(|(_, inceptions)| inceptions).any(|at| signs(ksk, &self.ksks, *at))
        };
        let ksks = self.ksks.iter().filter(|ksk| needed(ksk));
        ksks.map(|ksk| {
            let file = ksk.file;
            let key =
                file.load_private().map_err(|source| SigningError::Key { name: file.base_name(), source })?;
            Ok(Signer { ksk, file, tag: file.dnskey.tag(), key })
        })
        .collect()
    }

    /// The bundles as they will be, their signatures without octets.
    pub fn outline(&self) -> Vec<Bundle> {
        let Signing { zone, ksr, .. } = self.signing;
        let mut bundles = Vec::with_capacity(self.bundle_count());
        for (i, inceptions) in &self.groups {
            for at in inceptions {
                let mut bundle = self.unsigned(&ksr.bundles[*i].keys, *at);
                let (inception, expiration) = self.validity(*at);
                let signers = self.ksks.iter().filter(|ksk| signs(ksk, &self.ksks, *at));
                let signatures = signers.flat_map(|ksk| {
                    let signature = |rrset: &Rrset| Rrsig {
                        covered: rrset.rtype,
                        algorithm: ksk.file.dnskey.algorithm,
                        labels: zone.rrsig_labels(),
                        original_ttl: rrset.ttl,
                        expiration: expiration.to_rrsig(),
                        inception: inception.to_rrsig(),
                        key_tag: ksk.file.dnskey.tag(),
                        signer: zone.clone(),
                        signature: Vec::new(),
                    };
                    bundle.rrsets().map(signature).collect::<Vec<_>>()
                });
                bundle.signatures = signatures.collect();
                bundles.push(bundle);
            }
        }
        bundles
    }

    /// KSR-PROVE: the SKR that this plan makes, behind the one before, over all caches. What the parent does not have, it is taken to
    /// take from CDS.
    fn prove(&mut self) {
        let Signing { zone, policy, previous, parent, allow, .. } = self.signing;
        // What lacks keys or signatures was told.
        let told = |f: &Finding| !f.allowed || f.id == CheckId::KsrNoKsk || f.id == CheckId::KsrKeyFlags;
        if self.findings.iter().any(told) {
            return;
        }
        let bundles = self.outline();
        let Some(first) = bundles.first() else { return };
        let signing_first = |key: &&Dnskey| first.signatures.iter().any(|s| s.key_tag == key.tag());
        let anchors: Vec<TrustAnchor> = match parent {
            Some(parent) => parent.ds.clone(),
            None => {
                let ksks: Vec<Dnskey> = first.keys().filter(Dnskey::is_ksk).collect();
                ksks.iter().filter(signing_first).cloned().map(TrustAnchor::Dnskey).collect()
            }
        };
        let before = previous.map_or(&[][..], |skr| &skr.bundles);
        self.proved = true;
        let report = prove::prove_skr(zone, (before, &bundles), &anchors, None, policy, first.inception);
        let mut findings = Findings(std::mem::take(&mut self.findings));
        for fault in &report.findings {
            let what = fault.to_string();
            // By the times alone, as BIND does it, no KSK roll proves good.
            if fault.rejects() && !(allow.unconfirmed_ksk_roll && fault.fault.is_of_parent()) {
                findings.unless(allow.unproven, CheckId::KsrProve, Some(fault.at), what, "--allow-unproven");
            } else {
                findings.note(CheckId::KsrProve, Some(fault.at), what);
            }
        }
        self.findings = findings.0;
    }

    fn bundle(&self, zsks: &[Dnskey], at: Timestamp, signers: &[Signer<'_>]) -> Result<Bundle, SigningError> {
        let mut bundle = self.unsigned(zsks, at);
        let mut signatures = Vec::new();
        for rrset in bundle.rrsets() {
            for signer in signers.iter().filter(|signer| signs(signer.ksk, &self.ksks, at)) {
                signatures.push(self.signature(rrset, signer, at)?);
            }
        }
        bundle.signatures = signatures;
        Ok(bundle)
    }

    /// The RRsets of a bundle.
    fn unsigned(&self, zsks: &[Dnskey], at: Timestamp) -> Bundle {
        let Signing { zone, policy, .. } = self.signing;
        let rrset = |rtype, rdatas: Vec<Box<[u8]>>| {
            (!rdatas.is_empty()).then(|| Rrset { owner: zone.clone(), rtype, ttl: policy.dnskey_ttl, rdatas })
        };
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        let ksks = self.ksks.iter().filter(|ksk| ksk.is_published(at)).map(|ksk| &ksk.file.dnskey);
        for rdata in ksks.chain(zsks).map(Dnskey::to_rdata) {
            if !keys.iter().any(|known| **known == *rdata) {
                keys.push(rdata.into());
            }
        }
        let synced: Vec<&Dnskey> =
            self.ksks.iter().filter(|ksk| ksk.is_synced(at)).map(|ksk| &ksk.file.dnskey).collect();
        let cdnskey =
            if policy.cdnskey { synced.iter().map(|key| key.to_rdata().into()).collect() } else { vec![] };
        let cds = synced.iter().flat_map(|key| {
            policy.cds_digest_types.iter().filter_map(|digest| key.ds_rdata(zone, *digest).map(Into::into))
        });
        let delete = self.signing.cds_delete.is_some_and(|from| from <= at);
        let cdnskey = if delete { vec![CDNSKEY_DELETE.into()] } else { cdnskey };
        let cds = if delete { vec![CDS_DELETE.into()] } else { cds.collect() };
        Bundle {
            inception: at,
            dnskey: Rrset { owner: zone.clone(), rtype: Rtype::DNSKEY, ttl: policy.dnskey_ttl, rdatas: keys },
            cdnskey: rrset(Rtype::CDNSKEY, cdnskey),
            cds: rrset(Rtype::CDS, cds),
            signatures: Vec::new(),
        }
    }

    /// Inception and expiration of the signatures of the bundle that begins at `at`.
    fn validity(&self, at: Timestamp) -> (Timestamp, Timestamp) {
        (at.minus(INCEPTION_OFFSET), at.plus(u64::from(self.signing.policy.signatures_validity_dnskey)))
    }

    /// Makes one signature, and verifies it with the public key of the `.key` file.
    fn signature(&self, rrset: &Rrset, signer: &Signer<'_>, at: Timestamp) -> Result<Rrsig, SigningError> {
        let (inception, expiration) = self.validity(at);
        let name = || signer.file.base_name();
        let made = rrsig::sign(rrset, &*signer.key, signer.tag, self.signing.zone, inception, expiration)
            .map_err(|source| SigningError::Sign { name: name(), bundle: at, source })?;
        rrsig::verify(&made, rrset, &signer.file.dnskey.public_key).map_err(|source| {
            SigningError::Verify { name: name(), bundle: at, covered: rrset.rtype, source }
        })?;
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystore::crypto::{Algorithm, PrivateKey};
    use keystore::exchange::KsrBundle;

    /// A key store that answers with something else than asked for: the real signature with one bit turned.
    struct Faulty(Box<dyn SigningKey>);

    impl SigningKey for Faulty {
        fn algorithm(&self) -> Algorithm {
            self.0.algorithm()
        }

        fn public_key(&self) -> &[u8] {
            self.0.public_key()
        }

        fn sign(&self, data: &[u8]) -> Result<Vec<u8>, SignError> {
            let mut signature = self.0.sign(data)?;
            signature[7] ^= 1;
            Ok(signature)
        }
    }

    #[test]
    fn a_faulty_signer_is_noticed() {
        let algorithm = Algorithm::ED25519;
        let private = PrivateKey::generate(algorithm, 256).expect("a key");
        let public_key = private.public_key(algorithm).expect("a public key");
        let dnskey = Dnskey { flags: 257, protocol: 3, algorithm, public_key };
        let zone = Name::parse("example.test").expect("a name");
        let keys = [KeyFile {
            zone: zone.clone(),
            ttl: 3600,
            dnskey,
            timing: keystore::keys::Timing::default(),
            state: None,
            dir: "nowhere".into(),
        }];
        let at = Timestamp::from_secs(1_800_000_000);
        let zsk = Dnskey { flags: 256, ..keys[0].dnskey.clone() };
        let ksr = Ksr {
            zone: zone.clone(),
            bundles: vec![KsrBundle { inception: at, ttl: 60, keys: vec![zsk], proofs: Vec::new() }],
        };
        let policy = Policy::with_defaults("p");
        let allow = Allow { foreign_algorithms: true, tag_collision: true, no_pop: true, ..Allow::default() };
        let plan = plan(Signing {
            zone: &zone,
            policy: &policy,
            ksr: &ksr,
            keys: &keys,
            end: at,
            parent: None,
            cds_delete: None,
            previous: None,
            now: at,
            allow,
        })
        .expect("a plan");
        let ksk = &plan.ksks[0];
        let signer = |key| Signer { ksk, file: &keys[0], tag: keys[0].dnskey.tag(), key };
        let sound = private.signer(algorithm).expect("a signer");
        let bundle = plan.bundle(&ksr.bundles[0].keys, at, &[signer(sound)]).expect("a bundle");
        assert_eq!(bundle.signatures.len(), 3);
        let faulty = Box::new(Faulty(private.signer(algorithm).expect("a signer")));
        let error = plan.bundle(&ksr.bundles[0].keys, at, &[signer(faulty)]).expect_err("a wrong signature");
        assert!(matches!(error, SigningError::Verify { covered: Rtype::DNSKEY, .. }), "{error}");
    }

    #[test]
    fn policies_and_sizes_that_cannot_be() {
        let zone = Name::root();
        let at = Timestamp::from_secs(1_800_000_000);
        let bundle = KsrBundle { inception: at, ttl: 60, keys: Vec::new(), proofs: Vec::new() };
        let ksr = Ksr { zone: zone.clone(), bundles: vec![bundle] };
        let mut policy = Policy::with_defaults("p");
        let plan_for = |policy: &Policy| {
            let end = at.plus(30_000 * 9);
            let signing = Signing {
                zone: &zone,
                policy,
                ksr: &ksr,
                keys: &[],
                end,
                parent: None,
                cds_delete: None,
                previous: None,
                now: at,
                allow: Allow::default(),
            };
            plan(signing).map(|plan| plan.bundle_count()).map_err(|e| e.to_string())
        };
        // The second one at the very end, as BIND has it.
        assert_eq!(plan_for(&policy), Ok(2));
        policy.signatures_validity_dnskey = policy.signatures_refresh;
        assert!(
            plan_for(&policy).is_err_and(|e| e.contains("must be shorter than signatures-validity-dnskey"))
        );
        (policy.signatures_validity_dnskey, policy.signatures_refresh) = (11, 2);
        assert!(plan_for(&policy).is_err_and(|e| e.contains("more than 20000 bundles")));
    }
}
