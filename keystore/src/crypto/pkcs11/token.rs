//! Tokens that this process has open: loading their modules, finding the one that a URI means, login.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;

use super::error::code;
use super::sessions::{Lent, Sessions};
use super::{Pin, PinRequest, Pkcs11Uri, TokenError, module, pin};
use crate::crypto::Algorithm;

/// A token that this process is logged in to, as far as it asks for that.
pub(super) struct Token {
    module: Pkcs11,
    slot: Slot,
    info: TokenInfo,
    /// How this process has logged in.
    login: Login,
    sessions: Sessions,
    /// An error said that its session is of no more use.
    gone: AtomicBool,
}

impl Token {
    pub(super) fn label(&self) -> String {
        self.info.label().to_owned()
    }

    /// Its label.
    pub(super) fn label_text(&self) -> &str {
        self.info.label()
    }

    /// A session of its own that may write.
    pub(super) fn writing_session(&self) -> Result<Session, TokenError> {
        if self.info.write_protected() {
            return Err(TokenError::ReadOnly { token: self.label() });
        }
        let opened = self.module.open_rw_session(self.slot);
        opened.map_err(|e| self.failed("opening a session that may write", &e))
    }

    /// Gives the PIN once more, for the signature that was begun in this session (CKU_CONTEXT_SPECIFIC). It is the PIN of the login, not
    /// that which a file may have by now: a wrong one would be sent for each signature, and lock the token.
    pub(super) fn login_again(&self, session: &Session) -> Result<(), TokenError> {
        let logged_in = match &self.login {
            Login::None => return Ok(()),
            Login::AtToken => {
                pin::tell_of_keypad(self.info.label());
                session.login(UserType::ContextSpecific, None)
            }
            Login::Pin(pin) => {
                let raw = RawAuthPin::new(Box::new(pin.octets().to_vec()));
                session.login_with_raw(UserType::ContextSpecific, &raw)
            }
        };
        logged_in.map_err(|error| match error {
            Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _) => {
                TokenError::WrongPin { token: self.label(), last_try: false, locked: false }
            }
            Error::Pkcs11(RvError::PinLocked, _) => TokenError::Locked { token: self.label() },
            other => self.failed("giving the PIN for a signature", &other),
        })
    }

    /// A session that nobody else uses meanwhile.
    pub(super) fn session(&self) -> Result<Lent<'_>, TokenError> {
        let open = || self.module.open_ro_session(self.slot);
        self.sessions.lend(open).map_err(|e| self.failed("opening a session", &e))
    }

    pub(super) fn broken_answer(&self, what: &'static str) -> TokenError {
        TokenError::BadAnswer { token: self.label(), what: what.into() }
    }

    /// The error for a failed call; marks the token when it must be opened again.
    pub(super) fn failed(&self, doing: &'static str, error: &Error) -> TokenError {
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

    pub(super) fn mechanisms(&self) -> Result<Vec<MechanismType>, TokenError> {
        self.module.get_mechanism_list(self.slot).map_err(|e| self.failed("asking for its mechanisms", &e))
    }

    pub(super) fn need(
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
}

/// How this process has logged in to a token.
enum Login {
    /// The token wants no login.
    None,
    /// A person typed the PIN at the token.
    AtToken,
    Pin(Pin),
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

impl Open {
    /// A module, which is loaded when it is not yet.
    fn module(&mut self, path: &Path) -> Result<Pkcs11, TokenError> {
        if let Some(module) = self.modules.get(path) {
            return Ok(module.clone());
        }
        let module = module::load(path)?;
        self.modules.insert(path.to_owned(), module.clone());
        Ok(module)
    }
}

static OPEN: LazyLock<Mutex<Open>> = LazyLock::new(Mutex::default);

/// A panic while the lock was held leaves nothing half-done behind that a later call could trip over.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the token that `uri` names, or takes the one that is open.
pub(super) fn open(uri: &Pkcs11Uri) -> Result<Arc<Token>, TokenError> {
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
    let module = open.module(&path)?;
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
    let login = match info.login_required() {
        true => login(&mut open.wrong, &module, slot, &info, &session, uri, &place.0)?,
        false => Login::None,
    };
    let (sessions, gone) = (Sessions::of(session), AtomicBool::new(false));
    let token = Arc::new(Token { module, slot, info, login, sessions, gone });
    open.tokens.insert(place, token.clone());
    Ok(token)
}

/// Label, serial number, maker and model.
pub(super) fn identity(token: &Token) -> [String; 4] {
    let info = &token.info;
    [info.label(), info.serial_number(), info.manufacturer_id(), info.model()].map(str::to_owned)
}

/// Looks whether the token is there and the PIN file reads, and does not log in: a look must not use up one of the tries that a token
/// gives for its PIN.
pub(super) fn look(uri: &Pkcs11Uri) -> Result<(), TokenError> {
    let path = module::path(uri)?;
    let (_, info) = find(&lock(&OPEN).module(&path)?, &path, uri)?;
    if info.login_required() && info.user_pin_locked() {
        return Err(TokenError::Locked { token: info.label().to_owned() });
    }
    match &uri.pin_source {
        Some(file) => Pin::read(file).map(|_| ()),
        None => Ok(()),
    }
}

/// The one initialised token that matches.
fn find(module: &Pkcs11, path: &Path, uri: &Pkcs11Uri) -> Result<(Slot, TokenInfo), TokenError> {
    let fail = |e: Error| TokenError::Module {
        path: path.to_owned(),
        what: format!("it does not list its tokens ({})", code(&e)),
    };
    let mut present = Vec::new();
    let mut found = Vec::new();
    for slot in module.get_slots_with_token().map_err(fail)? {
        let info = match module.get_token_info(slot) {
            Ok(info) => info,
            // A token that is pulled out between the two calls is none.
            Err(Error::Pkcs11(RvError::TokenNotPresent | RvError::DeviceRemoved, _)) => continue,
            Err(error) => {
                present.push(format!("one that does not tell its name ({})", code(&error)));
                continue;
            }
        };
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
    path: &Path,
) -> Result<Login, TokenError> {
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
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
            Ok(used.map_or(Login::AtToken, Login::Pin))
        }
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

/// True for what a token says, or its module, when its session or its keys are no more, or when it says that nothing will go well before
/// it is started again.
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
            | RvError::HostMemory
            | RvError::GeneralError
            // An operation that failed was left open in its session.
            | RvError::OperationActive
            | RvError::OperationNotInitialized
    )
}
