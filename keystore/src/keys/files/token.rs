//! Key sets whose private part is in a PKCS#11 token: `.private` says where, with `Label:`.

use std::path::Path;

use super::create::{NewKey, Tags, placed};
use super::{Folder, KeyFile, KeyFileError, Secrecy, private, read};
use crate::crypto::pkcs11::{self, Pkcs11Uri, TokenError, with_object};
use crate::crypto::{self, SignError, SigningKey};
use crate::dns::Name;
use crate::durable;
use crate::keys::Dnskey;
use crate::time::Timestamp;

/// Pairs that are made before a tag is given up. Tokens take seconds for one.
const MOST_TOKEN_DRAWS: usize = 50;

/// Which token a new key goes to, and what names it there.
#[derive(Debug, Clone, Copy)]
pub struct TokenPlace<'a> {
    /// The `pkcs11-uri` of the key store: a token, no key.
    pub uri: &'a str,
    /// Name of the policy.
    pub policy: &'a str,
    /// The time.
    pub now: Timestamp,
}

impl TokenPlace<'_> {
    /// The label as BIND makes it: the URI with `object=<zone>-<policy>-{ksk|zsk}-<YYYYMMDDHHMMSSmmm>`, zone and policy as in names of
    /// key files. The milliseconds tell the keys of one second apart.
    fn label(&self, zone: &Name, is_ksk: bool, number: u16) -> String {
        let policy = match Name::parse(self.policy) {
            Ok(name) => name.file_name(),
            // BIND makes no such key; any name that is unlike others will do.
            Err(_) => self.policy.bytes().map(|b| format!("%{b:02X}")).collect(),
        };
        let role = if is_ksk { "ksk" } else { "zsk" };
        let object = format!("{}-{policy}-{role}-{}{number:03}", zone.file_name(), self.now);
        with_object(self.uri, &object)
    }
}

/// Makes a key in a token and writes its set durably as new files, as [`super::generate_key`] does for keys in files: the same rule of
/// tag collisions, and a pair that is not used is removed from the token.
pub fn generate_token_key(
    dir: &Path,
    new: &NewKey<'_>,
    taken: &[u16],
    place: TokenPlace<'_>,
) -> Result<KeyFile, KeyFileError> {
    let fail = |error: TokenError| KeyFileError::Generate {
        path: dir.to_owned(),
        algorithm: new.algorithm,
        source: error.into(),
    };
    let store = Pkcs11Uri::parse(place.uri).map_err(|e| fail(e.into()))?;
    if store.object.is_some() || store.id.is_some() {
        return Err(fail(TokenError::UriOfKey));
    }
    let tags = Tags::of(&Folder::scan(dir)?, new, taken)?;
    let is_ksk = new.flags & crate::keys::FLAG_SEP != 0;
    // Runs at the same time begin with different ones.
    let mut number = [0; 2];
    crypto::random(&mut number).map_err(|e| KeyFileError::Generate {
        path: dir.to_owned(),
        algorithm: new.algorithm,
        source: SignError::Backend(e.to_string()),
    })?;
    let mut number = u16::from_be_bytes(number) % 1000;
    for _ in 0..MOST_TOKEN_DRAWS {
        let mut tries = 0;
        let (label, made) = loop {
            let label = place.label(new.zone, is_ksk, number);
            let uri = Pkcs11Uri::parse(&label).map_err(|e| fail(e.into()))?;
            number = (number + 1) % 1000;
            tries += 1;
            match pkcs11::generate(&uri, new.algorithm, new.bits) {
                Err(TokenError::LabelTaken { .. }) if tries < 1000 => {}
                made => break (label, made.map_err(fail)?),
            }
        };
        let public_key = made.public_key().to_vec();
        let dnskey = Dnskey { flags: new.flags, protocol: 3, algorithm: new.algorithm, public_key };
        if !tags.suit(&dnskey) {
            made.discard().map_err(fail)?;
            continue;
        }
        let key = new.file(dir, dnskey);
        match key.create_texts(&key.texts_with(private::print_label(&label, &key))?) {
            Ok(()) => {
                made.keep();
                return Ok(key);
            }
            // Another process took the name since the folder was read.
            Err(KeyFileError::Exists { .. }) => made.discard().map_err(fail)?,
            Err(error) => return Err(error),
        }
    }
    Err(tags.none_free())
}

