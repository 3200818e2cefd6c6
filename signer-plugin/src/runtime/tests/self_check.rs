//! Which wrong signatures the check before a version is served finds, by its setting.

use std::sync::{Mutex, PoisonError};

use keystore::config::SelfCheck;
use keystore::crypto::{Algorithm, SignError, SigningKey};

use super::*;

/// The name whose address records get a wrong signature.
static WRONG: Mutex<&str> = Mutex::new("");

fn wrong_name() -> std::sync::MutexGuard<'static, &'static str> {
    WRONG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A key that signs the address records of one name wrongly.
struct FaultyKey(Box<dyn SigningKey>);

impl SigningKey for FaultyKey {
    fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }

    fn public_key(&self) -> &[u8] {
        self.0.public_key()
    }

    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, SignError> {
        let mut signature = self.0.sign(data)?;
        let owner = Name::parse(&format!("{}.example.", wrong_name())).unwrap();
        let record = [owner.as_wire(), &Rtype::A.0.to_be_bytes()].concat();
        if data.windows(record.len()).any(|octets| octets == record) {
            signature[9] ^= 1;
        }
        Ok(signature)
    }
}

/// Whether a version in which the address records of `wrong` have a wrong signature is served.
fn is_served(self_check: SelfCheck, wrong: &'static str) -> bool {
    *wrong_name() = wrong;
    let site = Site::with_skr(3);
    let hosts: String = (0..600).map(|n| format!("h{n} A 192.0.2.9\n")).collect();
    site.write("zone", &format!("{FILE}{hosts}"));
    let versions = VersionRules { self_check, ..VersionRules::default() };
    let served = SignerZone::new(Name::parse(ZONE).unwrap(), &site.metrics, site.clock());
    let setup = ZoneSetup { versions, ..site.setup() };
    let zone = ZoneRuntime::new(setup, site.metrics.clone(), Arc::new(served));
    let mut zone = zone.with_loader(|key| Ok(Box::new(FaultyKey(key.load_private()?))));
    site.step(&mut zone, start());
    let checks = |result| site.metrics.zone_self_checks_total.with_label_values(&[ZONE, result]).get();
    let is_served = zone.served().signed().is_some();
    assert_eq!((checks("ok"), checks("failed")), if is_served { (1, 0) } else { (0, 1) });
    is_served
}

#[test]
fn one_wrong_signature_is_never_served_unless_only_a_sample_is_verified() {
    // Neighbours in canonical order, of which every second one is in the sample, behind those that are computed in turn.
    for name in ["h500", "h501"] {
        assert!(!is_served(SelfCheck::Auto, name) && !is_served(SelfCheck::All, name), "{name}");
    }
    let sampled = ["h500", "h501"].map(|name| is_served(SelfCheck::Sample, name));
    assert!(sampled[0] != sampled[1], "{sampled:?}");
    assert!(is_served(SelfCheck::All, "other"));
}
