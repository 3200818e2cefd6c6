//! What the tests of this crate share: zones from text, keys, bundles, and a reader of answers that knows nothing of the composer.

use std::sync::{Arc, OnceLock};

use keystore::crypto::{Algorithm, PrivateKey, SigningKey};
use keystore::dns::lexer::Entries;
use keystore::dns::record;
use keystore::dns::rrsig::Validity;
use keystore::dns::{Name, Rrset, Rtype};
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::keys::signature;
use keystore::time::Timestamp;

use crate::rules::ZoneRules;
use crate::signing::{self, Denial, SignedZone, SigningError, SigningPolicy, SigningTimes, ZoneKey};
use crate::zone::{Zone, ZoneBuilder};
use crate::zonefile::{Record, RecordPlace, SourceFiles, ZoneFileError};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(crate) const DAY: u64 = 86_400;
pub(crate) const TIMES: SigningTimes =
    SigningTimes { validity: 14 * 86_400, refresh: 5 * 86_400, jitter: 12 * 3600 };

/// NSEC, and [`TIMES`].
pub(crate) const POLICY: SigningPolicy = SigningPolicy { times: TIMES, denial: Denial::Nsec, zonemd: false };

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect(text)
}

/// A zone from records in presentation form, one an entry, TTL 3600 where none is written.
pub(crate) fn zone(origin: &str, text: &str) -> Result<Zone, ZoneFileError> {
    zone_by_rules(origin, text, ZoneRules::default())
}

/// The same, judged by `rules`.
pub(crate) fn zone_by_rules(origin: &str, text: &str, rules: ZoneRules) -> Result<Zone, ZoneFileError> {
    let origin = name(origin);
    let mut builder = ZoneBuilder::with_rules(&origin, rules);
    let mut previous = None;
    let files = SourceFiles { paths: vec!["test.zone".into()] };
    for entry in Entries::new(text.as_bytes()) {
        let entry = entry.expect("the test's zone lexes");
        let record =
            record::parse(&entry, Some(&origin), previous.as_ref()).expect("the test's records read");
        let place = RecordPlace { file: 0, line: entry.line };
        let pushed = builder.push(&Record {
            owner: record.owner.as_wire(),
            rtype: record.rtype,
            ttl: record.ttl.unwrap_or(3600),
            rdata: &record.rdata,
            place,
        });
        pushed.map_err(|problem| ZoneFileError::refused(&files, place, problem))?;
        previous = Some(record.owner);
    }
    builder.finish(files)
}

/// A key pair, with the flags of its DNSKEY.
pub(crate) fn key(flags: u16, algorithm: Algorithm) -> ZoneKey {
    let bits = if algorithm.is_rsa() { 1024 } else { 256 };
    let private = PrivateKey::generate(algorithm, bits).expect("a key");
    let signer: Arc<dyn SigningKey> = Arc::from(private.signer(algorithm).expect("a signer"));
    let public_key = signer.public_key().to_vec();
    ZoneKey { dnskey: Dnskey { flags, protocol: 3, algorithm, public_key }, signer }
}

/// A KSK and a ZSK for the tests that need no others.
pub(crate) fn keys() -> &'static (ZoneKey, ZoneKey) {
    static KEYS: OnceLock<(ZoneKey, ZoneKey)> = OnceLock::new();
    KEYS.get_or_init(|| (key(257, Algorithm::ECDSAP256SHA256), key(256, Algorithm::ECDSAP256SHA256)))
}

/// The bundle in force from `inception` for `validity` seconds: DNSKEY, CDS and CDNSKEY signed by `ksk`.
pub(crate) fn bundle(
    origin: &Name,
    ksk: &ZoneKey,
    zsks: &[&ZoneKey],
    inception: Timestamp,
    validity: u64,
) -> Bundle {
    let set = |rtype, rdatas: Vec<Vec<u8>>| Rrset {
        owner: origin.clone(),
        rtype,
        ttl: 3600,
        rdatas: rdatas.into_iter().map(Into::into).collect(),
    };
    let all = std::iter::once(ksk).chain(zsks.iter().copied());
    let dnskey = set(Rtype::DNSKEY, all.map(|k| k.dnskey.to_rdata()).collect());
    let cdnskey = set(Rtype::CDNSKEY, vec![ksk.dnskey.to_rdata()]);
    let cds = set(Rtype::CDS, vec![ksk.dnskey.ds_rdata(origin, 2).expect("SHA-256")]);
    let signatures = [&dnskey, &cdnskey, &cds]
        .into_iter()
        .map(|set| {
            let validity =
                Validity { inception: inception.minus(3600), expiration: inception.plus(validity) };
            signature::sign(set, origin, &ksk.dnskey, &*ksk.signer, validity).expect("a signature")
        })
        .collect();
    let (dnskey, cdnskey, cds) = (dnskey.into(), Some(cdnskey.into()), Some(cds.into()));
    Bundle { inception, dnskey, cdnskey, cds, signatures }
}

/// Signs with the shared keys at [`NOW`] and NSEC, the bundle being good for 30 days.
pub(crate) fn signed(zone: Zone) -> SignedZone {
    signed_by(zone, &POLICY).expect("signs")
}

/// The same with any denial.
pub(crate) fn signed_by(zone: Zone, policy: &SigningPolicy) -> Result<SignedZone, SigningError> {
    let (ksk, zsk) = keys();
    let bundle = bundle(zone.origin(), ksk, &[zsk], NOW, 30 * DAY);
    let serial = zone.serial();
    signing::sign(&Arc::new(zone), &bundle, std::slice::from_ref(zsk), policy, serial, None, NOW)
}
