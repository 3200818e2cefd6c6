//! The module of a token in a process of its own, so that a module which hangs, crashes, or counts wrong costs nothing but the calls
//! that it was asked.
//!
//! ```text
//!            ┌──────────── first use ───────────┐
//!            ▼                                  │
//!  none ─▶ running ── no answer in time, ended ─▶ resting (no call for a while) ─▶ none
//! ```
//!
//! There is one process for each module and token. Calls run side by side, each with its deadline; a call that misses it ends the
//! process, and with it the other calls to the same token. Keys opened before are to be opened again then, as after a token was
//! pulled out.

use std::collections::HashMap;
use std::io;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::{RawSigner, Verified};
use super::wire::{PinQuestion, Reply, Request};
use super::{Pkcs11Uri, TokenError, module, pin};
use crate::crypto::{Algorithm, SigningKey};

/// The first argument of the process, in place of a command.
pub(super) const ARGUMENT: &str = "pkcs11-module-process";

/// Sets the deadline of a signature, in seconds.
const TIMEOUT_VARIABLE: &str = "OFFLINE_KSK_TOKEN_TIMEOUT";

/// Deadline of a signature; smart cards take a second for RSA.
const SIGNING: Duration = Duration::from_secs(10);

/// How long a person may take at the keypad of a token.
const AT_TOKEN: Duration = Duration::from_secs(300);

static ISOLATED: AtomicBool = AtomicBool::new(false);

/// Has modules run in processes of their own from now on.
pub(super) fn isolate() {
    ISOLATED.store(true, Ordering::Relaxed);
}

/// True when modules run in processes of their own.
pub(super) fn is_isolated() -> bool {
    ISOLATED.load(Ordering::Relaxed)
}

/// A private key in a token.
pub(super) fn load(
    uri: &Pkcs11Uri,
    algorithm: Algorithm,
    public_key: &[u8],
) -> Result<Box<dyn SigningKey>, TokenError> {
    let (key, _) = open(uri, algorithm, &Request::Load { uri: uri.clone(), algorithm }, Doing::Opening)?;
    Ok(Box::new(Verified::new(key, algorithm, public_key.to_vec())?))
}

/// A key pair just made, and its Public Key field.
pub(super) fn generate(
    uri: &Pkcs11Uri,
    algorithm: Algorithm,
    bits: u16,
) -> Result<(Pair, Vec<u8>), TokenError> {
    let request = Request::Generate { uri: uri.clone(), algorithm, bits };
    let (key, public_key) = open(uri, algorithm, &request, Doing::Making)?;
    let pair = Pair { process: Arc::clone(&key.process), key: Some(key.number) };
    let public_key = public_key.ok_or_else(|| key.bad_answer("a key pair without public key"))?;
    Verified::new(key, algorithm, public_key.clone())?;
    Ok((pair, public_key))
}

fn open(
    uri: &Pkcs11Uri,
    algorithm: Algorithm,
    request: &Request,
    doing: Doing,
) -> Result<(RemoteKey, Option<Vec<u8>>), TokenError> {
    super::token::check_algorithm(algorithm)?;
    let process = Process::of(uri)?;
    match process.call(request, doing)? {
        Reply::Key { key: number, token, public_key } => {
            Ok((RemoteKey { process, number, token }, public_key))
        }
        _ => Err(process.bad_answer("something else than a key")),
    }
}

/// A key pair that was made in this run. It is removed again when dropped, unless it is kept.
pub(super) struct Pair {
    process: Arc<Process>,
    key: Option<u32>,
}

impl Pair {
    pub(super) fn keep(&mut self) {
        if let Some(key) = self.key.take() {
            // A process that ended meanwhile has not removed the pair, which is all that keeping means.
            let _ = self.process.call(&Request::Keep { key }, Doing::Keeping);
        }
    }

    pub(super) fn remove(&mut self) -> Result<(), TokenError> {
        let Some(key) = self.key.take() else { return Ok(()) };
        self.process.call(&Request::Remove { key }, Doing::Removing).map(|_| ())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // On the way out with an error already, which is the one to tell.
        let _ = self.remove();
    }
}

/// A private key that a process has open.
struct RemoteKey {
    process: Arc<Process>,
    number: u32,
    token: String,
}

impl RemoteKey {
    fn bad_answer(&self, what: &'static str) -> TokenError {
        TokenError::BadAnswer { token: self.token.clone(), what: what.into() }
    }
}

