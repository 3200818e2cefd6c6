//! Keys of other programs: reading one, and making a set of files for it.

use std::path::Path;

use super::create::{NewKey, placed};
use super::private::PrivateFile;
use super::{KeyFile, KeyFileError, Secrecy, read};
use crate::crypto::{Algorithm, PrivateKey, check_public_key, pem};

/// A private key that another program has made.
#[derive(Debug)]
pub struct ForeignKey {
    /// The key.
    pub private: PrivateKey,
    /// The algorithms that it can sign with: two for an RSA key in PEM, which does not say which of them is meant.
    pub algorithms: Vec<Algorithm>,
    /// Its size in bits, as `.state` files have it.
    pub bits: u16,
}

/// Reads the private key of another program: PEM (PKCS#8 and older forms), or Private-key-format of v1.2, which has no times, or v1.3.
/// Refuses a file that others than its owner can read.
pub fn read_foreign(path: &Path) -> Result<ForeignKey, KeyFileError> {
    let text = read(path, Secrecy::Enforced)?;
    let is_pem = text.trim_ascii_start().starts_with(b"-----BEGIN");
    let (private, algorithms) = if is_pem {
        let (private, algorithms) =
            pem::read(&text).map_err(|error| KeyFileError::syntax(path, 1, error.to_string()))?;
        (private, algorithms.to_vec())
    } else {
        let file = PrivateFile::parse(path, &text)?;
        (file.private_key(path, &text)?, file.algorithm().into_iter().collect())
    };
    let fail = |source| KeyFileError::PrivateKey { path: path.to_owned(), source };
    let unknown = || KeyFileError::syntax(path, 2, "an algorithm that is not known here");
    let first = *algorithms.first().ok_or_else(unknown)?;
    let public_key = private.public_key(first).map_err(fail)?;
    let bits = check_public_key(first, &public_key)
        .map_err(|source| KeyFileError::PublicKey { path: path.to_owned(), source })?;
    Ok(ForeignKey { private, algorithms, bits })
}

/// Writes the set of a key that exists already, durably as new files. It signs a text first, which must verify. `taken` are the tags of
/// keys of the zone that are elsewhere.
pub fn import_key(
    dir: &Path,
    new: &NewKey<'_>,
    taken: &[u16],
    private: &PrivateKey,
) -> Result<KeyFile, KeyFileError> {
    let fail = |source| KeyFileError::PrivateKey { path: dir.to_owned(), source };
    let key = placed(dir, new, taken, private.public_key(new.algorithm).map_err(fail)?)?;
    private.signer(new.algorithm).map_err(fail)?;
    key.create(private)?;
    Ok(key)
}
