//! Private keys of a token: finding them, making them, signing with them.

use std::sync::{Arc, Mutex};

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use ring::digest;

use super::answer::{RawSigner, point_field, rsa_field};
use super::token::{Token, lock, open};
use super::{Pkcs11Uri, TokenError};
use crate::crypto::Algorithm;

/// CKA_EC_PARAMS: OIDs of the curves, and the name of Ed25519 (PKCS#11 3.0; older tokens know only one of the two).
pub(super) const P256: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
pub(super) const P384: [u8; 7] = [6, 5, 0x2b, 0x81, 4, 0, 0x22];
const ED25519: [u8; 5] = [6, 3, 0x2b, 0x65, 0x70];
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

/// DER of DigestInfo up to the digest (RFC 8017 section 9.2, note 1), for tokens that do not hash.
const SHA256_INFO: &[u8] = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
const SHA512_INFO: &[u8] = b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40";

/// Fails for an algorithm whose keys no token has.
pub(super) fn check_algorithm(algorithm: Algorithm) -> Result<(), TokenError> {
    Kind::of(algorithm).map(|_| ())
}

/// The private key that `uri` names.
pub(super) fn load(uri: &Pkcs11Uri, algorithm: Algorithm) -> Result<RawKey, TokenError> {
    let kind = Kind::of(algorithm)?;
    let token = open(uri)?;
    let key = {
        let session = token.session()?;
        let found = private_keys(&token, &session, uri, kind)?;
        match found.as_slice() {
            [key] => *key,
            [] => {
                let (token, wanted) = (token.label(), uri.to_string());
                return Err(TokenError::NoKey { token, kind: kind.name().into(), wanted });
            }
            several => {
                let (token, wanted, count) = (token.label(), uri.to_string(), several.len());
                return Err(TokenError::ManyKeys { token, kind: kind.name().into(), wanted, count });
            }
        }
    };
    let authentication = check_rights(&token, key)?;
    let how = match authentication {
        Authentication::AtLogin => how(&token, algorithm)?,
        Authentication::EachSignature => how_of_several_parts(&token, algorithm)?,
    };
    Ok(RawKey { token, key, algorithm, how, authentication })
}

/// A key pair just made.
pub(super) struct GeneratedPair {
    pub(super) pair: Pair,
    pub(super) key: RawKey,
    /// The Public Key field of its DNSKEY.
    pub(super) public_key: Vec<u8>,
}

