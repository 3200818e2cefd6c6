//! The module of a token in a process of its own, so that a module which hangs, crashes, or counts wrong costs nothing but the calls
//! that it was asked.
//!
//! ```text
//!            ┌──────────── first use ───────────┐
//!            ▼                                  │
//!  none ─▶ running ── no answer in time, ended ─▶ resting (no call for a while) ─▶ none
//! ```
//!
//! There is one process for each module and token. Calls run side by side, each with its deadline, which begins anew with each reply that
//! comes meanwhile: a token that works on one call at a time is slow, not dead. A call that misses it ends the process, and with it the
//! other calls to the same token. Keys opened before are to be opened again then, as after a token was pulled out.
//!
//! A daemon does not wait for a key to be opened: after [`PATIENCE`] it is told to come again, and the call goes on meanwhile.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::{RawSigner, Verified};
use super::logins;
use super::wire::{ModuleReply, ModuleRequest, PinQuestion};
use super::{HeldPart, Holding, Pkcs11Uri, TokenError, module, pin};
use crate::crypto::{Algorithm, SigningKey};

/// The first argument of the process, in place of a command.
pub(super) const ARGUMENT: &str = "pkcs11-module-process";

/// Sets the deadline of a signature, in seconds.
const TIMEOUT_VARIABLE: &str = "OFFLINE_KSK_TOKEN_TIMEOUT";

/// Deadline of a signature; smart cards take a second for RSA.
const SIGNING: Duration = Duration::from_secs(10);

/// How long a person may take at the keypad of a token.
const AT_TOKEN: Duration = Duration::from_secs(300);

/// Deadlines that a call may miss while others to the same token go on.
const MOST_DEADLINES: u32 = 8;

/// Longest time that a token is left alone after its process ended or was ended.
const REST: Duration = Duration::from_secs(10);

/// What a call still gets after its deadline: this whole program may have been stopped and gone on (SIGTSTP), its module with it.
const GRACE: Duration = Duration::from_secs(2);

/// How long a daemon waits for a key to be opened. Other zones of the same thread wait as long.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a killed process may take to end. One that waits for a device may take for ever.
const ENDING: Duration = Duration::from_secs(5);

/// Set by a daemon: [`PATIENCE`] counts.
static IMPATIENT: AtomicBool = AtomicBool::new(false);

/// Set once this program ends: no process is started any more.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Has keys open in the background from now on, since a daemon has other things to do; its next try finds them open.
pub(super) fn do_not_wait() {
    IMPATIENT.store(true, Ordering::Relaxed);
}

/// Ends all processes, and with them every call that is under way, because this program ends.
pub(super) fn stop() {
    STOPPING.store(true, Ordering::SeqCst);
    for state in lock(&PROCESSES).values() {
        if let State::Running(process) = state {
            process.kill("this program ends".to_owned());
        }
    }
}

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
    let (key, _) =
        open(uri, algorithm, &ModuleRequest::Load { uri: uri.clone(), algorithm }, Doing::Opening)?;
    Ok(Box::new(Verified::new(key, algorithm, public_key.to_vec())?))
}

/// A key pair just made, and its Public Key field.
pub(super) fn generate(
    uri: &Pkcs11Uri,
    algorithm: Algorithm,
    bits: u16,
) -> Result<(Pair, Vec<u8>), TokenError> {
    let request = ModuleRequest::Generate { uri: uri.clone(), algorithm, bits };
    let (key, public_key) = open(uri, algorithm, &request, Doing::Making)?;
    let pair = Pair { process: Arc::clone(&key.process), key: Some(key.number) };
    let public_key = public_key.ok_or_else(|| key.bad_answer("a key pair without public key"))?;
    Verified::new(key, algorithm, public_key.clone())?;
    Ok((pair, public_key))
}

/// Looks whether the token is there and the PIN file reads.
pub(super) fn look(uri: &Pkcs11Uri) -> Result<(), TokenError> {
    let process = Process::of(uri, module::path(uri)?)?;
    process.call(&ModuleRequest::Look { uri: uri.clone() }, Doing::Looking).map(|_| ())
}

/// The keys of a token from the number `from` on.
pub(super) fn list(uri: &Pkcs11Uri, from: usize) -> Result<Holding, TokenError> {
    let process = logged_in(uri)?;
    match process.call(&ModuleRequest::List { uri: uri.clone(), from }, Doing::Listing)? {
        ModuleReply::Holding(holding) => Ok(holding),
        _ => Err(process.bad_answer("something else than its keys")),
    }
}

/// Removes the halves `part` of the key that `uri` names.
pub(super) fn forget(uri: &Pkcs11Uri, part: HeldPart) -> Result<(), TokenError> {
    logged_in(uri)?.call(&ModuleRequest::Forget { uri: uri.clone(), part }, Doing::Removing).map(|_| ())
}

