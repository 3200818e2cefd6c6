//! The keys that lie in a token, whoever made them: listed, and removed by hand.

use std::collections::BTreeMap;
use std::sync::Mutex;

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::answer::{point_field, rsa_field};
use super::held::{HeldKey, HeldKeyKind, HeldPart, Holding};
use super::key::{P256, P384};
use super::token::{Token, identity, lock, open};
use super::{Pkcs11Uri, TokenError};
use crate::crypto::Algorithm;

/// Keys in one answer, so that it stays short of what a message holds.
const PAGE: usize = 200;

/// CKA_LABEL and CKA_ID.
type Names = (Vec<u8>, Vec<u8>);

/// Private and public objects that have the same label and id.
type Halves = [Vec<ObjectHandle>; 2];

/// A key of a token, by its objects: the halves that have one label and one id.
#[derive(Clone)]
struct Entry {
    label: Vec<u8>,
    id: Vec<u8>,
    private: Option<ObjectHandle>,
    public: Option<ObjectHandle>,
}

impl Entry {
    fn part(&self) -> HeldPart {
        match (self.private, self.public) {
            (Some(_), Some(_)) => HeldPart::Both,
            (Some(_), None) => HeldPart::Private,
            (None, _) => HeldPart::Public,
        }
    }
}

/// The entries of the last list, by its URI: its further pages are of the same keys.
static LISTED: Mutex<Option<(String, Vec<Entry>)>> = Mutex::new(None);

/// The keys of the token that `uri` means, those from the number `from` on, sorted by label and id.
pub(super) fn list(uri: &Pkcs11Uri, from: usize) -> Result<Holding, TokenError> {
    let token = open(uri)?;
    let session = token.session()?;
    let mut listed = lock(&LISTED);
    let known = listed.take().filter(|(of, _)| from > 0 && *of == uri.to_string());
    let entries = match known {
        Some((_, entries)) => entries,
        None => entries(&token, &session, uri)?,
    };
    let more = entries.len() > from + PAGE;
    let page = entries.iter().skip(from).take(PAGE);
    let keys = page.map(|entry| read(&session, entry)).collect();
    *listed = more.then(|| (uri.to_string(), entries));
    let [label, serial, manufacturer, model] = identity(&token);
    Ok(Holding { label, serial, manufacturer, model, keys, more })
}

/// Removes the halves `part` of the key that label and id of `uri` name, and no object of another label or id: where the URI has none, the
/// key has none. Fails when the token has no such key, or several, or other halves of it.
pub(super) fn forget(uri: &Pkcs11Uri, part: HeldPart) -> Result<(), TokenError> {
    let token = open(uri)?;
    let session = token.writing_session()?;
    let is_it = |entry: &Entry| {
        let label = match &uri.object {
            Some(label) => entry.label == label.as_bytes(),
            // One that is no text is named by its id alone.
            None => entry.label.is_empty() || std::str::from_utf8(&entry.label).is_err(),
        };
        label && uri.id.as_deref().unwrap_or_default() == entry.id
    };
    let found: Vec<Entry> = entries(&token, &session, uri)?.into_iter().filter(is_it).collect();
    let (name, wanted) = (token.label(), uri.to_string());
    let entry = match found.as_slice() {
        [] => return Err(TokenError::NoKey { token: name, kind: "or public".into(), wanted }),
        [entry] => entry,
        several => {
            let count = several.len();
            return Err(TokenError::ManyKeys { token: name, kind: "or public".into(), wanted, count });
        }
    };
    if entry.part() != part {
        return Err(token.broken_answer("other halves of the key pair than before; nothing was removed"));
    }
    for object in [entry.private, entry.public].into_iter().flatten() {
        session.destroy_object(object).map_err(|e| token.failed("removing a key", &e))?;
    }
    Ok(())
}

/// The keys that match label and id of the URI, sorted by label and id. Only these two are read.
fn entries(token: &Token, session: &Session, uri: &Pkcs11Uri) -> Result<Vec<Entry>, TokenError> {
    let mut halves: BTreeMap<Names, Halves> = BTreeMap::new();
    for (n, class) in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY].into_iter().enumerate() {
        for object in objects(token, session, uri, class)? {
            halves.entry(names(token, session, object)?).or_default()[n].push(object);
        }
    }
    let of_name = |((label, id), [private, public]): (Names, Halves)| {
        (0..private.len().max(public.len())).map(move |n| Entry {
            label: label.clone(),
            id: id.clone(),
            private: private.get(n).copied(),
            public: public.get(n).copied(),
        })
    };
    Ok(halves.into_iter().flat_map(of_name).collect())
}

