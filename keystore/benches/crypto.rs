//! What one signature costs to make and to check, for each algorithm, over the octets of a typical RRset.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use offline_ksk_keystore::crypto::{Algorithm, PrivateKey, verify};

/// Two A records with their owner names and the head of the RRSIG.
const DATA: [u8; 120] = [0x5a; 120];

fn signatures(c: &mut Criterion) {
    for (number, bits) in [(8, 2048), (8, 1024), (10, 2048), (13, 0), (14, 0), (15, 0), (16, 0)] {
        let algorithm = Algorithm(number);
        let private = PrivateKey::generate(algorithm, bits).expect("a key");
        let signer = private.signer(algorithm).expect("a signer");
        let signature = signer.sign(&DATA).expect("a signature");
        let name = if bits == 0 { algorithm.to_string() } else { format!("{algorithm}-{bits}") };
        c.bench_function(&format!("sign/{name}"), |b| {
            b.iter(|| signer.sign(black_box(&DATA)).expect("a signature"))
        });
        c.bench_function(&format!("verify/{name}"), |b| {
            b.iter(|| {
                verify(algorithm, signer.public_key(), black_box(&DATA), &signature).expect("verifies")
            });
        });
        c.bench_function(&format!("load/{name}"), |b| {
            b.iter(|| private.signer(algorithm).expect("a signer"))
        });
    }
}

criterion_group!(benches, signatures);
criterion_main!(benches);
