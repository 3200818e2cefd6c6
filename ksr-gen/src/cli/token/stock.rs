//! What is in a token, and which key files name it.

use std::path::{Path, PathBuf};

use keystore::crypto::pkcs11::{self, HeldKey, Pkcs11Uri, TokenError};
use keystore::dns::Name;
use keystore::keys::KeyFile;
use keystore::keys::files::{Folder, KeyFileError};

use super::Store;
use crate::cli::Failure;
use crate::cli::many::zone_of_file_name;
use crate::keygen::open_folder;

/// The keys of a token.
pub(super) struct TokenKeys {
    pub(super) keys: Vec<HeldKey>,
    /// Label of the token.
    pub(super) token: String,
    /// Labels of all keys of the token, to tell which name one key only.
    pub(super) labels: Vec<Vec<u8>>,
}

impl TokenKeys {
    /// Opens the token and lists its keys.
    pub(super) fn of(store: &Store) -> Result<Self, TokenError> {
        let holding = pkcs11::list(&store.uri)?;
        let labels = holding.keys.iter().map(|key| key.label.clone()).collect();
        Ok(Self { keys: holding.keys, token: holding.label, labels })
    }

    /// The URI of a key of the token of `store`: by its label where that names this key alone, else by its id too.
    pub(super) fn uri_of(&self, store: &Store, key: &HeldKey) -> String {
        let is_alone = self.labels.iter().filter(|label| **label == key.label).count() == 1;
        let is_text = std::str::from_utf8(&key.label).is_ok_and(|label| !label.is_empty());
        let id = (!is_alone || !is_text).then_some(key.id.as_slice());
        pkcs11::with_key(&store.text, &key.label, id)
    }
}

/// The key sets of a folder, of all zones or of one.
pub(super) struct FolderKeySets {
    pub(super) folder: PathBuf,
    /// Keys in tokens, with the URIs that their files have.
    pub(super) in_tokens: Vec<(KeyFile, Pkcs11Uri)>,
    /// Names and public keys of all key sets, also of those without a `.private` file.
    all: Vec<(String, Vec<u8>)>,
    /// Sets that do not read: nobody knows which key they name.
    pub(super) unread: Vec<KeyFileError>,
}

impl FolderKeySets {
    pub(super) fn read(dir: &Path, zone: Option<&Name>) -> Result<Self, Failure> {
        open_folder(dir)?;
        let folder = Folder::scan(dir).map_err(Failure::fatal)?;
        let mut out = Self { folder: dir.to_owned(), in_tokens: vec![], all: vec![], unread: vec![] };
        let mut zones = Vec::new();
        for name in folder.zones_of_all_files() {
            match (zone, zone_of_file_name(name)) {
                (Some(_), _) => {}
                (None, Some(zone)) => zones.push(zone),
                (None, None) => out.unread.push(KeyFileError::NotAKeyFile {
                    path: dir.join(format!("K{name}")),
                    what: "a key file whose name is not that of a zone; rename or remove it",
                }),
            }
        }
        zones.extend(zone.cloned());
        zones.sort_unstable();
        for zone in zones {
            let found = folder.find(&zone);
            out.unread.extend(found.skipped);
            let lone = folder.without_private(&zone);
            for path in
                found.without_private.iter().filter(|path| path.extension().is_some_and(|e| e == "key"))
            {
                match lone.iter().find(|(lone, _)| lone == path) {
                    Some((path, key)) => out.all.push((base_name(path), key.public_key.clone())),
                    None => out.unread.push(KeyFileError::NotAKeyFile {
                        path: path.clone(),
                        what: "a .key file without .private that does not read; mend or remove it",
                    }),
                }
            }
            for key in found.keys {
                match key.in_token() {
                    Ok(Some(uri)) => out.in_tokens.push((key.clone(), uri)),
                    Ok(None) => {}
                    Err(error) => out.unread.push(error),
                }
                out.all.push((key.base_name(), key.dnskey.public_key));
            }
        }
        Ok(out)
    }

    /// Names of the key sets that name a key of a token: by its label or id, or by having its public key.
    pub(super) fn naming(&self, key: &HeldKey) -> Vec<String> {
        let has_key = |public_key: &Vec<u8>| key.public_key.as_ref() == Some(public_key);
        let by_label = self.in_tokens.iter().filter(|(_, uri)| is_named_by(uri, key));
        let by_key = self.all.iter().filter(|(_, public_key)| has_key(public_key));
        let by_label = by_label.map(|(file, _)| file.base_name());
        let mut found: Vec<String> = by_label.chain(by_key.map(|(name, _)| name.clone())).collect();
        found.sort();
        found.dedup();
        found
    }
}

fn base_name(path: &Path) -> String {
    path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// True for a key that the URI of a key file names by its label or id.
pub(super) fn is_named_by(uri: &Pkcs11Uri, key: &HeldKey) -> bool {
    let label = uri.object.as_ref().is_none_or(|object| object.as_bytes() == key.label);
    let id = uri.id.as_ref().is_none_or(|id| *id == key.id);
    label && id && (uri.object.is_some() || uri.id.is_some())
}

/// Octets as lower-case hexadecimal digits.
pub(super) fn hex(octets: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(octets)
}