/// CKA_LABEL and CKA_ID of an object.
fn names(token: &Token, session: &Session, object: ObjectHandle) -> Result<Names, TokenError> {
    let read = session.get_attributes(object, &[AttributeType::Label, AttributeType::Id]);
    let (mut label, mut id) = (Vec::new(), Vec::new());
    for attribute in read.map_err(|e| token.failed("reading the label of a key", &e))? {
        match attribute {
            Attribute::Label(value) => label = value,
            Attribute::Id(value) => id = value,
            _ => {}
        }
    }
    Ok((label, id))
}

/// Objects of a class that match label and id of the URI.
fn objects(
    token: &Token,
    session: &Session,
    uri: &Pkcs11Uri,
    class: ObjectClass,
) -> Result<Vec<ObjectHandle>, TokenError> {
    let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
    template.extend(uri.object.iter().map(|label| Attribute::Label(label.clone().into_bytes())));
    template.extend(uri.id.iter().map(|id| Attribute::Id(id.clone())));
    session.find_objects(&template).map_err(|e| token.failed("looking for keys", &e))
}

/// Reads what is told of a key. What a token does not tell, or tells in a way of its maker, leaves the key unknown and the others readable.
fn read(session: &Session, entry: &Entry) -> HeldKey {
    let attributes = |object: ObjectHandle, wanted: &[AttributeType]| {
        session.get_attributes(object, wanted).unwrap_or_default()
    };
    let (mut kind, mut public_key) = (HeldKeyKind::Other, None);
    // The public half of an elliptic curve has the point.
    for object in [entry.public, entry.private].into_iter().flatten() {
        let told = attributes(object, &[AttributeType::KeyType]);
        let numbers: &[AttributeType] = match told.first() {
            Some(Attribute::KeyType(KeyType::RSA)) => {
                &[AttributeType::Modulus, AttributeType::PublicExponent]
            }
            Some(Attribute::KeyType(KeyType::EC | KeyType::EC_EDWARDS)) => {
                &[AttributeType::EcParams, AttributeType::EcPoint]
            }
            _ => continue,
        };
        let is_edwards = told.contains(&Attribute::KeyType(KeyType::EC_EDWARDS));
        let (found, key) = public_part(&attributes(object, numbers), is_edwards);
        if kind == HeldKeyKind::Other {
            kind = found;
        }
        public_key = public_key.or(key);
    }
    let (mut rights, mut wants_pin) = (Vec::new(), false);
    if let Some(private) = entry.private {
        let wanted = [
            AttributeType::Sign,
            AttributeType::Decrypt,
            AttributeType::Unwrap,
            AttributeType::Derive,
            AttributeType::SignRecover,
            AttributeType::AlwaysAuthenticate,
        ];
        for attribute in attributes(private, &wanted) {
            match attribute {
                Attribute::Sign(true) => rights.push("sign".to_owned()),
                Attribute::Decrypt(true) => rights.push("decrypt".to_owned()),
                Attribute::Unwrap(true) => rights.push("unwrap".to_owned()),
                Attribute::Derive(true) => rights.push("derive".to_owned()),
                Attribute::SignRecover(true) => rights.push("sign-recover".to_owned()),
                Attribute::AlwaysAuthenticate(true) => wants_pin = true,
                _ => {}
            }
        }
    }
    let Entry { label, id, .. } = entry.clone();
    HeldKey { label, id, kind, part: entry.part(), public_key, rights, wants_pin }
}

/// Kind and Public Key field, as far as the attributes have them.
fn public_part(attributes: &[Attribute], is_edwards: bool) -> (HeldKeyKind, Option<Vec<u8>>) {
    let (mut modulus, mut exponent, mut parameters, mut point) = (None, None, None, None);
    for attribute in attributes {
        match attribute {
            Attribute::Modulus(value) => modulus = Some(value),
            Attribute::PublicExponent(value) => exponent = Some(value),
            Attribute::EcParams(value) => parameters = Some(value),
            Attribute::EcPoint(value) => point = Some(value),
            _ => {}
        }
    }
    if let Some(modulus) = modulus {
        let octets = modulus.len() - modulus.iter().take_while(|b| **b == 0).count();
        let field = exponent.and_then(|exponent| rsa_field(Algorithm::RSASHA256, exponent, modulus));
        return (HeldKeyKind::Rsa(u16::try_from(octets * 8).unwrap_or(u16::MAX)), field);
    }
    let kind = match parameters.map(Vec::as_slice) {
        _ if is_edwards => HeldKeyKind::Ed25519,
        Some(oid) if oid == P256 => HeldKeyKind::P256,
        Some(oid) if oid == P384 => HeldKeyKind::P384,
        _ => HeldKeyKind::Other,
    };
    let field =
        kind.algorithms().first().zip(point).and_then(|(algorithm, point)| point_field(*algorithm, point));
    (kind, field)
}
