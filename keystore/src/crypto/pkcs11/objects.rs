//! The keys that lie in a token, whoever made them: listed, and removed by hand.

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::answer::{point_field, rsa_field};
use super::held::{HeldKey, HeldKeyKind, HeldPart, Holding};
use super::key::{P256, P384};
use super::token::{Token, identity, open};
use super::{Pkcs11Uri, TokenError};
use crate::crypto::Algorithm;

/// Keys in one answer, so that it stays short of what a message holds.
const PAGE: usize = 200;

/// Rights of a private key beside signing, with their names.
const RIGHTS: [(AttributeType, &str); 4] = [
    (AttributeType::Decrypt, "decrypt"),
    (AttributeType::Unwrap, "unwrap"),
    (AttributeType::Derive, "derive"),
    (AttributeType::SignRecover, "sign-recover"),
];

/// The keys of the token that `uri` means, those from the number `from` on, sorted by their labels.
pub(super) fn list(uri: &Pkcs11Uri, from: usize) -> Result<Holding, TokenError> {
    let token = open(uri)?;
    let session = token.session()?;
    let mut keys: Vec<HeldKey> = Vec::new();
    for (class, part) in
        [(ObjectClass::PRIVATE_KEY, HeldPart::Private), (ObjectClass::PUBLIC_KEY, HeldPart::Public)]
    {
        for object in objects(&token, &session, uri, class)? {
            join(&mut keys, read(&token, &session, object, part)?);
        }
    }
    keys.sort_by(|a, b| (&a.label, &a.id).cmp(&(&b.label, &b.id)));
    let more = keys.len() > from + PAGE;
    let keys = keys.into_iter().skip(from).take(PAGE).collect();
    let [label, serial, manufacturer, model] = identity(&token);
    Ok(Holding { label, serial, manufacturer, model, keys, more })
}

/// Removes the key that `uri` names, both halves, or the one that is there. Fails unless label and id name one key alone.
pub(super) fn forget(uri: &Pkcs11Uri) -> Result<(), TokenError> {
    let token = open(uri)?;
    let session = token.writing_session()?;
    let find = |class| objects(&token, &session, uri, class);
    let (private, public) = (find(ObjectClass::PRIVATE_KEY)?, find(ObjectClass::PUBLIC_KEY)?);
    let (name, wanted) = (token.label(), uri.to_string());
    match private.len().max(public.len()) {
        0 => return Err(TokenError::NoKey { token: name, kind: "or public".into(), wanted }),
        1 => {}
        count => return Err(TokenError::ManyKeys { token: name, kind: "or public".into(), wanted, count }),
    }
    for object in private.into_iter().chain(public) {
        session.destroy_object(object).map_err(|e| token.failed("removing a key", &e))?;
    }
    Ok(())
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

/// Adds a half to the half that has the same label and id, or as a key of its own.
fn join(keys: &mut Vec<HeldKey>, half: HeldKey) {
    let other = keys.iter_mut().find(|key| {
        key.part != half.part && key.part != HeldPart::Both && key.label == half.label && key.id == half.id
    });
    match other {
        Some(key) => {
            key.part = HeldPart::Both;
            key.public_key = half.public_key.or(key.public_key.take());
            if key.kind == HeldKeyKind::Other {
                key.kind = half.kind;
            }
        }
        None => keys.push(half),
    }
}

/// Reads one object.
fn read(
    token: &Token,
    session: &Session,
    object: ObjectHandle,
    part: HeldPart,
) -> Result<HeldKey, TokenError> {
    let attributes = |wanted: &[AttributeType]| session.get_attributes(object, wanted);
    let names = [AttributeType::Label, AttributeType::Id];
    let names = attributes(&names).map_err(|e| token.failed("reading the label of a key", &e))?;
    let (mut label, mut id) = (Vec::new(), Vec::new());
    for attribute in names {
        match attribute {
            Attribute::Label(value) => label = value,
            Attribute::Id(value) => id = value,
            _ => {}
        }
    }
    // What a token does not tell of a key, or tells in a way of its maker, leaves the key unknown and the others readable.
    let told = attributes(&[AttributeType::KeyType]).unwrap_or_default();
    let numbers: &[AttributeType] = match told.first() {
        Some(Attribute::KeyType(KeyType::RSA)) => &[AttributeType::Modulus, AttributeType::PublicExponent],
        Some(Attribute::KeyType(KeyType::EC | KeyType::EC_EDWARDS)) => {
            &[AttributeType::EcParams, AttributeType::EcPoint]
        }
        _ => &[],
    };
    let is_edwards = told.contains(&Attribute::KeyType(KeyType::EC_EDWARDS));
    let (kind, public_key) = public_part(&attributes(numbers).unwrap_or_default(), is_edwards);
    let mut rights = Vec::new();
    let mut wants_pin = false;
    if part == HeldPart::Private {
        let wanted = [AttributeType::Sign, AttributeType::AlwaysAuthenticate];
        let told = attributes(&wanted).unwrap_or_default();
        if told.contains(&Attribute::Sign(true)) {
            rights.push("sign".to_owned());
        }
        wants_pin = told.contains(&Attribute::AlwaysAuthenticate(true));
        for (right, name) in RIGHTS {
            let told = attributes(&[right]).unwrap_or_default();
            let has = told.iter().any(|attribute| {
                matches!(
                    attribute,
                    Attribute::Decrypt(true)
                        | Attribute::Unwrap(true)
                        | Attribute::Derive(true)
                        | Attribute::SignRecover(true)
                )
            });
            if has {
                rights.push(name.to_owned());
            }
        }
    }
    Ok(HeldKey { label, id, kind, part, public_key, rights, wants_pin })
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
