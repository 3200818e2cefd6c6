//! How long the proof of ten years takes.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use offline_ksk_keystore::crypto::Algorithm;
use offline_ksk_keystore::dns::{Name, Rrset, Rrsig, Rtype};
use offline_ksk_keystore::exchange::prove::{
    Delays, ParentModel, ProofInput, SigningModel, SigningPeriod, prove,
};
use offline_ksk_keystore::exchange::{Bundle, TrustAnchor};
use offline_ksk_keystore::keys::Dnskey;
use offline_ksk_keystore::policy::Policy;
use offline_ksk_keystore::time::Timestamp;

const DAY: u64 = 86_400;
const START: Timestamp = Timestamp::from_secs(1_800_000_000);

fn key(flags: u16, number: u64) -> Dnskey {
    // Spread, so that tags rarely clash.
    let octets = (0..64u64).map(|i| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (i % 57)) as u8 ^ i as u8);
    Dnskey { flags, protocol: 3, algorithm: Algorithm::ECDSAP256SHA256, public_key: octets.collect() }
}

/// Ten years of bundles, one a week and one at each publication and removal of a ZSK, that roll every `roll` days.
fn ten_years(zone: &Name, roll: u64) -> (Vec<Bundle>, Vec<SigningPeriod>, Dnskey) {
    let (delays, end) = (Policy::with_defaults("default"), 3653 * DAY);
    let ksk = key(257, 1);
    let zsks: Vec<(Dnskey, u64)> =
        (0..end / DAY / roll + 1).map(|i| (key(256, 1000 + i), i * roll * DAY)).collect();
    let publish = |at: u64| at.saturating_sub(delays.prepublication());
    let delete = |at: u64| at + roll * DAY + delays.zsk_retirement();
    let mut times: Vec<u64> = (0..end / DAY / 7 + 1).map(|i| i * 7 * DAY).collect();
    times.extend(zsks.iter().flat_map(|(_, at)| [publish(*at), delete(*at)]).filter(|t| *t < end));
    times.sort_unstable();
    times.dedup();
    let bundles = times.iter().map(|at| {
        let published = zsks.iter().filter(|(_, a)| publish(*a) <= *at && *at < delete(*a)).map(|(k, _)| k);
        let rdatas = std::iter::once(&ksk).chain(published).map(|k| k.to_rdata().into()).collect();
        let rrset = |rtype, rdatas| Rrset { owner: zone.clone(), rtype, ttl: 3600, rdatas };
        let ds = ksk.ds_rdata(zone, 2).expect("SHA-256 is known");
        let inception = START.plus(*at);
        let signature = |covered| Rrsig {
            covered,
            algorithm: ksk.algorithm,
            labels: 1,
            original_ttl: 3600,
            expiration: inception.plus(14 * DAY).to_rrsig(),
            inception: inception.minus(3600).to_rrsig(),
            key_tag: ksk.tag(),
            signer: zone.clone(),
            signature: vec![0; 64],
        };
        Bundle {
            inception,
            dnskey: rrset(Rtype::DNSKEY, rdatas).into(),
            cdnskey: Some(rrset(Rtype::CDNSKEY, vec![ksk.to_rdata().into()]).into()),
            cds: Some(rrset(Rtype::CDS, vec![ds.into()]).into()),
            signatures: [Rtype::DNSKEY, Rtype::CDNSKEY, Rtype::CDS].map(signature).into(),
        }
    });
    let periods = zsks.iter().map(|(key, at)| SigningPeriod {
        key: key.clone(),
        activate: START.plus(*at),
        inactive: Some(START.plus(at + roll * DAY)),
    });
    (bundles.collect(), periods.collect(), ksk.clone())
}

fn proofs(c: &mut Criterion) {
    let zone = Name::parse("example.").expect("a name");
    for (name, roll) in [("ten years, a ZSK each quarter", 91), ("ten years, a ZSK each week", 7)] {
        let (bundles, periods, ksk) = ten_years(&zone, roll);
        let bundles: Vec<&Bundle> = bundles.iter().collect();
        let plan = ProofInput {
            zone: &zone,
            bundles: &bundles,
            parent: ParentModel::FollowsCds(vec![TrustAnchor::Dnskey(ksk)]),
            signing: SigningModel::Known(periods),
            delays: Delays::from(&Policy::with_defaults("default")),
            from: Timestamp::EPOCH,
        };
        let report = prove(&plan);
        assert!(report.is_good() && bundles.len() > 530, "{:#?}", report.findings.first());
        c.bench_function(name, |b| b.iter(|| prove(std::hint::black_box(&plan))));
    }
}

criterion_group!(benches, proofs);
criterion_main!(benches);
