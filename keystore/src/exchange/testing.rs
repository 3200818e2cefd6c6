//! Good SKRs with times of choice, for tests. Behind the feature `testing`.

use std::sync::Arc;

use super::bind::print_skr;
use super::{Bundle, TrustAnchor, UnverifiedSkr};
use crate::crypto::{Algorithm, PrivateKey, SigningKey};
use crate::dns::rrsig::{self, Validity};
use crate::dns::{Name, Rrset, Rtype};
use crate::keys::{Dnskey, FLAG_SEP, FLAG_ZONE};
use crate::time::Timestamp;

/// A key with its private part.
#[derive(Clone)]
pub struct TestKey {
    /// Its DNSKEY.
    pub dnskey: Dnskey,
    signer: Arc<dyn SigningKey>,
}

impl TestKey {
    /// A KSK by Ed25519; the same `seed` gives the same key.
    #[must_use]
    pub fn ksk(seed: u8) -> Self {
        Self::ed25519(FLAG_ZONE | FLAG_SEP, seed)
    }

    /// A ZSK by Ed25519; the same `seed` gives the same key. KSKs and ZSKs of one seed share the public key.
    #[must_use]
    pub fn zsk(seed: u8) -> Self {
        Self::ed25519(FLAG_ZONE, seed)
    }

    fn ed25519(flags: u16, seed: u8) -> Self {
        let private = PrivateKey::Raw(vec![seed; 32]);
        let signer = private.signer(Algorithm::ED25519).expect("32 octets are a seed");
        Self::new(flags, signer.into())
    }

    /// A new key of any algorithm; `bits` counts for RSA only.
    #[must_use]
    pub fn generate(flags: u16, algorithm: Algorithm, bits: u16) -> Self {
        let private = PrivateKey::generate(algorithm, bits).expect("a size that the algorithm takes");
        Self::new(flags, private.signer(algorithm).expect("a key just made").into())
    }

    /// A key with a signer of the caller's.
    #[must_use]
    pub fn new(flags: u16, signer: Arc<dyn SigningKey>) -> Self {
        let public_key = signer.public_key().to_vec();
        Self { dnskey: Dnskey { flags, protocol: 3, algorithm: signer.algorithm(), public_key }, signer }
    }

    /// What signs with its private part.
    #[must_use]
    pub fn signer(&self) -> &dyn SigningKey {
        &*self.signer
    }

    /// Signs an RRset.
    #[must_use]
    pub fn sign(&self, rrset: &Rrset, from: Timestamp, to: Timestamp) -> crate::dns::Rrsig {
        let validity = Validity { inception: from, expiration: to };
        rrsig::sign_raw(rrset, &rrset.owner, self.dnskey.tag(), &*self.signer, validity)
            .expect("a working key")
    }
}

/// Builds an SKR as `dnssec-ksr sign` with default policy would: a bundle every 9 days, signatures valid for 14 days from
/// an hour before, DNSKEY TTL 3600 s, CDNSKEY and CDS (SHA-256) for the signing KSKs.
///
/// ```
/// use offline_ksk_keystore::exchange::testing::SkrBuilder;
/// use offline_ksk_keystore::time::Timestamp;
///
/// let start = Timestamp::parse_stamp("20270101000000").unwrap();
/// let builder = SkrBuilder::new("example.", start).bundles(4);
/// let (skr, anchors) = (builder.build(), builder.anchors());
/// assert_eq!((skr.bundles.len(), anchors.len()), (4, 1));
/// ```
#[derive(Clone)]
pub struct SkrBuilder {
    zone: Name,
    start: Timestamp,
    bundles: u64,
    step: u64,
    validity: u64,
    ttl: u32,
    cds: bool,
    ksks: Vec<(TestKey, Use)>,
    zsks: Vec<(Dnskey, Timestamp, Timestamp)>,
}

/// When a KSK is in the set, and when it signs and is named by CDS and CDNSKEY.
#[derive(Clone, Copy)]
struct Use {
    published: (Timestamp, Timestamp),
    signing: (Timestamp, Timestamp),
}

const ALWAYS: (Timestamp, Timestamp) = (Timestamp::EPOCH, Timestamp::MAX);

impl SkrBuilder {
    /// A builder for `zone` whose first bundle begins at `start`. Without keys added it takes `TestKey::ksk(1)` and
    /// `TestKey::zsk(2)`.
    #[must_use]
    pub fn new(zone: &str, start: Timestamp) -> Self {
        const DAY: u64 = 86_400;
        Self {
            zone: Name::parse(zone).expect("a zone name"),
            start,
            bundles: 5,
            step: 9 * DAY,
            validity: 14 * DAY,
            ttl: 3600,
            cds: true,
            ksks: Vec::new(),
            zsks: Vec::new(),
        }
    }

    /// How many bundles.
    #[must_use]
    pub fn bundles(mut self, count: u64) -> Self {
        self.bundles = count;
        self
    }

