//! A key in the form of the library that signs our own requests with it.

use std::sync::Arc;

use domain::base::Name as WireName;
use domain::tsig::{Algorithm, Key};
use keystore::tsig::{TsigAlgorithm, TsigKey};

/// The key for [`domain::tsig`]; `None` for one that it does not take, which no key file has.
#[must_use]
pub fn wire_key(key: &TsigKey) -> Option<Arc<Key>> {
    let algorithm = match key.algorithm {
        TsigAlgorithm::HmacSha256 => Algorithm::Sha256,
        TsigAlgorithm::HmacSha384 => Algorithm::Sha384,
        TsigAlgorithm::HmacSha512 => Algorithm::Sha512,
    };
    let name = domain::dep::octseq::Array::<255>::try_from(key.name.as_wire()).ok()?;
    Key::new(algorithm, &key.secret, WireName::from_octets(name).ok()?, None, None).ok().map(Arc::new)
}
