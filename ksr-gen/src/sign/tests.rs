use super::bundles::KskSigner;
use super::*;
use keystore::crypto::{Algorithm, PrivateKey, SigningKey};
use keystore::exchange::KsrBundle;

/// A key store that answers with something else than asked for: the real signature with one bit turned.
struct Faulty(Box<dyn SigningKey>);

impl SigningKey for Faulty {
    fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }

    fn public_key(&self) -> &[u8] {
        self.0.public_key()
    }

    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, SignError> {
        let mut signature = self.0.sign(data)?;
        signature[7] ^= 1;
        Ok(signature)
    }
}

#[test]
fn a_faulty_signer_is_noticed() {
    let algorithm = Algorithm::ED25519;
    let private = PrivateKey::generate(algorithm, 256).expect("a key");
    let public_key = private.public_key(algorithm).expect("a public key");
    let dnskey = Dnskey { flags: 257, protocol: 3, algorithm, public_key };
    let zone = Name::parse("example.test").expect("a name");
    let keys = [KeyFile {
        zone: zone.clone(),
        ttl: 3600,
        dnskey,
        timing: keystore::keys::Timing::default(),
        state: None,
        dir: "nowhere".into(),
    }];
    let at = Timestamp::from_secs(1_800_000_000);
    let zsk = Dnskey { flags: 256, ..keys[0].dnskey.clone() };
    let ksr = Ksr {
        zone: zone.clone(),
        bundles: vec![KsrBundle { inception: at, ttl: 60, keys: vec![zsk], proofs: Vec::new() }],
    };
    let policy = Policy::with_defaults("p");
    let waivers =
        [Waiver::ForeignAlgorithms, Waiver::TagCollision, Waiver::NoPossession].into_iter().collect();
    let plan = plan(SigningInput { waivers, ..SigningInput::new(&zone, &policy, &ksr, &keys, at, at) })
        .expect("a plan");
    let ksk = &plan.ksks[0];
    let signer = |key| KskSigner { ksk, file: &keys[0], key };
    let sound = private.signer(algorithm).expect("a signer");
    let bundle = plan.bundle(&ksr.bundles[0].keys, at, &[signer(sound)]).expect("a bundle");
    assert_eq!(bundle.signatures.len(), 3);
    let faulty = Box::new(Faulty(private.signer(algorithm).expect("a signer")));
    let error = plan.bundle(&ksr.bundles[0].keys, at, &[signer(faulty)]).expect_err("a wrong signature");
    assert!(matches!(error, KsrSigningError::Verify { covered: Rtype::DNSKEY, .. }), "{error}");
}

#[test]
fn policies_and_sizes_that_cannot_be() {
    let zone = Name::root();
    let at = Timestamp::from_secs(1_800_000_000);
    let bundle = KsrBundle { inception: at, ttl: 60, keys: Vec::new(), proofs: Vec::new() };
    let ksr = Ksr { zone: zone.clone(), bundles: vec![bundle] };
    let mut policy = Policy::with_defaults("p");
    let plan_for = |policy: &Policy| {
        let end = at.plus(30_000 * 9);
        let signing = SigningInput::new(&zone, policy, &ksr, &[], end, at);
        plan(signing).map(|plan| plan.bundle_count()).map_err(|e| e.to_string())
    };
    // The second one at the very end, as BIND has it.
    assert_eq!(plan_for(&policy), Ok(2));
    policy.signatures_validity_dnskey = policy.signatures_refresh;
    assert!(plan_for(&policy).is_err_and(|e| e.contains("must be shorter than signatures-validity-dnskey")));
    (policy.signatures_validity_dnskey, policy.signatures_refresh) = (11, 2);
    assert!(plan_for(&policy).is_err_and(|e| e.contains("more than 20000 bundles")));
}
