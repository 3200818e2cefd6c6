//! What the signatures of a zone cost alone: a loop over ring, on threads. `scripts/bench` holds the signing of zones against it.
//!
//! `cargo bench -p offline-ksk-keystore --bench bare -- COUNT THREADS` makes COUNT signatures by P-256 over 120 octets each, and prints the
//! seconds that they took.

use std::hint::black_box;
use std::time::Instant;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

/// Octets that are signed: two A records with their owner names and the head of the RRSIG.
const OCTETS: usize = 120;

fn main() {
    let mut numbers = std::env::args().filter_map(|word| word.parse::<u64>().ok());
    let (Some(count), Some(threads)) = (numbers.next(), numbers.next()) else {
        eprintln!("bare: give the number of signatures and of threads");
        std::process::exit(2);
    };
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key");
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (pair, random) = (&pair, &random);
            scope.spawn(move || {
                let mut data = [0x5a; OCTETS];
                for number in (thread..count).step_by(threads.max(1) as usize) {
                    data[..8].copy_from_slice(&number.to_be_bytes());
                    black_box(pair.sign(random, &data).expect("a signature"));
                }
            });
        }
    });
    println!("{:.3}", start.elapsed().as_secs_f64());
}
