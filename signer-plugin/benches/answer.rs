//! Time of an answer by kind, in zones of 10 000 to 1 000 000 names, with NSEC and NSEC3, for names without pattern: one query by itself, and in
//! batches, as they come when there are many. `NAMES` sets other sizes: `NAMES="10000 3000000"`.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

#[allow(dead_code, reason = "each benchmark uses a part")]
mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use keystore::config::query::RateLimitConfig;
use keystore::dns::Rtype;
use metrics::Metrics;
use offline_ksk_signer::answer::{
    AnswerKind, AnswerOutcome, Arrival, Context, MOST_AHEAD, Transport, answer, look_ahead,
};
use offline_ksk_signer::protocol::QuerySettings;
use offline_ksk_signer::signing::{Denial, Nsec3, SignedZone, SigningPolicy, sign};
use support::{NOW, POLICY};

fn signed(names: u32, denial: Denial) -> SignedZone {
    let zone = Arc::new(support::zone(names));
    let (bundle, zsk) = support::keys(zone.origin());
    sign(&zone, &bundle, std::slice::from_ref(&zsk), &SigningPolicy { denial, ..POLICY }, 1, None, NOW)
        .expect("signs")
}

/// A query with OPT and DO.
fn query(owner: &str, rtype: Rtype) -> Vec<u8> {
    let owner = support::name(&format!("{owner}.bench.example."));
    let mut out = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    out.extend_from_slice(owner.as_wire());
    out.extend_from_slice(&rtype.0.to_be_bytes());
    out.extend_from_slice(&[0, 1, 0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
    out
}

/// Numbers without pattern, and so many that what they need does not stay in the caches of the processor.
fn scattered(below: u32) -> impl Iterator<Item = u32> {
    (0..1u32 << 17).map(move |i| ((u64::from(i.wrapping_mul(0x9e37_79b9)) * u64::from(below)) >> 32) as u32)
}

fn bench(c: &mut Criterion) {
    let sizes = std::env::var("NAMES").unwrap_or_else(|_| "10000 100000 1000000".to_owned());
    let sizes: Vec<u32> = sizes.split_whitespace().map(|n| n.parse().expect("a number of names")).collect();
    let kinds = [("NSEC", Denial::Nsec), ("NSEC3", Denial::Nsec3(Nsec3::new(0, false)))];
    for (names, (denial, how)) in sizes.iter().flat_map(|n| kinds.iter().map(move |kind| (*n, kind))) {
        let zone = signed(names, how.clone());
        let mut group = c.benchmark_group(format!("{names} names, {denial}"));
        type Make = fn(u32) -> Vec<u8>;
        let kinds: [(&str, AnswerKind, Make); 6] = [
            ("positive", AnswerKind::Positive, |i| query(&format!("h{i:07}"), Rtype::A)),
            ("no data", AnswerKind::NoData, |i| query(&format!("h{i:07}"), Rtype::MX)),
            ("no such name", AnswerKind::NxDomain, |i| query(&format!("h{i:07}x"), Rtype::A)),
            ("no such name, deep", AnswerKind::NxDomain, |i| query(&format!("a.b.c.h{i:07}"), Rtype::A)),
            ("wildcard", AnswerKind::Positive, |i| query(&format!("h{i}.wild"), Rtype::A)),
            ("referral", AnswerKind::Referral, |i| query(&format!("h{i}.cut"), Rtype::A)),
        ];
        for (label, kind, make) in kinds {
            let queries: Vec<Vec<u8>> = scattered(names).map(make).collect();
            let context = Context { arrival: Arrival::new(Transport::Udp, 1232), now: NOW };
            let mut out = Vec::with_capacity(4096);
            let mut next = queries.iter().cycle();
            group.bench_function(label, |b| {
                b.iter(|| {
                    let query = next.next().expect("a cycle");
                    let outcome = answer(&zone, black_box(query), &context, &mut out);
                    assert_eq!(outcome, AnswerOutcome::Reply(kind));
                    out.len()
                });
            });
            let mut batches = queries.chunks_exact(MOST_AHEAD).cycle();
            group.bench_function(format!("{label}, in batches"), |b| {
                b.iter_custom(|count| {
                    let start = Instant::now();
                    for _ in 0..count.div_ceil(MOST_AHEAD as u64) {
                        let batch = batches.next().expect("a cycle");
                        let ahead: [&[u8]; MOST_AHEAD] = std::array::from_fn(|at| batch[at].as_slice());
                        look_ahead(&zone, &ahead);
                        for query in batch {
                            let outcome = answer(&zone, black_box(query), &context, &mut out);
                            assert_eq!(outcome, AnswerOutcome::Reply(kind));
                            black_box(out.len());
                        }
                    }
                    // The last batch may have more than were asked for.
                    let made = count.next_multiple_of(MOST_AHEAD as u64);
                    start.elapsed().mul_f64(count as f64 / made as f64)
                });
            });
        }
        limited(&mut group, &zone);
        group.finish();
    }
}

/// A flood of names that do not exist from one network, which the rate limit drops but for some.
fn limited(group: &mut BenchmarkGroup<'_, WallTime>, zone: &SignedZone) {
    let config = RateLimitConfig { responses_per_second: 1, slip: 0, ..RateLimitConfig::default() };
    let metrics = Metrics::new().expect("metrics");
    let settings = QuerySettings::DEFAULT.with_rate_limit(&config, [7; 16], &metrics);
    let arrival = Arrival { settings: &settings, ..Arrival::new(Transport::Udp, 1232) };
    let context = Context { arrival, now: NOW };
    let queries: Vec<Vec<u8>> = scattered(1 << 20).map(|i| query(&format!("h{i:07}x"), Rtype::A)).collect();
    let mut out = Vec::with_capacity(4096);
    let mut next = queries.iter().cycle();
    group.bench_function("no such name, over the rate limit", |b| {
        b.iter(|| {
            let query = next.next().expect("a cycle");
            black_box(answer(zone, black_box(query), &context, &mut out));
            out.len()
        });
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
