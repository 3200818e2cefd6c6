//! The bundles of an SKR: their RRsets, and the signatures over them. Each KSK in the DNSKEY RRset that signs it signs CDS and CDNSKEY too,
//! also a revoked one, whose signatures count only over DNSKEY (RFC 5011 section 2.1): named 9.20 refuses a bundle in which a key with the
//! SEP flag has no signature over one of the three.

use std::sync::atomic::{AtomicUsize, Ordering};

use keystore::crypto::{self, SigningKey};
use keystore::dns::rrsig::{self, Validity};
use keystore::dns::{Rrset, Rrsig, Rtype};
use keystore::exchange::Bundle;
use keystore::keys::{Dnskey, KeyFile};
use keystore::time::Timestamp;
use rayon::prelude::*;

use super::{KsrFinding, KsrSigningError, SigningInput, SigningPlan};
use crate::rollover::{KskSchedule, signs};

/// Seconds between the inception of a signature and that of its bundle, for clocks that are behind.
const INCEPTION_OFFSET: u64 = 3600;
/// `CDS 0 0 0 00` and `CDNSKEY 0 3 0 AA==`: the parent is asked to remove the DS RRset (RFC 8078 section 4).
const CDS_DELETE: &[u8] = &[0, 0, 0, 0, 0];
const CDNSKEY_DELETE: &[u8] = &[0, 0, 3, 0, 0];

/// A KSK that is ready to sign.
pub(super) struct KskSigner<'a> {
    pub(super) ksk: &'a KskSchedule<'a>,
    pub(super) file: &'a KeyFile,
    pub(super) key: Box<dyn SigningKey>,
}

impl SigningPlan<'_> {
    /// Makes the bundles, those of one KSR bundle in one group, on all cores; each signature is verified before this returns.
    /// `progress` is told the number of bundles done, from any thread.
    pub fn sign(&self, progress: &(dyn Fn(usize) + Sync)) -> Result<Vec<Vec<Bundle>>, KsrSigningError> {
        let refused: Vec<KsrFinding> = self.findings.iter().filter(|f| f.refuses()).cloned().collect();
        if !refused.is_empty() {
            return Err(KsrSigningError::Refused(refused));
        }
        let signers = self.load_signers()?;
        let done = AtomicUsize::new(0);
        let one = |i: usize, at: Timestamp| {
            let bundle = self.bundle(&self.signing.ksr.bundles[i].keys, at, &signers)?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            Ok(bundle)
        };
        let all = || {
            let groups = self.groups.par_iter();
            groups.map(|(i, inceptions)| inceptions.par_iter().map(|at| one(*i, *at)).collect()).collect()
        };
        crypto::run_signing(signers.iter().any(|signer| signer.key.is_in_token()), all)
    }

    /// Reads the private parts of those KSKs that sign any bundle.
    fn load_signers(&self) -> Result<Vec<KskSigner<'_>>, KsrSigningError> {
        let needed = |ksk: &KskSchedule<'_>| {
            self.groups.iter().flat_map(|(_, inceptions)| inceptions).any(|at| signs(ksk, &self.ksks, *at))
        };
        let ksks = self.ksks.iter().filter(|ksk| needed(ksk));
        ksks.map(|ksk| {
            let file = ksk.file;
            let key = file
                .load_private()
                .map_err(|source| KsrSigningError::Key { name: file.base_name(), source })?;
            Ok(KskSigner { ksk, file, key })
        })
        .collect()
    }

    /// The bundles as they will be, their signatures without octets.
    pub fn outline(&self) -> Vec<Bundle> {
        let SigningInput { zone, ksr, .. } = self.signing;
        let mut bundles = Vec::with_capacity(self.bundle_count());
        for (i, inceptions) in &self.groups {
            for at in inceptions {
                let mut bundle = self.unsigned(&ksr.bundles[*i].keys, *at);
                let (inception, expiration) = self.validity(*at);
                let signers = self.ksks.iter().filter(|ksk| signs(ksk, &self.ksks, *at));
                let signatures = signers.flat_map(|ksk| {
                    let dnskey = ksk.dnskey(*at);
                    let signature = |rrset: &Rrset| Rrsig {
                        covered: rrset.rtype,
                        algorithm: dnskey.algorithm,
                        labels: zone.rrsig_labels(),
                        original_ttl: rrset.ttl,
                        expiration: expiration.to_rrsig(),
                        inception: inception.to_rrsig(),
                        key_tag: dnskey.tag(),
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

    pub(super) fn bundle(
        &self,
        zsks: &[Dnskey],
        at: Timestamp,
        signers: &[KskSigner<'_>],
    ) -> Result<Bundle, KsrSigningError> {
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
        let SigningInput { zone, policy, .. } = self.signing;
        let rrset = |rtype, rdatas: Vec<Box<[u8]>>| {
            (!rdatas.is_empty()).then(|| Rrset { owner: zone.clone(), rtype, ttl: policy.dnskey_ttl, rdatas })
        };
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        let ksks = self.ksks.iter().filter(|ksk| ksk.is_published(at)).map(|ksk| ksk.dnskey(at));
        for rdata in ksks.chain(zsks.iter().cloned()).map(|key| key.to_rdata()) {
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
            dnskey: Rrset { owner: zone.clone(), rtype: Rtype::DNSKEY, ttl: policy.dnskey_ttl, rdatas: keys }
                .into(),
            cdnskey: rrset(Rtype::CDNSKEY, cdnskey).map(Into::into),
            cds: rrset(Rtype::CDS, cds).map(Into::into),
            signatures: Vec::new(),
        }
    }

    /// Inception and expiration of the signatures of the bundle that begins at `at`.
    fn validity(&self, at: Timestamp) -> (Timestamp, Timestamp) {
        (at.minus(INCEPTION_OFFSET), at.plus(u64::from(self.signing.policy.signatures_validity_dnskey)))
    }

    /// Makes one signature, and verifies it with the public key of the `.key` file.
    fn signature(
        &self,
        rrset: &Rrset,
        signer: &KskSigner<'_>,
        at: Timestamp,
    ) -> Result<Rrsig, KsrSigningError> {
        let (inception, expiration) = self.validity(at);
        let name = || signer.file.base_name();
        let validity = Validity { inception, expiration };
        let made =
            rrsig::sign_raw(rrset, self.signing.zone, signer.ksk.dnskey(at).tag(), &*signer.key, validity)
                .map_err(|source| KsrSigningError::Sign { name: name(), bundle: at, source })?;
        // A key in a token has verified it.
        let public_key = &signer.file.dnskey.public_key;
        if !(signer.key.is_in_token() && signer.key.public_key() == public_key) {
            rrsig::verify_raw(rrset, public_key, &made).map_err(|source| KsrSigningError::Verify {
                name: name(),
                bundle: at,
                covered: rrset.rtype,
                source,
            })?;
        }
        Ok(made)
    }
}
