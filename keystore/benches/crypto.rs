//! What one signature costs to make and to verify by ring and by openssl, for each algorithm, over the octets of a typical RRset: the figures
//! of the table in `crypto::backend`. `ours` is what this crate takes, with the choice of that table and its own checks.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use offline_ksk_keystore::crypto::{Algorithm, PrivateKey, verify};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sha::{sha256, sha384};
use openssl::sign::{Signer, Verifier};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};

/// Two A records with their owner names and the head of the RRSIG.
const DATA: [u8; 120] = [0x5a; 120];

fn ours(c: &mut Criterion) {
    for (number, bits) in [(8, 2048), (8, 1024), (10, 2048), (13, 0), (14, 0), (15, 0), (16, 0)] {
        let algorithm = Algorithm(number);
        let private = PrivateKey::generate(algorithm, bits).expect("a key");
        let signer = private.signer(algorithm).expect("a signer");
        let signature = signer.sign(&DATA).expect("a signature");
        let name = if bits == 0 { algorithm.to_string() } else { format!("{algorithm}-{bits}") };
        c.bench_function(&format!("sign/{name}/ours"), |b| {
            b.iter(|| signer.sign(black_box(&DATA)).expect("a signature"))
        });
        c.bench_function(&format!("verify/{name}/ours"), |b| {
            b.iter(|| {
                verify(algorithm, signer.public_key(), black_box(&DATA), &signature).expect("verifies")
            });
        });
        c.bench_function(&format!("load/{name}"), |b| {
            b.iter(|| private.signer(algorithm).expect("a signer"))
        });
    }
}

fn rsa(c: &mut Criterion) {
    for bits in [2048, 4096] {
        let key = Rsa::generate(bits).expect("a key");
        let (modulus, exponent) = (key.n().to_vec(), key.e().to_vec());
        let pair = PKey::from_rsa(key).expect("a key");
        let theirs = RsaKeyPair::from_pkcs8(&pair.private_key_to_pkcs8().expect("DER")).expect("a key");
        for (name, digest, encoding, parameters) in [
            (
                "RSASHA256",
                MessageDigest::sha256(),
                &signature::RSA_PKCS1_SHA256,
                &signature::RSA_PKCS1_2048_8192_SHA256,
            ),
            (
                "RSASHA512",
                MessageDigest::sha512(),
                &signature::RSA_PKCS1_SHA512,
                &signature::RSA_PKCS1_2048_8192_SHA512,
            ),
        ] {
            let random = SystemRandom::new();
            let mut made = vec![0; (bits / 8) as usize];
            c.bench_function(&format!("sign/{name}-{bits}/ring"), |b| {
                b.iter(|| theirs.sign(encoding, &random, black_box(&DATA), &mut made).expect("a signature"));
            });
            c.bench_function(&format!("sign/{name}-{bits}/openssl"), |b| {
                b.iter(|| {
                    let mut signer = Signer::new(digest, &pair).expect("a signer");
                    signer.sign_oneshot_to_vec(black_box(&DATA)).expect("a signature")
                });
            });
            theirs.sign(encoding, &random, &DATA, &mut made).expect("a signature");
            let public = signature::RsaPublicKeyComponents { n: &modulus, e: &exponent };
            c.bench_function(&format!("verify/{name}-{bits}/ring"), |b| {
                b.iter(|| public.verify(parameters, black_box(&DATA), &made).expect("verifies"));
            });
            c.bench_function(&format!("verify/{name}-{bits}/openssl"), |b| {
                b.iter(|| {
                    let number = |octets: &[u8]| BigNum::from_slice(octets).expect("a number");
                    let key =
                        Rsa::from_public_components(number(&modulus), number(&exponent)).expect("a key");
                    let key = PKey::from_rsa(key).expect("a key");
                    let mut verifier = Verifier::new(digest, &key).expect("a verifier");
                    assert!(verifier.verify_oneshot(&made, black_box(&DATA)).expect("an answer"));
                });
            });
        }
    }
}

fn ecdsa(c: &mut Criterion) {
    let p256 = (
        "ECDSAP256SHA256",
        Nid::X9_62_PRIME256V1,
        &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        &signature::ECDSA_P256_SHA256_FIXED,
    );
    let p384 = (
        "ECDSAP384SHA384",
        Nid::SECP384R1,
        &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        &signature::ECDSA_P384_SHA384_FIXED,
    );
    for (name, curve, signing, verifying) in [p256, p384] {
        let group = EcGroup::from_curve_name(curve).expect("a curve");
        let key = EcKey::generate(&group).expect("a key");
        let hash = |data: &[u8]| -> Vec<u8> {
            if curve == Nid::SECP384R1 { sha384(data).to_vec() } else { sha256(data).to_vec() }
        };
        let der = PKey::from_ec_key(key.clone()).and_then(|pair| pair.private_key_to_pkcs8()).expect("DER");
        let random = SystemRandom::new();
        let theirs = EcdsaKeyPair::from_pkcs8(signing, &der, &random).expect("a key");
        c.bench_function(&format!("sign/{name}/ring"), |b| {
            b.iter(|| theirs.sign(&random, black_box(&DATA)).expect("a signature"));
        });
        c.bench_function(&format!("sign/{name}/openssl"), |b| {
            b.iter(|| EcdsaSig::sign(&hash(black_box(&DATA)), &key).expect("a signature"));
        });
        let made = theirs.sign(&random, &DATA).expect("a signature");
        let public = UnparsedPublicKey::new(verifying, theirs.public_key().as_ref().to_vec());
        c.bench_function(&format!("verify/{name}/ring"), |b| {
            b.iter(|| public.verify(black_box(&DATA), made.as_ref()).expect("verifies"));
        });
        let made = EcdsaSig::sign(&hash(&DATA), &key).expect("a signature");
        c.bench_function(&format!("verify/{name}/openssl"), |b| {
            b.iter(|| assert!(made.verify(&hash(black_box(&DATA)), &key).expect("an answer")));
        });
    }
}

fn eddsa(c: &mut Criterion) {
    let key: PKey<Private> = PKey::generate_ed25519().expect("a key");
    let seed = key.raw_private_key().expect("a seed");
    let theirs = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a key");
    c.bench_function("sign/ED25519/ring", |b| b.iter(|| theirs.sign(black_box(&DATA))));
    let made = theirs.sign(&DATA);
    let public = UnparsedPublicKey::new(&signature::ED25519, theirs.public_key().as_ref().to_vec());
    c.bench_function("verify/ED25519/ring", |b| {
        b.iter(|| public.verify(black_box(&DATA), made.as_ref()).expect("verifies"));
    });
    for (name, key) in [("ED25519", key), ("ED448", PKey::generate_ed448().expect("a key"))] {
        let sign = |data: &[u8]| {
            let mut signer = Signer::new_without_digest(&key).expect("a signer");
            signer.sign_oneshot_to_vec(data).expect("a signature")
        };
        c.bench_function(&format!("sign/{name}/openssl"), |b| b.iter(|| sign(black_box(&DATA))));
        let made = sign(&DATA);
        c.bench_function(&format!("verify/{name}/openssl"), |b| {
            b.iter(|| {
                let mut verifier = Verifier::new_without_digest(&key).expect("a verifier");
                assert!(verifier.verify_oneshot(&made, black_box(&DATA)).expect("an answer"));
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = ours, rsa, ecdsa, eddsa
}
criterion_main!(benches);