/// Writes the set of a key that is in a token already, and that `label` names there, durably as new files. The token signs a text first,
/// which must verify with `public_key`, the Public Key field of its DNSKEY. `taken` are the tags of keys of the zone that are elsewhere.
pub fn adopt_token_key(
    dir: &Path,
    new: &NewKey<'_>,
    taken: &[u16],
    label: &str,
    public_key: Vec<u8>,
) -> Result<KeyFile, KeyFileError> {
    let key = placed(dir, new, taken, public_key)?;
    let path = key.path("private");
    let fail = |source: TokenError| KeyFileError::PrivateKey { path: path.clone(), source: source.into() };
    let uri = Pkcs11Uri::parse(label).map_err(|e| fail(e.into()))?;
    pkcs11::load(&uri, new.algorithm, &key.dnskey.public_key).map_err(fail)?;
    key.create_texts(&key.texts_with(private::print_label(label, &key))?)?;
    Ok(key)
}

impl KeyFile {
    /// Where the key is when its `.private` file says that it is in a token; `None` for a key in files.
    pub fn in_token(&self) -> Result<Option<Pkcs11Uri>, KeyFileError> {
        self.token_uri(&self.private_path())
    }

    /// Has the `.private` file name the key in its token by `label`, a PKCS#11 URI, durably; all else in it stays. The key that it names
    /// signs a text first, which must verify with the public key of the `.key` file.
    pub fn rename_in_token(&self, label: &str) -> Result<(), KeyFileError> {
        let path = self.private_path();
        let text = read(&path, Secrecy::Enforced)?;
        let file = private::PrivateFile::parse(&path, &text)?;
        file.check_algorithm(&path, self.dnskey.algorithm)?;
        let new = file.with_label(&path, &text, label)?;
        let fail =
            |source: TokenError| KeyFileError::PrivateKey { path: path.clone(), source: source.into() };
        let uri = Pkcs11Uri::parse(label).map_err(|e| fail(e.into()))?;
        pkcs11::load(&uri, self.dnskey.algorithm, &self.dnskey.public_key).map_err(fail)?;
        durable::write(&path, &new, 0o600).map_err(|source| KeyFileError::Io { path: path.clone(), source })
    }

    /// The signer for a key whose `.private` file says that it is in a token; `None` for other keys.
    pub(super) fn load_from_token(&self, path: &Path) -> Result<Option<Box<dyn SigningKey>>, KeyFileError> {
        let Some(uri) = self.token_uri(path)? else { return Ok(None) };
        let loaded = pkcs11::load(&uri, self.dnskey.algorithm, &self.dnskey.public_key);
        loaded
            .map(Some)
            .map_err(|source| KeyFileError::PrivateKey { path: path.to_owned(), source: source.into() })
    }

    /// Where the key is when its `.private` file says that it is in a token; `None` for other keys.
    pub(super) fn token_uri(&self, path: &Path) -> Result<Option<Pkcs11Uri>, KeyFileError> {
        let text = read(path, Secrecy::Enforced)?;
        let file = private::PrivateFile::parse(path, &text)?;
        file.check_algorithm(path, self.dnskey.algorithm)?;
        let Some(uri) = file.label(path, &text)? else { return Ok(None) };
        if self.dnskey.algorithm.is_rsa()
            && file.rsa_public_key(path, &text)?.is_some_and(|key| key != self.dnskey.public_key)
        {
            return Err(KeyFileError::mismatch(path, "the modulus is not that of the public key of .key"));
        }
        Ok(Some(uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_binds() {
        let now = Timestamp::parse_stamp("20261124034657").expect("a stamp");
        for (zone, policy, uri, expected) in [
            (
                "example.test",
                "p",
                "pkcs11:token=t;pin-source=/p",
                "pkcs11:token=t;pin-source=/p;object=example.test.-p.-ksk-20261124034657007",
            ),
            (
                "x/y.TEST",
                "My Policy",
                "pkcs11:token=t?pin-source=/p",
                "pkcs11:token=t;object=x%2Fy.test.-my%20policy.-ksk-20261124034657007?pin-source=/p",
            ),
            (".", "a..b", "pkcs11:", "pkcs11:object=.-%61%2E%2E%62-ksk-20261124034657007"),
        ] {
            let place = TokenPlace { uri, policy, now };
            let label = place.label(&Name::parse(zone).expect("a name"), true, 7);
            assert_eq!(label, expected);
            assert!(Pkcs11Uri::parse(&label).is_ok());
        }
    }
}
