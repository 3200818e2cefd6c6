//! From records to a signed zone: 100 000 names, 350 000 signatures by P-256. Beside it what the signatures alone cost.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

#[allow(dead_code, reason = "each benchmark uses a part")]
mod support;

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use offline_ksk_signer::signing::{SignedZone, sign};
use offline_ksk_signer::zone::Zone;
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

criterion_group!(benches, bench);
criterion_main!(benches);