    /// Seconds from bundle to bundle.
    #[must_use]
    pub fn step(mut self, seconds: u64) -> Self {
        self.step = seconds;
        self
    }

    /// Seconds from a bundle's inception to the expiration of its signatures.
    #[must_use]
    pub fn validity(mut self, seconds: u64) -> Self {
        self.validity = seconds;
        self
    }

    /// TTL of all RRsets, in seconds.
    #[must_use]
    pub fn ttl(mut self, seconds: u32) -> Self {
        self.ttl = seconds;
        self
    }

    /// No CDS and no CDNSKEY.
    #[must_use]
    pub fn without_cds(mut self) -> Self {
        self.cds = false;
        self
    }

    /// Adds a KSK that is always published and signing.
    #[must_use]
    pub fn ksk(self, key: TestKey) -> Self {
        self.ksk_during(key, ALWAYS, ALWAYS)
    }

    /// Adds a KSK that is published and signing in these times, the ends excluded.
    #[must_use]
    pub fn ksk_during(
        mut self,
        key: TestKey,
        published: (Timestamp, Timestamp),
        signing: (Timestamp, Timestamp),
    ) -> Self {
        self.ksks.push((key, Use { published, signing }));
        self
    }

    /// Adds a ZSK that is always published.
    #[must_use]
    pub fn zsk(self, key: Dnskey) -> Self {
        self.zsk_during(key, ALWAYS.0, ALWAYS.1)
    }

    /// Adds a ZSK that is published from `from` until `to`, the end excluded.
    #[must_use]
    pub fn zsk_during(mut self, key: Dnskey, from: Timestamp, to: Timestamp) -> Self {
        self.zsks.push((key, from, to));
        self
    }

    fn all_ksks(&self) -> Vec<(TestKey, Use)> {
        let default = || vec![(TestKey::ksk(1), Use { published: ALWAYS, signing: ALWAYS })];
        if self.ksks.is_empty() { default() } else { self.ksks.clone() }
    }

    /// The KSKs added, as trust anchors.
    #[must_use]
    pub fn anchors(&self) -> Vec<TrustAnchor> {
        self.all_ksks().into_iter().map(|(key, _)| TrustAnchor::Dnskey(key.dnskey)).collect()
    }

    /// The SKR.
    #[must_use]
    pub fn build(&self) -> UnverifiedSkr {
        let bundle = |i| self.bundle(self.start.plus(i * self.step));
        UnverifiedSkr { zone: self.zone.clone(), bundles: (0..self.bundles).map(bundle).collect() }
    }

    /// The SKR in BIND's text form.
    #[must_use]
    pub fn text(&self) -> String {
        print_skr(&self.build(), self.start, "a test")
    }

    /// One bundle.
    #[must_use]
    pub fn bundle(&self, inception: Timestamp) -> Bundle {
        let within = |(from, to): (Timestamp, Timestamp)| from <= inception && inception < to;
        let ksks = self.all_ksks();
        let default_zsk = [(TestKey::zsk(2).dnskey, ALWAYS.0, ALWAYS.1)];
        let zsks = if self.zsks.is_empty() { &default_zsk[..] } else { &self.zsks };
        let published = ksks.iter().filter(|(_, u)| within(u.published)).map(|(k, _)| &k.dnskey);
        let zsks = zsks.iter().filter(|(_, from, to)| within((*from, *to))).map(|(k, ..)| k);
        let signers: Vec<&TestKey> = ksks.iter().filter(|(_, u)| within(u.signing)).map(|(k, _)| k).collect();

        let rrset =
            |rtype, rdatas: Vec<Box<[u8]>>| Rrset { owner: self.zone.clone(), rtype, ttl: self.ttl, rdatas };
        let named = |rdata: &dyn Fn(&Dnskey) -> Vec<u8>| {
            let rdatas: Vec<Box<[u8]>> = signers.iter().map(|k| rdata(&k.dnskey).into()).collect();
            Some(rdatas).filter(|r| self.cds && !r.is_empty())
        };
        let cds = |key: &Dnskey| key.ds_rdata(&self.zone, 2).expect("SHA-256 is known");
        let mut bundle = Bundle {
            inception,
            dnskey: rrset(Rtype::DNSKEY, published.chain(zsks).map(|k| k.to_rdata().into()).collect()).into(),
            cdnskey: named(&Dnskey::to_rdata).map(|r| rrset(Rtype::CDNSKEY, r).into()),
            cds: named(&cds).map(|r| rrset(Rtype::CDS, r).into()),
            signatures: Vec::new(),
        };
        self.resign(&mut bundle, &signers);
        bundle
    }

    /// Signs all RRsets of a bundle anew, as after a change to them.
    pub fn resign(&self, bundle: &mut Bundle, signers: &[&TestKey]) {
        let (from, to) = (bundle.inception.minus(3600), bundle.inception.plus(self.validity));
        let sign = |rrset| signers.iter().map(move |key: &&TestKey| key.sign(rrset, from, to));
        bundle.signatures = bundle.rrsets().flat_map(sign).collect();
    }
}
