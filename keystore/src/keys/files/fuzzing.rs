//! The readers and printers of the three files over texts without a folder, for the fuzz targets.

use std::path::Path;

use super::{KeyFile, KeyFileError, Texts, check_public_key, private, public, state};

/// The texts of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTexts {
    /// Octets of the `.key` file.
    pub key: Vec<u8>,
    /// Octets of the `.private` file.
    pub private: Vec<u8>,
    /// Octets of the `.state` file, if any.
    pub state: Option<Vec<u8>>,
}

/// A set that was read from its texts.
pub struct ReadTexts {
    /// The set, as [`super::find`] gives it.
    pub key: KeyFile,
    /// Its texts as [`KeyFile::update`] writes them.
    pub updated: KeyTexts,
    /// Its texts as [`KeyFile::write`] writes them; `None` when the private key is not in the files, or is none.
    pub written: Option<KeyTexts>,
}

/// Reads a set from its texts. The checks of the names and modes of the files are left out.
pub fn read(texts: &KeyTexts) -> Result<ReadTexts, KeyFileError> {
    let path = Path::new("fuzz");
    let public::PublicFile { owner, ttl, dnskey, timing } = public::parse(path, &texts.key)?;
    let bits = check_public_key(dnskey.algorithm, &dnskey.public_key)
        .map_err(|source| KeyFileError::PublicKey { path: path.to_owned(), source })?;
    let file = private::PrivateFile::parse(path, &texts.private)?;
    file.check_algorithm(path, dnskey.algorithm)?;
    let _ = (file.label(path, &texts.private), file.rsa_public_key(path, &texts.private));
    let mut key = KeyFile { zone: owner, ttl, dnskey, timing, state: None, dir: path.to_owned() };
    if !file.is_legacy() {
        key.timing = file.timing;
    }
    if let Some(text) = &texts.state {
        key.state = Some(state::parse(path, text, &key.dnskey, bits, &mut key.timing)?);
    }
    let updated = key.texts_with(file.rewritten(path, &texts.private, &key)?)?;
    let written = file.private_key(path, &texts.private).and_then(|private| key.texts(&private)).ok();
    Ok(ReadTexts { key, updated: KeyTexts::from(updated), written: written.map(KeyTexts::from) })
}

impl From<Texts> for KeyTexts {
    fn from(texts: Texts) -> Self {
        Self {
            key: texts.key.into_bytes(),
            private: texts.private.as_bytes().to_vec(),
            state: texts.state.map(String::into_bytes),
        }
    }
}