impl RawSigner for RemoteKey {
    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, TokenError> {
        let request = Request::Sign { key: self.number, data: data.to_vec() };
        match self.process.call(&request, Doing::Signing)? {
            Reply::Signature(signature) => Ok(signature),
            _ => Err(self.bad_answer("something else than a signature")),
        }
    }

    fn token(&self) -> &str {
        &self.token
    }
}

/// What a call is for, which gives its deadline.
#[derive(Debug, Clone, Copy)]
enum Doing {
    Opening,
    Making,
    Signing,
    Keeping,
    Removing,
}

impl Doing {
    const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening the token and its key",
            Self::Making => "making a key pair",
            Self::Signing => "signing",
            Self::Keeping => "keeping a key pair",
            Self::Removing => "removing a key pair",
        }
    }

    /// Opening logs in and lists objects; RSA keys of 4096 bits take a smart card minutes.
    fn deadline(self) -> Duration {
        let set = std::env::var(TIMEOUT_VARIABLE).ok().and_then(|text| text.parse().ok());
        let signing = set.filter(|seconds| (1..=3600).contains(seconds)).map_or(SIGNING, Duration::from_secs);
        match self {
            Self::Opening => signing * 2,
            Self::Making => signing * 18,
            Self::Signing | Self::Keeping | Self::Removing => signing,
        }
    }
}

/// A token by its module and what names it in the URI: what has a process of its own.
type Place = String;

/// The state of the process of a token.
enum State {
    Running(Arc<Process>),
    /// It ended, and no call is made before the time.
    Resting {
        until: Instant,
        why: String,
    },
}

static PROCESSES: LazyLock<Mutex<HashMap<Place, State>>> = LazyLock::new(Mutex::default);

/// A running process.
struct Process {
    place: Place,
    /// Path of the module, for messages.
    module: String,
    requests: Mutex<ChildStdin>,
    /// Where the replies to each call go. Emptied at the end of the process, which ends every call.
    calls: Arc<Mutex<HashMap<u32, Sender<Reply>>>>,
    child: Arc<Mutex<Child>>,
    next: AtomicU32,
    /// Set at its end, so that nobody takes it for a running one.
    ended: Arc<AtomicBool>,
}

impl Process {
    /// The running process for the token that `uri` names, or a new one.
    fn of(uri: &Pkcs11Uri) -> Result<Arc<Self>, TokenError> {
        let path = module::path(uri)?;
        let token = Pkcs11Uri { object: None, id: None, ..uri.clone() };
        let place = format!("{}\n{token}\n{:?}", path.display(), uri.pin_source);
        let mut processes = lock(&PROCESSES);
        match processes.get(&place) {
            Some(State::Running(process)) if !process.ended.load(Ordering::Relaxed) => {
                return Ok(Arc::clone(process));
            }
            Some(State::Resting { until, why }) if Instant::now() < *until => {
                return Err(TokenError::Resting { module: path, why: why.clone() });
            }
            _ => {}
        }
        let process = Self::start(place.clone(), path.display().to_string())
            .map_err(|source| TokenError::Process { module: path, source })?;
        processes.insert(place, State::Running(Arc::clone(&process)));
        Ok(process)
    }

