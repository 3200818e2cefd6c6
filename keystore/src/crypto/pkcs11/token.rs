//! Sessions with tokens: login, finding keys, making keys, signing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;
use ring::digest;

use super::answer::{RawSigner, point_field, rsa_field};
use super::error::code;
use super::sessions::{Lent, Sessions};
use super::{Pin, PinRequest, Pkcs11Uri, TokenError, module, pin};
use crate::crypto::Algorithm;

/// CKA_EC_PARAMS: OIDs of the curves, and the name of Ed25519 (PKCS#11 3.0; older tokens know only one of the two).
const P256: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: [u8; 7] = [6, 5, 0x2b, 0x81, 4, 0, 0x22];
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
    let how = token.how(algorithm)?;
    let key = {
        let session = token.session()?;
        let found = token.private_keys(&session, uri, kind)?;
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
    token.check_rights(key)?;
    Ok(RawKey { token, key, algorithm, how })
}

/// A key pair just made.
pub(super) struct Made {
    pub(super) pair: Pair,
    pub(super) key: RawKey,
    /// The Public Key field of its DNSKEY.
    pub(super) public_key: Vec<u8>,
}

/// Makes a key pair with the label `uri.object`.
pub(super) fn generate(uri: &Pkcs11Uri, algorithm: Algorithm, bits: u16) -> Result<Made, TokenError> {
    let kind = Kind::of(algorithm)?;
    let token = open(uri)?;
    if token.info.write_protected() {
        return Err(TokenError::ReadOnly { token: token.label() });
    }
    let how = token.how(algorithm)?;
    let (mechanism, name) = match kind {
        Kind::Rsa => (Mechanism::RsaPkcsKeyPairGen, "CKM_RSA_PKCS_KEY_PAIR_GEN"),
        Kind::Ec => (Mechanism::EccKeyPairGen, "CKM_EC_KEY_PAIR_GEN"),
        Kind::Edwards => (Mechanism::EccEdwardsKeyPairGen, "CKM_EC_EDWARDS_KEY_PAIR_GEN"),
    };
    token.need(mechanism.mechanism_type(), name, algorithm)?;
    let session = token
        .module
        .open_rw_session(token.slot)
        .map_err(|e| token.failed("opening a session that may write", &e))?;
    // Whatever its kind: BIND, which looks for a label alone, signs nothing with a label that two keys have.
    let label = uri.object.clone().unwrap_or_default().into_bytes();
    let same_label = [Attribute::Token(true), Attribute::Label(label.clone())];
    let taken = session.find_objects(&same_label).map_err(|e| token.failed("looking for a key", &e))?;
    if !taken.is_empty() {
        return Err(TokenError::LabelTaken { token: token.label(), wanted: uri.to_string() });
    }

    let mut id = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut id)
        .map_err(|_| token.broken_answer("the system gave no random octets"))?;
    let id = uri.id.clone().unwrap_or_else(|| id.to_vec());
    let common = [Attribute::Token(true), Attribute::Label(label), Attribute::Id(id)];
    let mut public = common.to_vec();
    public.extend([Attribute::Private(false), Attribute::Verify(true)]);
    // It signs and does nothing else; each kind of key knows some of these only.
    let (other_public, other_private) = match kind {
        Kind::Rsa => (
            vec![Attribute::Encrypt(false), Attribute::Wrap(false)],
            vec![Attribute::Decrypt(false), Attribute::Unwrap(false)],
        ),
        Kind::Ec => (vec![Attribute::Derive(false)], vec![Attribute::Derive(false)]),
        Kind::Edwards => (vec![], vec![]),
    };
    public.extend(other_public);
    let mut private = common.to_vec();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ]);
    private.extend(other_private);
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
    for parameters in choices {
        let public = [&public[..], &parameters].concat();
        made = session.generate_key_pair(&mechanism, &public, &private).map_err(|e| {
            token.failed(
                "making a key pair (does the token take new keys from this user, and has it room?)",
                &e,
            )
        });
        if made.is_ok() {
            break;
        }
    }
    let (public, private) = made?;
    // From here on the pair is removed again on each way out that does not keep it.
    let pair = Pair { token: token.clone(), session: Mutex::new(session), handles: Some((public, private)) };
    let public_key = {
        let session = lock(&pair.session);
        public_key(&token, &session, public, algorithm)?
    };
    Ok(Made { pair, key: RawKey { token, key: private, algorithm, how }, public_key })
}