/// Makes a key pair with the label `uri.object`.
pub(super) fn generate(
    uri: &Pkcs11Uri,
    algorithm: Algorithm,
    bits: u16,
) -> Result<GeneratedPair, TokenError> {
    let kind = Kind::of(algorithm)?;
    let token = open(uri)?;
    let how = how(&token, algorithm)?;
    let (mechanism, name) = match kind {
        Kind::Rsa => (Mechanism::RsaPkcsKeyPairGen, "CKM_RSA_PKCS_KEY_PAIR_GEN"),
        Kind::Ec => (Mechanism::EccKeyPairGen, "CKM_EC_KEY_PAIR_GEN"),
        Kind::Edwards => (Mechanism::EccEdwardsKeyPairGen, "CKM_EC_EDWARDS_KEY_PAIR_GEN"),
    };
    token.need(mechanism.mechanism_type(), name, algorithm)?;
    let session = token.writing_session()?;
    // Whatever its kind: BIND, which looks for a label alone, signs nothing with a label that two keys have.
    let label = uri.object.clone().unwrap_or_default().into_bytes();
    let same_label = [Attribute::Token(true), Attribute::Label(label.clone())];
    let check_label = |session: &Session, own: &[ObjectHandle]| {
        let found = session.find_objects(&same_label).map_err(|e| token.failed("looking for a key", &e))?;
        match found.iter().all(|object| own.contains(object)) {
            true => Ok(()),
            false => Err(TokenError::LabelTaken { token: token.label(), wanted: uri.to_string() }),
        }
    };
    check_label(&session, &[])?;

    let mut id = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut id)
        .map_err(|_| token.broken_answer("the system gave no random octets"))?;
    let id = uri.id.clone().unwrap_or_else(|| id.to_vec());
    let common = [Attribute::Token(true), Attribute::Label(label), Attribute::Id(id)];
    let public = [&common[..], &[Attribute::Private(false), Attribute::Verify(true)]].concat();
    let private = [
        &common[..],
        &[
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ],
    ]
    .concat();
    let choices: Vec<Vec<Attribute>> = match algorithm {
        Algorithm::ECDSAP256SHA256 => vec![vec![Attribute::EcParams(P256.to_vec())]],
        Algorithm::ECDSAP384SHA384 => vec![vec![Attribute::EcParams(P384.to_vec())]],
        Algorithm::ED25519 => {
            [&ED25519[..], ED25519_NAME].map(|p| vec![Attribute::EcParams(p.to_vec())]).into()
        }
        _ => {
            vec![vec![
                Attribute::ModulusBits(u64::from(bits).into()),
                Attribute::PublicExponent(vec![1, 0, 1]),
            ]]
        }
    };
    let mut made = Err(token.broken_answer("no parameters"));
    for (parameters, forbidden) in choices.iter().flat_map(|p| Forbidden::ALL.map(|f| (p, f))) {
        let public = [&public[..], parameters, &forbidden.public(kind)].concat();
        let private = [&private[..], &forbidden.private(kind)].concat();
        let result = session.generate_key_pair(&mechanism, &public, &private);
        // A token that will not be told of a right, or knows the curve by another name.
        let is_of_template = matches!(
            result,
            Err(Error::Pkcs11(
                RvError::AttributeTypeInvalid
                    | RvError::AttributeValueInvalid
                    | RvError::AttributeReadOnly
                    | RvError::TemplateInconsistent
                    | RvError::DomainParamsInvalid
                    | RvError::CurveNotSupported,
                _
            ))
        );
        let doing = "making a key pair (does the token take new keys from this user, and has it room?)";
        made = result.map_err(|e| token.failed(doing, &e));
        if !is_of_template {
            break;
        }
    }
    let (public, private) = made?;
    // From here on the pair is removed again on each way out that does not keep it.
    let pair = Pair { token: token.clone(), session: Mutex::new(session), handles: Some((public, private)) };
    let public_key = {
        let session = lock(&pair.session);
        // Another process can have made a key with this label meanwhile; both see it here, and try other labels.
        check_label(&session, &[public, private])?;
        public_key(&token, &session, public, algorithm)?
    };
    let authentication = check_rights(&token, private)?;
    let how = match authentication {
        Authentication::AtLogin => how,
        Authentication::EachSignature => how_of_several_parts(&token, algorithm)?,
    };
    Ok(GeneratedPair {
        pair,
        key: RawKey { token, key: private, algorithm, how, authentication },
        public_key,
    })
}

/// Reads the Public Key field of a public key object.
pub(super) fn public_key(
    token: &Token,
    session: &Session,
    object: ObjectHandle,
    algorithm: Algorithm,
) -> Result<Vec<u8>, TokenError> {
    let wanted = match algorithm.is_rsa() {
        true => vec![AttributeType::Modulus, AttributeType::PublicExponent],
        false => vec![AttributeType::EcPoint],
    };
    let read =
        session.get_attributes(object, &wanted).map_err(|e| token.failed("reading a public key", &e))?;
    let (mut modulus, mut exponent, mut point) = (None, None, None);
    for attribute in read {
        match attribute {
            Attribute::Modulus(value) => modulus = Some(value),
            Attribute::PublicExponent(value) => exponent = Some(value),
            Attribute::EcPoint(value) => point = Some(value),
            _ => {}
        }
    }
    let field = match (modulus, exponent, point) {
        (Some(modulus), Some(exponent), None) => rsa_field(algorithm, &exponent, &modulus),
        (None, None, Some(point)) => point_field(algorithm, &point),
        _ => None,
    };
    field.ok_or_else(|| token.broken_answer("a public key that does not read"))
}

/// A key pair that was just made, and the session that may remove it.
pub(super) struct Pair {
    token: Arc<Token>,
    session: Mutex<Session>,
    handles: Option<(ObjectHandle, ObjectHandle)>,
}

impl Pair {
    pub(super) fn keep(&mut self) {
        self.handles = None;
    }

    pub(super) fn remove(&mut self) -> Result<(), TokenError> {
        let Some((public, private)) = self.handles.take() else { return Ok(()) };
        let session = lock(&self.session);
        let both = [private, public].map(|object| session.destroy_object(object));
        for removed in both {
            removed.map_err(|e| self.token.failed("removing a key pair that is not used", &e))?;
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // On the way out with an error already, which is the one to tell.
        let _ = self.remove();
    }
}

/// PKCS#11's kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rsa,
    Ec,
    Edwards,
}