    fn start(place: Place, module: String) -> io::Result<Arc<Self>> {
        // The very program that runs, also when its file was replaced meanwhile.
        let mut child = Command::new("/proc/self/exe")
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("its pipes are missing"));
        };
        let process = Arc::new(Self {
            place,
            module,
            requests: Mutex::new(requests),
            calls: Arc::default(),
            child: Arc::new(Mutex::new(child)),
            next: AtomicU32::new(1),
            ended: Arc::default(),
        });
        let (calls, ended) = (Arc::clone(&process.calls), Arc::clone(&process.ended));
        let child = Arc::clone(&process.child);
        let listener = std::thread::Builder::new().name("pkcs11".to_owned());
        listener.spawn(move || listen(replies, &calls, &ended, &child))?;
        Ok(process)
    }

    /// Makes one call and waits for its end, or for its deadline.
    fn call(&self, request: &Request, doing: Doing) -> Result<Reply, TokenError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (to, replies) = channel();
        lock(&self.calls).insert(number, to);
        // Once the process has ended, nobody takes this entry out again but this call.
        let sent = match self.ended.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => request.write(number, &mut *lock(&self.requests)),
        };
        let reply = match sent {
            Ok(()) => self.wait(number, &replies, doing),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(self.bad_answer("more to sign than fits in one call"))
            }
            Err(_) => Err(self.has_ended()),
        };
        lock(&self.calls).remove(&number);
        match reply? {
            Reply::Failed(error) => {
                // A module that is loaded anew finds a token again that was pulled out.
                if matches!(error, TokenError::Gone { .. }) {
                    self.is_followed_by(None);
                }
                Err(error)
            }
            reply => Ok(reply),
        }
    }

    fn wait(&self, number: u32, replies: &Receiver<Reply>, doing: Doing) -> Result<Reply, TokenError> {
        let mut deadline = doing.deadline();
        loop {
            match replies.recv_timeout(deadline) {
                Ok(Reply::AskPin(question)) => self.answer_pin(number, &question)?,
                Ok(Reply::AtToken { token }) => {
                    pin::tell_of_keypad(&token);
                    deadline = AT_TOKEN;
                }
                Ok(reply) => return Ok(reply),
                Err(RecvTimeoutError::Disconnected) => return Err(self.has_ended()),
                Err(RecvTimeoutError::Timeout) => {
                    let error = TokenError::NoAnswer {
                        module: self.module.clone().into(),
                        doing: doing.name().into(),
                        seconds: deadline.as_secs(),
                    };
                    self.end(&error);
                    return Err(error);
                }
            }
        }
    }

    /// Lets a person give the PIN; no deadline counts meanwhile.
    fn answer_pin(&self, number: u32, question: &PinQuestion) -> Result<(), TokenError> {
        let asked = pin::ask(&super::PinRequest {
            token: &question.token,
            serial: &question.serial,
            wrong_before: question.wrong_before,
            last_try: question.last_try,
        });
        let (pin, error) = match asked {
            Ok(pin) => (Some(pin), None),
            Err(error) => (None, Some(error)),
        };
        let sent = Request::Pin(pin).write(number, &mut *lock(&self.requests));
        match (error, sent) {
            (Some(error), _) => Err(error),
            (None, Err(_)) => Err(self.has_ended()),
            (None, Ok(())) => Ok(()),
        }
    }

    /// The error for a process that ended by itself.
    fn has_ended(&self) -> TokenError {
        let how = match lock(&self.child).wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let error = TokenError::Ended { module: self.module.clone().into(), how };
        self.end(&error);
        error
    }

    /// Ends the process, and leaves the token alone for a while because of `error`. The first error counts.
    fn end(&self, error: &TokenError) {
        self.ended.store(true, Ordering::SeqCst);
        // It may have ended by itself.
        let _ = lock(&self.child).kill();
        // As long as one deadline: the other zones of the same thread wait for no more than half of the time then.
        let until = Instant::now() + Doing::Signing.deadline();
        self.is_followed_by(Some(State::Resting { until, why: error.to_string() }));
    }

    /// Puts another state in the place of this process, when it is the one that is used; `None` has the next use start one anew.
    fn is_followed_by(&self, state: Option<State>) {
        let mut processes = lock(&PROCESSES);
        let current = matches!(
            processes.get(&self.place),
            Some(State::Running(known)) if std::ptr::eq(Arc::as_ptr(known), self)
        );
        match state {
            _ if !current => {}
            Some(state) => drop(processes.insert(self.place.clone(), state)),
            None => drop(processes.remove(&self.place)),
        }
    }

    fn bad_answer(&self, what: &'static str) -> TokenError {
        TokenError::BadAnswer { token: self.module.clone(), what: what.into() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its input ends now, and so does it; the listener takes its exit status.
        self.ended.store(true, Ordering::SeqCst);
    }
}

/// Hands replies to the calls that wait for them, until the process ends.
fn listen(
    mut replies: ChildStdout,
    calls: &Mutex<HashMap<u32, Sender<Reply>>>,
    ended: &AtomicBool,
    child: &Mutex<Child>,
) {
    // The end of the process, or octets that are no message.
    while let Ok((number, reply)) = Reply::read(&mut replies) {
        if let Some(call) = lock(calls).get(&number) {
            // A call that gave up does not listen any more.
            let _ = call.send(reply);
        }
    }
    ended.store(true, Ordering::SeqCst);
    // A process that closed its output or sent garbage is of no more use.
    let mut child = lock(child);
    let _ = child.kill();
    let _ = child.wait();
    drop(child);
    lock(calls).clear();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
