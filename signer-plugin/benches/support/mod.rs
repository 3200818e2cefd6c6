//! The zone that both benchmarks use: half of its names have two RRsets, half three.

use std::sync::Arc;

use keystore::crypto::{Algorithm, PrivateKey, SigningKey};
use keystore::dns::rrsig::Validity;
use keystore::dns::{Name, Rrset, Rtype};
use keystore::exchange::Bundle;
use keystore::keys::Dnskey;
use keystore::keys::signature;
use keystore::time::Timestamp;
use offline_ksk_signer::signing::{Denial, SigningPolicy, SigningTimes, ZoneKey};
use offline_ksk_signer::zone::{Zone, ZoneBuilder};
use offline_ksk_signer::zonefile::{Record, RecordPlace, SourceFiles};

pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
pub const POLICY: SigningPolicy = SigningPolicy {
    times: SigningTimes { validity: 14 * 86_400, refresh: 5 * 86_400, jitter: 12 * 3600 },
    denial: Denial::Nsec,
    zonemd: false,
};

pub fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// `names` hosts, a wildcard, a delegation and the apex.
pub fn zone(names: u32) -> Zone {
    let origin = name("bench.example");
    let mut builder = ZoneBuilder::new(&origin);
    let mut add = |owner: &str, rtype: Rtype, rdata: &[u8]| {
        let owner = Name::parse_bytes(owner.as_bytes(), Some(&origin)).expect("a name");
        let record =
            Record { owner: owner.as_wire(), rtype, ttl: 3600, rdata, place: RecordPlace::default() };
        builder.push(&record).expect("a record of the zone");
    };
    let at = "bench.example.";
    let (ns, rname) = (name("ns1.bench.example"), name("admin.bench.example"));
    let numbers: Vec<u8> = [1u32, 7200, 900, 1_209_600, 600].into_iter().flat_map(u32::to_be_bytes).collect();
    add(at, Rtype::SOA, &[ns.as_wire(), rname.as_wire(), &numbers].concat());
    add(at, Rtype::NS, ns.as_wire());
    add("ns1", Rtype::A, &[192, 0, 2, 1]);
    add("*.wild", Rtype::A, &[192, 0, 2, 2]);
    add("cut", Rtype::NS, name("ns.cut.bench.example").as_wire());
    add("ns.cut", Rtype::A, &[192, 0, 2, 3]);
    for i in 0..names {
        let owner = format!("h{i:07}");
        add(&owner, Rtype::A, &i.to_be_bytes());
        let address = [0x2001_0db8_u32, 0, 0, i].map(u32::to_be_bytes).concat();
        add(&owner, Rtype::AAAA, &address);
        if i % 2 == 1 {
            add(&owner, Rtype::TXT, &[&[11][..], b"host number"].concat());
        }
    }
    builder.finish(SourceFiles::default()).expect("a zone")
}

fn key(flags: u16) -> ZoneKey {
    let algorithm = Algorithm::ECDSAP256SHA256;
    let private = PrivateKey::generate(algorithm, 256).expect("a key");
    let signer: Arc<dyn SigningKey> = Arc::from(private.signer(algorithm).expect("a signer"));
    let public_key = signer.public_key().to_vec();
    ZoneKey { dnskey: Dnskey { flags, protocol: 3, algorithm, public_key }, signer }
}

/// A bundle with one KSK and one ZSK, and that ZSK.
pub fn keys(origin: &Name) -> (Bundle, ZoneKey) {
    let (ksk, zsk) = (key(257), key(256));
    let rdatas = [&ksk, &zsk].map(|k| k.dnskey.to_rdata().into()).to_vec();
    let dnskey = Rrset { owner: origin.clone(), rtype: Rtype::DNSKEY, ttl: 3600, rdatas };
    let validity = Validity { inception: NOW.minus(3600), expiration: NOW.plus(30 * 86_400) };
    let signature =
        signature::sign(&dnskey, origin, &ksk.dnskey, &*ksk.signer, validity).expect("a signature");
    (
        Bundle {
            inception: NOW,
            dnskey: dnskey.into(),
            cdnskey: None,
            cds: None,
            signatures: vec![signature],
        },
        zsk,
    )
}