impl Kind {
    pub(super) fn of(algorithm: Algorithm) -> Result<Self, TokenError> {
        match algorithm.0 {
            8 | 10 => Ok(Self::Rsa),
            13 | 14 => Ok(Self::Ec),
            15 => Ok(Self::Edwards),
            _ => Err(TokenError::Algorithm(algorithm)),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ec => "EC",
            Self::Edwards => "Edwards",
        }
    }

    const fn key_type(self) -> KeyType {
        match self {
            Self::Rsa => KeyType::RSA,
            Self::Ec => KeyType::EC,
            Self::Edwards => KeyType::EC_EDWARDS,
        }
    }
}

/// What a new key is told not to do: all that is not signing, or, in a token that knows no such rights for its kind of key, less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forbidden {
    All,
    OfKind,
}

impl Forbidden {
    const ALL: [Self; 2] = [Self::All, Self::OfKind];

    fn public(self, kind: Kind) -> Vec<Attribute> {
        match (self, kind) {
            (Self::All, _) => vec![
                Attribute::Encrypt(false),
                Attribute::Wrap(false),
                Attribute::Derive(false),
                Attribute::VerifyRecover(false),
            ],
            (Self::OfKind, Kind::Rsa) => vec![Attribute::Encrypt(false), Attribute::Wrap(false)],
            (Self::OfKind, Kind::Ec) => vec![Attribute::Derive(false)],
            (Self::OfKind, Kind::Edwards) => vec![],
        }
    }

    fn private(self, kind: Kind) -> Vec<Attribute> {
        match (self, kind) {
            (Self::All, _) => vec![
                Attribute::Decrypt(false),
                Attribute::Unwrap(false),
                Attribute::Derive(false),
                Attribute::SignRecover(false),
            ],
            (Self::OfKind, Kind::Rsa) => vec![Attribute::Decrypt(false), Attribute::Unwrap(false)],
            (Self::OfKind, Kind::Ec) => vec![Attribute::Derive(false)],
            (Self::OfKind, Kind::Edwards) => vec![],
        }
    }
}

/// When a key wants the PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Authentication {
    /// Once, when the token is opened.
    AtLogin,
    /// For each signature anew (CKA_ALWAYS_AUTHENTICATE).
    EachSignature,
}

/// How a token is made to sign for an algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It hashes and pads.
    Sha256RsaPkcs,
    Sha512RsaPkcs,
    /// It pads the DigestInfo that it is given.
    RsaPkcs,
    /// It hashes what it signs.
    EcdsaSha256,
    EcdsaSha384,
    /// It signs the digest that it is given.
    Ecdsa,
    Eddsa,
}

/// A private key of a token.
pub(super) struct RawKey {
    token: Arc<Token>,
    key: ObjectHandle,
    algorithm: Algorithm,
    how: How,
    authentication: Authentication,
}

impl RawSigner for RawKey {
    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, TokenError> {
        let digest = |kind: &'static digest::Algorithm| digest::digest(kind, data);
        let sha256 = || digest(&digest::SHA256).as_ref().to_vec();
        let (mechanism, input) = match (self.how, self.algorithm) {
            (How::Sha256RsaPkcs, _) => (Mechanism::Sha256RsaPkcs, data.to_vec()),
            (How::Sha512RsaPkcs, _) => (Mechanism::Sha512RsaPkcs, data.to_vec()),
            (How::EcdsaSha256, _) => (Mechanism::EcdsaSha256, data.to_vec()),
            (How::EcdsaSha384, _) => (Mechanism::EcdsaSha384, data.to_vec()),
            (How::RsaPkcs, Algorithm::RSASHA512) => {
                (Mechanism::RsaPkcs, [SHA512_INFO, digest(&digest::SHA512).as_ref()].concat())
            }
            (How::RsaPkcs, _) => (Mechanism::RsaPkcs, [SHA256_INFO, &sha256()].concat()),
            (How::Ecdsa, Algorithm::ECDSAP384SHA384) => {
                (Mechanism::Ecdsa, digest(&digest::SHA384).as_ref().to_vec())
            }
            (How::Ecdsa, _) => (Mechanism::Ecdsa, sha256()),
            (How::Eddsa, _) => {
                (Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)), data.to_vec())
            }
        };
        let session = self.token.session()?;
        if self.authentication == Authentication::EachSignature {
            return self.sign_with_login(&session, &mechanism, &input);
        }
        session.sign(&mechanism, self.key, &input).map_err(|e| self.token.failed("signing", &e))
    }

    fn token(&self) -> &str {
        self.token.label_text()
    }
}

