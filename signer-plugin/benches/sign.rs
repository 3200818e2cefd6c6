//! From records to a signed zone: 100 000 names, 350 000 signatures by P-256. Beside it what the signatures alone cost. Then a change of 100
//! names in zones of 10 000 to 1 000 000 names, from the change in memory to the checked version; `NAMES` sets other sizes.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

#[allow(dead_code, reason = "each benchmark uses a part")]
mod support;

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use keystore::dns::Rtype;
use keystore::exchange::Bundle;
use keystore::time::Timestamp;
use offline_ksk_signer::rules::DnssecRecords;
use offline_ksk_signer::signing::{Denial, Nsec3, SignedZone, SigningPolicy, ZoneKey, sign};
use offline_ksk_signer::zone::{ContentChange, NameChange, OwnedRrset, Zone};
use support::{NOW, POLICY};

const NAMES: u32 = 100_000;

fn bench(c: &mut Criterion) {
    let zone = Arc::new(support::zone(NAMES));
    let (bundle, zsk) = support::keys(zone.origin());
    let again = |zone: &Arc<Zone>, serial, previous: Option<&SignedZone>| {
        sign(zone, &bundle, std::slice::from_ref(&zsk), &POLICY, serial, previous, NOW).expect("signs")
    };
    let signed = again(&zone, 1, None);
    let signatures = signed.signatures_made() as u64;

    let mut one = c.benchmark_group("one signature");
    one.bench_function("ring, P-256, 120 octets", |b| {
        b.iter(|| zsk.signer.sign(black_box(&[7; 120])).expect("signs"))
    });
    one.finish();

    let mut group = c.benchmark_group("100k names");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    group.bench_function("build from records", |b| b.iter(|| support::zone(NAMES)));
    group.throughput(Throughput::Elements(signatures));
    group.bench_function("sign", |b| b.iter(|| again(&zone, 1, None)));
    group.bench_function("sign again, nothing due", |b| b.iter(|| again(&zone, 2, Some(&signed))));
    let same = Arc::new(support::zone(NAMES));
    group.bench_function("sign again after a reload", |b| b.iter(|| again(&same, 2, Some(&signed))));
    group.bench_function("write as a master file", |b| {
        b.iter(|| signed.write_to(&mut io::sink()).expect("a sink"))
    });
    group.bench_function("self-check, 100 samples", |b| {
        b.iter(|| signed.self_check(NOW, 100).expect("sound"))
    });
    group.finish();
}

/// 100 names without pattern: of each ten three get another address, four come, and three go.
fn change(names: u32, round: u32) -> ContentChange {
    let address = |octets: [u8; 4]| {
        let data = [&[0, 4][..], &octets].concat();
        OwnedRrset::checked(Rtype::A, 3600, &data, DnssecRecords::LeftOut).expect("an address")
    };
    let change = |n: u32| {
        let at = (u64::from((n + 100 * round).wrapping_mul(0x9e37_79b9)) * u64::from(names)) >> 32;
        let (owner, rrsets) = match n % 10 {
            0..3 => (format!("h{at:07}"), vec![address([10, 0, 0, (round % 250) as u8])]),
            3..7 => (format!("h{at:07}new{round}"), vec![address([10, 0, 0, 1])]),
            _ => (format!("h{at:07}"), Vec::new()),
        };
        NameChange { owner: support::name(&format!("{owner}.bench.example")).as_wire().into(), rrsets }
    };
    ContentChange { names: (0..100).map(change).collect() }
}

fn bench_changes(c: &mut Criterion) {
    let sizes = std::env::var("NAMES").unwrap_or_else(|_| "10000 100000 1000000".to_owned());
    for names in sizes.split_whitespace().map(|n| n.parse().expect("a number of names")) {
        let first = Arc::new(support::zone(names));
        let (bundle, zsk) = support::keys(first.origin());
        for (denial, how) in [("NSEC", Denial::Nsec), ("NSEC3", Denial::Nsec3(Nsec3::new(0, false)))] {
            let policy = SigningPolicy { denial: how, ..POLICY };
            let keys = std::slice::from_ref(&zsk);
            let mut at = sign(&first, &bundle, keys, &policy, 1, None, NOW).expect("signs");
            let mut group = c.benchmark_group(format!("100 changed names in {names}, {denial}"));
            group.sample_size(20);
            let mut round = 0;
            let (mut made, mut rounds) = (0, 0);
            let mut next = |label: &str,
                            group: &mut BenchmarkGroup<'_, WallTime>,
                            what: fn(&Step<'_>) -> Option<SignedZone>| {
                group.bench_function(label, |b| {
                    b.iter(|| {
                        round += 1;
                        let change = change(names, round);
                        let step = Step {
                            at: &at,
                            change: &change,
                            bundle: &bundle,
                            keys,
                            policy: &policy,
                            serial: round + 1,
                        };
                        if let Some(next) = what(&step) {
                            (made, rounds) = (made + next.signatures_made(), rounds + 1);
                            at = next;
                        }
                    });
                });
            };
            next("change the zone", &mut group, |step| {
                black_box(step.at.zone().changed(step.change));
                None
            });
            next("change and sign", &mut group, |step| Some(step.sign()));
            next("change, sign, check as serve does", &mut group, |step| {
                let next = step.sign();
                next.self_check_made(step.now(), 256).expect("sound");
                Some(next)
            });
            group.finish();
            println!("signatures of a version: {}", made / usize::max(rounds, 1));
        }
    }
}

/// A version and its next change.
struct Step<'a> {
    at: &'a SignedZone,
    change: &'a ContentChange,
    bundle: &'a Bundle,
    keys: &'a [ZoneKey],
    policy: &'a SigningPolicy,
    serial: u32,
}

impl Step<'_> {
    fn sign(&self) -> SignedZone {
        let zone = Arc::new(self.at.zone().changed(self.change));
        sign(&zone, self.bundle, self.keys, self.policy, self.serial, Some(self.at), self.now())
            .expect("signs")
    }

    /// A second for each version, so that those that were made for it can be told from others.
    fn now(&self) -> Timestamp {
        NOW.plus(self.serial.into())
    }
}

criterion_group!(benches, bench, bench_changes);
criterion_main!(benches);