/// The process for a token that is going to be logged in to.
fn logged_in(uri: &Pkcs11Uri) -> Result<Arc<Process>, TokenError> {
    let module = module::path(uri)?;
    logins::check(&module, uri.pin_source.as_deref()).map_err(|error| error.or_of(&module))?;
    Process::of(uri, module)
}

fn open(
    uri: &Pkcs11Uri,
    algorithm: Algorithm,
    request: &ModuleRequest,
    doing: Doing,
) -> Result<(RemoteKey, Option<Vec<u8>>), TokenError> {
    super::key::check_algorithm(algorithm)?;
    let process = logged_in(uri)?;
    let reply = match doing {
        Doing::Opening => process.open_key(&format!("{uri} {algorithm}"), request),
        _ => process.call(request, doing),
    };
    match reply? {
        ModuleReply::Key { key: number, token, public_key } => {
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
            let _ = self.process.call(&ModuleRequest::Keep { key }, Doing::Keeping);
        }
    }

    pub(super) fn remove(&mut self) -> Result<(), TokenError> {
        let Some(key) = self.key.take() else { return Ok(()) };
        self.process.call(&ModuleRequest::Remove { key }, Doing::Removing).map(|_| ())
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
        let request = ModuleRequest::Sign { key: self.number, data: data.to_vec() };
        match self.process.call(&request, Doing::Signing)? {
            ModuleReply::Signature(signature) => Ok(signature),
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
    Looking,
    Listing,
    Opening,
    Making,
    Signing,
    Keeping,
    Removing,
}

impl Doing {
    const fn name(self) -> &'static str {
        match self {
            Self::Looking => "looking for the token",
            Self::Listing => "opening the token and listing its keys",
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
            Self::Looking | Self::Opening => signing * 2,
            // Thousands of keys, several calls for each.
            Self::Making | Self::Listing => signing * 18,
            Self::Signing | Self::Keeping => signing,
            Self::Removing => signing * 2,
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
    /// Path of the module, and of the file with the PIN.
    module: PathBuf,
    pin_source: Option<PathBuf>,
    requests: Mutex<ChildStdin>,
    shared: Arc<Shared>,
    next: AtomicU32,
    /// Keys that are being opened and that nobody waits for at the moment, by URI and algorithm.
    opening: Mutex<HashMap<String, Call>>,
}

/// What the calls and the listener have in common.
struct Shared {
    child: Mutex<Child>,
    calls: Mutex<Calls>,
}

struct Calls {
    /// Where the replies to each call go; `None` once the process has ended, which ends every call.
    open: Option<HashMap<u32, Sender<ModuleReply>>>,
    last_reply: Instant,
    /// A person is at the keypad of the token, or asked for the PIN.
    person_until: Option<Instant>,
    /// How it ended, or why it was ended: the first cause.
    end: Option<String>,
}

/// A call under way.
struct Call {
    number: u32,
    replies: Receiver<ModuleReply>,
    doing: Doing,
    began: Instant,
    /// When its deadline counts from.
    since: Instant,
}

impl Process {
    /// The running process for the token that `uri` names, or a new one.
    fn of(uri: &Pkcs11Uri, module: PathBuf) -> Result<Arc<Self>, TokenError> {
        let token = Pkcs11Uri { object: None, id: None, ..uri.clone() };
        let place = format!("{}\n{token}\n{:?}", module.display(), uri.pin_source);
        let mut processes = lock(&PROCESSES);
        match processes.get(&place) {
            _ if STOPPING.load(Ordering::SeqCst) => {
                return Err(TokenError::Resting { module, why: "this program ends".to_owned() });
            }
            Some(State::Running(process)) if process.is_running() => return Ok(Arc::clone(process)),
            Some(State::Resting { until, why }) if Instant::now() < *until => {
                return Err(TokenError::Resting { module, why: why.clone() });
            }
            _ => {}
        }
        let process = Self::start(place.clone(), module.clone(), uri.pin_source.clone())
            .map_err(|source| TokenError::Process { module, source })?;
        processes.insert(place, State::Running(Arc::clone(&process)));
        Ok(process)
    }

    fn start(place: Place, module: PathBuf, pin_source: Option<PathBuf>) -> io::Result<Arc<Self>> {
        // The very program that runs, also when its file was replaced meanwhile.
        let mut child = Command::new("/proc/self/exe")
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("its pipes are missing"));
        };
        let calls =
            Calls { open: Some(HashMap::new()), last_reply: Instant::now(), person_until: None, end: None };
        let shared = Arc::new(Shared { child: Mutex::new(child), calls: Mutex::new(calls) });
        let listening = Arc::clone(&shared);
        let listener = std::thread::Builder::new().name("pkcs11".to_owned());
        if let Err(error) = listener.spawn(move || listening.listen(replies)) {
            let mut child = lock(&shared.child);
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        Ok(Arc::new(Self {
            place,
            module,
            pin_source,
            requests: Mutex::new(requests),
            shared,
            next: AtomicU32::new(1),
            opening: Mutex::default(),
        }))
    }

    fn is_running(&self) -> bool {
        let calls = lock(&self.shared.calls);
        calls.open.is_some() && calls.end.is_none()
    }

    /// Makes one call and waits for its end, or for its deadline.
    fn call(&self, request: &ModuleRequest, doing: Doing) -> Result<ModuleReply, TokenError> {
        let mut call = self.begin(request, doing)?;
        loop {
            if let Some(reply) = self.wait(&mut call, None)? {
                return Ok(reply);
            }
        }
    }

    /// Opens a key; a daemon waits for no more than its patience, and finds the same call under way the next time.
    fn open_key(&self, key: &str, request: &ModuleRequest) -> Result<ModuleReply, TokenError> {
        if !IMPATIENT.load(Ordering::Relaxed) {
            return self.call(request, Doing::Opening);
        }
        let under_way = lock(&self.opening).remove(key);
        let mut call = match under_way {
            Some(call) => call,
            None => self.begin(request, Doing::Opening)?,
        };
        match self.wait(&mut call, Some(PATIENCE))? {
            Some(reply) => Ok(reply),
            None => {
                lock(&self.opening).insert(key.to_owned(), call);
                Err(TokenError::NotYet { module: self.module.clone() })
            }
        }
    }

    fn begin(&self, request: &ModuleRequest, doing: Doing) -> Result<Call, TokenError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (to, replies) = channel();
        let listened = lock(&self.shared.calls).open.as_mut().map(|open| open.insert(number, to)).is_some();
        let now = Instant::now();
        let call = Call { number, replies, doing, began: now, since: now };
        let sent = match listened {
            true => request.write(number, &mut *lock(&self.requests)),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        };
        match sent {
            Ok(()) => Ok(call),
            Err(error) => {
                self.forget(&call);
                Err(match error.kind() {
                    io::ErrorKind::InvalidData => self.bad_answer("more to sign than fits in one call"),
                    _ => self.has_ended(),
                })
            }
        }
    }

    fn forget(&self, call: &Call) {
        lock(&self.shared.calls).open.as_mut().map(|open| open.remove(&call.number));
    }

    /// Waits for the reply that ends a call; `None` when `limit` is over before its deadline.
    fn wait(&self, call: &mut Call, limit: Option<Duration>) -> Result<Option<ModuleReply>, TokenError> {
        let limit = limit.map(|limit| Instant::now() + limit);
        let mut at_token = false;
        let reply = loop {
            let deadline = call.since + call.doing.deadline();
            let until = limit.map_or(deadline, |limit| limit.min(deadline));
            let mut received = call.replies.recv_timeout(until.saturating_duration_since(Instant::now()));
            if matches!(received, Err(RecvTimeoutError::Timeout)) {
                let now = Instant::now();
                if limit.is_some_and(|limit| limit <= now) && now < deadline {
                    return Ok(None);
                }
                if let Some(since) = self.excuse(call, now) {
                    call.since = since;
                    continue;
                }
                received = call.replies.recv_timeout(GRACE);
            }
            match received {
                Ok(ModuleReply::AskPin(question)) => {
                    self.answer_pin(call.number, &question)?;
                    call.since = Instant::now();
                }
                Ok(ModuleReply::AtToken { token }) => {
                    at_token = true;
                    pin::tell_of_keypad(&token);
                    lock(&self.shared.calls).person_until = Some(Instant::now() + AT_TOKEN);
                }
                Ok(ModuleReply::LoggingIn) => logins::begins(&self.module, self.pin_source.as_deref()),
                Ok(reply) => break reply,
                Err(RecvTimeoutError::Disconnected) => return Err(self.has_ended()),
                Err(RecvTimeoutError::Timeout) => {
                    let error = TokenError::NoAnswer {
                        module: self.module.clone(),
                        doing: call.doing.name().into(),
                        seconds: call.began.elapsed().as_secs(),
                    };
                    self.end(&error);
                    return Err(error);
                }
            }
        };
        self.forget(call);
        if at_token {
            lock(&self.shared.calls).person_until = None;
        }
        if matches!(call.doing, Doing::Opening | Doing::Making | Doing::Listing | Doing::Removing) {
            logins::ends(&self.module, self.pin_source.as_deref(), &reply);
        }
        match reply {
            ModuleReply::Failed(error) => {
                // A module that is loaded anew finds a token again that was pulled out.
                if matches!(error, TokenError::Gone { .. }) {
                    self.is_followed_by(None);
                }
                Err(error.or_of(&self.module))
            }
            reply => Ok(Some(reply)),
        }
    }

    /// A later begin of the deadline of a call that missed it, when a person is asked, or when the token has answered others since.
    fn excuse(&self, call: &Call, now: Instant) -> Option<Instant> {
        let calls = lock(&self.shared.calls);
        if calls.person_until.is_some_and(|until| now < until) {
            return Some(now);
        }
        let is_new = calls.last_reply > call.since;
        (is_new && now < call.began + call.doing.deadline() * MOST_DEADLINES).then_some(calls.last_reply)
    }

    /// Lets a person give the PIN; no deadline counts meanwhile.
    fn answer_pin(&self, number: u32, question: &PinQuestion) -> Result<(), TokenError> {
        let person = |until| lock(&self.shared.calls).person_until = until;
        person(Some(Instant::now() + AT_TOKEN));
        let asked = pin::ask(&super::PinRequest {
            token: &question.token,
            serial: &question.serial,
            wrong_before: question.wrong_before,
            last_try: question.last_try,
        });
        person(None);
        let (pin, error) = match asked {
            Ok(pin) => (Some(pin), None),
            Err(error) => (None, Some(error)),
        };
        let sent = ModuleRequest::Pin(pin).write(number, &mut *lock(&self.requests));
        match (error, sent) {
            (Some(error), _) => Err(error),
            (None, Err(_)) => Err(self.has_ended()),
            (None, Ok(())) => Ok(()),
        }
    }

    /// The error for a process that has ended: by itself, or ended by another call, whose error is told then.
    fn has_ended(&self) -> TokenError {
        let known = lock(&self.shared.calls).end.clone();
        let error = match known {
            Some(why) if !self.is_current() => TokenError::Resting { module: self.module.clone(), why },
            Some(how) => TokenError::Ended { module: self.module.clone(), how },
            None => {
                TokenError::Ended { module: self.module.clone(), how: "it takes no more requests".to_owned() }
            }
        };
        self.end(&error);
        error
    }

    /// Ends the process, and leaves the token alone for a while because of `error`. The first error counts.
    fn end(&self, error: &TokenError) {
        self.kill(error.to_string());
        let until = Instant::now() + Doing::Signing.deadline().min(REST);
        self.is_followed_by(Some(State::Resting { until, why: error.to_string() }));
    }

    /// Kills the process, which may have ended by itself. The listener takes its exit status.
    fn kill(&self, why: String) {
        lock(&self.shared.calls).end.get_or_insert(why);
        let _ = lock(&self.shared.child).kill();
    }

    fn is_current(&self) -> bool {
        self.is_in(&lock(&PROCESSES))
    }

    fn is_in(&self, processes: &HashMap<Place, State>) -> bool {
        let known = processes.get(&self.place);
        matches!(known, Some(State::Running(known)) if std::ptr::eq(Arc::as_ptr(known), self))
    }

    /// Puts another state in the place of this process, when it is the one that is used; `None` has the next use start one anew.
    fn is_followed_by(&self, state: Option<State>) {
        let mut processes = lock(&PROCESSES);
        match state {
            _ if !self.is_in(&processes) => {}
            Some(state) => drop(processes.insert(self.place.clone(), state)),
            None => drop(processes.remove(&self.place)),
        }
    }

    fn bad_answer(&self, what: &'static str) -> TokenError {
        TokenError::BadAnswer { token: self.module.display().to_string(), what: what.into() }
    }
}

impl Shared {
    /// Hands replies to the calls that wait for them, until the process ends.
    fn listen(&self, mut replies: ChildStdout) {
        // The end of the process, or octets that are no message.
        while let Ok((number, reply)) = ModuleReply::read(&mut replies) {
            let mut calls = lock(&self.calls);
            calls.last_reply = Instant::now();
            if let Some(call) = calls.open.as_ref().and_then(|open| open.get(&number)) {
                // A call that gave up does not listen any more.
                let _ = call.send(reply);
            }
        }
        // A process that closed its output or sent garbage is of no more use. The lock is never held while it ends.
        let began = Instant::now();
        loop {
            let _ = lock(&self.child).kill();
            let ended = lock(&self.child).try_wait();
            let how = match &ended {
                Ok(Some(status)) => Some(status.to_string()),
                Err(error) => Some(error.to_string()),
                Ok(None) if began.elapsed() > ENDING => Some("it was killed and does not end".to_owned()),
                Ok(None) => None,
            };
            if let Some(how) = how {
                let mut calls = lock(&self.calls);
                calls.end.get_or_insert(how);
                calls.open = None;
            }
            match ended {
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                _ => return,
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