impl RawKey {
    /// Signs with a key that wants the PIN for each signature.
    fn sign_with_login(
        &self,
        session: &Session,
        mechanism: &Mechanism<'_>,
        input: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        let fail = |e: Error| self.token.failed("signing", &e);
        session.sign_init(mechanism, self.key).map_err(fail)?;
        self.token.login_again(session)?;
        session.sign_update(input).map_err(fail)?;
        session.sign_final().map_err(fail)
    }
}

/// Private keys that match label and id of the URI.
fn private_keys(
    token: &Token,
    session: &Session,
    uri: &Pkcs11Uri,
    kind: Kind,
) -> Result<Vec<ObjectHandle>, TokenError> {
    let mut template = vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Token(true),
        Attribute::KeyType(kind.key_type()),
    ];
    template.extend(uri.object.iter().map(|label| Attribute::Label(label.clone().into_bytes())));
    template.extend(uri.id.iter().map(|id| Attribute::Id(id.clone())));
    session.find_objects(&template).map_err(|e| token.failed("looking for a key", &e))
}

/// When the key wants the PIN; fails for one that may not sign.
fn check_rights(token: &Token, key: ObjectHandle) -> Result<Authentication, TokenError> {
    let wanted = [AttributeType::AlwaysAuthenticate, AttributeType::Sign];
    // A token that does not tell is asked to sign all the same.
    let read = token.session()?.get_attributes(key, &wanted).unwrap_or_default();
    if read.contains(&Attribute::Sign(false)) {
        return Err(token.broken_answer("the key may not sign (CKA_SIGN is false)"));
    }
    Ok(match read.contains(&Attribute::AlwaysAuthenticate(true)) {
        true => Authentication::EachSignature,
        false => Authentication::AtLogin,
    })
}

/// The first way of signing that the token knows.
fn how(token: &Token, algorithm: Algorithm) -> Result<How, TokenError> {
    let ways: &[(MechanismType, How, &'static str)] = match algorithm.0 {
        8 => &[
            (MechanismType::SHA256_RSA_PKCS, How::Sha256RsaPkcs, ""),
            (MechanismType::RSA_PKCS, How::RsaPkcs, "CKM_RSA_PKCS"),
        ],
        10 => &[
            (MechanismType::SHA512_RSA_PKCS, How::Sha512RsaPkcs, ""),
            (MechanismType::RSA_PKCS, How::RsaPkcs, "CKM_RSA_PKCS"),
        ],
        13 | 14 => &[(MechanismType::ECDSA, How::Ecdsa, "CKM_ECDSA")],
        15 => &[(MechanismType::EDDSA, How::Eddsa, "CKM_EDDSA")],
        _ => return Err(TokenError::Algorithm(algorithm)),
    };
    first_known(token, algorithm, ways)
}

/// The first of several ways that the token knows.
fn first_known(
    token: &Token,
    algorithm: Algorithm,
    ways: &[(MechanismType, How, &'static str)],
) -> Result<How, TokenError> {
    let known = token.mechanisms()?;
    let mut mechanism = "";
    for (needed, how, name) in ways {
        if known.contains(needed) {
            return Ok(*how);
        }
        mechanism = name;
    }
    Err(TokenError::Mechanism { token: token.label(), mechanism: mechanism.into(), algorithm })
}

/// The way of signing for a key that wants the PIN for each signature: between its beginning and its end there is a login, for which
/// the call must have several parts, and those that only pad or take a digest have one.
fn how_of_several_parts(token: &Token, algorithm: Algorithm) -> Result<How, TokenError> {
    let way = match algorithm.0 {
        8 => (MechanismType::SHA256_RSA_PKCS, How::Sha256RsaPkcs, "CKM_SHA256_RSA_PKCS"),
        10 => (MechanismType::SHA512_RSA_PKCS, How::Sha512RsaPkcs, "CKM_SHA512_RSA_PKCS"),
        13 => (MechanismType::ECDSA_SHA256, How::EcdsaSha256, "CKM_ECDSA_SHA256"),
        14 => (MechanismType::ECDSA_SHA384, How::EcdsaSha384, "CKM_ECDSA_SHA384"),
        _ => return Err(TokenError::Algorithm(algorithm)),
    };
    first_known(token, algorithm, &[way])
        .map_err(|_| TokenError::AlwaysAuthenticate { token: token.label(), mechanism: way.2.into() })
}