/// Reads the Public Key field of a public key object.
fn public_key(
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
enum Kind {
    Rsa,
    Ec,
    Edwards,
}

impl Kind {
    fn of(algorithm: Algorithm) -> Result<Self, TokenError> {
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

/// How a token is made to sign for an algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It hashes and pads.
    Sha256RsaPkcs,
    Sha512RsaPkcs,
    /// It pads the DigestInfo that it is given.
    RsaPkcs,
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
}

impl RawSigner for RawKey {
    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, TokenError> {
        let digest = |kind: &'static digest::Algorithm| digest::digest(kind, data);
        let sha256 = || digest(&digest::SHA256).as_ref().to_vec();
        let (mechanism, input) = match (self.how, self.algorithm) {
            (How::Sha256RsaPkcs, _) => (Mechanism::Sha256RsaPkcs, data.to_vec()),
            (How::Sha512RsaPkcs, _) => (Mechanism::Sha512RsaPkcs, data.to_vec()),
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
        session.sign(&mechanism, self.key, &input).map_err(|e| self.token.failed("signing", &e))
    }

    fn token(&self) -> &str {
        self.token.info.label()
    }
}

/// A token that this process is logged in to, as far as it asks for that.
struct Token {
    module: Pkcs11,
    slot: Slot,
    info: TokenInfo,
    sessions: Sessions,
    /// An error said that its session is of no more use.
    gone: AtomicBool,
}

impl Token {
    fn label(&self) -> String {
        self.info.label().to_owned()
    }

    /// A session that nobody else uses meanwhile.
    fn session(&self) -> Result<Lent<'_>, TokenError> {
        let open = || self.module.open_ro_session(self.slot);
        self.sessions.lend(open).map_err(|e| self.failed("opening a session", &e))
    }

    fn broken_answer(&self, what: &'static str) -> TokenError {
        TokenError::BadAnswer { token: self.label(), what: what.into() }
    }

    /// The error for a failed call; marks the token when it must be opened again.
    fn failed(&self, doing: &'static str, error: &Error) -> TokenError {
        let (token, code) = (self.label(), code(error));
        match error {
            Error::Pkcs11(RvError::TokenWriteProtected | RvError::SessionReadOnly, _) => {
                TokenError::ReadOnly { token }
            }
            Error::Pkcs11(value, _) if is_gone(*value) => {
                self.gone.store(true, Ordering::Relaxed);
                TokenError::Gone { token, code }
            }
            _ => TokenError::Failed { token, doing: doing.into(), code },
        }
    }

    /// Private keys that match label and id of the URI.
    fn private_keys(
        &self,
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
        session.find_objects(&template).map_err(|e| self.failed("looking for a key", &e))
    }

    /// Fails for a key that wants its PIN anew for each signature (CKA_ALWAYS_AUTHENTICATE), or that may not sign.
    fn check_rights(&self, key: ObjectHandle) -> Result<(), TokenError> {
        let wanted = [AttributeType::AlwaysAuthenticate, AttributeType::Sign];
        // A token that does not tell is asked to sign all the same.
        let read = self.session()?.get_attributes(key, &wanted).unwrap_or_default();
        for attribute in read {
            match attribute {
                Attribute::AlwaysAuthenticate(true) => {
                    return Err(TokenError::AlwaysAuthenticate { token: self.label() });
                }
                Attribute::Sign(false) => {
                    return Err(self.broken_answer("the key may not sign (CKA_SIGN is false)"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn mechanisms(&self) -> Result<Vec<MechanismType>, TokenError> {
        self.module.get_mechanism_list(self.slot).map_err(|e| self.failed("asking for its mechanisms", &e))
    }

    fn need(
        &self,
        mechanism: MechanismType,
        name: &'static str,
        algorithm: Algorithm,
    ) -> Result<(), TokenError> {
        match self.mechanisms()?.contains(&mechanism) {
            true => Ok(()),
            false => Err(TokenError::Mechanism { token: self.label(), mechanism: name.into(), algorithm }),
        }
    }

    /// The first way of signing that the token knows.
    fn how(&self, algorithm: Algorithm) -> Result<How, TokenError> {
        let ways: &[(MechanismType, How, &str)] = match algorithm.0 {
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
        let known = self.mechanisms()?;
        let mut mechanism = "";
        for (needed, how, name) in ways {
            if known.contains(needed) {
                return Ok(*how);
            }
            mechanism = name;
        }
        Err(TokenError::Mechanism { token: self.label(), mechanism: mechanism.into(), algorithm })
    }
}

/// What this process has loaded and logged in to.
#[derive(Default)]
struct Open {
    modules: HashMap<PathBuf, Pkcs11>,
    /// By module and slot.
    tokens: HashMap<(PathBuf, u64), Arc<Token>>,
    /// The slot that a URI, without its key, was found to mean: by module and URI.
    found: HashMap<(PathBuf, String), u64>,
    /// PINs that were wrong, by module and serial number.
    wrong: Vec<(PathBuf, String, Pin)>,
}

static OPEN: LazyLock<Mutex<Open>> = LazyLock::new(Mutex::default);

/// A panic while the lock was held leaves nothing half-done behind that a later call could trip over.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the token that `uri` names, or takes the one that is open.
fn open(uri: &Pkcs11Uri) -> Result<Arc<Token>, TokenError> {
    let path = module::path(uri)?;
    let mut open = lock(&OPEN);
    // What the same URI meant before needs no second look at the slots; when that token is lost, its first use says so. Another URI
    // that would match it too is looked up, since it may match a second token as well.
    let wanted = Pkcs11Uri { object: None, id: None, ..uri.clone() }.to_string();
    let known = open.found.get(&(path.clone(), wanted.clone())).copied();
    let known = known.and_then(|slot| open.tokens.get(&(path.clone(), slot)));
    if let Some(token) = known.filter(|token| !token.gone.load(Ordering::Relaxed)) {
        return Ok(token.clone());
    }
    let module = match open.modules.get(&path) {
        Some(module) => module.clone(),
        None => {
            let module = module::load(&path)?;
            open.modules.insert(path.clone(), module.clone());
            module
        }
    };
    let (slot, info) = find(&module, &path, uri)?;
    let place = (path, slot.id());
    open.found.insert((place.0.clone(), wanted), slot.id());
    if let Some(token) = open.tokens.get(&place).filter(|token| !token.gone.load(Ordering::Relaxed)) {
        return Ok(token.clone());
    }
    let label = info.label().to_owned();
    let session = module.open_ro_session(slot).map_err(|e| TokenError::Failed {
        token: label,
        doing: "opening a session".into(),
        code: code(&e),
    })?;
    if info.login_required() {
        login(&mut open.wrong, &module, slot, &info, &session, uri, &place.0)?;
    }
    let token =
        Arc::new(Token { module, slot, info, sessions: Sessions::of(session), gone: AtomicBool::new(false) });
    open.tokens.insert(place, token.clone());
    Ok(token)
}

/// The one initialised token that matches.
fn find(module: &Pkcs11, path: &std::path::Path, uri: &Pkcs11Uri) -> Result<(Slot, TokenInfo), TokenError> {
    let fail = |e: Error| TokenError::Module {
        path: path.to_owned(),
        what: format!("it does not list its tokens ({})", code(&e)),
    };
    let mut present = Vec::new();
    let mut found = Vec::new();
    for slot in module.get_slots_with_token().map_err(fail)? {
        // A token that is pulled out between the two calls is none.
        let Ok(info) = module.get_token_info(slot) else { continue };
        if !info.token_initialized() {
            continue;
        }
        present.push(format!("`{}`", info.label()));
        if is_wanted(uri, slot.id(), &info) {
            found.push((slot, info));
        }
    }
    let wanted = Pkcs11Uri { object: None, id: None, ..uri.clone() }.to_string();
    if found.len() > 1 {
        let name = |info: &TokenInfo| format!("`{}` serial {}", info.label(), info.serial_number());
        let present = found.iter().map(|(_, info)| name(info)).collect();
        return Err(TokenError::ManyTokens { wanted, present });
    }
    found.pop().ok_or(TokenError::NoToken { wanted, present })
}

/// True for a token that the URI means.
fn is_wanted(uri: &Pkcs11Uri, slot: u64, info: &TokenInfo) -> bool {
    let same = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
    same(&uri.token, info.label())
        && same(&uri.manufacturer, info.manufacturer_id())
        && same(&uri.model, info.model())
        && same(&uri.serial, info.serial_number())
        && uri.slot_id.is_none_or(|id| id == slot)
}

/// Logs in, with a PIN that was not wrong before.
fn login(
    wrong: &mut Vec<(PathBuf, String, Pin)>,
    module: &Pkcs11,
    slot: Slot,
    info: &TokenInfo,
    session: &Session,
    uri: &Pkcs11Uri,
    path: &std::path::Path,
) -> Result<(), TokenError> {
    let token = || info.label().to_owned();
    if info.user_pin_locked() {
        return Err(TokenError::Locked { token: token() });
    }
    let mut used = None;
    let logged_in = if info.protected_authentication_path() {
        // The person types it at the token itself.
        pin::tell_of_keypad(info.label());
        session.login(UserType::User, None)
    } else {
        let pin = match &uri.pin_source {
            Some(_) if info.user_pin_final_try() => return Err(TokenError::LastTry { token: token() }),
            Some(file) => Pin::read(file)?,
            None => pin::ask(&PinRequest {
                token: info.label(),
                serial: info.serial_number(),
                wrong_before: info.user_pin_count_low(),
                last_try: info.user_pin_final_try(),
            })?,
        };
        let serial = info.serial_number();
        if wrong.iter().any(|(p, s, known)| p == path && s == serial && *known == pin) {
            return Err(TokenError::KnownWrongPin { token: token() });
        }
        let raw = RawAuthPin::new(Box::new(pin.octets().to_vec()));
        used = Some(pin);
        pin::tell_of_login();
        session.login_with_raw(UserType::User, &raw)
    };
    match logged_in {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
            wrong.extend(used.map(|pin| (path.to_owned(), info.serial_number().to_owned(), pin)));
            let now = module.get_token_info(slot).ok();
            let is = |flag: fn(&TokenInfo) -> bool| now.as_ref().is_some_and(flag);
            Err(TokenError::WrongPin {
                token: token(),
                last_try: is(TokenInfo::user_pin_final_try),
                locked: is(TokenInfo::user_pin_locked),
            })
        }
        Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(TokenError::Locked { token: token() }),
        Err(error) => {
            Err(TokenError::Failed { token: token(), doing: "logging in".into(), code: code(&error) })
        }
    }
}

/// True for what a token says, or its module, when its session or its keys are no more.
const fn is_gone(value: RvError) -> bool {
    matches!(
        value,
        RvError::DeviceRemoved
            | RvError::DeviceError
            | RvError::TokenNotPresent
            | RvError::SlotIdInvalid
            | RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::UserNotLoggedIn
            | RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid
            | RvError::CryptokiNotInitialized
    )
}
